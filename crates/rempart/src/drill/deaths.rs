//! Drills in which processes die: by kill (D36), by one request (D35, D11), by what was published (D6).
//!
//! Read next: [`super::starts`] for what happens when nothing can be started any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::Run;
use super::dying::{Death, Watch, Watched, settle};
use super::load::{Idle, Kept, Load, Visit, in_words, wait_until};
use super::node::{AT_ONCE, Node, NodeText, PATIENCE, answering, passing, publish, signal};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second under which processes are killed.
const RATE: u64 = 200;

/// Requests before and after a fault.
const CALM: u64 = 60;

/// The mark of D11.
const STUCK: Duration = Duration::from_millis(100);

/// How long who comes to a stuck thread may wait for a neighbour, once it is known to be stuck: it takes some
/// milliseconds, the rest is the machine's, of which the stuck thread has a core.
const RELIEF: Duration = Duration::from_millis(200);

/// What a thread may do in the same turn before it hangs: take connections, and not answer them.
const TICK: Duration = Duration::from_millis(5);

/// What the origin of D36 says.
const PAGE: &str = "from the origin";

/// D36: `kill -9` of each process.
pub(super) fn killed(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start(PAGE, None)?;
    let publish = "[publish]\ncompare_ms = 0\ncanary_percent = 50\ncanary_ms = 20000\nsoak_ms = 0\n";
    let folder = run.folder("node", &NodeText { more: publish.to_owned(), ..NodeText::default() })?;
    folder.zone("a", &passing("a", &["a.example"], origin.address()))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    edge_killed(&node, outcome).context("the edge")?;
    spare_killed(&node, outcome).context("the spare")?;
    candidate_killed(&node, outcome, &origin).context("the candidate")?;
    supervisor_killed(node, outcome).context("the supervisor")?;
    edge_killed_alone(run, outcome).context("an edge without a spare")
}

/// Ends a load under which one process died.
fn settle_death(outcome: &mut Outcome, what: &str, load: Load, death: Death) {
    load.wait_for(CALM);
    let visits = settle(outcome, &format!("{what} killed"), load, &[death]);
    let failed = visits.iter().filter(|visit| visit.has_failed()).count();
    outcome.figure(&format!("{}_failed", what.replace(' ', "_")), failed);
}

fn edge_killed(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let target = node.target("a.example")?;
    let load = Load::expecting(&target, RATE, &[(200, PAGE)])?;
    load.wait_for(CALM);
    let idle = Idle::connect(&target)?;
    let (edge, mark) = (Watched::open(node.edge()?)?, node.mark());
    let death = edge.kill()?;
    let new = Idle::waiting(&target).context("visitors of all networks after the edge was killed")?;
    let ready = node.wait_for(mark, "ready")?;
    let took = ready.at.saturating_duration_since(death.from);
    outcome.figure("edge_replaced_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    outcome.check_time("edge killed: serving again by the spare", took, Duration::from_millis(100));
    let (all, ended) = (idle.count(), idle.ended());
    outcome.check("edge killed: its idle connections end", ended == all, of(ended, all));
    stay(outcome, "edge killed: connections made in that moment", &new);
    settle_death(outcome, "edge", load, death);
    node.wait_for(mark, "spare_ready")?;
    stay(outcome, "edge killed: connections of the next one", &new);
    queue_killed(node, outcome)
}

/// Visitors whom the kernel has connected and the edge has not taken when it is killed: it is stopped before,
/// so that none of them can be its own.
fn queue_killed(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let target = node.target("a.example")?;
    let (edge, mark) = (Watched::open(node.edge()?)?, node.mark());
    edge.stop()?;
    let queue = Idle::waiting(&target)?;
    edge.kill()?;
    stay(outcome, "edge killed: visitors in its queue", &queue);
    node.wait_for(mark, "spare_ready")?;
    Ok(())
}

/// An edge that has no spare is started anew: visitors wait that long in the kernel's queue.
fn edge_killed_alone(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("alone", &NodeText { node: "spare = false\n", ..NodeText::default() })?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    let target = node.target("a.example")?;
    let load = Load::expecting(&target, RATE, &[(200, "one")])?;
    load.wait_for(CALM);
    let mark = node.mark();
    let death = Watched::open(node.edge()?)?.kill()?;
    let new = Idle::waiting(&target).context("visitors of all networks while there is no edge")?;
    let took = node.wait_for(mark, "ready")?.at.saturating_duration_since(death.from);
    outcome.figure("edge_started_anew_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    outcome.check_time("edge killed without a spare: serving again", took, Duration::from_secs(2));
    stay(outcome, "edge killed without a spare: connections made meanwhile", &new);
    settle_death(outcome, "edge alone", load, death);
    Ok(())
}

fn of(count: usize, all: usize) -> String {
    format!("{count} of {all}")
}

/// Notes that every idle connection must still be answered.
fn stay(outcome: &mut Outcome, what: &str, idle: &Idle) {
    let (answered, all) = (idle.answered(), idle.count());
    outcome.check(&format!("{what}: each idle one is answered"), answered == all, of(answered, all));
}

fn spare_killed(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let target = node.target("a.example")?;
    let load = Load::expecting(&target, RATE, &[(200, PAGE)])?;
    load.wait_for(CALM);
    let (idle, edge, mark) = (Idle::connect(&target)?, node.edge()?, node.mark());
    for spare in node.others()? {
        signal(spare, Signal::KILL)?;
    }
    node.wait_for(mark, "spare_ready").context("another spare")?;
    load.wait_for(CALM);
    outcome.add_unharmed("spare killed: no request fails", load.end());
    stay(outcome, "spare killed: connections of the edge", &idle);
    outcome.check("spare killed: the edge stays", node.edge()? == edge, edge);
    Ok(())
}

fn candidate_killed(node: &Node, outcome: &mut Outcome, origin: &Origin) -> Result<()> {
    let target = node.target("a.example")?;
    let load = Load::expecting(&target, RATE, &[(200, PAGE)])?;
    load.wait_for(CALM);
    // Before the candidate has its share: all of these are the edge's.
    let idle = Idle::connect(&target)?;
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
    let candidates: Vec<u32> = node.others()?.into_iter().filter(|pid| !before.contains(pid)).collect();
    ensure!(candidates.len() == 1, "{} processes came with the change", candidates.len());
    let death = Watched::open(candidates.first().copied().unwrap_or_default())?.kill()?;
    let (is_taken, said) = publishing.join().map_err(|_| anyhow::anyhow!("the publish broke off"))??;
    outcome.check("candidate killed: the change is not taken", !is_taken, said);
    settle_death(outcome, "candidate", load, death);
    stay(outcome, "candidate killed: connections of the edge", &idle);
    let status = node.status()?;
    let stays = status["edge_pid"] == edge && status["snapshot"] == serves;
    outcome.check("candidate killed: edge and snapshot stay", stays, &status["snapshot"]);
    node.folder().zone("a", &passing("a", &["a.example"], origin.address()))
}

fn supervisor_killed(node: Node, outcome: &mut Outcome) -> Result<()> {
    let target = node.target("a.example")?;
    let load = Load::expecting(&target, RATE, &[(200, PAGE)])?;
    load.wait_for(CALM);
    let idle = Idle::connect(&target)?;
    let (orphan, mark, folder) = (node.edge()?, node.mark(), node.folder().clone());
    signal(node.pid(), Signal::KILL)?;
    node.wait_for(mark, "supervisor_gone")?;
    load.wait_for(CALM);
    stay(outcome, "supervisor killed: connections of the edge that serves on", &idle);
    node.abandon()?;
    let second = folder.start().context("a second `serve`")?;
    let replaced = second.edge()?;
    stay(outcome, "supervisor killed: connections of the edge that is replaced", &idle);
    drop(idle);
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
    let load = Load::expecting(&node.target("b.example")?, RATE, &[(200, "two")])?;
    load.wait_for(CALM);
    let (target, mut deaths) = (node.target("a.example")?, Vec::new());
    for kills in 1..=2_usize {
        let (mark, asked_at) = (node.mark(), crate::clock::now());
        let answer = target.ask("/killer", "Rempart-Fault: route=abort\r\n");
        // Its connection ends as the others of its process do, once no thread of that runs any more.
        deaths.push(Death { from: asked_at, to: crate::clock::now() });
        outcome.check(&format!("request {kills} kills the edge"), answer.is_err(), in_words(&answer));
        let new = Idle::waiting(&node.target("b.example")?)?;
        stay(outcome, "connections made in that moment", &new);
        let took = node.wait_for(mark, "culprit")?.at.saturating_duration_since(asked_at);
        outcome.check_time("the culprit is told", took, Duration::from_secs(1));
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
    settle(outcome, "visitors of the other zone", load, &deaths);
    let restarts = node.status()?["edge_restarts"].clone();
    outcome.check("two deaths, no more", restarts == 2, restarts);
    Ok(())
}

/// D11: a request that never yields.
pub(super) fn endless(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let more = format!("{AT_ONCE}compile_cpu_s = 1\n");
    let text = NodeText { node: "spare = true\ndrain_ms = 500\n", more, ..NodeText::default() };
    let folder = run.folder("node", &text)?;
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let load = Load::expecting(&node.target("b.example")?, RATE, &[(200, "two")])?;
    load.wait_for(CALM);
    let idle = Idle::connect(&node.target("b.example")?)?;
    let threads = threads(&node, &idle)?;
    let (target, mark, edge) = (node.target("a.example")?, node.mark(), node.edge()?);
    let asked_at = crate::clock::now();
    let hanging = {
        let target = target.clone();
        thread::spawn(move || target.ask("/hang", "Rempart-Fault: route=hang\r\n"))
    };
    let stuck = node.wait_for(mark, "thread_stuck")?;
    let is_named = stuck.event["zone"] == "a" && stuck.event["phase"] == "route";
    outcome.check("the thread, its zone and phase are named", is_named, &stuck.event);
    let took = stuck.at.saturating_duration_since(asked_at);
    outcome.figure("noticed_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    // The mark is on its own processor time, which is more on the clock when others want the processor.
    let burnt = Duration::from_micros(stuck.event["cpu_us"].as_u64().unwrap_or(u64::MAX));
    outcome.check_time("processor time it took until then", burnt, STUCK);
    let thread = stuck.event["thread"].as_u64().context("no thread is named")?;
    let (its, others) = idle.part(|kept| kept.from().is_ok_and(|at| threads.get(&at) == Some(&thread)));
    let is_spread = its.count() > 0 && others.count() > 0;
    outcome.check("each thread has idle connections", is_spread, of(its.count(), threads.len()));
    stay(outcome, "connections of other threads while it is stuck", &others);
    let ready = node.wait_for(mark, "ready").context("another edge")?;
    load.wait_for(CALM);
    let ended = hanging.join().map_err(|_| anyhow::anyhow!("the visitor broke off"))?;
    outcome.check("its connection goes with its thread", ended.is_err(), in_words(&ended));
    let (gone, all) = (its.ended(), its.count());
    outcome.check("and so do the idle ones of that thread", gone == all, of(gone, all));
    // It hung for at least the processor time that it had taken when that was told.
    let hung_at = stuck.at.checked_sub(burnt).unwrap_or(asked_at) + TICK;
    let hang = Death { from: asked_at, to: hung_at };
    let (noticed, replaced_at) = (load.after(stuck.at), load.after(ready.at));
    let under_way = load.after(hang.to);
    let visits = settle(outcome, "visitors of the other zone", load, &[hang]);
    relieved(outcome, &visits, under_way, noticed, replaced_at);
    let replaced = node.edge()?;
    outcome.check("the process is replaced", replaced != edge, replaced);
    let again = target.ask("/hang", "Rempart-Fault: route=hang\r\n");
    let is_refused = again.as_ref().is_ok_and(|(status, _)| *status == 503);
    outcome.check("the second such request is refused at the door", is_refused, in_words(&again));
    compiled_without_end(&node, outcome)
}

/// While a thread is stuck, newcomers to it are taken by its neighbours: nobody waits for its end. Without
/// that all visitors of the load would wait there soon, and hardly any be served before another process is.
fn relieved(outcome: &mut Outcome, visits: &[Visit], hung: Duration, noticed: Duration, replaced: Duration) {
    let came: Vec<&Visit> = visits.iter().filter(|visit| visit.came > hung && visit.at < replaced).collect();
    let served = came.iter().filter(|visit| !visit.has_failed() && visit.over() < replaced).count();
    let waited = came.iter().map(|visit| visit.over().saturating_sub(visit.at.max(noticed)));
    let slowest = waited.max().unwrap_or_default();
    outcome.figure("served_while_it_is_stuck", served);
    outcome.figure("relieved_after_ms", u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX));
    let found = of(served, came.len());
    outcome.check("neighbours accept for it: visitors are served", served as u64 > RATE / 4, found);
    outcome.check_time("neighbours accept for it: at once", slowest, RELIEF);
}

/// A change that never ends to be compiled: its candidate spins until its processor time is used up.
fn compiled_without_end(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let load = Load::expecting(&node.target("b.example")?, RATE, &[(200, "two")])?;
    load.wait_for(CALM);
    node.folder().zone("c", &answering("c", "three").replace("c.example", "compile-hang.fault.invalid"))?;
    let asked_at = crate::clock::now();
    let (is_taken, said) = node.publish(&[])?;
    let took = crate::clock::now().saturating_duration_since(asked_at);
    outcome.figure("compile_ended_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    let is_by_time = !is_taken && said.contains("processor time");
    outcome.check("a compile without end is withdrawn, since it took its time", is_by_time, said);
    // A second of processor time, and what the start of a process takes.
    outcome.check_time("and as soon as that is used up", took, Duration::from_secs(2));
    outcome.add_unharmed("no request fails meanwhile", load.end());
    Ok(())
}

/// Finds the thread of each connection: the first byte of its id in the access log is the thread's number.
fn threads(node: &Node, idle: &Idle) -> Result<BTreeMap<SocketAddr, u64>> {
    let wanted = idle.each().map(Kept::from).collect::<Result<BTreeSet<_>>>()?;
    let mut found = BTreeMap::new();
    wait_until(PATIENCE, || {
        let text = fs::read_to_string(node.folder().at("access.log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found = lines.filter_map(|line| thread(&line)).filter(|(from, _)| wanted.contains(from)).collect();
        found.len() == wanted.len()
    });
    ensure!(found.len() == wanted.len(), "the access log tells {} of {}", found.len(), wanted.len());
    Ok(found)
}

fn thread(line: &Value) -> Option<(SocketAddr, u64)> {
    let from = SocketAddr::new(
        line["visitor_ip"].as_str()?.parse().ok()?,
        line["visitor_port"].as_u64()?.try_into().ok()?,
    );
    let number = line["connection_id"].as_str()?.get(..2)?;
    Some((from, u64::from_str_radix(number, 16).ok()?))
}

/// D6: two changes in a row that crash the edge after each has become the last good one.
pub(super) fn late_crash(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText { more: AT_ONCE.to_owned(), ..NodeText::default() })?;
    folder.zone("a", &answering("a", "good"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let target = node.target("a.example")?;
    let load = Load::expecting(&target, RATE, &[(200, "good"), (200, "bad"), (200, "worse")])?;
    load.wait_for(CALM);
    let (mark, watch) = (node.mark(), Watch::over(node.pid())?);
    // The first has time until the second is there; each new edge that serves one of them dies as late.
    for (text, crash) in [("bad", "crash-after-3000ms"), ("worse", "crash-after-500ms")] {
        let bad = answering("a", text)
            .replace("\"a.example\"", &format!("\"a.example\", \"{crash}.fault.invalid\""));
        folder.zone("a", &bad)?;
        let (is_taken, said) = node.publish(&[])?;
        ensure!(is_taken, "the change should pass: {said}");
    }
    let last_good = node.status()?["last_good"].clone();
    outcome.check("the second change is the last good one", last_good == 3, last_good);
    let first = node.wait_for(mark, "edge_died").map(|told| told.at);
    let serves = |snapshot: u64| node.status().is_ok_and(|status| status["snapshot"] == snapshot);
    let on_the_way = wait_until(PATIENCE, || serves(2));
    outcome.check("the node walks back one step", on_the_way, on_the_way);
    let walked =
        wait_until(PATIENCE, || target.ask("/", "").is_ok_and(|(_, body)| body == "good") && serves(1));
    let back_at = crate::clock::now();
    outcome.check("and a second, to what was good", walked, walked);
    // The next edge serves before the one that died is gone, which is when that is told.
    let restarts = node.status()?["edge_restarts"].as_u64().and_then(|count| usize::try_from(count).ok());
    let deaths = restarts.unwrap_or(0);
    node.wait_for_count(mark, "edge_died", deaths)?;
    // A newer binary is no reason to begin with them again.
    signal(node.pid(), Signal::USR2)?;
    node.wait_for(mark, "resumed")?;
    // Longer than an edge lives that serves one of the others.
    load.wait_for(4 * RATE);
    outcome.figure("deaths", deaths);
    if let Ok(first) = first {
        let took = back_at.saturating_duration_since(first);
        outcome.figure("walked_back_ms", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        outcome.check_time("serving what was good", took, Duration::from_secs(5));
    }
    settle(outcome, "all the while", load, &watch.end(&node.told(mark, "edge_died"))?);
    let (status, in_the_end) = (node.status()?, node.told(mark, "edge_died").len());
    let stays = status["snapshot"] == 1 && in_the_end == deaths;
    let found = format!("snapshot {}, {in_the_end} deaths", status["snapshot"]);
    outcome.check("it stays there over an upgrade, and no edge dies any more", stays, found);
    Ok(())
}
