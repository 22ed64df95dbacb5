//! §4.2.3: calculating age.

use cache::policy::{FetchTimes, initial_age_s};

use crate::desk::{Desk, START_S, answer};

fn age(fields: &[(&str, &str)], asked_s: u64, answered_s: u64) -> u32 {
    let (asked_ms, answered_ms) = ((START_S + asked_s) * 1000, (START_S + answered_s) * 1000);
    let times = FetchTimes { asked_ms, answered_ms, received_ms: answered_ms };
    initial_age_s(&answer(200, fields).fields, &times)
}

#[test]
fn the_time_on_the_way_counts() {
    assert_eq!(age(&[("Age", "10")], 0, 3), 13);
    assert_eq!(age(&[], 0, 3), 3);
}

#[test]
fn the_older_of_date_and_age_counts() {
    let date = Desk::new().date(-20);
    assert_eq!(age(&[("Date", &date), ("Age", "10")], 0, 0), 20);
    assert_eq!(age(&[("Date", &date), ("Age", "30")], 0, 0), 30);
}

#[test]
fn a_date_ahead_of_our_clock_is_no_negative_age() {
    let date = Desk::new().date(3600);
    assert_eq!(age(&[("Date", &date)], 0, 0), 0);
    assert_eq!(age(&[("Date", "nonsense")], 0, 2), 2);
    assert_eq!(age(&[], 5, 0), 0, "the clock stepped back while we waited");
}

#[test]
fn an_age_beyond_reason_is_the_largest() {
    assert_eq!(age(&[("Age", "99999999999999999999")], 0, 9), 1 << 31);
}

#[test]
fn an_answer_older_than_its_lifetime_is_stale_at_once() {
    let mut desk = Desk::new();
    assert!(!desk.is_reused(answer(200, &[("Cache-Control", "max-age=3600"), ("Age", "7200")])));
    let mut desk = Desk::new();
    let date = desk.date(-7200);
    assert!(!desk.is_reused(answer(200, &[("Cache-Control", "max-age=3600"), ("Date", &date)])));
}
