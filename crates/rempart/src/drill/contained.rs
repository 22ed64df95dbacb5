//! Drills in which one phase or one zone breaks from within (D3, D7): it alone errs, in the way it declares.
//!
//! Both need fault points. Read next: [`super::deaths`] for faults that end a process.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use super::load::{Load, Target, in_words, wait_until};
use super::node::{ACCESS, Node, NodeText, passing};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock;

/// Requests a second for the other zone.
const RATE: u64 = 100;

/// Phases of every zone.
const PHASES: [&str; 7] = ["admission", "shield", "route", "origin", "response", "delivery", "record"];

/// Those of a zone that has them.
const OWN_PHASES: [&str; 2] = ["waf", "cache"];

/// Each kind, and the word that it is counted under; what is slow is no break, and not counted.
const KINDS: [(&str, Option<&str>); 5] = [
    ("error", Some("data")),
    ("panic", Some("panic")),
    ("fuel", Some("fuel")),
    ("memory", Some("memory")),
    ("slow", None),
];

/// What `slow` burns: some 10 ms, far more than ten times what a request takes, and far below the 100 ms for
/// which a thread's watchdog waits.
const SLOW_STEPS: u64 = 20_000_000;

/// The least that these take on any machine: none does seven turns of a loop in a nanosecond.
const SLOW_LEAST: Duration = Duration::from_millis(3);

/// Slow requests for each phase, of which the quickest is judged: one may be slow for another reason.
const SLOW_TRIES: u32 = 3;

/// The longest that a request may take in which something broke: what a visitor does not notice yet.
const ENDS_WITHIN: Duration = Duration::from_millis(200);

/// How long what happened may take until it is counted or written: each thread hands over ten times a second.
const COUNTED_WITHIN: Duration = Duration::from_secs(5);

/// A cache and a firewall, with something for each to do.
const CACHE_AND_WAF: &str = "[cache]\nenabled = true\n[[cache.lifetime]]\nstatus = 200\nseconds = 60\n\
                             [waf]\nmode = \"block\"\nrules = [\"../own.conf\"]\n";

const FIREWALL: &str = "SecRule ARGS \"@contains evil\" \"id:1,phase:1,deny,status:403\"\n";

/// What the defaults of the fail modes make of a fault: the status that a visitor gets.
fn declared(phase: &str, kind: &str) -> u16 {
    match (phase, kind) {
        (_, "slow") | ("record", _) => 200,
        (_, "fuel" | "memory") => 403,
        // Open where the zone says nothing else: past the cache, and the answer as it came.
        ("cache" | "response", _) => 200,
        _ => 500,
    }
}

/// What became of the faults.
#[derive(Default)]
struct Faults {
    all: u64,
    as_declared: u64,
    struck: u64,
    longest: Duration,
    slowest: String,
}

/// D3: each fault in each phase, in a zone that has a cache and a firewall and in one that has neither.
pub(super) fn phases(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.write("own.conf", FIREWALL.as_bytes())?;
    folder.zone("a", &(passing("a", &["a.example"], origin.address()) + CACHE_AND_WAF))?;
    folder.zone("b", &passing("b", &["b.example"], origin.address()))?;
    folder.zone("plain", &passing("plain", &["plain.example"], origin.address()))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let evil = target.ask("/?q=evil", "");
    ensure!(matches!(evil, Ok((403, _))), "the firewall should refuse: {}", in_words(&evil));
    target.fetch(0, "/stored")?;
    ensure!(target.fetch(0, "/stored")?.is_hit(), "the cache should have the page");
    let load = Load::begin(&node.target("b.example")?, RATE)?;
    load.wait_for(RATE / 2);
    let mut faults = Faults::default();
    for phase in PHASES.into_iter().chain(OWN_PHASES) {
        each_kind(&node, &target, phase, &mut faults, outcome)?;
    }
    // Without a cache the origin is asked elsewhere in the code.
    let plain = node.target("plain.example")?;
    for phase in PHASES {
        each_kind(&node, &plain, phase, &mut faults, outcome)?;
    }
    load.wait_for(RATE / 2);
    let Faults { all, as_declared, struck, longest, slowest } = faults;
    outcome.figure("faults", all);
    outcome.figure("slowest", slowest);
    outcome.check("faults end as declared", as_declared == all, format!("{as_declared} of {all}"));
    outcome.check("each has struck", struck == all, format!("{struck} of {all}"));
    outcome.check_time("the slowest of them ends soon", longest, ENDS_WITHIN);
    outcome.add_unharmed("the other zone: no request fails", load.end());
    let stuck = node.told(0, "thread_stuck").len();
    outcome.check("no thread was stuck", stuck == 0, stuck);
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    Ok(())
}

/// Each kind of fault in one phase. Every request has a path of its own: what is stored would spare the
/// phases behind the cache.
fn each_kind(
    node: &Node,
    target: &Target,
    phase: &str,
    faults: &mut Faults,
    outcome: &mut Outcome,
) -> Result<()> {
    for (kind, word) in KINDS {
        faults.all += 1;
        let name = format!("{}: {phase}={kind}", target.host);
        let (took, has_struck) = match word {
            Some(word) => counted_fault(node, target, (phase, kind, word), &name, faults, outcome)?,
            None => slow(node, target, phase, &name, faults, outcome)?,
        };
        faults.struck += u64::from(has_struck);
        if took > faults.longest {
            (faults.longest, faults.slowest) = (took, name.clone());
        }
        let next = target.ask(&format!("/{phase}/{kind}/next"), "");
        if !next.as_ref().is_ok_and(|(status, _)| *status == 200) {
            outcome.check(&format!("the zone serves on after {name}"), false, in_words(&next));
        }
    }
    Ok(())
}

/// A break: it ends as declared, and is counted once under its phase and kind. Gives how long it took, and
/// whether it was counted.
fn counted_fault(
    node: &Node,
    target: &Target,
    (phase, kind, word): (&str, &str, &str),
    name: &str,
    faults: &mut Faults,
    outcome: &mut Outcome,
) -> Result<(Duration, bool)> {
    let series = format!("rempart_contained_total{{phase=\"{phase}\",kind=\"{word}\"}}");
    let before = node.metric(&series)?;
    let begun = clock::now();
    let answer = target.ask(&format!("/{phase}/{kind}"), &format!("Rempart-Fault: {phase}={kind}\r\n"));
    let took = clock::now().saturating_duration_since(begun);
    let expected = declared(phase, kind);
    let holds = answer.as_ref().is_ok_and(|(status, _)| *status == expected);
    faults.as_declared += u64::from(holds);
    if !holds {
        let found = format!("{} instead of {expected}", in_words(&answer));
        outcome.check(&format!("{name} ends as declared"), false, found);
    }
    wait_until(COUNTED_WITHIN, || node.metric(&series).is_ok_and(|count| count > before));
    let more = node.metric(&series)?.saturating_sub(before);
    if more != 1 {
        outcome.check(&format!("{name} is counted once under its phase"), false, more);
    }
    Ok((took, more == 1))
}

/// A phase that burns: its requests are answered, and the log says of each how long it took, the phase behind
/// the answer included. Gives how long the longest took, and whether the quickest was slow.
fn slow(
    node: &Node,
    target: &Target,
    phase: &str,
    name: &str,
    faults: &mut Faults,
    outcome: &mut Outcome,
) -> Result<(Duration, bool)> {
    let (mut quickest, mut longest, mut answered) = (Duration::MAX, Duration::ZERO, 0);
    for number in 0..SLOW_TRIES {
        let path = format!("/{phase}/slow/{number}");
        let answer = target.ask(&path, &format!("Rempart-Fault: {phase}=slow:{SLOW_STEPS}\r\n"));
        match answer {
            Ok((200, _)) => answered += 1,
            other => outcome.check(&format!("{name} ends as declared"), false, in_words(&other)),
        }
        let took = logged(node, &target.host, &path)?;
        (quickest, longest) = (quickest.min(took), longest.max(took));
    }
    faults.as_declared += u64::from(answered == SLOW_TRIES);
    let has_struck = quickest >= SLOW_LEAST;
    if !has_struck {
        outcome.check(&format!("{name} is slow"), false, format!("{} us", quickest.as_micros()));
    }
    Ok((longest, has_struck))
}

/// How long a request took, as the log has it.
fn logged(node: &Node, host: &str, path: &str) -> Result<Duration> {
    let mut took = None;
    wait_until(COUNTED_WITHIN, || {
        let text = fs::read_to_string(node.folder().at(ACCESS)).unwrap_or_default();
        let mut lines = text.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let line = lines.find(|line| line["host"] == host && line["path"] == path);
        took = line.and_then(|line| line["duration_us"].as_u64());
        took.is_some()
    });
    Ok(Duration::from_micros(took.with_context(|| format!("no line of {host}{path} in the log"))?))
}

/// D7: one zone's routes panic for everybody.
pub(super) fn one_zone(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &passing("a", &["a.example", "route-panic.fault.invalid"], origin.address()))?;
    folder.zone("b", &passing("b", &["b.example"], origin.address()))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let load = Load::begin(&node.target("b.example")?, RATE)?;
    load.wait_for(RATE / 2);
    let mut statuses = Vec::new();
    for network in 1..=16 {
        statuses.push(target.ask_from(network, "/", "").map_or(0, |(status, _)| status));
    }
    let is_declared = statuses.iter().all(|status| *status == 500);
    outcome.check("the zone answers as its fail mode says", is_declared, format!("{statuses:?}"));
    let told = node.wait_for(0, "phase_quarantined")?.event;
    let is_named = told["zone"] == "a" && told["phase"] == "route";
    outcome.check("zone and phase are named and quarantined", is_named, &told);
    let broke = node.told(0, "phase_broke").iter().any(|told| told.event["zone"] == "a");
    outcome.check("the first break is told", broke, broke);
    load.wait_for(RATE / 2);
    outcome.add_unharmed("the other zone: no request fails", load.end());
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    // Mended, it serves.
    folder.zone("a", &passing("a", &["a.example"], origin.address()))?;
    let (is_taken, said) = node.publish(&[])?;
    outcome.check("the mended zone is taken", is_taken, said);
    let mended = target.ask("/", "").map_or(0, |(status, _)| status);
    outcome.check("and serves", mended == 200, mended);
    Ok(())
}
