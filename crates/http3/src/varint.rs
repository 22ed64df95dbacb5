//! Variable-length integers of QUIC (RFC 9000 §16): two bits of length, then 6 to 62 bits of value.

/// Largest value that fits: 2^62 - 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Appends `v` in its shortest form. A value above [`MAX`], which the wire cannot carry, is written as
/// [`MAX`].
pub fn write(out: &mut Vec<u8>, v: u64) {
    debug_assert!(v <= MAX, "the caller gives no more than 62 bits");
    let v = v.min(MAX);
    if v < 1 << 6 {
        out.push(v as u8);
    } else if v < 1 << 14 {
        out.extend_from_slice(&(v as u16 | 0x4000).to_be_bytes());
    } else if v < 1 << 30 {
        out.extend_from_slice(&(v as u32 | 0x8000_0000).to_be_bytes());
    } else {
        out.extend_from_slice(&(v | 0xc000_0000_0000_0000).to_be_bytes());
    }
}

/// Reads one integer from the front of `input` and moves past it. `None`, with `input` untouched, when it is
/// not all there yet. Longer forms than needed are accepted, as RFC 9000 §16 has it.
pub fn read(input: &mut &[u8]) -> Option<u64> {
    let (&first, mut rest) = input.split_first()?;
    let mut value = u64::from(first & 0x3f);
    let more = (1usize << (first >> 6)) - 1;
    if more > 0 {
        let (tail, after) = rest.split_at_checked(more)?;
        for &byte in tail {
            value = value << 8 | u64::from(byte);
        }
        rest = after;
    }
    *input = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 9000, Appendix A.1.
    #[test]
    fn reads_the_examples_of_the_rfc() {
        let examples: [(&[u8], u64); 5] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, value) in examples {
            let mut input = bytes;
            assert_eq!(read(&mut input), Some(value));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn waits_for_the_missing_bytes_without_moving() {
        for bytes in [&[][..], &[0x40], &[0x80, 0, 0], &[0xc0, 0, 0, 0, 0, 0, 0]] {
            let mut input = bytes;
            assert_eq!(read(&mut input), None);
            assert_eq!(input, bytes);
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote_in_the_shortest_form(bits in 0u32..62, low in any::<u64>()) {
            let value = (1u64 << bits) | (low & ((1u64 << bits) - 1));
            let mut out = Vec::new();
            write(&mut out, value);
            let shortest = match value { 0..64 => 1, 64..16384 => 2, 16384..1_073_741_824 => 4, _ => 8 };
            prop_assert_eq!(out.len(), shortest);
            let mut input = &out[..];
            prop_assert_eq!(read(&mut input), Some(value));
            prop_assert!(input.is_empty());
        }
    }
}
