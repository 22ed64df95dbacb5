//! Listening sockets in the service manager's keeping: they outlive every process of the node.
//!
//! systemd keeps descriptors for a service whose unit has `FileDescriptorStoreMax=`
//! (sd_pid_notify_with_fds(3)) and gives them back at its next start, among those of sd_listen_fds(3). Who
//! connects while nothing runs waits in the kernel's queue instead of being refused. Each socket goes there
//! under a name that says its place, since the manager does not keep their order: in the kernel's group it is
//! still what it was, as nothing was closed. A set of which a part is missing, or that nobody wants any more,
//! is taken out again. Called by [`crate::supervisor`]; what a slot is: [`crate::sockets`].

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use telemetry::events::{Events, Value};

use crate::flags::descriptor_store_places;
use crate::notify;
use crate::sockets::{ListenerSockets, tcp_slots, udp_slots};

/// How long the manager may take to let go of what is taken out: it is asked again and again by others too.
const BARRIER_WAIT: Duration = Duration::from_secs(5);

/// What names of ours begin with; a socket unit's own descriptors are called after the unit.
const PREFIX: &str = "rempart";

/// Where a socket belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Its address, with the real port.
    pub(crate) address: SocketAddr,
    /// Whether it is one for QUIC.
    pub(crate) is_udp: bool,
    /// Its slot.
    pub(crate) slot: usize,
}

impl Place {
    /// The name that it is kept under: no colon may be in it, since it travels in a list of these.
    fn name(&self) -> String {
        let over = if self.is_udp { "udp" } else { "tcp" };
        format!("{PREFIX} {over} {} {}", self.slot, self.address).replace(':', "_")
    }

    /// Reads [`Place::name`]; none for what is not one of ours.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let name = name.replace('_', ":");
        let mut words = name.split(' ');
        let (PREFIX, over) = (words.next()?, words.next()?) else { return None };
        let is_udp = match over {
            "tcp" => false,
            "udp" => true,
            _ => return None,
        };
        let (slot, address) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        words.next().is_none().then_some(Self { address, is_udp, slot })
    }
}

/// What was kept over a restart.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<(Place, OwnedFd)>);

/// A listener as the node file wants it: its address, and whether it has HTTP/3.
pub(crate) type Wanted = (SocketAddr, bool);

impl Kept {
    /// From sockets with their places.
    pub(crate) fn new(sockets: Vec<(Place, OwnedFd)>) -> Self {
        Self(sockets)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// How many threads the sockets of a wanted listener are for; none when no wanted one is whole.
    pub(crate) fn threads(&self, wanted: &[Wanted]) -> Option<usize> {
        let tcp = |at: SocketAddr| self.0.iter().filter(|(it, _)| !it.is_udp && it.address == at).count();
        let first = self.0.iter().find(|(it, _)| wanted.iter().any(|wanted| is_for(it, wanted)))?;
        tcp(first.0.address).checked_sub(1).filter(|threads| *threads > 0)
    }

    /// Takes out of the manager's keeping, and closes, what no wanted listener of so many threads can use:
    /// with them open its address could not be bound anew. Gives how many that were.
    pub(crate) fn withdraw_unusable(&mut self, wanted: &[Wanted], threads: usize) -> usize {
        let is_whole = |place: &Place| {
            let is_of_set = |it: &Place| (it.address, it.is_udp) == (place.address, place.is_udp);
            let mut slots: Vec<usize> =
                self.0.iter().filter(|(it, _)| is_of_set(it)).map(|(it, _)| it.slot).collect();
            slots.sort_unstable();
            let count = if place.is_udp { udp_slots(threads) } else { tcp_slots(threads) };
            slots.into_iter().eq(0..count)
        };
        let may_stay = |place: &Place| wanted.iter().any(|wanted| is_for(place, wanted)) && is_whole(place);
        let stays: Vec<bool> = self.0.iter().map(|(place, _)| may_stay(place)).collect();
        let mut stays = stays.into_iter();
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|_| stays.next().unwrap_or(false));
        self.0 = kept;
        let count = gone.len();
        for (place, socket) in gone {
            notify::send(&format!("FDSTOREREMOVE=1\nFDNAME={}", place.name()), &[]);
            drop(socket);
        }
        if count > 0 {
            wait_for_manager();
        }
        count
    }

    /// Takes the sockets of a listener, in the order of their slots; none when there are none. A wanted port
    /// of 0 is that of any at the address.
    pub(crate) fn take(&mut self, wanted: SocketAddr, is_udp: bool) -> Option<(SocketAddr, Vec<OwnedFd>)> {
        let is_it = |place: &Place| place.is_udp == is_udp && is_at(place, wanted);
        let address = self.0.iter().find(|(place, _)| is_it(place))?.0.address;
        let (mut taken, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(place, _)| (place.address, place.is_udp) == (address, is_udp));
        self.0 = left;
        taken.sort_by_key(|(place, _)| *place);
        Some((address, taken.into_iter().map(|(_, socket)| socket).collect()))
    }
}

fn is_at(place: &Place, wanted: SocketAddr) -> bool {
    place.address == wanted || wanted.port() == 0 && place.address.ip() == wanted.ip()
}

fn is_for(place: &Place, (address, http3): &Wanted) -> bool {
    is_at(place, *address) && (*http3 || !place.is_udp)
}

/// Gives every socket of the listeners into the manager's keeping; what it has already it does not take
/// twice. Without a manager, or without room there, nothing is kept: the sockets then end with the node.
pub(crate) fn keep(listeners: &[ListenerSockets], events: &Events) {
    let count: usize = listeners.iter().map(|listener| listener.tcp.len() + listener.udp.len()).sum();
    if let Some(places) = descriptor_store_places().filter(|places| *places < count) {
        let remedy = "raise FileDescriptorStoreMax= in the unit to `sockets` at least: until then visitors \
                      are refused while nothing runs";
        let fields: [(&'static str, Value<'_>); 3] =
            [("places", places.into()), ("sockets", count.into()), ("remedy", remedy.into())];
        return events.warn("sockets_not_kept", &fields);
    }
    for listener in listeners {
        for (is_udp, sockets) in [(false, &listener.tcp), (true, &listener.udp)] {
            for (slot, socket) in sockets.iter().enumerate() {
                let place = Place { address: listener.address, is_udp, slot };
                // FDPOLL=0: an error on a socket is for the edge to read, and no reason to let go of it.
                let text = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={}", place.name());
                notify::send(&text, &[socket.as_fd()]);
            }
        }
    }
}

/// Waits until the manager has done what it was told before: it closes the end of a pipe then (`BARRIER=1`).
fn wait_for_manager() {
    let Ok((ours, theirs)) = std::io::pipe() else { return };
    if !notify::send("BARRIER=1", &[theirs.as_fd()]) {
        return;
    }
    drop(theirs);
    let wait = Timespec { tv_sec: BARRIER_WAIT.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: 0 };
    // One that does not know of barriers never closes it; then an address may be taken yet, and says so.
    let _ = poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&wait));
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn place(address: &str, is_udp: bool, slot: usize) -> Place {
        Place { address: address.parse().unwrap(), is_udp, slot }
    }

    #[test]
    fn a_name_tells_the_place_and_has_no_colon() {
        for place in [
            place("192.0.2.1:443", false, 0),
            place("[2001:db8::1]:8443", true, 32),
            place("[fe80::1%7]:80", false, 5),
        ] {
            let name = place.name();
            assert!(!name.contains(':') && name.len() <= 255, "{name}");
            assert_eq!(Place::of(&name), Some(place), "{name}");
        }
        for name in
            ["", "rempart.socket", "rempart tcp", "rempart sctp 1 192.0.2.1_80", "rempart tcp x 192.0.2.1_80"]
        {
            assert_eq!(Place::of(name), None, "{name}");
        }
    }

    /// Any descriptor will do: what is looked at are the places.
    fn kept(places: &[Place]) -> Kept {
        let socket = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
        Kept::new(places.iter().map(|place| (*place, socket())).collect())
    }

    fn set(address: &str, is_udp: bool, count: usize) -> Vec<Place> {
        (0..count).rev().map(|slot| place(address, is_udp, slot)).collect()
    }

    #[test]
    fn whole_sets_that_are_wanted_come_back_in_the_order_of_their_slots() {
        let wanted = [("192.0.2.1:443".parse().unwrap(), true)];
        let mut all = kept(&[set("192.0.2.1:443", true, 5), set("192.0.2.1:443", false, 3)].concat());
        let numbers: Vec<i32> =
            all.0.iter().map(|(_, socket)| std::os::fd::AsRawFd::as_raw_fd(socket)).collect();
        assert_eq!(all.threads(&wanted), Some(2));
        assert_eq!(all.withdraw_unusable(&wanted, 2), 0);
        let (address, tcp) = all.take("192.0.2.1:0".parse().unwrap(), false).unwrap();
        assert_eq!(address, wanted[0].0);
        let taken: Vec<i32> = tcp.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
        assert_eq!(taken, [numbers[7], numbers[6], numbers[5]]);
        assert_eq!(all.take(address, true).unwrap().1.len(), 5);
        assert!(all.take(address, true).is_none());
    }

    #[test]
    fn what_is_not_whole_or_not_wanted_is_let_go() {
        let [first, second] = ["192.0.2.1:443", "192.0.2.1:80"];
        let mut broken = set(first, true, 5);
        broken.remove(2);
        let mut all = kept(&[set(first, false, 3), broken, set(second, false, 3)].concat());
        let wanted = [(first.parse().unwrap(), true)];
        assert_eq!(all.withdraw_unusable(&wanted, 2), 4 + 3);
        assert_eq!(all.0.len(), 3);
        let mut without_http3 = kept(&[set(first, false, 3), set(first, true, 5)].concat());
        assert_eq!(without_http3.withdraw_unusable(&[(first.parse().unwrap(), false)], 2), 5);
        let mut other_threads = kept(&set(first, false, 3));
        assert_eq!(other_threads.withdraw_unusable(&wanted, 3), 3);
        assert_eq!(kept(&[]).threads(&wanted), None);
    }
}
