//! Collapsing: one fetch for many, and what becomes of those who wait.

use super::*;

#[test]
fn concurrent_misses_share_one_fetch_and_stream_while_it_fills() {
    let store = store_of(1 << 20);
    let first = lease(&store, &key("/"));
    let (woken, waker) = Woken::new();
    let mut waiting = ticket(&store, &key("/"));
    assert!(waiting.poll(&waker, 0).is_pending());
    assert_eq!(first.waiting(), 1);

    let mut fill = first.begin(answer(1)).expect("kept");
    assert_eq!(woken.times(), 1, "woken by the head");
    let Poll::Ready(Waited::Hit(object)) = waiting.poll(&waker, 0) else { panic!("the head is there") };
    assert!(!object.is_whole());
    let mut reader = object.reader(0).expect("a reader");
    let mut late = hit(&store, &key("/")).reader(2).expect("a reader");
    assert_eq!(drain(&mut reader, &waker), (vec![], None));
    assert_eq!(fill.push(b"hello"), Pushed::Kept);
    assert_eq!(woken.times(), 2, "woken by the piece");
    assert_eq!(drain(&mut reader, &waker), (b"hello".to_vec(), None));
    assert_eq!(drain(&mut late, &waker), (b"llo".to_vec(), None));
    fill.push(b" world");
    assert_eq!(fill.finish(), Finished::Kept);
    assert_eq!(woken.times(), 4, "two readers, by the next piece; nobody waits any more at the end");
    assert_eq!(drain(&mut reader, &waker), (b" world".to_vec(), Some(Piece::End)));
    assert_eq!(drain(&mut late, &waker), (b" world".to_vec(), Some(Piece::End)));
    assert_eq!(body_of(&hit(&store, &key("/"))), b"hello world");
    assert_eq!(store.usage().fetches, 0);
    store.check_invariants();
}

#[test]
fn a_thousand_who_wait_lead_to_one_fetch() {
    let store = store_of(1 << 20);
    let first = lease(&store, &key("/"));
    let mut tickets: Vec<Ticket> = (0..1_000).map(|_| ticket(&store, &key("/"))).collect();
    assert!(tickets.iter_mut().all(|ticket| polled(ticket, 0).is_none()));
    let mut fill = first.begin(answer(1)).expect("kept");
    fill.push(b"x");
    fill.finish();
    for ticket in &mut tickets {
        assert!(matches!(polled(ticket, 0), Some(Waited::Hit(_))));
    }
}

#[test]
fn a_failed_fetch_hands_its_lease_to_one_who_waits() {
    let store = store_of(1 << 20);
    let first = lease(&store, &key("/"));
    let (woken, waker) = Woken::new();
    let mut tickets: Vec<Ticket> = (0..3).map(|_| ticket(&store, &key("/"))).collect();
    for ticket in &mut tickets {
        assert!(ticket.poll(&waker, 0).is_pending());
    }
    drop(first);
    assert_eq!(woken.times(), 1, "one is woken, not all");
    let Poll::Ready(Waited::Lease(second)) = tickets[0].poll(&waker, 0) else { panic!("its turn") };
    assert!(tickets[1].poll(&waker, 0).is_pending());
    let mut fill = second.begin(answer(1)).expect("kept");
    fill.push(b"x");
    fill.finish();
    assert!(matches!(polled(&mut tickets[1], 0), Some(Waited::Hit(_))));
    assert!(matches!(polled(&mut tickets[2], 0), Some(Waited::Hit(_))));
}

#[test]
fn a_turn_that_comes_to_one_who_leaves_goes_to_the_next() {
    let store = store_of(1 << 20);
    let first = lease(&store, &key("/"));
    let (woken, waker) = Woken::new();
    let mut one = ticket(&store, &key("/"));
    let mut other = ticket(&store, &key("/"));
    assert!(one.poll(Waker::noop(), 0).is_pending());
    assert!(other.poll(&waker, 0).is_pending());
    drop(first);
    assert_eq!(woken.times(), 0);
    drop(one);
    assert_eq!(woken.times(), 1);
    assert!(matches!(polled(&mut other, 0), Some(Waited::Lease(_))));
    drop(other);
    assert_eq!(store.usage(), Usage::default(), "nothing is left of it");
    store.check_invariants();
}

#[test]
fn an_answer_that_cannot_be_kept_lets_all_go_and_none_wait_until_then() {
    let store = store_of(1 << 20);
    let first = lease(&store, &key("/"));
    let mut waiting = ticket(&store, &key("/"));
    first.pass(1_000);
    assert!(matches!(polled(&mut waiting, 0), Some(Waited::Pass)));
    assert!(matches!(store.lookup(&key("/"), 999), Lookup::Pass));
    assert!(matches!(store.lookup(&key("/"), 1_000), Lookup::Lease(_)));
    store.check_invariants();
}

#[test]
fn passing_without_a_time_marks_nothing() {
    let store = store_of(1 << 20);
    lease(&store, &key("/")).pass(0);
    assert_eq!(store.usage(), Usage::default());
    drop(lease(&store, &key("/")));
}

#[test]
fn those_who_waited_too_long_leave_one_at_a_time() {
    let store = store_of(1 << 20);
    let _first = lease(&store, &key("/"));
    let tickets: Vec<Ticket> = (0..5).map(|_| ticket(&store, &key("/"))).collect();
    let alone = |now| tickets.iter().filter(|ticket| ticket.may_go_alone(now, 1_000)).count();
    assert_eq!([alone(0), alone(999), alone(1_000), alone(1_500)], [1, 0, 1, 0]);
    assert_eq!(alone(500), 0, "a clock that steps back lets nobody go");
}

#[test]
fn a_stale_object_stays_while_one_fetches_anew() {
    let store = store_of(1 << 20);
    put(&store, &key("/"), b"old");
    let old = hit(&store, &key("/"));
    let Lookup::Lease(lease) = store.lookup_beyond(&old, 0) else { panic!("a lease") };
    assert!(is_hit(&store, &key("/")), "still found by others");
    let Lookup::Wait(mut waiting) = store.lookup_beyond(&old, 0) else { panic!("one fetch for all") };
    let mut fill = lease.begin(answer(2)).expect("kept");
    fill.push(b"new");
    assert_eq!(fill.finish(), Finished::Kept);
    let Some(Waited::Hit(new)) = polled(&mut waiting, 0) else { panic!("the new one") };
    assert_eq!(body_of(&new), b"new");
    let Lookup::Hit(found) = store.lookup_beyond(&old, 0) else { panic!("what took its place") };
    assert!(Arc::ptr_eq(&found, &new));
    assert_eq!((store.usage().objects, body_of(&old)), (1, b"old".to_vec()));
}

#[test]
fn a_fill_that_fails_puts_the_stale_object_back() {
    let store = store_of(1 << 20);
    put(&store, &key("/"), b"old");
    let old = hit(&store, &key("/"));
    let Lookup::Lease(lease) = store.lookup_beyond(&old, 0) else { panic!("a lease") };
    let mut fill = lease.begin(answer(2)).expect("kept");
    let mut reader = fill.reader().expect("a reader");
    fill.push(b"ne");
    drop(fill);
    assert_eq!(drain(&mut reader, Waker::noop()), (b"ne".to_vec(), Some(Piece::Aborted)));
    assert!(Arc::ptr_eq(&hit(&store, &key("/")), &old));
    assert_eq!(store.counts().fills_aborted, 1);
    store.check_invariants();
}

#[test]
fn a_304_keeps_the_body_and_changes_the_head() {
    let store = store_of(1 << 20);
    put(&store, &key("/"), b"body");
    let old = hit(&store, &key("/"));
    let Lookup::Lease(lease) = store.lookup_beyond(&old, 0) else { panic!("a lease") };
    let head = Head { bytes: Bytes::from_static(b"newer"), numbers: [9; 8], snapshot: 3 };
    let new = lease.refresh(&old, Answer { head: head.clone(), tags: &[], body_bytes: None }).expect("kept");
    assert_eq!((body_of(&new), new.head()), (b"body".to_vec(), &head));
    assert_eq!(new.chunks().expect("whole")[0].as_ptr(), old.chunks().expect("whole")[0].as_ptr());
    assert!(Arc::ptr_eq(&hit(&store, &key("/")), &new));
    store.check_invariants();
}

#[test]
fn a_body_of_another_length_than_declared_is_not_kept() {
    let store = store_of(1 << 20);
    for body in [&b"hell"[..], b"hello!"] {
        let answer = Answer { body_bytes: Some(5), ..answer(1) };
        let mut fill = lease(&store, &key("/")).begin(answer).expect("kept");
        assert_eq!(fill.object().body_bytes(), Some(5));
        let mut reader = fill.reader().expect("a reader");
        fill.push(body);
        assert_eq!(fill.finish(), Finished::WrongLength);
        assert_eq!(drain(&mut reader, Waker::noop()).1, Some(Piece::Aborted));
        assert_eq!(store.usage(), Usage { held_bytes: store.usage().held_bytes, ..Usage::default() });
    }
    assert_eq!(store.counts().fills_of_wrong_length, 2);
}

#[test]
fn a_variant_is_stored_under_its_own_key_with_the_age_of_its_fetch() {
    let store = store_of(1 << 20);
    let variant = KeyRef { rest: b"gzip", ..key("/") };
    let base = lease(&store, &key("/"));
    store.purge(&Purge::Url { zone: 1, host: b"a.example", target: b"/" }, Strength::Hard, 1, |_| ());
    let branch = base.branch(&variant).expect("nobody fetches the variant");
    assert!(base.branch(&variant).is_none());
    let mut fill = branch.begin(answer(1)).expect("begun");
    assert!(!fill.is_kept(), "its fetch began before the purge");
    fill.push(b"x");
    assert_eq!(fill.finish(), Finished::NotKept);
    drop(base);
    assert!(!is_hit(&store, &variant));
    store.check_invariants();
}

#[test]
fn what_is_over_a_limit_goes_past_the_cache() {
    let store = store_of(1 << 20);
    let long = "x".repeat(limits::KEY_BYTES_MAX);
    assert!(matches!(store.lookup(&key(&long), 0), Lookup::Bypass(Bypass::KeyTooLong)));
    let refused = |answer: Answer<'_>| {
        let (_lease, why) = lease(&store, &key("/")).begin(answer).expect_err("over a limit");
        why
    };
    let tags = vec![&b"t"[..]; limits::TAGS_MAX + 1];
    assert_eq!(refused(Answer { tags: &tags, ..answer(1) }), NotKept::TooManyTags);
    let head = Head { bytes: vec![0; limits::HEAD_BYTES_MAX + 1].into(), ..answer(1).head };
    assert_eq!(refused(Answer { head, ..answer(1) }), NotKept::HeadTooLarge);
    let body_bytes = Some((1 << 17) + 1);
    assert_eq!(refused(Answer { body_bytes, ..answer(1) }), NotKept::TooLarge);
    assert_eq!(store.usage(), Usage::default());
}
