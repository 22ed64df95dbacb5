//! RFC 9220, WebSockets over HTTP/3: extended CONNECT.

use crate::wire::{is_malformed, request_of};

const WEBSOCKET: [(&str, &str); 5] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":path", "/chat"),
    (":authority", "example.org"),
];

#[test]
fn takes_connect_with_a_protocol() {
    let (seen, shape) = request_of(&WEBSOCKET).unwrap();
    assert!(seen.contains(&"protocol=websocket".to_owned()));
    assert!(shape.is_connect && shape.is_extended_connect);
}

#[test]
fn refuses_extended_connect_without_scheme_path_or_authority() {
    for missing in [":scheme", ":path", ":authority"] {
        let fields: Vec<_> = WEBSOCKET.into_iter().filter(|&(name, _)| name != missing).collect();
        assert!(is_malformed(request_of(&fields)), "{missing}");
    }
}

#[test]
fn refuses_a_protocol_with_another_method() {
    let mut fields = WEBSOCKET;
    fields[0].1 = "GET";
    assert!(is_malformed(request_of(&fields)));
}

#[test]
fn refuses_a_protocol_that_is_no_token_or_comes_twice() {
    let mut fields = WEBSOCKET.to_vec();
    fields[1].1 = "web socket";
    assert!(is_malformed(request_of(&fields)));
    let twice = [&[WEBSOCKET[1]][..], &WEBSOCKET].concat();
    assert!(is_malformed(request_of(&twice)));
}
