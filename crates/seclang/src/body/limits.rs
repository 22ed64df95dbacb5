//! Every ceiling of reading bodies in one place, each with its reason.
//!
//! At a ceiling the reader stops, hands over what it holds, and says so in the outcome's error, which rules
//! can refuse. The engine fills these from the directives named.

use crate::limits::UPLOAD_FILES_MAX;

/// Whether elements of XML become arguments: `SecParseXmlIntoArgs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XmlArguments {
    /// They do not.
    #[default]
    Off,
    /// They do, beside `XML:/*` and `XML://@*`.
    On,
    /// They do, and `XML` holds no values.
    Only,
}

impl XmlArguments {
    /// The words of the directive, in order.
    pub(crate) const WORDS: [(&str, Self); 3] =
        [("Off", Self::Off), ("On", Self::On), ("OnlyArgs", Self::Only)];

    /// What a word means, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::WORDS.into_iter().find(|(word, _)| word.eq_ignore_ascii_case(name)).map(|(_, one)| one)
    }
}

/// Ceilings and settings of reading one body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Arguments of a body: `SecArgumentsLimit`. Default 1,000, the value that is recommended for that
    /// directive: each costs a scan by every rule. An attribute of XML counts as one.
    pub arguments_max: usize,
    /// Depth of JSON (`SecRequestBodyJsonDepthLimit`) and XML. Default 512; documents people write have ten
    /// levels.
    pub depth_max: usize,
    /// Bytes of one name or value, before decoding. Default 128 KiB, the window that is inspected of a body.
    pub value_bytes_max: usize,
    /// Bytes of all names and values. Default 1 MiB, eight times the window. Names in JSON repeat those of
    /// all levels above, so 64 KiB of body could become hundreds of megabytes of names. A caller with a
    /// larger window raises it with that.
    pub total_bytes_max: usize,
    /// Bytes of the head of one part of a multipart body. Default 16 KiB: a real one has two or three lines.
    pub part_head_bytes_max: usize,
    /// Files of a multipart body (`SecUploadFileLimit`). Default [`UPLOAD_FILES_MAX`]; more set a flag and an
    /// error.
    pub files_max: usize,
    /// Bytes of each file that `FILES_TMP_CONTENT` shows. Default 0: the content of files is passed by.
    pub file_content_bytes_max: usize,
    /// Keeps an XML document as a tree, for rules that judge it as a whole. Default false; where it is true a
    /// document may hold 256 Ki elements, texts and attributes, and 128 namespaces.
    pub keeps_xml: bool,
    /// Whether elements of XML become arguments; default off. Each counts as one, with all names around it.
    pub xml_arguments: XmlArguments,
    /// What divides arguments of a form: `SecArgumentSeparator`. Default `&`.
    pub argument_separator: u8,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            arguments_max: 1000,
            depth_max: 512,
            value_bytes_max: 128 * 1024,
            total_bytes_max: 1024 * 1024,
            part_head_bytes_max: 16 * 1024,
            files_max: UPLOAD_FILES_MAX,
            file_content_bytes_max: 0,
            keeps_xml: false,
            xml_arguments: XmlArguments::Off,
            argument_separator: b'&',
        }
    }
}
