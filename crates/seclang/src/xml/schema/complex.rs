//! Complex types (XML Schema part 1 §3.4, §3.6 to §3.10): content models, attributes, wildcards.
//!
//! Groups are put in place of their references, from a stack, and become models with counters; what a type
//! extends stands before its own. Called by [`super::build`]. Read next: [`Build::complex`].

use hashbrown::HashMap;

use super::build::{At, Build, Top};
use super::wildcard::{Process, Space, Wildcard};
use super::{
    ANY_TYPE, Attribute, BY_EXTENSION, BY_RESTRICTION, BY_SUBSTITUTION, ByNumber, Complex, Content, Inner,
    Part, Type,
};
use crate::problem::Wrong;
use crate::xml::limits::{GRAMMAR_LINKS_MAX, MODEL_DEPTH_MAX, SCHEMA_PARTS_MAX};
use crate::xml::model::{Builder, ModelProblem, WILD};

/// Parts of content models, by number, shared by all types of a schema.
#[derive(Debug, Default)]
pub(super) struct Parts {
    parts: Vec<Particle>,
    /// What each type's children are.
    of_type: ByNumber,
    links: usize,
}

/// A part with how often it may come (§3.9).
#[derive(Debug, Clone)]
struct Particle {
    min: u32,
    max: Option<u32>,
    term: Term,
}

#[derive(Debug, Clone)]
enum Term {
    One(Part),
    Sequence(Vec<u32>),
    Choice(Vec<u32>),
    All(Vec<u32>),
}

/// A complex type before it is made.
#[derive(Debug)]
pub(super) struct Draft {
    number: u32,
    base: u32,
    by: u8,
    is_mixed: bool,
    shape: Shape,
    uses: Vec<Use>,
    any_attribute: Option<Wildcard>,
}

#[derive(Debug)]
enum Shape {
    Children(Option<u32>),
    /// Text as of the base.
    Text,
    /// Text of a type restricted: one within, facets.
    Restricted(Option<u32>, Vec<At>),
}

/// An attribute of a type (§3.5).
#[derive(Debug)]
struct Use {
    name: u32,
    attribute: Attribute,
    is_required: bool,
    is_prohibited: bool,
}

impl Draft {
    /// The types it is made of.
    pub(super) fn needs(&self) -> Vec<u32> {
        match &self.shape {
            Shape::Restricted(Some(inner), _) => vec![self.base, *inner],
            _ => vec![self.base],
        }
    }
}

/// A model group under way.
struct Open {
    at: At,
    is_choice: bool,
    is_all: bool,
    min: u32,
    max: Option<u32>,
    below: std::vec::IntoIter<At>,
    made: Vec<u32>,
    group: Option<At>,
}

/// What is still to be done for a model.
enum Task {
    Visit(u32),
    Nothing,
    Sequence,
    Choice,
    Occurs(u32, Option<u32>),
}

impl Build {
    /// Reads a complex type's element.
    pub(super) fn complex(&mut self, number: u32, at: At) -> Result<Draft, Wrong> {
        let is_mixed = self.flag(at, "mixed")?;
        let mut draft = Draft {
            number,
            base: ANY_TYPE,
            by: BY_RESTRICTION,
            is_mixed,
            shape: Shape::Children(None),
            uses: Vec::new(),
            any_attribute: None,
        };
        let simple = self.child(at, b"simpleContent");
        let content = simple.or_else(|| self.child(at, b"complexContent"));
        let mut holder = at;
        if let Some(content) = content {
            draft.is_mixed |= self.flag(content, "mixed")?;
            let below = self.below(content);
            let ([inner], 1) = (below.as_slice(), self.below(at).len()) else {
                return Err(self.wrong(content, "it holds one extension or restriction, and stands alone"));
            };
            holder = *inner;
            draft.by = match self.local(holder) {
                b"extension" => BY_EXTENSION,
                b"restriction" => BY_RESTRICTION,
                _ => return Err(self.wrong(holder, "it holds one extension or restriction")),
            };
            let Some(base) = self.text(holder, "base") else {
                return Err(self.wrong(holder, "it names no base"));
            };
            draft.base = self.named_type(holder, &base)?;
        }
        if let Some(own) = self.schema_type(number) {
            (own.base, own.by) = (draft.base, draft.by);
        }
        let mut facets = Vec::new();
        let mut inline = None;
        for child in self.below(holder) {
            match self.local(child) {
                b"attribute" | b"attributeGroup" | b"anyAttribute" => {}
                b"all" | b"choice" | b"sequence" | b"group" if simple.is_none() => {
                    if !matches!(draft.shape, Shape::Children(None)) {
                        return Err(self.wrong(child, "a type has one group of children"));
                    }
                    draft.shape = Shape::Children(self.particle(child)?);
                }
                b"simpleType" if simple.is_some() && draft.by == BY_RESTRICTION => {
                    inline = Some(self.awaited(child));
                }
                _ if simple.is_some() && draft.by == BY_RESTRICTION => facets.push(child),
                other => {
                    let other = String::from_utf8_lossy(other).into_owned();
                    return Err(self.wrong(child, format!("`{other}` stands where it cannot")));
                }
            }
        }
        if simple.is_some() {
            draft.shape = match draft.by {
                BY_EXTENSION => Shape::Text,
                _ => Shape::Restricted(inline, facets),
            };
        }
        (draft.uses, draft.any_attribute) = self.attributes(holder)?;
        Ok(draft)
    }

    fn schema_type(&mut self, number: u32) -> Option<&mut Type> {
        self.schema.types.get_mut(number as usize)
    }

    /// How often a part may come.
    fn occurs(&self, at: At) -> Result<(u32, Option<u32>), Wrong> {
        let count = |name: &str| match self.text(at, name) {
            None => Ok(Some(1)),
            Some(text) if text == "unbounded" && name == "maxOccurs" => Ok(None),
            Some(text) => match text.parse::<u32>() {
                Ok(count) => Ok(Some(count)),
                Err(_) => Err(self.wrong(at, format!("`{name}` is not `{text}`"))),
            },
        };
        let (min, max) = (count("minOccurs")?.unwrap_or(1), count("maxOccurs")?);
        if max.is_some_and(|max| max < min) {
            return Err(self.wrong(at, "`maxOccurs` is less than `minOccurs`"));
        }
        Ok((min, max))
    }

    fn add(&mut self, at: At, particle: Particle) -> Result<Option<u32>, Wrong> {
        if particle.max == Some(0) {
            return Ok(None);
        }
        let is_empty = match &particle.term {
            Term::One(_) => false,
            Term::Sequence(parts) | Term::All(parts) => parts.is_empty(),
            Term::Choice(parts) if parts.is_empty() && particle.min > 0 => {
                return Err(self.wrong(at, "a choice of nothing, which nothing fits"));
            }
            Term::Choice(parts) => parts.is_empty(),
        };
        if is_empty {
            return Ok(None);
        }
        if self.parts.parts.len() >= SCHEMA_PARTS_MAX {
            return Err(
                self.wrong(at, format!("content models of more than {SCHEMA_PARTS_MAX} parts in all"))
            );
        }
        let number = u32::try_from(self.parts.parts.len()).unwrap_or(u32::MAX);
        self.parts.parts.push(particle);
        Ok(Some(number))
    }

    /// Opens a group of children, or the one that a reference names.
    fn open(&self, at: At) -> Result<Open, Wrong> {
        let (min, max) = self.occurs(at)?;
        let (mut inner, mut group) = (at, None);
        if self.local(at) == b"group" {
            let Some(name) = self.text(at, "ref") else {
                return Err(self.wrong(at, "a group that names none"));
            };
            let key = (Top::Group, self.qualified(at, &name)?);
            let found = self.tops.get(&key).copied();
            let found = found.ok_or_else(|| self.wrong(at, format!("there is no group `{name}`")))?;
            let below = self.below(found);
            let [only] = below.as_slice() else {
                return Err(self.wrong(found, "a group holds one of all, choice, sequence"));
            };
            (inner, group) = (*only, Some(found));
        }
        let kind = self.local(inner);
        if !matches!(kind, b"all" | b"choice" | b"sequence") {
            return Err(self.wrong(inner, "a group holds one of all, choice, sequence"));
        }
        if kind == b"all" && (max != Some(1) || min > 1) {
            return Err(self.wrong(at, "`all` comes once at most"));
        }
        Ok(Open {
            at: inner,
            is_choice: kind == b"choice",
            is_all: kind == b"all",
            min,
            max,
            below: self.below(inner).into_iter(),
            made: Vec::new(),
            group,
        })
    }

    /// Reads a group of children; groups within groups stand on a stack.
    fn particle(&mut self, at: At) -> Result<Option<u32>, Wrong> {
        let mut stack = vec![self.open(at)?];
        loop {
            let Some(top) = stack.last_mut() else { return Ok(None) };
            let Some(child) = top.below.next() else {
                let Some(done) = stack.pop() else { return Ok(None) };
                let term = match (done.is_all, done.is_choice) {
                    (true, _) => Term::All(done.made),
                    (_, true) => Term::Choice(done.made),
                    _ => Term::Sequence(done.made),
                };
                let own = self.add(done.at, Particle { min: done.min, max: done.max, term })?;
                match stack.last_mut() {
                    Some(parent) => {
                        // A choice that may be nothing by one of its parts.
                        if own.is_none() && parent.is_choice && done.max != Some(0) {
                            parent.min = 0;
                        }
                        parent.made.extend(own);
                    }
                    None => return Ok(own),
                }
                continue;
            };
            let is_all = top.is_all;
            let part = match self.local(child) {
                b"element" => self.child_element(child)?,
                b"any" if !is_all => {
                    let wildcard = self.wildcard(child)?;
                    self.schema.wildcards.push(wildcard);
                    Part::Wildcard(u32::try_from(self.schema.wildcards.len() - 1).unwrap_or(u32::MAX))
                }
                b"choice" | b"sequence" | b"group" if !is_all => {
                    let open = self.open(child)?;
                    if open.is_all {
                        return Err(self.wrong(child, "`all` stands alone in a type"));
                    }
                    if open.group.is_some() && stack.iter().any(|outer| outer.group == open.group) {
                        return Err(self.wrong(child, "the group contains itself"));
                    }
                    if stack.len() >= MODEL_DEPTH_MAX {
                        let what = format!("more than {MODEL_DEPTH_MAX} groups in each other");
                        return Err(self.wrong(child, what));
                    }
                    stack.push(open);
                    continue;
                }
                other => {
                    let other = String::from_utf8_lossy(other).into_owned();
                    return Err(self.wrong(child, format!("`{other}` stands where it cannot")));
                }
            };
            let (min, max) = self.occurs(child)?;
            if is_all && max.is_none_or(|max| max > 1) {
                return Err(self.wrong(child, "an element of `all` comes once at most"));
            }
            let own = self.add(child, Particle { min, max, term: Term::One(part) })?;
            if let Some(top) = stack.last_mut() {
                top.made.extend(own);
            }
        }
    }

    /// Checks that a reference says nothing that what it refers to says (§3.2.3, §3.3.3).
    fn refers_only(&self, at: At, never: &[&str]) -> Result<(), Wrong> {
        let said = never.iter().find(|name| self.text(at, name).is_some());
        match said {
            Some(name) => Err(self.wrong(at, format!("a reference does not say `{name}`"))),
            None if !self.below(at).is_empty() => Err(self.wrong(at, "a reference holds nothing")),
            None => Ok(()),
        }
    }

    /// An element among the children of a type: one of the top, or its own.
    fn child_element(&mut self, at: At) -> Result<Part, Wrong> {
        if let Some(name) = self.text(at, "ref") {
            self.refers_only(at, &["name", "type", "nillable", "default", "fixed", "form", "block"])?;
            let (namespace, local) = self.qualified(at, &name)?;
            let number = self.schema.name(&namespace, &local);
            let found = number.and_then(|number| self.schema.top_elements.get(&number)).copied();
            return found
                .map(Part::Element)
                .ok_or_else(|| self.wrong(at, format!("there is no element `{name}`")));
        }
        let Some(name) = self.text(at, "name") else {
            return Err(self.wrong(at, "an element without a name"));
        };
        let source = self.source(at)?;
        let is_qualified = match self.text(at, "form").as_deref() {
            Some(form) => form == "qualified",
            None => source.are_elements_qualified,
        };
        let namespace = if is_qualified { source.target.clone() } else { Box::default() };
        let number = self.number(&(namespace, name.as_bytes().into()));
        let element = self.element(at, number)?;
        self.schema.elements.push(element);
        Ok(Part::Element(u32::try_from(self.schema.elements.len() - 1).unwrap_or(u32::MAX)))
    }

    /// A wildcard (§3.10.2).
    fn wildcard(&self, at: At) -> Result<Wildcard, Wrong> {
        let target = self.source(at)?.target.clone();
        let text = self.text(at, "namespace").unwrap_or_else(|| "##any".to_owned());
        let space = match text.as_str() {
            "##any" => Space::Any,
            "##other" => Space::Not(target),
            _ => Space::OneOf(
                text.split_ascii_whitespace()
                    .map(|word| match word {
                        "##targetNamespace" => target.clone(),
                        "##local" => Box::default(),
                        word => word.as_bytes().into(),
                    })
                    .collect(),
            ),
        };
        let process = match self.text(at, "processContents").as_deref() {
            None | Some("strict") => Process::Strict,
            Some("lax") => Process::Lax,
            Some("skip") => Process::Skip,
            Some(other) => return Err(self.wrong(at, format!("`processContents` is not `{other}`"))),
        };
        Ok(Wildcard { space, process })
    }

    /// The attributes that an element of a schema gives a type, those of groups it names among them.
    fn attributes(&mut self, at: At) -> Result<(Vec<Use>, Option<Wildcard>), Wrong> {
        let mut uses = Vec::new();
        let mut any: Option<Wildcard> = None;
        let mut open = vec![at];
        let mut seen = vec![at];
        while let Some(holder) = open.pop() {
            for child in self.below(holder) {
                match self.local(child) {
                    b"attribute" => uses.push(self.attribute_use(child)?),
                    b"attributeGroup" => {
                        let Some(name) = self.text(child, "ref") else {
                            return Err(self.wrong(child, "a group of attributes that names none"));
                        };
                        let key = (Top::AttributeGroup, self.qualified(child, &name)?);
                        let found = self.tops.get(&key).copied();
                        let found = found.ok_or_else(|| {
                            self.wrong(child, format!("there is no group of attributes `{name}`"))
                        })?;
                        if !seen.contains(&found) {
                            seen.push(found);
                            open.push(found);
                        }
                    }
                    b"anyAttribute" => {
                        let own = self.wildcard(child)?;
                        any = Some(match any {
                            None => own,
                            Some(before) => before.both(&own).ok_or_else(|| {
                                self.wrong(child, "wildcards whose intersection cannot be said")
                            })?,
                        });
                    }
                    _ if holder == at => {}
                    other => {
                        let other = String::from_utf8_lossy(other).into_owned();
                        return Err(self.wrong(child, format!("`{other}` within a group of attributes")));
                    }
                }
            }
        }
        Ok((uses, any))
    }

    fn attribute_use(&mut self, at: At) -> Result<Use, Wrong> {
        let (is_required, is_prohibited) = match self.text(at, "use").as_deref() {
            None | Some("optional") => (false, false),
            Some("required") => (true, false),
            Some("prohibited") => (false, true),
            Some(other) => return Err(self.wrong(at, format!("`use` is not `{other}`"))),
        };
        if self.text(at, "default").is_some() && (is_required || is_prohibited) {
            return Err(self.wrong(at, "an attribute with a default is optional"));
        }
        let (name, attribute) = if let Some(name) = self.text(at, "ref") {
            self.refers_only(at, &["name", "type", "form"])?;
            let (namespace, local) = self.qualified(at, &name)?;
            let number = self.number(&(namespace, local));
            let found = self.schema.top_attributes.get(&number).copied();
            let found = found.and_then(|found| self.schema.attributes.get(found as usize)).cloned();
            let mut own = found.ok_or_else(|| self.wrong(at, format!("there is no attribute `{name}`")))?;
            if let Some(fixed) = self.text(at, "fixed") {
                own.fixed = Some(fixed.into_bytes().into());
            }
            (number, own)
        } else {
            let Some(name) = self.text(at, "name") else {
                return Err(self.wrong(at, "an attribute without a name"));
            };
            let source = self.source(at)?;
            let is_qualified = match self.text(at, "form").as_deref() {
                Some(form) => form == "qualified",
                None => source.are_attributes_qualified,
            };
            let namespace = if is_qualified { source.target.clone() } else { Box::default() };
            let number = self.number(&(namespace, name.as_bytes().into()));
            (number, self.attribute(at)?)
        };
        Ok(Use { name, attribute, is_required, is_prohibited })
    }

    /// Makes a complex type; what it is derived from is made.
    pub(super) fn finish_complex(&mut self, at: At, draft: Draft) -> Result<Complex, Wrong> {
        let Draft { number, base, by, mut is_mixed, shape, uses, any_attribute } = draft;
        let of_base = self.schema.types.get(base as usize).map(|base| &base.content);
        let (base_text, base_mixed) = match of_base {
            Some(Content::Simple(_)) => (Some(base), false),
            Some(Content::Complex(complex)) => match complex.inner {
                Inner::Text(text) => (Some(text), false),
                _ => (None, complex.is_mixed),
            },
            _ => (None, false),
        };
        let inner = match shape {
            Shape::Text => match base_text {
                Some(text) => Inner::Text(text),
                None => return Err(self.wrong(at, "simple content extends what has none")),
            },
            Shape::Restricted(inline, facets) => {
                let from = inline.or(base_text).filter(|_| base_text != Some(base));
                let Some(from) = from else {
                    return Err(self.wrong(at, "simple content restricts what has none"));
                };
                let simple = self.restricted(at, from, &facets)?;
                let text = u32::try_from(self.schema.types.len()).unwrap_or(u32::MAX);
                let content = Content::Simple(Box::new(simple));
                self.schema.types.push(Type {
                    base: from,
                    by: BY_RESTRICTION,
                    is_abstract: false,
                    block: 0,
                    content,
                });
                Inner::Text(text)
            }
            // An extension by attributes alone keeps what stands between the tags (§3.4.2).
            Shape::Children(None) if by == BY_EXTENSION && base_text.is_some_and(|text| text != base) => {
                Inner::Text(base_text.unwrap_or(base))
            }
            Shape::Children(mut own) => {
                if by == BY_EXTENSION && base == ANY_TYPE && own.is_none() {
                    // The wildcard of `anyType`, which is the first.
                    let term = Term::One(Part::Wildcard(0));
                    own = self.add(at, Particle { min: 0, max: None, term })?;
                    is_mixed = true;
                } else if by == BY_EXTENSION && (base_text.is_some() || base == ANY_TYPE) {
                    let what =
                        "complex content extends simple content, or anyType by children, which is not read";
                    return Err(self.wrong(at, what));
                }
                let before = if by == BY_EXTENSION { self.parts.of_type.get(&base).copied() } else { None };
                let whole = match (before, own) {
                    (Some(before), Some(own)) => {
                        if is_mixed != base_mixed {
                            return Err(self.wrong(at, "an extension is mixed as its base is, or neither is"));
                        }
                        let term = Term::Sequence(vec![before, own]);
                        self.add(at, Particle { min: 1, max: Some(1), term })?
                    }
                    (before, own) => before.or(own),
                };
                if by == BY_EXTENSION && own.is_none() {
                    is_mixed |= base_mixed;
                }
                if let Some(whole) = whole {
                    self.parts.of_type.insert(number, whole);
                }
                self.model(at, whole)?
            }
        };
        let mut complex =
            Complex { inner, is_mixed, uses: HashMap::default(), required: Vec::new(), any_attribute };
        self.inherit(at, base, by, &mut complex)?;
        let mut names: Vec<u32> = uses.iter().map(|own| own.name).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(self.wrong(at, format!("the attribute {} is there twice", self.shown(*twice))));
        }
        for own in uses {
            // What an extension prohibits has no effect (§3.2.1).
            if by == BY_EXTENSION && own.is_prohibited {
                continue;
            }
            if complex.required.contains(&own.name) && !own.is_required {
                let name = self.shown(own.name);
                return Err(
                    self.wrong(at, format!("a restriction requires the attribute {name}, as its base does"))
                );
            }
            complex.required.retain(|name| *name != own.name);
            if own.is_prohibited {
                complex.uses.remove(&own.name);
                continue;
            }
            if own.is_required {
                complex.required.push(own.name);
            }
            let is_fixed = own.attribute.fixed.as_ref().is_some_and(|fixed| {
                use super::simple::Types;
                self.schema.value(own.attribute.of, fixed, &mut super::simple::Found::default()).is_none()
            });
            if is_fixed {
                return Err(self.wrong(at, "the fixed value of an attribute is not of its type"));
            }
            complex.uses.insert(own.name, own.attribute);
        }
        Ok(complex)
    }

    /// Takes over the attributes of the base (§3.4.2).
    fn inherit(&self, at: At, base: u32, by: u8, complex: &mut Complex) -> Result<(), Wrong> {
        let base_of = self.schema.types.get(base as usize).filter(|_| base != ANY_TYPE);
        let Some(Content::Complex(parent)) = base_of.map(|base| &base.content) else { return Ok(()) };
        complex.uses.clone_from(&parent.uses);
        complex.required.clone_from(&parent.required);
        if by == BY_RESTRICTION && complex.any_attribute.is_some() && parent.any_attribute.is_none() {
            return Err(self.wrong(at, "a restriction lets in any attributes, and its base none"));
        }
        if by == BY_EXTENSION {
            complex.any_attribute = match (complex.any_attribute.take(), &parent.any_attribute) {
                (None, of_base) => of_base.clone(),
                (own, None) => own,
                (Some(own), Some(of_base)) => Some(
                    own.either(of_base)
                        .ok_or_else(|| self.wrong(at, "wildcards whose union cannot be said"))?,
                ),
            };
        }
        Ok(())
    }

    /// The names that may stand for a part: an element's own and those in its place.
    fn symbols(&self, part: Part) -> Vec<u32> {
        let number = match part {
            Part::Wildcard(number) => return vec![WILD | number],
            Part::Element(number) => number,
        };
        let Some(head) = self.schema.elements.get(number as usize) else { return Vec::new() };
        let mut symbols = vec![head.name];
        let is_top = self.schema.top_elements.get(&head.name) == Some(&number);
        let own_block = self.schema.types.get(head.of as usize).map_or(0, |own| own.block);
        let block = head.block | own_block;
        if !is_top || block & BY_SUBSTITUTION != 0 {
            return symbols;
        }
        for member in self.members.get(&number).into_iter().flatten() {
            let Some(member) = self.schema.elements.get(*member as usize) else { continue };
            if self.schema.is_derived(member.of, head.of, block) {
                symbols.push(member.name);
            }
        }
        symbols
    }

    /// Makes the model of a part.
    fn model(&mut self, at: At, part: Option<u32>) -> Result<Inner, Wrong> {
        let Some(part) = part else { return Ok(Inner::Nothing) };
        let particle = |number: u32| self.parts.parts.get(number as usize);
        if let Some(Particle { min, term: Term::All(members), .. }) = particle(part) {
            let (mut names, mut all) = (ByNumber::default(), Vec::new());
            for member in members {
                let Some(Particle { min, term: Term::One(one @ Part::Element(element)), .. }) =
                    particle(*member)
                else {
                    continue;
                };
                let place = u32::try_from(all.len()).unwrap_or(u32::MAX);
                all.push((*element, *min > 0));
                for symbol in self.symbols(*one) {
                    if names.insert(symbol, place).is_some() {
                        return Err(self.wrong(at, "an element is twice in `all`"));
                    }
                }
            }
            return Ok(Inner::All { names, members: all, is_optional: *min == 0 });
        }
        let mut builder = Builder::default();
        let mut parts = Vec::new();
        let mut tasks = vec![Task::Visit(part)];
        let mut result = Ok(());
        while let Some(task) = tasks.pop() {
            result = match task {
                Task::Nothing => {
                    builder.nothing();
                    Ok(())
                }
                Task::Sequence => builder.sequence(),
                Task::Choice => builder.choice(),
                Task::Occurs(min, max) => builder.occurs(min, max),
                Task::Visit(number) => {
                    let Some(Particle { min, max, term }) = particle(number) else { continue };
                    tasks.push(Task::Occurs(*min, *max));
                    match term {
                        Term::One(one) => {
                            parts.push(*one);
                            builder.name(&self.symbols(*one))
                        }
                        Term::All(_) => return Err(self.wrong(at, "`all` stands alone in a type")),
                        Term::Sequence(inner) | Term::Choice(inner) => {
                            let is_choice = matches!(term, Term::Choice(_));
                            for (place, inner) in inner.iter().enumerate().rev() {
                                if place > 0 {
                                    tasks.push(if is_choice { Task::Choice } else { Task::Sequence });
                                }
                                tasks.push(Task::Visit(*inner));
                            }
                            if inner.is_empty() {
                                tasks.push(Task::Nothing);
                            }
                            Ok(())
                        }
                    }
                }
            };
            if result.is_err() {
                break;
            }
        }
        let wildcard = |symbol: u32| self.schema.wildcards.get((symbol & !WILD) as usize);
        let overlap = |one: u32, other: u32| match (wildcard(one), other & WILD != 0) {
            (Some(one), true) => wildcard(other).is_some_and(|other| one.overlaps(other)),
            (Some(one), false) => self.namespace_of(other).is_some_and(|namespace| one.takes(namespace)),
            (None, _) => false,
        };
        let model =
            result.and_then(|()| builder.finish(overlap)).map_err(|problem| self.refused(at, problem))?;
        self.parts.links += model.links_count();
        if self.parts.links > GRAMMAR_LINKS_MAX {
            return Err(self.wrong(at, "its content models are too large in all"));
        }
        Ok(Inner::Model(model, parts))
    }

    fn refused(&self, at: At, problem: ModelProblem) -> Wrong {
        let shown = |symbol: u32| match symbol & WILD {
            0 => self.shown(symbol),
            _ => "child that a wildcard takes".to_owned(),
        };
        match problem {
            ModelProblem::TooLarge => self.wrong(at, "the content model is too large"),
            ModelProblem::Ambiguous(symbol) => self.wrong(
                at,
                format!("the content model is ambiguous: a {} could be two parts of it", shown(symbol)),
            ),
            ModelProblem::Uncountable(symbol) => self.wrong(
                at,
                format!("how often a part comes cannot be told: counts within counts of a {}", shown(symbol)),
            ),
        }
    }
}
