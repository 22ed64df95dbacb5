//! Unidirectional streams: which is which, and the two QPACK streams (RFC 9114 §6.2, RFC 9204 §4.2 to §4.4).
//!
//! With a dynamic table of capacity 0 the QPACK streams carry next to nothing, and most of what they could
//! carry is an error; they are read without keeping a byte. The control stream is [`crate::control`]'s.

use crate::control::closed_critical_stream;
use crate::{Broken, Code, varint};

/// Stream type of a control stream (RFC 9114 §6.2.1).
pub(crate) const CONTROL: u64 = 0x0;
/// Stream type of a push stream (RFC 9114 §6.2.2).
const PUSH: u64 = 0x1;
/// Stream types of QPACK's streams (RFC 9204 §4.2).
const QPACK_ENCODER: u64 = 0x2;
const QPACK_DECODER: u64 = 0x3;

/// What a unidirectional stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniKind {
    /// The peer's control stream: give its bytes to [`crate::ControlStream`].
    Control,
    /// The peer's QPACK encoder stream: give its bytes to [`QpackEncoderStream`].
    QpackEncoder,
    /// The peer's QPACK decoder stream: give its bytes to [`QpackDecoderStream`].
    QpackDecoder,
    /// A type we do not know: stop it with [`Code::StreamCreation`] and forget it (RFC 9114 §6.2.3).
    Unknown(u64),
}

/// Reader of the type that a unidirectional stream starts with. Holds at most 7 bytes. A stream that ends
/// or is reset before its type is known is no error (RFC 9114 §6.2).
#[derive(Debug, Default)]
pub struct UniStream {
    bytes: [u8; 8],
    len: usize,
}

impl UniStream {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        UniStream::default()
    }

    /// Reads on from `input`, moving past what it used; `None` when more is needed. Once it has said a
    /// kind, the rest of `input` belongs to that kind's reader.
    ///
    /// # Errors
    /// [`Code::StreamCreation`] for the connection on a push stream: a server gets none, and a client of ours
    /// never allows one (RFC 9114 §6.2.2).
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<UniKind>, Broken> {
        while let Some((&byte, rest)) = input.split_first() {
            *input = rest;
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
            let Some(stream_type) = self.bytes.get(..self.len).and_then(|mut held| varint::read(&mut held))
            else {
                continue;
            };
            self.len = 0;
            return match stream_type {
                CONTROL => Ok(Some(UniKind::Control)),
                PUSH => Err(Broken::Connection(Code::StreamCreation, "a push stream, push is not enabled")),
                QPACK_ENCODER => Ok(Some(UniKind::QpackEncoder)),
                QPACK_DECODER => Ok(Some(UniKind::QpackDecoder)),
                other => Ok(Some(UniKind::Unknown(other))),
            };
        }
        Ok(None)
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.len
    }
}

/// The critical streams a peer has opened on one connection: one of each kind, never closed.
#[derive(Clone, Copy, Debug, Default)]
pub struct CriticalStreams {
    control: bool,
    encoder: bool,
    decoder: bool,
}

impl CriticalStreams {
    /// None opened yet.
    pub fn new() -> Self {
        CriticalStreams::default()
    }

    /// Notes that the peer opened a stream of this kind.
    ///
    /// # Errors
    /// [`Code::StreamCreation`] for the connection when there is one already (RFC 9114 §6.2.1, RFC 9204
    /// §4.2).
    pub fn open(&mut self, kind: UniKind) -> Result<(), Broken> {
        let place = match kind {
            UniKind::Control => &mut self.control,
            UniKind::QpackEncoder => &mut self.encoder,
            UniKind::QpackDecoder => &mut self.decoder,
            UniKind::Unknown(_) => return Ok(()),
        };
        if std::mem::replace(place, true) {
            return Err(Broken::Connection(Code::StreamCreation, "a second critical stream of one kind"));
        }
        Ok(())
    }

    /// Judges the end, or the reset, of a stream of this kind.
    ///
    /// # Errors
    /// [`Code::ClosedCriticalStream`] for the connection, unless the kind is unknown.
    pub fn close(&mut self, kind: UniKind) -> Result<(), Broken> {
        match kind {
            UniKind::Unknown(_) => Ok(()),
            UniKind::Control | UniKind::QpackEncoder | UniKind::QpackDecoder => Err(closed_critical_stream()),
        }
    }
}

/// Reader of the peer's QPACK encoder stream, its type already taken off. Holds nothing.
///
/// The table we offer has capacity 0, so the one valid instruction sets the capacity to 0 (RFC 9204 §3.2.2,
/// §4.3.1), a single byte.
#[derive(Debug, Default)]
pub struct QpackEncoderStream;

impl QpackEncoderStream {
    /// Set Dynamic Table Capacity (001 and a prefix of five bits), to 0.
    const SET_CAPACITY_TO_ZERO: u8 = 0x20;

    /// A reader at the start of the instructions.
    pub fn new() -> Self {
        QpackEncoderStream
    }

    /// Judges all of `input`.
    ///
    /// # Errors
    /// [`Code::QpackEncoderStream`] for the connection on any insert, duplicate, or capacity above 0.
    pub fn push(&mut self, input: &[u8]) -> Result<(), Broken> {
        if input.iter().all(|&byte| byte == Self::SET_CAPACITY_TO_ZERO) {
            return Ok(());
        }
        Err(Broken::Connection(Code::QpackEncoderStream, "an instruction for a table of capacity 0"))
    }
}

/// Reader of the peer's QPACK decoder stream, its type already taken off. Holds one number.
///
/// Our sections never refer to the dynamic table and we never insert, so there is nothing to acknowledge
/// (RFC 9204 §4.4.1) and no count to increment (§4.4.3). What remains is Stream Cancellation (§4.4.2).
#[derive(Debug, Default)]
pub struct QpackDecoderStream {
    /// Continuation bytes read of a stream id, or `None` between instructions; and its value so far.
    continuation: Option<u32>,
    stream_id: u64,
    broken: Option<Broken>,
}

impl QpackDecoderStream {
    const PREFIX: u8 = 0x3f;

    /// A reader at the start of the instructions.
    pub fn new() -> Self {
        QpackDecoderStream::default()
    }

    /// Judges all of `input`.
    ///
    /// # Errors
    /// [`Code::QpackDecoderStream`] for the connection on an acknowledgment, an increment, or a stream id
    /// that is none; the same again at each further call.
    pub fn push(&mut self, input: &[u8]) -> Result<(), Broken> {
        for &byte in input {
            if let Some(broken) = self.broken {
                return Err(broken);
            }
            if let Err(why) = self.byte(byte) {
                self.broken = Some(Broken::Connection(Code::QpackDecoderStream, why));
            }
        }
        self.broken.map_or(Ok(()), Err)
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        match self.continuation {
            None if byte & 0x80 != 0 => return Err("acknowledges a section without references"),
            None if byte & 0x40 == 0 => return Err("counts inserts that were never made"),
            None => {
                self.stream_id = u64::from(byte & Self::PREFIX);
                self.continuation = (byte & Self::PREFIX == Self::PREFIX).then_some(0);
            }
            Some(index) => {
                // Nine bytes carry 63 bits, and a tenth is never added: no overflow.
                self.stream_id += u64::from(byte & 0x7f) << (7 * index);
                let is_last = byte & 0x80 == 0;
                if self.stream_id > varint::MAX || (!is_last && index == 8) {
                    return Err("cancels a stream that cannot be");
                }
                self.continuation = (!is_last).then_some(index + 1);
            }
        }
        Ok(())
    }
}
