//! What heads of requests and of responses share: framing, and the one pass over the fields.
//!
//! It does not know methods, targets and statuses; those are in `request.rs` and `response.rs`, which call
//! [`gather`]. Read next: `body.rs`, which acts on [`Framing`].

use std::mem::MaybeUninit;

use crate::field::{self, Field, Known, Span};
use crate::limits::{CONNECTION_OPTIONS_MAX, FIELDS_CEILING, Limits};
use crate::malformed::Malformed;

/// How the end of a message's content is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There is no content.
    #[default]
    None,
    /// As many bytes as Content-Length said. `Length(0)` is as finished as `None`, and kept apart so that
    /// `Content-Length: 0` can be forwarded.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked,
    /// Everything until the connection ends; responses only.
    UntilClose,
}

impl Framing {
    /// Whether bytes of content follow the head; false for `None` and `Length(0)`.
    pub fn has_content(self) -> bool {
        !matches!(self, Framing::None | Framing::Length(0))
    }
}

/// Room for the fields of one head on the stack; left uninitialized, so it costs nothing.
pub(crate) type Room<'b> = [MaybeUninit<httparse::Header<'b>>; FIELDS_CEILING];

pub(crate) const ROOM: Room<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];

/// What one pass over the fields found.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) host: Option<Span>,
    pub(crate) content_length: Option<u64>,
    pub(crate) is_chunked: bool,
    pub(crate) has_close: bool,
    pub(crate) has_keep_alive: bool,
    /// An Upgrade field that Connection names.
    pub(crate) is_upgrade: bool,
    pub(crate) expects_continue: bool,
    pub(crate) accepts_trailers: bool,
}

impl Facts {
    /// Whether the connection may carry another message after this one (RFC 9112 §9.3).
    ///
    /// `close` wins over `keep-alive`. HTTP/1.0 persists when it asks to: towards visitors we are a gateway,
    /// not the proxy that the section forbids it to.
    pub(crate) fn is_persistent(&self, minor: u8) -> bool {
        !self.has_close && (minor == 1 || self.has_keep_alive)
    }
}

/// Fills `fields` from what httparse found in the head `head`, and reads what concerns the message itself.
///
/// `minor` is the minor version; with `is_tunnel`, Content-Length and Transfer-Encoding mean nothing. Checks
/// are made in the order of the fields, but for what needs all of them.
///
/// # Errors
///
/// Everything about line ends, lengths, codings, repeated Host, expectations and lookalikes.
pub(crate) fn gather(
    head: &[u8],
    parsed: &[httparse::Header<'_>],
    minor: u8,
    is_tunnel: bool,
    fields: &mut Vec<Field>,
) -> Result<Facts, Malformed> {
    let base = head.as_ptr() as usize;
    let mut facts = Facts::default();
    let (mut has_upgrade, mut names_upgrade) = (false, false);
    let (mut options, mut has_nominations) = (0, false);
    let mut codings: Option<&[u8]> = None;

    fields.clear();
    fields.reserve(parsed.len());
    for header in parsed {
        let (name, value) = (Span::within(base, header.name.as_bytes()), Span::within(base, header.value));
        ends_in_crlf(head, usize::from(name.start))?;
        let known = Known::of(header.name.as_bytes());
        match known {
            Known::Other if field::is_lookalike(header.name.as_bytes()) => return Err(Malformed::Lookalike),
            Known::Host => {
                set_once(&mut facts.host, value, Malformed::HostRepeated)?;
            }
            Known::ContentLength | Known::TransferEncoding if is_tunnel => {}
            Known::ContentLength => {
                let length = decimal(header.value).ok_or(Malformed::ContentLengthInvalid)?;
                set_once(&mut facts.content_length, length, Malformed::ContentLengthRepeated)?;
            }
            Known::TransferEncoding => {
                set_once(&mut codings, header.value, Malformed::TransferEncodingInvalid)?;
            }
            Known::Connection => {
                for option in field::list(header.value) {
                    options += 1;
                    if option.eq_ignore_ascii_case(b"close") {
                        facts.has_close = true;
                    } else if option.eq_ignore_ascii_case(b"keep-alive") {
                        facts.has_keep_alive = true;
                    } else if option.eq_ignore_ascii_case(b"upgrade") {
                        names_upgrade = true;
                    } else if field::is_field_name(option) {
                        has_nominations = true;
                    } else {
                        // Not readable as an option: whatever it asked for, a closed connection is safe.
                        facts.has_close = true;
                    }
                }
                if options > CONNECTION_OPTIONS_MAX {
                    return Err(Malformed::ConnectionOptions);
                }
            }
            Known::Upgrade => has_upgrade |= !header.value.is_empty(),
            Known::Expect => {
                facts.expects_continue = is_continue(header.value);
                if !facts.expects_continue {
                    return Err(Malformed::Expectation);
                }
            }
            Known::Te => {
                facts.accepts_trailers |=
                    field::list(header.value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            _ => {}
        }
        fields.push(Field { name, value, known, is_hop_by_hop: known.is_hop_by_hop() });
    }
    // The last field line, and the empty line after it.
    ends_in_crlf(head, head.len())?;
    ends_in_crlf(head, head.len().saturating_sub(2))?;

    if has_nominations {
        nominate(head, fields);
    }
    if let Some(codings) = codings {
        facts.is_chunked = is_chunked(codings)?;
        if facts.content_length.is_some() {
            return Err(Malformed::LengthAndTransferEncoding);
        }
        if minor == 0 {
            return Err(Malformed::TransferEncodingMisplaced);
        }
    }
    facts.is_upgrade = has_upgrade && names_upgrade && minor == 1;
    Ok(facts)
}

/// Keeps the value of a field that may come once; `repeated` is the reason when it came before.
fn set_once<T>(place: &mut Option<T>, value: T, repeated: Malformed) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(repeated),
    }
}

/// Checks that CRLF stands before `next`, where a line of `head` starts.
///
/// httparse also takes a bare LF for a line's end; between a value and the next name it lets through nothing
/// but whitespace and one line end, so looking at two bytes per line is enough.
#[inline]
fn ends_in_crlf(head: &[u8], next: usize) -> Result<(), Malformed> {
    match next.checked_sub(2).and_then(|start| head.get(start..next)) {
        Some(b"\r\n") => Ok(()),
        _ => Err(Malformed::BareLineFeed),
    }
}

/// Marks the fields that Connection names as hop-by-hop (RFC 9110 §7.6.1), except those that are end-to-end
/// by definition. At most [`CONNECTION_OPTIONS_MAX`] options times [`FIELDS_CEILING`] comparisons.
#[cold]
fn nominate(head: &[u8], fields: &mut [Field]) {
    for at in 0..fields.len() {
        let Some(connection) = fields.get(at).copied().filter(|field| field.known == Known::Connection)
        else {
            continue;
        };
        for option in field::list(connection.value.of(head)) {
            if Known::of(option) != Known::Other || is_end_to_end(option) {
                continue;
            }
            for field in fields.iter_mut() {
                if field.known == Known::Other && field.name.of(head).eq_ignore_ascii_case(option) {
                    field.is_hop_by_hop = true;
                }
            }
        }
    }
}

/// Fields outside [`Known`] that concern the final recipient or a cache: to drop them because a visitor
/// named them in Connection would be a way to strip credentials or cache rules behind us.
fn is_end_to_end(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 8] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"etag",
        b"range",
        b"vary",
        b"x-real-ip",
    ];
    NAMES.iter().any(|spelled| name.eq_ignore_ascii_case(spelled))
}

/// Digits alone, up to 2^63-1, since some readers keep lengths in signed integers (RFC 9110 §8.6).
fn decimal(value: &[u8]) -> Option<u64> {
    // Nineteen digits fit into 64 bits.
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = value.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    (number <= i64::MAX as u64).then_some(number)
}

/// Whether a Transfer-Encoding is exactly one `chunked`; all else is refused (RFC 9112 §6.1, §6.3).
fn is_chunked(codings: &[u8]) -> Result<bool, Malformed> {
    if codings.eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    let mut members = codings.split(|byte| *byte == b',').map(field::trim).rev();
    let is_last_chunked = members.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let is_rest_readable =
        members.all(|coding| field::is_field_name(coding) && !coding.eq_ignore_ascii_case(b"chunked"));
    Err(if is_last_chunked && is_rest_readable {
        Malformed::TransferEncodingUnknown
    } else {
        Malformed::TransferEncodingInvalid
    })
}

/// Whether an Expect field has `100-continue` and nothing else.
fn is_continue(value: &[u8]) -> bool {
    let mut members = field::list(value).peekable();
    members.peek().is_some() && members.all(|member| member.eq_ignore_ascii_case(b"100-continue"))
}

/// Whether an unfinished head needs no new reading: no line ends among the bytes after `seen`, and more fit.
pub(crate) fn may_wait(buffer: &[u8], seen: usize, limits: &Limits) -> bool {
    let is_new_without_line_end = buffer.get(seen..).is_some_and(|new| memchr::memchr(b'\n', new).is_none());
    seen > 0 && is_new_without_line_end && buffer.len() < limits.head_bytes()
}

/// The first value of `known`, or `None`.
pub(crate) fn known<'b>(fields: &[Field], buffer: &'b [u8], known: Known) -> Option<&'b [u8]> {
    fields.iter().find(|field| field.known == known).map(|field| field.value.of(buffer))
}
