//! Chooses the origin of one exchange: who may serve, who comes first, and what the cookie says.
//!
//! The order of the circles: origins of the pool that are well; its backup origins that are well; and when
//! nobody is well, all of them, since a check may be wrong and a refusal certainly is one (panic mode). No
//! circle has an origin whose circuit is open: that is what visitors' own exchanges have shown. One on trial
//! gets an exchange at a time. Where all have as many exchanges as they may, the caller waits in the pool's
//! line ([`Origins::choose_in_line`]).
//! What it does not do: a pool's backup *pool* is the caller's to turn to, see [`Origins::is_well`].
//! Called by `edge`. Read next: `balance.rs`, `connect.rs`.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use exchange::Fault;
use zone::{Balance, Pool};

use crate::balance::{self, Candidate, Cursor};
use crate::fleet::OriginState;
use crate::health::Change;
use crate::line::{Call, Line, Waiter};
use crate::origins::{Origins, View};
use crate::pressure::{SLACK_US, Turn};

/// What is asked of a choice.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where the exchange goes.
    pub pool: &'a Arc<Pool>,
    /// The hash of the key that the pool's [`Balance::Hash`] names; ignored by other ways to balance.
    pub hash_key: u64,
    /// The value of the pool's sticky cookie, if the visitor sent one.
    pub sticky: Option<&'a [u8]>,
    /// Origins that were tried for this exchange already. They are chosen again only if there is no other.
    pub tried: &'a [usize],
    /// HTTP/1.1 where the origin offers a choice: for a WebSocket by `Upgrade`.
    pub needs_http1: bool,
}

/// An origin chosen for one exchange. Counts as in flight until it is dropped.
pub struct Chosen {
    pub(crate) origins: Rc<Origins>,
    pub(crate) view: Rc<View>,
    pub(crate) needs_http1: bool,
    /// Whether its answer has not begun.
    waits: Cell<bool>,
    /// When it was chosen.
    chosen_ms: u64,
    /// Whether it is the one exchange on trial, and has not said how that went.
    is_trial: Cell<bool>,
    /// Its index in [`Pool::origins`].
    pub index: usize,
    /// The cookie value to set, if the pool has a cookie and the visitor's did not name this origin.
    pub sticky_to_set: Option<Vec<u8>>,
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chosen").field("pool", &self.view.pool.name).field("index", &self.index).finish()
    }
}

impl Chosen {
    /// The pool.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.view.pool
    }

    /// The origin. None only if the pool has no such index, which [`Origins::choose`] never gives.
    pub fn origin(&self) -> Option<&zone::Origin> {
        self.view.pool.origins.get(self.index)
    }

    /// To be told once the origin has answered, whatever the status: it works.
    pub fn succeeded(&self) {
        let (view, now_ms) = (&self.view, self.origins.now_ms());
        let is_trial = self.is_trial.replace(false);
        self.ends_waiting();
        if let Some(origin) = view.origins.get(self.index) {
            let change = origin.succeeded(self.chosen_ms, is_trial, now_ms);
            self.origins.fleet.note(&view.pool, self.index, change, None, now_ms);
        }
    }

    /// To be told when the answer to a request began that was whole at `sent_us`, before
    /// [`Chosen::succeeded`]: by this it is found how many may wait for the origin.
    pub fn began(&self, sent_us: u64, now_us: u64) {
        let view = &self.view;
        if !view.pool.is_adaptive || !self.ends_waiting() {
            return;
        }
        self.waited(sent_us, now_us);
    }

    fn waited(&self, sent_us: u64, now_us: u64) {
        let view = &self.view;
        let Some(origin) = view.origins.get(self.index) else { return };
        let change = match origin.pressure.answered(sent_us, now_us) {
            Some(Turn::Began) => Some(Change::Limited),
            Some(Turn::Ended) => Some(Change::Unlimited),
            None => None,
        };
        self.origins.fleet.note(&view.pool, self.index, change, None, self.origins.now_ms());
    }

    /// Whether it waited until now.
    fn ends_waiting(&self) -> bool {
        let waited = self.waits.replace(false);
        if waited && let Some(origin) = self.view.origins.get(self.index) {
            origin.pressure.ended();
            self.frees();
        }
        waited
    }

    /// A place may be free: whoever is next in the line looks.
    fn frees(&self) {
        self.view.state.line.call(self.origins.now_ms(), self.view.pool.queue.wait_ms);
    }

    /// To be told when the exchange failed. Counts against the origin unless the fault is this node's own
    /// or that of a connection that idled out, which the caller retries without telling.
    pub fn failed(&self, fault: Fault) {
        // That the pool's own limits leave no connection is not the origin's failure, nor that it does not
        // speak what a visitor asks for.
        let is_well = matches!(fault, Fault::ConnectionLimitReached | Fault::HttpUpgradeFailed);
        if fault.cause() == exchange::Cause::Origin && !is_well {
            self.is_trial.set(false);
            let (view, now_ms) = (&self.view, self.origins.now_ms());
            let of_pool = (&*view.pool, view.origins.as_slice());
            self.origins.fleet.failed(&view.state, of_pool, self.index, self.chosen_ms, now_ms);
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        let [chosen_us, now_us] = [self.chosen_ms, self.origins.now_ms()].map(|ms| ms * 1_000);
        let was_late = now_us.saturating_sub(chosen_us) > SLACK_US;
        // Its visitor left, or the time was over: the answer would have taken longer still. Of one who left
        // early nothing is known.
        if self.ends_waiting() && was_late && self.view.pool.is_adaptive {
            self.waited(chosen_us, now_us);
        }
        if let Some(origin) = self.view.origins.get(self.index) {
            origin.in_flight.fetch_sub(1, Relaxed);
            if self.is_trial.get() {
                origin.leave_trial(self.chosen_ms);
            }
        }
        self.frees();
    }
}

/// Places lost to other threads before an exchange gives up: each loss is a place that another got.
const RACES_MAX: u32 = 16;

fn pick(balance: &Balance, candidates: &[Candidate], cursor: &mut Cursor, hash_key: u64) -> Option<usize> {
    match balance {
        Balance::RoundRobin => balance::round_robin(candidates, cursor),
        Balance::LeastConnections => balance::least_connections(candidates, cursor),
        Balance::Hash { .. } => balance::hash(candidates, hash_key),
        Balance::Random => balance::random(candidates, cursor),
    }
}

/// Which origins of a pool are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Circle {
    Primary,
    Backup,
    Panic,
    /// Panic without regard for what was tried, for draining, or for weight.
    Anybody,
}

/// Whether as many exchanges are under way at an origin as the pool lets it have, or as many wait for it as
/// it can answer in time.
fn is_full(view: &View, index: usize) -> bool {
    let Some(state) = view.origins.get(index) else { return false };
    view.pool.max_requests.is_some_and(|most| state.in_flight.load(Relaxed) >= most)
        || view.pool.is_adaptive && state.pressure.is_full()
}

/// Whether the circuit lets one more exchange pass, and in `ordinary` circles a trial as well.
fn may_pass(view: &View, index: usize, is_ordinary: bool, now_ms: u64) -> bool {
    let Some(state) = view.origins.get(index) else { return false };
    let standing = state.standing();
    match (standing.is_open, standing.is_on_trial && is_ordinary) {
        (false, false) => true,
        (true, _) => !standing.is_ejected(now_ms) && state.may_try(now_ms),
        (false, true) => state.may_try(now_ms),
    }
}

fn gather(view: &View, circle: Circle, tried: &[usize], now_ms: u64, into: &mut Vec<Candidate>) {
    into.clear();
    for (index, (origin, state)) in view.pool.origins.iter().zip(&view.origins).enumerate() {
        let is_ordinary = matches!(circle, Circle::Primary | Circle::Backup);
        if !may_pass(view, index, is_ordinary, now_ms) || is_full(view, index) {
            continue;
        }
        let standing = state.standing();
        let takes_new = !origin.is_draining && origin.weight > 0 && !tried.contains(&index);
        let belongs = match circle {
            Circle::Primary => takes_new && !origin.is_backup && standing.may_serve(now_ms),
            Circle::Backup => takes_new && origin.is_backup && standing.may_serve(now_ms),
            Circle::Panic => takes_new,
            Circle::Anybody => true,
        };
        if belongs {
            let share = match circle {
                Circle::Primary | Circle::Backup => standing.share(view.pool.slow_start_ms, now_ms),
                Circle::Panic | Circle::Anybody => 1000,
            };
            let weight = origin.weight.saturating_mul(share).max(1);
            into.push(Candidate { index, weight, in_flight: state.in_flight.load(Relaxed), key: state.key });
        }
    }
}

/// Takes a place at an origin; whether it is on trial. None if there is no place.
fn begin(pool: &Pool, origin: &OriginState, now_ms: u64) -> Option<bool> {
    let standing = origin.standing();
    let is_due = standing.is_on_trial && !standing.is_ejected(now_ms);
    let is_trial = is_due && origin.begin_trial(now_ms);
    if standing.is_open && !is_trial {
        return None;
    }
    if origin.may_begin(pool.max_requests) {
        if origin.pressure.may_begin(pool.is_adaptive) {
            return Some(is_trial);
        }
        origin.in_flight.fetch_sub(1, Relaxed);
    }
    if is_trial {
        origin.leave_trial(now_ms);
    }
    None
}

/// A place in the line, given back when dropped.
struct Place<'a, N: Fn() -> u64> {
    line: &'a Line,
    waiter: Arc<Waiter>,
    patience_ms: u64,
    now_ms: &'a N,
}

impl<N: Fn() -> u64> Drop for Place<'_, N> {
    fn drop(&mut self) {
        self.line.leave(&self.waiter, (self.now_ms)(), self.patience_ms);
    }
}

impl Origins {
    /// Chooses an origin.
    ///
    /// A sticky cookie comes first if its origin is well, draining or not. A first attempt (`tried` empty)
    /// counts as a request for the retry budget.
    ///
    /// # Errors
    ///
    /// [`Fault::DestinationUnavailable`] where every origin's circuit is open, and for a pool without any; a
    /// compiled pool has one. [`Fault::ConnectionLimitReached`] where every other origin has
    /// [`Pool::max_requests`] under way, or as many that wait as it can answer in time.
    pub fn choose(&self, wanted: &Wanted<'_>, now_ms: u64) -> Result<Chosen, Fault> {
        self.set_now(now_ms);
        let view = self.view(wanted.pool);
        let cookie = wanted.sticky.filter(|_| view.pool.sticky.is_some());
        let named =
            cookie.and_then(|cookie| view.cookies.iter().position(|own| own == cookie)).filter(|index| {
                !wanted.tried.contains(index)
                    && may_pass(&view, *index, true, now_ms)
                    && !is_full(&view, *index)
                    && view.origins.get(*index).is_some_and(|origin| origin.standing().may_serve(now_ms))
            });
        let nobody = || match (0..view.origins.len()).any(|index| may_pass(&view, index, false, now_ms)) {
            true => Fault::ConnectionLimitReached,
            false => Fault::DestinationUnavailable,
        };
        let mut index = match named {
            Some(index) => index,
            None => self.balance(&view, wanted, now_ms).ok_or_else(nobody)?,
        };
        let mut races = 0;
        // Another thread took the last place since it was looked at: the next choice sees that.
        let (origin, is_trial) = loop {
            let origin = view.origins.get(index).ok_or(Fault::ProxyInternalError)?;
            if let Some(is_trial) = begin(&view.pool, origin, now_ms) {
                break (origin, is_trial);
            }
            races += 1;
            index = self.balance(&view, wanted, now_ms).filter(|_| races < RACES_MAX).ok_or_else(nobody)?;
        };
        self.fleet.count_request(origin);
        if wanted.tried.is_empty() {
            view.state.budget.count_request(now_ms);
        }
        let own = view.cookies.get(index);
        let sticky_to_set = own.filter(|own| cookie != Some(&own[..])).map(|own| own.to_vec());
        let Some(origins) = self.me.upgrade() else { return Err(Fault::ProxyInternalError) };
        let (waits, is_trial) = (Cell::new(true), Cell::new(is_trial));
        let view = Rc::clone(&view);
        let needs_http1 = wanted.needs_http1;
        Ok(Chosen { origins, view, needs_http1, waits, chosen_ms: now_ms, is_trial, index, sticky_to_set })
    }

    /// Whether whoever comes now must wait in the pool's line, since others do who come first.
    pub fn must_wait(&self, pool: &Arc<Pool>, is_known: bool) -> bool {
        pool.queue.places > 0 && self.view(pool).state.line.is_behind(is_known)
    }

    /// Chooses an origin once there is a place, known visitors first: see `line.rs`. `now_ms` reads the clock
    /// of [`Origins::choose`].
    ///
    /// # Errors
    ///
    /// As [`Origins::choose`]; [`Fault::ConnectionLimitReached`] if the line is full, the time is over
    /// ([`zone::Queue`]), or somebody who comes first took the place in it.
    pub async fn choose_in_line(
        &self,
        wanted: &Wanted<'_>,
        is_known: bool,
        now_ms: impl Fn() -> u64,
    ) -> Result<Chosen, Fault> {
        let late = Fault::ConnectionLimitReached;
        let (view, queue) = (self.view(wanted.pool), wanted.pool.queue);
        let began_ms = now_ms();
        let line = &view.state.line;
        let waiter = line.join(is_known, queue.places as usize, began_ms).ok_or(late)?;
        let place = Place { line, waiter, patience_ms: queue.wait_ms, now_ms: &now_ms };
        let tick = self.deadlines.slot();
        // A place can have become free before anybody saw that somebody waits.
        let mut may_look = line.is_next(&place.waiter, began_ms, queue.wait_ms);
        poll_fn(|cx| {
            loop {
                let call = place.waiter.look(cx.waker());
                if call == Call::SentAway {
                    return Poll::Ready(Err(late));
                }
                if call == Call::Called || std::mem::take(&mut may_look) {
                    match self.choose(wanted, now_ms()) {
                        Err(fault) if fault == late => {}
                        chosen => return Poll::Ready(chosen),
                    }
                }
                if now_ms().saturating_sub(began_ms) >= queue.wait_ms {
                    return Poll::Ready(Err(late));
                }
                tick.register(cx.waker());
                if !tick.is_due() {
                    // Limits and circuits change without anybody leaving: look with each tick.
                    tick.arm(exchange::TICK_MS);
                    return Poll::Pending;
                }
                tick.disarm();
                may_look = line.is_next(&place.waiter, now_ms(), queue.wait_ms);
            }
        })
        .await
    }

    fn balance(&self, view: &View, wanted: &Wanted<'_>, now_ms: u64) -> Option<usize> {
        let mut candidates = self.candidates.borrow_mut();
        let mut cursor = view.cursor.borrow_mut();
        [Circle::Primary, Circle::Backup, Circle::Panic, Circle::Anybody].into_iter().find_map(|circle| {
            gather(view, circle, wanted.tried, now_ms, &mut candidates);
            pick(&view.pool.balance, &candidates, &mut cursor, wanted.hash_key)
        })
    }

    /// Whether an origin of the pool can serve in the ordinary way. Where not, the caller turns to
    /// [`Pool::backup`], and to the pool itself if no backup is well either.
    pub fn is_well(&self, pool: &Arc<Pool>, now_ms: u64) -> bool {
        self.set_now(now_ms);
        let view = self.view(pool);
        view.pool.origins.iter().zip(&view.origins).any(|(origin, state)| {
            let is_well = || {
                let standing = state.standing();
                standing.may_serve(now_ms) && (!standing.is_on_trial || state.may_try(now_ms))
            };
            !origin.is_draining && origin.weight > 0 && is_well()
        })
    }

    /// Takes one retry out of the pool's budget; `false` if it is used up, and then the fault stands.
    ///
    /// A second try after a connection from the pool turned out to be closed needs none: it is no load that
    /// the origin has seen.
    pub fn take_retry(&self, pool: &Arc<Pool>, now_ms: u64) -> bool {
        self.set_now(now_ms);
        self.view(pool).state.budget.take(pool.retries.budget_percent, now_ms)
    }
}
