//! The URLs of one zone that unsafe requests have changed, each with the epoch of the latest.
//!
//! Exact, unlike [`super::Sketch`]: strangers choose which URLs and how many, and a table that errs would let
//! them push out what they never named. How many there may be is `purge.rs`'s to say.

use hashbrown::HashTable;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct ChangedUrls {
    /// Keyed hashes of URLs, which need no second hashing, and epochs.
    urls: HashTable<(u64, u64)>,
}

impl ChangedUrls {
    pub(super) fn len(&self) -> usize {
        self.urls.len()
    }

    /// The latest epoch of a URL; zero: not changed.
    pub(super) fn epoch(&self, url: u64) -> u64 {
        self.urls.find(url, |(other, _)| *other == url).map_or(0, |(_, epoch)| *epoch)
    }

    /// Notes a change; true when the URL was not there.
    pub(super) fn raise(&mut self, url: u64, epoch: u64) -> bool {
        if let Some((_, latest)) = self.urls.find_mut(url, |(other, _)| *other == url) {
            *latest = epoch.max(*latest);
            return false;
        }
        self.urls.insert_unique(url, (url, epoch), |(url, _)| *url);
        true
    }

    /// The epoch that half of them are not later than; zero when there are none.
    pub(super) fn median(&self) -> u64 {
        let mut epochs: Vec<u64> = self.urls.iter().map(|(_, epoch)| *epoch).collect();
        let middle = epochs.len().saturating_sub(1) / 2;
        if epochs.is_empty() { 0 } else { *epochs.select_nth_unstable(middle).1 }
    }

    /// Forgets those up to an epoch, and gives their memory back; gives how many.
    pub(super) fn forget_to(&mut self, epoch: u64) -> usize {
        let before = self.urls.len();
        self.urls.retain(|(_, latest)| *latest > epoch);
        let gone = before - self.urls.len();
        if gone > 0 {
            self.urls.shrink_to_fit(|(url, _)| *url);
        }
        gone
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.urls.iter().copied()
    }
}
