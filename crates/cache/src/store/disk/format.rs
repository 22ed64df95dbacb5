//! What the files of the disk tier look like, byte by byte; reading them assumes nothing of what is in them.
//!
//! Pure functions over byte slices, no files. All integers are little endian, all checksums XXH3-64 with a
//! seed that says where and whose they are, so that a whole block in the wrong place is as wrong as a flipped
//! bit. The layout as prose: docs/reference/cache-disk-format.md. Called by `writer.rs`, `opening.rs` and
//! `reader.rs`. Read next: [`Record`].

use twox_hash::XxHash3_64;

use crate::store::key::KeyRef;
use crate::store::limits::{HEAD_BYTES_MAX, KEY_BYTES_MAX, NUMBERS, TAGS_MAX};

/// Version of all of it; a folder of another one is left alone.
pub const VERSION: u32 = 1;

/// Bytes of a body under one checksum.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// Bytes of a superblock's copy.
pub const SUPERBLOCK_BYTES: usize = 64;

/// Where the second copy of the superblock stands: in another page and another sector than the first.
pub const SUPERBLOCK_SECOND: u64 = 4096;

/// Bytes of an index entry.
pub const ENTRY_BYTES: usize = 64;

/// Bytes of a record before its key.
pub const RECORD_HEADER_BYTES: usize = 160;

const SUPERBLOCK_MAGIC: [u8; 8] = *b"REMPCACH";
const RECORD_MAGIC: u32 = 0x4352_4d52;

/// Takes integers from the front of a slice.
pub(crate) struct Parser<'a>(pub(crate) &'a [u8]);

impl<'a> Parser<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

/// A checksum under a seed.
pub(crate) fn check(seed: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(seed, bytes)
}

/// Splits off a checksum at the end and compares it.
fn checked(seed: u64, bytes: &[u8]) -> Option<&[u8]> {
    let (bytes, sum) = bytes.split_last_chunk::<8>()?;
    (check(seed, bytes) == u64::from_le_bytes(*sum)).then_some(bytes)
}

fn seal(seed: u64, bytes: &mut Vec<u8>) {
    let sum = check(seed, bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
}

/// The head of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Tells which seed the hashes were made with.
    pub seed_fingerprint: u64,
    /// Most bytes of a segment.
    pub segment_bytes: u32,
}

/// Why a folder is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SuperblockRefused {
    /// Neither copy is whole.
    Damaged,
    /// Written by a program with another format.
    Version(u32),
}

impl Superblock {
    /// One copy.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SUPERBLOCK_BYTES);
        bytes.extend_from_slice(&SUPERBLOCK_MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.segment_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.seed_fingerprint.to_le_bytes());
        bytes.resize(SUPERBLOCK_BYTES - 8, 0);
        seal(0, &mut bytes);
        bytes
    }

    /// Reads one copy.
    ///
    /// # Errors
    ///
    /// [`SuperblockRefused::Version`] when magic and checksum are right and the version is another: all
    /// versions keep those in their places.
    pub fn decode(bytes: &[u8]) -> Result<Self, SuperblockRefused> {
        let whole = bytes.get(..SUPERBLOCK_BYTES).and_then(|bytes| checked(0, bytes));
        let mut parser = Parser(whole.ok_or(SuperblockRefused::Damaged)?);
        let magic = parser.array::<8>();
        let (Some(version), Some(segment_bytes), Some(seed_fingerprint)) =
            (parser.u32(), parser.u32(), parser.u64())
        else {
            return Err(SuperblockRefused::Damaged);
        };
        if magic != Some(SUPERBLOCK_MAGIC) {
            Err(SuperblockRefused::Damaged)
        } else if version != VERSION {
            Err(SuperblockRefused::Version(version))
        } else {
            Ok(Self { seed_fingerprint, segment_bytes })
        }
    }
}

/// The mark of a zone in an index entry: 56 bits of its id, never zero, which says nobody's. Two zones in
/// 2^28 have one together, and then share what they are promised.
#[must_use]
pub fn zone_mark(zone: u128) -> u64 {
    let folded = zone ^ (zone >> 56) ^ (zone >> 112);
    (folded as u64 & ZONE_MASK).max(1)
}

const ZONE_MASK: u64 = (1 << 56) - 1;

/// One entry of a segment's index: an object is there, or no longer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// False: what was stored under the hash before is given up, and offset, length and zone mean nothing.
    pub is_stored: bool,
    /// Whose it is: [`zone_mark`]; zero for nobody's.
    pub zone: u64,
    /// Where the record begins in the segment.
    pub offset: u32,
    /// Bytes of the record.
    pub length: u32,
    /// Hash of its key.
    pub hash: u128,
    /// Epoch of purges it was born at, as the purge log counts.
    pub born: u64,
    /// Number of the snapshot it was stored under.
    pub snapshot: u64,
    /// Number of the record, never given twice in a folder.
    pub sequence: u64,
}

impl Entry {
    /// The entry in its segment's index.
    #[must_use]
    pub fn encode(&self, segment: u32) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_BYTES);
        let kind = if self.is_stored { 1 } else { 2 };
        bytes.extend_from_slice(&(self.zone << 8 | kind).to_le_bytes());
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.hash.to_le_bytes());
        bytes.extend_from_slice(&self.born.to_le_bytes());
        bytes.extend_from_slice(&self.snapshot.to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        seal(u64::from(segment), &mut bytes);
        bytes
    }

    /// Reads an entry of a segment's index; `None` when it is damaged.
    #[must_use]
    pub fn decode(segment: u32, bytes: &[u8]) -> Option<Self> {
        let mut parser = Parser(checked(u64::from(segment), bytes.get(..ENTRY_BYTES)?)?);
        let first = parser.u64()?;
        let is_stored = match first & 0xff {
            1 => true,
            2 => false,
            _ => return None,
        };
        Some(Self {
            is_stored,
            zone: first >> 8,
            offset: parser.u32()?,
            length: parser.u32()?,
            hash: parser.u128()?,
            born: parser.u64()?,
            snapshot: parser.u64()?,
            sequence: parser.u64()?,
        })
    }
}

/// A stored object: header, key, tags, checksums of blocks, head, checksum of all that; then the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Number of the record, as in its index entry.
    pub sequence: u64,
    /// Hash of the key.
    pub hash: u128,
    /// Epoch of purges, as the log counts.
    pub born: u64,
    /// Number of the snapshot.
    pub snapshot: u64,
    /// The policy's numbers.
    pub numbers: [u64; NUMBERS],
    /// The encoded key.
    pub key: &'a [u8],
    /// The policy's head.
    pub head: &'a [u8],
    /// Hashes of tags, eight bytes each.
    pub tags: &'a [u8],
    /// Bytes before the body.
    pub meta_bytes: usize,
    /// Bytes of the body.
    pub body_bytes: usize,
}

/// What seeds a record's checksums: a record of another key or from another time fails them.
fn record_seed(sequence: u64, hash: u128) -> u64 {
    sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash as u64 ^ (hash >> 64) as u64
}

fn block_seed(record: u64, block: usize) -> u64 {
    record.wrapping_add(1 + block as u64)
}

/// What a record is written from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) sequence: u64,
    pub(crate) hash: u128,
    pub(crate) born: u64,
    pub(crate) snapshot: u64,
    pub(crate) numbers: &'a [u64; NUMBERS],
    pub(crate) key: &'a [u8],
    pub(crate) head: &'a [u8],
    pub(crate) tags: &'a [u64],
}

/// Bytes a record takes.
pub(crate) fn record_bytes(key: usize, head: usize, tags: usize, body: usize) -> usize {
    let meta = RECORD_HEADER_BYTES + key + head + 8 * tags + 8 * body.div_ceil(BLOCK_BYTES) + 8;
    meta + body
}

/// Appends a record; gives its length. `body` in pieces of any size.
pub(crate) fn encode_record<'b>(
    into: &mut Vec<u8>,
    parts: &Parts<'_>,
    body: impl Iterator<Item = &'b [u8]> + Clone,
) -> usize {
    let start = into.len();
    let body_bytes: usize = body.clone().map(<[u8]>::len).sum();
    let seed = record_seed(parts.sequence, parts.hash);
    into.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
    into.extend_from_slice(&VERSION.to_le_bytes());
    into.extend_from_slice(&(parts.key.len() as u32).to_le_bytes());
    into.extend_from_slice(&(parts.head.len() as u32).to_le_bytes());
    into.extend_from_slice(&(parts.tags.len() as u32).to_le_bytes());
    into.extend_from_slice(&0_u32.to_le_bytes());
    into.extend_from_slice(&(body_bytes as u64).to_le_bytes());
    into.extend_from_slice(&parts.sequence.to_le_bytes());
    into.extend_from_slice(&parts.hash.to_le_bytes());
    into.extend_from_slice(&parts.born.to_le_bytes());
    into.extend_from_slice(&parts.snapshot.to_le_bytes());
    for number in parts.numbers {
        into.extend_from_slice(&number.to_le_bytes());
    }
    into.resize(start + RECORD_HEADER_BYTES - 8, 0);
    let sum = check(seed, into.get(start..).unwrap_or_default());
    into.extend_from_slice(&sum.to_le_bytes());
    into.extend_from_slice(parts.key);
    for tag in parts.tags {
        into.extend_from_slice(&tag.to_le_bytes());
    }
    let sums = into.len();
    into.resize(sums + 8 * body_bytes.div_ceil(BLOCK_BYTES), 0);
    into.extend_from_slice(parts.head);
    let meta_sum = into.len();
    into.extend_from_slice(&[0; 8]);
    let body_start = into.len();
    for piece in body {
        into.extend_from_slice(piece);
    }
    // The body first, since its checksums are part of what the last one covers.
    let (meta, body) = into.split_at_mut(body_start);
    let places = meta.get_mut(sums..meta_sum).unwrap_or_default().chunks_exact_mut(8);
    for (number, (block, place)) in body.chunks(BLOCK_BYTES).zip(places).enumerate() {
        place.copy_from_slice(&check(block_seed(seed, number), block).to_le_bytes());
    }
    let sum = check(!seed, meta.get(start + RECORD_HEADER_BYTES..meta_sum).unwrap_or_default());
    if let Some(place) = meta.get_mut(meta_sum..) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    into.len() - start
}

impl<'a> Record<'a> {
    /// Reads a record that must be whole, of this hash and number, with every checksum right; `None`
    /// otherwise.
    #[must_use]
    pub fn decode(bytes: &'a [u8], hash: u128, sequence: Option<u64>) -> Option<Self> {
        let record = Self::decode_meta(bytes)?;
        if record.hash != hash || sequence.is_some_and(|sequence| sequence != record.sequence) {
            return None;
        }
        let seed = record_seed(record.sequence, record.hash);
        let body = bytes.get(record.meta_bytes..)?;
        if body.len() != record.body_bytes {
            return None;
        }
        let sums_start = RECORD_HEADER_BYTES + record.key.len() + record.tags.len();
        let mut sums = bytes.get(sums_start..record.meta_bytes)?.chunks_exact(8);
        for (number, block) in body.chunks(BLOCK_BYTES).enumerate() {
            if sums.next()? != check(block_seed(seed, number), block).to_le_bytes() {
                return None;
            }
        }
        Some(record)
    }

    /// Reads all but the body, which need not be there; `None` when any of it is damaged.
    #[must_use]
    pub fn decode_meta(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(RECORD_HEADER_BYTES)?;
        let mut parser = Parser(header);
        let (magic, version) = (parser.u32()?, parser.u32()?);
        if magic != RECORD_MAGIC || version != VERSION {
            return None;
        }
        let (key, head, tags) = (parser.u32()? as usize, parser.u32()? as usize, parser.u32()? as usize);
        let _reserved = parser.u32()?;
        let body_bytes = usize::try_from(parser.u64()?).ok()?;
        let (sequence, hash) = (parser.u64()?, parser.u128()?);
        let seed = record_seed(sequence, hash);
        checked(seed, header)?;
        if key > KEY_BYTES_MAX || head > HEAD_BYTES_MAX || tags > TAGS_MAX || body_bytes > u32::MAX as usize {
            return None;
        }
        let (born, snapshot) = (parser.u64()?, parser.u64()?);
        let mut numbers = [0; NUMBERS];
        for number in &mut numbers {
            *number = parser.u64()?;
        }
        let meta_bytes = key + 8 * tags + 8 * body_bytes.div_ceil(BLOCK_BYTES) + head + 8;
        checked(!seed, rest.get(..meta_bytes)?)?;
        let mut take = |count: usize| {
            let (taken, after) = rest.split_at_checked(count)?;
            rest = after;
            Some(taken)
        };
        let (key, tags) = (take(key)?, take(8 * tags)?);
        let (_sums, head) = (take(8 * body_bytes.div_ceil(BLOCK_BYTES))?, take(head)?);
        let meta_bytes = RECORD_HEADER_BYTES + meta_bytes;
        Some(Self { sequence, hash, born, snapshot, numbers, key, head, tags, meta_bytes, body_bytes })
    }

    /// The key in its parts.
    #[must_use]
    pub fn key(&self) -> Option<KeyRef<'a>> {
        KeyRef::parse(self.key)
    }

    pub(crate) fn tag_hashes(&self) -> impl Iterator<Item = u64> + 'a {
        self.tags.chunks_exact(8).map(|tag| tag.try_into().map_or(0, u64::from_le_bytes))
    }
}

#[cfg(test)]
mod tests;
