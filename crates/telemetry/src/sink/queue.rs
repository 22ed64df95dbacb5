//! A bounded queue of byte batches and the one thread that writes them to a descriptor.
//!
//! Bounded twice, by bytes and by batches; an offer never blocks. Knows nothing of what the bytes say but
//! that they are whole lines. Used by [`super::AccessLog`] and [`crate::events::Events`]. Read next:
//! [`Queue`], then `Writer::write_batch` for what happens when writing fails.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

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
    /// A file, created with mode 0640 if missing, appended to.
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
    /// Lines dropped because the queue was full or closed.
    pub lines_dropped: u64,
    /// Writes and openings that failed; a failed write is tried again.
    pub failures: u64,
}

/// Told of each failure; may be called once per second while a target stays broken.
pub(crate) type OnFailure = Box<dyn Fn(&io::Error) + Send>;

#[derive(Debug)]
struct Lines {
    bytes: Box<[u8]>,
    lines: u64,
}

/// `None` only wakes the writer, so that it looks at the flags.
type Message = Option<Lines>;

#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    queued_lines: AtomicU64,
    lines_written: AtomicU64,
    lines_dropped: AtomicU64,
    failures: AtomicU64,
    reopen_wanted: AtomicBool,
    closing: AtomicBool,
    abandoned: AtomicBool,
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

    /// Queues whole lines, or drops and counts them. Never blocks.
    pub(crate) fn offer(&self, bytes: Box<[u8]>, lines: u64) {
        let size = bytes.len();
        let queued = self.shared.queued_bytes.fetch_add(size, Relaxed) + size;
        self.shared.queued_lines.fetch_add(lines, Relaxed);
        let fits = queued <= self.bytes_max && !self.shared.closing.load(Relaxed);
        if !fits || self.sender.try_send(Some(Lines { bytes, lines })).is_err() {
            self.shared.queued_bytes.fetch_sub(size, Relaxed);
            self.shared.queued_lines.fetch_sub(lines, Relaxed);
            self.shared.lines_dropped.fetch_add(lines, Relaxed);
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
            let Some(Lines { bytes, lines }) = message else { continue };
            let written = self.write_batch(&bytes);
            self.shared.queued_bytes.fetch_sub(bytes.len(), Relaxed);
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
        match self.path.as_ref().map(open_file) {
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

fn open_file(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}
