//! Compression as visitors meet it: what is compressed, with what, what is said of it, and what never is.
//!
//! Bodies are undone by `testkit::coding`; that other decoders read them too is shown by the scripts of curl
//! and curl_cffi (`tests/clients/compression.py`). Read next: [`streamed`], then [`stored`].

mod chosen;
#[cfg(feature = "fault-injection")]
mod contained;
mod stored;
mod streamed;

use anyhow::{Context as _, Result};
use testkit::coding::decoded;
use testkit::node::Node;
use testkit::origin::{Answer, OriginSpec, Request, ScriptedOrigin};
use testkit::visitor::Response;

use super::rig::{HOST, cleartext, fields, start, visitor, zone_with};

/// Some text that compresses well, of this many bytes.
fn text(bytes: usize) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= bytes {
            break;
        }
        text.push_str(&format!("Line {number}: where the origin thinks, the visitor waits.\n"));
    }
    text.truncate(bytes);
    text
}

/// A zone that compresses, with more lines before its pool.
fn zone(origin: &ScriptedOrigin, lines: &str) -> String {
    zone_with(&format!("[compression]\nenabled = true\n{lines}\n"), &[&origin.url()], "")
}

/// A node before one origin that compresses, with a cache in memory where the lines say so.
fn before(origin: &ScriptedOrigin, lines: &str) -> Result<Node> {
    start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", zone(origin, lines)))
}

fn with(node: &Node, target: &str, sent: &[(&str, &str)]) -> Result<Response> {
    visitor(node)?.ask("GET", target, HOST, &fields(sent), b"")
}

/// Asks for something in these codings.
fn accepting(node: &Node, target: &str, accepted: &str) -> Result<Response> {
    with(node, target, &[("Accept-Encoding", accepted)])
}

/// What the answer is coded with.
fn coding(response: &Response) -> Option<&str> {
    response.fields.first("content-encoding")
}

/// What the answer says when its coding is undone.
fn plain(response: &Response) -> Result<String> {
    Ok(String::from_utf8(decoded(coding(response), &response.body)?)?)
}

/// An origin that answers everything with this type and text, and what is made of it.
fn saying(
    kind: &'static str,
    body: &str,
    more: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
) -> Result<ScriptedOrigin> {
    let body = body.to_owned();
    OriginSpec::new()
        .answering(move |request| more(request, Answer::ok(body.clone()).field("Content-Type", kind)))
}
