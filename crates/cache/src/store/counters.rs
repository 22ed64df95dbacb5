//! Counters of what is seldom: nothing here is written on a hit.
//!
//! Hits and misses are counted by the serving threads, each for itself. Read by whoever shows metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One counter.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares the counters once, as they are kept and as they are shown.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters as they are kept.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])+ pub(crate) $name: Counter,)+
        }

        /// What was counted since the store was made.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counts {
            /// Every count with its name, in order.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }

        impl Counters {
            pub(crate) fn counts(&self) -> Counts {
                Counts { $($name: self.$name.value(),)+ }
            }
        }
    };
}

counters! {
    /// Objects that left memory to make room.
    evictions,
    /// Fills that failed before their end.
    fills_aborted,
    /// Fills that ended with another length than declared.
    fills_of_wrong_length,
    /// Fills that a purge or a withdrawal came before the end of.
    fills_purged,
    /// Fills given up because the body grew over `object_bytes_max`.
    fills_too_large,
    /// Fills refused because readers hold too many evicted bodies.
    fills_without_memory,
    /// Objects found unusable by a purge or a withdrawal.
    purged_found,
    /// Purges made effective.
    purges,
    /// URLs made unusable since an unsafe request changed them.
    urls_changed,
    /// Reads that gave an object.
    disk_hits,
    /// Reads that gave nothing: gone, damaged or failed.
    disk_misses,
    /// Reads that did not come within the deadline.
    disk_reads_late,
    /// Reads not asked for: the disk is stalled or its queue full.
    disk_reads_bypassed,
    /// Lookups while the disk's index is not there yet.
    disk_lookups_loading,
    /// Records that failed a checksum: flipped bits, torn writes, lost pages.
    disk_records_damaged,
    /// Index entries that failed a checksum.
    disk_entries_damaged,
    /// Bytes at the end of files that a write left torn.
    disk_tails_torn,
    /// Errors of reading.
    disk_read_errors,
    /// Errors of writing, a full disk included.
    disk_write_errors,
    /// Objects written.
    disk_writes,
    /// Objects not written: queue full, disk stalled or failing.
    disk_writes_bypassed,
    /// Segments given up for their space.
    disk_segments_reclaimed,
    /// Objects written again because they were read since, when their segment went.
    disk_writes_again,
    /// Purges put into the log on disk.
    disk_purges_written,
    /// Panics of the disk's threads: of one that reads, a miss; of the one that writes, the end of the tier.
    disk_panics,
    /// Times all objects on disk were given up because the log of purges is damaged or could not be written.
    disk_emptied,
}
