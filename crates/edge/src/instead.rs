//! Phase 7, beside what is done to an answer: what a visitor gets in its place, and what the log says of it.
//!
//! Rules of `http_response_firewall_managed` keep answers of origins back, rules of `http_custom_errors`
//! replace errors: the origin's here, Rempart's own where their page is made ([`page_for`]). Rules of
//! `http_log_custom_fields` are asked about the head as the visitor gets it ([`note_fields`]). Called by
//! `pipeline.rs`, `cache.rs` and `refuse.rs`.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use exchange::{BodySize, Connection, Fields, Phase, Refusal, Request, Response};
use rules::{Effect, LogNames, PageSpec, Scratch, Value, Verdict};
use telemetry::access::Logged;
use telemetry::metrics::Trouble;
use wire::Exchange;
use zone::Zone;

use crate::contain::guard;
use crate::course::Course;
use crate::pipeline::Edge;
use crate::refuse::{answer_as, refuse, reply};
use crate::view::{Asked, RequestView};

/// The least status of an error.
const ERROR_MIN: u16 = 400;

/// Fields of the log that rules add to one line: with those of a line's own, more than anybody reads.
const FIELDS_MAX: usize = 64;

/// Bytes of one such value; what is longer is cut.
const FIELD_BYTES_MAX: usize = 1_024;

/// Bytes of all of them, so that a rule does not fill the log's queue with few requests; those beyond are
/// left out.
const FIELDS_BYTES_MAX: usize = 16 * 1_024;

/// Fields of an error that mean something beside its page: what to do to be answered (RFC 9110 §10.2.1,
/// §10.2.3, §11.6.1; draft-ietf-httpapi-ratelimit-headers).
const KEPT: [&[u8]; 6] =
    [b"allow", b"retry-after", b"www-authenticate", b"proxy-status", b"ratelimit", b"ratelimit-policy"];

impl Edge {
    /// What rules put in place of an origin's or a stored answer, if anything.
    ///
    /// # Errors
    /// The request spent its budget.
    pub(crate) fn instead_of(
        &self,
        exchange: &Exchange,
        course: &mut Course,
        zone: &Zone,
        response: &Response,
    ) -> Result<Option<Verdict>, Trouble> {
        let Some(rules) = zone.rules.as_deref() else { return Ok(None) };
        let errors = rules.errors.as_ref().filter(|_| response.status >= ERROR_MIN);
        for phase in [rules.withholding.as_ref(), errors].into_iter().flatten() {
            let connection = Rc::clone(&exchange.connection);
            let asked = Asked::of(course, &connection, &zone.name, course.unix_us, self.clock.now_us());
            let outcome =
                self.ask_about_answer((rules, phase), &exchange.request, response, &asked, course)?;
            if outcome.verdict != Verdict::Continue {
                return Ok(Some(outcome.verdict));
            }
        }
        Ok(None)
    }

    /// Gives what rules put in place of an answer, whose body is let go of.
    pub(crate) async fn give_instead(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        verdict: Verdict,
        response: &Response,
    ) {
        const WHY: &str = "a rule of the zone, by the origin's answer";
        match verdict {
            Verdict::ServeError(page) => {
                course.note(Phase::Response, "replaced", u32::from(response.status), self.clock.now_us());
                let status = page.status.unwrap_or(response.status);
                let mut given = Response { status, body: BodySize::None, ..Response::default() };
                for field in response.fields.iter().filter(|field| is_kept(field.name)) {
                    given.fields.push(field.name, field.value);
                }
                dress_page(&mut given.fields, &page);
                // An error of the origin has no word of ours.
                let body = zone::filled(page.content.as_bytes(), &course.id.to_string(), status, "");
                reply(exchange, course, given, &body).await;
            }
            Verdict::Block(Some(own)) => {
                answer_as(exchange, course, &own, (Refusal::WafWithheld, WHY)).await;
            }
            // No other verdict is any of these phases'.
            _ => refuse(exchange, course, Refusal::WafWithheld, WHY).await,
        }
    }
}

fn is_kept(name: &[u8]) -> bool {
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

fn dress_page(fields: &mut Fields, page: &PageSpec) {
    fields.push(b"Content-Type", page.content_type.as_bytes());
    fields.push(b"Cache-Control", b"no-store");
}

/// The page that rules give in place of an error of Rempart's own; what breaks in them leaves the error as it
/// is.
pub(crate) fn page_for(
    exchange: &Exchange,
    course: &mut Course,
    response: &Response,
) -> Option<Arc<PageSpec>> {
    let site = course.site.clone()?;
    let phase = site.zone.rules.as_deref()?.errors.as_ref()?;
    let connection = Rc::clone(&exchange.connection);
    let asked = Asked::of(course, &connection, &site.zone.name, course.unix_us, course.began_us);
    let error_type = error_type(course, response.status);
    let request = &exchange.request;
    let view = RequestView { asked: &asked, request, rewritten: None, response: Some(response), error_type };
    let (fuel, skipped) = course.rules.budget();
    let evaluated = guard(|| {
        let mut scratch = Scratch::new();
        scratch.begin();
        phase.rulesets.evaluate(&view, &mut scratch, fuel, skipped).map_err(|_| Trouble::Fuel)
    });
    let outcome = evaluated.ok()?;
    outcome.matched.iter().for_each(|one| course.rules.matched(&one.rule));
    match outcome.verdict {
        Verdict::ServeError(page) => Some(page),
        _ => None,
    }
}

/// What the language calls the kind of an error page of ours.
fn error_type(course: &Course, status: u16) -> &'static str {
    match course.refusal {
        Some(Refusal::RuleBlocked | Refusal::WafBlocked | Refusal::WafWithheld | Refusal::Uninspected) => {
            "waf"
        }
        Some(Refusal::Blocked) => "ip_ban",
        Some(Refusal::ChallengeRequired) => "managed_challenge",
        Some(Refusal::RateLimited | Refusal::ConcurrencyLimited | Refusal::FloodLimited) => "ratelimit",
        _ if status >= 500 => "5xx",
        _ => "",
    }
}

/// Keeps what rules add to the log of an answer, by its head as the visitor gets it. It is nobody's answer:
/// what breaks leaves the line without.
pub(crate) fn note_fields(
    course: &mut Course,
    connection: &Connection,
    (request, response): (&Request, &Response),
    now_us: u64,
) {
    let Some(site) = course.site.clone() else { return };
    let logging = site.zone.rules.as_deref().and_then(|rules| rules.logging.as_ref());
    let Some(phase) = logging else { return };
    let asked = Asked::of(course, connection, &site.zone.name, course.unix_us, now_us);
    let view =
        RequestView { asked: &asked, request, rewritten: None, response: Some(response), error_type: "" };
    let (fuel, skipped) = course.rules.budget();
    let evaluated = guard(|| {
        let mut scratch = Scratch::new();
        scratch.begin();
        phase.rulesets.evaluate(&view, &mut scratch, fuel, skipped).map_err(|_| Trouble::Fuel)
    });
    let Ok(outcome) = evaluated else { return };
    outcome.matched.iter().for_each(|one| course.rules.matched(&one.rule));
    let mut fields = Vec::new();
    for effect in outcome.effects {
        match effect {
            Effect::LogNames(names) => named(&names, request, response, &mut fields),
            Effect::LogValue(name, Some(value)) => fields.push((name.to_string(), logged(value))),
            _ => {}
        }
    }
    // Of two of one name the later counts.
    let mut names = HashSet::new();
    fields.reverse();
    fields.retain(|(name, _)| names.insert(name.clone()));
    fields.reverse();
    let mut bytes = 0;
    fields.retain(|(name, value)| {
        bytes += name.len() + value.bytes_len();
        bytes <= FIELDS_BYTES_MAX
    });
    fields.truncate(FIELDS_MAX);
    course.logged = (!fields.is_empty()).then(|| fields.into_boxed_slice());
}

fn logged(value: Value) -> Logged {
    match value {
        Value::Bool(value) => Logged::Bool(value),
        Value::Int(value) => Logged::Int(value),
        Value::Bytes(value) => text(value),
        value => text(value.to_string().into_bytes()),
    }
}

fn text(mut value: Vec<u8>) -> Logged {
    value.truncate(FIELD_BYTES_MAX);
    Logged::Text(value)
}

/// Values of the fields and cookies of these names; several of one name are joined as RFC 9110 §5.3 says.
fn named(names: &LogNames, request: &Request, response: &Response, out: &mut Vec<(String, Logged)>) {
    for (prefix, wanted, fields) in [
        ("header", &names.request_headers, &request.fields),
        ("response_header", &names.response_headers, &response.fields),
    ] {
        for name in wanted {
            let values = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
            let values: Vec<&[u8]> = values.map(|field| field.value).collect();
            if !values.is_empty() {
                out.push((format!("{prefix}:{name}"), text(values.join(&b", "[..]))));
            }
        }
    }
    for name in &names.cookies {
        let lines = request.fields.all_known(exchange::Known::Cookie);
        let mut pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
        let found = pairs.find_map(|pair| {
            let pair = pair.trim_ascii();
            let at = memchr::memchr(b'=', pair)?;
            let (key, value) = pair.split_at(at);
            (key == name.as_bytes()).then(|| value.strip_prefix(b"=").unwrap_or(value).to_vec())
        });
        if let Some(value) = found {
            out.push((format!("cookie:{name}"), text(value)));
        }
    }
}
