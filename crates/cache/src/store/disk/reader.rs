//! Reads of stored objects: a whole record at once, every checksum compared before a byte of it is used.
//!
//! So a damaged object is a miss and not a broken answer. What it gives goes to those who wait for the lease
//! that came with the job; dropped, the lease is the next one's who waits. Runs on threads of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::files::read_up_to;
use super::format::{BLOCK_BYTES, Record};
use super::writer::Turn;
use super::{Disk, ReadJob};
use crate::store::Store;
use crate::store::fill::Delivered;
use crate::store::object::Head;

/// How long a reader sleeps without a job before it looks up: only to notice that the process ends.
const IDLE: Duration = Duration::from_secs(5);

/// One thread's worth of reading.
pub struct ReadWorker {
    store: Store,
    disk: Arc<Disk>,
}

impl ReadWorker {
    pub(crate) fn new(store: Store, disk: Arc<Disk>) -> Self {
        Self { store, disk }
    }

    /// Reads until the disk is released.
    pub(crate) fn run(&mut self) {
        while self.turn(IDLE) != Turn::Ended {}
    }

    /// Does one job, waiting for it at most so long.
    pub fn turn(&mut self, wait: Duration) -> Turn {
        let Some(job) = self.disk.reads.take(wait) else {
            return if self.disk.reads.is_closed() { Turn::Ended } else { Turn::Idle };
        };
        let (place, hash) = (job.located.place, job.lease.pending().key.hash);
        // A panic is the miss of this one object, whose lease goes to the next who waits, and not the end of
        // one thread after the other. What broke once is not read again.
        let read = catch_unwind(AssertUnwindSafe(|| {
            // Nobody waits any more, or somebody went to the origin: a backlog after a stall goes at once.
            if job.lease.is_held() && job.lease.waiting() > 0 {
                self.read(job);
            }
        }));
        if read.is_err() {
            self.store.counters().disk_panics.add(1);
            self.store.counters().disk_misses.add(1);
            self.disk.index.remove_at(hash, place.segment, place.offset);
        }
        self.disk.watch.finish();
        Turn::Worked
    }

    fn read(&self, job: ReadJob) {
        let counters = self.store.counters();
        if self.store.is_out_of_memory() {
            counters.fills_without_memory.add(1);
            return counters.disk_misses.add(1);
        }
        let (place, hash) = (job.located.place, job.lease.pending().key.hash);
        let segments = self.disk.segments.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let segment = segments.get(&place.segment).cloned();
        drop(segments);
        let Some(segment) = segment else {
            // Its space was given back since the lookup.
            return counters.disk_misses.add(1);
        };
        let file = segment.file(&*self.disk.files);
        let read = file.and_then(|file| read_up_to(&*file, u64::from(place.offset), place.length as usize));
        let bytes = match read {
            Ok(bytes) => Bytes::from(bytes),
            Err(_cause) => {
                counters.disk_read_errors.add(1);
                return counters.disk_misses.add(1);
            }
        };
        let record =
            Record::decode(&bytes, hash, None).filter(|record| record.key() == Some(job.lease.key()));
        let Some(record) = record else {
            counters.disk_records_damaged.add(1);
            counters.disk_misses.add(1);
            self.disk.index.remove_at(hash, place.segment, place.offset);
            return;
        };
        let body = bytes.slice(record.meta_bytes..);
        let chunks = (0..body.len()).step_by(BLOCK_BYTES);
        let chunks = chunks.map(|from| body.slice(from..body.len().min(from + BLOCK_BYTES)));
        let delivered = Delivered {
            head: Head {
                bytes: Bytes::copy_from_slice(record.head),
                numbers: record.numbers,
                snapshot: record.snapshot,
            },
            tags: record.tag_hashes().collect(),
            born: place.born,
            chunks: chunks.collect(),
        };
        let is_for_memory = record.body_bytes as u64 <= self.store.settings().memory_object_bytes_max;
        if job.lease.deliver(delivered, is_for_memory) {
            counters.disk_hits.add(1);
        } else {
            counters.disk_misses.add(1);
        }
    }
}
