//! A bounded queue of byte batches and the one thread that writes them to a descriptor.
//!
//! Bounded twice, by bytes and by batches; an offer never blocks. Knows nothing of what the bytes say but
//! that they are whole lines, and whose ([`super::shares`]). Used by [`super::AccessLog`] and
//! [`crate::events::Events`]. Read next: [`Queue`], then `Writer::write_batch` for what happens when writing
//! fails.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use rustix::fs::OFlags;

use super::shares::{Line, Part, Shares};

/// Pause after a failed write before the same bytes are tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Pause when a descriptor that somebody else made non-blocking takes no more bytes.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Where lines go.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, created with mode 0640 if missing, appended to. A pipe (FIFO) is opened whether somebody reads
    /// it or not.
    File(PathBuf),
    /// A descriptor that is open already; cannot be reopened.
    Descriptor(OwnedFd),
}

/// Bounds of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes queued, the batch being written included. Default 8 MiB: some 12,000 lines, a second or so
    /// of a busy node, which rides out a slow disk without costing memory that matters.
    pub queue_bytes_max: usize,
    /// Most batches queued. Default 1024, so that many small batches cost no more memory than few large ones.
    pub queue_batches_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { queue_bytes_max: 8 * 1024 * 1024, queue_batches_max: 1024 }
    }
}

/// What a queue counted since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines written.
    pub lines_written: u64,
    /// Lines dropped, for whatever reason.
    pub lines_dropped: u64,
    /// Those of them that were dropped because their zone had more queued than its share; the others met a
    /// queue that was full or closed.
    pub lines_above_share: u64,
    /// Writes and openings that failed; a failed write is tried again.
    pub failures: u64,
}

/// Told of each failure; may be called once per second while a target stays broken.
pub(crate) type OnFailure = Box<dyn Fn(&io::Error) + Send>;

#[derive(Debug)]
struct Lines {
    bytes: Box<[u8]>,
    lines: u64,
    /// Whose they are; empty where nobody's share is kept.
    parts: Vec<Part>,
}

/// `None` only wakes the writer, so that it looks at the flags.
type Message = Option<Lines>;

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    queued_lines: AtomicU64,
    lines_written: AtomicU64,
    lines_dropped: AtomicU64,
    lines_above_share: AtomicU64,
    failures: AtomicU64,
    reopen_wanted: AtomicBool,
    closing: AtomicBool,
    abandoned: AtomicBool,
    shares: Shares,
}

/// The queue's near end. Clones share one writer.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    bytes_max: usize,
    writer: Thread,
    done: Arc<Mutex<Receiver<()>>>,
}

impl Queue {
    pub(crate) fn open(
        name: &str,
        target: Target,
        limits: Limits,
        on_failure: OnFailure,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, messages) = sync_channel(limits.queue_batches_max.max(1));
        let (done_sender, done) = sync_channel(1);
        let (out, path) = match target {
            Target::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            Target::Stderr => (File::from(io::stderr().as_fd().try_clone_to_owned()?), None),
            Target::Descriptor(descriptor) => (File::from(descriptor), None),
            Target::File(path) => (open_file(&path)?, Some(path)),
        };
        let writer = Writer { shared: Arc::clone(&shared), messages, out, path, on_failure };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            writer.run();
            // Nobody may be waiting any more, and that is fine.
            done_sender.try_send(()).unwrap_or_default();
        })?;
        let writer = thread.thread().clone();
        let done = Arc::new(Mutex::new(done));
        Ok(Self { shared, sender, bytes_max: limits.queue_bytes_max, writer, done })
    }

    /// Who may have how much of the queue.
    pub(crate) fn shares(&self) -> &Shares {
        &self.shared.shares
    }

    /// Queues whole lines that are nobody's in particular, or drops and counts them. Never blocks.
    pub(crate) fn offer(&self, bytes: Box<[u8]>, lines: u64) {
        self.send(Lines { bytes, lines, parts: Vec::new() });
    }

    /// Queues those whole lines whose owners are within their shares, drops and counts the others. `owners`
    /// has an entry for each line, in their order. Never blocks.
    pub(crate) fn offer_owned(&self, bytes: &[u8], owners: &[Line]) {
        let queued = self.shared.queued_bytes.load(Relaxed);
        let taken = self.shared.shares.take(bytes, owners, self.bytes_max.saturating_sub(queued));
        let above = (owners.len() as u64).saturating_sub(taken.lines);
        if above > 0 {
            self.shared.lines_dropped.fetch_add(above, Relaxed);
            self.shared.lines_above_share.fetch_add(above, Relaxed);
        }
        if taken.lines > 0 {
            self.send(Lines { bytes: taken.bytes, lines: taken.lines, parts: taken.parts });
        }
    }

    fn send(&self, batch: Lines) {
        let (size, lines) = (batch.bytes.len(), batch.lines);
        let queued = self.shared.queued_bytes.fetch_add(size, Relaxed) + size;
        self.shared.queued_lines.fetch_add(lines, Relaxed);
        let fits = queued <= self.bytes_max && !self.shared.closing.load(Relaxed);
        let left = if fits { self.sender.try_send(Some(batch)).err().and_then(lost) } else { Some(batch) };
        if let Some(batch) = left {
            self.shared.queued_bytes.fetch_sub(size, Relaxed);
            self.shared.queued_lines.fetch_sub(lines, Relaxed);
            self.shared.lines_dropped.fetch_add(lines, Relaxed);
            self.shared.shares.give_back(&batch.parts);
        }
    }

    pub(crate) fn reopen(&self) {
        self.shared.reopen_wanted.store(true, SeqCst);
        self.wake();
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            lines_written: self.shared.lines_written.load(Relaxed),
            lines_dropped: self.shared.lines_dropped.load(Relaxed),
            lines_above_share: self.shared.lines_above_share.load(Relaxed),
            failures: self.shared.failures.load(Relaxed),
        }
    }

    pub(crate) fn close(&self, deadline: Duration) -> bool {
        self.shared.closing.store(true, SeqCst);
        self.wake();
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let finished =
            !matches!(done.recv_timeout(deadline), Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        if !finished {
            self.shared.abandoned.store(true, SeqCst);
            self.writer.unpark();
            self.shared.lines_dropped.fetch_add(self.shared.queued_lines.swap(0, Relaxed), Relaxed);
        }
        finished
    }

    /// A full queue needs no waking message: the writer looks at the flags before each batch.
    fn wake(&self) {
        self.sender.try_send(None).unwrap_or_default();
        self.writer.unpark();
    }
}

/// The batch of an offer that the writer did not take.
fn lost(error: TrySendError<Message>) -> Message {
    match error {
        TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
    }
}

struct Writer {
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    out: File,
    path: Option<PathBuf>,
    on_failure: OnFailure,
}

impl Writer {
    fn run(mut self) {
        while let Some(message) = self.next() {
            self.reopen_if_wanted();
            let Some(Lines { bytes, lines, parts }) = message else { continue };
            let written = self.write_batch(&bytes);
            self.shared.queued_bytes.fetch_sub(bytes.len(), Relaxed);
            self.shared.shares.give_back(&parts);
            if !written {
                return; // abandoned: `close` has counted what was queued
            }
            self.shared.queued_lines.fetch_sub(lines, Relaxed);
            self.shared.lines_written.fetch_add(lines, Relaxed);
        }
    }

    /// The next message; `None` when every sender is gone, or when closing and the queue is empty.
    fn next(&self) -> Option<Message> {
        if self.shared.closing.load(SeqCst) {
            self.messages.try_recv().ok()
        } else {
            self.messages.recv().ok()
        }
    }

    /// Writes whole lines, however long it takes; gives up (false) only when abandoned.
    ///
    /// A failed write goes on where it stopped, so that no line is torn; if the file was reopened meanwhile
    /// it goes on from the start of the line it was in.
    fn write_batch(&mut self, bytes: &[u8]) -> bool {
        let mut from = 0;
        while let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty()) {
            match self.out.write(rest) {
                Ok(0) => self.failed(&ErrorKind::WriteZero.into()),
                Ok(written) => {
                    from += written;
                    continue;
                }
                Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => thread::park_timeout(FULL_PAUSE),
                Err(cause) => self.failed(&cause),
            }
            if self.shared.abandoned.load(SeqCst) {
                return false;
            }
            if self.reopen_if_wanted() {
                let done = bytes.get(..from).unwrap_or_default();
                from = done.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
            }
        }
        true
    }

    fn failed(&self, cause: &io::Error) {
        self.note_failure(cause);
        thread::park_timeout(RETRY_PAUSE);
    }

    fn note_failure(&self, cause: &io::Error) {
        (self.on_failure)(cause);
        self.shared.failures.fetch_add(1, Relaxed);
    }

    /// Gives whether a new file is in use.
    fn reopen_if_wanted(&mut self) -> bool {
        if !self.shared.reopen_wanted.swap(false, SeqCst) {
            return false;
        }
        match self.path.as_deref().map(open_file) {
            Some(Ok(file)) => {
                self.out = file;
                true
            }
            Some(Err(cause)) => {
                self.note_failure(&cause);
                false
            }
            None => false,
        }
    }
}

/// Opens a file to append to. A pipe is opened for reading too, and without waiting: opened for writing
/// alone it would hold up whoever opens it until somebody reads, which is the node's start, and a write
/// that waits in the kernel would hear of no SIGUSR1 (fifo(7)).
fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640);
    if fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    }
    options.open(path)
}
