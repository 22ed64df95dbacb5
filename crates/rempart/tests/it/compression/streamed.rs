//! Answers that are not stored: compressed as they pass.

use testkit::coding::front;
use testkit::gate::Gate;
use testkit::message::BodyReader;
use testkit::visitor::Http2Visitor;

use super::*;
use crate::rig::zone_with;

#[test]
fn an_answer_is_compressed_with_what_its_visitor_takes_most_gladly() -> Result<()> {
    let body = text(50_000);
    let origin = saying("text/html; charset=utf-8", &body, |_, answer| answer.field("ETag", "\"a\""))?;
    let node = before(&origin, "")?;
    for (accepted, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("br;q=0.5, gzip;q=1.0", Some("gzip")),
        ("*", Some("zstd")),
        ("*;q=0.1, zstd;q=0", Some("br")),
        ("identity;q=0, gzip;q=0.1", Some("gzip")),
        ("identity", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("", None),
    ] {
        let answer = accepting(&node, "/a", accepted)?;
        assert_eq!(coding(&answer), expected, "{accepted}");
        assert_eq!(plain(&answer)?, body, "{accepted}");
        assert_eq!(answer.fields.first("vary"), Some("Accept-Encoding"), "{accepted}");
        let tag = if expected.is_some() { "W/\"a\"" } else { "\"a\"" };
        assert_eq!(answer.fields.first("etag"), Some(tag), "{accepted}");
        assert_eq!(answer.fields.has("content-length"), expected.is_none(), "{accepted}");
        if expected.is_some() {
            assert!(answer.body.len() < body.len() / 5, "{accepted}: {} bytes", answer.body.len());
        }
    }
    let line = node.wait_for_log(|line| line["coding"] == "br")?;
    assert_eq!(line["status"], 200);
    node.wait_for_log(|line| line["coding"].is_null())?;
    node.wait_for_metric("rempart_coded_answers_total{coding=\"br\",source=\"streamed\"}", 2.0)?;
    node.wait_for_metric("rempart_coded_answers_total{coding=\"zstd\",source=\"streamed\"}", 2.0)?;
    node.wait_for_metric("rempart_coding_bytes_total{coding=\"br\",direction=\"in\"}", 100_000.0)?;
    let out = node.metric("rempart_coding_bytes_total{coding=\"br\",direction=\"out\"}")?.unwrap_or(0.0);
    assert!(out > 0.0 && out < 20_000.0, "{out}");
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    node.finish_healthy()
}

#[test]
fn what_gains_nothing_or_must_not_be_touched_passes_as_it_is() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |request, answer| {
        let of = |kind: &str| Answer::ok(text(5_000)).field("Content-Type", kind);
        match request.path() {
            "/small" => Answer::ok("<p>").field("Content-Type", "text/html"),
            "/image" => of("image/png"),
            "/events" => of("text/event-stream"),
            "/grpc" => of("application/grpc"),
            "/untyped" => Answer::ok(text(5_000)),
            "/no-transform" => answer.field("Cache-Control", "public, no-transform"),
            "/coded" => answer.field("Content-Encoding", "gzip").field("Vary", "Accept-Encoding"),
            "/part" => answer.status(206).field("Content-Range", "bytes 0-4999/9999"),
            "/none" => Answer::new(204),
            "/moved" => answer.status(301).field("Location", "/"),
            _ => answer,
        }
    })?;
    let node = before(&origin, "")?;
    for (target, vary) in [
        ("/small", None),
        ("/image", None),
        ("/events", None),
        ("/grpc", None),
        ("/untyped", None),
        ("/no-transform", None),
        ("/coded", Some("Accept-Encoding")),
        ("/part", Some("Accept-Encoding")),
        ("/none", None),
        ("/moved", None),
    ] {
        let answer = accepting(&node, target, "gzip")?;
        let expected = if target == "/coded" { Some("gzip") } else { None };
        assert_eq!(coding(&answer), expected, "{target}");
        assert_eq!(answer.fields.first("vary"), vary, "{target}");
        assert!(answer.fields.has("content-length") || target == "/none", "{target}");
    }
    assert_eq!(coding(&with(&node, "/", &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-9")])?), None);
    let untouched = with(&node, "/", &[("Accept-Encoding", "gzip"), ("Cache-Control", "no-transform")])?;
    assert_eq!(coding(&untouched), None);
    assert_eq!(coding(&accepting(&node, "/", "gzip")?), Some("gzip"));
    assert!(node.wait_for_log(|line| line["path"] == "/image")?["coding"].is_null());
    node.finish_healthy()
}

#[test]
fn a_zone_that_does_not_compress_passes_everything_as_it_is() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |_, answer| answer)?;
    let node = start(&cleartext().zone("a", zone_with("", &[&origin.url()], "")))?;
    let answer = accepting(&node, "/", "gzip, br, zstd")?;
    assert_eq!((coding(&answer), answer.fields.first("vary")), (None, None));
    assert_eq!(answer.text(), body);
    node.finish_healthy()
}

#[test]
fn the_zone_says_what_is_compressed_and_with_what() -> Result<()> {
    let body = text(5_000);
    let origin = saying("application/x-own", &body, |request, answer| match request.path() {
        "/events" => Answer::ok(text(5_000)).field("Content-Type", "text/event-stream"),
        "/html" => Answer::ok(text(5_000)).field("Content-Type", "text/html"),
        _ => answer,
    })?;
    let lines = "algorithms = [\"gzip\", \"brotli\"]\nmin_bytes = 4000\nlevels = { gzip = 6, brotli = 4 }\n\
                 types = [\"application/x-own\"]\nmore_types = [\"Text/Event-Stream\"]";
    let node = before(&origin, lines)?;
    assert_eq!(coding(&accepting(&node, "/", "br, gzip, zstd")?), Some("gzip"));
    assert_eq!(coding(&accepting(&node, "/", "br, zstd")?), Some("br"));
    assert_eq!(coding(&accepting(&node, "/", "zstd")?), None);
    assert_eq!(coding(&accepting(&node, "/events", "gzip")?), Some("gzip"));
    assert_eq!(coding(&accepting(&node, "/html", "gzip")?), None);
    node.finish_healthy()
}

#[test]
fn each_piece_leaves_when_it_comes() -> Result<()> {
    for (accepted, kind) in [("gzip", "text/event-stream"), ("br", "text/plain"), ("zstd", "text/plain")] {
        let gate = Gate::new();
        let waits = gate.clone();
        let origin = OriginSpec::new().answering(move |_| {
            let answer = Answer::new(200).field("Content-Type", kind).part("data: one\n\n").wait(&waits);
            answer.part("data: two\n\n").wait(&waits).part("data: three\n\n").chunked()
        })?;
        let node = before(&origin, "more_types = [\"text/event-stream\"]")?;
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", "/", HOST, &fields(&[("Accept-Encoding", accepted)]))?;
        let head = visitor.read_head("GET")?.context("a head")?;
        assert_eq!(head.fields.first("content-encoding"), Some(accepted));
        let (mut reader, mut body) = (BodyReader::new(head.framing), Vec::new());
        for expected in ["data: one\n\n", "data: one\n\ndata: two\n\n"] {
            // Nothing more comes before the gate opens: what is read here has left by itself.
            while front(Some(accepted), &body)?.0 != expected.as_bytes() {
                body.extend(visitor.body_part(&mut reader)?.context("more of the body")?);
            }
            gate.open();
        }
        while let Some(part) = visitor.body_part(&mut reader)? {
            body.extend(part);
        }
        assert_eq!(decoded(Some(accepted), &body)?, b"data: one\n\ndata: two\n\ndata: three\n\n");
        drop(visitor); // an open connection would be drained
        node.finish_healthy()?;
    }
    Ok(())
}

#[test]
fn an_answer_of_any_size_comes_whole_over_http1_and_http2() -> Result<()> {
    let origin = OriginSpec::new().unrecorded().answering(|request| {
        let answer = Answer::new(200).field("Content-Type", "text/plain").pattern(1, 0, 20_000_000);
        if request.path() == "/chunked" { answer.chunked() } else { answer }
    })?;
    let node = before(&origin, "")?;
    let plain_answer = accepting(&node, "/", "identity")?;
    for accepted in ["gzip", "br", "zstd"] {
        for target in ["/", "/chunked"] {
            let answer = accepting(&node, target, accepted)?;
            assert!(decoded(Some(accepted), &answer.body)? == plain_answer.body, "{accepted} {target}");
        }
        let visitor = Http2Visitor::cleartext(node.address("http")?)?;
        let answer = visitor.ask("GET", "/", HOST, &fields(&[("Accept-Encoding", accepted)]), b"")?;
        assert_eq!(answer.fields.first("content-encoding"), Some(accepted));
        assert!(decoded(Some(accepted), &answer.body)? == plain_answer.body, "{accepted} over HTTP/2");
    }
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    node.finish_healthy()
}

#[test]
fn heads_are_as_of_the_answer_to_a_get() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |_, answer| answer.field("ETag", "\"a\""))?;
    let node = before(&origin, "")?;
    let sent = fields(&[("Accept-Encoding", "gzip")]);
    let get = visitor(&node)?.ask("GET", "/", HOST, &sent, b"")?;
    let head = visitor(&node)?.ask("HEAD", "/", HOST, &sent, b"")?;
    for name in ["content-encoding", "vary", "etag", "content-length", "accept-ranges"] {
        assert_eq!(head.fields.first(name), get.fields.first(name), "{name}");
    }
    let plain = visitor(&node)?.ask("HEAD", "/", HOST, &fields(&[]), b"")?;
    assert_eq!((plain.fields.first("content-length"), coding(&plain)), (Some("5000"), None));
    node.finish_healthy()
}

#[test]
fn a_visitor_who_has_the_coded_form_is_told_so_with_its_weak_tag() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |request, answer| {
        // As origins do: compared weakly (RFC 9110 §13.1.2).
        match request.fields.first("if-none-match") {
            Some(tag) if tag.contains("\"a\"") => Answer::new(304).field("ETag", "\"a\""),
            _ => answer.field("ETag", "\"a\""),
        }
    })?;
    let node = before(&origin, "")?;
    let first = accepting(&node, "/", "gzip")?;
    let tag = first.fields.first("etag").context("a tag")?.to_owned();
    assert_eq!(tag, "W/\"a\"");
    let again = with(&node, "/", &[("Accept-Encoding", "gzip"), ("If-None-Match", &tag)])?;
    assert_eq!((again.status, again.fields.first("etag")), (304, Some("W/\"a\"")));
    assert_eq!(again.fields.first("vary"), Some("Accept-Encoding"));
    let strong = with(&node, "/", &[("If-None-Match", "\"a\"")])?;
    assert_eq!((strong.status, strong.fields.first("etag")), (304, Some("\"a\"")));
    node.finish_healthy()
}

#[test]
fn trailers_and_uploads_go_beside_a_compressed_answer() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        let body = format!("{}{}", text(5_000), request.body_length);
        Answer::new(200).field("Content-Type", "text/plain").part(body).trailer("X-Count", "5")
    })?;
    let node = before(&origin, "")?;
    let sent = fields(&[("Accept-Encoding", "gzip"), ("TE", "trailers")]);
    let answer = visitor(&node)?.ask("POST", "/", HOST, &sent, &[b'x'; 100_000])?;
    assert_eq!(coding(&answer), Some("gzip"));
    assert_eq!(plain(&answer)?, format!("{}100000", text(5_000)));
    assert_eq!(answer.trailers.first("x-count"), Some("5"));
    node.finish_healthy()
}

#[test]
fn an_answer_that_breaks_off_is_not_taken_for_whole() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| {
        let answer = Answer::new(200).field("Content-Type", "text/plain").part(text(100_000));
        answer.broken_here().part(text(100)).chunked()
    })?;
    let node = before(&origin, "")?;
    for accepted in ["gzip", "br", "zstd"] {
        assert!(accepting(&node, "/", accepted).is_err(), "{accepted}");
    }
    node.wait_for_log(|line| line["fault"] == "http_response_incomplete")?;
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    Ok(())
}

#[test]
fn a_full_zone_gets_its_answers_as_they_are() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |_, answer| answer)?;
    // An encoder needs more than half of this.
    let spec = cleartext().node_section("memory_budget_bytes = \"1MiB\"");
    let node = start(&spec.zone("a", zone(&origin, "")))?;
    let answer = accepting(&node, "/", "br")?;
    assert_eq!((coding(&answer), answer.fields.first("vary")), (None, Some("Accept-Encoding")));
    assert_eq!(answer.text(), body);
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    node.finish_healthy()
}
