//! Content models as automata: which child may follow which (Glushkov's construction), with counters.
//!
//! A state is a name in the model; from it lead links to the names that may come next. A part that may come
//! so many times is not copied: its links carry a counter. A model must be deterministic, as XML 1.0 §3.2.1
//! and the rule of unique attribution in XML Schema (part 1 §3.8.6) have it, so that one link at most fits
//! the next child; one that is not is refused when it is loaded. Built bottom up, so nothing recurses. Used
//! by [`super::dtd`] and [`super::schema`]. Read next: [`Builder`], then [`Model::step`].

use hashbrown::HashMap;

use super::limits::{MODEL_LINKS_MAX, MODEL_POSITIONS_MAX};

/// Symbols from here on are wildcards, which several names fit.
pub(crate) const WILD: u32 = 1 << 31;

/// Why a model is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelProblem {
    /// Too many names, or too many that may follow each other.
    TooLarge,
    /// A child of this name could be two parts of the model.
    Ambiguous(u32),
    /// How often a part has come cannot be told from the children: `(a{1,2}){2}`.
    Uncountable(u32),
}

/// A link to the next state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Link {
    symbol: u32,
    /// Counters that are left, the inner ones of the state's.
    exits: u16,
    to: u32,
    /// The next outer counter counts one more.
    counts: bool,
    /// Counters that begin anew, the inner ones of the next state's.
    enters: u16,
}

/// A state: the place of its links among the sets, its counters from the inside out.
#[derive(Debug, Default)]
struct State {
    set: u32,
    may_end: bool,
    chain: Box<[u16]>,
}

/// How often a part may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    min: u32,
    max: u32,
}

/// A deterministic content model.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The first is that before all children.
    states: Vec<State>,
    /// Links of states, each sorted by symbol; equal ones are there once.
    sets: Vec<Box<[Link]>>,
    counters: Vec<Bounds>,
}

/// How far the children of one element are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Walk {
    at: u32,
    counts: Vec<u32>,
}

impl Walk {
    /// The part of the model that the last child was, in the order they were built; none before the first.
    pub(crate) fn part(&self) -> Option<usize> {
        (self.at as usize).checked_sub(1)
    }
}

impl Model {
    /// Goes on with a child of this name; `is_wild` says whether a wildcard takes it. Tells whether it may
    /// come.
    pub(crate) fn step(&self, walk: &mut Walk, symbol: u32, is_wild: impl Fn(u32) -> bool) -> bool {
        let Some(state) = self.states.get(walk.at as usize) else { return false };
        let Some(set) = self.sets.get(state.set as usize) else { return false };
        let from = set.partition_point(|link| link.symbol < symbol);
        let named = set.get(from..).unwrap_or_default().iter().take_while(|link| link.symbol == symbol);
        let wild_from = set.partition_point(|link| link.symbol < WILD);
        let wild = set.get(wild_from..).unwrap_or_default().iter().filter(|link| is_wild(link.symbol));
        let mut fitting = named.chain(wild);
        let Some(link) = fitting.find(|link| self.may_take(walk, state, link)) else { return false };
        self.take(walk, state, link);
        true
    }

    fn bounds(&self, counter: u16) -> Bounds {
        self.counters.get(usize::from(counter)).copied().unwrap_or(Bounds { min: 0, max: u32::MAX })
    }

    fn may_take(&self, walk: &Walk, state: &State, link: &Link) -> bool {
        let count = |counter: &u16| walk.counts.get(usize::from(*counter)).copied().unwrap_or(0);
        let mut left = state.chain.iter().take(usize::from(link.exits));
        let next = state.chain.get(usize::from(link.exits)).filter(|_| link.counts);
        left.all(|counter| count(counter) >= self.bounds(*counter).min)
            && next.is_none_or(|counter| count(counter) < self.bounds(*counter).max)
    }

    fn take(&self, walk: &mut Walk, state: &State, link: &Link) {
        if walk.counts.len() < self.counters.len() {
            walk.counts.resize(self.counters.len(), 0);
        }
        if link.counts
            && let Some(counter) = state.chain.get(usize::from(link.exits))
            && let Some(count) = walk.counts.get_mut(usize::from(*counter))
        {
            *count = count.saturating_add(1);
        }
        let chain = self.states.get(link.to as usize).map(|next| &next.chain[..]).unwrap_or_default();
        for counter in chain.iter().take(usize::from(link.enters)) {
            if let Some(count) = walk.counts.get_mut(usize::from(*counter)) {
                *count = 1;
            }
        }
        walk.at = link.to;
    }

    /// Says whether the content may end here.
    pub(crate) fn may_end(&self, walk: &Walk) -> bool {
        let count = |counter: &u16| walk.counts.get(usize::from(*counter)).copied().unwrap_or(0);
        self.states.get(walk.at as usize).is_some_and(|state| {
            state.may_end && state.chain.iter().all(|counter| count(counter) >= self.bounds(*counter).min)
        })
    }

    /// Links held, for the ceiling over a grammar.
    pub(crate) fn links_count(&self) -> usize {
        self.sets.iter().map(|set| set.len()).sum()
    }
}

/// A part of a model: whether it may be empty, the states it may begin and end with, and where its states
/// begin.
#[derive(Debug, Default)]
struct Fragment {
    is_nullable: bool,
    first: Vec<u32>,
    last: Vec<u32>,
    begin: usize,
}

/// A link before the names that lead over it are known.
#[derive(Debug, Clone, Copy)]
struct Edge {
    to: u32,
    exits: u16,
    counts: bool,
    enters: u16,
}

/// A name in a model.
#[derive(Debug)]
struct Position {
    symbols: Box<[u32]>,
    chain: Vec<u16>,
    follow: Vec<Edge>,
}

/// Makes a model from its parts, the inner ones first.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    positions: Vec<Position>,
    counters: Vec<Bounds>,
    stack: Vec<Fragment>,
    links: usize,
}

impl Builder {
    /// Puts a part on the stack that is one child of any of these names.
    pub(crate) fn name(&mut self, symbols: &[u32]) -> Result<(), ModelProblem> {
        self.grow(symbols.len())?;
        if self.positions.len() >= MODEL_POSITIONS_MAX {
            return Err(ModelProblem::TooLarge);
        }
        let begin = self.positions.len();
        self.positions.push(Position { symbols: symbols.into(), chain: Vec::new(), follow: Vec::new() });
        // The state of a name is its place plus one: the first is that before all.
        let state = u32::try_from(begin + 1).unwrap_or(u32::MAX);
        self.stack.push(Fragment { is_nullable: false, first: vec![state], last: vec![state], begin });
        Ok(())
    }

    /// Puts a part on the stack that is nothing.
    pub(crate) fn nothing(&mut self) {
        let begin = self.positions.len();
        self.stack.push(Fragment { is_nullable: true, begin, ..Fragment::default() });
    }

    /// Makes one part of the last two: one behind the other.
    pub(crate) fn sequence(&mut self) -> Result<(), ModelProblem> {
        let (Some(after), Some(mut before)) = (self.stack.pop(), self.stack.pop()) else { return Ok(()) };
        self.link(&before.last, &after.first, false)?;
        if before.is_nullable {
            self.grow(after.first.len())?;
            before.first.extend_from_slice(&after.first);
        }
        let mut last = after.last;
        if after.is_nullable {
            self.grow(before.last.len())?;
            last.extend_from_slice(&before.last);
        }
        let is_nullable = before.is_nullable && after.is_nullable;
        self.stack.push(Fragment { is_nullable, first: before.first, last, begin: before.begin });
        Ok(())
    }

    /// Makes one part of the last two: one or the other.
    pub(crate) fn choice(&mut self) -> Result<(), ModelProblem> {
        let (Some(other), Some(mut one)) = (self.stack.pop(), self.stack.pop()) else { return Ok(()) };
        one.is_nullable |= other.is_nullable;
        self.grow(other.first.len() + other.last.len())?;
        one.first.extend_from_slice(&other.first);
        one.last.extend_from_slice(&other.last);
        self.stack.push(one);
        Ok(())
    }

    /// Lets the last part be left out.
    pub(crate) fn optional(&mut self) {
        if let Some(part) = self.stack.last_mut() {
            part.is_nullable = true;
        }
    }

    /// Lets the last part come again and again.
    pub(crate) fn repeated(&mut self) -> Result<(), ModelProblem> {
        let Some(part) = self.stack.pop() else { return Ok(()) };
        self.link(&part.last, &part.first, false)?;
        self.stack.push(part);
        Ok(())
    }

    /// Lets the last part come at least and at most so often; `max` none for any number.
    pub(crate) fn occurs(&mut self, min: u32, max: Option<u32>) -> Result<(), ModelProblem> {
        let is_counted = min > 1 || max.is_some_and(|max| max > 1);
        if is_counted && let Some(part) = self.stack.pop() {
            // A part that may be nothing may be nothing so many times.
            let least = if part.is_nullable { 0 } else { min };
            let counter = u16::try_from(self.counters.len()).map_err(|_| ModelProblem::TooLarge)?;
            self.link(&part.last, &part.first, true)?;
            self.counters.push(Bounds { min: least, max: max.unwrap_or(u32::MAX) });
            let own = self.positions.get_mut(part.begin..).unwrap_or_default();
            let count = own.len();
            for position in own {
                position.chain.push(counter);
            }
            self.stack.push(part);
            self.grow(count)?;
        } else if max.is_none() {
            self.repeated()?;
        }
        if min == 0 {
            self.optional();
        }
        Ok(())
    }

    /// Links ends to beginnings; the counters that both have already are left, and begun.
    fn link(&mut self, from: &[u32], to: &[u32], counts: bool) -> Result<(), ModelProblem> {
        self.grow(from.len().saturating_mul(to.len()))?;
        let chain = |positions: &[Position], state: u32| {
            let position = (state as usize).checked_sub(1).and_then(|at| positions.get(at));
            position.map_or(0, |position| u16::try_from(position.chain.len()).unwrap_or(u16::MAX))
        };
        for state in from {
            let exits = chain(&self.positions, *state);
            let edges: Vec<Edge> = to
                .iter()
                .map(|next| Edge { to: *next, exits, counts, enters: chain(&self.positions, *next) })
                .collect();
            let position = (*state as usize).checked_sub(1).and_then(|at| self.positions.get_mut(at));
            if let Some(position) = position {
                position.follow.extend(edges);
            }
        }
        Ok(())
    }

    fn grow(&mut self, links: usize) -> Result<(), ModelProblem> {
        self.links = self.links.saturating_add(links);
        if self.links > MODEL_LINKS_MAX { Err(ModelProblem::TooLarge) } else { Ok(()) }
    }

    /// Makes the model of the one part that is left; `overlap` says whether a child can fit two symbols of
    /// which one is a wildcard.
    ///
    /// # Errors
    ///
    /// A name that could be two parts of the model.
    pub(crate) fn finish(mut self, overlap: impl Fn(u32, u32) -> bool) -> Result<Model, ModelProblem> {
        let whole = self.stack.pop().unwrap_or(Fragment { is_nullable: true, ..Fragment::default() });
        let mut known: HashMap<Box<[Link]>, u32, foldhash::fast::FixedState> = HashMap::default();
        let mut model = Model::default();
        let mut may_end = vec![false; self.positions.len() + 1];
        for state in &whole.last {
            if let Some(may_end) = may_end.get_mut(*state as usize) {
                *may_end = true;
            }
        }
        if let Some(start) = may_end.first_mut() {
            *start = whole.is_nullable;
        }
        let start: Vec<Edge> = whole
            .first
            .iter()
            .filter_map(|to| {
                let enters = self.positions.get((*to as usize).checked_sub(1)?)?.chain.len();
                Some(Edge { to: *to, exits: 0, counts: false, enters: u16::try_from(enters).ok()? })
            })
            .collect();
        let none: &[u16] = &[];
        let own = self.positions.iter().map(|position| (&position.follow, &position.chain[..]));
        let mut links_count = 0_usize;
        for ((follow, chain), may_end) in std::iter::once((&start, none)).chain(own).zip(may_end) {
            let mut links: Vec<Link> = Vec::with_capacity(follow.len());
            for edge in follow {
                let Some(position) = (edge.to as usize).checked_sub(1).and_then(|at| self.positions.get(at))
                else {
                    continue;
                };
                let Edge { to, exits, counts, enters } = *edge;
                links.extend(position.symbols.iter().map(|symbol| Link {
                    symbol: *symbol,
                    to,
                    exits,
                    counts,
                    enters,
                }));
            }
            links.sort_unstable();
            links.dedup();
            links_count += links.len();
            if links_count > MODEL_LINKS_MAX {
                return Err(ModelProblem::TooLarge);
            }
            check(&links, chain, &self.counters, &overlap)?;
            let fresh = u32::try_from(model.sets.len()).unwrap_or(u32::MAX);
            let links: Box<[Link]> = links.into();
            let set = *known.entry(links.clone()).or_insert(fresh);
            if set == fresh {
                model.sets.push(links);
            }
            model.states.push(State { set, may_end, chain: chain.into() });
        }
        model.counters = self.counters;
        Ok(model)
    }
}

/// Checks that at most one link fits any child.
fn check(
    links: &[Link],
    chain: &[u16],
    counters: &[Bounds],
    overlap: &impl Fn(u32, u32) -> bool,
) -> Result<(), ModelProblem> {
    let bounds = |at: usize| chain.get(at).and_then(|counter| counters.get(usize::from(*counter))).copied();
    let pair = |one: &Link, other: &Link| {
        // Sorted by what they leave, so that `one` is the inner one.
        if one.to == other.to {
            // Staying inside as long as may be must never be wrong.
            let left = usize::from(other.exits) + usize::from(other.counts);
            let is_free = (0..left).all(|at| bounds(at).is_none_or(|bounds| bounds.min <= 1));
            return if is_free { Ok(()) } else { Err(ModelProblem::Uncountable(one.symbol)) };
        }
        // The inner one counts on up to a number, at which alone the other leaves.
        let counter = bounds(usize::from(one.exits)).filter(|_| one.counts && other.exits > one.exits);
        if counter.is_some_and(|bounds| bounds.min == bounds.max) {
            return Ok(());
        }
        Err(ModelProblem::Ambiguous(one.symbol.min(other.symbol)))
    };
    let wild_from = links.partition_point(|link| link.symbol < WILD);
    let (named, wild) = links.split_at(wild_from);
    let mut rest = named;
    while let Some((first, _)) = rest.split_first() {
        let (same, behind) = rest.split_at(rest.partition_point(|link| link.symbol == first.symbol));
        for (at, one) in same.iter().enumerate() {
            // Two of a kind at most in anything people write; the first clash ends it.
            for other in same.get(at + 1..).unwrap_or_default() {
                pair(one, other)?;
            }
        }
        rest = behind;
    }
    for (at, one) in wild.iter().enumerate() {
        for other in wild.get(at + 1..).unwrap_or_default() {
            if one.symbol == other.symbol || overlap(one.symbol, other.symbol) {
                let (inner, outer) = if one.exits <= other.exits { (one, other) } else { (other, one) };
                pair(inner, outer)?;
            }
        }
        for other in named.iter().filter(|other| overlap(one.symbol, other.symbol)) {
            let (inner, outer) = if one.exits <= other.exits { (one, other) } else { (other, one) };
            pair(inner, outer)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
