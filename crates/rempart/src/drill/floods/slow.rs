//! Slow ones over HTTP/2: a head, a body and a reader that take their time on a stream, whose connection may
//! have others.
//!
//! What ends a head is the end of its connection, since nothing else may come before its own (RFC 9113
//! §6.10); a body is answered before it is there, and an answer that nobody takes is reset. Called by
//! [`super`]; those over HTTP/1 are in [`super::tcp`], those over HTTP/3 in [`super::quic`]. Read next:
//! [`ATTACKS`].

use anyhow::Result;

use super::tcp::{
    Attack, CONTINUATION, DATA, END_HEADERS, END_STREAM, Fared, HEADERS, PATIENCE, RST_STREAM, Victim, Wire,
    block, frame, http2_by_drops, is_end,
};
use crate::clock;

/// The one stream of each.
const STREAM: u32 = 1;

/// Bytes of a frame's head (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;

/// Those over HTTP/2, each with the word that it is counted under.
pub(super) const ATTACKS: &[Attack] = &[
    Attack { name: "slow head over HTTP/2", word: "slow_head", run: head },
    Attack { name: "slow body over HTTP/2", word: "slow_body", run: body },
    Attack { name: "slow read over HTTP/2", word: "slow_read", run: read },
];

/// The fields of a request for a path of `a.example`, by indices of the static table (RFC 7541, appendix A)
/// and literals.
fn request(method: u8, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap_or_default();
    [&[method, 0x87, 0x04, length][..], path.as_bytes(), &[0x01, 9], b"a.example"].concat()
}

/// A frame that announces all of a long piece of a head, of which a byte comes now and then.
fn head(victim: &Victim) -> Result<Fared> {
    let mut begun = frame(CONTINUATION, END_HEADERS, STREAM, &[0; 10_000]);
    begun.truncate(HEAD_BYTES);
    let first = [frame(HEADERS, END_STREAM, STREAM, &block()), begun].concat();
    go_on(&mut *http2_by_drops(victim, &first)?, b"x", |_| false)
}

/// A body in frames of one byte.
fn body(victim: &Victim) -> Result<Fared> {
    let first = frame(HEADERS, END_HEADERS, STREAM, &request(0x83, "/upload"));
    go_on(&mut *http2_by_drops(victim, &first)?, &frame(DATA, 0, STREAM, b"x"), |kind| kind == HEADERS)
}

/// Asks for far more than the stream's window, and opens it no further.
fn read(victim: &Victim) -> Result<Fared> {
    let first = frame(HEADERS, END_HEADERS | END_STREAM, STREAM, &request(0x82, "/large"));
    go_on(&mut *http2_by_drops(victim, &first)?, b"", |kind| kind == RST_STREAM)
}

/// Sends a drop now and then, until a frame of the stream ends it, or the connection's end does.
fn go_on(wire: &mut dyn Wire, drop: &[u8], is_last: impl Fn(u8) -> bool) -> Result<Fared> {
    let until = clock::now() + PATIENCE;
    let (mut bytes, mut room) = (Vec::new(), vec![0; 64 * 1024]);
    while clock::now() < until {
        match wire.read(&mut room) {
            Ok(0) => return Ok(Fared::Ended),
            Ok(count) => bytes.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(error) if is_end(&error) => return Ok(Fared::Ended),
            Err(_) => {}
        }
        while let Some((kind, stream)) = next_frame(&mut bytes) {
            if stream == STREAM && is_last(kind) {
                return Ok(Fared::Ended);
            }
        }
        if wire.write_all(drop).and_then(|()| wire.flush()).is_err_and(|error| is_end(&error)) {
            return Ok(Fared::Ended);
        }
    }
    Ok(Fared::WentOn)
}

/// Takes the first frame out, if it is whole: its type and its stream.
fn next_frame(bytes: &mut Vec<u8>) -> Option<(u8, u32)> {
    let [high, middle, low, kind, _flags, stream @ ..] = *bytes.first_chunk::<HEAD_BYTES>()?;
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if bytes.len() < HEAD_BYTES + length {
        return None;
    }
    bytes.drain(..HEAD_BYTES + length);
    Some((kind, u32::from_be_bytes(stream) & (u32::MAX >> 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart_once_they_are_whole() {
        let mut bytes = [frame(DATA, 0, 3, b"abc"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])].concat();
        let last = bytes.split_off(bytes.len() - 1);
        assert_eq!((next_frame(&mut bytes), next_frame(&mut bytes)), (Some((DATA, 3)), None));
        bytes.extend(last);
        assert_eq!((next_frame(&mut bytes), bytes.len()), (Some((RST_STREAM, 1)), 0));
    }
}
