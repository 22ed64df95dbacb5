//! §7.1 Frame layout.

use crate::wire::{broken, connection_code, frame, get_with};
use http3::{Code, ControlStream, Limits};

#[test]
fn refuses_a_stream_that_ends_within_a_frame() {
    let head = frame(1, &get_with(&[]));
    for cut in 1..head.len() {
        assert_eq!(connection_code(broken(&head[..cut])), Some(Code::Frame), "cut at {cut}");
    }
    for tail in [&[0][..], &[0, 5], &[0, 5, 1, 2], &[0x21], &[0x21, 5, 1], &[0x40], &[1, 9]] {
        let bytes = [&head, tail].concat();
        assert_eq!(connection_code(broken(&bytes)), Some(Code::Frame), "{tail:?}");
    }
}

#[test]
fn takes_lengths_and_types_in_longer_forms() {
    let section = get_with(&[]);
    let mut bytes = vec![0x80, 0, 0, 1, 0xc0, 0, 0, 0, 0, 0, 0, section.len() as u8];
    bytes.extend_from_slice(&section);
    assert_eq!(broken(&bytes), None);
}

#[test]
fn refuses_control_frames_longer_or_shorter_than_their_integer() {
    for payload in [&[][..], &[0x40], &[1, 2], &[0xc0; 9], &[0x80, 1, 2]] {
        for frame_type in [3, 7, 13] {
            let bytes = [frame(4, b""), frame(frame_type, payload)].concat();
            let mut control = ControlStream::new(&Limits::default());
            let mut input = &bytes[..];
            assert!(control.push(&mut input).is_ok());
            let broken = control.push(&mut input).err();
            assert_eq!(connection_code(broken), Some(Code::Frame), "{frame_type} {payload:?}");
        }
    }
}
