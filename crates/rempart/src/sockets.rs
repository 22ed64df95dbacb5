//! Every socket of the node, made before root is dropped: TCP listeners, UDP sockets, the command socket.
//!
//! All sockets of one address stand in one `SO_REUSEPORT` group (socket(7)), so that connections are spread
//! over threads without a lock between them. A place in the group is a *slot*: over TCP one a thread and,
//! last, one for a candidate; over UDP one a thread in two generations, so that an edge which drains keeps
//! its QUIC connections while the next one serves, and last the candidate's. Which slot a visitor goes to is
//! a small program in the kernel: [`steering`]. No socket is ever closed while the node runs: that would
//! shift the slots. Nothing here accepts or reads: the edge does. Called by [`crate::supervisor`]; read next:
//! [`steering`], then [`crate::control`], which hands the descriptors over.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use listenfd::ListenFd;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::fd_store::{Kept, Place};
use crate::flags::given_names;

pub(crate) mod steering;

/// Connections that may wait for `accept`, per thread. A burst of new visitors in the time of one slow poll
/// (100 ms at 20,000 connections a second) fits; the kernel presses it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Bytes that a UDP socket may hold in each direction: 40 ms at 400 Mbit/s per thread. Without the right to
/// force it the kernel presses it to `net.core.rmem_max` and `wmem_max`.
const UDP_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// How often another free port is tried when the one that TCP got is taken for UDP.
const PORT_TRIES_MAX: usize = 16;

/// Backlog of the admin listener and of the command socket: a person and a scraper or two.
const LOCAL_BACKLOG: i32 = 64;

/// The sockets of one listener of the node file.
#[derive(Debug)]
pub(crate) struct ListenerSockets {
    /// Where it is bound, with the real port.
    pub(crate) address: SocketAddr,
    /// One listener per thread, and the candidate's.
    pub(crate) tcp: Vec<OwnedFd>,
    /// When HTTP/3 is served: one socket per thread and generation, and the candidate's; else none.
    pub(crate) udp: Vec<OwnedFd>,
}

/// TCP slots of a listener: one a thread, and the candidate's, which is the last.
pub(crate) const fn tcp_slots(threads: usize) -> usize {
    threads + 1
}

/// UDP slots of a listener: one a thread in each of two generations, and the candidate's, which is the last.
pub(crate) const fn udp_slots(threads: usize) -> usize {
    2 * threads + 1
}

/// Binds one address for all threads, over TCP and, for HTTP/3, over UDP at the same port.
///
/// Port 0 takes one that is free for both. Sockets that a service manager kept for the address are taken as
/// they are, and one that it made comes first.
///
/// # Errors
/// When the address cannot be bound; the text says why and what to do.
pub(crate) fn bind_listener(
    wanted: SocketAddr,
    threads: usize,
    http3: bool,
    given: &mut Given,
) -> Result<ListenerSockets> {
    for _ in 1..PORT_TRIES_MAX {
        match bind_both(wanted, threads, http3, given) {
            Err((_, error)) if wanted.port() == 0 && error.kind() == ErrorKind::AddrInUse => {}
            other => return other.map_err(|(over, error)| explain(wanted, over, error)),
        }
    }
    bind_both(wanted, threads, http3, given).map_err(|(over, error)| explain(wanted, over, error))
}

fn bind_both(
    wanted: SocketAddr,
    threads: usize,
    http3: bool,
    given: &mut Given,
) -> Result<ListenerSockets, (&'static str, io::Error)> {
    let owned = |sockets: Vec<Socket>| sockets.into_iter().map(OwnedFd::from).collect();
    let (address, tcp) = match given.kept.take(wanted, false) {
        Some(kept) => kept,
        None => {
            let first = given.take(wanted, Kind::Tcp);
            let tcp =
                bind_group(first, wanted, tcp_slots(threads), Kind::Tcp).map_err(|error| ("TCP", error))?;
            (local(&tcp).map_err(|error| ("TCP", error))?, owned(tcp))
        }
    };
    let udp = match given.kept.take(address, true).filter(|_| http3) {
        Some((_, kept)) => kept,
        None if http3 => {
            let first = given.take(address, Kind::Udp);
            let udp = bind_group(first, address, udp_slots(threads), Kind::Udp);
            owned(udp.map_err(|error| ("UDP", error))?)
        }
        None => Vec::new(),
    };
    Ok(ListenerSockets { address, tcp, udp })
}

/// Binds the admin listener.
///
/// # Errors
/// As [`bind_listener`].
pub(crate) fn bind_admin(wanted: SocketAddr) -> Result<(SocketAddr, OwnedFd)> {
    let made = bind_one(wanted, Kind::Tcp, false, LOCAL_BACKLOG);
    let socket = made.map_err(|error| explain(wanted, "TCP", error))?;
    let address = socket.local_addr()?.as_socket().context("an internet socket has an internet address")?;
    Ok((address, socket.into()))
}

/// Binds the command socket with mode 0600, in the place of an earlier one.
///
/// The caller holds the data folder's lock, so whoever answers at an earlier one is an edge that drains
/// after its supervisor died. The folder is the node's own (0700): nobody can connect before the mode is
/// set.
///
/// # Errors
/// When something other than a socket is at that path, or the path is longer than the 107 bytes of unix(7).
pub(crate) fn bind_command(path: &Path) -> Result<OwnedFd> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            bail!("{} is in the way: it is not a socket; move it away", path.display())
        }
        Ok(_) => fs::remove_file(path)
            .with_context(|| format!("the old command socket {} cannot be removed", path.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{} cannot be looked at", path.display())),
    }
    let listener = UnixListener::bind(path).with_context(|| {
        let path = path.display();
        format!("the command socket {path} cannot be made: if the path is over 107 bytes, shorten data_dir")
    })?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("the mode of {} cannot be set", path.display()))?;
    Ok(listener.into())
}

/// Sockets that a service manager has (sd_listen_fds(3)): they are there before the node and outlive it.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Those that it made.
    made: Vec<(SocketAddr, Kind, Socket)>,
    /// Those that it keeps from an earlier run of this node.
    kept: Kept,
}

impl Given {
    /// Takes what the environment tells of, for this process alone. What is no internet socket is left alone.
    pub(crate) fn from_environment() -> Self {
        let names = given_names();
        let mut passed = ListenFd::from_env();
        let (mut made, mut kept) = (Vec::new(), Vec::new());
        for index in 0..passed.len() {
            let tcp = passed.take_tcp_listener(index).ok().flatten().map(|it| (Kind::Tcp, Socket::from(it)));
            let found = tcp.or_else(|| {
                passed.take_udp_socket(index).ok().flatten().map(|it| (Kind::Udp, Socket::from(it)))
            });
            let Some((kind, socket)) = found else { continue };
            let address = socket.local_addr().ok().and_then(|address| address.as_socket());
            let Some(address) = address.filter(|_| socket.set_nonblocking(true).is_ok()) else { continue };
            let is_its = |place: &Place| (place.address, place.is_udp) == (address, kind == Kind::Udp);
            match names.get(index).and_then(|name| Place::of(name)).filter(is_its) {
                Some(place) => kept.push((place, socket.into())),
                None => made.push((address, kind, socket)),
            }
        }
        Self { made, kept: Kept::new(kept) }
    }

    /// Those of an earlier run of this node.
    pub(crate) fn kept(&mut self) -> &mut Kept {
        &mut self.kept
    }

    fn take(&mut self, wanted: SocketAddr, kind: Kind) -> Option<Socket> {
        let place = self.made.iter().position(|(address, is, _)| *address == wanted && *is == kind)?;
        Some(self.made.swap_remove(place).2)
    }

    /// Addresses that none of these listeners has.
    pub(crate) fn left(&self, listeners: &[ListenerSockets]) -> Vec<SocketAddr> {
        let is_served = |address: &SocketAddr| listeners.iter().any(|it| it.address == *address);
        self.made.iter().map(|(address, _, _)| *address).filter(|address| !is_served(address)).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// Binds a group of sockets to one address.
///
/// The first, unless it is given, is bound without `SO_REUSEPORT` and gets it afterwards: so an address that
/// another process holds is an error even when that process is a second Rempart of the same user, which would
/// otherwise silently share the visitors.
fn bind_group(
    given: Option<Socket>,
    wanted: SocketAddr,
    count: usize,
    kind: Kind,
) -> io::Result<Vec<Socket>> {
    let first = match given {
        Some(first) => first,
        None => bind_one(wanted, kind, false, BACKLOG)?,
    };
    first.set_reuse_port(true)?;
    let address = local(std::slice::from_ref(&first))?;
    let mut group = vec![first];
    while group.len() < count {
        group.push(bind_one(address, kind, true, BACKLOG)?);
    }
    Ok(group)
}

fn bind_one(address: SocketAddr, kind: Kind, shared: bool, backlog: i32) -> io::Result<Socket> {
    let (flavour, protocol) = match kind {
        Kind::Tcp => (Type::STREAM, Protocol::TCP),
        Kind::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), flavour, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Kind::Tcp {
        // Connections of an earlier run that are still closing must not keep the port from us.
        socket.set_reuse_address(true)?;
    } else {
        widen(&socket)?;
    }
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    if kind == Kind::Tcp {
        socket.listen(backlog)?;
    }
    Ok(socket)
}

/// Widens a UDP socket's buffers, past the system's limit where root may.
fn widen(socket: &Socket) -> io::Result<()> {
    if setsockopt(socket, sockopt::RcvBufForce, &UDP_BUFFER_BYTES).is_err() {
        socket.set_recv_buffer_size(UDP_BUFFER_BYTES)?;
    }
    if setsockopt(socket, sockopt::SndBufForce, &UDP_BUFFER_BYTES).is_err() {
        socket.set_send_buffer_size(UDP_BUFFER_BYTES)?;
    }
    Ok(())
}

fn local(group: &[Socket]) -> io::Result<SocketAddr> {
    let first = group.first().ok_or_else(|| io::Error::from(ErrorKind::AddrNotAvailable))?;
    first.local_addr()?.as_socket().ok_or_else(|| io::Error::from(ErrorKind::AddrNotAvailable))
}

/// Says why an address cannot be bound, and what to do.
fn explain(address: SocketAddr, over: &str, error: io::Error) -> anyhow::Error {
    let what = format!("{address} cannot be bound over {over}");
    let remedy = match error.kind() {
        ErrorKind::AddrInUse if over == "TCP" && answers(address) => {
            "another program serves there: stop it, or choose another port (`ss -ltnp` names it)"
        }
        ErrorKind::AddrInUse => {
            "another program holds the port: stop it, or choose another one (`ss -lntup` names it)"
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need root or CAP_NET_BIND_SERVICE; Rempart gives root up after binding"
        }
        ErrorKind::AddrNotAvailable => "no interface of this machine has the address: see `ip address`",
        _ => "see the cause",
    };
    anyhow!(error).context(format!("{what}: {remedy}"))
}

/// Says whether somebody accepts connections at an address. On loopback only, where the answer comes at once.
fn answers(address: SocketAddr) -> bool {
    address.ip().is_loopback() && TcpStream::connect(address).is_ok()
}

/// Raises the limit on open files to what the system allows this process; returns the limit in force.
pub(crate) fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // A refusal leaves the limit as it was; the node then serves fewer connections.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    getrlimit(Resource::Nofile).current
}

/// Descriptors that a process has room for from its beginning on: 512 KiB of the kernel's memory.
const ROOM_MAX: u64 = 65_536;

/// Has the kernel make room for so many descriptors, [`ROOM_MAX`] at most. It doubles the room each time when
/// there is none left, and waits for all cores of the machine before it uses the new one: 10 to 20 ms for
/// which a process of several threads accepts nobody.
pub(crate) fn make_room_for_descriptors(limit: Option<u64>) {
    let last = limit.unwrap_or(ROOM_MAX).min(ROOM_MAX).saturating_sub(1);
    let Ok(any) = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC) else { return };
    // A refusal leaves everything as it was, and connections are accepted with the pauses.
    let _room = rustix::io::fcntl_dupfd_cloexec(any, i32::try_from(last).unwrap_or(i32::MAX));
}

#[cfg(test)]
mod tests;
