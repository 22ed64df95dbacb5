//! Zones: which one a request belongs to, what its routes say, and how changes come into force.
//!
//! Publishing as the binary's own work is in [`super::process`]. Read next: [`super::seeing`].

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, Result};
use testkit::folder::Folder;
use testkit::node::{Node, zone_toml};
use testkit::origin::{Answer, OriginSpec};
use testkit::visitor::{Response, WebSocket};

use super::rig::{
    HOST, Served, before, cleartext, fetch, fields, http2_visitor, node_file, resident_bytes, saying, start,
    visitor, with_zone, word, zone, zone_with,
};

fn output(node: &Node, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = node.command(arguments)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn the_most_exact_hostname_wins() -> Result<()> {
    let answering = |name: &str, hostnames: &str| {
        format!("name = \"{name}\"\nhostnames = [{hostnames}]\n[[route]]\nanswer = {{ body = \"{name}\" }}\n")
    };
    let spec = cleartext()
        .zone("exact", answering("exact", "\"a.example\", \"x.b.a.example\""))
        .zone("wild", answering("wild", "\"*.a.example\""))
        .zone("longer", answering("longer", "\"*.b.a.example\""));
    let node = start(&spec)?;
    for (host, zone) in [
        ("a.example", "exact"),
        ("A.EXAMPLE", "exact"),
        ("a.example:8080", "exact"),
        ("a.example.", "exact"),
        ("y.a.example", "wild"),
        ("z.y.a.example", "wild"),
        ("b.a.example", "wild"),
        ("y.b.a.example", "longer"),
        ("x.b.a.example", "exact"),
    ] {
        assert_eq!(fetch(&node, host, "/")?.text(), zone, "{host}");
    }
    for host in ["example", "b.example", "aa.example", "127.0.0.1"] {
        let refused = fetch(&node, host, "/")?;
        assert_eq!((refused.status, word(&refused).as_str()), (421, "no_zone"), "{host}");
    }
    let over_http2 = http2_visitor(&node)?.fetch("b.example", "/")?;
    assert_eq!(over_http2.status, 421);
    let line = node.wait_for_log(|line| line["host"] == "b.example")?;
    assert!(line["zone"].is_null() && line["verdict"] == "no_zone", "{line}");
    node.finish_healthy()
}

#[test]
fn a_catch_all_zone_takes_what_no_other_has() -> Result<()> {
    let (own, rest) = (saying("own")?, saying("rest")?);
    let spec = cleartext().zone("a", zone(&own, "")).zone("rest", zone_toml("rest", &["*"], &[&rest.url()]));
    let node = start(&spec)?;
    assert_eq!(fetch(&node, HOST, "/")?.text(), "own");
    assert_eq!(fetch(&node, "whatever.example", "/")?.text(), "rest");
    assert_eq!(fetch(&node, "192.0.2.1:81", "/")?.text(), "rest");
    let mut old = visitor(&node)?;
    old.send("GET / HTTP/1.0\r\n\r\n")?;
    assert_eq!(old.expect_response("GET")?.text(), "rest", "HTTP/1.0 needs no Host");
    drop(old);
    node.finish_healthy()
}

#[test]
fn routes_choose_by_path_prefix_method_and_header_and_the_first_match_wins() -> Result<()> {
    let target = |name: &'static str| {
        OriginSpec::new().answering(move |request| Answer::ok(format!("{name} {}", request.target)))
    };
    let (main, api) = (target("main")?, target("api")?);
    let toml = format!(
        r#"
name = "a"
hostnames = ["{HOST}"]

[[pool]]
name = "main"
origins = [{{ url = "{}" }}]

[[pool]]
name = "api"
origins = [{{ url = "{}" }}]

[[route]]
path = "/exact"
answer = {{ status = 418, body = "teapot", content_type = "text/x-tea" }}

[[route]]
path_prefix = "/old/"
redirect = {{ location = "$scheme://$host/new$path$query", status = 301 }}

[[route]]
path_prefix = "/strip"
strip_prefix = true
pool = "api"

[[route]]
path_prefix = "/api/"
method = ["GET", "HEAD"]
pool = "api"

[[route]]
path_prefix = "/api/"
header = [{{ name = "x-key", equals = "open" }}]
pool = "api"

[[route]]
method = "DELETE"
answer = {{ status = 403, body = "no" }}
"#,
        main.url(),
        api.url()
    );
    let node = with_zone(&toml)?;
    let ask = |method: &str, target: &str, sent: &[(&str, &str)]| -> Result<Response> {
        visitor(&node)?.ask(method, target, HOST, &fields(sent), b"")
    };
    let tea = ask("GET", "/exact?x", &[])?;
    assert_eq!((tea.status, tea.text().as_str()), (418, "teapot"));
    assert_eq!(tea.fields.first("content-type"), Some("text/x-tea"));
    assert_eq!(ask("GET", "/exact/more", &[])?.text(), "main /exact/more");
    let moved = ask("GET", "/old/p?q=1", &[])?;
    let location = moved.fields.first("location");
    assert_eq!((moved.status, location), (301, Some("http://a.example/new/old/p?q=1")));
    for (method, path, sent, body) in [
        ("GET", "/strip/x?y", &[][..], "api /x?y"),
        ("GET", "/strip", &[], "api /"),
        ("GET", "/strip?y", &[], "api /?y"),
        ("GET", "/stripped", &[], "main /stripped"),
        ("GET", "/api/x", &[], "api /api/x"),
        ("GET", "/api", &[], "main /api"),
        ("POST", "/api/x", &[], "main /api/x"),
        ("POST", "/api/x", &[("X-KEY", "open")], "api /api/x"),
        ("POST", "/api/x", &[("X-Key", "shut")], "main /api/x"),
    ] {
        assert_eq!(ask(method, path, sent)?.text(), body, "{method} {path} {sent:?}");
    }
    assert_eq!(ask("DELETE", "/", &[])?.status, 403);
    assert_eq!(ask("HEAD", "/exact", &[])?.fields.first("content-length"), Some("6"));
    node.finish_healthy()
}

#[test]
fn dot_segments_and_escapes_do_not_slip_past_a_route() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| Answer::ok(request.target.clone()))?;
    let closed = "\n[[route]]\npath_prefix = \"/admin\"\nanswer = { status = 403, body = \"closed\" }\n";
    let node = with_zone(&zone(&origin, closed))?;
    assert_eq!(fetch(&node, HOST, "/admin/x")?.status, 403);
    // What is not the prefix as sent is passed on exactly as sent: the origin sees what the route saw.
    for target in ["/x/../admin", "/%61dmin", "//admin", "/x/%2e%2e/admin"] {
        let response = fetch(&node, HOST, target)?;
        assert!(response.status == 403 || response.text() == target, "{target}: {}", response.text());
    }
    node.finish_healthy()
}

#[test]
fn zones_inherit_the_defaults_of_the_node_and_may_differ() -> Result<()> {
    let origin = saying("ok")?;
    let spec = cleartext()
        .more("[zone_defaults]\nserver_timing = true\n[zone_defaults.http]\nmax_body_bytes = 4")
        .zone("a", zone(&origin, ""))
        .zone("b", zone_toml("b", &["b.example"], &[&origin.url()]) + "\n[http]\nmax_body_bytes = 100\n");
    let node = start(&spec)?;
    assert!(fetch(&node, HOST, "/")?.fields.has("server-timing"));
    for (host, status) in [(HOST, 413), ("b.example", 200)] {
        assert_eq!(visitor(&node)?.ask("POST", "/", host, &fields(&[]), b"five5")?.status, status, "{host}");
    }
    node.finish_healthy()
}

#[test]
fn bodies_beyond_the_zones_limit_are_413_with_or_without_a_length() -> Result<()> {
    let origin = saying("ok")?;
    let node = with_zone(&zone(&origin, "\n[http]\nmax_body_bytes = 10"))?;
    assert_eq!(visitor(&node)?.ask("POST", "/", HOST, &fields(&[]), b"ten bytes!")?.status, 200);
    let mut declared = visitor(&node)?;
    declared.send_head("POST", "/", HOST, &fields(&[("Content-Length", "11")]))?;
    let refused = declared.expect_response("POST")?;
    assert_eq!((refused.status, word(&refused).as_str()), (413, "body_too_large"));
    let mut chunked = visitor(&node)?;
    chunked.send_head("POST", "/", HOST, &fields(&[("Transfer-Encoding", "chunked")]))?;
    chunked.send_chunk(b"six by")?;
    chunked.send_chunk(b"and six")?;
    assert_eq!(chunked.expect_response("POST")?.status, 413);
    assert!(origin.requests().iter().filter(|request| request.is_complete).count() == 1);
    drop((declared, chunked));
    node.finish_healthy()
}

#[test]
fn pages_come_in_the_form_that_accept_names() -> Result<()> {
    let node = with_zone(&zone_with("", &["http://127.0.0.1:1"], ""))?;
    for (accept, kind, mark) in [
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8", "<!doctype html>"),
        ("application/json", "application/json", "\"error\":\"connection_refused\""),
        ("*/*", "text/plain; charset=utf-8", "502 connection_refused"),
    ] {
        let response = visitor(&node)?.ask("GET", "/", HOST, &fields(&[("Accept", accept)]), b"")?;
        assert_eq!((response.status, response.fields.first("content-type")), (502, Some(kind)));
        let id = response.fields.first("x-request-id").context("X-Request-Id")?.to_owned();
        let text = response.text();
        assert!(text.contains(mark) && text.contains(&id) && text.contains("origin"), "{text}");
    }
    Ok(())
}

#[test]
fn a_zone_may_have_pages_of_its_own() -> Result<()> {
    let page = "<h1>Sorry</h1> {{status}} {{fault}} {{request_id}}";
    let lines = "\n[[error_page]]\nstatus = [502, \"503-504\"]\nfile = \"../sorry.html\"\n";
    let spec = cleartext().file("sorry.html", page).zone("a", zone_with("", &["http://127.0.0.1:1"], lines));
    let node = start(&spec)?;
    let response = fetch(&node, HOST, "/")?;
    let id = response.fields.first("x-request-id").context("X-Request-Id")?.to_owned();
    assert_eq!(response.text(), format!("<h1>Sorry</h1> 502 connection_refused {id}"));
    assert_eq!(response.fields.first("content-type"), Some("text/html; charset=utf-8"));
    Ok(())
}

#[test]
fn an_origins_own_error_page_is_left_alone() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::new(502).part("theirs"))?;
    let lines = "\n[[error_page]]\nstatus = 502\nfile = \"../sorry.html\"\n";
    let node = start(&cleartext().file("sorry.html", "ours").zone("a", zone(&origin, lines)))?;
    let response = fetch(&node, HOST, "/")?;
    assert_eq!((response.status, response.text().as_str()), (502, "theirs"));
    Ok(())
}

#[test]
fn zones_come_and_go_by_signal_and_by_command() -> Result<()> {
    let (first, second) = (saying("first")?, saying("second")?);
    let node = before(&first)?;
    assert_eq!(fetch(&node, "b.example", "/")?.status, 421);
    node.write_zone("b", &zone_toml("b", &["b.example"], &[&second.url()]))?;
    node.reload()?;
    node.wait_for_event(|event| event["event"] == "published")?;
    assert_eq!(fetch(&node, "b.example", "/")?.text(), "second");
    fs::remove_file(node.folder().path().join("zones/b.toml"))?;
    let (code, out, _) = output(&node, &["publish"])?;
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(fetch(&node, "b.example", "/")?.status, 421);
    assert_eq!(fetch(&node, HOST, "/")?.text(), "first");
    node.wait_for_metric("rempart_snapshot_number", 3.0)?;
    node.finish_healthy()
}

#[test]
fn every_problem_is_told_at_once_with_its_place_and_a_suggestion() -> Result<()> {
    let origin = saying("serves on")?;
    let node = before(&origin)?;
    let bad = "name = \"a\"\nhostnames = [\"a.example\"]\ncolor = 1\n\n[[pool]]\nname = \"app\"\n\
               origin = [{ url = \"http://127.0.0.1:1\" }]\n\n[[route]]\npool = \"ap\"\n";
    node.write_zone("a", bad)?;
    node.write_zone("b", "name = \"b\"\nhostnames = [\"a.example\", \"b example\"]\n")?;
    let (code, _, problems) = output(&node, &["publish"])?;
    assert_eq!(code, Some(1));
    for wanted in
        ["a.toml:3:1", "a.toml:7:1", "did you mean `origins`?", "a.toml:10:8", "b.toml:2:", "\"app\""]
    {
        assert!(problems.contains(wanted), "{wanted} is missing:\n{problems}");
    }
    let (code, _, checked) = output(&node, &["check"])?;
    assert_eq!(code, Some(1));
    for line in problems.lines().filter(|line| line.contains(".toml:")) {
        assert!(checked.contains(line), "check does not say: {line}\n{checked}");
    }
    assert_eq!(fetch(&node, HOST, "/")?.text(), "serves on");
    node.wait_for_metric("rempart_reloads_total{result=\"failed\"}", 1.0)?;
    Ok(())
}

#[test]
fn a_bad_change_on_sighup_is_told_as_an_event_and_the_old_one_serves_on() -> Result<()> {
    let origin = saying("serves on")?;
    let node = before(&origin)?;
    node.write_zone("a", "name = \"a\"\n")?;
    node.reload()?;
    let event = node.wait_for_event(|event| event["event"] == "publish_refused")?;
    assert_ne!(event["level"], "info", "{event}");
    assert!(event.to_string().contains("a.toml"), "{event}");
    assert_eq!(fetch(&node, HOST, "/")?.text(), "serves on");
    Ok(())
}

#[test]
fn a_node_started_with_broken_files_serves_its_last_good_generation() -> Result<()> {
    let origin = saying("last good")?;
    let folder = Folder::new()?;
    folder.write("rempart.toml", node_file("", ""))?;
    folder.write("zones/a.toml", zone(&origin, ""))?;
    let ask = |served: &Served| -> Result<String> { Ok(served.visitor()?.fetch(HOST, "/")?.text()) };
    let served = Served::start(&folder)?;
    assert_eq!(ask(&served)?, "last good");
    served.finish()?;
    folder.write("zones/a.toml", "name = ")?;
    let served = Served::start(&folder)?;
    assert_eq!(ask(&served)?, "last good");
    assert!(served.said("started_from_kept_generation"), "nothing tells the operator");
    served.finish()?;
    // Mended files are served again.
    folder.write("zones/a.toml", zone(&origin, "timeouts = { idle_ms = 1000 }"))?;
    let served = Served::start(&folder)?;
    assert_eq!(ask(&served)?, "last good");
    assert!(!served.said("started_from_kept_generation"));
    served.finish()
}

#[test]
fn a_kept_generation_that_was_damaged_on_disk_is_passed_over() -> Result<()> {
    let origin = saying("still")?;
    let folder = Folder::new()?;
    folder.write("rempart.toml", node_file("", ""))?;
    folder.write("zones/a.toml", zone(&origin, ""))?;
    Served::start(&folder)?.finish()?;
    folder.write("zones/a.toml", zone(&origin, "timeouts = { idle_ms = 1000 }"))?;
    Served::start(&folder)?.finish()?;
    let kept = folder.path().join("data/generations");
    let mut files = fs::read_dir(&kept)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    assert_eq!(files.len(), 2, "{files:?}");
    let newest = files.last().context("a generation")?;
    let mut bytes = fs::read(newest)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, bytes)?;
    folder.write("zones/a.toml", "name = ")?;
    let served = Served::start(&folder)?;
    assert_eq!(served.visitor()?.fetch(HOST, "/")?.text(), "still");
    served.finish()
}

#[test]
fn settings_that_are_not_there_yet_are_clear_errors() -> Result<()> {
    let origin = saying("serves on")?;
    let node = before(&origin)?;
    for (lines, word) in [
        ("\n[tls]\nautomatic = true\n", "acme"),
        (
            "\n[[rule]]\nphase = \"http_ratelimit\"\nexpression = \"ssl\"\naction = \"block\"\n",
            "write a [[rate_limit]]",
        ),
    ] {
        node.write_zone("a", &zone(&origin, lines))?;
        let (code, _, problems) = output(&node, &["check"])?;
        assert_eq!(code, Some(1), "{lines}");
        assert!(problems.to_lowercase().contains(word), "{problems}");
    }
    Ok(())
}

#[test]
fn open_websockets_survive_any_change_of_any_zone() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::websocket())?;
    let spec =
        cleartext().zone("a", zone(&origin, "")).zone("b", zone_toml("b", &["b.example"], &[&origin.url()]));
    let node = start(&spec)?;
    let over_http2 = http2_visitor(&node)?;
    let mut sockets = Vec::new();
    for host in [HOST, "b.example"] {
        for _ in 0..10 {
            sockets.push(WebSocket::open(visitor(&node)?, host, "/ws", &fields(&[]))?);
        }
        sockets.push(WebSocket::open_http2(&over_http2, host, "/ws", &fields(&[]))?);
    }
    for round in 0..10 {
        // Zone a changes in its settings each time; b goes away and comes back.
        node.write_zone("a", &zone(&origin, &format!("timeouts = {{ first_byte_ms = {} }}", 1000 + round)))?;
        if round % 2 == 0 {
            fs::remove_file(node.folder().path().join("zones/b.toml"))?;
        } else {
            node.write_zone("b", &zone_toml("b", &["b.example"], &[&origin.url()]))?;
        }
        let (code, _, problems) = output(&node, &["publish"])?;
        assert_eq!(code, Some(0), "{problems}");
        for socket in &mut sockets {
            assert_eq!(socket.exchange("still here")?.text(), "still here");
        }
    }
    for socket in sockets {
        socket.close(1000, "")?;
    }
    drop(over_http2);
    node.finish_healthy()
}

#[test]
fn no_request_fails_while_zones_change() -> Result<()> {
    let origin = OriginSpec::new().unrecorded().answering(|request| Answer::ok(request.target.clone()))?;
    let node = before(&origin)?;
    let is_over = AtomicBool::new(false);
    let load = |is_http2: bool| -> Result<usize> {
        let mut asked = 0;
        let mut one = visitor(&node)?;
        let other = http2_visitor(&node)?;
        while !is_over.load(Ordering::Acquire) {
            let target = format!("/{asked}");
            let response = if is_http2 { other.fetch(HOST, &target) } else { one.fetch(HOST, &target) }?;
            anyhow::ensure!((response.status, response.text()) == (200, target), "{}", response.text());
            asked += 1;
        }
        Ok(asked)
    };
    let asked = thread::scope(|scope| -> Result<usize> {
        let loads: Vec<_> = [false, false, true, true].map(|http2| scope.spawn(move || load(http2))).into();
        for round in 0..30 {
            let lines = format!("timeouts = {{ first_byte_ms = {} }}", 10_000 + round);
            node.write_zone("a", &zone(&origin, &lines))?;
            let (code, _, problems) = output(&node, &["publish"])?;
            anyhow::ensure!(code == Some(0), "{problems}");
        }
        is_over.store(true, Ordering::Release);
        let mut asked = 0;
        for load in loads {
            asked += load.join().map_err(|_| anyhow::anyhow!("a visitor panicked"))??;
        }
        Ok(asked)
    })?;
    assert!(asked >= 100, "{asked} requests only");
    assert_eq!(node.metric("rempart_faults_total")?, Some(0.0));
    node.finish_healthy()
}

#[test]
fn a_thousand_websockets_cost_no_memory_at_each_change() -> Result<()> {
    let origin = OriginSpec::new().unrecorded().answering(|_| Answer::websocket())?;
    let node = before(&origin)?;
    let mut sockets = Vec::new();
    for _ in 0..250 {
        sockets.push(WebSocket::open(visitor(&node)?, HOST, "/ws", &fields(&[]))?);
    }
    let over_http2: Vec<_> = (0..15).map(|_| http2_visitor(&node)).collect::<Result<_>>()?;
    for visitor in &over_http2 {
        for _ in 0..50 {
            sockets.push(WebSocket::open_http2(visitor, HOST, "/ws", &fields(&[]))?);
        }
    }
    assert_eq!(sockets.len(), 1000);
    let mut resident = Vec::new();
    for round in 0..20 {
        let lines = format!("timeouts = {{ first_byte_ms = {} }}", 10_000 + round);
        node.write_zone("a", &zone(&origin, &lines))?;
        assert_eq!(output(&node, &["publish"])?.0, Some(0));
        resident.push(resident_bytes(&node)?);
    }
    for socket in &mut sockets {
        assert_eq!(socket.exchange("still here")?.text(), "still here");
    }
    let (early, late) = (resident[4], resident[19]);
    assert!(late - early < 4e6, "{resident:?}");
    Ok(())
}

#[test]
fn an_answer_under_way_is_not_touched_by_a_change() -> Result<()> {
    let gate = testkit::gate::Gate::new();
    let script = gate.clone();
    let origin = OriginSpec::new()
        .answering(move |_| Answer::new(200).chunked().part("before ").wait(&script).part("after"))?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    visitor.send_head("GET", "/", HOST, &fields(&[]))?;
    let head = visitor.read_head("GET")?.context("a head")?;
    let mut body = testkit::message::BodyReader::new(head.framing);
    assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"before "[..]));
    // The zone and its pool are gone; the answer is not.
    node.write_zone("a", &zone_toml("other", &["other.example"], &["http://127.0.0.1:1"]))?;
    assert_eq!(output(&node, &["publish"])?.0, Some(0));
    gate.open();
    assert_eq!(visitor.body_part(&mut body)?.as_deref(), Some(&b"after"[..]));
    assert_eq!(visitor.body_part(&mut body)?, None);
    assert_eq!(visitor.fetch(HOST, "/")?.status, 421, "the next request sees the change");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn ten_thousand_zones_are_served_and_published() -> Result<()> {
    let origin = saying("one of many")?;
    let mut spec = cleartext();
    for number in 0..10_000 {
        let name = format!("z{number}");
        spec = spec.zone(&name, zone_toml(&name, &[&format!("{name}.example")], &[&origin.url()]));
    }
    let node = start(&spec)?;
    for number in [0, 1, 4_999, 9_999] {
        assert_eq!(fetch(&node, &format!("z{number}.example"), "/")?.text(), "one of many");
    }
    assert_eq!(fetch(&node, "z10000.example", "/")?.status, 421);
    node.write_zone("z5", &zone_toml("z5", &["new.example"], &[&origin.url()]))?;
    let (code, out, problems) = output(&node, &["publish"])?;
    assert_eq!(code, Some(0), "{problems}");
    assert!(out.contains("10000 zones"), "{out}");
    assert_eq!(fetch(&node, "new.example", "/")?.text(), "one of many");
    node.finish_healthy()
}
