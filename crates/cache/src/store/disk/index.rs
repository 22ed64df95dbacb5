//! Where each object on disk is: 40 bytes an object and the table's slack, by the hash of its key.
//!
//! Keeps no keys: the record itself says whose it is, and is compared when it is read. Looked into by serving
//! threads, changed by the disk's.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hashbrown::HashTable;

use super::shares::{Came, Shares, ZoneNumber};

/// Shards of the index: with so many, growing one of a million objects moves 16,000, in under a millisecond.
const SHARDS: usize = 64;

/// A place on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) length: u32,
    /// Epoch of purges, as this run counts.
    pub(crate) born: u64,
    /// Whose it is.
    pub(super) zone: ZoneNumber,
}

#[derive(Debug)]
struct Indexed {
    /// The hash in two halves: as one it would take eight bytes more, for its alignment.
    hash: (u64, u64),
    born: u64,
    segment: u32,
    offset: u32,
    length: u32,
    zone: ZoneNumber,
    /// Reads since it was written.
    reads: AtomicU8,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[RwLock<HashTable<Indexed>>]>,
    shares: Shares,
}

fn halves(hash: u128) -> (u64, u64) {
    (hash as u64, (hash >> 64) as u64)
}

impl Indexed {
    fn place(&self) -> Place {
        let Self { segment, offset, length, born, zone, .. } = *self;
        Place { segment, offset, length, born, zone }
    }

    fn is_at(&self, segment: u32, offset: u32) -> bool {
        self.segment == segment && self.offset == offset
    }
}

impl Index {
    pub(super) fn new(shares: Shares) -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), shares }
    }

    /// Who holds what of what is indexed.
    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    fn shard(&self, hash: u128) -> &RwLock<HashTable<Indexed>> {
        let place = (hash >> 120) as usize % SHARDS;
        self.shards.get(place).unwrap_or_else(|| unreachable!("a remainder by their number"))
    }

    fn read(&self, hash: u128) -> RwLockReadGuard<'_, HashTable<Indexed>> {
        self.shard(hash).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, hash: u128) -> RwLockWriteGuard<'_, HashTable<Indexed>> {
        self.shard(hash).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for so many at once, which loading would else grow into.
    pub(crate) fn reserve(&self, objects: usize) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.reserve(objects / SHARDS, |indexed| indexed.hash.0);
        }
    }

    pub(crate) fn find(&self, hash: u128) -> Option<Place> {
        let hash_halves = halves(hash);
        let shard = self.read(hash);
        Some(shard.find(hash_halves.0, |indexed| indexed.hash == hash_halves)?.place())
    }

    /// Notes that it was asked for, which keeps it when its segment goes.
    pub(crate) fn touch(&self, hash: u128) {
        let hash_halves = halves(hash);
        let shard = self.read(hash);
        let Some(indexed) = shard.find(hash_halves.0, |indexed| indexed.hash == hash_halves) else { return };
        if indexed.reads.load(Relaxed) == 0 {
            indexed.reads.store(1, Relaxed);
        }
        let zone = indexed.zone;
        drop(shard);
        self.shares.note_asked(zone);
    }

    /// Whether it was read since it was written.
    pub(crate) fn was_read(&self, hash: u128) -> bool {
        let hash_halves = halves(hash);
        let shard = self.read(hash);
        let found = shard.find(hash_halves.0, |indexed| indexed.hash == hash_halves);
        found.is_some_and(|indexed| indexed.reads.load(Relaxed) > 0)
    }

    /// Puts an object in the place of what had its hash.
    pub(super) fn insert(&self, hash: u128, place: Place, came: Came) {
        let hash_halves = halves(hash);
        let indexed = Indexed {
            hash: hash_halves,
            born: place.born,
            segment: place.segment,
            offset: place.offset,
            length: place.length,
            zone: place.zone,
            reads: AtomicU8::new(0),
        };
        let mut shard = self.write(hash);
        let old = match shard.find_mut(hash_halves.0, |other| other.hash == hash_halves) {
            Some(old) => Some(std::mem::replace(old, indexed)),
            None => {
                shard.insert_unique(hash_halves.0, indexed, |indexed| indexed.hash.0);
                None
            }
        };
        // Under the lock, so that nobody takes out what is not counted yet.
        self.shares.add(place.segment, place.zone, place.length, came);
        old.into_iter().for_each(|old| self.shares.remove(old.segment, old.zone, old.length));
    }

    /// Takes a hash out; gives whether it was there.
    pub(crate) fn remove(&self, hash: u128) -> bool {
        self.remove_where(hash, |_| true)
    }

    /// Takes a hash out if it is still at that place.
    pub(crate) fn remove_at(&self, hash: u128, segment: u32, offset: u32) -> bool {
        self.remove_where(hash, |indexed| indexed.is_at(segment, offset))
    }

    fn remove_where(&self, hash: u128, is_it: impl Fn(&Indexed) -> bool) -> bool {
        let hash_halves = halves(hash);
        let mut shard = self.write(hash);
        let entry = shard.find_entry(hash_halves.0, |indexed| indexed.hash == hash_halves && is_it(indexed));
        let Ok(entry) = entry else { return false };
        let (gone, _shard) = entry.remove();
        self.shares.remove(gone.segment, gone.zone, gone.length);
        true
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            *shard.write().unwrap_or_else(PoisonError::into_inner) = HashTable::new();
        }
        self.shares.clear();
    }

    pub(crate) fn objects(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| shard.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Bytes the tables take.
    pub(crate) fn memory_bytes(&self) -> usize {
        let bytes = |shard: &RwLock<HashTable<_>>| {
            shard.read().unwrap_or_else(PoisonError::into_inner).allocation_size()
        };
        self.shards.iter().map(bytes).sum::<usize>() + self.shares.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u128 {
        u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    fn place(segment: u32) -> Place {
        Place { segment, offset: 64 * segment, length: 1_000, born: 5, zone: 1 }
    }

    #[test]
    fn takes_at_most_150_bytes_an_object_however_many_there_are() {
        let index = Index::new(Shares::new(1 << 30, 50));
        let mut worst = 0;
        for number in 0..300_000 {
            index.insert(hash(number), place(1), Came::Asked);
            if number > 10_000 && number % 1_000 == 0 {
                worst = worst.max(index.memory_bytes() / index.objects());
            }
        }
        assert!(worst <= 150, "{worst} bytes");
        assert_eq!(size_of::<Indexed>(), 40);
    }

    #[test]
    fn a_later_place_replaces_an_earlier_one_and_is_not_removed_with_it() {
        let index = Index::new(Shares::new(1 << 30, 50));
        index.insert(hash(1), place(1), Came::Asked);
        index.insert(hash(1), place(2), Came::Asked);
        assert_eq!((index.find(hash(1)), index.objects()), (Some(place(2)), 1));
        assert!(!index.remove_at(hash(1), 1, 64));
        assert!(index.remove_at(hash(1), 2, 128));
        assert_eq!((index.find(hash(1)), index.objects()), (None, 0));
    }
}
