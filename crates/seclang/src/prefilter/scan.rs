//! Scanning values: plans walked, results merged, literals found, operators asked.
//!
//! Everything it needs is lent by the thread ([`Scratch`]) and reused, so that a value without hits allocates
//! nothing. One value is one piece of work; between values the slice is asked.

use std::sync::{Arc, Weak};

use fuel::{Fuel, Spent};

use super::Filter;
use super::bits::Bits;
use super::memo::Memo;
use super::plan::Plan;
use crate::engine::matches;
use crate::engine::state::State;
use crate::limits::BUFFER_BYTES_MAX;
use crate::ruleset::RuleSet;
use crate::transaction::RuleTeller;
use crate::transaction::values::Values;
use crate::transform::{ByteSet, Transformation};

/// Steps per byte of the automaton.
const SCAN_STEPS: u64 = 3;
/// Steps per byte of a transformation.
const TRANSFORM_STEPS: u64 = 2;
/// Bytes of a buffer that a thread keeps for the next value.
const KEPT_BYTES: usize = 64 * 1024;
/// Steps of a value: its plan, its sets.
const ITEM_STEPS: u64 = 100;

/// What a thread lends.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The rule set that memory and marks belong to.
    owner: Weak<RuleSet>,
    memo: Memo,
    buffers: Vec<Buffer>,
    used: usize,
    spare: Vec<u8>,
    /// The buffer of each entry of the plan.
    buffer_of: Vec<u16>,
    folded: Vec<u8>,
    slots: Bits,
    group: Bits,
    candidates: Bits,
    /// Sets seen for each slot in the value under scan, and the slots with some.
    seen: Vec<u8>,
    touched: Vec<u16>,
    /// The scan that last came through each state with outputs.
    marks: Vec<u32>,
    scan: u32,
    found: Vec<u16>,
    /// A transformation made a value longer than is looked at.
    is_cut: bool,
}

/// A result of transformations.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    present: ByteSet,
    /// Slots that look at it.
    slots: Bits,
    /// The buffer whose scan serves: itself, or the one it is in lower case.
    scan_of: u16,
}

impl Scratch {
    /// Makes the scratch fit a rule set; another one's memory is forgotten.
    pub(crate) fn enter(&mut self, set: &Arc<RuleSet>) {
        if std::ptr::eq(self.owner.as_ptr(), Arc::as_ptr(set)) {
            return;
        }
        self.owner = Arc::downgrade(set);
        self.memo.clear();
        let slots = set.prefilter.slots.len();
        self.seen.clear();
        self.seen.resize(slots, 0);
        self.touched.clear();
        self.marks.clear();
        self.marks.resize(set.prefilter.automaton.states_with_outputs(), 0);
        self.scan = 0;
        for bits in [&mut self.slots, &mut self.group, &mut self.candidates] {
            *bits = Bits::none(slots);
        }
        self.buffers.clear();
    }

    /// Takes a buffer with these bytes; `present` tells which there are.
    fn push(&mut self, bytes: &[u8], present: ByteSet, scan_of: Option<u16>, slots: usize) -> u16 {
        if self.buffers.len() == self.used {
            let slots = Bits::none(slots);
            self.buffers.push(Buffer { bytes: Vec::new(), present: ByteSet::EMPTY, slots, scan_of: 0 });
        }
        let place = u16::try_from(self.used).unwrap_or(u16::MAX);
        self.used += 1;
        if let Some(buffer) = self.buffers.get_mut(usize::from(place)) {
            buffer.bytes.clear();
            buffer.bytes.extend_from_slice(bytes);
            buffer.present = present;
            buffer.slots.clear();
            buffer.scan_of = scan_of.unwrap_or(place);
        }
        place
    }
}

/// A scan: the tables, the values, and what the thread lends.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    pub(crate) set: &'a RuleSet,
    pub(crate) phase: u8,
    pub(crate) values: &'a Values,
    pub(crate) scratch: &'a mut Scratch,
    pub(crate) teller: &'a RuleTeller,
    pub(crate) fuel: &'a mut Fuel,
}

impl Scan<'_> {
    /// Scans what is new; tells whether all of it is scanned, or the slice is over.
    pub(crate) fn run(&mut self, state: &State, filter: &mut Filter) -> Result<bool, Spent> {
        let values = self.values;
        if filter.scanned.is_none() {
            filter.scanned = Some(self.set.prefilter.due(state));
            filter.hit = Bits::none(self.set.prefilter.slots.len());
        }
        loop {
            if self.fuel.is_slice_over() {
                return Ok(false);
            }
            let item = match values.changed().get(filter.changes) {
                // One that is still to come is scanned once.
                Some(changed) if (*changed as usize) < filter.items => *changed,
                Some(_) => {
                    filter.changes += 1;
                    continue;
                }
                None if filter.items < values.items().len() => {
                    u32::try_from(filter.items).unwrap_or(u32::MAX)
                }
                None => return Ok(true),
            };
            self.item(item, filter)?;
            if item as usize == filter.items {
                filter.items += 1;
            } else {
                filter.changes += 1;
            }
        }
    }

    fn item(&mut self, number: u32, filter: &mut Filter) -> Result<(), Spent> {
        let (tables, values) = (&self.set.prefilter, self.values);
        let Some(item) = values.items().get(number as usize) else { return Ok(()) };
        let Some(plan) = tables.plans.get(item.source as usize) else { return Ok(()) };
        if plan.entries.is_empty() {
            return Ok(());
        }
        self.fuel.spend(ITEM_STEPS)?;
        let value = item.value.of(values.buffer());
        let mut slots = std::mem::take(&mut self.scratch.slots);
        plan.slots_of(item.name.of(values.buffer()), &mut self.scratch.folded, &mut slots);
        if let Some(scanned) = &filter.scanned {
            slots.keep(scanned);
        }
        if let Some(due) = tables.from_phase.get(usize::from(self.phase.saturating_sub(1))) {
            slots.keep(due);
        }
        let is_remembered = Memo::is_for(item.source, value);
        let is_known =
            slots.is_empty() || is_remembered && self.scratch.memo.knows(item.source, &slots, value);
        let result = if is_known { Ok(()) } else { self.value(plan, &slots, value) };
        filter.has_cut |= std::mem::take(&mut self.scratch.is_cut);
        if result.is_ok() && !is_known {
            if self.scratch.found.is_empty() {
                if is_remembered {
                    self.scratch.memo.learn(item.source, &slots, value);
                }
            } else {
                for slot in self.scratch.found.drain(..) {
                    filter.hit.set(slot);
                    filter.hits.insert((slot, number));
                }
            }
        }
        self.scratch.slots = slots;
        result
    }

    /// Finds the slots that match a value; they are left in `found`.
    fn value(&mut self, plan: &Plan, slots: &Bits, value: &[u8]) -> Result<(), Spent> {
        self.scratch.found.clear();
        self.transform(plan, slots, value)?;
        for base in 0..self.scratch.used {
            let scratch = &mut *self.scratch;
            let is_base = scratch.buffers.get(base).is_some_and(|buffer| usize::from(buffer.scan_of) == base);
            if !is_base {
                continue;
            }
            let mut group = std::mem::take(&mut scratch.group);
            let own = |buffer: &&Buffer| usize::from(buffer.scan_of) == base;
            let mut buffers = scratch.buffers.iter().take(scratch.used).skip(base).filter(own);
            // The first one is the base itself. It is taken over whole, size and all, so that nothing depends
            // on how an earlier scan ended.
            if let Some(buffer) = buffers.next() {
                group.copy(&buffer.slots);
            }
            buffers.for_each(|buffer| group.add(&buffer.slots));
            let result = if group.is_empty() { Ok(()) } else { self.group(base, &group) };
            self.scratch.group = group;
            result?;
        }
        for buffer in self.scratch.buffers.iter_mut().filter(|buffer| buffer.bytes.capacity() > KEPT_BYTES) {
            buffer.bytes = Vec::new();
        }
        Ok(())
    }

    /// Applies the plan: afterwards each buffer knows the slots that look at it.
    fn transform(&mut self, plan: &Plan, slots: &Bits, value: &[u8]) -> Result<(), Spent> {
        let (scratch, fuel) = (&mut *self.scratch, &mut *self.fuel);
        let count = self.set.prefilter.slots.len();
        scratch.used = 0;
        scratch.buffer_of.clear();
        scratch.buffer_of.resize(plan.entries.len(), 0);
        fuel.spend(value.len() as u64)?;
        scratch.push(value, ByteSet::present(value), None, count);
        let mut at = 0;
        while let Some(entry) = plan.entries.get(at) {
            let parent = scratch.buffer_of.get(usize::from(entry.parent)).copied().unwrap_or(0);
            let Some(source) = scratch.buffers.get_mut(usize::from(parent)) else { break };
            if !entry.slots_below.meets(slots) {
                at = usize::from(entry.next);
                continue;
            }
            if at > 0 && !entry.triggers_below.meets(&source.present) {
                source.slots.add_shared(&entry.slots_below, slots);
                at = usize::from(entry.next);
                continue;
            }
            let mut place = parent;
            if at > 0 && entry.triggers.meets(&source.present) {
                fuel.spend(source.bytes.len() as u64 * TRANSFORM_STEPS + 10)?;
                self.teller.tell(0); // each is a piece of its own, and a large value has many
                let mut out = std::mem::take(&mut scratch.spare);
                let page = self.set.code_page.as_ref();
                let changed = entry.transformation.apply_by(page, &source.bytes, &mut out);
                let mut compared = 0_u64;
                let bytes = out.len() as u64;
                if changed {
                    scratch.is_cut |= out.len() > BUFFER_BYTES_MAX;
                    out.truncate(BUFFER_BYTES_MAX);
                    let scan_of =
                        (entry.transformation == Transformation::Lowercase).then_some(source.scan_of);
                    let known = scratch.buffers.iter().take(scratch.used).position(|buffer| {
                        compared += u64::from(buffer.bytes.len() == out.len());
                        buffer.bytes == out
                    });
                    place = match known {
                        Some(known) => u16::try_from(known).unwrap_or(u16::MAX),
                        None => {
                            let present = ByteSet::present(&out);
                            scratch.push(&out, present, scan_of, count)
                        }
                    };
                }
                scratch.spare = out;
                fuel.spend(compared.saturating_mul(bytes / 16))?;
            }
            if let Some(cell) = scratch.buffer_of.get_mut(at) {
                *cell = place;
            }
            if let Some(buffer) = scratch.buffers.get_mut(usize::from(place)) {
                buffer.slots.add_shared(&entry.slots, slots);
            }
            at += 1;
        }
        Ok(())
    }

    /// Scans one buffer for all that share its scan, and asks the operators of the candidates.
    fn group(&mut self, base: usize, group: &Bits) -> Result<(), Spent> {
        let set = self.set;
        let tables = &set.prefilter;
        let fuel = &mut *self.fuel;
        // Borrowed in parts, never taken out: whatever ends this early leaves all of it in its place, or the
        // thread's later scans would find no candidates.
        let Scratch { buffers, used, candidates, seen, touched, marks, scan, found, .. } = &mut *self.scratch;
        let Some(buffer) = buffers.get(base) else { return Ok(()) };
        fuel.spend(buffer.bytes.len() as u64 * SCAN_STEPS + 20)?;
        self.teller.tell(0);
        candidates.clear();
        *scan = scan.wrapping_add(1);
        if *scan == 0 {
            marks.fill(0);
            *scan = 1;
        }
        let scan = *scan;
        tables.automaton.run(&buffer.bytes, |number| {
            if let Some(mark) = marks.get_mut(number as usize).filter(|mark| **mark != scan) {
                *mark = scan;
                for (slot, bit) in tables.automaton.outputs(number) {
                    if group.has(*slot)
                        && let Some(sets) = seen.get_mut(usize::from(*slot))
                    {
                        if *sets == 0 {
                            touched.push(*slot);
                        }
                        *sets |= bit;
                    }
                }
            }
        });
        let length = u32::try_from(buffer.bytes.len()).unwrap_or(u32::MAX);
        let mut judge = |number: u16, mut sets: u8| {
            let Some(slot) = tables.slots.get(usize::from(number)) else { return };
            for (bit, bytes) in &slot.bytes {
                if bytes.meets(&buffer.present) {
                    sets |= bit;
                }
            }
            if sets & slot.needs == slot.needs && length >= slot.shortest {
                candidates.set(number);
            }
        };
        tables.unlisted.each_shared(group, |number| {
            judge(number, seen.get(usize::from(number)).copied().unwrap_or(0));
            true
        });
        for number in touched.iter().filter(|number| !tables.unlisted.has(**number)) {
            judge(*number, seen.get(usize::from(*number)).copied().unwrap_or(0));
        }
        for number in touched.drain(..) {
            if let Some(sets) = seen.get_mut(usize::from(number)) {
                *sets = 0;
            }
        }
        let mut result = Ok(());
        let alike = |buffer: &&Buffer| usize::from(buffer.scan_of) == base;
        for buffer in buffers.iter().take(*used).skip(base).filter(alike) {
            candidates.each_shared(&buffer.slots, |number| {
                let slot = tables.slots.get(usize::from(number));
                let Some(rule) = slot.and_then(|slot| set.rules.get(slot.rule as usize)) else { return true };
                if found.contains(&number) {
                    return true;
                }
                self.teller.tell(rule.id);
                match matches(&rule.operator, &buffer.bytes, fuel) {
                    Ok(holds) if holds != rule.is_negated => found.push(number),
                    Ok(_) => {}
                    Err(spent) => result = Err(spent),
                }
                result.is_ok()
            });
            if result.is_err() {
                break;
            }
        }
        result
    }
}
