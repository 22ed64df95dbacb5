//! A zone's rules, as run: the rulesets of each phase, compiled together.
//!
//! What a rule means is crate `rules`'; when a phase runs is `edge`'s. A rule is told from others by its id
//! in logs, and by its place in the zone, from 1, where a number is wanted. Made by `compile/rule.rs`. Here
//! too: the tables of a rule that choose where a request goes, settings, pages and fields of the log, as
//! written; `compile/act.rs` reads them.

use std::collections::HashMap;

use rules::{Phase, RouteTo, Rulesets};

use crate::read::settings;
use crate::read::values::{Body, Count, FieldName, FilePath, List, Milliseconds, Name, Text, words};

/// The phases of a request that have a place on its way, in the order they run. `http_ratelimit` is not
/// among them: its rules are `[[rate_limit]]`.
pub const REQUEST_PHASES: [Phase; 12] = [
    Phase::RequestSanitize,
    Phase::DynamicRedirect,
    Phase::RequestTransform,
    Phase::ConfigSettings,
    Phase::RequestOrigin,
    Phase::Ddos,
    Phase::FirewallCustom,
    Phase::FirewallManaged,
    Phase::BotManagement,
    Phase::RequestRedirect,
    Phase::LateTransform,
    Phase::CacheSettings,
];

/// The phases of a response, in the order of the language.
pub const RESPONSE_PHASES: [Phase; 5] = [
    Phase::CustomErrors,
    Phase::ResponseHeadersTransform,
    Phase::ResponseCompression,
    Phase::ResponseFirewallManaged,
    Phase::LogCustomFields,
];

settings! {
    /// `execute` of a rule.
    pub struct RuleExecuteSpec in "execute" {
        /// The `ruleset` whose rules of this phase are asked here.
        required ruleset: Name,
    }
}

settings! {
    /// `route` of a rule. Of two rules that fit, the later one's `pool`, `origin_host`, `port` and `sni`
    /// count, all four together; `host` goes by itself.
    pub struct RuleRouteSpec in "route" {
        /// The pool the request goes to, whatever routes say. A redirect or an answer of a route stays.
        optional pool: Name,
        /// The `Host` that origins see.
        optional host: Body,
        /// The same, as an expression; where it comes to nothing, `Host` is as the pool says.
        optional host_expression: Body,
        /// The host to connect to, instead of those of the pool's origins.
        optional origin_host: Text,
        /// The port to connect to.
        optional port: Count<1, 65_535>,
        /// The name to ask for in the handshake with an origin, and to check.
        optional sni: Text,
    }
}

words! {
    /// What a rule makes of the firewall.
    pub enum RuleWafWord {
        /// Nothing is inspected.
        Off = "off",
        /// It says what it would do, and refuses nothing.
        Log = "log",
    }
}

settings! {
    /// `config` of a rule: settings of the zone that are others for the requests it fits. Of two rules the
    /// later counts, for each setting.
    pub struct RuleConfigSpec in "config" {
        /// What becomes of the zone's firewall.
        optional waf: RuleWafWord,
        /// Whether cleartext requests are sent to HTTPS.
        optional redirect_https: bool,
        /// Whether visitors are told by `Server-Timing` what the origin took.
        optional server_timing: bool,
        /// Whether the request has a line in the access log.
        optional access_log: bool,
        /// With `false`, no `Strict-Transport-Security`, whatever the zone's `hsts`.
        optional hsts: bool,
        /// Whether 103 tells of what a stale answer named, while the origin is asked; for zones with a cache.
        optional early_hints: bool,
        /// How long the origin may take from the end of the request to the first byte of its answer.
        optional first_byte_ms: Milliseconds<1>,
        /// The score from which CRS refuses the request, before the zone's `inbound_threshold`.
        optional inbound_threshold: Count<1, 10_000>,
    }
}

settings! {
    /// `page` of a rule: what a visitor gets in place of an error, the origin's or Rempart's own.
    pub struct RulePageSpec in "page" {
        /// Its status; without it that of the error.
        optional status: Count<400, 599>,
        /// The `Content-Type`.
        plain content_type: Text = Text("text/html; charset=utf-8".to_owned()),
        /// The content, at most 64 KiB. `{{request_id}}`, `{{status}}` and `{{fault}}` are replaced.
        optional body: Body,
        /// File with the content, instead.
        optional file: FilePath,
    }
}

settings! {
    /// `fields` of a rule: what a line of the access log says beside the rest, under `fields`.
    pub struct RuleFieldsSpec in "fields" {
        /// Fields of the request, as `header:NAME`.
        plain request_headers: List<FieldName> = List(Vec::new()),
        /// Fields of the answer, as `response_header:NAME`.
        plain response_headers: List<FieldName> = List(Vec::new()),
        /// Cookies of the request, as `cookie:NAME`.
        plain cookies: List<Text> = List(Vec::new()),
        /// Values of expressions, by names of your own.
        plain values: List<RuleFieldSpec> = List(Vec::new()),
    }
}

settings! {
    /// One of `values`.
    pub struct RuleFieldSpec in "the field" {
        /// Its name in the log.
        required name: Name,
        /// An expression of any type.
        required expression: Body,
    }
}

/// A phase with at least one rule that is switched on.
#[derive(Debug)]
pub struct PhaseRules {
    /// The rules.
    pub rulesets: Rulesets,
    /// The place of the first of them in the zone, from 1.
    pub first: u32,
}

/// The rules of a zone that has some.
#[derive(Debug, Default)]
pub struct Rules {
    /// Of requests, in the order they run.
    pub request: Vec<PhaseRules>,
    /// What changes the fields of responses.
    pub response: Option<PhaseRules>,
    /// What chooses how responses are compressed.
    pub compression: Option<PhaseRules>,
    /// What replaces errors.
    pub errors: Option<PhaseRules>,
    /// What keeps responses back.
    pub withholding: Option<PhaseRules>,
    /// What adds to the log.
    pub logging: Option<PhaseRules>,
    /// Pools as rules of origins change them.
    pub(crate) changed_pools: Vec<ChangedPool>,
    /// Places in the zone, from 1, by the id of each rule that is switched on.
    pub(crate) places: HashMap<String, u32>,
}

/// A pool whose origins a rule changes.
#[derive(Debug)]
pub(crate) struct ChangedPool {
    /// What the rule says.
    pub(crate) to: RouteTo,
    /// Index of the pool as written.
    pub(crate) base: usize,
    /// Index of the pool as changed.
    pub(crate) pool: usize,
}

impl Rules {
    /// The index of a pool as a rule changes its origins; none where no rule of these changes it so.
    pub(crate) fn changed_pool(&self, to: &RouteTo, base: usize) -> Option<usize> {
        let is_same = |known: &&ChangedPool| {
            known.base == base
                && known.to.origin_host == to.origin_host
                && known.to.port == to.port
                && known.to.sni == to.sni
        };
        self.changed_pools.iter().find(is_same).map(|known| known.pool)
    }

    /// The place of a rule in the zone, from 1, those that are switched off counted; 0 for another id.
    #[must_use]
    pub fn place(&self, id: &str) -> u32 {
        self.places.get(id).copied().unwrap_or(0)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        let answers = [&self.response, &self.compression, &self.errors, &self.withholding, &self.logging];
        self.request.is_empty() && answers.into_iter().all(Option::is_none)
    }

    /// The ids of the rules that are switched on, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }
}
