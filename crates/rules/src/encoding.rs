//! Encodings that functions read and write: percent, Base64, HMAC tokens, identifiers, query strings.
//!
//! Each is linear in its input and total: what cannot be decoded is left as it is, or is nothing where the
//! reference says so. Called by `eval/call.rs` and `derive.rs`.

use sha2::{Digest, Sha256};

use crate::limits::DECODE_PASSES_MAX;

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// One pass of URL decoding. Escapes that are none stay. `is_wide` decodes `%uHHHH` too; halves of surrogate
/// pairs stay.
pub(crate) fn url_decode(input: &[u8], is_wide: bool, out: &mut Vec<u8>) {
    let mut rest = input;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                if let [high, low, ..] = after
                    && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
                {
                    out.push(high << 4 | low);
                    rest = after.get(2..).unwrap_or_default();
                } else if let Some(character) = is_wide.then(|| wide(after)).flatten() {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = after.get(5..).unwrap_or_default();
                } else {
                    out.push(b'%');
                }
            }
            plain => out.push(*plain),
        }
    }
}

/// The character of `uHHHH`.
fn wide(text: &[u8]) -> Option<char> {
    let (b'u' | b'U', digits) = text.split_first()? else { return None };
    let digits = digits.get(..4)?;
    let code = digits.iter().try_fold(0, |code, digit| Some(code << 4 | u32::from(hex_digit(*digit)?)))?;
    char::from_u32(code)
}

/// Decodes until nothing changes; gives the number of passes.
pub(crate) fn url_decode_all(input: &[u8], is_wide: bool, out: &mut Vec<u8>) -> usize {
    url_decode(input, is_wide, out);
    let mut passes = 1;
    let mut before = input.to_vec();
    while passes < DECODE_PASSES_MAX && *out != before {
        before.clear();
        std::mem::swap(&mut before, out);
        url_decode(&before, is_wide, out);
        passes += 1;
    }
    passes
}

/// Decodes `%HH` alone, as in names of cookies.
pub(crate) fn url_decode_name(input: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = input;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if let (b'%', [high, low, ..]) = (byte, after)
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            out.push(high << 4 | low);
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push(*byte);
        }
    }
    true
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes as Base64 (RFC 4648 §4, §5).
pub(crate) fn base64_encode(input: &[u8], is_url_safe: bool, is_padded: bool, out: &mut Vec<u8>) {
    let alphabet = if is_url_safe { URL_SAFE } else { STANDARD };
    for group in input.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..=group.len() {
            let digit = bits >> (18 - 6 * place) & 63;
            out.push(alphabet.get(digit as usize).copied().unwrap_or_default());
        }
        if is_padded {
            out.extend(std::iter::repeat_n(b'=', 3 - group.len()));
        }
    }
}

/// Decodes Base64 of either alphabet, padded or not; false when it is none.
pub(crate) fn base64_decode(input: &[u8], out: &mut Vec<u8>) -> bool {
    let padding = input.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = input.get(..input.len() - padding).unwrap_or_default();
    if padding > 2 || digits.len() % 4 == 1 || padding > 0 && !input.len().is_multiple_of(4) {
        return false;
    }
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                _ => return false,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let [_, first, second, third] = bits.to_be_bytes();
        out.extend([first, second, third].iter().take(group.len() - 1));
    }
    true
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac_sha256(key: &[u8], message: &[&[u8]]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        let digest = Sha256::digest(key);
        block.iter_mut().zip(digest).for_each(|(place, byte)| *place = byte);
    } else {
        block.iter_mut().zip(key).for_each(|(place, byte)| *place = *byte);
    }
    let mut inner = Sha256::new();
    inner.update(block.map(|byte| byte ^ 0x36));
    for part in message {
        inner.update(part);
    }
    let mut outer = Sha256::new();
    outer.update(block.map(|byte| byte ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// A token `message separator timestamp-mac` and what it is checked against.
#[derive(Debug)]
pub(crate) struct HmacToken<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) token: &'a [u8],
    pub(crate) ttl_s: i64,
    pub(crate) now_s: i64,
    pub(crate) separator_len: usize,
    pub(crate) is_url_safe: bool,
}

impl HmacToken<'_> {
    /// Whether the code is right and the token no older than its time to live.
    ///
    /// The timestamp is the last ten digits followed by `-` and at least 43 bytes. The code is compared in
    /// constant time.
    pub(crate) fn is_valid(&self) -> bool {
        const MAC_LEN_MIN: usize = 43;
        let token = self.token;
        let last = token.len().checked_sub(MAC_LEN_MIN + 11);
        let Some(at) = last.and_then(|last| {
            (1..=last).rev().find(|at| {
                let digits = token.get(*at..at + 10).unwrap_or_default();
                token.get(at + 10) == Some(&b'-') && digits.iter().all(u8::is_ascii_digit)
            })
        }) else {
            return false;
        };
        let (before, rest) = token.split_at(at);
        let (timestamp, mac) = rest.split_at(10);
        let Some(message) = before.len().checked_sub(self.separator_len).and_then(|end| before.get(..end))
        else {
            return false;
        };
        let issued = std::str::from_utf8(timestamp).ok().and_then(|digits| digits.parse::<i64>().ok());
        let is_current = issued.is_some_and(|issued| self.now_s.saturating_sub(issued) <= self.ttl_s);
        let mac = mac.get(1..).unwrap_or_default();
        let mut decoded = Vec::with_capacity(48);
        let is_decoded = if self.is_url_safe {
            base64_decode(mac, &mut decoded)
        } else {
            let mut plain = Vec::with_capacity(mac.len());
            url_decode_name(mac, &mut plain);
            base64_decode(&plain, &mut decoded)
        };
        if message.is_empty() || !is_current || !is_decoded || decoded.len() != 32 {
            return false;
        }
        let right = hmac_sha256(self.key, &[message, timestamp]);
        right.iter().zip(&decoded).fold(0, |difference, (one, other)| difference | one ^ other) == 0
    }
}

/// A random identifier (RFC 9562 §5.4) from a digest of random bytes.
pub(crate) fn uuidv4(seed: &[u8], out: &mut Vec<u8>) {
    let digest = Sha256::digest(seed);
    for (place, byte) in digest.iter().take(16).enumerate() {
        let byte = match place {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        for digit in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(digit), 16).map_or(b'0', |digit| digit as u8));
        }
    }
}

/// A query string without arguments of some names; order and spelling of the others stay.
pub(crate) fn remove_query_args(query: &[u8], is_removed: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    for piece in query.split(|byte| *byte == b'&') {
        let end = memchr::memchr(b'=', piece).unwrap_or(piece.len());
        if is_removed(piece.get(..end).unwrap_or_default()) {
            continue;
        }
        if !out.is_empty() {
            out.push(b'&');
        }
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        make(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn url_decoding_leaves_what_is_no_escape() {
        let decode = |text: &str, wide| made(|out| url_decode(text.as_bytes(), wide, out));
        assert_eq!(decode("John%20Doe", false), "John Doe");
        assert_eq!(decode("John+Doe", false), "John Doe");
        assert_eq!(decode("%2520", false), "%20");
        assert_eq!(decode("%E4%BD%A0", false), "你");
        assert_eq!(decode("100%", false), "100%");
        assert_eq!(decode("%zz%4", false), "%zz%4");
        assert_eq!(decode("%u2601", true), "\u{2601}");
        assert_eq!(decode("%u2601", false), "%u2601");
        assert_eq!(decode("%ud800", true), "%ud800");
    }

    #[test]
    fn recursive_decoding_ends() {
        let mut out = Vec::new();
        assert_eq!(url_decode_all(b"%2525252520", false, &mut out), 6);
        assert_eq!(out, b" ");
        let mut deep = b"%".to_vec();
        deep.extend_from_slice("25".repeat(100).as_bytes());
        let mut out = Vec::new();
        assert_eq!(url_decode_all(&deep, false, &mut out), DECODE_PASSES_MAX);
    }

    #[test]
    fn base64_there_and_back() {
        let encode = |text: &str, safe, padded| made(|out| base64_encode(text.as_bytes(), safe, padded, out));
        assert_eq!(encode("hello world", false, false), "aGVsbG8gd29ybGQ");
        assert_eq!(encode("hello world", false, true), "aGVsbG8gd29ybGQ=");
        assert_eq!(made(|out| base64_encode(b"\xfb\xff", true, false, out)), "-_8");
        let decode = |text: &str| {
            let mut out = Vec::new();
            base64_decode(text.as_bytes(), &mut out).then_some(out)
        };
        assert_eq!(decode("MTIzYWJj").as_deref(), Some(&b"123abc"[..]));
        assert_eq!(decode("aGVsbG8gd29ybGQ=").as_deref(), Some(&b"hello world"[..]));
        assert_eq!(decode("aGVsbG8gd29ybGQ").as_deref(), Some(&b"hello world"[..]));
        assert_eq!(decode("-_8").as_deref(), Some(&b"\xfb\xff"[..]));
        for wrong in ["a", "ab=", "a*b=", "====", "abc=d"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hmac_of_rfc_4231() {
        // RFC 4231 §4.3, test case 2, and §4.7, test case 6 (a key longer than a block).
        let hex = |digest: [u8; 32]| digest.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(
            hex(hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(hmac_sha256(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn identifiers_have_version_and_variant() {
        let id = made(|out| uuidv4(b"seed", out));
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert_ne!(id, made(|out| uuidv4(b"other", out)));
    }

    #[test]
    fn removes_arguments_wherever_they_stand() {
        let remove = |query: &str, name: &str| {
            made(|out| remove_query_args(query.as_bytes(), |found| found == name.as_bytes(), out))
        };
        assert_eq!(remove("order=asc&country=GB", "country"), "order=asc");
        assert_eq!(remove("order=asc&country=GB", "order"), "country=GB");
        assert_eq!(remove("order=asc&country=GB", "search"), "order=asc&country=GB");
        assert_eq!(remove("category=Foo&order=desc&category=Bar", "category"), "order=desc");
    }
}
