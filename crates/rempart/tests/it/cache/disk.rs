//! The disk: what survives a restart, a kill and an upgrade, and what must not.

use serde_json::Value;
use testkit::folder::Folder;

use super::super::rig::Served;
use super::*;

/// A node file with a disk for the cache, and a zone, in a folder that outlives the node.
fn folder(origin: &ScriptedOrigin) -> Result<Folder> {
    let folder = Folder::new()?;
    let node = super::super::rig::node_file("", "");
    folder.write("rempart.toml", format!("{node}\n[cache]\ndisk_bytes = \"64MiB\"\n"))?;
    std::fs::create_dir_all(folder.path().join("zones"))?;
    folder.write("zones/a.toml", zone(origin, ""))?;
    Ok(folder)
}

fn get_of(node: &Served, target: &str) -> Result<Response> {
    node.visitor()?.fetch(HOST, target)
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

/// Waits until the disk says that it holds so many answers, asking meanwhile.
fn wait_for_disk(folder: &Folder, objects: u64, ask: impl Fn() -> Result<()>) -> Result<()> {
    let patience = std::time::Duration::from_millis(20);
    for _ in 0..1_500 {
        ask()?;
        let status = command(folder, &["status", "--json"])?;
        let disk = &status["cache"]["disk"];
        if disk["state"] == "ready" && disk["objects"].as_u64() >= Some(objects) {
            return Ok(());
        }
        std::thread::park_timeout(patience);
    }
    anyhow::bail!("the disk never held {objects} answers")
}

#[test]
fn answers_survive_a_restart_and_purges_do_too() -> Result<()> {
    let origin = fresh()?;
    let folder = folder(&origin)?;
    let node = Served::start(&folder)?;
    // A second request makes them worth a place on disk, once that is ready.
    wait_for_disk(&folder, 2, || ["/a", "/b"].iter().try_for_each(|target| get_of(&node, target).map(drop)))?;
    command(&folder, &["purge", "--url", &format!("{HOST}/b")])?;
    node.finish()?;
    let node = Served::start(&folder)?;
    wait_for_disk(&folder, 1, || Ok(()))?;
    let kept = get_of(&node, "/a")?;
    assert_eq!((kept.text().as_str(), is_hit(&kept)), ("answer 0", true));
    assert_eq!(get_of(&node, "/b")?.text(), "answer 2");
    node.finish()
}

#[test]
fn answers_survive_the_death_of_the_edge() -> Result<()> {
    let origin = fresh()?;
    let spec = cleartext().more("[cache]\ndisk_bytes = \"64MiB\"").zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    get(&node, "/a")?;
    let status = || -> Result<Value> {
        Ok(serde_json::from_slice(&node.command(&["status", "--json"])?.stdout).unwrap_or_default())
    };
    let disk_has = |objects: u64| {
        node.wait_until("the disk", || {
            // A second request makes it worth a place on disk, once that is ready.
            get(&node, "/a").is_ok()
                && status().is_ok_and(|status| {
                    let disk = &status["cache"]["disk"];
                    disk["state"] == "ready" && disk["objects"].as_u64() == Some(objects)
                })
        })
    };
    disk_has(1)?;
    let edge = status()?["edge_pid"].as_i64().context("an edge")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(edge)?).context("a process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    node.wait_for_events("ready", 2)?;
    node.wait_until("what the disk has", || get(&node, "/a").is_ok_and(|answer| is_hit(&answer)))?;
    let kept = get(&node, "/a")?;
    assert_eq!((kept.text().as_str(), is_hit(&kept)), ("answer 0", true));
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
    let spec = cleartext().more("[cache]\ndisk_bytes = \"64MiB\"").zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    let mut visitor = ask(&node, "/a")?;
    visitor.read_head("GET")?.context("a head")?;
    let status: Value = serde_json::from_slice(&node.command(&["status", "--json"])?.stdout)?;
    let edge = status["edge_pid"].as_i64().context("an edge")?;
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
    let spec = cleartext().more("[cache]\ndisk_bytes = \"64MiB\"").zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    get(&node, "/a")?;
    let disk = || -> Result<Value> {
        let status: Value = serde_json::from_slice(&node.command(&["status", "--json"])?.stdout)?;
        Ok(status["cache"]["disk"].clone())
    };
    let has_one = || disk().is_ok_and(|disk| disk["state"] == "ready" && disk["objects"] == 1);
    node.wait_until("the disk", || get(&node, "/a").is_ok() && has_one())?;
    let before = node.command(&["status", "--json"])?.stdout;
    let before: Value = serde_json::from_slice(&before)?;
    assert!(node.command(&["upgrade"])?.status.success());
    node.wait_for_events("resumed", 1)?;
    node.wait_until("the disk of the next edge", || {
        let status = node.command(&["status", "--json"]).ok().map(|output| output.stdout).unwrap_or_default();
        let status: Value = serde_json::from_slice(&status).unwrap_or_default();
        status["edge_pid"] != before["edge_pid"] && has_one()
    })?;
    let kept = get(&node, "/a")?;
    assert_eq!((kept.text().as_str(), is_hit(&kept)), ("answer 0", true));
    assert_eq!(origin.counters().requests, 1);
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
    node.wait_until("the state of the disk", || {
        node.command(&["status", "--json"])
            .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("unreachable: "))
    })?;
    node.finish_healthy()
}
