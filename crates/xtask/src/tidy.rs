//! The house rules that the machine holds, over every file of the repository.
//!
//! Each check is a function from the tree to problems; a problem says file, line, what is wrong and what to
//! do. Called by the command `tidy` and by this module's own test. Read next: [`check`].

mod dependencies;
mod documents;
mod events;
mod fault_points;
mod guide;
mod licences;
mod lockfile;
mod recursion;
mod sources;

use std::fmt;

use anyhow::Result;

use crate::tree::Tree;

/// One breach of a house rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) path: String,
    /// Counted from 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

impl Problem {
    pub(crate) fn new(path: &str, line: usize, what: impl Into<String>, remedy: &'static str) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), remedy }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what, remedy } = self;
        if *line == 0 {
            write!(f, "{path}: {what}; {remedy}")
        } else {
            write!(f, "{path}:{line}: {what}; {remedy}")
        }
    }
}

/// Gives every problem of the repository, by file.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Problem>> {
    let mut problems = Vec::new();
    for file in &tree.files {
        sources::check(file, &mut problems);
        recursion::check(file, &mut problems);
    }
    documents::check(tree, &mut problems);
    events::check(tree, &mut problems);
    guide::check(tree, &mut problems);
    dependencies::check(tree, &mut problems)?;
    fault_points::check(tree, &mut problems)?;
    lockfile::check(tree, &mut problems)?;
    licences::check(tree, &mut problems)?;
    problems.sort_by(|one, other| (&one.path, one.line).cmp(&(&other.path, other.line)));
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_keeps_the_house_rules() {
        let problems = check(&Tree::read().unwrap()).unwrap();
        let list: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(list.is_empty(), "{} problems:\n{}", list.len(), list.join("\n"));
    }

    #[test]
    fn a_problem_names_place_and_remedy() {
        assert_eq!(
            Problem::new("a.rs", 3, "it is wrong", "mend it").to_string(),
            "a.rs:3: it is wrong; mend it"
        );
        assert_eq!(
            Problem::new("a.rs", 0, "it is wrong", "mend it").to_string(),
            "a.rs: it is wrong; mend it"
        );
    }
}
