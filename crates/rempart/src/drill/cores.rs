//! Which cores a node and its visitors run on, and what each takes of them.
//!
//! Visitors that share a core with the node wait for it as it does for them, and what they tell of it is half
//! their own. Where the machine has two cores or more, a drill of times gives the node one of its own. Read
//! next: [`super::greedy`].

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::report::Outcome;
use crate::clock;

/// A core for a node, and the others for everybody else; all of them where there is but one.
pub(super) struct Cores {
    all: CpuSet,
    node: CpuSet,
}

impl Cores {
    /// Moves this thread, and all that it begins from now on, off the core that is for the node.
    ///
    /// # Errors
    /// When the system does not tell or does not allow it.
    pub(super) fn divide() -> Result<Self> {
        let all = sched_getaffinity(None).context("the system does not tell its cores")?;
        let last = (0..CpuSet::MAX_CPU).rfind(|core| all.is_set(*core));
        let (mut node, mut others) = (CpuSet::new(), all);
        if let Some(last) = last.filter(|_| all.count() > 1) {
            node.set(last);
            others.unset(last);
        } else {
            node = all;
        }
        let cores = Self { all, node };
        sched_setaffinity(None, &others).context("the system gives no core away")?;
        Ok(cores)
    }

    /// Does something, a start of a process say, on the node's core.
    ///
    /// # Errors
    /// When the system does not allow it, and those of what is done.
    pub(super) fn on_the_nodes<T>(&self, done: impl FnOnce() -> Result<T>) -> Result<T> {
        let now = sched_getaffinity(None)?;
        sched_setaffinity(None, &self.node).context("the system gives no core away")?;
        let done = done();
        sched_setaffinity(None, &now)?;
        done
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        let _as_it_was = sched_setaffinity(None, &self.all);
    }
}

/// CPU time that a process has taken, in microseconds.
pub(super) fn cpu_us(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Fields 14 and 15 (proc(5)), counted from behind the name, which may hold anything; in 10 ms.
    let (_, behind) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = behind.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Ok(ticks.sum::<u64>() * 10_000)
}

/// What of the cores a node and its visitors, who are this process, take from now on.
pub(super) struct Taken {
    edge: u32,
    begun: Instant,
    before_us: [u64; 2],
}

impl Taken {
    /// Begins to look.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub(super) fn begin(edge: u32) -> Result<Self> {
        let before_us = [cpu_us(edge)?, cpu_us(std::process::id())?];
        Ok(Self { edge, begun: clock::now(), before_us })
    }

    /// Notes how many cores each took, under this prefix; CPU time of the node in microseconds.
    ///
    /// # Errors
    /// When one of the processes is gone.
    pub(super) fn note(&self, outcome: &mut Outcome, prefix: &str) -> Result<f64> {
        let took: Duration = clock::now().saturating_duration_since(self.begun);
        let [before_us, own_before_us] = self.before_us;
        let spent_us = cpu_us(self.edge)?.saturating_sub(before_us) as f64;
        let own_us = cpu_us(std::process::id())?.saturating_sub(own_before_us) as f64;
        let cores = |us: f64| (us / took.as_micros() as f64 * 100.0).round() / 100.0;
        outcome.figure(&format!("{prefix}cores_of_the_node"), cores(spent_us));
        outcome.figure(&format!("{prefix}cores_of_the_visitors"), cores(own_us));
        Ok(spent_us)
    }
}
