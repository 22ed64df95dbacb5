//! Heads of requests: request line, the target's four forms, Host, what the fields say (RFC 9112 §3).
//!
//! It does not decide whether a method or a host is served. Called by `wire` for visitors. Read next:
//! `head.rs`.

use crate::authority;
use crate::explain;
use crate::field::{Field, Known, Span};
use crate::head::{self, Framing};
use crate::limits::Limits;
use crate::malformed::Malformed;

/// The head of one request, as offsets into the buffer it was parsed from.
///
/// Made to be pooled: `fields` keeps its capacity, and [`RequestHead::parse`] sets everything anew. After an
/// error or `Ok(false)` its content means nothing.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method, a token; case counts.
    pub method: Span,
    /// The target as sent, in one of four forms (RFC 9112 §3.2): `/path?query`; `http://host/path?query`
    /// with the host that Host names; `host:port` for CONNECT; `*` for OPTIONS.
    pub target: Span,
    /// The minor version: 0 or 1; a higher one is read as 1 (RFC 9110 §2.5).
    pub minor: u8,
    /// Bytes of the head from the buffer's start, an empty line before it included. Content starts here.
    pub len: usize,
    /// How the content ends: `None`, `Length` or `Chunked`.
    pub framing: Framing,
    /// Whether another request may follow on the connection.
    pub is_persistent: bool,
    /// Whether the visitor waits for `100 Continue` before it sends its content. False in HTTP/1.0 and
    /// without content (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// Whether it asks to leave HTTP: Upgrade, named in Connection, in HTTP/1.1. False with content, since
    /// nobody agrees on where the other protocol would start; the request is then an ordinary one, as
    /// RFC 9110 §7.8 lets a server choose.
    pub is_upgrade: bool,
    /// Whether TE has `trailers`: trailers of the response may be sent (RFC 9110 §10.1.4).
    pub accepts_trailers: bool,
    /// The fields in their order.
    pub fields: Vec<Field>,
}

impl RequestHead {
    /// Parses the head at the start of `buffer`.
    ///
    /// `true`: a whole head of `self.len` bytes lies there. `false`: more bytes are needed; call again with
    /// the same bytes and more. One empty line before the head is skipped (RFC 9112 §2.2).
    ///
    /// # Errors
    ///
    /// Any [`Malformed`] of heads; the connection cannot be used afterwards.
    pub fn parse(&mut self, buffer: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        let bytes = buffer.get(..limits.head_bytes()).unwrap_or(buffer);
        match self.parse_bytes(bytes, limits) {
            Err(Malformed::VersionUnsupported) => {
                match explain::as_http11(bytes, explain::request_minor(bytes)) {
                    Some(bytes) => self.parse_bytes(&bytes, limits),
                    None => Err(Malformed::VersionUnsupported),
                }
            }
            parsed => parsed,
        }
    }

    fn parse_bytes(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        let mut room = head::ROOM;
        let room = room.get_mut(..limits.fields()).unwrap_or_default();
        let mut parsed = httparse::Request::new(&mut []);
        let len = match parsed.parse_with_uninit_headers(bytes, room) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => {
                explain::partial_request(bytes, bytes.len() == limits.head_bytes())?;
                return Ok(false);
            }
            Err(error) => return Err(explain::request(bytes, error)),
        };
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(Malformed::RequestLine);
        };
        let head = bytes.get(..len).unwrap_or_default();
        let base = head.as_ptr() as usize;
        self.method = Span::within(base, method.as_bytes());
        // httparse skips any number of empty lines; the method starts after at most one.
        match head.get(..usize::from(self.method.start)) {
            Some(b"" | b"\r\n") => {}
            Some(before) if memchr::memchr(b'\r', before).is_none() => return Err(Malformed::BareLineFeed),
            _ => return Err(Malformed::EmptyLines),
        }
        self.target = Span::within(base, target.as_bytes());
        (self.minor, self.len) = (minor, len);

        let facts = head::gather(head, parsed.headers, minor, false, &mut self.fields)?;
        let host = facts.host.map(|host| host.of(head));
        check_target(method.as_bytes(), target.as_bytes(), host, minor)?;

        self.framing = match (facts.is_chunked, facts.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        let has_content = self.framing.has_content();
        if has_content && matches!(method, "CONNECT" | "TRACE") {
            return Err(Malformed::ContentNotAllowed);
        }
        self.is_persistent = facts.is_persistent(minor);
        self.expects_continue = facts.expects_continue && minor == 1 && has_content;
        self.is_upgrade = facts.is_upgrade && !has_content;
        self.accepts_trailers = facts.accepts_trailers;
        Ok(true)
    }

    /// As [`RequestHead::parse`], when the first `seen` bytes of `buffer` gave `Ok(false)` before.
    ///
    /// A head ends in a line end, so without one among the new bytes the old ones are not read again. That
    /// bounds what a head sent byte by byte costs: one reading per line, and lines are bounded.
    ///
    /// # Errors
    ///
    /// As `parse`; what is wrong in an unfinished line may show at its end only.
    pub fn parse_more(&mut self, buffer: &[u8], seen: usize, limits: &Limits) -> Result<bool, Malformed> {
        if head::may_wait(buffer, seen, limits) { Ok(false) } else { self.parse(buffer, limits) }
    }

    /// The first value of the field `k`, or `None`.
    pub fn known<'b>(&self, buffer: &'b [u8], k: Known) -> Option<&'b [u8]> {
        head::known(&self.fields, buffer, k)
    }

    /// Whom the request addresses, `host` or `host:port`: from the target when it names an authority, else
    /// from Host (RFC 9112 §3.3). `None` in HTTP/1.0 without Host; may be empty with the target `*` only.
    pub fn authority<'b>(&self, buffer: &'b [u8]) -> Option<&'b [u8]> {
        let target = self.target.of(buffer);
        match target.first() {
            Some(b'/' | b'*') => self.known(buffer, Known::Host),
            _ => Some(split_absolute(target).map_or(target, |absolute| absolute.authority)),
        }
    }

    /// Path and query as an origin gets them, in origin-form or `*`; empty for CONNECT.
    ///
    /// An absolute target without path gives `/`, or `*` with OPTIONS (RFC 9112 §3.2.4); with a query behind
    /// the authority it gives the query from its `?` on, and whoever passes that on puts a `/` before it
    /// (RFC 9112 §3.2.1), since none lies in the buffer.
    pub fn path_and_query<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        let target = self.target.of(buffer);
        match target.first() {
            Some(b'/' | b'*') => target,
            _ => match split_absolute(target) {
                None => b"",
                Some(Absolute { path: [], .. }) if self.method.of(buffer) == b"OPTIONS" => b"*",
                Some(Absolute { path: [], .. }) => b"/",
                Some(absolute) => absolute.path,
            },
        }
    }
}

/// An absolute target in its parts.
struct Absolute<'b> {
    default_port: u16,
    authority: &'b [u8],
    /// Path and query; empty or starting with `/` or `?`.
    path: &'b [u8],
}

/// Splits `http://authority/path?query` at the end of the authority (RFC 3986 §3.2; no target has a `#`);
/// `None` for other schemes and forms.
fn split_absolute(target: &[u8]) -> Option<Absolute<'_>> {
    let strip = |scheme: &[u8]| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| target.get(scheme.len()..).unwrap_or_default())
    };
    let (default_port, rest) = match strip(b"http://") {
        Some(rest) => (80, rest),
        None => (443, strip(b"https://")?),
    };
    let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    Some(Absolute { default_port, authority, path })
}

/// Checks the target's bytes and form against the method, and Host against the target (RFC 9112 §3.2).
fn check_target(method: &[u8], target: &[u8], host: Option<&[u8]>, minor: u8) -> Result<(), Malformed> {
    if !has_target_bytes(target) {
        return Err(Malformed::Target);
    }
    if host.is_none() && minor == 1 {
        return Err(Malformed::HostMissing);
    }
    // A host may be missing in name only where the target has no authority at all.
    let is_asterisk = target == b"*";
    if host.is_some_and(|host| !(authority::is_authority(host) || (is_asterisk && host.is_empty()))) {
        return Err(Malformed::HostInvalid);
    }
    if method == b"CONNECT" {
        // The port is mandatory (RFC 9110 §9.3.6).
        let port = authority::split_authority(target).1.and_then(authority::port_number);
        if !authority::is_authority(target) || port.is_none_or(|port| port == 0) {
            return Err(Malformed::Target);
        }
        // No scheme, so no default port either: zero stands for a port that Host leaves out.
        return match host {
            Some(host) if !authority::is_same_authority(target, host, 0) => Err(Malformed::HostDiffers),
            _ => Ok(()),
        };
    }
    match target.first() {
        Some(b'/') => Ok(()),
        Some(b'*') if is_asterisk && method == b"OPTIONS" => Ok(()),
        _ => {
            let absolute = split_absolute(target).ok_or(Malformed::Target)?;
            if !authority::is_authority(absolute.authority) {
                return Err(Malformed::Target);
            }
            match host {
                Some(host)
                    if !authority::is_same_authority(absolute.authority, host, absolute.default_port) =>
                {
                    Err(Malformed::HostDiffers)
                }
                _ => Ok(()),
            }
        }
    }
}

/// Visible ASCII without `#`, and no backslash before the query: some parsers take it for a slash.
///
/// Wider than RFC 3986 where browsers are: they send `|`, `"`, `{` and others as they are.
pub fn has_target_bytes(target: &[u8]) -> bool {
    let mut is_query = false;
    target.iter().all(|byte| {
        is_query |= *byte == b'?';
        matches!(byte, 0x21..=0x7e) && *byte != b'#' && (is_query || *byte != b'\\')
    })
}
