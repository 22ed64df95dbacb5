//! The supervisor: restarts, signals, the data folder.

use std::fs;

use testkit::node::NodeSpec;

use super::{answers, body, kill_edge, node, start, status};

#[test]
fn a_node_that_is_told_to_stop_ends_cleanly_and_leaves_no_addresses() {
    let mut node = node("one").unwrap();
    assert_eq!(body(&node).unwrap(), "one");
    node.terminate().unwrap();
    assert!(node.wait().unwrap().success());
    assert!(!node.folder().path().join("data/addresses.json").exists());
}

#[test]
fn a_healthy_run_writes_no_warning() {
    let node = node("one").unwrap();
    assert_eq!(body(&node).unwrap(), "one");
    node.finish_healthy().unwrap();
}

#[test]
fn a_node_that_stays_root_says_so_once_and_without_alarm() {
    let node = node("one").unwrap();
    // Who the node became by itself: root where there is no user `rempart` and root started it.
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let is_root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    assert_eq!(body(&node).unwrap(), "one");
    let told = node.stderr_lines().iter().filter(|line| line.contains("\"event\":\"root_kept\"")).count();
    assert_eq!(told, usize::from(is_root));
    node.finish_healthy().unwrap();
}

#[test]
fn an_edge_that_is_killed_is_replaced_and_visitors_wait_in_the_queue() {
    let node = node("one").unwrap();
    for restarts in 1..=2 {
        kill_edge(&node).unwrap();
        // Connected while nobody serves: the kernel keeps it for the next edge. A connection that the dying
        // edge had accepted is lost, so the first try may fail.
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == restarts).unwrap();
        assert_eq!(body(&node).unwrap(), "one");
        assert_eq!(status(&node).unwrap()["edge_restarts"], restarts);
        node.wait_for_metric("rempart_edge_restarts_total", f64::from(restarts)).unwrap();
    }
    let died = node.wait_for_event(|event| event["event"] == "edge_died").unwrap();
    assert_eq!(died["signal"], 9);
}

#[test]
fn the_access_log_is_opened_anew_on_sigusr1() {
    let node = node("one").unwrap();
    body(&node).unwrap();
    node.wait_for_log(|line| line["status"] == 200).unwrap();
    let log = node.folder().path().join("access.log");
    fs::rename(&log, node.folder().path().join("access.old")).unwrap();
    node.reopen_log().unwrap();
    // The signal is acted on in the edge's own time: lines go to either file, and in the end to the new one.
    let mut visits = 0;
    while !log.exists() || node.log_lines().unwrap().is_empty() {
        body(&node).unwrap();
        visits += 1;
        assert!(visits < 100_000, "the log was never opened anew");
    }
}

#[test]
fn a_second_node_in_the_same_data_folder_is_refused() {
    let node = node("one").unwrap();
    let output = node.command(&["serve"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("another node runs with the data folder"), "{text}");
    assert_eq!(body(&node).unwrap(), "one");
    assert_eq!(status(&node).unwrap()["edge_restarts"], 0);
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_every_problem() {
    let spec = NodeSpec::new().zone("a", answers("a", "one") + "colour = 1\n").zone("b", "name = 3\n");
    let error = start(&spec).err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(error.contains("zones/a.toml:5:1") && error.contains("zones/b.toml:1:"), "{error}");
}

#[test]
fn status_names_what_runs() {
    let spec = NodeSpec::new().listener("http").zone("a", answers("a", "x"));
    let node = start(&spec).unwrap();
    let status = status(&node).unwrap();
    assert_eq!(status["snapshot"], 1);
    assert_eq!(status["zones"][0]["name"], "a");
    assert_eq!(status["supervisor_pid"], node.pid());
    assert_eq!(status["started_from_kept_generation"], false);
}
