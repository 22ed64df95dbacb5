//! Opening a folder: its head, its log of purges, then the index of each segment, oldest first.
//!
//! Trusts nothing it reads. What is not ours stays untouched; what is ours and damaged is left out and
//! counted; a log of purges that is missing or damaged empties the folder, since nobody knows then what was
//! purged. Part of the writer, on its thread; serving threads go to the origin meanwhile. Read next:
//! `writer.rs`.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, PoisonError};

use super::files::{StoredFile, read_up_to, write_all_at};
use super::format::{ENTRY_BYTES, Entry, SUPERBLOCK_BYTES, SUPERBLOCK_SECOND, Superblock, SuperblockRefused};
use super::index::Place;
use super::shares::Came;
use super::writer::{Log, Sizes, Writer};
use super::{Segment, data_name, index_name, purge_log};
use crate::store::purge::{Entry as PurgeEntry, RUN_START};

const FORMAT: &str = "format";
const FORMAT_NEW: &str = "format.new";
pub(super) const PURGES: &str = "purges";
const PURGES_NEW: &str = "purges.new";

/// Objects that room is made for at once, at most: what an index file claims is bounded by its length, but a
/// folder may hold many.
const RESERVED_MAX: usize = 16 << 20;

/// Bytes of a log of purges that is read: several times what a full table of epochs takes written out.
const LOG_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a segment's index that are read: the writer begins another segment long before.
const INDEX_BYTES_READ_MAX: u64 = 256 << 20;

/// Why a folder is not in use.
#[derive(Debug)]
pub(super) enum Trouble {
    Refused(String),
    Failed(String),
}

impl From<io::Error> for Trouble {
    fn from(cause: io::Error) -> Self {
        Self::Failed(format!(
            "the cache folder cannot be read or written: {cause}; the cache is in memory alone until it can"
        ))
    }
}

/// The segment a file name is of.
fn segment_of(name: &str, ending: &str) -> Option<u32> {
    let number = name.strip_suffix(ending)?;
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if number.len() != 8 || !number.bytes().all(is_hex) {
        return None;
    }
    u32::from_str_radix(number, 16).ok()
}

impl Writer {
    /// Opens the folder, claimed already; gives the segments to load, oldest first.
    pub(super) fn open(&mut self) -> Result<VecDeque<u32>, Trouble> {
        let files = Arc::clone(&self.disk.files);
        let names = files.names()?;
        let has = |name: &str| names.iter().any(|found| found == name);
        for left_over in [FORMAT_NEW, PURGES_NEW].into_iter().filter(|name| has(name)) {
            files.remove(left_over)?;
        }
        let data: BTreeSet<u32> = names.iter().filter_map(|name| segment_of(name, ".data")).collect();
        let index: BTreeSet<u32> = names.iter().filter_map(|name| segment_of(name, ".index")).collect();
        let is_new = match self.judge_format(has(FORMAT), data.is_empty() && index.is_empty())? {
            Format::Ours => false,
            Format::New => true,
            Format::Emptied => {
                self.empty_folder()?;
                true
            }
        };
        if is_new {
            self.write_format()?;
            self.begin_log()?;
            return Ok(VecDeque::new());
        }
        if !self.read_log(has(PURGES))? {
            self.store.counters().disk_emptied.add(1);
            self.empty_folder()?;
            self.write_format()?;
            self.begin_log()?;
            return Ok(VecDeque::new());
        }
        // Half a segment is what a crash leaves between making or removing the two files.
        for half in data.symmetric_difference(&index) {
            let name = if data.contains(half) { data_name(*half) } else { index_name(*half) };
            files.remove(&name)?;
        }
        let whole: VecDeque<u32> = data.intersection(&index).copied().collect();
        let mut entries = 0;
        for segment in &whole {
            let bytes = files.open(&index_name(*segment), false).and_then(|file| file.bytes()).unwrap_or(0);
            entries += bytes as usize / ENTRY_BYTES;
        }
        self.disk.index.reserve(entries.min(RESERVED_MAX));
        // Numbers of segments that failed to be removed, or whose other half is gone, are not given again.
        self.next_segment = data.union(&index).max().map_or(1, |last| last.saturating_add(1));
        Ok(whole)
    }

    fn judge_format(&self, is_there: bool, is_empty: bool) -> Result<Format, Trouble> {
        let refusal = if is_there {
            let file = self.disk.files.open(FORMAT, false)?;
            let copies = [0, SUPERBLOCK_SECOND].map(|offset| read_up_to(&*file, offset, SUPERBLOCK_BYTES));
            let mut refused = SuperblockRefused::Damaged;
            let mut ours = None;
            for copy in copies {
                match Superblock::decode(&copy?) {
                    Ok(superblock) => ours = ours.or(Some(superblock)),
                    Err(SuperblockRefused::Damaged) => {}
                    Err(version @ SuperblockRefused::Version(_)) => refused = version,
                }
            }
            match (ours, refused) {
                (Some(ours), _) if ours.seed_fingerprint == self.store.seed().fingerprint() => {
                    return Ok(Format::Ours);
                }
                (Some(_), _) => "`format` was written under another seed".to_owned(),
                (None, SuperblockRefused::Version(version)) => {
                    format!(
                        "`format` says version {version}, this program writes version {}",
                        super::format::VERSION
                    )
                }
                (None, SuperblockRefused::Damaged) if is_empty => return Ok(Format::New),
                (None, SuperblockRefused::Damaged) => "both copies in `format` are damaged".to_owned(),
            }
        } else if is_empty {
            return Ok(Format::New);
        } else {
            "`format` is missing beside segments".to_owned()
        };
        if self.disk.settings.empties_refused {
            return Ok(Format::Emptied);
        }
        Err(Trouble::Refused(format!(
            "the cache folder is not used and left as it is: {refusal}; empty it, or name another folder"
        )))
    }

    fn write_format(&self) -> io::Result<()> {
        let files = &self.disk.files;
        let superblock = Superblock {
            seed_fingerprint: self.store.seed().fingerprint(),
            segment_bytes: self.disk.settings.segment_bytes,
        };
        let file = files.open(FORMAT_NEW, true)?;
        for offset in [0, SUPERBLOCK_SECOND] {
            write_all_at(&*file, &superblock.encode(), offset)?;
        }
        file.sync()?;
        files.rename(FORMAT_NEW, FORMAT)?;
        files.sync()
    }

    /// Removes all files that are ours; indexes first, so that a crash in between leaves nothing that is
    /// found.
    pub(super) fn empty_folder(&mut self) -> io::Result<()> {
        let files = Arc::clone(&self.disk.files);
        let names = files.names()?;
        self.disk.index.clear();
        self.store.note_all_off_disk();
        self.disk.segments.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.sizes.clear();
        self.current = None;
        self.log = None;
        for ending in [".index", ".data"] {
            for name in names.iter().filter(|name| segment_of(name, ending).is_some()) {
                files.remove(name)?;
            }
        }
        // Names are durable before the log that they were judged by goes.
        files.sync()?;
        for name in [PURGES, PURGES_NEW, FORMAT, FORMAT_NEW] {
            if names.iter().any(|found| found == name) {
                files.remove(name)?;
            }
        }
        self.count_bytes();
        Ok(())
    }

    /// Reads the log of purges into the tables in memory; false when it cannot be trusted.
    fn read_log(&mut self, is_there: bool) -> io::Result<bool> {
        if !is_there {
            return Ok(false);
        }
        let file = self.disk.files.open(PURGES, false)?;
        let bytes = file.bytes()?;
        if bytes > LOG_BYTES_MAX {
            return Ok(false);
        }
        let bytes = bytes as usize;
        let Ok(log) = purge_log::decode(&read_up_to(&*file, 0, bytes)?) else { return Ok(false) };
        self.base = log.entries.iter().map(|entry| entry.epoch).max().unwrap_or(0);
        let purges = self.store.purges();
        for entry in log.entries {
            purges.apply(&PurgeEntry { epoch: self.epoch_here(entry.epoch), ..entry });
        }
        purges.renew();
        self.disk.applied_to.store(log.number, std::sync::atomic::Ordering::SeqCst);
        self.log = Some(Log { file, bytes: log.bytes as u64, bytes_at_rewrite: 0 });
        if log.bytes < bytes {
            self.store.counters().disk_tails_torn.add(1);
            self.rewrite_log()?;
        }
        Ok(true)
    }

    /// A new log, of an empty folder.
    fn begin_log(&mut self) -> io::Result<()> {
        self.rewrite_log()
    }

    /// Writes all that is on record into a new log and puts it in the place of the old one.
    pub(super) fn rewrite_log(&mut self) -> io::Result<()> {
        let files = Arc::clone(&self.disk.files);
        let number = self.disk.purges_applied_to();
        let mut bytes = purge_log::header();
        for entry in self.store.purges().entries() {
            let entry = PurgeEntry { epoch: self.epoch_there(entry.epoch), ..entry };
            let offset = bytes.len() as u64;
            purge_log::encode(&mut bytes, offset, &entry, number);
        }
        // A rest of an attempt that failed would follow what is written now.
        if files.names()?.iter().any(|name| name == PURGES_NEW) {
            files.remove(PURGES_NEW)?;
        }
        let file = files.open(PURGES_NEW, true)?;
        write_all_at(&*file, &bytes, 0)?;
        file.sync()?;
        files.rename(PURGES_NEW, PURGES)?;
        files.sync()?;
        let bytes = bytes.len() as u64;
        self.log = Some(Log { file, bytes, bytes_at_rewrite: bytes });
        Ok(())
    }

    /// An epoch of the log as this run counts.
    pub(super) fn epoch_here(&self, epoch: u64) -> u64 {
        RUN_START.saturating_sub(self.base.saturating_sub(epoch))
    }

    /// An epoch of this run as the log counts.
    pub(super) fn epoch_there(&self, epoch: u64) -> u64 {
        (self.base + epoch.saturating_sub(RUN_START)).saturating_sub(RUN_START.saturating_sub(epoch))
    }

    /// Reads a segment's index into memory. One that cannot be read is left for the next start, or until its
    /// space is due.
    pub(super) fn load(&mut self, segment: u32) {
        if self.load_entries(segment).is_err() {
            self.store.counters().disk_read_errors.add(1);
            let bytes = |name: String| self.disk.files.open(&name, false).and_then(|file| file.bytes());
            let (data_bytes, index_bytes) = (bytes(data_name(segment)), bytes(index_name(segment)));
            let sizes = Sizes { data_bytes: data_bytes.unwrap_or(0), index_bytes: index_bytes.unwrap_or(0) };
            self.sizes.insert(segment, sizes);
            self.unreadable = Some(segment);
            self.count_bytes();
        }
    }

    fn load_entries(&mut self, segment: u32) -> io::Result<()> {
        let files = Arc::clone(&self.disk.files);
        let data_bytes = files.open(&data_name(segment), false)?.bytes()?;
        let (entries, index_bytes) = read_entries(&*files.open(&index_name(segment), false)?)?;
        let counters = self.store.counters();
        if index_bytes % ENTRY_BYTES as u64 != 0 {
            counters.disk_tails_torn.add(1);
        }
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let Some(entry) = Entry::decode(segment, entry) else {
                counters.disk_entries_damaged.add(1);
                continue;
            };
            self.next_sequence = self.next_sequence.max(entry.sequence.saturating_add(1));
            let end = u64::from(entry.offset) + u64::from(entry.length);
            if !entry.is_stored {
                self.disk.index.remove(entry.hash);
            } else if end > data_bytes || entry.born > self.base {
                // The data was lost with the power, or the epoch is of no purge log this is.
                counters.disk_entries_damaged.add(1);
                self.disk.index.remove(entry.hash);
            } else {
                let born = self.epoch_here(entry.born);
                let zone = self.disk.index.shares().number(entry.zone);
                let place = Place { segment, offset: entry.offset, length: entry.length, born, zone };
                self.disk.index.insert(entry.hash, place, Came::Found);
            }
        }
        self.sizes.insert(segment, Sizes { data_bytes, index_bytes });
        let mut segments = self.disk.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(segment, Segment::new(segment));
        drop(segments);
        self.count_bytes();
        Ok(())
    }
}

enum Format {
    Ours,
    New,
    Emptied,
}

/// A segment's index whole, and its length.
pub(super) fn read_entries(file: &dyn StoredFile) -> io::Result<(Vec<u8>, u64)> {
    let bytes = file.bytes()?;
    if bytes > INDEX_BYTES_READ_MAX {
        return Err(io::Error::other("the index of a segment is longer than any that is written"));
    }
    let entries = read_up_to(file, 0, bytes as usize)?;
    Ok((entries, bytes))
}
