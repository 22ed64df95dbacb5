//! The threads that inspect what would hold a serving thread for too long.
//!
//! A bounded number of bodies at once and waiting; whoever comes when all is full is told so. Started with
//! the serving threads. Called by [`super`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use fuel::Spent;
use fuel::pool::{Broken, Full, Pool};
use seclang::{Phase, Workspace};

use super::inspection::{Inspected, Inspection};

/// Bodies larger than this are inspected here: 8 KiB take some 1 to 3 ms in the worst case.
pub(crate) const ON_THREAD_BYTES_MAX: usize = 8 * 1024;

/// Bodies that wait for each thread: at some 2 ms a body the last waits for half a second. What they hold is
/// charged like all else.
const WAITING_PER_THREAD: usize = 256;

/// The threads, with what they lend to whom they inspect.
pub(crate) struct Inspectors {
    pool: Pool,
    spaces: Arc<Mutex<Vec<Workspace>>>,
}

/// A body for [`Inspectors::inspect`].
pub(crate) struct Job {
    pub(crate) inspection: Box<Inspection>,
    pub(crate) bytes: Bytes,
    pub(crate) left: u64,
    pub(crate) phase: Phase,
}

impl Inspectors {
    /// Starts one thread for every two that serve.
    pub(crate) fn start(serving: usize) -> io::Result<Self> {
        let threads = serving.div_ceil(2);
        let pool = Pool::start("inspect", threads, threads * WAITING_PER_THREAD)?;
        Ok(Self { pool, spaces: Arc::default() })
    }

    /// Inspects a body and gives back who asked.
    pub(crate) async fn inspect(
        &self,
        job: Job,
    ) -> Result<Result<(Box<Inspection>, Result<(), Spent>), Broken>, Full> {
        let spaces = Arc::clone(&self.spaces);
        let pending = self.pool.submit(move || {
            let Job { mut inspection, bytes, left, phase } = job;
            let space = spaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut space = space.unwrap_or_default();
            let body = Inspected { phase, bytes: &bytes, left };
            let inspected = inspection.main.whole(&body, &mut space);
            if let Some(shadow) = &mut inspection.shadow
                && shadow.whole(&body, &mut space).is_err()
            {
                inspection.shadow = None; // it never decides
            }
            spaces.lock().unwrap_or_else(PoisonError::into_inner).push(space);
            (inspection, inspected)
        })?;
        Ok(pending.await)
    }
}
