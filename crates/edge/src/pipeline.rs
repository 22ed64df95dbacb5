//! A request's way through the data plane, top to bottom.
//!
//! Phases are a straight function, not plug-ins: users extend Rempart with the rule language. Each phase's
//! work stands in the module of its name; what happened is recorded whatever the outcome.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use exchange::{Deadlines, IdSource, Phase, Refusal, Response, Scheme};
use origin::Origins;
use telemetry::access::{Privacy, Record};
use telemetry::metrics::{Direction, HandshakeOutcome, Protocol as ProtocolLabel, ThreadMetrics, TlsVersion};
use telemetry::sink::Batch;
use wire::{Exchange, Hello, Service, TlsChoice, VisitorTimes, WireEvent};
use zone::Action;

use crate::admission::{Refused, admit, identify};
use crate::clock::Clock;
use crate::course::Course;
use crate::forward::{self, Names};
use crate::live::Live;
use crate::node::Node;
use crate::panic_watch::PanicWatch;
use crate::refuse::{fail, redirect, refuse, reply};
use crate::relay::Failed;
use crate::trails::Kept;

/// One serving thread's data plane.
pub(crate) struct Edge {
    pub(crate) node: Arc<Node>,
    pub(crate) number: usize,
    pub(crate) origins: Rc<Origins>,
    pub(crate) metrics: ThreadMetrics,
    pub(crate) clock: Clock,
    live: RefCell<(u64, Arc<Live>)>,
    batch: RefCell<Batch>,
    ids: RefCell<IdSource>,
    scratch: RefCell<Vec<u8>>,
    unix_offset_us: Cell<u64>,
    /// Exchanges being served.
    in_flight: Cell<usize>,
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
    pub(crate) fn new(node: &Arc<Node>, number: usize, deadlines: &Rc<Deadlines>) -> Self {
        let seed = node.seed_for(number);
        let clock = node.clock();
        Self {
            number,
            origins: Origins::new(
                Arc::clone(node.fleet()),
                Rc::clone(deadlines),
                seed[0] ^ seed[1].rotate_left(17),
            ),
            metrics: node.registry().thread(),
            live: RefCell::new(node.live_with_version()),
            batch: RefCell::new(node.access_log().batch()),
            ids: RefCell::new(IdSource::new(seed)),
            scratch: RefCell::default(),
            unix_offset_us: Cell::new(clock.unix_us().saturating_sub(clock.now_us())),
            in_flight: Cell::new(0),
            clock,
            node: Arc::clone(node),
        }
    }

    /// Every 100 ms: calendar time, log lines.
    pub(crate) fn tick(&self) {
        self.unix_offset_us.set(self.clock.unix_us().saturating_sub(self.clock.now_us()));
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
        Course::begin(id, self.clock.now_us(), exchange.connection.visitor, scheme)
    }

    /// The phases, in order.
    async fn answer(&self, exchange: &mut Exchange, course: &mut Course) {
        // 1 admission
        let live = self.live();
        course.snapshot = live.snapshot.number;
        if let Some(refusal) = exchange.refusal {
            let reason = exchange.refusal_reason;
            return refuse(exchange, course, refusal, reason).await;
        }
        let trusted = &self.node.settings().trusted_proxies;
        identify(course, &exchange.request, &exchange.connection, trusted);
        self.node.sampler().offer(&exchange.request, &exchange.connection);
        let admitted =
            admit(&live, &mut exchange.request, &exchange.connection, self.node.loop_token().as_bytes());
        drop(live);
        let site = match admitted {
            Ok(site) => site,
            Err(Refused { refusal, reason, site }) => {
                course.site = site;
                return refuse(exchange, course, refusal, reason).await;
            }
        };
        course.site = Some(Arc::clone(&site));
        let zone = &site.zone;
        exchange.times = times_of(&zone.http);
        course.note(Phase::Admission, "admitted", 0, self.clock.now_us());

        // 3 route
        course.phase = Phase::Route;
        if zone.tls.redirect_to_https && course.scheme == Scheme::Http {
            let mut location = b"https://".to_vec();
            location.extend_from_slice(exchange.request.host());
            if zone.tls.redirect_port != 443 {
                location.push(b':');
                location.extend_from_slice(itoa::Buffer::new().format(zone.tls.redirect_port).as_bytes());
            }
            location.extend_from_slice(exchange.request.target());
            course.note(Phase::Route, "redirect_to_https", 0, self.clock.now_us());
            return redirect(exchange, course, zone.tls.redirect_status, &location).await;
        }
        let request = &mut exchange.request;
        let destination =
            zone.route(request.method_token(), request.path(), &|name| request.fields.value(name));
        let (pool, strip) = match destination.action {
            Action::Pool { pool, strip_prefix } => (*pool, *strip_prefix),
            Action::Redirect { status, location } => {
                let location = location.filled(
                    course.scheme.as_str(),
                    request.authority(),
                    request.path(),
                    request.query(),
                );
                course.note(Phase::Route, "redirect", u32::from(*status), self.clock.now_us());
                return redirect(exchange, course, *status, &location).await;
            }
            Action::Answer { status, content_type, body } => {
                let mut response = Response { status: *status, ..Response::default() };
                response.fields.push(b"Content-Type", content_type.as_bytes());
                course.note(Phase::Route, "answer", u32::from(*status), self.clock.now_us());
                return reply(exchange, course, response, body).await;
            }
            Action::Nothing => return refuse(exchange, course, Refusal::NoRoute, "no route matched").await,
        };
        let Some(pool) = zone.pools.get(pool) else {
            return fail(exchange, course, exchange::Fault::ProxyConfigurationError, self.node.name()).await;
        };
        let pool = match pool.backup.and_then(|backup| zone.pools.get(backup)) {
            Some(backup) if !self.origins.is_well(pool, self.clock.now_ms()) => match () {
                () if self.origins.is_well(backup, self.clock.now_ms()) => backup,
                () => pool, // all are unwell: the pool itself is tried still
            },
            _ => pool,
        };
        if let Some(len) = strip {
            request.strip_path_prefix(len);
        }
        course.note(Phase::Route, "pool", 0, self.clock.now_us());

        // 5 origin
        course.phase = Phase::Origin;
        let names = Names { node: self.node.name(), loop_token: self.node.loop_token() };
        let cloudflare = zone.compat_cloudflare;
        let connection = Rc::clone(&exchange.connection);
        {
            let scratch = &mut *self.scratch.borrow_mut();
            forward::towards_origin(&mut exchange.request, course, &connection, &names, cloudflare, scratch);
        }
        let mut response = Response::default();
        let answered = match self.fetch(exchange, course, pool, &mut response).await {
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

        // 7 response
        course.phase = Phase::Response;
        forward::towards_visitor(&mut response, course, &connection, exchange.request.version);
        if let (Some(value), Some(sticky)) = (answered.sticky_to_set(), &answered.pool().sticky) {
            let cookie = forward::sticky_cookie(sticky, value, course.scheme);
            response.fields.push_known(b"Set-Cookie", &cookie, exchange::Known::SetCookie, false);
        }
        if zone.server_timing {
            let value = format!("origin;dur={:.3}", course.origin_us.unwrap_or(0) as f64 / 1000.0);
            response.fields.push(b"Server-Timing", value.as_bytes());
        }
        course.status = Some(response.status);
        course.ttfb_us = Some(now_us.saturating_sub(course.began_us));

        // 8 delivery; the zone is shared between snapshots, so that a long transfer pins no old one
        course.phase = Phase::Delivery;
        self.deliver(exchange, course, answered, &response).await;
        course.note(Phase::Delivery, "ended", 0, self.clock.now_us());
    }

    /// Phase 9: log, counters, trail.
    fn record(&self, exchange: &Exchange, course: Course) {
        let now_us = self.clock.now_us();
        let duration_us = now_us.saturating_sub(course.began_us);
        let unix_us = self.unix_offset_us.get() + course.began_us;
        let (bytes_in, bytes_out) = (exchange.bytes_in(), exchange.bytes_out());
        self.metrics.request(protocol_label(exchange.protocol()), course.status, duration_us);
        self.metrics.visitor_bytes(Direction::In, bytes_in);
        self.metrics.visitor_bytes(Direction::Out, bytes_out);
        if let Some(refusal) = course.refusal {
            self.metrics.refusal(refusal as usize);
        }
        if let Some(fault) = course.fault {
            self.metrics.fault(fault as usize);
        }
        if let Some(site) = &course.site {
            site.counters.request(self.number, course.status, bytes_in, bytes_out);
        }
        let request = &exchange.request;
        let target = request.sent_target();
        let path_end = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (path, query) = target.split_at(path_end);
        let settings = self.node.settings();
        let privacy =
            Privacy { redact_query: settings.redact_query, truncate_addresses: settings.truncate_addresses };
        let id = course.id.hex();
        let tls = exchange.connection.tls.as_ref();
        let origin = course.origin.as_ref().and_then(|pool| pool.origins.get(course.origin_index));
        self.batch.borrow_mut().record(
            &Record {
                time_us: unix_us,
                node: self.node.name(),
                request_id: std::str::from_utf8(&id).unwrap_or_default(),
                connection_id: exchange.connection.id,
                snapshot: course.snapshot,
                account: course.site.as_ref().and_then(|site| site.account.as_deref()),
                zone: course.site.as_ref().map(|site| site.zone.name.as_str()),
                visitor_ip: course.visitor.ip(),
                visitor_port: course.visitor.port(),
                country: None,
                protocol: request.version.as_str(),
                tls: tls.map(|tls| tls.version.as_str()),
                sni: tls.and_then(|tls| tls.sni.as_deref()),
                ja4: tls.and_then(|tls| tls.ja4.as_deref()),
                method: request.method_token(),
                host: request.host(),
                path,
                query: query.get(1..),
                status: course.status,
                bytes_in,
                bytes_out,
                duration_us,
                ttfb_us: course.ttfb_us,
                origin: origin.map(|origin| origin.url.as_str()),
                origin_us: course.origin_us,
                retries: course.retries,
                cache: None,
                cache_age: None,
                fault: course.fault.map(|fault| fault.as_str()),
                verdict: course.refusal.map_or("pass", |refusal| refusal.as_str()),
                rules: &[],
                score: None,
                user_agent: request.fields.known(exchange::Known::UserAgent),
                referer: request.fields.known(exchange::Known::Referer),
            },
            privacy,
        );
        let is_trouble = course.refusal.is_some() || course.fault.is_some();
        let outcome = course.outcome();
        self.node.trails(self.number).put(
            Kept {
                id: course.id,
                unix_us,
                duration_us,
                zone: course.site.map(|site| Arc::clone(&site.zone)),
                snapshot: course.snapshot,
                status: course.status.unwrap_or(0),
                outcome,
                reason: course.reason,
                trail: course.trail,
            },
            is_trouble,
        );
    }
}

fn times_of(http: &zone::zone::HttpSettings) -> VisitorTimes {
    let ms = |ms: u64| u32::try_from(ms).unwrap_or(u32::MAX);
    VisitorTimes { head_ms: ms(http.header_ms), keepalive_ms: ms(http.keepalive_ms) }
}

fn protocol_label(protocol: exchange::Protocol) -> ProtocolLabel {
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
        let watch = PanicWatch::new(self.node.events(), &mut course);
        self.answer(exchange, watch.course).await;
        drop(watch);
        self.record(exchange, course);
    }

    fn times(&self, server_name: Option<&str>) -> Option<VisitorTimes> {
        self.live().site_for_handshake(server_name).map(|site| times_of(&site.zone.http))
    }

    fn tls(&self, hello: &Hello) -> Option<TlsChoice> {
        let live = self.live();
        let site = live.site_for_handshake(hello.sni.as_deref())?;
        Some(TlsChoice { config: site.tls.load_full()?, zone: Some(site.zone.id.0) })
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
            WireEvent::Dropped => {}
        }
    }
}
