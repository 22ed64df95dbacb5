//! The disk: what survives a restart, a kill and an upgrade, and what must not.

use serde_json::Value;
use testkit::folder::Folder;

use super::super::rig::Served;
use super::*;

/// What is asked for. Many, since a disk that is late is passed by: on a busy machine not every answer on it
/// is used.
const TARGETS: [&str; 8] = ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"];

/// A node file with a disk for the cache, and a zone, in a folder that outlives the node.
fn folder(origin: &ScriptedOrigin) -> Result<Folder> {
    let folder = Folder::new()?;
    let node = super::super::rig::node_file("", "");
    folder.write("rempart.toml", format!("{node}\n[cache]\ndisk_bytes = \"64MiB\"\n"))?;
    std::fs::create_dir_all(folder.path().join("zones"))?;
    folder.write("zones/a.toml", zone(origin, ""))?;
    Ok(folder)
}

/// A node with a disk for the cache.
fn with_disk(origin: &ScriptedOrigin) -> Result<Node> {
    start(&cleartext().more("[cache]\ndisk_bytes = \"64MiB\"").zone("a", zone(origin, "")))
}

fn command(folder: &Folder, arguments: &[&str]) -> Result<Value> {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args(arguments)
        .arg("--config")
        .arg(folder.path().join("rempart.toml"))
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
}

fn status(node: &Node) -> Result<Value> {
    Ok(serde_json::from_slice(&node.command(&["status", "--json"])?.stdout)?)
}

/// Whether a status says that the disk is in use and holds all targets.
fn holds_all(status: &Value) -> bool {
    let disk = &status["cache"]["disk"];
    disk["state"] == "ready" && disk["objects"].as_u64() >= Some(TARGETS.len() as u64)
}

/// Waits, with patience that only bounds a failure.
fn wait(what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
    for _ in 0..1_500 {
        if is_so()? {
            return Ok(());
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    anyhow::bail!("waited in vain for {what}")
}

/// The answers to all targets.
fn all(ask: impl Fn(&str) -> Result<Response>) -> Result<Vec<Response>> {
    TARGETS.iter().map(|target| ask(target)).collect()
}

/// Asks for all targets until they are on disk; gives what they are.
fn fill(ask: impl Fn(&str) -> Result<Response>, status: impl Fn() -> Result<Value>) -> Result<Vec<String>> {
    // A second request makes them worth a place on disk, once that is ready.
    wait("the disk", || {
        all(&ask)?;
        Ok(holds_all(&status()?))
    })?;
    Ok(all(&ask)?.iter().map(Response::text).collect())
}

/// Which answers are those of before; what is not is fetched anew and no hit.
fn kept(before: &[String], now: &[Response]) -> Vec<bool> {
    let pairs = before.iter().zip(now);
    pairs.map(|(before, now)| *before == now.text() && is_hit(now)).collect()
}

#[test]
fn answers_survive_a_restart_and_purges_do_too() -> Result<()> {
    let origin = fresh()?;
    let folder = folder(&origin)?;
    let of = |node: &Served, target: &str| node.visitor()?.fetch(HOST, target);
    let node = Served::start(&folder)?;
    let before = fill(|target| of(&node, target), || command(&folder, &["status", "--json"]))?;
    command(&folder, &["purge", "--url", &format!("{HOST}{}", TARGETS[3])])?;
    node.finish()?;
    let node = Served::start(&folder)?;
    wait("the index", || Ok(command(&folder, &["status", "--json"])?["cache"]["disk"]["state"] == "ready"))?;
    let now = kept(&before, &all(|target| of(&node, target))?);
    assert!(!now[3], "it was purged");
    assert!(now.iter().any(|is_kept| *is_kept), "nothing has survived");
    node.finish()
}

#[test]
fn answers_survive_the_death_of_the_edge() -> Result<()> {
    let origin = fresh()?;
    let node = with_disk(&origin)?;
    let before = fill(|target| get(&node, target), || status(&node))?;
    let edge = status(&node)?["edge_pid"].as_i64().context("an edge")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(edge)?).context("a process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    node.wait_for_events("ready", 2)?;
    wait("the index", || Ok(holds_all(&status(&node)?)))?;
    let now = kept(&before, &all(|target| get(&node, target))?);
    assert!(now.iter().any(|is_kept| *is_kept), "nothing has survived");
    drop(node);
    Ok(())
}

#[test]
fn half_an_answer_is_nothing_after_a_death() -> Result<()> {
    let gate = testkit::gate::Gate::new();
    let held = gate.clone();
    let origin = counting(move |request, answer| match request.place + request.connection {
        0 => answer.field("Cache-Control", "max-age=60").wait(&held).part("!"),
        _ => answer.field("Cache-Control", "max-age=60").part("!"),
    })?;
    let node = with_disk(&origin)?;
    let mut visitor = ask(&node, "/a")?;
    visitor.read_head("GET")?.context("a head")?;
    let edge = status(&node)?["edge_pid"].as_i64().context("an edge")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(edge)?).context("a process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    node.wait_for_events("ready", 2)?;
    gate.open_for_good();
    let whole = get(&node, "/a")?;
    assert_eq!((whole.text().as_str(), is_hit(&whole)), ("answer 1!", false));
    drop(node);
    Ok(())
}

#[test]
fn an_upgrade_takes_the_disk_over() -> Result<()> {
    let origin = fresh()?;
    let node = with_disk(&origin)?;
    let before = fill(|target| get(&node, target), || status(&node))?;
    let older = status(&node)?["edge_pid"].clone();
    assert!(node.command(&["upgrade"])?.status.success());
    node.wait_for_events("resumed", 1)?;
    wait("the disk of the next edge", || {
        let status = status(&node)?;
        Ok(status["edge_pid"] != older && holds_all(&status))
    })?;
    let now = kept(&before, &all(|target| get(&node, target))?);
    assert!(now.iter().any(|is_kept| *is_kept), "nothing was taken over");
    node.finish_healthy()
}

#[test]
fn a_folder_that_cannot_be_used_costs_nothing_but_the_disk() -> Result<()> {
    let origin = fresh()?;
    let spec = cleartext()
        .file("occupied", "a file, no folder")
        .more("[cache]\ndisk_bytes = \"64MiB\"\ndisk_folder = \"occupied\"")
        .zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    get(&node, "/a")?;
    assert!(is_hit(&get(&node, "/a")?));
    let told = node.wait_for_event(|event| event["event"] == "cache_disk_trouble")?;
    assert_eq!(told["trouble"], "unreachable", "{told}");
    let disk = status(&node)?["cache"]["disk"].clone();
    assert!(disk["state"].as_str().is_some_and(|state| state.starts_with("unreachable: ")), "{disk}");
    assert_eq!(disk["trouble"], "unreachable");
    let mut node = node;
    node.terminate()?;
    assert!(node.wait()?.success());
    let alarms = testkit::node::alarms(&node.stderr_lines());
    assert_eq!(alarms.len(), 1, "told once: {alarms:#?}");
    Ok(())
}
