//! The way to origins: which one, over what, how long to wait, when to try again, and what visitors are told.
//!
//! Read next: [`super::seeing`].

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use testkit::authority::{Authority, ClientCertificates};
use testkit::folder::Folder;
use testkit::gate::{Gate, PATIENCE};
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec, Protocol, Reception, RefusingPort, ScriptedOrigin};
use testkit::stream::{Ending, Stream};
use testkit::visitor::{Response, Visitor};

use super::rig::{
    HOST, before, cleartext, fetch, fields, http2_visitor, only_request, saying, start, visitor, with_zone,
    word, zone, zone_with,
};

/// Origins that answer with their own number.
fn numbered(count: usize) -> Result<Vec<ScriptedOrigin>> {
    (0..count).map(|number| OriginSpec::new().answering(move |_| Answer::ok(number.to_string()))).collect()
}

/// A zone before these origins, each with more settings of its own, and more lines for the pool.
fn pool(origins: &[(&ScriptedOrigin, &str)], lines: &str) -> String {
    let list: Vec<String> =
        origins.iter().map(|(origin, more)| format!("{{ url = {:?}{more} }}", origin.url())).collect();
    format!(
        "name = \"a\"\nhostnames = [{HOST:?}]\n\n[[pool]]\nname = \"app\"\norigins = [{}]\n{lines}\n",
        list.join(", ")
    )
}

/// How often each body came in so many requests, each on a connection of its own.
fn shares(node: &Node, requests: usize) -> Result<BTreeMap<String, usize>> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let response = fetch(node, HOST, "/")?;
        ensure!(response.status == 200, "{}: {}", response.status, response.text());
        *shares.entry(response.text()).or_default() += 1;
    }
    Ok(shares)
}

/// Checks an answer of the node's own about an origin, and the log line beside it.
fn assert_fault(node: &Node, response: &Response, status: u16, fault: &str) -> Result<()> {
    assert_eq!((response.status, word(response).as_str()), (status, fault));
    assert_eq!(response.fields.first("proxy-status"), Some(format!("rempart; error={fault}").as_str()));
    let id = response.fields.first("x-request-id").context("X-Request-Id")?;
    assert!(response.text().contains(id) && response.text().contains("cause: "), "{}", response.text());
    let line = node.wait_for_log(|line| line["request_id"] == *id)?;
    assert_eq!((&line["fault"], &line["status"]), (&fault.into(), &status.into()));
    Ok(())
}

#[test]
fn round_robin_follows_the_weights() -> Result<()> {
    let origins = numbered(3)?;
    let zone = pool(&[(&origins[0], ""), (&origins[1], ", weight = 3"), (&origins[2], ", weight = 0")], "");
    let node = start(&cleartext().node_section("threads = 1").zone("a", zone))?;
    let shares = shares(&node, 40)?;
    assert_eq!((shares.get("0"), shares.get("1"), shares.get("2")), (Some(&10), Some(&30), None));
    node.finish_healthy()
}

#[test]
fn random_and_least_connections_use_all_origins() -> Result<()> {
    for balance in ["random", "least_connections"] {
        let origins = numbered(2)?;
        let lines = format!("balance = {balance:?}");
        let node = with_zone(&pool(&[(&origins[0], ""), (&origins[1], "")], &lines))?;
        let shares = shares(&node, 64)?;
        assert_eq!(shares.len(), 2, "{balance}: {shares:?}");
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn least_connections_avoids_the_busy_origin() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let busy = OriginSpec::new().answering(move |request| match request.path() {
        "/hold" => Answer::ok("held").wait_before_head(&held),
        _ => Answer::ok("busy"),
    })?;
    let free = OriginSpec::new().answering(|request| match request.path() {
        "/hold" => Answer::new(503),
        _ => Answer::ok("free"),
    })?;
    let node = with_zone(&pool(&[(&busy, "")], "balance = \"least_connections\""))?;
    let mut holding = Vec::new();
    for _ in 0..4 {
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", "/hold", HOST, &fields(&[]))?;
        holding.push(visitor);
    }
    busy.wait_until(|counters| counters.requests == 4)?;
    // The pool keeps its id, and so its counts, across the change.
    node.write_zone("a", &pool(&[(&busy, ""), (&free, "")], "balance = \"least_connections\""))?;
    assert!(node.publish()?.status.success());
    let shares = shares(&node, 20)?;
    assert_eq!(shares.get("busy"), None, "{shares:?}");
    gate.open_for_good();
    for visitor in &mut holding {
        assert_eq!(visitor.expect_response("GET")?.text(), "held");
    }
    drop(holding);
    node.finish_healthy()
}

#[test]
fn hashing_sends_a_key_to_the_same_origin_and_other_keys_elsewhere() -> Result<()> {
    let origins = numbered(4)?;
    let all: Vec<_> = origins.iter().map(|origin| (origin, "")).collect();
    let node = with_zone(&pool(&all, "balance = \"hash\"\nhash_key = \"path\""))?;
    let mut owners = BTreeMap::new();
    for round in 0..3 {
        for number in 0..32 {
            let owner = fetch(&node, HOST, &format!("/{number}?round={round}"))?.text();
            let known = owners.entry(number).or_insert_with(|| owner.clone());
            assert_eq!(*known, owner, "/{number}");
        }
    }
    let used: std::collections::BTreeSet<_> = owners.values().collect();
    assert!(used.len() >= 3, "{owners:?}");
    node.finish_healthy()
}

#[test]
fn a_sticky_cookie_keeps_a_visitor_at_its_origin() -> Result<()> {
    let origins = numbered(3)?;
    let all: Vec<_> = origins.iter().map(|origin| (origin, "")).collect();
    let node = with_zone(&pool(&all, "sticky = { cookie = \"seat\", ttl_s = 60 }"))?;
    for _ in 0..4 {
        let first = fetch(&node, HOST, "/")?;
        let cookie = first.fields.first("set-cookie").context("Set-Cookie")?;
        assert!(cookie.starts_with("seat=") && cookie.contains("; Max-Age=60"), "{cookie}");
        let pair = cookie.split(';').next().unwrap_or_default().to_owned();
        for _ in 0..6 {
            let cookies = format!("other=1; {pair}");
            let again = visitor(&node)?.ask("GET", "/", HOST, &fields(&[("Cookie", &cookies)]), b"")?;
            assert_eq!(again.text(), first.text());
            assert!(!again.fields.has("set-cookie"));
        }
    }
    let forged = visitor(&node)?.ask("GET", "/", HOST, &fields(&[("Cookie", "seat=0")]), b"")?;
    assert!(forged.fields.has("set-cookie"), "a forged cookie is replaced");
    node.finish_healthy()
}

#[test]
fn a_draining_origin_keeps_its_sticky_visitors_and_gets_no_new_ones() -> Result<()> {
    let origins = numbered(2)?;
    let sticky = "sticky = { cookie = \"seat\" }";
    let node = with_zone(&pool(&[(&origins[0], ""), (&origins[1], ", weight = 0")], sticky))?;
    let first = fetch(&node, HOST, "/")?;
    assert_eq!(first.text(), "0");
    let cookie = first.fields.first("set-cookie").context("Set-Cookie")?;
    let pair = cookie.split(';').next().unwrap_or_default().to_owned();
    node.write_zone("a", &pool(&[(&origins[0], ", drain = true"), (&origins[1], "")], sticky))?;
    assert!(node.publish()?.status.success());
    assert_eq!(shares(&node, 10)?.get("1"), Some(&10));
    assert_eq!(visitor(&node)?.ask("GET", "/", HOST, &fields(&[("Cookie", &pair)]), b"")?.text(), "0");
    node.finish_healthy()
}

#[test]
fn health_checks_take_an_origin_out_and_back_in() -> Result<()> {
    let sick = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_sick = std::sync::Arc::clone(&sick);
    let first = OriginSpec::new().answering(move |request| match request.path() {
        "/healthz" if is_sick.load(std::sync::atomic::Ordering::SeqCst) => Answer::new(500),
        "/healthz" => Answer::new(200),
        _ => Answer::ok("first"),
    })?;
    let second = OriginSpec::new().answering(|_| Answer::ok("second"))?;
    let health = "health = { path = \"/healthz\", interval_ms = 100, timeout_ms = 100, \
                  healthy_after = 2, unhealthy_after = 2 }";
    let node = with_zone(&pool(&[(&first, ""), (&second, "")], health))?;
    let unhealthy = |is_so: &dyn Fn(&BTreeMap<String, usize>) -> bool| -> Result<()> {
        let mut last = BTreeMap::new();
        // Bounded by the health checks themselves: each round of requests waits for two more.
        for _ in 0..50 {
            let seen = second.counters().requests;
            second.wait_until(|counters| counters.requests >= seen + 2)?;
            last = shares(&node, 8)?;
            if is_so(&last) {
                return Ok(());
            }
        }
        anyhow::bail!("it never came to that: {last:?}")
    };
    sick.store(true, std::sync::atomic::Ordering::SeqCst);
    unhealthy(&|shares| !shares.contains_key("first"))?;
    sick.store(false, std::sync::atomic::Ordering::SeqCst);
    unhealthy(&|shares| shares.contains_key("first"))?;
    node.finish_healthy()
}

#[test]
fn health_checks_are_counted() -> Result<()> {
    let origin = saying("well")?;
    let health = "health = { path = \"/healthz\", interval_ms = 100, timeout_ms = 100 }";
    let node = with_zone(&pool(&[(&origin, "")], health))?;
    origin.wait_until(|counters| counters.requests >= 3)?;
    node.wait_until("two checks counted", || {
        node.metric("rempart_health_checks_total{result=\"ok\"}").is_ok_and(|checks| checks >= Some(2.0))
    })?;
    node.finish_healthy()
}

#[test]
fn failures_in_traffic_eject_an_origin() -> Result<()> {
    let down = RefusingPort::new()?;
    let up = saying("up")?;
    let zone = zone_with(
        "",
        &[&format!("http://{}", down.address()), &up.url()],
        "ejection = { consecutive_failures = 3, base_ms = 600000 }",
    );
    let node = start(&cleartext().node_section("threads = 1").zone("a", zone))?;
    for _ in 0..40 {
        assert_eq!(fetch(&node, HOST, "/")?.text(), "up");
    }
    node.wait_for_metric("rempart_origin_requests_total{result=\"fault\"}", 3.0)?;
    Ok(())
}

#[test]
fn a_backup_pool_takes_over_when_its_pool_is_down() -> Result<()> {
    let main = OriginSpec::new().answering(|_| Answer::ok("main"))?;
    let spare = OriginSpec::new().answering(|_| Answer::ok("spare"))?;
    let second_pool = format!("\n[[pool]]\nname = \"spare\"\norigins = [{{ url = {:?} }}]\n", spare.url());
    let health = "health = { tcp = true, interval_ms = 100, timeout_ms = 100, unhealthy_after = 1, \
                  healthy_after = 1 }";
    let lines = format!("backup = \"spare\"\n{health}\n{second_pool}");
    let node = with_zone(&pool(&[(&main, "")], &lines))?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "main");
    main.go_down();
    node.wait_for_event(|event| event["event"] == "origin_failed")?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "spare");
    main.come_back()?;
    node.wait_for_event(|event| event["event"] == "origin_recovered")?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "main");
    Ok(())
}

#[test]
fn a_backup_origin_serves_only_while_no_other_can() -> Result<()> {
    let origins = numbered(2)?;
    let node = with_zone(&pool(&[(&origins[0], ""), (&origins[1], ", backup = true")], ""))?;
    assert_eq!(shares(&node, 10)?.get("0"), Some(&10));
    node.finish_healthy()
}

#[test]
fn when_all_are_unhealthy_it_still_tries() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/healthz" => Answer::new(500),
        _ => Answer::ok("works still"),
    })?;
    let health = "health = { path = \"/healthz\", interval_ms = 100, timeout_ms = 100, unhealthy_after = 1 }";
    let node = with_zone(&pool(&[(&origin, "")], health))?;
    let failed = node.wait_for_event(|event| event["event"] == "origin_failed")?;
    assert_eq!((&failed["zone"], &failed["cause"]), (&"a".into(), &"status 500".into()), "{failed}");
    node.wait_for_metric("rempart_origins_unhealthy", 1.0)?;
    origin.wait_until(|counters| counters.requests >= 4)?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "works still");
    Ok(())
}

/// An origin that reads each request and closes without a word, and one that answers, in one pool.
fn one_that_cuts() -> Result<(ScriptedOrigin, ScriptedOrigin, Node)> {
    let cutting = OriginSpec::new().scripted(|exchange| {
        exchange.read_body()?;
        exchange.close_after();
        exchange.truncate();
        Ok(())
    })?;
    let good = saying("good")?;
    let lines = "ejection = { consecutive_failures = 0 }\nretries = { budget_percent = 100 }";
    let zone = pool(&[(&cutting, ""), (&good, "")], lines);
    let node = start(&cleartext().node_section("threads = 1").zone("a", zone))?;
    Ok((cutting, good, node))
}

#[test]
fn a_get_that_got_no_answer_is_tried_at_another_origin() -> Result<()> {
    let (_cutting, _good, node) = one_that_cuts()?;
    for _ in 0..10 {
        assert_eq!(fetch(&node, HOST, "/")?.text(), "good");
    }
    node.wait_until("four retries counted", || {
        node.metric("rempart_origin_retries_total").is_ok_and(|retried| retried >= Some(4.0))
    })?;
    Ok(())
}

#[test]
fn a_post_that_got_no_answer_is_never_sent_twice() -> Result<()> {
    let (cutting, good, node) = one_that_cuts()?;
    let mut failed = 0;
    for _ in 0..10 {
        let response = visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), b"once")?;
        match response.status {
            200 => {}
            502 => failed += 1,
            other => anyhow::bail!("status {other}"),
        }
    }
    assert!(failed >= 4, "posts that reached the cutting origin must fail: {failed}");
    assert_eq!(cutting.requests().len() + good.requests().len(), 10);
    Ok(())
}

#[test]
fn a_post_whose_connection_was_refused_is_tried_elsewhere() -> Result<()> {
    let down = RefusingPort::new()?;
    let up = saying("up")?;
    let zone = zone_with("", &[&format!("http://{}", down.address()), &up.url()], "");
    let node = with_zone(&zone)?;
    for _ in 0..6 {
        let response = visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), b"body")?;
        assert_eq!((response.status, response.text().as_str()), (200, "up"));
    }
    Ok(())
}

#[test]
fn retries_end_with_their_budget() -> Result<()> {
    let (first, second) = (RefusingPort::new()?, RefusingPort::new()?);
    let urls = [format!("http://{}", first.address()), format!("http://{}", second.address())];
    let lines = "ejection = { consecutive_failures = 0, circuit_percent = 0 }\n\
                 retries = { max = 1, budget_percent = 20 }";
    let node = with_zone(&zone_with("", &[&urls[0], &urls[1]], lines))?;
    for _ in 0..200 {
        assert_eq!(fetch(&node, HOST, "/")?.status, 502);
    }
    let retried = node.metric("rempart_origin_retries_total")?.context("retries")?;
    // 20 % of 200, and a small allowance to begin with.
    assert!((1.0..=80.0).contains(&retried), "{retried} retries of 200 requests");
    Ok(())
}

/// On a connection that served before, too: it goes on, and whoever asks again asks the same origin again.
#[test]
fn a_stream_that_an_http_2_origin_refuses_is_tried_once_more() -> Result<()> {
    const REFUSED_STREAM: u32 = 7;
    let origin = OriginSpec::new().streaming(|mut exchange| {
        Box::pin(async move {
            if exchange.request().path() == "/refused" {
                exchange.reset(REFUSED_STREAM.into());
                return Ok(());
            }
            exchange.send_head(204, &fields(&[]), true)
        })
    })?;
    let url = origin.url().replace("http://", "h2c://");
    let lines = "ejection = { consecutive_failures = 0, circuit_percent = 0 }";
    let node = with_zone(&zone_with("", &[&url], lines))?;
    assert_eq!(fetch(&node, HOST, "/")?.status, 204);
    for (count, method) in [(3, "GET"), (5, "POST")] {
        let refused = visitor(&node)?.ask(method, "/refused", HOST, &fields(&[]), b"")?;
        assert_eq!((refused.status, word(&refused).as_str()), (502, "connection_terminated"));
        assert_eq!(origin.counters().requests, count, "{method}");
    }
    Ok(())
}

#[test]
fn no_get_is_lost_to_an_origin_that_closes_without_a_word() -> Result<()> {
    let origin = OriginSpec::new().closes_after(1).answering(|_| Answer::ok("answered"))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..100 {
        assert_eq!(visitor.fetch(HOST, "/")?.text(), "answered");
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_post_after_the_origin_closed_its_idle_connections_takes_a_new_one() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| Answer::ok(request.body.clone()))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..20 {
        assert_eq!(visitor.fetch(HOST, "/")?.status, 200);
        origin.wait_until(|counters| counters.idle == counters.open)?;
        origin.close_idle_connections();
        origin.wait_until(|counters| counters.open == 0)?;
        assert_eq!(visitor.ask("POST", "/", HOST, &fields(&[]), b"body")?.text(), "body");
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn posts_in_a_row_are_not_lost_to_an_origin_that_closes_without_a_word() -> Result<()> {
    let origin = OriginSpec::new()
        .unrecorded()
        .closes_after(3)
        .answering(|request| Answer::ok(format!("{} {}", request.method, request.body_length)))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for number in 0..600 {
        let response = visitor.ask("POST", "/", HOST, &fields(&[]), b"body")?;
        assert_eq!(response.text(), "POST 4", "request {number}");
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_refused_connection_is_502_and_says_so_everywhere() -> Result<()> {
    let down = RefusingPort::new()?;
    let node = with_zone(&zone_with("", &[&format!("http://{}", down.address())], ""))?;
    let response = fetch(&node, HOST, "/")?;
    assert_fault(&node, &response, 502, "connection_refused")?;
    assert!(response.text().contains("cause: origin"));
    node.wait_for_metric("rempart_faults_total{fault=\"connection_refused\"}", 1.0)?;
    let over_http2 = http2_visitor(&node)?.fetch(HOST, "/")?;
    assert_fault(&node, &over_http2, 502, "connection_refused")
}

#[test]
fn an_origin_that_cannot_be_reached_in_time_is_504() -> Result<()> {
    let origin = OriginSpec::new().reception(Reception::Never).answering(|_| Answer::new(200))?;
    let node = with_zone(&zone(&origin, "timeouts = { connect_ms = 200 }\nretries = { max = 0 }"))?;
    assert_fault(&node, &fetch(&node, HOST, "/")?, 504, "connection_timeout")
}

#[test]
fn an_origin_that_does_not_answer_in_time_is_504() -> Result<()> {
    let origin = OriginSpec::new().reception(Reception::Hang).answering(|_| Answer::new(200))?;
    let node = with_zone(&zone(&origin, "timeouts = { first_byte_ms = 200 }\nretries = { max = 0 }"))?;
    assert_fault(&node, &fetch(&node, HOST, "/")?, 504, "http_response_timeout")?;
    let response = visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), b"body")?;
    assert_fault(&node, &response, 504, "http_response_timeout")
}

#[test]
fn an_answer_that_stands_still_is_cut_and_one_that_moves_is_not() -> Result<()> {
    let gate = Gate::new();
    let still = gate.clone();
    let origin = OriginSpec::new()
        .answering(move |_| Answer::new(200).chunked().part("begun").wait(&still).part("never in time"))?;
    let node = with_zone(&zone(&origin, "timeouts = { idle_ms = 300 }"))?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/", HOST, &fields(&[]))?;
    let head = visitor.read_head("GET")?.context("a head")?;
    let mut body = testkit::message::BodyReader::new(head.framing);
    assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"begun"[..]));
    assert!(visitor.body_part(&mut body).is_err(), "a cut answer must not look whole");
    let line = node.wait_for_log(|line| line["path"] == "/")?;
    assert_eq!(line["fault"], "connection_read_timeout");
    gate.open();
    Ok(())
}

#[test]
fn an_answer_cut_short_never_looks_whole() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/length" => Answer::new(200).part("half").broken_here().part("of it"),
        "/chunked" => Answer::new(200).chunked().part("half").broken_here(),
        _ => Answer::new(200).chunked().part("half").reset_here(),
    })?;
    let node = with_zone(&zone(&origin, "retries = { max = 0 }"))?;
    for path in ["/length", "/chunked", "/reset"] {
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", path, HOST, &fields(&[]))?;
        match visitor.read_response("GET") {
            Err(_) => {}
            // Nothing was sent yet: then it is a page.
            Ok(Some(page)) => assert_eq!(page.status, 502, "{path}"),
            Ok(None) => {}
        }
        let line = node.wait_for_log(|line| line["path"] == path)?;
        assert!(line["fault"].is_string(), "{line}");
    }
    Ok(())
}

#[test]
fn answers_that_break_the_protocol_are_502() -> Result<()> {
    let cases: &[(&str, &str)] = &[
        ("garbage", "not http at all\r\n\r\n"),
        (
            "length and chunked",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy"),
        ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx"),
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
        ("a control character", "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n"),
        ("a bad status", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        (
            "a switch nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        ("nothing", ""),
    ];
    for (name, bytes) in cases {
        let origin = OriginSpec::new().scripted(move |exchange| {
            exchange.send(bytes)?;
            exchange.close_after();
            Ok(())
        })?;
        let node = with_zone(&zone(&origin, "retries = { max = 0 }"))?;
        let response = fetch(&node, HOST, "/").with_context(|| (*name).to_owned())?;
        assert_eq!(response.status, 502, "{name}: {}", response.text());
        assert!(response.fields.has("proxy-status"), "{name}");
    }
    Ok(())
}

#[test]
fn a_head_beyond_limits_is_502() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::ok("x").field("X-Long", "y".repeat(1 << 20)))?;
    let node = with_zone(&zone(&origin, "retries = { max = 0 }"))?;
    assert_fault(&node, &fetch(&node, HOST, "/")?, 502, "http_response_header_section_size")
}

#[test]
fn a_surplus_answer_is_not_taken_for_that_of_the_next_request() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        let path = exchange.request().path().to_owned();
        let own = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
        match path.as_str() {
            "/two" => exchange.send(format!("{own}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")),
            _ => exchange.send(own),
        }
    })?;
    let node = start(&cleartext().node_section("threads = 1").zone("a", zone(&origin, "")))?;
    for _ in 0..10 {
        assert_eq!(fetch(&node, HOST, "/two")?.text(), "/two");
        assert_eq!(fetch(&node, HOST, "/next")?.text(), "/next");
    }
    node.finish_healthy()
}

#[test]
fn origins_over_tls_are_verified_against_the_pools_authority() -> Result<()> {
    let authority = Authority::new()?;
    let leaf = authority.leaf(&["127.0.0.1", "inner.example"])?;
    let config = authority.server_config(&leaf, &["http/1.1"], ClientCertificates::Unasked)?;
    let origin = OriginSpec::new().tls(config).answering(|_| Answer::ok("over TLS"))?;
    let with =
        |lines: &str| cleartext().file("ca.pem", authority.pem().as_bytes()).zone("a", zone(&origin, lines));
    let node = start(&with("tls = { ca = \"../ca.pem\", sni = \"inner.example\" }"))?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "over TLS");
    let tls = only_request(&origin)?.tls.context("TLS")?;
    assert_eq!(tls.server_name.as_deref(), Some("inner.example"));
    node.finish_healthy()?;
    let node = start(&with("tls = { ca = \"../ca.pem\" }"))?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "over TLS");
    node.finish_healthy()?;
    // Without that authority, and with a name that the certificate does not have.
    for lines in ["", "tls = { ca = \"../ca.pem\", sni = \"other.example\" }"] {
        let node = start(&with(lines))?;
        assert_fault(&node, &fetch(&node, HOST, "/")?, 502, "tls_certificate_error")?;
    }
    let node = start(&with("tls = { verify = false }"))?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "over TLS");
    Ok(())
}

#[test]
fn origins_may_ask_for_our_certificate() -> Result<()> {
    let authority = Authority::new()?;
    let (leaf, ours) = (authority.leaf(&["127.0.0.1"])?, authority.client_leaf("edge")?);
    let config = authority.server_config(&leaf, &[], ClientCertificates::Required)?;
    let origin = OriginSpec::new().tls(config).answering(|_| Answer::ok("known"))?;
    let spec = cleartext()
        .file("ca.pem", authority.pem().as_bytes())
        .file("edge.pem", ours.certificate_pem.as_bytes())
        .file("edge.key", ours.key_pem.as_bytes());
    let tls = "tls = { ca = \"../ca.pem\", certificate = \"../edge.pem\", private_key = \"../edge.key\" }";
    let node = start(&spec.clone().zone("a", zone(&origin, tls)))?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "known");
    let shown = only_request(&origin)?.tls.and_then(|tls| tls.client_certificate);
    assert_eq!(shown, Some(ours.certificate_der()?));
    node.finish_healthy()?;
    let node = start(&spec.zone("a", zone(&origin, "tls = { ca = \"../ca.pem\" }")))?;
    let response = fetch(&node, HOST, "/")?;
    assert_eq!(response.status, 502);
    assert_eq!(word(&response), "tls_alert_received");
    Ok(())
}

#[test]
fn origins_may_speak_http_2_over_tls_and_cleartext() -> Result<()> {
    let authority = Authority::new()?;
    let leaf = authority.leaf(&["127.0.0.1"])?;
    let config = authority.server_config(&leaf, &["h2", "http/1.1"], ClientCertificates::Unasked)?;
    let echo = |request: &testkit::origin::Request| {
        Answer::ok(request.body.clone()).field("X-Version", request.version.clone()).trailer("X-T", "1")
    };
    let secure = OriginSpec::new().tls(config).answering(echo)?;
    let clear = OriginSpec::new().answering(echo)?;
    let lines = "protocol = \"http2\"\ntls = { ca = \"../ca.pem\" }";
    let over_tls = cleartext().file("ca.pem", authority.pem().as_bytes()).zone("a", zone(&secure, lines));
    let url = clear.url().replace("http://", "h2c://");
    for (spec, origin) in [(over_tls, &secure), (cleartext().zone("a", zone_with("", &[&url], "")), &clear)] {
        let node = start(&spec)?;
        let mut visitor = visitor(&node)?;
        for _ in 0..5 {
            let response = visitor.ask("POST", "/p?q", HOST, &fields(&[("X-A", "1")]), b"body")?;
            assert_eq!((response.status, response.text().as_str()), (200, "body"));
            assert_eq!(response.trailers.first("x-t"), Some("1"));
        }
        let request = origin.last_request().context("a request")?;
        assert_eq!((request.protocol, request.authority.as_str()), (Protocol::Http2, HOST));
        assert_eq!((request.target.as_str(), request.fields.first("x-a")), ("/p?q", Some("1")));
        assert_eq!(origin.counters().connections, 1);
        let over_http2 = http2_visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), b"both")?;
        assert_eq!(over_http2.text(), "both");
        drop(visitor);
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn origins_may_listen_on_unix_sockets() -> Result<()> {
    let folder = Folder::new()?;
    let origin = OriginSpec::new().unix(folder.path().join("app.sock")).answering(|_| Answer::ok("local"))?;
    let node = before(&origin)?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "local");
    assert_eq!(only_request(&origin)?.authority, HOST);
    origin.go_down();
    let response = fetch(&node, HOST, "/")?;
    assert_eq!(response.status, 502);
    origin.come_back()?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "local");
    Ok(())
}

#[test]
fn origins_learn_the_visitors_address_by_the_proxy_protocol() -> Result<()> {
    for (setting, version) in [("v1", 1), ("v2", 2)] {
        let origin = OriginSpec::new().proxy_header().answering(|_| Answer::ok("told"))?;
        let node = with_zone(&zone(&origin, &format!("proxy_protocol = {setting:?}")))?;
        let mut visitor = visitor(&node)?;
        let own = visitor.stream().local_address().context("an address")?;
        assert_eq!(visitor.fetch(HOST, "/")?.text(), "told");
        let header = only_request(&origin)?.proxy.context("a PROXY header")?;
        assert_eq!((header.version, header.source), (version, Some(own)));
        // Another visitor must not ride on the first one's connection.
        let mut second = super::rig::visitor(&node)?;
        let other = second.stream().local_address().context("an address")?;
        assert_eq!(second.fetch(HOST, "/")?.text(), "told");
        let seen = origin.last_request().and_then(|request| request.proxy).and_then(|header| header.source);
        assert_eq!(seen, Some(other));
        drop((visitor, second));
        node.finish_healthy()?;
    }
    Ok(())
}

fn proxied() -> NodeSpec {
    NodeSpec::new().listener_at("http", "127.0.0.1:0", "proxy_protocol = true\ntrusted = [\"127.0.0.1\"]")
}

fn proxied_visitor(node: &Node, header: &[u8]) -> Result<Visitor> {
    let mut stream = TcpStream::connect(node.address("http")?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(header)?;
    Ok(Visitor::on(Stream::from_tcp(stream)?))
}

#[test]
fn visitors_behind_the_proxy_protocol_are_known_by_their_own_address() -> Result<()> {
    let origin = saying("seen")?;
    let node = start(&proxied().zone("a", zone(&origin, "")))?;
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([198, 51, 100, 9, 10, 0, 0, 1, 0x30, 0x39, 0, 80]);
    let headers: [(&[u8], &str); 3] = [
        (b"PROXY TCP4 192.0.2.44 10.0.0.1 4711 80\r\n", "192.0.2.44"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n", "2001:db8::7"),
        (&v2, "198.51.100.9"),
    ];
    for (header, address) in headers {
        let mut visitor = proxied_visitor(&node, header)?;
        assert_eq!(visitor.fetch(HOST, "/")?.text(), "seen");
        let request = origin.last_request().context("a request")?;
        assert_eq!(request.fields.all("x-forwarded-for"), [address]);
        node.wait_for_log(|line| line["visitor_ip"] == address)?;
    }
    node.finish_healthy()
}

#[test]
fn a_listener_for_the_proxy_protocol_takes_nothing_else() -> Result<()> {
    let origin = saying("seen")?;
    let node = start(&proxied().zone("a", zone(&origin, "")))?;
    for header in [&b""[..], b"PROXY nonsense\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n"] {
        let mut visitor = proxied_visitor(&node, header)?;
        visitor.send_head("GET", "/", HOST, &fields(&[]))?;
        assert!(!matches!(visitor.read_response("GET"), Ok(Some(response)) if response.status == 200));
        assert_ne!(visitor.ending(), Ending::Open);
    }
    // Nor does it believe a stranger.
    let spec = NodeSpec::new()
        .listener_at("http", "127.0.0.1:0", "proxy_protocol = true\ntrusted = [\"192.0.2.0/24\"]")
        .zone("a", zone(&origin, ""));
    let strict = start(&spec)?;
    let mut visitor = proxied_visitor(&strict, b"PROXY TCP4 192.0.2.44 10.0.0.1 4711 80\r\n")?;
    // The node may close before all is written.
    let _ = visitor.send_head("GET", "/", HOST, &fields(&[]));
    assert!(!matches!(visitor.read_response("GET"), Ok(Some(response)) if response.status == 200));
    assert_eq!(origin.counters().requests, 0);
    Ok(())
}

#[test]
fn origins_are_found_by_name() -> Result<()> {
    let origin = saying("named")?;
    let url = format!("http://localhost:{}", origin.address().port());
    let node = with_zone(&zone_with("", &[&url], ""))?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "named");
    Ok(())
}

#[test]
fn a_name_that_does_not_resolve_is_502() -> Result<()> {
    let node = with_zone(&zone_with("", &["http://no-such-name.invalid:80"], "retries = { max = 0 }"))?;
    let response = fetch(&node, HOST, "/")?;
    assert!(matches!(word(&response).as_str(), "dns_error" | "dns_timeout"), "{}", response.text());
    Ok(())
}

#[test]
fn the_limit_of_connections_to_an_origin_holds() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |_| Answer::ok("done").wait_before_head(&script))?;
    let node = with_zone(&zone(&origin, "max_connections = 3\ntimeouts = { connect_ms = 200 }"))?;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", "/", HOST, &fields(&[]))?;
        waiting.push(visitor);
    }
    origin.wait_until(|counters| counters.requests == 3)?;
    let beyond = fetch(&node, HOST, "/")?;
    assert_eq!((beyond.status, word(&beyond).as_str()), (503, "connection_limit_reached"));
    gate.open_for_good();
    for visitor in &mut waiting {
        assert_eq!(visitor.expect_response("GET")?.status, 200);
    }
    assert_eq!(origin.counters().connections, 3);
    drop(waiting);
    node.finish_healthy()
}
