//! Fuzzes HTTP/3's unidirectional streams, the control stream and QPACK's two among them: no panic, little
//! held, the same verdict whatever the pieces. Read next: `crates/http3/src/uni_stream.rs`.
#![no_main]

use http3::{
    Broken, ControlEvent, ControlStream, Limits, QpackDecoderStream, QpackEncoderStream, UniKind, UniStream,
};
use libfuzzer_sys::fuzz_target;

fn read(bytes: &[u8], size: usize) -> Result<(Option<UniKind>, Vec<ControlEvent>), Broken> {
    let limits = Limits { settings_bytes_max: 64, ..Limits::default() };
    let (mut uni, mut control) = (UniStream::new(), ControlStream::new(&limits));
    let (mut encoder, mut decoder) = (QpackEncoderStream::new(), QpackDecoderStream::new());
    let (mut kind, mut events) = (None, Vec::new());
    for mut piece in bytes.chunks(size) {
        if kind.is_none() {
            kind = uni.push(&mut piece)?;
            assert!(uni.buffered() < 8);
        }
        match kind {
            None => assert!(piece.is_empty()),
            Some(UniKind::Control) => {
                while let Some(event) = control.push(&mut piece)? {
                    events.push(event);
                }
                assert!(piece.is_empty() && control.buffered() <= 80);
            }
            Some(UniKind::QpackEncoder) => encoder.push(piece)?,
            Some(UniKind::QpackDecoder) => decoder.push(piece)?,
            Some(UniKind::Unknown(_)) => {}
        }
    }
    Ok((kind, events))
}

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, usize::from(size).max(1)), whole);
    assert_eq!(read(bytes, 1), whole);
});
