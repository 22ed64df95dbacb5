//! A disk that stops answering in the middle of whatever it does: serving threads go on without it.
//!
//! The test's own thread is the serving thread: were a lock held over an operation on a file, it would hang.

use std::io;
use std::sync::{Condvar, Mutex};

use cache::store::DiskState;
use cache::store::disk::{Files, StoredFile};

use super::*;

/// Lets operations through, or holds them.
#[derive(Default)]
struct Gate {
    /// Whether it is shut, and how many operations it holds.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().expect("no panic with it");
        state.1 += 1;
        self.changed.notify_all();
        while state.0 {
            state = self.changed.wait(state).expect("no panic with it");
        }
        state.1 -= 1;
    }

    fn set_shut(&self, is_shut: bool) {
        self.state.lock().expect("no panic with it").0 = is_shut;
        self.changed.notify_all();
    }

    /// Waits until so many operations are held.
    fn wait_for(&self, operations: usize) {
        let mut state = self.state.lock().expect("no panic with it");
        while state.1 < operations {
            state = self.changed.wait(state).expect("no panic with it");
        }
    }
}

/// A folder whose operations all go through a gate.
struct Gated {
    folder: Folder,
    gate: Arc<Gate>,
}

struct GatedFile {
    file: Arc<dyn StoredFile>,
    gate: Arc<Gate>,
}

impl StoredFile for GatedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.file.read_at(into, offset)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.gate.pass();
        self.file.write_at(from, offset)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.gate.pass();
        self.file.bytes()
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }
}

impl Files for Gated {
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>> {
        self.folder.claim()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.gate.pass();
        self.folder.names()
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        self.gate.pass();
        Ok(Arc::new(GatedFile { file: self.folder.open(name, create)?, gate: Arc::clone(&self.gate) }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.gate.pass();
        self.folder.remove(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.gate.pass();
        self.folder.rename(from, to)
    }

    fn sync(&self) -> io::Result<()> {
        self.gate.pass();
        self.folder.sync()
    }
}

#[test]
fn a_disk_that_stops_answering_stops_nobody() {
    let folder = folder_of("stalled");
    let (first, mut workers) = open(&folder);
    turn(&mut workers);
    for number in 0..20 {
        put_twice(&first, &format!("/old/{number}"));
    }
    turn(&mut workers);
    first.disk().expect("attached").release();
    turn(&mut workers);

    let gate = Arc::new(Gate::default());
    let store = Store::new(MemorySettings::of(4 << 20), Seed([5; 16]));
    let settings = DiskSettings { segment_bytes: 256 << 10, readers: 2, ..DiskSettings::of(64 << 20) };
    let files = Arc::new(Gated { folder: Folder(folder.clone()), gate: Arc::clone(&gate) });
    let running = attach(&store, files, settings).expect("the first disk").start().expect("threads");
    settle(&store, 1, 0);
    gate.set_shut(true);

    // The writer and both readers are caught in the middle of an operation.
    put_twice(&store, "/written");
    let mut reads: Vec<Ticket> = (0..3)
        .map(|number| match store.lookup(&key(&format!("/old/{number}")), 1_000) {
            Lookup::Wait(ticket) => ticket,
            other => panic!("expected to wait, got {other:?}"),
        })
        .collect();
    gate.wait_for(3);

    // Everything goes on: hits, misses, stores, evictions, purges, listings of memory.
    for number in 0..5_000 {
        put_twice(&store, &format!("/new/{number}"));
    }
    assert!(store.counts().evictions > 0 && store.counts().disk_writes_bypassed > 0);
    store.purge(&Purge::Zone { zone: 2 }, Strength::Hard, 2, |_| ());
    assert!(matches!(store.lookup(&key("/new/4999"), 1_000), Lookup::Hit(_)));
    // Who waits for the disk goes to the origin at its deadline, and nobody waits any more after a while.
    for ticket in &mut reads {
        let deadline = ticket.deadline_ms().expect("the disk's");
        assert!(ticket.poll(Waker::noop(), deadline - 1).is_pending());
        assert!(matches!(ticket.poll(Waker::noop(), deadline), Poll::Ready(Waited::Lease(_))));
    }
    assert!(matches!(store.lookup(&key("/old/9"), 1_250), Lookup::Lease(_)));
    let counts = store.counts();
    assert_eq!((counts.disk_reads_late, counts.disk_reads_bypassed), (3, 1));

    // It answers again, and is asked again.
    gate.set_shut(false);
    settle(&store, 3, 1);
    let Lookup::Wait(ticket) = store.lookup(&key("/old/10"), 1_251) else { panic!("on disk") };
    assert!(matches!(wait(ticket), Waited::Hit(_)));
    assert_eq!(store.disk().expect("attached").state(), DiskState::Ready);
    running.release();
    running.join();
    std::fs::remove_dir_all(&folder).expect("it is there");
}
