//! Fuzzes expressions: no panic, problems lie inside the text, and what was accepted evaluates to the same
//! answer twice, alone and woken, within its fuel. Read next: `crates/rules/src/syntax.rs`.
#![no_main]

use fuel::Fuel;
use libfuzzer_sys::fuzz_target;
use rules::{Builder, Expression, Field, Limits, Lists, Scope, Scratch, Side, View};

struct Request<'a>(&'a [u8]);

impl View for Request<'_> {
    fn bytes(&self, field: Field) -> Option<&[u8]> {
        matches!(field, Field::Uri | Field::BodyRaw | Field::HttpHost).then_some(self.0)
    }

    fn header(&self, _side: Side, place: usize) -> Option<(&[u8], &[u8])> {
        let half = self.0.len() / 2;
        let (name, value) = self.0.split_at(half);
        [(&b"cookie"[..], self.0), (name, value)].get(place).copied()
    }
}

fuzz_target!(|input: (&str, &[u8])| {
    let (text, bytes) = input;
    let (lists, limits) = (Lists::new(), Limits::default());
    let scope = Scope { lists: &lists, limits: &limits, has_response: true };
    let condition = Expression::condition(text, &scope);
    if let Err(problems) = &condition {
        assert!(!problems.is_empty() && problems.len() <= limits.problems_max);
        for problem in problems {
            assert!(problem.start <= text.len() && problem.line >= 1 && problem.column >= 1, "{problem}");
        }
    }
    let mut builder = Builder::new();
    let id = condition.ok().map(|condition| builder.condition(&condition));
    let value = Expression::of_any_type(text, &scope).ok().map(|value| builder.value(&value));
    let program = builder.build();
    let mut scratch = Scratch::new();
    let request = Request(bytes);
    let mut answers = Vec::new();
    for _ in 0..2 {
        scratch.begin();
        let mut fuel = Fuel::new(1_000_000);
        let mut run = program.run(&request, &mut scratch, &mut fuel);
        let answer = id.map(|id| run.is_true(id));
        let value = value.map(|value| run.value(value));
        answers.push((answer, value));
        assert!(fuel.used() <= 1_000_000);
    }
    assert_eq!(answers.first(), answers.last());
});
