//! `detectXSS`: HTML that runs scripts.
//!
//! A value is read as HTML 5 in five contexts: in text, in a tag, and in an attribute's value in each kind of
//! quotes. It is an attack if that makes a tag that loads or runs something, an attribute that handles events
//! or styles, a URL that runs, or a comment that old browsers run.
//!
//! Difference from libinjection: the byte 0xFF before a value or a name does not end the reading.
//!
//! Called by the engine. Read next: [`detect`], then `html`.

mod html;
mod names;
#[cfg(test)]
mod tests;

use memchr::memchr;

use html::{Context, Html, Kind, Piece};
use names::Attribute;

/// `detectXSS`: tells whether `value` would run a script somewhere in a page.
#[must_use]
pub fn detect(value: &[u8]) -> bool {
    // Without a tag there is no attribute, and without `=` no attribute has a value.
    if memchr::memchr2(b'<', b'=', value).is_none() {
        return false;
    }
    let contexts =
        [Context::Text, Context::Tag, Context::Value(b'\''), Context::Value(b'"'), Context::Value(b'`')];
    contexts.into_iter().any(|context| runs_in(value, context))
}

/// Tells whether a value runs a script in one context.
fn runs_in(value: &[u8], context: Context) -> bool {
    let mut html = Html::new(value, context);
    let mut attribute = None;
    while let Some(Piece { kind, text }) = html.next() {
        match kind {
            Kind::Doctype => return true,
            Kind::TagName if names::is_tag_dangerous(text) => return true,
            Kind::AttributeName => {
                attribute = names::attribute(text);
                continue;
            }
            Kind::AttributeValue => {
                let runs = match attribute {
                    None => false,
                    Some(Attribute::Dangerous | Attribute::Style) => true,
                    Some(Attribute::Url) => is_url_dangerous(text),
                    Some(Attribute::Name) => names::attribute(text).is_some(),
                };
                if runs {
                    return true;
                }
            }
            Kind::Comment if is_comment_run(text) => return true,
            _ => {}
        }
        attribute = None;
    }
    false
}

/// Comments that Internet Explorer runs or ends early.
fn is_comment_run(text: &[u8]) -> bool {
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    memchr(b'`', text).is_some()
        || text.len() > 3 && (starts(b"[if") || starts(b"xml"))
        || text.len() > 5 && {
            let start = text.get(..6).unwrap_or_default();
            names::is_ignoring_nulls(b"IMPORT", start) || names::is_ignoring_nulls(b"ENTITY", start)
        }
}

/// URLs that run: `javascript:` and `java…` at large, `data:`, `vbscript:`, `view-source:`.
fn is_url_dangerous(url: &[u8]) -> bool {
    let start = url.iter().position(|byte| matches!(byte, 33..=126)).unwrap_or(url.len());
    let url = url.get(start..).unwrap_or_default();
    [&b"DATA"[..], b"VIEW-SOURCE", b"JAVA", b"VBSCRIPT"].iter().any(|scheme| decodes_to(url, scheme))
}

/// Tells whether `text`, its numeric entities decoded and blanks, controls and NULs left out as browsers do,
/// starts with `upper`.
fn decodes_to(text: &[u8], upper: &[u8]) -> bool {
    let (mut rest, mut expected, mut is_first) = (text, upper.iter(), true);
    let mut next = expected.next();
    while let Some(wanted) = next {
        let Some((character, length)) = decoded(rest) else { return false };
        rest = rest.get(length..).unwrap_or_default();
        if is_first && character <= 32 {
            continue;
        }
        is_first = false;
        if character == 0 || character == 10 {
            continue;
        }
        // Only the low byte of a character is compared, after a small letter was made a capital.
        let upper = if matches!(character, 0x61..=0x7a) { character - 0x20 } else { character };
        if (upper & 0xff) as u8 != *wanted {
            return false;
        }
        next = expected.next();
    }
    true
}

/// Characters above this are no entity.
const CHARACTER_MAX: u32 = 0x10_00ff;

/// The first character of `text`, and how many bytes it has as written; named entities are not resolved.
fn decoded(text: &[u8]) -> Option<(u32, usize)> {
    let first = u32::from(*text.first()?);
    let plain = Some((first, 1));
    let (radix, start) = match text {
        [b'&', b'#', b'x' | b'X', ..] => (16, 3),
        [b'&', b'#', ..] => (10, 2),
        _ => return plain,
    };
    let (mut number, mut at) = (None, start);
    while let Some(digit) = text.get(at).and_then(|&byte| char::from(byte).to_digit(radix)) {
        let more = number.unwrap_or(0) * radix + digit;
        if more > CHARACTER_MAX {
            return plain;
        }
        number = Some(more);
        at += 1;
    }
    let Some(number) = number else { return plain };
    Some((number, at + usize::from(text.get(at) == Some(&b';'))))
}
