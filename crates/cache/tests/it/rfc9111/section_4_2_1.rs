//! §4.2.1: calculating freshness lifetime.

use cache::policy::{FetchTimes, ResponseControl, Source, freshness};

use crate::desk::{Desk, answer, controlled};

fn lifetime(fields: &[(&str, &str)]) -> Option<u32> {
    let mut desk = Desk::new();
    let mut first = answer(200, fields);
    first.fields.push(b"ETag", b"\"a\"");
    desk.get(&[], first);
    desk.stored().map(|meta| meta.lifetime_s)
}

#[test]
fn the_shared_lifetime_goes_before_max_age_before_expires() {
    let desk = Desk::new();
    let (now, later) = (desk.date(0), desk.date(100));
    let expires = [("Date", &*now), ("Expires", &*later)];
    assert_eq!(lifetime(&expires), Some(100));
    let both = [("Date", &*now), ("Expires", &*later), ("Cache-Control", "max-age=50")];
    assert_eq!(lifetime(&both), Some(50));
    assert_eq!(lifetime(&[("Cache-Control", "max-age=50, s-maxage=20")]), Some(20));
    assert_eq!(lifetime(&[("Cache-Control", "s-maxage=20"), ("Cache-Control", "max-age=50")]), Some(20));
}

#[test]
fn a_lifetime_that_cannot_be_read_is_stale() {
    for value in ["max-age=-1", "max-age=1.5", "max-age=a", "max-age=3600a", "max-age='3600'", "max-age="] {
        assert_eq!(lifetime(&[("Cache-Control", value)]), Some(0), "{value}");
    }
}

#[test]
fn lifetimes_in_quotes_and_with_zeros_are_read() {
    assert_eq!(lifetime(&[("Cache-Control", "max-age=\"3600\"")]), Some(3600));
    assert_eq!(lifetime(&[("Cache-Control", "Max-Age=003600")]), Some(3600));
    assert_eq!(lifetime(&[("Cache-Control", "max-age=99999999999")]), Some(1 << 31));
}

#[test]
fn the_first_of_two_lifetimes_counts() {
    assert_eq!(lifetime(&[("Cache-Control", "max-age=1, max-age=3600")]), Some(1));
    assert_eq!(lifetime(&[("Cache-Control", "max-age=3600"), ("Cache-Control", "max-age=1")]), Some(3600));
}

#[test]
fn a_lifetime_in_another_directives_quotes_is_none() {
    let mut desk = Desk::new();
    assert!(!desk.is_reused(controlled("x=\"max-age=3600\"")));
    let answer = controlled("x=\"a, max-age=3600\"");
    let control = ResponseControl::read(&answer.fields);
    let times = FetchTimes::default();
    let fresh = freshness(200, &answer.fields, &control, None, &desk.settings, &times);
    assert_eq!(fresh.source, Source::Nobody);
}
