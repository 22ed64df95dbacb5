//! A generated limit, and how a serving thread asks it.
//!
//! Two kinds. *By visitor*: each may make so many requests in some seconds that match. Asking goes on being
//! charged while one is refused, so that a program that does not stop stays out, and a person who waits
//! comes in. *In total*: strangers share what is usual for what matches, and visitors who were served
//! before the flood began do not count among them; they are limited by visitor.
//!
//! Both are leaky buckets (GCRA, ITU-T I.371) in words that are changed by compare-and-swap; nobody waits for
//! anybody. Visitors stand in sets of four by 20 bits of their hash: where more come than there is room for,
//! the one that asked least makes room and is forgiven, so that a limit errs by letting in.
//!
//! Made and moved by `watch.rs`; asked by serving threads. Read next: [`Limits::ask`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::explain::Pattern;
use crate::limits::{KNOWN_TIMES, OVER_MS_MAX, VISITOR_ALL, VISITORS_MAX};
use crate::note::{Dimension, Keys};
use crate::seen::{Memory, Size};

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Each visitor may make so many in so many seconds.
    Visitor(u32, u32),
    /// All strangers together may make so many a second.
    Total(f64),
}

/// How far a limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// It counts what it would do.
    Observe,
    /// It limits.
    Limit,
    /// It lets through half as much.
    Tight,
}

impl Stage {
    /// As written in events and in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Limit => "limit",
            Self::Tight => "tight",
        }
    }
}

/// Visitors' buckets.
#[derive(Debug)]
struct Buckets {
    words: Box<[AtomicU64]>,
}

const WAYS: usize = 4;

/// Bits of a word that hold the time up to which a visitor is charged, in eighths of a millisecond: seventy
/// years.
const TIME_BITS: u32 = 44;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const PER_MS: u64 = 8;

impl Buckets {
    fn new(size: Size) -> Self {
        Self { words: (0..size.share(VISITORS_MAX)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Charges a visitor one request of `most` in so many seconds; in how many milliseconds it may come
    /// again, if it is over.
    fn charge(&self, visitor: u64, (most, seconds): (u32, u32), now_ms: u64) -> Option<u64> {
        let (now, period) = (now_ms * PER_MS, u64::from(seconds) * 1_000 * PER_MS);
        let each = (period / u64::from(most.max(1))).max(1);
        let tag = visitor >> TIME_BITS << TIME_BITS;
        let set = visitor as usize % (self.words.len() / WAYS).max(1) * WAYS;
        let words = self.words.get(set..set + WAYS).unwrap_or_default();
        // A thread that loses twice lets its request in.
        for _ in 0..2 {
            let is_own = |word: &&AtomicU64| word.load(Relaxed) & !TIME_MASK == tag;
            let own = words.iter().find(is_own);
            let word = own.or_else(|| words.iter().min_by_key(|word| word.load(Relaxed) & TIME_MASK))?;
            let held = word.load(Relaxed);
            let until = if held & !TIME_MASK == tag { (held & TIME_MASK).max(now) } else { now };
            let charged = (until + each).min(now + period + OVER_MS_MAX * PER_MS);
            if word.compare_exchange(held, tag | charged & TIME_MASK, Relaxed, Relaxed).is_ok() {
                return charged.checked_sub(now + period).filter(|over| *over > 0).map(|over| over / PER_MS);
            }
        }
        None
    }
}

/// What a limit has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Requests that matched.
    pub matched: u64,
    /// Of these, refused; before it is in force, and in a zone that only logs, what would have been.
    pub refused: u64,
    /// Of those that matched, those of visitors who were served before the flood began.
    pub known: u64,
    /// Of these, refused.
    pub known_refused: u64,
}

impl Done {
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            matched: self.matched.saturating_sub(before.matched),
            refused: self.refused.saturating_sub(before.refused),
            known: self.known.saturating_sub(before.known),
            known_refused: self.known_refused.saturating_sub(before.known_refused),
        }
    }
}

/// One limit in force; shared by the watch and serving threads.
#[derive(Debug)]
pub struct Limit {
    /// Its number in its zone.
    pub number: u32,
    /// What it is for.
    pub pattern: Pattern,
    /// What it counts, before it is tightened.
    pub kind: Kind,
    stage: AtomicU8,
    /// Up to when strangers' requests in total are charged, in microseconds.
    total_until_us: AtomicU64,
    buckets: Buckets,
    /// Prefixes that usually ask much, with what one of their visitors may ask in a second: offices behind
    /// one address.
    busy: Box<[(u32, f32)]>,
    matched: AtomicU64,
    refused: AtomicU64,
    known: AtomicU64,
    known_refused: AtomicU64,
}

impl Limit {
    pub(crate) fn new(
        number: u32,
        pattern: Pattern,
        kind: Kind,
        busy: Box<[(u32, f32)]>,
        size: Size,
    ) -> Self {
        Self {
            number,
            pattern,
            kind,
            stage: AtomicU8::new(Stage::Observe as u8),
            total_until_us: AtomicU64::new(0),
            buckets: Buckets::new(size),
            busy,
            matched: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            known: AtomicU64::new(0),
            known_refused: AtomicU64::new(0),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Observe,
            1 => Stage::Limit,
            _ => Stage::Tight,
        }
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    /// What it has done so far.
    #[must_use]
    pub fn done(&self) -> Done {
        Done {
            matched: self.matched.load(Relaxed),
            refused: self.refused.load(Relaxed),
            known: self.known.load(Relaxed),
            known_refused: self.known_refused.load(Relaxed),
        }
    }

    /// What it lets through as it stands: the number of its kind.
    #[must_use]
    pub fn most(&self) -> Kind {
        match (self.kind, self.stage()) {
            (Kind::Visitor(most, seconds), Stage::Tight) => Kind::Visitor(most.div_ceil(2), seconds),
            (Kind::Total(per_s), Stage::Tight) => Kind::Total(per_s / 2.0),
            (kind, _) => kind,
        }
    }

    /// In how many milliseconds a request may come again that is over.
    fn charge(&self, keys: &Keys, is_known: bool, now_ms: u64) -> Option<u64> {
        let prefix = keys.value(Dimension::Prefix);
        let usual = self.busy.iter().find(|(busy, _)| *busy == prefix).map_or(0.0, |(_, per_s)| *per_s);
        let charge = |most: u32, seconds: u32| {
            let most = most.max((usual * seconds as f32) as u32);
            self.buckets.charge(keys.visitor, (most, seconds), now_ms)
        };
        match self.most() {
            Kind::Visitor(most, seconds) => {
                let most = match (self.kind, is_known) {
                    (Kind::Visitor(first, _), true) => KNOWN_TIMES * first,
                    _ => most,
                };
                charge(most, seconds)
            }
            Kind::Total(_) if is_known || usual > 0.0 => charge(VISITOR_ALL.0, VISITOR_ALL.1),
            Kind::Total(per_s) => self.charge_total(per_s, now_ms).then(|| 5_000 + keys.visitor % 5_000),
        }
    }

    /// Whether strangers are over; what is refused is not charged.
    fn charge_total(&self, per_s: f64, now_ms: u64) -> bool {
        let (now_us, each_us) = (now_ms * 1_000, (1_000_000.0 / per_s.max(0.001)) as u64);
        // A second's worth at once, or one request.
        let burst_us = each_us.max(1_000_000);
        let charge = |until_us: u64| {
            let charged_us = until_us.max(now_us) + each_us;
            (charged_us <= now_us + burst_us).then_some(charged_us)
        };
        self.total_until_us.fetch_update(Relaxed, Relaxed, charge).is_err()
    }
}

/// What a limit says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which limit.
    pub limit: u32,
    /// When it is worth coming again, in seconds.
    pub retry_s: u64,
}

/// The limits of a zone.
#[derive(Debug, Default)]
pub struct Limits {
    list: Vec<Arc<Limit>>,
    /// Visitors served before this second are known.
    since_s: u64,
}

impl Limits {
    pub(crate) fn new(list: Vec<Arc<Limit>>, since_s: u64) -> Self {
        Self { list, since_s }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Charges a request to the limits that it matches; the first that refuses it, if any does. `now_ms` is
    /// of the clock whose seconds the watch is given.
    #[must_use]
    pub fn ask(&self, keys: &Keys, memory: &Memory, now_ms: u64) -> Option<Answer> {
        let now_s = now_ms / 1_000;
        for limit in &self.list {
            if !limit.pattern.matches_asking(keys, || memory.is_new(keys.target, now_s)) {
                continue;
            }
            let is_known = memory.is_known(keys.visitor, now_s, self.since_s);
            limit.matched.fetch_add(1, Relaxed);
            limit.known.fetch_add(is_known.into(), Relaxed);
            let Some(over_ms) = limit.charge(keys, is_known, now_ms) else { continue };
            limit.refused.fetch_add(1, Relaxed);
            limit.known_refused.fetch_add(is_known.into(), Relaxed);
            if limit.stage() != Stage::Observe {
                return Some(Answer { limit: limit.number, retry_s: over_ms.div_ceil(1_000).max(1) });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix;

    fn limits(kind: Kind, busy: &[(u32, f32)]) -> (Limits, Arc<Limit>) {
        let limit = Arc::new(Limit::new(1, Pattern::default(), kind, busy.into(), Size::Large));
        limit.set_stage(Stage::Limit);
        (Limits::new(vec![Arc::clone(&limit)], 1_000), limit)
    }

    fn keys(visitor: u64, prefix: u32) -> Keys {
        Keys { visitor: mix(visitor), values: [prefix, 0, 0, 0, 0, 0, 0], target: 0 }
    }

    /// How many of so many requests, evenly over some seconds from 2,000 s on, are let in.
    fn admitted(limits: &Limits, keys: &Keys, memory: &Memory, (count, seconds): (u64, u64)) -> usize {
        let at_ms = |n: u64| 2_000_000 + n * seconds * 1_000 / count;
        (0..count).filter(|n| limits.ask(keys, memory, at_ms(*n)).is_none()).count()
    }

    #[test]
    fn a_visitor_that_does_not_stop_stays_out_and_one_that_waits_comes_in() {
        let memory = Memory::new(Size::Small);
        let (limits, _) = limits(Kind::Visitor(10, 10), &[]);
        assert_eq!(admitted(&limits, &keys(1, 1), &memory, (10, 10)), 10, "what is allowed");
        let persistent = admitted(&limits, &keys(2, 1), &memory, (300, 100));
        assert!((10..=20).contains(&persistent), "{persistent} of 300 at three times the rate");
        let answer = limits.ask(&keys(2, 1), &memory, 2_100_000).expect("over");
        assert!((1..=20).contains(&answer.retry_s), "{answer:?}");
        let after_ms = 2_100_000 + OVER_MS_MAX + 10_000;
        assert_eq!(limits.ask(&keys(2, 1), &memory, after_ms), None);
    }

    #[test]
    fn in_total_strangers_share_and_known_visitors_and_offices_do_not() {
        let memory = Memory::new(Size::Small);
        memory.turn(930);
        memory.served(mix(7), 930);
        memory.turn(1_300);
        let (mut limits, limit) = limits(Kind::Total(2.0), &[(9, 50.0)]);
        limits.since_s = 1_000;
        let strangers = (0..1_000_u64).filter(|n| {
            limits.ask(&keys(100 + n, 1), &memory, 1_300_000 + n * 10).is_none() // ten seconds
        });
        assert!((18..=24).contains(&strangers.count()), "two a second");
        let known = (0..50_u64).filter(|n| limits.ask(&keys(7, 1), &memory, 1_310_000 + n * 200).is_none());
        assert_eq!(known.count(), 50);
        let office = (0..400_u64).filter(|n| limits.ask(&keys(8, 9), &memory, 1_310_000 + n * 20).is_none());
        assert_eq!(office.count(), 400);
        let done = limit.done();
        assert_eq!((done.matched, done.known, done.known_refused), (1_450, 50, 0));
    }

    #[test]
    fn a_limit_that_observes_refuses_nobody_and_counts_whom_it_would() {
        let memory = Memory::new(Size::Small);
        let (limits, limit) = limits(Kind::Visitor(10, 10), &[]);
        limit.set_stage(Stage::Observe);
        assert_eq!(admitted(&limits, &keys(1, 1), &memory, (100, 1)), 100);
        assert_eq!(limit.done().refused, 90);
        limit.set_stage(Stage::Tight);
        assert_eq!(limit.most(), Kind::Visitor(5, 10));
    }

    #[test]
    fn more_visitors_than_there_is_room_for_are_let_in() {
        let memory = Memory::new(Size::Small);
        let (limits, limit) = limits(Kind::Visitor(10, 10), &[]);
        for round in 0..3 {
            for visitor in 0..100_000_u64 {
                let _let_in = limits.ask(&keys(visitor, 1), &memory, 2_000_000 + round);
            }
        }
        assert_eq!(limit.done().refused, 0);
    }
}
