//! Sets of addresses by binary search, and a table that tells which of many sets hold an address.
//!
//! [`AddressSet`] is one `in {…}` or list: disjoint sorted ranges, 8 bytes for an IPv4 and 32 for an IPv6
//! range. A large set has an index by the upper 16 bits, so that a lookup among a million prefixes touches
//! three cache lines or so. [`AddressTable`] answers for all rules of a phase in one search. IPv4-mapped IPv6
//! addresses are IPv6 here: whoever makes a request's address decides. Used by lists and by compiled rules;
//! read next: [`AddressSet::holds`].

use std::net::IpAddr;

use hashbrown::HashMap;

use crate::limits::ADDRESS_POSTINGS_MAX;

/// Ranges from which a set gets an index: below, a search touches few lines anyway.
const INDEXED_RANGES_MIN: usize = 1024;

/// Reads `address/length`. Bits past the length are dropped.
pub(crate) fn parse_network(text: &str) -> Result<(IpAddr, u8), &'static str> {
    const EXPECTED: &str = "addresses look like 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32";
    let (address, length) = text.split_once('/').ok_or(EXPECTED)?;
    let address: IpAddr = address.parse().map_err(|_| EXPECTED)?;
    if length.is_empty() || length.len() > 3 || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EXPECTED);
    }
    let length: u16 = length.parse().map_err(|_| EXPECTED)?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    match u8::try_from(length) {
        Ok(length) if u16::from(length) <= bits => Ok((address, length)),
        _ => Err("the length of a prefix is at most 32 for IPv4 and 128 for IPv6"),
    }
}

/// The first and last address of the prefix of `length` bits that holds `address`.
pub(crate) fn network_range(address: IpAddr, length: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            let first = v4.to_bits() & !host;
            (IpAddr::V4(first.into()), IpAddr::V4((first | host).into()))
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            let first = v6.to_bits() & !host;
            (IpAddr::V6(first.into()), IpAddr::V6((first | host).into()))
        }
    }
}

/// A set of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    /// For each upper half of an IPv4 address the first range that may hold it; empty for a small set.
    v4_index: Vec<u32>,
}

impl AddressSet {
    /// Makes a set of ranges, bounds included, in any order and overlapping as they like. A range whose
    /// bounds are of two families or the wrong way round holds nothing.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (IpAddr, IpAddr)>) -> Self {
        let mut all = AddressRanges::default();
        ranges.into_iter().for_each(|range| all.push(range));
        all.into_set()
    }

    /// Whether the address is in the set.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => {
                let address = v4.to_bits();
                let upper = (address >> 16) as usize;
                let ranges = match (self.v4_index.get(upper), self.v4_index.get(upper + 1)) {
                    (Some(from), Some(to)) => {
                        let to = self.v4.len().min(*to as usize + 1);
                        self.v4.get(*from as usize..to).unwrap_or_default()
                    }
                    _ => self.v4.as_slice(),
                };
                is_within(ranges, address)
            }
            IpAddr::V6(v6) => is_within(&self.v6, v6.to_bits()),
        }
    }

    /// Number of disjoint ranges.
    #[must_use]
    pub fn ranges(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Bytes of memory it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.v4.capacity() * 8 + self.v6.capacity() * 32 + self.v4_index.capacity() * 4
    }

    /// Comparisons of one lookup, for its price.
    pub(crate) fn depth(&self) -> u64 {
        u64::from(usize::BITS - self.ranges().leading_zeros())
    }
}

/// Ranges on their way into a set: a million of them take 8 MB here, and four times that as pairs of
/// addresses.
#[derive(Default)]
pub(crate) struct AddressRanges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AddressRanges {
    /// With room for so many IPv4 ranges.
    pub(crate) fn with_capacity(v4: usize) -> Self {
        Self { v4: Vec::with_capacity(v4), v6: Vec::new() }
    }

    /// Adds a range, bounds included.
    pub(crate) fn push(&mut self, range: (IpAddr, IpAddr)) {
        match range {
            (IpAddr::V4(low), IpAddr::V4(high)) => self.v4.push((low.to_bits(), high.to_bits())),
            (IpAddr::V6(low), IpAddr::V6(high)) => self.v6.push((low.to_bits(), high.to_bits())),
            _ => {}
        }
    }

    /// The set of them.
    pub(crate) fn into_set(self) -> AddressSet {
        let v4 = disjoint(self.v4, |end| end.checked_add(1));
        let v6 = disjoint(self.v6, |end| end.checked_add(1));
        let v4_index = if v4.len() < INDEXED_RANGES_MIN { Vec::new() } else { index(&v4) };
        AddressSet { v4, v6, v4_index }
    }
}

fn disjoint<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.retain(|(low, high)| low <= high);
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            // Touching ranges become one: `next` is nothing at the end of the address space.
            Some((_, end)) if next(*end).is_none_or(|after| low <= after) => *end = (*end).max(high),
            _ => merged.push((low, high)),
        }
    }
    merged.shrink_to_fit();
    merged
}

/// For each upper half the place of the first range that ends in it or later, then the number of ranges.
///
/// An address of a half lies in a range between that place and the next half's, or in the range at the next
/// half's place when that one begins before the border: hence the one more that [`AddressSet::holds`] looks
/// at.
fn index(ranges: &[(u32, u32)]) -> Vec<u32> {
    let mut index = Vec::with_capacity(65_537);
    let mut place = 0;
    for upper in 0..=65_535_u32 {
        while ranges.get(place).is_some_and(|(_, high)| high >> 16 < upper) {
            place += 1;
        }
        index.push(place as u32);
    }
    index.push(ranges.len() as u32);
    index
}

fn is_within<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(low, _)| *low <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, high)| address <= *high)
}

/// Which of many sets, known by numbers, hold an address.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressTable {
    v4: Segments<u32>,
    v6: Segments<u128>,
}

/// The address space cut at every bound of every set; each segment has the numbers of the sets that cover it.
#[derive(Clone, Debug)]
struct Segments<T> {
    starts: Vec<T>,
    spans: Vec<(u32, u32)>,
    numbers: Vec<u32>,
}

impl<T> Default for Segments<T> {
    fn default() -> Self {
        Self { starts: Vec::new(), spans: Vec::new(), numbers: Vec::new() }
    }
}

impl AddressTable {
    /// Builds the table; nothing when it would grow past its limit.
    pub(crate) fn new<'a>(sets: impl Iterator<Item = (u32, &'a AddressSet)>) -> Option<Self> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (number, set) in sets {
            v4.extend(set.v4.iter().map(|(low, high)| (*low, *high, number)));
            v6.extend(set.v6.iter().map(|(low, high)| (*low, *high, number)));
        }
        Some(Self {
            v4: segments(&v4, |end| end.checked_add(1))?,
            v6: segments(&v6, |end| end.checked_add(1))?,
        })
    }

    /// The numbers of the sets that hold the address.
    pub(crate) fn find(&self, address: IpAddr) -> &[u32] {
        match address {
            IpAddr::V4(v4) => self.v4.find(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.find(v6.to_bits()),
        }
    }

    pub(crate) fn depth(&self) -> u64 {
        u64::from(usize::BITS - (self.v4.starts.len() + self.v6.starts.len()).leading_zeros())
    }
}

impl<T: Copy + Ord> Segments<T> {
    fn find(&self, address: T) -> &[u32] {
        let after = self.starts.partition_point(|start| *start <= address);
        let Some((from, length)) = after.checked_sub(1).and_then(|at| self.spans.get(at)) else { return &[] };
        self.numbers.get(*from as usize..(*from + *length) as usize).unwrap_or_default()
    }
}

fn segments<T: Copy + Ord + std::hash::Hash>(
    ranges: &[(T, T, u32)],
    next: impl Fn(T) -> Option<T>,
) -> Option<Segments<T>> {
    // An event opens or closes a set at an address; sets that hold the end of the space never close.
    let mut events: Vec<(T, bool, u32)> = Vec::with_capacity(2 * ranges.len());
    for (low, high, number) in ranges {
        events.push((*low, true, *number));
        if let Some(after) = next(*high) {
            events.push((after, false, *number));
        }
    }
    events.sort_unstable();
    let mut table = Segments::default();
    let mut open: HashMap<u32, u32, foldhash::fast::RandomState> = HashMap::default();
    let mut at = 0;
    while let Some((start, ..)) = events.get(at).copied() {
        while let Some((_, opens, number)) = events.get(at).copied().filter(|event| event.0 == start) {
            let count = open.entry(number).or_insert(0);
            *count = if opens { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                open.remove(&number);
            }
            at += 1;
        }
        let from = table.numbers.len();
        if from + open.len() > ADDRESS_POSTINGS_MAX {
            return None;
        }
        table.numbers.extend(open.keys().copied());
        if let Some(added) = table.numbers.get_mut(from..) {
            added.sort_unstable();
        }
        table.starts.push(start);
        table.spans.push((from as u32, open.len() as u32));
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> (IpAddr, IpAddr) {
        let (address, length) = parse_network(text).unwrap();
        network_range(address, length)
    }

    #[test]
    fn a_prefix_holds_its_first_and_last_address_only() {
        let set =
            AddressSet::from_ranges([range("10.1.0.0/16"), range("2001:db8::/32"), range("0.0.0.0/32")]);
        for inside in ["10.1.0.0", "10.1.255.255", "2001:db8::", "2001:db8:ffff::1", "0.0.0.0"] {
            assert!(set.holds(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["10.0.255.255", "10.2.0.0", "2001:db7:ffff::", "2001:db9::", "0.0.0.1", "::"] {
            assert!(!set.holds(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn everything_is_held_by_a_prefix_of_length_zero() {
        let set = AddressSet::from_ranges([range("0.0.0.0/0"), range("10.0.0.0/8")]);
        assert!(set.holds("255.255.255.255".parse().unwrap()) && set.holds("0.0.0.0".parse().unwrap()));
        assert!(!set.holds("::1".parse().unwrap()));
        assert_eq!(set.ranges(), 1);
    }

    #[test]
    fn touching_and_overlapping_ranges_become_one() {
        let set =
            AddressSet::from_ranges([range("10.0.1.0/24"), range("10.0.0.0/24"), range("10.0.1.128/25")]);
        assert_eq!(set.ranges(), 1);
    }

    #[test]
    fn an_indexed_set_answers_like_a_plain_one() {
        // Ranges of many lengths, some over the border of the upper halves.
        let mut seed = 7_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        let ranges: Vec<_> = (0..5000)
            .map(|_| {
                let low = random();
                let high = low.saturating_add(random() >> (14 + random() % 18));
                (IpAddr::V4(low.into()), IpAddr::V4(high.into()))
            })
            .collect();
        let set = AddressSet::from_ranges(ranges.iter().copied());
        assert!(!set.v4_index.is_empty());
        let plain = AddressSet { v4_index: Vec::new(), ..set.clone() };
        let bounds = ranges.iter().flat_map(|(low, high)| [*low, *high]);
        let mut held = 0;
        for bound in bounds {
            let IpAddr::V4(bound) = bound else { continue };
            for near in [bound.to_bits().wrapping_sub(1), bound.to_bits(), bound.to_bits().wrapping_add(1)] {
                let near = IpAddr::V4(near.into());
                assert_eq!(set.holds(near), plain.holds(near), "{near}");
                held += usize::from(set.holds(near));
            }
        }
        assert!(held > 10_000, "{held}");
    }

    #[test]
    fn a_table_names_every_set_that_holds_an_address() {
        let sets = [
            AddressSet::from_ranges([range("10.0.0.0/8")]),
            AddressSet::from_ranges([range("10.1.0.0/16"), range("::1/128")]),
            AddressSet::from_ranges([range("0.0.0.0/0")]),
        ];
        let table = AddressTable::new((0..).zip(&sets)).unwrap();
        assert_eq!(table.find("10.1.2.3".parse().unwrap()), [0, 1, 2]);
        assert_eq!(table.find("10.2.2.3".parse().unwrap()), [0, 2]);
        assert_eq!(table.find("255.255.255.255".parse().unwrap()), [2]);
        assert_eq!(table.find("::1".parse().unwrap()), [1]);
        assert!(table.find("::2".parse().unwrap()).is_empty());
    }

    #[test]
    fn refuses_what_is_no_prefix() {
        for wrong in
            ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/0008"]
        {
            assert!(parse_network(wrong).is_err(), "{wrong}");
        }
    }
}
