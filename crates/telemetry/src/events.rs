//! Operational log lines: what an operator reads when something happened to the node, one JSON object a line.
//!
//! Not the access log (one line per exchange, [`crate::access`]) and not the security events of a later
//! issue. Writing goes over a bounded queue, so a stalled reader of standard error stops nobody; each event
//! name is limited to [`LINES_PER_SECOND_MAX`], and what was held back is counted in the next line.
//! Called by everybody in the planes and by the binary. Read next: [`Events::emit`].

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::json::{write_number, write_text};
use crate::sink::queue::{Counts, Limits, Queue, Target};
use crate::time::TimeText;

#[cfg(test)]
mod tests;

/// Most lines a second of one event name: a fault in a loop must not hide the one line that explains it.
pub const LINES_PER_SECOND_MAX: u32 = 10;

/// Longest text of one value in bytes; longer ones are cut and end in `…`.
pub const VALUE_BYTES_MAX: usize = 4096;

/// How much an operator should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Ordinary life: started, reloaded, drained.
    Info,
    /// Something did not work and a defined fallback took its place. A healthy run has none.
    Warn,
    /// Something did not work and somebody notices. A healthy run has none.
    Error,
}

impl Level {
    fn label(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// The value of one field of an event.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes of any origin, written like text.
    Bytes(&'a [u8]),
    /// A number.
    Number(u64),
    /// True or false.
    Flag(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Value::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value::Bytes(bytes)
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Value::Number(number.into())
    }
}

impl From<usize> for Value<'_> {
    fn from(number: usize) -> Self {
        Value::Number(number as u64)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Value::Flag(flag)
    }
}

/// Writer of operational log lines. Clones share one queue and one count per event name.
#[derive(Debug, Clone)]
pub struct Events {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    clock: fn() -> u64,
    state: Mutex<State>,
    suppressed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    time: TimeText,
    rates: HashMap<&'static str, Rate>,
}

/// Lines of one event name within the present second.
#[derive(Debug, Default)]
struct Rate {
    second: u64,
    lines: u32,
    suppressed: u64,
}

impl Events {
    /// Opens the target (standard error as a rule) and starts the writer thread. `clock` gives the time in
    /// microseconds since 1970; the queue holds at most 1 MiB or 1024 lines.
    ///
    /// # Errors
    /// When the target cannot be opened or the thread cannot be started.
    pub fn start(target: Target, clock: fn() -> u64) -> io::Result<Self> {
        let limits = Limits { queue_bytes_max: 1024 * 1024, queue_batches_max: 1024 };
        // Nobody is left to tell of a broken log of operations; the failure is counted.
        let queue = Queue::open("events", target, limits, Box::new(|_| ()))?;
        let inner = Inner { queue, clock, state: Mutex::default(), suppressed: AtomicU64::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Writes one line: `time`, `level`, `event`, then the fields in the order given. Never blocks on the
    /// target.
    ///
    /// `event` is a name in snake case, of which the code has a fixed number. Beyond
    /// [`LINES_PER_SECOND_MAX`] of one name in a second lines are counted only; the next line of that name
    /// carries the number in `suppressed`. Field names other than these five are the caller's choice.
    pub fn emit(&self, level: Level, event: &'static str, fields: &[(&'static str, Value<'_>)]) {
        debug_assert!(
            fields.iter().all(|(name, _)| !RESERVED.contains(name)),
            "{event} uses a reserved name"
        );
        let now_us = (self.inner.clock)();
        let mut line = Vec::with_capacity(256);
        {
            let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(suppressed) = state.rates.entry(event).or_default().admit(now_us / 1_000_000) else {
                self.inner.suppressed.fetch_add(1, Relaxed);
                return;
            };
            write_line(&mut line, state.time.text(now_us), level, event, suppressed, fields);
        }
        self.inner.queue.offer(line.into(), 1);
    }

    /// Writes a line of level `info`; see [`Events::emit`].
    pub fn info(&self, event: &'static str, fields: &[(&'static str, Value<'_>)]) {
        self.emit(Level::Info, event, fields);
    }

    /// Writes a line of level `warn`; see [`Events::emit`].
    pub fn warn(&self, event: &'static str, fields: &[(&'static str, Value<'_>)]) {
        self.emit(Level::Warn, event, fields);
    }

    /// Writes a line of level `error`; see [`Events::emit`].
    pub fn error(&self, event: &'static str, fields: &[(&'static str, Value<'_>)]) {
        self.emit(Level::Error, event, fields);
    }

    /// Lines held back by the limit per name since the start.
    pub fn suppressed(&self) -> u64 {
        self.inner.suppressed.load(Relaxed)
    }

    /// Counts of the queue: written, dropped because the target stalled, failed writes.
    pub fn counts(&self) -> Counts {
        self.inner.queue.counts()
    }

    /// Writes what is queued and ends the writer, waiting at most `deadline`; gives whether all was written.
    /// Blocks the caller. Call before the process exits; later lines count as dropped.
    pub fn close(&self, deadline: Duration) -> bool {
        self.inner.queue.close(deadline)
    }
}

const RESERVED: [&str; 4] = ["time", "level", "event", "suppressed"];

impl Rate {
    /// Counts a line; `None` holds it back, otherwise the number of lines held back before it.
    fn admit(&mut self, second: u64) -> Option<u64> {
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines >= LINES_PER_SECOND_MAX {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

fn write_line(
    line: &mut Vec<u8>,
    time: &[u8],
    level: Level,
    event: &str,
    suppressed: u64,
    fields: &[(&'static str, Value<'_>)],
) {
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(time);
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(level.label().as_bytes());
    line.extend_from_slice(b"\",\"event\":");
    write_text(line, event.as_bytes(), VALUE_BYTES_MAX);
    for (name, value) in fields {
        line.push(b',');
        write_text(line, name.as_bytes(), VALUE_BYTES_MAX);
        line.push(b':');
        match value {
            Value::Text(text) => write_text(line, text.as_bytes(), VALUE_BYTES_MAX),
            Value::Bytes(bytes) => write_text(line, bytes, VALUE_BYTES_MAX),
            Value::Number(number) => write_number(line, *number),
            Value::Flag(true) => line.extend_from_slice(b"true"),
            Value::Flag(false) => line.extend_from_slice(b"false"),
        }
    }
    if suppressed > 0 {
        line.extend_from_slice(b",\"suppressed\":");
        write_number(line, suppressed);
    }
    line.extend_from_slice(b"}\n");
}
