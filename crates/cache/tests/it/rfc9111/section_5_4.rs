//! §5.4: Pragma.

use crate::desk::{Desk, answer, controlled};

#[test]
fn a_request_may_say_no_cache_where_it_says_nothing_else() {
    let mut desk = Desk::respecting();
    desk.get(&[], controlled("max-age=60"));
    assert!(!desk.get(&[("Pragma", "no-cache")], controlled("max-age=60")).is_hit());
    assert!(desk.again(&[("Pragma", "no-cache"), ("Cache-Control", "max-stale=1")]).is_hit());
    assert!(desk.again(&[("Pragma", "foo")]).is_hit());
}

#[test]
fn in_an_answer_it_says_nothing() {
    assert!(Desk::new().is_reused(answer(200, &[("Cache-Control", "max-age=60"), ("Pragma", "no-cache")])));
}
