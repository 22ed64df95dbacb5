//! §5.2.2: response directives.

use cache::policy::{NotStored, Traits};

use crate::desk::{Desk, Origin, answer, controlled, request};

#[test]
fn must_revalidate_is_reused_while_fresh() {
    assert!(Desk::new().is_reused(controlled("max-age=60, must-revalidate")));
    assert!(Desk::new().is_reused(controlled("max-age=60, proxy-revalidate")));
}

#[test]
fn must_understand_is_stored_only_where_the_status_is() {
    assert!(Desk::new().is_reused(controlled("max-age=60, must-understand, no-store")));
    let unknown = answer(599, &[("Cache-Control", "max-age=60, must-understand")]);
    assert_eq!(Desk::new().get(&[], unknown).not_stored, Some(NotStored::NotUnderstood));
}

#[test]
fn no_cache_is_used_only_after_a_validation() {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("Cache-Control", "no-cache, max-age=60"), ("ETag", "\"a\"")]));
    let seen = desk.get(&[], answer(304, &[("ETag", "\"a\"")]));
    assert_eq!(seen.asked("If-None-Match"), Some("\"a\""));
    assert_eq!(seen.answer.status, 200);
    let seen = desk.send(request("GET", "/", &[]), Origin::Down);
    assert_eq!(seen.answer.status, 502, "not even when the origin is down");
}

#[test]
fn no_cache_without_a_validator_is_not_stored() {
    let seen = Desk::new().get(&[], controlled("no-cache, max-age=60"));
    assert_eq!(seen.not_stored, Some(NotStored::NoLifetime));
}

#[test]
fn fields_that_no_cache_or_private_name_are_not_served_to_others() {
    for directive in ["no-cache=\"X-A, X-B\"", "private=\"x-a,x-b\"", "no-cache=x-a, private=x-b"] {
        let mut desk = Desk::new();
        let control = format!("max-age=60, {directive}");
        desk.get(&[], answer(200, &[("Cache-Control", &control), ("X-A", "1"), ("X-B", "2"), ("X-C", "3")]));
        let seen = desk.again(&[]);
        assert!(seen.is_hit());
        assert_eq!((seen.value("X-A"), seen.value("X-B"), seen.value("X-C")), (None, None, Some("3")));
    }
}

#[test]
fn a_cookie_that_is_named_private_does_not_stand_in_the_way() {
    let first =
        answer(200, &[("Cache-Control", "max-age=60, private=\"Set-Cookie\""), ("Set-Cookie", "session=1")]);
    let mut desk = Desk::new();
    desk.get(&[], first);
    assert_eq!(desk.again(&[]).value("Set-Cookie"), None);
}

#[test]
fn no_store_is_not_stored_however_it_is_written() {
    for value in
        ["no-store", "No-Store", "max-age=60, no-store", "no-store=x", "x=\"y, no-store", "no-store;"]
    {
        assert!(!Desk::new().is_reused(controlled(value)), "{value}");
    }
}

#[test]
fn no_transform_is_noted() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60, no-transform"));
    assert!(desk.stored().is_some_and(|meta| meta.traits.has(Traits::NO_TRANSFORM)));
}

#[test]
fn unknown_directives_are_ignored() {
    assert!(Desk::new().is_reused(controlled("foo, max-age=60, bar=baz, immutable")));
}

#[test]
fn s_maxage_is_for_shared_caches() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=1, s-maxage=60"));
    desk.wait_s(30);
    assert!(desk.again(&[]).is_hit());
}
