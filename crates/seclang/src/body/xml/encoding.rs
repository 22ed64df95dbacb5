//! The encoding of an XML body: which bytes may follow which.
//!
//! UTF-8 unless the XML declaration says an encoding of single bytes that contains ASCII. Called by the
//! reader with every byte outside of plain runs.

use super::{XmlProblem, markup};

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

    /// Takes the encoding that an XML declaration (XML 1.0 §2.8) names; without a name it is UTF-8.
    ///
    /// `declaration` is what follows `<?xml`, with the `?` of its end.
    pub(super) fn declare(&mut self, declaration: &[u8]) -> Result<(), XmlProblem> {
        let mut rest = declaration.strip_suffix(b"?").ok_or(XmlProblem::Instruction)?;
        let mut next = 0;
        while let Some((name, value, behind)) =
            markup::attribute(rest).map_err(|_| XmlProblem::Instruction)?
        {
            rest = behind;
            // These three, in this order, the first always.
            let place = [&b"version"[..], b"encoding", b"standalone"].iter().position(|key| *key == name);
            match place {
                Some(place) if place >= next && (next > 0 || place == 0) => next = place + 1,
                _ => return Err(XmlProblem::Instruction),
            }
            match (name, value) {
                (b"encoding", _) => self.choose(value)?,
                (b"version", [b'1', b'.', digits @ ..]) if digits.iter().all(u8::is_ascii_digit) => {}
                (b"version", _) => return Err(XmlProblem::Instruction),
                _ => {}
            }
        }
        (next > 0).then_some(()).ok_or(XmlProblem::Instruction)
    }

    fn choose(&mut self, name: &[u8]) -> Result<(), XmlProblem> {
        let name = name.to_ascii_uppercase();
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
