//! §4.2 HTTP fields, and §10.3 on characters that make intermediaries disagree.

use crate::wire::{get_with, is_malformed, request, section};
use http3::{Broken, Limits};

#[test]
fn hands_fields_through_in_order_and_repeated() {
    let (seen, shape) = request(&get_with(&[("cookie", "a=1"), ("x-a", ""), ("cookie", "b=2")])).unwrap();
    assert_eq!(
        seen,
        [
            "method=GET",
            "scheme=https",
            "authority=example.org",
            "path=/",
            "field cookie=a=1",
            "field x-a=",
            "field cookie=b=2"
        ]
    );
    assert_eq!(shape, http3::RequestShape::default());
}

#[test]
fn refuses_names_in_upper_case() {
    for name in ["X-Upper", "x-uppeR", "Host", "Connection"] {
        assert!(is_malformed(request(&get_with(&[(name, "example.org")]))), "{name}");
    }
}

#[test]
fn refuses_names_that_are_no_token() {
    for name in ["", " ", "x y", "x:", "x\r\n", "x\0", "x\u{e9}", "(x)", "x\x7f", "x/y", "x,"] {
        assert!(is_malformed(request(&get_with(&[(name, "v")]))), "{name:?}");
    }
    assert!(request(&get_with(&[("!#$%&'*+-.^_`|~09az", "v")])).is_ok());
}

#[test]
fn refuses_connection_specific_fields() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
    ] {
        assert!(is_malformed(request(&get_with(&[(name, value)]))), "{name}");
        let trailers = section(&[(name, value)]);
        assert!(
            is_malformed(http3::decode_trailers(&trailers, &Limits::default(), &mut |_, _| {})),
            "{name}"
        );
        let response = section(&[(":status", "200"), (name, value)]);
        assert!(
            is_malformed(http3::decode_response(&response, &Limits::default(), &mut |_, _| {})),
            "{name}"
        );
    }
}

#[test]
fn takes_te_for_trailers_alone() {
    assert!(request(&get_with(&[("te", "trailers")])).is_ok());
    for value in ["", "gzip", "trailers, gzip", "chunked"] {
        assert!(is_malformed(request(&get_with(&[("te", value)]))), "{value}");
    }
}

#[test]
fn refuses_values_that_could_be_read_as_more_lines() {
    for value in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "\x01", "a\x7f", "\r", "\n"] {
        assert!(is_malformed(request(&get_with(&[("x-a", value)]))), "{value:?}");
        // By name reference too: index 92 of the static table is `server`.
        let mut named = get_with(&[]);
        named.extend([0x5f, 92 - 15, value.len() as u8]);
        named.extend_from_slice(value.as_bytes());
        assert!(is_malformed(request(&named)), "{value:?}");
    }
    assert!(request(&get_with(&[("x-a", "a\tb c"), ("x-b", "na\u{ef}ve")])).is_ok());
}

#[test]
fn refuses_blanks_around_values() {
    for value in [" a", "a ", "\ta", "a\t", " "] {
        assert!(is_malformed(request(&get_with(&[("x-a", value)]))), "{value:?}");
    }
}

#[test]
fn counts_32_bytes_for_each_field_against_the_limit() {
    let section = section(&[("name", "value"), ("name", "value")]);
    let size = 2 * (4 + 5 + 32);
    let decode = |field_section_bytes_max| {
        http3::decode_fields(
            &section,
            &Limits { field_section_bytes_max, ..Limits::default() },
            &mut |_, _| {},
        )
    };
    assert_eq!(decode(size), Ok(()));
    assert_eq!(decode(size - 1), Err(Broken::TooLarge));
}
