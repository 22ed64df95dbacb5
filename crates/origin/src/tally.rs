//! Two counts of the last ten seconds, shared by all threads without a lock: of all, and of those marked.
//!
//! A bucket that is turned over while another thread counts may lose that one count, which errs by one part
//! in a second's. Used by `retry.rs` (requests and retries) and by `fleet.rs` (exchanges and failures).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Length of the window in seconds, and number of buckets.
pub const WINDOW_S: u64 = 10;

#[derive(Debug, Default)]
struct Bucket {
    second: AtomicU64,
    all: AtomicU32,
    marked: AtomicU32,
}

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    buckets: [Bucket; WINDOW_S as usize],
}

impl Tally {
    fn bucket(&self, now_ms: u64) -> &Bucket {
        // Seconds start at 1, so that a fresh bucket (second 0) is always old.
        let second = now_ms / 1000 + 1;
        let bucket = &self.buckets[(second % WINDOW_S) as usize];
        let known = bucket.second.load(Relaxed);
        if known < second && bucket.second.compare_exchange(known, second, Relaxed, Relaxed).is_ok() {
            bucket.all.store(0, Relaxed);
            bucket.marked.store(0, Relaxed);
        }
        bucket
    }

    /// Counts one.
    pub(crate) fn count(&self, now_ms: u64) {
        self.bucket(now_ms).all.fetch_add(1, Relaxed);
    }

    /// Marks one.
    pub(crate) fn mark(&self, now_ms: u64) {
        self.bucket(now_ms).marked.fetch_add(1, Relaxed);
    }

    /// All and marked of the window that ends now.
    pub(crate) fn sums(&self, now_ms: u64) -> (u64, u64) {
        let newest = now_ms / 1000 + 1;
        let live = self.buckets.iter().filter(|bucket| bucket.second.load(Relaxed) + WINDOW_S > newest);
        live.fold((0, 0), |(all, marked), bucket| {
            (all + u64::from(bucket.all.load(Relaxed)), marked + u64::from(bucket.marked.load(Relaxed)))
        })
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for bucket in &self.buckets {
            bucket.all.store(0, Relaxed);
            bucket.marked.store(0, Relaxed);
        }
    }
}
