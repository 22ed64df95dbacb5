//! Metrics: counters that each serving thread keeps to itself, summed when somebody asks.
//!
//! A request costs a few relaxed stores to memory no other thread writes. Labels come from closed enums, so
//! the number of series is known at build time; zones are open-ended and therefore have counters and a page
//! of their own ([`zones`]). Does not listen on a port and decides nothing. Called by the edge
//! ([`ThreadMetrics`]), the binary (scrape) and `xtask` ([`reference()`]). Read next: [`Registry`], then
//! [`ThreadMetrics`].

mod block;
mod families;
mod labels;
pub mod process;
mod reference;
mod render;
pub mod zones;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

pub use block::{BUCKETS_US, ThreadMetrics};
use block::{Block, fresh};
pub use labels::{
    CacheOutcome, CodedSource, Coding, Direction, FeedStage, FloodStage, HandshakeOutcome, LimitAction,
    LimitKind, NotInspected, OriginConnection, OriginOutcome, OriginWait, Outcome, OverLevel, Protocol,
    RuleWork, StatusClass, Tier, TlsVersion, Trouble, Unanswered, WafOutcome, Worth,
};
use process::Process;
pub use reference::{Elsewhere, reference};

#[cfg(test)]
mod tests;

/// `Content-Type` of both pages: the Prometheus text format 0.0.4.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels whose closed enums live in other crates, given once at the start.
///
/// The place of a label in its list is what [`ThreadMetrics::refusal`], [`ThreadMetrics::fault`],
/// [`ThreadMetrics::abuse`] and [`Registry::contained`] take.
#[derive(Debug, Clone, Copy)]
pub struct LabelLists {
    /// Every refusal's name.
    pub refusals: &'static [&'static str],
    /// Every fault's name, tokens of RFC 9209.
    pub faults: &'static [&'static str],
    /// Every phase's name, in order.
    pub phases: &'static [&'static str],
    /// Every kind of abuse that is met before, or beside, a request.
    pub abuses: &'static [&'static str],
}

/// What the page shows beside the registry's own counters, gathered by the caller when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Counts of the access log.
    pub access_log: crate::sink::Counts,
    /// Operational lines held back by the limit per name.
    pub events_suppressed: u64,
    /// What is held for visitors.
    pub held: Held,
    /// Visitors that limits of zones could not keep count of.
    pub limits_forgotten: u64,
    /// Bodies that wait for a thread to inspect them.
    pub bodies_waiting: u64,
    /// Zones whose load is above what is usual.
    pub flooded_zones: u64,
    /// Generated limits by stage: observing, limiting, tightened.
    pub flood_limits: [u64; FloodStage::COUNT],
    /// Files that have a horizon: fresh, getting old, past it.
    pub feeds: [u64; FeedStage::COUNT],
    /// Serving threads that shed requests.
    pub shedding_threads: u64,
    /// How late the latest of them is, in microseconds.
    pub delay_us: u64,
    /// What origins stand at.
    pub origins: Origins,
    /// What is stored for visitors to come.
    pub stored: Stored,
    /// How often an edge was started in the place of one that died or hung.
    pub edge_restarts: u64,
    /// The process's resources; absent when they could not be read.
    pub process: Option<Process>,
}

/// How origins fare at this moment, over all pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Origins {
    /// Those that health checks find unwell.
    pub unhealthy: u64,
    /// Those left out for a while after failures in traffic.
    pub ejected: u64,
    /// Those whose circuit is open.
    pub open: u64,
    /// Those of which it is limited how many requests wait for them.
    pub limited: u64,
    /// Requests that wait for a place at one.
    pub in_line: u64,
}

/// Sums over all threads since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Finished requests.
    pub requests: u64,
    /// Of these, answers of 5xx.
    pub server_errors: u64,
    /// How many took at most as long as each of [`BUCKETS_US`] and longer than the one before; last those
    /// that took longer than all.
    pub durations: [u64; BUCKETS_US.len() + 1],
    /// Caught panics.
    pub panics: u64,
    /// Refusals, in the order of [`LabelLists::refusals`].
    pub refusals: Vec<u64>,
    /// Faults, in the order of [`LabelLists::faults`].
    pub faults: Vec<u64>,
}

/// What a node holds for visitors, and how often a bound on it was reached.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    /// Bytes held now.
    pub bytes: u64,
    /// Most bytes that may be held.
    pub bytes_max: u64,
    /// How often the bound of a connection, a zone and the node was reached.
    pub over: [u64; OverLevel::COUNT],
}

/// What the cache holds, and what happened to it.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// Bytes in memory and on disk.
    pub bytes: [u64; Tier::COUNT],
    /// Answers in memory and on disk.
    pub objects: [u64; Tier::COUNT],
    /// Counts of what is seldom, by name.
    pub events: Vec<(&'static str, u64)>,
}

/// All counters of one process. Made once, shared by reference count.
#[derive(Debug)]
pub struct Registry {
    labels: LabelLists,
    threads: Mutex<Vec<Arc<Block>>>,
    snapshot_number: AtomicU64,
    panics: AtomicU64,
    reloads: [AtomicU64; Outcome::COUNT],
    certificate_reloads: [AtomicU64; Outcome::COUNT],
    health_checks: [AtomicU64; Outcome::COUNT],
    contained: Box<[[AtomicU64; Trouble::COUNT]]>,
    quarantines: Box<[AtomicU64]>,
    stuck_threads: AtomicU64,
}

impl Registry {
    /// Makes an empty registry.
    pub fn new(labels: LabelLists) -> Arc<Self> {
        Arc::new(Self {
            labels,
            threads: Mutex::default(),
            snapshot_number: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            reloads: fresh(),
            certificate_reloads: fresh(),
            health_checks: fresh(),
            contained: labels.phases.iter().map(|_| fresh()).collect(),
            quarantines: labels.phases.iter().map(|_| AtomicU64::new(0)).collect(),
            stuck_threads: AtomicU64::new(0),
        })
    }

    /// Registers one serving thread and gives its counters. What a thread counted stays counted after its
    /// end, so call it once per thread and not per connection.
    pub fn thread(&self) -> ThreadMetrics {
        let block = Arc::new(Block::new(&self.labels));
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&block));
        ThreadMetrics::new(block)
    }

    /// Notes the number of the snapshot that new requests see.
    pub fn set_snapshot_number(&self, number: u64) {
        self.snapshot_number.store(number, Relaxed);
    }

    /// Counts a caught panic.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// Counts what broke in a phase, by the phase's place in [`LabelLists::phases`], and was contained in its
    /// exchange.
    pub fn contained(&self, phase: usize, trouble: Trouble) {
        if let Some(row) = self.contained.get(phase) {
            row[trouble as usize].fetch_add(1, Relaxed);
        }
    }

    /// Counts a phase of a zone that is no longer run for a while, by the phase's place in
    /// [`LabelLists::phases`].
    pub fn quarantined(&self, phase: usize) {
        if let Some(counter) = self.quarantines.get(phase) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts a serving thread that got stuck.
    pub fn thread_stuck(&self) {
        self.stuck_threads.fetch_add(1, Relaxed);
    }

    /// Counts an attempt to load and publish a new snapshot.
    pub fn reloaded(&self, outcome: Outcome) {
        self.reloads[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts an attempt to load certificates that changed.
    pub fn certificates_reloaded(&self, outcome: Outcome) {
        self.certificate_reloads[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Counts one active health check of one origin.
    pub fn health_checked(&self, outcome: Outcome) {
        self.health_checks[outcome as usize].fetch_add(1, Relaxed);
    }

    /// Sums what a comparison of two stretches of time needs. A request may be counted and its fault not yet.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            panics: self.panics.load(Relaxed),
            refusals: vec![0; self.labels.refusals.len()],
            faults: vec![0; self.labels.faults.len()],
            ..Totals::default()
        };
        for block in self.threads.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for row in &block.requests {
                totals.requests += row.iter().map(|count| count.load(Relaxed)).sum::<u64>();
                totals.server_errors += row[StatusClass::ServerError as usize].load(Relaxed);
            }
            for row in &block.duration_buckets {
                totals.durations.iter_mut().zip(row).for_each(|(sum, count)| *sum += count.load(Relaxed));
            }
            let add = |sums: &mut [u64], counts: &[AtomicU64]| {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count.load(Relaxed));
            };
            add(&mut totals.refusals, &block.refusals);
            add(&mut totals.faults, &block.faults);
        }
        totals
    }

    /// Gives the page in the Prometheus text format: every family, every combination of labels, zeros too.
    pub fn render(&self, outside: &Outside) -> String {
        render::page(self, outside)
    }
}
