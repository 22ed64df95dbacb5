//! Multipart bodies (RFC 7578, RFC 2046 §5.1): fields and files, and every liberty that a sender took.
//!
//! Read in lines of at most 4,096 bytes, as libmodsecurity 3 does, and with its flags: what is odd but
//! readable sets a flag of [`MultipartFlags`], for rules such as `MULTIPART_STRICT_ERROR "!@eq 0"`; what is
//! broken is an error. The content of a file is counted and let go, so it costs one line of memory.
//!
//! Differences from libmodsecurity 3, all towards seeing more: line ends inside a field's value are kept (it
//! loses them); parts that precede an error or a missing last boundary are handed over (it drops them); a
//! head with the same field twice and a quote without end are errors (it reads on in silence, or behind its
//! buffer); an empty boundary is an error; lines of a part's head that are no fields, or a field again, are
//! handed over with the others.
//!
//! Read next: `Multipart`, `disposition`, `boundary`.

mod boundary;
mod disposition;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use memchr::{memchr, memmem};

use super::{BodyError, Collection, Limit, Limits, Outlet, Sink};
use crate::tally;
use crate::transform::is_space;
use boundary::Boundary;
use disposition::Disposition;

pub use disposition::Problem as DispositionProblem;

/// Bytes of a line, its end included: a longer one is read in pieces, which no boundary may be in but at the
/// start. The number is libmodsecurity's, and so decides what is a boundary.
const LINE_BYTES_MAX: usize = 4096;

/// What a multipart body did that it should not: the variables `MULTIPART_…`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MultipartFlags {
    /// `MULTIPART_BOUNDARY_QUOTED`: the field `Content-Type` quotes the boundary. Allowed, and rare.
    pub boundary_quoted: bool,
    /// `MULTIPART_BOUNDARY_WHITESPACE`: whitespace around the `=` of the boundary.
    pub boundary_whitespace: bool,
    /// `MULTIPART_DATA_BEFORE`: something precedes the first boundary.
    pub data_before: bool,
    /// `MULTIPART_DATA_AFTER`: something follows the last boundary.
    pub data_after: bool,
    /// `MULTIPART_HEADER_FOLDING`: a field of a part's head goes over several lines.
    pub header_folding: bool,
    /// `MULTIPART_INVALID_HEADER_FOLDING`: and the next line starts with neither space nor tab.
    pub invalid_header_folding: bool,
    /// `MULTIPART_LF_LINE`: a line ends in LF alone.
    pub lf_line: bool,
    /// A line ends in CRLF.
    pub crlf_line: bool,
    /// `MULTIPART_MISSING_SEMICOLON`: no semicolon before the boundary in `Content-Type`.
    pub missing_semicolon: bool,
    /// `MULTIPART_INVALID_QUOTING`: single quotes where double ones belong.
    pub invalid_quoting: bool,
    /// `MULTIPART_INVALID_PART`: a part without a name, or without anything before the next boundary.
    pub invalid_part: bool,
    /// `MULTIPART_FILE_LIMIT_EXCEEDED`: more files than [`Limits::files_max`].
    pub file_limit_exceeded: bool,
    /// `MULTIPART_UNMATCHED_BOUNDARY`: 0; 1 if a line looks like a boundary and is none; 2 if a boundary has
    /// followed another.
    pub unmatched_boundary: u8,
    /// The body could not be read further.
    pub error: bool,
}

impl MultipartFlags {
    /// `MULTIPART_CRLF_LF_LINES`: lines end both ways.
    #[must_use]
    pub const fn has_mixed_lines(&self) -> bool {
        self.crlf_line && self.lf_line
    }

    /// `MULTIPART_STRICT_ERROR`: any of the above, but for [`Self::crlf_line`] and
    /// [`Self::unmatched_boundary`].
    #[must_use]
    pub const fn has_strict_error(&self) -> bool {
        self.error
            || self.boundary_quoted
            || self.boundary_whitespace
            || self.data_before
            || self.data_after
            || self.header_folding
            || self.lf_line
            || self.missing_semicolon
            || self.invalid_quoting
            || self.invalid_part
            || self.invalid_header_folding
            || self.file_limit_exceeded
    }
}

/// Why a body is not multipart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MultipartError {
    /// The request has no `Content-Type`.
    NoContentType,
    /// `Content-Type` is longer than 1,024 bytes.
    LongContentType,
    /// `Content-Type` is not `multipart/form-data`.
    OtherType,
    /// `Content-Type` names no boundary, or two.
    BoundaryCount,
    /// What `Content-Type` says about the boundary is malformed, or not a boundary (RFC 2046 §5.1.1).
    BoundaryParameter,
    /// A boundary in the body that goes on after its end.
    BoundaryLine,
    /// A boundary in the body behind quotes or whitespace.
    BoundaryDisguised,
    /// No boundary at all.
    NoBoundary,
    /// The last boundary is missing.
    NoFinalBoundary,
    /// A NUL in a part's head.
    Nul,
    /// A line of a part's head, or a folded field, over 4,096 bytes.
    LongHeader,
    /// A line of a part's head that is no field.
    NoField,
    /// A folded line before any field.
    FoldedFirst,
    /// A field twice in a part's head.
    TwoFields,
    /// A part's head without `Content-Disposition`.
    NoDisposition,
    /// A `Content-Disposition` that cannot be read strictly.
    Disposition(DispositionProblem),
    /// A `Content-Disposition` without a name.
    NoName,
    /// More files than are allowed.
    FileLimit,
}

impl fmt::Display for MultipartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MultipartError::NoContentType => "the request has no Content-Type",
            MultipartError::LongContentType => "Content-Type is longer than 1,024 bytes",
            MultipartError::OtherType => "Content-Type is not multipart/form-data",
            MultipartError::BoundaryCount => "Content-Type does not name one boundary",
            MultipartError::BoundaryParameter => "Content-Type names a boundary that is none",
            MultipartError::BoundaryLine => "a boundary goes on after its end",
            MultipartError::BoundaryDisguised => "a boundary stands behind quotes or whitespace",
            MultipartError::NoBoundary => "the body has no boundary",
            MultipartError::NoFinalBoundary => "the last boundary is missing",
            MultipartError::Nul => "a NUL in the head of a part",
            MultipartError::LongHeader => "a line of over 4,096 bytes in the head of a part",
            MultipartError::NoField => "a line in the head of a part is no field",
            MultipartError::FoldedFirst => "the head of a part starts with a folded line",
            MultipartError::TwoFields => "a field is twice in the head of a part",
            MultipartError::NoDisposition => "a part has no Content-Disposition",
            MultipartError::Disposition(problem) => return write!(f, "Content-Disposition: {problem}"),
            MultipartError::NoName => "a part has no name",
            MultipartError::FileLimit => "more files than are allowed",
        })
    }
}

/// The name of a field in a part's head, in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
struct FieldName(Vec<u8>);

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> Ordering {
        tally::count(1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Borrow<[u8]> for FieldName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// The part under way.
#[derive(Debug, Default)]
struct Part {
    disposition: Disposition,
    /// Fields of its head. Sorted, since a head has room for some thousand of them, of names that a stranger
    /// chose.
    fields: BTreeMap<FieldName, Vec<u8>>,
    /// Lines of its head, whole.
    lines: Vec<Vec<u8>>,
    /// The line being folded, not yet among them.
    line: Vec<u8>,
    /// It has been folded: it is the field's name, a colon, a blank and the field's value.
    is_folded: bool,
    /// The last field, to which folded lines belong.
    last_field: Option<FieldName>,
    head_bytes: usize,
    /// The head has ended.
    is_open: bool,
    /// Something follows the head.
    has_data: bool,
    is_file: bool,
    /// A field's value, or what is shown of a file.
    value: Vec<u8>,
    /// The line end that was read last: content only if more follows.
    line_end: &'static [u8],
    bytes: u64,
}

/// A multipart body under way.
#[derive(Debug)]
pub(super) struct Multipart {
    limits: Limits,
    /// `--` and the boundary.
    delimiter: Vec<u8>,
    flags: MultipartFlags,
    line: Vec<u8>,
    /// The line held started behind a line end, or the body.
    is_at_start: bool,
    /// The line before ended in LF alone.
    after_lf: bool,
    boundaries: u64,
    part: Option<Part>,
    files: usize,
    files_bytes: u64,
    bytes: u64,
    file_content_bytes: u64,
    /// The last boundary was read.
    is_complete: bool,
    /// A fatal error or a ceiling ended the reading.
    is_over: bool,
}

impl Multipart {
    pub(super) fn new(content_type: &[u8], limits: &Limits, outlet: &mut Outlet) -> Self {
        let mut flags = MultipartFlags::default();
        let delimiter = match boundary::parse(content_type) {
            Ok(Boundary { boundary, quoted, whitespace, missing_semicolon }) => {
                flags.boundary_quoted = quoted;
                flags.boundary_whitespace = whitespace;
                flags.missing_semicolon = missing_semicolon;
                [b"--", boundary].concat()
            }
            Err(error) => {
                flags.error = true;
                outlet.fail(BodyError::Multipart(error));
                Vec::new()
            }
        };
        Self {
            limits: limits.clone(),
            is_over: delimiter.is_empty(),
            delimiter,
            flags,
            line: Vec::with_capacity(LINE_BYTES_MAX),
            is_at_start: true,
            after_lf: false,
            boundaries: 0,
            part: None,
            files: 0,
            files_bytes: 0,
            bytes: 0,
            file_content_bytes: 0,
            is_complete: false,
        }
    }

    pub(super) fn bytes_without_files(&self) -> u64 {
        self.bytes - self.file_content_bytes
    }

    pub(super) fn feed(&mut self, chunk: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) {
        self.bytes += chunk.len() as u64;
        let mut rest = chunk;
        while !self.is_over && !rest.is_empty() {
            if self.is_complete {
                self.flags.data_after = true;
                return;
            }
            let room = LINE_BYTES_MAX - self.line.len();
            let near = rest.get(..room).unwrap_or(rest);
            let end = memchr(b'\n', near);
            let taken = match end {
                Some(end) => end + 1,
                // A CR never ends a piece, since it may be half of a line end.
                None if near.len() == room && near.last() == Some(&b'\r') => room - 1,
                None => near.len(),
            };
            let (piece, behind) = rest.split_at(taken);
            self.line.extend_from_slice(piece);
            rest = behind;
            let is_full = end.is_none() && near.len() == room;
            if end.is_some() || is_full {
                let mut line = std::mem::take(&mut self.line);
                // A line that fills the buffer is too long for a head even if it ends there.
                let is_long = is_full || line.len() == LINE_BYTES_MAX;
                if let Err(stop) = self.read_line(&line, is_long, outlet, sink) {
                    self.stop(stop, outlet);
                }
                self.is_at_start = end.is_some();
                self.after_lf = end.is_some() && !line.ends_with(b"\r\n");
                line.clear();
                self.line = line;
            }
        }
    }

    pub(super) fn finish(mut self, outlet: &mut Outlet, sink: &mut dyn Sink) -> (MultipartFlags, u64) {
        let is_final = self.is_at_start
            && self.line.strip_prefix(self.delimiter.as_slice()) == Some(b"--")
            && self.boundaries > 0;
        if !self.is_over && !self.is_complete && self.bytes > 0 {
            if is_final {
                // The last boundary may lack its line end.
                self.flags.lf_line |= self.after_lf;
                self.flags.invalid_part |= self.part.as_ref().is_some_and(|part| !part.has_data);
                self.is_complete = true;
            } else {
                let error = if self.boundaries > 0 {
                    MultipartError::NoFinalBoundary
                } else {
                    MultipartError::NoBoundary
                };
                outlet.fail(BodyError::Multipart(error));
                // Where the end is that of what is inspected, what is held of a field belongs to it.
                if self.part.as_ref().is_some_and(|part| part.is_open && !part.is_file) {
                    let line = std::mem::take(&mut self.line);
                    if let Err(stop) = self.read_data(&line) {
                        self.stop(stop, outlet);
                    }
                }
            }
        }
        // Where the body ended too early, its end may have cut the last part's name off.
        let has_invalid_part = self.flags.invalid_part;
        let is_whole = self.is_complete;
        self.end_part(outlet, sink);
        self.flags.invalid_part = has_invalid_part || is_whole && self.flags.invalid_part;
        (self.flags, self.files_bytes)
    }

    fn stop(&mut self, stop: Stop, outlet: &mut Outlet) {
        match stop {
            Stop::Error(error) => {
                self.flags.error = true;
                outlet.fail(BodyError::Multipart(error));
            }
            Stop::Limit(limit) => outlet.fail_at(limit),
            Stop::Noted => {}
        }
        self.is_over = true;
    }

    /// Reads a line, or a piece of a long one.
    fn read_line(
        &mut self,
        line: &[u8],
        is_long: bool,
        outlet: &mut Outlet,
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        if self.is_at_start && self.read_boundary(line, outlet, sink)? {
            return Ok(());
        }
        let is_open = match &self.part {
            None => {
                self.flags.data_before = true;
                return Ok(());
            }
            Some(part) => part.is_open,
        };
        if is_open {
            return self.read_data(line);
        }
        if is_long {
            return Err(Stop::Error(MultipartError::LongHeader));
        }
        match self.read_header(line, outlet, sink) {
            // A broken line in a head is an error of the body, and the next line is read all the same.
            Err(Stop::Error(error)) => {
                outlet.fail(BodyError::Multipart(error));
                Ok(())
            }
            other => other,
        }
    }

    /// Reads a line as a boundary; tells whether it was one.
    fn read_boundary(&mut self, line: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<bool, Stop> {
        let text = crate::transform::until_nul(line);
        if text.len() <= 3 || !text.starts_with(b"--") {
            if memmem::find(line, &self.delimiter).is_some() {
                self.flags.unmatched_boundary = 1;
            }
            return Ok(false);
        }
        let Some(behind) = text.strip_prefix(self.delimiter.as_slice()) else {
            return self.judge_near_boundary(text);
        };
        self.flags.lf_line |= self.after_lf;
        if self.boundaries > 0 && self.part.as_ref().is_some_and(|part| !part.has_data) {
            // It stands where a part's data should begin.
            self.flags.invalid_part = true;
            return Ok(false);
        }
        if self.boundaries > 0 {
            self.flags.unmatched_boundary = 2;
        }
        let (is_final, behind) = match behind.strip_prefix(b"--") {
            Some(behind) => (true, behind),
            None => (false, behind),
        };
        match behind {
            b"\r\n" => self.flags.crlf_line = true,
            b"\n" => self.flags.lf_line = true,
            _ => return Err(Stop::Error(MultipartError::BoundaryLine)),
        }
        self.end_part(outlet, sink);
        self.is_complete = is_final;
        self.part = (!is_final).then(Part::default);
        self.boundaries += 1;
        if outlet.error.is_some_and(|error| matches!(error, BodyError::Limit(..))) {
            return Err(Stop::Noted);
        }
        Ok(true)
    }

    /// A line starts with two hyphens and is not the boundary.
    fn judge_near_boundary(&mut self, line: &[u8]) -> Result<bool, Stop> {
        let boundary = self.delimiter.get(2..).unwrap_or_default();
        let behind = line.get(2..).unwrap_or_default();
        let is_quoted = self.flags.boundary_quoted
            && behind.strip_prefix(b"\"").is_some_and(|behind| behind.starts_with(boundary));
        let spaces = behind.iter().take_while(|&&byte| is_space(byte)).count();
        let is_spaced = spaces > 0 && behind.get(spaces..).unwrap_or_default().starts_with(boundary);
        if is_quoted || is_spaced {
            return Err(Stop::Error(MultipartError::BoundaryDisguised));
        }
        self.flags.unmatched_boundary = 1;
        Ok(false)
    }

    /// Reads a line of a part's head.
    fn read_header(&mut self, line: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<(), Stop> {
        let Some(part) = &mut self.part else { return Ok(()) };
        part.head_bytes += line.len();
        if part.head_bytes > self.limits.part_head_bytes_max {
            return Err(Stop::Limit(Limit::PartHeadBytes));
        }
        if memchr(0, line).is_some() {
            return Err(Stop::Error(MultipartError::Nul));
        }
        let content = without_line_end(line);
        if line.len() - content.len() == 2 {
            self.flags.crlf_line = true;
        } else {
            self.flags.lf_line = true;
        }
        if content.is_empty() {
            return self.end_head(outlet, sink);
        }
        if is_space(content.first().copied().unwrap_or_default()) {
            self.flags.header_folding = true;
            let is_odd = |byte: &u8| is_space(*byte) && !matches!(byte, b' ' | b'\t');
            // An empty continuation is whitespace to its end, the line end included.
            let prefix = line.iter().take_while(|&&byte| is_space(byte));
            self.flags.invalid_header_folding |= prefix.clone().any(is_odd);
            let more = line.get(prefix.count()..).unwrap_or_default();
            return part.fold(trim_line_ends(more));
        }
        part.flush_line();
        let (name, value) = content.split_at(memchr(b':', content).unwrap_or(content.len()));
        if value.is_empty() || name.is_empty() || name.iter().any(|byte| !matches!(byte, 33..=126)) {
            part.show(content);
            return Err(Stop::Error(MultipartError::NoField));
        }
        let value = value.get(1..).unwrap_or_default();
        let start = value.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
        let name = FieldName(name.to_ascii_lowercase());
        match part.fields.entry(name.clone()) {
            Entry::Occupied(_) => {
                part.show(content);
                return Err(Stop::Error(MultipartError::TwoFields));
            }
            Entry::Vacant(entry) => {
                entry.insert(trim_line_ends(value.get(start..).unwrap_or_default()).to_vec());
            }
        }
        part.last_field = Some(name);
        part.line.extend_from_slice(content);
        Ok(())
    }

    /// The empty line behind a part's head.
    fn end_head(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) -> Result<(), Stop> {
        let Some(part) = &mut self.part else { return Ok(()) };
        part.flush_line();
        let value = part.fields.get(b"content-disposition".as_slice());
        let value = value.ok_or(Stop::Error(MultipartError::NoDisposition))?;
        let result = part.disposition.read(value);
        self.flags.invalid_quoting |= part.disposition.has_odd_quotes;
        for (collection, text) in [
            (Collection::MultipartName, &part.disposition.name),
            (Collection::MultipartFilename, &part.disposition.file_name),
        ] {
            if !text.is_empty() && !outlet.take(sink, collection, text, text) {
                return Err(Stop::Noted);
            }
        }
        result.map_err(|problem| Stop::Error(MultipartError::Disposition(problem)))?;
        if part.disposition.name.is_empty() {
            return Err(Stop::Error(MultipartError::NoName));
        }
        part.is_file = !part.disposition.file_name.is_empty();
        part.is_open = true;
        part.last_field = None;
        if part.is_file {
            self.files += 1;
            if self.files > self.limits.files_max {
                self.flags.file_limit_exceeded = true;
                outlet.fail(BodyError::Multipart(MultipartError::FileLimit));
            }
        }
        Ok(())
    }

    /// Reads a line of a part's content.
    fn read_data(&mut self, line: &[u8]) -> Result<(), Stop> {
        let Some(part) = &mut self.part else { return Ok(()) };
        part.has_data = true;
        let content = without_line_end(line);
        let before = std::mem::replace(
            &mut part.line_end,
            match line.len() - content.len() {
                0 => b"",
                1 => b"\n",
                _ => b"\r\n",
            },
        );
        part.bytes += (before.len() + content.len()) as u64;
        if part.is_file {
            self.file_content_bytes += line.len() as u64;
            let may_show =
                if self.files > self.limits.files_max { 0 } else { self.limits.file_content_bytes_max };
            part.extend(before, may_show);
            part.extend(content, may_show);
            return Ok(());
        }
        let is_whole = part.extend(before, self.limits.value_bytes_max)
            && part.extend(content, self.limits.value_bytes_max);
        if is_whole { Ok(()) } else { Err(Stop::Limit(Limit::ValueBytes)) }
    }

    /// Hands over what a part was, if there is one.
    fn end_part(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) {
        let Some(mut part) = self.part.take() else { return };
        part.flush_line();
        let name = &part.disposition.name;
        let mut take = |collection, value: &[u8]| outlet.take(sink, collection, name, value);
        let mut is_taken = part.lines.iter().all(|line| take(Collection::MultipartPartHeaders, line));
        if name.is_empty() {
            self.flags.invalid_part = true;
            return;
        }
        if part.is_file {
            self.files_bytes += part.bytes;
            is_taken = is_taken
                && take(Collection::Files, &part.disposition.file_name)
                && take(Collection::FilesNames, name)
                && take(Collection::FilesSizes, part.bytes.to_string().as_bytes());
            if is_taken && self.limits.file_content_bytes_max > 0 {
                take(Collection::FilesTmpContent, &part.value);
            }
        } else if is_taken {
            take(Collection::ArgsPost, &part.value);
        }
    }
}

impl Part {
    /// The line that may have been folded is complete.
    fn flush_line(&mut self) {
        self.is_folded = false;
        if !self.line.is_empty() {
            self.lines.push(std::mem::take(&mut self.line));
        }
    }

    /// Keeps a line that is no field, or none that counts: rules look for what is wrong with it. What is
    /// folded below it belongs to no field.
    fn show(&mut self, line: &[u8]) {
        self.lines.push(line.to_vec());
        self.last_field = None;
    }

    /// Adds a folded line to the last field.
    fn fold(&mut self, more: &[u8]) -> Result<(), Stop> {
        let name = self.last_field.as_ref();
        let Some((name, value)) = name.and_then(|name| Some((name, self.fields.get_mut(name)?))) else {
            self.show(more);
            return Err(Stop::Error(MultipartError::FoldedFirst));
        };
        value.push(b' ');
        value.extend_from_slice(more);
        // The first fold brings the line into its form; a further one moves its own bytes only, since a head
        // may have thousands of them behind a long value.
        let grown = if self.is_folded {
            value.get(value.len() - more.len() - 1..).unwrap_or_default()
        } else {
            self.line.truncate(name.0.len());
            self.line.extend_from_slice(b": ");
            value.as_slice()
        };
        tally::count(grown.len());
        self.line.extend_from_slice(grown);
        self.is_folded = true;
        if value.len() > LINE_BYTES_MAX {
            return Err(Stop::Error(MultipartError::LongHeader));
        }
        Ok(())
    }

    /// Adds to the value up to `max` bytes in all; tells whether all of it had room.
    fn extend(&mut self, content: &[u8], max: usize) -> bool {
        let room = max.saturating_sub(self.value.len());
        self.value.extend_from_slice(content.get(..room).unwrap_or(content));
        content.len() <= room
    }
}

/// Why a line could not be read.
enum Stop {
    Error(MultipartError),
    Limit(Limit),
    /// The outlet has noted it.
    Noted,
}

/// A line without its CRLF or LF.
fn without_line_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line)
}

/// A value without any CR and LF at its end.
fn trim_line_ends(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or_default()
}
