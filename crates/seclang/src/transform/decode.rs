//! Transformations that undo an encoding: URL, CSS, JavaScript, C, HTML, SQL.
//!
//! Each copies what lies between escapes in one piece. Called by [`super::Transformation::apply`] alone.

use memchr::{memchr, memchr2};

use super::is_space;
use crate::code_page::CodePage;

/// The value of a hexadecimal digit.
pub(super) const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The byte that the first two digits of `text` make.
fn hex_pair(text: &[u8]) -> Option<u8> {
    let [high, low, ..] = text else { return None };
    Some(hex(*high)? << 4 | hex(*low)?)
}

/// The low byte of four digits, with the full-width forms U+FF01 to U+FF5E folded to ASCII.
fn hex_quad(text: &[u8]) -> Option<u8> {
    let (high, low) = (hex_pair(text)?, hex_pair(text.get(2..)?)?);
    Some(if high == 0xff { full_width(low) } else { low })
}

/// The ASCII byte of the full-width form U+FF00 + `low`.
const fn full_width(low: u8) -> u8 {
    if low > 0 && low < 0x5f { low + 0x20 } else { low }
}

/// Up to three octal digits at the start of `text`: how many, and their value.
fn octal(text: &[u8]) -> (usize, u16) {
    let digits = text.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7'));
    digits.fold((0, 0), |(count, value), &digit| (count + 1, value * 8 + u16::from(digit - b'0')))
}

/// What a letter after a backslash means in C and JavaScript.
const fn control(letter: u8) -> Option<u8> {
    match letter {
        b'a' => Some(0x07),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'v' => Some(0x0b),
        _ => None,
    }
}

/// Copies `input` up to the next byte that `find` finds, hands what follows from that byte on to `escape`,
/// which writes what it stands for and answers how many bytes it took (at least one), and goes on behind
/// them.
fn each_escape(
    input: &[u8],
    out: &mut Vec<u8>,
    find: impl Fn(&[u8]) -> Option<usize>,
    mut escape: impl FnMut(&[u8], &mut Vec<u8>) -> usize,
) {
    let mut rest = input;
    while let Some(at) = find(rest) {
        let (plain, from) = rest.split_at(at);
        out.extend_from_slice(plain);
        let taken = escape(from, out).max(1);
        rest = from.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Writes the first `count` bytes of `from` as they are.
fn keep(from: &[u8], count: usize, out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(from.get(..count).unwrap_or(from));
    count
}

pub(super) fn url(input: &[u8], out: &mut Vec<u8>) {
    each_escape(input, out, |rest| memchr2(b'%', b'+', rest), url_escape);
}

/// `%HH` or `+` at the start of `from`.
fn url_escape(from: &[u8], out: &mut Vec<u8>) -> usize {
    if from.first() == Some(&b'+') {
        out.push(b' ');
        return 1;
    }
    match hex_pair(from.get(1..).unwrap_or_default()) {
        Some(byte) => {
            out.push(byte);
            3
        }
        None => keep(from, 1, out),
    }
}

/// The code point that four digits make.
fn point(digits: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([hex_pair(digits)?, hex_pair(digits.get(2..)?)?]))
}

pub(super) fn url_uni(input: &[u8], page: Option<&CodePage>, out: &mut Vec<u8>) {
    let mapped = |digits: &[u8]| page.and_then(|page| page.byte_of(point(digits)?));
    each_escape(
        input,
        out,
        |rest| memchr2(b'%', b'+', rest),
        |from, out| match from {
            [b'%', b'u' | b'U', digits @ ..] => match mapped(digits).or_else(|| hex_quad(digits)) {
                Some(byte) => {
                    out.push(byte);
                    6
                }
                None => keep(from, 2, out),
            },
            _ => url_escape(from, out),
        },
    );
}

pub(super) fn css(input: &[u8], out: &mut Vec<u8>) {
    each_escape(
        input,
        out,
        |rest| memchr(b'\\', rest),
        |from, out| {
            let after = from.get(1..).unwrap_or_default();
            let digits = after.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
            if digits == 0 {
                // A backslash at the end or before a line end goes; before anything else it protects one
                // byte.
                match after.first() {
                    Some(&byte) if byte != b'\n' => out.push(byte),
                    _ => {}
                }
                return 2;
            }
            let escape = after.get(..digits).unwrap_or_default();
            let low = escape.get(digits.saturating_sub(2)..).and_then(hex_pair);
            let low = low.or_else(|| escape.first().copied().and_then(hex)).unwrap_or_default();
            // Only U+00FFxx can be a full-width form: with five or six digits the ones before the last four
            // are zeros.
            let (leading, last) = escape.split_at(digits.saturating_sub(4));
            let is_full =
                digits >= 4 && leading.iter().all(|&digit| digit == b'0') && hex_pair(last) == Some(0xff);
            out.push(if is_full { full_width(low) } else { low });
            // One whitespace ends an escape and belongs to it.
            1 + digits + usize::from(after.get(digits).is_some_and(|&byte| is_space(byte)))
        },
    );
}

pub(super) fn escape_seq(input: &[u8], out: &mut Vec<u8>) {
    each_escape(
        input,
        out,
        |rest| memchr(b'\\', rest),
        |from, out| {
            let Some(&letter) = from.get(1) else { return keep(from, 1, out) };
            if let Some(byte) = control(letter) {
                out.push(byte);
                return 2;
            }
            if matches!(letter, b'x' | b'X')
                && let Some(byte) = hex_pair(from.get(2..).unwrap_or_default())
            {
                out.push(byte);
                return 4;
            }
            let (digits, value) = octal(from.get(1..).unwrap_or_default());
            if digits > 0 {
                // Three digits may say more than a byte holds; the high bit is lost.
                out.push((value & 0xff) as u8);
                return 1 + digits;
            }
            out.push(letter);
            2
        },
    );
}

pub(super) fn js(input: &[u8], out: &mut Vec<u8>) {
    each_escape(
        input,
        out,
        |rest| memchr(b'\\', rest),
        |from, out| {
            let Some(&letter) = from.get(1) else { return keep(from, 1, out) };
            let digits = from.get(2..).unwrap_or_default();
            if letter == b'u'
                && let Some(byte) = hex_quad(digits)
            {
                out.push(byte);
                return 6;
            }
            if letter == b'x'
                && let Some(byte) = hex_pair(digits)
            {
                out.push(byte);
                return 4;
            }
            match octal(from.get(1..).unwrap_or_default()) {
                (0, _) => {
                    out.push(control(letter).unwrap_or(letter));
                    2
                }
                // Three digits that would not fit a byte are read as two.
                (3, value) if value > 0xff => {
                    out.push((value >> 3) as u8);
                    3
                }
                (digits, value) => {
                    out.push((value & 0xff) as u8);
                    1 + digits
                }
            }
        },
    );
}

/// Entities known by name, each with its byte; a name that only starts with one counts, in any case.
const ENTITIES: [(&[u8], u8); 5] =
    [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", 0xa0)];

pub(super) fn html_entity(input: &[u8], out: &mut Vec<u8>) {
    each_escape(
        input,
        out,
        |rest| memchr(b'&', rest),
        |from, out| {
            let (prefix, byte, digits) = match from {
                [_, b'#', b'x' | b'X', digits @ ..] => {
                    let (byte, count) = number(digits, 16);
                    (3, byte, count)
                }
                [_, b'#', digits @ ..] => {
                    let (byte, count) = number(digits, 10);
                    (2, byte, count)
                }
                _ => {
                    let name = from.get(1..).unwrap_or_default();
                    let length = name.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                    let known = ENTITIES.iter().find(|(known, _)| {
                        name.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known))
                    });
                    match known {
                        Some(&(_, byte)) => (1, byte, length),
                        None => return keep(from, 1 + length, out),
                    }
                }
            };
            if digits == 0 {
                return keep(from, prefix, out);
            }
            out.push(byte);
            let taken = prefix + digits;
            taken + usize::from(from.get(taken) == Some(&b';'))
        },
    );
}

/// The low byte of a number and the count of its digits. A number beyond 2^63 counts as the largest one
/// below.
fn number(digits: &[u8], radix: u8) -> (u8, usize) {
    let (mut value, mut count) = (0_i64, 0);
    for digit in digits.iter().map_while(|&digit| hex(digit)).take_while(|&digit| digit < radix) {
        let more = value.checked_mul(i64::from(radix)).and_then(|value| value.checked_add(i64::from(digit)));
        value = more.unwrap_or(i64::MAX);
        count += 1;
    }
    ((value & 0xff) as u8, count)
}

pub(super) fn sql_hex(input: &[u8], out: &mut Vec<u8>) {
    each_escape(
        input,
        out,
        |rest| memchr(b'0', rest),
        |from, out| {
            let [_, b'x' | b'X', digits @ ..] = from else { return keep(from, 1, out) };
            let before = out.len();
            out.extend(digits.chunks_exact(2).map_while(hex_pair));
            match out.len() - before {
                0 => keep(from, 1, out),
                bytes => 2 + 2 * bytes,
            }
        },
    );
}
