//! What is told of an inspection when the exchange is over: for the log, the counters and `rempart trace`.
//!
//! The text names rules with what they found, values that may be secrets masked by the engine, and the
//! exception that allows exactly this. It is bounded, since a ring keeps it. Called by [`super`].

use std::fmt::Write as _;

use seclang::{Match, Transaction};
use telemetry::metrics::WafOutcome;

use super::inspection::{Inspection, logged};

/// Bytes of one text: two rings of 1,024 exchanges a thread hold 8 MiB at most.
const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Characters of one value: enough to see what was found.
const VALUE_CHARS_MAX: usize = 120;

/// Of one rule, values that are shown.
const VALUES_MAX: usize = 4;

/// What is told of one exchange.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) outcome: Option<WafOutcome>,
    pub(crate) shadow: Option<WafOutcome>,
    /// Whether the shadow would have decided otherwise.
    pub(crate) has_differed: bool,
    /// Ids of the rules that matched and want to be logged, in order.
    pub(crate) ids: Vec<Box<str>>,
    pub(crate) score: Option<u32>,
    pub(crate) uninspected_bytes: u64,
    /// What its rules asked outside; none where they asked nothing.
    pub(crate) asked: Option<AskedOutside>,
    /// For `rempart trace`.
    pub(crate) text: Option<Box<str>>,
}

/// What rules asked outside, by the numbers.
#[derive(Clone, Copy)]
pub(crate) struct AskedOutside {
    /// Names that lists were asked for.
    pub(crate) lookups: u32,
    /// Values that no list said anything of.
    pub(crate) unanswered: u32,
    /// Patterns that macros made and that are none.
    pub(crate) patterns_broken: u32,
}

impl AskedOutside {
    fn of(transaction: &Transaction) -> Option<Self> {
        let asked = Self {
            lookups: transaction.lookups(),
            unanswered: transaction.unanswered(),
            patterns_broken: transaction.patterns_broken(),
        };
        (asked.lookups + asked.unanswered + asked.patterns_broken > 0).then_some(asked)
    }
}

impl Told {
    /// Of an exchange that was not inspected.
    pub(crate) fn boxed(outcome: WafOutcome) -> Box<Self> {
        Box::new(Self { outcome: Some(outcome), ..Self::default() })
    }

    /// Of an inspection that is over; `body_bytes` are the request's body's.
    pub(crate) fn of(inspection: &Inspection, body_bytes: u64) -> Self {
        let transaction = &inspection.main.transaction;
        let scores = transaction.scores();
        let outcome = inspection.outcome();
        let shadow = inspection.shadow_outcome();
        let refuses = |outcome| matches!(outcome, WafOutcome::Refused | WafOutcome::WouldRefuse);
        let uninspected = transaction.uninspected();
        // What streamed by behind the window was never fed.
        let behind = body_bytes.saturating_sub(inspection.fed_bytes);
        // How much of values was left out is not known.
        let of_request = uninspected.request_body_bytes.max(behind).max(u64::from(uninspected.values));
        Self {
            outcome: Some(outcome),
            shadow,
            has_differed: shadow.is_some_and(|shadow| refuses(shadow) != refuses(outcome)),
            ids: logged(transaction).map(|found| found.id.to_string().into_boxed_str()).collect(),
            score: u32::try_from(scores.inbound.max(scores.outbound)).ok(),
            uninspected_bytes: of_request.saturating_add(uninspected.response_body_bytes),
            asked: AskedOutside::of(transaction),
            text: text(inspection, outcome, shadow),
        }
    }
}

fn text(inspection: &Inspection, outcome: WafOutcome, shadow: Option<WafOutcome>) -> Option<Box<str>> {
    let transaction = &inspection.main.transaction;
    let mut matches: Vec<&Match> = logged(transaction).collect();
    // Whoever refuses is shown, however many there are.
    matches.sort_by_key(|found| !found.is_refusal);
    let shadow_matches: Vec<&Match> =
        inspection.shadow.iter().flat_map(|shadow| logged(&shadow.transaction)).collect();
    if matches.is_empty() && shadow_matches.is_empty() {
        return None;
    }
    let scores = transaction.scores();
    let exception = exception(inspection, &matches);
    let mut out = String::new();
    let _infallible = writeln!(
        out,
        "firewall {}, score {} of the request and {} of the answer",
        outcome.label(),
        scores.inbound,
        scores.outbound
    );
    let room = TEXT_BYTES_MAX.saturating_sub(exception.len() + 256);
    list(&mut out, &matches, room);
    if let Some(shadow) = shadow {
        let _infallible = writeln!(out, "its shadow {}", shadow.label());
        list(&mut out, &shadow_matches, room);
    }
    out.push_str(&exception);
    Some(out.into_boxed_str())
}

fn list(out: &mut String, matches: &[&Match], room: usize) {
    for (number, found) in matches.iter().enumerate() {
        if out.len() >= room {
            let _infallible = writeln!(out, "  and {} more rules", matches.len() - number);
            return;
        }
        let file = found.file.rsplit('/').next().unwrap_or(&found.file);
        let _infallible =
            writeln!(out, "  {} phase {} {file}:{} {}", found.id, found.phase, found.line, cut(&found.msg));
        if !found.data.is_empty() {
            let _infallible = writeln!(out, "    {}", cut(&found.data));
        }
        for variable in found.variables.iter().take(VALUES_MAX) {
            let _infallible = writeln!(out, "    {} = {}", cut(&variable.name), cut(&variable.value));
        }
        if found.variables.len() > VALUES_MAX {
            let _infallible = writeln!(out, "    and {} more", found.variables.len() - VALUES_MAX);
        }
    }
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(VALUE_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The exceptions, as a zone file has them, that allow exactly what these rules found: rules that found the
/// same variables are one exception.
fn exception(inspection: &Inspection, matches: &[&Match]) -> String {
    // Rules, and the variables they found; without variables the rules as a whole.
    let mut groups: Vec<(Vec<u64>, Vec<&str>)> = Vec::new();
    for found in matches {
        let names = match found.excludable() {
            Some(names) if names.is_empty() => continue,
            names => names.unwrap_or_default(),
        };
        match groups.iter_mut().find(|(_, known)| *known == names) {
            Some((ids, _)) if ids.contains(&found.id) => {}
            Some((ids, _)) => ids.push(found.id),
            None => groups.push((vec![found.id], names)),
        }
    }
    if groups.is_empty() {
        return String::new();
    }
    let mut out = String::from("to allow exactly this, add to the zone's file:\n");
    let path = inspection.path();
    for (number, (ids, names)) in groups.iter().enumerate() {
        if out.len() > TEXT_BYTES_MAX / 2 {
            let _infallible = writeln!(out, "# and {} more", groups.len() - number);
            break;
        }
        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
        let _infallible =
            write!(out, "\n[[waf.exception]]\npath = {}\nrules = [{}]\n", quoted(&path), ids.join(", "));
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            let _infallible = writeln!(out, "variables = [{}]", names.join(", "));
        }
    }
    out
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
