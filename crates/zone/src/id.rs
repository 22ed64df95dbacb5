//! Stable ids of zones, pools, origins and routes.
//!
//! State that outlives a snapshot (counters, health, connections, stored objects) is keyed by these ids, so
//! an id must not change when a tunable value does. Ids come from `id = "…"` or from the name. It draws no
//! randomness. Called by [`mod@crate::compile`].

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// A stable id: 16 bytes, written as 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// Derives an id: the first 16 bytes of SHA-256 over kind, zone name and the thing's own name.
    ///
    /// Each part is preceded by its length, so that no two triples share their bytes.
    #[must_use]
    pub fn derived(kind: &str, zone: &str, name: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [kind, zone, name] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Id({self})")
    }
}

/// A text that is not an id: 32 hex digits are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an id is 32 hex digits")
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAnId);
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| NotAnId)
    }
}
