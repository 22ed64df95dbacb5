//! Coarse deadlines: one number per connection, one sweep per tick.
//!
//! Arming is a store; there is no list, lock or timer per connection. A deadline fires at the first sweep
//! after it is due, so it is late by up to one tick and never early. The thread's wiring calls
//! [`Deadlines::sweep`] every [`TICK_MS`]; nothing here reads a clock. With a million slots a sweep compares
//! 4 MB of numbers, some 0.3 ms. Slots also say since when their connection is idle, so that those that have
//! been so for longest can be let go when room is short ([`Deadlines::shed`]); before them those that have
//! begun something and not gone on with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

/// How often the wiring sweeps, and so the grain of every time-out of an exchange, in milliseconds.
pub const TICK_MS: u32 = 100;

const OFF: u32 = u32::MAX;
const DUE: u32 = u32::MAX - 1;
const BUSY: u32 = u32::MAX;

/// What is added to the tick since which a connection is idle that has proven itself before: others go first,
/// however long these have been idle. Half of all ticks, of which a process sees a few percent in its life.
const PROVEN: u32 = 1 << 30;

/// How long a connection has been idle at the least before it is let go, in ticks: a visitor that has just
/// come, or comes back at once, is not idle.
const IDLE_TICKS_LEAST: u32 = 10;

/// The deadlines of one thread.
#[derive(Default)]
pub struct Deadlines {
    tick: Cell<u32>,
    due_at: RefCell<Vec<u32>>,
    /// The tick since which each is idle.
    idle_since: RefCell<Vec<u32>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<u32>>,
}

impl Deadlines {
    /// A set without slots, at tick 0.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// A new slot, disarmed; it is given back when dropped.
    pub fn slot(self: &Rc<Self>) -> Deadline {
        let index = match self.free.borrow_mut().pop() {
            Some(index) => index,
            None => {
                let mut due_at = self.due_at.borrow_mut();
                due_at.push(OFF);
                self.idle_since.borrow_mut().push(BUSY);
                self.wakers.borrow_mut().push(None);
                (due_at.len() - 1) as u32
            }
        };
        Deadline { owner: Rc::clone(self), index }
    }

    /// Moves time on by one tick and wakes the task of every deadline that is now due.
    pub fn sweep(&self) {
        let now = self.tick.get().wrapping_add(1);
        self.tick.set(now);
        let mut due = Vec::new();
        for (index, at) in self.due_at.borrow_mut().iter_mut().enumerate() {
            if *at <= now {
                *at = DUE;
                due.push(index);
            }
        }
        for index in due {
            let waker = self.wakers.borrow().get(index).cloned().flatten();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Makes deadlines of connections due that are idle, those first that have been so for longest and for a
    /// second at the least; gives how many. Those of [`Deadline::arm_unproven`] go before all others. They
    /// are woken as by a sweep.
    ///
    /// It looks at every slot, some 1 ms for a million.
    pub fn shed(&self, count: usize) -> usize {
        self.let_go(count, BUSY)
    }

    /// As [`Deadlines::shed`], of those of [`Deadline::arm_unproven`] alone.
    pub fn shed_unproven(&self, count: usize) -> usize {
        self.let_go(count, PROVEN)
    }

    /// Lets those go whose mark is below a bound.
    fn let_go(&self, count: usize, bound: u32) -> usize {
        let now = self.tick.get();
        let age = |since: u32| now.saturating_sub(since & !PROVEN);
        let is_old = |since: u32| since < bound && age(since) >= IDLE_TICKS_LEAST;
        let mut idle: Vec<(u32, usize)> = {
            let since = self.idle_since.borrow();
            let slots = since.iter().enumerate().filter(|(_, since)| is_old(**since));
            slots.map(|(index, since)| (*since, index)).collect()
        };
        if count < idle.len() {
            idle.select_nth_unstable(count);
            idle.truncate(count);
        }
        for (_, index) in &idle {
            if let Some(at) = self.due_at.borrow_mut().get_mut(*index) {
                *at = DUE;
            }
            if let Some(since) = self.idle_since.borrow_mut().get_mut(*index) {
                *since = BUSY;
            }
            let waker = self.wakers.borrow().get(*index).cloned().flatten();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        idle.len()
    }

    /// Wakes every registered task, due or not: something that concerns them all has changed.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> = self.wakers.borrow().iter().flatten().cloned().collect();
        for waker in wakers {
            waker.wake();
        }
    }

    /// Ticks since start.
    pub fn now(&self) -> u32 {
        self.tick.get()
    }

    /// Slots in use.
    pub fn len(&self) -> usize {
        self.due_at.borrow().len() - self.free.borrow().len()
    }

    /// Whether no slot is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One slot of a thread's [`Deadlines`].
pub struct Deadline {
    owner: Rc<Deadlines>,
    index: u32,
}

impl Deadline {
    fn set(&self, value: u32, idle_since: u32) {
        let index = self.index as usize;
        if let Some(at) = self.owner.due_at.borrow_mut().get_mut(index) {
            *at = value;
        }
        if let Some(since) = self.owner.idle_since.borrow_mut().get_mut(index) {
            *since = idle_since;
        }
    }

    fn after(&self, ms: u32) -> u32 {
        match ms {
            0 => OFF,
            // One tick more, because the current tick is already partly over.
            _ => self.owner.tick.get().saturating_add(ms.div_ceil(TICK_MS) + 1).min(DUE - 1),
        }
    }

    /// Names the task to wake. A later call replaces the task.
    pub fn register(&self, waker: &Waker) {
        if let Some(slot) = self.owner.wakers.borrow_mut().get_mut(self.index as usize) {
            match slot {
                Some(known) if known.will_wake(waker) => {}
                _ => *slot = Some(waker.clone()),
            }
        }
    }

    /// Due once `ms` milliseconds have passed, rounded up to whole ticks; forgets an earlier firing.
    /// Zero means never.
    pub fn arm(&self, ms: u32) {
        self.set(self.after(ms), BUSY);
    }

    /// As [`Deadline::arm`], of a connection that does nothing until then: it may be let go earlier
    /// ([`Deadlines::shed`]), until it is armed or disarmed again.
    pub fn arm_idle(&self, ms: u32) {
        self.set(self.after(ms), self.owner.tick.get() | PROVEN);
    }

    /// As [`Deadline::arm`], of a connection that has yet to show that it is worth its place: its handshake
    /// or a head is under way, which takes who means it a round trip or two. It may be let go earlier, before
    /// any that is idle after an answer.
    pub fn arm_unproven(&self, ms: u32) {
        self.set(self.after(ms), self.owner.tick.get() & !PROVEN);
    }

    /// Never due.
    pub fn disarm(&self) {
        self.set(OFF, BUSY);
    }

    /// Whether it fired since it was last armed.
    pub fn is_due(&self) -> bool {
        self.owner.due_at.borrow().get(self.index as usize) == Some(&DUE)
    }

    /// The set this slot belongs to.
    pub fn owner(&self) -> &Rc<Deadlines> {
        &self.owner
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.set(OFF, BUSY);
        if let Some(slot) = self.owner.wakers.borrow_mut().get_mut(self.index as usize) {
            *slot = None;
        }
        self.owner.free.borrow_mut().push(self.index);
    }
}

impl std::fmt::Debug for Deadline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deadline").field("index", &self.index).field("is_due", &self.is_due()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_after_its_time_and_never_before() {
        let deadlines = Deadlines::new();
        let slot = deadlines.slot();
        slot.arm(3 * TICK_MS);
        for _ in 0..3 {
            deadlines.sweep();
            assert!(!slot.is_due());
        }
        deadlines.sweep();
        assert!(slot.is_due());
        slot.arm(TICK_MS);
        assert!(!slot.is_due(), "arming forgets an earlier firing");
    }

    #[test]
    fn those_that_are_idle_for_longest_are_let_go_and_no_others() {
        let deadlines = Deadlines::new();
        let slots: Vec<Deadline> = (0..5).map(|_| deadlines.slot()).collect();
        for slot in &slots {
            slot.arm_idle(100 * TICK_MS);
            deadlines.sweep();
        }
        slots[0].arm(100 * TICK_MS);
        slots[2].disarm();
        assert_eq!(deadlines.shed(9), 0, "none has been idle for a second");
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
        assert_eq!(deadlines.shed(1), 1);
        let due = || slots.iter().map(Deadline::is_due).collect::<Vec<_>>();
        assert_eq!(due(), [false, true, false, false, false], "it is idle for longest");
        assert_eq!(deadlines.shed(9), 2);
        assert_eq!(due(), [false, true, false, true, true]);
        assert_eq!(deadlines.shed(9), 0, "nobody is let go twice");
        slots[1].arm_idle(0);
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
        assert_eq!((slots[1].is_due(), deadlines.shed(9)), (false, 1), "without a deadline of its own too");
    }

    #[test]
    fn those_that_have_proven_nothing_go_before_those_that_are_idle() {
        let deadlines = Deadlines::new();
        let slots: Vec<Deadline> = (0..4).map(|_| deadlines.slot()).collect();
        slots[0].arm_idle(1_000 * TICK_MS);
        deadlines.sweep();
        slots[1].arm_unproven(1_000 * TICK_MS);
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
        slots[2].arm_unproven(1_000 * TICK_MS);
        assert_eq!(deadlines.shed(1), 1);
        let due = || slots.iter().map(Deadline::is_due).collect::<Vec<_>>();
        assert_eq!(
            due(),
            [false, true, false, false],
            "it came after the idle one, and before the fresh one"
        );
        assert_eq!(
            deadlines.shed_unproven(9),
            0,
            "the other has had no second yet, and the idle one is proven"
        );
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
        assert_eq!(deadlines.shed_unproven(9), 1);
        assert_eq!(due(), [false, true, true, false]);
        assert_eq!(deadlines.shed(9), 1, "the idle one is left");
    }

    #[test]
    fn a_dropped_slot_is_used_again_and_starts_disarmed() {
        let deadlines = Deadlines::new();
        let first = deadlines.slot();
        first.arm(TICK_MS);
        drop(first);
        assert!(deadlines.is_empty());
        let second = deadlines.slot();
        for _ in 0..5 {
            deadlines.sweep();
        }
        assert!(!second.is_due());
        assert_eq!(deadlines.len(), 1);
    }
}
