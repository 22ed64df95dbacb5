//! Document types (XML 1.0, fifth edition): what `@validateDTD` asks of a body.
//!
//! The file is an external subset (§2.8): declarations of elements and attributes, parameter entities,
//! conditional sections, files beside it. It is read once, with the rules; content models must be
//! deterministic (§3.2.1), and nothing is fetched. The document's own `<!DOCTYPE` is passed by, as libxml2
//! does for ModSecurity: any element that is declared may be the root. Checked are the constraints on
//! elements (§3), on attributes with their types (§3.3.1), on `#REQUIRED` and `#FIXED` (§3.3.2), and that
//! what is referred to is there. Read next: [`Dtd::accepts`], then [`reader`].

mod cursor;
mod reader;

#[cfg(test)]
mod tests;

use fuel::{Fuel, Spent};
use hashbrown::{HashMap, HashSet};

use super::model::{Model, Walk};
use super::tree::{Node, NodeKind, Tree};
use crate::problem::Wrong;
use crate::transform::is_space;

/// Names of a grammar by number; the table is the grammar's own, so no stranger chooses its keys.
pub(super) type Names<T> = HashMap<Box<[u8]>, T, foldhash::fast::FixedState>;

/// Yields the bytes of a file.
type ReadFile<'a> = dyn FnMut(&str) -> Result<Vec<u8>, Wrong> + 'a;

/// Steps of judging one element, beside its bytes.
const ELEMENT_STEPS: u64 = 20;

/// A document type.
#[derive(Debug, Default)]
pub(crate) struct Dtd {
    /// The numbers of names of elements, declared or only named.
    symbols: Names<u32>,
    /// By number.
    elements: Vec<Element>,
    /// Entities that are no XML (§4.2.2), which attributes may name.
    unparsed: HashSet<Box<[u8]>, foldhash::fast::FixedState>,
}

/// What is declared of an element.
#[derive(Debug, Default)]
struct Element {
    /// What it may hold; none where it is not declared.
    content: Option<Content>,
    attributes: Names<Declared>,
    /// Attributes that must be there.
    required: Vec<Box<[u8]>>,
}

/// What an element may hold (§3.2).
#[derive(Debug)]
enum Content {
    Empty,
    Any,
    /// Text, and elements of these numbers, sorted.
    Mixed(Box<[u32]>),
    Children(Model),
}

/// An attribute that is declared (§3.3).
#[derive(Debug)]
struct Declared {
    kind: Kind,
    fixed: Option<Box<[u8]>>,
}

/// The type of an attribute (§3.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Text,
    Id,
    Reference,
    References,
    Entity,
    Entities,
    Token,
    Tokens,
    /// One of these names: an enumeration, or names of notations.
    OneOf(Vec<Box<[u8]>>),
}

impl Dtd {
    /// Reads a document type; `read` yields the bytes of its file and of those beside it.
    pub(crate) fn parse<'a>(path: &str, read: &'a mut ReadFile<'a>) -> Result<Self, Wrong> {
        reader::read(path, read)
    }

    /// Says whether a document is valid.
    pub(crate) fn accepts(&self, tree: &Tree, fuel: &mut Fuel) -> Result<bool, Spent> {
        let mut symbols = vec![u32::MAX; tree.len() as usize];
        let mut text_bytes = 0;
        for (place, node) in tree.elements() {
            let name = tree.whole(node.name);
            fuel.spend(ELEMENT_STEPS + name.len() as u64)?;
            crate::tally::count(1 + name.len());
            let Some(symbol) = self.symbols.get(name) else { return Ok(false) };
            if let Some(slot) = symbols.get_mut(place as usize) {
                *slot = *symbol;
            }
        }
        let (mut ids, mut references): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
        let mut is_whole = true;
        for (place, node) in tree.elements() {
            fuel.spend(ELEMENT_STEPS)?;
            is_whole &= !node.is_open;
            let symbol = symbols.get(place as usize).copied().unwrap_or(u32::MAX);
            let Some(element) = self.elements.get(symbol as usize) else { return Ok(false) };
            if !holds(element, tree, place, node, &symbols, &mut text_bytes) {
                return Ok(false);
            }
            fuel.spend(std::mem::take(&mut text_bytes))?;
            for attribute in tree.attributes(node) {
                let (name, value) = (tree.whole(attribute.name), tree.value(attribute));
                fuel.spend(ELEMENT_STEPS + 2 * (name.len() + value.len()) as u64)?;
                crate::tally::count(1 + name.len() + value.len());
                let Some(declared) = element.attributes.get(name) else { return Ok(false) };
                if !self.fits(declared, value, &mut ids, &mut references) {
                    return Ok(false);
                }
            }
            for wanted in &element.required {
                fuel.spend(1 + wanted.len() as u64)?;
                crate::tally::count(1);
                if !tree.attributes(node).iter().any(|one| tree.whole(one.name) == &**wanted) {
                    return Ok(false);
                }
            }
        }
        // Sorted rather than hashed: a stranger chooses them.
        fuel.spend(40 * (ids.len() + references.len()) as u64)?;
        ids.sort_unstable();
        let are_unique = ids.windows(2).all(|pair| pair.first() != pair.last());
        // What a cut document refers to may stand behind the cut.
        let are_there = !is_whole || references.iter().all(|one| ids.binary_search(one).is_ok());
        Ok(are_unique && are_there)
    }

    /// Says whether a value is one of its type (§3.3.1), after the whitespace of other types than `CDATA` is
    /// normalized (§3.3.3).
    fn fits<'a>(
        &self,
        declared: &Declared,
        value: &'a [u8],
        ids: &mut Vec<&'a [u8]>,
        references: &mut Vec<&'a [u8]>,
    ) -> bool {
        let mut words = value.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
        let is_fixed = |fixed: &[u8]| match declared.kind {
            Kind::Text => value == fixed,
            _ => words.clone().eq(fixed.split(|byte| *byte == b' ')),
        };
        if !declared.fixed.as_deref().is_none_or(is_fixed) {
            return false;
        }
        let one = match (words.clone().next(), words.clone().nth(1)) {
            (Some(word), None) => Some(word),
            _ => None,
        };
        match &declared.kind {
            Kind::Text => true,
            Kind::Id => one.filter(|word| is_name(word)).map(|word| ids.push(word)).is_some(),
            Kind::Reference => one.filter(|word| is_name(word)).map(|word| references.push(word)).is_some(),
            Kind::References => {
                references.extend(words.clone());
                words.clone().next().is_some() && words.all(is_name)
            }
            Kind::Entity => one.is_some_and(|word| self.unparsed.contains(word)),
            Kind::Entities => {
                words.clone().next().is_some() && words.all(|word| self.unparsed.contains(word))
            }
            Kind::Token => one.is_some_and(is_token),
            Kind::Tokens => words.clone().next().is_some() && words.all(is_token),
            Kind::OneOf(names) => one.is_some_and(|word| names.iter().any(|name| **name == *word)),
        }
    }
}

/// Says whether an element holds what it may (§3, validity constraint "Element Valid").
fn holds(
    element: &Element,
    tree: &Tree,
    place: u32,
    node: &Node,
    symbols: &[u32],
    text_bytes: &mut u64,
) -> bool {
    let symbol = |place: u32| symbols.get(place as usize).copied().unwrap_or(u32::MAX);
    match &element.content {
        None => false,
        Some(Content::Empty) => node.end == place + 1 && !node.has_remark && !node.has_cdata,
        Some(Content::Any) => true,
        Some(Content::Mixed(may)) => tree.children(place).all(|(at, child)| {
            *text_bytes += 2;
            child.kind == NodeKind::Text || may.binary_search(&symbol(at)).is_ok()
        }),
        Some(Content::Children(model)) => {
            let mut walk = Walk::default();
            for (at, child) in tree.children(place) {
                *text_bytes += 8;
                crate::tally::count(1);
                if child.kind == NodeKind::Text {
                    let text = tree.text(child);
                    *text_bytes += text.len() as u64;
                    if !text.iter().all(|byte| is_space(*byte)) {
                        return false;
                    }
                    continue;
                }
                if !model.step(&mut walk, symbol(at), |_| false) {
                    return false;
                }
            }
            !node.has_cdata && (node.is_open || model.may_end(&walk))
        }
    }
}

/// Tells whether a text is a name (§2.3 `Name`); beyond ASCII any character may be in one.
fn is_name(text: &[u8]) -> bool {
    let begins = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..);
    text.first().is_some_and(|first| begins(*first)) && is_token(text)
}

/// Tells whether a text is a name's end (§2.3 `Nmtoken`).
fn is_token(text: &[u8]) -> bool {
    let may = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.' | 0x80..);
    !text.is_empty() && text.iter().all(|byte| may(*byte))
}
