//! The drill of readers that do not read (D32): of the access log, of events, of metrics, of traces, of the
//! local socket. No request waits for any of them; what is lost is counted, and by whom it was lost.
//!
//! Read next: `telemetry`'s `sink.rs`, and its `sink/shares.rs` for one zone that floods the log.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use serde_json::Value;

use super::Run;
use super::load::{Kept, Load, in_words, wait_until};
use super::node::{ACCESS, Node, NodeText, PATIENCE, answering};
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// Bytes of a path and of a query that make a line of the log as long as these can: each is cut there.
const PATH_BYTES: usize = 4_100;

/// Requests with such a path: one and a half times what the log's queue of 8 MiB has room for.
const FLOOD: usize = 1_500;

/// The longest that a request may take meanwhile: as long as a disk that stalls may make one wait (C2).
const BACK_PRESSURE_MAX: Duration = Duration::from_millis(200);

/// Requests of the quiet zone meanwhile.
const QUIET: usize = 40;

/// Pages of metrics that nobody reads.
const UNREAD: usize = 64;

/// Connections to the local socket that ask for much and read nothing: fewer than it takes at a time.
const MUTE: usize = 8;

/// Traces asked for on each of as many: their answers are several times what a socket holds.
const TRACES: usize = 4_000;

/// D32.
pub(super) fn readers(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText::default())?;
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("noisy", &answering("noisy", "two"))?;
    folder.zone("quiet", &answering("quiet", "three"))?;
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, folder.at(ACCESS), FileType::Fifo, mode, 0).context("no pipe can be made")?;
    // Nobody reads the pipe yet.
    let node = folder.start().context("a node whose log is a pipe that nobody reads")?;
    node.wait_for(0, "spare_ready")?;
    outcome.check("log: the node starts though nobody reads it", true, "");
    let edge = node.edge()?;
    // The page is another once a change was published that nobody reads of.
    let pages = [(200, "one"), (200, "changed")];
    let load = Load::expecting(&node.target("a.example")?, RATE, &pages)?;
    load.wait_for(RATE / 2);
    let quiet = flood(&node, outcome)?;
    metrics(&node, outcome)?;
    traces(&node, outcome)?;
    local_socket(&node, outcome)?;
    events(&node, outcome)?;
    load.wait_for(RATE / 2);
    let visits = load.end();
    let slowest = visits.iter().map(|visit| visit.took).max().unwrap_or_default();
    outcome.check_time("while nobody reads: no request waits for a reader", slowest, BACK_PRESSURE_MAX);
    outcome.add_unharmed("while nobody reads: no request fails", visits);
    read_again(&node, quiet, outcome)?;
    outcome.check("no process ended", node.edge()? == edge, edge);
    // Read no more, so that the end too has to do without a reader.
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// One zone fills the log's queue, and goes on; the other has a line now and then. Gives how many that one
/// has.
fn flood(node: &Node, outcome: &mut Outcome) -> Result<usize> {
    let path = format!("/{0}?{0}", "x".repeat(PATH_BYTES));
    let mut noisy = Kept::connect(&node.target("noisy.example")?, 1)?;
    let mut quiet = 0;
    let mut answered = 0;
    for number in 0..FLOOD {
        // A node lets one connection have so many requests.
        if number % 200 == 0 {
            noisy = Kept::connect(&node.target("noisy.example")?, 1)?;
        }
        answered += usize::from(noisy.ask(&path).is_ok_and(|(status, _)| status == 200));
        if number % (FLOOD / QUIET) == 0 {
            let answer = node.target("quiet.example")?.ask(&format!("/quiet/{quiet}"), "");
            ensure!(answer.is_ok(), "the quiet zone: {}", in_words(&answer));
            quiet += 1;
        }
    }
    outcome.check(
        "log: those who flood it are answered",
        answered == FLOOD,
        format!("{answered} of {FLOOD}"),
    );
    // A thread hands over its lines ten times a second, and the two are read one after the other.
    let counted = || {
        let lost = node.metric("rempart_access_log_above_share_total")?;
        anyhow::Ok((lost, node.metric("rempart_access_log_dropped_total")?))
    };
    let is_counted = wait_until(PATIENCE, || counted().is_ok_and(|(lost, all)| lost > 0 && lost == all));
    let (lost, all) = counted()?;
    outcome.figure("lines_lost", all);
    outcome.check("log: lines are lost, and counted as above a zone's share", is_counted, lost);
    Ok(quiet)
}

/// Readers who ask for page after page and take none.
fn metrics(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut connection = TcpStream::connect(node.admin()?)?;
        connection.set_write_timeout(Some(Duration::from_millis(200)))?;
        let asked = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(UNREAD / 4);
        match connection.write_all(asked.as_bytes()) {
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(error.into());
            }
            _ => held.push(connection),
        }
    }
    let (page, status) = (node.metrics(), node.status());
    let found =
        page.as_ref().map_or_else(|error| format!("{error:#}"), |page| format!("{} bytes", page.len()));
    outcome.check("metrics: another reader gets them", page.is_ok() && status.is_ok(), found);
    drop(held);
    Ok(())
}

/// Traces are kept in memory and asked for: what stalls is whoever asks for them by the hundred, and reads no
/// answer.
fn traces(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let came = node.target("a.example")?.fetch(2, "/traced")?;
    let id = came.field("x-request-id").context("an answer without its request's id")?.to_owned();
    let asked = format!("{{\"command\":\"trace\",\"request_id\":\"{id}\"}}\n").repeat(TRACES);
    let mut held = Vec::new();
    let mut is_stalled = false;
    for _ in 0..MUTE {
        let mut connection = UnixStream::connect(node.folder().at("data/rempart.sock"))?;
        connection.set_write_timeout(Some(Duration::from_millis(200)))?;
        // Once its answers fill what lies between, nothing more is taken of it.
        is_stalled |= connection.write_all(asked.as_bytes()).is_err();
        held.push(connection);
    }
    outcome.check("traces: answers that nobody reads stall who asks for them", is_stalled, is_stalled);
    let mut said = String::new();
    let is_told = wait_until(PATIENCE, || {
        let told = node.command(&["trace", &id]);
        said =
            told.map_or_else(|error| error.to_string(), |told| String::from_utf8_lossy(&told.stdout).into());
        said.contains(&id) && said.contains("admission")
    });
    outcome.check("traces: another who asks is told", is_told, said.lines().next().unwrap_or_default());
    let status = node.status();
    outcome.check("traces: other commands are answered", status.is_ok(), status.is_ok());
    drop(held);
    Ok(())
}

/// Commands whose answers nobody reads, and connections that never say one.
fn local_socket(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let path = node.folder().at("data/rempart.sock");
    let mut held = Vec::new();
    for number in 0..MUTE {
        let mut connection = UnixStream::connect(&path)?;
        connection.set_write_timeout(Some(Duration::from_millis(200)))?;
        if number % 2 == 0 {
            connection.write_all(b"{\"command\":\"status\"}\n")?;
        }
        held.push(connection);
    }
    let status = node.status();
    let found =
        status.as_ref().map_or_else(|error| format!("{error:#}"), |status| status["snapshot"].to_string());
    outcome.check("local socket: another command is answered", status.is_ok(), found);
    drop(held);
    Ok(())
}

/// Nobody reads what the node tells, and it has much to tell.
fn events(node: &Node, outcome: &mut Outcome) -> Result<()> {
    let folder = node.folder();
    node.be_deaf(true);
    let wrong: String = (0..400).map(|number| format!("[unknown_{number}]\n")).collect();
    folder.zone("broken", &format!("{}{wrong}", answering("broken", "never")))?;
    let mut refused = 0;
    for _ in 0..6 {
        refused += usize::from(!node.publish(&[])?.0);
    }
    folder.remove_zone("broken")?;
    outcome.check("events: publishing goes on though nobody reads them", refused == 6, refused);
    folder.zone("a", &answering("a", "changed"))?;
    let (is_taken, said) = node.publish(&[])?;
    outcome.check("events: and a good change is taken", is_taken, said);
    node.be_deaf(false);
    let is_told = node.wait_for(0, "publish_refused").is_ok();
    outcome.check("events: what was not lost is told to who reads again", is_told, is_told);
    Ok(())
}

/// Somebody reads the log again: all lines of the quiet zone are there.
fn read_again(node: &Node, quiet: usize, outcome: &mut Outcome) -> Result<()> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = OpenOptions::new().read(true).custom_flags(flags).open(node.folder().at(ACCESS))?;
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 * 1024]);
    let lines_of = |bytes: &[u8], zone: &str| {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["zone"] == zone).count()
    };
    // As much as the queue has, and then nothing more for a while.
    let mut silent = 0;
    wait_until(PATIENCE, || {
        match pipe.read(&mut room) {
            Ok(count) if count > 0 => {
                bytes.extend_from_slice(room.get(..count).unwrap_or_default());
                silent = 0;
            }
            _ => silent += 1,
        }
        silent > 100 && lines_of(&bytes, "quiet") >= quiet
    });
    let (there, noisy) = (lines_of(&bytes, "quiet"), lines_of(&bytes, "noisy"));
    outcome.figure("lines_of_the_zone_that_floods", noisy);
    outcome.check("log: the quiet zone lost no line", there == quiet, format!("{there} of {quiet}"));
    let is_shared = noisy > 0 && noisy < FLOOD;
    outcome.check("log: the zone that floods has its share", is_shared, format!("{noisy} of {FLOOD}"));
    // The file is the node's own again, by the word that log rotation uses.
    fs::remove_file(node.folder().at(ACCESS))?;
    super::node::signal(node.pid(), rustix::process::Signal::USR1)?;
    let is_file = wait_until(PATIENCE, || node.folder().at(ACCESS).is_file());
    outcome.check("log: after SIGUSR1 it is a file", is_file, is_file);
    Ok(())
}
