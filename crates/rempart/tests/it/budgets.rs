//! What visitors may make a node hold: who is refused or ended when that is used up, and who is not.
//!
//! Read next: [`super::rig`].

use anyhow::Result;
use testkit::node::{Node, NodeSpec, zone_toml};
use testkit::origin::{Answer, OriginSpec};
use testkit::visitor::Visitor;

use super::rig::{HOST, fields, saying, start, visitor, word};

const OTHER: &str = "b.example";

/// More than the kernel's buffers of a connection on loopback, so that a visitor that reads nothing leaves a
/// piece with the node.
const LARGE: u64 = 32 * 1024 * 1024;

fn holding(bytes: &str) -> NodeSpec {
    NodeSpec::new().listener("http").node_section(&format!("threads = 2\nmemory_budget_bytes = {bytes}"))
}

#[test]
fn a_node_without_room_for_a_head_says_so_and_goes_on() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&holding("4096").site("a", &[HOST], &[&origin.url()]))?;
    let mut visitor = visitor(&node)?;
    let long = "x".repeat(3_000);
    // One zone may hold half: 2 KiB is less than any exchange, whoever asks.
    assert_eq!(word(&visitor.fetch(HOST, "/")?), "overload");
    let refused = visitor.ask("GET", "/", HOST, &fields(&[("X-Long", &long)]), b"")?;
    assert_eq!((refused.status, word(&refused).as_str()), (503, "overload"));
    assert_eq!(refused.fields.first("retry-after"), Some("1"));
    node.wait_for_metric("rempart_over_budget_total{level=\"zone\"}", 1.0)?;
    node.wait_for_metric("rempart_over_budget_total{level=\"node\"}", 1.0)?;
    node.wait_for_metric("rempart_refusals_total{refusal=\"overload\"}", 2.0)?;
    assert!(origin.requests().is_empty());
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn fields_of_next_to_nothing_are_charged_for_the_places_they_take() -> Result<()> {
    let origin = saying("answer")?;
    // One zone may hold half: 4 KiB, of which an exchange is 2.
    let node = start(&holding("8192").site("a", &[HOST], &[&origin.url()]))?;
    let mut visitor = visitor(&node)?;
    let many = fields(&[("x", ""); 120]);
    let one = "x".repeat(120 * "x: \r\n".len());
    assert_eq!(visitor.ask("GET", "/", HOST, &fields(&[("x", &one)]), b"")?.text(), "answer");
    assert_eq!(word(&visitor.ask("GET", "/", HOST, &many, b"")?), "overload");
    drop(visitor);
    node.finish_healthy()
}

/// Visitors of the first zone that ask for much and read nothing. Each leaves with the node what the kernel
/// did not take of its last piece of 64 KiB: any part of it, on average some 24 KiB. Of 256 KiB the zone's
/// share for pieces is 112, which four of them need not use up.
fn idle_readers(node: &Node) -> Result<Vec<Visitor>> {
    (0..16)
        .map(|_| {
            let mut visitor = visitor(node)?;
            visitor.send_head("GET", "/large", HOST, &fields(&[]))?;
            Ok(visitor)
        })
        .collect()
}

#[test]
fn visitors_that_do_not_keep_up_are_ended_before_they_keep_others_out() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.target.as_str() {
        "/large" => Answer::new(200).pattern(1, 0, LARGE),
        _ => Answer::ok("small"),
    })?;
    let spec =
        holding("\"256KiB\"").site("a", &[HOST], &[&origin.url()]).site("b", &[OTHER], &[&origin.url()]);
    let node = start(&spec)?;
    let idle = idle_readers(&node)?;
    let ended = node.wait_for_log(|line| line["verdict"] == "overload")?;
    assert_eq!((ended["zone"].as_str(), ended["path"].as_str()), (Some("a"), Some("/large")));
    for host in [HOST, OTHER] {
        assert_eq!(visitor(&node)?.fetch(host, "/small")?.text(), "small", "{host}");
    }
    let mut reading = visitor(&node)?;
    reading.send_head("GET", "/large", OTHER, &fields(&[]))?;
    assert_eq!(reading.read_digest("GET")?.1.length(), LARGE, "who keeps up is not ended");
    drop(reading);
    drop(idle);
    node.finish_healthy()
}

#[test]
fn what_a_zone_holds_counts_on_once_the_zone_is_another() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::new(200).pattern(1, 0, LARGE))?;
    let spec =
        holding("\"256KiB\"").site("a", &[HOST], &[&origin.url()]).site("b", &[OTHER], &[&origin.url()]);
    let node = start(&spec)?;
    let mut idle = Vec::new();
    for change in 0..4 {
        let names = [HOST, &format!("{change}.a.example")];
        node.write_zone("a", &zone_toml("a", &names, &[&origin.url()]))?;
        assert!(node.publish()?.status.success());
        let before = node.log_lines()?.len();
        idle.push(idle_readers(&node)?);
        let is_over = || node.log_lines().is_ok_and(|log| log.len() > before);
        node.wait_until("the zone holds what it may", is_over)?;
    }
    let mut reading = visitor(&node)?;
    reading.send_head("GET", "/large", OTHER, &fields(&[]))?;
    assert_eq!(reading.read_digest("GET")?.1.length(), LARGE, "another zone has what one may not have");
    drop(reading);
    drop(idle);
    node.finish_healthy()
}

#[test]
fn nothing_is_held_once_visitors_are_gone() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&NodeSpec::new().listener("http").site("a", &[HOST], &[&origin.url()]))?;
    for _ in 0..20 {
        assert_eq!(visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), &[7; 100_000])?.status, 200);
    }
    let mut kept = visitor(&node)?;
    assert_eq!(kept.fetch(HOST, "/")?.status, 200);
    // The visitor has the answer a moment before its exchange is over.
    let is_free = || node.metric("rempart_held_bytes").is_ok_and(|held| held == Some(0.0));
    node.wait_until("an idle connection is not charged", is_free)?;
    assert!(node.metric("rempart_held_bytes_max")? > Some(1e6), "half of the machine");
    drop(kept);
    node.finish_healthy()
}
