//! What rules may change while a transaction is evaluated: `TX`, matched variables, the engine's own
//! switches.
//!
//! Data with its rules of change; who changes it is [`super::Run`]. Read next: [`State`].

use std::sync::Arc;

use hashbrown::HashMap;

use crate::body::{Kind, XmlArguments};
use crate::check::number::integer;
use crate::exclusion::Exclusion;
use crate::limits::{TEXT_BYTES_MAX, TX_NAMES_MAX};
use crate::location::{Location, Locator};
use crate::model::{Allow, EngineMode, RuleBits};
use crate::outcome::{Interruption, Match};
use crate::ruleset::RuleSet;
use crate::template::TxId;
use crate::transaction::values::Span;
use crate::variable::Variable;
use crate::xml::Document;

use super::likeness::Likeness;
use super::lists::Lists;
use super::{allow_covers, is_secret_name};

/// The value of a variable that rules set: most are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    Number(i64),
    Bytes(Vec<u8>),
}

impl Text {
    /// Keeps a number as one when its digits come out the same.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
        let is_number = (1..=17).contains(&digits.len())
            && digits.iter().all(u8::is_ascii_digit)
            && (digits.first() != Some(&b'0') || bytes == b"0");
        if is_number {
            Self::Number(integer(bytes))
        } else {
            Self::Bytes(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes).to_vec())
        }
    }

    /// The number, as `atoi` reads one.
    pub(crate) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => integer(bytes),
        }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
        }
    }
}

/// A change with its macros expanded.
#[derive(Debug, Clone)]
pub(crate) enum TextChange {
    Set(Text),
    Add(i64),
    Remove,
}

impl TextChange {
    fn apply(self, slot: &mut Option<Text>) {
        match self {
            Self::Set(text) => *slot = Some(text),
            Self::Add(number) => {
                *slot = Some(Text::Number(slot.as_ref().map_or(0, Text::number).saturating_add(number)));
            }
            Self::Remove => *slot = None,
        }
    }
}

/// A value that a rule of the chain matched; its bytes stand in [`State::matched_bytes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matched {
    pub(crate) variable: Variable,
    /// `ARGS:user`.
    pub(crate) full_name: Span,
    /// `user`.
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// A rule said that it may not be shown.
    pub(crate) is_masked: bool,
}

/// What rules may change.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) mode: EngineMode,
    /// The most that a rule may switch the mode to: what the caller decided.
    pub(crate) mode_max: EngineMode,
    tx: Vec<Option<Text>>,
    tx_made: HashMap<Box<[u8]>, Text, foldhash::fast::FixedState>,
    pub(crate) env: Vec<(Box<[u8]>, Text)>,
    /// Matches of the chain under evaluation, the last one last.
    pub(crate) matched: Vec<Matched>,
    pub(crate) matched_bytes: Vec<u8>,
    pub(crate) removed: RuleBits,
    /// Rule and effect of each `ctl:ruleRemoveTarget…` that ran.
    pub(crate) removed_targets: Vec<(usize, usize)>,
    /// Variables that the caller excludes.
    pub(crate) excluded: Vec<Arc<Exclusion>>,
    pub(crate) body_kind: Option<Kind>,
    /// Whether elements of XML become arguments.
    pub(crate) xml_arguments: XmlArguments,
    pub(crate) force_request_body: bool,
    pub(crate) request_body_access: bool,
    pub(crate) response_body_access: bool,
    pub(crate) masks: Vec<(Variable, Box<[u8]>)>,
    pub(crate) matches: Vec<Match>,
    pub(crate) matches_left_out: usize,
    /// What the first refusing rule wants, whatever the mode.
    pub(crate) wanted: Option<Interruption>,
    /// What happens.
    pub(crate) interruption: Option<Interruption>,
    allowed: Option<(Allow, u8)>,
    pub(crate) highest_severity: u8,
    /// Seconds since 1970, in UTC.
    pub(crate) now_s: u64,
    /// Since the transaction's beginning, as the caller last said.
    pub(crate) elapsed_ms: u64,
    /// A transformation made a value longer than is looked at.
    pub(crate) is_value_cut: bool,
    /// Texts that macros made and that are no patterns.
    pub(crate) patterns_broken: u32,
    /// Values that `@fuzzyHash` judges; none but while its rule is due.
    pub(crate) likeness: Option<Box<Likeness>>,
    /// What `@rbl` asked; none where no rule did.
    pub(crate) lists: Option<Box<Lists>>,
    /// Who knows where addresses are; none where no rule asks, or nobody does.
    pub(crate) locator: Option<Arc<dyn Locator>>,
    /// Where the address is that was asked for last: `GEO`.
    pub(crate) location: Option<Box<Location>>,
    /// The body's document, where a rule judges it.
    pub(crate) document: Option<Box<Document>>,
}

impl State {
    pub(crate) fn new(set: &RuleSet, mode: Option<EngineMode>, now_s: u64) -> Self {
        Self {
            mode: mode.unwrap_or(set.settings.mode),
            mode_max: mode.unwrap_or(EngineMode::On),
            tx: vec![None; set.names.len()],
            tx_made: HashMap::default(),
            env: Vec::new(),
            matched: Vec::new(),
            matched_bytes: Vec::new(),
            removed: RuleBits::default(),
            removed_targets: Vec::new(),
            excluded: Vec::new(),
            body_kind: None,
            xml_arguments: set.settings.xml_arguments,
            force_request_body: false,
            request_body_access: set.settings.request_body_access,
            response_body_access: set.settings.response_body_access,
            masks: Vec::new(),
            matches: Vec::new(),
            matches_left_out: 0,
            wanted: None,
            interruption: None,
            allowed: None,
            highest_severity: 255,
            now_s,
            elapsed_ms: 0,
            is_value_cut: false,
            patterns_broken: 0,
            likeness: None,
            lists: None,
            locator: None,
            location: None,
            document: None,
        }
    }

    /// Says whether nothing more of a phase is evaluated.
    pub(crate) fn is_over(&self, phase: u8) -> bool {
        self.mode == EngineMode::Off
            || phase < 5 && self.interruption.is_some()
            || self.allowed.is_some_and(|(allow, given_in)| allow_covers(allow, given_in, phase))
    }

    pub(crate) fn allow(&mut self, allow: Allow, phase: u8) {
        self.allowed = Some((allow, phase));
    }

    pub(crate) fn tx(&self, id: TxId) -> Option<&Text> {
        self.tx.get(usize::from(id))?.as_ref()
    }

    pub(crate) fn tx_number(&self, id: TxId) -> Option<i64> {
        self.tx(id).map(Text::number)
    }

    pub(crate) fn set_tx(&mut self, id: TxId, change: TextChange) {
        if let Some(slot) = self.tx.get_mut(usize::from(id)) {
            change.apply(slot);
        }
    }

    /// Sets a variable whose name no rule says; beyond [`TX_NAMES_MAX`] of them nothing is set.
    pub(crate) fn set_tx_made(&mut self, name: &[u8], change: TextChange) {
        let mut slot = self.tx_made.remove(name);
        change.apply(&mut slot);
        if let Some(text) = slot
            && self.tx_made.len() < TX_NAMES_MAX
        {
            self.tx_made.insert(name.into(), text);
        }
    }

    /// Every `TX` variable that is set: those that rules name, then the others by name.
    pub(crate) fn all_tx<'a>(&'a self, set: &'a RuleSet) -> impl Iterator<Item = (&'a [u8], &'a Text)> {
        let known = (0..).zip(&self.tx).filter_map(|(id, text)| Some((set.names.name(id), text.as_ref()?)));
        let mut made: Vec<(&[u8], &Text)> = self.tx_made.iter().map(|(name, text)| (&**name, text)).collect();
        made.sort_unstable_by_key(|(name, _)| *name);
        known.chain(made)
    }

    /// Sets `TX:0` to `TX:9` to what a pattern captured; the ones it did not are removed.
    pub(crate) fn set_captures(&mut self, captures: &[Option<Vec<u8>>]) {
        for (number, slot) in self.tx.iter_mut().take(10).enumerate() {
            *slot = captures.get(number).and_then(Option::as_ref).map(|bytes| Text::Bytes(bytes.clone()));
        }
    }

    pub(crate) fn set_env(&mut self, name: &[u8], change: TextChange) {
        let found = self.env.iter().position(|(known, _)| **known == *name);
        let mut slot = found.map(|at| self.env.swap_remove(at).1);
        change.apply(&mut slot);
        if let Some(text) = slot
            && self.env.len() < TX_NAMES_MAX
        {
            self.env.push((name.into(), text));
        }
    }

    pub(crate) fn is_secret(&self, variable: Variable, name: &[u8]) -> bool {
        is_secret_name(variable, name)
            || self.masks.iter().any(|(masked, wanted)| {
                masked.sources().iter().any(|source| variable.sources().contains(source))
                    && wanted.eq_ignore_ascii_case(name)
            })
    }

    pub(crate) fn mask_matched(&mut self) {
        for matched in &mut self.matched {
            matched.is_masked = true;
        }
    }

    /// The last matched value of the chain: its full name and its bytes.
    pub(crate) fn last_matched(&self) -> Option<(&[u8], &[u8])> {
        let last = self.matched.last()?;
        Some((last.full_name.of(&self.matched_bytes), last.value.of(&self.matched_bytes)))
    }

    /// Says whether a matched value may not be shown.
    pub(crate) fn is_matched_secret(&self, matched: &Matched) -> bool {
        matched.is_masked || self.is_secret(matched.variable, matched.name.of(&self.matched_bytes))
    }
}
