//! Exclusions that a caller makes for single transactions: rules, or variables of rules, that are left out.
//!
//! Made once for a [`RuleSet`] by ids, tags and variables, so that many callers with exclusions of their own
//! share one rule set; applied by [`crate::Transaction::exclude`]. What rules exclude themselves (`ctl`,
//! updates) is
//! [`crate::engine`]'s and [`crate::load`]'s. Read next: [`RuleSet::exclusion`].

use crate::model::{RuleBits, Target};
use crate::outcome::Match;
use crate::parse::targets;
use crate::problem::Wrong;
use crate::ruleset::RuleSet;
use crate::variable::Variable;

/// Rules, or variables of rules, of one rule set.
#[derive(Debug, Clone)]
pub struct Exclusion {
    /// The rules that are meant.
    pub(crate) rules: RuleBits,
    /// What of them is not looked at; with nothing here they are left out whole.
    pub(crate) targets: Vec<Target>,
    count: usize,
}

impl Exclusion {
    /// How many rules it means; 0 for one that does nothing.
    #[must_use]
    pub const fn rules_count(&self) -> usize {
        self.count
    }
}

impl Match {
    /// What an exclusion of the rule has to name so that it no longer finds what it found; `None` where that
    /// cannot be said by variables (a rule that counts, a name with odd characters) and the rule as a whole
    /// has to be excluded. Empty for a rule that looks at nothing of the request or the answer, such as the
    /// comparison of a score.
    #[must_use]
    pub fn excludable(&self) -> Option<Vec<&str>> {
        let is_plain = |name: &str| !name.contains(['|', ',', ';', '\'', '"', '\\', '…']);
        let mut names: Vec<&str> = Vec::new();
        for variable in &self.variables {
            let name = variable.name.as_str();
            let (base, is_count) = name.strip_prefix('&').map_or((name, false), |base| (base, true));
            let base = base.split(':').next().unwrap_or(base);
            if !Variable::from_name(base).is_some_and(Variable::is_stored) {
                continue; // what other rules made
            }
            if is_count || !is_plain(name) {
                return None;
            }
            let name = if name == "XML" { "XML:/*" } else { name };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Some(names)
    }
}

/// Why a text names no variable: what is wrong, and what to write instead where that can be guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoVariable {
    /// What is wrong, as one sentence without a full stop.
    pub what: String,
    /// What to write instead.
    pub remedy: Option<String>,
}

impl From<Wrong> for NoVariable {
    fn from(wrong: Wrong) -> Self {
        Self { what: wrong.what, remedy: wrong.remedy }
    }
}

impl RuleSet {
    /// Makes an exclusion: of the rules in these ranges of ids or with one of these tags (all rules where
    /// both are empty), the named variables, or the whole rules where no variable is named.
    ///
    /// A variable is written as in rules: `ARGS:q`, `REQUEST_COOKIES:/^wp_/`.
    ///
    /// # Errors
    ///
    /// The first text that names no variable.
    pub fn exclusion(
        &self,
        ids: &[(u64, u64)],
        tags: &[&str],
        variables: &[&str],
    ) -> Result<Exclusion, NoVariable> {
        let mut names = self.names.clone();
        let mut found = Vec::new();
        for text in variables {
            found.extend(targets::parse(text, &mut names)?);
        }
        let mut bits = RuleBits::with_room(self.rules.len());
        let mut count = 0;
        let is_all = ids.is_empty() && tags.is_empty();
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.id != 0) {
            let has_id = ids.iter().any(|(first, last)| (*first..=*last).contains(&rule.id));
            let has_tag = || {
                let mut own = rule.tags.iter().filter_map(|tag| tag.as_text());
                own.any(|tag| tags.iter().any(|wanted| wanted.as_bytes() == tag))
            };
            if is_all || has_id || has_tag() {
                bits.set(at);
                count += 1;
            }
        }
        Ok(Exclusion { rules: bits, targets: found, count })
    }
}
