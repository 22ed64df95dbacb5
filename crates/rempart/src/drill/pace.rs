//! How fast the machine is while something is measured on it: a fixed piece of work, done again and again.
//!
//! A virtual machine does half as much in one moment as in the next, and says nothing of it. What was
//! measured in two moments is compared by how long the piece took in each. Read next: [`super::spike`].

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

use crate::clock;

/// Steps of a piece: some 0.2 to 0.5 ms.
const STEPS: u64 = 500_000;

/// How long it waits between two: with that it takes a fiftieth of a core.
const PAUSE: Duration = Duration::from_millis(20);

/// Pieces that are being done.
pub(super) struct Pace {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, f64)>>,
}

/// Pieces that were done: when each was, and what it took of processor time in microseconds.
pub(super) struct Pieces(Vec<(Instant, f64)>);

/// CPU time of this thread, in microseconds.
fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn piece() -> f64 {
    let before_us = cpu_us();
    let mut value = 1_u64;
    for step in 0..STEPS {
        value = black_box(value.wrapping_add(step));
    }
    black_box(value);
    cpu_us() - before_us
}

impl Pace {
    /// Begins, on a thread of its own.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn begin() -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let shared = Arc::clone(&ends);
        let thread = thread::Builder::new().name("pace".to_owned()).spawn(move || {
            let mut pieces = Vec::new();
            while !shared.load(Relaxed) {
                thread::sleep(PAUSE);
                pieces.push((clock::now(), piece()));
            }
            pieces
        })?;
        Ok(Self { ends, thread })
    }

    /// Ends.
    ///
    /// # Errors
    /// Its thread broke.
    pub(super) fn end(self) -> Result<Pieces> {
        self.ends.store(true, Relaxed);
        self.thread.join().ok().context("a thread of the drill broke").map(Pieces)
    }
}

impl Pieces {
    /// What a piece took on average between two moments, in microseconds; 1 if there was none.
    pub(super) fn mean_us(&self, from: Instant, to: Instant) -> f64 {
        let within = || self.0.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, us)| us);
        let count = within().count();
        if count == 0 { 1.0 } else { within().sum::<f64>() / count as f64 }
    }
}
