//! What each process of a node may do, as the kernel says it: limits, rights, and who is killed first.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use testkit::node::{Node, NodeSpec};

use super::hand_over::{children_of, pid_of, signal};
use super::inventory::{doing, the_one};
use super::{answers, body, kill_edge, start};

/// Rights that a child may keep where root was kept (capabilities(7)): `CAP_DAC_OVERRIDE`,
/// `CAP_DAC_READ_SEARCH` and `CAP_FOWNER`.
const KEPT_BY_ROOT: u64 = 0b1110;

/// Starts with the highest limits that there may be, so that nothing is low by itself.
const HIGHEST_LIMITS: &str = "for limit in c l q r e s; do ulimit -S -$limit hard; done";

/// Soft and hard limits of a process by their names in proc(5); none for unlimited.
fn limits(pid: u32) -> Result<BTreeMap<String, [Option<u64>; 2]>> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let one = |line: &str| {
        let column = |from, to| line.get(from..to).map(str::trim).context("a column");
        let number = |text: &str| if text == "unlimited" { Ok(None) } else { text.parse().map(Some) };
        Ok((column(0, 26)?.to_owned(), [number(column(26, 47)?)?, number(column(47, 68)?)?]))
    };
    text.lines().skip(1).map(one).collect()
}

/// A line of `/proc/PID/status`.
fn line(pid: u32, name: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(found.with_context(|| format!("{name} of process {pid}"))?.trim().to_owned())
}

fn rights(pid: u32, name: &str) -> Result<u64> {
    Ok(u64::from_str_radix(&line(pid, name)?, 16)?)
}

fn oom_score(pid: u32) -> Result<i32> {
    Ok(fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?.trim().parse()?)
}

/// Everything that a child may do and should not; nothing of one that is confined.
fn excess(pid: u32) -> Result<Vec<String>> {
    let limits = limits(pid)?;
    let mut found = Vec::new();
    for (name, most) in [
        ("Max core file size", 0),
        ("Max locked memory", 0),
        ("Max msgqueue size", 0),
        ("Max realtime priority", 0),
        ("Max nice priority", 0),
        ("Max stack size", 8 * 1024 * 1024),
    ] {
        let both = limits.get(name).with_context(|| format!("no {name}"))?;
        if both.iter().any(|limit| limit.is_none_or(|limit| limit > most)) {
            found.push(format!("{name}: {both:?}"));
        }
    }
    let files = limits.get("Max open files").context("no Max open files")?;
    if files[0] != files[1] {
        found.push(format!("fewer descriptors than it may have: {files:?}"));
    }
    if line(pid, "NoNewPrivs")? != "1" {
        found.push("it may gain rights by starting a program".to_owned());
    }
    let is_root = line(pid, "Uid")?.starts_with("0\t");
    let kept = if is_root { KEPT_BY_ROOT } else { 0 };
    for (name, kept) in [("CapPrm", kept), ("CapEff", kept), ("CapInh", 0), ("CapAmb", 0)] {
        let has = rights(pid, name)?;
        if has & !kept != 0 {
            found.push(format!("{name}: {has:x}"));
        }
    }
    Ok(found)
}

/// Waits until a child that was just started has confined itself: it does so first of all.
fn assert_confined(node: &Node, role: &str, pid: u32) {
    let is_confined = || excess(pid).is_ok_and(|excess| excess.is_empty());
    node.wait_until(role, is_confined).unwrap_or_else(|error| panic!("{:?}\n{error:#}", excess(pid)));
    assert_eq!(oom_score(pid).expect("it can be told") >= 500, role == "candidate", "{role}");
}

fn pid(process: &serde_json::Value) -> u32 {
    u32::try_from(process["pid"].as_u64().expect("it can be told")).expect("it can be told")
}

#[test]
fn every_edge_in_whatever_role_has_limits_of_its_own_and_no_rights() {
    let spec = NodeSpec::new()
        .shell_first(HIGHEST_LIMITS)
        .node_section("threads = 2\nspare = true")
        .listener("http")
        .environment("LISTEN_FDNAMES", "for-the-supervisor")
        .more("[publish]\ncompare_ms = 0\ncanary_percent = 10\ncanary_ms = 60000\nsoak_ms = 0\n")
        .zone("a", answers("a", "one"));
    let node = start(&spec).unwrap();
    node.wait_for_event(|event| event["event"] == "spare_ready").unwrap();
    let supervisor = pid(&the_one(&node, "supervisor"));
    assert_eq!(line(supervisor, "NoNewPrivs").unwrap(), "1", "no binary gives its children more");
    assert!(
        !excess(supervisor).unwrap().is_empty(),
        "its limits are its starter's: {:?}",
        limits(supervisor)
    );
    for role in ["serving", "spare"] {
        let child = pid(&the_one(&node, role));
        assert_confined(&node, role, child);
        match fs::read_to_string(format!("/proc/{child}/environ")) {
            Ok(environment) => assert!(!environment.contains("for-the-supervisor"), "{environment}"),
            Err(_) => eprintln!("the environment of process {child} was not looked at: that takes root"),
        }
    }
    node.write_zone("a", &answers("a", "two")).unwrap();
    node.reload().unwrap();
    let candidate = pid(&the_one(&node, "candidate"));
    assert_confined(&node, "candidate", candidate);
    signal(i64::from(candidate), Signal::KILL);
    node.wait_for_event(|event| event["event"] == "withdrawn").unwrap();
    node.wait_until("its end", || doing(&node, "candidate").is_ok_and(|all| all.is_empty())).unwrap();
    let before = pid_of(&node, "edge_pid");
    node.signal(Signal::USR2).unwrap();
    let successor = std::cell::Cell::new(0);
    let comes = || {
        let is_it = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "rempart-next\n")
        };
        children_of(supervisor).into_iter().find(is_it).is_some_and(|pid| {
            successor.set(pid);
            true
        })
    };
    node.wait_until("a successor", comes).unwrap();
    assert_confined(&node, "successor", successor.get());
    node.wait_for_event(|event| event["event"] == "resumed").unwrap();
    assert_eq!(pid_of(&node, "edge_pid"), i64::from(successor.get()));
    assert_ne!(pid_of(&node, "edge_pid"), before);
    assert_confined(&node, "the edge that took over", successor.get());
    assert_eq!(line(supervisor, "NoNewPrivs").unwrap(), "1");
    assert_eq!(body(&node).unwrap(), "one");
}

#[test]
fn the_last_resort_has_limits_of_its_own_and_no_rights() {
    let spec = NodeSpec::new().shell_first(HIGHEST_LIMITS).listener("http").zone("a", answers("a", "one"));
    let node = start(&spec).unwrap();
    let generations = node.folder().path().join("data/generations");
    let kept = fs::read_dir(&generations).unwrap().next().unwrap().unwrap().path();
    fs::write(&kept, "damaged").unwrap();
    kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "pass_through_begins").unwrap();
    assert_confined(&node, "splice", pid(&the_one(&node, "splice")));
}

#[test]
fn where_root_is_given_up_no_process_has_a_right_left() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: giving root up takes root");
        return;
    }
    let spec = NodeSpec::new()
        .node_section("threads = 1\nspare = true\nuser = \"nobody\"")
        // What root has made must be reached by the user that the node becomes.
        .shell_first("chmod -R a+rwX .")
        .listener("http")
        .zone("a", answers("a", "one"));
    let node = start(&spec).unwrap();
    node.wait_for_event(|event| event["event"] == "spare_ready").unwrap();
    let mut processes = children_of(node.pid());
    assert_eq!(processes.len(), 2, "an edge and a spare");
    processes.push(node.pid());
    for process in processes {
        assert!(!line(process, "Uid").unwrap().contains("0\t0"), "process {process} is root");
        for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(rights(process, name).unwrap(), 0, "{name} of process {process}");
        }
        assert_eq!(line(process, "NoNewPrivs").unwrap(), "1");
    }
    assert_eq!(body(&node).unwrap(), "one");
}
