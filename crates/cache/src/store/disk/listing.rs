//! Lists what is on disk, by reading it: for whoever asks what is stored, never on a request's way.

use std::io;
use std::sync::PoisonError;

use super::files::read_up_to;
use super::format::{ENTRY_BYTES, Entry, Record};
use super::opening::read_entries;
use super::{Disk, index_name};
use crate::store::limits::NUMBERS;

/// Where a listing goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCursor {
    segment: u32,
    entry: usize,
}

/// An object on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its key, encoded; see [`crate::store::KeyRef::parse`].
    pub key: Vec<u8>,
    /// The policy's numbers.
    pub numbers: [u64; NUMBERS],
    /// The snapshot it was stored under.
    pub snapshot: u64,
    /// Bytes of its body.
    pub body_bytes: u64,
}

impl Disk {
    /// Lists at most `max` objects from a cursor on, and where to go on. Reads files: to be called on a
    /// thread that may wait. Purged objects whose space is not given back yet are listed.
    ///
    /// # Errors
    ///
    /// Of reading.
    pub fn list(&self, from: DiskCursor, max: usize) -> io::Result<(Vec<Listed>, Option<DiskCursor>)> {
        let mut listed = Vec::new();
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let ids: Vec<u32> = segments.range(from.segment..).map(|(id, _)| *id).collect();
        drop(segments);
        for id in ids {
            let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
            let segment = segments.get(&id).cloned();
            drop(segments);
            // Given back since.
            let Some(segment) = segment else { continue };
            let (entries, _) = read_entries(&*self.files.open(&index_name(id), false)?)?;
            let first = if id == from.segment { from.entry } else { 0 };
            for (number, bytes) in entries.chunks_exact(ENTRY_BYTES).enumerate().skip(first) {
                if listed.len() >= max {
                    return Ok((listed, Some(DiskCursor { segment: id, entry: number })));
                }
                let Some(entry) = Entry::decode(id, bytes) else { continue };
                let place = self.index.find(entry.hash);
                if !place.is_some_and(|place| place.segment == id && place.offset == entry.offset) {
                    continue;
                }
                let file = segment.file(&*self.files)?;
                let record = read_up_to(&*file, u64::from(entry.offset), entry.length as usize)?;
                if let Some(record) = Record::decode(&record, entry.hash, Some(entry.sequence)) {
                    listed.push(Listed {
                        key: record.key.to_vec(),
                        numbers: record.numbers,
                        snapshot: record.snapshot,
                        body_bytes: record.body_bytes as u64,
                    });
                }
            }
        }
        Ok((listed, None))
    }
}
