//! HTTP/1.1 messages without I/O: parses heads (on `httparse`), frames bodies, both strictly, and writes.
//!
//! The crate is used towards visitors and towards origins. Heads are offsets into the caller's buffer, so
//! order and case of fields survive and nothing is allocated on the way. Whatever two parsers could read
//! differently is refused with one named reason ([`Malformed`]), since a difference in reading between two
//! programs on a request's way is what request smuggling lives on.
//!
//! What it does not do: sockets, time, connection reuse, the choice of a zone, and any change of a message.
//! Called by `wire` (visitors) and `origin` (customers' servers). Read next: `request.rs`, then `head.rs`
//! for what both directions share, then `body.rs`.

mod authority;
mod body;
mod explain;
mod field;
mod head;
mod limits;
mod malformed;
mod request;
mod response;
mod trailer;
mod write;

pub use authority::{is_authority, is_same_authority, split_authority};
pub use body::{BodyDecoder, Decoded};
pub use field::{Field, Known, Span, is_field_name, is_field_value, is_lookalike};
pub use head::Framing;
pub use limits::{FIELDS_CEILING, HEAD_BYTES_CEILING, Limits};
pub use malformed::Malformed;
pub use request::{RequestHead, has_target_bytes};
pub use response::{Expected, ResponseHead};
pub use trailer::{Trailer, Trailers, may_be_trailer, parse_trailers};
pub use write::{chunk_size_line, write_field, write_request_line, write_status_line};

#[cfg(test)]
mod tests;
