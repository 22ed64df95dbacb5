//! HTTP/1.0 and 1.1 from visitor to origin and back: what passes, what is refused.
//!
//! Read next: [`super::http2`].

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use testkit::digest::Running;
use testkit::gate::Gate;
use testkit::message::Framing;
use testkit::node::{Node, NodeSpec};
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::stream::Ending;
use testkit::visitor::{Http2Visitor, WebSocket};
use testkit::websocket::Opcode;

use super::rig::{
    HOST, before, fields, only_request, resident_bytes, saying, start, visitor, with_zone, word, zone,
};

#[test]
fn a_connection_serves_many_requests_and_its_origin_connection_is_kept_too() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| Answer::ok(request.target.clone()))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for number in 0..5 {
        let target = format!("/{number}");
        let response = visitor.fetch(HOST, &target)?;
        assert_eq!((response.status, response.text()), (200, target));
        assert_eq!(response.version, "HTTP/1.1");
    }
    assert_eq!(origin.counters().connections, 1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn pipelined_requests_are_answered_in_their_order() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| Answer::ok(request.target.clone()))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let responses = visitor.pipeline(HOST, &["/1", "/2", "/3", "/4", "/5", "/6"])?;
    let bodies: Vec<String> = responses.iter().map(|response| response.text()).collect();
    assert_eq!(bodies, ["/1", "/2", "/3", "/4", "/5", "/6"]);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn an_http_1_0_visitor_gets_an_unchunked_answer_and_then_the_end() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::new(200).part("one ").part("two").chunked())?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))?;
    let response = visitor.expect_response("GET")?;
    assert_eq!((response.status, response.text().as_str()), (200, "one two"));
    assert!(!response.fields.has("transfer-encoding"), "{:?}", response.fields);
    assert_eq!(visitor.rest()?, b"");
    assert_eq!(visitor.ending(), Ending::Closed);
    let request = only_request(&origin)?;
    assert_eq!(request.version, "HTTP/1.1");
    node.finish_healthy()
}

#[test]
fn an_http_1_0_visitor_may_keep_its_connection_when_the_length_is_known() -> Result<()> {
    let origin = saying("known")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..2 {
        visitor.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\nConnection: keep-alive\r\n\r\n"))?;
        let response = visitor.expect_response("GET")?;
        assert_eq!(response.text(), "known");
        assert!(response.fields.has_token("connection", "keep-alive"), "{:?}", response.fields);
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn connection_close_is_honoured() -> Result<()> {
    let origin = saying("last")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let response = visitor.ask("GET", "/", HOST, &fields(&[("Connection", "close")]), b"")?;
    assert!(response.fields.has_token("connection", "close"), "{:?}", response.fields);
    assert_eq!(visitor.rest()?, b"");
    node.finish_healthy()
}

#[test]
fn chunked_bodies_and_trailers_pass_both_ways() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        Answer::ok(request.body.clone()).trailer("X-Sum", "abc").trailer("X-Count", "2")
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..2 {
        let head = fields(&[("Transfer-Encoding", "chunked"), ("Trailer", "X-Up"), ("TE", "trailers")]);
        visitor.send_head("POST", "/", HOST, &head)?;
        visitor.send_chunk(b"first ")?;
        visitor.send("4;name=\"a;b\"\r\nnext\r\n")?;
        visitor.send("0\r\nX-Up: 1\r\n\r\n")?;
        let response = visitor.expect_response("POST")?;
        assert_eq!(response.text(), "first next");
        assert_eq!(response.trailers.first("x-sum"), Some("abc"));
        assert_eq!(response.trailers.first("x-count"), Some("2"));
    }
    for request in origin.requests() {
        assert!(request.is_complete);
        assert_eq!(request.trailers.first("x-up"), Some("1"));
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn expect_is_passed_on_and_the_body_is_sent_only_after_100() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        ensure!(exchange.request().fields.has_token("expect", "100-continue"), "no Expect");
        exchange.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        exchange.read_body()?;
        exchange.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("PUT", "/x", HOST, &fields(&[("Expect", "100-continue"), ("Content-Length", "4")]))?;
    let head = visitor.next_head("PUT")?.context("100")?;
    assert_eq!(head.status, 100);
    visitor.send("body")?;
    assert_eq!(visitor.expect_response("PUT")?.status, 201);
    assert_eq!(only_request(&origin)?.body, b"body");
    assert_eq!(origin.faults(), Vec::<String>::new());
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn an_origin_may_refuse_what_was_expected_before_the_body_comes() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")?;
        exchange.close_after();
        Ok(())
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("PUT", "/x", HOST, &fields(&[("Expect", "100-continue"), ("Content-Length", "4")]))?;
    let response = visitor.expect_response("PUT")?;
    assert_eq!((response.status, response.text().as_str()), (403, "no"));
    drop(visitor);
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
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/", HOST, &fields(&[]))?;
    let hints = visitor.next_head("GET")?.context("103")?;
    assert_eq!(hints.status, 103);
    assert_eq!(hints.fields.first("link"), Some("</a.css>; rel=preload"));
    gate.open();
    assert_eq!(visitor.expect_response("GET")?.text(), "page");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/204" => Answer::new(204),
        "/304" => Answer::new(304).field("ETag", "\"v\""),
        _ => Answer::ok("twelve bytes"),
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let head = visitor.ask("HEAD", "/", HOST, &fields(&[]), b"")?;
    assert_eq!((head.status, head.fields.first("content-length")), (200, Some("12")));
    assert_eq!(visitor.fetch(HOST, "/204")?.status, 204);
    let unchanged = visitor.fetch(HOST, "/304")?;
    assert_eq!((unchanged.status, unchanged.fields.first("etag")), (304, Some("\"v\"")));
    assert_eq!(visitor.fetch(HOST, "/")?.text(), "twelve bytes");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_body_that_ends_with_the_origins_connection_is_whole_and_keeps_the_visitors_connection() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::ok("until the end").until_close())?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..2 {
        let response = visitor.fetch(HOST, "/")?;
        assert_eq!((response.text().as_str(), response.framing), ("until the end", Framing::Chunked));
    }
    visitor.send(format!("GET / HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))?;
    assert_eq!(visitor.expect_response("GET")?.text(), "until the end");
    node.finish_healthy()
}

#[test]
fn order_and_case_of_fields_arrive_as_sent_both_ways() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange.send(
            "HTTP/1.1 200 Fine By Me\r\nX-SECOND: 2\r\nx-first: 1\r\nSet-Cookie: a=1\r\nX-Third:3\r\n\
             Set-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        )
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let sent = [("x-ODD", "1"), ("Accept", "a/b"), ("x-odd", "2"), ("User-AGENT", "t"), ("aCCEPT", "c/d")];
    let response = visitor.ask("GET", "/a%2Fb?x=%20&&y", HOST, &fields(&sent), b"")?;
    let request = only_request(&origin)?;
    assert_eq!(request.target, "/a%2Fb?x=%20&&y");
    let arrived: Vec<_> =
        request.fields.iter().filter(|(name, _)| sent.iter().any(|s| s.0 == *name)).collect();
    assert_eq!(arrived, sent);
    let names: Vec<&str> = response.fields.iter().map(|(name, _)| name).collect();
    let expected = ["X-SECOND", "x-first", "Set-Cookie", "X-Third", "Set-Cookie"];
    assert_eq!(names.get(..5), Some(&expected[..]), "{names:?}");
    assert_eq!(response.fields.all("set-cookie"), ["a=1", "b=2"]);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn bytes_beyond_ascii_in_values_pass_unchanged() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        Answer::ok("").field("X-Echo", request.fields.first("x-name").unwrap_or_default())
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let response = visitor.ask("GET", "/", HOST, &fields(&[("X-Name", "Gr\u{fc}\u{df}e\tx")]), b"")?;
    assert_eq!(response.fields.first("x-echo"), Some("Gr\u{fc}\u{df}e\tx"));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn absolute_form_of_the_same_host_is_taken() -> Result<()> {
    let origin = saying("same")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let response = visitor.ask("GET", &format!("http://{HOST}/p?q"), HOST, &fields(&[]), b"")?;
    assert_eq!(response.status, 200);
    let request = only_request(&origin)?;
    assert_eq!((request.target.as_str(), request.authority.as_str()), ("/p?q", HOST));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn options_for_the_whole_server_passes() -> Result<()> {
    let origin = saying("")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    assert_eq!(visitor.ask("OPTIONS", "*", HOST, &fields(&[]), b"")?.status, 200);
    assert_eq!(only_request(&origin)?.target, "*");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_websocket_passes_messages_both_ways_and_closes_in_order() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::websocket().field("X-Room", "7"))?;
    let node = before(&origin)?;
    let mut socket = WebSocket::open(visitor(&node)?, HOST, "/ws", &fields(&[]))?;
    assert_eq!(socket.head().fields.first("x-room"), Some("7"));
    for text in ["a", "two words", &"long ".repeat(50_000)] {
        assert_eq!(socket.exchange(text)?.text(), text);
    }
    let frames = socket.close(1000, "done")?;
    assert_eq!(frames.last().map(|frame| frame.opcode), Some(Opcode::Close));
    let line = node.wait_for_log(|line| line["path"] == "/ws")?;
    assert_eq!(line["status"], 101);
    node.finish_healthy()
}

#[test]
fn a_visitor_may_close_its_half_of_a_tunnel_and_still_hear_the_other() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        let mut heard = Vec::new();
        loop {
            let part = exchange.tunnel_bytes(1024)?;
            if part.is_empty() {
                break;
            }
            heard.extend(part);
        }
        exchange.send([b"heard ", heard.as_slice()].concat())
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    visitor.send_head("GET", "/ws", HOST, &fields(&upgrade))?;
    assert_eq!(visitor.read_head("GET")?.context("101")?.status, 101);
    visitor.send("everything")?;
    visitor.half_close()?;
    assert_eq!(visitor.rest()?, b"heard everything");
    assert_eq!(visitor.ending(), Ending::Closed);
    assert_eq!(origin.faults(), Vec::<String>::new());
    node.finish_healthy()
}

#[test]
fn content_length_keeps_its_place_and_spelling_among_the_fields() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        let body = if exchange.request().method == "HEAD" { "" } else { "hello" };
        exchange.send(format!("HTTP/1.1 200 OK\r\nX-A: 1\r\ncontent-LENGTH: 5\r\nX-B: 2\r\n\r\n{body}"))
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for method in ["GET", "HEAD"] {
        let answer = visitor.ask(method, "/", HOST, &fields(&[]), b"")?;
        let names: Vec<&str> = answer.fields.iter().map(|(name, _)| name).take(3).collect();
        assert_eq!(names, ["X-A", "content-LENGTH", "X-B"], "{method}");
        assert_eq!(answer.fields.first("content-length"), Some("5"));
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_broken_answer_that_only_the_connections_end_delimits_is_reset() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        let begun = Answer::new(200).part("the first half").chunked();
        if request.path() == "/broken" { begun.broken_here() } else { begun }
    })?;
    let node = before(&origin)?;
    for (path, ending) in [("/whole", Ending::Closed), ("/broken", Ending::Reset)] {
        let mut visitor = visitor(&node)?;
        visitor.send(format!("GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n"))?;
        let head = visitor.read_head("GET")?.context("a head")?;
        assert_eq!((head.status, head.fields.first("content-length")), (200, None));
        while visitor.some(1024).is_ok_and(|bytes| !bytes.is_empty()) {}
        assert_eq!(visitor.ending(), ending, "{path}");
    }
    node.finish_healthy()
}

#[test]
fn an_origin_may_refuse_a_websocket() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::new(403).part("not you"))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let response = visitor.ask("GET", "/ws", HOST, &fields(&upgrade), b"")?;
    assert_eq!((response.status, response.text().as_str()), (403, "not you"));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_zone_may_forbid_websockets() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::websocket())?;
    let node = with_zone(&zone(&origin, "\n[http]\nwebsocket = false"))?;
    let mut visitor = visitor(&node)?;
    let upgrade = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];
    let response = visitor.ask("GET", "/ws", HOST, &fields(&upgrade), b"")?;
    assert_eq!((response.status, word(&response).as_str()), (403, "upgrade_refused"));
    assert_eq!(origin.counters().requests, 0);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn an_offer_of_h2c_is_not_passed_on() -> Result<()> {
    let origin = saying("plain")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let offer = [
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        ("Connection", "Upgrade, HTTP2-Settings"),
    ];
    let response = visitor.ask("GET", "/", HOST, &fields(&offer), b"")?;
    assert_eq!((response.status, response.text().as_str()), (200, "plain"));
    let request = only_request(&origin)?;
    assert!(!request.fields.has("upgrade") && !request.fields.has("http2-settings"), "{:?}", request.fields);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_visitor_who_leaves_is_noticed_while_the_origin_thinks() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| exchange.wait_until_gone().map(drop))?;
    let node = before(&origin)?;
    for by_reset in [false, true] {
        let before = origin.counters();
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", "/slow", HOST, &fields(&[]))?;
        origin.wait_until(|counters| counters.requests == before.requests + 1)?;
        if by_reset {
            visitor.reset()
        } else {
            drop(visitor)
        }
        origin.wait_until(|counters| counters.aborted == before.aborted + 1)?;
    }
    node.wait_for_log(|line| line["path"] == "/slow" && line["status"].is_null())?;
    node.finish_healthy()
}

#[test]
fn a_visitor_who_leaves_in_the_middle_of_an_answer_is_noticed() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new()
        .answering(move |_| Answer::new(200).chunked().part("begun").wait(&script).pattern(1, 0, 64 << 20))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/", HOST, &fields(&[]))?;
    assert_eq!(visitor.read_head("GET")?.context("a head")?.status, 200);
    drop(visitor);
    gate.open();
    origin.wait_until(|counters| counters.aborted == 1 && counters.open == 0)?;
    node.finish_healthy()
}

#[test]
fn refuses_what_two_parsers_could_read_differently() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let address = node.address("http")?;
    let host = "Host: a.example\r\n";
    let post = |rest: &str| format!("POST / HTTP/1.1\r\n{host}{rest}");
    let get = |rest: &str| format!("GET / HTTP/1.1\r\n{host}{rest}");
    let long = "x".repeat(70_000);
    let cases: Vec<(&str, String)> = vec![
        ("length and chunked", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
        ("chunked and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")),
        ("two lengths that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")),
        ("a list of lengths", post("Content-Length: 5, 5\r\n\r\nhello")),
        ("a signed length", post("Content-Length: +5\r\n\r\nhello")),
        ("a negative length", post("Content-Length: -1\r\n\r\n")),
        ("a length in hexadecimal", post("Content-Length: 0x5\r\n\r\nhello")),
        ("an empty length", post("Content-Length:\r\n\r\n")),
        ("a length past 64 bits", post("Content-Length: 99999999999999999999999\r\n\r\n")),
        ("bare LF everywhere", format!("GET / HTTP/1.1\nHost: {HOST}\n\n")),
        ("bare LF after a field", get("X: 1\nY: 2\r\n\r\n")),
        ("bare CR in a value", get("X: 1\rY: 2\r\n\r\n")),
        ("NUL in a value", get("X: a\0b\r\n\r\n")),
        ("a control character in a value", get("X: a\x01b\r\n\r\n")),
        ("a folded line", get("X: 1\r\n 2\r\n\r\n")),
        ("a fold after the request line", format!("GET / HTTP/1.1\r\n X: 1\r\n{host}\r\n")),
        ("a space before the colon", post("Content-Length : 5\r\n\r\nhello")),
        ("a tab before the colon", post("Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n")),
        ("a field without a name", get(": x\r\n\r\n")),
        ("a field without a colon", get("Oops\r\n\r\n")),
        ("a transfer coding beside chunked", post("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n")),
        (
            "chunked in two fields",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("identity", post("Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nhi")),
        ("a coding that looks like chunked", post("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")),
        ("a quoted coding", post("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n")),
        ("chunked with a parameter", post("Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n")),
        (
            "chunked by HTTP/1.0",
            format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("a second Host", get("Host: a.example\r\n\r\n")),
        ("a second Host that differs", get("Host: b.example\r\n\r\n")),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("a list of hosts", "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n".to_owned()),
        ("a Host with a path", "GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n".to_owned()),
        ("a Host with a user", "GET / HTTP/1.1\r\nHost: x@a.example\r\n\r\n".to_owned()),
        ("an absolute form that differs", format!("GET http://b.example/ HTTP/1.1\r\n{host}\r\n")),
        ("a user in the absolute form", format!("GET http://x@a.example/ HTTP/1.1\r\n{host}\r\n")),
        ("two spaces in the request line", format!("GET  / HTTP/1.1\r\n{host}\r\n")),
        ("a tab in the request line", format!("GET\t/ HTTP/1.1\r\n{host}\r\n")),
        ("a space in the target", format!("GET /a b HTTP/1.1\r\n{host}\r\n")),
        ("a fragment in the target", format!("GET /a#b HTTP/1.1\r\n{host}\r\n")),
        ("no target", format!("GET HTTP/1.1\r\n{host}\r\n")),
        ("HTTP/0.9", "GET /\r\n\r\n".to_owned()),
        ("another version", format!("GET / HTTP/1.10\r\n{host}\r\n")),
        ("version 2 by 1", format!("GET / HTTP/2.0\r\n{host}\r\n")),
        ("a method that is no token", format!("GE(T / HTTP/1.1\r\n{host}\r\n")),
        ("a head without end", get(&format!("X: {long}\r\n\r\n"))),
    ];
    let mut wrong = Vec::new();
    for (name, bytes) in cases {
        let mut visitor = testkit::visitor::Visitor::tcp(address)?;
        // What follows must never be taken for a request of its own.
        visitor.send(format!("{bytes}GET /smuggled HTTP/1.1\r\n{host}\r\n"))?;
        match visitor.read_response("POST") {
            Ok(Some(response)) => {
                let may_be = match name {
                    "a head without end" => vec![431],
                    "another version" | "version 2 by 1" => vec![400, 505],
                    _ if name.contains("coding") || name.contains("identity") || name.contains("chunked") => {
                        vec![400, 501]
                    }
                    _ => vec![400],
                };
                if !may_be.contains(&response.status) {
                    wrong.push(format!("{name}: {}", response.status));
                }
                let after = visitor.rest();
                if !after.as_ref().is_ok_and(Vec::is_empty) {
                    wrong.push(format!("{name}: then {after:?}"));
                }
            }
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    let seen: Vec<String> = origin.requests().iter().map(|request| request.target.clone()).collect();
    assert_eq!(seen, Vec::<String>::new());
    node.finish_healthy()
}

#[test]
fn a_broken_chunk_ends_request_and_connection_and_the_origin_sees_no_whole_body() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let extension = format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(70_000));
    for body in [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-1\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nA : b\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length : 9\n\r\n\r\n",
        &extension,
    ] {
        let mut visitor = visitor(&node)?;
        visitor.send_head("POST", "/", HOST, &fields(&[("Transfer-Encoding", "chunked")]))?;
        visitor.send(body)?;
        let answer = visitor.read_response("POST")?;
        let response = answer.with_context(|| format!("{body:.20?}: no answer"))?;
        assert_eq!(response.status, 400, "{body:.20?}");
        assert_eq!(visitor.rest()?, b"", "{body:.20?}");
    }
    assert!(origin.requests().iter().all(|request| !request.is_complete));
    node.finish_healthy()
}

#[test]
fn trace_and_connect_are_refused() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    assert_eq!(visitor.ask("TRACE", "/", HOST, &fields(&[]), b"")?.status, 405);
    for target in ["a.example:443", "a.example:80"] {
        let mut visitor = super::rig::visitor(&node)?;
        visitor.send(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"))?;
        let status = visitor.expect_response("GET")?.status;
        assert!(matches!(status, 400 | 405 | 501), "{status}");
    }
    assert_eq!(origin.counters().requests, 0);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn large_bodies_pass_both_ways_at_constant_memory() -> Result<()> {
    const LENGTH: u64 = 200 << 20;
    let origin = OriginSpec::new().unrecorded().scripted(|exchange| {
        exchange.read_body()?;
        let sha = exchange.request().body_sha256.clone();
        exchange.answer(&Answer::new(200).field("X-Sum", sha).pattern(9, 0, LENGTH))
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    assert_eq!(visitor.fetch(HOST, "/warm")?.status, 200);
    let at_first = resident_bytes(&node)?;
    visitor.send_head("PUT", "/", HOST, &fields(&[("Content-Length", &LENGTH.to_string())]))?;
    let mut sent = Running::default();
    let mut part = vec![0; 1 << 20];
    for offset in (0..LENGTH).step_by(1 << 20) {
        testkit::digest::pattern(9, offset, &mut part);
        sent.add(&part);
        visitor.send(&part)?;
    }
    let (head, received) = visitor.read_digest("PUT")?;
    assert_eq!(head.fields.first("x-sum"), Some(sent.sha256_hex().as_str()));
    assert_eq!((received.length(), received.sha256_hex()), (LENGTH, sent.sha256_hex()));
    let grown = resident_bytes(&node)? - at_first;
    assert!(grown < 16e6, "the edge grew by {grown} bytes");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_visitor_who_does_not_read_holds_the_origin_back() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::new(200).pattern(4, 0, 1 << 30))?;
    let node = before(&origin)?;
    let mut slow = visitor(&node)?;
    slow.send_head("GET", "/", HOST, &fields(&[]))?;
    slow.read_head("GET")?.context("a head")?;
    // Others are served meanwhile, on both threads.
    for _ in 0..20 {
        let mut quick = visitor(&node)?;
        quick.send_head("GET", "/", HOST, &fields(&[]))?;
        quick.read_head("GET")?.context("a head")?;
    }
    let memory = resident_bytes(&node)?;
    assert!(memory < 100e6, "{memory} bytes");
    assert!(origin.counters().bytes_out < 256 << 20, "{:?}", origin.counters());
    drop(slow);
    drop(node);
    Ok(())
}

#[test]
fn a_request_that_trickles_in_and_an_answer_that_trickles_out_pass() -> Result<()> {
    let gates: Arc<[Gate]> = (0..20).map(|_| Gate::new()).collect();
    let script = Arc::clone(&gates);
    let origin = OriginSpec::new().answering(move |request| {
        script.iter().fold(Answer::new(200).chunked().part(request.body.clone()), |answer, gate| {
            answer.wait(gate).part("tick ")
        })
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for byte in format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 3\r\n\r\nabc").bytes() {
        visitor.send([byte])?;
    }
    let head = visitor.read_head("POST")?.context("a head")?;
    let mut body = testkit::message::BodyReader::new(head.framing);
    assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"abc"[..]));
    for gate in gates.iter() {
        gate.open();
        assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"tick "[..]));
    }
    assert_eq!(visitor.body_part(&mut body)?, None);
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
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/", HOST, &fields(&[]))?;
    let head = visitor.read_head("GET")?.context("a head")?;
    let mut body = testkit::message::BodyReader::new(head.framing);
    for number in 0..3 {
        let event = visitor.body_part(&mut body)?.context("an event")?;
        assert_eq!(event, format!("data: {number}\n\n").into_bytes());
        gate.open();
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn an_answer_before_the_end_of_the_upload_reaches_the_visitor() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        exchange.close_after();
        Ok(())
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("PUT", "/", HOST, &fields(&[("Content-Length", "1000000000")]))?;
    visitor.send("some of it")?;
    let response = visitor.expect_response("PUT")?;
    assert_eq!((response.status, response.text().as_str()), (413, "big"));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn visitors_come_by_ipv6_too() -> Result<()> {
    let origin = OriginSpec::new().ipv6().answering(|_| Answer::ok("six"))?;
    let spec = NodeSpec::new().listener_at("http", "[::1]:0", "").zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    let response = super::rig::fetch(&node, HOST, "/")?;
    assert_eq!(response.text(), "six");
    assert_eq!(only_request(&origin)?.fields.first("x-forwarded-for"), Some("::1"));
    node.finish_healthy()
}

/// A node whose listeners and zone have these times and limits: before a zone is known, the defaults hold.
fn with_http(lines: &str, origin: &ScriptedOrigin) -> Result<Node> {
    let plain = NodeSpec::new().listener("http").listener_at("http", "127.0.0.1:0", "h2c = true");
    start(&plain.more(&format!("[zone_defaults.http]\n{lines}")).zone("a", zone(origin, "")))
}

#[test]
fn a_head_that_does_not_come_in_time_is_408_and_silence_is_closed_silently() -> Result<()> {
    let origin = saying("seen")?;
    let node = with_http("header_ms = 300\nkeepalive_ms = 300", &origin)?;
    let mut half = visitor(&node)?;
    half.send("GET / HTTP/1.1\r\nHost: a.exa")?;
    let refused = half.expect_response("GET")?;
    assert_eq!((refused.status, word(&refused).as_str()), (408, "head_timeout"));
    assert_eq!(half.rest()?, b"");
    let mut idle = visitor(&node)?;
    assert_eq!(idle.fetch(HOST, "/")?.status, 200);
    assert_eq!(idle.rest()?, b"", "an idle connection ends without an answer nobody asked for");
    let mut silent = visitor(&node)?;
    silent.rest()?;
    assert_ne!(silent.ending(), Ending::Open);
    node.finish_healthy()
}

#[test]
fn an_upload_that_stands_still_is_408() -> Result<()> {
    let origin = saying("seen")?;
    let node = with_http("body_idle_ms = 300", &origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("POST", "/", HOST, &fields(&[("Content-Length", "10")]))?;
    visitor.send("half")?;
    let refused = visitor.expect_response("POST")?;
    assert_eq!((refused.status, word(&refused).as_str()), (408, "body_timeout"));
    assert_eq!(visitor.rest()?, b"");
    origin.wait_until(|counters| counters.open == 0)?;
    assert!(origin.requests().iter().all(|request| !request.is_complete));
    node.finish_healthy()
}

#[test]
fn a_tunnel_that_is_silent_for_too_long_ends() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::websocket())?;
    let node = with_http("upgrade_idle_ms = 1000", &origin)?;
    let mut socket = WebSocket::open(visitor(&node)?, HOST, "/ws", &fields(&[]))?;
    assert_eq!(socket.exchange("a")?.text(), "a");
    assert!(!matches!(socket.read(), Ok(Some(_))));
    origin.wait_until(|counters| counters.open == 0)?;
    node.finish_healthy()
}

#[test]
fn heads_beyond_the_zones_limits_are_431() -> Result<()> {
    let origin = saying("seen")?;
    let node = with_http("max_header_bytes = 2048\nmax_headers = 16", &origin)?;
    let many: Vec<(String, String)> = (0..40).map(|number| (format!("x-{number}"), "1".to_owned())).collect();
    let large = [("x-large".to_owned(), "y".repeat(4000))];
    for pairs in [&many[..], &large[..]] {
        let mut visitor = visitor(&node)?;
        let refused = visitor.ask("GET", "/", HOST, &pairs.iter().cloned().collect(), b"")?;
        assert_eq!((refused.status, word(&refused).as_str()), (431, "head_too_large"));
        let h2c = node.addresses().listeners[1].1;
        let over_http2 =
            Http2Visitor::cleartext(h2c)?.ask("GET", "/", HOST, &pairs.iter().cloned().collect(), b"");
        assert!(over_http2.map_or(true, |refused| refused.status == 431));
    }
    assert_eq!(super::rig::fetch(&node, HOST, "/")?.status, 200);
    assert_eq!(origin.counters().requests, 1);
    node.finish_healthy()
}
