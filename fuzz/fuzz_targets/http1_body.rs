//! Fuzzes bodies: no panic, and the same payload, trailers and end however the bytes are cut. Read next:
//! `crates/http1/src/body.rs`.
#![no_main]

use http1::{BodyDecoder, Framing, Limits, Malformed, parse_trailers};
use libfuzzer_sys::fuzz_target;

/// Payload, the reason of a refusal, bytes consumed, and trailers.
type Seen = (Vec<u8>, Option<Malformed>, usize, Option<Vec<u8>>);

fn decode(framing: Framing, bytes: &[u8], step: usize) -> Seen {
    let mut decoder = BodyDecoder::new(framing, &Limits::default());
    let (mut payload, mut consumed) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece) {
            Ok(decoded) => {
                assert!(decoded.payload <= decoded.consumed && decoded.consumed <= piece.len());
                assert!(decoded.consumed == piece.len() || decoder.is_done());
                payload.extend_from_slice(&piece[..decoded.payload]);
                consumed += decoded.consumed;
            }
            Err(reason) => return (payload, Some(reason), 0, None),
        }
    }
    let trailers = decoder.take_trailers();
    assert!(trailers.as_ref().is_none_or(|trailers| parse_trailers(trailers).is_ok()));
    (payload, decoder.at_eof().err(), consumed, trailers)
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let framing = match first & 3 {
        0 => Framing::Length(u64::from(*first)),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let (whole, bytewise) = (decode(framing, bytes, usize::MAX), decode(framing, bytes, 1));
    let cut = decode(framing, bytes, 2 + usize::from(first >> 2));
    assert_eq!((whole.1, whole.2, &whole.3), (bytewise.1, bytewise.2, &bytewise.3));
    assert_eq!((cut.1, cut.2, &cut.3), (bytewise.1, bytewise.2, &bytewise.3));
    // A refusal loses the payload of its own call alone.
    assert!(bytewise.0.starts_with(&whole.0) && bytewise.0.starts_with(&cut.0));
});
