//! What odd, old or mistaken peers send, and what becomes of it: passed on where it is certain what is meant,
//! else an answer that says what is wrong.
//!
//! Read next: [`super::http1`].

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use testkit::node::NodeSpec;
use testkit::node::zone_toml;
use testkit::origin::{Answer, OriginSpec};
use testkit::stream::Ending;
use testkit::visitor::Visitor;

use super::rig::{
    Certificates, HOST, before, fields, http2_visitor, only_request, saying, start, visitor, with_zone,
};

#[test]
fn a_field_that_may_be_no_trailer_is_left_out_and_the_answer_is_whole() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| {
        Answer::ok("abc")
            .trailer("Set-Cookie", "a=b")
            .trailer("X-Sum", "1")
            .trailer("Cache-Control", "no-store")
    })?;
    let node = before(&origin)?;
    let mut first = visitor(&node)?;
    let response = first.ask("GET", "/", HOST, &fields(&[("TE", "trailers")]), b"")?;
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers.first("x-sum"), Some("1"));
    assert!(!response.trailers.has("set-cookie") && !response.trailers.has("cache-control"));
    let response = http2_visitor(&node)?.fetch(HOST, "/")?;
    assert_eq!(response.text(), "abc");
    assert_eq!(response.trailers.first("x-sum"), Some("1"));
    drop(first);
    node.finish_healthy()
}

#[test]
fn chunk_sizes_that_an_origin_pads_are_read_and_do_not_travel_on() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        exchange.send("3  \r\nabc\r\n0000000000000000000002\r\nde\r\n1 ;x=y\r\nf\r\n0\t\r\n\r\n")
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..2 {
        assert_eq!(visitor.fetch(HOST, "/")?.text(), "abcdef");
    }
    assert_eq!(origin.counters().connections, 1, "the connection is in order and used again");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_status_without_a_meaning_passes() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::new(999).part("not for robots"))?;
    let node = before(&origin)?;
    let response = visitor(&node)?.fetch(HOST, "/")?;
    assert_eq!((response.status, response.text().as_str()), (999, "not for robots"));
    let response = http2_visitor(&node)?.fetch(HOST, "/")?;
    assert_eq!((response.status, response.text().as_str()), (999, "not for robots"));
    node.wait_for_log(|line| line["status"] == 999)?;
    node.finish_healthy()
}

#[test]
fn without_a_host_the_origin_is_asked_by_its_own_name() -> Result<()> {
    let origin = saying("a")?;
    let node = with_zone(&zone_toml("a", &["*"], &[&origin.url()]))?;
    let mut visitor = visitor(&node)?;
    visitor.send("GET / HTTP/1.0\r\n\r\n")?;
    assert_eq!(visitor.expect_response("GET")?.text(), "a");
    let request = only_request(&origin)?;
    assert_eq!(request.fields.first("host"), Some(origin.address().to_string().as_str()));
    node.finish_healthy()
}

#[test]
fn what_follows_a_refused_connect_is_no_request() -> Result<()> {
    let origin = saying("seen")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send(format!(
        "CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\nGET /inner HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
    ))?;
    assert_eq!(visitor.expect_response("GET")?.status, 405);
    assert_eq!(visitor.rest().unwrap_or_default(), b"");
    assert_eq!(origin.counters().requests, 0);
    node.finish_healthy()
}

#[test]
fn upgrade_required_says_to_what() -> Result<()> {
    let origin = OriginSpec::new()
        .answering(|_| Answer::new(426).field("Upgrade", "websocket").field("Connection", "Upgrade"))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    for _ in 0..2 {
        let response = visitor.fetch(HOST, "/")?;
        assert_eq!((response.status, response.fields.first("upgrade")), (426, Some("websocket")));
        assert_eq!(response.fields.first("connection"), Some("upgrade"));
    }
    assert_eq!(http2_visitor(&node)?.fetch(HOST, "/")?.fields.first("upgrade"), None);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn an_informational_answer_has_no_length() -> Result<()> {
    let origin = OriginSpec::new()
        .answering(|_| Answer::ok("a").informational(103, &[("Content-Length", "3"), ("Link", "</a>")]))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/", HOST, &fields(&[]))?;
    let head = visitor.next_head("GET")?.context("103")?;
    assert_eq!((head.status, head.fields.first("link")), (103, Some("</a>")));
    assert!(!head.fields.has("content-length"));
    assert_eq!(visitor.expect_response("GET")?.text(), "a");
    drop(visitor);
    node.finish_healthy()
}

const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

#[test]
fn a_change_to_another_protocol_than_was_asked_for_is_none() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/ws", HOST, &fields(&UPGRADE))?;
    assert_eq!(visitor.expect_response("GET")?.status, 502);
    node.finish_healthy()
}

#[test]
fn a_tunnel_that_the_origin_resets_is_reset() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        exchange.tunnel_bytes(1)?;
        exchange.reset();
        Ok(())
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/ws", HOST, &fields(&UPGRADE))?;
    assert_eq!(visitor.read_head("GET")?.context("101")?.status, 101);
    visitor.send("x")?;
    let _rest = visitor.rest();
    assert_eq!(visitor.ending(), Ending::Reset);
    node.finish_healthy()
}

fn https() -> NodeSpec {
    NodeSpec::new().listener("https")
}

#[test]
fn http_on_the_port_of_https_is_told_so() -> Result<()> {
    let origin = saying("a")?;
    let node = start(&Certificates::new()?.zone(https(), "a", "a.example", "", &origin)?)?;
    let mut visitor = Visitor::tcp(node.address("https")?)?;
    visitor.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")?;
    let response = visitor.expect_response("GET")?;
    assert_eq!(response.status, 400);
    assert!(response.text().contains("https://"), "{}", response.text());
    let mut visitor = Visitor::tcp(node.address("https")?)?;
    visitor.send([0_u8; 40])?;
    assert_eq!(visitor.rest()?, [21, 3, 3, 0, 2, 2, 10], "the alert unexpected_message");
    node.finish_healthy()
}

#[test]
fn a_handshake_without_a_protocol_in_common_ends_with_its_alert() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let node = start(&certificates.zone(https(), "a", "a.example", "", &origin)?)?;
    let config: Arc<_> = certificates.trusting(&["spdy/1"])?;
    let Err(refused) = Visitor::tls(node.address("https")?, "a.example", &config)
        .and_then(|mut visitor| visitor.fetch("a.example", "/"))
    else {
        bail!("the handshake went through")
    };
    assert!(format!("{refused:#}").to_lowercase().contains("noapplicationprotocol"), "{refused:#}");
    node.finish_healthy()
}
