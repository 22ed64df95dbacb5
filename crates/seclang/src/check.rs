//! The operators of SecLang that look at one value and one argument: texts, numbers, addresses, encodings,
//! and numbers that people carry.
//!
//! Plain functions and the two sets they look up ([`AddressSet`], [`ByteSet`]); no expressions, no word
//! lists, no negation, no macros, no captures: those are the engine's. Results are those of libmodsecurity 3
//! where nothing else is said. Called by the engine for each target of a rule. Read next: [`address`] for
//! `ipMatch`.
//!
//! `unconditionalMatch` and `noMatch` need no function.

pub mod address;
pub(crate) mod blocklist;
pub(crate) mod fuzzy;
pub mod identity;
pub mod number;

use memchr::memmem;

pub use address::AddressSet;

use crate::transform::ByteSet;

/// `streq`: tells whether `value` is `argument`.
#[must_use]
pub fn is_equal(value: &[u8], argument: &[u8]) -> bool {
    value == argument
}

/// `beginsWith`.
#[must_use]
pub fn begins_with(value: &[u8], argument: &[u8]) -> bool {
    value.starts_with(argument)
}

/// `endsWith`.
#[must_use]
pub fn ends_with(value: &[u8], argument: &[u8]) -> bool {
    value.ends_with(argument)
}

/// `contains` and `strmatch`: tells whether `argument` occurs in `value`; the empty one occurs everywhere.
#[must_use]
pub fn contains(value: &[u8], argument: &[u8]) -> bool {
    memmem::find(value, argument).is_some()
}

/// `within`: tells whether `value` occurs in `argument`; the empty value always does.
#[must_use]
pub fn is_within(value: &[u8], argument: &[u8]) -> bool {
    memmem::find(argument, value).is_some()
}

/// `containsWord`: tells whether `argument` occurs in `value` with no ASCII letter before or behind it.
///
/// Digits and underscores end a word too. The empty argument occurs everywhere.
#[must_use]
pub fn contains_word(value: &[u8], argument: &[u8]) -> bool {
    if argument.is_empty() {
        return true;
    }
    let finder = memmem::Finder::new(argument);
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    let mut from = 0;
    while let Some(at) = value.get(from..).and_then(|rest| finder.find(rest)) {
        let at = from + at;
        let before = at.checked_sub(1).and_then(|before| value.get(before));
        if !is_letter(before) && !is_letter(value.get(at + argument.len())) {
            return true;
        }
        from = at + 1;
    }
    false
}

/// `validateByteRange`: tells whether `value` holds a byte that is not `allowed` (a match is a violation).
#[must_use]
pub fn violates_byte_range(value: &[u8], allowed: &ByteSet) -> bool {
    value.iter().any(|&byte| !allowed.has(byte))
}

/// `validateUtf8Encoding`: tells whether `value` is not UTF-8 (RFC 3629; a match is a violation).
///
/// Stricter than libmodsecurity 3 in one place: numbers beyond U+10FFFF (0xF4 0x90 and on) are a violation.
#[must_use]
pub fn violates_utf8(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_err()
}

/// `validateUrlEncoding`: tells whether a `%` in `value` is not followed by two digits (a match is a
/// violation).
#[must_use]
pub fn violates_url_encoding(value: &[u8]) -> bool {
    memchr::memchr_iter(b'%', value).any(|at| {
        !matches!(value.get(at + 1..at + 3), Some([high, low])
            if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

/// Why the argument of `validateByteRange` cannot be read; it names the part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RangeError {
    /// Not a number from 0 to 255.
    NotAByte(String),
    /// The first byte is greater than the last.
    Backwards(String),
}

impl std::fmt::Display for RangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RangeError::NotAByte(part) => write!(f, "`{part}` is not a byte; write numbers from 0 to 255"),
            RangeError::Backwards(part) => {
                write!(f, "`{part}` ends before it starts; write the lower byte first")
            }
        }
    }
}

impl std::error::Error for RangeError {}

/// Reads the argument of `validateByteRange`: bytes and ranges in decimal, as in `9,10,13,32-126`.
///
/// # Errors
///
/// [`RangeError`] for the first part that is neither. (libmodsecurity 3 ignores such parts.)
pub fn byte_ranges(argument: &str) -> Result<ByteSet, RangeError> {
    let mut set = ByteSet::EMPTY;
    for part in argument.split(',').map(str::trim) {
        let byte = |text: &str| text.trim().parse::<u8>().map_err(|_| RangeError::NotAByte(part.to_owned()));
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (byte(first)?, byte(last)?),
            None => (byte(part)?, byte(part)?),
        };
        if first > last {
            return Err(RangeError::Backwards(part.to_owned()));
        }
        set = set.with_range(first, last);
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_where_they_are() {
        assert!(begins_with(b"abc", b"ab") && !begins_with(b"abc", b"bc") && begins_with(b"a", b""));
        assert!(ends_with(b"abc", b"bc") && !ends_with(b"c", b"bc"));
        assert!(contains(b"a\0bc", b"\0b") && contains(b"", b"") && !contains(b"", b"a"));
        assert!(is_within(b"GET", b"GET POST") && is_within(b"", b"x") && !is_within(b"get", b"GET"));
        assert!(is_equal(b"a", b"a") && !is_equal(b"a", b"A"));
    }

    #[test]
    fn a_word_ends_where_letters_end() {
        for (value, word, expected) in [
            (&b"the cat"[..], &b"cat"[..], true),
            (b"concat", b"cat", false),
            (b"cats", b"cat", false),
            (b"cat", b"cat", true),
            (b"concat cat5", b"cat", true),
            (b"aaa a", b"aa", false),
            (b"\xffcat_", b"cat", true),
            (b"", b"cat", false),
            (b"", b"", true),
        ] {
            assert_eq!(contains_word(value, word), expected, "{}", value.escape_ascii());
        }
    }

    #[test]
    fn byte_ranges_are_read_whole_or_refused() {
        let set = byte_ranges("9,10,13,32-126, 128-255").unwrap();
        assert!(!violates_byte_range(b"a\tb\xff", &set));
        assert!(violates_byte_range(b"a\0", &set) && violates_byte_range(b"\x7f", &set));
        assert!(!violates_byte_range(b"", &ByteSet::EMPTY));
        assert_eq!(byte_ranges("1-255").unwrap().len(), 255);
        for (text, error) in [
            ("", RangeError::NotAByte(String::new())),
            ("1,256", RangeError::NotAByte("256".into())),
            ("a", RangeError::NotAByte("a".into())),
            ("1--3", RangeError::NotAByte("1--3".into())),
            ("9-8", RangeError::Backwards("9-8".into())),
        ] {
            assert_eq!(byte_ranges(text), Err(error), "{text}");
        }
    }

    #[test]
    fn broken_encodings_are_violations() {
        for broken in [
            &b"\xc0\xaf"[..],
            b"\xed\xa0\x80",
            b"\xf5\x80\x80\x80",
            b"\xe2\x82",
            b"\x80",
            b"\xf4\x90\x80\x80",
        ] {
            assert!(violates_utf8(broken), "{}", broken.escape_ascii());
        }
        assert!(!violates_utf8("a\u{7ff}\u{ffff}\u{10ffff}".as_bytes()) && !violates_utf8(b""));
        for broken in [&b"%"[..], b"%4", b"%4g", b"a%41%4", b"%%41"] {
            assert!(violates_url_encoding(broken), "{}", broken.escape_ascii());
        }
        assert!(!violates_url_encoding(b"%41%fF+") && !violates_url_encoding(b""));
    }
}
