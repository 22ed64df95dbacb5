//! A bounded pool of threads for work that is too long for a slice and cannot be cut into slices.
//!
//! Inspecting a body of over 8 KiB, or compressing one well, holds its serving thread for longer than a
//! request may be late, so it is done here: at most a fixed number of pieces at once, at most a fixed number
//! waiting, and the rest is refused at once ([`Full`]), which is the caller's to answer by its fail mode. A
//! panic in a piece is a value ([`Broken::Panicked`]) and ends neither the thread nor the pool. A piece whose
//! result nobody wants any more is left out if it has not begun; one that has begun runs to its end, since it
//! cannot be interrupted: its fuel bounds it.
//!
//! Knows no runtime: results come by waker. Callers: `seclang`'s users. Read next: [`Pool::submit`].

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

/// Most threads of one pool: more than that many cores inspect nothing faster.
pub const POOL_THREADS_MAX: usize = 64;

/// A piece of work, with the number of the thread that does it.
type Job = Box<dyn FnOnce(usize) + Send>;

struct Queue {
    jobs: VecDeque<Job>,
    is_ending: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    has_work: Condvar,
    waiting_max: usize,
}

/// No room: as many pieces wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool has no room")
    }
}

impl std::error::Error for Full {}

/// Why a piece gave no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It panicked; the process's panic hook has said where.
    Panicked,
    /// The pool ended before the piece began.
    Ended,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panicked => "the piece panicked",
            Self::Ended => "the pool ended first",
        })
    }
}

impl std::error::Error for Broken {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A pool. Dropped, it finishes what has begun, gives [`Broken::Ended`] for the rest, and joins its threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a pool of `threads` (1 to [`POOL_THREADS_MAX`]), named after `name`, in which at most
    /// `waiting_max` pieces wait.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), is_ending: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), has_work: Condvar::new(), waiting_max });
        let mut pool = Self { shared, threads: Vec::new() };
        for number in 0..threads.clamp(1, POOL_THREADS_MAX) {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("{name}-{number}"));
            pool.threads.push(thread.spawn(move || work(&shared, number))?);
        }
        Ok(pool)
    }

    /// Gives a piece of work to the pool; its result is awaited by polling what is returned, and forgotten by
    /// dropping it.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken, and the work is dropped.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, Full> {
        self.submit_on(|_| work())
    }

    /// As [`Pool::submit`], for work that wants to know which thread does it: 0 up to their number.
    ///
    /// # Errors
    /// As [`Pool::submit`].
    pub fn submit_on<T: Send + 'static>(
        &self,
        work: impl FnOnce(usize) -> T + Send + 'static,
    ) -> Result<Pending<T>, Full> {
        let place = Arc::new(Mutex::new(Place { result: None, waker: None }));
        let theirs = Promise { place: Arc::downgrade(&place) };
        let job = Box::new(move |thread| {
            if theirs.is_wanted() {
                let piece = AssertUnwindSafe(|| work(thread));
                let result = catch_unwind(piece).map_err(|_| Broken::Panicked);
                theirs.give(result);
            }
        });
        let mut queue = lock(&self.shared.queue);
        if queue.jobs.len() >= self.shared.waiting_max {
            return Err(Full);
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.has_work.notify_one();
        Ok(Pending { place })
    }

    /// Pieces that wait for a thread.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.shared.queue).jobs.len()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("threads", &self.threads.len())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left = {
            let mut queue = lock(&self.shared.queue);
            queue.is_ending = true;
            std::mem::take(&mut queue.jobs)
        };
        drop(left); // each promise is broken as it is dropped
        self.shared.has_work.notify_all();
        for thread in self.threads.drain(..) {
            let _cannot_panic = thread.join();
        }
    }
}

fn work(shared: &Shared, number: usize) {
    loop {
        let mut queue = lock(&shared.queue);
        let job = loop {
            if queue.is_ending {
                return;
            }
            match queue.jobs.pop_front() {
                Some(job) => break job,
                None => queue = shared.has_work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(queue);
        job(number);
    }
}

struct Place<T> {
    result: Option<Result<T, Broken>>,
    waker: Option<Waker>,
}

/// The pool's end of a piece: broken if dropped before it was kept.
struct Promise<T> {
    place: Weak<Mutex<Place<T>>>,
}

impl<T> Promise<T> {
    fn is_wanted(&self) -> bool {
        self.place.strong_count() > 0
    }

    fn give(&self, result: Result<T, Broken>) {
        let Some(place) = self.place.upgrade() else { return };
        let mut place = lock(&place);
        if place.result.is_none() {
            place.result = Some(result);
            if let Some(waker) = place.waker.take() {
                drop(place);
                waker.wake();
            }
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.give(Err(Broken::Ended));
    }
}

/// A piece of work under way. Dropped, its result is thrown away.
pub struct Pending<T> {
    place: Arc<Mutex<Place<T>>>,
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}

impl<T> Future for Pending<T> {
    /// The result, or why there is none. Must not be polled again after it.
    type Output = Result<T, Broken>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut place = lock(&self.place);
        match place.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                place.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests;
