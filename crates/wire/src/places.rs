//! Who holds how many of a thread's places, by network, so that nobody can hold them all.
//!
//! A network is 24 bits of an IPv4 address and 56 of an IPv6 address: what one party is commonly given. As
//! long as there is room nobody is asked. Once a thread is nearly full, a network that holds much of it gets
//! no more; the last places are for others. So whoever wants to lock visitors out must come from many
//! networks. Handshakes under way are counted apart: each holds some ten KiB that no budget knows of.
//!
//! What it approximates is a party. It is wrong for many visitors behind one address: these wait, once the
//! thread is nearly full, for places of their own network. Caller: `thread.rs`, `accept.rs`,
//! `h3/endpoint.rs`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;

use crate::limits::{HANDSHAKES, HEAVY_LEAST, HEAVY_SHARE, RESERVED_SHARE};

/// A network; none for visitors of a proxy that is trusted, who are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(u64);

impl Network {
    /// Who is behind a proxy that is trusted to name its visitors, for each connection or each request.
    pub(crate) const PROXIED: Self = Self(0);

    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => 1 << 32 | u64::from(u32::from(v4) >> 8),
            IpAddr::V6(v6) => 1 << 60 | (u128::from(v6) >> 72) as u64,
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    open: u32,
    shaking: u32,
}

/// The places of one thread.
#[derive(Debug, Default)]
pub(crate) struct Places {
    open: Cell<usize>,
    shaking: Cell<usize>,
    /// An entry for each network that holds a place.
    held: RefCell<HashMap<Network, Held>>,
}

impl Places {
    /// Connections open.
    pub(crate) fn open(&self) -> usize {
        self.open.get()
    }

    /// Handshakes under way.
    pub(crate) fn shaking(&self) -> usize {
        self.shaking.get()
    }

    fn held(&self, network: Network) -> Held {
        match network {
            Network::PROXIED => Held::default(),
            network => self.held.borrow().get(&network).copied().unwrap_or_default(),
        }
    }

    fn change(&self, network: Network, change: impl FnOnce(&mut Held)) {
        if network == Network::PROXIED {
            return;
        }
        let mut held = self.held.borrow_mut();
        let entry = held.entry(network).or_default();
        change(entry);
        if entry.open == 0 && entry.shaking == 0 {
            held.remove(&network);
        }
    }

    /// Counts a connection.
    pub(crate) fn opened(&self, network: Network) {
        self.open.set(self.open.get() + 1);
        self.change(network, |held| held.open += 1);
    }

    /// One that was counted is gone.
    pub(crate) fn closed(&self, network: Network) {
        self.open.set(self.open.get().saturating_sub(1));
        self.change(network, |held| held.open = held.open.saturating_sub(1));
    }

    /// Counts a handshake.
    pub(crate) fn began(&self, network: Network) {
        self.shaking.set(self.shaking.get() + 1);
        self.change(network, |held| held.shaking += 1);
    }

    /// One that was counted is over.
    pub(crate) fn ended(&self, network: Network) {
        self.shaking.set(self.shaking.get().saturating_sub(1));
        self.change(network, |held| held.shaking = held.shaking.saturating_sub(1));
    }

    /// Whether the network holds much of a thread's `most` places, and how many it is not to have.
    pub(crate) fn reserved_from(&self, network: Network, most: usize) -> usize {
        let heavy = (most / HEAVY_SHARE).max(HEAVY_LEAST);
        if (self.held(network).open as usize) < heavy { 0 } else { most / RESERVED_SHARE }
    }

    /// Whether the network may begin another handshake while half of all that may be are under way.
    pub(crate) fn may_shake(&self, network: Network) -> bool {
        self.shaking() < HANDSHAKES / 2 || (self.held(network).shaking as usize) < HANDSHAKES / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    #[test]
    fn neighbours_are_one_network_and_strangers_are_not() {
        assert_eq!(network("192.0.2.1"), network("192.0.2.200"));
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.9"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:ff::1"));
        assert_ne!(network("2001:db8:1:200::1"), network("2001:db8:1:100::1"));
        assert_ne!(network("0.0.0.0"), Network::PROXIED);
        assert_ne!(network("::"), Network::PROXIED);
    }

    #[test]
    fn the_last_places_are_kept_from_who_holds_much() {
        let (places, most) = (Places::default(), 6_400);
        let (heavy, light) = (network("192.0.2.1"), network("198.51.100.1"));
        for _ in 0..most / HEAVY_SHARE - 1 {
            places.opened(heavy);
        }
        assert_eq!(places.reserved_from(heavy, most), 0);
        places.opened(heavy);
        assert_eq!(places.reserved_from(heavy, most), 400);
        assert_eq!(places.reserved_from(light, most), 0);
        places.closed(heavy);
        assert_eq!(places.reserved_from(heavy, most), 0);
        for _ in 0..most {
            places.opened(Network::PROXIED);
        }
        assert_eq!(places.reserved_from(Network::PROXIED, most), 0, "it is many");
    }

    #[test]
    fn handshakes_of_one_network_leave_room_for_others() {
        let places = Places::default();
        let (heavy, light) = (network("192.0.2.1"), network("198.51.100.1"));
        while places.shaking() < HANDSHAKES / 2 {
            assert!(places.may_shake(heavy));
            places.began(heavy);
        }
        assert!(!places.may_shake(heavy) && places.may_shake(light));
        (0..HANDSHAKES / 2).for_each(|_| places.ended(heavy));
        assert!(places.may_shake(heavy));
        assert!(places.held.borrow().is_empty(), "who holds nothing is forgotten");
    }
}
