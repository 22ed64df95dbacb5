//! §3: stale-while-revalidate.

use crate::desk::{Desk, answer, controlled};

fn desk(control: &str) -> Desk {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("Cache-Control", control), ("ETag", "\"a\"")]));
    desk
}

#[test]
fn stale_within_the_time_is_served_at_once() {
    let mut desk = desk("max-age=10, stale-while-revalidate=20");
    desk.wait_s(29);
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    assert_eq!((seen.value("Age"), &*seen.cache_status), (Some("29"), "desk; hit; ttl=-19"));
    desk.wait_s(1);
    assert!(!desk.get(&[], controlled("max-age=10")).is_hit());
}

#[test]
fn beside_s_maxage_it_means_what_it_says() {
    let mut desk = desk("s-maxage=10, stale-while-revalidate=20");
    desk.wait_s(15);
    assert!(desk.again(&[]).is_hit());
}

#[test]
fn must_revalidate_beats_it() {
    let mut desk = desk("max-age=10, stale-while-revalidate=20, must-revalidate");
    desk.wait_s(15);
    assert!(!desk.get(&[], controlled("max-age=10")).is_hit());
}

#[test]
fn a_time_that_cannot_be_read_is_none() {
    let mut desk = desk("max-age=10, stale-while-revalidate=x");
    desk.wait_s(15);
    assert!(!desk.get(&[], controlled("max-age=10")).is_hit());
}
