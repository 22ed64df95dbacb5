//! An upgrade: the binary that is on disk is started as a successor, serves beside the older edge, and takes
//! its place.
//!
//! No socket is closed and no visitor refused: both edges hold the same sockets. New QUIC connections go to
//! the successor's generation of UDP sockets; the older edge keeps its own until it has drained. An upgrade
//! that fails leaves the older edge serving. Read next: [`super`], [`super::resume`].

use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Pid;
use telemetry::events::Value;

use super::child::State;
use super::{DRAIN_GRACE, Supervisor};
use crate::clock;
use crate::control::{Role, ToEdge};
use crate::sockets::steering::Steering;

/// How long both edges of an upgrade serve side by side: a new binary that cannot serve shows it at once,
/// and the old one is still there.
pub(super) const PROVING: Duration = Duration::from_secs(1);

/// How long a successor may take to stand: it compiles every zone.
const SUCCESSOR_WAIT: Duration = Duration::from_secs(60);

/// How long an upgrade waits at most for exchanges over QUIC at an edge that was replaced before.
const QUIC_WAIT_MAX: Duration = Duration::from_secs(10);

/// How much longer an edge may take to let go of its UDP sockets.
const QUIC_GRACE: Duration = Duration::from_secs(2);

/// Why a successor is there.
const UPGRADE: &str = "an upgrade to the binary on disk";

/// An upgrade under way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Upgrade {
    /// The successor compiles; given up then.
    Waits { until: Instant },
    /// The successor stands, and its UDP sockets are those of an edge that drains; not waited for longer.
    WaitsForQuic { pid: Pid, until: Instant },
    /// Both serve; the older one drains then.
    Proves { until: Instant },
}

impl Upgrade {
    /// When something is to be done, if nothing happens before.
    pub(super) fn until(self) -> Instant {
        match self {
            Self::Waits { until } | Self::WaitsForQuic { until, .. } | Self::Proves { until } => until,
        }
    }
}

impl Supervisor {
    /// Starts what is on disk now beside the edge that serves.
    pub(super) fn begin_upgrade(&mut self) {
        let now = clock::now();
        if self.is_stopping || self.upgrade.is_some() {
            return;
        }
        if !self.can_upgrade {
            return self.give_up_upgrade("a demo cannot be upgraded: end it and start it again");
        }
        if self.with_role(Role::Candidate).is_some() {
            return self.give_up_upgrade("a change is being published: try again when it is live");
        }
        let steered = self.steering.udp_generation;
        let generation = 1 - self.serving().map_or(steered, |child| child.udp_generation).min(1);
        self.upgrade = Some(Upgrade::Waits { until: now + SUCCESSOR_WAIT });
        // Those of an edge that an upgrade not long ago has replaced: it drains yet.
        self.take_back(generation, self.quic_wait());
        self.events.info("upgrade_begins", &[("binary", (&self.binary.display().to_string()).into())]);
        let begin = self.walk.begin_anew();
        if let Err(error) = self.start_child(Role::Successor, begin, generation, None, UPGRADE) {
            self.give_up_upgrade(&format!("{error:#}"));
        }
    }

    /// How long exchanges of an edge that drains may go on over QUIC once its sockets are needed.
    fn quic_wait(&self) -> Duration {
        Duration::from_millis(self.file.node.drain_ms).min(QUIC_WAIT_MAX)
    }

    /// Goes on with an upgrade when its time has come.
    pub(super) fn look_at_upgrade(&mut self, now: Instant) -> Result<()> {
        match self.upgrade {
            Some(Upgrade::Waits { until }) if until <= now => {
                self.give_up_upgrade("the new binary took too long to compile the zones");
            }
            Some(Upgrade::WaitsForQuic { pid, until }) => {
                let generation = self.child(pid).map_or(0, |child| child.udp_generation);
                let is_taken = self.has_child_with(generation, pid);
                if is_taken && until <= now {
                    let remedy = "an edge that drains keeps its UDP sockets: visitors over QUIC may have to \
                                  connect again; wait for `drained` before the next upgrade";
                    self.events.warn("quic_not_let_go", &[("remedy", remedy.into())]);
                }
                if !is_taken || until <= now {
                    self.upgrade = Some(Upgrade::Waits { until: now + SUCCESSOR_WAIT });
                    self.serve_beside(pid);
                }
            }
            Some(Upgrade::Proves { until }) if until <= now => self.finish_upgrade(now)?,
            _ => {}
        }
        Ok(())
    }

    /// The successor has compiled: it serves as soon as nobody else reads its UDP sockets.
    pub(super) fn let_successor_serve(&mut self, pid: Pid, now: Instant) {
        self.upgrade = Some(Upgrade::WaitsForQuic { pid, until: now + self.quic_wait() + QUIC_GRACE });
    }

    /// The successor serves, and gets new QUIC connections; the older one goes on too.
    fn serve_beside(&mut self, pid: Pid) {
        let (begin, restarts, deadly) = (self.walk.begin_anew(), self.restarts, self.deadly());
        let Some(child) = self.child(pid) else { return };
        let udp_generation = child.udp_generation;
        let is_quic_taken = self.may_be_taken(udp_generation, Some(pid));
        self.tell_serving(&ToEdge::UpgradeProves, &[]);
        let Some(child) = self.child(pid) else { return };
        child.state = State::Serving;
        let serve = ToEdge::Serve { begin, restarts, udp_generation, deadly, is_quic_taken };
        if let Err(error) = child.tell(&serve, &[]) {
            return self.give_up_upgrade(&error.to_string());
        }
        self.steer_on(Steering { udp_generation, ..self.steering });
    }

    /// The successor has proven itself: the older edge drains, and this process becomes the new binary.
    pub(super) fn finish_upgrade(&mut self, now: Instant) -> Result<()> {
        self.upgrade = None;
        let mut replaced = Vec::new();
        let before = self.children.iter().find(|child| child.role == Role::Serving).map(|child| child.pid);
        let took_over = before.map_or_else(String::new, |pid| format!(", took over from process {pid}"));
        for child in &mut self.children {
            match child.role {
                Role::Successor => {
                    (child.role, child.state, child.since) = (Role::Serving, State::Serving, now);
                    child.why = format!("{UPGRADE}{took_over}");
                }
                Role::Splice => {}
                Role::Serving | Role::Spare | Role::Candidate => replaced.push(child.pid),
            }
        }
        for pid in replaced {
            self.let_linger(pid, "an upgrade has taken its place", now);
        }
        if self.file.node.spare {
            self.spare_at = Some(now);
        }
        // From here on only a failure comes back.
        let error = self.become_new_binary();
        let remedy = "the new edge serves; the supervisor is still the older binary";
        let cause = format!("{error:#}");
        let fields: [(&'static str, Value<'_>); 2] = [("cause", (&cause).into()), ("remedy", remedy.into())];
        self.events.error("supervisor_not_upgraded", &fields);
        Ok(())
    }

    pub(super) fn give_up_upgrade(&mut self, why: &str) {
        self.upgrade = None;
        self.events.error("upgrade_failed", &[("cause", why.into())]);
        let now = clock::now();
        let mut generation = None;
        for child in self.children.iter_mut().filter(|child| child.role == Role::Successor) {
            child.leave(format!("the upgrade failed: {why}"), now, now + DRAIN_GRACE);
            let _ = child.tell(&ToEdge::Drain { within_ms: None }, &[]);
        }
        if let Some(serving) = self.serving() {
            generation = Some(serving.udp_generation);
        }
        if let Some(udp_generation) = generation {
            self.steer_on(Steering { udp_generation, ..self.steering });
        }
        self.tell_serving(&ToEdge::UpgradeFailed { why: why.to_owned() }, &[]);
        if self.serving().is_none() && self.start_at.is_none() {
            // The older edge died meanwhile, when the successor was to go on in its place.
            self.restarts += 1;
            let why = "the edge before died during an upgrade that failed".to_owned();
            self.serve_again(self.walk.begin_anew(), Duration::ZERO, why, now);
        }
    }
}
