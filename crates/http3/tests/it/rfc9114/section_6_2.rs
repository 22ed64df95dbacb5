//! §6.2 Unidirectional streams.

use crate::wire::connection_code;
use http3::{Code, CriticalStreams, Limits, UniKind, UniStream, varint};

fn kind(bytes: &[u8]) -> Result<Option<UniKind>, http3::Broken> {
    UniStream::new().push(&mut &bytes[..])
}

#[test]
fn tells_the_kinds_apart_and_leaves_what_follows() {
    for (first, expected) in [
        (0, UniKind::Control),
        (2, UniKind::QpackEncoder),
        (3, UniKind::QpackDecoder),
        (0x21, UniKind::Unknown(0x21)),
    ] {
        let bytes = [first, 4, 0];
        let mut input = &bytes[..];
        assert_eq!(UniStream::new().push(&mut input), Ok(Some(expected)));
        assert_eq!(input, [4, 0]);
    }
}

#[test]
fn reads_a_long_type_byte_by_byte() {
    let mut bytes = Vec::new();
    varint::write(&mut bytes, varint::MAX);
    let mut stream = UniStream::new();
    for byte in &bytes[..7] {
        assert_eq!(stream.push(&mut &[*byte][..]), Ok(None));
    }
    assert_eq!(stream.buffered(), 7);
    assert_eq!(stream.push(&mut &bytes[7..]), Ok(Some(UniKind::Unknown(varint::MAX))));
}

#[test]
fn refuses_a_push_stream() {
    assert_eq!(connection_code(kind(&[1]).err()), Some(Code::StreamCreation));
    // The same type in a longer form.
    assert_eq!(connection_code(kind(&[0x40, 1]).err()), Some(Code::StreamCreation));
}

#[test]
fn refuses_a_second_stream_of_a_critical_kind() {
    for kind in [UniKind::Control, UniKind::QpackEncoder, UniKind::QpackDecoder] {
        let mut streams = CriticalStreams::new();
        assert_eq!(streams.open(kind), Ok(()));
        assert_eq!(connection_code(streams.open(kind).err()), Some(Code::StreamCreation));
    }
    let mut streams = CriticalStreams::new();
    for _ in 0..3 {
        assert_eq!(streams.open(UniKind::Unknown(0x21)), Ok(()));
    }
}

#[test]
fn refuses_the_end_of_a_critical_stream() {
    let mut streams = CriticalStreams::new();
    for kind in [UniKind::Control, UniKind::QpackEncoder, UniKind::QpackDecoder] {
        assert_eq!(connection_code(streams.close(kind).err()), Some(Code::ClosedCriticalStream));
    }
    assert_eq!(streams.close(UniKind::Unknown(0x21)), Ok(()));
    let ended = http3::ControlStream::new(&Limits::default()).push_end();
    assert_eq!(connection_code(Some(ended)), Some(Code::ClosedCriticalStream));
}
