//! Problems: what is wrong with a file that a person wrote, and where.
//!
//! A reader of configuration goes on after each problem, so that one run shows them all; it never stops at
//! the first. [`Report`] collects them by byte offset and turns offsets into lines once, at the end. It
//! decides nothing about what is wrong: that is [`crate::read`] (types, unknown keys) and
//! [`mod@crate::compile`] (meaning).

use std::collections::BTreeMap;
use std::fmt;

use crate::limits::{PROBLEMS_MAX, WARNINGS_MAX};

/// Whether a problem forbids publishing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The files cannot be published as they are.
    Error,
    /// They can, but the person should know.
    Warning,
}

/// One thing that is wrong with a file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub suggestion: Option<String>,
    /// Whether it forbids publishing.
    pub severity: Severity,
}

impl Problem {
    /// Says whether this problem forbids publishing.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// Writes `file:line:column: message (suggestion)`, with `warning: ` before the message of a warning.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            out.write_str("warning: ")?;
        }
        out.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(out, " ({suggestion})"),
            None => Ok(()),
        }
    }
}

/// Where a value was written: which of the files being read, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Place {
    /// Index of the file in the reading order.
    pub file: u32,
    /// Byte offset in that file.
    pub offset: u32,
}

impl Place {
    /// Builds a place from an index and an offset; offsets beyond 4 GiB are pressed to the end.
    #[must_use]
    pub fn new(file: usize, offset: usize) -> Self {
        let press = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { file: press(file), offset: press(offset) }
    }
}

/// What is noted about one message at one place.
#[derive(Debug)]
struct Noted {
    suggestion: Option<String>,
    severity: Severity,
}

/// Collects problems while files are read.
///
/// Holds at most [`PROBLEMS_MAX`] of them, and [`WARNINGS_MAX`] warnings; further ones are counted.
#[derive(Debug, Default)]
pub struct Report {
    /// By place and message: defaults shared by all zones are read once per zone, and told once.
    noted: BTreeMap<(Place, String), Noted>,
    errors: usize,
    warnings: usize,
    left_out: usize,
    /// In files that are not among those read here.
    elsewhere: Vec<Problem>,
    forgives_missing: bool,
    doubtful: Option<Place>,
}

impl Report {
    /// Notes an error.
    pub fn error(&mut self, place: Place, message: impl Into<String>) {
        self.note(place, Severity::Error, message.into(), None);
    }

    /// Notes an error together with what to write instead.
    pub fn error_with(&mut self, place: Place, message: impl Into<String>, suggestion: impl Into<String>) {
        self.note(place, Severity::Error, message.into(), Some(suggestion.into()));
    }

    /// Notes a warning, with what to do about it.
    pub fn warning(&mut self, place: Place, message: impl Into<String>, suggestion: impl Into<String>) {
        self.note(place, Severity::Warning, message.into(), Some(suggestion.into()));
    }

    /// Notes a problem of any kind.
    pub fn note(&mut self, place: Place, severity: Severity, message: String, suggestion: Option<String>) {
        let is_doubtful = |from: &Place| from.file == place.file && from.offset <= place.offset;
        if self.doubtful.as_ref().is_some_and(is_doubtful) {
            return;
        }
        let key = (place, message);
        if self.noted.contains_key(&key) {
            return;
        }
        let is_room = match severity {
            Severity::Error => {
                self.errors += 1;
                self.errors <= PROBLEMS_MAX - WARNINGS_MAX
            }
            Severity::Warning => {
                self.warnings += 1;
                self.warnings <= WARNINGS_MAX
            }
        };
        if is_room {
            self.noted.insert(key, Noted { suggestion, severity });
        } else {
            self.left_out += 1;
        }
    }

    /// Notes a problem in a file that was read by somebody else, who knows its place.
    pub fn elsewhere(&mut self, problem: Problem) {
        if !self.elsewhere.contains(&problem) {
            self.errors += usize::from(problem.is_error());
            match self.elsewhere.len() < PROBLEMS_MAX {
                true => self.elsewhere.push(problem),
                false => self.left_out += 1,
            }
        }
    }

    /// Says from where on a file's syntax is broken: what comes behind may have been misunderstood, so
    /// nothing more is noted about it. `None` when the next file begins.
    pub fn doubt(&mut self, from: Option<Place>) {
        self.doubtful = from;
        self.forgives_missing = from.is_some();
    }

    /// Says whether a missing setting is told now.
    #[must_use]
    pub fn forgives_missing(&self) -> bool {
        self.forgives_missing
    }

    /// Says whether a missing setting is no problem: while defaults are read by themselves, or a file whose
    /// syntax is broken, of which parts may be lost.
    pub fn forgive_missing(&mut self, is_forgiven: bool) {
        self.forgives_missing = is_forgiven;
    }

    /// Notes a setting that must be there and is not.
    pub fn missing(&mut self, place: Place, message: &str, suggestion: String) {
        if !self.forgives_missing {
            self.error_with(place, message, suggestion);
        }
    }

    /// Counts the errors noted so far, those left out included.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// Says whether an error is noted at this place of the file or behind it.
    #[must_use]
    pub fn has_error_from(&self, place: Place) -> bool {
        let behind = self.noted.range((place, String::new())..);
        behind.take_while(|((at, _), _)| at.file == place.file).any(|(_, it)| it.severity == Severity::Error)
    }

    /// Turns what was noted into problems with lines and columns, in the order of files and places,
    /// and behind them those elsewhere.
    ///
    /// `files` gives name and bytes by file index.
    #[must_use]
    pub fn finish(self, files: &[(&str, &[u8])]) -> Vec<Problem> {
        let mut lines: BTreeMap<u32, Lines<'_>> = BTreeMap::new();
        let mut problems = Vec::with_capacity(self.noted.len());
        for ((place, message), noted) in self.noted {
            let (name, bytes) = files.get(place.file as usize).copied().unwrap_or(("", b""));
            let lines = lines.entry(place.file).or_insert_with(|| Lines::new(bytes));
            let (line, column) = lines.at(place.offset as usize);
            problems.push(Problem {
                file: name.to_owned(),
                line,
                column,
                message,
                suggestion: noted.suggestion,
                severity: noted.severity,
            });
        }
        problems.extend(self.elsewhere);
        if self.left_out > 0 {
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            problems.push(Problem {
                file: problems.last().map(|last: &Problem| last.file.clone()).unwrap_or_default(),
                line: 1,
                column: 1,
                message: format!("{} more problems are not shown", self.left_out),
                suggestion: None,
                severity,
            });
        }
        problems
    }
}

/// Finds lines by offset in one file, in one pass over it.
struct Lines<'a> {
    bytes: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut starts = vec![0];
        starts.extend(memchr::memchr_iter(b'\n', bytes).map(|end| end + 1));
        Self { bytes, starts }
    }

    fn at(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.bytes.len());
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.bytes.get(start..offset).unwrap_or(b"");
        // A UTF-8 character has exactly one byte that is not a continuation.
        (line, before.iter().filter(|byte| **byte & 0xC0 != 0x80).count() + 1)
    }
}
