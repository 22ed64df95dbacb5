//! The counters of one serving thread, and the arithmetic of counting without contention.
//!
//! One writer per block, so an addition is a load and a store, both relaxed, and never a locked instruction.
//! A scrape may see a request counted and its bytes not yet; it never sees a torn number.
//! Read next: [`ThreadMetrics`].

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::LabelLists;
use super::labels::{
    CacheOutcome, CodedSource, Coding, Direction, HandshakeOutcome, LimitAction, LimitKind, NotInspected,
    OriginConnection, OriginOutcome, OriginWait, Protocol, RuleWork, StatusClass, TlsVersion, Unanswered,
    WafOutcome, Worth,
};

/// Upper bounds of the duration buckets, in microseconds: about three per decade from what a local hit takes
/// to what a long answer takes. Streams and WebSockets of hours end in the last, unbounded one.
pub const BUCKETS_US: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The bounds as the text format writes them, in seconds.
pub(crate) const BUCKET_LABELS: [&str; BUCKETS_US.len() + 1] = [
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
    "10", "30", "60", "+Inf",
];

/// Makes an array of counters at zero.
pub(crate) fn fresh<const N: usize>() -> [AtomicU64; N] {
    [const { AtomicU64::new(0) }; N]
}

fn fresh_rows<const N: usize, const M: usize>() -> [[AtomicU64; N]; M] {
    [const { [const { AtomicU64::new(0) }; N] }; M]
}

fn fresh_list(length: usize) -> Box<[AtomicU64]> {
    (0..length).map(|_| AtomicU64::new(0)).collect()
}

/// One thread's counters.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) requests: [[AtomicU64; StatusClass::COUNT]; Protocol::COUNT],
    pub(crate) duration_buckets: [[AtomicU64; BUCKET_LABELS.len()]; Protocol::COUNT],
    pub(crate) duration_us: [AtomicU64; Protocol::COUNT],
    pub(crate) connections: [AtomicU64; Protocol::COUNT],
    pub(crate) connections_closed: [AtomicU64; Protocol::COUNT],
    pub(crate) tls_handshakes: [[AtomicU64; HandshakeOutcome::COUNT]; TlsVersion::COUNT],
    pub(crate) refusals: Box<[AtomicU64]>,
    pub(crate) faults: Box<[AtomicU64]>,
    pub(crate) over_limit: [[AtomicU64; LimitAction::COUNT]; LimitKind::COUNT],
    pub(crate) visitor_bytes: [AtomicU64; Direction::COUNT],
    pub(crate) origin_requests: [AtomicU64; OriginOutcome::COUNT],
    pub(crate) origin_connections: [AtomicU64; OriginConnection::COUNT],
    pub(crate) origin_retries: AtomicU64,
    pub(crate) origin_waits: [AtomicU64; OriginWait::COUNT],
    pub(crate) waf: [AtomicU64; WafOutcome::COUNT],
    pub(crate) waf_off_thread: AtomicU64,
    pub(crate) waf_not_inspected: [AtomicU64; NotInspected::COUNT],
    pub(crate) waf_uninspected: AtomicU64,
    pub(crate) waf_lookups: AtomicU64,
    pub(crate) waf_unanswered: [AtomicU64; Unanswered::COUNT],
    pub(crate) waf_shadow: AtomicU64,
    pub(crate) waf_kept_back: AtomicU64,
    pub(crate) rule_steps: [AtomicU64; RuleWork::COUNT],
    pub(crate) cache: [AtomicU64; CacheOutcome::COUNT],
    pub(crate) coded_answers: [[AtomicU64; CodedSource::COUNT]; Coding::COUNT],
    pub(crate) coding_bytes: [[AtomicU64; Direction::COUNT]; Coding::COUNT],
    pub(crate) codings_failed: AtomicU64,
    pub(crate) connections_dropped: AtomicU64,
    pub(crate) connections_shed: AtomicU64,
    pub(crate) shed: [AtomicU64; Worth::COUNT],
    pub(crate) abuses: Box<[AtomicU64]>,
}

impl Block {
    pub(crate) fn new(labels: &LabelLists) -> Self {
        Self {
            requests: fresh_rows(),
            duration_buckets: fresh_rows(),
            duration_us: fresh(),
            connections: fresh(),
            connections_closed: fresh(),
            tls_handshakes: fresh_rows(),
            refusals: fresh_list(labels.refusals.len()),
            faults: fresh_list(labels.faults.len()),
            over_limit: fresh_rows(),
            visitor_bytes: fresh(),
            origin_requests: fresh(),
            origin_connections: fresh(),
            origin_retries: AtomicU64::new(0),
            origin_waits: fresh(),
            waf: fresh(),
            waf_off_thread: AtomicU64::new(0),
            waf_not_inspected: fresh(),
            waf_uninspected: AtomicU64::new(0),
            waf_lookups: AtomicU64::new(0),
            waf_unanswered: fresh(),
            waf_shadow: AtomicU64::new(0),
            waf_kept_back: AtomicU64::new(0),
            rule_steps: fresh(),
            cache: fresh(),
            coded_answers: fresh_rows(),
            coding_bytes: fresh_rows(),
            codings_failed: AtomicU64::new(0),
            connections_dropped: AtomicU64::new(0),
            connections_shed: AtomicU64::new(0),
            shed: fresh(),
            abuses: fresh_list(labels.abuses.len()),
        }
    }
}

/// Adds to a counter that only this thread writes.
fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(number), Relaxed);
}

/// One serving thread's hand on its counters. Can move to the thread, cannot be shared: the counters have one
/// writer.
#[derive(Debug)]
pub struct ThreadMetrics {
    block: Arc<Block>,
    one_writer: PhantomData<Cell<()>>,
}

impl ThreadMetrics {
    pub(crate) fn new(block: Arc<Block>) -> Self {
        Self { block, one_writer: PhantomData }
    }

    /// Counts a finished request: its final status (`None` when the visitor left before a head was sent) and
    /// its whole duration in microseconds.
    pub fn request(&self, protocol: Protocol, status: Option<u16>, duration_us: u64) {
        let row = protocol as usize;
        add(&self.block.requests[row][StatusClass::of(status) as usize], 1);
        let bucket = BUCKETS_US.partition_point(|bound_us| *bound_us < duration_us);
        add(&self.block.duration_buckets[row][bucket], 1);
        add(&self.block.duration_us[row], duration_us);
    }

    /// Counts a visitor's connection once its protocol is known.
    pub fn connection_opened(&self, protocol: Protocol) {
        add(&self.block.connections[protocol as usize], 1);
    }

    /// Counts the end of a connection that was counted by [`Self::connection_opened`].
    pub fn connection_closed(&self, protocol: Protocol) {
        add(&self.block.connections_closed[protocol as usize], 1);
    }

    /// Counts the end of a TLS handshake with a visitor.
    pub fn tls_handshake(&self, version: TlsVersion, outcome: HandshakeOutcome) {
        add(&self.block.tls_handshakes[version as usize][outcome as usize], 1);
    }

    /// Counts a refusal by its place in [`super::LabelLists::refusals`]. A place beyond the list is a bug and
    /// counts nothing.
    pub fn refusal(&self, place: usize) {
        debug_assert!(place < self.block.refusals.len(), "no refusal has the place {place}");
        if let Some(counter) = self.block.refusals.get(place) {
            add(counter, 1);
        }
    }

    /// Counts a fault by its place in [`super::LabelLists::faults`]. A place beyond the list is a bug and
    /// counts nothing.
    pub fn fault(&self, place: usize) {
        debug_assert!(place < self.block.faults.len(), "no fault has the place {place}");
        if let Some(counter) = self.block.faults.get(place) {
            add(counter, 1);
        }
    }

    /// Counts a visitor that was ended, refused or asked for more because of what it did, by its place in
    /// [`super::LabelLists::abuses`]. A place beyond the list is a bug and counts nothing.
    pub fn abuse(&self, place: usize) {
        debug_assert!(place < self.block.abuses.len(), "no abuse has the place {place}");
        if let Some(counter) = self.block.abuses.get(place) {
            add(counter, 1);
        }
    }

    /// Counts a request over a zone's limit.
    pub fn over_limit(&self, kind: LimitKind, action: LimitAction) {
        add(&self.block.over_limit[kind as usize][action as usize], 1);
    }

    /// Counts bytes of bodies from and to a visitor.
    pub fn visitor_bytes(&self, direction: Direction, bytes: u64) {
        add(&self.block.visitor_bytes[direction as usize], bytes);
    }

    /// Counts an attempt at an origin.
    pub fn origin_request(&self, outcome: OriginOutcome) {
        add(&self.block.origin_requests[outcome as usize], 1);
    }

    /// Counts a connection used for an attempt.
    pub fn origin_connection(&self, connection: OriginConnection) {
        add(&self.block.origin_connections[connection as usize], 1);
    }

    /// Counts what the cache did for a request.
    pub fn cache(&self, outcome: CacheOutcome) {
        add(&self.block.cache[outcome as usize], 1);
    }

    /// Counts an answer that went out in a coding given here.
    pub fn coded_answer(&self, coding: Coding, source: CodedSource) {
        add(&self.block.coded_answers[coding as usize][source as usize], 1);
    }

    /// Counts what an encoder was fed and what it gave.
    pub fn coded(&self, coding: Coding, bytes_in: u64, bytes_out: u64) {
        let row = &self.block.coding_bytes[coding as usize];
        add(&row[Direction::In as usize], bytes_in);
        add(&row[Direction::Out as usize], bytes_out);
    }

    /// Counts an encoder that could not be made, or broke.
    pub fn coding_failed(&self) {
        add(&self.block.codings_failed, 1);
    }

    /// Counts connections closed unserved.
    pub fn connections_dropped(&self, count: usize) {
        add(&self.block.connections_dropped, count as u64);
    }

    /// Counts idle connections closed to make room.
    pub fn connections_shed(&self, count: usize) {
        add(&self.block.connections_shed, count as u64);
    }

    /// Counts a request that waited for a place at an origin.
    pub fn origin_wait(&self, how: OriginWait) {
        add(&self.block.origin_waits[how as usize], 1);
    }

    /// Counts a request that was shed.
    pub fn shed(&self, worth: Worth) {
        add(&self.block.shed[worth as usize], 1);
    }

    /// Counts an attempt after the first.
    pub fn origin_retry(&self) {
        add(&self.block.origin_retries, 1);
    }

    /// Counts a request that the firewall was asked about, by what it came to.
    pub fn waf(&self, outcome: WafOutcome) {
        add(&self.block.waf[outcome as usize], 1);
    }

    /// Counts a body that was inspected off the serving threads.
    pub fn waf_off_thread(&self) {
        add(&self.block.waf_off_thread, 1);
    }

    /// Counts a body that was not inspected because too many are, or because that took too long.
    pub fn waf_not_inspected(&self, why: NotInspected) {
        add(&self.block.waf_not_inspected[why as usize], 1);
    }

    /// Counts bytes of bodies that the firewall did not inspect and should have.
    pub fn waf_uninspected(&self, bytes: u64) {
        add(&self.block.waf_uninspected, bytes);
    }

    /// Counts names that the firewall asked lists for.
    pub fn waf_lookups(&self, names: u64) {
        add(&self.block.waf_lookups, names);
    }

    /// Counts values that an operator of the firewall could not ask about.
    pub fn waf_unanswered(&self, operator: Unanswered, values: u64) {
        add(&self.block.waf_unanswered[operator as usize], values);
    }

    /// Counts work of rules, in steps.
    pub fn rule_steps(&self, of: RuleWork, steps: u64) {
        add(&self.block.rule_steps[of as usize], steps);
    }

    /// Counts an answer that was fetched for the store alone and kept back.
    pub fn waf_kept_back(&self) {
        add(&self.block.waf_kept_back, 1);
    }

    /// Counts a request that the firewall's shadow judged otherwise.
    pub fn waf_shadow_differed(&self) {
        add(&self.block.waf_shadow, 1);
    }
}
