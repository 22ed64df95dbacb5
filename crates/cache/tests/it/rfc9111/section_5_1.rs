//! §5.1: Age.

use crate::desk::{Desk, answer};

fn is_reused(age: &[&str]) -> bool {
    let mut first = answer(200, &[("Cache-Control", "max-age=3600")]);
    for value in age {
        first.fields.push(b"Age", value.as_bytes());
    }
    Desk::new().is_reused(first)
}

#[test]
fn the_first_member_counts_and_what_is_no_number_is_ignored() {
    assert!(is_reused(&["0"]) && !is_reused(&["7200"]));
    assert!(is_reused(&["0, 7200"]) && is_reused(&["0", "7200"]));
    assert!(!is_reused(&["7200, 0"]) && !is_reused(&["7200", "0"]));
    for nonsense in ["-7200", "7200.0", "abc", "a7200", "7200a", "", "7200;x=1"] {
        assert!(is_reused(&[nonsense]), "{nonsense}");
    }
    assert!(!is_reused(&["99999999999999999999"]));
}

#[test]
fn age_is_carried_on() {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("Cache-Control", "max-age=3600"), ("Age", "30")]));
    desk.wait_s(4);
    let seen = desk.again(&[]);
    assert_eq!(seen.value("Age"), Some("34"));
    assert_eq!(seen.answer.fields.iter().filter(|f| f.name.eq_ignore_ascii_case(b"age")).count(), 1);
}
