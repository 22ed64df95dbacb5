//! The one that writes: purges first, then objects in batches, each with its index entry.
//!
//! An object is committed once its index entry is written, which is after its record. Nothing is ever changed
//! in place, so a crash can only leave something out at the ends of files.
//!
//! Runs on a thread of its own ([`Writer::run`]) or turned by hand ([`Writer::turn`]). Read next:
//! `opening.rs` for how it begins, `reclaim.rs` for how space comes back.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use super::files::{StoredFile, write_all_at};
use super::format::{self, ENTRY_BYTES, Entry, Parts};
use super::index::Place;
use super::opening::Trouble;
use super::reclaim::Room;
use super::shares::Came;
use super::under_way::Way;
use super::{
    Disk, FAILED, LOADING, READY, REFUSED, RELEASED, Recorded, WriteJob, activity, data_name, index_name,
    purge_log,
};
use crate::store::Store;
use crate::store::key::KeyRef;
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
    pub(super) id: u32,
    pub(super) data: Arc<dyn StoredFile>,
    pub(super) index: Arc<dyn StoredFile>,
    pub(super) data_bytes: u64,
    pub(super) index_bytes: u64,
}

/// The log of purges.
pub(super) struct Log {
    pub(super) file: Arc<dyn StoredFile>,
    pub(super) bytes: u64,
    pub(super) bytes_at_rewrite: u64,
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
        let (is_stored, zone, offset, length, born, snapshot) = (false, 0, 0, 0, 0, 0);
        let entry = Entry { is_stored, zone, offset, length, hash, born, snapshot, sequence };
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
    pub(super) fn gather_record<'b>(
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
            zone: KeyRef::parse(parts.key).map_or(0, |key| format::zone_mark(key.zone)),
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

    pub(super) fn has_room(&self, bytes: usize) -> bool {
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
        for Gathered { entry, object, way } in self.batch.drain(..) {
            let Some(way) = way else { continue };
            let born = crate::store::purge::RUN_START.saturating_add(entry.born).saturating_sub(self.base);
            let zone = self.disk.index.shares().number(entry.zone);
            let (segment, offset, length) = (current.id, entry.offset, entry.length);
            let came = if object.is_some() { Came::Asked } else { Came::Again };
            self.disk.index.insert(entry.hash, Place { segment, offset, length, born, zone }, came);
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

    pub(super) fn note_failed(&mut self, cause: &io::Error) {
        self.store.counters().disk_write_errors.add(1);
        self.disk.pulse.fail(cause);
        self.failures = (self.failures + 1).min(10);
        self.skipped = (1 << self.failures).min(SKIPPED_MAX);
    }

    pub(super) fn note_failure(&mut self, cause: &io::Error) {
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
            self.reclaim_next(&mut Room::default());
        }
    }

    pub(super) fn count_bytes(&self) {
        let bytes = self.sizes.values().map(|sizes| sizes.data_bytes + sizes.index_bytes).sum();
        self.disk.bytes.store(bytes, Relaxed);
    }
}
