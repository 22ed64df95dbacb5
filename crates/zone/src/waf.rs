//! A zone's web application firewall: its settings as written, and as run.
//!
//! The rules are crate `seclang`'s; which files they are made of is [`crate::compile()`]'s; when they are
//! asked is `edge`'s. Rule sets are shared: zones with the same files have the same one, and what is a zone's
//! own (levels, thresholds, exceptions) stands beside it. Read next: [`Waf`].

use std::fmt;
use std::sync::Arc;

use seclang::{Exclusion, RuleSet};

use crate::problem::Report;
use crate::read::values::{Count, FilePath, List, Size, Text, text_or_number, words};
use crate::read::{Entry, Setting, settings};

words! {
    /// What the web application firewall does.
    pub enum WafWord {
        /// Nothing.
        Off = "off",
        /// Inspects and writes what it would have done.
        Log = "log",
        /// Inspects and refuses.
        Block = "block",
    }

    /// What becomes of a request whose body is larger than what is inspected of it.
    pub enum UninspectedWord {
        /// It goes on, and the log says so.
        Pass = "pass",
        /// It is refused.
        Refuse = "refuse",
    }
}

settings! {
    /// `[waf]` of a zone.
    pub struct WafSpec in "[waf]" {
        /// What it does: `"log"` changes nothing and says what `"block"` would do.
        plain mode: WafWord = WafWord::Off,
        /// Rules in the language of ModSecurity, in this order: the folder of OWASP CRS as it comes (its
        /// `crs-setup.conf`, `plugins` and `rules`), other folders (their `*.conf`), and files.
        plain rules: List<FilePath> = List(Vec::new()),
        /// CRS's paranoia level, before what its setup file says; 1 there.
        optional paranoia: Count<1, 4>,
        /// The level up to which CRS's rules are asked and logged without counting; by default `paranoia`.
        optional detection_paranoia: Count<1, 4>,
        /// The score from which CRS refuses a request, before what its setup file says; 5 there.
        optional inbound_threshold: Count<1, 10_000>,
        /// The score from which CRS keeps an answer back, before what its setup file says; 4 there.
        optional outbound_threshold: Count<1, 10_000>,
        /// Bytes of a request's body that are read and inspected before the request goes on; what follows
        /// streams by. From 8 KiB to 1 MiB.
        plain body_window_bytes: Size = Size(128 * 1024),
        /// What becomes of a request whose body is larger than that.
        plain uninspected: UninspectedWord = UninspectedWord::Pass,
        /// Inspects the bodies of answers too, of text alone. Origins are then asked for answers without
        /// compression, and the first bytes of each wait for the verdict.
        plain inspect_responses: bool = false,
        /// Bytes of an answer's body that wait and are inspected. From 8 KiB to 1 MiB.
        plain response_window_bytes: Size = Size(128 * 1024),
        /// What is not to be found fault with.
        plain exception: List<WafExceptionSpec> = List(Vec::new()),
        /// A second rule set that is asked too and never refuses: the log says where it differs.
        optional shadow: WafShadowSpec,
    }
}

settings! {
    /// One `[[waf.exception]]`. It means the rules with one of the ids or tags, and all rules without
    /// either.
    pub struct WafExceptionSpec in "[[waf.exception]]" {
        /// On this path alone, percent-encoding compared as sent.
        optional path: Text,
        /// On this path and everything below it, as in routes.
        optional path_prefix: Text,
        /// Ids of rules, and ranges of them: `942100`, `"942000-942999"`.
        plain rules: List<RuleIds> = List(Vec::new()),
        /// Tags of rules, as `"attack-sqli"`.
        plain tags: List<Text> = List(Vec::new()),
        /// What these rules do not look at, as rules write it: `"ARGS:q"`, `"REQUEST_COOKIES:/^wp_/"`;
        /// without it they are not asked at all.
        plain variables: List<Text> = List(Vec::new()),
    }
}

settings! {
    /// `[waf.shadow]`.
    pub struct WafShadowSpec in "[waf.shadow]" {
        /// Its rules; without them the zone's, to try other levels.
        plain rules: List<FilePath> = List(Vec::new()),
        /// Its paranoia level.
        optional paranoia: Count<1, 4>,
        /// The score from which it would refuse a request.
        optional inbound_threshold: Count<1, 10_000>,
        /// The score from which it would keep an answer back.
        optional outbound_threshold: Count<1, 10_000>,
    }
}

/// The id of a rule, or a range of ids, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleIds {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl RuleIds {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let ids = Self { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? };
        (ids.first > 0 && ids.first <= ids.last).then_some(ids)
    }
}

impl Setting for RuleIds {
    fn kind() -> String {
        "the id of a rule (942100 or \"942000-942999\")".to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        text_or_number(entry, report, &Self::kind(), Self::parse)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for RuleIds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(out, "{}", self.first),
            false => write!(out, "\"{}-{}\"", self.first, self.last),
        }
    }
}

/// The firewall of a zone that has one.
#[derive(Debug)]
pub struct Waf {
    /// Whether it refuses; without it, it says what it would do.
    pub is_blocking: bool,
    /// What is asked.
    pub rules: WafRules,
    /// What is asked beside it and never refuses.
    pub shadow: Option<WafRules>,
    /// What is not to be found fault with, in order.
    pub exceptions: Vec<WafException>,
    /// Bytes of a request's body that are read and inspected before the request goes on.
    pub body_window_bytes: usize,
    /// Whether a request with a larger body is refused.
    pub refuses_uninspected: bool,
    /// Bytes of an answer's body that wait and are inspected, if any are.
    pub response_window_bytes: Option<usize>,
}

/// A rule set with a zone's own levels.
#[derive(Debug, Clone)]
pub struct WafRules {
    /// SHA-256 over the files it was made of.
    pub key: [u8; 32],
    /// The rules, shared by every zone with the same files.
    pub set: Arc<RuleSet>,
    /// Variables of `TX` that are set before the rules run.
    pub presets: Vec<(&'static str, u64)>,
}

/// Where an exception holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WafPath {
    /// Everywhere.
    Any,
    /// On this path alone.
    Exact(String),
    /// On this path and below.
    Prefix(String),
}

impl WafPath {
    /// Says whether a path (without its query) is meant.
    #[must_use]
    pub fn covers(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(own) => own.as_bytes() == path,
            Self::Prefix(own) => path
                .strip_prefix(own.as_bytes())
                .is_some_and(|rest| rest.is_empty() || own.ends_with('/') || rest.starts_with(b"/")),
        }
    }
}

/// What is not to be found fault with.
#[derive(Debug, Clone)]
pub struct WafException {
    /// Where.
    pub path: WafPath,
    /// What the rules leave out; none for everything, so that nothing is inspected there.
    pub effect: Option<Arc<Exclusion>>,
    /// The same for the shadow's rules.
    pub shadow: Option<Arc<Exclusion>>,
    /// As a person reads it: path, rules, variables.
    pub shown: String,
}

impl Waf {
    /// The exceptions that hold on a path.
    pub fn exceptions_at<'a>(&'a self, path: &'a [u8]) -> impl Iterator<Item = &'a WafException> {
        self.exceptions.iter().filter(move |one| one.path.covers(path))
    }

    /// What a person reads about it in one line: mode and number of rules.
    #[must_use]
    pub fn shown(&self) -> String {
        let mode = if self.is_blocking { WafWord::Block } else { WafWord::Log };
        let levels: String = self
            .rules
            .presets
            .iter()
            .map(|(name, value)| format!(", {} {value}", level_name(name)))
            .collect();
        format!("{}, {} rules{levels}", mode.word(), self.rules.set.rules_count())
    }
}

fn level_name(preset: &str) -> &str {
    preset.strip_prefix(PRESET).unwrap_or(preset)
}

/// What the names of presets begin with: no rule of CRS has such a name.
const PRESET: &str = "rempart_";

/// The preset of the score from which CRS refuses a request, which a rule may choose for one.
pub const INBOUND_THRESHOLD_PRESET: &str = "rempart_inbound_threshold";

/// The presets that a zone may have, with the variable of CRS that each stands for.
pub(crate) const PRESETS: [(&str, &str); 4] = [
    ("rempart_paranoia", "blocking_paranoia_level"),
    ("rempart_detection_paranoia", "detection_paranoia_level"),
    (INBOUND_THRESHOLD_PRESET, "inbound_anomaly_score_threshold"),
    ("rempart_outbound_threshold", "outbound_anomaly_score_threshold"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_covers_what_a_route_of_it_would() {
        let exact = WafPath::Exact("/a".to_owned());
        let prefix = WafPath::Prefix("/a".to_owned());
        let below = WafPath::Prefix("/a/".to_owned());
        for (path, expected) in [
            ("/a", [true, true, false]),
            ("/a/", [false, true, true]),
            ("/a/b", [false, true, true]),
            ("/ab", [false, false, false]),
            ("/", [false, false, false]),
        ] {
            assert_eq!([&exact, &prefix, &below].map(|one| one.covers(path.as_bytes())), expected, "{path}");
        }
        assert!(WafPath::Any.covers(b""));
    }

    #[test]
    fn ids_are_one_or_a_range_that_goes_up() {
        assert_eq!(RuleIds::parse("942100"), Some(RuleIds { first: 942_100, last: 942_100 }));
        assert_eq!(RuleIds::parse("1-2"), Some(RuleIds { first: 1, last: 2 }));
        for text in ["", "2-1", "0", "-1", "x", "1-", "1.5"] {
            assert_eq!(RuleIds::parse(text), None, "{text}");
        }
    }
}
