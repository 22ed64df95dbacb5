//! What follows from the death of a serving edge: who takes over, with what, and what is told of the culprit.
//!
//! Read next: [`super::walk`] (what to begin with), [`super::culprits`] (whom to refuse).

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use blackbox::SlotView;
use nix::sys::signal::Signal;
use rustix::process::Pid;
use telemetry::events::Value;

use super::child::State;
use super::walk::Cause;
use super::{DRAIN_GRACE, Supervisor, culprits};
use crate::clock;
use crate::control::{Begin, Deadly, Killed, Role, ToEdge};

/// How long the way of a death may take to be known when no thread was marked: the kernel tears down the
/// memory first. Meanwhile visitors wait in the queue.
const STATUS_WAIT: Duration = Duration::from_millis(20);

/// The shortest pause before another spare is started: the edge that took over has the machine for itself
/// until then.
const SPARE_PAUSE_LEAST: Duration = Duration::from_millis(200);

impl Supervisor {
    /// The serving edge is dead: the spare takes over at once, or another is started.
    pub(super) fn lose_serving(
        &mut self,
        pid: Pid,
        status: Option<ExitStatus>,
        black_box: Option<&OwnedFd>,
        lived: Duration,
        now: Instant,
    ) {
        let slots = black_box.map(culprits::slots).unwrap_or_default();
        let killed = self.culprits.after(&slots, clock::boot_s());
        self.tell_killed(&killed);
        if self.upgrade.is_some() && self.serving().is_some() {
            // The successor serves already, or is about to: if it cannot, giving the upgrade up starts
            // another.
            let deadly = self.deadly();
            self.tell_serving(&ToEdge::Refuse { deadly }, &[]);
            self.unheard.add(killed);
            return self.pass_killed_on();
        }
        self.restarts += 1;
        // Whoever tried something out is gone: nobody would end its candidate.
        self.end_candidate(now);
        let cause = if killed.iter().any(|killed| killed.is_certain) {
            Cause::Request
        } else {
            self.cause_of(pid, status, &slots)
        };
        let step = self.walk.after(lived, cause);
        let begin = match step.begin {
            Some(begin) => begin,
            // Everything kept has been tried: visitors are passed through, and an edge is tried again and
            // again.
            None => {
                self.begin_pass_through(now);
                Begin::Kept { skip: 0 }
            }
        };
        let why =
            format!("in the place of process {pid}, which died{}", self.cause_told(pid, status, &killed));
        self.serve_again(begin, step.pause, why, now);
        self.unheard.add(killed);
        self.pass_killed_on();
    }

    /// Nobody serves: the spare that stands does from now on, or another edge is started after `pause`.
    pub(super) fn serve_again(&mut self, begin: Begin, pause: Duration, why: String, now: Instant) {
        self.start_why = why;
        let spare = self.with_role(Role::Spare).filter(|spare| spare.state == State::Standing);
        match spare.map(|spare| spare.pid) {
            Some(spare) => {
                self.promote(spare, begin, now);
                self.spare_at = Some(now + pause.max(SPARE_PAUSE_LEAST));
            }
            None => self.start_at = Some((now + pause, begin)),
        }
    }

    /// What an edge died of that none of its slots names.
    fn cause_of(&mut self, pid: Pid, status: Option<ExitStatus>, slots: &[SlotView]) -> Cause {
        if blackbox::culprit(slots).is_some() {
            return Cause::Other;
        }
        let Some(child) = self.child(pid) else {
            return status.map_or(Cause::Kill, cause_in);
        };
        if child.is_killed {
            // By us: it did not come to serve in time, or did not listen.
            return Cause::Other;
        }
        if let Some(status) = status {
            return cause_in(status);
        }
        child.wait(STATUS_WAIT);
        // Whoever waits for it afterwards finds it gone, so the status is kept.
        child.ended_with = child.ended().flatten();
        child.is_cause_open = child.ended_with.is_none();
        child.ended_with.map_or(Cause::Kill, cause_in)
    }

    /// What is known of a death when another is started, for a person.
    fn cause_told(&mut self, pid: Pid, status: Option<ExitStatus>, killed: &[Killed]) -> String {
        if let Some(killed) = killed.iter().find(|killed| killed.is_certain) {
            return format!(" of the request {:016x} in the phase {}", killed.fingerprint, killed.phase);
        }
        let status = status.or_else(|| self.child(pid).and_then(|child| child.ended_with));
        status.map_or_else(String::new, |status| format!(" ({status})"))
    }

    /// A death that was acted on before its status was known can be judged now.
    pub(super) fn judge_late(&mut self, status: Option<ExitStatus>) {
        if status.is_some_and(|status| cause_in(status) != Cause::Kill) {
            self.walk.doubt();
        }
    }

    /// Requests refused at every door.
    pub(super) fn deadly(&self) -> Vec<Deadly> {
        self.culprits.deadly(clock::boot_s())
    }

    /// Tells what an edge died of, before anybody serves again who could name the zone.
    fn tell_killed(&self, killed: &[Killed]) {
        for killed in killed {
            let (request, zone) = (format!("{:016x}", killed.fingerprint), hex(killed.zone));
            let fields: [(&'static str, Value<'_>); 6] = [
                ("fingerprint", (&request).into()),
                ("zone_id", (&zone).into()),
                ("phase", killed.phase.as_str().into()),
                ("rule", u64::from(killed.rule).into()),
                ("kills", u64::from(killed.kills).into()),
                ("refused", killed.is_refused.into()),
            ];
            let event = if killed.is_certain { "culprit" } else { "suspect" };
            self.events.error(event, &fields);
        }
    }

    /// Tells the edge that serves now what the one before it died of: it knows the zones' names, and sets one
    /// back whose requests keep killing. The next one is told again if this one dies before it has acted.
    pub(super) fn pass_killed_on(&mut self) {
        let Some(pid) = self.serving().map(|child| child.pid) else { return };
        let killed = self.unheard.tell(pid);
        if let Some(child) = self.child(pid).filter(|_| !killed.is_empty()) {
            // One that does not listen is followed by another, which is told.
            let _ = child.tell(&ToEdge::Killed { killed }, &[]);
        }
    }

    /// A thread of a serving edge hangs: its request is refused from now on, and another process serves.
    pub(super) fn replace_stuck(&mut self, pid: Pid, fingerprint: Option<u64>, zone: [u8; 8], now: Instant) {
        let kill_at = now + Duration::from_millis(self.file.node.drain_ms) + DRAIN_GRACE;
        let Some(child) = self.child(pid).filter(|child| child.state != State::Leaving) else { return };
        child.leave("a thread of it is stuck", now, kill_at);
        let lived = now.saturating_duration_since(child.since);
        let slots = child.black_box.as_ref().map(culprits::slots).unwrap_or_default();
        let (request, zone_id) = (fingerprint.map_or_else(String::new, |it| format!("{it:016x}")), hex(zone));
        let fields: [(&'static str, Value<'_>); 2] =
            [("fingerprint", (&request).into()), ("zone_id", (&zone_id).into())];
        self.events.error("edge_stuck", &fields);
        // The thread hangs on, so its slot still says what with.
        let hangs = |slot: &&SlotView| Some(slot.fingerprint) == fingerprint && slot.zone == zone;
        if let Some(slot) = slots.iter().find(hangs) {
            let killed = self.culprits.hung(slot, clock::boot_s());
            self.unheard.add(vec![killed]);
        }
        self.restarts += 1;
        self.end_candidate(now);
        let cause = if fingerprint.is_some() { Cause::Request } else { Cause::Other };
        let step = self.walk.after(lived, cause);
        let begin = step.begin.unwrap_or_else(|| {
            self.begin_pass_through(now);
            Begin::Kept { skip: 0 }
        });
        let why = format!("in the place of process {pid}, which has a stuck thread");
        self.serve_again(begin, step.pause, why, now);
        self.pass_killed_on();
        if let Some(child) = self.child(pid) {
            // Its other threads finish what they have; the stuck one is killed with the process.
            let _ = child.tell(&ToEdge::Drain { within_ms: None }, &[]);
        }
    }
}

/// What a status says of a death without a culprit.
fn cause_in(status: ExitStatus) -> Cause {
    if status.signal() == Some(Signal::SIGKILL as i32) { Cause::Kill } else { Cause::Other }
}

fn hex(zone: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(zone))
}
