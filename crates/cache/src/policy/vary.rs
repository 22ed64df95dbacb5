//! `Vary`: which request fields choose among stored variants, and the key of a variant (RFC 9111 §4.1).
//!
//! Values are normalised only in ways that cannot change what they mean: white space around commas, several
//! lines of a list, the case of language tags, and `Accept-Encoding` down to the set of codings taken.
//! Called by `storing.rs` and `lookup.rs`.

use exchange::Fields;

use super::words::{Members, is_token, lines, members, trim};
use crate::compress::Accepted;
use crate::limits::{VARY_NAMES_MAX, VARY_RULES_MAX, VARY_VALUE_BYTES_MAX};

/// What an answer's `Vary` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Nothing: one answer for every request.
    Nothing,
    /// These fields choose.
    Rule(VaryRule),
    /// `*`, something that is no field name, a field that differs for each visitor by the edge's doing, or
    /// more names than [`VARY_NAMES_MAX`]: it answers no other request.
    Anything,
}

impl Vary {
    /// Reads all `Vary` lines of an answer.
    ///
    /// One that is coded is kept as if it named `Accept-Encoding`, whether it does or not: the origin was
    /// asked with what its first visitor takes, and many forget to say that they go by it. Else one request
    /// with `Accept-Encoding: br` would leave what nobody without Brotli can read.
    pub fn read(answer: &Fields) -> Self {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for name in lines(answer, b"vary").flat_map(members) {
            if name == b"*" || !is_token(name) || is_per_visitor(name) || names.len() == VARY_NAMES_MAX {
                return Self::Anything;
            }
            names.push(name.to_ascii_lowercase());
        }
        let mut codings = lines(answer, b"content-encoding").flat_map(members);
        if codings.any(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            names.push(b"accept-encoding".to_vec());
        }
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Self::Nothing;
        }
        Self::Rule(VaryRule { names: names.join(&b','.to_owned()).into_boxed_slice() })
    }
}

/// Fields that the edge writes towards the origin with something of the visitor or the exchange: what the
/// visitor sent is not what the answer was made from, so no variant of it can be found again.
fn is_per_visitor(name: &[u8]) -> bool {
    let all: [&[u8]; 11] = [
        b"x-forwarded-for",
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"cf-ipcountry",
        b"cf-ray",
        b"x-request-id",
        b"via",
        b"cdn-loop",
    ];
    all.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The names that `Vary` lists: in lower case, sorted, each once, with commas between. What storage keeps for
/// each key, a few of them, to compute the variants a request may match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaryRule {
    names: Box<[u8]>,
}

impl VaryRule {
    /// The rule as it was kept.
    pub fn from_kept(names: &[u8]) -> Self {
        Self { names: names.into() }
    }

    /// What to keep.
    pub fn as_bytes(&self) -> &[u8] {
        &self.names
    }

    /// The variant that a request asks for under this rule: the exact text of names and normalised values,
    /// for [`super::key::Key::with_variant`]. None if a value is too long to be kept
    /// ([`VARY_VALUE_BYTES_MAX`]): the request has no variant.
    pub fn variant(&self, request: &Fields) -> Option<Vec<u8>> {
        let mut exact = Vec::with_capacity(self.names.len() + 32);
        for name in self.names.split(|byte| *byte == b',') {
            exact.extend_from_slice(name);
            let start = exact.len();
            push_value(&mut exact, name, request);
            if exact.len() - start > VARY_VALUE_BYTES_MAX {
                return None;
            }
            exact.push(b'\n');
        }
        Some(exact)
    }
}

/// The rules under which variants of one key are stored, the latest first: what storage keeps under the key
/// itself.
///
/// Origins mostly use one rule for a key. More than [`VARY_RULES_MAX`] push out the oldest, whose variants
/// are then not found any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaryIndex {
    rules: Vec<VaryRule>,
}

impl VaryIndex {
    /// The rules, the latest first.
    pub fn rules(&self) -> &[VaryRule] {
        &self.rules
    }

    /// Puts a rule first. False if it was there already.
    pub fn add(&mut self, rule: &VaryRule) -> bool {
        if self.rules.first() == Some(rule) {
            return false;
        }
        self.rules.retain(|known| known != rule);
        self.rules.insert(0, rule.clone());
        self.rules.truncate(VARY_RULES_MAX);
        true
    }

    /// What storage keeps: a line for each rule.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for rule in &self.rules {
            bytes.extend_from_slice(rule.as_bytes());
            bytes.push(b'\n');
        }
        bytes
    }

    /// Reads what storage kept; what cannot be read is left out.
    pub fn from_kept(bytes: &[u8]) -> Self {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let is_rule = |line: &&[u8]| line.split(|byte| *byte == b',').all(is_token);
        Self { rules: lines.filter(is_rule).take(VARY_RULES_MAX).map(VaryRule::from_kept).collect() }
    }
}

/// Fields with one value in which a comma may mean anything.
const SINGLE: [&[u8]; 8] = [
    b"user-agent",
    b"cookie",
    b"referer",
    b"authorization",
    b"origin",
    b"host",
    b"if-modified-since",
    b"content-type",
];

/// Writes `:` and a value, or `!` for a field that is absent: absence matches only absence (RFC 9111 §4.1).
fn push_value(out: &mut Vec<u8>, name: &[u8], request: &Fields) {
    if name == b"accept-encoding" {
        // Absent and "identity" are the same set, and the origin is asked in the same words.
        out.extend_from_slice(b":");
        out.push(b'0' + Accepted::read(request).class());
        return;
    }
    let is_list = !SINGLE.contains(&name);
    let ignores_case = name == b"accept-language";
    let mut is_first = true;
    for line in lines(request, name) {
        out.extend_from_slice(if is_first { b":" } else { b"," });
        is_first = false;
        if !is_list {
            out.extend_from_slice(trim(line));
            continue;
        }
        for (place, member) in Members::of(line).enumerate() {
            if place > 0 {
                out.push(b',');
            }
            let start = out.len();
            out.extend_from_slice(member);
            if ignores_case && let Some(written) = out.get_mut(start..) {
                written.make_ascii_lowercase();
            }
        }
    }
    if is_first {
        out.push(b'!');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(name: &str, values: &[&str]) -> Fields {
        let mut fields = Fields::new();
        for value in values {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn rule(value: &str) -> VaryRule {
        match Vary::read(&fields("Vary", &[value])) {
            Vary::Rule(rule) => rule,
            other => panic!("{value}: {other:?}"),
        }
    }

    fn same(vary: &str, a: &Fields, b: &Fields) -> bool {
        rule(vary).variant(a) == rule(vary).variant(b)
    }

    #[test]
    fn names_are_one_set_over_all_lines() {
        assert_eq!(rule("Foo, bar,, FOO").as_bytes(), b"bar,foo");
        let two = Vary::read(&fields("vary", &["b", "A"]));
        assert_eq!(two, Vary::Rule(VaryRule::from_kept(b"a,b")));
        assert_eq!(Vary::read(&fields("Vary", &["", " , "])), Vary::Nothing);
    }

    #[test]
    fn a_star_or_nonsense_answers_no_other_request() {
        for value in ["*", "foo, *", ", *", "accept, X-Forwarded-For", "a b", "\"a\"", "**\u{e9}"] {
            assert_eq!(Vary::read(&fields("Vary", &[value])), Vary::Anything, "{value}");
        }
        let many: Vec<String> = (0..=VARY_NAMES_MAX).map(|n| format!("x{n}")).collect();
        assert_eq!(Vary::read(&fields("Vary", &[&many.join(",")])), Vary::Anything);
    }

    #[test]
    fn what_is_coded_depends_on_the_codings_taken_whatever_it_says() {
        let of = |pairs: &[(&str, &str)]| {
            let mut answer = Fields::new();
            pairs.iter().for_each(|(name, value)| answer.push(name.as_bytes(), value.as_bytes()));
            Vary::read(&answer)
        };
        let rule = |names: &[u8]| Vary::Rule(VaryRule::from_kept(names));
        assert_eq!(of(&[("Content-Encoding", "gzip")]), rule(b"accept-encoding"));
        assert_eq!(of(&[("Content-Encoding", "br"), ("Vary", "Foo")]), rule(b"accept-encoding,foo"));
        let said = of(&[("Content-Encoding", "zstd"), ("Vary", "accept-encoding")]);
        assert_eq!(said, rule(b"accept-encoding"));
        assert_eq!(of(&[("Content-Encoding", "Identity")]), Vary::Nothing);
        assert_eq!(of(&[("Content-Encoding", "gzip"), ("Vary", "*")]), Vary::Anything);
    }

    #[test]
    fn values_must_be_equal_and_absence_is_a_value() {
        assert!(same("foo", &fields("Foo", &["1"]), &fields("fOO", &["1"])));
        assert!(!same("foo", &fields("Foo", &["1"]), &fields("Foo", &["2"])));
        assert!(!same("foo", &fields("Foo", &["1"]), &Fields::new()));
        assert!(!same("foo", &fields("Foo", &[""]), &Fields::new()));
        assert!(!same("foo", &fields("Foo", &["a"]), &fields("Foo", &["A"])));
        assert!(same("foo", &fields("Bar", &["1"]), &fields("Bar", &["2"])));
    }

    #[test]
    fn white_space_and_lines_of_a_list_do_not_matter() {
        assert!(same("foo", &fields("Foo", &["1, 2"]), &fields("Foo", &["1 ,2"])));
        assert!(same("foo", &fields("Foo", &["1, 2"]), &fields("Foo", &["1", "2"])));
        assert!(!same("foo", &fields("Foo", &["1, 2"]), &fields("Foo", &["2, 1"])));
        assert!(!same("foo", &fields("Foo", &["\"1, 2\""]), &fields("Foo", &["\"1,2\""])));
        assert!(!same("user-agent", &fields("User-Agent", &["a, b"]), &fields("User-Agent", &["a,b"])));
    }

    #[test]
    fn languages_ignore_case_but_not_order() {
        let a = fields("Accept-Language", &["en-GB, de;q=0.5"]);
        assert!(same("accept-language", &a, &fields("Accept-Language", &["EN-gb,de;Q=0.5"])));
        assert!(!same("accept-language", &a, &fields("Accept-Language", &["de;q=0.5, en-GB"])));
    }

    #[test]
    fn codings_are_compared_as_a_set() {
        let a = fields("Accept-Encoding", &["gzip, br"]);
        assert!(same("accept-encoding", &a, &fields("Accept-Encoding", &["br;q=0.5,gzip"])));
        assert!(!same("accept-encoding", &a, &fields("Accept-Encoding", &["gzip"])));
        assert!(same("accept-encoding", &Fields::new(), &fields("Accept-Encoding", &["identity"])));
    }

    #[test]
    fn an_index_keeps_the_latest_rules_first() {
        let mut index = VaryIndex::default();
        for name in ["a", "b", "c", "d", "a", "e"] {
            index.add(&rule(name));
        }
        assert_eq!(index.to_bytes(), b"e\na\nd\nc\n");
        assert!(!index.add(&rule("e")));
        assert_eq!(VaryIndex::from_kept(&index.to_bytes()), index);
        assert_eq!(VaryIndex::from_kept(b"a b\n\nx,y"), VaryIndex { rules: vec![rule("x, y")] });
    }

    #[test]
    fn a_value_too_long_has_no_variant() {
        let long = "x".repeat(VARY_VALUE_BYTES_MAX + 1);
        assert_eq!(rule("foo").variant(&fields("Foo", &[&long])), None);
    }

    proptest! {
        #[test]
        fn variants_never_mix_fields(
            a in proptest::collection::vec(("[ab]", "[xy:,!\"]{0,4}"), 0..4),
            b in proptest::collection::vec(("[ab]", "[xy:,!\"]{0,4}"), 0..4),
        ) {
            let build = |pairs: &[(String, String)]| {
                let mut fields = Fields::new();
                for (name, value) in pairs {
                    fields.push(name.as_bytes(), value.as_bytes());
                }
                fields
            };
            let (left, right) = (build(&a), build(&b));
            let bytes = |fields: &Fields, name: &[u8]| -> Option<Vec<u8>> {
                let all: Vec<_> = lines(fields, name).collect();
                (!all.is_empty()).then(|| all.concat().into_iter().filter(|b| *b != b',').collect())
            };
            if same("a, b", &left, &right) {
                for name in [b"a", b"b"] {
                    prop_assert_eq!(bytes(&left, name), bytes(&right, name));
                }
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut request = Fields::new();
            request.push(b"Vary", &bytes);
            request.push(b"Accept-Encoding", &bytes);
            request.push(b"Accept-Language", &bytes);
            if let Vary::Rule(rule) = Vary::read(&request) {
                rule.variant(&request);
            }
            rule("vary, accept-encoding, accept-language").variant(&request);
        }
    }
}
