//! Hand-over between processes: the spare, a supervisor that dies, an upgrade. No visitor is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};
use testkit::fields::Fields;
use testkit::node::{Node, NodeSpec};
use testkit::visitor::Visitor;

use super::{answers, body, kill_edge, node, start, status};

/// A node that keeps a spare.
pub(super) fn with_spare() -> Result<Node> {
    let spec = NodeSpec::new().node_section("threads = 2\nspare = true").listener("http");
    let node = start(&spec.zone("a", answers("a", "one")))?;
    node.wait_for_event(|event| event["event"] == "spare_ready")?;
    Ok(node)
}

/// Visitors that come all the time, each with a connection of its own.
struct Crowd {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    more: Arc<(Mutex<()>, Condvar)>,
    visitors: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Crowd {
    fn come(node: &Node) -> Result<Self> {
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let more: Arc<(Mutex<()>, Condvar)> = Arc::default();
        let address = node.address("http")?;
        let visitors: Vec<_> = (0..3)
            .map(|_| {
                let (ends, asked, more) = (Arc::clone(&ends), Arc::clone(&asked), Arc::clone(&more));
                thread::spawn(move || {
                    let close = Fields::of(&[("Connection", "close")]);
                    let mut failed = Vec::new();
                    while !ends.load(Ordering::Relaxed) {
                        let answer = Visitor::tcp(address)
                            .and_then(|mut visitor| visitor.ask("GET", "/", "example.org", &close, b""));
                        match answer {
                            Ok(answer) if answer.status == 200 => {}
                            Ok(answer) => failed.push(format!("{}: {}", answer.status, answer.text())),
                            Err(error) => failed.push(format!("{error:#}")),
                        }
                        asked.fetch_add(1, Ordering::Relaxed);
                        more.1.notify_all();
                    }
                    failed
                })
            })
            .collect();
        Ok(Self { ends, asked, more, visitors })
    }

    /// Waits until so many more have been answered.
    fn wait_for(&self, more: usize) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        let (lock, told) = &*self.more;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = testkit::gate::PATIENCE;
        let is_short = |(): &mut ()| self.asked.load(Ordering::Relaxed) < until;
        drop(told.wait_timeout_while(guard, patience, is_short).unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends; gives how many came and what failed.
    fn leave(self) -> (usize, Vec<String>) {
        self.ends.store(true, Ordering::Relaxed);
        let failed =
            self.visitors.into_iter().flat_map(|visitor| visitor.join().expect("it can be told")).collect();
        (self.asked.load(Ordering::Relaxed), failed)
    }
}

pub(super) fn pid_of(node: &Node, member: &str) -> i64 {
    status(node).expect("it can be told")[member].as_i64().expect("it can be told")
}

pub(super) fn signal(pid: i64, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).expect("it can be told")).expect("it can be told"), signal)
        .expect("it can be told");
}

#[test]
fn the_spare_takes_over_and_only_requests_in_flight_are_lost() {
    let node = with_spare().unwrap();
    let crowd = Crowd::come(&node).unwrap();
    for restarts in 1..=3 {
        crowd.wait_for(20);
        kill_edge(&node).unwrap();
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == restarts).unwrap();
        node.wait_for_events("spare_ready", restarts + 1).unwrap();
    }
    crowd.wait_for(20);
    let (asked, failed) = crowd.leave();
    // Three visitors, three deaths: each death can cost each visitor the request it has under way.
    assert!(failed.len() <= 9, "{} of {asked} failed: {failed:?}", failed.len());
    assert!(failed.iter().all(|why| !why.contains("refused")), "{failed:?}");
    assert_eq!(status(&node).unwrap()["edge_restarts"], 3);
}

#[test]
fn a_spare_serves_what_was_published_last() {
    let node = with_spare().unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert!(node.publish().unwrap().status.success());
    kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    assert_eq!(body(&node).unwrap(), "two");
}

#[test]
fn a_spare_that_dies_is_replaced_and_nobody_notices() {
    let node = with_spare().unwrap();
    let edge = pid_of(&node, "edge_pid");
    let spare = children_of(node.pid()).into_iter().find(|pid| i64::from(*pid) != edge).unwrap();
    signal(i64::from(spare), Signal::KILL);
    node.wait_for_event(|event| event["event"] == "spare_died").unwrap();
    assert_eq!(body(&node).unwrap(), "one");
    assert_eq!(pid_of(&node, "edge_pid"), edge);
}

/// Processes whose parent this is.
pub(super) fn children_of(parent: u32) -> Vec<u32> {
    let children =
        fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).expect("it can be told");
    children.split_whitespace().map(|pid| pid.parse().expect("it can be told")).collect()
}

#[test]
fn an_edge_outlives_its_supervisor_and_the_next_one_takes_its_sockets_over() {
    let node = with_spare().unwrap();
    let crowd = Crowd::come(&node).unwrap();
    let orphan = pid_of(&node, "edge_pid");
    node.signal(Signal::KILL).unwrap();
    node.wait_for_event(|event| event["event"] == "supervisor_gone").unwrap();
    crowd.wait_for(20);
    let mut second = Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args(["serve", "--config"])
        .arg(node.folder().path().join("rempart.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let addresses = node.folder().path().join("data/addresses.json");
    let is_second = || {
        let text = fs::read_to_string(&addresses).unwrap_or_default();
        text.contains(&format!("\"pid\":{}", second.id()))
    };
    node.wait_until("the second supervisor", is_second).unwrap();
    assert_ne!(pid_of(&node, "edge_pid"), orphan);
    crowd.wait_for(20);
    // It drains: its sockets are the next one's.
    while fs::exists(format!("/proc/{orphan}")).unwrap() {
        crowd.wait_for(1);
    }
    let (asked, failed) = crowd.leave();
    assert_eq!(failed, [""; 0], "of {asked}");
    signal(i64::from(second.id()), Signal::TERM);
    assert!(second.wait().unwrap().success());
}

/// A node whose binary is a copy that can be replaced.
fn with_own_binary(folder: &testkit::folder::Folder) -> Result<Node> {
    let binary = folder.path().join("rempart");
    fs::copy(env!("CARGO_BIN_EXE_rempart"), &binary)?;
    let spec = NodeSpec::new().listener("http").zone("a", answers("a", "one"));
    Node::start(binary, &spec)
}

/// Replaces a binary as a package manager does: another file under the same name.
pub(super) fn replace(path: &std::path::Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).expect("it can be told");
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).expect("it can be told");
    fs::rename(&beside, path).expect("it can be told");
}

#[test]
fn an_upgrade_replaces_edge_and_supervisor_and_no_request_fails() {
    let folder = testkit::folder::Folder::new().unwrap();
    let node = with_own_binary(&folder).unwrap();
    let binary = folder.path().join("rempart");
    let (edge, supervisor) = (pid_of(&node, "edge_pid"), pid_of(&node, "supervisor_pid"));
    let mut kept = Visitor::tcp(node.address("http").unwrap()).unwrap();
    kept.fetch("example.org", "/").unwrap();
    let crowd = Crowd::come(&node).unwrap();
    for upgrade in 1..=2 {
        let bytes = fs::read(&binary).unwrap();
        replace(&binary, &bytes);
        let output = node.command(&["upgrade"]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        node.wait_for_events("resumed", upgrade).unwrap();
    }
    crowd.wait_for(20);
    let (asked, failed) = crowd.leave();
    assert_eq!(failed, [""; 0], "of {asked}");
    // The one last answer that an idle connection gets.
    assert_eq!(kept.fetch("example.org", "/").unwrap().status, 200);
    assert_ne!(pid_of(&node, "edge_pid"), edge);
    assert_eq!(pid_of(&node, "supervisor_pid"), supervisor, "the supervisor keeps its process id");
    // What came over is whole: a publish, a restart and a clean end still work.
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert!(node.publish().unwrap().status.success());
    kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    assert_eq!(body(&node).unwrap(), "two");
}

#[test]
fn every_upgrade_is_told_once_with_both_versions() {
    const UPGRADES: usize = 6;
    let node = node("one").unwrap();
    for upgrade in 1..=UPGRADES {
        node.signal(Signal::USR2).unwrap();
        node.wait_for_events("resumed", upgrade).unwrap();
    }
    let is_it = |event: &serde_json::Value| event["event"] == "upgraded";
    let lines = node.stderr_lines();
    let told: Vec<serde_json::Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).filter(is_it).collect();
    assert_eq!(told.len(), UPGRADES, "{lines:?}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(told.iter().all(|event| event["from"] == version && event["to"] == version), "{told:?}");
    // Nor is another line of the older binary lost with its writer.
    let begun = lines.iter().filter(|line| line.contains("\"event\":\"upgrade_begins\"")).count();
    assert_eq!(begun, UPGRADES, "{lines:?}");
    assert_eq!(body(&node).unwrap(), "one");
    node.finish_healthy().unwrap();
}

#[test]
fn an_upgrade_that_does_not_start_leaves_the_old_one_serving_and_says_why() {
    let folder = testkit::folder::Folder::new().unwrap();
    let node = with_own_binary(&folder).unwrap();
    let edge = pid_of(&node, "edge_pid");
    for broken in [&b"not a program"[..], b"#!/bin/sh\nexit 3\n"] {
        replace(&folder.path().join("rempart"), broken);
        let output = command_of_the_real_binary(&node, "upgrade");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(body(&node).unwrap(), "one");
        assert_eq!(pid_of_by_real_binary(&node), edge);
    }
    let told = node.wait_for_event(|event| event["event"] == "upgrade_failed").unwrap();
    assert!(told["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{told}");
}

fn command_of_the_real_binary(node: &Node, command: &str) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args([command, "--config"])
        .arg(node.folder().path().join("rempart.toml"))
        .stdin(Stdio::null())
        .output()
        .expect("it can be told")
}

pub(super) fn pid_of_by_real_binary(node: &Node) -> i64 {
    let output = Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args(["status", "--json", "--config"])
        .arg(node.folder().path().join("rempart.toml"))
        .output()
        .expect("it can be told");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it can be told");
    status["edge_pid"].as_i64().expect("it can be told")
}

/// Asks for a page with a fault point in it; the answer does not come.
fn deadly(node: &Node, target: &str, fault: &str) -> Result<u16> {
    let fields = Fields::of(&[("Connection", "close"), ("Rempart-Fault", fault)]);
    Ok(Visitor::tcp(node.address("http")?)?.ask("GET", target, "example.org", &fields, b"")?.status)
}

#[test]
fn a_request_that_kills_is_named_after_the_first_death_and_refused_after_the_second() {
    let node = with_spare().unwrap();
    for (kills, fault) in [(1, "route=abort"), (2, "route=overflow")] {
        assert!(deadly(&node, "/killer", fault).is_err());
        let told =
            node.wait_for_event(|event| event["event"] == "edge_died_of" && event["kills"] == kills).unwrap();
        assert_eq!(
            (&told["zone"], &told["phase"], &told["certain"]),
            (&"a".into(), &"route".into(), &true.into())
        );
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == kills).unwrap();
        node.wait_for_events("spare_ready", kills + 1).unwrap();
    }
    assert_eq!(deadly(&node, "/killer", "route=abort").unwrap(), 503);
    assert_eq!(body(&node).unwrap(), "one", "nobody else is refused");
    node.wait_for_metric("rempart_refusals_total{refusal=\"deadly_request\"}", 1.0).unwrap();
    assert_eq!(status(&node).unwrap()["edge_restarts"], 2);
}

#[test]
fn a_zone_is_set_back_though_its_requests_kill_one_edge_right_after_the_other() {
    let node = with_spare().unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert!(node.publish().unwrap().status.success());
    let deaths = || node.stderr_lines().iter().filter(|line| line.contains("\"event\":\"culprit\"")).count();
    // Nobody waits until an edge has heard of what the one before it died of. A connection that a dying edge
    // had taken is lost with it, so some come in vain; the bound is for a hang.
    let mut asked = 0;
    while deaths() < 3 && asked < 1_000 {
        let _ends_the_edge = deadly(&node, &format!("/{asked}"), "route=abort");
        asked += 1;
    }
    let told = node.wait_for_event(|event| event["event"] == "zone_set_back").unwrap();
    assert_eq!(told["zone"], "a");
    node.wait_until("the zone as it was", || body(&node).is_ok_and(|text| text == "one")).unwrap();
}

#[test]
fn a_request_that_never_yields_costs_its_own_thread_alone_and_the_process_is_replaced() {
    let spec = NodeSpec::new().node_section("threads = 2\nspare = true\ndrain_ms = 500").listener("http");
    let node = start(&spec.zone("a", answers("a", "one"))).unwrap();
    node.wait_for_event(|event| event["event"] == "spare_ready").unwrap();
    let crowd = Crowd::come(&node).unwrap();
    crowd.wait_for(20);
    let edge = pid_of(&node, "edge_pid");
    let address = node.address("http").unwrap();
    let hung = thread::spawn(move || {
        let fields = Fields::of(&[("Connection", "close"), ("Rempart-Fault", "route=hang")]);
        Visitor::tcp(address)?.ask("GET", "/hang", "example.org", &fields, b"")
    });
    node.wait_for_event(|event| event["event"] == "thread_stuck").unwrap();
    node.wait_for_event(|event| event["event"] == "edge_stuck").unwrap();
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1).unwrap();
    crowd.wait_for(20);
    assert!(hung.join().unwrap().is_err(), "the connection goes with its thread");
    let (asked, failed) = crowd.leave();
    // Requests that the hanging thread had taken before: at most one each.
    assert!(failed.len() <= 3, "{} of {asked}: {failed:?}", failed.len());
    assert_ne!(pid_of(&node, "edge_pid"), edge);
    assert_eq!(deadly(&node, "/hang", "route=hang").unwrap(), 503, "the second such request is refused");
}

#[test]
fn when_no_edge_can_start_zones_that_agreed_reach_their_origins_and_the_edge_takes_over_again() {
    use testkit::authority::{Authority, ClientCertificates, Greeting};
    use testkit::origin::{Answer, OriginSpec};

    let authority = Authority::new().unwrap();
    let leaf = authority.leaf(&["a.example", "b.example"]).unwrap();
    let server = authority.server_config(&leaf, &["http/1.1"], ClientCertificates::Unasked).unwrap();
    let origin = OriginSpec::new().tls(server).answering(|_| Answer::ok("from the origin")).unwrap();
    let zone = |name: &str, passes: bool| {
        format!(
            "name = {name:?}\nhostnames = [\"{name}.example\"]\npass_through = {passes}\n[tls]\n\
             certificate = \
             \"../certs/leaf.pem\"\nprivate_key = \"../certs/leaf.key\"\n[[pool]]\nname = \"app\"\norigins = \
             [{{ url = {:?} }}]\n[pool.tls]\nca = \"../certs/ca.pem\"\nsni = \"a.example\"\n",
            origin.url()
        )
    };
    let spec = NodeSpec::new()
        .node_section("threads = 1\nspare = false\ndrain_ms = 500")
        .listener("https")
        .listener("http")
        .file("certs/leaf.pem", leaf.certificate_pem.as_bytes())
        .file("certs/leaf.key", leaf.key_pem.as_bytes())
        .file("certs/ca.pem", authority.pem().as_bytes())
        .zone("a", zone("a", true))
        .zone("b", zone("b", false));
    let node = start(&spec).unwrap();
    let trusting = authority.client_config(Greeting::default()).unwrap();
    let ask = |host: &str| -> Result<String> {
        let mut visitor = Visitor::tls(node.address("https")?, host, &trusting)?;
        let close = Fields::of(&[("Connection", "close")]);
        Ok(visitor.ask("GET", "/", host, &close, b"")?.text())
    };
    assert_eq!(ask("a.example").unwrap(), "from the origin");
    let table = node.folder().path().join("data/splice.table");
    node.wait_until("the splice's table", || table.exists()).unwrap();
    // Nothing that is kept can be used any more.
    let generations = node.folder().path().join("data/generations");
    let kept = fs::read_dir(&generations).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&kept).unwrap();
    fs::write(&kept, "damaged").unwrap();
    kill_edge(&node).unwrap();
    node.wait_for_event(|event| event["event"] == "pass_through_begins").unwrap();
    assert_eq!(ask("a.example").unwrap(), "from the origin", "its owner agreed");
    assert!(ask("b.example").is_err(), "its owner did not");
    let close = Fields::of(&[("Connection", "close")]);
    let answer = Visitor::tcp(node.address("http").unwrap())
        .unwrap()
        .ask("GET", "/", "a.example", &close, b"")
        .unwrap();
    assert_eq!(answer.status, 503);
    // Whoever looks is told so, and what to do.
    let told = status(&node).unwrap();
    assert_eq!((&told["passes_through"], &told["supervisor_pid"]), (&true.into(), &node.pid().into()));
    assert!(told["processes"].as_array().unwrap().iter().any(|one| one["does"] == "splice"), "{told}");
    let refused = node.publish().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("mend the files, and send SIGHUP"), "{why}");
    // A table that is broken is none: nobody is sent anywhere.
    let splice = || {
        let all = status(&node).ok()?["processes"].as_array().cloned()?;
        all.iter().find(|one| one["does"] == "splice").and_then(|one| one["pid"].as_i64())
    };
    fs::write(&table, "damaged").unwrap();
    let before = splice().unwrap();
    signal(before, Signal::KILL);
    node.wait_until("another splice", || splice().is_some_and(|pid| pid != before)).unwrap();
    assert!(ask("a.example").is_err(), "its owner agreed, and nobody knows to where");
    let is_told = || node.stderr_lines().iter().any(|line| line.contains("the splice table cannot be used"));
    node.wait_until("what is wrong with it", is_told).unwrap();
    // Mended: the next edge that starts serves, and the splice lets go.
    fs::write(&kept, whole).unwrap();
    node.reload().unwrap();
    node.wait_for_event(|event| event["event"] == "pass_through_ends").unwrap();
    // Both serve for a moment, and the splice refuses once more whoever comes to it.
    let serves = || ask("b.example").is_ok_and(|text| text == "from the origin");
    node.wait_until("the edge for all zones", serves).unwrap();
}
