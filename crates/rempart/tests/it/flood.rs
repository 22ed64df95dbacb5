//! A flood of one zone: it is told, limited and explained, and good visitors notice nothing.
//!
//! What is usual takes seconds to learn, and there is no clock to be driven: zones here have the shortest
//! warm-up, and visitors that ask evenly. Everything else waits for states. Which floods are stopped, and
//! whom limits harm, is simulated in the crate `flood`. Read next: [`super::rig`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::node::{Node, NodeSpec, zone_toml};
use testkit::visitor::Response;

use super::rig::{HOST, fields, saying, start, visitor, word};

fn spec() -> NodeSpec {
    let trusted = "threads = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\nspare = false";
    NodeSpec::new().listener("http").node_section(trusted)
}

fn zone(origin: &str, mode: &str) -> String {
    let flood = format!("\n[flood]\nmode = {mode:?}\nwarm_up_s = 5\nfrom_per_s = 30\nexpires_s = 10\n");
    zone_toml("a", &[HOST], &[origin]) + &flood
}

/// Visitors who ask for as long as this lives, each time from the next of their addresses.
struct Asking {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    others: Arc<Mutex<Vec<Response>>>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Asking {
    /// So many at a time, each with `pause_ms` between two requests, each for the next path; whoever is not
    /// served is kept.
    fn begin(
        node: &Node,
        (count, pause_ms): (usize, u64),
        path: fn(u64) -> String,
        address: fn(u64) -> String,
        sent: &'static [(&str, &str)],
    ) -> Result<Self> {
        let (ends, asked, others): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<Mutex<Vec<Response>>>) =
            Default::default();
        let mut threads = Vec::new();
        for _ in 0..count {
            let mut visitor = visitor(node)?;
            let (ends, asked, others) = (Arc::clone(&ends), Arc::clone(&asked), Arc::clone(&others));
            threads.push(std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let number = asked.fetch_add(1, Ordering::Relaxed);
                    let address = address(number);
                    let mut all = vec![("X-Forwarded-For", address.as_str())];
                    all.extend_from_slice(sent);
                    let answer = visitor.ask("GET", &path(number), HOST, &fields(&all), b"")?;
                    if answer.status != 200 {
                        others.lock().expect("no test panics with it").push(answer);
                    }
                    std::thread::park_timeout(Duration::from_millis(pause_ms));
                }
                Ok(())
            }));
        }
        Ok(Self { ends, asked, others, threads })
    }

    /// Visitors of many networks, about as many in each second.
    fn good(node: &Node) -> Result<Self> {
        let address = |number| format!("10.{}.{}.7", number % 200, number % 90);
        let path = |number| ["/", "/a", "/b", "/c"][(number % 4) as usize].to_owned();
        Self::begin(node, (1, 100), path, address, &[("User-Agent", "a browser")])
    }

    /// A network whose machines ask as fast as they can for what nobody asks for.
    fn flood(node: &Node) -> Result<Self> {
        let address = |number| format!("192.0.2.{}", 1 + number % 250);
        let path = |number| format!("/search?q={number}");
        Self::begin(node, (4, 0), path, address, &[("User-Agent", "a tool")])
    }

    /// Ends it: how many were asked, and the answers of those who were not served.
    fn end(self) -> Result<(u64, Vec<Response>)> {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().ok().context("a visitor panicked")??;
        }
        let others = std::mem::take(&mut *self.others.lock().expect("no test panics with it"));
        Ok((self.asked.load(Ordering::Relaxed), others))
    }
}

fn status(node: &Node) -> Result<Value> {
    Ok(serde_json::from_slice(&node.command(&["status", "--json"])?.stdout)?)
}

/// Waits until the zone's load stands so.
fn wait_for(node: &Node, state: &str) -> Result<()> {
    let is_so = || status(node).is_ok_and(|status| status["zones"][0]["flood"]["state"] == state);
    node.wait_until(state, is_so)
}

fn is_event(name: &str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == name
}

fn in_stage(stage: &str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == "flood_limit" && event["stage"] == stage
}

const REFUSED: &str = "rempart_over_limit_total{limit=\"flood\",action=\"block\"}";
const WOULD_BE: &str = "rempart_over_limit_total{limit=\"flood\",action=\"log\"}";

#[test]
fn a_flood_of_one_network_is_limited_and_good_visitors_notice_nothing() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().zone("a", zone(&origin.url(), "limit")))?;
    ensure!(status(&node)?["zones"][0]["flood"]["state"] == "no baseline yet");
    let good = Asking::good(&node)?;
    wait_for(&node, "usual")?;

    let flood = Asking::flood(&node)?;
    let began = node.wait_for_event(is_event("flood_began"))?;
    ensure!(began["zone"] == "a" && began["mode"] == "limit", "{began}");
    let limit = node.wait_for_event(in_stage("limit"))?;
    let what = limit["what"].as_str().context("what it is for")?;
    ensure!(what.contains("192.0.2.0/24") || what.contains("a tool"), "{limit}");
    ensure!(limit["why"].as_str().is_some_and(|why| why.contains("requests a second where")), "{limit}");
    node.wait_until("requests refused", || node.metric(REFUSED).is_ok_and(|count| count > Some(200.0)))?;
    // It is on view, and counted, for as long as it is there.
    let shown = status(&node)?;
    ensure!(shown["flood_limits"][0]["what"].as_str().is_some_and(|shown| shown == what), "{shown}");
    ensure!(shown["zones"][0]["flood"]["state"] == "flood", "{shown}");
    ensure!(node.metric("rempart_flooded_zones")? == Some(1.0));

    let (_, refused) = flood.end()?;
    let one = refused.last().context("some were refused")?;
    assert_eq!((one.status, word(one).as_str()), (429, "flood_limited"));
    let after: u64 = one.fields.first("retry-after").context("a time to come back")?.parse()?;
    assert!((1..=20).contains(&after), "{after}");
    // Each has its verdict in the log, and its trail.
    let line = node.wait_for_log(|line| line["verdict"] == "flood_limited")?;
    let trail = node.command(&["trace", line["request_id"].as_str().context("an id")?])?;
    let trail = String::from_utf8(trail.stdout)?;
    ensure!(trail.contains("over_flood_limit"), "{trail}");

    // What it made ends by itself.
    node.wait_for_event(is_event("flood_limit_ended"))?;
    node.wait_for_metric("rempart_flood_limits{stage=\"limit\"}", 0.0)?;
    let (asked, harmed) = good.end()?;
    ensure!(asked > 50 && harmed.is_empty(), "{} of {asked}: {:?}", harmed.len(), harmed.first());
    node.finish_healthy()
}

#[test]
fn a_zone_that_only_logs_refuses_nobody_and_tells_whom_it_would() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().zone("a", zone(&origin.url(), "log")))?;
    let good = Asking::good(&node)?;
    wait_for(&node, "usual")?;
    let flood = Asking::flood(&node)?;
    let limit = node.wait_for_event(in_stage("limit"))?;
    ensure!(limit["mode"] == "log", "{limit}");
    node.wait_until("requests told", || node.metric(WOULD_BE).is_ok_and(|count| count > Some(50.0)))?;
    let (_, refused) = flood.end()?;
    let (_, harmed) = good.end()?;
    ensure!(refused.is_empty() && harmed.is_empty(), "{:?}", refused.first());
    ensure!(node.metric(REFUSED)? == Some(0.0));
    node.finish_healthy()
}

#[test]
fn what_is_known_outlives_a_publish_and_a_zone_may_switch_it_off() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().zone("a", zone(&origin.url(), "log")))?;
    let good = Asking::good(&node)?;
    wait_for(&node, "usual")?;
    node.write_zone("a", &zone(&origin.url(), "limit"))?;
    ensure!(node.publish()?.status.success());
    let shown = status(&node)?;
    ensure!(shown["zones"][0]["flood"]["state"] == "usual", "{shown}");
    node.write_zone("a", &zone(&origin.url(), "off"))?;
    ensure!(node.publish()?.status.success());
    ensure!(status(&node)?["zones"][0]["flood"].is_null());
    good.end()?;
    node.finish_healthy()
}

#[test]
fn what_breaks_beside_it_ends_no_watch() -> Result<()> {
    let origin = saying("answer")?;
    let flood = "\n[flood]\nmode = \"log\"\nwarm_up_s = 5\nfrom_per_s = 30\n";
    let names = [HOST, "feeds-panic.fault.invalid"];
    let node = start(&spec().zone("a", zone_toml("a", &names, &[&origin.url()]) + flood))?;
    node.wait_for_event(is_event("lists_watch_broke"))?;
    // It breaks again each second, and each time the zone was looked at before.
    let good = Asking::good(&node)?;
    wait_for(&node, "usual")?;
    let panics = || node.metric("rempart_panics_total").is_ok_and(|panics| panics >= Some(3.0));
    node.wait_until("looks that broke", panics)?;
    good.end()?;
    node.finish_healthy_but_for(&["panic", "lists_watch_broke"])
}

#[test]
fn a_fault_in_it_lets_the_request_in() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().zone("a", zone(&origin.url(), "limit")))?;
    for kind in ["panic", "error"] {
        let sent = format!("flood={kind}");
        let answer = visitor(&node)?.ask("GET", "/", HOST, &fields(&[("Rempart-Fault", &sent)]), b"")?;
        ensure!(answer.status == 200, "{kind}: {}", answer.status);
    }
    node.wait_for_event(is_event("flood_note_broke"))?;
    node.wait_for_metric("rempart_contained_total{phase=\"shield\",kind=\"panic\"}", 1.0)?;
    let answer = visitor(&node)?.ask("GET", "/", HOST, &fields(&[]), b"")?;
    ensure!(answer.status == 200);
    Ok(())
}

/// The process that serves.
fn edge_pid(node: &Node) -> Result<u64> {
    status(node)?["edge_pid"].as_u64().context("the process that serves")
}

/// Kills the process that serves, and waits for the next.
fn kill_edge(node: &Node, restarts: u64) -> Result<()> {
    let pid = i32::try_from(edge_pid(node)?)?;
    kill_process(Pid::from_raw(pid).context("a process id")?, Signal::KILL)?;
    node.wait_for_event(|event| event["event"] == "ready" && event["restarts"] == restarts)?;
    Ok(())
}

#[test]
fn what_is_usual_outlives_a_death_and_an_upgrade_and_a_damaged_file_is_told() -> Result<()> {
    let origin = saying("answer")?;
    let node = start(&spec().zone("a", zone(&origin.url(), "limit")))?;
    let file = node.folder().path().join("data/usual");
    let good = Asking::good(&node)?;
    wait_for(&node, "usual")?;
    let learned = status(&node)?["zones"][0]["flood"]["usual"].clone();
    node.wait_until("what is usual on disk", || file.exists())?;
    good.end()?;
    ensure!(learned.is_number(), "{learned}");

    // Nobody comes any more: whoever knows what is usual has it from before.
    kill_edge(&node, 1)?;
    ensure!(status(&node)?["zones"][0]["flood"]["state"] == "usual");
    node.wait_for_events("flood_baselines_kept", 1)?;
    let before = edge_pid(&node)?;
    ensure!(node.command(&["upgrade"])?.status.success());
    // Whoever comes to the older one while it drains is told to come again.
    node.wait_for_events("drained", 1)?;
    let is_another = || edge_pid(&node).is_ok_and(|pid| pid != before);
    node.wait_until("the successor to answer", is_another)?;
    ensure!(status(&node)?["zones"][0]["flood"]["state"] == "usual");

    let flood = Asking::flood(&node)?;
    let began = node.wait_for_event(is_event("flood_began"))?;
    ensure!(began["usual_per_s"].as_u64().is_some_and(|usual| (1..30).contains(&usual)), "{began}");
    flood.end()?;

    std::fs::write(&file, "what was there before, and is not any more")?;
    kill_edge(&node, 2)?;
    ensure!(status(&node)?["zones"][0]["flood"]["state"] == "no baseline yet");
    let told = node.wait_for_event(is_event("flood_baselines_unusable"))?;
    ensure!(told["cause"].as_str().is_some_and(|cause| cause.contains("damaged")), "{told}");
    Ok(())
}
