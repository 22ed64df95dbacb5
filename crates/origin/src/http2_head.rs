//! Heads between `exchange` and the h2 crate's `http` types. Pure.
//!
//! What does not belong into HTTP/2 stays behind (RFC 9113 §8.2.2): hop-by-hop fields and Host, which
//! becomes `:authority`. Called by `http2_link.rs`.

use exchange::{BodySize, Fault, Fields, Known, Method, Request, Response, Version};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::request_head::wants_trailers;

/// The head of a request. `is_tunnel` makes it an extended CONNECT (RFC 8441 §4).
///
/// # Errors
///
/// [`Fault::ProxyInternalError`] for a head that HTTP/2 cannot carry.
pub(crate) fn request(
    request: &Request,
    host: &[u8],
    is_tls: bool,
    is_tunnel: bool,
) -> Result<http::Request<()>, Fault> {
    let broken = |_| Fault::ProxyInternalError;
    let mut head = http::Request::new(());
    *head.method_mut() = if is_tunnel {
        http::Method::CONNECT
    } else {
        http::Method::from_bytes(request.method_token()).map_err(|_| Fault::ProxyInternalError)?
    };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if is_tls { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    parts.authority = Some(host.try_into().map_err(broken)?);
    parts.path_and_query = Some(path(request.target())?);
    *head.uri_mut() = http::Uri::from_parts(parts).map_err(|_| Fault::ProxyInternalError)?;
    let fields = head.headers_mut();
    let mut has_length = false;
    for field in request.fields.end_to_end() {
        match field.known {
            Known::Host | Known::TransferEncoding => continue,
            Known::Expect if !request.expects_continue => continue, // RFC 9110 §10.1.1
            Known::ContentLength => {
                has_length = true;
                continue;
            }
            Known::Other if is_tunnel && field.name.eq_ignore_ascii_case(b"sec-websocket-key") => continue,
            _ => {}
        }
        push(fields, field.name, field.value);
    }
    let length = match request.body {
        _ if is_tunnel => None,
        BodySize::Length(length) => Some(length),
        BodySize::None if has_length || matches!(request.method, Method::Post | Method::Put) => Some(0),
        BodySize::None | BodySize::Unknown => None,
    };
    if let Some(length) = length {
        fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if wants_trailers(request) {
        fields.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    if is_tunnel {
        let protocol = std::str::from_utf8(request.protocol()).map_err(|_| Fault::ProxyInternalError)?;
        head.extensions_mut().insert(h2::ext::Protocol::from(protocol));
    }
    Ok(head)
}

/// Visitors may send a few bytes in targets that the `http` crate does not take; they are escaped.
fn path(target: &[u8]) -> Result<http::uri::PathAndQuery, Fault> {
    http::uri::PathAndQuery::try_from(target).or_else(|_| {
        let mut escaped = Vec::with_capacity(target.len() + 16);
        for byte in target {
            match byte {
                b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                    escaped.extend_from_slice(format!("%{byte:02X}").as_bytes());
                }
                byte => escaped.push(*byte),
            }
        }
        http::uri::PathAndQuery::try_from(escaped.as_slice()).map_err(|_| Fault::ProxyInternalError)
    })
}

/// A field that the map cannot hold is left out: names and values were checked when they were parsed.
fn push(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// A trailer section.
pub(crate) fn trailers(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::new();
    for field in fields.end_to_end() {
        push(&mut map, field.name, field.value);
    }
    map
}

/// An answer's trailers as the one form that the rest of the program knows, without what may not stand there.
pub(crate) fn trailers_of(map: &HeaderMap) -> Box<Fields> {
    let mut fields = Box::<Fields>::default();
    for (name, value) in map {
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    fields.keep_trailers();
    fields
}

/// The head of an answer. Its body is known by `Content-Length` or not at all; h2 holds the length against
/// what comes.
pub(crate) fn fill(response: &mut Response, status: u16, map: &HeaderMap) {
    response.clear();
    response.status = status;
    response.version = Version::Http2;
    for (name, value) in map {
        response.fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
    let length = response.fields.known(Known::ContentLength);
    response.declared_length =
        length.and_then(|value| std::str::from_utf8(value).ok()).and_then(|text| text.parse().ok());
    response.body = match response.declared_length {
        _ if response.is_informational() => BodySize::None,
        Some(length) => BodySize::of_length(length),
        None => BodySize::Unknown,
    };
}

/// 200 to an extended CONNECT whose visitor speaks HTTP/1.1: it expects 101 (RFC 6455 §4.2.2).
pub(crate) fn translate_upgrade(response: &mut Response, accept: &[u8]) {
    response.status = 101;
    response.fields.push_known(b"Connection", b"Upgrade", Known::Connection, true);
    response.fields.push_known(b"Upgrade", b"websocket", Known::Upgrade, true);
    response.fields.push(b"Sec-WebSocket-Accept", accept);
    response.body = BodySize::Unknown;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &[u8], target: &[u8], fields: &[(&str, &str)]) -> Request {
        let mut request = Request::default();
        request.set_method(method);
        request.set_target(target);
        for (name, value) in fields {
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        request
    }

    #[test]
    fn nothing_of_http_1_comes_along() {
        let fields = [("Host", "a"), ("Connection", "close"), ("X-A", "1"), ("Transfer-Encoding", "chunked")];
        let head = request(&asked(b"GET", b"/x?y", &fields), b"b.test", true, false).expect("it can be sent");
        assert_eq!(head.uri(), "https://b.test/x?y");
        let names: Vec<_> = head.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-a"]);
    }

    #[test]
    fn what_is_for_the_next_proxy_alone_stays_behind() {
        let names = ["Proxy-Authorization", "Proxy-Authenticate", "HTTP2-Settings"];
        let asked = asked(b"GET", b"/", &names.map(|name| (name, "x")));
        let head = request(&asked, b"b.test", true, false).expect("it can be sent");
        assert!(head.headers().is_empty(), "{:?}", head.headers());
    }

    #[test]
    fn an_expectation_is_passed_on_where_it_means_something() {
        let mut r = asked(b"PUT", b"/", &[("Expect", "100-continue")]);
        r.body = BodySize::Length(5);
        let says = |r: &Request| {
            let head = request(r, b"b.test", true, false).expect("it can be sent");
            head.headers().contains_key("expect")
        };
        assert!(!says(&r));
        r.expects_continue = true;
        assert!(says(&r));
    }

    #[test]
    fn odd_targets_are_escaped() {
        let head = request(&asked(b"GET", b"/<a>", &[]), b"b", false, false).expect("it can be sent");
        assert_eq!(head.uri().path(), "/%3Ca%3E");
        let star = request(&asked(b"OPTIONS", b"*", &[]), b"b", false, false).expect("it can be sent");
        assert_eq!(star.uri().path(), "*");
    }

    #[test]
    fn a_length_is_said_where_there_is_one() {
        let length = |r: &Request| {
            let head = request(r, b"b", false, false).expect("it can be sent");
            head.headers().get("content-length").map(|value| value.to_str().expect("text").to_owned())
        };
        let mut r = asked(b"POST", b"/", &[("Content-Length", "9")]);
        r.body = BodySize::Length(9);
        assert_eq!(length(&r).as_deref(), Some("9"));
        r.body = BodySize::Unknown;
        assert_eq!(length(&r), None);
        assert_eq!(length(&asked(b"POST", b"/", &[])).as_deref(), Some("0"));
        assert_eq!(length(&asked(b"GET", b"/", &[])), None);
    }
}
