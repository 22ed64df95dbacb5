//! Sets of addresses: `ipMatch` and `ipMatchFromFile`.
//!
//! Sorted ranges, so that a look-up is a binary search in either family (a million prefixes: twenty steps). A
//! set knows no names and no countries. Called by the loader, which builds it, and by the engine, which asks.

use std::fmt;
use std::net::IpAddr;

/// Addresses and prefixes of both families. An IPv4 address inside IPv6 (`::ffff:…`) is an IPv6 address here.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AddressSet {
    /// First and last address of each range; sorted, apart from each other.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

/// An entry of a list is no address and no prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddressError {
    /// The entry as written.
    pub entry: String,
    /// Its line in the list, from 1.
    pub line: usize,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entry, line } = self;
        write!(
            f,
            "line {line}: `{entry}` is no address; write one like 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
        )
    }
}

impl std::error::Error for AddressError {}

impl AddressSet {
    /// Reads a list: entries divided by commas or line ends, each an address or a prefix; `#` starts a
    /// comment.
    ///
    /// # Errors
    ///
    /// [`AddressError`] for every entry that cannot be read.
    pub fn parse(list: &str) -> Result<Self, Vec<AddressError>> {
        let (mut set, mut errors) = (Self::default(), Vec::new());
        for (number, line) in list.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for entry in line.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                if set.add(entry).is_none() {
                    errors.push(AddressError { entry: entry.to_owned(), line: number + 1 });
                }
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        merge(&mut set.v4, |last| last.checked_add(1));
        merge(&mut set.v6, |last| last.checked_add(1));
        Ok(set)
    }

    fn add(&mut self, entry: &str) -> Option<()> {
        let (address, length) = match entry.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
            None => (entry, None),
        };
        match address.parse::<IpAddr>().ok()? {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(u32::from(length.unwrap_or(32))).unwrap_or(0);
                let first = u32::from(address) & !host;
                (length.unwrap_or(32) <= 32).then(|| self.v4.push((first, first | host)))
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(u32::from(length.unwrap_or(128))).unwrap_or(0);
                let first = u128::from(address) & !host;
                (length.unwrap_or(128) <= 128).then(|| self.v6.push((first, first | host)))
            }
        }
    }

    /// Tells whether `address` is in the set.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => is_inside(&self.v4, u32::from(address)),
            IpAddr::V6(address) => is_inside(&self.v6, u128::from(address)),
        }
    }

    /// `ipMatch`: tells whether `value` is the text of an address in the set; what is no address is not.
    #[must_use]
    pub fn has_text(&self, value: &[u8]) -> bool {
        let address = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        address.is_some_and(|address| self.has(address))
    }

    /// How many ranges the set holds, once neighbours are joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Tells whether the set holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sorts ranges and joins those that overlap or touch.
fn merge<T: Copy + Ord>(ranges: &mut Vec<(T, T)>, next: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, last_before)| {
        let touches = next(*last_before).is_none_or(|next| *first <= next);
        if touches {
            *last_before = (*last_before).max(*last);
        }
        touches
    });
    ranges.shrink_to_fit();
}

fn is_inside<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|&(first, _)| first <= address);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|&(_, last)| address <= last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_and_prefixes_of_both_families_are_found() {
        let set =
            AddressSet::parse("10.0.0.0/8, 192.0.2.1\n# a comment\n2001:db8::/32,::1 # more\n").unwrap();
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.1", "2001:db8::ffff", "::1"] {
            assert!(set.has_text(inside.as_bytes()), "{inside}");
        }
        for outside in [
            "9.255.255.255",
            "11.0.0.0",
            "192.0.2.2",
            "2001:db9::",
            "::",
            "::ffff:10.0.0.1",
            "",
            "x",
            "10.0.0",
        ] {
            assert!(!set.has_text(outside.as_bytes()), "{outside}");
        }
        assert!(!set.has_text(b"\xff"));
    }

    #[test]
    fn every_broken_entry_is_named_with_its_line() {
        let errors = AddressSet::parse("10.0.0.0/33, 1.2.3.4\n1.2.3,::1/129,10.0.0.0/255.0.0.0").unwrap_err();
        let named: Vec<_> = errors.iter().map(|error| (error.line, error.entry.as_str())).collect();
        assert_eq!(named, [(1, "10.0.0.0/33"), (2, "1.2.3"), (2, "::1/129"), (2, "10.0.0.0/255.0.0.0")]);
    }

    #[test]
    fn neighbours_are_joined() {
        let set = AddressSet::parse("10.0.0.0/9,10.128.0.0/9,10.1.2.3,0.0.0.0/0,::/0,::1").unwrap();
        assert_eq!(set.len(), 2);
        assert!(set.has_text(b"255.255.255.255") && set.has_text(b"ffff::"));
        assert!(AddressSet::parse("").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn a_set_says_what_its_prefixes_say(
            prefixes in proptest::collection::vec((0..64_u32, 24..=32_u8), 0..12),
            asked in 0..80_u32,
        ) {
            let text = |(host, length): &(u32, u8)| format!("10.0.{}.{}/{length}", host >> 3, host & 7);
            let text: Vec<_> = prefixes.iter().map(text).collect();
            let set = AddressSet::parse(&text.join(",")).unwrap();
            let address = |host: u32| 10 << 24 | (host >> 3) << 8 | host & 7;
            let expected = prefixes.iter().any(|&(host, length)| {
                let shift = 32 - u32::from(length);
                address(host) >> shift == address(asked) >> shift
            });
            prop_assert_eq!(set.has(IpAddr::V4(address(asked).into())), expected);
        }
    }
}
