//! A spike: from a fifth of what the node can do to ten times of it, fifty times as much, from one moment to
//! the next, and back.
//!
//! What it can do is measured first, as requests answered for as many visitors at once as keep it busy. Then
//! strangers come whatever becomes of them, and some known visitors go on as before. What it can do is
//! measured again afterwards, and goodput is held against the mean of both, each by how fast the machine was
//! then and in the spike ([`super::pace`]). Read next: [`super::surge`].

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::Run;
use super::cores::{Taken, cpu_us};
use super::load::End;
use super::load::{Load, Target, in_words, wait_until};
use super::node::{AT_ONCE, Node, NodeText, PATIENCE, passing};
use super::origin::Origin;
use super::pace::Pace;
use super::report::Outcome;
use super::surge::{Asked, Stream, Who, surge};
use crate::clock;

/// What a request burns of the node's CPU, as a page behind many rules does: some 5 ms. On a machine on which
/// that is much less the visitors of the spike would need more connections than the node may have.
const COST_US: f64 = 5_000.0;

/// Steps of a request by which it is found how many that are.
const STEPS: f64 = 13_000_000.0;

/// How long that is looked at.
const CALIBRATED: Duration = Duration::from_secs(1);

/// Visitors who were served before.
const KNOWN: u64 = 40;

/// How often known visitors ask, in parts of what the node can do.
const KNOWN_PART: f64 = 0.1;

/// What strangers want before and after the spike, and in it, in the same parts.
const QUIET: f64 = 0.2;
const SPIKE: f64 = 10.0;

/// How long it is quiet before.
const BEFORE: Duration = Duration::from_secs(1);

/// How long what the node can do is measured for.
const MEASURED: Duration = Duration::from_secs(3);

/// After so long the node has found out what to do.
const SETTLED: Duration = Duration::from_secs(2);

/// Requests a second that are answered when it is always busy, and what one takes of its CPU time.
fn capacity(target: &Target, edge: u32, burnt: &str, lasting: Duration) -> Result<(f64, f64)> {
    let (to, begun, before_us) = (target.clone(), clock::now(), cpu_us(edge)?);
    let burnt = burnt.to_owned();
    // Due at once, all of them: each of the visitors asks again when it has its answer.
    let load = Load::asking(1_000_000, move |number| {
        let fields = format!("X-Forwarded-For: 172.16.{}.{}\r\n{burnt}", number >> 8 & 255, number & 255);
        match to.ask("/", &fields) {
            Ok((status, _)) => End::Answered(status),
            Err(error) => End::Broken(format!("{error:#}")),
        }
    })?;
    std::thread::sleep(lasting);
    let served = load.end().iter().filter(|visit| visit.end == End::Answered(200)).count() as f64;
    let took = clock::now().saturating_duration_since(begun);
    let spent_us = cpu_us(edge)?.saturating_sub(before_us) as f64;
    Ok((served / took.as_secs_f64(), spent_us / served.max(1.0)))
}

/// The field that makes a request burn so many steps.
fn burning(steps: f64) -> String {
    format!("Rempart-Fault: route=slow:{steps:.0}\r\n")
}

/// Has the known visitors served in two different seconds.
fn become_known(target: &Target) -> Result<()> {
    for round in 0..2 {
        for number in 1..=KNOWN {
            let answer = target.ask("/", &format!("X-Forwarded-For: 192.0.2.{number}\r\n"));
            anyhow::ensure!(matches!(answer, Ok((200, _))), "a first visit: {}", in_words(&answer));
        }
        if round == 0 {
            std::thread::sleep(Duration::from_millis(1_100));
        }
    }
    Ok(())
}

fn p99(asked: &[&Asked]) -> Duration {
    let mut times: Vec<Duration> = asked.iter().map(|one| one.took).collect();
    times.sort_unstable();
    times.get(times.len().saturating_mul(99) / 100).copied().unwrap_or_default()
}

fn is_served(one: &Asked) -> bool {
    one.status == Ok(200)
}

/// Judges what became of the requests; how many were served in a second of the spike.
fn judge(outcome: &mut Outcome, asked: &[Asked], lasting: Duration) -> f64 {
    let known: Vec<&Asked> = asked.iter().filter(|one| one.stream == 0).collect();
    let harmed = known.iter().filter(|one| !is_served(one)).count();
    let of = known.len();
    outcome.check(
        "every request of a known visitor is served",
        harmed == 0,
        format!("{harmed} of {of} are not"),
    );
    let within: Vec<&Asked> = known.iter().copied().filter(|one| one.at > BEFORE + SETTLED).collect();
    outcome.figure("known_p99_ms", p99(&within).as_millis() as f64);
    outcome.check_time("their 99th percentile, once it has begun", p99(&within), Duration::from_secs(1));
    let slowest = asked.iter().map(|one| one.took).max().unwrap_or_default();
    outcome.figure("slowest_of_all_ms", slowest.as_millis() as f64);
    let mut lost: BTreeMap<&str, usize> = BTreeMap::new();
    asked.iter().filter_map(|one| one.status.err()).for_each(|why| *lost.entry(why).or_default() += 1);
    outcome.check("every request is answered", lost.is_empty(), format!("{lost:?}"));
    let shed = || asked.iter().filter(|one| one.status == Ok(503));
    let untold = shed().filter(|one| !one.has_retry_after).count();
    outcome.check("some are sent away", shed().count() > 0, shed().count());
    outcome.check("each with a time to come back", untold == 0, untold);
    let other = asked.iter().find(|one| !matches!(one.status, Err(_) | Ok(200 | 503)));
    outcome.check("nothing else is said", other.is_none(), format!("{other:?}"));
    let (from, to) = (BEFORE + SETTLED, BEFORE + lasting);
    let served = asked.iter().filter(|one| is_served(one) && (from..to).contains(&one.at)).count();
    let goodput = served as f64 / to.saturating_sub(from).as_secs_f64().max(0.001);
    let offered = asked.iter().filter(|one| (from..to).contains(&one.at)).count();
    outcome.figure("offered_a_second", (offered as f64 / (to - from).as_secs_f64()).round());
    outcome.figure("served_a_second", goodput.round());
    goodput
}

/// D29, of CPU: a spike of fifty times.
pub(super) fn spike(run: &Run, outcome: &mut Outcome) -> Result<()> {
    crate::sockets::make_room_for_descriptors(crate::sockets::raise_descriptor_limit());
    let origin = Origin::start("answer", None)?;
    let node_lines = "spare = true\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let folder =
        run.folder("node", &NodeText { node: node_lines, more: AT_ONCE.to_owned(), ..NodeText::default() })?;
    folder.zone("a", &passing("a", &["a.example"], origin.address()))?;
    let node: Node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    become_known(&target)?;
    let pace = Pace::begin()?;
    let (_, found_us) = capacity(&target, edge, &burning(STEPS), CALIBRATED)?;
    let burnt = burning(STEPS * COST_US / found_us.max(1.0));
    let first = clock::now();
    let (peak, cost_us) = capacity(&target, edge, &burnt, MEASURED)?;
    let first = (first, clock::now());
    outcome.figure("capacity_a_second", peak.round());
    outcome.figure("cost_us", cost_us.round());
    let lasting = run.lasting.max(SETTLED * 2);
    let rate = |part: f64| peak * part;
    let asks = |who, rates| Stream { who, rates, path: "/", fields: burnt.clone() };
    let streams = [
        asks(Who::Known(KNOWN), vec![(Duration::ZERO, rate(KNOWN_PART))]),
        asks(
            Who::Stranger,
            vec![(Duration::ZERO, rate(QUIET)), (BEFORE, rate(SPIKE)), (BEFORE + lasting, 0.0)],
        ),
    ];
    let (mark, taken, begun) = (node.mark(), Taken::begin(edge)?, clock::now());
    let (asked, paused) = surge(&target, &streams, BEFORE + lasting)?;
    outcome.figure("visitors_paused_ms", paused.as_millis() as f64);
    let spent_us = taken.note(outcome, "")?;
    let goodput = judge(outcome, &asked, lasting);
    let served = asked.iter().filter(|one| is_served(one)).count() as f64;
    let shed = asked.len() as f64 - served;
    outcome.figure("us_for_one_sent_away", ((spent_us - served * cost_us) / shed.max(1.0)).round());
    let over = clock::now();
    let is_back = wait_until(PATIENCE, || {
        let answer = target.ask("/", &format!("X-Forwarded-For: 172.17.0.1\r\n{burnt}"));
        matches!(answer, Ok((200, _)))
    });
    outcome.check("a stranger is served again", is_back, is_back);
    outcome.check_time("after", clock::now().saturating_duration_since(over), Duration::from_secs(5));
    let ended = wait_until(PATIENCE, || !node.told(mark, "overload_ended").is_empty());
    outcome.check("the episode ends", ended, ended);
    let episodes = node.told(mark, "overload_began").len();
    outcome.check("it was one", episodes == 1, episodes);
    let last = clock::now();
    let (after, _) = capacity(&target, edge, &burnt, MEASURED)?;
    outcome.figure("capacity_afterwards", after.round());
    let pieces = pace.end()?;
    let took_us = |(from, to)| pieces.mean_us(from, to);
    let in_it_us = took_us((begun + BEFORE + SETTLED, begun + BEFORE + lasting));
    let (before_us, after_us) = (took_us(first), took_us((last, clock::now())));
    for (name, us) in [("before", before_us), ("in_it", in_it_us), ("afterwards", after_us)] {
        outcome.figure(&format!("a_piece_took_us_{name}"), us.round());
    }
    let part = goodput / ((peak * before_us + after * after_us) / 2.0 / in_it_us);
    outcome.figure("goodput_percent", (part * 100.0).round());
    outcome.check_share("goodput stays at nine tenths", part, 0.9);
    outcome.check("no process ended", node.edge()? == edge, edge);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}
