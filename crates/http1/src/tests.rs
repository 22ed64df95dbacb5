//! Tests of the crate from within: by RFC section, and properties over made and random input.

mod properties;
mod rfc9110;
mod rfc9112;

use crate::{BodyDecoder, Expected, Framing, Limits, Malformed, RequestHead, ResponseHead};

/// Parses `head` as a request; an unfinished one is `Incomplete`.
fn request(head: impl AsRef<[u8]>) -> Result<RequestHead, Malformed> {
    let mut parsed = RequestHead::default();
    match parsed.parse(head.as_ref(), &Limits::default())? {
        true => Ok(parsed),
        false => Err(Malformed::Incomplete),
    }
}

/// Parses `head` as a response to GET; an unfinished one is `Incomplete`.
fn response(head: impl AsRef<[u8]>) -> Result<ResponseHead, Malformed> {
    response_to(Expected::default(), head)
}

fn response_to(expected: Expected, head: impl AsRef<[u8]>) -> Result<ResponseHead, Malformed> {
    let mut parsed = ResponseHead::default();
    match parsed.parse(head.as_ref(), expected, &Limits::default())? {
        true => Ok(parsed),
        false => Err(Malformed::Incomplete),
    }
}

/// A request line and Host, then `fields`, each ended by CRLF, and the empty line.
fn with_fields(fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Fields of a request that must be refused, each with the reason.
fn refuses_fields(cases: &[(&str, Malformed)]) {
    for (fields, reason) in cases {
        assert_eq!(request(with_fields(fields)).err(), Some(*reason), "{fields:?}");
    }
}

/// What decoding `pieces` in turn gives: the payload so far, how the last call ended, whether it is done.
fn decode<'p>(
    framing: Framing,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<u8>, Result<usize, Malformed>, BodyDecoder) {
    let mut decoder = BodyDecoder::new(framing, &Limits::default());
    let (mut payload, mut consumed) = (Vec::new(), 0);
    for piece in pieces {
        let mut piece = piece.to_vec();
        match decoder.decode(&mut piece) {
            Ok(decoded) => {
                payload.extend_from_slice(&piece[..decoded.payload]);
                consumed += decoded.consumed;
            }
            Err(reason) => return (payload, Err(reason), decoder),
        }
    }
    (payload, Ok(consumed), decoder)
}

fn decode_chunks(body: &str) -> (Vec<u8>, Result<usize, Malformed>, BodyDecoder) {
    decode(Framing::Chunked, [body.as_bytes()])
}
