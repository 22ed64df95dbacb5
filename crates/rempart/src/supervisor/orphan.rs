//! An edge whose supervisor died, and how the next supervisor takes its sockets over.
//!
//! The edge serves on; at the next start it hands over every socket through its command socket, so that no
//! visitor is refused in between. It drains when an edge of the new supervisor serves. Called by [`super`].

use std::io::{ErrorKind, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::strays::Elder;
use crate::control::{Begin, Beside, DESCRIPTORS_PER_PACKET};
use crate::messages::{Answer, HandOver, Request};
use crate::sockets::{ListenerSockets, tcp_slots, udp_slots};

/// How long the edge may take to answer: it does not wait for anything to do so.
const WAIT: Duration = Duration::from_secs(5);

/// Bytes of the answer's line: that of 64 listeners has about 8,000.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Sockets of an edge that serves without a supervisor.
pub(super) struct Orphan {
    process: OwnedFd,
    pub(super) threads: usize,
    pub(super) udp_generation: usize,
    pub(super) restarts: u64,
    pub(super) listeners: Vec<ListenerSockets>,
    pub(super) admin: Option<(SocketAddr, OwnedFd)>,
    /// Who else has UDP sockets; none of an orphan that does not know.
    pub(super) beside: Option<Vec<Beside>>,
    /// How to begin with what it serves, if edges before it died of what is newer.
    pub(super) walked_back: Option<Begin>,
    pid: Pid,
}

impl Orphan {
    /// Asks whoever answers at the command socket for the sockets; none when nobody answers.
    ///
    /// # Errors
    /// When somebody answers and does not hand over what belongs to it.
    pub(super) fn find(command_socket: &Path) -> Result<Option<Self>> {
        let Ok(mut connection) = UnixStream::connect(command_socket) else { return Ok(None) };
        connection.set_read_timeout(Some(WAIT))?;
        connection.set_write_timeout(Some(WAIT))?;
        let mut line = serde_json::to_vec(&Request::HandOver {})?;
        line.push(b'\n');
        let received =
            connection.write_all(&line).map_err(anyhow::Error::from).and_then(|()| receive(&connection));
        let (answer, descriptors) = match received {
            Ok(received) => received,
            // It was dying when it was asked: what it had is free, or is with the service manager.
            Err(error) if has_ended(&error) => return Ok(None),
            Err(error) => {
                return Err(error.context("an edge of an earlier run does not hand its sockets over"));
            }
        };
        let handed = answer.hand_over.with_context(|| {
            format!("an edge of an earlier run refuses: {}", answer.error.unwrap_or_default())
        })?;
        let pid = i32::try_from(handed.pid).ok().and_then(Pid::from_raw).context("it has a process id")?;
        let process = pidfd_open(pid, PidfdFlags::empty()).context("it cannot be watched (pidfd_open)")?;
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().context("fewer sockets came than it announced");
        let admin = match handed.admin {
            Some(address) => Some((address, next()?)),
            None => None,
        };
        let mut listeners = Vec::new();
        for plan in &handed.listeners {
            ensure!(
                plan.tcp == tcp_slots(handed.threads) && [0, udp_slots(handed.threads)].contains(&plan.udp),
                "the edge of an earlier run counts its sockets otherwise: stop it (SIGTERM to process {})",
                handed.pid
            );
            let mut take = |count: usize| (0..count).map(|_| next()).collect::<Result<Vec<OwnedFd>>>();
            let (tcp, udp) = (take(plan.tcp)?, take(plan.udp)?);
            listeners.push(ListenerSockets { address: plan.address, tcp, udp });
        }
        Ok(Some(Self {
            process,
            threads: handed.threads,
            udp_generation: handed.udp_generation,
            restarts: handed.restarts,
            listeners,
            admin,
            beside: handed.beside,
            walked_back: handed.walked_back.filter(|begin| begin.is_walked_back()),
            pid,
        }))
    }

    /// Takes the sockets of a listener of the node file, if there are some for it.
    pub(super) fn take(&mut self, wanted: SocketAddr, http3: bool) -> Option<ListenerSockets> {
        let is_it = |found: &ListenerSockets| {
            (found.address == wanted || wanted.port() == 0 && found.address.ip() == wanted.ip())
                && found.udp.is_empty() != http3
        };
        let place = self.listeners.iter().position(is_it)?;
        Some(self.listeners.remove(place))
    }

    /// Takes the admin listener, if it is this one.
    pub(super) fn take_admin(&mut self, wanted: SocketAddr) -> Option<(SocketAddr, OwnedFd)> {
        let is_it = |(found, _): &mut (SocketAddr, OwnedFd)| {
            *found == wanted || wanted.port() == 0 && found.ip() == wanted.ip()
        };
        self.admin.take_if(is_it)
    }

    /// Every edge of earlier supervisors, itself included; none when it does not know.
    pub(super) fn elders(&self) -> Option<Vec<Elder>> {
        let own = Beside {
            pid: self.pid.as_raw_nonzero().get().unsigned_abs(),
            udp_generation: Some(self.udp_generation),
        };
        let all = self.beside.as_ref()?.iter().copied().chain([own]);
        // One that is gone has nothing any more.
        Some(all.filter_map(Elder::known).collect())
    }

    /// Why another edge serves in its place, for a person.
    pub(super) fn taken_over_why(&self) -> String {
        let begins = match self.walked_back {
            Some(_) => "; begins with what that one served, since edges died of what is newer",
            None => "",
        };
        format!("took over from process {}, whose supervisor had died{begins}", self.pid)
    }

    /// Lets the edge drain: another serves.
    pub(super) fn dismiss(&self) {
        // It fails only when the edge is gone already.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
    }
}

/// Whether the other side was gone before it had answered.
fn has_ended(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let is_over =
        |kind| matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof);
    io.is_some_and(is_over) || error.downcast_ref() == Some(&Errno::CONNRESET)
}

/// Receives a line and the descriptors behind it. A packet with descriptors is never read together with the
/// one before (unix(7)).
fn receive(connection: &UnixStream) -> Result<(Answer, Vec<OwnedFd>)> {
    let (mut line, mut descriptors) = (Vec::new(), Vec::new());
    let mut answer: Option<Answer> = None;
    loop {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(connection, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        ensure!(!received.flags.contains(ReturnFlags::CTRUNC), "raise the limit on open files");
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if answer.is_none() {
            line.extend_from_slice(bytes.get(..received.bytes).unwrap_or_default());
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                answer = Some(serde_json::from_slice(line.get(..end).unwrap_or_default())?);
            }
            ensure!(line.len() <= LINE_BYTES_MAX, "its answer is too long");
        }
        let Some(given) = &answer else { continue };
        let expected = given.hand_over.as_ref().map_or(0, expected_descriptors);
        if descriptors.len() >= expected {
            return Ok((answer.take().context("an answer")?, descriptors));
        }
    }
}

fn expected_descriptors(handed: &HandOver) -> usize {
    let listeners: usize =
        handed.listeners.iter().map(|plan| plan.tcp.saturating_add(plan.udp)).fold(0, usize::saturating_add);
    listeners.saturating_add(usize::from(handed.admin.is_some()))
}
