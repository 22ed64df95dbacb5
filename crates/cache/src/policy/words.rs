//! The small grammar that fields about caching share: lists that know quotes, tokens, seconds.
//!
//! Private to the policy. It reads bytes that `http1` found free of CR, LF and NUL, but relies on none of
//! that.

use exchange::Fields;

/// What an absurdly large number of seconds counts as (RFC 9111 §1.2.2): 2^31.
pub(crate) const SECONDS_MAX: u32 = 1 << 31;

/// All values of a name, in order, whatever the name's case.
pub(crate) fn lines<'a>(fields: &'a Fields, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

/// Bytes of a token (RFC 9110 §5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether `word` is a token of at least one byte.
pub(crate) fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| is_token_byte(*byte))
}

/// `value` without SP and HTAB at its ends.
pub(crate) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

/// The members of a comma-separated list without quotes, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub(crate) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// The members of a comma-separated list whose commas within `"…"` do not separate.
///
/// A quote that never ends holds nothing together: from it on, commas separate again, so that nobody hides
/// a `no-store` behind a stray quote. [`Members::is_broken`] then tells.
pub(crate) struct Members<'a> {
    rest: &'a [u8],
    is_broken: bool,
}

impl<'a> Members<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Self {
        Self { rest: value, is_broken: false }
    }

    /// Whether a quote did not end, in what was read so far.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Where the member at the start of `rest` ends.
    fn member_end(&mut self) -> usize {
        let (mut at, mut quote_is_open, mut first_quote) = (0, false, 0);
        while let Some(byte) = self.rest.get(at) {
            match byte {
                b'\\' if quote_is_open => at += 1,
                b'"' if !self.is_broken => {
                    first_quote = at;
                    quote_is_open = !quote_is_open;
                }
                b',' if !quote_is_open => return at,
                _ => {}
            }
            at += 1;
        }
        if quote_is_open {
            self.is_broken = true;
            let from = self.rest.get(first_quote..).unwrap_or_default();
            return first_quote + memchr::memchr(b',', from).unwrap_or(from.len());
        }
        self.rest.len()
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = self.member_end();
            let member = trim(self.rest.get(..end).unwrap_or_default());
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

/// What stands within `"…"`, if `word` is one quoted string and nothing else. Escapes stay as they are.
pub(crate) fn unquoted(word: &[u8]) -> Option<&[u8]> {
    let inner = word.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => {
                bytes.next()?;
            }
            _ => {}
        }
    }
    Some(inner)
}

/// `delta-seconds` (RFC 9111 §1.2.2): digits only; too large a number is 2^31.
pub(crate) fn seconds(text: &[u8]) -> Option<u32> {
    number(text).map(|number| number.min(u64::from(SECONDS_MAX)) as u32)
}

/// Digits only, at least one; too large a number is the largest.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.saturating_mul(10).saturating_add(u64::from(digit));
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(value: &str) -> Vec<String> {
        Members::of(value.as_bytes()).map(|m| String::from_utf8_lossy(m).into_owned()).collect()
    }

    #[test]
    fn commas_in_quotes_do_not_separate() {
        assert_eq!(list(r#"a, b="c, d" ,,e="\",", f"#), ["a", r#"b="c, d""#, r#"e="\",""#, "f"]);
    }

    #[test]
    fn an_open_quote_hides_nothing() {
        assert_eq!(list(r#"a="b, no-store"#), [r#"a="b"#, "no-store"]);
        assert_eq!(list(r#"x="1", a="b, "no-store"#), [r#"x="1""#, r#"a="b, "no-store"#]);
        let mut members = Members::of(b"a=\"b, c");
        while members.next().is_some() {}
        assert!(members.is_broken());
    }

    #[test]
    fn seconds_are_digits_and_bounded() {
        assert_eq!(seconds(b"0060"), Some(60));
        assert_eq!(seconds(b"99999999999999999999999"), Some(SECONDS_MAX));
        for text in [&b""[..], b"-1", b"+1", b"1.0", b"1s", b" 1", b"a1"] {
            assert_eq!(seconds(text), None);
        }
    }

    #[test]
    fn a_quoted_string_is_whole() {
        assert_eq!(unquoted(b"\"a\\\"b\""), Some(&b"a\\\"b"[..]));
        for word in [&b"\""[..], b"\"a", b"\"a\"b\"", b"'a'", b"\"a\\\""] {
            assert_eq!(unquoted(word), None);
        }
    }
}
