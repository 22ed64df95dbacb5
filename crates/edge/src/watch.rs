//! The watchdog: notices a serving thread that is stuck in one poll, and names what it works on.
//!
//! Synchronous code cannot be interrupted, so a poll that does not end takes its thread, and the visitors
//! whose connections the kernel gave to that thread's listener. A thread of its own looks every [`SAMPLE_MS`]
//! at each serving thread's beat, which every outermost poll moves, and at its CPU clock. A beat that stands
//! still while the thread burns [`STUCK_US`] is a poll that does not end; a thread that waits burns nothing,
//! and one that is starved by others burns nothing either, so a busy machine is no false alarm. What it
//! approximates: a poll that computes for long and would end is stuck too, until it ends.
//!
//! Then the neighbours accept for it ([`crate::relief`]), an event names the request, zone, phase and rule of
//! its slot, and after [`LOST_US`] whoever wired the node is told once, to replace the process. When the
//! thread's beat moves again, relief ends.
//!
//! The cache's disk, whose threads may hang in the kernel, is looked at on the way (`cache/disk_watch.rs`).
//!
//! Caller: `serving.rs`. Read next: [`Pulse::sample`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use blackbox::{Slot, SlotState, SlotView};
use exchange::Phase;
use nix::time::{ClockId, clock_gettime};

use crate::node::Node;
use crate::relief::Relief;

/// How often the threads are looked at: 50 times a second, a microsecond each.
const SAMPLE_MS: u64 = 20;

/// Looks at the threads for each look at the cache's disk, which is looked at ten times a second.
const DISK_EVERY: u64 = 5;

/// A poll's own CPU time, in microseconds, from which on its thread counts as stuck: three hundred times what
/// a request takes. A poll may begin just after a look and pass this just after another, so that it is
/// noticed at most two looks later: within 100 ms, a delay that a person notices.
const STUCK_US: u64 = 60_000;

/// From which on it counts as lost: the process should be replaced.
const LOST_US: u64 = 1_000_000;

/// A serving thread that does not come back, and what it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckReport {
    /// The thread's number.
    pub thread: usize,
    /// The fingerprint of the request it is stuck with; none when it is stuck outside of any.
    pub fingerprint: Option<u64>,
    /// The first 8 bytes of the zone's id; zeros when no zone is known.
    pub zone: [u8; 8],
    /// The zone's name, if the zone is still in force.
    pub zone_name: Option<String>,
    /// The phase.
    pub phase: Phase,
    /// The rule, by its place in the zone, or the id of a firewall's; 0 for none.
    pub rule: u32,
    /// The CPU time its poll has taken so far, in microseconds.
    pub cpu_us: u64,
}

/// What a look at a thread found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing new.
    Nothing,
    /// It is stuck since this look.
    Stuck,
    /// It has been stuck for so long that it will not come back.
    Lost,
    /// It was stuck and is not any more.
    Recovered,
}

/// What is known of one thread's beat. Pure.
#[derive(Debug, Default)]
struct Pulse {
    beat: u64,
    /// The thread's CPU time when this beat was first seen.
    base_us: u64,
    is_stuck: bool,
    is_lost: bool,
}

impl Pulse {
    fn sample(&mut self, beat: u64, cpu_us: u64) -> Found {
        if beat != self.beat {
            let was_stuck = self.is_stuck;
            *self = Self { beat, base_us: cpu_us, is_stuck: false, is_lost: false };
            return if was_stuck { Found::Recovered } else { Found::Nothing };
        }
        let burnt_us = self.burnt_us(cpu_us);
        if !self.is_stuck && burnt_us >= STUCK_US {
            self.is_stuck = true;
            return Found::Stuck;
        }
        if !self.is_lost && burnt_us >= LOST_US {
            self.is_lost = true;
            return Found::Lost;
        }
        Found::Nothing
    }

    fn burnt_us(&self, cpu_us: u64) -> u64 {
        cpu_us.saturating_sub(self.base_us)
    }
}

/// The CPU time of a thread of this process, in microseconds; none when it has ended.
///
/// The clock's number holds the thread's: bits 3 and up are the complement, 6 is a thread's scheduler time
/// (`clock_getcpuclockid(3)`, and the kernel's `posix-timers_types.h`).
fn cpu_us(thread: u32) -> Option<u64> {
    let thread = i32::try_from(thread).ok().filter(|thread| *thread > 0)?;
    let time = clock_gettime(ClockId::from_raw((!thread << 3) | 6)).ok()?;
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec()).ok()?, u64::try_from(time.tv_nsec()).ok()?);
    Some(seconds * 1_000_000 + nanoseconds / 1_000)
}

/// The running watchdog; it ends when dropped.
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches the threads of a node.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(node: &Arc<Node>, relief: &Arc<Relief>) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (node, relief, ends) = (Arc::clone(node), Arc::clone(relief), Arc::clone(&is_over));
        let watch = move || {
            let black_box = node.black_box();
            let slots: Vec<Slot> =
                (0..node.setup().threads.max(1)).filter_map(|i| black_box.slot(i)).collect();
            let mut pulses: Vec<Pulse> = slots.iter().map(|_| Pulse::default()).collect();
            let mut looks = 0_u64;
            while !ends.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(SAMPLE_MS));
                looks += 1;
                if looks.is_multiple_of(DISK_EVERY) {
                    node.look_at_disk();
                }
                for (number, (slot, pulse)) in slots.iter().zip(&mut pulses).enumerate() {
                    let view = slot.view();
                    let Some(now_us) = cpu_us(view.thread) else { continue };
                    let found = pulse.sample(view.beat, now_us);
                    if found != Found::Nothing {
                        act(&node, &relief, found, &report(&node, number, &view, pulse.burnt_us(now_us)));
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("edge-watch".to_owned()).spawn(watch)?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _panicked_and_told_so = thread.join();
        }
    }
}

fn report(node: &Node, thread: usize, view: &SlotView, cpu_us: u64) -> StuckReport {
    let live = node.live();
    let zone = live.sites.iter().map(|site| &site.zone).find(|zone| zone.id.0.starts_with(&view.zone));
    StuckReport {
        thread,
        fingerprint: (view.state == SlotState::Busy).then_some(view.fingerprint),
        zone: view.zone,
        zone_name: zone.map(|zone| zone.name.clone()),
        phase: Phase::ALL.get(usize::from(view.phase)).copied().unwrap_or(Phase::Admission),
        rule: view.rule,
        cpu_us,
    }
}

fn act(node: &Node, relief: &Relief, found: Found, report: &StuckReport) {
    let fingerprint = report.fingerprint.map_or_else(String::new, |print| format!("{print:016x}"));
    let fields = [
        ("thread", report.thread.into()),
        ("fingerprint", fingerprint.as_str().into()),
        ("zone", report.zone_name.as_deref().unwrap_or_default().into()),
        ("phase", report.phase.as_str().into()),
        ("rule", report.rule.into()),
        ("cpu_us", report.cpu_us.into()),
    ];
    match found {
        Found::Nothing => {}
        Found::Stuck => {
            relief.begin(report.thread);
            node.registry().thread_stuck();
            node.setup().events.error("thread_stuck", &fields);
        }
        Found::Lost => {
            node.setup().events.error("thread_lost", &fields);
            if let Some(on_stuck) = &node.setup().on_stuck {
                on_stuck(report.clone());
            }
        }
        Found::Recovered => {
            relief.end(report.thread);
            // Its slot names another request by now.
            node.setup().events.warn("thread_recovered", &[("thread", report.thread.into())]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_that_moves_is_never_stuck() {
        let mut pulse = Pulse::default();
        for look in 1..1_000 {
            assert_eq!(pulse.sample(look, look * STUCK_US * 3), Found::Nothing);
        }
    }

    #[test]
    fn a_thread_that_waits_or_starves_is_not_stuck() {
        let mut pulse = Pulse::default();
        pulse.sample(7, 50);
        for _ in 0..1_000 {
            assert_eq!(pulse.sample(7, 50 + STUCK_US - 1), Found::Nothing);
        }
    }

    #[test]
    fn a_poll_that_burns_is_stuck_then_lost_each_once_and_may_recover() {
        let mut pulse = Pulse::default();
        pulse.sample(7, 1_000);
        let found: Vec<Found> = (1..=1_200)
            .map(|ms| pulse.sample(7, 1_000 + ms * 1_000))
            .filter(|f| *f != Found::Nothing)
            .collect();
        assert_eq!(found, [Found::Stuck, Found::Lost]);
        assert_eq!(pulse.sample(8, 2_000_000), Found::Recovered);
        assert_eq!(pulse.sample(8, 2_000_000 + STUCK_US), Found::Stuck);
    }

    #[test]
    fn another_threads_clock_runs_while_it_works_and_ends_with_it() {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let writer = blackbox::Writer::private(1);
            writer.claim(0).unwrap();
            tell.send(writer.slot(0).unwrap().view().thread).unwrap();
            while !until.load(Ordering::Acquire) {}
        });
        let id = told.recv().unwrap();
        let first = cpu_us(id).unwrap();
        while cpu_us(id).unwrap() == first {}
        ends.store(true, Ordering::Release);
        thread.join().unwrap();
        assert_eq!(cpu_us(0), None);
    }
}
