//! Publishing: by command and by signal, refusals, generations, certificates.

use std::fs;

use anyhow::Result;
use testkit::node::{Node, NodeSpec};

use super::{answers, body, kill_edge, node, start};

/// Publishes by the command; gives its exit code and what it wrote.
fn publish(node: &Node) -> Result<(Option<i32>, String, String)> {
    let output = node.publish()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

fn generations(node: &Node) -> usize {
    fs::read_dir(node.folder().path().join("data/generations")).map_or(0, Iterator::count)
}

#[test]
fn a_published_change_is_live_when_the_command_returns() {
    let node = node("one").unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    assert_eq!(body(&node).unwrap(), "one", "nothing is live before it is published");
    let (code, out, _) = publish(&node).unwrap();
    assert_eq!((code, out.as_str()), (Some(0), "snapshot 2 is live: 1 zone\n"));
    assert_eq!(body(&node).unwrap(), "two");
    let (code, out, _) = publish(&node).unwrap();
    assert_eq!(code, Some(0));
    assert!(out.contains("snapshot 2 stays"), "{out}");
    assert_eq!(generations(&node), 2);
    node.finish_healthy().unwrap();
}

#[test]
fn a_change_is_published_on_sighup() {
    let node = node("one").unwrap();
    node.write_zone("a", &answers("a", "two")).unwrap();
    node.reload().unwrap();
    node.wait_for_event(|event| event["event"] == "published" && event["snapshot"] == 2).unwrap();
    assert_eq!(body(&node).unwrap(), "two");
}

#[test]
fn a_bad_change_is_refused_with_every_problem_and_the_old_one_serves_on() {
    let node = node("one").unwrap();
    node.write_zone("a", &(answers("a", "two") + "colour = 1\n")).unwrap();
    node.write_zone("b", "name = 3\n").unwrap();
    let (code, out, problems) = publish(&node).unwrap();
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(problems.contains("zones/a.toml:5:1: "), "{problems}");
    assert!(problems.contains("zones/b.toml:1:8: "), "{problems}");
    assert_eq!(body(&node).unwrap(), "one");
    assert_eq!(generations(&node), 1);
    node.wait_for_event(|event| event["event"] == "publish_refused").unwrap();
    let check = node.command(&["check"]).unwrap();
    assert_eq!(check.status.code(), Some(1));
    let checked = String::from_utf8_lossy(&check.stderr).into_owned();
    for problem in problems.lines().filter(|line| line.contains(".toml:")) {
        assert!(checked.contains(problem), "check does not say: {problem}\n{checked}");
    }
}

#[test]
fn an_edge_that_dies_comes_back_with_what_was_published_whatever_the_files_say() {
    let node = node("one").unwrap();
    for text in ["name = ", &answers("a", "never published")] {
        node.write_zone("a", text).unwrap();
        kill_edge(&node).unwrap();
        let restarts = if text == "name = " { 1 } else { 2 };
        node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == restarts).unwrap();
        assert_eq!(body(&node).unwrap(), "one");
    }
}

#[test]
fn settings_that_need_a_new_start_are_named_by_publish() {
    let node = node("one").unwrap();
    let path = node.folder().path().join("rempart.toml");
    let text = fs::read_to_string(&path).unwrap().replace("threads = 2", "threads = 3");
    fs::write(&path, text + "\n[overload]\ndelay_ms = 100\n").unwrap();
    let (code, _, warnings) = publish(&node).unwrap();
    assert_eq!(code, Some(0));
    assert!(warnings.contains("warning: ") && warnings.contains("threads"), "{warnings}");
    assert!(warnings.contains("not in force") && warnings.contains("[overload]"), "{warnings}");
}

#[test]
fn a_purge_says_whose_answers_it_is_about() {
    let node = node("one").unwrap();
    let purge = |zone: &str| {
        let output = node.command(&["purge", "--zone", zone]).unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let needs = "rempart: --zone needs a name: the `name` in the zone's file\n";
    assert_eq!(purge(""), (Some(1), needs.to_owned()));
    let (code, told) = purge("a");
    assert!(code == Some(0) && told.contains("the zone \"a\" has no cache"), "{told}");
    node.wait_for_event(|event| event["event"] == "purged" && event["zone"] == "a").unwrap();
}

#[test]
fn whoever_reads_no_further_gets_no_complaint() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let listed = std::process::Command::new(env!("CARGO_BIN_EXE_rempart"))
        .args(["drill", "--list"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stderr), "");
}

#[test]
fn check_tells_what_is_in_order_and_cannot_be_meant_on_this_machine() {
    let node = node("one").unwrap();
    let path = node.folder().path().join("rempart.toml");
    let text = fs::read_to_string(&path).unwrap();
    // A name that ends in the same words comes first.
    let text = text.replace("[node]\n", "[node]\nname = \"the-a.example\"\nuser = \"nobody-of-that-name\"\n")
        + "\n[[overload.zone]]\nname = \"a.example\"\nweight = 2\n";
    let line = |of: &str| text.lines().position(|line| line == of).unwrap() + 1;
    let places = [line("user = \"nobody-of-that-name\""), line("name = \"a.example\"")];
    fs::write(&path, &text).unwrap();
    let output = node.command(&["check"]).unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let [user, zone] = places.map(|line| format!("rempart.toml:{line}:8: warning: "));
    let no_user = "this machine has no user `nobody-of-that-name`: here the node will not start";
    assert!(told.contains(&format!("{user}{no_user}")), "{told}");
    assert!(told.contains(&format!("{zone}[[overload.zone]]: there is no zone `a.example`")), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn check_sums_up_files_that_are_in_order() {
    let other = answers("b", "x").replace('*', "b.example");
    let node = start(&NodeSpec::new().zone("a", answers("a", "x")).zone("b", other)).unwrap();
    let output = node.command(&["check"]).unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.ends_with("is in order: 1 listener, 2 zones, 2 hostnames, 0 warnings\n"), "{text}");
}
