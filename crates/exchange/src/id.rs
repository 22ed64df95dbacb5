//! Request ids: 128 bits, 32 hex digits, unpredictable enough not to collide, cheap enough for each request.

use std::fmt;

/// The id of one exchange: `X-Request-Id`, the access log's `request_id`, the key of `rempart trace`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

/// The eight hex digits of four bytes, from the highest byte of the result down: all at once, since an id is
/// written several times for each request.
fn digits(four: [u8; 4]) -> u64 {
    let mut nibbles = u64::from(u32::from_be_bytes(four));
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // From 10 up, adding 6 reaches the next nibble.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)
}

impl RequestId {
    /// From its 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// A number below `count`, as likely as any other: spreads what would else happen at once.
    pub fn spread(&self, count: u8) -> u8 {
        let [.., last] = self.0;
        last % count.max(1)
    }

    /// 32 lower-case hex digits.
    pub fn hex(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (eight, four) in out.chunks_exact_mut(8).zip(self.0.as_chunks::<4>().0) {
            eight.copy_from_slice(&digits(*four).to_be_bytes());
        }
        out
    }

    /// Reads 32 hex digits of either case; none for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let high = char::from(*pair.first()?).to_digit(16)?;
            let low = char::from(*pair.get(1)?).to_digit(16)?;
            *byte = (high << 4 | low) as u8;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.hex()).unwrap_or_default())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// A thread's source of ids: SplitMix64 over a counter, seeded once by the wiring.
///
/// Ids are labels, not secrets: nobody gains anything by guessing one.
#[derive(Debug)]
pub struct IdSource {
    state: u64,
    salt: u64,
}

impl IdSource {
    /// A source whose ids do not meet those of another seed but by chance (2⁻⁶⁴ per pair).
    pub fn new(seed: [u64; 2]) -> Self {
        Self { state: seed[0], salt: seed[1] }
    }

    /// 64 well-mixed bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next id.
    pub fn next_id(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        let (high, low) = (self.next_u64(), self.next_u64() ^ self.salt);
        bytes[..8].copy_from_slice(&high.to_be_bytes());
        bytes[8..].copy_from_slice(&low.to_be_bytes());
        RequestId(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_two_lower_case_digits() {
        for byte in 0..=u8::MAX {
            assert_eq!(RequestId([byte; 16]).to_string(), format!("{byte:02x}").repeat(16));
        }
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(0x10..).for_each(|(byte, value)| *byte = value);
        assert_eq!(RequestId(bytes).to_string(), "101112131415161718191a1b1c1d1e1f");
    }

    #[test]
    fn an_id_reads_back_what_it_writes() {
        let id = IdSource::new([1, 2]).next_id();
        assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        assert_eq!(RequestId::parse("xyz"), None);
        assert_eq!(RequestId::parse(&"g".repeat(32)), None);
    }
}
