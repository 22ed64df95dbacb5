//! The text of a document type with its parameter entities replaced as it is read (XML 1.0 §4.4, §4.5).
//!
//! Entities that are open stand on a stack; one within itself, too many, or too many bytes in all end the
//! reading. An entity whose text stands in a file beside is read when it is used; nothing is fetched.
//! Called by [`super::reader`].

use std::sync::Arc;

use super::super::limits::{ENTITY_DEPTH_MAX, GRAMMAR_BYTES_MAX, SCHEMA_FILES_MAX};
use super::{Names, ReadFile, is_name};
use crate::files::resolve;
use crate::problem::Wrong;

/// A parameter entity.
#[derive(Debug, Clone)]
pub(super) enum Entity {
    /// Its replacement text.
    Text(Arc<[u8]>),
    /// It stands in another file, named as written.
    External(Box<str>),
}

/// A text under way.
#[derive(Debug)]
struct Frame {
    /// The entity's name; empty for the file.
    name: Box<[u8]>,
    text: Arc<[u8]>,
    at: usize,
}

/// A place in a document type.
pub(super) struct Cursor<'a> {
    file: Box<str>,
    read: &'a mut ReadFile<'a>,
    files: usize,
    stack: Vec<Frame>,
    entities: Names<Entity>,
    line: u32,
    bytes: usize,
}

impl<'a> Cursor<'a> {
    /// Begins a file, of which `read` yields the bytes, and those of others beside it.
    pub(super) fn new(file: &str, read: &'a mut ReadFile<'a>) -> Result<Self, Wrong> {
        let bytes = read(file)?;
        let mut cursor = Self {
            file: file.into(),
            read,
            files: 1,
            stack: Vec::new(),
            entities: Names::default(),
            line: 1,
            bytes: 0,
        };
        let text = cursor.text(&bytes)?;
        cursor.stack.push(Frame { name: Box::default(), text, at: 0 });
        Ok(cursor)
    }

    /// The text of a file.
    fn text(&self, bytes: &[u8]) -> Result<Arc<[u8]>, Wrong> {
        if std::str::from_utf8(bytes).is_err() {
            return Err(self.wrong("it is not UTF-8"));
        }
        Ok(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).into())
    }

    /// The text of an entity that stands in another file, kept for the next time.
    fn fetched(&mut self, name: &[u8], place: &str) -> Result<Arc<[u8]>, Wrong> {
        let shown = String::from_utf8_lossy(name);
        if place.contains("://") {
            return Err(self.wrong(format!(
                "the parameter entity `%{shown};` stands at `{place}`, and nothing is fetched"
            )));
        }
        self.files += 1;
        if self.files > SCHEMA_FILES_MAX {
            return Err(self.wrong(format!("a document type of more than {SCHEMA_FILES_MAX} files")));
        }
        let bytes = (self.read)(&resolve(&self.file, place))?;
        let text = self.text(&bytes)?;
        self.entities.insert(name.into(), Entity::Text(Arc::clone(&text)));
        Ok(text)
    }

    /// Says what is wrong at the line that is read.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> Wrong {
        Wrong::new(format!("`{}` line {}: {what}", self.file, self.line))
    }

    /// The next byte as it stands, without replacing; at an entity's end a blank (§4.4.8).
    pub(super) fn raw(&mut self) -> Result<Option<u8>, Wrong> {
        self.bytes += 1;
        if self.bytes > GRAMMAR_BYTES_MAX {
            return Err(self.wrong(format!("more than {GRAMMAR_BYTES_MAX} bytes with all entities replaced")));
        }
        let is_file = self.stack.len() == 1;
        let Some(frame) = self.stack.last_mut() else { return Ok(None) };
        let byte = frame.text.get(frame.at).copied();
        frame.at += 1;
        if byte == Some(b'\n') && is_file {
            self.line += 1;
        }
        if byte.is_none() && !is_file {
            self.stack.pop();
            return Ok(Some(b' '));
        }
        Ok(byte)
    }

    /// Goes back by the byte that was read last; only right behind reading it.
    pub(super) fn back(&mut self, byte: u8) {
        if let Some(frame) = self.stack.last_mut()
            && let Some(before) = frame.at.checked_sub(1)
            && frame.text.get(before) == Some(&byte)
        {
            frame.at = before;
            if byte == b'\n' && self.stack.len() == 1 {
                self.line = self.line.saturating_sub(1);
            }
        }
    }

    /// What stands next, as it is, within the same entity.
    pub(super) fn rest(&self) -> &[u8] {
        self.stack.last().and_then(|frame| frame.text.get(frame.at..)).unwrap_or_default()
    }

    /// The next byte, with a reference to a parameter entity replaced.
    pub(super) fn next(&mut self) -> Result<Option<u8>, Wrong> {
        let byte = self.raw()?;
        if byte == Some(b'%')
            && let Some(name) = reference(self.rest())
        {
            let name: Box<[u8]> = name.into();
            self.skip(name.len() + 1);
            self.open(&name)?;
            return Ok(Some(b' '));
        }
        Ok(byte)
    }

    fn skip(&mut self, bytes: usize) {
        if let Some(frame) = self.stack.last_mut() {
            frame.at += bytes;
        }
    }

    fn open(&mut self, name: &[u8]) -> Result<(), Wrong> {
        let place = match self.entities.get(name) {
            Some(Entity::External(place)) => Some(place.clone()),
            _ => None,
        };
        let text = match place {
            Some(place) => self.fetched(name, &place)?,
            None => self.text_of(name)?,
        };
        if self.stack.iter().any(|frame| *frame.name == *name) {
            let name = String::from_utf8_lossy(name);
            return Err(self.wrong(format!("the parameter entity `%{name};` contains itself")));
        }
        if self.stack.len() > ENTITY_DEPTH_MAX {
            return Err(
                self.wrong(format!("more than {ENTITY_DEPTH_MAX} parameter entities within each other"))
            );
        }
        self.stack.push(Frame { name: name.into(), text, at: 0 });
        Ok(())
    }

    fn text_of(&self, name: &[u8]) -> Result<Arc<[u8]>, Wrong> {
        let shown = String::from_utf8_lossy(name);
        match self.entities.get(name) {
            Some(Entity::Text(text)) => Ok(Arc::clone(text)),
            Some(Entity::External(_)) => Err(self.wrong(format!(
                "the parameter entity `%{shown};` stands in another file, which is not read within a value"
            ))),
            None => {
                Err(self.wrong(format!("the parameter entity `%{shown};` is not declared before it is used")))
            }
        }
    }

    /// Declares a parameter entity; the first of a name counts (§4.2).
    pub(super) fn declare(&mut self, name: Box<[u8]>, entity: Entity) {
        self.entities.entry(name).or_insert(entity);
    }

    /// The text of an entity as its declaration gives it: references to parameter entities and characters
    /// replaced, others left (§4.5).
    pub(super) fn replaced(&self, literal: &[u8]) -> Result<Vec<u8>, Wrong> {
        let mut out = Vec::new();
        let mut rest = literal;
        while let Some((byte, behind)) = rest.split_first() {
            rest = behind;
            match byte {
                b'%' => {
                    let Some(name) = reference(behind) else {
                        return Err(self.wrong("a `%` in an entity's value that begins no reference"));
                    };
                    // What is declared before is replaced already, so nothing nests here.
                    out.extend_from_slice(&self.text_of(name)?);
                    rest = behind.get(name.len() + 1..).unwrap_or_default();
                }
                b'&' if behind.first() == Some(&b'#') => {
                    let end = memchr::memchr(b';', behind)
                        .ok_or_else(|| self.wrong("a reference without its `;`"))?;
                    let (number, after) = behind.split_at(end);
                    let character = crate::body::xml::character(number)
                        .ok_or_else(|| self.wrong("a reference to no character"))?;
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = after.get(1..).unwrap_or_default();
                }
                _ => out.push(*byte),
            }
            if out.len() > GRAMMAR_BYTES_MAX {
                return Err(self.wrong(format!("an entity of more than {GRAMMAR_BYTES_MAX} bytes")));
            }
        }
        Ok(out)
    }
}

/// The name in `name;`, behind a `%`.
fn reference(text: &[u8]) -> Option<&[u8]> {
    let window = text.get(..256).unwrap_or(text);
    let end = memchr::memchr(b';', window)?;
    text.get(..end).filter(|name| is_name(name))
}
