//! Ceilings of documents, document types, schemas and paths, each with its reason.
//!
//! Those of documents are a stranger's (reached: the body has an error, which rules can refuse); those of
//! grammars and paths are a person's (reached: a load error).

/// Elements, texts and attributes of a document that is kept: `<a/>` takes four bytes of a body, so the
/// default window cannot hold more. Each takes some 60 bytes, twice that while its list grows: the caller
/// charges them to the zone and the node before the body is read
/// ([`crate::Transaction::document_bytes_max`]), and they are given back behind the last phase with a rule
/// that judges the document.
pub(crate) const NODES_MAX: usize = 256 * 1024;

/// Namespaces of one document, and bindings in force at one place: each name with a prefix looks through
/// them.
pub(crate) const NAMESPACES_MAX: usize = 128;

/// Bytes of a document type or schema when all its parameter entities are replaced: those of DocBook are a
/// megabyte.
pub(crate) const GRAMMAR_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Parameter entities open in each other; XHTML nests six.
pub(crate) const ENTITY_DEPTH_MAX: usize = 32;

/// Groups open in each other in one content model.
pub(crate) const MODEL_DEPTH_MAX: usize = 64;

/// Names in one content model.
pub(crate) const MODEL_POSITIONS_MAX: usize = 4_096;

/// Which may follow which in one content model: 1,000 names that may all follow each other.
pub(crate) const MODEL_LINKS_MAX: usize = 1_000_000;

/// The same over all content models of a grammar once equal ones are shared.
pub(crate) const GRAMMAR_LINKS_MAX: usize = 4_000_000;

/// Bytes of one path; those people write have a hundred.
pub(crate) const PATH_BYTES_MAX: usize = 4_096;

/// Paths of one rule set: each is walked over each document.
pub(crate) const PATHS_MAX: usize = 500;

/// Files of one schema: those of large standards come in thirty.
pub(crate) const SCHEMA_FILES_MAX: usize = 100;

/// Parts of content models of one schema, groups put in place of their references.
pub(crate) const SCHEMA_PARTS_MAX: usize = 200_000;

/// Keys kept of one document for its constraints: nested elements may each have those of all below.
pub(crate) const KEYS_MAX: usize = 64 * 1024;

/// Bytes of all of them.
pub(crate) const KEY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Elements that stand in place of each other, one after another: real schemas have three.
pub(crate) const SUBSTITUTION_DEPTH_MAX: usize = 64;
