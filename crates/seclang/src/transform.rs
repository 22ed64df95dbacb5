//! The transformations of SecLang (`t:…`): each turns the bytes of a value into other bytes.
//!
//! The results are those of libmodsecurity 3, its behaviour on odd input included, since rules are written
//! and tested against it: a `%` without two digits stays, only the low byte of `\uHHHH` counts, a comment
//! that ends a value leaves a NUL. Where that library reads outside its buffer (`hexDecode` of one byte), the
//! result here is the empty value.
//!
//! Pure functions without state: no pipelines, no memory of results, no choice of targets; the engine does
//! that, and lends a code page to the one that wants it. It asks [`Transformation::triggers`] first and calls
//! [`Transformation::apply`] only where something can change. Read next: [`Transformation`], then the modules
//! by kind.

pub mod byteset;
mod decode;
mod encode;
mod path;
mod strip;
#[cfg(test)]
mod tests;

pub use byteset::ByteSet;
pub(crate) use strip::until_nul;

use crate::code_page::CodePage;

/// One transformation of SecLang.
///
/// No result is longer than [`Transformation::output_bytes_max`] says, and each takes time linear in its
/// input.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Transformation {
    /// `base64Decode`: strict, RFC 4648 §4; reads up to the first NUL; what is not base64 stays.
    Base64Decode,
    /// `base64DecodeExt`: skips bytes that are not of the alphabet.
    Base64DecodeExt,
    /// `base64Encode`: RFC 4648 §4 with padding.
    Base64Encode,
    /// `cmdLine`: what a shell would not see is removed (`"`, `'`, `\`, `^`), separators become one space,
    /// spaces before `/` and `(` go, letters are lowered.
    CmdLine,
    /// `compressWhitespace`: each run of ASCII whitespace becomes one space.
    CompressWhitespace,
    /// `cssDecode`: backslash escapes of CSS 2, low byte only, full-width forms folded.
    CssDecode,
    /// `escapeSeqDecode`: ANSI C escapes.
    EscapeSeqDecode,
    /// `hexDecode`: pairs of digits to bytes; what are no digits count as arithmetic makes them.
    HexDecode,
    /// `hexEncode`: lower-case pairs of digits.
    HexEncode,
    /// `htmlEntityDecode`: numeric entities to one byte, and quot, amp, lt, gt, nbsp by prefix.
    HtmlEntityDecode,
    /// `jsDecode`: escapes of JavaScript, low byte only, full-width forms folded.
    JsDecode,
    /// `length`: the number of bytes, in decimal digits.
    Length,
    /// `lowercase`: ASCII letters only.
    Lowercase,
    /// `md5`: the digest's sixteen raw bytes.
    Md5,
    /// `none`: the value itself. In a rule it also forgets the transformations inherited; that is the
    /// engine's.
    None,
    /// `normalizePath`, `normalisePath`: folds `//`, `/./` and `/../`.
    NormalizePath,
    /// `normalizePathWin`, `normalisePathWin`: the same, and backslashes become slashes.
    NormalizePathWin,
    /// `parityEven7bit`: sets the eighth bit so that the number of bits is even.
    ParityEven7bit,
    /// `parityOdd7bit`: sets the eighth bit so that the number of bits is odd.
    ParityOdd7bit,
    /// `parityZero7bit`: clears the eighth bit.
    ParityZero7bit,
    /// `removeComments`: `/* */`, `<!-- -->`, and all from `--` or `#`.
    RemoveComments,
    /// `removeCommentsChar`: the markers of comments alone.
    RemoveCommentsChar,
    /// `removeNulls`.
    RemoveNulls,
    /// `removeWhitespace`: ASCII whitespace and the bytes 0xA0 and 0xC2 (no-break space in Latin-1 and
    /// UTF-8).
    RemoveWhitespace,
    /// `replaceComments`: each `/* */` becomes one space, one without end too.
    ReplaceComments,
    /// `replaceNulls`: NUL becomes a space.
    ReplaceNulls,
    /// `sha1`: the digest's twenty raw bytes.
    Sha1,
    /// `sqlHexDecode`: `0x…` literals to bytes.
    SqlHexDecode,
    /// `trim`: ASCII whitespace at both ends.
    Trim,
    /// `trimLeft`.
    TrimLeft,
    /// `trimRight`.
    TrimRight,
    /// `uppercase`: ASCII letters only.
    Uppercase,
    /// `urlDecode`: `%HH` and `+`; a broken escape stays.
    UrlDecode,
    /// `urlDecodeUni`: the same and `%uHHHH`, the byte of the code page (`SecUnicodeMapFile`) where it has
    /// one, else the low byte with full-width forms folded.
    UrlDecodeUni,
    /// `urlEncode`: all but `*`, digits and letters; a space becomes `+`.
    UrlEncode,
    /// `utf8toUnicode`: each UTF-8 sequence becomes `%uHHHH`.
    Utf8ToUnicode,
}

use Transformation as T;

/// Names as they are written in rules; the first one of a transformation is the one printed.
const NAMES: &[(&str, Transformation)] = &[
    ("base64Decode", T::Base64Decode),
    ("base64DecodeExt", T::Base64DecodeExt),
    ("base64Encode", T::Base64Encode),
    ("cmdLine", T::CmdLine),
    ("compressWhitespace", T::CompressWhitespace),
    ("cssDecode", T::CssDecode),
    ("escapeSeqDecode", T::EscapeSeqDecode),
    ("hexDecode", T::HexDecode),
    ("hexEncode", T::HexEncode),
    ("htmlEntityDecode", T::HtmlEntityDecode),
    ("jsDecode", T::JsDecode),
    ("length", T::Length),
    ("lowercase", T::Lowercase),
    ("md5", T::Md5),
    ("none", T::None),
    ("normalizePath", T::NormalizePath),
    ("normalisePath", T::NormalizePath),
    ("normalizePathWin", T::NormalizePathWin),
    ("normalisePathWin", T::NormalizePathWin),
    ("parityEven7bit", T::ParityEven7bit),
    ("parityOdd7bit", T::ParityOdd7bit),
    ("parityZero7bit", T::ParityZero7bit),
    ("removeComments", T::RemoveComments),
    ("removeCommentsChar", T::RemoveCommentsChar),
    ("removeNulls", T::RemoveNulls),
    ("removeWhitespace", T::RemoveWhitespace),
    ("replaceComments", T::ReplaceComments),
    ("replaceNulls", T::ReplaceNulls),
    ("sha1", T::Sha1),
    ("sqlHexDecode", T::SqlHexDecode),
    ("trim", T::Trim),
    ("trimLeft", T::TrimLeft),
    ("trimRight", T::TrimRight),
    ("uppercase", T::Uppercase),
    ("urlDecode", T::UrlDecode),
    ("urlDecodeUni", T::UrlDecodeUni),
    ("urlEncode", T::UrlEncode),
    ("utf8toUnicode", T::Utf8ToUnicode),
];

const SPACE: ByteSet = ByteSet::of(b" \t\n\x0b\x0c\r");
const HIGH: ByteSet = ByteSet::EMPTY.with_range(0x80, 0xff);
const EVEN: ByteSet = encode::parity_changes(true);
const ODD: ByteSet = encode::parity_changes(false);

impl Transformation {
    /// Every transformation, in the order of the declaration.
    pub fn all() -> impl Iterator<Item = Self> {
        let mut last = None;
        NAMES.iter().filter_map(move |&(_, one)| (last.replace(one) != Some(one)).then_some(one))
    }

    /// Every name a rule may use, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|&(name, _)| name)
    }

    /// The transformation of a name as a rule writes it after `t:`, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name)).map(|&(_, one)| one)
    }

    /// Its name as it is written in rules.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|&&(_, one)| one == self).map_or("", |&(name, _)| name)
    }

    /// Writes the result for `input` into `out`, which is cleared first, and tells whether it differs from
    /// `input`.
    pub fn apply(self, input: &[u8], out: &mut Vec<u8>) -> bool {
        self.apply_by(None, input, out)
    }

    /// The same by the code page of a rule set, which `urlDecodeUni` asks first. It changes neither what can
    /// trigger a transformation nor how long a result may be.
    pub(crate) fn apply_by(self, page: Option<&CodePage>, input: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        match self {
            T::None => out.extend_from_slice(input),
            T::Base64Decode => encode::base64_decode(input, out),
            T::Base64DecodeExt => encode::base64_decode_ext(input, out),
            T::Base64Encode => encode::base64_encode(input, out),
            T::HexDecode => encode::hex_decode(input, out),
            T::HexEncode => encode::hex_encode(input, out),
            T::Length => out.extend_from_slice(input.len().to_string().as_bytes()),
            T::Md5 => encode::md5(input, out),
            T::Sha1 => encode::sha1(input, out),
            T::ParityEven7bit => out.extend(input.iter().map(|&byte| encode::parity(byte, true))),
            T::ParityOdd7bit => out.extend(input.iter().map(|&byte| encode::parity(byte, false))),
            T::ParityZero7bit => out.extend(input.iter().map(|&byte| byte & 0x7f)),
            T::UrlEncode => encode::url_encode(input, out),
            T::Utf8ToUnicode => encode::utf8_to_unicode(input, out),
            T::CssDecode => decode::css(input, out),
            T::EscapeSeqDecode => decode::escape_seq(input, out),
            T::HtmlEntityDecode => decode::html_entity(input, out),
            T::JsDecode => decode::js(input, out),
            T::SqlHexDecode => decode::sql_hex(input, out),
            T::UrlDecode => decode::url(input, out),
            T::UrlDecodeUni => decode::url_uni(input, page, out),
            T::NormalizePath => path::normalize(input, false, out),
            T::NormalizePathWin => path::normalize(input, true, out),
            T::CmdLine => strip::cmd_line(input, out),
            T::CompressWhitespace => strip::compress_whitespace(input, out),
            T::RemoveComments => strip::remove_comments(input, out),
            T::RemoveCommentsChar => strip::remove_comments_char(input, out),
            T::RemoveNulls => out.extend(input.iter().filter(|&&byte| byte != 0)),
            T::RemoveWhitespace => {
                out.extend(input.iter().filter(|&&byte| !is_space(byte) && byte != 0xa0 && byte != 0xc2));
            }
            T::ReplaceComments => strip::replace_comments(input, out),
            T::ReplaceNulls => out.extend(input.iter().map(|&byte| if byte == 0 { b' ' } else { byte })),
            T::Trim => out.extend_from_slice(strip::trim_left(strip::trim_right(input))),
            T::TrimLeft => out.extend_from_slice(strip::trim_left(input)),
            T::TrimRight => out.extend_from_slice(strip::trim_right(input)),
            T::Lowercase => {
                out.extend_from_slice(input);
                out.make_ascii_lowercase();
            }
            T::Uppercase => {
                out.extend_from_slice(input);
                out.make_ascii_uppercase();
            }
        }
        out != input
    }

    /// The bytes of which a value must hold at least one, for this transformation to be able to change it.
    ///
    /// [`ByteSet::ALL`] means any value, the empty one too (its digest is not empty); [`ByteSet::meets`]
    /// knows that. A value that holds such a byte may still stay as it is.
    #[must_use]
    pub const fn triggers(self) -> ByteSet {
        match self {
            T::None => ByteSet::EMPTY,
            T::Base64Decode
            | T::Base64DecodeExt
            | T::Base64Encode
            | T::HexDecode
            | T::HexEncode
            | T::Length
            | T::Md5
            | T::Sha1 => ByteSet::ALL,
            T::ParityEven7bit => EVEN,
            T::ParityOdd7bit => ODD,
            T::ParityZero7bit => HIGH,
            T::UrlEncode => {
                let kept =
                    ByteSet::of(b"*").with_range(b'0', b'9').with_range(b'A', b'Z').with_range(b'a', b'z');
                kept.complement()
            }
            T::Utf8ToUnicode => HIGH.with(0),
            T::CssDecode | T::EscapeSeqDecode | T::JsDecode => ByteSet::of(b"\\"),
            T::HtmlEntityDecode => ByteSet::of(b"&"),
            T::SqlHexDecode => ByteSet::of(b"xX"),
            T::UrlDecode | T::UrlDecodeUni => ByteSet::of(b"%+"),
            T::NormalizePath => ByteSet::of(b"/."),
            T::NormalizePathWin => ByteSet::of(b"/.\\"),
            T::CmdLine => ByteSet::of(b"\"'\\^ ,;\t\r\n").with_range(b'A', b'Z'),
            T::CompressWhitespace | T::Trim | T::TrimLeft | T::TrimRight => SPACE,
            T::RemoveComments | T::RemoveCommentsChar => ByteSet::of(b"/<-#"),
            T::RemoveNulls | T::ReplaceNulls => ByteSet::of(&[0]),
            T::RemoveWhitespace => SPACE.with(0xa0).with(0xc2),
            T::ReplaceComments => ByteSet::of(b"/"),
            T::Lowercase => ByteSet::EMPTY.with_range(b'A', b'Z'),
            T::Uppercase => ByteSet::EMPTY.with_range(b'a', b'z'),
        }
    }

    /// The most bytes the result for `input_bytes` bytes can have: at most three and a half times as many
    /// (`utf8toUnicode`), or 20 where the result is a digest or a number.
    #[must_use]
    pub const fn output_bytes_max(self, input_bytes: usize) -> usize {
        match self {
            T::Md5 => 16,
            T::Sha1 | T::Length => 20,
            T::HexEncode => input_bytes.saturating_mul(2),
            T::UrlEncode => input_bytes.saturating_mul(3),
            T::Base64Encode => input_bytes.div_ceil(3).saturating_mul(4),
            // Seven bytes for an overlong sequence of two.
            T::Utf8ToUnicode => input_bytes.saturating_mul(7).div_ceil(2),
            _ => input_bytes,
        }
    }
}

/// What `isspace` says in the C locale.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
