//! What each thread that works for visitors does at the moment, in memory that outlives the process.
//!
//! The supervisor [`create`]s a sealed memory file with a slot for each thread and gives it to the edge,
//! which maps it ([`Writer`]) and writes with plain relaxed stores: which request, zone, phase and rule is
//! polled just now. When the edge dies, however it dies, the supervisor [`read`]s the slots by `pread`; it
//! never maps them, so that a broken edge cannot break it. A signal's action marks the slot of the thread
//! that dies, so that every death but SIGKILL has exactly one culprit ([`culprit`]); after SIGKILL every
//! slot in the middle of a poll is a suspect.
//!
//! Deliberately absent: what is done about a culprit, the clock, tokio. Callers: the binary's supervisor;
//! `edge`, whose watchdog reads the same slots. Read next: `writer.rs`, then `death.rs`.

mod death;
mod view;
mod writer;

pub use view::{SlotState, SlotView, culprit, suspects};
pub use writer::{Slot, Work, Writer};

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes of a slot, and of the header before the first one: a cache line, so that no two threads share one.
pub const SLOT_BYTES: usize = 64;

/// Most slots of one black box: serving threads of one process are at most 255, since connection ids have a
/// byte for them, and of threads that inspect for them there are up to 64.
pub const SLOTS_MAX: usize = 320;

/// 64-bit words of a slot.
const WORDS: usize = SLOT_BYTES / 8;

/// "RPBLKBOX" in the file's first word, so that nothing else is taken for one.
const MAGIC: u64 = u64::from_le_bytes(*b"RPBLKBOX");

/// The layout's version; a supervisor and an edge of different versions do not read each other's.
const VERSION: u64 = 1;

/// The words of a slot. State, phase and rule share the first: bits 0..8, 8..16 and 32..64.
mod word {
    pub(crate) const STATE: usize = 0;
    pub(crate) const FINGERPRINT: usize = 1;
    pub(crate) const ZONE: usize = 2;
    pub(crate) const SNAPSHOT: usize = 3;
    pub(crate) const BEAT: usize = 4;
    pub(crate) const DEATH: usize = 5;
    pub(crate) const THREAD: usize = 6;
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Makes the memory of `slots` slots, 1 to [`SLOTS_MAX`], all free: for the supervisor, which keeps it open.
///
/// Its size is sealed, so that whoever maps it cannot be made to fault by another holder's truncation.
///
/// # Errors
/// The system's, or a number of slots out of range.
pub fn create(slots: usize) -> io::Result<OwnedFd> {
    if !(1..=SLOTS_MAX).contains(&slots) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a black box has 1 to 320 slots"));
    }
    let memory =
        rustix::fs::memfd_create("rempart-blackbox", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let bytes = (slots + 1) * SLOT_BYTES;
    rustix::fs::ftruncate(&memory, bytes as u64)?;
    let mut header = [0; SLOT_BYTES];
    for (at, word) in [MAGIC, VERSION, slots as u64].iter().enumerate() {
        header[at * 8..at * 8 + 8].copy_from_slice(&word.to_ne_bytes());
    }
    let written = rustix::io::pwrite(&memory, &header, 0)?;
    if written != header.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}

/// Reads every slot, in order; by plain reads, whatever the state of the process that wrote them.
///
/// # Errors
/// The system's, or a file that is not a black box of this version.
pub fn read(memory: &impl AsFd) -> io::Result<Vec<SlotView>> {
    let slots = slots_of(memory)?;
    let mut bytes = vec![0; slots * SLOT_BYTES];
    read_exact(memory, &mut bytes, SLOT_BYTES as u64)?;
    let words = |slot: &[u8]| {
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(slot.as_chunks::<8>().0) {
            *word = u64::from_ne_bytes(*bytes);
        }
        words
    };
    Ok(bytes.chunks_exact(SLOT_BYTES).map(|slot| SlotView::of(words(slot))).collect())
}

/// How many slots a black box has, its header and size checked.
fn slots_of(memory: &impl AsFd) -> io::Result<usize> {
    let mut header = [0; SLOT_BYTES];
    read_exact(memory, &mut header, 0)?;
    let [magic, version, slots, ..] = *header.as_chunks::<8>().0 else {
        return Err(invalid("a black box's header is 64 bytes"));
    };
    if u64::from_ne_bytes(magic) != MAGIC {
        return Err(invalid("not a black box"));
    }
    if u64::from_ne_bytes(version) != VERSION {
        return Err(invalid("a black box of another version"));
    }
    let slots = usize::try_from(u64::from_ne_bytes(slots)).unwrap_or(usize::MAX);
    if !(1..=SLOTS_MAX).contains(&slots) {
        return Err(invalid("a black box has 1 to 320 slots"));
    }
    let size = rustix::fs::fstat(memory)?.st_size;
    if u64::try_from(size).ok() != Some(((slots + 1) * SLOT_BYTES) as u64) {
        return Err(invalid("the black box's size is not that of its slots"));
    }
    Ok(slots)
}

fn read_exact(memory: &impl AsFd, bytes: &mut [u8], at: u64) -> io::Result<()> {
    match rustix::io::pread(memory, &mut *bytes, at)? {
        read if read == bytes.len() => Ok(()),
        _ => Err(invalid("the black box is shorter than its slots")),
    }
}
