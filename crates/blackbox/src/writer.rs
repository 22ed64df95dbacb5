//! The writing side: one slot a thread, plain relaxed stores.
//!
//! Only the thread that claimed a slot writes it, so that a read, a change and a store need no lock; other
//! threads and processes only look. A view taken while the thread writes may mix two requests; the watchdog
//! acts on one that has stood still, and the supervisor reads after the last store.
//!
//! Callers: `edge`'s serving threads and its watchdog. Read next: `death.rs`.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

use zerocopy::FromBytes;

use crate::{SLOT_BYTES, SLOTS_MAX, SlotView, WORDS, death, slots_of, word};

type Words = [AtomicU64; WORDS];

/// The slots of this process, for as long as it lives.
#[derive(Clone, Copy)]
pub struct Writer {
    slots: &'static [Words],
}

impl Writer {
    /// Maps a black box made by [`crate::create`]. The mapping stays until the process ends.
    ///
    /// # Errors
    /// The system's, or a file that is not a black box of this version.
    pub fn map(memory: &impl AsFd) -> io::Result<Self> {
        let slots = slots_of(memory)?;
        let length = (slots + 1) * SLOT_BYTES;
        let memory = memory.as_fd().try_clone_to_owned()?;
        // SAFETY: the file's size is sealed and was checked above, so that no access faults. The memory is
        // only ever seen as atomics, for which another process's writes are like another thread's.
        #[expect(unsafe_code, reason = "memory that another process holds is mapped nowhere else")]
        let map = unsafe { memmap2::MmapOptions::new().len(length).map_mut(&memory) }?;
        let map = Box::leak(Box::new(map));
        let lines = <[Words]>::mut_from_bytes(&mut map[..]).map_err(|_| crate::invalid("not whole slots"))?;
        Ok(Self { slots: lines.get(1..).unwrap_or_default() })
    }

    /// Slots in memory of the process's own, for a node without a supervisor: the watchdog works, and no
    /// death is explained. The memory stays until the process ends. At most [`SLOTS_MAX`].
    pub fn private(slots: usize) -> Self {
        let slots: Vec<Words> = (0..slots.clamp(1, SLOTS_MAX)).map(|_| Words::default()).collect();
        Self { slots: slots.leak() }
    }

    /// How many slots there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Never: a black box has a slot at the least.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// A slot, to look at.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        self.slots.get(index).map(Slot)
    }

    /// Binds the calling thread to a slot, which it writes from now on, and which is marked if it dies of a
    /// signal. The signals' actions are the process's, put in place with the first claim; those that stood
    /// there before run after ours.
    ///
    /// # Errors
    /// No such slot, or the system refuses a signal's action.
    pub fn claim(&self, index: usize) -> io::Result<Slot> {
        let slot = self.slot(index).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the black box has fewer slots than threads")
        })?;
        death::watch()?;
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        slot.store(word::THREAD, u64::from(thread.unsigned_abs()));
        slot.store(word::STATE, 1);
        death::bind(slot);
        Ok(slot)
    }
}

/// What a thread works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The request's keyed hash.
    pub fingerprint: u64,
    /// The first 8 bytes of the zone's id; zeros before the zone is known.
    pub zone: [u8; 8],
    /// The number of the snapshot it is served under.
    pub snapshot: u64,
    /// The phase, as the writer numbers them.
    pub phase: u8,
    /// The rule being evaluated; 0 for none.
    pub rule: u32,
}

/// One thread's slot.
#[derive(Clone, Copy)]
pub struct Slot(&'static Words);

impl Slot {
    #[inline]
    fn store(self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }

    #[inline]
    fn load(self, word: usize) -> u64 {
        self.0[word].load(Ordering::Relaxed)
    }

    /// A poll of an exchange begins: it is named from now on.
    #[inline]
    pub fn enter(self, work: &Work) {
        self.store(word::FINGERPRINT, work.fingerprint);
        self.store(word::ZONE, u64::from_ne_bytes(work.zone));
        self.store(word::SNAPSHOT, work.snapshot);
        self.store(word::STATE, 2 | u64::from(work.phase) << 8 | u64::from(work.rule) << 32);
    }

    /// The zone and the snapshot of the work are known.
    #[inline]
    pub fn zone(self, zone: [u8; 8], snapshot: u64) {
        self.store(word::ZONE, u64::from_ne_bytes(zone));
        self.store(word::SNAPSHOT, snapshot);
    }

    /// The work comes to another phase, with no rule of it named yet.
    #[inline]
    pub fn phase(self, phase: u8) {
        self.store(word::STATE, 2 | u64::from(phase) << 8);
    }

    /// The work comes to a rule of its phase.
    #[inline]
    pub fn rule(self, rule: u32) {
        let phase = self.load(word::STATE) & 0xff00;
        self.store(word::STATE, 2 | phase | u64::from(rule) << 32);
    }

    /// The poll ends; gives where the work stands, for [`Slot::enter`] at the next poll.
    #[inline]
    pub fn leave(self) -> Work {
        let state = self.load(word::STATE);
        self.store(word::STATE, 1);
        Work {
            fingerprint: self.load(word::FINGERPRINT),
            zone: self.load(word::ZONE).to_ne_bytes(),
            snapshot: self.load(word::SNAPSHOT),
            phase: (state >> 8) as u8,
            rule: (state >> 32) as u32,
        }
    }

    /// Counts an outermost poll of the thread.
    #[inline]
    pub fn beat(self) {
        // No other thread writes it: a load and a store are enough, and half the price of an addition.
        self.store(word::BEAT, self.load(word::BEAT).wrapping_add(1));
    }

    /// Notes the signal that the thread dies of; the first one stays.
    pub fn mark_death(self, signal: i32) {
        if self.load(word::DEATH) == 0 {
            self.store(word::DEATH, u64::from(signal.unsigned_abs()));
        }
    }

    /// The slot as it is now.
    pub fn view(self) -> SlotView {
        SlotView::of(std::array::from_fn(|word| self.load(word)))
    }
}
