//! The sticky cookie: a visitor comes back to the origin that served it first.
//!
//! The value is a keyed hash of pool and origin id: it tells a visitor neither address nor number of
//! origins, stays valid when addresses or weights change, and cannot be made up without the key. It is not a
//! secret that protects anything: who copies a cookie reaches the same origin, no more.
//! What it does not do: it parses and writes no `Cookie` field, that is `edge`'s. Called by `choose.rs`.

/// The node's key for cookie values; the same on every node that serves the same zones.
#[derive(Clone, Copy)]
pub struct StickyKey([u64; 2]);

impl StickyKey {
    /// A key from 16 bytes. Nodes with different keys do not know each other's cookies.
    pub fn new(bytes: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(bytes);
        Self([bits as u64, (bits >> 64) as u64])
    }

    /// The cookie value for an origin of a pool: 16 lower-case hex digits.
    pub fn value(&self, pool: &[u8; 16], origin: &[u8; 16]) -> [u8; 16] {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut message = [0; 32];
        message[..16].copy_from_slice(pool);
        message[16..].copy_from_slice(origin);
        let mut out = [0; 16];
        for (at, pair) in out.chunks_exact_mut(2).enumerate() {
            let byte = (siphash(self.0, &message) >> (8 * at)) as usize & 255;
            pair.copy_from_slice(&[HEX[byte >> 4], HEX[byte & 15]]);
        }
        out
    }
}

impl std::fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StickyKey(…)")
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) over a message of whole 8-byte words.
fn siphash(key: [u64; 2], message: &[u8; 32]) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    let (words, _) = message.as_chunks::<8>();
    let last = (message.len() as u64) << 56;
    for word in words.iter().map(|word| u64::from_le_bytes(*word)).chain([last]) {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4() {
        // Key 00…0f, message 00…1f; computed with an independent implementation that meets the paper's
        // vector a129ca6149be45e5.
        let key = StickyKey::new(std::array::from_fn(|i| i as u8));
        assert_eq!(siphash(key.0, &std::array::from_fn(|i| i as u8)), 0x7127_512f_72f2_7cce);
    }

    #[test]
    fn values_differ_by_origin_pool_and_key() {
        let key = StickyKey::new([1; 16]);
        let value = key.value(&[2; 16], &[3; 16]);
        assert_eq!(value, key.value(&[2; 16], &[3; 16]));
        assert_ne!(value, key.value(&[2; 16], &[4; 16]));
        assert_ne!(value, key.value(&[5; 16], &[3; 16]));
        assert_ne!(value, StickyKey::new([9; 16]).value(&[2; 16], &[3; 16]));
        assert!(value.iter().all(u8::is_ascii_hexdigit));
    }
}
