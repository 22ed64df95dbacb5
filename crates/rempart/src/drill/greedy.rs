//! One zone wants fifty times its share of what zones have in common: places for connections, bytes in
//! flight, room for stored answers, processor time. Another zone has a few visitors all the while, and they
//! must not notice: their 99th percentile is held against that of a quiet run just before.
//!
//! The node has a core of its own ([`super::cores`]). The share of the log is D32's. Read next:
//! [`super::spike`] for many who want the same zone.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Run;
use super::cores::{Cores, Taken};
use super::load::{Idle, Kept, Load, Target, Visit, wait_until};
use super::node::{AT_ONCE, Node, NodeText, PATIENCE, passing};
use super::origin::Origin;
use super::report::Outcome;
use super::surge::{Stream, Who, surge};

/// Requests a second to the modest zone, and how many of them are a quiet run.
const RATE: u64 = 200;
const QUIET: u64 = 2 * RATE;

/// What an origin far away is like: it has a piece of a large body only so often.
const AT_A_TIME: usize = 64 * 1024;
const PIECE_EVERY: Duration = Duration::from_millis(10);

/// Descriptors of each process where connections are scarce.
const DESCRIPTORS: usize = 800;

/// Visitors of the greedy zone who ask once and stay: fifty for each that the modest one has.
const STAYING: usize = 50 * 64;

/// Visitors of the greedy zone who ask for much and read nothing, each for something else; what they ask for;
/// and what the node may hold, which some of them use up.
const IDLE_READERS: usize = 64;
const LARGE: usize = 16 * 1024 * 1024;
const LITTLE: &str = "threads = 1\nspare = true\nmemory_budget_bytes = \"1MiB\"\n";
const MUCH: &str = "threads = 1\nspare = true\nmemory_budget_bytes = \"16MiB\"\n";

/// Pages of the modest zone, and of the greedy one: fifty times as many, each eight times as large. Those of
/// the greedy one are six times what there is room for.
const PAGES: usize = 30;
const GREEDY_PAGES: usize = 50 * PAGES;
const PAGE_BYTES: usize = 8 * 1024;
const GREEDY_PAGE_BYTES: usize = 64 * 1024;
const ROOM: &str = "[cache]\nmemory_bytes = \"16MiB\"\ndisk_bytes = 0\n";

/// What a request to the greedy zone burns, in steps: some 3 to 4 ms; and how many come in a second. That is
/// four times what a core has at least, and some hundred times what the modest zone takes.
const BURNT: &str = "Rempart-Fault: route=slow:13000000\r\n";
const BURNING: f64 = 1_250.0;

/// For how long.
const BURNS: Duration = Duration::from_secs(9);

/// Visitors of the modest zone at a time meanwhile: as many as are due while the node has not found out. With
/// few, these would come late for seconds after it had.
const WAITING: usize = 256;

/// D29, of one zone beside another.
pub(super) fn greedy(run: &Run, outcome: &mut Outcome) -> Result<()> {
    crate::sockets::make_room_for_descriptors(crate::sockets::raise_descriptor_limit());
    let cores = Cores::divide()?;
    let origin = Origin::replying(|path, to| {
        let bytes = match path {
            path if path.starts_with("/large") => LARGE,
            path if path.starts_with("/greedy") => GREEDY_PAGE_BYTES,
            _ => PAGE_BYTES,
        };
        write!(to, "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {bytes}\r\n\r\n")?;
        if bytes < LARGE {
            return to.write_all(&vec![b'x'; bytes]);
        }
        let piece = vec![b'x'; AT_A_TIME];
        for _ in 0..bytes / piece.len() {
            to.write_all(&piece)?;
            std::thread::sleep(PIECE_EVERY);
        }
        Ok(())
    })?;
    connections((run, &cores), &origin, outcome).context("connections")?;
    bytes((run, &cores), &origin, outcome).context("bytes")?;
    let node = start((run, &cores), "node", &origin, MUCH, None)?;
    let edge = node.edge()?;
    stored_answers(&node, outcome).context("stored answers")?;
    processor(&node, outcome).context("processor")?;
    outcome.check("no process ended", node.edge()? == edge, edge);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// A node with both zones and these lines; with a bound on descriptors if one is given.
fn start(
    (run, cores): (&Run, &Cores),
    name: &str,
    origin: &Origin,
    node: &'static str,
    descriptors: Option<usize>,
) -> Result<Node> {
    let text = NodeText { node, more: format!("{AT_ONCE}{ROOM}"), ..NodeText::default() };
    let folder = run.folder(name, &text)?;
    for zone in ["modest", "greedy"] {
        let text = passing(zone, &[&format!("{zone}.example")], origin.address());
        folder.zone(zone, &format!("{text}[cache]\nenabled = true\n"))?;
    }
    let node = cores.on_the_nodes(|| match descriptors {
        Some(count) => folder.start_with_descriptors(count),
        None => folder.start(),
    })?;
    node.wait_for(0, "spare_ready")?;
    Ok(node)
}

fn p99(visits: &[Visit]) -> Duration {
    let mut times: Vec<Duration> = visits.iter().map(|visit| visit.took).collect();
    times.sort_unstable();
    times.get(times.len().saturating_mul(99) / 100).copied().unwrap_or_default()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The 99th percentile of the modest zone's visitors while nobody else is there.
fn quiet(modest: &Target) -> Result<Duration> {
    let load = Load::begin(modest, RATE)?;
    load.wait_for(QUIET);
    Ok(p99(&load.end()))
}

/// What the modest zone's visitors met beside this, and that it was as when it was quiet: from the first
/// moment on, those count too who come before the node has found anything out.
fn unharmed(outcome: &mut Outcome, of: &str, load: Load, quiet: Duration) {
    let visits = load.end();
    let most = (2 * quiet).max(quiet + Duration::from_millis(5));
    let took = p99(&visits);
    let slowest = visits.iter().map(|visit| visit.took).max().unwrap_or_default();
    outcome.figure(&format!("{}_slowest_us", of.replace(' ', "_")), micros(slowest));
    outcome.figure(&format!("{}_p99_us_quiet", of.replace(' ', "_")), micros(quiet));
    outcome.figure(&format!("{}_p99_us", of.replace(' ', "_")), micros(took));
    outcome.check_time(&format!("{of}: the other zone's 99th percentile is near that of quiet"), took, most);
    outcome.add_unharmed(&format!("{of}: no request of the other zone fails"), visits);
}

/// Many visitors of one zone stay; there are places for a tenth of them.
fn connections(at: (&Run, &Cores), origin: &Origin, outcome: &mut Outcome) -> Result<()> {
    let node = start(at, "places", origin, MUCH, Some(DESCRIPTORS))?;
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    let quiet = quiet(&modest)?;
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
    unharmed(outcome, "connections", load, quiet);
    let (stayed, of) = (staying.answered(), staying.count());
    outcome.check("connections: the other zone's idle ones stay", stayed == of, format!("{stayed} of {of}"));
    let shed = node.metric("rempart_connections_shed_total")?;
    outcome.check("connections: there were too many", shed > 0, shed);
    drop(held);
    outcome.check("connections: the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// Many visitors of one zone ask for much and read nothing of it: more than one zone may have.
fn bytes(at: (&Run, &Cores), origin: &Origin, outcome: &mut Outcome) -> Result<()> {
    let node = start(at, "bytes", origin, LITTLE, None)?;
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    let quiet = quiet(&modest)?;
    let load = Load::begin(&modest, RATE)?;
    let mut held = Vec::new();
    for number in 0..IDLE_READERS {
        let mut connection = TcpStream::connect(greedy.address)?;
        write!(connection, "GET /large/{number} HTTP/1.1\r\nHost: greedy.example\r\n\r\n")?;
        held.push(connection);
    }
    let over = || node.metric("rempart_over_budget_total{level=\"zone\"}").unwrap_or(0);
    let is_over = wait_until(PATIENCE, || over() > 0);
    outcome.check("bytes: the greedy zone wants more than it may have", is_over, over());
    load.wait_for(2 * RATE);
    unharmed(outcome, "bytes", load, quiet);
    let node_over = node.metric("rempart_over_budget_total{level=\"node\"}").unwrap_or(0);
    outcome.check("bytes: and leaves the others theirs", node_over == 0, node_over);
    drop(held);
    outcome.check("bytes: the node ends cleanly", node.stop()?, "");
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
    let quiet = quiet(&modest)?;
    let load = Load::begin(&modest, RATE)?;
    for _ in 0..2 {
        hits(&greedy, "greedy", GREEDY_PAGES)?;
    }
    unharmed(outcome, "stored answers", load, quiet);
    let after = hits(&modest, "page", PAGES)?;
    outcome.check("stored answers: the other zone's stay", after == PAGES, format!("{after} of {PAGES}"));
    Ok(())
}

/// One zone's visitors burn more than there is.
fn processor(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let (modest, greedy) = (node.target("modest.example")?, node.target("greedy.example")?);
    let quiet = quiet(&modest)?;
    let taken = Taken::begin(node.edge()?)?;
    let load = Load::begin_with(WAITING, &modest, RATE)?;
    let rates = vec![(Duration::ZERO, BURNING)];
    let burning = Stream { who: Who::Stranger, rates, path: "/burn", fields: BURNT.to_owned() };
    let (asked, _) = surge(&greedy, &[burning], BURNS)?;
    taken.note(outcome, "processor_")?;
    let count = |status| asked.iter().filter(|one| one.status == Ok(status)).count();
    outcome.figure("served_of_the_greedy_zone", count(200));
    outcome.figure("sent_away_of_the_greedy_zone", count(503));
    outcome.check("processor: the greedy zone's are sent away", count(503) > 0, count(503));
    unharmed(outcome, "processor", load, quiet);
    Ok(())
}
