//! Where in a file a byte of a TOML string's value stands.
//!
//! An expression inside a string has places of its own, and a person looks for them in the file. The string
//! was read by `toml` before, so its form is right; bytes that are not are counted one by one.

/// The offset, from the opening quote at the start of `raw`, of the byte `at` of the string's value.
pub(super) fn inside(raw: &[u8], at: usize) -> usize {
    let Some(quote) = raw.first().copied().filter(|byte| matches!(byte, b'"' | b'\'')) else { return 0 };
    let is_long = raw.starts_with(&[quote; 3]);
    let mut place = if is_long { 3 } else { 1 };
    if is_long {
        // A line break right behind the quotes is not part of the value (TOML 1.0, multi-line strings).
        place += match raw.get(place..) {
            Some([b'\r', b'\n', ..]) => 2,
            Some([b'\n', ..]) => 1,
            _ => 0,
        };
    }
    let mut passed = 0;
    loop {
        let Some(rest) = raw.get(place..).filter(|rest| !rest.is_empty()) else { return place };
        let (written, meant) = match rest {
            [b'\\', ..] if quote == b'"' => escaped(rest),
            _ => (1, 1),
        };
        if passed + meant > at {
            return place;
        }
        passed += meant;
        place += written;
    }
}

/// How many bytes an escape is written with, and how many bytes of the value it means.
fn escaped(rest: &[u8]) -> (usize, usize) {
    let character = |digits: usize| {
        let text = rest.get(2..2 + digits).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = text.and_then(|text| u32::from_str_radix(text, 16).ok()).and_then(char::from_u32);
        (2 + digits, code.map_or(1, char::len_utf8))
    };
    match rest.get(1) {
        Some(b'x') => character(2),
        Some(b'u') => character(4),
        Some(b'U') => character(8),
        Some(b' ' | b'\t' | b'\r' | b'\n') => {
            let blank = rest.iter().skip(1).take_while(|byte| byte.is_ascii_whitespace()).count();
            (1 + blank, 0)
        }
        _ => (2, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_file_whatever_the_string_is_written_in() {
        for (raw, at, expected) in [
            ("'abc'", 0, 1),
            ("'abc'", 2, 3),
            ("'a\\b'", 2, 3),
            ("\"abc\"", 2, 3),
            (r#""a\"b""#, 1, 2),
            (r#""a\"b""#, 2, 4),
            (r#""\u00e9x""#, 2, 7),
            (r#""\U0001F600x""#, 4, 11),
            (r#""\x41x""#, 1, 5),
            ("'''\nabc'''", 0, 4),
            ("'''\r\nabc'''", 1, 6),
            ("'''abc'''", 1, 4),
            ("\"\"\"\na\nb\"\"\"", 2, 6),
            ("\"\"\"a \\\n   b\"\"\"", 2, 10),
            ("true", 3, 0),
            ("'ab", 9, 3),
            ("", 1, 0),
        ] {
            assert_eq!(inside(raw.as_bytes(), at), expected, "{raw} {at}");
        }
    }
}
