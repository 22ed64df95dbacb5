//! The supervisor: owns every socket, starts the edges as children, and replaces the one that dies.
//!
//! It reads the node file at its start and nothing afterwards: no network, no zone, no certificate. So it is
//! small, has one thread (and the one that writes its log lines), and outlives what the edges cannot. It
//! never accepts a connection; the kernel queues visitors at sockets that stay open whoever serves them.
//! Which of its children serves, which visitors a candidate gets, and what follows from a death is decided
//! here; what is published is decided by the serving edge. Called by `main` for `serve` and by
//! [`crate::demo`]; read next: [`child`], [`walk`], [`resume`], then [`crate::edge_role`], the child's side.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use telemetry::events::{Events, Value};
use telemetry::sink::Target;

use crate::addresses::Addresses;
use crate::clock;
use crate::configuration::{NodeFile, data_dir, read_node_file};
use crate::control::{Begin, PassedOver, Role, ToEdge};
use crate::fd_store;
use crate::keys;
use crate::lock::Lock;
use crate::notify;
use crate::privileges::{self, make_data_dir};
use crate::publishing::tell_warnings;
use crate::signals::Signals;
use crate::sockets::steering::Steering;
use crate::sockets::{self, ListenerSockets};

mod candidates;
mod child;
mod culprits;
mod deaths;
mod hearing;
mod orphan;
mod pass_through;
mod patience;
mod resume;
mod start;
mod strays;
mod telling;
mod unheard;
mod upgrade;
mod walk;

pub(crate) use resume::run_role;
pub(crate) use telling::VERSION;

use child::{Child, State};
use culprits::Culprits;
use orphan::Orphan;
use patience::Patience;
use strays::{Elder, Told};
use unheard::Unheard;
use upgrade::Upgrade;
use walk::Walk;

/// How much longer than `drain_ms` an edge may take to end, before it is killed: closing what is left,
/// writing out the log.
const DRAIN_GRACE: Duration = Duration::from_secs(3);

/// How long to wait for log lines to be written before the process ends.
const EVENTS_CLOSE: Duration = Duration::from_secs(1);

/// Deaths in a row before the first readiness, after which the supervisor gives up: nothing was served yet,
/// so the person who starts it should see it fail.
const FIRST_STARTS_MAX: u32 = 5;

/// Messages taken from a child before the others, signals and deaths are looked at: a child says a few for
/// each change, and one that never stops must not keep the rest waiting.
const MESSAGES_MAX: usize = 64;

/// How long a spare is left out after one died by itself: it serves nobody, so nobody waits for it. Doubled
/// with each that never stood, up to [`SPARE_PAUSE_MAX`].
const SPARE_PAUSE: Duration = Duration::from_secs(2);
const SPARE_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long an edge or a spare may take from its start until it serves or stands; then it hangs, is killed,
/// and an older generation is tried. Ten thousand zones compile in seconds.
const START_WAIT: Duration = Duration::from_secs(300);

/// How long to wait when the system gives no process: another program may have taken its last one.
const START_PAUSE: Duration = Duration::from_secs(1);

/// How long the splice is left out after it died: nobody else serves.
const SPLICE_PAUSE: Duration = Duration::from_secs(1);

/// The command socket in the data folder, and where it is made while an orphan still answers at that.
const COMMAND_SOCKET: &str = "rempart.sock";
const COMMAND_SOCKET_BESIDE: &str = "rempart.sock.new";

/// Runs a node until it is told to stop, and gives the exit code.
///
/// `held` is the data folder's lock when the caller has it already; such a node cannot be upgraded, since the
/// caller has more than this process. `announce` is told the addresses when every listener is served for the
/// first time.
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
    supervisor.run_to_end(announce)
}

/// What the node runs on: made once, never closed.
struct Supervisor {
    file: NodeFile,
    /// The binary as it was named at the start: what an upgrade starts, whatever is there by then.
    binary: PathBuf,
    threads: usize,
    data_dir: PathBuf,
    listeners: Vec<ListenerSockets>,
    admin: Option<(SocketAddr, OwnedFd)>,
    command_socket: OwnedFd,
    signals: Signals,
    events: Events,
    children: Vec<Child>,
    steering: Steering,
    restarts: u64,
    walk: Walk,
    was_ready: bool,
    /// An edge whose supervisor died before this one: it serves until one of ours does.
    orphan: Option<Orphan>,
    /// Since when and why this program supervises.
    began: Instant,
    began_why: String,
    /// What was told of processes last, and to whom.
    told: Option<(Pid, Vec<telling::Known>)>,
    /// When to start an edge that serves, and with what.
    start_at: Option<(Instant, Begin)>,
    /// Why the next edge that serves does.
    start_why: String,
    /// When to start a spare.
    spare_at: Option<Instant>,
    /// How long the next spare is left out if this one dies.
    spare_pause: Duration,
    /// When to start the splice.
    splice_at: Option<Instant>,
    upgrade: Option<Upgrade>,
    culprits: Culprits,
    /// What edges died of, until one that serves has acted on it.
    unheard: Unheard,
    /// Kept generations that an edge told as unusable: the next one need not.
    unusable: BTreeSet<u64>,
    /// What the serving edge was told last of sockets that are nobody's.
    strays: Option<Told>,
    /// Edges of an earlier supervisor, which drain and have UDP sockets yet.
    elders: Vec<Elder>,
    /// Whether these and the children are all edges there are.
    knows_all: bool,
    /// Messages of edges of another version.
    passed_over: PassedOver,
    is_stopping: bool,
    can_upgrade: bool,
    lock: Lock,
}

/// The loop ends, and not well.
struct Failed;

impl Supervisor {
    /// Takes the data folder, binds, and gives root up, in this order.
    fn start(file: NodeFile, signals: Signals, held: Option<Lock>) -> Result<Self> {
        let node = &file.node;
        let binary = std::env::current_exe().context("this binary's own path cannot be told")?;
        let threads = match node.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let data_dir = data_dir(node);
        let target = privileges::target(node.user.as_deref())?;
        make_data_dir(&data_dir, target.as_ref())?;
        let can_upgrade = held.is_none();
        let lock = match held {
            Some(held) => held,
            None => Lock::take(&data_dir, target.as_ref())?,
        };
        let command_path = data_dir.join(COMMAND_SOCKET);
        let mut orphan = Orphan::find(&command_path)?;
        let mut given = sockets::Given::from_environment();
        let wanted: Vec<_> = node.listeners.iter().map(|it| (it.address, it.http3)).collect();
        // The slots of sockets that are taken over are counted by the threads of an earlier run.
        let wanted_threads = threads;
        let threads_before = orphan.as_ref().map(|orphan| orphan.threads);
        let threads = threads_before.or_else(|| given.kept().threads(&wanted)).unwrap_or(threads);
        let withdrawn = given.kept().withdraw_unusable(&wanted, threads);
        let kept = given.kept().count();
        let patience = Patience::new(&data_dir, node.drain_ms, &signals);
        let mut listeners = Vec::new();
        for wanted in &node.listeners {
            let given = RefCell::new(&mut given);
            let bind = || {
                let given = &mut given.borrow_mut();
                sockets::bind_listener(wanted.address, threads, wanted.http3, given)
            };
            let taken = orphan.as_mut().and_then(|orphan| orphan.take(wanted.address, wanted.http3));
            listeners.push(match taken {
                Some(taken) => taken,
                None => patience.bind(bind)?,
            });
        }
        let bind_admin = |wanted| patience.bind(|| sockets::bind_admin(wanted));
        let admin = match node.admin {
            Some(wanted) => match orphan.as_mut().and_then(|orphan| orphan.take_admin(wanted)) {
                Some(taken) => Some(taken),
                None => Some(bind_admin(wanted)?),
            },
            None => None,
        };
        if let Some(target) = &target {
            target.become_user()?;
        }
        privileges::give_up_capabilities();
        privileges::gain_nothing_more();
        // An orphan is found by these for as long as it serves.
        let command_socket = if orphan.is_some() {
            sockets::bind_command(&data_dir.join(COMMAND_SOCKET_BESIDE))?
        } else {
            Addresses::remove(&data_dir)?;
            sockets::bind_command(&command_path)?
        };
        let events =
            Events::start(Target::Stderr, clock::unix_us).context("standard error cannot be used")?;
        tell_warnings(&node.warnings, &events);
        for address in given.left(&listeners) {
            let remedy =
                "the service manager gives a socket that no [[listener]] names: add one, or remove it there";
            let address = address.to_string();
            let fields: [(&'static str, Value<'_>); 2] =
                [("address", (&address).into()), ("remedy", remedy.into())];
            events.warn("socket_not_used", &fields);
        }
        privileges::tell_root(target.as_ref(), &events);
        if orphan.is_some() {
            let fields: [(&'static str, Value<'_>); 1] = [("threads", threads.into())];
            events.info("sockets_taken_over", &fields);
        }
        if threads != wanted_threads {
            let remedy = "stop the node and start it again to change [node] threads";
            events.warn("threads_kept", &[("threads", threads.into()), ("remedy", remedy.into())]);
        }
        if withdrawn > 0 {
            events.info("sockets_withdrawn", &[("sockets", withdrawn.into())]);
        }
        if kept > 0 && orphan.is_none() {
            events.info("sockets_restored", &[("sockets", kept.into())]);
        }
        fd_store::keep(&listeners, &events);
        let steering = Steering {
            threads,
            // Visitors stay with the orphan until another edge serves.
            udp_generation: orphan.as_ref().map_or(0, |orphan| orphan.udp_generation.min(1)),
            candidate_percent: 0,
            candidate_has_udp: false,
            secret: u32::from_ne_bytes(keys::random()?) | 1,
        };
        // The files are what edges died of, or nobody would have walked back from them.
        let walked_back = orphan.as_ref().and_then(|orphan| orphan.walked_back);
        let elders = orphan.as_ref().map_or(Some(Vec::new()), Orphan::elders);
        let began_why = "the node was started".to_owned();
        let supervisor = Self {
            binary,
            threads,
            data_dir,
            listeners,
            admin,
            command_socket,
            signals,
            events,
            children: Vec::new(),
            steering,
            restarts: orphan.as_ref().map_or(0, |orphan| orphan.restarts + 1),
            walk: Walk::from_where(walked_back),
            was_ready: false,
            began: clock::now(),
            start_why: orphan.as_ref().map_or_else(|| began_why.clone(), Orphan::taken_over_why),
            began_why,
            told: None,
            orphan,
            start_at: Some((clock::now(), walked_back.unwrap_or(Begin::Files))),
            spare_at: None,
            spare_pause: SPARE_PAUSE,
            splice_at: None,
            upgrade: None,
            culprits: Culprits::default(),
            unheard: Unheard::default(),
            unusable: BTreeSet::new(),
            strays: None,
            knows_all: elders.is_some(),
            elders: elders.unwrap_or_default(),
            passed_over: PassedOver::default(),
            is_stopping: false,
            can_upgrade,
            lock,
            file,
        };
        supervisor.steer(supervisor.steering)?;
        Ok(supervisor)
    }

    fn run_to_end(&mut self, announce: impl FnOnce(&Addresses)) -> Result<ExitCode> {
        let outcome = self.run(announce);
        self.end();
        outcome
    }

    fn run(&mut self, announce: impl FnOnce(&Addresses)) -> Result<ExitCode> {
        let mut announce = Some(announce);
        loop {
            let now = clock::now();
            self.do_what_is_due(now)?;
            self.wait(now)?;
            while let Some(signal) = self.signals.next() {
                self.take_signal(signal);
            }
            for pid in self.pids() {
                for _ in 0..MESSAGES_MAX {
                    let Some(message) = self.next_message(pid) else { break };
                    if let Some(end) = self.take_message(pid, message, &mut announce)? {
                        return Ok(end);
                    }
                }
            }
            for pid in self.pids() {
                if let Some(end) = self.look_after(pid) {
                    let Failed = end;
                    return Ok(ExitCode::FAILURE);
                }
            }
            self.tell_strays();
            self.tell_processes();
            if self.is_stopping && self.children.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }

    fn pids(&self) -> Vec<Pid> {
        self.children.iter().map(|child| child.pid).collect()
    }

    fn child(&mut self, pid: Pid) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.pid == pid)
    }

    /// The edge that serves; the newest one while two do.
    fn serving(&mut self) -> Option<&mut Child> {
        let serves = |child: &Child| {
            !matches!(child.role, Role::Candidate | Role::Splice)
                && (child.state == State::Serving
                    || child.role == Role::Serving && child.state == State::Starting)
                && !child.is_mourned
        };
        self.children.iter_mut().rev().find(|child| serves(child))
    }

    fn with_role(&mut self, role: Role) -> Option<&mut Child> {
        let lives = |child: &Child| child.role == role && child.state != State::Leaving && !child.is_mourned;
        self.children.iter_mut().find(|child| lives(child))
    }

    /// Starts and kills what is to be started and killed by now.
    fn do_what_is_due(&mut self, now: Instant) -> Result<()> {
        if let Some((at, begin)) = self.start_at
            && at <= now
        {
            self.start_at = None;
            let (generation, why) = (self.generation_to_serve(), self.start_why.clone());
            match self.start_child(Role::Serving, begin, generation, None, &why) {
                Ok(_) => {}
                // The person who starts a node sees it fail.
                Err(error) if !self.was_ready && self.orphan.is_none() => return Err(error),
                Err(error) => {
                    self.events.error("edge_not_started", &[("cause", (&format!("{error:#}")).into())]);
                    self.start_at = Some((now + START_PAUSE, begin));
                }
            }
        }
        if self.splice_at.is_some_and(|at| at <= now) {
            self.splice_at = None;
            self.start_splice(now);
        }
        if self.spare_at.is_some_and(|at| at <= now) {
            self.spare_at = None;
            // A spare that cannot be started is no reason to end: the next death starts an edge anew.
            let generation = self.steering.udp_generation;
            let why = "stands ready to take the place of the edge that serves";
            let started = self.start_child(Role::Spare, Begin::Kept { skip: 0 }, generation, None, why);
            if let Err(error) = started {
                self.events.error("spare_not_started", &[("cause", (&format!("{error:#}")).into())]);
            }
        }
        self.look_at_upgrade(now)?;
        let mut cut = false;
        for child in &mut self.children {
            if child.kill_at.is_some_and(|at| at <= now) && !child.is_killed {
                cut |= child.state == State::Leaving && child.role == Role::Serving;
                child.kill();
            }
        }
        if cut {
            let remedy = "raise [node] drain_ms if visitors should have had longer";
            self.events.warn("drain_cut_short", &[("remedy", remedy.into())]);
        }
        Ok(())
    }

    /// Waits for a signal, a message, a death, or the next thing that is due.
    fn wait(&self, now: Instant) -> Result<()> {
        let upgrade = self.upgrade.map(Upgrade::until);
        let kills = self.children.iter().filter(|child| !child.is_killed).filter_map(|child| child.kill_at);
        let starts = self.start_at.map(|(at, _)| at).into_iter().chain(self.spare_at).chain(self.splice_at);
        let due = starts.chain(upgrade).chain(kills);
        let timeout = due.min().map(|due| due.saturating_duration_since(now));
        // Rounded up by a millisecond: a wait that ends just before the thing is due would only be repeated.
        let timeout = timeout.map(|left| left + Duration::from_millis(1));
        let timeout = timeout.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        self.children.iter().for_each(|child| child.watch(&mut watched));
        self.elders.iter().for_each(|elder| elder.watch(&mut watched));
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("the supervisor cannot wait for its children"),
        }
    }

    /// Swaps the programs that steer visitors.
    fn steer(&self, steering: Steering) -> Result<()> {
        for listener in &self.listeners {
            steering
                .apply(listener)
                .with_context(|| format!("visitors of {} cannot be steered", listener.address))?;
        }
        Ok(())
    }

    /// As [`Supervisor::steer`], while the node runs: a refusal leaves who gets whom as it was.
    fn steer_on(&mut self, steering: Steering) {
        match self.steer(steering) {
            Ok(()) => self.steering = steering,
            Err(error) => {
                self.events.error("visitors_not_steered", &[("cause", (&format!("{error:#}")).into())]);
            }
        }
    }

    fn take_signal(&mut self, signal: Signal) {
        match signal {
            // While nothing serves, somebody has mended the files.
            Signal::SIGHUP if self.serving().is_none() && !self.is_stopping => {
                self.walk.forgive();
                self.start_why = "nothing served, and the files were to be read anew (SIGHUP)".to_owned();
                self.start_at = Some((clock::now(), Begin::Files));
            }
            Signal::SIGHUP => self.tell_serving(&ToEdge::Reload, &[]),
            Signal::SIGUSR1 => self.tell_serving(&ToEdge::ReopenLogs, &[]),
            Signal::SIGUSR2 => self.begin_upgrade(),
            Signal::SIGINT | Signal::SIGQUIT if self.is_stopping => {
                let now = clock::now();
                self.children.iter_mut().for_each(|child| child.kill_at = Some(now));
            }
            _ if self.is_stopping => {}
            _ => self.stop(signal),
        }
    }

    fn stop(&mut self, signal: Signal) {
        let drain = Duration::from_millis(self.file.node.drain_ms);
        self.events.info("draining", &[("signal", signal.as_str().into())]);
        self.is_stopping = true;
        notify::stopping();
        (self.start_at, self.spare_at, self.splice_at, self.upgrade) = (None, None, None, None);
        let now = clock::now();
        let kill_at = now + drain + DRAIN_GRACE;
        if let Some(orphan) = self.orphan.take() {
            // Whoever stops the node means it too.
            orphan.dismiss();
            let _ = std::fs::remove_file(self.data_dir.join(COMMAND_SOCKET_BESIDE));
        }
        for child in &mut self.children {
            child.leave("the node was told to stop", now, kill_at);
            // One that does not listen is killed when its time is over.
            let _ = child.tell(&ToEdge::Drain { within_ms: None }, &[]);
        }
        // The edge has copies, which it closes once it has accepted what was queued. From then on newcomers
        // are refused at once, rather than left waiting in a queue that nobody serves; unless a service
        // manager keeps the sockets: then they wait for the next start, or for its word that there is none.
        self.listeners.clear();
        self.admin = None;
    }

    /// Tells the serving edge something, without waiting for it. With no edge there is nobody to tell: the
    /// next one reads its files and opens its logs anyway.
    fn tell_serving(&mut self, message: &ToEdge, descriptors: &[BorrowedFd<'_>]) {
        let told = self.serving().map_or(Ok(()), |child| child.tell(message, descriptors));
        if let Err(error) = told {
            self.events.error("edge_not_told", &[("cause", (&error.to_string()).into())]);
        }
    }

    /// Notices a child's death, and decides what follows.
    fn look_after(&mut self, pid: Pid) -> Option<Failed> {
        let now = clock::now();
        let child = self.child(pid)?;
        let ended = child.ended();
        if ended.is_none() && (child.is_mourned || !child.is_dying()) {
            return None;
        }
        let (role, state, lived) = (child.role, child.state, now.saturating_duration_since(child.since));
        let was_mourned = std::mem::replace(&mut child.is_mourned, true);
        let was_killed = child.is_killed;
        let status = ended.flatten();
        let black_box = child.black_box.take();
        let is_cause_open = ended.is_some() && std::mem::take(&mut child.is_cause_open);
        if ended.is_some() {
            self.children.retain(|child| child.pid != pid);
        } else if role != Role::Serving || state == State::Leaving || self.is_stopping {
            // Only the serving edge's death is acted on before it can be waited for.
            let child = self.child(pid)?;
            (child.is_mourned, child.black_box) = (was_mourned, black_box);
            return None;
        }
        if state == State::Leaving || self.is_stopping {
            return self.has_left(role, status, was_killed, lived);
        }
        match role {
            Role::Serving => {
                if !was_mourned {
                    self.lose_serving(pid, status, black_box.as_ref(), lived, now);
                }
                if is_cause_open {
                    self.judge_late(status);
                }
                if ended.is_some() {
                    self.note_death("edge_died", status, lived);
                    let is_passed_through =
                        self.with_role(Role::Splice).is_some() || self.splice_at.is_some();
                    let gave_up =
                        !self.was_ready && !is_passed_through && self.walk.quick_deaths() >= FIRST_STARTS_MAX;
                    if gave_up {
                        let remedy = "its last lines above say why; `rempart check` tries the files alone";
                        self.events.error("edge_never_ready", &[("remedy", remedy.into())]);
                        return Some(Failed);
                    }
                }
            }
            Role::Spare => {
                self.note_death("spare_died", status, lived);
                self.spare_at = Some(now + self.spare_pause);
                self.spare_pause = self.spare_pause.saturating_mul(2).min(SPARE_PAUSE_MAX);
            }
            Role::Candidate => self.lose_candidate(status, black_box.as_ref()),
            Role::Splice => {
                self.note_death("splice_died", status, lived);
                self.splice_at = Some(now + SPLICE_PAUSE);
            }
            Role::Successor => self.give_up_upgrade(&format!("the new binary ended: {}", words(status))),
        }
        None
    }

    /// A child that was told to end has ended.
    fn has_left(
        &mut self,
        role: Role,
        status: Option<ExitStatus>,
        was_killed: bool,
        lived: Duration,
    ) -> Option<Failed> {
        if role != Role::Serving {
            return None;
        }
        let drained = status.is_some_and(|status| status.success());
        if !drained && !was_killed {
            self.note_death("edge_died", status, lived);
            return self.is_stopping.then_some(Failed);
        }
        self.events.info("drained", &[("killed", was_killed.into())]);
        None
    }

    fn note_death(&self, event: &'static str, status: Option<ExitStatus>, lived: Duration) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let status_text = words(status);
        let mut fields: Vec<(&'static str, Value<'_>)> =
            vec![("status", (&status_text).into()), ("lived_ms", millis(lived).into())];
        if let Some(signal) = status.and_then(|status| status.signal()) {
            fields.push(("signal", u64::from(signal.unsigned_abs()).into()));
        }
        if let Some((at, _)) = self.start_at {
            fields.push(("restart_in_ms", millis(at.saturating_duration_since(clock::now())).into()));
        }
        self.events.error(event, &fields);
    }

    /// Leaves the data folder as after a clean end, and writes out the last lines.
    fn end(&mut self) {
        for child in &mut self.children {
            child.wait(DRAIN_GRACE);
            child.kill();
            child.wait(DRAIN_GRACE);
            let _ = child.ended();
        }
        // What cannot be removed is removed at the next start.
        if self.orphan.is_some() {
            // It serves on, and the next supervisor finds it.
            let _ = std::fs::remove_file(self.data_dir.join(COMMAND_SOCKET_BESIDE));
        } else {
            let _ = Addresses::remove(&self.data_dir);
            let _ = std::fs::remove_file(self.data_dir.join(COMMAND_SOCKET));
        }
        self.events.close(EVENTS_CLOSE);
    }
}

/// A status as a person reads it.
fn words(status: Option<ExitStatus>) -> String {
    status.map_or_else(|| "unknown".to_owned(), |status| status.to_string())
}
