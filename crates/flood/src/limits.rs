//! Every limit and constant of this crate, each with its reason.

/// Requests kept of one second of one zone by each thread, and in all after they are merged: a key with a
/// twentieth of a flood is met 50 times, and a second costs 48 KiB while it is looked at.
pub const NOTES_MAX: usize = 1_024;

/// Requests kept of what is usual, of a zone on a node with few zones: see the crate's page for its error.
pub const REFERENCE_MAX: usize = 2_048;

/// Requests of each calm second that become part of it. With fewer it would take longer than the warm-up to
/// fill; with more it would forget the hour before. At 4 it is full after nine minutes, and a request stays
/// for as long on average.
pub const REFERENCE_PER_SECOND: usize = 4;

/// Bytes of a path, a query or a user agent that tell it apart from another. Longer ones would cost a serving
/// thread more than the rest of noting; those that differ behind are one.
pub const TEXT_BYTES_MAX: usize = 256;

/// Texts kept of one second's keys for a person to read, and bytes of each.
pub const TEXTS_MAX: usize = 256;

/// Bytes of a text that is kept.
pub const TEXT_BYTES_KEPT: usize = 120;

/// Seconds looked at together: enough for 60 requests of the smallest flood, few enough to act in time.
pub const WINDOW_S: usize = 3;

/// Seconds in a row above what is usual that begin an episode: one alone is a burst.
pub const ABOVE_S: u32 = 2;

/// Times the most that is usual above which one second is enough: no burst is so large.
pub const VERY_TIMES: f64 = 4.0;

/// Seconds in a row of usual load that end one: load that comes in waves is one episode.
pub const CALM_S: u32 = 30;

/// Times the usual rate that is still usual.
pub const USUAL_TIMES: f64 = 2.5;

/// Mean deviations beyond the usual rate that are still usual: with random arrivals passed once in days.
pub const USUAL_DEVIATIONS: f64 = 8.0;

/// Times its usual share of the zone that one path may have before its requests alone begin an episode.
pub const PATH_TIMES: f64 = 6.0;

/// Part of the zone's usual rate that such a path must be above its own.
pub const PATH_SHARE: f64 = 0.2;

/// Memory of the rate, in seconds: ten minutes follow a day's slopes.
pub const RATE_MEMORY_S: f64 = 600.0;

/// Times its usual rate that a key must have to be limited.
pub const KEY_TIMES: f64 = 4.0;

/// Times its usual *share* that it must have. In a crowd everything grows alike, and nothing passes this.
pub const SHARE_TIMES: f64 = 2.0;

/// Part of the excess that a limit must explain to be worth one of the few places.
pub const WORTH_SHARE: f64 = 0.05;

/// Part of the excess that the limits together need not explain.
pub const UNEXPLAINED_SHARE: f64 = 0.1;

/// Requests of usual traffic that weigh as much as one of the excess: taking less counts more than stopping
/// more.
pub const HARM_WEIGHT: f64 = 4.0;

/// What one visitor may make under a limit by visitor that names a path or a target: so many requests in so
/// many seconds. A person reloads a page a few times.
pub const VISITOR_PATH: (u32, u32) = (3, 5);

/// The same under one that does not: some pages with what belongs to them.
pub const VISITOR_ALL: (u32, u32) = (100, 10);

/// Times as many for visitors who were served before the flood began.
pub const KNOWN_TIMES: u32 = 5;

/// By how much a visitor may be over, in milliseconds: it is let in again so long after it became quiet, and
/// a program that asks once in so long stays out.
pub const OVER_MS_MAX: u64 = 15_000;

/// Times as much per visitor as is allowed that a flood's visitors must ask, for a limit by visitor to do.
pub const VISITOR_TIMES: f64 = 1.3;

/// Times its usual rate that a limit in total lets through: the usual requests among those of the flood.
pub const TOTAL_TIMES: f64 = 2.0;

/// The least that a limit in total lets through, requests a second: somebody who is neither usual nor part of
/// the flood gets through now and then, and the limit is seen to be one.
pub const TOTAL_MIN_PER_S: f64 = 1.0;

/// How much of what is asked for by some visitors must be shared with what is usually asked for, by paths,
/// for them to look like people, who load pages with what belongs to them; and the part of the excess that a
/// path must be to look like something else.
pub const CROWD_SHARE: f64 = 0.4;

/// Times its usual share that a network, a prefix or a JA4 must have among those who ask for something, to be
/// foreign there.
pub const FOREIGN_TIMES: f64 = 3.0;

/// Requests a second of one visitor below which a foreign crowd that asks for one thing is left while the
/// zone does not suffer: six a minute. An application that starts asks less, and so does an installer that
/// fetches a file and comes back for the rest of it.
pub const CALM_PER_S: f64 = 0.1;

/// Part of such a crowd's requests that must be for that one thing, and by methods that change nothing: a
/// program that walks through a site has none.
pub const CALM_SHARE: f64 = 0.9;

/// Part of what a suffering zone can serve of something that is let through where nobody can say whether it
/// is a crowd: a stricter limit would turn a crowd away that the zone could have served.
pub const UNSURE_SHARE: f64 = 0.8;

/// Seconds that a limit only counts what it would do: one to read the names of what it limits, and to see
/// whom it meets.
pub const OBSERVE_S: u64 = 1;

/// Seconds in force after which a limit that leaves too much is tightened, once.
pub const TIGHTEN_S: u64 = 6;

/// Seconds in force after which one that does not help is withdrawn.
pub const HELPS_WITHIN_S: u64 = 20;

/// Part of what it matches that a limit must refuse to be of help.
pub const HELPS_SHARE: f64 = 0.05;

/// Part of the known visitors it meets, and of their requests, that a limit may refuse before it is
/// withdrawn, once there were [`KNOWN_MIN`].
pub const HARM_SHARE: f64 = 0.2;

/// Known visitors that it must have met for that: no more are one person's machines at hand.
pub const KNOWN_MIN: f64 = 5.0;

/// Part of all visitors it met that they must be. Fewer may be strangers that are taken for known, or a few
/// of a flood's machines that have fetched a page before: these free no others.
pub const KNOWN_SHARE: f64 = 0.05;

/// Seconds after which a limit begins to count anew whom it meets, as long as somebody is known: over a long
/// flood more and more visitors would have been refused once.
pub const MET_S: u64 = 600;

/// Bits by which a limit counts visitors: up to some 70,000, as many as it tells apart, in 1 KiB.
pub const DISTINCT_BITS: u32 = 8_192;

/// Seconds' worth of what a busy prefix may ask that it may ask at once: offices ask in bursts, as people
/// come to work, and strangers' visitors are given as long.
pub const BUSY_BURST_S: u64 = 10;

/// Seconds for which what was withdrawn is not tried again.
pub const AGAIN_S: u64 = 120;

/// Seconds of an episode in which no limit refuses anything after which its load is learned as usual: growth
/// is no flood. In a zone that only logs no limit refuses.
pub const ADOPT_S: u64 = 900;

/// Seconds that a limit lasts at most, however much matches it: six hours are more than all but few floods
/// take, and time for whoever reads the events to write what is to stay. A new program that many use would be
/// refused for ever otherwise. What such a limit was for is let through then, while the zone does not suffer;
/// it is limited again as soon as it does.
pub const LIFE_S: u64 = 21_600;

/// Seconds for which that is let through: until it is learned as usual, and as long again as the rate
/// remembers, so that it is known by then. If other limits have kept it from being learned it may be limited
/// again.
pub const OUTLIVED_S: u64 = ADOPT_S + RATE_MEMORY_S as u64;

/// Share of failed requests, beyond twice the usual one, from which on the zone suffers.
pub const FAILED_SHARE: f64 = 0.1;

/// Times the usual time at the origin from which on it suffers, and the least, in microseconds.
pub const SLOWER_TIMES: f64 = 4.0;

/// Origins this fast suffer from nothing.
pub const SLOW_US_MIN: f64 = 200_000.0;

/// Visitors told apart by one limit, 512 KiB of memory: ten times the addresses of a large flood at one node.
/// Where more than 64 zones share a node an eighth of that.
pub const VISITORS_MAX: usize = 65_536;

/// Zones watched at once: with [`Watch`](crate::Watch)'s 400 KiB for each of 64, or an eighth of that for
/// each of more, 25 MiB at most; 35 MiB where the first 64 were alone when they came. What limits take comes
/// on top while they last: with eight to a zone 256 MiB, if 64 zones are flooded at once in eight ways each.
pub const WATCHED_MAX: usize = 256;
