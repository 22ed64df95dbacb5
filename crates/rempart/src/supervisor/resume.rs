//! The supervisor becomes a newer binary under the same process id, and goes on where it was.
//!
//! Everything it has travels as one message with its descriptors in a socket that is the new program's
//! standard input (`docs/decisions/0016-processes-and-stages.md`). Children stay children, the lock stays
//! held, no socket is closed. An exec that fails changes nothing. Read next: [`super`].

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use telemetry::events::{Events, Value};
use telemetry::sink::Target;

use super::Supervisor;
use super::child::{Child, State};
use super::culprits::Culprits;
use super::strays::Elder;
use super::telling::VERSION;
use super::walk::Walk;
use crate::clock;
use crate::configuration::data_dir;
use crate::control::{
    Beside, Channel, DESCRIPTORS_PER_PACKET, Deadly, Holds, ListenerPlan, PassedOver, Role, memory_file,
};
use crate::lock::Lock;
use crate::privileges;
use crate::signals::Signals;
use crate::sockets::ListenerSockets;
use crate::sockets::steering::Steering;

/// Descriptors that may be announced: those of 64 listeners at the most threads, and of a few children.
const DESCRIPTORS_MAX: usize = 64 * (1024 * 3 + 2) + 64;

/// How long the last lines of the older binary may take to be written: whoever stalls standard error does not
/// hold up the supervisor, and loses them.
const LINES_WAIT: Duration = Duration::from_millis(200);

/// What the older binary tells the newer one. Members are added with a default, never renamed.
#[derive(Debug, Serialize, Deserialize)]
struct Carried {
    /// Of the binary that carries it over; empty of one that did not tell.
    #[serde(default)]
    version: String,
    config: PathBuf,
    binary: PathBuf,
    threads: usize,
    listeners: Vec<ListenerPlan>,
    admin: Option<SocketAddr>,
    children: Vec<CarriedChild>,
    udp_generation: usize,
    secret: u32,
    restarts: u64,
    deadly: Vec<Deadly>,
    wants_spare: bool,
    descriptors: usize,
    /// Edges of a supervisor before, and whether all are known.
    #[serde(default)]
    elders: Vec<Beside>,
    #[serde(default = "yes")]
    knows_all: bool,
    #[serde(default)]
    walk: Walk,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Serialize, Deserialize)]
struct CarriedChild {
    role: Role,
    state: State,
    pid: i32,
    udp_generation: usize,
    number: u64,
    lived_ms: u64,
    has_black_box: bool,
    #[serde(default = "yes")]
    has_quic: bool,
    #[serde(default)]
    version: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    left_ms: u64,
    #[serde(default)]
    holds: Option<Holds>,
    /// When it is to be killed, in milliseconds from the exec on.
    kill_in_ms: Option<u64>,
}

/// Messages of the socket that carries it all over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
enum Passed {
    Carried(Box<Carried>),
    Descriptors,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Supervisor {
    /// Replaces this program by the one on disk. Comes back only when that cannot be done.
    pub(super) fn become_new_binary(&mut self) -> anyhow::Error {
        match self.try_become() {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    fn try_become(&mut self) -> Result<std::convert::Infallible> {
        let now = clock::now();
        let (ours, theirs) = Channel::pair()?;
        ours.bound_sends(Duration::from_secs(5))?;
        let node_file = memory_file(&self.file.source.bytes)?;
        let mut descriptors: Vec<BorrowedFd<'_>> =
            vec![node_file.as_fd(), self.command_socket.as_fd(), self.lock.as_fd()];
        descriptors.extend(self.admin.as_ref().map(|(_, socket)| socket.as_fd()));
        for listener in &self.listeners {
            descriptors.extend(listener.tcp.iter().chain(&listener.udp).map(OwnedFd::as_fd));
        }
        for child in &self.children {
            descriptors.push(child.channel.as_fd());
            descriptors.extend(child.black_box.as_ref().map(OwnedFd::as_fd));
        }
        let carried = Carried {
            version: VERSION.to_owned(),
            config: self.file.path.clone(),
            binary: self.binary.clone(),
            threads: self.threads,
            listeners: self.plans(),
            admin: self.admin.as_ref().map(|(address, _)| *address),
            children: self
                .children
                .iter()
                .map(|child| CarriedChild {
                    role: child.role,
                    state: child.state,
                    pid: child.pid.as_raw_nonzero().get(),
                    udp_generation: child.udp_generation,
                    number: child.number,
                    lived_ms: millis(now.saturating_duration_since(child.since)),
                    has_black_box: child.black_box.is_some(),
                    has_quic: child.has_quic,
                    version: child.version.clone(),
                    why: child.why.clone(),
                    left_ms: millis(now.saturating_duration_since(child.left_at)),
                    holds: child.holds,
                    kill_in_ms: child.kill_at.map(|at| millis(at.saturating_duration_since(now))),
                })
                .collect(),
            udp_generation: self.steering.udp_generation,
            secret: self.steering.secret,
            restarts: self.restarts,
            deadly: self.deadly(),
            wants_spare: self.spare_at.is_some(),
            walk: self.walk.clone(),
            descriptors: descriptors.len(),
            elders: self.elders.iter().map(|elder| elder.has).collect(),
            knows_all: self.knows_all,
        };
        ours.send(&Passed::Carried(Box::new(carried)), &[], true)?;
        for packet in descriptors.chunks(DESCRIPTORS_PER_PACKET) {
            ours.send(&Passed::Descriptors, packet, true)?;
        }
        // Lines that wait for their writer would go with its thread.
        self.events.close(LINES_WAIT);
        let error = Command::new(&self.binary)
            .arg0("rempart")
            .arg("supervisor-role")
            .stdin(Stdio::from(theirs))
            .exec();
        self.events = Events::start(Target::Stderr, clock::unix_us)?;
        Err(error).with_context(|| format!("{} cannot be started", self.binary.display()))
    }
}

/// Goes on as the supervisor that this process was before it became a newer binary.
///
/// # Errors
/// When what was carried over is not understood. The edges then serve on without a supervisor.
pub(crate) fn run_role() -> Result<ExitCode> {
    let signals = Signals::take()?;
    let channel = Channel::from_stdin()?;
    privileges::gain_nothing_more();
    let (mut supervisor, from) = take_over(&channel, signals)?;
    drop(channel);
    // Told by the one who knows that it came to it.
    let fields: [(&'static str, Value<'_>); 2] = [("from", (&from).into()), ("to", VERSION.into())];
    supervisor.events.info("upgraded", &fields);
    supervisor.events.info("resumed", &[("restarts", supervisor.restarts.into())]);
    supervisor.run_to_end(|_| ())
}

/// Gives the version that carried everything over too.
fn take_over(channel: &Channel, signals: Signals) -> Result<(Supervisor, String)> {
    let Some((Passed::Carried(carried), mut descriptors)) = channel.receive()? else {
        anyhow::bail!("this role is started by an older supervisor, at an upgrade");
    };
    ensure!(carried.descriptors <= DESCRIPTORS_MAX, "{} descriptors are announced", carried.descriptors);
    while descriptors.len() < carried.descriptors {
        match channel.receive::<Passed>()? {
            Some((Passed::Descriptors, more)) if !more.is_empty() => descriptors.extend(more),
            _ => anyhow::bail!("descriptors are missing: {} of {}", descriptors.len(), carried.descriptors),
        }
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().context("fewer descriptors came than were announced");
    let file = crate::edge_role::read_memory_file(&carried.config, next()?)?;
    let command_socket = next()?;
    let lock = Lock::held(next()?);
    let admin = match carried.admin {
        Some(address) => Some((address, next()?)),
        None => None,
    };
    let mut listeners = Vec::new();
    for plan in &carried.listeners {
        let mut take = |count: usize| (0..count).map(|_| next()).collect::<Result<Vec<OwnedFd>>>();
        listeners.push(ListenerSockets { address: plan.address, tcp: take(plan.tcp)?, udp: take(plan.udp)? });
    }
    let now = clock::now();
    let mut children = Vec::new();
    for carried in &carried.children {
        let channel = Channel::of(next()?);
        let black_box = if carried.has_black_box { Some(next()?) } else { None };
        let Some(pid) = Pid::from_raw(carried.pid) else { continue };
        let since = now.checked_sub(Duration::from_millis(carried.lived_ms)).unwrap_or(now);
        // One that ended during the exec is gone; the next look at the others finds nobody serving, if it was
        // that one.
        if let Ok(mut child) =
            Child::known(carried.role, carried.state, pid, channel, carried.udp_generation, since)
        {
            (child.number, child.has_quic) = (carried.number, carried.has_quic);
            (child.version, child.why) = (carried.version.clone(), carried.why.clone());
            child.left_at = now.checked_sub(Duration::from_millis(carried.left_ms)).unwrap_or(now);
            child.holds = carried.holds;
            child.black_box = black_box;
            child.kill_at = carried.kill_in_ms.map(|left| now + Duration::from_millis(left));
            children.push(child);
        }
    }
    let events = Events::start(Target::Stderr, clock::unix_us).context("standard error cannot be used")?;
    let data_dir = data_dir(&file.node);
    let mut culprits = Culprits::default();
    culprits.remember(&carried.deadly, clock::boot_s());
    // A binary that knew of no keeping may have been before this one.
    crate::fd_store::keep(&listeners, &events);
    let has_serving = children.iter().any(|child| child.state == State::Serving);
    let start_at = (!has_serving).then(|| (now, carried.walk.begin_anew()));
    let supervisor = Supervisor {
        binary: carried.binary,
        threads: carried.threads,
        data_dir,
        listeners,
        admin,
        command_socket,
        signals,
        events,
        children,
        steering: Steering {
            threads: carried.threads,
            udp_generation: carried.udp_generation,
            candidate_percent: 0,
            candidate_has_udp: false,
            secret: carried.secret,
        },
        restarts: carried.restarts,
        walk: carried.walk,
        was_ready: true,
        orphan: None,
        began: now,
        began_why: "an upgrade: the same process, a newer binary".to_owned(),
        start_why: "the edge before died during an upgrade".to_owned(),
        told: None,
        start_at,
        spare_at: carried.wants_spare.then_some(now),
        spare_pause: super::SPARE_PAUSE,
        splice_at: None,
        upgrade: None,
        culprits,
        unheard: super::Unheard::default(),
        unusable: std::collections::BTreeSet::new(),
        strays: None,
        elders: carried.elders.into_iter().filter_map(Elder::known).collect(),
        knows_all: carried.knows_all,
        passed_over: PassedOver::default(),
        is_stopping: false,
        can_upgrade: true,
        lock,
        file,
    };
    Ok((supervisor, carried.version))
}
