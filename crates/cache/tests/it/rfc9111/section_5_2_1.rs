//! §5.2.1: request directives, which a zone may respect.

use cache::policy::NotStored;

use crate::desk::{Desk, answer, controlled};

fn desk(control: &str) -> Desk {
    let mut desk = Desk::respecting();
    desk.get(&[], answer(200, &[("Cache-Control", control), ("ETag", "\"a\"")]));
    desk.wait_s(10);
    desk
}

fn is_hit(desk: &mut Desk, directive: &str) -> bool {
    let seen = desk.get(&[("Cache-Control", directive)], answer(304, &[("ETag", "\"a\"")]));
    assert!(seen.is_hit() || seen.asked("If-None-Match") == Some("\"a\""));
    seen.is_hit()
}

#[test]
fn a_zone_that_does_not_respect_them_serves_all_the_same() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    for directive in ["no-cache", "max-age=0", "no-store", "min-fresh=1000"] {
        assert!(desk.again(&[("Cache-Control", directive)]).is_hit(), "{directive}");
    }
}

#[test]
fn max_age() {
    assert!(is_hit(&mut desk("max-age=60"), "max-age=10"));
    assert!(!is_hit(&mut desk("max-age=60"), "max-age=9"));
    assert!(!is_hit(&mut desk("max-age=60"), "max-age=0"));
}

#[test]
fn max_stale() {
    assert!(is_hit(&mut desk("max-age=5"), "max-stale=5"));
    assert!(!is_hit(&mut desk("max-age=5"), "max-stale=4"));
    assert!(is_hit(&mut desk("max-age=5"), "max-stale"));
    assert!(!is_hit(&mut desk("max-age=5, must-revalidate"), "max-stale"));
}

#[test]
fn min_fresh() {
    assert!(is_hit(&mut desk("max-age=60"), "min-fresh=50"));
    assert!(!is_hit(&mut desk("max-age=60"), "min-fresh=51"));
}

#[test]
fn no_cache() {
    assert!(!is_hit(&mut desk("max-age=60"), "no-cache"));
}

#[test]
fn no_store() {
    let mut desk = Desk::respecting();
    let seen = desk.get(&[("Cache-Control", "no-store")], controlled("max-age=60"));
    assert_eq!(seen.not_stored, Some(NotStored::RequestNoStore));
    assert!(!desk.again(&[]).is_hit());
}

#[test]
fn only_if_cached() {
    assert!(is_hit(&mut desk("max-age=60"), "only-if-cached"));
    let seen = Desk::respecting().again(&[("Cache-Control", "only-if-cached")]);
    assert_eq!((seen.is_hit(), seen.answer.status), (true, 504));
}
