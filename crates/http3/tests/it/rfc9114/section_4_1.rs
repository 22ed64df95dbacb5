//! §4.1 HTTP message framing, §4.1.2 malformed requests and responses.

use crate::wire::{broken, connection_code, drain, events, frame, get_with, section, stream_code};
use bytes::Bytes;
use http3::{Code, Event, Limits, RequestStream};

fn head() -> Vec<u8> {
    frame(1, &get_with(&[]))
}

#[test]
fn gives_head_body_trailers_and_end_in_order() {
    let trailers = section(&[("x-sum", "1")]);
    let mut bytes = head();
    bytes.extend(frame(0, b"one"));
    bytes.extend(frame(0, b""));
    bytes.extend(frame(0, b"two"));
    bytes.extend(frame(1, &trailers));
    let (events, broken) = events(&bytes);
    assert_eq!(broken, None);
    assert_eq!(
        events,
        [
            Event::Head(get_with(&[]).into()),
            Event::Data("one".into()),
            Event::Data("two".into()),
            Event::Trailers(trailers.into()),
            Event::End,
        ]
    );
}

#[test]
fn gives_the_end_once() {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(head().into());
    stream.push_end();
    assert_eq!(drain(&mut stream).0.last(), Some(&Event::End));
    assert_eq!(stream.next(), Ok(None));
}

#[test]
fn skips_unknown_frames_anywhere() {
    let mut bytes = frame(0x21, b"grease");
    bytes.extend(head());
    bytes.extend(frame(0x40, &[7; 300]));
    bytes.extend(frame(0, b"body"));
    bytes.extend(frame(1, &section(&[])));
    bytes.extend(frame(0xf_0700, b""));
    let (events, broken) = events(&bytes);
    assert_eq!((events.len(), broken), (4, None));
    assert_eq!(events[1], Event::Data("body".into()));
}

#[test]
fn refuses_data_before_the_head() {
    assert_eq!(connection_code(broken(&frame(0, b"x"))), Some(Code::FrameUnexpected));
}

#[test]
fn refuses_data_and_headers_after_the_trailers() {
    for late in [frame(0, b"x"), frame(1, &section(&[]))] {
        let bytes = [head(), frame(1, &section(&[])), late].concat();
        assert_eq!(connection_code(broken(&bytes)), Some(Code::FrameUnexpected));
    }
}

#[test]
fn breaks_the_stream_when_it_ends_before_the_head() {
    for bytes in [&b""[..], &frame(0x21, b"grease")] {
        assert_eq!(stream_code(broken(bytes)), Some(Code::RequestIncomplete));
    }
}

#[test]
fn takes_several_heads_of_a_response_only_when_told() {
    let (interim, last) = (section(&[(":status", "103")]), section(&[(":status", "200")]));
    let mut stream = RequestStream::for_response(&Limits::default());
    stream.push([frame(1, &interim), frame(1, &last), frame(0, b"x")].concat().into());
    stream.push_end();
    assert_eq!(stream.next(), Ok(Some(Event::Head(interim.into()))));
    stream.expect_another_head();
    assert_eq!(stream.next(), Ok(Some(Event::Head(last.into()))));
    assert_eq!(drain(&mut stream), (vec![Event::Data("x".into()), Event::End], None));
}

/// Feeds a body to a stream that expects `declared` bytes.
fn body_against(declared: u64, frames: &[u8]) -> Option<Code> {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(head().into());
    assert!(matches!(stream.next(), Ok(Some(Event::Head(_)))));
    stream.expect_body(declared);
    stream.push(Bytes::copy_from_slice(frames));
    stream.push_end();
    stream_code(drain(&mut stream).1)
}

#[test]
fn holds_the_body_to_its_declared_length() {
    let two = [frame(0, b"01234"), frame(0, b"56789")].concat();
    assert_eq!(body_against(10, &two), None);
    assert_eq!(body_against(0, b""), None);
    assert_eq!(body_against(10, &[two.clone(), frame(1, &section(&[]))].concat()), None);
    for declared in [0, 5, 9, 11, u64::MAX] {
        assert_eq!(body_against(declared, &two), Some(Code::Message), "{declared}");
    }
    let short_before_trailers = [frame(0, b"0"), frame(1, &section(&[]))].concat();
    assert_eq!(body_against(2, &short_before_trailers), Some(Code::Message));
}

#[test]
fn gives_no_trailers_behind_a_body_that_is_too_short() {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push([head(), frame(0, b"0"), frame(1, &section(&[]))].concat().into());
    assert!(matches!(stream.next(), Ok(Some(Event::Head(_)))));
    stream.expect_body(2);
    let (events, broken) = drain(&mut stream);
    assert_eq!((events, stream_code(broken)), (vec![Event::Data("0".into())], Some(Code::Message)));
}

#[test]
fn says_the_same_again_once_broken() {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(frame(0, b"x").into());
    let first = stream.next();
    assert!(first.is_err());
    stream.push(head().into());
    assert_eq!(stream.next(), first);
    assert_eq!(stream.buffered(), 0);
}
