//! RFC 9110, HTTP Semantics, as far as a codec knows it: one module per section.

use super::{refuses_fields, request, response, response_to, with_fields};
use crate::{Expected, Known, Malformed, is_field_name, is_field_value};

mod section_5_fields {
    use super::*;

    #[test]
    fn knows_names_in_any_case_and_nothing_else() {
        for (name, known) in [
            ("Host", Known::Host),
            ("CONNECTION", Known::Connection),
            ("content-length", Known::ContentLength),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("TE", Known::Te),
            ("Trailer", Known::Trailer),
            ("Upgrade", Known::Upgrade),
            ("Keep-Alive", Known::KeepAlive),
            ("Proxy-Connection", Known::ProxyConnection),
            ("Expect", Known::Expect),
            ("Date", Known::Date),
            ("Cookie", Known::Cookie),
            ("Forwarded", Known::Forwarded),
            ("X-Forwarded-For", Known::XForwardedFor),
            ("X-Forwarded-Proto", Known::XForwardedProto),
            ("X-Forwarded-Host", Known::XForwardedHost),
            ("Via", Known::Via),
            ("CDN-Loop", Known::CdnLoop),
            ("X-Request-ID", Known::XRequestId),
            ("User-Agent", Known::UserAgent),
            ("Referer", Known::Referer),
            ("Accept", Known::Accept),
            ("Accept-Encoding", Known::AcceptEncoding),
            ("Server", Known::Server),
            ("Content-Type", Known::ContentType),
            ("Age", Known::Age),
            ("Location", Known::Location),
            ("Set-Cookie", Known::SetCookie),
            ("HTTP2-Settings", Known::Http2Settings),
            ("Proxy-Authenticate", Known::ProxyAuthenticate),
            ("Proxy-Authorization", Known::ProxyAuthorization),
        ] {
            assert_eq!(Known::of(name.as_bytes()), known);
            assert_eq!(Known::of(name.to_uppercase().as_bytes()), known);
            assert_eq!(Known::of(format!("{name}s").as_bytes()), Known::Other, "{name}s");
            // A control byte that differs from its letter by the bit of the case alone.
            let folded: Vec<u8> = name.bytes().map(|byte| byte & !0x60).collect();
            assert_eq!(Known::of(&folded), Known::Other);
        }
        assert_eq!(Known::of(b""), Known::Other);
    }

    #[test]
    fn tells_names_and_values_from_other_bytes() {
        assert!(is_field_name(b"X-1_~") && !is_field_name(b"") && !is_field_name(b"X Y"));
        for byte in 0..=u8::MAX {
            let is_token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is_field_name(&[byte]), is_token, "{byte}");
            let is_value = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(is_field_value(&[byte]), is_value, "{byte}");
        }
        assert!(is_field_value(b""));
    }
}

mod section_7_6_1_connection {
    use super::*;

    fn hop_by_hop(fields: &str) -> Vec<String> {
        let bytes = with_fields(fields);
        let head = request(&bytes).unwrap();
        let name = |span: crate::Span| String::from_utf8(span.of(bytes.as_bytes()).to_vec()).unwrap();
        head.fields.iter().filter(|field| field.is_hop_by_hop).map(|field| name(field.name)).collect()
    }

    #[test]
    fn marks_fields_of_one_hop() {
        let fields = "Keep-Alive: 1\r\nTE: a\r\nProxy-Connection: b\r\nX: c\r\nTransfer-Encoding: chunked\r\n\
                      Proxy-Authorization: d\r\nTrailer: X\r\n";
        let marked = ["Keep-Alive", "TE", "Proxy-Connection", "Transfer-Encoding", "Proxy-Authorization"];
        assert_eq!(hop_by_hop(fields), marked);
    }

    #[test]
    fn marks_what_connection_names() {
        let fields =
            "X-A: 1\r\nConnection: x-a, X-b\r\nx-B: 2\r\nX-C: 3\r\nconnection: X-D\r\nX-D: 4\r\nx-a: 5\r\n";
        assert_eq!(hop_by_hop(fields), ["X-A", "Connection", "x-B", "connection", "X-D", "x-a"]);
    }

    #[test]
    fn keeps_end_to_end_fields_that_connection_names() {
        let fields = "Connection: host, content-length, cookie, x-forwarded-for, via, authorization, \
                      cache-control\r\nContent-Length: 0\r\nCookie: a\r\nX-Forwarded-For: b\r\nVia: c\r\n\
                      Authorization: d\r\n\
                      Cache-Control: e\r\n";
        assert_eq!(hop_by_hop(fields), ["Connection"]);
    }
}

mod section_7_8_upgrade {
    use super::*;

    #[test]
    fn takes_an_upgrade_that_connection_names() {
        for (fields, is_upgrade) in [
            ("Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", true),
            ("Connection: upgrade\r\nUpgrade: websocket\r\n", true),
            ("Upgrade: websocket\r\n", false),
            ("Connection: upgrade\r\n", false),
            ("Upgrade:\r\nConnection: upgrade\r\n", false),
            ("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n", true),
            ("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 5\r\n", false),
            ("Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n", false),
        ] {
            assert_eq!(request(with_fields(fields)).unwrap().is_upgrade, is_upgrade, "{fields:?}");
        }
        let old = "GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        assert!(!request(old).unwrap().is_upgrade);
    }

    #[test]
    fn takes_a_switch_of_protocols() {
        let fields = "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        assert!(response(format!("HTTP/1.1 101 A\r\n{fields}")).unwrap().is_upgrade);
        assert!(!response(format!("HTTP/1.1 200 A\r\n{fields}")).unwrap().is_upgrade);
        assert!(!response("HTTP/1.1 101 A\r\n\r\n").unwrap().is_upgrade);
    }
}

mod section_9_3_6_connect {
    use super::*;

    #[test]
    fn ignores_framing_of_a_tunnel() {
        let expected = Expected { to_head: false, to_connect: true };
        for fields in [
            "Content-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        ] {
            let found = response_to(expected, format!("HTTP/1.1 200 A\r\n{fields}\r\n"));
            assert_eq!(found.map(|head| head.framing), Ok(crate::Framing::None), "{fields:?}");
        }
    }
}

mod section_10_1_expect_and_te {
    use super::*;

    #[test]
    fn expects_continue_with_content_in_http_1_1() {
        for (fields, expects) in [
            ("Expect: 100-continue\r\nContent-Length: 5\r\n", true),
            ("expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", true),
            ("Expect: 100-continue\r\n", false),
            ("Expect: 100-continue\r\nContent-Length: 0\r\n", false),
            ("Content-Length: 5\r\n", false),
        ] {
            assert_eq!(request(with_fields(fields)).unwrap().expects_continue, expects, "{fields:?}");
        }
        let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        assert!(!request(old).unwrap().expects_continue);
    }

    #[test]
    fn refuses_other_expectations() {
        refuses_fields(&[
            ("Expect: 200-ok\r\n", Malformed::Expectation),
            ("Expect: 100-continue, x\r\n", Malformed::Expectation),
            ("Expect: 100-continue\r\nExpect: x=y\r\n", Malformed::Expectation),
            ("Expect:\r\n", Malformed::Expectation),
        ]);
        assert_eq!(Malformed::Expectation.status(), 417);
    }

    #[test]
    fn reads_whether_trailers_are_welcome() {
        for (fields, accepts) in [
            ("TE: trailers\r\n", true),
            ("TE: gzip;q=0.5, Trailers\r\nConnection: TE\r\n", true),
            ("TE: gzip\r\nTE: trailers\r\n", true),
            ("TE: gzip\r\n", false),
            ("TE:\r\n", false),
            ("Trailer: X\r\n", false),
        ] {
            assert_eq!(request(with_fields(fields)).unwrap().accepts_trailers, accepts, "{fields:?}");
        }
    }
}
