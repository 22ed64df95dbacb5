//! Coarse deadlines: one number per connection, one sweep per tick.
//!
//! Arming is a store; there is no list, lock or timer per connection. A deadline fires at the first sweep
//! after it is due, so it is late by up to one tick and never early. The thread's wiring calls
//! [`Deadlines::sweep`] every [`TICK_MS`]; nothing here reads a clock. With a million slots a sweep compares
//! 4 MB of numbers, some 0.3 ms. Slots also say since when their connection is idle, so that those that have
//! been so for longest can be let go when room is short ([`Deadlines::shed`]); before them those that have
//! begun something and not gone on with it. And they say for whom each is held, so that whoever holds more
//! than its share is asked before others (`deadline/holders.rs`).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

pub use holders::Holder;
use holders::{Holders, NOBODY};

mod holders;

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

/// Marks of slots, each with its place.
type Slots = Vec<(u32, u32)>;

/// The deadlines of one thread.
#[derive(Default)]
pub struct Deadlines {
    tick: Cell<u32>,
    due_at: RefCell<Vec<u32>>,
    /// The tick since which each is idle.
    idle_since: RefCell<Vec<u32>>,
    wakers: RefCell<Vec<Option<Waker>>>,
    /// The number of the holder of each.
    held_for: RefCell<Vec<u32>>,
    holders: RefCell<Holders>,
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
                self.held_for.borrow_mut().push(NOBODY);
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

    /// Makes deadlines of connections due that have been idle for a second at the least; gives of whose there
    /// were how many, by [`Holder::key`]. They are woken as by a sweep, and held for nobody from then on.
    ///
    /// Those that are held for nobody go first. Of the others each next one is of whoever holds most for its
    /// weight, and none of who holds no more than its share, though fewer go then than were asked for. Among
    /// the same holder's, those of [`Deadline::arm_unproven`] go before all others, and then those that have
    /// been idle for longest. Where several hold places and there are too few such, who holds more than its
    /// share of all, those that have said nothing included, loses those that are idle for less, too: it would
    /// otherwise have all places that come free by taking them faster.
    ///
    /// It looks at every slot up to six times, some 1 ms for a million each.
    pub fn shed(&self, count: usize) -> Vec<(u64, usize)> {
        let nobodys = self.idle_for(IDLE_TICKS_LEAST, BUSY, |number| number == NOBODY);
        let let_go = self.let_go(nobodys, count);
        let mut gone = Vec::new();
        if let_go > 0 {
            gone.push((Holder::NOBODY.key, let_go));
        }
        let mut left = count.saturating_sub(let_go);
        for least in [IDLE_TICKS_LEAST, 0] {
            if left == 0 || least == 0 && self.holders.borrow().are_few() {
                break;
            }
            let idle = self.count_idle_for(least);
            // Beside many that have said nothing yet nobody is above its share: these have a second.
            let silent = if least == 0 { idle.first().copied().unwrap_or(0) } else { 0 };
            let quotas = self.holders.borrow().quotas(&idle, left, silent);
            for (number, slots, quota) in self.of_each(least, &quotas) {
                let key = self.holders.borrow().key(number);
                let let_go = self.let_go(slots, quota);
                left = left.saturating_sub(let_go);
                match gone.iter_mut().find(|(other, _)| *other == key) {
                    Some((_, count)) => *count += let_go,
                    None => gone.push((key, let_go)),
                }
            }
        }
        gone
    }

    /// As [`Deadlines::shed`], of those of [`Deadline::arm_unproven`] alone that are held for nobody; gives
    /// how many.
    pub fn shed_unproven(&self, count: usize) -> usize {
        self.let_go(self.idle_for(IDLE_TICKS_LEAST, PROVEN, |number| number == NOBODY), count)
    }

    /// Whether a slot with this mark has been idle for so many ticks.
    fn is_idle_for(&self, least: u32, since: u32) -> bool {
        since != BUSY && self.tick.get().saturating_sub(since & !PROVEN) >= least
    }

    /// Marks and places of slots that have been idle for so many ticks and whose mark is below a bound, of
    /// some holders.
    fn idle_for(&self, least: u32, bound: u32, is_wanted: impl Fn(u32) -> bool) -> Slots {
        let (since, held_for) = (self.idle_since.borrow(), self.held_for.borrow());
        let slots = (0..).zip(since.iter().copied().zip(held_for.iter().copied()));
        let is_one = |since, number| since < bound && self.is_idle_for(least, since) && is_wanted(number);
        let idle = slots.filter(|(_, (since, number))| is_one(*since, *number));
        idle.map(|(index, (since, _))| (since, index)).collect()
    }

    /// How many slots of each holder have been idle for so many ticks, by its number.
    fn count_idle_for(&self, least: u32) -> Vec<u32> {
        let mut counts = vec![0; self.holders.borrow().len()];
        let (since, held_for) = (self.idle_since.borrow(), self.held_for.borrow());
        let idle = since.iter().zip(held_for.iter()).filter(|(since, _)| self.is_idle_for(least, **since));
        for (_, number) in idle {
            if let Some(count) = counts.get_mut(*number as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Of each holder with a quota its number, its slots that have been idle for so many ticks, and that.
    fn of_each(&self, least: u32, quotas: &[u32]) -> Vec<(u32, Slots, usize)> {
        let of = |number: u32| quotas.get(number as usize).copied().unwrap_or(0);
        let mut each: Vec<_> =
            (0..).zip(quotas).map(|(number, quota)| (number, Vec::new(), *quota)).collect();
        let idle = self.idle_for(least, BUSY, |number| of(number) > 0);
        let held_for = self.held_for.borrow();
        for (since, index) in idle {
            let number = held_for.get(index as usize).copied().unwrap_or(NOBODY);
            if let Some((_, slots, _)) = each.get_mut(number as usize) {
                slots.push((since, index));
            }
        }
        let asked = each.into_iter().filter(|(_, _, quota)| *quota > 0);
        asked.map(|(number, slots, quota)| (number, slots, quota as usize)).collect()
    }

    /// Lets so many of these go, those with the lowest marks; gives how many.
    fn let_go(&self, mut slots: Slots, count: usize) -> usize {
        if count < slots.len() {
            slots.select_nth_unstable(count);
            slots.truncate(count);
        }
        for (_, index) in &slots {
            let index = *index as usize;
            if let Some(at) = self.due_at.borrow_mut().get_mut(index) {
                *at = DUE;
            }
            if let Some(since) = self.idle_since.borrow_mut().get_mut(index) {
                *since = BUSY;
            }
            self.set_holder(index, Holder::NOBODY);
            let waker = self.wakers.borrow().get(index).cloned().flatten();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
        slots.len()
    }

    fn set_holder(&self, index: usize, holder: Holder) {
        let mut held_for = self.held_for.borrow_mut();
        let Some(number) = held_for.get_mut(index) else { return };
        let mut holders = self.holders.borrow_mut();
        if !holders.is(*number, holder) {
            holders.give_back(*number);
            *number = holders.take(holder);
        }
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

    /// Slots there are, those included that are free: what a look costs.
    pub fn slots(&self) -> usize {
        self.due_at.borrow().len()
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

    /// Says for whom the connection's place is held from now on, until the slot is dropped.
    pub fn hold_for(&self, holder: Holder) {
        self.owner.set_holder(self.index as usize, holder);
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
        self.hold_for(Holder::NOBODY);
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

    fn shed(deadlines: &Deadlines, count: usize) -> usize {
        deadlines.shed(count).into_iter().map(|(_, count)| count).sum()
    }

    fn pass_a_second(deadlines: &Deadlines) {
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
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
        assert_eq!(shed(&deadlines, 9), 0, "none has been idle for a second");
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
        assert_eq!(shed(&deadlines, 1), 1);
        let due = || slots.iter().map(Deadline::is_due).collect::<Vec<_>>();
        assert_eq!(due(), [false, true, false, false, false], "it is idle for longest");
        assert_eq!(shed(&deadlines, 9), 2);
        assert_eq!(due(), [false, true, false, true, true]);
        assert_eq!(shed(&deadlines, 9), 0, "nobody is let go twice");
        slots[1].arm_idle(0);
        (0..IDLE_TICKS_LEAST).for_each(|_| deadlines.sweep());
        assert_eq!((slots[1].is_due(), shed(&deadlines, 9)), (false, 1), "without a deadline of its own too");
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
        assert_eq!(shed(&deadlines, 1), 1);
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
        assert_eq!(shed(&deadlines, 9), 1, "the idle one is left");
    }

    #[test]
    fn who_holds_more_than_its_share_loses_idle_ones_before_others_that_are_idle_for_longer() {
        let deadlines = Deadlines::new();
        let [small, large] = [1, 2].map(|key| Holder { key, weight: 1 });
        let idle = |holder: Holder, count: usize| -> Vec<Deadline> {
            let slots: Vec<Deadline> = (0..count).map(|_| deadlines.slot()).collect();
            for slot in &slots {
                slot.hold_for(holder);
                slot.arm_idle(0);
                deadlines.sweep();
            }
            slots
        };
        let few = idle(small, 4);
        let mut many = idle(large, 12);
        pass_a_second(&deadlines);
        let silent = deadlines.slot();
        silent.arm_unproven(0);
        pass_a_second(&deadlines);
        assert_eq!(deadlines.shed(3), [(0, 1), (2, 2)], "who has said nothing first, though it came last");
        let due = |slots: &[Deadline]| slots.iter().filter(|slot| slot.is_due()).count();
        assert_eq!((due(&few), due(&many)), (0, 2));
        assert!(many[0].is_due() && many[1].is_due(), "those that were idle for longest");
        many.drain(..2);
        many.iter().for_each(Deadline::disarm);
        assert_eq!(
            deadlines.shed(2),
            [],
            "who is served keeps its place, and who has no more than its share"
        );
        many.iter().for_each(|slot| slot.arm_idle(0));
        assert_eq!(deadlines.shed(6), [(2, 6)], "until both have the same, though these came but now");
        assert_eq!((due(&few), due(&many)), (0, 6));
        drop(many);
        assert_eq!(deadlines.shed(2), [(1, 2)], "alone it has all there is");
        let again = deadlines.slot();
        assert_eq!(*deadlines.held_for.borrow().get(again.index as usize).unwrap(), NOBODY);
    }

    #[test]
    fn who_has_just_been_served_does_not_go_for_those_that_have_said_nothing_yet() {
        let deadlines = Deadlines::new();
        let served: Vec<Deadline> = (1..3)
            .map(|key| (deadlines.slot(), key))
            .map(|(slot, key)| {
                slot.hold_for(Holder { key, weight: 1 });
                slot.arm_idle(0);
                slot
            })
            .collect();
        let silent: Vec<Deadline> = (0..8).map(|_| deadlines.slot()).collect();
        silent.iter().for_each(|slot| slot.arm_unproven(0));
        assert_eq!(deadlines.shed(2), []);
        pass_a_second(&deadlines);
        served.iter().for_each(|slot| slot.arm_idle(0));
        assert_eq!(deadlines.shed(2), [(0, 2)]);
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
