//! What rules are once they are parsed: data only, shared by all transactions.
//!
//! Made by [`crate::parse`] and [`crate::load`], read by [`crate::engine`] and [`crate::prefilter`]. Read
//! next: [`Rule`].

use std::fmt;
use std::sync::Arc;

use regex::bytes::Regex;

use crate::body::{Kind, XmlArguments};
use crate::check::AddressSet;
use crate::check::blocklist::Blocklist;
use crate::check::fuzzy::FuzzyHash;
use crate::problem::Place;
use crate::template::{Template, TxId};
use crate::transform::{ByteSet, Transformation};
use crate::variable::Variable;
use crate::xml::Grammar;

/// Which values of a variable a target names.
#[derive(Debug, Clone)]
pub(crate) enum Selector {
    /// All of them.
    All,
    /// The ones of this name, in lower case.
    Name(Box<[u8]>),
    /// One of `TX`.
    Tx(TxId),
    /// The ones whose names match.
    Pattern {
        /// The pattern, in any case.
        regex: Regex,
        /// As written.
        text: Box<str>,
    },
}

/// A variable that a rule looks at, or leaves out.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) variable: Variable,
    pub(crate) selector: Selector,
    /// `&`: the number of values is looked at.
    pub(crate) is_count: bool,
    /// `!`: these values are left out.
    pub(crate) is_excluded: bool,
}

impl Target {
    /// Says whether a stored value of this name is meant.
    pub(crate) fn selects(&self, name: &[u8]) -> bool {
        match &self.selector {
            Selector::All => true,
            Selector::Name(wanted) => wanted.eq_ignore_ascii_case(name),
            Selector::Pattern { regex, .. } => regex.is_match(name),
            Selector::Tx(_) => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_count {
            f.write_str("&")?;
        }
        if self.is_excluded {
            f.write_str("!")?;
        }
        f.write_str(match self.variable {
            Variable::XmlDocument | Variable::XmlPath => "XML",
            variable => variable.name(),
        })?;
        match &self.selector {
            Selector::All => Ok(()),
            Selector::Name(name) => write!(f, ":{}", String::from_utf8_lossy(name)),
            Selector::Tx(id) => write!(f, ":{id}"),
            Selector::Pattern { text, .. } => write!(f, ":/{text}/"),
        }
    }
}

/// How two numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Comparison {
    Equal,
    GreaterOrEqual,
    Greater,
    LessOrEqual,
    Less,
}

impl Comparison {
    /// Compares a value with what the rule says.
    pub(crate) const fn holds(self, value: i64, with: i64) -> bool {
        match self {
            Self::Equal => value == with,
            Self::GreaterOrEqual => value >= with,
            Self::Greater => value > with,
            Self::LessOrEqual => value <= with,
            Self::Less => value < with,
        }
    }
}

/// How two texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextTest {
    BeginsWith,
    Contains,
    ContainsWord,
    EndsWith,
    Equals,
    Within,
}

/// A list of words searched at once, in any case of ASCII letters.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) automaton: aho_corasick::AhoCorasick,
}

/// What a rule asks of each value.
#[derive(Debug, Clone)]
pub(crate) enum Operator {
    /// `@rx`, and `@rxGlobal` with `all`.
    Pattern { regex: Regex, text: Box<str>, all: bool },
    /// The same with macros, compiled when it is asked.
    MadePattern { template: Template, all: bool },
    /// `@pm`, `@pmFromFile`.
    Words(Words),
    /// `@eq`, `@ge`, `@gt`, `@le`, `@lt`.
    Number(Comparison, Template),
    /// `@streq` and its kin.
    Text(TextTest, Template),
    /// `@validateByteRange`: the bytes that are allowed.
    Bytes(ByteSet),
    /// `@validateUtf8Encoding`.
    Utf8,
    /// `@validateUrlEncoding`.
    UrlEncoding,
    /// `@ipMatch`, `@ipMatchFromFile`.
    Addresses(AddressSet),
    /// `@detectSQLi`.
    Sqli,
    /// `@detectXSS`.
    Xss,
    /// `@verifyCC` and its kin: what the pattern finds must pass the check.
    Checked { regex: Regex, check: fn(&[u8]) -> bool },
    /// `@fuzzyHash`: values as like one of these as the threshold says.
    Fuzzy { hashes: Vec<FuzzyHash>, threshold: u32 },
    /// `@rbl`.
    Listed(Blocklist),
    /// `@geoLookup`.
    Located,
    /// `@validateDTD`, `@validateSchema`: the document is not what the grammar says.
    Document(Arc<Grammar>),
    /// `@unconditionalMatch` and rules without an operator (`SecAction`).
    Always,
    /// `@noMatch`.
    Never,
}

/// What the end of a transaction's way through the rules is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disruptive {
    Pass,
    /// What `SecDefaultAction` of the phase says.
    Block,
    Deny,
    Drop,
    Redirect(Template),
    Allow(Allow),
}

/// How far `allow` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allow {
    /// The rest of the transaction, the logging phase excepted.
    All,
    /// The rest of this phase.
    Phase,
    /// The rest of the request's phases.
    Request,
}

/// What a rule does to the variables of the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Set(Template),
    Add(Template),
    Subtract(Template),
    Remove,
}

/// The name of a `TX` variable, known at load or made when the rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TxName {
    Known(TxId),
    Made(Template),
}

/// Which rules a `ctl` action means.
#[derive(Debug, Clone)]
pub(crate) enum Which {
    Ids(Vec<(u64, u64)>),
    Tag(Regex),
    Msg(Regex),
    /// What the loader made of the others: sets over the rules of this rule set.
    Resolved(RuleBits),
}

/// Whether the engine evaluates, and whether it acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum EngineMode {
    /// Rules are not evaluated.
    Off,
    /// Rules are evaluated; nothing is refused.
    #[default]
    DetectionOnly,
    /// Rules are evaluated and may refuse.
    On,
}

/// A change of the engine for the rest of one transaction.
#[derive(Debug, Clone)]
pub(crate) enum Ctl {
    RemoveRules(Which),
    RemoveTarget(Which, Target),
    Engine(EngineMode),
    BodyKind(Kind),
    XmlArguments(XmlArguments),
    RequestBodyAccess(bool),
    ResponseBodyAccess(bool),
    ForceRequestBodyVariable(bool),
    /// Of the audit log, of limits that streaming does without, and the like: read, checked, without effect.
    Nothing,
}

/// What a rule does when it matches, besides the end of the way.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    Tx(TxName, Change),
    Env(Template, Change),
    Ctl(Ctl),
    /// `sanitise…`: values that no record may show.
    Mask(Variable, Box<[u8]>),
    /// `sanitiseMatched`: the values this rule matched.
    MaskMatched,
}

/// Where evaluation goes after a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Flow {
    #[default]
    Next,
    /// Leaves out so many rules of the phase.
    Skip(u32),
    /// Goes on at this place of the phase's list.
    SkipTo(u32),
}

/// One rule.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// 0 for chained rules, which need none.
    pub(crate) id: u64,
    pub(crate) place: Place,
    /// From 1 to 5.
    pub(crate) phase: u8,
    pub(crate) targets: Vec<Target>,
    pub(crate) operator: Operator,
    pub(crate) is_negated: bool,
    pub(crate) pipeline: Vec<Transformation>,
    pub(crate) multi_match: bool,
    pub(crate) capture: bool,
    pub(crate) is_logged: bool,
    pub(crate) is_audited: bool,
    pub(crate) msg: Option<Template>,
    pub(crate) logdata: Option<Template>,
    pub(crate) tags: Vec<Template>,
    pub(crate) severity: Option<u8>,
    pub(crate) version: Box<str>,
    pub(crate) revision: Box<str>,
    pub(crate) disruptive: Disruptive,
    pub(crate) status: Option<u16>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) flow: Flow,
    /// The next rule of the chain, as its place among all rules.
    pub(crate) chained: Option<u32>,
}

/// A set of rules, by their place among all rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct RuleBits(Vec<u64>);

impl RuleBits {
    /// An empty set for so many rules.
    pub(crate) fn with_room(rules: usize) -> Self {
        Self(vec![0; rules.div_ceil(64)])
    }

    pub(crate) fn set(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    #[inline]
    pub(crate) fn has(&self, rule: usize) -> bool {
        self.0.get(rule / 64).is_some_and(|word| word >> (rule % 64) & 1 == 1)
    }

    /// Adds every rule of `other`, growing to its size.
    pub(crate) fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}
