//! The one place of the data plane that reads the clock; everything else takes `now` as an argument.
//!
//! Three times are told apart. What lasts is measured by the monotonic [`Clock`], which nobody can set. What
//! is compared with somebody else's clock (a `Date`, a certificate, a log) is the calendar's, [`unix_us`],
//! which may step or stand still. What is kept over restarts with a time beside it, and would all be old at
//! once if that time stepped, is measured by [`Steady`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds, monotonic since the clock was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the wiring's clock: all other code is given `now`")]
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Microseconds since the clock was made.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the clock was made.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }

    /// Seconds since the clock was made.
    pub(crate) fn now_s(&self) -> u64 {
        self.now_us() / 1_000_000
    }

    /// What the calendar is ahead of this clock, in microseconds, at this moment.
    pub(crate) fn unix_offset_us(&self) -> u64 {
        unix_us().saturating_sub(self.now_us())
    }
}

/// Reads the calendar: microseconds since 1970 in UTC; 0 on a machine whose clock stands before that.
#[expect(clippy::disallowed_methods, reason = "the wiring's clock: all other code is given `now`")]
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let unix_us = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
    #[cfg(feature = "fault-injection")]
    let unix_us = crate::fault_points::calendar(unix_us);
    unix_us
}

/// How much of the time that passes the steady time may be set by: one part in twenty. An hour is made up for
/// in twenty, and no answer ages by more than 5 % too fast or too slowly meanwhile.
const FOLLOWS_ONE_IN: u64 = 20;

/// A calendar that is further away is followed at once: it is no step of a clock that went, but a clock that
/// had not been set (a machine without a battery begins in 1970), and what is kept has to have a true time.
const FOLLOWED_AT_ONCE_US: u64 = 86_400 * 1_000_000;

/// Time since 1970 that never steps by less than a day: it begins as the calendar and follows it slowly.
///
/// Stored answers are dated by it, so that a clock which is set an hour ahead does not make all of them old
/// at once, and one which is set back does not keep them for longer. What is approximated: that the calendar
/// was about right when the process began.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Clock,
    /// What it is ahead of the monotonic clock, in microseconds.
    ahead_us: AtomicU64,
    /// When it last followed the calendar, by the monotonic clock.
    followed_us: AtomicU64,
}

impl Steady {
    pub(crate) fn start(clock: Clock) -> Self {
        let (ahead_us, followed_us) = (clock.unix_offset_us(), clock.now_us());
        Self { clock, ahead_us: ahead_us.into(), followed_us: followed_us.into() }
    }

    /// Microseconds since 1970, by it.
    pub(crate) fn unix_us(&self) -> u64 {
        self.ahead_us().saturating_add(self.clock.now_us())
    }

    /// What it is ahead of the monotonic clock, in microseconds.
    pub(crate) fn ahead_us(&self) -> u64 {
        self.ahead_us.load(Ordering::Relaxed)
    }

    /// Follows the calendar, which is `calendar_ahead_us` ahead of the monotonic clock at `now_us`. For one
    /// thread alone, now and then.
    pub(crate) fn follow(&self, calendar_ahead_us: u64, now_us: u64) {
        let passed_us = now_us.saturating_sub(self.followed_us.swap(now_us, Ordering::Relaxed));
        self.ahead_us.store(followed(self.ahead_us(), calendar_ahead_us, passed_us), Ordering::Relaxed);
    }
}

fn followed(ahead_us: u64, wanted_us: u64, passed_us: u64) -> u64 {
    if ahead_us.abs_diff(wanted_us) > FOLLOWED_AT_ONCE_US {
        return wanted_us;
    }
    let most_us = passed_us / FOLLOWS_ONE_IN;
    wanted_us.clamp(ahead_us.saturating_sub(most_us), ahead_us.saturating_add(most_us))
}

/// The text of `Date` (RFC 9110 §5.6.7) for a second since 1970, by civil-date arithmetic.
pub(crate) fn http_date(unix_s: u64) -> [u8; 29] {
    const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
    const MONTHS: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days since 0000-03-01, so that the leap day is the last of its year (H. Hinnant, days_from_civil).
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 2 } else { shifted - 10 };
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    let mut put = |at: usize, value: u64, digits: usize| {
        let mut value = value;
        for place in (at..at + digits).rev() {
            if let Some(byte) = text.get_mut(place) {
                *byte = b'0' + (value % 10) as u8;
            }
            value /= 10;
        }
    };
    put(5, day, 2);
    put(12, year % 10_000, 4);
    put(17, second / 3_600, 2);
    put(20, second / 60 % 60, 2);
    put(23, second % 60, 2);
    let name = DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu");
    text[..3].copy_from_slice(name);
    let name = MONTHS.get(month as usize).copied().unwrap_or(b"Jan");
    text[8..11].copy_from_slice(name);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: u64 = 3_600 * 1_000_000;
    const AHEAD_US: u64 = 1_764_000_000 * 1_000_000;

    /// Ticks of 100 ms for so many seconds; how far it has come.
    fn after(seconds: u64, wanted_us: u64) -> u64 {
        (0..seconds * 10).fold(AHEAD_US, |ahead_us, _| followed(ahead_us, wanted_us, 100_000))
    }

    #[test]
    fn a_step_of_the_calendar_is_followed_by_a_twentieth_of_the_time_that_passes() {
        for (wanted_us, minute_us) in
            [(AHEAD_US + HOUR_US, AHEAD_US + 3_000_000), (AHEAD_US - HOUR_US, AHEAD_US - 3_000_000)]
        {
            assert_eq!(followed(AHEAD_US, wanted_us, 0), AHEAD_US);
            assert_eq!(after(60, wanted_us), minute_us);
            assert_eq!(after(20 * 3_600, wanted_us), wanted_us, "an hour is made up for in twenty");
        }
        assert_eq!(after(20, AHEAD_US - 1_000_000), AHEAD_US - 1_000_000);
    }

    #[test]
    fn steady_time_goes_on_while_the_calendar_stands_still() {
        let steady = Steady { clock: Clock::start(), ahead_us: AHEAD_US.into(), followed_us: 0.into() };
        let mut last_us = 0;
        for now_us in (0..600_000_000).step_by(100_000) {
            steady.follow(AHEAD_US - now_us, now_us);
            assert!(steady.ahead_us() + now_us >= last_us);
            last_us = steady.ahead_us() + now_us;
        }
        assert!(last_us >= AHEAD_US + 569_000_000, "95 % of ten minutes");
    }

    #[test]
    fn a_clock_that_had_not_been_set_is_followed_at_once() {
        assert_eq!(followed(7, AHEAD_US, 0), AHEAD_US);
        assert_eq!(followed(AHEAD_US, 7, 0), 7);
    }

    #[test]
    fn dates_are_as_the_rfc_writes_them() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(second), text.as_bytes(), "{second}");
        }
    }
}
