//! The supervisor: owns every socket, starts the edge as a child, and starts it again when it dies.
//!
//! It reads the node file at its start and nothing afterwards: no network, no zone, no certificate. So it
//! is small, has one thread (and the one that writes its log lines), and outlives what the edge cannot. It
//! never accepts a connection; the kernel queues visitors while no edge is there. Called by `main` for
//! `serve` and by [`crate::demo`]; read next: [`crate::edge_role`], the child's side.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use telemetry::events::{Events, Value};
use telemetry::sink::Target;

use crate::addresses::{Addresses, ListenerAddress, protocol_name};
use crate::clock;
use crate::configuration::{NodeFile, data_dir, read_node_file};
use crate::control::{Channel, FromEdge, ListenerPlan, Setup, ToEdge};
use crate::lock::Lock;
use crate::privileges::{self, make_data_dir};
use crate::publishing::tell_warnings;
use crate::signals::Signals;
use crate::sockets::{self, ListenerSockets};

mod backoff;
mod patience;

use backoff::Backoff;
use patience::Patience;

/// How much longer than `drain_ms` the edge may take to end, before it is killed: closing what is left,
/// writing out the log.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// How long to wait for log lines to be written before the process ends.
const EVENTS_CLOSE: Duration = Duration::from_secs(1);

/// Deaths in a row before the first readiness, after which the supervisor gives up: nothing was served yet,
/// so the person who starts it should see it fail.
const FIRST_STARTS_MAX: u32 = 5;

/// Runs a node until it is told to stop, and gives the exit code.
///
/// `held` is the data folder's lock when the caller has it already. `announce` is told the addresses when
/// every listener is served for the first time.
///
/// # Errors
/// When the node file has problems, a socket cannot be bound, or the data folder cannot be used.
pub(crate) fn run(config: &Path, held: Option<Lock>, announce: impl FnOnce(&Addresses)) -> Result<ExitCode> {
    let file = match read_node_file(config) {
        Ok(file) => file,
        Err(problems) => return Ok(problems.print_and_refuse("the node was not started")),
    };
    let descriptors = sockets::raise_descriptor_limit();
    let signals = Signals::take()?;
    let mut supervisor = Supervisor::start(file, signals, held)?;
    if let Some(limit) = descriptors.filter(|limit| *limit < 4096) {
        let remedy = "raise the hard limit on open files (LimitNOFILE= in systemd, `ulimit -Hn`)";
        supervisor.events.warn("few_descriptors", &[("limit", limit.into()), ("remedy", remedy.into())]);
    }
    let outcome = supervisor.run(announce);
    supervisor.end();
    outcome
}

/// What the node runs on: made once, never closed.
struct Supervisor {
    file: NodeFile,
    threads: usize,
    data_dir: PathBuf,
    listeners: Vec<ListenerSockets>,
    admin: Option<(SocketAddr, OwnedFd)>,
    command_socket: OwnedFd,
    signals: Signals,
    events: Events,
    edge: Option<Edge>,
    restarts: u64,
    backoff: Backoff,
    was_ready: bool,
    start_at: Option<Instant>,
    stopping: Option<Stopping>,
    _lock: Lock,
}

/// The child that serves.
struct Edge {
    child: Child,
    channel: Channel,
    channel_open: bool,
    process: OwnedFd,
    started: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Stopping {
    kill_at: Instant,
    killed: bool,
}

/// Why the loop ends.
enum End {
    Done,
    Failed,
}

impl Supervisor {
    /// Takes the data folder, binds, and gives root up, in this order.
    fn start(file: NodeFile, signals: Signals, held: Option<Lock>) -> Result<Self> {
        let node = &file.node;
        let threads = match node.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let data_dir = data_dir(node);
        let target = privileges::target(node.user.as_deref())?;
        make_data_dir(&data_dir, target.as_ref())?;
        let lock = match held {
            Some(held) => held,
            None => Lock::take(&data_dir, target.as_ref())?,
        };
        let patience = Patience::new(&data_dir, node.drain_ms, &signals);
        let mut listeners = Vec::new();
        for wanted in &node.listeners {
            let bind = || sockets::bind_listener(wanted.address, threads, wanted.http3);
            listeners.push(patience.bind(bind)?);
        }
        let admin = node.admin.map(|wanted| patience.bind(|| sockets::bind_admin(wanted))).transpose()?;
        if let Some(target) = &target {
            target.become_user()?;
        }
        Addresses::remove(&data_dir)?;
        let command_socket = sockets::bind_command(&data_dir.join("rempart.sock"))?;
        let events =
            Events::start(Target::Stderr, clock::unix_us).context("standard error cannot be used")?;
        tell_warnings(&node.warnings, &events);
        Ok(Self {
            threads,
            data_dir,
            listeners,
            admin,
            command_socket,
            signals,
            events,
            edge: None,
            restarts: 0,
            backoff: Backoff::default(),
            was_ready: false,
            start_at: Some(clock::now()),
            stopping: None,
            _lock: lock,
            file,
        })
    }

    fn run(&mut self, announce: impl FnOnce(&Addresses)) -> Result<ExitCode> {
        let mut announce = Some(announce);
        loop {
            let now = clock::now();
            if self.start_at.is_some_and(|at| at <= now) {
                self.start_at = None;
                self.start_edge()?;
            }
            self.kill_if_late(now);
            self.wait(now)?;
            while let Some(signal) = self.signals.next() {
                self.take_signal(signal);
            }
            while let Some(message) = self.next_message() {
                match message {
                    FromEdge::Ready { number, zones } => self.edge_is_ready(number, zones, &mut announce)?,
                    FromEdge::Unusable if !self.was_ready => {
                        // The edge has printed every problem; there is nothing to add.
                        self.reap(now);
                        return Ok(ExitCode::FAILURE);
                    }
                    FromEdge::Unusable => {}
                }
            }
            if let Some(end) = self.look_after_edge() {
                return Ok(match end {
                    End::Done => ExitCode::SUCCESS,
                    End::Failed => ExitCode::FAILURE,
                });
            }
        }
    }

    /// Waits for a signal, a message, a death, or the next thing that is due.
    fn wait(&self, now: Instant) -> Result<()> {
        let due = [self.start_at, self.stopping.filter(|stopping| !stopping.killed).map(|it| it.kill_at)];
        let timeout = due.into_iter().flatten().min().map(|due| due.saturating_duration_since(now));
        // Rounded up by a millisecond: a wait that ends just before the thing is due would only be repeated.
        let timeout = timeout.map(|left| left + Duration::from_millis(1));
        let timeout = timeout.map(|left| rustix::event::Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        if let Some(edge) = &self.edge {
            watched.push(PollFd::new(&edge.process, PollFlags::IN));
            if edge.channel_open {
                watched.push(PollFd::new(&edge.channel, PollFlags::IN));
            }
        }
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("the supervisor cannot wait for its child"),
        }
    }

    fn start_edge(&mut self) -> Result<()> {
        let (channel, theirs) = Channel::pair()?;
        let child = Command::new("/proc/self/exe")
            .arg0("rempart-edge")
            .arg("edge-role")
            .stdin(Stdio::from(theirs))
            .spawn()
            .context("the edge cannot be started: is the binary's file still readable and executable?")?;
        let pid =
            i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has a process id")?;
        let process =
            pidfd_open(pid, PidfdFlags::empty()).context("the edge cannot be watched (pidfd_open)")?;
        let setup = Setup {
            config: self.file.path.clone(),
            threads: self.threads,
            listeners: self.plans(),
            admin: self.admin.as_ref().map(|(address, _)| *address),
            supervisor: std::process::id(),
            restarts: self.restarts,
        };
        let node_file = memory_file(&self.file.source.bytes)?;
        let mut descriptors = vec![node_file.as_fd(), self.command_socket.as_fd()];
        descriptors.extend(self.admin.as_ref().map(|(_, socket)| socket.as_fd()));
        for listener in &self.listeners {
            descriptors.extend(listener.tcp.iter().chain(&listener.udp).map(OwnedFd::as_fd));
        }
        if let Err(error) = channel.send_setup(setup, &descriptors) {
            // It died before it listened; its exit status, read below, tells more.
            self.events.error("edge_not_set_up", &[("cause", (&format!("{error:#}")).into())]);
        }
        self.edge = Some(Edge { child, channel, channel_open: true, process, started: clock::now() });
        Ok(())
    }

    fn plans(&self) -> Vec<ListenerPlan> {
        let plan = |(index, listener): (usize, &ListenerSockets)| ListenerPlan {
            index,
            address: listener.address,
            tcp: listener.tcp.len(),
            udp: listener.udp.len(),
        };
        self.listeners.iter().enumerate().map(plan).collect()
    }

    fn addresses(&self) -> Addresses {
        let both = self.file.node.listeners.iter().zip(&self.listeners);
        let listeners = both.map(|(wanted, bound)| ListenerAddress {
            protocol: protocol_name(wanted.protocol),
            address: bound.address,
        });
        Addresses {
            pid: std::process::id(),
            listeners: listeners.collect(),
            admin: self.admin.as_ref().map(|(address, _)| *address),
            socket: self.data_dir.join("rempart.sock"),
        }
    }

    fn edge_is_ready(
        &mut self,
        number: u64,
        zones: usize,
        announce: &mut Option<impl FnOnce(&Addresses)>,
    ) -> Result<()> {
        self.was_ready = true;
        let addresses = self.addresses();
        addresses.write(&self.data_dir)?;
        let fields: [(&'static str, Value<'_>); 4] = [
            ("snapshot", number.into()),
            ("zones", zones.into()),
            ("threads", self.threads.into()),
            ("restarts", self.restarts.into()),
        ];
        self.events.info("ready", &fields);
        if let Some(announce) = announce.take() {
            announce(&addresses);
        }
        Ok(())
    }

    fn take_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGHUP => self.tell(&ToEdge::Reload),
            Signal::SIGUSR1 => self.tell(&ToEdge::ReopenLogs),
            Signal::SIGINT | Signal::SIGQUIT if self.stopping.is_some() => {
                self.stopping = Some(Stopping { kill_at: clock::now(), killed: false });
            }
            _ if self.stopping.is_some() => {}
            _ => {
                let drain = Duration::from_millis(self.file.node.drain_ms);
                self.events.info("draining", &[("signal", signal.as_str().into())]);
                self.stopping = Some(Stopping { kill_at: clock::now() + drain + DRAIN_GRACE, killed: false });
                self.start_at = None;
                self.tell(&ToEdge::Drain);
                // The edge has copies, which it closes once it has accepted what was queued. From then on
                // newcomers are refused at once, rather than left waiting in a queue that nobody serves.
                self.listeners.clear();
            }
        }
    }

    /// Tells the edge something, without waiting for it. With no edge there is nobody to tell: the next one
    /// reads its files and opens its logs anyway.
    fn tell(&mut self, message: &ToEdge) {
        if let Some(edge) = &self.edge
            && let Err(error) = edge.channel.send(message, &[], false)
        {
            self.events.error("edge_not_told", &[("cause", (&format!("{error:#}")).into())]);
        }
    }

    /// Takes one message of the edge, if one is there.
    fn next_message(&mut self) -> Option<FromEdge> {
        let edge = self.edge.as_mut().filter(|edge| edge.channel_open)?;
        let mut watched = [PollFd::new(&edge.channel, PollFlags::IN)];
        let nothing = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut watched, Some(&nothing)).unwrap_or(0) == 0 {
            return None;
        }
        match edge.channel.receive() {
            Ok(Some((message, _))) => Some(message),
            Ok(None) => {
                edge.channel_open = false;
                None
            }
            Err(error) => {
                edge.channel_open = false;
                self.events.error("edge_not_understood", &[("cause", (&format!("{error:#}")).into())]);
                None
            }
        }
    }

    fn kill_if_late(&mut self, now: Instant) {
        let Some(stopping) = self.stopping.as_mut().filter(|it| !it.killed && it.kill_at <= now) else {
            return;
        };
        stopping.killed = true;
        if let Some(edge) = &mut self.edge {
            let remedy = "raise [node] drain_ms if visitors should have had longer";
            self.events.warn("drain_cut_short", &[("remedy", remedy.into())]);
            // It fails only for a child that is gone already.
            let _ = edge.child.kill();
        }
    }

    /// Notices the edge's death, and decides what follows.
    fn look_after_edge(&mut self) -> Option<End> {
        let now = clock::now();
        let Some(edge) = &mut self.edge else {
            return self.stopping.map(|_| End::Done);
        };
        let started = edge.started;
        let status = match edge.child.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => Some(status),
            // Somebody else waited for it: it is dead all the same.
            Err(_) => None,
        };
        self.edge = None;
        if let Some(stopping) = self.stopping {
            let drained = status.is_some_and(|status| status.success());
            if !drained && !stopping.killed {
                self.note_death(status, now - started, None);
                return Some(End::Failed);
            }
            self.events.info("drained", &[("killed", stopping.killed.into())]);
            return Some(End::Done);
        }
        let pause = self.backoff.after(now - started);
        self.note_death(status, now - started, Some(pause));
        if !self.was_ready && self.backoff.quick_deaths() >= FIRST_STARTS_MAX {
            let remedy = "its last lines above say why; `rempart check` tries the files alone";
            self.events.error("edge_never_ready", &[("remedy", remedy.into())]);
            return Some(End::Failed);
        }
        self.restarts += 1;
        self.start_at = Some(now + pause);
        None
    }

    fn note_death(&self, status: Option<ExitStatus>, lived: Duration, pause: Option<Duration>) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let status_text = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
        let mut fields: Vec<(&'static str, Value<'_>)> =
            vec![("status", (&status_text).into()), ("lived_ms", millis(lived).into())];
        if let Some(signal) = status.and_then(|status| status.signal()) {
            fields.push(("signal", u64::from(signal.unsigned_abs()).into()));
        }
        if let Some(pause) = pause {
            fields.push(("restart_in_ms", millis(pause).into()));
        }
        self.events.error("edge_died", &fields);
    }

    /// Waits for a child that has said it ends by itself; kills it if it does not within the grace.
    fn reap(&mut self, now: Instant) {
        let Some(edge) = &mut self.edge else { return };
        let deadline = now + DRAIN_GRACE;
        let left = rustix::event::Timespec {
            tv_sec: deadline.saturating_duration_since(clock::now()).as_secs().try_into().unwrap_or(1),
            tv_nsec: 0,
        };
        let _ = poll(&mut [PollFd::new(&edge.process, PollFlags::IN)], Some(&left));
        let _ = edge.child.kill();
        let _ = edge.child.wait();
        self.edge = None;
    }

    /// Leaves the data folder as after a clean end, and writes out the last lines.
    fn end(&mut self) {
        self.reap(clock::now());
        // What cannot be removed is removed at the next start.
        let _ = Addresses::remove(&self.data_dir);
        let _ = std::fs::remove_file(self.data_dir.join("rempart.sock"));
        self.events.close(EVENTS_CLOSE);
    }
}

/// Puts bytes into a file without a name, to hand them to a child.
fn memory_file(bytes: &[u8]) -> Result<File> {
    let made = memfd_create("node-file", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let mut file = made.map(File::from).context("no memory file can be made for the edge")?;
    file.write_all(bytes).context("the node file cannot be copied for the edge")?;
    Ok(file)
}
