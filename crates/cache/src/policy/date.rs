//! Dates of HTTP (RFC 9110 §5.6.7), read as leniently as a cache must (RFC 9111 §4.2) and written as one
//! form.
//!
//! No clock: the one reading that depends on the present takes it as an argument. Called by `freshness.rs`,
//! `conditional.rs` and whoever writes `Date`.

/// Seconds of a day.
const DAY_S: u64 = 86_400;

const MONTHS: [&[u8]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const LONG_DAYS: [&[u8]; 7] =
    [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];

/// Reads a date in any of the three forms: seconds since 1970, 0 for anything before.
///
/// Names of days, months and the zone are taken in any case, as RFC 9111 §4.2 asks of caches. Any zone but
/// GMT makes it invalid (`UTC` too: §4.2 dropped it when it took RFC 7234's place), and so do a missing zone,
/// one-digit hours and days, and an impossible day or time. Whether the day of the week fits is not looked
/// at. A year of two digits (RFC 850) is the one nearest below fifty years after `now_ms`, milliseconds since
/// 1970.
pub fn parse_date(value: &[u8], now_ms: u64) -> Option<u64> {
    let comma = memchr::memchr(b',', value);
    match comma {
        Some(3) => parse_fixed(value),
        Some(at) => parse_rfc850(value.get(..at)?, value.get(at + 1..)?, now_ms),
        None => parse_asctime(value),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_fixed(value: &[u8]) -> Option<u64> {
    let (head, zone) = value.split_at_checked(25)?;
    if !is_zone(zone) || !is_one_of(&DAYS, head.get(..3)?) {
        return None;
    }
    let rest = head.get(3..)?;
    if rest.get(..2)? != b", " || rest.get(4) != Some(&b' ') || rest.get(8) != Some(&b' ') {
        return None;
    }
    if rest.get(13) != Some(&b' ') {
        return None;
    }
    let day = digits(rest.get(2..4)?)?;
    let month = month(rest.get(5..8)?)?;
    let year = digits(rest.get(9..13)?)?;
    seconds(year, month, day, time(rest.get(14..22)?)?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`.
fn parse_rfc850(weekday: &[u8], rest: &[u8], now_ms: u64) -> Option<u64> {
    let (head, zone) = rest.split_at_checked(19)?;
    if !is_zone(zone) || !is_one_of(&LONG_DAYS, weekday) {
        return None;
    }
    let marks = [(0, b' '), (3, b'-'), (7, b'-'), (10, b' ')];
    if marks.iter().any(|(at, mark)| head.get(*at) != Some(mark)) {
        return None;
    }
    let day = digits(head.get(1..3)?)?;
    let month = month(head.get(4..7)?)?;
    let two = digits(head.get(8..10)?)?;
    let this_year = year_of(now_ms / 1000 / DAY_S);
    // "more than 50 years in the future" is the past with the same two digits (RFC 9110 §5.6.7).
    let mut year = this_year - this_year % 100 + two + 100;
    while year > this_year + 50 {
        year -= 100;
    }
    seconds(year, month, day, time(head.get(11..19)?)?)
}

/// `Sun Nov  6 08:49:37 1994`.
fn parse_asctime(value: &[u8]) -> Option<u64> {
    if value.len() != 24 || !is_one_of(&DAYS, value.get(..3)?) {
        return None;
    }
    if [3, 7, 10, 19].iter().any(|at| value.get(*at) != Some(&b' ')) {
        return None;
    }
    let day = match value.get(8..10)? {
        [b' ', digit] => digits(std::slice::from_ref(digit))?,
        two => digits(two)?,
    };
    seconds(digits(value.get(20..24)?)?, month(value.get(4..7)?)?, day, time(value.get(11..19)?)?)
}

fn is_zone(zone: &[u8]) -> bool {
    zone.eq_ignore_ascii_case(b" GMT")
}

fn is_one_of(names: &[&[u8]], word: &[u8]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case(word))
}

fn month(word: &[u8]) -> Option<u64> {
    let at = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(word))?;
    Some(at as u64 + 1)
}

fn digits(text: &[u8]) -> Option<u64> {
    let mut number = 0;
    for byte in text {
        number = number * 10 + u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
    }
    Some(number)
}

/// `08:49:37` in seconds; the leap second 60 is taken.
fn time(text: &[u8]) -> Option<u64> {
    if text.get(2) != Some(&b':') || text.get(5) != Some(&b':') {
        return None;
    }
    let (hour, minute, second) =
        (digits(text.get(..2)?)?, digits(text.get(3..5)?)?, digits(text.get(6..8)?)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn month_days(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970 to the first of March of a year's cycle: the method of "civil from days", whose years
/// begin in March so that the leap day is the last.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let shifted = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era_day = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    (era * 146_097 + of_era_day).checked_sub(719_468)
}

fn seconds(year: u64, month: u64, day: u64, time_s: u64) -> Option<u64> {
    if day == 0 || day > month_days(year, month) {
        return None;
    }
    Some(days_since_1970(year, month, day).map_or(0, |days| days * DAY_S + time_s))
}

/// Year, month, day of a number of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn year_of(days: u64) -> u64 {
    civil(days).0
}

/// The form that is written: `Sun, 06 Nov 1994 08:49:37 GMT`, always 29 bytes.
///
/// `seconds` since 1970; anything after the year 9999 is written as its last second.
pub fn format_date(seconds: u64) -> [u8; 29] {
    let seconds = seconds.min(253_402_300_799);
    let (days, rest) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, day) = civil(days);
    let mut out = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    let two = |number: u64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    // 1 January 1970 was a Thursday.
    put(0, DAYS.get((days + 3) as usize % 7).copied().unwrap_or_default());
    put(5, &two(day));
    put(8, MONTHS.get(month as usize - 1).copied().unwrap_or_default());
    put(12, &two(year / 100));
    put(14, &two(year % 100));
    put(17, &two(rest / 3600));
    put(20, &two(rest / 60 % 60));
    put(23, &two(rest % 60));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_764_000_000_000; // November 2025

    fn parse(text: &str) -> Option<u64> {
        parse_date(text.as_bytes(), NOW_MS)
    }

    #[test]
    fn reads_the_three_forms() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn takes_names_in_any_case() {
        for text in ["sun, 06 nov 1994 08:49:37 gmt", "SUN, 06 NOV 1994 08:49:37 GMT"] {
            assert_eq!(parse(text), Some(784_111_777), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_almost_a_date() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 AEST",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sunday, 06-Nov-94 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn two_digit_years_lie_at_most_fifty_years_ahead() {
        assert_eq!(parse("Sunday, 06-Nov-75 00:00:00 GMT").map(|s| year_of(s / DAY_S)), Some(2075));
        assert_eq!(parse("Sunday, 06-Nov-76 00:00:00 GMT").map(|s| year_of(s / DAY_S)), Some(1976));
        assert_eq!(parse("Sunday, 06-Nov-26 00:00:00 GMT").map(|s| year_of(s / DAY_S)), Some(2026));
    }

    #[test]
    fn dates_before_1970_are_its_beginning() {
        assert_eq!(parse("Sun, 06 Nov 1904 08:49:37 GMT"), Some(0));
        assert_eq!(parse("Sun, 06 Nov 0000 08:49:37 GMT"), Some(0));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0u64..253_402_300_800) {
            prop_assert_eq!(parse_date(&format_date(seconds), NOW_MS), Some(seconds));
        }

        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..40), now in any::<u64>()) {
            let _ = parse_date(&bytes, now);
        }
    }
}
