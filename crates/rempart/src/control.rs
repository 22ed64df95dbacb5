//! What supervisor and edge say to each other, and how descriptors travel with it.
//!
//! One Unix seqpacket socket per child, its end in the child being standard input: each packet is one JSON
//! message, with up to [`DESCRIPTORS_PER_PACKET`] descriptors beside it (`SCM_RIGHTS`, unix(7)). Both ends
//! are the same binary but around an upgrade, and for as long as a supervisor could not follow its edge to a
//! newer one: members are added, never renamed, and a message that is not known is passed over
//! ([`PassedOver`]). It does not decide when anything is said. Called by [`crate::supervisor`] and
//! [`crate::edge_role`].

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, SeekFrom, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt::Timeout,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use telemetry::events::{Events, Value};

use crate::changed::ChangedUrls;

/// Bytes of one message. The longest is the setup: 64 listeners of some 150 bytes and a path.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of what is beside a message: the stamps of 10,000 zones' files take some 3 MiB, as many problems
/// about the same.
const BESIDE_BYTES_MAX: u64 = zone::limits::BUNDLE_BYTES_MAX as u64;

/// Descriptors in one packet; Linux takes at most 253 (`SCM_MAX_FD`).
pub(crate) const DESCRIPTORS_PER_PACKET: usize = 64;

/// Descriptors of a whole setup: 64 listeners with TCP and two generations of UDP sockets for 1,024 threads.
/// It bounds what a broken message can make the edge wait for.
const DESCRIPTORS_MAX: usize = 64 * (1024 * 3 + 2) + 16;

/// What one listener of the setup is; its descriptors follow in the order of the list, TCP before UDP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerPlan {
    /// Where in the node file's list of listeners it stands; its settings are read from there.
    pub(crate) index: usize,
    /// The address it is bound to, with the real port.
    pub(crate) address: SocketAddr,
    /// How many TCP listeners follow: one a thread, and the candidate's.
    pub(crate) tcp: usize,
    /// Whether visitors begin with TLS.
    #[serde(default)]
    pub(crate) is_https: bool,
    /// Whether each connection begins with a PROXY protocol header.
    #[serde(default)]
    pub(crate) is_proxied: bool,
    /// How many UDP sockets follow: two generations of one a thread, and the candidate's; or none.
    pub(crate) udp: usize,
}

/// What an edge process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Serves as soon as it has compiled.
    Serving,
    /// Compiles and waits, to take over when the serving one dies.
    Spare,
    /// Compiles and waits, to take over from a serving one of an older binary, which then drains.
    Successor,
    /// Tries a change out: compiles it, decides on copied facts, serves a share of the visitors.
    Candidate,
    /// The last resort, while no edge can start: forwards connections by server name.
    Splice,
}

/// What an edge begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Begin {
    /// The files as they are, else what is kept.
    Files,
    /// What is kept: the last good generation, or the one so many places behind it.
    Kept {
        /// 0 for the last good one, 1 for the next to try, and so on.
        skip: usize,
    },
    /// The newest generation kept, which is what serves now.
    Newest,
}

impl Begin {
    /// Whether it is an older generation than the last good one: what a walk back over kept ones begins with.
    pub(crate) fn is_walked_back(self) -> bool {
        matches!(self, Self::Kept { skip } if skip > 0)
    }
}

/// A life after which what an edge serves is not what it dies of: twice the time after which the slowest
/// known consumer of a bad snapshot died of it (60 s).
pub(crate) const LONG_LIFE: Duration = Duration::from_secs(120);

/// An edge beside the one that serves, which has UDP sockets yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Its process id.
    pub(crate) pid: u32,
    /// Which generation's; none for those of candidates.
    pub(crate) udp_generation: Option<usize>,
}

/// What an edge has open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holds {
    /// Visitors' connections.
    pub(crate) connections: usize,
    /// Exchanges under way on these.
    pub(crate) exchanges: usize,
    /// Whether it reads its UDP sockets.
    pub(crate) quic: bool,
}

impl Holds {
    /// What a node has open by now.
    pub(crate) fn of(node: &edge::Node) -> Self {
        let edge::Open { connections, exchanges } = node.open();
        Self { connections, exchanges, quic: node.reads_quic() }
    }
}

/// A process of the node, as the supervisor knows it: for whoever asks what runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its process id.
    pub(crate) pid: u32,
    /// What it does, in a word: `supervisor`, `serving`, `starting`, `spare`, `candidate`, `successor`,
    /// `splice`, `draining`.
    pub(crate) does: String,
    /// The program's version; empty when it has not told.
    #[serde(default)]
    pub(crate) version: String,
    /// The number of the snapshot it serves or stands ready with; 0 when it has told none.
    #[serde(default)]
    pub(crate) snapshot: u64,
    /// Since how many milliseconds it does that; none where nobody knows.
    #[serde(default)]
    pub(crate) for_ms: Option<u64>,
    /// Why, for a person.
    #[serde(default)]
    pub(crate) why: String,
    /// Of one that drains: how many milliseconds it has left.
    #[serde(default)]
    pub(crate) left_ms: Option<u64>,
    /// Of one that drains: what it has told that it holds yet.
    #[serde(default)]
    pub(crate) holds: Option<Holds>,
}

/// A request that is not served any more, since it killed or hung the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadly {
    /// What tells it, in the black box and at the door.
    pub(crate) fingerprint: u64,
    /// For how many seconds it is refused yet; an older supervisor does not say.
    #[serde(default = "refused_s")]
    pub(crate) left_s: u64,
}

/// For how many seconds a request is refused: long enough to find and mend what it met.
pub(crate) const fn refused_s() -> u64 {
    3600
}

/// A request that an edge died of, or may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Killed {
    /// The request.
    pub(crate) fingerprint: u64,
    /// The first bytes of its zone's id; zeros when no zone is known.
    pub(crate) zone: [u8; 8],
    /// The phase it was in.
    pub(crate) phase: String,
    /// The rule; 0 for none.
    pub(crate) rule: u32,
    /// Whether it is the one, and not only among those that were being worked on.
    pub(crate) is_certain: bool,
    /// How often it killed in the last hour.
    pub(crate) kills: u32,
    /// Whether it is refused from now on.
    pub(crate) is_refused: bool,
    /// Whether its zone is to be set back to an earlier spec.
    pub(crate) sets_back: bool,
}

/// Everything an edge needs to start, but the files it reads by itself.
///
/// At an upgrade an older supervisor says this to a newer edge: members are added with a default, never
/// renamed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// The node file, as an absolute path. The edge reads it anew for each publish.
    pub(crate) config: PathBuf,
    /// What the process is for.
    pub(crate) role: Role,
    /// What it begins with.
    pub(crate) begin: Begin,
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
    /// Which generation of UDP sockets it serves, 0 or 1. Decided anew by [`ToEdge::Serve`].
    pub(crate) udp_generation: usize,
    /// Requests to refuse at the door.
    #[serde(default)]
    pub(crate) deadly: Vec<Deadly>,
    /// Whether the edge serves on when its supervisor is gone. Not in a demo, whose site goes with the
    /// supervisor.
    #[serde(default)]
    pub(crate) serves_on: bool,
    /// For the splice: the table of whom to pass through.
    #[serde(default)]
    pub(crate) splice_table: Option<PathBuf>,
    /// Kept generations that an edge before this one told as unusable.
    #[serde(default)]
    pub(crate) unusable: Vec<u64>,
    /// For a candidate: whether its UDP sockets are its own. One before it that still drains may have them.
    #[serde(default = "yes")]
    pub(crate) has_udp: bool,
    /// For an edge that is to serve: whether another may have its UDP sockets yet, which was told to let go.
    /// Decided anew by [`ToEdge::Serve`].
    #[serde(default)]
    pub(crate) is_quic_taken: bool,
}

fn yes() -> bool {
    true
}

/// Descriptors before the listeners', always there: the node file, the command socket, the black box.
const DESCRIPTORS_FIRST: usize = 3;

impl Setup {
    /// Counts the descriptors that belong to it, in this order: a memory file with the node file's bytes as
    /// the supervisor read them (the listeners belong to these), the command socket, the black box, for a
    /// candidate the channel to the edge that tries it, the admin listener if there is one, the listeners.
    pub(crate) fn descriptors(&self) -> usize {
        let listeners: usize = self.listeners.iter().map(|plan| plan.tcp.saturating_add(plan.udp)).sum();
        let tried_by = usize::from(self.role == Role::Candidate);
        listeners + usize::from(self.admin.is_some()) + tried_by + DESCRIPTORS_FIRST
    }
}

/// What the supervisor tells an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum ToEdge {
    /// The first message.
    Setup(Setup),
    /// More descriptors of the setup; nothing but these.
    Descriptors,
    /// To a spare or successor: serve.
    Serve {
        /// What to serve, if that is not what it stands ready with.
        begin: Begin,
        /// How often an edge was started or took over before.
        restarts: u64,
        /// Which generation of UDP sockets to serve.
        udp_generation: usize,
        /// Requests to refuse at the door.
        deadly: Vec<Deadly>,
        /// Whether another may have these UDP sockets yet.
        #[serde(default)]
        is_quic_taken: bool,
    },
    /// To a spare: what is kept has changed; compile it.
    Refresh,
    /// To a serving edge: its candidate was started; one descriptor comes with it, the channel to it.
    Candidate {
        /// Its process id.
        pid: u32,
    },
    /// To a serving edge: the candidate ended, or could not be started.
    CandidateEnded {
        /// How, for a person.
        how: String,
        /// What it worked on when it ended, if the black box tells.
        #[serde(default)]
        culprit: Option<String>,
    },
    /// To a serving edge: a successor serves beside it, and takes orders in its place.
    UpgradeProves,
    /// To a serving edge: the upgrade it asked for did not come about; it serves on.
    UpgradeFailed {
        /// Why.
        why: String,
    },
    /// To a serving edge: refuse these at the door from now on.
    Refuse {
        /// All of them.
        deadly: Vec<Deadly>,
    },
    /// To a serving edge: what the one before it died of.
    Killed {
        /// The culprit, or the suspects.
        killed: Vec<Killed>,
    },
    /// To an edge that serves beside another: URLs that unsafe requests to that one have changed.
    Changed {
        /// Which.
        changed: ChangedUrls,
    },
    /// Publish the files anew.
    Reload,
    /// Reopen the access log's file.
    ReopenLogs,
    /// Exactly these UDP sockets are nobody's: what comes there strays.
    Strays {
        /// Those of the other generation.
        generation: bool,
        /// Those of candidates.
        candidate: bool,
        /// Who has the others: a supervisor that takes over after the death of this one learns it from there.
        #[serde(default)]
        others: Vec<Beside>,
    },
    /// To a serving edge: every process of the node, for whoever asks what runs.
    Processes {
        /// The supervisor first.
        processes: Vec<Process>,
    },
    /// To an edge that drains: another is to have its UDP sockets. Answered by [`FromEdge::QuicLetGo`].
    LetGoOfQuic {
        /// How long exchanges under way may take; what is open then is closed.
        within_ms: u64,
    },
    /// Accept nothing new, finish what is under way, end.
    Drain {
        /// How long that may take; the node's `drain_ms` if it is not said.
        #[serde(default)]
        within_ms: Option<u64>,
    },
}

/// What an edge tells the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub(crate) enum FromEdge {
    /// Every listener is served by this snapshot.
    Ready {
        /// Number of the snapshot.
        number: u64,
        /// How many zones it has.
        zones: usize,
        /// Kept generations that were told as unusable, by number.
        #[serde(default)]
        unusable: Vec<u64>,
        /// The program's version.
        #[serde(default)]
        version: String,
    },
    /// A spare or successor has compiled and waits.
    Standing {
        /// Number of the snapshot.
        number: u64,
        /// As of [`FromEdge::Ready`].
        #[serde(default)]
        unusable: Vec<u64>,
        /// The program's version.
        #[serde(default)]
        version: String,
    },
    /// It has acted on what edges before it died of.
    Heard {
        /// Which: the request, and how often it had killed by then.
        killed: Vec<(u64, u32)>,
    },
    /// Of one that drains: what it holds yet. Said at most once a second, and only when it has changed.
    Holds {
        /// What.
        holds: Holds,
    },
    /// Unsafe requests have changed these URLs; whoever serves beside it has to hear of it.
    Changed {
        /// Which.
        changed: ChangedUrls,
    },
    /// The UDP sockets are not read any more.
    QuicLetGo,
    /// There is nothing to serve: neither the files nor a kept generation can be used, as said on stderr.
    Unusable,
    /// Start a candidate, and give me the channel to it.
    StartCandidate,
    /// Send this share of the visitors to the candidate.
    Steer {
        /// In percent, 0 to 50.
        percent: u8,
    },
    /// End the candidate: it drains; killed when it takes too long.
    EndCandidate,
    /// What is kept has changed.
    Published {
        /// The number of what serves.
        number: u64,
        /// Whether that is the last good generation now.
        is_good: bool,
    },
    /// Start the binary that is on disk now in the place of this one.
    Upgrade,
    /// A serving thread does not come back from one poll: replace this process.
    Stuck {
        /// The request it works on; none outside of any.
        fingerprint: Option<u64>,
        /// The first bytes of its zone's id.
        zone: [u8; 8],
    },
}

/// A whole packet that is a message of another version.
#[derive(Debug)]
pub(crate) struct Unknown {
    /// What it calls itself.
    message: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this binary does not know the message `{}`", self.message)
    }
}

impl std::error::Error for Unknown {}

/// The names under which messages of this program say what they are.
const TAGS: [&str; 3] = ["message", "ask", "answer"];

/// Characters of an unknown message's name that are told.
const NAME_CHARS_MAX: usize = 64;

impl Unknown {
    /// Of a packet that could not be read as a message; none if it is nothing of this program's.
    fn of(packet: &[u8]) -> Option<Self> {
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(packet).ok()?;
        let name = TAGS.iter().find_map(|tag| members.get(*tag)?.as_str())?;
        Some(Self { message: name.chars().take(NAME_CHARS_MAX).collect() })
    }
}

/// Unknown messages that are told; of further ones nothing is said.
const PASSED_OVER_MAX: usize = 16;

/// Messages that were passed over, each told once: whoever said them is of another version, and does without.
#[derive(Debug, Default)]
pub(crate) struct PassedOver(BTreeSet<String>);

impl PassedOver {
    /// Passes over a message that is not known.
    ///
    /// # Errors
    /// Every error but that one is given back.
    pub(crate) fn pass_over(&mut self, error: anyhow::Error, events: &Events) -> Result<()> {
        let Unknown { message } = error.downcast::<Unknown>()?;
        if self.0.len() < PASSED_OVER_MAX && self.0.insert(message.clone()) {
            let remedy = "a process of another version runs beside this one: `rempart upgrade`, or restart \
                          the node if that does not help";
            let fields: [(&'static str, Value<'_>); 2] =
                [("message", (&message).into()), ("remedy", remedy.into())];
            events.warn("message_unknown", &fields);
        }
        Ok(())
    }
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

    /// Takes a descriptor that another process made for this.
    pub(crate) fn of(descriptor: OwnedFd) -> Channel {
        Channel(descriptor)
    }

    /// Another descriptor of the same end.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(crate) fn duplicate(&self) -> Result<Channel> {
        Ok(Channel(self.0.try_clone().context("descriptors are used up")?))
    }

    /// Gives the descriptor away, to hand it to another process.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Bounds how long a send that waits may wait, so that a child which does not read holds nobody up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn bound_sends(&self, wait: Duration) -> Result<()> {
        rustix::net::sockopt::set_socket_timeout(&self.0, Timeout::Send, Some(wait))
            .context("the socket between two processes takes no time-out")
    }

    /// Takes standard input as the child's end.
    ///
    /// # Errors
    /// When standard input is closed.
    pub(crate) fn from_stdin() -> Result<Channel> {
        let input = io::stdin().as_fd().try_clone_to_owned();
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

    /// Sends a message with something larger beside it, as JSON in a file without a name.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub(crate) fn send_with(&self, message: &impl Serialize, beside: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(beside).context("a message cannot be written as JSON")?;
        self.send(message, &[memory_file(&bytes)?.as_fd()], true)
    }

    /// As [`Channel::send_with`], with bytes as they are in a second file.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub(crate) fn send_with_bytes(
        &self,
        message: &impl Serialize,
        beside: &impl Serialize,
        bytes: &[u8],
    ) -> Result<()> {
        let text = serde_json::to_vec(beside).context("a message cannot be written as JSON")?;
        self.send(message, &[memory_file(&text)?.as_fd(), memory_file(bytes)?.as_fd()], true)
    }

    /// Waits until there is a message or the other end is gone; false when it took too long.
    pub(crate) fn wait(&self, wait: Duration) -> bool {
        let wait = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        poll(&mut [PollFd::new(self, PollFlags::IN)], Some(&wait)).unwrap_or(0) > 0
    }

    /// Waits for one message with its descriptors, all of them closed on exec; `None` when the other end is
    /// gone.
    ///
    /// # Errors
    /// [`Unknown`] when the packet is a message of another version: those behind it can be read. Others when
    /// it is nothing of the kind or was cut.
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
        match serde_json::from_slice(text) {
            Ok(message) => Ok(Some((message, descriptors))),
            Err(error) => Err(match Unknown::of(text) {
                Some(unknown) => unknown.into(),
                None => anyhow::Error::new(error).context("a packet is not a message of this binary"),
            }),
        }
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

/// Reads what [`Channel::send_with`] put beside a message.
///
/// # Errors
/// When nothing is beside it, or something else.
pub(crate) fn beside<T: DeserializeOwned>(descriptors: Vec<OwnedFd>) -> Result<T> {
    let descriptor = descriptors.into_iter().next().context("nothing is beside the message")?;
    let bytes = read_whole(descriptor)?;
    serde_json::from_slice(&bytes).context("what is beside a message is not what this binary writes")
}

/// As [`beside`], with the bytes of the second file.
///
/// # Errors
/// As [`beside`].
pub(crate) fn beside_with_bytes<T: DeserializeOwned>(descriptors: Vec<OwnedFd>) -> Result<(T, Vec<u8>)> {
    let mut descriptors = descriptors;
    let bytes = match descriptors.len() {
        2 => descriptors.pop().map(read_whole).transpose()?.unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok((beside(descriptors)?, bytes))
}

fn read_whole(descriptor: OwnedFd) -> Result<Vec<u8>> {
    let mut file = File::from(descriptor);
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(BESIDE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= BESIDE_BYTES_MAX, "what is beside the message is too large");
    Ok(bytes)
}

/// Puts bytes into a file without a name, to hand them to another process.
///
/// # Errors
/// When memory or descriptors are used up.
pub(crate) fn memory_file(bytes: &[u8]) -> Result<File> {
    let made = memfd_create("rempart", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let mut file = made.map(File::from).context("no memory file can be made for another process")?;
    file.write_all(bytes).context("bytes cannot be copied for another process")?;
    Ok(file)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
