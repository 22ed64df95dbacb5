//! What visitors did to the protocols below requests: counted, and told now and then; and whose handshakes
//! there is time for.
//!
//! `wire` bounds and ends; which word stands for what is [`wire::Abuse`]. A thread that keeps up takes every
//! handshake. One that is late gives strangers' handshakes half of its time at most, and those of visitors
//! who were served before whatever they need: a flood of handshakes costs strangers, and nobody who is
//! connected or known. Called by `pipeline.rs`. Read next: [`Edge::met`], [`Shakes`].

use std::cell::Cell;
use std::net::IpAddr;

use exchange::Refusal;
use telemetry::access::truncated;
use wire::limits::{SHAKING_US, SHAKING_WINDOW_US};
use wire::{Abuse, Exchange};

use crate::course::Course;
use crate::pipeline::Edge;

/// What handshakes took of a thread's time in the window under way.
#[derive(Debug, Default)]
pub(crate) struct Shakes {
    began_us: Cell<u64>,
    took_us: Cell<u64>,
}

impl Shakes {
    /// Counts a part of a handshake.
    pub(crate) fn took(&self, us: u64) {
        self.took_us.set(self.took_us.get().saturating_add(us));
    }

    /// Whether the window has time left for a stranger's.
    pub(crate) fn has_time(&self, now_us: u64) -> bool {
        if now_us.saturating_sub(self.began_us.get()) >= SHAKING_WINDOW_US {
            self.began_us.set(now_us);
            self.took_us.set(0);
        }
        self.took_us.get() < SHAKING_US
    }
}

/// Whether it is told as an event: what only a flood does. The others befall who has a bad line.
fn is_told(abuse: Abuse) -> bool {
    !matches!(
        abuse,
        Abuse::SlowHandshake | Abuse::SlowHead | Abuse::SlowBody | Abuse::SlowRead | Abuse::UnprovenAddress
    )
}

impl Edge {
    /// Counts what a visitor at this address did, and tells it if none of the kind was told of late.
    pub(crate) fn met(&self, abuse: Abuse, visitor: IpAddr) {
        self.metrics.abuse(abuse as usize);
        if !is_told(abuse) {
            return;
        }
        let Some(untold) = self.node.may_tell_abuse(abuse, self.clock.now_ms()) else { return };
        let is_truncated = self.node.settings().truncate_addresses;
        let address = if is_truncated { truncated(visitor) } else { visitor }.to_string();
        let kind = Abuse::WORDS.get(abuse as usize).copied().unwrap_or_default();
        let fields = [("kind", kind.into()), ("address", address.as_str().into()), ("untold", untold.into())];
        self.node.setup().events.info("abuse", &fields);
    }

    /// Counts what an exchange ended for, if its visitor's doing was it.
    pub(crate) fn met_in(&self, exchange: &mut Exchange, course: &Course) {
        let refused = match course.refusal {
            Some(Refusal::HeadTimeout) => Some(Abuse::SlowHead),
            Some(Refusal::BodyTimeout) => Some(Abuse::SlowBody),
            _ => None,
        };
        if let Some(abuse) = refused.or_else(|| exchange.take_abuse()) {
            self.met(abuse, exchange.connection.visitor.ip());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_half_of_a_window() {
        let shakes = Shakes::default();
        assert!(shakes.has_time(1_000_000));
        shakes.took(SHAKING_US - 1);
        assert!(shakes.has_time(1_000_001));
        shakes.took(1);
        assert!(!shakes.has_time(1_000_000 + SHAKING_WINDOW_US - 1));
        assert!(shakes.has_time(1_000_000 + SHAKING_WINDOW_US), "the next window is another");
    }
}
