//! The web application firewall over the real binary: what a visitor, an origin and a log see of it.
//!
//! What rules mean is tested in `seclang`, what may be written in `zone`. Most tests bring a small set of
//! rules; [`crs`] needs OWASP CRS. Read next: [`super::rig`], then [`requests`].

mod answers;
mod bodies;
#[cfg(feature = "fault-injection")]
mod breaking;
mod crs;
mod documents;
mod exceptions;
mod lists;
mod outside;
#[cfg(feature = "fault-injection")]
mod pool;
mod publishing;
mod requests;
mod stored;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testkit::node::{Node, NodeSpec};
use testkit::origin::ScriptedOrigin;
use testkit::visitor::Response;

use super::rig::{HOST, cleartext, fields, http2_visitor, start, visitor, zone};

/// The small set of rules.
const RULES: &str = include_str!("waf/own.conf");

/// A query with an attack that the small set and CRS both find.
const ATTACK: &str = "id=1%27%20OR%20%271%27=%271";

/// The lines of a zone whose firewall has the small set.
fn lines(mode: &str, more: &str) -> String {
    format!("\n[waf]\nmode = \"{mode}\"\nrules = [\"../waf/own.conf\"]\n{more}\n")
}

fn spec(origin: &ScriptedOrigin, mode: &str, more: &str) -> NodeSpec {
    cleartext().file("waf/own.conf", RULES).zone("a", zone(origin, &lines(mode, more)))
}

/// A node with the small set.
fn firewalled(origin: &ScriptedOrigin, mode: &str, more: &str) -> Result<Node> {
    start(&spec(origin, mode, more))
}

/// One request over each protocol: HTTP/1.1, then HTTP/2.
fn both(
    node: &Node,
    method: &str,
    target: &str,
    pairs: &[(&str, &str)],
    body: &[u8],
) -> Result<[Response; 2]> {
    let lower: Vec<(String, &str)> =
        pairs.iter().map(|(name, value)| (name.to_lowercase(), *value)).collect();
    let lower: Vec<(&str, &str)> = lower.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    Ok([
        visitor(node)?.ask(method, target, HOST, &fields(pairs), body)?,
        http2_visitor(node)?.ask(method, target, HOST, &fields(&lower), body)?,
    ])
}

/// One POST over HTTP/1.1.
fn post(node: &Node, target: &str, kind: &str, body: &[u8]) -> Result<Response> {
    visitor(node)?.ask("POST", target, HOST, &fields(&[("Content-Type", kind)]), body)
}

/// The first line of the log with this path.
fn logged(node: &Node, path: &str) -> Result<Value> {
    node.wait_for_log(|line| line["path"] == path)
}

fn ids(line: &Value) -> Vec<&str> {
    line["rules"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// What `rempart trace` prints for a line of the log.
fn trace(node: &Node, line: &Value) -> Result<String> {
    let told = node.command(&["trace", line["request_id"].as_str().context("an id")?])?;
    Ok(String::from_utf8_lossy(&told.stdout).into_owned())
}

fn outcomes(node: &Node, outcome: &str) -> Result<Option<f64>> {
    node.metric(&format!("rempart_waf_requests_total{{outcome=\"{outcome}\"}}"))
}

/// Requests of an outcome, once so many are over: that is a moment after their answers.
fn outcomes_of(node: &Node, outcome: &str, count: f64) -> Result<Option<f64>> {
    let are_over = || outcomes(node, outcome).is_ok_and(|found| found >= Some(count));
    node.wait_until(&format!("{count} requests that are {outcome}"), are_over)?;
    outcomes(node, outcome)
}

/// A multipart body with one text field and one file.
fn multipart(field: &str, file_name: &str, file: &[u8]) -> (String, Vec<u8>) {
    let mut body = format!(
        "--b0undary\r\nContent-Disposition: form-data; name=\"field\"\r\n\r\n{field}\r\n--b0undary\r\n\
         Content-Disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--b0undary--\r\n");
    ("multipart/form-data; boundary=b0undary".to_owned(), body)
}
