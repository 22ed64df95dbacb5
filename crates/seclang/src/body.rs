//! Bodies of requests as rules see them: arguments, files, XML, out of bytes that arrive in pieces.
//!
//! A [`Body`] is fed with chunks as they come and hands names and values to a [`Sink`]; whatever the split,
//! they are the same. It holds one value at a time under the ceilings of [`Limits`], and the content of
//! uploaded files not at all, so an upload of any size costs the same memory. Nothing recurses. What is wrong
//! with a body is a value ([`Outcome::error`] and [`MultipartFlags`]), for rules to judge: a body that breaks
//! its format has handed over what was readable before.
//!
//! Formats are read as libmodsecurity 3 reads them, strictly, with the differences that each module lists.
//! This module chooses no format (rules do), decompresses nothing, and evaluates nothing. Called by the
//! engine's body phase. Read next: [`Body`], [`multipart`].

pub mod json;
pub mod limits;
pub mod multipart;
#[cfg(test)]
mod tests;
pub mod urlencoded;
pub mod xml;

use std::fmt;

pub use limits::{Limits, XmlArguments};
pub use multipart::MultipartFlags;

use json::{Json, JsonError};
use multipart::{Multipart, MultipartError};
use urlencoded::Urlencoded;
use xml::{Xml, XmlError};

use crate::xml::Tree;

/// A format of bodies; the names are those of `ctl:requestBodyProcessor`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// `URLENCODED`: `application/x-www-form-urlencoded`.
    Urlencoded,
    /// `MULTIPART`: `multipart/form-data`, RFC 7578.
    Multipart,
    /// `JSON`: RFC 8259.
    Json,
    /// `XML`: XML 1.0.
    Xml,
}

impl Kind {
    /// The name in `ctl:requestBodyProcessor` and `REQBODY_PROCESSOR`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Urlencoded => "URLENCODED",
            Kind::Multipart => "MULTIPART",
            Kind::Json => "JSON",
            Kind::Xml => "XML",
        }
    }

    /// The format of a name, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let all = [Kind::Urlencoded, Kind::Multipart, Kind::Json, Kind::Xml];
        all.into_iter().find(|kind| kind.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Where a value belongs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Collection {
    /// `ARGS` alone: arguments out of JSON, and out of XML where [`Limits::xml_arguments`] says so.
    Args,
    /// `ARGS` and `ARGS_GET`: arguments of the query.
    ArgsGet,
    /// `ARGS` and `ARGS_POST`: arguments of a form.
    ArgsPost,
    /// `FILES`: the value is the file's name, the name the field's.
    Files,
    /// `FILES_NAMES`: name and value are the field's name.
    FilesNames,
    /// `FILES_SIZES`: bytes, in decimal.
    FilesSizes,
    /// `FILES_TMP_CONTENT`: the first [`Limits::file_content_bytes_max`] bytes of a file.
    FilesTmpContent,
    /// `MULTIPART_PART_HEADERS`: a line of a part's head under the name of its field.
    MultipartPartHeaders,
    /// `MULTIPART_NAME`: the last name read.
    MultipartName,
    /// `MULTIPART_FILENAME`: the last file name read.
    MultipartFilename,
    /// `XML:/*`: the text of the whole document, once, at its end.
    XmlText,
    /// `XML://@*`: the value of an attribute; the name is the attribute's.
    XmlAttributes,
}

/// Takes what a body holds, in the order of the body.
pub trait Sink {
    /// Takes one value; the slices are gone afterwards.
    fn take(&mut self, collection: Collection, name: &[u8], value: &[u8]);
}

impl<F: FnMut(Collection, &[u8], &[u8])> Sink for F {
    fn take(&mut self, collection: Collection, name: &[u8], value: &[u8]) {
        self(collection, name, value);
    }
}

/// A ceiling of [`Limits`] that a body reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Limit {
    /// [`Limits::arguments_max`].
    Arguments,
    /// [`Limits::depth_max`].
    Depth,
    /// [`Limits::value_bytes_max`].
    ValueBytes,
    /// [`Limits::total_bytes_max`].
    TotalBytes,
    /// [`Limits::part_head_bytes_max`].
    PartHeadBytes,
    /// What [`Limits::keeps_xml`] keeps of a document.
    Nodes,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Arguments => "more arguments than are inspected",
            Limit::Depth => "nested deeper than is inspected",
            Limit::ValueBytes => "a name or value longer than is inspected",
            Limit::TotalBytes => "names and values longer in all than are inspected",
            Limit::Nodes => "more elements or namespaces than are inspected",
            Limit::PartHeadBytes => "the head of a part is longer than is inspected",
        })
    }
}

/// What is wrong with a body: `REQBODY_ERROR_MSG`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyError {
    /// A ceiling was reached; what is behind was not inspected.
    Limit(Kind, Limit),
    /// It is not multipart, or not strictly.
    Multipart(MultipartError),
    /// It is not JSON.
    Json(JsonError),
    /// It is not XML, or not well-formed.
    Xml(XmlError),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::Limit(kind, limit) => write!(f, "{} parsing error: {limit}", kind.name()),
            BodyError::Multipart(error) => write!(f, "Multipart parsing error: {error}"),
            BodyError::Json(error) => write!(f, "JSON parsing error: {error}"),
            BodyError::Xml(error) => write!(f, "XML parsing error: {error}"),
        }
    }
}

impl std::error::Error for BodyError {}

/// What is known of a body when all of it has been read.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The first thing that is wrong: `REQBODY_ERROR`, `REQBODY_PROCESSOR_ERROR` and their messages.
    pub error: Option<BodyError>,
    /// `URLENCODED_ERROR`: a `%` without two digits in an argument.
    pub has_url_error: bool,
    /// The `MULTIPART_…` flags; all clear for other formats.
    pub multipart: MultipartFlags,
    /// `FILES_COMBINED_SIZE`.
    pub files_bytes: u64,
    /// Bytes that are not a file's content, as `SecRequestBodyNoFilesLimit` counts.
    pub bytes_without_files: u64,
    /// The document, where [`Limits::keeps_xml`] asked for it.
    pub(crate) tree: Option<Box<Tree>>,
}

/// What is shared by all readers: the ceilings on what is handed over, and the first error.
#[derive(Debug)]
struct Outlet {
    kind: Kind,
    arguments_left: usize,
    bytes_left: usize,
    error: Option<BodyError>,
}

impl Outlet {
    fn new(kind: Kind, limits: &Limits) -> Self {
        Self { kind, arguments_left: limits.arguments_max, bytes_left: limits.total_bytes_max, error: None }
    }

    fn fail(&mut self, error: BodyError) {
        self.error.get_or_insert(error);
    }

    fn fail_at(&mut self, limit: Limit) {
        self.fail(BodyError::Limit(self.kind, limit));
    }

    /// Hands a value over, or notes the ceiling that forbids it and answers `false`.
    fn take(&mut self, sink: &mut dyn Sink, collection: Collection, name: &[u8], value: &[u8]) -> bool {
        use Collection::{Args, ArgsGet, ArgsPost, XmlAttributes};
        if matches!(collection, Args | ArgsGet | ArgsPost | XmlAttributes) {
            let Some(left) = self.arguments_left.checked_sub(1) else {
                self.fail_at(Limit::Arguments);
                return false;
            };
            self.arguments_left = left;
        }
        let Some(left) = self.bytes_left.checked_sub(name.len() + value.len()) else {
            self.fail_at(Limit::TotalBytes);
            return false;
        };
        self.bytes_left = left;
        sink.take(collection, name, value);
        true
    }
}

/// A body under way.
///
/// After a ceiling or a fatal error it reads no further: later chunks cost nothing but their count.
#[derive(Debug)]
pub struct Body {
    outlet: Outlet,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    Urlencoded(Urlencoded),
    Multipart(Box<Multipart>),
    Json(Box<Json>),
    Xml(Box<Xml>),
}

impl Body {
    /// Opens a body of this format; `content_type` is the field of the request's head, which names a
    /// multipart body's boundary.
    #[must_use]
    pub fn new(kind: Kind, content_type: &[u8], limits: &Limits) -> Self {
        let mut outlet = Outlet::new(kind, limits);
        let reader = match kind {
            Kind::Urlencoded => Reader::Urlencoded(Urlencoded::new(Collection::ArgsPost, limits)),
            Kind::Multipart => Reader::Multipart(Box::new(Multipart::new(content_type, limits, &mut outlet))),
            Kind::Json => Reader::Json(Box::new(Json::new(limits))),
            Kind::Xml => Reader::Xml(Box::new(Xml::new(limits))),
        };
        Self { outlet, reader }
    }

    /// Reads the next chunk.
    pub fn feed(&mut self, chunk: &[u8], sink: &mut dyn Sink) {
        match &mut self.reader {
            Reader::Urlencoded(reader) => reader.feed(chunk, &mut self.outlet, sink),
            Reader::Multipart(reader) => reader.feed(chunk, &mut self.outlet, sink),
            Reader::Json(reader) => reader.feed(chunk, &mut self.outlet, sink),
            Reader::Xml(reader) => reader.feed(chunk, &mut self.outlet, sink),
        }
    }

    /// Bytes read so far that are not a file's content: what a ceiling on inspected bytes counts.
    #[must_use]
    pub fn bytes_without_files(&self) -> u64 {
        match &self.reader {
            Reader::Urlencoded(reader) => reader.bytes(),
            Reader::Multipart(reader) => reader.bytes_without_files(),
            Reader::Json(reader) => reader.bytes(),
            Reader::Xml(reader) => reader.bytes(),
        }
    }

    /// Ends the body, hands over what was held, and says what is known.
    pub fn finish(mut self, sink: &mut dyn Sink) -> Outcome {
        let bytes_without_files = self.bytes_without_files();
        let mut outcome = Outcome { bytes_without_files, ..Outcome::default() };
        match self.reader {
            Reader::Urlencoded(reader) => outcome.has_url_error = reader.finish(&mut self.outlet, sink),
            Reader::Multipart(reader) => {
                (outcome.multipart, outcome.files_bytes) = reader.finish(&mut self.outlet, sink);
            }
            Reader::Json(reader) => reader.finish(&mut self.outlet, sink),
            Reader::Xml(reader) => outcome.tree = reader.finish(&mut self.outlet, sink),
        }
        outcome.error = self.outlet.error;
        outcome
    }
}

/// Reads the arguments of a query, the part of a target behind `?`, into [`Collection::ArgsGet`].
pub fn query(text: &[u8], limits: &Limits, sink: &mut dyn Sink) -> Outcome {
    let mut outlet = Outlet::new(Kind::Urlencoded, limits);
    let mut reader = Urlencoded::new(Collection::ArgsGet, limits);
    reader.feed(text, &mut outlet, sink);
    let has_url_error = reader.finish(&mut outlet, sink);
    let bytes_without_files = text.len() as u64;
    Outcome { has_url_error, error: outlet.error, bytes_without_files, ..Outcome::default() }
}
