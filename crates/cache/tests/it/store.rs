//! The store from outside, with a real folder, real threads and a process that is really killed.
//!
//! What can be tried without them is tried beside the code, over files that fail on purpose.

mod folder;
mod killed;
mod stalled;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cache::store::disk::{Folder, Turn, Workers, attach};
use cache::store::{
    Answer, DiskSettings, Head, KeyRef, Lookup, MemorySettings, Purge, Recorded, Seed, Store, Strength,
    Ticket, Waited,
};

/// An empty folder of one test's own.
fn folder_of(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cache-{test}-{}", std::process::id()));
    // It may be there from a run that was killed.
    std::fs::remove_dir_all(&folder).unwrap_or_default();
    folder
}

fn open(folder: &Path) -> (Store, Workers) {
    let store = Store::new(MemorySettings::of(4 << 20), Seed([5; 16]));
    let settings = DiskSettings { segment_bytes: 256 << 10, ..DiskSettings::of(64 << 20) };
    let workers = attach(&store, Arc::new(Folder(folder.to_owned())), settings).expect("the first disk");
    (store, workers)
}

fn key(target: &str) -> KeyRef<'_> {
    KeyRef { zone: 1, host: b"a.example", target: target.as_bytes(), rest: b"" }
}

fn body(target: &str) -> Vec<u8> {
    target.bytes().cycle().take(3_000).collect()
}

/// Fetches an object and asks for it a second time.
fn put_twice(store: &Store, target: &str) {
    let Lookup::Lease(lease) = store.lookup(&key(target), 0) else { panic!("{target} is new") };
    let head = Head { bytes: Bytes::from_static(b"head"), numbers: [0; 8], snapshot: 1 };
    let mut fill = lease.begin(Answer { head, tags: &[], body_bytes: None }).expect("kept");
    fill.push(&body(target));
    fill.finish();
    assert!(matches!(store.lookup(&key(target), 0), Lookup::Hit(_)));
}

fn turn(workers: &mut Workers) {
    while workers.writer.turn(Duration::ZERO) == Turn::Worked {}
    for reader in &mut workers.readers {
        while reader.turn(Duration::ZERO) == Turn::Worked {}
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, as long as it takes.
fn wait(mut ticket: Ticket) -> Waited {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match ticket.poll(&waker, 0) {
            Poll::Ready(waited) => return waited,
            Poll::Pending => thread::park(),
        }
    }
}

/// Makes a purge that is about nothing and waits until the disk has it.
fn purge_nothing(store: &Store, number: u64) -> Recorded {
    let (sender, told) = sync_channel(1);
    let purge = Purge::Tag { zone: 99, tag: b"nothing" };
    store.purge(&purge, Strength::Hard, number, move |recorded| sender.send(recorded).expect("waited for"));
    told.recv().expect("an answer")
}

/// Waits until the disk has written so many objects in all, by purges, which the writer answers between them.
fn settle(store: &Store, number: u64, written: u64) {
    assert_eq!(purge_nothing(store, number), Recorded::OnDisk);
    for _ in 0..1_000_000 {
        if store.counts().disk_writes >= written {
            return;
        }
        assert_eq!(purge_nothing(store, number), Recorded::OnDisk);
    }
    panic!("the disk does not write {written}: {:?}", store.counts());
}
