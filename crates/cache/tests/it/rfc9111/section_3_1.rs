//! §3.1: storing header and trailer fields.

use cache::policy::{SetCookie, Settings};

use crate::desk::{Desk, answer, controlled};

#[test]
fn fields_come_back_as_they_were_known_or_not() {
    let mut desk = Desk::new();
    let kept = [
        ("X-Test", "a, b"),
        ("Content-Foo", "c"),
        ("Content-Encoding", "gzip"),
        ("Content-Language", "en"),
        ("P3P", "x"),
        ("Strict-Transport-Security", "max-age=1"),
        ("Server", "s"),
    ];
    let mut first = controlled("max-age=60");
    for (name, value) in kept {
        first.fields.push(name.as_bytes(), value.as_bytes());
    }
    desk.get(&[], first);
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    for (name, value) in kept {
        assert_eq!(seen.value(name), Some(value), "{name}");
    }
}

#[test]
fn fields_of_one_connection_or_one_hop_are_not_stored() {
    let mut desk = Desk::new();
    let mut first = controlled("max-age=60");
    for name in ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Upgrade"] {
        first.fields.push(name.as_bytes(), b"x");
    }
    // `http1` marks what Connection names.
    first.fields.push_known(b"X-Named", b"1", exchange::Known::Other, true);
    desk.get(&[], first);
    let seen = desk.again(&[]);
    let names: Vec<_> =
        seen.answer.fields.iter().map(|f| String::from_utf8_lossy(f.name).into_owned()).collect();
    assert_eq!(names, ["Cache-Control", "Date", "Age"]);
}

#[test]
fn an_answer_without_a_date_gets_one() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    let date = desk.date(0);
    desk.wait_s(5);
    assert_eq!(desk.again(&[]).value("Date"), Some(&*date));
}

#[test]
fn fields_for_this_cache_are_not_passed_on() {
    let mut desk = Desk::new();
    let first = answer(
        200,
        &[("Surrogate-Control", "max-age=60"), ("Cache-Tag", "a"), ("Surrogate-Key", "b"), ("X", "y")],
    );
    desk.get(&[], first);
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    for name in ["Surrogate-Control", "Cache-Tag", "Surrogate-Key"] {
        assert_eq!(seen.value(name), None, "{name}");
    }
    assert_eq!(seen.value("X"), Some("y"));
}

#[test]
fn cookies_are_not_handed_to_the_next_visitor_unless_told() {
    let first = || answer(200, &[("Cache-Control", "max-age=60"), ("Set-Cookie", "session=1")]);
    assert!(!Desk::new().is_reused(first()));
    for (set_cookie, expected) in [(SetCookie::Stripped, None), (SetCookie::Stored, Some("session=1"))] {
        let mut desk = Desk::with(Settings { set_cookie, ..Settings::default() });
        assert!(desk.is_reused(first()));
        assert_eq!(desk.again(&[]).value("Set-Cookie"), expected);
    }
}
