//! The drill of sites whose every origin is gone (D20): what is stored is served on, the rest is told as
//! what it is, and origins are tried for as long as they are gone.
//!
//! Before that, purges in a row under load, which take everything that is stored and fail nobody. Read next:
//! [`super::deaths`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{Load, Target, in_words, wait_until};
use super::node::{Node, NodeText, PATIENCE, answering, passing};
use super::origin::Origin;
use super::report::Outcome;
use crate::clock;

/// Requests a second for the stored page.
const RATE: u64 = 100;

/// Purges in a row.
const PURGES: u64 = 20;

/// How often health checks ask: soon enough that they find out within a second, both ways.
const HEALTH: &str = "health = { path = \"/healthz\", interval_ms = 200, healthy_after = 2, \
                      unhealthy_after = 2 }\n";

/// A cache that finds everything stale after a second.
const CACHE: &str = "\n[cache]\nenabled = true\nalways_online = true\n\
                     [[cache.lifetime]]\nstatus = 200\nseconds = 1\n";

/// What origins say, and what they say when they are back.
const PAGE: &str = "from the origin";
const AGAIN: &str = "from the origin, which is back";

/// How long an origin that is back may go unused: checks find it well within half a second, a circuit lets
/// one exchange try each second, what is stored is fresh for one.
const BACK: Duration = Duration::from_secs(3);

/// How long a visitor may wait to be told that nobody is there: no origin takes longer than to refuse.
const TOLD: Duration = Duration::from_millis(500);

/// D20: the origins of a zone go, and come to nothing for as long as the drill lasts.
pub(super) fn origins_gone(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start(PAGE, None)?;
    let (folder, address) = (run.folder("node", &NodeText::default())?, origin.address());
    folder.zone("a", &format!("{}{HEALTH}{CACHE}", passing("a", &["a.example"], address)))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let load = Load::expecting(&target, RATE, &[(200, PAGE)])?;
    load.wait_for(RATE);
    let mut purged = 0;
    for _ in 0..PURGES {
        purged += u64::from(node.command(&["purge", "--zone", "a"])?.status.success());
    }
    outcome.figure("purges", purged);
    outcome.check("every purge is carried out", purged == PURGES, format!("{purged} of {PURGES}"));
    load.wait_for(RATE / 2);
    outcome.add_unharmed("purges in a row: no request fails", load.end());
    let stored = target.ask("/", "");
    outcome.check("the page is stored", is_page(&stored), in_words(&stored));
    drop(origin);
    let load = Load::expecting(&target, RATE, &[(200, PAGE)])?;
    // Three seconds: the page is stale after the first.
    load.wait_for(3 * RATE);
    outcome.add_unharmed("without any origin: no request for what is stored fails", load.end());
    let stale = target.ask("/", "");
    outcome.check("it is the page", is_page(&stale), in_words(&stale));
    let never = target.ask("/never", "");
    outcome.check("what is not stored is told as a fault", is_fault(&never), in_words(&never));
    let unhealthy = unhealthy(&node)?;
    outcome.check("checks find it unhealthy", unhealthy == 1, unhealthy);
    let load = Load::expecting(&target, RATE, &[(200, PAGE), (200, AGAIN)])?;
    let (_again, back_at) = (Origin::start_at(address, AGAIN)?, clock::now());
    let is_back = wait_until(PATIENCE, || target.ask("/", "").is_ok_and(|(_, body)| body == AGAIN));
    let took = clock::now().saturating_duration_since(back_at);
    outcome.figure("back_in_the_cache_ms", millis(took));
    outcome.check("the origin comes back, and so does what it says", is_back, is_back);
    outcome.check_time("and soon", took, BACK);
    outcome.add_unharmed("while it comes back: no request for what is stored fails", load.end());
    let same = node.edge()? == edge;
    outcome.check("no process ended", same, edge);
    drop(node);
    without_a_cache(run, outcome)
}

/// Requests for a zone whose origins are gone: more than it takes to leave one out.
const TRIES: u64 = 30;

/// How long a sick origin is watched: its circuit is open for a second at a time.
const SICK: Duration = Duration::from_secs(4);

/// Both origins of a zone that stores nothing go; one comes back sick, and gets well.
fn without_a_cache(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origins = [Origin::start(PAGE, None)?, Origin::start(PAGE, None)?];
    let [one, other] = [origins[0].address(), origins[1].address()];
    let folder = run.folder("no-cache", &NodeText::default())?;
    let zone = format!(
        "name = \"a\"\nhostnames = [\"a.example\"]\n[[pool]]\nname = \"app\"\norigins = [{{ url = \
         \"http://{one}\" }}, {{ url = \"http://{other}\" }}]\n{HEALTH}"
    );
    folder.zone("a", &zone)?;
    folder.zone("b", &answering("b", "two"))?;
    let node = folder.start()?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    ensure!(is_page(&target.ask("/", "")), "the page should come");
    let neighbour = Load::expecting(&node.target("b.example")?, RATE, &[(200, "two")])?;
    drop(origins);
    let mut slowest = Duration::ZERO;
    let answers: Vec<_> = (0..TRIES)
        .map(|network| {
            let asked_at = clock::now();
            let answer = target.ask_from(network, "/", "");
            slowest = slowest.max(clock::now().saturating_duration_since(asked_at));
            answer
        })
        .collect();
    let told = answers.iter().filter(|answer| is_fault(answer)).count();
    let found = answers.iter().find(|answer| !is_fault(answer)).map_or_else(String::new, in_words);
    outcome.check(
        "without a cache: every request is told as a fault",
        told as u64 == TRIES,
        format!("{told} of {TRIES} {found}"),
    );
    outcome.check_time("without a cache: and at once", slowest, TOLD);
    let found = wait_until(PATIENCE, || unhealthy(&node).is_ok_and(|count| count == 2));
    outcome.check("without a cache: checks find both unhealthy", found, unhealthy(&node)?);
    tried(&node, &target, one, outcome)?;
    outcome.add_unharmed("without a cache: no request of the neighbour fails", neighbour.end());
    outcome.check("without a cache: no process ended", node.edge()? == edge, edge);
    Ok(())
}

/// An origin comes back that hangs up on everybody, checks too, and counts who was sent to it; then it is
/// well.
fn tried(node: &Node, target: &Target, at: SocketAddr, outcome: &mut Outcome) -> Result<()> {
    let (is_well, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (well, counted) = (Arc::clone(&is_well), Arc::clone(&tries));
    let _origin = Origin::replying_at(at, move |path, to| {
        counted.fetch_add(u64::from(path == "/"), Ordering::Relaxed);
        if !well.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{AGAIN}", AGAIN.len())
    })?;
    let (begun, mut asked, mut told) = (clock::now(), 0_u64, 0_u64);
    while clock::now().saturating_duration_since(begun) < SICK {
        let answer = target.ask_from(asked % TRIES, "/", "");
        (asked, told) = (asked + 1, told + u64::from(is_fault(&answer)));
        thread::sleep(Duration::from_millis(20));
    }
    let tried = tries.load(Ordering::Relaxed);
    let seconds = SICK.as_secs();
    outcome.figure("tries_while_it_hangs_up", tried);
    outcome.check("all origins unhealthy: every request is told as a fault", told == asked, told);
    // Its circuit opens and lets one exchange try each second: half of that on a busy machine.
    let found = format!("{tried} of {asked} in {seconds} s");
    outcome.check("all origins unhealthy: they are still tried", tried * 2 >= seconds, found);
    let both = unhealthy(node)?;
    outcome.check("all origins unhealthy: status says so", both == 2, both);
    let before = tries.load(Ordering::Relaxed);
    is_well.store(true, Ordering::Relaxed);
    let well_at = clock::now();
    let is_back = wait_until(PATIENCE, || target.ask("/", "").is_ok_and(|(_, body)| body == AGAIN));
    let took = clock::now().saturating_duration_since(well_at);
    let sent = tries.load(Ordering::Relaxed) - before;
    outcome.figure("back_without_a_cache_ms", millis(took));
    outcome.check("one that gets well is found, as it is still tried", is_back && sent > 0, sent);
    outcome.check_time("and soon", took, BACK);
    let recovers = wait_until(PATIENCE, || unhealthy(node).is_ok_and(|count| count == 1));
    outcome.check("checks find it well again, and the other not", recovers, unhealthy(node)?);
    let load = Load::expecting(target, RATE, &[(200, AGAIN)])?;
    load.wait_for(RATE);
    outcome.add_unharmed("from then on no request fails, though the other is gone", load.end());
    Ok(())
}

/// How many origins checks find unhealthy.
fn unhealthy(node: &Node) -> Result<u64> {
    node.status()?["origins"]["unhealthy"].as_u64().context("`status` tells no origins")
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn is_fault(answer: &Result<(u16, String)>) -> bool {
    answer.as_ref().is_ok_and(|(status, _)| matches!(status, 502..=504))
}

fn is_page(answer: &Result<(u16, String)>) -> bool {
    answer.as_ref().is_ok_and(|(status, body)| *status == 200 && body == PAGE)
}
