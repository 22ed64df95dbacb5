//! Huffman decoding of strings (RFC 7541 §5.2, RFC 9204 §4.1.2).
//!
//! One look-up of twelve bits gives one or two symbols, since most of what heads hold has codes of five to
//! seven bits; longer codes (controls, non-ASCII) are found by their length, the code being canonical. The
//! tables are built at compile time from [`code`]. We do not encode with Huffman: the tests have an encoder.
#![allow(
    clippy::indexing_slicing,
    reason = "built at compile time, and a window of 12 bits indexes a table of 4096"
)]

mod code;

use code::{CODE, EOS, SYMBOLS};

/// Bits of one look-up. Twelve hold two common symbols and make a table of 16 KiB, of which a head touches
/// a small part.
const WINDOW: u32 = 12;

/// Length of the longest code.
const LONGEST: u32 = 30;

/// What a window of bits starts with: bits used by all its symbols in bits 0–7, where a shift finds them, the
/// symbols in 8–15 and 16–23, their number (1 or 2) in 24–27, bits used by the first in 28–31. Zero: a code
/// longer than the window.
type Entry = u32;

const fn entry(first: u8, first_bits: u32, second: u8, all_bits: u32, symbols: u32) -> Entry {
    all_bits | (first as u32) << 8 | (second as u32) << 16 | symbols << 24 | first_bits << 28
}

/// Fills the look-up table: first each window's leading symbol, then a second one where it fits whole.
const fn windows() -> [Entry; 1 << WINDOW] {
    let mut table = [0; 1 << WINDOW];
    let mut symbol = 0;
    while symbol < EOS {
        let (code, bits) = (CODE[symbol].0, CODE[symbol].1 as u32);
        if bits <= WINDOW {
            let free = WINDOW - bits;
            let mut tail = 0;
            while tail < 1 << free {
                table[((code << free) | tail) as usize] = entry(symbol as u8, bits, 0, bits, 1);
                tail += 1;
            }
        }
        symbol += 1;
    }
    let singles = table;
    let mut window = 0;
    while window < 1 << WINDOW {
        let first = singles[window];
        let first_bits = first >> 28;
        if first != 0 {
            let second = singles[(window << first_bits) & ((1 << WINDOW) - 1)];
            let second_bits = second >> 28;
            if second != 0 && first_bits + second_bits <= WINDOW {
                let (one, two) = ((first >> 8) as u8, (second >> 8) as u8);
                table[window] = entry(one, first_bits, two, first_bits + second_bits, 2);
            }
        }
        window += 1;
    }
    table
}

/// The canonical code by length: the first code of the length, how many there are, and where their symbols
/// start in [`BY_LENGTH`].
#[derive(Clone, Copy)]
struct Length {
    first_code: u32,
    count: u32,
    start: u32,
}

const fn lengths() -> ([Length; LONGEST as usize + 1], [u16; SYMBOLS]) {
    let mut lengths = [Length { first_code: 0, count: 0, start: 0 }; LONGEST as usize + 1];
    let mut sorted = [0u16; SYMBOLS];
    let mut placed = 0;
    let mut bits = 1;
    while bits <= LONGEST as usize {
        lengths[bits].start = placed as u32;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if CODE[symbol].1 as usize == bits {
                if lengths[bits].count == 0 {
                    lengths[bits].first_code = CODE[symbol].0;
                }
                // What makes the search by length right; a table that is not canonical does not compile.
                assert!(CODE[symbol].0 == lengths[bits].first_code + lengths[bits].count);
                lengths[bits].count += 1;
                sorted[placed] = symbol as u16;
                placed += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    (lengths, sorted)
}

static WINDOWS: [Entry; 1 << WINDOW] = windows();
const CANONICAL: ([Length; LONGEST as usize + 1], [u16; SYMBOLS]) = lengths();
static LENGTHS: [Length; LONGEST as usize + 1] = CANONICAL.0;
static BY_LENGTH: [u16; SYMBOLS] = CANONICAL.1;

/// Decodes `encoded` into the front of `out`, which grows as needed and never shrinks, and says how many
/// bytes it wrote: at most 8/5 of what it read. `None` when the string holds EOS, or ends in a part of a
/// symbol other than up to seven one bits (RFC 7541 §5.2).
pub(crate) fn decode(encoded: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    // The shortest code has five bits; beyond that, room to store eight symbols wherever we stand.
    let room = encoded.len() * 8 / 5 + 8;
    if out.len() < room {
        out.resize(room, 0);
    }
    let out = out.get_mut(..room)?;
    let mut from = Bits { bits: 0, held: 0, input: encoded };
    let mut written = 0;
    loop {
        written = decode_fours(&mut from, out, written)?;
        if from.input.len() < 8 {
            break;
        }
        written = decode_long(&mut from, out, written)?;
    }
    // The rest, with ones behind it: no window that starts in those has an entry, so they end the fours.
    let mut rest = [0xff; TAIL];
    rest.get_mut(..from.input.len())?.copy_from_slice(from.input);
    let added = 8 * (TAIL - from.input.len());
    from.input = &rest;
    loop {
        written = decode_fours(&mut from, out, written)?;
        // A symbol that took of the ones behind would have left padding that is not all ones.
        let left = (from.held as usize + 8 * from.input.len()).checked_sub(added)?;
        if left < 8 && is_padding(from.bits, left as u32) {
            return Some(written);
        }
        written = decode_long(&mut from, out, written)?;
    }
}

/// Length of the rest with the ones behind it: at most seven bytes of the string, then more than the sixteen
/// that may lie in [`Bits::bits`] or stay unread when [`decode_fours`] stops for want of input. With less,
/// symbols would be left to the slow path.
const TAIL: usize = 24;

/// Decodes one symbol of any length.
#[cold]
fn decode_long(from: &mut Bits<'_>, out: &mut [u8], written: usize) -> Option<usize> {
    from.refill_by_bytes();
    let (symbol, used) = long_symbol(from.bits, from.held)?;
    *out.get_mut(written)? = symbol;
    from.bits <<= used;
    from.held -= used;
    Some(written + 1)
}

/// The bits to come: those held, left-aligned, then `input`. Below those held are zeros or the first of
/// `input`.
struct Bits<'a> {
    bits: u64,
    held: u32,
    input: &'a [u8],
}

/// Decodes four windows at a time, as long as eight bytes of input are left and no long code turns up,
/// and says how much is written then. What one window needs from the one before is a load and two shifts;
/// all else runs beside.
#[inline]
fn decode_fours(from: &mut Bits<'_>, out: &mut [u8], mut written: usize) -> Option<usize> {
    let Bits { mut bits, mut held, mut input } = *from;
    'fours: while let Some(eight) = input.first_chunk::<8>() {
        // As many whole bytes as fit: 56 to 63 bits are held after it, of which four windows take 48. A part
        // of the next byte may come along; it comes again, to the same place.
        let taken = (63 - held) / 8;
        bits |= u64::from_be_bytes(*eight) >> held;
        held += 8 * taken;
        input = input.get(taken as usize..)?;
        let place = out.get_mut(written..)?.first_chunk_mut::<8>()?;
        let (mut symbols, mut count) = (0u64, 0u32);
        for _ in 0..4 {
            let entry = WINDOWS[(bits >> (64 - WINDOW)) as usize];
            symbols |= u64::from((entry >> 8) as u16) << (8 * count);
            count += (entry >> 24) & 3;
            bits <<= entry & 63;
            held -= entry & 63;
            if entry == 0 {
                *place = symbols.to_le_bytes();
                written += count as usize;
                break 'fours;
            }
        }
        *place = symbols.to_le_bytes();
        written += count as usize;
    }
    *from = Bits { bits, held, input };
    Some(written)
}

impl Bits<'_> {
    /// Tops up to more than 56 bits, or with all that is left.
    fn refill_by_bytes(&mut self) {
        while self.held <= 56
            && let Some((&byte, rest)) = self.input.split_first()
        {
            self.bits |= u64::from(byte) << (56 - self.held);
            self.held += 8;
            self.input = rest;
        }
    }
}

/// The symbol that `bits` start with, of any length up to `held`, with the bits it takes. `None` for EOS and
/// when no code is complete.
fn long_symbol(bits: u64, held: u32) -> Option<(u8, u32)> {
    for used in 5..=LONGEST.min(held) {
        let length = LENGTHS.get(used as usize)?;
        let offset = ((bits >> (64 - used)) as u32).wrapping_sub(length.first_code);
        if offset < length.count {
            let symbol = *BY_LENGTH.get((length.start + offset) as usize)?;
            return Some((u8::try_from(symbol).ok()?, used));
        }
    }
    None
}

/// True when the `left` (fewer than eight) bits left are padding: all of them ones.
fn is_padding(bits: u64, left: u32) -> bool {
    bits.leading_ones() >= left
}

#[cfg(test)]
mod tests;
