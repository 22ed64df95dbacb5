//! The watchdog: notices a thread that is stuck in one poll, or in one piece of inspecting a body, and names
//! what it works on.
//!
//! Synchronous code cannot be interrupted, so a poll that does not end takes its thread, and the visitors
//! whose connections the kernel gave to that thread's listener. A thread of its own looks every [`SAMPLE_MS`]
//! at each thread's beat, which every outermost poll moves (of those that inspect, every slice and every rule
//! within it), and at its CPU clock. A beat that stands
//! still while the thread burns [`STUCK_US`] is a poll that does not end; a thread that waits burns nothing,
//! and one that is starved by others burns nothing either, so a busy machine is no false alarm. What it
//! approximates: a poll that computes for long and would end is stuck too, until it ends.
//!
//! Then the neighbours accept for it ([`crate::relief`]), or another inspects in its stead, an event names
//! the request, zone, phase and rule of its slot, and after [`LOST_US`] whoever wired the node is told once,
//! to replace the process. When the thread's beat moves again, relief ends.
//!
//! The cache's disk, whose threads may hang in the kernel, is looked at on the way (`cache/disk_watch.rs`).
//!
//! Caller: `serving.rs`. Read next: [`Pulse::sample`].

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use blackbox::{Slot, SlotState, SlotView, Writer};
use exchange::Phase;
use nix::time::{ClockId, clock_gettime};

use crate::live::Live;
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

/// Bytes of a body, at its zone's window, for each microsecond that a thread which inspects is given beside
/// [`STUCK_US`]: one pattern's look at a value is a piece that cannot be cut, and the dearest of CRS costs
/// 0.28 µs a byte. So with windows of 128 KiB a thread is stuck after some 125 ms, and with the largest, of 1
/// MiB, after some 585.
const BYTES_A_US: u64 = 2;

/// Microseconds for each such byte that it is given beside [`LOST_US`], since a process must not be replaced
/// for a body that is only dear, on no machine: 1.3 s with windows of 128 KiB, 3.1 s with the largest.
const US_A_BYTE: u64 = 2;

const SERVING: Patience = Patience { stuck_us: STUCK_US, lost_us: LOST_US };

/// After which CPU time of one poll or piece its thread is stuck, and lost.
#[derive(Clone, Copy, Debug)]
struct Patience {
    stuck_us: u64,
    lost_us: u64,
}

/// What a thread is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It serves visitors.
    Serving,
    /// It inspects bodies.
    Inspecting,
}

impl Duty {
    /// The word for it in events.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Inspecting => "inspecting",
        }
    }

    /// With zones' firewalls of which the largest window has so many bytes.
    const fn patience(self, window_bytes: u64) -> Patience {
        match self {
            Self::Serving => SERVING,
            Self::Inspecting => {
                let stuck_us = STUCK_US + window_bytes / BYTES_A_US;
                Patience { stuck_us, lost_us: LOST_US + window_bytes * US_A_BYTE }
            }
        }
    }
}

/// A thread that does not come back, and what it works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StuckReport {
    /// What the thread is for.
    pub duty: Duty,
    /// The thread's number among those of its duty.
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
    fn sample(&mut self, beat: u64, cpu_us: u64, patience: Patience) -> Found {
        if beat != self.beat {
            let was_stuck = self.is_stuck;
            *self = Self { beat, base_us: cpu_us, is_stuck: false, is_lost: false };
            return if was_stuck { Found::Recovered } else { Found::Nothing };
        }
        let burnt_us = self.burnt_us(cpu_us);
        if !self.is_stuck && burnt_us >= patience.stuck_us {
            self.is_stuck = true;
            return Found::Stuck;
        }
        if !self.is_lost && burnt_us >= patience.lost_us {
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
            let posts = posts(&black_box, node.setup().threads.max(1));
            let mut pulses: Vec<Pulse> = posts.iter().map(|_| Pulse::default()).collect();
            let (mut looks, mut version, mut window_bytes) = (0_u64, 0, 0);
            while !ends.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(SAMPLE_MS));
                looks += 1;
                if looks.is_multiple_of(DISK_EVERY) {
                    node.look_at_disk();
                }
                if node.live_version() != version {
                    let (now, live) = node.live_with_version();
                    (version, window_bytes) = (now, largest_window(&live));
                }
                for (post, pulse) in posts.iter().zip(&mut pulses) {
                    let view = post.slot.view();
                    let Some(now_us) = cpu_us(view.thread) else { continue };
                    let found = pulse.sample(view.beat, now_us, post.duty.patience(window_bytes));
                    if found != Found::Nothing {
                        act(&node, &relief, found, &report(&node, post, &view, pulse.burnt_us(now_us)));
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

/// Bytes of the largest part of a body that a zone has inspected.
fn largest_window(live: &Live) -> u64 {
    let wafs = live.sites.iter().filter_map(|site| site.zone.waf.as_ref());
    let windows = wafs.map(|waf| waf.body_window_bytes.max(waf.response_window_bytes.unwrap_or(0)));
    windows.max().unwrap_or(0) as u64
}

/// A slot of the black box, and whose it is.
struct Post {
    slot: Slot,
    duty: Duty,
    thread: usize,
}

/// The slots of a process with so many serving threads, as far as its black box has them.
fn posts(black_box: &Writer, serving: usize) -> Vec<Post> {
    let post = |at: usize| {
        let slot = black_box.slot(at)?;
        Some(match at.checked_sub(serving) {
            None => Post { slot, duty: Duty::Serving, thread: at },
            Some(thread) => Post { slot, duty: Duty::Inspecting, thread },
        })
    };
    (0..black_box.len()).filter_map(post).collect()
}

fn report(node: &Node, post: &Post, view: &SlotView, cpu_us: u64) -> StuckReport {
    let live = node.live();
    let zone = live.sites.iter().map(|site| &site.zone).find(|zone| zone.id.0.starts_with(&view.zone));
    StuckReport {
        duty: post.duty,
        thread: post.thread,
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
        ("duty", report.duty.word().into()),
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
            node.registry().thread_stuck();
            node.setup().events.error("thread_stuck", &fields);
            match (report.duty, node.inspectors()) {
                (Duty::Serving, _) => relief.begin(report.thread),
                (Duty::Inspecting, Some(inspectors)) => {
                    // Without a thread more, bodies wait until they are late, and the process is replaced.
                    let _as_if_none_stood_in = inspectors.stand_in(report.thread);
                }
                (Duty::Inspecting, None) => {}
            }
        }
        Found::Lost => {
            node.setup().events.error("thread_lost", &fields);
            if let Some(on_stuck) = &node.setup().on_stuck {
                on_stuck(report.clone());
            }
        }
        Found::Recovered => {
            match (report.duty, node.inspectors()) {
                (Duty::Serving, _) => relief.end(report.thread),
                (Duty::Inspecting, Some(inspectors)) => inspectors.is_back(report.thread),
                (Duty::Inspecting, None) => {}
            }
            // Its slot names another request by now.
            let fields = [("duty", report.duty.word().into()), ("thread", report.thread.into())];
            node.setup().events.warn("thread_recovered", &fields);
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
            assert_eq!(pulse.sample(look, look * STUCK_US * 3, SERVING), Found::Nothing);
        }
    }

    #[test]
    fn a_thread_that_waits_or_starves_is_not_stuck() {
        let mut pulse = Pulse::default();
        pulse.sample(7, 50, SERVING);
        for _ in 0..1_000 {
            assert_eq!(pulse.sample(7, 50 + STUCK_US - 1, SERVING), Found::Nothing);
        }
    }

    #[test]
    fn a_poll_that_burns_is_stuck_then_lost_each_once_and_may_recover() {
        let mut pulse = Pulse::default();
        pulse.sample(7, 1_000, SERVING);
        let found: Vec<Found> = (1..=1_200)
            .map(|ms| pulse.sample(7, 1_000 + ms * 1_000, SERVING))
            .filter(|f| *f != Found::Nothing)
            .collect();
        assert_eq!(found, [Found::Stuck, Found::Lost]);
        assert_eq!(pulse.sample(8, 2_000_000, SERVING), Found::Recovered);
        assert_eq!(pulse.sample(8, 2_000_000 + STUCK_US, SERVING), Found::Stuck);
    }

    #[test]
    fn a_thread_that_inspects_is_given_time_by_the_largest_window() {
        assert_eq!(Duty::Inspecting.patience(128 * 1024).stuck_us, 125_536);
        assert_eq!(Duty::Inspecting.patience(1024 * 1024).stuck_us, 584_288);
        assert_eq!(Duty::Inspecting.patience(1024 * 1024).lost_us, 3_097_152);
        assert_eq!(Duty::Serving.patience(1024 * 1024).stuck_us, STUCK_US);
    }

    #[test]
    fn another_threads_clock_runs_while_it_works_and_ends_with_it() {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let writer = Writer::private(1);
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
