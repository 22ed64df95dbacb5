//! What makes a message well-formed (RFC 9114 §4.1.2 to §4.4, RFC 9220): names, values, pseudo-fields.
//!
//! It decodes a section and judges it in one pass, handing what it accepts to a sink that the caller brings;
//! an error can come after the sink got some of it, which is then to be thrown away. It does not join cookie
//! fields, resolve paths or know zones. Read next: [`syntax`] for the character sets.

mod syntax;

use crate::qpack::decode::{Line, Scratch, walk};
use crate::{Broken, Code, Limits};
use std::cell::Cell;
pub(crate) use syntax::is_connection_specific;

/// Receives a request head in the order of the wire: pseudo-fields first, then the fields. Slices live
/// for the call only. What was received counts only once [`decode_request`] has said `Ok`.
pub trait RequestSink {
    /// A token (RFC 9110 §9.1), never empty.
    fn method(&mut self, value: &[u8]);
    /// A scheme (RFC 3986 §3.1), in the visitor's case; absent for a plain CONNECT.
    fn scheme(&mut self, value: &[u8]);
    /// Host and optional port, not empty, without user information. When it does not come, the field `host`
    /// does, unless the scheme is neither http nor https.
    fn authority(&mut self, value: &[u8]);
    /// Path and query, starting with a slash, or `*` for OPTIONS; absent for a plain CONNECT.
    fn path(&mut self, value: &[u8]);
    /// The protocol of an extended CONNECT (RFC 9220), a token.
    fn protocol(&mut self, value: &[u8]);
    /// A field: name in lower case, value without surrounding blanks. `host` comes here at most once and
    /// agrees with the authority; `content-length` comes here once, however often it was sent. Cookie may
    /// come in several fields (RFC 9114 §4.2.1): join them by `"; "` before they leave HTTP/3.
    fn field(&mut self, name: &[u8], value: &[u8]);
}

/// What a request's head says about its form, beyond what the sink received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestShape {
    /// The length of the body, where declared: give it to [`crate::RequestStream::expect_body`]. Always
    /// `None` for CONNECT.
    pub content_length: Option<u64>,
    /// The method is CONNECT, extended or not: call [`crate::RequestStream::become_tunnel`].
    pub is_connect: bool,
    /// It carries `:protocol`. If it was not announced in SETTINGS, break the stream with [`Code::Message`].
    pub is_extended_connect: bool,
}

const fn malformed<T>(why: &'static str) -> Result<T, Broken> {
    Err(Broken::Stream(Code::Message, why))
}

/// Decodes and judges field sections, and keeps the memory that this takes from one to the next (at most
/// twice [`Limits::encoded_section_bytes_max`] times 8/5). One for a thread or a connection will do.
#[derive(Debug, Default)]
pub struct Decoder {
    scratch: Scratch,
    authority: Vec<u8>,
}

impl Decoder {
    /// A decoder that holds no memory yet.
    pub fn new() -> Self {
        Decoder::default()
    }

    /// See [`decode_fields`].
    ///
    /// # Errors
    /// As there.
    pub fn fields(
        &mut self,
        section: &[u8],
        limits: &Limits,
        sink: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        walk(section, limits, &mut self.scratch, |line| {
            sink(line.name, line.value);
            Ok(())
        })
    }

    /// See [`decode_request`].
    ///
    /// # Errors
    /// As there.
    pub fn request(
        &mut self,
        section: &[u8],
        limits: &Limits,
        sink: &mut dyn RequestSink,
    ) -> Result<RequestShape, Broken> {
        self.authority.clear();
        let mut request = RequestCheck { seen: Seen::default(), authority: &mut self.authority };
        walk(section, limits, &mut self.scratch, |line| request.line(line, sink))?;
        request.finish()
    }

    /// See [`decode_response`].
    ///
    /// # Errors
    /// As there.
    pub fn response(
        &mut self,
        section: &[u8],
        limits: &Limits,
        sink: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<u16, Broken> {
        let mut status = None;
        let mut saw_field = false;
        walk(section, limits, &mut self.scratch, |line| {
            if line.name.first() != Some(&b':') {
                saw_field = true;
                check_field(line)?;
                sink(line.name, line.value);
                return Ok(());
            }
            if line.name != b":status" || saw_field || status.is_some() {
                return malformed("a pseudo-field is unknown, repeated or out of place");
            }
            status = syntax::parse_status(line.value);
            if status.is_none() { malformed(":status is not three digits") } else { Ok(()) }
        })?;
        status.map_or(malformed(":status is missing"), Ok)
    }

    /// See [`decode_trailers`].
    ///
    /// # Errors
    /// As there.
    pub fn trailers(
        &mut self,
        section: &[u8],
        limits: &Limits,
        sink: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), Broken> {
        walk(section, limits, &mut self.scratch, |line| {
            if line.name.first() == Some(&b':') {
                return malformed("a pseudo-field in the trailers");
            }
            check_field(line)?;
            // RFC 9110 §6.5.1: framing and routing cannot change after the fact.
            if !matches!(line.name, b"content-length" | b"host" | b"te" | b"trailer") {
                sink(line.name, line.value);
            }
            Ok(())
        })
    }
}

thread_local! {
    /// One decoder per thread for the free functions. A sink that decodes in turn finds an empty one.
    static DECODER: Cell<Decoder> = const { Cell::new(Decoder::EMPTY) };
}

impl Decoder {
    const EMPTY: Decoder = Decoder { scratch: Scratch::EMPTY, authority: Vec::new() };
}

fn with_decoder<T>(work: impl FnOnce(&mut Decoder) -> T) -> T {
    let mut decoder = DECODER.take();
    let done = work(&mut decoder);
    DECODER.set(decoder);
    done
}

/// Decodes a complete field section and gives every field, pseudo-fields included, to `sink` in order. Names
/// and values are not judged: any bytes may come.
///
/// # Errors
/// [`Broken::Connection`] with [`Code::QpackDecompression`] for what RFC 9204 does not allow, references
/// to the dynamic table among it; [`Broken::TooLarge`] past the size (32 bytes counted beside name and
/// value) or number of fields in `limits`. The sink may have received some fields by then.
pub fn decode_fields(
    section: &[u8],
    limits: &Limits,
    sink: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(), Broken> {
    with_decoder(|decoder| decoder.fields(section, limits, sink))
}

/// Decodes and judges a request's head (RFC 9114 §4.2 to §4.4, RFC 9220).
///
/// # Errors
/// As [`decode_fields`], and [`Broken::Stream`] with [`Code::Message`] when the request is malformed:
/// answer 400 or reset the stream. What the sink received by then does not count.
pub fn decode_request(
    section: &[u8],
    limits: &Limits,
    sink: &mut dyn RequestSink,
) -> Result<RequestShape, Broken> {
    with_decoder(|decoder| decoder.request(section, limits, sink))
}

/// Decodes and judges a response's head: gives its status, 100 to 999, and the fields to `sink`.
///
/// # Errors
/// As [`decode_request`].
pub fn decode_response(
    section: &[u8],
    limits: &Limits,
    sink: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<u16, Broken> {
    with_decoder(|decoder| decoder.response(section, limits, sink))
}

/// Decodes and judges trailers (RFC 9114 §4.1, §4.3). Fields that would change framing or routing after the
/// fact (content-length, host, te, trailer) are left out (RFC 9110 §6.5.1).
///
/// # Errors
/// As [`decode_request`]; pseudo-fields are malformed here.
pub fn decode_trailers(
    section: &[u8],
    limits: &Limits,
    sink: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<(), Broken> {
    with_decoder(|decoder| decoder.trailers(section, limits, sink))
}

/// Judges name and value of one field that is no pseudo-field (RFC 9114 §4.2).
#[inline]
fn check_field(line: Line<'_>) -> Result<(), Broken> {
    if !line.is_known_name {
        if !syntax::is_name(line.name) {
            return malformed("a field name is empty, not in lower case, or no token");
        }
        if is_connection_specific(line.name) {
            return malformed("a connection-specific field");
        }
        if line.name == b"te" && !line.value.eq_ignore_ascii_case(b"trailers") {
            return malformed("te asks for more than trailers");
        }
    }
    if !line.is_known_value && !syntax::is_value(line.value) {
        return malformed("a field value has a control character or surrounding blanks");
    }
    Ok(())
}

/// What a request's lines have shown so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    method: bool,
    scheme: bool,
    authority: bool,
    path: bool,
    protocol: bool,
    field: bool,
    host: bool,
    /// The method is CONNECT; it is OPTIONS.
    connect: bool,
    options: bool,
    /// The scheme is http or https; the path is `*`.
    is_http: bool,
    asterisk: bool,
    content_length: Option<u64>,
}

struct RequestCheck<'a> {
    seen: Seen,
    /// The value of :authority, to hold `host` against.
    authority: &'a mut Vec<u8>,
}

impl RequestCheck<'_> {
    #[inline]
    fn line(&mut self, line: Line<'_>, sink: &mut dyn RequestSink) -> Result<(), Broken> {
        if line.name.first() == Some(&b':') {
            return self.pseudo(line.name, line.value, sink);
        }
        self.seen.field = true;
        check_field(line)?;
        match line.name {
            b"host" => self.host(line.value)?,
            b"content-length" => {
                let Some(length) = syntax::parse_length(line.value) else {
                    return malformed("content-length is not a number");
                };
                match self.seen.content_length.replace(length) {
                    None => {}
                    // RFC 9110 §8.6: the same again may be taken as one.
                    Some(before) if before == length => return Ok(()),
                    Some(_) => return malformed("two values of content-length"),
                }
            }
            _ => {}
        }
        sink.field(line.name, line.value);
        Ok(())
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8], sink: &mut dyn RequestSink) -> Result<(), Broken> {
        let seen = &mut self.seen;
        if seen.field {
            return malformed("a pseudo-field after a field");
        }
        let was_seen = match name {
            b":method" => {
                if !syntax::is_token(value) {
                    return malformed(":method is no token");
                }
                seen.connect = value == b"CONNECT";
                seen.options = value == b"OPTIONS";
                sink.method(value);
                &mut seen.method
            }
            b":scheme" => {
                if !syntax::is_scheme(value) {
                    return malformed(":scheme is no scheme");
                }
                seen.is_http = value.eq_ignore_ascii_case(b"https") || value.eq_ignore_ascii_case(b"http");
                sink.scheme(value);
                &mut seen.scheme
            }
            b":authority" => {
                if !syntax::is_authority(value) {
                    return malformed(":authority is empty, has user information or wrong characters");
                }
                self.authority.extend_from_slice(value);
                sink.authority(value);
                &mut seen.authority
            }
            b":path" => {
                seen.asterisk = value == b"*";
                if !seen.asterisk && !syntax::is_path(value) {
                    return malformed(":path is empty, does not start with a slash or has wrong characters");
                }
                sink.path(value);
                &mut seen.path
            }
            b":protocol" => {
                if !syntax::is_token(value) {
                    return malformed(":protocol is no token");
                }
                sink.protocol(value);
                &mut seen.protocol
            }
            _ => return malformed("a pseudo-field that is none of a request's"),
        };
        if std::mem::replace(was_seen, true) { malformed("a pseudo-field twice") } else { Ok(()) }
    }

    /// Judges `host` on its own and against :authority (RFC 9114 §4.3.1).
    fn host(&mut self, value: &[u8]) -> Result<(), Broken> {
        if std::mem::replace(&mut self.seen.host, true) {
            return malformed("a second host");
        }
        if !syntax::is_authority(value) {
            return malformed("host is empty or has wrong characters");
        }
        if self.seen.authority && !self.authority.eq_ignore_ascii_case(value) {
            return malformed("host and :authority differ");
        }
        Ok(())
    }

    /// Judges the request as a whole: what must be there, and what must not.
    fn finish(self) -> Result<RequestShape, Broken> {
        let Seen { method, scheme, authority, path, protocol, connect, .. } = self.seen;
        if !method {
            return malformed(":method is missing");
        }
        if protocol && !connect {
            return malformed(":protocol without CONNECT");
        }
        if connect {
            // §4.4, and RFC 8441 §4 by way of RFC 9220 §3.
            if !authority {
                return malformed("CONNECT without :authority");
            }
            if protocol && !(scheme && path) {
                return malformed("extended CONNECT without :scheme or :path");
            }
            if !protocol && (scheme || path) {
                return malformed("CONNECT with :scheme or :path");
            }
            if self.seen.content_length.is_some_and(|length| length > 0) {
                // A tunnel has no body; let nobody behind us take its first bytes for one.
                return malformed("CONNECT with a content-length");
            }
        } else if !scheme || !path {
            return malformed(":scheme or :path is missing");
        } else if self.seen.is_http && !authority && !self.seen.host {
            return malformed("neither :authority nor host");
        }
        if self.seen.asterisk && !self.seen.options {
            return malformed(":path is an asterisk and the method is not OPTIONS");
        }
        Ok(RequestShape {
            content_length: if connect { None } else { self.seen.content_length },
            is_connect: connect,
            is_extended_connect: protocol,
        })
    }
}
