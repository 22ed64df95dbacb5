//! Why httparse refused a head, or whether an unfinished one is already beyond repair: the cold path.
//!
//! httparse's errors are coarse (a version error may be a doubled space), so the head is read again here, by
//! lines. It never accepts anything; a minor version above 1 it makes readable ([`as_http11`]). Called by
//! `request.rs` and `response.rs`.

use crate::field;
use crate::malformed::Malformed;

/// Names the reason for which httparse refused a request's head with `error`.
#[cold]
pub(crate) fn request(head: &[u8], error: httparse::Error) -> Malformed {
    let head = skip_empty_lines(head).1;
    if head.starts_with(b"PRI * HTTP/2.0") {
        return Malformed::Http2Preface;
    }
    let (line, rest) = first_line(head);
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => field_lines(rest, error),
        httparse::Error::NewLine => request_new_line(line),
        httparse::Error::Token | httparse::Error::Version | httparse::Error::Status => request_line(line),
    }
}

/// Names the reason for which httparse refused a response's head with `error`.
#[cold]
pub(crate) fn response(head: &[u8], error: httparse::Error) -> Malformed {
    let (line, rest) = first_line(head);
    match error {
        httparse::Error::TooManyHeaders => Malformed::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => field_lines(rest, error),
        httparse::Error::NewLine => Malformed::BareCarriageReturn,
        // httparse says the same of what separates the version from the status.
        httparse::Error::Version if line.starts_with(b"HTTP/1.1") || line.starts_with(b"HTTP/1.0") => {
            Malformed::StatusLine
        }
        httparse::Error::Version => version(line.get(..8).unwrap_or(line)),
        httparse::Error::Token | httparse::Error::Status => Malformed::StatusLine,
    }
}

/// Where a response's minor version stands.
pub(crate) const RESPONSE_MINOR: usize = b"HTTP/1.".len();

/// Where a request's minor version stands: at the end of its first line, as far as that has come.
#[cold]
pub(crate) fn request_minor(head: &[u8]) -> usize {
    let rest = skip_empty_lines(head).1;
    let line = without_cr(first_line(rest).0);
    (head.len() - rest.len() + line.len()).saturating_sub(1)
}

/// A copy of a head in HTTP/1.2 to 1.9 that says HTTP/1.1, which is how it is to be read (RFC 9110 §2.5).
/// `None` for other versions.
#[cold]
pub(crate) fn as_http11(head: &[u8], minor_at: usize) -> Option<Vec<u8>> {
    let until = head.get(..=minor_at)?;
    let (b'2'..=b'9', before) = until.split_last()? else { return None };
    before.ends_with(b"HTTP/1.").then(|| {
        let mut copy = head.to_vec();
        if let Some(minor) = copy.get_mut(minor_at) {
            *minor = b'1';
        }
        copy
    })
}

/// Looks at a request head that has not ended yet.
///
/// `is_full` says that no more bytes fit.
///
/// # Errors
///
/// What cannot become right by more bytes: a bare LF, empty lines, a head beyond the limit.
#[cold]
pub(crate) fn partial_request(head: &[u8], is_full: bool) -> Result<(), Malformed> {
    let (empty_lines, rest) = skip_empty_lines(head);
    if empty_lines > 1 {
        return Err(Malformed::EmptyLines);
    }
    lines_end_in_crlf(rest)?;
    match (is_full, memchr::memchr(b'\n', rest)) {
        (false, _) => Ok(()),
        (true, None) => Err(Malformed::TargetTooLong),
        (true, Some(_)) => Err(Malformed::HeadTooLarge),
    }
}

/// As [`partial_request`], for a response: no empty line may stand before it, and no line is a target.
#[cold]
pub(crate) fn partial_response(head: &[u8], is_full: bool) -> Result<(), Malformed> {
    if head.first().is_some_and(|first| matches!(first, b'\r' | b'\n')) {
        return Err(Malformed::EmptyLines);
    }
    lines_end_in_crlf(head)?;
    if is_full { Err(Malformed::HeadTooLarge) } else { Ok(()) }
}

/// Counts the CRLFs at the start and returns what follows them; a bare LF is left to other checks.
pub(crate) fn skip_empty_lines(mut head: &[u8]) -> (usize, &[u8]) {
    let mut count = 0;
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        (count, head) = (count + 1, rest);
    }
    (count, head)
}

fn lines_end_in_crlf(head: &[u8]) -> Result<(), Malformed> {
    for at in memchr::memchr_iter(b'\n', head) {
        if at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r') {
            return Err(Malformed::BareLineFeed);
        }
    }
    Ok(())
}

/// The first line without its LF (its CR stays), and what follows.
fn first_line(head: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', head).unwrap_or(head.len());
    (head.get(..end).unwrap_or_default(), head.get(end + 1..).unwrap_or_default())
}

fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line end was expected after the version, or CRLF where only its CR came.
fn request_new_line(line: &[u8]) -> Malformed {
    let line = without_cr(line);
    let is_whole = line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0");
    if is_whole || memchr::memchr(b'\r', line).is_some() {
        return Malformed::BareCarriageReturn;
    }
    request_line(line)
}

fn request_line(line: &[u8]) -> Malformed {
    let line = without_cr(line);
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    if !field::is_field_name(method) {
        return Malformed::Method;
    }
    let target = words.next().unwrap_or_default();
    if memchr::memchr(b'\r', line).is_some() {
        return Malformed::BareCarriageReturn;
    }
    match words.next() {
        _ if target.is_empty() => Malformed::RequestLine,
        _ if target.iter().any(|byte| *byte <= b' ' || *byte >= 0x7f) => Malformed::Target,
        None => Malformed::VersionMissing,
        Some(rest) if rest.contains(&b' ') || rest.contains(&b'\t') => Malformed::RequestLine,
        Some(rest) => version(rest),
    }
}

fn version(text: &[u8]) -> Malformed {
    match text {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Malformed::VersionUnsupported
        }
        _ => Malformed::VersionInvalid,
    }
}

/// Finds the first field line that is wrong; lines are right when each of its parts is.
fn field_lines(mut rest: &[u8], error: httparse::Error) -> Malformed {
    while !rest.is_empty() {
        let (line, after) = first_line(rest);
        rest = after;
        let line = without_cr(line);
        if line.is_empty() {
            break;
        }
        if let Err(reason) = field_line(line) {
            return reason;
        }
    }
    match error {
        httparse::Error::HeaderName => Malformed::FieldName,
        _ => Malformed::FieldValue,
    }
}

/// Splits a field line, given without its CRLF, into name and trimmed value (RFC 9112 §5).
///
/// # Errors
///
/// `Folding`, `FieldName`, `WhitespaceBeforeColon`, `BareCarriageReturn`, `FieldValue`.
pub(crate) fn field_line(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(Malformed::Folding);
    }
    let colon = memchr::memchr(b':', line).ok_or(Malformed::FieldName)?;
    let (name, value) = (line.get(..colon).unwrap_or_default(), line.get(colon + 1..).unwrap_or_default());
    if name.last().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err(Malformed::WhitespaceBeforeColon);
    }
    if !field::is_field_name(name) {
        return Err(Malformed::FieldName);
    }
    if memchr::memchr(b'\r', value).is_some() {
        return Err(Malformed::BareCarriageReturn);
    }
    if !field::is_field_value(value) {
        return Err(Malformed::FieldValue);
    }
    Ok((name, field::trim(value)))
}
