//! The emergency block list: addresses that are refused whatever they ask for, each until its time.
//!
//! For the minutes of an attack, when a publish takes too long. It can only ever refuse visitors by address,
//! never take a zone, a pool or a rule away. Free while it is empty; else one hash look-up for each length of
//! prefix in it. Filled by the wiring from the command log; asked by admission.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use zone::Cidr;

/// Most ranges at a time: what a person or a script gathers in an emergency. Longer lists are rules' work.
pub const BLOCKS_MAX: usize = 10_000;

/// Ranges with the second of the node's clock until which each is refused, by length of prefix.
#[derive(Default)]
struct Ranges {
    by_prefix: Vec<(u8, HashMap<IpAddr, u64>)>,
}

/// The list in force.
#[derive(Default)]
pub(crate) struct Blocks {
    is_on: AtomicBool,
    ranges: ArcSwap<Ranges>,
}

impl Blocks {
    /// Puts exactly these in force, each until its second of the node's clock. Beyond [`BLOCKS_MAX`] the
    /// rest is left out.
    pub(crate) fn set(&self, blocks: &[(Cidr, u64)]) {
        let mut ranges = Ranges::default();
        for (range, until_s) in blocks.iter().take(BLOCKS_MAX) {
            let (network, prefix) = (range.network(), range.prefix());
            let place = match ranges.by_prefix.iter().position(|(length, _)| *length == prefix) {
                Some(place) => place,
                None => {
                    ranges.by_prefix.push((prefix, HashMap::new()));
                    ranges.by_prefix.len() - 1
                }
            };
            if let Some((_, networks)) = ranges.by_prefix.get_mut(place) {
                let until = networks.entry(network).or_insert(0);
                *until = (*until).max(*until_s);
            }
        }
        let is_on = !blocks.is_empty();
        self.ranges.store(Arc::new(ranges));
        self.is_on.store(is_on, Ordering::Release);
    }

    /// Whether the visitor is refused; `now_s` is asked for only when something is blocked.
    #[inline]
    pub(crate) fn refuses(&self, visitor: IpAddr, now_s: impl FnOnce() -> u64) -> bool {
        self.is_on.load(Ordering::Acquire) && self.is_blocked(visitor, now_s())
    }

    #[cold]
    fn is_blocked(&self, visitor: IpAddr, now_s: u64) -> bool {
        let visitor = visitor.to_canonical();
        let ranges = self.ranges.load();
        ranges.by_prefix.iter().any(|(prefix, networks)| {
            Cidr::around(visitor, *prefix)
                .and_then(|range| networks.get(&range.network()))
                .is_some_and(|until_s| now_s < *until_s)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(list: &[(&str, u64)]) -> Blocks {
        let blocks = Blocks::default();
        let list: Vec<_> =
            list.iter().map(|(range, until_s)| (range.parse().expect("a range"), *until_s)).collect();
        blocks.set(&list);
        blocks
    }

    fn is_refused(blocks: &Blocks, visitor: &str) -> bool {
        blocks.refuses(visitor.parse().expect("an address"), || 100)
    }

    #[test]
    fn addresses_and_ranges_are_refused_until_their_time() {
        let blocks = blocks(&[
            ("192.0.2.1", 101),
            ("198.51.100.0/24", 200),
            ("2001:db8::/48", 200),
            ("203.0.113.9", 100),
        ]);
        for refused in ["192.0.2.1", "::ffff:192.0.2.1", "198.51.100.77", "2001:db8:0:7::1"] {
            assert!(is_refused(&blocks, refused), "{refused}");
        }
        for served in ["192.0.2.2", "198.51.101.1", "2001:db8:1::1", "203.0.113.9"] {
            assert!(!is_refused(&blocks, served), "{served}");
        }
    }

    #[test]
    fn an_empty_list_asks_for_no_time() {
        let blocks = blocks(&[]);
        assert!(!blocks.refuses(IpAddr::from([192, 0, 2, 1]), || unreachable!("nothing is blocked")));
    }

    #[test]
    fn the_same_range_twice_is_refused_until_the_later_time() {
        let blocks = blocks(&[("192.0.2.1", 500), ("192.0.2.1", 50)]);
        assert!(is_refused(&blocks, "192.0.2.1"));
    }
}
