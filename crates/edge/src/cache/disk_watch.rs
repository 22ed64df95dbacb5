//! What ails the cache's disk: told once when it begins, and once when it has been over for a while.
//!
//! Pure: it compares what it sees at each look, and counts looks in the place of time, so that a machine on
//! which looks are late is late to complain too. It changes nothing: that requests go past a disk that does
//! not answer is the store's own work, within a tenth of a second. Called by `tier.rs`.

use cache::store::DiskState;
use cache::store::disk::Activity;

/// Looks without a step of what is under way after which a disk counts as stalled: two seconds, which no disk
/// takes for one read or write of a MiB unless something is wrong with it. Visitors are past it long before.
const STALL_LOOKS: u32 = 20;

/// Looks without trouble after which it is over: two seconds, so that a disk that comes and goes makes one
/// event and not hundreds.
const CALM_LOOKS: u32 = 20;

/// Looks between two events of damage: a minute.
const DAMAGED_LOOKS: u32 = 600;

/// What ails it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskTrouble {
    /// Reads or writes do not come back.
    Stalled,
    /// There is no room.
    Full,
    /// Writes fail for another reason.
    Failing,
    /// The folder is another program's, of another version, or its head is damaged.
    Refused,
    /// The folder cannot be opened.
    Unreachable,
    /// It is given up until the next start.
    Failed,
}

impl DiskTrouble {
    /// The word of events and of `rempart status`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Stalled => "stalled",
            Self::Full => "full",
            Self::Failing => "failing",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }

    /// What to do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Stalled => {
                "visitors are served from memory and the origins; look at the disk, or name another folder \
                 by [cache] disk_folder"
            }
            Self::Full => {
                "visitors are served all the same; make room on the disk, or lower [cache] disk_bytes"
            }
            Self::Failing => {
                "visitors are served all the same; look at the disk and at who may write the folder"
            }
            Self::Refused => {
                "answers are kept in memory alone; empty the folder, or name another by [cache] disk_folder, \
                 and restart the node"
            }
            Self::Unreachable => {
                "answers are kept in memory alone, and the folder is tried again each five seconds; mend it, \
                 or name another by [cache] disk_folder"
            }
            Self::Failed => "answers are kept in memory alone; restart the node once the disk is well",
        }
    }
}

/// What a look finds.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) state: DiskState,
    pub(super) activity: Activity,
    /// Records and entries that failed a checksum since the start.
    pub(super) damaged: u64,
}

/// What is to be told after a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Something ails it.
    Begins {
        /// What.
        trouble: DiskTrouble,
        /// Why, where the system says.
        cause: String,
    },
    /// It is well again.
    Ends {
        /// What ailed it.
        trouble: DiskTrouble,
    },
    /// So many checksums failed since the last time.
    Damaged {
        /// How many.
        count: u64,
    },
}

/// A count of steps, and for how many looks it has stood still while there was something to do.
#[derive(Debug, Default)]
struct Still {
    steps: u64,
    looks: u32,
}

impl Still {
    /// Whether it has stood still for too long.
    fn see(&mut self, is_under_way: bool, steps: u64) -> bool {
        let has_moved = std::mem::replace(&mut self.steps, steps) != steps;
        self.looks = if is_under_way && !has_moved { self.looks.saturating_add(1) } else { 0 };
        self.looks >= STALL_LOOKS
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct DiskWatch {
    reads: Still,
    writes: Still,
    told: Option<DiskTrouble>,
    calm_looks: u32,
    /// Writes that had failed at the look before: a full disk may take a write again before the next look,
    /// since a segment is given up for its room.
    failures: u64,
    damaged_told: u64,
    /// Looks until damage may be told again.
    damaged_wait: u32,
}

impl DiskWatch {
    /// What ails it, as told.
    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.told.map(DiskTrouble::word)
    }

    /// Takes a look's finding; gives what is to be told.
    pub(super) fn see(&mut self, seen: &Seen) -> Vec<Said> {
        let mut said = Vec::new();
        match self.ailing(seen) {
            Some((trouble, cause)) => {
                self.calm_looks = 0;
                if self.told.replace(trouble) != Some(trouble) {
                    said.push(Said::Begins { trouble, cause });
                }
            }
            None => {
                self.calm_looks = self.calm_looks.saturating_add(1);
                if self.calm_looks >= CALM_LOOKS
                    && let Some(trouble) = self.told.take()
                {
                    said.push(Said::Ends { trouble });
                }
            }
        }
        self.damaged_wait = self.damaged_wait.saturating_sub(1);
        let count = seen.damaged.saturating_sub(self.damaged_told);
        if count > 0 && self.damaged_wait == 0 {
            (self.damaged_told, self.damaged_wait) = (seen.damaged, DAMAGED_LOOKS);
            said.push(Said::Damaged { count });
        }
        said
    }

    fn ailing(&mut self, seen: &Seen) -> Option<(DiskTrouble, String)> {
        let Seen { state, activity, .. } = seen;
        let reads = self.reads.see(activity.reads_waiting > 0, activity.reads_done);
        let writes = self.writes.see(activity.is_writing, activity.write_steps);
        let has_failed =
            std::mem::replace(&mut self.failures, activity.write_failures) < activity.write_failures;
        match state {
            DiskState::Refused(why) => Some((DiskTrouble::Refused, why.clone())),
            DiskState::Unreachable(why) => Some((DiskTrouble::Unreachable, why.clone())),
            DiskState::Failed(why) => Some((DiskTrouble::Failed, why.clone())),
            DiskState::WaitingForFolder | DiskState::Released => None,
            DiskState::Loading | DiskState::Ready => {
                let stalled = match (reads, writes) {
                    (true, true) => Some("neither reads nor writes come back"),
                    (true, false) => Some("reads do not come back"),
                    (false, true) => Some("a write, or the reading of the index, does not come back"),
                    (false, false) => None,
                };
                if let Some(cause) = stalled {
                    return Some((DiskTrouble::Stalled, cause.to_owned()));
                }
                let failure =
                    activity.write_failure.as_ref().filter(|_| has_failed || activity.is_failing)?;
                let trouble = if failure.is_full { DiskTrouble::Full } else { DiskTrouble::Failing };
                Some((trouble, failure.cause.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cache::store::disk::WriteFailure;

    use super::*;

    fn well() -> Seen {
        Seen { state: DiskState::Ready, activity: Activity::default(), damaged: 0 }
    }

    fn full() -> Seen {
        let write_failure = Some(WriteFailure { is_full: true, cause: "no room".to_owned() });
        Seen { activity: Activity { write_failure, is_failing: true, ..Activity::default() }, ..well() }
    }

    /// What is told over so many equal looks.
    fn over(watch: &mut DiskWatch, looks: u32, seen: &Seen) -> Vec<Said> {
        (0..looks).flat_map(|_| watch.see(seen)).collect()
    }

    #[test]
    fn a_disk_that_is_well_is_not_mentioned() {
        let mut watch = DiskWatch::default();
        let mut seen = well();
        for step in 0..1_000 {
            // Always something to do, and always a step.
            seen.activity = Activity {
                reads_waiting: 3,
                reads_done: step,
                is_writing: true,
                write_steps: step,
                ..Activity::default()
            };
            assert_eq!(watch.see(&seen), []);
        }
        assert_eq!(watch.trouble(), None);
    }

    #[test]
    fn a_disk_with_nothing_to_do_stands_still_and_is_well() {
        assert_eq!(over(&mut DiskWatch::default(), 1_000, &well()), []);
    }

    #[test]
    fn a_stall_is_told_once_and_its_end_once() {
        for (reads_waiting, is_writing) in [(1, false), (0, true), (7, true)] {
            let mut watch = DiskWatch::default();
            let activity = Activity { reads_waiting, is_writing, ..Activity::default() };
            let stalled = Seen { activity, ..well() };
            assert_eq!(over(&mut watch, STALL_LOOKS - 1, &stalled), []);
            let said = over(&mut watch, 500, &stalled);
            assert!(matches!(&said[..], [Said::Begins { trouble: DiskTrouble::Stalled, .. }]), "{said:?}");
            assert_eq!(watch.trouble(), Some("stalled"));
            let ends = [Said::Ends { trouble: DiskTrouble::Stalled }];
            assert_eq!(over(&mut watch, CALM_LOOKS - 1, &well()), []);
            assert_eq!(over(&mut watch, 500, &well()), ends);
            assert_eq!(watch.trouble(), None);
        }
    }

    #[test]
    fn a_disk_that_is_full_now_and_then_makes_one_event() {
        let mut watch = DiskWatch::default();
        let mut said = Vec::new();
        for _ in 0..100 {
            said.extend(watch.see(&full()));
            said.extend(over(&mut watch, CALM_LOOKS - 1, &well()));
        }
        assert_eq!(said, [Said::Begins { trouble: DiskTrouble::Full, cause: "no room".to_owned() }]);
    }

    #[test]
    fn a_failure_between_two_looks_is_seen() {
        let mut watch = DiskWatch::default();
        let mut seen = full();
        seen.activity.is_failing = false;
        assert_eq!(watch.see(&seen), [], "it was before the first look");
        seen.activity.write_failures = 1;
        assert_eq!(watch.see(&seen).len(), 1);
        assert_eq!(over(&mut watch, 500, &seen), [Said::Ends { trouble: DiskTrouble::Full }]);
    }

    #[test]
    fn a_folder_that_is_not_used_is_told_with_the_reason() {
        let why = || "the reason".to_owned();
        for (state, trouble) in [
            (DiskState::Refused(why()), DiskTrouble::Refused),
            (DiskState::Unreachable(why()), DiskTrouble::Unreachable),
            (DiskState::Failed(why()), DiskTrouble::Failed),
        ] {
            let said = over(&mut DiskWatch::default(), 100, &Seen { state, ..well() });
            assert_eq!(said, [Said::Begins { trouble, cause: why() }]);
        }
        for state in [DiskState::WaitingForFolder, DiskState::Released] {
            let seen = Seen { state, ..full() };
            assert_eq!(over(&mut DiskWatch::default(), 100, &seen), []);
        }
    }

    #[test]
    fn one_trouble_in_the_place_of_another_is_told() {
        let mut watch = DiskWatch::default();
        over(&mut watch, 1, &full());
        let failed = Seen { state: DiskState::Failed(String::new()), ..well() };
        assert_eq!(over(&mut watch, 9, &failed).len(), 1);
        assert_eq!(watch.trouble(), Some("failed"));
    }

    #[test]
    fn damage_is_told_at_once_and_then_in_sums() {
        let mut watch = DiskWatch::default();
        let damaged = |damaged| Seen { damaged, ..well() };
        assert_eq!(watch.see(&damaged(3)), [Said::Damaged { count: 3 }]);
        let mut said = Vec::new();
        for number in 0..u64::from(DAMAGED_LOOKS) {
            said.extend(watch.see(&damaged(4 + number)));
        }
        assert_eq!(said.len(), 1, "one a minute: {said:?}");
    }
}
