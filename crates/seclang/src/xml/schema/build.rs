//! From the files of a schema to its tables: declarations found, types drafted, then made in order.
//!
//! First all names at the top get numbers, so that anything may refer to anything. Then each type is drafted
//! from its element (types within types wait in a queue), and at last types are made, each after those it is
//! derived from. Complex content is [`super::complex`]'s. Called by [`Schema::parse`].

use hashbrown::HashMap;

use super::simple::{Simple, Types, Variety, White, built_in};
use super::source::{Name, Source};
use super::value::Primitive;
use super::wildcard::{Process, Space, Wildcard};
use super::{
    ANY_TYPE, Attribute, BY_EXTENSION, BY_RESTRICTION, BY_SUBSTITUTION, Complex, Content, Element, Inner,
    Part, Schema, Type, XSD_URI, pattern,
};
use crate::problem::Wrong;
use crate::xml::limits::SUBSTITUTION_DEPTH_MAX;
use crate::xml::model::Builder;
use crate::xml::tree::XML_URI;

/// An element of one of a schema's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct At {
    pub(super) file: usize,
    pub(super) node: u32,
}

/// A kind of thing that is named at the top of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Top {
    Element,
    Attribute,
    Type,
    Group,
    AttributeGroup,
}

/// A type before it is made.
#[derive(Debug)]
pub(super) enum Draft {
    Made,
    /// Restricts its base by these facets.
    Restriction(u32, Vec<At>),
    List(u32),
    Union(Vec<u32>),
    Complex(super::complex::Draft),
}

/// A schema under way.
pub(super) struct Build {
    pub(super) sources: Vec<Source>,
    pub(super) schema: Schema,
    pub(super) tops: HashMap<(Top, Name), At, foldhash::fast::FixedState>,
    /// Types to be drafted: their number and element.
    queue: Vec<(u32, At)>,
    drafts: Vec<Draft>,
    /// Where each type stands, for what is wrong with it.
    places: Vec<Option<At>>,
    pub(super) parts: super::complex::Parts,
    /// Names by number.
    known: Vec<Name>,
    pub(super) keys: super::keys::Reading,
    /// Elements that may stand in place of each, those in place of them among them.
    pub(super) members: HashMap<u32, Vec<u32>, foldhash::fast::FixedState>,
}

/// Builds a schema from its files.
pub(super) fn build(sources: Vec<Source>) -> Result<Schema, Wrong> {
    let mut build = Build {
        sources,
        schema: Schema::default(),
        tops: HashMap::default(),
        queue: Vec::new(),
        drafts: Vec::new(),
        places: Vec::new(),
        parts: super::complex::Parts::default(),
        known: Vec::new(),
        keys: super::keys::Reading::default(),
        members: HashMap::default(),
    };
    build.built_in()?;
    build.tops()?;
    build.declare()?;
    while let Some((number, at)) = build.queue.pop() {
        let draft = build.draft(number, at)?;
        if let Some(slot) = build.drafts.get_mut(number as usize) {
            *slot = draft;
        }
    }
    build.make()?;
    build.resolve_keys()?;
    build.judge_defaults()?;
    Ok(build.schema)
}

impl Build {
    pub(super) fn source(&self, at: At) -> Result<&Source, Wrong> {
        self.sources.get(at.file).ok_or_else(|| Wrong::new("a schema lost a file"))
    }

    pub(super) fn wrong(&self, at: At, what: impl std::fmt::Display) -> Wrong {
        match self.sources.get(at.file) {
            Some(source) => source.wrong(at.node, what),
            None => Wrong::new(what.to_string()),
        }
    }

    pub(super) fn text(&self, at: At, name: &str) -> Option<String> {
        let source = self.sources.get(at.file)?;
        source.text(source.tree.node(at.node)?, name)
    }

    pub(super) fn flag(&self, at: At, name: &str) -> Result<bool, Wrong> {
        let source = self.source(at)?;
        source.tree.node(at.node).map_or(Ok(false), |node| source.flag(at.node, node, name))
    }

    pub(super) fn local(&self, at: At) -> &[u8] {
        let source = self.sources.get(at.file);
        source.and_then(|source| Some(source.local(source.tree.node(at.node)?))).unwrap_or_default()
    }

    /// The elements below one, without annotations.
    pub(super) fn below(&self, at: At) -> Vec<At> {
        let below = |source: &Source| source.elements(at.node).map(|(node, _)| At { node, ..at }).collect();
        self.sources.get(at.file).map(below).unwrap_or_default()
    }

    pub(super) fn child(&self, at: At, name: &[u8]) -> Option<At> {
        self.below(at).into_iter().find(|child| self.local(*child) == name)
    }

    pub(super) fn qualified(&self, at: At, text: &str) -> Result<Name, Wrong> {
        self.source(at)?.qualified(at.node, text)
    }

    /// The number of a name, new or known.
    pub(super) fn number(&mut self, name: &Name) -> u32 {
        let own = self.schema.names.entry(name.0.clone()).or_default();
        let fresh = self.schema.names_count;
        let number = *own.entry(name.1.clone()).or_insert(fresh);
        if number == fresh {
            self.schema.names_count += 1;
            self.known.push(name.clone());
        }
        number
    }

    pub(super) fn namespace_of(&self, number: u32) -> Option<&[u8]> {
        self.known.get(number as usize).map(|(namespace, _)| &**namespace)
    }

    /// A name for people.
    pub(super) fn shown(&self, number: u32) -> String {
        let local = self.known.get(number as usize).map(|(_, local)| String::from_utf8_lossy(local));
        format!("`{}`", local.unwrap_or_default())
    }

    fn built_in(&mut self) -> Result<(), Wrong> {
        for (name, base, simple) in built_in() {
            let number = self.number(&(XSD_URI.into(), name.as_bytes().into()));
            let base = self.schema.name(XSD_URI, base.as_bytes());
            let base = base.and_then(|base| self.schema.top_types.get(&base)).copied().unwrap_or(ANY_TYPE);
            let content = match simple {
                Some(simple) => Content::Simple(Box::new(simple)),
                None => {
                    self.schema.wildcards.push(Wildcard { space: Space::Any, process: Process::Lax });
                    let mut model = Builder::default();
                    let wild = model.name(&[crate::xml::model::WILD]).and_then(|()| model.occurs(0, None));
                    let model = wild.and_then(|()| model.finish(|_, _| true));
                    let model = model.map_err(|_| Wrong::new("anyType"))?;
                    Content::Complex(Box::new(Complex {
                        inner: Inner::Model(model, vec![Part::Wildcard(0)]),
                        is_mixed: true,
                        uses: HashMap::default(),
                        required: Vec::new(),
                        any_attribute: Some(Wildcard { space: Space::Any, process: Process::Lax }),
                    }))
                }
            };
            let own = self.add_type(base, BY_RESTRICTION, content, None);
            self.schema.top_types.insert(number, own);
        }
        for (name, item) in [("NMTOKENS", "NMTOKEN"), ("IDREFS", "IDREF"), ("ENTITIES", "ENTITY")] {
            let item = self.schema.name(XSD_URI, item.as_bytes());
            let item = item.and_then(|item| self.schema.top_types.get(&item)).copied().unwrap_or(ANY_TYPE);
            let mut simple = Simple::of(Variety::List(item), White::Collapse);
            simple.length_min = 1;
            let number = self.number(&(XSD_URI.into(), name.as_bytes().into()));
            let own = self.add_type(1, BY_RESTRICTION, Content::Simple(Box::new(simple)), None);
            self.schema.top_types.insert(number, own);
        }
        // Attributes of `xml:`, whose schema nobody has beside theirs.
        for (name, of) in [("lang", "language"), ("space", "NCName"), ("base", "anyURI"), ("id", "ID")] {
            let of = self.schema.name(XSD_URI, of.as_bytes());
            let of = of.and_then(|of| self.schema.top_types.get(&of)).copied().unwrap_or(ANY_TYPE);
            let number = self.number(&(XML_URI.into(), name.as_bytes().into()));
            self.add_attribute(number, Attribute { of, fixed: None });
        }
        Ok(())
    }

    fn add_attribute(&mut self, number: u32, attribute: Attribute) {
        let own = u32::try_from(self.schema.attributes.len()).unwrap_or(u32::MAX);
        self.schema.attributes.push(attribute);
        self.schema.top_attributes.insert(number, own);
    }

    fn add_type(&mut self, base: u32, by: u8, content: Content, at: Option<At>) -> u32 {
        let number = u32::try_from(self.schema.types.len()).unwrap_or(u32::MAX);
        self.schema.types.push(Type { base, by, is_abstract: false, block: 0, content });
        self.drafts.push(Draft::Made);
        self.places.push(at);
        number
    }

    /// A type whose element is to be drafted.
    pub(super) fn awaited(&mut self, at: At) -> u32 {
        let number = self.add_type(ANY_TYPE, BY_RESTRICTION, Content::Awaited, Some(at));
        self.queue.push((number, at));
        number
    }

    /// Finds everything that is named at the top.
    fn tops(&mut self) -> Result<(), Wrong> {
        for file in 0..self.sources.len() {
            for at in self.below(At { file, node: 1 }) {
                let top = match self.local(at) {
                    b"element" => Top::Element,
                    b"attribute" => Top::Attribute,
                    b"complexType" | b"simpleType" => Top::Type,
                    b"group" => Top::Group,
                    b"attributeGroup" => Top::AttributeGroup,
                    b"include" | b"import" | b"notation" => continue,
                    other => {
                        let other = String::from_utf8_lossy(other);
                        return Err(self.wrong(at, format!("`{other}` at the top of a schema")));
                    }
                };
                let Some(name) = self.text(at, "name") else { return Err(self.wrong(at, "it has no name")) };
                let target = self.source(at)?.target.clone();
                let key = (top, (target, name.as_bytes().into()));
                if self.tops.insert(key, at).is_some() {
                    return Err(self.wrong(at, format!("`{name}` is declared twice")));
                }
            }
        }
        Ok(())
    }

    /// Gives numbers to types, elements and attributes at the top, then reads what elements and attributes
    /// say.
    fn declare(&mut self) -> Result<(), Wrong> {
        let mut all: Vec<((Top, Name), At)> = self.tops.iter().map(|(key, at)| (key.clone(), *at)).collect();
        all.sort_by_key(|(_, at)| (at.file, at.node));
        let (mut elements, mut attributes) = (Vec::new(), Vec::new());
        for ((top, name), at) in all {
            let number = self.number(&name);
            match top {
                Top::Type => {
                    let own = self.awaited(at);
                    self.schema.top_types.insert(number, own);
                }
                Top::Element => {
                    let own = u32::try_from(self.schema.elements.len()).unwrap_or(u32::MAX);
                    self.schema.elements.push(Element { name: number, ..Element::default() });
                    self.schema.top_elements.insert(number, own);
                    elements.push((own, at));
                }
                Top::Attribute => attributes.push((number, at)),
                Top::Group | Top::AttributeGroup => {}
            }
        }
        for (number, at) in attributes {
            let attribute = self.attribute(at)?;
            self.add_attribute(number, attribute);
        }
        for (own, at) in elements {
            let name = self.schema.elements.get(own as usize).map_or(0, |element| element.name);
            let element = self.element(at, name)?;
            if let Some(slot) = self.schema.elements.get_mut(own as usize) {
                *slot = element;
            }
        }
        self.inherit_from_heads()?;
        self.gather_members()
    }

    /// Elements in place of others have their type unless they say one (part 1 §3.3.2).
    fn inherit_from_heads(&mut self) -> Result<(), Wrong> {
        for own in 0..self.schema.elements.len() {
            let mut at = own;
            for steps in 0.. {
                let Some(element) = self.schema.elements.get(at) else { break };
                let (of, head) = (element.of, element.head);
                if of != u32::MAX || head == 0 {
                    let of = if of == u32::MAX { ANY_TYPE } else { of };
                    if let Some(element) = self.schema.elements.get_mut(own) {
                        element.of = of;
                    }
                    break;
                }
                if steps > self.schema.elements.len() {
                    return Err(Wrong::new("elements that stand in place of each other in a circle"));
                }
                at = head as usize - 1;
            }
        }
        Ok(())
    }

    /// Gathers the elements that may stand in place of each (part 1 §3.3.6).
    fn gather_members(&mut self) -> Result<(), Wrong> {
        for (own, element) in (0_u32..).zip(&self.schema.elements) {
            let mut head = element.head;
            let mut depth = 0;
            while let Some(at) = head.checked_sub(1) {
                depth += 1;
                if depth > SUBSTITUTION_DEPTH_MAX {
                    let name = self.shown(element.name);
                    return Err(Wrong::new(format!(
                        "{name} stands in place of others over more than {SUBSTITUTION_DEPTH_MAX} steps, \
                            or in a circle"
                    )));
                }
                self.members.entry(at).or_default().push(own);
                head = self.schema.elements.get(at as usize).map_or(0, |element| element.head);
            }
        }
        Ok(())
    }

    /// What `block` says, or its default.
    fn block(&self, at: At) -> Result<u8, Wrong> {
        let default = || {
            String::from_utf8_lossy(&self.source(at).map(|one| one.block_default.clone()).unwrap_or_default())
                .into_owned()
        };
        let text = self.text(at, "block").unwrap_or_else(default);
        text.split_ascii_whitespace().try_fold(0, |all, word| match word {
            "#all" => Ok(BY_EXTENSION | BY_RESTRICTION | BY_SUBSTITUTION),
            "extension" => Ok(all | BY_EXTENSION),
            "restriction" => Ok(all | BY_RESTRICTION),
            "substitution" => Ok(all | BY_SUBSTITUTION),
            other => Err(self.wrong(at, format!("`block` does not take `{other}`"))),
        })
    }

    /// The type that a declaration names or holds; nothing where it does neither.
    fn type_of(&mut self, at: At) -> Result<Option<u32>, Wrong> {
        let inner = self.child(at, b"simpleType").or_else(|| self.child(at, b"complexType"));
        match (self.text(at, "type"), inner) {
            (Some(_), Some(_)) => Err(self.wrong(at, "it names a type and holds another")),
            (Some(name), None) => self.named_type(at, &name).map(Some),
            (None, Some(inner)) if self.text(inner, "name").is_some() => {
                Err(self.wrong(inner, "a type within has no name"))
            }
            (None, Some(inner)) => Ok(Some(self.awaited(inner))),
            (None, None) => Ok(None),
        }
    }

    pub(super) fn named_type(&self, at: At, text: &str) -> Result<u32, Wrong> {
        let (namespace, local) = self.qualified(at, text)?;
        let number = self.schema.name(&namespace, &local);
        let found = number.and_then(|number| self.schema.top_types.get(&number)).copied();
        found.ok_or_else(|| self.wrong(at, format!("there is no type `{text}`, or it is not read")))
    }

    /// A type that must be simple; known once types are drafted, by its element before.
    pub(super) fn element(&mut self, at: At, name: u32) -> Result<Element, Wrong> {
        self.has_one_value(at)?;
        let mut constraints = Vec::new();
        for child in self.below(at) {
            match self.local(child) {
                b"simpleType" | b"complexType" => {}
                b"unique" | b"key" | b"keyref" => constraints.push(self.constraint(child)?),
                other => {
                    let other = String::from_utf8_lossy(other).into_owned();
                    return Err(self.wrong(child, format!("`{other}` within an element")));
                }
            }
        }
        let of = self.type_of(at)?;
        let head = match self.text(at, "substitutionGroup") {
            None => 0,
            Some(text) => {
                let (namespace, local) = self.qualified(at, &text)?;
                let number = self.schema.name(&namespace, &local);
                let found = number.and_then(|number| self.schema.top_elements.get(&number)).copied();
                found.ok_or_else(|| self.wrong(at, format!("there is no element `{text}`")))? + 1
            }
        };
        let value = |name: &str| {
            let source = self.sources.get(at.file)?;
            source.bytes(source.tree.node(at.node)?, name).map(Into::into)
        };
        Ok(Element {
            name,
            of: of.unwrap_or(if head > 0 { u32::MAX } else { ANY_TYPE }),
            is_nillable: self.flag(at, "nillable")?,
            is_abstract: self.flag(at, "abstract")?,
            block: self.block(at)?,
            default: value("default"),
            fixed: value("fixed"),
            head,
            constraints,
        })
    }

    /// An attribute's declaration; `ref` is resolved by who asks.
    pub(super) fn attribute(&mut self, at: At) -> Result<Attribute, Wrong> {
        self.has_one_value(at)?;
        // `anySimpleType` where none is said.
        let of = self.type_of(at)?.unwrap_or(1);
        let source = self.source(at)?;
        let fixed = source.tree.node(at.node).and_then(|node| source.bytes(node, "fixed")).map(Into::into);
        Ok(Attribute { of, fixed })
    }

    /// Checks that a declaration says a default or a fixed value, not both (part 1 §3.2.3, §3.3.3).
    fn has_one_value(&self, at: At) -> Result<(), Wrong> {
        if self.text(at, "default").is_some() && self.text(at, "fixed").is_some() {
            return Err(self.wrong(at, "it has a default and a fixed value"));
        }
        Ok(())
    }

    /// Reads what a type's element says.
    fn draft(&mut self, number: u32, at: At) -> Result<Draft, Wrong> {
        let is_simple = self.local(at) == b"simpleType";
        if !is_simple {
            let (is_abstract, block) = (self.flag(at, "abstract")?, self.block(at)?);
            if let Some(own) = self.schema.types.get_mut(number as usize) {
                (own.is_abstract, own.block) = (is_abstract, block);
            }
            return self.complex(number, at).map(Draft::Complex);
        }
        let below = self.below(at);
        let [inner] = below.as_slice() else {
            return Err(self.wrong(at, "a simple type is one of restriction, list, union"));
        };
        let inner = *inner;
        match self.local(inner) {
            b"restriction" => {
                let (base, facets) = self.restriction(inner)?;
                if let Some(own) = self.schema.types.get_mut(number as usize) {
                    own.base = base;
                }
                Ok(Draft::Restriction(base, facets))
            }
            b"list" => {
                let item = self.one_type(inner, "itemType")?;
                self.set_base(number, 1);
                Ok(Draft::List(item))
            }
            b"union" => {
                let mut members = Vec::new();
                for name in self.text(inner, "memberTypes").unwrap_or_default().split_ascii_whitespace() {
                    members.push(self.named_type(inner, name)?);
                }
                for member in self.below(inner) {
                    members.push(self.awaited(member));
                }
                self.set_base(number, 1);
                Ok(Draft::Union(members))
            }
            _ => Err(self.wrong(inner, "a simple type is one of restriction, list, union")),
        }
    }

    fn set_base(&mut self, number: u32, base: u32) {
        if let Some(own) = self.schema.types.get_mut(number as usize) {
            own.base = base;
        }
    }

    fn one_type(&mut self, at: At, attribute: &str) -> Result<u32, Wrong> {
        match (self.text(at, attribute), self.child(at, b"simpleType")) {
            (Some(name), None) => self.named_type(at, &name),
            (None, Some(inner)) => Ok(self.awaited(inner)),
            _ => Err(self.wrong(at, format!("it takes `{attribute}` or a simple type within"))),
        }
    }

    /// A restriction of a simple type: its base and its facets.
    pub(super) fn restriction(&mut self, at: At) -> Result<(u32, Vec<At>), Wrong> {
        let base = match self.text(at, "base") {
            Some(name) => self.named_type(at, &name)?,
            None => self.one_type(at, "base")?,
        };
        let facets = self.below(at).into_iter().filter(|child| self.local(*child) != b"simpleType").collect();
        Ok((base, facets))
    }

    /// Makes all types, each after those it needs; a stack stands for recursion.
    fn make(&mut self) -> Result<(), Wrong> {
        let count = self.schema.types.len();
        let mut is_open = vec![false; count];
        for start in 0..count {
            let mut stack = vec![start];
            while let Some(top) = stack.last().copied() {
                let needs: Vec<u32> = match self.drafts.get(top) {
                    Some(Draft::Restriction(base, _)) => vec![*base],
                    Some(Draft::List(item)) => vec![*item],
                    Some(Draft::Union(members)) => members.clone(),
                    Some(Draft::Complex(draft)) => draft.needs(),
                    Some(Draft::Made) | None => Vec::new(),
                };
                let is_made = |number: u32| matches!(self.drafts.get(number as usize), Some(Draft::Made));
                let awaited = needs.into_iter().find(|need| !is_made(*need));
                if let Some(need) = awaited {
                    if is_open.get(need as usize).copied().unwrap_or(true) || need as usize == top {
                        let at = self.places.get(top).copied().flatten().unwrap_or(At { file: 0, node: 1 });
                        return Err(self.wrong(at, "types are derived from each other in a circle"));
                    }
                    if let Some(open) = is_open.get_mut(top) {
                        *open = true;
                    }
                    stack.push(need as usize);
                    continue;
                }
                if let Some(draft) =
                    self.drafts.get_mut(top).map(|draft| std::mem::replace(draft, Draft::Made))
                {
                    self.finish(top, draft)?;
                }
                stack.pop();
            }
        }
        Ok(())
    }

    fn finish(&mut self, number: usize, draft: Draft) -> Result<(), Wrong> {
        let at = self.places.get(number).copied().flatten().unwrap_or(At { file: 0, node: 1 });
        let content = match draft {
            Draft::Made => return Ok(()),
            Draft::Restriction(base, facets) => {
                Content::Simple(Box::new(self.restricted(at, base, &facets)?))
            }
            Draft::List(item) => {
                let is_list = |number: u32| {
                    matches!(
                        self.schema.simple(number),
                        None | Some(Simple { variety: Variety::List(_), .. })
                    )
                };
                let is_deep = match self.schema.simple(item).map(|simple| &simple.variety) {
                    Some(Variety::Union(members)) => members.iter().any(|member| is_list(*member)),
                    _ => is_list(item),
                };
                if is_deep {
                    return Err(self.wrong(at, "the items of a list are neither complex nor lists"));
                }
                Content::Simple(Box::new(Simple::of(Variety::List(item), White::Collapse)))
            }
            Draft::Union(members) => {
                let mut all: Vec<u32> = Vec::new();
                for member in members {
                    match self.schema.simple(member) {
                        None => return Err(self.wrong(at, "the members of a union are simple types")),
                        Some(simple) => match &simple.variety {
                            Variety::Union(_) if simple.has_facets() => {
                                return Err(
                                    self.wrong(at, "a union within a union that has facets is not read")
                                );
                            }
                            Variety::Union(inner) => all.extend_from_slice(inner),
                            _ => all.push(member),
                        },
                    }
                }
                Content::Simple(Box::new(Simple::of(Variety::Union(all.into()), White::Preserve)))
            }
            Draft::Complex(draft) => Content::Complex(Box::new(self.finish_complex(at, draft)?)),
        };
        if let Some(own) = self.schema.types.get_mut(number) {
            own.content = content;
        }
        Ok(())
    }

    /// A simple type with more facets (part 2 §4.3).
    pub(super) fn restricted(&self, at: At, base: u32, facets: &[At]) -> Result<Simple, Wrong> {
        let Some(parent) = self.schema.simple(base) else {
            return Err(self.wrong(at, "a simple type restricts a simple type"));
        };
        let mut own = parent.clone();
        let (mut patterns, mut enumeration) = (Vec::new(), Vec::new());
        for facet in facets {
            let source = self.source(*facet)?;
            let value = source.tree.node(facet.node).and_then(|node| source.bytes(node, "value"));
            let value = value.ok_or_else(|| self.wrong(*facet, "a facet without its value"))?;
            let text = String::from_utf8_lossy(value).into_owned();
            let count = || {
                let trimmed = text.trim();
                trimmed.parse::<usize>().map_err(|_| self.wrong(*facet, format!("`{trimmed}` is no count")))
            };
            let bound = || {
                let found = self.schema.value(base, value, &mut super::simple::Found::default());
                found.ok_or_else(|| self.wrong(*facet, format!("`{text}` is not of the type it restricts")))
            };
            let is_ordered = match parent.variety {
                Variety::Atomic(kind, _) => kind.is_ordered(),
                _ => false,
            };
            let is_number = matches!(parent.variety, Variety::Atomic(Primitive::Decimal, _));
            let has_length = !is_ordered
                && !matches!(parent.variety, Variety::Atomic(Primitive::Boolean, _) | Variety::Union(_));
            let local = self.local(*facet);
            // Its value would depend on prefixes here and there.
            let is_name = matches!(parent.variety, Variety::Atomic(Primitive::Name, _));
            let fits = match local {
                b"enumeration" => !is_name,
                b"length" | b"minLength" | b"maxLength" => has_length,
                b"minInclusive" | b"minExclusive" | b"maxInclusive" | b"maxExclusive" => is_ordered,
                b"totalDigits" | b"fractionDigits" => is_number,
                _ => true,
            };
            if !fits {
                let local = String::from_utf8_lossy(local).into_owned();
                return Err(self.wrong(*facet, format!("the type has no facet `{local}`")));
            }
            match local {
                b"length" => (own.length_min, own.length_max) = (count()?, count()?),
                b"minLength" => own.length_min = count()?.max(own.length_min),
                b"maxLength" => own.length_max = count()?.min(own.length_max),
                b"minInclusive" => own.least = Some((bound()?, true)),
                b"minExclusive" => own.least = Some((bound()?, false)),
                b"maxInclusive" => own.most = Some((bound()?, true)),
                b"maxExclusive" => own.most = Some((bound()?, false)),
                b"totalDigits" => own.digits_max = count()?.min(own.digits_max),
                b"fractionDigits" => own.fraction_max = count()?.min(own.fraction_max),
                b"pattern" => patterns.push(pattern::compile(&text).map_err(|why| self.wrong(*facet, why))?),
                b"enumeration" => enumeration.push(bound()?),
                b"whiteSpace" => {
                    let white = match text.trim() {
                        "preserve" => White::Preserve,
                        "replace" => White::Replace,
                        "collapse" => White::Collapse,
                        other => return Err(self.wrong(*facet, format!("`whiteSpace` is not `{other}`"))),
                    };
                    own.white = white.max(own.white);
                }
                other => {
                    let other = String::from_utf8_lossy(other).into_owned();
                    return Err(self.wrong(*facet, format!("`{other}` is no facet")));
                }
            }
        }
        if !patterns.is_empty() {
            own.patterns.push(patterns.into());
        }
        if !enumeration.is_empty() {
            own.enumeration = Some(enumeration.into());
        }
        Ok(own)
    }

    /// Checks that values fixed and given by default are of their type.
    fn judge_defaults(&self) -> Result<(), Wrong> {
        for element in &self.schema.elements {
            for value in [&element.default, &element.fixed].into_iter().flatten() {
                let text = match self.schema.types.get(element.of as usize).map(|own| &own.content) {
                    Some(Content::Complex(complex)) => match complex.inner {
                        Inner::Text(of) => of,
                        _ if complex.is_mixed => continue,
                        _ => u32::MAX,
                    },
                    _ => element.of,
                };
                if self.schema.value(text, value, &mut super::simple::Found::default()).is_none() {
                    let value = String::from_utf8_lossy(value).into_owned();
                    return Err(Wrong::new(format!(
                        "the default `{value}` of an element is not of its type"
                    )));
                }
            }
        }
        Ok(())
    }
}
