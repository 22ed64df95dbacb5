//! Answers: kept back by head or body, and otherwise untouched.

use anyhow::Result;
use testkit::digest::sha256_hex;
use testkit::gate::Gate;
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};

use super::{both, firewalled, ids, logged, outcomes};
use crate::rig::{HOST, fields, http2_visitor, visitor, word};

const INSPECTED: &str = "inspect_responses = true\n";

/// Bytes of a text that leaks nothing, of three times the window.
const LONG_BYTES: u64 = 400_000;

fn origin() -> Result<ScriptedOrigin> {
    OriginSpec::new().answering(|request| match request.path() {
        "/leak" => Answer::ok("this is TOP SECRET").field("Content-Type", "text/html"),
        "/image" => Answer::ok("this is TOP SECRET").field("Content-Type", "image/png"),
        "/packed" => Answer::ok("this is TOP SECRET")
            .field("Content-Type", "text/html")
            .field("Content-Encoding", "br"),
        "/field" => Answer::ok("answer").field("X-Secret", "key"),
        "/long" => Answer::new(200).pattern(3, 0, LONG_BYTES).field("Content-Type", "text/plain"),
        "/chunked" => {
            Answer::new(200).pattern(3, 0, LONG_BYTES).field("Content-Type", "text/plain").chunked()
        }
        "/late" => Answer::ok("x".repeat(200_000) + "TOP SECRET").field("Content-Type", "text/plain"),
        _ => Answer::ok("answer").field("Content-Type", "text/plain"),
    })
}

fn long_sum() -> String {
    let mut bytes = vec![0; LONG_BYTES as usize];
    testkit::digest::pattern(3, 0, &mut bytes);
    sha256_hex(&bytes)
}

#[test]
fn an_answer_that_leaks_is_kept_back() -> Result<()> {
    let origin = origin()?;
    let node = firewalled(&origin, "block", INSPECTED)?;
    for (path, id) in [("/leak", "1021"), ("/field", "1020")] {
        for response in both(&node, "GET", path, &[], b"")? {
            assert_eq!((response.status, word(&response).as_str()), (403, "waf_withheld"), "{path}");
            assert!(!response.text().contains("SECRET"));
        }
        let line = logged(&node, path)?;
        assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("waf_withheld"), vec![id]), "{path}");
    }
    for response in both(&node, "GET", "/", &[], b"")? {
        assert_eq!(response.text(), "answer");
    }
    node.wait_for_metric("rempart_refusals_total{refusal=\"waf_withheld\"}", 4.0)?;
    node.finish_healthy()
}

#[test]
fn in_log_mode_an_answer_that_leaks_leaves_and_is_written_down() -> Result<()> {
    let origin = origin()?;
    let node = firewalled(&origin, "log", INSPECTED)?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/leak")?.text(), "this is TOP SECRET");
    let line = logged(&node, "/leak")?;
    assert_eq!((line["waf"].as_str(), ids(&line)), (Some("would_refuse"), vec!["1021"]));
    node.finish_healthy()
}

#[test]
fn bodies_of_answers_are_left_alone_unless_the_zone_asks() -> Result<()> {
    let origin = origin()?;
    let node = firewalled(&origin, "block", "")?;
    let packed = fields(&[("Accept-Encoding", "br")]);
    assert_eq!(visitor(&node)?.ask("GET", "/leak", HOST, &packed, b"")?.text(), "this is TOP SECRET");
    assert_eq!(visitor(&node)?.fetch(HOST, "/field")?.status, 403, "their heads are inspected all the same");
    let asked = origin.requests();
    assert_eq!(asked[0].fields.first("accept-encoding"), Some("br"));
    node.finish_healthy()
}

#[test]
fn only_text_that_can_be_read_is_inspected_and_origins_are_asked_for_such() -> Result<()> {
    let origin = origin()?;
    let node = firewalled(&origin, "block", INSPECTED)?;
    let packed = fields(&[("Accept-Encoding", "br")]);
    for path in ["/image", "/packed"] {
        let response = visitor(&node)?.ask("GET", path, HOST, &packed, b"")?;
        assert_eq!(response.text(), "this is TOP SECRET", "{path}");
    }
    assert!(origin.requests().iter().all(|request| !request.fields.has("accept-encoding")));
    node.finish_healthy()
}

#[test]
fn a_long_answer_passes_whole_and_only_its_front_is_inspected() -> Result<()> {
    let origin = origin()?;
    let node = firewalled(&origin, "block", INSPECTED)?;
    for path in ["/long", "/chunked"] {
        for response in both(&node, "GET", path, &[], b"")? {
            assert_eq!(sha256_hex(&response.body), long_sum(), "{path}");
        }
    }
    let late = visitor(&node)?.fetch(HOST, "/late")?;
    assert_eq!((late.status, late.body.len()), (200, 200_010), "it lies behind the window");
    node.wait_for_metric("rempart_waf_off_thread_total", 5.0)?;
    let head = visitor(&node)?.ask("HEAD", "/long", HOST, &fields(&[]), b"")?;
    assert_eq!((head.status, head.fields.first("content-length")), (200, Some("400000")));
    node.finish_healthy()
}

#[test]
fn an_answer_that_breaks_off_before_the_verdict_is_a_fault_and_no_half_page() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| {
        Answer::new(200).field("Content-Type", "text/plain").chunked().part("begun").broken_here()
    })?;
    let node = firewalled(&origin, "block", INSPECTED)?;
    for response in [
        visitor(&node)?.ask("POST", "/", HOST, &fields(&[("Content-Length", "0")]), b"")?,
        http2_visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), b"")?,
    ] {
        assert_eq!((response.status, word(&response).as_str()), (502, "http_response_incomplete"));
    }
    node.finish_healthy()
}

#[test]
fn events_that_trickle_are_not_held_up() -> Result<()> {
    let gate = Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        let answer = Answer::new(200).field("Content-Type", "text/event-stream").chunked();
        answer.part("data: one\n\n").wait(&script).part("data: two\n\n")
    })?;
    let node = firewalled(&origin, "block", INSPECTED)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/events", HOST, &fields(&[]))?;
    let head = visitor.read_head("GET")?.expect("a head");
    let mut body = testkit::message::BodyReader::new(head.framing);
    assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"data: one\n\n"[..]));
    gate.open_for_good();
    assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"data: two\n\n"[..]));
    assert_eq!(visitor.body_part(&mut body)?, None);
    assert_eq!(outcomes(&node, "refused")?, Some(0.0));
    drop(visitor);
    node.finish_healthy()
}
