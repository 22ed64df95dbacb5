//! The values of one piece that a setting may take: text, counts, sizes, words, lists, statuses, ranges.
//!
//! Each says in words what it accepts and reports what it does not. Nothing here knows which setting it is
//! read for. Called through [`crate::read::Setting`] by [`crate::spec`] and [`crate::node`].

use toml::de::DeValue;

use super::{Entry, Placed, Row, Setting};
use crate::cidr::{Cidr, NotACidr};
use crate::id::Id;
use crate::limits::{DURATION_MS_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, TEXT_BYTES_MAX};
use crate::problem::Report;

/// Quotes a text for a message; a long one is cut, control characters are escaped.
#[must_use]
pub fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    let rest = if text.chars().nth(80).is_some() { "…" } else { "" };
    format!("`{shown}{rest}`")
}

/// Text of 1 to [`TEXT_BYTES_MAX`] bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

/// A short name of 1 to [`NAME_BYTES_MAX`] bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

/// The path of a file, relative to the folder of the file that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePath(pub String);

/// Free text (a body), which may be empty and may hold line breaks, up to the limit on answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(pub String);

/// The name of a header field (RFC 9110 §5.1), kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName(pub String);

/// What to write where a table is wanted: its first setting, with the value if that is a text.
pub(crate) fn as_table(entry: &Entry<'_>, key: &str) -> String {
    match entry.value().as_str() {
        Some(text) => format!("write {{ {key} = {} }}", text_quoted(text)),
        None => format!("write {{ {key} = … }}"),
    }
}

/// What to write where an array is wanted.
fn as_array(entry: &Entry<'_>) -> String {
    match entry.value() {
        DeValue::Table(_) => "write its header in double brackets, [[…]]: there may be several".to_owned(),
        DeValue::String(text) => format!("write [{}]", text_quoted(text)),
        _ => "put it in brackets".to_owned(),
    }
}

/// A text as TOML has it; a long one is cut.
fn text_quoted(text: &str) -> String {
    let shown = quoted(text);
    format!("\"{}\"", shown.trim_matches('`').replace('"', "\\\""))
}

/// What to write where a whole number is wanted and a text stands, such as `"443"`, or `"10s"` where
/// milliseconds are meant.
fn as_number(text: &str, is_ms: bool) -> Option<String> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at_checked(end)?;
    let number: u64 = digits.parse().ok()?;
    let factor_ms = match unit.trim() {
        "" => return Some(format!("write {number}, without quotes")),
        "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let ms = number.checked_mul(factor_ms)?;
    Some(match is_ms {
        true => format!("it is in milliseconds: write {ms}"),
        false => "write the number alone, without quotes; the setting's name ends in its unit".to_owned(),
    })
}

fn string<'a>(entry: &Entry<'a>, wanted: &str, bytes_max: usize, report: &mut Report) -> Option<&'a str> {
    let Some(text) = entry.value().as_str() else {
        entry.report_type(wanted, report);
        return None;
    };
    if text.len() > bytes_max {
        report.error(entry.place(), format!("this has {} bytes, and {bytes_max} is the most", text.len()));
        return None;
    }
    Some(text)
}

fn line<'a>(entry: &Entry<'a>, wanted: &str, bytes_max: usize, report: &mut Report) -> Option<&'a str> {
    let text = string(entry, wanted, bytes_max, report)?;
    if text.is_empty() {
        report.error(entry.place(), "this must not be empty");
        return None;
    }
    if text.chars().any(char::is_control) {
        report.error(entry.place(), "control characters and line breaks are not allowed here");
        return None;
    }
    Some(text)
}

macro_rules! texts {
    ($($Type:ident: $kind:literal, $read:ident, $max:expr;)*) => { $(
        impl Setting for $Type {
            fn kind() -> String {
                $kind.to_owned()
            }

            fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
                $read(&entry, $kind, $max, report).map(|text| Self(text.to_owned()))
            }

            fn shown(&self) -> String {
                format!("{:?}", self.0)
            }
        }
    )* };
}

texts! {
    Text: "a string", line, TEXT_BYTES_MAX;
    Name: "a name", line, NAME_BYTES_MAX;
    FilePath: "a path", line, PATH_BYTES_MAX;
    Body: "a string", string, crate::limits::ANSWER_BYTES_MAX;
}

/// Says whether the byte may stand in a token (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl Setting for FieldName {
    fn kind() -> String {
        "a header name".to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        let text = line(&entry, "a header name", NAME_BYTES_MAX, report)?;
        if !text.bytes().all(is_token) {
            report.error(entry.place(), format!("{} is no header name (RFC 9110 §5.1)", quoted(text)));
            return None;
        }
        Some(Self(text.to_ascii_lowercase()))
    }

    fn shown(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// What to write for a word that other servers take for true or false.
pub(crate) fn meant_truth(word: &str) -> Option<&'static str> {
    match word.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" => Some("write true, without quotes"),
        "off" | "no" | "false" | "0" => Some("write false, without quotes"),
        _ => None,
    }
}

impl Setting for bool {
    fn kind() -> String {
        "true or false".to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        let value = entry.value().as_bool();
        if value.is_none() {
            let meant = entry.value().as_str().and_then(meant_truth);
            entry.report_type_with("true or false", meant.map(str::to_owned), report);
        }
        value
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(pub u64);

/// A duration of `MIN` milliseconds to one day, in milliseconds.
pub type Milliseconds<const MIN: u64> = Count<MIN, DURATION_MS_MAX>;

impl<const MIN: u64, const MAX: u64> Setting for Count<MIN, MAX> {
    fn kind() -> String {
        if MAX == u64::MAX {
            format!("an integer from {MIN}")
        } else {
            format!("an integer from {MIN} to {MAX}")
        }
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        let Some(integer) = entry.value().as_integer() else {
            let meant = entry.value().as_str().and_then(|text| as_number(text, MAX == DURATION_MS_MAX));
            entry.report_type_with(&Self::kind(), meant, report);
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if (MIN..=MAX).contains(&number) => Some(Self(number)),
            _ => {
                let message = format!("this must be {}, not {}", Self::kind(), quoted(integer.as_str()));
                report.error(entry.place(), message);
                None
            }
        }
    }

    fn shown(&self) -> String {
        self.0.to_string()
    }
}

/// A number of bytes: an integer, or a string such as `"256MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

impl Size {
    const KIND: &'static str = "a size (an integer of bytes, or a string such as \"256MiB\")";

    fn parse(text: &str) -> Option<u64> {
        let end = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, unit) = text.split_at_checked(end)?;
        let number: u64 = digits.parse().ok()?;
        let factor = match unit.trim_start() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1_u64 << 40,
            _ => return None,
        };
        number.checked_mul(factor)
    }

    /// The size in a unit there is, of one that other servers know: `10m`, `64k`, `1G`.
    fn meant(text: &str) -> Option<String> {
        let end = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, unit) = text.split_at_checked(end).filter(|(digits, _)| !digits.is_empty())?;
        let unit = match unit.trim().to_ascii_lowercase().as_str() {
            "k" | "kib" => "KiB",
            "m" | "mib" => "MiB",
            "g" | "gib" => "GiB",
            "t" | "tib" => "TiB",
            "kb" => "kB",
            "mb" => "MB",
            "gb" => "GB",
            "tb" => "TB",
            _ => return None,
        };
        Some(format!("{digits}{unit}"))
    }
}

impl Setting for Size {
    fn kind() -> String {
        Self::KIND.to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        match entry.value() {
            DeValue::String(text) => {
                let size = Self::parse(text);
                if size.is_none() {
                    let message = format!("{} is no size", quoted(text));
                    let meant = Self::meant(text).map_or_else(
                        || "units are B, kB, MB, GB, KiB, MiB, GiB, TiB".to_owned(),
                        |meant| format!("did you mean \"{meant}\"?"),
                    );
                    report.error_with(entry.place(), message, meant);
                }
                size.map(Self)
            }
            DeValue::Integer(_) => Count::<0, { u64::MAX }>::read(entry, report).map(|count| Self(count.0)),
            _ => {
                entry.report_type(Self::KIND, report);
                None
            }
        }
    }

    fn shown(&self) -> String {
        const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match UNITS.iter().find(|(factor, _)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((factor, unit)) => format!("\"{}{unit}\"", self.0 / factor),
            None => self.0.to_string(),
        }
    }
}

/// An array of values.
#[derive(Debug, Clone, PartialEq)]
pub struct List<T>(pub Vec<Placed<T>>);

/// One value, or an array of them.
#[derive(Debug, Clone, PartialEq)]
pub struct OneOrMany<T>(pub Vec<Placed<T>>);

fn all<T: Setting>(entry: &Entry<'_>, report: &mut Report) -> Option<Vec<Placed<T>>> {
    Some(entry.items()?.filter_map(|item| super::placed(Some(item), report)).collect())
}

fn shown_list<T: Setting>(items: &[Placed<T>]) -> String {
    format!("[{}]", items.iter().map(|item| item.value.shown()).collect::<Vec<_>>().join(", "))
}

impl<T: Setting> Setting for List<T> {
    fn kind() -> String {
        format!("an array, each {}", T::kind())
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        let items = all(&entry, report);
        if items.is_none() {
            entry.report_type_with("an array", Some(as_array(&entry)), report);
        }
        items.map(Self)
    }

    fn shown(&self) -> String {
        shown_list(&self.0)
    }

    fn inside(path: &str, rows: &mut Vec<Row>) {
        T::inside(&format!("{path}[]"), rows);
    }
}

impl<T: Setting> Setting for OneOrMany<T> {
    fn kind() -> String {
        format!("{}, or an array of such", T::kind())
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        match all(&entry, report) {
            Some(items) => Some(Self(items)),
            None => super::placed(Some(entry), report).map(|item| Self(vec![item])),
        }
    }

    fn shown(&self) -> String {
        match self.0.as_slice() {
            [one] => one.value.shown(),
            many => shown_list(many),
        }
    }

    fn inside(path: &str, rows: &mut Vec<Row>) {
        T::inside(path, rows);
    }
}

/// Reads what may be written as a text or as a number, and tells what else it is.
pub(crate) fn text_or_number<T>(
    entry: Entry<'_>,
    report: &mut Report,
    kind: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let text = match entry.value() {
        DeValue::String(text) => text.as_ref(),
        DeValue::Integer(integer) => integer.as_str(),
        _ => {
            entry.report_type(kind, report);
            return None;
        }
    };
    let parsed = parse(text);
    if parsed.is_none() {
        report.error(entry.place(), format!("{} is not {kind}", quoted(text)));
    }
    parsed
}

/// A range of statuses, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    /// The first status.
    pub first: u16,
    /// The last status.
    pub last: u16,
}

impl Statuses {
    fn parse(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            let first = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class))? * 100;
            return Some(Self { first, last: first + 99 });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| text.parse().ok().filter(|status| (100..=599).contains(status));
        let range = Self { first: status(first)?, last: status(last)? };
        (range.first <= range.last).then_some(range)
    }
}

impl Setting for Statuses {
    fn kind() -> String {
        "a status (200, \"200-299\" or \"2xx\")".to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        text_or_number(entry, report, &Self::kind(), Self::parse)
    }

    fn shown(&self) -> String {
        if self.first == self.last {
            self.first.to_string()
        } else {
            format!("\"{}-{}\"", self.first, self.last)
        }
    }
}

impl Setting for Cidr {
    fn kind() -> String {
        "an address range (\"10.0.0.0/8\")".to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        let text = line(&entry, &Self::kind(), NAME_BYTES_MAX, report)?;
        match text.parse::<Self>() {
            Ok(cidr) => Some(cidr),
            Err(NotACidr::HostBits(cidr)) => {
                let message = format!("{} has bits set behind its prefix", quoted(text));
                report.error_with(entry.place(), message, format!("did you mean `{cidr}`?"));
                None
            }
            Err(why) => {
                report.error(entry.place(), format!("{} is no address range: {why}", quoted(text)));
                None
            }
        }
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for Id {
    fn kind() -> String {
        "an id of 32 hex digits".to_owned()
    }

    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self> {
        let text = line(&entry, &Self::kind(), NAME_BYTES_MAX, report)?;
        let id = text.parse().ok();
        if id.is_none() {
            report.error(entry.place(), format!("{} is no id; an id is 32 hex digits", quoted(text)));
        }
        id
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

/// Reads one of a closed set of words; reports any other with the nearest known one.
pub(crate) fn read_word<T: Copy>(entry: Entry<'_>, words: &[(&str, T)], report: &mut Report) -> Option<T> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let text = string(&entry, "a string", TEXT_BYTES_MAX, report)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let message = format!("{} is not one of {}", quoted(text), known.join(", "));
        match super::nearest(text, &known) {
            Some(word) => report.error_with(entry.place(), message, format!("did you mean \"{word}\"?")),
            None => report.error(entry.place(), message),
        }
    }
    found
}

/// Declares a closed set of words.
macro_rules! words {
    ($(
        $(#[$about:meta])*
        pub enum $Name:ident { $( $(#[doc = $doc:literal])+ $Variant:ident = $word:literal, )+ }
    )*) => { $(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $Name { $( $(#[doc = $doc])+ $Variant, )+ }

        impl $Name {
            /// The word a person writes for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$Variant => $word,)+ }
            }
        }

        impl $crate::read::Setting for $Name {
            fn kind() -> String {
                [$(concat!("\"", $word, "\"")),+].join(" or ")
            }

            fn read(
                entry: $crate::read::Entry<'_>,
                report: &mut $crate::problem::Report,
            ) -> Option<Self> {
                let words = [$(($word, Self::$Variant)),+];
                $crate::read::values::read_word(entry, &words, report)
            }

            fn shown(&self) -> String {
                format!("\"{}\"", self.word())
            }
        }
    )* };
}
pub(crate) use words;
