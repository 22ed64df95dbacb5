//! When a process of a drill died, and which visitors may suffer from that: those whom it was serving, and
//! nobody who came later.
//!
//! The sockets that visitors connect to are the supervisor's, so whoever comes while nobody serves waits in
//! the kernel's queue. A drill that knows only how many failed cannot tell one who was being served from one
//! who came into that gap; with the moment of the death it can. Called by the drills; read next:
//! [`super::deaths`].

use std::collections::{BTreeMap, btree_map};
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::load::{Load, VISITORS, Visit, wait_until};
use super::node::{PATIENCE, Told};
use super::report::Outcome;
use crate::clock;

/// A process that is watched.
pub(super) struct Watched {
    pid: u32,
    process: OwnedFd,
}

impl Watched {
    /// Begins to watch one.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn open(pid: u32) -> Result<Self> {
        let it = i32::try_from(pid).ok().and_then(Pid::from_raw).context("it has a process id")?;
        let process = pidfd_open(it, PidfdFlags::empty()).context("a process cannot be watched")?;
        Ok(Self { pid, process })
    }

    /// Stops it where it is, and waits until each of its threads stands: it takes no connection any more.
    ///
    /// # Errors
    /// When it is gone, or does not stand.
    pub(super) fn stop(&self) -> Result<()> {
        pidfd_send_signal(&self.process, Signal::STOP)?;
        ensure!(wait_until(PATIENCE, || stands(self.pid)), "a process does not stop");
        Ok(())
    }

    /// Kills it, and waits until it is dead.
    ///
    /// # Errors
    /// When it is gone already, or does not die.
    pub(super) fn kill(&self) -> Result<Death> {
        let from = clock::now();
        pidfd_send_signal(&self.process, Signal::KILL).context("it is gone already")?;
        Ok(Death { from, to: self.gone()? })
    }

    /// Waits until it is dead. From then on none of its descriptors is open.
    ///
    /// # Errors
    /// When it does not die.
    pub(super) fn gone(&self) -> Result<Instant> {
        let most = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs())?, tv_nsec: 0 };
        let until = clock::now() + PATIENCE;
        loop {
            match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&most)) {
                Ok(0) => {}
                Ok(_) => return Ok(clock::now()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("a process cannot be watched"),
            }
            ensure!(clock::now() < until, "a process does not die");
        }
    }
}

/// Whether every thread of a process is stopped.
fn stands(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    tasks.filter_map(Result::ok).all(|task| {
        // The state follows the name, which may have anything in it but ends with the last parenthesis.
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    })
}

/// How often it is looked which processes there are; each lives for longer.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// How long before a process is gone its first connection may have ended: its memory is given up in between.
const DYING: Duration = Duration::from_millis(100);

/// Watches every process that a supervisor starts, for a drill that does not kill them itself.
pub(super) struct Watch {
    ends: Arc<AtomicBool>,
    watching: JoinHandle<Vec<Instant>>,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn over(supervisor: u32) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let watching = thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let (mut watched, mut gone): (BTreeMap<u32, Watched>, Vec<Instant>) = Default::default();
            while !ended.load(Ordering::Relaxed) {
                for pid in children(supervisor) {
                    if let btree_map::Entry::Vacant(new) = watched.entry(pid)
                        && let Ok(process) = Watched::open(pid)
                    {
                        new.insert(process);
                    }
                }
                let all: Vec<u32> = watched.keys().copied().collect();
                let mut fds: Vec<_> =
                    watched.values().map(|watched| PollFd::new(&watched.process, PollFlags::IN)).collect();
                let _ = poll(&mut fds, Some(&LOOK_EVERY));
                let now = clock::now();
                let dead: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
                for (pid, _) in all.into_iter().zip(dead).filter(|(_, is_dead)| *is_dead) {
                    watched.remove(&pid);
                    gone.push(now);
                }
            }
            gone
        })?;
        Ok(Self { ends, watching })
    }

    /// Ends, and gives the deaths that were told of: the last process that had gone before each.
    ///
    /// # Errors
    /// When it was not seen.
    pub(super) fn end(self, told: &[Told]) -> Result<Vec<Death>> {
        self.ends.store(true, Ordering::Relaxed);
        let gone = self.watching.join().map_err(|_| anyhow::anyhow!("the watch broke off"))?;
        let death = |told: &Told| {
            // The supervisor's word may come a moment before this watch looks.
            let to = gone.iter().copied().filter(|gone| *gone <= told.at + DYING).max();
            let to = to.context("a death was told of and not seen")?;
            Ok(Death { from: to.checked_sub(DYING).unwrap_or(to), to })
        };
        told.iter().map(death).collect()
    }
}

fn children(supervisor: u32) -> Vec<u32> {
    let all = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children"));
    all.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// What a process could take with it: whom it took before `to`, and who was not done before `from`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// No later than the first thing that ended with it.
    pub(super) from: Instant,
    /// From when on it took nobody any more.
    pub(super) to: Instant,
}

/// Visits that came to nothing, by whether a death excuses them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Lost {
    under_way: usize,
    /// The first of those who came before or after it, in words.
    others: Vec<String>,
}

/// Deaths are given as the times of visits are.
fn lost(visits: &[Visit], deaths: &[(Duration, Duration)]) -> Lost {
    let mut lost = Lost::default();
    for visit in visits.iter().filter(|visit| visit.has_failed()) {
        if deaths.iter().any(|(from, to)| visit.came <= *to && visit.over() >= *from) {
            lost.under_way += 1;
            continue;
        }
        let before = deaths.iter().map(|(_, to)| *to).filter(|to| *to < visit.came).max();
        let when = before.map_or_else(
            || "before any death".to_owned(),
            |to| format!("{:.1} ms after a death", (visit.came - to).as_secs_f64() * 1_000.0),
        );
        lost.others.push(format!("came {when}: {:?}", visit.end));
    }
    lost
}

/// Ends a load under which processes died. Nobody may be refused, each visitor may lose one request to each
/// death if it was being served then, and nobody else may lose any. Gives what happened.
pub(super) fn settle(outcome: &mut Outcome, what: &str, load: Load, deaths: &[Death]) -> Vec<Visit> {
    let at: Vec<_> = deaths.iter().map(|death| (load.after(death.from), load.after(death.to))).collect();
    let visits = load.end();
    let lost = lost(&visits, &at);
    let later = visits.iter().filter(|visit| at.iter().all(|(_, to)| visit.came > *to)).count();
    let (refused, _) = outcome.add(visits.clone());
    outcome.check(&format!("{what}: no connection is refused"), refused == 0, refused);
    let most = VISITORS * deaths.len();
    let found = format!("{} of at most {most}", lost.under_way);
    outcome.check(&format!("{what}: only requests under way break"), lost.under_way <= most, found);
    let found = lost.others.first().map(|first| format!("{}, the first {first}", lost.others.len()));
    let is_none = lost.others.is_empty() && later > 0;
    outcome.check(
        &format!("{what}: who comes later loses nothing"),
        is_none,
        found.unwrap_or_else(|| format!("0 of {later} after the last")),
    );
    visits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::load::End;

    fn visit(came_ms: u64, over_ms: u64, end: End) -> Visit {
        let came = Duration::from_millis(came_ms);
        Visit { at: came, came, took: Duration::from_millis(over_ms) - came, end }
    }

    fn broken(came_ms: u64, over_ms: u64) -> Visit {
        visit(came_ms, over_ms, End::Broken("reset".to_owned()))
    }

    #[test]
    fn a_death_excuses_whom_it_served_and_nobody_who_came_into_the_gap() {
        let death = [(Duration::from_millis(100), Duration::from_millis(102))];
        let of = |visits: &[Visit]| {
            let lost = lost(visits, &death);
            (lost.under_way, lost.others.len())
        };
        assert_eq!(of(&[broken(99, 101), broken(101, 103), broken(60, 5_060)]), (3, 0));
        assert_eq!(of(&[broken(103, 104), broken(90, 99)]), (0, 2));
        assert_eq!(of(&[visit(103, 110, End::Answered(200)), visit(99, 101, End::Answered(200))]), (0, 0));
        let told = lost(&[broken(103, 104), broken(90, 99)], &death).others;
        assert_eq!(told[0], "came 1.0 ms after a death: Broken(\"reset\")");
        assert_eq!(told[1], "came before any death: Broken(\"reset\")");
    }

    #[test]
    fn a_process_is_seen_to_stand_and_to_be_gone() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let watched = Watched::open(child.id()).unwrap();
        assert!(!stands(child.id()));
        watched.stop().unwrap();
        assert!(stands(child.id()));
        let death = watched.kill().unwrap();
        assert!(death.from <= death.to);
        assert!(!child.wait().unwrap().success());
    }
}
