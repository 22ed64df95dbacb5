//! Bounds of memory, and who stays.

use super::*;

#[test]
fn memory_stays_within_its_bound_whatever_comes() {
    let store = store_of(1 << 20);
    for number in 0..5_000_u64 {
        let body = vec![b'x'; (number * 7919 % 9_000) as usize];
        put(&store, &key(&format!("/{number}")), &body);
        let usage = store.usage();
        assert!(usage.bytes <= 1 << 20, "{usage:?}");
        assert_eq!(usage.held_bytes, usage.bytes, "what left is freed");
    }
    assert!(store.usage().bytes > 900 << 10);
    assert!(store.counts().evictions > 4_000);
    store.check_invariants();
}

#[test]
fn a_scan_does_not_push_out_what_is_asked_for_again() {
    let store = store_of(1 << 20);
    let hot: Vec<String> = (0..200).map(|number| format!("/hot/{number}")).collect();
    for target in &hot {
        put(&store, &key(target), &[0; 1_000]);
    }
    for round in 0..20 {
        assert!(hot.iter().all(|target| is_hit(&store, &key(target))), "round {round}");
        for number in 0..2_000 {
            put(&store, &key(&format!("/scan/{round}/{number}")), &[0; 1_000]);
        }
    }
}

#[test]
fn what_was_evicted_and_is_fetched_again_gets_a_better_place() {
    let store = Store::new(MemorySettings { shards: 1, ..small_settings(1 << 20) }, SEED);
    put(&store, &key("/again"), &[0; 1_000]);
    let fill_up = |round: usize, count: usize| {
        for number in 0..count {
            put(&store, &key(&format!("/{round}/{number}")), &[0; 1_000]);
        }
    };
    fill_up(0, 700);
    assert!(!is_hit(&store, &key("/again")), "evicted without a second request");
    put(&store, &key("/again"), &[0; 1_000]);
    fill_up(1, 700);
    assert!(is_hit(&store, &key("/again")), "in the main queue since");
}

#[test]
fn a_body_that_grows_too_large_is_passed_to_its_readers_and_found_by_nobody() {
    let store = store_of(8 << 20); // bodies up to 1 MiB
    let (woken, waker) = Woken::new();
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    let mut fast = fill.reader().expect("a reader");
    let mut slow = fill.reader().expect("a reader");
    let piece = [1; 64 << 10];
    for _ in 0..16 {
        assert_eq!(fill.push(&piece), Pushed::Kept);
    }
    assert_eq!(fill.push(&piece), Pushed::Passing);
    assert!(!is_hit(&store, &key("/")), "no new reader");
    assert_eq!(drain(&mut fast, &waker).0.len(), 17 << 16);
    assert!(fill.poll_room(&waker).is_pending(), "the slow reader is a window behind");
    assert_eq!(store.usage().bytes, 0, "it is in no table");
    let before = woken.times();
    for _ in 0..2 {
        assert!(matches!(slow.poll_piece(&waker), Poll::Ready(Piece::Bytes(_))));
    }
    assert_eq!(woken.times(), before + 1, "there is room");
    assert!(fill.poll_room(&waker).is_ready());
    for _ in 0..2 {
        fill.push(&piece);
    }
    assert!(fill.poll_room(&waker).is_pending());
    assert_eq!(fill.cut_slowest(), 1);
    assert!(fill.poll_room(&waker).is_ready());
    assert_eq!(drain(&mut slow, &waker), (vec![], Some(Piece::Behind)));
    assert!(store.usage().held_bytes < 256 << 10, "what nobody will read is freed");
    let mut late = fill.object().reader(0).expect("a reader");
    assert_eq!(drain(&mut late, &waker).1, Some(Piece::Behind));
    assert_eq!(fill.finish(), Finished::NotKept);
    assert_eq!(drain(&mut fast, &waker), ([1; 2 << 16].to_vec(), Some(Piece::End)));
    drop((fast, slow, late));
    assert_eq!(store.usage(), Usage::default());
    assert_eq!(store.counts().fills_too_large, 1);
}

#[test]
fn a_passing_body_that_nobody_reads_says_so() {
    let store = store_of(1 << 20);
    let mut fill = lease(&store, &key("/")).begin(answer(1)).expect("kept");
    assert_eq!(fill.push(&[0; 128 << 10]), Pushed::Kept);
    assert_eq!(fill.push(&[0; 1]), Pushed::Unread);
}

#[test]
fn evicted_bodies_that_slow_readers_hold_are_bounded() {
    let store = store_of(1 << 20);
    let mut readers = Vec::new();
    let mut refused = 0;
    for number in 0..2_000 {
        match lease(&store, &key(&format!("/{number}"))).begin(answer(1)) {
            Ok(mut fill) => {
                readers.push(fill.reader().expect("a reader"));
                fill.push(&[0; 10_000]);
                fill.finish();
            }
            Err((lease, why)) => {
                assert_eq!(why, NotKept::Memory);
                lease.pass(0);
                refused += 1;
            }
        }
        assert!(store.usage().held_bytes <= (1 << 20) + (1 << 18) + 11_000);
    }
    assert!(refused > 1_800);
    readers.clear();
    assert_eq!(put(&store, &key("/"), b"x"), Finished::Kept, "room again");
}

#[test]
fn many_bodies_that_fill_at_once_are_passed_before_they_take_all_memory() {
    let store = store_of(1 << 20);
    let mut fills: Vec<(Fill, Reader)> = (0..100)
        .map(|number| {
            let fill = lease(&store, &key(&format!("/{number}"))).begin(answer(1)).expect("kept");
            let reader = fill.reader().expect("a reader");
            (fill, reader)
        })
        .collect();
    let mut passed = 0;
    for _ in 0..10 {
        for (fill, reader) in &mut fills {
            passed += usize::from(fill.push(&[0; 10_000]) == Pushed::Passing);
            drain(reader, Waker::noop());
            assert!(store.usage().held_bytes <= (1 << 20) + (1 << 18) + 20_000, "{:?}", store.usage());
        }
    }
    assert!(passed > 0);
    let kept = fills.into_iter().filter(|(fill, _)| fill.is_kept()).count();
    assert!(kept > 5, "{kept}");
    store.check_invariants();
}

#[test]
fn an_object_that_fills_is_not_evicted() {
    let store = store_of(1 << 20);
    let mut fill = lease(&store, &key("/filling")).begin(answer(1)).expect("kept");
    fill.push(b"x");
    for number in 0..3_000 {
        put(&store, &key(&format!("/{number}")), &[0; 1_000]);
    }
    assert!(is_hit(&store, &key("/filling")));
    assert_eq!(fill.finish(), Finished::Kept);
    store.check_invariants();
}

#[test]
fn objects_can_be_listed_and_removed() {
    let store = store_of(1 << 20);
    for number in 0..25 {
        put(&store, &key(&format!("/{number}")), b"x");
    }
    let (mut targets, mut cursor, mut rounds) = (Vec::new(), Some(Cursor::default()), 0);
    while let Some(from) = cursor {
        let (objects, next) = store.objects(from, 10);
        targets
            .extend(objects.iter().map(|object| String::from_utf8_lossy(object.key().target).into_owned()));
        (cursor, rounds) = (next, rounds + 1);
    }
    targets.sort();
    targets.dedup();
    assert_eq!((targets.len(), rounds), (25, 3));
    store.remove(&hit(&store, &key("/3")));
    assert!(!is_hit(&store, &key("/3")));
    assert_eq!(store.objects(Cursor::default(), 100).0.len(), 24);
}
