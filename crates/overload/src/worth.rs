//! What a request is worth when not all can be served: its place in the order in which they are let in.
//!
//! Places are told by what is known before any work is done: whether the visitor was served before, how much
//! it asks at the moment, and whether the request is one that is costly as a rule. Strangers are parted
//! further by address, so that a part of them can be let in. Used by `controller.rs`.

use crate::known::{Visitor, mix};
use crate::limits::{BUSY, HEAVY_STRANGER};

/// How many places there are.
pub const RANKS: usize = 20;

/// Parts that strangers are divided into, by address.
const PARTS: u32 = 8;

/// The worth of a request in one word, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// Of a visitor who was served before.
    Known,
    /// Of somebody else, and cheap as a rule.
    Stranger,
    /// Of somebody else, and costly as a rule: with a body, or not safe.
    Costly,
    /// Of a visitor who asks for more than a person would.
    Heavy,
}

/// A request's place: its rank, lowest first, and its place within that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) rank: u8,
    /// From 0 to 65,535.
    pub(crate) within: u16,
}

impl Place {
    /// The place of a request of a visitor who asked `count` times in this second. `salt` differs between
    /// episodes, so that nobody is always the last; `number` between requests.
    pub(crate) fn of(
        visitor: Visitor,
        (is_known, is_costly): (bool, bool),
        count: u32,
        (salt, number): (u64, u64),
    ) -> Self {
        let drawn = mix(visitor.hash ^ salt);
        let part = (drawn >> 61) as u32 % PARTS;
        let within = (drawn >> 40) as u16;
        let [busy, very_busy, heavy] = BUSY;
        let heavy = if is_known { heavy } else { HEAVY_STRANGER };
        if count >= heavy {
            // By request: otherwise one who asks for all there is would get all of it, or nothing.
            return Self { rank: RANKS as u8 - 1, within: mix(drawn ^ number) as u16 };
        }
        let rank = match (is_known, is_costly) {
            (true, _) => u32::from(count >= busy) + u32::from(count >= very_busy),
            (false, false) => 3 + part,
            (false, true) => 3 + PARTS + part,
        };
        Self { rank: rank as u8, within }
    }

    pub(crate) fn worth(self) -> Worth {
        match u32::from(self.rank) {
            0..=2 => Worth::Known,
            rank if rank < 3 + PARTS => Worth::Stranger,
            rank if rank < 3 + 2 * PARTS => Worth::Costly,
            _ => Worth::Heavy,
        }
    }
}

/// The first rank of those whose requests are worth as much in words as this rank's.
pub(crate) fn first_alike(rank: u8) -> u8 {
    const FIRSTS: [u8; 5] = [0, 3, 3 + PARTS as u8, 3 + 2 * PARTS as u8, RANKS as u8];
    FIRSTS.into_iter().rev().find(|first| *first <= rank).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn place(number: u32, is_known: bool, is_costly: bool, count: u32) -> Place {
        let visitor = Visitor::of(IpAddr::V4(Ipv4Addr::from(number)), 3);
        Place::of(visitor, (is_known, is_costly), count, (9, u64::from(count)))
    }

    #[test]
    fn known_come_before_strangers_before_costly_before_heavy() {
        let in_order = [
            (place(1, true, true, 1), Worth::Known),
            (place(1, true, false, 16), Worth::Known),
            (place(1, true, false, 64), Worth::Known),
            (place(2, false, false, 1), Worth::Stranger),
            (place(2, false, true, 1), Worth::Costly),
            (place(2, false, false, 64), Worth::Heavy),
        ];
        assert!(in_order.iter().zip(in_order.iter().skip(1)).all(|(one, next)| one.0.rank < next.0.rank));
        assert!(in_order.iter().all(|(place, worth)| place.worth() == *worth));
        assert_eq!(place(1, true, false, 256).worth(), Worth::Heavy);
        assert!(in_order.iter().all(|(place, _)| usize::from(place.rank) < RANKS));
    }

    #[test]
    fn ranks_are_alike_that_have_the_same_worth_in_words() {
        for rank in 0..RANKS as u8 {
            let worth = |rank| Place { rank, within: 0 }.worth();
            let first = (0..=rank).find(|other| worth(*other) == worth(rank));
            assert_eq!(Some(first_alike(rank)), first, "{rank}");
        }
        assert_eq!(first_alike(RANKS as u8), RANKS as u8, "nobody is cut off");
    }

    #[test]
    fn a_stranger_keeps_its_place_and_strangers_spread() {
        assert_eq!(place(5, false, false, 1), place(5, false, false, 9));
        let ranks: std::collections::HashSet<u8> = (0..200).map(|n| place(n, false, false, 1).rank).collect();
        assert_eq!(ranks.len(), PARTS as usize);
        assert_ne!(
            place(5, false, false, 100).within,
            place(5, false, false, 101).within,
            "heavy: by request"
        );
    }
}
