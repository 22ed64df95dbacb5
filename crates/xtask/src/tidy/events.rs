//! Rules for the page of events: each event that the product writes stands on it with its level, and no
//! other.
//!
//! Events are found by the calls that write them; a call that takes its name from elsewhere is listed with
//! its names in [`COMPUTED`]. What a line of the page says of an event, nobody checks. Read next: [`check`].

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use super::guide::{is_product, is_word};
use crate::tree::{SourceFile, Tree};

const PAGE: &str = "docs/reference/events.md";

/// Crates that write events.
const WRITERS: [&str; 3] = ["crates/edge/", "crates/rempart/", "crates/telemetry/"];

/// The writer itself, whose calls are everybody's.
const WRITER: &str = "crates/telemetry/src/events.rs";

/// Files in which a call takes the name of its event from elsewhere, and which names these are.
const COMPUTED: [(&str, &[&str]); 7] = [
    ("crates/edge/src/flood_watch.rs", &["flood_limit", "flood_limit_ended"]),
    ("crates/edge/src/limits.rs", &["rate_limited", "concurrency_limited"]),
    (
        "crates/edge/src/node/origins.rs",
        &[
            "origin_recovered",
            "origin_failed",
            "origin_ejected",
            "origin_circuit_opened",
            "origin_circuit_closed",
            "origin_limited",
            "origin_unlimited",
        ],
    ),
    ("crates/rempart/src/edge_role/orders.rs", &["blocked", "unblocked"]),
    ("crates/rempart/src/publishing.rs", &["publish_refused", "started_from_kept_generation"]),
    ("crates/rempart/src/supervisor.rs", &["edge_died", "spare_died", "splice_died"]),
    ("crates/rempart/src/supervisor/deaths.rs", &["culprit", "suspect"]),
];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    let listed = listed(tree.text(PAGE).unwrap_or_default());
    let mut written: BTreeMap<&str, (&'static str, &str)> = BTreeMap::new();
    let is_writer = |file: &&SourceFile| {
        let is_of = WRITERS.iter().any(|writer| file.path.starts_with(writer));
        is_of && is_product(file) && file.path != WRITER
    };
    for file in tree.files.iter().filter(is_writer) {
        for call in calls(&file.text) {
            let names = match call.name {
                Some(name) => vec![name],
                None => computed(&file.path).to_vec(),
            };
            if names.is_empty() {
                let what = "the name of an event stands elsewhere";
                let remedy = "write it at the call, or list it in COMPUTED of tidy/events.rs";
                problems.push(Problem::new(&file.path, call.line, what, remedy));
            }
            written.extend(names.iter().map(|name| (*name, (call.level, file.path.as_str()))));
        }
    }
    for (name, (level, path)) in &written {
        let what = match listed.get(name) {
            Some((_, known)) if known == level => continue,
            Some((_, known)) => {
                format!("the event `{name}` is on the page as {known}, and written as {level}")
            }
            None => format!("the event `{name}` ({level}) is not on the page"),
        };
        problems.push(Problem::new(path, 0, what, "correct docs/reference/events.md"));
    }
    for (name, (line, _)) in listed.iter().filter(|(name, _)| !written.contains_key(*name)) {
        let what = format!("nothing writes the event `{name}`");
        problems.push(Problem::new(PAGE, *line, what, "take it off the page, or correct COMPUTED"));
    }
    let texts: BTreeSet<&str> =
        tree.files.iter().filter(is_writer).flat_map(|file| file.text.split('"')).collect();
    for (path, name) in COMPUTED.iter().flat_map(|(path, names)| names.iter().map(move |name| (path, name))) {
        if !texts.contains(name) && tree.text(path).is_some() {
            let what = format!("nothing is called `{name}` any more");
            problems.push(Problem::new(path, 0, what, "take it out of COMPUTED of tidy/events.rs"));
        }
    }
}

fn computed(path: &str) -> &'static [&'static str] {
    COMPUTED.iter().find(|(known, _)| *known == path).map_or(&[], |(_, names)| names)
}

/// A call that writes an event.
struct Call<'a> {
    line: usize,
    level: &'static str,
    /// None where it is no text.
    name: Option<&'a str>,
}

/// The calls in a file, tests left out.
fn calls(text: &str) -> Vec<Call<'_>> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let mut calls = Vec::new();
    for (level, call) in [("info", ".info("), ("warn", ".warn("), ("error", ".error(")] {
        for (place, _) in text.match_indices(call) {
            let argument = text.get(place + call.len()..).unwrap_or_default().trim_start();
            let line = text.get(..place).unwrap_or_default().matches('\n').count() + 1;
            let name = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
            // Another function of that name takes something else first.
            let is_event = match (name, argument.split_once(',')) {
                (Some(name), _) => is_word(name),
                (None, Some((first, _))) => is_word(first),
                (None, None) => false,
            };
            if is_event {
                calls.push(Call { line, level, name });
            }
        }
    }
    calls
}

/// The events on the page, with the line and the level of each.
fn listed(page: &str) -> BTreeMap<&str, (usize, &str)> {
    let mut listed = BTreeMap::new();
    for (place, line) in page.lines().enumerate() {
        let mut cells = line.split(" | ");
        let (Some(names), Some(level)) =
            (cells.next().and_then(|cell| cell.strip_prefix("| `")), cells.next())
        else {
            continue;
        };
        let names = names.split('`').filter(|name| is_word(name));
        listed.extend(names.map(|name| (name, (place + 1, level))));
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str, code: &str) -> Vec<String> {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let files = vec![file(PAGE, page), file("crates/edge/src/a.rs", code)];
        let tree = Tree { root: env!("CARGO_MANIFEST_DIR").into(), files };
        let mut problems = Vec::new();
        check(&tree, &mut problems);
        problems.iter().map(Problem::to_string).collect()
    }

    const PAGES: &str =
        "| `ready`, `again` | info | It serves. | |\n| `lost` | error | It is lost. | Find it. |\n";

    #[test]
    fn a_page_that_says_what_the_code_says_is_no_problem() {
        let code = "events.info(\"ready\", &[]);\nevents.info(\n    \"again\", &[]);\n\
                    events.error(\"lost\", &fields);\nreport.error(a.place, \"no event\");\n\
                    #[cfg(test)]\nmod tests { events.warn(\"tried\", &[]) }";
        assert!(found(PAGES, code).is_empty(), "{:?}", found(PAGES, code));
    }

    #[test]
    fn an_event_too_few_too_many_or_of_another_level_is_found() {
        let code = "events.warn(\"ready\", &[]);\nevents.info(\"again\", &[]);\nevents.info(\"new\", &[]);\n\
                    events.error(event, &[]);";
        let problems = found(PAGES, code).join("\n");
        for part in [
            "crates/edge/src/a.rs: the event `ready` is on the page as info, and written as warn",
            "crates/edge/src/a.rs: the event `new` (info) is not on the page",
            "docs/reference/events.md:2: nothing writes the event `lost`",
            "crates/edge/src/a.rs:4: the name of an event stands elsewhere",
        ] {
            assert!(problems.contains(part), "{part} is not in\n{problems}");
        }
        assert_eq!(problems.lines().count(), 4, "{problems}");
    }
}
