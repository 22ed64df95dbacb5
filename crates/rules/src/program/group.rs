//! All questions about one value, answered by one look each way.
//!
//! Equality and sets by a hash lookup, addresses by a search, texts by two automata (one for each way of
//! treating case), the rest one by one. What only rules a question out leaves it at "perhaps", and it is
//! asked itself when a condition needs it. Built by `program.rs`, used by `eval.rs`.

use std::net::IpAddr;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use foldhash::fast::FixedState;
use fuel::Spent;
use hashbrown::{HashMap, HashTable};

use super::{Node, Program, hash_of};
use crate::address::{AddressSet, AddressTable};
use crate::derive::map_of;
use crate::predicate::Test;
use crate::scratch::{Known, Map};
use crate::syntax::Comparison;

/// Questions about one value, or about any item of one.
#[derive(Debug)]
pub(crate) struct Group {
    /// The value.
    pub(crate) node: u32,
    /// Whether the value is an array of which any item counts.
    pub(crate) is_any: bool,
    /// The first condition that asks: who is named when the tank is empty.
    pub(crate) first: u32,
    /// Its atoms.
    pub(crate) atoms: Range<u32>,
    /// The map of which the value is one entry, and the length of its name: where no entry has a name as
    /// long, there is no value, and no atom holds.
    pub(crate) keyed: Option<(Map, u32)>,
    exact: Exact,
    ints: HashMap<i64, Vec<u32>, FixedState>,
    addresses: Option<AddressTable>,
    texts: Automaton,
    folded: Automaton,
    /// Asked one by one.
    others: Vec<u32>,
    /// Nothing rules them out; asked only when needed.
    unfiltered: Vec<u32>,
}

/// Strings with the atoms that hold for them.
#[derive(Debug, Default)]
struct Exact {
    table: HashTable<(Box<[u8]>, Vec<u32>)>,
    /// Lengths that occur, the last bit for all from 63: most values are told apart by that alone.
    lengths: u64,
}

impl Exact {
    fn add(&mut self, text: &[u8], atom: u32) {
        let hash = hash_of(text);
        self.lengths |= 1 << text.len().min(63);
        match self.table.find_mut(hash, |(known, _)| &**known == text) {
            Some((_, atoms)) => atoms.push(atom),
            None => {
                self.table.insert_unique(hash, (text.into(), vec![atom]), |(known, _)| hash_of(known));
            }
        }
    }

    fn find(&self, text: &[u8]) -> &[u32] {
        if self.lengths & 1 << text.len().min(63) == 0 {
            return &[];
        }
        self.table.find(hash_of(text), |(known, _)| &**known == text).map_or(&[], |(_, atoms)| atoms)
    }
}

/// How a text must stand in a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    Anywhere,
    First,
    Last,
    /// Anywhere, but that alone is not the answer.
    Hint,
}

/// Many texts looked for at once.
#[derive(Debug, Default)]
struct Automaton {
    finder: Option<AhoCorasick>,
    /// For each text the atoms it tells of.
    tells: Vec<Vec<(u32, Stand)>>,
}

/// Collects texts before an automaton is built.
#[derive(Default)]
struct Texts {
    texts: Vec<Vec<u8>>,
    places: HashMap<Vec<u8>, usize, FixedState>,
    tells: Vec<Vec<(u32, Stand)>>,
}

impl Texts {
    fn add(&mut self, text: &[u8], atom: u32, stand: Stand) {
        let place = *self.places.entry(text.to_vec()).or_insert_with(|| {
            self.texts.push(text.to_vec());
            self.tells.push(Vec::new());
            self.texts.len() - 1
        });
        if let Some(tells) = self.tells.get_mut(place) {
            tells.push((atom, stand));
        }
    }

    /// The automaton, or the atoms it was for when it would be too large.
    fn build(self, folds: bool) -> Result<Automaton, Vec<u32>> {
        if self.texts.is_empty() {
            return Ok(Automaton::default());
        }
        let mut builder = AhoCorasick::builder();
        builder.match_kind(MatchKind::Standard).ascii_case_insensitive(folds);
        match builder.build(&self.texts) {
            Ok(finder) => Ok(Automaton { finder: Some(finder), tells: self.tells }),
            Err(_) => Err(self.tells.into_iter().flatten().map(|(atom, _)| atom).collect()),
        }
    }
}

/// The map, and the length of the name, of a value that is one entry of a map and nothing without it.
fn keyed(program: &Program, node: u32) -> Option<(Map, u32)> {
    let order = program.orders.get(node as usize)?;
    let (mut map, mut length) = (None, None);
    for node in order.iter().filter_map(|needed| program.nodes.get(*needed as usize)) {
        match node {
            Node::Field(field) if map.is_none() => map = Some(map_of(*field)),
            Node::Key { key, is_each: false, .. } if length.is_none() => {
                length = program.literals.get(*key as usize).map(|key| key.len());
            }
            Node::At { .. } | Node::Each { .. } if length.is_some() => {}
            _ => return None,
        }
    }
    let map = map.filter(|map| *map != Map::Nothing)?;
    Some((map, u32::try_from(length?).ok()?))
}

impl Group {
    pub(super) fn new(node: u32, is_any: bool, first: u32, atoms: Range<u32>, program: &Program) -> Self {
        let mut group = Group {
            node,
            is_any,
            first,
            atoms: atoms.clone(),
            keyed: keyed(program, node),
            exact: Exact::default(),
            ints: HashMap::default(),
            addresses: None,
            texts: Automaton::default(),
            folded: Automaton::default(),
            others: Vec::new(),
            unfiltered: Vec::new(),
        };
        let (mut texts, mut folded) = (Texts::default(), Texts::default());
        let mut addresses: Vec<(u32, AddressSet)> = Vec::new();
        for atom in atoms {
            let test =
                program.atoms.get(atom as usize).and_then(|atom| program.tests.get(atom.test as usize));
            let Some(predicate) = test else { continue };
            match &predicate.test {
                Test::Bytes(Comparison::Eq, text) => group.exact.add(text, atom),
                Test::OneOf(set) => set.iter().for_each(|text| group.exact.add(text, atom)),
                Test::Contains(text) if !text.is_empty() => texts.add(text, atom, Stand::Anywhere),
                Test::Starts(text) if !text.is_empty() => texts.add(text, atom, Stand::First),
                Test::Ends(text) if !text.is_empty() => texts.add(text, atom, Stand::Last),
                Test::Wildcard(wildcard) if !wildcard.needle().is_empty() => {
                    let texts = if wildcard.is_strict() { &mut texts } else { &mut folded };
                    texts.add(wildcard.needle(), atom, Stand::Hint);
                }
                Test::Matches(pattern) if !pattern.needles().is_empty() => {
                    for needle in pattern.needles() {
                        let texts = if needle.is_folded { &mut folded } else { &mut texts };
                        texts.add(&needle.text, atom, Stand::Hint);
                    }
                }
                Test::Wildcard(_) | Test::Matches(_) => group.unfiltered.push(atom),
                Test::Int(Comparison::Eq, value) => group.ints.entry(*value).or_default().push(atom),
                Test::IntIn(set) if set.ranges.iter().all(|(low, high)| low == high) => {
                    for (value, _) in &set.ranges {
                        group.ints.entry(*value).or_default().push(atom);
                    }
                }
                Test::Ip(Comparison::Eq, address) => {
                    addresses.push((atom, AddressSet::from_ranges([(*address, *address)])));
                }
                Test::IpIn(set) => addresses.push((atom, (**set).clone())),
                _ => group.others.push(atom),
            }
        }
        group.texts = texts.build(false).unwrap_or_else(|atoms| {
            group.others.extend(atoms);
            Automaton::default()
        });
        group.folded = folded.build(true).unwrap_or_else(|atoms| {
            group.others.extend(atoms);
            Automaton::default()
        });
        if !addresses.is_empty() {
            group.addresses = AddressTable::new(addresses.iter().map(|(atom, set)| (*atom, set)));
            if group.addresses.is_none() {
                group.others.extend(addresses.iter().map(|(atom, _)| *atom));
            }
        }
        group
    }

    /// Atoms to ask one by one, and atoms of which nothing is known by looking.
    pub(crate) fn rest(&self) -> (&[u32], &[u32]) {
        (&self.others, &self.unfiltered)
    }

    /// Steps of a look at a value of so many bytes.
    pub(crate) fn price(&self, bytes: usize) -> u64 {
        let automata = u64::from(self.texts.finder.is_some()) + u64::from(self.folded.finder.is_some());
        let depth = self.addresses.as_ref().map_or(0, AddressTable::depth);
        8 + bytes as u64 / 16 + automata * (8 + 2 * bytes as u64) + 4 * depth
    }

    /// Tells which atoms hold for a string, or may; ends when `tell` has no more fuel, since texts inside one
    /// another can be found very often.
    pub(crate) fn look_at_bytes(
        &self,
        value: &[u8],
        mut tell: impl FnMut(u32, Known) -> Result<(), Spent>,
    ) -> Result<(), Spent> {
        for atom in self.exact.find(value) {
            tell(*atom, Known::Yes)?;
        }
        self.texts.look(value, &mut tell)?;
        self.folded.look(value, &mut tell)
    }

    /// Tells which atoms hold for an integer.
    pub(crate) fn look_at_int(&self, value: i64, mut tell: impl FnMut(u32, Known)) {
        for atom in self.ints.get(&value).into_iter().flatten() {
            tell(*atom, Known::Yes);
        }
    }

    /// Tells which atoms hold for an address.
    pub(crate) fn look_at_ip(&self, value: IpAddr, mut tell: impl FnMut(u32, Known)) {
        for atom in self.addresses.iter().flat_map(|table| table.find(value)) {
            tell(*atom, Known::Yes);
        }
    }
}

impl Automaton {
    fn look(
        &self,
        value: &[u8],
        tell: &mut impl FnMut(u32, Known) -> Result<(), Spent>,
    ) -> Result<(), Spent> {
        let Some(finder) = &self.finder else { return Ok(()) };
        for found in finder.find_overlapping_iter(value) {
            for (atom, stand) in self.tells.get(found.pattern().as_usize()).into_iter().flatten() {
                let known = match stand {
                    Stand::Anywhere => Known::Yes,
                    Stand::First if found.start() == 0 => Known::Yes,
                    Stand::Last if found.end() == value.len() => Known::Yes,
                    Stand::Hint => Known::Perhaps,
                    Stand::First | Stand::Last => Known::No,
                };
                tell(*atom, known)?;
            }
        }
        Ok(())
    }
}
