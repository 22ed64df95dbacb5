//! The rule language: parse, type-check, compile and evaluate an expression against a view of a request.
//!
//! Expressions of Cloudflare's rules move over unchanged; the language is described in
//! `docs/reference/rules.md`, the choices behind it in `docs/decisions/`. Everything is bounded: lengths and
//! depths when an expression is read ([`Limits`]), work when it is evaluated ([`fuel::Fuel`]). No expression
//! can fail at run time: what is missing makes a comparison false.
//!
//! It knows neither zones nor sockets nor a clock. The way of an expression: `lexer.rs`, `syntax.rs`,
//! `check.rs` to an [`Expression`]; `program.rs` joins many into a [`Program`]; `eval.rs` runs it over a
//! [`View`] with a [`Scratch`].

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

#[cfg(test)]
extern crate self as rules;

mod action;
mod address;
mod check;
mod derive;
mod encoding;
mod eval;
mod field;
mod function;
mod json;
mod kind;
mod lexer;
mod limits;
mod list;
mod outcome;
mod pattern;
mod phase;
mod predicate;
mod problem;
mod program;
mod reference;
mod ruleset;
mod scratch;
mod syntax;
mod view;
mod wildcard;

pub use action::{
    Action, BlockSpec, CacheSpec, CompressSpec, Compression, ConfigSpec, HeaderChange, HeaderSpec, KeyPart,
    LogSpec, PageSpec, RedirectSpec, RewriteSpec, RouteSpec, Setting, SkipSpec, Ttl, ValueSpec,
};
pub use address::AddressSet;
pub use check::{Expression, Scope};
pub use eval::{Run, Value};
pub use field::{Field, Row, Source, When};
pub use function::{Function, FunctionRow};
pub use kind::{Scalar, Shape, Type};
pub use limits::Limits;
pub use list::{List, ListKind, ListProblem, Lists};
pub use outcome::{Effect, LogNames, Matched, Outcome, Refusing, RouteTo, SpentAt, Verdict};
pub use phase::{ActionKind, ActionRow, Phase, PhaseRow, Product, Skipped};
pub use problem::Problem;
pub use program::{Builder, ConditionId, Program, ValueId};
pub use reference::reference;
pub use ruleset::{RuleProblem, RuleSpec, RulesetSpec, Rulesets};
pub use scratch::Scratch;
pub use syntax::{Comparison, Logic};
pub use view::{Side, View, ViewItem};
