//! XML documents as rules judge them: a small tree, document types, schemas and paths over it.
//!
//! The tree is kept of a body only where a rule asks for it ([`crate::ruleset::RuleSet`] knows):
//! `@validateDTD` and `@validateSchema` judge it when their rule is due, paths (`XML:/a/b`) become values
//! when the body has ended. Nothing outside the rules' own files is ever read. Nothing recurses; work is
//! charged in fuel. Documents are read by [`crate::body::xml`], which also reads schemas. Read next:
//! [`Tree`], [`Document`].

pub(crate) mod dtd;
pub(crate) mod limits;
pub(crate) mod model;
pub(crate) mod path;
pub(crate) mod schema;
pub(crate) mod tree;

use std::sync::Arc;

use fuel::{Fuel, Spent};

pub(crate) use dtd::Dtd;
pub(crate) use path::Path;
pub(crate) use schema::Schema;
pub(crate) use tree::Tree;

/// A body's document, with what is known of it.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) tree: Box<Tree>,
    /// It is not well-formed, or a ceiling other than that on bytes was reached.
    pub(crate) is_broken: bool,
    /// Grammars it was judged by, and whether it is valid by them.
    judged: Vec<(Arc<Grammar>, bool)>,
}

impl Document {
    pub(crate) fn new(tree: Box<Tree>, is_broken: bool) -> Self {
        Self { tree, is_broken, judged: Vec::new() }
    }

    /// Says whether the document is valid by a grammar; asked once, remembered after.
    ///
    /// What is cut at the ceiling of inspected bytes is judged as far as it was read: a mistake before the
    /// cut is one, what is open there is not held against it.
    pub(crate) fn is_valid(&mut self, grammar: &Arc<Grammar>, fuel: &mut Fuel) -> Result<bool, Spent> {
        if self.is_broken {
            return Ok(false);
        }
        if let Some((_, is_valid)) = self.judged.iter().find(|(known, _)| Arc::ptr_eq(known, grammar)) {
            return Ok(*is_valid);
        }
        let is_valid = grammar.accepts(&self.tree, fuel)?;
        self.judged.push((Arc::clone(grammar), is_valid));
        Ok(is_valid)
    }
}

/// What a document may be.
#[derive(Debug)]
pub(crate) enum Grammar {
    /// `@validateDTD`.
    Dtd(Dtd),
    /// `@validateSchema`.
    Schema(Schema),
}

impl Grammar {
    fn accepts(&self, tree: &Tree, fuel: &mut Fuel) -> Result<bool, Spent> {
        match self {
            Self::Dtd(dtd) => dtd.accepts(tree, fuel),
            Self::Schema(schema) => schema.accepts(tree, fuel),
        }
    }
}
