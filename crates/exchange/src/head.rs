//! The heads of a request and of a response, one form for HTTP/1, 2 and 3.
//!
//! Filled by `wire` (requests) and `origin` (responses), read by everybody. Pooled: `clear` keeps capacity.

use crate::{BodySize, Fields};

/// The request methods this program decides by; everything else is `Other` and passed on as sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// RFC 9110 §9.3.1.
    #[default]
    Get,
    /// RFC 9110 §9.3.2.
    Head,
    /// RFC 9110 §9.3.3.
    Post,
    /// RFC 9110 §9.3.4.
    Put,
    /// RFC 9110 §9.3.5.
    Delete,
    /// RFC 9110 §9.3.6; only its extended form (RFC 8441, RFC 9220) is served.
    Connect,
    /// RFC 9110 §9.3.7.
    Options,
    /// RFC 9110 §9.3.8.
    Trace,
    /// RFC 5789.
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110 §9.1).
    pub fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// It asks for nothing to be changed (RFC 9110 §9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Sending it twice does what sending it once does (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Put | Self::Delete | Self::Options | Self::Trace)
    }
}

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked bodies, no 1xx, connections close unless asked otherwise.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Version {
    /// As in the access log and `Via`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }
}

/// How the visitor reached us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Cleartext.
    #[default]
    Http,
    /// TLS or QUIC.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Whether the request asks to turn its connection or stream into something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    /// It does not.
    #[default]
    No,
    /// HTTP/1.1 `Upgrade` named by `Connection` (RFC 9110 §7.8); the protocol is [`Request::protocol`].
    Http1,
    /// Extended CONNECT with `:protocol` (RFC 8441, RFC 9220); the protocol is [`Request::protocol`].
    Extended,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    start: u32,
    len: u32,
}

/// A request's head.
#[derive(Clone, Debug, Default)]
pub struct Request {
    text: Vec<u8>,
    method_part: Part,
    authority_part: Part,
    target_part: Part,
    sent_target_part: Part,
    protocol_part: Part,
    /// The method, where it is one we decide by.
    pub method: Method,
    /// The version the visitor spoke.
    pub version: Version,
    /// How the visitor reached us.
    pub scheme: Scheme,
    /// All fields as sent, hop-by-hop ones marked, `Host` included if sent.
    pub fields: Fields,
    /// What is known of the body.
    pub body: BodySize,
    /// The visitor waits for 100 (Continue) before it sends the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The visitor said `TE: trailers`, or speaks a version that always takes them.
    pub accepts_trailers: bool,
    /// A change of protocol asked for.
    pub upgrade: Upgrade,
}

impl Request {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        let (mut text, mut fields) = (std::mem::take(&mut self.text), std::mem::take(&mut self.fields));
        text.clear();
        text.shrink_to(16 * 1024);
        fields.clear();
        *self = Self { text, fields, ..Self::default() };
    }

    /// Makes room for method, authority, target and fields of a head of about this size.
    pub fn reserve(&mut self, fields: usize, bytes: usize) {
        self.text.reserve(256);
        self.fields.reserve(fields + 8, bytes + 512);
    }

    fn put(&mut self, bytes: &[u8]) -> Part {
        let part = Part { start: self.text.len() as u32, len: bytes.len() as u32 };
        self.text.extend_from_slice(bytes);
        part
    }

    fn part(&self, part: Part) -> &[u8] {
        self.text.get(part.start as usize..part.start as usize + part.len as usize).unwrap_or_default()
    }

    /// Sets the method token, as sent.
    pub fn set_method(&mut self, token: &[u8]) {
        self.method = Method::of(token);
        self.method_part = self.put(token);
    }

    /// Sets the authority: host and, if any, port, without user information.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.authority_part = self.put(authority);
    }

    /// Sets path and query in origin form (or `*`).
    pub fn set_target(&mut self, target: &[u8]) {
        self.target_part = self.put(target);
        self.sent_target_part = self.target_part;
    }

    /// Sets the protocol that an upgrade asks for.
    pub fn set_protocol(&mut self, protocol: &[u8]) {
        self.protocol_part = self.put(protocol);
    }

    /// Replaces path and query; what the visitor sent is remembered.
    pub fn rewrite_target(&mut self, target: &[u8]) {
        self.target_part = self.put(target);
    }

    /// Drops the first `len` bytes of the path and puts a `/` there if none follows.
    pub fn strip_path_prefix(&mut self, len: usize) {
        let target = self.target();
        let rest = target.get(len.min(self.path().len())..).unwrap_or_default();
        let mut stripped = Vec::with_capacity(rest.len() + 1);
        if rest.first() != Some(&b'/') {
            stripped.push(b'/');
        }
        stripped.extend_from_slice(rest);
        self.rewrite_target(&stripped);
    }

    /// The method token.
    pub fn method_token(&self) -> &[u8] {
        self.part(self.method_part)
    }

    /// Host and port as the visitor named them; empty if it named none.
    pub fn authority(&self) -> &[u8] {
        self.part(self.authority_part)
    }

    /// The authority without its port. IPv6 addresses keep their brackets.
    pub fn host(&self) -> &[u8] {
        let authority = self.authority();
        match memchr::memrchr(b':', authority) {
            Some(colon) if !authority.get(colon..).unwrap_or_default().contains(&b']') => {
                authority.get(..colon).unwrap_or_default()
            }
            _ => authority,
        }
    }

    /// Path and query in origin form, or `*`.
    pub fn target(&self) -> &[u8] {
        self.part(self.target_part)
    }

    /// Path and query as the visitor sent them, whatever was rewritten since.
    pub fn sent_target(&self) -> &[u8] {
        self.part(self.sent_target_part)
    }

    /// The path alone.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        target.get(..memchr::memchr(b'?', target).unwrap_or(target.len())).unwrap_or_default()
    }

    /// The query without its `?`; none if there is no `?`.
    pub fn query(&self) -> Option<&[u8]> {
        let target = self.target();
        memchr::memchr(b'?', target).and_then(|at| target.get(at + 1..))
    }

    /// What an upgrade asks for (`websocket`); empty without an upgrade.
    pub fn protocol(&self) -> &[u8] {
        self.part(self.protocol_part)
    }

    /// Whether the request asks for a WebSocket, in either form.
    pub fn is_websocket(&self) -> bool {
        self.upgrade != Upgrade::No && self.protocol().eq_ignore_ascii_case(b"websocket")
    }
}

/// A response's head.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// 100 to 599 from us, up to 999 from an origin.
    pub status: u16,
    /// The version the sender spoke.
    pub version: Version,
    /// The reason phrase as sent over HTTP/1, or empty.
    pub reason: Vec<u8>,
    /// All fields as sent, hop-by-hop ones marked.
    pub fields: Fields,
    /// What is known of the body that follows.
    pub body: BodySize,
    /// `Content-Length` as sent where no body follows: an answer to HEAD, or 304.
    pub declared_length: Option<u64>,
}

impl Response {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        let (mut reason, mut fields) = (std::mem::take(&mut self.reason), std::mem::take(&mut self.fields));
        reason.clear();
        fields.clear();
        *self = Self { reason, fields, ..Self::default() };
    }

    /// 1xx.
    pub fn is_informational(&self) -> bool {
        (100..200).contains(&self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(authority: &[u8], target: &[u8]) -> Request {
        let mut request = Request::default();
        request.set_method(b"GET");
        request.set_authority(authority);
        request.set_target(target);
        request
    }

    #[test]
    fn splits_authority_and_target() {
        let r = request(b"example.org:8080", b"/a?b=c?d");
        assert_eq!((r.host(), r.path(), r.query()), (&b"example.org"[..], &b"/a"[..], Some(&b"b=c?d"[..])));
        assert_eq!(request(b"[::1]:80", b"/").host(), b"[::1]");
        assert_eq!(request(b"[::1]", b"/").host(), b"[::1]");
        assert_eq!(request(b"", b"*").query(), None);
    }

    #[test]
    fn a_rewrite_keeps_what_was_sent() {
        let mut r = request(b"h", b"/a?b");
        r.rewrite_target(b"/c?d");
        assert_eq!((r.target(), r.query(), r.sent_target()), (&b"/c?d"[..], Some(&b"d"[..]), &b"/a?b"[..]));
    }

    #[test]
    fn stripping_a_prefix_keeps_the_query_and_a_leading_slash() {
        for (target, len, expected) in [
            ("/api/x?q", 4, "/x?q"),
            ("/api/x", 5, "/x"),
            ("/api?q", 4, "/?q"),
            ("/api", 4, "/"),
            ("/a", 9, "/"),
        ] {
            let mut r = request(b"h", target.as_bytes());
            r.strip_path_prefix(len);
            assert_eq!(r.target(), expected.as_bytes(), "{target}");
        }
    }
}
