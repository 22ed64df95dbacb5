//! Tests of the disk format: what is written is read, and anything else is refused.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct Given {
    sequence: u64,
    hash: u128,
    numbers: [u64; NUMBERS],
    key: Vec<u8>,
    head: Vec<u8>,
    tags: Vec<u64>,
    body: Vec<u8>,
}

impl Given {
    fn encode(&self, piece_bytes: usize) -> Vec<u8> {
        let parts = Parts {
            sequence: self.sequence,
            hash: self.hash,
            born: 3,
            snapshot: 4,
            numbers: &self.numbers,
            key: &self.key,
            head: &self.head,
            tags: &self.tags,
        };
        let mut bytes = Vec::new();
        let length = encode_record(&mut bytes, &parts, self.body.chunks(piece_bytes));
        assert_eq!(length, bytes.len());
        let stated = record_bytes(self.key.len(), self.head.len(), self.tags.len(), self.body.len());
        assert_eq!(length, stated);
        bytes
    }
}

fn given() -> impl Strategy<Value = Given> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let tags = prop::collection::vec(any::<u64>(), 0..5);
    let body = prop_oneof![bytes(100), (1_usize..200_000).prop_map(|length| vec![7; length])];
    (any::<u64>(), any::<u128>(), any::<[u64; NUMBERS]>(), bytes(40), bytes(200), tags, body).prop_map(
        |(sequence, hash, numbers, key, head, tags, body)| Given {
            sequence,
            hash,
            numbers,
            key,
            head,
            tags,
            body,
        },
    )
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(given in given(), piece_bytes in 1_usize..100_000) {
        let bytes = given.encode(piece_bytes);
        let record = Record::decode(&bytes, given.hash, Some(given.sequence)).expect("whole");
        prop_assert_eq!(record.key, &given.key);
        prop_assert_eq!(record.head, &given.head);
        prop_assert_eq!(record.tag_hashes().collect::<Vec<_>>(), given.tags);
        prop_assert_eq!(&bytes[record.meta_bytes..], &given.body);
        prop_assert_eq!((record.born, record.snapshot, record.numbers), (3, 4, given.numbers));
    }

    #[test]
    fn a_record_with_any_bit_flipped_is_none(
        given in given(),
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let mut bytes = given.encode(1_000);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert_eq!(Record::decode(&bytes, given.hash, Some(given.sequence)), None, "byte {}", at);
    }

    #[test]
    fn a_record_cut_short_or_continued_is_none(given in given(), at in any::<prop::sample::Index>()) {
        let mut bytes = given.encode(1_000);
        let cut = at.index(bytes.len());
        prop_assert_eq!(Record::decode(&bytes[..cut], given.hash, None), None);
        bytes.push(0);
        prop_assert_eq!(Record::decode(&bytes, given.hash, None), None);
    }

    #[test]
    fn a_record_of_another_key_or_number_is_none(given in given()) {
        let bytes = given.encode(1_000);
        prop_assert_eq!(Record::decode(&bytes, given.hash ^ 1, None), None);
        prop_assert_eq!(Record::decode(&bytes, given.hash, Some(given.sequence ^ 1)), None);
    }

    #[test]
    fn an_entry_is_read_as_it_was_written_and_only_in_its_segment(
        (is_stored, zone, offset, length, hash) in any::<(bool, u128, u32, u32, u128)>(),
        (born, snapshot, sequence, segment) in any::<(u64, u64, u64, u32)>(),
        bit in 0..ENTRY_BYTES * 8,
    ) {
        let zone = zone_mark(zone);
        let entry = Entry { is_stored, zone, offset, length, hash, born, snapshot, sequence };
        let mut bytes = entry.encode(segment);
        prop_assert_eq!(bytes.len(), ENTRY_BYTES);
        prop_assert_eq!(Entry::decode(segment, &bytes), Some(entry));
        prop_assert_eq!(Entry::decode(segment ^ 1, &bytes), None);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Entry::decode(segment, &bytes), None);
    }

    #[test]
    fn no_bytes_make_reading_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        hash in any::<u128>(),
    ) {
        prop_assert!(Superblock::decode(&bytes).is_err());
        prop_assert_eq!(Entry::decode(1, &bytes), None);
        prop_assert_eq!(Record::decode(&bytes, hash, None), None);
    }
}

#[test]
fn lengths_that_lie_under_a_right_checksum_are_refused() {
    let body = vec![1; 10];
    let given =
        Given { sequence: 1, hash: 2, numbers: [0; NUMBERS], key: vec![], head: vec![], tags: vec![], body };
    // Key, head and tags counts, and the body's length.
    for (at, width) in [(8, 4), (12, 4), (16, 4), (24, 8)] {
        for value in [1, 9, 1 << 20, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = given.encode(10);
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            let sum = check(record_seed(1, 2), &bytes[..RECORD_HEADER_BYTES - 8]);
            bytes[RECORD_HEADER_BYTES - 8..RECORD_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(Record::decode(&bytes, 2, Some(1)), None, "{value} at {at}");
        }
    }
}

#[test]
fn a_superblock_of_another_version_says_which() {
    let superblock = Superblock { seed_fingerprint: 5, segment_bytes: 6 };
    let mut bytes = superblock.encode();
    assert_eq!(Superblock::decode(&bytes), Ok(superblock));
    assert_eq!(Superblock::decode(&bytes[1..]), Err(SuperblockRefused::Damaged));
    bytes[8] = 2;
    assert_eq!(Superblock::decode(&bytes), Err(SuperblockRefused::Damaged));
    let sum = check(0, &bytes[..SUPERBLOCK_BYTES - 8]);
    bytes[SUPERBLOCK_BYTES - 8..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(Superblock::decode(&bytes), Err(SuperblockRefused::Version(2)));
}
