//! The latest epoch of each of many hashes, in a bounded table that may say too late an epoch, never too
//! early.
//!
//! Four places per hash, each with the latest epoch of all hashes that fall on it; a hash's epoch is the
//! earliest of its four. So no purge is ever missed, and an object that nobody purged is taken as purged when
//! all four places were raised by others since it was stored: with n purges since then and m places, with a
//! chance of about `(1 - e^(-4n/m))^4`. With 2^20 places that is 1 in 500,000 at 10,000 purges and 1 % at
//! 100,000. Such an object is fetched once more. Used by `purge.rs`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Places looked at for a hash.
const WAYS: u32 = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sketch {
    slots: Box<[AtomicU64]>,
}

impl Sketch {
    /// `slots` is rounded up to a power of two.
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots: (0..slots.next_power_of_two()).map(|_| AtomicU64::new(0)).collect() }
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        let mask = self.slots.len() - 1;
        // Two halves of a keyed hash make as many places as are wanted (Kirsch and Mitzenmacher, 2006).
        let (base, step) = (hash as u32, (hash >> 32) as u32 | 1);
        (0..WAYS)
            .filter_map(move |way| self.slots.get(base.wrapping_add(way.wrapping_mul(step)) as usize & mask))
    }

    pub(crate) fn raise(&self, hash: u64, epoch: u64) {
        for place in self.places(hash) {
            place.fetch_max(epoch, Relaxed);
        }
    }

    /// Zero: never purged.
    pub(crate) fn epoch(&self, hash: u64) -> u64 {
        self.places(hash).map(|place| place.load(Relaxed)).min().unwrap_or(0)
    }

    /// Raises one place out of a table of `of` places, as [`Sketch::slots`] gave it. A smaller table takes it
    /// where it falls, a larger one everywhere it could have come from: the error grows, nothing is missed.
    pub(crate) fn raise_slot(&self, place: u32, of: u32, epoch: u64) {
        let first = place as usize & (self.slots.len() - 1);
        let step = (of as usize).clamp(1, self.slots.len());
        for slot in self.slots.iter().skip(first % step).step_by(step) {
            slot.fetch_max(epoch, Relaxed);
        }
    }

    /// Places that were ever raised.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (u32, u64)> {
        let epochs = self.slots.iter().map(|slot| slot.load(Relaxed));
        epochs.enumerate().filter(|(_, epoch)| *epoch > 0).map(|(place, epoch)| (place as u32, epoch))
    }

    pub(crate) fn len(&self) -> u32 {
        self.slots.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads counters into what keyed hashes look like (the finaliser of splitmix64).
    fn hash(number: u64) -> u64 {
        let mut hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }

    #[test]
    fn never_forgets_a_purge_and_errs_as_seldom_as_stated() {
        let sketch = Sketch::new(1 << 16);
        for number in 0..6_250 {
            sketch.raise(hash(number), 100 + number);
        }
        for number in 0..6_250 {
            assert!(sketch.epoch(hash(number)) >= 100 + number, "purge {number} is forgotten");
        }
        let wrong = (1_000_000..1_100_000).filter(|number| sketch.epoch(hash(*number)) > 0).count();
        assert!((800..1_250).contains(&wrong), "{wrong} of 100,000, stated 1 %");
        let wrong = (1_000_000..1_100_000).filter(|number| sketch.epoch(hash(*number)) > 100 + 5_625).count();
        assert_eq!(wrong, 0, "only purges after an object was stored are against it");
    }

    #[test]
    fn tables_of_other_sizes_take_over_what_one_had() {
        let (large, small, again) = (Sketch::new(1 << 12), Sketch::new(1 << 10), Sketch::new(1 << 12));
        for number in 0..50 {
            large.raise(hash(number), 1 + number);
        }
        for (place, epoch) in large.slots() {
            small.raise_slot(place, large.len(), epoch);
        }
        for (place, epoch) in small.slots() {
            again.raise_slot(place, small.len(), epoch);
        }
        for sketch in [&small, &again] {
            assert!((0..50).all(|number| sketch.epoch(hash(number)) > number));
            let wrong = (1_000..2_000).filter(|number| sketch.epoch(hash(*number)) > 0).count();
            assert!(wrong < 20, "{wrong} of 1,000");
        }
    }
}
