//! Whose the UDP sockets are: of the edge that serves, of one that drains, of a candidate, or of nobody.
//!
//! A QUIC connection's packets come to the socket that its ids name. What is read by two is lost by both, so
//! a generation's sockets change hands only when nobody has them any more, and one that drains is told to let
//! go of them when another needs them; what is read by nobody leaves visitors waiting, so the edge that
//! serves is told which those are, and answers there that the connection is gone. Read next:
//! [`super::upgrade`], [`super::candidates`], and `edge`'s `strays.rs` and `letting_go.rs`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Supervisor;
use super::child::{Child, State};
use crate::control::{Beside, Role, ToEdge};
use crate::sockets::steering::Steering;

/// What an edge was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    to: Pid,
    generation: bool,
    candidate: bool,
    others: Vec<Beside>,
}

/// An edge of a supervisor before this one: it drains, and takes no messages.
#[derive(Debug)]
pub(super) struct Elder {
    process: OwnedFd,
    pub(super) has: Beside,
}

impl Elder {
    /// Watches it; none when it is gone.
    pub(super) fn known(has: Beside) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(has.pid).ok()?)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        Some(Self { process, has })
    }

    /// Adds what tells of its end to a list to poll.
    pub(super) fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        watched.push(PollFd::new(&self.process, PollFlags::IN));
    }

    fn has_ended(&self) -> bool {
        let nothing = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&nothing)).unwrap_or(0) > 0
    }
}

/// Which UDP sockets a child has; a spare holds them and reads none.
fn sockets_of(child: &Child) -> Option<Beside> {
    let udp_generation = match child.role {
        _ if child.is_mourned => return None,
        Role::Serving | Role::Successor if child.has_quic => Some(child.udp_generation),
        Role::Candidate => None,
        _ => return None,
    };
    Some(Beside { pid: child.pid.as_raw_nonzero().get().unsigned_abs(), udp_generation })
}

impl Supervisor {
    /// Who has UDP sockets.
    fn owners(&self) -> impl Iterator<Item = Beside> {
        self.children.iter().filter_map(sockets_of).chain(self.elders.iter().map(|elder| elder.has))
    }

    /// Whether another has the UDP sockets of a generation, as far as is known.
    fn is_taken(&self, generation: usize) -> bool {
        let is_orphans = self.orphan.as_ref().is_some_and(|orphan| orphan.udp_generation == generation);
        is_orphans || self.owners().any(|owner| owner.udp_generation == Some(generation))
    }

    /// Whether another than `but` may have the UDP sockets of a generation: then who is to read them waits
    /// until that has let go (`edge_role/quic_claim.rs`).
    pub(super) fn may_be_taken(&self, generation: usize, but: Option<Pid>) -> bool {
        let but = but.map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        let has = |owner: &Beside| owner.udp_generation == Some(generation) && Some(owner.pid) != but;
        !self.knows_all || self.owners().any(|owner| has(&owner))
    }

    /// Whether another child than `but` has them. Edges of an earlier supervisor are not waited for: they let
    /// go at once, and cannot say so here.
    pub(super) fn has_child_with(&self, generation: usize, but: Pid) -> bool {
        let has = |child: &Child| sockets_of(child).is_some_and(|it| it.udp_generation == Some(generation));
        self.children.iter().any(|child| child.pid != but && has(child))
    }

    /// Whether a candidate that is started now has its UDP sockets for itself. One before it may keep its
    /// QUIC connections, also one of an earlier supervisor: two that read one socket would each take half of
    /// the other's packets.
    pub(super) fn is_candidates_udp_free(&self) -> bool {
        let is_other = |child: &Child| child.role == Role::Candidate && !child.is_killed;
        let is_elder = |elder: &Elder| elder.has.udp_generation.is_none() && !elder.has_ended();
        let is_taken = self.children.iter().any(is_other) || self.elders.iter().any(is_elder);
        self.knows_all && !is_taken
    }

    /// The generation of UDP sockets for an edge that is to serve at once, and steers new visitors there: one
    /// that nobody has, else that of an edge which drains and is told to let go. It is read when that one
    /// has, and TCP is served meanwhile. While an edge of an earlier supervisor serves, visitors stay with
    /// that.
    pub(super) fn generation_to_serve(&mut self) -> usize {
        let steered = self.steering.udp_generation.min(1);
        if !self.is_taken(steered) {
            return steered;
        }
        let other = 1 - steered;
        if self.is_taken(other) {
            self.take_back(other, Duration::ZERO);
        }
        if self.orphan.is_none() {
            self.steer_on(Steering { udp_generation: other, ..self.steering });
        }
        other
    }

    /// Tells edges that drain to let go of a generation of UDP sockets.
    pub(super) fn take_back(&mut self, generation: usize, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let has = |child: &&mut Child| {
            let sockets = sockets_of(child).and_then(|has| has.udp_generation);
            child.state == State::Leaving && sockets == Some(generation)
        };
        for child in self.children.iter_mut().filter(has) {
            // One that does not listen is waited for in vain, for a while.
            let _ = child.tell(&ToEdge::LetGoOfQuic { within_ms }, &[]);
        }
        for elder in self.elders.iter().filter(|elder| elder.has.udp_generation == Some(generation)) {
            let _ = pidfd_send_signal(&elder.process, Signal::USR2);
        }
    }

    /// Tells the edge that serves which sockets are nobody's, when that has changed.
    pub(super) fn tell_strays(&mut self) {
        self.elders.retain(|elder| !elder.has_ended());
        if self.is_stopping {
            return;
        }
        let Some((to, generation)) = self.serving().map(|child| (child.pid, child.udp_generation)) else {
            return;
        };
        let own = to.as_raw_nonzero().get().unsigned_abs();
        let others: Vec<Beside> = self.owners().filter(|owner| owner.pid != own).collect();
        let is_free = |of: Option<usize>| self.knows_all && others.iter().all(|it| it.udp_generation != of);
        let (generation, candidate) = (is_free(Some(1 - generation.min(1))), is_free(None));
        let told = Told { to, generation, candidate, others };
        if self.strays.as_ref() == Some(&told) || !self.is_set_up(to) {
            return;
        }
        let others = told.others.clone();
        self.strays = Some(told);
        self.tell_serving(&ToEdge::Strays { generation, candidate, others }, &[]);
    }

    /// Whether an edge serves already: one that starts would not expect the message.
    fn is_set_up(&mut self, pid: Pid) -> bool {
        self.child(pid).is_some_and(|child| child.state == State::Serving)
    }
}
