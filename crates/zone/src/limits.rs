//! Every limit on what a person may write and on what a bundle may hold, each with its reason.
//!
//! It holds numbers only; the checks stand where the thing is read. Limits on what strangers send (heads,
//! connections, rates) are settings with defaults, see [`crate::zone::HttpSettings`]. Read next:
//! [`mod@crate::compile`].

/// Zones on one node: the figure the project is tested with; ten times more would still fit in memory, but
/// nobody has measured the reload.
pub const ZONES_MAX: usize = 10_000;

/// Bytes of one zone file. A zone with all its lists full is about 600 KiB.
pub const SPEC_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of one file that a zone names (certificate chain, authority, error page, list): a system's whole
/// trust store is about 220 KiB, a list of a million IPv4 prefixes 18 MB. An MMDB file of countries or of
/// networks has some 10 MB. One of all cities has 60 to 130 MB, for which there is no room on purpose: a
/// file is held by each process that compiled it (serving, spare, candidate), while it compiles once more
/// as a part of the bundle, and in each of five generations on disk.
pub const FILE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Files in one bundle: three per zone and some shared ones.
pub const FILES_MAX: usize = 4 * ZONES_MAX;

/// Bytes of one bundle: 10,000 zones of 8 KiB with chains of 8 KiB are 160 MiB; the rest is room. It bounds
/// what a hostile or broken bundle can make a node hold.
pub const BUNDLE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Characters of a path or of a source's name: Linux accepts no longer path.
pub const PATH_BYTES_MAX: usize = 4096;

/// Name servers for lists of `@rbl`: as many as `resolv.conf` may have.
pub const LIST_SERVERS_MAX: usize = 3;

/// Problems reported in one run; beyond it one line says how many were left out. A person reads the first
/// page, and ten thousand broken zones must not make a gigabyte of text.
pub const PROBLEMS_MAX: usize = 1_000;

/// Warnings among these: they must not push errors out of the list.
pub const WARNINGS_MAX: usize = 100;

/// Bytes of a hostname (RFC 1035 §2.3.4, without the root's dot).
pub const HOSTNAME_BYTES_MAX: usize = 253;

/// Bytes of one label of a hostname (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Hostnames of one zone: a zone with more wants a wildcard.
pub const HOSTNAMES_MAX: usize = 1_000;

/// Routes of one zone: they are tried in order for each request, and a thousand take some 10 µs.
pub const ROUTES_MAX: usize = 1_000;

/// Header conditions, or methods, of one route: for the same reason as [`ROUTES_MAX`].
pub const CONDITIONS_MAX: usize = 16;

/// Rules of one zone, all phases together: compiling so many takes about a second.
pub const RULES_MAX: usize = 20_000;

/// Ways in which rules change the origins of a zone's pools: each is a pool with connections of its own.
pub const CHANGED_POOLS_MAX: usize = 64;

/// Rate limits of one zone: each is asked for every request, and may hold counters of some 390 KiB.
pub const RATE_LIMITS_MAX: usize = 100;

/// Concurrency limits of one zone: each is asked for every request, and may hold counters of 128 KiB.
pub const CONCURRENCY_LIMITS_MAX: usize = 16;

/// Characteristics of one limit: each is evaluated for every request that the limit is about.
pub const CHARACTERISTICS_MAX: usize = 8;

/// The most requests in a period: what a counter of 20 bits holds.
pub const LIMIT_REQUESTS_MAX: u64 = 1_000_000;

/// The longest period, and the longest mitigation: a day. What is to be counted longer is a quota, and
/// belongs into a store.
pub const LIMIT_TIME_S_MAX: u64 = 86_400;

/// The most requests under way at once that a limit of a whole zone can be: more than a node serves.
pub const LIMIT_AT_ONCE_MAX: u64 = 1_000_000;

/// The most under way at once of one visitor: what a counter of 16 bits holds.
pub const LIMIT_KEYED_AT_ONCE_MAX: u64 = 65_535;

/// Bytes of a limit's own answer: as for the answer of a rule.
pub const LIMIT_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Lists of one zone.
pub const LISTS_MAX: usize = 256;

/// Pools of one zone.
pub const POOLS_MAX: usize = 256;

/// Origins of one pool: balancing looks at them in turn when many are unhealthy.
pub const ORIGINS_MAX: usize = 1_000;

/// The greatest weight of an origin: finer shares cannot be told apart in practice.
pub const WEIGHT_MAX: u64 = 1_000;

/// Characters of a name (zone, pool, route): it goes into each log line.
pub const NAME_BYTES_MAX: usize = 128;

/// Bytes of a path, prefix, header value, redirect or cookie name in a zone: a request head's usual limit.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a fixed answer or error page: these live in memory once per zone, and a larger one is a site of
/// its own.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Header fields in the key of a zone's cache: each is a look at every request's fields, and more make keys
/// that never repeat.
pub const CACHE_KEY_PARTS_MAX: usize = 16;

/// Names of parameters or cookies in one list of a zone's cache: each parameter of a request is compared
/// with each.
pub const CACHE_NAMES_MAX: usize = 128;

/// Lifetimes by status of a zone's cache: they are tried in order.
pub const CACHE_LIFETIMES_MAX: usize = 64;

/// Variants of one URL that a zone may ask for: beyond it a `Vary` tells visitors apart, not answers.
pub const CACHE_VARIANTS_MAX: u64 = 1_000;

/// The greatest weight of a zone's cache, as that of an origin: finer shares cannot be told apart in
/// practice.
pub const CACHE_WEIGHT_MAX: u64 = 1_000;

/// Bytes of a slice: smaller ones cost more in requests than they save, larger ones make a short range
/// fetch too much.
pub const CACHE_SLICE_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=16 * 1024 * 1024;

/// Types in one list of a zone's compression: each answer's type is compared with each.
pub const COMPRESSED_TYPES_MAX: usize = 128;

/// Error pages of one zone: as many as there are statuses that Rempart sends by itself.
pub const ERROR_PAGES_MAX: usize = 64;

/// Address ranges in one list: they are tried in order.
pub const RANGES_MAX: usize = 1_000;

/// Listeners of a node: each costs a socket per thread.
pub const LISTENERS_MAX: usize = 64;

/// Threads of a node: beyond it, per-thread pools of connections cost more than they give.
pub const THREADS_MAX: u64 = 256;

/// The longest duration that a setting accepts, in milliseconds: one day. Longer ones are typing errors.
pub const DURATION_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// The longest `max-age` or lifetime in seconds: two years, the most that HSTS preload lists ask for.
pub const AGE_S_MAX: u64 = 2 * 366 * 24 * 60 * 60;

/// Certificates in one chain, or authorities in one file: the largest public trust stores hold about 450.
pub const CERTIFICATES_MAX: usize = 2_000;

/// How long a health check waits by default: the time after which visitors give up, too.
pub const HEALTH_TIMEOUT_MS: u64 = 2_000;

/// Paths of rules of one zone's firewall: OWASP CRS is one.
pub const WAF_RULES_MAX: usize = 64;

/// Exceptions of one zone's firewall: their paths are compared with each request's in order.
pub const WAF_EXCEPTIONS_MAX: usize = 1_000;

/// Bytes of a body that a firewall inspects: in less a form's reader finds no room beside the 4 KiB of a line
/// that it holds back, and each request under inspection holds as much as the most.
pub const WAF_WINDOW_BYTES: std::ops::RangeInclusive<u64> = 8 * 1024..=1024 * 1024;
