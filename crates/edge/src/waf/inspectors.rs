//! The threads that inspect what would hold a serving thread for too long.
//!
//! A bounded number of bodies at once and waiting; whoever comes when all is full is told so. Each thread has
//! a slot of the black box behind those that serve, and names there what it inspects for whom. Started with
//! the serving threads. Called by [`super`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use blackbox::{Slot, Work, Writer};
use bytes::Bytes;
use fuel::pool::{Broken, Full, POOL_THREADS_MAX, Pool};
use seclang::{Phase, Workspace};
use telemetry::metrics::Trouble;

use super::inspection::{Inspected, Inspection};
use crate::fault_points::Planned;

/// Bodies larger than this are inspected here: 8 KiB take some 1 to 3 ms in the worst case.
pub(crate) const ON_THREAD_BYTES_MAX: usize = 8 * 1024;

/// Bodies that wait for each thread: at some 2 ms a body the last waits for half a second. What they hold is
/// charged like all else.
const WAITING_PER_THREAD: usize = 256;

/// How many threads inspect for so many that serve: one for two.
const fn threads_for(serving: usize) -> usize {
    let threads = serving.div_ceil(2);
    if threads < POOL_THREADS_MAX { threads } else { POOL_THREADS_MAX }
}

/// Slots of the black box of a process with so many serving threads: theirs, then those of the threads that
/// inspect for them.
#[must_use]
pub const fn slots_for(serving: usize) -> usize {
    serving + threads_for(serving)
}

/// The threads, with what each has of its own.
pub(crate) struct Inspectors {
    pool: Pool,
    seats: Arc<[Mutex<Seat>]>,
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
            Some(slot) => naming(slot),
            None => Workspace::default(),
        });
        (space, self.slot)
    }
}

/// A workspace that names in a slot which rule is evaluated.
pub(crate) fn naming(slot: Slot) -> Workspace {
    Workspace::default().telling(move |id| slot.rule(u32::try_from(id).unwrap_or(u32::MAX)))
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
}

impl Inspectors {
    /// Starts one thread for every two that serve.
    pub(crate) fn start(serving: usize, black_box: Writer) -> io::Result<Self> {
        let threads = threads_for(serving);
        let pool = Pool::start("inspect", threads, threads * WAITING_PER_THREAD)?;
        let seat = |number| Mutex::new(Seat { space: None, slot: None, black_box, index: serving + number });
        Ok(Self { pool, seats: (0..threads).map(seat).collect() })
    }

    /// Inspects a body and gives back who asked.
    pub(crate) async fn inspect(
        &self,
        job: Job,
    ) -> Result<Result<(Box<Inspection>, Result<(), Trouble>), Broken>, Full> {
        let seats = Arc::clone(&self.seats);
        let pending = self.pool.submit_on(move |thread| {
            let Job { mut inspection, bytes, left, phase, fault, work } = job;
            let seat = seats.get(thread).map(|seat| seat.lock().unwrap_or_else(PoisonError::into_inner));
            // After a panic the workspace is gone, and a new one is made.
            let (mut space, slot) = seat.map_or_else(Default::default, |mut seat| seat.sit());
            if let Some(slot) = slot {
                slot.enter(&work);
                slot.beat();
            }
            let named = Named(slot);
            let body = Inspected { phase, bytes: &bytes, left };
            let struck = fault.strike();
            let inspected =
                struck.and_then(|()| inspection.main.whole(&body, &mut space).map_err(|_| Trouble::Fuel));
            if let Some(shadow) = &mut inspection.shadow
                && shadow.whole(&body, &mut space).is_err()
            {
                inspection.shadow = None; // it never decides
            }
            drop(named);
            if let Some(seat) = seats.get(thread) {
                seat.lock().unwrap_or_else(PoisonError::into_inner).space = Some(space);
            }
            (inspection, inspected)
        })?;
        Ok(pending.await)
    }
}
