//! §7.2 Frame definitions, and §5.2 on GOAWAY.

use crate::wire::{broken, connection_code, frame, get_with};
use http3::{Broken, Code, ControlEvent, ControlStream, Limits, Settings, varint};

/// All events of a control stream's bytes, and what they broke.
fn read(mut control: ControlStream, bytes: &[u8]) -> (Vec<ControlEvent>, Option<Broken>) {
    let (mut input, mut events) = (bytes, Vec::new());
    loop {
        match control.push(&mut input) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => {
                assert!(input.is_empty());
                return (events, None);
            }
            Err(broken) => {
                assert_eq!(control.push(&mut &[][..]), Err(broken), "an error stays");
                return (events, Some(broken));
            }
        }
    }
}

fn as_server(bytes: &[u8]) -> (Vec<ControlEvent>, Option<Broken>) {
    read(ControlStream::new(&Limits::default()), bytes)
}

fn settings(pairs: &[(u64, u64)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for &(id, value) in pairs {
        varint::write(&mut payload, id);
        varint::write(&mut payload, value);
    }
    frame(4, &payload)
}

fn number(frame_type: u64, number: u64) -> Vec<u8> {
    let mut payload = Vec::new();
    varint::write(&mut payload, number);
    frame(frame_type, &payload)
}

#[test]
fn refuses_frames_that_do_not_belong_on_a_request_stream() {
    for frame_type in [0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0x9, 0xd] {
        let odd = frame(frame_type, &[0]);
        assert_eq!(connection_code(broken(&odd)), Some(Code::FrameUnexpected), "{frame_type:#x}");
        let later = [frame(1, &get_with(&[])), odd].concat();
        assert_eq!(connection_code(broken(&later)), Some(Code::FrameUnexpected), "{frame_type:#x}");
    }
}

#[test]
fn refuses_frames_that_do_not_belong_on_the_control_stream() {
    for frame_type in [0x0, 0x1, 0x2, 0x4, 0x5, 0x6, 0x8, 0x9] {
        let bytes = [settings(&[]), frame(frame_type, &[0])].concat();
        assert_eq!(connection_code(as_server(&bytes).1), Some(Code::FrameUnexpected), "{frame_type:#x}");
    }
}

#[test]
fn wants_settings_first() {
    for frame_type in [0x0, 0x1, 0x7, 0xd, 0x21] {
        let bytes = frame(frame_type, &[0]);
        assert_eq!(connection_code(as_server(&bytes).1), Some(Code::MissingSettings), "{frame_type:#x}");
    }
}

#[test]
fn reads_settings_and_ignores_unknown_ones() {
    let bytes = settings(&[(0x21, 9), (6, 4096), (1, 100), (7, 16), (8, 1), (0x33, 1), (0xffd277, 1)]);
    let expected = Settings {
        max_field_section_size: Some(4096),
        qpack_max_table_capacity: 100,
        qpack_blocked_streams: 16,
        enable_connect_protocol: true,
        h3_datagram: true,
    };
    assert_eq!(as_server(&bytes), (vec![ControlEvent::Settings(expected)], None));
    assert_eq!(as_server(&settings(&[])).0, [ControlEvent::Settings(Settings::default())]);
}

#[test]
fn refuses_settings_of_http2_twice_or_out_of_range() {
    for pairs in [
        &[(0x0, 1)][..],
        &[(0x2, 1)],
        &[(0x3, 1)],
        &[(0x4, 1)],
        &[(0x5, 1)],
        &[(6, 1), (6, 1)],
        &[(0x21, 1), (0x40, 1), (0x21, 2)],
        &[(8, 2)],
        &[(0x33, 2)],
    ] {
        assert_eq!(connection_code(as_server(&settings(pairs)).1), Some(Code::Settings), "{pairs:?}");
    }
}

#[test]
fn refuses_settings_that_end_within_a_parameter() {
    for payload in [&[6][..], &[6, 0x40], &[0x40], &[1, 0, 6]] {
        assert_eq!(connection_code(as_server(&frame(4, payload)).1), Some(Code::Frame), "{payload:?}");
    }
}

#[test]
fn refuses_goaway_with_a_growing_id() {
    let (events, broken) = as_server(&[settings(&[]), number(7, 8), number(7, 8), number(7, 4)].concat());
    assert_eq!((events.len(), broken), (4, None));
    assert_eq!(events[3], ControlEvent::GoAway(4));
    let growing = [settings(&[]), number(7, 4), number(7, 5)].concat();
    assert_eq!(connection_code(as_server(&growing).1), Some(Code::Id));
}

#[test]
fn refuses_max_push_id_that_shrinks() {
    let (events, broken) =
        as_server(&[settings(&[]), number(13, 0), number(13, 70_000), number(13, 70_000)].concat());
    assert_eq!((events.len(), events.last(), broken), (4, Some(&ControlEvent::MaxPushId(70_000)), None));
    let shrinking = [settings(&[]), number(13, 5), number(13, 4)].concat();
    assert_eq!(connection_code(as_server(&shrinking).1), Some(Code::Id));
}

#[test]
fn refuses_to_cancel_a_push_never_promised() {
    let bytes = [settings(&[]), number(3, 0)].concat();
    assert_eq!(connection_code(as_server(&bytes).1), Some(Code::Id));
}

#[test]
fn holds_a_server_to_what_servers_may_say() {
    let as_client = |bytes: &[u8]| read(ControlStream::for_client(&Limits::default()), bytes);
    let max_push_id = [settings(&[]), number(13, 0)].concat();
    assert_eq!(connection_code(as_client(&max_push_id).1), Some(Code::FrameUnexpected));
    let odd = [settings(&[]), number(7, 5)].concat();
    assert_eq!(connection_code(as_client(&odd).1), Some(Code::Id));
    assert_eq!(as_client(&[settings(&[]), number(7, 4)].concat()).1, None);
}

#[test]
fn skips_unknown_control_frames_of_any_length() {
    let bytes =
        [settings(&[]), frame(0x21, &[1; 5000]), frame(0xf_0700, b"\0u=3"), number(7, 0), frame(0x40, b"")]
            .concat();
    let (events, broken) = as_server(&bytes);
    assert_eq!((events.len(), broken), (2, None));
}

#[test]
fn reads_its_own_preface_and_goaway() {
    let limits = Limits { field_section_bytes_max: 12_345, ..Limits::default() };
    for enable_connect in [false, true] {
        let mut bytes = http3::server_preface(&limits, enable_connect);
        assert_eq!(bytes.remove(0), 0, "the stream type");
        bytes.extend(http3::goaway_frame(1 << 40));
        let (events, broken) = read(ControlStream::for_client(&limits), &bytes);
        assert_eq!(broken, None);
        let [ControlEvent::Settings(settings), goaway] = events[..] else { panic!("{events:?}") };
        assert_eq!(settings.max_field_section_size, Some(12_345));
        assert_eq!(settings.enable_connect_protocol, enable_connect);
        assert_eq!((settings.qpack_max_table_capacity, settings.qpack_blocked_streams), (0, 0));
        assert_eq!(goaway, ControlEvent::GoAway(1 << 40));
    }
    let client = http3::client_preface(&limits);
    assert_eq!(as_server(&client[1..]).1, None);
}

#[test]
fn gives_every_code_the_number_of_the_rfc() {
    assert_eq!(Code::NoError.value(), 0x100);
    assert_eq!(Code::VersionFallback.value(), 0x110);
    assert_eq!(Code::QpackDecoderStream.value(), 0x202);
}
