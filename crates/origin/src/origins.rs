//! A thread's side of the origins: connections that are idle here, the place in each round robin, names
//! resolved, and the clock as last told.
//!
//! One per serving thread; everything that threads share is [`Fleet`]'s. What it does not do: it reads no
//! clock ([`Origins::tick`] and [`Origins::choose`] bring the time). Called by `edge`. Read next:
//! `choose.rs`, `connect.rs`.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::map::Map;
use exchange::Deadlines;
use zone::{Id, Pool};

use crate::balance::{Candidate, Cursor};
use crate::fleet::{Fleet, OriginState, PoolState};
use crate::http1_link::Http1;
use crate::http2_link::Http2Connection;
use crate::parking;
use crate::resolve::Resolver;
use crate::tls::target_fingerprint;

/// Idle connections to one origin that a thread keeps for itself; beyond them the oldest is parked at once.
pub const IDLE_MAX: usize = 1024;

/// How long a connection stays with its thread after its last exchange, in milliseconds; any other thread may
/// have it after that. Moving one costs two system calls, so it pays for pools that are seldom used only: at
/// one request a second over eight threads the next request still finds it.
const OWN_MS: u64 = 500;

/// How long a connection rests before it may carry a request that must not be sent twice, in milliseconds: a
/// server that closes after its n-th answer without saying so does so at once, and its end arrives within a
/// round trip.
const SETTLED_MS: u64 = 50;

/// How long ago such a connection must have been in use, in milliseconds. Servers close idle connections
/// after seconds (2 at the least among the usual ones).
const JUST_NOW_MS: u64 = 1_000;

/// Health checks that a thread begins in one tick; the rest is taken by the next tick of any thread.
const CHECKS_PER_TICK: usize = 32;

/// What a thread holds of one origin.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) state: Arc<OriginState>,
    pub(crate) keepalive_ms: Cell<u64>,
    #[allow(clippy::vec_box, reason = "it moves between list and link, and is some 700 bytes")]
    pub(crate) idle: RefCell<Vec<Box<Http1>>>,
    pub(crate) http2: RefCell<Vec<Rc<Http2Connection>>>,
    /// Held while an HTTP/2 connection is opened, so that a burst of requests opens one and not one each.
    pub(crate) opening: tokio::sync::Mutex<()>,
    /// What ALPN settled on the last time. Before the first time `true`: the first exchange finds out, and a
    /// burst behind it waits to see.
    pub(crate) is_http2: Cell<bool>,
}

impl Local {
    /// Puts an idle connection aside: here, or for other threads if one of them waits.
    pub(crate) fn keep(&self, connection: Box<Http1>) {
        if self.state.waiting.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            return park(&self.state, connection);
        }
        let mut idle = self.idle.borrow_mut();
        let oldest = (idle.len() >= IDLE_MAX).then(|| idle.remove(0));
        idle.push(connection);
        drop(idle);
        if let Some(oldest) = oldest {
            park(&self.state, oldest);
        }
    }

    /// Takes a connection for a request that must not be sent twice: one whose last answer is so long ago
    /// that a close right behind it would have arrived ([`SETTLED_MS`]), so short a time ago that no origin
    /// closes it for being idle ([`JUST_NOW_MS`]), and of which the kernel has heard nothing since.
    pub(crate) fn take_settled(&self, target: u64, now_ms: u64) -> Option<Box<Http1>> {
        loop {
            let mut idle = self.idle.borrow_mut();
            let at = idle.iter().rposition(|one| {
                (SETTLED_MS..=JUST_NOW_MS).contains(&now_ms.saturating_sub(one.idle_since_ms))
            })?;
            let mut one = idle.remove(at);
            drop(idle);
            let is_young = one.is_young(self.keepalive_ms.get(), now_ms);
            if one.target == target && is_young && one.is_fresh() && one.is_quiet() {
                return Some(one);
            }
        }
    }

    /// Takes the connection used last, if it was made for this target and is still open.
    pub(crate) fn take(&self, target: u64, now_ms: u64) -> Option<Box<Http1>> {
        loop {
            let mut one = self.idle.borrow_mut().pop()?;
            if one.target == target && one.is_young(self.keepalive_ms.get(), now_ms) && one.is_fresh() {
                return Some(one);
            }
        }
    }

    /// Closes an idle connection for somebody who needs its place; `false` if there is none. Of those that
    /// are parked the oldest, since what a thread still has was used after them, else this thread's oldest.
    pub(crate) fn close_oldest(&self) -> bool {
        if parking::take_oldest(&self.state).is_some() {
            return true;
        }
        let mut idle = self.idle.borrow_mut();
        let oldest = (!idle.is_empty()).then(|| idle.remove(0));
        drop(idle);
        oldest.is_some() // closed with the list free
    }

    fn tick(&self, now_ms: u64) {
        let keepalive_ms = self.keepalive_ms.get();
        // Oldest first, so that the first young one ends the search.
        loop {
            let mut idle = self.idle.borrow_mut();
            match idle.first() {
                Some(first) if now_ms.saturating_sub(first.idle_since_ms) > OWN_MS => {}
                _ => break,
            }
            let mut one = idle.remove(0);
            drop(idle);
            if one.is_young(keepalive_ms, now_ms) && one.is_fresh() {
                park(&self.state, one);
            }
        }
        parking::expire(&self.state, keepalive_ms, now_ms);
        let mut http2 = self.http2.borrow_mut();
        let is_wanted = |connection: &Rc<Http2Connection>| connection.is_wanted(keepalive_ms, now_ms);
        let (wanted, done) = std::mem::take(&mut *http2).into_iter().partition(is_wanted);
        *http2 = wanted;
        drop(http2);
        let _: Vec<_> = done; // closed here, with the list free for whoever is woken by it
    }

    fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.http2.borrow().is_empty()
    }
}

fn park(state: &Arc<OriginState>, connection: Box<Http1>) {
    if let Some(connection) = connection.into_parked() {
        parking::park(state, connection);
    }
}

/// A pool as a thread sees it: rebuilt when the pool is published anew.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) pool: Arc<Pool>,
    pub(crate) state: Arc<PoolState>,
    pub(crate) origins: Vec<Arc<OriginState>>,
    pub(crate) locals: Vec<Rc<Local>>,
    /// What connections of each origin must have been made for.
    pub(crate) targets: Vec<u64>,
    /// The cookie of each origin, where the pool has one.
    pub(crate) cookies: Vec<[u8; 16]>,
    pub(crate) cursor: RefCell<Cursor>,
}

/// The origins of one serving thread.
pub struct Origins {
    pub(crate) me: Weak<Self>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) resolver: Rc<Resolver>,
    pub(crate) random: RefCell<Cursor>,
    pub(crate) candidates: RefCell<Vec<Candidate>>,
    now_ms: Cell<u64>,
    publishes: Cell<u64>,
    views: RefCell<Map<Id, Rc<View>>>,
    locals: RefCell<Map<Id, Rc<Local>>>,
}

impl std::fmt::Debug for Origins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origins").field("pools", &self.views.borrow().len()).finish_non_exhaustive()
    }
}

impl Origins {
    /// The origins of a thread. `deadlines` are the thread's, swept by its wiring; `seed` differs between
    /// threads, so that they do not all begin with the same origin.
    pub fn new(fleet: Arc<Fleet>, deadlines: Rc<Deadlines>, seed: u64) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            fleet,
            resolver: Resolver::new(Rc::clone(&deadlines)),
            deadlines,
            random: RefCell::new(Cursor::new(seed)),
            candidates: RefCell::default(),
            now_ms: Cell::new(0),
            publishes: Cell::new(0),
            views: RefCell::default(),
            locals: RefCell::default(),
        })
    }

    /// What the threads share.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Milliseconds, as last told by [`Origins::tick`] or [`Origins::choose`].
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    pub(crate) fn set_now(&self, now_ms: u64) {
        self.now_ms.set(now_ms.max(self.now_ms.get()));
    }

    /// To be called every [`exchange::TICK_MS`] on the thread's own task set: closes connections that have
    /// been idle for too long, hands those that this thread does not use to all threads, forgets pools that
    /// went, and begins the health checks that are due (once per node, whichever thread comes first).
    pub fn tick(&self, now_ms: u64) {
        self.set_now(now_ms);
        let locals: Vec<_> = self.locals.borrow().values().cloned().collect();
        for local in &locals {
            local.tick(now_ms);
        }
        drop(locals);
        let publishes = self.fleet.publishes();
        if self.publishes.replace(publishes) != publishes {
            self.forget();
        }
        if let Some(me) = self.me.upgrade() {
            for check in self.fleet.due_checks(CHECKS_PER_TICK, now_ms) {
                tokio::task::spawn_local(crate::probe::run(Rc::clone(&me), check));
            }
        }
    }

    /// Lets go of pools and origins that are no longer published, so that no old snapshot is held.
    fn forget(&self) {
        self.views.borrow_mut().retain(|id, view| match self.fleet.known(*id) {
            Some(state) => {
                let (pool, origins) = state.current();
                let is_same = |(own, known): (&Arc<OriginState>, &Arc<OriginState>)| Arc::ptr_eq(own, known);
                Arc::ptr_eq(&pool, &view.pool) && view.origins.iter().zip(&origins).all(is_same)
            }
            None => false,
        });
        let retired =
            |local: &Rc<Local>| local.state.is_gone() || (Rc::strong_count(local) == 1 && local.is_empty());
        let gone: Vec<_> = self.locals.borrow_mut().extract_if(|_, local| retired(local)).collect();
        for (_, local) in gone {
            // Connections in use close when their exchanges end.
            let idle = (local.idle.take(), local.http2.take());
            drop(idle);
            local.keepalive_ms.set(0);
        }
    }

    /// The pool as this thread sees it.
    pub(crate) fn view(&self, pool: &Arc<Pool>) -> Rc<View> {
        if let Some(view) = self.views.borrow().get(&pool.id)
            && Arc::ptr_eq(&view.pool, pool)
        {
            return Rc::clone(view);
        }
        let state = match self.fleet.known(pool.id) {
            // Still on the snapshot before the last publish: its own order over the states of now.
            Some(state) if self.is_older(&state, pool) => state,
            _ => self.fleet.adopt(pool, self.now_ms()),
        };
        let (_, current) = state.current();
        let origins: Vec<_> = pool.origins.iter().map(|o| self.state_of(&current, o.id)).collect();
        let view = Rc::new(View {
            pool: Arc::clone(pool),
            locals: origins.iter().map(|origin| self.local(origin, pool.keepalive_ms)).collect(),
            targets: pool.origins.iter().map(|origin| target_fingerprint(pool, origin)).collect(),
            cookies: match pool.sticky {
                Some(_) => origins.iter().map(|o| self.fleet.sticky.value(&pool.id.0, &o.id.0)).collect(),
                None => Vec::new(),
            },
            cursor: RefCell::new(Cursor::new(self.random.borrow_mut().below(u64::MAX))),
            origins,
            state,
        });
        self.views.borrow_mut().insert(pool.id, Rc::clone(&view));
        view
    }

    /// Whether the fleet was told of another form of this pool by a publish; then that one stays.
    fn is_older(&self, state: &PoolState, pool: &Arc<Pool>) -> bool {
        self.fleet.publishes() > 0 && !Arc::ptr_eq(&state.current().0, pool)
    }

    fn state_of(&self, current: &[Arc<OriginState>], id: Id) -> Arc<OriginState> {
        let known = current.iter().find(|origin| origin.id == id).cloned();
        known
            .or_else(|| self.locals.borrow().get(&id).map(|local| Arc::clone(&local.state)))
            .unwrap_or_else(|| OriginState::unpublished(id))
    }

    fn local(&self, state: &Arc<OriginState>, keepalive_ms: u64) -> Rc<Local> {
        let mut locals = self.locals.borrow_mut();
        if let Some(local) = locals.get(&state.id)
            && Arc::ptr_eq(&local.state, state)
        {
            local.keepalive_ms.set(keepalive_ms);
            return Rc::clone(local);
        }
        let local = Rc::new(Local {
            state: Arc::clone(state),
            keepalive_ms: Cell::new(keepalive_ms),
            idle: RefCell::default(),
            http2: RefCell::default(),
            opening: tokio::sync::Mutex::new(()),
            is_http2: Cell::new(true),
        });
        locals.insert(state.id, Rc::clone(&local));
        local
    }
}
