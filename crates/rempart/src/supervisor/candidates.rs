//! The supervisor's part in a publish: starts the candidate, sends it a share of the visitors, ends it.
//!
//! What is tried, and whether it is good, is the serving edge's question. Read next: [`super`],
//! [`super::child`].

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::Pid;

use super::child::State;
use super::{DRAIN_GRACE, Supervisor, words};
use crate::control::{Begin, Channel, Role, ToEdge};
use crate::sockets::steering::Steering;

impl Supervisor {
    /// Starts a candidate for the serving edge `pid`, and gives that the channel to it.
    pub(super) fn start_candidate(&mut self, pid: Pid, now: Instant) {
        let started = self.try_start_candidate(now);
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

    fn try_start_candidate(&mut self, now: Instant) -> Result<(Pid, OwnedFd)> {
        // At most one: an earlier one that drains still holds the candidate's sockets.
        for child in self.children.iter_mut().filter(|child| child.role == Role::Candidate) {
            child.kill();
        }
        let (ours, theirs) = Channel::pair()?;
        let pid = self.start_child(Role::Candidate, Begin::Newest, 0, Some(theirs), now)?;
        Ok((pid, ours.into_descriptor()))
    }

    /// Lets the candidate drain; visitors go to the serving edge from now on.
    pub(super) fn end_candidate(&mut self, now: Instant) {
        let steering = Steering { candidate_percent: 0, ..self.steering };
        if steering != self.steering {
            self.steer_on(steering);
        }
        let drain = Duration::from_millis(self.file.node.drain_ms) + DRAIN_GRACE;
        if let Some(candidate) = self.with_role(Role::Candidate) {
            candidate.state = State::Leaving;
            candidate.kill_at = Some(now + drain);
            if candidate.tell(&ToEdge::Drain, &[]).is_err() {
                candidate.kill();
            }
        }
    }

    pub(super) fn lose_candidate(&mut self, status: Option<ExitStatus>) {
        let steering = Steering { candidate_percent: 0, ..self.steering };
        self.steer_on(steering);
        let how = words(status);
        self.events.info("candidate_died", &[("status", (&how).into())]);
        self.tell_serving(&ToEdge::CandidateEnded { how, culprit: None }, &[]);
    }
}
