//! An origin's workers: so many requests at a time, each for so long, the others in a line in the order in
//! which they came.
//!
//! That is what any server does that gets more than it can: it answers later the more wait. To be called by
//! an answering script. Read next: [`Workers::work`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
struct State {
    count: u64,
    /// Requests that came, and those that are done.
    came: u64,
    done: u64,
    /// Requests that waited or were worked on at once, at most.
    most: u64,
}

/// See the module. A clone works for the same origin.
#[derive(Clone, Debug)]
pub struct Workers {
    state: Arc<(Mutex<State>, Condvar)>,
    service: Duration,
}

impl Workers {
    /// So many, each of which takes so long for a request.
    pub fn new(count: u64, service: Duration) -> Workers {
        let state = State { count, ..State::default() };
        Workers { state: Arc::new((Mutex::new(state), Condvar::new())), service }
    }

    /// Waits for a worker, and until it is done.
    #[expect(clippy::disallowed_methods, reason = "how long a request takes is what this origin is about")]
    pub fn work(&self) {
        let (state, changed) = &*self.state;
        let mut held = state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = held.came;
        held.came += 1;
        held.most = held.most.max(held.came - held.done);
        let mut held = changed
            .wait_while(held, |held| ticket >= held.done + held.count)
            .unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + self.service;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            held = changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        held.done += 1;
        changed.notify_all();
    }

    /// From now on there are so many more.
    pub fn add(&self, count: u64) {
        let (state, changed) = &*self.state;
        state.lock().unwrap_or_else(PoisonError::into_inner).count += count;
        changed.notify_all();
    }

    /// Requests that were there at once since this was last asked, at most.
    pub fn most(&self) -> u64 {
        let mut held = self.state.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = held.came - held.done;
        std::mem::replace(&mut held.most, now)
    }

    /// Requests that are done.
    pub fn done(&self) -> u64 {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner).done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_worked_on_than_there_are_workers_and_none_waits_for_ever() {
        let workers = Workers::new(2, Duration::from_millis(1));
        std::thread::scope(|scope| {
            for _ in 0..10 {
                let workers = workers.clone();
                scope.spawn(move || workers.work());
            }
        });
        assert_eq!(workers.done(), 10);
        assert!((1..=10).contains(&workers.most()));
        assert_eq!(workers.most(), 0, "asked again, it is what is there now");
        workers.add(1);
        workers.work();
        assert_eq!(workers.done(), 11);
    }
}
