//! Every ceiling of reading bodies in one place, each with its reason.
//!
//! At a ceiling the reader stops, hands over what it holds, and says so in the outcome's error, which rules
//! can refuse. The engine fills these from the directives named.

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
    /// Files of a multipart body (`SecUploadFileLimit`). Default 1,000: people upload folders of photographs,
    /// and each name costs a scan. More set a flag and an error.
    pub files_max: usize,
    /// Bytes of each file that `FILES_TMP_CONTENT` shows. Default 0: the content of files is passed by.
    pub file_content_bytes_max: usize,
    /// Keeps an XML document as a tree, for rules that judge it as a whole. Default false; where it is true a
    /// document may hold 256 Ki elements, texts and attributes, and 128 namespaces.
    pub keeps_xml: bool,
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
            files_max: 1000,
            file_content_bytes_max: 0,
            keeps_xml: false,
            argument_separator: b'&',
        }
    }
}
