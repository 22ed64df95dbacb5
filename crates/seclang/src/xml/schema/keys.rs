//! Identity constraints (XML Schema part 1 §3.11): `unique`, `key`, `keyref`.
//!
//! What a document says is gathered while it is judged: which elements have constraints, and of which type
//! each text and attribute is. When all of it is valid, each constraint selects its nodes, makes keys of
//! their fields, and looks whether they are there once, or there at all. Keys are sorted rather than hashed,
//! since a stranger chooses them. Paths are the two small languages of §3.11.6. Made by [`super::build`],
//! asked by [`super::check`]. Read next: [`Kept::are_right`].

use std::collections::BTreeMap;

use fuel::{Fuel, Spent};

use super::Schema;
use super::build::{At, Build};
use super::simple::{Found, Types};
use super::source::Name;
use crate::problem::Wrong;
use crate::xml::limits::{KEY_BYTES_MAX, KEYS_MAX};
use crate::xml::tree::{self, NodeKind, Tree};

/// The type of what is nil.
const NIL: u32 = u32::MAX - 1;
/// The type of what has none.
const NONE: u32 = u32::MAX;

/// A constraint of an element.
#[derive(Debug)]
pub(super) struct Constraint {
    kind: Kind,
    selector: Vec<Path>,
    fields: Vec<Vec<Path>>,
    /// A `keyref` asks for its keys.
    is_asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unique,
    Key,
    /// By the number of what it refers to.
    Reference(u32),
}

/// A path of a selector or field.
#[derive(Debug)]
struct Path {
    /// It begins with `.//`.
    is_deep: bool,
    steps: Vec<Test>,
    attribute: Option<Test>,
}

/// What a step takes: any name, any of a namespace, one.
#[derive(Debug)]
struct Test {
    namespace: Option<Box<[u8]>>,
    local: Option<Box<[u8]>>,
}

impl Test {
    fn takes(&self, tree: &Tree, name: tree::Name) -> bool {
        self.namespace.as_deref().is_none_or(|wanted| tree.namespace_of(name) == Some(wanted))
            && self.local.as_deref().is_none_or(|wanted| tree.local(name) == wanted)
    }
}

/// Constraints read so far, while a schema is built.
#[derive(Debug, Default)]
pub(super) struct Reading {
    by_place: BTreeMap<(usize, u32), u32>,
    by_name: BTreeMap<Name, u32>,
    /// References to be resolved: who, to what, said where.
    awaited: Vec<(u32, Name, At)>,
}

impl Build {
    /// Reads a constraint of an element; one that is read already has its number.
    pub(super) fn constraint(&mut self, at: At) -> Result<u32, Wrong> {
        if let Some(known) = self.keys.by_place.get(&(at.file, at.node)) {
            return Ok(*known);
        }
        let number = u32::try_from(self.schema.constraints.len()).unwrap_or(u32::MAX);
        let Some(name) = self.text(at, "name") else {
            return Err(self.wrong(at, "a constraint without a name"));
        };
        let target = self.source(at)?.target.clone();
        let kind = match self.local(at) {
            b"unique" => Kind::Unique,
            b"key" => Kind::Key,
            _ => {
                let Some(refer) = self.text(at, "refer") else {
                    return Err(self.wrong(at, "a keyref that names no key"));
                };
                let refer = self.qualified(at, &refer)?;
                self.keys.awaited.push((number, refer, at));
                Kind::Reference(number)
            }
        };
        if self.keys.by_name.insert((target, name.as_bytes().into()), number).is_some() {
            return Err(self.wrong(at, format!("the constraint `{name}` is declared twice")));
        }
        let (mut selector, mut fields) = (None, Vec::new());
        for child in self.below(at) {
            let text = self.text(child, "xpath").unwrap_or_default();
            match self.local(child) {
                b"selector" if selector.is_none() => selector = Some(self.paths(child, &text, false)?),
                b"field" if selector.is_some() => fields.push(self.paths(child, &text, true)?),
                _ => return Err(self.wrong(child, "a constraint is one selector, then fields")),
            }
        }
        let Some(selector) = selector.filter(|_| !fields.is_empty()) else {
            return Err(self.wrong(at, "a constraint is one selector, then fields"));
        };
        self.schema.constraints.push(Constraint { kind, selector, fields, is_asked: false });
        self.keys.by_place.insert((at.file, at.node), number);
        Ok(number)
    }

    fn paths(&self, at: At, text: &str, is_field: bool) -> Result<Vec<Path>, Wrong> {
        text.split('|').map(|path| self.path(at, path.trim(), is_field)).collect()
    }

    fn path(&self, at: At, text: &str, is_field: bool) -> Result<Path, Wrong> {
        let wrong = || self.wrong(at, format!("`{text}` is no path of a selector or field"));
        let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let rest = compact.strip_prefix(".//");
        let mut path = Path { is_deep: rest.is_some(), steps: Vec::new(), attribute: None };
        for step in rest.unwrap_or(&compact).split('/') {
            if path.attribute.is_some() {
                return Err(wrong());
            }
            let own = step.strip_prefix('@').or_else(|| step.strip_prefix("attribute::"));
            if let Some(own) = own {
                path.attribute = Some(self.test(at, own).filter(|_| is_field).ok_or_else(wrong)?);
            } else if step != "." {
                let step = step.strip_prefix("child::").unwrap_or(step);
                path.steps.push(self.test(at, step).ok_or_else(wrong)?);
            }
        }
        Ok(path)
    }

    /// A name test; a name without a prefix is in no namespace, as in XPath.
    fn test(&self, at: At, text: &str) -> Option<Test> {
        if text == "*" {
            return Some(Test { namespace: None, local: None });
        }
        if let Some(prefix) = text.strip_suffix(":*") {
            let (namespace, _) = self.qualified(at, &format!("{prefix}:x")).ok()?;
            return Some(Test { namespace: Some(namespace), local: None });
        }
        if !text.contains(':') {
            let is_name = super::lexical::is_ncname(text.as_bytes());
            return is_name
                .then(|| Test { namespace: Some(Box::default()), local: Some(text.as_bytes().into()) });
        }
        let (namespace, local) = self.qualified(at, text).ok()?;
        Some(Test { namespace: Some(namespace), local: Some(local) })
    }

    /// Resolves what keyrefs refer to.
    pub(super) fn resolve_keys(&mut self) -> Result<(), Wrong> {
        for (number, name, at) in std::mem::take(&mut self.keys.awaited) {
            let found = self.keys.by_name.get(&name).copied();
            let referred = found.and_then(|found| self.schema.constraints.get(found as usize));
            let fields = self.schema.constraints.get(number as usize).map_or(0, |own| own.fields.len());
            let is_fit = referred
                .is_some_and(|one| !matches!(one.kind, Kind::Reference(_)) && one.fields.len() == fields);
            let Some(found) = found.filter(|_| is_fit) else {
                return Err(self.wrong(at, "it refers to no key or unique of as many fields"));
            };
            if let Some(own) = self.schema.constraints.get_mut(number as usize) {
                own.kind = Kind::Reference(found);
            }
            if let Some(referred) = self.schema.constraints.get_mut(found as usize) {
                referred.is_asked = true;
            }
        }
        Ok(())
    }
}

/// What is kept of a document for its constraints.
#[derive(Debug, Default)]
pub(super) struct Kept<'a> {
    /// Types of the texts of elements, and of attributes, by number.
    elements: Vec<u32>,
    attributes: Vec<u32>,
    /// Texts that stand for nothing.
    defaults: BTreeMap<u32, &'a [u8]>,
    /// Elements that have constraints, with these.
    scopes: Vec<(u32, &'a [u32])>,
}

impl<'a> Kept<'a> {
    /// Room for what a document says, where the schema has constraints at all.
    pub(super) fn of(schema: &Schema, tree: &Tree) -> Self {
        if schema.constraints.is_empty() {
            return Self::default();
        }
        Self {
            elements: vec![NONE; tree.len() as usize],
            attributes: vec![NONE; tree.attributes_len()],
            ..Self::default()
        }
    }

    /// Notes an element's type where it has text alone.
    pub(super) fn element(&mut self, place: u32, of: Option<u32>, is_nil: bool) {
        if let Some(slot) = self.elements.get_mut(place as usize) {
            *slot = if is_nil { NIL } else { of.unwrap_or(NONE) };
        }
    }

    /// Notes a text that stands where an element has none.
    pub(super) fn stands(&mut self, place: u32, text: &'a [u8]) {
        if !self.elements.is_empty() {
            self.defaults.insert(place, text);
        }
    }

    pub(super) fn scope(&mut self, place: u32, constraints: &'a [u32]) {
        if !constraints.is_empty() {
            self.scopes.push((place, constraints));
        }
    }

    /// Notes an attribute's type, by its number among all.
    pub(super) fn attribute(&mut self, number: usize, of: u32) {
        if let Some(slot) = self.attributes.get_mut(number) {
            *slot = of;
        }
    }

    /// Says whether all constraints hold (§3.11.4); more keys than are kept are no pass.
    pub(super) fn are_right(&self, schema: &Schema, tree: &Tree, fuel: &mut Fuel) -> Result<bool, Spent> {
        // Keys that references ask for: by constraint and element.
        let mut tables: Vec<(u32, u32, Vec<Vec<u8>>)> = Vec::new();
        let mut references = Vec::new();
        let mut room = (KEYS_MAX, KEY_BYTES_MAX);
        for (place, constraints) in &self.scopes {
            for number in *constraints {
                let Some(constraint) = schema.constraints.get(*number as usize) else { continue };
                let keys = self.keys(schema, tree, constraint, *place, &mut room, fuel)?;
                let Some(mut keys) = keys else { return Ok(false) };
                fuel.spend(20 * keys.len() as u64)?;
                keys.sort_unstable();
                if let Kind::Reference(to) = constraint.kind {
                    references.push((to, *place, keys));
                    continue;
                }
                if keys.windows(2).any(|pair| pair.first() == pair.last()) {
                    return Ok(false);
                }
                if constraint.is_asked {
                    tables.push((*number, *place, keys));
                } else {
                    room.0 += keys.len();
                    room.1 += keys.iter().map(Vec::len).sum::<usize>();
                }
            }
        }
        for (to, place, keys) in references {
            let end = tree.node(place).map_or(place, |node| node.end);
            let mut known: Vec<&[u8]> = Vec::new();
            for (number, at, own) in &tables {
                fuel.spend(2)?;
                if *number == to && (place..end).contains(at) {
                    fuel.spend(20 * own.len() as u64)?;
                    known.extend(own.iter().map(Vec::as_slice));
                }
            }
            known.sort_unstable();
            fuel.spend(20 * keys.len() as u64)?;
            if !keys.iter().all(|key| known.binary_search(&key.as_slice()).is_ok()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The keys of a constraint on one element; nothing where a key lacks a field, a field is more than one
    /// or no text, or there are too many.
    fn keys(
        &self,
        schema: &Schema,
        tree: &Tree,
        constraint: &Constraint,
        place: u32,
        room: &mut (usize, usize),
        fuel: &mut Fuel,
    ) -> Result<Option<Vec<Vec<u8>>>, Spent> {
        let mut keys = Vec::new();
        let mut nodes = Vec::new();
        for path in &constraint.selector {
            path.elements(tree, place, &mut nodes, fuel)?;
        }
        nodes.sort_unstable();
        nodes.dedup();
        'nodes: for node in nodes {
            let mut key = Vec::new();
            for field in &constraint.fields {
                match self.field(schema, tree, field, node, &mut key, fuel)? {
                    Some(true) => {}
                    Some(false) if constraint.kind == Kind::Key => return Ok(None),
                    Some(false) => continue 'nodes,
                    None => return Ok(None),
                }
            }
            let (Some(count), Some(bytes)) = (room.0.checked_sub(1), room.1.checked_sub(key.len())) else {
                return Ok(None);
            };
            *room = (count, bytes);
            keys.push(key);
        }
        Ok(Some(keys))
    }

    /// Adds a field to a key; tells whether it is there. Nothing where it is more than one, or no text.
    fn field(
        &self,
        schema: &Schema,
        tree: &Tree,
        paths: &[Path],
        node: u32,
        key: &mut Vec<u8>,
        fuel: &mut Fuel,
    ) -> Result<Option<bool>, Spent> {
        let mut found: Option<(u32, &[u8], (u32, u32))> = None;
        for path in paths {
            let mut places = Vec::new();
            path.elements(tree, node, &mut places, fuel)?;
            for place in places {
                let Some(owner) = tree.node(place) else { continue };
                let Some(test) = &path.attribute else {
                    let of = self.elements.get(place as usize).copied().unwrap_or(NONE);
                    let text = self.defaults.get(&place).copied().unwrap_or_else(|| tree.text(owner));
                    if found.is_some_and(|(.., known)| known != (place, 0)) {
                        return Ok(None);
                    }
                    found = Some((of, text, (place, 0)));
                    continue;
                };
                for (at, attribute) in (1_u32..).zip(tree.attributes(owner)) {
                    fuel.spend(2)?;
                    if attribute.is_namespace || !test.takes(tree, attribute.name) {
                        continue;
                    }
                    let number = (owner.attributes.0 + at - 1) as usize;
                    let of = self.attributes.get(number).copied().unwrap_or(NONE);
                    if found.is_some_and(|(.., known)| known != (place, at)) {
                        return Ok(None);
                    }
                    found = Some((of, tree.value(attribute), (place, at)));
                }
            }
        }
        let Some((of, text, _)) = found else { return Ok(Some(false)) };
        if of == NIL {
            return Ok(Some(false));
        }
        fuel.spend(10 + 4 * text.len() as u64)?;
        // What a wildcard let in unjudged has no type.
        let Some(value) = schema.value(of, text, &mut Found::default()) else { return Ok(None) };
        value.write_key(key);
        Ok(Some(true))
    }
}

impl Path {
    /// Adds the elements that the path's steps lead to.
    fn elements(&self, tree: &Tree, from: u32, found: &mut Vec<u32>, fuel: &mut Fuel) -> Result<(), Spent> {
        let end = tree.node(from).map_or(from, |node| node.end);
        let mut places = vec![from];
        if self.is_deep {
            fuel.spend(2 * u64::from(end.saturating_sub(from)))?;
            let is_element = |at: &u32| tree.node(*at).is_some_and(|node| node.kind == NodeKind::Element);
            places.extend((from + 1..end).filter(is_element));
        }
        for step in &self.steps {
            let mut next = Vec::new();
            for place in places {
                fuel.spend(2)?;
                for (at, node) in tree.children(place) {
                    fuel.spend(4)?;
                    if node.kind == NodeKind::Element && step.takes(tree, node.name) {
                        next.push(at);
                    }
                }
            }
            places = next;
        }
        found.extend(places);
        Ok(())
    }
}
