//! A second thing breaks while the first is being mended: the node serves on, or serves again.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::Signal;
use testkit::fields::Fields;
use testkit::folder::Folder;
use testkit::gate::Gate;
use testkit::node::{Node, NodeSpec, zone_toml};
use testkit::origin::{Answer, OriginSpec};
use testkit::visitor::Visitor;

use super::hand_over::{children_of, pid_of, replace, signal, with_spare};
use super::{answers, body, kill_edge, status};

/// A node whose binary is a copy of its own, that keeps no spare.
fn upgradable(folder: &Folder, spec: NodeSpec) -> Node {
    let binary = folder.path().join("rempart");
    fs::copy(env!("CARGO_BIN_EXE_rempart"), &binary).expect("a copy");
    Node::start(binary, &spec).expect("a node")
}

#[test]
fn when_both_edges_of_an_upgrade_die_another_serves() {
    let folder = Folder::new().unwrap();
    let lean = NodeSpec::new().node_section("threads = 2\nspare = false").listener("http");
    let node = upgradable(&folder, lean.zone("a", answers("a", "one")));
    let old = pid_of(&node, "edge_pid");
    node.signal(Signal::USR2).unwrap();
    // Both answer commands from the moment on at which the successor serves.
    node.wait_until("the successor", || {
        status(&node).is_ok_and(|status| status["edge_pid"].as_i64().is_some_and(|pid| pid != old))
    })
    .unwrap();
    let edges = children_of(node.pid());
    edges.iter().for_each(|edge| signal(i64::from(*edge), Signal::KILL));
    let serves = || body(&node).is_ok_and(|body| body == "one");
    node.wait_until("another edge", || serves() && !edges.contains(&edge_of(&node))).unwrap();
}

fn edge_of(node: &Node) -> u32 {
    let pid = status(node).ok().and_then(|status| status["edge_pid"].as_u64()).unwrap_or_default();
    u32::try_from(pid).expect("a process id")
}

#[test]
fn a_spare_serves_although_the_node_s_addresses_cannot_be_written() {
    let node = with_spare().unwrap();
    // A folder stands where the file would be written first.
    fs::create_dir(node.folder().path().join("data/.addresses.json.new")).unwrap();
    let old = pid_of(&node, "edge_pid");
    kill_edge(&node).unwrap();
    let told = node.wait_for_event(|event| event["event"] == "addresses_not_written").unwrap();
    assert!(told["cause"].as_str().unwrap().contains("addresses.json cannot be written"), "{told}");
    assert_eq!(body(&node).unwrap(), "one");
    assert_ne!(pid_of(&node, "edge_pid"), old);
}

#[test]
fn an_edge_that_lingers_after_an_upgrade_leaves_the_watched_change_to_its_successor() {
    let gate = Gate::new();
    let script = gate.clone();
    let slow = move |_: &testkit::origin::Request| Answer::ok("slow").wait_before_head(&script);
    let origin = Arc::new(OriginSpec::new().answering(slow).unwrap());
    let folder = Folder::new().unwrap();
    let spec = NodeSpec::new()
        .node_section("threads = 1\nspare = false")
        .listener("http")
        .more("[publish]\ncompare_ms = 0\ncanary_percent = 0\n")
        .zone("a", zone_toml("a", &["slow.example"], &[&origin.url()]))
        .zone("b", answers("b", "one"));
    let node = upgradable(&folder, spec);
    let old = pid_of(&node, "edge_pid");
    let mut visitor = Visitor::tcp(node.address("http").unwrap()).unwrap();
    visitor.send_head("GET", "/", "slow.example", &Fields::default()).unwrap();
    origin.wait_until(|counters| counters.requests == 1).unwrap();

    node.write_zone("b", &answers("b", "two")).unwrap();
    let watcher = Command::new(folder.path().join("rempart"))
        .args(["publish", "--wait", "--confirm-within", "600", "--config"])
        .arg(node.folder().path().join("rempart.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    node.wait_for_event(|event| event["event"] == "published").unwrap();
    let output = node.command(&["upgrade"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    // The older edge still has its visitor, and does not watch any more.
    let output = watcher.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("another edge took over and watches on"), "{told}");
    assert!(fs::exists(format!("/proc/{old}")).unwrap(), "it lingers for its visitor");
    assert_eq!(status(&node).unwrap()["publishing"]["stage"], "soaking");
    let output = node.command(&["confirm"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(node.command(&["confirm"]).unwrap().status.code(), Some(1), "nothing waits any more");
    gate.open();
    assert_eq!(visitor.expect_response("GET").unwrap().text(), "slow");
}

/// Starts another supervisor in a node's folder.
fn another(node: &Node) -> Child {
    Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args(["serve", "--config"])
        .arg(node.folder().path().join("rempart.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a process")
}

#[test]
fn an_edge_without_a_supervisor_serves_on_when_the_next_one_cannot_and_the_third_finds_it() {
    let node = with_spare().unwrap();
    let orphan = pid_of(&node, "edge_pid");
    node.signal(Signal::KILL).unwrap();
    node.wait_for_event(|event| event["event"] == "supervisor_gone").unwrap();
    let generations = node.folder().path().join("data/generations");
    let kept = node.folder().path().join("data/kept");
    fs::rename(&generations, &kept).unwrap();
    node.write_zone("a", "no zone").unwrap();

    let second = another(&node).wait().unwrap();
    assert!(!second.success(), "it has nothing to serve");
    assert_eq!(body(&node).unwrap(), "one");
    assert_eq!(pid_of(&node, "edge_pid"), orphan, "it is still found by its socket");
    assert!(fs::exists(node.folder().path().join("data/addresses.json")).unwrap());
    assert!(!fs::exists(node.folder().path().join("data/rempart.sock.new")).unwrap());

    node.write_zone("a", &answers("a", "two")).unwrap();
    let mut third = another(&node);
    node.wait_until("the third supervisor", || pid_of_or_none(&node) == Some(i64::from(third.id()))).unwrap();
    // The older one may have taken a last visitor or two before it was told to go.
    node.wait_until("its zones", || body(&node).is_ok_and(|body| body == "two")).unwrap();
    signal(i64::from(third.id()), Signal::TERM);
    assert!(third.wait().unwrap().success());
}

/// A node that walked back from a change which became the last good one after `soak_ms`, and then crashed
/// every edge.
fn walked_back(soak_ms: u64, crash: &str) -> Node {
    let stages = format!("[publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = {soak_ms}\n");
    let spec = NodeSpec::new().node_section("threads = 1\nspare = true").listener("http").more(&stages);
    let node = spec.zone("a", answers("a", "good"));
    let node = Node::start(env!("CARGO_BIN_EXE_rempart"), &node).expect("a node");
    node.wait_until("the last good one", || last_good(&node) == Some(1)).expect("it comes");
    let bad = answers("a", "bad").replace("[\"*\"]", &format!("[\"*\", \"{crash}.fault.invalid\"]"));
    node.write_zone("a", &bad).expect("a zone file");
    let output = node.command(&["publish"]).expect("a command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    node.wait_until("the change to be the last good one", || last_good(&node) == Some(2)).expect("it comes");
    node.wait_until("the walk back", || snapshot(&node) == Some(1)).expect("it comes");
    node
}

fn last_good(node: &Node) -> Option<u64> {
    status(node).ok()?["last_good"].as_u64()
}

fn snapshot(node: &Node) -> Option<u64> {
    status(node).ok()?["snapshot"].as_u64()
}

/// Kills the supervisor, starts another, and gives it when it serves.
fn supervised_anew(node: &Node) -> Child {
    node.signal(Signal::KILL).expect("a process");
    node.wait_for_event(|event| event["event"] == "supervisor_gone").expect("it comes");
    let next = another(node);
    node.wait_until("the next supervisor", || pid_of_or_none(node) == Some(i64::from(next.id())))
        .expect("it comes");
    next
}

#[test]
fn a_supervisor_that_follows_one_that_died_begins_where_the_walk_back_stood() {
    let node = walked_back(0, "crash-after-500ms");
    let mut next = supervised_anew(&node);
    let told = status(&node).unwrap();
    assert_eq!((&told["snapshot"], &told["last_good"]), (&1.into(), &2.into()), "{told}");
    assert!(told.to_string().contains("edges died of what is newer"), "{told}");
    // A kill from outside says nothing against it.
    kill_edge(&node).unwrap();
    node.wait_until("another edge", || snapshot(&node) == Some(1) && body(&node).is_ok()).unwrap();
    assert_eq!(body(&node).unwrap(), "good");
    // It takes the files when a person says so.
    node.write_zone("a", &answers("a", "mended")).unwrap();
    let output = node.command(&["publish"]).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(body(&node).unwrap(), "mended");
    signal(i64::from(next.id()), Signal::TERM);
    assert!(next.wait().unwrap().success());
}

#[test]
fn a_change_that_was_walked_back_from_is_withdrawn_when_what_was_before_it_lives() {
    let node = walked_back(1000, "crash-after-3000ms");
    let told = node.wait_for_event(|event| event["event"] == "withdrawn").unwrap();
    assert_eq!((&told["snapshot"], &told["serves"]), (&2.into(), &1.into()), "{told}");
    assert!(told["cause"].as_str().unwrap().contains("edges that served it died"), "{told}");
    node.wait_until("the last good one", || last_good(&node) == Some(1)).unwrap();
    let output = node.command(&["publish"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("withdrawn before") && said.contains("--again"),
        "{said}"
    );
    // The files are still the bad ones: a start passes them over.
    let mut next = supervised_anew(&node);
    assert_eq!((snapshot(&node), last_good(&node)), (Some(1), Some(1)));
    assert_eq!(body(&node).unwrap(), "good");
    signal(i64::from(next.id()), Signal::TERM);
    assert!(next.wait().unwrap().success());
}

fn pid_of_or_none(node: &Node) -> Option<i64> {
    status(node).ok()?["supervisor_pid"].as_i64()
}

#[test]
fn a_binary_that_cannot_be_started_any_more_leaves_the_node_to_its_spare() {
    let folder = Folder::new().unwrap();
    let spec = NodeSpec::new().node_section("threads = 1\nspare = true").listener("http");
    let node = upgradable(&folder, spec.zone("a", answers("a", "one")));
    node.wait_for_event(|event| event["event"] == "spare_ready").unwrap();
    replace(&folder.path().join("rempart"), b"not a program");
    for restarts in 1..=2 {
        kill_edge_by_real_binary(&node);
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == restarts).unwrap();
        node.wait_for_events("spare_ready", restarts + 1).unwrap();
        assert_eq!(body(&node).unwrap(), "one", "what runs is started, not what its file became");
    }
}

fn kill_edge_by_real_binary(node: &Node) {
    signal(super::hand_over::pid_of_by_real_binary(node), Signal::KILL);
}
