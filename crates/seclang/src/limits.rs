//! Every limit of the engine, each with its reason.
//!
//! It holds numbers only; the checks stand where the thing is read. Two kinds: what a person may write in
//! rules (reached: a load error), and what a stranger may make one transaction hold (reached: what follows is
//! not inspected and the transaction says so). Read next: `load.rs`, `transaction.rs`.

/// Bytes of one file of rules: OWASP CRS's largest has 120 KiB.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one data file of words or addresses: lists of bad hosts reach some megabytes.
pub const DATA_FILE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of a file of code pages: the one that comes with ModSecurity has 52 KiB for 29 pages, and one page
/// with every code point is 512 KiB.
pub const CODE_PAGES_BYTES_MAX: usize = 1024 * 1024;

/// Files read in one load, included ones counted: CRS with its data files has about 60.
pub const FILES_MAX: usize = 2_000;

/// Files open around an included one; deeper is a circle. Files that are included beside each other, as all
/// of a folder are, do not count.
pub const INCLUDE_DEPTH_MAX: usize = 16;

/// Rules of one rule set, chained ones counted: a rule's number fits 16 bits in the prefilter's tables.
pub const RULES_MAX: usize = 20_000;

/// Rules whose operator the prefilter serves; what is beyond is evaluated plainly.
pub const SLOTS_MAX: usize = 4_096;

/// Rules in one chain: CRS uses five.
pub const CHAIN_MAX: usize = 64;

/// Bytes of one logical line, continuations joined: the longest of CRS has 7 KiB.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one compiled regular expression. CRS's largest takes about 8 MiB with its repetitions unrolled.
pub const PATTERN_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a pattern that macros made, as it is compiled (a byte above 127 takes four): lists that rules
/// keep in `TX` have some hundred. It is compiled in one piece while a visitor waits, at some 0.25 µs a
/// byte.
pub const MADE_PATTERN_BYTES_MAX: usize = 2 * 1024;

/// Bytes that a pattern which macros made may compile to: a list of a hundred words takes some 30 KiB. With
/// [`MADE_PATTERN_BYTES_MAX`] the dearest pattern that was found takes 0.7 ms.
pub const MADE_PROGRAM_BYTES_MAX: usize = 64 * 1024;

/// Patterns that macros made which a thread keeps for the next time, at most three times
/// [`MADE_PROGRAM_BYTES_MAX`] each (a program and two caches): rules make the same few for most requests.
pub const MADE_PATTERNS_MAX: usize = 32;

/// Hashes of known files in one `@fuzzyHash`: each costs a look for every value, and one of the same block
/// size a comparison.
pub const FUZZY_HASHES_MAX: usize = 10_000;

/// Files of a multipart body: people upload folders of photographs, and each name costs a scan. More set a
/// flag and an error.
pub const UPLOAD_FILES_MAX: usize = 1_000;

/// Names that `@rbl` asks for in one transaction: each is a packet to somebody else and may hold the visitor
/// up. Values beyond are not asked about.
pub const LOOKUPS_MAX: usize = 16;

/// Nesting of groups in one pattern: parsing is recursive in the parser of patterns, and rules come from
/// tenants.
pub const PATTERN_DEPTH_MAX: u32 = 200;

/// Problems reported in one load; a person reads the first page.
pub const PROBLEMS_MAX: usize = 500;

/// States of the literal automaton: they are numbered by 16 bits, which keeps the table in a core's cache.
pub const AUTOMATON_STATES_MAX: usize = 65_535;

/// Values one transaction may hold, over all collections: about 100 bytes each.
pub const ITEMS_MAX: usize = 20_000;

/// Bytes of all names and values one transaction may hold: room for what the default ceilings let in several
/// times over. A caller who inspects more of bodies gets more ([`arena_bytes_max`]).
pub const ARENA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many times the bytes inspected of a body all names and values out of it may take: those in JSON repeat
/// the names of all levels above. More is left out, and the body marked.
pub const BODY_VALUES_TIMES_MAX: usize = 8;

/// Bytes of all names and values where so many of the request's and the response's body are inspected: those
/// of the request's, its raw bytes, as many for the heads; the response's twice. At least
/// [`ARENA_BYTES_MAX`]; at most what 32 bits count, since places in it are such.
#[must_use]
pub const fn arena_bytes_max(request_body_bytes: usize, response_body_bytes: usize) -> usize {
    let request = request_body_bytes.saturating_mul(BODY_VALUES_TIMES_MAX + 2);
    let bytes = request.saturating_add(response_body_bytes.saturating_mul(2));
    let bytes = if bytes < ARENA_BYTES_MAX { ARENA_BYTES_MAX } else { bytes };
    if bytes > u32::MAX as usize { u32::MAX as usize } else { bytes }
}

/// Bytes of one buffer that transformations make: `utf8toUnicode` and `hexEncode` inflate up to sixfold.
/// What is longer is cut, and the transaction says so ([`crate::Uninspected::values`]).
pub const BUFFER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Bytes of a request's body that are inspected when neither the rules nor the caller say otherwise.
pub const REQUEST_BODY_INSPECTED_BYTES: usize = 128 * 1024;

/// Bytes of a response's body that are inspected when neither the rules nor the caller say otherwise.
pub const RESPONSE_BODY_INSPECTED_BYTES: usize = 512 * 1024;

/// Names a transaction may give to its own variables (`TX`): rules may name them by what a stranger sent.
pub const TX_NAMES_MAX: usize = 1_024;

/// Bytes of one `TX` value, and of one text that macros expand to: rules can append a value to itself.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Matched variables remembered for `MATCHED_VARS` and for the record of one rule.
pub const MATCHED_VARS_MAX: usize = 512;

/// Matches recorded in one transaction: as many rules as CRS has.
pub const MATCHES_MAX: usize = 1_000;

/// Bytes of one value in a recorded match; a log line is no archive of bodies.
pub const MATCH_DATA_BYTES_MAX: usize = 256;

/// Fuel for one transaction that a caller may start from: about a second of one core, which 128 KiB of
/// the worst known body do not reach.
pub const FUEL_STEPS: u64 = 1_000_000_000;
