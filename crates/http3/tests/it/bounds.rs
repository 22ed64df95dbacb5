//! What a hostile peer can make us hold or do.

use crate::wire::{connection_code, drain, fields, frame, get_with, integer};
use bytes::Bytes;
use http3::{Broken, Code, ControlStream, Event, Limits, RequestStream, varint};

const MIB: u64 = 1 << 20;

/// The head of a frame whose payload is still to come.
fn frame_head(frame_type: u64, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(&mut out, frame_type);
    varint::write(&mut out, length);
    out
}

/// What a stream of ours may hold between pushes.
fn bound() -> usize {
    Limits::default().encoded_section_bytes_max + 16
}

#[test]
fn refuses_a_huge_headers_frame_by_its_length() {
    for length in [65_537, 200 * MIB, varint::MAX] {
        let mut stream = RequestStream::new(&Limits::default());
        stream.push(frame_head(1, length).into());
        assert_eq!(stream.next(), Err(Broken::TooLarge), "{length}");
        assert_eq!(stream.buffered(), 0);
    }
}

#[test]
fn takes_a_headers_frame_of_exactly_the_limit() {
    let limits = Limits::default();
    let mut stream = RequestStream::new(&limits);
    stream.push(frame(1, &vec![0; limits.encoded_section_bytes_max]).into());
    assert!(matches!(stream.next(), Ok(Some(Event::Head(_)))));
}

#[test]
fn refuses_huge_trailers_by_their_length() {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push([frame(1, &get_with(&[])), frame_head(1, 200 * MIB)].concat().into());
    let (events, broken) = drain(&mut stream);
    assert_eq!((events.len(), broken), (1, Some(Broken::TooLarge)));
}

#[test]
fn skips_a_huge_unknown_frame_without_holding_it() {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(frame_head(0x21, 200 * MIB).into());
    let piece = Bytes::from(vec![0; 1 << 16]);
    for _ in 0..200 * MIB / piece.len() as u64 {
        stream.push(piece.clone());
        assert_eq!(stream.next(), Ok(None));
        assert_eq!(stream.buffered(), 0);
    }
    stream.push(frame(1, &get_with(&[])).into());
    assert!(matches!(stream.next(), Ok(Some(Event::Head(_)))));
}

#[test]
fn skips_a_huge_unknown_frame_on_the_control_stream() {
    let mut control = ControlStream::new(&Limits::default());
    assert!(control.push(&mut &[4, 0][..]).is_ok());
    let head = frame_head(0x21, 200 * MIB);
    assert_eq!(control.push(&mut &head[..]), Ok(None));
    let piece = vec![0; 1 << 16];
    for _ in 0..200 * MIB / piece.len() as u64 {
        assert_eq!(control.push(&mut &piece[..]), Ok(None));
        assert_eq!(control.buffered(), 0);
    }
    assert!(matches!(control.push(&mut &[7, 1, 0][..]), Ok(Some(_))));
}

#[test]
fn refuses_settings_over_the_limit_by_their_length() {
    let mut control = ControlStream::new(&Limits::default());
    let broken = control.push(&mut &frame_head(4, 1025)[..]).err();
    assert_eq!(connection_code(broken), Some(Code::ExcessiveLoad));
}

#[test]
fn passes_the_body_through_without_copying() {
    let bytes = Bytes::from([frame(1, &get_with(&[])), frame(0, b"hello")].concat());
    let at = bytes.len() - 5;
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(bytes.clone());
    assert!(matches!(stream.next(), Ok(Some(Event::Head(_)))));
    let Ok(Some(Event::Data(body))) = stream.next() else { panic!("no body") };
    assert_eq!(body.as_ptr(), bytes[at..].as_ptr());
}

#[test]
fn holds_no_more_than_a_section_however_it_drips_in() {
    let section = vec![0; Limits::default().encoded_section_bytes_max];
    let mut stream = RequestStream::new(&Limits::default());
    let bytes = Bytes::from(frame(1, &section));
    for index in 0..bytes.len() - 1 {
        stream.push(bytes.slice(index..=index));
        assert_eq!(stream.next(), Ok(None));
        assert!(stream.buffered() <= bound());
    }
}

#[test]
fn closes_on_a_flood_of_frames_that_carry_nothing() {
    for empty in [frame(0x21, b""), frame(0, b"")] {
        let flood = [frame(1, &get_with(&[])), empty.repeat(1025)].concat();
        let mut stream = RequestStream::new(&Limits::default());
        stream.push(flood.into());
        assert_eq!(connection_code(drain(&mut stream).1), Some(Code::ExcessiveLoad));
    }
    // A long-lived stream that also carries content is none.
    let mut stream = RequestStream::new(&Limits::default());
    let busy = [frame(0x21, b"").repeat(1000), frame(0, b"x")].concat().repeat(10);
    stream.push([frame(1, &get_with(&[])), busy].concat().into());
    let (events, broken) = drain(&mut stream);
    assert_eq!((events.len(), broken), (11, None));
}

#[test]
fn stops_a_section_that_unfolds_to_far_more_than_its_bytes() {
    // 60 KiB of two-byte lines, each of which stands for `content-security-policy` and its value.
    let mut bomb = vec![0, 0];
    bomb.extend([0xff, 85 - 63].repeat(30_000));
    let mut seen = 0;
    let decoded = http3::decode_fields(&bomb, &Limits::default(), &mut |_, _| seen += 1);
    assert_eq!(decoded, Err(Broken::TooLarge));
    assert!(seen <= Limits::default().fields_max);
}

#[test]
fn stops_a_section_of_too_many_fields() {
    let limits = Limits { fields_max: 3, ..Limits::default() };
    let decode = |lines: usize| {
        let section = [vec![0, 0], vec![0xd1; lines]].concat();
        http3::decode_fields(&section, &limits, &mut |_, _| {})
    };
    assert_eq!((decode(3), decode(4)), (Ok(()), Err(Broken::TooLarge)));
}

#[test]
fn refuses_one_huge_value_as_too_large() {
    let mut bytes = get_with(&[]);
    bytes.push(0x51);
    integer(&mut bytes, 0, 7, 1 << 20);
    bytes.extend(vec![b'a'; 1 << 20]);
    assert_eq!(fields(&bytes), Err(Broken::TooLarge));
}
