//! XML bodies (XML 1.0, fifth edition): the document's text, and the values of attributes.
//!
//! `XML:/*` is the text of all elements in one piece, CDATA included, as XPath's string value of the root
//! element; `XML://@*` are the attributes in order, those of namespaces excepted. Well-formedness is checked,
//! validity is not. The five entities of XML and character references are resolved; no other entity ever is,
//! declared or not, and nothing outside the body is read: a document type is passed by.
//!
//! Differences from libmodsecurity 3, which reads with libxml2: a reference to an entity that the document
//! declares is an error here. Only UTF-8 and encodings that contain ASCII in single bytes (Latin-1 and its
//! like) are read; the bytes of the latter stay as they are. What was read before an error, or before the end
//! of what is inspected, is handed over in both.
//!
//! Where [`Limits::xml_arguments`] says so, elements without elements in them are arguments too.
//!
//! One byte at a time; tags are held until they end, comments and processing instructions are not. Read next:
//! `Xml`.

mod encoding;
mod leaves;
mod markup;

use std::fmt;

use encoding::Encoding;
use leaves::Leaves;
use markup::is_name_start;

use super::limits::XmlArguments;
use super::{BodyError, Collection, Limit, Limits, Outlet, Sink};
use crate::transform::is_space;
use crate::xml::tree::{TooLarge, Tree};

/// Why a body is not XML, and the byte (from 0) at which that was seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct XmlError {
    /// What is wrong.
    pub problem: XmlProblem,
    /// Where, in bytes from the body's start.
    pub at: u64,
}

/// What can be wrong with XML.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XmlProblem {
    /// A byte or character that XML does not allow, or not UTF-8.
    Character,
    /// An encoding that is not read.
    Encoding,
    /// Text outside the root element, or a second root.
    OutsideRoot,
    /// `<!` and something that may not stand there.
    Declaration,
    /// `<!DOCTYPE` where none may be.
    Doctype,
    /// `--` in a comment.
    Comment,
    /// A processing instruction without a name, or `<?xml` that is not first.
    Instruction,
    /// A tag or an attribute that is no name, no pair, or not quoted.
    Tag,
    /// An attribute that is there twice.
    TwoAttributes,
    /// An end tag that ends nothing or something else.
    EndTag,
    /// `]]>` in text.
    CdataEnd,
    /// A reference to anything but a character or one of the five entities.
    Entity,
    /// The body ends in the middle.
    Truncated,
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.problem {
            XmlProblem::Character => "a byte that XML does not allow here",
            XmlProblem::Encoding => "an encoding that is not read; only UTF-8 and its like are",
            XmlProblem::OutsideRoot => "content outside the root element",
            XmlProblem::Declaration => "an unknown declaration",
            XmlProblem::Doctype => "a document type where none may be",
            XmlProblem::Comment => "two hyphens in a comment",
            XmlProblem::Instruction => "a processing instruction that may not be there",
            XmlProblem::Tag => "a tag that is malformed",
            XmlProblem::TwoAttributes => "an attribute twice in one tag",
            XmlProblem::EndTag => "an end tag without its start tag",
            XmlProblem::CdataEnd => "the end of a CDATA section in text",
            XmlProblem::Entity => "a reference to an entity that is not resolved",
            XmlProblem::Truncated => "the end came too early",
        };
        write!(f, "{what} (byte {})", self.at)
    }
}

/// Bytes of a processing instruction that are looked at: enough for an XML declaration.
const INSTRUCTION_BYTES_MAX: usize = 256;

/// Bytes of a reference between `&` and `;`: the longest one read is `#x10FFFF` with a few leading zeros.
const REFERENCE_BYTES_MAX: usize = 16;

/// Where in a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Between markup; how many `]` came just before.
    Text { brackets: u8 },
    /// Behind `&` in text.
    Reference,
    /// Behind `<`.
    Open,
    /// Behind `<!`.
    Bang,
    /// In a comment; how many hyphens came just before.
    Comment { hyphens: u8 },
    /// In a CDATA section; how many `]` came just before.
    Cdata { brackets: u8 },
    /// In a processing instruction; whether `?` came just before.
    Instruction { asked: bool },
    /// In a document type.
    Doctype(Doctype),
    /// In a start tag; the quote that is open.
    StartTag { quote: Option<u8> },
    /// In an end tag.
    EndTag,
}

/// Where in a document type.
///
/// Nothing in it is looked at; it must only be told where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doctype {
    /// Before the name; whether whitespace was read.
    Start {
        spaced: bool,
    },
    Outside,
    Quoted(u8),
    Subset,
    SubsetQuoted(u8),
    /// Bytes of `<!--` or `<?` seen.
    SubsetOpen(u8),
    SubsetComment {
        hyphens: u8,
    },
    SubsetInstruction {
        asked: bool,
    },
}

impl Doctype {
    /// Where `byte` leads; `None` behind the end.
    fn next(self, byte: u8) -> Result<Option<Self>, XmlProblem> {
        Ok(Some(match (self, byte) {
            (Doctype::Start { .. }, _) if is_space(byte) => Doctype::Start { spaced: true },
            (Doctype::Start { spaced: true }, _) if is_name_start(byte) => Doctype::Outside,
            (Doctype::Start { .. }, _) => return Err(XmlProblem::Doctype),
            (Doctype::Outside, b'>') => return Ok(None),
            (Doctype::Outside, b'"' | b'\'') => Doctype::Quoted(byte),
            (Doctype::Outside, b'[') => Doctype::Subset,
            (Doctype::Outside, b'<') => return Err(XmlProblem::Doctype),
            (Doctype::Quoted(quote), _) if byte == quote => Doctype::Outside,
            (Doctype::Subset, b']') => Doctype::Outside,
            (Doctype::Subset, b'"' | b'\'') => Doctype::SubsetQuoted(byte),
            (Doctype::SubsetQuoted(quote), _) if byte == quote => Doctype::Subset,
            (Doctype::Subset, b'<') => Doctype::SubsetOpen(1),
            (Doctype::SubsetOpen(1), b'!') => Doctype::SubsetOpen(2),
            (Doctype::SubsetOpen(1), b'?') => Doctype::SubsetInstruction { asked: false },
            (Doctype::SubsetOpen(2), b'-') => Doctype::SubsetOpen(3),
            (Doctype::SubsetOpen(2), b'A'..=b'Z') => Doctype::Subset,
            (Doctype::SubsetOpen(3), b'-') => Doctype::SubsetComment { hyphens: 0 },
            (Doctype::SubsetOpen(_), _) => return Err(XmlProblem::Doctype),
            (Doctype::SubsetComment { hyphens: 2 }, b'>') => Doctype::Subset,
            (Doctype::SubsetComment { hyphens: 2 }, _) => return Err(XmlProblem::Comment),
            (Doctype::SubsetComment { hyphens }, b'-') => Doctype::SubsetComment { hyphens: hyphens + 1 },
            (Doctype::SubsetComment { .. }, _) => Doctype::SubsetComment { hyphens: 0 },
            (Doctype::SubsetInstruction { asked: true }, b'>') => Doctype::Subset,
            (Doctype::SubsetInstruction { .. }, _) => Doctype::SubsetInstruction { asked: byte == b'?' },
            (same, _) => same,
        }))
    }
}

/// Why reading stops.
enum Stop {
    Problem(XmlProblem),
    Limit(Limit),
    /// The outlet has noted it.
    Noted,
}

impl From<TooLarge> for Stop {
    fn from(_: TooLarge) -> Self {
        Stop::Limit(Limit::Nodes)
    }
}

impl From<XmlProblem> for Stop {
    fn from(problem: XmlProblem) -> Self {
        Stop::Problem(problem)
    }
}

/// An XML body under way.
#[derive(Debug)]
pub(super) struct Xml {
    limits: Limits,
    place: Place,
    /// The markup that is held until it ends.
    token: Vec<u8>,
    /// The document's text so far.
    text: Vec<u8>,
    /// Names of open elements, one behind the other, and where each starts.
    names: Vec<u8>,
    open: Vec<usize>,
    has_root: bool,
    has_doctype: bool,
    /// The document, where rules judge it as a whole.
    tree: Option<Box<Tree>>,
    /// Elements that become arguments, where they do.
    leaves: Option<Leaves>,
    encoding: Encoding,
    after_return: bool,
    scratch: Vec<u8>,
    /// Bytes read, and those among them that are no byte order mark.
    bytes: u64,
    read: u64,
    /// Where, in bytes read, the last `<` stood.
    markup_at: u64,
    /// The same in bytes of the body.
    tag_at: u64,
    is_over: bool,
}

impl Xml {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            place: Place::Text { brackets: 0 },
            token: Vec::new(),
            text: Vec::new(),
            names: Vec::new(),
            open: Vec::new(),
            has_root: false,
            has_doctype: false,
            tree: limits.keeps_xml.then(|| Box::new(Tree::new())),
            leaves: (limits.xml_arguments != XmlArguments::Off).then(Leaves::new),
            encoding: Encoding::default(),
            after_return: false,
            scratch: Vec::new(),
            bytes: 0,
            read: 0,
            markup_at: 0,
            tag_at: 0,
            is_over: false,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn feed(&mut self, chunk: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) {
        let end = self.bytes + chunk.len() as u64;
        let mut rest = chunk;
        while !self.is_over
            && let Some((&byte, behind)) = rest.split_first()
        {
            let plain = self.plain_run(rest);
            let (taken, result) = match rest.split_at(plain) {
                ([], _) => (1, self.accept(byte, outlet, sink)),
                (run, _) => (run.len(), self.extend_text(run)),
            };
            if let Err(stop) = result {
                self.stop(stop, outlet);
            }
            self.bytes += taken as u64;
            rest = behind.get(taken - 1..).unwrap_or_default();
        }
        self.bytes = end;
    }

    /// Ends the body and yields the document, where it was to be kept and there is one.
    pub(super) fn finish(mut self, outlet: &mut Outlet, sink: &mut dyn Sink) -> Option<Box<Tree>> {
        let is_whole = self.has_root && self.open.is_empty() && matches!(self.place, Place::Text { .. });
        if !self.is_over && !is_whole && self.bytes > 0 {
            self.stop(XmlProblem::Truncated.into(), outlet);
        }
        if let Some(leaves) = &mut self.leaves {
            // What a cut, or an error, leaves open is what was read of it.
            leaves.end(&self.text, outlet, sink);
        }
        if self.has_root && !self.has_arguments_alone() {
            outlet.take(sink, Collection::XmlText, b"/*", &self.text);
        }
        let mut tree = self.tree.filter(|_| self.has_root)?;
        tree.finish(self.text);
        Some(tree)
    }

    fn stop(&mut self, stop: Stop, outlet: &mut Outlet) {
        match stop {
            Stop::Problem(problem) => outlet.fail(BodyError::Xml(XmlError { problem, at: self.bytes })),
            Stop::Limit(limit) => outlet.fail_at(limit),
            Stop::Noted => {}
        }
        self.is_over = true;
    }

    /// How many bytes from here are text without any meaning, to be copied at once.
    fn plain_run(&self, rest: &[u8]) -> usize {
        let is_inside = self.place == Place::Text { brackets: 0 } && !self.open.is_empty();
        if !is_inside || self.after_return {
            return 0;
        }
        let is_plain = |byte: u8| matches!(byte, b' '..=0x7f) && !matches!(byte, b'<' | b'&' | b']' | b'>');
        rest.iter().position(|&byte| !is_plain(byte)).unwrap_or(rest.len())
    }

    /// Checks a byte as a part of characters, folds line ends (XML 1.0 §2.11), and reads it.
    fn accept(&mut self, byte: u8, outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<(), Stop> {
        if self.encoding.is_mark(byte, self.bytes)? {
            return Ok(());
        }
        let is_allowed = !matches!(byte, 0..b' ') || matches!(byte, b'\t' | b'\n' | b'\r');
        if !is_allowed || !self.encoding.may_follow(byte) {
            return Err(XmlProblem::Character.into());
        }
        let is_return = byte == b'\r';
        let after_return = std::mem::replace(&mut self.after_return, is_return);
        if byte == b'\n' && after_return {
            return Ok(());
        }
        self.step(if is_return { b'\n' } else { byte }, outlet, sink)?;
        self.read += 1;
        Ok(())
    }

    fn step(&mut self, byte: u8, outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<(), Stop> {
        self.place = match self.place {
            Place::Text { brackets } => self.in_text(byte, brackets)?,
            Place::Reference => self.in_reference(byte)?,
            Place::Open => match byte {
                b'/' => Place::EndTag,
                b'!' => Place::Bang,
                b'?' => Place::Instruction { asked: false },
                _ if is_name_start(byte) => {
                    self.token.push(byte);
                    Place::StartTag { quote: None }
                }
                _ => return Err(XmlProblem::Tag.into()),
            },
            Place::Bang => self.behind_bang(byte)?,
            Place::Comment { hyphens } => match (hyphens, byte) {
                (2, b'>') => {
                    self.remark()?;
                    Place::Text { brackets: 0 }
                }
                (2, _) => return Err(XmlProblem::Comment.into()),
                (_, b'-') => Place::Comment { hyphens: hyphens + 1 },
                _ => Place::Comment { hyphens: 0 },
            },
            Place::Cdata { brackets } => {
                self.extend_text(&[byte])?;
                match (brackets, byte) {
                    (2, b'>') => {
                        self.text.truncate(self.text.len().saturating_sub(3));
                        Place::Text { brackets: 0 }
                    }
                    (_, b']') => Place::Cdata { brackets: (brackets + 1).min(2) },
                    _ => Place::Cdata { brackets: 0 },
                }
            }
            Place::Instruction { asked: true } if byte == b'>' => {
                self.end_instruction()?;
                Place::Text { brackets: 0 }
            }
            Place::Instruction { .. } => {
                if self.token.len() < INSTRUCTION_BYTES_MAX {
                    self.token.push(byte);
                }
                Place::Instruction { asked: byte == b'?' }
            }
            Place::Doctype(place) => match place.next(byte)? {
                Some(next) => Place::Doctype(next),
                None => Place::Text { brackets: 0 },
            },
            Place::StartTag { quote } => match (quote, byte) {
                (_, b'<') => return Err(XmlProblem::Tag.into()),
                (None, b'>') => {
                    self.start(outlet, sink)?;
                    Place::Text { brackets: 0 }
                }
                _ => {
                    self.hold(byte)?;
                    match quote {
                        None => Place::StartTag { quote: matches!(byte, b'"' | b'\'').then_some(byte) },
                        Some(open) => Place::StartTag { quote: (byte != open).then_some(open) },
                    }
                }
            },
            Place::EndTag if byte == b'>' => {
                self.end(outlet, sink)?;
                Place::Text { brackets: 0 }
            }
            Place::EndTag => {
                self.hold(byte)?;
                Place::EndTag
            }
        };
        Ok(())
    }

    fn in_text(&mut self, byte: u8, brackets: u8) -> Result<Place, Stop> {
        match byte {
            b'<' => {
                self.token.clear();
                self.markup_at = self.read;
                self.tag_at = self.bytes;
                return Ok(Place::Open);
            }
            _ if self.open.is_empty() => {
                let is_between = is_space(byte);
                return is_between
                    .then_some(Place::Text { brackets: 0 })
                    .ok_or(XmlProblem::OutsideRoot.into());
            }
            b'&' => {
                self.token.clear();
                return Ok(Place::Reference);
            }
            b'>' if brackets == 2 => return Err(XmlProblem::CdataEnd.into()),
            _ => {}
        }
        self.extend_text(&[byte])?;
        Ok(Place::Text { brackets: if byte == b']' { (brackets + 1).min(2) } else { 0 } })
    }

    fn in_reference(&mut self, byte: u8) -> Result<Place, Stop> {
        match byte {
            b';' => {
                let character = markup::resolve(&self.token).ok_or(XmlProblem::Entity)?;
                self.extend_text(character.encode_utf8(&mut [0; 4]).as_bytes())?;
                Ok(Place::Text { brackets: 0 })
            }
            b'#' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' if self.token.len() < REFERENCE_BYTES_MAX => {
                self.token.push(byte);
                Ok(Place::Reference)
            }
            _ => Err(XmlProblem::Entity.into()),
        }
    }

    fn behind_bang(&mut self, byte: u8) -> Result<Place, Stop> {
        self.token.push(byte);
        match self.token.as_slice() {
            b"--" => Ok(Place::Comment { hyphens: 0 }),
            b"[CDATA[" if self.open.is_empty() => Err(XmlProblem::OutsideRoot.into()),
            b"[CDATA[" => {
                if let Some(tree) = &mut self.tree {
                    tree.cdata();
                }
                Ok(Place::Cdata { brackets: 0 })
            }
            b"DOCTYPE" if self.has_root || self.has_doctype => Err(XmlProblem::Doctype.into()),
            b"DOCTYPE" => {
                self.has_doctype = true;
                Ok(Place::Doctype(Doctype::Start { spaced: false }))
            }
            begun if [&b"--"[..], b"[CDATA[", b"DOCTYPE"].iter().any(|whole| whole.starts_with(begun)) => {
                Ok(Place::Bang)
            }
            _ => Err(XmlProblem::Declaration.into()),
        }
    }

    fn hold(&mut self, byte: u8) -> Result<(), Stop> {
        if self.token.len() >= self.limits.value_bytes_max {
            return Err(Stop::Limit(Limit::ValueBytes));
        }
        self.token.push(byte);
        Ok(())
    }

    fn extend_text(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let room = self.limits.value_bytes_max.saturating_sub(self.text.len());
        self.text.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if bytes.len() > room { Err(Stop::Limit(Limit::ValueBytes)) } else { Ok(()) }
    }

    /// A processing instruction or the XML declaration has ended; its last byte held is the `?`.
    fn end_instruction(&mut self) -> Result<(), Stop> {
        let end =
            self.token.iter().position(|&byte| is_space(byte) || byte == b'?').unwrap_or(self.token.len());
        let (target, rest) = self.token.split_at(end);
        if !markup::is_name(target) {
            return Err(XmlProblem::Instruction.into());
        }
        if target.eq_ignore_ascii_case(b"xml") {
            if target != b"xml" || self.markup_at != 0 || self.token.len() == INSTRUCTION_BYTES_MAX {
                return Err(XmlProblem::Instruction.into());
            }
            self.encoding.declare(rest)?;
            return Ok(());
        }
        self.remark()
    }

    /// A comment or processing instruction has ended.
    fn remark(&mut self) -> Result<(), Stop> {
        match &mut self.tree {
            Some(tree) => Ok(tree.remark(self.text.len())?),
            None => Ok(()),
        }
    }

    /// Elements become arguments, and neither text nor attributes are handed over beside.
    fn has_arguments_alone(&self) -> bool {
        self.limits.xml_arguments == XmlArguments::Only
    }

    /// A start tag has ended.
    fn start(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<(), Stop> {
        let tag = std::mem::take(&mut self.token);
        let (inside, is_empty) = match tag.split_last() {
            Some((b'/', inside)) => (inside, true),
            _ => (tag.as_slice(), false),
        };
        let (name, mut rest) = markup::split_name(inside);
        if !markup::is_name(name) {
            return Err(XmlProblem::Tag.into());
        }
        if self.open.is_empty() && self.has_root {
            return Err(XmlProblem::OutsideRoot.into());
        }
        if self.open.len() >= self.limits.depth_max {
            return Err(Stop::Limit(Limit::Depth));
        }
        self.has_root = true;
        if let Some(tree) = &mut self.tree {
            tree.begin(name, self.text.len(), self.tag_at)?;
        }
        let mut seen = Vec::new();
        loop {
            let attribute = markup::attribute(rest)?;
            let Some((name, value, behind)) = attribute else { break };
            rest = behind;
            seen.push(name);
            markup::value(value, &mut self.scratch)?;
            if let Some(tree) = &mut self.tree {
                tree.attribute(name, &self.scratch)?;
            }
            let is_passed_by = name == b"xmlns" || name.starts_with(b"xmlns:") || self.has_arguments_alone();
            if !is_passed_by && !outlet.take(sink, Collection::XmlAttributes, name, &self.scratch) {
                return Err(Stop::Noted);
            }
        }
        seen.sort_unstable();
        if seen.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(XmlProblem::TwoAttributes.into());
        }
        if let Some(tree) = &mut self.tree {
            tree.named();
            if is_empty {
                tree.end(self.text.len())?;
            }
        }
        if let Some(leaves) = &mut self.leaves {
            leaves.begin(name, self.text.len());
            if is_empty && !leaves.end(&self.text, outlet, sink) {
                return Err(Stop::Noted);
            }
        }
        if !is_empty {
            if self.names.len() + name.len() > self.limits.total_bytes_max {
                return Err(Stop::Limit(Limit::TotalBytes));
            }
            self.open.push(self.names.len());
            self.names.extend_from_slice(name);
        }
        self.token = tag;
        Ok(())
    }

    /// An end tag has ended.
    fn end(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<(), Stop> {
        let name = self.token.trim_ascii_end();
        let start = self.open.pop().ok_or(XmlProblem::EndTag)?;
        if self.names.get(start..) != Some(name) {
            return Err(XmlProblem::EndTag.into());
        }
        self.names.truncate(start);
        if let Some(tree) = &mut self.tree {
            tree.end(self.text.len())?;
        }
        if let Some(leaves) = &mut self.leaves
            && !leaves.end(&self.text, outlet, sink)
        {
            return Err(Stop::Noted);
        }
        Ok(())
    }
}

/// The character that `reference` in `&reference;` stands for, for readers of grammars.
pub(crate) fn character(reference: &[u8]) -> Option<char> {
    markup::resolve(reference)
}

/// An attribute's value as written, with its references resolved; nothing where one cannot be.
pub(crate) fn attribute_value(written: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    markup::value(written, &mut out).ok().map(|()| out)
}
