//! The pages under `docs/reference/` that are made from code, so that they cannot lie.
//!
//! Knows which page comes from which crate; the words stand in those crates. Called by the command
//! `references`, which writes them, and by tidy, which compares. Read next: [`pages`].

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use exchange::{Cause, Fault, Refusal};
use telemetry::metrics::Elsewhere;

use crate::tree::Tree;

/// Path and text of every generated page.
pub(crate) fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("docs/reference/access-log.md", telemetry::access::reference()),
        ("docs/reference/metrics.md", metrics()),
        ("docs/reference/outcomes.md", outcomes()),
        ("docs/reference/settings.md", zone::reference()),
    ]
}

/// Writes the pages that differ.
pub(crate) fn write(tree: &Tree) -> Result<()> {
    for (path, text) in pages() {
        if tree.text(path) != Some(&text) {
            let place = tree.root.join(path);
            fs::write(&place, text).with_context(|| place.display().to_string())?;
            eprintln!("written: {path}");
        }
    }
    Ok(())
}

/// Sources whose words are values of labels, each with where the words begin.
const ABUSES: (&str, &str) = (include_str!("../../wire/src/abuse.rs"), "\nabuses! {\n");
const CACHE_EVENTS: (&str, &str) = (include_str!("../../cache/src/store/counters.rs"), "\ncounters! {\n");
const PHASES: (&str, &str) = (include_str!("../../exchange/src/trail.rs"), "\npub enum Phase {\n");

fn metrics() -> String {
    let (abuses, cache_events, phases) = (documented(ABUSES), documented(CACHE_EVENTS), documented(PHASES));
    telemetry::metrics::reference(&Elsewhere {
        abuses: &abuses,
        cache_events: &cache_events,
        phases: &phases,
    })
}

/// The words of a list in a source, each with what its comment says: a text, or else the name itself.
fn documented((source, begin): (&str, &str)) -> Vec<(String, String)> {
    let list = source.split_once(begin).map_or("", |(_, rest)| rest);
    let mut words = Vec::new();
    let mut meaning: Vec<&str> = Vec::new();
    for line in list.lines().map(str::trim).take_while(|line| !line.starts_with('}')) {
        match (line.strip_prefix("///"), line.split('"').nth(1)) {
            (Some(comment), _) => meaning.push(comment.trim()),
            (None, Some(word)) => words.push((word.to_owned(), std::mem::take(&mut meaning).join(" "))),
            (None, None) => {
                let name = line.trim_end_matches(',').to_ascii_lowercase();
                words.push((name, std::mem::take(&mut meaning).join(" ")));
            }
        }
    }
    words
}

fn outcomes() -> String {
    let mut page = String::from(
        "# Refusals and faults\n\nA refusal is a decision, a fault is something that broke. The word is the \
         same in the access log, in metrics, on the page a visitor gets and, for faults, in `Proxy-Status` \
         (RFC 9209).\n",
    );
    let refusals =
        Refusal::ALL.iter().map(|one| (one.as_str(), one.status(), one.cause(), one.public_message()));
    table(&mut page, "Refusals", refusals);
    let faults = Fault::ALL.iter().map(|one| (one.as_str(), one.status(), one.cause(), one.public_message()));
    table(&mut page, "Faults", faults);
    page
}

fn table<'a>(page: &mut String, title: &str, rows: impl Iterator<Item = (&'a str, u16, Cause, &'a str)>) {
    write!(
        page,
        "\n## {title}\n\n| word | status | cause | what a visitor is told |\n| --- | --- | --- | --- |\n"
    )
    .expect("writing to a string cannot fail");
    for (word, status, cause, message) in rows {
        writeln!(page, "| `{word}` | {status} | {} | {message} |", cause.as_str())
            .expect("writing to a string cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_crates_are_found_with_their_meanings() {
        let phases = documented(PHASES);
        assert_eq!(phases.iter().map(|(word, _)| word.as_str()).collect::<Vec<_>>(), exchange::Phase::WORDS);
        for (list, word) in [(ABUSES, "slow_head"), (CACHE_EVENTS, "disk_write_errors"), (PHASES, "waf")] {
            let words = documented(list);
            assert!(words.iter().any(|(known, _)| known == word), "{word} is not in {words:?}");
            assert!(
                words.iter().all(|(word, meaning)| !word.contains(' ') && meaning.ends_with('.')),
                "{words:?}"
            );
        }
    }
}
