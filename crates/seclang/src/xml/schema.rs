//! XML Schema 1.0: what `@validateSchema` asks of a body.
//!
//! A schema is read once, with the rules, from its file and those it includes or imports beside it; nothing
//! is fetched. Everything becomes tables: names by number, types with what they inherit copied in, content
//! models as automata with counters ([`super::model`]). A construct that is not read is a load error with
//! file and line, never passed over. That a restriction only restricts (part 1 §3.9.6) is the author's word.
//! Read next: [`source`], [`build`], then [`check`].

mod build;
mod check;
mod complex;
mod keys;
mod lexical;
mod pattern;
mod simple;
mod source;
#[cfg(test)]
mod tests;
mod value;
mod wildcard;

use fuel::{Fuel, Spent};
use hashbrown::HashMap;

use super::dtd::Names;
use super::model::Model;
use super::tree::Tree;
use crate::problem::Wrong;
use simple::{Simple, Types};
use wildcard::Wildcard;

/// The namespace of schemas.
const XSD_URI: &[u8] = b"http://www.w3.org/2001/XMLSchema";
/// The namespace of what documents say to schemas.
const XSI_URI: &[u8] = b"http://www.w3.org/2001/XMLSchema-instance";

/// The number of `anyType` among types.
const ANY_TYPE: u32 = 0;

/// Kinds of derivation, as bits of what is blocked.
const BY_EXTENSION: u8 = 1;
const BY_RESTRICTION: u8 = 2;
const BY_SUBSTITUTION: u8 = 4;

type ByNumber = HashMap<u32, u32, foldhash::fast::FixedState>;

/// A schema.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// Numbers of names, by namespace.
    names: Names<Names<u32>>,
    names_count: u32,
    types: Vec<Type>,
    elements: Vec<Element>,
    attributes: Vec<Attribute>,
    /// Declarations at the top, by the number of their name.
    top_elements: ByNumber,
    top_types: ByNumber,
    top_attributes: ByNumber,
    wildcards: Vec<Wildcard>,
    constraints: Vec<keys::Constraint>,
}

/// An element that is declared (part 1 §3.3).
#[derive(Debug, Clone, Default)]
struct Element {
    name: u32,
    of: u32,
    is_nillable: bool,
    is_abstract: bool,
    block: u8,
    default: Option<Box<[u8]>>,
    fixed: Option<Box<[u8]>>,
    /// The element in whose place it may stand, plus one.
    head: u32,
    /// Its constraints, by number.
    constraints: Vec<u32>,
}

/// An attribute that is declared (part 1 §3.2).
#[derive(Debug, Clone, Default)]
struct Attribute {
    of: u32,
    fixed: Option<Box<[u8]>>,
}

/// A type (part 1 §3.4, §3.14).
#[derive(Debug)]
struct Type {
    base: u32,
    /// How it is derived from its base.
    by: u8,
    is_abstract: bool,
    block: u8,
    content: Content,
}

/// What a type says.
#[derive(Debug)]
enum Content {
    /// Not made yet.
    Awaited,
    Simple(Box<Simple>),
    Complex(Box<Complex>),
}

/// A complex type.
#[derive(Debug)]
struct Complex {
    inner: Inner,
    is_mixed: bool,
    /// Attributes by the number of their name.
    uses: HashMap<u32, Attribute, foldhash::fast::FixedState>,
    required: Vec<u32>,
    any_attribute: Option<Wildcard>,
}

/// What stands between an element's tags.
#[derive(Debug)]
enum Inner {
    Nothing,
    /// Text of a simple type.
    Text(u32),
    /// Children, each a part of the model.
    Model(Model, Vec<Part>),
    /// Children in any order, each once at most; those that must be there.
    All {
        /// Members by the number of a name.
        names: ByNumber,
        /// Elements, and whether each must be there.
        members: Vec<(u32, bool)>,
        /// Nothing at all may stand there.
        is_optional: bool,
    },
}

/// What a child may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Element(u32),
    Wildcard(u32),
}

impl Types for Schema {
    fn simple(&self, number: u32) -> Option<&Simple> {
        match &self.types.get(number as usize)?.content {
            Content::Simple(simple) => Some(simple),
            _ => None,
        }
    }
}

impl Schema {
    /// Reads a schema; `read` yields the bytes of a file beside it.
    pub(crate) fn parse(
        path: &str,
        read: &mut dyn FnMut(&str) -> Result<Vec<u8>, Wrong>,
    ) -> Result<Self, Wrong> {
        build::build(source::load(path, read)?)
    }

    /// Says whether a document is valid.
    pub(crate) fn accepts(&self, tree: &Tree, fuel: &mut Fuel) -> Result<bool, Spent> {
        check::accepts(self, tree, fuel)
    }

    /// The number of a name; nothing where the schema does not know it.
    fn name(&self, namespace: &[u8], local: &[u8]) -> Option<u32> {
        self.names.get(namespace)?.get(local).copied()
    }

    /// Says whether a type is another or derived from it, by nothing that is blocked (part 1 §3.4.6,
    /// §3.14.6).
    fn is_derived(&self, of: u32, from: u32, block: u8) -> bool {
        let mut at = of;
        // A chain is no longer than there are types.
        for _ in 0..=self.types.len() {
            if at == from {
                return true;
            }
            let Some(own) = self.types.get(at as usize) else { return false };
            if own.by & block != 0 {
                return false;
            }
            if at == ANY_TYPE {
                break;
            }
            at = own.base;
        }
        let members = match self.simple(from).map(|simple| &simple.variety) {
            Some(simple::Variety::Union(members)) => members,
            _ => return false,
        };
        members.contains(&of)
    }
}
