//! §2: the field and its parameters, as an exchange fills them.

use crate::desk::{Desk, Origin, answer, controlled, request};

#[test]
fn hits_misses_and_revalidations_say_what_they_were() {
    let mut desk = Desk::new();
    let first = answer(200, &[("Cache-Control", "max-age=60"), ("ETag", "\"a\"")]);
    assert_eq!(desk.get(&[], first).cache_status, "desk; fwd=uri-miss; fwd-status=200; ttl=60; stored");
    desk.wait_s(10);
    assert_eq!(desk.again(&[]).cache_status, "desk; hit; ttl=50");
    desk.wait_s(60);
    let renewed = answer(304, &[("ETag", "\"a\"")]);
    assert_eq!(desk.get(&[], renewed).cache_status, "desk; fwd=stale; fwd-status=304; ttl=60; stored");
}

#[test]
fn variants_bypasses_and_refusals_have_their_words() {
    let mut desk = Desk::new();
    desk.get(&[("Foo", "1")], answer(200, &[("Cache-Control", "max-age=60"), ("Vary", "Foo")]));
    let seen = desk.get(&[("Foo", "2")], controlled("no-store"));
    assert_eq!(seen.cache_status, "desk; fwd=vary-miss; fwd-status=200; detail=no_store");
    let seen = desk.send(request("POST", "/", &[]), Origin::Answers(answer(200, &[])));
    assert_eq!(seen.cache_status, "desk; fwd=method; detail=method");
}
