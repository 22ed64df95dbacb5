//! Floods: notes each request of a watched zone, asks the limits that its flood has made, and looks at all
//! zones, and by the way at what grows old ([`crate::feeds`]), once a second.
//!
//! What a flood is and what is limited is the crate `flood`'s to decide. A request is noted when it is
//! admitted, before anything is decided about it, so that what is refused is seen to come; that is some
//! hashes and a place in a list of the thread's own, behind a lock that only the watch takes beside it, once
//! a second. Limits are asked where there are any. In a zone that only logs, what would be refused goes on.
//!
//! Fails open: what breaks here lets the request in, and a watch that breaks begins anew, without limits.
//! Called by `pipeline.rs`, `record.rs` and `serving.rs`. Read next: [`Edge::is_over_flood`], [`look`].

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use exchange::{Known, Phase, Refusal};
use flood::watch::LimitStanding;
use flood::{
    Asked, Change, Keys, Limits, Memory, Sample, Second, Secret, Settings, Size, Stage, Standing, Unusable,
    Watch,
};
use telemetry::events::{Events, Value};
use telemetry::metrics::{LimitAction, LimitKind, Trouble};
use wire::Exchange;
use zone::{Flood, Id};

use crate::contain::guard;
use crate::course::Course;
use crate::fault_points;
use crate::live::Site;
use crate::node::Node;
use crate::pipeline::Edge;

/// How often the watch looks whether a second is over, in milliseconds.
const LOOK_MS: u64 = 100;

/// What is kept of a watched zone beside its site; it outlives a change of the zone.
pub(crate) struct Guarded {
    secret: Secret,
    size: Size,
    seed: u64,
    samples: Box<[Mutex<Sample>]>,
    watch: Mutex<Watch>,
    memory: ArcSwap<Memory>,
    limits: ArcSwap<Limits>,
    has_limits: AtomicBool,
    wants_texts: AtomicBool,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn settings(flood: Flood) -> Settings {
    let Flood { refuses, from_per_s, limits_max, expires_s, warm_up_s } = flood;
    Settings { refuses, from_per_s, limits_max, expires_s, warm_up_s }
}

impl Guarded {
    /// What was known of the zone with its settings of now; or one that knows nothing. `watched` is how many
    /// zones share the node's memory.
    pub(crate) fn carry(
        flood: Flood,
        before: Option<&Arc<Self>>,
        (id, watched): (Id, usize),
        (threads, seed): (usize, u64),
    ) -> Arc<Self> {
        if let Some(before) = before {
            lock(&before.watch).set(settings(flood));
            return Arc::clone(before);
        }
        let zone = u64::from_be_bytes(*id.0.first_chunk().unwrap_or(&[0; 8]));
        let (seed, size) = (seed ^ zone.rotate_left(23), Size::for_zones(watched));
        let watch = Watch::new(settings(flood), size, seed);
        Arc::new(Self {
            secret: Secret::new(seed),
            size,
            seed,
            samples: (0..threads as u64).map(|thread| Mutex::new(Sample::new(seed ^ thread))).collect(),
            memory: ArcSwap::new(Arc::clone(watch.memory())),
            watch: Mutex::new(watch),
            limits: ArcSwap::default(),
            has_limits: AtomicBool::new(false),
            wants_texts: AtomicBool::new(false),
        })
    }

    /// What its watch keeps for a later process; nothing while it knows too little.
    pub(crate) fn keep(&self, now_s: u64) -> Vec<u8> {
        let mut kept = Vec::new();
        lock(&self.watch).keep(&self.secret, now_s, &mut kept);
        kept
    }

    /// Takes over what an earlier process kept of the zone, if nothing is known of it; whether it did.
    ///
    /// # Errors
    /// Why that is of no use.
    pub(crate) fn adopt(&self, kept: &[u8], now_s: u64) -> Result<bool, Unusable> {
        lock(&self.watch).adopt(kept, &self.secret, now_s)
    }

    pub(crate) fn standing(&self, now_s: u64) -> Standing {
        lock(&self.watch).standing(now_s)
    }

    fn put(&self, limits: Arc<Limits>) {
        let has_limits = !limits.is_empty();
        self.limits.store(limits);
        self.has_limits.store(has_limits, Ordering::Release);
    }

    /// Begins anew.
    fn begin(&self, flood: Flood) {
        let watch = Watch::new(settings(flood), self.size, self.seed);
        self.put(Arc::default());
        self.memory.store(Arc::clone(watch.memory()));
        *lock(&self.watch) = watch;
    }

    /// Notes a request, and asks the limits about it.
    fn note(&self, asked: &Asked<'_>, thread: usize, now_ms: u64) -> Option<flood::Answer> {
        let keys = Keys::of(asked, &self.secret);
        if let Some(sample) = self.samples.get(thread % self.samples.len().max(1)) {
            let named = self.wants_texts.load(Ordering::Relaxed).then_some(asked);
            lock(sample).note(&keys, named);
        }
        if !self.has_limits.load(Ordering::Acquire) {
            return None;
        }
        self.limits.load().ask(&keys, &self.memory.load(), now_ms)
    }
}

impl Edge {
    /// Notes a request; whether a limit refuses it that the zone's flood has made.
    pub(crate) fn is_over_flood(
        &self,
        exchange: &Exchange,
        course: &mut Course,
        site: &Site,
        flood: &Guarded,
    ) -> bool {
        let request = &exchange.request;
        let tls = exchange.connection.tls.as_ref();
        let asked = Asked {
            address: course.visitor.ip(),
            network: Some(course.whereabouts.asn).filter(|asn| *asn != 0),
            country: course.whereabouts.country,
            ja4: tls.and_then(|tls| tls.ja4.as_deref()).map(str::as_bytes),
            path: request.path(),
            query: request.query(),
            agent: request.fields.known(Known::UserAgent).unwrap_or_default(),
            is_safe: request.method.is_safe(),
        };
        let answer = guard(|| {
            fault_points::step("flood", request)?;
            // When it came: a look at the clock would cost as much as the hashes.
            Ok(flood.note(&asked, self.number, self.node.flood_ms(course.began_us)))
        });
        match answer {
            Ok(None) => false,
            Ok(Some(answer)) => self.over_flood(course, site, answer),
            Err(trouble) => {
                self.flood_broke(course, site, trouble);
                false
            }
        }
    }

    #[cold]
    fn over_flood(&self, course: &mut Course, site: &Site, answer: flood::Answer) -> bool {
        let refuses = site.zone.flood.is_some_and(|flood| flood.refuses);
        let (decision, action) = match refuses {
            true => ("over_flood_limit", LimitAction::Block),
            false => ("would_be_over_flood_limit", LimitAction::Log),
        };
        course.note(Phase::Shield, decision, answer.limit, self.clock.now_us());
        course.retry_s = u16::try_from(answer.retry_s).unwrap_or(u16::MAX);
        self.metrics.over_limit(LimitKind::Flood, action);
        refuses
    }

    /// The request goes on, noted or not.
    #[cold]
    fn flood_broke(&self, course: &mut Course, site: &Site, trouble: Trouble) {
        let registry = self.node.registry();
        registry.contained(Phase::Shield as usize, trouble);
        if trouble == Trouble::Panic {
            registry.panicked();
        }
        course.note(Phase::Shield, "flood_failed_open", 0, self.clock.now_us());
        if let Some(untold) = site.ward.may_tell(Phase::Shield, self.clock.now_ms()) {
            let id = course.id.to_string();
            let fields = [
                ("zone", site.zone.name.as_str().into()),
                ("kind", trouble.label().into()),
                ("request_id", id.as_str().into()),
                ("untold", untold.into()),
            ];
            self.node.setup().events.warn("flood_note_broke", &fields);
        }
    }

    /// Notes how a request ended, and that its visitor was served.
    pub(crate) fn note_end(&self, course: &Course, now_us: u64) {
        let Some(flood) = course.site.as_ref().and_then(|site| site.flood.as_ref()) else { return };
        let is_failed = match course.refusal {
            Some(Refusal::Overload) => true,
            // Said on purpose: that is no failure, and says nothing of those who are let in.
            Some(_) => return,
            None => course.fault.is_some() || course.status.is_some_and(|status| status >= 500),
        };
        if let Some(sample) = flood.samples.get(self.number % flood.samples.len().max(1)) {
            lock(sample).ended(is_failed, course.origin_us);
        }
        if !is_failed && course.status.is_some_and(|status| status < 400) {
            let visitor = Keys::visitor_of(course.visitor.ip(), &flood.secret);
            flood.memory.load().served(visitor, self.node.flood_ms(now_us) / 1_000);
        }
    }
}

impl Node {
    /// How many zones are flooded, and limits there are by stage.
    pub(crate) fn floods(&self) -> (u64, [u64; 3]) {
        let (live, now_s) = (self.live(), self.flood_s());
        let (mut flooded, mut limits) = (0, [0; 3]);
        for flood in live.sites.iter().filter_map(|site| site.flood.as_ref()) {
            let standing = flood.standing(now_s);
            flooded += u64::from(standing.flooded_for_s.is_some());
            for limit in &standing.limits {
                let place = match limit.stage {
                    Stage::Observe => 0,
                    Stage::Limit => 1,
                    Stage::Tight => 2,
                };
                limits[place] += 1;
            }
        }
        (flooded, limits)
    }
}

/// The running watch over all zones; it ends when dropped.
pub(crate) struct FloodWatch {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FloodWatch {
    /// Watches the zones of a node.
    ///
    /// # Errors
    /// No thread could be started.
    pub(crate) fn start(node: &Arc<Node>) -> io::Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let (node, ends) = (Arc::clone(node), Arc::clone(&is_over));
        let watch = move || {
            let (mut looked_ms, mut feeds_are_well) = (node.clock().now_ms(), true);
            while !ends.load(Ordering::Acquire) {
                std::thread::park_timeout(Duration::from_millis(LOOK_MS));
                let now_ms = node.clock().now_ms();
                if now_ms < looked_ms + 1_000 {
                    continue;
                }
                let lasted_ms = now_ms - std::mem::replace(&mut looked_ms, now_ms);
                let live = node.live();
                live.sites.iter().for_each(|site| look(&node, site, node.flood_s(), lasted_ms));
                feeds_are_well = look_at_feeds(&node, feeds_are_well);
            }
        };
        let thread = std::thread::Builder::new().name("edge-flood".to_owned()).spawn(watch)?;
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for FloodWatch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _panicked_and_told_so = thread.join();
        }
    }
}

/// Looks at what grows old. What breaks there ends no watch of floods: it is told the first time, counted,
/// and tried again a second later. Whether it is well.
fn look_at_feeds(node: &Node, was_well: bool) -> bool {
    let looked = guard(|| {
        node.live().sites.iter().for_each(|site| fault_points::looking_at_feeds(&site.zone));
        node.look_at_feeds();
        Ok(())
    });
    let is_well = looked.is_ok();
    if !is_well {
        node.registry().panicked();
    }
    if was_well && !is_well {
        let remedy = "lists stay as they were judged before: report this";
        node.setup().events.error("lists_watch_broke", &[("remedy", remedy.into())]);
    }
    is_well
}

/// Looks at one zone's second.
fn look(node: &Node, site: &Site, now_s: u64, lasted_ms: u64) {
    let (Some(guarded), Some(settings)) = (&site.flood, site.zone.flood) else { return };
    let looked = guard(|| {
        let mut second = Second::default();
        for sample in &guarded.samples {
            second.merge(&mut lock(sample));
        }
        second.lasted(lasted_ms);
        let mut watch = lock(&guarded.watch);
        let outcome = watch.second(second, now_s);
        guarded.wants_texts.store(watch.wants_texts(), Ordering::Relaxed);
        Ok(outcome)
    });
    let (zone, events) = (site.zone.name.as_str(), &node.setup().events);
    match looked {
        Ok(outcome) => {
            if let Some(limits) = outcome.limits {
                guarded.put(limits);
            }
            outcome.changes.iter().for_each(|change| tell(events, zone, settings.refuses, change));
        }
        Err(trouble) => {
            guarded.begin(settings);
            node.registry().contained(Phase::Shield as usize, trouble);
            node.registry().panicked();
            events.error("flood_watch_broke", &[("zone", zone.into())]);
        }
    }
}

/// Writes an event. None is a warning: that a site is flooded is no trouble of the node's.
fn tell(events: &Events, zone: &str, refuses: bool, change: &Change) {
    let whole = |rate: f64| Value::Number(rate.round().max(0.0) as u64);
    let mode = ("mode", if refuses { "limit" } else { "log" }.into());
    match change {
        Change::Began { why, rate, usual, most } => {
            let fields = [
                ("zone", zone.into()),
                mode,
                ("why", (*why).into()),
                ("per_s", whole(*rate)),
                ("usual_per_s", whole(*usual)),
                ("most_per_s", whole(*most)),
            ];
            events.info("flood_began", &fields);
        }
        Change::Limit(limit) => {
            let stage = [("stage", limit.stage.as_str().into()), ("expires_in_s", limit.expires_in_s.into())];
            tell_limit(events, "flood_limit", (zone, mode), limit, &stage);
        }
        Change::Removed { limit, why } => {
            tell_limit(events, "flood_limit_ended", (zone, mode), limit, &[("ended_since", (*why).into())]);
        }
        Change::Ended { lasted_s, highest, refused } => {
            let fields = [
                ("zone", zone.into()),
                mode,
                ("lasted_s", (*lasted_s).into()),
                ("highest_per_s", whole(*highest)),
                ("refused", (*refused).into()),
            ];
            events.info("flood_ended", &fields);
        }
    }
}

fn tell_limit(
    events: &Events,
    event: &'static str,
    (zone, mode): (&str, (&'static str, Value<'_>)),
    limit: &LimitStanding,
    more: &[(&'static str, Value<'_>)],
) {
    let mut fields = vec![
        ("zone", zone.into()),
        mode,
        ("limit", limit.number.into()),
        ("what", (&limit.what).into()),
        ("most", (&limit.most).into()),
        ("why", (&limit.why).into()),
        ("matched", limit.done.matched.into()),
        ("refused", limit.done.refused.into()),
        ("known_refused", limit.done.known_refused.into()),
    ];
    fields.extend_from_slice(more);
    events.info(event, &fields);
}
