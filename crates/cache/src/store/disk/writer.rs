//! The one that writes: purges first, then objects in batches, each with its index entry; and gives space
//! back.
//!
//! An object is committed once its index entry is written, which is after its record. Nothing is ever changed
//! in place, so a crash can only leave something out at the ends of files. Space comes back a segment at a
//! time, oldest first; what was read since it was written is written again, up to a quarter of a segment.
//!
//! Runs on a thread of its own ([`Writer::run`]) or turned by hand ([`Writer::turn`]). Read next:
//! `opening.rs` for how it begins.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::files::{StoredFile, read_up_to, write_all_at};
use super::format::{self, ENTRY_BYTES, Entry, Parts, Record};
use super::index::Place;
use super::opening::{Trouble, read_entries};
use super::under_way::Way;
use super::{
    Disk, FAILED, LOADING, READY, REFUSED, RELEASED, Recorded, Segment, WriteJob, activity, data_name,
    index_name, purge_log,
};
use crate::store::Store;
use crate::store::object::{DISK_NONE, Object};
use crate::store::purge::{Entry as PurgeEntry, Judgement};

/// Between two looks at whether another process has given the folder up.
const CLAIM_AGAIN: Duration = Duration::from_millis(200);

/// Between two attempts to open a folder that cannot be read or written.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// How long the writer sleeps without a job before it looks up: only to notice that the process ends.
const IDLE: Duration = Duration::from_secs(5);

/// Bytes gathered for one write: past a MiB nothing is gained, and a purge would wait for it.
const BATCH_BYTES: usize = 1 << 20;

/// Objects passed over after failed writes, doubled with each failure: a broken disk is tried seldom.
const SKIPPED_MAX: u32 = 1024;

/// Bytes of the log of purges under which it is not written anew.
const LOG_BYTES_MIN: u64 = 4 << 20;

/// Bytes of a segment's index after which the next segment is begun: a million entries. Only many objects
/// given up in a row, which write entries and no records, come near it.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// Hashes given up that wait for a disk that takes no writes. Past it the oldest are dropped: after a restart
/// their objects are back, judged by their own age and by every purge.
const FORGOTTEN_MAX: usize = 65_536;

/// Segments at most, whatever their size: each is a descriptor.
const SEGMENTS_MAX: usize = 4096;

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Something was done; there may be more.
    Worked,
    /// There was nothing to do.
    Idle,
    /// It is over: the folder is given up.
    Ended,
}

/// Where the writer is.
enum Stage {
    Claim,
    Open,
    Load(VecDeque<u32>),
    Run,
    Over,
}

/// Bytes of a segment's files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) data_bytes: u64,
    pub(super) index_bytes: u64,
}

/// The segment that is appended to.
pub(super) struct Current {
    id: u32,
    data: Arc<dyn StoredFile>,
    index: Arc<dyn StoredFile>,
    data_bytes: u64,
    index_bytes: u64,
}

/// The log of purges.
pub(super) struct Log {
    pub(super) file: Arc<dyn StoredFile>,
    pub(super) bytes: u64,
    pub(super) bytes_at_rewrite: u64,
}

/// A record of a segment that goes, to be written again.
struct Kept {
    hash: u128,
    way: Way,
    record: Vec<u8>,
}

/// See the module.
pub struct Writer {
    pub(super) store: Store,
    pub(super) disk: Arc<Disk>,
    stage: Stage,
    claim: Option<Box<dyn Send>>,
    /// The log's epoch at which this run began.
    pub(super) base: u64,
    pub(super) next_sequence: u64,
    pub(super) next_segment: u32,
    pub(super) current: Option<Current>,
    pub(super) log: Option<Log>,
    pub(super) sizes: BTreeMap<u32, Sizes>,
    /// The last segment that could not be loaded: nothing is appended to it.
    pub(super) unreadable: Option<u32>,
    failures: u32,
    skipped: u32,
    buffer: Vec<u8>,
    batch: Vec<Gathered>,
}

/// An entry of the batch.
struct Gathered {
    entry: Entry,
    /// What it is of, if that is in memory.
    object: Option<Arc<Object>>,
    /// None for a hash that is given up.
    way: Option<Way>,
}

impl Writer {
    pub(super) fn new(store: Store, disk: Arc<Disk>) -> Self {
        Self {
            store,
            disk,
            stage: Stage::Claim,
            claim: None,
            base: 0,
            next_sequence: 1,
            next_segment: 1,
            current: None,
            log: None,
            sizes: BTreeMap::new(),
            unreadable: None,
            failures: 0,
            skipped: 0,
            buffer: Vec::new(),
            batch: Vec::new(),
        }
    }

    /// The tier it writes for.
    #[must_use]
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Works until the disk is released or fails. A panic ends the tier: nobody knows what is half done.
    pub(super) fn run(&mut self) {
        let ran = catch_unwind(AssertUnwindSafe(|| while self.turn(IDLE) != Turn::Ended {}));
        if ran.is_err() {
            self.store.counters().disk_panics.add(1);
            let reason = "the thread that writes the cache's folder broke, see the panic in the log; the \
                          cache is in memory alone until the next start";
            self.fail(Trouble::Failed(reason.to_owned()));
        }
    }

    /// Does one step, waiting for a job at most so long.
    pub fn turn(&mut self, wait: Duration) -> Turn {
        if self.disk.writes.is_closed() && !matches!(self.stage, Stage::Over) {
            return self.give_up();
        }
        if matches!(self.stage, Stage::Open | Stage::Load(_)) {
            self.disk.pulse.step();
        }
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Claim => self.turn_to_claim(wait),
            Stage::Open => self.turn_to_open(wait),
            Stage::Load(mut segments) => match segments.pop_front() {
                Some(segment) => {
                    self.load(segment);
                    self.stage = Stage::Load(segments);
                    Turn::Worked
                }
                None => {
                    self.take_up_last();
                    self.disk.set_state(READY);
                    self.stage = Stage::Run;
                    Turn::Worked
                }
            },
            Stage::Run => {
                self.stage = Stage::Run;
                self.turn_to_write(wait)
            }
            Stage::Over => Turn::Ended,
        }
    }

    fn turn_to_claim(&mut self, wait: Duration) -> Turn {
        match self.disk.files.claim() {
            Ok(Some(claim)) => {
                self.claim = Some(claim);
                self.disk.set_state(LOADING);
                self.stage = Stage::Open;
                Turn::Worked
            }
            Ok(None) => {
                self.stage = Stage::Claim;
                // Nothing is queued yet but purges, which wait for the folder too.
                self.disk.writes.take(wait.min(CLAIM_AGAIN));
                Turn::Idle
            }
            Err(cause) => self.try_again(Trouble::from(cause), wait),
        }
    }

    /// A folder that is refused stays so; one that cannot be read or written now may be later. Purges wait,
    /// since what they are against may be found then.
    fn try_again(&mut self, trouble: Trouble, wait: Duration) -> Turn {
        match trouble {
            Trouble::Refused(_) => self.fail(trouble),
            Trouble::Failed(reason) => {
                self.store.counters().disk_write_errors.add(1);
                self.disk.note_unreachable(reason);
                self.claim = None;
                self.stage = Stage::Claim;
                // Woken early by purges, which does no harm.
                self.disk.writes.take(wait.min(OPEN_AGAIN));
                Turn::Idle
            }
        }
    }

    fn turn_to_open(&mut self, wait: Duration) -> Turn {
        match self.open() {
            Ok(segments) => {
                self.stage = Stage::Load(segments);
                Turn::Worked
            }
            Err(trouble) => self.try_again(trouble, wait),
        }
    }

    fn fail(&mut self, trouble: Trouble) -> Turn {
        match trouble {
            Trouble::Refused(reason) => self.disk.end(REFUSED, reason, Recorded::InMemory),
            Trouble::Failed(reason) => self.disk.end(FAILED, reason, Recorded::NotRecorded),
        }
        self.disk.release();
        self.disk.index.clear();
        self.claim = None;
        self.stage = Stage::Over;
        Turn::Ended
    }

    fn give_up(&mut self) -> Turn {
        if matches!(self.stage, Stage::Run) {
            self.record_purges();
            self.skipped = 0;
            self.flush();
        }
        self.disk.end(RELEASED, String::new(), Recorded::NotRecorded);
        self.current = None;
        self.log = None;
        // Last: from here on the folder is another's.
        self.claim = None;
        self.stage = Stage::Over;
        Turn::Ended
    }

    /// Goes on in the last segment, if it has room: a node that starts often makes no small segments.
    fn take_up_last(&mut self) {
        let Some((id, sizes)) = self.sizes.last_key_value().map(|(id, sizes)| (*id, *sizes)) else { return };
        let segment_bytes = u64::from(self.disk.settings.segment_bytes);
        if self.unreadable == Some(id)
            || sizes.data_bytes >= segment_bytes
            || sizes.index_bytes >= INDEX_BYTES_MAX
        {
            return;
        }
        let files = &self.disk.files;
        let opened = files.open(&data_name(id), false).and_then(|data| {
            let index = files.open(&index_name(id), false)?;
            Ok((data, index))
        });
        if let Ok((data, index)) = opened {
            // A torn entry is written over; a torn record, never indexed, is left where it is.
            let index_bytes = sizes.index_bytes - sizes.index_bytes % ENTRY_BYTES as u64;
            self.current = Some(Current { id, data, index, data_bytes: sizes.data_bytes, index_bytes });
        }
    }

    fn turn_to_write(&mut self, wait: Duration) -> Turn {
        self.disk.pulse.rest();
        let mut next = self.disk.writes.take(wait);
        self.disk.pulse.step();
        // After the job was taken: a purge before it is in the log before what it stores is.
        let purges = self.record_purges();
        if matches!(self.stage, Stage::Over) {
            return Turn::Ended;
        }
        let is_idle = next.is_none() && purges == 0;
        while let Some(job) = next.take() {
            self.gather(job);
            if self.buffer.len() < BATCH_BYTES && !self.disk.has_purges() {
                next = self.disk.writes.take(Duration::ZERO);
                // Purges of before that job.
                if next.is_some() && self.disk.has_purges() {
                    self.flush();
                    self.record_purges();
                    if matches!(self.stage, Stage::Over) {
                        return Turn::Ended;
                    }
                }
            }
        }
        self.flush();
        self.disk.pulse.rest();
        if is_idle { Turn::Idle } else { Turn::Worked }
    }

    /// Puts what waits into the log; gives how many. A log that cannot be written empties the folder.
    fn record_purges(&mut self) -> usize {
        let jobs = std::mem::take(&mut *self.disk.lock_purges()).into_jobs();
        if jobs.is_empty() {
            return 0;
        }
        let count = jobs.len();
        let written = self.append_purges(&mut jobs.iter().map(|job| (&job.entry, job.number)));
        let recorded = match written {
            Ok(()) => Recorded::OnDisk,
            Err(cause) => self.empty_or_fail(&cause),
        };
        if recorded == Recorded::OnDisk {
            let number = jobs.iter().map(|job| job.number).max().unwrap_or(0);
            self.disk.applied_to.fetch_max(number, SeqCst);
            self.store.counters().disk_purges_written.add(count as u64);
        }
        jobs.into_iter().for_each(|job| (job.done)(recorded));
        count
    }

    fn append_purges(&mut self, jobs: &mut dyn Iterator<Item = (&PurgeEntry, u64)>) -> io::Result<()> {
        let is_due = |log: &Log| log.bytes > LOG_BYTES_MIN.max(2 * log.bytes_at_rewrite);
        if self.log.as_ref().is_none_or(is_due) {
            self.rewrite_log()?;
        }
        let Some(log) = &self.log else { return Err(io::ErrorKind::NotFound.into()) };
        let (from, mut bytes) = (log.bytes, Vec::new());
        for (entry, number) in jobs {
            let entry = PurgeEntry { epoch: self.epoch_there(entry.epoch), ..entry.clone() };
            let offset = from + bytes.len() as u64;
            purge_log::encode(&mut bytes, offset, &entry, number);
        }
        write_all_at(&*log.file, &bytes, from)?;
        log.file.sync()?;
        if let Some(log) = &mut self.log {
            log.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    /// A purge that cannot be kept must not be undone by a restart: all it could be against goes.
    fn empty_or_fail(&mut self, cause: &io::Error) -> Recorded {
        let counters = self.store.counters();
        counters.disk_write_errors.add(1);
        counters.disk_emptied.add(1);
        let emptied = self.empty_folder();
        // A folder that is empty is begun again; when that fails it stays empty.
        let begun = emptied.and_then(|()| {
            // The first open of a process wrote the head of the folder, which went with the rest.
            self.open().map(drop).map_err(|_trouble| io::Error::other("the folder cannot be begun again"))
        });
        match begun {
            Ok(()) => Recorded::OnDisk,
            Err(_) => {
                let is_empty = self
                    .disk
                    .files
                    .names()
                    .is_ok_and(|names| !names.iter().any(|name| name.ends_with(".index")));
                self.fail(Trouble::Failed(format!(
                    "the log of purges cannot be written: {cause}; the cache is in memory alone"
                )));
                if is_empty { Recorded::OnDisk } else { Recorded::NotRecorded }
            }
        }
    }

    /// Adds a job to the batch.
    fn gather(&mut self, job: WriteJob) {
        self.disk.note_dropped(&job);
        match job {
            WriteJob::Forget(hash) => self.gather_forgotten(hash),
            WriteJob::Object(object, way) => {
                let is_wanted = self.skipped == 0
                    && self.disk.under_way.is_on(object.key.hash, way)
                    && self.store.is_latest(&object)
                    && self.store.purges().judge(&object.facets()) != Judgement::Gone;
                self.skipped = self.skipped.saturating_sub(1);
                if !is_wanted || !self.gather_object(&object, way) {
                    self.disk.under_way.end(object.key.hash, way);
                    object.disk.store(DISK_NONE, Relaxed);
                    self.store.counters().disk_writes_bypassed.add(1);
                }
            }
        }
    }

    fn gather_forgotten(&mut self, hash: u128) {
        let sequence = self.take_sequence();
        let entry = Entry { is_stored: false, offset: 0, length: 0, hash, born: 0, snapshot: 0, sequence };
        self.batch.push(Gathered { entry, object: None, way: None });
    }

    fn take_sequence(&mut self) -> u64 {
        self.next_sequence += 1;
        self.next_sequence - 1
    }

    fn gather_object(&mut self, object: &Arc<Object>, way: Way) -> bool {
        let Some(chunks) = object.chunks() else { return false };
        let born = self.epoch_there(object.born);
        let parts = Parts {
            sequence: 0,
            hash: object.key.hash,
            born,
            snapshot: object.head.snapshot,
            numbers: &object.head.numbers,
            key: object.key.as_bytes(),
            head: &object.head.bytes,
            tags: &object.tags,
        };
        let body = chunks.iter().map(|chunk| &chunk[..]);
        self.gather_record(&parts, body, Some(object), way)
    }

    /// Adds a record to the batch, in the next segment if this one has no room.
    fn gather_record<'b>(
        &mut self,
        parts: &Parts<'_>,
        body: impl Iterator<Item = &'b [u8]> + Clone,
        object: Option<&Arc<Object>>,
        way: Way,
    ) -> bool {
        let body_bytes: usize = body.clone().map(<[u8]>::len).sum();
        let length = format::record_bytes(parts.key.len(), parts.head.len(), parts.tags.len(), body_bytes);
        if !self.has_room(length) {
            self.flush();
            if length as u64 > u64::from(self.disk.settings.segment_bytes) || !self.roll() {
                return false;
            }
        }
        let Some(current) = &self.current else { return false };
        let offset = current.data_bytes + self.buffer.len() as u64;
        let parts = Parts { sequence: self.next_sequence, ..*parts };
        self.next_sequence += 1;
        let length = format::encode_record(&mut self.buffer, &parts, body);
        let entry = Entry {
            is_stored: true,
            // Within a segment, whose size is 32 bits wide.
            offset: offset as u32,
            length: length as u32,
            hash: parts.hash,
            born: parts.born,
            snapshot: parts.snapshot,
            sequence: parts.sequence,
        };
        self.batch.push(Gathered { entry, object: object.cloned(), way: Some(way) });
        true
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.current.as_ref().is_some_and(|current| {
            let end = current.data_bytes + (self.buffer.len() + bytes) as u64;
            end <= u64::from(self.disk.settings.segment_bytes)
        })
    }

    /// Writes the batch, and what of it was given up meanwhile.
    fn flush(&mut self) {
        self.flush_batch();
        // Nothing on its way is in it now, so that this leaves nothing.
        self.flush_batch();
    }

    /// Writes the batch: the records, then their entries; then they are found. What was given up before is
    /// left out; what is given up meanwhile is in the next batch as such.
    fn flush_batch(&mut self) {
        self.drop_given_up();
        let is_on_its_way = self.batch.iter().any(|gathered| gathered.way.is_some());
        if self.batch.is_empty() || self.skipped > 0 && !is_on_its_way {
            return;
        }
        if self.current.is_none() && !self.roll() {
            return self.give_batch_back(false);
        }
        if let Err(cause) = self.write_batch() {
            self.note_failure(&cause);
            return self.give_batch_back(true);
        }
        self.failures = 0;
        self.disk.pulse.succeed();
        let Some(current) = &self.current else { return };
        let (mut written, mut given_up) = (0, Vec::new());
        for Gathered { entry, way, .. } in self.batch.drain(..) {
            let Some(way) = way else { continue };
            let born = crate::store::purge::RUN_START.saturating_add(entry.born).saturating_sub(self.base);
            let place = Place { segment: current.id, offset: entry.offset, length: entry.length, born };
            self.disk.index.insert(entry.hash, place);
            written += 1;
            // Only now: who gives it up from here on finds it in the index.
            if !self.disk.under_way.end(entry.hash, way) {
                self.disk.index.remove_at(entry.hash, current.id, entry.offset);
                given_up.push(entry.hash);
            }
        }
        self.buffer.clear();
        self.store.counters().disk_writes.add(written);
        let sizes = Sizes { data_bytes: current.data_bytes, index_bytes: current.index_bytes };
        self.sizes.insert(current.id, sizes);
        if sizes.index_bytes >= INDEX_BYTES_MAX {
            self.current = None;
        }
        self.count_bytes();
        given_up.into_iter().for_each(|hash| self.gather_forgotten(hash));
    }

    fn drop_given_up(&mut self) {
        let (under_way, counters) = (&self.disk.under_way, self.store.counters());
        self.batch.retain(|Gathered { entry, object, way }| {
            let is_wanted = way.is_none_or(|way| under_way.is_on(entry.hash, way));
            if !is_wanted {
                counters.disk_writes_bypassed.add(1);
                object.iter().for_each(|object| object.disk.store(DISK_NONE, Relaxed));
            }
            is_wanted
        });
        // Records stand where their entries say; those of nothing at all need no place.
        if self.batch.iter().all(|gathered| gathered.way.is_none()) {
            self.buffer.clear();
        }
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Err(io::ErrorKind::NotFound.into()) };
        write_all_at(&*current.data, &self.buffer, current.data_bytes)?;
        let entries: Vec<u8> =
            self.batch.iter().flat_map(|gathered| gathered.entry.encode(current.id)).collect();
        write_all_at(&*current.index, &entries, current.index_bytes)?;
        current.data_bytes += self.buffer.len() as u64;
        current.index_bytes += entries.len() as u64;
        Ok(())
    }

    /// Gives up a batch that could not be written. What was to be forgotten stays for the next one; if it was
    /// tried, so does all else, since any part of it may be there and found after a restart.
    fn give_batch_back(&mut self, was_tried: bool) {
        self.buffer.clear();
        for Gathered { entry, object, way } in std::mem::take(&mut self.batch) {
            if let Some(way) = way {
                self.disk.under_way.end(entry.hash, way);
                self.store.counters().disk_writes_bypassed.add(1);
                object.iter().for_each(|object| object.disk.store(DISK_NONE, Relaxed));
            }
            if way.is_none() || was_tried {
                self.gather_forgotten(entry.hash);
            }
        }
        let too_many = self.batch.len().saturating_sub(FORGOTTEN_MAX);
        self.batch.drain(..too_many);
    }

    fn note_failed(&mut self, cause: &io::Error) {
        self.store.counters().disk_write_errors.add(1);
        self.disk.pulse.fail(cause);
        self.failures = (self.failures + 1).min(10);
        self.skipped = (1 << self.failures).min(SKIPPED_MAX);
    }

    fn note_failure(&mut self, cause: &io::Error) {
        self.note_failed(cause);
        // Part of the batch may be indexed on disk though it was given up here: another segment, so that
        // nothing is written over what an entry speaks of. Its bytes are there, however many.
        if let Some(current) = self.current.take() {
            let tried = (self.batch.len() * ENTRY_BYTES) as u64;
            let data_bytes = current.data.bytes().unwrap_or(current.data_bytes + self.buffer.len() as u64);
            let index_bytes = current.index.bytes().unwrap_or(current.index_bytes + tried);
            self.sizes.insert(current.id, Sizes { data_bytes, index_bytes });
            self.count_bytes();
        }
        if activity::is_full(cause) && self.sizes.len() > 1 {
            self.reclaim_oldest(0);
        }
    }

    /// Begins the next segment, after giving back the space it may take.
    fn roll(&mut self) -> bool {
        let segment_bytes = u64::from(self.disk.settings.segment_bytes);
        self.current = None;
        let mut kept = Vec::new();
        while !self.sizes.is_empty()
            && (self.disk.bytes() + segment_bytes > self.disk.settings.bytes_max
                || self.sizes.len() >= SEGMENTS_MAX)
        {
            let budget = if kept.is_empty() { segment_bytes as usize / 4 } else { 0 };
            let Some(read) = self.reclaim_oldest(budget) else {
                self.drop_kept(&kept);
                return false;
            };
            kept.extend(read);
        }
        let id = self.next_segment;
        let files = &self.disk.files;
        let opened = files.open(&data_name(id), true).and_then(|data| {
            let index = files.open(&index_name(id), true)?;
            Ok((data, index))
        });
        let (data, index) = match opened {
            Ok(opened) => opened,
            Err(cause) => {
                self.note_failure(&cause);
                self.drop_kept(&kept);
                return false;
            }
        };
        self.next_segment = id.saturating_add(1);
        self.current = Some(Current { id, data, index, data_bytes: 0, index_bytes: 0 });
        self.sizes.insert(id, Sizes { data_bytes: 0, index_bytes: 0 });
        let mut segments = self.disk.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.insert(id, Segment::new(id));
        drop(segments);
        for record in &kept {
            self.write_again(record);
        }
        true
    }

    /// Puts a record of a segment that went into the new one; it has room for a quarter of its size.
    fn write_again(&mut self, Kept { hash, way, record: bytes }: &Kept) {
        if self.try_to_write_again(bytes, *way) {
            self.store.counters().disk_writes_again.add(1);
        } else {
            self.disk.under_way.end(*hash, *way);
            self.store.note_off_disk(*hash);
        }
    }

    fn try_to_write_again(&mut self, bytes: &[u8], way: Way) -> bool {
        let Some(record) = Record::decode_meta(bytes) else { return false };
        let Some(body) = bytes.get(record.meta_bytes..) else { return false };
        let tags: Vec<u64> = record.tag_hashes().collect();
        let parts = Parts {
            sequence: 0,
            hash: record.hash,
            born: record.born,
            snapshot: record.snapshot,
            numbers: &record.numbers,
            key: record.key,
            head: record.head,
            tags: &tags,
        };
        self.has_room(bytes.len()) && self.gather_record(&parts, std::iter::once(body), None, way)
    }

    /// Removes the oldest segment; gives the records in it that were read since they were written, up to
    /// `budget` bytes. `None` when it cannot be removed: then its space counts on, and it is tried again.
    fn reclaim_oldest(&mut self, budget: usize) -> Option<Vec<Kept>> {
        let segment = *self.sizes.first_key_value()?.0;
        let files = Arc::clone(&self.disk.files);
        let entries = files.open(&index_name(segment), false).and_then(|file| read_entries(&*file));
        let (mut kept, mut kept_bytes) = (Vec::<Kept>::new(), 0);
        let data = files.open(&data_name(segment), false);
        for entry in entries.iter().flat_map(|(entries, _)| entries.chunks_exact(ENTRY_BYTES)) {
            self.disk.pulse.step();
            let Some(entry) = Entry::decode(segment, entry).filter(|entry| entry.is_stored) else { continue };
            let is_here = |place: &Place| place.segment == segment && place.offset == entry.offset;
            if self.disk.index.find(entry.hash).filter(is_here).is_none() {
                continue;
            }
            let is_wanted = self.disk.index.was_read(entry.hash) || self.store.is_in_memory(entry.hash);
            if is_wanted
                && kept_bytes + entry.length as usize <= budget
                && let Ok(data) = &data
                && let Ok(record) = read_up_to(&**data, u64::from(entry.offset), entry.length as usize)
                && Record::decode(&record, entry.hash, Some(entry.sequence)).is_some()
                && let Some(way) = self.disk.under_way.begin_if_none(entry.hash)
            {
                // Who gives it up meanwhile finds it in the index or on its way.
                if self.disk.index.remove_at(entry.hash, segment, entry.offset) {
                    kept_bytes += record.len();
                    kept.push(Kept { hash: entry.hash, way, record });
                } else {
                    self.disk.under_way.end(entry.hash, way);
                }
            }
            if self.disk.index.remove_at(entry.hash, segment, entry.offset) {
                self.store.note_off_disk(entry.hash);
            }
        }
        self.disk.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        // The index first: half a segment is removed at the next start.
        let remove = |name: String| match files.remove(&name) {
            // By an attempt before.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        if let Err(cause) = remove(index_name(segment)).and_then(|()| remove(data_name(segment))) {
            self.drop_kept(&kept);
            self.measure(segment);
            self.note_failed(&cause);
            return None;
        }
        self.sizes.remove(&segment);
        self.store.counters().disk_segments_reclaimed.add(1);
        self.count_bytes();
        Some(kept)
    }

    fn drop_kept(&self, kept: &[Kept]) {
        for Kept { hash, way, .. } in kept {
            self.disk.under_way.end(*hash, *way);
            self.store.note_off_disk(*hash);
        }
    }

    /// Counts what is left of a segment's files.
    fn measure(&mut self, segment: u32) {
        let bytes_of = |name: String, last: u64| match self.disk.files.open(&name, false) {
            Ok(file) => file.bytes().unwrap_or(last),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => 0,
            Err(_cause) => last,
        };
        let Some(Sizes { data_bytes, index_bytes }) = self.sizes.get(&segment).copied() else { return };
        let (data_bytes, index_bytes) =
            (bytes_of(data_name(segment), data_bytes), bytes_of(index_name(segment), index_bytes));
        self.sizes.insert(segment, Sizes { data_bytes, index_bytes });
        self.count_bytes();
    }

    pub(super) fn count_bytes(&self) {
        let bytes = self.sizes.values().map(|sizes| sizes.data_bytes + sizes.index_bytes).sum();
        self.disk.bytes.store(bytes, Relaxed);
    }
}
