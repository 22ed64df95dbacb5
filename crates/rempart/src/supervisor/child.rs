//! One child of the supervisor: an edge in one of its roles, told apart from its process.
//!
//! It starts, watches, tells and kills; what a death means is [`super`]'s question. A child may come from
//! before an exec of the supervisor, so it is known by its process id and by descriptors, not by a handle of
//! the standard library.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use serde::{Deserialize, Serialize};

use crate::control::{Channel, FromEdge, Holds, Role, ToEdge, Unknown};
use crate::flags::OF_SERVICE_MANAGER;

/// `PIDFD_THREAD` of linux/pidfd.h (Linux 6.9): the descriptor of one thread, readable as soon as that is
/// gone. The process's own becomes readable only after its memory is torn down, which takes 120 ms at 1.5 GB.
const PIDFD_THREAD: u32 = rustix::fs::OFlags::EXCL.bits();

/// How long a child may leave a message unread before it is given up: it reads its setup first of all.
const SEND_WAIT: Duration = Duration::from_secs(5);

/// How far a child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// It compiles.
    Starting,
    /// It has compiled and waits.
    Standing,
    /// It was told to serve, or does.
    Serving,
    /// It drains.
    Leaving,
}

/// A child process.
#[derive(Debug)]
pub(super) struct Child {
    /// What it was started for; a spare or successor that takes over becomes serving.
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) pid: Pid,
    pub(super) channel: Channel,
    pub(super) is_channel_open: bool,
    /// When it was started or, if it took over, began to serve.
    pub(super) since: Instant,
    /// When it is killed if it is still there.
    pub(super) kill_at: Option<Instant>,
    pub(super) is_killed: bool,
    /// The UDP sockets that are its own.
    pub(super) udp_generation: usize,
    /// Whether it reads them: one that drains may have let them go.
    pub(super) has_quic: bool,
    /// Whether its end was acted on already, before the process could be waited for.
    pub(super) is_mourned: bool,
    /// Whether its end was acted on before anybody knew what of.
    pub(super) is_cause_open: bool,
    /// Its exit status, if that was asked for before its end was acted on.
    pub(super) ended_with: Option<ExitStatus>,
    /// The number of the snapshot it serves or stands ready with; 0 as long as it has told none.
    pub(super) number: u64,
    /// Of a candidate: whether visitors were sent to it.
    pub(super) had_visitors: bool,
    /// Its program's version; empty as long as a newer binary has not told it.
    pub(super) version: String,
    /// Why it does what it does, for a person.
    pub(super) why: String,
    /// When it was told to end; when it was started, before that.
    pub(super) left_at: Instant,
    /// What it has told that it has open, of one that drains.
    pub(super) holds: Option<Holds>,
    /// What its threads work on; none of a child that came over without one.
    pub(super) black_box: Option<OwnedFd>,
    process: OwnedFd,
    first_thread: Option<OwnedFd>,
}

impl Child {
    /// Starts the binary at `path` with an end of a channel as standard input.
    ///
    /// # Errors
    /// When it cannot be started or watched.
    pub(super) fn start(
        path: &Path,
        role: Role,
        udp_generation: usize,
        threads: usize,
        now: Instant,
    ) -> Result<Self> {
        let black_box =
            blackbox::create(edge::slots_for(threads)).context("no memory can be made for a black box")?;
        let (channel, theirs) = Channel::pair()?;
        channel.bound_sends(SEND_WAIT)?;
        let name = match role {
            Role::Serving => "rempart-edge",
            Role::Spare => "rempart-spare",
            Role::Successor => "rempart-successor",
            Role::Candidate => "rempart-candidate",
            Role::Splice => "rempart-splice",
        };
        let entry = if role == Role::Splice { "splice-role" } else { "edge-role" };
        let mut command = Command::new(path);
        command.arg0(name).arg(entry).stdin(Stdio::from(theirs));
        for variable in OF_SERVICE_MANAGER {
            command.env_remove(variable);
        }
        let child = command.spawn().with_context(|| {
            format!("{} cannot be started: is it still readable and executable?", path.display())
        })?;
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has a process id")?;
        let mut child = Self::known(role, State::Starting, pid, channel, udp_generation, now)?;
        child.black_box = Some(black_box);
        Ok(child)
    }

    /// Takes over a child that runs.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn known(
        role: Role,
        state: State,
        pid: Pid,
        channel: Channel,
        udp_generation: usize,
        since: Instant,
    ) -> Result<Self> {
        let process =
            pidfd_open(pid, PidfdFlags::empty()).context("a child cannot be watched (pidfd_open)")?;
        // Older kernels do not have it; then a death is noticed a little later.
        let first_thread = pidfd_open(pid, PidfdFlags::from_bits_retain(PIDFD_THREAD)).ok();
        Ok(Self {
            role,
            state,
            pid,
            channel,
            is_channel_open: true,
            since,
            kill_at: None,
            is_killed: false,
            udp_generation,
            has_quic: true,
            is_mourned: false,
            is_cause_open: false,
            ended_with: None,
            number: 0,
            had_visitors: false,
            version: String::new(),
            why: String::new(),
            left_at: since,
            holds: None,
            black_box: None,
            process,
            first_thread,
        })
    }

    /// Notes that it was told to end, and until when it has time.
    pub(super) fn leave(&mut self, why: impl Into<String>, now: Instant, kill_at: Instant) {
        if self.state != State::Leaving {
            (self.left_at, self.why) = (now, why.into());
        }
        (self.state, self.kill_at) = (State::Leaving, Some(kill_at));
    }

    /// Adds what tells of its messages and of its end to a list to poll.
    pub(super) fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        watched.push(PollFd::new(&self.process, PollFlags::IN));
        if let Some(thread) = self.first_thread.as_ref().filter(|_| !self.is_mourned) {
            watched.push(PollFd::new(thread, PollFlags::IN));
        }
        if self.is_channel_open {
            watched.push(PollFd::new(&self.channel, PollFlags::IN));
        }
    }

    /// Whether its first thread is gone: it dies, though its process may still be there.
    pub(super) fn is_dying(&self) -> bool {
        self.first_thread.as_ref().is_some_and(is_readable)
    }

    /// Its exit status, once it can be waited for; the outer one is none while it lives.
    pub(super) fn ended(&self) -> Option<Option<ExitStatus>> {
        if let Some(status) = self.ended_with {
            return Some(Some(status));
        }
        match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(None) => None,
            Ok(Some((_, status))) => Some(Some(ExitStatus::from_raw(status.as_raw()))),
            // Somebody else waited for it, or it was never ours: its descriptor still tells.
            Err(_) => is_readable(&self.process).then_some(None),
        }
    }

    /// Waits for its end for at most `wait`.
    pub(super) fn wait(&self, wait: Duration) {
        let wait = Timespec {
            tv_sec: wait.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let _ = poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&wait));
    }

    /// Kills it. It fails only for a child that is gone already.
    pub(super) fn kill(&mut self) {
        self.is_killed = true;
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }

    /// Says something, without waiting; false when it is not read.
    pub(super) fn tell(&self, message: &ToEdge, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.channel.send(message, descriptors, false).map_err(|error| io::Error::other(format!("{error:#}")))
    }

    /// Takes one message, if one is there.
    ///
    /// # Errors
    /// When it is not understood: a message of another version, or nonsense, which closes the channel for
    /// good.
    pub(super) fn next_message(&mut self) -> Result<Option<FromEdge>> {
        if !self.is_channel_open || !is_readable(&self.channel) {
            return Ok(None);
        }
        match self.channel.receive() {
            Ok(Some((message, _))) => Ok(Some(message)),
            Ok(None) => {
                self.is_channel_open = false;
                Ok(None)
            }
            Err(error) => {
                self.is_channel_open = error.is::<Unknown>();
                Err(error)
            }
        }
    }
}

fn is_readable(descriptor: &impl AsFd) -> bool {
    let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(descriptor, PollFlags::IN)], Some(&nothing)).unwrap_or(0) > 0
}
