//! Numbers as C reads them: `eq`, `ge`, `gt`, `le`, `lt`.
//!
//! A value that is no number counts as 0, and one that starts with a number as that; rules rely on it. Called
//! by the engine, which may read an argument without macros once.

/// What `atoll` makes of a text: whitespace, a sign, digits; the rest does not count. Beyond 64 bits it
/// saturates.
#[must_use]
pub fn integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    // `isspace` counts the vertical tab too.
    let text = match text {
        [0x0b, ..] => {
            let start = text.iter().position(|&byte| !crate::transform::is_space(byte)).unwrap_or(text.len());
            text.get(start..).unwrap_or_default()
        }
        _ => text,
    };
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let digits = digits.iter().map_while(|digit| digit.is_ascii_digit().then(|| i64::from(digit - b'0')));
    digits.fold(0_i64, |number, digit| {
        let number = number.saturating_mul(10);
        if is_negative { number.saturating_sub(digit) } else { number.saturating_add(digit) }
    })
}

/// What `eq` compares: [`integer`], and 0 for what 32 bits do not hold.
#[must_use]
pub fn integer_32(text: &[u8]) -> i32 {
    i32::try_from(integer(text)).unwrap_or(0)
}

/// `eq`.
#[must_use]
pub fn is_equal(value: &[u8], argument: &[u8]) -> bool {
    integer_32(value) == integer_32(argument)
}

/// `ge`.
#[must_use]
pub fn is_at_least(value: &[u8], argument: &[u8]) -> bool {
    integer(value) >= integer(argument)
}

/// `gt`.
#[must_use]
pub fn is_greater(value: &[u8], argument: &[u8]) -> bool {
    integer(value) > integer(argument)
}

/// `le`.
#[must_use]
pub fn is_at_most(value: &[u8], argument: &[u8]) -> bool {
    integer(value) <= integer(argument)
}

/// `lt`.
#[must_use]
pub fn is_less(value: &[u8], argument: &[u8]) -> bool {
    integer(value) < integer(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, number) in [
            (&b""[..], 0),
            (b"12", 12),
            (b" \t\x0b\n+12abc", 12),
            (b"\x0b 7", 7),
            (b"-5", -5),
            (b"--5", 0),
            (b"abc", 0),
            (b"1\x002", 1),
            (b"99999999999999999999", i64::MAX),
            (b"-99999999999999999999", i64::MIN),
            (b"-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(integer(text), number, "{}", text.escape_ascii());
        }
        assert_eq!(integer_32(b"2147483647"), i32::MAX);
        assert_eq!(integer_32(b"2147483648"), 0);
    }

    #[test]
    fn comparisons_say_what_their_names_say() {
        assert!(is_equal(b"1", b"1 ") && is_equal(b"x", b"") && !is_equal(b"1", b"2"));
        assert!(is_at_least(b"2", b"2") && !is_at_least(b"1", b"2"));
        assert!(is_greater(b"10", b"9") && !is_greater(b"9", b"9"));
        assert!(is_at_most(b"9", b"9") && !is_at_most(b"10", b"9"));
        assert!(is_less(b"-1", b"0") && !is_less(b"0", b"0"));
    }
}
