//! `Content-Disposition` of a part: `form-data`, a name, and for files a file name.
//!
//! Read as libmodsecurity 3 reads it, which refuses parameters it does not know, since another reader might.

use std::fmt;

/// What a part is called.
#[derive(Debug, Default)]
pub(super) struct Disposition {
    pub(super) name: Vec<u8>,
    pub(super) file_name: Vec<u8>,
    /// Single quotes were used, or quotes where none may be.
    pub(super) has_odd_quotes: bool,
}

/// Why a `Content-Disposition` cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// It is not `form-data`.
    OtherType,
    /// A parameter without name, value or `=`.
    Parameter,
    /// A parameter other than `name`, `filename` and `filename*`.
    UnknownParameter,
    /// A parameter is there twice.
    TwoParameters,
    /// A quote without end, or a backslash at the end.
    Quoting,
    /// Something between a value and the next semicolon.
    NoSemicolon,
    /// A `filename*` that RFC 5987 does not have.
    ExtendedValue,
    /// `filename*` without `filename`: readers differ on what the part is called.
    ExtendedAlone,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Problem::OtherType => "it is not form-data",
            Problem::Parameter => "a parameter has no name or no value",
            Problem::UnknownParameter => "a parameter that form-data does not have",
            Problem::TwoParameters => "a parameter is there twice",
            Problem::Quoting => "a quote without end",
            Problem::NoSemicolon => "no semicolon between two parameters",
            Problem::ExtendedValue => "a malformed filename*",
            Problem::ExtendedAlone => "filename* without filename",
        })
    }
}

impl Disposition {
    /// Reads the field's value. What was read before a problem stays.
    pub(super) fn read(&mut self, value: &[u8]) -> Result<(), Problem> {
        let rest = value.strip_prefix(b"form-data").ok_or(Problem::OtherType)?;
        let rest = skip_blanks(rest);
        let mut rest = match rest {
            [] => return Ok(()),
            [b';', rest @ ..] => rest,
            _ => return Err(Problem::OtherType),
        };
        let mut extended = false;
        while !rest.is_empty() {
            rest = self.read_parameter(rest, &mut extended)?;
        }
        if extended && self.file_name.is_empty() {
            return Err(Problem::ExtendedAlone);
        }
        Ok(())
    }

    fn read_parameter<'a>(&mut self, rest: &'a [u8], extended: &mut bool) -> Result<&'a [u8], Problem> {
        let rest = skip_blanks(rest);
        let end =
            rest.iter().position(|byte| matches!(byte, b'=' | b' ' | b'\t')).ok_or(Problem::Parameter)?;
        let (name, rest) = rest.split_at(end);
        let rest = skip_blanks(rest).strip_prefix(b"=").ok_or(Problem::Parameter)?;
        let rest = skip_blanks(rest);
        let (value, quote, rest) = match rest {
            [] => return Err(Problem::Parameter),
            _ if name == b"filename*" => {
                let (value, rest) = extended_value(rest)?;
                (value.to_vec(), None, rest)
            }
            [quote @ (b'"' | b'\''), rest @ ..] => {
                self.has_odd_quotes |= *quote == b'\'';
                let (value, rest) = quoted(*quote, rest)?;
                (value, Some(*quote), rest)
            }
            _ => {
                let end = rest.iter().position(|&byte| !is_token(byte)).unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                (value.to_vec(), None, rest)
            }
        };
        match name {
            b"name" | b"filename" => {
                self.has_odd_quotes |= quote != Some(b'"') && value.contains(&b'\'');
                let field = if name == b"name" { &mut self.name } else { &mut self.file_name };
                let is_second = !field.is_empty();
                *field = value;
                if is_second {
                    return Err(Problem::TwoParameters);
                }
            }
            b"filename*" => {
                if std::mem::replace(extended, true) {
                    return Err(Problem::TwoParameters);
                }
            }
            _ => return Err(Problem::UnknownParameter),
        }
        match skip_blanks(rest) {
            [] => Ok(&[]),
            [b';', rest @ ..] => Ok(rest),
            behind => {
                // The byte before, blanks included, tells whether a quote ended early.
                let at = rest.len() - behind.len();
                let before = if at > 0 { rest.get(at - 1).copied() } else { quote };
                self.has_odd_quotes |= matches!(before, Some(b'"' | b'\''));
                Err(Problem::NoSemicolon)
            }
        }
    }
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// A value in quotes, and what is behind it. A backslash protects the quote and itself, and is kept before
/// all else.
fn quoted(quote: u8, text: &[u8]) -> Result<(Vec<u8>, &[u8]), Problem> {
    let mut value = Vec::new();
    let mut rest = text;
    loop {
        rest = match rest {
            [] | [b'\\'] => return Err(Problem::Quoting),
            [b'\\', byte, behind @ ..] if *byte == quote || *byte == b'\\' => {
                value.push(*byte);
                behind
            }
            [byte, behind @ ..] if *byte == quote => return Ok((value, behind)),
            [byte, behind @ ..] => {
                value.push(*byte);
                behind
            }
        };
    }
}

/// A value of RFC 5987 §3.2, as written, and what is behind it.
fn extended_value(text: &[u8]) -> Result<(&[u8], &[u8]), Problem> {
    let is_charset = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&+-^_`{}~".contains(byte);
    let charset = text.iter().take_while(|byte| is_charset(byte)).count();
    let rest = text.get(charset..).and_then(|rest| rest.strip_prefix(b"'"));
    let rest = rest.filter(|_| charset > 0).ok_or(Problem::ExtendedValue)?;
    let language = memchr::memchr(b'\'', rest).ok_or(Problem::ExtendedValue)?;
    let name = rest.get(language + 1..).unwrap_or_default();
    let mut end = 0;
    loop {
        end += match name.get(end..).unwrap_or_default() {
            [] | [b';', ..] => break,
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => 3,
            [byte, ..] if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`~".contains(byte) => 1,
            _ => return Err(Problem::ExtendedValue),
        };
    }
    Ok(name.split_at(end))
}

/// Tells whether a byte may be in a token (RFC 2045 §5.1).
const fn is_token(byte: u8) -> bool {
    matches!(byte, 33..=126)
        && !matches!(
            byte,
            b'(' | b')'
                | b'<'
                | b'>'
                | b'@'
                | b','
                | b';'
                | b':'
                | b'\\'
                | b'"'
                | b'/'
                | b'['
                | b']'
                | b'?'
                | b'='
        )
}
