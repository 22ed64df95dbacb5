//! Fuzzes expressions: no panic, problems lie inside the text, and what was accepted evaluates to the same
//! answer twice, alone and woken among other rules, within its fuel.
//!
//! Beside the text of the input stand rules that are put together from its bytes and always right, so that
//! every input wakes conditions and not only the few that happen to be expressions. Read next:
//! `crates/rules/src/syntax.rs`, then `crates/rules/src/program.rs`.
#![no_main]

use fuel::Fuel;
use libfuzzer_sys::fuzz_target;
use rules::{
    Action, Builder, Expression, Field, Limits, Lists, Phase, RuleSpec, RulesetSpec, Rulesets, Scope,
    Scratch, Side, Skipped, View,
};

/// Steps of one evaluation; the made rules need a fraction.
const TANK: u64 = 1_000_000;

struct Request<'a>(&'a [u8]);

impl View for Request<'_> {
    fn bytes(&self, field: Field) -> Option<&[u8]> {
        matches!(field, Field::Uri | Field::BodyRaw | Field::HttpHost).then_some(self.0)
    }

    fn header(&self, _side: Side, place: usize) -> Option<(&[u8], &[u8])> {
        let half = self.0.len() / 2;
        let (name, value) = self.0.split_at(half);
        [(&b"cookie"[..], self.0), (b"a", value), (name, value)].get(place).copied()
    }
}

/// Bytes of the input as choices among so many; the first one when they are used up.
struct Choices<'a>(std::slice::Iter<'a, u8>);

impl Choices<'_> {
    fn of<T: Copy>(&mut self, among: &[T]) -> T {
        among[usize::from(self.0.next().copied().unwrap_or(0)) % among.len()]
    }

    /// One comparison, right in type.
    fn comparison(&mut self) -> String {
        const VALUES: [&str; 8] = [
            "http.host",
            "http.request.uri",
            "http.request.uri.path",
            "lower(http.request.uri.query)",
            "http.request.body.raw",
            "http.cookie",
            "http.request.headers[\"a\"][0]",
            "http.request.uri.args.names[0]",
        ];
        const ARRAYS: [&str; 4] = [
            "http.request.uri.args.values[*]",
            "http.request.headers.values[*]",
            "lower(http.request.uri.args.names[*])[*]",
            "http.request.headers[*][*]",
        ];
        const WORDS: [&str; 6] = ["a", "b", "ab", "/a", "/", ""];
        let word = self.of(&WORDS);
        let right = match self.of(&[0, 1, 2, 3, 4, 5, 6, 7]) {
            0 => format!("== \"{word}\""),
            1 => format!("!= \"{word}\""),
            2 => format!("> \"{word}\""),
            3 => format!("contains \"{word}\""),
            4 => format!("in {{\"{word}\" \"{}\"}}", self.of(&WORDS)),
            5 => format!("matches \"^{word}.?(a|b)\""),
            // Two stars side by side are a problem.
            6 if !word.is_empty() => format!("wildcard \"*{word}*a\""),
            _ => format!("strict wildcard \"{word}*\""),
        };
        match self.of(&[0, 1, 2, 3]) {
            0 => format!("any({} {right})", self.of(&ARRAYS)),
            1 => format!("len({}) > {}", self.of(&VALUES), self.of(&[0, 1, 3])),
            2 => format!("starts_with({}, \"{word}\")", self.of(&VALUES)),
            _ => format!("{} {right}", self.of(&VALUES)),
        }
    }

    /// A condition of a few comparisons.
    fn condition(&mut self) -> String {
        let mut text = self.comparison();
        for _ in 0..self.of(&[0, 1, 2, 3]) {
            let other = self.comparison();
            text = match self.of(&[0, 1, 2, 3, 4]) {
                0 => format!("{text} and {other}"),
                1 => format!("({text}) and not ({other})"),
                2 => format!("{text} or {other}"),
                3 => format!("({text}) xor {other}"),
                _ => format!("not ({text} or {other})"),
            };
        }
        text
    }
}

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (text, choices, bytes) = input;
    let (lists, limits) = (Lists::new(), Limits::default());
    let phase = Phase::ResponseHeadersTransform;
    let scope = Scope { lists: &lists, limits: &limits, has_response: true };
    let mut texts = Vec::new();
    let mut conditions = Vec::new();
    match Expression::condition(text, &scope) {
        Ok(condition) => {
            texts.push(text.to_owned());
            conditions.push(condition);
        }
        Err(problems) => {
            assert!(!problems.is_empty() && problems.len() <= limits.problems_max);
            for problem in problems {
                assert!(problem.start <= text.len() && problem.line >= 1 && problem.column >= 1, "{problem}");
            }
        }
    }
    let mut choices = Choices(choices.iter());
    for _ in 0..choices.of(&[1, 2, 4, 8, 70]) {
        let text = choices.condition();
        match Expression::condition(&text, &scope) {
            Ok(condition) => conditions.push(condition),
            Err(problems) => panic!("{text}: {problems:?}"),
        }
        texts.push(text);
    }
    let mut builder = Builder::new();
    let ids: Vec<_> = conditions.iter().map(|condition| builder.condition(condition)).collect();
    let value = Expression::of_any_type(text, &scope).ok().map(|value| builder.value(&value));
    let program = builder.build();
    let rules = texts.iter().enumerate().map(|(number, text)| RuleSpec {
        id: number.to_string(),
        description: String::new(),
        enabled: true,
        expression: text.clone(),
        action: Action::Log,
    });
    let entry = RulesetSpec { id: "entry".to_owned(), enabled: true, rules: rules.collect() };
    let (rulesets, problems) = Rulesets::compile(phase, &entry, &[], &lists, &limits);
    assert_eq!(problems, []);
    let mut scratch = Scratch::new();
    let request = Request(bytes);
    let mut answers = Vec::new();
    for _ in 0..2 {
        scratch.begin();
        let mut fuel = Fuel::new(TANK);
        let mut run = program.run(&request, &mut scratch, &mut fuel);
        // Each by itself, the last one first.
        let alone: Result<Vec<bool>, _> = ids.iter().rev().map(|id| run.is_true(*id)).collect();
        let value = value.map(|value| run.value(value));
        assert!(fuel.used() <= TANK);
        // All together: only what is woken is asked.
        let mut fuel = Fuel::new(TANK);
        let woken = rulesets.evaluate(&request, &mut scratch, &mut fuel, &mut Skipped::default());
        assert!(fuel.used() <= TANK);
        if let (Ok(alone), Ok(woken)) = (&alone, &woken) {
            let mut expected = texts.iter().zip(alone.iter().rev()).enumerate();
            for matched in &woken.matched {
                let found = expected.find(|(_, (_, holds))| **holds);
                let found = found.map(|(number, (text, _))| (number.to_string(), text));
                assert_eq!(
                    found.as_ref().map(|(number, _)| number.as_str()),
                    Some(&*matched.rule),
                    "{found:?}"
                );
            }
            assert_eq!(expected.find(|(_, (_, holds))| **holds), None, "alone it holds");
        }
        answers.push((alone, value, woken.map_err(|spent| spent.rule)));
    }
    assert_eq!(answers.first(), answers.last());
});
