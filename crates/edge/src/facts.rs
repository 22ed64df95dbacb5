//! Facts of a request as copies, and the decision they lead to: what a candidate is compared by before it
//! serves.
//!
//! While somebody listens, each serving thread copies the facts of the requests it decides on into a bounded
//! queue; when that is full the copy is dropped, never the request. A decision is a pure function of a
//! snapshot and facts: admission, rules and route, nothing of origins. Facts are not masked and never
//! stored: they leave the process only to the candidate. Called by the pipeline ([`Sampler::offer`]) and by
//! whoever publishes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};

use exchange::{
    BodySize, Connection, Request, RequestId, Scheme, Tally, TlsFacts, TlsVersion, Upgrade, Waiting,
};
use zone::Action;

use crate::admission::admit;
use crate::course::Course;
use crate::node::Node;
use crate::shield::{ask, steered, verdict_word};
use crate::view::Asked;
use crate::waf;

/// Bytes of a head that is copied; larger ones are rare and left out.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// What a decision is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The visitor's address, behind trusted proxies.
    pub visitor: SocketAddr,
    /// How the visitor reached the first trusted proxy, or us.
    pub scheme: Scheme,
    /// The address the visitor came to.
    pub local: SocketAddr,
    /// Whether the connection is TLS or QUIC; behind a proxy it is the proxy's.
    pub is_secure: bool,
    /// Over TLS: whether it was TLS 1.3.
    pub is_tls13: bool,
    /// Over TLS: whether a client certificate was proven, and for which zone.
    pub verified_for: Option<[u8; 16]>,
    /// The method token.
    pub method: Vec<u8>,
    /// Host and port.
    pub authority: Vec<u8>,
    /// Path and query.
    pub target: Vec<u8>,
    /// The body's length, if it is declared.
    pub body_bytes: Option<u64>,
    /// What an upgrade asks for; empty without one.
    pub protocol: Vec<u8>,
    /// Whether the upgrade is an extended CONNECT.
    pub is_extended: bool,
    /// Names and values of the fields, in order.
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Copies facts while somebody listens. Costs one relaxed load while nobody does.
#[derive(Default)]
pub(crate) struct Sampler {
    is_on: AtomicBool,
    to: Mutex<Option<SyncSender<Facts>>>,
}

impl Sampler {
    /// Copies from now on into a queue, or no more.
    pub(crate) fn listen(&self, to: Option<SyncSender<Facts>>) {
        let is_on = to.is_some();
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        self.is_on.store(is_on, Ordering::Release);
    }

    /// Offers one request as it came in, of a visitor who is identified. Never waits.
    pub(crate) fn offer(&self, request: &Request, connection: &Connection, course: &Course) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        if request.fields.bytes_len() + request.target().len() > HEAD_BYTES_MAX {
            return;
        }
        // Contended only by other threads that copy at the same moment: whoever comes second leaves it.
        let Ok(to) = self.to.try_lock() else { return };
        let Some(sender) = to.as_ref() else { return };
        if let Err(TrySendError::Disconnected(_)) = sender.try_send(Facts::of(request, connection, course)) {
            self.is_on.store(false, Ordering::Release);
        }
    }
}

impl Facts {
    fn of(request: &Request, connection: &Connection, course: &Course) -> Self {
        let tls = connection.tls.as_ref();
        Self {
            visitor: course.visitor,
            scheme: course.scheme,
            local: connection.local,
            is_secure: tls.is_some(),
            is_tls13: tls.is_some_and(|tls| tls.version == TlsVersion::V1_3),
            verified_for: tls.filter(|tls| tls.has_client_certificate).and_then(|tls| tls.verified_for),
            method: request.method_token().to_vec(),
            authority: request.authority().to_vec(),
            target: request.target().to_vec(),
            body_bytes: match request.body {
                BodySize::Length(length) => Some(length),
                _ => None,
            },
            protocol: request.protocol().to_vec(),
            is_extended: request.upgrade == Upgrade::Extended,
            fields: request.fields.iter().map(|field| (field.name.to_vec(), field.value.to_vec())).collect(),
        }
    }

    fn request(&self) -> Request {
        let mut request = Request::default();
        request.set_method(&self.method);
        request.set_authority(&self.authority);
        request.set_target(&self.target);
        request.scheme = if self.is_secure { Scheme::Https } else { Scheme::Http };
        if !self.protocol.is_empty() {
            request.set_protocol(&self.protocol);
            request.upgrade = if self.is_extended { Upgrade::Extended } else { Upgrade::Http1 };
        }
        request.body = self.body_bytes.map_or(BodySize::None, BodySize::Length);
        for (name, value) in &self.fields {
            request.fields.push(name, value);
        }
        request
    }

    fn connection(&self) -> Connection {
        let tls = self.is_secure.then(|| {
            Box::new(TlsFacts {
                version: if self.is_tls13 { TlsVersion::V1_3 } else { TlsVersion::V1_2 },
                sni: None,
                ja4: None,
                has_client_certificate: self.verified_for.is_some(),
                verified_for: self.verified_for,
            })
        });
        Connection {
            id: 0,
            visitor: self.visitor,
            local: self.local,
            tls,
            http3_port: None,
            held: Tally::default(),
            waiting: Waiting::default(),
        }
    }

    /// Host and target, for a person.
    #[must_use]
    pub fn name(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{} {}{}", text(&self.method), text(&self.authority), text(&self.target))
    }
}

impl Node {
    /// Copies the facts of requests into a queue from now on; none ends it. A queue whose receiver is gone
    /// ends by itself.
    pub fn copy_facts(&self, to: Option<SyncSender<Facts>>) {
        self.sampler().listen(to);
    }

    /// What the snapshot in force decides for a request: the refusal, or the zone with its pool, redirect or
    /// answer, in words that are equal exactly when the decisions are.
    #[must_use]
    pub fn decide(&self, facts: &Facts) -> String {
        let live = self.live();
        let mut request = facts.request();
        let connection = facts.connection();
        let site = match admit(&live, &mut request, &connection, self.loop_token().as_bytes()) {
            Ok(site) => site,
            Err(refused) => return format!("refused: {}", refused.refusal.as_str()),
        };
        let zone = &site.zone;
        let (mut skips_firewall, mut chosen) = (false, None);
        if zone.rules.is_some() || zone.rate_limits.is_some() {
            let id = RequestId::from_bytes([0; 16]);
            let mut asked = Asked::new(&connection, (facts.visitor.ip(), facts.scheme), id, &zone.name, 0);
            if let Some(geo) = &live.snapshot.geo {
                asked.whereabouts = geo.find(facts.visitor.ip());
            }
            match ask(zone, &request, &asked, &mut rules::Scratch::new(), &|_| (), 0) {
                Ok(ruled) => {
                    skips_firewall = ruled.skips_firewall();
                    if let Some(word) = verdict_word(&ruled) {
                        return format!("{}: {word}", zone.name);
                    }
                    if let Some(target) = &ruled.target {
                        request.rewrite_target(target);
                    }
                    chosen = ruled.chosen;
                }
                Err(_) => return format!("{}: too costly for its rules", zone.name),
            }
        }
        if let Some(waf) = zone.waf.as_ref().filter(|_| !skips_firewall) {
            // By the head alone, at one moment, so that equal facts have equal verdicts.
            let id = RequestId::from_bytes([0; 16]);
            let geo = live.snapshot.geo.clone();
            let inbound_threshold = chosen.as_ref().and_then(|chosen| chosen.config.inbound_threshold);
            let (visitor, local, now_s) = (facts.visitor, facts.local, 0);
            let known = waf::Facts { visitor, local, id, now_s, inbound_threshold, geo };
            if let Some(word) = waf::verdict_of(waf, &request, &known) {
                return format!("{}: {word}", zone.name);
            }
        }
        let redirects = chosen.as_ref().and_then(|chosen| chosen.config.redirect_https);
        if redirects.unwrap_or(zone.tls.redirect_to_https) && facts.scheme == Scheme::Http {
            return format!("{}: redirect to https, {}", zone.name, zone.tls.redirect_status);
        }
        let found = zone.route(request.method_token(), request.path(), &|name| request.fields.value(name));
        match found.action {
            Action::Pool { pool, strip_prefix } => {
                let pool = zone.pools.get(*pool).map(|pool| steered(zone, pool, chosen.as_deref()));
                let name = pool.map_or("", |pool| pool.name.as_str());
                let stripped = if strip_prefix.is_some() { ", prefix stripped" } else { "" };
                format!("{}: pool {name}{stripped}", zone.name)
            }
            Action::Redirect { status, location } => {
                let to = location.filled("", request.authority(), request.path(), request.query());
                format!("{}: redirect {status} to {}", zone.name, String::from_utf8_lossy(&to))
            }
            Action::Answer { status, body, .. } => {
                format!("{}: answer {status}, {} bytes", zone.name, body.len())
            }
            Action::Nothing => format!("{}: no route", zone.name),
        }
    }
}
