//! Tests of the rule language from outside: what expressions mean, what is refused, what it costs.

mod bounds;
mod disabling;
mod fields;
mod functions;
mod mistakes;
mod operators;
mod references;
mod request;
mod rulesets;

use std::sync::Arc;

use fuel::Fuel;
use rules::{
    Action, Builder, Expression, Limits, List, ListKind, Lists, Phase, Problem, Rulesets, Scope, Scratch,
    Skipped, Value,
};

use crate::request::Request;
use crate::rulesets::{rule, ruleset};

/// Fuel that no honest test spends.
const PLENTY: u64 = 100_000_000;

fn lists() -> Lists {
    let mut lists = Lists::new();
    let limits = Limits::default();
    for (name, kind, text) in [
        ("office", ListKind::Addresses, "192.0.2.0/28\n2001:db8::/32\n"),
        ("networks", ListKind::Asns, "AS64500\n64501\n"),
        ("names", ListKind::Hostnames, "example.org\n*.example.com\n"),
        ("words", ListKind::Strings, "alpha\nbeta\n"),
    ] {
        lists.insert(name, Arc::new(List::parse(kind, text, &limits).expect("a right list")));
    }
    lists
}

fn condition(text: &str) -> Result<Expression, Vec<Problem>> {
    let lists = lists();
    Expression::condition(text, &Scope { lists: &lists, limits: &Limits::default(), has_response: true })
}

/// Whether a condition holds for a request, asked alone, and as a rule that must be woken beside its
/// contrary; both must say the same.
#[track_caller]
fn holds(text: &str, request: &Request) -> bool {
    let expression = condition(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    let mut builder = Builder::new();
    let id = builder.condition(&expression);
    let program = builder.build();
    let mut fuel = Fuel::new(PLENTY);
    let alone = program.run(request, &mut Scratch::new(), &mut fuel).is_true(id).expect("fuel enough");
    let contrary = format!("not ({text})");
    let entry = ruleset("entry", vec![rule("it", text, Action::Log), rule("not", &contrary, Action::Log)]);
    let (rulesets, problems) =
        Rulesets::compile(Phase::ResponseHeadersTransform, &entry, &[], &lists(), &Limits::default());
    assert_eq!(problems, [], "{text}");
    let outcome = rulesets
        .evaluate(request, &mut Scratch::new(), &mut fuel, &mut Skipped::default())
        .expect("fuel enough");
    let woken: Vec<&str> = outcome.matched.iter().map(|matched| &*matched.rule).collect();
    assert_eq!(woken, [if alone { "it" } else { "not" }], "{text}");
    alone
}

/// What a value expression gives.
#[track_caller]
fn value(text: &str, request: &Request) -> Option<Value> {
    let lists = lists();
    let scope = Scope { lists: &lists, limits: &Limits::default(), has_response: true };
    let expression =
        Expression::of_any_type(text, &scope).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    let mut builder = Builder::new();
    let id = builder.value(&expression);
    let program = builder.build();
    let mut scratch = Scratch::new();
    let mut fuel = Fuel::new(PLENTY);
    program.run(request, &mut scratch, &mut fuel).value(id).expect("fuel enough")
}

/// The same as text; `(missing)` when there is none.
#[track_caller]
fn shown(text: &str, request: &Request) -> String {
    value(text, request).map_or_else(|| "(missing)".to_owned(), |value| value.to_string())
}

/// The problems of a condition, one a line.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    match condition(text) {
        Ok(_) => panic!("`{text}` was accepted"),
        Err(problems) => problems.iter().map(Problem::to_string).collect(),
    }
}
