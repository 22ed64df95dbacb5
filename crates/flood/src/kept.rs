//! What a watch knows as bytes, so that it outlives its process.
//!
//! A version, a probe of the hashes, the seconds, and then what is usual ([`crate::baseline`]) and who was
//! served and what was asked for ([`crate::seen`]). No limits and no episode: they are made again in some
//! seconds if there is reason to. All numbers are little-endian. Whatever does not fit is refused as a whole,
//! and nothing is taken over then; what is written is bounded by what a watch holds, 260 KiB at most.
//!
//! Times are seconds of one clock for all processes, which should be about the calendar's. Caller: `edge`.
//! Read next: [`Watch::keep`](crate::Watch::keep).

use std::net::{IpAddr, Ipv4Addr};

use crate::note::{Asked, Keys, Secret};

/// The form of what is kept; another one is not read.
pub const VERSION: u8 = 2;

/// Seconds after which what was kept says nothing any more of what is usual: what was learned of the hours of
/// a day has gone by once.
pub const KEPT_S_MAX: u64 = 86_400;

/// Seconds that the clock of whoever wrote it may be ahead: each process counts on from the whole second in
/// which it began, and two machines' clocks, or one that is set, differ by some.
pub const AHEAD_S_MAX: u64 = 5;

/// Seconds after it is taken over in which no episode begins: those who waited for the next process, and
/// those who were cut off, come all at once.
pub const RETURN_S: u64 = 5;

/// Why what was kept is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is of another version.
    Version,
    /// It was made with other hashes: the key has changed, or the program makes them in another way.
    Hashes,
    /// It is of another size: the node watches many more zones than before, or many fewer.
    Size,
    /// It is older than [`KEPT_S_MAX`], or from more than [`AHEAD_S_MAX`] in the future.
    Age,
    /// It is cut short, or is not what a watch writes.
    Malformed,
}

impl Unusable {
    /// In words, for an event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "it is of another version",
            Self::Hashes => "it was made with another key or by a program with other hashes",
            Self::Size => "it was made when many more, or many fewer, zones were watched",
            Self::Age => "it is older than a day, or from the future",
            Self::Malformed => "it is damaged",
        }
    }
}

/// What a secret makes of a request that nobody asks: equal only where all hashes are.
pub(crate) fn probe(secret: &Secret) -> u64 {
    let asked = Asked {
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        network: Some(1),
        country: Some(*b"XX"),
        ja4: Some(b"t13d1516h2_8daaf6152771_02713d6af862"),
        path: b"/probe/of/the/hashes/that/are/kept",
        query: Some(b"which=all"),
        agent: b"probe",
        is_safe: false,
    };
    let keys = Keys::of(&asked, secret);
    let values = keys.values.iter().fold(keys.target, |sum, value| crate::mix(sum ^ u64::from(*value)));
    values ^ keys.visitor.rotate_left(7)
}

/// Takes numbers off the front of bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Unusable> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Unusable::Malformed)?;
        self.0 = rest;
        Ok(*front)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Unusable> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Unusable> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Unusable> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A number that a mean or a sum may be.
    pub(crate) fn amount(&mut self) -> Result<f64, Unusable> {
        let amount = self.bytes().map(f64::from_le_bytes)?;
        let is_one = amount.is_finite() && (0.0..=AMOUNT_MAX).contains(&amount);
        is_one.then_some(amount).ok_or(Unusable::Malformed)
    }
}

/// More than any rate, time or sum of them in an hour: a million requests a second, each for an hour.
const AMOUNT_MAX: f64 = 1e16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_is_another_probe() {
        assert_eq!(probe(&Secret::new(1)), probe(&Secret::new(1)));
        assert_ne!(probe(&Secret::new(1)), probe(&Secret::new(2)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        let read = |amount: f64| Reader(&amount.to_le_bytes()).amount();
        assert_eq!(read(0.5), Ok(0.5));
        for odd in [f64::NAN, f64::INFINITY, -1.0, 1e17] {
            assert_eq!(read(odd), Err(Unusable::Malformed), "{odd}");
        }
        assert_eq!(Reader(&[1, 2, 3]).u32(), Err(Unusable::Malformed));
    }
}
