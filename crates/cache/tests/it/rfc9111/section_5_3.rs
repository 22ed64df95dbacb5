//! §5.3: Expires.

use crate::desk::{Desk, answer};

#[test]
fn counts_from_date_not_from_our_clock() {
    let mut desk = Desk::new();
    let (date, expires) = (desk.date(-10), desk.date(50));
    desk.get(&[], answer(200, &[("Date", &date), ("Expires", &expires)]));
    assert_eq!(desk.stored().map(|meta| (meta.lifetime_s, meta.initial_age_s)), Some((60, 10)));
}

#[test]
fn without_a_date_it_counts_from_when_it_came() {
    let mut desk = Desk::new();
    let expires = desk.date(50);
    desk.get(&[], answer(200, &[("Expires", &expires)]));
    assert_eq!(desk.stored().map(|meta| meta.lifetime_s), Some(50));
}

#[test]
fn the_past_is_stale() {
    for offset in [0, -1, -100_000] {
        let mut desk = Desk::new();
        let expires = desk.date(offset);
        assert!(!desk.is_reused(answer(200, &[("Expires", &expires)])), "{offset}");
    }
}

#[test]
fn max_age_goes_before_it_even_when_unreadable() {
    let mut desk = Desk::new();
    let (past, future) = (desk.date(-100), desk.date(100));
    assert!(desk.is_reused(answer(200, &[("Expires", &past), ("Cache-Control", "max-age=60")])));
    let mut desk = Desk::new();
    assert!(!desk.is_reused(answer(200, &[("Expires", &future), ("Cache-Control", "max-age=x")])));
}

#[test]
fn a_date_far_away_is_bounded() {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("Expires", "Fri, 31 Dec 9999 23:59:59 GMT")]));
    assert_eq!(desk.stored().map(|meta| meta.lifetime_s), Some(1 << 31));
}
