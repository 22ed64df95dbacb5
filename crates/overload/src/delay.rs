//! How late a thread is: what a request waits before it is read, told from how late the thread's own timer
//! is.
//!
//! A task that sleeps is woken by the same loop, and waits in the same line, as a task whose connection has
//! bytes to read. So the time from when it should have woken to when it runs is what a request waits. It is
//! counted in the thread's own CPU time: a thread that others keep from running is late too, and would not be
//! less so for sending visitors away. What this gets wrong: on a machine whose cores
//! are given to others, visitors wait longer than what is measured here, by the share that is missing.
//!
//! The task itself stands in that line, and the longer the line is the later it tells. So what is due and has
//! not run yet counts for as late as it is already, whenever a request has its turn meanwhile: otherwise it
//! would take a thread with ten times too much to do some seconds to see it, and minutes with fifty times.
//!
//! Connections wait in a line of their own, the kernel's, until the thread takes them; how long cannot be
//! seen. If the thread never saw the end of that line for as long as it burnt CPU, that is how long at most.
//!
//! Costly requests wait in a line that the thread keeps itself. What those in it will take is a delay as
//! well, though of others like them alone.
//!
//! What counts is the least delay of a window (CoDel's idea, RFC 8289): a burst makes the delay high for a
//! moment and is over before the window is; only what comes in faster than it goes out keeps it high from end
//! to end. Used by `controller.rs`.

use crate::limits::WINDOW_US;

/// What a thread measured of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The present, in microseconds.
    pub now_us: u64,
    /// How late the timer was, or is if it did not run yet, in microseconds.
    pub late_us: u64,
    /// Whether the timer ran, and was set anew.
    pub has_run: bool,
    /// CPU time of the thread since its beginning, in microseconds.
    pub cpu_us: u64,
    /// Whether the thread saw the end of the kernel's line of connections since the last probe, or none came.
    pub has_taken_all: bool,
    /// How much of the thread's time those will take that wait for their turn ([`crate::Turns`]), in
    /// microseconds.
    pub waiting_us: u64,
    /// What requests took on average as far as turns are given by it, in microseconds; 0 if it is not known.
    pub cost_us: u64,
}

/// A window that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) length_us: u64,
    /// The least delay in it.
    pub(crate) delay_us: u64,
    /// The same without those who wait for their turn.
    pub(crate) thread_us: u64,
    /// CPU time burnt in it.
    pub(crate) worked_us: u64,
}

/// The delay of one thread, in windows.
#[derive(Debug)]
pub(crate) struct Delay {
    began_us: u64,
    least_us: Option<[u64; 2]>,
    /// What was measured last.
    last_us: u64,
    /// When the timer ran last, and CPU time then.
    ran_us: u64,
    cpu_us: u64,
    /// CPU time when the window began.
    began_cpu_us: u64,
    /// CPU time burnt since the end of the kernel's line was seen.
    line_us: u64,
}

impl Delay {
    pub(crate) fn new(now_us: u64, cpu_us: u64) -> Self {
        Self {
            began_us: now_us,
            least_us: None,
            last_us: 0,
            ran_us: now_us,
            cpu_us,
            began_cpu_us: cpu_us,
            line_us: 0,
        }
    }

    /// The delay that was measured last.
    pub(crate) fn last_us(&self) -> u64 {
        self.last_us
    }

    /// Takes a probe in; the window, if it is over.
    pub(crate) fn probe(&mut self, probe: &Probe) -> Option<Window> {
        let burnt_us = probe.cpu_us.saturating_sub(self.cpu_us);
        let line_us = if probe.has_taken_all { 0 } else { self.line_us.saturating_add(burnt_us) };
        // Of the time that it is late, the part in which it worked, as of all the time since it ran.
        let since_us = probe.now_us.saturating_sub(self.ran_us).max(1);
        let worked_us = probe.late_us.saturating_mul(burnt_us.min(since_us)) / since_us;
        let thread_us = worked_us.max(line_us);
        let delay_us = thread_us.max(probe.waiting_us);
        // One that did not run yet says no more than that it is that late at least.
        self.last_us = if probe.has_run { delay_us } else { self.last_us.max(delay_us) };
        let [least_us, thread_us] = self
            .least_us
            .map_or([delay_us, thread_us], |[all, thread]| [all.min(delay_us), thread.min(thread_us)]);
        if probe.has_run {
            self.ran_us = probe.now_us;
            self.cpu_us = probe.cpu_us;
            self.line_us = line_us;
            self.least_us = Some([least_us, thread_us]);
        }
        let length_us = probe.now_us.saturating_sub(self.began_us);
        if length_us < WINDOW_US {
            return None;
        }
        self.began_us = probe.now_us;
        self.least_us = None;
        let worked_us = probe.cpu_us.saturating_sub(self.began_cpu_us);
        self.began_cpu_us = probe.cpu_us;
        Some(Window { length_us, delay_us: least_us, thread_us, worked_us })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(now_ms: u64, late_ms: u64, cpu_ms: u64, has_taken_all: bool) -> Probe {
        let (now_us, late_us, cpu_us) = (now_ms * 1_000, late_ms * 1_000, cpu_ms * 1_000);
        Probe { now_us, late_us, has_run: true, cpu_us, has_taken_all, waiting_us: 0, cost_us: 0 }
    }

    #[test]
    fn the_least_delay_of_a_window_counts() {
        let mut delay = Delay::new(0, 0);
        assert_eq!(delay.probe(&probe(50, 30, 50, true)), None);
        let window = delay.probe(&probe(100, 80, 100, true)).expect("it is over");
        assert_eq!(
            window,
            Window { length_us: 100_000, delay_us: 30_000, thread_us: 30_000, worked_us: 100_000 }
        );
        assert_eq!(delay.probe(&probe(220, 90, 220, true)).map(|window| window.delay_us), Some(90_000));
    }

    #[test]
    fn a_timer_that_is_due_counts_before_it_runs() {
        let mut delay = Delay::new(0, 0);
        let overdue = |at_ms: u64| Probe { has_run: false, ..probe(at_ms, at_ms - 20, at_ms, true) };
        assert_eq!(delay.probe(&overdue(50)), None);
        assert_eq!(delay.probe(&overdue(100)).map(|window| window.delay_us), Some(80_000));
        assert_eq!(delay.probe(&overdue(210)).map(|window| window.delay_us), Some(190_000));
        assert_eq!(delay.probe(&probe(220, 200, 220, true)), None);
        assert_eq!(delay.probe(&probe(320, 5, 320, true)).map(|window| window.delay_us), Some(5_000));
    }

    #[test]
    fn a_thread_that_is_kept_from_running_is_not_late() {
        let mut delay = Delay::new(0, 0);
        assert_eq!(delay.probe(&probe(500, 480, 5, true)).map(|window| window.delay_us), Some(4_800));
    }

    #[test]
    fn connections_that_always_wait_are_a_delay_of_the_time_worked_meanwhile() {
        let mut delay = Delay::new(0, 0);
        let windows: Vec<u64> = (1..=4)
            .filter_map(|count| delay.probe(&probe(count * 100, 1, count * 90, false)))
            .map(|window| window.delay_us / 1_000)
            .collect();
        assert_eq!(windows, [90, 180, 270, 360]);
        assert_eq!(delay.probe(&probe(500, 1, 450, true)).map(|window| window.delay_us), Some(900));
    }
}
