//! Fuzzes what the cache finds in its folder: no panic, and nothing is read that was not written so.
//!
//! The first byte chooses what the rest is put in the place of; the folder is then opened, asked for what it
//! holds, and written to. Read next: `crates/cache/src/store/disk/format.rs`.
#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use cache::store::disk::format::{Entry, Record, Superblock};
use cache::store::disk::{DiskCursor, Files, StoredFile, Turn, attach};
use cache::store::{
    Answer, DiskSettings, DiskState, Head, KeyRef, Lookup, MemorySettings, Purge, Seed, Store, Strength,
    Waited,
};
use libfuzzer_sys::fuzz_target;

type Content = Arc<Mutex<Vec<u8>>>;

/// A folder in memory.
#[derive(Default, Clone)]
struct Memory(Arc<Mutex<BTreeMap<String, Content>>>);

struct MemoryFile(Content);

impl StoredFile for MemoryFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().expect("one thread");
        let from = bytes.get(offset as usize..).unwrap_or_default();
        let count = from.len().min(into.len());
        into[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        let mut bytes = self.0.lock().expect("one thread");
        let length = bytes.len().max(offset as usize + from.len());
        bytes.resize(length, 0);
        bytes[offset as usize..offset as usize + from.len()].copy_from_slice(from);
        Ok(from.len())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("one thread").len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Files for Memory {
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>> {
        Ok(Some(Box::new(())))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().expect("one thread").keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        let mut files = self.0.lock().expect("one thread");
        if !create && !files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let content = files.entry(name.to_owned()).or_default();
        Ok(Arc::new(MemoryFile(Arc::clone(content))))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.lock().expect("one thread").remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.0.lock().expect("one thread");
        let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), content);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

const TARGETS: [&str; 4] = ["/a", "/b", "/c", "/d"];

fn key(target: &str) -> KeyRef<'_> {
    KeyRef { zone: 1, host: b"a.example", target: target.as_bytes(), rest: b"" }
}

/// Opens the folder and reads all it has, then stores what is missing; every body must be its key's.
fn live(files: &Memory) {
    let memory = MemorySettings { purge_slots: 64, shards: 1, ..MemorySettings::of(1 << 20) };
    let store = Store::new(memory, Seed([1; 16]));
    let settings = DiskSettings { segment_bytes: 4096, ..DiskSettings::of(64 << 10) };
    let mut workers = attach(&store, Arc::new(files.clone()), settings).expect("the first disk");
    let turn = |workers: &mut cache::store::disk::Workers| {
        while workers.writer.turn(Duration::ZERO) == Turn::Worked {}
        for reader in &mut workers.readers {
            while reader.turn(Duration::ZERO) == Turn::Worked {}
        }
    };
    turn(&mut workers);
    if let DiskState::Ready = workers.writer.disk().state() {
        let _listed = workers.writer.disk().list(DiskCursor::default(), 100);
    }
    for target in TARGETS {
        let lease = match store.lookup(&key(target), 0) {
            Lookup::Wait(mut ticket) => {
                turn(&mut workers);
                match ticket.poll(Waker::noop(), 0) {
                    Poll::Ready(Waited::Hit(object)) => {
                        let body = object.chunks().expect("whole").concat();
                        assert_eq!(body, target.as_bytes().repeat(300), "a wrong byte");
                        continue;
                    }
                    Poll::Ready(Waited::Lease(lease)) => lease,
                    other => panic!("neither read nor missing: {other:?}"),
                }
            }
            Lookup::Lease(lease) => lease,
            other => panic!("neither on disk nor missing: {other:?}"),
        };
        let head = Head { bytes: Bytes::new(), numbers: [0; 8], snapshot: 1 };
        let mut fill = lease.begin(Answer { head, tags: &[b"t"], body_bytes: None }).expect("kept");
        fill.push(&target.as_bytes().repeat(300));
        fill.finish();
        drop(store.lookup(&key(target), 0));
        turn(&mut workers);
    }
    store.purge(&Purge::Tag { zone: 1, tag: b"other" }, Strength::Hard, 1, |_| ());
    turn(&mut workers);
}

fuzz_target!(|input: &[u8]| {
    let _ = Superblock::decode(input);
    let _ = Entry::decode(1, input);
    let _ = Record::decode(input, 1, None);
    let Some((choice, bytes)) = input.split_first() else { return };
    let files = Memory::default();
    live(&files);
    let names = files.names().expect("in memory");
    let name = &names[usize::from(*choice) % names.len()];
    let content = Arc::clone(&files.0.lock().expect("one thread")[name]);
    let mut old = content.lock().expect("one thread");
    if *choice < 128 {
        // All of it.
        *old = bytes.to_vec();
    } else if let Some((at, bytes)) = bytes.split_first_chunk::<2>() {
        // A part.
        let at = usize::from(u16::from_le_bytes(*at)) % (old.len() + 1);
        let count = bytes.len().min(old.len() - at);
        old[at..at + count].copy_from_slice(&bytes[..count]);
    }
    drop(old);
    live(&files);
    live(&files);
});
