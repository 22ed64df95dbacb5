//! What is given up while it is on its way to disk does not get there; nor does a thread that breaks take
//! the tier with it unseen.

use super::faulty::Fault;
use super::*;

fn evict(store: &Store, target: &str) {
    store.retire(&hit(store, &key(target)), None);
}

/// A newer answer takes the place of what is stored, and is asked for once only.
fn replace(store: &Store, target: &str, body: &[u8]) {
    let lease = match store.lookup(&key(target), 0) {
        Lookup::Hit(old) => store.lookup_beyond(&old, 0),
        other => other,
    };
    let Lookup::Lease(lease) = lease else { panic!("a lease") };
    let mut fill = lease.begin(answer(1)).expect("kept");
    fill.push(body);
    assert_eq!(fill.finish(), Finished::Kept);
}

/// Nothing, and nothing after a restart either.
fn assert_gone(rig: &mut Rig, files: &FaultyFiles, target: &str, why: &str) {
    assert!(rig.read(&key(target)).is_none(), "{why}");
    assert!(Rig::open(&files.after_kill()).read(&key(target)).is_none(), "{why}, after a restart");
    assert_eq!(rig.disk().under_way.len(), 0, "{why}");
}

/// A newer answer that is in memory alone, and gone from there.
fn overtake(store: &Store) {
    // As if the queue were full of others.
    let disk = store.disk().expect("attached");
    disk.write_bytes.fetch_add(1 << 30, Relaxed);
    replace(store, "/", b"new");
    evict(store, "/");
    disk.write_bytes.fetch_sub(1 << 30, Relaxed);
}

#[test]
fn what_is_removed_while_it_is_written_does_not_come_back() {
    for name in [".data", ".index"] {
        let files = FaultyFiles::default();
        let mut rig = Rig::open(&files);
        put(&rig.store, &key("/"), b"old");
        let old = hit(&rig.store, &key("/"));
        let store = rig.store.clone();
        files.while_writing(name, move || store.remove(&old));
        rig.turn();
        assert_gone(&mut rig, &files, "/", name);
    }
}

#[test]
fn what_is_removed_while_it_is_queued_is_not_written() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    put(&rig.store, &key("/"), b"old");
    rig.store.remove(&hit(&rig.store, &key("/")));
    rig.turn();
    assert_gone(&mut rig, &files, "/", "queued");
}

#[test]
fn an_older_answer_does_not_come_back_after_a_newer_one_was_evicted() {
    // Queued, evicted, and overtaken before the writer comes to it.
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    put(&rig.store, &key("/"), b"old");
    evict(&rig.store, "/");
    overtake(&rig.store);
    rig.turn();
    assert_gone(&mut rig, &files, "/", "queued");

    // Overtaken while it is written.
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    put(&rig.store, &key("/"), b"old");
    hit(&rig.store, &key("/"));
    let store = rig.store.clone();
    files.while_writing(".data", move || overtake(&store));
    rig.turn();
    assert_gone(&mut rig, &files, "/", "written");
}

#[test]
fn a_newer_answer_queued_while_the_older_is_written_is_the_one_on_disk() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    put(&rig.store, &key("/"), b"old");
    hit(&rig.store, &key("/"));
    let store = rig.store.clone();
    files.while_writing(".index", move || {
        replace(&store, "/", b"new");
        hit(&store, &key("/"));
    });
    rig.turn();
    evict(&rig.store, "/");
    assert_eq!(rig.read(&key("/")), Some(b"new".to_vec()));
    assert_eq!(Rig::open(&files.after_kill()).read(&key("/")), Some(b"new".to_vec()));
}

#[test]
fn what_is_removed_while_it_moves_to_a_new_segment_does_not_come_back() {
    let files = FaultyFiles::default();
    let settings = DiskSettings { bytes_max: 4 * (64 << 10), ..settings() };
    let mut rig = Rig::with(&files, settings);
    rig.turn();
    rig.write("/old", &body("/old", 1, 5_000));
    // Only reclaiming reads here: all else is found in memory.
    let (store, old) = (rig.store.clone(), hit(&rig.store, &key("/old")));
    files.while_reading("00000001.data", move || store.remove(&old));
    for number in 0..60 {
        let target = format!("/{number}");
        rig.write(&target, &body(&target, 1, 5_000));
    }
    assert!(rig.store.counts().disk_segments_reclaimed > 0);
    assert_gone(&mut rig, &files, "/old", "moved");
}

#[test]
fn what_a_failed_write_left_behind_does_not_come_back() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    for target in ["/1", "/2"] {
        put(&rig.store, &key(target), b"old");
        hit(&rig.store, &key(target));
    }
    // The first entry gets there, the second does not.
    let room = files.clone();
    files.while_writing(".index", move || room.fill_up(64));
    rig.turn();
    assert_eq!((rig.store.counts().disk_write_errors, rig.disk().objects()), (1, 0));
    files.heal();
    for target in ["/1", "/2"] {
        let old = hit(&rig.store, &key(target));
        rig.store.remove(&old);
    }
    for number in 0..20 {
        rig.write(&format!("/later {number}"), b"x");
    }
    assert!(rig.disk().objects() > 0, "it is written to again");
    let mut rig = Rig::open(&files.after_kill());
    assert_eq!((rig.read(&key("/1")), rig.read(&key("/2"))), (None, None));
}

#[test]
fn bytes_of_writes_that_failed_are_counted() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/1", &body("/1", 1, 5_000));
    assert_eq!(rig.disk().bytes(), files.segment_bytes());
    files.fill_up(3_000);
    rig.write("/2", &body("/2", 1, 5_000));
    assert_eq!(rig.store.counts().disk_write_errors, 1);
    assert_eq!(rig.disk().bytes(), files.segment_bytes(), "what there was room for is there");
}

#[test]
fn a_segment_that_cannot_be_removed_is_counted_until_it_can() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    files.fail(Fault::Removing(".data"));
    for number in 0..2_000 {
        let target = format!("/{number}");
        put(&rig.store, &key(&target), &body(&target, 1, 5_000));
        hit(&rig.store, &key(&target));
        rig.turn();
        assert_eq!(rig.disk().bytes(), files.segment_bytes(), "after {number}");
    }
    assert!(rig.store.counts().disk_write_errors > 0);
    assert!(files.segment_bytes() <= settings().bytes_max, "{}", files.segment_bytes());
    files.heal();
    let before = rig.store.counts().disk_writes;
    for number in 2_000..5_000 {
        let target = format!("/{number}");
        put(&rig.store, &key(&target), &body(&target, 1, 5_000));
        hit(&rig.store, &key(&target));
        rig.turn();
    }
    assert!(rig.store.counts().disk_writes > before, "space comes back");
    assert!(files.segment_bytes() <= settings().bytes_max, "{}", files.segment_bytes());
}

#[test]
fn a_read_that_breaks_is_a_miss_and_the_next_one_is_served() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/1", b"one");
    rig.write("/2", b"two");
    let files = files.after_kill();
    let mut rig = Rig::open(&files);
    files.while_reading(".data", || panic!("a fault made for a test"));
    assert_eq!(rig.read(&key("/1")), None);
    assert_eq!((rig.store.counts().disk_panics, rig.store.counts().disk_misses), (1, 1));
    assert_eq!(rig.read(&key("/2")), Some(b"two".to_vec()));
    let late = 1_000_000;
    assert!(matches!(rig.store.lookup(&key("/3"), late), Lookup::Lease(_)));
    let disk = rig.disk();
    assert_eq!(disk.watch.asked.load(SeqCst), 0, "nothing is waited for for ever");
    assert_eq!(disk.state(), DiskState::Ready);
}

#[test]
fn a_writer_that_breaks_ends_the_tier_and_says_so() {
    let files = FaultyFiles::default();
    let mut rig = Rig::open(&files);
    rig.write("/1", b"one");
    put(&rig.store, &key("/2"), b"two");
    hit(&rig.store, &key("/2"));
    files.while_writing(".data", || panic!("a fault made for a test"));
    let writer = &mut rig.workers.writer;
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| writer.run()));
    let DiskState::Failed(reason) = rig.disk().state() else { panic!("{:?}", rig.disk().state()) };
    assert!(reason.contains("broke") && reason.contains("in memory alone"), "{reason}");
    assert!(unwound.is_ok(), "its thread ends");
    assert_eq!(rig.store.counts().disk_panics, 1);
    assert!(!files.is_claimed() && rig.disk().reads.is_closed());
    rig.store.purge(&Purge::Zone { zone: 1 }, Strength::Hard, 2, |recorded| {
        assert_eq!(recorded, Recorded::InMemory);
    });
    put(&rig.store, &key("/3"), b"three");
    assert_eq!(body_of(&hit(&rig.store, &key("/3"))), b"three");
}
