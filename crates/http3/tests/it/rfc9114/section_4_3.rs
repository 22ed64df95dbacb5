//! §4.3 HTTP control data: pseudo-fields. Content-Length as of RFC 9110 §8.6.

use crate::wire::{get_with, is_malformed, request, request_of, section};
use http3::Limits;

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "example.org"), (":path", "/")];

fn get_but(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    GET.iter().map(|&(n, v)| (n, if n == name { value } else { v })).collect()
}

#[test]
fn refuses_unknown_pseudo_fields_and_those_of_responses() {
    for name in [":", ":status", ":unknown", ":Method", ":method "] {
        let mut fields = vec![(name, "200")];
        fields.extend(GET);
        assert!(is_malformed(request_of(&fields)), "{name}");
    }
}

#[test]
fn refuses_pseudo_fields_after_fields() {
    let mut fields = GET.to_vec();
    fields.insert(3, ("x-a", "b"));
    assert!(is_malformed(request_of(&fields)));
}

#[test]
fn takes_pseudo_fields_in_any_order_among_themselves() {
    let mut fields = GET.to_vec();
    fields.reverse();
    assert!(request_of(&fields).is_ok());
}

#[test]
fn refuses_each_pseudo_field_twice() {
    for twice in GET {
        let mut fields = GET.to_vec();
        fields.push(twice);
        assert!(is_malformed(request_of(&fields)), "{twice:?}");
    }
}

#[test]
fn refuses_a_request_that_lacks_a_pseudo_field() {
    for missing in [":method", ":scheme", ":path"] {
        let fields: Vec<_> = GET.into_iter().filter(|&(name, _)| name != missing).collect();
        assert!(is_malformed(request_of(&fields)), "{missing}");
    }
    assert!(is_malformed(request_of(&[])));
}

#[test]
fn wants_authority_or_host_that_agree() {
    let without = [(":method", "GET"), (":scheme", "https"), (":path", "/")];
    assert!(is_malformed(request_of(&without)));
    let with_host = [&without[..], &[("host", "example.org")]].concat();
    assert_eq!(request_of(&with_host).unwrap().0.last().unwrap(), "field host=example.org");
    assert!(request(&get_with(&[("host", "example.org")])).is_ok());
    assert!(request(&get_with(&[("host", "EXAMPLE.org")])).is_ok());
    assert!(is_malformed(request(&get_with(&[("host", "other.org")]))));
    assert!(is_malformed(request(&get_with(&[("host", "example.org:443")]))));
    assert!(is_malformed(request(&get_with(&[("host", "")]))));
    assert!(is_malformed(request(&get_with(&[("host", "example.org"), ("host", "example.org")]))));
}

#[test]
fn needs_no_authority_for_a_scheme_without_one() {
    assert!(request_of(&[(":method", "GET"), (":scheme", "coap+x"), (":path", "/")]).is_ok());
}

#[test]
fn refuses_an_authority_with_user_information_or_wrong_characters() {
    for authority in
        ["", "user@example.org", "a b", "a/b", "a?b", "a#b", "a\\b", "a\r\nx: y", "a\u{e9}", "a,b@c"]
    {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", "/")];
        assert!(is_malformed(request_of(&fields)), "{authority:?}");
    }
    for authority in ["example.org:8443", "[::1]", "[2001:db8::1]:443", "127.0.0.1", "a_b.example"] {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", authority), (":path", "/")];
        assert!(request_of(&fields).is_ok(), "{authority:?}");
    }
}

#[test]
fn refuses_paths_that_are_empty_relative_or_hide_a_second_line() {
    for path in ["", "a", "*", "?q", "http://example.org/", "/a b", "/a\r\nb", "/\0", "/\t", "/#f", "/\x7f"] {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", path)];
        assert!(is_malformed(request_of(&fields)), "{path:?}");
    }
    for path in ["/", "/a?b=c&d", "//", "/%00", "/\u{e9}", "/a|b{c}\"d\"", "/?"] {
        let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", path)];
        assert!(request_of(&fields).is_ok(), "{path:?}");
    }
}

#[test]
fn takes_an_asterisk_for_options_alone() {
    let fields = [(":method", "OPTIONS"), (":scheme", "https"), (":authority", "a"), (":path", "*")];
    assert!(request_of(&fields).is_ok());
    let reversed: Vec<_> = fields.into_iter().rev().collect();
    assert!(request_of(&reversed).is_ok());
    assert!(is_malformed(request_of(&get_but(":path", "*"))));
}

#[test]
fn refuses_methods_and_schemes_with_wrong_characters() {
    for method in ["", "GE T", "GET\r\n", "G\0", "GET/1", "\u{e9}"] {
        assert!(is_malformed(request_of(&[(":method", method)])), "{method:?}");
    }
    for scheme in ["", "1http", "ht tp", "https:", "http\r\n", "+http"] {
        assert!(is_malformed(request_of(&[(":scheme", scheme)])), "{scheme:?}");
    }
    assert!(request_of(&get_but(":method", "M-SEARCH")).is_ok());
    assert!(request_of(&get_but(":scheme", "HTTPS")).is_ok());
}

#[test]
fn reports_the_declared_length_and_passes_it_on_once() {
    let (seen, shape) = request(&get_with(&[("content-length", "42"), ("content-length", "042")])).unwrap();
    assert_eq!(shape.content_length, Some(42));
    assert_eq!(seen.iter().filter(|line| line.starts_with("field content-length")).count(), 1);
}

#[test]
fn refuses_lengths_that_are_no_number_or_differ() {
    for value in ["", "-1", "+1", "1,1", "1, 1", "0x1", "18446744073709551616", "1.0"] {
        assert!(is_malformed(request(&get_with(&[("content-length", value)]))), "{value:?}");
    }
    assert!(is_malformed(request(&get_with(&[("content-length", "1"), ("content-length", "2")]))));
}

#[test]
fn refuses_pseudo_fields_in_trailers_and_leaves_framing_fields_out() {
    let decode = |fields: &[(&str, &str)]| {
        let mut names = Vec::new();
        http3::decode_trailers(&section(fields), &Limits::default(), &mut |name, _| {
            names.push(String::from_utf8_lossy(name).into_owned());
        })
        .map(|()| names)
    };
    for pseudo in [":method", ":status", ":path", ":x"] {
        assert!(is_malformed(decode(&[("x-a", "b"), (pseudo, "200")])), "{pseudo}");
    }
    let fields = [("content-length", "5"), ("grpc-status", "0"), ("host", "a"), ("x-sum", "")];
    assert_eq!(decode(&fields).unwrap(), ["grpc-status", "x-sum"]);
}

#[test]
fn wants_one_status_of_three_digits_in_a_response() {
    let status = |fields: &[(&str, &str)]| {
        http3::decode_response(&section(fields), &Limits::default(), &mut |_, _| {})
    };
    assert_eq!(status(&[(":status", "103"), ("link", "</a>")]), Ok(103));
    assert_eq!(status(&[(":status", "999")]), Ok(999));
    for wrong in ["", "20", "2000", "099", "abc", "2 0", "+20"] {
        assert!(is_malformed(status(&[(":status", wrong)])), "{wrong:?}");
    }
    assert!(is_malformed(status(&[])));
    assert!(is_malformed(status(&[(":status", "200"), (":status", "200")])));
    assert!(is_malformed(status(&[("x-a", "b"), (":status", "200")])));
    assert!(is_malformed(status(&[(":status", "200"), (":path", "/")])));
}
