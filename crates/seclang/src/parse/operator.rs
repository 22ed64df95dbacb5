//! Operators: `@rx …`, `!@within …`, `@pmFromFile words.data`, or a bare pattern.
//!
//! Called by [`crate::load`]. Everything that can be compiled ahead is: patterns, words, addresses, sets of
//! bytes. What an operator then does with a value is [`crate::operators`]'s. Read next: [`parse`].

use std::sync::Arc;

use crate::check::blocklist::Blocklist;
use crate::check::fuzzy::FuzzyHash;
use crate::check::{self, AddressSet};
use crate::limits::FUZZY_HASHES_MAX;
use crate::model::{Comparison, Operator, TextTest, Words};
use crate::pattern;
use crate::problem::Wrong;
use crate::tally;
use crate::template::{Template, TxNames};
use crate::xml::{Dtd, Grammar, Schema};

/// Every operator that is read.
pub(crate) const KNOWN: &[&str] = &[
    "beginsWith",
    "contains",
    "containsWord",
    "detectSQLi",
    "detectXSS",
    "endsWith",
    "eq",
    "fuzzyHash",
    "ge",
    "geoLookup",
    "gt",
    "ipMatch",
    "ipMatchF",
    "ipMatchFromFile",
    "le",
    "lt",
    "noMatch",
    "pm",
    "pmf",
    "pmFromFile",
    "rbl",
    "rx",
    "rxGlobal",
    "streq",
    "strmatch",
    "unconditionalMatch",
    "validateByteRange",
    "validateDTD",
    "validateSchema",
    "validateUrlEncoding",
    "validateUtf8Encoding",
    "verifyCC",
    "verifyCPF",
    "verifySSN",
    "verifySVNR",
    "within",
];

/// Reads the bytes of a data file that a rule names.
pub(crate) type ReadFile<'a> = dyn FnMut(&str) -> Result<Vec<u8>, Wrong> + 'a;

/// Parses an operator; tells whether its result is turned round.
pub(crate) fn parse(
    text: &str,
    names: &mut TxNames,
    read: &mut ReadFile<'_>,
) -> Result<(Operator, bool), Wrong> {
    let text = text.trim_start();
    let (is_negated, text) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let (name, argument) = match text.strip_prefix('@') {
        Some(rest) => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        None => ("rx", text),
    };
    Ok((one(name, argument, names, read)?, is_negated))
}

fn one(name: &str, argument: &str, names: &mut TxNames, read: &mut ReadFile<'_>) -> Result<Operator, Wrong> {
    let trimmed = argument.trim();
    match name.to_ascii_lowercase().as_str() {
        "rx" => rx(argument, false, names),
        "rxglobal" => rx(argument, true, names),
        "pm" => words(trimmed.split_ascii_whitespace().map(unescape).collect::<Result<_, _>>()?),
        "pmfromfile" | "pmf" => {
            let mut list = Vec::new();
            for file in trimmed.split_ascii_whitespace() {
                list.extend(lines(&read(file)?).map(<[u8]>::to_vec));
            }
            words(list)
        }
        "eq" => Ok(Operator::Number(Comparison::Equal, numeric(trimmed, names)?)),
        "ge" => Ok(Operator::Number(Comparison::GreaterOrEqual, numeric(trimmed, names)?)),
        "gt" => Ok(Operator::Number(Comparison::Greater, numeric(trimmed, names)?)),
        "le" => Ok(Operator::Number(Comparison::LessOrEqual, numeric(trimmed, names)?)),
        "lt" => Ok(Operator::Number(Comparison::Less, numeric(trimmed, names)?)),
        "beginswith" => text(TextTest::BeginsWith, trimmed, names),
        "contains" | "strmatch" => text(TextTest::Contains, trimmed, names),
        "containsword" => text(TextTest::ContainsWord, trimmed, names),
        "endswith" => text(TextTest::EndsWith, trimmed, names),
        "streq" => text(TextTest::Equals, trimmed, names),
        "within" => text(TextTest::Within, trimmed, names),
        "validatebyterange" => check::byte_ranges(trimmed).map(Operator::Bytes).map_err(|error| {
            Wrong::with(
                format!("`{trimmed}` is no list of bytes: {error}"),
                "write numbers and ranges from 0 to 255, such as 32-126,9",
            )
        }),
        "validateutf8encoding" => Ok(Operator::Utf8),
        "validateurlencoding" => Ok(Operator::UrlEncoding),
        "ipmatch" => addresses(trimmed),
        "ipmatchfromfile" | "ipmatchf" => addresses(&String::from_utf8_lossy(&read(trimmed)?)),
        "fuzzyhash" => fuzzy(trimmed, read),
        "detectsqli" => Ok(Operator::Sqli),
        "detectxss" => Ok(Operator::Xss),
        "verifycc" => {
            Ok(Operator::Checked { regex: pattern::compile(trimmed)?, check: check::identity::is_card })
        }
        "verifycpf" => {
            Ok(Operator::Checked { regex: pattern::compile(trimmed)?, check: check::identity::is_cpf })
        }
        "verifyssn" => {
            Ok(Operator::Checked { regex: pattern::compile(trimmed)?, check: check::identity::is_ssn })
        }
        "verifysvnr" => {
            Ok(Operator::Checked { regex: pattern::compile(trimmed)?, check: check::identity::is_svnr })
        }
        "unconditionalmatch" => Ok(Operator::Always),
        "nomatch" => Ok(Operator::Never),
        "rbl" => Blocklist::parse(trimmed).map(Operator::Listed),
        "geolookup" => Ok(Operator::Located),
        "inspectfile" => Err(Wrong::with(
            "`@inspectFile` would run a program (as `exec` would), which rules may not",
            "leave the rule out; @fuzzyHash and @pmFromFile look at what files hold",
        )),
        "gsblookup" | "validatehash" | "rsub" => Err(Wrong::with(
            format!("`@{name}` is an operator that ModSecurity 3 does not support either"),
            "leave the rule out",
        )),
        "validatedtd" => {
            let dtd = Dtd::parse(trimmed, &mut |path| read(path))?;
            Ok(Operator::Document(Arc::new(Grammar::Dtd(dtd))))
        }
        "validateschema" => {
            let schema = Schema::parse(trimmed, read)?;
            Ok(Operator::Document(Arc::new(Grammar::Schema(schema))))
        }
        _ => Err(Wrong::unknown("operator", name, KNOWN.iter().copied())),
    }
}

fn rx(text: &str, all: bool, names: &mut TxNames) -> Result<Operator, Wrong> {
    if has_macro(text) {
        return Ok(Operator::MadePattern { template: Template::parse(text, names)?, all });
    }
    Ok(Operator::Pattern { regex: pattern::compile(text)?, text: text.into(), all })
}

fn text(test: TextTest, with: &str, names: &mut TxNames) -> Result<Operator, Wrong> {
    Ok(Operator::Text(test, Template::parse(with, names)?))
}

/// Whether a pattern has macros in it. `%{2}` is a repetition, since names of variables begin with a letter,
/// and what stands behind a backslash is none.
fn has_macro(text: &str) -> bool {
    text.match_indices("%{").any(|(at, found)| {
        let (before, after) = (text.get(..at).unwrap_or_default(), text.get(at + found.len()..));
        let escapes = before.bytes().rev().take_while(|byte| *byte == b'\\').count();
        escapes.is_multiple_of(2) && after.is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic()))
    })
}

/// A number, or a macro that becomes one.
fn numeric(text: &str, names: &mut TxNames) -> Result<Template, Wrong> {
    let template = Template::parse(text, names)?;
    match template.as_text() {
        Some(_) if text.parse::<i64>().is_err() => {
            Err(Wrong::with(format!("`{text}` is no number"), "write digits or a macro"))
        }
        _ => Ok(template),
    }
}

fn words(words: Vec<Vec<u8>>) -> Result<Operator, Wrong> {
    if words.is_empty() {
        return Err(Wrong::new("the list of words is empty"));
    }
    let automaton =
        aho_corasick::AhoCorasick::builder().ascii_case_insensitive(true).build(&words).map_err(|error| {
            Wrong::with(format!("the list of words is too large: {error}"), "split it among rules")
        })?;
    Ok(Operator::Words(Words { words, automaton }))
}

/// A file of hashes as `ssdeep` writes it, and how like one a value must be, from 1 to 100.
fn fuzzy(argument: &str, read: &mut ReadFile<'_>) -> Result<Operator, Wrong> {
    let (file, threshold) = argument.rsplit_once([' ', '\t']).unwrap_or((argument, ""));
    let threshold = threshold.parse().ok().filter(|threshold| (1..=100).contains(threshold));
    let Some(threshold) = threshold else {
        let what = "`@fuzzyHash` takes a file of hashes and a threshold from 1 to 100";
        return Err(Wrong::with(what, "write @fuzzyHash known.txt 60"));
    };
    let bytes = read(file.trim())?;
    let mut hashes = Vec::new();
    for (number, line) in (1_usize..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        // The first line of what `ssdeep` writes names its columns.
        if line.is_empty() || line.starts_with(b"#") || number == 1 && line.starts_with(b"ssdeep,") {
            continue;
        }
        let hash = std::str::from_utf8(line).ok().and_then(FuzzyHash::parse);
        hashes.push(hash.ok_or_else(|| {
            Wrong::with(format!("line {number} of `{file}` is no fuzzy hash"), "write what ssdeep prints")
        })?);
        if hashes.len() > FUZZY_HASHES_MAX {
            return Err(Wrong::new(format!("`{file}` has more than {FUZZY_HASHES_MAX} hashes")));
        }
    }
    Ok(Operator::Fuzzy { hashes, threshold })
}

/// Snort's notation of bytes within words: `|41 42|`.
fn unescape(word: &str) -> Result<Vec<u8>, Wrong> {
    let mut out = Vec::new();
    let mut parts = word.split('|').peekable();
    let mut is_between = true;
    while let Some(part) = parts.next() {
        tally::count(part.len() + 1);
        is_between = !is_between;
        if !is_between || parts.peek().is_none() {
            if is_between {
                out.push(b'|');
            }
            out.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes: Option<Vec<u8>> = (digits.len().is_multiple_of(2) && !digits.is_empty()).then(|| {
            digits
                .chunks(2)
                .map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
                .collect()
        });
        match bytes {
            Some(bytes) if bytes.len() * 2 == digits.len() => out.extend(bytes),
            _ => {
                out.push(b'|');
                out.extend_from_slice(part.as_bytes());
                out.push(b'|');
            }
        }
    }
    if out.is_empty() {
        return Err(Wrong::new(format!("`{word}` is an empty word")));
    }
    Ok(out)
}

/// The lines of a data file that are neither blank nor comments.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && line.first() != Some(&b'#'))
}

fn addresses(list: &str) -> Result<Operator, Wrong> {
    AddressSet::parse(list).map(Operator::Addresses).map_err(|errors| {
        let shown: Vec<String> = errors.iter().take(10).map(ToString::to_string).collect();
        Wrong::new(shown.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped(word: &str) -> String {
        unescape(word).map_or_else(|wrong| wrong.what, |bytes| bytes.escape_ascii().to_string())
    }

    #[test]
    fn bytes_within_words_are_read_between_bars() {
        for (word, expected) in [
            ("plain", "plain"),
            ("a|41 42|b", "aABb"),
            ("|4142|", "AB"),
            ("|41", "|41"),
            ("a|4|b", "a|4|b"),
            ("a||b", "a||b"),
            ("a|xy|b", "a|xy|b"),
            ("|41||42|", "AB"),
            ("|", "|"),
            ("||", "||"),
            ("|||", "|||"),
        ] {
            assert_eq!(unescaped(word), expected, "{word}");
        }
    }

    #[test]
    fn a_word_of_bars_is_read_once() {
        for word in ["|".repeat(20_000), "a|".repeat(20_000), "|41|".repeat(10_000)] {
            let work = tally::of(|| unescape(&word).is_ok());
            assert!((1..=2 * word.len() + 2).contains(&work), "{work} for {} bytes", word.len());
        }
    }
}
