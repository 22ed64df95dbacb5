//! What visitors do to a protocol that costs the node more than them, by name, and the account of what comes
//! again and again and carries nothing.
//!
//! It decides nothing about a request. Whoever ends a visitor's connection or stream for what stands here
//! counts it as [`crate::WireEvent::Abuse`], once. The bounds stand in [`crate::limits`]. Read next:
//! `h2/frame_check.rs`, `places.rs`.

use crate::limits::{EMPTY_BURST, EMPTY_PER_TICK};

macro_rules! abuses {
    ($($(#[$meaning:meta])* $variant:ident = $word:literal,)*) => {
        /// What a visitor was ended, refused or asked for a proof for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Abuse { $($(#[$meaning])* $variant,)* }

        impl Abuse {
            /// The word of each, in the order of their places: the label of the metric.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];
        }
    };
}

abuses! {
    /// A PROXY header, a handshake or the choice of a protocol was begun and not ended in time.
    SlowHandshake = "slow_handshake",
    /// A request's head was begun and not ended in time.
    SlowHead = "slow_head",
    /// A request's body stood still, or came more slowly than its zone asks.
    SlowBody = "slow_body",
    /// Nothing of what waits for the visitor was taken for as long as it may wait.
    SlowRead = "slow_read",
    /// More handshakes were under way than there is room, or time, for.
    HandshakeFlood = "handshake_flood",
    /// A network that holds much of a thread's room came for the last of it.
    ConnectionFlood = "connection_flood",
    /// A QUIC visitor was first asked to prove its address (RFC 9000 §8.1.2).
    UnprovenAddress = "unproven_address",
    /// Streams were opened and given up again and again (rapid reset, CVE-2023-44487).
    Resets = "resets",
    /// Errors made us reset streams again and again (MadeYouReset, CVE-2025-8671).
    ProvokedResets = "provoked_resets",
    /// A field block in more CONTINUATION frames than any needs (CVE-2024-27316).
    Continuation = "continuation_flood",
    /// SETTINGS frames without need (CVE-2019-9515).
    Settings = "settings_flood",
    /// PING frames without need (CVE-2019-9512).
    Ping = "ping_flood",
    /// PRIORITY frames and updates without need (CVE-2019-9513).
    Priority = "priority_flood",
    /// Windows opened without need.
    Window = "window_flood",
    /// Frames of a body with nothing of it (CVE-2019-9518).
    EmptyData = "empty_data_flood",
    /// Other frames that mean nothing.
    OtherFrames = "frame_flood",
    /// Heads that cannot be served, again and again, or one far above every limit (HPACK and QPACK bombs,
    /// CVE-2016-6581).
    Heads = "head_flood",
    /// Control frames of a WebSocket without need.
    WebSocket = "websocket_flood",
}

/// The account of what comes again and again and carries nothing: a burst is fine, so many a second are, and
/// so is what goes with work. Time is the tick of [`exchange::Deadlines`], an argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    left: u32,
    at_tick: u32,
}

impl Allowance {
    /// A full one.
    pub(crate) fn new() -> Self {
        Self { left: EMPTY_BURST, at_tick: 0 }
    }

    /// Something came that carries something, or left: so many that carry nothing go with it.
    pub(crate) fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(EMPTY_BURST);
    }

    /// Something came that carries nothing; false if that is more than may come.
    pub(crate) fn spend(&mut self, now_tick: u32) -> bool {
        let ticks = now_tick.saturating_sub(std::mem::replace(&mut self.at_tick, now_tick));
        self.earn(ticks.saturating_mul(EMPTY_PER_TICK));
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_so_many_a_second_pass() {
        let mut allowance = Allowance::new();
        assert!((0..EMPTY_BURST).all(|_| allowance.spend(7)));
        assert!(!allowance.spend(7));
        assert!((0..EMPTY_PER_TICK).all(|_| allowance.spend(8)));
        assert!(!allowance.spend(8));
        allowance.earn(2);
        assert!(allowance.spend(8) && allowance.spend(8) && !allowance.spend(8));
        assert!((0..EMPTY_BURST).all(|_| allowance.spend(100_000)), "never more than a burst is saved");
        assert!(!allowance.spend(100_000));
    }

    #[test]
    fn each_kind_has_a_word_of_its_own_at_its_place() {
        let mut words = Abuse::WORDS.to_vec();
        assert_eq!(words[Abuse::WebSocket as usize], "websocket_flood");
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Abuse::WebSocket as usize + 1);
    }
}
