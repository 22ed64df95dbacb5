//! Time-outs that float: a transfer is cut when it stands still or is slower than its least rate, never for
//! its length. Pure: `now` is an argument; the deadline is the exchange's. Called by `relay.rs`.

use std::task::Context;

use exchange::Deadline;

/// How long a transfer may be slow before its average rate is judged, in milliseconds: slow start and a lost
/// packet or two are no attack.
const RATE_GRACE_MS: u64 = 5_000;

/// Pieces, each of 64 KiB at most, that a transfer moves before the others of its thread have a turn: half
/// a millisecond's work. Without it an origin that sends as fast as it is read keeps the thread for the 8 MiB
/// that the runtime allows, and as many as there are keep everybody else waiting, one after the other.
const TURN_PIECES: u32 = 8;

/// A transfer's turn on its thread, which begins with each poll.
#[derive(Default)]
pub(crate) struct Turn(u32);

impl Turn {
    /// Counts a piece; whether it was the last of the turn. Then the task is woken behind those that wait,
    /// and is to return.
    pub(crate) fn is_over(&mut self, cx: &Context<'_>) -> bool {
        self.0 += 1;
        let is_over = self.0 >= TURN_PIECES;
        if is_over {
            cx.waker().wake_by_ref();
        }
        is_over
    }
}

/// The pace of one transfer.
pub(crate) struct Pace {
    idle_ms: u32,
    /// Least bytes a second, on average since it began; 0 for any.
    rate: u64,
    began_ms: u64,
    still_ms: u32,
    /// What the deadline was armed for last.
    armed_ms: u32,
    /// Since when its other end holds it up.
    held_since_ms: Option<u64>,
}

impl Pace {
    /// A transfer that begins now: it may stand still for `idle_ms`.
    pub(crate) fn begin(idle_ms: u64, rate: u64, now_ms: u64, deadline: &Deadline) -> Self {
        let idle_ms = u32::try_from(idle_ms).unwrap_or(u32::MAX);
        let mut pace =
            Self { idle_ms, rate, began_ms: now_ms, still_ms: 0, armed_ms: 0, held_since_ms: None };
        pace.arm(deadline);
        pace
    }

    /// With a rate to keep, the deadline fires more often than the transfer may stand still.
    fn step_ms(&self) -> u32 {
        if self.rate > 0 { self.idle_ms.min(RATE_GRACE_MS as u32) } else { self.idle_ms }
    }

    fn arm(&mut self, deadline: &Deadline) {
        self.armed_ms = self.step_ms();
        deadline.arm(self.armed_ms);
    }

    /// Says whether the transfer's other end is what holds it up: that time does not count for its rate.
    pub(crate) fn held(&mut self, is_held: bool, now_ms: u64) {
        match (is_held, self.held_since_ms) {
            (true, None) => self.held_since_ms = Some(now_ms),
            (false, Some(since_ms)) => {
                self.began_ms += now_ms.saturating_sub(since_ms);
                self.held_since_ms = None;
            }
            _ => {}
        }
    }

    fn is_too_slow(&self, bytes: u64, now_ms: u64) -> bool {
        let since_ms = now_ms.saturating_sub(self.began_ms);
        self.rate > 0
            && self.held_since_ms.is_none()
            && since_ms > RATE_GRACE_MS
            && bytes < self.rate.saturating_mul(since_ms) / 1000
    }

    /// Something moved, `bytes` in all by now; false if it is slower than it may be.
    pub(crate) fn moved(&mut self, bytes: u64, now_ms: u64, deadline: &Deadline) -> bool {
        self.still_ms = 0;
        self.arm(deadline);
        !self.is_too_slow(bytes, now_ms)
    }

    /// The deadline fired; whether the transfer may go on.
    pub(crate) fn may_go_on(&mut self, bytes: u64, now_ms: u64, deadline: &Deadline) -> bool {
        self.still_ms = self.still_ms.saturating_add(self.armed_ms);
        if self.still_ms >= self.idle_ms || self.is_too_slow(bytes, now_ms) {
            return false;
        }
        self.arm(deadline);
        true
    }

    /// From now on it may stand still for this long: what it waits for is another.
    pub(crate) fn wait_for(&mut self, idle_ms: u64, deadline: &Deadline) {
        let idle_ms = u32::try_from(idle_ms).unwrap_or(u32::MAX);
        if idle_ms != self.idle_ms {
            self.idle_ms = idle_ms;
            self.still_ms = 0;
            self.arm(deadline);
        }
    }

    /// The transfer was held up by its other end: its rate is no longer its own and is judged no more.
    pub(crate) fn forgive(&mut self) {
        self.rate = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use exchange::Deadlines;

    #[test]
    fn a_transfer_that_moves_is_never_cut_without_a_rate() {
        let slot = Deadlines::new().slot();
        let mut pace = Pace::begin(60_000, 0, 0, &slot);
        assert!(pace.moved(1, 86_400_000, &slot), "a byte a day is fine where nothing else is asked");
        assert!(!pace.may_go_on(1, 86_460_000, &slot), "standing still for idle_ms is not");
    }

    #[test]
    fn a_trickle_below_the_rate_is_cut_after_the_grace() {
        let slot = Deadlines::new().slot();
        let mut pace = Pace::begin(60_000, 100, 0, &slot);
        assert!(pace.moved(1, 4_000, &slot), "within the grace nothing is judged");
        assert!(!pace.moved(2, 6_000, &slot));
        assert!(pace.moved(700, 7_000, &slot));
    }

    #[test]
    fn the_time_that_the_other_end_takes_does_not_count() {
        let slot = Deadlines::new().slot();
        let mut pace = Pace::begin(60_000, 100, 0, &slot);
        assert!(pace.moved(600, 6_000, &slot));
        pace.held(true, 6_000);
        assert!(pace.may_go_on(600, 11_000, &slot), "nothing is judged while it is held up");
        assert!(pace.moved(600, 26_000, &slot));
        pace.held(true, 26_000);
        pace.held(false, 36_000);
        assert!(pace.moved(700, 37_000, &slot), "30 s of 37 were not the visitor's");
        assert!(!pace.moved(700, 39_000, &slot));
        let mut pace = Pace::begin(10_000, 100, 0, &slot);
        pace.held(true, 0);
        assert!(pace.may_go_on(0, 5_000, &slot));
        assert!(!pace.may_go_on(0, 10_000, &slot), "standing still counts whoever holds it up");
    }

    #[test]
    fn each_side_has_its_own_time_to_stand_still() {
        let slot = Deadlines::new().slot();
        let mut pace = Pace::begin(60_000, 0, 0, &slot);
        pace.wait_for(10_000, &slot);
        pace.wait_for(10_000, &slot);
        assert!(!pace.may_go_on(1, 10_000, &slot), "the deadline was armed for the shorter time");
        pace.wait_for(60_000, &slot);
        pace.wait_for(10_000, &slot);
        pace.wait_for(60_000, &slot);
        assert!(!pace.may_go_on(1, 70_000, &slot));
    }

    #[test]
    fn with_a_rate_the_deadline_fires_early_and_is_armed_again() {
        let slot = Deadlines::new().slot();
        let mut pace = Pace::begin(12_000, 1, 0, &slot);
        assert!(pace.may_go_on(100, 5_000, &slot));
        assert!(pace.may_go_on(100, 10_000, &slot));
        assert!(!pace.may_go_on(100, 15_000, &slot), "still for idle_ms in all");
        let mut pace = Pace::begin(60_000, 100, 0, &slot);
        pace.forgive();
        assert!(
            pace.may_go_on(0, 5_000, &slot),
            "forgiving does not turn the early deadline into the last one"
        );
        let mut pace = Pace::begin(12_000, 1_000_000, 0, &slot);
        pace.forgive();
        assert!(pace.moved(1, 60_000, &slot));
    }
}
