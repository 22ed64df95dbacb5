//! Purges that wait to be put into the log on disk.
//!
//! Never refused; past a bound wider ones take their place. What strangers make (URLs that unsafe requests
//! change) is widened to its zone and no further, long before it could fill the queue. Filled by `disk.rs`,
//! emptied by the writer.

use std::collections::BTreeMap;

use super::{PurgeJob, Recorded};
use crate::store::limits::{CHANGED_URLS_WAITING_MAX, PURGES_WAITING_MAX};
use crate::store::purge::{Entry, Strength, What};

/// See the module.
#[derive(Default)]
pub(super) struct WaitingPurges {
    jobs: Vec<PurgeJob>,
    /// Of these, URLs changed.
    changed_urls: usize,
}

impl WaitingPurges {
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn into_jobs(self) -> Vec<PurgeJob> {
        self.jobs
    }

    /// Adds one. Past [`CHANGED_URLS_WAITING_MAX`] URLs changed, those of each zone become one purge of the
    /// zone; past [`PURGES_WAITING_MAX`] all become one purge of everything.
    pub(super) fn push(&mut self, job: PurgeJob) {
        self.changed_urls += usize::from(matches!(job.entry.what, What::Changed { .. }));
        self.jobs.push(job);
        if self.changed_urls > CHANGED_URLS_WAITING_MAX {
            self.fold_changed();
        }
        if self.jobs.len() > PURGES_WAITING_MAX {
            self.changed_urls = 0;
            let all = std::mem::take(&mut self.jobs);
            // It takes the place of withdrawals too: nothing stored before it is left to be withdrawn.
            self.jobs.extend(folded(all, What::Everything));
        }
    }

    /// Purges of whole zones are folded too, or each time would leave one more for each zone.
    fn fold_changed(&mut self) {
        self.changed_urls = 0;
        let mut zones: BTreeMap<u128, Vec<PurgeJob>> = BTreeMap::new();
        for job in std::mem::take(&mut self.jobs) {
            match (&job.entry.what, job.entry.strength) {
                (What::Changed { zone, .. } | What::Zone(zone), Strength::Hard) => {
                    zones.entry(*zone).or_default().push(job);
                }
                _ => self.jobs.push(job),
            }
        }
        self.jobs.extend(zones.into_iter().filter_map(|(zone, jobs)| folded(jobs, What::Zone(zone))));
    }
}

/// One hard purge in the place of many, as late as the last of them; none of none.
fn folded(jobs: Vec<PurgeJob>, what: What) -> Option<PurgeJob> {
    let epoch = jobs.iter().map(|job| job.entry.epoch).max()?;
    let number = jobs.iter().map(|job| job.number).max()?;
    let done = Box::new(move |recorded: Recorded| jobs.into_iter().for_each(|job| (job.done)(recorded)));
    Some(PurgeJob { entry: Entry { epoch, strength: Strength::Hard, what }, number, done })
}
