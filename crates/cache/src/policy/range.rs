//! Ranges of bytes (RFC 9110 §14): what a visitor asked for, cut to what there is, and how the parts are
//! sent.
//!
//! A range that cannot be read is ignored, as the RFC allows; so is one that would cost more than the
//! whole. Called by `answer.rs` and `slices.rs`; does not look at `If-Range` (`conditional.rs`).

use super::words::{number, trim};
use crate::limits::RANGES_MAX;

/// Bytes from `first` up to and with `last`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub first: u64,
    /// Offset of the last byte, not before the first.
    pub last: u64,
}

impl ByteRange {
    /// How many bytes.
    pub fn bytes_len(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }

    /// `bytes 0-499/1234`, the value of `Content-Range`; `*` where the whole length is unknown.
    pub fn content_range(&self, whole: Option<u64>) -> Vec<u8> {
        let mut out = b"bytes ".to_vec();
        push_number(&mut out, self.first);
        out.push(b'-');
        push_number(&mut out, self.last);
        out.push(b'/');
        match whole {
            Some(whole) => push_number(&mut out, whole),
            None => out.push(b'*'),
        }
        out
    }
}

pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// One range as asked for, before the length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedRange {
    /// `first-last` or, without a last, `first-`.
    From(u64, Option<u64>),
    /// `-count`: the last so many bytes.
    Suffix(u64),
}

impl AskedRange {
    /// The bytes of `whole` it covers, if any.
    pub fn within(self, whole: u64) -> Option<ByteRange> {
        let last_byte = whole.checked_sub(1)?;
        match self {
            Self::From(first, last) => {
                let last = last.unwrap_or(last_byte).min(last_byte);
                (first <= last).then_some(ByteRange { first, last })
            }
            Self::Suffix(count) => {
                let first = whole.saturating_sub(count);
                (count > 0).then_some(ByteRange { first, last: last_byte })
            }
        }
    }
}

/// Reads a `Range` value: the ranges asked for, or none if it is to be ignored (another unit, not readable,
/// or more than [`RANGES_MAX`]).
pub fn parse_range(value: &[u8]) -> Option<Vec<AskedRange>> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let mut asked = Vec::new();
    for member in set.split(|byte| *byte == b',').map(trim) {
        if member.is_empty() {
            continue;
        }
        if asked.len() == RANGES_MAX {
            return None;
        }
        let dash = memchr::memchr(b'-', member)?;
        let (first, last) = (member.get(..dash)?, member.get(dash + 1..)?);
        asked.push(match (first, last) {
            (b"", count) => AskedRange::Suffix(number(count)?),
            (first, b"") => AskedRange::From(number(first)?, None),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return None;
                }
                AskedRange::From(first, Some(last))
            }
        });
    }
    (!asked.is_empty()).then_some(asked)
}

/// What of a whole is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RangePlan {
    /// 200: everything.
    Whole,
    /// 206 with `Content-Range`.
    Single(ByteRange),
    /// 206 as `multipart/byteranges`; at least two, none overlapping another.
    Multiple(Vec<ByteRange>),
    /// 416: nothing of what was asked for is there.
    Unsatisfiable,
}

/// Cuts what was asked for to a whole of `whole` bytes.
///
/// Ranges that overlap or touch become one, and then come in ascending order; others keep the order asked
/// for (RFC 9110 §15.3.7.2). Where together they are as long as the whole, the whole is cheaper for
/// everybody (§14.2).
pub fn plan_range(asked: &[AskedRange], whole: u64) -> RangePlan {
    let mut ranges: Vec<ByteRange> = asked.iter().filter_map(|range| range.within(whole)).collect();
    let asked_bytes = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.bytes_len()));
    let mut sorted = ranges.clone();
    sorted.sort_unstable_by_key(|range| range.first);
    let mut merged: Vec<ByteRange> = Vec::with_capacity(sorted.len());
    for range in &sorted {
        match merged.last_mut() {
            Some(before) if range.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(range.last);
            }
            _ => merged.push(*range),
        }
    }
    if merged.len() < ranges.len() {
        ranges = merged;
    }
    match ranges.as_slice() {
        [] => RangePlan::Unsatisfiable,
        [one] => RangePlan::Single(*one),
        _ if asked_bytes >= whole => RangePlan::Whole,
        _ => RangePlan::Multiple(ranges),
    }
}

/// Reads `Content-Range: bytes first-last/whole` of an answer; none if it is not readable or says nothing
/// of a part. The whole is none for `*`.
pub fn parse_content_range(value: &[u8]) -> Option<(ByteRange, Option<u64>)> {
    let (unit, rest) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let slash = memchr::memchr(b'/', rest)?;
    let (range, whole) = (trim(rest.get(..slash)?), trim(rest.get(slash + 1..)?));
    let dash = memchr::memchr(b'-', range)?;
    let (first, last) = (number(range.get(..dash)?)?, number(range.get(dash + 1..)?)?);
    let whole = match whole {
        b"*" => None,
        digits => Some(number(digits)?),
    };
    (first <= last && whole.is_none_or(|whole| last < whole)).then_some((ByteRange { first, last }, whole))
}

/// A `multipart/byteranges` body (RFC 9110 §14.6): texts around the parts, so that its length is known
/// before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    /// The text before each part, and the part.
    pub parts: Vec<(Vec<u8>, ByteRange)>,
    /// The text behind the last part.
    pub end: Vec<u8>,
    /// The value of `Content-Type`.
    pub content_type: Vec<u8>,
}

impl Multipart {
    /// Lays out `ranges` of a whole of `whole` bytes.
    ///
    /// `content_type` is the stored answer's, if it has one. The boundary is 32 hexadecimal digits of
    /// `seed`, which must be random: nobody who writes the content may guess it.
    pub fn of(ranges: &[ByteRange], whole: u64, content_type: Option<&[u8]>, seed: u128) -> Self {
        let mut boundary = Vec::with_capacity(32);
        for shift in (0..32).rev() {
            let digit = (seed >> (shift * 4)) as usize & 15;
            boundary.push(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
        }
        let mut parts = Vec::with_capacity(ranges.len());
        for (place, range) in ranges.iter().enumerate() {
            let mut text = Vec::with_capacity(160);
            text.extend_from_slice(if place == 0 { b"--" } else { b"\r\n--" });
            text.extend_from_slice(&boundary);
            if let Some(content_type) = content_type {
                text.extend_from_slice(b"\r\nContent-Type: ");
                text.extend_from_slice(content_type);
            }
            text.extend_from_slice(b"\r\nContent-Range: ");
            text.extend_from_slice(&range.content_range(Some(whole)));
            text.extend_from_slice(b"\r\n\r\n");
            parts.push((text, *range));
        }
        let mut end = b"\r\n--".to_vec();
        end.extend_from_slice(&boundary);
        end.extend_from_slice(b"--\r\n");
        let mut content_type = b"multipart/byteranges; boundary=".to_vec();
        content_type.extend_from_slice(&boundary);
        Self { parts, end, content_type }
    }

    /// Bytes of the body as a whole.
    pub fn bytes_len(&self) -> u64 {
        let parts = self.parts.iter().fold(0u64, |sum, (text, range)| {
            sum.saturating_add(text.len() as u64).saturating_add(range.bytes_len())
        });
        parts.saturating_add(self.end.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(value: &str, whole: u64) -> RangePlan {
        parse_range(value.as_bytes()).map_or(RangePlan::Whole, |asked| plan_range(&asked, whole))
    }

    fn range(first: u64, last: u64) -> ByteRange {
        ByteRange { first, last }
    }

    #[test]
    fn cuts_a_range_to_what_there_is() {
        for (value, expected) in [
            ("bytes=0-499", range(0, 499)),
            ("bytes=500-", range(500, 999)),
            ("bytes=-1", range(999, 999)),
            ("bytes=-5000", range(0, 999)),
            ("Bytes=990-5000", range(990, 999)),
            ("bytes= 0-0 ,", range(0, 0)),
            ("bytes=0-99999999999999999999999", range(0, 999)),
        ] {
            assert_eq!(plan(value, 1000), RangePlan::Single(expected), "{value}");
        }
    }

    #[test]
    fn ignores_what_it_cannot_read() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=1",
            "bytes=2-1",
            "bytes=a-b",
            "bytes=1-2-3",
            "items=0-1",
            "bytes=--1",
        ] {
            assert_eq!(plan(value, 1000), RangePlan::Whole, "{value}");
        }
        let many = format!("bytes={}", "0-0,".repeat(RANGES_MAX + 1));
        assert_eq!(plan(&many, 1000), RangePlan::Whole);
    }

    #[test]
    fn what_lies_outside_is_unsatisfiable_unless_something_lies_inside() {
        assert_eq!(plan("bytes=1000-", 1000), RangePlan::Unsatisfiable);
        assert_eq!(plan("bytes=-0", 1000), RangePlan::Unsatisfiable);
        assert_eq!(plan("bytes=0-", 0), RangePlan::Unsatisfiable);
        assert_eq!(plan("bytes=2000-, 0-1", 1000), RangePlan::Single(range(0, 1)));
    }

    #[test]
    fn overlapping_ranges_become_one_and_others_keep_their_order() {
        assert_eq!(plan("bytes=500-600, 0-9", 1000), RangePlan::Multiple(vec![range(500, 600), range(0, 9)]));
        assert_eq!(plan("bytes=5-20, 0-9", 1000), RangePlan::Single(range(0, 20)));
        assert_eq!(plan("bytes=0-9, 10-19", 1000), RangePlan::Single(range(0, 19)));
        assert_eq!(
            plan("bytes=50-60, 0-9, 55-70", 1000),
            RangePlan::Multiple(vec![range(0, 9), range(50, 70)])
        );
        assert_eq!(plan("bytes=0-899, 901-999, 0-899", 1000), RangePlan::Whole);
    }

    #[test]
    fn reads_what_an_origin_says_of_a_part() {
        assert_eq!(parse_content_range(b"bytes 0-9/100"), Some((range(0, 9), Some(100))));
        assert_eq!(parse_content_range(b"bytes 0-9/*"), Some((range(0, 9), None)));
        for value in
            [&b"bytes */100"[..], b"bytes 0-100/100", b"bytes 9-0/100", b"bytes=0-9/100", b"items 0-9/100"]
        {
            assert_eq!(parse_content_range(value), None);
        }
    }

    #[test]
    fn a_multipart_is_as_long_as_it_says() {
        let multipart = Multipart::of(&[range(0, 4), range(8, 9)], 10, Some(b"text/plain"), 7);
        let mut body = Vec::new();
        for (text, part) in &multipart.parts {
            body.extend_from_slice(text);
            body.extend_from_slice(&b"0123456789"[part.first as usize..=part.last as usize]);
        }
        body.extend_from_slice(&multipart.end);
        assert_eq!(body.len() as u64, multipart.bytes_len());
        let text = String::from_utf8(body).expect("it is text");
        assert!(text.starts_with("--00000000000000000000000000000007\r\nContent-Type: text/plain\r\n"));
        assert!(text.contains("Content-Range: bytes 8-9/10\r\n\r\n89\r\n--"));
    }

    proptest! {
        #[test]
        fn plans_lie_within_the_whole_and_do_not_overlap(
            value in "bytes=([0-9]{0,3}-[0-9]{0,3},? ?){1,6}", whole in 0u64..600,
        ) {
            match plan(&value, whole) {
                RangePlan::Multiple(ranges) => {
                    prop_assert!(ranges.len() > 1);
                    let mut seen = vec![false; whole as usize];
                    for range in ranges {
                        for at in range.first..=range.last {
                            prop_assert!(!std::mem::replace(&mut seen[at as usize], true));
                        }
                    }
                }
                RangePlan::Single(range) => prop_assert!(range.first <= range.last && range.last < whole),
                RangePlan::Whole | RangePlan::Unsatisfiable => {}
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..60), whole in any::<u64>()) {
            if let Some(asked) = parse_range(&bytes) {
                plan_range(&asked, whole);
            }
            parse_content_range(&bytes);
        }
    }
}
