//! Fields: where a name and a value lie in the caller's buffer, and which of the known names it is.
//!
//! It knows names, not meanings; what a field says is read in `head.rs` and `request.rs`.

/// A run of bytes in the caller's buffer: 4 bytes in place of a slice's 16, and no lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte from the buffer's start.
    pub start: u16,
    /// How many bytes.
    pub len: u16,
}

impl Span {
    /// The bytes in `buffer`, which must be the one that was parsed. Empty when the span does not lie in it.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        buffer.get(start..start + usize::from(self.len)).unwrap_or_default()
    }

    /// The span of `part`, a subslice of the buffer that starts at address `base`; heads are below 64 KiB.
    #[inline]
    pub(crate) fn within(base: usize, part: &[u8]) -> Span {
        Span { start: (part.as_ptr() as usize).wrapping_sub(base) as u16, len: part.len() as u16 }
    }
}

/// Field names that Rempart reads or treats by itself; all others are `Other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "each variant is the field of that name")]
pub enum Known {
    #[default]
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Te,
    Trailer,
    Upgrade,
    KeepAlive,
    ProxyConnection,
    Expect,
    Date,
    Cookie,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    Via,
    CdnLoop,
    XRequestId,
    UserAgent,
    Referer,
    Accept,
    AcceptEncoding,
    Server,
    ContentType,
    Age,
    Location,
    SetCookie,
    Http2Settings,
    ProxyAuthenticate,
    ProxyAuthorization,
}

impl Known {
    /// Which known field `name` is, in whatever case.
    ///
    /// The length picks at most four candidates and one letter picks among them, so that nearly every name
    /// costs one comparison.
    #[inline]
    pub fn of(name: &[u8]) -> Known {
        let letter = |at: usize| name.get(at).map_or(0, |byte| byte | 0x20);
        let (spelled, known): (&[u8], Known) = match name.len() {
            2 => (b"te", Known::Te),
            3 => match letter(0) {
                b'v' => (b"via", Known::Via),
                _ => (b"age", Known::Age),
            },
            4 => match letter(0) {
                b'h' => (b"host", Known::Host),
                _ => (b"date", Known::Date),
            },
            6 => match letter(0) {
                b'a' => (b"accept", Known::Accept),
                b'c' => (b"cookie", Known::Cookie),
                b'e' => (b"expect", Known::Expect),
                _ => (b"server", Known::Server),
            },
            7 => match letter(0) {
                b'r' => (b"referer", Known::Referer),
                b't' => (b"trailer", Known::Trailer),
                _ => (b"upgrade", Known::Upgrade),
            },
            8 => match letter(0) {
                b'c' => (b"cdn-loop", Known::CdnLoop),
                _ => (b"location", Known::Location),
            },
            9 => (b"forwarded", Known::Forwarded),
            10 => match letter(0) {
                b'c' => (b"connection", Known::Connection),
                b'k' => (b"keep-alive", Known::KeepAlive),
                b's' => (b"set-cookie", Known::SetCookie),
                _ => (b"user-agent", Known::UserAgent),
            },
            12 => match letter(0) {
                b'c' => (b"content-type", Known::ContentType),
                _ => (b"x-request-id", Known::XRequestId),
            },
            14 => match letter(0) {
                b'c' => (b"content-length", Known::ContentLength),
                _ => (b"http2-settings", Known::Http2Settings),
            },
            15 => match letter(0) {
                b'a' => (b"accept-encoding", Known::AcceptEncoding),
                _ => (b"x-forwarded-for", Known::XForwardedFor),
            },
            16 => match letter(0) {
                b'x' => (b"x-forwarded-host", Known::XForwardedHost),
                _ => (b"proxy-connection", Known::ProxyConnection),
            },
            17 => match letter(0) {
                b't' => (b"transfer-encoding", Known::TransferEncoding),
                _ => (b"x-forwarded-proto", Known::XForwardedProto),
            },
            18 => (b"proxy-authenticate", Known::ProxyAuthenticate),
            19 => (b"proxy-authorization", Known::ProxyAuthorization),
            _ => return Known::Other,
        };
        if name.eq_ignore_ascii_case(spelled) { known } else { Known::Other }
    }

    /// Whether the field speaks about one connection only and is never forwarded.
    ///
    /// These are the fields of RFC 9110 §7.6.1, HTTP2-Settings (RFC 7540 §3.2.1), and the two that
    /// authenticate towards the next proxy (RFC 9110 §11.7). Content-Length and Trailer are not among them:
    /// they speak about the message.
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Known::Connection
                | Known::ProxyConnection
                | Known::KeepAlive
                | Known::Te
                | Known::TransferEncoding
                | Known::Upgrade
                | Known::Http2Settings
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
        )
    }
}

/// One field line of a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// The name, in the case it came in.
    pub name: Span,
    /// The value without whitespace around it. It has no CR, LF, NUL or other control but HTAB; bytes from
    /// 0x80 are possible (RFC 9110 §5.5).
    pub value: Span,
    /// Which of the known fields it is.
    pub known: Known,
    /// Whether it must not be forwarded (RFC 9110 §7.6.1): hop-by-hop by itself, or named in Connection. A
    /// field that is end-to-end by its definition stays end-to-end though Connection names it, so that
    /// nobody strips Host, Cookie or X-Forwarded-For on its way.
    pub is_hop_by_hop: bool,
}

const TOKEN: u8 = 1;
const VALUE: u8 = 2;

/// Which bytes may stand in a token (RFC 9110 §5.6.2) and in a field value (§5.5).
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let is_symbol = matches!(
            byte as u8,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        );
        if is_symbol || (byte as u8).is_ascii_alphanumeric() {
            classes[byte] |= TOKEN;
        }
        if byte == 0x09 || (byte >= 0x20 && byte != 0x7f) {
            classes[byte] |= VALUE;
        }
        byte += 1;
    }
    classes
};

#[inline]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & TOKEN != 0
}

#[inline]
pub(crate) fn is_value_byte(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & VALUE != 0
}

/// Whether `name` is a token of at least one byte (RFC 9110 §5.1, §5.6.2).
pub fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte))
}

/// Whether `value` may stand in a field line: no CR, LF, NUL, nor other control but HTAB (RFC 9110 §5.5).
///
/// The empty value may. Whitespace at its ends is not looked at: whoever reads the line drops it.
pub fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|byte| is_value_byte(*byte))
}

/// The members of a comma-separated list (RFC 9110 §5.6.1) without whitespace around them; empty ones are
/// left out, as recipients must.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// `value` without SP and HTAB at its ends (OWS, RFC 9110 §5.6.3), and nothing else.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// Whether `name` is a framing field's name with underscores for hyphens: gateways that hand fields to CGI
/// or WSGI as `HTTP_CONTENT_LENGTH` cannot tell the two apart.
pub fn is_lookalike(name: &[u8]) -> bool {
    let is_like = |other: &[u8]| {
        name.iter().zip(other).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
    };
    match name.len() {
        14 => is_like(b"content-length"),
        17 => is_like(b"transfer-encoding"),
        _ => false,
    }
}
