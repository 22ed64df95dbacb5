//! The account that a connection of HTTP/2 keeps of its streams: how they ended, what they gave, and how long
//! its visitor may take.
//!
//! Each stream's task writes it, the connection's task reads it at its next turn. Caller: `h2.rs`.

use std::cell::Cell;
use std::rc::Rc;

use exchange::{Holder, TICK_MS};

use crate::limits::RESET_CREDIT;
use crate::thread::VisitorTimes;

/// What a connection's streams tell it of their work.
pub(super) struct Work {
    /// Streams that may still be given up, and the tick up to which time has returned some.
    pub(super) credit: Cell<u32>,
    credit_at: Cell<u32>,
    /// Streams answered since the connection looked last.
    pub(super) answered: Cell<u64>,
    /// Frames of answers given since the connection looked last, that carry something.
    pub(super) given: Cell<u32>,
    /// The last tick at which the socket had not taken all that it was given.
    pub(super) blocked_at: Cell<u32>,
    /// How long the visitor may take, as the zone says that answered last.
    pub(super) times: Cell<VisitorTimes>,
    /// For whom the connection's place is held, until the connection has looked.
    pub(super) holder: Cell<Option<Holder>>,
}

impl Work {
    pub(super) fn new(times: VisitorTimes, now_tick: u32) -> Rc<Self> {
        Rc::new(Self {
            credit: Cell::new(RESET_CREDIT),
            credit_at: Cell::new(now_tick),
            answered: Cell::new(0),
            given: Cell::new(0),
            blocked_at: Cell::new(now_tick),
            times: Cell::new(times),
            holder: Cell::new(None),
        })
    }

    /// A stream has ended: each given up costs one, each answered returns one, and so does each tick, as over
    /// HTTP/3 (rapid reset, CVE-2023-44487, after acceptance).
    pub(super) fn ended(&self, is_complete: bool, now_tick: u32) {
        let earned = now_tick.wrapping_sub(self.credit_at.replace(now_tick));
        let credit = self.credit.get().saturating_add(earned).min(RESET_CREDIT);
        self.credit.set(match is_complete {
            true => (credit + 1).min(RESET_CREDIT),
            false => credit.saturating_sub(1),
        });
        self.answered.set(self.answered.get() + u64::from(is_complete));
    }

    /// A piece was given to h2. One that the visitor's window `is_cut` to next to nothing does not count: it
    /// would pay for the window (data dribble, CVE-2019-9511). A small one that is whole does, such as an
    /// event, for which some visitors open two windows.
    pub(super) fn gave(&self, bytes: usize, is_cut: bool) {
        if is_cut && bytes < SMALL_BYTES {
            return;
        }
        let frames = u32::try_from(1 + bytes / FRAME_BYTES).unwrap_or(u32::MAX);
        self.given.set(self.given.get().saturating_add(frames));
    }

    /// Milliseconds since the socket had not taken all that it was given.
    pub(super) fn unblocked_ms(&self, now_tick: u32) -> u32 {
        now_tick.wrapping_sub(self.blocked_at.get()).saturating_mul(TICK_MS)
    }
}

/// Bytes of a body that are less than a visitor's window is worth opening for.
const SMALL_BYTES: usize = 256;

/// Bytes of a body that one frame carries where the visitor has said nothing else (RFC 9113 §4.2).
const FRAME_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_piece_counts_if_it_is_whole() {
        let work = Work::new(VisitorTimes::default(), 0);
        work.gave(SMALL_BYTES - 1, true);
        assert_eq!(work.given.get(), 0);
        work.gave(SMALL_BYTES, true);
        work.gave(1, false);
        assert_eq!(work.given.get(), 2);
    }

    #[test]
    fn streams_given_up_are_forgiven_with_time_and_with_answers() {
        let work = Work::new(VisitorTimes::default(), 7);
        (1..RESET_CREDIT).for_each(|_| work.ended(false, 7));
        assert_eq!(work.credit.get(), 1);
        work.ended(true, 7);
        assert_eq!((work.credit.get(), work.answered.get()), (2, 1));
        work.ended(false, 17);
        assert_eq!(work.credit.get(), 11, "one with each tick");
        work.ended(false, 100_000);
        assert_eq!(work.credit.get(), RESET_CREDIT - 1, "never more than there is");
    }
}
