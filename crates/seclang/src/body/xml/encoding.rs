//! The encoding of an XML body: which bytes may follow which.
//!
//! UTF-8 unless the XML declaration says an encoding of single bytes that contains ASCII. Called by the
//! reader with every byte outside of plain runs.

use super::XmlProblem;

/// What is known of the encoding, and where in a character the body is.
#[derive(Debug, Default)]
pub(super) struct Encoding {
    /// Bytes from 0x80 are characters of their own.
    is_single_byte: bool,
    /// Bytes of a UTF-8 sequence still to come, and the range of the next one.
    left: u8,
    range: (u8, u8),
}

/// The byte order mark in UTF-8.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

impl Encoding {
    /// Tells whether the byte at `at` is a part of a byte order mark; one of UTF-16 or UTF-32 is an error.
    pub(super) fn is_mark(&mut self, byte: u8, at: u64) -> Result<bool, XmlProblem> {
        match at {
            0 if matches!(byte, 0xfe | 0xff | 0) => Err(XmlProblem::Encoding),
            0 => {
                // The two that follow are asked for by the first.
                self.left = if byte == MARK[0] { u8::MAX } else { 0 };
                Ok(byte == MARK[0])
            }
            1 | 2 if self.left == u8::MAX => {
                if byte != MARK[at as usize] {
                    return Err(XmlProblem::Character);
                }
                if at == 2 {
                    self.left = 0;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Tells whether `byte` may come next (RFC 3629 §4).
    pub(super) fn may_follow(&mut self, byte: u8) -> bool {
        if self.is_single_byte {
            return true;
        }
        if self.left > 0 {
            self.left -= 1;
            let (first, last) = std::mem::replace(&mut self.range, (0x80, 0xbf));
            return (first..=last).contains(&byte);
        }
        (self.left, self.range) = match byte {
            0..=0x7f => (0, (0, 0)),
            0xc2..=0xdf => (1, (0x80, 0xbf)),
            0xe0 => (2, (0xa0, 0xbf)),
            0xed => (2, (0x80, 0x9f)),
            0xe1..=0xef => (2, (0x80, 0xbf)),
            0xf0 => (3, (0x90, 0xbf)),
            0xf1..=0xf3 => (3, (0x80, 0xbf)),
            0xf4 => (3, (0x80, 0x8f)),
            _ => return false,
        };
        true
    }

    /// Takes the encoding that an XML declaration names; without a name it is UTF-8.
    pub(super) fn declare(&mut self, declaration: &[u8]) -> Result<(), XmlProblem> {
        const KEY: &[u8] = b"encoding";
        let Some(at) = memchr::memmem::find(declaration, KEY) else { return Ok(()) };
        let after = declaration.get(at + KEY.len()..).unwrap_or_default().trim_ascii_start();
        let value = after.strip_prefix(b"=").map(<[u8]>::trim_ascii_start);
        let name = value.and_then(|value| {
            let (quote, text) = value.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
            text.split(|byte| byte == quote).next()
        });
        let name = name.ok_or(XmlProblem::Instruction)?.to_ascii_uppercase();
        match name.as_slice() {
            b"UTF-8" | b"UTF8" | b"US-ASCII" | b"ASCII" => Ok(()),
            _ if [&b"ISO-8859-"[..], b"WINDOWS-125", b"CP125", b"LATIN1"]
                .iter()
                .any(|of| name.starts_with(of)) =>
            {
                self.is_single_byte = true;
                Ok(())
            }
            _ => Err(XmlProblem::Encoding),
        }
    }
}
