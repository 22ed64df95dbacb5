//! The literal automaton: finds every literal of every rule in one pass, in any case of ASCII letters.
//!
//! Aho and Corasick's, made whole (no failure links at run time) over 16-bit states and classes of bytes,
//! since a table that fits a core's cache costs 2 to 3 ns a byte where a general one of 12 to 30 MiB costs
//! more. States with literals come last, so that one comparison per byte tells whether there is something to
//! note.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::AUTOMATON_STATES_MAX;

/// What a literal says: one of the sets of a slot, as a bit.
pub(crate) type Output = (u16, u8);

/// Literals being gathered.
#[derive(Debug)]
pub(crate) struct Builder {
    /// Children by byte, for each state.
    states: Vec<BTreeMap<u8, u32>>,
    outputs: Vec<Vec<Output>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self { states: vec![BTreeMap::new()], outputs: vec![Vec::new()] }
    }
}

impl Builder {
    /// Says whether literals of so many bytes in all can still be added.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.states.len() + bytes < AUTOMATON_STATES_MAX
    }

    /// Adds a literal in lower case.
    pub(crate) fn add(&mut self, literal: &[u8], output: Output) {
        let mut state = 0_usize;
        for byte in literal {
            let fresh = u32::try_from(self.states.len()).unwrap_or(u32::MAX);
            let Some(children) = self.states.get_mut(state) else { return };
            let next = *children.entry(*byte).or_insert(fresh);
            if next == fresh {
                self.states.push(BTreeMap::new());
                self.outputs.push(Vec::new());
            }
            state = next as usize;
        }
        if let Some(outputs) = self.outputs.get_mut(state)
            && !outputs.contains(&output)
        {
            outputs.push(output);
        }
    }

    /// Builds the automaton.
    pub(crate) fn build(mut self) -> Automaton {
        let mut classes = [0_u8; 256];
        let mut count = 1_usize;
        for children in &self.states {
            for byte in children.keys() {
                if let Some(class) = classes.get_mut(usize::from(*byte))
                    && *class == 0
                {
                    // Literals are in lower case, so there are at most 230 classes.
                    *class = u8::try_from(count).unwrap_or(u8::MAX);
                    count += 1;
                }
            }
        }
        for upper in b'A'..=b'Z' {
            let lower = classes.get(usize::from(upper.to_ascii_lowercase())).copied().unwrap_or(0);
            if let Some(class) = classes.get_mut(usize::from(upper)) {
                *class = lower;
            }
        }
        let shift = count.next_power_of_two().trailing_zeros();
        let stride = 1_usize << shift;
        let total = self.states.len();
        let mut table = vec![0_u32; total * stride];
        for (state, children) in self.states.iter().enumerate() {
            for (byte, next) in children {
                let class = classes.get(usize::from(*byte)).map_or(0, |class| usize::from(*class));
                if let Some(cell) = table.get_mut(state * stride + class) {
                    *cell = *next;
                }
            }
        }
        let failures = self.complete(&mut table, stride);
        debug_assert_eq!(failures.len(), total);
        // States without outputs first.
        let mut order: Vec<usize> = (0..total).collect();
        order.sort_by_key(|state| self.outputs.get(*state).is_some_and(|outputs| !outputs.is_empty()));
        let mut renamed = vec![0_u16; total];
        for (new, old) in order.iter().enumerate() {
            if let Some(cell) = renamed.get_mut(*old) {
                *cell = u16::try_from(new).unwrap_or(u16::MAX);
            }
        }
        let mut cells = vec![0_u16; total * stride];
        let mut first = total;
        let (mut offsets, mut outputs) = (vec![0_u32], Vec::new());
        for (new, old) in order.iter().enumerate() {
            for class in 0..stride {
                let next = table.get(old * stride + class).copied().unwrap_or(0);
                let next = renamed.get(next as usize).copied().unwrap_or(0);
                if let Some(cell) = cells.get_mut(new * stride + class) {
                    *cell = next;
                }
            }
            let own = self.outputs.get(*old).map_or(&[][..], Vec::as_slice);
            if !own.is_empty() {
                first = first.min(new);
                let mut merged: BTreeMap<u16, u8> = BTreeMap::new();
                for (slot, bit) in own {
                    *merged.entry(*slot).or_default() |= bit;
                }
                outputs.extend(merged);
                offsets.push(u32::try_from(outputs.len()).unwrap_or(u32::MAX));
            }
        }
        Automaton { classes, shift, cells, first: u32::try_from(first).unwrap_or(u32::MAX), offsets, outputs }
    }

    /// Fills missing transitions and outputs from the longest suffix, state by state in order of depth.
    fn complete(&mut self, table: &mut [u32], stride: usize) -> Vec<u32> {
        let mut failures = vec![0_u32; self.states.len()];
        let mut queue: VecDeque<u32> = table.iter().take(stride).copied().filter(|next| *next != 0).collect();
        while let Some(state) = queue.pop_front() {
            let state = state as usize;
            let failure = failures.get(state).map_or(0, |failure| *failure as usize);
            let inherited = self.outputs.get(failure).cloned().unwrap_or_default();
            if let Some(outputs) = self.outputs.get_mut(state) {
                outputs.extend(inherited);
            }
            for class in 0..stride {
                let by_failure = table.get(failure * stride + class).copied().unwrap_or(0);
                let Some(cell) = table.get_mut(state * stride + class) else { continue };
                if *cell == 0 {
                    *cell = by_failure;
                } else {
                    if let Some(own) = failures.get_mut(*cell as usize) {
                        *own = by_failure;
                    }
                    queue.push_back(*cell);
                }
            }
        }
        failures
    }
}

/// The automaton, immutable.
#[derive(Debug)]
pub(crate) struct Automaton {
    classes: [u8; 256],
    /// Binary logarithm of the cells of one state.
    shift: u32,
    cells: Vec<u16>,
    /// The first state with outputs.
    first: u32,
    /// Where the outputs of each of these begin, and where the last ones end.
    offsets: Vec<u32>,
    outputs: Vec<Output>,
}

impl Automaton {
    /// How many states have outputs.
    pub(crate) fn states_with_outputs(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Bytes that the tables take.
    pub(crate) fn bytes(&self) -> usize {
        self.cells.len() * 2 + self.outputs.len() * 4 + self.offsets.len() * 4
    }

    /// Runs over a value and tells each state with outputs it comes through, by number from 0, as often as it
    /// does.
    #[inline]
    pub(crate) fn run(&self, value: &[u8], mut note: impl FnMut(u32)) {
        let mut state = 0_usize;
        for byte in value {
            let class = usize::from(self.classes[usize::from(*byte)]);
            // In bounds by construction; a wrong table would only lose candidates, so it must not be wrong.
            let Some(next) = self.cells.get(state << self.shift | class) else {
                debug_assert!(false, "a state beyond the table");
                return;
            };
            state = usize::from(*next);
            if state as u32 >= self.first {
                note(state as u32 - self.first);
            }
        }
    }

    /// The outputs of a state by its number among those that have some.
    pub(crate) fn outputs(&self, number: u32) -> &[Output] {
        let at = |place: usize| self.offsets.get(place).copied().unwrap_or(0) as usize;
        self.outputs.get(at(number as usize)..at(number as usize + 1)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_literals_in_any_case_and_within_each_other() {
        let mut builder = Builder::default();
        for (slot, literal) in ["he", "she", "hers", "s"].iter().enumerate() {
            builder.add(literal.as_bytes(), (slot as u16, 1));
        }
        let automaton = builder.build();
        let mut found = Vec::new();
        automaton
            .run(b"uSHers", |state| found.extend(automaton.outputs(state).iter().map(|(slot, _)| *slot)));
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 3]);
    }
}
