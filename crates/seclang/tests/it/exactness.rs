//! The prefilter changes nothing: the same matches on the same variables, and the same scores, as plain
//! evaluation.
//!
//! Over all inputs of CRS's regression cases, and over random mutations of them that borrow pieces of each
//! other, at every paranoia level.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seclang::Workspace;
use testkit::chance::Dice;
use testkit::crs::{Case, read, reply};

use crate::regression::on_every_case;
use crate::rig::{Manner, Request, Verdict, base_rules, crs_folder, regression_rules, run};

/// Changes a text at some places: bytes, case, escapes, comments, pieces of another text.
fn mutated(text: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = text.to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(out.len() + 1);
        match dice.roll(9) {
            0 if at < out.len() => out[at] = dice.roll(256) as u8,
            1 => {
                out.splice(at..at, other.iter().copied().skip(dice.roll(other.len())).take(24)).for_each(drop)
            }
            2 => out.iter_mut().for_each(|byte| {
                if dice.roll(3) == 0 {
                    *byte = if byte.is_ascii_lowercase() {
                        byte.to_ascii_uppercase()
                    } else {
                        byte.to_ascii_lowercase()
                    };
                }
            }),
            3 => out.splice(at..at, *b"/**/").for_each(drop),
            4 if at < out.len() => {
                let escaped = format!("%{:02x}", out[at]);
                out.splice(at..=at, escaped.into_bytes()).for_each(drop);
            }
            5 if at < out.len() => {
                let escaped = format!("\\x{:02x}", out[at]);
                out.splice(at..=at, escaped.into_bytes()).for_each(drop);
            }
            6 => out.truncate(at),
            7 => out.splice(at..at, *b" \t\0").for_each(drop),
            _ => out.splice(at..at, "\u{ff1c}\u{e9}&lt;".bytes()).for_each(drop),
        }
    }
    out
}

fn compare(fast: &Verdict, plain: &Verdict, what: &str) {
    assert_eq!(fast.found, plain.found, "{what}: other matches");
    assert_eq!(fast.scores, plain.scores, "{what}: other scores");
}

#[test]
fn the_prefilter_changes_no_verdict_on_the_cases_of_crs() {
    let Some(folder) = crs_folder() else { return };
    let rules = regression_rules(&folder);
    let cases = read(&folder).expect("the cases");
    let matches = AtomicUsize::new(0);
    on_every_case(&cases, |case, space| {
        for stage in &case.stages {
            let answer = reply(&stage.request);
            let fast = run(&rules, &stage.request, &answer, &Manner::default(), space);
            let plain = Manner { is_plain: true, ..Manner::default() };
            compare(&fast, &run(&rules, &stage.request, &answer, &plain, space), &case.id);
            matches.fetch_add(fast.found.len(), Ordering::Relaxed);
        }
    });
    assert!(matches.into_inner() > 20_000, "few matches: the test shows nothing");
}

#[test]
fn the_prefilter_changes_no_verdict_on_mutations() {
    let Some(folder) = crs_folder() else { return };
    let rules = Arc::new(base_rules(&folder));
    let cases = read(&folder).expect("the cases");
    let some: Vec<Case> = cases.iter().step_by(3).cloned().collect();
    on_every_case(&some, |case, space| {
        let mut dice = Dice::new(case.id.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte)));
        let first = &case.stages[0].request;
        let other = &cases[dice.roll(cases.len())].stages[0].request;
        let request = Request {
            target: mutated(&first.target, &other.target, &mut dice),
            headers: first
                .headers
                .iter()
                .map(|(name, value)| match name.as_slice() {
                    b"Content-Type" | b"Content-Length" | b"Host" => (name.clone(), value.clone()),
                    _ => (name.clone(), mutated(value, &other.target, &mut dice)),
                })
                .collect(),
            body: mutated(&first.body, &other.body, &mut dice),
            ..first.clone()
        };
        let level = ["1", "2", "3", "4"][dice.roll(4)];
        let presets = vec![("blocking_paranoia_level", level)];
        let answer = reply(first);
        let fast = Manner { presets: presets.clone(), chunk_bytes: 1 + dice.roll(64), ..Manner::default() };
        let plain = Manner { presets, is_plain: true, ..Manner::default() };
        compare(
            &run(&rules, &request, &answer, &fast, space),
            &run(&rules, &request, &answer, &plain, space),
            &format!("a mutation of {} at level {level}: {request:?}", case.id),
        );
    });
}

#[test]
fn what_a_thread_remembers_changes_no_verdict() {
    let Some(folder) = crs_folder() else { return };
    let rules = regression_rules(&folder);
    let cases = read(&folder).expect("the cases");
    let mut used = Workspace::default();
    for case in cases.iter().step_by(40) {
        let request = &case.stages[0].request;
        let answer = reply(request);
        let first = run(&rules, request, &answer, &Manner::default(), &mut used);
        let again = run(&rules, request, &answer, &Manner::default(), &mut used);
        let fresh = run(&rules, request, &answer, &Manner::default(), &mut Workspace::default());
        compare(&first, &fresh, &case.id);
        compare(&again, &fresh, &case.id);
    }
}
