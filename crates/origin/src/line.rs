//! The line before a pool whose origins have as many exchanges as they may: bounded in number and in time.
//!
//! Whose turn it is when a place becomes free: known visitors before strangers; among either those who came
//! first as long as nobody has waited for half of the time there is, and from then on those who came last
//! (adaptive LIFO): when not all can be served, the last to come are those who still wait. Who comes to a
//! full line is turned away, but for a known visitor, who takes the place of the stranger who waited longest.
//!
//! Shared by all threads, since places are. What it does not do: it does not know whether there is a place;
//! who is called looks. Called by `choose.rs`, and by the drop of what held a place. Read next:
//! [`crate::Origins::choose_in_line`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use crate::fleet::lock;

/// What became of one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Call {
    /// Nothing yet.
    Waits,
    /// A place may be free.
    Called,
    /// Somebody who comes first took its place in the line.
    SentAway,
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    since_ms: u64,
    call: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Waiter {
    /// What became of it since it last looked; from now on this waker is woken.
    pub(crate) fn look(&self, waker: &Waker) -> Call {
        *lock(&self.waker) = Some(waker.clone());
        let called = (Call::Called as u8, Call::Waits as u8);
        if self.call.compare_exchange(called.0, called.1, Relaxed, Relaxed).is_ok() {
            return Call::Called;
        }
        if self.call.load(Relaxed) == Call::SentAway as u8 { Call::SentAway } else { Call::Waits }
    }

    /// Who was sent away stays so: a call that was under way to it meanwhile is the next one's.
    fn tell(&self, call: Call) {
        let change = |now| (now != Call::SentAway as u8).then_some(call as u8);
        let _sent_away_before = self.call.fetch_update(Relaxed, Relaxed, change);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The line of one pool: known visitors, and strangers.
#[derive(Debug, Default)]
pub(crate) struct Line {
    waiting: AtomicUsize,
    known: AtomicUsize,
    lines: Mutex<[VecDeque<Arc<Waiter>>; 2]>,
}

impl Line {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Whether somebody waits who comes before, or together with, a visitor who comes now.
    pub(crate) fn is_behind(&self, is_known: bool) -> bool {
        let ahead = if is_known { &self.known } else { &self.waiting };
        ahead.load(Relaxed) > 0
    }

    /// Takes a place at its end; none if `most` wait already and none of them gives way.
    pub(crate) fn join(&self, is_known: bool, most: usize, now_ms: u64) -> Option<Arc<Waiter>> {
        let mut lines = lock(&self.lines);
        let [known, strangers] = &mut *lines;
        if known.len() + strangers.len() >= most {
            let stranger = if is_known { strangers.pop_front() } else { None };
            stranger?.tell(Call::SentAway);
        }
        let waiter = Arc::new(Waiter {
            since_ms: now_ms,
            call: AtomicU8::new(Call::Waits as u8),
            waker: Mutex::default(),
        });
        let line = if is_known { known } else { strangers };
        line.push_back(Arc::clone(&waiter));
        self.count(&lines);
        Some(waiter)
    }

    /// Whose turn it is.
    fn next(lines: &[VecDeque<Arc<Waiter>>; 2], now_ms: u64, patience_ms: u64) -> Option<&Arc<Waiter>> {
        let line = lines.iter().find(|line| !line.is_empty())?;
        let is_pressed =
            line.front().is_some_and(|first| now_ms.saturating_sub(first.since_ms) > patience_ms / 2);
        if is_pressed { line.back() } else { line.front() }
    }

    /// Calls whose turn it is. That one keeps its place in the line until it leaves: a call in vain costs it
    /// nothing. `patience_ms` is how long anybody waits.
    pub(crate) fn call(&self, now_ms: u64, patience_ms: u64) {
        if self.len() == 0 {
            return;
        }
        let next = Self::next(&lock(&self.lines), now_ms, patience_ms).cloned();
        if let Some(next) = next {
            next.tell(Call::Called);
        }
    }

    /// Whether it is this one's turn.
    pub(crate) fn is_next(&self, waiter: &Arc<Waiter>, now_ms: u64, patience_ms: u64) -> bool {
        let lines = lock(&self.lines);
        Self::next(&lines, now_ms, patience_ms).is_some_and(|next| Arc::ptr_eq(next, waiter))
    }

    /// Leaves the line, with a place or without. The next looks too: of two places that became free at once,
    /// both may have been told to the same.
    pub(crate) fn leave(&self, waiter: &Arc<Waiter>, now_ms: u64, patience_ms: u64) {
        let mut lines = lock(&self.lines);
        for line in lines.iter_mut() {
            line.retain(|other| !Arc::ptr_eq(other, waiter));
        }
        self.count(&lines);
        drop(lines);
        self.call(now_ms, patience_ms);
    }

    fn count(&self, [known, strangers]: &[VecDeque<Arc<Waiter>>; 2]) {
        self.known.store(known.len(), Relaxed);
        self.waiting.store(known.len() + strangers.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(waiters: &[&Arc<Waiter>]) -> Vec<Call> {
        waiters.iter().map(|waiter| waiter.look(Waker::noop())).collect()
    }

    #[test]
    fn who_came_first_is_called_first_until_that_one_has_waited_for_long() {
        let line = Line::default();
        let [first, second, third] = [0, 10, 20].map(|at| line.join(false, 8, at).expect("room"));
        line.call(30, 1_000);
        assert_eq!(looked(&[&first, &second, &third]), [Call::Called, Call::Waits, Call::Waits]);
        assert_eq!(looked(&[&first]), [Call::Waits], "told once");
        line.call(31, 1_000);
        assert_eq!(looked(&[&first, &second]), [Call::Called, Call::Waits], "a call in vain costs nothing");
        assert!(line.is_next(&first, 500, 1_000) && line.is_next(&third, 501, 1_000));
        line.call(501, 1_000);
        assert_eq!(looked(&[&first, &second, &third]), [Call::Waits, Call::Waits, Call::Called]);
    }

    #[test]
    fn known_visitors_come_first_and_strangers_give_way_to_them() {
        let line = Line::default();
        let stranger = line.join(false, 2, 0).expect("room");
        let other = line.join(false, 2, 1).expect("room");
        assert!(line.join(false, 2, 2).is_none(), "full");
        assert!(!line.is_behind(true) && line.is_behind(false));
        let known = line.join(true, 2, 3).expect("a stranger gives way");
        assert_eq!(looked(&[&stranger, &other, &known]), [Call::SentAway, Call::Waits, Call::Waits]);
        line.call(4, 1_000);
        assert_eq!(looked(&[&other, &known]), [Call::Waits, Call::Called]);
        assert!(line.join(true, 2, 6).is_some(), "the last stranger gives way");
        assert!(line.join(true, 2, 7).is_none(), "nobody is left to give way");
        assert_eq!(looked(&[&other]), [Call::SentAway]);
    }

    #[test]
    fn a_call_that_comes_late_does_not_bring_back_who_was_sent_away() {
        let line = Line::default();
        let stranger = line.join(false, 1, 0).expect("room");
        let _known = line.join(true, 1, 1).expect("the stranger gives way");
        stranger.tell(Call::Called);
        assert_eq!(looked(&[&stranger]), [Call::SentAway]);
    }

    #[test]
    fn one_who_leaves_has_the_next_look() {
        let line = Line::default();
        let [first, second, third] = [0, 1, 2].map(|at| line.join(false, 8, at).expect("room"));
        line.leave(&first, 3, 1_000);
        assert_eq!(looked(&[&second, &third]), [Call::Called, Call::Waits]);
        line.leave(&third, 3, 1_000);
        line.leave(&second, 3, 1_000);
        assert_eq!(line.len(), 0);
    }
}
