//! WebSocket frames and handshake keys (RFC 6455), without any stream.
//!
//! It does no extensions and joins no fragments: tests see frames as they were sent. Called by
//! [`crate::origin`] (echo) and [`crate::visitor`]. Read next: [`crate::visitor::websocket`].

use crate::digest::{base64, sha1};

/// A frame's meaning (RFC 6455 section 5.2). The numbers are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// 0: goes on with a fragmented message.
    Continuation,
    /// 1.
    Text,
    /// 2.
    Binary,
    /// 8.
    Close,
    /// 9.
    Ping,
    /// 10.
    Pong,
    /// Any number without a meaning.
    Reserved(u8),
}

impl Opcode {
    fn from_number(number: u8) -> Opcode {
        match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            other => Opcode::Reserved(other),
        }
    }

    fn number(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
            Opcode::Reserved(other) => other & 15,
        }
    }
}

/// One frame, its payload unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// FIN and RSV1 to RSV3: the upper four bits of the first byte. 8 is a plain last fragment.
    pub flags: u8,
    /// What it is.
    pub opcode: Opcode,
    /// The bytes, unmasked.
    pub payload: Vec<u8>,
    /// Whether it was masked, as a visitor's must be.
    pub masked: bool,
}

impl Frame {
    /// An unfragmented frame.
    pub fn new(opcode: Opcode, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { flags: 8, opcode, payload: payload.into(), masked: false }
    }

    /// A close frame with a status and a reason (section 5.5.1).
    pub fn close(status: u16, reason: &str) -> Frame {
        let mut payload = status.to_be_bytes().to_vec();
        payload.extend(reason.as_bytes());
        Frame::new(Opcode::Close, payload)
    }

    /// The same frame not being the last of its message.
    pub fn unfinished(mut self) -> Frame {
        self.flags &= 7;
        self
    }

    /// The payload as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The frame's bytes; with a mask key, masked by it.
    pub fn to_bytes(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = vec![self.flags << 4 | self.opcode.number()];
        let bit = if mask.is_some() { 0x80 } else { 0 };
        match self.payload.len() {
            short @ 0..=125 => bytes.push(bit | short as u8),
            middle @ 126..=0xffff => {
                bytes.push(bit | 126);
                bytes.extend((middle as u16).to_be_bytes());
            }
            long => {
                bytes.push(bit | 127);
                bytes.extend((long as u64).to_be_bytes());
            }
        }
        match mask {
            Some(key) => {
                bytes.extend(key);
                bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            }
            None => bytes.extend(&self.payload),
        }
        bytes
    }
}

/// Cuts a byte stream into frames. It holds at most one frame whole: tests keep those small.
#[derive(Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Takes the next bytes of the stream.
    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// The next whole frame, if it is there.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        let (length, mut at) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(self.buffer.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let masked = second & 0x80 != 0;
        let key: [u8; 4] = if masked { self.buffer.get(at..at + 4)?.try_into().ok()? } else { [0; 4] };
        at += if masked { 4 } else { 0 };
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        let payload = self
            .buffer
            .get(at..end)?
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        self.buffer.drain(..end);
        Some(Frame { flags: first >> 4, opcode: Opcode::from_number(first & 15), payload, masked })
    }

    /// Bytes that do not make a whole frame yet.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (section 4.2.2).
pub fn accept_key(key: &str) -> String {
    base64(&sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes()))
}

/// What an echoing server does with a frame: the frame to send back, and whether it ends the WebSocket.
pub fn echo_of(frame: &Frame) -> (Option<Frame>, bool) {
    let back = |opcode| Frame { opcode, masked: false, ..frame.clone() };
    match frame.opcode {
        Opcode::Ping => (Some(back(Opcode::Pong)), false),
        Opcode::Pong => (None, false),
        Opcode::Close => (Some(back(Opcode::Close)), true),
        opcode => (Some(back(opcode)), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_the_one_of_rfc_6455() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_all_three_lengths_survive_any_split() {
        for length in [0, 1, 125, 126, 0xffff, 0x1_0000] {
            let frame = Frame::new(Opcode::Binary, vec![7; length]);
            for mask in [None, Some([1, 2, 3, 4])] {
                let bytes = frame.to_bytes(mask);
                for split in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                    let mut reader = FrameReader::default();
                    reader.add(&bytes[..split]);
                    assert_eq!(reader.next_frame(), None);
                    reader.add(&bytes[split..]);
                    let read = reader.next_frame().unwrap();
                    assert_eq!(read, Frame { masked: mask.is_some(), ..frame.clone() });
                    assert!(reader.rest().is_empty());
                }
            }
        }
    }
}
