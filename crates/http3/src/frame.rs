//! Frame types and the reader of frame heads, type and length (RFC 9114 §7.1, §7.2, §11.2.1).
//!
//! It does not look at payloads: [`crate::request_stream`] and [`crate::control`] do, each for its stream.

use crate::varint;

pub(crate) const DATA: u64 = 0x0;
pub(crate) const HEADERS: u64 = 0x1;
pub(crate) const CANCEL_PUSH: u64 = 0x3;
pub(crate) const SETTINGS: u64 = 0x4;
pub(crate) const PUSH_PROMISE: u64 = 0x5;
pub(crate) const GOAWAY: u64 = 0x7;
pub(crate) const MAX_PUSH_ID: u64 = 0xd;

/// PRIORITY, PING, WINDOW_UPDATE and CONTINUATION of HTTP/2, which must never be seen (RFC 9114 §7.2.8).
pub(crate) fn is_http2_only(frame_type: u64) -> bool {
    matches!(frame_type, 0x2 | 0x6 | 0x8 | 0x9)
}

/// Reads frame heads from bytes that arrive in any pieces. Holds at most 15 bytes.
#[derive(Debug, Default)]
pub(crate) struct HeadReader {
    bytes: [u8; 16],
    len: usize,
}

impl HeadReader {
    /// Type and length of the next frame, its head taken off `input`; `None` when `input` was used up first.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Option<(u64, u64)> {
        if self.len == 0 {
            let mut ahead = *input;
            if let Some(head) = parse(&mut ahead) {
                *input = ahead;
                return Some(head);
            }
        }
        while let Some((&byte, rest)) = input.split_first() {
            // Two integers of eight bytes at most: the sixteenth byte always completes the head.
            *self.bytes.get_mut(self.len)? = byte;
            self.len += 1;
            *input = rest;
            if let Some(head) = self.bytes.get(..self.len).and_then(|mut held| parse(&mut held)) {
                self.len = 0;
                return Some(head);
            }
        }
        None
    }

    /// Bytes held of a head that is not complete.
    pub(crate) fn buffered(&self) -> usize {
        self.len
    }
}

/// Type and length from the front of `input`, or `None` with `input` in an unspecified place.
fn parse(input: &mut &[u8]) -> Option<(u64, u64)> {
    Some((varint::read(input)?, varint::read(input)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_heads_of_every_length_byte_by_byte() {
        for frame_type in [0, 63, 64, 16_383, 16_384, 1 << 30, varint::MAX] {
            for length in [0, 63, 64, 16_383, 16_384, 1 << 30, varint::MAX] {
                let mut bytes = Vec::new();
                varint::write(&mut bytes, frame_type);
                varint::write(&mut bytes, length);
                let mut reader = HeadReader::default();
                let (last, before) = bytes.split_last().unwrap();
                for byte in before {
                    assert_eq!(reader.read(&mut &[*byte][..]), None);
                }
                assert_eq!(reader.buffered(), before.len());
                let mut tail = &[*last, 7][..];
                assert_eq!(reader.read(&mut tail), Some((frame_type, length)));
                assert_eq!((tail, reader.buffered()), (&[7][..], 0));
            }
        }
    }
}
