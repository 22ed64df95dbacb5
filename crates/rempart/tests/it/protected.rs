//! Origins are protected: a circuit while most fails, a line before those that are full, stale answers.
//!
//! Read next: [`super::origins`].

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testkit::gate::Gate;
use testkit::node::{Node, NodeSpec, zone_toml};
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin, Workers};
use testkit::visitor::{Response, Visitor};

use super::rig::{HOST, fetch, fields, saying, start, visitor, with_zone, word, zone};

/// More requests than a circuit needs to open, when all of them fail.
const ENOUGH: usize = 60;

/// Asks what fails until the circuit is open; the answer that says so.
fn open_circuit(node: &Node) -> Result<Response> {
    for _ in 0..ENOUGH {
        let response = fetch(node, HOST, "/lost")?;
        match (response.status, word(&response).as_str()) {
            (503, "destination_unavailable") => return Ok(response),
            (status, word) => ensure!(status == 502, "{status} {word}"),
        }
    }
    anyhow::bail!("the circuit is still closed after {ENOUGH} failures")
}

#[test]
fn a_circuit_opens_when_all_fails_and_closes_once_the_origin_answers() -> Result<()> {
    let origin = saying("well")?;
    let node = with_zone(&zone(&origin, ""))?;
    assert_eq!(fetch(&node, HOST, "/")?.status, 200);
    origin.go_down();
    let open = open_circuit(&node)?;
    assert!(open.text().contains("cause: origin"), "{}", open.text());
    assert!(open.fields.has("retry-after"));
    assert_eq!(open.fields.first("proxy-status"), Some("rempart; error=destination_unavailable"));
    node.wait_for_metric("rempart_origin_circuits_open", 1.0)?;
    let status = String::from_utf8(node.command(&["status", "--json"])?.stdout)?;
    assert!(status.replace(' ', "").contains("\"circuits_open\":1"), "{status}");
    node.wait_for_events("origin_circuit_opened", 1)?;
    // While it is open, one request in a while goes to the origin, and all others are answered here.
    let attempts = || node.metric("rempart_origin_requests_total{result=\"fault\"}");
    let before = attempts()?.context("attempts")?;
    for _ in 0..ENOUGH {
        assert!(fetch(&node, HOST, "/")?.status >= 502);
    }
    let made = attempts()?.context("attempts")? - before;
    assert!(made < ENOUGH as f64 / 2.0, "{made} attempts of {ENOUGH} requests");
    origin.come_back()?;
    node.wait_until("an answer", || fetch(&node, HOST, "/").is_ok_and(|answer| answer.status == 200))?;
    node.wait_for_events("origin_circuit_closed", 1)?;
    node.wait_for_metric("rempart_origin_circuits_open", 0.0)?;
    for _ in 0..10 {
        assert_eq!(fetch(&node, HOST, "/")?.status, 200, "all are served again, not one at a time");
    }
    let opened = node.stderr_lines().iter().filter(|line| line.contains("origin_circuit_opened")).count();
    assert_eq!(opened, 1, "once an episode");
    Ok(())
}

#[test]
fn a_circuit_can_be_switched_off() -> Result<()> {
    let origin = saying("well")?;
    let node = with_zone(&zone(&origin, "ejection = { circuit_percent = 0 }"))?;
    origin.go_down();
    for _ in 0..ENOUGH {
        assert_eq!(fetch(&node, HOST, "/")?.status, 502);
    }
    Ok(())
}

#[test]
fn what_is_stored_is_served_stale_while_the_circuit_is_open() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/kept" => Answer::ok("kept").field("Cache-Control", "public, max-age=0, stale-if-error=600"),
        _ => Answer::ok("not kept").field("Cache-Control", "no-store"),
    })?;
    let node = with_zone(&zone(&origin, "\n[cache]\nenabled = true\n"))?;
    assert_eq!(fetch(&node, HOST, "/kept")?.text(), "kept");
    origin.go_down();
    open_circuit(&node)?;
    for _ in 0..10 {
        let stale = fetch(&node, HOST, "/kept")?;
        assert_eq!((stale.status, stale.text().as_str()), (200, "kept"));
        let said = stale.fields.first("cache-status").context("Cache-Status")?;
        assert!(said.starts_with("rempart; fwd=stale"), "{said}");
    }
    Ok(())
}

/// One origin that does one request at a time, each when the gate opens.
fn one_at_a_time(gate: &Gate, lines: &str) -> Result<(ScriptedOrigin, Node)> {
    let gate = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.path() {
        "/" => Answer::ok("at once"),
        _ => Answer::ok("at last").wait_before_head(&gate),
    })?;
    let spec =
        NodeSpec::new().listener("http").node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let node = start(&spec.zone("a", zone(&origin, &format!("max_requests = 1\n{lines}"))))?;
    Ok((origin, node))
}

fn ask_as(node: &Node, address: &str, target: &str) -> Result<Visitor> {
    let mut one = visitor(node)?;
    one.send_head("GET", target, HOST, &fields(&[("X-Forwarded-For", address)]))?;
    Ok(one)
}

/// Asks until the visitor was served in more than one second, as the answers tell the time.
fn become_known(node: &Node, address: &str) -> Result<()> {
    let mut dates: Vec<String> = Vec::new();
    while dates.len() < 3 {
        let answer = ask_as(node, address, "/")?.expect_response("GET")?;
        ensure!(answer.status == 200, "{}", answer.status);
        let date = answer.fields.first("date").context("a date")?.to_owned();
        if !dates.contains(&date) {
            dates.push(date);
        }
    }
    Ok(())
}

#[test]
fn who_finds_an_origin_full_waits_and_known_visitors_come_first() -> Result<()> {
    let gate = Gate::new();
    let (origin, node) = one_at_a_time(&gate, "queue = 2\nqueue_ms = 600000")?;
    become_known(&node, "192.0.2.1")?;
    let before = origin.requests().len();
    let placed = "rempart_origin_waits_total{result=\"placed\"}";
    let placed_before = node.metric(placed)?.context("a count")?;
    let mut holding = ask_as(&node, "192.0.2.9", "/holds")?;
    node.wait_until("the first at the origin", || origin.requests().len() == before + 1)?;
    let mut stranger = ask_as(&node, "192.0.2.8", "/stranger")?;
    node.wait_for_metric("rempart_origin_line", 1.0)?;
    let mut given_way = ask_as(&node, "192.0.2.7", "/other")?;
    node.wait_for_metric("rempart_origin_line", 2.0)?;
    let beyond = ask_as(&node, "192.0.2.6", "/beyond")?.expect_response("GET")?;
    assert_eq!((beyond.status, word(&beyond).as_str()), (503, "connection_limit_reached"));
    assert!(beyond.text().contains("cause: origin") && beyond.fields.has("retry-after"));
    // A known visitor takes the place of the stranger who has waited longest, and is served first.
    let mut known = ask_as(&node, "192.0.2.1", "/known")?;
    let sent_away = stranger.expect_response("GET")?;
    assert_eq!((sent_away.status, word(&sent_away).as_str()), (503, "connection_limit_reached"));
    gate.open_times(3);
    for one in [&mut holding, &mut known, &mut given_way] {
        assert_eq!(one.expect_response("GET")?.text(), "at last");
    }
    let asked: Vec<String> =
        origin.requests().iter().skip(before).map(|request| request.path().to_owned()).collect();
    assert_eq!(asked, ["/holds", "/known", "/other"]);
    node.wait_for_metric(placed, placed_before + 2.0)?;
    node.wait_for_metric("rempart_origin_waits_total{result=\"sent_away\"}", 2.0)?;
    node.wait_for_metric("rempart_origin_line", 0.0)?;
    node.finish_healthy()
}

#[test]
fn who_waits_is_sent_away_when_the_time_is_over_and_leaves_no_trace_when_it_leaves() -> Result<()> {
    let gate = Gate::new();
    let (origin, node) = one_at_a_time(&gate, "queue = 8\nqueue_ms = 300")?;
    let mut holding = ask_as(&node, "192.0.2.9", "/holds")?;
    node.wait_until("the first at the origin", || origin.requests().len() == 1)?;
    drop(ask_as(&node, "192.0.2.8", "/leaves")?);
    let late = ask_as(&node, "192.0.2.7", "/waits")?.expect_response("GET")?;
    assert_eq!((late.status, word(&late).as_str()), (503, "connection_limit_reached"));
    node.wait_for_metric("rempart_origin_line", 0.0)?;
    gate.open_for_good();
    assert_eq!(holding.expect_response("GET")?.text(), "at last");
    assert_eq!(ask_as(&node, "192.0.2.7", "/waits")?.expect_response("GET")?.status, 200);
    assert_eq!(origin.requests().len(), 2, "who was sent away, or left, never reached it");
    node.finish_healthy()
}

/// Visitors at a time who ask an origin that can work on two.
const PRESSING: usize = 40;

/// What is asked before anybody presses, so that it is known how long an answer takes as a rule.
const CALM: usize = 40;

#[test]
fn an_origin_that_gets_more_than_it_can_is_limited_until_it_can_and_no_other_is() -> Result<()> {
    let workers = Workers::new(2, Duration::from_millis(50));
    let working = workers.clone();
    let origin = OriginSpec::new().unrecorded().answering(move |_| {
        working.work();
        Answer::ok("at work")
    })?;
    let quick = saying("at once")?;
    let other = zone_toml("b", &["b.example"], &[&quick.url()]);
    let spec = NodeSpec::new().listener("http").zone("a", zone(&origin, "queue = 4")).zone("b", other);
    let node = start(&spec)?;
    for _ in 0..CALM {
        ensure!(fetch(&node, HOST, "/")?.status == 200);
    }
    let (ends, served, away) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let press = || -> Result<()> {
        let mut one = visitor(&node)?;
        while !ends.load(Ordering::Relaxed) {
            let answer = one.fetch(HOST, "/")?;
            match (answer.status, word(&answer).as_str()) {
                (200, _) => drop(served.fetch_add(1, Ordering::Relaxed)),
                (503, "connection_limit_reached") => {
                    away.lock().expect("no test panics with it").push(answer.fields.has("retry-after"));
                    // Nobody asks again at once who was told when to come back.
                    std::thread::park_timeout(Duration::from_millis(20));
                }
                (status, word) => anyhow::bail!("{status} {word}"),
            }
        }
        Ok(())
    };
    let watched = std::thread::scope(|scope| {
        let pressing: Vec<_> = (0..PRESSING).map(|_| scope.spawn(press)).collect();
        let watched = (|| {
            node.wait_for_events("origin_limited", 1)?;
            node.wait_for_metric("rempart_origins_limited", 1.0)?;
            let has_sent_away = || away.lock().is_ok_and(|away| away.len() > 20);
            node.wait_until("visitors that are sent away", has_sent_away)?;
            // What was there when the limit began is done with.
            let done = workers.done();
            node.wait_until("the line at the origin is gone", || workers.done() > done + PRESSING as u64)?;
            workers.most();
            let before = served.load(Ordering::Relaxed);
            node.wait_until("more answers", || served.load(Ordering::Relaxed) > before + 40)?;
            ensure!(workers.most() < PRESSING as u64, "not all who come are let through");
            ensure!(fetch(&node, "b.example", "/")?.text() == "at once", "another zone is not concerned");
            // Eight times the workers can do all of it, and then nothing is limited any more.
            workers.add(14);
            node.wait_for_events("origin_unlimited", 1)?;
            node.wait_for_metric("rempart_origins_limited", 0.0)?;
            let turned = away.lock().map(|away| away.len()).unwrap_or_default();
            let before = served.load(Ordering::Relaxed);
            node.wait_until("answers to all", || served.load(Ordering::Relaxed) > before + 100)?;
            ensure!(away.lock().is_ok_and(|away| away.len() == turned), "nobody is sent away any more");
            anyhow::Ok(())
        })();
        ends.store(true, Ordering::Relaxed);
        let pressed = pressing.into_iter().try_for_each(|one| one.join().ok().context("it panicked")?);
        watched.and(pressed)
    });
    watched?;
    let away = away.into_inner().unwrap_or_default();
    assert!(!away.is_empty() && away.iter().all(|has_time| *has_time), "each is told when to come back");
    let limited = node.wait_for_event(|event| event["event"] == "origin_limited")?;
    assert_eq!(limited["origin"], origin.url().as_str());
    let began = node.stderr_lines().iter().filter(|line| line.contains("\"origin_limited\"")).count();
    assert_eq!(began, 1, "the quick origin never was, and this one once");
    node.finish_healthy()
}

#[test]
fn a_quick_origin_is_not_limited_whatever_comes_at_once() -> Result<()> {
    let origin = saying("at once")?;
    let node = with_zone(&zone(&origin, ""))?;
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let ask = || -> Result<()> {
            let mut one = visitor(&node)?;
            for _ in 0..100 {
                ensure!(one.fetch(HOST, "/")?.status == 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        let asking: Vec<_> = (0..PRESSING).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().try_for_each(|one| one.join().ok().context("it panicked")?)
    })?;
    assert_eq!(served.into_inner(), 100 * PRESSING as u64);
    assert_eq!(node.metric("rempart_origins_limited")?, Some(0.0));
    assert!(!node.stderr_lines().iter().any(|line| line.contains("origin_limited")));
    node.finish_healthy()
}
