//! Problems: what is wrong with a file of rules, and where.
//!
//! The loader goes on after each problem, so that one load shows them all. It decides nothing about what is
//! wrong: that is [`crate::parse`] (language) and [`crate::load`] (meaning).

use std::fmt;
use std::sync::Arc;

use crate::limits::PROBLEMS_MAX;

/// A line of a file of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path, as the caller gave it or an `Include` made it.
    pub file: Arc<str>,
    /// Line of the directive's beginning, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One thing that is wrong with rules, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where the directive begins.
    pub place: Place,
    /// What is wrong, as one sentence without a full stop.
    pub what: String,
    /// What to write instead, where that can be guessed.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    /// Writes `file:line: what (remedy)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({remedy})"),
            None => Ok(()),
        }
    }
}

/// Why rules cannot be loaded: every problem found, in the order of the files, at most
/// [`PROBLEMS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The problems; never empty.
    pub problems: Vec<Problem>,
    /// How many more there were.
    pub left_out: usize,
}

impl fmt::Display for LoadError {
    /// Writes one problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// What went wrong within one directive; the loader adds the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) remedy: Option<String>,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: None }
    }

    pub(crate) fn with(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: Some(remedy.into()) }
    }

    /// Says that `given` is none of the `known` names of a `kind`, and names the nearest.
    pub(crate) fn unknown<'a>(kind: &str, given: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let folded = given.to_ascii_lowercase();
        let nearest = known
            .into_iter()
            .map(|name| (strsim::damerau_levenshtein(&folded, &name.to_ascii_lowercase()), name))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, name)| *distance <= (name.len() / 3).max(1));
        let shown: String = given.chars().take(80).collect();
        Self {
            what: format!("unknown {kind} `{shown}`"),
            remedy: nearest.map(|(_, name)| format!("did you mean `{name}`?")),
        }
    }
}

/// The problems of one load.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
    left_out: usize,
}

impl Report {
    pub(crate) fn add(&mut self, place: &Place, wrong: Wrong) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { place: place.clone(), what: wrong.what, remedy: wrong.remedy });
        } else {
            self.left_out += 1;
        }
    }

    /// Keeps the value of a result, or its problem.
    pub(crate) fn keep<T>(&mut self, place: &Place, result: Result<T, Wrong>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.add(place, wrong);
                None
            }
        }
    }

    pub(crate) fn finish(self) -> Result<(), LoadError> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(LoadError { problems: self.problems, left_out: self.left_out })
        }
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
