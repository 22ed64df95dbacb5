//! Rate and concurrency limits of zones over the real binary: who is let through, who is told what.
//!
//! Visitors are told apart by `X-Forwarded-For` from a trusted proxy, which is this test. Periods are a day
//! long, so that no window ends under a test; what happens when one does is tested in `shield`, where time is
//! an argument. Read next: [`rates`].

mod answers;
mod concurrency;
mod publishing;
mod rates;

use anyhow::Result;
use testkit::node::{Node, NodeSpec, alarms};
use testkit::visitor::Response;

use super::rig::{HOST, cleartext, fields, http2_visitor, start, visitor};

/// A node that believes this test about visitors' addresses, with one zone.
fn spec(zone: &str) -> NodeSpec {
    cleartext().node_section("threads = 2\ntrusted_proxies = [\"127.0.0.0/8\"]").zone("a", zone)
}

fn node(zone: &str) -> Result<Node> {
    start(&spec(zone))
}

/// A limit of so many requests a day.
fn a_day(name: &str, requests: u32, lines: &str) -> String {
    format!("\n[[rate_limit]]\nname = {name:?}\nrequests = {requests}\nperiod_s = 86400\n{lines}\n")
}

/// One GET of a visitor with this address, over HTTP/1.1.
fn from(node: &Node, address: &str, target: &str) -> Result<Response> {
    sent(node, address, target, &[])
}

/// The same with more fields.
fn sent(node: &Node, address: &str, target: &str, more: &[(&str, &str)]) -> Result<Response> {
    let mut pairs = vec![("X-Forwarded-For", address)];
    pairs.extend_from_slice(more);
    visitor(node)?.ask("GET", target, HOST, &fields(&pairs), b"")
}

/// The statuses of so many equal GETs, every other one over HTTP/2.
fn statuses(node: &Node, address: &str, target: &str, times: usize) -> Result<Vec<u16>> {
    let shared = http2_visitor(node)?;
    (0..times)
        .map(|number| {
            let response = match number % 2 {
                0 => from(node, address, target)?,
                _ => shared.ask("GET", target, HOST, &fields(&[("x-forwarded-for", address)]), b"")?,
            };
            Ok(response.status)
        })
        .collect()
}

fn ids(line: &serde_json::Value) -> Vec<String> {
    let ids = line["rules"].as_array().into_iter().flatten();
    ids.filter_map(|id| id.as_str()).map(str::to_owned).collect()
}

/// Ends a node that had something to say: of these events and no other.
fn finish_warned(mut node: Node, expected: &[&str]) -> Result<()> {
    node.terminate()?;
    assert!(node.wait()?.success());
    for line in alarms(&node.stderr_lines()) {
        assert!(expected.iter().any(|event| line.contains(&format!("\"event\":\"{event}\""))), "{line}");
    }
    Ok(())
}
