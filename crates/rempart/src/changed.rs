//! URLs that unsafe requests have changed (RFC 9111 §4.4), told to the processes that serve beside this one:
//! the successor of an edge that drains, a candidate, the edge that tries one.
//!
//! Each process has a store of its own. What a visitor changed by a POST at one of them must not be answered
//! from before by another. Serving threads leave what was changed here and go on; one thread tells the
//! supervisor, who passes it on. No entry of the command log: strangers make these, and an entry costs a
//! write to the disk. Called by [`crate::edge_role`]; read next: [`Waiting::take`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zone::Id;

use crate::control::{Channel, FromEdge};

/// URLs of one zone that wait to be told. Past it the whole zone is told of in their place: so many wait only
/// when the supervisor does not read, and strangers must not fill memory meanwhile.
const URLS_MAX: usize = 256;

/// Zones that wait to be told of, with their URLs some 12 MiB at the worst. Past it further ones are left
/// out, and found stale for as long as they are fresh: no node has so many zones that are written to while
/// nobody reads.
const ZONES_MAX: usize = 4_096;

/// URLs of one message: 64 KiB of JSON hold twice as many, zones' names included.
const MESSAGE_URLS_MAX: usize = 512;

/// Between two messages: who is told hears of it within some milliseconds, and a node under a flood of POSTs
/// does not make its supervisor busy.
const PACE: Duration = Duration::from_millis(5);

/// What one message tells: URLs by zone, as the stores of a node know them; without any, all of the zone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangedUrls {
    /// Zones by their ids, 32 hex digits.
    zones: BTreeMap<String, Vec<u64>>,
}

impl ChangedUrls {
    /// Makes them unusable here.
    pub(crate) fn carry_out(&self, node: &edge::Node) {
        for (zone, urls) in &self.zones {
            // Written by the same binary, or one beside it: what is no id is no zone of this node.
            let Ok(zone) = zone.parse::<Id>() else { continue };
            node.changed_elsewhere(zone, Some(urls.as_slice()).filter(|urls| !urls.is_empty()));
        }
    }
}

/// What waits to be told.
#[derive(Debug, Default)]
struct Waiting {
    /// `None`: all of the zone.
    zones: BTreeMap<Id, Option<BTreeSet<u64>>>,
}

impl Waiting {
    fn add(&mut self, zone: Id, url: u64) {
        if self.zones.len() >= ZONES_MAX && !self.zones.contains_key(&zone) {
            return;
        }
        let urls = self.zones.entry(zone).or_insert_with(|| Some(BTreeSet::new()));
        if let Some(some) = urls {
            some.insert(url);
            if some.len() > URLS_MAX {
                *urls = None;
            }
        }
    }

    /// What fits one message; empty when nothing waits.
    fn take(&mut self) -> ChangedUrls {
        let mut taken = ChangedUrls::default();
        let mut room = MESSAGE_URLS_MAX;
        while room > 0
            && let Some((zone, urls)) = self.zones.pop_first()
        {
            let mut some: Vec<u64> = urls.into_iter().flatten().collect();
            let rest: BTreeSet<u64> = some.split_off(some.len().min(room)).into_iter().collect();
            if !rest.is_empty() {
                self.zones.insert(zone, Some(rest));
            }
            room -= some.len().max(1);
            taken.zones.insert(zone.to_string(), some);
        }
        taken
    }
}

/// Where serving threads leave what was changed. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Teller(Arc<(Mutex<Waiting>, Condvar)>);

impl Teller {
    /// One that tells a supervisor, by a thread of its own for as long as the process lives. Without a thread
    /// nobody is told, which is as it was before there were several processes.
    pub(crate) fn start(supervisor: &Arc<Channel>) -> Self {
        let (teller, supervisor) = (Self::default(), Arc::clone(supervisor));
        let tells = teller.clone();
        let work = move || {
            loop {
                let changed = tells.wait();
                // With no supervisor there is nobody beside this process that it could pass it on to.
                if supervisor.send(&FromEdge::Changed { changed }, &[], true).is_err() {
                    return;
                }
                thread::sleep(PACE);
            }
        };
        let _no_thread = thread::Builder::new().name("changed".into()).spawn(work);
        teller
    }

    /// Leaves a URL here. Never waits for anybody.
    pub(crate) fn add(&self, zone: Id, url: u64) {
        let (waiting, changed) = &*self.0;
        waiting.lock().unwrap_or_else(PoisonError::into_inner).add(zone, url);
        changed.notify_one();
    }

    fn wait(&self) -> ChangedUrls {
        let (waiting, changed) = &*self.0;
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let some = changed.wait_while(waiting, |waiting| waiting.zones.is_empty());
        some.unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id([number; 16])
    }

    #[test]
    fn every_url_is_told_once_in_messages_that_fit() {
        let mut waiting = Waiting::default();
        for zone in 0..3 {
            for url in 0..200 {
                waiting.add(id(zone), url);
                waiting.add(id(zone), url);
            }
        }
        let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        loop {
            let message = waiting.take();
            if message == ChangedUrls::default() {
                break;
            }
            assert!(message.zones.values().map(Vec::len).sum::<usize>() <= MESSAGE_URLS_MAX);
            let bytes = serde_json::to_vec(&FromEdge::Changed { changed: message.clone() }).unwrap();
            assert!(bytes.len() < 32 * 1024, "{}", bytes.len());
            message.zones.into_iter().for_each(|(zone, urls)| told.entry(zone).or_default().extend(urls));
        }
        assert_eq!(told.len(), 3);
        assert!(told.values().all(|urls| *urls == (0..200).collect::<Vec<_>>()));
    }

    #[test]
    fn too_many_urls_of_a_zone_become_the_zone_and_no_other() {
        let mut waiting = Waiting::default();
        waiting.add(id(1), 7);
        for url in 0..=URLS_MAX as u64 + 5 {
            waiting.add(id(2), url);
        }
        let told = waiting.take();
        assert_eq!(told.zones.get(&id(1).to_string()), Some(&vec![7]));
        assert_eq!(told.zones.get(&id(2).to_string()), Some(&vec![]));
        assert_eq!(waiting.take(), ChangedUrls::default());
    }

    #[test]
    fn zones_that_wait_are_bounded() {
        let mut waiting = Waiting::default();
        for number in 0..ZONES_MAX as u128 + 9 {
            waiting.add(Id(number.to_be_bytes()), 1);
        }
        assert_eq!(waiting.zones.len(), ZONES_MAX);
        let told = waiting.take();
        assert_eq!(told.zones.len(), MESSAGE_URLS_MAX);
        let bytes = serde_json::to_vec(&FromEdge::Changed { changed: told }).unwrap();
        assert!(bytes.len() < 64 * 1024, "{}", bytes.len());
    }
}
