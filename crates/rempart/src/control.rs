//! What supervisor and edge say to each other, and how descriptors travel with it.
//!
//! One Unix seqpacket socket per child, its end in the child being standard input: each packet is one JSON
//! message, with up to [`DESCRIPTORS_PER_PACKET`] descriptors beside it (`SCM_RIGHTS`, unix(7)). Both ends
//! are the same binary, so there is no version. It does not decide when anything is said. Called by
//! [`crate::supervisor`] and [`crate::edge_role`].

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of one message. The longest is the setup: 64 listeners of some 150 bytes and a path.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Descriptors in one packet; Linux takes at most 253 (`SCM_MAX_FD`).
pub(crate) const DESCRIPTORS_PER_PACKET: usize = 64;

/// Descriptors of a whole setup: 64 listeners with TCP and UDP sockets for 1,024 threads. It bounds what a
/// broken message can make the edge wait for.
const DESCRIPTORS_MAX: usize = 64 * 1024 * 2 + 16;

/// What one listener of the setup is; its descriptors follow in the order of the list, TCP before UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerPlan {
    /// Where in the node file's list of listeners it stands; its settings are read from there.
    pub(crate) index: usize,
    /// The address it is bound to, with the real port.
    pub(crate) address: SocketAddr,
    /// How many TCP listeners follow.
    pub(crate) tcp: usize,
    /// How many UDP sockets follow.
    pub(crate) udp: usize,
}

/// Everything the edge needs to start, but the files it reads by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The node file, as an absolute path. The edge reads it anew for each publish.
    pub(crate) config: PathBuf,
    /// Serving threads, at least 1.
    pub(crate) threads: usize,
    /// The listeners, in the order of their descriptors.
    pub(crate) listeners: Vec<ListenerPlan>,
    /// Address of the admin listener.
    pub(crate) admin: Option<SocketAddr>,
    /// The supervisor's process id.
    pub(crate) supervisor: u32,
    /// How often an edge was started before this one.
    pub(crate) restarts: u64,
}

impl Setup {
    /// Counts the descriptors that belong to it, in this order: a memory file with the node file's bytes as
    /// the supervisor read them (the listeners belong to these), the command socket, the admin listener if
    /// there is one, the listeners.
    pub(crate) fn descriptors(&self) -> usize {
        let listeners: usize = self.listeners.iter().map(|plan| plan.tcp.saturating_add(plan.udp)).sum();
        listeners + usize::from(self.admin.is_some()) + 2
    }
}

/// What the supervisor tells the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum ToEdge {
    /// The first message.
    Setup(Setup),
    /// More descriptors of the setup; nothing but these.
    Descriptors,
    /// Publish the files anew.
    Reload,
    /// Reopen the access log's file.
    ReopenLogs,
    /// Accept nothing new, finish what is under way, end.
    Drain,
}

/// What the edge tells the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum FromEdge {
    /// Every listener is served by this snapshot.
    Ready {
        /// Number of the snapshot.
        number: u64,
        /// How many zones it has.
        zones: usize,
    },
    /// There is nothing to serve: neither the files nor a kept generation can be used, as said on stderr.
    Unusable,
}

/// One end of the socket between supervisor and edge.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Makes both ends; neither is inherited by a child unless it is given as its standard input.
    ///
    /// # Errors
    /// When the kernel refuses more descriptors.
    pub(crate) fn pair() -> Result<(Channel, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).context(
                "the kernel makes no socket pair for supervisor and edge: are descriptors used up?",
            )?;
        Ok((Channel(ours), theirs))
    }

    /// Takes standard input as the child's end.
    ///
    /// # Errors
    /// When standard input is closed.
    pub(crate) fn from_stdin() -> Result<Channel> {
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        Ok(Channel(input.context("this role is started by the supervisor, with a socket as standard input")?))
    }

    /// Sends one message and at most [`DESCRIPTORS_PER_PACKET`] descriptors. Never waits unless `wait`.
    ///
    /// # Errors
    /// When the other end is gone, when its queue is full and `wait` is false, or when the message is too
    /// long.
    pub(crate) fn send(
        &self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        wait: bool,
    ) -> Result<()> {
        let bytes = serde_json::to_vec(message).context("a message cannot be written as JSON")?;
        ensure!(bytes.len() <= MESSAGE_BYTES_MAX, "a message of {} bytes is too long", bytes.len());
        ensure!(descriptors.len() <= DESCRIPTORS_PER_PACKET, "too many descriptors for one packet");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ensure!(beside.push(SendAncillaryMessage::ScmRights(descriptors)), "descriptors do not fit");
        }
        let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
        rustix::io::retry_on_intr(|| sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut beside, flags))
            .context("the other process does not take messages")?;
        Ok(())
    }

    /// Waits for one message with its descriptors, all of them closed on exec; `None` when the other end is
    /// gone.
    ///
    /// # Errors
    /// When the packet is not such a message or was cut.
    pub(crate) fn receive<Message: DeserializeOwned>(&self) -> Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC)
        });
        let received = match received {
            Ok(received) => received,
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error).context("the other process's messages cannot be read"),
        };
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            bail!("a message was cut: too long, or the limit on open files is too low for its descriptors");
        }
        let text = bytes.get(..received.bytes).unwrap_or_default();
        let message = serde_json::from_slice(text).context("a packet is not a message of this binary")?;
        Ok(Some((message, descriptors)))
    }

    /// Sends the setup with all its descriptors, in as many packets as they need.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub(crate) fn send_setup(&self, setup: Setup, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        debug_assert_eq!(setup.descriptors(), descriptors.len());
        self.send(&ToEdge::Setup(setup), &[], true)?;
        for packet in descriptors.chunks(DESCRIPTORS_PER_PACKET) {
            self.send(&ToEdge::Descriptors, packet, true)?;
        }
        Ok(())
    }

    /// Receives the setup with all its descriptors.
    ///
    /// # Errors
    /// When the supervisor went away, or said something else first.
    pub(crate) fn receive_setup(&self) -> Result<(Setup, Vec<OwnedFd>)> {
        let Some((ToEdge::Setup(setup), mut descriptors)) = self.receive()? else {
            bail!("the first message is not the setup");
        };
        let expected = setup.descriptors();
        ensure!(expected <= DESCRIPTORS_MAX, "the setup announces {expected} descriptors");
        while descriptors.len() < expected {
            match self.receive()? {
                Some((ToEdge::Descriptors, more)) if !more.is_empty() => descriptors.extend(more),
                Some((other, _)) => bail!("{other:?} came before all descriptors of the setup"),
                None => bail!("the supervisor went away in the middle of the setup"),
            }
        }
        Ok((setup, descriptors))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn ends() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel(theirs))
    }

    fn setup(tcp: usize) -> Setup {
        let plan = |index| ListenerPlan { index, address: ([127, 0, 0, 1], 80).into(), tcp, udp: 1 };
        Setup {
            config: "/etc/rempart/rempart.toml".into(),
            threads: tcp,
            listeners: vec![plan(0), plan(1)],
            admin: Some(([127, 0, 0, 1], 9901).into()),
            supervisor: 7,
            restarts: 0,
        }
    }

    #[test]
    fn a_setup_arrives_with_more_descriptors_than_one_packet_takes_and_in_their_order() {
        let (supervisor, edge) = ends();
        let setup = setup(40);
        let count = setup.descriptors();
        assert!(count > DESCRIPTORS_PER_PACKET);
        let pairs: Vec<_> = (0..count).map(|_| UnixStream::pair().unwrap()).collect();
        let theirs: Vec<_> = pairs.iter().map(|pair| pair.1.as_fd()).collect();
        supervisor.send_setup(setup.clone(), &theirs).unwrap();
        let (received, descriptors) = edge.receive_setup().unwrap();
        assert_eq!((received, descriptors.len()), (setup, count));
        for (index, (descriptor, pair)) in descriptors.into_iter().zip(&pairs).enumerate() {
            (&pair.0).write_all(&[index as u8]).unwrap();
            let mut byte = [0];
            UnixStream::from(descriptor).read_exact(&mut byte).unwrap();
            assert_eq!(byte, [index as u8]);
        }
    }

    #[test]
    fn a_vanished_other_end_is_told_apart_from_a_message() {
        let (supervisor, edge) = ends();
        edge.send(&FromEdge::Ready { number: 3, zones: 1 }, &[], false).unwrap();
        drop(edge);
        let (message, _) = supervisor.receive::<FromEdge>().unwrap().unwrap();
        assert_eq!(message, FromEdge::Ready { number: 3, zones: 1 });
        assert!(supervisor.receive::<FromEdge>().unwrap().is_none());
        assert!(supervisor.send(&ToEdge::Drain, &[], false).is_err());
    }

    #[test]
    fn a_full_queue_does_not_hold_up_the_supervisor() {
        let (supervisor, _edge) = ends();
        let refused = (0..100_000).find(|_| supervisor.send(&ToEdge::Reload, &[], false).is_err());
        assert!(refused.is_some());
    }

    #[test]
    fn a_packet_that_is_no_message_is_an_error() {
        let (supervisor, edge) = ends();
        supervisor.send(&"nonsense", &[], false).unwrap();
        assert!(edge.receive::<ToEdge>().is_err());
    }
}
