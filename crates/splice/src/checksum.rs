//! CRC-64/XZ: notices every flipped bit and every run of up to 64 wrong ones in a file.
//!
//! Polynomial 0x42F0E1EBA9EA3693 of ECMA-182, reflected, all ones in and out. It guards against torn writes
//! and failing disks, not against a forger: whoever may write the data folder may do worse. Eight bytes at a
//! time ("slicing by 8", Kounavis and Berry 2005), so that the largest table does not hold up the loop.
//! Called by [`crate::table`].

const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

/// `TABLES[n][b]` is the remainder of byte `b` with `n` zero bytes behind it.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ (POLYNOMIAL * (remainder & 1));
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut slice = 1;
    while slice < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

/// The checksum of several pieces as if they were one.
pub(crate) fn checksum(pieces: &[&[u8]]) -> u64 {
    !pieces.iter().fold(!0, |remainder, piece| extend(remainder, piece))
}

fn extend(remainder: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let remainder = words.iter().fold(remainder, |remainder, word| {
        let word = (remainder ^ u64::from_le_bytes(*word)).to_le_bytes();
        // A byte indexes 256 places: in bounds.
        TABLES.iter().rev().zip(word).fold(0, |sum, (table, byte)| sum ^ table[usize::from(byte)])
    });
    rest.iter().fold(remainder, |remainder, byte| {
        (remainder >> 8) ^ TABLES[0][usize::from(remainder.to_le_bytes()[0] ^ byte)]
    })
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
