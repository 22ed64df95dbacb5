//! Tests of the memory tier: lookups, leases, fills, purges, bounds. The disk's are in `disk/tests.rs`.

mod eviction;
mod leases;
mod model;
mod purges;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Poll, Wake, Waker};

use bytes::Bytes;

use super::*;

pub(crate) const SEED: Seed = Seed([7; 16]);

/// Counts how often it was called.
#[derive(Debug, Default)]
pub(crate) struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Woken {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    pub(crate) fn times(&self) -> usize {
        self.0.load(SeqCst)
    }
}

pub(crate) fn small_settings(bytes_max: u64) -> MemorySettings {
    MemorySettings { shards: 4, purge_slots: 1 << 12, ..MemorySettings::of(bytes_max) }
}

pub(crate) fn store_of(bytes_max: u64) -> Store {
    Store::new(small_settings(bytes_max), SEED)
}

pub(crate) fn key(target: &str) -> KeyRef<'_> {
    KeyRef { zone: 1, host: b"a.example", target: target.as_bytes(), rest: b"" }
}

pub(crate) fn answer(snapshot: u64) -> Answer<'static> {
    let head = Head { bytes: Bytes::from_static(b"head"), numbers: [1; 8], snapshot };
    Answer { head, tags: &[], body_bytes: None }
}

pub(crate) fn lease(store: &Store, key: &KeyRef<'_>) -> Lease {
    match store.lookup(key, 0) {
        Lookup::Lease(lease) => lease,
        other => panic!("expected a lease, got {other:?}"),
    }
}

pub(crate) fn ticket(store: &Store, key: &KeyRef<'_>) -> Ticket {
    match store.lookup(key, 0) {
        Lookup::Wait(ticket) => ticket,
        other => panic!("expected to wait, got {other:?}"),
    }
}

pub(crate) fn hit(store: &Store, key: &KeyRef<'_>) -> Arc<Object> {
    match store.lookup(key, 0) {
        Lookup::Hit(object) => object,
        other => panic!("expected a hit, got {other:?}"),
    }
}

pub(crate) fn is_hit(store: &Store, key: &KeyRef<'_>) -> bool {
    matches!(store.lookup(key, 0), Lookup::Hit(_))
}

/// Fetches and stores a whole object.
pub(crate) fn put(store: &Store, key: &KeyRef<'_>, body: &[u8]) -> Finished {
    put_answer(store, key, answer(1), body)
}

pub(crate) fn put_answer(store: &Store, key: &KeyRef<'_>, answer: Answer<'_>, body: &[u8]) -> Finished {
    let mut fill = lease(store, key).begin(answer).expect("it may be kept");
    fill.push(body);
    fill.finish()
}

pub(crate) fn body_of(object: &Arc<Object>) -> Vec<u8> {
    object.chunks().expect("a whole body").concat()
}

/// Reads all that a reader gives now.
pub(crate) fn drain(reader: &mut Reader, waker: &Waker) -> (Vec<u8>, Option<Piece>) {
    let mut bytes = Vec::new();
    loop {
        match reader.poll_piece(waker) {
            Poll::Ready(Piece::Bytes(piece)) => bytes.extend_from_slice(&piece),
            Poll::Ready(end) => return (bytes, Some(end)),
            Poll::Pending => return (bytes, None),
        }
    }
}

pub(crate) fn polled(ticket: &mut Ticket, now_ms: u64) -> Option<Waited> {
    match ticket.poll(Waker::noop(), now_ms) {
        Poll::Ready(waited) => Some(waited),
        Poll::Pending => None,
    }
}
