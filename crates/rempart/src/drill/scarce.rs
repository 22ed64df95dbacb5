//! Drills in which something is used up or out of reach: descriptors, memory and disk (D16), every way in but
//! the local socket (D21).
//!
//! The full disk is a small tmpfs below the drill's folder, which only root can make. Read next:
//! [`super::node`].

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;

use super::Run;
use super::load::{Kept, Load, in_words, wait_until};
use super::node::{Node, NodeFolder, NodeText, PATIENCE, answering, passing};
use super::origin::Origin;
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// Descriptors of each process in D16: some forty are an edge's own, and what is left is fewer than the 64
/// connections that it allows however low the limit is.
const DESCRIPTORS: usize = 80;

/// Connections that an edge allows however low the limit is.
const CONNECTIONS_LEAST: usize = 64;

/// Descriptors of each process in D21: enough for these 64 connections and for the node's own work.
const DESCRIPTORS_OF_ITS_OWN: usize = 200;

/// Visitors that have or want a place: five times what an edge has room for.
const IDLE: usize = 320;

/// Visitors that come while no descriptor is left.
const NEWCOMERS: u64 = 3;

/// D16.
pub(super) fn scarce(run: &Run, outcome: &mut Outcome) -> Result<()> {
    few_descriptors(run, outcome).context("few descriptors")?;
    if geteuid().is_root() {
        full_disk(run, outcome).context("a full disk")?;
    } else {
        outcome.note("the full disk was left out: only root can make a small file system for it");
    }
    little_memory(run, outcome).context("little memory")
}

/// What visitors may make the node hold, in the drill of little memory.
const BUDGET: &str = "spare = false\nmemory_budget_bytes = \"512KiB\"\n";

/// Address space that an edge has beyond what it took for itself: for what is not counted in the budget, as
/// the buffers of connections.
const SPARE_KIB: u64 = 64 * 1024;

/// Visitors who ask for much and read nothing: each leaves with the node what the kernel did not take of a
/// piece of 64 KiB, some 24 KiB on average.
const IDLE_READERS: usize = 64;

/// What they ask for: more than the kernel's buffers of a connection on loopback.
const LARGE: usize = 32 * 1024 * 1024;

/// Visitors who begin a head of nearly 64 KiB and never end it.
const HALF_HEADS: usize = 120;

/// Bytes of such a head.
const HALF_HEAD_BYTES: usize = 60_000;

/// Lines of a file in `/proc/PID/status`, in KiB.
fn kib(pid: u32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("the system does not tell {name} of {pid}"))
}

fn little_memory(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let more = format!("{}[cache]\nmemory_bytes = \"8MiB\"\ndisk_bytes = 0\n", super::node::AT_ONCE);
    let folder = run.folder("memory", &NodeText { node: BUDGET, more, ..NodeText::default() })?;
    folder.zone("a", &answering("a", "one"))?;
    let origin = Origin::replying(|_path, to| {
        write!(to, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n")?;
        let piece = [b'x'; 64 * 1024];
        (0..LARGE / piece.len()).try_for_each(|_| to.write_all(&piece))
    })?;
    folder.zone("large", &passing("large", &["large.example"], origin.address()))?;
    // What it takes without a limit, to know where one hurts.
    let node = folder.start()?;
    let own = kib(node.edge()?, "VmPeak")?.max(kib(node.pid(), "VmPeak")?);
    ensure!(node.stop()?, "the node does not end cleanly");
    let node = folder.start_with_memory(own + SPARE_KIB)?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    outcome.figure("address_space_kib", own + SPARE_KIB);
    let inside = Kept::connect(&target, 0)?;
    ensure!(inside.ask("/")?.0 == 200, "the visitor that stays should be answered");
    let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\nX-Long: {}", "x".repeat(HALF_HEAD_BYTES));
    let much = "GET / HTTP/1.1\r\nHost: large.example\r\n\r\n";
    let mut held = Vec::new();
    for (text, count) in [(much, IDLE_READERS), (&head, HALF_HEADS)] {
        for _ in 0..count {
            let mut connection = TcpStream::connect(target.address)?;
            connection.set_write_timeout(Some(Duration::from_millis(500)))?;
            // Whoever is refused finds the connection closed.
            if connection.write_all(text.as_bytes()).is_ok() {
                held.push(connection);
            }
        }
    }
    let over = || {
        let page = node.metrics().unwrap_or_default();
        let lines = page.lines().filter(|line| line.starts_with("rempart_over_budget_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum::<u64>()
    };
    let is_full = wait_until(PATIENCE, || over() > 0);
    outcome.check("little memory: the budget is reached, and counted", is_full, over());
    let newcomer = target.fetch(1, "/");
    let is_told = newcomer
        .as_ref()
        .is_ok_and(|came| came.status == 200 || came.status == 503 && came.field("retry-after").is_some());
    let found = newcomer.as_ref().map_or_else(|error| format!("{error:#}"), |came| came.status.to_string());
    outcome.check("little memory: a newcomer is served, or told when to come back", is_told, found);
    drop(held);
    let recovers = wait_until(PATIENCE, || target.ask("/", "").is_ok_and(|(status, _)| status == 200));
    outcome.check("little memory: then all are served", recovers, recovers);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    outcome.add_unharmed("little memory: and no request fails", load.end());
    let status = node.status()?;
    let same = status["edge_pid"] == edge && status["edge_restarts"] == 0;
    outcome.check("little memory: no process ended", same, &status["edge_restarts"]);
    drop(inside);
    outcome.check("little memory: the node ends cleanly", node.stop()?, "");
    Ok(())
}

fn few_descriptors(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let origin = Origin::start("from the origin", None)?;
    // One thread: descriptors are the process's, and a thread makes room with what it holds itself.
    let one_thread = NodeText { node: "spare = false\nthreads = 1\n", ..NodeText::default() };
    let folder = run.folder("node", &one_thread)?;
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("b", &passing("b", &["b.example"], origin.address()))?;
    let node = folder.start_with_descriptors(DESCRIPTORS)?;
    node.wait_for(0, "few_descriptors")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let own = Node::descriptors(edge, DESCRIPTORS)?;
    outcome.figure("descriptors_of_its_own", own);
    let is_scarce = own + CONNECTIONS_LEAST > DESCRIPTORS;
    outcome.check("descriptors end before room for connections does", is_scarce, own);
    // One is answered here, one has the connection to the origin that its first request opened.
    let connected = [Kept::connect(&target, 0)?, Kept::connect(&node.target("b.example")?, 0)?];
    let is_served =
        || connected.iter().filter(|kept| kept.ask("/").is_ok_and(|(status, _)| status == 200)).count();
    ensure!(is_served() == 2, "the visitors that stay should be answered");
    let mut held = Vec::new();
    let open = || Node::descriptors(edge, DESCRIPTORS).unwrap_or(0);
    let is_full = wait_until(PATIENCE, || {
        // One at a time, as those that find no room are let go.
        if open() < DESCRIPTORS && held.len() < IDLE {
            held.extend(TcpStream::connect(target.address).ok());
        }
        open() == DESCRIPTORS
    });
    outcome.figure("idle_connections_held", held.len());
    outcome.check("no descriptor is left", is_full, of(open(), DESCRIPTORS));
    // All that is left is held back for whoever looks after the node.
    let status = node.status();
    let told =
        status.as_ref().map_or_else(|error| format!("{error:#}"), |status| status["snapshot"].to_string());
    outcome.check("`status` answers meanwhile", status.is_ok(), told);
    // Silent for longer than those connected have been idle.
    ensure!(is_served() == 2, "those connected should be answered while nobody waits");
    let newcomers =
        (0..NEWCOMERS).map(|network| Kept::connect(&target, network)).collect::<Result<Vec<_>>>()?;
    newcomers.iter().try_for_each(|kept| kept.send("/"))?;
    let served = (0..5).filter(|_| is_served() == 2).count();
    outcome.check("those connected are served meanwhile", served == 5, of(served, 5));
    // Silent ones that are older than a second make room for them, one or two at a time.
    let answers: Vec<_> = newcomers.iter().map(Kept::answer).collect();
    let answered =
        answers.iter().filter(|answer| answer.as_ref().is_ok_and(|(_, body)| body == "one")).count();
    let first = answers.first().map(in_words).unwrap_or_default();
    let all = answered as u64 == NEWCOMERS;
    let found = format!("{answered}: {first}");
    outcome.check("newcomers wait for the places of who says nothing, and are answered", all, found);
    drop(held);
    let is_counted =
        wait_until(PATIENCE, || node.metric("rempart_connections_shed_total").is_ok_and(|shed| shed >= 1));
    outcome.check("who made room is counted", is_counted, is_counted);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    outcome.add_unharmed("and no request fails then", load.end());
    let status = node.status()?;
    let same = status["edge_pid"] == edge && status["edge_restarts"] == 0;
    outcome.check("no process ended", same, &status["edge_restarts"]);
    drop((connected, newcomers));
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

fn of(count: usize, all: usize) -> String {
    format!("{count} of {all}")
}

/// A small file system that ends with this.
pub(super) struct Small(PathBuf);

impl Small {
    /// Makes one of so many MiB. Only root can.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn mount(path: PathBuf, mib: u32) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "rempart-drill"])
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .context("mount(8) cannot be run")?;
        ensure!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr).trim_end());
        Ok(Self(path))
    }

    /// Makes it larger, as an operator would who adds a disk.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn grow(&self, mib: u32) -> Result<()> {
        let mounted = Command::new("mount")
            .args(["-o", &format!("remount,size={mib}m")])
            .arg(&self.0)
            .stdin(Stdio::null())
            .output()
            .context("mount(8) cannot be run")?;
        ensure!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr).trim_end());
        Ok(())
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Detached at once; it goes when nobody has anything of it open any more.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stdin(Stdio::null()).output();
    }
}

fn full_disk(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let small = match Small::mount(run.path("small"), 2) {
        Ok(small) => small,
        Err(error) => {
            outcome.note(format!("the full disk was left out: no small file system can be made: {error:#}"));
            return Ok(());
        }
    };
    // The mount point stays; the node's folder is below it.
    let folder = NodeFolder::make(small.0.join("node"), &NodeText::default())?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start()?;
    node.wait_for(0, "spare_ready")?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let load = Load::expecting(&target, RATE, &[(200, "one"), (200, "two"), (200, "three")])?;
    load.wait_for(RATE / 2);
    folder.zone("a", &answering("a", "two"))?;
    // Written behind the start; failing halfway it would make room again.
    let table = folder.at("data/splice.table");
    ensure!(wait_until(PATIENCE, || table.exists()), "the table of the last resort is not written");
    // Until nothing more fits, and again with what was given back meanwhile.
    let filler = small.0.join("filler");
    let full = fs::write(&filler, vec![0; 4 * 1024 * 1024]).is_err();
    ensure!(full, "the small file system is not small");
    load.wait_for(RATE / 2);
    let mut rest = fs::OpenOptions::new().append(true).open(&filler)?;
    while rest.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
    drop(rest); // or its room would not come back with it
    let (is_taken, said) = node.publish(&[])?;
    outcome.figure("published_on_a_full_disk", is_taken);
    let answer = target.ask("/", "");
    let serves = answer.as_ref().is_ok_and(|(status, _)| *status == 200);
    outcome.check("full disk: visitors are served", serves, in_words(&answer));
    // Events come on their own way, and may come after the command's answer.
    let is_event_there =
        || ["generation_not_kept", "state_not_kept"].iter().any(|event| !node.told(0, event).is_empty());
    let is_told = !is_taken && !said.is_empty() || wait_until(PATIENCE, is_event_there);
    outcome.check("full disk: it is told", is_told, said.lines().next().unwrap_or_default());
    fs::remove_file(&filler)?;
    folder.zone("a", &answering("a", "three"))?;
    let (is_taken, said) = node.publish(&["--again"])?;
    outcome.check("with room again the next change is taken", is_taken, said);
    let (_, body) = target.ask("/", "")?;
    outcome.check("and live", body == "three", body);
    outcome.add_unharmed("full disk: no request fails", load.end());
    outcome.check("full disk: no process ended", node.edge()? == edge, edge);
    drop(node);
    Ok(())
}

/// D21: the local socket while nothing else works.
pub(super) fn break_glass(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText { has_admin: false, ..NodeText::default() })?;
    let nowhere = "name = \"n\"\nhostnames = [\"n.example\"]\n[[pool]]\nname = \"app\"\norigins = [{ url = \
                   \"http://nowhere.invalid\" }]\n";
    // It answers nobody: whoever asks for it waits, and has its place for as long.
    let silent = Origin::replying(|_, _| {
        thread::sleep(2 * PATIENCE);
        Ok(())
    })?;
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("n", nowhere)?;
    folder.zone("s", &passing("s", &["s.example"], silent.address()))?;
    let node = folder.start_with_descriptors(DESCRIPTORS_OF_ITS_OWN)?;
    let target = node.target("a.example")?;
    let (inside, other) = (Kept::connect(&target, 0)?, Kept::connect(&node.target("n.example")?, 0)?);
    let body = || inside.ask("/").map(|(_, body)| body);
    ensure!(body()? == "one", "the visitor that stays should be answered");
    // Whoever has said nothing has no place that is held for it.
    let _the_name_is_gone = other.ask("/");
    // Of many networks: one alone does not get the last places.
    let slow = node.target("s.example")?;
    let connected = (0..IDLE as u64).filter_map(|number| Kept::connect(&slow, number % 64).ok());
    let held: Vec<Kept> = connected.filter(|visitor| visitor.send("/").is_ok()).collect();
    outcome.figure("requests_held", held.len());
    let is_turned_away = || target.ask("/", "").map_or(true, |(status, _)| status == 503);
    let is_full = wait_until(PATIENCE, is_turned_away);
    outcome.check("a newcomer finds no place", is_full, is_full);
    let unreachable = other.ask("/").map_or(0, |(status, _)| status);
    outcome.check("a zone whose origin's name is gone says so", unreachable >= 500, unreachable);
    let status = node.status()?;
    outcome.check("`status` answers", status["snapshot"] == 1, &status["snapshot"]);
    folder.zone("a", &answering("a", "two"))?;
    let (is_taken, said) = node.publish(&["--confirm-within", "600"])?;
    outcome.check("`publish` works", is_taken && body()? == "two", said);
    let withdrawn = node.command(&["withdraw"])?;
    let is_back = withdrawn.status.success() && body()? == "one";
    outcome.check("`withdraw` works", is_back, String::from_utf8_lossy(&withdrawn.stdout).trim_end());
    folder.zone("a", &answering("a", "three"))?;
    let (is_taken, said) = node.publish(&["--confirm-within", "600"])?;
    let confirmed = node.command(&["confirm"])?.status.success();
    outcome.check("`confirm` works", is_taken && confirmed && body()? == "three", said);
    let socket = folder.at("data/rempart.sock");
    let own = crate::clock::now();
    let named = super::node::command(&folder, &["status", "--socket", &socket.display().to_string()])?;
    outcome.check("the socket alone is enough", named.status.success(), "");
    let took = crate::clock::now().saturating_duration_since(own);
    outcome.check_time("an answer comes", took, Duration::from_secs(1));
    Ok(())
}
