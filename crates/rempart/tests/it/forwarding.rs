//! What a proxy tells origins about visitors, what it believes of what visitors say, and what it takes away.
//!
//! Read next: [`super::origins`].

use anyhow::{Context as _, Result};
use testkit::node::{Node, zone_toml};
use testkit::origin::{Answer, OriginSpec, Request, ScriptedOrigin};

use super::rig::{
    Certificates, HOST, before, cleartext, fetch, fields, http2_visitor, only_request, saying, start,
    visitor, with_zone, word, zone, zone_with,
};

/// One GET with these fields through a node, and what the origin saw of it.
fn passed(node: &Node, origin: &ScriptedOrigin, sent: &[(&str, &str)]) -> Result<Request> {
    let response = visitor(node)?.ask("GET", "/p", HOST, &fields(sent), b"")?;
    assert_eq!(response.status, 200, "{}", response.text());
    origin.last_request().context("a request")
}

#[test]
fn origins_learn_who_came_how_and_for_what() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let response = visitor.fetch("A.Example:8080", "/p")?;
    let request = only_request(&origin)?;
    let seen = |name| request.fields.all(name);
    assert_eq!(seen("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen("x-forwarded-proto"), ["http"]);
    assert_eq!(seen("x-forwarded-host"), ["A.Example:8080"]);
    assert_eq!(seen("forwarded"), ["for=127.0.0.1;host=\"A.Example:8080\";proto=http"]);
    assert_eq!(seen("via"), ["1.1 rempart"]);
    assert_eq!(seen("cdn-loop").len(), 1);
    assert_eq!(request.authority, "A.Example:8080");
    let id = response.fields.first("x-request-id").context("X-Request-Id")?;
    assert_eq!(seen("x-request-id"), [id]);
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn via_names_the_protocol_that_the_visitor_spoke() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let visitor = http2_visitor(&node)?;
    assert_eq!(visitor.ask("GET", "/", HOST, &fields(&[("via", "1.0 other")]), b"")?.status, 200);
    assert_eq!(only_request(&origin)?.fields.all("via"), ["1.0 other, 2 rempart"]);
    drop(visitor);
    node.finish_healthy()
}

/// An origin that says what it saw of `Max-Forwards`.
fn counting() -> Result<ScriptedOrigin> {
    OriginSpec::new()
        .answering(|request| Answer::ok(request.fields.first("max-forwards").unwrap_or("none").to_owned()))
}

#[test]
fn options_is_counted_down_and_answered_here_once_it_may_go_no_further() -> Result<()> {
    let origin = counting()?;
    let node = before(&origin)?;
    let (mut http1, http2) = (visitor(&node)?, http2_visitor(&node)?);
    let mut ask = |sent: &str| -> Result<[testkit::visitor::Response; 2]> {
        let (upper, lower) = (fields(&[("Max-Forwards", sent)]), fields(&[("max-forwards", sent)]));
        Ok([http1.ask("OPTIONS", "/p", HOST, &upper, b"")?, http2.ask("OPTIONS", "/p", HOST, &lower, b"")?])
    };
    for (sent, seen) in [("2", "1"), ("1", "0"), ("many", "many")] {
        for answer in ask(sent)? {
            assert_eq!((answer.status, answer.text().as_str()), (200, seen));
        }
    }
    let passed = origin.requests().len();
    for answer in ask("0")? {
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        assert!(answer.fields.first("allow").is_some_and(|allow| allow.contains("OPTIONS")));
    }
    assert_eq!(origin.requests().len(), passed, "these went no further");
    let untouched = http1.ask("GET", "/p", HOST, &fields(&[("Max-Forwards", "0")]), b"")?;
    assert_eq!(untouched.text(), "0", "it is for OPTIONS alone");
    drop((http1, http2));
    node.finish_healthy()
}

#[test]
fn what_a_stranger_says_about_itself_is_dropped() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let request = passed(
        &node,
        &origin,
        &[
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Port", "1"),
            ("x-forwarded-prefix", "/evil"),
            ("Forwarded", "for=6.6.6.6"),
            ("X-Real-IP", "6.6.6.6"),
            ("True-Client-IP", "6.6.6.6"),
            ("CF-Connecting-IP", "6.6.6.6"),
            ("X-Request-Id", "evil"),
        ],
    )?;
    let all = format!("{:?}", request.fields);
    assert!(!all.contains("6.6.6.6") && !all.contains("evil"), "{all}");
    assert_eq!(request.fields.all("x-forwarded-for"), ["127.0.0.1"]);
    let line = node.wait_for_log(|line| line["path"] == "/p")?;
    assert_eq!(line["visitor_ip"], "127.0.0.1");
    node.finish_healthy()
}

#[test]
fn trusted_proxies_are_believed_up_to_the_first_stranger() -> Result<()> {
    let origin = saying("a")?;
    let spec = cleartext()
        .node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]")
        .zone("a", zone(&origin, ""));
    let node = start(&spec)?;
    let request = passed(
        &node,
        &origin,
        &[
            ("X-Forwarded-For", "6.6.6.6, 192.0.2.7"),
            ("X-Forwarded-For", "10.1.1.1"),
            ("X-Forwarded-Proto", "https"),
        ],
    )?;
    assert_eq!(request.fields.all("x-forwarded-for"), ["6.6.6.6, 192.0.2.7, 10.1.1.1, 127.0.0.1"]);
    assert_eq!(request.fields.all("x-forwarded-proto"), ["https"]);
    let line = node.wait_for_log(|line| line["path"] == "/p")?;
    assert_eq!(line["visitor_ip"], "192.0.2.7");
    node.finish_healthy()
}

#[test]
fn a_request_that_comes_back_is_stopped() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let seen = passed(&node, &origin, &[])?;
    let token = seen.fields.first("cdn-loop").context("CDN-Loop")?.to_owned();
    let looped = fields(&[("CDN-Loop", "other"), ("CDN-Loop", &format!("{token}; v=1"))]);
    let response = visitor(&node)?.ask("GET", "/loop", HOST, &looped, b"")?;
    assert_eq!((response.status, word(&response).as_str()), (508, "loop_detected"));
    // Other names pass and are kept.
    let request = passed(&node, &origin, &[("CDN-Loop", "other")])?;
    assert_eq!(request.fields.all("cdn-loop"), [format!("other, {token}")]);
    node.finish_healthy()
}

#[test]
fn a_node_that_points_at_itself_answers_508() -> Result<()> {
    let unused = saying("a")?;
    // Its own idle connections to itself would hold the drain up.
    let spec = cleartext().node_section("threads = 2\ndrain_ms = 100").zone("a", zone(&unused, ""));
    let node = start(&spec)?;
    let own = format!("http://{}", node.address("http")?);
    node.write_zone("a", &zone_toml("a", &[HOST], &[&own]))?;
    assert!(node.publish()?.status.success());
    assert_eq!(fetch(&node, HOST, "/")?.status, 508);
    Ok(())
}

#[test]
fn cloudflares_names_are_sent_where_the_zone_asks() -> Result<()> {
    let origin = saying("a")?;
    let node = with_zone(&zone_with("compat = \"cloudflare\"", &[&origin.url()], ""))?;
    let request = passed(&node, &origin, &[("CF-Connecting-IP", "6.6.6.6"), ("CF-Visitor", "evil")])?;
    assert_eq!(request.fields.all("cf-connecting-ip"), ["127.0.0.1"]);
    assert_eq!(request.fields.all("cf-visitor"), ["{\"scheme\":\"http\"}"]);
    assert_eq!(request.fields.all("cf-ipcountry"), ["XX"]);
    let ray = request.fields.first("cf-ray").context("CF-Ray")?;
    assert!(ray.split_once('-').is_some_and(|(id, _)| id.len() == 16), "{ray}");
    node.finish_healthy()
}

#[test]
fn fields_of_one_connection_go_no_further_either_way() -> Result<()> {
    let origin = OriginSpec::new().scripted(|exchange| {
        exchange.send(
            "HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: x\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
        )
    })?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let sent = [
        ("Connection", "keep-alive, X-Mine"),
        ("X-Mine", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers, gzip"),
        ("Proxy-Authorization", "Basic eA=="),
        ("X-Kept", "1"),
    ];
    let response = visitor.ask("GET", "/", HOST, &fields(&sent), b"")?;
    let request = only_request(&origin)?;
    for name in ["x-mine", "keep-alive", "proxy-connection"] {
        assert!(!request.fields.has(name), "{name} reached the origin: {:?}", request.fields);
        assert!(!response.fields.has(name), "{name} reached the visitor: {:?}", response.fields);
    }
    assert!(!request.fields.all("te").iter().any(|te| te.contains("gzip")), "{:?}", request.fields);
    assert!(request.fields.has("x-kept") && response.fields.has("x-kept"));
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_visitor_cannot_take_our_own_fields_away_by_connection() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let names = "X-Forwarded-For, X-Forwarded-Proto, Forwarded, Via, X-Request-Id, CDN-Loop, Host, Cookie";
    let request = passed(&node, &origin, &[("Connection", names), ("Cookie", "a=1")])?;
    for name in
        ["x-forwarded-for", "x-forwarded-proto", "forwarded", "via", "x-request-id", "cdn-loop", "host"]
    {
        assert!(request.fields.has(name), "{name} is gone: {:?}", request.fields);
    }
    node.finish_healthy()
}

#[test]
fn host_is_kept_or_set_as_the_pool_says() -> Result<()> {
    for (line, expected) in [
        ("", Some(HOST)),
        ("host = \"keep\"", Some(HOST)),
        ("host = \"inner.example\"", Some("inner.example")),
        ("host = \"origin\"", None),
    ] {
        let origin = saying("a")?;
        let node = with_zone(&zone(&origin, line))?;
        let request = passed(&node, &origin, &[])?;
        let own = origin.address().to_string();
        assert_eq!(request.authority, expected.unwrap_or(&own), "{line}");
        assert_eq!(request.fields.all("x-forwarded-host"), [HOST]);
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn answers_keep_their_own_via_and_date_and_server() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| {
        Answer::ok("a").field("Date", "Sun, 01 Nov 2026 12:00:00 GMT").field("Server", "theirs")
    })?;
    let node = before(&origin)?;
    let response = fetch(&node, HOST, "/")?;
    assert_eq!(response.fields.all("date"), ["Sun, 01 Nov 2026 12:00:00 GMT"]);
    assert_eq!(response.fields.all("server"), ["theirs"]);
    node.finish_healthy()
}

#[test]
fn behind_another_proxy_the_visitors_own_scheme_decides_about_redirects() -> Result<()> {
    let origin = saying("a")?;
    let certificates = Certificates::new()?;
    let spec = cleartext().node_section("threads = 2\ntrusted_proxies = [\"127.0.0.1\"]");
    let node = start(&certificates.zone(spec, "a", HOST, "redirect_https = true", &origin)?)?;
    let ask =
        |proto: &str| visitor(&node)?.ask("GET", "/", HOST, &fields(&[("X-Forwarded-Proto", proto)]), b"");
    assert_eq!(ask("https")?.status, 200);
    assert_eq!(ask("http")?.status, 308);
    node.finish_healthy()
}
