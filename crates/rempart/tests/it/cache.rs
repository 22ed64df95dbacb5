//! The cache as visitors meet it: what is kept, who waits for whom, what is said of it, how it is emptied.
//!
//! Nothing here waits for time to pass: an answer that is to be stale says an `Age` beyond its lifetime. Read
//! next: [`basics`], then [`fetches`].

mod basics;
mod chosen;
#[cfg(feature = "fault-injection")]
mod contained;
mod disk;
mod fetches;
mod hints;
mod keys;
mod purges;
mod stale;

use anyhow::{Context as _, Result};
use testkit::fields::Fields;
use testkit::node::Node;
use testkit::origin::{Answer, OriginSpec, Request, ScriptedOrigin};
use testkit::visitor::{Response, Visitor};

use super::rig::{HOST, cleartext, fields, start, visitor, zone_with};

/// A zone file with a cache, with more lines for its `[cache]`.
fn zone(origin: &ScriptedOrigin, lines: &str) -> String {
    zone_with(&format!("[cache]\nenabled = true\n{lines}\n"), &[&origin.url()], "")
}

/// A node before one origin, with a cache in memory.
fn before(origin: &ScriptedOrigin, lines: &str) -> Result<Node> {
    start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", zone(origin, lines)))
}

/// An origin whose answers say how many requests came before.
fn counting(answer: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static) -> Result<ScriptedOrigin> {
    let count = std::sync::atomic::AtomicU64::new(0);
    OriginSpec::new().answering(move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answer(request, Answer::ok(format!("answer {number}")))
    })
}

/// As [`counting`], fresh for a minute.
fn fresh() -> Result<ScriptedOrigin> {
    counting(|_, answer| answer.field("Cache-Control", "max-age=60"))
}

fn get(node: &Node, target: &str) -> Result<Response> {
    with(node, target, &[])
}

fn with(node: &Node, target: &str, sent: &[(&str, &str)]) -> Result<Response> {
    visitor(node)?.ask("GET", target, HOST, &fields(sent), b"")
}

/// What `Cache-Status` says.
fn said(response: &Response) -> String {
    response.fields.first("cache-status").unwrap_or("nothing").to_owned()
}

fn is_hit(response: &Response) -> bool {
    said(response).starts_with("rempart; hit")
}

/// Asks until an answer is the one, with patience that only bounds a failure.
fn until(node: &Node, target: &str, is_it: impl Fn(&Response) -> bool) -> Result<Response> {
    let found = std::cell::RefCell::new(None);
    node.wait_until("the answer that is waited for", || {
        let answer = get(node, target).ok().filter(|answer| is_it(answer));
        let is_found = answer.is_some();
        found.replace(answer);
        is_found
    })?;
    found.into_inner().context("an answer")
}

/// A visitor with a request under way.
fn ask(node: &Node, target: &str) -> Result<Visitor> {
    let mut visitor = visitor(node)?;
    visitor.send_head("GET", target, HOST, &Fields::new())?;
    Ok(visitor)
}
