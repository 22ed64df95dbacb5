//! Bounds events of one kind: the first in a time is written, the others are counted in the next.
//!
//! Beside a site, for what strangers can cause: a break of a phase (`contain.rs`), a limit that is passed
//! (`limits.rs`). Atomic, since all threads share it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How often an event of one kind is written, in milliseconds.
pub(crate) const TELL_MS: u64 = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    at_ms: AtomicU64,
    untold: AtomicU64,
}

impl Teller {
    /// Whether an event may be written now, and how many were not since the last.
    pub(crate) fn may_tell(&self, now_ms: u64) -> Option<u64> {
        let at_ms = self.at_ms.load(Relaxed);
        let is_first =
            now_ms >= at_ms && self.at_ms.compare_exchange(at_ms, now_ms + TELL_MS, Relaxed, Relaxed).is_ok();
        if !is_first {
            self.untold.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_now_and_then_and_counted_meanwhile() {
        let teller = Teller::default();
        assert_eq!(teller.may_tell(50), Some(0));
        assert_eq!([teller.may_tell(51), teller.may_tell(49 + TELL_MS)], [None, None]);
        assert_eq!(teller.may_tell(50 + TELL_MS), Some(2));
    }
}
