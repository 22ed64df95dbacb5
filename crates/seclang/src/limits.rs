//! Every limit of the engine, each with its reason.
//!
//! It holds numbers only; the checks stand where the thing is read. Two kinds: what a person may write in
//! rules (reached: a load error), and what a stranger may make one transaction hold (reached: what follows is
//! not inspected and the transaction says so). Read next: `load.rs`, `transaction.rs`.

/// Bytes of one file of rules: OWASP CRS's largest has 120 KiB.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one data file of words or addresses: lists of bad hosts reach some megabytes.
pub const DATA_FILE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Files read in one load, included ones counted: CRS with its data files has about 60.
pub const FILES_MAX: usize = 2_000;

/// Files that include each other in depth; deeper is a circle.
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

/// Nesting of groups in one pattern: parsing is recursive in the parser of patterns, and rules come from
/// tenants.
pub const PATTERN_DEPTH_MAX: u32 = 200;

/// Problems reported in one load; a person reads the first page.
pub const PROBLEMS_MAX: usize = 500;

/// States of the literal automaton: they are numbered by 16 bits, which keeps the table in a core's cache.
pub const AUTOMATON_STATES_MAX: usize = 65_535;

/// Values one transaction may hold, over all collections: about 100 bytes each.
pub const ITEMS_MAX: usize = 20_000;

/// Bytes of all names and values one transaction may hold. The default ceiling of 128 KiB for a body, copied
/// into names, values and the raw body, fits eight times.
pub const ARENA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of one buffer that transformations make: `utf8toUnicode` and `hexEncode` inflate up to sixfold.
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
