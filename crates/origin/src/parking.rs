//! Idle HTTP/1 connections on their way from one thread to another.
//!
//! A thread keeps the connections it used in the last moments and parks the rest here, with the origin's
//! state, so that a node with many threads and few requests uses as few connections as one thread would.
//! Called by `origins.rs` and `connect.rs`. Read next: `stream.rs`.

use std::sync::Arc;

use crate::fleet::{OriginState, PARKED_MAX, Permit, lock};
use crate::stream::{Parked, Stream};

/// An idle connection without a thread.
#[derive(Debug)]
pub(crate) struct ParkedConnection {
    pub(crate) parked: Parked,
    pub(crate) permit: Permit,
    pub(crate) target: u64,
    pub(crate) idle_since_ms: u64,
    /// The origin's own limit, see `Http1::kept_ms`.
    pub(crate) kept_ms: u64,
    pub(crate) label: Arc<str>,
}

impl ParkedConnection {
    fn is_young(&self, keepalive_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.idle_since_ms) < keepalive_ms.min(self.kept_ms)
    }
}

/// Parks a connection; the oldest goes if there are too many.
pub(crate) fn park(origin: &OriginState, connection: ParkedConnection) {
    if origin.is_gone() {
        return;
    }
    let mut parked = lock(&origin.parked);
    let oldest = (parked.len() >= PARKED_MAX).then(|| parked.remove(0));
    parked.push(connection);
    drop(parked);
    drop(oldest);
    origin.released.notify_one();
}

/// Takes the connection that was idle for the shortest time, made for this target and still open.
pub(crate) fn take(
    origin: &OriginState,
    target: u64,
    keepalive_ms: u64,
    now_ms: u64,
) -> Option<(Stream, Permit, Arc<str>)> {
    loop {
        let one = lock(&origin.parked).pop()?;
        if one.target == target
            && one.is_young(keepalive_ms, now_ms)
            && let Some(stream) = one.parked.unpark()
        {
            return Some((stream, one.permit, one.label));
        }
    }
}

/// Takes the connection that was idle for the longest time, whomever it was made for.
pub(crate) fn take_oldest(origin: &OriginState) -> Option<ParkedConnection> {
    let mut parked = lock(&origin.parked);
    (!parked.is_empty()).then(|| parked.remove(0))
}

/// Closes what has been idle for too long. Whoever finds another thread at it leaves it to that one.
pub(crate) fn expire(origin: &OriginState, keepalive_ms: u64, now_ms: u64) {
    let Ok(mut parked) = origin.parked.try_lock() else { return };
    let expired: Vec<_> = parked.extract_if(.., |one| !one.is_young(keepalive_ms, now_ms)).collect();
    drop(parked);
    drop(expired); // closed with the list free
}
