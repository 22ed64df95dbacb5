//! What an edge that drains has open yet, told to the supervisor: `rempart status` shows it.
//!
//! Called by [`super`] and [`super::candidate`] each time they wake while they drain.

use std::time::{Duration, Instant};

use crate::clock;
use crate::control::{Channel, FromEdge, Holds};

/// How often it is looked at: it is for people.
pub(super) const HOLDS_EVERY: Duration = Duration::from_secs(1);

/// What was told last, and when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Holding {
    looked_at: Option<Instant>,
    told: Option<Holds>,
}

impl Holding {
    /// Tells it if it has changed, at most as often as [`HOLDS_EVERY`] says. Gives what is open if it looked.
    pub(super) fn tell(&mut self, node: &edge::Node, channel: &Channel) -> Option<Holds> {
        let now = clock::now();
        if self.looked_at.is_some_and(|at| now < at + HOLDS_EVERY) {
            return None;
        }
        self.looked_at = Some(now);
        let holds = Holds::of(node);
        if self.told != Some(holds) {
            // With no supervisor nobody asks it.
            self.told = channel.send(&FromEdge::Holds { holds }, &[], false).is_ok().then_some(holds);
        }
        Some(holds)
    }
}
