//! Prefixed integers of HPACK and QPACK (RFC 7541 §5.1, RFC 9204 §4.1.1).

/// Largest value accepted: 2^62 - 1, what RFC 9204 §4.1.1 asks a decoder to be able to take.
pub(crate) const MAX: u64 = (1 << 62) - 1;

/// Continuation bytes accepted: nine carry 63 bits, and no sensible encoder pads.
const CONTINUATION_BYTES_MAX: u32 = 9;

/// Reads an integer whose prefix is the low `bits` (1 to 8) of the first byte of `input`, and moves past it.
/// `None` when it is cut short, above [`MAX`] or padded beyond measure; a section is complete when it is
/// decoded, so the three mean the same: broken.
#[inline]
pub(crate) fn read(input: &mut &[u8], bits: u32) -> Option<u64> {
    let (&first, rest) = input.split_first()?;
    *input = rest;
    let mask = (1u64 << bits) - 1;
    let prefix = u64::from(first) & mask;
    if prefix < mask { Some(prefix) } else { read_on(input, mask) }
}

/// Reads the continuation of an integer whose prefix was all ones.
fn read_on(input: &mut &[u8], prefix: u64) -> Option<u64> {
    let mut value = prefix;
    for index in 0..CONTINUATION_BYTES_MAX {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        // At most 127 << 56 plus what was there: no overflow of 64 bits.
        value += u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return (value <= MAX).then_some(value);
        }
    }
    None
}

/// Appends `value` with a prefix of `bits` (1 to 8) under the flags in `first`, whose low `bits` are zero.
#[inline]
pub(crate) fn write(out: &mut Vec<u8>, first: u8, bits: u32, value: u64) {
    let mask = (1u64 << bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut left = value - mask;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The examples of RFC 7541, Appendix C.1.
    #[test]
    fn agrees_with_the_examples_of_the_rfc() {
        for (value, bits, bytes) in
            [(10, 5, &[0x0a][..]), (1337, 5, &[0x1f, 0x9a, 0x0a]), (42, 8, &[0x2a]), (255, 8, &[0xff, 0])]
        {
            let mut out = Vec::new();
            write(&mut out, 0, bits, value);
            assert_eq!(out, bytes);
            assert_eq!(read(&mut &out[..], bits), Some(value));
        }
    }

    #[test]
    fn refuses_integers_that_are_cut_padded_or_too_large() {
        assert_eq!(read(&mut &[][..], 5), None);
        assert_eq!(read(&mut &[0x1f][..], 5), None);
        assert_eq!(read(&mut &[0x1f, 0x80][..], 5), None);
        let mut padded = vec![0x1f];
        padded.extend([0x80; 9]);
        padded.push(0);
        assert_eq!(read(&mut &padded[..], 5), None);
        let mut huge = vec![0xff];
        huge.extend([0xff; 8]);
        huge.push(0x7f);
        assert_eq!(read(&mut &huge[..], 8), None);
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(value in 0..=MAX, bits in 1u32..=8, after in any::<u8>()) {
            let mut out = Vec::new();
            write(&mut out, 0, bits, value);
            out.push(after);
            let mut input = &out[..];
            prop_assert_eq!(read(&mut input, bits), Some(value));
            prop_assert_eq!(input, &[after][..]);
        }

        #[test]
        fn never_panics_on_any_bytes(bytes: Vec<u8>, bits in 1u32..=8) {
            let _ = read(&mut &bytes[..], bits);
        }
    }
}
