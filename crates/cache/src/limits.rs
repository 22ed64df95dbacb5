//! Every limit of the policy in one place, each with its reason. Storage has its own beside its tiers.
//!
//! What a stranger or an origin says beyond a limit is never guessed at: the answer is not stored, the range
//! is not cut, the variant is not kept. Nothing here limits what is passed through.

/// Members of one line of `Cache-Control` that are read. Real ones have up to ten; beyond this an answer
/// counts as `no-store`, since a restriction may stand in the rest.
pub const CONTROL_MEMBERS_MAX: usize = 64;

/// Field names within `private="…"` or `no-cache="…"`; beyond this the whole answer is restricted.
pub const CONTROL_FIELD_NAMES_MAX: usize = 32;

/// Bytes of all lines of a targeted field together; a longer one counts as absent (RFC 9213 §2.1).
pub const TARGETED_BYTES_MAX: usize = 4096;

/// Entity tags of `If-None-Match` compared with the stored one; beyond this the answer is sent in full.
pub const TAGS_COMPARED_MAX: usize = 256;

/// Ranges of one request; beyond this the whole is sent. Players and readers of PDF ask for a few; hundreds
/// are an attack (RFC 9110 §17.15).
pub const RANGES_MAX: usize = 16;

/// Names in an answer's `Vary`; with more it answers no other request.
pub const VARY_NAMES_MAX: usize = 16;

/// Bytes of one field's value within a variant's key; a request with a longer one has no variant and goes
/// to the origin. A cookie jar is up to 4 KiB.
pub const VARY_VALUE_BYTES_MAX: usize = 4096;

/// Members of `Accept-Encoding` that are read; browsers send four.
pub const CODINGS_READ_MAX: usize = 32;

/// Bytes of an exact key; a request with a longer one bypasses. Targets are up to 32 KiB by `http1`'s limit
/// on heads, but nobody publishes links of more than 8 KiB.
pub const KEY_BYTES_MAX: usize = 8 * 1024;

/// Parameters of a query, and cookies of a line, that are looked at one by one for the key.
pub const KEY_PARTS_MAX: usize = 256;

/// Tags of one answer; with more it is not stored. Storage holds 8 bytes for each.
pub const TAGS_MAX: usize = 256;

/// Bytes of one tag; an answer with a longer one is not stored.
pub const TAG_BYTES_MAX: usize = 1024;

/// Links told in one 103; a browser asked to fetch more at once is only slowed down.
pub const HINTS_MAX: usize = 16;

/// Bytes of one link told early.
pub const HINT_BYTES_MAX: usize = 1024;

/// Pages that are not stored whose links are known, of all zones together. A site has some hundred that many
/// visitors ask for; at some 200 bytes each, a MiB, and 64 at worst.
pub const HINTED_PAGES_MAX: usize = 4096;

/// Bytes of the key that `Cache-Status` shows: enough to recognise it.
pub const STATUS_KEY_BYTES_MAX: usize = 256;

/// Rules of `Vary` known for one key; each is a lookup for every request of that key.
pub const VARY_RULES_MAX: usize = 4;

/// Slices at each end of a range that are looked for before it is said whether all of it is stored: with
/// slices of 1 MiB, 128 MiB at the price of some microseconds each. A range of a film has one or two.
pub const SLICES_LOOKED_MAX: u64 = 64;

/// How long a key whose answers cannot be stored is known as such, so that nobody waits for nobody
/// (hit-for-miss). Long enough to keep a busy page from queueing, short enough to notice that an origin has
/// changed its mind.
pub const PASS_MS: u64 = 60_000;

/// The same for errors, which pass sooner.
pub const PASS_ERROR_MS: u64 = 1_000;

/// How long an origin that failed is not asked again for a key while a stale answer bridges the failure:
/// one request a second for each key.
pub const TROUBLE_MS: u64 = 1_000;

/// Between two waiters of one key that lose patience and go to the origin by themselves, where the zone does
/// not say.
pub const ALONE_INTERVAL_MS: u32 = 1_000;

/// Times that one request looks again because what it found has changed meanwhile; then it goes to the
/// origin alone.
pub const LOOKS_MAX: u8 = 8;

/// How long the count of a key's variants holds; then it starts anew, so that variants that were evicted
/// free their places.
pub const VARIANTS_COUNTED_MS: u64 = 600_000;
