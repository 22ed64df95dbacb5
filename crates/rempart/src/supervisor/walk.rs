//! The walk back over kept generations, and how soon an edge is started again. Pure: told of deaths.
//!
//! What is approximated: that an edge which dies soon dies of its snapshot. So each death within
//! [`LONG_LIFE`] of beginning to serve goes one generation further back. A long life speaks for the
//! generation that was lived with, and says nothing of those that were walked back from: the next edge
//! begins with it again, until [`crate::publishing`] withdraws those, a publish, a new start or a person says
//! otherwise; a supervisor that follows one that died is told by the edge where it stood. A kill from outside
//! (SIGKILL) says nothing about the snapshot: it lets the edge start anew where it was. A death of a
//! request that is named says little at first: that request is refused when it comes again, and a zone
//! whose requests keep killing is set back. Only beyond [`Walk::NAMED_MAX`] of these does the snapshot
//! stand in doubt. When it is wrong, a node serves an older state of its sites until the next publish,
//! which the event says, rather than nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::{Begin, LONG_LIFE};
use crate::generations::GENERATIONS_KEPT;

/// Longest pause between starts: what a person who mends something waits at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause before the third start in a row; then each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A life after which no pause is due.
const CALM_LIFE: Duration = Duration::from_secs(30);

/// Where the walk stands. An upgrade carries it over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Walk {
    /// Deaths in a row after short lives.
    quick_deaths: u32,
    /// Steps back that were taken, each for a death that spoke against the snapshot.
    doubts: usize,
    /// Deaths in a row that a request is named for.
    named: u32,
    /// Whether the last one to die had lived long.
    was_long: bool,
}

/// What an edge died of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A kill from outside, or nobody knows yet: [`Walk::doubt`] follows then.
    Kill,
    /// A request that is named.
    Request,
    /// Something else.
    Other,
}

/// How to go on after a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// What the next edge begins with; none when everything kept has been tried.
    pub(super) begin: Option<Begin>,
    /// How long to wait before a process is started. A spare that stands takes over at once.
    pub(super) pause: Duration,
}

impl Walk {
    /// Deaths by named requests before the snapshot stands in doubt: two of each of the two requests before
    /// the third that sets a zone back, and that one.
    const NAMED_MAX: u32 = 5;

    /// Goes on from where the walk of a supervisor that died stood, as the edge tells that it left.
    pub(super) fn from_where(begin: Option<Begin>) -> Self {
        match begin {
            Some(Begin::Kept { skip }) => Self { doubts: skip.saturating_add(1), ..Self::default() },
            _ => Self::default(),
        }
    }

    /// Notes the death of a serving edge after a life of `lived`.
    pub(super) fn after(&mut self, lived: Duration, cause: Cause) -> Step {
        if lived >= CALM_LIFE {
            self.quick_deaths = 0;
        }
        self.quick_deaths = self.quick_deaths.saturating_add(1);
        self.was_long = lived >= LONG_LIFE;
        if self.was_long {
            self.named = 0;
        }
        match cause {
            Cause::Kill => {}
            Cause::Request if self.named < Self::NAMED_MAX => self.named += 1,
            Cause::Request | Cause::Other => self.doubt(),
        }
        let pause = match self.quick_deaths {
            0 | 1 => Duration::ZERO,
            many => FIRST_PAUSE.saturating_mul(1 << (many - 2).min(16)).min(LONGEST_PAUSE),
        };
        Step { begin: self.begin(), pause }
    }

    /// A death that was taken for a kill was none: the next step goes further back.
    pub(super) fn doubt(&mut self) {
        self.doubts = match self.was_long {
            // It was good for long: no step further, however often such a death comes.
            true => self.doubts.max(1),
            false => self.doubts.saturating_add(1),
        };
    }

    /// What an edge that starts now begins with.
    pub(super) fn begin(&self) -> Option<Begin> {
        match self.doubts {
            0 => Some(Begin::Newest),
            doubts => (doubts <= GENERATIONS_KEPT).then_some(Begin::Kept { skip: doubts - 1 }),
        }
    }

    /// What the successor of an upgrade begins with: a newer binary is no reason to go back to what kills.
    pub(super) fn begin_anew(&self) -> Begin {
        self.begin().unwrap_or(Begin::Newest)
    }

    /// There is nothing more to walk back to: what is kept has been tried.
    pub(super) fn exhaust(&mut self) {
        self.doubts = GENERATIONS_KEPT + 1;
    }

    /// Begins at the last good one again, as after a publish that a person made.
    pub(super) fn forgive(&mut self) {
        *self = Self::default();
    }

    /// Deaths since the last long life.
    pub(super) fn quick_deaths(&self) -> u32 {
        self.quick_deaths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_millis(10);

    #[test]
    fn quick_deaths_wait_longer_each_time_up_to_five_seconds() {
        let mut walk = Walk::default();
        let pauses: Vec<u128> = (0..9).map(|_| walk.after(QUICK, Cause::Other).pause.as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn each_soon_death_goes_one_generation_further_back_until_nothing_is_left() {
        let mut walk = Walk::default();
        for skip in 0..GENERATIONS_KEPT {
            let step = walk.after(Duration::from_secs(60), Cause::Other);
            assert_eq!(step.begin, Some(Begin::Kept { skip }));
            assert_eq!(step.pause, Duration::ZERO, "a life of a minute needs no pause");
        }
        assert_eq!(walk.after(QUICK, Cause::Other).begin, None);
    }

    #[test]
    fn a_successor_begins_where_the_walk_stands_and_the_walk_goes_on_after_the_exec() {
        let mut walk = Walk::default();
        assert_eq!(walk.begin_anew(), Begin::Newest);
        (0..2).for_each(|_| {
            let _step = walk.after(QUICK, Cause::Other);
        });
        assert_eq!(walk.begin_anew(), Begin::Kept { skip: 1 });
        let carried: Walk = serde_json::from_str(&serde_json::to_string(&walk).unwrap()).unwrap();
        assert_eq!(carried, walk);
        // Of a binary that carried none.
        assert_eq!(serde_json::from_str::<Walk>("{}").unwrap(), Walk::default());
        walk.exhaust();
        assert_eq!(walk.begin_anew(), Begin::Newest);
    }

    #[test]
    fn a_long_life_speaks_for_its_generation_and_not_for_those_walked_back_from() {
        let mut walk = Walk::default();
        for _ in 0..4 {
            walk.after(QUICK, Cause::Other);
        }
        let here = Step { begin: Some(Begin::Kept { skip: 3 }), pause: Duration::ZERO };
        for cause in [Cause::Other, Cause::Kill, Cause::Request, Cause::Other] {
            assert_eq!(walk.after(LONG_LIFE, cause), here, "{cause:?}");
        }
        // What was taken for a kill and was none says no more.
        let _step = walk.after(LONG_LIFE, Cause::Kill);
        walk.doubt();
        assert_eq!(walk.begin(), here.begin);
        assert_eq!(walk.after(QUICK, Cause::Other).begin, Some(Begin::Kept { skip: 4 }));
        walk.forgive();
        assert_eq!(walk.begin(), Some(Begin::Newest));
        // From the newest one step is taken, since it may not have been kept yet, and no second one.
        for _ in 0..2 {
            assert_eq!(walk.after(LONG_LIFE, Cause::Other).begin, Some(Begin::Kept { skip: 0 }));
        }
    }

    #[test]
    fn a_kill_from_outside_does_not_speak_against_the_snapshot() {
        let mut walk = Walk::default();
        for _ in 0..20 {
            assert_eq!(walk.after(QUICK, Cause::Kill).begin, Some(Begin::Newest));
        }
    }

    #[test]
    fn requests_that_are_named_speak_against_the_snapshot_only_when_they_are_many() {
        let mut walk = Walk::default();
        for _ in 0..Walk::NAMED_MAX {
            assert_eq!(walk.after(QUICK, Cause::Request).begin, Some(Begin::Newest));
        }
        assert_eq!(walk.after(QUICK, Cause::Request).begin, Some(Begin::Kept { skip: 0 }));
        assert_eq!(
            walk.after(LONG_LIFE, Cause::Request).begin,
            Some(Begin::Kept { skip: 0 }),
            "where it was"
        );
    }
}
