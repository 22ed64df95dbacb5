//! What children tell, and what the supervisor does about it.
//!
//! Called by the loop of `supervisor.rs`; the messages are those of [`crate::control`]. Read next:
//! [`super::candidates`], [`super::upgrade`].

use std::process::ExitCode;

use anyhow::Result;
use rustix::process::Pid;
use telemetry::events::Value;

use super::child::{Child, State};
use super::upgrade::{PROVING, Upgrade};
use super::{COMMAND_SOCKET, COMMAND_SOCKET_BESIDE, DRAIN_GRACE, SPARE_PAUSE, Supervisor};
use crate::addresses::Addresses;
use crate::changed::ChangedUrls;
use crate::clock;
use crate::control::{FromEdge, Role, ToEdge};
use crate::notify;
use crate::sockets::steering::Steering;

impl Supervisor {
    /// Takes one message of a child, if one is there.
    pub(super) fn next_message(&mut self, pid: Pid) -> Option<FromEdge> {
        let error = match self.child(pid)?.next_message() {
            Ok(message) => return message,
            Err(error) => error,
        };
        if let Err(error) = self.passed_over.pass_over(error, &self.events) {
            self.events.error("edge_not_understood", &[("cause", (&format!("{error:#}")).into())]);
        }
        None
    }

    pub(super) fn take_message(
        &mut self,
        pid: Pid,
        message: FromEdge,
        announce: &mut Option<impl FnOnce(&Addresses)>,
    ) -> Result<Option<ExitCode>> {
        let now = clock::now();
        let is_first = !self.was_ready && self.walk.quick_deaths() == 0;
        if let FromEdge::Changed { changed } = message {
            // Of one that drains too: its visitors go on changing what its successor has stored.
            self.pass_changed_on(pid, changed);
            return Ok(None);
        }
        if message == FromEdge::QuicLetGo {
            if let Some(child) = self.child(pid) {
                child.has_quic = false;
            }
            return Ok(None);
        }
        if let FromEdge::Heard { killed } = message {
            self.unheard.heard(&killed);
            return Ok(None);
        }
        let Some(child) = self.child(pid) else { return Ok(None) };
        if let FromEdge::Holds { holds } = message {
            child.holds = Some(holds);
            return Ok(None);
        }
        if child.state == State::Leaving {
            // It was replaced: what it says of changes, visitors and itself is another edge's matter now.
            return Ok(None);
        }
        let role = child.role;
        match message {
            FromEdge::Ready { number, zones, unusable, version } => {
                self.unusable.extend(unusable);
                let Some(child) = self.child(pid) else { return Ok(None) };
                (child.number, child.version) = (number, version);
                child.kill_at = None;
                match role {
                    Role::Candidate => {}
                    Role::Successor => self.upgrade = Some(Upgrade::Proves { until: now + PROVING }),
                    _ => {
                        child.state = State::Serving;
                        let udp_generation = child.udp_generation;
                        if self.orphan.is_some() {
                            self.steer_on(Steering { udp_generation, ..self.steering });
                        }
                        self.edge_is_ready(number, zones, announce);
                    }
                }
            }
            FromEdge::Standing { number, unusable, version } => {
                self.unusable.extend(unusable);
                let Some(child) = self.child(pid) else { return Ok(None) };
                (child.number, child.version) = (number, version);
                child.kill_at = None;
                if child.state == State::Starting {
                    child.state = State::Standing;
                }
                if role == Role::Spare {
                    self.spare_pause = SPARE_PAUSE;
                    self.events.info("spare_ready", &[("snapshot", number.into())]);
                }
                match role {
                    Role::Successor => self.let_successor_serve(pid, now),
                    Role::Spare if self.serving().is_none() && self.start_at.is_some() => {
                        // It stands before the edge that is to be started anew: it serves in its place.
                        if let Some((_, begin)) = self.start_at.take() {
                            self.promote(pid, begin, now);
                        }
                    }
                    _ => {}
                }
            }
            FromEdge::Unusable => match role {
                Role::Serving if is_first => {
                    // The edge has printed every problem; there is nothing to add.
                    child.wait(DRAIN_GRACE);
                    return Ok(Some(ExitCode::FAILURE));
                }
                Role::Serving => self.walk.exhaust(),
                Role::Successor => self.give_up_upgrade("the new binary cannot use what serves now"),
                Role::Spare | Role::Candidate | Role::Splice => {}
            },
            FromEdge::StartCandidate => self.start_candidate(pid, now),
            FromEdge::Steer { percent } => {
                let steering = Steering { candidate_percent: percent.min(50), ..self.steering };
                self.steer_on(steering);
                if let Some(candidate) = self.with_role(Role::Candidate) {
                    candidate.had_visitors |= percent > 0;
                }
            }
            FromEdge::EndCandidate => self.end_candidate(now),
            FromEdge::Published { number, is_good } => {
                child.number = number;
                if is_good {
                    self.walk.forgive();
                }
                if let Some(spare) = self.with_role(Role::Spare) {
                    // One that does not listen is replaced when it dies.
                    let _ = spare.tell(&ToEdge::Refresh, &[]);
                }
            }
            FromEdge::Upgrade => self.begin_upgrade(),
            FromEdge::Stuck { fingerprint, zone } => self.replace_stuck(pid, fingerprint, zone, now),
            FromEdge::Changed { .. }
            | FromEdge::QuicLetGo
            | FromEdge::Holds { .. }
            | FromEdge::Heard { .. } => {}
        }
        Ok(None)
    }

    /// Tells every edge that answers from a store of its own, but for the one that said it.
    fn pass_changed_on(&self, from: Pid, changed: ChangedUrls) {
        let message = ToEdge::Changed { changed };
        let hears = |child: &&Child| {
            let serves = child.state == State::Serving || child.role == Role::Candidate;
            child.pid != from && serves && child.state != State::Leaving && child.role != Role::Splice
        };
        for child in self.children.iter().filter(hears) {
            if let Err(error) = child.tell(&message, &[]) {
                self.events.error("edge_not_told", &[("cause", (&error.to_string()).into())]);
            }
        }
    }

    fn edge_is_ready(&mut self, number: u64, zones: usize, announce: &mut Option<impl FnOnce(&Addresses)>) {
        self.was_ready = true;
        let orphan = self.orphan.take();
        if orphan.is_some() {
            let (beside, path) =
                (self.data_dir.join(COMMAND_SOCKET_BESIDE), self.data_dir.join(COMMAND_SOCKET));
            if let Err(error) = std::fs::rename(beside, path) {
                let cause = error.to_string();
                let remedy = "no command reaches the node until it is started again";
                let fields: [(&'static str, Value<'_>); 2] =
                    [("cause", (&cause).into()), ("remedy", remedy.into())];
                self.events.error("command_socket_lost", &fields);
            }
        }
        let addresses = self.addresses();
        // Visitors are served without it; a full disk must not end what serves.
        if let Err(error) = addresses.write(&self.data_dir) {
            self.events.error("addresses_not_written", &[("cause", (&format!("{error:#}")).into())]);
        }
        let fields: [(&'static str, Value<'_>); 4] = [
            ("snapshot", number.into()),
            ("zones", zones.into()),
            ("threads", self.threads.into()),
            ("restarts", self.restarts.into()),
        ];
        self.events.info("ready", &fields);
        notify::ready();
        self.end_pass_through();
        self.pass_killed_on();
        if let Some(orphan) = orphan {
            orphan.dismiss();
        }
        if let Some(announce) = announce.take() {
            announce(&addresses);
        }
        if self.file.node.spare && self.with_role(Role::Spare).is_none() && !self.is_stopping {
            self.spare_at.get_or_insert_with(clock::now);
        }
    }
}
