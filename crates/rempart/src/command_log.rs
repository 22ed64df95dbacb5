//! The numbered command log: orders that take effect at once and are no configuration: emergency blocks, and
//! purges of the cache.
//!
//! `<data_dir>/commands`, one JSON object a line, appended and synced before an order is carried out, so that
//! a process which takes over knows them too. When it grows it is written anew with what is still in force. A
//! line that is damaged is passed over: an order is lost rather than the node. One without its end is no
//! order, since nobody was told that it was taken; it is cut off before the next order, not when it is seen:
//! another process may be writing it. Times in the file are the calendar's, since they outlive the machine's;
//! what is in force is counted by a clock that nobody can set. Called by [`crate::edge_role`].

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use edge::BLOCKS_MAX;
use serde::{Deserialize, Serialize};
use telemetry::events::Events;
use zone::Cidr;

mod purges;

pub(crate) use self::purges::{Purges, Purging};
use crate::clock::Moment;
use crate::files::{read_bounded, write_whole};

/// Lines after which the log is written anew: a few times what can be in force.
const LINES_MAX: usize = 4 * BLOCKS_MAX;

/// Bytes of the whole log: twice what it has at most after it was written anew, so that there is room for
/// orders while it cannot be.
const BYTES_MAX: usize = 40 * 1024 * 1024;

/// Bytes after which the log is written anew.
const BYTES_ANEW: usize = BYTES_MAX / 2;

/// Bytes of a line without its reason.
const LINE_BYTES_MAX: usize = 256;

/// Longest time of a block: whoever means longer writes a rule.
pub(crate) const BLOCK_S_MAX: u64 = 30 * 86_400;

/// Bytes of a block's reason.
const REASON_BYTES_MAX: usize = 256;

/// Bytes of the longest line: a purge as it comes over the command socket.
const LONGEST_BYTES_MAX: usize = LINE_BYTES_MAX + 2 * crate::messages::REQUEST_BYTES_MAX;

// A quote or a backslash of a text takes two bytes in JSON; what would take more is left out of it, or is no
// URL.
const _: () = assert!(
    BLOCKS_MAX * (LINE_BYTES_MAX + 2 * REASON_BYTES_MAX)
        + purges::PURGES_MAX * LINE_BYTES_MAX
        + 2 * purges::PURGES_BYTES_MAX
        <= BYTES_ANEW
);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    number: u64,
    unix_s: u64,
    /// The same moment by a clock that nobody can set, and which start of the machine that counts from.
    #[serde(default)]
    boot_s: u64,
    #[serde(default)]
    boot: u64,
    #[serde(flatten)]
    order: Order,
}

impl Line {
    fn new(number: u64, order: Order, now: Moment) -> Self {
        Self { number, unix_s: now.unix_s(), boot_s: now.boot_s(), boot: now.boot(), order }
    }
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

/// A block as it is counted here: by a clock that nobody can set.
#[derive(Debug, Clone)]
struct InForce {
    range: String,
    until_boot_s: u64,
    reason: String,
}

impl InForce {
    /// A block that was ordered at a moment. Whatever was done to the calendar since, it lasts at most for as
    /// long as it was ordered for.
    fn read(range: String, ordered: &Moment, until_unix_s: u64, reason: String, now: Moment) -> Self {
        let for_s = until_unix_s.saturating_sub(ordered.unix_s());
        let left_s = for_s.saturating_sub(now.since(ordered).as_secs());
        Self { range, until_boot_s: now.boot_s().saturating_add(left_s), reason }
    }

    fn left_s(&self, now: Moment) -> u64 {
        self.until_boot_s.saturating_sub(now.boot_s())
    }

    fn told(&self, now: Moment) -> Block {
        let until_unix_s = now.unix_s().saturating_add(self.left_s(now));
        Block { range: self.range.clone(), until_unix_s, reason: self.reason.clone() }
    }
}

/// The log of one data folder, and what is in force by it.
#[derive(Debug)]
pub(crate) struct CommandLog {
    path: PathBuf,
    number: u64,
    lines: usize,
    blocks: Vec<InForce>,
    purges: Purges,
    found: Found,
    events: Option<Events>,
}

/// What was wrong with the file when it was opened.
#[derive(Debug, Default)]
struct Found {
    damaged_lines: usize,
    torn_bytes: usize,
    unreadable: Option<io::Error>,
}

impl CommandLog {
    /// Reads it, and changes nothing. One that cannot be read is as if it were empty: that must not keep
    /// sites down.
    pub(crate) fn open(data_dir: &Path, now: Moment) -> Self {
        let path = data_dir.join("commands");
        let mut found = Found::default();
        let bytes = match read_bounded(&path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                found.unreadable = Some(error).filter(|error| error.kind() != ErrorKind::NotFound);
                Vec::new()
            }
        };
        let (whole, torn) = bytes.split_at(end_of_whole(&bytes));
        found.torn_bytes = torn.len();
        let (blocks, purges) = (Vec::new(), Purges::default());
        let mut log = Self { path, number: 0, lines: 0, blocks, purges, found, events: None };
        // By range, with the place of the order: a long log is read before anybody is served.
        let mut blocks: HashMap<String, (usize, InForce)> = HashMap::new();
        for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            log.lines += 1;
            let Ok(line) = serde_json::from_slice::<Line>(line) else {
                log.found.damaged_lines += 1;
                continue;
            };
            log.number = log.number.max(line.number);
            let ordered = Moment::of(line.unix_s, line.boot_s, line.boot);
            match line.order {
                Order::Block { range, until_unix_s, reason } => {
                    let block = InForce::read(range.clone(), &ordered, until_unix_s, reason, now);
                    blocks.insert(range, (log.lines, block));
                }
                Order::Unblock { range } => drop(blocks.remove(&range)),
                Order::Purge(purging) => log.purges.add(line.number, purging),
                Order::Forgotten { purges_to } => log.purges.forget_to(purges_to),
            }
        }
        let mut blocks: Vec<(usize, InForce)> = blocks.into_values().collect();
        blocks.sort_unstable_by_key(|(place, _)| *place);
        log.blocks = blocks.into_iter().map(|(_, block)| block).collect();
        log.expire(now);
        log
    }

    /// Tells what was wrong with the file, and later what goes wrong beside an order that is taken.
    pub(crate) fn telling(mut self, events: &Events) -> Self {
        if let Some(error) = &self.found.unreadable {
            let cause = error.to_string();
            let remedy = "no block of before is in force: order them again; the file is put aside as \
                          `commands.unreadable` with the next order";
            events.error("command_log_unreadable", &[("cause", (&cause).into()), ("remedy", remedy.into())]);
        }
        let (lines, torn_bytes) = (self.found.damaged_lines, self.found.torn_bytes);
        if lines + torn_bytes > 0 {
            let remedy = "`rempart blocks` shows what is in force; order again what is missing";
            let fields =
                [("lines", lines.into()), ("torn_bytes", torn_bytes.into()), ("remedy", remedy.into())];
            events.warn("command_log_damaged", &fields);
        }
        self.events = Some(events.clone());
        self
    }

    fn apply(&mut self, line: Line, now: Moment) {
        match line.order {
            Order::Block { range, until_unix_s, reason } => {
                self.blocks.retain(|block| block.range != range);
                self.blocks.push(InForce::read(range, &now, until_unix_s, reason, now));
            }
            Order::Unblock { range } => self.blocks.retain(|block| block.range != range),
            Order::Purge(purging) => self.purges.add(line.number, purging),
            Order::Forgotten { purges_to } => self.purges.forget_to(purges_to),
        }
    }

    fn expire(&mut self, now: Moment) {
        self.blocks.retain(|block| block.left_s(now) > 0);
    }

    /// Everything in force, in the order it came.
    pub(crate) fn blocks(&mut self, now: Moment) -> Vec<Block> {
        self.expire(now);
        self.blocks.iter().map(|block| block.told(now)).collect()
    }

    /// The same for the edge: each range with the seconds that it is refused yet.
    pub(crate) fn ranges(&mut self, now: Moment) -> Vec<(Cidr, u64)> {
        self.expire(now);
        let range = |block: &InForce| Some((block.range.parse().ok()?, block.left_s(now)));
        self.blocks.iter().filter_map(range).collect()
    }

    /// Orders a range to be refused for a time. Gives the order's number.
    ///
    /// # Errors
    /// When the range is no range or holds too many, the time is out of bounds, the list is full, or the disk
    /// does not take the order.
    pub(crate) fn block(&mut self, range: &str, for_s: u64, reason: &str, now: Moment) -> Result<u64> {
        let range: Cidr = range.parse().with_context(|| format!("{range:?} is no address or range"))?;
        let widest = if range.network().is_ipv4() { 8 } else { 16 };
        ensure!(
            range.prefix() >= widest,
            "a range as wide as {range} holds too many visitors: name one of at least /{widest}"
        );
        ensure!((1..=BLOCK_S_MAX).contains(&for_s), "a block lasts 1 s to {BLOCK_S_MAX} s");
        self.expire(now);
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
        let reason = reason.get(..end).unwrap_or_default().replace(char::is_control, " ");
        self.append(vec![Order::Block { range, until_unix_s: now.unix_s() + for_s, reason }], now)
    }

    /// Takes a block back. Gives the order's number.
    ///
    /// # Errors
    /// When the range is not blocked, or the disk does not take the order.
    pub(crate) fn unblock(&mut self, range: &str, now: Moment) -> Result<u64> {
        let range: Cidr = range.parse().with_context(|| format!("{range:?} is no address or range"))?;
        self.expire(now);
        let range = range.to_string();
        ensure!(self.blocks.iter().any(|block| block.range == range), "{range} is not blocked");
        self.append(vec![Order::Unblock { range }], now)
    }

    /// Orders purges, all or none of them by one write to the disk. Gives the number of the first; the others
    /// have those after it.
    ///
    /// # Errors
    /// When the disk does not take the orders.
    pub(crate) fn purge(&mut self, purgings: Vec<Purging>, now: Moment) -> Result<u64> {
        let first = self.number + 1;
        self.append(purgings.into_iter().map(Order::Purge).collect(), now)?;
        Ok(first)
    }

    /// The purges it has.
    pub(crate) fn purges(&self) -> &Purges {
        &self.purges
    }

    /// Writes orders down, and then has them in force. What is refused leaves the log as it was. Gives the
    /// number of the last.
    fn append(&mut self, orders: Vec<Order>, now: Moment) -> Result<u64> {
        self.make_room(orders.len(), now)?;
        let lines: Vec<Line> =
            (self.number + 1..).zip(orders).map(|(number, order)| Line::new(number, order, now)).collect();
        let mut bytes = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        self.write(&bytes).with_context(|| {
            let path = self.path.display();
            format!("the order is not taken: {path} cannot be written; is there room on its disk?")
        })?;
        for line in lines {
            self.number = line.number;
            self.lines += 1;
            self.apply(line, now);
        }
        Ok(self.number)
    }

    /// Puts a file aside that nobody could read after a restart, and writes one anew that is long. That an
    /// order needs none of it to be taken makes a failure here something to tell, and no refusal.
    fn make_room(&mut self, orders: usize, now: Moment) -> Result<()> {
        if self.found.unreadable.is_some() {
            self.read_again_or_put_aside(now)?;
        }
        let length = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if self.lines < LINES_MAX && length < BYTES_ANEW as u64 {
            return Ok(());
        }
        let Err(error) = self.compact(now) else { return Ok(()) };
        ensure!(
            length as usize + orders * LONGEST_BYTES_MAX < BYTES_MAX,
            "the order is not taken: the command log is full, and cannot be written anew: {error:#}"
        );
        if let Some(events) = &self.events {
            let cause = format!("{error:#}");
            let remedy = "make room in the data folder; orders are taken meanwhile, until the log is full";
            events
                .error("command_log_not_shortened", &[("cause", (&cause).into()), ("remedy", remedy.into())]);
        }
        Ok(())
    }

    fn read_again_or_put_aside(&mut self, now: Moment) -> Result<()> {
        let again = Self::open(self.path.parent().unwrap_or(Path::new(".")), now);
        if again.found.unreadable.is_none() {
            // The cause is gone: descriptors that were used up, or somebody mended it.
            let events = self.events.take();
            *self = Self { events, ..again };
            return Ok(());
        }
        fs::rename(&self.path, self.path.with_extension("unreadable")).with_context(|| {
            let path = self.path.display();
            format!("the order is not taken: {path} can neither be read nor put aside")
        })?;
        self.found.unreadable = None;
        Ok(())
    }

    fn write(&self, line: &[u8]) -> io::Result<()> {
        let open = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&self.path);
        let file = open?;
        let end = self.cut_torn(&file)?;
        let synced = |()| match self.path.parent() {
            // The file may be new, and its name has to outlive a loss of power too.
            Some(folder) if end == 0 => file.sync_all().and_then(|()| File::open(folder)?.sync_all()),
            _ => file.sync_data(),
        };
        let written = (&file).write_all(line).and_then(synced);
        if written.is_err() {
            // What is left by a failure here too is cut off before the next order.
            let _ = file.set_len(end).and_then(|()| file.sync_data());
        }
        written
    }

    /// Cuts off what a writer that was killed, or had no room, left behind the last whole line. Gives the
    /// length.
    fn cut_torn(&self, file: &File) -> io::Result<u64> {
        let length = file.metadata()?.len();
        let Some(last) = length.checked_sub(1) else { return Ok(0) };
        let mut byte = [0];
        file.read_exact_at(&mut byte, last)?;
        if byte == *b"\n" {
            return Ok(length);
        }
        let end = end_of_whole(&read_bounded(&self.path, BYTES_MAX)?) as u64;
        file.set_len(end)?;
        if let Some(events) = &self.events {
            events.warn("command_log_cut", &[("bytes", (length - end).into())]);
        }
        Ok(end)
    }

    /// Writes the log anew with what is in force.
    fn compact(&mut self, now: Moment) -> Result<()> {
        let mut bytes = Vec::new();
        for block in &self.blocks {
            let Block { range, until_unix_s, reason } = block.told(now);
            let order = Order::Block { range, until_unix_s, reason };
            serde_json::to_writer(&mut bytes, &Line::new(self.number, order, now))?;
            bytes.push(b'\n');
        }
        let missing = Order::Forgotten { purges_to: self.purges.forgotten_to };
        let missing = (self.purges.forgotten_to > 0).then_some((self.number, missing));
        let kept = self.purges.kept.iter().map(|(number, purging)| (*number, Order::Purge(purging.clone())));
        let purges: Vec<(u64, Order)> = missing.into_iter().chain(kept).collect();
        let count = purges.len();
        for (number, order) in purges {
            serde_json::to_writer(&mut bytes, &Line::new(number, order, now))?;
            bytes.push(b'\n');
        }
        write_whole(&self.path, &bytes, 0o600).context("the command log cannot be written anew")?;
        self.lines = self.blocks.len() + count;
        Ok(())
    }
}

/// Where the last whole line ends.
fn end_of_whole(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests;
