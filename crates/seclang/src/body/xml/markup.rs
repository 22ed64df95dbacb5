//! What stands inside a tag of XML: names, attributes, references.
//!
//! Pure functions on a tag that is complete. Called by the reader.

use super::XmlProblem;
use crate::transform::is_space;

/// Tells whether a byte may start a name; beyond ASCII any may.
pub(super) const fn is_name_start(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'_' | b':' | 0x80..)
}

/// Tells whether a text is a name.
pub(super) fn is_name(text: &[u8]) -> bool {
    let may_follow = |byte: u8| is_name_start(byte) || matches!(byte, b'0'..=b'9' | b'-' | b'.');
    matches!(text, [first, rest @ ..] if is_name_start(*first) && rest.iter().all(|&byte| may_follow(byte)))
}

/// Splits a tag behind its name.
pub(super) fn split_name(tag: &[u8]) -> (&[u8], &[u8]) {
    let end = tag.iter().position(|&byte| is_space(byte)).unwrap_or(tag.len());
    tag.split_at(end)
}

/// One attribute: its name, its value as written, and what is behind it.
type Attribute<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The attribute that `rest` starts with, after whitespace; `None` where the tag ends.
pub(super) fn attribute(rest: &[u8]) -> Result<Option<Attribute<'_>>, XmlProblem> {
    let text = rest.trim_ascii_start();
    if text.is_empty() {
        return Ok(None);
    }
    let end = text.iter().position(|&byte| byte == b'=' || is_space(byte)).ok_or(XmlProblem::Tag)?;
    let (name, behind) = text.split_at(end);
    let value = behind.trim_ascii_start().strip_prefix(b"=").ok_or(XmlProblem::Tag)?.trim_ascii_start();
    let (&quote, value) = value.split_first().ok_or(XmlProblem::Tag)?;
    let close = memchr::memchr(quote, value).ok_or(XmlProblem::Tag)?;
    // Attributes are divided by whitespace.
    let is_divided = text.len() < rest.len();
    if !matches!(quote, b'"' | b'\'') || !is_name(name) || !is_divided {
        return Err(XmlProblem::Tag);
    }
    let (value, behind) = value.split_at(close);
    Ok(Some((name, value, behind.get(1..).unwrap_or_default())))
}

/// Writes an attribute's value into `out`: references resolved, whitespace to spaces (XML 1.0 §3.3.3).
pub(super) fn value(written: &[u8], out: &mut Vec<u8>) -> Result<(), XmlProblem> {
    out.clear();
    let mut rest = written;
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'&' => {
                let end = memchr::memchr(b';', behind).ok_or(XmlProblem::Entity)?;
                let (reference, behind) = behind.split_at(end);
                let character = resolve(reference).ok_or(XmlProblem::Entity)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind.get(1..).unwrap_or_default();
            }
            b'\t' | b'\n' => out.push(b' '),
            _ => out.push(byte),
        }
    }
    Ok(())
}

/// The character that `&reference;` stands for: one of XML's five entities, or a number (XML 1.0
/// §4.1, §4.6).
pub(super) fn resolve(reference: &[u8]) -> Option<char> {
    let number = match reference {
        b"lt" => return Some('<'),
        b"gt" => return Some('>'),
        b"amp" => return Some('&'),
        b"quot" => return Some('"'),
        b"apos" => return Some('\''),
        [b'#', b'x', digits @ ..] => number(digits, 16)?,
        [b'#', digits @ ..] => number(digits, 10)?,
        _ => return None,
    };
    let is_allowed = matches!(number, 0x9 | 0xa | 0xd | 0x20..=0xfffd | 0x1_0000..);
    char::from_u32(number).filter(|_| is_allowed)
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |number, &digit| {
        number.checked_mul(radix)?.checked_add(char::from(digit).to_digit(radix)?)
    })
}
