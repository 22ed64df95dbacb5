//! From the text of a file to directives: lines joined, comments left out, words split.
//!
//! The language is Apache's as ModSecurity 3 reads it: a line that ends in `\` goes on in the next one, a
//! line that begins with `#` is a comment, words are parted by blanks and may stand in quotes, in which only
//! the quote itself is escaped (`\"`). What directives mean is [`crate::parse`]'s. Read next: [`split`].

use std::sync::Arc;

use crate::limits::LINE_BYTES_MAX;
use crate::problem::{Place, Report, Wrong};

/// One directive with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) place: Place,
    pub(crate) name: String,
    pub(crate) words: Vec<String>,
}

/// Splits a file's text into statements; what cannot be split becomes a problem.
pub(crate) fn split(file: &Arc<str>, text: &str, report: &mut Report) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut line = String::new();
    let mut start = 0_u32;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, raw) in (1_u32..).zip(text.split('\n')) {
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        if line.is_empty() {
            start = number;
            if raw.trim_start().starts_with('#') {
                continue;
            }
        }
        let part = raw.trim_start_matches([' ', '\t']);
        let goes_on = part.strip_suffix('\\');
        if line.len() + part.len() <= LINE_BYTES_MAX {
            line.push_str(goes_on.unwrap_or(part));
        } else {
            line.push('\u{0}');
        }
        if goes_on.is_some() {
            if line.is_empty() {
                line.push(' ');
            }
            continue;
        }
        finish(file, start, &line, &mut statements, report);
        line.clear();
    }
    finish(file, start, &line, &mut statements, report);
    statements
}

fn finish(file: &Arc<str>, start: u32, line: &str, statements: &mut Vec<Statement>, report: &mut Report) {
    let line = line.trim();
    if line.is_empty() {
        return;
    }
    let place = Place { file: Arc::clone(file), line: start };
    if line.contains('\u{0}') {
        let what = format!("the line is longer than {LINE_BYTES_MAX} bytes, or has a zero byte");
        report.add(&place, Wrong::new(what));
        return;
    }
    match words(line) {
        Ok(mut words) => {
            let name = words.remove(0);
            statements.push(Statement { place, name, words });
        }
        Err(wrong) => report.add(&place, wrong),
    }
}

/// Splits a line that is not blank into at least one word.
fn words(line: &str) -> Result<Vec<String>, Wrong> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if matches!(first, '"' | '\'') {
            let mut word = String::new();
            let mut after = None;
            let mut chars = rest.char_indices().skip(1).peekable();
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => match chars.peek() {
                        Some((_, next)) if *next == first => {
                            word.push(first);
                            chars.next();
                        }
                        // A backslash before a backslash stays two, so that `\\"` ends the word.
                        Some((_, '\\')) => {
                            word.push_str("\\\\");
                            chars.next();
                        }
                        _ => word.push('\\'),
                    },
                    c if c == first => {
                        after = Some(at + 1);
                        break;
                    }
                    c => word.push(c),
                }
            }
            let Some(after) = after else {
                return Err(Wrong::with(
                    format!("a word that begins with {first} has no end"),
                    format!("close it with {first}, and end lines that go on with \\"),
                ));
            };
            words.push(word);
            rest = rest.get(after..).unwrap_or_default();
            if rest.chars().next().is_some_and(|c| !c.is_ascii_whitespace()) {
                return Err(Wrong::with(
                    "text follows a closing quote without a blank",
                    "escape quotes within a word with \\",
                ));
            }
        } else {
            let end = rest.find([' ', '\t']).unwrap_or(rest.len());
            words.push(rest.get(..end).unwrap_or_default().to_owned());
            rest = rest.get(end..).unwrap_or_default();
        }
        rest = rest.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(text: &str) -> Vec<Statement> {
        let mut report = Report::default();
        let statements = split(&Arc::from("t"), text, &mut report);
        assert_eq!(report.into_problems(), vec![]);
        statements
    }

    #[test]
    fn joins_lines_and_keeps_the_first_ones_number() {
        let statements = split_text(
            "# a comment\n\nSecRule ARGS \\\n  \"@rx a\\\"b\\d\" \\\n  \"id:1,\\\n   pass\"\r\nSecMarker X\n",
        );
        assert_eq!(statements.len(), 2);
        assert_eq!(statements[0].place.line, 3);
        assert_eq!(statements[0].words, ["ARGS", "@rx a\"b\\d", "id:1,pass"]);
        assert_eq!((statements[1].place.line, statements[1].name.as_str()), (7, "SecMarker"));
    }

    #[test]
    fn an_open_quote_is_a_problem_with_its_line() {
        let mut report = Report::default();
        split(&Arc::from("t"), "SecMarker A\nSecRule \"ARGS\nSecMarker B", &mut report);
        let problems = report.into_problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].place.line, 2);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,200}|[\"'\\\\ #\na]{0,80}") {
            let mut report = Report::default();
            split(&Arc::from("t"), &text, &mut report);
        }
    }
}
