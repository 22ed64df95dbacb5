//! The retry budget: retries may add a bounded share of load, never more.
//!
//! A window of ten one-second buckets counts requests and retries; a retry is granted while retries stay
//! below the given percentage of requests, or below a small floor, so that a quiet site can retry at all.
//! What it does not do: it does not know whether a retry is safe, see `Link::may_retry`.
//! Called by `Origins::choose` and `Origins::take_retry`. Read next: `fleet.rs`.

use crate::tally::Tally;

pub use crate::tally::WINDOW_S;

/// Retries that are granted in each window whatever the number of requests: with one request a minute a
/// percentage alone would never allow one. Ten per ten seconds cannot hurt an origin.
pub const FLOOR: u32 = 10;

/// A budget; one per pool and node.
#[derive(Debug, Default)]
pub struct Budget(Tally);

impl Budget {
    /// Counts a request (a first attempt).
    pub fn count_request(&self, now_ms: u64) {
        self.0.count(now_ms);
    }

    /// Requests and retries of the window that ends now.
    pub fn window(&self, now_ms: u64) -> (u64, u64) {
        self.0.sums(now_ms)
    }

    /// Takes one retry out of the budget; `false` if it is used up.
    ///
    /// `percent` is of the window's requests, 20 by default.
    pub fn take(&self, percent: u32, now_ms: u64) -> bool {
        let (requests, retries) = self.window(now_ms);
        if percent == 0 || retries >= (requests * u64::from(percent) / 100).max(u64::from(FLOOR)) {
            return false;
        }
        self.0.mark(now_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_a_fifth_of_the_requests() {
        let budget = Budget::default();
        for at in 0..1000 {
            budget.count_request(at);
        }
        let granted = (0..1000).filter(|_| budget.take(20, 999)).count();
        assert_eq!(granted, 200);
    }

    #[test]
    fn a_quiet_pool_still_may_retry_a_little() {
        let budget = Budget::default();
        budget.count_request(0);
        assert_eq!((0..100).filter(|_| budget.take(20, 0)).count(), FLOOR as usize);
        assert!(!Budget::default().take(0, 0), "zero percent switches retries off");
    }

    #[test]
    fn the_window_slides() {
        let budget = Budget::default();
        for _ in 0..1000 {
            budget.count_request(500);
        }
        while budget.take(20, 500) {}
        assert!(!budget.take(20, 9_999), "still the same ten seconds");
        assert_eq!(budget.window(10_000), (0, 0));
        assert!(budget.take(20, 10_000), "the old second has left the window");
    }
}
