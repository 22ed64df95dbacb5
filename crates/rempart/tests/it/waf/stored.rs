//! Answers that the cache fetches: judged once before they are stored, and never again while the rules are
//! the same.

use anyhow::{Context as _, Result};
use testkit::gate::Gate;
use testkit::message::BodyReader;
use testkit::node::{Node, NodeSpec, alarms};
use testkit::origin::{Answer, OriginSpec, Request, ScriptedOrigin};
use testkit::visitor::{Response, Visitor};

use super::{RULES, both, ids, logged, outcomes_of};
use crate::rig::{HOST, cleartext, fields, start, visitor, word, zone_with};

const FRESH: &str = "max-age=600";
const LEAK: &str = "this is TOP SECRET";

/// The zone's file: a cache, and a firewall that inspects answers in this mode, with more lines for each and
/// after both.
fn toml(origin: &ScriptedOrigin, mode: &str, cache: &str, waf: &str) -> String {
    let lines = format!(
        "[cache]\nenabled = true\n{cache}\n\n[waf]\nmode = \"{mode}\"\nrules = [\"../waf/own.conf\"]\n\
         inspect_responses = true\n{waf}\n"
    );
    zone_with(&lines, &[&origin.url()], "")
}

fn spec(origin: &ScriptedOrigin, mode: &str, cache: &str, waf: &str) -> NodeSpec {
    let memory = cleartext().more("[cache]\ndisk_bytes = 0").file("waf/own.conf", RULES);
    memory.zone("a", toml(origin, mode, cache, waf))
}

fn before(origin: &ScriptedOrigin, mode: &str, cache: &str) -> Result<Node> {
    start(&spec(origin, mode, cache, ""))
}

fn origin() -> Result<ScriptedOrigin> {
    OriginSpec::new().answering(|request| by_path(request).field("Cache-Control", FRESH))
}

fn by_path(request: &Request) -> Answer {
    match request.path() {
        "/leak" => Answer::ok(LEAK).field("Content-Type", "text/html"),
        "/field" => Answer::ok("answer").field("X-Secret", "key"),
        "/at-the-end" => Answer::ok("x".repeat(100_000) + "TOP SECRET").field("Content-Type", "text/plain"),
        "/behind" => Answer::ok("x".repeat(200_000) + "TOP SECRET").field("Content-Type", "text/plain"),
        "/long" => Answer::new(200).pattern(3, 0, 400_000).field("Content-Type", "text/plain"),
        "/chunked" => Answer::new(200).pattern(3, 0, 400_000).field("Content-Type", "text/plain").chunked(),
        _ => Answer::ok("answer").field("Content-Type", "text/plain"),
    }
}

fn get(node: &Node, target: &str) -> Result<Response> {
    visitor(node)?.fetch(HOST, target)
}

fn with(node: &Node, target: &str, sent: &[(&str, &str)]) -> Result<Response> {
    visitor(node)?.ask("GET", target, HOST, &fields(sent), b"")
}

fn ask(node: &Node, target: &str) -> Result<Visitor> {
    let mut visitor = visitor(node)?;
    visitor.send_head("GET", target, HOST, &fields(&[]))?;
    Ok(visitor)
}

fn is_hit(response: &Response) -> bool {
    response.fields.first("cache-status").is_some_and(|said| said.starts_with("rempart; hit"))
}

/// Requests that were read and are under way: each holds some 2 KiB from the moment its head is read.
fn wait_for_requests(node: &Node, count: u32) -> Result<()> {
    node.wait_until("requests under way", || {
        node.metric("rempart_held_bytes").is_ok_and(|held| held >= Some(f64::from(count) * 2048.0))
    })
}

/// Ends a node that wrote only alarms with these words.
fn finish_with(mut node: Node, expected: &[&str]) -> Result<()> {
    node.terminate()?;
    assert!(node.wait()?.success());
    for line in alarms(&node.stderr_lines()) {
        let is_expected = expected.iter().any(|event| line.contains(&format!("\"{event}\"")));
        assert!(is_expected, "{line}");
    }
    Ok(())
}

#[test]
fn an_answer_that_leaks_is_kept_back_each_time_and_never_stored() -> Result<()> {
    let origin = origin()?;
    let node = before(&origin, "block", "")?;
    for (path, id) in [("/leak", "1021"), ("/field", "1020"), ("/at-the-end", "1021")] {
        for response in both(&node, "GET", path, &[], b"")? {
            assert_eq!((response.status, word(&response).as_str()), (403, "waf_withheld"), "{path}");
            assert!(!response.text().contains("SECRET"));
        }
        let line = logged(&node, path)?;
        assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("waf_withheld"), vec![id]), "{path}");
        assert_eq!((line["waf"].as_str(), line["cache"].as_str()), (Some("refused"), Some("uri-miss")));
    }
    assert_eq!(origin.counters().requests, 6, "nothing of it was stored");
    node.wait_for_metric("rempart_refusals_total{refusal=\"waf_withheld\"}", 6.0)?;
    node.finish_healthy()
}

#[test]
fn an_answer_that_passes_is_stored_whole_and_given_without_a_second_look() -> Result<()> {
    let origin = origin()?;
    let node = before(&origin, "block", "")?;
    let mut long = vec![0; 400_000];
    testkit::digest::pattern(3, 0, &mut long);
    for (path, body) in [
        ("/", b"answer".to_vec()),
        ("/long", long.clone()),
        ("/chunked", long),
        ("/behind", {
            let mut text = vec![b'x'; 200_000];
            text.extend_from_slice(b"TOP SECRET"); // it lies behind the window
            text
        }),
    ] {
        assert!(get(&node, path)?.body == body, "{path}");
        node.wait_until("the answer to be stored", || {
            get(&node, path).is_ok_and(|again| is_hit(&again) && again.body == body)
        })?;
        let ranged = with(&node, path, &[("Range", "bytes=1-5")])?;
        assert_eq!((ranged.status, &ranged.body[..]), (206, &body[1..6]), "{path}");
    }
    assert_eq!(origin.counters().requests, 4);
    node.wait_for_metric("rempart_waf_off_thread_total", 3.0)?;
    assert_eq!(node.metric("rempart_waf_off_thread_total")?, Some(3.0), "of a hit nothing is inspected");
    node.finish_healthy()
}

#[test]
fn everybody_who_waits_for_an_answer_that_leaks_is_refused() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        let answer = Answer::ok(LEAK).field("Content-Type", "text/html").field("Cache-Control", FRESH);
        answer.wait_before_head(&held)
    })?;
    let node = before(&origin, "block", "wait_ms = 60000")?;
    let mut visitors: Vec<Visitor> = (0..5).map(|_| ask(&node, "/leak")).collect::<Result<_>>()?;
    origin.wait_until(|counters| counters.requests == 1)?;
    wait_for_requests(&node, 5)?;
    gate.open_for_good();
    for visitor in &mut visitors {
        let response = visitor.expect_response("GET")?;
        assert_eq!((response.status, word(&response).as_str()), (403, "waf_withheld"));
    }
    drop(visitors);
    node.wait_for_metric("rempart_refusals_total{refusal=\"waf_withheld\"}", 5.0)?;
    assert_eq!(outcomes_of(&node, "refused", 5.0)?, Some(5.0), "each log has its own");
    node.finish_healthy()
}

#[test]
fn a_visitor_who_leaves_takes_what_was_found_along_and_others_are_judged_all_the_same() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |request| {
        let leaks = request.path() == "/leak";
        let begun = Answer::ok(if leaks { "begun, " } else { "good, " }).field("Content-Type", "text/plain");
        let goes_on = begun.field("Cache-Control", FRESH).wait(&held);
        goes_on.part(if leaks { LEAK } else { "to the end" })
    })?;
    let node = before(&origin, "block", "wait_ms = 60000")?;
    for (path, status) in [("/leak", 403), ("/good", 200)] {
        let requests = origin.counters().requests;
        let first = ask(&node, &format!("{path}?low=seen"))?;
        origin.wait_until(|counters| counters.requests == requests + 1)?;
        let mut second = ask(&node, &format!("{path}?low=seen"))?;
        wait_for_requests(&node, 2)?;
        first.reset();
        let line = logged(&node, path)?;
        assert_eq!((line["waf"].as_str(), ids(&line)), (Some("matched"), vec!["1012"]), "{line}");
        gate.open();
        if status == 403 {
            gate.open(); // who waits goes by himself
        }
        assert_eq!(second.expect_response("GET")?.status, status, "{path}");
    }
    gate.open_for_good();
    assert!(is_hit(&get(&node, "/good?low=seen")?));
    node.finish_healthy()
}

#[test]
fn a_fetch_in_the_background_is_judged_and_what_is_stored_stays() -> Result<()> {
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().answering(move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let answer = match (number, request.fields.has("if-none-match")) {
            (0, _) => Answer::ok("old").field("Age", "100"),
            _ => Answer::ok(LEAK),
        };
        let answer = answer.field("Content-Type", "text/plain").field("ETag", "\"a\"");
        answer.field("Cache-Control", "max-age=1, stale-while-revalidate=1000")
    })?;
    let node = before(&origin, "block", "")?;
    assert_eq!(get(&node, "/a")?.text(), "old");
    for fetched in [1.0, 2.0] {
        let stale = get(&node, "/a")?;
        assert_eq!((stale.status, stale.text().as_str()), (200, "old"));
        node.wait_for_metric("rempart_waf_kept_back_fetches_total", fetched)?;
    }
    assert_eq!(get(&node, "/a")?.text(), "old");
    node.wait_for_event(|event| event["event"] == "fetch_kept_back" && event["rule"] == 1021)?;
    finish_with(node, &["fetch_kept_back"])
}

#[test]
fn what_is_stored_stands_in_for_an_error_that_leaks() -> Result<()> {
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().answering(move |_| {
        let answer = match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Answer::ok("old").field("Age", "100").field("Cache-Control", "max-age=1"),
            _ => Answer::new(500).part(LEAK),
        };
        answer.field("Content-Type", "text/plain").field("ETag", "\"a\"")
    })?;
    let node = before(&origin, "block", "")?;
    assert_eq!(get(&node, "/a")?.text(), "old");
    let stale = get(&node, "/a")?;
    assert_eq!((stale.status, stale.text().as_str()), (200, "old"));
    assert!(
        stale.fields.first("cache-status").is_some_and(|said| said.contains("fwd=stale; fwd-status=500"))
    );
    assert_eq!(get(&node, "/b")?.status, 403, "nothing stands in for this one");
    node.finish_healthy()
}

#[test]
fn in_log_mode_it_is_stored_and_written_down_once() -> Result<()> {
    let origin = origin()?;
    let node = before(&origin, "log", "")?;
    assert_eq!(get(&node, "/leak?1")?.text(), LEAK);
    let line = node.wait_for_log(|line| line["query"] == "1")?;
    assert_eq!((line["waf"].as_str(), ids(&line)), (Some("would_refuse"), vec!["1021"]));
    node.wait_until("a hit", || get(&node, "/leak?1").is_ok_and(|again| is_hit(&again)))?;
    let hit = node.wait_for_log(|line| line["cache"] == "hit")?;
    assert_eq!((hit["waf"].as_str(), ids(&hit)), (Some("clean"), vec![]));
    node.finish_healthy()
}

#[test]
fn a_shadow_sees_what_is_fetched() -> Result<()> {
    let origin = origin()?;
    let stricter = "SecRule RESPONSE_BODY \"@contains answer\" \"id:2001,phase:4,deny,log,msg:'Any'\"\n";
    let shadow = "[waf.shadow]\nrules = [\"../waf/own.conf\", \"../waf/stricter.conf\"]\n";
    let node = start(&spec(&origin, "block", "", shadow).file("waf/stricter.conf", stricter))?;
    assert_eq!(get(&node, "/a")?.text(), "answer");
    let line = logged(&node, "/a")?;
    assert_eq!((line["waf"].as_str(), line["waf_shadow"].as_str()), (Some("clean"), Some("would_refuse")));
    node.wait_for_metric("rempart_waf_shadow_differences_total", 1.0)?;
    node.finish_healthy()
}

#[test]
fn what_other_rules_let_into_the_store_is_not_given() -> Result<()> {
    let origin = origin()?;
    let node = before(&origin, "log", "")?;
    assert_eq!(get(&node, "/leak")?.text(), LEAK);
    node.wait_until("a hit", || get(&node, "/leak").is_ok_and(|again| is_hit(&again)))?;
    node.write_zone("a", &toml(&origin, "block", "", ""))?;
    assert!(node.publish()?.status.success());
    assert_eq!(get(&node, "/leak")?.status, 403, "it was stored where nothing is refused");
    node.wait_until("the other page to be stored", || get(&node, "/").is_ok_and(|page| is_hit(&page)))?;
    let more = "SecRule RESPONSE_BODY \"@contains answer\" \"id:2001,phase:4,deny,log,msg:'Any'\"\n";
    node.folder().write("waf/own.conf", format!("{RULES}{more}"))?;
    assert!(node.publish()?.status.success());
    assert_eq!(get(&node, "/")?.status, 403, "the rules are others");
    node.folder().write("waf/own.conf", RULES)?;
    assert!(node.publish()?.status.success());
    assert!(is_hit(&get(&node, "/")?), "these had judged it");
    node.finish_healthy()
}

#[test]
fn what_was_fetched_without_a_look_is_given_to_nobody_who_is_inspected() -> Result<()> {
    let origin = origin()?;
    let skip = "[[rule]]\nname = \"staff\"\nexpression = 'http.cookie contains \"staff=1\"'\n\
                phase = \"http_request_firewall_custom\"\naction = \"skip\"\n\
                skip = { phases = [\"http_response_firewall_managed\"] }\n";
    let node = start(&spec(&origin, "block", "", skip))?;
    let staff = [("Cookie", "staff=1")];
    assert_eq!(with(&node, "/leak", &staff)?.text(), LEAK);
    node.wait_until("a hit of theirs", || with(&node, "/leak", &staff).is_ok_and(|again| is_hit(&again)))?;
    let other = get(&node, "/leak")?;
    assert_eq!((other.status, word(&other).as_str()), (403, "waf_withheld"));
    assert!(is_hit(&with(&node, "/leak", &staff)?), "theirs is still there");
    node.finish_healthy()
}

#[test]
fn slices_are_judged_each_when_it_is_fetched() -> Result<()> {
    const SLICE: u64 = 1 << 20;
    const WHOLE: u64 = 3 * SLICE;
    let origin = OriginSpec::new().answering(|request| {
        let range = request.fields.first("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
            return Answer::new(500);
        };
        let (first, last): (u64, u64) = (first.parse().unwrap_or(0), last.parse().unwrap_or(0));
        let mut text = vec![b'x'; (last - first + 1) as usize];
        if first == SLICE {
            text[..LEAK.len()].copy_from_slice(LEAK.as_bytes());
        }
        Answer::new(206)
            .part(text)
            .field("Content-Type", "text/plain")
            .field("Content-Range", format!("bytes {first}-{last}/{WHOLE}"))
            .field("Cache-Control", FRESH)
            .field("ETag", "\"text\"")
    })?;
    let node = before(&origin, "block", "")?;
    let ranged = |first: u64, last: u64| [("Range".to_owned(), format!("bytes={first}-{last}"))];
    let part = |first: u64, last: u64| -> Result<Response> {
        let [(name, range)] = ranged(first, last);
        with(&node, "/text", &[(&name, &range)])
    };
    assert_eq!(part(5, 9)?.text(), "xxxxx");
    let leak = part(SLICE, SLICE + 9)?;
    assert_eq!((leak.status, word(&leak).as_str()), (403, "waf_withheld"));
    let line = node.wait_for_log(|line| line["status"] == 403)?;
    assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("waf_withheld"), vec!["1021"]));
    assert_eq!(part(2 * SLICE, 2 * SLICE + 3)?.text(), "xxxx");
    // Into the slice that leaks: its answer has begun by then, and is cut off.
    let mut over = visitor(&node)?;
    let border = format!("bytes={}-{}", SLICE - 4, SLICE + 9);
    over.send_head("GET", "/text", HOST, &fields(&[("Range", &border)]))?;
    let head = over.read_head("GET")?.context("a head")?;
    assert_eq!(head.status, 206);
    let mut body = BodyReader::new(head.framing);
    let mut read = Vec::new();
    while let Ok(Some(piece)) = over.body_part(&mut body) {
        read.extend(piece);
    }
    assert_eq!(read, b"xxxx");
    let cut = |line: &serde_json::Value| line["status"] == 206 && line["verdict"] == "waf_withheld";
    assert_eq!(ids(&node.wait_for_log(cut)?), ["1021"]);
    drop(over);
    node.finish_healthy()
}

#[cfg(feature = "fault-injection")]
#[test]
fn an_answer_that_nobody_could_judge_is_not_stored() -> Result<()> {
    let origin = origin()?;
    for (mode, fail, error, fuel) in [
        ("block", "", (500, "proxy_internal_error"), (403, "too_costly")),
        ("block", "[fail_modes]\nwaf = \"open\"\n", (200, "answer"), (403, "too_costly")),
        // A firewall on trial changes nothing, whatever breaks.
        ("log", "", (200, "answer"), (200, "answer")),
    ] {
        let node = start(&spec(&origin, mode, "", fail))?;
        for step in ["waf_answer", "waf_answer_body"] {
            for (kind, expected) in [("error", error), ("panic", error), ("fuel", fuel), ("memory", fuel)] {
                let path = format!("/{step}/{kind}");
                let response = with(&node, &path, &[("Rempart-Fault", &format!("{step}={kind}"))])?;
                let shown = if response.status == 200 { response.text() } else { word(&response) };
                assert_eq!((response.status, shown.as_str()), expected, "{mode} {fail} {step} {kind}");
                let again = get(&node, &path)?;
                assert_eq!((again.text().as_str(), is_hit(&again)), ("answer", mode == "log"), "{path}");
            }
        }
        let counted = node.metric("rempart_contained_total{phase=\"waf\",kind=\"panic\"}")?;
        assert_eq!(counted, Some(2.0));
        finish_with(node, &["panic", "phase_broke"])?;
    }
    Ok(())
}
