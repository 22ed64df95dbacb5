//! HTTP/3 (RFC 9114) and QPACK (RFC 9204) without I/O: bytes in, events out, and back.
//!
//! For use on QUIC streams by whoever owns them (`wire` towards visitors). It never blocks, spawns, reads
//! a clock or holds more of a peer's bytes than [`Limits`] say; it knows neither sockets nor zones. What
//! it leaves to its caller: time limits, counting resets, flow control, joining cookies, and deciding
//! what a request means.
//!
//! A server's way through it:
//!
//! 1. open a unidirectional stream and write [`server_preface`];
//! 2. feed the peer's unidirectional streams to a [`UniStream`] each, note them in [`CriticalStreams`], and
//!    pass what follows to [`ControlStream`], [`QpackEncoderStream`] or [`QpackDecoderStream`];
//! 3. feed each request stream to a [`RequestStream`], decode its [`Event::Head`] with [`decode_request`],
//!    and tell the stream what the head declared: [`RequestStream::expect_body`],
//!    [`RequestStream::become_tunnel`];
//! 4. answer with [`encode_response_head`], [`data_frame_head`], [`encode_trailers`]; leave with
//!    [`goaway_frame`].
//!
//! Every error is a [`Broken`]: which of stream and connection to end, and with which [`Code`].
//!
//! Deliberately absent: a dynamic table (see the notes in `qpack`), server push, PRIORITY_UPDATE (skipped
//! as an unknown frame), datagrams.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod code;
mod control;
mod frame;
mod limits;
mod message;
mod qpack;
mod request_stream;
mod uni_stream;
pub mod varint;

pub use code::{Broken, Code};
pub use control::{ControlEvent, ControlStream, Settings, client_preface, goaway_frame, server_preface};
pub use limits::Limits;
pub use message::{
    Decoder, RequestShape, RequestSink, decode_fields, decode_request, decode_response, decode_trailers,
};
pub use qpack::encode::{
    FieldEncoder, data_frame_head, encode_request_head, encode_response_head, encode_trailers,
};
pub use request_stream::{Event, RequestStream};
pub use uni_stream::{CriticalStreams, QpackDecoderStream, QpackEncoderStream, UniKind, UniStream};
