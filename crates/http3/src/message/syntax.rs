//! Character sets and small grammars of names, values and pseudo-field values.
//!
//! Pure predicates over bytes; no decision about what follows from them.
#![allow(clippy::indexing_slicing, reason = "built at compile time, and an octet indexes a table of 256")]

/// Classes of octets, one bit each, in [`CLASS`].
const TOKEN: u8 = 1;
const NAME: u8 = 2;
const SCHEME: u8 = 4;
const AUTHORITY: u8 = 8;
const PATH: u8 = 16;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut octet = 0;
    while octet < 256 {
        let byte = octet as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() || is_in(byte, b"!#$%&'*+-.^_`|~") {
            // RFC 9110 §5.6.2; a name has no upper case (RFC 9114 §4.2).
            class |= TOKEN;
            if !byte.is_ascii_uppercase() {
                class |= NAME;
            }
        }
        if byte.is_ascii_alphanumeric() || is_in(byte, b"+-.") {
            // RFC 3986 §3.1.
            class |= SCHEME;
        }
        if byte.is_ascii_alphanumeric() || is_in(byte, b"-._~!$&'()*+,;=:[]%") {
            // RFC 3986 §3.2 without "@": no user information.
            class |= AUTHORITY;
        }
        if byte > b' ' && byte != 0x7f && byte != b'#' {
            // Wider than RFC 3986 §3.3: visitors send quotes, braces and raw UTF-8, and these harm nobody.
            // Blanks, controls and fragments could be read differently by an origin.
            class |= PATH;
        }
        table[octet] = class;
        octet += 1;
    }
    table
}

const fn is_in(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

/// True when every byte is of `class`; true for none.
#[inline]
fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |common, &byte| common & CLASS[usize::from(byte)]) == class
}

/// A field name as HTTP/3 wants it: a token in lower case.
pub(super) fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, NAME)
}

/// A token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// A scheme (RFC 3986 §3.1).
pub(super) fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic) && all(bytes, SCHEME)
}

/// Host and optional port, by its characters; the zone's host matching does the rest.
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, AUTHORITY)
}

/// Path and query of a request.
pub(super) fn is_path(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'/') && all(bytes, PATH)
}

/// A field value (RFC 9110 §5.5): no control but the tab, no blank at either end.
#[inline]
pub(super) fn is_value(bytes: &[u8]) -> bool {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    if bytes.first().is_some_and(is_blank) || bytes.last().is_some_and(is_blank) {
        return false;
    }
    // Without a branch per byte, so that it runs on vectors.
    let wrong = |byte: u8| (byte < b' ' && byte != b'\t') | (byte == 0x7f);
    !bytes.iter().fold(false, |any, &byte| any | wrong(byte))
}

/// Fields that speak of one HTTP/1 connection and mean nothing here (RFC 9114 §4.2). Any case.
pub(crate) fn is_connection_specific(name: &[u8]) -> bool {
    let forbidden: &[u8] = match name.len() {
        7 => b"upgrade",
        // Two of ten letters: connection, keep-alive.
        10 if name.first().is_some_and(|first| first.eq_ignore_ascii_case(&b'c')) => b"connection",
        10 => b"keep-alive",
        16 => b"proxy-connection",
        17 => b"transfer-encoding",
        _ => return false,
    };
    name.eq_ignore_ascii_case(forbidden)
}

/// A content-length (RFC 9110 §8.6): digits that fit 64 bits. No sign, no list.
pub(super) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |length, &byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        length.checked_mul(10)?.checked_add(digit)
    })
}

/// A status: three digits, not below 100 (RFC 9110 §15).
pub(super) fn parse_status(value: &[u8]) -> Option<u16> {
    match value {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            value.iter().try_fold(0u16, |status, &byte| Some(status * 10 + u16::from(byte - b'0')))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_connection_specific_fields_in_any_case() {
        for name in [
            &b"connection"[..],
            b"Connection",
            b"keep-alive",
            b"Keep-Alive",
            b"upgrade",
            b"proxy-connection",
            b"Transfer-Encoding",
        ] {
            assert!(is_connection_specific(name), "{name:?}");
        }
        for name in
            [&b""[..], b"cookie", b"content-type", b"user-agent", b"referer", b"connectio_", b"keep_alive"]
        {
            assert!(!is_connection_specific(name), "{name:?}");
        }
    }

    #[test]
    fn reads_lengths_and_refuses_what_is_none() {
        assert_eq!(parse_length(b"0"), Some(0));
        assert_eq!(parse_length(b"0042"), Some(42));
        assert_eq!(parse_length(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [&b""[..], b"18446744073709551616", b"+1", b"-1", b"1,1", b"0x10", b" 1", b"1 ", b"1.0"]
        {
            assert_eq!(parse_length(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn judges_every_octet_in_a_value() {
        for octet in 0..=255u8 {
            let fits = octet == b'\t' || octet == b' ' || (octet > b' ' && octet != 0x7f);
            assert_eq!(is_value(&[b'a', octet, b'b']), fits, "{octet:#x}");
        }
        assert!(is_value(b""));
        for wrong in [&b" a"[..], b"a ", b"\ta", b"a\t", b" "] {
            assert!(!is_value(wrong), "{wrong:?}");
        }
    }
}
