//! How long the disk tier takes to open with many objects, and what each takes in memory.
//!
//! Writes them to a folder that is empty or does not exist, forgets everything, and opens the folder again:
//!
//! ```text
//! cargo run --release -p cache --example start_up -- FOLDER 1000000
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache::store::disk::{Folder, Turn, Workers, attach};
use cache::store::{Answer, DiskSettings, DiskState, Head, KeyRef, Lookup, MemorySettings, Seed, Store};

fn open(folder: &Path) -> (Store, Workers) {
    let store = Store::new(MemorySettings::of(64 << 20), Seed([3; 16]));
    let files = Arc::new(Folder(folder.to_owned()));
    let Some(workers) = attach(&store, files, DiskSettings::of(8 << 30)) else { panic!("a second disk") };
    (store, workers)
}

fn write(folder: &Path, objects: u32) {
    let (store, mut workers) = open(folder);
    while workers.writer.turn(Duration::ZERO) == Turn::Worked {}
    for number in 0..objects {
        let target = format!("/articles/2026/11/{number:08}.html?page=1");
        let key = KeyRef { zone: 1, host: b"www.example.org", target: target.as_bytes(), rest: b"https" };
        let Lookup::Lease(lease) = store.lookup(&key, 0) else { continue };
        let head = Head { bytes: Bytes::from_static(&[0; 200]), numbers: [0; 8], snapshot: 1 };
        if let Ok(mut fill) = lease.begin(Answer { head, tags: &[b"news"], body_bytes: Some(100) }) {
            fill.push(&[0; 100]);
            fill.finish();
        }
        // The second request is what sends it to disk.
        drop(store.lookup(&key, 0));
        if number % 500 == 0 || number + 1 == objects {
            while workers.writer.turn(Duration::ZERO) == Turn::Worked {}
        }
    }
    println!("{:?}", store.counts());
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next().map(PathBuf::from) else {
        println!("usage: start_up FOLDER [OBJECTS]");
        return;
    };
    let objects = arguments.next().and_then(|number| number.parse().ok()).unwrap_or(1_000_000);
    write(&folder, objects);
    let (store, mut workers) = open(&folder);
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    let start = Instant::now();
    let disk = Arc::clone(workers.writer.disk());
    while disk.state() != DiskState::Ready {
        workers.writer.turn(Duration::ZERO);
    }
    println!("{} objects after {} ms", disk.objects(), start.elapsed().as_millis());
    println!("{} bytes of memory each", disk.index_bytes() / disk.objects().max(1));
    println!("{} MiB on disk; {:?}", disk.bytes() >> 20, store.counts());
}
