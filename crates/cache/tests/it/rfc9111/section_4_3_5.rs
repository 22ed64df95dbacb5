//! §4.3.5: freshening responses with HEAD.

use crate::desk::{Desk, Origin, Seen, answer, request};

fn desk() -> Desk {
    let mut desk = Desk::new();
    desk.get(&[], answer(200, &[("Cache-Control", "max-age=1"), ("ETag", "\"a\""), ("X-Test", "old")]));
    desk.wait_s(2);
    desk
}

fn head(desk: &mut Desk, length: Option<u64>, fields: &[(&str, &str)]) -> Seen {
    let mut answer = answer(200, fields);
    answer.body = exchange::BodySize::None;
    answer.declared_length = length;
    desk.send(request("HEAD", "/", &[]), Origin::Answers(answer))
}

#[test]
fn an_answer_to_head_of_the_same_version_renews() {
    let mut desk = desk();
    let fields = [("Cache-Control", "max-age=60"), ("ETag", "\"a\""), ("X-Test", "new")];
    assert!(!head(&mut desk, Some(10), &fields).is_hit());
    let seen = desk.again(&[]);
    assert!(seen.is_hit());
    assert_eq!(seen.value("X-Test"), Some("new"));
}

#[test]
fn an_answer_to_head_of_another_version_makes_stale() {
    for (length, tag) in [(Some(11), "\"a\""), (Some(10), "\"b\"")] {
        let mut desk = desk();
        head(&mut desk, length, &[("Cache-Control", "max-age=60"), ("ETag", tag)]);
        assert!(!desk.get(&[], answer(304, &[("ETag", "\"a\"")])).is_hit());
    }
}
