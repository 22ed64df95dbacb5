//! Transformations between bytes and digits: base64, hexadecimal, percent, `%uHHHH`, digests, parity.
//!
//! Called by [`super::Transformation::apply`] alone.

use md5::Digest as _;

use super::ByteSet;
use super::strip::until_nul;

const DIGITS: &[u8; 16] = b"0123456789abcdef";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The two lower-case digits of a byte.
fn digits(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

pub(super) fn md5(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&md5::Md5::digest(input));
}

pub(super) fn sha1(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&sha1::Sha1::digest(input));
}

/// `byte` with its eighth bit set so that the number of bits of the seven below is even or odd.
///
/// The reference counts the bits of all eight, so a byte whose eighth bit is set keeps or loses it by that
/// count.
pub(super) const fn parity(byte: u8, even: bool) -> u8 {
    let is_odd = byte.count_ones() % 2 == 1;
    if is_odd == even { byte | 0x80 } else { byte & 0x7f }
}

/// The bytes that [`parity`] changes.
pub(super) const fn parity_changes(even: bool) -> ByteSet {
    let (mut set, mut byte) = (ByteSet::EMPTY, 0_u16);
    while byte < 256 {
        if parity(byte as u8, even) != byte as u8 {
            set = set.with(byte as u8);
        }
        byte += 1;
    }
    set
}

pub(super) fn hex_encode(input: &[u8], out: &mut Vec<u8>) {
    out.extend(input.iter().flat_map(|&byte| digits(byte)));
}

pub(super) fn hex_decode(input: &[u8], out: &mut Vec<u8>) {
    // Any byte counts as a digit: letters by their place after `A` in either case, all others by that after
    // `0`.
    let digit = |byte: u8| match byte {
        b'A'.. => (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10),
        _ => byte.wrapping_sub(b'0'),
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => digit(*high).wrapping_mul(16).wrapping_add(digit(*low)),
        _ => 0,
    };
    out.extend(input.chunks_exact(2).map(pair));
}

pub(super) fn url_encode(input: &[u8], out: &mut Vec<u8>) {
    for &byte in input {
        match byte {
            b' ' => out.push(b'+'),
            b'*' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(byte),
            _ => {
                let [high, low] = digits(byte);
                out.extend_from_slice(&[b'%', high, low]);
            }
        }
    }
}

pub(super) fn base64_encode(input: &[u8], out: &mut Vec<u8>) {
    for group in input.chunks(3) {
        let bits =
            group.iter().zip([16, 8, 0]).fold(0_u32, |bits, (&byte, shift)| bits | u32::from(byte) << shift);
        let digit = |shift: u32| ALPHABET[(bits >> shift & 63) as usize];
        let padded = |shift, bytes| if group.len() >= bytes { digit(shift) } else { b'=' };
        out.extend_from_slice(&[digit(18), digit(12), padded(6, 2), padded(0, 3)]);
    }
}

/// The value of a digit of base64.
const fn base64_digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Decodes what precedes the first NUL, or leaves the value as it is when that is not base64.
pub(super) fn base64_decode(input: &[u8], out: &mut Vec<u8>) {
    if base64_groups(until_nul(input), out).is_none() {
        out.clear();
        out.extend_from_slice(input);
    }
}

/// Decodes whole groups of four; line ends are skipped, spaces only before them or at the end. Anything else,
/// more behind padding, or a group that is not whole, is not base64.
fn base64_groups(input: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (mut bits, mut held, mut padding) = (0_u32, 0, 0);
    let mut rest = input;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b' ' => {
                let next = after.iter().position(|&byte| byte != b' ').unwrap_or(after.len());
                rest = after.get(next..).unwrap_or_default();
                if !matches!(rest, [] | [b'\r', b'\n', ..] | [b'\n', ..]) {
                    return None;
                }
                continue;
            }
            b'\n' => continue,
            b'\r' if after.first() == Some(&b'\n') => continue,
            b'=' => {
                padding += 1;
                bits <<= 6;
            }
            _ if padding > 0 => return None,
            _ => bits = bits << 6 | u32::from(base64_digit(byte)?),
        }
        held += 1;
        if held == 4 {
            let [_, bytes @ ..] = bits.to_be_bytes();
            // More than two of padding are none.
            out.extend_from_slice(bytes.get(..3_usize.checked_sub(padding).filter(|&bytes| bytes > 0)?)?);
            held = 0;
        }
    }
    (held == 0).then_some(())
}

/// Decodes every digit there is, also of a group that is not whole, and skips all else.
pub(super) fn base64_decode_ext(input: &[u8], out: &mut Vec<u8>) {
    let (mut count, mut bits) = (0_usize, 0_u32);
    for (at, &byte) in input.iter().enumerate() {
        if byte == b'=' {
            // A single padding behind a single digit is taken for no base64 at all.
            if count % 4 == 1 && input.get(at + 1) != Some(&b'=') {
                return out.clear();
            }
            continue;
        }
        let Some(digit) = base64_digit(byte) else { continue };
        bits = bits << 6 | u32::from(digit);
        match count % 4 {
            0 => {}
            1 => out.push((bits >> 4) as u8),
            2 => out.push((bits >> 2) as u8),
            _ => out.push(bits as u8),
        }
        count += 1;
    }
    // So is a single digit before the end, when the value ends with padding or (an accident of the reference,
    // whose digit 9 has the number of `=`) with a nine.
    if count % 4 == 1 && matches!(input.last(), Some(b'=' | b'9')) {
        out.clear();
    }
}

/// A UTF-8 sequence at the start of a value: its length, and the number it stands for.
///
/// Overlong forms, surrogates and numbers beyond U+10FFFF count.
fn sequence(from: &[u8]) -> Option<(usize, u32)> {
    let (length, lead) = match *from.first()? {
        lead @ 0xc0..=0xdf => (2, lead & 0x1f),
        lead @ 0xe0..=0xef => (3, lead & 0x0f),
        lead @ 0xf0..=0xf7 => (4, lead & 0x07),
        _ => return None,
    };
    let mut number = u32::from(lead);
    for &byte in from.get(1..length)? {
        if byte & 0xc0 != 0x80 {
            return None;
        }
        number = number << 6 | u32::from(byte & 0x3f);
    }
    Some((length, number))
}

pub(super) fn utf8_to_unicode(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        let rest = input.get(at..).unwrap_or_default();
        at += 1;
        match byte {
            // A NUL stays only at the end.
            0 if rest.len() > 1 => continue,
            0..0x80 | 0x80..0xc0 | 0xf8.. => {
                out.push(byte);
                continue;
            }
            // What may not lead a sequence is kept before it is read as one.
            0xf5.. => out.push(byte),
            _ => {}
        }
        // A broken sequence loses its lead.
        let Some((length, number)) = sequence(rest) else { continue };
        out.extend_from_slice(b"%u");
        let width = (8 - number.leading_zeros() as usize / 4).max(4);
        out.extend((0..width).rev().map(|place| DIGITS[(number >> (4 * place) & 15) as usize]));
        let least = match length {
            2 => 0x80,
            3 => 0x800,
            _ => 0x1_0000,
        };
        if (0xd800..=0xdfff).contains(&number) {
            out.push(byte);
        }
        if number < least {
            out.push(byte);
        }
        at += length - 1;
    }
}
