//! Drills in which one phase or one zone breaks from within (D3, D7): it alone errs, in the way it declares.
//!
//! Both need fault points. Read next: [`super::deaths`] for faults that end a process.

use anyhow::Result;

use super::Run;
use super::load::{Load, in_words};
use super::node::{NodeText, passing};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second for the other zone.
const RATE: u64 = 100;

const PHASES: [&str; 7] = ["admission", "shield", "route", "origin", "response", "delivery", "record"];
const KINDS: [&str; 5] = ["error", "panic", "fuel", "memory", "slow"];

/// What the defaults of the fail modes make of a fault: the status that a visitor gets.
fn declared(phase: &str, kind: &str) -> u16 {
    match (phase, kind) {
        (_, "slow") | ("record", _) => 200,
        (_, "fuel" | "memory") => 403,
        ("response", _) => 200,
        _ => 500,
    }
}

/// D3: each fault in each phase.
pub(super) fn phases(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &passing("a", &["a.example"], origin.address()))?;
    folder.zone("b", &passing("b", &["b.example"], origin.address()))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let load = Load::begin(&node.target("b.example")?, RATE)?;
    load.wait_for(RATE / 2);
    let mut as_declared = 0_u64;
    for (phase, kind) in PHASES.iter().flat_map(|phase| KINDS.map(|kind| (*phase, kind))) {
        let answer = target.ask("/", &format!("Rempart-Fault: {phase}={kind}\r\n"));
        let expected = declared(phase, kind);
        let holds = answer.as_ref().is_ok_and(|(status, _)| *status == expected);
        as_declared += u64::from(holds);
        if !holds {
            let found = format!("{} instead of {expected}", in_words(&answer));
            outcome.check(&format!("{phase}={kind} ends as declared"), false, found);
        }
        let next = target.ask("/", "");
        if !next.as_ref().is_ok_and(|(status, _)| *status == 200) {
            outcome.check(&format!("the zone serves on after {phase}={kind}"), false, in_words(&next));
        }
    }
    let all = (PHASES.len() * KINDS.len()) as u64;
    load.wait_for(RATE / 2);
    outcome.figure("faults", all);
    outcome.check("faults end as declared", as_declared == all, format!("{as_declared} of {all}"));
    outcome.add_unharmed("the other zone: no request fails", load.end());
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    Ok(())
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
