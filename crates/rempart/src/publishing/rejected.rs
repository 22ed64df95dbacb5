//! The changes that were withdrawn, by the hash of their bundle, so that the same files are not tried again
//! by accident: `<data_dir>/rejected`, one JSON object a line.
//!
//! It decides nothing; a person may publish one again by saying so. Called by [`super::publisher`].

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::files::{read_bounded, write_whole};

/// Changes remembered; the oldest goes first. A tool that writes a new bad file each minute is remembered for
/// an hour.
const REJECTED_MAX: usize = 64;

/// Bytes of the file: that many lines of a hash, a time and a sentence.
const BYTES_MAX: usize = 64 * 4096;

/// Bytes of a reason kept.
const WHY_BYTES_MAX: usize = 1024;

/// One change that was withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rejection {
    /// SHA-256 of its bundle, hex.
    pub(crate) hash: String,
    /// The number it had, or would have had.
    pub(crate) number: u64,
    /// When, in microseconds after 1970.
    pub(crate) unix_us: u64,
    /// Why.
    pub(crate) why: String,
}

/// The memory of one data folder.
#[derive(Debug)]
pub(crate) struct Rejected {
    path: PathBuf,
    entries: Vec<Rejection>,
}

impl Rejected {
    /// Reads it. A file that cannot be read is as if nothing had been rejected: a lost memory must not keep a
    /// change from visitors. Lines that are not understood are passed over.
    pub(crate) fn open(data_dir: &Path) -> Self {
        let path = data_dir.join("rejected");
        let bytes = read_bounded(&path, BYTES_MAX).unwrap_or_default();
        let entries =
            bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        Self { path, entries }
    }

    /// Finds a change by its hash.
    pub(crate) fn find(&self, hash: &str) -> Option<&Rejection> {
        self.entries.iter().find(|entry| entry.hash == hash)
    }

    /// All of them, oldest first.
    pub(crate) fn all(&self) -> &[Rejection] {
        &self.entries
    }

    /// Remembers one.
    ///
    /// # Errors
    /// When the disk is full or not writable; it is then remembered until the process ends.
    pub(crate) fn add(&mut self, mut rejection: Rejection) -> Result<()> {
        let mut end = rejection.why.len().min(WHY_BYTES_MAX);
        while !rejection.why.is_char_boundary(end) {
            end -= 1;
        }
        rejection.why.truncate(end);
        self.entries.retain(|entry| entry.hash != rejection.hash);
        self.entries.push(rejection);
        if self.entries.len() > REJECTED_MAX {
            self.entries.remove(0);
        }
        self.write()
    }

    /// Forgets one, if it is there.
    ///
    /// # Errors
    /// As [`Rejected::add`].
    pub(crate) fn forget(&mut self, hash: &str) -> Result<()> {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.hash != hash);
        if self.entries.len() == before { Ok(()) } else { self.write() }
    }

    fn write(&self) -> Result<()> {
        let mut text = Vec::new();
        for entry in &self.entries {
            serde_json::to_writer(&mut text, entry).context("a rejection can be written as JSON")?;
            text.push(b'\n');
        }
        write_whole(&self.path, &text, 0o600)
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use testkit::folder::Folder;

    use super::*;

    fn rejection(number: u64) -> Rejection {
        Rejection { hash: format!("{number:064x}"), number, unix_us: 1, why: "it crashed".to_owned() }
    }

    #[test]
    fn what_was_rejected_is_known_after_a_restart_until_it_is_forgotten() {
        let folder = Folder::new().unwrap();
        let mut rejected = Rejected::open(folder.path());
        rejected.add(rejection(1)).unwrap();
        rejected.add(rejection(2)).unwrap();
        rejected.add(rejection(1)).unwrap();
        let mut again = Rejected::open(folder.path());
        assert_eq!(again.all(), [rejection(2), rejection(1)]);
        again.forget(&rejection(2).hash).unwrap();
        assert_eq!(Rejected::open(folder.path()).find(&rejection(2).hash), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_a_reason_is_cut_between_characters() {
        let folder = Folder::new().unwrap();
        let mut rejected = Rejected::open(folder.path());
        for number in 0..70 {
            rejected.add(Rejection { why: "é".repeat(2000), ..rejection(number) }).unwrap();
        }
        let again = Rejected::open(folder.path());
        assert_eq!((again.all().len(), again.all()[0].number), (REJECTED_MAX, 6));
        assert_eq!(again.all()[0].why.len(), WHY_BYTES_MAX);
    }

    #[test]
    fn a_damaged_file_is_as_if_nothing_had_been_rejected() {
        let folder = Folder::new().unwrap();
        folder.write("rejected", "{\"hash\":\n\u{0}nonsense\n").unwrap();
        assert_eq!(Rejected::open(folder.path()).all(), []);
    }
}
