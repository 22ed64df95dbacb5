//! A bounded queue between serving threads, which never wait, and the disk's threads, which may.
//!
//! Its lock is held to move one pointer and never over anything that touches a file.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
    max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    jobs: VecDeque<T>,
    is_nudged: bool,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(max: usize) -> Self {
        let inner = Inner { jobs: VecDeque::new(), is_nudged: false, is_closed: false };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), max }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, or gives it back when the queue is full or closed.
    pub(crate) fn offer(&self, job: T) -> Result<(), T> {
        let mut inner = self.lock();
        if inner.is_closed || inner.jobs.len() >= self.max {
            return Err(job);
        }
        inner.jobs.push_back(job);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    /// Makes who waits look up, as for a job.
    pub(crate) fn nudge(&self) {
        self.lock().is_nudged = true;
        self.changed.notify_one();
    }

    /// The next job; `None` when there is none within `wait`, after a nudge, or when the queue is closed.
    pub(crate) fn take(&self, wait: Duration) -> Option<T> {
        let mut inner = self.lock();
        if inner.jobs.is_empty() && !inner.is_nudged && !inner.is_closed && !wait.is_zero() {
            let is_idle =
                |inner: &mut Inner<T>| inner.jobs.is_empty() && !inner.is_nudged && !inner.is_closed;
            let waited = self.changed.wait_timeout_while(inner, wait, is_idle);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.is_nudged = false;
        inner.jobs.pop_front()
    }

    /// Refuses further jobs; gives those that were queued.
    pub(crate) fn close(&self) -> VecDeque<T> {
        let mut inner = self.lock();
        inner.is_closed = true;
        let jobs = std::mem::take(&mut inner.jobs);
        drop(inner);
        self.changed.notify_all();
        jobs
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }
}
