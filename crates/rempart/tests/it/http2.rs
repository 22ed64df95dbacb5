//! HTTP/2 from visitors, on cleartext by prior knowledge: over TLS it is the same code behind ALPN.
//!
//! Origins speak HTTP/1.1 unless a test says otherwise. Read next: [`super::tls`].

use anyhow::{Context as _, Result};
use testkit::gate::Gate;
use testkit::origin::{Answer, OriginSpec, Protocol, Reception, grpc};
use testkit::visitor::WebSocket;

use super::rig::{
    HOST, before, fields, http2_visitor, only_request, resident_bytes, saying, visitor, with_zone, zone,
};

/// The reason of a visitor who no longer wants an answer (RFC 9113 section 7).
const CANCEL: u32 = 8;

#[test]
fn get_and_post_pass_with_bodies_and_fields() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        Answer::ok(request.body.clone()).field("X-Method", request.method.clone()).field("X-CASE", "Kept")
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let response = visitor.fetch(HOST, "/a?b")?;
    assert_eq!((response.status, response.fields.first("x-method")), (200, Some("GET")));
    let response = visitor.ask("POST", "/up", HOST, &fields(&[("x-a", "1")]), b"sent")?;
    assert_eq!((response.text().as_str(), response.fields.first("x-case")), ("sent", Some("Kept")));
    let requests = origin.requests();
    assert_eq!((requests[0].target.as_str(), requests[0].authority.as_str()), ("/a?b", HOST));
    assert_eq!(requests[1].fields.first("x-a"), Some("1"));
    assert_eq!(requests[1].protocol, Protocol::Http1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn trailers_pass_both_ways() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::ok("body").trailer("X-Sum", "abc"))?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut stream = visitor.open("POST", "/", HOST, &fields(&[("te", "trailers")]), false)?;
    stream.send("up")?;
    stream.finish_with(&fields(&[("x-up", "1")]))?;
    let response = stream.read_response()?;
    assert_eq!(response.trailers.first("x-sum"), Some("abc"));
    let request = only_request(&origin)?;
    assert_eq!((request.trailers.first("x-up"), request.body.as_slice()), (Some("1"), &b"up"[..]));
    drop((stream, visitor));
    node.finish_healthy()
}

#[test]
fn early_hints_leave_before_the_answer_is_there() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        Answer::ok("page").informational(103, &[("Link", "</a.css>; rel=preload")]).wait_before_head(&script)
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut stream = visitor.open("GET", "/", HOST, &fields(&[]), true)?;
    let hints = stream.next_informational()?.context("103")?;
    assert_eq!((hints.status, hints.fields.first("link")), (103, Some("</a.css>; rel=preload")));
    gate.open();
    assert_eq!(stream.read_response()?.text(), "page");
    drop((stream, visitor));
    node.finish_healthy()
}

#[test]
fn expect_gets_its_100() -> Result<()> {
    let origin = saying("taken")?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut stream = visitor.open("PUT", "/", HOST, &fields(&[("expect", "100-continue")]), false)?;
    assert_eq!(stream.next_informational()?.context("100")?.status, 100);
    stream.send("body")?;
    stream.finish()?;
    assert_eq!(stream.read_response()?.text(), "taken");
    assert_eq!(only_request(&origin)?.body, b"body");
    drop((stream, visitor));
    node.finish_healthy()
}

/// RFC 9110 section 10.1.1: without content it means nothing, nor in HTTP/1.0, whose visitor hears no 100.
#[test]
fn an_expectation_that_means_nothing_goes_no_further() -> Result<()> {
    let origin = saying("taken")?;
    let node = before(&origin)?;
    let over_http2 = http2_visitor(&node)?;
    let expect = fields(&[("expect", "100-continue")]);
    assert_eq!(over_http2.ask("GET", "/", HOST, &expect, b"")?.text(), "taken");
    let mut old = visitor(&node)?;
    old.send(format!(
        "POST / HTTP/1.0\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody"
    ))?;
    assert_eq!(old.expect_response("POST")?.text(), "taken");
    let requests = origin.requests();
    assert_eq!((requests.len(), requests.iter().any(|request| request.fields.has("expect"))), (2, false));
    drop((over_http2, old));
    node.finish_healthy()
}

#[test]
fn a_websocket_by_extended_connect_reaches_an_http_1_origin() -> Result<()> {
    let origin =
        OriginSpec::new().answering(|_| Answer::websocket().field("Sec-WebSocket-Protocol", "chat"))?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut socket =
        WebSocket::open_http2(&visitor, HOST, "/ws", &fields(&[("sec-websocket-protocol", "chat")]))?;
    assert_eq!(socket.head().fields.first("sec-websocket-protocol"), Some("chat"));
    assert!(!socket.head().fields.has("sec-websocket-accept"));
    for text in ["a", &"long ".repeat(40_000)] {
        assert_eq!(socket.exchange(text)?.text(), text);
    }
    // Plain requests go on beside it.
    let mut second = WebSocket::open_http2(&visitor, HOST, "/ws2", &fields(&[]))?;
    assert_eq!(second.exchange("b")?.text(), "b");
    socket.close(1000, "")?;
    second.close(1000, "")?;
    let request = origin.requests().into_iter().next().context("a request")?;
    assert_eq!((request.method.as_str(), request.version.as_str()), ("GET", "HTTP/1.1"));
    assert!(request.fields.has_token("upgrade", "websocket") && request.fields.has("sec-websocket-key"));
    drop(visitor);
    node.finish_healthy()
}

/// RFC 6455 section 4.2.1: over HTTP/2 the origin sees neither the key nor the method.
#[test]
fn a_websocket_of_http_1_before_an_http_2_origin_needs_a_whole_handshake() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::websocket())?;
    let url = origin.url().replace("http://", "h2c://");
    let node = with_zone(&testkit::node::zone_toml("a", &[HOST], &[&url]))?;
    let offer = [("Upgrade", "websocket"), ("Connection", "Upgrade")];
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let version = ("Sec-WebSocket-Version", "13");
    for (method, rest) in [
        ("POST", &[key, version][..]),
        ("GET", &[version]),
        ("GET", &[key]),
        ("GET", &[key, ("Sec-WebSocket-Version", "8")]),
        ("GET", &[("Sec-WebSocket-Key", "short"), version]),
    ] {
        let mut visitor = visitor(&node)?;
        visitor.send_head(method, "/ws", HOST, &fields(&[&offer[..], rest].concat()))?;
        assert_eq!(visitor.expect_response(method)?.status, 400, "{method} {rest:?}");
    }
    assert_eq!(origin.counters().requests, 0);
    let mut socket = WebSocket::open(visitor(&node)?, HOST, "/ws", &fields(&[]))?;
    assert_eq!(socket.exchange("a")?.text(), "a");
    socket.close(1000, "")?;
    assert_eq!(only_request(&origin)?.method, "CONNECT");
    node.finish_healthy()
}

#[test]
fn grpc_passes_in_all_four_forms() -> Result<()> {
    let origin = grpc::start(OriginSpec::new())?;
    let url = origin.url().replace("http://", "h2c://");
    let node = with_zone(&testkit::node::zone_toml("a", &[HOST], &[&url]))?;
    let visitor = http2_visitor(&node)?;
    let head = fields(&[("content-type", "application/grpc"), ("te", "trailers")]);
    let call = |form: &str, messages: &[&str]| -> Result<Vec<String>> {
        let mut stream = visitor.open("POST", &format!("/testkit.Echo/{form}"), HOST, &head, false)?;
        for text in messages {
            stream.send(grpc::message(text.as_bytes()))?;
        }
        stream.finish()?;
        let response = stream.read_response()?;
        assert_eq!(response.status, 200);
        assert_eq!(response.fields.first("content-type"), Some("application/grpc"));
        assert_eq!(response.trailers.first("grpc-status"), Some("0"), "{form}");
        let mut reader = grpc::MessageReader::default();
        reader.add(&response.body);
        let mut answers = Vec::new();
        while let Some(answer) = reader.next_message() {
            answers.push(String::from_utf8(answer)?);
        }
        Ok(answers)
    };
    assert_eq!(call("Unary", &["hello"])?, ["hello"]);
    assert_eq!(call("Collect", &["a", "b", "c"])?, ["abc"]);
    assert_eq!(call("Count", &["4"])?, ["0", "1", "2", "3"]);
    let mut talk = visitor.open("POST", "/testkit.Echo/Talk", HOST, &head, false)?;
    assert_eq!(talk.read_head()?.status, 200);
    let mut reader = grpc::MessageReader::default();
    for text in ["one", "two", "three"] {
        talk.send(grpc::message(text.as_bytes()))?;
        let answer = loop {
            if let Some(answer) = reader.next_message() {
                break answer;
            }
            reader.add(&talk.body_part()?.context("the echo")?);
        };
        assert_eq!(answer, text.as_bytes());
    }
    talk.finish()?;
    assert_eq!(talk.body_part()?, None);
    assert_eq!(talk.trailers().first("grpc-status"), Some("0"));
    let mut failing = visitor.open("POST", "/testkit.Echo/Fail", HOST, &head, true)?;
    let response = failing.read_response()?;
    assert_eq!((response.status, response.fields.first("grpc-status")), (200, Some("13")));
    assert_eq!(
        origin.requests().iter().filter(|request| request.fields.has_token("te", "trailers")).count(),
        5
    );
    drop((talk, failing, visitor));
    node.finish_healthy()
}

#[test]
fn crumbs_of_a_cookie_are_one_field_for_an_http_1_origin() -> Result<()> {
    let origin = saying("")?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let crumbs = fields(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3; d=4")]);
    assert_eq!(visitor.ask("GET", "/", HOST, &crumbs, b"")?.status, 200);
    assert_eq!(only_request(&origin)?.fields.all("cookie"), ["a=1; b=2; c=3; d=4"]);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_host_that_differs_from_the_authority_is_refused() -> Result<()> {
    let origin = saying("")?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let response = visitor.ask("GET", "/", HOST, &fields(&[("host", "b.example")]), b"");
    // A malformed request is a stream error (RFC 9113 section 8.1.1); an answer may come first.
    if let Ok(response) = response {
        assert_eq!(response.status, 400);
    }
    assert_eq!(visitor.ask("GET", "/", HOST, &fields(&[("host", HOST)]), b"")?.status, 200);
    assert_eq!(origin.counters().requests, 1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn server_sent_events_leave_the_moment_they_come() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        let answer = Answer::new(200).field("Content-Type", "text/event-stream").chunked();
        answer.part("data: 0\n\n").wait(&script).part("data: 1\n\n").wait(&script).part("data: 2\n\n")
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut stream = visitor.open("GET", "/", HOST, &fields(&[]), true)?;
    assert_eq!(stream.read_head()?.status, 200);
    for number in 0..3 {
        let event = stream.body_part()?.context("an event")?;
        assert_eq!(event, format!("data: {number}\n\n").into_bytes());
        gate.open();
    }
    drop((stream, visitor));
    node.finish_healthy()
}

#[test]
fn a_reset_stream_is_noticed_by_the_origin_and_the_connection_goes_on() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| match exchange.request().path() {
        "/slow" => exchange.wait_until_gone().map(drop),
        _ => exchange.answer(&Answer::ok("still here")),
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut stream = visitor.open("GET", "/slow", HOST, &fields(&[]), true)?;
    origin.wait_until(|counters| counters.requests == 1)?;
    stream.reset(CANCEL.into());
    origin.wait_until(|counters| counters.aborted == 1)?;
    assert_eq!(visitor.fetch(HOST, "/")?.text(), "still here");
    drop((stream, visitor));
    node.finish_healthy()
}

/// Else streams that are opened and given up at once would pile up before an origin that takes nobody.
#[test]
fn who_leaves_while_its_connection_to_the_origin_is_made_is_done_with() -> Result<()> {
    let origin = OriginSpec::new().reception(Reception::Never).answering(|_| Answer::ok("never"))?;
    let node = with_zone(&zone(&origin, "timeouts = { connect_ms = 600000 }"))?;
    let leaving = http2_visitor(&node)?;
    let mut stream = leaving.open("GET", "/over-http2", HOST, &fields(&[]), true)?;
    // That this is answered says that the stream before it was taken up.
    assert_eq!(leaving.fetch("nobody.example", "/")?.status, 421);
    stream.reset(CANCEL.into());
    node.wait_for_log(|line| line["path"] == "/over-http2")?;
    let mut over_http1 = visitor(&node)?;
    over_http1.send_head("GET", "/over-http1", HOST, &fields(&[]))?;
    drop(over_http1);
    node.wait_for_log(|line| line["path"] == "/over-http1")?;
    Ok(())
}

#[test]
fn an_origin_that_breaks_off_resets_the_stream_alone() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.path() {
        "/cut" => Answer::new(200).chunked().part("half").wait(&script).broken_here(),
        _ => Answer::ok("whole"),
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut stream = visitor.open("GET", "/cut", HOST, &fields(&[]), true)?;
    assert_eq!(stream.read_head()?.status, 200);
    assert_eq!(stream.body_part()?.as_deref(), Some(&b"half"[..]));
    gate.open();
    let ended = (|| -> Result<()> {
        while stream.body_part()?.is_some() {}
        Ok(())
    })();
    assert!(ended.is_err(), "a cut answer must not look whole");
    assert_eq!(visitor.fetch(HOST, "/")?.text(), "whole");
    let line = node.wait_for_log(|line| line["path"] == "/cut")?;
    assert_eq!(line["fault"], "http_response_incomplete");
    drop((stream, visitor));
    node.finish_healthy()
}

#[test]
fn many_streams_at_once_are_all_answered() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new()
        .answering(move |request| Answer::ok(request.target.clone()).wait_before_head(&script))?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    assert!(visitor.streams_max() >= 50, "{} streams", visitor.streams_max());
    let streams = (0..50)
        .map(|number| visitor.open("GET", &format!("/{number}"), HOST, &fields(&[]), true))
        .collect::<Result<Vec<_>>>()?;
    origin.wait_until(|counters| counters.requests == 50)?;
    gate.open_for_good();
    for (number, mut stream) in streams.into_iter().enumerate() {
        assert_eq!(stream.read_response()?.text(), format!("/{number}"));
    }
    for number in 0..200 {
        assert_eq!(visitor.fetch(HOST, &format!("/{number}"))?.status, 200);
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn large_bodies_pass_both_ways_at_constant_memory() -> Result<()> {
    const LENGTH: u64 = 64 << 20;
    let origin = OriginSpec::new().unrecorded().scripted(|exchange| {
        exchange.read_body()?;
        let sha = exchange.request().body_sha256.clone();
        exchange.answer(&Answer::new(200).field("X-Sum", sha).pattern(9, 0, LENGTH))
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let at_first = resident_bytes(&node)?;
    let mut stream = visitor.open("PUT", "/", HOST, &fields(&[]), false)?;
    let mut sent = testkit::digest::Running::default();
    let mut part = vec![0; 1 << 20];
    for offset in (0..LENGTH).step_by(1 << 20) {
        testkit::digest::pattern(9, offset, &mut part);
        sent.add(&part);
        stream.send(part.clone())?;
    }
    stream.finish()?;
    let head = stream.read_head()?;
    assert_eq!(head.fields.first("x-sum"), Some(sent.sha256_hex().as_str()));
    let mut received = testkit::digest::Running::default();
    while let Some(part) = stream.body_part()? {
        received.add(&part);
    }
    assert_eq!((received.length(), received.sha256_hex()), (LENGTH, sent.sha256_hex()));
    let grown = resident_bytes(&node)? - at_first;
    assert!(grown < 24e6, "the edge grew by {grown} bytes");
    drop((stream, visitor));
    node.finish_healthy()
}

#[test]
fn a_stream_whose_visitor_does_not_read_holds_no_other_back() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/big" => Answer::new(200).pattern(4, 0, 6 << 20),
        _ => Answer::ok("small"),
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let mut unread = visitor.open("GET", "/big", HOST, &fields(&[]), true)?;
    assert_eq!(unread.read_head()?.status, 200);
    for _ in 0..10 {
        assert_eq!(visitor.fetch(HOST, "/")?.text(), "small");
    }
    drop((unread, visitor));
    node.finish_healthy()
}

#[test]
fn head_204_and_304_have_no_body() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/204" => Answer::new(204),
        "/304" => Answer::new(304).field("ETag", "\"v\""),
        _ => Answer::ok("twelve bytes"),
    })?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    let head = visitor.ask("HEAD", "/", HOST, &fields(&[]), b"")?;
    assert_eq!((head.fields.first("content-length"), head.body.len()), (Some("12"), 0));
    assert_eq!(visitor.fetch(HOST, "/204")?.status, 204);
    assert_eq!(visitor.fetch(HOST, "/304")?.fields.first("etag"), Some("\"v\""));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_zones_upload_limit_answers_413_and_keeps_the_connection() -> Result<()> {
    let origin = saying("ok")?;
    let node = with_zone(&zone(&origin, "\n[http]\nmax_body_bytes = 10"))?;
    let visitor = http2_visitor(&node)?;
    let response = visitor.ask("POST", "/", HOST, &fields(&[("content-length", "11")]), b"eleven byte");
    assert_eq!(response?.status, 413);
    assert_eq!(visitor.ask("POST", "/", HOST, &fields(&[]), b"ten bytes!")?.status, 200);
    drop(visitor);
    node.finish_healthy()
}
