//! §4.2 to §4.4: the encoder and decoder streams.

use crate::wire::connection_code;
use http3::{Code, QpackDecoderStream, QpackEncoderStream};

#[test]
fn takes_a_capacity_of_zero_and_nothing_else_from_the_encoder() {
    let mut stream = QpackEncoderStream::new();
    assert_eq!(stream.push(b""), Ok(()));
    assert_eq!(stream.push(&[0x20, 0x20]), Ok(()));
    for byte in (0..=255u8).filter(|&byte| byte != 0x20) {
        let broken = stream.push(&[byte]).err();
        assert_eq!(connection_code(broken), Some(Code::QpackEncoderStream), "{byte:#x}");
    }
}

#[test]
fn takes_cancellations_from_the_decoder_in_any_pieces() {
    let bytes = [0x40, 0x7e, 0x7f, 0x00, 0x7f, 0xff, 0xff, 0x01, 0x44];
    for cut in 0..=bytes.len() {
        let mut stream = QpackDecoderStream::new();
        assert_eq!(stream.push(&bytes[..cut]), Ok(()));
        assert_eq!(stream.push(&bytes[cut..]), Ok(()));
    }
}

#[test]
fn refuses_acknowledgments_and_increments_from_the_decoder() {
    for byte in (0..0x40).chain(0x80..=0xff) {
        let broken = QpackDecoderStream::new().push(&[0x44, byte]).err();
        assert_eq!(connection_code(broken), Some(Code::QpackDecoderStream), "{byte:#x}");
    }
}

#[test]
fn refuses_to_cancel_a_stream_whose_id_is_too_large() {
    let mut bytes = vec![0x7f];
    bytes.extend([0x80; 8]);
    bytes.push(0x80);
    assert!(QpackDecoderStream::new().push(&bytes).is_err(), "padded");
    let mut bytes = vec![0x7f];
    bytes.extend([0xff; 8]);
    bytes.push(0x7f);
    assert!(QpackDecoderStream::new().push(&bytes).is_err(), "over 62 bits");
}

#[test]
fn says_the_same_again_once_the_decoder_stream_broke() {
    let mut stream = QpackDecoderStream::new();
    let first = stream.push(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xc0]);
    assert!(first.is_err());
    for next in [&[][..], &[0x44], &[0x40; 20]] {
        assert_eq!(stream.push(next), first);
    }
}
