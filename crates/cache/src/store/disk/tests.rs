//! Tests of the disk tier, turned by hand over files that fail on purpose: no threads, no clock, no folder.

mod behaviour;
mod crashes;
mod failures;
mod faulty;
mod overtaken;
mod shares;

use std::time::Duration;

use super::*;
use crate::store::tests::{SEED, answer, body_of, hit, key, polled, put, put_answer, small_settings};
use crate::store::{Finished, KeyRef, Lookup, MemorySettings, Purge, Store, Strength, Ticket, Waited};
use faulty::FaultyFiles;

/// A store with a disk, as one process has them.
struct Rig {
    store: Store,
    workers: Workers,
}

fn settings() -> DiskSettings {
    DiskSettings { segment_bytes: 64 << 10, readers: 1, ..DiskSettings::of(1 << 20) }
}

impl Rig {
    fn new(files: &FaultyFiles) -> Self {
        Self::with(files, settings())
    }

    fn with(files: &FaultyFiles, settings: DiskSettings) -> Self {
        Self::sized(files, settings, 1 << 20)
    }

    fn sized(files: &FaultyFiles, settings: DiskSettings, memory_bytes: u64) -> Self {
        let memory = MemorySettings { memory_object_bytes_max: 32 << 10, ..small_settings(memory_bytes) };
        let store = Store::new(memory, SEED);
        let workers = attach(&store, Arc::new(files.clone()), settings).expect("the first disk");
        Self { store, workers }
    }

    /// Opened and loaded.
    fn open(files: &FaultyFiles) -> Self {
        let mut rig = Self::new(files);
        rig.turn();
        assert_eq!(rig.disk().state(), DiskState::Ready);
        rig
    }

    fn disk(&self) -> &Disk {
        self.workers.writer.disk()
    }

    /// Turns all workers until they are idle.
    fn turn(&mut self) {
        while self.workers.writer.turn(Duration::ZERO) == Turn::Worked {}
        for reader in &mut self.workers.readers {
            while reader.turn(Duration::ZERO) == Turn::Worked {}
        }
    }

    /// Stores an object and asks for it again, so that it goes to disk.
    fn write(&mut self, target: &str, body: &[u8]) {
        assert_eq!(put(&self.store, &key(target), body), Finished::Kept);
        hit(&self.store, &key(target));
        self.turn();
    }

    /// Looks up what memory does not have: what the disk gave, if anything.
    fn read(&mut self, key: &KeyRef<'_>) -> Option<Vec<u8>> {
        let mut ticket = match self.store.lookup(key, 0) {
            Lookup::Wait(ticket) => ticket,
            Lookup::Hit(object) => return Some(body_of(&object)),
            _ => return None,
        };
        self.turn();
        match polled(&mut ticket, 0) {
            Some(Waited::Hit(object)) => Some(body_of(&object)),
            Some(Waited::Lease(_)) => None,
            other => panic!("expected an answer, got {other:?}"),
        }
    }
}

/// A body that tells what it is of.
fn body(target: &str, version: u32, bytes: usize) -> Vec<u8> {
    let start = format!("{target} {version} ");
    start.bytes().cycle().take(bytes.max(start.len())).collect()
}
