//! Plans: for each stored variable, which slots look at it through which transformations.
//!
//! All pipelines of all slots form one trie; a plan lists the part of it that a variable needs, parents
//! before children, each with the bytes that can make a difference in it and below. A value without such a
//! byte skips the whole subtree, since its transformations would leave it as it is. Selectors and exclusions
//! are sets of slots too. Made by [`super::build`], walked by [`super::scan`].

use hashbrown::HashMap;
use regex::bytes::Regex;

use super::bits::Bits;
use crate::model::{Rule, Selector, Target};
use crate::transform::{ByteSet, Transformation};
use crate::variable::{COUNT, VARIABLES, Variable};

/// A node of the trie of pipelines.
#[derive(Debug, Clone, Copy)]
struct Node {
    parent: u16,
    transformation: Transformation,
}

/// A node of a plan.
#[derive(Debug)]
pub(super) struct Entry {
    /// The entry of its parent in this plan; the first entry is its own.
    pub(super) parent: u16,
    pub(super) transformation: Transformation,
    pub(super) triggers: ByteSet,
    /// Slots that look at the result.
    pub(super) slots: Bits,
    /// Triggers and slots from here down.
    pub(super) triggers_below: ByteSet,
    pub(super) slots_below: Bits,
    /// The entry after the subtree.
    pub(super) next: u16,
}

/// What is done with the values of one variable.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    /// Slots that look at every value, and at none.
    all: Bits,
    none: Bits,
    /// Slots that look at values of a name, and that leave them out.
    named: HashMap<Box<[u8]>, (Bits, Bits), foldhash::fast::FixedState>,
    /// The same by patterns.
    patterns: Vec<(Regex, bool, Bits)>,
}

impl Plan {
    /// The slots that look at a value of this name.
    pub(super) fn slots_of(&self, name: &[u8], folded: &mut Vec<u8>, slots: &mut Bits) {
        slots.copy(&self.all);
        let mut left_out: Option<&Bits> = None;
        if !self.named.is_empty() {
            folded.clear();
            folded.extend(name.iter().map(u8::to_ascii_lowercase));
            if let Some((meant, excluded)) = self.named.get(folded.as_slice()) {
                slots.add(meant);
                left_out = Some(excluded);
            }
        }
        let mut by_pattern: Option<Bits> = None;
        for (regex, is_excluded, of) in &self.patterns {
            if regex.is_match(name) {
                if *is_excluded {
                    by_pattern.get_or_insert_with(|| self.none.clone()).add(of);
                } else {
                    slots.add(of);
                }
            }
        }
        slots.remove(&self.none);
        for out in left_out.into_iter().chain(by_pattern.as_ref()) {
            slots.remove(out);
        }
    }
}

/// Makes the plans of all variables for the rules of the slots.
pub(super) fn plans(slots: &[&Rule]) -> Vec<Plan> {
    let mut nodes: Vec<Node> = vec![Node { parent: 0, transformation: Transformation::None }];
    let mut ends: Vec<Vec<u16>> = Vec::with_capacity(slots.len());
    for rule in slots {
        let mut at = 0_u16;
        let mut path = vec![0_u16];
        for transformation in &rule.pipeline {
            let known = nodes
                .iter()
                .skip(1)
                .position(|node| node.parent == at && node.transformation == *transformation);
            at = match known {
                Some(place) => u16::try_from(place + 1).unwrap_or(u16::MAX),
                None => {
                    nodes.push(Node { parent: at, transformation: *transformation });
                    u16::try_from(nodes.len() - 1).unwrap_or(u16::MAX)
                }
            };
            path.push(at);
        }
        ends.push(if rule.multi_match { path } else { vec![at] });
    }
    let mut plans: Vec<Plan> = Vec::with_capacity(COUNT);
    for (variable, _, _) in VARIABLES {
        plans.push(plan(*variable, slots, &ends, &nodes));
    }
    plans
}

fn plan(variable: Variable, slots: &[&Rule], ends: &[Vec<u16>], nodes: &[Node]) -> Plan {
    let empty = Bits::none(slots.len());
    let mut plan = Plan { all: empty.clone(), none: empty.clone(), ..Plan::default() };
    let mut looks = empty.clone();
    for (slot, rule) in (0_u16..).zip(slots) {
        for target in rule.targets.iter().filter(|target| !target.is_count) {
            if is_over(target, variable) {
                add(&mut plan, target, slot, &empty);
                if !target.is_excluded {
                    looks.set(slot);
                }
            }
        }
    }
    if looks.is_empty() {
        return Plan::default();
    }
    // Which nodes this variable needs, with the slots at each.
    let mut at_node: Vec<Bits> = vec![empty.clone(); nodes.len()];
    let mut is_needed = vec![false; nodes.len()];
    for (slot, ends) in (0_u16..).zip(ends) {
        if !looks.has(slot) {
            continue;
        }
        for end in ends {
            if let Some(bits) = at_node.get_mut(usize::from(*end)) {
                bits.set(slot);
            }
            let mut node = *end;
            while let Some(needed) = is_needed.get_mut(usize::from(node)).filter(|needed| !**needed) {
                *needed = true;
                node = nodes.get(usize::from(node)).map_or(0, |node| node.parent);
            }
        }
    }
    if let Some(root) = is_needed.first_mut() {
        *root = true;
    }
    lay_out(&mut plan, nodes, &at_node, &is_needed);
    plan
}

/// Lists the needed nodes, parents first, subtrees together; a stack stands for recursion.
fn lay_out(plan: &mut Plan, nodes: &[Node], at_node: &[Bits], is_needed: &[bool]) {
    let mut stack: Vec<(u16, u16)> = vec![(0, 0)];
    while let Some((node, parent)) = stack.pop() {
        let Some(here) = nodes.get(usize::from(node)) else { continue };
        let place = u16::try_from(plan.entries.len()).unwrap_or(u16::MAX);
        let triggers = here.transformation.triggers();
        let slots = at_node.get(usize::from(node)).cloned().unwrap_or_default();
        plan.entries.push(Entry {
            parent,
            transformation: here.transformation,
            triggers,
            slots_below: slots.clone(),
            slots,
            triggers_below: triggers,
            next: place + 1,
        });
        for (child, _) in nodes.iter().enumerate().skip(1).filter(|(_, child)| child.parent == node) {
            if is_needed.get(child).copied().unwrap_or(false) {
                stack.push((u16::try_from(child).unwrap_or(u16::MAX), place));
            }
        }
    }
    // From the last to the first, each adds itself to its parent.
    for at in (1..plan.entries.len()).rev() {
        let Some((before, rest)) = plan.entries.split_at_mut_checked(at) else { continue };
        if let Some(entry) = rest.first()
            && let Some(parent) = before.get_mut(usize::from(entry.parent))
        {
            parent.triggers_below = parent.triggers_below.union(entry.triggers_below);
            parent.slots_below.add(&entry.slots_below);
            parent.next = parent.next.max(entry.next);
        }
    }
}

/// Says whether a target speaks of the values stored under a variable.
fn is_over(target: &Target, variable: Variable) -> bool {
    target.variable.is_stored() && target.variable.sources().contains(&variable)
        // An exclusion of `ARGS_GET` takes from `ARGS` too.
        || target.is_excluded && target.variable == variable
}

fn add(plan: &mut Plan, target: &Target, slot: u16, empty: &Bits) {
    match &target.selector {
        Selector::All if target.is_excluded => plan.none.set(slot),
        Selector::All => plan.all.set(slot),
        Selector::Name(name) => {
            let (meant, excluded) = plan
                .named
                .entry(name.to_ascii_lowercase().into())
                .or_insert_with(|| (empty.clone(), empty.clone()));
            if target.is_excluded { excluded } else { meant }.set(slot);
        }
        Selector::Pattern { regex, text: _ } => {
            let known = plan.patterns.iter_mut().find(|(other, is_excluded, _)| {
                *is_excluded == target.is_excluded && other.as_str() == regex.as_str()
            });
            match known {
                Some((_, _, bits)) => bits.set(slot),
                None => {
                    let mut bits = empty.clone();
                    bits.set(slot);
                    plan.patterns.push((regex.clone(), target.is_excluded, bits));
                }
            }
        }
        Selector::Tx(_) => {}
    }
}
