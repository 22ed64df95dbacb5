//! `rempart status` shows what runs where, since when and why: every process of the node.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;
use testkit::gate::Gate;
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec};

use super::hand_over::{pid_of, signal, with_spare};
use super::{kill_edge, start, status};
use crate::rig::{HOST, visitor, zone};

/// The processes that do this.
pub(super) fn doing(node: &Node, what: &str) -> Result<Vec<Value>> {
    let status = status(node)?;
    let all = status["processes"].as_array().context("a list of processes")?;
    Ok(all.iter().filter(|one| one["does"] == what).cloned().collect())
}

/// Waits until exactly one process does this.
pub(super) fn the_one(node: &Node, what: &str) -> Value {
    let found = std::cell::Cell::new(Value::Null);
    let is_one = || match doing(node, what) {
        Ok(mut all) if all.len() == 1 => {
            found.set(all.remove(0));
            true
        }
        _ => false,
    };
    node.wait_until(what, is_one).expect("it can be told");
    found.take()
}

fn text(process: &Value, member: &str) -> String {
    process[member].as_str().unwrap_or_default().to_owned()
}

#[test]
fn status_shows_supervisor_edge_and_spare_since_when_and_why() {
    let node = with_spare().unwrap();
    let (supervisor, edge, spare) =
        (the_one(&node, "supervisor"), the_one(&node, "serving"), the_one(&node, "spare"));
    assert_eq!(supervisor["pid"], node.pid());
    assert_eq!(edge["pid"], pid_of(&node, "edge_pid"));
    for process in [&supervisor, &edge, &spare] {
        assert_eq!(process["version"], env!("CARGO_PKG_VERSION"));
        assert!(text(process, "since").starts_with("20") && !text(process, "why").is_empty(), "{process}");
        assert!(process["until"].is_null(), "{process}");
    }
    assert_eq!((&edge["snapshot"], &spare["snapshot"]), (&Value::from(1), &Value::from(1)));
    kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    let after = the_one(&node, "serving");
    assert_eq!(after["pid"], spare["pid"], "the spare took over");
    let why = text(&after, "why");
    assert!(why.contains(&format!("in the place of process {}, which died", edge["pid"])), "{why}");
    assert!(after["since_unix_us"].as_u64() >= spare["since_unix_us"].as_u64(), "{after}");
    assert_eq!(
        status(&node).unwrap()["started_from_kept_generation"],
        false,
        "nothing is wrong with the files"
    );
    let output = node.command(&["status"]).unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = format!("serving    pid={} version={}", after["pid"], env!("CARGO_PKG_VERSION"));
    assert!(told.lines().any(|it| it.starts_with("processes") && it.contains(&line)), "{told}");
}

/// Asks at the command socket what runs, as often as it can; gives how often, and every answer that does not
/// name the supervisor and the edge that answers.
fn ask_until(socket: &Path, is_over: &AtomicBool) -> (usize, Vec<Value>) {
    let (mut asked, mut partial) = (0, Vec::new());
    while !is_over.load(Ordering::Acquire) {
        // Who answers may be killed before it has.
        let Ok(status) = ask_once(socket) else { continue };
        asked += 1;
        let all = status["processes"].as_array().cloned().unwrap_or_default();
        let has = |member: &str, value: &Value| all.iter().any(|one| &one[member] == value);
        if !has("does", &"supervisor".into()) || !has("pid", &status["edge_pid"]) {
            partial.push(status["processes"].clone());
        }
    }
    (asked, partial)
}

fn ask_once(socket: &Path) -> Result<Value> {
    let mut connection = UnixStream::connect(socket)?;
    connection.write_all(b"{\"command\":\"status\"}\n")?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line)?;
    Ok(answer.get("status").filter(|status| status.is_object()).context("a status")?.clone())
}

#[test]
fn status_names_supervisor_and_edge_at_every_moment_of_a_hand_over() {
    let node = with_spare().unwrap();
    let (socket, is_over) = (node.folder().path().join("data/rempart.sock"), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let askers = [0; 2].map(|_| scope.spawn(|| ask_until(&socket, &is_over)));
        for restarts in 1..=4 {
            kill_edge(&node).unwrap();
            node.wait_for_events("ready", restarts + 1).unwrap();
            node.wait_for_events("spare_ready", restarts + 1).unwrap();
        }
        for upgrades in 1..=2 {
            node.signal(Signal::USR2).unwrap();
            node.wait_for_events("resumed", upgrades).unwrap();
        }
        is_over.store(true, Ordering::Release);
        for asker in askers {
            let (asked, partial) = asker.join().unwrap();
            assert!(asked > 0);
            assert_eq!(partial, [Value::Null; 0], "of {asked}");
        }
    });
}

#[test]
fn an_edge_whose_supervisor_died_shows_itself() {
    let node = with_spare().unwrap();
    let edge = pid_of(&node, "edge_pid");
    node.signal(Signal::KILL).unwrap();
    node.wait_for_event(|event| event["event"] == "supervisor_gone").unwrap();
    let alone =
        || status(&node).is_ok_and(|status| status["processes"].as_array().is_some_and(|all| all.len() == 1));
    node.wait_until("the edge alone", alone).unwrap();
    let shown = the_one(&node, "serving");
    assert_eq!((&shown["pid"], &shown["snapshot"]), (&edge.into(), &1.into()));
    assert_eq!(text(&shown, "why"), "its supervisor died");
}

#[test]
fn status_shows_what_an_edge_that_drains_holds_and_until_when() {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |_| Answer::ok("late").wait_before_head(&script)).unwrap();
    let spec = NodeSpec::new().node_section("threads = 2").listener("http").zone("a", zone(&origin, ""));
    let node = start(&spec).unwrap();
    let before = the_one(&node, "serving");
    let mut slow = visitor(&node).unwrap();
    let waiting = std::thread::spawn(move || slow.fetch(HOST, "/"));
    let asks = || the_one(&node, "serving")["exchanges"] == 1;
    node.wait_until("an exchange under way", asks).unwrap();
    node.signal(Signal::USR2).unwrap();
    node.wait_for_event(|event| event["event"] == "resumed").unwrap();
    let is_told = || doing(&node, "draining").is_ok_and(|all| all.iter().any(|it| it["exchanges"] == 1));
    node.wait_until("an edge that drains and has an exchange", is_told).unwrap();
    let drains = the_one(&node, "draining");
    assert_eq!((&drains["pid"], &drains["connections"]), (&before["pid"], &Value::from(1)));
    assert!(drains["until_unix_us"].as_u64() > drains["since_unix_us"].as_u64(), "{drains}");
    assert_eq!(text(&drains, "why"), "an upgrade has taken its place");
    let after = the_one(&node, "serving");
    assert!(text(&after, "why").contains(&format!("took over from process {}", before["pid"])), "{after}");
    assert!(text(&the_one(&node, "supervisor"), "why").contains("newer binary"));
    gate.open();
    assert_eq!(waiting.join().unwrap().unwrap().text(), "late");
    node.wait_until("the end of the drain", || doing(&node, "draining").is_ok_and(|all| all.is_empty()))
        .unwrap();
}

#[test]
fn status_shows_the_candidate_while_a_change_is_tried() {
    let spec = NodeSpec::new().listener("http").zone("a", super::answers("a", "one"));
    let spec = spec.more("[publish]\ncompare_ms = 0\ncanary_percent = 10\ncanary_ms = 60000\nsoak_ms = 0\n");
    let node = start(&spec).unwrap();
    node.write_zone("a", &super::answers("a", "two")).unwrap();
    node.reload().unwrap();
    let candidate = the_one(&node, "candidate");
    assert_eq!(text(&candidate, "why"), "tries a change out");
    assert_ne!(candidate["pid"], pid_of(&node, "edge_pid"));
    signal(candidate["pid"].as_i64().unwrap(), Signal::KILL);
    node.wait_until("its end", || doing(&node, "candidate").is_ok_and(|all| all.is_empty())).unwrap();
}
