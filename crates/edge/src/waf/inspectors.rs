//! The threads that inspect what would hold a serving thread for too long.
//!
//! A bounded number of bodies at once and waiting, shared between zones by their weights; whoever comes when
//! all is full is told so, and a zone that fills all of it gives room up to the others. The threads have a
//! lower priority than those that serve, and between slices they let whatever else wants their core go first,
//! so that visitors without a body to inspect hardly notice; a body that has been here for [`LATE_MS`] is no
//! longer so polite, and its thread then has some tenth of a core that serving threads keep busy. What is not
//! judged within [`JUDGED_MS_MAX`] is not judged (decision 25).
//!
//! Each thread has a slot of the black box behind those that serve, and names there what it inspects for
//! whom; the watchdog reads it, and has another stand in for a thread that does not come back. Started with
//! the serving threads. Called by [`super`].

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use blackbox::{SLOTS_MAX, Slot, Work, Writer};
use bytes::Bytes;
use fuel::pool::{Broken, Full, Owner, POOL_THREADS_MAX, Pending, Pool, Step, Yield};
use seclang::{Phase, Progress, Workspace};
use telemetry::metrics::{NotInspected, Trouble};

use super::inspection::{Asking, Inspected, Inspection};
use crate::background;
use crate::clock::Clock;
use crate::fault_points::Planned;

/// Bodies larger than this are inspected here: 8 KiB take some 1 to 3 ms in the worst case.
pub(crate) const ON_THREAD_BYTES_MAX: usize = 8 * 1024;

/// Bodies that are inspected on a thread that serves at a time; more go to those that inspect. A slice of
/// each, of some 200 µs, is done before anybody else has a turn: 6 ms.
pub(crate) const HERE_MAX: usize = 32;

/// Bodies that wait for each thread: at some 2 ms a body the last waits for half a second. What they hold is
/// charged like all else.
const WAITING_PER_THREAD: usize = 256;

/// Bytes of a body that are read in one slice: some 100 µs of a form or of JSON.
const FEED_BYTES: usize = 32 * 1024;

/// From which time in the pool on a body's thread does not let others go first: a delay that a person
/// notices.
const LATE_MS: u64 = 250;

/// Within which time a body is judged, or not at all: longer than all that may wait take, so that it is met
/// only where the machine has nothing left for it, or where a thread hangs.
pub(crate) const JUDGED_MS_MAX: u64 = 10_000;

/// How many threads inspect for so many that serve: one for two.
const fn threads_for(serving: usize) -> usize {
    let threads = serving.div_ceil(2);
    if threads < POOL_THREADS_MAX { threads } else { POOL_THREADS_MAX }
}

/// Slots of the black box of a process with so many serving threads: theirs, then those of the threads that
/// inspect for them, then of those that stand in for these, as far as there are slots.
#[must_use]
pub const fn slots_for(serving: usize) -> usize {
    let slots = serving + 2 * threads_for(serving);
    if slots < SLOTS_MAX { slots } else { SLOTS_MAX }
}

/// The threads, with what each has of its own.
pub(crate) struct Inspectors {
    pool: Pool,
    seats: Arc<[Mutex<Seat>]>,
    clock: Clock,
}

/// What one thread has of its own. Locked by nobody else.
struct Seat {
    space: Option<Workspace>,
    /// Where it writes what it inspects, from its first piece on; none in a black box of an older supervisor.
    slot: Option<Slot>,
    black_box: Writer,
    index: usize,
}

impl Seat {
    fn sit(&mut self) -> (Workspace, Option<Slot>) {
        if self.slot.is_none() {
            self.slot = self.black_box.claim(self.index).ok();
        }
        let space = self.space.take().unwrap_or_else(|| match self.slot {
            Some(slot) => beating(slot),
            None => Workspace::default(),
        });
        (space, self.slot)
    }
}

/// A workspace that names in a slot which rule is evaluated.
pub(crate) fn naming(slot: Slot) -> Workspace {
    Workspace::default().telling(move |id| slot.rule(u32::try_from(id).unwrap_or(u32::MAX)))
}

/// As [`naming`], and each rule is a beat: a large value may hold a slice up for longer than a thread may be
/// silent, but not one rule's look at it.
fn beating(slot: Slot) -> Workspace {
    Workspace::default().telling(move |id| {
        slot.rule(u32::try_from(id).unwrap_or(u32::MAX));
        slot.beat();
    })
}

/// Takes the work out of a slot when it is over, by a panic too.
struct Named(Option<Slot>);

impl Drop for Named {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            let _nothing_goes_on = slot.leave();
        }
    }
}

/// A body for [`Inspectors::inspect`].
pub(crate) struct Job {
    pub(crate) inspection: Box<Inspection>,
    pub(crate) bytes: Bytes,
    pub(crate) left: u64,
    pub(crate) phase: Phase,
    /// What breaks it on purpose.
    pub(crate) fault: Planned,
    /// For the black box.
    pub(crate) work: Work,
    /// Whose share it is inspected on.
    pub(crate) owner: Owner,
}

/// One body on its way through the pool, a slice at a time.
struct Way {
    job: Option<Job>,
    fed: usize,
    is_struck: bool,
    /// The rules have judged; their shadow may not have.
    is_judged: bool,
    clock: Clock,
    began_ms: u64,
}

/// What comes back of a body: who asked, and whether it is judged or waits for answers.
pub(crate) type Back = (Box<Inspection>, Result<Progress, Trouble>);

/// The same; or it panicked; or it was not inspected.
pub(crate) type Judged = Result<Result<Back, Trouble>, NotInspected>;

impl Way {
    /// One slice of work; whether it was the last, and how it went.
    fn slice(job: &mut Job, at: (&mut usize, &mut bool), space: &mut Workspace) -> Result<Progress, Trouble> {
        let (fed, is_judged) = at;
        let Job { inspection, bytes, left, phase, .. } = job;
        if *fed < bytes.len() {
            let end = bytes.len().min(*fed + FEED_BYTES);
            let piece = bytes.get(*fed..end).unwrap_or_default();
            let is_last = end == bytes.len();
            let body = Inspected { phase: *phase, bytes: piece, left: if is_last { *left } else { 0 } };
            *fed = end;
            inspection.main.feed(&body).map_err(|_| Trouble::Fuel)?;
            let has_failed = |shadow: &mut Asking| shadow.feed(&body).is_err();
            if inspection.shadow.as_mut().is_some_and(has_failed) {
                inspection.shadow = None; // it never decides
            }
            return Ok(Progress::More);
        }
        if !*is_judged {
            let progress = inspection.main.step(*phase, space).map_err(|_| Trouble::Fuel)?;
            if progress == Progress::Asks {
                return Ok(progress);
            }
            *is_judged = progress == Progress::Done;
            let is_over = *is_judged && inspection.shadow.is_none();
            return Ok(if is_over { Progress::Done } else { Progress::More });
        }
        let Some(shadow) = &mut inspection.shadow else { return Ok(Progress::Done) };
        let progress = shadow.step(*phase, space);
        if progress.is_err() {
            inspection.shadow = None;
        }
        Ok(progress.unwrap_or(Progress::Done))
    }

    fn step(&mut self, seats: &[Mutex<Seat>], thread: usize) -> Step<Option<Back>> {
        let Some(job) = &mut self.job else { return Step::Done(0, None) };
        let seat = seats.get(thread).map(|seat| seat.lock().unwrap_or_else(PoisonError::into_inner));
        // After a panic the workspace is gone, and a new one is made.
        let (mut space, slot) = seat.map_or_else(Default::default, |mut seat| seat.sit());
        if let Some(slot) = slot {
            slot.enter(&job.work);
            slot.beat();
        }
        let named = Named(slot);
        let before = job.inspection.steps();
        let struck = if std::mem::replace(&mut self.is_struck, true) { Ok(()) } else { job.fault.strike() };
        let progress =
            struck.and_then(|()| Self::slice(job, (&mut self.fed, &mut self.is_judged), &mut space));
        drop(named);
        if let Some(seat) = seats.get(thread) {
            seat.lock().unwrap_or_else(PoisonError::into_inner).space = Some(space);
        }
        let steps = job.inspection.steps().saturating_sub(before);
        let result = match progress {
            Ok(Progress::More) => {
                let is_late = self.clock.now_ms().saturating_sub(self.began_ms) >= LATE_MS;
                return Step::More(steps, if is_late { Yield::Nothing } else { Yield::Core });
            }
            over => over,
        };
        Step::Done(steps, self.job.take().map(|job| (job.inspection, result)))
    }
}

impl Inspectors {
    /// Starts one thread for every two that serve; `told` hears of one that could not lower its priority.
    pub(crate) fn start(
        serving: usize,
        black_box: Writer,
        clock: Clock,
        told: background::Told,
    ) -> io::Result<Self> {
        let threads = threads_for(serving);
        let begin = move |_| background::give_way(&told);
        let pool = Pool::start("inspect", threads, threads * WAITING_PER_THREAD, begin)?;
        let seat = |number| Mutex::new(Seat { space: None, slot: None, black_box, index: serving + number });
        // Behind those that were started are those that may stand in for them.
        Ok(Self { pool, seats: (0..2 * threads).map(seat).collect(), clock })
    }

    /// Bodies that wait for a thread.
    pub(crate) fn waiting(&self) -> usize {
        self.pool.waiting()
    }

    /// The thread of this number does not come back: another stands in for it.
    pub(crate) fn stand_in(&self, thread: usize) -> io::Result<()> {
        self.pool.stand_in(thread)
    }

    /// It is back.
    pub(crate) fn is_back(&self, thread: usize) {
        self.pool.is_back(thread);
    }

    /// Inspects a body and gives back who asked.
    ///
    /// # Errors
    /// It was not inspected; or it panicked, as the inner one.
    pub(crate) fn inspect(&self, job: Job) -> impl Future<Output = Judged> + use<> {
        let (seats, clock, owner) = (Arc::clone(&self.seats), self.clock, job.owner);
        let began_ms = clock.now_ms();
        let mut way = Way { job: Some(job), fed: 0, is_struck: false, is_judged: false, clock, began_ms };
        let pending = self.pool.submit_steps(owner, move |thread| way.step(&seats, thread));
        Self::judged(pending)
    }

    async fn judged(pending: Result<Pending<Option<Back>>, Full>) -> Judged {
        let pending = pending.map_err(|Full| NotInspected::Full)?;
        match tokio::time::timeout(Duration::from_millis(JUDGED_MS_MAX), pending).await {
            Ok(Ok(Some(back))) => Ok(Ok(back)),
            Ok(Ok(None) | Err(Broken::Panicked)) => Ok(Err(Trouble::Panic)),
            Ok(Err(Broken::GaveUp)) => Err(NotInspected::GaveUp),
            Ok(Err(Broken::Ended)) => Err(NotInspected::Full),
            Err(_elapsed) => Err(NotInspected::Late),
        }
    }
}
