//! A generated limit, and how a serving thread asks it.
//!
//! Two kinds. *By visitor*: each may make so many requests in some seconds that match. Asking goes on being
//! charged while one is refused, so that a program that does not stop stays out, and a person who waits
//! comes in. *In total*: strangers share what is usual for what matches, and visitors who were served
//! before the flood began do not count among them; they are limited by visitor. Under both, a prefix that
//! usually asks much has twice that for all its visitors together beside what each of them has.
//!
//! All are leaky buckets (GCRA, ITU-T I.371) in words that are changed by compare-and-swap; nobody waits for
//! anybody. Visitors stand in sets of four by 20 bits of their hash: where more come than there is room for,
//! the one that asked least makes room and is forgiven, so that a limit errs by letting in.
//!
//! Made and moved by `watch.rs`; asked by serving threads. Read next: [`Limits::ask`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use crate::explain::Pattern;
use crate::limits::{BUSY_BURST_S, DISTINCT_BITS, KNOWN_TIMES, OVER_MS_MAX, VISITOR_ALL, VISITORS_MAX};
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

/// How many visitors there were, about: each sets one bit by its hash, and how many bits are left tells how
/// many came (linear counting, Whang 1990). Up to some 70,000; beyond that they are counted as so many. Of
/// 100 it errs by one or two.
#[derive(Debug)]
struct Distinct {
    words: Box<[AtomicU64]>,
}

impl Distinct {
    fn new() -> Self {
        Self { words: (0..DISTINCT_BITS / 64).map(|_| AtomicU64::new(0)).collect() }
    }

    fn add(&self, visitor: u64) {
        let bit = visitor >> (64 - DISTINCT_BITS.trailing_zeros());
        if let Some(word) = self.words.get((bit / 64) as usize)
            && word.load(Relaxed) & 1 << (bit % 64) == 0
        {
            word.fetch_or(1 << (bit % 64), Relaxed);
        }
    }

    fn count(&self) -> f64 {
        let set: u32 = self.words.iter().map(|word| word.load(Relaxed).count_ones()).sum();
        let (bits, left) = (f64::from(DISTINCT_BITS), f64::from((DISTINCT_BITS - set).max(1)));
        bits * (bits / left).ln()
    }

    fn clear(&self) {
        self.words.iter().for_each(|word| word.store(0, Relaxed));
    }
}

/// The visitors that a limit has met of late, about.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Met {
    /// All whose requests matched.
    pub(crate) visitors: f64,
    /// Of these, who were served before the flood began.
    pub(crate) known: f64,
    /// Of these, who were refused at least once.
    pub(crate) known_refused: f64,
}

/// A prefix that usually asks much: offices behind one address, a large provider.
#[derive(Debug)]
struct Busy {
    prefix: u32,
    /// What all its visitors together may ask in a second.
    per_s: f32,
    /// Up to when their requests are charged, in microseconds.
    until_us: AtomicU64,
}

/// Charges a request to a bucket that some share: `per_s` a second, as much as `burst_s` seconds' worth at
/// once, one request at least. Whether it is over; then it is not charged, so that those who share it get
/// their part however much some of them ask.
fn is_over(until_us: &AtomicU64, per_s: f64, burst_s: u64, now_ms: u64) -> bool {
    let (now_us, each_us) = (now_ms * 1_000, (1_000_000.0 / per_s.max(0.001)) as u64);
    let burst_us = each_us.max(burst_s * 1_000_000);
    let charge = |until_us: u64| {
        let charged_us = until_us.max(now_us) + each_us;
        (charged_us <= now_us + burst_us).then_some(charged_us)
    };
    until_us.fetch_update(Relaxed, Relaxed, charge).is_err()
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
    busy: Box<[Busy]>,
    matched: AtomicU64,
    refused: AtomicU64,
    known: AtomicU64,
    known_refused: AtomicU64,
    visitors: Distinct,
    known_visitors: Distinct,
    refused_visitors: Distinct,
}

impl Limit {
    /// One that observes. `busy` are prefixes that usually ask much, with what all visitors of each together
    /// may ask in a second.
    pub(crate) fn new(number: u32, pattern: Pattern, kind: Kind, busy: &[(u32, f32)], size: Size) -> Self {
        let busy = busy.iter().map(|(prefix, per_s)| Busy {
            prefix: *prefix,
            per_s: *per_s,
            until_us: AtomicU64::new(0),
        });
        Self {
            number,
            pattern,
            kind,
            stage: AtomicU8::new(Stage::Observe as u8),
            total_until_us: AtomicU64::new(0),
            buckets: Buckets::new(size),
            busy: busy.collect(),
            matched: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            known: AtomicU64::new(0),
            known_refused: AtomicU64::new(0),
            visitors: Distinct::new(),
            known_visitors: Distinct::new(),
            refused_visitors: Distinct::new(),
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

    /// Whom it has met since this was last cleared.
    pub(crate) fn met(&self) -> Met {
        Met {
            visitors: self.visitors.count(),
            known: self.known_visitors.count(),
            known_refused: self.refused_visitors.count(),
        }
    }

    /// Begins to count anew whom it meets.
    pub(crate) fn clear_met(&self) {
        [&self.visitors, &self.known_visitors, &self.refused_visitors].into_iter().for_each(Distinct::clear);
    }

    /// Counts a request that matched, and charges it: in how many milliseconds it may come again, if it is
    /// over.
    fn meet(&self, keys: &Keys, is_known: bool, now_ms: u64) -> Option<u64> {
        self.matched.fetch_add(1, Relaxed);
        self.visitors.add(keys.visitor);
        if is_known {
            self.known.fetch_add(1, Relaxed);
            self.known_visitors.add(keys.visitor);
        }
        let over_ms = self.charge(keys, is_known, now_ms)?;
        self.refused.fetch_add(1, Relaxed);
        if is_known {
            self.known_refused.fetch_add(1, Relaxed);
            self.refused_visitors.add(keys.visitor);
        }
        Some(over_ms)
    }

    /// In how many milliseconds a request may come again that is over.
    ///
    /// A visitor has a bucket of its own, but for strangers under a limit in total. Who is over that, or has
    /// none, draws on what its prefix usually asks: one bucket for the whole prefix, since whoever has a /48
    /// of IPv6 has 65,536 visitors in it.
    fn charge(&self, keys: &Keys, is_known: bool, now_ms: u64) -> Option<u64> {
        let own = match (self.most(), self.kind) {
            (Kind::Visitor(_, seconds), Kind::Visitor(first, _)) if is_known => {
                Some((KNOWN_TIMES * first, seconds))
            }
            (Kind::Visitor(most, seconds), _) => Some((most, seconds)),
            (Kind::Total(_), _) => is_known.then_some(VISITOR_ALL),
        };
        let over_ms = match own {
            Some(own) => Some(self.buckets.charge(keys.visitor, own, now_ms)?),
            None => None,
        };
        if !self.is_over_prefix(keys, now_ms) {
            return None;
        }
        match (over_ms, self.most()) {
            (None, Kind::Total(per_s)) => {
                is_over(&self.total_until_us, per_s, 1, now_ms).then(|| 5_000 + keys.visitor % 5_000)
            }
            _ => over_ms,
        }
    }

    /// Whether the prefix has asked for as much as it may; so for one that usually asks little.
    fn is_over_prefix(&self, keys: &Keys, now_ms: u64) -> bool {
        let prefix = keys.value(Dimension::Prefix);
        let busy = self.busy.iter().find(|busy| busy.prefix == prefix);
        busy.is_none_or(|busy| is_over(&busy.until_us, busy.per_s.into(), BUSY_BURST_S, now_ms))
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

/// The limits of a zone. Who is known is the [`Memory`]'s to say, which stands while there are any.
#[derive(Debug, Default)]
pub struct Limits {
    list: Vec<Arc<Limit>>,
}

impl Limits {
    pub(crate) fn new(list: Vec<Arc<Limit>>) -> Self {
        Self { list }
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
            let is_known = memory.is_known(keys.visitor, now_s);
            let Some(over_ms) = limit.meet(keys, is_known, now_ms) else { continue };
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
        let limit = Arc::new(Limit::new(1, Pattern::default(), kind, busy, Size::Large));
        limit.set_stage(Stage::Limit);
        (Limits::new(vec![Arc::clone(&limit)]), limit)
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
        memory.turn(1_000);
        memory.stand(1_000);
        let (limits, limit) = limits(Kind::Total(2.0), &[(9, 50.0)]);
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
    fn a_busy_prefix_has_one_share_however_many_visitors_are_in_it() {
        let memory = Memory::new(Size::Small);
        // A hundred and thirty a second for a hundred seconds, from as many networks of one /48.
        let ask = |limits: &Limits| {
            let at_ms = |n: u64| 2_000_000 + n * 100_000 / 13_000;
            (0..13_000_u64).filter(|n| limits.ask(&keys(n % 130, 9), &memory, at_ms(*n)).is_none()).count()
        };
        let (total, _) = limits(Kind::Total(2.0), &[(9, 5.0)]);
        let let_in = ask(&total);
        assert!((600..=760).contains(&let_in), "{let_in}: what the prefix has, and what strangers share");
        let (each, _) = limits(Kind::Visitor(3, 50), &[(9, 5.0)]);
        let let_in = ask(&each);
        assert!((130 * 3 + 450..=130 * 9 + 550).contains(&let_in), "{let_in}: three each, and the prefix's");
    }

    #[test]
    fn visitors_are_counted_about_right_whatever_they_ask() {
        let limit = Limit::new(1, Pattern::default(), Kind::Total(1.0), &[], Size::Small);
        for (visitors, least, most) in [(5, 4.0, 5.5), (100, 97.0, 103.0), (20_000, 19_000.0, 21_000.0)] {
            for n in 0..3 * visitors {
                limit.meet(&keys(n % visitors, 1), n % visitors % 2 == 0, 2_000_000);
            }
            let Met { visitors, known, known_refused } = limit.met();
            assert!((least..most).contains(&visitors) && known_refused == 0.0, "{:?}", limit.met());
            assert!((0.4 * least..0.6 * most + 1.0).contains(&known), "{:?}", limit.met());
            limit.clear_met();
            assert_eq!(limit.met(), Met::default());
        }
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
