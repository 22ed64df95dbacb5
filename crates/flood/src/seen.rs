//! Who was served, and what was asked for, in the last minutes: bits in windows of time.
//!
//! Each window is a Bloom filter with four probes, in a ring; the oldest makes room for the next. What is
//! approximated: a stranger is taken for known where all four bits are set by others (1 in 400 over all
//! windows, where each minute has 2,000 visitors). It then gets what known visitors get, which is bounded
//! too. When more than a third of a window's bits are set, no target is new.
//!
//! *While a flood lasts the rings stand.* Nobody becomes known then by coming often, and nobody is forgotten,
//! however long it takes: known is who was served in the ten minutes before it, and new is what nobody asked
//! for in the half hour before it. What it costs: visitors who come first during a flood are strangers until
//! some time after it, as is who was served only in the minute that it began in, whose bits are not told from
//! the flood's. When the rings go on, the past is as old as it was.
//!
//! Written by serving threads and by the watch, read by both: every word is an atomic.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::kept::{Reader, Unusable};

/// How much a zone's memory is, by how many zones share the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Of up to 64 zones: 400 KiB each at most.
    Large,
    /// Of more: an eighth of that.
    Small,
}

impl Size {
    /// That for a node with so many zones.
    #[must_use]
    pub fn for_zones(zones: usize) -> Self {
        if zones <= 64 { Self::Large } else { Self::Small }
    }

    pub(crate) fn share(self, whole: usize) -> usize {
        match self {
            Self::Large => whole,
            Self::Small => whole / 8,
        }
    }
}

/// Seconds of a window of visitors, and windows: those served in the last ten minutes are known.
const VISITOR_S: u64 = 60;
const VISITOR_WINDOWS: usize = 11;
const VISITOR_BITS: usize = 1 << 16;

/// Seconds of a window of targets, and windows.
const TARGET_S: u64 = 600;
const TARGET_WINDOWS: usize = 4;
const TARGET_BITS: usize = 1 << 17;

#[derive(Debug)]
struct Window {
    /// The number of its time; the ring's place is this modulo the ring.
    number: AtomicU64,
    /// Bits set, about.
    set: AtomicU32,
    words: Box<[AtomicU64]>,
}

/// One ring of windows.
#[derive(Debug)]
struct Ring {
    seconds: u64,
    bits: u64,
    windows: Box<[Window]>,
    /// Windows of time that it has stood in all, which its numbers leave out.
    stood: AtomicU64,
    /// The number at which it stands, or [`GOES_ON`].
    stands_at: AtomicU64,
}

/// Of a ring that does not stand.
const GOES_ON: u64 = u64::MAX;

impl Ring {
    fn new(seconds: u64, windows: usize, bits: usize) -> Self {
        let window = |_| Window {
            number: AtomicU64::new(u64::MAX),
            set: AtomicU32::new(0),
            words: (0..bits / 64).map(|_| AtomicU64::new(0)).collect(),
        };
        Self {
            seconds,
            bits: bits as u64,
            windows: (0..windows).map(window).collect(),
            stood: AtomicU64::new(0),
            stands_at: AtomicU64::new(GOES_ON),
        }
    }

    fn stands(&self) -> bool {
        self.stands_at.load(Relaxed) != GOES_ON
    }

    /// The number of the window of this second, or of that at which it stands.
    fn number(&self, now_s: u64) -> u64 {
        match self.stands_at.load(Relaxed) {
            GOES_ON => (now_s / self.seconds).saturating_sub(self.stood.load(Relaxed)),
            number => number,
        }
    }

    /// By how much the numbers are behind the time.
    fn behind(&self, now_s: u64) -> u64 {
        (now_s / self.seconds).saturating_sub(self.number(now_s))
    }

    /// Stands from now on, in the window of `since_s`; what was added after that window is forgotten.
    fn stand(&self, since_s: u64) {
        if self.stands() {
            return;
        }
        let number = self.number(since_s);
        for window in &self.windows {
            let has = window.number.load(Relaxed);
            if has != u64::MAX && has > number {
                self.empty(window, u64::MAX);
            }
        }
        self.stands_at.store(number, Relaxed);
    }

    /// Goes on with the window in which it stood, as if no time had passed. A serving thread that reads
    /// meanwhile may miss one visitor.
    fn go_on(&self, now_s: u64) {
        self.stood.store(self.behind(now_s), Relaxed);
        self.stands_at.store(GOES_ON, Relaxed);
    }

    fn empty(&self, window: &Window, number: u64) {
        window.words.iter().for_each(|word| word.store(0, Relaxed));
        window.set.store(0, Relaxed);
        window.number.store(number, Relaxed);
    }

    /// All in one line of a processor's cache, 512 bits: a visitor costs one miss a window.
    fn probes(&self, hash: u64) -> [(usize, u64); 4] {
        let first = (hash % (self.bits / 512) * 8) as usize;
        [28, 37, 46, 55].map(|shift| {
            let bit = (hash >> shift) & 511;
            (first + (bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn place(&self, number: u64) -> Option<&Window> {
        self.windows.get(number as usize % self.windows.len().max(1))
    }

    /// Begins the window of this second, if it is another one.
    fn turn(&self, now_s: u64) {
        let number = self.number(now_s);
        if let Some(window) = self.place(number).filter(|window| window.number.load(Relaxed) != number) {
            self.empty(window, number);
        }
    }

    fn add(&self, hash: u64, now_s: u64) {
        let number = self.number(now_s);
        // In the moment before the watch turns the ring nobody is added.
        let Some(window) = self.place(number).filter(|window| window.number.load(Relaxed) == number) else {
            return;
        };
        for (place, bit) in self.probes(hash) {
            if let Some(word) = window.words.get(place)
                && word.load(Relaxed) & bit == 0
            {
                word.fetch_or(bit, Relaxed);
                window.set.fetch_add(1, Relaxed);
            }
        }
    }

    /// Whether it was added, in a window that is over or also in that of now.
    fn has(&self, hash: u64, now_s: u64, also_now: bool) -> bool {
        let now = self.number(now_s);
        let oldest = now.saturating_sub(self.windows.len() as u64 - 1);
        let end = now + u64::from(also_now);
        self.windows.iter().any(|window| {
            (oldest..end).contains(&window.number.load(Relaxed))
                && self.probes(hash).iter().all(|(place, bit)| {
                    window.words.get(*place).is_some_and(|word| word.load(Relaxed) & bit != 0)
                })
        })
    }

    /// Writes the windows that hold something, with numbers as if it had never stood: the next process
    /// knows of no flood. Without those after `last`.
    fn keep(&self, now_s: u64, last: u64, out: &mut Vec<u8>) {
        let behind = self.behind(now_s);
        let holds = |window: &&Window| window.set.load(Relaxed) > 0 && window.number.load(Relaxed) <= last;
        out.push(self.windows.iter().filter(holds).count() as u8);
        for window in self.windows.iter().filter(holds) {
            out.extend(window.number.load(Relaxed).saturating_add(behind).to_le_bytes());
            window.words.iter().for_each(|word| out.extend(word.load(Relaxed).to_le_bytes()));
        }
    }

    /// Reads windows that another ring of its size has written.
    fn read(&self, from: &mut Reader<'_>) -> Result<Vec<(u64, Vec<u64>)>, Unusable> {
        let count = usize::from(from.u8()?);
        if count > self.windows.len() {
            return Err(Unusable::Malformed);
        }
        let mut windows = Vec::with_capacity(count);
        for _ in 0..count {
            let number = from.u64()?;
            let mut words = Vec::with_capacity(self.bits as usize / 64);
            for _ in 0..self.bits / 64 {
                words.push(from.u64()?);
            }
            windows.push((number, words));
        }
        Ok(windows)
    }

    /// Adds what was read, as far as its time is not over, nor after that at which it stands.
    fn adopt(&self, now_s: u64, windows: Vec<(u64, Vec<u64>)>) {
        let behind = self.behind(now_s);
        for (number, words) in windows {
            let Some(number) = number.checked_sub(behind) else { continue };
            let Some(window) = self.place(number) else { continue };
            let has = window.number.load(Relaxed);
            let is_over = has != u64::MAX && has > number;
            if is_over || number > self.stands_at.load(Relaxed) {
                continue;
            }
            let mut set = 0;
            for (word, bits) in window.words.iter().zip(words) {
                let before = if has == number { word.load(Relaxed) } else { 0 };
                word.store(before | bits, Relaxed);
                set += (before | bits).count_ones();
            }
            window.set.store(set, Relaxed);
            window.number.store(number, Relaxed);
        }
    }

    fn is_full(&self) -> bool {
        self.windows.iter().any(|window| u64::from(window.set.load(Relaxed)) > self.bits / 3)
    }
}

/// Windows of both rings, read and not yet known.
#[derive(Debug)]
pub(crate) struct Remembered {
    visitors: Vec<(u64, Vec<u64>)>,
    targets: Vec<(u64, Vec<u64>)>,
}

/// What a zone remembers of its visitors and of what they ask for; shared with serving threads.
#[derive(Debug)]
pub struct Memory {
    visitors: Ring,
    targets: Ring,
}

impl Memory {
    /// One that remembers nobody.
    #[must_use]
    pub fn new(size: Size) -> Self {
        Self {
            visitors: Ring::new(VISITOR_S, VISITOR_WINDOWS, size.share(VISITOR_BITS)),
            targets: Ring::new(TARGET_S, TARGET_WINDOWS, size.share(TARGET_BITS)),
        }
    }

    /// Writes who was served and what was asked for; not those of the minute in which a flood began.
    pub(crate) fn keep(&self, now_s: u64, out: &mut Vec<u8>) {
        let now = self.visitors.number(now_s);
        self.visitors.keep(now_s, now.saturating_sub(self.visitors.stands().into()), out);
        self.targets.keep(now_s, self.targets.number(now_s), out);
    }

    /// Reads what another of its size has written; nothing is known of it before it is adopted.
    pub(crate) fn read(&self, from: &mut Reader<'_>) -> Result<Remembered, Unusable> {
        Ok(Remembered { visitors: self.visitors.read(from)?, targets: self.targets.read(from)? })
    }

    /// Knows that, too, from now on.
    pub(crate) fn adopt(&self, remembered: Remembered, now_s: u64) {
        self.visitors.adopt(now_s, remembered.visitors);
        self.targets.adopt(now_s, remembered.targets);
    }

    /// What tells its size.
    pub(crate) fn bits(&self) -> (u64, u64) {
        (self.visitors.bits, self.targets.bits)
    }

    pub(crate) fn turn(&self, now_s: u64) {
        self.visitors.turn(now_s);
        self.targets.turn(now_s);
    }

    /// Knows from now on, until it goes on, who was known at `since_s`, and nobody else. Nothing changes
    /// where it stands already.
    pub(crate) fn stand(&self, since_s: u64) {
        self.visitors.stand(since_s);
        self.targets.stand(since_s);
    }

    /// Gets to know visitors again. Nothing changes where it does not stand.
    pub(crate) fn go_on(&self, now_s: u64) {
        if !self.visitors.stands() {
            return;
        }
        let number = self.visitors.number(now_s);
        if let Some(window) = self.visitors.place(number) {
            // Some of those in it came with the flood, before it was seen.
            self.visitors.empty(window, number);
        }
        self.visitors.go_on(now_s);
        self.targets.go_on(now_s);
    }

    /// Notes that a visitor was served. Of no effect while it stands.
    pub fn served(&self, visitor: u64, now_s: u64) {
        if !self.visitors.stands() {
            self.visitors.add(visitor, now_s);
        }
    }

    /// Whether the visitor was served within ten minutes, in a minute that is over. While it stands: within
    /// the ten minutes before the minute at which it stands.
    pub(crate) fn is_known(&self, visitor: u64, now_s: u64) -> bool {
        self.visitors.has(visitor, now_s, false)
    }

    pub(crate) fn asked_for(&self, target: u64, now_s: u64) {
        self.targets.add(target, now_s);
    }

    /// Whether nobody asked for the target within half an hour; false when too much was asked for to tell.
    pub(crate) fn is_new(&self, target: u64, now_s: u64) -> bool {
        !self.targets.is_full() && !self.targets.has(target, now_s, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mix;

    #[test]
    fn visitors_are_known_from_the_minute_after_for_ten() {
        let memory = Memory::new(Size::Large);
        let mut is_known = [false; 900];
        for now_s in 100..900 {
            memory.turn(now_s);
            if now_s == 130 {
                memory.served(mix(5), now_s);
            }
            is_known[now_s as usize] = memory.is_known(mix(5), now_s);
            assert!(!memory.is_known(mix(6), now_s));
        }
        let known: Vec<usize> = (0..900).filter(|now_s| is_known[*now_s]).collect();
        assert_eq!((known.first(), known.last()), (Some(&180), Some(&779)), "once its minute is over");
    }

    #[test]
    fn few_of_many_strangers_are_taken_for_others() {
        let memory = Memory::new(Size::Large);
        memory.turn(60);
        (0..3_000).for_each(|visitor| memory.served(mix(visitor), 60));
        assert!((0..3_000).all(|visitor| memory.is_known(mix(visitor), 120)));
        let wrong = (10_000..20_000).filter(|visitor| memory.is_known(mix(*visitor), 120)).count();
        assert!(wrong < 200, "{wrong} of 10,000");
    }

    #[test]
    fn where_too_much_is_asked_for_nothing_is_new() {
        let memory = Memory::new(Size::Small);
        memory.turn(600);
        assert!(memory.is_new(mix(1), 600));
        (0..1_000).for_each(|target| memory.asked_for(mix(target), 600));
        assert!(!memory.is_new(mix(1), 600));
        assert!(memory.is_new(mix(2_000), 600));
        (0..40_000).for_each(|target| memory.asked_for(mix(target), 600));
        assert!(!memory.is_new(mix(99_999), 600));
    }
}
