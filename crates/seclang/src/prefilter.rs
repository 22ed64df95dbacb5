//! The prefilter: which rules can match which values, found for all rules at once.
//!
//! Every rule that begins a chain and asks values for a pattern, a word, a text or an encoding has a *slot*.
//! When the first of them is due, each new value is walked through its [`plan`]: transformations that make a
//! difference are applied once for all rules, equal results are merged, each result runs once through the
//! literal [`automaton`], and only slots whose literals and bytes are there ask their operator. The outcome
//! is exact: for a slot and a value that were scanned, the operator holds or not. Rules then skip whatever
//! has no hit. Slots behind closed paranoia gates are not scanned; when a rule turns out to be due all the
//! same, it is evaluated plainly. Called by [`crate::engine`]. Read next: [`Prefilter::build`], then
//! [`scan`].

mod automaton;
mod bits;
mod build;
pub(crate) mod literals;
mod memo;
mod plan;
mod scan;

pub(crate) use scan::{Scan, Scratch};

use automaton::Automaton;
use bits::Bits;
use hashbrown::HashSet;
use plan::Plan;

use crate::engine::state::State;
use crate::model::Comparison;
use crate::template::TxId;
use crate::transaction::values::Values;
use crate::transform::ByteSet;

/// The tables of a rule set, immutable.
#[derive(Debug)]
pub(crate) struct Prefilter {
    /// The slot of each rule, plus one; 0 for none.
    slot_of: Vec<u16>,
    slots: Vec<Slot>,
    plans: Vec<Plan>,
    automaton: Automaton,
    /// Slots that the automaton alone does not make candidates: those with bytes among their sets, or with
    /// nothing.
    unlisted: Bits,
    /// Slots of each phase and the later ones.
    from_phase: [Bits; 5],
    /// Slots that are due only while all these comparisons are false.
    gated: Vec<(Vec<Condition>, Bits)>,
    /// The variables that gates compare.
    gate_variables: Vec<TxId>,
    wants_file_content: bool,
}

/// Rules that are evaluated plainly at the beginning rather than scanning for rules that no gate lets
/// through: a zone has a handful of its own before CRS sets its levels.
const PLAIN_MAX: u32 = 16;

/// A gate as its rule compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Condition {
    tx: TxId,
    comparison: Comparison,
    with: i64,
}

/// What a rule's operator requires of a value.
#[derive(Debug)]
struct Slot {
    rule: u32,
    /// The rule also looks at values that are made when asked.
    has_made: bool,
    /// The sets of which one member each must occur, as bits.
    needs: u8,
    /// Bytes of which one must occur, each for the set of its bit.
    bytes: Vec<(u8, ByteSet)>,
    /// Bytes of the shortest match.
    shortest: u32,
}

/// What was scanned of one transaction, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    is_plain: bool,
    /// Slots that every value so far was scanned for; `None` before the first scan.
    scanned: Option<Bits>,
    /// Slots with hits.
    hit: Bits,
    hits: HashSet<(u16, u32), foldhash::fast::FixedState>,
    /// Values scanned so far.
    items: usize,
    /// Values that changed and were scanned again.
    changes: usize,
    /// Rules that were evaluated plainly while gates were not known.
    waited: u32,
    /// A transformation made a value longer than is looked at.
    has_cut: bool,
}

impl Filter {
    pub(crate) fn new(is_plain: bool) -> Self {
        Self { is_plain, ..Self::default() }
    }

    /// Says whether there are values that were not scanned.
    #[inline]
    pub(crate) fn wants(&self, values: &Values) -> bool {
        !self.is_plain && (self.items < values.items().len() || self.changes < values.changed().len())
    }

    /// Says whether to scan now, or to evaluate the rule that is due plainly: in the first phase, until the
    /// variables are set that gates compare, as CRS sets its levels, nobody knows which rules will be due.
    #[inline]
    pub(crate) fn is_ready(&mut self, tables: &Prefilter, phase: u8, state: &State) -> bool {
        if self.scanned.is_some() || phase > 1 || self.waited >= PLAIN_MAX {
            return true;
        }
        let is_known = tables.gate_variables.iter().all(|tx| state.tx(*tx).is_some());
        self.waited += u32::from(!is_known);
        is_known
    }

    /// Says whether a value was looked at in part, since a transformation made it too long.
    pub(crate) const fn has_cut(&self) -> bool {
        self.has_cut
    }

    /// Says whether the slot's values were scanned.
    #[inline]
    pub(crate) fn has_scanned(&self, slot: u16) -> bool {
        self.scanned.as_ref().is_some_and(|scanned| scanned.has(slot))
    }

    /// Says whether the slot matches the value.
    #[inline]
    pub(crate) fn is_candidate(&self, slot: u16, item: u32) -> bool {
        self.hit.has(slot) && self.hits.contains(&(slot, item))
    }
}

impl Prefilter {
    /// The slot of a rule.
    #[inline]
    pub(crate) fn slot_of(&self, rule: u32) -> Option<u16> {
        self.slot_of.get(rule as usize).and_then(|slot| slot.checked_sub(1))
    }

    /// Says whether a rule cannot match any value of the transaction.
    #[inline]
    pub(crate) fn rules_out(&self, filter: &Filter, slot: u16) -> bool {
        filter.has_scanned(slot)
            && !filter.hit.has(slot)
            && self.slots.get(usize::from(slot)).is_some_and(|slot| !slot.has_made)
    }

    /// Says whether a rule looks at the content of uploaded files.
    pub(crate) const fn wants_file_content(&self) -> bool {
        self.wants_file_content
    }

    /// How many rules have a slot.
    pub(crate) fn slots_count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes that the literal automaton takes.
    pub(crate) fn automaton_bytes(&self) -> usize {
        self.automaton.bytes()
    }

    /// The slots that are due as the transaction stands: not behind a gate, not removed.
    fn due(&self, state: &State) -> Bits {
        let mut due = Bits::none(self.slots.len());
        for (slot, of) in (0_u16..).zip(&self.slots) {
            if !state.removed.has(of.rule as usize) {
                due.set(slot);
            }
        }
        for (conditions, slots) in &self.gated {
            let is_shut = conditions.iter().any(|condition| {
                state
                    .tx_number(condition.tx)
                    .is_some_and(|value| condition.comparison.holds(value, condition.with))
            });
            if is_shut {
                due.remove(slots);
            }
        }
        due
    }
}
