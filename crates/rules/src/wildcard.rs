//! Wildcards: literals with `*`, which must match a whole value.
//!
//! Matching is linear: the pieces between stars are looked for from left to right, each where it first
//! occurs, which is also what gives every star the shortest text, as replacements want. Case-insensitive ones
//! are kept folded and want a folded value. Made by `check.rs`, used by evaluation and replacements.

use memchr::memmem::Finder;

/// A compiled wildcard.
#[derive(Debug)]
pub(crate) struct Wildcard {
    /// Between the stars; one more than there are stars, the first and last perhaps empty.
    pieces: Vec<Finder<'static>>,
    is_strict: bool,
}

impl Wildcard {
    /// Reads a pattern in which `\*` is a star itself and `\\` a backslash.
    pub(crate) fn new(pattern: &[u8], is_strict: bool, stars_max: usize) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut piece = Vec::new();
        let mut bytes = pattern.iter().copied();
        let mut after_star = false;
        while let Some(byte) = bytes.next() {
            let is_star = byte == b'*';
            match byte {
                b'*' if after_star => {
                    return Err(
                        "two stars stand side by side in the wildcard; one matches as much".to_owned()
                    );
                }
                b'*' => pieces.push(std::mem::take(&mut piece)),
                b'\\' => match bytes.next() {
                    Some(escaped @ (b'*' | b'\\')) => piece.push(escaped),
                    _ => return Err("in a wildcard a backslash stands before `*` or `\\` only".to_owned()),
                },
                plain => piece.push(plain),
            }
            after_star = is_star;
        }
        pieces.push(piece);
        if pieces.len() - 1 > stars_max {
            return Err(format!("the wildcard has more than {stars_max} stars"));
        }
        let finder = |piece: &Vec<u8>| {
            let folded = if is_strict { piece.clone() } else { piece.to_ascii_lowercase() };
            Finder::new(&folded).into_owned()
        };
        Ok(Self { pieces: pieces.iter().map(finder).collect(), is_strict })
    }

    /// Whether values must not be folded before they are matched.
    pub(crate) fn is_strict(&self) -> bool {
        self.is_strict
    }

    pub(crate) fn stars(&self) -> usize {
        self.pieces.len() - 1
    }

    /// The longest piece: it occurs in every value that matches.
    pub(crate) fn needle(&self) -> &[u8] {
        self.pieces.iter().map(Finder::needle).max_by_key(|piece| piece.len()).unwrap_or_default()
    }

    /// Whether the whole value matches; the value is folded unless the wildcard is strict.
    pub(crate) fn is_match(&self, value: &[u8]) -> bool {
        self.walk(value, |_, _| ())
    }

    /// What each star stands for, as ranges of the value.
    pub(crate) fn captures(&self, value: &[u8]) -> Option<Vec<(usize, usize)>> {
        let mut captures = Vec::with_capacity(self.stars());
        self.walk(value, |start, end| captures.push((start, end))).then_some(captures)
    }

    fn walk(&self, value: &[u8], mut star: impl FnMut(usize, usize)) -> bool {
        let [first, middle @ .., last] = self.pieces.as_slice() else {
            return self.pieces.first().is_some_and(|only| only.needle() == value);
        };
        let (first, last) = (first.needle(), last.needle());
        let Some(end) = value.len().checked_sub(last.len()) else { return false };
        if end < first.len() || !value.starts_with(first) || !value.ends_with(last) {
            return false;
        }
        let mut at = first.len();
        for piece in middle {
            let Some(found) = value.get(at..end).and_then(|rest| piece.find(rest)) else { return false };
            star(at, at + found);
            at += found + piece.needle().len();
        }
        star(at, end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Wildcard::new(pattern.as_bytes(), true, 8).unwrap().is_match(value.as_bytes())
    }

    #[test]
    fn the_whole_value_must_match() {
        assert!(matches("https://example.com/a/*", "https://example.com/a/"));
        assert!(matches("https://example.com/a/*", "https://example.com/a/sub/?name=value"));
        assert!(!matches("https://example.com/a/*", "https://example.com/ab/"));
        assert!(matches("*.example.com/*/page.html", "http://sub.example.com/folder/page.html"));
        assert!(!matches("*.example.com/*/page.html", "https://sub.example.com/a/"));
        assert!(matches("abc", "abc") && !matches("abc", "abcd") && !matches("abc", "ab"));
        assert!(matches("*", "") && matches("*", "x") && matches("", "") && !matches("", "x"));
        assert!(!matches("ab*ba", "aba") && matches("ab*ba", "abba"));
    }

    #[test]
    fn stars_take_as_little_as_they_can() {
        let wildcard = Wildcard::new(b"*/*/*", true, 8).unwrap();
        assert_eq!(wildcard.captures(b"a/b/c/d"), Some(vec![(0, 1), (2, 3), (4, 7)]));
        assert_eq!(wildcard.captures(b"a/b"), None);
    }

    #[test]
    fn escapes_and_mistakes() {
        assert!(matches(r"a\*b\\c", r"a*b\c") && !matches(r"a\*b", "axb"));
        for wrong in ["a**b", r"a\b", r"a\"] {
            assert!(Wildcard::new(wrong.as_bytes(), true, 8).is_err(), "{wrong}");
        }
        assert!(Wildcard::new(b"*a*b*", true, 2).is_err());
    }
}
