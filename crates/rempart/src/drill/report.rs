//! What a drill found: checks, figures, a strip of requests over time; as text, JSON and Markdown.
//!
//! Members of the JSON are an interface: add, never rename. Called by [`super`] and the drills.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::load::{End, Visit};

/// What a strip's character stands for.
const STRIP_STEP: Duration = Duration::from_millis(100);

/// Longest strip printed; a longer one is drawn in longer steps.
const STRIP_CHARACTERS_MAX: usize = 100;

/// A request that took this long is one that a visitor notices.
const SLOW: Duration = Duration::from_millis(200);

/// Ways in which requests of one load failed, told in words.
const ENDS_TOLD: usize = 4;

/// One pass mark.
#[derive(Debug)]
struct Check {
    what: String,
    holds: bool,
    found: String,
}

/// What a drill found.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    checks: Vec<Check>,
    notes: Vec<String>,
    figures: Map<String, Value>,
    visits: Vec<Visit>,
    /// Whether times are judged, or only shown.
    judges_times: bool,
    /// Whether nothing was done, as a peer has nothing of the kind.
    is_left_out: bool,
}

impl Outcome {
    pub(super) fn new(judges_times: bool) -> Self {
        Self { judges_times, ..Self::default() }
    }

    /// Notes a pass mark, and what was found.
    pub(super) fn check(&mut self, what: &str, holds: bool, found: impl Display) {
        let found = found.to_string().replace('\n', "; ");
        self.checks.push(Check { what: what.to_owned(), holds, found });
    }

    /// Notes a pass mark on a time.
    pub(super) fn check_time(&mut self, what: &str, took: Duration, most: Duration) {
        let holds = took <= most || !self.judges_times;
        let judged = if self.judges_times { "" } else { ", not judged" };
        self.check(what, holds, format!("{} ms of {}{judged}", took.as_millis(), most.as_millis()));
    }

    /// Notes a pass mark on a part of what was measured before, which other work on the machine moves as it
    /// does times.
    pub(super) fn check_share(&mut self, what: &str, share: f64, least: f64) {
        let holds = share >= least || !self.judges_times;
        let judged = if self.judges_times { "" } else { ", not judged" };
        self.check(what, holds, format!("{:.0} % of {:.0} %{judged}", share * 100.0, least * 100.0));
    }

    /// Notes what was not done, and why.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Notes that nothing was done, and why.
    pub(super) fn leave_out(&mut self, why: &str) {
        self.is_left_out = true;
        self.note(why);
    }

    /// Whether nothing was done.
    pub(super) fn is_left_out(&self) -> bool {
        self.is_left_out
    }

    /// Notes a figure under a name.
    pub(super) fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// Adds a load's visits, after those that are there; gives how many were refused and how many failed,
    /// those
    /// refused among them.
    pub(super) fn add(&mut self, visits: Vec<Visit>) -> (usize, usize) {
        let refused = visits.iter().filter(|visit| matches!(visit.end, End::Refused(_))).count();
        let failed = visits.iter().filter(|visit| visit.has_failed()).count();
        self.note_ends(&visits);
        let after = self.visits.last().map_or(Duration::ZERO, |last| last.at + STRIP_STEP);
        let later = |visit: Visit| Visit { at: visit.at + after, came: visit.came + after, ..visit };
        self.visits.extend(visits.into_iter().map(later));
        (refused, failed)
    }

    /// Notes what those got who were not served: each way in which it ended, the most frequent first.
    fn note_ends(&mut self, visits: &[Visit]) {
        let mut ends: Vec<(String, usize)> = Vec::new();
        for visit in visits.iter().filter(|visit| visit.has_failed()) {
            let end = format!("{:?}", visit.end);
            match ends.iter_mut().find(|(known, _)| *known == end) {
                Some((_, count)) => *count += 1,
                None => ends.push((end, 1)),
            }
        }
        ends.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let told: Vec<String> =
            ends.iter().take(ENDS_TOLD).map(|(end, count)| format!("{count} × {end}")).collect();
        if !told.is_empty() {
            let more = if ends.len() > ENDS_TOLD { ", and others" } else { "" };
            self.note(format!("not served: {}{more}", told.join(", ")));
        }
    }

    /// Notes that no request of a load may fail.
    pub(super) fn add_unharmed(&mut self, what: &str, visits: Vec<Visit>) {
        let sent = visits.len();
        let (_, failed) = self.add(visits);
        self.check(what, failed == 0, format!("{failed} of {sent} failed"));
    }

    /// Notes that the drill itself broke off.
    pub(super) fn broke_off(&mut self, error: &anyhow::Error) {
        self.check("the drill runs to its end", false, format!("{error:#}"));
    }

    /// Whether every mark holds.
    pub(super) fn is_pass(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.holds)
    }

    fn counts(&self) -> [usize; 4] {
        let count = |is_it: fn(&Visit) -> bool| self.visits.iter().filter(|visit| is_it(visit)).count();
        [
            self.visits.len(),
            count(Visit::has_failed),
            count(|visit| matches!(visit.end, End::Refused(_))),
            count(|visit| !visit.has_failed() && visit.took > SLOW),
        ]
    }

    /// A quantile of the times of requests that were answered, in milliseconds.
    fn quantile_ms(&self, share: f64) -> f64 {
        let mut times: Vec<Duration> =
            self.visits.iter().filter(|visit| !visit.has_failed()).map(|visit| visit.took).collect();
        times.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place among at most a million"
        )]
        let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
    }

    /// One character per step: `.` all answered, `~` one was slow, `x` one failed, `X` one was refused, a
    /// space
    /// when none was due.
    fn strip(&self) -> (String, Duration) {
        let last = self.visits.iter().map(|visit| visit.at).max().unwrap_or_default();
        let mut step = STRIP_STEP;
        while last.as_millis() / step.as_millis() >= STRIP_CHARACTERS_MAX as u128 {
            step *= 2;
        }
        let mut strip: Vec<char> = Vec::new();
        for visit in &self.visits {
            let place = usize::try_from(visit.at.as_millis() / step.as_millis()).unwrap_or(0);
            if strip.len() <= place {
                strip.resize(place + 1, ' ');
            }
            let mark = match &visit.end {
                End::Refused(_) => 'X',
                _ if visit.has_failed() => 'x',
                _ if visit.took > SLOW => '~',
                _ => '.',
            };
            let rank = |mark: char| " .~xX".find(mark).unwrap_or(0);
            if let Some(there) = strip.get_mut(place)
                && rank(mark) > rank(*there)
            {
                *there = mark;
            }
        }
        (strip.into_iter().collect(), step)
    }
}

/// What is told of a drill beside its outcome.
#[derive(Debug, Clone, Copy)]
pub(super) struct Title<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) outage: &'a str,
    pub(super) done: &'a str,
}

fn verdict(outcome: &Outcome) -> &'static str {
    match (outcome.is_left_out, outcome.is_pass()) {
        (true, _) => "not done",
        (false, true) => "pass",
        (false, false) => "fail",
    }
}

/// A drill for a person.
pub(super) fn text(title: Title<'_>, outcome: &Outcome, took: Duration) -> String {
    let [sent, failed, refused, slowed] = outcome.counts();
    let mut text = format!("{} {}: {}\n", title.id, title.name, verdict(outcome));
    // Writing to a string does not fail.
    let _ = writeln!(text, "  from      {}", title.outage);
    let _ = writeln!(text, "  done      {}", title.done);
    if sent > 0 {
        let _ = writeln!(
            text,
            "  requests  {sent} sent, {failed} failed, {refused} of these refused, {slowed} slowed; p50 {} \
            ms, \
             p99 {} ms",
            outcome.quantile_ms(0.5),
            outcome.quantile_ms(0.99)
        );
        let (strip, step) = outcome.strip();
        let _ = writeln!(text, "  strip     {strip}  ({} ms each)", step.as_millis());
    }
    for (name, value) in &outcome.figures {
        let _ = writeln!(text, "  figure    {name} = {value}");
    }
    for check in &outcome.checks {
        let mark = if check.holds { "holds" } else { "FAILS" };
        let _ = writeln!(text, "  {mark}     {}: {}", check.what, check.found);
    }
    for note in &outcome.notes {
        let _ = writeln!(text, "  note      {note}");
    }
    let _ = writeln!(text, "  took      {:.1} s\n", took.as_secs_f64());
    text
}

/// A drill for a program.
pub(super) fn json(title: Title<'_>, outcome: &Outcome, took: Duration) -> Value {
    let [sent, failed, refused, slowed] = outcome.counts();
    let checks: Vec<Value> = outcome
        .checks
        .iter()
        .map(|check| json!({"what": check.what, "holds": check.holds, "found": check.found}))
        .collect();
    let (strip, step) = outcome.strip();
    json!({
        "id": title.id,
        "name": title.name,
        "verdict": verdict(outcome),
        "outage": title.outage,
        "done": title.done,
        "sent": sent,
        "failed": failed,
        "refused": refused,
        "slowed": slowed,
        "p50_ms": outcome.quantile_ms(0.5),
        "p99_ms": outcome.quantile_ms(0.99),
        "strip": strip,
        "strip_step_ms": u64::try_from(step.as_millis()).unwrap_or(0),
        "figures": outcome.figures,
        "checks": checks,
        "notes": outcome.notes,
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    })
}

/// A drill as a row of a Markdown table.
pub(super) fn row(title: Title<'_>, outcome: &Outcome) -> String {
    let [sent, failed, refused, slowed] = outcome.counts();
    let figures: Vec<String> =
        outcome.figures.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let broken = outcome.checks.iter().filter(|check| !check.holds);
    let broken: Vec<String> = broken.map(|check| format!("{}: {}", check.what, check.found)).collect();
    let notes: Vec<&str> =
        outcome.notes.iter().map(String::as_str).chain(broken.iter().map(String::as_str)).collect();
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!(
        "| {} | {} | {sent} | {failed} | {refused} | {slowed} | {} | {} | {} | {} |",
        title.id,
        title.name,
        outcome.quantile_ms(0.99),
        cell(&figures.join(", ")),
        verdict(outcome),
        cell(&notes.join("; ")),
    )
}

/// The head of such a table.
pub(super) const ROWS_HEAD: &str = "| id | drill | sent | failed | of these refused | slowed | p99 ms | \
figures | \
                                    verdict | notes |\n| --- | --- | --- | --- | --- | --- | --- | --- | \
                                    --- | --- |";

#[cfg(test)]
mod tests {
    use super::*;

    fn visit(at_ms: u64, took_ms: u64, end: End) -> Visit {
        let at = Duration::from_millis(at_ms);
        Visit { at, came: at, took: Duration::from_millis(took_ms), end }
    }

    fn found() -> Outcome {
        let mut outcome = Outcome::new(true);
        let visits = vec![
            visit(0, 1, End::Answered(200)),
            visit(50, 900, End::Meant(403)),
            visit(110, 1, End::Broken("gone".into())),
            visit(300, 1, End::Refused("no".into())),
        ];
        assert_eq!(outcome.add(visits), (1, 2));
        outcome
    }

    #[test]
    fn a_strip_shows_the_worst_of_each_step_and_where_none_was_due() {
        assert_eq!(found().strip().0, "~x X");
        assert_eq!(found().counts(), [4, 2, 1, 1]);
    }

    #[test]
    fn what_those_got_who_were_not_served_is_told_once_for_each_kind() {
        let mut outcome = Outcome::new(true);
        let got = |text: &str| End::Wrong(text.to_owned());
        let visits = [got("403 no"), got("429 later"), End::Answered(200), got("429 later")];
        outcome.add(visits.into_iter().map(|end| visit(0, 1, end)).collect());
        assert_eq!(outcome.notes, ["not served: 2 × Wrong(\"429 later\"), 1 × Wrong(\"403 no\")"]);
    }

    #[test]
    fn a_drill_without_a_pass_mark_does_not_pass() {
        let mut outcome = found();
        assert!(!outcome.is_pass());
        outcome.check("a", true, "1");
        assert!(outcome.is_pass());
        outcome.check("b", false, "2");
        assert!(!outcome.is_pass());
    }

    #[test]
    fn times_are_judged_only_where_they_shall_be() {
        for (judges, passes) in [(true, false), (false, true)] {
            let mut outcome = Outcome::new(judges);
            outcome.check_time("soon", Duration::from_secs(2), Duration::from_secs(1));
            assert_eq!(outcome.is_pass(), passes);
        }
    }

    #[test]
    fn json_has_the_members_that_scripts_read() {
        let title = Title { id: "D0", name: "n", outage: "o", done: "d" };
        let value = json(title, &found(), Duration::from_secs(1));
        assert_eq!(
            (&value["id"], &value["verdict"], &value["failed"]),
            (&"D0".into(), &"fail".into(), &2.into())
        );
    }
}
