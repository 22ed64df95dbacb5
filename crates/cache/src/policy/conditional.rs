//! Conditional requests of visitors, answered from what is stored (RFC 9110 §13, RFC 9111 §4.3.2).
//!
//! `If-Match` and `If-Unmodified-Since` are the origin's to judge (RFC 9111 §4.3.2): requests that carry them
//! bypass the cache (`request.rs`). Called by `answer.rs`.

use exchange::Fields;

use super::date::parse_date;
use super::validator::{EntityTag, TagList, Validators};
use super::words::{lines, trim};
use crate::limits::TAGS_COMPARED_MAX;

/// Whether the visitor has what we would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// There is none, it cannot be read, or it asks for the answer.
    Send,
    /// 304 (Not Modified).
    NotModified,
}

/// Evaluates `If-None-Match`, else `If-Modified-Since`, in the order of RFC 9110 §13.2.2.
///
/// To be asked only where the answer would have a 2xx status (§13.2.1). `received_s` is when the answer
/// came, in seconds since 1970: what it was made at when it says neither `Last-Modified` nor `Date`.
pub fn precondition(request: &Fields, stored: &Validators<'_>, received_s: u64, now_ms: u64) -> Precondition {
    let mut has_tags = false;
    let mut compared = 0;
    let stored_tag = stored.etag.and_then(EntityTag::read);
    for line in lines(request, b"if-none-match") {
        has_tags = true;
        if trim(line) == b"*" {
            return Precondition::NotModified;
        }
        for tag in TagList::of(line) {
            compared += 1;
            if compared > TAGS_COMPARED_MAX {
                return Precondition::Send;
            }
            if stored_tag.is_some_and(|stored| stored.equals_weakly(&tag)) {
                return Precondition::NotModified;
            }
        }
    }
    if has_tags {
        return Precondition::Send;
    }
    let mut dates = lines(request, b"if-modified-since");
    let (Some(line), None) = (dates.next(), dates.next()) else { return Precondition::Send };
    let Some(since) = parse_date(line, now_ms) else { return Precondition::Send };
    let read = |text: Option<&[u8]>| text.and_then(|text| parse_date(text, now_ms));
    let modified = match stored.last_modified {
        Some(text) => parse_date(text, now_ms),
        None => Some(read(stored.date).unwrap_or(received_s)),
    };
    match modified {
        Some(modified) if modified <= since => Precondition::NotModified,
        _ => Precondition::Send,
    }
}

/// Whether a `Range` may be honoured: there is no `If-Range`, or it names this very version (RFC 9110
/// §13.1.5).
pub fn may_send_range(request: &Fields, stored: &Validators<'_>, now_ms: u64) -> bool {
    let Some(value) = lines(request, b"if-range").next() else { return true };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return match (EntityTag::read(value), stored.etag.and_then(EntityTag::read)) {
            (Some(asked), Some(stored)) => asked.equals_strongly(&stored),
            _ => false,
        };
    }
    // A date must be the very same, and strong: "earlier than" is not enough here.
    let strong = stored.strong_last_modified(now_ms).and_then(|text| parse_date(text, now_ms));
    strong.is_some() && parse_date(value, now_ms) == strong
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
    const NEWER: &[u8] = b"Sun, 06 Nov 1994 09:49:37 GMT";

    fn request(pairs: &[(&str, &[u8])]) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.push(name.as_bytes(), value);
        }
        fields
    }

    fn stored() -> Validators<'static> {
        Validators { etag: Some(b"\"a\""), last_modified: Some(OLD), date: Some(NEWER) }
    }

    fn is_304(pairs: &[(&str, &[u8])], stored: &Validators<'_>) -> bool {
        precondition(&request(pairs), stored, 800_000_000, 0) == Precondition::NotModified
    }

    #[test]
    fn tags_are_compared_weakly() {
        for value in [&b"\"a\""[..], b"W/\"a\"", b"\"b\", \"a\"", b"*", b" *"] {
            assert!(is_304(&[("If-None-Match", value)], &stored()), "{value:?}");
        }
        for value in [&b"\"b\""[..], b"a", b"", b"\"*\""] {
            assert!(!is_304(&[("If-None-Match", value)], &stored()), "{value:?}");
        }
        assert!(is_304(&[("If-None-Match", b"\"b\""), ("if-none-match", b"\"a\"")], &stored()));
    }

    #[test]
    fn tags_go_before_dates() {
        assert!(!is_304(&[("If-None-Match", b"\"b\""), ("If-Modified-Since", NEWER)], &stored()));
        assert!(is_304(&[("If-None-Match", b"\"a\""), ("If-Modified-Since", b"x")], &stored()));
    }

    #[test]
    fn dates_are_compared_with_the_last_change_or_what_stands_for_it() {
        assert!(is_304(&[("If-Modified-Since", OLD)], &stored()));
        assert!(is_304(&[("If-Modified-Since", NEWER)], &stored()));
        assert!(!is_304(&[("If-Modified-Since", b"Sun, 06 Nov 1994 08:49:36 GMT")], &stored()));
        assert!(!is_304(&[("If-Modified-Since", b"yesterday")], &stored()));
        assert!(!is_304(&[("If-Modified-Since", NEWER), ("If-Modified-Since", NEWER)], &stored()));
        let undated = Validators::default();
        assert!(!is_304(&[("If-Modified-Since", NEWER)], &undated));
        let dated = Validators { date: Some(OLD), ..undated };
        assert!(is_304(&[("If-Modified-Since", NEWER)], &dated));
        let broken = Validators { last_modified: Some(b"x"), ..dated };
        assert!(!is_304(&[("If-Modified-Since", NEWER)], &broken));
    }

    #[test]
    fn a_range_needs_the_same_version_strongly() {
        let may = |value: &[u8], stored: &Validators<'_>| {
            may_send_range(&request(&[("If-Range", value)]), stored, 0)
        };
        assert!(may(b"\"a\"", &stored()));
        assert!(!may(b"W/\"a\"", &stored()));
        assert!(!may(b"\"b\"", &stored()));
        assert!(may(OLD, &stored()));
        assert!(!may(NEWER, &stored()));
        assert!(!may(b"", &stored()));
        let weak = Validators { etag: Some(b"W/\"a\""), ..stored() };
        assert!(!may(b"\"a\"", &weak));
        let fast = Validators { date: Some(OLD), ..stored() };
        assert!(!may(OLD, &fast));
        assert!(may_send_range(&Fields::new(), &stored(), 0));
    }
}
