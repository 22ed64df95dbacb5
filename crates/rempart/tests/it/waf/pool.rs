//! The threads that inspect large bodies: one that hangs, one that many want, and who waits for whom.

use anyhow::{Context as _, Result};
use testkit::node::{Node, zone_toml};
use testkit::origin::ScriptedOrigin;

use super::{RULES, lines, post};
use crate::rig::{HOST, cleartext, fields, http2_visitor, saying, start, visitor, word, zone};

const OTHER: &str = "b.example";
const FORM: &str = "application/x-www-form-urlencoded";

/// A node of one serving thread, and so of one that inspects, with a zone `a` and a zone `b`.
fn with_one_inspector(origin: &ScriptedOrigin, more: &str) -> Result<Node> {
    let waf = lines("block", "");
    let of_b = format!("{}{waf}", zone_toml("b", &[OTHER], &[&origin.url()]));
    let spec = cleartext().node_section(&format!("threads = 1\n{more}"));
    start(&spec.file("waf/own.conf", RULES).zone("a", zone(origin, &waf)).zone("b", of_b))
}

#[test]
fn a_thread_that_inspects_and_hangs_is_named_and_another_inspects_meanwhile() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_one_inspector(&origin, "spare = true\ndrain_ms = 500")?;
    node.wait_for_event(|event| event["event"] == "spare_ready")?;
    let body = [b"a=".as_slice(), &[b'x'; 20_000]].concat();
    let mut stuck = visitor(&node)?;
    let length = body.len().to_string();
    let head = [("Content-Type", FORM), ("Rempart-Fault", "waf_pool=hang"), ("Content-Length", &length)];
    stuck.send_head("POST", "/hang", HOST, &fields(&head))?;
    stuck.send(&body)?;
    let told = node.wait_for_event(|event| event["event"] == "thread_stuck")?;
    let named = (told["duty"].as_str(), told["zone"].as_str(), told["phase"].as_str());
    assert_eq!(named, (Some("inspecting"), Some("a"), Some("waf")), "{told}");
    assert_eq!(told["fingerprint"].as_str().map(str::len), Some(16), "{told}");
    for host in [HOST, OTHER] {
        let sent = fields(&[("Content-Type", FORM)]);
        assert_eq!(visitor(&node)?.ask("POST", "/", host, &sent, &body)?.text(), "answer");
    }
    // What becomes of a thread that serves and is lost: the process is replaced.
    node.wait_for_event(|event| event["event"] == "thread_lost" && event["duty"] == "inspecting")?;
    node.wait_for_event(|event| event["event"] == "edge_stuck")?;
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == 1)?;
    assert_eq!(post(&node, "/", FORM, &body)?.text(), "answer");
    Ok(())
}

#[test]
fn a_thread_that_inspects_for_long_and_comes_back_needs_no_stand_in_any_more() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_one_inspector(&origin, "spare = false")?;
    let body = [b"a=".as_slice(), &[b'x'; 20_000]].concat();
    let sent = [("Content-Type", FORM), ("Rempart-Fault", "waf_pool=slow:1000000000")];
    // Some 300 ms of one core, in one slice. On a busy machine it may be late before it is back.
    let slow = visitor(&node)?.ask("POST", "/", HOST, &fields(&sent), &body)?;
    assert!([200, 503].contains(&slow.status), "{}", slow.status);
    node.wait_for_event(|event| event["event"] == "thread_stuck" && event["duty"] == "inspecting")?;
    node.wait_for_event(|event| event["event"] == "thread_recovered" && event["duty"] == "inspecting")?;
    node.wait_for_metric("rempart_stuck_threads_total", 1.0)?;
    assert_eq!(post(&node, "/", FORM, &body)?.text(), "answer");
    Ok(())
}

#[test]
fn a_zone_that_fills_the_room_for_bodies_gives_room_up_to_another() -> Result<()> {
    const ROOM: usize = 256;
    let origin = saying("answer")?;
    let node = with_one_inspector(&origin, "spare = false")?;
    let body = [b"a=".as_slice(), &[b'x'; 10_000]].concat();
    let shared = [http2_visitor(&node)?, http2_visitor(&node)?, http2_visitor(&node)?];
    let post = |at: usize, host: &str, fault: &str| -> Result<_> {
        let head = [("content-type", FORM), ("rempart-fault", fault)];
        let visitor = shared.get(at / 100).context("a connection")?;
        let mut stream = visitor.open("POST", "/", host, &fields(&head), false)?;
        stream.send(body.clone())?;
        stream.finish()?;
        Ok(stream)
    };
    // The only thread that inspects sleeps for longer than the test takes: from here on nothing moves.
    let mut held = vec![post(0, HOST, "waf_pool=sleep:120000")?];
    node.wait_for_metric("rempart_waf_off_thread_total", 1.0)?;
    node.wait_for_metric("rempart_waf_waiting_bodies", 0.0)?;
    for number in 1..ROOM {
        held.push(post(number, HOST, "")?);
    }
    // Streams of several connections come in any order; the last of all is the youngest.
    node.wait_for_metric("rempart_waf_waiting_bodies", (ROOM - 1) as f64)?;
    held.push(post(ROOM, HOST, "")?);
    node.wait_for_metric("rempart_waf_waiting_bodies", ROOM as f64)?;
    let refused = post(1 + ROOM, HOST, "")?.read_response()?;
    assert_eq!((refused.status, word(&refused).as_str()), (503, "overload"), "a zone's own flood is its own");
    node.wait_for_metric("rempart_waf_not_inspected_total{why=\"full\"}", 1.0)?;
    held.push(post(2 + ROOM, OTHER, "")?);
    let given_up = held.get_mut(ROOM).context("the youngest")?.read_response()?;
    assert_eq!((given_up.status, word(&given_up).as_str()), (503, "overload"));
    node.wait_for_metric("rempart_waf_not_inspected_total{why=\"gave_up\"}", 1.0)?;
    assert_eq!(node.metric("rempart_waf_waiting_bodies")?, Some(ROOM as f64));
    let page = node.admin("/metrics/zones")?.text();
    assert!(!page.contains("rempart_zone_bodies_not_inspected_total{zone=\"a\"} 0"), "{page}");
    assert!(page.contains("rempart_zone_bodies_not_inspected_total{zone=\"b\"} 0"), "{page}");
    // The node is killed with its test: a thread that sleeps does not drain.
    Ok(())
}

#[test]
fn a_body_of_another_zone_does_not_wait_for_a_flood() -> Result<()> {
    const FLOOD: usize = 60;
    let origin = saying("answer")?;
    let node = with_one_inspector(&origin, "spare = false")?;
    let body = [b"a=".as_slice(), &[b'x'; 10_000]].concat();
    let shared = http2_visitor(&node)?;
    let post = |host: &str, target: &str, fault: &str| -> Result<_> {
        let head = [("content-type", FORM), ("rempart-fault", fault)];
        let mut stream = shared.open("POST", target, host, &fields(&head), false)?;
        stream.send(body.clone())?;
        stream.finish()?;
        Ok(stream)
    };
    // Each holds the thread for 10 ms or more, so that nearly all of them wait when the other zone's comes.
    let mut flood: Vec<_> =
        (0..FLOOD).map(|_| post(HOST, "/flood", "waf_pool=slow:40000000")).collect::<Result<_>>()?;
    node.wait_until("most of the flood waits", || {
        node.metric("rempart_waf_waiting_bodies").is_ok_and(|waiting| waiting >= Some(FLOOD as f64 / 2.0))
    })?;
    assert_eq!(post(OTHER, "/other", "")?.read_response()?.text(), "answer");
    let before = origin.requests().iter().filter(|request| request.target == "/flood").count();
    assert!(before < FLOOD, "it came after all {before} of the flood");
    for stream in &mut flood {
        // Served in its turn; on a busy machine some of it may be late.
        let status = stream.read_response()?.status;
        assert!([200, 503].contains(&status), "{status}");
    }
    node.wait_for_metric("rempart_waf_waiting_bodies", 0.0)?;
    assert_eq!(node.metric("rempart_waf_not_inspected_total{why=\"gave_up\"}")?, Some(0.0));
    node.finish_healthy()
}

#[test]
fn small_bodies_that_end_all_at_once_are_not_all_inspected_where_others_are_served() -> Result<()> {
    const BODIES: usize = 100;
    let origin = saying("answer")?;
    // Each hashes 800 values after other transformations than the others do: 2 ms a body, in ten slices.
    let transformations =
        ["t:md5,", "t:lowercase,", "t:removeNulls,", "t:compressWhitespace,", "t:urlDecodeUni,"];
    let costly: String = (0..32)
        .map(|n| {
            let chosen = transformations.iter().enumerate().filter(|(at, _)| n >> at & 1 == 1);
            let chosen: String = chosen.map(|(_, name)| *name).collect();
            let id = 7_000 + n;
            format!(
                "SecRule ARGS \"@rx ^z{{3}}\" \"id:{id},phase:2,pass,nolog,{chosen}t:sha1,t:hexEncode\"\n"
            )
        })
        .collect();
    let spec = cleartext().node_section("threads = 1\nspare = false");
    let node = start(
        &spec
            .file("waf/own.conf", format!("{RULES}\n{costly}"))
            .zone("a", zone(&origin, &lines("block", ""))),
    )?;
    let body = [b"a=".as_slice(), &b"abc1&a=".repeat(800), b"11"].concat();
    let shared = http2_visitor(&node)?;
    let length = body.len().to_string();
    let mut streams = Vec::new();
    for _ in 0..BODIES {
        let head = fields(&[("content-type", FORM), ("content-length", &length)]);
        let mut stream = shared.open("POST", "/", HOST, &head, false)?;
        stream.send(body[..body.len() - 1].to_vec())?;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.send(b"1".to_vec())?;
        stream.finish()?;
    }
    for stream in &mut streams {
        assert_eq!(stream.read_response()?.text(), "answer");
    }
    let elsewhere = node.metric("rempart_waf_off_thread_total")?.unwrap_or_default();
    assert!(elsewhere >= 1.0, "{elsewhere}");
    node.finish_healthy()
}

#[test]
fn threads_that_inspect_and_code_give_way_to_those_that_serve() -> Result<()> {
    let origin = saying("answer")?;
    let node = with_one_inspector(&origin, "spare = false")?;
    assert_eq!(visitor(&node)?.fetch(HOST, "/")?.status, 200);
    let told = node.command(&["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_slice(&told.stdout)?;
    let pid = status["edge_pid"].as_u64().context("a process id")?;
    let mut nice: Vec<(String, i64)> = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = std::fs::read_to_string(task?.path().join("stat"))?;
        // proc_pid_stat(5): the name is in parentheses; niceness is the 19th field, so the 17th behind it.
        let (name, rest) =
            stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')')).context("a name")?;
        nice.push((name.to_owned(), rest.split_ascii_whitespace().nth(16).context("a number")?.parse()?));
    }
    let of = |begin: &str| -> Vec<i64> {
        nice.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, nice)| *nice).collect()
    };
    let own = of("edge-0");
    assert_eq!(own.len(), 1, "{nice:?}");
    for begin in ["inspect-", "code-"] {
        assert_eq!(of(begin), [(own[0] + 10).min(19)], "{nice:?}");
    }
    node.finish_healthy()
}
