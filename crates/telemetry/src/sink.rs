//! The access log's way out: each serving thread fills a batch, one writer thread writes.
//!
//! A request never waits here. When the queue is full, because the disk is full or a reader of standard
//! output stopped reading, lines are dropped and counted, those of the zone that floods it first. Does not
//! format (that is [`crate::access`]) and does not rotate: whoever moves the file away asks for
//! [`AccessLog::reopen`]. Called by the edge (batches) and by the binary (open, reopen, close). Read next:
//! [`AccessLog`].

pub(crate) mod queue;
pub(crate) mod shares;

use std::io;
use std::time::Duration;

use crate::access::{Privacy, Record};
use crate::events::Events;
use crate::time::TimeText;
pub use queue::{Counts, Limits, Target};
use queue::{OnFailure, Queue};
use shares::Line;

#[cfg(test)]
mod tests;

/// Size at which a batch goes to the writer by itself: large enough that one system call carries some sixty
/// lines, small enough that a busy thread's lines appear within a blink.
pub const BATCH_BYTES: usize = 32 * 1024;

/// The node's access log: a bounded queue and its writer thread. Clones share both.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: Option<Queue>,
}

impl AccessLog {
    /// Opens the target and starts the writer thread. Failures to write are told to `events`, at most once
    /// per second each.
    ///
    /// # Errors
    /// When the file cannot be opened for appending, or the thread cannot be started.
    pub fn open(target: Target, limits: Limits, events: Option<Events>) -> io::Result<Self> {
        let on_failure: OnFailure = Box::new(move |cause| {
            if let Some(events) = &events {
                let cause = cause.to_string();
                events.error("access_log_write_failed", &[("cause", cause.as_str().into())]);
            }
        });
        Ok(Self { queue: Some(Queue::open("access-log", target, limits, on_failure)?) })
    }

    /// Gives a log that writes nothing and costs nothing.
    pub fn off() -> Self {
        Self { queue: None }
    }

    /// Gives a batch for one serving thread.
    pub fn batch(&self) -> Batch {
        Batch { queue: self.queue.clone(), bytes: Vec::new(), owners: Vec::new(), time: TimeText::new() }
    }

    /// Asks the writer to close its file and open the path anew (SIGUSR1, after the file was moved away).
    ///
    /// Returns at once. When the path cannot be opened the old file stays in use and the failure is counted.
    /// Without effect on standard output.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            queue.reopen();
        }
    }

    /// Gives the counts so far.
    pub fn counts(&self) -> Counts {
        self.queue.as_ref().map(Queue::counts).unwrap_or_default()
    }

    /// Writes what is queued and ends the writer, waiting at most `deadline`; gives whether all was written.
    ///
    /// Blocks the caller. Threads flush or drop their batches before; lines that come later, or were still
    /// queued at the deadline, count as dropped.
    pub fn close(&self, deadline: Duration) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.close(deadline))
    }
}

/// Lines of one serving thread on their way to the writer. Flushed at [`BATCH_BYTES`], when asked, and when
/// dropped.
#[derive(Debug)]
pub struct Batch {
    queue: Option<Queue>,
    bytes: Vec<u8>,
    /// Whose each line is.
    owners: Vec<Line>,
    time: TimeText,
}

impl Batch {
    /// Adds one record. Never blocks.
    pub fn record(&mut self, record: &Record<'_>, privacy: Privacy) {
        let Some(queue) = &self.queue else { return };
        let before = self.bytes.len();
        record.write_json(&mut self.bytes, privacy, &mut self.time);
        let owner = queue.shares().owner(record.zone);
        self.owners.push(Line { owner, bytes: self.bytes.len() - before });
        if self.bytes.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands the lines to the writer, or drops and counts them when the queue is full; when it is more than
    /// half full, those of zones that have more of it than is free. Never blocks; the thread's tick calls
    /// it every 100 ms so that a quiet node's lines appear too.
    pub fn flush(&mut self) {
        if let Some(queue) = &self.queue
            && self.has_lines()
        {
            // A copy, so that the queue is charged what it holds and this buffer stays warm.
            queue.offer_owned(&self.bytes, &self.owners);
            self.bytes.clear();
            self.owners.clear();
        }
    }

    /// True when a flush would hand over something.
    pub fn has_lines(&self) -> bool {
        !self.owners.is_empty()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flush();
    }
}
