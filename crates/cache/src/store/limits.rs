//! Every limit of the storage, with its reason.
//!
//! Sizes that belong to a machine come from the node file ([`super::MemorySettings`],
//! [`super::DiskSettings`]); these hold for all. The policy's limits stand in the crate's `limits.rs`.

/// Bytes of a key. A URL may have 8 KiB by default; a few chosen fields fit beside it.
pub const KEY_BYTES_MAX: usize = 16 * 1024;

/// Bytes of the policy's head of an object: as much as HTTP/1 lets a head have.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Tags of one object: 256 of the origin's, and one of the policy's own. Large sites label a page with some
/// dozens; each costs 8 bytes and a look after a purge. An object with more is not kept: a tag left out would
/// be a purge missed.
pub const TAGS_MAX: usize = 257;

/// Numbers the policy keeps with an object.
pub const NUMBERS: usize = 8;

/// Bytes an object, a variant or a hit-for-miss mark is charged beyond its key, head and body: slot, table,
/// allocations. Measured at 687 with a million objects (examples/lookups.rs).
pub const OVERHEAD_BYTES: u64 = 704;

/// Bytes a chunk of a stored body is about: a vectored write of some of them fills a socket's buffer. Joined
/// ones have up to twice as many.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// Mean bytes of chunks in a row under which they are copied into one: below it, what each chunk costs in
/// memory and in vectors is felt by every visitor.
pub const CHUNK_BYTES_MEAN_MIN: usize = 16 * 1024;

/// Bytes of a body too large to be kept that wait for its slowest reader before the fill is told to wait:
/// what one connection at 100 Mbit/s and 80 ms has under way.
pub const WINDOW_BYTES: u64 = 1024 * 1024;

/// Fetches under way at once, each with its lease. Beyond it requests go to the origin without one. Each
/// costs some 300 bytes, and an origin that has 65,536 requests under way has other troubles.
pub const FETCHES_MAX: usize = 65_536;

/// Visitors who wait for one fetch, or read one body while it fills. Further ones go past the cache.
pub const WAITERS_MAX: usize = 65_536;

/// Objects looked at to free memory for one piece of a body: bounds the time a shard is locked. Memory may be
/// over its bound by what is under way meanwhile.
pub const EVICTION_STEPS_MAX: usize = 128;

/// Zones with purges of their own on record. Past it, a purge of one more zone purges everything.
pub const PURGED_ZONES_MAX: usize = 65_536;

/// Prefixes on record per zone; past it, the oldest half is folded into one purge of the zone. Each is
/// compared with an object once after each purge, so they bound that look to some microseconds.
pub const PREFIXES_MAX: usize = 64;

/// Bytes of a prefix: what a target may have by default. A longer one purges the zone.
pub const PREFIX_BYTES_MAX: usize = 8 * 1024;

/// Bytes of all prefixes of all zones. Past it, a purge by prefix purges its zone.
pub const PREFIXES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// URLs of one zone that unsafe requests have changed, on record. Past it, the older half is folded into one
/// purge of the zone as of then: what was stored since stays. Strangers make these entries, so each is exact
/// and only its own zone pays for many. Each costs 17 to 35 bytes.
pub const CHANGED_URLS_MAX: usize = 65_536;

/// The same of all zones together: 9 to 18 MiB. Past it, the zone with the most folds its older half.
pub const CHANGED_URLS_ALL_MAX: usize = 524_288;

/// URLs changed that wait to be written to disk. Past it, those of each zone become one purge of the zone
/// there, in the log alone: after a restart the zone is fetched anew, and no other.
pub const CHANGED_URLS_WAITING_MAX: usize = 4_096;

/// Withdrawn snapshot numbers on record. Past it, all numbers up to the lowest are taken as withdrawn.
pub const WITHDRAWN_MAX: usize = 256;

/// Purges that wait to be written to disk. Past it, one purge of everything takes their place: it is what
/// a disk that stalls for so long costs.
pub const PURGES_WAITING_MAX: usize = 65_536;
