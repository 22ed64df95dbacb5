//! Why a message was refused: one variant per reason, with the status a visitor gets and a short sentence.
//!
//! It does not say what to do with the connection: after any of these the end of the message is unknown, so
//! callers close it. Used by every other module here. The sections named are of RFC 9112 unless said.

/// The one reason for which a message is refused.
///
/// For a message from an origin the caller reports a fault (502); [`Malformed::status`] speaks of visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Malformed {
    /// More than one empty line stands before the request line, or any before a status line (§2.2).
    EmptyLines,
    /// A line of the head, a chunk or a trailer ends in LF without CR, or CR and LF are swapped (§2.2).
    BareLineFeed,
    /// A CR is followed by something else than LF (§2.2).
    BareCarriageReturn,
    /// The request line is not method, space, target, space, version: whitespace doubled or trailing (§3).
    RequestLine,
    /// The method is empty or not a token (§3.1).
    Method,
    /// The target is in none of the four forms, in one that the method forbids, or has bytes that no target
    /// has: controls, space, `#`, bytes from 0x80, a backslash in its path (§3.2).
    Target,
    /// The request line alone does not fit into a head.
    TargetTooLong,
    /// The request line ends after the target, as in HTTP/0.9.
    VersionMissing,
    /// The version is not `HTTP/` digit `.` digit, in this case (§2.3).
    VersionInvalid,
    /// The version is well-formed and its major version is not 1 (RFC 9110 §15.6.6).
    VersionUnsupported,
    /// The connection preface of HTTP/2 (RFC 9113 §3.4): the visitor speaks HTTP/2.
    Http2Preface,
    /// The status line is not version, space, three digits, and a reason or nothing (§4).
    StatusLine,
    /// The status code is outside 100 to 599 (RFC 9110 §15).
    StatusCode,
    /// The head is longer than `head_bytes_max`.
    HeadTooLarge,
    /// The head has more fields than `fields_max`.
    TooManyFields,
    /// A field's name is empty or not a token, or a line has no colon (RFC 9110 §5.1).
    FieldName,
    /// A field's value has a control character (RFC 9110 §5.5).
    FieldValue,
    /// Whitespace stands between a field's name and the colon (§5.1).
    WhitespaceBeforeColon,
    /// A field line starts with whitespace: folding, or a space before the first field (§5.2, §2.2).
    Folding,
    /// A field is named like a framing field but for an underscore; gateways to CGI read them as one.
    Lookalike,
    /// An HTTP/1.1 request has no Host (§3.2).
    HostMissing,
    /// More than one Host (§3.2).
    HostRepeated,
    /// Host is no host with an optional port, or empty where the target needs one (§3.2, RFC 9110 §4.2.1).
    HostInvalid,
    /// The target names another authority than Host (§3.2.2).
    HostDiffers,
    /// Content-Length is empty, signed, a list, not all digits, or above 2^63-1 (§6.2).
    ContentLengthInvalid,
    /// Content-Length more than once, even with one value (§6.3).
    ContentLengthRepeated,
    /// Content-Length and Transfer-Encoding in one message (§6.1).
    LengthAndTransferEncoding,
    /// Transfer-Encoding whose last coding is not one `chunked`, repeated, or not readable as a list (§6.3).
    TransferEncodingInvalid,
    /// `chunked` after a coding that we do not decode (§6.1).
    TransferEncodingUnknown,
    /// Transfer-Encoding where it has no place: in HTTP/1.0, or in an informational response (§6.1).
    TransferEncodingMisplaced,
    /// Content announced with a method that has none: CONNECT, TRACE (RFC 9110 §9.3.6, §9.3.8).
    ContentNotAllowed,
    /// More connection options than anybody sends.
    ConnectionOptions,
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expectation,
    /// A chunk's size is missing, signed, spaced, prefixed, or not hexadecimal (§7.1).
    ChunkSize,
    /// A chunk's size has more than 15 digits or is above 2^53.
    ChunkTooLarge,
    /// A chunk extension is not of the form `;name=value` (§7.1.1).
    ChunkExtension,
    /// Chunk extensions beyond `chunk_extension_bytes_max`, or more of them than payload.
    ChunkExtensionTooLong,
    /// A chunk's payload is not followed by CRLF (§7.1).
    ChunkEnd,
    /// The trailer section is longer than `trailer_bytes_max`.
    TrailersTooLarge,
    /// The connection ended before the message did (§8).
    Incomplete,
}

impl Malformed {
    /// The status code to answer a visitor with: 400, 414, 417, 431, 501 or 505; 502 for the two that only
    /// an origin's response can have.
    pub fn status(self) -> u16 {
        match self {
            Malformed::TargetTooLong => 414,
            Malformed::Expectation => 417,
            Malformed::HeadTooLarge | Malformed::TooManyFields | Malformed::TrailersTooLarge => 431,
            Malformed::TransferEncodingUnknown => 501,
            Malformed::StatusLine | Malformed::StatusCode => 502,
            Malformed::VersionUnsupported | Malformed::Http2Preface => 505,
            _ => 400,
        }
    }

    /// A short sentence without a full stop, for logs and for the visitor; it quotes nothing of the message.
    pub fn reason(self) -> &'static str {
        match self {
            Malformed::EmptyLines => "empty lines before the start line",
            Malformed::BareLineFeed => "a line ends without a carriage return",
            Malformed::BareCarriageReturn => "a carriage return without a line feed",
            Malformed::RequestLine => "whitespace out of place in the request line",
            Malformed::Method => "the method is not a token",
            Malformed::Target => "the request target is not valid",
            Malformed::TargetTooLong => "the request line is too long",
            Malformed::VersionMissing => "the request line has no version",
            Malformed::VersionInvalid => "the protocol version is not readable",
            Malformed::VersionUnsupported => "the protocol version is not supported",
            Malformed::Http2Preface => "this is HTTP/2",
            Malformed::StatusLine => "the status line is not valid",
            Malformed::StatusCode => "the status code is out of range",
            Malformed::HeadTooLarge => "the head is too large",
            Malformed::TooManyFields => "the head has too many fields",
            Malformed::FieldName => "a field name is not a token",
            Malformed::FieldValue => "a field value has a control character",
            Malformed::WhitespaceBeforeColon => "whitespace before the colon of a field",
            Malformed::Folding => "a field line starts with whitespace",
            Malformed::Lookalike => "a field is named almost like a framing field",
            Malformed::HostMissing => "Host is missing",
            Malformed::HostRepeated => "Host is repeated",
            Malformed::HostInvalid => "Host is not valid",
            Malformed::HostDiffers => "Host and the request target differ",
            Malformed::ContentLengthInvalid => "Content-Length is not a number",
            Malformed::ContentLengthRepeated => "Content-Length is repeated",
            Malformed::LengthAndTransferEncoding => "both Content-Length and Transfer-Encoding",
            Malformed::TransferEncodingInvalid => "Transfer-Encoding does not end in one chunked",
            Malformed::TransferEncodingUnknown => "Transfer-Encoding names an unknown coding",
            Malformed::TransferEncodingMisplaced => "Transfer-Encoding in a message that cannot have it",
            Malformed::ContentNotAllowed => "content with a method that has none",
            Malformed::ConnectionOptions => "too many connection options",
            Malformed::Expectation => "an expectation that cannot be met",
            Malformed::ChunkSize => "a chunk size is not a number",
            Malformed::ChunkTooLarge => "a chunk size is too large",
            Malformed::ChunkExtension => "a chunk extension is not valid",
            Malformed::ChunkExtensionTooLong => "chunk extensions are too long",
            Malformed::ChunkEnd => "a chunk does not end where it should",
            Malformed::TrailersTooLarge => "the trailers are too large",
            Malformed::Incomplete => "the message ended early",
        }
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for Malformed {}
