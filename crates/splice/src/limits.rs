//! Every limit of this crate, each with its reason, and the few that the caller may set.
//!
//! Constants bound what a stranger or a file can make us hold; [`Settings`] bounds how much and how long.

/// Names in a table: ten times what one node is built for.
pub const ENTRIES_MAX: usize = 100_000;

/// Bytes of a host name (RFC 1035 §2.3.4, as text without the last dot).
pub const NAME_BYTES_MAX: usize = 253;

/// Bytes of one label of a name (RFC 1035 §2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// Addresses of one entry: more would make a visitor wait for more connect time-outs than anybody does.
pub const ORIGINS_MAX: usize = 8;

/// Bytes of a table's file, which follow from the three before: the largest one that can be written. A
/// usual entry has 30 bytes, so 100,000 of them have 3 MB.
pub const TABLE_BYTES_MAX: usize =
    crate::table::HEADER_BYTES + ENTRIES_MAX * (3 + NAME_BYTES_MAX + ORIGINS_MAX * 19);

/// Bytes of a visitor's first flight, record headers included. A hello with post-quantum keys has 2 KiB, one
/// with a large ticket stays below 8 KiB.
pub const HELLO_BYTES_MAX: usize = 16 * 1024;

/// Records that one hello may be cut into. Libraries that cut hellos to pass middleboxes make a few dozen at
/// most; a visitor that sends single bytes must not make us walk thousands of headers at every one.
pub const RECORDS_MAX: usize = 128;

/// Bytes of an HTTP request's head that are read before the answer is sent without having seen its end. A
/// visitor that sent more is answered all the same.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes read at once, and so the most that one direction keeps when the other side does not take it. With a
/// hello and a PROXY header on the way up, one connection never holds more than 32 KiB, and an idle one none.
pub const CHUNK_BYTES: usize = 15 * 1024;

/// Bytes one connection may move in one direction before the others have their turn: 1,000 busy connections
/// take turns within some 30 ms.
pub const TURN_BYTES: usize = 60 * 1024;

/// Bytes of the longest PROXY header (version 1 over IPv6, the specification's own bound).
pub const PROXY_BYTES_MAX: usize = 107;

/// Bytes read and thrown away after a refusal, so that a reset does not destroy it on its way (RFC 9112
/// §9.6). Past them the visitor is not listening.
pub const LINGER_BYTES: usize = 64 * 1024;

/// Connections accepted from one listener before the others have their turn.
pub const ACCEPTS_PER_TURN: usize = 32;

/// Events taken from the kernel at once. Few, so that an order is never behind much work.
pub const EVENTS_PER_TURN: usize = 64;

/// Milliseconds between two looks at deadlines and at the clock, and so their precision.
pub const TICK_MS: u64 = 100;

/// Addresses remembered as not answering. At the limit all are forgotten: the cost is one connect time-out
/// for each.
pub const DOWN_MAX: usize = 1024;

/// Milliseconds for which an address that did not answer is tried last.
pub const DOWN_MS: u64 = 10_000;

const _: () = assert!(HELLO_BYTES_MAX + PROXY_BYTES_MAX + CHUNK_BYTES <= 32 * 1024);

/// How much and how long. The defaults are safe; the caller knows the machine's descriptors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections at a time, two descriptors each. At the limit nothing is accepted: newcomers wait in the
    /// kernel's queue, where the edge finds them if it comes back first. Default 4096: it fits the common
    /// hard limit of 10,240 descriptors and holds 128 MiB at the very most.
    pub connections_max: usize,
    /// Connections at a time from one address (IPv6: one /64); further ones are closed at once. Default 256:
    /// an office behind one address fits, one attacker does not fill the node. A listener behind a load
    /// balancer wants it as high as `connections_max`.
    pub connections_per_address_max: usize,
    /// Milliseconds for the whole hello or HTTP head. Default 5,000: two lost packets fit.
    pub greeting_ms: u64,
    /// Milliseconds for each address of an origin to answer. Default 3,000: one lost packet fits.
    pub connect_ms: u64,
    /// Milliseconds without a byte either way after which a connection is closed. Default 300,000: longer
    /// than the 75 s of usual keep-alive, so that the two ends decide.
    pub idle_ms: u64,
    /// Milliseconds a refused visitor is given to take the refusal. Default 2,000.
    pub linger_ms: u64,
    /// Milliseconds that connections may go on after the order to stop. Default 600,000: downloads end.
    pub drain_ms: u64,
    /// Seconds in `Retry-After` of the plain 503. Default 30.
    pub retry_after_s: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            connections_per_address_max: 256,
            greeting_ms: 5_000,
            connect_ms: 3_000,
            idle_ms: 300_000,
            linger_ms: 2_000,
            drain_ms: 600_000,
            retry_after_s: 30,
        }
    }
}
