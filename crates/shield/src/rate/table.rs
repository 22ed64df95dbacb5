//! The counters themselves: sets of atomic words, changed by compare-and-swap.
//!
//! A set is made when the first key comes to it, so that a limit costs what its visitors need and at most
//! its whole. A counter is three words: the key's hash, the two buckets, and the end of a mitigation. The
//! last two carry the key's mark, so that what was written for another key is never taken for one's own.
//! Called by `rate.rs`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::key::Key;
use super::{Decision, Limit};
use crate::limits::{RATE_KEYS, WAYS};

const SETS: usize = RATE_KEYS / WAYS;
const COUNT_BITS: u32 = 20;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const WINDOW_BITS: u32 = 16;
const WINDOW_MASK: u64 = (1 << WINDOW_BITS) - 1;
const UNTIL_MASK: u64 = (1 << 56) - 1;

/// The buckets of one key: `mark | window | last | running`, 8, 16, 20 and 20 bits.
///
/// The window is the number of the running period modulo 65,536. A key that comes back after exactly that
/// many periods (18 hours at one second) may find its old count once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Buckets {
    mark: u64,
    window: u64,
    last: u64,
    running: u64,
}

impl Buckets {
    const fn unpack(word: u64) -> Self {
        Self {
            mark: word >> 56,
            window: word >> (2 * COUNT_BITS) & WINDOW_MASK,
            last: word >> COUNT_BITS & COUNT_MAX,
            running: word & COUNT_MAX,
        }
    }

    const fn pack(self) -> u64 {
        self.mark << 56 | self.window << (2 * COUNT_BITS) | self.last << COUNT_BITS | self.running
    }

    /// The buckets as a key sees them at a time: moved on, or empty when they are another key's.
    fn at(word: u64, mark: u64, window: u64) -> Self {
        let found = Self::unpack(word);
        let window = window & WINDOW_MASK;
        let empty = Self { mark, window, last: 0, running: 0 };
        if found.mark != mark {
            return empty;
        }
        match window.wrapping_sub(found.window) & WINDOW_MASK {
            0 => found,
            1 => Self { last: found.running, ..empty },
            // A clock that went back by little: time stands still.
            back if back > WINDOW_MASK / 2 => found,
            _ => empty,
        }
    }

    /// The estimate for a period that ends now.
    fn estimate(self, elapsed_ms: u64, period_ms: u64) -> u64 {
        // At most 2^20 times 86,400,000: 47 bits.
        self.running + self.last * (period_ms - elapsed_ms.min(period_ms)) / period_ms
    }

    /// Whether nothing of them counts any more.
    fn is_over(word: u64, window: u64) -> bool {
        let found = Self::unpack(word);
        let age = (window & WINDOW_MASK).wrapping_sub(found.window) & WINDOW_MASK;
        (2..=WINDOW_MASK / 2).contains(&age)
    }
}

/// A set that is made with its first key.
type Set = OnceLock<Box<[Counted; WAYS]>>;

/// Turns for keys that are met for the first time: few threads wait for another's, which takes a look at
/// eight places or so.
const TURNS: usize = 16;

#[derive(Debug)]
pub(super) struct Table {
    /// Made with the first key, since there may be many limits that nobody has met.
    sets: OnceLock<Box<[Set]>>,
    /// Threads that meet the same new key at once take turns, so that it gets one place and no count is lost.
    turns: [Mutex<()>; TURNS],
    evictions: AtomicU64,
}

/// One counter.
#[derive(Debug, Default)]
struct Counted {
    hash: AtomicU64,
    buckets: AtomicU64,
    until: AtomicU64,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { sets: OnceLock::new(), turns: [const { Mutex::new(()) }; TURNS], evictions: AtomicU64::new(0) }
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// The first places of the two sets a key may be in.
    fn sets(key: Key) -> [usize; 2] {
        let one = key.hash() as usize % SETS;
        let other = (key.hash() >> 20) as usize % SETS;
        [one * WAYS, other * WAYS]
    }

    fn places(key: Key) -> impl Iterator<Item = usize> {
        Self::sets(key).into_iter().flat_map(|first| first..first + WAYS)
    }

    /// A counter, if its set was made.
    fn at(&self, place: usize) -> Option<&Counted> {
        self.sets.get()?.get(place / WAYS)?.get()?.get(place % WAYS)
    }

    /// A counter, its set made if need be.
    fn made(&self, place: usize) -> Option<&Counted> {
        let sets = self.sets.get_or_init(|| (0..SETS).map(|_| OnceLock::new()).collect());
        sets.get(place / WAYS)?.get_or_init(Box::default).get(place % WAYS)
    }

    fn hash(&self, place: usize) -> u64 {
        self.at(place).map_or(0, |counted| counted.hash.load(Relaxed))
    }

    fn buckets(&self, place: usize) -> u64 {
        self.at(place).map_or(0, |counted| counted.buckets.load(Relaxed))
    }

    fn until(&self, place: usize) -> u64 {
        self.at(place).map_or(0, |counted| counted.until.load(Relaxed))
    }

    fn find(&self, key: Key) -> Option<usize> {
        Self::places(key).find(|place| self.hash(*place) == key.hash())
    }

    fn turn(&self, key: Key) -> Option<MutexGuard<'_, ()>> {
        let turn = self.turns.get((key.hash() >> 40) as usize % TURNS)?;
        Some(turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The place of a key, taken from another one if it has none.
    fn claim(&self, key: Key, limit: &Limit, now_ms: u64) -> Option<usize> {
        if let Some(place) = self.find(key) {
            return Some(place);
        }
        let _turn = self.turn(key);
        let window = now_ms / limit.period_ms;
        // Each round either finds the key or tries to take one place; a lost race is another round.
        for _ in 0..64 {
            if let Some(place) = self.find(key) {
                return Some(place);
            }
            let is_free = |place: &usize| {
                self.hash(*place) == 0
                    || Buckets::is_over(self.buckets(*place), window)
                        && self.until(*place) & UNTIL_MASK <= now_ms
            };
            // The emptier of the two sets, so that both fill evenly.
            let [one, other] = Self::sets(key);
            let free = |first: usize| (first..first + WAYS).filter(is_free).count();
            let sets = if free(other) > free(one) { [other, one] } else { [one, other] };
            let empty = sets.into_iter().flat_map(|first| first..first + WAYS).find(is_free);
            let place = match empty {
                Some(place) => place,
                None => {
                    let weight = |place: &usize| {
                        let found = Buckets::unpack(self.buckets(*place));
                        let mitigated = self.until(*place) & UNTIL_MASK > now_ms;
                        (mitigated, found.running + found.last)
                    };
                    Self::places(key).min_by_key(weight)?
                }
            };
            let counted = self.made(place)?;
            let (before, old) = (counted.hash.load(Relaxed), counted.buckets.load(Relaxed));
            let until = counted.until.load(Relaxed);
            let taken = counted.hash.compare_exchange(before, key.hash(), Relaxed, Relaxed);
            if taken.is_ok() {
                if empty.is_none() {
                    self.evictions.fetch_add(1, Relaxed);
                }
                // What is left of the key before is not ours. Another thread of our key may have counted here
                // by now: then the words have changed, and stay.
                let fresh = Buckets { mark: key.mark(), window: window & WINDOW_MASK, last: 0, running: 0 };
                let _ = counted.buckets.compare_exchange(old, fresh.pack(), Relaxed, Relaxed);
                let _ = counted.until.compare_exchange(until, key.mark() << 56, Relaxed, Relaxed);
                return Some(place);
            }
        }
        None
    }

    /// Adds one; with `only_within` only if it is within the limit.
    pub(super) fn add(&self, limit: &Limit, key: Key, now_ms: u64, only_within: bool) -> Decision {
        let (window, elapsed_ms) = (now_ms / limit.period_ms, now_ms % limit.period_ms);
        for _ in 0..64 {
            let Some(word) = self
                .claim(key, limit, now_ms)
                .and_then(|place| self.at(place))
                .map(|counted| &counted.buckets)
            else {
                break;
            };
            let found = word.load(Relaxed);
            let mut buckets = Buckets::at(found, key.mark(), window);
            let estimate = buckets.estimate(elapsed_ms, limit.period_ms);
            if only_within && estimate >= u64::from(limit.threshold) {
                return over(buckets, limit, elapsed_ms);
            }
            buckets.running = (buckets.running + 1).min(COUNT_MAX);
            if word.compare_exchange(found, buckets.pack(), Relaxed, Relaxed).is_ok() {
                return decide(buckets, limit, elapsed_ms);
            }
        }
        // 64 lost races in a row: the request passes uncounted rather than waiting.
        Decision::Within { remaining: 0, reset_ms: limit.period_ms - elapsed_ms }
    }

    /// How a key stands; over when one more would be.
    pub(super) fn look(&self, limit: &Limit, key: Key, now_ms: u64) -> Decision {
        let (window, elapsed_ms) = (now_ms / limit.period_ms, now_ms % limit.period_ms);
        let word = self.find(key).map_or(0, |place| self.buckets(place));
        let buckets = Buckets::at(word, key.mark(), window);
        if buckets.estimate(elapsed_ms, limit.period_ms) >= u64::from(limit.threshold) {
            return over(buckets, limit, elapsed_ms);
        }
        decide(buckets, limit, elapsed_ms)
    }

    /// Refuses a key until a time, unless it is refused for longer.
    pub(super) fn mitigate(&self, limit: &Limit, key: Key, now_ms: u64, until_ms: u64) {
        if let Some(word) =
            self.claim(key, limit, now_ms).and_then(|place| self.at(place)).map(|counted| &counted.until)
        {
            word.fetch_max(key.mark() << 56 | until_ms & UNTIL_MASK, Relaxed);
            let found = word.load(Relaxed);
            if found >> 56 != key.mark() {
                let mine = key.mark() << 56 | until_ms & UNTIL_MASK;
                let _ = word.compare_exchange(found, mine, Relaxed, Relaxed);
            }
        }
    }

    pub(super) fn mitigated_until(&self, key: Key) -> Option<u64> {
        let until = self.until(self.find(key)?);
        (until >> 56 == key.mark()).then_some(until & UNTIL_MASK)
    }
}

fn decide(buckets: Buckets, limit: &Limit, elapsed_ms: u64) -> Decision {
    let left = u64::from(limit.threshold).saturating_sub(buckets.estimate(elapsed_ms, limit.period_ms));
    Decision::Within { remaining: left as u32, reset_ms: limit.period_ms - elapsed_ms }
}

/// When the estimate will have fallen below the threshold, if nothing more comes.
fn over(buckets: Buckets, limit: &Limit, elapsed_ms: u64) -> Decision {
    let (period, threshold) = (limit.period_ms, u64::from(limit.threshold));
    let left_ms = period - elapsed_ms;
    // In this period, when enough of the last one has slid out; else in the next, when enough of this one
    // has.
    let falls = |count: u64, rest: u64| {
        // The first time t for which rest + count * (period - t) / period < threshold.
        let most = (threshold - rest) * period;
        period.saturating_sub((most - 1) / count.max(1))
    };
    let retry_ms = if buckets.running < threshold {
        falls(buckets.last, buckets.running).saturating_sub(elapsed_ms)
    } else {
        left_ms + falls(buckets.running, 0)
    };
    Decision::Over { retry_ms: retry_ms.max(1) }
}
