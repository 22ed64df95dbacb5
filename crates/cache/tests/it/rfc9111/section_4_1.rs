//! §4.1: calculating cache keys with the Vary header field.

use cache::policy::{NotStored, Settings};
use exchange::Known;

use crate::desk::{Desk, Origin, answer, request};

fn varied(vary: &str, name: &str) -> exchange::Response {
    answer(200, &[("Cache-Control", "max-age=60"), ("Vary", vary), ("X-Answer", name)])
}

#[test]
fn requests_that_match_share_and_others_do_not() {
    let mut desk = Desk::new();
    desk.get(&[("Foo", "1")], varied("Foo", "one"));
    assert!(desk.again(&[("foo", "1")]).is_hit());
    assert!(!desk.get(&[("Foo", "2")], varied("Foo", "two")).is_hit());
    assert!(!desk.get(&[], varied("Foo", "none")).is_hit());
    for (fields, expected) in [(&[("Foo", "1")][..], "one"), (&[("Foo", "2")], "two"), (&[], "none")] {
        let seen = desk.again(fields);
        assert!(seen.is_hit());
        assert_eq!(seen.value("X-Answer"), Some(expected));
    }
}

#[test]
fn all_fields_named_must_match() {
    let mut desk = Desk::new();
    desk.get(&[("Foo", "1"), ("Bar", "a")], varied("Foo, Bar", "one"));
    assert!(desk.again(&[("Bar", "a"), ("Foo", "1")]).is_hit());
    assert!(!desk.get(&[("Foo", "1")], varied("Foo, Bar", "two")).is_hit());
    assert!(!desk.get(&[("Foo", "1"), ("Bar", "b")], varied("Foo, Bar", "three")).is_hit());
}

#[test]
fn a_star_matches_nothing() {
    for vary in ["*", "Foo, *", "*, Foo"] {
        let seen = Desk::new().get(&[], varied(vary, "one"));
        assert_eq!(seen.not_stored, Some(NotStored::Vary), "{vary}");
    }
}

#[test]
fn white_space_and_lines_are_normalised() {
    let mut desk = Desk::new();
    desk.get(&[("Foo", "1, 2")], varied("Foo", "one"));
    assert!(desk.again(&[("Foo", "1,2")]).is_hit());
    assert!(desk.again(&[("Foo", "1"), ("Foo", "2")]).is_hit());
    assert!(!desk.get(&[("Foo", "2, 1")], varied("Foo", "two")).is_hit());
}

#[test]
fn the_case_of_languages_is_normalised() {
    let mut desk = Desk::new();
    desk.get(&[("Accept-Language", "en-US")], varied("Accept-Language", "one"));
    assert!(desk.again(&[("Accept-Language", "EN-us")]).is_hit());
    assert!(!desk.get(&[("Accept-Language", "de")], varied("Accept-Language", "two")).is_hit());
}

#[test]
fn codings_are_normalised_and_the_origin_is_asked_for_them_in_one_form() {
    let mut desk = Desk::new();
    let seen = desk.get(&[("Accept-Encoding", "gzip, deflate;q=0.5, br")], varied("Accept-Encoding", "one"));
    assert_eq!(seen.asked("Accept-Encoding"), Some("br, gzip"));
    assert!(desk.again(&[("Accept-Encoding", "br;q=0.9, gzip")]).is_hit());
    assert!(!desk.get(&[], varied("Accept-Encoding", "two")).is_hit());
}

#[test]
fn an_answer_that_varies_differently_does_not_hide_the_others() {
    let mut desk = Desk::new();
    desk.get(&[("Foo", "1")], varied("Foo", "foo"));
    desk.get(&[("Foo", "2"), ("Bar", "b")], varied("Bar", "bar"));
    assert_eq!(desk.again(&[("Foo", "1")]).value("X-Answer"), Some("foo"));
    assert_eq!(desk.again(&[("Foo", "3"), ("Bar", "b")]).value("X-Answer"), Some("bar"));
}

#[test]
fn fields_that_the_edge_writes_for_each_visitor_choose_nothing() {
    for vary in ["X-Forwarded-For", "Accept, forwarded"] {
        assert_eq!(Desk::new().get(&[], varied(vary, "one")).not_stored, Some(NotStored::Vary), "{vary}");
    }
}

#[test]
fn a_field_that_the_origin_is_not_sent_chooses_nothing() {
    let mut settings = Settings::default();
    settings.key.headers = vec![b"X-Tenant"[..].into()];
    let mut desk = Desk::with(settings);
    for name in ["Accept-Language", "X-Tenant"] {
        let mut named = request("GET", "/", &[]);
        // `http1` marks what Connection names.
        named.fields.push_known(name.as_bytes(), b"fr", Known::Other, true);
        let seen = desk.send(named, Origin::Answers(varied("Accept-Language", "of none")));
        assert!(seen.is_hit() || seen.asked(name).is_none());
    }
    assert_eq!(desk.again(&[]).value("X-Answer"), Some("of none"));
    for name in ["Accept-Language", "X-Tenant"] {
        assert!(!desk.get(&[(name, "fr")], varied("Accept-Language", "of French")).is_hit(), "{name}");
    }
}

#[test]
fn what_the_zone_keys_is_not_a_variant() {
    let mut settings = Settings::default();
    settings.key.headers = vec![b"X-Tenant"[..].into()];
    let mut desk = Desk::with(settings);
    let plain = |name| answer(200, &[("Cache-Control", "max-age=60"), ("X-Answer", name)]);
    desk.get(&[("X-Tenant", "a")], plain("a"));
    assert!(!desk.get(&[("X-Tenant", "b")], plain("b")).is_hit());
    assert_eq!(desk.again(&[("X-Tenant", "a")]).value("X-Answer"), Some("a"));
}
