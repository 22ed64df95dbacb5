//! The descriptors of a setup, each as what it is, and which of them a role serves.
//!
//! Called by [`super`]; their order is that of [`Setup::descriptors`].

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use edge::Ownerless;
use zone::limits::SPEC_BYTES_MAX;

use crate::configuration::{NodeFile, node_file};
use crate::control::{Channel, Role, Setup};
use crate::sockets::{tcp_slots, udp_slots};

/// The descriptors of the setup, each as what it is.
pub(super) struct Sockets {
    pub(super) node_file: NodeFile,
    pub(super) command: UnixListener,
    pub(super) black_box: OwnedFd,
    /// A candidate's channel to the edge that tries it.
    pub(super) tried_by: Option<Channel>,
    pub(super) admin: Option<TcpListener>,
    listeners: Vec<Slots>,
}

/// Every slot of one listener.
struct Slots {
    settings: zone::Listener,
    local: SocketAddr,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Sockets {
    /// Turns descriptors into sockets.
    ///
    /// # Errors
    /// When the setup announces others than it has.
    pub(super) fn sort(setup: &Setup, descriptors: Vec<OwnedFd>) -> Result<Sockets> {
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().context("the setup has fewer descriptors than it announced");
        let node_file = read_memory_file(&setup.config, next()?)?;
        let command = UnixListener::from(next()?);
        let black_box = next()?;
        let tried_by = (setup.role == Role::Candidate).then(&mut next).transpose()?.map(Channel::of);
        let admin = setup.admin.map(|_| next()).transpose()?.map(TcpListener::from);
        let mut listeners = Vec::new();
        for plan in &setup.listeners {
            let settings = node_file.node.listeners.get(plan.index).cloned();
            let settings = settings.context("the setup has a listener that the node file has not")?;
            let mut tcp = Vec::new();
            for _ in 0..plan.tcp {
                tcp.push(TcpListener::from(next()?));
            }
            let mut udp = Vec::new();
            for _ in 0..plan.udp {
                udp.push(UdpSocket::from(next()?));
            }
            listeners.push(Slots { settings, local: plan.address, tcp, udp });
        }
        Ok(Sockets { node_file, command, black_box, tried_by, admin, listeners })
    }

    /// Duplicates every socket, in the order of the setup from the admin listener on.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn duplicates(&self) -> Result<Vec<OwnedFd>> {
        let mut all = Vec::new();
        let what = "a socket cannot be duplicated: raise the limit on open files";
        if let Some(admin) = &self.admin {
            all.push(OwnedFd::from(admin.try_clone().context(what)?));
        }
        for slots in &self.listeners {
            for tcp in &slots.tcp {
                all.push(OwnedFd::from(tcp.try_clone().context(what)?));
            }
            for udp in &slots.udp {
                all.push(OwnedFd::from(udp.try_clone().context(what)?));
            }
        }
        Ok(all)
    }

    /// Takes what a serving edge serves: the threads' TCP slots, one generation of UDP slots, the candidate's
    /// TCP slot for what is left there, and the other UDP slots for what strays there.
    pub(super) fn take_serving(&mut self, threads: usize, udp_generation: usize) -> Vec<edge::ListenerSetup> {
        let first = udp_generation.min(1) * threads;
        let take = |slots: Slots| {
            let mut tcp = slots.tcp;
            let candidate = (tcp.len() == tcp_slots(threads)).then(|| tcp.pop()).flatten();
            let (mut udp, mut foreign) = (Vec::new(), Vec::new());
            for (place, socket) in slots.udp.into_iter().enumerate() {
                match place {
                    own if (first..first + threads).contains(&own) => udp.push(socket),
                    last if last == 2 * threads => {
                        foreign.push((Ownerless::Candidate, slot(last), socket));
                    }
                    other => foreign.push((Ownerless::Generation, slot(other), socket)),
                }
            }
            edge::ListenerSetup {
                settings: slots.settings,
                local: slots.local,
                tcp,
                udp,
                udp_slots: (slot(first), slot(udp_slots(threads))),
                candidate,
                foreign,
            }
        };
        std::mem::take(&mut self.listeners).into_iter().map(take).collect()
    }

    /// Takes what a candidate serves: the last slot of each group; over UDP only if nobody else has it.
    pub(super) fn take_candidates(&mut self, threads: usize, has_udp: bool) -> Vec<edge::ListenerSetup> {
        let take = |mut slots: Slots| edge::ListenerSetup {
            settings: slots.settings,
            local: slots.local,
            tcp: slots.tcp.pop().into_iter().collect(),
            udp: slots.udp.pop().filter(|_| has_udp).into_iter().collect(),
            udp_slots: (slot(udp_slots(threads) - 1), slot(udp_slots(threads))),
            candidate: None,
            foreign: Vec::new(),
        };
        std::mem::take(&mut self.listeners).into_iter().map(take).collect()
    }
}

/// A slot's number; 256 threads have 513.
fn slot(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Reads a node file out of a memory file, as the file of that path.
///
/// # Errors
/// When it cannot be read, or has problems.
pub(crate) fn read_memory_file(path: &Path, descriptor: OwnedFd) -> Result<NodeFile> {
    let mut file = File::from(descriptor);
    let what = "the node file cannot be taken from the supervisor";
    file.seek(SeekFrom::Start(0)).context(what)?;
    let mut bytes = Vec::new();
    file.take(SPEC_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).context(what)?;
    node_file(path, bytes).map_err(|problems| anyhow::anyhow!("{what}: {}", problems.lines()))
}
