//! Rules for the lock file: a budget of packages, no duplicates without a reason, nothing from git.
//!
//! Licences are [`super::licences`]', advisories are deny.toml's. Read next: [`check`].

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Problem;
use crate::tree::Tree;

/// Packages in the lock file, our own included. Raising it takes a page in `docs/decisions/`.
const PACKAGES_MAX: usize = 350;

/// Packages that may be there in more than one version: (name, versions, since when and why). `deny.toml`
/// says the same.
const DUPLICATES: [(&str, usize, &str); 4] = [
    ("getrandom", 2, "2026-11: 0.2 by ring, which quinn-proto names for WebAssembly only; never built here"),
    ("syn", 2, "2026-11: derive macros are moving from 2 to 3; build time only"),
    ("untrusted", 2, "2026-11: 0.7 by an unused feature of aws-lc-rs, 0.9 by rustls-webpki"),
    ("windows-sys", 2, "2026-11: never built on Linux"),
];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) -> Result<()> {
    const PATH: &str = "Cargo.lock";
    let text = tree.text(PATH).context("there is no Cargo.lock")?;
    let packages = packages(text);
    let number: usize = packages.values().sum();
    if number > PACKAGES_MAX {
        let what = format!("{number} packages, {PACKAGES_MAX} allowed");
        problems.push(Problem::new(PATH, 0, what, "do without, or raise it with a page in docs/decisions/"));
    }
    for (name, versions) in packages {
        let allowed =
            DUPLICATES.iter().find(|(listed, ..)| *listed == name).map_or(1, |(_, number, _)| *number);
        if versions > allowed {
            let what = format!("`{name}` is there in {versions} versions, {allowed} allowed");
            let remedy = "agree on one, or add a dated reason to tidy's list and deny.toml";
            problems.push(Problem::new(PATH, 0, what, remedy));
        }
    }
    for (place, line) in text.lines().enumerate() {
        if line.starts_with("source = \"git+") {
            let remedy = "use a released version";
            problems.push(Problem::new(PATH, place + 1, "a package comes from git", remedy));
        }
    }
    Ok(())
}

/// Number of versions of every package.
fn packages(lockfile: &str) -> BTreeMap<&str, usize> {
    let mut versions = BTreeMap::new();
    for line in lockfile.lines() {
        if let Some(name) = line.strip_prefix("name = \"").and_then(|rest| rest.strip_suffix('"')) {
            *versions.entry(name).or_insert(0) += 1;
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::SourceFile;

    fn problems(text: String) -> Vec<String> {
        let file = SourceFile { path: "Cargo.lock".into(), text };
        let tree = Tree { root: "".into(), files: vec![file] };
        let mut problems = Vec::new();
        check(&tree, &mut problems).unwrap();
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn the_budget_is_held() {
        let of = |number| (0..number).map(|n| format!("name = \"p{n}\"\n")).collect::<String>();
        assert_eq!(problems(of(PACKAGES_MAX)), Vec::<String>::new());
        assert!(problems(of(PACKAGES_MAX + 1))[0].contains("351 packages"));
    }

    #[test]
    fn duplicates_and_git_sources_are_found() {
        let found = problems("name = \"a\"\nname = \"a\"\nsource = \"git+https://example.org/a\"\n".into());
        assert_eq!(found.len(), 2, "{found:?}");
    }
}
