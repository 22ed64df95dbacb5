//! Fuzzes the fields about caching: no panic, a restriction is never lost by what stands before it, dates
//! that are written read back, and a stored head comes back as it was. Read next:
//! `crates/cache/src/policy/control.rs`.
#![no_main]

use cache::policy::{
    Asked, FetchTimes, Metadata, RequestControl, ResponseControl, Restriction, Settings, StoredHead, Storing,
    Targeted, format_date, judge, parse_age, parse_date, read_tags,
};
use exchange::{Fields, Response};
use libfuzzer_sys::fuzz_target;

const NAMES: [&[u8]; 12] = [
    b"Cache-Control",
    b"CDN-Cache-Control",
    b"Surrogate-Control",
    b"Expires",
    b"Date",
    b"Age",
    b"Pragma",
    b"Last-Modified",
    b"ETag",
    b"Cache-Tag",
    b"Surrogate-Key",
    b"Link",
];

fuzz_target!(|bytes: &[u8]| {
    // Each line is a field; its first byte chooses the name.
    let mut answer = Response { status: 200, ..Response::default() };
    for line in bytes.split(|byte| *byte == b'\n').take(32) {
        let Some((name, value)) = line.split_first() else { continue };
        answer.fields.push(NAMES[usize::from(*name) % NAMES.len()], value);
    }
    let control = ResponseControl::read(&answer.fields);
    assert!(control.lifetime_s().is_none_or(|seconds| seconds <= 1 << 31));
    assert!(parse_age(&answer.fields) <= 1 << 31);
    let _ = (RequestControl::read(&answer.fields), read_tags(&answer.fields));
    for targeted in [Targeted::CdnCacheControl, Targeted::SurrogateControl] {
        let _ = targeted.read(&answer.fields);
    }
    // One that says nothing of storing must not take the place of a `Cache-Control` that does.
    let surrogate = Targeted::SurrogateControl.read(&answer.fields);
    assert!(surrogate.is_none_or(|said| {
        said.has_lifetime()
            || said.no_store
            || said.no_cache != Restriction::No
            || said.private != Restriction::No
    }));
    let mut restricted = Fields::new();
    let before: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b'"').take(200).collect();
    restricted.push(b"Cache-Control", &[&before, &b", no-store"[..]].concat());
    assert!(ResponseControl::read(&restricted).no_store);

    if let Some(seconds) = parse_date(bytes, 1_764_000_000_000) {
        assert_eq!(parse_date(&format_date(seconds), 0), Some(seconds));
    }
    let settings = Settings { guards_extensions: false, ..Settings::default() };
    let asked = Asked { may_store: true, ..Asked::default() };
    let times = FetchTimes { asked_ms: 1_000, answered_ms: 2_000, received_ms: 2_000 };
    if let Storing::Store(stored) = judge(&asked, b"/", &answer, &settings, &times) {
        assert_eq!(Metadata::from_numbers(&stored.meta.to_numbers()), stored.meta);
        let again = StoredHead::from_kept(stored.head.as_bytes().clone());
        assert_eq!(again.as_ref(), Some(&stored.head));
        assert!(!control.no_store || control.must_understand || answer.fields.len() > 1);
    }
    if let Some(head) = StoredHead::from_kept(bytes.to_vec().into()) {
        let _ = (head.unpack(), head.validators().strong_etag());
    }
});
