//! Regular expressions of linear time, what must occur in whatever they match, and replacements.
//!
//! Patterns are read as the language this one is compatible with reads them: bytes, not characters, unless
//! they say `(?u)`. [`Pattern::needles`] is the prefilter: texts of which at least one occurs in every match,
//! so that one automaton over all rules' texts spares most of the patterns. It is found on the top level of
//! the pattern and at its two ends, never by guessing. Made by `check.rs`.

use regex_automata::meta::{self, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::literal::{ExtractKind, Extractor, Seq};
use regex_syntax::hir::{Class, Hir, HirKind};

use crate::limits::Limits;

/// Needles per pattern: more say that the pattern is about something else.
const NEEDLES_MAX: usize = 32;

/// A text looked for, folded to lower case if case does not count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Needle {
    pub(crate) text: Vec<u8>,
    pub(crate) is_folded: bool,
}

/// A compiled regular expression.
#[derive(Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    needles: Vec<Needle>,
    /// Steps per byte of a value.
    price: u64,
}

impl Pattern {
    /// Compiles a pattern.
    pub(crate) fn new(text: &str, limits: &Limits) -> Result<Self, String> {
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let hir = syntax::parse_with(text, &syntax).map_err(|error| one_line(&error.to_string()))?;
        let config = meta::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .utf8_empty(false)
            .nfa_size_limit(Some(limits.pattern_bytes_max))
            .onepass_size_limit(Some(limits.pattern_bytes_max))
            .hybrid_cache_capacity(limits.pattern_cache_bytes_max);
        let regex = meta::Builder::new().configure(config).build_from_hir(&hir).map_err(|error| {
            if error.size_limit().is_some() {
                format!("the regular expression is too large: {} bytes compiled", limits.pattern_bytes_max)
            } else {
                one_line(&error.to_string())
            }
        })?;
        // The lazy automaton costs one or two steps a byte; when its states do not fit, the slow path costs
        // in proportion to the size of the pattern. Large patterns pay some of that in advance.
        let price = 2 + (regex.memory_usage() as u64 / 8192).min(62);
        Ok(Self { needles: needles(&hir), regex, price })
    }

    /// Texts of which one occurs in every match; none when nothing is known.
    pub(crate) fn needles(&self) -> &[Needle] {
        &self.needles
    }

    /// Steps for a value of so many bytes.
    pub(crate) fn price(&self, bytes: usize) -> u64 {
        16 + self.price * bytes as u64
    }

    pub(crate) fn is_match(&self, value: &[u8]) -> bool {
        self.regex.is_match(Input::new(value))
    }

    pub(crate) fn groups(&self) -> usize {
        self.regex.group_info().group_len(regex_automata::PatternID::ZERO)
    }

    /// Replaces the first match; nothing when there is none.
    pub(crate) fn replace(&self, value: &[u8], replacement: &Replacement) -> Option<Vec<u8>> {
        let mut captures = self.regex.create_captures();
        self.regex.captures(value, &mut captures);
        let whole = captures.get_match()?;
        let mut out = value.get(..whole.start()).unwrap_or_default().to_vec();
        replacement.write(&mut out, |group| {
            let span = captures.get_group(group)?;
            value.get(span.start..span.end)
        });
        out.extend_from_slice(value.get(whole.end()..).unwrap_or_default());
        Some(out)
    }
}

fn one_line(error: &str) -> String {
    let last = error.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it cannot be read");
    let what = last.strip_prefix("error: ").unwrap_or(last);
    format!("the regular expression is wrong: {what}")
}

fn needles(hir: &Hir) -> Vec<Needle> {
    let run = longest_run(hir);
    if let Some(run) = &run
        && run.text.len() >= 3
    {
        return vec![run.clone()];
    }
    let ends = [ExtractKind::Prefix, ExtractKind::Suffix].map(|kind| {
        let mut extractor = Extractor::new();
        extractor.kind(kind).limit_total(NEEDLES_MAX);
        extractor.extract(hir)
    });
    let shortest =
        |seq: &Seq| seq.literals().and_then(|list| list.iter().map(|one| one.len()).min()).unwrap_or(0);
    let best = ends.iter().max_by_key(|seq| shortest(seq));
    let from_ends: Vec<Needle> = best
        .filter(|seq| shortest(seq) >= 2)
        .and_then(Seq::literals)
        .unwrap_or_default()
        .iter()
        .map(|literal| Needle { text: literal.as_bytes().to_vec(), is_folded: false })
        .collect();
    if from_ends.is_empty() { run.into_iter().collect() } else { from_ends }
}

/// The longest text in a row on the top level of the pattern.
fn longest_run(hir: &Hir) -> Option<Needle> {
    let mut hir = hir;
    while let HirKind::Capture(capture) = hir.kind() {
        hir = &capture.sub;
    }
    let parts = match hir.kind() {
        HirKind::Concat(parts) => parts.as_slice(),
        _ => std::slice::from_ref(hir),
    };
    let mut best = Needle { text: Vec::new(), is_folded: false };
    let mut run = best.clone();
    for part in parts {
        let mut part = part;
        while let HirKind::Capture(capture) = part.kind() {
            part = &capture.sub;
        }
        match (part.kind(), letter_of_either_case(part)) {
            (HirKind::Literal(literal), _) => run.text.extend_from_slice(&literal.0),
            (_, Some(letter)) => {
                run.text.push(letter);
                run.is_folded = true;
            }
            // Borders and the empty text have no length: what stands on both sides of them is in a row.
            (HirKind::Look(_) | HirKind::Empty, _) => {}
            _ => {
                if run.text.len() > best.text.len() {
                    best = run;
                }
                run = Needle { text: Vec::new(), is_folded: false };
            }
        }
    }
    if run.text.len() > best.text.len() {
        best = run;
    }
    if best.is_folded {
        best.text.make_ascii_lowercase();
    }
    (!best.text.is_empty()).then_some(best)
}

/// The letter of a class such as `[Aa]`, in lower case.
fn letter_of_either_case(hir: &Hir) -> Option<u8> {
    let HirKind::Class(class) = hir.kind() else { return None };
    let letters: Vec<u8> = match class {
        Class::Bytes(class) => class.ranges().iter().flat_map(|range| [range.start(), range.end()]).collect(),
        Class::Unicode(class) => {
            let ends = class.ranges().iter().flat_map(|range| [range.start(), range.end()]);
            ends.map(|end| u8::try_from(end).ok()).collect::<Option<_>>()?
        }
    };
    let [upper, upper_end, lower, lower_end] = letters.as_slice() else { return None };
    let is_pair = upper == upper_end && lower == lower_end && upper.is_ascii_uppercase();
    (is_pair && upper.to_ascii_lowercase() == *lower).then_some(*lower)
}

/// Text with references such as `${1}`; `$$` is a dollar sign.
#[derive(Debug)]
pub(crate) struct Replacement {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    Group(usize),
}

/// References in one replacement, as in the language this one is compatible with.
const REFERENCES_MAX: usize = 8;

impl Replacement {
    /// Reads a replacement whose references are below `groups`.
    pub(crate) fn new(text: &[u8], groups: usize) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut references = 0;
        let mut rest = text;
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            if *byte != b'$' {
                plain.push(*byte);
                continue;
            }
            if let Some(after) = rest.strip_prefix(b"$") {
                plain.push(b'$');
                rest = after;
                continue;
            }
            let (number, after) = reference(rest)
                .ok_or("in a replacement `$` begins a reference such as ${1}; write $$ for a dollar sign")?;
            rest = after;
            if number >= groups {
                return Err(format!("the replacement names ${{{number}}}, which there is not"));
            }
            references += 1;
            if references > REFERENCES_MAX {
                return Err(format!("the replacement has more than {REFERENCES_MAX} references"));
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Group(number));
        }
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }

    /// Writes the replacement, references by `group`; one that took part in no match is empty.
    pub(crate) fn write<'v>(&self, out: &mut Vec<u8>, group: impl Fn(usize) -> Option<&'v [u8]>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Group(number) => out.extend_from_slice(group(*number).unwrap_or_default()),
            }
        }
    }
}

/// Reads `{12}` or one digit.
fn reference(text: &[u8]) -> Option<(usize, &[u8])> {
    if let Some(inner) = text.strip_prefix(b"{") {
        let end = inner.iter().position(|byte| *byte == b'}')?;
        let digits = std::str::from_utf8(inner.get(..end)?).ok()?;
        let is_number =
            !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        return is_number.then(|| digits.parse().ok()).flatten().zip(inner.get(end + 1..));
    }
    let (digit, after) = text.split_first()?;
    digit.is_ascii_digit().then(|| (usize::from(digit - b'0'), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles_of(pattern: &str) -> Vec<String> {
        let pattern = Pattern::new(pattern, &Limits::default()).unwrap();
        let shown = |needle: &Needle| {
            let text = String::from_utf8_lossy(&needle.text).into_owned();
            if needle.is_folded { format!("{text} (folded)") } else { text }
        };
        pattern.needles().iter().map(shown).collect()
    }

    #[test]
    fn finds_what_must_occur() {
        assert_eq!(needles_of("^/articles/200[7-8]/$"), ["/articles/200"]);
        assert_eq!(needles_of(".*wp-login\\.php"), ["wp-login.php"]);
        assert_eq!(needles_of("(?i)sqlmap"), ["sqlmap (folded)"]);
        assert_eq!(needles_of("(foo|bar|quux)"), ["foo", "bar", "quux"]);
        assert_eq!(needles_of("(a|b)(/admin)"), ["/admin"]);
        assert_eq!(needles_of("[a-z]+\\.(php|asp)$"), [".php", ".asp"]);
        assert_eq!(needles_of("^[0-9]+$"), Vec::<String>::new());
        assert_eq!(needles_of("x*"), Vec::<String>::new());
    }

    #[test]
    fn bytes_are_matched_unless_unicode_is_asked_for() {
        let bytes = Pattern::new("^.$", &Limits::default()).unwrap();
        assert!(bytes.is_match(b"\xff") && !bytes.is_match("é".as_bytes()));
        let characters = Pattern::new("(?u)^.$", &Limits::default()).unwrap();
        assert!(characters.is_match("é".as_bytes()));
    }

    #[test]
    fn refuses_what_is_too_large_or_wrong() {
        let large = Pattern::new(".{4079,65535}", &Limits::default()).unwrap_err();
        assert!(large.contains("too large"), "{large}");
        let wrong = Pattern::new("a(b", &Limits::default()).unwrap_err();
        assert_eq!(wrong, "the regular expression is wrong: unclosed group");
        let nested = "(".repeat(2000) + &")".repeat(2000);
        assert!(Pattern::new(&nested, &Limits::default()).is_err());
    }

    #[test]
    fn replaces_the_first_match_with_references() {
        let replace = |value: &str, pattern: &str, replacement: &str| {
            let pattern = Pattern::new(pattern, &Limits::default()).unwrap();
            let replacement = Replacement::new(replacement.as_bytes(), pattern.groups()).unwrap();
            pattern.replace(value.as_bytes(), &replacement).map(|out| String::from_utf8(out).unwrap())
        };
        assert_eq!(replace("/foo/bar", "/bar$", "/baz").as_deref(), Some("/foo/baz"));
        assert_eq!(replace("/x", "^/y$", "/mumble"), None);
        assert_eq!(replace("/a/a", "/a", "/b").as_deref(), Some("/b/a"));
        assert_eq!(replace("/b", "^/b$", "/b$$").as_deref(), Some("/b$"));
        let swapped = replace("/foo/a/path", "^/foo/([^/]*)/(.*)$", "/bar/${2}/${1}");
        assert_eq!(swapped.as_deref(), Some("/bar/path/a"));
        for wrong in ["${9}", "$", "${x}", "${1"] {
            assert!(Replacement::new(wrong.as_bytes(), 2).is_err(), "{wrong}");
        }
    }
}
