//! The retry budget: retries may add a bounded share of load, never more.
//!
//! A window of ten one-second buckets counts requests and retries; a retry is granted while retries stay
//! below the given percentage of requests, or below a small floor, so that a quiet site can retry at all.
//! What it does not do: it does not know whether a retry is safe, see `Link::may_retry`.
//! Shared by all threads without a lock: a bucket that is turned over while another thread counts may lose
//! that one count, which errs by one part in a second's requests.
//! Called by `Origins::choose` and `Origins::take_retry`. Read next: `fleet.rs`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Length of the window in seconds, and number of buckets.
pub const WINDOW_S: u64 = 10;

/// Retries that are granted in each window whatever the number of requests: with one request a minute a
/// percentage alone would never allow one. Ten per ten seconds cannot hurt an origin.
pub const FLOOR: u32 = 10;

#[derive(Debug, Default)]
struct Bucket {
    second: AtomicU64,
    requests: AtomicU32,
    retries: AtomicU32,
}

/// A budget; one per pool and node.
#[derive(Debug, Default)]
pub struct Budget {
    buckets: [Bucket; WINDOW_S as usize],
}

impl Budget {
    fn bucket(&self, now_ms: u64) -> &Bucket {
        // Seconds start at 1, so that a fresh bucket (second 0) is always old.
        let second = now_ms / 1000 + 1;
        let bucket = &self.buckets[(second % WINDOW_S) as usize];
        let known = bucket.second.load(Relaxed);
        if known < second && bucket.second.compare_exchange(known, second, Relaxed, Relaxed).is_ok() {
            bucket.requests.store(0, Relaxed);
            bucket.retries.store(0, Relaxed);
        }
        bucket
    }

    /// Counts a request (a first attempt).
    pub fn count_request(&self, now_ms: u64) {
        self.bucket(now_ms).requests.fetch_add(1, Relaxed);
    }

    /// Requests and retries of the window that ends now.
    pub fn window(&self, now_ms: u64) -> (u64, u64) {
        let newest = now_ms / 1000 + 1;
        let live = self.buckets.iter().filter(|bucket| bucket.second.load(Relaxed) + WINDOW_S > newest);
        live.fold((0, 0), |(requests, retries), bucket| {
            let (more, again) = (bucket.requests.load(Relaxed), bucket.retries.load(Relaxed));
            (requests + u64::from(more), retries + u64::from(again))
        })
    }

    /// Takes one retry out of the budget; `false` if it is used up.
    ///
    /// `percent` is of the window's requests, 20 by default.
    pub fn take(&self, percent: u32, now_ms: u64) -> bool {
        let bucket = self.bucket(now_ms);
        let (requests, retries) = self.window(now_ms);
        if percent == 0 || retries >= (requests * u64::from(percent) / 100).max(u64::from(FLOOR)) {
            return false;
        }
        bucket.retries.fetch_add(1, Relaxed);
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
