//! A visitor's answer out of what is stored: 200, 206, 304 or 416, its head, and which bytes follow.
//!
//! Preconditions before ranges (RFC 9110 §13.2.2). The body is storage's; here is said which part of it is
//! sent. Called on a hit, and on a fill once the head is there. Read next: [`answer_from`].

use exchange::{BodySize, Fields, Known, Response};

use super::conditional::{Precondition, may_send_range, precondition};
use super::range::{ByteRange, Multipart, RangePlan, plan_range, push_number};
use super::request::Asked;
use super::settings::{BrowserLifetime, Settings};
use super::stored::{Metadata, StoredHead, Traits};
use super::storing::{ToStore, UnkeptField, is_for_this_cache};
use super::words::Members;

/// Which bytes of the stored body follow the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sending {
    /// None.
    Nothing,
    /// All.
    Whole,
    /// These.
    Range(ByteRange),
    /// These with texts around them.
    Parts(Multipart),
}

/// Fills `out` with the answer to `asked` from a stored head; says which bytes follow.
///
/// `meta.body_bytes` is the length of the whole body, if it is known yet: without it, ranges are ignored.
/// `seed` is random, for the boundary of several ranges.
pub fn answer_from(
    asked: &Asked,
    head: &StoredHead,
    meta: &Metadata,
    settings: &Settings,
    now_ms: u64,
    seed: u128,
    out: &mut Response,
) -> Sending {
    let body_bytes = meta.body_bytes;
    head.unpack_into(out);
    out.declared_length = None;
    if meta.traits.has(Traits::HAS_OWN_FIELDS) {
        strip_own(&mut out.fields);
    }
    let age_s = meta.age_s(now_ms);
    push_seconds(&mut out.fields, b"Age", u64::from(age_s));
    rewrite_browser(&mut out.fields, settings.browser_lifetime(meta.status), age_s);
    let is_success = (200..300).contains(&meta.status);
    let has_conditions = !asked.conditions.is_empty();
    if is_success && has_conditions {
        let validators = head.validators();
        let received_s = meta.received_ms / 1000;
        if precondition(&asked.conditions, &validators, received_s, now_ms) == Precondition::NotModified {
            become_not_modified(out);
            return Sending::Nothing;
        }
    }
    let whole = |out: &mut Response| {
        out.body = body_bytes.map_or(BodySize::Unknown, BodySize::of_length);
        if meta.status == 204 || body_bytes == Some(0) {
            out.body = BodySize::None;
            return Sending::Nothing;
        }
        Sending::Whole
    };
    if asked.is_head {
        out.body = BodySize::None;
        out.declared_length = body_bytes.filter(|_| meta.status != 204);
        return Sending::Nothing;
    }
    let (Some(asked_ranges), Some(length), 200) = (&asked.ranges, body_bytes, meta.status) else {
        return whole(out);
    };
    if has_conditions && !may_send_range(&asked.conditions, &head.validators(), now_ms) {
        return whole(out);
    }
    match plan_range(asked_ranges, length) {
        RangePlan::Whole => whole(out),
        RangePlan::Single(range) => {
            become_status(out, 206);
            out.fields.set(b"Content-Range", &range.content_range(Some(length)));
            out.body = BodySize::of_length(range.bytes_len());
            Sending::Range(range)
        }
        RangePlan::Multiple(ranges) => {
            become_status(out, 206);
            let multipart = Multipart::of(&ranges, length, out.fields.known(Known::ContentType), seed);
            out.fields.remove(b"content-range");
            out.fields.set(b"Content-Type", &multipart.content_type);
            out.body = BodySize::of_length(multipart.bytes_len());
            Sending::Parts(multipart)
        }
        RangePlan::Unsatisfiable => {
            become_status(out, 416);
            drop_representation(&mut out.fields);
            let mut value = b"bytes */".to_vec();
            push_number(&mut value, length);
            out.fields.set(b"Content-Range", &value);
            out.body = BodySize::None;
            Sending::Nothing
        }
    }
}

/// Makes an answer out of what was just fetched or renewed that of the visitor whose fetch it was: with the
/// fields that are not stored, and without an `Age` of 0, which would say that it was not made or validated
/// for this very request (RFC 9111 §5.1). Never for who waited for the fetch, or comes later.
pub fn give_unkept(stored: &ToStore, now_ms: u64, out: &mut Response) {
    if stored.meta.age_s(now_ms) == 0 {
        out.fields.remove_known(Known::Age);
    }
    // What was written here, of a range or for browsers, stays; a 304 and a 416 speak of no content.
    let has_content = !matches!(out.status, 304 | 416);
    let is_given =
        |(name, _): &&UnkeptField| out.fields.value(name).is_none() && (has_content || !is_of_content(name));
    let given: Vec<_> = stored.unkept.iter().filter(is_given).collect();
    given.into_iter().for_each(|(name, value)| out.fields.push(name, value));
}

/// Takes out the fields for this cache alone. Also for what passes unstored.
pub fn strip_own(fields: &mut Fields) {
    fields.retain(|field| field.known != Known::Other || !is_for_this_cache(field.name));
}

fn become_status(out: &mut Response, status: u16) {
    out.status = status;
    out.reason.clear();
}

/// 304 has the fields that a stored answer is renewed by, and nothing that speaks of a body (RFC 9110
/// §15.4.5).
fn become_not_modified(out: &mut Response) {
    become_status(out, 304);
    drop_representation(&mut out.fields);
    out.body = BodySize::None;
}

/// Takes out what speaks of content that is not sent.
fn drop_representation(fields: &mut Fields) {
    fields.retain(|field| !is_of_content(field.name));
}

/// Whether a field speaks of the content; `Content-Location` speaks of the resource.
fn is_of_content(name: &[u8]) -> bool {
    let others: [&[u8]; 3] =
        [b"content-location", b"content-security-policy", b"content-security-policy-report-only"];
    name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
        && !others.iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn push_seconds(fields: &mut Fields, name: &[u8], seconds: u64) {
    fields.push(name, itoa::Buffer::new().format(seconds).as_bytes());
}

/// Tells browsers the zone's lifetime in place of the origin's. Also for what passes unstored, with an age
/// of 0.
///
/// `Age` is true, so what browsers are told counts from it: `max-age` is the lifetime and the age together.
/// An answer that says `no-store`, `private` or `no-cache` keeps its word.
pub fn rewrite_browser(fields: &mut Fields, browser: BrowserLifetime, age_s: u32) {
    let BrowserLifetime::Seconds(seconds) = browser else { return };
    let control = super::control::ResponseControl::read(fields);
    if control.no_store || control.private.is_whole() || control.no_cache.is_whole() {
        return;
    }
    let mut value = b"max-age=".to_vec();
    push_number(&mut value, u64::from(seconds) + u64::from(age_s));
    for line in super::words::lines(fields, b"cache-control") {
        for member in Members::of(line) {
            let is_max_age = member.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"max-age"));
            if !is_max_age {
                value.extend_from_slice(b", ");
                value.extend_from_slice(member);
            }
        }
    }
    fields.set(b"Cache-Control", &value);
    fields.remove(b"expires");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::range::parse_range;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    struct Shot {
        answer: Response,
        sending: Sending,
    }

    fn shoot(asked: &Asked, meta: &Metadata, length: Option<u64>, settings: &Settings) -> Shot {
        let mut kept = Response { status: meta.status, ..Response::default() };
        for (name, value) in [
            ("Content-Type", "text/plain"),
            ("Content-Security-Policy", "default-src 'self'"),
            ("ETag", "\"a\""),
            ("Date", DATE),
            ("Cache-Control", "max-age=60, s-maxage=600"),
            ("Expires", DATE),
        ] {
            kept.fields.push(name.as_bytes(), value.as_bytes());
        }
        let head = StoredHead::pack(&kept, |_| true).expect("it is small");
        let mut answer = Response::default();
        let meta = Metadata { body_bytes: length, ..*meta };
        let sending = answer_from(asked, &head, &meta, settings, 10_000, 1, &mut answer);
        Shot { answer, sending }
    }

    fn meta() -> Metadata {
        Metadata { status: 200, received_ms: 3_000, initial_age_s: 1, lifetime_s: 60, ..Metadata::default() }
    }

    fn asked(ranges: &str, conditions: &[(&str, &str)]) -> Asked {
        let mut asked = Asked { ranges: parse_range(ranges.as_bytes()), ..Asked::default() };
        for (name, value) in conditions {
            asked.conditions.push(name.as_bytes(), value.as_bytes());
        }
        asked
    }

    fn plain(asked: &Asked) -> Shot {
        shoot(asked, &meta(), Some(10), &Settings::default())
    }

    fn value<'a>(shot: &'a Shot, name: &str) -> Option<&'a str> {
        shot.answer.fields.value(name.as_bytes()).map(|v| std::str::from_utf8(v).expect("it is text"))
    }

    #[test]
    fn a_whole_answer_has_its_true_age_and_length() {
        let shot = plain(&Asked::default());
        assert_eq!((shot.answer.status, shot.sending.clone()), (200, Sending::Whole));
        assert_eq!((value(&shot, "Age"), shot.answer.body), (Some("8"), BodySize::Length(10)));
        assert_eq!(value(&shot, "Date"), Some(DATE));
    }

    #[test]
    fn head_says_the_length_and_sends_nothing() {
        let shot = plain(&Asked { is_head: true, ..Asked::default() });
        assert_eq!((shot.sending, shot.answer.body), (Sending::Nothing, BodySize::None));
        assert_eq!(shot.answer.declared_length, Some(10));
    }

    #[test]
    fn not_modified_speaks_of_no_content() {
        let shot = plain(&asked("bytes=0-1", &[("If-None-Match", "\"a\"")]));
        assert_eq!((shot.answer.status, &shot.sending), (304, &Sending::Nothing));
        assert_eq!(value(&shot, "Content-Type"), None);
        assert_eq!(value(&shot, "ETag"), Some("\"a\""));
        assert!(value(&shot, "Content-Security-Policy").is_some());
        assert_eq!(value(&shot, "Age"), Some("8"));
    }

    #[test]
    fn preconditions_are_for_successes_only() {
        let missing = Metadata { status: 404, ..meta() };
        let asked = asked("bytes=0-1", &[("If-None-Match", "\"a\"")]);
        let shot = shoot(&asked, &missing, Some(10), &Settings::default());
        assert_eq!((shot.answer.status, shot.sending), (404, Sending::Whole));
    }

    #[test]
    fn a_range_is_cut_out_of_the_whole() {
        let shot = plain(&asked("bytes=2-5", &[]));
        assert_eq!(shot.answer.status, 206);
        assert_eq!(shot.sending, Sending::Range(ByteRange { first: 2, last: 5 }));
        assert_eq!(value(&shot, "Content-Range"), Some("bytes 2-5/10"));
        assert_eq!(shot.answer.body, BodySize::Length(4));
    }

    #[test]
    fn several_ranges_are_parts() {
        let shot = plain(&asked("bytes=0-0, 5-6", &[]));
        let Sending::Parts(parts) = &shot.sending else { panic!("{:?}", shot.sending) };
        assert_eq!(parts.parts.len(), 2);
        assert_eq!(shot.answer.body, BodySize::Length(parts.bytes_len()));
        assert!(
            value(&shot, "Content-Type").is_some_and(|t| t.starts_with("multipart/byteranges; boundary="))
        );
        assert_eq!(value(&shot, "Content-Range"), None);
    }

    #[test]
    fn a_range_outside_is_refused_with_the_length() {
        let shot = plain(&asked("bytes=10-", &[]));
        assert_eq!((shot.answer.status, &shot.sending), (416, &Sending::Nothing));
        assert_eq!(value(&shot, "Content-Range"), Some("bytes */10"));
        assert_eq!(value(&shot, "Content-Type"), None);
    }

    #[test]
    fn if_range_of_another_version_and_an_unknown_length_give_the_whole() {
        let shot = plain(&asked("bytes=0-1", &[("If-Range", "\"b\"")]));
        assert_eq!((shot.answer.status, shot.sending), (200, Sending::Whole));
        let same = plain(&asked("bytes=0-1", &[("If-Range", "\"a\"")]));
        assert_eq!(same.answer.status, 206);
        let filling = shoot(&asked("bytes=0-1", &[]), &meta(), None, &Settings::default());
        assert_eq!((filling.answer.status, filling.answer.body), (200, BodySize::Unknown));
    }

    #[test]
    fn browsers_are_told_the_zones_lifetime_from_now() {
        let settings = Settings { browser: BrowserLifetime::Seconds(100), ..Settings::default() };
        let shot = shoot(&Asked::default(), &meta(), Some(10), &settings);
        assert_eq!(value(&shot, "Cache-Control"), Some("max-age=108, s-maxage=600"));
        assert_eq!(value(&shot, "Expires"), None);
        let by_status =
            Settings { browser_by_status: vec![(200..=299, 7), (200..=200, 9)], ..settings.clone() };
        let shot = shoot(&asked("", &[("If-None-Match", "\"a\"")]), &meta(), Some(10), &by_status);
        assert_eq!(
            (shot.answer.status, value(&shot, "Cache-Control")),
            (304, Some("max-age=15, s-maxage=600"))
        );
        let missing = shoot(&Asked::default(), &Metadata { status: 404, ..meta() }, Some(10), &by_status);
        assert_eq!(value(&missing, "Cache-Control"), Some("max-age=108, s-maxage=600"));
        let mut fields = Fields::new();
        fields.push(b"Cache-Control", b"private, max-age=5");
        rewrite_browser(&mut fields, settings.browser, 0);
        assert_eq!(fields.value(b"cache-control"), Some(&b"private, max-age=5"[..]));
    }
}
