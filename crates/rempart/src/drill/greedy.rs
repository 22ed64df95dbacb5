//! One zone wants fifty times its share of what zones have in common: places for connections, bytes in
//! flight, room for stored answers, processor time. Another zone has a few visitors all the while, and they
//! must not notice.
//!
//! Its share of the log is D32's. Read next: [`super::spike`] for many who want the same zone.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::load::{Idle, Kept, Load, Target, Visit};
use super::node::{AT_ONCE, Node, NodeText, passing};
use super::origin::Origin;
use super::report::Outcome;
use super::surge::{Stream, Who, surge};

/// Requests a second to the modest zone.
const RATE: u64 = 50;

/// Its answers take this at most, in 99 of 100.
const P99: Duration = Duration::from_secs(1);

/// Descriptors of each process where connections are scarce.
const DESCRIPTORS: usize = 800;

/// Visitors of the greedy zone who ask once and stay: fifty for each that the modest one has.
const STAYING: usize = 50 * 64;

/// Visitors of the greedy zone who ask for much and read nothing, and what they ask for.
const IDLE_READERS: usize = 64;
const LARGE: usize = 16 * 1024 * 1024;

/// Pages of the modest zone, and of the greedy one: fifty times as many, each eight times as large. Those of
/// the greedy one are six times what there is room for.
const PAGES: usize = 30;
const GREEDY_PAGES: usize = 50 * PAGES;
const PAGE_BYTES: usize = 8 * 1024;
const GREEDY_PAGE_BYTES: usize = 64 * 1024;
const ROOM: &str = "[cache]\nmemory_bytes = \"16MiB\"\ndisk_bytes = 0\n";

/// What a request to the greedy zone burns, in steps: some 4 ms; and how many come in a second.
const BURNT: &str = "Rempart-Fault: route=slow:13000000\r\n";
const BURNING: f64 = 50.0 * RATE as f64;

/// After so long the node has found out what to do.
const SETTLED: Duration = Duration::from_secs(2);

/// D29, of one zone beside another.
pub(super) fn greedy(run: &Run, outcome: &mut Outcome) -> Result<()> {
    crate::sockets::raise_descriptor_limit();
    let origin = Origin::replying(|path, to| {
        let bytes = match path {
            "/large" => LARGE,
            path if path.starts_with("/greedy") => GREEDY_PAGE_BYTES,
            _ => PAGE_BYTES,
        };
        write!(to, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {bytes}\r\n\r\n")?;
        let piece = [b'x'; 8 * 1024];
        (0..bytes / piece.len()).try_for_each(|_| to.write_all(&piece))
    })?;
    connections(run, &origin, outcome).context("connections")?;
    let node = start(run, "node", &origin, None)?;
    let edge = node.edge()?;
    bytes(&node, outcome).context("bytes")?;
    stored_answers(&node, outcome).context("stored answers")?;
    processor(&node, outcome).context("processor")?;
    outcome.check("no process ended", node.edge()? == edge, edge);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// A node with both zones; with a bound on descriptors if one is given.
fn start(run: &Run, name: &str, origin: &Origin, descriptors: Option<usize>) -> Result<Node> {
    let node = "spare = true\nmemory_budget_bytes = \"16MiB\"\n";
    let folder =
        run.folder(name, &NodeText { node, more: format!("{AT_ONCE}{ROOM}"), ..NodeText::default() })?;
    for zone in ["modest", "greedy"] {
        let text = passing(zone, &[&format!("{zone}.example")], origin.address());
        folder.zone(zone, &format!("{text}[cache]\nenabled = true\n"))?;
    }
    let node = match descriptors {
        Some(count) => folder.start_with_descriptors(count),
        None => folder.start(),
    }?;
    node.wait_for(0, "spare_ready")?;
    Ok(node)
}

fn p99(visits: &[Visit]) -> Duration {
    let mut times: Vec<Duration> = visits.iter().map(|visit| visit.took).collect();
    times.sort_unstable();
    times.get(times.len().saturating_mul(99) / 100).copied().unwrap_or_default()
}

/// What the modest zone's visitors met; times count from `settled` on.
fn unharmed(outcome: &mut Outcome, of: &str, load: Load, settled: Duration) {
    let visits = load.end();
    let times: Vec<Visit> = visits.iter().filter(|visit| visit.at >= settled).cloned().collect();
    outcome.check_time(&format!("{of}: the other zone's 99th percentile"), p99(&times), P99);
    outcome.add_unharmed(&format!("{of}: no request of the other zone fails"), visits);
}

/// Many visitors of one zone stay; there are places for a tenth of them.
fn connections(run: &Run, origin: &Origin, outcome: &mut Outcome) -> Result<()> {
    let node = start(run, "places", origin, Some(DESCRIPTORS))?;
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    let staying = Idle::connect(&modest)?;
    let load = Load::begin(&modest, RATE)?;
    let mut held = Vec::new();
    for number in 0..STAYING {
        // Whoever finds no place is closed before it has its answer. Many who come at once are D12's.
        if let Ok(kept) = Kept::connect(&greedy, number as u64 % 200)
            && kept.ask("/").is_ok()
        {
            held.push(kept);
        }
    }
    outcome.figure("answered_of_those_who_stay", held.len());
    load.wait_for(RATE);
    unharmed(outcome, "connections", load, Duration::ZERO);
    let (stayed, of) = (staying.answered(), staying.count());
    outcome.check("connections: the other zone's idle ones stay", stayed == of, format!("{stayed} of {of}"));
    let shed = node.metric("rempart_connections_shed_total")?;
    outcome.check("connections: there were too many", shed > 0, shed);
    drop(held);
    outcome.check("connections: the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Many visitors of one zone ask for much and read nothing of it.
fn bytes(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    let load = Load::begin(&modest, RATE)?;
    let mut held = Vec::new();
    for _ in 0..IDLE_READERS {
        let mut connection = TcpStream::connect(greedy.address)?;
        connection.write_all(b"GET /large HTTP/1.1\r\nHost: greedy.example\r\n\r\n")?;
        held.push(connection);
    }
    load.wait_for(2 * RATE);
    unharmed(outcome, "bytes", load, Duration::ZERO);
    Ok(())
}

/// How many of a zone's pages come out of the cache.
fn hits(target: &Target, folder: &str, pages: usize) -> Result<usize> {
    let mut hits = 0;
    for number in 0..pages {
        let fetched = target.fetch(number as u64, &format!("/{folder}/{number}"))?;
        ensure!(fetched.status == 200, "/{folder}/{number} gets {}", fetched.status);
        hits += usize::from(fetched.is_hit());
    }
    Ok(hits)
}

/// One zone's visitors ask for more pages than there is room for.
fn stored_answers(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    hits(&modest, "page", PAGES)?;
    let before = hits(&modest, "page", PAGES)?;
    ensure!(before == PAGES, "{before} of {PAGES} pages are stored");
    let load = Load::begin(&modest, RATE)?;
    for _ in 0..2 {
        hits(&greedy, "greedy", GREEDY_PAGES)?;
    }
    unharmed(outcome, "stored answers", load, Duration::ZERO);
    let after = hits(&modest, "page", PAGES)?;
    outcome.check("stored answers: the other zone's stay", after == PAGES, format!("{after} of {PAGES}"));
    Ok(())
}

/// One zone's visitors burn more than there is.
fn processor(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    let load = Load::begin(&modest, RATE)?;
    let lasting = SETTLED * 3;
    let rates = vec![(Duration::ZERO, BURNING)];
    let burning = Stream { who: Who::Stranger, rates, path: "/burn", fields: BURNT.to_owned() };
    let (asked, _) = surge(&greedy, &[burning], lasting)?;
    unharmed(outcome, "processor", load, SETTLED);
    let shed = asked.iter().filter(|one| one.status == Ok(503)).count();
    outcome.figure("sent_away_of_the_greedy_zone", shed);
    outcome.figure("served_of_the_greedy_zone", asked.iter().filter(|one| one.status == Ok(200)).count());
    outcome.check("processor: the greedy zone's are sent away", shed > 0, shed);
    Ok(())
}
