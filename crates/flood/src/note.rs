//! What is noted of a request: hashes of what it can be told by.
//!
//! Hashes are keyed with a seed of the node's own, so that nobody can choose values that fall together. Two
//! values with one hash of 32 bits are one: of 10,000 values in a zone two agree once in a hundred zones.

use std::hash::Hasher as _;
use std::net::IpAddr;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use crate::limits::TEXT_BYTES_MAX;
use crate::mix;

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Dimension {
    /// The network of the address: /24, or /48 of IPv6.
    Prefix,
    /// The number of the autonomous system, where the node has the data.
    Network,
    /// The country, where the node has the data.
    Country,
    /// The JA4 fingerprint of the TLS handshake.
    Ja4,
    /// The path, and whether the method changes something.
    Path,
    /// The user agent; none is a value too.
    Agent,
    /// Whether path and query have been asked for in the last half hour.
    Target,
}

/// How many there are.
pub const DIMENSIONS: usize = 7;

impl Dimension {
    /// All of them, in order.
    pub const ALL: [Self; DIMENSIONS] =
        [Self::Prefix, Self::Network, Self::Country, Self::Ja4, Self::Path, Self::Agent, Self::Target];

    /// As written in events and in the status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Network => "network",
            Self::Country => "country",
            Self::Ja4 => "ja4",
            Self::Path => "path",
            Self::Agent => "user agent",
            Self::Target => "target",
        }
    }
}

/// Of [`Dimension::Target`]: never asked for. Whatever else it is has the value 0, which is nobody's.
pub const NEW_TARGET: u32 = 1;

/// What a request is told by, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The visitor's address.
    pub address: IpAddr,
    /// Its autonomous system.
    pub network: Option<u32>,
    /// Its country, two letters.
    pub country: Option<[u8; 2]>,
    /// The JA4 fingerprint.
    pub ja4: Option<&'a [u8]>,
    /// The path.
    pub path: &'a [u8],
    /// The query, without its question mark.
    pub query: Option<&'a [u8]>,
    /// The user agent.
    pub agent: &'a [u8],
    /// Whether the method promises to change nothing.
    pub is_safe: bool,
}

impl Asked<'_> {
    /// A value for a person to read; none where it is told elsewhere.
    pub(crate) fn text(&self, dimension: Dimension) -> Option<String> {
        let text = |bytes: &[u8]| {
            let kept = bytes.get(..crate::limits::TEXT_BYTES_KEPT).unwrap_or(bytes);
            String::from_utf8_lossy(kept).into_owned()
        };
        Some(match dimension {
            Dimension::Prefix => match self.address.to_canonical() {
                IpAddr::V4(v4) => {
                    let [a, b, c, _] = v4.octets();
                    format!("{a}.{b}.{c}.0/24")
                }
                IpAddr::V6(v6) => {
                    let [a, b, c, ..] = v6.segments();
                    format!("{a:x}:{b:x}:{c:x}::/48")
                }
            },
            Dimension::Network => format!("AS{}", self.network?),
            Dimension::Country => text(&self.country?),
            Dimension::Ja4 => text(self.ja4?),
            Dimension::Path if self.is_safe => text(self.path),
            Dimension::Path => format!("{} (unsafe methods)", text(self.path)),
            Dimension::Agent if self.agent.is_empty() => "none".to_owned(),
            Dimension::Agent => text(self.agent),
            Dimension::Target => return None,
        })
    }
}

/// A request's hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// One value each, without that of [`Dimension::Target`]; 0 where there is none. That of a path is odd
    /// where the method may change something.
    pub(crate) values: [u32; DIMENSIONS],
    /// The visitor: an IPv4 address, or an IPv6 network of 64 bits.
    pub(crate) visitor: u64,
    /// Path and query.
    pub(crate) target: u64,
}

/// What a zone's hashes are keyed with.
#[derive(Clone, Debug)]
pub struct Secret {
    shared: SharedSeed,
    seed: u64,
}

impl Secret {
    /// Of a seed that nobody outside can know, another for each zone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { shared: SharedSeed::from_u64(seed), seed: mix(seed) }
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(bytes.get(..TEXT_BYTES_MAX).unwrap_or(bytes));
        hasher.finish()
    }
}

/// The network that a prefix is, and that a visitor is.
fn networks(address: IpAddr) -> (u64, u64) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (u64::from(v4.to_bits() >> 8) | 1 << 60, u64::from(v4.to_bits()) | 1 << 61),
        IpAddr::V6(v6) => ((v6.to_bits() >> 80) as u64, (v6.to_bits() >> 64) as u64),
    }
}

fn visitor_hash(visitor: u64, secret: &Secret) -> u64 {
    mix(visitor ^ secret.seed.rotate_left(32))
}

/// Never 0, which is for no value.
fn value(hash: u64) -> u32 {
    (hash as u32).max(1)
}

/// A path's value: even where the method is safe, and odd where it is not.
fn path_value(hash: u64, is_safe: bool) -> u32 {
    (hash as u32 & !1).max(2) | u32::from(!is_safe)
}

impl Keys {
    /// Those of a request to a zone.
    #[must_use]
    pub fn of(asked: &Asked<'_>, secret: &Secret) -> Self {
        let (hash, seed) = (|bytes: &[u8]| secret.hash(bytes), secret.seed);
        let (prefix, visitor) = networks(asked.address);
        let path = hash(asked.path);
        let target = match asked.query {
            Some(query) => mix(path.rotate_left(17) ^ hash(query)),
            None => path,
        };
        let country = asked.country.map_or(0, |[one, two]| u32::from(one) << 8 | u32::from(two));
        Self {
            values: [
                value(mix(prefix ^ seed)),
                asked.network.unwrap_or(0),
                country,
                asked.ja4.map_or(0, |ja4| value(hash(ja4))),
                path_value(path, asked.is_safe),
                value(hash(asked.agent).rotate_left(8)),
                0,
            ],
            visitor: visitor_hash(visitor, secret),
            target: mix(target ^ seed),
        }
    }

    /// Whether the method promises to change nothing.
    pub(crate) fn is_safe(&self) -> bool {
        self.value(Dimension::Path) & 1 == 0
    }

    /// The visitor's hash.
    #[must_use]
    pub fn visitor(&self) -> u64 {
        self.visitor
    }

    /// That of a visitor of whom only the address is known.
    #[must_use]
    pub fn visitor_of(address: IpAddr, secret: &Secret) -> u64 {
        visitor_hash(networks(address).1, secret)
    }

    pub(crate) fn value(&self, dimension: Dimension) -> u32 {
        self.values.get(dimension as usize).copied().unwrap_or(0)
    }
}

/// A request of a sample.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    pub(crate) keys: Keys,
    /// For how many requests it stands.
    pub(crate) weight: f32,
}

impl Note {
    pub(crate) fn value(&self, dimension: Dimension) -> u32 {
        self.keys.value(dimension)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(address: &str, path: &'a [u8], query: Option<&'a [u8]>) -> Asked<'a> {
        Asked {
            address: address.parse().expect("an address"),
            network: None,
            country: Some(*b"DE"),
            ja4: None,
            path,
            query,
            agent: b"",
            is_safe: true,
        }
    }

    #[test]
    fn neighbours_share_a_prefix_and_a_query_makes_another_target() {
        let one = Keys::of(&asked("192.0.2.1", b"/a", None), &Secret::new(7));
        let two = Keys::of(&asked("::ffff:192.0.2.9", b"/a", Some(b"x")), &Secret::new(7));
        assert_eq!(one.value(Dimension::Prefix), two.value(Dimension::Prefix));
        assert_eq!(one.value(Dimension::Path), two.value(Dimension::Path));
        assert_ne!(one.visitor, two.visitor);
        assert_ne!(one.target, two.target);
        assert_eq!(one.value(Dimension::Network), 0, "what is not known is no value");
        assert_ne!(
            one,
            Keys::of(&asked("192.0.2.1", b"/a", None), &Secret::new(8)),
            "a seed moves everything"
        );
    }

    #[test]
    fn a_method_that_changes_something_makes_another_path() {
        let safe = asked("192.0.2.1", b"/login", None);
        let posted = Asked { is_safe: false, ..safe };
        assert_ne!(
            Keys::of(&safe, &Secret::new(7)).value(Dimension::Path),
            Keys::of(&posted, &Secret::new(7)).value(Dimension::Path)
        );
        assert_eq!(posted.text(Dimension::Path).as_deref(), Some("/login (unsafe methods)"));
        assert_eq!(safe.text(Dimension::Prefix).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(asked("2001:db8:7::1", b"/", None).text(Dimension::Prefix).unwrap(), "2001:db8:7::/48");
    }

    #[test]
    fn what_is_endless_costs_no_more() {
        let (long, longer) = (vec![b'a'; 300], vec![b'a'; 5_000]);
        let keys = |path: &[u8]| Keys::of(&asked("192.0.2.1", path, None), &Secret::new(7));
        assert_eq!(keys(&long), keys(&longer));
    }
}
