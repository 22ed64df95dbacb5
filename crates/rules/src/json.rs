//! Looks one value up in a JSON document, without building it.
//!
//! One walk over the bytes for each step of the path, no recursion, nesting bounded. Of a key that is there
//! twice the last counts, as for nearly all readers of JSON behind us. What is not JSON up to where it is
//! read has no values. Called by `eval/call.rs`.

use crate::limits::JSON_DEPTH_MAX;

/// One step of a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    Key(&'a [u8]),
    At(usize),
}

/// The bytes of the value one step below `value`.
pub(crate) fn step_into<'v>(value: &'v [u8], step: Step<'_>) -> Option<&'v [u8]> {
    let mut reader = Reader { bytes: value, at: 0 };
    reader.blank();
    match step {
        Step::Key(wanted) => {
            reader.expect(b'{')?;
            let mut found = None;
            reader.blank();
            if reader.peek() == Some(b'}') {
                return None;
            }
            loop {
                reader.blank();
                let key = reader.string()?;
                reader.blank();
                reader.expect(b':')?;
                let member = reader.value()?;
                if is_key(key, wanted) {
                    found = Some(member);
                }
                reader.blank();
                match reader.next()? {
                    b',' => {}
                    b'}' => return found,
                    _ => return None,
                }
            }
        }
        Step::At(wanted) => {
            reader.expect(b'[')?;
            reader.blank();
            if reader.peek() == Some(b']') {
                return None;
            }
            let mut place = 0;
            loop {
                let item = reader.value()?;
                if place == wanted {
                    return Some(item);
                }
                place += 1;
                reader.blank();
                if reader.next()? != b',' {
                    return None;
                }
            }
        }
    }
}

/// A plain integer: no point, no exponent.
pub(crate) fn integer(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_plain =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.len() == 1 || !digits.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

/// The content of a string, escapes decoded; false when the value is no string.
pub(crate) fn string(value: &[u8], out: &mut Vec<u8>) -> bool {
    let mut reader = Reader { bytes: value, at: 0 };
    reader.blank();
    let Some(content) = reader.string() else { return false };
    unescape(content, out).is_some()
}

fn is_key(raw: &[u8], wanted: &[u8]) -> bool {
    if memchr::memchr(b'\\', raw).is_none() {
        return raw == wanted;
    }
    let mut key = Vec::with_capacity(raw.len());
    unescape(raw, &mut key).is_some() && key == wanted
}

/// RFC 8259 §7. Halves of a surrogate pair that stand alone become U+FFFD.
fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        match escape {
            b'"' | b'\\' | b'/' => out.push(*escape),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let high = code(rest)?;
                rest = rest.get(4..)?;
                let low =
                    rest.strip_prefix(b"\\u").and_then(code).filter(|low| (0xdc00..0xe000).contains(low));
                let character = match (high, low) {
                    (0xd800..0xdc00, Some(low)) => {
                        rest = rest.get(6..)?;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00))
                    }
                    _ => char::from_u32(high),
                };
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
    }
    Some(())
}

fn code(digits: &[u8]) -> Option<u32> {
    let digits = digits.get(..4)?;
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | u32::from(crate::encoding::hex_digit(*digit)?)))
}

struct Reader<'v> {
    bytes: &'v [u8],
    at: usize,
}

impl<'v> Reader<'v> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The raw content of a string.
    fn string(&mut self) -> Option<&'v [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.next()? {
                b'"' => return self.bytes.get(start..self.at - 1),
                b'\\' => {
                    self.next()?;
                }
                0..=0x1f => return None,
                _ => {}
            }
        }
    }

    /// Passes over a value, and gives it.
    fn value(&mut self) -> Option<&'v [u8]> {
        self.blank();
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            self.blank();
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    if depth > JSON_DEPTH_MAX {
                        return None;
                    }
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                    let part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                    while self.peek().is_some_and(part) {
                        self.at += 1;
                    }
                }
                _ => return None,
            }
            if depth == 0 {
                return self.bytes.get(start..self.at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'v>(document: &'v str, path: &[Step<'_>]) -> Option<&'v str> {
        let found = path.iter().try_fold(document.as_bytes(), |value, step| step_into(value, *step))?;
        std::str::from_utf8(found).ok()
    }

    #[test]
    fn finds_by_keys_and_places() {
        let nested = r#"{ "network": { "name": "x" }, "ids": [1, {"a": -234}] }"#;
        assert_eq!(find(nested, &[Step::Key(b"network"), Step::Key(b"name")]), Some("\"x\""));
        assert_eq!(find(nested, &[Step::Key(b"ids"), Step::At(1), Step::Key(b"a")]), Some("-234"));
        assert_eq!(find(nested, &[Step::Key(b"ids"), Step::At(2)]), None);
        assert_eq!(find(nested, &[Step::Key(b"none")]), None);
        assert_eq!(find(nested, &[Step::At(0)]), None);
    }

    #[test]
    fn the_last_of_two_equal_keys_counts() {
        assert_eq!(find(r#"{"a":1,"a":2}"#, &[Step::Key(b"a")]), Some("2"));
        assert_eq!(find(r#"{"\u0061":3}"#, &[Step::Key(b"a")]), Some("3"));
    }

    #[test]
    fn integers_are_plain_and_strings_decoded() {
        assert_eq!([integer(b"42"), integer(b" -7 "), integer(b"0")], [Some(42), Some(-7), Some(0)]);
        assert_eq!(
            [integer(b"42.0"), integer(b"1e3"), integer(b"01"), integer(b"-"), integer(b"")],
            [None; 5]
        );
        let mut out = Vec::new();
        assert!(string(br#""a\n\u00e9\ud83d\ude22\ud83d""#, &mut out));
        assert_eq!(String::from_utf8(out).unwrap(), "a\n\u{e9}\u{1f622}\u{fffd}");
        assert!(!string(b"12", &mut Vec::new()));
    }

    #[test]
    fn hostile_documents_have_no_values() {
        let deep = "[".repeat(100_000);
        for wrong in
            [deep.as_str(), "{", "{\"a\"", "{\"a\":", "{\"a\":}", "[1,", "\u{0}", "{\"a\":[}", "{a:1}", ""]
        {
            assert_eq!(find(wrong, &[Step::Key(b"a")]), None);
            assert_eq!(find(wrong, &[Step::At(5)]), None);
        }
    }
}
