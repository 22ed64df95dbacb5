//! A zone's rules, as run: the rulesets of each phase, compiled together.
//!
//! What a rule means is crate `rules`'; when a phase runs is `edge`'s. A rule is told from others by its id
//! in logs, and by its place in the zone, from 1, where a number is wanted. Made by `compile/rule.rs`.

use std::collections::HashMap;

use rules::{Phase, Rulesets};

/// The phases of a request that have a place on its way, in the order they run.
pub const REQUEST_PHASES: [Phase; 5] = [
    Phase::DynamicRedirect,
    Phase::RequestTransform,
    Phase::FirewallCustom,
    Phase::LateTransform,
    Phase::CacheSettings,
];

/// The phases of a response that have one, in the order they run.
pub const RESPONSE_PHASES: [Phase; 2] = [Phase::ResponseHeadersTransform, Phase::ResponseCompression];

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
    /// Places in the zone, from 1, by the id of each rule that is switched on.
    pub(crate) places: HashMap<String, u32>,
}

impl Rules {
    /// The place of a rule in the zone, from 1, those that are switched off counted; 0 for another id.
    #[must_use]
    pub fn place(&self, id: &str) -> u32 {
        self.places.get(id).copied().unwrap_or(0)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_none() && self.compression.is_none()
    }

    /// The ids of the rules that are switched on, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(String::as_str)
    }
}
