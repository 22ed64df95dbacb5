//! What an operator sees: log, metrics, health, trails, commands.
//!
//! Read next: [`super::drain`].

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use testkit::fields::Fields;
use testkit::folder::Folder;
use testkit::node::{Node, zone_toml};
use testkit::origin::{Answer, OriginSpec};
use testkit::visitor::Visitor;

use super::rig::{
    HOST, Served, before, cleartext, fetch, fields, http2_visitor, node_file, saying, start, visitor,
    with_zone, zone, zone_with,
};

/// The log's fields: a public interface (add, never rename).
const FIELDS: [&str; 34] = [
    "schema",
    "time",
    "node",
    "request_id",
    "connection_id",
    "snapshot",
    "account",
    "zone",
    "visitor_ip",
    "visitor_port",
    "country",
    "protocol",
    "tls",
    "sni",
    "ja4",
    "method",
    "host",
    "path",
    "query",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_us",
    "ttfb_us",
    "origin",
    "origin_us",
    "retries",
    "cache",
    "cache_age",
    "fault",
    "verdict",
    "rules",
    "score",
    "user_agent",
];

#[test]
fn the_access_log_says_all_of_an_exchange() -> Result<()> {
    let origin = saying("twelve bytes")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let port = visitor.stream().local_address().context("an address")?.port();
    let sent = [("User-Agent", "tester \"quoted\""), ("Referer", "http://b.example/x")];
    let response = visitor.ask("POST", "/p%20q?a=1&b", HOST, &fields(&sent), b"seven b")?;
    let line = node.wait_for_log(|line| line["method"] == "POST")?;
    for field in FIELDS.iter().chain(&["referer"]) {
        assert!(line.get(field).is_some(), "{field} is missing in {line}");
    }
    for (field, value) in [
        ("node", "rempart"),
        ("zone", "a"),
        ("visitor_ip", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("host", HOST),
        ("path", "/p%20q"),
        ("query", "a=1&b"),
        ("verdict", "pass"),
        ("user_agent", "tester \"quoted\""),
        ("referer", "http://b.example/x"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    for (field, value) in
        [("status", 200), ("bytes_in", 7), ("bytes_out", 12), ("retries", 0), ("snapshot", 1), ("schema", 1)]
    {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(line["visitor_port"], port);
    assert_eq!(line["origin"], origin.url());
    assert_eq!(Some(line["request_id"].as_str().unwrap_or_default()), response.fields.first("x-request-id"));
    let us = |field: &str| line[field].as_u64().with_context(|| format!("{field} in {line}"));
    assert!(us("origin_us")? <= us("ttfb_us")? && us("ttfb_us")? <= us("duration_us")?);
    for field in ["fault", "tls", "sni", "ja4", "cache", "country", "account", "score"] {
        assert!(line[field].is_null(), "{field} in {line}");
    }
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn each_exchange_has_exactly_one_line() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let mut one = visitor(&node)?;
    let other = http2_visitor(&node)?;
    for number in 0..50 {
        one.fetch(HOST, &format!("/1/{number}"))?;
        other.fetch(HOST, &format!("/2/{number}"))?;
    }
    drop((one, other));
    for protocol in [1, 2] {
        node.wait_for_log(|line| line["path"] == format!("/{protocol}/49"))?;
    }
    let lines = node.log_lines()?;
    let paths: BTreeSet<_> = lines.iter().map(|line| line["path"].to_string()).collect();
    let ids: BTreeSet<_> = lines.iter().map(|line| line["request_id"].to_string()).collect();
    assert_eq!((lines.len(), paths.len(), ids.len()), (100, 100, 100));
    let of = |protocol: &str| -> BTreeSet<String> {
        let own = lines.iter().filter(|line| line["protocol"] == protocol);
        own.map(|line| line["connection_id"].to_string()).collect()
    };
    assert_eq!((of("HTTP/1.1").len(), of("HTTP/2").len()), (1, 1));
    node.finish_healthy()
}

#[test]
fn hostile_bytes_in_a_request_make_one_valid_line() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let mut visitor = visitor(&node)?;
    let agent = format!("\\\"}},\"status\":1\u{ff}\u{80}\t{}", "x".repeat(9000));
    visitor.ask("GET", "/%00%22'?%ff'", HOST, &fields(&[("User-Agent", &agent)]), b"")?;
    let line = node.wait_for_log(|_| true)?;
    assert_eq!((&line["status"], &line["path"]), (&200.into(), &"/%00%22'".into()));
    assert_eq!(node.log_lines()?.len(), 1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn queries_can_be_left_out_and_addresses_cut() -> Result<()> {
    let origin = saying("a")?;
    let folder = Folder::new()?;
    folder.write("zones/a.toml", zone(&origin, ""))?;
    let listener = "proxy_protocol = true\ntrusted = [\"127.0.0.1\"]\n";
    folder.write("rempart.toml", node_file(listener, "redact_query = true\ntruncate_addresses = true\n"))?;
    let mut served = Served::start(&folder)?;
    let mut visitor = served.visitor()?;
    visitor.send("PROXY TCP4 192.0.2.77 10.0.0.1 4711 80\r\n")?;
    assert_eq!(visitor.fetch(HOST, "/p?secret=1")?.status, 200);
    let line: serde_json::Value = serde_json::from_str(&served.next_output()?)?;
    assert_eq!((&line["query"], &line["visitor_ip"]), (&"redacted".into(), &"192.0.2.0".into()));
    drop(visitor);
    served.finish()
}

#[test]
fn a_renamed_log_is_left_and_a_new_one_begun_without_losing_a_line() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let log = node.folder().path().join("access.log");
    let old = node.folder().path().join("access.log.1");
    let mut visitor = visitor(&node)?;
    for number in 0..20 {
        visitor.fetch(HOST, &format!("/{number}"))?;
    }
    node.wait_for_log(|line| line["path"] == "/19")?;
    fs::rename(&log, &old)?;
    node.reopen_log()?;
    let mut visits = 20;
    while !log.exists() {
        visitor.fetch(HOST, &format!("/{visits}"))?;
        visits += 1;
        anyhow::ensure!(visits < 100_000, "the log was never opened anew");
    }
    visitor.fetch(HOST, "/last")?;
    node.wait_for_log(|line| line["path"] == "/last")?;
    let lines = |path: &std::path::Path| -> Result<usize> { Ok(fs::read_to_string(path)?.lines().count()) };
    assert_eq!(lines(&old)? + lines(&log)?, visits + 1);
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn metrics_count_what_happened() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| match request.path() {
        "/404" => Answer::new(404),
        "/500" => Answer::new(500),
        _ => Answer::ok("five5"),
    })?;
    let node = before(&origin)?;
    let mut one = visitor(&node)?;
    let other = http2_visitor(&node)?;
    for _ in 0..3 {
        one.fetch(HOST, "/")?;
    }
    one.fetch(HOST, "/404")?;
    one.fetch(HOST, "/500")?;
    one.ask("POST", "/", HOST, &fields(&[]), b"seven b")?;
    other.fetch(HOST, "/")?;
    other.fetch("nobody.example", "/")?;
    node.wait_for_log(|line| line["host"] == "nobody.example")?;
    for (series, value) in [
        ("rempart_requests_total{protocol=\"http1\",class=\"2xx\"}", 4.0),
        ("rempart_requests_total{protocol=\"http1\",class=\"4xx\"}", 1.0),
        ("rempart_requests_total{protocol=\"http1\",class=\"5xx\"}", 1.0),
        ("rempart_requests_total{protocol=\"http2\",class=\"2xx\"}", 1.0),
        ("rempart_requests_total{protocol=\"http2\",class=\"4xx\"}", 1.0),
        ("rempart_requests_total", 8.0),
        ("rempart_refusals_total{refusal=\"no_zone\"}", 1.0),
        ("rempart_visitor_bytes_total{direction=\"in\"}", 7.0),
        ("rempart_origin_requests_total{result=\"ok\"}", 7.0),
        ("rempart_faults_total", 0.0),
        ("rempart_panics_total", 0.0),
        ("rempart_connections_open{protocol=\"http2\"}", 1.0),
        ("rempart_snapshot_number", 1.0),
        ("rempart_access_log_dropped_total", 0.0),
    ] {
        node.wait_for_metric(series, value)?;
    }
    let connections = "rempart_origin_connections_total";
    node.wait_for_metric(connections, 7.0)?;
    let reused = node.metric(&format!("{connections}{{result=\"reused\"}}"))?;
    assert!(reused >= Some(3.0), "{reused:?}");
    let zones = node.admin("/metrics/zones")?;
    assert!(zones.text().contains("rempart_zone_requests_total{zone=\"a\"} 7\n"), "{}", zones.text());
    drop((one, other));
    node.finish_healthy()
}

#[test]
fn a_node_and_its_children_take_memory_in_small_pages() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let own = node.pid();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
    let children: Vec<u32> = children.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    assert!(!children.is_empty());
    for pid in children.into_iter().chain([own]) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let huge = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).map(str::trim);
        assert_eq!(huge, Some("0"), "{status}");
    }
    node.finish_healthy()
}

#[test]
fn health_and_readiness_are_told_and_only_by_the_right_name() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    for path in ["/healthz", "/readyz", "/metrics", "/metrics/zones", "/"] {
        assert_eq!(node.admin(path)?.status, 200, "{path}");
    }
    assert_eq!(node.admin("/nothing")?.status, 404);
    let admin = node.addresses().admin.context("admin")?;
    let ask = |method: &str, host: &str| -> Result<u16> {
        Ok(Visitor::tcp(admin)?.ask(method, "/metrics", host, &Fields::new(), b"")?.status)
    };
    assert_eq!(ask("GET", "localhost")?, 200);
    assert_eq!(ask("GET", &format!("localhost:{}", admin.port()))?, 200);
    for host in ["evil.example", "a.example", "192.0.2.1"] {
        assert_eq!(ask("GET", host)?, 421, "{host}");
    }
    assert_eq!(ask("POST", "localhost")?, 405);
    node.finish_healthy()
}

#[test]
fn a_node_without_zones_is_alive_and_not_ready() -> Result<()> {
    let node = start(&cleartext())?;
    assert_eq!((node.admin("/healthz")?.status, node.admin("/readyz")?.status), (200, 503));
    let origin = saying("a")?;
    node.write_zone("a", &zone(&origin, ""))?;
    assert!(node.publish()?.status.success());
    assert_eq!(node.admin("/readyz")?.status, 200);
    Ok(())
}

fn trace(node: &Node, id: &str) -> Result<(bool, String)> {
    let output = node.command(&["trace", id])?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[test]
fn trace_shows_what_each_phase_decided() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let served = fetch(&node, HOST, "/")?;
    let refused = fetch(&node, "nobody.example", "/")?;
    node.wait_for_log(|line| line["host"] == "nobody.example")?;
    let id = served.fields.first("x-request-id").context("X-Request-Id")?;
    let (found, trail) = trace(&node, id)?;
    assert!(found && trail.contains(id), "{trail}");
    let mut phases = ["admission", "route", "origin", "delivery"].iter().map(|phase| trail.find(phase));
    assert!(phases.all(|place| place.is_some()), "{trail}");
    let (found, trail) = trace(&node, refused.fields.first("x-request-id").context("X-Request-Id")?)?;
    assert!(found && trail.contains("no_zone") && trail.contains("421"), "{trail}");
    for unknown in ["0123456789abcdef0123456789abcdef", "nonsense"] {
        assert!(!trace(&node, unknown)?.0, "{unknown}");
    }
    node.finish_healthy()
}

/// With a cache too, where a task of its own fetches.
#[test]
fn trace_calls_route_pool_and_origin_as_the_zone_s_file_does() -> Result<()> {
    let (app, files) = (saying("app")?, saying("files")?);
    let more = format!(
        "[[pool]]\nname = \"files\"\norigins = [{{ url = {:?} }}]\n\
         [[pool]]\nname = \"gone\"\norigins = [{{ url = \"unix:/nobody/listens\" }}]\n\
         [[route]]\npath_prefix = \"/gone\"\npool = \"gone\"\n\
         [[route]]\nname = \"static\"\npath_prefix = \"/files\"\npool = \"files\"\n",
        files.url()
    );
    for cache in ["", "[cache]\nenabled = true\n"] {
        let spec = cleartext().more("[cache]\ndisk_bytes = 0");
        let node = start(&spec.zone("a", zone_with(cache, &[&app.url()], &more)))?;
        let chosen = |origin: &str| format!("origin     chosen  {origin}\n");
        for (target, lines) in [
            ("/", vec!["route      pool  app\n".to_owned(), chosen(&app.url())]),
            (
                "/files/a",
                vec![
                    "route      route  2 (static)\n".into(),
                    "route      pool  files\n".into(),
                    chosen(&files.url()),
                ],
            ),
            (
                "/gone/a",
                vec![
                    "route      route  1\n".into(),
                    "route      pool  gone\n".into(),
                    chosen("unix:/nobody/listens"),
                    "  unix:/nobody/listens\n".into(),
                ],
            ),
        ] {
            let answer = fetch(&node, HOST, target)?;
            node.wait_for_log(|line| line["path"] == target)?;
            let (_, trail) = trace(&node, answer.fields.first("x-request-id").context("X-Request-Id")?)?;
            for line in lines {
                assert!(trail.contains(&line), "{cache}: {line} is not in\n{trail}");
            }
        }
    }
    Ok(())
}

#[test]
fn status_says_what_runs() -> Result<()> {
    let origin = saying("a")?;
    let node = before(&origin)?;
    let output = node.command(&["status"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("snapshot") && text.contains("name=a"), "{text}");
    node.finish_healthy()
}

#[test]
fn commands_without_a_node_say_so() -> Result<()> {
    let origin = saying("a")?;
    let mut node = before(&origin)?;
    node.terminate()?;
    node.wait()?;
    for command in ["status", "publish"] {
        let output = node.command(&[command])?;
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no node runs"), "{command}");
    }
    Ok(())
}

#[test]
fn server_timing_is_told_where_the_zone_asks() -> Result<()> {
    let origin = OriginSpec::new().answering(|_| Answer::ok("a").field("Server-Timing", "db;dur=1"))?;
    let node = with_zone(&zone_with("server_timing = true", &[&origin.url()], ""))?;
    let timings = fetch(&node, HOST, "/")?;
    let all = timings.fields.all("server-timing").join(", ");
    assert!(all.contains("db;dur=1") && all.contains("origin;dur="), "{all}");
    node.finish_healthy()?;
    let node = before(&origin)?;
    assert_eq!(fetch(&node, HOST, "/")?.fields.all("server-timing"), ["db;dur=1"]);
    node.finish_healthy()
}

#[test]
fn counters_of_zones_follow_them_through_changes() -> Result<()> {
    let origin = saying("a")?;
    let spec =
        cleartext().zone("a", zone(&origin, "")).zone("b", zone_toml("b", &["b.example"], &[&origin.url()]));
    let node = start(&spec)?;
    fetch(&node, HOST, "/1")?;
    fetch(&node, "b.example", "/2")?;
    node.write_zone("a", &zone(&origin, "timeouts = { idle_ms = 5000 }"))?;
    fs::remove_file(node.folder().path().join("zones/b.toml"))?;
    assert!(node.publish()?.status.success());
    fetch(&node, HOST, "/3")?;
    node.wait_for_log(|line| line["path"] == "/3" && line["snapshot"] == 2)?;
    let text = node.admin("/metrics/zones")?.text();
    assert!(text.contains("rempart_zone_requests_total{zone=\"a\"} 2\n"), "{text}");
    assert!(!text.contains("zone=\"b\""), "{text}");
    node.finish_healthy()
}
