//! More to do than can be done: who is served, who is sent away and how, and that it ends.
//!
//! A thread is kept busy by requests that each burn some milliseconds of CPU time, by a fault point; what is
//! late is told by the same time, so that a busy machine makes these tests slower and nothing else. Read
//! next: [`super::rig`].

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use testkit::node::{Node, NodeSpec, zone_toml};
use testkit::origin::{Answer, OriginSpec};
use testkit::visitor::Response;

use super::rig::{HOST, fields, saying, start, visitor, word};

const OTHER: &str = "b.example";

/// Visitors of a flood at a time: each waits for its answer before it asks again, so that this many requests
/// wait at once.
const FLOODING: u32 = 48;

/// Steps that each of them burns: some 4 to 10 ms, so that what these visitors and their origin take beside
/// it is little on any machine.
const BURNT: &str = "origin=slow:10000000";

/// The same where no origin is asked, so that the flood waits for nobody but the node.
const BURNT_BEFORE: &str = "route=slow:10000000";

fn spec() -> NodeSpec {
    let trusted = "threads = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\nspare = false";
    NodeSpec::new().listener("http").node_section(trusted).more("[overload]\ndelay_ms = 10\n")
}

/// The `number`-th visitor that nobody has seen before.
fn stranger(number: u32) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

fn ask_as(node: &Node, address: &str, host: &str, target: &str) -> Result<Response> {
    visitor(node)?.ask("GET", target, host, &fields(&[("X-Forwarded-For", address)]), b"")
}

/// Strangers who ask one host for more than there is, for as long as this lives.
struct Flood {
    ends: Arc<AtomicBool>,
    visitors: Vec<JoinHandle<Result<()>>>,
    shed: Arc<Mutex<Vec<Response>>>,
}

impl Flood {
    fn begin(node: &Node, host: &'static str) -> Result<Self> {
        Self::of(node, host, ("GET", ""), BURNT)
    }

    /// One of requests by a method for what is under a path, which burn their time by a fault.
    fn of(
        node: &Node,
        host: &'static str,
        (method, under): (&'static str, &'static str),
        fault: &'static str,
    ) -> Result<Self> {
        let (ends, shed) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let next = Arc::new(AtomicU32::new(1));
        let mut visitors = Vec::new();
        for _ in 0..FLOODING {
            let (ends, shed, next) = (Arc::clone(&ends), Arc::clone(&shed), Arc::clone(&next));
            let mut visitor = visitor(node)?;
            visitors.push(std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let address = stranger(number);
                    let sent = fields(&[("X-Forwarded-For", &address), ("Rempart-Fault", fault)]);
                    let answer = visitor.ask(method, &format!("{under}/{number}"), host, &sent, b"")?;
                    if answer.status == 503 {
                        shed.lock().expect("no test panics with it").push(answer);
                    }
                }
                Ok(())
            }));
        }
        Ok(Self { ends, visitors, shed })
    }

    /// Ends it; the answers to those who were sent away.
    fn end(self) -> Result<Vec<Response>> {
        self.ends.store(true, Ordering::Relaxed);
        for visitor in self.visitors {
            visitor.join().ok().context("a visitor panicked")??;
        }
        Ok(std::mem::take(&mut *self.shed.lock().expect("no test panics with it")))
    }
}

/// Waits until the node sheds.
fn wait_for_shedding(node: &Node) -> Result<()> {
    node.wait_for_events("overload_began", 1)?;
    let is_shedding = || node.metric("rempart_shed_total").is_ok_and(|shed| shed > Some(50.0));
    node.wait_until("requests that are shed", is_shedding)
}

/// Asks until the visitor was served in more than one second, as the answers tell the time.
fn become_known(node: &Node, address: &str) -> Result<()> {
    let mut dates: Vec<String> = Vec::new();
    while dates.len() < 3 {
        let answer = ask_as(node, address, HOST, "/")?;
        ensure!(answer.status == 200, "{}", answer.status);
        let date = answer.fields.first("date").context("a date")?.to_owned();
        if !dates.contains(&date) {
            dates.push(date);
        }
    }
    Ok(())
}

#[test]
fn known_visitors_are_served_while_strangers_are_sent_away_and_then_all_are_again() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().site("a", &[HOST], &[&origin.url()]))?;
    become_known(&node, "192.0.2.1")?;
    let flood = Flood::begin(&node, HOST)?;
    wait_for_shedding(&node)?;
    for number in 0..20 {
        let answer = ask_as(&node, "192.0.2.1", HOST, "/")?;
        ensure!(answer.status == 200, "request {number}: {} {}", answer.status, answer.text());
    }
    let status = String::from_utf8(node.command(&["status", "--json"])?.stdout)?;
    ensure!(
        status.contains("\"shedding_threads\": 1") || status.contains("\"shedding_threads\":1"),
        "{status}"
    );
    let shed = flood.end()?;
    let one = shed.first().context("some were sent away")?;
    assert_eq!(word(one), "overload");
    let after: Vec<_> = shed.iter().filter_map(|answer| answer.fields.first("retry-after")).collect();
    assert_eq!(after.len(), shed.len(), "each has a time to come back");
    assert!(after.iter().all(|seconds| matches!(seconds.as_bytes(), [b'2'..=b'9'])), "{after:?}");
    // More than fifty: not all of them together, though they come over the same proxy's connections.
    assert!(after.iter().any(|seconds| *seconds != after[0]), "{after:?}");
    assert!(shed.iter().all(|answer| answer.fields.first("connection") != Some("close")), "they stay open");
    // Each has its line in the log, and is counted by zone and by what it was worth.
    let count = shed.len() as f64;
    node.wait_for_metric("rempart_refusals_total{refusal=\"overload\"}", count)?;
    node.wait_for_metric("rempart_shed_total{worth=\"stranger\"}", count)?;
    node.wait_for_metric("rempart_shed_total{worth=\"known\"}", 0.0)?;
    let zones = node.admin("/metrics/zones")?.text();
    let line = format!("rempart_zone_shed_total{{zone=\"a\"}} {count}");
    assert!(zones.lines().any(|found| found == line), "{zones}");
    let logged = node.wait_for_log(|line| line["verdict"] == "overload")?;
    assert_eq!((logged["status"].as_u64(), logged["zone"].as_str()), (Some(503), Some("a")));
    let ended = node.wait_for_event(|event| event["event"] == "overload_ended")?;
    assert_eq!(ended["shed"].as_f64(), Some(count), "{ended}");
    assert!(ended["delay_ms_max"].as_u64() >= Some(10) && ended["admitted"].as_u64() > Some(0), "{ended}");
    node.wait_for_metric("rempart_shedding_threads", 0.0)?;
    assert_eq!(ask_as(&node, &stranger(9_999_999), HOST, "/")?.status, 200);
    node.finish_healthy()
}

#[test]
fn strangers_of_another_zone_do_not_notice_a_flood() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().site("a", &[HOST], &[&origin.url()]).site("b", &[OTHER], &[&origin.url()]))?;
    let flood = Flood::begin(&node, HOST)?;
    wait_for_shedding(&node)?;
    for number in 0..20 {
        let answer = ask_as(&node, &stranger(8_000_000 + number), OTHER, "/")?;
        ensure!(answer.status == 200, "request {number}: {} {}", answer.status, answer.text());
    }
    assert!(!flood.end()?.is_empty());
    let zones = node.admin("/metrics/zones")?.text();
    assert!(zones.lines().any(|line| line == "rempart_zone_shed_total{zone=\"b\"} 0"), "{zones}");
    node.finish_healthy()
}

#[test]
fn strangers_get_what_is_stored_while_the_zone_sheds() -> Result<()> {
    let origin = OriginSpec::new().answering(|request| {
        let kept = match request.path() {
            "/fresh" => "public, max-age=3600",
            "/stale" => "public, max-age=0",
            _ => "no-store",
        };
        Answer::ok("answer").field("Cache-Control", kept).field("ETag", "\"one\"")
    })?;
    let busy = "[[route]]\npath_prefix = \"/busy\"\nanswer = { status = 200, body = \"busy\" }\n";
    let zone = zone_toml("a", &[HOST], &[&origin.url()]);
    let toml = format!("{zone}{busy}[cache]\nenabled = true\n");
    let node = start(&spec().zone("a", toml))?;
    for path in ["/fresh", "/stale"] {
        assert_eq!(ask_as(&node, "192.0.2.1", HOST, path)?.status, 200);
    }
    // No store can have answers to these, so they are sent away unread.
    let flood = Flood::of(&node, HOST, ("POST", "/busy"), BURNT_BEFORE)?;
    wait_for_shedding(&node)?;
    for number in 0..40 {
        let path = if number % 2 == 0 { "/fresh" } else { "/stale" };
        let answer = ask_as(&node, &stranger(8_000_000 + number), HOST, path)?;
        ensure!(answer.status == 200, "request {number}: {} {}", answer.status, answer.text());
    }
    assert!(!flood.end()?.is_empty());
    node.finish_healthy()
}

#[test]
fn switched_off_nobody_is_sent_away() -> Result<()> {
    let origin = saying("answer")?;
    let off = NodeSpec::new().listener("http").node_section("threads = 1\nspare = false");
    let node = start(&off.more("[overload]\ndelay_ms = 0\n").site("a", &[HOST], &[&origin.url()]))?;
    let flood = Flood::begin(&node, HOST)?;
    node.wait_until("some hundred requests", || {
        node.metric("rempart_requests_total").is_ok_and(|requests| requests > Some(500.0))
    })?;
    assert!(flood.end()?.is_empty());
    node.wait_for_metric("rempart_shed_total", 0.0)?;
    node.finish_healthy()
}
