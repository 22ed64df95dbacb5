//! Error codes of HTTP/3 and QPACK, and [`Broken`]: what a peer's bytes broke and how far the damage goes.
//!
//! Nothing here closes a stream or a connection: the caller does, with [`Code::value`].

use std::fmt;

/// Error code carried by CONNECTION_CLOSE, RESET_STREAM and STOP_SENDING (RFC 9114 §8.1, RFC 9204 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Code {
    /// H3_NO_ERROR: closing with nothing to report.
    NoError = 0x100,
    /// H3_GENERAL_PROTOCOL_ERROR: a violation that no other code fits.
    GeneralProtocol = 0x101,
    /// H3_INTERNAL_ERROR: our own fault.
    Internal = 0x102,
    /// H3_STREAM_CREATION_ERROR: a stream the peer may not open.
    StreamCreation = 0x103,
    /// H3_CLOSED_CRITICAL_STREAM: the control or a QPACK stream ended.
    ClosedCriticalStream = 0x104,
    /// H3_FRAME_UNEXPECTED: a frame not allowed on this stream or in this state.
    FrameUnexpected = 0x105,
    /// H3_FRAME_ERROR: a frame of wrong layout or length.
    Frame = 0x106,
    /// H3_EXCESSIVE_LOAD: behaviour that costs more than it may.
    ExcessiveLoad = 0x107,
    /// H3_ID_ERROR: a stream or push id that is out of range or grows where it must not.
    Id = 0x108,
    /// H3_SETTINGS_ERROR: an invalid SETTINGS payload.
    Settings = 0x109,
    /// H3_MISSING_SETTINGS: the control stream did not start with SETTINGS.
    MissingSettings = 0x10a,
    /// H3_REQUEST_REJECTED: refused before any processing, safe to retry.
    RequestRejected = 0x10b,
    /// H3_REQUEST_CANCELLED: given up by one side.
    RequestCancelled = 0x10c,
    /// H3_REQUEST_INCOMPLETE: the stream ended before a full request.
    RequestIncomplete = 0x10d,
    /// H3_MESSAGE_ERROR: a malformed message.
    Message = 0x10e,
    /// H3_CONNECT_ERROR: the connection behind a CONNECT request failed.
    Connect = 0x10f,
    /// H3_VERSION_FALLBACK: this request wants HTTP/1.1.
    VersionFallback = 0x110,
    /// QPACK_DECOMPRESSION_FAILED: a field section that cannot be decoded.
    QpackDecompression = 0x200,
    /// QPACK_ENCODER_STREAM_ERROR: a bad instruction on the peer's encoder stream.
    QpackEncoderStream = 0x201,
    /// QPACK_DECODER_STREAM_ERROR: a bad instruction on the peer's decoder stream.
    QpackDecoderStream = 0x202,
}

impl Code {
    /// The number on the wire; below 2^62, as QUIC asks.
    pub fn value(self) -> u64 {
        self as u64
    }
}

/// What the peer's bytes broke. The text is for logs: fixed, and free of the peer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Close the whole connection with this code.
    Connection(Code, &'static str),
    /// Reset this stream with this code and stop reading it; the connection lives on.
    Stream(Code, &'static str),
    /// The field section passes a limit: answer 431 and stop reading the stream; trailers: reset it with
    /// [`Code::ExcessiveLoad`].
    TooLarge,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Connection(code, why) => {
                write!(f, "connection broken, {code:?} ({:#x}): {why}", code.value())
            }
            Broken::Stream(code, why) => write!(f, "stream broken, {code:?} ({:#x}): {why}", code.value()),
            Broken::TooLarge => f.write_str("field section over the limit"),
        }
    }
}

impl std::error::Error for Broken {}
