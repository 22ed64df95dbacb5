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

/// A page of a zone.
fn of_zone(zone: u128, target: &str) -> KeyRef<'_> {
    KeyRef { zone, ..key(target) }
}

/// Bytes of a page with all that is charged for it, times so many.
fn pages(count: u64) -> u64 {
    let store = store_of(1 << 20);
    put(&store, &of_zone(1, "/hot/100"), &[0; 1_000]);
    store.usage().bytes * count
}

/// How many of so many pages of zone 1 are still there after another zone's flood of new pages, each asked
/// for so often that it looks worth keeping; nobody asks for the pages meanwhile but between the floods.
fn left_after_a_flood(pages_of_one: usize, promised_percent: u8, floods: usize) -> usize {
    let settings = MemorySettings { promised_percent, ..small_settings(pages(1_000)) };
    let store = Store::new(settings, SEED);
    let own: Vec<String> = (100..100 + pages_of_one).map(|number| format!("/hot/{number}")).collect();
    for target in &own {
        put(&store, &of_zone(1, target), &[0; 1_000]);
        assert!(is_hit(&store, &of_zone(1, target)));
    }
    let mut left = own.len();
    for flood in 0..floods {
        for number in 0..2_500 {
            let target = format!("/{flood}/{number:06}");
            put(&store, &of_zone(2, &target), &[0; 1_000]);
            (0..3).for_each(|_| assert!(is_hit(&store, &of_zone(2, &target))));
        }
        left = own.iter().filter(|target| is_hit(&store, &of_zone(1, target))).count();
    }
    store.check_invariants();
    assert!(store.usage().bytes <= pages(1_000), "promises do not take more memory than there is");
    left
}

#[test]
fn a_flood_of_one_zone_leaves_another_what_it_is_promised() {
    assert_eq!(left_after_a_flood(200, 50, 4), 200, "a quarter of memory is its own");
    assert!(left_after_a_flood(200, 0, 4) < 20, "without promises the flood takes it");
    let left = left_after_a_flood(600, 50, 4);
    assert!((200..=400).contains(&left), "what is more than promised goes: {left}");
}

#[test]
fn weights_say_who_is_promised_how_much() {
    for (weight, least, most) in [(1, 200, 330), (4, 350, 480)] {
        let store = Store::new(small_settings(pages(1_000)), SEED);
        store.weigh(&BTreeMap::from([(1, weight), (2, 1)]));
        let own: Vec<String> = (100..700).map(|number| format!("/hot/{number}")).collect();
        for target in &own {
            put(&store, &of_zone(1, target), &[0; 1_000]);
            assert!(is_hit(&store, &of_zone(1, target)));
        }
        for flood in 0..4 {
            for number in 0..2_500 {
                let target = format!("/{flood}/{number:06}");
                put(&store, &of_zone(2, &target), &[0; 1_000]);
                (0..3).for_each(|_| assert!(is_hit(&store, &of_zone(2, &target))));
            }
            let hits = own.iter().filter(|target| is_hit(&store, &of_zone(1, target))).count();
            assert!(hits >= least, "weight {weight}: {hits} left after flood {flood}");
        }
        let left = own.iter().filter(|target| is_hit(&store, &of_zone(1, target))).count();
        assert!((least..=most).contains(&left), "weight {weight}: {left} left");
    }
}

#[test]
fn one_zone_may_have_all_memory_and_gives_back_what_nobody_asks_for() {
    let store = Store::new(small_settings(pages(1_000)), SEED);
    let fill = |zone: u128, from: usize, count: usize| {
        for number in from..from + count {
            let target = format!("/{number:07}");
            put(&store, &of_zone(zone, &target), &[0; 1_000]);
            assert!(is_hit(&store, &of_zone(zone, &target)));
        }
    };
    let there = |zone: u128, from: usize, count: usize| {
        let targets = (from..from + count).map(|number| format!("/{number:07}"));
        targets.filter(|target| store.peek(&of_zone(zone, target)).is_some()).count()
    };
    fill(1, 0, 900);
    assert!(there(1, 0, 900) >= 890, "all of it while nobody else needs any");
    // Another comes, and nobody asks for the first any more.
    fill(2, 0, 25_000);
    assert!(there(1, 0, 900) < 30, "{} of what nobody asks for", there(1, 0, 900));
    assert!(there(2, 24_000, 1_000) > 900);
}
