//! What only the binary does: supervision, publishing, commands, the demo.
//!
//! What a request meets is tested elsewhere. Read next: [`supervision`], [`hand_over`], [`inventory`],
//! [`descriptors`], [`confined`], [`double_faults`], [`publishing`], [`stages`], [`service`],
//! [`keys_at_rest`], [`pairs`], [`drills`], [`demo`].

mod confined;
mod demo;
mod descriptors;
mod double_faults;
mod drills;
mod hand_over;
mod inventory;
mod keys_at_rest;
mod pairs;
mod publishing;
mod service;
mod stages;
mod supervision;

use anyhow::Result;
use serde_json::Value;
use testkit::fields::Fields;
use testkit::node::{Node, NodeSpec};
use testkit::visitor::Visitor;

/// A zone that answers with a fixed text, so that no origin is needed.
fn answers(name: &str, text: &str) -> String {
    format!(
        "name = \"{name}\"\nhostnames = [\"*\"]\n[[route]]\nanswer = {{ status = 200, body = \"{text}\" }}\n"
    )
}

/// A node with one such zone, in the file `a`.
fn node(text: &str) -> Result<Node> {
    start(&NodeSpec::new().listener("http").zone("a", answers("a", text)))
}

fn start(spec: &NodeSpec) -> Result<Node> {
    Node::start(env!("CARGO_BIN_EXE_rempart"), spec)
}

/// What the node answers at `/`.
fn body(node: &Node) -> Result<String> {
    let close = Fields::of(&[("Connection", "close")]);
    let mut visitor = Visitor::tcp(node.address("http")?)?;
    Ok(visitor.ask("GET", "/", "example.org", &close, b"")?.text())
}

/// What `rempart status --json` prints.
fn status(node: &Node) -> Result<Value> {
    let output = node.command(&["status", "--json"])?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Kills the edge as a crash would.
fn kill_edge(node: &Node) -> Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let edge = status(node)?["edge_pid"].as_i64().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    Ok(kill_process(edge.ok_or_else(|| anyhow::anyhow!("no edge"))?, Signal::KILL)?)
}
