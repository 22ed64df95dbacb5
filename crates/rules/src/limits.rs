//! Every limit of this crate, each with its reason. The caller may set them; the defaults are safe.
//!
//! A limit that is passed is a [`crate::Problem`] when an expression or ruleset is compiled; nothing here
//! ends an evaluation, which is bounded by [`fuel::Fuel`]. Read next: [`Limits`].

/// Limits on what one expression, ruleset or list may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of one expression in bytes. Default 4,096: what site owners are used to; generated sets of
    /// values belong into lists.
    pub expression_bytes_max: usize,
    /// Parentheses, `not` and calls inside one another. Default 64: people write up to ten, and the parser
    /// and the evaluator keep one entry for each.
    pub depth_max: usize,
    /// Fields, literals, comparisons and operators in one expression. Default 2,048: a full expression of the
    /// longest length stays below it, so it binds only where the length was raised.
    pub nodes_max: usize,
    /// Values in one `in {…}`. Default 2,048, for the same reason; longer ones are lists.
    pub set_items_max: usize,
    /// Regular expressions in one expression. Default 64: each is an automaton of its own.
    pub patterns_max: usize,
    /// Memory of one compiled regular expression in bytes. Default 256 KiB: the longest rules in use compile
    /// to a quarter of it; counted repetitions such as `.{1000}{1000}` do not.
    pub pattern_bytes_max: usize,
    /// Memory in bytes of the states that a lazy automaton keeps per thread for one regular expression.
    /// Default 128 KiB: a thousand rules cost a thread at most 128 MiB, and only those that ran.
    pub pattern_cache_bytes_max: usize,
    /// Stars in one wildcard. Default 8: as many as can be named in a replacement.
    pub stars_max: usize,
    /// Problems reported for one expression. Default 32: past it the list helps nobody.
    pub problems_max: usize,
    /// Rules in one phase, executed rulesets included. Default 20,000: compiling them takes about a second.
    pub rules_max: usize,
    /// Rulesets executed inside one another. Default 4: the entry, a managed ruleset, and two below it.
    pub execute_depth_max: usize,
    /// Entries of one list. Default 1,000,000 (8 MB of IPv4 prefixes).
    pub list_entries_max: usize,
    /// Length of one entry of a list in bytes. Default 1,024: the longest hostname has 253.
    pub list_entry_bytes_max: usize,
    /// Problems reported for one list. Default 100: a wrong file is wrong in every line.
    pub list_problems_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            expression_bytes_max: 4096,
            depth_max: 64,
            nodes_max: 2048,
            set_items_max: 2048,
            patterns_max: 64,
            pattern_bytes_max: 256 * 1024,
            pattern_cache_bytes_max: 128 * 1024,
            stars_max: 8,
            problems_max: 32,
            rules_max: 20_000,
            execute_depth_max: 4,
            list_entries_max: 1_000_000,
            list_entry_bytes_max: 1024,
            list_problems_max: 100,
        }
    }
}

/// Bytes that one evaluation may make for itself (lower-cased, joined and decoded values). Default 1 MiB;
/// past it the tank is taken for empty. It is the memory of one request, whatever its rules.
pub(crate) const MADE_BYTES_MAX: usize = 1024 * 1024;

/// Values in arrays that one evaluation may hold: 65,536 of 32 bytes. Past it the tank is taken for empty.
pub(crate) const ITEMS_MAX: usize = 65_536;

/// Pairs (header fields, arguments, cookies) of one map: 65,536. Past it the tank is taken for empty.
pub(crate) const PAIRS_MAX: usize = 65_536;

/// What a scratch keeps between requests, per buffer: 64 KiB, more than a usual request needs.
pub(crate) const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Levels of a JSON document that is looked into: 64. A deeper one has no values.
pub(crate) const JSON_DEPTH_MAX: usize = 64;

/// Passes of `url_decode(…, "r")`: 10. Each pass shortens the value by a third of what it decodes, so real
/// ones end after three.
pub(crate) const DECODE_PASSES_MAX: usize = 10;

/// Postings of one address table: 4 million numbers of 4 bytes. A table of more (prefixes deep inside one
/// another in very many rules) is asked rule by rule instead.
pub(crate) const ADDRESS_POSTINGS_MAX: usize = 4_000_000;

/// Content of a block response or error page in bytes: 64 KiB, held in memory by every node.
pub(crate) const CONTENT_BYTES_MAX: usize = 64 * 1024;

/// Changes to headers in one rule: 64; more is a rule that was generated wrongly.
pub(crate) const HEADER_CHANGES_MAX: usize = 64;

/// Names of headers and cookies, and expressions, that one rule adds to the log: 100 of each.
pub(crate) const LOG_NAMES_MAX: usize = 100;

/// Executed rulesets inside one another that an evaluation has room for, whatever [`Limits`] says: 8.
pub(crate) const EXECUTE_DEPTH: usize = 8;
