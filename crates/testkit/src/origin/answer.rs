//! An answer as a value: what a scripted origin sends, step by step, in HTTP/1 or HTTP/2.
//!
//! It describes and does not send; what it cannot say (garbage, broken framing) a script over
//! [`super::http1::Exchange`] can. Called by tests and sites. Read next: [`super::http1`].

use bytes::Bytes;

use crate::fields::Fields;
use crate::gate::Gate;

/// One step of a body.
#[derive(Clone)]
pub enum Part {
    /// These bytes, flushed at once: one chunk, one DATA frame or more.
    Bytes(Bytes),
    /// `length` bytes of [`crate::digest::pattern`] from `offset`, made as they are sent.
    Pattern {
        /// Which pattern.
        seed: u64,
        /// Where in it to begin.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
    /// Waits for the test.
    Wait(Gate),
    /// Ends the connection here: by FIN on HTTP/1, by RST_STREAM on HTTP/2.
    Close,
    /// Ends it by a TCP reset on HTTP/1, by RST_STREAM on HTTP/2.
    Reset,
}

/// How the end of the body is told on HTTP/1; HTTP/2 knows `Length` and otherwise tells no length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimiter {
    /// Content-Length over the sum of all parts.
    Length,
    /// Chunked, one chunk a part (a pattern: one for each 64 KiB).
    Chunked,
    /// The end of the connection.
    Close,
}

/// A whole answer. It adds Content-Length or Transfer-Encoding and nothing else.
#[derive(Clone)]
pub struct Answer {
    pub(super) before: Vec<Gate>,
    pub(super) informational: Vec<(u16, Fields)>,
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) parts: Vec<Part>,
    pub(super) trailers: Fields,
    pub(super) delimiter: Delimiter,
    pub(super) closing: bool,
    pub(super) websocket: bool,
}

impl Answer {
    /// This status, no fields, no body.
    pub fn new(status: u16) -> Answer {
        Answer {
            before: Vec::new(),
            informational: Vec::new(),
            status,
            fields: Fields::new(),
            parts: Vec::new(),
            trailers: Fields::new(),
            delimiter: Delimiter::Length,
            closing: false,
            websocket: false,
        }
    }

    /// 200 with this body and its Content-Length.
    pub fn ok(body: impl Into<Bytes>) -> Answer {
        Answer::new(200).part(body)
    }

    /// Accepts a WebSocket (101, or 200 to an extended CONNECT), sends its parts as they are (they must be
    /// whole frames), then echoes every message, answers pings, and ends with the close frame's echo.
    pub fn websocket() -> Answer {
        Answer { websocket: true, ..Answer::new(101) }
    }

    /// Appends a field.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.fields.push(name, value);
        self
    }

    /// Appends a body part.
    #[must_use]
    pub fn part(mut self, bytes: impl Into<Bytes>) -> Answer {
        self.parts.push(Part::Bytes(bytes.into()));
        self
    }

    /// Appends `length` bytes of the pattern `seed`, from `offset` of it.
    #[must_use]
    pub fn pattern(mut self, seed: u64, offset: u64, length: u64) -> Answer {
        self.parts.push(Part::Pattern { seed, offset, length });
        self
    }

    /// Waits here, between parts, until the gate lets it pass.
    #[must_use]
    pub fn wait(mut self, gate: &Gate) -> Answer {
        self.parts.push(Part::Wait(gate.clone()));
        self
    }

    /// Waits before the final head (informational answers go out first).
    #[must_use]
    pub fn wait_before_head(mut self, gate: &Gate) -> Answer {
        self.before.push(gate.clone());
        self
    }

    /// Sends an informational answer first (100, 102, 103).
    #[must_use]
    pub fn informational(mut self, status: u16, fields: &[(&str, &str)]) -> Answer {
        self.informational.push((status, Fields::of(fields)));
        self
    }

    /// Sends the body chunked.
    #[must_use]
    pub fn chunked(mut self) -> Answer {
        self.delimiter = Delimiter::Chunked;
        self
    }

    /// Ends the body by closing the connection.
    #[must_use]
    pub fn until_close(mut self) -> Answer {
        self.delimiter = Delimiter::Close;
        self
    }

    /// Appends a trailer field; the body goes chunked.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Answer {
        self.trailers.push(name, value);
        self.chunked()
    }

    /// Says `Connection: close` (HTTP/1) and closes after the answer.
    #[must_use]
    pub fn closing(mut self) -> Answer {
        self.closing = true;
        self
    }

    /// Closes in the middle, at this place of the body.
    #[must_use]
    pub fn broken_here(mut self) -> Answer {
        self.parts.push(Part::Close);
        self
    }

    /// Resets in the middle, at this place of the body.
    #[must_use]
    pub fn reset_here(mut self) -> Answer {
        self.parts.push(Part::Reset);
        self
    }

    /// The sum of all parts in bytes.
    pub fn length(&self) -> u64 {
        let length = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::Pattern { length, .. } => *length,
            Part::Wait(_) | Part::Close | Part::Reset => 0,
        };
        self.parts.iter().map(length).sum()
    }

    /// Replaces the declared status, as for a HEAD variant of the same answer.
    #[must_use]
    pub fn status(mut self, status: u16) -> Answer {
        self.status = status;
        self
    }

    /// Whether an answer to `method` has a body (RFC 9110 section 6.4.1).
    pub(super) fn has_body(&self, method: &str) -> bool {
        method != "HEAD" && self.status >= 200 && self.status != 204 && self.status != 304
    }
}

/// The step in which patterns are made and sent, in bytes.
pub(super) const STEP: usize = 64 << 10;
