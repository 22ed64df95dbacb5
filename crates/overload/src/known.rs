//! Who was served before: visitors by address, in bounded memory, shared by all threads.
//!
//! A visitor is an IPv4 address or an IPv6 network of 64 bits, hashed under the process's seed. Each stands
//! in one word of a set of four: 19 bits of the hash and the time of its last exchange in steps of eight
//! seconds. What is approximated: two visitors whose hashes agree in 33 bits are one (one pair in 8,000
//! million), and of more than some 50,000 in ten minutes those served longest ago are forgotten. Either
//! costs little: being known is a better place in the queue and nothing else.
//!
//! Callers: `edge`, at the end of an exchange and, on a thread that is late, at its beginning.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::limits::{KNOWN_S, KNOWN_VISITORS};

/// Entries of one set.
const WAYS: usize = 4;

/// Seconds of one step of time.
const STEP_S: u64 = 8;

/// Bits of a word that hold the time: it turns over after nine hours, when a visitor of that moment counts
/// as known once more.
const TIME_BITS: u32 = 12;
const TIME_MASK: u32 = (1 << TIME_BITS) - 1;

/// A visitor's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor(pub(crate) u64);

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
        let network = match address {
            IpAddr::V4(v4) => u64::from(u32::from(v4)) | 1 << 40,
            IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64,
        };
        Self(mix(mix(network.wrapping_add(seed)) ^ seed.rotate_left(32)))
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
        let first = visitor.0 as usize % (KNOWN_VISITORS / WAYS) * WAYS;
        self.words.get(first..first + WAYS).unwrap_or_default()
    }

    /// The word without its time; never 0.
    fn tag(visitor: Visitor) -> u32 {
        ((visitor.0 >> 32) as u32 | 1 << 31) & !TIME_MASK
    }

    fn step(now_s: u64) -> u32 {
        (now_s / STEP_S) as u32 & TIME_MASK
    }

    fn age(word: u32, step: u32) -> u32 {
        step.wrapping_sub(word) & TIME_MASK
    }

    /// Whether the visitor was served in the last [`KNOWN_S`] seconds.
    #[must_use]
    pub fn is_known(&self, visitor: Visitor, now_s: u64) -> bool {
        let (tag, step) = (Self::tag(visitor), Self::step(now_s));
        let is_it = |word: u32| word & !TIME_MASK == tag && Self::is_recent(word, step);
        self.set(visitor).iter().any(|word| is_it(word.load(Relaxed)))
    }

    fn is_recent(word: u32, step: u32) -> bool {
        u64::from(Self::age(word, step)) <= KNOWN_S / STEP_S
    }

    /// Notes that the visitor was served. With `may_be_new` false only one that is known already stays so.
    ///
    /// Two threads that note at once may lose one of the two visitors, who is noted at its next exchange.
    pub fn served(&self, visitor: Visitor, now_s: u64, may_be_new: bool) {
        let (tag, step) = (Self::tag(visitor), Self::step(now_s));
        let set = self.set(visitor);
        let known = set.iter().find(|word| word.load(Relaxed) & !TIME_MASK == tag);
        if let Some(word) = known {
            let found = word.load(Relaxed);
            if found != tag | step && (may_be_new || Self::is_recent(found, step)) {
                word.store(tag | step, Relaxed);
            }
            return;
        }
        if !may_be_new {
            return;
        }
        let age = |word: &&AtomicU32| match word.load(Relaxed) {
            0 => u32::MAX,
            found => Self::age(found, step),
        };
        if let Some(oldest) = set.iter().max_by_key(age) {
            oldest.store(tag | step, Relaxed);
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

    #[test]
    fn a_visitor_is_known_for_ten_minutes_after_each_exchange() {
        let known = Known::new();
        assert!(!known.is_known(visitor(1), 1_000));
        known.served(visitor(1), 1_000, true);
        assert!(known.is_known(visitor(1), 1_000) && known.is_known(visitor(1), 1_000 + KNOWN_S));
        assert!(!known.is_known(visitor(2), 1_000));
        assert!(!known.is_known(visitor(1), 1_000 + KNOWN_S + 2 * STEP_S));
        known.served(visitor(1), 1_500, false);
        assert!(known.is_known(visitor(1), 1_500 + KNOWN_S), "each exchange counts");
    }

    #[test]
    fn nobody_becomes_known_where_none_may() {
        let known = Known::new();
        known.served(visitor(1), 1_000, false);
        assert!(!known.is_known(visitor(1), 1_000));
        known.served(visitor(1), 1_000, true);
        known.served(visitor(1), 3_000, false);
        assert!(!known.is_known(visitor(1), 3_000), "one that was forgotten is new");
    }

    #[test]
    fn forty_thousand_visitors_find_room_and_the_oldest_make_it() {
        let known = Known::new();
        (0..40_000).for_each(|number| known.served(visitor(number), 1_000, true));
        let kept = (0..40_000).filter(|number| known.is_known(visitor(*number), 1_000)).count();
        assert!(kept > 36_000, "{kept}");
        (100_000..300_000).for_each(|number| known.served(visitor(number), 1_100, true));
        let kept = (0..40_000).filter(|number| known.is_known(visitor(*number), 1_100)).count();
        assert!(kept < 400, "{kept} of those served before are left");
        let wrong = (1_000_000..1_100_000).filter(|number| known.is_known(visitor(*number), 1_100)).count();
        assert!(wrong < 10, "{wrong} strangers are taken for others");
    }

    #[test]
    fn an_ipv6_network_is_one_visitor_and_a_seed_moves_everybody() {
        let address = |low: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, low));
        assert_eq!(Visitor::of(address(1), 7), Visitor::of(address(2), 7));
        assert_ne!(Visitor::of(address(1), 7), Visitor::of(address(1), 8));
    }
}
