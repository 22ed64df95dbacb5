//! From when to when a certificate holds (RFC 5280 §4.1.2.5), so that whoever has a clock can warn of one
//! that does not hold any more.
//!
//! Only as much of the certificate is read as stands before these two times; whether it is otherwise in order
//! is rustls's to say. Called by the wiring, with [`crate::tls::Tls::certificate`].

use crate::feed::unix_s;

/// The times between which a certificate holds, both included, in seconds after 1970; what is before is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first.
    pub from_unix_s: u64,
    /// The last.
    pub until_unix_s: u64,
}

impl Validity {
    /// Reads it of a certificate in DER; none of what is no certificate.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, whole, _) = element(certificate)?;
        let (_, signed, _) = element(whole)?;
        // The version, where there is one; then number, algorithm and issuer stand before it.
        let mut rest = match element(signed)? {
            (VERSION, _, rest) => rest,
            _ => signed,
        };
        for _ in 0..3 {
            (_, _, rest) = element(rest)?;
        }
        let (_, times, _) = element(rest)?;
        let (kind, from, rest) = element(times)?;
        let from_unix_s = time(kind, from)?;
        let (kind, until, _) = element(rest)?;
        Some(Self { from_unix_s, until_unix_s: time(kind, until)? })
    }
}

/// The tag of a certificate's version.
const VERSION: u8 = 0xA0;

/// Splits the first element of some DER off (X.690 §8.1): its tag, its content, and what stands behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7F))?;
            if !(1..=4).contains(&digits.len()) {
                return None;
            }
            (digits.iter().fold(0_usize, |sum, digit| (sum << 8) | usize::from(*digit)), rest)
        }
    };
    let (content, behind) = rest.split_at_checked(length)?;
    Some((*tag, content, behind))
}

/// Reads a `Time` of RFC 5280 §4.1: `YYMMDDHHMMSSZ` of the years 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(kind: u8, text: &[u8]) -> Option<u64> {
    const UTC_TIME: u8 = 0x17;
    const GENERALIZED_TIME: u8 = 0x18;
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let century = if year < "50" { "20" } else { "19" };
            (format!("{century}{year}"), rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.to_owned(), rest)
        }
        _ => return None,
    };
    if year.as_str() < "1970" {
        return Some(0);
    }
    let two = |at: usize| rest.get(at..at + 2);
    let text =
        format!("{year}-{}-{}T{}:{}:{}{}", two(0)?, two(2)?, two(4)?, two(6)?, two(8)?, rest.get(10..)?);
    unix_s(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut parts = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        parts.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parts.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        parts.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_times_of_a_certificate_are_read_in_both_their_forms() {
        let of = |from, until| Validity::of(&made(from, until)).unwrap();
        let near = of((2026, 1, 2), (2026, 4, 2));
        assert_eq!((near.from_unix_s, near.until_unix_s), (1_767_312_000, 1_775_088_000));
        // From 2050 on the other form is used; before 1970 nothing is told apart.
        let wide = of((1960, 1, 1), (2051, 1, 1));
        assert_eq!((wide.from_unix_s, wide.until_unix_s), (0, 2_556_144_000));
        assert_eq!(of((1999, 12, 31), (2049, 12, 31)).until_unix_s, 2_524_521_600);
    }

    #[test]
    fn what_is_cut_anywhere_is_none() {
        let whole = made((2026, 1, 2), (2026, 4, 2));
        for end in 0..whole.len() {
            assert_eq!(Validity::of(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Validity::of(&bytes);
        }

        #[test]
        fn one_wrong_byte_never_panics(at in 0_usize..300, byte: u8) {
            let mut whole = made((2026, 1, 2), (2026, 4, 2));
            if let Some(known) = whole.get_mut(at) {
                *known = byte;
            }
            let _ = Validity::of(&whole);
        }
    }
}
