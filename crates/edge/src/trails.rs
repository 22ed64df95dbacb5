//! The ring of trails that `rempart trace` reads: bounded, by request id.
//!
//! Each thread has two rings: one for refusals and faults, which stay long, and one for all the rest.

use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use exchange::{RequestId, Trail};
use telemetry::time::TimeText;
use zone::Zone;

/// Trails kept a thread and ring: some 400 KiB when full.
const KEPT: usize = 1024;

/// What is kept of one exchange.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) id: RequestId,
    pub(crate) unix_us: u64,
    pub(crate) duration_us: u64,
    pub(crate) zone: Option<Arc<Zone>>,
    pub(crate) snapshot: u64,
    pub(crate) status: u16,
    pub(crate) outcome: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) trail: Trail,
    /// Ids of the rules that matched, in order.
    pub(crate) rules: Vec<Arc<str>>,
    /// What the firewall found, and what would allow it.
    pub(crate) waf: Option<Box<str>>,
}

#[derive(Default)]
struct Ring {
    kept: Vec<Kept>,
    next: usize,
}

impl Ring {
    fn put(&mut self, kept: Kept) {
        match self.kept.get_mut(self.next) {
            Some(slot) => *slot = kept,
            None => self.kept.push(kept),
        }
        self.next = (self.next + 1) % KEPT;
    }
}

/// The rings of one thread.
#[derive(Default)]
pub(crate) struct Trails {
    rings: Mutex<[Ring; 2]>,
}

impl Trails {
    fn rings(&self) -> MutexGuard<'_, [Ring; 2]> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, kept: Kept, is_trouble: bool) {
        self.rings()[usize::from(is_trouble)].put(kept);
    }

    pub(crate) fn find(&self, id: RequestId) -> Option<Kept> {
        self.rings().iter().flat_map(|ring| &ring.kept).find(|kept| kept.id == id).cloned()
    }
}

impl Kept {
    /// The trail as `rempart trace` prints it.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let zone = self.zone.as_ref().map_or("none", |zone| zone.name.as_str());
        let _infallible = writeln!(
            out,
            "request {}\nzone {zone}, snapshot {}, status {}, {} µs, began {}\noutcome {}{}{}",
            self.id,
            self.snapshot,
            self.status,
            self.duration_us,
            String::from_utf8_lossy(TimeText::new().text(self.unix_us)),
            self.outcome,
            if self.reason.is_empty() { "" } else { ": " },
            self.reason,
        );
        for line in self.trail.lines() {
            let _infallible = writeln!(
                out,
                "{:>10} µs  {:<9}  {}  {}",
                line.at_us,
                line.phase.as_str(),
                line.decision,
                line.detail
            );
        }
        if !self.rules.is_empty() {
            let _infallible = writeln!(out, "rules {}", self.rules.join(" "));
        }
        if let Some(waf) = &self.waf {
            out.push_str(waf);
        }
        if self.trail.lost() > 0 {
            let _infallible = writeln!(out, "and {} lines that found no room", self.trail.lost());
        }
        out
    }
}
