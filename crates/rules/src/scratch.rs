//! Memory of evaluations: what was derived from a request, and what one program knows so far.
//!
//! Kept by whoever serves requests one after the other (a thread, a connection) and used again, so that an
//! evaluation allocates nothing once it is warm. Values are places, never references, so nothing here
//! outlives its request dangerously: used with another view, it would give wrong or empty values, never a
//! fault. Read next: [`Scratch`], [`Val`].

use std::net::IpAddr;

use crate::field::Field;
use crate::limits::KEPT_BYTES_MAX;
use crate::view::Side;

/// Where the bytes of a value are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Made during this request.
    Made,
    /// A literal of the program.
    Literal(u32),
    /// A field that the view gives.
    Field(Field),
    /// The name of a header field.
    Name(Side, u32),
    /// The value of a header field.
    Value(Side, u32),
    /// An item of an array that the view gives.
    Item(Field, u32),
}

/// A piece of bytes somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) place: Place,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// The maps of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Map {
    Headers(Side),
    Args,
    RawArgs,
    Cookies,
    Form,
    /// A map that nothing fills yet.
    Nothing,
}

impl Map {
    const TABLES: usize = 7;

    pub(crate) fn table(self) -> usize {
        match self {
            Map::Headers(Side::Request) | Map::Nothing => 0,
            Map::Headers(Side::Response) => 1,
            Map::Headers(Side::RawResponse) => 2,
            Map::Args => 3,
            Map::RawArgs => 4,
            Map::Cookies => 5,
            Map::Form => 6,
        }
    }

    /// Whether names count in lower case.
    pub(crate) fn folds(self) -> bool {
        matches!(self, Map::Headers(_))
    }
}

/// A value, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Val {
    /// Not evaluated yet.
    Unknown,
    Missing,
    Bool(bool),
    Int(i64),
    Ip(IpAddr),
    Text(Text),
    /// A range of [`Scratch::items`].
    Array {
        start: u32,
        len: u32,
    },
    Map(Map),
}

/// One entry of a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) name: Text,
    pub(crate) value: Text,
}

/// The entries of one map, in order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) is_filled: bool,
    pub(crate) pairs: Vec<Pair>,
    /// Lengths of names that occur, the last bit for all from 63: most keys that are not there are told by
    /// that.
    pub(crate) lengths: u64,
    /// Hashes of names with places, sorted; empty until a map of many entries is asked.
    pub(crate) by_hash: Vec<(u32, u32)>,
}

/// What is known of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Known {
    Nothing,
    No,
    /// Not ruled out by the cheap look; to be asked itself.
    Perhaps,
    Yes,
}

/// Memory for evaluations over one request after another.
///
/// Call [`Scratch::begin`] before the first evaluation of each request, and [`Scratch::uri_changed`] and the
/// like when what was derived no longer holds. It keeps at most 64 KiB per buffer between requests.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Bytes made during this request.
    pub(crate) made: Vec<u8>,
    pub(crate) items: Vec<Val>,
    pub(crate) tables: [Table; Map::TABLES],
    /// Derived fields that had to be made.
    pub(crate) derived: Vec<(Field, Val)>,
    pub(crate) folded: Vec<u8>,
    pub(crate) spare: Vec<u8>,
    /// Results of one operation on each item, before they become items.
    pub(crate) results: Vec<Val>,
    // Of the program that runs.
    pub(crate) values: Vec<Val>,
    pub(crate) known: Vec<Known>,
    pub(crate) groups: Vec<bool>,
    pub(crate) awake: Vec<u64>,
}

impl Scratch {
    /// Empty memory; it grows with use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the request before.
    pub fn begin(&mut self) {
        self.made.clear();
        self.made.shrink_to(KEPT_BYTES_MAX);
        self.items.clear();
        self.items.shrink_to(KEPT_BYTES_MAX / size_of::<Val>());
        for table in &mut self.tables {
            table.is_filled = false;
            table.lengths = 0;
            table.pairs.clear();
            table.pairs.shrink_to(KEPT_BYTES_MAX / size_of::<Pair>());
            table.by_hash.clear();
            table.by_hash.shrink_to(KEPT_BYTES_MAX / 8);
        }
        self.derived.clear();
        self.folded.clear();
        self.folded.shrink_to(KEPT_BYTES_MAX);
        self.spare.clear();
        self.spare.shrink_to(KEPT_BYTES_MAX);
    }

    /// Forgets what was derived from path and query, after a rewrite between two phases.
    pub fn uri_changed(&mut self) {
        self.forget(Map::Args);
        self.derived.clear();
    }

    /// Forgets what was derived from header fields of one side, after they were changed between two phases.
    pub fn headers_changed(&mut self, side: Side) {
        self.forget(Map::Headers(side));
        if side == Side::Request {
            self.forget(Map::Cookies);
            self.forget(Map::Form);
        }
        self.derived.clear();
    }

    /// Forgets what was derived from the body, after more of it was inspected.
    pub fn body_changed(&mut self) {
        self.forget(Map::Form);
    }

    fn forget(&mut self, map: Map) {
        if let Some(table) = self.tables.get_mut(map.table()) {
            table.is_filled = false;
            table.lengths = 0;
            table.pairs.clear();
            table.by_hash.clear();
        }
    }

    /// Makes room for a program and forgets the one before.
    pub(crate) fn prepare(&mut self, values: usize, atoms: usize, groups: usize) {
        self.values.clear();
        self.values.resize(values, Val::Unknown);
        self.known.clear();
        self.known.resize(atoms, Known::Nothing);
        self.groups.clear();
        self.groups.resize(groups, false);
    }
}
