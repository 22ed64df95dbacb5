//! What evaluating a phase came to, as values that a caller applies.
//!
//! Nothing here is done by this crate. Values that a request had a part in are made safe for where they go:
//! no control bytes in headers, no second line, no question mark smuggled into a path, no byte that an
//! address cannot hold. Made by `ruleset.rs`.

use std::fmt;
use std::sync::Arc;

use crate::action::{CacheSpec, Compression, ConfigSpec, PageSpec};
use crate::eval::Value;
use crate::phase::ActionKind;

/// What a phase came to. Empty, and made without allocating, when no rule matched.
#[derive(Debug, Default, PartialEq)]
pub struct Outcome {
    /// The rules that matched, in order.
    pub matched: Vec<Matched>,
    /// What is to be changed, in order; of two changes to one thing the later counts.
    pub effects: Vec<Effect>,
    /// How it goes on.
    pub verdict: Verdict,
}

/// A rule that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The id of its ruleset.
    pub ruleset: Arc<str>,
    /// Its id.
    pub rule: Arc<str>,
    /// Its action.
    pub action: ActionKind,
}

/// How a request goes on after a phase.
#[derive(Debug, Default, PartialEq)]
pub enum Verdict {
    /// On.
    #[default]
    Continue,
    /// It is refused; without a response of its own by the node's page.
    Block(Option<Arc<Refusing>>),
    /// The visitor is asked for a proof: by which of the three challenges.
    Challenge(ActionKind),
    /// The visitor is sent elsewhere.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// For the Location header.
        location: Vec<u8>,
    },
    /// The response is replaced.
    ServeError(Arc<PageSpec>),
}

/// A refusal's own response.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusing {
    /// 400 to 499.
    pub status: u16,
    /// Media type of the content.
    pub content_type: String,
    /// The content.
    pub content: String,
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Another path; it begins with `/`.
    Path(Vec<u8>),
    /// Another query string, without `?`; empty: none.
    Query(Vec<u8>),
    /// All headers of a name are replaced by one.
    SetHeader(Arc<str>, Vec<u8>),
    /// A header is added.
    AddHeader(Arc<str>, Vec<u8>),
    /// All headers of a name are removed.
    RemoveHeader(Arc<str>),
    /// Where the request goes.
    Route(RouteTo),
    /// Settings for this request.
    Config(Arc<ConfigSpec>),
    /// Caching of this request.
    Cache(Arc<CacheSpec>),
    /// Ways of compressing, the preferred one first.
    Compress(Arc<[Compression]>),
    /// Headers and cookies for the log.
    LogNames(Arc<LogNames>),
    /// A value for the log; nothing when it is missing.
    LogValue(Arc<str>, Option<Value>),
    /// The connection is closed after the response.
    CloseConnection,
}

/// Where a request goes. What is not given stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteTo {
    /// The pool, by name.
    pub pool: Option<Arc<str>>,
    /// The Host the origin sees.
    pub host_header: Option<Vec<u8>>,
    /// The server name of the TLS handshake.
    pub sni: Option<Arc<str>>,
    /// The hostname to connect to.
    pub origin_host: Option<Arc<str>>,
    /// The port.
    pub port: Option<u16>,
}

/// Headers and cookies for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogNames {
    /// Names of request headers in lower case.
    pub request_headers: Vec<String>,
    /// Names of response headers in lower case.
    pub response_headers: Vec<String>,
    /// Names of cookies.
    pub cookies: Vec<String>,
}

/// The tank was empty: which rule was worked for.
///
/// The request is refused for itself, whatever the phase's fail mode, as [`fuel::Spent`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpentAt {
    /// The id of the rule's ruleset.
    pub ruleset: Arc<str>,
    /// The rule's id.
    pub rule: Arc<str>,
}

impl fmt::Display for SpentAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the request cost more work than one request may, at rule `{}` of ruleset `{}`",
            self.rule, self.ruleset
        )
    }
}

impl std::error::Error for SpentAt {}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn encode(value: &[u8], is_encoded: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    for byte in value {
        if is_encoded(*byte) {
            let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or_default();
            out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(*byte);
        }
    }
}

const fn is_control(byte: u8) -> bool {
    byte < 0x20 || byte == 0x7f
}

/// Whether a byte cannot stand in an address: RFC 3986 §2 has no controls, no space, nothing beyond ASCII
/// and no backslash, which browsers and some servers take for a slash. What else it lacks (`"<>^{|}` and the
/// backtick) browsers send as it is in places, ends nothing, and stays.
const fn is_foreign(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || byte == b'\\'
}

/// A value as a path: beginning with `/`, and with what would end a path or a line, or cannot stand in an
/// address, percent-encoded.
pub(crate) fn as_path(value: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(value.len() + 1);
    if value.first() != Some(&b'/') {
        path.push(b'/');
    }
    encode(value, |byte| is_foreign(byte) || matches!(byte, b'?' | b'#'), &mut path);
    path
}

/// A value as a query string, with what would end it, or cannot stand in an address, percent-encoded.
pub(crate) fn as_query(value: &[u8]) -> Vec<u8> {
    let mut query = Vec::with_capacity(value.len());
    encode(value, |byte| is_foreign(byte) || byte == b'#', &mut query);
    query
}

/// A value as the value of a header: control bytes but the tab left out (RFC 9110 §5.5).
pub(crate) fn as_header(value: &[u8]) -> Vec<u8> {
    let kept = value.iter().copied().filter(|byte| !is_control(*byte) || *byte == b'\t');
    kept.collect::<Vec<u8>>().trim_ascii().to_vec()
}

/// A value as a Location, with the query of the request before its fragment if that is kept; what cannot
/// stand in an address is percent-encoded.
pub(crate) fn as_location(target: &[u8], query: &[u8]) -> Vec<u8> {
    let mut location = Vec::with_capacity(target.len() + query.len() + 1);
    let fragment = memchr::memchr(b'#', target).unwrap_or(target.len());
    let (address, fragment) = target.split_at(fragment);
    encode(address, is_foreign, &mut location);
    if !query.is_empty() {
        location.push(if memchr::memchr(b'?', address).is_some() { b'&' } else { b'?' });
        encode(query, is_foreign, &mut location);
    }
    encode(fragment, is_foreign, &mut location);
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_place() {
        assert_eq!(as_path(b"a b?c#d\r\n\0"), b"/a%20b%3Fc%23d%0D%0A%00");
        assert_eq!(as_path(b"/x"), b"/x");
        assert_eq!(as_query(b"a=1&b=c d#e\n?"), b"a=1&b=c%20d%23e%0A?");
        assert_eq!(as_header(b" a\r\nSet-Cookie: x\tb\x7f "), b"aSet-Cookie: x\tb");
        assert_eq!(as_location(b"https://x/\r\n y", b""), b"https://x/%0D%0A%20y");
    }

    /// RFC 3986 §2: what an address may not hold is percent-encoded; browsers take a backslash for a slash.
    #[test]
    fn addresses_hold_no_byte_beyond_ascii_and_no_backslash() {
        assert_eq!(as_path("/caf\u{e9}\\..\\x".as_bytes()), b"/caf%C3%A9%5C..%5Cx");
        assert_eq!(as_path(b"/\x80\xff"), b"/%80%FF");
        assert_eq!(as_query("q=\u{e9}\\".as_bytes()), b"q=%C3%A9%5C");
        assert_eq!(as_location(b"/\\evil.example/", b"a=\xff\\"), b"/%5Cevil.example/?a=%FF%5C");
        assert_eq!(as_location("/#\u{e9}\\".as_bytes(), b""), b"/#%C3%A9%5C");
    }

    #[test]
    fn a_kept_query_stands_before_the_fragment() {
        assert_eq!(as_location(b"/new", b"a=1"), b"/new?a=1");
        assert_eq!(as_location(b"/new?b=2#top", b"a=1"), b"/new?b=2&a=1#top");
    }
}
