//! §3: CDN-Cache-Control.

use crate::desk::{Desk, answer};

#[test]
fn it_is_passed_on_for_the_next_network() {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-cache")]));
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    assert_eq!(seen.value("CDN-Cache-Control"), Some("max-age=60"));
    assert_eq!(seen.value("Cache-Control"), Some("no-cache"));
}

#[test]
fn age_and_staleness_count_as_ever() {
    let mut desk = Desk::new();
    let first = [("CDN-Cache-Control", "max-age=60, stale-while-revalidate=10"), ("Age", "40")];
    desk.get(&[], answer(200, &first));
    desk.wait_s(19);
    assert!(desk.again(&[]).is_hit());
    desk.wait_s(5);
    assert_eq!(desk.again(&[]).cache_status, "desk; hit; ttl=-4");
}
