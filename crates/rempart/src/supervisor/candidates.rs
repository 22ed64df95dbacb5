//! The supervisor's part in a publish: starts the candidate, sends it a share of the visitors, ends it.
//!
//! What is tried, and whether it is good, is the serving edge's question. Read next: [`super`],
//! [`super::child`].

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::Pid;

use super::child::{Child, State};
use super::{DRAIN_GRACE, Supervisor, culprits, words};
use crate::clock;
use crate::control::{Begin, Channel, Role, ToEdge};
use crate::sockets::steering::Steering;

/// Replaced edges that may linger at a time: each has the memory of an idle edge.
const LINGERING_MAX: usize = 8;

impl Supervisor {
    /// Starts a candidate for the serving edge `pid`, and gives that the channel to it.
    pub(super) fn start_candidate(&mut self, pid: Pid, now: Instant) {
        let started = self.try_start_candidate();
        let message = match &started {
            Ok((candidate, _)) => ToEdge::Candidate { pid: candidate.as_raw_nonzero().get().unsigned_abs() },
            Err(error) => ToEdge::CandidateEnded { how: format!("{error:#}"), culprit: None },
        };
        let descriptors: Vec<BorrowedFd<'_>> =
            started.as_ref().map(|(_, channel)| channel.as_fd()).into_iter().collect();
        let told = self.child(pid).map_or(Ok(()), |child| child.tell(&message, &descriptors));
        if let Err(error) = told {
            self.events.error("edge_not_told", &[("cause", (&error.to_string()).into())]);
            self.end_candidate(now);
        }
    }

    fn try_start_candidate(&mut self) -> Result<(Pid, OwnedFd)> {
        // The successor has compiled what serves now: nothing may change under it.
        ensure!(self.upgrade.is_none(), "an upgrade is under way: try again when it is done");
        // At most one that accepts; those that drain have let the candidate's sockets go.
        let accepts = |child: &&mut Child| child.role == Role::Candidate && child.state != State::Leaving;
        self.children.iter_mut().filter(accepts).for_each(Child::kill);
        // One whose UDP socket is another's is tried over TCP alone.
        self.steering.candidate_has_udp = self.is_candidates_udp_free();
        let (ours, theirs) = Channel::pair()?;
        let pid = self.start_child(Role::Candidate, Begin::Newest, 0, Some(theirs), "tries a change out")?;
        Ok((pid, ours.into_descriptor()))
    }

    /// Lets the candidate drain; visitors go to the serving edge from now on.
    pub(super) fn end_candidate(&mut self, now: Instant) {
        let steering = Steering { candidate_percent: 0, ..self.steering };
        if steering != self.steering {
            self.steer_on(steering);
        }
        let Some(candidate) = self.with_role(Role::Candidate) else { return };
        if candidate.had_visitors {
            let pid = candidate.pid;
            return self.let_linger(pid, "tried a change out", now);
        }
        // It holds nobody, and may hang in what it compiles.
        candidate.leave("tried a change out, and had no visitor", now, now + DRAIN_GRACE);
        if candidate.tell(&ToEdge::Drain { within_ms: Some(0) }, &[]).is_err() {
            candidate.kill();
        }
    }

    /// Lets an edge that was replaced drain: the visitors it has are served to their end, for up to
    /// `linger_ms`.
    pub(super) fn let_linger(&mut self, pid: Pid, why: &str, now: Instant) {
        let within_ms = self.file.node.linger_ms;
        let drain = Duration::from_millis(self.file.node.drain_ms) + DRAIN_GRACE;
        let mut lingering = self.children.iter().filter(|child| child.state == State::Leaving).count();
        for child in self.children.iter_mut().filter(|child| child.state == State::Leaving) {
            if lingering < LINGERING_MAX {
                break;
            }
            lingering -= 1;
            if child.kill_at.is_none_or(|at| at > now + drain) {
                child.kill_at = Some(now + drain);
                let _ = child.tell(&ToEdge::Drain { within_ms: None }, &[]);
            }
        }
        let Some(child) = self.child(pid) else { return };
        child.leave(why, now, now + Duration::from_millis(within_ms) + DRAIN_GRACE);
        if child.tell(&ToEdge::Drain { within_ms: Some(within_ms) }, &[]).is_err() {
            child.kill();
        }
    }

    pub(super) fn lose_candidate(&mut self, status: Option<ExitStatus>, black_box: Option<&OwnedFd>) {
        let mut slots = black_box.map(culprits::slots).unwrap_or_default();
        // What it served is withdrawn whole: its deaths do not set back the zone as it serves.
        slots.iter_mut().for_each(|slot| slot.zone = [0; 8]);
        let killed = self.culprits.after(&slots, clock::boot_s());
        let culprit = killed
            .first()
            .map(|killed| format!("the request {:016x} in the phase {}", killed.fingerprint, killed.phase));
        let steering = Steering { candidate_percent: 0, ..self.steering };
        self.steer_on(steering);
        let how = words(status);
        self.events.info("candidate_died", &[("status", (&how).into())]);
        self.tell_serving(&ToEdge::CandidateEnded { how, culprit }, &[]);
    }
}
