//! Trailer fields: which may be there, and the section as name and value (RFC 9110 §6.5, RFC 9112 §7.1.2).
//!
//! Trailers are never merged into the head. Called by `body.rs` for each line, and by whoever forwards them.

use crate::explain;
use crate::field::{self, Known};
use crate::malformed::Malformed;

/// Name and value of a trailer.
pub type Trailer<'b> = (&'b [u8], &'b [u8]);

/// Each trailer, in order.
pub type Trailers<'b> = Vec<Trailer<'b>>;

/// Splits raw trailer lines, `Name: value` CRLF each, as `BodyDecoder::take_trailers` gives them.
///
/// Values come without whitespace around them. No more pairs than `raw` has lines; fields that may not be
/// trailers are left out (RFC 9110 §6.5.1 lets a recipient discard them).
///
/// # Errors
///
/// What a line of a head is refused for, and a line without CRLF.
pub fn parse_trailers(raw: &[u8]) -> Result<Trailers<'_>, Malformed> {
    let mut trailers = Vec::new();
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        trailers.extend(trailer_line(line)?);
    }
    Ok(trailers)
}

/// One line with its CRLF as name and value; none if such a field may not be a trailer.
pub(crate) fn trailer_line(line: &[u8]) -> Result<Option<Trailer<'_>>, Malformed> {
    let line = line.strip_suffix(b"\r\n").ok_or(Malformed::BareLineFeed)?;
    let (name, value) = explain::field_line(line)?;
    if !may_be_trailer(name) {
        return Ok(None);
    }
    if field::is_lookalike(name) {
        return Err(Malformed::Lookalike);
    }
    Ok(Some((name, value)))
}

/// Whether a field may come after the content. What frames, routes, authorizes or describes the message must
/// be known before it (RFC 9110 §6.5.1), and a reader that merges trailers would be told it too late.
pub fn may_be_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 8] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"max-forwards",
        b"pragma",
        b"range",
        b"x-real-ip",
    ];
    match Known::of(name) {
        Known::Other => !FORBIDDEN.iter().any(|spelled| name.eq_ignore_ascii_case(spelled)),
        Known::Date | Known::Server | Known::Age => true,
        _ => false,
    }
}
