//! Every limit and constant of this crate, each with its reason.

/// Length of a window, in microseconds: what was measured is looked at, and what is let in is decided anew,
/// ten times a second. Shorter ones hold too few requests to judge by; with longer ones visitors notice.
pub const WINDOW_US: u64 = 100_000;

/// How late a thread may be for long by default, in microseconds: 400 ms. A thread is late by 1 ms for every
/// 50 requests of 20 µs that come at once, so that 10,000 of visitors who wait gladly are no overload; a
/// person begins to wonder after a second.
pub const DELAY_US: u64 = 400_000;

/// How late a thread is held to be while it sheds, in microseconds, unless less is set: whoever is let in is
/// served within some three times as much, and there is always something to do.
pub const HELD_US: u64 = 50_000;

/// Windows in a row that a thread must be late from end to end before anything is shed. With requests of 4 ms
/// a thread that has time left to serve a fifth more is late for 300 ms once a minute, by chance.
pub const LATE_WINDOWS: u32 = 5;

/// How late a thread may be in any case, in what a request costs on average: where requests cost tens of
/// milliseconds a few that come together by chance make a thread late that has time left.
pub const TARGET_COSTS: u64 = 8;

/// Most that this makes of it, in microseconds: nobody waits gladly for longer than that, whatever it costs.
pub const TARGET_MAX_US: u64 = 2_000_000;

/// How long a thread must be late in any case before anything is shed, in what a request costs on average:
/// lines that came about by chance last that much longer where requests cost more.
pub const LATE_COSTS: u64 = 25;

/// Most windows in a row that this makes of it: 3 s.
pub const LATE_WINDOWS_MAX: u32 = 30;

/// How many times as late as it may be a thread must be for a window to count twice.
pub const VERY_LATE: u64 = 3;

/// Windows in a row without a request shed and without delay, after which an episode is over: 5 s, so that
/// load that comes in waves is one episode.
pub const CALM_WINDOWS: u32 = 50;

/// Windows in a row without delay after which costs are no longer measured: a second.
pub const REST_WINDOWS: u32 = 10;

/// Zones that a thread keeps account of while it is late. Those beyond are let in: with so many at once none
/// of them is the cause.
pub const ZONES_MAX: usize = 4_096;

/// Windows in a row without a request after which a zone is forgotten.
pub const ZONE_IDLE_WINDOWS: u8 = 20;

/// The least part of a thread's time that requests may take: with less nothing would be measured. A request
/// comes in for it whatever its rank, where no other did in a window, so that a wrong measurement cannot
/// shut a node.
pub const BUDGET_MIN: f64 = 0.02;

/// The most: all of it.
pub const BUDGET_MAX: f64 = 1.0;

/// How much the budget grows in a window in which the thread was not late, twice that when it hardly waited
/// at all: from nothing to all in 3 to 5 s.
pub const BUDGET_STEP: f64 = 0.02;

/// Windows in a row for which only known visitors are let in of a zone above its share, until a thread that
/// is very late catches up; after them there are too many of those too.
pub const DRAIN_WINDOWS: u32 = 5;

/// How many requests of a zone say as much about what they cost as all other zones' do.
pub const COST_SAMPLES: f64 = 4.0;

/// Most of the thread's time that may be saved for a moment with more requests, in microseconds.
pub const CREDIT_MAX_US: f64 = 20_000.0;

/// How many times as many of a zone may come in at a moment at which the thread has time left. A cut that
/// holds just what there is time for leaves a tenth of it unused: fewer come for a moment, or cost less, and
/// what was saved by that is soon more than may be saved.
pub const LOOSE: f64 = 3.0;

/// How much of the thread's time must be left at that moment, in microseconds: a request or two.
pub const LEFT_US: f64 = 5_000.0;

/// What is left of the budget after a window in which the thread was late and did not catch up. It may be
/// little, since the thread lets in fewer at that moment already.
pub const BUDGET_CUT: f64 = 0.95;

/// Visitors that are kept as known: 65,536 of 4 bytes (256 KiB a node). When a set is full, one that
/// came once makes room, then the one served longest ago.
pub const KNOWN_VISITORS: usize = 65_536;

/// How long a visitor is known after an exchange, in seconds.
pub const KNOWN_S: u64 = 600;

/// Requests of one visitor to one thread in a second, from which on it counts as busy, very busy, and heavy:
/// a page is some ten requests, a page full of pictures some sixty; nobody reads ten such pages in two
/// seconds.
pub const BUSY: [u32; 3] = [16, 64, 256];

/// From which on one that is not known counts as heavy.
pub const HEAVY_STRANGER: u32 = 64;

/// What stored answers of a zone may cost on average to be given to those who are not let in, in
/// microseconds: some times what it costs to send them away.
pub const STORED_US: f64 = 200.0;

/// What they are taken to cost before anything is known: two that are dear are enough to look for no more.
pub const STORED_FIRST_US: f64 = 150.0;

/// Windows after which one is looked for again, where that was dear: 5 s, since each burns what those who are
/// let in would need.
pub const STORED_REST_WINDOWS: u32 = 50;

/// The most that one of them counts for: it is measured by the clock, and others may have had the core
/// meanwhile.
pub const STORED_ONE_US: f64 = 1_000.0;

/// Of how many of them the average is: one that took long is no reason.
pub const STORED_SAMPLES: f64 = 32.0;

/// What requests must take of the thread, where most of a zone's time goes, for those of it to wait for their
/// turn, in microseconds: what takes less is done sooner than others would notice, and a turn costs some
/// rounds of the runtime itself.
pub const COSTLY_US: f64 = 500.0;

/// How long a request may wait for its turn, in microseconds: who asked has given up by then, or a proxy in
/// between has.
pub const TURN_WAIT_US: u64 = 5_000_000;

/// Requests of a thread that may wait for their turn: 8 s of costly ones at least. What comes beyond them is
/// done at once, which makes the thread late, and that sends it away.
pub const TURNS_WAITING_MAX: usize = 16_384;

/// How much work may wait for its turn before the thread sheds, in what a request costs on average: twice as
/// much as it may be late by, since those who wait keep only others like them waiting.
pub const WAITING_COSTS: u64 = 16;

/// How much work may wait for its turn while more is let in, as a part of how late the thread is held to be:
/// always something to do, and no more.
pub const WAITING_PART: u64 = 2;
