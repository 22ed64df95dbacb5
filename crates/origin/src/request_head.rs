//! Writes the head of a request towards an HTTP/1.1 origin, and reads what its answer needs of WebSockets.
//!
//! Pure: bytes in, bytes out. Fields keep order and case; hop-by-hop ones stay behind, framing is written
//! anew from what is known of the body, and what an upgrade needs is added again. An extended CONNECT
//! (RFC 8441) becomes the GET that RFC 6455 has for it. Called by `http1_link.rs`.

use exchange::{BodySize, Known, Method, Request, Upgrade};

/// How the body of a request is framed towards the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framed {
    /// There is none.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Methods whose meaning includes content: without any they say so (RFC 9110 §8.6).
fn expects_content(method: Method) -> bool {
    matches!(method, Method::Post | Method::Put | Method::Patch)
}

/// Appends the head to `out`; none if method or target cannot be written, which no parser lets through.
///
/// `host` stands in the place of the visitor's Host, or first. `key` is the fresh `Sec-WebSocket-Key` of an
/// extended CONNECT.
pub fn write_request_head(out: &mut Vec<u8>, request: &Request, host: &[u8], key: &[u8]) -> Option<Framed> {
    let is_extended = request.upgrade == Upgrade::Extended;
    let method = if is_extended { b"GET" } else { request.method_token() };
    if !http1::write_request_line(out, method, request.target()) {
        return None;
    }
    let framed = match request.body {
        _ if is_extended => Framed::None, // the stream's bytes come after the change of protocol
        BodySize::None => Framed::None,
        BodySize::Length(length) => Framed::Length(length),
        BodySize::Unknown => Framed::Chunked,
    };
    let has_host = request.fields.known(Known::Host).is_some();
    if !has_host {
        http1::write_field(out, b"Host", host);
    }
    let (mut is_host_written, mut has_length) = (!has_host, false);
    for field in request.fields.end_to_end() {
        match field.known {
            Known::Host if is_host_written => {}
            Known::Host => {
                http1::write_field(out, field.name, host);
                is_host_written = true;
            }
            // Where the visitor had it; HTTP/1.1 visitors see their message unchanged.
            Known::ContentLength => match framed {
                Framed::Length(length) if !has_length => {
                    write_length(out, field.name, length);
                    has_length = true;
                }
                Framed::None if !has_length && !is_extended => {
                    write_length(out, field.name, 0);
                    has_length = true;
                }
                _ => {}
            },
            Known::TransferEncoding => {}
            // RFC 9110 §10.1.1: from HTTP/1.0 and without content it means nothing, and would wait for a 100.
            Known::Expect if !request.expects_continue => {}
            // The stream's visitor needs none; the answer is held against ours.
            Known::Other if is_extended && field.name.eq_ignore_ascii_case(b"sec-websocket-key") => {}
            _ => http1::write_field(out, field.name, field.value),
        }
    }
    match framed {
        Framed::Length(length) if !has_length => write_length(out, b"Content-Length", length),
        Framed::None if !has_length && !is_extended && expects_content(request.method) => {
            write_length(out, b"Content-Length", 0);
        }
        Framed::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        _ => {}
    }
    match request.upgrade {
        Upgrade::No if wants_trailers(request) => {
            out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n")
        }
        Upgrade::No => {}
        Upgrade::Http1 | Upgrade::Extended => {
            http1::write_field(out, b"Connection", b"Upgrade");
            http1::write_field(out, b"Upgrade", request.protocol());
        }
    }
    if is_extended {
        http1::write_field(out, b"Sec-WebSocket-Key", key);
        if request.fields.value(b"sec-websocket-version").is_none() {
            out.extend_from_slice(b"Sec-WebSocket-Version: 13\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
    Some(framed)
}

fn write_length(out: &mut Vec<u8>, name: &[u8], length: u64) {
    http1::write_field(out, name, itoa::Buffer::new().format(length).as_bytes());
}

/// Whether the visitor itself said `TE: trailers`; gRPC servers insist on hearing it.
pub fn wants_trailers(request: &Request) -> bool {
    let is_trailers = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(b"trailers");
    let says = |value: &[u8]| value.split(|byte| *byte == b',').any(is_trailers);
    request.accepts_trailers && request.fields.all_known(Known::Te).any(says)
}

/// Whether an upgrade by HTTP/1.1 to `websocket` is the handshake of RFC 6455 §4.2.1 in what must be judged
/// here where the origin speaks HTTP/2: GET, one key of 16 bytes, and the version whose answer is made here.
pub fn is_websocket_handshake(request: &Request) -> bool {
    let only = |name: &[u8]| {
        let mut fields = request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        let first = fields.next();
        first.filter(|_| fields.next().is_none()).map_or(&b""[..], |field| field.value)
    };
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let key = only(b"sec-websocket-key").strip_suffix(b"==").unwrap_or_default();
    let is_key = key.len() == 22 && key.iter().all(is_letter);
    request.method == Method::Get && is_key && only(b"sec-websocket-version") == b"13"
}

/// Base64 with padding (RFC 4648 §4).
pub fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= group.len() { letter } else { b'=' });
        }
    }
    out
}

/// The `Sec-WebSocket-Accept` that belongs to a key (RFC 6455 §4.2.2).
pub fn websocket_accept(key: &[u8]) -> Vec<u8> {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(hash.finish().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &[u8], fields: &[(&str, &str)]) -> Request {
        let mut request = Request::default();
        request.set_method(method);
        request.set_authority(b"example.org");
        request.set_target(b"/a?b");
        for (name, value) in fields {
            request.fields.push(name.as_bytes(), value.as_bytes());
        }
        request
    }

    fn written(request: &Request) -> (String, Framed) {
        let mut out = Vec::new();
        let framed =
            write_request_head(&mut out, request, b"origin.test", b"KEY").expect("it can be written");
        (String::from_utf8(out).expect("text"), framed)
    }

    #[test]
    fn order_and_case_stay_and_hop_by_hop_fields_do_not() {
        let fields =
            [("accept", "*/*"), ("HOST", "example.org"), ("Keep-Alive", "5"), ("X-a", "1"), ("x-A", "2")];
        let (text, framed) = written(&request(b"GET", &fields));
        let expected = "GET /a?b HTTP/1.1\r\naccept: */*\r\nHOST: origin.test\r\nX-a: 1\r\nx-A: 2\r\n\r\n";
        assert_eq!((text.as_str(), framed), (expected, Framed::None));
    }

    #[test]
    fn framing_comes_from_the_body_alone() {
        let mut r = request(b"POST", &[("Transfer-Encoding", "chunked"), ("Content-Length", "7")]);
        r.body = BodySize::Length(5);
        assert!(written(&r).0.contains("Content-Length: 5\r\n\r\n"));
        assert!(!written(&r).0.contains("chunked"));
        r.body = BodySize::Unknown;
        let (text, framed) = written(&r);
        assert!(
            text.contains("Transfer-Encoding: chunked\r\n") && !text.contains("Content-Length"),
            "{text}"
        );
        assert_eq!(framed, Framed::Chunked);
        let (text, _) = written(&request(b"POST", &[]));
        assert!(text.contains("Content-Length: 0\r\n"), "{text}");
        let (text, _) = written(&request(b"GET", &[]));
        assert!(!text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn an_upgrade_is_asked_for_again() {
        let mut r = request(b"GET", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]);
        r.upgrade = Upgrade::Http1;
        r.set_protocol(b"websocket");
        let (text, _) = written(&r);
        assert!(text.ends_with("Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), "{text}");
        assert_eq!(text.matches("Upgrade: ").count(), 1);
    }

    #[test]
    fn a_websockets_handshake_is_a_get_with_one_key_and_the_one_version() {
        let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        let version = ("sec-websocket-version", "13");
        assert!(is_websocket_handshake(&request(b"GET", &[key, version])));
        for (method, fields) in [
            (&b"POST"[..], &[key, version][..]),
            (b"GET", &[key]),
            (b"GET", &[version]),
            (b"GET", &[key, key, version]),
            (b"GET", &[key, version, version]),
            (b"GET", &[key, ("Sec-WebSocket-Version", "8")]),
            (b"GET", &[("Sec-WebSocket-Key", ""), version]),
            (b"GET", &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ=="), version]),
            (b"GET", &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=a"), version]),
            (b"GET", &[("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZ,=="), version]),
        ] {
            assert!(!is_websocket_handshake(&request(method, fields)), "{fields:?}");
        }
    }

    #[test]
    fn an_extended_connect_becomes_a_get() {
        let mut r = request(b"CONNECT", &[("sec-websocket-version", "13")]);
        r.upgrade = Upgrade::Extended;
        r.body = BodySize::Unknown;
        r.set_protocol(b"websocket");
        let (text, framed) = written(&r);
        assert!(text.starts_with("GET /a?b HTTP/1.1\r\nHost: origin.test\r\n"), "{text}");
        assert!(text.ends_with("Upgrade: websocket\r\nSec-WebSocket-Key: KEY\r\n\r\n"), "{text}");
        assert_eq!(framed, Framed::None);
    }

    #[test]
    fn the_key_of_an_extended_connect_is_ours_alone() {
        let mut r = request(b"CONNECT", &[("sec-websocket-key", "THEIRS"), ("sec-websocket-version", "13")]);
        r.upgrade = Upgrade::Extended;
        r.set_protocol(b"websocket");
        let (text, _) = written(&r);
        assert!(!text.contains("THEIRS") && text.contains("Sec-WebSocket-Key: KEY\r\n"), "{text}");
        r.upgrade = Upgrade::Http1;
        assert!(written(&r).0.contains("sec-websocket-key: THEIRS\r\n"));
    }

    #[test]
    fn an_expectation_is_passed_on_where_it_means_something() {
        let mut r = request(b"PUT", &[("Expect", "100-continue")]);
        r.body = BodySize::Length(5);
        assert!(!written(&r).0.contains("Expect"));
        r.expects_continue = true;
        assert!(written(&r).0.contains("Expect: 100-continue\r\n"));
    }

    #[test]
    fn what_is_for_the_next_proxy_alone_stays_behind() {
        let names = ["Proxy-Authorization", "Proxy-Authenticate", "HTTP2-Settings"];
        let (text, _) = written(&request(b"GET", &names.map(|name| (name, "x"))));
        assert_eq!(text, "GET /a?b HTTP/1.1\r\nHost: origin.test\r\n\r\n");
    }

    #[test]
    fn trailers_are_asked_for_where_the_visitor_does() {
        let mut r = request(b"GET", &[("TE", "gzip, trailers")]);
        r.accepts_trailers = true;
        assert!(written(&r).0.contains("TE: trailers\r\nConnection: TE\r\n"));
        r.fields.set(b"TE", b"Trailers");
        assert!(written(&r).0.contains("TE: trailers\r\nConnection: TE\r\n"));
        r.fields.clear();
        assert!(!written(&r).0.contains("TE"));
    }

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(base64(b"a"), b"YQ==");
        assert_eq!(base64(b""), b"");
    }

    proptest::proptest! {
        /// Whatever the parts hold, what is written is one head and nothing after it, and the body is framed
        /// as was said.
        #[test]
        fn a_head_is_one_head(
            fields in proptest::collection::vec((".{0,12}", proptest::collection::vec(0_u8.., 0..24)), 0..8),
            host in "\\PC{0,12}|a\r\n\r\nb|[a-z.]{1,9}",
            protocol in "[a-z]{0,9}|x\r\ny",
            kind in 0_usize..3,
            length in 0_u64..,
        ) {
            let mut r = request(b"POST", &[]);
            for (name, value) in &fields {
                r.fields.push(name.as_bytes(), value);
            }
            r.upgrade = [Upgrade::No, Upgrade::Http1, Upgrade::Extended][kind];
            r.set_protocol(protocol.as_bytes());
            r.body = [BodySize::None, BodySize::Unknown, BodySize::of_length(length >> 1)][kind];
            let mut out = Vec::new();
            let framed = write_request_head(&mut out, &r, host.as_bytes(), b"KEY").expect("a written head");
            let end = memchr::memmem::find(&out, b"\r\n\r\n").map(|at| at + 4);
            proptest::prop_assert_eq!(end, Some(out.len()));
            let mut head = http1::RequestHead::default();
            if head.parse(&out, &http1::Limits::default()) == Ok(true) {
                let expected = match framed {
                    Framed::None if kind == 2 => http1::Framing::None,
                    Framed::None => http1::Framing::Length(0),
                    Framed::Length(length) => http1::Framing::Length(length),
                    Framed::Chunked => http1::Framing::Chunked,
                };
                proptest::prop_assert_eq!(head.framing, expected);
                proptest::prop_assert_eq!(head.len, out.len());
            }
        }
    }
}
