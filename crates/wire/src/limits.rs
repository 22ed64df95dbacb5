//! Every limit of the protocols towards visitors, with its reason.
//!
//! What a zone's owner may tune stands in the zone; these hold for all, because they apply before a zone is
//! known or protect the node itself.

/// Bytes read from a socket at once, and so the largest chunk of a body: past 64 KiB loopback gains nothing.
pub const READ_BYTES: usize = 64 * 1024;

/// Bytes of unsent answer that do not yet keep the next piece back: a head waits for its body this way, and
/// both leave in one packet.
pub const HELD_BYTES: usize = 8 * 1024;

/// Shared pieces of an answer that are gathered for one write, 64 KiB each where the answer is a stored one.
pub const GATHERED_PIECES: usize = 4;

/// Bytes from which on what is gathered is written: as much as sockets hold at once where visitors are near.
pub const GATHERED_BYTES: usize = 256 * 1024;

/// Bytes of pipelined requests read ahead while an answer is awaited: enough for a burst of small ones.
pub const READ_AHEAD_BYTES: usize = 64 * 1024;

/// Milliseconds for a TLS handshake or a PROXY header: three slow round trips, with room for lost packets.
pub const HANDSHAKE_MS: u32 = 10_000;

/// Milliseconds for a request's head where nothing else is set (slow-header attacks).
pub const HEAD_MS: u32 = 10_000;

/// Milliseconds a connection may be idle between requests where nothing else is set; a little over browsers'
/// own 60 s pooling probes.
pub const KEEP_ALIVE_MS: u32 = 75_000;

/// Milliseconds without progress while the last bytes of an answer leave.
pub const FLUSH_MS: u32 = 60_000;

/// Milliseconds spent reading what a visitor still sends after a final answer, so that the answer is not
/// destroyed by a reset (RFC 9112 §9.6).
pub const LINGER_MS: u32 = 2_000;

/// The same for an idle QUIC connection that was let go for a newcomer, and told so: two slow round trips.
pub const LINGER_SHORT_MS: u32 = 400;

/// Bytes read and thrown away in that time.
pub const LINGER_BYTES: usize = 1024 * 1024;

/// Plaintext gathered behind one TLS write: two full records.
pub const TLS_WRITE_BYTES: usize = 32 * 1024;

/// Ciphertext read at once: two full records and a little.
pub const TLS_READ_BYTES: usize = 40 * 1024;

/// Bytes of a client hello: the parser's own limit, at which it has always decided.
pub const HELLO_BYTES: usize = 65_636;

/// Concurrent HTTP/2 and HTTP/3 streams of one connection, as nginx has it.
pub const STREAMS: u32 = 128;

/// Bytes of a header section over HTTP/2 and HTTP/3, counted as RFC 9113 §6.5.2 does.
pub const FIELD_SECTION_BYTES: u32 = 64 * 1024;

/// Fields of a head, or of trailers, whatever the protocol.
pub const FIELDS: usize = 256;

/// Receive window of one HTTP/2 stream: 256 KiB carries 20 Mbit/s at 100 ms.
pub const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Receive window of one HTTP/2 connection.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

/// What small pieces of bodies may cost an HTTP/2 connection before they are read: 256 less its length for
/// each piece shorter than that, as the h2 crate counts. Messages of 30 bytes fill a stream's window within
/// it, so that whoever sends them faster than an origin reads is slowed down and not ended; of single bytes
/// it is 8,224 pieces, some 2 MiB of h2's memory.
pub const SMALL_PIECES: usize = 2 * CONNECTION_WINDOW_BYTES as usize;

/// Bytes one HTTP/2 stream may hold unsent inside the h2 crate.
pub const STREAM_UNSENT_BYTES: usize = 64 * 1024;

/// Bytes of HTTP/2 frames gathered before they are written within one poll.
pub const GATHER_BYTES: usize = 64 * 1024;

/// Streams a visitor may have reset before their answers were taken up (rapid reset, CVE-2023-44487).
pub const RESET_STREAMS_PENDING: usize = 20;

/// Streams we may reset because of a visitor's errors in one connection (CVE-2025-8671, MadeYouReset).
pub const RESET_STREAMS_LOCAL: usize = 128;

/// For how long a stream that we reset is remembered, in seconds: what a slow visitor has sent of an upload
/// that was answered early, a window of it, is still on its way then and no error of its own.
pub const RESET_REMEMBERED_S: u64 = 30;

/// HTTP/2 frames and WebSocket frames that carry nothing a connection may send at once: control frames,
/// priorities, windows, empty pieces. Browsers and libraries send some ten to begin with and a few for each
/// request; conformance suites send a few hundred.
pub const EMPTY_BURST: u32 = 1_024;

/// How many more in each tick of 100 ms: a hundred a second, for what keeps connections alive and measures
/// them while nothing else is sent.
pub const EMPTY_PER_TICK: u32 = 10;

/// How many more with each frame of an answer, each request and each piece of a body: two windows opened, a
/// PING to measure, a priority. Whoever opens a window for every frame stays below.
pub const EMPTY_PER_FRAME: u32 = 4;

/// Streams of one HTTP/2 connection that came to nothing before they were requests, beyond those answered:
/// heads over a limit or malformed, streams over their number. Each costs what decoding a head does. As many
/// as may be given up in a row.
pub const STREAMS_LOST: u32 = RESET_CREDIT;

/// Frames of QUIC that carry nothing in ten seconds: as over HTTP/2.
pub const QUIC_EMPTY_FRAMES: u64 = EMPTY_BURST as u64 + 10 * 10 * EMPTY_PER_TICK as u64;

/// Bytes that an HTTP/3 connection may say beside its requests, on its control and QPACK streams: SETTINGS
/// take less than a hundred.
pub const QUIC_BESIDE_BYTES: u64 = 64 * 1024;

/// How many more with each request: a priority update and a cancellation take less than forty.
pub const QUIC_BESIDE_BYTES_PER_REQUEST: u64 = 256;

/// Handshakes under way on a thread at once. One holds some ten KiB until its visitor answers; a thread
/// completes some thousand a second, each within a round trip or two, so that these are as many as visitors
/// at half a second's distance need. At the bound those that have stood still for longest make room.
pub const HANDSHAKES: usize = 4_096;

/// The part of a thread's time that strangers' handshakes may take while it is late, in microseconds of each
/// [`SHAKING_WINDOW_US`]: half. The rest is for who is connected.
pub const SHAKING_US: u64 = SHAKING_WINDOW_US / 2;

/// The stretch of time over which that is measured.
pub const SHAKING_WINDOW_US: u64 = 100_000;

/// The share of a thread's connections from which on a network counts as heavy: a sixty-fourth.
pub const HEAVY_SHARE: usize = 64;

/// The least of that, for threads with little room: a household, or an office behind one address.
pub const HEAVY_LEAST: usize = 16;

/// The share of a thread's connections that heavy networks do not get: a sixteenth.
pub const RESERVED_SHARE: usize = 16;

/// The share of a thread's connections that is let go at once when room is short, those that have been idle
/// for longest: a thirty-second, so that looking for them is rare and most visitors keep theirs.
pub const SHED_SHARE: usize = 32;

/// Ticks of 100 ms for which a newcomer waits for room where places are short, and others behind it in the
/// kernel's line: until whoever came and said nothing has had its second, and until HTTP/2 visitors that were
/// let go have had one to leave. Once one waited in vain those behind it are turned away at once.
pub const ROOM_TICKS: u32 = 15;

/// Places that a thread looks at for idle ones within a tenth of a millisecond: a newcomer that waits for
/// room looks again a millisecond later for each so many.
pub const LOOKED_AT_IN_MS: usize = 16 * 1024;

/// Idle work areas a thread keeps: one for each request it may reasonably have in flight.
pub const WORK_AREAS: usize = 256;

/// Concurrent requests of one QUIC connection: what RFC 9114 §6.1 asks for at the least. quinn keeps a place
/// for each from the start, and the next power of two would cost 4 KiB per idle connection.
pub const QUIC_STREAMS: u32 = 100;

/// Concurrent unidirectional streams of one QUIC connection: control, two for QPACK, and a few made-up ones.
pub const QUIC_STREAMS_UNI: u32 = 8;

/// Milliseconds after which a silent QUIC connection is forgotten (RFC 9308 §3.2).
pub const QUIC_IDLE_MS: u32 = 30_000;

/// Milliseconds between the probes that keep a QUIC connection alive while a request waits for its answer:
/// two fit into the idle time, so that one may be lost.
pub const QUIC_PROBE_MS: u32 = 12_000;

/// Bytes one QUIC connection may have sent and not acknowledged, or given and not sent: 160 Mbit/s at 100 ms.
pub const QUIC_SEND_WINDOW_BYTES: u64 = 2 * 1024 * 1024;

/// Bytes of HTTP/3 frames gathered within one poll before quinn is given them: some ten packets. Pieces over
/// a quarter of it pass without a copy.
pub const QUIC_GATHER_BYTES: usize = 16 * 1024;

/// Handshakes a thread does with visitors that have not proven their address; further ones are first sent a
/// retry. Each can be opened by one packet with a forged sender, costs a signature and 20 KiB for ten
/// seconds; honest peaks of new visitors stay below it, since theirs end within a round trip or two.
pub const HANDSHAKES_UNVALIDATED: usize = 256;

/// First packets of QUIC connections that wait for the thread to look at them; it does so at each turn.
pub const QUIC_WAITING_HANDSHAKES: usize = 1024;

/// Bytes kept of each of them meanwhile: a client hello in a few packets.
pub const QUIC_WAITING_BYTES: u64 = 16 * 1024;

/// Streams an HTTP/3 connection may give up in a row (rapid reset, CVE-2023-44487): all that can be in
/// flight, three times over, as when pages are left one after the other.
pub const RESET_CREDIT: u32 = 3 * QUIC_STREAMS;

/// What the frames of HTTP/3 may hold.
pub const HTTP3: http3::Limits = http3::Limits {
    field_section_bytes_max: FIELD_SECTION_BYTES as u64,
    encoded_section_bytes_max: FIELD_SECTION_BYTES as usize,
    fields_max: FIELDS,
    // Peers that grease send one or two in a row.
    idle_frames_max: 1024,
    // Real ones take less than 60 bytes.
    settings_bytes_max: 1024,
};

/// Heads and bodies of HTTP/1. Zones set smaller limits for themselves; a parser must know its own before the
/// zone is known. Offsets in a head are 16 bits wide, hence the size.
pub const HTTP1: http1::Limits = http1::Limits {
    head_bytes_max: 65_535,
    fields_max: FIELDS,
    trailer_bytes_max: 8 * 1024,
    chunk_extension_bytes_max: 256,
    are_sizes_padded: false,
};

/// Time between two stateless resets of a socket, in milliseconds. Each is smaller than what it answers, so
/// nobody is flooded by them; a thousand a second end what a dead edge left behind in some seconds.
pub(crate) const QUIC_RESET_MS: u64 = 1;

/// Connections that a listener takes at a time: those taken before are served in between. Where that many
/// waited at once and more do, the thread is behind by some 5 ms at least.
pub(crate) const ACCEPT_BATCH: usize = 256;
