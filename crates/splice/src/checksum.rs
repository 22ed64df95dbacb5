//! CRC-64/XZ: notices every flipped bit and every run of up to 64 wrong ones in a file.
//!
//! Polynomial 0x42F0E1EBA9EA3693 of ECMA-182, reflected, all ones in and out. It guards against torn writes
//! and failing disks, not against a forger: whoever may write the data folder may do worse. A byte at a time:
//! a table of 10,000 names is read in a millisecond, once. Called by [`crate::table`].

const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// The remainder of each byte.
static TABLE: [u64; 256] = table();

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (POLYNOMIAL * (remainder & 1));
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// The checksum of several pieces as if they were one.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u64 {
    let extend = |remainder: u64, byte: &u8| {
        // A byte indexes 256 places: in bounds.
        (remainder >> 8) ^ TABLE[usize::from(remainder.to_le_bytes()[0] ^ byte)]
    };
    !pieces.iter().copied().flatten().fold(!0, extend)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, bit by bit.
    fn by_bits(bytes: &[u8]) -> u64 {
        let mut remainder = !0_u64;
        for byte in bytes {
            remainder ^= u64::from(*byte);
            for _ in 0..8 {
                remainder = (remainder >> 1) ^ (POLYNOMIAL * (remainder & 1));
            }
        }
        !remainder
    }

    #[test]
    fn has_the_check_value_of_the_catalogue() {
        assert_eq!(checksum(&[b"123456789"]), 0x995D_C9BB_DF19_39FA);
    }

    proptest! {
        #[test]
        fn is_the_same_in_pieces_and_by_bits(bytes: Vec<u8>, cut: prop::sample::Index) {
            let (one, two) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(checksum(&[one, two]), by_bits(&bytes));
        }
    }
}
