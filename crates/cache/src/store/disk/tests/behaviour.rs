//! What the disk tier does when nothing fails.

use super::*;

#[test]
fn an_object_goes_to_disk_with_its_second_request() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    put(&rig.store, &key("/once"), b"x");
    rig.turn();
    assert_eq!(rig.disk().objects(), 0);
    hit(&rig.store, &key("/once"));
    rig.turn();
    assert_eq!((rig.disk().objects(), rig.store.counts().disk_writes), (1, 1));
    hit(&rig.store, &key("/once"));
    rig.turn();
    assert_eq!(rig.store.counts().disk_writes, 1, "and only once");
}

#[test]
fn an_object_survives_a_restart_with_everything_that_belongs_to_it() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    let tags: &[&[u8]] = &[b"news"];
    let large = body("/", 1, 30_000);
    put_answer(&rig.store, &key("/"), crate::store::Answer { tags, ..answer(7) }, &large);
    let before = hit(&rig.store, &key("/"));
    rig.turn();

    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.disk().objects(), 1);
    let Lookup::Wait(mut ticket) = rig.store.lookup(&key("/"), 0) else { panic!("on disk") };
    assert_eq!(ticket.deadline_ms(), Some(100));
    assert!(polled(&mut ticket, 0).is_none());
    rig.turn();
    let Some(Waited::Hit(after)) = polled(&mut ticket, 0) else { panic!("read") };
    assert_eq!(body_of(&after), large);
    assert_eq!((after.head(), after.key(), &after.tags), (before.head(), before.key(), &before.tags));
    assert!(Arc::ptr_eq(&hit(&rig.store, &key("/")), &after), "in memory since");
    assert_eq!(rig.store.counts().disk_hits, 1);
}

#[test]
fn many_who_miss_in_memory_share_one_read() {
    let files = FaultyFiles::default();
    Rig::open(&files).write("/", b"x");
    let mut rig = Rig::open(&files.after_kill());
    let mut tickets: Vec<Ticket> = (0..100)
        .map(|_| match rig.store.lookup(&key("/"), 0) {
            Lookup::Wait(ticket) => ticket,
            other => panic!("expected to wait, got {other:?}"),
        })
        .collect();
    rig.turn();
    assert!(tickets.iter_mut().all(|ticket| matches!(polled(ticket, 0), Some(Waited::Hit(_)))));
    assert_eq!(rig.store.counts().disk_hits, 1);
}

#[test]
fn nothing_is_purged_only_until_a_restart() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    let host = b"a.example";
    let tags: &[&[u8]] = &[b"news"];
    for target in ["/url", "/prefix/1", "/kept", "/soft", "/changed"] {
        rig.write(target, b"x");
    }
    put_answer(&rig.store, &key("/tag"), crate::store::Answer { tags, ..answer(1) }, b"x");
    hit(&rig.store, &key("/tag"));
    put_answer(&rig.store, &key("/withdrawn"), answer(5), b"x");
    hit(&rig.store, &key("/withdrawn"));
    let other_zone = KeyRef { zone: 2, ..key("/zone") };
    put(&rig.store, &other_zone, b"x");
    hit(&rig.store, &other_zone);
    rig.turn();
    assert_eq!(rig.disk().objects(), 8);
    let purges = [
        Purge::Url { zone: 1, host, target: b"/url" },
        Purge::Prefix { zone: 1, host, target: b"/prefix/" },
        Purge::Tag { zone: 1, tag: b"news" },
        Purge::Zone { zone: 2 },
    ];
    rig.store.invalidate(1, host, b"/changed");
    for (number, purge) in purges.iter().enumerate() {
        rig.store.purge(purge, Strength::Hard, 10 + number as u64, |recorded| {
            assert_eq!(recorded, Recorded::OnDisk);
        });
    }
    let soft = Purge::Url { zone: 1, host, target: b"/soft" };
    rig.store.purge(&soft, Strength::Soft, 14, |_| ());
    rig.store.withdraw(5, 15, |_| ());
    assert_eq!(rig.disk().purges_applied_to(), 0, "not on disk yet");
    rig.turn();
    assert_eq!(rig.disk().purges_applied_to(), 15);

    // Twice, so that epochs of three runs meet.
    let mut files = files;
    for _ in 0..2 {
        files = files.after_kill();
        let mut rig = Rig::open(&files);
        assert_eq!(rig.disk().purges_applied_to(), 15);
        let gone =
            ["/url", "/prefix/1", "/tag", "/withdrawn", "/changed"].map(|target| rig.read(&key(target)));
        assert_eq!(gone, [const { None }; 5]);
        assert_eq!(rig.read(&other_zone), None);
        assert_eq!(rig.read(&key("/kept")), Some(b"x".to_vec()));
        assert_eq!(rig.read(&key("/soft")), Some(b"x".to_vec()));
        assert!(hit(&rig.store, &key("/soft")).is_purged_softly());
        assert!(!hit(&rig.store, &key("/kept")).is_purged_softly());
    }
    // A purge of this run is against what earlier runs stored.
    let mut rig = Rig::open(&files.after_kill());
    rig.store.purge(&Purge::Url { zone: 1, host, target: b"/kept" }, Strength::Hard, 16, |_| ());
    assert_eq!(rig.read(&key("/kept")), None);
}

#[test]
fn what_is_stored_after_a_purge_of_an_earlier_run_is_kept() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.store.purge(&Purge::Zone { zone: 1 }, Strength::Hard, 1, |_| ());
    rig.write("/", b"x");
    let files = files.after_kill();
    let mut rig = Rig::open(&files);
    assert_eq!(rig.read(&key("/")), Some(b"x".to_vec()));
    rig.write("/2", b"y");
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.read(&key("/2")), Some(b"y".to_vec()));
}

#[test]
fn a_purge_made_while_the_index_loads_is_against_what_is_loaded() {
    let files = FaultyFiles::default();
    Rig::open(&files).write("/", b"x");
    let mut rig = Rig::new(&files.after_kill());
    rig.store.purge(&Purge::Zone { zone: 1 }, Strength::Hard, 3, |_| ());
    assert!(matches!(rig.store.lookup(&key("/"), 0), Lookup::Lease(_)), "to the origin meanwhile");
    rig.turn();
    assert_eq!(rig.read(&key("/")), None);
    assert_eq!(rig.disk().purges_applied_to(), 3);
}

#[test]
fn space_is_given_back_oldest_first_and_what_was_read_stays() {
    let files = FaultyFiles::default();
    let mut rig = Rig::sized(&files, settings(), 64 << 10);
    rig.turn();
    rig.write("/hot", &body("/hot", 1, 4_000));
    let mut most = 0;
    for number in 0..1_000 {
        let target = format!("/{number}");
        rig.write(&target, &body(&target, 1, 4_000));
        most = most.max(rig.disk().bytes());
        if number % 50 == 0 {
            assert_eq!(rig.read(&key("/hot")), Some(body("/hot", 1, 4_000)), "after {number}");
        }
    }
    assert!(most <= settings().bytes_max, "{most}");
    assert!(rig.disk().objects() > 150, "{}", rig.disk().objects());
    let counts = rig.store.counts();
    assert!(counts.disk_segments_reclaimed > 50 && counts.disk_writes_again > 3, "{counts:?}");
    assert_eq!(rig.read(&key("/0")), None, "the oldest went");
    assert_eq!(rig.read(&key("/990")), Some(body("/990", 1, 4_000)));
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.read(&key("/hot")), Some(body("/hot", 1, 4_000)));
}

#[test]
fn a_newer_answer_takes_the_place_of_the_one_on_disk() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/", b"old");
    let old = hit(&rig.store, &key("/"));
    let Lookup::Lease(lease) = rig.store.lookup_beyond(&old, 0) else { panic!("a lease") };
    let mut fill = lease.begin(answer(1)).expect("kept");
    fill.push(b"new");
    assert_eq!(rig.disk().objects(), 1, "the new one may still fail");
    fill.finish();
    assert_eq!(rig.disk().objects(), 0, "forgotten when it has not");
    rig.turn();
    assert_eq!(rig.disk().objects(), 1, "a key asked for again goes to disk at once");
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.read(&key("/")), Some(b"new".to_vec()));
}

#[test]
fn a_fill_that_fails_leaves_what_is_on_disk() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/", b"old");
    let old = hit(&rig.store, &key("/"));
    let Lookup::Lease(lease) = rig.store.lookup_beyond(&old, 0) else { panic!("a lease") };
    drop(lease.begin(answer(1)).expect("kept"));
    rig.turn();
    assert_eq!(Rig::open(&files.after_kill()).read(&key("/")), Some(b"old".to_vec()));
    let Lookup::Lease(lease) = rig.store.lookup_beyond(&old, 0) else { panic!("a lease") };
    lease.pass(1);
    rig.turn();
    assert_eq!(
        Rig::open(&files.after_kill()).read(&key("/")),
        None,
        "an answer that cannot be kept is newer"
    );
}

#[test]
fn what_is_forgotten_stays_so_after_a_restart() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/", b"x");
    rig.store.remove(&hit(&rig.store, &key("/")));
    rig.turn();
    assert_eq!(Rig::open(&files.after_kill()).read(&key("/")), None);
}

#[test]
fn a_large_object_is_read_for_who_asks_and_stays_out_of_memory() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    let large = body("/large", 1, 40 << 10);
    assert_eq!(put(&rig.store, &key("/large"), &large), Finished::Kept);
    rig.turn();
    assert_eq!(rig.disk().objects(), 1, "with its first request");
    let mut rig = Rig::open(&files.after_kill());
    for _ in 0..2 {
        assert_eq!(rig.read(&key("/large")), Some(large.clone()));
        assert_eq!(rig.store.usage().objects, 0);
    }
    rig.store.check_invariants();
}

#[test]
fn the_folder_is_one_process_at_a_time_and_handed_over() {
    let files = FaultyFiles::default();
    let mut first = Rig::open(&files);
    first.write("/", b"x");
    let mut second = Rig::new(&files);
    second.turn();
    assert_eq!(second.disk().state(), DiskState::WaitingForFolder);
    second.store.purge(&Purge::Tag { zone: 1, tag: b"t" }, Strength::Hard, 4, |_| ());
    assert!(matches!(second.store.lookup(&key("/"), 0), Lookup::Lease(_)), "without it meanwhile");
    put(&second.store, &key("/"), b"own");
    first.disk().release();
    first.turn();
    assert_eq!(first.disk().state(), DiskState::Released);
    assert!(!first.disk().has_room());
    first.store.purge(&Purge::Zone { zone: 1 }, Strength::Hard, 5, |recorded| {
        assert_eq!(recorded, Recorded::InMemory);
    });
    second.turn();
    assert_eq!((second.disk().state(), second.disk().objects()), (DiskState::Ready, 1));
    assert_eq!(second.disk().purges_applied_to(), 4, "what waited for the folder is in its log");
}

#[test]
fn objects_on_disk_can_be_listed() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    for number in 0..40 {
        rig.write(&format!("/{number}"), &[0; 5_000]);
    }
    let (mut targets, mut cursor, mut rounds) = (Vec::new(), Some(DiskCursor::default()), 0);
    while let Some(from) = cursor {
        let (listed, next) = rig.disk().list(from, 7).expect("readable");
        for one in listed {
            let key = KeyRef::parse(&one.key).expect("a key");
            targets.push(String::from_utf8(key.target.to_vec()).expect("text"));
        }
        (cursor, rounds) = (next, rounds + 1);
    }
    targets.sort();
    targets.dedup();
    assert_eq!((targets.len(), rounds), (40, 6));
}

#[test]
fn a_long_log_of_purges_is_written_anew_and_says_the_same() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/kept", b"x");
    rig.write("/gone", b"x");
    rig.store.purge(&Purge::Url { zone: 1, host: b"a.example", target: b"/gone" }, Strength::Hard, 1, |_| ());
    let target = vec![b'x'; 8_000];
    for number in 0..2_000_u64 {
        let prefix = Purge::Prefix {
            zone: 3 + u128::from(number) % 3,
            host: b"",
            target: &target[..target.len() - number as usize],
        };
        rig.store
            .purge(&prefix, Strength::Hard, 2 + number, |recorded| assert_eq!(recorded, Recorded::OnDisk));
        if number % 100 == 0 {
            rig.turn();
        }
    }
    rig.turn();
    assert!(files.content("purges").len() < 9 << 20);
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.disk().purges_applied_to(), 2_001);
    assert_eq!(rig.read(&key("/gone")), None);
    assert_eq!(rig.read(&key("/kept")), Some(b"x".to_vec()));
}

#[test]
fn changed_urls_that_wait_for_the_disk_become_purges_of_their_own_zones() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    let other = KeyRef { zone: 2, ..key("/kept") };
    put(&rig.store, &other, b"x");
    hit(&rig.store, &other);
    rig.write("/kept", b"x");
    let most = crate::store::limits::PURGES_WAITING_MAX + 10;
    for number in 0..most {
        rig.store.invalidate(1, b"a.example", format!("/{number}").as_bytes());
    }
    assert!(rig.disk().lock_purges().len() <= 1 + crate::store::limits::CHANGED_URLS_WAITING_MAX);
    rig.turn();
    let counts = rig.store.counts();
    assert_eq!((counts.urls_changed, counts.purges), (most as u64, 0));
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.read(&key("/kept")), None, "widened to its zone");
    assert_eq!(rig.read(&other), Some(b"x".to_vec()), "and no further");
}
