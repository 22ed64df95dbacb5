//! Every limit of this crate, each with its reason. The caller may set them; the defaults are safe.

/// Limits on what a peer can make this crate hold or do. All are per stream unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Decoded size of one field section in bytes, 32 more counted for each field (RFC 9114 §4.2.2);
    /// announced to the peer in SETTINGS. Past it: [`crate::Broken::TooLarge`].
    /// Default 64 KiB: large cookies pass, and a flood of streams each holding one stays payable.
    pub field_section_bytes_max: u64,
    /// Encoded size of one field section in bytes, checked on the frame's length before a byte is kept; the
    /// most that one stream buffers. Past it: [`crate::Broken::TooLarge`].
    /// Default 64 KiB: whatever fits the decoded limit is no longer than that when sensibly encoded.
    pub encoded_section_bytes_max: usize,
    /// Fields in one section. Past it: [`crate::Broken::TooLarge`].
    /// Default 256: browsers send 10 to 30, and each field costs the phases behind us a look.
    pub fields_max: usize,
    /// Frames in a row that carry nothing (unknown types, empty DATA) on a request stream; a DATA frame with
    /// content starts the count anew. Past it: [`crate::Code::ExcessiveLoad`] for the connection.
    /// Default 1024: peers that grease send one or two.
    pub idle_frames_max: u32,
    /// Payload of the peer's SETTINGS frame in bytes. Past it: [`crate::Code::ExcessiveLoad`].
    /// Default 1 KiB: real ones take less than 60 bytes.
    pub settings_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            field_section_bytes_max: 64 * 1024,
            encoded_section_bytes_max: 64 * 1024,
            fields_max: 256,
            idle_frames_max: 1024,
            settings_bytes_max: 1024,
        }
    }
}
