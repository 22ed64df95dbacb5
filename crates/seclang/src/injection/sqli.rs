//! `detectSQLi`: fingerprints of SQL.
//!
//! A value is tokenized as SQL three ways: as it stands, as if it followed a single quote, and as if it
//! followed a double quote; where its comments mean one thing in MySQL and another elsewhere, both. Tokens
//! that change nothing about the shape fold away (`1+1` is a number). What is left, at most five tokens, is
//! the fingerprint.
//!
//! Called by the engine. Read next: [`detect`], then `token` and `fold`.

mod fingerprints;
mod fold;
#[cfg(test)]
mod tests;
mod token;
mod words;

use memchr::{memchr, memmem};

use fold::Folded;
use token::{Dialect, Kind, Token};

/// The shape of a value as SQL: up to five letters, such as `s&1` for `' or 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    letters: [u8; token::TOKENS_MAX],
    length: u8,
}

impl Fingerprint {
    /// Its letters.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.letters.get(..usize::from(self.length)).unwrap_or_default()
    }

    fn new(tokens: &[Token]) -> Self {
        let mut letters = [0; token::TOKENS_MAX];
        let kinds = tokens.iter().map(|token| token.kind.letter());
        letters.iter_mut().zip(kinds).for_each(|(place, letter)| *place = letter);
        Self { letters, length: tokens.len().min(token::TOKENS_MAX) as u8 }
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

/// `detectSQLi`: the fingerprint of `value` if it is that of an attack.
///
/// Steps: about ten for each byte and pass; one pass, and one more for each quote and each doubtful comment
/// in it.
#[must_use]
pub fn detect(value: &[u8]) -> Option<Fingerprint> {
    if value.is_empty() || is_plain(value) {
        return None;
    }
    if let Some(found) = detect_as(value, None) {
        return Some(found);
    }
    if memchr(b'\'', value).is_some()
        && let Some(found) = detect_as(value, Some(b'\''))
    {
        return Some(found);
    }
    memchr(b'"', value)?;
    judge(value, Some(b'"'), Dialect::MySql).ok()
}

/// Values of letters, digits and underscores alone are numbers and at most one word, which is no attack.
/// (With dots it would not hold: `1or.1or.1` is one.)
fn is_plain(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Judges in standard SQL, and in MySQL too where `--` or `#` made a difference.
fn detect_as(value: &[u8], quote: Option<u8>) -> Option<Fingerprint> {
    match judge(value, quote, Dialect::Ansi) {
        Ok(found) => Some(found),
        Err(true) => judge(value, quote, Dialect::MySql).ok(),
        Err(false) => None,
    }
}

/// The fingerprint if it is an attack's; else whether MySQL would read the value differently.
fn judge(value: &[u8], quote: Option<u8>, dialect: Dialect) -> Result<Fingerprint, bool> {
    let folded = fold::fold(value, quote, dialect);
    let fingerprint = Fingerprint::new(folded.tokens());
    if fingerprints::is_attack(fingerprint.as_bytes()) && is_meant(value, &folded, fingerprint.as_bytes()) {
        Ok(fingerprint)
    } else {
        Err(folded.has_doubtful_comment)
    }
}

/// Tells whether a value with an attack's fingerprint is one: short ones are often plain text.
fn is_meant(value: &[u8], folded: &Folded, fingerprint: &[u8]) -> bool {
    let tokens = folded.tokens();
    // Microsoft's audit log is said to leave out statements that mention this.
    if tokens.len() > 1 && fingerprint.last() == Some(&b'c') && memmem::find(value, b"sp_password").is_some()
    {
        return true;
    }
    match tokens {
        [first, second] => is_pair_meant(value, first, second, folded.tokens_read),
        [first, second, third] => match fingerprint {
            // Two strings around an operator: an attack only if both are cut, as in `foo' + 'bar`.
            b"sos" | b"s&s" => first.open.is_none() && third.close.is_none() && first.close == third.open,
            b"s&n" | b"n&1" | b"1&1" | b"1&v" | b"1&s" => folded.tokens_read != 3,
            _ if second.kind == Kind::Keyword => {
                // Of the words between two values only `INTO OUTFILE` and its like do harm.
                second.text().len() >= 5 && second.starts_with(b"INTO")
            }
            _ => true,
        },
        _ => true,
    }
}

/// [`is_meant`] for two tokens.
fn is_pair_meant(value: &[u8], first: &Token, second: &Token, tokens_read: usize) -> bool {
    if second.kind == Kind::Union {
        // `1 union` alone is plain text.
        return tokens_read != 2;
    }
    let start = second.text().first().copied();
    if start == Some(b'#') {
        return false;
    }
    let is_comment = second.kind == Kind::Comment;
    if first.kind == Kind::Bareword && is_comment && start != Some(b'/') {
        return false;
    }
    if first.kind == Kind::Number && is_comment {
        if start == Some(b'/') || tokens_read > 2 {
            return true;
        }
        // The number must end where the comment starts, or else it is something like `1234-ABCD--`. Bytes
        // above 0x7F count as blank.
        let behind = value.get(first.text().len()..).unwrap_or_default();
        return matches!(behind, [] | [0..=32 | 0x80.., ..] | [b'/', b'*', ..] | [b'-', b'-', ..]);
    }
    // Many write `--` in plain text; only at the end it is a scan.
    !(second.text().len() > 2 && start == Some(b'-'))
}
