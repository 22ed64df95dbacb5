//! Which objects are on their way to disk, by hash: so that one given up meanwhile does not get there.
//!
//! An object is on its way from when it is queued until the index has it. Who gives a hash up takes it out
//! here; the writer looks before and after it writes. Bounded by the queue and the batch, in which each is.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One object's way; a later one of the same hash ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way(u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Ways>);

#[derive(Debug, Default)]
struct Ways {
    by_hash: BTreeMap<u128, Way>,
    last: u64,
}

impl Ways {
    fn begin(&mut self, hash: u128) -> Way {
        self.last += 1;
        let way = Way(self.last);
        self.by_hash.insert(hash, way);
        way
    }
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, Ways> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an object's way, and ends that of an older one.
    pub(super) fn begin(&self, hash: u128) -> Way {
        self.lock().begin(hash)
    }

    /// The same for an object that others are newer than: `None` when one is under way.
    pub(super) fn begin_if_none(&self, hash: u128) -> Option<Way> {
        let mut ways = self.lock();
        if ways.by_hash.contains_key(&hash) { None } else { Some(ways.begin(hash)) }
    }

    /// Whether nobody has given it up.
    pub(super) fn is_on(&self, hash: u128, way: Way) -> bool {
        self.lock().by_hash.get(&hash) == Some(&way)
    }

    /// Ends a way; gives whether nobody had given it up before.
    pub(super) fn end(&self, hash: u128, way: Way) -> bool {
        let mut ways = self.lock();
        let is_on = ways.by_hash.get(&hash) == Some(&way);
        if is_on {
            ways.by_hash.remove(&hash);
        }
        is_on
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().by_hash.len()
    }

    /// Gives up whatever is on its way under a hash.
    pub(super) fn forget(&self, hash: u128) {
        self.lock().by_hash.remove(&hash);
    }
}
