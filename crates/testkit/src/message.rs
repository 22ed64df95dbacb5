//! A strict reader of HTTP/1 messages for tests: every head is kept byte for byte, every deviation is an
//! error.
//!
//! It shares nothing with the product's codec, on purpose. It refuses what two parsers could read differently
//! (RFC 9112 sections 2.2, 5, 6, 7), so that a node which sends such a thing fails its test. It does not
//! write messages. Called by [`crate::visitor`] and [`crate::origin`]. Read next: [`crate::visitor`].

use std::io::{self, Read};

use anyhow::{Result, bail, ensure};

use crate::fields::{Fields, latin1};
use crate::stream::{Ending, Stream, ending_of};

/// The longest head this reader takes, in bytes: far above any limit a product would set, so that tests of
/// such limits see the product's and not this one.
pub const HEAD_BYTES_MAX: usize = 4 << 20;

/// A head as it came: its bytes, its first line, its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// All bytes including the empty line.
    pub raw: Vec<u8>,
    /// The first line without CRLF.
    pub first_line: String,
    /// The fields in order.
    pub fields: Fields,
}

/// How a body's end is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// Content-Length, in bytes.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// A stream with what was read from it and not yet used.
pub struct Reader {
    stream: Stream,
    buffer: Vec<u8>,
    ending: Ending,
    bytes_read: u64,
}

/// The place inside a body while it is read.
pub struct BodyReader {
    framing: Framing,
    left: u64,
    ended: bool,
    /// Chunk sizes as they came, without the last of zero.
    pub chunks: Vec<u64>,
    /// Chunk extensions as they came, `;` included.
    pub extensions: Vec<String>,
    /// Trailer fields, once the body ended.
    pub trailers: Fields,
}

impl Reader {
    /// Reads from `stream`.
    pub fn new(stream: Stream) -> Reader {
        Reader { stream, buffer: Vec::new(), ending: Ending::Open, bytes_read: 0 }
    }

    /// Reads from `stream`, of which `begun` was read already.
    pub fn with_begun(stream: Stream, begun: Vec<u8>) -> Reader {
        Reader { buffer: begun, ..Reader::new(stream) }
    }

    /// The stream, to write to.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// The stream, to ask.
    pub fn stream_ref(&self) -> &Stream {
        &self.stream
    }

    /// Takes the stream out, with the bytes read too far.
    pub fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// How the other end stopped, as far as it was read.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// Bytes read from the stream so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Bytes read and not used.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads once from the stream into the buffer; false at the end, which [`Reader::ending`] names.
    ///
    /// # Errors
    /// When nothing came for [`crate::gate::PATIENCE`], or the TLS layer failed.
    pub fn fill(&mut self) -> io::Result<bool> {
        if self.ending != Ending::Open {
            return Ok(false);
        }
        let mut chunk = vec![0; 64 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ending = Ending::Closed,
                Ok(count) => {
                    self.bytes_read += count as u64;
                    self.buffer.extend(chunk.get(..count).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => match ending_of(&error) {
                    Some(ending) => self.ending = ending,
                    None => return Err(error),
                },
            }
            return Ok(false);
        }
    }

    /// The next bytes, whatever they are; empty at the end.
    ///
    /// # Errors
    /// As [`Reader::fill`].
    pub fn some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill()?;
        }
        let count = self.buffer.len().min(max);
        Ok(self.buffer.drain(..count).collect())
    }

    /// Everything until the other end stops sending.
    ///
    /// # Errors
    /// As [`Reader::fill`].
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// One line without its CRLF.
    ///
    /// # Errors
    /// At a bare LF or CR, a line beyond [`HEAD_BYTES_MAX`], or the end.
    pub fn line(&mut self) -> Result<String> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer.iter().skip(searched).position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.pop();
                ensure!(line.pop() == Some(b'\r'), "bare LF after {:?}", latin1(&line));
                ensure!(!line.contains(&b'\r'), "bare CR in {:?}", latin1(&line));
                return Ok(latin1(&line));
            }
            searched = self.buffer.len();
            ensure!(searched <= HEAD_BYTES_MAX, "a line of more than {HEAD_BYTES_MAX} bytes");
            if !self.fill()? {
                bail!("{:?} inside the line {:?}", self.ending, latin1(&self.buffer));
            }
        }
    }

    /// The next head, or none when the connection ended before its first byte.
    ///
    /// # Errors
    /// At any deviation from RFC 9112, or an end inside the head.
    pub fn head(&mut self) -> Result<Option<Head>> {
        if self.buffer.is_empty() && !self.fill()? {
            return Ok(None);
        }
        let first_line = self.line()?;
        let mut raw = crate::fields::latin1_bytes(&first_line);
        raw.extend(b"\r\n");
        let fields = self.field_lines(&mut raw)?;
        Ok(Some(Head { raw, first_line, fields }))
    }

    fn field_lines(&mut self, raw: &mut Vec<u8>) -> Result<Fields> {
        let mut fields = Fields::new();
        loop {
            let line = self.line()?;
            raw.extend(crate::fields::latin1_bytes(&line));
            raw.extend(b"\r\n");
            ensure!(raw.len() <= HEAD_BYTES_MAX, "a head of more than {HEAD_BYTES_MAX} bytes");
            if line.is_empty() {
                return Ok(fields);
            }
            let Some((name, value)) = line.split_once(':') else { bail!("no colon in field line {line:?}") };
            ensure!(!name.is_empty() && name.bytes().all(is_token), "field name {name:?}");
            let value = value.trim_matches([' ', '\t']);
            ensure!(!value.chars().any(is_control), "control character in {name}: {value:?}");
            fields.push(name, value);
        }
    }

    /// The next part of a body, at most `max` bytes; none once it ended, when trailers are read too.
    ///
    /// # Errors
    /// When the framing is broken or the connection ends inside the body.
    pub fn body_part(&mut self, body: &mut BodyReader, max: usize) -> Result<Option<Vec<u8>>> {
        if body.ended {
            return Ok(None);
        }
        match body.framing {
            Framing::Empty => body.ended = true,
            Framing::UntilClose => {
                let part = self.some(max)?;
                if !part.is_empty() {
                    return Ok(Some(part));
                }
                ensure!(
                    self.ending == Ending::Closed,
                    "{:?} in a body that ends with the connection",
                    self.ending
                );
                body.ended = true;
            }
            Framing::Length(_) if body.left > 0 => return self.counted(body, max).map(Some),
            Framing::Length(_) => body.ended = true,
            Framing::Chunked => {
                if body.left == 0 {
                    self.chunk_head(body)?;
                }
                if body.left > 0 {
                    let part = self.counted(body, max)?;
                    if body.left == 0 {
                        let end = self.line()?;
                        ensure!(end.is_empty(), "{end:?} where a chunk should end");
                    }
                    return Ok(Some(part));
                }
                body.trailers = self.field_lines(&mut Vec::new())?;
                body.ended = true;
            }
        }
        Ok(None)
    }

    fn counted(&mut self, body: &mut BodyReader, max: usize) -> Result<Vec<u8>> {
        let max = max.min(usize::try_from(body.left).unwrap_or(usize::MAX));
        let part = self.some(max)?;
        ensure!(!part.is_empty(), "{:?} with {} bytes of the body missing", self.ending, body.left);
        body.left -= part.len() as u64;
        Ok(part)
    }

    fn chunk_head(&mut self, body: &mut BodyReader) -> Result<()> {
        let line = self.line()?;
        let (size, extension) = match line.find(';') {
            Some(at) => line.split_at(at),
            None => (line.as_str(), ""),
        };
        ensure!(!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit()), "chunk size {line:?}");
        if !extension.is_empty() {
            body.extensions.push(extension.to_owned());
        }
        body.left = u64::from_str_radix(size, 16)?;
        if body.left > 0 {
            body.chunks.push(body.left);
        }
        Ok(())
    }
}

impl BodyReader {
    /// At the beginning of a body framed so.
    pub fn new(framing: Framing) -> BodyReader {
        let left = match framing {
            Framing::Length(length) => length,
            _ => 0,
        };
        BodyReader {
            framing,
            left,
            ended: framing == Framing::Empty || framing == Framing::Length(0),
            chunks: Vec::new(),
            extensions: Vec::new(),
            trailers: Fields::new(),
        }
    }

    /// Whether the whole body was read.
    pub fn is_ended(&self) -> bool {
        self.ended || (matches!(self.framing, Framing::Length(_)) && self.left == 0)
    }

    /// How its end is found.
    pub fn framing(&self) -> Framing {
        self.framing
    }
}

/// The framing that fields declare: none without Content-Length and Transfer-Encoding.
///
/// # Errors
/// When two parsers could read them differently.
pub fn declared_framing(fields: &Fields) -> Result<Option<Framing>> {
    let (lengths, codings) = (fields.all("content-length"), fields.all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(Framing::Length(length.parse()?)))
        }
        _ => bail!("ambiguous framing: content-length {lengths:?}, transfer-encoding {codings:?}"),
    }
}

/// Whether a byte may stand in a token (RFC 9110 section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_control(letter: char) -> bool {
    (letter < ' ' && letter != '\t') || letter == '\x7f'
}
