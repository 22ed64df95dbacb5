//! Large objects in slices: a range of a 10 GB file neither fetches nor stores the rest.
//!
//! A sliced object is a head without a body, and slices of equal length, each stored under a key of its own
//! that holds the version ([`super::key::Key::with_slice`]): slices of two versions cannot meet even if
//! storage wished it. A version is a strong `ETag`, or a strong `Last-Modified` where there is no tag;
//! without one nothing is sliced (RFC 9110 §15.3.7.3, RFC 9111 §3.4). Called by the edge on a range that is
//! not stored. Read next: [`first_request`], then [`read_first`].

use exchange::{Fields, Response};

use super::range::{AskedRange, ByteRange, parse_content_range};
use super::validator::Validators;
use super::words::lines;

/// What tells the slices of one version from another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The validator, as sent.
    text: Box<[u8]>,
    is_tag: bool,
}

impl Version {
    /// The version of an answer or a stored head; none without a strong validator.
    pub fn of(validators: &Validators<'_>, now_ms: u64) -> Option<Self> {
        if let Some(tag) = validators.etag {
            let tag = validators.strong_etag().filter(|strong| *strong == tag)?;
            return Some(Self { text: tag.into(), is_tag: true });
        }
        let date = validators.strong_last_modified(now_ms)?;
        Some(Self { text: date.into(), is_tag: false })
    }

    /// For the key of a slice.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

/// A sliced object: its length, that of its slices, and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sliced {
    /// Bytes of the whole.
    pub whole: u64,
    /// Bytes of each slice but the last; at least one.
    pub slice_bytes: u64,
    /// The version all slices are of.
    pub version: Version,
}

impl Sliced {
    /// The bytes of slice `number`; none behind the end.
    pub fn range_of(&self, number: u64) -> Option<ByteRange> {
        let first = number.checked_mul(self.slice_bytes)?;
        let last = first.saturating_add(self.slice_bytes - 1).min(self.whole.checked_sub(1)?);
        (first <= last).then_some(ByteRange { first, last })
    }

    /// The slices that hold `range`, in order, and which bytes of each: offsets within the slice.
    pub fn needed(&self, range: ByteRange) -> impl Iterator<Item = (u64, ByteRange)> {
        let slice_bytes = self.slice_bytes.max(1);
        let (first, last) = (range.first / slice_bytes, range.last / slice_bytes);
        (first..=last).map(move |number| {
            let start = number.saturating_mul(slice_bytes);
            let from = range.first.max(start) - start;
            let to = range.last.min(start.saturating_add(slice_bytes - 1)) - start;
            (number, ByteRange { first: from, last: to })
        })
    }

    /// Sets the fields of the request for one slice: its `Range`, on condition that the version is still
    /// this one.
    ///
    /// `If-Match` (or `If-Unmodified-Since`) rather than `If-Range`: when the version has changed, 412
    /// costs nothing, where a whole 200 of 10 GB would have to be cut off.
    pub fn prepare(&self, number: u64, fields: &mut Fields) {
        let Some(range) = self.range_of(number) else { return };
        fields.set(b"Range", &range_value(range));
        let condition: &[u8] = if self.version.is_tag { b"If-Match" } else { b"If-Unmodified-Since" };
        fields.set(condition, &self.version.text);
    }

    /// Judges the answer to the request for slice `number`.
    pub fn read(&self, number: u64, answer: &Response, now_ms: u64) -> SliceAnswer {
        match answer.status {
            206 => {}
            // The condition failed, or what was there is gone or shorter.
            412 | 416 | 404 | 410 => return SliceAnswer::OtherVersion,
            200..=299 => return SliceAnswer::OtherVersion,
            status => return SliceAnswer::Failed(status),
        }
        let part = lines(&answer.fields, b"content-range").next().and_then(parse_content_range);
        let is_expected = part.is_some_and(|(range, whole)| {
            Some(range) == self.range_of(number) && whole.is_none_or(|whole| whole == self.whole)
        });
        let version = Version::of(&Validators::of(&answer.fields), now_ms);
        // A 206 must carry the validator (RFC 9110 §15.3.7); one that does not cannot be trusted to match.
        if is_expected && version.as_ref() == Some(&self.version) && is_plain(answer) {
            SliceAnswer::Slice
        } else {
            SliceAnswer::OtherVersion
        }
    }
}

/// What an answer to the request for one slice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceAnswer {
    /// The slice.
    Slice,
    /// The object has changed: head and slices are stale. A visitor who has had no byte yet is served anew;
    /// one who has is cut off, so that it never gets bytes of two versions.
    OtherVersion,
    /// The origin failed with this status.
    Failed(u16),
}

/// Not several parts in one answer.
fn is_plain(answer: &Response) -> bool {
    let content_type = answer.fields.known(exchange::Known::ContentType).unwrap_or_default();
    !content_type.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/"))
}

fn range_value(range: ByteRange) -> Vec<u8> {
    let mut value = b"bytes=".to_vec();
    super::range::push_number(&mut value, range.first);
    value.push(b'-');
    super::range::push_number(&mut value, range.last);
    value
}

/// The range of the first request for an object of which nothing is known: the slice in which the visitor's
/// first range begins; for a suffix the first slice, which tells how long the whole is. None where it lies
/// beyond any offset.
pub fn first_request(asked: &[AskedRange], slice_bytes: u64) -> Option<(u64, ByteRange)> {
    let slice_bytes = slice_bytes.max(1);
    let first = match asked.first()? {
        AskedRange::From(first, _) => *first,
        AskedRange::Suffix(_) => 0,
    };
    let number = first / slice_bytes;
    let start = number.checked_mul(slice_bytes)?;
    Some((number, ByteRange { first: start, last: start.checked_add(slice_bytes - 1)? }))
}

/// Sets the fields of the first request.
pub fn prepare_first(range: ByteRange, fields: &mut Fields) {
    fields.set(b"Range", &range_value(range));
}

/// What the answer to the first request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstAnswer {
    /// 206 with a strong validator and the whole length: a sliced object, and its slice.
    Sliced(Sliced),
    /// 206 with all there is: a whole answer, of this many bytes.
    Whole(u64),
    /// 206 that cannot be sliced: what was asked for is fetched again by the visitor's own range, and passed.
    NotSliced,
    /// Anything else, 200 included: it is an answer like others.
    Other,
}

/// Judges the answer to the first request, for `range`.
pub fn read_first(range: ByteRange, slice_bytes: u64, answer: &Response, now_ms: u64) -> FirstAnswer {
    if answer.status != 206 {
        return FirstAnswer::Other;
    }
    let part = lines(&answer.fields, b"content-range").next().and_then(parse_content_range);
    let Some((sent, Some(whole))) = part else { return FirstAnswer::NotSliced };
    if sent.bytes_len() == whole && is_plain(answer) {
        return FirstAnswer::Whole(whole);
    }
    let Some(version) = Version::of(&Validators::of(&answer.fields), now_ms) else {
        return FirstAnswer::NotSliced;
    };
    let expected_last = range.last.min(whole.saturating_sub(1));
    if sent.first != range.first || sent.last != expected_last || !is_plain(answer) {
        return FirstAnswer::NotSliced;
    }
    FirstAnswer::Sliced(Sliced { whole, slice_bytes, version })
}

/// The head of the whole of `whole_bytes` that a 206 describes: 200, without `Content-Range`. It is judged
/// and stored as any other (`storing.rs`), with [`super::stored::Traits::SLICED`].
pub fn whole_head(answer: &Response, whole_bytes: u64) -> Response {
    let mut whole = answer.clone();
    whole.status = 200;
    whole.reason.clear();
    whole.fields.remove(b"content-range");
    whole.body = exchange::BodySize::of_length(whole_bytes);
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::range::parse_range;

    fn answer(status: u16, pairs: &[(&str, &str)]) -> Response {
        let mut answer = Response { status, ..Response::default() };
        for (name, value) in pairs {
            answer.fields.push(name.as_bytes(), value.as_bytes());
        }
        answer
    }

    fn first(ranges: &str) -> Option<(u64, ByteRange)> {
        first_request(&parse_range(ranges.as_bytes()).expect("it is a range"), 100)
    }

    fn sliced() -> Sliced {
        let range = ByteRange { first: 200, last: 299 };
        let answer = answer(206, &[("Content-Range", "bytes 200-249/250"), ("ETag", "\"a\"")]);
        match read_first(range, 100, &answer, 0) {
            FirstAnswer::Sliced(sliced) => sliced,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_request_is_for_the_slice_the_range_begins_in() {
        assert_eq!(first("bytes=250-260"), Some((2, ByteRange { first: 200, last: 299 })));
        assert_eq!(first("bytes=0-1"), Some((0, ByteRange { first: 0, last: 99 })));
        assert_eq!(first("bytes=0-"), Some((0, ByteRange { first: 0, last: 99 })));
        assert_eq!(first("bytes=-5"), Some((0, ByteRange { first: 0, last: 99 })));
        assert_eq!(first("bytes=18446744073709551615-"), None);
    }

    #[test]
    fn without_a_strong_validator_or_a_length_nothing_is_sliced() {
        let range = ByteRange { first: 0, last: 99 };
        for pairs in [
            &[("Content-Range", "bytes 0-99/250")][..],
            &[("Content-Range", "bytes 0-99/250"), ("ETag", "W/\"a\"")],
            &[("Content-Range", "bytes 0-99/*"), ("ETag", "\"a\"")],
            &[("Content-Range", "bytes 0-98/250"), ("ETag", "\"a\"")],
            &[("ETag", "\"a\"")],
            &[
                ("Content-Range", "bytes 0-99/250"),
                ("ETag", "\"a\""),
                ("Content-Type", "multipart/byteranges"),
            ],
        ] {
            assert_eq!(read_first(range, 100, &answer(206, pairs), 0), FirstAnswer::NotSliced, "{pairs:?}");
        }
        assert_eq!(read_first(range, 100, &answer(200, &[]), 0), FirstAnswer::Other);
    }

    #[test]
    fn slices_are_asked_for_on_condition_of_the_version() {
        let mut fields = Fields::new();
        sliced().prepare(1, &mut fields);
        assert_eq!(fields.value(b"Range"), Some(&b"bytes=100-199"[..]));
        assert_eq!(fields.value(b"If-Match"), Some(&b"\"a\""[..]));
        sliced().prepare(2, &mut fields);
        assert_eq!(fields.value(b"Range"), Some(&b"bytes=200-249"[..]));
    }

    #[test]
    fn a_slice_of_another_version_is_none() {
        let good = answer(206, &[("Content-Range", "bytes 100-199/250"), ("ETag", "\"a\"")]);
        assert_eq!(sliced().read(1, &good, 0), SliceAnswer::Slice);
        for other in [
            answer(206, &[("Content-Range", "bytes 100-199/250"), ("ETag", "\"b\"")]),
            answer(206, &[("Content-Range", "bytes 100-199/251"), ("ETag", "\"a\"")]),
            answer(206, &[("Content-Range", "bytes 0-99/250"), ("ETag", "\"a\"")]),
            answer(206, &[("Content-Range", "bytes 100-199/250")]),
            answer(200, &[("ETag", "\"a\"")]),
            answer(412, &[]),
        ] {
            assert_eq!(sliced().read(1, &other, 0), SliceAnswer::OtherVersion);
        }
        assert_eq!(sliced().read(1, &answer(503, &[]), 0), SliceAnswer::Failed(503));
    }

    proptest! {
        #[test]
        fn slices_needed_cover_the_range_and_nothing_else(
            whole in 1u64..5000, slice_bytes in 1u64..700, a in 0u64..5000, b in 0u64..5000,
        ) {
            let sliced = Sliced { whole, slice_bytes, ..sliced() };
            let range = ByteRange { first: a.min(b) % whole, last: 0 };
            let range = ByteRange { last: range.first + (a.max(b) % (whole - range.first)), ..range };
            let mut at = range.first;
            for (number, within) in sliced.needed(range) {
                let slice = sliced.range_of(number).expect("it lies within");
                prop_assert_eq!(slice.first + within.first, at);
                prop_assert!(slice.first + within.last <= slice.last);
                at = slice.first + within.last + 1;
            }
            prop_assert_eq!(at, range.last + 1);
        }
    }
}
