//! Validators: entity tags and modification dates, and how strongly they tell versions apart.
//!
//! Called by `conditional.rs` (visitors), `revalidate.rs` (origins), `slices.rs`. RFC 9110 §8.8.

use exchange::{Fields, Known};

use super::date::parse_date;
use super::words::lines;

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    /// It may stay the same when the bytes change.
    pub is_weak: bool,
    /// The tag with its quotes. A tag sent without quotes is kept without, and equals only its like.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads one tag. None for an empty one.
    pub fn read(value: &'a [u8]) -> Option<Self> {
        let (is_weak, opaque) = match value.strip_prefix(b"W/") {
            Some(opaque) if opaque.starts_with(b"\"") => (true, opaque),
            _ => (false, value),
        };
        (!opaque.is_empty()).then_some(Self { is_weak, opaque })
    }

    /// Both are strong and the same: the bytes are the same (RFC 9110 §8.8.3.2).
    pub fn equals_strongly(&self, other: &EntityTag<'_>) -> bool {
        !self.is_weak && !other.is_weak && self.is_quoted() && self.opaque == other.opaque
    }

    /// The same but for weakness: what one shows, the other may stand for (RFC 9110 §8.8.3.2).
    pub fn equals_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// Whether it is well formed; only then it may prove that bytes are the same.
    pub fn is_quoted(&self) -> bool {
        let inner = self.opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        inner.is_some_and(|inner| inner.iter().all(|b| *b == 0x21 || (*b >= 0x23 && *b != 0x7f)))
    }
}

/// The tags of `If-None-Match` or `If-Match`: a list, over all lines; `*` is one of its own.
///
/// Tags know no escapes, so a backslash is a byte like others. A quote that does not end takes the rest.
pub(crate) struct TagList<'a> {
    rest: &'a [u8],
}

impl<'a> TagList<'a> {
    pub(crate) fn of(value: &'a [u8]) -> Self {
        Self { rest: value }
    }
}

impl<'a> Iterator for TagList<'a> {
    type Item = EntityTag<'a>;

    fn next(&mut self) -> Option<EntityTag<'a>> {
        loop {
            let start = self.rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b','))?;
            self.rest = self.rest.get(start..)?;
            let quote = match self.rest {
                [b'W', b'/', b'"', ..] => 3,
                [b'"', ..] => 1,
                _ => 0,
            };
            let end = if quote == 0 {
                memchr::memchr(b',', self.rest).unwrap_or(self.rest.len())
            } else {
                let inner = self.rest.get(quote..)?;
                memchr::memchr(b'"', inner).map_or(self.rest.len(), |at| quote + at + 1)
            };
            let tag = super::words::trim(self.rest.get(..end)?);
            self.rest = self.rest.get(end..)?;
            if let Some(tag) = EntityTag::read(tag) {
                return Some(tag);
            }
        }
    }
}

/// What tells one version of a stored answer from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// `ETag`, as sent.
    pub etag: Option<&'a [u8]>,
    /// `Last-Modified`, as sent.
    pub last_modified: Option<&'a [u8]>,
    /// `Date`, as sent.
    pub date: Option<&'a [u8]>,
}

impl<'a> Validators<'a> {
    /// Finds them in an answer's fields; the first line of each counts.
    pub fn of(fields: &'a Fields) -> Self {
        Self {
            etag: lines(fields, b"etag").next().filter(|value| !value.is_empty()),
            last_modified: lines(fields, b"last-modified").next().filter(|value| !value.is_empty()),
            date: fields.known(Known::Date),
        }
    }

    /// There is one to ask the origin with.
    pub fn is_any(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// The tag, if it is strong and well formed.
    pub fn strong_etag(&self) -> Option<&'a [u8]> {
        let tag = self.etag?;
        EntityTag::read(tag).filter(|read| !read.is_weak && read.is_quoted()).map(|_| tag)
    }

    /// `Last-Modified`, if it tells versions apart to the byte: it lies a minute or more before `Date`, so
    /// that no second change can hide behind it (RFC 9110 §8.8.2.2).
    pub fn strong_last_modified(&self, now_ms: u64) -> Option<&'a [u8]> {
        let text = self.last_modified?;
        let modified = parse_date(text, now_ms)?;
        let date = parse_date(self.date?, now_ms)?;
        (modified.saturating_add(60) <= date).then_some(text)
    }

    /// Whether `other` is the same version to the byte: strong tags are equal, or, where neither side has a
    /// tag, strong dates are.
    pub fn is_same_version(&self, other: &Validators<'_>, now_ms: u64) -> bool {
        match (self.etag, other.etag) {
            (Some(_), Some(_)) => match (self.strong_etag(), other.strong_etag()) {
                (Some(mine), Some(theirs)) => mine == theirs,
                _ => false,
            },
            (None, None) => match (self.strong_last_modified(now_ms), other.strong_last_modified(now_ms)) {
                (Some(mine), Some(theirs)) => mine == theirs,
                _ => false,
            },
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags(value: &str) -> Vec<(bool, String)> {
        TagList::of(value.as_bytes())
            .map(|tag| (tag.is_weak, String::from_utf8_lossy(tag.opaque).into_owned()))
            .collect()
    }

    #[test]
    fn reads_lists_with_commas_in_tags() {
        let expected = [(false, "\"a,b\"".into()), (true, "\"c\"".into()), (false, "d".into())];
        assert_eq!(tags(" ,\"a,b\" , W/\"c\",d ,, "), expected);
        assert_eq!(tags("\"a\\\", \"b\""), [(false, "\"a\\\"".into()), (false, "\"b\"".into())]);
        assert_eq!(tags("\"a"), [(false, "\"a".into())]);
        assert_eq!(tags("w/\"a\""), [(false, "w/\"a\"".into())]);
    }

    #[test]
    fn compares_as_the_table_of_rfc9110_section_8_8_3_2() {
        let read = |text: &'static str| EntityTag::read(text.as_bytes()).expect("it is not empty");
        let cases = [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
            ("1", "1", false, true),
            ("1", "\"1\"", false, false),
        ];
        for (a, b, strongly, weakly) in cases {
            let (a, b) = (read(a), read(b));
            assert_eq!((a.equals_strongly(&b), a.equals_weakly(&b)), (strongly, weakly), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_date_is_strong_a_minute_before_the_answer() {
        let at = |date| Validators {
            etag: None,
            last_modified: Some(b"Sun, 06 Nov 1994 08:49:00 GMT"),
            date: Some(date),
        };
        assert!(at(b"Sun, 06 Nov 1994 08:50:00 GMT").strong_last_modified(0).is_some());
        assert!(at(b"Sun, 06 Nov 1994 08:49:59 GMT").strong_last_modified(0).is_none());
    }

    #[test]
    fn versions_are_the_same_only_by_strong_validators() {
        let tag = |etag| Validators { etag: Some(etag), ..Validators::default() };
        assert!(tag(b"\"a\"").is_same_version(&tag(b"\"a\""), 0));
        assert!(!tag(b"W/\"a\"").is_same_version(&tag(b"W/\"a\""), 0));
        assert!(!tag(b"\"a\"").is_same_version(&Validators::default(), 0));
        assert!(!Validators::default().is_same_version(&Validators::default(), 0));
    }

    proptest! {
        #[test]
        fn any_list_ends(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(TagList::of(&bytes).count() <= bytes.len());
        }
    }
}
