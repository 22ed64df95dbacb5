//! Every limit of this crate in one place, each with its reason.
//!
//! The values bound what a stranger can make us hold or compute; the body itself has no limit here, it
//! streams. Compiled zones and listeners fill [`Limits`]; read `docs/reference` for the settings' names.

/// No head is longer than this many bytes whatever [`Limits::head_bytes_max`] says: offsets are `u16`.
pub const HEAD_BYTES_CEILING: usize = u16::MAX as usize;

/// No head has more fields than this whatever [`Limits::fields_max`] says: they are parsed into an array on
/// the stack (8 KiB at this ceiling).
pub const FIELDS_CEILING: usize = 256;

/// Connection options looked at in one head. Each is compared with each field, so the product is what a
/// stranger can make us compute; real messages have one to four.
pub(crate) const CONNECTION_OPTIONS_MAX: usize = 64;

/// Chunk sizes above 2^53 are refused: some parsers keep them in a double, and no chunk is that long.
pub(crate) const CHUNK_BYTES_MAX: u64 = 1 << 53;

/// Hexadecimal digits in a chunk size. Sixteen would overflow signed readers; real ones have up to eight.
pub(crate) const CHUNK_SIZE_DIGITS_MAX: u8 = 15;

/// Chunk extensions may take this many bytes over a whole body beyond one byte per byte of payload. Without
/// it a body of one-byte chunks costs its sender's bytes and our time for no content.
pub(crate) const CHUNK_EXTENSION_BYTES_ALLOWANCE: u64 = 16 * 1024;

/// Limits of one connection's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a head, start line and final empty line included. Default 32 KiB: four times what browsers
    /// send with large cookies. Never above [`HEAD_BYTES_CEILING`]. A longer head is refused with 431, or
    /// 414 when already its first line does not fit.
    pub head_bytes_max: usize,
    /// Fields of a head. Default 128, never above [`FIELDS_CEILING`]. More are refused with 431.
    pub fields_max: usize,
    /// Bytes of a trailer section. Default 8 KiB: trailers carry checksums and statuses. More are refused
    /// with 431.
    pub trailer_bytes_max: usize,
    /// Bytes of extensions of one chunk (RFC 9112 §7.1.1), from the semicolon to the end of the line.
    /// Default 256: nobody reads them, signatures fit. More are refused with 400.
    pub chunk_extension_bytes_max: usize,
    /// Whether a chunk's size may have whitespace behind it without an extension, and any number of zeros in
    /// front, within `chunk_extension_bytes_max`: old origin servers pad it so. Default `false`: a visitor
    /// has no reason to, and parsers differ on it.
    pub are_sizes_padded: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            head_bytes_max: 32 * 1024,
            fields_max: 128,
            trailer_bytes_max: 8 * 1024,
            chunk_extension_bytes_max: 256,
            are_sizes_padded: false,
        }
    }
}

impl Limits {
    /// `head_bytes_max` under its ceiling.
    pub(crate) fn head_bytes(&self) -> usize {
        self.head_bytes_max.min(HEAD_BYTES_CEILING)
    }

    /// `fields_max` under its ceiling.
    pub(crate) fn fields(&self) -> usize {
        self.fields_max.min(FIELDS_CEILING)
    }
}
