//! What a node knows of its origins, shared by all threads and outliving snapshots: health, exchanges in
//! flight, connections open, retry budgets, idle connections on their way from one thread to another.
//!
//! Keyed by the stable ids of pools and origins. A choice reads atomics only; locks are taken when something
//! changes (a failure after successes, a check's result, a connection handed over, a publish).
//! What it does not do: it opens no connection and reads no clock. Called by `choose.rs`, `connect.rs`,
//! `probe.rs`, and by `edge` at a publish. Read next: `health.rs`, `choose.rs`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::RootCertStore;
use zone::{Id, Pool};

use crate::balance::mix;
use crate::health::{Change, EVIDENCE_MIN, Health, Policy, Standing};
use crate::line::Line;
use crate::map::{Map, Set};
use crate::parking::ParkedConnection;
use crate::pressure::Pressure;
use crate::retry::Budget;
use crate::sticky::StickyKey;
use crate::tally::Tally;
use crate::tls::Contexts;

/// Idle connections to one origin that wait for any thread. More would be older than any keep-alive that
/// origins grant, at any rate of requests that a node sees.
pub const PARKED_MAX: usize = 256;

/// A lock whose holder panicked is used on: each of them guards plain values that are whole between calls.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Settings of a node's fleet.
#[derive(Clone, Debug)]
pub struct FleetSettings {
    /// Key of the sticky cookies: the same on all nodes that serve the same zones, and over restarts.
    pub sticky_key: [u8; 16],
    /// Spreads health checks; any number that differs between nodes.
    pub seed: u64,
    /// Authorities to trust instead of the system's, for pools without their own.
    pub roots: Option<Arc<RootCertStore>>,
}

impl Default for FleetSettings {
    /// A key of zeros, a seed of 0, the system's authorities.
    fn default() -> Self {
        Self { sticky_key: [0; 16], seed: 0, roots: None }
    }
}

/// What a node knows of one origin.
#[derive(Debug)]
pub(crate) struct OriginState {
    pub(crate) id: Id,
    /// Stays the same as long as the id does; for hashing and for the spread of checks.
    pub(crate) key: u64,
    pub(crate) in_flight: AtomicU32,
    pub(crate) connections: AtomicU32,
    pub(crate) waiting: AtomicU32,
    /// Tells one waiter that a connection was closed or parked.
    pub(crate) released: tokio::sync::Notify,
    pub(crate) parked: Mutex<Vec<ParkedConnection>>,
    pub(crate) opened: AtomicU64,
    pub(crate) reused: AtomicU64,
    requests: AtomicU64,
    faults: AtomicU64,
    health: Mutex<Health>,
    // Copies of what `health` holds, for choices.
    is_up: AtomicBool,
    ejected_until_ms: AtomicU64,
    back_since_ms: AtomicU64,
    is_on_trial: AtomicBool,
    is_open: AtomicBool,
    has_failures: AtomicBool,
    /// Until when one exchange on trial keeps others away.
    trial_until_ms: AtomicU64,
    /// Exchanges that ended of late, and those of them that failed.
    pub(crate) evidence: Tally,
    /// Exchanges that wait for an answer to begin.
    pub(crate) pressure: Pressure,
    is_scheduled: AtomicBool,
    /// Its pool went or no longer has it: nothing is parked with it any more.
    is_gone: AtomicBool,
}

impl OriginState {
    fn new(id: Id) -> Self {
        let bits = u128::from_be_bytes(id.0);
        Self {
            id,
            key: mix(bits as u64 ^ (bits >> 64) as u64),
            in_flight: AtomicU32::new(0),
            connections: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            released: tokio::sync::Notify::new(),
            parked: Mutex::default(),
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            health: Mutex::default(),
            is_up: AtomicBool::new(true),
            ejected_until_ms: AtomicU64::new(0),
            back_since_ms: AtomicU64::new(0),
            is_on_trial: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            has_failures: AtomicBool::new(false),
            trial_until_ms: AtomicU64::new(0),
            evidence: Tally::default(),
            pressure: Pressure::default(),
            is_scheduled: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        }
    }

    /// The state of an origin that no publish has: for an exchange that still runs on an older snapshot.
    pub(crate) fn unpublished(id: Id) -> Arc<Self> {
        Arc::new(Self::new(id))
    }

    /// Closes what is parked here, for good.
    fn retire(&self) {
        self.is_gone.store(true, Relaxed);
        let parked = std::mem::take(&mut *lock(&self.parked));
        drop(parked);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }

    /// What a choice needs to know of its health.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            is_up: self.is_up.load(Relaxed),
            ejected_until_ms: self.ejected_until_ms.load(Relaxed),
            back_since_ms: self.back_since_ms.load(Relaxed),
            is_on_trial: self.is_on_trial.load(Relaxed),
            is_open: self.is_open.load(Relaxed),
        }
    }

    /// Whether an exchange may be sent on trial: nobody else's is under way, or it takes too long.
    pub(crate) fn may_try(&self, now_ms: u64) -> bool {
        now_ms >= self.trial_until_ms.load(Relaxed)
    }

    /// Begins an exchange on trial; `false` if another thread just did.
    pub(crate) fn begin_trial(&self, now_ms: u64) -> bool {
        let until = |until_ms: u64| (now_ms >= until_ms).then_some(now_ms.saturating_add(TRIAL_MS));
        self.trial_until_ms.fetch_update(Relaxed, Relaxed, until).is_ok()
    }

    /// Ends the one begun at this time without a verdict: the next may try, unless another does by now.
    pub(crate) fn leave_trial(&self, begun_ms: u64) {
        let own = begun_ms.saturating_add(TRIAL_MS);
        let _another_is_under_way = self.trial_until_ms.compare_exchange(own, 0, Relaxed, Relaxed);
    }

    fn publish(&self, health: &Health) {
        let standing = health.standing();
        self.is_up.store(standing.is_up, Relaxed);
        self.ejected_until_ms.store(standing.ejected_until_ms, Relaxed);
        self.back_since_ms.store(standing.back_since_ms, Relaxed);
        self.is_on_trial.store(standing.is_on_trial, Relaxed);
        self.is_open.store(standing.is_open, Relaxed);
        self.has_failures.store(health.failures() > 0 || standing.is_on_trial, Relaxed);
    }

    /// Counts an exchange that the origin answered; see [`Health::succeeded`].
    pub(crate) fn succeeded(&self, chosen_ms: u64, is_trial: bool, now_ms: u64) -> Option<Change> {
        self.evidence.count(now_ms);
        if !self.has_failures.load(Relaxed) {
            return None;
        }
        let mut health = lock(&self.health);
        let change = health.succeeded(chosen_ms, is_trial, now_ms);
        self.publish(&health);
        if change == Some(Change::Closed) {
            self.evidence.clear();
        }
        change
    }

    /// Takes a place among the exchanges under way; `false` if there are `max` already.
    pub(crate) fn may_begin(&self, max: Option<u32>) -> bool {
        let max = max.unwrap_or(u32::MAX);
        self.in_flight.fetch_update(Relaxed, Relaxed, |count| (count < max).then_some(count + 1)).is_ok()
    }

    /// Takes a place among the open connections; `false` if there are `max` already.
    pub(crate) fn may_connect(&self, max: Option<usize>) -> bool {
        let max = max.and_then(|max| u32::try_from(max).ok()).unwrap_or(u32::MAX);
        self.connections.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1)).is_ok()
    }
}

/// A place among the open connections of an origin, given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<OriginState>);

impl Permit {
    /// For a place that [`OriginState::may_connect`] gave.
    pub(crate) fn taken(origin: &Arc<OriginState>) -> Self {
        origin.opened.fetch_add(1, Relaxed);
        Self(Arc::clone(origin))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
        self.0.released.notify_one();
    }
}

/// What a node knows of one pool.
#[derive(Debug)]
pub(crate) struct PoolState {
    pub(crate) budget: Budget,
    /// Exchanges that wait for a place at one of its origins.
    pub(crate) line: Line,
    /// The pool as last published, and its origins in the same order.
    current: Mutex<(Arc<Pool>, Vec<Arc<OriginState>>)>,
    /// Held while an ejection is decided, so that two threads cannot both take the last place.
    ejecting: Mutex<()>,
}

impl PoolState {
    pub(crate) fn current(&self) -> (Arc<Pool>, Vec<Arc<OriginState>>) {
        lock(&self.current).clone()
    }

    fn find(&self, id: Id) -> Option<(Arc<Pool>, usize, Arc<OriginState>)> {
        let current = lock(&self.current);
        let index = current.1.iter().position(|origin| origin.id == id)?;
        Some((Arc::clone(&current.0), index, Arc::clone(current.1.get(index)?)))
    }
}

/// What the settings of a pool say about health.
pub(crate) fn policy_of(pool: &Pool) -> Policy {
    Policy {
        healthy_after: pool.health.as_ref().map_or(1, |health| health.healthy_after),
        unhealthy_after: pool.health.as_ref().map_or(1, |health| health.unhealthy_after),
        failures_max: pool.ejection.consecutive_failures,
        ejection_ms: pool.ejection.base_ms,
        slow_start_ms: pool.slow_start_ms,
    }
}

/// One origin as status pages and metrics show it.
#[derive(Clone, Debug)]
pub struct OriginReport {
    /// Its url as written.
    pub url: String,
    /// Whether checks let it serve; true without checks.
    pub is_up: bool,
    /// Whether it is ejected now.
    pub is_ejected: bool,
    /// Whether its circuit is open.
    pub is_open: bool,
    /// Takes no new visitors.
    pub is_draining: bool,
    /// Exchanges that wait for its answer to begin.
    pub waiting: u32,
    /// How many may, if that is limited now.
    pub waiting_max: Option<u32>,
    /// Exchanges in flight.
    pub in_flight: u32,
    /// Open connections, idle ones included.
    pub connections: u32,
    /// Connections opened since start.
    pub opened: u64,
    /// Exchanges that found an open connection, since start.
    pub reused: u64,
    /// Exchanges given to it, since start.
    pub requests: u64,
    /// Exchanges it failed, since start.
    pub faults: u64,
}

/// One pool as status pages and metrics show it.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Requests and retries of the last ten seconds.
    pub window: (u64, u64),
    /// Exchanges that wait for a place at an origin.
    pub in_line: usize,
    /// Its origins, in order.
    pub origins: Vec<OriginReport>,
}

/// Something that happened to an origin's health, for logs and events.
#[derive(Clone, Debug)]
pub struct OriginEvent {
    /// Its pool's name.
    pub pool: String,
    /// Its url as written.
    pub url: String,
    /// Its pool's id.
    pub pool_id: Id,
    /// What changed.
    pub change: Change,
    /// What a check that changed it found: a status, or the word of a fault.
    pub cause: Option<String>,
    /// When, in milliseconds.
    pub at_ms: u64,
}

/// How long an exchange on trial keeps others away, in milliseconds: one that takes longer says little yet.
const TRIAL_MS: u64 = 1_000;

/// Events kept until somebody takes them; the newest are dropped beyond. Health changes a few times a second
/// at the worst.
const EVENTS_MAX: usize = 1024;

/// When which origin is to be checked.
#[derive(Debug, Default)]
struct Schedule {
    due: BinaryHeap<Reverse<(u64, Id, Id)>>,
}

/// A check that is due: one thread has it, and nobody else until it is dropped.
#[derive(Debug)]
pub(crate) struct Check {
    fleet: Arc<Fleet>,
    pool_id: Id,
    pub(crate) pool: Arc<Pool>,
    pub(crate) index: usize,
    pub(crate) origin: Arc<OriginState>,
    pub(crate) now_ms: u64,
}

impl Check {
    /// Reports the result at `now_ms`; the next check is scheduled when this one is dropped.
    /// `cause` is what it found where it is not well.
    pub(crate) fn report(&mut self, is_well: bool, cause: Option<String>, now_ms: u64) -> Option<Change> {
        self.now_ms = now_ms;
        let mut health = lock(&self.origin.health);
        let change = health.checked(is_well, &policy_of(&self.pool), now_ms);
        let [well, unwell] = &self.fleet.checks;
        if is_well { well } else { unwell }.fetch_add(1, Relaxed);
        self.origin.publish(&health);
        drop(health);
        self.fleet.note(&self.pool, self.index, change, cause, now_ms);
        change
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        self.fleet.schedule(&self.pool, self.pool_id, &self.origin, self.now_ms);
    }
}

/// The node's origins. One per node, shared by its threads.
#[derive(Debug)]
pub struct Fleet {
    pub(crate) sticky: StickyKey,
    pub(crate) tls: Contexts,
    seed: u64,
    pools: Mutex<Map<Id, Arc<PoolState>>>,
    schedule: Mutex<Schedule>,
    events: Mutex<Vec<OriginEvent>>,
    /// Checks made since they were last taken: well and unwell.
    checks: [AtomicU64; 2],
    /// Counts publishes, so that threads know when to look for pools that went.
    publishes: AtomicU64,
}

impl Fleet {
    /// A fleet without pools.
    pub fn new(settings: FleetSettings) -> Arc<Self> {
        Arc::new(Self {
            sticky: StickyKey::new(settings.sticky_key),
            tls: Contexts::new(settings.roots),
            seed: settings.seed,
            pools: Mutex::default(),
            schedule: Mutex::default(),
            events: Mutex::default(),
            checks: Default::default(),
            publishes: AtomicU64::new(0),
        })
    }

    /// Takes over a publish: pools and origins that are new are added, known ones keep their state whatever
    /// their settings are now, those that are gone are forgotten, and checks are scheduled.
    ///
    /// An origin new in a pool that was there before starts slowly; with a new pool all start at once.
    /// Call it after each swap of the snapshot. A pool that is used before it was applied is added then.
    pub fn apply(&self, zones: &zone::Snapshot, now_ms: u64) {
        self.apply_pools(zones.zones().iter().flat_map(|zone| &zone.pools), now_ms);
    }

    /// As [`Fleet::apply`], over the pools alone.
    pub fn apply_pools<'a>(&self, pools: impl Iterator<Item = &'a Arc<Pool>> + Clone, now_ms: u64) {
        for pool in pools.clone() {
            let state = self.adopt(pool, now_ms);
            let (_, origins) = state.current();
            for origin in &origins {
                self.schedule_first(pool, origin, now_ms);
            }
        }
        let live: Set<Id> = pools.clone().map(|pool| pool.id).collect();
        let gone: Vec<_> = lock(&self.pools).extract_if(|id, _| !live.contains(id)).collect();
        for origin in gone.iter().flat_map(|(_, state)| state.current().1) {
            origin.retire();
        }
        self.tls.keep_only(pools);
        self.publishes.fetch_add(1, Relaxed);
    }

    pub(crate) fn publishes(&self) -> u64 {
        self.publishes.load(Relaxed)
    }

    /// The state of a pool as it is now, or none if it is unknown.
    pub(crate) fn known(&self, id: Id) -> Option<Arc<PoolState>> {
        lock(&self.pools).get(&id).cloned()
    }

    /// The state of a pool, which is made or brought up to date.
    pub(crate) fn adopt(&self, pool: &Arc<Pool>, now_ms: u64) -> Arc<PoolState> {
        let mut pools = lock(&self.pools);
        let Some(state) = pools.get(&pool.id) else {
            let origins = pool.origins.iter().map(|origin| Arc::new(OriginState::new(origin.id))).collect();
            let state = Arc::new(PoolState {
                budget: Budget::default(),
                line: Line::default(),
                current: Mutex::new((Arc::clone(pool), origins)),
                ejecting: Mutex::default(),
            });
            pools.insert(pool.id, Arc::clone(&state));
            return state;
        };
        let state = Arc::clone(state);
        drop(pools);
        let mut current = lock(&state.current);
        if !Arc::ptr_eq(&current.0, pool) {
            let mut known: Map<Id, Arc<OriginState>> =
                current.1.drain(..).map(|origin| (origin.id, origin)).collect();
            let policy = policy_of(pool);
            let make = |id| {
                let origin = OriginState::new(id);
                if policy.slow_start_ms > 0 {
                    let health = Health::new_at(now_ms);
                    *lock(&origin.health) = health;
                    origin.publish(&health);
                }
                Arc::new(origin)
            };
            let origins = pool.origins.iter().map(|o| known.remove(&o.id).unwrap_or_else(|| make(o.id)));
            let origins: Vec<_> = origins.collect();
            if pool.health.is_none() {
                for origin in &origins {
                    let mut health = lock(&origin.health);
                    if !health.standing().is_up {
                        health.forget_checks();
                        origin.publish(&health);
                    }
                }
            }
            *current = (Arc::clone(pool), origins);
            for origin in known.values() {
                origin.retire();
            }
        }
        drop(current);
        state
    }

    fn schedule_first(&self, pool: &Arc<Pool>, origin: &Arc<OriginState>, now_ms: u64) {
        if pool.health.is_some() && !origin.is_scheduled.swap(true, Relaxed) {
            self.schedule(pool, pool.id, origin, now_ms);
        }
    }

    fn schedule(&self, pool: &Pool, pool_id: Id, origin: &OriginState, now_ms: u64) {
        let Some(health) = &pool.health else {
            origin.is_scheduled.store(false, Relaxed);
            return;
        };
        let at = lock(&origin.health).next_check_ms(health.interval_ms, self.seed ^ origin.key, now_ms);
        lock(&self.schedule).due.push(Reverse((at, pool_id, origin.id)));
    }

    /// The checks that are due, at most `max`; the rest stays due. A thread that finds another one here goes
    /// on without.
    pub(crate) fn due_checks(self: &Arc<Self>, max: usize, now_ms: u64) -> Vec<Check> {
        let mut due: Vec<(Id, Id)> = Vec::new();
        let Ok(mut schedule) = self.schedule.try_lock() else { return Vec::new() };
        while due.len() < max {
            match schedule.due.peek() {
                Some(Reverse((at, ..))) if *at <= now_ms => {}
                _ => break,
            }
            if let Some(Reverse((_, pool, origin))) = schedule.due.pop() {
                due.push((pool, origin));
            }
        }
        drop(schedule);
        let make = |(pool_id, id): (Id, Id)| {
            // A pool or origin that went takes its checks along.
            let (pool, index, origin) = self.known(pool_id)?.find(id)?;
            if pool.health.is_none() {
                origin.is_scheduled.store(false, Relaxed);
                return None;
            }
            Some(Check { fleet: Arc::clone(self), pool_id, pool, index, origin, now_ms })
        };
        due.into_iter().filter_map(make).collect()
    }

    /// Counts an exchange given to an origin.
    pub(crate) fn count_request(&self, origin: &OriginState) {
        origin.requests.fetch_add(1, Relaxed);
    }

    /// Counts an exchange that an origin failed, and ejects it if that is enough and within the limit.
    ///
    /// The limit is a percentage of the pool's origins; one of at least two may always be ejected unless the
    /// percentage is 0, since a small pool would otherwise never be helped.
    pub(crate) fn failed(
        &self,
        state: &PoolState,
        (pool, origins): (&Pool, &[Arc<OriginState>]),
        index: usize,
        chosen_ms: u64,
        now_ms: u64,
    ) -> Option<Change> {
        let origin = origins.get(index)?;
        origin.faults.fetch_add(1, Relaxed);
        if lock(&origin.health).is_from_before(chosen_ms) {
            return None;
        }
        origin.evidence.count(now_ms);
        origin.evidence.mark(now_ms);
        let _one_at_a_time = lock(&state.ejecting);
        let ejected = origins.iter().filter(|other| other.standing().is_ejected(now_ms)).count();
        let max_percent = usize::from(pool.ejection.max_percent);
        let is_within = (ejected + 1) * 100 <= max_percent * origins.len();
        let may_eject = is_within || (ejected == 0 && origins.len() > 1 && max_percent > 0);
        let mut health = lock(&origin.health);
        let (ended, failed) = origin.evidence.sums(now_ms);
        let percent = u64::from(pool.ejection.circuit_percent);
        let is_broken = percent > 0 && ended >= EVIDENCE_MIN && failed * 100 >= ended * percent;
        let opened = if is_broken { health.open(now_ms) } else { None };
        let change = opened.or_else(|| health.failed(chosen_ms, may_eject, &policy_of(pool), now_ms));
        origin.publish(&health);
        drop(health);
        self.note(pool, index, change, None, now_ms);
        change
    }

    pub(crate) fn note(
        &self,
        pool: &Pool,
        index: usize,
        change: Option<Change>,
        cause: Option<String>,
        at_ms: u64,
    ) {
        let (Some(change), Some(origin)) = (change, pool.origins.get(index)) else { return };
        let mut events = lock(&self.events);
        if events.len() < EVENTS_MAX {
            let (pool, pool_id, url) = (pool.name.clone(), pool.id, origin.url.clone());
            events.push(OriginEvent { pool, url, pool_id, change, cause, at_ms });
        }
    }

    /// How many checks found their origin well, and how many not, since this was last asked.
    pub fn take_checks(&self) -> (u64, u64) {
        let [well, unwell] = &self.checks;
        (well.swap(0, Relaxed), unwell.swap(0, Relaxed))
    }

    /// What happened to origins since the last call, oldest first; at most 1,024 events are kept.
    pub fn take_events(&self) -> Vec<OriginEvent> {
        std::mem::take(&mut *lock(&self.events))
    }

    /// All pools with their origins, for status pages and metrics. Takes each pool's lock in turn.
    pub fn pool_states(&self, now_ms: u64) -> Vec<PoolReport> {
        let pools: Vec<_> = lock(&self.pools).values().cloned().collect();
        let report = |state: &Arc<PoolState>| {
            let (pool, origins) = state.current();
            let of_origin = |(origin, state): (&zone::Origin, &Arc<OriginState>)| OriginReport {
                url: origin.url.clone(),
                is_up: state.standing().is_up,
                is_ejected: state.standing().is_ejected(now_ms),
                is_open: state.standing().is_open,
                is_draining: origin.is_draining,
                waiting: state.pressure.now().0,
                waiting_max: state.pressure.now().1,
                in_flight: state.in_flight.load(Relaxed),
                connections: state.connections.load(Relaxed),
                opened: state.opened.load(Relaxed),
                reused: state.reused.load(Relaxed),
                requests: state.requests.load(Relaxed),
                faults: state.faults.load(Relaxed),
            };
            PoolReport {
                id: pool.id,
                name: pool.name.clone(),
                window: state.budget.window(now_ms),
                in_line: state.line.len(),
                origins: pool.origins.iter().zip(&origins).map(of_origin).collect(),
            }
        };
        pools.iter().map(report).collect()
    }
}
