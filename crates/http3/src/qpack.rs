//! QPACK with a dynamic table of capacity 0 (RFC 9204): field sections to fields and back.
//!
//! Without a dynamic table no section waits for another stream, nothing is kept between sections, and the
//! peer cannot make us hold a byte. What it costs is a few dozen bytes per head on the wire. The two QPACK
//! streams are judged in [`crate::uni_stream`]. Read next: [`decode`], then [`encode`].

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod huffman;
pub(crate) mod integer;
pub(crate) mod static_table;
