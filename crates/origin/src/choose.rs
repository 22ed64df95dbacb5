//! Chooses the origin of one exchange: who may serve, who comes first, and what the cookie says.
//!
//! The order of the circles: origins of the pool that are well; its backup origins that are well; and when
//! nobody is well, all of them, since a check may be wrong and a refusal certainly is one (panic mode).
//! What it does not do: a pool's backup *pool* is the caller's to turn to, see [`Origins::is_well`].
//! Called by `edge`. Read next: `balance.rs`, `connect.rs`.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use exchange::Fault;
use zone::{Balance, Pool};

use crate::balance::{self, Candidate, Cursor};
use crate::origins::{Origins, View};

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
        if let Some(origin) = self.view.origins.get(self.index) {
            origin.succeeded();
        }
    }

    /// To be told when the exchange failed. Counts against the origin unless the fault is this node's own
    /// or that of a connection that idled out, which the caller retries without telling.
    pub fn failed(&self, fault: Fault) {
        if fault.cause() == exchange::Cause::Origin {
            let (view, now_ms) = (&self.view, self.origins.now_ms());
            self.origins.fleet.failed(&view.state, &view.pool, &view.origins, self.index, now_ms);
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        if let Some(origin) = self.view.origins.get(self.index) {
            origin.in_flight.fetch_sub(1, Relaxed);
        }
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

/// Whether as many exchanges are under way at an origin as the pool lets it have.
fn is_full(view: &View, index: usize) -> bool {
    let under_way = || view.origins.get(index).map_or(0, |state| state.in_flight.load(Relaxed));
    view.pool.max_requests.is_some_and(|most| under_way() >= most)
}

fn gather(view: &View, circle: Circle, tried: &[usize], now_ms: u64, into: &mut Vec<Candidate>) {
    into.clear();
    for (index, (origin, state)) in view.pool.origins.iter().zip(&view.origins).enumerate() {
        if is_full(view, index) {
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

impl Origins {
    /// Chooses an origin.
    ///
    /// A sticky cookie comes first if its origin is well, draining or not. A first attempt (`tried` empty)
    /// counts as a request for the retry budget.
    ///
    /// # Errors
    ///
    /// [`Fault::DestinationUnavailable`] for a pool without origins; a compiled pool has one.
    /// [`Fault::ConnectionLimitReached`] where every origin has [`Pool::max_requests`] under way.
    pub fn choose(&self, wanted: &Wanted<'_>, now_ms: u64) -> Result<Chosen, Fault> {
        self.set_now(now_ms);
        let view = self.view(wanted.pool);
        let cookie = wanted.sticky.filter(|_| view.pool.sticky.is_some());
        let named =
            cookie.and_then(|cookie| view.cookies.iter().position(|own| own == cookie)).filter(|index| {
                !wanted.tried.contains(index)
                    && !is_full(&view, *index)
                    && view.origins.get(*index).is_some_and(|origin| origin.standing().may_serve(now_ms))
            });
        let nobody = match view.pool.max_requests {
            Some(_) if !view.pool.origins.is_empty() => Fault::ConnectionLimitReached,
            _ => Fault::DestinationUnavailable,
        };
        let mut index = match named {
            Some(index) => index,
            None => self.balance(&view, wanted, now_ms).ok_or(nobody)?,
        };
        let mut origin = view.origins.get(index).ok_or(Fault::ProxyInternalError)?;
        let mut races = 0;
        // Another thread took the last place since it was looked at: the next choice sees that.
        while !origin.may_begin(view.pool.max_requests) {
            races += 1;
            index = self.balance(&view, wanted, now_ms).filter(|_| races < RACES_MAX).ok_or(nobody)?;
            origin = view.origins.get(index).ok_or(Fault::ProxyInternalError)?;
        }
        self.fleet.count_request(origin);
        if wanted.tried.is_empty() {
            view.state.budget.count_request(now_ms);
        }
        let own = view.cookies.get(index);
        let sticky_to_set = own.filter(|own| cookie != Some(&own[..])).map(|own| own.to_vec());
        let Some(origins) = self.me.upgrade() else { return Err(Fault::ProxyInternalError) };
        Ok(Chosen { origins, view, needs_http1: wanted.needs_http1, index, sticky_to_set })
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
            !origin.is_draining && origin.weight > 0 && state.standing().may_serve(now_ms)
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
