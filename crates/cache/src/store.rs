//! Storage: objects in memory and on disk, leases on what is missing, and purges.
//!
//! An object is a key, a head and some numbers that mean nothing here, and a body in shared chunks that is
//! readable while it fills. [`Store::lookup`] finds one, or joins a fetch under way, or gives the right to
//! fetch. All serving threads share one store; nothing here blocks on the disk, reads the clock or needs a
//! runtime: `now_ms` is the node's monotonic clock, and who waits leaves a `Waker`.
//!
//! It decides nothing of HTTP: what is fresh, what a Vary means and what may be kept is the policy's. Called
//! by the edge's cache phase. Read next: [`Store::lookup`], `fill.rs`, `shard.rs`, `purge.rs`, `disk.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

mod body;
mod counters;
pub mod disk;
mod fair;
mod fetch;
mod fill;
mod ghost;
mod key;
pub mod limits;
mod object;
mod purge;
mod shard;
mod sketch;
#[cfg(test)]
mod tests;

pub use body::{Piece, Reader};
pub use counters::Counts;
pub use disk::{Disk, DiskSettings, DiskState, Recorded};
pub use fetch::{Ticket, Waited};
pub use fill::{Answer, Fill, Finished, Lease, NotKept, Pushed};
pub use key::{Key, KeyRef, Seed};
pub use object::{Head, Object};
pub use purge::{Purge, Strength};

use body::Held;
use counters::Counters;
use disk::{Located, PurgeJob, ReadJob};
use fair::Fair;
use fetch::{Holder, JoinRefused, Pending};
use key::Wanted;
use limits::{EVICTION_STEPS_MAX, FETCHES_MAX, OVERHEAD_BYTES};
use purge::{Facets, Judgement, Purges};
use shard::{Left, Shard, Stored};

/// Sizes of the memory tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySettings {
    /// Bytes of all objects found by lookups, overhead included. Objects evicted while a visitor still reads
    /// them may add a quarter; then nothing new is kept until they are gone.
    pub bytes_max: u64,
    /// Bytes of a body over which it is not kept at all. Default an eighth of `bytes_max`, at most 64 MiB:
    /// the policy stores larger answers in slices.
    pub object_bytes_max: u64,
    /// Bytes of a body over which it is kept in memory only while it fills and until it is on disk. Default a
    /// sixty-fourth of `bytes_max`: one object does not push out the many.
    pub memory_object_bytes_max: u64,
    /// Shards, rounded up to a power of two. Default 64: with 16 threads on different keys, one in four
    /// hundred lookups meets a writer of the same shard.
    pub shards: usize,
    /// Places of the table of purges by URL, host and tag. Default 2^20, which takes 12 MiB; see
    /// docs/reference/cache-disk-format.md for the error.
    pub purge_slots: usize,
    /// Part of memory in percent that is promised to zones by their weights ([`Store::weigh`]): what a zone
    /// keeps whatever others store, as long as it is asked for. Default 50; 0 for none.
    pub promised_percent: u8,
}

impl MemorySettings {
    /// Defaults for a size.
    #[must_use]
    pub fn of(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            object_bytes_max: (bytes_max / 8).min(64 * 1024 * 1024),
            memory_object_bytes_max: bytes_max / 64,
            shards: 64,
            purge_slots: 1 << 20,
            promised_percent: 50,
        }
    }
}

/// What a lookup came to.
#[derive(Debug)]
pub enum Lookup {
    /// Stored and not purged; fresh or not is the policy's to say. It may still fill.
    Hit(Arc<Object>),
    /// Somebody fetches it, or the disk reads it: wait, or go alone.
    Wait(Ticket),
    /// It is this one's to fetch.
    Lease(Lease),
    /// Known as an answer that cannot be kept: to the origin, without waiting for anybody.
    Pass,
    /// Past the cache.
    Bypass(Bypass),
}

/// Why a request goes past the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// Its key is longer than [`limits::KEY_BYTES_MAX`].
    KeyTooLong,
    /// [`limits::FETCHES_MAX`] fetches are under way.
    Fetches,
    /// [`limits::WAITERS_MAX`] wait for this one.
    Waiters,
}

/// Where a listing goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    shard: usize,
    slot: usize,
}

/// What memory holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Objects found by lookups, marks of answers that cannot be kept included.
    pub objects: u64,
    /// Their bytes, overhead included; at most `bytes_max`, but for what fills at this moment.
    pub bytes: u64,
    /// Bytes of all bodies that live, those that only their readers hold included.
    pub held_bytes: u64,
    /// Fetches under way.
    pub fetches: u64,
}

/// The store. Clones share everything.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: MemorySettings,
    seed: Seed,
    shards: Box<[RwLock<Shard>]>,
    fair: Arc<Fair>,
    /// Bytes of what the shards store.
    bytes: AtomicU64,
    /// Bodies that live.
    held: Arc<Held>,
    fetches: AtomicUsize,
    /// Shard to evict from next when the one at hand has less than its share.
    hand: AtomicUsize,
    purges: Purges,
    counters: Counters,
    disk: OnceLock<Arc<Disk>>,
}

/// A fetch just put into its slot, and what had to leave that.
struct Begun {
    lease: Lease,
    left: Option<Left>,
    superseded: Option<Arc<Pending>>,
}

impl Store {
    /// An empty store. `seed` keys its tables: secret, and kept for as long as the disk's folder is.
    #[must_use]
    pub fn new(settings: MemorySettings, seed: Seed) -> Self {
        let shards = settings.shards.clamp(1, 4096).next_power_of_two();
        let fair = Arc::new(Fair::new(settings.bytes_max, settings.promised_percent, fair::IDLE_TURNS));
        Self(Arc::new(Inner {
            settings,
            seed,
            shards: (0..shards).map(|_| RwLock::new(Shard::new(&fair))).collect(),
            fair,
            bytes: AtomicU64::new(0),
            held: Arc::default(),
            fetches: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            purges: Purges::new(settings.purge_slots.max(2)),
            counters: Counters::default(),
            disk: OnceLock::new(),
        }))
    }

    pub(crate) fn settings(&self) -> &MemorySettings {
        &self.0.settings
    }

    pub(crate) fn seed(&self) -> &Seed {
        &self.0.seed
    }

    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.0.held
    }

    pub(crate) fn purges(&self) -> &Purges {
        &self.0.purges
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Gives zones the weights by which the promised parts of memory and disk are shared; those that are not
    /// named have 1.
    pub fn weigh(&self, weights: &BTreeMap<u128, u32>) {
        self.0.fair.weigh(weights);
        if let Some(disk) = self.0.disk.get() {
            disk.weigh(weights);
        }
    }

    /// The disk tier, once it was attached ([`disk::attach`]).
    #[must_use]
    pub fn disk(&self) -> Option<&Arc<Disk>> {
        self.0.disk.get()
    }

    /// What was counted since the store was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.counters.counts()
    }

    /// What memory holds. Looks at every shard: for metrics, not for requests.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let objects = self.0.shards.iter().map(|shard| read(shard).objects() as u64).sum();
        Usage {
            objects,
            bytes: self.0.bytes.load(Relaxed),
            held_bytes: self.0.held.bytes(),
            fetches: self.0.fetches.load(Relaxed) as u64,
        }
    }

    fn shard(&self, hash: u128) -> &RwLock<Shard> {
        let place = (hash >> 64) as usize & (self.0.shards.len() - 1);
        // The mask keeps the place inside, and there is one shard at least.
        self.0.shards.get(place).unwrap_or_else(|| unreachable!("a place under the mask"))
    }

    /// Finds an object, or a fetch to wait for, or gives the lease to fetch.
    ///
    /// A hit takes a shared lock of one shard, which only stores and evictions take alone, and for the time
    /// it takes to change some links; it allocates nothing.
    #[must_use]
    pub fn lookup(&self, key: &KeyRef<'_>, now_ms: u64) -> Lookup {
        if key.is_too_long() {
            return Lookup::Bypass(Bypass::KeyTooLong);
        }
        let wanted = Wanted::new(&self.0.seed, key);
        let shard = read(self.shard(wanted.hash));
        let slot = shard.find(&wanted).and_then(|id| shard.slot(id));
        match slot.map(|slot| &slot.stored) {
            Some(Stored::Object(object)) if self.is_usable(object) => {
                let object = Arc::clone(object);
                drop(shard);
                self.note_hit(&object);
                return Lookup::Hit(object);
            }
            Some(Stored::Pass { until_ms }) if now_ms < *until_ms => return Lookup::Pass,
            Some(Stored::Object(_) | Stored::Pass { .. } | Stored::Nothing) | None => {}
        }
        drop(shard);
        self.lookup_alone(&wanted, key, now_ms, None)
    }

    /// What memory has under a key and may be used; begins no fetch and no read.
    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Arc<Object>> {
        let wanted = Wanted::new(&self.0.seed, key);
        let shard = read(self.shard(wanted.hash));
        match &shard.slot(shard.find(&wanted)?)?.stored {
            Stored::Object(object) if self.is_usable(object) => Some(Arc::clone(object)),
            Stored::Object(_) | Stored::Pass { .. } | Stored::Nothing => None,
        }
    }

    /// Whether memory or the disk has something under a key; begins nothing.
    pub(crate) fn has(&self, key: &KeyRef<'_>) -> bool {
        let wanted = Wanted::new(&self.0.seed, key);
        self.peek(key).is_some() || self.0.disk.get().is_some_and(|disk| disk.has(wanted.hash))
    }

    /// For an object that was found and will not do: the lease to fetch it anew, or the fetch that somebody
    /// has begun, or what has taken its place. What is stored stays until then.
    #[must_use]
    pub fn lookup_beyond(&self, found: &Arc<Object>, now_ms: u64) -> Lookup {
        let key = found.key.parts();
        self.lookup_alone(&Wanted::new(&self.0.seed, &key), &key, now_ms, Some(found))
    }

    /// A request that found an object: the second since it came makes it worth keeping on disk.
    fn note_hit(&self, object: &Arc<Object>) {
        let is_second = object.touch();
        if let Some(disk) = self.0.disk.get()
            && object.disk.load(Relaxed) == object::DISK_NONE
            && object.is_whole()
        {
            if disk.has_room() {
                self.offer_to_disk(object);
            } else if is_second {
                // Counted once, and offered again by each later request.
                self.0.counters.disk_writes_bypassed.add(1);
            }
        }
    }

    /// Whether no hard purge and no withdrawal is against an object. Looks once per object and purge.
    pub(crate) fn is_usable(&self, object: &Object) -> bool {
        let version = self.0.purges.version(object.url);
        if object.checked.load(Relaxed) == version {
            return true;
        }
        match self.0.purges.judge(&object.facets()) {
            Judgement::Gone => return false,
            Judgement::Soft => object.is_soft.store(true, Relaxed),
            Judgement::Usable => {}
        }
        object.checked.store(version, Relaxed);
        true
    }

    /// Whether a purge by URL, prefix, host or zone came since `born`; tags are not known yet.
    fn is_purged_since(&self, key: &KeyRef<'_>, (url, host): (u64, u64), born: u64) -> bool {
        let facets = Facets { key: *key, url, host, tags: &[], born, snapshot: None };
        self.0.purges.judge(&facets) == Judgement::Gone
    }

    /// A lookup with the shard locked: a miss, a wait, or something that changed since the first look.
    fn lookup_alone(
        &self,
        wanted: &Wanted,
        key: &KeyRef<'_>,
        now_ms: u64,
        beyond: Option<&Arc<Object>>,
    ) -> Lookup {
        let hashes = (self.0.seed.url(key.zone, key.host, key.target), self.0.seed.host(key.zone, key.host));
        let mut shard = write(self.shard(wanted.hash));
        let found = shard.find(wanted);
        let mut gone = None;
        if let Some(id) = found
            && let Some(slot) = shard.slot(id)
        {
            let is_beyond = |object| beyond.is_some_and(|beyond| Arc::ptr_eq(beyond, object));
            match &slot.stored {
                Stored::Object(object) if is_beyond(object) => {}
                Stored::Object(object) if self.is_usable(object) => {
                    let object = Arc::clone(object);
                    drop(shard);
                    self.note_hit(&object);
                    return Lookup::Hit(object);
                }
                Stored::Pass { until_ms } if now_ms < *until_ms => return Lookup::Pass,
                Stored::Object(_) => {
                    self.0.counters.purged_found.add(1);
                    gone = Some(id);
                }
                Stored::Pass { .. } => gone = Some(id),
                Stored::Nothing => {}
            }
            if let Some(pending) = &slot.pending
                && !self.is_purged_since(key, hashes, pending.born())
            {
                match pending.join(self) {
                    Ok(ticket) => return Lookup::Wait(ticket),
                    Err(JoinRefused::Full) => return Lookup::Bypass(Bypass::Waiters),
                    Err(JoinRefused::Over) => {}
                }
            }
        }
        if self.0.fetches.load(Relaxed) >= FETCHES_MAX {
            return Lookup::Bypass(Bypass::Fetches);
        }
        let located = if beyond.is_none() { self.locate(wanted.hash, key, hashes, now_ms) } else { None };
        let begun = self.begin_fetch(&mut shard, found, gone, wanted, hashes, located);
        drop(shard);
        let lease = self.finish_beginning(begun);
        let Some(located) = located else { return Lookup::Lease(lease) };
        self.read_from_disk(located, lease, now_ms)
    }

    /// Puts a new fetch into a slot; the one that was there, if any, is over or purged.
    fn begin_fetch(
        &self,
        shard: &mut Shard,
        found: Option<u32>,
        gone: Option<u32>,
        wanted: &Wanted,
        hashes: (u64, u64),
        located: Option<Located>,
    ) -> Begun {
        let id = found.unwrap_or_else(|| shard.add(Key::new(wanted)));
        let has_object = |slot: &shard::Slot| matches!(slot.stored, Stored::Object(_));
        let was_stored = gone.is_none() && shard.slot(id).is_some_and(has_object);
        let is_known = was_stored || located.is_some() || shard.was_evicted(wanted.hash);
        let holder = match located {
            Some(Located { deadline_ms, .. }) => Holder::Disk { deadline_ms },
            None => Holder::Exchange,
        };
        // The slot was found or added under this lock; its key is shared, not copied.
        let stored_key = shard.slot(id).map_or_else(|| Key::new(wanted), |slot| slot.key.clone());
        let born = self.0.purges.epoch();
        let pending = Arc::new(Pending::new(stored_key, hashes, born, is_known, holder));
        let superseded = shard.slot_mut(id).and_then(|slot| slot.pending.replace(Arc::clone(&pending)));
        if superseded.is_none() {
            self.0.fetches.fetch_add(1, Relaxed);
        }
        // Only now: a slot without a fetch goes with what it stores.
        let left = gone.map(|id| shard.remove(id));
        Begun { lease: Lease::new(self.clone(), pending, 0), left, superseded }
    }

    /// What is left to do of a fetch's beginning with no lock held.
    fn finish_beginning(&self, begun: Begun) -> Lease {
        self.let_go(begun.left);
        if let Some(superseded) = begun.superseded {
            superseded.supersede();
        }
        begun.lease
    }

    /// A lease on a key whatever is stored under it; `None` when somebody has one.
    pub(crate) fn take_lease(&self, key: &KeyRef<'_>) -> Option<Lease> {
        if key.is_too_long() || self.0.fetches.load(Relaxed) >= FETCHES_MAX {
            return None;
        }
        let wanted = Wanted::new(&self.0.seed, key);
        let hashes = (self.0.seed.url(key.zone, key.host, key.target), self.0.seed.host(key.zone, key.host));
        let mut shard = write(self.shard(wanted.hash));
        let found = shard.find(&wanted);
        let pending = found.and_then(|id| shard.slot(id)).and_then(|slot| slot.pending.as_ref());
        if pending.is_some_and(|pending| !self.is_purged_since(key, hashes, pending.born())) {
            return None;
        }
        let begun = self.begin_fetch(&mut shard, found, None, &wanted, hashes, None);
        drop(shard);
        Some(self.finish_beginning(begun))
    }

    /// Where the disk has it, if it may be used and the disk can be asked.
    fn locate(&self, hash: u128, key: &KeyRef<'_>, hashes: (u64, u64), now_ms: u64) -> Option<Located> {
        let disk = self.0.disk.get()?;
        let located = disk.locate(hash, now_ms, &self.0.counters)?;
        if self.is_purged_since(key, hashes, located.born) {
            self.0.counters.purged_found.add(1);
            disk.forget(hash);
            return None;
        }
        Some(located)
    }

    fn read_from_disk(&self, located: Located, lease: Lease, now_ms: u64) -> Lookup {
        let pending = Arc::clone(lease.pending());
        let generation = lease.generation();
        let waits = pending.join(self);
        let job = ReadJob { lease, located };
        let refused = match self.0.disk.get() {
            Some(disk) => disk.read(job, now_ms),
            None => Some(job),
        };
        match (refused, waits) {
            (None, Ok(ticket)) => Lookup::Wait(ticket),
            (None, Err(_)) => Lookup::Bypass(Bypass::Waiters),
            (Some(job), waits) => {
                self.0.counters.disk_reads_bypassed.add(1);
                pending.take_from_disk(generation);
                drop(waits);
                Lookup::Lease(job.lease)
            }
        }
    }

    /// Stores what a lease brought; gives whether lookups find it, and the whole object it takes the place
    /// of.
    pub(crate) fn store_object(
        &self,
        pending: &Arc<Pending>,
        generation: u32,
        object: &Arc<Object>,
    ) -> (bool, Option<Arc<Object>>) {
        let charge = OVERHEAD_BYTES
            + (object.key.as_bytes().len() + object.head.bytes.len()) as u64
            + object.body.bytes();
        let mut shard = write(self.shard(pending.key.hash));
        let Some(id) = self.own_slot(&shard, pending).filter(|_| pending.is_held(generation)) else {
            return (false, None);
        };
        if let Some(slot) = shard.slot_mut(id) {
            slot.pending = None;
        }
        self.0.fetches.fetch_sub(1, Relaxed);
        let left = shard.store(id, Stored::Object(Arc::clone(object)), charge, pending.is_known);
        drop(shard);
        self.0.bytes.fetch_add(charge, Relaxed);
        self.0.bytes.fetch_sub(left.bytes, Relaxed);
        self.make_room(pending.key.hash);
        match left.stored {
            Stored::Object(previous) if previous.is_whole() => (true, Some(previous)),
            Stored::Object(_) | Stored::Pass { .. } | Stored::Nothing => (true, None),
        }
    }

    /// Gives up what the disk has under a key: something newer has come.
    pub(crate) fn forget_on_disk(&self, hash: u128) {
        if let Some(disk) = self.0.disk.get() {
            disk.forget(hash);
        }
    }

    /// The slot that waits for what this fetch brings, if it still does.
    fn own_slot(&self, shard: &Shard, pending: &Arc<Pending>) -> Option<u32> {
        let id = shard.find_key(&pending.key)?;
        let own = shard.slot(id)?.pending.as_ref()?;
        Arc::ptr_eq(own, pending).then_some(id)
    }

    /// Marks a key as one whose answers cannot be kept; zero marks nothing and leaves what is stored.
    pub(crate) fn store_pass(&self, pending: &Arc<Pending>, generation: u32, until_ms: u64) {
        if until_ms == 0 {
            return;
        }
        let charge = OVERHEAD_BYTES + pending.key.as_bytes().len() as u64;
        let mut shard = write(self.shard(pending.key.hash));
        let Some(id) = self.own_slot(&shard, pending).filter(|_| pending.is_held(generation)) else { return };
        if let Some(slot) = shard.slot_mut(id) {
            slot.pending = None;
        }
        self.0.fetches.fetch_sub(1, Relaxed);
        let left = shard.store(id, Stored::Pass { until_ms }, charge, false);
        drop(shard);
        self.0.bytes.fetch_add(charge, Relaxed);
        self.let_go(Some(left));
        self.forget_on_disk(pending.key.hash);
        self.make_room(pending.key.hash);
    }

    /// Takes a fetch that is over out of its slot.
    pub(crate) fn forget_fetch(&self, pending: &Arc<Pending>) {
        let mut shard = write(self.shard(pending.key.hash));
        let Some(id) = self.own_slot(&shard, pending) else { return };
        if let Some(slot) = shard.slot_mut(id) {
            slot.pending = None;
        }
        self.0.fetches.fetch_sub(1, Relaxed);
        shard.tidy(id);
    }

    /// Counts bytes that a filling object has grown by, and makes room for them.
    pub(crate) fn grow(&self, object: &Arc<Object>, bytes: u64) {
        let mut shard = write(self.shard(object.key.hash));
        let Some(id) = stored_slot(&shard, object) else { return };
        shard.grow(id, bytes);
        drop(shard);
        self.0.bytes.fetch_add(bytes, Relaxed);
        self.make_room(object.key.hash);
    }

    /// Takes an object out of memory, if it is there; puts back what it took the place of.
    pub(crate) fn retire(&self, object: &Arc<Object>, previous: Option<Arc<Object>>) {
        let mut shard = write(self.shard(object.key.hash));
        let Some(id) = stored_slot(&shard, object) else { return };
        let left = match previous {
            Some(previous) => {
                let charge = OVERHEAD_BYTES
                    + (previous.key.as_bytes().len() + previous.head.bytes.len()) as u64
                    + previous.body.bytes();
                self.0.bytes.fetch_add(charge, Relaxed);
                shard.store(id, Stored::Object(previous), charge, true)
            }
            None => shard.remove(id),
        };
        drop(shard);
        self.let_go(Some(left));
    }

    /// Takes an object out of memory and off the disk: the policy found that it can never be used again.
    pub fn remove(&self, object: &Arc<Object>) {
        self.retire(object, None);
        self.forget_on_disk(object.key.hash);
    }

    /// Offers a whole object to the disk, once; gives whether it is there or on its way.
    pub(crate) fn offer_to_disk(&self, object: &Arc<Object>) -> bool {
        let Some(disk) = self.0.disk.get() else { return false };
        if !object.claim_disk() {
            return true;
        }
        let is_taken = disk.write(object);
        if !is_taken {
            self.0.counters.disk_writes_bypassed.add(1);
            object.disk.store(object::DISK_NONE, Relaxed);
        }
        is_taken
    }

    /// Whether memory has nothing newer under an object's key.
    pub(crate) fn is_latest(&self, object: &Arc<Object>) -> bool {
        let shard = read(self.shard(object.key.hash));
        let slot = shard.find_key(&object.key).and_then(|id| shard.slot(id));
        match slot.map(|slot| &slot.stored) {
            Some(Stored::Object(stored)) => Arc::ptr_eq(stored, object),
            Some(Stored::Pass { .. }) => false,
            Some(Stored::Nothing) | None => true,
        }
    }

    /// Zones of which memory holds something.
    pub(crate) fn zones_in_memory(&self) -> Vec<u128> {
        self.0.fair.holders()
    }

    /// Whether memory has an object under a hash.
    pub(crate) fn is_in_memory(&self, hash: u128) -> bool {
        read(self.shard(hash)).object(hash).is_some()
    }

    /// Notes that the disk does not have an object any more: its next hit offers it again.
    pub(crate) fn note_off_disk(&self, hash: u128) {
        if let Some(object) = read(self.shard(hash)).object(hash) {
            object.disk.store(object::DISK_NONE, Relaxed);
        }
    }

    /// The same for all there are: the folder was emptied, which is seldom.
    pub(crate) fn note_all_off_disk(&self) {
        for shard in &self.0.shards {
            for (_, slot) in read(shard).slots_from(0) {
                if let Stored::Object(object) = &slot.stored {
                    object.disk.store(object::DISK_NONE, Relaxed);
                }
            }
        }
    }

    /// Whether objects that only their readers hold take up all that may be added to `bytes_max`.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let max = self.0.settings.bytes_max;
        self.0.held.bytes() > max.saturating_add(max / 4)
    }

    /// Evicts until memory is within its bound or the steps are spent: from the shard at hand while it has
    /// more than its share, else from the next one that has.
    fn make_room(&self, hash: u128) {
        let max = self.0.settings.bytes_max;
        let share = max / self.0.shards.len() as u64;
        let mut steps = EVICTION_STEPS_MAX;
        let mut at = self.shard(hash);
        for _ in 0..=self.0.shards.len() {
            if self.0.bytes.load(Relaxed) <= max || steps == 0 {
                return;
            }
            let mut shard = write(at);
            let mut evicted = Vec::new();
            while shard.bytes() > share && self.0.bytes.load(Relaxed) > max {
                let Some(left) = shard.evict(&mut steps) else { break };
                self.0.bytes.fetch_sub(left.bytes, Relaxed);
                evicted.push(left.stored);
            }
            drop(shard);
            self.0.counters.evictions.add(evicted.len() as u64);
            drop(evicted);
            let hand = self.0.hand.fetch_add(1, Relaxed) & (self.0.shards.len() - 1);
            let Some(next) = self.0.shards.get(hand) else { return };
            at = next;
        }
    }

    /// Frees what left the tables, with no lock held.
    fn let_go(&self, left: Option<Left>) {
        if let Some(left) = left {
            self.0.bytes.fetch_sub(left.bytes, Relaxed);
        }
    }

    /// Makes a purge effective for the next lookup and for every fetch under way, in constant time.
    ///
    /// `number` is its place in the numbered log, remembered on disk ([`Disk::purges_applied_to`]). `done` is
    /// told once the disk has it, or why not: until then a crash may bring purged objects back, so a purge is
    /// confirmed to whoever asked only then.
    pub fn purge(
        &self,
        purge: &Purge<'_>,
        strength: Strength,
        number: u64,
        done: impl FnOnce(Recorded) + Send + 'static,
    ) {
        self.0.counters.purges.add(1);
        let record = |entry| self.record(entry, number, Box::new(done));
        self.0.purges.purge(&self.0.seed, purge, strength, record);
    }

    /// Makes what is stored under a URL unusable, with all its variants and slices, since an unsafe request
    /// has changed it (RFC 9111 §4.4): host and target as in [`KeyRef`].
    ///
    /// Unlike a purge, which an operator makes, it is of strangers' making: it touches no other zone, and of
    /// its own nothing but the URL until [`limits::CHANGED_URLS_MAX`] are on record; then what is older than
    /// the later half of them. (Past [`limits::PURGED_ZONES_MAX`] zones it goes into the table that purges by
    /// URL share.) No entry of the numbered log: each node hears of its own visitors' requests only.
    ///
    /// Gives what tells the URL to another store of the same seed, for [`Store::invalidate_told`].
    pub fn invalidate(&self, zone: u128, host: &[u8], target: &[u8]) -> u64 {
        let url = self.0.seed.url(zone, host, target);
        self.invalidate_told(zone, url);
        url
    }

    /// The same for a URL that another process of the node was asked to change.
    pub fn invalidate_told(&self, zone: u128, url: u64) {
        self.0.counters.urls_changed.add(1);
        self.0.purges.change(zone, url, |entry| self.record(entry, 0, Box::new(|_recorded| ())));
    }

    /// Makes all of a zone unusable: another process of the node was asked to change more of its URLs than it
    /// could tell of one by one. No entry of the numbered log.
    pub fn invalidate_zone(&self, zone: u128) {
        self.0.counters.urls_changed.add(1);
        let record = |entry| self.record(entry, 0, Box::new(|_recorded| ()));
        self.0.purges.purge(&self.0.seed, &Purge::Zone { zone }, Strength::Hard, record);
    }

    /// Makes all objects stored under a snapshot's number unusable at once, now and later.
    pub fn withdraw(&self, snapshot: u64, number: u64, done: impl FnOnce(Recorded) + Send + 'static) {
        self.0.purges.withdraw(snapshot, |entry| self.record(entry, number, Box::new(done)));
    }

    fn record(&self, entry: purge::Entry, number: u64, done: Box<dyn FnOnce(Recorded) + Send>) {
        match self.0.disk.get() {
            Some(disk) => disk.record(PurgeJob { entry, number, done }),
            None => done(Recorded::InMemory),
        }
    }

    /// Lists what memory holds: at most `max` objects from a cursor on, and where to go on. What is stored or
    /// evicted meanwhile may be seen or missed.
    #[must_use]
    pub fn objects(&self, from: Cursor, max: usize) -> (Vec<Arc<Object>>, Option<Cursor>) {
        let mut objects = Vec::new();
        let Cursor { shard: first, mut slot } = from;
        for (place, shard) in self.0.shards.iter().enumerate().skip(first) {
            for (id, found) in read(shard).slots_from(slot) {
                if objects.len() >= max {
                    return (objects, Some(Cursor { shard: place, slot: id }));
                }
                if let Stored::Object(object) = &found.stored {
                    objects.push(Arc::clone(object));
                }
            }
            slot = 0;
        }
        (objects, None)
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        let mut bytes = 0;
        for shard in &self.0.shards {
            let shard = read(shard);
            shard.check_invariants();
            bytes += shard.bytes();
        }
        assert_eq!(bytes, self.0.bytes.load(Relaxed), "the shards' bytes");
    }
}

/// The slot that stores this very object.
fn stored_slot(shard: &Shard, object: &Arc<Object>) -> Option<u32> {
    let id = shard.find_key(&object.key)?;
    match &shard.slot(id)?.stored {
        Stored::Object(stored) if Arc::ptr_eq(stored, object) => Some(id),
        Stored::Object(_) | Stored::Pass { .. } | Stored::Nothing => None,
    }
}

/// A panic with the lock held (of an allocation, say) leaves a shard that is still a table.
fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}
