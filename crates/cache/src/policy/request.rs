//! A visitor's request as the cache sees it: may it be answered from here at all, and what does it ask for.
//!
//! First of the policy's steps. What it reads is kept ([`Asked`]), so that the request itself can be
//! prepared for the origin meanwhile. Read next: [`ask`], then `lookup.rs`.

use exchange::{BodySize, Fields, Known, Method, Request, Upgrade};

use super::control::RequestControl;
use super::key::{cookies, is_listed, is_unkeyed_forwarding};
use super::range::{AskedRange, parse_range};
use super::settings::Settings;

/// Why a request neither uses nor fills the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The zone, or a rule, turned the cache off.
    Off,
    /// Only GET and HEAD are answered from here (RFC 9111 §4; a POST never is).
    Method,
    /// The request asks for another protocol.
    Upgrade,
    /// A GET with a body: origins disagree on what it means, and it is no part of the key.
    Body,
    /// `If-Match` or `If-Unmodified-Since`: only the origin may judge them (RFC 9111 §4.3.2).
    Precondition,
    /// A cookie that the zone names.
    Cookie,
    /// The key would be too long.
    KeyTooLong,
    /// A field that chooses the variant is too long.
    VariantTooLong,
    /// As many fetches or waiters are under way as may be.
    Busy,
}

impl Bypass {
    /// The word in `Cache-Status` (RFC 9211 §2.2): `method` or `bypass`.
    pub fn forward(self) -> &'static str {
        if self == Self::Method { "method" } else { "bypass" }
    }

    /// The detail in `Cache-Status`, log and trail.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Method => "method",
            Self::Upgrade => "upgrade",
            Self::Body => "body",
            Self::Precondition => "precondition",
            Self::Cookie => "cookie",
            Self::KeyTooLong => "key_too_long",
            Self::VariantTooLong => "variant_too_long",
            Self::Busy => "busy",
        }
    }
}

/// What a request that may be answered from here asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// HEAD rather than GET.
    pub is_head: bool,
    /// The directives of the request; none where the zone does not respect them.
    pub control: RequestControl,
    /// It carries `Authorization` (RFC 9111 §3.5).
    pub has_authorization: bool,
    /// The ranges it asks for, if it is a GET and they can be read.
    pub ranges: Option<Vec<AskedRange>>,
    /// Its `If-None-Match`, `If-Modified-Since` and `If-Range`.
    pub conditions: Fields,
    /// An answer may be stored: it did not say `no-store`.
    pub may_store: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Eligibility {
    /// It may be answered from here.
    Eligible(Asked),
    /// It goes to the origin, and its answer to the visitor, both untouched by the cache.
    Bypass(Bypass),
}

/// Reads a request. One pass over its fields; nothing is allocated unless it is conditional or asks for
/// ranges.
pub fn ask(request: &Request, settings: &Settings) -> Eligibility {
    // By its method it may change things; but it opens a WebSocket (RFC 8441 §4), which changes nothing here.
    if request.upgrade == Upgrade::Extended {
        return Eligibility::Bypass(Bypass::Upgrade);
    }
    // Before the zone's word: what an unsafe request changes is gone whether or not its own answer might have
    // been kept.
    if !matches!(request.method, Method::Get | Method::Head) {
        return Eligibility::Bypass(Bypass::Method);
    }
    if !settings.is_on {
        return Eligibility::Bypass(Bypass::Off);
    }
    if request.upgrade != Upgrade::No {
        return Eligibility::Bypass(Bypass::Upgrade);
    }
    if request.body != BodySize::None {
        return Eligibility::Bypass(Bypass::Body);
    }
    let mut asked = Asked { is_head: request.method == Method::Head, may_store: true, ..Asked::default() };
    let (mut has_control, mut range_lines) = (false, 0);
    let mut range: &[u8] = &[];
    // What `Connection` names does not reach the origin, so it asks for nothing here either.
    for field in request.fields.end_to_end() {
        if field.known != Known::Other {
            continue;
        }
        let is = |name: &[u8]| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            5 if is(b"range") => {
                range = field.value;
                range_lines += 1;
            }
            6 if is(b"pragma") => has_control = true,
            8 if is(b"if-match") => return Eligibility::Bypass(Bypass::Precondition),
            8 if is(b"if-range") => asked.conditions.push(field.name, field.value),
            13 if is(b"cache-control") => has_control = true,
            13 if is(b"if-none-match") => asked.conditions.push(field.name, field.value),
            13 if is(b"authorization") => asked.has_authorization = true,
            17 if is(b"if-modified-since") => asked.conditions.push(field.name, field.value),
            19 if is(b"if-unmodified-since") => return Eligibility::Bypass(Bypass::Precondition),
            _ => {}
        }
    }
    let is_named = |name: &[u8]| is_listed(&settings.bypass_cookies, name);
    if !settings.bypass_cookies.is_empty() && cookies(request).any(|(name, _)| is_named(name)) {
        return Eligibility::Bypass(Bypass::Cookie);
    }
    if has_control && settings.respects_request {
        asked.control = RequestControl::read(&request.fields);
        asked.may_store = !asked.control.no_store;
    }
    // Ranges are defined for GET alone (RFC 9110 §14.2); two lines are no range at all.
    if range_lines == 1 && !asked.is_head {
        asked.ranges = parse_range(range);
    }
    Eligibility::Eligible(asked)
}

/// Takes out of a request what could change the answer and is not in the key, and what could change the key
/// and not the answer: fields that `Connection` names, which the origin is not sent (RFC 9110 §7.6.1). Kept,
/// they would let a stranger store the answer to one question as the answer to another.
///
/// To be done before variants are computed and before the edge writes its own forwarding fields. From a
/// trusted proxy, `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` are kept: they are what it is
/// trusted with.
pub fn strip_unkeyed(fields: &mut Fields, settings: &Settings, is_peer_trusted: bool) {
    fields.retain(|field| {
        if field.is_hop_by_hop && field.known == Known::Other {
            return false;
        }
        let is_trusted_with = matches!(
            field.known,
            Known::Forwarded | Known::XForwardedFor | Known::XForwardedProto | Known::XForwardedHost
        );
        is_trusted_with && is_peer_trusted
            || field.known != Known::Other && !is_trusted_with
            || !is_unkeyed_forwarding(field.name, &settings.key)
    });
}

/// Whether a field speaks of the visitor's own copy, or of a part: an answer to be stored must not depend
/// on it.
pub(crate) fn is_about_a_copy(name: &[u8]) -> bool {
    [&b"if-none-match"[..], b"if-modified-since", b"if-range", b"range"]
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, pairs: &[(&str, &str)]) -> Request {
        let mut request = Request::default();
        request.set_method(method.as_bytes());
        request.set_authority(b"example.org");
        request.set_target(b"/");
        for (name, value) in pairs {
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        request
    }

    fn asked(pairs: &[(&str, &str)], settings: &Settings) -> Asked {
        match ask(&request("GET", pairs), settings) {
            Eligibility::Eligible(asked) => asked,
            Eligibility::Bypass(bypass) => panic!("{bypass:?}"),
        }
    }

    fn bypass(request: &Request, settings: &Settings) -> Option<Bypass> {
        match ask(request, settings) {
            Eligibility::Eligible(_) => None,
            Eligibility::Bypass(bypass) => Some(bypass),
        }
    }

    #[test]
    fn only_get_and_head_are_answered_from_here() {
        let settings = Settings::default();
        for method in ["GET", "HEAD"] {
            assert_eq!(bypass(&request(method, &[]), &settings), None);
        }
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "M-SEARCH", "get"] {
            assert_eq!(bypass(&request(method, &[]), &settings), Some(Bypass::Method), "{method}");
        }
    }

    #[test]
    fn a_web_socket_over_http2_is_no_change_to_what_is_stored() {
        let mut request = request("CONNECT", &[]);
        request.upgrade = Upgrade::Extended;
        assert_eq!(bypass(&request, &Settings::default()), Some(Bypass::Upgrade));
        request.upgrade = Upgrade::No;
        assert_eq!(bypass(&request, &Settings::default()), Some(Bypass::Method));
        let mut posted = self::request("POST", &[]);
        posted.upgrade = Upgrade::Http1;
        assert_eq!(bypass(&posted, &Settings::default()), Some(Bypass::Method), "it may be taken as a POST");
    }

    #[test]
    fn requests_that_are_more_than_their_key_bypass() {
        let settings = Settings { bypass_cookies: vec![b"session*"[..].into()], ..Settings::default() };
        let mut with_body = request("GET", &[]);
        with_body.body = BodySize::Length(1);
        assert_eq!(bypass(&with_body, &settings), Some(Bypass::Body));
        let mut upgrade = request("GET", &[]);
        upgrade.upgrade = Upgrade::Http1;
        assert_eq!(bypass(&upgrade, &settings), Some(Bypass::Upgrade));
        for name in ["If-Match", "If-Unmodified-Since"] {
            assert_eq!(bypass(&request("GET", &[(name, "*")]), &settings), Some(Bypass::Precondition));
        }
        let cookie = request("GET", &[("Cookie", "a=b; session_id=1")]);
        assert_eq!(bypass(&cookie, &settings), Some(Bypass::Cookie));
        assert_eq!(bypass(&request("GET", &[("Cookie", "a=session")]), &settings), None);
        let off = Settings { is_on: false, ..Settings::default() };
        assert_eq!(bypass(&request("GET", &[]), &off), Some(Bypass::Off));
        assert_eq!(bypass(&request("POST", &[]), &off), Some(Bypass::Method), "it may change what is stored");
    }

    #[test]
    fn directives_count_where_the_zone_respects_them() {
        let pairs = [("Cache-Control", "no-store, max-age=0")];
        assert!(asked(&pairs, &Settings::default()).may_store);
        let respects = Settings { respects_request: true, ..Settings::default() };
        let asked = asked(&pairs, &respects);
        assert_eq!((asked.may_store, asked.control.max_age), (false, Some(0)));
    }

    #[test]
    fn ranges_and_conditions_are_kept() {
        let settings = Settings::default();
        let both = asked(&[("Range", "bytes=0-1"), ("if-none-match", "\"a\"")], &settings);
        assert_eq!(both.ranges, Some(vec![AskedRange::From(0, Some(1))]));
        assert_eq!(both.conditions.value(b"If-None-Match"), Some(&b"\"a\""[..]));
        let Eligibility::Eligible(head) = ask(&request("HEAD", &[("Range", "bytes=0-1")]), &settings) else {
            panic!("HEAD may be answered");
        };
        assert_eq!(head.ranges, None);
        let two = [("Range", "bytes=0-1"), ("Range", "bytes=2-3")];
        assert_eq!(asked(&two, &settings).ranges, None);
    }

    #[test]
    fn what_connection_names_asks_for_nothing_and_is_taken_out() {
        let mut request = request("GET", &[("TE", "trailers"), ("Accept", "*/*")]);
        for name in ["If-None-Match", "If-Match", "Pragma", "Origin"] {
            request.fields.push_known(name.as_bytes(), b"\"a\"", Known::Other, true);
        }
        let respects = Settings { respects_request: true, ..Settings::default() };
        let Eligibility::Eligible(asked) = ask(&request, &respects) else { panic!("it may be answered") };
        assert!(asked.conditions.is_empty());
        strip_unkeyed(&mut request.fields, &respects, true);
        let names: Vec<_> = request.fields.iter().map(|field| field.name.to_vec()).collect();
        assert_eq!(names, [&b"TE"[..], b"Accept"]);
    }

    #[test]
    fn unkeyed_fields_of_strangers_are_taken_out() {
        let pairs = [
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-Prefix", "/evil"),
            ("X-Original-URL", "/evil"),
            ("Forwarded", "host=evil"),
            ("Accept", "*/*"),
        ];
        let names = |is_trusted| {
            let mut fields = request("GET", &pairs).fields;
            strip_unkeyed(&mut fields, &Settings::default(), is_trusted);
            fields.iter().map(|f| String::from_utf8_lossy(f.name).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["Accept"]);
        assert_eq!(names(true), ["X-Forwarded-Host", "Forwarded", "Accept"]);
    }
}
