//! Concurrency limits: how many requests of one visitor, zone or origin are under way at once.
//!
//! A [`Gate`] counts for one thing (a zone, an origin), a [`VisitorGate`] for many keys in bounded memory. A
//! request holds a place from its admission to its end; the place is given back when its [`Place`] is
//! dropped, whichever way the request ends, a panic included. Nobody waits: a request without a place is
//! refused. Read next: [`Gate::enter`], then [`Gates`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use zone::ConcurrencyLimit;

use crate::limits::{VISITORS, WAYS};
use crate::rate::Key;

/// A limit on what is under way for one thing.
#[derive(Debug, Default)]
pub struct Gate {
    under_way: AtomicU32,
}

impl Gate {
    /// A gate with nothing under way.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a place, unless `max` are taken; the limit may change from call to call.
    #[must_use]
    pub fn enter(self: &Arc<Self>, max: u32) -> Option<Place> {
        let taken = self.under_way.try_update(Relaxed, Relaxed, |count| (count < max).then(|| count + 1));
        taken.is_ok().then(|| Place { held: Held::Gate(Arc::clone(self)) })
    }

    /// How many are under way.
    #[must_use]
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Relaxed)
    }
}

const COUNT_BITS: u32 = 16;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const SETS: usize = VISITORS / WAYS;

/// A limit on what is under way for each of many visitors.
///
/// A visitor's count is one word: 48 bits of the key's hash and 16 of count; a count of 0 is free. A key may
/// stand in two sets of 16. When both are full of others, the request is let in without a place, and that is
/// counted: with more than 10,000 visitors at once other limits hold.
#[derive(Debug)]
pub struct VisitorGate {
    /// Made when the first visitor comes.
    words: OnceLock<Box<[AtomicU64]>>,
    uncounted: AtomicU64,
}

impl Default for VisitorGate {
    fn default() -> Self {
        Self::new()
    }
}

/// What a visitor gets at a gate.
#[derive(Debug)]
pub enum Entry {
    /// A place, held until it is dropped.
    Held(Place),
    /// No room to count: let in without a place.
    Uncounted,
    /// As many as allowed are under way.
    Full,
}

impl VisitorGate {
    /// A gate with nothing under way.
    #[must_use]
    pub fn new() -> Self {
        Self { words: OnceLock::new(), uncounted: AtomicU64::new(0) }
    }

    /// Takes a place for a visitor, unless `max` of its own are taken (at most 65,535).
    #[must_use]
    pub fn enter(self: &Arc<Self>, key: Key, max: u16) -> Entry {
        let tag = key.hash() & !COUNT_MASK;
        // A lost race is another round; after 64 the request is let in rather than waiting.
        for _ in 0..64 {
            let known = Self::places(key).find(|place| {
                let word = self.word(*place);
                word & COUNT_MASK != 0 && word & !COUNT_MASK == tag
            });
            let place = known.or_else(|| self.free_place(key));
            let Some((place, word)) = place.and_then(|place| Some((place, self.words().get(place)?))) else {
                break;
            };
            let found = word.load(Relaxed);
            let count = found & COUNT_MASK;
            if count != 0 && found & !COUNT_MASK != tag {
                continue;
            }
            if count >= u64::from(max) {
                return Entry::Full;
            }
            if word.compare_exchange(found, tag | (count + 1), Relaxed, Relaxed).is_ok() {
                return Entry::Held(Place { held: Held::Visitor(Arc::clone(self), place) });
            }
        }
        self.uncounted.fetch_add(1, Relaxed);
        Entry::Uncounted
    }

    /// Requests that were let in without a place, so far.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        self.uncounted.load(Relaxed)
    }

    /// How many of a visitor are under way.
    #[must_use]
    pub fn under_way(&self, key: Key) -> u64 {
        let tag = key.hash() & !COUNT_MASK;
        let words = Self::places(key).map(|place| self.word(place)).filter(|word| word & !COUNT_MASK == tag);
        words.map(|word| word & COUNT_MASK).max().unwrap_or(0)
    }

    fn words(&self) -> &[AtomicU64] {
        self.words.get_or_init(|| (0..VISITORS).map(|_| AtomicU64::new(0)).collect())
    }

    fn word(&self, place: usize) -> u64 {
        self.words().get(place).map_or(u64::MAX, |word| word.load(Relaxed))
    }

    fn sets(key: Key) -> [usize; 2] {
        let hash = key.hash() >> COUNT_BITS;
        [hash as usize % SETS * WAYS, (hash >> 20) as usize % SETS * WAYS]
    }

    fn places(key: Key) -> impl Iterator<Item = usize> {
        Self::sets(key).into_iter().flat_map(|first| first..first + WAYS)
    }

    /// A free place in the emptier of the two sets, so that both fill evenly.
    fn free_place(&self, key: Key) -> Option<usize> {
        let is_free = |place: &usize| self.word(*place) & COUNT_MASK == 0;
        let free = |first: usize| (first..first + WAYS).filter(is_free).count();
        let [one, other] = Self::sets(key);
        let first = if free(other) > free(one) { other } else { one };
        (first..first + WAYS).find(is_free)
    }
}

/// The gates of all concurrency limits of a zone, by stable id: places that are held stay held over a
/// publish.
#[derive(Clone, Debug, Default)]
pub struct Gates {
    by_id: Vec<(Arc<str>, One)>,
}

/// The gate of one limit.
#[derive(Clone, Debug)]
enum One {
    Whole(Arc<Gate>),
    Visitors(Arc<VisitorGate>),
}

/// What a request got at the gates of a zone.
#[derive(Debug, Default)]
pub struct Admitted {
    /// Places, held until they are dropped.
    pub places: Vec<Place>,
    /// Which limits were full, by index, in order; the last of them refuses if [`Admitted::is_refused`].
    pub full: Vec<usize>,
    /// Whether the request is refused; it then holds no place.
    pub is_refused: bool,
}

impl Gates {
    /// The gates of a new set of limits: those that were there before go on counting.
    #[must_use]
    pub fn carry<'l>(&self, limits: impl IntoIterator<Item = &'l ConcurrencyLimit>) -> Self {
        let one = |limit: &ConcurrencyLimit| {
            let is_whole = limit.by.is_empty();
            let known = self.of(&limit.id).filter(|known| matches!(known, One::Whole(_)) == is_whole);
            let fresh = || match is_whole {
                true => One::Whole(Arc::default()),
                false => One::Visitors(Arc::default()),
            };
            (Arc::clone(&limit.id), known.cloned().unwrap_or_else(fresh))
        };
        Self { by_id: limits.into_iter().map(one).collect() }
    }

    /// Requests that were let in without a place, so far, over all limits.
    #[must_use]
    pub fn uncounted(&self) -> u64 {
        let of = |(_, one): &(Arc<str>, One)| match one {
            One::Whole(_) => 0,
            One::Visitors(gate) => gate.uncounted(),
        };
        self.by_id.iter().map(of).sum()
    }

    /// Takes a place at each gate asked for, up to one that is full and refuses. A limit without a gate, or
    /// whose key does not go with it, is passed over.
    pub(crate) fn enter<'l>(
        &self,
        asked: impl Iterator<Item = (usize, &'l ConcurrencyLimit, Option<Key>)>,
    ) -> Admitted {
        let mut admitted = Admitted::default();
        for (index, limit, key) in asked {
            let place = match (self.of(&limit.id), key) {
                (Some(One::Whole(gate)), None) => gate.enter(limit.requests).map_or(Entry::Full, Entry::Held),
                (Some(One::Visitors(gate)), Some(key)) => {
                    gate.enter(key, u16::try_from(limit.requests).unwrap_or(u16::MAX))
                }
                _ => continue,
            };
            match place {
                Entry::Held(place) => admitted.places.push(place),
                Entry::Uncounted => {}
                Entry::Full => {
                    admitted.full.push(index);
                    if !limit.over.is_log() {
                        admitted.places.clear();
                        admitted.is_refused = true;
                        break;
                    }
                }
            }
        }
        admitted
    }

    fn of(&self, id: &str) -> Option<&One> {
        self.by_id.iter().find(|(known, _)| **known == *id).map(|(_, one)| one)
    }
}

/// A place at a gate; dropping it gives it back.
#[derive(Debug)]
#[must_use = "a place that is dropped at once limits nothing"]
pub struct Place {
    held: Held,
}

#[derive(Debug)]
enum Held {
    Gate(Arc<Gate>),
    Visitor(Arc<VisitorGate>, usize),
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.held {
            Held::Gate(gate) => {
                gate.under_way.fetch_sub(1, Relaxed);
            }
            // While a place is held its count is not 0, so the word stays this visitor's.
            Held::Visitor(gate, place) => {
                if let Some(word) = gate.words().get(*place) {
                    word.fetch_sub(1, Relaxed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_in_as_many_as_allowed_and_takes_places_back() {
        let gate = Arc::new(Gate::new());
        let places: Vec<Place> = (0..3).map(|_| gate.enter(3).unwrap()).collect();
        assert!(gate.enter(3).is_none());
        assert_eq!(gate.under_way(), 3);
        drop(places);
        assert_eq!(gate.under_way(), 0);
        assert!(gate.enter(0).is_none());
    }

    #[test]
    fn visitors_do_not_share_places() {
        let gate = Arc::new(VisitorGate::new());
        let key = |number: u32| Key::of(1, [Some(&number.to_le_bytes()[..])]);
        let mut held = Vec::new();
        for number in 0..10_000 {
            for _ in 0..2 {
                match gate.enter(key(number), 2) {
                    Entry::Held(place) => held.push(place),
                    other => panic!("{number}: {other:?}"),
                }
            }
        }
        assert!((0..10_000).all(|number| matches!(gate.enter(key(number), 2), Entry::Full)));
        assert_eq!((held.len(), gate.uncounted()), (20_000, 0));
        held.clear();
        assert!((0..10_000).all(|number| gate.under_way(key(number)) == 0));
        assert!(gate.words().iter().all(|word| word.load(Relaxed) & COUNT_MASK == 0));
    }

    #[test]
    fn more_visitors_than_room_are_let_in_and_counted() {
        let gate = Arc::new(VisitorGate::new());
        let mut held = Vec::new();
        for number in 0..40_000_u32 {
            match gate.enter(Key::of(1, [Some(&number.to_le_bytes()[..])]), 1) {
                Entry::Held(place) => held.push(place),
                Entry::Uncounted => {}
                Entry::Full => panic!("a new visitor is never over its limit"),
            }
        }
        assert_eq!(held.len() as u64 + gate.uncounted(), 40_000);
        assert!(held.len() <= VISITORS && held.len() > VISITORS * 9 / 10, "{}", held.len());
    }

    #[test]
    fn threads_never_let_in_too_many() {
        let (gate, visitors) = (Arc::new(Gate::new()), Arc::new(VisitorGate::new()));
        let key = Key::of(1, [Some(&b"one"[..])]);
        let most = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let zone = gate.enter(3);
                        let visitor = visitors.enter(key, 2);
                        most.fetch_max(u64::from(gate.under_way()) << 32 | visitors.under_way(key), Relaxed);
                        drop((zone, visitor));
                    }
                });
            }
        });
        assert!(most.load(Relaxed) >> 32 <= 3 && most.load(Relaxed) & 0xffff <= 2);
        assert_eq!((gate.under_way(), visitors.under_way(key)), (0, 0));
    }
}
