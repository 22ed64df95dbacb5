//! Answers that the cache keeps: fetched once, and compressed once for each coding.

use testkit::gate::Gate;
use testkit::visitor::Http2Visitor;

use super::*;

/// `[cache]` on, fresh for a minute.
const CACHED: &str = "[cache]\nenabled = true";

fn fresh(body: &str) -> Result<ScriptedOrigin> {
    saying("text/html", body, |_, answer| {
        answer.field("Cache-Control", "max-age=60").field("ETag", "\"a\"").field("Accept-Ranges", "bytes")
    })
}

fn said(response: &Response) -> String {
    response.fields.first("cache-status").unwrap_or("nothing").to_owned()
}

/// Bytes that encoders of all codings were fed so far.
fn fed(node: &Node) -> Result<f64> {
    let of = |coding: &str| {
        let series = format!("rempart_coding_bytes_total{{coding=\"{coding}\",direction=\"in\"}}");
        Ok::<_, anyhow::Error>(node.metric(&series)?.unwrap_or(0.0))
    };
    Ok(of("gzip")? + of("br")? + of("zstd")?)
}

/// Waits until encoders were fed this many bytes.
fn wait_until_fed(node: &Node, bytes: f64) -> Result<()> {
    node.wait_until("what encoders were fed", || fed(node).is_ok_and(|fed| fed >= bytes))?;
    assert_eq!(fed(node)?, bytes);
    Ok(())
}

#[test]
fn one_fetch_and_one_compression_a_coding_serve_all_visitors() -> Result<()> {
    let body = text(50_000);
    let origin = fresh(&body)?;
    let node = before(&origin, CACHED)?;
    let first = accepting(&node, "/a", "gzip")?;
    assert_eq!(said(&first), "rempart; fwd=uri-miss; fwd-status=200; ttl=60; stored");
    assert_eq!((coding(&first), plain(&first)?), (Some("gzip"), body.clone()));
    wait_until_fed(&node, 50_000.0)?;
    for round in 0..3 {
        for (accepted, expected) in [
            ("gzip", Some("gzip")),
            ("br, gzip", Some("br")),
            ("zstd, br, gzip", Some("zstd")),
            ("identity", None),
        ] {
            let answer = accepting(&node, "/a", accepted)?;
            assert!(said(&answer).starts_with("rempart; hit; ttl="), "{}", said(&answer));
            assert_eq!(coding(&answer), expected, "{accepted}");
            assert_eq!(plain(&answer)?, body, "{accepted}");
            let tag = if expected.is_some() { "W/\"a\"" } else { "\"a\"" };
            assert_eq!(answer.fields.first("etag"), Some(tag), "{accepted}");
            assert_eq!(answer.fields.first("vary"), Some("Accept-Encoding"), "{accepted}");
            assert_eq!(answer.fields.has("accept-ranges"), expected.is_none(), "{accepted}");
            if round > 0 {
                // Whole by now, so that its length is known.
                let length = answer.body.len().to_string();
                assert_eq!(answer.fields.first("content-length"), Some(length.as_str()), "{accepted}");
            }
        }
        wait_until_fed(&node, 150_000.0)?;
    }
    assert_eq!(origin.counters().requests, 1);
    node.wait_for_metric("rempart_coded_answers_total{coding=\"gzip\",source=\"stored\"}", 4.0)?;
    node.wait_for_metric("rempart_coded_answers_total{coding=\"gzip\",source=\"streamed\"}", 0.0)?;
    assert_eq!(node.wait_for_log(|line| line["coding"] == "br")?["cache"], "hit");
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    node.finish_healthy()
}

#[test]
fn hits_are_the_same_over_http2() -> Result<()> {
    let body = text(300_000);
    let origin = fresh(&body)?;
    let node = before(&origin, CACHED)?;
    let visitor = Http2Visitor::cleartext(node.address("http")?)?;
    for _ in 0..3 {
        let answer = visitor.ask("GET", "/a", HOST, &fields(&[("Accept-Encoding", "br")]), b"")?;
        assert_eq!((coding(&answer), plain(&answer)? == body), (Some("br"), true));
    }
    wait_until_fed(&node, 300_000.0)?;
    assert_eq!(origin.counters().requests, 1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn who_waits_for_a_fetch_reads_its_coded_form_as_it_comes() -> Result<()> {
    let gate = Gate::new();
    let waits = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        let answer = Answer::new(200).field("Content-Type", "text/html").field("Cache-Control", "max-age=60");
        answer.part(text(10_000)).wait(&waits).part("the end").chunked()
    })?;
    let node = before(&origin, CACHED)?;
    let mut visitors = Vec::new();
    for accepted in ["gzip", "gzip", "br", "identity"] {
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", "/a", HOST, &fields(&[("Accept-Encoding", accepted)]))?;
        // Its head comes with the first piece, long before the end.
        let head = visitor.read_head("GET")?.context("a head")?;
        visitors.push((visitor, head));
    }
    gate.open();
    for (visitor, head) in &mut visitors {
        let mut reader = testkit::message::BodyReader::new(head.framing);
        let mut body = Vec::new();
        while let Some(part) = visitor.body_part(&mut reader)? {
            body.extend(part);
        }
        let plain = decoded(head.fields.first("content-encoding"), &body)?;
        assert_eq!(String::from_utf8(plain)?, format!("{}the end", text(10_000)));
    }
    drop(visitors); // open connections would be drained
    wait_until_fed(&node, 20_014.0)?;
    assert_eq!(origin.counters().requests, 1);
    node.finish_healthy()
}

#[test]
fn parts_and_conditions_are_of_what_the_visitor_would_get() -> Result<()> {
    let body = text(5_000);
    let origin = fresh(&body)?;
    let node = before(&origin, CACHED)?;
    accepting(&node, "/a", "gzip")?;
    let part = with(&node, "/a", &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-9")])?;
    assert_eq!((part.status, coding(&part), part.text().as_str()), (206, None, &body[..10]));
    assert_eq!(part.fields.first("vary"), Some("Accept-Encoding"));
    assert_eq!(part.fields.first("etag"), Some("\"a\""));
    // The tag of the coded form promises no bytes (RFC 9110 §13.1.5).
    let sent = [("Accept-Encoding", "gzip"), ("Range", "bytes=0-9"), ("If-Range", "W/\"a\"")];
    let whole = with(&node, "/a", &sent)?;
    assert_eq!((whole.status, coding(&whole), whole.text()), (200, None, body.clone()));
    for (accepted, tag, expected) in [
        ("gzip", "W/\"a\"", "W/\"a\""),
        ("gzip", "\"a\"", "W/\"a\""),
        ("identity", "\"a\"", "\"a\""),
        ("identity", "W/\"a\"", "\"a\""),
    ] {
        let same = with(&node, "/a", &[("Accept-Encoding", accepted), ("If-None-Match", tag)])?;
        assert_eq!((same.status, same.fields.first("etag")), (304, Some(expected)), "{accepted} {tag}");
        assert_eq!(same.fields.first("vary"), Some("Accept-Encoding"));
        assert_eq!(coding(&same), None, "a 304 has no content");
    }
    let get = accepting(&node, "/a", "gzip")?;
    let head = visitor(&node)?.ask("HEAD", "/a", HOST, &fields(&[("Accept-Encoding", "gzip")]), b"")?;
    for name in ["content-encoding", "vary", "etag", "content-length"] {
        assert_eq!(head.fields.first(name), get.fields.first(name), "{name}");
    }
    assert_eq!(origin.counters().requests, 1);
    node.finish_healthy()
}

/// A page in slices: each range of it as it is asked for.
fn in_slices(body: &str) -> Result<ScriptedOrigin> {
    let body = body.to_owned();
    OriginSpec::new().answering(move |request| {
        let range = request.fields.first("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return Answer::new(500);
        };
        let (first, last): (usize, usize) = (first.parse().unwrap_or(0), last.parse().unwrap_or(0));
        let last = last.min(body.len() - 1);
        Answer::new(206)
            .part(body.as_bytes()[first..=last].to_vec())
            .field("Content-Type", "text/html")
            .field("Content-Range", format!("bytes {first}-{last}/{}", body.len()))
            .field("Cache-Control", "max-age=60")
            .field("ETag", "\"a\"")
    })
}

#[test]
fn what_is_kept_in_slices_is_given_as_it_came_in_part_and_whole() -> Result<()> {
    let body = text(200_000);
    let origin = in_slices(&body)?;
    let node = before(&origin, "[cache]\nenabled = true\nslice_bytes = \"64KiB\"")?;
    for _ in 0..2 {
        let sent = [("Accept-Encoding", "zstd, br, gzip"), ("Range", "bytes=65530-65545")];
        let part = with(&node, "/a", &sent)?;
        assert_eq!((part.status, coding(&part), part.text().as_str()), (206, None, &body[65_530..=65_545]));
        assert_eq!(part.fields.first("etag"), Some("\"a\""), "its bytes are the origin's, and so is its tag");
    }
    let whole = accepting(&node, "/a", "zstd, br, gzip")?;
    assert_eq!((whole.status, coding(&whole), whole.text() == body), (200, None, true));
    assert_eq!(whole.fields.first("etag"), Some("\"a\""));
    let range = |request: &Request| request.fields.first("range").map(str::to_owned);
    let asked: Vec<String> = origin.requests().iter().filter_map(range).collect();
    let of = |number: usize| format!("bytes={}-{}", number * 65_536, (number + 1) * 65_536 - 1);
    assert_eq!(asked[..3], [of(0), of(1), of(2)], "each slice once");
    assert_eq!((asked.len(), fed(&node)?), (4, 0.0));
    node.finish_healthy()
}

#[test]
fn a_purge_takes_all_forms() -> Result<()> {
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().answering(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answer = Answer::ok(format!("{number}: {}", text(5_000))).field("Content-Type", "text/html");
        answer.field("Cache-Control", "max-age=60").field("Cache-Tag", "news")
    })?;
    let node = before(&origin, CACHED)?;
    let url = format!("http://{HOST}/a");
    for (number, purge) in [["--url", url.as_str()], ["--tag", "news"], ["--zone", "a"]].iter().enumerate() {
        for accepted in ["gzip", "br", "identity", "gzip"] {
            let answer = accepting(&node, "/a", accepted)?;
            assert!(plain(&answer)?.starts_with(&format!("{number}: ")), "{accepted}");
        }
        let mut arguments = vec!["purge"];
        arguments.extend(purge);
        if purge[0] == "--tag" {
            arguments.extend(["--zone", "a"]);
        }
        let purged = node.command(&arguments)?;
        assert!(purged.status.success(), "{}", String::from_utf8_lossy(&purged.stderr));
    }
    assert!(plain(&accepting(&node, "/a", "gzip")?)?.starts_with("3: "));
    assert_eq!(origin.counters().requests, 4);
    node.finish_healthy()
}

#[test]
fn what_the_origin_codes_itself_is_stored_as_it_came() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |request, answer| {
        let answer = answer.field("Cache-Control", "max-age=60").field("Vary", "Accept-Encoding");
        let takes_gzip = request.fields.first("accept-encoding").is_some_and(|taken| taken.contains("gzip"));
        if takes_gzip { answer.field("Content-Encoding", "gzip") } else { answer }
    })?;
    let node = before(&origin, CACHED)?;
    for _ in 0..2 {
        // Not gzip at all, so that nobody can have touched it.
        let own = accepting(&node, "/a", "gzip")?;
        assert_eq!((coding(&own), own.text()), (Some("gzip"), body.clone()));
        let ours = accepting(&node, "/a", "br")?;
        assert_eq!((coding(&ours), plain(&ours)?), (Some("br"), body.clone()));
    }
    assert_eq!(origin.counters().requests, 2);
    node.finish_healthy()
}

#[test]
fn what_is_not_stored_is_compressed_for_each_visitor() -> Result<()> {
    let body = text(5_000);
    let origin = saying("text/html", &body, |_, answer| answer.field("Cache-Control", "no-store"))?;
    let node = before(&origin, CACHED)?;
    for _ in 0..2 {
        let answer = accepting(&node, "/a", "gzip")?;
        assert_eq!((coding(&answer), plain(&answer)?), (Some("gzip"), body.clone()));
    }
    node.wait_for_metric("rempart_coded_answers_total{coding=\"gzip\",source=\"streamed\"}", 2.0)?;
    assert_eq!(origin.counters().requests, 2);
    node.finish_healthy()
}

#[test]
fn an_answer_too_large_to_keep_is_compressed_as_it_passes_through() -> Result<()> {
    let origin = OriginSpec::new().unrecorded().answering(|_| {
        let answer =
            Answer::new(200).field("Content-Type", "text/plain").field("Cache-Control", "max-age=60");
        answer.pattern(1, 0, 6_000_000).chunked()
    })?;
    // An eighth of this is the most that is kept of one object.
    let spec = cleartext().more("[cache]\ndisk_bytes = 0\nmemory_bytes = \"16MiB\"");
    let node = start(&spec.zone("a", zone(&origin, CACHED)))?;
    let whole = accepting(&node, "/a", "identity")?;
    for accepted in ["gzip", "zstd"] {
        let answer = accepting(&node, "/a", accepted)?;
        assert_eq!(coding(&answer), Some(accepted));
        assert!(decoded(Some(accepted), &answer.body)? == whole.body, "{accepted}");
    }
    node.wait_for_metric("rempart_held_bytes", 0.0)?;
    node.finish_healthy()
}

#[test]
fn a_coded_form_on_the_disk_survives_the_death_of_the_edge() -> Result<()> {
    let body = text(50_000);
    let origin = fresh(&body)?;
    let node = start(&cleartext().more("[cache]\ndisk_bytes = \"64MiB\"").zone("a", zone(&origin, CACHED)))?;
    let status = || -> Result<serde_json::Value> {
        Ok(serde_json::from_slice(&node.command(&["status", "--json"])?.stdout)?)
    };
    let has_both = || {
        status().is_ok_and(|status| {
            let disk = &status["cache"]["disk"];
            disk["state"] == "ready" && disk["objects"].as_u64() >= Some(2)
        })
    };
    node.wait_until("the body and its coded form on disk", || {
        accepting(&node, "/a", "gzip").is_ok() && has_both()
    })?;
    let edge = status()?["edge_pid"].as_i64().context("an edge")?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(edge)?).context("a process")?;
    rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
    node.wait_for_events("ready", 2)?;
    node.wait_until("the index", has_both)?;
    let answer = accepting(&node, "/a", "gzip")?;
    assert!(said(&answer).starts_with("rempart; hit; ttl="), "{}", said(&answer));
    assert_eq!((coding(&answer), plain(&answer)?), (Some("gzip"), body));
    assert_eq!(fed(&node)?, 0.0, "it was coded before");
    assert_eq!(origin.counters().requests, 1);
    Ok(())
}
