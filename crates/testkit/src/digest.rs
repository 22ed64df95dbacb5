//! Digests and encodings that tests need: SHA-1 and SHA-256, HMAC, hexadecimal, Base64, and a byte pattern.
//!
//! Nothing here keeps secrets. Called by the WebSocket handshake, the recorders and the object store. Read
//! next: [`crate::site::objects`].

use aws_lc_rs::{digest, hmac};

/// The SHA-256 of `bytes` in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// HMAC-SHA-256 (RFC 2104) of `bytes` under `key`.
pub fn hmac_sha256(key: &[u8], bytes: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), bytes).as_ref().to_vec()
}

/// The SHA-1 of `bytes`: for the WebSocket handshake alone (RFC 6455 section 1.3).
pub fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 with padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = 0_u32;
        for place in 0..3 {
            word = word << 8 | u32::from(chunk.get(place).copied().unwrap_or(0));
        }
        for place in 0..4 {
            if place > chunk.len() {
                text.push('=');
            } else {
                text.push(char::from(LETTERS[(word >> (18 - 6 * place) & 63) as usize]));
            }
        }
    }
    text
}

/// SHA-256 and length of a body that is never held whole.
#[derive(Clone)]
pub struct Running {
    context: digest::Context,
    length: u64,
}

impl Default for Running {
    fn default() -> Running {
        Running { context: digest::Context::new(&digest::SHA256), length: 0 }
    }
}

impl Running {
    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// Bytes so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The SHA-256 of the bytes so far, in lower-case hexadecimal.
    pub fn sha256_hex(&self) -> String {
        hex(self.context.clone().finish().as_ref())
    }
}

/// Fills `out` with the bytes from `offset` of an endless pattern that belongs to `seed`. Any part of it can
/// be made without what comes before, no two aligned words of 8 bytes are likely equal, and it does not
/// compress.
pub fn pattern(seed: u64, offset: u64, out: &mut [u8]) {
    let mut position = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let word = mixed(seed ^ (position / 8)).to_le_bytes();
        let from = (position % 8) as usize;
        let take = (8 - from).min(rest.len());
        let (now, later) = rest.split_at_mut(take);
        now.copy_from_slice(&word[from..from + take]);
        position += take as u64;
        rest = later;
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (length, text) in expected.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..length]), *text);
        }
    }

    #[test]
    fn sha256_matches_the_vector_of_fips_180() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), expected);
        let mut running = Running::default();
        running.add(b"a");
        running.add(b"bc");
        assert_eq!((running.length(), running.sha256_hex().as_str()), (3, expected));
    }

    #[test]
    fn any_part_of_a_pattern_equals_the_same_part_of_the_whole() {
        let mut whole = [0; 64];
        pattern(7, 0, &mut whole);
        for from in 0..32 {
            let mut part = [0; 19];
            pattern(7, from as u64, &mut part);
            assert_eq!(part, whole[from..from + 19]);
        }
    }
}
