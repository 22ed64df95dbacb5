//! §4.3.1: sending a validation request.

use crate::desk::{Desk, answer};

fn revalidating(validators: &[(&str, &str)], fields: &[(&str, &str)]) -> crate::desk::Seen {
    let mut desk = Desk::new();
    let mut first = answer(200, &[("Cache-Control", "max-age=1")]);
    for (name, value) in validators {
        first.fields.push(name.as_bytes(), value.as_bytes());
    }
    desk.get(&[], first);
    desk.wait_s(2);
    desk.get(fields, answer(304, validators))
}

const MODIFIED: (&str, &str) = ("Last-Modified", "Sun, 06 Nov 1994 07:00:00 GMT");

#[test]
fn stored_validators_are_sent() {
    let seen = revalidating(&[("ETag", "W/\"a\""), MODIFIED], &[]);
    assert_eq!(seen.asked("If-None-Match"), Some("W/\"a\""));
    assert_eq!(seen.asked("If-Modified-Since"), Some(MODIFIED.1));
    assert_eq!(seen.answer.status, 200);
    let seen = revalidating(&[MODIFIED], &[]);
    assert_eq!((seen.asked("If-None-Match"), seen.asked("If-Modified-Since")), (None, Some(MODIFIED.1)));
}

#[test]
fn the_visitors_own_conditions_and_range_do_not_reach_the_origin() {
    let visitors = [("If-None-Match", "\"mine\""), ("Range", "bytes=0-1"), ("If-Range", "\"x\"")];
    let seen = revalidating(&[("ETag", "\"a\"")], &visitors);
    assert_eq!(seen.asked("If-None-Match"), Some("\"a\""));
    assert_eq!((seen.asked("Range"), seen.asked("If-Range")), (None, None));
}
