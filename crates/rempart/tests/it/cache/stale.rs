//! Stale answers: while they are fetched anew, and while the origin fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use testkit::gate::Gate;

use super::*;

/// An answer that is stale from the start, and may be used nevertheless as `control` says.
fn stale(body: &str, control: &str) -> Answer {
    let control = format!("max-age=1{control}");
    Answer::ok(body.to_owned()).field("Cache-Control", control).field("Age", "100").field("ETag", "\"a\"")
}

#[test]
fn a_stale_answer_is_given_at_once_and_fetched_anew_behind_it() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.fields.has("if-none-match") {
        false => stale("old", ", stale-while-revalidate=1000"),
        true => Answer::ok("new").field("Cache-Control", "max-age=60").wait_before_head(&held),
    })?;
    let node = before(&origin, "")?;
    get(&node, "/a")?;
    for _ in 0..3 {
        let given = get(&node, "/a")?;
        assert_eq!(given.text(), "old");
        assert_eq!(said(&given), "rempart; hit; ttl=-99");
        assert_eq!(given.fields.first("age"), Some("100"));
    }
    origin.wait_until(|counters| counters.requests == 2)?;
    gate.open_for_good();
    until(&node, "/a", |answer| answer.text() == "new" && is_hit(answer))?;
    assert_eq!(origin.counters().requests, 2, "one of many fetched");
    node.wait_until("three counted as stale", || {
        node.metric("rempart_cache_requests_total{result=\"stale\"}").is_ok_and(|stale| stale >= Some(3.0))
    })?;
    node.finish_healthy()
}

#[test]
fn a_stale_answer_stands_in_for_an_origin_that_fails() -> Result<()> {
    let status = Arc::new(AtomicU16::new(0));
    let now = Arc::clone(&status);
    let origin = OriginSpec::new().answering(move |_| match now.load(Ordering::Relaxed) {
        0 => stale("old", ""),
        status => Answer::new(status),
    })?;
    let node = before(&origin, "")?;
    for target in ["/500", "/503", "/404", "/down"] {
        get(&node, target)?;
    }
    for (target, failing, given) in [("/500", 500, 200), ("/503", 503, 200), ("/404", 404, 404)] {
        status.store(failing, Ordering::Relaxed);
        let answer = get(&node, target)?;
        assert_eq!(answer.status, given, "{target}: {}", said(&answer));
        if given == 200 {
            assert_eq!(answer.text(), "old");
            assert!(
                said(&answer).contains("fwd=stale") && said(&answer).contains("ttl=-99"),
                "{}",
                said(&answer)
            );
        }
    }
    origin.go_down();
    let bridged = get(&node, "/down")?;
    assert_eq!((bridged.status, bridged.text().as_str()), (200, "old"));
    // The origin is left alone for a second, and the visitor told so.
    assert_eq!(get(&node, "/down")?.text(), "old");
    assert_eq!(get(&node, "/never-seen")?.status, 502);
    node.finish_healthy()
}

#[test]
fn the_zone_says_how_long_a_failure_is_bridged() -> Result<()> {
    let is_failing = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&is_failing);
    let origin = OriginSpec::new().answering(move |request| match now.load(Ordering::Relaxed) {
        true => Answer::new(500),
        false if request.path() == "/must" => stale("old", ", must-revalidate"),
        false => stale("old", ""),
    })?;
    let never = before(&origin, "stale_if_error_s = 0")?;
    let always = before(&origin, "stale_if_error_s = 0\nalways_online = true")?;
    for node in [&never, &always] {
        get(node, "/a")?;
        get(node, "/must")?;
    }
    is_failing.store(true, Ordering::Relaxed);
    assert_eq!(get(&never, "/a")?.status, 500);
    assert_eq!(get(&always, "/a")?.text(), "old");
    assert_eq!(get(&always, "/must")?.status, 500, "it forbids it");
    never.finish_healthy()?;
    always.finish_healthy()
}

#[test]
fn a_slow_origin_is_bridged_once_visitors_have_waited_long_enough() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.fields.has("if-none-match") {
        false => stale("old", ""),
        true => Answer::ok("new").wait_before_head(&held),
    })?;
    let node = before(&origin, "wait_ms = 100")?;
    get(&node, "/a")?;
    let bridged = get(&node, "/a")?;
    assert_eq!((bridged.status, bridged.text().as_str()), (200, "old"));
    gate.open_for_good();
    node.finish_healthy()
}

#[test]
fn a_broken_origin_and_nothing_stored_is_told_as_without_a_cache() -> Result<()> {
    let origin = fresh()?;
    let node = before(&origin, "")?;
    origin.go_down();
    let failed = get(&node, "/a")?;
    assert_eq!((failed.status, super::super::rig::word(&failed).as_str()), (502, "connection_refused"));
    node.wait_for_log(|line| line["fault"] == "connection_refused" && line["cache"] == "uri-miss")?;
    origin.come_back()?;
    assert_eq!(get(&node, "/a")?.status, 200, "a failure is not kept");
    node.finish_healthy()
}
