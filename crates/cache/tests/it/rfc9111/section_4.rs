//! §4: constructing responses from caches.

use crate::desk::{Desk, Origin, answer, controlled, request};

#[test]
fn another_path_query_or_method_is_another_answer() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    for target in ["/x", "/?", "/?a"] {
        let seen = desk.send(request("GET", target, &[]), Origin::Answers(controlled("max-age=60")));
        assert!(!seen.is_hit(), "{target}");
    }
    assert!(desk.again(&[]).is_hit());
}

#[test]
fn a_stored_get_answers_head() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    let seen = desk.send(request("HEAD", "/", &[]), Origin::Answers(answer(599, &[])));
    assert!(seen.is_hit());
    assert_eq!((seen.answer.declared_length, seen.answer.body), (Some(10), exchange::BodySize::None));
}

#[test]
fn an_answer_from_here_has_an_age() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    desk.wait_s(7);
    assert_eq!(desk.again(&[]).value("Age"), Some("7"));
}

#[test]
fn a_post_is_never_answered_from_here() {
    let mut desk = Desk::new();
    desk.get(&[], controlled("max-age=60"));
    let seen = desk.send(request("POST", "/", &[]), Origin::Answers(answer(500, &[])));
    assert!(!seen.is_hit());
}
