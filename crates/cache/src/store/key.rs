//! Keys of stored objects, and the keyed hashes that the tables and purges go by.
//!
//! A hash finds, the whole key decides: two keys are never taken for one another, whatever their hashes.
//! Builds no key of a request (the policy does). Used all over the store. Read next: `shard.rs`, `purge.rs`.

use std::hash::Hasher;
use std::sync::Arc;

use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher128};

use super::limits::KEY_BYTES_MAX;

/// What hashes are keyed with, so that no visitor can choose requests that fall on one place of a table.
///
/// Objects on disk are found by these hashes: a node must keep its seed as long as its folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 16]);

impl std::fmt::Debug for Seed {
    /// Keeps the seed out of logs.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seed(..)")
    }
}

/// A key in parts, borrowed from the request it was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// The zone's stable id.
    pub zone: u128,
    /// The hostname, in the form that purges will name it by (lower case, no port).
    pub host: &'a [u8],
    /// Path and query as the zone's settings keep them; purges by URL and by prefix compare with it.
    pub target: &'a [u8],
    /// Whatever else the answer depends on: scheme, chosen fields, the variant, the slice. Purging a URL
    /// takes all of these.
    pub rest: &'a [u8],
}

/// Bytes before the parts of an encoded key: zone, length of the host, length of the target.
const PREFIX_BYTES: usize = 16 + 2 + 4;

impl<'a> KeyRef<'a> {
    /// Bytes of the key once stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        PREFIX_BYTES + self.host.len() + self.target.len() + self.rest.len()
    }

    /// Whether the key is longer than [`KEY_BYTES_MAX`]; such a request goes past the cache.
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.host.len() > usize::from(u16::MAX) || self.bytes() > KEY_BYTES_MAX
    }

    fn prefix(&self) -> [u8; PREFIX_BYTES] {
        let mut prefix = [0; PREFIX_BYTES];
        let (zone, lengths) = prefix.split_at_mut(16);
        zone.copy_from_slice(&self.zone.to_le_bytes());
        let (host, target) = lengths.split_at_mut(2);
        host.copy_from_slice(&(self.host.len() as u16).to_le_bytes());
        target.copy_from_slice(&(self.target.len() as u32).to_le_bytes());
        prefix
    }

    /// Splits an encoded key; `None` when its lengths do not fit it.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (zone, after) = bytes.split_first_chunk::<16>()?;
        let (host_bytes, after) = after.split_first_chunk::<2>()?;
        let (target_bytes, after) = after.split_first_chunk::<4>()?;
        let (host, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*host_bytes)))?;
        let (target, rest) = after.split_at_checked(u32::from_le_bytes(*target_bytes) as usize)?;
        Some(Self { zone: u128::from_le_bytes(*zone), host, target, rest })
    }
}

/// Bytes of a key that is put together without an allocation: nearly all are shorter.
const INLINE_BYTES: usize = 256;

/// A key that is asked for, put together once: its bytes as they would be stored, and their hash.
pub(crate) struct Wanted {
    pub(crate) hash: u128,
    inline: [u8; INLINE_BYTES],
    length: usize,
    long: Vec<u8>,
}

impl Wanted {
    pub(crate) fn new(seed: &Seed, key: &KeyRef<'_>) -> Self {
        let mut wanted = Self { hash: 0, inline: [0; INLINE_BYTES], length: key.bytes(), long: Vec::new() };
        let parts = [&key.prefix()[..], key.host, key.target, key.rest];
        if wanted.length <= INLINE_BYTES {
            let mut rest = &mut wanted.inline[..];
            for part in parts {
                // The sum of their lengths fits.
                let Some((place, after)) = rest.split_at_mut_checked(part.len()) else { break };
                place.copy_from_slice(part);
                rest = after;
            }
        } else {
            wanted.long = parts.concat();
        }
        wanted.hash = seed.key(wanted.as_bytes());
        wanted
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        if self.long.is_empty() { self.inline.get(..self.length).unwrap_or_default() } else { &self.long }
    }
}

/// A stored key: its hash, and all of its bytes, shared by whoever refers to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    pub(crate) hash: u128,
    bytes: Arc<[u8]>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts().fmt(formatter)
    }
}

impl Key {
    pub(crate) fn new(wanted: &Wanted) -> Self {
        Self { hash: wanted.hash, bytes: wanted.as_bytes().into() }
    }

    /// The key in its parts.
    #[must_use]
    pub fn parts(&self) -> KeyRef<'_> {
        let nothing = KeyRef { zone: 0, host: &[], target: &[], rest: &[] };
        KeyRef::parse(&self.bytes).unwrap_or(nothing)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether this is the key asked for, byte by byte.
    pub(crate) fn is(&self, wanted: &Wanted) -> bool {
        self.hash == wanted.hash && *self.bytes == *wanted.as_bytes()
    }
}

/// Which kind of thing a hash is of, so that a tag and a hostname of the same spelling differ.
#[derive(Clone, Copy)]
enum Domain {
    Url = 1,
    Host = 2,
    Tag = 3,
}

impl Seed {
    /// The hash that a key is found by, of its bytes as stored.
    fn key(&self, bytes: &[u8]) -> u128 {
        SipHasher128::new_with_key(&self.0).hash(bytes).as_u128()
    }

    /// The hash of a URL: what all variants of a key have in common.
    pub(crate) fn url(&self, zone: u128, host: &[u8], target: &[u8]) -> u64 {
        self.parts(Domain::Url, zone, host, target)
    }

    pub(crate) fn host(&self, zone: u128, host: &[u8]) -> u64 {
        self.parts(Domain::Host, zone, host, &[])
    }

    pub(crate) fn tag(&self, zone: u128, tag: &[u8]) -> u64 {
        self.parts(Domain::Tag, zone, tag, &[])
    }

    /// A value that tells seeds apart and gives none of them away.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.parts(Domain::Tag, 0, b"fingerprint of a seed", &[])
    }

    fn parts(&self, domain: Domain, zone: u128, first: &[u8], second: &[u8]) -> u64 {
        let mut hasher = SipHasher128::new_with_key(&self.0);
        hasher.write(&[domain as u8]);
        hasher.write(&zone.to_le_bytes());
        hasher.write(&(first.len() as u64).to_le_bytes());
        hasher.write(first);
        hasher.write(second);
        hasher.finish128().h1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed([7; 16]);

    fn key<'a>(host: &'a [u8], target: &'a [u8], rest: &'a [u8]) -> KeyRef<'a> {
        KeyRef { zone: 1, host, target, rest }
    }

    #[test]
    fn parts_that_join_to_the_same_text_are_different_keys() {
        let one = Key::new(&Wanted::new(&SEED, &key(b"a.example", b"/x", b"")));
        for other in [key(b"a.exampl", b"e/x", b""), key(b"a.example", b"/", b"x"), key(b"", b"", b"")] {
            let mut other = Wanted::new(&SEED, &other);
            assert!(!one.is(&other));
            assert_ne!(one.hash, other.hash);
            other.hash = one.hash;
            assert!(!one.is(&other), "even with the same hash");
        }
    }

    #[test]
    fn a_key_is_read_back_in_its_parts() {
        let parts = key(b"a.example", b"/x?y", b"gzip");
        let stored = Key::new(&Wanted::new(&SEED, &parts));
        assert_eq!(stored.parts(), parts);
        assert_eq!(KeyRef::parse(stored.as_bytes()), Some(parts));
        for length in 0..PREFIX_BYTES + 9 + 4 {
            assert_eq!(KeyRef::parse(&stored.as_bytes()[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn keys_of_any_length_are_found_again() {
        for length in [0, 1, INLINE_BYTES - PREFIX_BYTES, INLINE_BYTES - PREFIX_BYTES + 1, 5_000] {
            let target = vec![b'x'; length];
            let stored = Key::new(&Wanted::new(&SEED, &key(b"", &target, b"")));
            assert!(stored.is(&Wanted::new(&SEED, &key(b"", &target, b""))));
            assert_eq!(stored.parts().target, target);
            let other = [&target[..], b"y"].concat();
            assert!(!stored.is(&Wanted::new(&SEED, &key(b"", &other, b""))));
        }
    }

    #[test]
    fn a_tag_and_a_host_of_one_spelling_have_different_hashes() {
        assert_ne!(SEED.tag(1, b"news"), SEED.host(1, b"news"));
        assert_ne!(SEED.tag(1, b"news"), SEED.tag(2, b"news"));
        assert_ne!(SEED.url(1, b"news", b"/a"), SEED.url(1, b"news/", b"a"));
        assert_ne!(SEED.tag(1, b"news"), Seed([8; 16]).tag(1, b"news"));
    }

    #[test]
    fn a_key_over_the_limit_is_too_long() {
        let target = vec![b'x'; KEY_BYTES_MAX - PREFIX_BYTES];
        assert!(!key(b"", &target, b"").is_too_long());
        assert!(key(b"", &target, b"y").is_too_long());
        assert!(key(&vec![b'h'; 65_536], b"", b"").is_too_long());
    }
}
