//! What a value must hold for a pattern to match it: sets of literals, of each of which at least one must
//! occur.
//!
//! A pattern is walked from its leaves up. For each part we know either *all* texts it can match (few and
//! short), or *some* sets of which one member each must occur, inner ones included; a concatenation joins
//! texts that touch, an alternation unites sets, whatever may be absent gives none. Everything is folded to
//! lower case, which only ever adds candidates. Sound by construction, proven by a test that compares with
//! plain evaluation. The walk is the parser crate's own, on the heap. Called by [`super::build`].

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use regex_syntax::hir::{Class, Hir, HirKind, Visitor, visit};

use crate::tally;

/// A set of literals in lower case; a value that matches holds one of them.
pub(crate) type Set = Vec<Vec<u8>>;

/// Texts that a part is spelled out to; more, and it is described by sets alone.
const EXACT_MAX: usize = 96;
/// Bytes of one text that is spelled out.
const EXACT_BYTES_MAX: usize = 24;
/// Members of a class that is spelled out within texts.
const CLASS_MAX: usize = 16;
/// Texts of an alternation of whole texts.
const ALTERNATION_MAX: usize = 2_000;
/// Literals of one set.
const SET_MAX: usize = 4_000;
/// Single bytes of a set beyond which it says too little.
const BYTES_MAX: usize = 200;
/// Bytes of a literal in the automaton: its rarest window of this length.
const TRIMMED_BYTES: usize = 6;

/// What is known of a part of a pattern.
#[derive(Debug, Clone, Default)]
struct Known {
    /// All texts it can match.
    exact: Option<Set>,
    /// Of each set one member must occur.
    required: Vec<Set>,
    /// For `x{n,}`: the texts of `x`, so that what follows joins to the last one.
    repeated: Option<Set>,
}

/// The sets that a pattern requires, the rarest first, at most `count`; with the least length of a match.
pub(crate) fn required(hir: &Hir, count: usize) -> (Vec<Set>, usize) {
    let shortest = hir.properties().minimum_len().unwrap_or(0);
    let Ok(known) = visit(hir, Walk { stack: Vec::new() });
    let mut sets = known.required;
    if let Some(exact) = known.exact {
        keep(&mut sets, &exact);
    }
    sets.sort_by(|a, b| cost(a).total_cmp(&cost(b)));
    sets.dedup();
    sets.truncate(count);
    (sets.into_iter().map(minimised).collect(), shortest)
}

/// How often a set's members occur in common text, roughly: the sum of products of their bytes' frequencies.
pub(crate) fn cost(set: &Set) -> f64 {
    let of = |literal: &Vec<u8>| {
        let product: f64 = literal.iter().map(|byte| frequency(*byte)).product();
        if literal.len() == 1 { product } else { product.max(1e-9) }
    };
    set.iter().map(of).sum()
}

/// The share of a byte, in lower case, in requests as they are: letters of words, then digits and separators.
fn frequency(byte: u8) -> f64 {
    match byte {
        b'a'..=b'z' => 0.06,
        b'0'..=b'9' => 0.04,
        b' ' | b'/' | b'.' | b'-' | b'_' | b'=' | b';' | b',' => 0.025,
        b'\t' | b'\n' | b'\r' | b':' | b'(' | b')' | b'"' | b'%' | b'&' | b'+' => 0.008,
        0x21..=0x7e => 0.002,
        _ => 0.0003,
    }
}

/// The rarest window of a literal, of at most [`TRIMMED_BYTES`].
pub(crate) fn trimmed(literal: &[u8]) -> &[u8] {
    let weight = |window: &&[u8]| window.iter().map(|byte| frequency(*byte).ln()).sum::<f64>();
    literal.windows(TRIMMED_BYTES).min_by(|a, b| weight(a).total_cmp(&weight(b))).unwrap_or(literal)
}

/// Leaves out literals that hold another one of the set.
///
/// Each literal's pieces are looked up among the shorter ones kept so far, of such lengths as occur: a list
/// of words may have millions, and literals have [`EXACT_BYTES_MAX`] bytes at most, so that is at most some
/// hundred lookups for each, however many there are.
pub(crate) fn minimised(mut set: Set) -> Set {
    set.sort_by_key(Vec::len);
    let mut kept: HashSet<Vec<u8>, FixedState> = HashSet::default();
    let mut lengths: Vec<usize> = Vec::new();
    set.retain(|literal| {
        let holds_another = lengths.iter().any(|length| match length {
            0 => true,
            length => literal.windows(*length).any(|piece| {
                tally::count(1);
                kept.contains(piece)
            }),
        });
        if !holds_another {
            if lengths.last() != Some(&literal.len()) {
                lengths.push(literal.len());
            }
            kept.insert(literal.clone());
        }
        !holds_another
    });
    set
}

fn normalised(mut set: Set) -> Set {
    set.sort();
    set.dedup();
    set
}

/// Adds a set that says something.
fn keep(sets: &mut Vec<Set>, set: &Set) {
    let is_usable = !set.is_empty() && set.len() <= SET_MAX && set.iter().all(|literal| !literal.is_empty());
    let is_vague = set.len() > BYTES_MAX && set.iter().all(|literal| literal.len() == 1);
    if is_usable && !is_vague {
        sets.push(set.clone());
    }
}

/// Every text of `first` followed by every text of `second`, when these are few and short.
fn joined(first: &Set, second: &Set) -> Option<Set> {
    if first.len() * second.len() > EXACT_MAX {
        return None;
    }
    let mut out = Vec::new();
    for head in first {
        for tail in second {
            if head.len() + tail.len() > EXACT_BYTES_MAX {
                return None;
            }
            out.push([head.as_slice(), tail].concat());
        }
    }
    Some(normalised(out))
}

fn nothing() -> Set {
    vec![Vec::new()]
}

struct Walk {
    stack: Vec<Known>,
}

impl Visitor for Walk {
    type Output = Known;
    type Err = std::convert::Infallible;

    fn finish(mut self) -> Result<Known, Self::Err> {
        Ok(self.stack.pop().unwrap_or_default())
    }

    fn visit_post(&mut self, hir: &Hir) -> Result<(), Self::Err> {
        let known = match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Known { exact: Some(nothing()), ..Known::default() },
            HirKind::Literal(literal) => literal_known(&literal.0),
            HirKind::Class(class) => class_known(class),
            HirKind::Capture(_) => Known { repeated: None, ..self.stack.pop().unwrap_or_default() },
            HirKind::Repetition(repetition) => {
                let inner = self.stack.pop().unwrap_or_default();
                repetition_known(inner, repetition.min, repetition.max)
            }
            HirKind::Concat(parts) => {
                let parts = self.stack.split_off(self.stack.len().saturating_sub(parts.len()));
                concat_known(parts)
            }
            HirKind::Alternation(parts) => {
                let parts = self.stack.split_off(self.stack.len().saturating_sub(parts.len()));
                alternation_known(parts)
            }
        };
        self.stack.push(known);
        Ok(())
    }
}

fn literal_known(literal: &[u8]) -> Known {
    let folded = literal.to_ascii_lowercase();
    match folded.get(..EXACT_BYTES_MAX) {
        Some(start) if folded.len() > EXACT_BYTES_MAX => {
            Known { required: vec![vec![start.to_vec()]], ..Known::default() }
        }
        _ => Known { exact: Some(vec![folded]), ..Known::default() },
    }
}

fn class_known(class: &Class) -> Known {
    let mut bytes: Set = Vec::new();
    match class {
        Class::Bytes(class) => {
            for range in class.ranges() {
                bytes.extend((range.start()..=range.end()).map(|byte| vec![byte.to_ascii_lowercase()]));
            }
        }
        Class::Unicode(class) => {
            for range in class.ranges() {
                if !range.end().is_ascii() {
                    return Known::default();
                }
                bytes.extend((range.start()..=range.end()).map(|c| vec![(c as u8).to_ascii_lowercase()]));
            }
        }
    }
    let bytes = normalised(bytes);
    if bytes.is_empty() {
        return Known::default();
    }
    if bytes.len() <= CLASS_MAX {
        return Known { exact: Some(bytes), ..Known::default() };
    }
    let mut required = Vec::new();
    keep(&mut required, &bytes);
    Known { required, ..Known::default() }
}

fn repetition_known(inner: Known, min: u32, max: Option<u32>) -> Known {
    if min == 0 {
        return match (max, inner.exact) {
            (Some(1), Some(mut exact)) => {
                exact.push(Vec::new());
                Known { exact: Some(normalised(exact)), ..Known::default() }
            }
            // It may be absent altogether.
            _ => Known::default(),
        };
    }
    if min == 1 && max == Some(1) {
        return Known { repeated: None, ..inner };
    }
    let mut required = inner.required;
    let Some(exact) = inner.exact else { return Known { required, ..Known::default() } };
    let mut all = exact.clone();
    let mut is_whole = true;
    for _ in 1..min {
        match joined(&all, &exact) {
            Some(longer) => all = longer,
            None => {
                is_whole = false;
                break;
            }
        }
    }
    if is_whole && max == Some(min) {
        return Known { exact: Some(all), required, repeated: None };
    }
    keep(&mut required, &all);
    // Only `x{n,}` as a whole touches what stands before and behind it with an `x`.
    let has_text = exact.iter().all(|text| !text.is_empty());
    Known { exact: None, required, repeated: has_text.then_some(exact) }
}

fn concat_known(parts: Vec<Known>) -> Known {
    let mut required = Vec::new();
    let mut current = nothing();
    let mut is_exact = true;
    for part in parts {
        required.extend(part.required);
        if let Some(repeated) = part.repeated {
            // What stands before touches the first `x`, what follows touches the last.
            match joined(&current, &repeated) {
                Some(longer) => keep(&mut required, &longer),
                None => keep(&mut required, &current),
            }
            current = repeated;
            is_exact = false;
            continue;
        }
        match part.exact {
            Some(exact) => match joined(&current, &exact) {
                Some(longer) => current = longer,
                None => {
                    keep(&mut required, &current);
                    is_exact = false;
                    current = if exact.len() <= EXACT_MAX {
                        exact
                    } else {
                        keep(&mut required, &exact);
                        nothing()
                    };
                }
            },
            None => {
                keep(&mut required, &current);
                current = nothing();
                is_exact = false;
            }
        }
    }
    if is_exact {
        return Known { exact: Some(current), required, repeated: None };
    }
    keep(&mut required, &current);
    Known { exact: None, required, repeated: None }
}

fn alternation_known(parts: Vec<Known>) -> Known {
    if parts.iter().all(|part| part.exact.is_some()) {
        let all = normalised(parts.iter().filter_map(|part| part.exact.clone()).flatten().collect());
        if all.len() <= ALTERNATION_MAX {
            return Known { exact: Some(all), ..Known::default() };
        }
    }
    let mut union: Set = Vec::new();
    for part in parts {
        let mut sets = part.required;
        if let Some(exact) = part.exact {
            keep(&mut sets, &exact);
        }
        // A branch that requires nothing lets the whole require nothing.
        let Some(best) = sets.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b))) else {
            return Known::default();
        };
        union.extend(best);
    }
    let mut required = Vec::new();
    keep(&mut required, &normalised(union));
    Known { required, ..Known::default() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pattern;

    fn sets(pattern: &str) -> Vec<Vec<String>> {
        let hir = pattern::syntax(pattern).expect("a pattern");
        let text = |literal: Vec<u8>| String::from_utf8_lossy(&literal).into_owned();
        required(&hir, 3).0.into_iter().map(|set| set.into_iter().map(text).collect()).collect()
    }

    #[test]
    fn finds_inner_literals_and_folds_case() {
        let all = sets("(?i)a*UNION[0-9]{0,3}select[a-z]+");
        assert!(
            all.contains(&vec!["select".to_owned()]) && all.contains(&vec!["union".to_owned()]),
            "{all:?}"
        );
    }

    #[test]
    fn what_may_be_absent_requires_nothing() {
        assert!(sets("(?:evil)?").is_empty());
        assert!(sets("evil|.*").is_empty());
        assert!(sets("(?:evil){0,3}").is_empty());
    }

    #[test]
    fn a_long_list_of_words_is_minimised_word_by_word() {
        for count in [100, 10_000] {
            let words = (0..count).map(|word| format!("{word:06}").into_bytes());
            let short = ["z", "yy", "xxx", "wwww", "vvvvv"].map(|literal| literal.as_bytes().to_vec());
            let set: Set = words.chain(short).collect();
            let work = tally::of(|| assert_eq!(minimised(set).len(), count + 5));
            // Every piece of every word, of each of the six lengths.
            assert!((20 * count..=21 * count + 35).contains(&work), "{work} for {count} words");
        }
    }

    proptest! {
        #[test]
        fn a_minimised_set_holds_each_literal_that_holds_no_other(
            set in prop::collection::vec("[ab]{0,5}|[a-c]{6,24}", 0..20),
        ) {
            let set: Set = set.into_iter().map(String::into_bytes).collect();
            let holds = |whole: &[u8], part: &[u8]| memchr::memmem::find(whole, part).is_some();
            let mut expected: Set = set.clone();
            expected.retain(|one| !set.iter().any(|other| other.len() < one.len() && holds(one, other)));
            expected.sort();
            expected.dedup();
            let mut found = minimised(set);
            found.sort();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_match_of_a_pattern_holds_its_sets() {
        for (pattern, value) in [
            ("(?i)x{2,}y", "aXxXY"),
            ("a(?:b|cd?)+e", "acdbce"),
            ("(?:ab){2,3}c", "ababc"),
            ("a+b+c", "aabbc"),
            ("^$|x", "x"),
        ] {
            let folded = value.to_ascii_lowercase();
            assert!(pattern::compile(pattern).expect("a pattern").is_match(value.as_bytes()));
            for set in sets(pattern) {
                assert!(set.iter().any(|literal| folded.contains(literal.as_str())), "{pattern} {set:?}");
            }
        }
    }
}
