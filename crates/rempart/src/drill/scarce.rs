//! Drills in which something is used up or out of reach: descriptors and disk (D16), every way in but the
//! local socket (D21).
//!
//! The full disk is a small tmpfs below the drill's folder, which only root can make. Read next:
//! [`super::node`].

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::geteuid;

use super::Run;
use super::load::{Load, in_words, wait_until};
use super::node::{NodeFolder, NodeText, PATIENCE, answering};
use super::report::Outcome;

/// Requests a second beside it.
const RATE: u64 = 100;

/// Descriptors of each process: some fifty are a node's own.
const DESCRIPTORS: u64 = 160;

/// Visitors that connect and say nothing: twice what there are descriptors for.
const IDLE: usize = 320;

/// D16.
pub(super) fn scarce(run: &Run, outcome: &mut Outcome) -> Result<()> {
    few_descriptors(run, outcome).context("few descriptors")?;
    if geteuid().is_root() {
        full_disk(run, outcome).context("a full disk")?;
    } else {
        outcome.note("the full disk was left out: only root can make a small file system for it");
    }
    outcome.note("little memory is not drilled: the budget memory_budget_bytes has tests of its own");
    Ok(())
}

fn few_descriptors(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let folder = run.folder("node", &NodeText { node: "spare = false\n", ..NodeText::default() })?;
    folder.zone("a", &answering("a", "one"))?;
    let node = folder.start_with_descriptors(DESCRIPTORS)?;
    let (target, edge) = (node.target("a.example")?, node.edge()?);
    let address = node.address("http")?;
    let held: Vec<TcpStream> = (0..IDLE).filter_map(|_| TcpStream::connect(address).ok()).collect();
    outcome.figure("idle_connections_held", held.len());
    let mut answered = 0_u64;
    for _ in 0..10 {
        answered += u64::from(target.ask("/", "").is_ok_and(|(status, _)| status == 200));
    }
    outcome.figure("answered_of_10_while_none_is_left", answered);
    let is_there = Path::new(&format!("/proc/{edge}")).exists();
    outcome.check("the edge lives while no descriptor is left", is_there, edge);
    drop(held);
    let recovers = wait_until(PATIENCE, || target.ask("/", "").is_ok_and(|(status, _)| status == 200));
    outcome.check("it answers again once there are some", recovers, recovers);
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE);
    outcome.add_unharmed("and no request fails then", load.end());
    let status = node.status()?;
    let same = status["edge_pid"] == edge && status["edge_restarts"] == 0;
    outcome.check("no process ended", same, &status["edge_restarts"]);
    outcome.check("the node ends cleanly", node.stop()?, "");
    Ok(())
}

/// A small file system that ends with this.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "rempart-drill"])
            .arg(&path)
            .stdin(Stdio::null())
            .output()
            .context("mount(8) cannot be run")?;
        ensure!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr).trim_end());
        Ok(Self(path))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Detached at once; it goes when nobody has anything of it open any more.
        let _ = Command::new("umount").arg("-l").arg(&self.0).stdin(Stdio::null()).output();
    }
}

fn full_disk(run: &Run, outcome: &mut Outcome) -> Result<()> {
    let small = match Small::mount(run.path("small")) {
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
    let load = Load::begin(&target, RATE)?;
    load.wait_for(RATE / 2);
    folder.zone("a", &answering("a", "two"))?;
    // Until nothing more fits.
    let filler = small.0.join("filler");
    let full = fs::write(&filler, vec![0; 4 * 1024 * 1024]).is_err();
    ensure!(full, "the small file system is not small");
    load.wait_for(RATE / 2);
    let (is_taken, said) = node.publish(&[])?;
    outcome.figure("published_on_a_full_disk", is_taken);
    let answer = target.ask("/", "");
    let serves = answer.as_ref().is_ok_and(|(status, _)| *status == 200);
    outcome.check("full disk: visitors are served", serves, in_words(&answer));
    let is_told = !is_taken && !said.is_empty()
        || ["generation_not_kept", "state_not_kept"].iter().any(|event| !node.told(0, event).is_empty());
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
    folder.zone("a", &answering("a", "one"))?;
    folder.zone("n", nowhere)?;
    let node = folder.start()?;
    let (address, target) = (node.address("http")?, node.target("a.example")?);
    let held: Vec<TcpStream> = (0..IDLE).filter_map(|_| TcpStream::connect(address).ok()).collect();
    outcome.figure("idle_connections_held", held.len());
    let unreachable = node.target("n.example")?.ask("/", "").map_or(0, |(status, _)| status);
    outcome.check("a zone whose origin's name is gone says so", unreachable >= 500, unreachable);
    let status = node.status()?;
    outcome.check("`status` answers", status["snapshot"] == 1, &status["snapshot"]);
    folder.zone("a", &answering("a", "two"))?;
    let (is_taken, said) = node.publish(&["--confirm-within", "600"])?;
    outcome.check("`publish` works", is_taken && target.ask("/", "")?.1 == "two", said);
    let withdrawn = node.command(&["withdraw"])?;
    let is_back = withdrawn.status.success() && target.ask("/", "")?.1 == "one";
    outcome.check("`withdraw` works", is_back, String::from_utf8_lossy(&withdrawn.stdout).trim_end());
    folder.zone("a", &answering("a", "three"))?;
    let (is_taken, said) = node.publish(&["--confirm-within", "600"])?;
    let confirmed = node.command(&["confirm"])?.status.success();
    outcome.check("`confirm` works", is_taken && confirmed, said);
    let socket = folder.at("data/rempart.sock");
    let own = crate::clock::now();
    let named = super::node::command(&folder, &["status", "--socket", &socket.display().to_string()])?;
    outcome.check("the socket alone is enough", named.status.success(), "");
    let took = crate::clock::now().saturating_duration_since(own);
    outcome.check_time("an answer comes", took, Duration::from_secs(1));
    Ok(())
}
