//! `@rbl` over the real binary: a list in the DNS is asked by the node, whatever phase and thread asks.

use std::net::Ipv4Addr;

use anyhow::Result;
use testkit::names::NameServer;
use testkit::node::Node;
use testkit::origin::ScriptedOrigin;

use super::super::rig::{HOST, cleartext, fields, saying, start, visitor, zone};

const RULES: &str = r#"
SecRule REMOTE_ADDR "@rbl bad.example" "id:20,phase:1,deny,status:451,log"
SecRule ARGS:site "@rbl names.example" "id:21,phase:2,deny,status:452,log"
SecRule REMOTE_ADDR "@rbl late.example" "id:22,phase:5,pass,log"
SecRule REQUEST_HEADERS:X-Quiet "@rbl silent.example" "id:23,phase:1,deny,status:453,log"
SecRule REQUEST_HEADERS:X-Quiet "!@rbl silent.example" "id:24,phase:1,deny,status:454,log"
"#;

/// Listed are 192.0.2.66 and the name `evil.test`; one list says nothing.
fn says(name: &str) -> Option<Vec<Ipv4Addr>> {
    let is_listed = matches!(
        name,
        "66.2.0.192.bad.example"
            | "evil.test.names.example"
            | "66.2.0.192.late.example"
            | "1.2.0.192.late.example"
    );
    match name {
        _ if name.ends_with(".silent.example") => None,
        _ if is_listed => Some(vec![Ipv4Addr::new(127, 0, 0, 2)]),
        _ => Some(Vec::new()),
    }
}

fn node(origin: &ScriptedOrigin, names: &NameServer) -> Result<Node> {
    let lines = "\n[waf]\nmode = \"block\"\nrules = [\"../waf/lists.conf\"]\nbody_window_bytes = \"64KiB\"\n";
    let node =
        format!("threads = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\nlist_servers = [\"{}\"]", names.address());
    start(&cleartext().node_section(&node).file("waf/lists.conf", RULES).zone("a", zone(origin, lines)))
}

fn status(node: &Node, target: &str, pairs: &[(&str, &str)], body: &[u8]) -> Result<u16> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    Ok(visitor(node)?.ask(method, target, HOST, &fields(pairs), body)?.status)
}

const GOOD: (&str, &str) = ("X-Forwarded-For", "192.0.2.1");

#[test]
fn visitors_and_names_on_a_list_are_refused_and_answers_are_kept() -> Result<()> {
    let (origin, names) = (saying("answer")?, NameServer::start(says)?);
    let node = node(&origin, &names)?;
    assert_eq!(status(&node, "/", &[("X-Forwarded-For", "192.0.2.66")], b"")?, 451);
    assert_eq!(status(&node, "/", &[GOOD], b"")?, 200);
    assert_eq!(status(&node, "/?site=evil.test", &[GOOD], b"")?, 452);
    assert_eq!(status(&node, "/?site=good.test", &[GOOD], b"")?, 200);
    let line = node.wait_for_log(|line| line["visitor_ip"] == "192.0.2.1" && line["path"] == "/")?;
    assert_eq!(line["rules"][0], "22", "after the answer too: {line}");
    let asked = names.asked();
    let of = |end: &str| asked.iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((of("bad.example"), of("names.example"), of("late.example")), (2, 2, 2), "{asked:?}");
    // Two requests asked for two names each, one for two of the three, and one for three.
    node.wait_for_metric("rempart_waf_lookups_total", 10.0)?;
    node.wait_for_metric("rempart_waf_unanswered_total{operator=\"rbl\"}", 0.0)?;
    node.finish_healthy()
}

#[test]
fn bodies_that_are_inspected_elsewhere_ask_too() -> Result<()> {
    let (origin, names) = (saying("answer")?, NameServer::start(says)?);
    let node = node(&origin, &names)?;
    let form = |site: &str| format!("fill={}&site={site}", "x".repeat(20_000)).into_bytes();
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    assert_eq!(status(&node, "/", &[GOOD, kind], &form("evil.test"))?, 452);
    assert_eq!(status(&node, "/", &[GOOD, kind], &form("good.test"))?, 200);
    node.wait_for_metric("rempart_waf_off_thread_total", 2.0)?;
    // A field behind a file, and behind the window: one whose answer is kept, and one that is asked for.
    let parts = |site: &str| {
        let part = |head: &str, value: &str| {
            format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
        };
        let file = part("name=\"up\"; filename=\"a.bin\"", &"x".repeat(400_000));
        format!("{file}{}--b--\r\n", part("name=\"site\"", site)).into_bytes()
    };
    let kind = ("Content-Type", "multipart/form-data; boundary=b");
    assert_eq!(status(&node, "/", &[GOOD, kind], &parts("evil.test"))?, 403);
    assert_eq!(status(&node, "/", &[GOOD, kind], &parts("other.test"))?, 200);
    assert!(names.asked().contains(&"other.test.names.example".to_owned()));
    node.finish_healthy()
}

#[test]
fn a_list_that_says_nothing_refuses_nobody() -> Result<()> {
    let (origin, names) = (saying("answer")?, NameServer::start(says)?);
    let node = node(&origin, &names)?;
    for quiet in ["a.test", "b.test", "c.test", "a.test"] {
        assert_eq!(status(&node, "/", &[GOOD, ("X-Quiet", quiet)], b"")?, 200);
    }
    node.wait_for_metric("rempart_waf_unanswered_total{operator=\"rbl\"}", 8.0)?;
    let quiet = |names: &NameServer| -> usize {
        let asked = names.asked();
        let mut asked: Vec<&String> = asked.iter().filter(|name| name.ends_with("silent.example")).collect();
        asked.sort();
        asked.dedup();
        asked.len()
    };
    assert_eq!(quiet(&names), 3);
    node.finish_healthy()
}
