//! A rule set: rules compiled once and shared by every transaction of every zone that uses them.
//!
//! Immutable; kept in an `Arc`. Made by [`crate::load::Loader`], evaluated by
//! [`crate::transaction::Transaction`].

use crate::code_page::CodePage;
use crate::model::{Comparison, Operator, Rule};
use crate::prefilter::Prefilter;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::template::{TxId, TxNames};
use crate::variable::Variable;
use crate::xml::Path;

/// Rules compiled, with what the engine needs beside them.
#[derive(Debug)]
pub struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    pub(crate) phases: [Vec<Step>; 5],
    pub(crate) settings: Settings,
    pub(crate) names: TxNames,
    pub(crate) prefilter: Prefilter,
    /// XPaths that rules look at, each with the name its values have.
    pub(crate) paths: Vec<(Box<[u8]>, Path)>,
    /// A rule judges XML documents as a whole, so they are kept.
    pub(crate) keeps_xml: bool,
    /// The last phase with a rule that judges a document by a grammar; 0 for none.
    pub(crate) documents_until: u8,
    /// What `urlDecodeUni` asks: `SecUnicodeMapFile`.
    pub(crate) code_page: Option<CodePage>,
    notes: Vec<Problem>,
    asks_locations: bool,
    asks_lists: bool,
}

/// A rule at its place in a phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Its place among all rules.
    pub(crate) rule: u32,
    /// What it does, when that is only to skip by a number.
    pub(crate) gate: Option<Gate>,
}

/// A rule that only skips when a `TX` variable compares with a number: CRS's paranoia levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gate {
    pub(crate) tx: TxId,
    pub(crate) comparison: Comparison,
    pub(crate) with: i64,
    pub(crate) to: u32,
}

impl RuleSet {
    pub(crate) fn new(
        rules: Vec<Rule>,
        phases: [Vec<Step>; 5],
        settings: Settings,
        names: TxNames,
        notes: Vec<Problem>,
    ) -> Self {
        let prefilter = Prefilter::build(&rules, &phases);
        let asks_locations = rules.iter().any(|rule| matches!(rule.operator, Operator::Located));
        let asks_lists = rules.iter().any(|rule| matches!(rule.operator, Operator::Listed(_)));
        let judging = rules.iter().filter(|rule| matches!(rule.operator, Operator::Document(_)));
        let documents_until = judging.map(|rule| rule.phase).max().unwrap_or(0);
        let keeps_xml = documents_until > 0;
        Self {
            rules,
            phases,
            settings,
            names,
            prefilter,
            paths: Vec::new(),
            keeps_xml,
            documents_until,
            code_page: None,
            notes,
            asks_locations,
            asks_lists,
        }
    }

    /// Says whether a rule asks where addresses are (`@geoLookup`).
    #[must_use]
    pub const fn asks_locations(&self) -> bool {
        self.asks_locations
    }

    /// Says whether a rule asks lists in the DNS (`@rbl`), so that evaluation may wait for answers.
    #[must_use]
    pub const fn asks_lists(&self) -> bool {
        self.asks_lists
    }

    /// The same with a code page.
    pub(crate) fn with_code_page(mut self, page: Option<CodePage>) -> Self {
        self.code_page = page;
        self
    }

    /// The same with the paths that rules of it name.
    pub(crate) fn with_paths(mut self, mut paths: Vec<(Box<[u8]>, Path)>) -> Self {
        let targets = || self.rules.iter().flat_map(|rule| &rule.targets);
        paths.retain(|(name, _)| {
            targets().any(|target| {
                !target.is_excluded && target.variable == Variable::XmlPath && target.selects(name)
            })
        });
        self.keeps_xml |= !paths.is_empty();
        self.paths = paths;
        self
    }

    /// What the rules say about the engine.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many rules there are, chained ones counted.
    #[must_use]
    pub const fn rules_count(&self) -> usize {
        self.rules.len()
    }

    /// The ids of the rules, in order of loading.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.rules.iter().map(|rule| rule.id).filter(|id| *id != 0)
    }

    /// How many rules are found ahead by the prefilter, and the bytes of its table of literals.
    #[must_use]
    pub fn prefiltered(&self) -> (usize, usize) {
        (self.prefilter.slots_count(), self.prefilter.automaton_bytes())
    }

    /// What was remarkable while loading but kept nothing from working: updates that meet no rule.
    #[must_use]
    pub fn notes(&self) -> &[Problem] {
        &self.notes
    }
}
