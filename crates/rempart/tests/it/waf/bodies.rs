//! Bodies of requests: read up to the window, inspected, and passed on whole.

use anyhow::Result;
use testkit::digest::sha256_hex;
use testkit::origin::{Answer, OriginSpec, RefusingPort};

use super::{both, firewalled, ids, lines, logged, multipart, outcomes_of, post};
use crate::rig::{
    HOST, cleartext, fields, http2_visitor, only_request, saying, start, visitor, word, zone_with,
};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// Ten million bytes, no two neighbours alike.
fn large() -> Vec<u8> {
    let mut bytes = vec![0; 10_000_000];
    testkit::digest::pattern(7, 0, &mut bytes);
    bytes
}

#[test]
fn an_attack_in_a_body_is_found_in_each_format() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let (multi, in_field) = multipart("1' OR '1'='1", "a.txt", b"text");
    let (_, in_name) = multipart("good", "evil.php", b"text");
    let (_, harmless) = multipart("good", "a.txt", b"text");
    for (kind, body, id) in [
        (FORM, &b"a=1&id=1%27+OR+%271%27%3D%271"[..], Some("1010")),
        (JSON, br#"{"a":{"id":["1' OR '1'='1"]}}"#, Some("1010")),
        ("application/xml", b"<a><b>1' OR '1'='1</b></a>", Some("1010")),
        (multi.as_str(), &in_field, Some("1010")),
        (multi.as_str(), &in_name, Some("1011")),
        (FORM, b"a=good", None),
        (JSON, br#"{"a":"good"}"#, None),
        (multi.as_str(), &harmless, None),
    ] {
        let before = origin.requests().len();
        for response in both(&node, "POST", "/", &[("Content-Type", kind)], body)? {
            let expected = if id.is_some() { (403, "waf_blocked") } else { (200, "") };
            assert_eq!(response.status, expected.0, "{kind} {id:?}");
            if id.is_some() {
                assert_eq!(word(&response), expected.1);
            }
        }
        let arrived = origin.requests().split_off(before);
        assert_eq!(arrived.len(), if id.is_some() { 0 } else { 2 }, "{kind}");
        for request in arrived {
            assert_eq!(request.body, body, "{kind}");
        }
    }
    assert_eq!(outcomes_of(&node, "refused", 10.0)?, Some(10.0));
    node.finish_healthy()
}

#[test]
fn a_body_that_cannot_be_read_is_refused_by_the_recommended_rules() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    for response in both(&node, "POST", "/broken", &[("Content-Type", JSON)], br#"{"a":"#)? {
        assert_eq!((response.status, word(&response).as_str()), (400, "waf_blocked"));
    }
    assert_eq!(ids(&logged(&node, "/broken")?), ["200002"]);
    node.finish_healthy()
}

#[test]
fn an_attack_behind_eight_kib_is_found_off_the_serving_thread() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let padding = "x".repeat(20_000);
    for (body, status) in [(format!("a={padding}&b=evil"), 403), (format!("a={padding}&b=good"), 200)] {
        for response in both(&node, "POST", "/", &[("Content-Type", FORM)], body.as_bytes())? {
            assert_eq!(response.status, status);
        }
    }
    assert_eq!(post(&node, "/small", FORM, b"b=evil")?.status, 403);
    node.wait_for_metric("rempart_waf_off_thread_total", 4.0)?;
    node.finish_healthy()
}

#[test]
fn a_clean_upload_of_ten_megabytes_passes_whole_whatever_its_framing() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let (kind, body) = multipart("good", "large.bin", &large());
    let sum = sha256_hex(&body);
    let with_length = post(&node, "/length", &kind, &body)?;
    let mut chunked = visitor(&node)?;
    let head = fields(&[("Content-Type", &kind), ("Transfer-Encoding", "chunked")]);
    chunked.send_head("POST", "/chunked", HOST, &head)?;
    for chunk in body.chunks(50_000) {
        chunked.send_chunk(chunk)?;
    }
    chunked.send_chunk(b"")?;
    let chunked = chunked.expect_response("POST")?;
    let http2 = http2_visitor(&node)?.ask("POST", "/h2", HOST, &fields(&[("content-type", &kind)]), &body)?;
    for response in [with_length, chunked, http2] {
        assert_eq!(response.text(), "answer");
    }
    for request in origin.requests() {
        assert_eq!((request.body_length, request.body_sha256.as_str()), (body.len() as u64, sum.as_str()));
        assert!(request.is_complete, "{}", request.target);
    }
    let raw = visitor(&node)?.ask("PUT", "/raw", HOST, &fields(&[("Content-Type", "video/mp4")]), &body)?;
    assert_eq!(raw.text(), "answer");
    for path in ["/length", "/chunked", "/h2", "/raw"] {
        let line = logged(&node, path)?;
        assert_eq!(
            (line["waf"].as_str(), line["bytes_in"].as_u64()),
            (Some("clean"), Some(body.len() as u64))
        );
        // Of a form all is read, its file passed by.
        match line["waf_uninspected"].as_u64() {
            left if path != "/raw" => assert_eq!(left, None, "{path}"),
            // A read more than the window may have been held.
            left => {
                let marked = left.map(|left| body.len() as u64 - left);
                assert!(
                    marked.is_some_and(|inspected| (131_072..131_072 + 65_536).contains(&inspected)),
                    "{left:?}"
                );
            }
        }
    }
    node.wait_until("nothing is held", || {
        node.metric("rempart_held_bytes").is_ok_and(|held| held == Some(0.0))
    })?;
    node.finish_healthy()
}

/// A form whose one field comes behind a file.
fn field_last(field: &str, file_bytes: usize) -> (String, Vec<u8>) {
    let mut body =
        b"--b0undary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\r\n".to_vec();
    body.extend_from_slice(&vec![b'x'; file_bytes]);
    let rest = "\r\n--b0undary\r\nContent-Disposition: form-data; name=\"field\"\r\n\r\n";
    body.extend_from_slice(format!("{rest}{field}\r\n--b0undary--\r\n").as_bytes());
    ("multipart/form-data; boundary=b0undary".to_owned(), body)
}

#[test]
fn a_field_behind_a_large_file_is_inspected_while_the_form_streams() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let (kind, bad) = field_last("evil", 1_000_000);
    for response in both(&node, "POST", "/bad", &[("Content-Type", &kind)], &bad)? {
        assert_eq!((response.status, word(&response).as_str()), (403, "waf_blocked"));
    }
    origin.wait_until(|counters| counters.aborted == 2)?;
    assert!(origin.requests().iter().all(|request| !request.is_complete), "no origin has a whole form");
    let line = logged(&node, "/bad")?;
    assert_eq!((line["waf"].as_str(), ids(&line)), (Some("refused"), vec!["1011"]), "{line}");
    let (_, good) = field_last("good", 1_000_000);
    for response in both(&node, "POST", "/good", &[("Content-Type", &kind)], &good)? {
        assert_eq!(response.text(), "answer");
    }
    assert_eq!(logged(&node, "/good")?["waf"], "clean");
    let passed: Vec<_> = origin.requests().into_iter().filter(|request| request.is_complete).collect();
    assert_eq!(passed.len(), 2);
    assert!(passed.iter().all(|request| request.body_sha256 == sha256_hex(&good)));
    node.finish_healthy()
}

#[test]
fn in_log_mode_a_field_behind_a_large_file_is_written_down() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "log", "")?;
    let (kind, bad) = field_last("evil", 1_000_000);
    assert_eq!(post(&node, "/bad", &kind, &bad)?.text(), "answer");
    let line = logged(&node, "/bad")?;
    assert_eq!((line["waf"].as_str(), ids(&line)), (Some("would_refuse"), vec!["1011"]), "{line}");
    node.finish_healthy()
}

#[test]
fn files_do_not_count_where_what_is_not_inspected_is_refused_and_long_fields_do() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "body_window_bytes = \"8KiB\"\nuninspected = \"refuse\"\n")?;
    let (kind, file) = field_last("good", 1_000_000);
    let (_, field) = field_last(&"g".repeat(200_000), 1_000_000);
    for response in both(&node, "POST", "/file", &[("Content-Type", &kind)], &file)? {
        assert_eq!(response.text(), "answer");
    }
    for response in both(&node, "POST", "/field", &[("Content-Type", &kind)], &field)? {
        assert_eq!((response.status, word(&response).as_str()), (413, "uninspected"));
    }
    node.finish_healthy()
}

#[test]
fn an_attack_within_the_window_of_a_large_body_is_found_before_the_origin_is_asked() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let mut body = b"q=evil&rest=".to_vec();
    body.extend_from_slice(&[b'x'; 300_000]);
    let mut plain = visitor(&node)?;
    let length = body.len().to_string();
    plain.send_head("POST", "/", HOST, &fields(&[("Content-Type", FORM), ("Content-Length", &length)]))?;
    let _all_or_not = plain.send(&body);
    assert_eq!(plain.expect_response("POST")?.status, 403);
    let shared = http2_visitor(&node)?;
    let mut stream = shared.open("POST", "/", HOST, &fields(&[("content-type", FORM)]), false)?;
    // The verdict may come before all is sent.
    let _all_or_not = stream.send(body);
    assert_eq!(stream.read_response()?.status, 403);
    drop((plain, stream, shared));
    assert_eq!(origin.counters().connections, 0);
    node.finish_healthy()
}

#[test]
fn a_body_beyond_the_window_is_refused_where_the_zone_says_so() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "body_window_bytes = \"8KiB\"\nuninspected = \"refuse\"\n")?;
    let within = format!("a={}", "x".repeat(8_190));
    let beyond = format!("a={}", "x".repeat(8_191));
    for response in both(&node, "POST", "/", &[("Content-Type", FORM)], within.as_bytes())? {
        assert_eq!(response.status, 200);
    }
    for response in both(&node, "POST", "/beyond", &[("Content-Type", FORM)], beyond.as_bytes())? {
        assert_eq!((response.status, word(&response).as_str()), (413, "uninspected"));
    }
    let mut chunked = visitor(&node)?;
    let head = fields(&[("Content-Type", FORM), ("Transfer-Encoding", "chunked")]);
    chunked.send_head("POST", "/chunked", HOST, &head)?;
    chunked.send_chunk(beyond.as_bytes())?;
    chunked.send_chunk(b"")?;
    assert_eq!(word(&chunked.expect_response("POST")?), "uninspected");
    assert_eq!(origin.requests().len(), 2);
    node.finish_healthy()
}

/// A body of each format with an attack behind so many bytes of what is harmless; and of raw bytes.
fn attacks_behind(bytes: usize) -> [(&'static str, String); 4] {
    let harmless = "g".repeat(bytes);
    [
        (FORM, format!("a={harmless}&b=evil")),
        (JSON, format!("{{\"a\":\"{harmless}\",\"b\":\"1' OR '1'='1\"}}")),
        ("application/xml", format!("<a><b>{harmless}</b><c>1' OR '1'='1</c></a>")),
        ("video/mp4", format!("{harmless}evil")),
    ]
}

#[test]
fn what_lies_behind_the_window_passes_uninspected_in_every_format_and_is_marked() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "body_window_bytes = \"64KiB\"\n")?;
    for (number, (kind, body)) in attacks_behind(300_000).iter().enumerate() {
        let path = format!("/{number}");
        for response in both(&node, "POST", &path, &[("Content-Type", kind)], body.as_bytes())? {
            assert_eq!(response.text(), "answer", "{kind}");
        }
        let line = logged(&node, &path)?;
        let left = line["waf_uninspected"].as_u64();
        // A read more than the window may have been held.
        let is_marked = left.is_some_and(|left| (170_000..=body.len() as u64 - 65_536).contains(&left));
        assert!(is_marked, "{kind} {line}");
    }
    assert!(origin.requests().iter().all(|request| request.is_complete && request.body_length > 300_000));
    node.finish_healthy()
}

#[test]
fn what_lies_behind_the_window_is_refused_in_every_format_where_the_zone_says_so() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "body_window_bytes = \"64KiB\"\nuninspected = \"refuse\"\n")?;
    for (kind, body) in attacks_behind(300_000) {
        let refused = post(&node, "/", kind, body.as_bytes())?;
        assert_eq!((refused.status, word(&refused).as_str()), (413, "uninspected"), "{kind}");
    }
    for (kind, body) in attacks_behind(30_000) {
        let expected = if kind == "video/mp4" { 200 } else { 403 };
        assert_eq!(post(&node, "/within", kind, body.as_bytes())?.status, expected, "{kind}");
    }
    assert_eq!(origin.requests().len(), 1);
    node.finish_healthy()
}

#[test]
fn a_visitor_that_expects_100_is_told_to_go_on_before_the_origin_is_asked() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let head = |length: &str| {
        fields(&[("Content-Type", FORM), ("Content-Length", length), ("Expect", "100-continue")])
    };
    let mut good = visitor(&node)?;
    good.send_head("POST", "/", HOST, &head("6"))?;
    assert_eq!(good.next_head("POST")?.map(|head| head.status), Some(100));
    assert_eq!(origin.counters().connections, 0, "nobody asked the origin yet");
    good.send("a=good")?;
    let answer = good.expect_response("POST")?;
    assert_eq!((answer.text().as_str(), answer.informational.len()), ("answer", 0), "no second 100");
    assert!(!only_request(&origin)?.fields.has("expect"), "the origin need not say it again");
    let mut bad = visitor(&node)?;
    bad.send_head("POST", "/", HOST, &head("6"))?;
    assert_eq!(bad.next_head("POST")?.map(|head| head.status), Some(100));
    bad.send("a=evil")?;
    assert_eq!(bad.expect_response("POST")?.status, 403);
    // What the head alone forbids is refused without the body.
    let mut bot = visitor(&node)?;
    let mut fields = head("6");
    fields.push("User-Agent", "bad-bot");
    bot.send_head("POST", "/", HOST, &fields)?;
    assert_eq!(bot.expect_response("POST")?.status, 406);
    drop((good, bad, bot));
    node.finish_healthy()
}

#[test]
fn what_was_read_goes_to_another_origin_when_the_first_cannot_be_reached() -> Result<()> {
    let refusing = RefusingPort::new()?;
    let origin = saying("answer")?;
    let dead = format!("http://{}", refusing.address());
    let toml = zone_with("", &[&dead, &origin.url()], &lines("block", ""));
    let node = start(&cleartext().file("waf/own.conf", super::RULES).zone("a", toml))?;
    for _ in 0..4 {
        assert_eq!(post(&node, "/", FORM, b"a=good")?.text(), "answer");
    }
    for request in origin.requests() {
        assert_eq!(request.body, b"a=good");
    }
    assert_eq!(origin.requests().len(), 4);
    node.finish_healthy()
}

#[test]
fn trailers_of_a_body_that_was_held_reach_the_origin() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "")?;
    let mut visitor = visitor(&node)?;
    let head = fields(&[("Content-Type", FORM), ("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")]);
    visitor.send_head("POST", "/", HOST, &head)?;
    visitor.send_chunk(b"a=good")?;
    visitor.send("0\r\nX-Sum: 7\r\n\r\n")?;
    assert_eq!(visitor.expect_response("POST")?.text(), "answer");
    let request = only_request(&origin)?;
    drop(visitor);
    assert_eq!((request.body.as_slice(), request.trailers.first("x-sum")), (&b"a=good"[..], Some("7")));
    node.finish_healthy()
}

#[test]
fn a_body_that_stands_still_before_the_window_is_full_ends_by_the_zone_s_time() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "[http]\nbody_idle_ms = 50\n")?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("POST", "/", HOST, &fields(&[("Content-Type", FORM), ("Content-Length", "100")]))?;
    visitor.send("a=1")?;
    let response = visitor.expect_response("POST")?;
    assert_eq!((response.status, word(&response).as_str()), (408, "body_timeout"));
    assert_eq!(origin.counters().connections, 0);
    node.finish_healthy()
}

#[test]
fn a_body_past_the_zone_s_limit_is_refused_while_it_is_read() -> Result<()> {
    let origin = saying("answer")?;
    let node = firewalled(&origin, "block", "[http]\nmax_body_bytes = 100\n")?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("POST", "/", HOST, &fields(&[("Transfer-Encoding", "chunked")]))?;
    visitor.send_chunk(&[b'x'; 101])?;
    assert_eq!(word(&visitor.expect_response("POST")?), "body_too_large");
    assert_eq!(origin.counters().connections, 0);
    node.finish_healthy()
}

#[test]
fn many_uploads_of_one_connection_do_not_wait_for_each_other() -> Result<()> {
    // Together they hold more than one connection may, and none of them is complete.
    let origin = OriginSpec::new().answering(|_| Answer::ok("answer"))?;
    let node = firewalled(&origin, "block", "body_window_bytes = \"128KiB\"\n")?;
    let visitor = http2_visitor(&node)?;
    let head = fields(&[("content-type", FORM)]);
    let mut streams = Vec::new();
    for number in 0..100 {
        let mut stream = visitor.open("POST", &format!("/{number}"), HOST, &head, false)?;
        stream.send(vec![b'x'; 60_000])?;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.send(vec![b'x'; 60_000])?;
        stream.finish()?;
    }
    for stream in &mut streams {
        assert_eq!(stream.read_response()?.text(), "answer");
    }
    assert!(origin.requests().iter().all(|request| request.body_length == 120_000));
    drop(streams);
    node.finish_healthy()
}
