//! Building the tables of a rule set: slots, what each requires, gates.
//!
//! Called once, when rules are loaded. Read next: [`super::literals`].

use std::collections::BTreeMap;

use super::automaton::Builder;
use super::bits::Bits;
use super::literals::{Set, cost, minimised, required, trimmed};
use super::plan::plans;
use super::{Condition, Prefilter, Slot};
use crate::limits::SLOTS_MAX;
use crate::model::{Operator, Rule, TextTest};
use crate::pattern;
use crate::ruleset::Step;
use crate::template::TxId;
use crate::transform::ByteSet;
use crate::variable::Variable;

/// Sets required of one pattern: each more must be rare to pay for its literals.
const SETS_MAX: usize = 3;
/// Bytes of words and numbers as `detectSQLi` reads them.
const WORD: ByteSet = ByteSet::of(b"_").with_range(b'0', b'9').with_range(b'A', b'Z').with_range(b'a', b'z');

/// What a further set may cost, and hold, to be used.
const FURTHER_COST_MAX: f64 = 0.02;
const FURTHER_LITERALS_MAX: usize = 150;

impl Prefilter {
    pub(crate) fn build(rules: &[Rule], phases: &[Vec<Step>; 5]) -> Self {
        let mut slot_of = vec![0_u16; rules.len()];
        let mut slots: Vec<Slot> = Vec::new();
        let mut served: Vec<&Rule> = Vec::new();
        let mut literals = Builder::default();
        let mut listed = Vec::new();
        for step in phases.iter().flatten() {
            let Some(rule) = rules.get(step.rule as usize) else { continue };
            if !is_served(rule) || slots.len() >= SLOTS_MAX {
                continue;
            }
            let number = u16::try_from(slots.len()).unwrap_or(u16::MAX);
            if let Some(slot) = slot_of.get_mut(step.rule as usize) {
                *slot = number + 1;
            }
            let (slot, is_listed) = slot(rule, step.rule, number, &mut literals);
            slots.push(slot);
            served.push(rule);
            if is_listed {
                listed.push(number);
            }
        }
        let count = slots.len();
        let mut unlisted = Bits::none(count);
        for (number, _) in (0_u16..).zip(&slots) {
            unlisted.set(number);
        }
        for number in listed {
            let mut one = Bits::none(count);
            one.set(number);
            unlisted.remove(&one);
        }
        let from_phase = std::array::from_fn(|phase| {
            let mut bits = Bits::none(count);
            for (number, rule) in (0_u16..).zip(&served) {
                if usize::from(rule.phase) > phase {
                    bits.set(number);
                }
            }
            bits
        });
        let wants_file_content = rules.iter().any(|rule| {
            rule.targets
                .iter()
                .any(|target| target.variable == Variable::FilesTmpContent && !target.is_excluded)
        });
        let plans = plans(&served);
        let gated = gated(phases, &slot_of, count);
        let mut gate_variables: Vec<TxId> = gated
            .iter()
            .flat_map(|(conditions, _)| conditions.iter().map(|condition| condition.tx))
            .collect();
        gate_variables.sort_unstable();
        gate_variables.dedup();
        let automaton = literals.build();
        Self {
            slot_of,
            slots,
            plans,
            automaton,
            unlisted,
            from_phase,
            gated,
            gate_variables,
            wants_file_content,
        }
    }
}

/// Says whether a rule's matches can be found ahead: by its operator, on stored values.
fn is_served(rule: &Rule) -> bool {
    let is_known = match &rule.operator {
        Operator::Pattern { .. }
        | Operator::Words(_)
        | Operator::Bytes(_)
        | Operator::Utf8
        | Operator::UrlEncoding
        | Operator::Sqli
        | Operator::Xss
        | Operator::Checked { .. } => true,
        Operator::Text(test, text) => {
            *test != TextTest::Within && text.as_text().is_some_and(|text| !text.is_empty())
        }
        Operator::MadePattern { .. }
        | Operator::Number(..)
        | Operator::Addresses(_)
        | Operator::Fuzzy { .. }
        | Operator::Listed(_)
        | Operator::Located
        | Operator::Document(_)
        | Operator::Always
        | Operator::Never => false,
    };
    is_known
        && rule.targets.iter().any(|target| target.variable.is_stored() && !target.is_excluded)
        && !rule.targets.iter().any(|target| target.is_count)
}

/// Makes a slot; tells whether the automaton alone makes it a candidate.
fn slot(rule: &Rule, at: u32, number: u16, literals: &mut Builder) -> (Slot, bool) {
    let has_made = rule.targets.iter().any(|target| !target.variable.is_stored() && !target.is_excluded);
    let mut slot = Slot { rule: at, has_made, needs: 0, bytes: Vec::new(), shortest: 0 };
    if rule.is_negated {
        // Whatever a value holds or lacks, the operator is asked; that is done once for values that come
        // again.
        return (slot, false);
    }
    let sets: Vec<Set> = match &rule.operator {
        Operator::Pattern { text, .. } => match pattern::syntax(text) {
            Some(hir) => {
                let (sets, shortest) = required(&hir, SETS_MAX);
                slot.shortest = u32::try_from(shortest).unwrap_or(u32::MAX);
                sets
            }
            None => Vec::new(),
        },
        Operator::Words(words) => vec![words.words.iter().map(|word| word.to_ascii_lowercase()).collect()],
        Operator::Text(_, text) => {
            let text = text.as_text().unwrap_or_default();
            slot.shortest = u32::try_from(text.len()).unwrap_or(u32::MAX);
            vec![vec![text.to_ascii_lowercase()]]
        }
        Operator::Bytes(allowed) => {
            slot.needs = 1;
            slot.bytes.push((1, in_any_case(allowed.complement())));
            return (slot, false);
        }
        Operator::Utf8 => {
            slot.needs = 1;
            slot.bytes.push((1, ByteSet::EMPTY.with_range(0x80, 0xff)));
            return (slot, false);
        }
        Operator::UrlEncoding => {
            slot.needs = 1;
            slot.bytes.push((1, ByteSet::of(b"%")));
            return (slot, false);
        }
        Operator::Sqli => {
            // A single word or number, or both in one, is no attack in any context.
            slot.needs = 1;
            slot.bytes.push((1, WORD.complement()));
            return (slot, false);
        }
        Operator::Xss => {
            // Markup needs a tag or an attribute's value.
            slot.needs = 1;
            slot.bytes.push((1, ByteSet::of(b"<=")));
            return (slot, false);
        }
        _ => Vec::new(),
    };
    let mut is_listed = false;
    let mut bit = 1_u8;
    for (place, set) in sets.into_iter().enumerate() {
        if place > 0 && (cost(&set) > FURTHER_COST_MAX || set.len() > FURTHER_LITERALS_MAX) {
            continue;
        }
        let set = minimised(set.iter().map(|literal| trimmed(literal).to_vec()).collect());
        let long: Vec<&Vec<u8>> = set.iter().filter(|literal| literal.len() > 1).collect();
        if !literals.has_room(long.iter().map(|literal| literal.len()).sum()) {
            continue;
        }
        let mut bytes = ByteSet::EMPTY;
        for literal in &set {
            if let [byte] = literal.as_slice() {
                bytes = bytes.with(*byte);
            }
        }
        let bytes = in_any_case(bytes);
        for literal in &long {
            literals.add(literal, (number, bit));
        }
        if bytes.is_empty() {
            is_listed = true;
        } else {
            slot.bytes.push((bit, bytes));
        }
        slot.needs |= bit;
        bit <<= 1;
    }
    (slot, is_listed)
}

/// Adds to each letter the other one of its pair, since a scan serves the value in lower case too.
fn in_any_case(bytes: ByteSet) -> ByteSet {
    (b'a'..=b'z').fold(bytes, |all, lower| {
        let upper = lower.to_ascii_uppercase();
        if bytes.has(lower) || bytes.has(upper) { all.with(lower).with(upper) } else { all }
    })
}

/// Gathers the gates before each slot of a phase that jump over it.
fn gated(phases: &[Vec<Step>; 5], slot_of: &[u16], count: usize) -> Vec<(Vec<Condition>, Bits)> {
    let mut by_gates: BTreeMap<Vec<Condition>, Bits> = BTreeMap::new();
    for steps in phases {
        let mut open: Vec<(Condition, u32)> = Vec::new();
        for (place, step) in (0_u32..).zip(steps) {
            open.retain(|(_, to)| *to > place);
            if let Some(gate) = step.gate {
                open.push((Condition { tx: gate.tx, comparison: gate.comparison, with: gate.with }, gate.to));
            }
            let Some(slot) = slot_of.get(step.rule as usize).and_then(|slot| slot.checked_sub(1)) else {
                continue;
            };
            if !open.is_empty() {
                let mut conditions: Vec<Condition> = open.iter().map(|(condition, _)| *condition).collect();
                conditions.sort();
                conditions.dedup();
                by_gates.entry(conditions).or_insert_with(|| Bits::none(count)).set(slot);
            }
        }
    }
    by_gates.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::injection;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_word_alone_is_no_sql(
            value in "[0-9]{0,3}(union|select|or|sleep|x|0x[0-9a-f]|e|_)?[A-Za-z0-9_]{0,12}",
        ) {
            prop_assert!(value.bytes().all(|byte| WORD.has(byte)));
            prop_assert!(injection::sqli::detect(value.as_bytes()).is_none(), "{}", value);
        }

        #[test]
        fn what_has_neither_tag_nor_attribute_is_no_markup(
            value in "(on[a-z]{0,6}|javascript:|[\"'` />!-]){0,8}[^<=]{0,20}",
        ) {
            prop_assert!(!injection::xss::detect(value.as_bytes()), "{}", value);
        }
    }
}
