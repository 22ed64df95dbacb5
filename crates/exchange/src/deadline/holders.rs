//! For whom the places of a thread are held, and who gives some back when they are short.
//!
//! A holder is whoever visitors come to; what it is, the caller knows. Each has a weight, and as long as
//! places are not short nobody is asked for any. Then whoever holds most for its weight gives the next one
//! back (weighted max-min fairness): a holder that has less than its share leaves the rest of it to the
//! others, and loses nothing. What is held for nobody goes before all that, which is not decided here.
//! Caller: [`super::Deadlines::shed`].

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

/// For whom a connection's place is held, and how much it weighs beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// What it is told apart by; 0 is nobody.
    pub key: u64,
    /// Its share when places are short, relative to the others; at least 1.
    pub weight: u32,
}

impl Holder {
    /// Of connections whose visitors have not said where they want to go.
    pub const NOBODY: Self = Self { key: 0, weight: 1 };
}

impl Default for Holder {
    fn default() -> Self {
        Self::NOBODY
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    holder: Holder,
    held: u32,
}

/// All holders of a thread's places, each by a number for as long as it holds one.
#[derive(Debug)]
pub(super) struct Holders {
    /// The first is nobody's, and its places are not counted.
    entries: Vec<Entry>,
    numbers: HashMap<u64, u32>,
    free: Vec<u32>,
}

impl Default for Holders {
    fn default() -> Self {
        let nobody = Entry { holder: Holder::NOBODY, held: 0 };
        Self { entries: vec![nobody], numbers: HashMap::new(), free: Vec::new() }
    }
}

/// The number of [`Holder::NOBODY`].
pub(super) const NOBODY: u32 = 0;

impl Holders {
    /// Whether a number is this holder's.
    pub(super) fn is(&self, number: u32, holder: Holder) -> bool {
        self.key(number) == holder.key
    }

    /// What a holder is told apart by.
    pub(super) fn key(&self, number: u32) -> u64 {
        self.entries.get(number as usize).map_or(0, |entry| entry.holder.key)
    }

    /// How many numbers there are, those included that nobody has at the moment.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nobody, or one alone.
    pub(super) fn are_few(&self) -> bool {
        self.numbers.len() < 2
    }

    /// Counts a place that is held, and gives its holder's number. The weight is that of its first place.
    pub(super) fn take(&mut self, holder: Holder) -> u32 {
        if holder.key == Holder::NOBODY.key {
            return NOBODY;
        }
        let entry = Entry { holder: Holder { weight: holder.weight.max(1), ..holder }, held: 0 };
        let number = match self.numbers.get(&holder.key) {
            Some(number) => *number,
            None => {
                let number = self.free.pop().unwrap_or(self.entries.len() as u32);
                match self.entries.get_mut(number as usize) {
                    Some(free) => *free = entry,
                    None => self.entries.push(entry),
                }
                self.numbers.insert(holder.key, number);
                number
            }
        };
        if let Some(entry) = self.entries.get_mut(number as usize) {
            entry.held += 1;
        }
        number
    }

    /// A place is held no longer; a holder without any is forgotten.
    pub(super) fn give_back(&mut self, number: u32) {
        if number == NOBODY {
            return;
        }
        let Some(entry) = self.entries.get_mut(number as usize) else { return };
        entry.held = entry.held.saturating_sub(1);
        if entry.held == 0 {
            self.numbers.remove(&entry.holder.key);
            self.free.push(number);
        }
    }

    /// How many of its idle places each holder gives back, by number, of `count` in all; fewer where only
    /// those have some that hold no more than their share of what is left then. `idle` has for each number
    /// how many could be given; `others` are places that nobody holds, and that are shared out too.
    pub(super) fn quotas(&self, idle: &[u32], count: usize, others: u32) -> Vec<u32> {
        let holding = || self.entries.iter().skip(1).filter(|entry| entry.held > 0);
        let weights: u64 = holding().map(|entry| u64::from(entry.holder.weight)).sum();
        let held: u64 = holding().map(|entry| u64::from(entry.held)).sum();
        let left = (held + u64::from(others)).saturating_sub(count as u64);
        let mut quotas = vec![0; self.entries.len()];
        let numbered = (0..).zip(&self.entries).skip(1);
        let mut heap: BinaryHeap<Claim> = numbered
            .filter(|(number, _)| idle.get(*number).is_some_and(|idle| *idle > 0))
            .map(|(number, entry)| Claim { number, held: entry.held, weight: entry.holder.weight })
            .collect();
        for _ in 0..count {
            let Some(mut most) = heap.pop() else { break };
            // Beyond 2^64 only with more weights and places than there can be.
            let is_above =
                u64::from(most.held).saturating_mul(weights) > left.saturating_mul(u64::from(most.weight));
            let Some(quota) = quotas.get_mut(most.number).filter(|_| is_above) else { break };
            *quota += 1;
            most.held = most.held.saturating_sub(1);
            if idle.get(most.number).is_some_and(|idle| *quota < *idle) {
                heap.push(most);
            }
        }
        quotas
    }
}

/// A holder among those that may give something back: the greatest holds most for its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    number: usize,
    held: u32,
    weight: u32,
}

impl Ord for Claim {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |one: &Self, another: &Self| u64::from(one.held) * u64::from(another.weight);
        product(self, other).cmp(&product(other, self)).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Claim {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Holders of so many places and weights; each has the number of its place, from 1.
    fn holding(held: &[(u32, u32)]) -> Holders {
        let mut holders = Holders::default();
        for (key, (places, weight)) in (1..).zip(held) {
            (0..*places)
                .for_each(|_| assert_eq!(u64::from(holders.take(Holder { key, weight: *weight })), key));
        }
        holders
    }

    fn quotas(held: &[(u32, u32)], idle: &[u32], count: usize) -> Vec<u32> {
        let idle: Vec<u32> = [0].iter().chain(idle).copied().collect();
        holding(held).quotas(&idle, count, 0).split_off(1)
    }

    #[test]
    fn one_holder_alone_gives_what_is_asked_for() {
        assert_eq!(quotas(&[(100, 1)], &[100], 7), [7]);
        assert_eq!(quotas(&[(100, 9)], &[3], 7), [3], "what is idle of it");
    }

    #[test]
    fn whoever_holds_most_for_its_weight_gives_first_and_then_all_in_step() {
        assert_eq!(quotas(&[(90, 1), (10, 1)], &[90, 10], 10), [10, 0]);
        assert_eq!(quotas(&[(60, 1), (50, 1), (10, 1)], &[60, 50, 10], 20), [15, 5, 0]);
        assert_eq!(quotas(&[(60, 3), (40, 1)], &[60, 40], 20), [0, 20], "it has 20 for each of its weight");
        assert_eq!(quotas(&[(60, 3), (40, 1)], &[60, 40], 40), [15, 25], "in step from there");
    }

    #[test]
    fn nobody_gives_what_is_below_its_share_though_others_have_nothing_idle() {
        assert_eq!(quotas(&[(90, 1), (10, 1)], &[0, 10], 10), [0, 0]);
        assert_eq!(quotas(&[(90, 1), (10, 1)], &[4, 10], 10), [4, 0]);
        assert_eq!(quotas(&[(50, 1), (40, 1), (10, 1)], &[0, 40, 10], 10), [0, 10, 0], "30 are its share");
        assert_eq!(quotas(&[(50, 1), (32, 1), (10, 1)], &[0, 32, 10], 10), [0, 5, 0], "27 are its share");
    }

    #[test]
    fn beside_many_places_that_nobody_holds_few_are_above_their_share() {
        let holders = holding(&[(10, 1), (2, 1)]);
        assert_eq!(holders.quotas(&[0, 10, 2], 4, 0), [0, 4, 0]);
        assert_eq!(holders.quotas(&[0, 10, 2], 4, 8), [0, 2, 0], "8 are the share of each of 16");
        assert_eq!(holders.quotas(&[0, 10, 2], 4, 40), [0, 0, 0]);
    }

    #[test]
    fn who_holds_nothing_any_more_is_forgotten_and_its_number_is_used_again() {
        let mut holders = holding(&[(1, 1), (2, 5)]);
        holders.give_back(1);
        assert_eq!((holders.numbers.len(), holders.key(2)), (1, 2));
        assert_eq!(holders.take(Holder { key: 7, weight: 3 }), 1);
        assert!(holders.is(1, Holder { key: 7, weight: 3 }) && holders.len() == 3);
        [1, 2, 2, NOBODY].into_iter().for_each(|number| holders.give_back(number));
        assert!(holders.numbers.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_given_is_fair_and_no_more_than_asked(
            held in proptest::collection::vec((1_u32..200, 1_u32..10, 0_u32..200), 1..12),
            count in 0_usize..300,
        ) {
            let idle: Vec<u32> = held.iter().map(|(held, _, idle)| *idle.min(held)).collect();
            let pairs: Vec<(u32, u32)> = held.iter().map(|(held, weight, _)| (*held, *weight)).collect();
            let quotas = quotas(&pairs, &idle, count);
            let total: u32 = quotas.iter().sum();
            prop_assert!(total as usize <= count);
            let sum: u64 = pairs.iter().map(|(held, _)| u64::from(*held)).sum();
            let weights: u64 = pairs.iter().map(|(_, weight)| u64::from(*weight)).sum();
            let left = sum.saturating_sub(count as u64);
            for (((held, weight), idle), quota) in pairs.iter().zip(&idle).zip(&quotas) {
                prop_assert!(quota <= idle);
                let kept = u64::from(held - quota);
                // At least its share, or all it had; the last one given may be the one that crosses it.
                prop_assert!(*quota == 0 || (kept + 1) * weights > left * u64::from(*weight));
                // Whoever could give more has no more for its weight than whoever gave has left.
                for ((other_held, other_weight), other_quota) in pairs.iter().zip(&quotas) {
                    if quota < idle && *other_quota > 0 && (total as usize) == count {
                        let mine = kept * u64::from(*other_weight);
                        let theirs = u64::from(other_held - other_quota + 1) * u64::from(*weight);
                        prop_assert!(mine <= theirs);
                    }
                }
            }
        }
    }
}
