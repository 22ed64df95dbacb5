//! F1: one zone gets far more than it usually does, from a few networks, while its own visitors go on.
//!
//! Compressed: what is usual is learned in seconds, from visitors who ask evenly. What floods are stopped,
//! and whom limits harm, over hours and in many forms, is simulated in the crate `flood`. Read next: `edge`'s
//! `flood_watch.rs`.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Run;
use super::load::{End, Load, Target, Visit, wait_until};
use super::node::{Node, NodeText, PATIENCE, passing};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock;

/// Requests of good visitors a second, from as many networks as there are in ten seconds.
const GOOD: u64 = 20;

/// Requests of the flood a second, from three networks.
const FLOOD: u64 = 600;

/// How soon most of it must be stopped.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// The share of it that must be, once it is limited.
const STOPPED_SHARE: f64 = 0.9;

/// The shortest times that a zone may have.
const WATCHED: &str = "\n[flood]\nmode = \"limit\"\nwarm_up_s = 5\nfrom_per_s = 30\nexpires_s = 10\n";

/// What who is served gets.
const PAGE: &str = "from the origin";

/// Refused by what the flood has made.
const REFUSED: u16 = 429;

/// F1: a flood is limited and explained, good visitors notice nothing, and the limits end.
pub(super) fn flood(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start(PAGE, None)?;
    let node = "trusted_proxies = [\"127.0.0.0/8\"]\nspare = true\n";
    let folder = run.folder("node", &NodeText { node, ..NodeText::default() })?;
    folder.zone("a", &(passing("a", &["a.example"], origin.address()) + WATCHED))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let good = visitors(&target, GOOD, |number| {
        let path = ["/", "/a", "/b", "/c"].get(number as usize % 4).copied().unwrap_or("/");
        (path.to_owned(), format!("10.{}.{}.7", number % 200, number % 90), "a browser")
    })?;
    let state = |state: &str| {
        let is_so = || node.status().is_ok_and(|status| status["zones"][0]["flood"]["state"] == state);
        wait_until(PATIENCE, is_so)
    };
    ensure!(state("usual"), "nothing is usual after {} requests", good.asked());

    let begun = clock::now();
    let flood = visitors(&target, FLOOD, |number| {
        let network = ["192.0.2", "198.51.100", "203.0.113"].get(number as usize % 3).copied();
        let from = format!("{}.{}", network.unwrap_or("192.0.2"), 1 + number / 3 % 250);
        (format!("/search?q={number}"), from, "a tool")
    })?;
    let told = node.wait_for(0, "flood_began")?;
    outcome.check("it is told", told.event["zone"] == "a" && told.event["mode"] == "limit", &told.event);
    explained(&node, outcome)?;
    let limited = wait_until(PATIENCE, || told_limit(&node).is_some());
    let limited_in = clock::now().saturating_duration_since(begun);
    outcome.figure("limited_after_ms", u64::try_from(limited_in.as_millis()).unwrap_or(0));
    outcome.check("it is limited", limited, limited);
    outcome.check_time("soon", limited_in, STOPPED_WITHIN);
    flood.wait_for(6 * FLOOD);
    let visits = flood.end();
    stopped(&visits, limited_in, outcome);
    end_by_themselves(&node, outcome)?;
    let good = good.end();
    outcome.add_unharmed("no good visitor is refused, before, in and after it", good);
    let is_same = node.edge()? == edge;
    outcome.check("no process ended", is_same, edge);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Visitors at a rate, each with a path, an address and a user agent by its number. None is served but by the
/// page: who is refused, for whatever reason, is not.
fn visitors(
    target: &Target,
    rate: u64,
    who: impl Fn(u64) -> (String, String, &'static str) + Send + Sync + 'static,
) -> Result<Load> {
    let target = target.clone();
    Load::asking(rate, move |number| {
        let (path, from, agent) = who(number);
        let fields = format!("X-Forwarded-For: {from}\r\nUser-Agent: {agent}\r\n");
        match target.ask_from(number % 64, &path, &fields) {
            Ok((200, body)) if body == PAGE => End::Answered(200),
            Ok((status, _)) => End::Wrong(status.to_string()),
            Err(error) => End::Broken(format!("{error:#}")),
        }
    })
}

/// The event of a limit that refuses.
fn told_limit(node: &Node) -> Option<super::node::Told> {
    node.told(0, "flood_limit").into_iter().find(|told| told.event["stage"] != "observe")
}

/// Whoever asks is told what is limited, and why.
fn explained(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let is_limiting = || {
        let status = node.status().unwrap_or_default();
        let limits = status["flood_limits"].as_array().cloned().unwrap_or_default();
        limits.into_iter().find(|limit| limit["stage"] != "observe")
    };
    wait_until(PATIENCE, || is_limiting().is_some());
    let shown = is_limiting().unwrap_or_default();
    let is_said = |limit: &serde_json::Value| {
        let text = |name: &str| limit[name].as_str().unwrap_or_default().to_owned();
        !text("what").is_empty()
            && !text("most").is_empty()
            && text("why").contains("requests a second where")
    };
    outcome.check("`status` shows the limit, and why", is_said(&shown), &shown);
    let told = told_limit(node).map(|told| told.event).unwrap_or_default();
    outcome.check("so does an event", is_said(&told), &told);
    outcome.check("a metric counts the zone", node.metric("rempart_flooded_zones")? == 1, "");
    Ok(())
}

/// How much of the flood was refused.
fn stopped(visits: &[Visit], limited_in: Duration, outcome: &mut Outcome) {
    let is_refused = |visit: &&Visit| visit.end == End::Wrong(REFUSED.to_string());
    let is_other = |visit: &&Visit| visit.has_failed() && !is_refused(visit);
    let refused = visits.iter().filter(is_refused).count();
    outcome.figure("of_the_flood", visits.len());
    outcome.figure("of_it_refused", refused);
    outcome.check("it is refused", refused > 0, refused);
    // Neither served nor refused by its limit: what else stopped it would be taken for the limit's work, or
    // for an answer.
    let first = visits.iter().find(is_other).map_or_else(String::new, |visit| format!("{:?}", visit.end));
    let others = visits.iter().filter(is_other).count();
    outcome.check("nothing else stops it", others == 0, format!("{others} {first}"));
    // Each network has a limit of its own, and one is made a second.
    let all_limited = limited_in + Duration::from_secs(3);
    let late: Vec<_> = visits.iter().filter(|visit| visit.at > all_limited).collect();
    let refused = late.iter().copied().filter(is_refused).count();
    let share = refused as f64 / late.len().max(1) as f64;
    outcome.figure("refused_once_limited_percent", (share * 100.0).round());
    outcome.check_share("most of it is stopped once it is limited", share, STOPPED_SHARE);
}

/// What a flood has made is gone some seconds after it.
fn end_by_themselves(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let ended = node.wait_for(0, "flood_limit_ended").is_ok();
    let count = || {
        let of =
            |stage: &str| node.metric(&format!("rempart_flood_limits{{stage=\"{stage}\"}}")).unwrap_or(1);
        ["observe", "limit", "tight"].into_iter().map(of).sum::<u64>()
    };
    let are_gone = wait_until(2 * PATIENCE, || count() == 0);
    outcome.check("after it the limits end by themselves", ended && are_gone, format!("{} left", count()));
    Ok(())
}
