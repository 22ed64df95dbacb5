//! A cache of one thread: policy, a table, and an origin that answers as it is told.
//!
//! What an engine does around the policy, without concurrency; bodies are their lengths.

use std::collections::HashMap;

use cache::policy::{
    Answered, Asked, Bypass, CacheStatus, Eligibility, FetchTimes, Found, HeadUpdate, Key, Lookup, Metadata,
    NotStored, OriginTrouble, Revalidated, Settings, StoredHead, Traits, Vary, VaryIndex, VisitorFacts,
    answer_from, answered, ask, format_date, head_answered, invalidated, lookup, may_serve_on_error, prepare,
    strip_unkeyed,
};
use exchange::{BodySize, Fields, Request, Response};

/// 6 November 1994, 08:49:37.
pub(crate) const START_S: u64 = 784_111_777;

/// What an origin does with a request.
pub(crate) enum Origin {
    Answers(Response),
    /// It accepts no connection.
    Down,
}

/// What a visitor saw, and what it took.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) answer: Response,
    /// The request's fields as the origin saw them; none if it was not asked.
    pub(crate) asked_origin: Option<Fields>,
    pub(crate) bypass: Option<Bypass>,
    pub(crate) not_stored: Option<NotStored>,
    pub(crate) cache_status: String,
}

impl Seen {
    pub(crate) fn is_hit(&self) -> bool {
        self.asked_origin.is_none()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        value(&self.answer.fields, name)
    }

    /// A field of the request that the origin saw.
    pub(crate) fn asked(&self, name: &str) -> Option<&str> {
        value(self.asked_origin.as_ref()?, name)
    }
}

fn value<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.value(name.as_bytes()).map(|value| std::str::from_utf8(value).expect("it is text"))
}

struct Kept {
    meta: Metadata,
    head: StoredHead,
    is_soft: bool,
}

pub(crate) struct Desk {
    pub(crate) settings: Settings,
    pub(crate) now_ms: u64,
    kept: HashMap<Key, Kept>,
    indexes: HashMap<Key, VaryIndex>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self { settings, now_ms: START_S * 1000, kept: HashMap::new(), indexes: HashMap::new() }
    }

    /// A zone that respects what requests say.
    pub(crate) fn respecting() -> Self {
        Self::with(Settings { respects_request: true, ..Settings::default() })
    }

    pub(crate) fn wait_s(&mut self, seconds: u64) {
        self.now_ms += seconds * 1000;
    }

    /// The clock as an origin writes it.
    pub(crate) fn date(&self, offset_s: i64) -> String {
        let seconds = (self.now_ms / 1000).checked_add_signed(offset_s).expect("it is near");
        String::from_utf8(format_date(seconds).to_vec()).expect("it is ASCII")
    }

    /// A GET for `/` with these fields, answered so if it reaches the origin.
    pub(crate) fn get(&mut self, fields: &[(&str, &str)], answer: Response) -> Seen {
        self.send(request("GET", "/", fields), Origin::Answers(answer))
    }

    /// A GET for `/` that must not reach the origin: whatever it would answer is 599.
    pub(crate) fn again(&mut self, fields: &[(&str, &str)]) -> Seen {
        self.get(fields, answer(599, &[]))
    }

    /// Whether an answer is used for a second request.
    pub(crate) fn is_reused(&mut self, first: Response) -> bool {
        self.get(&[], first);
        self.again(&[]).is_hit()
    }

    pub(crate) fn send(&mut self, mut request: Request, origin: Origin) -> Seen {
        let asked = match ask(&request, &self.settings) {
            Eligibility::Eligible(asked) => asked,
            Eligibility::Bypass(bypass) => return self.bypass(&request, bypass, origin),
        };
        strip_unkeyed(&mut request.fields, &self.settings, false);
        let key = Key::of(&request, 1, &self.settings.key, &VisitorFacts::default()).expect("it is short");
        let index = self.indexes.get(&key).cloned().unwrap_or_default();
        let variants: Vec<Key> = index
            .rules()
            .iter()
            .map(|rule| key.with_variant(&rule.variant(&request.fields).expect("it is short")))
            .chain([key.clone()])
            .collect();
        let at = variants.iter().find(|variant| self.kept.contains_key(variant)).cloned();
        let found = match at.as_ref().and_then(|at| self.kept.get(at)) {
            Some(kept) => Found::Stored { meta: &kept.meta, is_purged_softly: kept.is_soft },
            None if !index.rules().is_empty() => Found::OtherVariants,
            None => Found::Nothing,
        };
        match lookup(&asked, found, &self.settings, self.now_ms) {
            Lookup::Fresh | Lookup::Stale | Lookup::StaleOnError => {
                self.serve(&asked, &at.expect("it was found"), None)
            }
            Lookup::OnlyIfCached => Seen {
                answer: answer(504, &[]),
                asked_origin: None,
                bypass: None,
                not_stored: None,
                cache_status: String::new(),
            },
            Lookup::Revalidate(forward) | Lookup::Miss(forward) => {
                self.fetch(&asked, &request, &key, at, forward.as_str(), origin)
            }
        }
    }

    fn bypass(&mut self, request: &Request, bypass: Bypass, origin: Origin) -> Seen {
        let Origin::Answers(answer) = origin else { panic!("a bypass of a dead origin") };
        for target in invalidated(request, &answer) {
            let gone = self.settings.key.spelling.target(&target);
            self.kept.retain(|kept, _| (kept.host(), kept.target()) != (request.host(), &gone));
        }
        let mut cache_status = Vec::new();
        CacheStatus::bypass(bypass).write("desk", &mut cache_status);
        Seen {
            answer,
            asked_origin: Some(request.fields.clone()),
            bypass: Some(bypass),
            not_stored: None,
            cache_status: String::from_utf8(cache_status).expect("it is ASCII"),
        }
    }

    fn fetch(
        &mut self,
        asked: &Asked,
        request: &Request,
        key: &Key,
        at: Option<Key>,
        forward: &'static str,
        origin: Origin,
    ) -> Seen {
        let mut to_origin = request.fields.clone();
        let stored = at.as_ref().and_then(|at| self.kept.get(at));
        let validators = stored.map(|kept| kept.head.validators()).filter(|found| found.is_any());
        prepare(&mut to_origin, validators.as_ref());
        let was_asked = validators.is_some();
        let status = |answer: &Response| CacheStatus {
            forward: Some(forward),
            forward_status: Some(answer.status),
            ..CacheStatus::default()
        };
        let Origin::Answers(answer) = origin else {
            let may = stored.is_some_and(|kept| {
                let trouble = OriginTrouble::Unreachable;
                may_serve_on_error(asked, &kept.meta, kept.is_soft, trouble, &self.settings, self.now_ms)
            });
            let mut seen = match at {
                Some(at) if may => self.serve(
                    asked,
                    &at,
                    Some(CacheStatus { forward: Some(forward), ..CacheStatus::default() }),
                ),
                _ => self.pass(answer(502, &[]), CacheStatus::default(), None),
            };
            seen.asked_origin = Some(to_origin);
            return seen;
        };
        let times = FetchTimes { asked_ms: self.now_ms, answered_ms: self.now_ms, received_ms: self.now_ms };
        let revalidated = stored.map(|Kept { meta, head, is_soft }| Revalidated {
            meta,
            head,
            was_asked,
            is_purged_softly: *is_soft,
        });
        if asked.is_head
            && let (Some(at), Some(stored)) = (&at, &revalidated)
            && answer.status == 200
        {
            match head_answered(asked, request.path(), stored, &answer, &self.settings, &times) {
                HeadUpdate::Renewed(renewed) => {
                    let kept = Kept { meta: renewed.meta, head: renewed.head, is_soft: false };
                    self.kept.insert(at.clone(), kept);
                }
                HeadUpdate::MakesStale => self.kept.get_mut(at).expect("it is there").is_soft = true,
                HeadUpdate::Nothing => {}
            }
            let said = status(&answer);
            let mut seen = self.pass(answer, said, None);
            seen.asked_origin = Some(to_origin);
            return seen;
        }
        let mut seen = match answered(asked, request.path(), revalidated, &answer, &self.settings, &times) {
            Answered::Store(stored) => {
                let at = match &stored.vary {
                    Vary::Rule(rule) => {
                        self.indexes.entry(key.clone()).or_default().add(rule);
                        key.with_variant(&rule.variant(&request.fields).expect("it is short"))
                    }
                    Vary::Nothing | Vary::Anything => {
                        self.indexes.remove(key);
                        key.clone()
                    }
                };
                self.kept.insert(at.clone(), Kept { meta: stored.meta, head: stored.head, is_soft: false });
                let said = CacheStatus { is_stored: true, ..status(&answer) };
                self.serve(asked, &at, Some(said))
            }
            Answered::Renewed(renewed) => {
                let at = at.expect("it was asked about");
                self.kept.insert(at.clone(), Kept { meta: renewed.meta, head: renewed.head, is_soft: false });
                self.serve(asked, &at, Some(CacheStatus { is_stored: true, ..status(&answer) }))
            }
            Answered::RenewedOnce(once, reason) => {
                let at = at.expect("it was asked about");
                let kept = Kept { meta: once.meta, head: once.head, is_soft: false };
                let seen = self.serve_kept(asked, &kept, Some(status(&answer)));
                if reason.is_lasting() {
                    self.kept.remove(&at);
                }
                Seen { not_stored: Some(reason), ..seen }
            }
            Answered::Pass { reason, drops_stored } => {
                if drops_stored && let Some(at) = &at {
                    self.kept.remove(at);
                }
                let said = CacheStatus { detail: Some(reason.as_str()), ..status(&answer) };
                self.pass(answer, said, Some(reason))
            }
            Answered::ServeStale => self.serve(asked, &at.expect("it was found"), Some(status(&answer))),
            Answered::AskAgain => panic!("a 304 to nothing"),
        };
        seen.asked_origin = Some(to_origin);
        seen
    }

    fn pass(&self, answer: Response, said: CacheStatus<'_>, reason: Option<NotStored>) -> Seen {
        let mut cache_status = Vec::new();
        said.write("desk", &mut cache_status);
        Seen {
            answer,
            asked_origin: None,
            bypass: None,
            not_stored: reason,
            cache_status: String::from_utf8(cache_status).expect("it is ASCII"),
        }
    }

    fn serve(&self, asked: &Asked, at: &Key, said: Option<CacheStatus<'_>>) -> Seen {
        self.serve_kept(asked, self.kept.get(at).expect("it is there"), said)
    }

    fn serve_kept(&self, asked: &Asked, kept: &Kept, said: Option<CacheStatus<'_>>) -> Seen {
        let mut answer = Response::default();
        answer_from(asked, &kept.head, &kept.meta, &self.settings, self.now_ms, 1, &mut answer);
        let hit = CacheStatus { is_hit: true, ..CacheStatus::default() };
        let said = CacheStatus { ttl_s: Some(kept.meta.ttl_s(self.now_ms)), ..said.unwrap_or(hit) };
        self.pass(answer, said, None)
    }

    /// What is stored for a plain GET of `/`.
    pub(crate) fn stored(&self) -> Option<&Metadata> {
        let key = Key::of(&request("GET", "/", &[]), 1, &self.settings.key, &VisitorFacts::default())
            .expect("short");
        self.kept.get(&key).map(|kept| &kept.meta)
    }

    pub(crate) fn is_heuristic(&self) -> bool {
        self.stored().is_some_and(|meta| meta.traits.has(Traits::HEURISTIC))
    }
}

pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
    let mut request = Request::default();
    request.set_method(method.as_bytes());
    request.set_authority(b"example.org");
    request.set_target(target.as_bytes());
    for (name, value) in fields {
        request.fields.push(name.as_bytes(), value.as_bytes());
    }
    request
}

/// An answer with a body of 10 bytes, unless the status has none.
pub(crate) fn answer(status: u16, fields: &[(&str, &str)]) -> Response {
    let mut answer = Response { status, ..Response::default() };
    for (name, value) in fields {
        answer.fields.push(name.as_bytes(), value.as_bytes());
    }
    if !matches!(status, 204 | 304) {
        answer.body = BodySize::Length(10);
    }
    answer
}

/// 200 that says only this.
pub(crate) fn controlled(value: &str) -> Response {
    answer(200, &[("Cache-Control", value)])
}
