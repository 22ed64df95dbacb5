//! Names and tokens of XML as types of schemas ask for them (XML Schema part 2 §3.3).
//!
//! Pure functions. Called by [`super::simple`] and [`super::value`].

/// What a text must be beside a value of its primitive type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lexical {
    Any,
    /// `language`: a tag as in RFC 3066.
    Language,
    /// `NMTOKEN`.
    Token,
    /// `Name`.
    Name,
    /// `NCName` and what is derived from it.
    Ncname,
    /// `ENTITY`: nothing, since no document's entities are read.
    Never,
    /// `integer`: a decimal without a point.
    Integer,
}

impl Lexical {
    pub(super) fn fits(self, text: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Never => false,
            Self::Language => {
                let mut parts = text.split(|byte| *byte == b'-');
                let is_short = |part: &[u8]| (1..=8).contains(&part.len());
                parts.next().is_some_and(|first| is_short(first) && first.iter().all(u8::is_ascii_alphabetic))
                    && parts.all(|part| is_short(part) && part.iter().all(u8::is_ascii_alphanumeric))
            }
            Self::Token => !text.is_empty() && text.iter().all(|byte| is_name(*byte)),
            Self::Name => {
                text.first().is_some_and(|first| begins(*first)) && text.iter().all(|byte| is_name(*byte))
            }
            Self::Ncname => is_ncname(text),
            Self::Integer => !text.contains(&b'.'),
        }
    }
}

fn begins(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-' | b'.' | 0x80..)
}

/// Tells whether a text is a name without a colon; beyond ASCII any character may be in one.
pub(super) fn is_ncname(text: &[u8]) -> bool {
    Lexical::Name.fits(text) && !text.contains(&b':')
}
