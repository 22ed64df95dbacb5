//! Fair shares of memory for zones: what a zone keeps whatever others store, as long as it is asked for.
//!
//! Half of memory is promised, to the zones that store anything, by their weights; the other half is
//! whoever's uses it best. An object of a zone that holds no more than it is promised is passed over when
//! room is made, unless nobody has asked for anything of the zone for some turns of the memory. So a flood of
//! one zone takes what it can of the free half and of what others leave idle, and no more; without a flood a
//! zone may have it all. Why so, and what it costs: docs/decisions/0020-fair-shares-of-memory.md.
//!
//! The disk has accounts of its own, by the same rules (`disk/shares.rs`): read memory as disk then.
//!
//! Nothing here is looked at on a hit. Asked by `shard.rs` when it evicts; told by `store.rs` what is stored.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError, RwLock};

/// Turns of the memory without a sign of a visitor after which a zone's promise rests. Few would do without
/// floods; one of a gigabit a second turns 256 MiB over in two seconds, and a zone that is visited twice a
/// minute is to keep what it is promised.
pub(super) const IDLE_TURNS: u64 = 16;

/// What one zone holds.
#[derive(Debug)]
pub(crate) struct Account {
    weight: AtomicU64,
    bytes: AtomicU64,
    /// The weight that is in the sum of all, zero while it holds nothing.
    counted: AtomicU64,
    /// The last turn in which something of it was seen to have been asked for.
    asked_at: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fair {
    /// Bytes that are promised.
    promised: u64,
    /// Bytes that make a turn: as many as memory has.
    turn_bytes: u64,
    idle_turns: u64,
    accounts: RwLock<BTreeMap<u128, Arc<Account>>>,
    /// Weights of all zones that hold something.
    weights: AtomicU64,
    /// Bytes stored since the start.
    stored: AtomicU64,
}

impl Account {
    /// Bytes the zone holds.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }
}

impl Fair {
    /// Of so many bytes, a percentage is promised, until nobody has asked for so many turns; 0 for no
    /// promises.
    pub(crate) fn new(bytes_max: u64, percent: u8, idle_turns: u64) -> Self {
        Self {
            promised: bytes_max / 100 * u64::from(percent.min(100)),
            turn_bytes: bytes_max.max(1),
            idle_turns,
            accounts: RwLock::default(),
            weights: AtomicU64::new(0),
            stored: AtomicU64::new(0),
        }
    }

    /// The account of a zone, made if there is none; zones are configured, not made by strangers.
    pub(crate) fn account(&self, zone: u128) -> Arc<Account> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get(&zone) {
            return Arc::clone(account);
        }
        drop(accounts);
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(accounts.entry(zone).or_insert_with(|| {
            Arc::new(Account {
                weight: AtomicU64::new(1),
                bytes: AtomicU64::new(0),
                counted: AtomicU64::new(0),
                asked_at: AtomicU64::new(self.turn()),
            })
        }))
    }

    /// Gives zones their weights; those that are not named have 1. Forgets zones that hold nothing.
    pub(crate) fn weigh(&self, weights: &BTreeMap<u128, u32>) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        // One that a fetch under way has in hand is held by it, and is asked for again by the next.
        accounts.retain(|zone, account| {
            weights.contains_key(zone) || account.bytes.load(Relaxed) > 0 || Arc::strong_count(account) > 1
        });
        for (zone, account) in &*accounts {
            let weight = weights.get(zone).copied().unwrap_or(1).max(1).into();
            account.weight.store(weight, Relaxed);
            if account.counted.load(Relaxed) > 0 {
                self.count(account, weight);
            }
        }
        for (zone, weight) in weights {
            accounts.entry(*zone).or_insert_with(|| {
                Arc::new(Account {
                    weight: AtomicU64::new(u64::from(*weight).max(1)),
                    bytes: AtomicU64::new(0),
                    counted: AtomicU64::new(0),
                    asked_at: AtomicU64::new(self.turn()),
                })
            });
        }
    }

    fn turn(&self) -> u64 {
        self.stored.load(Relaxed) / self.turn_bytes
    }

    /// Puts a zone's weight into the sum, in the place of the one that is in it.
    fn count(&self, account: &Account, weight: u64) {
        let before = account.counted.swap(weight, SeqCst);
        self.weights.fetch_add(weight, Relaxed);
        self.weights.fetch_sub(before, Relaxed);
    }

    /// Notes that a zone has stored bytes.
    pub(crate) fn add(&self, account: &Account, bytes: u64) {
        self.note_asked(account);
        self.add_again(account, bytes);
    }

    /// Notes that what a zone had stored before is stored again, which nobody asked for.
    pub(crate) fn add_again(&self, account: &Account, bytes: u64) {
        self.stored.fetch_add(bytes, Relaxed);
        self.add_known(account, bytes);
    }

    /// Notes bytes that a zone was found to have.
    pub(crate) fn add_known(&self, account: &Account, bytes: u64) {
        if account.bytes.fetch_add(bytes, SeqCst) == 0 && bytes > 0 {
            self.settle(account);
        }
    }

    /// Notes that bytes of a zone have left memory.
    pub(crate) fn remove(&self, account: &Account, bytes: u64) {
        if account.bytes.fetch_sub(bytes, SeqCst) == bytes && bytes > 0 {
            self.settle(account);
        }
    }

    /// Counts a zone's weight if it holds something, and else not. Another thread may store its first bytes,
    /// or take out its last, at the same time: whoever counts last looks again.
    fn settle(&self, account: &Account) {
        loop {
            let holds = account.bytes.load(SeqCst) > 0;
            self.count(account, if holds { account.weight.load(Relaxed) } else { 0 });
            if holds == (account.bytes.load(SeqCst) > 0) {
                return;
            }
        }
    }

    /// Notes that something of a zone was found to have been asked for.
    pub(crate) fn note_asked(&self, account: &Account) {
        account.asked_at.fetch_max(self.turn(), Relaxed);
    }

    /// Zones that hold something.
    pub(crate) fn holders(&self) -> Vec<u128> {
        let accounts = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        accounts.iter().filter(|(_, account)| account.bytes() > 0).map(|(zone, _)| *zone).collect()
    }

    /// Whether an object of a zone is passed over when room is made: the zone holds no more than it is
    /// promised, and visitors ask for it.
    pub(crate) fn protects(&self, account: &Account) -> bool {
        if self.promised == 0 {
            return false;
        }
        let (weights, weight) = (self.weights.load(Relaxed), account.counted.load(Relaxed));
        let bytes = account.bytes.load(Relaxed);
        // bytes / promised <= weight / weights, in numbers that do not overflow.
        let is_within =
            u128::from(bytes) * u128::from(weights) <= u128::from(self.promised) * u128::from(weight);
        is_within && self.turn() < account.asked_at.load(Relaxed) + self.idle_turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_zone_alone_is_promised_half_and_two_a_quarter_each() {
        let fair = Fair::new(1_000, 50, IDLE_TURNS);
        let (one, two) = (fair.account(1), fair.account(2));
        fair.add(&one, 500);
        assert!(fair.protects(&one));
        fair.add(&one, 1);
        assert!(!fair.protects(&one), "over what it is promised");
        fair.add(&two, 250);
        assert!(fair.protects(&two) && !fair.protects(&one));
        fair.remove(&one, 251);
        assert!(fair.protects(&one));
        fair.remove(&two, 250);
        assert_eq!(fair.weights.load(Relaxed), 1, "who holds nothing is promised nothing");
    }

    #[test]
    fn promises_go_by_weight_and_follow_its_change() {
        let fair = Fair::new(1_000, 50, IDLE_TURNS);
        let (one, two) = (fair.account(1), fair.account(2));
        fair.weigh(&BTreeMap::from([(1, 4), (2, 1)]));
        fair.add(&one, 400);
        fair.add(&two, 100);
        assert!(fair.protects(&one) && fair.protects(&two));
        fair.weigh(&BTreeMap::from([(1, 1), (2, 1)]));
        assert!(!fair.protects(&one) && fair.protects(&two));
        fair.weigh(&BTreeMap::new());
        fair.remove(&one, 400);
        fair.remove(&two, 100);
        assert_eq!(fair.weights.load(Relaxed), 0);
    }

    #[test]
    fn a_promise_rests_while_nobody_asks() {
        let fair = Fair::new(1_000, 50, IDLE_TURNS);
        let (one, two) = (fair.account(1), fair.account(2));
        fair.add(&one, 100);
        assert!(fair.protects(&one));
        for _ in 0..IDLE_TURNS {
            fair.add(&two, 1_000);
            fair.remove(&two, 1_000);
        }
        assert!(!fair.protects(&one), "so many turns without a visitor");
        fair.note_asked(&one);
        assert!(fair.protects(&one));
    }

    #[test]
    fn without_promises_nothing_is_passed_over() {
        let fair = Fair::new(1_000, 0, IDLE_TURNS);
        let one = fair.account(1);
        fair.add(&one, 1);
        assert!(!fair.protects(&one));
    }

    #[test]
    fn zones_that_are_gone_are_forgotten_once_they_hold_nothing() {
        let fair = Fair::new(1_000, 50, IDLE_TURNS);
        fair.add(&fair.account(1), 10);
        drop(fair.account(2));
        fair.weigh(&BTreeMap::from([(3, 1)]));
        let known = || fair.accounts.read().unwrap().keys().copied().collect::<Vec<_>>();
        assert_eq!(known(), [1, 3]);
        fair.remove(&fair.account(1), 10);
        fair.weigh(&BTreeMap::from([(3, 1)]));
        assert_eq!(known(), [3]);
    }
}
