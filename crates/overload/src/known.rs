//! Who was served before: visitors by address, in bounded memory, shared by all threads.
//!
//! A visitor is an IPv4 address or an IPv6 network of 64 bits, hashed under the process's seed. Each stands
//! in one word of a set of four: 18 bits of the hash, the second of its last exchange, and whether it had
//! one in another second too. What is approximated: two visitors whose hashes agree in 32 bits are one (one
//! pair in 4,000 million; within one IPv6 /48 in 24 bits, one in 16 million), and of more than some 50,000 in
//! ten minutes those are forgotten first that came once, then those served longest ago. Either costs little:
//! being known is a better place in the order and nothing else.
//!
//! Who has many networks must not be able to have others forgotten with them, by one request of each. So a
//! newcomer takes the place of one who was served in two seconds or more only where there are no others, and
//! all of an IPv6 /48, which a hoster gives away for nothing, share 64 sets. Carriers that have
//! a /48 for tens of thousands of telephones share them too: most of those are strangers when it matters.
//!
//! A flood is served too, until it is noticed, and must not be known for that. So a visitor is known by an
//! exchange that was some seconds old when the thread began to be late, or by two in different seconds before
//! that; nobody becomes known on a thread that is late, who was not.
//!
//! Callers: `edge`, at the end of an exchange and, on a thread that is late, at its beginning.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::limits::{KNOWN_S, KNOWN_VISITORS};

/// Entries of one set, and how many sets there are.
const WAYS: usize = 4;
const SETS: usize = KNOWN_VISITORS / WAYS;

/// The sets of one IPv6 network of 48 bits: 256 visitors of it at a time, a 256th part of all.
const NETWORK_SETS: u64 = 64;

/// Bits of a word that hold the second: it turns over after 68 minutes, when a visitor of that moment counts
/// as known once more.
const TIME_BITS: u32 = 12;
const TIME_MASK: u32 = (1 << TIME_BITS) - 1;

/// The bit of a visitor who was served in two seconds or more.
const SETTLED: u32 = 1 << TIME_BITS;

/// How old, in seconds, a single exchange must have been when the thread began to be late.
const SETTLED_S: u32 = 2;

/// A visitor's hash, and the set in which it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    pub(crate) hash: u64,
    set: u32,
}

/// Spreads the bits of a number (the finaliser of SplitMix64).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Visitor {
    /// The visitor behind an address. `seed` is the process's own, so that nobody can choose addresses that
    /// fall together.
    #[must_use]
    pub fn of(address: IpAddr, seed: u64) -> Self {
        let hashed = |network: u64| mix(mix(network.wrapping_add(seed)) ^ seed.rotate_left(32));
        let (hash, set) = match address {
            IpAddr::V4(v4) => {
                let hash = hashed(u64::from(u32::from(v4)) | 1 << 40);
                (hash, hash)
            }
            IpAddr::V6(v6) => {
                let network = (u128::from(v6) >> 64) as u64;
                let hash = hashed(network);
                (hash, hashed(network & !0xffff).wrapping_add(hash % NETWORK_SETS))
            }
        };
        Self { hash, set: (set % SETS as u64) as u32 }
    }
}

/// The visitors that were served in the last [`KNOWN_S`] seconds.
#[derive(Debug)]
pub struct Known {
    words: Box<[AtomicU32]>,
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self { words: (0..KNOWN_VISITORS).map(|_| AtomicU32::new(0)).collect() }
    }

    fn set(&self, visitor: Visitor) -> &[AtomicU32] {
        let first = visitor.set as usize * WAYS;
        self.words.get(first..first + WAYS).unwrap_or_default()
    }

    /// The word without its time; never 0.
    fn tag(visitor: Visitor) -> u32 {
        ((visitor.hash >> 32) as u32 | 1 << 31) & !(TIME_MASK | SETTLED)
    }

    fn second(now_s: u64) -> u32 {
        now_s as u32 & TIME_MASK
    }

    fn age(word: u32, now_s: u64) -> u32 {
        Self::second(now_s).wrapping_sub(word) & TIME_MASK
    }

    fn find(&self, visitor: Visitor) -> Option<&AtomicU32> {
        let tag = Self::tag(visitor);
        self.set(visitor).iter().find(|word| word.load(Relaxed) & !(TIME_MASK | SETTLED) == tag)
    }

    fn counts(word: u32, now_s: u64, since_s: u64) -> bool {
        let age = Self::age(word, now_s);
        let before = u64::from(age).saturating_sub(now_s.saturating_sub(since_s));
        u64::from(age) <= KNOWN_S && (word & SETTLED != 0 || before >= u64::from(SETTLED_S))
    }

    /// Whether the visitor was served in the last [`KNOWN_S`] seconds, on a thread that is late since
    /// `since_s`.
    #[must_use]
    pub fn is_known(&self, visitor: Visitor, now_s: u64, since_s: u64) -> bool {
        self.find(visitor).is_some_and(|word| Self::counts(word.load(Relaxed), now_s, since_s))
    }

    /// Notes that the visitor was served, by a thread that is late since `since_s` or keeps up.
    ///
    /// Two threads that note at once may lose one of the two visitors, who is noted at its next exchange.
    pub fn served(&self, visitor: Visitor, now_s: u64, since_s: Option<u64>) {
        let fresh = Self::tag(visitor) | Self::second(now_s);
        if let Some(word) = self.find(visitor) {
            let found = word.load(Relaxed);
            let settled = match since_s {
                Some(since_s) if !Self::counts(found, now_s, since_s) => return,
                Some(_) => SETTLED,
                None if u64::from(Self::age(found, now_s)) > KNOWN_S => 0,
                None if Self::age(found, now_s) > 0 => SETTLED,
                None => found & SETTLED,
            };
            if found != fresh | settled {
                word.store(fresh | settled, Relaxed);
            }
            return;
        }
        if since_s.is_some() {
            return;
        }
        // Whoever is known no more goes first, then who came once, then who was served longest ago.
        let worth = |word: &&AtomicU32| {
            let found = word.load(Relaxed);
            let age = Self::age(found, now_s);
            let is_over = found == 0 || u64::from(age) > KNOWN_S;
            (is_over, found & SETTLED == 0, age)
        };
        if let Some(least) = self.set(visitor).iter().max_by_key(worth) {
            least.store(fresh, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn visitor(number: u32) -> Visitor {
        Visitor::of(IpAddr::V4(Ipv4Addr::from(number)), 7)
    }

    /// Of the nth network of 64 bits below 2001:db8:n::/48.
    fn visitor_of_one_48(number: u16) -> Visitor {
        Visitor::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, number, 0, 0, 0, 1)), 7)
    }

    #[test]
    fn a_visitor_is_known_for_ten_minutes_after_each_exchange() {
        let known = Known::new();
        assert!(!known.is_known(visitor(1), 1_000, 1_000));
        known.served(visitor(1), 1_000, None);
        for now_s in [1_002, 1_000 + KNOWN_S] {
            assert!(known.is_known(visitor(1), now_s, now_s), "{now_s}");
        }
        assert!(!known.is_known(visitor(2), 1_002, 1_002));
        assert!(!known.is_known(visitor(1), 1_001 + KNOWN_S, 1_001 + KNOWN_S));
        known.served(visitor(1), 1_500, Some(1_400));
        assert!(known.is_known(visitor(1), 1_500 + KNOWN_S, 1_400), "each exchange counts");
    }

    #[test]
    fn whoever_came_when_it_began_is_not_known_however_often_it_was_served() {
        let known = Known::new();
        known.served(visitor(1), 1_000, None);
        assert!(!known.is_known(visitor(1), 1_000, 1_001));
        (1_001..1_400).for_each(|now_s| known.served(visitor(1), now_s, Some(1_001)));
        assert!(!known.is_known(visitor(1), 1_400, 1_001));
        known.served(visitor(2), 1_000, None);
        known.served(visitor(2), 1_001, None);
        assert!(known.is_known(visitor(2), 1_001, 1_001), "in two seconds");
        (1_002..3_000).for_each(|now_s| known.served(visitor(2), now_s, Some(1_001)));
        assert!(known.is_known(visitor(2), 3_000, 1_001), "and stays so for as long as it comes");
    }

    #[test]
    fn nobody_becomes_known_while_the_thread_is_late() {
        let known = Known::new();
        known.served(visitor(1), 1_000, Some(900));
        assert!(!known.is_known(visitor(1), 1_010, 900));
        known.served(visitor(1), 1_000, None);
        known.served(visitor(1), 3_000, Some(2_900));
        assert!(!known.is_known(visitor(1), 3_000, 2_900), "one that was forgotten is new");
    }

    #[test]
    fn forty_thousand_visitors_find_room_and_the_oldest_make_it() {
        let known = Known::new();
        (0..40_000).for_each(|number| known.served(visitor(number), 1_000, None));
        let kept = (0..40_000).filter(|number| known.is_known(visitor(*number), 1_002, 1_002)).count();
        assert!(kept > 36_000, "{kept}");
        (100_000..300_000).for_each(|number| known.served(visitor(number), 1_100, None));
        let kept = (0..40_000).filter(|number| known.is_known(visitor(*number), 1_102, 1_102)).count();
        assert!(kept < 400, "{kept} of those served before are left");
        let wrong = (1_000_000..1_100_000).filter(|n| known.is_known(visitor(*n), 1_102, 1_102)).count();
        assert!(wrong < 10, "{wrong} strangers are taken for others");
    }

    #[test]
    fn one_network_cannot_have_others_forgotten() {
        let known = Known::new();
        (0..40_000).for_each(|number| known.served(visitor(number), 1_000, None));
        let count = |now_s| (0..40_000).filter(|n| known.is_known(visitor(*n), now_s, now_s)).count();
        let before = count(1_002);
        for now_s in [1_100, 1_102] {
            (0..=u16::MAX).for_each(|number| known.served(visitor_of_one_48(number), now_s, None));
        }
        let after = count(1_104);
        assert!(before - after <= 256, "{before} were known, then {after}");
        let of_it = (0..=u16::MAX).filter(|n| known.is_known(visitor_of_one_48(*n), 1_104, 1_104)).count();
        assert!((200..300).contains(&of_it), "{of_it}");
    }

    #[test]
    fn who_came_once_makes_room_before_who_stays() {
        let known = Known::new();
        for now_s in [1_000, 1_010] {
            (0..20_000).for_each(|number| known.served(visitor(number), now_s, None));
        }
        let count = || (0..20_000).filter(|n| known.is_known(visitor(*n), 1_102, 1_102)).count();
        let before = count();
        (100_000..300_000).for_each(|number| known.served(visitor(number), 1_100, None));
        // One goes of each set that is full of those who stay.
        assert!(before > 19_000 && before - count() < 1_000, "{before} were known, then {}", count());
    }

    #[test]
    fn an_ipv6_network_is_one_visitor_and_a_seed_moves_everybody() {
        let address = |low: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, low));
        assert_eq!(Visitor::of(address(1), 7), Visitor::of(address(2), 7));
        assert_ne!(Visitor::of(address(1), 7), Visitor::of(address(1), 8));
    }
}
