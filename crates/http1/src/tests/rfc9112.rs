//! RFC 9112, HTTP/1.1: one module per section.

use super::{decode, decode_chunks, refuses_fields, request, response, response_to, with_fields};
use crate::{Expected, Framing, Known, Limits, Malformed, RequestHead, ResponseHead};

mod section_2_2_message_parsing {
    use super::*;

    #[test]
    fn skips_one_empty_line_before_a_request() {
        let bytes = b"\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nrest";
        let head = request(bytes).unwrap();
        assert_eq!(head.method.of(bytes), b"GET");
        assert_eq!(head.target.of(bytes), b"/a");
        assert_eq!(head.known(bytes, Known::Host), Some(&b"a"[..]));
        assert_eq!(&bytes[head.len..], b"rest");
    }

    #[test]
    fn refuses_other_empty_lines() {
        for (bytes, reason) in [
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::EmptyLines),
            ("\r\n\r\n", Malformed::EmptyLines),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::BareLineFeed),
            ("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Malformed::EmptyLines),
            ("\n", Malformed::BareLineFeed),
        ] {
            assert_eq!(request(bytes).err(), Some(reason), "{bytes:?}");
        }
        for bytes in ["\r\nHTTP/1.1 200 OK\r\n\r\n", "\r\n", "\nHTTP/1.1 200 OK\r\n\r\n", "\n"] {
            assert_eq!(response(bytes).err(), Some(Malformed::EmptyLines), "{bytes:?}");
        }
    }

    #[test]
    fn refuses_a_bare_line_feed_anywhere() {
        for bytes in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX:\nY: c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b \nY: c\r\n\r\n",
            "GET / HTTP/1.0\n\n",
            "GET / HTTP/1.0\n\r\n",
            "GET / HTTP/1.0\r\n\n",
            "GET / HTTP/1.1\nHost: a\r\n",
            "GET / HTTP/1.1\n",
        ] {
            assert_eq!(request(bytes).err(), Some(Malformed::BareLineFeed), "{bytes:?}");
        }
        for bytes in [
            "HTTP/1.1 200 OK\nA: b\r\n\r\n",
            "HTTP/1.1 200\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\n",
        ] {
            assert_eq!(response(bytes).err(), Some(Malformed::BareLineFeed), "{bytes:?}");
        }
    }

    #[test]
    fn refuses_a_bare_carriage_return() {
        for bytes in [
            "GET / HTTP/1.1\rHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n",
            "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(request(bytes).err(), Some(Malformed::BareCarriageReturn), "{bytes:?}");
        }
        assert!(response("HTTP/1.1 200 O\rK\r\n\r\n").is_err());
        assert!(response("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n").is_err());
    }

    #[test]
    fn refuses_whitespace_before_the_first_field() {
        for space in [" ", "\t", " \t"] {
            let bytes = format!("GET / HTTP/1.1\r\n{space}Host: a\r\n\r\n");
            assert_eq!(request(&bytes).err(), Some(Malformed::Folding), "{bytes:?}");
            let bytes = format!("HTTP/1.1 200 OK\r\n{space}A: b\r\n\r\n");
            assert_eq!(response(&bytes).err(), Some(Malformed::Folding), "{bytes:?}");
        }
    }
}

mod section_2_3_version {
    use super::*;

    #[test]
    fn names_what_is_wrong_with_a_version() {
        for (version, reason) in [
            ("http/1.1", Malformed::VersionInvalid),
            ("Http/1.1", Malformed::VersionInvalid),
            ("HTTP/2.0", Malformed::VersionUnsupported),
            ("HTTP/2.2", Malformed::VersionUnsupported),
            ("HTTP/0.9", Malformed::VersionUnsupported),
            ("HTTP/3.0", Malformed::VersionUnsupported),
            ("HTTP/1.10", Malformed::VersionInvalid),
            ("HTTP/1.01", Malformed::VersionInvalid),
            ("HTTP/1.22", Malformed::VersionInvalid),
            ("HTTP/1.x", Malformed::VersionInvalid),
            ("HTTP/11", Malformed::VersionInvalid),
            ("HTTP/1", Malformed::VersionInvalid),
            ("HTTP/1.", Malformed::VersionInvalid),
            ("HTTP/.1", Malformed::VersionInvalid),
            ("HTTP/+1.1", Malformed::VersionInvalid),
            ("HTTP 1.1", Malformed::RequestLine),
            ("HTTPS/1.1", Malformed::VersionInvalid),
            ("FTP/1.1", Malformed::VersionInvalid),
            ("HTTP/1.1 ", Malformed::RequestLine),
            ("HTTP/1.1\t", Malformed::RequestLine),
            ("HTTP/1.1 x", Malformed::RequestLine),
            ("", Malformed::VersionInvalid),
        ] {
            let bytes = format!("GET / {version}\r\nHost: a\r\n\r\n");
            assert_eq!(request(&bytes).err(), Some(reason), "{bytes:?}");
        }
        assert_eq!(request("GET /\r\nHost: a\r\n\r\n").err(), Some(Malformed::VersionMissing));
        assert_eq!(request("GET /\r\n").err(), Some(Malformed::VersionMissing));
        assert_eq!(Malformed::VersionUnsupported.status(), 505);
        assert_eq!(Malformed::VersionMissing.status(), 400);
    }

    /// RFC 9110 §2.5: a higher minor version is processed as the highest one that is implemented.
    #[test]
    fn reads_a_higher_minor_version_as_1_1() {
        for minor in 2..=9 {
            for empty_line in ["", "\r\n"] {
                let bytes = format!("{empty_line}GET /a HTTP/1.{minor}\r\nHost: a\r\n\r\nGET");
                let head = request(&bytes).expect("it is read");
                assert_eq!((head.minor, head.len, head.is_persistent), (1, bytes.len() - 3, true));
                assert_eq!(head.target.of(bytes.as_bytes()), b"/a");
                assert_eq!(head.known(bytes.as_bytes(), Known::Host), Some(&b"a"[..]));
            }
            let bytes = format!("HTTP/1.{minor} 200 Fine\r\nContent-Length: 3\r\n\r\none");
            let head = response(&bytes).expect("it is read");
            assert_eq!((head.minor, head.len, head.is_persistent), (1, bytes.len() - 3, true));
            assert_eq!(head.reason.of(bytes.as_bytes()), b"Fine");
        }
        assert_eq!(request("GET / HTTP/1.2\r\n\r\n").err(), Some(Malformed::HostMissing));
        assert_eq!(request("GET / HTTP/1.2\r\nHost").err(), Some(Malformed::Incomplete));
        assert_eq!(
            request("GET / HTTP/1.2\nHost: a\n\n").err(),
            request("GET / HTTP/1.1\nHost: a\n\n").err()
        );
    }

    #[test]
    fn tells_the_http2_preface_apart() {
        for bytes in ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n"] {
            assert_eq!(request(bytes).err(), Some(Malformed::Http2Preface));
        }
        assert_eq!(request("PRI * HT").err(), Some(Malformed::Incomplete));
    }

    #[test]
    fn refuses_versions_of_responses_in_the_same_way() {
        for (version, reason) in [
            ("HTTP/2.0", Malformed::VersionUnsupported),
            ("HTTP/1.x", Malformed::VersionInvalid),
            ("HTTP/1.22", Malformed::StatusLine),
            ("http/1.1", Malformed::VersionInvalid),
            ("ICY", Malformed::VersionInvalid),
        ] {
            let bytes = format!("{version} 200 OK\r\n\r\n");
            assert_eq!(response(&bytes).err(), Some(reason), "{bytes:?}");
        }
    }
}

mod section_3_request_line {
    use super::*;

    #[test]
    fn refuses_whitespace_other_than_two_single_spaces() {
        for line in
            ["GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / \tHTTP/1.1", "GET / HTTP/1.1 ", "GET /a b HTTP/1.1"]
        {
            let bytes = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(request(&bytes).err(), Some(Malformed::RequestLine), "{bytes:?}");
        }
        for (line, reason) in [
            ("GET\t/ HTTP/1.1", Malformed::Method),
            ("GET /\tHTTP/1.1", Malformed::Target),
            (" GET / HTTP/1.1", Malformed::Method),
            ("\tGET / HTTP/1.1", Malformed::Method),
            ("GET /\x0bHTTP/1.1", Malformed::Target),
            ("GET /\x0cHTTP/1.1", Malformed::Target),
        ] {
            let bytes = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(request(&bytes).err(), Some(reason), "{bytes:?}");
        }
    }
}

mod section_3_1_method {
    use super::*;

    #[test]
    fn takes_any_token() {
        for method in ["GET", "get", "PROPFIND", "M-SEARCH", "X!#$%&'*+-.^_`|~9"] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            let head = request(&bytes).unwrap();
            assert_eq!(head.method.of(bytes.as_bytes()), method.as_bytes());
        }
    }

    #[test]
    fn refuses_what_is_no_token() {
        for method in ["G(T", "GET:", "G\"T", "G@T", "", "G\x00T", "G\u{e9}T", "{GET}", "GET,"] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(request(&bytes).err(), Some(Malformed::Method), "{bytes:?}");
        }
    }
}

mod section_3_2_target {
    use super::*;

    fn target(method: &str, target: &str, host: &str) -> Result<(String, String), Malformed> {
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let head = request(&bytes)?;
        let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
        let authority = head.authority(bytes.as_bytes()).unwrap();
        Ok((text(authority), text(head.path_and_query(bytes.as_bytes()))))
    }

    #[test]
    fn takes_the_four_forms() {
        for (method, sent, host, authority, path) in [
            ("GET", "/", "a", "a", "/"),
            ("GET", "/a/b?c=d&e", "a:80", "a:80", "/a/b?c=d&e"),
            ("GET", "//b/c", "a", "a", "//b/c"),
            ("GET", "/?q=\\|{}\"<>^`", "a", "a", "/?q=\\|{}\"<>^`"),
            ("GET", "/%00%zz|", "a", "a", "/%00%zz|"),
            ("GET", "http://a/b?c", "a", "a", "/b?c"),
            ("GET", "http://a", "a", "a", "/"),
            ("GET", "http://a?b", "a", "a", "?b"),
            ("GET", "http://a:80?b/c@d:e", "a", "a:80", "?b/c@d:e"),
            ("OPTIONS", "http://a?b", "a", "a", "?b"),
            ("GET", "HTTP://A/", "a", "A", "/"),
            ("GET", "http://a:80/", "a", "a:80", "/"),
            ("GET", "http://a/", "a:80", "a", "/"),
            ("GET", "https://a:443/", "a", "a:443", "/"),
            ("GET", "http://[::1]:8080/x", "[::1]:8080", "[::1]:8080", "/x"),
            ("OPTIONS", "*", "a", "a", "*"),
            ("OPTIONS", "*", "", "", "*"),
            ("OPTIONS", "/x", "a", "a", "/x"),
            ("OPTIONS", "http://a", "a", "a", "*"),
            ("CONNECT", "a:443", "a:443", "a:443", ""),
            ("CONNECT", "[::1]:443", "[::1]:443", "[::1]:443", ""),
        ] {
            let expected = Ok((authority.to_owned(), path.to_owned()));
            assert_eq!(target(method, sent, host), expected, "{method} {sent} {host}");
        }
    }

    #[test]
    fn refuses_other_targets() {
        for (method, sent) in [
            ("GET", "a"),
            ("GET", "a:80"),
            ("GET", "*"),
            ("GET", "?a"),
            ("GET", "/a#b"),
            ("GET", "/a?b#c"),
            ("GET", "http://a/#b"),
            ("GET", "/\\a"),
            ("GET", "\\a"),
            ("GET", "http:/a/"),
            ("GET", "http:a"),
            ("GET", "http:///b"),
            ("GET", "http://"),
            ("GET", "http://:80/"),
            ("GET", "http://u@a/"),
            ("GET", "http://u:p@a/"),
            ("GET", "http://?b"),
            ("GET", "http://u@a?b"),
            ("GET", "http://a:b/"),
            ("GET", "http://a:99999/"),
            ("GET", "http:\\\\a/"),
            ("GET", "ftp://a/"),
            ("GET", "file:///etc/passwd"),
            ("GET", "/\u{e9}"),
            ("GET", "/\x01"),
            ("GET", "/\x7f"),
            ("GET", "/\x00"),
            ("OPTIONS", "**"),
            ("OPTIONS", "*a"),
            ("CONNECT", "/"),
            ("CONNECT", "a"),
            ("CONNECT", "a:"),
            ("CONNECT", "a:0"),
            ("CONNECT", ":443"),
            ("CONNECT", "a:x"),
            ("CONNECT", "a:65536"),
            ("CONNECT", "http://a:443/"),
            ("CONNECT", "u@a:443"),
            ("CONNECT", "*"),
        ] {
            assert_eq!(target(method, sent, "a").err(), Some(Malformed::Target), "{method} {sent}");
        }
        let bytes = b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(request(bytes).err(), Some(Malformed::Target));
    }

    #[test]
    fn refuses_a_target_that_contradicts_host() {
        for (method, sent, host) in [
            ("GET", "http://b/", "a"),
            ("GET", "http://a:8080/", "a"),
            ("GET", "http://a/", "a:443"),
            ("GET", "https://a/", "a:80"),
            ("CONNECT", "b:443", "a:443"),
            ("CONNECT", "a:443", "a:444"),
            ("CONNECT", "a:443", "a"),
        ] {
            assert_eq!(target(method, sent, host).err(), Some(Malformed::HostDiffers), "{sent} {host}");
        }
    }

    #[test]
    fn needs_exactly_one_host_in_http_1_1() {
        for (bytes, reason) in [
            ("GET / HTTP/1.1\r\n\r\n", Malformed::HostMissing),
            ("GET http://a/ HTTP/1.1\r\n\r\n", Malformed::HostMissing),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Malformed::HostRepeated),
            ("GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", Malformed::HostRepeated),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Malformed::HostRepeated),
        ] {
            assert_eq!(request(bytes).err(), Some(reason), "{bytes:?}");
        }
        let bytes = b"GET / HTTP/1.0\r\n\r\n";
        assert_eq!(request(bytes).unwrap().authority(bytes), None);
    }

    #[test]
    fn refuses_a_host_that_is_none() {
        for host in [
            "", "a b", "a,b", "u@a", "a/b", "a\\b", "a?b", "a#b", "a:b", "a:-1", "a:65536", "a:000080",
            ":80", "a:80:80", "[::1", "::1", "[::1]x", "[::1]:x", "[a]", "[v1.a]", "http://a", "a%2fb",
            "a\u{e9}", "<a>", "a\"", "a|b", "a^b", "a`b", "{a}", "a\tb",
        ] {
            let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(request(&bytes).err(), Some(Malformed::HostInvalid), "{host:?}");
        }
        for host in
            ["a", "A.b-c_d~.", "127.0.0.1:65535", "[::1]", "[::ffff:1.2.3.4]:8", "a:", "xn--a", "a;b=c"]
        {
            let bytes = format!("GET / HTTP/1.1\r\nHost:\t{host} \r\n\r\n");
            assert_eq!(request(&bytes).err(), None, "{host:?}");
        }
    }
}

mod section_4_status_line {
    use super::*;

    #[test]
    fn reads_status_and_reason() {
        for (line, status, reason) in [
            (&b"HTTP/1.1 200 OK"[..], 200, &b"OK"[..]),
            (b"HTTP/1.0 404 Not Found", 404, b"Not Found"),
            (b"HTTP/1.1 599 ", 599, b""),
            (b"HTTP/1.1 100", 100, b""),
            (b"HTTP/1.1 200 \xe9t\xe9", 200, b"\xe9t\xe9"),
            (b"HTTP/1.1 200  two\t", 200, b" two\t"),
        ] {
            let bytes = [line, b"\r\nA: b\r\n\r\n"].concat();
            let head = response(&bytes).unwrap();
            assert_eq!((head.status, head.reason.of(&bytes)), (status, reason), "{line:?}");
            assert_eq!(head.len, bytes.len());
        }
    }

    #[test]
    fn takes_statuses_that_have_no_meaning() {
        for status in [600, 999] {
            assert_eq!(response(format!("HTTP/1.1 {status} A\r\n\r\n")).unwrap().status, status);
        }
    }

    #[test]
    fn refuses_other_status_lines() {
        for (line, reason) in [
            ("HTTP/1.1 99 A", Malformed::StatusLine),
            ("HTTP/1.1 099 A", Malformed::StatusCode),
            ("HTTP/1.1 000 A", Malformed::StatusCode),
            ("HTTP/1.1 2000 A", Malformed::StatusLine),
            ("HTTP/1.1 20 A", Malformed::StatusLine),
            ("HTTP/1.1 20x A", Malformed::StatusLine),
            ("HTTP/1.1 +20 A", Malformed::StatusLine),
            ("HTTP/1.1  200 A", Malformed::StatusLine),
            ("HTTP/1.1 200\tA", Malformed::StatusLine),
            ("HTTP/1.1 200 A\x00", Malformed::StatusLine),
            ("HTTP/1.1 200 A\x7f", Malformed::StatusLine),
            ("HTTP/1.1\t200 A", Malformed::StatusLine),
            (" HTTP/1.1 200 A", Malformed::VersionInvalid),
        ] {
            let bytes = format!("{line}\r\n\r\n");
            assert_eq!(response(&bytes).err(), Some(reason), "{bytes:?}");
        }
    }
}

mod section_5_field_syntax {
    use super::*;

    #[test]
    fn keeps_order_and_case_and_trims_values() {
        let bytes =
            b"GET / HTTP/1.1\r\nhOsT:a\r\nX-One: \t 1 2\t \r\nX-Empty:\r\nx-one:\t\r\nZ: \xff\r\n\r\n";
        let head = request(bytes).unwrap();
        let fields: Vec<_> =
            head.fields.iter().map(|field| (field.name.of(bytes), field.value.of(bytes))).collect();
        let expected: [(&[u8], &[u8]); 5] =
            [(b"hOsT", b"a"), (b"X-One", b"1 2"), (b"X-Empty", b""), (b"x-one", b""), (b"Z", b"\xff")];
        assert_eq!(fields, expected);
    }

    #[test]
    fn refuses_lines_that_are_no_fields() {
        refuses_fields(&[
            ("X : a\r\n", Malformed::WhitespaceBeforeColon),
            ("X\t: a\r\n", Malformed::WhitespaceBeforeColon),
            ("Content-Length : 5\r\n", Malformed::WhitespaceBeforeColon),
            ("Transfer-Encoding : chunked\r\n", Malformed::WhitespaceBeforeColon),
            (": a\r\n", Malformed::FieldName),
            ("X\r\n", Malformed::FieldName),
            ("X Y: a\r\n", Malformed::FieldName),
            ("X(: a\r\n", Malformed::FieldName),
            ("X\x00: a\r\n", Malformed::FieldName),
            ("X\u{e9}: a\r\n", Malformed::FieldName),
            ("\"X\": a\r\n", Malformed::FieldName),
            ("X: a\x00\r\n", Malformed::FieldValue),
            ("X: \x01\r\n", Malformed::FieldValue),
            ("X: a\x7f\r\n", Malformed::FieldValue),
            ("X: a\x0bb\r\n", Malformed::FieldValue),
            ("X:\x0c\r\n", Malformed::FieldValue),
            ("Transfer-Encoding:\x0bchunked\r\n", Malformed::FieldValue),
        ]);
    }

    #[test]
    fn refuses_folded_lines() {
        refuses_fields(&[
            ("X: a\r\n b\r\n", Malformed::Folding),
            ("X: a\r\n\tb\r\n", Malformed::Folding),
            ("X: a\r\n \r\n", Malformed::Folding),
            ("X:\r\n b\r\n", Malformed::Folding),
            ("Transfer-Encoding:\r\n chunked\r\n", Malformed::Folding),
        ]);
        assert_eq!(response("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n").err(), Some(Malformed::Folding));
    }

    #[test]
    fn refuses_lookalikes_of_framing_fields() {
        refuses_fields(&[
            ("Content_Length: 5\r\n", Malformed::Lookalike),
            ("TRANSFER_ENCODING: chunked\r\n", Malformed::Lookalike),
        ]);
        assert!(request(with_fields("X_Length: 5\r\ncontent_lengths: 5\r\n")).is_ok());
    }
}

mod section_6_3_body_length {
    use super::*;

    fn framing(fields: &str) -> Framing {
        request(with_fields(fields)).unwrap().framing
    }

    #[test]
    fn frames_requests() {
        assert_eq!(framing(""), Framing::None);
        assert_eq!(framing("Content-Length: 0\r\n"), Framing::Length(0));
        assert_eq!(framing("Content-Length: 0042\r\n"), Framing::Length(42));
        assert_eq!(framing("content-length:\t9223372036854775807 \r\n"), Framing::Length(i64::MAX as u64));
        assert_eq!(framing("Transfer-Encoding: chunked\r\n"), Framing::Chunked);
        assert_eq!(framing("TRANSFER-ENCODING: cHuNkEd \r\n"), Framing::Chunked);
    }

    #[test]
    fn refuses_lengths_that_are_no_number() {
        for value in [
            "",
            "+5",
            "-5",
            "5,5",
            "5, 5",
            "5 5",
            "5;",
            "0x5",
            "5a",
            "5.0",
            "1e3",
            "\"5\"",
            "5,",
            ",5",
            "5_0",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999",
            "\u{665}",
            "5\t5",
            "٥",
        ] {
            let fields = format!("Content-Length: {value}\r\n");
            refuses_fields(&[(&fields, Malformed::ContentLengthInvalid)]);
            let found = response(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).err();
            assert_eq!(found, Some(Malformed::ContentLengthInvalid), "{value:?}");
        }
    }

    #[test]
    fn refuses_repeated_lengths() {
        for fields in [
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nX: a\r\ncontent-length: 6\r\n",
        ] {
            refuses_fields(&[(fields, Malformed::ContentLengthRepeated)]);
            let found = response(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).err();
            assert_eq!(found, Some(Malformed::ContentLengthRepeated));
        }
    }

    #[test]
    fn refuses_length_with_transfer_encoding() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        ] {
            refuses_fields(&[(fields, Malformed::LengthAndTransferEncoding)]);
            for status in ["200", "204", "304"] {
                let found = response(format!("HTTP/1.1 {status} A\r\n{fields}\r\n")).err();
                assert_eq!(found, Some(Malformed::LengthAndTransferEncoding), "{status}");
            }
        }
    }

    #[test]
    fn refuses_other_transfer_encodings() {
        for (value, reason) in [
            ("", Malformed::TransferEncodingInvalid),
            ("gzip", Malformed::TransferEncodingInvalid),
            ("identity", Malformed::TransferEncodingInvalid),
            ("xchunked", Malformed::TransferEncodingInvalid),
            ("chunkedx", Malformed::TransferEncodingInvalid),
            ("chunked, gzip", Malformed::TransferEncodingInvalid),
            ("chunked, chunked", Malformed::TransferEncodingInvalid),
            ("chunked, identity", Malformed::TransferEncodingInvalid),
            ("chunked,", Malformed::TransferEncodingInvalid),
            (", chunked", Malformed::TransferEncodingInvalid),
            ("chunked;q=1", Malformed::TransferEncodingInvalid),
            ("chunked ;", Malformed::TransferEncodingInvalid),
            ("\"chunked\"", Malformed::TransferEncodingInvalid),
            ("'chunked'", Malformed::TransferEncodingInvalid),
            ("chun ked", Malformed::TransferEncodingInvalid),
            ("chunked\u{a0}", Malformed::TransferEncodingInvalid),
            ("chun\u{212a}ed", Malformed::TransferEncodingInvalid),
            ("gzip;x, chunked", Malformed::TransferEncodingInvalid),
            ("gzip, chunked", Malformed::TransferEncodingUnknown),
            ("identity, chunked", Malformed::TransferEncodingUnknown),
        ] {
            let fields = format!("Transfer-Encoding: {value}\r\n");
            refuses_fields(&[(&fields, reason)]);
            let found = response(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).err();
            assert_eq!(found, Some(reason), "{value:?}");
        }
        refuses_fields(&[(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Malformed::TransferEncodingInvalid,
        )]);
        assert_eq!(Malformed::TransferEncodingUnknown.status(), 501);
    }

    #[test]
    fn refuses_transfer_encoding_in_http_1_0() {
        let found = request("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").err();
        assert_eq!(found, Some(Malformed::TransferEncodingMisplaced));
        let found = response("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").err();
        assert_eq!(found, Some(Malformed::TransferEncodingMisplaced));
        let found = response("HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n").err();
        assert_eq!(found, Some(Malformed::TransferEncodingMisplaced));
    }

    #[test]
    fn frames_responses() {
        let (head, connect) =
            (Expected { to_head: true, to_connect: false }, Expected { to_head: false, to_connect: true });
        let get = Expected::default();
        for (expected, text, framing, declared, is_persistent) in [
            (get, "200 A\r\nContent-Length: 5\r\n", Framing::Length(5), Some(5), true),
            (get, "200 A\r\nContent-Length: 0\r\n", Framing::Length(0), Some(0), true),
            (get, "200 A\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked, None, true),
            (get, "200 A\r\n", Framing::UntilClose, None, false),
            (get, "304 A\r\nContent-Length: 5\r\n", Framing::None, Some(5), true),
            (get, "304 A\r\nTransfer-Encoding: chunked\r\n", Framing::None, None, true),
            (get, "204 A\r\n", Framing::None, None, true),
            (get, "204 A\r\nContent-Length: 0\r\n", Framing::None, Some(0), true),
            (get, "204 A\r\nContent-Length: 5\r\n", Framing::None, Some(5), false),
            (get, "204 A\r\nTransfer-Encoding: chunked\r\n", Framing::None, None, false),
            (get, "205 A\r\n", Framing::UntilClose, None, false),
            (get, "103 A\r\nLink: b\r\n", Framing::None, None, true),
            (get, "101 A\r\nUpgrade: b\r\nConnection: upgrade\r\n", Framing::None, None, false),
            (head, "200 A\r\nContent-Length: 5\r\n", Framing::None, Some(5), true),
            (head, "200 A\r\nTransfer-Encoding: chunked\r\n", Framing::None, None, true),
            (head, "200 A\r\n", Framing::None, None, true),
            (connect, "200 A\r\n", Framing::None, None, true),
            (connect, "407 A\r\nContent-Length: 5\r\n", Framing::Length(5), Some(5), true),
        ] {
            let found = response_to(expected, format!("HTTP/1.1 {text}\r\n")).unwrap();
            let facts = (found.framing, found.declared_length, found.is_persistent);
            assert_eq!(facts, (framing, declared, is_persistent), "{expected:?} {text:?}");
        }
    }

    #[test]
    fn refuses_content_with_connect_and_trace() {
        for line in ["CONNECT a:1", "TRACE /"] {
            for fields in ["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n"] {
                let host = if line.starts_with('C') { "a:1" } else { "a" };
                let bytes = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
                assert_eq!(request(&bytes).err(), Some(Malformed::ContentNotAllowed), "{bytes:?}");
            }
        }
        assert_eq!(
            request("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").unwrap().framing,
            Framing::Length(3)
        );
    }

    #[test]
    fn counts_a_declared_length_down() {
        let (payload, consumed, mut decoder) = decode(Framing::Length(5), [&b"he"[..], b"", b"lloGET"]);
        assert_eq!((payload, consumed, decoder.is_done()), (b"hello".to_vec(), Ok(5), true));
        assert_eq!(decoder.decode(&mut b"GET".to_vec()).unwrap().consumed, 0);
        assert_eq!(decoder.at_eof(), Ok(()));
        for framing in [Framing::None, Framing::Length(0)] {
            let (payload, consumed, decoder) = decode(framing, [&b"GET"[..]]);
            assert_eq!((payload, consumed, decoder.is_done()), (vec![], Ok(0), true));
        }
    }
}

mod section_7_1_chunked {
    use super::*;

    #[test]
    fn decodes_chunks_to_the_end_of_the_message() {
        for (body, payload, trailers) in [
            ("0\r\n\r\n", "", None),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", None),
            ("00a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", "01234567890123456789", None),
            ("1\r\na\r\n1;x\r\nb\r\n0;x=y\r\nX-T: 1\r\nY:\r\n\r\n", "ab", Some("X-T: 1\r\nY:\r\n")),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", None),
        ] {
            let (found, consumed, mut decoder) = decode_chunks(&format!("{body}GET /"));
            assert_eq!(found, payload.as_bytes(), "{body:?}");
            assert_eq!((consumed, decoder.is_done()), (Ok(body.len()), true), "{body:?}");
            assert_eq!(decoder.take_trailers().as_deref(), trailers.map(str::as_bytes), "{body:?}");
            assert_eq!(decoder.take_trailers(), None);
        }
    }

    #[test]
    fn leaves_the_next_message_where_it_lay() {
        let mut data = b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1".to_vec();
        let mut decoder = crate::BodyDecoder::new(Framing::Chunked, &Limits::default());
        let decoded = decoder.decode(&mut data).unwrap();
        assert_eq!(&data[..decoded.payload], b"abc");
        assert_eq!(&data[decoded.consumed..], b"GET / HTTP/1.1");
    }

    #[test]
    fn takes_padded_sizes_from_those_who_are_known_to_pad() {
        let limits = Limits { are_sizes_padded: true, ..Limits::default() };
        for body in ["3  \r\nabc\r\n0\t\r\n\r\n", "0000000000000000000003\r\nabc\r\n0000\r\n\r\n"] {
            let mut decoder = crate::BodyDecoder::new(Framing::Chunked, &limits);
            let mut data = body.as_bytes().to_vec();
            let decoded = decoder.decode(&mut data).unwrap();
            assert_eq!(&data[..decoded.payload], b"abc");
            assert!(decoder.is_done());
        }
        for (body, reason) in [
            ("3 a\r\n", Malformed::ChunkSize),
            ("0000000000000010000000000000001\r\n", Malformed::ChunkTooLarge),
            (&format!("{}3\r\n", "0".repeat(400)), Malformed::ChunkExtensionTooLong),
        ] {
            let mut decoder = crate::BodyDecoder::new(Framing::Chunked, &limits);
            assert_eq!(decoder.decode(&mut body.as_bytes().to_vec()), Err(reason), "{body:?}");
        }
    }

    #[test]
    fn refuses_sizes_that_are_no_hexadecimal_number() {
        for (body, reason) in [
            ("\r\n", Malformed::ChunkSize),
            ("g\r\n", Malformed::ChunkSize),
            ("+5\r\nhello\r\n", Malformed::ChunkSize),
            ("-5\r\n", Malformed::ChunkSize),
            ("0x5\r\nhello\r\n", Malformed::ChunkSize),
            ("5_0\r\n", Malformed::ChunkSize),
            (" 5\r\nhello\r\n", Malformed::ChunkSize),
            ("5 \r\nhello\r\n", Malformed::ChunkSize),
            ("5\t\r\n", Malformed::ChunkSize),
            ("5 x\r\n", Malformed::ChunkSize),
            ("5 \n", Malformed::ChunkSize),
            ("5,5\r\n", Malformed::ChunkSize),
            ("\n5\r\n", Malformed::ChunkSize),
            (";x\r\n", Malformed::ChunkSize),
            ("5\nhello\r\n", Malformed::BareLineFeed),
            ("5\rhello\r\n", Malformed::BareCarriageReturn),
            ("5\r\rhello", Malformed::BareCarriageReturn),
            ("20000000000001\r\n", Malformed::ChunkTooLarge),
            ("0000000000000005\r\n", Malformed::ChunkTooLarge),
            ("ffffffffffffffff\r\n", Malformed::ChunkTooLarge),
            ("10000000000000005\r\n", Malformed::ChunkTooLarge),
        ] {
            assert_eq!(decode_chunks(body).1, Err(reason), "{body:?}");
        }
        assert!(decode_chunks("20000000000000\r\n").1.is_ok());
        assert!(decode_chunks("000000000000005\r\n").1.is_ok());
    }

    #[test]
    fn refuses_payload_without_its_line_end() {
        for body in [
            "5\r\nhello",
            "5\r\nhello0\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n0\r\n",
            "5\r\nhello\r0\r\n",
            "5\r\nhello\r\r\n",
        ] {
            let (_, found, mut decoder) = decode_chunks(body);
            match body {
                "5\r\nhello" => {
                    assert!(found.is_ok() && !decoder.is_done());
                    assert_eq!(decoder.at_eof(), Err(Malformed::Incomplete));
                }
                _ => assert_eq!(found, Err(Malformed::ChunkEnd), "{body:?}"),
            }
        }
    }

    #[test]
    fn keeps_refusing_after_an_error() {
        let (_, _, mut decoder) = decode_chunks("x");
        assert_eq!(decoder.decode(&mut b"0\r\n\r\n".to_vec()), Err(Malformed::ChunkSize));
        assert_eq!(decoder.at_eof(), Err(Malformed::ChunkSize));
        assert_eq!(decoder.take_trailers(), None);
    }

    mod section_7_1_1_extensions {
        use super::*;

        #[test]
        fn ignores_extensions_of_the_right_form() {
            for extension in [
                ";a",
                ";a=b",
                ";a=\"b c;\\\"d\"",
                "; a=b",
                ";a = b",
                ";a ;b",
                " ;a",
                "\t ; a=b",
                ";a=b;c",
                ";a=\"\";c=\"\t\"",
                ";a=b ;c",
                ";a=\"b\" ;c",
            ] {
                let body = format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n");
                let (payload, _, decoder) = decode_chunks(&body);
                assert!(payload == b"x" && decoder.is_done(), "{extension:?}");
            }
        }

        #[test]
        fn refuses_other_extensions() {
            for (extension, reason) in [
                (";", Malformed::ChunkExtension),
                (";;a", Malformed::ChunkExtension),
                (";=b", Malformed::ChunkExtension),
                (";a=", Malformed::ChunkExtension),
                (";a ", Malformed::ChunkExtension),
                (";a=b ", Malformed::ChunkExtension),
                (";a b", Malformed::ChunkExtension),
                (";a=b c", Malformed::ChunkExtension),
                (";a=\"b", Malformed::ChunkExtension),
                (";a=\"b\"c", Malformed::ChunkExtension),
                (";a=\"b\\\x01\"", Malformed::ChunkExtension),
                (";a\x00", Malformed::ChunkExtension),
                (";a\x7f", Malformed::ChunkExtension),
                (";a\u{e9}", Malformed::ChunkExtension),
                (";a\nb", Malformed::BareLineFeed),
                (";a=\"\n\"", Malformed::BareLineFeed),
                (";a\rb", Malformed::BareCarriageReturn),
            ] {
                let body = format!("1{extension}\r\nx\r\n0\r\n\r\n");
                assert_eq!(decode_chunks(&body).1, Err(reason), "{extension:?}");
            }
        }

        #[test]
        fn bounds_extensions_per_chunk_and_per_body() {
            let longest = format!("1;{}\r\nx\r\n", "a".repeat(255));
            assert!(decode_chunks(&longest).1.is_ok());
            let longer = format!("1;{}\r\nx\r\n", "a".repeat(256));
            assert_eq!(decode_chunks(&longer).1, Err(Malformed::ChunkExtensionTooLong));
            assert_eq!(decode_chunks(&longest.repeat(70)).1, Err(Malformed::ChunkExtensionTooLong));
            let worth_it = format!("400;{}\r\n{}\r\n", "a".repeat(255), "x".repeat(0x400));
            assert!(decode_chunks(&worth_it.repeat(200)).1.is_ok());
        }
    }

    mod section_7_1_2_trailers {
        use super::*;
        use crate::parse_trailers;

        #[test]
        fn splits_trailers_into_names_and_values() {
            let found = parse_trailers(b"Digest:  a b \r\nX:\r\n").unwrap();
            let expected: [(&[u8], &[u8]); 2] = [(b"Digest", b"a b"), (b"X", b"")];
            assert_eq!(found, expected);
            assert_eq!(parse_trailers(b""), Ok(vec![]));
            assert_eq!(parse_trailers(b"X: a"), Err(Malformed::BareLineFeed));
            assert_eq!(parse_trailers(b"X: a\r\n\r\n"), Err(Malformed::FieldName));
        }

        #[test]
        fn refuses_lines_that_are_no_fields() {
            for (line, reason) in [
                ("X: a\n", Malformed::BareLineFeed),
                ("\n", Malformed::BareLineFeed),
                ("X: a\rb\r\n", Malformed::BareCarriageReturn),
                ("X: a\r\r\n", Malformed::BareCarriageReturn),
                (" X: a\r\n", Malformed::Folding),
                ("X: a\r\n b\r\n", Malformed::Folding),
                ("X : a\r\n", Malformed::WhitespaceBeforeColon),
                (": a\r\n", Malformed::FieldName),
                ("X\r\n", Malformed::FieldName),
                ("GET / HTTP/1.1\r\n", Malformed::FieldName),
                ("X: \x00\r\n", Malformed::FieldValue),
            ] {
                let body = format!("0\r\n{line}\r\n");
                assert_eq!(decode_chunks(&body).1, Err(reason), "{line:?}");
            }
        }

        #[test]
        fn leaves_out_fields_that_must_come_before_the_content() {
            for name in [
                "Content-Length",
                "transfer-encoding",
                "HOST",
                "Connection",
                "TE",
                "Trailer",
                "Upgrade",
                "Keep-Alive",
                "Proxy-Connection",
                "Expect",
                "Authorization",
                "Proxy-Authorization",
                "Cookie",
                "Set-Cookie",
                "Content-Type",
                "Content-Encoding",
                "Content-Range",
                "Cache-Control",
                "X-Forwarded-For",
                "Via",
            ] {
                let body = format!("0\r\nX: a\r\n{name}: 1\r\nY: b\r\n\r\n");
                let (_, result, mut decoder) = decode_chunks(&body);
                assert!(result.is_ok(), "{name}: {result:?}");
                assert_eq!(decoder.take_trailers().as_deref(), Some(&b"X: a\r\nY: b\r\n"[..]), "{name}");
                let raw = format!("{name}: 1\r\n");
                assert_eq!(parse_trailers(raw.as_bytes()), Ok(vec![]), "{name}");
            }
            let endless = format!("0\r\n{}", "Host: a\r\n".repeat(1000));
            assert_eq!(decode_chunks(&endless).1, Err(Malformed::TrailersTooLarge));
            let body = "0\r\nContent_Length: 1\r\n\r\n";
            assert_eq!(decode_chunks(body).1, Err(Malformed::Lookalike));
        }

        #[test]
        fn bounds_the_trailer_section() {
            let line = format!("X: {}\r\n", "a".repeat(8 * 1024 - 5));
            assert!(decode_chunks(&format!("0\r\n{line}\r\n")).2.is_done());
            let found = decode_chunks(&format!("0\r\nX{line}\r\n")).1;
            assert_eq!(found, Err(Malformed::TrailersTooLarge));
            assert_eq!(Malformed::TrailersTooLarge.status(), 431);
            let endless = format!("0\r\nX: {}", "a".repeat(9000));
            assert_eq!(decode_chunks(&endless).1, Err(Malformed::TrailersTooLarge));
        }
    }
}

mod section_8_incomplete_messages {
    use super::*;

    #[test]
    fn tells_a_cut_message_from_a_whole_one() {
        for (framing, bytes, end) in [
            (Framing::Length(5), &b"hell"[..], Err(Malformed::Incomplete)),
            (Framing::Length(5), b"hello", Ok(())),
            (Framing::Chunked, b"5\r\nhello\r\n", Err(Malformed::Incomplete)),
            (Framing::Chunked, b"5\r\nhello\r\n0\r\n", Err(Malformed::Incomplete)),
            (Framing::Chunked, b"5\r\nhello\r\n0\r\n\r", Err(Malformed::Incomplete)),
            (Framing::Chunked, b"5\r\nhello\r\n0\r\n\r\n", Ok(())),
            (Framing::UntilClose, b"hell", Ok(())),
            (Framing::UntilClose, b"", Ok(())),
            (Framing::None, b"", Ok(())),
        ] {
            let (_, _, mut decoder) = decode(framing, [bytes]);
            assert_eq!(decoder.at_eof(), end, "{framing:?} {bytes:?}");
            assert_eq!(decoder.is_done(), end.is_ok());
        }
    }

    #[test]
    fn waits_for_the_rest_of_a_head() {
        let whole = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: \r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(request(&whole[..end]).err(), Some(Malformed::Incomplete), "{end}");
        }
        assert!(request(whole).is_ok());
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: \r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(response(&whole[..end]).err(), Some(Malformed::Incomplete), "{end}");
        }
    }
}

mod section_9_connections {
    use super::*;

    #[test]
    fn persists_as_versions_and_options_say() {
        for (version, options, is_persistent) in [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: CLOSE\r\n", false),
            ("1.1", "Connection: keep-alive\r\n", true),
            ("1.1", "Connection: close, keep-alive\r\n", false),
            ("1.1", "Connection: keep-alive, close\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: x,close\r\n", false),
            ("1.1", "Connection: not a token\r\n", false),
            ("1.1", "Connection: , ,\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: Keep-Alive, close\r\n", false),
        ] {
            let bytes = format!("GET / HTTP/{version}\r\nHost: a\r\n{options}\r\n");
            assert_eq!(request(&bytes).unwrap().is_persistent, is_persistent, "{bytes:?}");
            let bytes = format!("HTTP/{version} 200 OK\r\nContent-Length: 0\r\n{options}\r\n");
            assert_eq!(response(&bytes).unwrap().is_persistent, is_persistent, "{bytes:?}");
        }
    }

    #[test]
    fn refuses_more_connection_options_than_anybody_sends() {
        let sixty_four = format!("Connection: {}\r\n", "a,".repeat(64));
        assert!(request(with_fields(&sixty_four)).is_ok());
        refuses_fields(&[(&format!("{sixty_four}Connection: b\r\n"), Malformed::ConnectionOptions)]);
    }
}

mod limits {
    use super::*;

    fn head_of(len: usize) -> Vec<u8> {
        let mut head = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
        head.resize(len - 4, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        head
    }

    #[test]
    fn bounds_the_bytes_of_a_head() {
        let limits = Limits { head_bytes_max: 1000, ..Limits::default() };
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&head_of(1000), &limits), Ok(true));
        assert_eq!(head.parse(&head_of(1001), &limits), Err(Malformed::HeadTooLarge));
        assert_eq!(head.parse(&head_of(1001)[..1000], &limits), Err(Malformed::HeadTooLarge));
        assert_eq!(head.parse(&head_of(1001)[..999], &limits), Ok(false));
        let mut line = b"GET /".to_vec();
        line.resize(1000, b'a');
        assert_eq!(head.parse(&line, &limits), Err(Malformed::TargetTooLong));
        let mut with_content = head_of(1000);
        with_content.resize(200_000, b'y');
        assert_eq!(head.parse(&with_content, &limits), Ok(true));
        assert_eq!((Malformed::HeadTooLarge.status(), Malformed::TargetTooLong.status()), (431, 414));

        let mut head = ResponseHead::default();
        let bytes = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'x'; 1000]].concat();
        assert_eq!(head.parse(&bytes, Expected::default(), &limits), Err(Malformed::HeadTooLarge));
    }

    #[test]
    fn never_takes_a_head_beyond_sixteen_bit_offsets() {
        let limits = Limits { head_bytes_max: usize::MAX, ..Limits::default() };
        let mut head = RequestHead::default();
        let largest = head_of(65_535);
        assert_eq!(head.parse(&largest, &limits), Ok(true));
        assert_eq!(head.fields[1].value.of(&largest).len(), 65_535 - 32);
        assert_eq!(head.parse(&head_of(65_536), &limits), Err(Malformed::HeadTooLarge));
    }

    #[test]
    fn bounds_the_fields_of_a_head() {
        let limits = Limits { fields_max: 10, ..Limits::default() };
        let fields = |count: usize| with_fields(&"X: a\r\n".repeat(count - 1));
        let mut head = RequestHead::default();
        assert_eq!(head.parse(fields(10).as_bytes(), &limits), Ok(true));
        assert_eq!(head.fields.len(), 10);
        assert_eq!(head.parse(fields(11).as_bytes(), &limits), Err(Malformed::TooManyFields));
        let limits = Limits { fields_max: 10_000, ..Limits::default() };
        assert_eq!(head.parse(fields(256).as_bytes(), &limits), Ok(true));
        assert_eq!(head.parse(fields(257).as_bytes(), &limits), Err(Malformed::TooManyFields));
        assert_eq!(Malformed::TooManyFields.status(), 431);
    }

    #[test]
    fn reads_an_unfinished_head_again_only_when_a_line_ended() {
        let limits = Limits { head_bytes_max: 40, ..Limits::default() };
        let mut head = RequestHead::default();
        // A wrong method goes unseen until its line ends, or nothing more fits.
        assert_eq!(head.parse_more(b"G(", 0, &limits), Err(Malformed::Method));
        assert_eq!(head.parse_more(b"G( /", 2, &limits), Ok(false));
        assert_eq!(head.parse_more(b"G( / HTTP/1.1\r\n", 4, &limits), Err(Malformed::Method));
        assert_eq!(head.parse_more(&[b'a'; 40], 39, &limits), Err(Malformed::TargetTooLong));
        let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(head.parse_more(whole, whole.len() - 1, &limits), Ok(true));
    }

    #[test]
    fn keeps_the_room_for_fields_between_heads() {
        let mut head = RequestHead::default();
        let limits = Limits::default();
        head.parse(with_fields(&"X: a\r\n".repeat(50)).as_bytes(), &limits).unwrap();
        let capacity = head.fields.capacity();
        head.parse(with_fields("").as_bytes(), &limits).unwrap();
        assert_eq!((head.fields.len(), head.fields.capacity()), (1, capacity));
    }
}
