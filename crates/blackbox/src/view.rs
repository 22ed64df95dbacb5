//! A slot as read, and whom it names. Pure.
//!
//! Callers: the supervisor after a death, by [`crate::read`]; the watchdog, by [`crate::Slot::view`].

use crate::{WORDS, word};

/// What the owner of a slot does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// No thread has claimed it.
    Free,
    /// Its thread polls no exchange.
    Idle,
    /// Its thread is in the middle of a poll of an exchange.
    Busy,
}

/// One slot, as it was when read. Where it is not [`SlotState::Busy`], the work named is the last one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// What its thread does.
    pub state: SlotState,
    /// The request's keyed hash.
    pub fingerprint: u64,
    /// The first 8 bytes of the zone's id; zeros before the zone is known.
    pub zone: [u8; 8],
    /// The number of the snapshot it is served under.
    pub snapshot: u64,
    /// The phase, as the writer numbers them.
    pub phase: u8,
    /// The rule being evaluated, by its place in the zone, or by its id where the phase is the firewall's; 0
    /// for none.
    pub rule: u32,
    /// Counts the thread's outermost polls.
    pub beat: u64,
    /// The signal that its thread died of; none while it lives, and after SIGKILL.
    pub death: Option<i32>,
    /// The kernel's id of the thread; 0 for none.
    pub thread: u32,
}

impl SlotView {
    pub(crate) fn of(words: [u64; WORDS]) -> Self {
        let state = words[word::STATE];
        Self {
            state: match state as u8 {
                0 => SlotState::Free,
                1 => SlotState::Idle,
                _ => SlotState::Busy,
            },
            fingerprint: words[word::FINGERPRINT],
            zone: words[word::ZONE].to_ne_bytes(),
            snapshot: words[word::SNAPSHOT],
            phase: (state >> 8) as u8,
            rule: (state >> 32) as u32,
            beat: words[word::BEAT],
            death: i32::try_from(words[word::DEATH]).ok().filter(|signal| *signal != 0),
            thread: u32::try_from(words[word::THREAD]).unwrap_or_default(),
        }
    }
}

/// The slot of the thread that a signal other than SIGKILL killed the process through. It may be idle: then
/// no request is to blame.
pub fn culprit(slots: &[SlotView]) -> Option<&SlotView> {
    slots.iter().find(|slot| slot.death.is_some())
}

/// Every request that may have killed the process: the culprit's alone if there is a culprit, else all that
/// were in the middle of a poll.
pub fn suspects(slots: &[SlotView]) -> Vec<&SlotView> {
    let is_busy = |slot: &&SlotView| slot.state == SlotState::Busy;
    match culprit(slots) {
        Some(culprit) => Some(culprit).filter(is_busy).into_iter().collect(),
        None => slots.iter().filter(is_busy).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(state: u64, fingerprint: u64, death: u64) -> SlotView {
        let mut words = [0; WORDS];
        words[word::STATE] = state;
        words[word::FINGERPRINT] = fingerprint;
        words[word::DEATH] = death;
        SlotView::of(words)
    }

    fn fingerprints(slots: &[SlotView]) -> Vec<u64> {
        suspects(slots).iter().map(|slot| slot.fingerprint).collect()
    }

    #[test]
    fn a_marked_slot_is_the_one_culprit() {
        assert_eq!(fingerprints(&[slot(2, 1, 0), slot(2, 2, 11), slot(1, 3, 0)]), [2]);
    }

    #[test]
    fn without_a_mark_everybody_in_a_poll_is_a_suspect() {
        assert_eq!(fingerprints(&[slot(2, 1, 0), slot(1, 2, 0), slot(2, 3, 0), slot(0, 4, 0)]), [1, 3]);
    }

    #[test]
    fn a_thread_that_dies_between_requests_blames_none() {
        assert_eq!(fingerprints(&[slot(2, 1, 0), slot(1, 2, 6)]), [] as [u64; 0]);
    }

    #[test]
    fn state_phase_and_rule_share_a_word() {
        let view = slot(0xffff_fffe_0000_0502, 0, 0);
        assert_eq!((view.state, view.phase, view.rule), (SlotState::Busy, 5, 0xffff_fffe));
    }
}
