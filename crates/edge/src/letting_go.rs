//! Letting go of QUIC: a process that drains gives up its UDP sockets before it has drained, and the next one
//! waits for that.
//!
//! The next process that serves the same generation of sockets would otherwise read them too: each would take
//! half of the other's packets, and reset what it does not know. Connections without a request close by
//! themselves as soon as a drain begins; so those that are closed here have an exchange under way that lasts.
//! TCP is not touched. Caller: `serving.rs`; the binary says when. Read next: `wire`'s `h3/endpoint.rs`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

/// No order was given.
const NEVER: u64 = u64::MAX;

/// The order, and how far it was carried out.
#[derive(Debug)]
pub(crate) struct LettingGo {
    /// When what is open is closed, by the node's clock.
    until_ms: AtomicU64,
    /// Threads that read UDP sockets.
    reading: AtomicUsize,
}

impl Default for LettingGo {
    fn default() -> Self {
        Self { until_ms: AtomicU64::new(NEVER), reading: AtomicUsize::new(0) }
    }
}

impl LettingGo {
    /// Orders it: connections are closed at that time at the latest. A later order may only bring it forward.
    pub(crate) fn order(&self, until_ms: u64) {
        self.until_ms.fetch_min(until_ms, Ordering::AcqRel);
    }

    /// Whether it was ordered.
    pub(crate) fn is_ordered(&self) -> bool {
        self.until_ms.load(Ordering::Acquire) != NEVER
    }

    /// Whether it is ordered; if so, whether what is open is to be closed by now.
    pub(crate) fn ordered(&self, now_ms: u64) -> Option<bool> {
        let until_ms = self.until_ms.load(Ordering::Acquire);
        (until_ms != NEVER).then_some(now_ms >= until_ms)
    }

    /// A thread reads UDP sockets, or reads none any more.
    pub(crate) fn count_reading(&self, reads: bool) {
        match reads {
            true => self.reading.fetch_add(1, Ordering::AcqRel),
            false => self.reading.fetch_sub(1, Ordering::AcqRel),
        };
    }

    /// Whether a thread still reads one.
    pub(crate) fn reads(&self) -> bool {
        self.reading.load(Ordering::Acquire) > 0
    }
}

/// Whether this process may read its UDP sockets by now: the one before it may have them for a moment yet.
/// What comes meanwhile is for that one, or waits in the sockets.
#[derive(Debug)]
pub(crate) struct QuicHold(watch::Sender<bool>);

impl Default for QuicHold {
    fn default() -> Self {
        Self(watch::Sender::new(true))
    }
}

impl QuicHold {
    /// Says whether it may.
    pub(crate) fn set(&self, may_read: bool) {
        self.0.send_replace(may_read);
    }

    /// Waits until it may.
    pub(crate) async fn end(&self) {
        // It fails only when nobody could say so any more: the node is gone, and so is who waits.
        let _ = self.0.subscribe().wait_for(|may_read| *may_read).await;
    }
}
