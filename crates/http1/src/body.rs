//! Bodies: finds the payload in the bytes after a head, and the end of the message (RFC 9112 §6, §7).
//!
//! It keeps no payload and holds nothing but the trailers; the bytes are the caller's. It sets no limit on
//! the content's length: that is for whoever streams it. Called by `wire` and `origin`.

use crate::field;
use crate::head::Framing;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_EXTENSION_BYTES_ALLOWANCE, CHUNK_SIZE_DIGITS_MAX, Limits};
use crate::malformed::Malformed;
use crate::trailer;

/// What one call of [`BodyDecoder::decode`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of payload, now at the front of the data.
    pub payload: usize,
    /// Bytes of the data that belong to this message. Fewer than given only when the message ended; what
    /// follows belongs to the next one and lies unchanged from here on.
    pub consumed: usize,
}

/// Decodes the content of one message, in pieces of any size.
#[derive(Debug)]
pub struct BodyDecoder {
    step: Step,
    /// Bytes of payload still to come, in the message or in the chunk.
    left: u64,
    digits: u8,
    extension_bytes: usize,
    extension_bytes_total: u64,
    payload_bytes_total: u64,
    trailers: Vec<u8>,
    /// Where the trailer line that is being read starts.
    line_start: usize,
    /// Bytes of lines that were left out.
    trailer_bytes_dropped: usize,
    are_sizes_padded: bool,
    extension_bytes_max: usize,
    trailer_bytes_max: usize,
}

/// Where in the message the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Length,
    UntilClose,
    ChunkSize,
    Extension(Extension),
    ChunkSizeLineFeed,
    ChunkPayload,
    ChunkCarriageReturn,
    ChunkLineFeed,
    Trailer,
    Done,
    Failed(Malformed),
}

/// Where in `*( BWS ";" BWS name [ BWS "=" BWS value ] )` the next byte is (RFC 9112 §7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// Whitespace has come after the size. That the line ends here is in no grammar, but old servers pad
    /// sizes so: [`Limits::are_sizes_padded`].
    AfterSize,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    QuotedPair,
    AfterQuoted,
    AfterValue,
}

impl Extension {
    /// Where the byte leads, if it may stand here. The line's CR is treated by the caller.
    fn next(self, byte: u8) -> Option<Extension> {
        let is_space = byte == b' ' || byte == b'\t';
        let is_token = field::is_token_byte(byte);
        Some(match (self, byte) {
            (Extension::AfterSize, _) if is_space => Extension::AfterSize,
            (Extension::AfterSize, b';') => Extension::BeforeName,
            (Extension::BeforeName, _) if is_space => Extension::BeforeName,
            (Extension::BeforeName | Extension::Name, _) if is_token => Extension::Name,
            (Extension::Name | Extension::AfterName, b'=') => Extension::BeforeValue,
            (Extension::Name | Extension::AfterName, b';') => Extension::BeforeName,
            (Extension::Name | Extension::AfterName, _) if is_space => Extension::AfterName,
            (Extension::BeforeValue, _) if is_space => Extension::BeforeValue,
            (Extension::BeforeValue, b'"') => Extension::Quoted,
            (Extension::BeforeValue | Extension::Token, _) if is_token => Extension::Token,
            (Extension::Quoted, b'"') => Extension::AfterQuoted,
            (Extension::Quoted, b'\\') => Extension::QuotedPair,
            (Extension::Quoted | Extension::QuotedPair, _) if field::is_value_byte(byte) => Extension::Quoted,
            (Extension::Token | Extension::AfterQuoted | Extension::AfterValue, b';') => {
                Extension::BeforeName
            }
            (Extension::Token | Extension::AfterQuoted | Extension::AfterValue, _) if is_space => {
                Extension::AfterValue
            }
            _ => return None,
        })
    }

    /// Whether the line may end here.
    fn may_end(self) -> bool {
        matches!(self, Extension::Name | Extension::Token | Extension::AfterQuoted)
    }
}

impl BodyDecoder {
    /// A decoder for content framed as `framing`; done from the start for `None` and `Length(0)`.
    pub fn new(framing: Framing, limits: &Limits) -> Self {
        let (step, left) = match framing {
            Framing::None | Framing::Length(0) => (Step::Done, 0),
            Framing::Length(length) => (Step::Length, length),
            Framing::Chunked => (Step::ChunkSize, 0),
            Framing::UntilClose => (Step::UntilClose, 0),
        };
        BodyDecoder {
            step,
            left,
            digits: 0,
            extension_bytes: 0,
            extension_bytes_total: 0,
            payload_bytes_total: 0,
            trailers: Vec::new(),
            line_start: 0,
            trailer_bytes_dropped: 0,
            are_sizes_padded: limits.are_sizes_padded,
            extension_bytes_max: limits.chunk_extension_bytes_max,
            trailer_bytes_max: limits.trailer_bytes_max,
        }
    }

    /// Decodes the next bytes of the message in place: its payload is moved to the front of `data`.
    ///
    /// Consumes everything up to the message's end, so the caller keeps nothing back. After the end it
    /// consumes nothing.
    ///
    /// # Errors
    ///
    /// A [`Malformed`] of bodies, the same for the same bytes however they are cut, and the same again at
    /// every later call. Payload of earlier calls stands; that of this call is lost.
    pub fn decode(&mut self, data: &mut [u8]) -> Result<Decoded, Malformed> {
        let whole = data.len();
        match self.step {
            Step::Done => Ok(Decoded::default()),
            Step::Failed(reason) => Err(reason),
            Step::UntilClose => Ok(Decoded { payload: whole, consumed: whole }),
            Step::Length => {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(whole);
                self.left -= count as u64;
                if self.left == 0 {
                    self.step = Step::Done;
                }
                Ok(Decoded { payload: count, consumed: count })
            }
            _ => self.decode_chunks(data).inspect_err(|reason| self.step = Step::Failed(*reason)),
        }
    }

    fn decode_chunks(&mut self, data: &mut [u8]) -> Result<Decoded, Malformed> {
        let (mut read, mut written) = (0, 0);
        while self.step != Step::Done
            && let Some(&byte) = data.get(read)
        {
            if self.step == Step::ChunkPayload {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(data.len() - read);
                if written != read {
                    // `written` never passes `read`, and `read + count` is at most the length.
                    data.copy_within(read..read + count, written);
                }
                (read, written) = (read + count, written + count);
                self.left -= count as u64;
                self.payload_bytes_total += count as u64;
                if self.left == 0 {
                    self.step = Step::ChunkCarriageReturn;
                }
                continue;
            }
            self.step = self.step_over(byte)?;
            read += 1;
        }
        Ok(Decoded { payload: written, consumed: read })
    }

    /// Reads one byte outside of payload.
    fn step_over(&mut self, byte: u8) -> Result<Step, Malformed> {
        match self.step {
            Step::ChunkSize => self.size_byte(byte),
            Step::Extension(place) => self.extension_byte(place, byte),
            Step::ChunkSizeLineFeed if byte != b'\n' => Err(Malformed::BareCarriageReturn),
            Step::ChunkSizeLineFeed => {
                self.digits = 0;
                self.extension_bytes = 0;
                Ok(if self.left == 0 { Step::Trailer } else { Step::ChunkPayload })
            }
            Step::ChunkCarriageReturn if byte == b'\r' => Ok(Step::ChunkLineFeed),
            Step::ChunkLineFeed if byte == b'\n' => Ok(Step::ChunkSize),
            Step::ChunkCarriageReturn | Step::ChunkLineFeed => Err(Malformed::ChunkEnd),
            Step::Trailer => self.trailer_byte(byte),
            // Not reached from `decode_chunks`; staying where we are reads nothing into the message.
            Step::Length | Step::UntilClose | Step::ChunkPayload | Step::Done => Ok(self.step),
            Step::Failed(reason) => Err(reason),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<Step, Malformed> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(Step::ChunkSizeLineFeed),
            b';' if self.digits > 0 => {
                self.count_extension_byte()?;
                return Ok(Step::Extension(Extension::BeforeName));
            }
            b' ' | b'\t' if self.digits > 0 => {
                self.count_extension_byte()?;
                return Ok(Step::Extension(Extension::AfterSize));
            }
            b'\n' if self.digits > 0 => return Err(Malformed::BareLineFeed),
            _ => return Err(Malformed::ChunkSize),
        };
        if self.are_sizes_padded && digit == 0 && self.left == 0 && self.digits > 0 {
            self.count_extension_byte()?; // one more zero in front says nothing
            return Ok(Step::ChunkSize);
        }
        self.digits += 1;
        // Fifteen digits before this one, so the shift loses nothing.
        self.left = self.left << 4 | u64::from(digit);
        if self.digits > CHUNK_SIZE_DIGITS_MAX || self.left > CHUNK_BYTES_MAX {
            return Err(Malformed::ChunkTooLarge);
        }
        Ok(Step::ChunkSize)
    }

    fn extension_byte(&mut self, place: Extension, byte: u8) -> Result<Step, Malformed> {
        match byte {
            b'\r' if place.may_end() => Ok(Step::ChunkSizeLineFeed),
            b'\r' if place == Extension::AfterSize && self.are_sizes_padded => Ok(Step::ChunkSizeLineFeed),
            _ if place == Extension::AfterSize && !matches!(byte, b' ' | b'\t' | b';') => {
                Err(Malformed::ChunkSize)
            }
            b'\n' => Err(Malformed::BareLineFeed),
            _ => {
                self.count_extension_byte()?;
                place.next(byte).map(Step::Extension).ok_or(Malformed::ChunkExtension)
            }
        }
    }

    fn count_extension_byte(&mut self) -> Result<(), Malformed> {
        self.extension_bytes += 1;
        self.extension_bytes_total += 1;
        let total_max = self.payload_bytes_total.saturating_add(CHUNK_EXTENSION_BYTES_ALLOWANCE);
        if self.extension_bytes > self.extension_bytes_max || self.extension_bytes_total > total_max {
            return Err(Malformed::ChunkExtensionTooLong);
        }
        Ok(())
    }

    fn trailer_byte(&mut self, byte: u8) -> Result<Step, Malformed> {
        self.trailers.push(byte);
        if byte == b'\n' {
            let line = self.trailers.get(self.line_start..).unwrap_or_default();
            if line == b"\r\n" {
                self.trailers.truncate(self.line_start);
                return Ok(Step::Done);
            }
            if trailer::trailer_line(line)?.is_none() {
                self.trailer_bytes_dropped += line.len();
                self.trailers.truncate(self.line_start);
            }
            self.line_start = self.trailers.len();
        }
        // The empty line at the end does not count; until its LF it may look like one more field line.
        let spare = if self.trailers.get(self.line_start..) == Some(b"\r") { 1 } else { 0 };
        if self.trailers.len() + self.trailer_bytes_dropped > self.trailer_bytes_max.saturating_add(spare) {
            return Err(Malformed::TrailersTooLarge);
        }
        Ok(Step::Trailer)
    }

    /// Whether the message has ended; bytes that follow belong to the next one.
    pub fn is_done(&self) -> bool {
        self.step == Step::Done
    }

    /// Tells that the connection ended. Content that lasts until then is done now.
    ///
    /// # Errors
    ///
    /// [`Malformed::Incomplete`] when the message is not done; an earlier error is repeated.
    pub fn at_eof(&mut self) -> Result<(), Malformed> {
        match self.step {
            Step::Done => Ok(()),
            Step::UntilClose => {
                self.step = Step::Done;
                Ok(())
            }
            Step::Failed(reason) => Err(reason),
            _ => Err(Malformed::Incomplete),
        }
    }

    /// The trailers of a message that is done, once: `Name: value` CRLF for each, validated, without the
    /// final empty line. `None` when there were none.
    pub fn take_trailers(&mut self) -> Option<Vec<u8>> {
        let is_there = self.is_done() && !self.trailers.is_empty();
        is_there.then(|| std::mem::take(&mut self.trailers))
    }
}
