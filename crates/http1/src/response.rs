//! Heads of responses: the status line, and how the content ends (RFC 9112 §4, §6.3).
//!
//! It does not follow a request through its informational responses: the caller parses each head as it
//! comes. Called by `origin`. Read next: `head.rs`.

use crate::explain;
use crate::field::{Field, Known, Span};
use crate::head::{self, Facts, Framing};
use crate::limits::Limits;
use crate::malformed::Malformed;

/// What the request was, as far as the response's framing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The request's method was HEAD: the response has no content.
    pub to_head: bool,
    /// The request's method was CONNECT: a 2xx response has no content, a tunnel follows it.
    pub to_connect: bool,
}

/// The head of one response, as offsets into the buffer it was parsed from.
///
/// Made to be pooled, like [`crate::RequestHead`]. After an error or `Ok(false)` its content means nothing.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status code, 100 to 999: above 599 it has no meaning (RFC 9110 §15), and sites use it.
    pub status: u16,
    /// The reason phrase; may be empty, may have bytes from 0x80.
    pub reason: Span,
    /// The minor version: 0 or 1; a higher one is read as 1 (RFC 9110 §2.5).
    pub minor: u8,
    /// Bytes of the head from the buffer's start. Content starts here.
    pub len: usize,
    /// How the content ends. `None` for 1xx, 204, 304, and answers to HEAD and CONNECT, whatever the fields
    /// say.
    pub framing: Framing,
    /// Whether another response may follow on the connection. False when the content ends with it, after
    /// 101, and for 204 with framing fields, since content may follow that nobody expects.
    pub is_persistent: bool,
    /// Whether it is 101 with an Upgrade that Connection names: another protocol follows.
    pub is_upgrade: bool,
    /// Content-Length as sent, also where no content follows: HEAD and 304 (RFC 9110 §8.6). `None` for the
    /// 2xx answer to CONNECT.
    pub declared_length: Option<u64>,
    /// The fields in their order.
    pub fields: Vec<Field>,
}

impl ResponseHead {
    /// Parses the head at the start of `buffer`, as the answer to a request such as `expected`.
    ///
    /// `true`: a whole head of `self.len` bytes lies there. `false`: more bytes are needed. The final space
    /// of a status line without reason may be missing, as several servers have it.
    ///
    /// # Errors
    ///
    /// Any [`Malformed`] of heads; the connection cannot be used afterwards.
    pub fn parse(&mut self, buffer: &[u8], expected: Expected, limits: &Limits) -> Result<bool, Malformed> {
        let bytes = buffer.get(..limits.head_bytes()).unwrap_or(buffer);
        match self.parse_bytes(bytes, expected, limits) {
            Err(Malformed::VersionUnsupported) => match explain::as_http11(bytes, explain::RESPONSE_MINOR) {
                Some(bytes) => self.parse_bytes(&bytes, expected, limits),
                None => Err(Malformed::VersionUnsupported),
            },
            parsed => parsed,
        }
    }

    fn parse_bytes(&mut self, bytes: &[u8], expected: Expected, limits: &Limits) -> Result<bool, Malformed> {
        let mut room = head::ROOM;
        let room = room.get_mut(..limits.fields()).unwrap_or_default();
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let len = match config.parse_response_with_uninit_headers(&mut parsed, bytes, room) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => {
                explain::partial_response(bytes, bytes.len() == limits.head_bytes())?;
                return Ok(false);
            }
            Err(error) => return Err(explain::response(bytes, error)),
        };
        let (Some(status), Some(minor)) = (parsed.code, parsed.version) else {
            return Err(Malformed::StatusLine);
        };
        let head = bytes.get(..len).unwrap_or_default();
        if head.first() != Some(&b'H') {
            return Err(Malformed::EmptyLines);
        }
        if !(100..=999).contains(&status) {
            return Err(Malformed::StatusCode);
        }
        (self.status, self.minor, self.len) = (status, minor, len);
        self.reason = reason_of(head);

        // RFC 9110 §9.3.6: a tunnel begins, and whatever the fields say about content is ignored.
        let is_tunnel = expected.to_connect && (200..300).contains(&status);
        let facts = head::gather(head, parsed.headers, minor, is_tunnel, &mut self.fields)?;
        self.declared_length = facts.content_length;
        self.framing = framing_of(status, expected.to_head || is_tunnel, &facts)?;
        self.is_upgrade = status == 101 && facts.is_upgrade;
        let is_certain = match status {
            101 => false,
            204 => !facts.is_chunked && facts.content_length.is_none_or(|length| length == 0),
            _ => self.framing != Framing::UntilClose,
        };
        self.is_persistent = facts.is_persistent(minor) && is_certain;
        Ok(true)
    }

    /// As [`ResponseHead::parse`], when the first `seen` bytes of `buffer` gave `Ok(false)` before; see
    /// [`crate::RequestHead::parse_more`].
    ///
    /// # Errors
    ///
    /// As `parse`; what is wrong in an unfinished line may show at its end only.
    pub fn parse_more(
        &mut self,
        buffer: &[u8],
        seen: usize,
        expected: Expected,
        limits: &Limits,
    ) -> Result<bool, Malformed> {
        if head::may_wait(buffer, seen, limits) { Ok(false) } else { self.parse(buffer, expected, limits) }
    }

    /// The first value of the field `k`, or `None`.
    pub fn known<'b>(&self, buffer: &'b [u8], k: Known) -> Option<&'b [u8]> {
        head::known(&self.fields, buffer, k)
    }
}

/// The reason phrase: httparse hides it when it has bytes from 0x80, so it is found here. A status line is
/// `HTTP/1.1 200`, then perhaps a space and the reason.
fn reason_of(head: &[u8]) -> Span {
    const START: usize = 13;
    let rest = head.get(START..).unwrap_or_default();
    let has_reason = head.get(START - 1) == Some(&b' ');
    let end = memchr::memchr(b'\r', rest).filter(|_| has_reason).unwrap_or_default();
    Span { start: START as u16, len: end as u16 }
}

/// RFC 9112 §6.3, in its order; `has_none` when already the request leaves no place for content.
fn framing_of(status: u16, has_none: bool, facts: &Facts) -> Result<Framing, Malformed> {
    if status < 200 && facts.is_chunked {
        return Err(Malformed::TransferEncodingMisplaced);
    }
    let has_none = has_none || matches!(status, 100..=199 | 204 | 304);
    Ok(match (facts.is_chunked, facts.content_length) {
        _ if has_none => Framing::None,
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}
