//! Generations: the bundles that were published, kept on disk so that a node starts without its files.
//!
//! `<data_dir>/generations/<number>-<hash>.bundle` each, and `<data_dir>/last-good` with the name of the
//! one to start from. The bytes carry their own header and hash, checked by whoever decodes them; here they
//! are bytes. It neither compiles nor decides what is good. Called by [`crate::publishing`] and
//! [`crate::configuration`].

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

use crate::files::{read_bounded, write_whole};

/// Generations kept: one to run, and four to walk back over. At 512 MiB a bundle at most, five bound the
/// disk.
pub(crate) const GENERATIONS_KEPT: usize = 5;

/// Hex digits of the bundle's hash in a file's name: enough to tell generations apart by eye; the whole
/// hash is in the file.
const HASH_DIGITS: usize = 16;

/// Names one generation: `<number>-<hash>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation {
    /// Its place in order, from 1.
    pub(crate) number: u64,
    /// The first digits of its bundle's hash.
    pub(crate) hash: String,
}

impl Generation {
    fn file_name(&self) -> String {
        format!("{:010}-{}.bundle", self.number, self.hash)
    }
}

impl FromStr for Generation {
    type Err = ();

    /// Reads a file's name; anything but what [`Generation::file_name`] writes is refused.
    fn from_str(name: &str) -> Result<Self, ()> {
        let (number, hash) = name.strip_suffix(".bundle").ok_or(())?.split_once('-').ok_or(())?;
        let read = Self { number: number.parse().map_err(|_| ())?, hash: hash.to_owned() };
        let hex = hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if read.number > 0 && hex && read.file_name() == name { Ok(read) } else { Err(()) }
    }
}

/// A bundle that serves and could not be written.
#[derive(Debug)]
struct Unkept {
    number: u64,
    hash: String,
    bundle: Vec<u8>,
}

/// The generations below one data folder. One process writes at a time: the one whose supervisor holds the
/// lock. Clones remember the same bundle that could not be written.
#[derive(Debug, Clone)]
pub(crate) struct Generations {
    folder: PathBuf,
    last_good: PathBuf,
    unkept: Arc<Mutex<Option<Unkept>>>,
    /// Numbers of those that were told as unusable.
    told: Arc<Mutex<BTreeSet<u64>>>,
}

impl Generations {
    /// Opens them, making the folder (mode 0700) if it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn open(data_dir: &Path) -> Result<Self> {
        let folder = data_dir.join("generations");
        crate::privileges::make_data_dir(&folder, None)?;
        let last_good = data_dir.join("last-good");
        Ok(Self { folder, last_good, unkept: Arc::default(), told: Arc::default() })
    }

    /// Notes those that another process has told as unusable.
    pub(crate) fn were_told(&self, numbers: &[u64]) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(numbers);
    }

    /// Whether it is news that this one is unusable: once for each, however often it is tried.
    pub(crate) fn is_news(&self, number: u64) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(number)
    }

    /// Those that were told.
    pub(crate) fn told(&self) -> Vec<u64> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Lists what is kept, newest first. Names that are none of ours are passed over.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn kept(&self) -> io::Result<Vec<Generation>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            if let Some(Ok(generation)) = entry?.file_name().to_str().map(Generation::from_str) {
                kept.push(generation);
            }
        }
        kept.sort_unstable_by(|a, b| b.cmp(a));
        Ok(kept)
    }

    /// Names the last good one, if it is still kept.
    pub(crate) fn last_good(&self) -> Option<Generation> {
        let name = read_bounded(&self.last_good, 256).ok()?;
        let generation: Generation = std::str::from_utf8(&name).ok()?.trim_end().parse().ok()?;
        self.path(&generation).is_file().then_some(generation)
    }

    /// Lists in the order to try at a start without usable files: the last good one, then all others, newest
    /// first.
    pub(crate) fn to_try(&self) -> Vec<Generation> {
        let last_good = self.last_good();
        let others =
            self.kept().unwrap_or_default().into_iter().filter(|kept| Some(kept) != last_good.as_ref());
        last_good.iter().cloned().chain(others).collect()
    }

    /// Gives the number for the next one: one more than the greatest ever kept.
    pub(crate) fn next_number(&self) -> u64 {
        let newest = self.kept().ok().and_then(|kept| kept.first().map(|newest| newest.number));
        newest.unwrap_or(0).saturating_add(1)
    }

    /// Names the newest one if it has this hash: then publishing has nothing new to write.
    pub(crate) fn newest_with_hash(&self, hash: &str) -> Option<Generation> {
        let newest = self.kept().ok()?.into_iter().next()?;
        (newest.hash == shorten(hash)).then_some(newest)
    }

    /// Keeps a bundle, and lets go of the oldest beyond [`GENERATIONS_KEPT`]. It is not the last good one by
    /// that.
    ///
    /// `hash` is the bundle's whole hash in hex.
    ///
    /// # Errors
    /// When the disk is full or not writable: then it is remembered for [`Self::keep_late`].
    pub(crate) fn keep(&self, number: u64, hash: &str, bundle: &[u8]) -> Result<Generation> {
        let written = self.write(number, hash, bundle);
        let unkept =
            written.is_err().then(|| Unkept { number, hash: hash.to_owned(), bundle: bundle.to_vec() });
        *self.unkept.lock().unwrap_or_else(PoisonError::into_inner) = unkept;
        written
    }

    /// Keeps what serves if it could not be kept when it went live: the next change is compared with it, and
    /// may have to be taken back to it.
    ///
    /// # Errors
    /// When the disk still takes nothing.
    pub(crate) fn keep_late(&self, serves: u64) -> Result<()> {
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was withdrawn since must not come back.
        if let Some(late) = unkept.take_if(|unkept| unkept.number == serves)
            && let Err(error) = self.write(late.number, &late.hash, &late.bundle)
        {
            *unkept = Some(late);
            return Err(error);
        }
        Ok(())
    }

    fn write(&self, number: u64, hash: &str, bundle: &[u8]) -> Result<Generation> {
        let generation = Generation { number, hash: shorten(hash) };
        let path = self.path(&generation);
        write_whole(&path, bundle, 0o600)
            .with_context(|| format!("the generation {} cannot be written", path.display()))?;
        self.let_go()?;
        Ok(generation)
    }

    /// Names one by its number, if it is kept.
    pub(crate) fn numbered(&self, number: u64) -> Option<Generation> {
        self.kept().ok()?.into_iter().find(|kept| kept.number == number)
    }

    /// Lets go of one that was withdrawn. The last good one stays whatever happens.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn discard(&self, generation: &Generation) -> Result<()> {
        if self.last_good().as_ref() == Some(generation) {
            return Ok(());
        }
        remove(&self.path(generation))
    }

    /// Makes a kept one the last good one.
    ///
    /// # Errors
    /// When the data folder is not writable.
    pub(crate) fn set_last_good(&self, generation: &Generation) -> Result<()> {
        let line = format!("{}\n", generation.file_name());
        write_whole(&self.last_good, line.as_bytes(), 0o600)
            .with_context(|| format!("{} cannot be written", self.last_good.display()))
    }

    /// Reads a kept one.
    ///
    /// # Errors
    /// When it is gone, unreadable, or over the size that a bundle may have.
    pub(crate) fn read(&self, generation: &Generation) -> Result<Vec<u8>> {
        let path = self.path(generation);
        read_bounded(&path, zone::limits::BUNDLE_BYTES_MAX)
            .with_context(|| format!("the generation {} cannot be read", path.display()))
    }

    /// Gives the path of a kept one.
    pub(crate) fn path(&self, generation: &Generation) -> PathBuf {
        self.folder.join(generation.file_name())
    }

    fn let_go(&self) -> Result<()> {
        let last_good = self.last_good();
        for old in self.kept()?.iter().skip(GENERATIONS_KEPT).filter(|old| Some(*old) != last_good.as_ref()) {
            remove(&self.path(old))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path)
        .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .with_context(|| format!("the generation {} cannot be removed", path.display()))
}

fn shorten(hash: &str) -> String {
    hash.chars().take(HASH_DIGITS).collect()
}

#[cfg(test)]
mod tests {
    use testkit::folder::Folder;

    use super::*;

    fn hash(number: u64) -> String {
        format!("{number:064x}").chars().rev().collect()
    }

    #[test]
    fn what_was_kept_is_read_back_until_it_is_discarded() {
        let folder = Folder::new().unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        assert_eq!((generations.next_number(), generations.last_good()), (1, None));
        let first = generations.keep(1, &hash(1), b"one").unwrap();
        let second = generations.keep(2, &hash(2), b"two").unwrap();
        assert_eq!((generations.last_good(), generations.numbered(2)), (None, Some(second.clone())));
        generations.set_last_good(&first).unwrap();
        assert_eq!(generations.to_try(), [first.clone(), second.clone()]);
        generations.discard(&first).unwrap();
        assert_eq!(generations.read(&first).unwrap(), b"one", "the last good one stays");
        assert_eq!(generations.next_number(), 3);
        assert_eq!(generations.newest_with_hash(&hash(2)), Some(second.clone()));
        assert_eq!(generations.newest_with_hash(&hash(1)), None);
        generations.discard(&second).unwrap();
        generations.discard(&second).unwrap();
        assert_eq!(generations.kept().unwrap(), [first]);
    }

    #[test]
    fn only_the_newest_are_kept_but_never_without_the_last_good_one() {
        let folder = Folder::new().unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        let first = generations.keep(1, &hash(1), b"1").unwrap();
        for number in 2..=9 {
            generations.keep(number, &hash(number), b"x").unwrap();
        }
        let numbers: Vec<u64> = generations.kept().unwrap().iter().map(|kept| kept.number).collect();
        assert_eq!(numbers, [9, 8, 7, 6, 5]);
        assert!(generations.read(&first).is_err());
        let fifth = generations.kept().unwrap().pop().unwrap();
        generations.set_last_good(&fifth).unwrap();
        write_whole(&generations.path(&Generation { number: 10, hash: "ab".into() }), b"x", 0o600).unwrap();
        generations.let_go().unwrap();
        assert!(generations.kept().unwrap().contains(&fifth));
    }

    #[test]
    fn what_could_not_be_written_is_kept_late_unless_it_was_withdrawn() {
        let folder = Folder::new().unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        // A folder in the place of the temporary file makes the write fail, for root too.
        let name = Generation { number: 4, hash: shorten(&hash(4)) }.file_name();
        let beside = folder.path().join(format!("generations/.{name}.new/x"));
        fs::create_dir_all(&beside).unwrap();
        generations.keep(4, &hash(4), b"four").unwrap_err();
        generations.clone().keep_late(4).unwrap_err();
        assert_eq!(generations.kept().unwrap(), []);
        fs::remove_dir_all(beside.parent().unwrap()).unwrap();
        generations.keep_late(3).unwrap();
        assert_eq!(generations.kept().unwrap(), []);
        generations.keep_late(4).unwrap();
        assert_eq!(generations.read(&generations.numbered(4).unwrap()).unwrap(), b"four");
    }

    #[test]
    fn a_damaged_last_good_file_leads_to_the_newest_kept() {
        let folder = Folder::new().unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        let only = generations.keep(7, &hash(7), b"seven").unwrap();
        for nonsense in ["", "../../etc/passwd", "0000000008-ab.bundle\n", "\u{0}"] {
            folder.write("last-good", nonsense).unwrap();
            assert_eq!(generations.last_good(), None, "{nonsense:?}");
            assert_eq!(generations.to_try(), std::slice::from_ref(&only));
        }
    }

    #[test]
    fn other_files_in_the_folder_are_passed_over() {
        let folder = Folder::new().unwrap();
        let generations = Generations::open(folder.path()).unwrap();
        for name in
            [".0000000001-ab.bundle.new", "notes.txt", "1-ab.bundle", "0000000000-ab.bundle", "x-y.bundle"]
        {
            folder.write(Path::new("generations").join(name), "x").unwrap();
        }
        assert_eq!(generations.kept().unwrap(), []);
    }
}
