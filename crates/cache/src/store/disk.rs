//! The disk tier: segments that are only appended to, an index in memory, and threads of its own.
//!
//! Serving threads look into the index and put jobs into bounded queues; they touch no file. One thread
//! writes ([`Writer`]), a few read ([`ReadWorker`]); a read that does not come within its deadline is given
//! up by who waits for it, and a disk that answers nothing for a while is not asked. Whatever is wrong with
//! the disk is a miss and a counter. Format: docs/reference/cache-disk-format.md; why this design:
//! docs/decisions/0012-storage-of-the-cache.md.
//!
//! Attached by the wiring ([`attach`]). Read next: `writer.rs`, `reclaim.rs`, `opening.rs`,
//! `reader.rs`, `format.rs`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::{io, thread};

mod activity;
pub mod files;
pub mod format;
mod index;
mod listing;
mod opening;
mod purge_log;
mod queue;
mod reader;
mod reclaim;
mod shares;
#[cfg(test)]
mod tests;
mod under_way;
mod waiting;
mod writer;

pub use activity::{Activity, WriteFailure};
pub use files::{Files, Folder, StoredFile};
pub use listing::{DiskCursor, Listed};
pub use reader::ReadWorker;
pub use writer::{Turn, Writer};

use index::{Index, Place};
use queue::Queue;
use shares::Shares;
use under_way::{UnderWay, Way};
use waiting::WaitingPurges;

use super::Store;
use super::counters::Counters;
use super::fill::Lease;
use super::object::Object;
use super::purge::Entry;

/// Sizes and bounds of the disk tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSettings {
    /// Bytes of all files, the log of purges (some MiB) not counted. Space is given back a segment at a time.
    pub bytes_max: u64,
    /// Bytes of a segment. Default a 256th of `bytes_max`, between 8 MiB and 256 MiB: an object is kept for
    /// 255 of 256 parts of the disk's turn, a descriptor per segment is open, and what of one is written
    /// again is in memory meanwhile. Over 1 TiB a 4000th, so that there are not too many.
    pub segment_bytes: u32,
    /// Milliseconds a request waits for a read before it goes to the origin. Default 100: an SSD answers
    /// within one, a busy hard disk within some tens, and origins are seldom faster.
    pub read_deadline_ms: u64,
    /// Milliseconds without a finished read, while some are asked for, after which no more are. Default 250.
    pub stall_ms: u64,
    /// Reads queued. Default 256.
    pub reads_max: usize,
    /// Objects queued for writing, and other jobs of the writer. Default 1024.
    pub writes_max: usize,
    /// Bytes of bodies queued for writing, which are kept alive by it. Default 32 MiB; never more than an
    /// eighth of the memory tier, so that a disk that stalls does not take its place.
    pub write_bytes_max: u64,
    /// Threads that read. Default 4, so that one slow read is not the next one's delay.
    pub readers: usize,
    /// Part of the disk in percent that is promised to zones by their weights ([`Store::weigh`]): what a zone
    /// keeps whatever others store, as long as it is asked for. Default 50; 0 for none.
    pub promised_percent: u8,
    /// The explicit word to empty a folder that is refused: another format, another seed, a damaged head.
    pub empties_refused: bool,
}

impl DiskSettings {
    /// Defaults for a size.
    #[must_use]
    pub fn of(bytes_max: u64) -> Self {
        let segment_bytes = (bytes_max / 256).clamp(8 << 20, 256 << 20).max(bytes_max / 4_000);
        let segment_bytes = segment_bytes.min(bytes_max / 4).min(u64::from(u32::MAX));
        Self {
            bytes_max,
            segment_bytes: segment_bytes as u32,
            read_deadline_ms: 100,
            stall_ms: 250,
            reads_max: 256,
            writes_max: 1024,
            write_bytes_max: 32 << 20,
            readers: 4,
            promised_percent: 50,
            empties_refused: false,
        }
    }
}

/// What the disk tier is doing. Only [`DiskState::Ready`] is asked for objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskState {
    /// Waiting for the folder: another process has it.
    WaitingForFolder,
    /// Reading the log of purges and the index.
    Loading,
    /// In use.
    Ready,
    /// The folder is not used, and nothing in it is touched: why, and what to do.
    Refused(String),
    /// The folder cannot be opened: why. Tried again every five seconds; purges wait for it.
    Unreachable(String),
    /// A failure after which nothing on the disk may be used: why.
    Failed(String),
    /// Given up, for the next process.
    Released,
}

const WAITING: u8 = 0;
const LOADING: u8 = 1;
const READY: u8 = 2;
const REFUSED: u8 = 3;
const FAILED: u8 = 4;
const RELEASED: u8 = 5;
const UNREACHABLE: u8 = 6;

/// Whether a purge outlives this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// The disk has it, or has nothing left that it could be against.
    OnDisk,
    /// There is no disk tier, or it is not in use: memory is all there is.
    InMemory,
    /// The disk could not take it, nor be emptied: after a restart purged objects may be back. The purge must
    /// be made again then, or the folder emptied by hand.
    NotRecorded,
}

/// Where an object is, and until when it is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Located {
    place: Place,
    pub(crate) born: u64,
    pub(crate) deadline_ms: u64,
}

/// A read for whoever waits for the lease.
#[derive(Debug)]
pub(crate) struct ReadJob {
    pub(crate) lease: Lease,
    pub(crate) located: Located,
}

/// A purge on its way into the log.
pub(crate) struct PurgeJob {
    pub(crate) entry: Entry,
    pub(crate) number: u64,
    pub(crate) done: Box<dyn FnOnce(Recorded) + Send>,
}

#[derive(Debug)]
enum WriteJob {
    Object(Arc<Object>, Way),
    /// What is stored under the hash is superseded.
    Forget(u128),
}

/// One segment's data, opened by the first who reads it.
struct Segment {
    id: u32,
    file: OnceLock<Arc<dyn StoredFile>>,
}

impl Segment {
    fn new(id: u32) -> Arc<Self> {
        Arc::new(Self { id, file: OnceLock::new() })
    }

    fn file(&self, files: &dyn Files) -> io::Result<Arc<dyn StoredFile>> {
        if let Some(file) = self.file.get() {
            return Ok(Arc::clone(file));
        }
        let file = files.open(&data_name(self.id), false)?;
        Ok(Arc::clone(self.file.get_or_init(|| file)))
    }
}

fn data_name(segment: u32) -> String {
    format!("{segment:08x}.data")
}

fn index_name(segment: u32) -> String {
    format!("{segment:08x}.index")
}

/// What serving threads know of the disk tier.
pub struct Disk {
    settings: DiskSettings,
    files: Arc<dyn Files>,
    state: AtomicU8,
    reason: Mutex<String>,
    index: Index,
    segments: RwLock<BTreeMap<u32, Arc<Segment>>>,
    reads: Queue<ReadJob>,
    writes: Queue<WriteJob>,
    write_bytes: AtomicU64,
    under_way: UnderWay,
    purges: Mutex<WaitingPurges>,
    applied_to: AtomicU64,
    /// Bytes of all files.
    bytes: AtomicU64,
    watch: Watch,
    pulse: activity::Pulse,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Disk").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// Whether reads come back, by what serving threads see: the disk's threads have no clock.
#[derive(Debug, Default)]
struct Watch {
    asked: AtomicUsize,
    done: AtomicU64,
    /// `done` at the last look at which it had changed, and when that was.
    seen_done: AtomicU64,
    seen_ms: AtomicU64,
}

impl Watch {
    fn ask(&self, now_ms: u64) {
        if self.asked.fetch_add(1, SeqCst) == 0 {
            self.seen_ms.store(now_ms, Relaxed);
        }
    }

    fn finish(&self) {
        self.asked.fetch_sub(1, SeqCst);
        self.done.fetch_add(1, SeqCst);
    }

    fn is_stalled(&self, now_ms: u64, stall_ms: u64) -> bool {
        if self.asked.load(SeqCst) == 0 {
            return false;
        }
        let done = self.done.load(SeqCst);
        if self.seen_done.swap(done, Relaxed) != done {
            self.seen_ms.store(now_ms, Relaxed);
            return false;
        }
        now_ms.saturating_sub(self.seen_ms.load(Relaxed)) >= stall_ms
    }
}

/// What runs the disk tier: to be given threads by [`Workers::start`], or turned by hand in a test.
pub struct Workers {
    /// The one that writes.
    pub writer: Writer,
    /// Those that read.
    pub readers: Vec<ReadWorker>,
}

/// Threads of the disk tier.
#[derive(Debug)]
pub struct Running {
    disk: Arc<Disk>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// Gives a store its disk tier; `None` when it has one. Nothing is read or written before the workers run.
#[must_use]
pub fn attach(store: &Store, files: Arc<dyn Files>, settings: DiskSettings) -> Option<Workers> {
    let write_bytes_max = settings.write_bytes_max.min(store.settings().bytes_max / 8);
    let settings = DiskSettings { write_bytes_max, ..settings };
    let disk = Arc::new(Disk {
        settings,
        files,
        state: AtomicU8::new(WAITING),
        reason: Mutex::default(),
        index: Index::new(Shares::new(settings.bytes_max, settings.promised_percent)),
        segments: RwLock::default(),
        reads: Queue::new(settings.reads_max),
        writes: Queue::new(settings.writes_max),
        write_bytes: AtomicU64::new(0),
        under_way: UnderWay::default(),
        purges: Mutex::default(),
        applied_to: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        watch: Watch::default(),
        pulse: activity::Pulse::default(),
    });
    store.0.disk.set(Arc::clone(&disk)).ok()?;
    let readers = (0..settings.readers.max(1)).map(|_| ReadWorker::new(store.clone(), Arc::clone(&disk)));
    Some(Workers { readers: readers.collect(), writer: Writer::new(store.clone(), disk) })
}

impl Workers {
    /// Starts one thread for each.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(self) -> io::Result<Running> {
        let Self { mut writer, readers } = self;
        let disk = Arc::clone(writer.disk());
        let spawn = || {
            let mut threads = Vec::new();
            for (number, mut reader) in readers.into_iter().enumerate() {
                let name = format!("cache-read-{number}");
                threads.push(thread::Builder::new().name(name).spawn(move || reader.run())?);
            }
            threads.push(thread::Builder::new().name("cache-write".to_owned()).spawn(move || writer.run())?);
            Ok(threads)
        };
        match spawn() {
            Ok(threads) => Ok(Running { disk, threads }),
            Err(cause) => {
                // Those that run end, and nobody waits for the one that writes.
                let reason = format!("the cache's disk got no thread: {cause}; the cache is in memory alone");
                disk.end(FAILED, reason, Recorded::NotRecorded);
                disk.release();
                Err(cause)
            }
        }
    }
}

impl Running {
    /// Asks the threads to end and gives the folder up; does not wait. See [`Disk::release`].
    pub fn release(&self) {
        self.disk.release();
    }

    /// Waits for all threads: for the end of a process, after [`Running::release`].
    pub fn join(self) {
        for thread in self.threads {
            // A thread that panicked has nothing to say that its panic has not.
            thread.join().unwrap_or_default();
        }
    }
}

impl Disk {
    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> DiskState {
        let reason = || self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.state.load(SeqCst) {
            WAITING => DiskState::WaitingForFolder,
            LOADING => DiskState::Loading,
            READY => DiskState::Ready,
            REFUSED => DiskState::Refused(reason()),
            FAILED => DiskState::Failed(reason()),
            UNREACHABLE => DiskState::Unreachable(reason()),
            _ => DiskState::Released,
        }
    }

    fn set_state(&self, state: u8) {
        self.state.store(state, SeqCst);
    }

    fn is_ready(&self) -> bool {
        self.state.load(Relaxed) == READY
    }

    /// Gives zones the weights by which the promised part is shared.
    pub(crate) fn weigh(&self, weights: &BTreeMap<u128, u32>) {
        self.index.shares().weigh(weights);
    }

    /// Objects in the index.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.index.objects()
    }

    /// Bytes of memory the index takes.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        self.index.memory_bytes()
    }

    /// What its threads are doing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        // In this order: a read that comes back between the two is one done too many, and no stall.
        let waiting = self.watch.asked.load(SeqCst);
        self.pulse.activity(waiting, self.watch.done.load(SeqCst))
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// The highest number of the numbered log whose purge the disk has: what a node asks for the rest from.
    /// Zero until the log is read.
    #[must_use]
    pub fn purges_applied_to(&self) -> u64 {
        self.applied_to.load(SeqCst)
    }

    /// Gives the folder up for another process: nothing more is read or written, what was queued is dropped,
    /// purges that wait are still put into the log. Does not wait for it; [`Disk::state`] says when it is
    /// done.
    pub fn release(&self) {
        for job in self.writes.close() {
            self.note_dropped(&job);
            if let WriteJob::Object(object, way) = job {
                self.under_way.end(object.key.hash, way);
            }
        }
        // Leases go back to those who wait.
        for _job in self.reads.close() {
            self.watch.finish();
        }
    }

    fn note_dropped(&self, job: &WriteJob) {
        if let WriteJob::Object(object, _) = job {
            self.write_bytes.fetch_sub(object.body.bytes(), Relaxed);
        }
    }

    /// Where an object is, if the disk is to be asked.
    pub(crate) fn locate(&self, hash: u128, now_ms: u64, counters: &Counters) -> Option<Located> {
        match self.state.load(Relaxed) {
            READY => {}
            LOADING => {
                counters.disk_lookups_loading.add(1);
                return None;
            }
            _ => return None,
        }
        let place = self.index.find(hash)?;
        self.index.touch(hash);
        if self.watch.is_stalled(now_ms, self.settings.stall_ms) {
            counters.disk_reads_bypassed.add(1);
            return None;
        }
        let deadline_ms = now_ms.saturating_add(self.settings.read_deadline_ms);
        Some(Located { place, born: place.born, deadline_ms })
    }

    /// Whether there is an object under a hash; a hint, since keys are not compared.
    pub(crate) fn has(&self, hash: u128) -> bool {
        self.is_ready() && self.index.find(hash).is_some()
    }

    /// Queues a read; gives it back when the queue is full.
    pub(crate) fn read(&self, job: ReadJob, now_ms: u64) -> Option<ReadJob> {
        self.watch.ask(now_ms);
        let refused = self.reads.offer(job).err();
        if refused.is_some() {
            self.watch.finish();
        }
        refused
    }

    /// Whether a write is worth offering.
    pub(crate) fn has_room(&self) -> bool {
        self.is_ready() && self.write_bytes.load(Relaxed) < self.settings.write_bytes_max
    }

    /// Queues an object to be written; false when the queue is full or the disk not in use.
    pub(crate) fn write(&self, object: &Arc<Object>) -> bool {
        if !self.has_room() {
            return false;
        }
        let bytes = object.body.bytes();
        self.write_bytes.fetch_add(bytes, Relaxed);
        let way = self.under_way.begin(object.key.hash);
        let is_queued = self.writes.offer(WriteJob::Object(Arc::clone(object), way)).is_ok();
        if !is_queued {
            self.under_way.end(object.key.hash, way);
            self.write_bytes.fetch_sub(bytes, Relaxed);
        }
        is_queued
    }

    /// Gives up what is stored under a hash, and what is on its way there. At once here; on disk when the
    /// writer comes to it. If that is dropped and the process dies, the old object is back: it is an answer
    /// the origin gave, judged by its own age and by every purge.
    pub(crate) fn forget(&self, hash: u128) {
        // First: what gets into the index after this look is seen by the writer's own.
        self.under_way.forget(hash);
        if self.index.remove(hash) {
            self.writes.offer(WriteJob::Forget(hash)).unwrap_or_default();
        }
    }

    fn has_purges(&self) -> bool {
        !self.lock_purges().is_empty()
    }

    fn lock_purges(&self) -> MutexGuard<'_, WaitingPurges> {
        self.purges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why the folder cannot be opened for now.
    fn note_unreachable(&self, reason: String) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        self.set_state(UNREACHABLE);
    }

    /// Enters a state that nothing comes back from; answers the purges that wait.
    fn end(&self, state: u8, reason: String, recorded: Recorded) {
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = reason;
        let mut purges = self.lock_purges();
        self.set_state(state);
        let waiting = std::mem::take(&mut *purges);
        drop(purges);
        waiting.into_jobs().into_iter().for_each(|job| (job.done)(recorded));
    }

    /// Queues a purge for the log. Never refused: past their bounds, wider purges take the place of those
    /// that wait ([`WaitingPurges::push`]).
    pub(crate) fn record(&self, job: PurgeJob) {
        let mut purges = self.lock_purges();
        if matches!(self.state.load(SeqCst), REFUSED | FAILED | RELEASED) {
            drop(purges);
            return (job.done)(Recorded::InMemory);
        }
        purges.push(job);
        drop(purges);
        self.writes.nudge();
    }
}
