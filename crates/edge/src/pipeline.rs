//! A request's way through the data plane, top to bottom.
//!
//! Phases are a straight function, not plug-ins: users extend Rempart with the rule language. Each phase's
//! work stands in the module of its name; what happened is recorded whatever the outcome.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;

use ::cache::policy::Bypass;
use blackbox::{Slot, Work};
use exchange::{Charge, Deadlines, Holder, IdSource, Phase, Refusal, Request, Response, Scheme};
use origin::Origins;
use origin::resolve::lists::Lists;
use telemetry::metrics::{
    HandshakeOutcome, Protocol as ProtocolLabel, RuleWork, ThreadMetrics, TlsVersion, Trouble,
};
use telemetry::sink::Batch;
use wire::{Exchange, Hello, Service, TlsChoice, VisitorTimes, WireEvent};
use zone::Zone;

use crate::admission::{Refused, admit, identify};
use crate::cache::{Aim, ChosenCaches, Looked, hints_are_told};
use crate::clock::Clock;
use crate::contain::{Decided, guard};
use crate::course::Course;
use crate::fault_points;
use crate::fingerprint::Fingerprints;
use crate::forward;
use crate::hops;
use crate::instead;
use crate::limits;
use crate::live::Live;
use crate::load::{LetIn, Load, Mark};
use crate::node::Node;
use crate::refuse::{fail, redirect, refuse, reply};
use crate::relay::{Answered, Failed};
use crate::route::{Routed, route, unrouted};
use crate::shield::{self, Stopped, ask, steered};
use crate::trails;
use crate::turn::Took;
use crate::view::Asked;
use crate::waf::Standing;

/// One serving thread's data plane.
pub(crate) struct Edge {
    own: Weak<Edge>,
    pub(crate) node: Arc<Node>,
    pub(crate) number: usize,
    pub(crate) origins: Rc<Origins>,
    /// The lists that firewalls ask.
    pub(crate) lists: Rc<Lists>,
    pub(crate) metrics: ThreadMetrics,
    pub(crate) clock: Clock,
    live: RefCell<(u64, Arc<Live>)>,
    pub(crate) batch: RefCell<Batch>,
    ids: RefCell<IdSource>,
    /// A key that the process draws, to make numbers of labels that nobody can guess.
    chance: RandomState,
    pub(crate) scratch: RefCell<Vec<u8>>,
    /// What rules know of the request they are asked about.
    pub(crate) rule_scratch: RefCell<rules::Scratch>,
    /// Caches as rules have chosen them of late.
    pub(crate) chosen_caches: RefCell<ChosenCaches>,
    /// What firewalls' rules work in.
    pub(crate) waf_space: Cell<Option<seclang::Workspace>>,
    /// Bodies that are inspected on this thread at the moment.
    pub(crate) waf_here: Cell<usize>,
    pub(crate) unix_offset_us: Cell<u64>,
    /// Where this thread writes what it polls.
    pub(crate) slot: Slot,
    /// How late it is, and whom it lets in.
    pub(crate) load: Load,
    fingerprints: Fingerprints,
    /// Exchanges being served.
    in_flight: Cell<usize>,
}

const NODE_IS_FULL: &str = "visitors make the node hold as much as memory_budget_bytes lets it";
const ZONE_IS_FULL: &str = "visitors make the zone hold half of memory_budget_bytes";

/// What a request costs to hold beside its fields: the exchange itself, with its place to answer.
const EXCHANGE_BYTES: usize = 2 * 1024;

fn head_bytes(request: &Request) -> u64 {
    let head = request.fields.memory_bytes() + request.target().len() + request.authority().len();
    (EXCHANGE_BYTES + head) as u64
}

/// Counts an exchange for as long as it is served, however that ends.
struct InFlight<'a>(&'a Cell<usize>);

impl<'a> InFlight<'a> {
    fn begin(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Edge {
    pub(crate) fn new(node: &Arc<Node>, number: usize, deadlines: &Rc<Deadlines>, slot: Slot) -> Rc<Self> {
        let seed = node.seed_for(number);
        let clock = node.clock();
        Rc::new_cyclic(|own| Self {
            own: Weak::clone(own),
            number,
            origins: Origins::new(
                Arc::clone(node.fleet()),
                Rc::clone(deadlines),
                seed[0] ^ seed[1].rotate_left(17),
            ),
            lists: Lists::new(Rc::clone(deadlines), &node.settings().list_servers),
            metrics: node.registry().thread(),
            live: RefCell::new(node.live_with_version()),
            batch: RefCell::new(node.access_log().batch()),
            ids: RefCell::new(IdSource::new(seed)),
            scratch: RefCell::default(),
            rule_scratch: RefCell::default(),
            chosen_caches: RefCell::default(),
            waf_space: Cell::default(),
            waf_here: Cell::new(0),
            unix_offset_us: Cell::new(clock.unix_offset_us()),
            in_flight: Cell::new(0),
            slot,
            load: Load::of(node, number, clock.now_us()),
            fingerprints: Fingerprints::new(node.setup().fingerprint_key),
            clock,
            node: Arc::clone(node),
            chance: RandomState::new(),
        })
    }

    /// Itself, for tasks that go on when the exchange that began them has ended.
    pub(crate) fn shared(&self) -> Option<Rc<Self>> {
        self.own.upgrade()
    }

    /// A number that nobody can guess.
    pub(crate) fn draw(&self) -> u128 {
        let label = self.ids.borrow_mut().next_id();
        let [high, low] = [0_u8, 1].map(|half| self.chance.hash_one((label, half)));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Every 100 ms: calendar time, log lines.
    pub(crate) fn tick(&self) {
        self.slot.beat();
        let unix_offset_us = self.clock.unix_offset_us();
        self.unix_offset_us.set(unix_offset_us);
        if self.number == 0 {
            self.node.steady().follow(unix_offset_us, self.clock.now_us());
        }
        self.batch.borrow_mut().flush();
        self.origins.tick(self.clock.now_ms());
        let _refreshed = self.live();
    }

    /// Exchanges being served at this moment.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// How long visitors may take before their zone is known: `[zone_defaults]`' word.
    pub(crate) fn visitor_times(&self) -> VisitorTimes {
        let live = self.live();
        times_of(&live.snapshot.http)
    }

    /// The snapshot in force, without touching a shared counter unless it has changed.
    fn live(&self) -> Arc<Live> {
        let mut cached = self.live.borrow_mut();
        if cached.0 != self.node.live_version() {
            *cached = self.node.live_with_version();
        }
        Arc::clone(&cached.1)
    }

    fn begin(&self, exchange: &Exchange) -> Course {
        let secure = exchange.connection.tls.is_some();
        let scheme = if secure { Scheme::Https } else { Scheme::Http };
        let id = self.ids.borrow_mut().next_id();
        let fingerprint = self.fingerprints.of(&exchange.request);
        let now_us = self.clock.now_us();
        self.glance(now_us);
        let mut course = Course::begin(id, now_us, exchange.connection.visitor, scheme, fingerprint);
        course.unix_us = self.unix_offset_us.get() + now_us;
        course
    }

    /// Polls a part of an exchange; none when it panicked. The thread's slot names its work for the length of
    /// each poll and no longer, since whatever else the thread does meanwhile is not its doing.
    ///
    /// The part is pinned by the caller: taken by value it would stand in this future twice, as what was
    /// given and as what is polled.
    pub(crate) async fn named<T>(
        &self,
        work: &mut Work,
        mut part: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let (mut mark, mut took) = (Mark::default(), Took::default());
        poll_fn(|cx| {
            self.slot.beat();
            self.slot.enter(work);
            let began_us = self.load.begin(mark, work.zone, || self.clock.now_us());
            let polled = guard(|| Ok(part.as_mut().poll(cx)));
            *work = self.slot.leave();
            if let Some(began_us) = began_us {
                mark = self.load.end(work, (began_us, self.clock.now_us()), &mut took);
            }
            match polled {
                Ok(polled) => polled.map(Some),
                Err(_) => Poll::Ready(None),
            }
        })
        .await
    }

    /// The phases, in order.
    async fn answer(&self, exchange: &mut Exchange, course: &mut Course) {
        // 1 admission
        let live = self.live();
        course.snapshot = live.snapshot.number;
        self.slot.zone([0; 8], course.snapshot);
        if let Some(left_s) = self.node.door().refuses(course.fingerprint, || self.clock.now_s()) {
            course.retry_s = u16::try_from(left_s).unwrap_or(u16::MAX);
            let reason = "requests like this one have ended the process";
            return refuse(exchange, course, Refusal::DeadlyRequest, reason).await;
        }
        if let Some(refusal) = exchange.refusal {
            let reason = exchange.refusal_reason;
            return refuse(exchange, course, refusal, reason).await;
        }
        exchange.charge = Charge::default(); // of the request before on this connection
        let head_bytes = head_bytes(&exchange.request);
        match Charge::begin(self.node.memory(), &exchange.connection, head_bytes) {
            Ok(charge) => exchange.charge = charge,
            Err(_) => return refuse(exchange, course, Refusal::Overload, NODE_IS_FULL).await,
        }
        let admitted = guard(|| {
            fault_points::at(Phase::Admission, &exchange.request)?;
            identify(course, &exchange.request, &exchange.connection, &self.node.settings().trusted_proxies);
            if let Some(geo) = &live.snapshot.geo {
                course.whereabouts = geo.find(course.visitor.ip());
            }
            self.node.sampler().offer(&exchange.request, &exchange.connection, course);
            if self.node.blocks().refuses(course.visitor.ip(), || self.clock.now_s()) {
                let site = live.site_for(exchange.request.host()).cloned();
                let reason = "the visitor's address is on the emergency block list";
                return Ok(Err(Refused { refusal: Refusal::Blocked, reason, site }));
            }
            let loop_token = self.node.loop_token().as_bytes();
            Ok(admit(&live, &mut exchange.request, &exchange.connection, loop_token))
        });
        let site = match admitted {
            Ok(Ok(site)) => site,
            Ok(Err(Refused { refusal, reason, site })) => {
                course.site = site;
                return refuse(exchange, course, refusal, reason).await;
            }
            Err(trouble) => {
                course.site = guard(|| Ok(live.site_for(exchange.request.host()).cloned())).unwrap_or(None);
                self.broke(Phase::Admission, course, trouble);
                return self.close(exchange, course, trouble).await;
            }
        };
        if site.zone.asks_locations() || site.stale.as_ref().is_some_and(|zone| zone.asks_locations()) {
            course.geo.clone_from(&live.snapshot.geo);
        }
        drop(live);
        course.site = Some(Arc::clone(&site));
        self.slot.zone(*site.zone.id.0.first_chunk().unwrap_or(&[0; 8]), course.snapshot);
        if exchange.charge.join(&site.memory).is_err() {
            return refuse(exchange, course, Refusal::Overload, ZONE_IS_FULL).await;
        }
        exchange.times = times_of(&site.zone.http);
        exchange.hold_for(site.holder);
        if let Some(flood) = &site.flood
            && self.is_over_flood(exchange, course, &site, flood)
        {
            let reason = "a limit that the zone's flood made; `rempart status` lists it";
            return Box::pin(refuse(exchange, course, Refusal::FloodLimited, reason)).await;
        }
        let let_in = match self.let_in(exchange, course, &site) {
            // Boxed, as what is rare is no part of every exchange.
            LetIn::InTurn(kind) => Box::pin(self.wait_for_turn(exchange, course, &site, kind)).await,
            at_once => at_once,
        };
        match let_in {
            LetIn::All | LetIn::InTurn(_) => {}
            LetIn::Stored(worth) => course.shed = Some(worth),
            LetIn::Nothing(worth) => {
                course.shed = Some(worth);
                return self.shed(exchange, course, worth).await;
            }
            LetIn::Gone => {
                course.is_visitor_gone = true;
                return exchange.abort();
            }
        }
        self.begin_coding(exchange, course, &site);
        course.note(Phase::Admission, "admitted", 0, self.clock.now_us());
        #[cfg(feature = "fault-injection")]
        if let Err(trouble) = fault_points::serving(&site.faults).await {
            return self.close(exchange, course, trouble).await;
        }

        // 2 shield
        let has_rules = site.zone.rules.is_some() || site.zone.rate_limits.is_some();
        if has_rules || cfg!(feature = "fault-injection") {
            self.slot.phase(Phase::Shield as u8);
            let unix_us = self.unix_offset_us.get() + course.began_us;
            // What rules ask about is gone before anything is awaited, and so no part of the task.
            let decided = {
                let connection = Rc::clone(&exchange.connection);
                let asked = Asked::of(course, &connection, &site.zone.name, unix_us, self.clock.now_us());
                let request = &exchange.request;
                self.decide(Phase::Shield, course, &site, |zone| {
                    fault_points::at(Phase::Shield, request)?;
                    fault_points::deciding(Phase::Shield, zone)?;
                    if zone.rules.is_none() && zone.rate_limits.is_none() {
                        return Ok(None);
                    }
                    let (at, seed) = (|rule| self.slot.rule(rule), self.node.setup().seed[1]);
                    let ruled = self.with_scratch(|scratch| ask(zone, request, &asked, scratch, &at, seed));
                    // What no request takes along is counted here.
                    let stopped = |stopped: Stopped| {
                        self.metrics.rule_steps(RuleWork::ZoneRules, stopped.steps);
                        stopped.trouble
                    };
                    ruled.map(Some).map_err(stopped)
                })
            };
            match decided {
                Decided::By(_, Some(ruled)) => {
                    if !self.obey(exchange, course, ruled).await {
                        return;
                    }
                }
                Decided::By(_, None) | Decided::Open => {}
                Decided::Closed(trouble) => return self.close(exchange, course, trouble).await,
            }
        }

        // 3 firewall
        if site.zone.waf.is_some() {
            self.slot.phase(Phase::Waf as u8);
            // Boxed, as all of the firewall: its state is no part of exchanges without one.
            if !Box::pin(self.inspect_request(exchange, course, &site)).await {
                return;
            }
        }

        // 4 route; `zone` is from here on the one that decided
        self.slot.phase(Phase::Route as u8);
        let (request, scheme) = (&exchange.request, course.scheme);
        let redirects = course.rules.config().redirect_https;
        let decided = self.decide(Phase::Route, course, &site, |zone| {
            fault_points::at(Phase::Route, request)?;
            fault_points::deciding(Phase::Route, zone)?;
            route(zone, request, scheme, redirects)
        });
        let (zone, place, routed) = match decided {
            Decided::By(zone, (place, routed)) => (zone, place, routed),
            Decided::Open => (&*site.zone, 0, unrouted(&site.zone)),
            Decided::Closed(trouble) => return self.close(exchange, course, trouble).await,
        };
        if place > 0 {
            course.note(Phase::Route, trails::ROUTE, place, self.clock.now_us());
        }
        let (pool, strip) = match routed {
            Routed::Pool { pool, strip } => (pool, strip),
            Routed::Redirect { word, status, location } => {
                course.note(Phase::Route, word, u32::from(status), self.clock.now_us());
                return redirect(exchange, course, status, &location).await;
            }
            Routed::Answer { status, content_type, body } => {
                let mut response = Response { status, ..Response::default() };
                response.fields.push(b"Content-Type", content_type.as_bytes());
                course.note(Phase::Route, "answer", u32::from(status), self.clock.now_us());
                return reply(exchange, course, response, body).await;
            }
            Routed::Nothing => return refuse(exchange, course, Refusal::NoRoute, "no route matched").await,
        };
        if hops::is_last(&mut exchange.request) {
            course.note(Phase::Route, "max_forwards", 0, self.clock.now_us());
            return Box::pin(hops::answer_as_last(exchange, course)).await;
        }
        let pool = steered(zone, pool, course.rules.choices.as_deref());
        let pool = match pool.backup.and_then(|backup| zone.pools.get(backup)) {
            Some(backup) if !self.origins.is_well(pool, self.clock.now_ms()) => match () {
                () if self.origins.is_well(backup, self.clock.now_ms()) => backup,
                () => pool, // all are unwell: the pool itself is tried still
            },
            _ => pool,
        };
        let at = zone.pools.iter().position(|known| Arc::ptr_eq(known, pool));
        course.note(Phase::Route, trails::POOL, at.map_or(0, |at| at as u32 + 1), self.clock.now_us());
        let aim = Aim { pool: Arc::clone(pool), strip, is_cloudflare: zone.compat_cloudflare };

        // 5 cache; what it answers, or passes on to a visitor who waited for it, ends there
        let mut written = None; // the target of an unsafe request before a prefix is taken away
        let looked = {
            // Out of the task before anything is awaited.
            let chosen = course.cache.chosen();
            let cache = chosen.as_deref().or(site.cache.as_ref());
            cache.map(|cache| {
                self.slot.phase(Phase::Cache as u8);
                self.look_up(exchange, course, (&site, cache), pool)
            })
        };
        match looked {
            None => {}
            Some(Err(trouble)) => return self.close(exchange, course, trouble).await,
            Some(Ok(Looked::Past(Bypass::Method))) => written = Some(exchange.request.target().to_vec()),
            Some(Ok(Looked::Past(_))) => {}
            Some(Ok(Looked::Visit(visiting))) => {
                let goes_on = Box::pin(self.through_cache(exchange, course, zone, visiting, &aim)).await;
                if !goes_on {
                    return;
                }
            }
        }

        if let Some(worth) = course.shed {
            return self.shed(exchange, course, worth).await;
        }

        if hints_are_told(course) && course.cache.hinted().is_none() {
            Box::pin(self.hint(exchange, course, None)).await;
        }

        // 6 origin
        self.slot.phase(Phase::Origin as u8);
        if let Err(trouble) = fault_points::at(Phase::Origin, &exchange.request) {
            self.broke(Phase::Origin, course, trouble);
            return self.close(exchange, course, trouble).await;
        }
        let connection = Rc::clone(&exchange.connection);
        self.prepare(&mut exchange.request, course, &connection, &aim);
        let mut response = Response::default();
        let answered = match self.fetch(exchange, course, &aim.pool, &mut response).await {
            Ok(answered) => answered,
            Err(Failed::Fault(fault)) => return fail(exchange, course, fault, self.node.name()).await,
            Err(Failed::Refused(refusal, reason)) => return refuse(exchange, course, refusal, reason).await,
            Err(Failed::Gone) => {
                course.fault = None; // an earlier attempt's
                course.is_visitor_gone = true;
                exchange.abort();
                return;
            }
        };
        let now_us = self.clock.now_us();
        course.fault = None;
        course.origin_us = Some(now_us.saturating_sub(course.origin_began_us));
        course.note(Phase::Origin, "answered", u32::from(response.status), now_us);
        if let Some(target) = &written {
            self.invalidate(exchange, course, &site, target, &response);
        }
        if matches!(course.waf, Standing::Under(_)) {
            return Box::pin(self.give_inspected(exchange, course, zone, answered, &mut response)).await;
        }
        self.give_answered(exchange, course, zone, answered, &mut response).await;
    }

    /// Phases 7 and 8 for an answer whose body is still with the origin.
    pub(crate) async fn give_answered(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        zone: &Zone,
        answered: Answered,
        response: &mut Response,
    ) {
        match self.dress(exchange, course, zone, Some(&answered), response) {
            Ok(None) => {}
            Ok(Some(instead)) => {
                drop(answered);
                return Box::pin(self.give_instead(exchange, course, *instead, response)).await;
            }
            Err(trouble) => return self.close(exchange, course, trouble).await,
        }
        if let Err(trouble) = self.code_answer(exchange, course, zone, response) {
            return self.close(exchange, course, trouble).await;
        }
        self.deliver(exchange, course, answered, response).await;
        course.note(Phase::Delivery, "ended", 0, self.clock.now_us());
    }

    /// Phase 7, and the beginning of phase 8: what is said on every answer, and what rules change; or what
    /// they give in its place.
    ///
    /// # Errors
    /// A phase broke, and its mode is closed.
    pub(crate) fn dress(
        &self,
        exchange: &Exchange,
        course: &mut Course,
        zone: &Zone,
        answered: Option<&Answered>,
        response: &mut Response,
    ) -> Result<Option<Box<rules::Verdict>>, Trouble> {
        let now_us = self.clock.now_us();
        let connection = Rc::clone(&exchange.connection);
        // 7 response
        self.slot.phase(Phase::Response as u8);
        self.count_answer(&exchange.request, response, course, &connection)?;
        let mut instead = None;
        self.change(Phase::Response, course, |course| {
            fault_points::at(Phase::Response, &exchange.request)?;
            let rules = zone.rules.as_deref();
            if rules.is_some() {
                instead = self.instead_of(exchange, course, zone, response)?.map(Box::new);
                if instead.is_some() {
                    return Ok(());
                }
            }
            let changes = match rules.and_then(|rules| Some((rules, rules.response.as_ref()?))) {
                Some(rules) => {
                    let unix_us = self.unix_offset_us.get() + course.began_us;
                    let asked = Asked::of(course, &connection, &zone.name, unix_us, now_us);
                    self.ask_about_answer(rules, &exchange.request, response, &asked, course)?.effects
                }
                None => Vec::new(),
            };
            forward::towards_visitor(response, course, &connection, exchange.request.version);
            // Never on an answer out of the store: it is everybody's.
            if let Some(answered) = answered
                && let (Some(value), Some(sticky)) = (answered.sticky_to_set(), &answered.pool().sticky)
            {
                let cookie = forward::sticky_cookie(sticky, value, course.scheme);
                response.fields.push_known(b"Set-Cookie", &cookie, exchange::Known::SetCookie, false);
            }
            if course.rules.config().server_timing.unwrap_or(zone.server_timing) {
                let value = format!("origin;dur={:.3}", course.origin_us.unwrap_or(0) as f64 / 1000.0);
                response.fields.push(b"Server-Timing", value.as_bytes());
            }
            limits::tell(&mut response.fields, course);
            if let Some(status) = course.cache.status() {
                status.push_to(self.node.name(), &mut response.fields);
            }
            shield::apply(&mut response.fields, &changes);
            if answered.is_some() {
                self.learn_hints(course, response);
            }
            if rules.is_some() {
                instead::note_fields(course, &connection, (&exchange.request, response), now_us);
            }
            Ok(())
        })?;
        if instead.is_some() {
            return Ok(instead);
        }
        course.status = Some(response.status);
        course.ttfb_us = Some(now_us.saturating_sub(course.began_us));

        // 8 delivery; the zone is shared between snapshots, so that a long transfer pins no old one
        self.slot.phase(Phase::Delivery as u8);
        if let Err(trouble) = fault_points::at(Phase::Delivery, &exchange.request) {
            self.broke(Phase::Delivery, course, trouble);
            return Err(trouble);
        }
        Ok(None)
    }
}

fn times_of(http: &zone::zone::HttpSettings) -> VisitorTimes {
    let ms = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    VisitorTimes { head_ms: ms(http.header_ms), keepalive_ms: ms(http.keepalive_ms) }
}

pub(crate) fn protocol_label(protocol: exchange::Protocol) -> ProtocolLabel {
    match protocol {
        exchange::Protocol::Http1 => ProtocolLabel::Http1,
        exchange::Protocol::Http2 => ProtocolLabel::Http2,
        exchange::Protocol::Http3 => ProtocolLabel::Http3,
    }
}

impl Service for Edge {
    async fn serve(&self, exchange: &mut Exchange) {
        let _in_flight = InFlight::begin(&self.in_flight);
        let mut course = self.begin(exchange);
        let mut work = Work { fingerprint: course.fingerprint, ..Work::default() };
        let is_answered = {
            let answering = pin!(self.answer(exchange, &mut course));
            self.named(&mut work, answering).await.is_some()
        };
        if !is_answered {
            let phase = Phase::ALL.get(usize::from(work.phase)).copied().unwrap_or(Phase::Admission);
            let mut closing = Box::pin(async {
                self.broke(phase, &course, Trouble::Panic);
                self.close(exchange, &mut course, Trouble::Panic).await;
            });
            let is_closed = self.named(&mut work, closing.as_mut()).await.is_some();
            drop(closing);
            if !is_closed {
                exchange.abort(); // the page for it panicked too
            }
        }
        if exchange.is_shed() {
            course.refusal = Some(Refusal::Overload);
            course.reason = "its visitor did not keep up while the node or the zone was full";
        }
        self.met_in(exchange, &course);
        if matches!(course.waf, Standing::Under(_) | Standing::Over(_)) {
            work.phase = Phase::Waf as u8;
            let mut concluding = Box::pin(self.conclude(exchange, &mut course));
            let _contained = self.named(&mut work, concluding.as_mut()).await;
        }
        work.phase = Phase::Record as u8;
        self.slot.enter(&work);
        let _always_open = self.change(Phase::Record, &mut course, |course| {
            fault_points::at(Phase::Record, &exchange.request)?;
            self.record(exchange, course);
            Ok(())
        });
        self.slot.leave();
    }

    fn times(&self, server_name: Option<&str>) -> Option<VisitorTimes> {
        self.live().site_for_handshake(server_name).map(|site| times_of(&site.zone.http))
    }

    fn holder(&self, server_name: Option<&str>) -> Holder {
        self.live().site_for_handshake(server_name).map_or(Holder::NOBODY, |site| site.holder)
    }

    fn tls(&self, hello: &Hello) -> Option<TlsChoice> {
        let live = self.live();
        let site = live.site_for_handshake(hello.sni.as_deref())?;
        let config = site.tls.load().as_ref()?.config_for(hello);
        Some(TlsChoice { config, zone: Some(site.zone.id.0) })
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        let trusted = &self.node.settings().trusted_proxies;
        !trusted.is_empty() && zone::cidr::any_contains(trusted, peer)
    }

    fn may_shake(&self, visitor: IpAddr) -> bool {
        self.has_time_to_shake(visitor)
    }

    fn shake<T>(&self, part: impl FnOnce() -> T) -> T {
        self.shake_measured(part)
    }

    fn beat(&self) {
        self.slot.beat();
    }

    fn took(&self, line: u32, has_taken_all: bool) {
        self.load.took(line, has_taken_all);
    }

    fn count(&self, event: WireEvent) {
        match event {
            WireEvent::Opened(protocol) => self.metrics.connection_opened(protocol_label(protocol)),
            WireEvent::Closed(protocol) => self.metrics.connection_closed(protocol_label(protocol)),
            WireEvent::Handshake(version) => {
                let version = match version {
                    exchange::TlsVersion::V1_2 => TlsVersion::Tls12,
                    exchange::TlsVersion::V1_3 => TlsVersion::Tls13,
                };
                self.metrics.tls_handshake(version, HandshakeOutcome::Full);
            }
            WireEvent::HandshakeFailed => {
                self.metrics.tls_handshake(TlsVersion::Unknown, HandshakeOutcome::Failed);
            }
            WireEvent::Panicked => self.node.registry().panicked(),
            WireEvent::Dropped => self.metrics.connections_dropped(1),
            WireEvent::Abuse(abuse, visitor) => self.met(abuse, visitor),
            WireEvent::Shed { holder, count } => {
                self.metrics.connections_shed(count);
                // Every zone is looked at; connections go many at a time.
                if let Some(site) = self.live().sites.iter().find(|site| site.holder.key == holder) {
                    site.counters.connections_shed(self.number, count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Most bytes of a task that serves one stream of HTTP/2: it is made for each request.
    const TASK_BYTES_MAX: usize = 4_096;

    /// What `wire` adds to the future of [`Service::serve`] in that task; a test there holds it.
    const AROUND_BYTES: usize = 1_408;

    /// The size of what a function gives back that is called with these.
    fn future_bytes<'a, F>(_serve: impl FnOnce(&'a Edge, &'a mut Exchange) -> F) -> usize {
        size_of::<F>()
    }

    /// A future is as large as all that it may hold at once. What is seldom is boxed: a page, an answer after
    /// a panic, a new connection to an origin, a tunnel.
    #[test]
    fn an_exchange_is_served_in_a_small_future() {
        let bytes = future_bytes(<Edge as Service>::serve);
        assert!(bytes + AROUND_BYTES <= TASK_BYTES_MAX, "{bytes} bytes: box what is seldom");
    }
}
