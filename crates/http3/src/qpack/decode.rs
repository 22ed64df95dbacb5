//! Field sections to field lines (RFC 9204 §4.5), with a dynamic table of capacity 0.
//!
//! It enforces the limits on size and number, and refuses every reference to the dynamic table. It does not
//! judge names and values: [`crate::message`] does, on top of [`walk`].

use super::{huffman, integer, static_table};
use crate::{Broken, Code, Limits};

/// Memory for Huffman strings, kept by the caller from section to section.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Scratch {
    pub(crate) const EMPTY: Scratch = Scratch { name: Vec::new(), value: Vec::new() };
}

/// One field line. `name` and `value` live until the next one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    /// The name comes from the static table, so it is well-formed.
    pub(crate) is_known_name: bool,
    /// So does the value.
    pub(crate) is_known_value: bool,
}

/// Bytes that each field counts beside its name and value (RFC 9114 §4.2.2).
const FIELD_OVERHEAD: u64 = 32;

const fn failed<T>(why: &'static str) -> Result<T, Broken> {
    Err(Broken::Connection(Code::QpackDecompression, why))
}

/// Gives each field line of a complete section to `each`, in order, until the end or the first error, whether
/// found here or returned by `each`.
pub(crate) fn walk<F>(
    section: &[u8],
    limits: &Limits,
    scratch: &mut Scratch,
    mut each: F,
) -> Result<(), Broken>
where
    F: FnMut(Line<'_>) -> Result<(), Broken>,
{
    let mut input = section;
    read_prefix(&mut input)?;
    let (mut bytes, mut fields) = (0u64, 0usize);
    while let Some(&first) = input.first() {
        let line = read_line(first, &mut input, scratch)?;
        fields += 1;
        bytes += line.name.len() as u64 + line.value.len() as u64 + FIELD_OVERHEAD;
        if bytes > limits.field_section_bytes_max || fields > limits.fields_max {
            return Err(Broken::TooLarge);
        }
        each(line)?;
    }
    Ok(())
}

/// Encoded Required Insert Count and Base (RFC 9204 §4.5.1): with no dynamic table the first is 0, and so no
/// sign bit can be right.
fn read_prefix(input: &mut &[u8]) -> Result<(), Broken> {
    match integer::read(input, 8) {
        Some(0) => {}
        Some(_) => return failed("the section waits for inserts into a table of capacity 0"),
        None => return failed("the section prefix is cut short"),
    }
    if input.first().is_some_and(|byte| byte & 0x80 != 0) {
        return failed("the base is negative");
    }
    match integer::read(input, 7) {
        Some(_) => Ok(()),
        None => failed("the section prefix is cut short"),
    }
}

#[inline]
fn read_line<'l, 's: 'l>(
    first: u8,
    input: &mut &'s [u8],
    scratch: &'l mut Scratch,
) -> Result<Line<'l>, Broken> {
    if first & 0x80 != 0 {
        // §4.5.2, indexed: 1 T index(6).
        if first & 0x40 == 0 {
            return failed("a field line refers to the dynamic table");
        }
        let (name, value) = read_entry(input, 6)?;
        return Ok(Line { name, value: value.as_bytes(), is_known_name: true, is_known_value: true });
    }
    if first & 0x40 != 0 {
        // §4.5.4, literal with name reference: 01 N T index(4), then the value.
        if first & 0x10 == 0 {
            return failed("a field line refers to the dynamic table");
        }
        let (name, _) = read_entry(input, 4)?;
        let value = read_string(input, 7, &mut scratch.value)?;
        return Ok(Line { name, value, is_known_name: true, is_known_value: false });
    }
    if first & 0x20 != 0 {
        // §4.5.6, literal with literal name: 001 N H length(3), then name and value.
        let name = read_string(input, 3, &mut scratch.name)?;
        let value = read_string(input, 7, &mut scratch.value)?;
        return Ok(Line { name, value, is_known_name: false, is_known_value: false });
    }
    // §4.5.3 and §4.5.5, post-base: dynamic by nature.
    failed("a field line refers to the dynamic table")
}

#[inline]
fn read_entry(input: &mut &[u8], bits: u32) -> Result<(&'static [u8], &'static str), Broken> {
    let index = integer::read(input, bits).and_then(|index| usize::try_from(index).ok());
    match index.and_then(|index| static_table::TABLE.get(index)) {
        Some((name, value)) => Ok((name.as_bytes(), value)),
        None => failed("no such entry in the static table"),
    }
}

/// A string: a Huffman flag above a length of `bits`, then the bytes (RFC 9204 §4.1.2).
#[inline]
fn read_string<'l, 's: 'l>(
    input: &mut &'s [u8],
    bits: u32,
    scratch: &'l mut Vec<u8>,
) -> Result<&'l [u8], Broken> {
    let is_huffman = input.first().is_some_and(|byte| byte >> bits & 1 == 1);
    let length = integer::read(input, bits).and_then(|length| usize::try_from(length).ok());
    let Some((string, rest)) = length.and_then(|length| input.split_at_checked(length)) else {
        return failed("a string is cut short");
    };
    *input = rest;
    if !is_huffman {
        return Ok(string);
    }
    match huffman::decode(string, scratch).and_then(|written| scratch.get(..written)) {
        Some(decoded) => Ok(decoded),
        None => failed("a string is not valid Huffman"),
    }
}
