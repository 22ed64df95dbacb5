//! Purges and withdrawn snapshots: made effective in constant time, by numbers compared at the next lookup.
//!
//! A purge raises the *epoch*; an object remembers the epoch at which its fetch began and is unusable once a
//! purge with a later one is against it. URLs, hosts and tags go into two [`Sketch`]es, zones, prefixes and
//! the URLs that unsafe requests change into a table: those are made by strangers, so they must be exact and
//! stay within their zone (`changed.rs`). Nothing of a purge depends on how many objects there are. Asked by
//! `store.rs` at a lookup; the disk keeps it all in its log (`disk/purge_log.rs`). Read next:
//! [`Purges::judge`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::sync::{Mutex, PoisonError, RwLock};

use super::key::{KeyRef, Seed};
use super::limits::{
    CHANGED_URLS_ALL_MAX, CHANGED_URLS_MAX, PREFIX_BYTES_MAX, PREFIXES_BYTES_MAX, PREFIXES_MAX,
    PURGED_ZONES_MAX, WITHDRAWN_MAX,
};
use super::sketch::Sketch;
use changed::ChangedUrls;

mod changed;
#[cfg(test)]
mod tests;

/// The first epoch of a run. Epochs that the disk remembers of earlier runs lie below, so that objects and
/// purges made before the disk's log was read compare rightly with those in it.
pub(crate) const RUN_START: u64 = 1 << 62;

/// What a purge is against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purge<'a> {
    /// One URL of a zone with all its variants and slices: host and target as in [`KeyRef`].
    Url {
        /// The zone's id.
        zone: u128,
        /// As in the key.
        host: &'a [u8],
        /// As in the key.
        target: &'a [u8],
    },
    /// All targets of a host that begin with these bytes.
    Prefix {
        /// The zone's id.
        zone: u128,
        /// As in the key.
        host: &'a [u8],
        /// How the target begins.
        target: &'a [u8],
    },
    /// All of a host.
    Host {
        /// The zone's id.
        zone: u128,
        /// As in the key.
        host: &'a [u8],
    },
    /// All objects of a zone with a tag.
    Tag {
        /// The zone's id.
        zone: u128,
        /// As the policy gave it when it stored the object.
        tag: &'a [u8],
    },
    /// All of a zone.
    Zone {
        /// The zone's id.
        zone: u128,
    },
    /// All there is.
    Everything,
}

/// What a purge leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Objects become stale: they may bridge a failure and be revalidated.
    Soft,
    /// Objects are unusable.
    Hard,
}

/// What purges and withdrawals say about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Judgement {
    Usable,
    Soft,
    Gone,
}

/// What an object is purged by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facets<'a> {
    pub(crate) key: KeyRef<'a>,
    pub(crate) url: u64,
    pub(crate) host: u64,
    pub(crate) tags: &'a [u64],
    pub(crate) born: u64,
    /// `None` while it is not known.
    pub(crate) snapshot: Option<u64>,
}

/// One purge as the disk's log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) epoch: u64,
    pub(crate) strength: Strength,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Hash of a URL, a host or a tag.
    Hash(u64),
    Prefix {
        zone: u128,
        start: Box<[u8]>,
    },
    Zone(u128),
    Everything,
    Withdrawn(u64),
    /// A URL that an unsafe request changed, by its hash.
    Changed {
        zone: u128,
        url: u64,
    },
    /// Nothing: keeps the epoch of a log that was rewritten.
    Mark,
    /// Slots of a sketch, out of a log that was rewritten.
    Slot {
        place: u32,
        of: u32,
    },
}

/// Latest epochs of purges, soft and hard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Latest {
    soft: u64,
    hard: u64,
}

impl Latest {
    fn raise(&mut self, strength: Strength, epoch: u64) {
        let latest = match strength {
            Strength::Soft => &mut self.soft,
            Strength::Hard => &mut self.hard,
        };
        *latest = epoch.max(*latest);
    }

    fn merge(&mut self, other: Self) {
        self.raise(Strength::Soft, other.soft);
        self.raise(Strength::Hard, other.hard);
    }

    fn judge(self, born: u64) -> Judgement {
        if self.hard > born {
            Judgement::Gone
        } else if self.soft > born {
            Judgement::Soft
        } else {
            Judgement::Usable
        }
    }
}

#[derive(Debug)]
struct Prefix {
    /// Host, a zero byte (no host has one), and how the target begins.
    start: Box<[u8]>,
    latest: Latest,
}

#[derive(Debug, Default)]
struct ZonePurges {
    whole: Latest,
    /// In the order of their purges, so that the oldest are folded first.
    prefixes: Vec<Prefix>,
    changed: ChangedUrls,
}

#[derive(Debug, Default)]
struct Table {
    everything: Latest,
    zones: BTreeMap<u128, ZonePurges>,
    prefixes_bytes: usize,
    /// URLs changed, of all zones.
    changed_urls: usize,
    /// Withdrawn snapshot numbers, in order.
    withdrawn: Vec<u64>,
    /// All numbers up to this one are withdrawn; zero is no snapshot's number.
    withdrawn_to: u64,
}

/// Counters that changes of single URLs are spread over by the URL's hash: a change makes one object in so
/// many be judged again at its next hit, which costs as much as the hit itself, and not all that are stored.
const LANES: usize = 1024;

/// What of the stored has to be judged again after a purge.
enum Touched {
    Everything,
    /// What lies under one URL, by its hash.
    Url(u64),
}

/// All purges of this run, and those of earlier runs that the disk told of.
#[derive(Debug)]
pub(crate) struct Purges {
    epoch: AtomicU64,
    /// Raised with every purge, and when purges of earlier runs come in.
    version: AtomicU64,
    /// Raised, each for its URLs, by unsafe requests.
    changes: Box<[AtomicU64]>,
    soft: Sketch,
    hard: Sketch,
    table: RwLock<Table>,
    /// One purge at a time.
    purging: Mutex<()>,
}

fn prefix_start(host: &[u8], target: &[u8]) -> Box<[u8]> {
    [host, &[0], target].concat().into()
}

fn covers(start: &[u8], key: &KeyRef<'_>) -> bool {
    let Some((host, target)) = start.split_at_checked(key.host.len()) else { return false };
    host == key.host
        && target.split_first().is_some_and(|(zero, target)| *zero == 0 && key.target.starts_with(target))
}

impl Purges {
    /// `slots`: places of the sketch of hard purges, a power of two; see [`Sketch`] for the error.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            epoch: AtomicU64::new(RUN_START),
            version: AtomicU64::new(1),
            changes: (0..LANES).map(|_| AtomicU64::new(0)).collect(),
            soft: Sketch::new(slots / 2),
            hard: Sketch::new(slots),
            table: RwLock::default(),
            purging: Mutex::default(),
        }
    }

    /// The epoch now: what a fetch that begins is born at.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    fn changes_of(&self, url: u64) -> Option<&AtomicU64> {
        self.changes.get(url as usize % LANES)
    }

    /// What has to change before an object of a URL judged at it need be judged again; never zero.
    ///
    /// The sum of two counters that only grow: it is the same only while both are.
    pub(crate) fn version(&self, url: u64) -> u64 {
        let changes = self.changes_of(url).map_or(0, |changes| changes.load(Acquire));
        self.version.load(Acquire) + changes
    }

    /// Makes a purge effective; `record` gets it first, so that nothing can be stored after it and be on disk
    /// before it.
    pub(crate) fn purge(
        &self,
        seed: &Seed,
        purge: &Purge<'_>,
        strength: Strength,
        record: impl FnOnce(Entry),
    ) {
        let what = match *purge {
            Purge::Url { zone, host, target } => What::Hash(seed.url(zone, host, target)),
            Purge::Host { zone, host } => What::Hash(seed.host(zone, host)),
            Purge::Tag { zone, tag } => What::Hash(seed.tag(zone, tag)),
            Purge::Prefix { zone, host, target } if host.len() + target.len() > PREFIX_BYTES_MAX => {
                What::Zone(zone)
            }
            Purge::Prefix { zone, host, target } => What::Prefix { zone, start: prefix_start(host, target) },
            Purge::Zone { zone } => What::Zone(zone),
            Purge::Everything => What::Everything,
        };
        self.add(what, strength, record);
    }

    /// Makes what is stored under a URL that an unsafe request changed unusable.
    pub(crate) fn change(&self, zone: u128, url: u64, record: impl FnOnce(Entry)) {
        self.add(What::Changed { zone, url }, Strength::Hard, record);
    }

    /// Makes all objects of a snapshot number unusable, those under way included.
    pub(crate) fn withdraw(&self, number: u64, record: impl FnOnce(Entry)) {
        self.add(What::Withdrawn(number), Strength::Hard, record);
    }

    fn add(&self, what: What, strength: Strength, record: impl FnOnce(Entry)) {
        let _one_at_a_time = self.purging.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Relaxed) + 1;
        let entry = Entry { epoch, strength, what };
        let touched = self.take(&entry);
        record(entry);
        // Last: who sees the new epoch sees what it is about. Who began in between is taken as before it.
        self.epoch.store(epoch, Release);
        match touched {
            Touched::Everything => self.version.fetch_add(1, Release),
            Touched::Url(url) => self.changes_of(url).map_or(0, |changes| changes.fetch_add(1, Release)),
        };
    }

    /// Applies a purge that has its epoch already: one of an earlier run. Objects that were judged before are
    /// judged by it after [`Purges::renew`].
    pub(crate) fn apply(&self, entry: &Entry) {
        self.take(entry);
    }

    fn take(&self, entry: &Entry) -> Touched {
        let Entry { epoch, strength, what } = entry;
        let mut touched = Touched::Everything;
        let sketch = match strength {
            Strength::Soft => &self.soft,
            Strength::Hard => &self.hard,
        };
        match what {
            What::Hash(hash) => {
                sketch.raise(*hash, *epoch);
                return touched;
            }
            What::Slot { place, of } => {
                sketch.raise_slot(*place, *of, *epoch);
                return touched;
            }
            What::Mark => return touched,
            What::Prefix { .. }
            | What::Zone(_)
            | What::Everything
            | What::Withdrawn(_)
            | What::Changed { .. } => {}
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        match what {
            What::Zone(zone) => table.purge_zone(*zone, *strength, *epoch),
            What::Prefix { zone, start } => table.purge_prefix(*zone, start, *strength, *epoch),
            What::Everything => table.everything.raise(*strength, *epoch),
            What::Withdrawn(number) => table.withdraw(*number),
            What::Changed { zone, url } => match table.change(*zone, *url, *epoch) {
                Changed::Noted => touched = Touched::Url(*url),
                Changed::Folded => {}
                Changed::NoPlace => {
                    // As many zones as may be have purges of their own: the table that all share has room.
                    drop(table);
                    self.hard.raise(*url, *epoch);
                }
            },
            What::Hash(_) | What::Slot { .. } | What::Mark => {}
        }
        touched
    }

    /// Makes objects that were judged before an entry of an earlier run came in be judged again.
    pub(crate) fn renew(&self) {
        self.version.fetch_add(1, Release);
    }

    /// What purges say of an object. Costs four reads for the URL, the host and each tag, and a look through
    /// its zone's prefixes; callers remember the version they judged at and do not ask again before it
    /// changes.
    pub(crate) fn judge(&self, facets: &Facets<'_>) -> Judgement {
        let born = facets.born;
        let hashes = || [facets.url, facets.host].into_iter().chain(facets.tags.iter().copied());
        if hashes().any(|hash| self.hard.epoch(hash) > born) {
            return Judgement::Gone;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if facets.snapshot.is_some_and(|number| table.is_withdrawn(number)) {
            return Judgement::Gone;
        }
        let mut latest = table.everything;
        if let Some(zone) = table.zones.get(&facets.key.zone) {
            latest.merge(zone.whole);
            latest.raise(Strength::Hard, zone.changed.epoch(facets.url));
            for prefix in zone.prefixes.iter().filter(|prefix| covers(&prefix.start, &facets.key)) {
                latest.merge(prefix.latest);
            }
        }
        drop(table);
        match latest.judge(born) {
            Judgement::Usable if hashes().any(|hash| self.soft.epoch(hash) > born) => Judgement::Soft,
            judgement => judgement,
        }
    }

    /// Everything on record, for a log written anew.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = vec![Entry { epoch: self.epoch(), strength: Strength::Hard, what: What::Mark }];
        let slots = |sketch: &Sketch, strength, entries: &mut Vec<Entry>| {
            let of = sketch.len();
            let entry = |(place, epoch)| Entry { epoch, strength, what: What::Slot { place, of } };
            entries.extend(sketch.slots().map(entry));
        };
        slots(&self.soft, Strength::Soft, &mut entries);
        slots(&self.hard, Strength::Hard, &mut entries);
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut push = |latest: Latest, what: What| {
            for (strength, epoch) in [(Strength::Soft, latest.soft), (Strength::Hard, latest.hard)] {
                if epoch > 0 {
                    entries.push(Entry { epoch, strength, what: what.clone() });
                }
            }
        };
        push(table.everything, What::Everything);
        for (id, zone) in &table.zones {
            push(zone.whole, What::Zone(*id));
            for prefix in &zone.prefixes {
                push(prefix.latest, What::Prefix { zone: *id, start: prefix.start.clone() });
            }
            for (url, epoch) in zone.changed.iter() {
                push(Latest { soft: 0, hard: epoch }, What::Changed { zone: *id, url });
            }
        }
        for number in table.withdrawn.iter().chain(Some(&table.withdrawn_to)).filter(|number| **number > 0) {
            push(Latest { soft: 0, hard: RUN_START }, What::Withdrawn(*number));
        }
        entries
    }
}

/// What became of a URL that an unsafe request changed.
enum Changed {
    /// It is on record, and nothing else is touched.
    Noted,
    /// It is, and older ones made way for it: all of a zone is touched.
    Folded,
    /// The zone has no place in the table, and may have none.
    NoPlace,
}

impl Table {
    fn purge_zone(&mut self, zone: u128, strength: Strength, epoch: u64) {
        let Some(purges) = self.zone(zone) else {
            return self.everything.raise(strength, epoch);
        };
        purges.whole.raise(strength, epoch);
        // What a purge of the zone says already needs no place.
        let whole = purges.whole;
        let is_needed = |prefix: &Prefix| {
            prefix.latest.hard > whole.hard || prefix.latest.soft > whole.soft.max(whole.hard)
        };
        let before: usize = purges.prefixes.iter().map(|prefix| prefix.start.len()).sum();
        purges.prefixes.retain(is_needed);
        let after: usize = purges.prefixes.iter().map(|prefix| prefix.start.len()).sum();
        let changed_gone = purges.changed.forget_to(whole.hard);
        self.prefixes_bytes -= before - after;
        self.changed_urls -= changed_gone;
    }

    fn change(&mut self, zone: u128, url: u64, epoch: u64) -> Changed {
        let Some(purges) = self.zone(zone) else { return Changed::NoPlace };
        if epoch <= purges.whole.hard {
            return Changed::Noted; // said already: a log is read in any order
        }
        let is_new = purges.changed.raise(url, epoch);
        let is_full = purges.changed.len() > CHANGED_URLS_MAX;
        self.changed_urls += usize::from(is_new);
        if is_full {
            self.fold_changed(zone);
            return Changed::Folded;
        }
        if self.changed_urls > CHANGED_URLS_ALL_MAX {
            // Who has the most pays. The search is long only with many zones, and then frees as much seldom.
            let most = self.zones.iter().max_by_key(|(_, purges)| purges.changed.len());
            if let Some(zone) = most.map(|(zone, _)| *zone) {
                self.fold_changed(zone);
            }
            return Changed::Folded;
        }
        Changed::Noted
    }

    /// Folds the older half of a zone's changed URLs into a purge of the zone as of the last of them.
    fn fold_changed(&mut self, zone: u128) {
        let Some(purges) = self.zones.get_mut(&zone) else { return };
        let epoch = purges.changed.median();
        purges.whole.raise(Strength::Hard, epoch);
        self.changed_urls -= purges.changed.forget_to(epoch);
    }

    /// A zone's purges, made if there is room for one more.
    fn zone(&mut self, zone: u128) -> Option<&mut ZonePurges> {
        if !self.zones.contains_key(&zone) && self.zones.len() >= PURGED_ZONES_MAX {
            return None;
        }
        Some(self.zones.entry(zone).or_default())
    }

    fn purge_prefix(&mut self, zone: u128, start: &[u8], strength: Strength, epoch: u64) {
        if self.prefixes_bytes + start.len() > PREFIXES_BYTES_MAX {
            return self.purge_zone(zone, strength, epoch);
        }
        let Some(purges) = self.zone(zone) else {
            return self.everything.raise(strength, epoch);
        };
        let mut latest = Latest::default();
        latest.raise(strength, epoch);
        let mut freed = 0;
        purges.prefixes.retain(|prefix| {
            // What a wider or equal prefix says already.
            let is_covered = prefix.start.starts_with(start)
                && prefix.latest.hard <= latest.hard
                && prefix.latest.soft <= latest.soft.max(latest.hard);
            let is_equal = *prefix.start == *start;
            if is_equal {
                latest.merge(prefix.latest);
            }
            freed += if is_covered || is_equal { prefix.start.len() } else { 0 };
            !is_covered && !is_equal
        });
        if purges.prefixes.len() >= PREFIXES_MAX {
            for oldest in purges.prefixes.drain(..PREFIXES_MAX / 2) {
                purges.whole.merge(oldest.latest);
                freed += oldest.start.len();
            }
        }
        purges.prefixes.push(Prefix { start: start.into(), latest });
        self.prefixes_bytes = self.prefixes_bytes + start.len() - freed;
    }

    fn withdraw(&mut self, number: u64) {
        let Err(place) = self.withdrawn.binary_search(&number) else { return };
        self.withdrawn.insert(place, number);
        if self.withdrawn.len() > WITHDRAWN_MAX {
            self.withdrawn_to = self.withdrawn_to.max(self.withdrawn.remove(0));
        }
    }

    fn is_withdrawn(&self, number: u64) -> bool {
        (number > 0 && number <= self.withdrawn_to) || self.withdrawn.binary_search(&number).is_ok()
    }
}
