//! Field lines to complete HEADERS frames (RFC 9204 §4.5, RFC 9114 §7.2.2).
//!
//! Only the static table is used, so that nothing is held between sections and no client has to wait for one.
//! Strings go out plain: Huffman would save a quarter of them and cost more than all the rest. It does not
//! judge what it is given, beyond leaving out what HTTP/3 forbids to carry over.

use super::integer;
use super::static_table::{self, Found};
use crate::{frame, message, varint};

/// Indices into the static table (RFC 9204, Appendix A) of the names that heads start with.
const AUTHORITY: u8 = 0;
const PATH: u8 = 1;
const METHOD: u8 = 15;
const SCHEME: u8 = 22;
const STATUS: u8 = 24;

/// Names whose values no one on the way should put into a dynamic table (RFC 9204 §7.1.3): cookie,
/// set-cookie, authorization.
const SECRET: [u8; 3] = [5, 14, 84];

/// Bytes kept free for the frame's length until it is known: right for 64 to 16,383 bytes, nearly all heads.
const LENGTH_ROOM: usize = 2;

/// Writes one HEADERS frame into `out`, field by field; the frame is complete once the encoder is gone, by
/// [`FieldEncoder::finish`] or by drop.
#[derive(Debug)]
pub struct FieldEncoder<'a> {
    out: &'a mut Vec<u8>,
    /// Where the room for the frame's length starts.
    length_at: usize,
}

impl<'a> FieldEncoder<'a> {
    /// A response head. `status` is 100 to 999; interim (1xx) heads are written the same way.
    pub fn response(out: &'a mut Vec<u8>, status: u16) -> Self {
        debug_assert!((100..=999).contains(&status), "a status has three digits");
        let mut encoder = FieldEncoder::trailers(out);
        let digits = [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
        encoder.pseudo(STATUS, b":status", &digits);
        encoder
    }

    /// A request head. `authority` is left out when empty; for a plain CONNECT so are `scheme` and `path`.
    /// A `protocol` makes it an extended CONNECT (RFC 9220).
    pub fn request(
        out: &'a mut Vec<u8>,
        method: &[u8],
        scheme: &[u8],
        authority: &[u8],
        path: &[u8],
        protocol: Option<&[u8]>,
    ) -> Self {
        let mut encoder = FieldEncoder::trailers(out);
        encoder.pseudo(METHOD, b":method", method);
        if !scheme.is_empty() {
            encoder.pseudo(SCHEME, b":scheme", scheme);
        }
        if !authority.is_empty() {
            encoder.pseudo(AUTHORITY, b":authority", authority);
        }
        if !path.is_empty() {
            encoder.pseudo(PATH, b":path", path);
        }
        if let Some(protocol) = protocol {
            encoder.literal(b":protocol", protocol);
        }
        encoder
    }

    /// Trailers, or any section without pseudo-fields.
    pub fn trailers(out: &'a mut Vec<u8>) -> Self {
        varint::write(out, frame::HEADERS);
        let length_at = out.len();
        out.extend_from_slice(&[0; LENGTH_ROOM]);
        // Required Insert Count 0, Delta Base 0.
        out.extend_from_slice(&[0, 0]);
        FieldEncoder { out, length_at }
    }

    /// Appends a field, its name in lower case. Connection-specific fields and names that start with a colon
    /// are left out (RFC 9114 §4.2, §4.3), so a head of HTTP/1 cannot spoil the frame.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.first() == Some(&b':') || message::is_connection_specific(name) {
            return;
        }
        match static_table::find(name, value) {
            Found::Line(index) => integer::write(self.out, 0xc0, 6, u64::from(index)),
            Found::Name(index) => self.named(index, value),
            Found::Nothing => self.literal(name, value),
        }
    }

    /// Completes the frame.
    pub fn finish(self) {}

    fn pseudo(&mut self, name_index: u8, name: &[u8], value: &[u8]) {
        match static_table::find(name, value) {
            Found::Line(index) => integer::write(self.out, 0xc0, 6, u64::from(index)),
            Found::Name(_) | Found::Nothing => self.named(name_index, value),
        }
    }

    /// A literal with name reference: 01 N 1 index(4), value (RFC 9204 §4.5.4).
    fn named(&mut self, index: u8, value: &[u8]) {
        let never_indexed = if SECRET.contains(&index) { 0x20 } else { 0 };
        integer::write(self.out, 0x50 | never_indexed, 4, u64::from(index));
        self.value(value);
    }

    /// A literal with literal name: 001 N 0 length(3), name, value (RFC 9204 §4.5.6).
    fn literal(&mut self, name: &[u8], value: &[u8]) {
        integer::write(self.out, 0x20, 3, name.len() as u64);
        let start = self.out.len();
        self.out.extend_from_slice(name);
        if let Some(written) = self.out.get_mut(start..) {
            written.make_ascii_lowercase();
        }
        self.value(value);
    }

    fn value(&mut self, value: &[u8]) {
        integer::write(self.out, 0, 7, value.len() as u64);
        self.out.extend_from_slice(value);
    }
}

impl Drop for FieldEncoder<'_> {
    /// Puts the frame's length in its place, moving the section when the length needs more or less room.
    fn drop(&mut self) {
        let start = self.length_at + LENGTH_ROOM;
        let length = self.out.len().saturating_sub(start);
        let mut bytes = [0; 8];
        let room = match length {
            0..64 => {
                bytes[0] = length as u8;
                1
            }
            64..16_384 => {
                bytes[..2].copy_from_slice(&(length as u16 | 0x4000).to_be_bytes());
                2
            }
            16_384..1_073_741_824 => {
                bytes[..4].copy_from_slice(&(length as u32 | 0x8000_0000).to_be_bytes());
                4
            }
            _ => {
                bytes.copy_from_slice(&(length as u64 | 0xc000_0000_0000_0000).to_be_bytes());
                8
            }
        };
        match room {
            LENGTH_ROOM => {}
            1 => {
                self.out.copy_within(start.., start - 1);
                self.out.truncate(start - 1 + length);
            }
            more => {
                self.out.resize(self.out.len() + more - LENGTH_ROOM, 0);
                self.out.copy_within(start..start + length, self.length_at + more);
            }
        }
        if let Some(place) = self.out.get_mut(self.length_at..self.length_at + room) {
            place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        }
    }
}

/// Appends a complete HEADERS frame with a response head to `out`; interim (1xx) heads included. Names are
/// written in lower case, connection-specific fields left out.
pub fn encode_response_head<'f>(
    out: &mut Vec<u8>,
    status: u16,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) {
    let mut encoder = FieldEncoder::response(out, status);
    fields.for_each(|(name, value)| encoder.field(name, value));
}

/// Appends a complete HEADERS frame with trailers to `out`, fields as in [`encode_response_head`].
pub fn encode_trailers<'f>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) {
    let mut encoder = FieldEncoder::trailers(out);
    fields.for_each(|(name, value)| encoder.field(name, value));
}

/// Appends a complete HEADERS frame with a request head to `out`. Empty `scheme`, `authority` or `path` are
/// left out, as a plain CONNECT needs it; [`FieldEncoder::request`] also takes `:protocol`.
pub fn encode_request_head<'f>(
    out: &mut Vec<u8>,
    method: &[u8],
    scheme: &[u8],
    authority: &[u8],
    path: &[u8],
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) {
    let mut encoder = FieldEncoder::request(out, method, scheme, authority, path, None);
    fields.for_each(|(name, value)| encoder.field(name, value));
}

/// Appends the head of a DATA frame whose payload of `len` bytes the caller sends after it.
pub fn data_frame_head(out: &mut Vec<u8>, len: u64) {
    varint::write(out, frame::DATA);
    varint::write(out, len);
}
