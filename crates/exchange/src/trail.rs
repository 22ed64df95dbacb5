//! The trail: what each phase decided for one exchange.
//!
//! A small fixed array, so that writing a line costs no allocation; the ring that keeps trails is `edge`'s.

/// A named step in a request's life, in the order of `edge::pipeline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Connection and protocol limits, zone by host.
    Admission,
    /// The zone's rules of requests: refuse, redirect, rewrite.
    Shield,
    /// The web application firewall: the request before it goes on, the answer before it leaves.
    Waf,
    /// Redirects, pool, path, headers.
    Route,
    /// Is it stored, and who asks the origin if not.
    Cache,
    /// Choose, connect, send, retry.
    Origin,
    /// Header rules on the response.
    Response,
    /// Streaming to the visitor.
    Delivery,
    /// Log and counters.
    Record,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 9] = [
        Self::Admission,
        Self::Shield,
        Self::Waf,
        Self::Route,
        Self::Cache,
        Self::Origin,
        Self::Response,
        Self::Delivery,
        Self::Record,
    ];

    /// The words of all phases, in the same order: the labels of metrics.
    pub const WORDS: &'static [&'static str] = &[
        Self::Admission.as_str(),
        Self::Shield.as_str(),
        Self::Waf.as_str(),
        Self::Route.as_str(),
        Self::Cache.as_str(),
        Self::Origin.as_str(),
        Self::Response.as_str(),
        Self::Delivery.as_str(),
        Self::Record.as_str(),
    ];

    /// As written in trails and `Server-Timing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admission => "admission",
            Self::Shield => "shield",
            Self::Waf => "waf",
            Self::Route => "route",
            Self::Cache => "cache",
            Self::Origin => "origin",
            Self::Response => "response",
            Self::Delivery => "delivery",
            Self::Record => "record",
        }
    }
}

/// One line of a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailLine {
    /// Where.
    pub phase: Phase,
    /// What was decided, a word from the closed enums of this crate.
    pub decision: &'static str,
    /// A number that goes with the decision (index of a route, attempt, status); 0 if none does.
    pub detail: u32,
    /// Microseconds since the exchange began.
    pub at_us: u32,
}

// 9 phases, the route, what came of the cache, and room for a retry and four rules; later lines are counted,
// not kept.
const LINES_MAX: usize = 16;

/// The lines of one exchange.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    lines: [Option<TrailLine>; LINES_MAX],
    len: u8,
    lost: u8,
}

impl Trail {
    /// Adds a line; beyond 16 it is only counted.
    pub fn add(&mut self, phase: Phase, decision: &'static str, detail: u32, at_us: u32) {
        match self.lines.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = Some(TrailLine { phase, decision, detail, at_us });
                self.len += 1;
            }
            None => self.lost = self.lost.saturating_add(1),
        }
    }

    /// The lines in order.
    pub fn lines(&self) -> impl Iterator<Item = &TrailLine> {
        self.lines.iter().flatten()
    }

    /// Lines that found no room.
    pub fn lost(&self) -> u8 {
        self.lost
    }

    /// Forgets all lines.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
