//! §4.3.3: handling a validation response.

use cache::policy::Settings;

use crate::desk::{Desk, answer, controlled};

fn stale(settings: Settings) -> Desk {
    let mut desk = Desk::with(settings);
    desk.get(&[], answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"a\""), ("X-Answer", "old")]));
    desk.wait_s(2);
    desk
}

#[test]
fn a_304_makes_what_is_stored_fresh_again() {
    let mut desk = stale(Settings::default());
    let seen = desk.get(&[], answer(304, &[("ETag", "\"a\""), ("Cache-Control", "max-age=60")]));
    assert_eq!((seen.answer.status, seen.value("X-Answer")), (200, Some("old")));
    assert!(desk.again(&[]).is_hit());
}

#[test]
fn a_whole_answer_takes_its_place() {
    let mut desk = stale(Settings::default());
    let new = answer(200, &[("Cache-Control", "max-age=60"), ("X-Answer", "new")]);
    assert_eq!(desk.get(&[], new).value("X-Answer"), Some("new"));
    assert_eq!(desk.again(&[]).value("X-Answer"), Some("new"));
}

#[test]
fn an_error_is_passed_or_bridged() {
    let strict = Settings { stale_if_error_s: 0, ..Settings::default() };
    assert_eq!(stale(strict).get(&[], answer(503, &[])).answer.status, 503);
    let seen = stale(Settings::default()).get(&[], answer(503, &[]));
    assert_eq!((seen.answer.status, seen.value("X-Answer")), (200, Some("old")));
}

#[test]
fn an_answer_that_may_not_be_stored_ends_the_stored_one() {
    let mut desk = stale(Settings::default());
    desk.get(&[], controlled("no-store"));
    assert!(desk.stored().is_none());
    let mut desk = stale(Settings::default());
    desk.get(&[], answer(404, &[]));
    assert!(desk.stored().is_none());
}

#[test]
fn an_error_that_a_stranger_provokes_ends_nothing() {
    for status in [400, 403, 405, 429, 431] {
        let mut desk = stale(Settings::default());
        assert_eq!(desk.get(&[], answer(status, &[])).answer.status, status);
        assert!(desk.stored().is_some(), "{status}");
    }
}
