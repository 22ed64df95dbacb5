//! Gives space back: a segment at a time, and what of it is worth keeping is written again.
//!
//! The oldest segment goes first. What of it a zone holds by its promise (`shares.rs`), and what was read
//! since it was written, is written again; a segment that is nearly all promised is passed over. Beyond that,
//! first in first out: on disk it loses little to cleverer orders and writes everything once. Part of the
//! writer, on its thread. Read next: [`Writer::reclaim_next`].

use std::io;
use std::sync::{Arc, PoisonError};

use super::files::{StoredFile, read_up_to};
use super::format::{ENTRY_BYTES, Entry, Parts, Record};
use super::index::Place;
use super::opening::read_entries;
use super::shares::ZoneNumber;
use super::under_way::Way;
use super::writer::{Current, Sizes, Writer};
use super::{Segment, data_name, index_name};

/// Segments at most, whatever their size: each is a descriptor.
const SEGMENTS_MAX: usize = 4096;

/// What of a new segment may be written again out of those that went for it. A quarter is for new objects
/// whatever is promised, so that the disk always turns.
#[derive(Debug, Default)]
pub(super) struct Room {
    all: usize,
    /// For what was only read since it was written, promised or not.
    read: usize,
}

impl Room {
    fn of(segment_bytes: u64) -> Self {
        let quarter = segment_bytes as usize / 4;
        Self { all: 3 * quarter, read: quarter }
    }

    fn has(&self, bytes: usize, is_promised: bool) -> bool {
        bytes <= self.all && (is_promised || bytes <= self.read)
    }

    fn take(&mut self, bytes: usize, is_promised: bool) {
        self.all -= bytes.min(self.all);
        if !is_promised {
            self.read -= bytes.min(self.read);
        }
    }
}

/// A record of a segment that goes, to be written again.
pub(super) struct Kept {
    hash: u128,
    way: Way,
    record: Vec<u8>,
}

impl Writer {
    /// Begins the next segment, after giving back the space it may take.
    pub(super) fn roll(&mut self) -> bool {
        let segment_bytes = u64::from(self.disk.settings.segment_bytes);
        self.current = None;
        let (mut kept, mut room) = (Vec::new(), Room::of(segment_bytes));
        while !self.sizes.is_empty()
            && (self.disk.bytes() + segment_bytes > self.disk.settings.bytes_max
                || self.sizes.len() >= SEGMENTS_MAX)
        {
            let Some(worth_it) = self.reclaim_next(&mut room) else {
                self.drop_kept(&kept);
                return false;
            };
            kept.extend(worth_it);
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

    /// Puts a record of a segment that went into the new one, which has room for it ([`Room`]).
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

    /// The segment whose space is due: the oldest of which no more is promised than there is room for, three
    /// quarters of a segment to begin with. Since half of the disk is promised at most, there is one as a
    /// rule; what a segment that is passed over has beyond its promised part lies idle meanwhile, a quarter
    /// of it at most.
    fn due(&self, room: &Room) -> Option<u32> {
        let shares = self.disk.index.shares();
        let mut oldest = self.sizes.keys().copied();
        let due = oldest.find(|segment| shares.promised_bytes(*segment) <= room.all as u64);
        due.or_else(|| self.sizes.keys().next().copied())
    }

    /// Removes the segment that is due; gives the records in it that are to be written again, as far as there
    /// is room: those of zones that hold no more than they are promised, then those that were read since they
    /// were written, or are in memory. `None` when it cannot be removed: then its space counts on, and it is
    /// tried again.
    pub(super) fn reclaim_next(&mut self, room: &mut Room) -> Option<Vec<Kept>> {
        // What visitors find in memory they do not look for on disk.
        self.disk.index.shares().note_all_asked(&self.store.zones_in_memory());
        let segment = self.due(room)?;
        let files = Arc::clone(&self.disk.files);
        let entries = files.open(&index_name(segment), false).and_then(|file| read_entries(&*file));
        let data = files.open(&data_name(segment), false).ok();
        let mut kept = Vec::new();
        for is_first in [true, false] {
            for entry in entries.iter().flat_map(|(entries, _)| entries.chunks_exact(ENTRY_BYTES)) {
                self.disk.pulse.step();
                let Some(entry) = Entry::decode(segment, entry).filter(|entry| entry.is_stored) else {
                    continue;
                };
                let Some(zone) = self.zone_at(segment, &entry) else { continue };
                let was_asked_for = self.was_asked_for(entry.hash);
                let is_promised = is_first && self.is_promised(zone, was_asked_for);
                let is_wanted = if is_first { is_promised } else { was_asked_for };
                if is_wanted
                    && room.has(entry.length as usize, is_promised)
                    && let Some(data) = &data
                    && let Some(record) = self.take_out(segment, &**data, &entry)
                {
                    room.take(record.record.len(), is_promised);
                    kept.push(record);
                    continue;
                }
                // At once, so that a zone that holds a little more than it is promised loses that little.
                let is_over = !is_first || !is_promised && !was_asked_for;
                if is_over && self.disk.index.remove_at(entry.hash, segment, entry.offset) {
                    self.store.note_off_disk(entry.hash);
                }
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

    /// Whose a record is, if it is still found where an entry says.
    fn zone_at(&self, segment: u32, entry: &Entry) -> Option<ZoneNumber> {
        let is_here = |place: &Place| place.segment == segment && place.offset == entry.offset;
        Some(self.disk.index.find(entry.hash).filter(is_here)?.zone)
    }

    fn was_asked_for(&self, hash: u128) -> bool {
        self.disk.index.was_read(hash) || self.store.is_in_memory(hash)
    }

    /// Whether a zone's promise keeps what it has; a sign of a visitor counts first.
    fn is_promised(&self, zone: ZoneNumber, was_asked_for: bool) -> bool {
        let shares = self.disk.index.shares();
        if was_asked_for {
            shares.note_asked(zone);
        }
        shares.protects(zone)
    }

    /// Takes a record out of a segment that goes, if it is whole.
    fn take_out(&self, segment: u32, data: &dyn StoredFile, entry: &Entry) -> Option<Kept> {
        let record = read_up_to(data, u64::from(entry.offset), entry.length as usize).ok()?;
        Record::decode(&record, entry.hash, Some(entry.sequence))?;
        let way = self.disk.under_way.begin_if_none(entry.hash)?;
        // Who gives it up meanwhile finds it in the index or on its way.
        if self.disk.index.remove_at(entry.hash, segment, entry.offset) {
            return Some(Kept { hash: entry.hash, way, record });
        }
        self.disk.under_way.end(entry.hash, way);
        None
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
}
