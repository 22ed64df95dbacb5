//! `[flood]` of a zone: as written, and as run.
//!
//! Numbers only: what a flood is, and what is done about it, is the crate `flood`'s. Compiled by
//! `compile.rs`.

use crate::read::settings;
use crate::read::values::{Count, words};

words! {
    /// What is done about floods.
    pub enum FloodWord {
        /// Nothing: the zone is not watched.
        Off = "off",
        /// It is told what would be limited.
        Log = "log",
        /// Requests over a generated limit are refused.
        Limit = "limit",
    }
}

settings! {
    /// `[flood]` of a zone.
    pub struct FloodSpec in "[flood]" {
        /// What is done when the zone's load leaves what is usual.
        plain mode: FloodWord = FloodWord::Log,
        /// Requests a second below which nothing is a flood.
        plain from_per_s: Count<10, 1_000_000> = Count(20),
        /// The most limits that are generated at a time.
        plain limits_max: Count<1, 32> = Count(8),
        /// For how many seconds a limit stays after requests last matched it in numbers.
        plain expires_s: Count<10, 3_600> = Count(300),
        /// For how many seconds the zone is seen before anything is said of it.
        plain warm_up_s: Count<5, 86_400> = Count(600),
    }
}

/// What is done about floods of a zone, as run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flood {
    /// Whether requests are refused; else it is told which would be.
    pub refuses: bool,
    /// Requests a second below which nothing is a flood.
    pub from_per_s: u32,
    /// Most limits at a time.
    pub limits_max: usize,
    /// Seconds that a limit stays after it was last of use.
    pub expires_s: u64,
    /// Seconds that a zone is seen before anything is said of it.
    pub warm_up_s: u64,
}

impl Flood {
    /// As run; none for a zone that is not watched.
    pub(crate) fn of(spec: &FloodSpec) -> Option<Self> {
        (spec.mode.value != FloodWord::Off).then_some(Self {
            refuses: spec.mode.value == FloodWord::Limit,
            from_per_s: u32::try_from(spec.from_per_s.0).unwrap_or(u32::MAX),
            limits_max: usize::try_from(spec.limits_max.0).unwrap_or(1),
            expires_s: spec.expires_s.0,
            warm_up_s: spec.warm_up_s.0,
        })
    }
}
