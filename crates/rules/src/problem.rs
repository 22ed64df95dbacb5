//! What is wrong with an expression: where, what, what was expected, and what may have been meant.
//!
//! Lexer, parser and checker all add to one [`Problems`], so that a person sees every mistake of an
//! expression at once. Suggestions come from [`nearest`]. Read next: `lexer.rs`.

use std::fmt;

/// One mistake in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// First byte of the place.
    pub start: usize,
    /// First byte after the place.
    pub end: usize,
    /// Line of the place, from 1.
    pub line: usize,
    /// Column of the place in characters, from 1.
    pub column: usize,
    /// What is wrong, in one sentence without a full stop.
    pub what: String,
    /// What was expected there, or what to do.
    pub expected: Option<String>,
    /// What may have been meant: the nearest name.
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)?;
        if let Some(expected) = &self.expected {
            write!(f, "; {expected}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

/// A place in the text of an expression, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(crate) const fn to(self, other: Span) -> Self {
        Self { start: self.start, end: other.end }
    }
}

/// The problems of one expression, in the order they were found.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    text: &'a str,
    list: Vec<Problem>,
    max: usize,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(text: &'a str, max: usize) -> Self {
        Self { text, list: Vec::new(), max: max.max(1) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds a problem; past the limit it is dropped, since the first ones already stop the expression.
    pub(crate) fn add(&mut self, at: Span, what: impl Into<String>, expected: impl Into<String>) {
        self.add_with(at, what, expected, None);
    }

    pub(crate) fn add_with(
        &mut self,
        at: Span,
        what: impl Into<String>,
        expected: impl Into<String>,
        suggestion: Option<&str>,
    ) {
        if self.list.len() >= self.max {
            return;
        }
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |place| place + 1);
        let expected = expected.into();
        self.list.push(Problem {
            start: at.start,
            end: at.end,
            line: 1 + before.matches('\n').count(),
            column: 1 + before.get(line_start..).unwrap_or_default().chars().count(),
            what: what.into(),
            expected: (!expected.is_empty()).then_some(expected),
            suggestion: suggestion.map(str::to_owned),
        });
    }

    /// The problems by place.
    pub(crate) fn finish(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| problem.start);
        self.list
    }
}

/// The shortest name that has all parts of what was written, in their order, up to the last: people leave out
/// what stands between them (`http.request.path`).
pub(crate) fn fuller<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let last = written.rsplit('.').next();
    let has_all = |name: &&str| {
        let mut parts = name.split('.');
        name.rsplit('.').next() == last && written.split('.').all(|part| parts.any(|known| known == part))
    };
    names.filter(has_all).min_by_key(|name| name.len())
}

/// The name nearest to what was written, when it is near enough to have been meant.
///
/// Names are compared whole, in lower case. A prefix counts as near, since people forget ends
/// (`http.request.uri.que`).
pub(crate) fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let far = |name: &str| {
        let distance = strsim::osa_distance(&written, &name.to_ascii_lowercase());
        if distance > 1 && written.len() >= 4 && name.starts_with(&written) { 1 } else { distance }
    };
    let (distance, name) = names.map(|name| (far(name), name)).min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + written.len() / 5).then_some(name)
}
