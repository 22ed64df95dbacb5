//! §3.2: updating stored header fields.

use cache::policy::NotStored;

use crate::desk::{Desk, answer, controlled};

fn stale_desk(more: &[(&str, &str)]) -> Desk {
    let mut desk = Desk::new();
    let mut first = answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"a\"")]);
    for (name, value) in more {
        first.fields.push(name.as_bytes(), value.as_bytes());
    }
    desk.get(&[], first);
    desk.wait_s(2);
    desk
}

#[test]
fn fields_of_a_304_take_the_place_of_stored_ones() {
    let mut desk =
        stale_desk(&[("X-Old", "1"), ("X-Both", "1"), ("X-Both", "2"), ("Content-Type", "text/a")]);
    let renewed = [
        ("Cache-Control", "max-age=60"),
        ("ETag", "\"a\""),
        ("X-Both", "3"),
        ("X-New", "4"),
        ("Content-Type", "text/b"),
    ];
    let seen = desk.get(&[], answer(304, &renewed));
    assert_eq!(seen.answer.status, 200);
    desk.wait_s(30);
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    for (name, value) in [("X-Old", "1"), ("X-Both", "3"), ("X-New", "4"), ("Content-Type", "text/b")] {
        assert_eq!(seen.value(name), Some(value), "{name}");
    }
    assert_eq!(seen.answer.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"x-both")).count(), 1);
}

#[test]
fn what_says_how_the_stored_body_is_read_stays() {
    let mut desk = stale_desk(&[("Content-Encoding", "gzip"), ("Content-Length", "10")]);
    let mut renewed = answer(304, &[("ETag", "\"a\""), ("Cache-Control", "max-age=60")]);
    for (name, value) in
        [("Content-Length", "36"), ("Content-Encoding", "br"), ("Content-Range", "bytes 0-1/2")]
    {
        renewed.fields.push(name.as_bytes(), value.as_bytes());
    }
    desk.get(&[], renewed);
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    assert_eq!(seen.value("Content-Encoding"), Some("gzip"));
    assert_eq!(seen.value("Content-Range"), None);
    assert_eq!(seen.answer.body, exchange::BodySize::Length(10));
}

#[test]
fn a_304_that_forbids_storing_is_used_once() {
    let mut desk = stale_desk(&[]);
    let seen = desk.get(&[], answer(304, &[("Cache-Control", "no-store"), ("ETag", "\"a\"")]));
    assert_eq!((seen.answer.status, seen.not_stored), (200, Some(NotStored::NoStore)));
    assert!(!desk.get(&[], controlled("max-age=60")).is_hit());
}

#[test]
fn cookies_of_a_304_are_not_kept() {
    let mut desk = stale_desk(&[]);
    let renewed = [("ETag", "\"a\""), ("Cache-Control", "max-age=60"), ("Set-Cookie", "session=2")];
    desk.get(&[], answer(304, &renewed));
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    assert_eq!(seen.value("Set-Cookie"), None);
}

#[test]
fn what_was_said_to_this_cache_alone_holds_on() {
    let mut desk = Desk::new();
    let first = [("Surrogate-Control", "max-age=60"), ("Cache-Control", "no-store"), ("ETag", "\"a\"")];
    desk.get(&[], answer(200, &first));
    desk.wait_s(60);
    desk.get(&[], answer(304, &[("ETag", "\"a\"")]));
    desk.wait_s(59);
    assert!(desk.again(&[]).is_hit());
}
