//! Licences of everything that is built, against the list in `deny.toml`, so that no extra tool need be
//! installed.
//!
//! Trusts what each package says of itself. Packages for other systems are not looked at. Read next:
//! [`check`].

use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

use super::Problem;
use crate::tree::Tree;

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) -> Result<()> {
    const PATH: &str = "deny.toml";
    let allowed = allowed(tree.text(PATH).context("there is no deny.toml")?);
    for package in metadata(tree)?.packages {
        if package.source.is_none() {
            continue; // ours
        }
        let licence = package.license.as_deref().unwrap_or("(none)");
        if !is_allowed(licence, &allowed) {
            let what = format!("the licence `{licence}` of `{}` is not on the list", package.name);
            problems.push(Problem::new(
                PATH,
                0,
                what,
                "do without the package, or add the licence if it may be",
            ));
        }
    }
    Ok(())
}

/// Packages built for this system. They are on the disk once this test was built, so no network is asked
/// first.
fn metadata(tree: &Tree) -> Result<Metadata> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().context("rustc does not run")?;
    let version = String::from_utf8(version.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let ask = |network: &[&str]| {
        let mut options = vec!["--locked".to_owned(), "--filter-platform".to_owned(), host.to_owned()];
        options.extend(network.iter().map(ToString::to_string));
        MetadataCommand::new().manifest_path(tree.root.join("Cargo.toml")).other_options(options).exec()
    };
    ask(&["--offline"]).or_else(|_| ask(&[])).context("`cargo metadata` did not answer")
}

/// The list `allow` of deny.toml.
fn allowed(text: &str) -> Vec<&str> {
    let after = text.split_once("\nallow = [").map_or("", |(_, after)| after);
    let list = after.split_once(']').map_or("", |(list, _)| list);
    list.split('"').skip(1).step_by(2).collect()
}

/// Whether the list grants an SPDX expression: `OR` needs one side, `AND` both and binds closer. The older
/// `/` means `OR`.
fn is_allowed(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let spaced = spaced.replace(" WITH ", "~");
    // Each open bracket holds (some side of OR granted, all of this side's ANDs granted).
    let mut open = vec![(false, true)];
    for word in spaced.split_whitespace() {
        let Some((any, all)) = open.last_mut() else { return false };
        let granted = match word {
            "AND" => continue,
            "OR" => {
                *any |= *all;
                *all = true;
                continue;
            }
            "(" => {
                open.push((false, true));
                continue;
            }
            ")" => {
                let granted = *any || *all;
                open.pop();
                granted
            }
            licence => allowed.contains(&licence.replace('~', " WITH ").as_str()),
        };
        let Some((_, all)) = open.last_mut() else { return false };
        *all &= granted;
    }
    matches!(open.as_slice(), [(any, all)] if *any || *all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [&str; 3] = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];

    #[test]
    fn either_side_of_or_is_enough_and_both_of_and_are_needed() {
        for granted in
            ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-3.0", "(GPL-3.0 OR MIT) AND ISC", "MIT AND ISC OR GPL-3.0"]
        {
            assert!(is_allowed(granted, &LIST), "{granted}");
        }
        for refused in
            ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "GPL-3.0 OR (MIT AND GPL-2.0)", "MIT)"]
        {
            assert!(!is_allowed(refused, &LIST), "{refused}");
        }
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception", &LIST));
        assert!(!is_allowed("Apache-2.0", &LIST));
        assert!(!is_allowed("(none)", &LIST));
    }

    #[test]
    fn the_list_is_read() {
        assert_eq!(
            allowed("[licenses]\n# why\nallow = [\n  \"MIT\",\n  \"ISC\",\n]\nother = [\"GPL\"]\n"),
            ["MIT", "ISC"]
        );
    }
}
