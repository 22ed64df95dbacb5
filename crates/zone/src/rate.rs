//! How often, and how many at once: `[[rate_limit]]` and `[[concurrency_limit]]`, as written and as run.
//!
//! All limits of a zone are compiled together, into one program of the rule language. What they counted so
//! far is no part of a zone: it outlives it, under the limits' ids, in crate `shield`. Made by
//! `compile/rate.rs`; read next: [`RateLimits`].

use std::sync::Arc;

use rules::{ActionKind, ConditionId, Program, Refusing, ValueId};

use crate::id::Id;
use crate::limits::{LIMIT_AT_ONCE_MAX, LIMIT_REQUESTS_MAX, LIMIT_TIME_S_MAX};
use crate::read::values::{Body, Count, List, Name, OneOrMany, Statuses, Text};
use crate::read::{Placed, settings};

fn by_address() -> List<Text> {
    List(vec![Placed { value: Text("address".to_owned()), place: crate::problem::Place::default() }])
}

settings! {
    /// `[[rate_limit]]` of a zone: so many requests in so long a time, asked in the order written, after the
    /// rules of `http_request_firewall_custom`.
    pub struct RateLimitSpec in "[[rate_limit]]" {
        /// A name. The id is derived from it, and visitors see it in `RateLimit`.
        required name: Name,
        /// The limit's id, as in the access log; without it derived from zone and name. What was counted
        /// lives on under it from publish to publish, unless the period changes.
        optional id: Id,
        /// What it is for.
        optional description: Body,
        /// Whether it holds at all.
        plain enabled: bool = true,
        /// Which requests it is about, in the rule language; without it all.
        optional expression: Body,
        /// What requests are told apart by: `address`, `asn`, `country`, `host`, `ja4`, `path`,
        /// `argument:NAME`, `cookie:NAME`, `header:NAME`, or an expression of any type; at most 8. With none
        /// all count together.
        plain characteristics: List<Text> = by_address(),
        /// How many bits of an IPv4 address make one visitor.
        plain ipv4_prefix: Count<1, 32> = Count(32),
        /// How many bits of an IPv6 address make one visitor: a household has a network of 64 bits or more.
        plain ipv6_prefix: Count<1, 128> = Count(64),
        /// How many are let through in a period.
        required requests: Count<1, LIMIT_REQUESTS_MAX>,
        /// The period in seconds. It slides.
        required period_s: Count<1, LIMIT_TIME_S_MAX>,
        /// Which requests count, if not those of `expression`; where it asks about the response, a request
        /// counts once its answer is there. It may be about other requests than `expression`.
        optional counting_expression: Body,
        /// Only requests whose answer has one of these statuses count.
        optional count_statuses: OneOrMany<Statuses>,
        /// For how many seconds a visitor that went over stays refused; with 0 until its rate has fallen.
        plain mitigation_s: Count<0, LIMIT_TIME_S_MAX> = Count(0),
        /// What is done past the limit: `block`, or `log` alone; `challenge` and its kin refuse for now.
        plain action: Text = Text("block".to_owned()),
        /// The answer of `block`; without it the zone's page for 429.
        optional block: LimitBlockSpec,
        /// Whether answers tell by `RateLimit` and `RateLimit-Policy` how much is left; refusals always do.
        plain headers: bool = true,
    }
}

settings! {
    /// `[[concurrency_limit]]` of a zone: so many requests under way at once, asked after the rate limits. A
    /// WebSocket is under way for as long as it is open.
    pub struct ConcurrencyLimitSpec in "[[concurrency_limit]]" {
        /// A name, from which the id is derived.
        required name: Name,
        /// The limit's id, as in the access log; without it derived from zone and name.
        optional id: Id,
        /// What it is for.
        optional description: Body,
        /// Whether it holds at all.
        plain enabled: bool = true,
        /// Which requests it is about, in the rule language; without it all.
        optional expression: Body,
        /// What requests are told apart by, as for a rate limit. With none it is a limit of the whole zone.
        plain characteristics: List<Text> = by_address(),
        /// How many bits of an IPv4 address make one visitor.
        plain ipv4_prefix: Count<1, 32> = Count(32),
        /// How many bits of an IPv6 address make one visitor.
        plain ipv6_prefix: Count<1, 128> = Count(64),
        /// How many may be under way at once: at most 65,535 where they are told apart.
        required requests: Count<1, LIMIT_AT_ONCE_MAX>,
        /// What is done past the limit: `block`, or `log` alone; `challenge` and its kin refuse for now.
        plain action: Text = Text("block".to_owned()),
        /// The answer of `block`; without it the zone's page for 429, or for 503 where the whole zone is
        /// full.
        optional block: LimitBlockSpec,
    }
}

settings! {
    /// `block` of a limit.
    pub struct LimitBlockSpec in "block" {
        /// The status.
        plain status: Count<400, 599> = Count(429),
        /// The `Content-Type`.
        plain content_type: Text = Text("text/plain; charset=utf-8".to_owned()),
        /// The body, at most 64 KiB.
        required body: Body,
    }
}

/// The limits of a zone that has some, compiled together.
#[derive(Debug)]
pub struct RateLimits {
    /// Their conditions and characteristics.
    pub program: Program,
    /// How often, in the order written.
    pub rates: Vec<RateLimit>,
    /// How many at once, in the order written.
    pub gates: Vec<ConcurrencyLimit>,
}

/// A rate limit that is switched on.
#[derive(Debug)]
pub struct RateLimit {
    /// Its stable id, under which its counters live.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its place among the zone's rate limits, from 1.
    pub place: u32,
    /// Which requests it is about; without one all.
    pub about: Option<ConditionId>,
    /// Which requests count.
    pub counting: Counting,
    /// What they are told apart by.
    pub by: Vec<ValueId>,
    /// How many are let through in a period.
    pub requests: u32,
    /// The period in milliseconds.
    pub period_ms: u64,
    /// For how long a visitor that went over stays refused, in milliseconds; 0 until its rate has fallen.
    pub mitigation_ms: u64,
    /// What is done past it.
    pub over: Over,
    /// Whether answers tell how much is left.
    pub has_headers: bool,
}

/// Which requests a rate limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counting {
    /// Those it is about.
    Same,
    /// These, whichever it is about.
    Request(ConditionId),
    /// Those whose answer meets this, whichever it is about.
    Response(ConditionId),
    /// Those it is about whose answer meets this.
    SameByResponse(ConditionId),
}

/// A concurrency limit that is switched on.
#[derive(Debug)]
pub struct ConcurrencyLimit {
    /// Its stable id, under which its places are counted.
    pub id: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its place among the zone's concurrency limits, from 1.
    pub place: u32,
    /// Which requests it is about; without one all.
    pub about: Option<ConditionId>,
    /// What they are told apart by; of nothing, the whole zone shares one limit.
    pub by: Vec<ValueId>,
    /// How many may be under way at once.
    pub requests: u32,
    /// What is done past it.
    pub over: Over,
}

/// What is done with a request past a limit.
#[derive(Clone, Debug)]
pub struct Over {
    /// `block`, `log`, or one of the challenges.
    pub action: ActionKind,
    /// The answer of `block`, if it is not the zone's page.
    pub answer: Option<Arc<Refusing>>,
}

impl Over {
    /// Whether the request goes on all the same.
    #[must_use]
    pub fn is_log(&self) -> bool {
        self.action == ActionKind::Log
    }
}

impl RateLimits {
    /// Each limit in words that change with what it allows, for telling two snapshots apart.
    pub(crate) fn words(&self) -> impl Iterator<Item = (bool, String)> {
        let rates = self.rates.iter().map(|one| {
            let over = one.over.action.row().name;
            (true, format!("{} ({} in {} s, {over})", one.name, one.requests, one.period_ms / 1000))
        });
        let gates = self.gates.iter().map(|one| {
            (false, format!("{} ({} at once, {})", one.name, one.requests, one.over.action.row().name))
        });
        rates.chain(gates)
    }
}
