//! Whether the far end of an HTTP/2 connection is still there.
//!
//! A connection whose packets go nowhere looks open until TCP gives up, a quarter of an hour later, and every
//! request on it would wait for its whole time-out. So a request that takes a connection which has been
//! silent for a moment is sent together with a PING (RFC 9113 §6.7); if nothing at all comes back in time,
//! the connection is dead and everything on it fails, to be tried elsewhere where that is safe.
//!
//! It asks sparingly, because servers count PINGs against their sender (gRPC's close a connection at the
//! third without an answer of theirs in between): never on a timer, and not twice without having heard more
//! than the answer to the last one. What it approximates: a server that cannot answer a PING within the time
//! to open a connection counts as gone. It would be wrong for one that stops the world for so long, and for a
//! line so slow that 64 KiB take that long.
//!
//! Called by `http2_link.rs`. Read next: that.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use exchange::{Deadline, TICK_MS};
use h2::{Ping, PingPong};

/// Milliseconds without a byte after which a connection is asked about before it is trusted.
const SILENT_MS: u32 = 1_000;

/// Bytes of a PING's answer (RFC 9113 §6.7).
const PONG_BYTES: u64 = 9 + 8;

/// Bytes sent since something was last heard, beyond which no PING follows: behind a long upload on a slow
/// line its answer says nothing about the far end.
const UNHEARD_BYTES_MAX: u64 = 64 * 1024;

/// What one connection knows about its far end.
pub(crate) struct Probe {
    /// Armed while an answer is awaited.
    slot: Deadline,
    wait_ms: u32,
    ping: RefCell<Option<PingPong>>,
    heard_bytes: Cell<u64>,
    heard_tick: Cell<u32>,
    sent_unheard: Cell<u64>,
    /// What had been heard when a PING was sent last.
    asked_at: Cell<Option<u64>>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("heard_bytes", &self.heard_bytes).finish_non_exhaustive()
    }
}

impl Probe {
    /// `slot` is a deadline of the thread, for this alone; an answer may take `wait_ms`.
    pub(crate) fn new(slot: Deadline, wait_ms: u64) -> Self {
        let now = slot.owner().now();
        Self {
            slot,
            wait_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
            ping: RefCell::default(),
            heard_bytes: Cell::new(0),
            heard_tick: Cell::new(now),
            sent_unheard: Cell::new(0),
            asked_at: Cell::new(None),
        }
    }

    /// What it asks by, once nobody else needs it.
    pub(crate) fn may_use(&self, ping: PingPong) {
        *self.ping.borrow_mut() = Some(ping);
    }

    /// Bytes came: the far end is there.
    pub(crate) fn heard(&self, bytes: usize) {
        if bytes == 0 {
            return; // the end of the stream, which h2 deals with
        }
        self.heard_bytes.set(self.heard_bytes.get() + bytes as u64);
        self.heard_tick.set(self.slot.owner().now());
        self.sent_unheard.set(0);
        self.slot.disarm();
    }

    /// Bytes were given to the socket.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_unheard.set(self.sent_unheard.get() + bytes as u64);
    }

    /// Bytes heard so far.
    pub(crate) fn heard_bytes(&self) -> u64 {
        self.heard_bytes.get()
    }

    /// A request is about to use the connection: asks the far end, if there is doubt.
    pub(crate) fn ask(&self) {
        let silent_ticks = self.slot.owner().now().saturating_sub(self.heard_tick.get());
        let heard = self.heard_bytes.get();
        let has_heard_more = self.asked_at.get().is_none_or(|asked_at| heard > asked_at + PONG_BYTES);
        if silent_ticks < SILENT_MS / TICK_MS
            || !has_heard_more
            || self.sent_unheard.get() > UNHEARD_BYTES_MAX
        {
            return;
        }
        let mut ping = self.ping.borrow_mut();
        let Some(ping) = &mut *ping else { return };
        // h2 wants the last answer taken before the next question; its bytes were heard already.
        let _taken = ping.poll_pong(&mut Context::from_waker(Waker::noop()));
        if ping.send_ping(Ping::opaque()).is_ok() {
            self.asked_at.set(Some(heard));
            self.slot.arm(self.wait_ms);
        }
    }

    /// Whether nothing came back in time; else the task is woken when that is known.
    pub(crate) fn is_dead(&self, cx: &Context<'_>) -> bool {
        self.slot.register(cx.waker());
        self.slot.is_due()
    }
}
