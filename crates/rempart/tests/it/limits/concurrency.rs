//! How many at once: of one visitor, and of a whole zone.

use anyhow::Result;
use testkit::gate::Gate;
use testkit::origin::{Answer, OriginSpec, ScriptedOrigin};
use testkit::visitor::Visitor;

use super::super::rig::{HOST, fields, visitor, word, zone, zone_with};
use super::{from, ids, node};

/// An origin whose `/slow` waits for the gate.
fn slow(gate: &Gate) -> Result<ScriptedOrigin> {
    let gate = gate.clone();
    OriginSpec::new().answering(move |request| match request.path() {
        "/slow" => Answer::ok("at last").wait_before_head(&gate),
        _ => Answer::ok("answer"),
    })
}

fn at_once(name: &str, requests: u32, lines: &str) -> String {
    format!("\n[[concurrency_limit]]\nname = {name:?}\nrequests = {requests}\n{lines}\n")
}

/// Requests that wait at the origin.
struct Waiting(Vec<Visitor>);

impl Waiting {
    fn begin(node: &testkit::node::Node, origin: &ScriptedOrigin, addresses: &[&str]) -> Result<Waiting> {
        let before = origin.requests().len();
        let mut visitors = Vec::new();
        for address in addresses {
            let mut one = visitor(node)?;
            one.send_head("GET", "/slow", HOST, &fields(&[("X-Forwarded-For", address)]))?;
            visitors.push(one);
        }
        node.wait_until("requests at the origin", || origin.requests().len() == before + addresses.len())?;
        Ok(Waiting(visitors))
    }

    /// Lets them end, and waits until the node has done with them.
    fn end(self, node: &testkit::node::Node, gate: &Gate) -> Result<()> {
        let ended = |node: &testkit::node::Node| -> Result<usize> {
            let is_it = |line: &&serde_json::Value| line["path"] == "/slow" && line["status"] == 200;
            Ok(node.log_lines()?.iter().filter(is_it).count())
        };
        let (before, count) = (ended(node)?, self.0.len());
        gate.open_times(count as u64);
        for mut one in self.0 {
            assert_eq!(one.expect_response("GET")?.text(), "at last");
        }
        node.wait_until("their lines in the log", || ended(node).is_ok_and(|now| now == before + count))
    }
}

#[test]
fn a_visitor_has_so_many_at_once_and_others_have_theirs() -> Result<()> {
    let gate = Gate::new();
    let origin = slow(&gate)?;
    let id = "0123456789abcdef0123456789abcdef";
    let node = node(&zone(&origin, &at_once("tabs", 2, &format!("id = \"{id}\""))))?;
    let waiting = Waiting::begin(&node, &origin, &["192.0.2.1", "192.0.2.1"])?;
    let refused = from(&node, "192.0.2.1", "/x")?;
    assert_eq!((refused.status, word(&refused).as_str()), (429, "concurrency_limited"));
    assert_eq!(refused.fields.first("retry-after"), Some("1"));
    assert_eq!(from(&node, "192.0.2.2", "/")?.status, 200);
    waiting.end(&node, &gate)?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 200, "places are given back");
    let again = Waiting::begin(&node, &origin, &["192.0.2.1", "192.0.2.1"])?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 429, "all of them, and no more");
    again.end(&node, &gate)?;
    let line = node.wait_for_log(|line| line["path"] == "/x")?;
    assert_eq!((line["verdict"].as_str(), ids(&line)), (Some("concurrency_limited"), vec![id.to_owned()]));
    node.wait_for_metric("rempart_over_limit_total{limit=\"concurrency\",action=\"block\"}", 2.0)?;
    let event = node.wait_for_event(|event| event["event"] == "concurrency_limited")?;
    assert_eq!(event["limit"], "tabs");
    node.finish_healthy()
}

#[test]
fn a_zone_has_so_many_at_once_and_says_that_it_is_busy() -> Result<()> {
    let gate = Gate::new();
    let origin = slow(&gate)?;
    let own = "expression = 'http.request.uri.path eq \"/own\"'\nblock = { status = 503, body = \"later\" }";
    let lines = [at_once("own", 1, own), at_once("zone", 2, "characteristics = []")].concat();
    let node = node(&zone(&origin, &lines.replace("requests = 1", "requests = 1\ncharacteristics = []")))?;
    let waiting = Waiting::begin(&node, &origin, &["192.0.2.1", "192.0.2.2"])?;
    let refused = from(&node, "192.0.2.3", "/")?;
    assert_eq!((refused.status, word(&refused).as_str()), (503, "zone_full"));
    assert_eq!(refused.fields.all("retry-after"), ["1"]);
    waiting.end(&node, &gate)?;
    assert_eq!(from(&node, "192.0.2.3", "/")?.status, 200);
    node.finish_healthy()
}

#[test]
fn a_visitor_who_leaves_gives_its_place_back() -> Result<()> {
    let gate = Gate::new();
    let origin = slow(&gate)?;
    let node = node(&zone(&origin, &at_once("tabs", 1, "")))?;
    let Waiting(visitors) = Waiting::begin(&node, &origin, &["192.0.2.1"])?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 429);
    visitors.into_iter().for_each(Visitor::reset);
    node.wait_for_log(|line| line["path"] == "/slow")?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 200);
    gate.open_for_good();
    node.finish_healthy()
}

#[test]
fn log_lets_everybody_in() -> Result<()> {
    let gate = Gate::new();
    let origin = slow(&gate)?;
    let node = node(&zone(&origin, &at_once("tabs", 1, "action = \"log\"")))?;
    let waiting = Waiting::begin(&node, &origin, &["192.0.2.1"])?;
    assert_eq!(from(&node, "192.0.2.1", "/over")?.status, 200);
    waiting.end(&node, &gate)?;
    let line = node.wait_for_log(|line| line["path"] == "/over")?;
    assert_eq!((line["verdict"].as_str(), ids(&line).len()), (Some("pass"), 1));
    node.wait_for_metric("rempart_over_limit_total{limit=\"concurrency\",action=\"log\"}", 1.0)?;
    node.finish_healthy()
}

#[test]
fn places_are_counted_over_a_publish() -> Result<()> {
    let gate = Gate::new();
    let origin = slow(&gate)?;
    let node = node(&zone(&origin, &at_once("tabs", 1, "")))?;
    let waiting = Waiting::begin(&node, &origin, &["192.0.2.1"])?;
    node.write_zone("a", &zone(&origin, &at_once("tabs", 2, "")))?;
    assert!(node.publish()?.status.success());
    let second = Waiting::begin(&node, &origin, &["192.0.2.1"])?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 429, "one from before, and one since");
    gate.open_times(1);
    let mut all = waiting.0;
    all.extend(second.0);
    Waiting(all).end(&node, &gate)?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 200);
    node.finish_healthy()
}

#[test]
fn an_origin_has_so_many_at_once_and_another_takes_over() -> Result<()> {
    let gate = Gate::new();
    let (first, second) = (slow(&gate)?, slow(&gate)?);
    let zone = zone_with("", &[&first.url(), &second.url()], "max_requests = 1");
    let node = node(&zone)?;
    let seen = || first.requests().len() + second.requests().len();
    let mut waiting = Vec::new();
    for number in 1..=2 {
        let mut one = visitor(&node)?;
        one.send_head("GET", "/slow", HOST, &fields(&[]))?;
        node.wait_until("the request at an origin", || seen() == number)?;
        waiting.push(one);
    }
    assert_eq!([first.requests().len(), second.requests().len()], [1, 1]);
    let refused = from(&node, "192.0.2.1", "/")?;
    assert_eq!((refused.status, word(&refused).as_str()), (503, "connection_limit_reached"));
    assert!(refused.fields.has("retry-after"));
    assert_eq!(seen(), 2, "what is refused reaches no origin");
    Waiting(waiting).end(&node, &gate)?;
    assert_eq!(from(&node, "192.0.2.1", "/")?.status, 200);
    node.finish_healthy()
}
