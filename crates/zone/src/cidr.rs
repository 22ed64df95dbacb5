//! Ranges of IP addresses, written as CIDR (RFC 4632 §3.1).
//!
//! Used for the addresses that a node trusts: senders of the PROXY protocol and of forwarding headers. It
//! is a list tried in order, not an index for large block lists. Read next: [`crate::node`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses: one network and the length of its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Why a text is not a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotACidr {
    /// The part before the slash is no IP address.
    Address,
    /// The prefix is no number, or longer than the address.
    Prefix,
    /// Bits are set behind the prefix; the network it probably means.
    HostBits(Cidr),
}

impl fmt::Display for NotACidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => out.write_str("no IP address before the prefix"),
            Self::Prefix => out.write_str("the prefix must be a number from 0 to 32 (IPv4) or 128 (IPv6)"),
            Self::HostBits(cidr) => write!(out, "bits are set behind the prefix; the network is {cidr}"),
        }
    }
}

impl std::error::Error for NotACidr {}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

impl Cidr {
    /// The range of this length around an address; none when the length is longer than the address.
    #[must_use]
    pub fn around(address: IpAddr, prefix: u8) -> Option<Self> {
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then(|| Self { network: masked(address, prefix), prefix })
    }

    /// The first address.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The length of the prefix, 0 to 32 or 128.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Says whether the address lies in the range. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.network.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.network
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or a single address.
    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NotACidr::Address)?;
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= longest).ok_or(NotACidr::Prefix)?
            }
            Some(_) => return Err(NotACidr::Prefix),
        };
        let network = masked(address, prefix);
        if network != address {
            return Err(NotACidr::HostBits(Self { network, prefix }));
        }
        Ok(Self { network, prefix })
    }
}

/// Says whether any of the ranges holds the address.
#[must_use]
pub fn any_contains(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}
