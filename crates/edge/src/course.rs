//! The course of one exchange: what was decided so far, for the trail, the log and the counters.

use std::net::SocketAddr;
use std::sync::Arc;

use exchange::{Fault, Phase, Refusal, RequestId, Scheme, Trail};
use overload::Worth;
use telemetry::access::Logged;
use zone::{Geo, Whereabouts};

use crate::cache::CacheCourse;
use crate::coding::CodingCourse;
use crate::limits::Limited;
use crate::live::Site;
use crate::shield::RuleState;
use crate::waf::{Beside, Standing};

/// What is known of one exchange while it is served.
pub(crate) struct Course {
    pub(crate) id: RequestId,
    /// The thread's clock when the head was complete.
    pub(crate) began_us: u64,
    /// Calendar time then, in microseconds since 1970.
    pub(crate) unix_us: u64,
    pub(crate) snapshot: u64,
    /// Names the request to the black box and at the door.
    pub(crate) fingerprint: u64,
    pub(crate) site: Option<Arc<Site>>,
    /// The visitor behind trusted proxies.
    pub(crate) visitor: SocketAddr,
    /// Where the visitor is.
    pub(crate) whereabouts: Whereabouts,
    /// The files that tell it, for a firewall that asks about addresses itself.
    pub(crate) geo: Option<Arc<Geo>>,
    /// How the visitor reached the first trusted proxy, or us.
    pub(crate) scheme: Scheme,
    /// Whether the peer is a proxy whose forwarding fields are believed.
    pub(crate) is_peer_trusted: bool,
    pub(crate) status: Option<u16>,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) fault: Option<Fault>,
    /// Which rule or condition, in words; for the trail alone.
    pub(crate) reason: &'static str,
    /// The origin that answered or was tried last.
    pub(crate) origin: Option<Arc<zone::Pool>>,
    pub(crate) origin_index: usize,
    pub(crate) origin_began_us: u64,
    pub(crate) origin_us: Option<u64>,
    pub(crate) ttfb_us: Option<u64>,
    pub(crate) retries: u32,
    pub(crate) is_visitor_gone: bool,
    /// When a visitor whom a flood's limit refuses, or whose request has ended a process, may come again, in
    /// seconds.
    pub(crate) retry_s: u16,
    /// There is something stale to give instead: it waits for no place at an origin.
    pub(crate) is_bridged: bool,
    /// It is to be sent away, but for what the cache can answer.
    pub(crate) shed: Option<Worth>,
    pub(crate) trail: Trail,
    /// What limits have to do with it until its end.
    pub(crate) limited: Option<Box<Limited>>,
    /// What rules have done so far.
    pub(crate) rules: RuleState,
    /// What rules add to the log.
    pub(crate) logged: Option<Box<[(String, Logged)]>>,
    /// Where it stands with the zone's firewall.
    pub(crate) waf: Standing,
    /// What goes beside the streams of an exchange that is inspected.
    pub(crate) beside: Option<Box<Beside>>,
    /// What the cache has done, and how rules have chosen it.
    pub(crate) cache: CacheCourse,
    /// What it has to do with content codings; none in a zone that gives answers none.
    pub(crate) coding: Option<Box<CodingCourse>>,
}

impl Course {
    /// The course of an exchange of which nothing is decided.
    pub(crate) fn begin(
        id: RequestId,
        began_us: u64,
        visitor: SocketAddr,
        scheme: Scheme,
        fingerprint: u64,
    ) -> Self {
        Self {
            id,
            began_us,
            unix_us: 0,
            snapshot: 0,
            fingerprint,
            site: None,
            visitor,
            whereabouts: Whereabouts::default(),
            geo: None,
            scheme,
            is_peer_trusted: false,
            status: None,
            refusal: None,
            fault: None,
            reason: "",
            origin: None,
            origin_index: 0,
            origin_began_us: 0,
            origin_us: None,
            ttfb_us: None,
            retries: 0,
            is_visitor_gone: false,
            retry_s: 0,
            is_bridged: false,
            shed: None,
            trail: Trail::default(),
            limited: None,
            rules: RuleState::default(),
            logged: None,
            waf: Standing::default(),
            beside: None,
            cache: CacheCourse::default(),
            coding: None,
        }
    }

    /// The course of a request of the node's own that this one causes.
    pub(crate) fn for_errand(&self) -> Self {
        let begun = Self::begin(self.id, self.began_us, self.visitor, self.scheme, self.fingerprint);
        let (mut rules, mut cache) = (RuleState::default(), CacheCourse::default());
        if let Some(chosen) = self.cache.chosen() {
            cache.choose(chosen);
        }
        rules.towards_origin.clone_from(&self.rules.towards_origin);
        rules.choices.clone_from(&self.rules.choices);
        Self {
            unix_us: self.unix_us,
            snapshot: self.snapshot,
            site: self.site.clone(),
            whereabouts: self.whereabouts,
            geo: self.geo.clone(),
            is_peer_trusted: self.is_peer_trusted,
            cache,
            rules,
            ..begun
        }
    }

    /// Adds a line to the trail.
    pub(crate) fn note(&mut self, phase: Phase, decision: &'static str, detail: u32, now_us: u64) {
        let at_us = u32::try_from(now_us.saturating_sub(self.began_us)).unwrap_or(u32::MAX);
        self.trail.add(phase, decision, detail, at_us);
    }

    /// The one word for how it ended.
    pub(crate) fn outcome(&self) -> &'static str {
        match (self.refusal, self.fault) {
            (Some(refusal), _) => refusal.as_str(),
            (None, Some(fault)) => fault.as_str(),
            (None, None) if self.is_visitor_gone => "visitor_left",
            (None, None) => "served",
        }
    }
}
