//! Who holds what of the disk, over all and segment by segment, and what is promised to whom.
//!
//! By the rules of memory (`fair.rs`): half is promised by weight, and a promise rests once nobody has asked
//! for anything of the zone for two turns of the disk. What lies in memory has been asked for. Told by the
//! index what comes and goes; asked by `reclaim.rs` which segment goes, and what of it stays. Nothing of it
//! is on disk but each entry's mark of its zone, from which a start makes it anew. Why so:
//! docs/decisions/0024-keys-shares-copies.md.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::format::zone_mark;
use crate::store::fair::{Account, Fair};

/// Turns of the disk without a sign of a visitor after which a zone's promise rests: a turn of a disk takes
/// hours or days, so that two are enough to tell a night from an end.
const IDLE_TURNS: u64 = 2;

/// A zone's place in the table of this process; zero for nobody's: what older programs wrote, and zones
/// beyond as many as fit.
pub(super) type ZoneNumber = u16;

/// How bytes came to be where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// Written since visitors asked for it twice.
    Asked,
    /// Written again when the space it stood in was given back.
    Again,
    /// Found at the start.
    Found,
}

#[derive(Debug, Default)]
struct Zones {
    numbers: BTreeMap<u64, ZoneNumber>,
    /// By number, from 1.
    accounts: Vec<Arc<Account>>,
}

impl Zones {
    fn account(&self, number: ZoneNumber) -> Option<&Arc<Account>> {
        self.accounts.get(usize::from(number).checked_sub(1)?)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Shares {
    fair: Fair,
    zones: RwLock<Zones>,
    /// Bytes by segment and zone. What is not in it is not taken out of accounts either.
    held: Mutex<BTreeMap<(u32, ZoneNumber), u64>>,
}

impl Shares {
    pub(super) fn new(bytes_max: u64, percent: u8) -> Self {
        let fair = Fair::new(bytes_max, percent, IDLE_TURNS);
        Self { fair, zones: RwLock::default(), held: Mutex::default() }
    }

    /// Gives zones their weights; those that are not named have 1.
    pub(super) fn weigh(&self, weights: &BTreeMap<u128, u32>) {
        let marked = weights.iter().map(|(zone, weight)| (u128::from(zone_mark(*zone)), *weight));
        self.fair.weigh(&marked.collect());
    }

    /// The number of a zone with this mark, given if it has none.
    pub(super) fn number(&self, mark: u64) -> ZoneNumber {
        if mark == 0 {
            return 0;
        }
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = zones.numbers.get(&mark) {
            return *number;
        }
        drop(zones);
        let mut zones = self.zones.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = zones.numbers.get(&mark) {
            return *number;
        }
        let Ok(number) = ZoneNumber::try_from(zones.accounts.len() + 1) else { return 0 };
        zones.numbers.insert(mark, number);
        zones.accounts.push(self.fair.account(mark.into()));
        number
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<(u32, ZoneNumber), u64>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes bytes of a zone in a segment.
    pub(super) fn add(&self, segment: u32, zone: ZoneNumber, bytes: u32, came: Came) {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        let Some(account) = zones.account(zone) else { return };
        *self.held().entry((segment, zone)).or_default() += u64::from(bytes);
        match came {
            Came::Asked => self.fair.add(account, bytes.into()),
            Came::Again => self.fair.add_again(account, bytes.into()),
            Came::Found => self.fair.add_known(account, bytes.into()),
        }
    }

    /// Notes that bytes of a zone in a segment are found no more.
    pub(super) fn remove(&self, segment: u32, zone: ZoneNumber, bytes: u32) {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        let Some(account) = zones.account(zone) else { return };
        let mut held = self.held();
        let Some(there) = held.get_mut(&(segment, zone)) else { return };
        let bytes = u64::from(bytes).min(*there);
        *there -= bytes;
        if *there == 0 {
            held.remove(&(segment, zone));
        }
        self.fair.remove(account, bytes);
    }

    /// Notes that nothing is there any more.
    pub(super) fn clear(&self) {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        for ((_, zone), bytes) in std::mem::take(&mut *self.held()) {
            zones.account(zone).into_iter().for_each(|account| self.fair.remove(account, bytes));
        }
    }

    /// Notes that something of a zone was asked for.
    pub(super) fn note_asked(&self, zone: ZoneNumber) {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        zones.account(zone).into_iter().for_each(|account| self.fair.note_asked(account));
    }

    /// Notes that of these zones something was asked for.
    pub(super) fn note_all_asked(&self, zones: &[u128]) {
        let known = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        for zone in zones {
            let number = known.numbers.get(&zone_mark(*zone)).copied().unwrap_or(0);
            known.account(number).into_iter().for_each(|account| self.fair.note_asked(account));
        }
    }

    /// Whether what a zone holds is kept: it is no more than promised, and visitors ask for it.
    pub(super) fn protects(&self, zone: ZoneNumber) -> bool {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        zones.account(zone).is_some_and(|account| self.fair.protects(account))
    }

    /// Bytes of a segment that are kept so.
    pub(super) fn promised_bytes(&self, segment: u32) -> u64 {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        let is_kept =
            |zone: ZoneNumber| zones.account(zone).is_some_and(|account| self.fair.protects(account));
        let held = self.held();
        let all = held.range((segment, 0)..=(segment, ZoneNumber::MAX));
        all.filter(|((_, zone), _)| is_kept(*zone)).map(|(_, bytes)| bytes).sum()
    }

    /// Bytes the tables take: some forty for each zone in each segment, and as many for each zone.
    pub(super) fn memory_bytes(&self) -> usize {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner).accounts.len();
        40 * (self.held().len() + zones)
    }

    /// Bytes of all that a zone holds.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, zone: u128) -> u64 {
        let zones = self.zones.read().unwrap_or_else(PoisonError::into_inner);
        let number = zones.numbers.get(&zone_mark(zone)).copied().unwrap_or(0);
        zones.account(number).map_or(0, |account| account.bytes())
    }
}
