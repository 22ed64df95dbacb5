//! Judging a document by a schema (XML Schema part 1 §3.3.4, §3.4.4): one pass, a stack of open elements.
//!
//! The stack is as deep as the document, which has a ceiling. Each element is looked up once, each text read
//! once; prices in fuel grow with the bytes and with what the schema asks of them. Called by
//! [`Schema::accepts`]. Read next: [`accepts`].

use fuel::{Fuel, Spent};

use super::keys::Kept;
use super::simple::{Found, Types, Variety};
use super::wildcard::{Process, Wildcard};
use super::{
    ANY_TYPE, Attribute, BY_EXTENSION, BY_RESTRICTION, Complex, Content, Element, Inner, Part, Schema,
    XSI_URI,
};
use crate::transform::is_space;
use crate::xml::model::{Model, WILD, Walk};
use crate::xml::tree::{Node, NodeKind, Tree};

/// Steps of judging one element or attribute, beside its bytes.
const ELEMENT_STEPS: u64 = 30;

/// Steps per byte of a text and pattern.
const PATTERN_STEPS: u64 = 8;

/// An element whose children are judged.
struct Frame<'a> {
    /// The number behind its subtree.
    end: u32,
    is_open: bool,
    may_have_text: bool,
    children: Children<'a>,
}

/// What may come next in an element.
enum Children<'a> {
    None,
    /// None, and no whitespace either.
    Nothing,
    Model(&'a Model, &'a [Part], Walk),
    All(&'a Inner, Vec<bool>),
}

/// A document under judgement.
struct Judge<'a> {
    schema: &'a Schema,
    tree: &'a Tree,
    stack: Vec<Frame<'a>>,
    found: Found,
    kept: Kept<'a>,
}

/// What is to become of a child.
enum Fate<'a> {
    Judged(Option<&'a Element>),
    Skipped,
    Wrong,
}

/// Says whether a document is valid.
pub(super) fn accepts(schema: &Schema, tree: &Tree, fuel: &mut Fuel) -> Result<bool, Spent> {
    let mut judge =
        Judge { schema, tree, stack: Vec::new(), found: Found::default(), kept: Kept::of(schema, tree) };
    let mut place = 1;
    let mut is_whole = true;
    while let Some(node) = tree.node(place) {
        if !judge.close(place) {
            return Ok(false);
        }
        crate::tally::count(1);
        let next = match node.kind {
            NodeKind::Element => {
                is_whole &= !node.is_open;
                judge.element(place, node, fuel)?
            }
            _ => judge.text(node, fuel)?.then_some(place + 1),
        };
        match next {
            Some(next) => place = next,
            None => return Ok(false),
        }
    }
    if !judge.close(u32::MAX) {
        return Ok(false);
    }
    // Sorted rather than hashed: a stranger chooses them.
    if is_whole && !judge.kept.are_right(schema, tree, fuel)? {
        return Ok(false);
    }
    let Found { mut ids, references } = judge.found;
    fuel.spend(40 * (ids.len() + references.len()) as u64)?;
    ids.sort_unstable();
    let are_unique = ids.windows(2).all(|pair| pair.first() != pair.last());
    Ok(are_unique && (!is_whole || references.iter().all(|one| ids.binary_search(one).is_ok())))
}

impl<'a> Judge<'a> {
    /// Ends the elements before a place; tells whether all that must be in them was there.
    fn close(&mut self, place: u32) -> bool {
        while let Some(top) = self.stack.last().filter(|top| top.end <= place) {
            let is_done = match &top.children {
                Children::None | Children::Nothing => true,
                Children::Model(model, _, walk) => model.may_end(walk),
                Children::All(Inner::All { members, is_optional, .. }, seen) => {
                    let all = members.iter().zip(seen).all(|((_, is_required), seen)| *seen || !is_required);
                    all || *is_optional && !seen.contains(&true)
                }
                Children::All(..) => true,
            };
            if !is_done && !top.is_open {
                return false;
            }
            self.stack.pop();
        }
        true
    }

    fn text(&self, node: &Node, fuel: &mut Fuel) -> Result<bool, Spent> {
        let Some(top) = self.stack.last() else { return Ok(true) };
        if top.may_have_text {
            return Ok(true);
        }
        let text = self.tree.text(node);
        fuel.spend(text.len() as u64)?;
        Ok(!matches!(top.children, Children::Nothing) && text.iter().all(|byte| is_space(*byte)))
    }

    /// Judges an element's tag and, where it is text alone, its text; yields the place to go on at.
    fn element(&mut self, place: u32, node: &Node, fuel: &mut Fuel) -> Result<Option<u32>, Spent> {
        let name = self.tree.whole(node.name);
        fuel.spend(ELEMENT_STEPS + 2 * name.len() as u64)?;
        let element = match self.fate(node) {
            Fate::Judged(element) => element,
            Fate::Skipped => return Ok(Some(node.end)),
            Fate::Wrong => return Ok(None),
        };
        if element.is_some_and(|element| element.is_abstract) {
            return Ok(None);
        }
        let Some((of, is_nil)) = self.said(place, node, element, fuel)? else { return Ok(None) };
        let Some(own) = self.schema.types.get(of as usize).filter(|own| !own.is_abstract) else {
            return Ok(None);
        };
        let complex = match &own.content {
            Content::Complex(complex) => Some(&**complex),
            _ => None,
        };
        if !self.attributes(node, complex, fuel)? {
            return Ok(None);
        }
        let text_of = match complex.map(|complex| &complex.inner) {
            None => Some(of),
            Some(Inner::Text(text)) => Some(*text),
            Some(_) => None,
        };
        self.kept.element(place, text_of, is_nil);
        if let Some(element) = element {
            self.kept.scope(place, &element.constraints);
        }
        let mut frame =
            Frame { end: node.end, is_open: node.is_open, may_have_text: true, children: Children::None };
        if is_nil {
            (frame.may_have_text, frame.children) = (false, Children::Nothing);
        } else if let Some(text_of) = text_of {
            if !node.is_open && !self.value(place, node, text_of, element, fuel)? {
                return Ok(None);
            }
        } else if let Some(complex) = complex {
            frame.may_have_text = complex.is_mixed;
            frame.children = match &complex.inner {
                Inner::Model(model, parts) => Children::Model(model, parts, Walk::default()),
                all @ Inner::All { members, .. } => Children::All(all, vec![false; members.len()]),
                _ if complex.is_mixed => Children::None,
                _ => Children::Nothing,
            };
            if let Some(fixed) = element.and_then(|element| element.fixed.as_deref()) {
                let text = self.tree.text(node);
                let has_children =
                    self.tree.children(place).any(|(_, child)| child.kind == NodeKind::Element);
                if !node.is_open && (has_children || !text.is_empty() && text != fixed) {
                    return Ok(None);
                }
            }
        }
        self.stack.push(frame);
        Ok(Some(place + 1))
    }

    /// The number of a name, and its namespace; nothing for one that the schema does not know, or whose
    /// prefix means nothing.
    fn name(&self, node: &Node) -> (Option<u32>, Option<&'a [u8]>) {
        let namespace = self.tree.namespace_of(node.name);
        let number = namespace.and_then(|namespace| self.schema.name(namespace, self.tree.local(node.name)));
        (number, namespace)
    }

    fn top(&self, name: Option<u32>) -> Option<&'a Element> {
        let number = name.and_then(|name| self.schema.top_elements.get(&name))?;
        self.schema.elements.get(*number as usize)
    }

    /// What a child is for its parent.
    fn fate(&mut self, node: &Node) -> Fate<'a> {
        let (name, namespace) = self.name(node);
        let top = self.top(name);
        let schema = self.schema;
        let Some(parent) = self.stack.last_mut() else {
            return top.map_or(Fate::Wrong, |element| Fate::Judged(Some(element)));
        };
        let declared = |number: u32| {
            let own = schema.elements.get(number as usize);
            let own = own.filter(|own| Some(own.name) == name).or(top);
            own.map_or(Fate::Wrong, |own| Fate::Judged(Some(own)))
        };
        match &mut parent.children {
            Children::None | Children::Nothing => Fate::Wrong,
            Children::All(Inner::All { names, members, .. }, seen) => {
                let member = name.and_then(|name| names.get(&name)).copied().unwrap_or(u32::MAX) as usize;
                match (members.get(member), seen.get_mut(member)) {
                    (Some((element, _)), Some(seen)) if !*seen => {
                        *seen = true;
                        declared(*element)
                    }
                    _ => Fate::Wrong,
                }
            }
            Children::All(..) => Fate::Wrong,
            Children::Model(model, parts, walk) => {
                let wildcard = |number: u32| schema.wildcards.get((number & !WILD) as usize);
                let takes = |symbol: u32| {
                    wildcard(symbol)
                        .zip(namespace)
                        .is_some_and(|(wildcard, namespace)| wildcard.takes(namespace))
                };
                // No name has the number that stands for one unknown.
                if !model.step(walk, name.unwrap_or(WILD - 1), takes) {
                    return Fate::Wrong;
                }
                match walk.part().and_then(|part| parts.get(part)) {
                    Some(Part::Element(number)) => declared(*number),
                    Some(Part::Wildcard(number)) => {
                        match (wildcard(*number).map(|wildcard| wildcard.process), top) {
                            (Some(Process::Skip), _) => Fate::Skipped,
                            (_, Some(element)) => Fate::Judged(Some(element)),
                            (Some(Process::Lax), None) => Fate::Judged(None),
                            // A type that the document says will do too.
                            _ if self.says(node, b"type").is_some() => Fate::Judged(None),
                            _ => Fate::Wrong,
                        }
                    }
                    None => Fate::Wrong,
                }
            }
        }
    }

    /// What a document says to the schema by an attribute of an element.
    fn says(&self, node: &Node, local: &[u8]) -> Option<&'a [u8]> {
        let mut all = self.tree.attributes(node).iter();
        let found = all.find(|one| {
            self.tree.local(one.name) == local && self.tree.namespace_of(one.name) == Some(XSI_URI)
        });
        found.map(|attribute| self.tree.value(attribute).trim_ascii())
    }

    /// The type of an element, by what is declared and what the document says, and whether it is nil; nothing
    /// where what it says may not be (§3.3.4).
    fn said(
        &self,
        place: u32,
        node: &Node,
        element: Option<&Element>,
        fuel: &mut Fuel,
    ) -> Result<Option<(u32, bool)>, Spent> {
        let mut of = element.map_or(ANY_TYPE, |element| element.of);
        fuel.spend(2 * self.tree.attributes(node).len() as u64)?;
        if let Some(text) = self.says(node, b"type") {
            let Some(said) = self.named_type(place, text, fuel)? else { return Ok(None) };
            let blocked = element.map_or(0, |element| element.block) & (BY_EXTENSION | BY_RESTRICTION);
            let own_block = self.schema.types.get(of as usize).map_or(0, |own| own.block);
            fuel.spend(10 * ELEMENT_STEPS)?;
            if !self.schema.is_derived(said, of, blocked | own_block) {
                return Ok(None);
            }
            of = said;
        }
        let is_nil = match self.says(node, b"nil") {
            None => false,
            Some(_) if element.is_some_and(|element| !element.is_nillable) => return Ok(None),
            Some(b"true" | b"1") => {
                if element.is_some_and(|element| element.fixed.is_some()) {
                    return Ok(None);
                }
                true
            }
            Some(b"false" | b"0") => false,
            Some(_) => return Ok(None),
        };
        Ok(Some((of, is_nil)))
    }

    /// The type that a name means where it stands in the document.
    fn named_type(&self, place: u32, text: &[u8], fuel: &mut Fuel) -> Result<Option<u32>, Spent> {
        let colon = memchr::memchr(b':', text);
        let (prefix, local) = match colon {
            Some(colon) => text.split_at(colon),
            None => (&b""[..], text),
        };
        let local = if colon.is_some() { local.get(1..).unwrap_or_default() } else { local };
        let mut namespace = if prefix.is_empty() { Some(&b""[..]) } else { None };
        let mut at = place;
        while let Some(node) = self.tree.node(at) {
            let own = self.tree.attributes(node);
            fuel.spend(2 + own.len() as u64)?;
            let is_meant = |name: &[u8]| match name.strip_prefix(b"xmlns") {
                Some(b"") => prefix.is_empty(),
                Some([b':', rest @ ..]) => !prefix.is_empty() && rest == prefix,
                _ => false,
            };
            if let Some(found) =
                own.iter().find(|one| one.is_namespace && is_meant(self.tree.whole(one.name)))
            {
                namespace = Some(self.tree.value(found));
                break;
            }
            if at == 0 {
                break;
            }
            at = node.parent;
        }
        let number = namespace.and_then(|namespace| self.schema.name(namespace, local));
        Ok(number.and_then(|number| self.schema.top_types.get(&number)).copied())
    }

    /// Judges the text of an element of simple content.
    fn value(
        &mut self,
        place: u32,
        node: &Node,
        of: u32,
        element: Option<&'a Element>,
        fuel: &mut Fuel,
    ) -> Result<bool, Spent> {
        let mut text = self.tree.text(node);
        let fixed = element.and_then(|element| element.fixed.as_deref());
        if text.is_empty()
            && let Some(default) = fixed.or(element.and_then(|element| element.default.as_deref()))
        {
            text = default;
            self.kept.stands(place, default);
        }
        self.is_of(of, text, fixed, fuel)
    }

    fn is_of(&mut self, of: u32, text: &[u8], fixed: Option<&[u8]>, fuel: &mut Fuel) -> Result<bool, Spent> {
        fuel.spend(self.price(of, text.len()))?;
        crate::tally::count(text.len());
        let Some(value) = self.schema.value(of, text, &mut self.found) else { return Ok(false) };
        let Some(fixed) = fixed else { return Ok(true) };
        fuel.spend(self.price(of, fixed.len()))?;
        Ok(self.schema.value(of, fixed, &mut Found::default()) == Some(value))
    }

    /// What reading a text as a type costs at most.
    fn price(&self, of: u32, bytes: usize) -> u64 {
        // Of each type a text is read once, its words one by one; each word is looked for among those known.
        let own = |number: u32, words: usize| {
            let Some(simple) = self.schema.simple(number) else { return 1 };
            let patterns = simple.patterns.iter().map(|set| set.len()).sum::<usize>();
            let known = simple.enumeration.as_ref().map_or(0, |known| known.len());
            (bytes as u64 + 1) * (4 + PATTERN_STEPS * patterns as u64) + 2 * (known * words) as u64
        };
        let members = |number: u32, words: usize| match self.schema.simple(number).map(|one| &one.variety) {
            Some(Variety::Union(members)) => members.iter().map(|member| own(*member, words)).sum(),
            _ => 0,
        };
        let words = bytes / 2 + 1;
        let item = match self.schema.simple(of).map(|simple| &simple.variety) {
            Some(Variety::List(item)) => own(*item, words) + members(*item, words),
            _ => 0,
        };
        own(of, 1) + members(of, 1) + item
    }

    /// Judges the attributes of an element (§3.4.4).
    fn attributes(
        &mut self,
        node: &Node,
        complex: Option<&'a Complex>,
        fuel: &mut Fuel,
    ) -> Result<bool, Spent> {
        let tree = self.tree;
        let mut names = Vec::new();
        for (number, attribute) in (node.attributes.0 as usize..).zip(tree.attributes(node)) {
            if attribute.is_namespace {
                continue;
            }
            let (local, namespace) = (tree.local(attribute.name), tree.namespace_of(attribute.name));
            fuel.spend(ELEMENT_STEPS + 2 * local.len() as u64)?;
            let is_said =
                matches!(local, b"type" | b"nil" | b"schemaLocation" | b"noNamespaceSchemaLocation");
            if is_said && namespace == Some(XSI_URI) {
                continue;
            }
            let Some(namespace) = namespace else { return Ok(false) };
            let name = self.schema.name(namespace, local);
            let value = tree.value(attribute);
            let Some(complex) = complex else { return Ok(false) };
            if let Some((name, own)) = name.and_then(|name| Some((name, complex.uses.get(&name)?))) {
                names.push(name);
                self.kept.attribute(number, own.of);
                if !self.is_of(own.of, value, own.fixed.as_deref(), fuel)? {
                    return Ok(false);
                }
                continue;
            }
            let Some(wildcard) = complex.any_attribute.as_ref().filter(|wildcard| wildcard.takes(namespace))
            else {
                return Ok(false);
            };
            match (self.top_attribute(name, wildcard), wildcard.process) {
                (Some(own), _) => {
                    self.kept.attribute(number, own.of);
                    if !self.is_of(own.of, value, own.fixed.as_deref(), fuel)? {
                        return Ok(false);
                    }
                }
                (None, Process::Strict) => return Ok(false),
                (None, _) => {}
            }
        }
        let required = complex.map(|complex| complex.required.as_slice()).unwrap_or_default();
        fuel.spend((required.len() * names.len()) as u64)?;
        Ok(required.iter().all(|name| names.contains(name)))
    }

    /// The declaration by which a wildcard judges an attribute.
    fn top_attribute(&self, name: Option<u32>, wildcard: &Wildcard) -> Option<&'a Attribute> {
        if wildcard.process == Process::Skip {
            return None;
        }
        let number = name.and_then(|name| self.schema.top_attributes.get(&name))?;
        self.schema.attributes.get(*number as usize)
    }
}
