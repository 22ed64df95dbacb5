//! §4.3.2: handling a received validation request.

use cache::policy::Bypass;

use crate::desk::{Desk, answer};

fn desk() -> Desk {
    let mut desk = Desk::new();
    let modified = desk.date(-3600);
    desk.get(
        &[],
        answer(200, &[("Cache-Control", "max-age=60"), ("ETag", "\"a\""), ("Last-Modified", &modified)]),
    );
    desk
}

#[test]
fn what_the_visitor_has_is_not_sent_again() {
    let mut desk = desk();
    for fields in [
        [("If-None-Match", "\"a\"")],
        [("If-None-Match", "W/\"a\"")],
        [("If-None-Match", "\"b\", \"a\"")],
        [("If-None-Match", "*")],
    ] {
        let seen = desk.again(&fields);
        assert!(seen.is_hit());
        assert_eq!(seen.answer.status, 304, "{fields:?}");
    }
    let since = desk.date(-3600);
    assert_eq!(desk.again(&[("If-Modified-Since", &since)]).answer.status, 304);
}

#[test]
fn what_the_visitor_has_not_is_sent_whole() {
    let mut desk = desk();
    let before = desk.date(-3601);
    for fields in
        [[("If-None-Match", "\"b\"")], [("If-Modified-Since", &*before)], [("If-Modified-Since", "x")]]
    {
        assert_eq!(desk.again(&fields).answer.status, 200, "{fields:?}");
    }
    let since = desk.date(0);
    let both = [("If-None-Match", "\"b\""), ("If-Modified-Since", &*since)];
    assert_eq!(desk.again(&both).answer.status, 200, "tags go before dates");
}

#[test]
fn an_answer_without_a_last_modified_counts_from_its_date() {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("Cache-Control", "max-age=60")]));
    let since = desk.date(0);
    assert_eq!(desk.again(&[("If-Modified-Since", &since)]).answer.status, 304);
}

#[test]
fn a_miss_fetches_the_whole_and_still_answers_the_condition() {
    let mut desk = Desk::new();
    let first = answer(200, &[("Cache-Control", "max-age=60"), ("ETag", "\"a\"")]);
    let seen = desk.get(&[("If-None-Match", "\"a\"")], first);
    assert_eq!((seen.answer.status, seen.asked("If-None-Match")), (304, None));
    assert!(desk.again(&[]).is_hit());
}

#[test]
fn a_304_has_what_a_stored_answer_is_renewed_by() {
    let seen = desk().again(&[("If-None-Match", "\"a\"")]);
    for name in ["Cache-Control", "Date", "ETag", "Last-Modified", "Age"] {
        assert!(seen.value(name).is_some(), "{name}");
    }
}

#[test]
fn preconditions_that_are_the_origins_are_left_to_it() {
    let mut desk = desk();
    for fields in [[("If-Match", "\"a\"")], [("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT")]] {
        assert_eq!(desk.again(&fields).bypass, Some(Bypass::Precondition));
    }
}
