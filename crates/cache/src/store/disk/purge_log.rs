//! The log of purges on disk: so that a restart brings back nothing that was purged.
//!
//! Append-only frames, each with its length's own checksum, so that a frame cut short by a crash (never
//! confirmed to anybody) is told from one that is damaged. After damage nobody knows what was purged:
//! everything on disk is given up then. Written anew from the tables in memory when it has grown. Pure
//! functions over byte slices. Called by `opening.rs` and `writer.rs`.

use super::format::{Parser, VERSION, check};
use crate::store::limits::PREFIX_BYTES_MAX;
use crate::store::purge::{Entry, Strength, What};

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 24;

const MAGIC: [u8; 8] = *b"REMPPURG";

/// Bytes of a frame around its payload: length, its checksum, the payload's checksum.
const FRAME_BYTES: usize = 4 + 4 + 8;

/// Longest payload: a prefix of a host and a target.
const PAYLOAD_BYTES_MAX: usize = 64 + PREFIX_BYTES_MAX;

/// A log as read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) entries: Vec<Entry>,
    /// The highest number of the numbered log that is in it.
    pub(crate) number: u64,
    /// Bytes that are whole; what follows was cut short.
    pub(crate) bytes: usize,
}

/// What is wrong with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Damaged;

pub(crate) fn header() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes.extend_from_slice(&check(0, &bytes).to_le_bytes());
    bytes
}

/// Appends a frame that will stand at `offset` of the file.
pub(crate) fn encode(into: &mut Vec<u8>, offset: u64, entry: &Entry, number: u64) {
    let mut payload = Vec::with_capacity(64);
    let kind = match &entry.what {
        What::Hash(_) => 1,
        What::Prefix { .. } => 2,
        What::Zone(_) => 3,
        What::Everything => 4,
        What::Withdrawn(_) => 5,
        What::Slot { .. } => 6,
        What::Mark => 7,
        What::Changed { .. } => 8,
    };
    let strength = match entry.strength {
        Strength::Soft => 1,
        Strength::Hard => 2,
    };
    payload.extend_from_slice(&[kind, strength]);
    payload.extend_from_slice(&entry.epoch.to_le_bytes());
    payload.extend_from_slice(&number.to_le_bytes());
    match &entry.what {
        What::Hash(value) | What::Withdrawn(value) => payload.extend_from_slice(&value.to_le_bytes()),
        What::Prefix { zone, start } => {
            payload.extend_from_slice(&zone.to_le_bytes());
            payload.extend_from_slice(start);
        }
        What::Zone(zone) => payload.extend_from_slice(&zone.to_le_bytes()),
        What::Changed { zone, url } => {
            payload.extend_from_slice(&zone.to_le_bytes());
            payload.extend_from_slice(&url.to_le_bytes());
        }
        What::Slot { place, of } => {
            payload.extend_from_slice(&place.to_le_bytes());
            payload.extend_from_slice(&of.to_le_bytes());
        }
        What::Everything | What::Mark => {}
    }
    let length = (payload.len() as u32).to_le_bytes();
    into.extend_from_slice(&length);
    into.extend_from_slice(&(check(offset, &length) as u32).to_le_bytes());
    into.extend_from_slice(&payload);
    into.extend_from_slice(&check(offset, &payload).to_le_bytes());
}

/// Reads a whole log.
///
/// # Errors
///
/// [`Damaged`] when any byte of it is not what was written. A last frame that the file ends in the middle of
/// is no damage.
pub(crate) fn decode(bytes: &[u8]) -> Result<Log, Damaged> {
    if bytes.get(..HEADER_BYTES) != Some(&header()[..]) {
        return Err(Damaged);
    }
    let mut log = Log { bytes: HEADER_BYTES, ..Log::default() };
    while let Some(rest) = bytes.get(log.bytes..).filter(|rest| !rest.is_empty()) {
        let offset = log.bytes as u64;
        let Some((head, rest)) = rest.split_first_chunk::<8>() else { break };
        let [l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        let length = [l0, l1, l2, l3];
        if check(offset, &length) as u32 != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(Damaged);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(Damaged);
        }
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let Some(sum) = rest.first_chunk::<8>() else { break };
        if check(offset, payload) != u64::from_le_bytes(*sum) {
            return Err(Damaged);
        }
        let (entry, number) = entry_of(payload).ok_or(Damaged)?;
        log.entries.push(entry);
        log.number = log.number.max(number);
        log.bytes += FRAME_BYTES + length;
    }
    Ok(log)
}

fn entry_of(payload: &[u8]) -> Option<(Entry, u64)> {
    let mut parser = Parser(payload);
    let kind = parser.u8()?;
    let strength = match parser.u8()? {
        1 => Strength::Soft,
        2 => Strength::Hard,
        _ => return None,
    };
    let (epoch, number) = (parser.u64()?, parser.u64()?);
    let what = match kind {
        1 => What::Hash(parser.u64()?),
        2 => What::Prefix { zone: parser.u128()?, start: std::mem::take(&mut parser.0).into() },
        3 => What::Zone(parser.u128()?),
        4 => What::Everything,
        5 => What::Withdrawn(parser.u64()?),
        6 => What::Slot { place: parser.u32()?, of: parser.u32()? },
        7 => What::Mark,
        8 => What::Changed { zone: parser.u128()?, url: parser.u64()? },
        _ => return None,
    };
    parser.0.is_empty().then_some((Entry { epoch, strength, what }, number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn what() -> impl Strategy<Value = What> {
        prop_oneof![
            any::<u64>().prop_map(What::Hash),
            (any::<u128>(), prop::collection::vec(any::<u8>(), 0..100))
                .prop_map(|(zone, start)| What::Prefix { zone, start: start.into() }),
            any::<u128>().prop_map(What::Zone),
            Just(What::Everything),
            Just(What::Mark),
            any::<u64>().prop_map(What::Withdrawn),
            (any::<u128>(), any::<u64>()).prop_map(|(zone, url)| What::Changed { zone, url }),
            (any::<u32>(), any::<u32>()).prop_map(|(place, of)| What::Slot { place, of }),
        ]
    }

    fn entries() -> impl Strategy<Value = Vec<(Entry, u64)>> {
        let strength = prop_oneof![Just(Strength::Soft), Just(Strength::Hard)];
        let entry = (any::<u64>(), strength, what(), any::<u64>())
            .prop_map(|(epoch, strength, what, number)| (Entry { epoch, strength, what }, number));
        prop::collection::vec(entry, 1..8)
    }

    fn written(entries: &[(Entry, u64)]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = header();
        let mut ends = vec![bytes.len()];
        for (entry, number) in entries {
            let offset = bytes.len() as u64;
            encode(&mut bytes, offset, entry, *number);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in entries()) {
            let (bytes, _) = written(&entries);
            let log = decode(&bytes).expect("a whole log");
            prop_assert_eq!(log.number, entries.iter().map(|(_, number)| *number).max().unwrap_or(0));
            prop_assert_eq!(log.entries, entries.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>());
            prop_assert_eq!(log.bytes, bytes.len());
        }

        #[test]
        fn a_log_cut_short_gives_the_frames_before_the_cut(
            entries in entries(),
            at in any::<prop::sample::Index>(),
        ) {
            let (bytes, ends) = written(&entries);
            let cut = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES + 1);
            let log = decode(&bytes[..cut]).expect("cut short is not damaged");
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            prop_assert_eq!(log.entries.len(), whole);
            prop_assert_eq!(log.bytes, ends[whole]);
        }

        #[test]
        fn any_flipped_bit_is_damage(entries in entries(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let (mut bytes, _) = written(&entries);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(decode(&bytes), Err(Damaged));
        }
    }
}
