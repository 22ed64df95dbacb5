//! What killed an edge: reads its black box after a death, remembers who killed before, and says whom to
//! refuse.
//!
//! Only a certain culprit counts: the one slot that the dying thread marked. After a kill from outside every
//! request in the middle of a poll is a suspect, and is told as such, but a busy page must not be refused for
//! having been there. Pure but for the reading; `now_s` is in seconds since the machine began, which nobody
//! can set. Called by [`super`]; the slots are [`blackbox`]'s.

use std::os::fd::OwnedFd;

use blackbox::{SlotState, SlotView};
use exchange::Phase;

use crate::control::{Deadly, Killed, refused_s};

/// Deaths by which a request is refused: once may be an accident of two things at a time.
const KILLS_MAX: u32 = 2;

/// How long a request is refused, and how long a death is remembered.
const REMEMBERED_S: u64 = refused_s();

/// Requests remembered; more than a few are no accident but somebody who tries.
const KILLERS_MAX: usize = 256;

/// Different requests of one zone that killed, from which on the zone is set back to an earlier spec.
const ZONE_KILLERS_MAX: usize = 3;

/// One request that killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Killer {
    fingerprint: u64,
    zone: [u8; 8],
    kills: u32,
    last_s: u64,
}

/// Everybody who killed in the last hour.
#[derive(Debug, Default)]
pub(super) struct Culprits {
    killers: Vec<Killer>,
}

impl Culprits {
    /// Notes a death. Gives what to tell: the culprit, or the suspects.
    pub(super) fn after(&mut self, slots: &[SlotView], now_s: u64) -> Vec<Killed> {
        self.forget(now_s);
        let is_certain = blackbox::culprit(slots).is_some();
        let suspects = blackbox::suspects(slots).into_iter().filter(|slot| slot.state == SlotState::Busy);
        suspects.map(|slot| self.name(slot, is_certain, now_s)).collect()
    }

    fn name(&mut self, slot: &SlotView, is_certain: bool, now_s: u64) -> Killed {
        let mut kills = 0;
        let mut sets_back = false;
        if is_certain {
            let zone = slot.zone;
            let of_zone = |killers: &[Killer]| killers.iter().filter(|killer| killer.zone == zone).count();
            let before = of_zone(&self.killers);
            kills = self.count(slot.fingerprint, zone, now_s);
            // Once, when the number is reached: what is set back once is not set back again for the same
            // reason.
            sets_back =
                zone != [0; 8] && before < ZONE_KILLERS_MAX && of_zone(&self.killers) >= ZONE_KILLERS_MAX;
        }
        Killed {
            fingerprint: slot.fingerprint,
            zone: slot.zone,
            phase: Phase::ALL.get(usize::from(slot.phase)).map_or("", |phase| phase.as_str()).to_owned(),
            rule: slot.rule,
            is_certain,
            kills,
            is_refused: kills >= KILLS_MAX,
            sets_back,
        }
    }

    fn count(&mut self, fingerprint: u64, zone: [u8; 8], now_s: u64) -> u32 {
        if let Some(killer) = self.killers.iter_mut().find(|killer| killer.fingerprint == fingerprint) {
            killer.kills = killer.kills.saturating_add(1);
            killer.last_s = now_s;
            return killer.kills;
        }
        if self.killers.len() >= KILLERS_MAX {
            self.killers.remove(0);
        }
        self.killers.push(Killer { fingerprint, zone, kills: 1, last_s: now_s });
        1
    }

    /// Notes a request that hung a thread for good, and gives what to tell: it is refused at once, since
    /// there is no doubt.
    pub(super) fn hung(&mut self, slot: &SlotView, now_s: u64) -> Killed {
        self.forget(now_s);
        let mut killed = self.name(slot, true, now_s);
        while killed.kills < KILLS_MAX {
            killed.kills = self.count(slot.fingerprint, slot.zone, now_s);
        }
        Killed { is_refused: true, ..killed }
    }

    /// Everybody to refuse at the door.
    pub(super) fn deadly(&self, now_s: u64) -> Vec<Deadly> {
        let is_on = |killer: &&Killer| killer.kills >= KILLS_MAX && killer.last_s + REMEMBERED_S > now_s;
        let deadly = |killer: &Killer| Deadly {
            fingerprint: killer.fingerprint,
            left_s: (killer.last_s + REMEMBERED_S).saturating_sub(now_s),
        };
        self.killers.iter().filter(is_on).map(deadly).collect()
    }

    /// Takes over who is refused from a supervisor before this one.
    pub(super) fn remember(&mut self, deadly: &[Deadly], now_s: u64) {
        let killer = |deadly: &Deadly| Killer {
            fingerprint: deadly.fingerprint,
            zone: [0; 8],
            kills: KILLS_MAX,
            last_s: (now_s + deadly.left_s.min(REMEMBERED_S)).saturating_sub(REMEMBERED_S),
        };
        self.killers.extend(deadly.iter().take(KILLERS_MAX).map(killer));
    }

    fn forget(&mut self, now_s: u64) {
        self.killers.retain(|killer| killer.last_s + REMEMBERED_S > now_s);
    }
}

/// Reads the slots of an edge that died; none when the box cannot be read, which no death makes.
pub(super) fn slots(black_box: &OwnedFd) -> Vec<SlotView> {
    blackbox::read(black_box).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(state: SlotState, fingerprint: u64, zone: u8, death: Option<i32>) -> SlotView {
        let (zone, snapshot, phase, rule, beat, thread) = ([zone; 8], 1, 1, 0, 0, 0);
        SlotView { state, fingerprint, zone, snapshot, phase, rule, beat, death, thread }
    }

    fn dies_of(fingerprint: u64, zone: u8) -> [SlotView; 2] {
        [slot(SlotState::Busy, 9999, 9, None), slot(SlotState::Busy, fingerprint, zone, Some(11))]
    }

    #[test]
    fn the_same_request_is_named_after_the_first_death_and_refused_after_the_second() {
        let mut culprits = Culprits::default();
        let first = culprits.after(&dies_of(7, 1), 100);
        assert_eq!((first.len(), first[0].fingerprint, first[0].is_refused), (1, 7, false));
        assert_eq!(first[0].phase, "shield");
        assert_eq!(culprits.deadly(100), []);
        assert!(culprits.after(&dies_of(7, 1), 200)[0].is_refused);
        assert_eq!(culprits.deadly(200), [Deadly { fingerprint: 7, left_s: REMEMBERED_S }]);
        assert_eq!(culprits.deadly(300), [Deadly { fingerprint: 7, left_s: REMEMBERED_S - 100 }]);
        assert_eq!(culprits.deadly(200 + REMEMBERED_S), [], "it is refused for an hour");
    }

    #[test]
    fn a_kill_from_outside_makes_suspects_that_are_never_refused() {
        let mut culprits = Culprits::default();
        for now_s in 0..10 {
            let slots = [slot(SlotState::Busy, 1, 1, None), slot(SlotState::Idle, 2, 1, None)];
            let told = culprits.after(&slots, now_s);
            assert_eq!(told.iter().map(|killed| killed.fingerprint).collect::<Vec<_>>(), [1]);
            assert!(!told[0].is_certain);
        }
        assert_eq!(culprits.deadly(10), []);
    }

    #[test]
    fn a_zone_is_set_back_once_when_its_third_request_kills_and_others_are_not() {
        let mut culprits = Culprits::default();
        let mut back = Vec::new();
        for (fingerprint, zone) in [(1, 1), (1, 1), (2, 1), (3, 2), (4, 1), (5, 1)] {
            let told = culprits.after(&dies_of(fingerprint, zone), 5);
            back.extend(told.iter().filter(|killed| killed.sets_back).map(|killed| killed.fingerprint));
        }
        assert_eq!(back, [4]);
    }

    #[test]
    fn what_hung_a_thread_is_refused_at_once() {
        let mut culprits = Culprits::default();
        let killed = culprits.hung(&slot(SlotState::Busy, 7, 1, None), 5000);
        assert_eq!((killed.is_refused, killed.kills, killed.sets_back), (true, 2, false));
        assert_eq!(culprits.deadly(5000).len(), 1);
        let mut next = Culprits::default();
        next.remember(&culprits.deadly(6000), 6000);
        assert_eq!(next.deadly(7000), culprits.deadly(7000));
    }

    #[test]
    fn a_zone_whose_third_request_hangs_is_set_back() {
        let mut culprits = Culprits::default();
        let hung = [1, 2, 3, 4]
            .map(|fingerprint| culprits.hung(&slot(SlotState::Busy, fingerprint, 1, None), 5).sets_back);
        assert_eq!(hung, [false, false, true, false]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut culprits = Culprits::default();
        for fingerprint in 0..1000 {
            culprits.after(&dies_of(fingerprint, 0), 5);
        }
        assert_eq!(culprits.killers.len(), KILLERS_MAX);
    }
}
