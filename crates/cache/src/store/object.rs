//! One stored answer: key, the policy's head and numbers, body, and what purges go by.
//!
//! The head and the numbers mean nothing here. Made by a lease (`fill.rs`) or out of a record on disk
//! (`disk/reader.rs`); never changed afterwards but for its body while it fills. Read next: `body.rs`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use super::body::{Body, Reader};
use super::key::{Key, KeyRef};
use super::limits::NUMBERS;
use super::purge::Facets;

/// What the policy keeps of an answer beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The head in the policy's own encoding; at most [`super::limits::HEAD_BYTES_MAX`].
    pub bytes: Bytes,
    /// Numbers the policy decides by, so that no hit parses a head; the store neither reads nor changes them.
    pub numbers: [u64; NUMBERS],
    /// Number of the snapshot the answer was fetched under; see [`super::Store::withdraw`].
    pub snapshot: u64,
}

/// A stored object. Shared; a reader keeps it alive after it has left the tables.
#[derive(Debug)]
// What every hit looks at comes first, in one line of the processor's cache with the count of references.
#[repr(C)]
pub struct Object {
    /// Version of the purges up to which none was found against it.
    pub(crate) checked: AtomicU64,
    pub(crate) is_soft: AtomicBool,
    /// Requests since it came, up to 3 (S3-FIFO).
    pub(crate) frequency: AtomicU8,
    /// Whether it is on disk, or on its way.
    pub(crate) disk: AtomicU8,
    /// Epoch of purges at which the fetch began: later purges are against it.
    pub(crate) born: u64,
    pub(crate) head: Head,
    pub(crate) key: Key,
    pub(crate) tags: Box<[u64]>,
    pub(crate) url: u64,
    pub(crate) host: u64,
    pub(crate) body: Body,
    /// Declared length of the body, for who wants it while it fills.
    pub(crate) bytes_declared: Option<u64>,
    /// The disk had it; no fetch brought it.
    pub(crate) is_from_disk: bool,
}

/// Not on disk and not offered to it.
pub(crate) const DISK_NONE: u8 = 0;
/// Offered, written, or read from it.
pub(crate) const DISK_THERE: u8 = 1;

impl Object {
    /// The key it is stored under.
    #[must_use]
    pub fn key(&self) -> KeyRef<'_> {
        self.key.parts()
    }

    /// Whether it was read from the disk, rather than brought by a fetch since the start.
    #[must_use]
    pub fn is_from_disk(&self) -> bool {
        self.is_from_disk
    }

    /// The policy's head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Whether a soft purge was against it: it may be served stale and revalidated, never as fresh.
    #[must_use]
    pub fn is_purged_softly(&self) -> bool {
        self.is_soft.load(Relaxed)
    }

    /// Whether the body is whole.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    /// Length of the body: what it has when it is whole, what was declared while it fills, `None` when that
    /// is not known.
    #[must_use]
    pub fn body_bytes(&self) -> Option<u64> {
        if self.body.is_whole() { Some(self.body.bytes()) } else { self.bytes_declared }
    }

    /// The chunks of a whole body, shared: for vectored writes and for ranges. `None` while it fills.
    #[must_use]
    pub fn chunks(&self) -> Option<&[Bytes]> {
        self.body.chunks()
    }

    /// A reader from `offset` on. `None` when [`super::limits::WAITERS_MAX`] read it while it fills.
    #[must_use]
    pub fn reader(self: &Arc<Self>, offset: u64) -> Option<Reader> {
        Reader::new(Arc::clone(self), offset)
    }

    pub(crate) fn facets(&self) -> Facets<'_> {
        Facets {
            key: self.key.parts(),
            url: self.url,
            host: self.host,
            tags: &self.tags,
            born: self.born,
            snapshot: Some(self.head.snapshot),
        }
    }

    /// Counts a request; a hot object is not written to. True when it is the first to be counted.
    pub(crate) fn touch(&self) -> bool {
        let frequency = self.frequency.load(Relaxed);
        if frequency < 3 {
            self.frequency.store(frequency + 1, Relaxed);
        }
        frequency == 0
    }

    /// Takes the right to offer it to the disk.
    pub(crate) fn claim_disk(&self) -> bool {
        self.disk.load(Relaxed) == DISK_NONE
            && self.disk.compare_exchange(DISK_NONE, DISK_THERE, Relaxed, Relaxed).is_ok()
    }
}
