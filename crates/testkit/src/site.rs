//! Four kinds of site that people really run, as scripted origins with the calls their visitors make.
//!
//! [`chat`] (token streams, WebSockets), [`social`] (hot JSON, images, ranges, conditional requests),
//! [`forum`] (logins, forms, redirects, uploads), [`objects`] (an object store in the manner of S3). A site
//! has no state that one visitor could see of another: the same call gets the same answer directly and
//! through a node, in any order. Bodies are made up, dates are fixed.
//!
//! It compares nothing: [`crate::compare`] does, and reads the same calls. Called by end-to-end tests. Read
//! next: [`crate::compare`].

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::digest::pattern;
use crate::fields::Fields;
use crate::gate::Gate;
use crate::origin::ScriptedOrigin;
use crate::websocket::Frame;

pub mod chat;
pub mod forum;
pub mod objects;
pub mod signature;
pub mod social;

/// The Date of every answer of every site: a proxy must keep it (RFC 9110 section 6.6.1).
pub const DATE: &str = "Sun, 01 Nov 2026 12:00:00 GMT";

/// In a call's target, replaced by a number that no other performance of a call has.
pub const NONCE: &str = "{nonce}";

/// A running site.
pub struct Site {
    /// The name visitors use, as `chat.example`.
    pub hostname: &'static str,
    /// The server behind it. It speaks HTTP/1.1 and, by prior knowledge, HTTP/2.
    pub origin: ScriptedOrigin,
    /// What its visitors do.
    pub calls: Vec<Call>,
    /// The gates that pace its streams, by the name given in a request.
    pub gates: Gates,
}

impl Site {
    /// Where it listens, for a visitor without a node between.
    pub fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// The call with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn call(&self, name: &str) -> Result<&Call> {
        let found = self.calls.iter().find(|call| call.name == name);
        found.ok_or_else(|| anyhow::anyhow!("{} has no call {name:?}", self.hostname))
    }
}

/// Starts one site of each kind.
///
/// # Errors
/// When no socket can be had.
pub fn start_all() -> Result<Vec<Site>> {
    Ok(vec![chat::start()?, social::start()?, forum::start()?, objects::start()?])
}

/// Named gates, made when first asked for.
#[derive(Clone, Default)]
pub struct Gates {
    named: Arc<Mutex<HashMap<String, Gate>>>,
}

impl Gates {
    /// The gate with this name.
    pub fn gate(&self, name: &str) -> Gate {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
    }
}

/// The body of a call.
#[derive(Clone, Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes of a pattern, made while they are sent.
    Pattern {
        /// Which pattern.
        seed: u64,
        /// How many bytes.
        length: u64,
    },
}

impl Body {
    /// Bytes in all.
    pub fn length(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Pattern { length, .. } => *length,
        }
    }

    /// Hands the body to `take` in parts of at most 64 KiB.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn in_parts<E>(&self, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        const PART: usize = 64 << 10;
        match self {
            Body::Bytes(bytes) => bytes.chunks(PART).try_for_each(take),
            Body::Pattern { seed, length } => {
                let mut offset = 0;
                while offset < *length {
                    let mut part = vec![0; usize::try_from(length - offset).unwrap_or(PART).min(PART)];
                    pattern(*seed, offset, &mut part);
                    take(&part)?;
                    offset += part.len() as u64;
                }
                Ok(())
            }
        }
    }

    /// The SHA-256 of all bytes, in hexadecimal.
    pub fn sha256_hex(&self) -> String {
        let mut running = crate::digest::Running::default();
        let added: io::Result<()> = self.in_parts(|part| {
            running.add(part);
            Ok(())
        });
        debug_assert!(added.is_ok(), "adding to a digest does not fail");
        running.sha256_hex()
    }
}

/// What a call does once the server accepted it.
#[derive(Clone, Debug)]
pub enum Kind {
    /// One request, one answer.
    Http,
    /// Opens a WebSocket, reads `pushed` frames, then sends each of these and reads one frame for each, then
    /// closes with 1000.
    WebSocket {
        /// Frames the server sends by itself.
        pushed: usize,
        /// What the visitor sends; masks are the driver's.
        frames: Vec<Frame>,
    },
}

/// One thing a visitor does, and what must come of it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Names it in reports.
    pub name: String,
    /// The method.
    pub method: String,
    /// The target; [`NONCE`] in it is replaced.
    pub target: String,
    /// Fields beside `Host` and the framing.
    pub fields: Fields,
    /// The body.
    pub body: Body,
    /// Trailers of the request; they make it chunked on HTTP/1.
    pub trailers: Fields,
    /// Sends the body without telling its length.
    pub is_chunked: bool,
    /// The gate to open for each event that arrived whole; [`NONCE`] in it is replaced. A proxy that holds
    /// events back never gets the next one.
    pub paced_by: Option<String>,
    /// Request or WebSocket.
    pub kind: Kind,
    /// The status it must have, directly as through a node.
    pub status: u16,
}

impl Call {
    /// A GET that must get 200.
    pub fn get(name: &str, target: impl Into<String>) -> Call {
        Call::new(name, "GET", target)
    }

    /// A call without fields and body that must get 200.
    pub fn new(name: &str, method: &str, target: impl Into<String>) -> Call {
        Call {
            name: name.to_owned(),
            method: method.to_owned(),
            target: target.into(),
            fields: Fields::new(),
            body: Body::Bytes(Vec::new()),
            trailers: Fields::new(),
            is_chunked: false,
            paced_by: None,
            kind: Kind::Http,
            status: 200,
        }
    }

    /// A WebSocket: see [`Kind::WebSocket`].
    pub fn websocket(name: &str, target: impl Into<String>, pushed: usize, frames: Vec<Frame>) -> Call {
        Call { kind: Kind::WebSocket { pushed, frames }, status: 101, ..Call::get(name, target) }
    }

    /// Appends a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Call {
        self.fields.push(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Call {
        self.body = Body::Bytes(bytes.into());
        self
    }

    /// Sets a made-up body of this length.
    #[must_use]
    pub fn pattern(mut self, seed: u64, length: u64) -> Call {
        self.body = Body::Pattern { seed, length };
        self
    }

    /// Sends the body chunked.
    #[must_use]
    pub fn chunked(mut self) -> Call {
        self.is_chunked = true;
        self
    }

    /// Appends a trailer.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Call {
        self.trailers.push(name, value);
        self.chunked()
    }

    /// Paces the answer's events by this gate.
    #[must_use]
    pub fn paced_by(mut self, gate: &str) -> Call {
        self.paced_by = Some(gate.to_owned());
        self
    }

    /// Sets the status that must come.
    #[must_use]
    pub fn expecting(mut self, status: u16) -> Call {
        self.status = status;
        self
    }
}

/// One range of a representation, as `bytes=…` asks for it (RFC 9110 section 14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// No range, or one to ignore: the whole.
    Whole,
    /// From the first to the last byte, both included.
    Part(u64, u64),
    /// None of it exists: 416.
    Unsatisfiable,
}

/// Reads a Range field against a length. Several ranges count as one to ignore.
pub(crate) fn range_of(field: Option<&str>, length: u64) -> Range {
    let Some((from, to)) =
        field.and_then(|field| field.strip_prefix("bytes=")).and_then(|set| set.split_once('-'))
    else {
        return Range::Whole;
    };
    let (first, last) = match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.min(length.saturating_sub(1))),
        (Ok(first), Err(_)) if to.is_empty() => (first, length.saturating_sub(1)),
        (Err(_), Ok(suffix)) if from.is_empty() && suffix > 0 => {
            (length.saturating_sub(suffix), length.saturating_sub(1))
        }
        (Err(_), Ok(_)) if from.is_empty() => return Range::Unsatisfiable,
        _ => return Range::Whole,
    };
    if first >= length { Range::Unsatisfiable } else { Range::Part(first, last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ranges_as_rfc_9110_has_them() {
        for (field, expected) in [
            ("bytes=0-4", Range::Part(0, 4)),
            ("bytes=5-", Range::Part(5, 9)),
            ("bytes=-3", Range::Part(7, 9)),
            ("bytes=8-99", Range::Part(8, 9)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=4-2", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("lines=1-2", Range::Whole),
        ] {
            assert_eq!(range_of(Some(field), 10), expected, "{field}");
        }
        assert_eq!(range_of(None, 10), Range::Whole);
    }

    #[test]
    fn a_made_up_body_hashes_as_its_bytes() {
        let mut bytes = vec![0; 100_000];
        pattern(3, 0, &mut bytes);
        let made = Body::Pattern { seed: 3, length: 100_000 };
        assert_eq!(made.sha256_hex(), Body::Bytes(bytes).sha256_hex());
    }
}
