//! The numbered command log: orders that take effect at once and are no configuration: emergency blocks, and
//! purges of the cache.
//!
//! `<data_dir>/commands`, one JSON object a line, appended and synced before an order is carried out, so that
//! a process which takes over knows them too. When it grows it is written anew with what is still in force. A
//! line that is damaged is passed over: an order is lost rather than the node. Called by
//! [`crate::edge_role`].

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use edge::BLOCKS_MAX;
use serde::{Deserialize, Serialize};
use zone::Cidr;

use crate::files::{read_bounded, write_whole};

/// Lines after which the log is written anew: a few times what can be in force.
const LINES_MAX: usize = 4 * BLOCKS_MAX;

/// Bytes of the whole log: that many lines of some 200 bytes.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest time of a block: whoever means longer writes a rule.
pub(crate) const BLOCK_S_MAX: u64 = 30 * 86_400;

/// Bytes of a block's reason.
const REASON_BYTES_MAX: usize = 256;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    number: u64,
    unix_s: u64,
    #[serde(flatten)]
    order: Order,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
enum Order {
    Block {
        range: String,
        until_unix_s: u64,
        reason: String,
    },
    Unblock {
        range: String,
    },
    Purge(Purging),
    /// Purges up to this number are not here any more.
    Forgotten {
        purges_to: u64,
    },
}

/// A purge with everything resolved: zones by id, since names change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Purging {
    /// The zone's id, 32 hex digits; none for everything there is.
    pub(crate) zone: Option<String>,
    /// The host, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Path and query, as the zone keys them.
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

/// Purges that are kept for a disk that has not taken them: it takes them within a second, and one that has
/// missed more is emptied.
const PURGES_MAX: usize = 1024;

/// The purges of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Purges {
    /// The newest ones with their numbers, in order.
    pub(crate) kept: VecDeque<(u64, Purging)>,
    /// The number of the newest that is not kept any more; 0 for none.
    pub(crate) forgotten_to: u64,
}

impl Purges {
    fn add(&mut self, number: u64, purging: Purging) {
        self.kept.push_back((number, purging));
        if self.kept.len() > PURGES_MAX {
            self.forgotten_to = self.kept.pop_front().map_or(0, |(number, _)| number);
        }
    }
}

/// A range that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Block {
    /// As in CIDR notation.
    pub(crate) range: String,
    /// Until when, in seconds after 1970.
    pub(crate) until_unix_s: u64,
    /// Why, in the words of who ordered it.
    pub(crate) reason: String,
}

/// The log of one data folder, and what is in force by it.
#[derive(Debug)]
pub(crate) struct CommandLog {
    path: PathBuf,
    number: u64,
    lines: usize,
    blocks: Vec<Block>,
    purges: Purges,
}

impl CommandLog {
    /// Reads it. One that cannot be read is as if it were empty: that must not keep sites down.
    pub(crate) fn open(data_dir: &Path, now_s: u64) -> Self {
        let path = data_dir.join("commands");
        let bytes = read_bounded(&path, BYTES_MAX).unwrap_or_default();
        let mut log = Self { path, number: 0, lines: 0, blocks: Vec::new(), purges: Purges::default() };
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            log.lines += 1;
            let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
            log.number = log.number.max(line.number);
            log.apply(line.number, line.order);
        }
        log.expire(now_s);
        log
    }

    fn apply(&mut self, number: u64, order: Order) {
        match order {
            Order::Block { range, until_unix_s, reason } => {
                self.blocks.retain(|block| block.range != range);
                self.blocks.push(Block { range, until_unix_s, reason });
            }
            Order::Unblock { range } => self.blocks.retain(|block| block.range != range),
            Order::Purge(purging) => self.purges.add(number, purging),
            Order::Forgotten { purges_to } => {
                self.purges.forgotten_to = self.purges.forgotten_to.max(purges_to);
            }
        }
    }

    fn expire(&mut self, now_s: u64) {
        self.blocks.retain(|block| block.until_unix_s > now_s);
    }

    /// Everything in force, in the order it came.
    pub(crate) fn blocks(&mut self, now_s: u64) -> &[Block] {
        self.expire(now_s);
        &self.blocks
    }

    /// The same for the edge.
    pub(crate) fn ranges(&mut self, now_s: u64) -> Vec<(Cidr, u64)> {
        let range = |block: &Block| Some((block.range.parse().ok()?, block.until_unix_s));
        self.blocks(now_s).iter().filter_map(range).collect()
    }

    /// Orders a range to be refused for a time. Gives the order's number.
    ///
    /// # Errors
    /// When the range is no range or holds too many, the time is out of bounds, the list is full, or the disk
    /// does not take the order.
    pub(crate) fn block(&mut self, range: &str, for_s: u64, reason: &str, now_s: u64) -> Result<u64> {
        let range: Cidr = range.parse().with_context(|| format!("{range:?} is no address or range"))?;
        let widest = if range.network().is_ipv4() { 8 } else { 16 };
        ensure!(
            range.prefix() >= widest,
            "a range as wide as {range} holds too many visitors: name one of at least /{widest}"
        );
        ensure!((1..=BLOCK_S_MAX).contains(&for_s), "a block lasts 1 s to {BLOCK_S_MAX} s");
        self.expire(now_s);
        let range = range.to_string();
        let is_known = self.blocks.iter().any(|block| block.range == range);
        ensure!(
            is_known || self.blocks.len() < BLOCKS_MAX,
            "{BLOCKS_MAX} ranges are blocked already: unblock some, or block wider ranges"
        );
        let mut end = reason.len().min(REASON_BYTES_MAX);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let reason = reason.get(..end).unwrap_or_default().to_owned();
        self.append(Order::Block { range, until_unix_s: now_s + for_s, reason }, now_s)
    }

    /// Takes a block back. Gives the order's number.
    ///
    /// # Errors
    /// When the range is not blocked, or the disk does not take the order.
    pub(crate) fn unblock(&mut self, range: &str, now_s: u64) -> Result<u64> {
        let range: Cidr = range.parse().with_context(|| format!("{range:?} is no address or range"))?;
        self.expire(now_s);
        let range = range.to_string();
        ensure!(self.blocks.iter().any(|block| block.range == range), "{range} is not blocked");
        self.append(Order::Unblock { range }, now_s)
    }

    /// Orders a purge. Gives the order's number.
    ///
    /// # Errors
    /// When the disk does not take the order.
    pub(crate) fn purge(&mut self, purging: Purging, now_s: u64) -> Result<u64> {
        self.append(Order::Purge(purging), now_s)
    }

    /// The purges it has.
    pub(crate) fn purges(&self) -> &Purges {
        &self.purges
    }

    fn append(&mut self, order: Order, now_s: u64) -> Result<u64> {
        let line = Line { number: self.number + 1, unix_s: now_s, order };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        let what = || format!("{} cannot be written", self.path.display());
        let open = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path);
        let mut file: File = open.with_context(what)?;
        file.write_all(&bytes).and_then(|()| file.sync_data()).with_context(what)?;
        self.number = line.number;
        self.lines += 1;
        self.apply(line.number, line.order);
        if self.lines > LINES_MAX {
            self.compact(now_s)?;
        }
        Ok(self.number)
    }

    /// Writes the log anew with what is in force.
    fn compact(&mut self, now_s: u64) -> Result<()> {
        let mut bytes = Vec::new();
        for block in &self.blocks {
            let Block { range, until_unix_s, reason } = block.clone();
            let order = Order::Block { range, until_unix_s, reason };
            serde_json::to_writer(&mut bytes, &Line { number: self.number, unix_s: now_s, order })?;
            bytes.push(b'\n');
        }
        let forgotten = Order::Forgotten { purges_to: self.purges.forgotten_to };
        let purges =
            self.purges.kept.iter().map(|(number, purging)| (*number, Order::Purge(purging.clone())));
        for (number, order) in std::iter::once((self.number, forgotten)).chain(purges) {
            serde_json::to_writer(&mut bytes, &Line { number, unix_s: now_s, order })?;
            bytes.push(b'\n');
        }
        write_whole(&self.path, &bytes, 0o600).context("the command log cannot be written anew")?;
        self.lines = self.blocks.len() + self.purges.kept.len() + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use testkit::folder::Folder;

    use super::*;

    #[test]
    fn orders_are_in_force_again_after_a_restart_until_their_time() {
        let folder = Folder::new().unwrap();
        let mut log = CommandLog::open(folder.path(), 100);
        assert_eq!(log.block("192.0.2.1", 50, "scraper", 100).unwrap(), 1);
        assert_eq!(log.block("198.51.100.0/24", 500, "", 100).unwrap(), 2);
        assert_eq!(log.block("2001:db8::/48", 500, "", 100).unwrap(), 3);
        assert_eq!(log.unblock("2001:db8::/48", 100).unwrap(), 4);
        let mut again = CommandLog::open(folder.path(), 120);
        let ranges: Vec<String> = again.blocks(120).iter().map(|block| block.range.clone()).collect();
        assert_eq!(ranges, ["192.0.2.1/32", "198.51.100.0/24"]);
        assert_eq!(again.ranges(200).len(), 1, "the other one's time is over");
        assert_eq!(again.block("192.0.2.7", 1, "", 200).unwrap(), 5, "numbers go on");
    }

    #[test]
    fn what_would_block_everybody_or_for_ever_is_refused() {
        let folder = Folder::new().unwrap();
        let mut log = CommandLog::open(folder.path(), 0);
        for (range, for_s) in [
            ("0.0.0.0/0", 60),
            ("::/0", 60),
            ("10.0.0.0/7", 60),
            ("192.0.2.1", 0),
            ("192.0.2.1", BLOCK_S_MAX + 1),
            ("x", 1),
        ] {
            assert!(log.block(range, for_s, "", 0).is_err(), "{range} for {for_s}");
        }
        assert!(log.unblock("192.0.2.1", 0).is_err());
        assert_eq!(log.blocks(0), []);
    }

    #[test]
    fn damaged_lines_are_passed_over() {
        let folder = Folder::new().unwrap();
        CommandLog::open(folder.path(), 0).block("192.0.2.1", 60, "", 0).unwrap();
        let path = folder.path().join("commands");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("nonsense\n{{\"order\":\"block\"}}\n{text}{{\"numb")).unwrap();
        assert_eq!(CommandLog::open(folder.path(), 0).blocks(0).len(), 1);
    }

    #[test]
    fn a_long_log_is_written_anew_with_what_is_in_force() {
        let folder = Folder::new().unwrap();
        let mut log = CommandLog::open(folder.path(), 0);
        log.block("192.0.2.1", 60, "kept", 0).unwrap();
        log.lines = LINES_MAX;
        log.block("192.0.2.2", 60, "", 0).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("commands")).unwrap().lines().count(), 3);
        let mut again = CommandLog::open(folder.path(), 0);
        assert_eq!((again.blocks(0).len(), again.number), (2, 2));
    }

    fn tag(tag: &str) -> Purging {
        let (zone, tag) = (Some("0".repeat(32)), Some(tag.to_owned()));
        Purging { zone, host: None, target: None, is_prefix: false, tag, is_soft: true }
    }

    #[test]
    fn purges_are_there_after_a_restart_and_after_the_log_was_written_anew() {
        let folder = Folder::new().unwrap();
        let mut log = CommandLog::open(folder.path(), 0);
        assert_eq!(log.purge(tag("a"), 0).unwrap(), 1);
        log.lines = LINES_MAX;
        assert_eq!(log.purge(tag("b"), 0).unwrap(), 2);
        let again = CommandLog::open(folder.path(), 0);
        assert_eq!(again.purges().kept, [(1, tag("a")), (2, tag("b"))]);
        assert_eq!((again.purges().forgotten_to, again.number), (0, 2));
    }

    #[test]
    fn what_is_too_much_to_keep_is_known_to_be_missing() {
        let mut purges = Purges::default();
        for number in 1..=PURGES_MAX as u64 + 2 {
            purges.add(number, tag("a"));
        }
        assert_eq!((purges.kept.len(), purges.forgotten_to), (PURGES_MAX, 2));
        assert_eq!(purges.kept.front().map(|(number, _)| *number), Some(3));
    }
}
