//! How long to wait before the edge is started again.
//!
//! The first death after a good life costs nothing: visitors wait in the kernel's queues, and the sooner an
//! edge is there the better. Deaths that follow each other quickly come from something that a new start
//! does not mend, and a start costs a whole compile; so the pause doubles from 100 ms to 5 s. Wrong when a
//! flood kills each new edge within seconds: then up to 5 s pass although an edge could serve for a moment.
//! Called by [`super`].

use std::time::Duration;

/// A life this long counts as good: any compile and the first requests are behind it.
const GOOD_LIFE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Counts deaths that came quickly.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    quick_deaths: u32,
}

impl Backoff {
    /// Notes a death after a life of `lived`; gives the pause before the next start.
    pub(super) fn after(&mut self, lived: Duration) -> Duration {
        if lived >= GOOD_LIFE {
            self.quick_deaths = 0;
            return Duration::ZERO;
        }
        self.quick_deaths = self.quick_deaths.saturating_add(1);
        match self.quick_deaths {
            1 => Duration::ZERO,
            many => FIRST_PAUSE.saturating_mul(1 << (many - 2).min(16)).min(LONGEST_PAUSE),
        }
    }

    /// Deaths since the last good life.
    pub(super) fn quick_deaths(&self) -> u32 {
        self.quick_deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_deaths_wait_longer_each_time_up_to_five_seconds() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> =
            (0..9).map(|_| backoff.after(Duration::from_millis(10)).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        for _ in 0..100 {
            assert_eq!(backoff.after(Duration::ZERO), LONGEST_PAUSE);
        }
    }

    #[test]
    fn a_good_life_forgives_what_was_before() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after(Duration::ZERO);
        }
        assert_eq!(backoff.after(GOOD_LIFE), Duration::ZERO);
        assert_eq!(backoff.quick_deaths(), 0);
        assert_eq!(backoff.after(Duration::ZERO), Duration::ZERO);
    }
}
