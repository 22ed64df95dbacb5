//! Reading a document type: declarations of elements, attributes, entities and notations (XML 1.0 §3, §4).
//!
//! One declaration at a time is gathered with its parameter entities replaced, then parsed as a text of its
//! own. Groups of content models stand on a stack. Called by [`Dtd::parse`].

use super::cursor::{Cursor, Entity};
use super::{Content, Declared, Dtd, Kind, ReadFile, is_name, is_token};
use crate::problem::Wrong;
use crate::transform::is_space;
use crate::xml::limits::{GRAMMAR_LINKS_MAX, MODEL_DEPTH_MAX};
use crate::xml::model::{Builder, Model, ModelProblem};

/// Reads a document type.
pub(super) fn read<'a>(file: &str, read: &'a mut ReadFile<'a>) -> Result<Dtd, Wrong> {
    let mut reader = Reader { cursor: Cursor::new(file, read)?, dtd: Dtd::default(), sections: 0, links: 0 };
    reader.declarations()?;
    if reader.sections > 0 {
        return Err(reader.cursor.wrong("a conditional section is not closed"));
    }
    if !reader.dtd.elements.iter().any(|element| element.content.is_some()) {
        return Err(reader.cursor.wrong("it declares no element"));
    }
    Ok(reader.dtd)
}

struct Reader<'a> {
    cursor: Cursor<'a>,
    dtd: Dtd,
    /// Conditional sections that are open.
    sections: usize,
    links: usize,
}

impl Reader<'_> {
    fn declarations(&mut self) -> Result<(), Wrong> {
        while let Some(byte) = self.cursor.next()? {
            match byte {
                _ if is_space(byte) => {}
                b'<' => self.markup()?,
                b']' if self.sections > 0 => {
                    let ends = (self.cursor.raw()?, self.cursor.raw()?) == (Some(b']'), Some(b'>'));
                    if !ends {
                        return Err(self.cursor.wrong("a `]` that ends no conditional section"));
                    }
                    self.sections -= 1;
                }
                _ => {
                    let shown = char::from(byte).escape_default().to_string();
                    return Err(self.cursor.wrong(format!("`{shown}` between declarations")));
                }
            }
        }
        Ok(())
    }

    /// Behind `<`.
    fn markup(&mut self) -> Result<(), Wrong> {
        let rest = self.cursor.rest();
        if rest.starts_with(b"!--") {
            return self.until(b"-->", "a comment");
        }
        if rest.starts_with(b"?") {
            return self.until(b"?>", "a processing instruction");
        }
        if rest.starts_with(b"![") {
            return self.section();
        }
        let mut keyword = Vec::new();
        while let Some(byte) = self.cursor.raw()? {
            if is_space(byte) || keyword.len() > 16 {
                break;
            }
            keyword.push(byte);
        }
        match keyword.as_slice() {
            b"!ELEMENT" => {
                let text = self.declaration()?;
                self.element(&text)
            }
            b"!ATTLIST" => {
                let text = self.declaration()?;
                self.attributes(&text)
            }
            b"!ENTITY" => self.entity(),
            b"!NOTATION" => self.declaration().map(drop),
            other => {
                let shown = String::from_utf8_lossy(other);
                Err(self.cursor.wrong(format!("`<{shown}` is no declaration")))
            }
        }
    }

    fn until(&mut self, end: &[u8], what: &str) -> Result<(), Wrong> {
        let mut seen = Vec::with_capacity(end.len() + 1);
        while let Some(byte) = self.cursor.raw()? {
            seen.push(byte);
            // `<!-->` is no comment: the hyphens of the beginning do not count.
            if seen.len() > end.len() + 3 {
                seen.drain(..1);
            }
            let is_begun = !seen.starts_with(b"!--") || seen.len() >= 6;
            if is_begun && seen.ends_with(end) {
                return Ok(());
            }
        }
        Err(self.cursor.wrong(format!("{what} is not closed")))
    }

    /// A conditional section (§3.4), from `![` on.
    fn section(&mut self) -> Result<(), Wrong> {
        for _ in 0..2 {
            self.cursor.raw()?;
        }
        let mut keyword = Vec::new();
        loop {
            match self.cursor.next()? {
                Some(b'[') => break,
                Some(byte) if is_space(byte) => {}
                Some(byte) if keyword.len() < 16 => keyword.push(byte),
                _ => return Err(self.cursor.wrong("a conditional section without its `[`")),
            }
        }
        match keyword.as_slice() {
            b"INCLUDE" => self.sections += 1,
            b"IGNORE" => {
                let mut depth = 1_usize;
                let mut seen = [0_u8; 3];
                while depth > 0 {
                    let Some(byte) = self.cursor.raw()? else {
                        return Err(self.cursor.wrong("a conditional section is not closed"));
                    };
                    seen = [seen[1], seen[2], byte];
                    match &seen {
                        b"<![" => depth += 1,
                        b"]]>" => depth -= 1,
                        _ => continue,
                    }
                    seen = [0; 3];
                }
            }
            other => {
                let shown = String::from_utf8_lossy(other).into_owned();
                return Err(self.cursor.wrong(format!("`{shown}` is no conditional section")));
            }
        }
        Ok(())
    }

    /// The rest of a declaration up to its `>`; what is in quotes stands as it is.
    fn declaration(&mut self) -> Result<Vec<u8>, Wrong> {
        let mut text = Vec::new();
        let mut quote = None;
        loop {
            let byte = if quote.is_some() { self.cursor.raw()? } else { self.cursor.next()? };
            let Some(byte) = byte else { return Err(self.cursor.wrong("a declaration is not closed")) };
            match (quote, byte) {
                (None, b'>') => return Ok(text),
                (None, b'<') => return Err(self.cursor.wrong("a `<` within a declaration")),
                (None, b'"' | b'\'') => quote = Some(byte),
                (Some(open), _) if open == byte => quote = None,
                _ => {}
            }
            text.push(byte);
        }
    }

    /// A declaration of an entity (§4.2), behind its keyword.
    fn entity(&mut self) -> Result<(), Wrong> {
        let mut is_parameter = false;
        loop {
            match self.cursor.next()? {
                Some(byte) if is_space(byte) => {}
                Some(b'%') if !is_parameter => is_parameter = true,
                Some(byte) => {
                    self.cursor.back(byte);
                    break;
                }
                None => return Err(self.cursor.wrong("a declaration is not closed")),
            }
        }
        let text = self.declaration()?;
        let mut words = Words::new(&text);
        let name: Box<[u8]> = words.word().into();
        if !is_name(&name) {
            return Err(self.cursor.wrong("the declaration of an entity without a name"));
        }
        if let Some(value) = words.literal() {
            let value = self.cursor.replaced(value)?;
            if is_parameter {
                self.cursor.declare(name.clone(), Entity::Text(value.into()));
            }
            return self.ended(words, &name);
        }
        let place = match words.word() {
            b"SYSTEM" => words.literal(),
            b"PUBLIC" => words.literal().and_then(|_| words.literal()),
            _ => None,
        }
        .ok_or_else(|| self.cursor.wrong("an entity with neither a value nor a place"))?;
        if is_parameter {
            let place = String::from_utf8_lossy(place).into_owned().into();
            self.cursor.declare(name.clone(), Entity::External(place));
        } else if words.word() == b"NDATA" {
            if !is_name(words.word()) {
                return Err(self.cursor.wrong("`NDATA` without the name of a notation"));
            }
            self.dtd.unparsed.insert(name.clone());
        }
        self.ended(words, &name)
    }

    fn ended(&self, mut words: Words<'_>, name: &[u8]) -> Result<(), Wrong> {
        let rest = words.word();
        if rest.is_empty() && words.rest.is_empty() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(name);
        Err(self.cursor.wrong(format!("text follows in the declaration of `{name}`")))
    }

    fn symbol(&mut self, name: &[u8]) -> u32 {
        if let Some(known) = self.dtd.symbols.get(name) {
            return *known;
        }
        let fresh = u32::try_from(self.dtd.elements.len()).unwrap_or(u32::MAX);
        self.dtd.symbols.insert(name.into(), fresh);
        self.dtd.elements.push(super::Element::default());
        fresh
    }

    /// A declaration of an element (§3.2), behind its keyword.
    fn element(&mut self, text: &[u8]) -> Result<(), Wrong> {
        let mut words = Words::new(text);
        let name: Box<[u8]> = words.word().into();
        if !is_name(&name) {
            return Err(self.cursor.wrong("the declaration of an element without a name"));
        }
        let shown = String::from_utf8_lossy(&name).into_owned();
        let symbol = self.symbol(&name);
        let spec = words.rest.trim_ascii();
        let content = match spec {
            b"EMPTY" => Content::Empty,
            b"ANY" => Content::Any,
            [b'(', inside @ ..] if inside.trim_ascii_start().starts_with(b"#PCDATA") => {
                self.mixed(spec, &shown)?
            }
            [b'(', ..] => {
                let model = self.children(spec, &shown)?;
                self.links += model.links_count();
                if self.links > GRAMMAR_LINKS_MAX {
                    return Err(self.cursor.wrong("its content models are too large in all"));
                }
                Content::Children(model)
            }
            _ => return Err(self.cursor.wrong(format!("what the element `{shown}` may hold is not said"))),
        };
        match self.dtd.elements.get_mut(symbol as usize) {
            Some(element) if element.content.is_none() => element.content = Some(content),
            _ => return Err(self.cursor.wrong(format!("the element `{shown}` is declared twice"))),
        }
        Ok(())
    }

    /// `(#PCDATA)`, `(#PCDATA)*`, `(#PCDATA | a | b)*` (§3.2.2).
    fn mixed(&mut self, spec: &[u8], name: &str) -> Result<Content, Wrong> {
        let wrong =
            |reader: &Self| reader.cursor.wrong(format!("the mixed content of `{name}` is malformed"));
        let (inside, is_repeated) = match spec.strip_suffix(b"*") {
            Some(rest) => (rest, true),
            None => (spec, false),
        };
        let inside =
            inside.strip_suffix(b")").and_then(|text| text.strip_prefix(b"(")).ok_or_else(|| wrong(self))?;
        let mut parts = inside.split(|byte| *byte == b'|').map(<[u8]>::trim_ascii);
        if parts.next() != Some(b"#PCDATA") {
            return Err(wrong(self));
        }
        let mut may = Vec::new();
        for part in parts {
            if !is_name(part) || !is_repeated {
                return Err(wrong(self));
            }
            may.push(self.symbol(part));
        }
        let count = may.len();
        may.sort_unstable();
        may.dedup();
        if may.len() < count {
            return Err(self.cursor.wrong(format!("the mixed content of `{name}` names an element twice")));
        }
        Ok(Content::Mixed(may.into()))
    }

    /// A model of children (§3.2.1); groups stand on a stack.
    fn children(&mut self, spec: &[u8], name: &str) -> Result<Model, Wrong> {
        let mut builder = Builder::default();
        // Of each open group: what divides its parts, and how many there are.
        let mut groups: Vec<(Option<u8>, usize)> = Vec::new();
        let mut rest = spec;
        let mut is_over = false;
        let malformed = format!("the content model of `{name}` is malformed");
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            if is_over && !is_space(*byte) {
                return Err(self.cursor.wrong(malformed));
            }
            match byte {
                _ if is_space(*byte) => continue,
                b'(' => {
                    if groups.len() >= MODEL_DEPTH_MAX {
                        let what = format!(
                            "the content model of `{name}` has more than {MODEL_DEPTH_MAX} groups in each \
                                other"
                        );
                        return Err(self.cursor.wrong(what));
                    }
                    groups.push((None, 0));
                    continue;
                }
                b',' | b'|' => {
                    let Some((divider, parts)) = groups.last_mut() else {
                        return Err(self.cursor.wrong(malformed));
                    };
                    // A divider stands behind a part, and all in a group are the same.
                    if *parts == 0 || *parts & AWAITED > 0 || divider.is_some_and(|known| known != *byte) {
                        return Err(self.cursor.wrong(malformed));
                    }
                    *divider = Some(*byte);
                    // Marks that a part must follow.
                    *parts |= AWAITED;
                    continue;
                }
                b')' => {
                    let closed = groups.pop().filter(|(_, parts)| *parts > 0 && parts & AWAITED == 0);
                    if closed.is_none() {
                        return Err(self.cursor.wrong(malformed));
                    }
                }
                _ => {
                    let end = rest.iter().position(|byte| !is_token(&[*byte])).unwrap_or(rest.len());
                    let whole = spec.get(spec.len() - rest.len() - 1..spec.len() - rest.len() + end);
                    let part =
                        whole.filter(|part| is_name(part)).ok_or_else(|| self.cursor.wrong(&malformed))?;
                    rest = rest.get(end..).unwrap_or_default();
                    let symbol = self.symbol(part);
                    builder.name(&[symbol]).map_err(|problem| self.refused(problem, name))?;
                }
            }
            rest = occurrence(rest, &mut builder).map_err(|problem| self.refused(problem, name))?;
            match groups.last_mut() {
                None => is_over = true,
                Some((divider, parts)) => {
                    let joined = match (*parts, *divider) {
                        (0, _) => Ok(()),
                        (parts, Some(b',')) if parts & AWAITED > 0 => builder.sequence(),
                        (parts, Some(_)) if parts & AWAITED > 0 => builder.choice(),
                        _ => return Err(self.cursor.wrong(malformed)),
                    };
                    joined.map_err(|problem| self.refused(problem, name))?;
                    *parts = 1;
                }
            }
        }
        if !is_over || !groups.is_empty() {
            return Err(self.cursor.wrong(malformed));
        }
        builder.finish(|_, _| false).map_err(|problem| self.refused(problem, name))
    }

    fn refused(&self, problem: ModelProblem, name: &str) -> Wrong {
        match problem {
            ModelProblem::TooLarge => {
                self.cursor.wrong(format!("the content model of `{name}` is too large"))
            }
            ModelProblem::Ambiguous(symbol) | ModelProblem::Uncountable(symbol) => {
                let child = self.dtd.symbols.iter().find(|(_, known)| **known == symbol);
                let child = child.map(|(name, _)| String::from_utf8_lossy(name)).unwrap_or_default();
                self.cursor.wrong(format!(
                    "the content model of `{name}` is not deterministic: a `{child}` could be two parts of it"
                ))
            }
        }
    }

    /// A list of attributes (§3.3), behind its keyword.
    fn attributes(&mut self, text: &[u8]) -> Result<(), Wrong> {
        let mut words = Words::new(text);
        let name: Box<[u8]> = words.word().into();
        if !is_name(&name) {
            return Err(self.cursor.wrong("a list of attributes without the name of an element"));
        }
        let shown = String::from_utf8_lossy(&name).into_owned();
        let symbol = self.symbol(&name) as usize;
        while !words.is_over() {
            let attribute: Box<[u8]> = words.word().into();
            let of = format!("the attribute `{}` of `{shown}`", String::from_utf8_lossy(&attribute));
            if !is_name(&attribute) {
                return Err(self.cursor.wrong(format!("the list of attributes of `{shown}` is malformed")));
            }
            let kind =
                kind(&mut words).ok_or_else(|| self.cursor.wrong(format!("the type of {of} is none")))?;
            let default = words.word();
            let (is_required, is_fixed, value) = match default {
                b"#REQUIRED" => (true, false, None),
                b"#IMPLIED" => (false, false, None),
                b"#FIXED" => (false, true, words.literal()),
                b"" => (false, false, words.literal()),
                _ => (false, true, None),
            };
            let has_value = is_fixed || default.is_empty();
            if has_value && (value.is_none() || kind == Kind::Id) {
                return Err(self.cursor.wrong(format!("the default of {of} is none that it may have")));
            }
            let value = value.map(|value| self.normalized(value)).transpose()?;
            let declared = Declared { kind, fixed: value.clone().filter(|_| is_fixed) };
            let is_proper = value.as_deref().is_none_or(|value| {
                // Entities may be declared further below.
                matches!(declared.kind, Kind::Entity | Kind::Entities)
                    || self.dtd.fits(&declared, value, &mut Vec::new(), &mut Vec::new())
            });
            if !is_proper {
                return Err(self.cursor.wrong(format!("the default of {of} is not of its type")));
            }
            let Some(element) = self.dtd.elements.get_mut(symbol) else { continue };
            // The first declaration of an attribute counts.
            if element.attributes.contains_key(&attribute) {
                continue;
            }
            if declared.kind == Kind::Id && element.attributes.values().any(|one| one.kind == Kind::Id) {
                return Err(self.cursor.wrong(format!("`{shown}` has two attributes of the type ID")));
            }
            if is_required {
                element.required.push(attribute.clone());
            }
            element.attributes.insert(attribute, declared);
        }
        Ok(())
    }

    /// A default as the value of an attribute (§3.3.3).
    fn normalized(&self, value: &[u8]) -> Result<Box<[u8]>, Wrong> {
        crate::body::xml::attribute_value(value).map(Into::into).ok_or_else(|| {
            self.cursor.wrong("a default with a reference to an entity, which is not resolved")
        })
    }
}

/// Set in the count of a group's parts while one must follow.
const AWAITED: usize = 1 << (usize::BITS - 1);

/// Applies `?`, `*` or `+` to the part before it.
fn occurrence<'a>(rest: &'a [u8], builder: &mut Builder) -> Result<&'a [u8], ModelProblem> {
    let Some((byte @ (b'?' | b'*' | b'+'), behind)) = rest.split_first() else { return Ok(rest) };
    if *byte != b'?' {
        builder.repeated()?;
    }
    if *byte != b'+' {
        builder.optional();
    }
    Ok(behind)
}

/// The type of an attribute (§3.3.1).
fn kind(words: &mut Words<'_>) -> Option<Kind> {
    if let Some(names) = words.group() {
        return Some(Kind::OneOf(names.filter(|names| names.iter().all(|name| is_token(name)))?));
    }
    Some(match words.word() {
        b"CDATA" => Kind::Text,
        b"ID" => Kind::Id,
        b"IDREF" => Kind::Reference,
        b"IDREFS" => Kind::References,
        b"ENTITY" => Kind::Entity,
        b"ENTITIES" => Kind::Entities,
        b"NMTOKEN" => Kind::Token,
        b"NMTOKENS" => Kind::Tokens,
        b"NOTATION" => Kind::OneOf(words.group()??.into_iter().filter(|name| is_name(name)).collect()),
        _ => return None,
    })
}

/// A declaration's words, one after another.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text.trim_ascii() }
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next word; nothing where a quote or group stands next, or the end.
    fn word(&mut self) -> &'a [u8] {
        let ends = |byte: &u8| is_space(*byte) || matches!(byte, b'"' | b'\'' | b'(');
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_ascii_start();
        word
    }

    /// What stands in quotes next.
    fn literal(&mut self) -> Option<&'a [u8]> {
        let (quote @ (b'"' | b'\''), behind) = self.rest.split_first()? else { return None };
        let end = memchr::memchr(*quote, behind)?;
        let (value, rest) = behind.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default().trim_ascii_start();
        Some(value)
    }

    /// The names of a group `(a | b)` next; the inner nothing where it is malformed.
    fn group(&mut self) -> Option<Option<Vec<Box<[u8]>>>> {
        let inside = self.rest.strip_prefix(b"(")?;
        let Some(end) = memchr::memchr(b')', inside) else { return Some(None) };
        let (inside, rest) = inside.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default().trim_ascii_start();
        Some(Some(inside.split(|byte| *byte == b'|').map(|name| name.trim_ascii().into()).collect()))
    }
}
