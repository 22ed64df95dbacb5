//! Turns a time in microseconds since 1970 into RFC 3339 text, without the formatting machinery.
//!
//! Does not read the clock and knows only UTC. Called by [`crate::access`] and [`crate::events`], each
//! of which keeps one [`TimeText`] per writer. Read next: [`crate::access::Record::write_json`].

/// Length of the text: `2026-11-22T13:45:54.000001Z`.
pub const TIME_TEXT_BYTES: usize = 27;

/// The last microsecond that four digits of a year can say: 9999-12-31T23:59:59.999999Z.
const LAST_MICROSECOND: u64 = 253_402_300_799_999_999;

/// Writes times as RFC 3339 text and remembers the text of the last second, since a busy thread writes
/// thousands of lines within one.
#[derive(Debug, Clone)]
pub struct TimeText {
    second: u64,
    text: [u8; TIME_TEXT_BYTES],
}

impl Default for TimeText {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeText {
    /// Starts at the epoch.
    pub fn new() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }

    /// Gives the text of a time in microseconds since 1970-01-01T00:00:00Z, 27 bytes of ASCII.
    ///
    /// Times after the year 9999 read as its last microsecond, since RFC 3339 has four digits for a year.
    pub fn text(&mut self, unix_us: u64) -> &[u8; TIME_TEXT_BYTES] {
        let unix_us = unix_us.min(LAST_MICROSECOND);
        let second = unix_us / 1_000_000;
        if second != self.second {
            self.second = second;
            self.write_second(second);
        }
        write_digits(&mut self.text[20..26], unix_us % 1_000_000);
        &self.text
    }

    fn write_second(&mut self, second: u64) {
        let (year, month, day) = civil_date(second / 86_400);
        let of_day = second % 86_400;
        write_digits(&mut self.text[0..4], year);
        write_digits(&mut self.text[5..7], month);
        write_digits(&mut self.text[8..10], day);
        write_digits(&mut self.text[11..13], of_day / 3_600);
        write_digits(&mut self.text[14..16], of_day / 60 % 60);
        write_digits(&mut self.text[17..19], of_day % 60);
    }
}

/// Writes a number right-aligned with leading zeros; digits that do not fit are cut off at the left.
fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Gives year, month (1 to 12) and day (1 to 31) of a day counted from 1970-01-01, by the Gregorian calendar.
///
/// Counting starts at 1 March of the year 0, so that the leap day is the last day of a year: then a year's
/// length never moves the months before it, and month lengths from March on repeat as 153 days per 5 months.
fn civil_date(unix_day: u64) -> (u64, u64, u64) {
    const DAYS_TO_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097; // 400 years
    let day = unix_day + DAYS_TO_1970;
    let (era, of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    // Take out the leap days met so far (every 4 years, not every 100, the last of 400), then divide evenly.
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_us: u64) -> String {
        String::from_utf8(TimeText::new().text(unix_us).to_vec()).unwrap()
    }

    #[test]
    fn writes_known_times() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(951_782_399_999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(text(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(text(4_107_542_400_000_000), "2100-03-01T00:00:00.000000Z");
        assert_eq!(text(1_795_355_154_120_003), "2026-11-22T13:45:54.120003Z");
    }

    #[test]
    fn stays_within_four_digits_of_a_year() {
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn remembering_the_second_changes_nothing() {
        let mut time = TimeText::new();
        for unix_us in [5_000_000, 5_999_999, 6_000_000, 5_000_001, 86_400_000_000, 5_000_001] {
            assert_eq!(time.text(unix_us), TimeText::new().text(unix_us));
        }
    }

    #[test]
    fn every_day_follows_the_day_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for unix_day in 0..200_000 {
            assert_eq!(civil_date(unix_day), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
