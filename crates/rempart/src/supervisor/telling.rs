//! Tells the edge that serves, or while none does the splice, which processes there are, since when and why:
//! `rempart status` is answered there.
//!
//! It decides nothing. Called by the loop of `supervisor.rs`; read next: [`super::child`].

use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::child::{Child, State};
use super::{DRAIN_GRACE, Supervisor};
use crate::clock;
use crate::control::{Holds, Process, Role, ToEdge};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was told of a process; times as they do not change while it does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pid: u32,
    does: &'static str,
    version: String,
    snapshot: u64,
    since: Option<Instant>,
    until: Option<Instant>,
    why: String,
    holds: Option<Holds>,
}

impl Known {
    fn of(child: &Child) -> Self {
        let does = match (child.role, child.state) {
            (_, State::Leaving) => "draining",
            (Role::Serving, State::Starting) => "starting",
            (Role::Serving, _) => "serving",
            (Role::Spare, _) => "spare",
            (Role::Candidate, _) => "candidate",
            (Role::Successor, _) => "successor",
            (Role::Splice, _) => "splice",
        };
        let is_leaving = child.state == State::Leaving;
        Self {
            pid: number(child.pid),
            does,
            version: child.version.clone(),
            snapshot: child.number,
            since: Some(if is_leaving { child.left_at } else { child.since }),
            // The grace is for its last lines: visitors have until then.
            until: child.kill_at.filter(|_| is_leaving).and_then(|at| at.checked_sub(DRAIN_GRACE)),
            why: child.why.clone(),
            holds: child.holds,
        }
    }

    fn told(&self, now: Instant) -> Process {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Process {
            pid: self.pid,
            does: self.does.to_owned(),
            version: self.version.clone(),
            snapshot: self.snapshot,
            for_ms: self.since.map(|since| millis(now.saturating_duration_since(since))),
            why: self.why.clone(),
            left_ms: self.until.map(|until| millis(until.saturating_duration_since(now))),
            holds: self.holds,
        }
    }
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

impl Supervisor {
    /// Tells whoever answers commands of every process, when something has changed.
    pub(super) fn tell_processes(&mut self) {
        let serving = self.serving().filter(|child| child.state == State::Serving).map(|child| child.pid);
        let Some(to) = serving.or_else(|| self.with_role(Role::Splice).map(|child| child.pid)) else {
            return;
        };
        let all = self.processes();
        if self.told.as_ref().is_some_and(|(told_to, told)| (*told_to, told) == (to, &all)) {
            return;
        }
        let now = clock::now();
        let processes = all.iter().map(|known| known.told(now)).collect();
        let Some(child) = self.child(to) else { return };
        // One that takes no messages at the moment is told with the next change, or of this one again.
        if child.tell(&ToEdge::Processes { processes }, &[]).is_ok() {
            self.told = Some((to, all));
        }
    }

    fn processes(&self) -> Vec<Known> {
        let own = Known {
            pid: std::process::id(),
            does: "supervisor",
            version: VERSION.to_owned(),
            snapshot: 0,
            since: Some(self.began),
            until: None,
            why: self.began_why.clone(),
            holds: None,
        };
        let elders = self.elders.iter().map(|elder| Known {
            pid: elder.has.pid,
            does: "draining",
            version: String::new(),
            snapshot: 0,
            since: None,
            until: None,
            why: "belongs to a supervisor that died".to_owned(),
            holds: None,
        });
        let children = self.children.iter().filter(|child| !child.is_mourned).map(Known::of);
        [own].into_iter().chain(children).chain(elders).collect()
    }
}
