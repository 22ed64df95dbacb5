//! Purges in the command log: what they say, and how many are kept for a disk that has missed some.
//!
//! Called by [`super`]; who carries them out is [`crate::purging`].

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Purges that are kept for a disk that has not taken them: it takes them within a second, and one that has
/// missed more is emptied.
pub(super) const PURGES_MAX: usize = 1024;

/// Bytes of their texts.
pub(super) const PURGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A purge with everything resolved: zones by id, since names change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purging {
    /// The zone's id, 32 hex digits; none for everything there is.
    pub(crate) zone: Option<String>,
    /// The host, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Path and query, as visitors send them: each process keys them as its zones do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// Whether the target is only how they begin.
    #[serde(default)]
    pub(crate) is_prefix: bool,
    /// The tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// Whether answers only become stale.
    #[serde(default)]
    pub(crate) is_soft: bool,
}

impl Purging {
    fn bytes(&self) -> usize {
        let texts = [&self.zone, &self.host, &self.target, &self.tag];
        texts.into_iter().flatten().map(String::len).sum()
    }
}

impl std::fmt::Display for Purging {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.tag, &self.host, &self.target) {
            (Some(tag), ..) => write!(out, "tag {tag}"),
            (None, Some(host), Some(target)) if self.is_prefix => write!(out, "prefix {host}{target}"),
            (None, Some(host), Some(target)) => write!(out, "url {host}{target}"),
            (None, Some(host), None) => write!(out, "host {host}"),
            _ if self.zone.is_some() => write!(out, "zone"),
            _ => write!(out, "everything"),
        }
    }
}

/// The purges of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Purges {
    /// The newest ones with their numbers, in order.
    pub(crate) kept: VecDeque<(u64, Purging)>,
    /// The number of the newest that is not kept any more; 0 for none.
    pub(crate) forgotten_to: u64,
    bytes: usize,
}

impl Purges {
    /// Adds the newest; at the bound the oldest goes, and is known to be missing.
    pub(super) fn add(&mut self, number: u64, purging: Purging) {
        self.bytes += purging.bytes();
        self.kept.push_back((number, purging));
        while self.kept.len() > PURGES_MAX || self.bytes > PURGES_BYTES_MAX {
            let Some((number, gone)) = self.kept.pop_front() else { return };
            self.bytes -= gone.bytes();
            self.forgotten_to = number;
        }
    }

    /// Notes that those up to this number are missing.
    pub(super) fn forget_to(&mut self, number: u64) {
        self.forgotten_to = self.forgotten_to.max(number);
    }

    /// The number of the newest; 0 for none.
    pub(crate) fn newest(&self) -> u64 {
        self.kept.back().map_or(self.forgotten_to, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(bytes: usize) -> Purging {
        let tag = Some("a".repeat(bytes));
        Purging { zone: None, host: None, target: None, is_prefix: false, tag, is_soft: true }
    }

    #[test]
    fn what_is_too_much_to_keep_is_known_to_be_missing() {
        let mut purges = Purges::default();
        for number in 1..=PURGES_MAX as u64 + 2 {
            purges.add(number, tag(1));
        }
        assert_eq!((purges.kept.len(), purges.forgotten_to), (PURGES_MAX, 2));
        assert_eq!(purges.kept.front().map(|(number, _)| *number), Some(3));
        purges.add(2_000, tag(PURGES_BYTES_MAX - 5));
        assert_eq!((purges.kept.len(), purges.newest()), (6, 2_000));
        purges.add(2_001, tag(PURGES_BYTES_MAX + 1));
        assert_eq!((purges.kept.len(), purges.newest(), purges.bytes), (0, 2_001, 0));
    }
}
