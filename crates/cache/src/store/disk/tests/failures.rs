//! Every way a disk fails: a miss and a counter, never an error for a visitor and never a wrong byte.

use super::faulty::Fault;
use super::*;

fn target(number: usize) -> String {
    format!("/{number}")
}

/// A folder with so many objects of 5,000 bytes.
fn filled(objects: usize) -> FaultyFiles {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    for number in 0..objects {
        rig.write(&target(number), &body(&target(number), 1, 5_000));
    }
    files.after_kill()
}

#[test]
fn any_flipped_bit_is_a_miss_and_counted() {
    let files = filled(2);
    let names = files.names_now();
    let mut random = 12_345_u64;
    for name in names.iter().filter(|name| name.ends_with(".data") || name.ends_with(".index")) {
        for _ in 0..150 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let flipped = files.after_kill();
            let mut bytes = flipped.content(name);
            let bit = (random >> 20) as usize % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
            flipped.set_content(name, bytes);
            let mut rig = Rig::open(&flipped);
            let read: Vec<Option<Vec<u8>>> = (0..2).map(|number| rig.read(&key(&target(number)))).collect();
            let counts = rig.store.counts();
            assert_eq!(counts.disk_records_damaged + counts.disk_entries_damaged, 1, "bit {bit} of {name}");
            for (number, read) in read.iter().enumerate() {
                assert!(read.is_none() || *read == Some(body(&target(number), 1, 5_000)));
            }
            assert_eq!(read.iter().flatten().count(), 1, "the other one is still there");
        }
    }
}

#[test]
fn a_flipped_bit_in_the_log_of_purges_empties_the_folder() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/", b"x");
    rig.write("/purged", b"x");
    rig.store.purge(
        &Purge::Url { zone: 1, host: b"a.example", target: b"/purged" },
        Strength::Hard,
        9,
        |_| (),
    );
    rig.turn();
    let whole = files.content("purges");
    for bit in 0..8 * whole.len() {
        let flipped = files.after_kill();
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        flipped.set_content("purges", bytes);
        let mut rig = Rig::open(&flipped);
        assert_eq!((rig.read(&key("/")), rig.read(&key("/purged"))), (None, None), "bit {bit}");
        assert_eq!((rig.store.counts().disk_emptied, rig.disk().purges_applied_to()), (1, 0));
        rig.write("/", b"again");
        assert_eq!(Rig::open(&flipped.after_kill()).read(&key("/")), Some(b"again".to_vec()));
    }
}

#[test]
fn a_missing_log_of_purges_empties_the_folder() {
    let files = filled(3);
    Files::remove(&files, "purges").expect("there");
    let mut rig = Rig::open(&files);
    assert_eq!((rig.disk().objects(), rig.store.counts().disk_emptied), (0, 1));
    assert_eq!(rig.read(&key("/0")), None);
}

#[test]
fn a_folder_of_another_version_is_left_alone_and_says_why() {
    let files = filled(1);
    let mut format = files.content("format");
    for copy in [0, format::SUPERBLOCK_SECOND as usize] {
        format[copy + 8] = 9;
        let sum = format::check(0, &format[copy..copy + format::SUPERBLOCK_BYTES - 8]);
        format[copy + format::SUPERBLOCK_BYTES - 8..copy + format::SUPERBLOCK_BYTES]
            .copy_from_slice(&sum.to_le_bytes());
    }
    files.set_content("format", format);
    let before = files.changes();
    let mut rig = Rig::new(&files);
    rig.turn();
    let DiskState::Refused(reason) = rig.disk().state() else { panic!("{:?}", rig.disk().state()) };
    assert!(reason.contains("version 9") && reason.contains("empty it"), "{reason}");
    assert_eq!(files.changes(), before, "nothing is touched");
    assert!(!files.is_claimed());
    put(&rig.store, &key("/"), b"x");
    hit(&rig.store, &key("/"));
    rig.store
        .purge(&Purge::Everything, Strength::Hard, 1, |recorded| assert_eq!(recorded, Recorded::InMemory));

    let mut rig = Rig::with(&files, DiskSettings { empties_refused: true, ..settings() });
    rig.turn();
    assert_eq!((rig.disk().state(), rig.disk().objects()), (DiskState::Ready, 0), "the explicit word");
    rig.write("/", b"x");
    assert_eq!(Rig::open(&files.after_kill()).read(&key("/")), Some(b"x".to_vec()));
}

#[test]
fn damaged_missing_and_foreign_heads_are_refused_and_one_good_copy_is_enough() {
    let files = filled(1);
    let format = files.content("format");
    let refused = |files: &FaultyFiles| {
        let mut rig = Rig::new(files);
        rig.turn();
        match rig.disk().state() {
            DiskState::Refused(reason) => Some(reason),
            _ => None,
        }
    };
    let with = |damage: &dyn Fn(&mut Vec<u8>)| {
        let damaged = files.after_kill();
        let mut bytes = format.clone();
        damage(&mut bytes);
        damaged.set_content("format", bytes);
        refused(&damaged)
    };
    assert_eq!(with(&|bytes| bytes[20] ^= 1), None);
    assert_eq!(with(&|bytes| bytes[4_096 + 20] ^= 1), None);
    assert!(
        with(&|bytes| {
            bytes[20] ^= 1;
            bytes[4_096] ^= 1
        })
        .is_some_and(|why| why.contains("damaged"))
    );
    assert!(with(&|bytes| bytes.truncate(10)).is_some_and(|why| why.contains("damaged")));
    let other = format::Superblock { seed_fingerprint: 1, segment_bytes: 1 }.encode();
    assert!(with(&|bytes| *bytes = other.clone()).is_some_and(|why| why.contains("another seed")));
    let missing = files.after_kill();
    Files::remove(&missing, "format").expect("there");
    assert!(refused(&missing).is_some_and(|why| why.contains("missing")));
}

#[test]
fn files_of_others_are_left_alone() {
    let files = filled(2);
    for name in ["notes.txt", "0000001.data", "0000000G.index", "00000001.data.bak"] {
        files.set_content(name, b"mine".to_vec());
    }
    let mut rig = Rig::with(&files, DiskSettings { empties_refused: true, ..settings() });
    rig.turn();
    assert_eq!(rig.disk().objects(), 2);
    for name in ["notes.txt", "0000001.data", "0000000G.index", "00000001.data.bak"] {
        assert_eq!(files.content(name), b"mine");
    }
}

#[test]
fn reads_that_fail_are_misses() {
    let files = filled(2);
    let mut rig = Rig::open(&files);
    files.fail(Fault::Reading(".data"));
    assert_eq!(rig.read(&key("/0")), None);
    files.heal();
    assert_eq!(rig.read(&key("/0")), Some(body("/0", 1, 5_000)), "it may be readable again");
    files.fail(Fault::Opening(".data"));
    let files_again = files.after_kill();
    let mut rig = Rig::open(&files_again);
    files_again.fail(Fault::Opening(".data"));
    assert_eq!(rig.read(&key("/0")), None, "no descriptors left, say");
    files_again.heal();
    assert_eq!(rig.read(&key("/0")), Some(body("/0", 1, 5_000)));
    assert_eq!(rig.store.counts().disk_read_errors, 1);
}

#[test]
fn a_segment_whose_index_cannot_be_read_is_left_for_the_next_start() {
    let files = filled(20);
    let mut rig = Rig::new(&files);
    files.fail(Fault::Reading("00000001.index"));
    rig.turn();
    assert_eq!((rig.disk().state(), rig.store.counts().disk_read_errors), (DiskState::Ready, 1));
    let there = rig.disk().objects();
    assert!((1..20).contains(&there), "{there} in the other segment");
    assert_eq!(rig.read(&key("/0")), None);
    files.heal();
    assert_eq!(Rig::open(&files.after_kill()).disk().objects(), 20);
    // Its space is given back in its turn.
    for number in 100..500 {
        rig.write(&target(number), &body(&target(number), 1, 5_000));
    }
    assert!(rig.disk().bytes() <= settings().bytes_max);
    assert!(!files.names_now().iter().any(|name| name.starts_with("00000001")));
}

#[test]
fn a_full_disk_gives_up_its_oldest_and_goes_on() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    files.fill_up(200_000);
    for number in 0..60 {
        rig.write(&target(number), &body(&target(number), 1, 5_000));
    }
    let counts = rig.store.counts();
    assert!(counts.disk_write_errors > 0 && counts.disk_writes_bypassed > 0, "{counts:?}");
    assert_eq!(rig.disk().state(), DiskState::Ready);
    files.heal();
    for number in 100..2_200 {
        put(&rig.store, &key(&target(number)), b"x");
        hit(&rig.store, &key(&target(number)));
        rig.turn();
    }
    assert!(rig.store.counts().disk_writes > counts.disk_writes, "written again after a while");
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(rig.read(&key("/2199")), Some(b"x".to_vec()));
    for number in 0..60 {
        let read = rig.read(&key(&target(number)));
        assert!(read.is_none() || read == Some(body(&target(number), 1, 5_000)));
    }
}

#[test]
fn what_lost_its_place_on_disk_and_is_in_memory_is_written_again() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    let there = |rig: &Rig| (0..60).filter(|number| on_disk(rig, &target(*number))).count();
    files.fill_up(200_000);
    for number in 0..60 {
        rig.write(&target(number), &body(&target(number), 1, 5_000));
    }
    assert!(there(&rig) < 60, "there is no room for all");
    files.heal();
    for _ in 0..200 {
        (0..60).for_each(|number| drop(hit(&rig.store, &key(&target(number)))));
        rig.turn();
    }
    assert_eq!(there(&rig), 60, "each was hit on since");
}

#[test]
fn what_an_emptied_folder_lost_and_is_in_memory_is_written_again() {
    let files = filled(3);
    let mut rig = Rig::open(&files);
    for number in 0..3 {
        assert!(rig.read(&key(&target(number))).is_some());
    }
    // The purge cannot be written down, so that nothing on disk may be used after it.
    files.fail(Fault::Writing("purges"));
    rig.store.purge(&Purge::Zone { zone: 9 }, Strength::Hard, 1, |_| ());
    rig.turn();
    files.heal();
    assert_eq!((rig.disk().state(), rig.disk().objects()), (DiskState::Ready, 0));
    (0..3).for_each(|number| drop(hit(&rig.store, &key(&target(number)))));
    rig.turn();
    assert_eq!(rig.disk().objects(), 3, "each was hit on since");
}

/// Whether the index has an object.
fn on_disk(rig: &Rig, target: &str) -> bool {
    let object = hit(&rig.store, &key(target));
    rig.disk().index.find(object.key.hash).is_some()
}

#[test]
fn writes_that_take_a_few_bytes_at_a_time_are_finished() {
    let files = FaultyFiles::default();
    files.write_at_most(7);
    let mut rig = Rig::open(&files);
    rig.write("/", &body("/", 1, 5_000));
    assert_eq!(Rig::open(&files.after_kill()).read(&key("/")), Some(body("/", 1, 5_000)));
}

#[test]
fn a_purge_that_cannot_be_recorded_empties_the_folder() {
    for fault in [Fault::Writing("purges"), Fault::Syncing("purges")] {
        let files = filled(3);
        let mut rig = Rig::open(&files);
        assert_eq!(rig.disk().objects(), 3);
        // The file that is the log now was opened under its first name.
        let fault = match fault {
            Fault::Writing(_) => Fault::Writing("purges"),
            other => other,
        };
        files.fail(fault);
        rig.store.purge(
            &Purge::Url { zone: 1, host: b"a.example", target: b"/1" },
            Strength::Hard,
            3,
            |recorded| {
                assert_eq!(recorded, Recorded::OnDisk);
            },
        );
        rig.turn();
        assert_eq!((rig.disk().objects(), rig.store.counts().disk_emptied), (0, 1));
        files.heal();
        let mut rig = Rig::open(&files.after_kill());
        assert_eq!(rig.read(&key("/1")), None);
    }
}

#[test]
fn a_log_begun_anew_remembers_how_far_epochs_had_come() {
    let files = filled(1);
    let mut rig = Rig::open(&files);
    files.fail(Fault::Syncing("purges"));
    rig.store.withdraw(9, 3, |recorded| assert_eq!(recorded, Recorded::OnDisk));
    rig.turn();
    assert_eq!(rig.store.counts().disk_emptied, 1);
    files.heal();
    rig.write("/later", b"x");
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!(
        rig.read(&key("/later")),
        Some(b"x".to_vec()),
        "born after an epoch that no purge on record has"
    );
}

#[test]
fn a_purge_that_can_neither_be_recorded_nor_emptied_says_so() {
    let files = filled(3);
    let mut rig = Rig::open(&files);
    files.fail(Fault::Writing("purges"));
    files.fail(Fault::Removing(".index"));
    rig.store.purge(&Purge::Zone { zone: 1 }, Strength::Hard, 3, |recorded| {
        assert_eq!(recorded, Recorded::NotRecorded);
    });
    rig.turn();
    let DiskState::Failed(reason) = rig.disk().state() else { panic!("{:?}", rig.disk().state()) };
    assert!(reason.contains("log of purges"), "{reason}");
    assert_eq!(rig.read(&key("/0")), None);
    assert!(!files.is_claimed());
}

#[test]
fn a_folder_that_cannot_be_opened_is_a_cache_in_memory_until_it_can() {
    for fault in [Fault::Writing(""), Fault::Reading("purges"), Fault::Opening("format"), Fault::Syncing("")]
    {
        let files = match fault {
            Fault::Writing(_) | Fault::Syncing(_) => FaultyFiles::default(),
            _ => filled(2),
        };
        files.fail(fault);
        let mut rig = Rig::new(&files);
        rig.turn();
        let DiskState::Unreachable(reason) = rig.disk().state() else { panic!("{:?}", rig.disk().state()) };
        assert!(reason.contains("cannot be read or written"), "{reason}");
        put(&rig.store, &key("/"), b"x");
        assert_eq!(body_of(&hit(&rig.store, &key("/"))), b"x");
        let purge = Purge::Url { zone: 1, host: b"a.example", target: b"/1" };
        rig.store.purge(&purge, Strength::Hard, 3, |recorded| assert_eq!(recorded, Recorded::OnDisk));
        files.heal();
        rig.turn();
        assert_eq!((rig.disk().state(), rig.disk().purges_applied_to()), (DiskState::Ready, 3));
        assert_eq!(rig.read(&key("/1")), None, "purged while the folder could not be opened");
    }
}

#[test]
fn a_read_that_is_late_becomes_the_lease_of_one_who_waits() {
    let files = filled(1);
    let mut rig = Rig::open(&files);
    let wait = |rig: &Rig, now| match rig.store.lookup(&key("/0"), now) {
        Lookup::Wait(ticket) => ticket,
        other => panic!("expected to wait, got {other:?}"),
    };
    let (mut one, mut other) = (wait(&rig, 1_000), wait(&rig, 1_050));
    assert_eq!((one.deadline_ms(), other.deadline_ms()), (Some(1_100), Some(1_100)));
    assert!(polled(&mut one, 1_099).is_none());
    let Some(Waited::Lease(lease)) = polled(&mut other, 1_100) else { panic!("the disk is late") };
    assert!(polled(&mut one, 1_100).is_none(), "one goes to the origin, not all");
    rig.turn();
    assert!(polled(&mut one, 1_200).is_none(), "what the disk brings too late is dropped");
    let mut fill = lease.begin(answer(1)).expect("kept");
    fill.push(b"from the origin");
    fill.finish();
    let Some(Waited::Hit(object)) = polled(&mut one, 1_200) else { panic!("served") };
    assert_eq!(body_of(&object), b"from the origin");
    assert_eq!((rig.store.counts().disk_reads_late, rig.store.counts().disk_hits), (1, 0));
    rig.store.check_invariants();
}

#[test]
fn a_stalled_disk_is_not_asked_until_it_answers() {
    let files = filled(10);
    let mut rig = Rig::open(&files);
    let ask = |rig: &Rig, number, now| rig.store.lookup(&key(&target(number)), now);
    let first = ask(&rig, 0, 1_000);
    assert!(matches!(first, Lookup::Wait(_)));
    assert!(matches!(ask(&rig, 1, 1_249), Lookup::Wait(_)));
    assert!(matches!(ask(&rig, 2, 1_250), Lookup::Lease(_)), "a quarter of a second without an answer");
    assert_eq!(rig.store.counts().disk_reads_bypassed, 1);
    rig.turn();
    assert!(matches!(ask(&rig, 3, 1_251), Lookup::Wait(_)), "it answers again");
    rig.turn();
    assert!(matches!(ask(&rig, 4, 100), Lookup::Wait(_)), "a clock that steps back stalls nothing");
    drop(first);
}

#[test]
fn a_full_queue_of_reads_goes_to_the_origin() {
    let files = filled(10);
    let mut rig = Rig::with(&files, DiskSettings { reads_max: 3, ..settings() });
    rig.turn();
    let asked: Vec<Lookup> = (0..10).map(|number| rig.store.lookup(&key(&target(number)), 0)).collect();
    let waits = asked.iter().filter(|lookup| matches!(lookup, Lookup::Wait(_))).count();
    let leases = asked.iter().filter(|lookup| matches!(lookup, Lookup::Lease(_))).count();
    assert_eq!((waits, leases), (3, 7));
    assert_eq!(rig.store.counts().disk_reads_bypassed, 7);
    drop(asked);
    rig.turn();
    assert_eq!(rig.read(&key("/9")), Some(body("/9", 1, 5_000)));
    assert_eq!(rig.store.counts().disk_hits, 1, "what nobody waits for any more is not read");
}

#[test]
fn a_full_queue_of_writes_writes_less() {
    let files = FaultyFiles::default();
    let mut rig = Rig::with(&files, DiskSettings { write_bytes_max: 20_000, ..settings() });
    rig.turn();
    for number in 0..10 {
        put(&rig.store, &key(&target(number)), &[0; 5_000]);
        hit(&rig.store, &key(&target(number)));
    }
    rig.turn();
    assert_eq!(rig.disk().objects(), 4);
    hit(&rig.store, &key("/9"));
    rig.turn();
    assert_eq!(rig.disk().objects(), 5, "a later request offers it again");
}

#[test]
fn releasing_answers_everybody_who_waits() {
    let files = filled(2);
    let mut rig = Rig::open(&files);
    let Lookup::Wait(mut ticket) = rig.store.lookup(&key("/0"), 0) else { panic!("on disk") };
    rig.store.purge(&Purge::Tag { zone: 1, tag: b"t" }, Strength::Hard, 8, |recorded| {
        assert_eq!(recorded, Recorded::OnDisk);
    });
    rig.disk().release();
    assert!(matches!(polled(&mut ticket, 0), Some(Waited::Lease(_))));
    rig.turn();
    assert!(!files.is_claimed());
    assert_eq!(Rig::open(&files).disk().purges_applied_to(), 8, "purges are still written");
}
