//! One shard of the memory tier: a table of slots, and S3-FIFO (Yang and others, SOSP 2023) over them.
//!
//! A new object enters a small queue, a tenth of the shard; asked for again before it comes to that queue's
//! end it moves to the main one, else it goes and is remembered by hash, and enters the main queue when it is
//! fetched again. A hit moves nothing: it counts up to 3 in the object itself, so hits share a lock. Scans
//! pass through the small queue. Why this and not LRU: docs/decisions/0012-storage-of-the-cache.md.
//!
//! Knows nothing of purges or the disk. Called by `store.rs` and `fill.rs` with the shard's lock held; what
//! is evicted is given back, so that it is freed after the lock. Read next: [`Shard::evict`].

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashTable;

use super::fair::{Account, Fair};
use super::fetch::Pending;
use super::ghost::Ghost;
use super::key::{Key, Wanted};
use super::object::Object;

/// Requests after the first that earn an object a place in the main queue. One does as well as the paper's
/// two, or better by up to two points, on every trace tried (examples/hit_ratio.rs).
const MAIN_AFTER: u8 = 1;

/// Objects of zones within what they are promised that one eviction passes over at most: then whatever comes
/// goes, so that each eviction makes room. With half of memory promised it is one or two as a rule.
const PASSED_OVER_MAX: usize = 64;

/// The small queue's part of a shard: one in so many.
const SMALL_PART: u64 = 10;

const NONE: u32 = u32::MAX;

/// What is stored under a key.
#[derive(Debug, Clone)]
pub(crate) enum Stored {
    Nothing,
    Object(Arc<Object>),
    /// The answer could not be kept, and will not be until then: requests go past the cache.
    Pass {
        until_ms: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) key: Key,
    pub(crate) stored: Stored,
    pub(crate) pending: Option<Arc<Pending>>,
    account: Arc<Account>,
    charge: u64,
    queue: Place,
    newer: u32,
    older: u32,
}

/// Which queue a slot is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    None,
    Small,
    Main,
}

#[derive(Debug)]
struct Queue {
    newest: u32,
    oldest: u32,
    bytes: u64,
    count: usize,
}

impl Default for Queue {
    fn default() -> Self {
        Self { newest: NONE, oldest: NONE, bytes: 0, count: 0 }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shard {
    fair: Arc<Fair>,
    table: HashTable<u32>,
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    small: Queue,
    main: Queue,
    ghost: Ghost,
}

/// Something that left the tables.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) bytes: u64,
    /// Freed by whoever gets it, with no lock held.
    pub(crate) stored: Stored,
}

impl Shard {
    pub(crate) fn new(fair: &Arc<Fair>) -> Self {
        Self {
            fair: Arc::clone(fair),
            table: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            small: Queue::default(),
            main: Queue::default(),
            ghost: Ghost::default(),
        }
    }

    /// Bytes of what is stored.
    pub(crate) fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    pub(crate) fn objects(&self) -> usize {
        self.small.count + self.main.count
    }

    pub(crate) fn find(&self, wanted: &Wanted) -> Option<u32> {
        let is_it = |id: &u32| self.slot(*id).is_some_and(|slot| slot.key.is(wanted));
        self.table.find(wanted.hash as u64, is_it).copied()
    }

    pub(crate) fn find_key(&self, key: &Key) -> Option<u32> {
        let is_it = |id: &u32| self.slot(*id).is_some_and(|slot| slot.key == *key);
        self.table.find(key.hash as u64, is_it).copied()
    }

    /// The object under a hash, if there is one; a hint, since keys are not compared.
    pub(crate) fn object(&self, hash: u128) -> Option<&Arc<Object>> {
        let is_it = |id: &u32| self.slot(*id).is_some_and(|slot| slot.key.hash == hash);
        match &self.slot(*self.table.find(hash as u64, is_it)?)?.stored {
            Stored::Object(object) => Some(object),
            Stored::Nothing | Stored::Pass { .. } => None,
        }
    }

    pub(crate) fn slot(&self, id: u32) -> Option<&Slot> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub(crate) fn slot_mut(&mut self, id: u32) -> Option<&mut Slot> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    /// The slots from one on, for who lists them.
    pub(crate) fn slots_from(&self, id: usize) -> impl Iterator<Item = (usize, &Slot)> {
        let slots = self.slots.iter().enumerate().skip(id);
        slots.filter_map(|(id, slot)| Some((id, slot.as_ref()?)))
    }

    /// An empty slot for a key that has none.
    pub(crate) fn add(&mut self, key: Key) -> u32 {
        let (hash, account) = (key.hash, self.fair.account(key.parts().zone));
        let slot = Slot {
            account,
            key,
            stored: Stored::Nothing,
            pending: None,
            charge: 0,
            queue: Place::None,
            newer: NONE,
            older: NONE,
        };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.slots.get_mut(id as usize) {
                    *place = Some(slot);
                }
                id
            }
            None => {
                self.slots.push(Some(slot));
                self.slots.len() as u32 - 1
            }
        };
        let slots = &self.slots;
        let hash_of = |id: &u32| {
            let slot = slots.get(*id as usize).and_then(Option::as_ref);
            slot.map_or(0, |slot| slot.key.hash as u64)
        };
        self.table.insert_unique(hash as u64, id, hash_of);
        id
    }

    /// Whether this key was evicted lately without a second request.
    pub(crate) fn was_evicted(&self, hash: u128) -> bool {
        self.ghost.has(hash, self.ghost_lifetime())
    }

    fn ghost_lifetime(&self) -> usize {
        (self.main.count + self.small.count).max(8)
    }

    /// Stores something in a slot, in place of what was there; a key that had a place in the main queue keeps
    /// one, and so does one that was evicted lately.
    pub(crate) fn store(&mut self, id: u32, stored: Stored, charge: u64, is_known: bool) -> Left {
        let was_main = self.slot(id).is_some_and(|slot| slot.queue == Place::Main);
        let left = self.take(id);
        let place = if was_main || is_known { Place::Main } else { Place::Small };
        if let Some(slot) = self.slot_mut(id) {
            slot.stored = stored;
            slot.charge = charge;
        }
        if let Some(slot) = self.slot(id) {
            self.fair.add(&slot.account, charge);
        }
        self.link(id, place);
        left
    }

    /// Adds to the bytes of a slot whose body grows.
    pub(crate) fn grow(&mut self, id: u32, bytes: u64) {
        let Some(slot) = self.slot_mut(id) else { return };
        slot.charge += bytes;
        let (place, account) = (slot.queue, Arc::clone(&slot.account));
        self.fair.add(&account, bytes);
        if let Some(queue) = self.queue(place) {
            queue.bytes += bytes;
        }
    }

    /// Takes out what a slot stores, and the slot when nobody fetches for it.
    pub(crate) fn remove(&mut self, id: u32) -> Left {
        let left = self.take(id);
        self.tidy(id);
        left
    }

    /// Gives up a slot that stores nothing and that nobody fetches for.
    pub(crate) fn tidy(&mut self, id: u32) {
        let is_empty = |slot: &Slot| matches!(slot.stored, Stored::Nothing) && slot.pending.is_none();
        let Some(hash) = self.slot(id).filter(|slot| is_empty(slot)).map(|slot| slot.key.hash) else {
            return;
        };
        if let Ok(entry) = self.table.find_entry(hash as u64, |other| *other == id) {
            entry.remove();
        }
        if let Some(place) = self.slots.get_mut(id as usize) {
            *place = None;
        }
        self.free.push(id);
    }

    fn take(&mut self, id: u32) -> Left {
        self.unlink(id);
        let Some(slot) = self.slot_mut(id) else { return Left { bytes: 0, stored: Stored::Nothing } };
        let stored = std::mem::replace(&mut slot.stored, Stored::Nothing);
        let (bytes, account) = (std::mem::take(&mut slot.charge), Arc::clone(&slot.account));
        self.fair.remove(&account, bytes);
        Left { bytes, stored }
    }

    /// Makes room by one object, or gives `None` when `steps` are spent or nothing can go. Objects that fill
    /// stay: their readers hold their bytes anyway, and a second fetch would add to them. So do those of
    /// zones that hold no more than they are promised.
    pub(crate) fn evict(&mut self, steps: &mut usize) -> Option<Left> {
        let mut passed_over = 0;
        while *steps > 0 && self.objects() > 0 {
            *steps -= 1;
            let is_small_due = self.small.bytes * SMALL_PART >= self.bytes();
            let from = if self.main.count == 0 || (self.small.count > 0 && is_small_due) {
                Place::Small
            } else {
                Place::Main
            };
            let id = self.queue(from)?.oldest;
            let slot = self.slot(id)?;
            let hash = slot.key.hash;
            let object = match &slot.stored {
                Stored::Object(object) => Some(object),
                Stored::Nothing | Stored::Pass { .. } => None,
            };
            let is_filling = object.is_some_and(|object| !object.is_whole());
            let frequency = object.map_or(0, |object| object.frequency.load(Relaxed));
            if frequency > 0 {
                self.fair.note_asked(&slot.account);
            }
            // In the main queue alone: what nobody has asked for a second time is no loss to a zone.
            let is_promised = from == Place::Main
                && !is_filling
                && frequency == 0
                && passed_over < PASSED_OVER_MAX
                && self.fair.protects(&slot.account);
            passed_over += usize::from(is_promised);
            if is_filling {
                self.unlink(id);
                self.link(id, from);
            } else if is_promised {
                self.unlink(id);
                self.link(id, Place::Main);
            } else if from == Place::Small && frequency >= MAIN_AFTER {
                self.set_frequency(id, 0);
                self.unlink(id);
                self.link(id, Place::Main);
            } else if from == Place::Main && frequency > 0 {
                self.set_frequency(id, frequency - 1);
                self.unlink(id);
                self.link(id, Place::Main);
            } else {
                if from == Place::Small {
                    let lifetime = self.ghost_lifetime();
                    self.ghost.insert(hash, lifetime);
                }
                return Some(self.remove(id));
            }
        }
        None
    }

    fn set_frequency(&self, id: u32, frequency: u8) {
        if let Some(Slot { stored: Stored::Object(object), .. }) = self.slot(id) {
            object.frequency.store(frequency, Relaxed);
        }
    }

    fn queue(&mut self, place: Place) -> Option<&mut Queue> {
        match place {
            Place::None => None,
            Place::Small => Some(&mut self.small),
            Place::Main => Some(&mut self.main),
        }
    }

    /// Puts a slot at the new end of a queue.
    fn link(&mut self, id: u32, place: Place) {
        let Some(charge) = self.slot(id).map(|slot| slot.charge) else { return };
        let Some(queue) = self.queue(place) else { return };
        let second = std::mem::replace(&mut queue.newest, id);
        if second == NONE {
            queue.oldest = id;
        }
        queue.bytes += charge;
        queue.count += 1;
        if let Some(slot) = self.slot_mut(id) {
            (slot.queue, slot.newer, slot.older) = (place, NONE, second);
        }
        if let Some(slot) = self.slot_mut(second) {
            slot.newer = id;
        }
    }

    fn unlink(&mut self, id: u32) {
        let Some(slot) = self.slot_mut(id) else { return };
        let (newer, older, charge) = (slot.newer, slot.older, slot.charge);
        let place = std::mem::replace(&mut slot.queue, Place::None);
        (slot.newer, slot.older) = (NONE, NONE);
        let Some(queue) = self.queue(place) else { return };
        if queue.newest == id {
            queue.newest = older;
        }
        if queue.oldest == id {
            queue.oldest = newer;
        }
        queue.bytes -= charge;
        queue.count -= 1;
        if let Some(slot) = self.slot_mut(newer) {
            slot.older = older;
        }
        if let Some(slot) = self.slot_mut(older) {
            slot.newer = newer;
        }
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        for (place, queue) in [(Place::Small, &self.small), (Place::Main, &self.main)] {
            let (mut bytes, mut count, mut id, mut newer) = (0, 0, queue.newest, NONE);
            while let Some(slot) = self.slot(id) {
                assert_eq!((slot.queue, slot.newer), (place, newer));
                assert!(!matches!(slot.stored, Stored::Nothing), "a queue holds nothing");
                (bytes, count, newer, id) = (bytes + slot.charge, count + 1, id, slot.older);
            }
            assert_eq!((bytes, count, newer), (queue.bytes, queue.count, queue.oldest));
        }
        let used = self.slots.iter().flatten().count();
        assert_eq!(self.table.len(), used);
        assert_eq!(self.slots.len(), used + self.free.len());
        for (id, slot) in self.slots_from(0) {
            assert_eq!(self.find_key(&slot.key), Some(id as u32));
            assert!(slot.queue != Place::None || slot.pending.is_some(), "a slot for nothing");
        }
    }
}
