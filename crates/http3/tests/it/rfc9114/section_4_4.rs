//! §4.4 The CONNECT method.

use crate::wire::{connection_code, drain, frame, is_malformed, request_of, section};
use http3::{Code, Event, Limits, RequestStream};

#[test]
fn takes_connect_with_method_and_authority_alone() {
    let (seen, shape) = request_of(&[(":method", "CONNECT"), (":authority", "a.example:443")]).unwrap();
    assert_eq!(seen, ["method=CONNECT", "authority=a.example:443"]);
    assert!(shape.is_connect && !shape.is_extended_connect);
}

#[test]
fn refuses_connect_with_scheme_or_path_or_without_authority() {
    let connect = (":method", "CONNECT");
    let authority = (":authority", "a:443");
    assert!(is_malformed(request_of(&[connect, authority, (":scheme", "https")])));
    assert!(is_malformed(request_of(&[connect, authority, (":path", "/")])));
    assert!(is_malformed(request_of(&[connect])));
    assert!(is_malformed(request_of(&[connect, ("host", "a:443")])));
}

#[test]
fn refuses_connect_with_a_body_length() {
    let with =
        |length| request_of(&[(":method", "CONNECT"), (":authority", "a:443"), ("content-length", length)]);
    assert!(is_malformed(with("1")));
    assert_eq!(with("0").unwrap().1.content_length, None);
}

#[test]
fn takes_only_data_in_a_tunnel() {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(frame(1, &section(&[(":method", "CONNECT"), (":authority", "a:443")])).into());
    assert!(matches!(stream.next(), Ok(Some(Event::Head(_)))));
    stream.become_tunnel();
    stream.push([frame(0, b"hello"), frame(0x21, b""), frame(0, b"again")].concat().into());
    assert_eq!(drain(&mut stream), (vec![Event::Data("hello".into()), Event::Data("again".into())], None));
    stream.push(frame(1, &section(&[])).into());
    assert_eq!(connection_code(drain(&mut stream).1), Some(Code::FrameUnexpected));
}
