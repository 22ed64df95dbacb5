//! Every limit of this crate, each with its reason.

/// Shortest period of a rate limit: 1 s. Below, clocks and networks are too coarse to be fair.
pub const PERIOD_MS_MIN: u64 = 1000;

/// Longest period of a rate limit: a day. A counter that is to hold longer is a quota, and belongs into a
/// store.
pub const PERIOD_MS_MAX: u64 = zone::limits::LIMIT_TIME_S_MAX * 1000;

/// Largest threshold: 1,000,000, which is what a counter of 20 bits holds.
pub const THRESHOLD_MAX: u32 = zone::limits::LIMIT_REQUESTS_MAX as u32;

/// Longest mitigation: a day, as the period.
pub const MITIGATION_MS_MAX: u64 = zone::limits::LIMIT_TIME_S_MAX * 1000;

/// Counters of one rule: 16,384 of 24 bytes (384 KiB), made 16 at a time when they are needed, beside 16 KiB
/// that find them. With two sets of 16 to choose from, 10,000 keys always
/// find room of their own (at 61 % load; a test tries many seeds).
pub const RATE_KEYS: usize = 16_384;

/// Visitors of whom one gate keeps count at a time: 16,384 of 8 bytes (128 KiB). More are let in uncounted,
/// and that is counted.
pub const VISITORS: usize = 16_384;

/// Counters in one set.
pub(crate) const WAYS: usize = 16;
