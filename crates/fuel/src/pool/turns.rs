//! Whose piece is next: shares of a pool's time among those who give it work, by weight.
//!
//! Each owner of work has a *lane*, in which pieces stand in the order they came. A lane has a time of its
//! own that runs on by the steps that were done for it, divided by its weight; the lane whose time is least
//! is next. So two owners with work to do get steps in the ratio of their weights, whatever their pieces
//! cost, and an owner alone gets everything (start-time fair queueing, Goyal, Vin and Cheng 1996, charged by
//! what was done instead of by what a piece seems to cost). A lane that begins, begins at the time of the one
//! that was next last: nobody saves up time, and a debt of at most one slice is forgiven with a lane's end.
//!
//! Pieces are worked on in slices, so that a long one of one owner holds up nobody else; within a lane the
//! one that was begun first goes on first. Of pieces that were not begun there are at most so many in all.
//! When there is no room, the lane with the most of them by weight gives up its youngest for a newcomer that
//! has fewer (longest queue drop), so that nobody fills the room of others. What this costs: looking at each
//! lane that has pieces waiting, once for each piece that finds no room.
//!
//! Pure; [`super`] has the threads. Read next: [`Turns::push`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::SLICE_STEPS;

/// Who gives work, and how much of the pool's time is its among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// A number of its own.
    pub key: u64,
    /// Its share, relative to the others; 0 counts as 1.
    pub weight: u32,
}

impl Owner {
    /// The only one.
    pub const ALONE: Self = Self { key: 0, weight: 1 };
}

/// What a push came to where nothing was refused.
#[derive(Debug)]
pub(super) enum Pushed<J> {
    /// There was room.
    Taken,
    /// There was none; this one, which waited longest in no lane, gave its place up.
    InsteadOf(J),
}

/// The least unit of a lane's time: steps are divided by weights of up to a thousand.
const SCALE: u128 = 1_000;

struct Lane<J> {
    weight: u32,
    /// Steps that were done for it, by weight.
    time: u128,
    begun: VecDeque<J>,
    waiting: VecDeque<J>,
    /// Pieces that a thread is at work on.
    running: usize,
}

impl<J> Lane<J> {
    fn cost(&self, steps: u64) -> u128 {
        u128::from(steps) * SCALE / u128::from(self.weight)
    }

    fn has_work(&self) -> bool {
        !self.begun.is_empty() || !self.waiting.is_empty()
    }
}

/// The lanes of a pool.
pub(super) struct Turns<J> {
    lanes: BTreeMap<u64, Lane<J>>,
    /// Time and key of each lane that has a piece for a thread.
    order: BTreeSet<(u128, u64)>,
    /// The time of the lane that was next last.
    now: u128,
    waiting: usize,
    waiting_max: usize,
}

impl<J> Turns<J> {
    pub(super) const fn new(waiting_max: usize) -> Self {
        Self { lanes: BTreeMap::new(), order: BTreeSet::new(), now: 0, waiting: 0, waiting_max }
    }

    /// Pieces that were not begun.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// The piece: there is no room, and nobody has more waiting than its owner, by weight.
    pub(super) fn push(&mut self, owner: Owner, piece: J) -> Result<Pushed<J>, J> {
        let weight = owner.weight.max(1);
        let mut pushed = Pushed::Taken;
        if self.waiting >= self.waiting_max {
            let own = self.lanes.get(&owner.key).map_or(0, |lane| lane.waiting.len());
            match self.longest().filter(|(_, most)| is_more(*most, (own + 1, weight))) {
                Some((key, _)) => match self.give_up(key) {
                    Some(youngest) => pushed = Pushed::InsteadOf(youngest),
                    None => return Err(piece),
                },
                None => return Err(piece),
            }
        }
        let now = self.now;
        let lane = self.lanes.entry(owner.key).or_insert_with(|| Lane {
            weight,
            time: now,
            begun: VecDeque::new(),
            waiting: VecDeque::new(),
            running: 0,
        });
        lane.weight = weight;
        lane.waiting.push_back(piece);
        self.waiting += 1;
        self.order.insert((lane.time, owner.key));
        Ok(pushed)
    }

    /// The lane with the most pieces waiting by weight: its key, how many, and its weight.
    fn longest(&self) -> Option<(u64, (usize, u32))> {
        let mut longest: Option<(u64, (usize, u32))> = None;
        for (key, lane) in &self.lanes {
            let one = (lane.waiting.len(), lane.weight);
            if longest.is_none_or(|(_, most)| is_more(one, most)) {
                longest = Some((*key, one));
            }
        }
        longest
    }

    fn give_up(&mut self, key: u64) -> Option<J> {
        let lane = self.lanes.get_mut(&key)?;
        let youngest = lane.waiting.pop_back()?;
        self.waiting -= 1;
        if !lane.has_work() {
            self.order.remove(&(lane.time, key));
            if lane.running == 0 {
                self.lanes.remove(&key);
            }
        }
        Some(youngest)
    }

    /// Gives the piece whose turn it is, with its owner's key; [`Turns::ran`] must follow.
    pub(super) fn pop(&mut self) -> Option<(u64, J)> {
        let (time, key) = self.order.pop_first()?;
        let lane = self.lanes.get_mut(&key)?;
        let piece = lane.begun.pop_front().or_else(|| {
            self.waiting = self.waiting.saturating_sub(1);
            lane.waiting.pop_front()
        })?;
        self.now = self.now.max(time);
        lane.running += 1;
        // Other threads must not take this lane for one that nothing is done for.
        lane.time += lane.cost(SLICE_STEPS);
        if lane.has_work() {
            self.order.insert((lane.time, key));
        }
        Some((key, piece))
    }

    /// So many steps were done of a piece; what is left of it goes on at its lane's next turn.
    pub(super) fn ran(&mut self, key: u64, steps: u64, unfinished: Option<J>) {
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        self.order.remove(&(lane.time, key));
        lane.running = lane.running.saturating_sub(1);
        // A step at the least, so that what claims to cost nothing still comes to an end of its turn.
        let assumed = lane.cost(SLICE_STEPS);
        lane.time = lane.time.saturating_sub(assumed) + lane.cost(steps.max(1));
        if let Some(piece) = unfinished {
            lane.begun.push_front(piece);
        }
        if lane.has_work() {
            self.order.insert((lane.time, key));
        } else if lane.running == 0 {
            self.lanes.remove(&key);
        }
    }

    /// Takes out everything that no thread is at work on.
    pub(super) fn clear(&mut self) -> Vec<J> {
        self.order.clear();
        self.waiting = 0;
        let mut out = Vec::new();
        for lane in self.lanes.values_mut() {
            out.extend(lane.begun.drain(..));
            out.extend(lane.waiting.drain(..));
        }
        out
    }
}

/// Whether one number of pieces is more than another, each by its weight.
fn is_more((one, weight): (usize, u32), (other, by): (usize, u32)) -> bool {
    one as u128 * u128::from(by) > other as u128 * u128::from(weight)
}

#[cfg(test)]
mod tests;
