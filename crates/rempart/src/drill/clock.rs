//! The drill of a clock that is set under a running node (D22): a second back, an hour ahead, an hour back,
//! and standing still. What lasts must not notice; what is dated must follow.
//!
//! The machine's clock is not touched: a build with fault points reads its calendar past a file of the node's
//! folder. Read next: `edge`'s `clock.rs`, which tells the times apart.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use super::authority::Authority;
use super::dying::{Watched, settle};
use super::load::{Idle, Load, Target, in_words, wait_until};
use super::node::{CLOCK, Node, NodeFolder, NodeText, PATIENCE, answering, passing};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock::unix_us;

/// Requests a second for a stored page.
const RATE: u64 = 100;

/// What the origin of the stored pages says.
const PAGE: &str = "from the origin";

/// What the zone of the deadly request says once its change is live.
const CHANGED: &str = "changed";

/// Pages that are stored before the clock is touched.
const PAGES: u64 = 40;

const SECOND_US: u64 = 1_000_000;
const HOUR_US: u64 = 3_600 * SECOND_US;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

/// Everything that lasts in this drill lasts half an hour: an hour's step would end all of it.
const LASTS: &str = "1800";

/// The network that is blocked: no visitor of the load is of it.
const BLOCKED: (u64, &str) = (200, "127.1.200.0/24");

/// What is done to the clock.
struct Step {
    what: &'static str,
    /// As the fault point reads it.
    text: String,
    /// What the node's calendar is ahead of the machine's then, in microseconds; none when it stands still.
    ahead_us: Option<i64>,
}

/// D22: the clock steps, and stands still.
pub(super) fn stepped(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let (origin, short) = (Origin::start(PAGE, None)?, Origin::start("soon stale", None)?);
    let authority = Authority::make()?;
    let leaf = authority.leaf(&["tls.example"])?;
    let folder = run.folder("node", &NodeText { has_tls: true, ..NodeText::default() })?;
    folder.write("zones/tls.pem", leaf.certificate.as_bytes())?;
    folder.write("zones/tls.key", leaf.key.as_bytes())?;
    folder.zone("a", &format!("{}{}", passing("a", &["a.example"], origin.address()), cached(LASTS)))?;
    folder.zone(
        "short",
        &format!("{}{}", passing("short", &["short.example"], short.address()), cached("1")),
    )?;
    folder.zone("killer", &answering("killer", "harmless"))?;
    let tls = "[tls]\ncertificate = \"tls.pem\"\nprivate_key = \"tls.key\"\n";
    folder.zone("tls", &format!("{}{tls}", answering("tls", "over TLS")))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let edge = prepare(&node)?;
    let stands = Stands { node: &node, edge, fetched: store(&node, &origin)? };
    let secure = Target::secured(node.address("https")?, "tls.example", &authority.client()?);
    let load = Load::expecting(&node.target("a.example")?, RATE, &[(200, PAGE)])?;
    for step in steps() {
        folder.write(CLOCK, step.text.as_bytes())?;
        let is_seen = wait_until(PATIENCE, || is_in_force(&node, &folder, &step).unwrap_or(false));
        outcome.check(&format!("{}: times in the log follow", step.what), is_seen, &step.text);
        load.wait_for(RATE / 2);
        stands.check(outcome, step.what, &origin)?;
        let answer = secure.ask("/", "");
        outcome.check(&format!("{}: handshakes go on", step.what), is_ok(&answer), in_words(&answer));
        let before = short.asked();
        let target = node.target("short.example")?;
        let is_fetched_again =
            wait_until(PATIENCE, || is_ok(&target.ask("/", "")) && short.asked() > before + 1);
        outcome.check(
            &format!("{}: what is stale is fetched again", step.what),
            is_fetched_again,
            short.asked(),
        );
    }
    outcome.add_unharmed("while the clock is set: no request fails", load.end());
    another_process(&node, &folder, &stands, outcome)
}

/// An edge that begins while the clock is an hour ahead counts what is left as the one before it did.
fn another_process(
    node: &Node,
    folder: &NodeFolder,
    stands: &Stands<'_>,
    outcome: &mut Outcome,
) -> Result<()> {
    let load = Load::expecting(&node.target("killer.example")?, RATE, &[(200, CHANGED)])?;
    folder.write(CLOCK, format!("+{HOUR_US}").as_bytes())?;
    let mark = node.mark();
    let death = Watched::open(stands.edge)?.kill()?;
    let new = Idle::waiting(&node.target("killer.example")?)?;
    node.wait_for(mark, "ready")?;
    let (answered, all) = (new.answered(), new.count());
    outcome.check(
        "the edge is killed an hour ahead: connections made in that moment are answered",
        answered == all,
        format!("{answered} of {all}"),
    );
    load.wait_for(RATE / 2);
    settle(outcome, "the edge is killed an hour ahead", load, &[death]);
    stands.check_orders(outcome, "the edge after it")?;
    let panics = node.told(0, "panic").len();
    outcome.check("nothing panicked", panics == 0, panics);
    Ok(())
}

fn cached(seconds: &str) -> String {
    format!("[cache]\nenabled = true\n[[cache.lifetime]]\nstatus = 200\nseconds = {seconds}\n")
}

fn steps() -> [Step; 5] {
    let ahead = |us: u64| i64::try_from(us).ok();
    [
        Step {
            what: "a second back",
            text: format!("-{SECOND_US}"),
            ahead_us: ahead(SECOND_US).map(|us| -us),
        },
        Step { what: "an hour ahead", text: format!("+{HOUR_US}"), ahead_us: ahead(HOUR_US) },
        Step { what: "an hour back", text: format!("-{HOUR_US}"), ahead_us: ahead(HOUR_US).map(|us| -us) },
        Step { what: "standing still", text: format!("={}", unix_us()), ahead_us: None },
        Step { what: "right again", text: String::new(), ahead_us: Some(0) },
    ]
}

/// Orders all that is to last: a request that is refused, a network that is, a change that waits to be
/// confirmed. Gives the process that serves from then on.
fn prepare(node: &Node) -> Result<u32> {
    let killer = node.target("killer.example")?;
    for _ in 0..2 {
        let mark = node.mark();
        let answer = killer.ask("/killer", "Rempart-Fault: route=abort\r\n");
        ensure!(answer.is_err(), "the request should kill the edge: {}", in_words(&answer));
        node.wait_for(mark, "edge_died_of")?;
        node.wait_for(mark, "spare_ready")?;
    }
    let blocked = node.command(&["block", BLOCKED.1, "--for", LASTS])?;
    ensure!(blocked.status.success(), "{}", String::from_utf8_lossy(&blocked.stderr));
    node.folder().zone("killer", &answering("killer", CHANGED))?;
    let (is_taken, said) = node.publish(&["--confirm-within", LASTS])?;
    ensure!(is_taken, "the change should pass: {said}");
    node.edge()
}

/// Has every page stored, and gives how often the origin was asked for that.
fn store(node: &Node, origin: &Origin) -> Result<u64> {
    let target = node.target("a.example")?;
    for path in std::iter::once("/".to_owned()).chain((1..PAGES).map(|page| format!("/{page}"))) {
        let is_stored = wait_until(PATIENCE, || {
            let before = origin.asked();
            is_ok(&target.ask(&path, "")) && origin.asked() == before
        });
        ensure!(is_stored, "{path} is not stored");
    }
    Ok(origin.asked())
}

/// What has to stand whatever is done to the clock.
struct Stands<'a> {
    node: &'a Node,
    edge: u32,
    fetched: u64,
}

impl Stands<'_> {
    fn check(&self, outcome: &mut Outcome, what: &str, origin: &Origin) -> Result<()> {
        let target = self.node.target("a.example")?;
        let answered = (1..PAGES).filter(|page| is_ok(&target.ask(&format!("/{page}"), ""))).count() as u64;
        let more = origin.asked() - self.fetched;
        outcome.check(&format!("{what}: every stored page is answered"), answered == PAGES - 1, answered);
        outcome.check(&format!("{what}: and none of them fetched again"), more == 0, more);
        let edge = self.node.edge()?;
        outcome.check(&format!("{what}: no process ended"), edge == self.edge, edge);
        self.check_orders(outcome, what)
    }

    fn check_orders(&self, outcome: &mut Outcome, what: &str) -> Result<()> {
        let target = self.node.target("killer.example")?;
        let deadly = target.ask("/killer", "Rempart-Fault: route=abort\r\n");
        let is_refused = deadly.as_ref().is_ok_and(|(status, _)| *status == 503);
        outcome.check(&format!("{what}: the deadly request is refused"), is_refused, in_words(&deadly));
        let blocked = target.ask_from(BLOCKED.0, "/", "");
        let is_refused = blocked.as_ref().is_ok_and(|(status, _)| *status == 403);
        outcome.check(&format!("{what}: the blocked network is refused"), is_refused, in_words(&blocked));
        let other = target.ask("/", "");
        let is_there = other.as_ref().is_ok_and(|(status, body)| *status == 200 && body == CHANGED);
        outcome.check(&format!("{what}: others are served the change"), is_there, in_words(&other));
        let publishing = self.node.status()?["publishing"].clone();
        let waits = publishing["stage"] == "soaking" && publishing["confirm_until_unix_us"].is_u64();
        outcome.check(&format!("{what}: the change waits to be confirmed"), waits, &publishing);
        Ok(())
    }
}

fn is_ok(answer: &Result<(u16, String)>) -> bool {
    answer.as_ref().is_ok_and(|(status, _)| *status == 200)
}

/// Whether both threads of the node have the calendar that a step makes: some requests in a row are dated by
/// it.
fn is_in_force(node: &Node, folder: &NodeFolder, step: &Step) -> Result<bool> {
    let target = node.target("killer.example")?;
    for network in 1..=8 {
        let (path, asked_us) = (format!("/dated/{}", unix_us()), unix_us());
        target.ask_from(network, &path, "")?;
        let mut found = None;
        wait_until(Duration::from_secs(2), || {
            let text = fs::read_to_string(folder.at("access.log")).unwrap_or_default();
            found = text.lines().rev().find(|line| line.contains(&path)).and_then(dated);
            found.is_some()
        });
        let found = found.context("the request is not in the access log")?;
        // The node's threads read the calendar ten times a second; a busy machine delays the request too.
        let (at_us, slack_us) = match step.ahead_us {
            Some(ahead_us) => (in_day(asked_us) + ahead_us, 900_000),
            None => (in_day(step.text.trim_start_matches('=').parse()?), 900_000),
        };
        if (found - at_us).rem_euclid(DAY_US) > slack_us && (at_us - found).rem_euclid(DAY_US) > slack_us {
            return Ok(false);
        }
    }
    Ok(true)
}

fn in_day(unix_us: u64) -> i64 {
    i64::try_from(unix_us).unwrap_or(i64::MAX).rem_euclid(DAY_US)
}

/// The time of an access log line, in microseconds of its day.
fn dated(line: &str) -> Option<i64> {
    let line: Value = serde_json::from_str(line).ok()?;
    let (_, time) = line["time"].as_str()?.trim_end_matches('Z').split_once('T')?;
    let (clock, micros) = time.split_once('.')?;
    let mut seconds = 0;
    for part in clock.split(':') {
        seconds = seconds * 60 + part.parse::<i64>().ok()?;
    }
    Some(seconds * 1_000_000 + micros.parse::<i64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_read_to_the_microsecond() {
        let line = "{\"time\":\"2026-11-26T13:08:30.000123Z\",\"path\":\"/\"}";
        assert_eq!(dated(line), Some(((13 * 60 + 8) * 60 + 30) * 1_000_000 + 123));
        assert_eq!(dated("{}"), None);
        let unix_us = 1_795_698_510_000_123; // the same moment
        assert_eq!(in_day(unix_us), dated(line).unwrap());
    }
}
