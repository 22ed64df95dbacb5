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

/// What a window of bits starts with: symbols in bits 0–7 and 8–15, bits used by the first in 16–19 and
/// by all in 20–23, number of symbols (1 or 2) in 24–25. Zero: a code longer than the window.
type Entry = u32;

const fn entry(first: u8, first_bits: u32, second: u8, all_bits: u32, symbols: u32) -> Entry {
    first as u32 | (second as u32) << 8 | first_bits << 16 | all_bits << 20 | symbols << 24
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
        let first_bits = (first >> 16) & 15;
        if first != 0 {
            let second = singles[(window << first_bits) & ((1 << WINDOW) - 1)];
            let second_bits = (second >> 16) & 15;
            if second != 0 && first_bits + second_bits <= WINDOW {
                table[window] = entry(first as u8, first_bits, second as u8, first_bits + second_bits, 2);
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
    // The shortest code has five bits; two bytes more, as symbols are stored in pairs.
    let room = encoded.len() * 8 / 5 + 2;
    if out.len() < room {
        out.resize(room, 0);
    }
    let mut written = 0;
    // Bits not yet used, left-aligned, with zeros below; `held` counts them.
    let (mut bits, mut held) = (0u64, 0u32);
    let mut input = encoded;
    loop {
        if held <= 32 {
            (bits, held) = refill(bits, held, &mut input);
        }
        let entry = WINDOWS[(bits >> (64 - WINDOW)) as usize];
        let used = (entry >> 20) & 15;
        if entry != 0 && used <= held {
            out.get_mut(written..written + 2)?.copy_from_slice(&(entry as u16).to_le_bytes());
            written += ((entry >> 24) & 3) as usize;
            bits <<= used;
            held -= used;
            continue;
        }
        if held == 0 {
            return Some(written);
        }
        // A long code, the last symbol, or padding.
        let (symbol, used) = match (entry >> 16) & 15 {
            first if entry != 0 && first <= held => (entry as u8, first),
            _ => match long_symbol(bits, held) {
                Some(found) => found,
                None => return is_padding(bits, held).then_some(written),
            },
        };
        *out.get_mut(written)? = symbol;
        written += 1;
        bits <<= used;
        held -= used;
    }
}

/// Tops `bits` up with whole bytes of `input`: to more than 32 bits as long as there are as many.
#[inline]
fn refill(mut bits: u64, mut held: u32, input: &mut &[u8]) -> (u64, u32) {
    if let Some((four, rest)) = input.split_first_chunk::<4>() {
        *input = rest;
        return (bits | u64::from(u32::from_be_bytes(*four)) << (32 - held), held + 32);
    }
    for &byte in *input {
        bits |= u64::from(byte) << (56 - held);
        held += 8;
    }
    *input = &[];
    (bits, held)
}

/// The symbol that `bits` start with, of any length up to `held`, with the bits it takes. `None` for EOS and
/// when no code is complete.
#[cold]
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

/// True when what is left is padding: fewer than eight bits, all of them ones.
fn is_padding(bits: u64, held: u32) -> bool {
    held < 8 && bits >> (64 - held) == (1 << held) - 1
}

#[cfg(test)]
mod tests;
