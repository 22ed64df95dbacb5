//! No release has fault points: the feature that builds them is nobody's default, nobody asks for it in a
//! manifest but another crate's feature of that name, and each crate that has it refuses to be built with it
//! where debug assertions are off.
//!
//! The compiler holds the last part in every build; what is checked here is that it is asked to. Read next:
//! [`check`].

use anyhow::{Context as _, Result};
use cargo_metadata::{MetadataCommand, Package};

use super::Problem;
use crate::tree::Tree;

const FEATURE: &str = "fault-injection";

/// What stands in the root of each crate with the feature.
const GUARD: &str = "#[cfg(all(feature = \"fault-injection\", not(debug_assertions)))]\ncompile_error!(";

/// Lines of the Makefile that build what people run.
const FOR_PEOPLE: [&str; 2] = ["--release", "--profile demo"];

pub(super) fn check(tree: &Tree, problems: &mut Vec<Problem>) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(tree.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("`cargo metadata` did not answer")?;
    for package in &metadata.packages {
        check_package(tree, package, problems);
    }
    for (place, line) in tree.text("Makefile").unwrap_or_default().lines().enumerate() {
        if FOR_PEOPLE.iter().any(|built| line.contains(built)) && line.contains("FEATURES") {
            let what = "what people run would have fault points";
            problems.push(Problem::new("Makefile", place + 1, what, "build it without $(FEATURES)"));
        }
    }
    Ok(())
}

fn check_package(tree: &Tree, package: &Package, problems: &mut Vec<Problem>) {
    let manifest = format!("crates/{}/Cargo.toml", package.name);
    let wanted = package.dependencies.iter().find(|used| used.features.iter().any(|name| name == FEATURE));
    if let Some(used) = wanted {
        let what = format!("it asks for `{}` with fault points", used.name);
        problems.push(Problem::new(&manifest, 0, what, "let its own feature of that name do it"));
    }
    let asks = |feature: &str, name: &str| feature == name || feature.ends_with(&format!("/{name}"));
    for (name, enabled) in &package.features {
        if name != FEATURE && enabled.iter().any(|feature| asks(feature, FEATURE)) {
            let what = format!("the feature `{name}` brings fault points");
            problems.push(Problem::new(&manifest, 0, what, "nothing brings them but their own feature"));
        }
    }
    if !package.features.contains_key(FEATURE) {
        return;
    }
    let root = |file| tree.text(&format!("crates/{}/src/{file}", package.name)).unwrap_or_default();
    if !root("lib.rs").contains(GUARD) && !root("main.rs").contains(GUARD) {
        let what = "a release could be built with its fault points";
        let remedy = "begin the crate with the guard that `edge` has";
        problems.push(Problem::new(&manifest, 0, what, remedy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::SourceFile;

    fn package(features: &str, uses: &str) -> Package {
        let dependency = format!(
            r#"{{"name":"edge","req":"*","kind":null,"optional":false,"uses_default_features":true,
                "features":[{uses}],"target":null}}"#
        );
        let text = format!(
            r#"{{"name":"x","version":"0.1.0","id":"x","dependencies":[{dependency}],
                "features":{{{features}}},"targets":[],"manifest_path":"/x/Cargo.toml"}}"#
        );
        serde_json_of(&text)
    }

    fn serde_json_of(text: &str) -> Package {
        // `cargo metadata`'s own types read themselves from a stream of messages.
        let message = format!(
            r#"{{"packages":[{text}],"workspace_members":[],"resolve":null,
            "target_directory":"/t","version":1,"workspace_root":"/x"}}"#
        );
        MetadataCommand::parse(message).unwrap().packages.remove(0)
    }

    fn problems_of(features: &str, uses: &str, root: &str) -> Vec<String> {
        let file = SourceFile { path: "crates/x/src/lib.rs".to_owned(), text: root.to_owned() };
        let tree = Tree { root: "/x".into(), files: vec![file] };
        let mut problems = Vec::new();
        check_package(&tree, &package(features, uses), &mut problems);
        problems.iter().map(|problem| problem.what.clone()).collect()
    }

    #[test]
    fn a_guarded_feature_that_nobody_brings_is_fine() {
        let root = format!("//! x\n{GUARD}\"no\");\n");
        assert_eq!(problems_of(r#""fault-injection":["edge/fault-injection"]"#, "", &root), [""; 0]);
        assert_eq!(problems_of("", "", ""), [""; 0]);
    }

    #[test]
    fn a_feature_without_the_guard_is_found() {
        assert_eq!(problems_of(r#""fault-injection":[]"#, "", "//! x\n").len(), 1);
    }

    #[test]
    fn whatever_brings_it_otherwise_is_found() {
        let root = format!("//! x\n{GUARD}\"no\");\n");
        let features = r#""default":["fault-injection"],"fault-injection":[]"#;
        assert_eq!(problems_of(features, "", &root).len(), 1);
        assert_eq!(problems_of(r#""all":["edge/fault-injection"]"#, "", "").len(), 1);
        assert_eq!(problems_of("", r#""fault-injection""#, "").len(), 1);
    }
}
