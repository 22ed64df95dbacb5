//! Phase 2, behind the custom rules: the zone's rate and concurrency limits.
//!
//! What limits are to do with a request is measured together with the rules, and changes nothing
//! ([`crate::shield::ask`]); here it is counted, once, and obeyed. What counts by the answer counts when that
//! is there, whoever made it. Counters and places outlive a snapshot, under the limits' ids: they stand
//! beside the zone ([`Counts`]). Called by `shield.rs`, and by `pipeline.rs` and `refuse.rs` for answers.
//! Read next: [`Edge::limit`].

use std::sync::Arc;

use exchange::{Fields, Phase, Refusal, Request, Response};
use fuel::Spent;
use rules::{ActionKind, Scratch};
use shield::concurrency::{Admitted, Gates, Place};
use shield::rate::{self, Counters, Decision, Limit, Measured, Pending, Rated};
use telemetry::metrics::{LimitAction, LimitKind, Trouble};
use wire::Exchange;
use zone::{FailMode, Over, RateLimits};

use crate::contain::guard;
use crate::course::Course;
use crate::live::Site;
use crate::pipeline::Edge;
use crate::refuse::{answer_as, refuse};
use crate::teller::Teller;
use crate::view::{Asked, RequestView};

/// What of a zone's limits outlives a snapshot, and when events of them were written last.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    counters: Counters,
    gates: Gates,
    /// One for each rate limit, then one for each concurrency limit.
    tellers: Vec<Teller>,
}

impl Counts {
    /// Counters and gates for these limits; those of the same ids go on from before.
    pub(crate) fn carry(limits: Option<&RateLimits>, before: Option<&Self>) -> Self {
        let Some(limits) = limits else { return Self::default() };
        let nothing = Self::default();
        let before = before.unwrap_or(&nothing);
        let tellers = limits.rates.len() + limits.gates.len();
        Self {
            counters: rate::counters(limits, &before.counters),
            gates: before.gates.carry(&limits.gates),
            tellers: (0..tellers).map(|_| Teller::default()).collect(),
        }
    }

    /// Visitors whose count was given up for others, and requests that found no room to be counted.
    pub(crate) fn forgotten(&self) -> u64 {
        self.counters.evictions() + self.gates.uncounted()
    }
}

/// What limits have to do with one exchange until its end.
pub(crate) struct Limited {
    limits: Arc<RateLimits>,
    /// What counts once the answer is there.
    pending: Pending,
    /// Fields for the answer, whoever makes it.
    told: Vec<(&'static [u8], Vec<u8>)>,
    /// Held to the end of the exchange.
    _places: Vec<Place>,
    unix_us: u64,
    now_ms: u64,
}

/// A limit that a request is over.
struct Passed<'l> {
    kind: LimitKind,
    id: &'l Arc<str>,
    name: &'l str,
    place: u32,
    over: &'l Over,
    teller: usize,
}

/// A request that a limit refuses.
pub(crate) struct Refused {
    over: Over,
    refusal: Refusal,
    reason: &'static str,
}

impl Edge {
    /// Counts a request where limits count it; what refuses it, if anything does.
    ///
    /// # Errors
    /// Counting broke, and the zone's mode is closed.
    pub(crate) fn limit(
        &self,
        course: &mut Course,
        (limits, measured): (Arc<RateLimits>, Measured),
    ) -> Result<Option<Refused>, Trouble> {
        let Some(site) = course.site.clone() else { return Ok(None) };
        let now_ms = self.clock.now_ms();
        let counted = guard(|| {
            let rated = measured.count(&limits, &site.counts.counters, now_ms);
            let admitted = match rated.is_refused {
                true => Admitted::default(),
                false => measured.enter(&limits, &site.counts.gates),
            };
            Ok((rated, admitted))
        });
        let (rated, admitted) = match counted {
            Ok(counted) => counted,
            Err(trouble) => {
                self.broke(Phase::Shield, course, trouble);
                if site.zone.fail_modes.shield == FailMode::Open {
                    course.note(Phase::Shield, "failed_open", 0, self.clock.now_us());
                    return Ok(None);
                }
                return Err(trouble);
            }
        };
        let mut told = told(&limits, &rated);
        if admitted.is_refused {
            // Nobody knows when a place will be free; soon, as requests go.
            told.push((b"Retry-After", b"1".to_vec()));
        }
        for passed in rated.met.iter().filter(|met| met.is_over()) {
            let Some(limit) = limits.rates.get(passed.limit) else { continue };
            self.over(
                course,
                &site,
                &Passed {
                    kind: LimitKind::Rate,
                    id: &limit.id,
                    name: &limit.name,
                    place: limit.place,
                    over: &limit.over,
                    teller: passed.limit,
                },
            );
        }
        for index in &admitted.full {
            let Some(limit) = limits.gates.get(*index) else { continue };
            self.over(
                course,
                &site,
                &Passed {
                    kind: LimitKind::Concurrency,
                    id: &limit.id,
                    name: &limit.name,
                    place: limit.place,
                    over: &limit.over,
                    teller: limits.rates.len() + index,
                },
            );
        }
        let refused = match (rated.is_refused, admitted.is_refused) {
            (true, _) => {
                let limit = rated.met.last().and_then(|met| limits.rates.get(met.limit));
                let (refusal, reason) = (Refusal::RateLimited, "a rate limit of the zone");
                limit.map(|limit| Refused { over: limit.over.clone(), refusal, reason })
            }
            (false, true) => {
                let limit = admitted.full.last().and_then(|index| limits.gates.get(*index));
                limit.map(|limit| {
                    let (refusal, reason) = match limit.by.is_empty() {
                        true => (Refusal::ZoneFull, "a concurrency limit of the whole zone"),
                        false => (Refusal::ConcurrencyLimited, "a concurrency limit of the zone"),
                    };
                    Refused { over: limit.over.clone(), refusal, reason }
                })
            }
            (false, false) => None,
        };
        if !rated.pending.is_empty() || !told.is_empty() || !admitted.places.is_empty() {
            course.limited = Some(Box::new(Limited {
                limits: Arc::clone(&limits),
                // What a limit refuses is counted nowhere.
                pending: if refused.is_some() { Pending::default() } else { rated.pending },
                told,
                _places: admitted.places,
                unix_us: self.unix_offset_us.get() + course.began_us,
                now_ms,
            }));
        }
        Ok(refused)
    }

    /// Notes that a request is over a limit: for log and trail, counters and events.
    fn over(&self, course: &mut Course, site: &Site, passed: &Passed<'_>) {
        course.rules.matched(passed.id);
        let (decision, event) = match passed.kind {
            LimitKind::Rate => ("over_rate_limit", "rate_limited"),
            LimitKind::Concurrency | LimitKind::Flood => ("over_concurrency_limit", "concurrency_limited"),
        };
        course.note(Phase::Shield, decision, passed.place, self.clock.now_us());
        self.metrics.over_limit(
            passed.kind,
            match passed.over.action {
                ActionKind::Block => LimitAction::Block,
                ActionKind::Log => LimitAction::Log,
                _ => LimitAction::Challenge,
            },
        );
        let teller = site.counts.tellers.get(passed.teller);
        let Some(untold) = teller.and_then(|teller| teller.may_tell(self.clock.now_ms())) else { return };
        let id = course.id.to_string();
        let fields = [
            ("zone", site.zone.name.as_str().into()),
            ("limit", passed.name.into()),
            ("id", (&**passed.id).into()),
            ("action", passed.over.action.row().name.into()),
            ("request_id", id.as_str().into()),
            ("untold", untold.into()),
        ];
        self.node.setup().events.info(event, &fields);
    }

    /// Counts an origin's answer where a limit counts by answers.
    ///
    /// # Errors
    /// The request spent its budget; or counting broke, and the zone's mode is closed.
    pub(crate) fn count_answer(
        &self,
        request: &Request,
        response: &Response,
        course: &mut Course,
        connection: &exchange::Connection,
    ) -> Result<(), Trouble> {
        let now_ms = self.clock.now_ms();
        let counted = guard(|| {
            self.with_scratch(|scratch| count(course, connection, (request, response), scratch, now_ms))
        });
        let Err(trouble) = counted else { return Ok(()) };
        self.broke(Phase::Shield, course, trouble);
        let is_open = course.site.as_ref().is_some_and(|site| site.zone.fail_modes.shield == FailMode::Open);
        match trouble {
            Trouble::Panic | Trouble::Data if is_open => Ok(()),
            _ => Err(trouble),
        }
    }
}

/// Answers a request that a limit refuses.
pub(crate) async fn refuse_over(exchange: &mut Exchange, course: &mut Course, refused: Refused) {
    let Refused { over, refusal, reason } = refused;
    match over {
        Over { action: ActionKind::Block, answer: None } => refuse(exchange, course, refusal, reason).await,
        Over { action: ActionKind::Block, answer: Some(own) } => {
            answer_as(exchange, course, &own, (refusal, reason)).await;
        }
        _ => {
            let reason = "a limit of the zone asks for a challenge, and there are none yet";
            refuse(exchange, course, Refusal::ChallengeRequired, reason).await;
        }
    }
}

/// Counts an answer where a limit counts by answers, once.
fn count(
    course: &mut Course,
    connection: &exchange::Connection,
    (request, response): (&Request, &Response),
    scratch: &mut Scratch,
    now_ms: u64,
) -> Result<(), Trouble> {
    let Some(limited) = &mut course.limited else { return Ok(()) };
    let pending = std::mem::take(&mut limited.pending);
    let (limits, unix_us) = (Arc::clone(&limited.limits), limited.unix_us);
    let Some(site) = course.site.clone().filter(|_| !pending.is_empty()) else { return Ok(()) };
    let asked = Asked::of(course, connection, &site.zone.name, unix_us, course.began_us);
    let view = RequestView { response: Some(response), ..RequestView::of(&asked, request, None) };
    scratch.begin();
    let with = (&site.counts.counters, now_ms);
    rate::after(&limits, &pending, &view, scratch, course.rules.fuel(), with).map_err(|Spent| Trouble::Fuel)
}

/// Counts an answer that the node makes itself, and adds what limits tell the visitor.
pub(crate) fn settle(exchange: &Exchange, course: &mut Course, response: &mut Response) {
    let Some(limited) = &course.limited else { return };
    let now_ms = limited.now_ms;
    // It is the visitor's answer already: what breaks here is forgiven.
    let _forgiven = guard(|| {
        let what = (&exchange.request, &*response);
        count(course, &exchange.connection, what, &mut Scratch::new(), now_ms)
    });
    tell(&mut response.fields, course);
}

/// Adds what limits tell the visitor.
pub(crate) fn tell(fields: &mut Fields, course: &Course) {
    for (name, value) in course.limited.iter().flat_map(|limited| &limited.told) {
        fields.push(name, value);
    }
}

/// The fields of an answer: by the limit that refuses, else by the one with the least left.
fn told(limits: &RateLimits, rated: &Rated) -> Vec<(&'static [u8], Vec<u8>)> {
    let refusing = rated.met.last().filter(|_| rated.is_refused);
    let Some(met) = refusing.or_else(|| rated.tightest(limits)) else { return Vec::new() };
    let Some(limit) = limits.rates.get(met.limit) else { return Vec::new() };
    let Some(numbers) = Limit::of(limit) else { return Vec::new() };
    let mut told: Vec<(&'static [u8], Vec<u8>)> = vec![
        (b"RateLimit-Policy", rate::policy_field(&limit.name, &numbers).into_bytes()),
        (b"RateLimit", rate::rate_limit_field(&limit.name, &met.decision).into_bytes()),
    ];
    if let (true, Decision::Over { retry_ms }) = (rated.is_refused, met.decision) {
        told.push((b"Retry-After", rate::retry_after(retry_ms).to_string().into_bytes()));
    }
    told
}
