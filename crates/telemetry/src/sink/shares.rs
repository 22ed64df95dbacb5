//! Whose lines are lost when the access log's target does not keep up: those of the zone that floods it.
//!
//! A zone may have as much of the queue as is still free (Choudhury and Hahne, *Dynamic queue length
//! thresholds for shared-memory packet switches*, 1998, with a factor of 1): one zone alone gets half of
//! it, two get a third each, and there is always room for the lines of one that comes anew. As long as the
//! writer has something to do it is busy, so nobody's lines are lost that could have been written. Zones
//! are told apart by a keyed hash into a place of each of two rows, and what one has is the lesser of what
//! its places have (a count-min sketch): for another's lines to count as one's own, both must fall together.
//! Knows no limits but those it is given. Called by [`super::queue`].

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Places in a row: 16 KiB for both. Beside one zone that floods the log another loses lines with it in one
/// of a million pairs, beside ten with one chance in ten thousand.
const PLACES: u16 = 1024;

/// Whose a line is: a place in each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner([u16; 2]);

/// Whose a line is, and its bytes with the end of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) owner: Owner,
    pub(crate) bytes: usize,
}

/// What of a queued batch is one owner's.
pub(crate) type Part = Line;

/// What was taken of a batch.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) lines: u64,
    pub(crate) parts: Vec<Part>,
}

/// How much of a queue each owner has. Added to by serving threads, taken from by the writer.
#[derive(Debug)]
pub(crate) struct Shares {
    rows: [Box<[AtomicUsize]>; 2],
    keys: RandomState,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            rows: [(); 2].map(|()| (0..PLACES).map(|_| AtomicUsize::new(0)).collect()),
            // Unforeseeable, so that no zone can be named such that it shares with a chosen other one.
            keys: RandomState::new(),
        }
    }
}

impl Shares {
    /// Gives the owner of a zone's lines; those of no zone (hosts that nobody has) are an owner's of their
    /// own.
    pub(crate) fn owner(&self, zone: Option<&str>) -> Owner {
        let Some(zone) = zone else { return Owner([0; 2]) };
        let hash = self.keys.hash_one(zone);
        // Both halves are as random as the whole.
        Owner([hash >> 32, hash & u64::from(u32::MAX)].map(|half| (half % u64::from(PLACES - 1)) as u16 + 1))
    }

    fn places(&self, owner: Owner) -> impl Iterator<Item = &AtomicUsize> {
        self.rows.iter().zip(owner.0).filter_map(|(row, place)| row.get(usize::from(place)))
    }

    /// Takes those lines whose owners have no more than what is free, and charges them. `owners` has an entry
    /// for each line of `bytes`, in their order.
    pub(crate) fn take(&self, bytes: &[u8], owners: &[Line], mut free: usize) -> Taken {
        // Whoever has all that is queued has no more than is free then: nothing is to be left out.
        let mut kept = Vec::with_capacity(bytes.len());
        let (mut parts, mut lines, mut at) = (Vec::<Part>::new(), 0, 0);
        for line in owners {
            let text = bytes.get(at..at + line.bytes).unwrap_or_default();
            at += line.bytes;
            let held = self.places(line.owner).map(|place| place.load(Relaxed)).min().unwrap_or(0);
            // Two threads may both see room that there is for one: the queue has its own bound for that.
            if held + line.bytes > free {
                continue;
            }
            for place in self.places(line.owner) {
                place.fetch_add(line.bytes, Relaxed);
            }
            free -= line.bytes;
            kept.extend_from_slice(text);
            lines += 1;
            match parts.iter_mut().find(|part| part.owner == line.owner) {
                Some(part) => part.bytes += line.bytes,
                None => parts.push(*line),
            }
        }
        Taken { bytes: kept.into(), lines, parts }
    }

    /// Takes back what was charged for a batch that is not queued any more.
    pub(crate) fn give_back(&self, parts: &[Part]) {
        for part in parts {
            for place in self.places(part.owner) {
                place.fetch_sub(part.bytes, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One with the same place in both rows.
    fn owner(place: u16) -> Owner {
        Owner([place; 2])
    }

    fn lines(owner: Owner, count: usize) -> (Vec<u8>, Vec<Line>) {
        (b"0123456789".repeat(count), vec![Line { owner, bytes: 10 }; count])
    }

    fn take(shares: &Shares, place: u16, count: usize, free: usize) -> u64 {
        take_of(shares, owner(place), count, free)
    }

    fn take_of(shares: &Shares, owner: Owner, count: usize, free: usize) -> u64 {
        let (bytes, owners) = lines(owner, count);
        let taken = shares.take(&bytes, &owners, free);
        assert_eq!(taken.bytes.len() as u64, taken.lines * 10);
        taken.lines
    }

    #[test]
    fn one_owner_gets_half_and_the_next_a_half_of_what_is_left() {
        let shares = Shares::default();
        assert_eq!(take(&shares, 1, 1000, 1000), 50);
        assert_eq!(take(&shares, 1, 1000, 500), 0, "it has as much as is free");
        assert_eq!(take(&shares, 2, 1000, 500), 25);
        assert_eq!(take(&shares, 3, 1, 250), 1, "there is room for one that comes anew");
    }

    #[test]
    fn what_is_written_is_free_again() {
        let shares = Shares::default();
        let (bytes, owners) = lines(owner(7), 50);
        let taken = shares.take(&bytes, &owners, 1000);
        assert_eq!(taken.parts, [Line { owner: owner(7), bytes: 500 }]);
        shares.give_back(&taken.parts);
        assert_eq!(take(&shares, 7, 1000, 1000), 50);
    }

    #[test]
    fn lines_that_stay_keep_their_order_and_their_bytes() {
        let shares = Shares::default();
        let of = |place, bytes| Line { owner: owner(place), bytes };
        let owners = [of(1, 6), of(2, 3), of(1, 6), of(2, 3)];
        let taken = shares.take(b"flood\nab\nflood\ncd\n", &owners, 20);
        assert_eq!((&*taken.bytes, taken.lines), (&b"flood\nab\ncd\n"[..], 3));
        assert_eq!(taken.parts, [of(1, 6), of(2, 6)]);
    }

    #[test]
    fn lines_of_no_zone_are_nobody_elses() {
        let shares = Shares::default();
        assert_eq!(shares.owner(None), owner(0));
        let in_both = |zone: u32| shares.owner(Some(&zone.to_string())).0.iter().all(|place| *place > 0);
        assert!((0..5000).all(in_both));
        assert_eq!(shares.owner(Some("a")), shares.owner(Some("a")));
    }

    #[test]
    fn one_that_shares_a_place_with_a_flood_loses_nothing_by_it() {
        let shares = Shares::default();
        assert_eq!(take_of(&shares, Owner([1, 2]), 1000, 1000), 50, "the flood");
        assert_eq!(take_of(&shares, Owner([1, 3]), 1, 500), 1, "its other place is its own");
        assert_eq!(take_of(&shares, Owner([4, 2]), 1, 490), 1);
        assert!(take_of(&shares, Owner([1, 2]), 1000, 500) == 0, "it has as much as is free");
        shares.give_back(&[Line { owner: Owner([1, 2]), bytes: 500 }]);
        assert_eq!(
            take_of(&shares, Owner([1, 2]), 1000, 1000),
            50,
            "others' lines there do not count as its own"
        );
    }
}
