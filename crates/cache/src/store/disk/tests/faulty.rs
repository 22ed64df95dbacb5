//! Files in memory that fail, tear, stop at a given write, flip bits and lose what was not synced.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::files::{Files, StoredFile};

/// What a folder has, and what will go wrong with it.
#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    is_claimed: bool,
    /// Bytes that may still be written before the disk is full.
    room: Option<u64>,
    /// Changes (writes, creations, removals, renames) before the process dies in the middle of the next.
    life: Option<u64>,
    changes: u64,
    faults: Vec<Fault>,
    /// Bytes a single write takes at most.
    write_max: Option<usize>,
    moments: Vec<Moment>,
}

/// Something that happens in the middle of the next operation of its kind.
struct Moment {
    is_read: bool,
    /// The end of the file's name.
    name: &'static str,
    act: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Moment({}, {})", self.is_read, self.name)
    }
}

/// `life` of a process that is dead.
const DEAD: Option<u64> = Some(u64::MAX);

#[derive(Debug, Default, Clone)]
struct Content {
    bytes: Vec<u8>,
    /// What was written since the last sync.
    unsynced: Vec<(usize, Vec<u8>)>,
    synced: Vec<u8>,
}

/// What fails, by the end of the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Reading(&'static str),
    Writing(&'static str),
    Syncing(&'static str),
    Removing(&'static str),
    Opening(&'static str),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FaultyFiles(Arc<Mutex<State>>);

struct FaultyFile {
    folder: FaultyFiles,
    name: String,
    content: Arc<Mutex<Content>>,
}

fn died() -> io::Error {
    io::Error::other("the process is dead")
}

fn locked(content: &Arc<Mutex<Content>>) -> MutexGuard<'_, Content> {
    content.lock().expect("no test panics with it")
}

impl FaultyFiles {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics with it")
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    pub(super) fn heal(&self) {
        let mut state = self.lock();
        state.faults.clear();
        state.room = None;
    }

    pub(super) fn fill_up(&self, room: u64) {
        self.lock().room = Some(room);
    }

    pub(super) fn write_at_most(&self, bytes: usize) {
        self.lock().write_max = Some(bytes);
    }

    /// Does something while the next read of such a file is under way: what another thread might.
    pub(super) fn while_reading(&self, name: &'static str, act: impl FnOnce() + Send + 'static) {
        self.lock().moments.push(Moment { is_read: true, name, act: Box::new(act) });
    }

    /// The same with the next write.
    pub(super) fn while_writing(&self, name: &'static str, act: impl FnOnce() + Send + 'static) {
        self.lock().moments.push(Moment { is_read: false, name, act: Box::new(act) });
    }

    fn meet(&self, is_read: bool, name: &str) {
        let mut state = self.lock();
        let is_due = |moment: &Moment| moment.is_read == is_read && name.ends_with(moment.name);
        let due = state.moments.iter().position(is_due).map(|place| state.moments.remove(place));
        drop(state);
        if let Some(moment) = due {
            (moment.act)();
        }
    }

    /// Bytes of all segments' files.
    pub(super) fn segment_bytes(&self) -> u64 {
        let names = self.names_now();
        let segments = names.iter().filter(|name| name.ends_with(".data") || name.ends_with(".index"));
        segments.map(|name| self.content(name).len() as u64).sum()
    }

    pub(super) fn changes(&self) -> u64 {
        self.lock().changes
    }

    pub(super) fn die_after(&self, changes: u64) {
        self.lock().life = Some(changes);
    }

    pub(super) fn set_claimed(&self, is_claimed: bool) {
        self.lock().is_claimed = is_claimed;
    }

    pub(super) fn is_claimed(&self) -> bool {
        self.lock().is_claimed
    }

    pub(super) fn names_now(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        locked(&self.lock().files[name]).bytes.clone()
    }

    pub(super) fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let content = Content { synced: bytes.clone(), bytes, unsynced: Vec::new() };
        self.lock().files.insert(name.to_owned(), Arc::new(Mutex::new(content)));
    }

    /// The folder as the next process finds it after `kill -9`.
    pub(super) fn after_kill(&self) -> Self {
        let state = self.lock();
        let copy = |content| Arc::new(Mutex::new(locked(content).clone()));
        let files = state.files.iter().map(|(name, content)| (name.clone(), copy(content)));
        Self(Arc::new(Mutex::new(State { files: files.collect(), ..State::default() })))
    }

    /// The folder after the power was lost: each write that was not synced is there, gone, or there in part,
    /// as the random numbers have it; what is missing before one that is there reads as zeros.
    pub(super) fn after_power_loss(&self, random: &mut dyn FnMut(u64) -> u64) -> Self {
        let after = self.after_kill();
        for content in after.lock().files.values() {
            let mut content = locked(content);
            let mut bytes = content.synced.clone();
            for (offset, written) in std::mem::take(&mut content.unsynced) {
                let there = match random(3) {
                    0 => 0,
                    1 => written.len(),
                    _ => random(written.len() as u64 + 1) as usize,
                };
                if there > 0 {
                    let length = bytes.len().max(offset + there);
                    bytes.resize(length, 0);
                    bytes[offset..offset + there].copy_from_slice(&written[..there]);
                }
            }
            content.synced = bytes.clone();
            content.bytes = bytes;
        }
        after
    }
}

impl State {
    /// Counts a change; true when the process dies in the middle of it.
    fn change(&mut self) -> io::Result<bool> {
        if self.life == DEAD {
            return Err(died());
        }
        self.changes += 1;
        match &mut self.life {
            None => Ok(false),
            Some(0) => {
                self.life = DEAD;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
        }
    }

    fn judge(&self, is_it: impl Fn(&Fault) -> bool) -> io::Result<()> {
        if self.life == DEAD {
            Err(died())
        } else if self.faults.iter().any(is_it) {
            Err(io::Error::other("a fault made for a test"))
        } else {
            Ok(())
        }
    }
}

impl StoredFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.folder.meet(true, &self.name);
        self.folder
            .lock()
            .judge(|fault| matches!(fault, Fault::Reading(name) if self.name.ends_with(name)))?;
        let content = locked(&self.content);
        let from = content.bytes.get(offset as usize..).unwrap_or_default();
        // Short reads, as a system may give.
        let count = from.len().min(into.len()).min(5_000);
        into[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, from: &[u8], offset: u64) -> io::Result<usize> {
        self.folder.meet(false, &self.name);
        let mut state = self.folder.lock();
        state.judge(|fault| matches!(fault, Fault::Writing(name) if self.name.ends_with(name)))?;
        let dies = state.change()?;
        let mut count = from.len().min(state.write_max.unwrap_or(usize::MAX));
        if let Some(room) = &mut state.room {
            if *room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            count = count.min(*room as usize);
            *room -= count as u64;
        }
        if dies {
            count = (state.changes as usize).wrapping_mul(2_654_435_761) % (count + 1);
        }
        drop(state);
        let mut content = locked(&self.content);
        let offset = offset as usize;
        let length = content.bytes.len().max(offset + count);
        content.bytes.resize(length, 0);
        content.bytes[offset..offset + count].copy_from_slice(&from[..count]);
        content.unsynced.push((offset, from[..count].to_vec()));
        if dies { Err(died()) } else { Ok(count) }
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(locked(&self.content).bytes.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.folder
            .lock()
            .judge(|fault| matches!(fault, Fault::Syncing(name) if self.name.ends_with(name)))?;
        let mut content = locked(&self.content);
        content.unsynced.clear();
        content.synced = content.bytes.clone();
        Ok(())
    }
}

struct Claim(FaultyFiles);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.set_claimed(false);
    }
}

impl Files for FaultyFiles {
    fn claim(&self) -> io::Result<Option<Box<dyn Send>>> {
        if std::mem::replace(&mut self.lock().is_claimed, true) {
            return Ok(None);
        }
        Ok(Some(Box::new(Claim(self.clone()))))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.lock().judge(|_| false)?;
        Ok(self.names_now())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn StoredFile>> {
        let mut state = self.lock();
        state.judge(|fault| matches!(fault, Fault::Opening(end) if name.ends_with(end)))?;
        let content = match state.files.get(name) {
            Some(content) => Arc::clone(content),
            None if create => {
                if state.change()? {
                    return Err(died());
                }
                Arc::clone(state.files.entry(name.to_owned()).or_default())
            }
            None => return Err(ErrorKind::NotFound.into()),
        };
        drop(state);
        Ok(Arc::new(FaultyFile { folder: self.clone(), name: name.to_owned(), content }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.judge(|fault| matches!(fault, Fault::Removing(end) if name.ends_with(end)))?;
        if state.change()? {
            return Err(died());
        }
        state.files.remove(name).map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        if state.change()? {
            return Err(died());
        }
        let content = state.files.remove(from).ok_or(ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.lock().judge(|_| false)
    }
}
