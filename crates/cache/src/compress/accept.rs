//! `Accept-Encoding`: which content codings a visitor takes, and which one it gets (RFC 9110 §12.5.3).
//!
//! Called by `policy/vary.rs` for the variants of what an origin codes itself, and by `compress/choose.rs`
//! for what we code.

use exchange::{Fields, Known};

use crate::limits::CODINGS_READ_MAX;
use crate::policy::words::{members, trim};

/// A content coding that is made here or kept as an origin made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All, the one that is best for what is stored first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// As in `Content-Encoding`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The coding of that name, in any case; `x-gzip` is `gzip` (RFC 9110 §8.4.1.3).
    pub fn of(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }
}

/// What a visitor takes: weights in thousandths, 0 for what it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// For each of [`Coding::ALL`].
    weights: [u16; 3],
    /// Uncoded.
    identity: u16,
}

impl Default for Accepted {
    /// Uncoded only, as of a request that says nothing.
    fn default() -> Self {
        Self { weights: [0; 3], identity: 1000 }
    }
}

impl Accepted {
    /// Reads all lines. A request without the field gets what is uncoded: it may take anything, but who says
    /// nothing is seldom able to decode.
    pub fn read(request: &Fields) -> Self {
        let (mut weights, mut identity, mut others) = ([None; 3], None, None);
        let all = request.all_known(Known::AcceptEncoding).flat_map(members).take(CODINGS_READ_MAX);
        for member in all {
            let mut parts = member.split(|byte| *byte == b';').map(trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(weight).unwrap_or(1000);
            if name == b"*" {
                others = others.or(Some(weight));
            } else if name.eq_ignore_ascii_case(b"identity") {
                identity = identity.or(Some(weight));
            } else if let Some(coding) = Coding::of(name) {
                for (known, said) in Coding::ALL.iter().zip(&mut weights) {
                    if *known == coding && said.is_none() {
                        *said = Some(weight);
                    }
                }
            }
        }
        Self {
            weights: weights.map(|said| said.or(others).unwrap_or(0)),
            // Uncoded is always taken unless it is refused by name or by `*` (RFC 9110 §12.5.3).
            identity: identity.unwrap_or(if others == Some(0) { 0 } else { 1 }),
        }
    }

    /// The weight of a coding, or of what is uncoded for none: 0 to 1,000.
    pub fn weight(&self, coding: Option<Coding>) -> u16 {
        match coding {
            None => self.identity,
            Some(coding) => {
                let found = Coding::ALL.iter().zip(self.weights).find(|(known, _)| **known == coding);
                found.map_or(0, |(_, weight)| weight)
            }
        }
    }

    /// Whether it takes a coding, or what is uncoded.
    pub fn takes(&self, coding: Option<Coding>) -> bool {
        self.weight(coding) > 0
    }

    /// One byte that is equal for requests that take the same codings, whatever their weights.
    ///
    /// A visitor that takes two codings can read either, so one stored variant serves all weights; the origin
    /// is asked with [`Accepted::normalised`] and so cannot tell them apart.
    pub fn class(&self) -> u8 {
        let codings = self.weights.iter().fold(0, |bits, weight| bits << 1 | u8::from(*weight > 0));
        codings << 1 | u8::from(self.identity == 0)
    }

    /// The `Accept-Encoding` that origins are asked with: codings we know, in one order, without weights.
    /// None where only what is uncoded is taken.
    pub fn normalised(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(24);
        for coding in Coding::ALL.into_iter().filter(|coding| self.takes(Some(*coding))) {
            if !out.is_empty() {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(coding.as_str().as_bytes());
        }
        if self.identity == 0 {
            if !out.is_empty() {
                out.extend_from_slice(b", ");
            }
            out.extend_from_slice(b"identity;q=0");
        }
        (!out.is_empty()).then_some(out)
    }
}

/// `q=0.5` in thousandths (RFC 9110 §12.4.2). None for another parameter; one that cannot be read is 0.
fn weight(parameter: &[u8]) -> Option<u16> {
    let equals = memchr::memchr(b'=', parameter)?;
    let (name, value) = (trim(parameter.get(..equals)?), trim(parameter.get(equals + 1..)?));
    if !name.eq_ignore_ascii_case(b"q") {
        return None;
    }
    let (whole, part) = match value {
        [whole] => (whole, &b""[..]),
        [whole, b'.', part @ ..] if part.len() <= 3 => (whole, part),
        _ => return Some(0),
    };
    if !part.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    match whole {
        b'1' => Some(1000),
        b'0' => {
            let digit = |at: usize| part.get(at).map_or(0, |byte| u16::from(byte - b'0'));
            Some(digit(0) * 100 + digit(1) * 10 + digit(2))
        }
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &str) -> Accepted {
        let mut fields = Fields::new();
        fields.push(b"Accept-Encoding", value.as_bytes());
        Accepted::read(&fields)
    }

    #[test]
    fn reads_names_and_weights() {
        let a = accepted("GZIP;q=0.5, br ; q=1.0, zstd;q=0, x");
        assert_eq!(a.weight(Some(Coding::Gzip)), 500);
        assert_eq!(a.weight(Some(Coding::Brotli)), 1000);
        assert!(!a.takes(Some(Coding::Zstd)) && a.takes(None));
        assert!(accepted("x-gzip").takes(Some(Coding::Gzip)));
        assert!(!accepted("gzip;q=2").takes(Some(Coding::Gzip)));
        assert!(!accepted("gzip;q=").takes(Some(Coding::Gzip)));
        assert!(accepted("gzip;a=b;q=0.001").takes(Some(Coding::Gzip)));
    }

    #[test]
    fn a_star_is_for_what_is_not_named() {
        let a = accepted("gzip;q=0, *");
        assert!(!a.takes(Some(Coding::Gzip)) && a.takes(Some(Coding::Brotli)));
        assert!(!accepted("gzip, *;q=0").takes(None));
        assert!(accepted("gzip, *;q=0, identity").takes(None));
        assert!(!accepted("identity;q=0, gzip").takes(None));
    }

    #[test]
    fn a_request_that_says_nothing_gets_what_is_uncoded() {
        let nothing = Accepted::read(&Fields::new());
        assert!(nothing.takes(None) && Coding::ALL.iter().all(|coding| !nothing.takes(Some(*coding))));
        assert_eq!(nothing.normalised(), None);
    }

    #[test]
    fn the_same_codings_are_one_class_whatever_their_order_and_weights() {
        assert_eq!(accepted("gzip, br").class(), accepted("br;q=0.1 , deflate, gzip").class());
        assert_ne!(accepted("gzip, br").class(), accepted("gzip").class());
        assert_eq!(accepted("br;q=0.1, deflate, gzip").normalised().as_deref(), Some(&b"br, gzip"[..]));
        assert_ne!(accepted("gzip").class(), accepted("gzip, identity;q=0").class());
    }
}
