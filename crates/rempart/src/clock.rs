//! The clock: the one place of the binary that reads it.
//!
//! It holds no logic; everything else takes times as arguments. Three kinds: [`now`] for what lasts within a
//! process, [`boot_s`] and [`Moment`] for what another process goes on with, [`unix_us`] for what people
//! read. Called by [`crate::supervisor`], [`crate::edge_role`] and [`crate::commands`].

use std::time::{Duration, Instant};

pub(crate) use edge::unix_us;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Reads the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the wiring reads the clock and hands it on as `now`")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Microseconds since the machine began, sleep included: the same for all its processes, and nobody can set
/// it.
fn boot_us() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000).saturating_add(nanos.unwrap_or(0) / 1_000)
}

/// Seconds since the machine began: what lasts longer than a process is counted in these.
pub(crate) fn boot_s() -> u64 {
    boot_us() / 1_000_000
}

/// A moment from which another process can tell how long ago it was, after a restart of the machine too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Moment {
    /// Microseconds since 1970.
    unix_us: u64,
    /// Microseconds since the machine began.
    boot_us: u64,
    /// Which start of the machine that was; 0 where the system does not tell.
    boot: u64,
}

impl Moment {
    /// The present.
    pub(crate) fn now() -> Self {
        // random(4): a random UUID of each start. A few hundred starts in a life, so half of it tells them
        // apart.
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        Self { unix_us: unix_us(), boot_us: boot_us(), boot: u64::from_str_radix(&digits, 16).unwrap_or(0) }
    }

    /// Of these seconds since 1970 and since the start `boot` of the machine.
    pub(crate) const fn of(unix_s: u64, boot_s: u64, boot: u64) -> Self {
        let (unix_us, boot_us) = (unix_s.saturating_mul(1_000_000), boot_s.saturating_mul(1_000_000));
        Self { unix_us, boot_us, boot }
    }

    /// How long after `earlier` it is. By a clock that nobody can set, unless the machine was started again
    /// since; then by the calendar, and never below nothing.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let is_same_boot = self.boot != 0 && self.boot == earlier.boot;
        Duration::from_micros(if is_same_boot {
            self.boot_us.saturating_sub(earlier.boot_us)
        } else {
            self.unix_us.saturating_sub(earlier.unix_us)
        })
    }

    /// Seconds since 1970.
    pub(crate) fn unix_s(&self) -> u64 {
        self.unix_us / 1_000_000
    }

    /// Seconds since the machine began.
    pub(crate) fn boot_s(&self) -> u64 {
        self.boot_us / 1_000_000
    }

    /// Which start of the machine it belongs to; 0 where the system does not tell.
    pub(crate) fn boot(&self) -> u64 {
        self.boot
    }

    /// Microseconds since 1970, so much later.
    pub(crate) fn unix_us_after(&self, later: Duration) -> u64 {
        self.unix_us.saturating_add(u64::try_from(later.as_micros()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_changes_nothing_until_the_machine_starts_again() {
        let before = Moment::of(10_000, 500, 1);
        for (now, seconds) in [
            (Moment::of(10_007, 507, 1), 7),
            (Moment::of(13_607, 507, 1), 7),
            (Moment::of(6_407, 507, 1), 7),
            (Moment::of(13_607, 7, 2), 3_607),
            (Moment::of(6_407, 7, 2), 0),
            (Moment::of(10_007, 507, 0), 7),
        ] {
            assert_eq!(now.since(&before), Duration::from_secs(seconds), "{now:?}");
        }
        let untold = Moment::of(13_607, 507, 0).since(&Moment::of(10_000, 500, 0));
        assert_eq!(untold, Duration::from_secs(3_607));
    }

    #[test]
    fn time_passes_between_two_moments() {
        let first = Moment::now();
        assert!(Moment::now().since(&first) < Duration::from_secs(3_600));
        assert_ne!(first.boot, 0, "this system tells its starts apart");
    }
}
