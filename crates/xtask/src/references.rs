//! The pages under `docs/reference/` that are made from code, so that they cannot lie.
//!
//! Knows which page comes from which crate; the words stand in those crates. Called by the command
//! `references`, which writes them, and by tidy, which compares. Read next: [`pages`].

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};
use exchange::{Cause, Fault, Refusal};

use crate::tree::Tree;

/// Path and text of every generated page.
pub(crate) fn pages() -> Vec<(&'static str, String)> {
    vec![
        ("docs/reference/access-log.md", telemetry::access::reference()),
        ("docs/reference/metrics.md", telemetry::metrics::reference()),
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
