//! A bounded pool of threads for work that is too long for a serving thread.
//!
//! Inspecting a body of over 8 KiB, or compressing one well, holds its serving thread for longer than a
//! request may be late, so it is done here: by a fixed number of threads, at most a fixed number of pieces
//! waiting, and the rest is refused at once ([`Full`]), which is the caller's to answer by its fail mode.
//! What can be cut is done in slices, and whose slice is next is decided by weight (`turns.rs`), so that one
//! owner's long or many pieces hold up nobody else's. A panic in a piece is a value ([`Broken::Panicked`])
//! and ends neither the thread nor the pool. A piece whose result nobody wants any more is left out, or given
//! up at its next slice.
//!
//! A slice cannot be interrupted. Whoever watches the threads says which one does not come back
//! ([`Pool::stand_in`]); another stands in for it until it does ([`Pool::is_back`]).
//!
//! Knows no runtime, no clock and no priority: results come by waker, and threads begin with what the owner
//! of the pool wants done. Callers: `edge`, for bodies and for codings. Read next: [`Pool::submit_steps`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;

mod turns;

pub use turns::Owner;
use turns::{Pushed, Turns};

/// Most threads of one pool, those that stand in left out: more than that many cores inspect nothing faster.
pub const POOL_THREADS_MAX: usize = 64;

/// What a call of a piece wants of it.
enum Call {
    /// A slice of work on the thread of this number.
    Work(usize),
    /// Nothing: its place went to another.
    GiveUp,
}

/// What a slice came to: its steps, and whether more is to do; if so whether others may go first.
struct Ran {
    steps: u64,
    goes_on: Option<Yield>,
}

/// Whether a thread lets others run between two slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    /// It gives its core away once: whatever else wants it goes first.
    Core,
    /// It goes on: the piece is late.
    Nothing,
}

/// What one slice of a piece came to.
#[derive(Debug)]
pub enum Step<T> {
    /// So many steps were done, and there is more to do.
    More(u64, Yield),
    /// It is over, with so many steps of this slice.
    Done(u64, T),
}

/// A piece of work.
type Job = Box<dyn FnMut(Call) -> Ran + Send>;

struct Queue {
    turns: Turns<Job>,
    is_ending: bool,
    /// Threads that stand in for another, and whether each is to end.
    standing_in: BTreeMap<usize, bool>,
}

struct Shared {
    queue: Mutex<Queue>,
    has_work: Condvar,
    begin: Box<dyn Fn(usize) + Send + Sync>,
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
    /// The pool was full, and its place went to one whose owner had fewer waiting.
    GaveUp,
    /// The pool ended before the piece did.
    Ended,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Panicked => "the piece panicked",
            Self::GaveUp => "the piece gave its place up",
            Self::Ended => "the pool ended first",
        })
    }
}

impl std::error::Error for Broken {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The threads, by number, and those that are known not to come back.
#[derive(Default)]
struct Crew {
    handles: Vec<(usize, JoinHandle<()>)>,
    lost: BTreeSet<usize>,
}

/// A pool. Dropped, it finishes the slices that have begun, gives [`Broken::Ended`] for all that is not over,
/// and joins its threads, but for those that do not come back.
pub struct Pool {
    shared: Arc<Shared>,
    name: String,
    threads: usize,
    crew: Mutex<Crew>,
}

impl Pool {
    /// Starts a pool of `threads` (1 to [`POOL_THREADS_MAX`]), named after `name`, in which at most
    /// `waiting_max` pieces wait. Each thread calls `begin` with its number first.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(
        name: &str,
        threads: usize,
        waiting_max: usize,
        begin: impl Fn(usize) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let turns = Turns::new(waiting_max);
        let queue = Mutex::new(Queue { turns, is_ending: false, standing_in: BTreeMap::new() });
        let shared = Arc::new(Shared { queue, has_work: Condvar::new(), begin: Box::new(begin) });
        let threads = threads.clamp(1, POOL_THREADS_MAX);
        let pool = Self { shared, name: name.to_owned(), threads, crew: Mutex::default() };
        for number in 0..threads {
            pool.spawn(number)?;
        }
        Ok(pool)
    }

    fn spawn(&self, number: usize) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(format!("{}-{number}", self.name));
        let handle = thread.spawn(move || {
            (shared.begin)(number);
            work(&shared, number);
        })?;
        lock(&self.crew).handles.push((number, handle));
        Ok(())
    }

    /// Gives the pool a piece of work of one slice; its result is awaited by polling what is returned, and
    /// forgotten by dropping it.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken, and the work is dropped.
    pub fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Pending<T>, Full> {
        let mut work = Some(work);
        self.submit_steps(Owner::ALONE, move |_| {
            let work = work.take().expect("a piece that says it is over is not called again");
            Step::Done(crate::SLICE_STEPS, work())
        })
    }

    /// Gives the pool a piece of work in slices, of an owner's: it is called with the number of the thread
    /// that does the slice until it says that it is over, by one thread at a time. As [`Pool::submit`] else.
    ///
    /// # Errors
    /// [`Full`]: as many wait as may, and none of an owner who has more waiting than this one, by weight.
    pub fn submit_steps<T: Send + 'static>(
        &self,
        owner: Owner,
        mut work: impl FnMut(usize) -> Step<T> + Send + 'static,
    ) -> Result<Pending<T>, Full> {
        let place = Arc::new(Mutex::new(Place { result: None, waker: None }));
        let theirs = Promise { place: Arc::downgrade(&place) };
        let job = Box::new(move |call: Call| {
            let over = Ran { steps: 0, goes_on: None };
            let Call::Work(thread) = call else {
                theirs.give(Err(Broken::GaveUp));
                return over;
            };
            if !theirs.is_wanted() {
                return over;
            }
            match catch_unwind(AssertUnwindSafe(|| work(thread))) {
                Ok(Step::More(steps, gives)) => Ran { steps, goes_on: Some(gives) },
                Ok(Step::Done(steps, result)) => {
                    theirs.give(Ok(result));
                    Ran { steps, goes_on: None }
                }
                Err(_) => {
                    theirs.give(Err(Broken::Panicked));
                    over
                }
            }
        });
        let mut queue = lock(&self.shared.queue);
        let pushed = queue.turns.push(owner, job);
        drop(queue);
        match pushed {
            Ok(Pushed::Taken) => self.shared.has_work.notify_one(),
            // As many wait as before, and as many threads know.
            Ok(Pushed::InsteadOf(mut other)) => {
                other(Call::GiveUp);
            }
            Err(_) => return Err(Full),
        }
        Ok(Pending { place })
    }

    /// Pieces that wait for a thread and were not begun.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.shared.queue).turns.waiting()
    }

    /// The thread of this number does not come back: another, numbered behind all, stands in for it. For one
    /// that stands in itself nobody does: there are at most twice as many threads as were asked for.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn stand_in(&self, lost: usize) -> io::Result<()> {
        lock(&self.crew).lost.insert(lost);
        if lost >= self.threads {
            return Ok(());
        }
        let number = self.threads + lost;
        // Whoever was told to end and has not yet, stays.
        if lock(&self.shared.queue).standing_in.insert(number, false).is_some() {
            return Ok(());
        }
        self.spawn(number).inspect_err(|_| {
            lock(&self.shared.queue).standing_in.remove(&number);
        })
    }

    /// The thread of this number is back; who stands in for it ends after its slice.
    pub fn is_back(&self, number: usize) {
        lock(&self.crew).lost.remove(&number);
        if let Some(is_to_end) = lock(&self.shared.queue).standing_in.get_mut(&(self.threads + number)) {
            *is_to_end = true;
        }
        self.shared.has_work.notify_all();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).field("waiting", &self.waiting()).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left = {
            let mut queue = lock(&self.shared.queue);
            queue.is_ending = true;
            queue.turns.clear()
        };
        drop(left); // each promise is broken as it is dropped
        self.shared.has_work.notify_all();
        let Crew { handles, lost } = std::mem::take(&mut *lock(&self.crew));
        for (number, thread) in handles {
            if !lost.contains(&number) {
                let _cannot_panic = thread.join();
            }
        }
    }
}

fn work(shared: &Shared, number: usize) {
    let mut queue = lock(&shared.queue);
    loop {
        if queue.is_ending {
            return;
        }
        if queue.standing_in.get(&number) == Some(&true) {
            queue.standing_in.remove(&number);
            return;
        }
        let Some((key, mut job)) = queue.turns.pop() else {
            queue = shared.has_work.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(queue);
        let Ran { steps, goes_on } = job(Call::Work(number));
        // What is over is dropped before the lock is taken, as it may be large.
        let unfinished = goes_on.is_some().then_some(job);
        queue = lock(&shared.queue);
        if queue.is_ending {
            drop(queue);
            return; // its promise is broken with it
        }
        queue.turns.ran(key, steps, unfinished);
        if goes_on == Some(Yield::Core) {
            drop(queue);
            std::thread::yield_now();
            queue = lock(&shared.queue);
        }
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
