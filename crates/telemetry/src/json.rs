//! Writes JSON values into a byte vector by hand: text from strangers, numbers, addresses.
//!
//! Not a serializer: it knows no structure beyond a value, and the callers write braces and names. Text is
//! always valid UTF-8 and holds no control character in the raw, whatever bytes went in, so that a line is
//! one line and a terminal showing it cannot be steered by a visitor.
//! Called by [`crate::access`] and [`crate::events`]. Read next: [`write_text`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// What to do with each byte: 0 as it is, 1 begins (or belongs to) a character beyond ASCII, `u` as `\u00XX`,
/// anything else is the letter after a backslash.
static ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x00..=0x1f | 0x7f => b'u',
            0x80..=0xff => 1,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// Writes a JSON string from any bytes, quotes included, reading at most `bytes_max` of them.
///
/// Valid UTF-8 stays as it is; each malformed sequence becomes one `\ufffd`; control characters (also DEL and
/// U+0080 to U+009F) become escapes. A value that was cut ends in `…`.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    out.push(b'"');
    match text.get(..bytes_max) {
        Some(start) if start.len() < text.len() => {
            write_escaped(out, whole_characters(start));
            out.extend_from_slice("…".as_bytes());
        }
        _ => write_escaped(out, text),
    }
    out.push(b'"');
}

/// Drops a character of UTF-8 that the end of `text` cuts in two.
fn whole_characters(text: &[u8]) -> &[u8] {
    let continuation = text.iter().rev().take(3).take_while(|byte| **byte & 0xc0 == 0x80).count();
    let lead_at = match text.len().checked_sub(continuation + 1) {
        Some(at) => at,
        None => return text,
    };
    let wanted = match text.get(lead_at).copied().unwrap_or(0) {
        0xc0..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xff => 3,
        _ => return text,
    };
    if continuation < wanted { text.get(..lead_at).unwrap_or(text) } else { text }
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain_from = 0;
    for (at, byte) in text.iter().enumerate() {
        let escape = ESCAPE[usize::from(*byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(text.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        match escape {
            1 => return write_beyond_ascii(out, text.get(at..).unwrap_or_default()),
            b'u' => write_unicode_escape(out, *byte),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
    }
    out.extend_from_slice(text.get(plain_from..).unwrap_or_default());
}

/// Does what [`write_escaped`] does, character by character: the rare case of text beyond ASCII.
fn write_beyond_ascii(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut utf8 = [0; 4];
            let utf8 = character.encode_utf8(&mut utf8).as_bytes();
            match (character, utf8) {
                ('\u{80}'..='\u{9f}', _) => write_unicode_escape(out, character as u8),
                (_, &[byte]) => match ESCAPE[usize::from(byte)] {
                    0 => out.push(byte),
                    b'u' => write_unicode_escape(out, byte),
                    letter => out.extend_from_slice(&[b'\\', letter]),
                },
                _ => out.extend_from_slice(utf8),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Writes `\u00XX`.
fn write_unicode_escape(out: &mut Vec<u8>, byte: u8) {
    let [high, low] = hex_pair(byte);
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
}

fn hex_pair(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// Writes a number in decimal.
pub(crate) fn write_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a number as a string of 16 hex digits: whole 64 bits survive readers that keep numbers as doubles.
pub(crate) fn write_hex(out: &mut Vec<u8>, number: u64) {
    let mut text = [b'"'; 18];
    for (pair, byte) in text[1..17].chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&hex_pair(byte));
    }
    out.extend_from_slice(&text);
}

/// Writes an address as a string; IPv6 in the form of RFC 5952, an IPv4-mapped address as IPv4.
pub(crate) fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    out.push(b'"');
    match address.to_canonical() {
        IpAddr::V4(address) => write_ipv4(out, address),
        IpAddr::V6(address) => write_ipv6(out, address),
    }
    out.push(b'"');
}

fn write_ipv4(out: &mut Vec<u8>, address: Ipv4Addr) {
    let mut number = itoa::Buffer::new();
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(number.format(octet).as_bytes());
    }
}

/// RFC 5952 section 4: no leading zeros, lower case, the first of the longest runs of two or more zero groups
/// becomes `::`.
fn write_ipv6(out: &mut Vec<u8>, address: Ipv6Addr) {
    let groups = address.segments();
    let (mut run_at, mut run_length, mut zeros) = (0, 1, 0);
    for (place, group) in groups.into_iter().enumerate() {
        zeros = if group == 0 { zeros + 1 } else { 0 };
        if zeros > run_length {
            (run_at, run_length) = (place + 1 - zeros, zeros);
        }
    }
    let run = if run_length > 1 { run_at..run_at + run_length } else { 8..8 };
    for (place, group) in groups.into_iter().enumerate() {
        if run.contains(&place) {
            if place == run.start {
                out.extend_from_slice(b"::");
            }
            continue;
        }
        if place > 0 && place != run.end {
            out.push(b':');
        }
        write_hex_group(out, group);
    }
}

fn write_hex_group(out: &mut Vec<u8>, group: u16) {
    let [high, low] = group.to_be_bytes();
    let ([a, b], [c, d]) = (hex_pair(high), hex_pair(low));
    let digits = [a, b, c, d];
    let zeros = digits.iter().take(3).take_while(|digit| **digit == b'0').count();
    out.extend_from_slice(digits.get(zeros..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], bytes_max: usize) -> String {
        let mut out = Vec::new();
        write_text(&mut out, bytes, bytes_max);
        String::from_utf8(out).unwrap()
    }

    fn read_back(bytes: &[u8]) -> String {
        serde_json::from_str(&text(bytes, 1000)).unwrap()
    }

    #[test]
    fn keeps_valid_text() {
        for sample in
            ["", "plain", "a\"b\\c", "tab\tline\nreturn\r", "Grüße", "日本語 🦀", "\u{0}\u{1f}\u{7f}"]
        {
            assert_eq!(read_back(sample.as_bytes()), sample);
        }
    }

    #[test]
    fn no_control_character_stays_raw() {
        let all: String = (0..0x100).filter_map(char::from_u32).collect();
        let written = text(all.as_bytes(), 1000);
        assert!(!written.chars().any(char::is_control), "{written}");
        assert_eq!(read_back(all.as_bytes()), all);
    }

    #[test]
    fn malformed_utf8_becomes_the_replacement_character() {
        assert_eq!(text(b"a\xffb\xc3(\xe2\x82", 1000), "\"a\\ufffdb\\ufffd(\\ufffd\"");
    }

    #[test]
    fn every_pair_of_bytes_gives_valid_json() {
        for first in 0..=255u8 {
            for second in 0..=255u8 {
                read_back(&[first, second, b'"', first]);
            }
        }
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(text(b"abcdef", 6), "\"abcdef\"");
        assert_eq!(text(b"abcdef", 5), "\"abcde…\"");
        assert_eq!(text("abä".as_bytes(), 3), "\"ab…\"");
        assert_eq!(text("a🦀b".as_bytes(), 4), "\"a…\"");
        assert_eq!(text("a🦀b".as_bytes(), 5), "\"a🦀…\"");
    }

    #[test]
    fn addresses_read_as_the_standard_library_writes_them() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..20_000_u32 {
            let mut groups = [0_u16; 8];
            for (place, group) in groups.iter_mut().enumerate() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let keep = state >> 60 & 1 == 1 || round as usize % 9 == place;
                *group = if keep { (state >> 33) as u16 >> (state >> 62 << 2) } else { 0 };
            }
            let address = IpAddr::from(groups).to_canonical();
            let mut out = Vec::new();
            write_address(&mut out, address);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{address}\""));
        }
    }

    #[test]
    fn a_mapped_address_reads_as_ipv4() {
        let mut out = Vec::new();
        write_address(&mut out, "::ffff:192.0.2.7".parse().unwrap());
        assert_eq!(out, b"\"192.0.2.7\"");
    }

    #[test]
    fn hex_has_sixteen_digits() {
        let mut out = Vec::new();
        write_hex(&mut out, 0x1f);
        assert_eq!(out, b"\"000000000000001f\"");
    }
}
