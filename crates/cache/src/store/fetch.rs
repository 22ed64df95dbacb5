//! One fetch that several visitors may wait for: who holds its lease, who waits, what came of it.
//!
//! Concurrent misses of a key share one [`Pending`]. Its lease is held by one exchange, or by the disk until
//! its deadline; a lease that fails is taken by the next who waits. Who may use what comes of it is decided
//! where it is stored (`fill.rs`). Called by `store.rs`. Read next: [`Ticket::poll`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::fill::Lease;
use super::key::{Key, KeyRef};
use super::limits::WAITERS_MAX;
use super::object::Object;
use super::{Lookup, Store};

/// Who does the fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Nobody: the next who asks may.
    Nobody,
    /// An exchange.
    Exchange,
    /// A thread of the disk; who waits takes over once the deadline is past.
    Disk { deadline_ms: u64 },
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Object(Arc<Object>),
    Pass,
    /// Nothing to share: look it up again.
    Again,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) key: Key,
    pub(crate) url: u64,
    pub(crate) host: u64,
    /// Epoch at which the fetch began that is under way.
    born: AtomicU64,
    /// Whether the key was asked for lately, so that what comes is worth keeping on disk.
    pub(crate) is_known: bool,
    /// A fetch for it brought an answer that was for its asker alone.
    is_personal: AtomicBool,
    state: Mutex<State>,
    /// When one last left to fetch alone, plus one; zero: never.
    alone_ms: AtomicU64,
}

#[derive(Debug)]
struct State {
    holder: Holder,
    /// Raised whenever the lease changes hands, so that an old one is known as such.
    generation: u32,
    outcome: Option<Outcome>,
    /// Another fetch has taken its place in the table: who waits joins that one if this one fails.
    is_superseded: bool,
    tickets: usize,
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl State {
    fn take_one_waker(&mut self) -> Option<Waker> {
        self.wakers.iter_mut().find_map(Option::take)
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }
}

impl Pending {
    pub(crate) fn new(key: Key, (url, host): (u64, u64), born: u64, is_known: bool, holder: Holder) -> Self {
        let state = State {
            holder,
            generation: 0,
            outcome: None,
            is_superseded: false,
            tickets: 0,
            wakers: Vec::new(),
            free: Vec::new(),
        };
        Self {
            key,
            url,
            host,
            born: AtomicU64::new(born),
            is_known,
            is_personal: AtomicBool::new(false),
            state: Mutex::new(state),
            alone_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn born(&self) -> u64 {
        self.born.load(Relaxed)
    }

    pub(crate) fn note_personal(&self) {
        self.is_personal.store(true, Relaxed);
    }

    pub(crate) fn is_personal(&self) -> bool {
        self.is_personal.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place among those who wait; `None` when it is over or too many wait.
    pub(crate) fn join(self: &Arc<Self>, store: &Store) -> Result<Ticket, JoinRefused> {
        let mut state = self.lock();
        if state.outcome.is_some() {
            return Err(JoinRefused::Over);
        }
        if state.tickets >= WAITERS_MAX {
            return Err(JoinRefused::Full);
        }
        state.tickets += 1;
        let place = state.free.pop().unwrap_or_else(|| {
            state.wakers.push(None);
            state.wakers.len() - 1
        });
        Ok(Ticket { store: store.clone(), pending: Arc::clone(self), place, is_done: false })
    }

    /// Whether that lease still counts.
    pub(crate) fn is_held(&self, generation: u32) -> bool {
        let state = self.lock();
        state.generation == generation && state.outcome.is_none() && state.holder != Holder::Nobody
    }

    pub(crate) fn tickets(&self) -> usize {
        self.lock().tickets
    }

    /// Ends the fetch for all who wait; false, and nothing done, when the lease is an old one.
    pub(crate) fn resolve(&self, generation: u32, outcome: Outcome) -> bool {
        let mut state = self.lock();
        if state.generation != generation || state.outcome.is_some() {
            return false;
        }
        state.outcome = Some(outcome);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    /// Gives the lease to whoever of those who wait asks first. True when nobody waits, or
    /// they have another fetch to join: this one is over.
    pub(crate) fn hand_on(&self, generation: u32) -> bool {
        let mut state = self.lock();
        if state.generation != generation || state.outcome.is_some() {
            return false;
        }
        state.generation += 1;
        state.holder = Holder::Nobody;
        let is_over = state.tickets == 0 || state.is_superseded;
        let wakers = if is_over {
            state.outcome = Some(Outcome::Again);
            state.take_wakers()
        } else {
            state.take_one_waker().into_iter().collect()
        };
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        is_over
    }

    /// Another fetch takes its place in the table, because of a purge.
    pub(crate) fn supersede(&self) {
        let mut state = self.lock();
        state.is_superseded = true;
        if state.holder != Holder::Nobody || state.outcome.is_some() {
            return;
        }
        state.outcome = Some(Outcome::Again);
        let wakers = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Lets whoever holds the disk's lease fetch instead: the disk took no more reads.
    pub(crate) fn take_from_disk(&self, generation: u32) {
        let mut state = self.lock();
        if state.generation == generation {
            state.holder = Holder::Exchange;
        }
    }
}

impl Store {
    /// A lease for what a fetch without one has brought and may be kept; the fetch began at `epoch` of
    /// purges, and `beyond` is what it was made to replace.
    ///
    /// Who holds the lease is slower, and loses it: all who wait are served by what is here, or a fetch that
    /// hangs would keep them waiting although the origin answers others. A key known as one whose answers
    /// cannot be kept does not stand in the way (hit-for-miss): this one can be. `None` when too many fetches
    /// are under way.
    pub(crate) fn lease_for_brought(
        &self,
        key: &KeyRef<'_>,
        beyond: Option<&Arc<Object>>,
        epoch: u64,
        now_ms: u64,
    ) -> Option<Lease> {
        let found = match beyond {
            Some(object) => self.lookup_beyond(object, now_ms),
            None => match self.lookup(key, now_ms) {
                Lookup::Hit(object) => self.lookup_beyond(&object, now_ms),
                other => other,
            },
        };
        match found {
            Lookup::Lease(lease) => Some(lease.since(epoch)),
            Lookup::Pass => self.take_lease(key).map(|lease| lease.since(epoch)),
            Lookup::Wait(ticket) => ticket.take_over(epoch),
            Lookup::Hit(_) | Lookup::Bypass(_) => None,
        }
    }
}

/// Why nobody can join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JoinRefused {
    Over,
    Full,
}

/// What waiting came to.
#[derive(Debug)]
pub enum Waited {
    /// The answer is there, or its head is and its body fills.
    Hit(Arc<Object>),
    /// Whoever fetched failed, or the disk was late: it is this one's turn.
    Lease(Lease),
    /// The answer could not be kept: each goes to the origin.
    Pass,
    /// Nothing came that may be shared (a purge came in between): look it up again.
    Again,
}

/// A place among those who wait for one fetch. Dropped, it is given up.
#[derive(Debug)]
pub struct Ticket {
    store: Store,
    pending: Arc<Pending>,
    place: usize,
    is_done: bool,
}

impl Ticket {
    /// Whether it is over. Pending: the waker is called when there is something to see; besides, ask again
    /// once [`Ticket::deadline_ms`] is past. Not to be asked again after it was ready.
    pub fn poll(&mut self, waker: &Waker, now_ms: u64) -> Poll<Waited> {
        let mut state = self.pending.lock();
        let waited = match (&state.outcome, state.holder) {
            (Some(Outcome::Object(object)), _) => Waited::Hit(Arc::clone(object)),
            (Some(Outcome::Pass), _) => Waited::Pass,
            (Some(Outcome::Again), _) => Waited::Again,
            (None, Holder::Disk { deadline_ms }) if now_ms >= deadline_ms => {
                self.store.counters().disk_reads_late.add(1);
                self.take(&mut state)
            }
            (None, Holder::Nobody) => self.take(&mut state),
            (None, Holder::Exchange | Holder::Disk { .. }) => {
                if let Some(place) = state.wakers.get_mut(self.place)
                    && !place.as_ref().is_some_and(|known| known.will_wake(waker))
                {
                    *place = Some(waker.clone());
                }
                return Poll::Pending;
            }
        };
        drop(state);
        self.leave();
        Poll::Ready(waited)
    }

    fn take(&self, state: &mut State) -> Waited {
        state.holder = Holder::Exchange;
        state.generation += 1;
        // Its fetch begins now: purges before it are none against what it brings.
        self.pending.born.store(self.store.purges().epoch(), Relaxed);
        Waited::Lease(Lease::new(self.store.clone(), Arc::clone(&self.pending), state.generation))
    }

    /// When the disk's time is over, if it is the disk that is waited for.
    #[must_use]
    pub fn deadline_ms(&self) -> Option<u64> {
        match self.pending.lock().holder {
            Holder::Disk { deadline_ms } => Some(deadline_ms),
            Holder::Nobody | Holder::Exchange => None,
        }
    }

    /// Whether this one, who waited for long enough, may ask the origin alone: one may each `interval_ms` per
    /// fetch, so that a slow origin does not get all of them at once. Who may drops the ticket.
    #[must_use]
    pub fn may_go_alone(&self, now_ms: u64, interval_ms: u64) -> bool {
        let last = self.pending.alone_ms.load(Relaxed);
        let is_due = last == 0 || now_ms.saturating_sub(last - 1) >= interval_ms;
        is_due
            && self
                .pending
                .alone_ms
                .compare_exchange(last, now_ms.saturating_add(1), Relaxed, Relaxed)
                .is_ok()
    }

    /// Takes the lease from whoever holds it, for who has an answer in hand that others wait for: that of a
    /// fetch that began at `epoch` of purges. What the holder brings later is for its own visitor alone.
    /// `None` when it is over.
    #[must_use]
    pub(crate) fn take_over(self, epoch: u64) -> Option<Lease> {
        let mut state = self.pending.lock();
        if state.outcome.is_some() || state.is_superseded {
            return None; // dropped once the lock is
        }
        state.holder = Holder::Exchange;
        state.generation += 1;
        self.pending.born.store(epoch, Relaxed);
        Some(Lease::new(self.store.clone(), Arc::clone(&self.pending), state.generation))
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        let mut state = self.pending.lock();
        state.tickets -= 1;
        if let Some(place) = state.wakers.get_mut(self.place) {
            *place = None;
        }
        state.free.push(self.place);
        // The turn may have come to this one unseen: it goes to the next.
        let is_vacant = state.outcome.is_none() && state.holder == Holder::Nobody;
        let waker = if is_vacant { state.take_one_waker() } else { None };
        let is_over = is_vacant && state.tickets == 0;
        if is_over {
            state.outcome = Some(Outcome::Again);
        }
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        if is_over {
            self.store.forget_fetch(&self.pending);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.leave();
    }
}
