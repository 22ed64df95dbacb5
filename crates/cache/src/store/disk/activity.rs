//! What the disk's threads are doing, for who watches over them: whether reads and writes come back, and why
//! the latest write failed.
//!
//! Judges nothing: these threads have no clock, and who watches them has. Filled by the writer; shown by
//! [`super::Disk::activity`].

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What the disk's threads are doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activity {
    /// Reads that were asked for and have not come back.
    pub reads_waiting: usize,
    /// Reads that came back since the start. One that hangs is one that waits while this stands still.
    pub reads_done: u64,
    /// Whether the thread that writes, or reads the index, is in the middle of something.
    pub is_writing: bool,
    /// Its steps since the start. A write that hangs is one that is under way while this stands still.
    pub write_steps: u64,
    /// Writes that failed since the start.
    pub write_failures: u64,
    /// Whether none has succeeded since the latest failed.
    pub is_failing: bool,
    /// Why the latest failed; `None` if none has.
    pub write_failure: Option<WriteFailure>,
}

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFailure {
    /// Whether there is no room left, or none that this user may take.
    pub is_full: bool,
    /// What the system says.
    pub cause: String,
}

/// Whether there is no room left.
pub(super) fn is_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The writer's side of it.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    is_busy: AtomicBool,
    steps: AtomicU64,
    failures: AtomicU64,
    is_failing: AtomicBool,
    failure: Mutex<Option<WriteFailure>>,
}

impl Pulse {
    /// Something is begun, or goes on.
    pub(super) fn step(&self) {
        self.is_busy.store(true, Relaxed);
        self.steps.fetch_add(1, Relaxed);
    }

    /// There is nothing to do.
    pub(super) fn rest(&self) {
        self.is_busy.store(false, Relaxed);
    }

    pub(super) fn fail(&self, cause: &io::Error) {
        let failure = WriteFailure { is_full: is_full(cause), cause: cause.to_string() };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        self.is_failing.store(true, Relaxed);
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn succeed(&self) {
        self.is_failing.store(false, Relaxed);
    }

    /// What is known of writing, beside what is known of reading.
    pub(super) fn activity(&self, reads_waiting: usize, reads_done: u64) -> Activity {
        Activity {
            reads_waiting,
            reads_done,
            is_writing: self.is_busy.load(Relaxed),
            write_steps: self.steps.load(Relaxed),
            write_failures: self.failures.load(Relaxed),
            is_failing: self.is_failing.load(Relaxed),
            write_failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
