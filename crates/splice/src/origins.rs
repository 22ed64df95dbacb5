//! Reaching origins: the order of trial, the connect, and not forwarding to ourselves.
//!
//! Which addresses did not answer is kept for 10 s across entries and tables, so that a dead first address
//! costs one visitor its time-out and not all of them. That is a guess: an address that came back is tried
//! last for a while, which costs nothing as long as another answers. Called by the loop.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::limits::{DOWN_MAX, DOWN_MS};

/// Addresses that did not answer lately.
#[derive(Debug, Default)]
pub(crate) struct Down {
    since: HashMap<SocketAddr, Instant>,
}

impl Down {
    /// Notes that an address did not answer.
    pub(crate) fn note(&mut self, address: SocketAddr, now: Instant) {
        if self.since.len() >= DOWN_MAX {
            self.since.clear();
        }
        self.since.insert(address, now);
    }

    /// Notes that it did.
    pub(crate) fn forget(&mut self, address: SocketAddr) {
        self.since.remove(&address);
    }

    /// Puts those that did not answer last, in the order given otherwise.
    pub(crate) fn sort(&self, addresses: &mut [SocketAddr], now: Instant) {
        let is_down = |address: &SocketAddr| {
            let since = self.since.get(address);
            since.is_some_and(|since| now.saturating_duration_since(*since) < Duration::from_millis(DOWN_MS))
        };
        addresses.sort_by_key(is_down);
    }
}

/// Begins a connection; it is there when the socket can be written to and has no error.
///
/// # Errors
/// When it fails at once, or no descriptor or port is left.
pub(crate) fn begin_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => {
            let socket = TcpStream::from(socket);
            // Pieces are forwarded as they come: waiting for more only adds a round trip.
            socket.set_nodelay(true)?;
            Ok(socket)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether an origin's address is one of the listeners, so that forwarding there would feed us our own bytes.
/// `local` is the address that the visitor came in at, which tells what a listener on all addresses means.
/// An address that only a translator in front of us turns into ours is not seen; the limit per address ends
/// such a ring.
pub(crate) fn is_own(origin: SocketAddr, listeners: &[SocketAddr], local: Option<IpAddr>) -> bool {
    let ip = origin.ip().to_canonical();
    let is_here = ip.is_loopback() || ip.is_unspecified() || local == Some(ip);
    listeners.iter().filter(|own| own.port() == origin.port()).any(|own| {
        let own = own.ip().to_canonical();
        own == ip || own.is_unspecified() && is_here || ip.is_unspecified() && own.is_loopback()
    })
}

/// What visitors are counted by: the address, of IPv6 its /64, which is what one household gets.
pub(crate) fn counted_as(visitor: IpAddr) -> IpAddr {
    match visitor.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant has no other beginning")]
    fn addresses_that_did_not_answer_are_tried_last_until_they_answer_or_time_passes() {
        let now = Instant::now();
        let later = now + Duration::from_millis(DOWN_MS);
        let [one, two, three] = ["192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"].map(address);
        let mut down = Down::default();
        let sorted = |down: &Down, now| {
            let mut all = [one, two, three];
            down.sort(&mut all, now);
            all
        };
        down.note(one, now);
        assert_eq!(sorted(&down, now), [two, three, one]);
        assert_eq!(sorted(&down, later), [one, two, three]);
        down.note(two, now);
        assert_eq!(sorted(&down, now), [three, one, two]);
        down.forget(one);
        assert_eq!(sorted(&down, now), [one, three, two]);
        for port in 1..=u16::MAX {
            down.note(SocketAddr::new([192, 0, 2, 9].into(), port), now);
            assert!(down.since.len() <= DOWN_MAX);
        }
    }

    #[test]
    fn our_own_listeners_are_known_by_every_name() {
        let listeners = ["0.0.0.0:443", "192.0.2.1:8443"].map(address);
        let local = Some("203.0.113.5".parse().unwrap());
        let is_own = |text: &str| is_own(address(text), &listeners, local);
        assert!(is_own("127.0.0.1:443") && is_own("203.0.113.5:443") && is_own("[::ffff:127.0.0.1]:443"));
        assert!(is_own("192.0.2.1:8443"));
        assert!(!is_own("127.0.0.1:8443") && !is_own("203.0.113.6:443") && !is_own("203.0.113.5:444"));
    }

    #[test]
    fn a_household_counts_as_one_visitor() {
        let counted = |text: &str| counted_as(text.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
    }
}
