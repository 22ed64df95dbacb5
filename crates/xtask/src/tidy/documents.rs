//! Rules for what is written beside the code: generated references are current, the map names every crate,
//! links between pages lead somewhere, and every crate takes the workspace's lints.
//!
//! Read next: [`check`].

use std::path::Path;

use super::Problem;
use crate::references;
use crate::tree::{SourceFile, Tree};

/// Crates with a lint table of their own, because they must have `unsafe`; the manifest says why.
const UNSAFE_CRATES: [&str; 1] = ["blackbox"];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) {
    for (path, text) in references::pages() {
        if tree.text(path) != Some(&text) {
            let what = "the page differs from what the code says";
            problems.push(Problem::new(path, 0, what, "run `cargo xtask references`"));
        }
    }
    let map = tree.text("ARCHITECTURE.md").unwrap_or_default();
    for name in tree.crates() {
        if !map.contains(&format!("`{name}`")) {
            let what = format!("the crate `{name}` is not on the map");
            problems.push(Problem::new("ARCHITECTURE.md", 0, what, "say in one line what it is and is not"));
        }
        let manifest = format!("crates/{name}/Cargo.toml");
        let is_own = UNSAFE_CRATES.contains(&name);
        if !is_own && !tree.text(&manifest).unwrap_or_default().contains("[lints]\nworkspace = true") {
            let what = "the crate does not take the workspace's lints";
            problems.push(Problem::new(&manifest, 0, what, "add `[lints]` with `workspace = true`"));
        }
    }
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        check_links(tree, file, problems);
    }
}

fn check_links(tree: &Tree, file: &SourceFile, problems: &mut Vec<Problem>) {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    for (place, line) in file.text.lines().enumerate() {
        for target in link_targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let is_local = !path.is_empty() && !path.contains(':');
            if is_local && !tree.root.join(folder).join(path).exists() {
                let what = format!("the link to `{target}` leads nowhere");
                problems.push(Problem::new(&file.path, place + 1, what, "correct or remove it"));
            }
        }
    }
}

/// Targets of links in the form `[text](target)`.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).into(), text: (*text).into() };
        Tree { root: env!("CARGO_MANIFEST_DIR").into(), files: files.iter().map(file).collect() }
    }

    fn found(files: &[(&str, &str)], part: &str) -> bool {
        let mut problems = Vec::new();
        check(&tree(files), &mut problems);
        problems.iter().any(|problem| problem.to_string().contains(part))
    }

    #[test]
    fn a_crate_off_the_map_is_found() {
        let manifest = ("crates/new/Cargo.toml", "[lints]\nworkspace = true\n");
        assert!(found(&[manifest, ("ARCHITECTURE.md", "`old`")], "`new` is not on the map"));
        assert!(!found(&[manifest, ("ARCHITECTURE.md", "`new`: x")], "is not on the map"));
    }

    #[test]
    fn a_crate_without_the_lints_is_found() {
        assert!(found(&[("crates/new/Cargo.toml", "[package]\n")], "workspace's lints"));
    }

    #[test]
    fn a_stale_reference_is_found() {
        assert!(found(
            &[("docs/reference/metrics.md", "old")],
            "docs/reference/metrics.md: the page differs"
        ));
        let current: Vec<_> = references::pages();
        let files: Vec<_> = current.iter().map(|(path, text)| (*path, text.as_str())).collect();
        assert!(!found(&files, "differs"));
    }

    #[test]
    fn a_dead_link_is_found() {
        assert!(found(&[("a.md", "see [x](src/none.rs)")], "a.md:1: the link to `src/none.rs`"));
        let fine = "see [x](src/main.rs#there), [y](https://example.org/), [z](#here)";
        assert!(!found(&[("a.md", fine)], "leads nowhere"));
    }
}
