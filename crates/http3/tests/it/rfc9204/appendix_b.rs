//! Appendix B, the examples: those without the dynamic table, and the refusal of those with it.

use crate::wire::{connection_code, fields, pair};
use http3::{Code, QpackDecoderStream, QpackEncoderStream};

/// B.1: a literal field line with a static name reference.
#[test]
fn decodes_the_literal_with_name_reference_of_b_1() {
    let section = b"\x00\x00\x51\x0b/index.html";
    assert_eq!(fields(section), Ok(vec![pair(":path", "/index.html")]));
}

/// B.2: inserts on the encoder stream, then post-base references.
#[test]
fn refuses_the_dynamic_table_of_b_2() {
    let encoder = [&b"\x3f\xbd\x01\xc0\x0f"[..], b"www.example.com", b"\xc1\x0c", b"/sample/path"].concat();
    let broken = QpackEncoderStream::new().push(&encoder).err();
    assert_eq!(connection_code(broken), Some(Code::QpackEncoderStream));
    assert_eq!(connection_code(fields(b"\x03\x81\x10\x11").err()), Some(Code::QpackDecompression));
    let acknowledgment = QpackDecoderStream::new().push(b"\x84").err();
    assert_eq!(connection_code(acknowledgment), Some(Code::QpackDecoderStream));
}

/// B.3: a speculative insert, and the increment that answers it.
#[test]
fn refuses_the_insert_and_the_increment_of_b_3() {
    let insert = [&b"\x4a"[..], b"custom-key", b"\x0c", b"custom-value"].concat();
    assert!(QpackEncoderStream::new().push(&insert).is_err());
    let increment = QpackDecoderStream::new().push(b"\x01").err();
    assert_eq!(connection_code(increment), Some(Code::QpackDecoderStream));
}

/// B.4: a duplicate, a section that refers to it, and the cancellation of its stream.
#[test]
fn refuses_the_duplicate_of_b_4_and_takes_the_cancellation() {
    assert!(QpackEncoderStream::new().push(b"\x02").is_err());
    assert_eq!(connection_code(fields(b"\x05\x00\x80\xc1\x81").err()), Some(Code::QpackDecompression));
    assert_eq!(QpackDecoderStream::new().push(b"\x48"), Ok(()));
}
