//! Drills in which processes die: by kill (D36), by one request (D35, D11), by what was published (D6).
//!
//! Read next: [`super::starts`] for what happens when nothing can be started any more.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::Run;
use super::load::{Load, VISITORS, in_words, wait_until};
use super::node::{AT_ONCE, Node, NodeText, PATIENCE, answering, passing, publish, signal};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second under which processes are killed.
const RATE: u64 = 200;

/// Requests before and after a fault.
const CALM: u64 = 60;

/// The mark of D11.
const STUCK: Duration = Duration::from_millis(100);

/// D36: `kill -9` of each process.
pub(super) fn killed(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 20000\nsoak_ms = 0\n";
    let folder = run.folder("node", &NodeText { more: publish.to_owned(), ..NodeText::default() })?;
    folder.zone("a", &passing("a", &["a.example"], origin.address()))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    edge_killed(&node, outcome).context("the edge")?;
    spare_killed(&node, outcome).context("the spare")?;
    candidate_killed(&node, outcome, &origin).context("the candidate")?;
    supervisor_killed(node, outcome).context("the supervisor")
}

/// Ends a load in which one process died that held visitors' connections: none may be refused, and of those
/// that it held each visitor can lose one.
fn settle_death(outcome: &mut Outcome, what: &str, load: Load) {
    load.wait_for(CALM);
    let (refused, failed) = outcome.add(load.end());
    outcome.figure(&format!("{what}_failed"), failed);
    outcome.check(&format!("{what} killed: no connection is refused"), refused == 0, refused);
    let holds = failed <= VISITORS;
    let found = format!("{failed} of at most {VISITORS}");
    outcome.check(&format!("{what} killed: only requests under way break"), holds, found);
}

fn edge_killed(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(CALM);
    let (edge, mark) = (node.edge()?, node.mark());
    let killed_at = crate::clock::now();
    signal(edge, Signal::KILL)?;
    let ready = node.wait_for(mark, "ready")?;
    let took = ready.at.saturating_duration_since(killed_at);
    outcome.figure("edge_replaced_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    outcome.check_time("edge killed: serving again by the spare", took, Duration::from_millis(100));
    settle_death(outcome, "edge", load);
    node.wait_for(mark, "spare_ready")?;
    Ok(())
}

fn spare_killed(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(CALM);
    let (edge, mark) = (node.edge()?, node.mark());
    for spare in node.others()? {
        signal(spare, Signal::KILL)?;
    }
    node.wait_for(mark, "spare_ready").context("another spare")?;
    load.wait_for(CALM);
    outcome.add_unharmed("spare killed: no request fails", load.end());
    outcome.check("spare killed: the edge stays", node.edge()? == edge, edge);
    Ok(())
}

fn candidate_killed(node: &Node, outcome: &mut Outcome, origin: &Origin) -> Result<()> {
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(CALM);
    let (edge, before) = (node.edge()?, node.others()?);
    let serves = node.status()?["snapshot"].clone();
    // The setting stands before the first table.
    let text = format!("server_timing = true\n{}", passing("a", &["a.example"], origin.address()));
    node.folder().zone("a", &text)?;
    let folder = node.folder().clone();
    let publishing = thread::spawn(move || publish(&folder, &["--wait"]));
    let is_trying =
        wait_until(PATIENCE, || node.status().is_ok_and(|status| status["publishing"]["stage"] == "canary"));
    ensure!(is_trying, "the change never served its share");
    load.wait_for(CALM);
    for candidate in node.others()?.into_iter().filter(|pid| !before.contains(pid)) {
        signal(candidate, Signal::KILL)?;
    }
    let (is_taken, said) = publishing.join().map_err(|_| anyhow::anyhow!("the publish broke off"))??;
    outcome.check("candidate killed: the change is not taken", !is_taken, said);
    settle_death(outcome, "candidate", load);
    let status = node.status()?;
    let stays = status["edge_pid"] == edge && status["snapshot"] == serves;
    outcome.check("candidate killed: edge and snapshot stay", stays, &status["snapshot"]);
    node.folder().zone("a", &passing("a", &["a.example"], origin.address()))
}

fn supervisor_killed(node: Node, outcome: &mut Outcome) -> Result<()> {
    let load = Load::begin(&node.target("a.example")?, RATE)?;
    load.wait_for(CALM);
    let (orphan, mark, folder) = (node.edge()?, node.mark(), node.folder().clone());
    signal(node.pid(), Signal::KILL)?;
    node.wait_for(mark, "supervisor_gone")?;
    load.wait_for(CALM);
    node.abandon()?;
    let second = folder.start().context("a second `serve`")?;
    let replaced = second.edge()?;
    load.wait_for(CALM);
    let drained = wait_until(PATIENCE, || !std::path::Path::new(&format!("/proc/{orphan}")).exists());
    load.wait_for(CALM);
    outcome.add_unharmed("supervisor killed: no request fails", load.end());
    outcome.check("supervisor killed: the next one takes over", replaced != orphan, replaced);
    outcome.check("supervisor killed: the edge before drains and ends", drained, drained);
    outcome.check("the node ends cleanly", second.stop()?, "");
    Ok(())
}

/// D35: the same request aborts the edge twice.
pub(super) fn query_of_death(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let load = Load::begin(&node.target("b.example")?, RATE)?;
    load.wait_for(CALM);
    let target = node.target("a.example")?;
    for kills in 1..=2_usize {
        let mark = node.mark();
        let answer = target.ask("/killer", "Rempart-Fault: route=abort\r\n");
        outcome.check(&format!("request {kills} kills the edge"), answer.is_err(), in_words(&answer));
        let died = node.wait_for(mark, "edge_died_of")?.event;
        let is_named = died["zone"] == "a" && died["phase"] == "route" && died["certain"] == true;
        outcome.check("zone and phase are named", is_named, &died);
        node.wait_for(mark, "spare_ready")?;
    }
    let answer = target.ask("/killer", "Rempart-Fault: route=abort\r\n");
    let is_refused = answer.as_ref().is_ok_and(|(status, _)| *status == 503);
    outcome.check("the third is refused at the door", is_refused, in_words(&answer));
    let other = target.ask("/", "");
    let is_served = other.as_ref().is_ok_and(|(status, _)| *status == 200);
    outcome.check("other requests of the zone are served", is_served, in_words(&other));
    load.wait_for(CALM);
    let (refused, failed) = outcome.add(load.end());
    outcome.check("no connection is refused", refused == 0, refused);
    let found = format!("{failed} of at most {}", 2 * VISITORS);
    outcome.check("only requests under way break", failed <= 2 * VISITORS, found);
    let restarts = node.status()?["edge_restarts"].clone();
    outcome.check("two deaths, no more", restarts == 2, restarts);
    Ok(())
}

/// D11: a request that never yields.
pub(super) fn endless(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let text = NodeText { node: "spare = true\ndrain_ms = 500\n", ..NodeText::default() };
    let folder = run.folder("node", &text)?;
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let load = Load::begin(&node.target("b.example")?, RATE)?;
    load.wait_for(CALM);
    let (target, mark, edge) = (node.target("a.example")?, node.mark(), node.edge()?);
    let hanging = {
        let target = target.clone();
        thread::spawn(move || target.ask("/hang", "Rempart-Fault: route=hang\r\n"))
    };
    let asked_at = crate::clock::now();
    let stuck = node.wait_for(mark, "thread_stuck")?;
    let is_named = stuck.event["zone"] == "a" && stuck.event["phase"] == "route";
    outcome.check("the thread, its zone and phase are named", is_named, &stuck.event);
    let took = stuck.at.saturating_duration_since(asked_at);
    outcome.figure("noticed_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    // The mark is on its own processor time, which is more on the clock when others want the processor.
    let burnt = Duration::from_micros(stuck.event["cpu_us"].as_u64().unwrap_or(u64::MAX));
    outcome.check_time("processor time it took until then", burnt, STUCK);
    node.wait_for(mark, "ready").context("another edge")?;
    load.wait_for(CALM);
    let ended = hanging.join().map_err(|_| anyhow::anyhow!("the visitor broke off"))?;
    outcome.check("its connection goes with its thread", ended.is_err(), in_words(&ended));
    let (refused, failed) = outcome.add(load.end());
    outcome.check("no connection is refused", refused == 0, refused);
    let found = format!("{failed} of at most {VISITORS}");
    outcome.check("only connections of that thread are lost", failed <= VISITORS, found);
    let replaced = node.edge()?;
    outcome.check("the process is replaced", replaced != edge, replaced);
    let again = target.ask("/hang", "Rempart-Fault: route=hang\r\n");
    let is_refused = again.as_ref().is_ok_and(|(status, _)| *status == 503);
    outcome.check("the second such request is refused at the door", is_refused, in_words(&again));
    Ok(())
}

/// D6: a change that crashes the edge after it has become the last good one.
pub(super) fn late_crash(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText { more: AT_ONCE.to_owned(), ..NodeText::default() })?;
    folder.zone("a", &answering("a", "good"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let target = node.target("a.example")?;
    let load = Load::begin(&target, RATE)?;
    load.wait_for(CALM);
    let bad =
        answering("a", "bad").replace("\"a.example\"", "\"a.example\", \"crash-after-1000ms.fault.invalid\"");
    folder.zone("a", &bad)?;
    let mark = node.mark();
    let (is_taken, said) = node.publish(&[])?;
    ensure!(is_taken, "the change should pass: {said}");
    let last_good = node.status()?["last_good"].clone();
    outcome.check("the change is the last good one", last_good == 2, last_good);
    let first = node.wait_for(mark, "edge_died").map(|told| told.at);
    let walked = wait_until(PATIENCE, || {
        let serves_old = target.ask("/", "").is_ok_and(|(_, body)| body == "good");
        // An edge that serves the old state for longer than the bad one lives.
        serves_old && node.status().is_ok_and(|status| status["snapshot"] == 1)
    });
    let back_at = crate::clock::now();
    load.wait_for(3 * RATE);
    let deaths = node.told(mark, "edge_died").len();
    outcome.figure("deaths", deaths);
    outcome.check("the node walks back to what was good", walked, walked);
    if let Ok(first) = first {
        let took = back_at.saturating_duration_since(first);
        outcome.figure("walked_back_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        outcome.check_time("serving what was good", took, Duration::from_secs(5));
    }
    let (refused, failed) = outcome.add(load.end());
    outcome.check("no connection is refused", refused == 0, refused);
    let most = VISITORS * deaths.max(1);
    outcome.check("only requests under way break", failed <= most, format!("{failed} of at most {most}"));
    let status = node.status()?;
    outcome.check("it stays there", status["snapshot"] == 1, &status["snapshot"]);
    Ok(())
}
