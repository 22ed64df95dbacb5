//! Properties: what is written is read back, splits make no difference, no bytes panic or pile up.

use crate::wire::{Recorder, drain, frame, get_with, section};
use bytes::Bytes;
use http3::{
    Broken, ControlEvent, ControlStream, Event, Limits, QpackDecoderStream, QpackEncoderStream,
    RequestStream, UniStream,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Small limits, so that small inputs meet them.
fn tight() -> Limits {
    Limits {
        field_section_bytes_max: 600,
        encoded_section_bytes_max: 200,
        fields_max: 8,
        idle_frames_max: 5,
        settings_bytes_max: 20,
    }
}

/// Fields as an origin may send them: any name of token characters, values of any bytes that fields may have.
fn any_fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let known = prop_oneof![
        Just(("Content-Type".to_owned(), b"text/html; charset=utf-8".to_vec())),
        Just(("vary".to_owned(), b"origin".to_vec())),
        Just(("server".to_owned(), b"".to_vec())),
        Just(("set-cookie".to_owned(), b"a=b".to_vec())),
        Just(("Cache-Control".to_owned(), b"max-age=60".to_vec())),
    ];
    let value = vec(prop_oneof![0x21u8..0x7f, 0x80u8..=0xff], 0..300);
    let other = ("[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,40}", value).prop_filter(
        "fields that HTTP/3 does not carry",
        |(name, _)| {
            let name = name.to_ascii_lowercase();
            !["connection", "keep-alive", "upgrade", "te"].contains(&name.as_str())
        },
    );
    vec(prop_oneof![known, other], 0..30)
}

/// Frames that a request stream may or may not have, one after the other.
fn any_frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = vec(any::<u8>(), 0..80);
    let one = prop_oneof![
        4 => payload.clone().prop_map(|payload| frame(0, &payload)),
        2 => payload.clone().prop_map(|payload| frame(1, &payload)),
        2 => payload.clone().prop_map(|payload| frame(0x21, &payload)),
        1 => (0u64..0x50, payload).prop_map(|(frame_type, payload)| frame(frame_type, &payload)),
    ];
    (any::<bool>(), vec(one, 0..12), 0usize..40).prop_map(|(starts_well, frames, cut)| {
        let mut bytes = if starts_well { frame(1, &get_with(&[])) } else { Vec::new() };
        bytes.extend(frames.concat());
        // Sometimes the last frame is cut short.
        bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(20)));
        bytes
    })
}

/// Events with neighbouring pieces of the body joined.
fn joined(events: Vec<Event>) -> Vec<Event> {
    let mut out: Vec<Event> = Vec::new();
    for event in events {
        match (out.last_mut(), event) {
            (Some(Event::Data(before)), Event::Data(more)) => *before = [&before[..], &more].concat().into(),
            (_, event) => out.push(event),
        }
    }
    out
}

/// Feeds `bytes` in pieces of the given sizes, over and over, checking the bound after each.
fn in_pieces(bytes: &[u8], sizes: &[usize], limits: &Limits) -> (Vec<Event>, Option<Broken>) {
    let mut stream = RequestStream::new(limits);
    let (mut rest, mut all) = (Bytes::copy_from_slice(bytes), Vec::new());
    let mut sizes = sizes.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
        stream.push(rest.split_to(size));
        let (events, broken) = drain(&mut stream);
        all.extend(events);
        assert!(stream.buffered() <= limits.encoded_section_bytes_max + 16);
        if broken.is_some() {
            return (joined(all), broken);
        }
    }
    stream.push_end();
    let (events, broken) = drain(&mut stream);
    all.extend(events);
    (joined(all), broken)
}

/// All events of a control stream fed in pieces of `size`.
fn control_in_pieces(bytes: &[u8], size: usize) -> (Vec<ControlEvent>, Option<Broken>) {
    let mut control = ControlStream::new(&tight());
    let mut events = Vec::new();
    for mut piece in bytes.chunks(size) {
        loop {
            match control.push(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(broken) => return (events, Some(broken)),
            }
            assert!(control.buffered() <= 36);
        }
        assert!(piece.is_empty());
    }
    (events, None)
}

proptest! {
    #[test]
    fn reads_back_the_response_heads_it_wrote(status in 100u16..=999, fields in any_fields()) {
        let mut out = Vec::new();
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), &value[..]));
        http3::encode_response_head(&mut out, status, pairs);
        let mut stream = RequestStream::for_response(&Limits::default());
        stream.push(out.into());
        let Ok(Some(Event::Head(section))) = stream.next() else { panic!("no head") };
        prop_assert_eq!(stream.buffered(), 0);
        let mut seen = Vec::new();
        let read = http3::decode_response(&section, &Limits::default(), &mut |name, value| {
            seen.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
        });
        prop_assert_eq!(read, Ok(status));
        let sent: Vec<_> =
            fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        prop_assert_eq!(seen, sent);
    }

    #[test]
    fn gives_the_same_events_however_the_bytes_are_split(
        bytes in any_frames(),
        sizes in vec(1usize..50, 1..8),
    ) {
        let whole = in_pieces(&bytes, &[bytes.len()], &tight());
        prop_assert_eq!(&in_pieces(&bytes, &sizes, &tight()), &whole);
        prop_assert_eq!(&in_pieces(&bytes, &[1], &tight()), &whole);
    }

    #[test]
    fn queues_what_is_pushed_without_asking(bytes in any_frames(), size in 1usize..50) {
        let mut stream = RequestStream::new(&tight());
        bytes.chunks(size).for_each(|piece| stream.push(Bytes::copy_from_slice(piece)));
        prop_assert_eq!(stream.buffered(), bytes.len());
        stream.push_end();
        let (events, broken) = drain(&mut stream);
        prop_assert_eq!((joined(events), broken), in_pieces(&bytes, &[bytes.len()], &tight()));
    }

    #[test]
    fn never_panics_on_any_stream(bytes: Vec<u8>, sizes in vec(1usize..9, 1..4)) {
        in_pieces(&bytes, &sizes, &tight());
    }

    #[test]
    fn never_panics_on_any_section(mut bytes in vec(any::<u8>(), 0..300), has_prefix: bool) {
        if has_prefix {
            bytes.splice(..0, [0, 0]);
        }
        for limits in [tight(), Limits::default()] {
            let mut size = 0;
            let _ = http3::decode_fields(&bytes, &limits, &mut |name, value| {
                size += name.len() + value.len() + 32;
            });
            prop_assert!(size as u64 <= limits.field_section_bytes_max);
            let _ = http3::decode_request(&bytes, &limits, &mut Recorder::default());
            let _ = http3::decode_response(&bytes, &limits, &mut |_, _| {});
            let _ = http3::decode_trailers(&bytes, &limits, &mut |_, _| {});
        }
    }

    #[test]
    fn accepts_no_line_break_whatever_the_section(
        name in "[a-z:]{1,8}",
        value in vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(0u8), 0x20u8..0x7f], 0..12),
    ) {
        let value = String::from_utf8(value).expect("ASCII");
        let mut recorder = Recorder::default();
        let section = get_with(&[(&name, &value)]);
        if http3::decode_request(&section, &Limits::default(), &mut recorder).is_ok() {
            prop_assert!(!value.contains(['\r', '\n', '\0']));
            prop_assert!(!name.contains(':'));
        }
    }

    #[test]
    fn reads_control_streams_the_same_however_they_are_split(
        settings in vec(0u8..64, 0..30),
        frames in any_frames(),
        numbers in vec((prop_oneof![Just(3u64), Just(7), Just(13), Just(0x21)], 0u8..64), 0..6),
        size in 1usize..20,
    ) {
        let numbers: Vec<_> = numbers.into_iter().map(|(kind, number)| frame(kind, &[number])).collect();
        let bytes = [frame(4, &settings), numbers.concat(), frames].concat();
        let whole = control_in_pieces(&bytes, bytes.len());
        prop_assert_eq!(control_in_pieces(&bytes, size), whole);
    }

    #[test]
    fn never_panics_on_any_unidirectional_stream(bytes: Vec<u8>, size in 1usize..20) {
        let (mut uni, mut encoder, mut decoder) =
            (UniStream::new(), QpackEncoderStream::new(), QpackDecoderStream::new());
        for piece in bytes.chunks(size) {
            let _ = uni.push(&mut &piece[..]);
            prop_assert!(uni.buffered() < 8);
            let _ = encoder.push(piece);
            let _ = decoder.push(piece);
        }
        control_in_pieces(&bytes, size);
    }

    #[test]
    fn judges_a_decoder_stream_the_same_however_it_is_split(
        bytes in vec(0x40u8..0xff, 0..40),
        size in 1usize..9,
    ) {
        let whole = QpackDecoderStream::new().push(&bytes).is_ok();
        let mut stream = QpackDecoderStream::new();
        prop_assert_eq!(bytes.chunks(size).all(|piece| stream.push(piece).is_ok()), whole);
    }
}

/// The authority of one request must not be held against the host of the next.
#[test]
fn keeps_nothing_of_one_section_for_the_next() {
    let mut decoder = http3::Decoder::new();
    let limits = Limits::default();
    let mut recorder = Recorder::default();
    assert!(decoder.request(&get_with(&[]), &limits, &mut recorder).is_ok());
    let other = section(&[(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "b.org")]);
    assert!(decoder.request(&other, &limits, &mut recorder).is_ok());
}
