//! The compiled zone: a domain with all its settings, as run.
//!
//! A compiled zone cannot be invalid: [`mod@crate::compile`] builds it, and nothing else can. It holds no
//! state of traffic. Read next: [`crate::route`], [`crate::pool`], [`crate::tls`].

use std::collections::BTreeMap;
use std::sync::Arc;

use rules::RouteTo;

use crate::cache::Cache;
use crate::compression::Compression;
use crate::feed::Feed;
use crate::flood::Flood;
use crate::hosts::Hostname;
use crate::id::Id;
use crate::pool::Pool;
use crate::rate::RateLimits;
use crate::read::values::{Statuses, words};
use crate::route::{Action, Destination, Route};
use crate::rule::Rules;
use crate::tls::Tls;
use crate::waf::Waf;

/// A domain with all its settings, as run.
#[derive(Debug)]
pub struct Zone {
    /// The zone's id.
    pub id: Id,
    /// The account that owns it, if it was written.
    pub account: Option<Id>,
    /// The zone's name.
    pub name: String,
    /// The names it serves.
    pub hostnames: Vec<Hostname>,
    /// Routes, in order.
    pub routes: Vec<Route>,
    /// What happens to requests that no route takes: the first pool, or nothing without pools.
    pub fallback: Action,
    /// Pools, in the order written.
    pub pools: Vec<Arc<Pool>>,
    /// Its lists, by name, with how many entries each has.
    pub lists: BTreeMap<String, usize>,
    /// Those of its lists that have a horizon.
    pub feeds: Vec<Feed>,
    /// Its rules; none if no rule is switched on.
    pub rules: Option<Arc<Rules>>,
    /// Its web application firewall, if it has one.
    pub waf: Option<Arc<Waf>>,
    /// The same firewall where it only logs, if a rule asks for that.
    pub waf_log: Option<Arc<Waf>>,
    /// Its rate and concurrency limits; none if no limit is switched on.
    pub rate_limits: Option<Arc<RateLimits>>,
    /// Its cache; none if it is off.
    pub cache: Option<Arc<Cache>>,
    /// What it compresses on the way out; none if nothing.
    pub compression: Option<Arc<Compression>>,
    /// What is done about floods; none if it is not watched.
    pub flood: Option<Flood>,
    /// TLS towards visitors.
    pub tls: Tls,
    /// HTTP towards visitors.
    pub http: HttpSettings,
    /// What becomes of a request when a phase breaks.
    pub fail_modes: FailModes,
    /// The zone's own pages for refusals and faults.
    pub error_pages: Vec<ErrorPage>,
    /// Whether origins also get the headers of Cloudflare.
    pub compat_cloudflare: bool,
    /// Whether visitors are told by `Server-Timing` what each phase took.
    pub server_timing: bool,
    /// Whether its connections are passed through to its origins when no edge can start.
    pub pass_through: bool,
    /// SHA-256 over everything the zone was compiled from, keys included. A zone whose fingerprint did not
    /// change is shared between snapshots.
    pub fingerprint: [u8; 32],
}

words! {
    /// What becomes of a request when a phase breaks.
    pub enum FailMode {
        /// It goes on without what the phase would have done.
        Open = "open",
        /// It is answered with an error.
        Closed = "closed",
    }
}

/// What becomes of a request when one of these phases breaks. Phases that are not here have no choice:
/// `edge`'s `contain.rs` says which way each goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailModes {
    /// Open: as if there were no rules.
    pub shield: FailMode,
    /// Open: as if there were no firewall.
    pub waf: FailMode,
    /// Open: to the first pool, with the path as it came.
    pub route: FailMode,
    /// Open: past the cache, to the origin.
    pub cache: FailMode,
    /// Open: the answer as the origin gave it.
    pub response: FailMode,
}

/// HTTP settings towards visitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// Whether WebSocket and other upgrades are passed on.
    pub websocket: bool,
    /// The largest request body, if there is a limit.
    pub max_body_bytes: Option<u64>,
    /// How long a visitor may take to send a request's head, in milliseconds.
    pub header_ms: u64,
    /// How long a body may stand still, in milliseconds.
    pub body_idle_ms: u64,
    /// How long an idle connection stays open, in milliseconds.
    pub keepalive_ms: u64,
    /// How long an upgraded connection may be silent in both directions, in milliseconds.
    pub upgrade_idle_ms: u64,
    /// The slowest rate at which a visitor may send a body; 0 for any.
    pub min_rate_bytes_per_s: u64,
    /// The largest request head, in bytes.
    pub max_header_bytes: usize,
    /// The most header fields in a request.
    pub max_headers: usize,
}

/// A page of the zone's own for answers that Rempart makes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPage {
    /// For which statuses.
    pub statuses: Vec<Statuses>,
    /// The `Content-Type`.
    pub content_type: String,
    /// The page, with its placeholders.
    pub body: Arc<[u8]>,
}

impl ErrorPage {
    /// Fills the page as [`filled`] does.
    #[must_use]
    pub fn filled(&self, request_id: &str, status: u16, fault: &str) -> Vec<u8> {
        filled(&self.body, request_id, status, fault)
    }
}

/// Fills `{{request_id}}`, `{{status}}` and `{{fault}}` in. The values must need no escaping: they are
/// Rempart's own words, never a visitor's.
#[must_use]
pub fn filled(page: &[u8], request_id: &str, status: u16, fault: &str) -> Vec<u8> {
    let status = status.to_string();
    let known = [("request_id", request_id), ("status", status.as_str()), ("fault", fault)];
    let mut out = Vec::with_capacity(page.len() + 64);
    let mut rest = page;
    while let Some(start) = memchr::memmem::find(rest, b"{{") {
        let (before, after) = rest.split_at(start);
        out.extend_from_slice(before);
        let value = known.iter().find_map(|(name, value)| {
            let after = after.strip_prefix(b"{{")?.strip_prefix(name.as_bytes())?.strip_prefix(b"}}")?;
            Some((*value, after))
        });
        match value {
            Some((value, after)) => {
                out.extend_from_slice(value.as_bytes());
                rest = after;
            }
            None => {
                out.extend_from_slice(b"{{");
                rest = after.strip_prefix(b"{{").unwrap_or(b"");
            }
        }
    }
    out.extend_from_slice(rest);
    out
}

impl Zone {
    /// Finds where a request goes: the first route that matches, else the first pool.
    ///
    /// `path` is the path without the query. `header` answers the first value of a field, named in lower
    /// case.
    #[must_use]
    pub fn route<'h>(
        &self,
        method: &[u8],
        path: &[u8],
        header: &dyn Fn(&[u8]) -> Option<&'h [u8]>,
    ) -> Destination<'_> {
        let place = self.routes.iter().position(|route| route.matcher.matches(method, path, header));
        let route = place.and_then(|place| self.routes.get(place));
        let action = route.map_or(&self.fallback, |route| &route.action);
        Destination { route, place: place.map_or(0, |place| place + 1), action }
    }

    /// Finds the zone's own page for a status: the first that names it.
    #[must_use]
    pub fn error_page(&self, status: u16) -> Option<&ErrorPage> {
        let covers = |range: &Statuses| (range.first..=range.last).contains(&status);
        self.error_pages.iter().find(|page| page.statuses.iter().any(covers))
    }

    /// The pool that a rule's choice makes of the one at `base`, by index; `base` where the choice says
    /// nothing of it, or names what the zone does not have.
    #[must_use]
    pub fn routed_pool(&self, base: usize, to: &RouteTo) -> usize {
        let named = to.pool.as_deref().and_then(|name| self.pools.iter().position(|pool| pool.name == name));
        let base = named.unwrap_or(base);
        if to.origin_host.is_none() && to.port.is_none() && to.sni.is_none() {
            return base;
        }
        self.rules.as_ref().and_then(|rules| rules.changed_pool(to, base)).unwrap_or(base)
    }

    /// Says whether rules of its firewall ask where addresses are.
    #[must_use]
    pub fn asks_locations(&self) -> bool {
        let firewalls = [self.waf.as_ref(), self.waf_log.as_ref()].into_iter().flatten();
        let mut rules = firewalls.flat_map(|waf| [Some(&waf.rules), waf.shadow.as_ref()]).flatten();
        rules.any(|rules| rules.set.asks_locations())
    }

    /// Finds a pool by name.
    #[must_use]
    pub fn pool_named(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| pool.name == name)
    }
}
