//! The clock: the one place of the binary that reads it.
//!
//! It holds no logic; everything else takes times as arguments. Called by [`crate::supervisor`],
//! [`crate::edge_role`] and [`crate::commands`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the wiring reads the clock and hands it on as `now`")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Reads the wall clock: microseconds since 1970 in UTC; 0 for a clock set before that.
#[expect(clippy::disallowed_methods, reason = "the wiring reads the clock and hands it on as `now`")]
pub(crate) fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
