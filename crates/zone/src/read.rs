//! Reads TOML trees into settings, and goes on after each problem.
//!
//! Serde's derive stops at the first error and forgets places, so the tree that `toml` parses (with spans,
//! recovering from syntax errors) is read by the small traits here instead. A [`Section`] has two layers,
//! the zone's own table and the table of `[zone_defaults]`: a key is looked up in the first, then in the
//! second, and where both hold tables these are layered again. So defaults merge without copying, and each
//! value keeps the place it was written at.
//!
//! Recursion follows the settings' types, never the depth of the input (which `toml` bounds by itself).
//! Knows no setting by name: those stand in [`crate::spec`] and [`crate::node`]. Values of one piece are in
//! [`values`].

pub mod values;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Report, Severity};

/// A value together with the place it was written at (or, for a default, the place of its section).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

impl<T> std::ops::Deref for Placed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One layer: a table in a file.
#[derive(Debug, Clone, Copy)]
struct Layer<'a> {
    file: usize,
    table: &'a DeTable<'a>,
}

/// A table being read, with the defaults behind it.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    own: Option<Layer<'a>>,
    defaults: Option<Layer<'a>>,
    /// Where the section begins.
    pub place: Place,
}

/// One value being read, with the defaults behind it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    file: usize,
    spanned: &'a Spanned<DeValue<'a>>,
    defaults: Option<Layer<'a>>,
}

impl<'a> Section<'a> {
    /// The whole of a parsed file.
    #[must_use]
    pub fn whole(file: usize, table: &'a DeTable<'a>) -> Self {
        Self { own: Some(Layer { file, table }), defaults: None, place: Place::new(file, 0) }
    }

    /// The same section with the table named `key` of another file behind it, if that file has one.
    #[must_use]
    pub fn over(mut self, file: usize, root: &'a DeTable<'a>, key: &str) -> Self {
        if let Some(table) = root.get(key).and_then(|value| value.get_ref().as_table()) {
            self.defaults = Some(Layer { file, table });
        }
        self
    }

    /// A section that nobody wrote: every setting takes its default.
    #[must_use]
    pub fn unwritten(place: Place) -> Self {
        Self { own: None, defaults: None, place }
    }

    /// Looks a key up, in the section itself and then in the defaults.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<Entry<'a>> {
        let own = self.own.and_then(|layer| Some((layer.file, layer.table.get(key)?)));
        let behind = self.defaults.and_then(|layer| Some((layer.file, layer.table.get(key)?)));
        let (file, spanned) = own.or(behind)?;
        let defaults = match (own, behind) {
            (Some(_), Some((file, value))) => value.get_ref().as_table().map(|table| Layer { file, table }),
            _ => None,
        };
        Some(Entry { file, spanned, defaults })
    }

    /// Reports every key, of both layers, that is not among `keys`, and says of those that are settings of
    /// another file that they belong there: `elsewhere` has these with the file's name.
    pub fn report_unknown(
        &self,
        keys: &[&str],
        name: &str,
        elsewhere: Option<(&[&str], &str)>,
        report: &mut Report,
    ) {
        for layer in [self.own, self.defaults].into_iter().flatten() {
            for key in layer.table.keys() {
                let word: &str = key.get_ref();
                if !keys.contains(&word) {
                    let place = Place::new(layer.file, key.span().start);
                    let message = format!("unknown setting {} in {name}", values::quoted(word));
                    if let Some((_, file)) = elsewhere.filter(|(theirs, _)| theirs.contains(&word)) {
                        report.error_with(place, message, format!("it belongs in {file}"));
                        continue;
                    }
                    match nearest(word, keys) {
                        Some(known) => report.error_with(place, message, format!("did you mean `{known}`?")),
                        None => {
                            let mut all = keys.to_vec();
                            all.sort_unstable();
                            report.error_with(place, message, format!("known are: {}", all.join(", ")));
                        }
                    }
                }
            }
        }
    }
}

impl<'a> Entry<'a> {
    /// Where the value stands.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::new(self.file, self.spanned.span().start)
    }

    /// The value as parsed.
    #[must_use]
    pub fn value(&self) -> &'a DeValue<'a> {
        self.spanned.get_ref()
    }

    /// The value as a section, if it is a table.
    #[must_use]
    pub fn section(&self) -> Option<Section<'a>> {
        let table = self.value().as_table()?;
        Some(Section {
            own: Some(Layer { file: self.file, table }),
            defaults: self.defaults,
            place: self.place(),
        })
    }

    /// The items of an array. Arrays replace those of the defaults as a whole.
    #[must_use]
    pub fn items(&self) -> Option<impl Iterator<Item = Entry<'a>> + use<'a>> {
        let file = self.file;
        let array = self.value().as_array()?;
        Some(array.iter().map(move |spanned| Entry { file, spanned, defaults: None }))
    }

    /// Reports that the value has the wrong type.
    pub fn report_type(&self, wanted: &str, report: &mut Report) {
        self.report_type_with(wanted, None, report);
    }

    /// Reports that the value has the wrong type, with what was probably meant.
    pub fn report_type_with(&self, wanted: &str, meant: Option<String>, report: &mut Report) {
        let found = match self.value() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("this must be {wanted}, not {found}");
        report.note(self.place(), Severity::Error, message, meant);
    }
}

/// What may stand behind a key.
pub trait Setting: Sized {
    /// Says in words what is accepted, with an article: `an integer from 0 to 1000`.
    fn kind() -> String;

    /// Reads a value; on a problem reports it and answers `None`.
    fn read(entry: Entry<'_>, report: &mut Report) -> Option<Self>;

    /// Shows the value as a person would write it, for the reference.
    fn shown(&self) -> String;

    /// Adds the settings inside, for the reference. `path` is the path of this one.
    fn inside(_path: &str, _rows: &mut Vec<Row>) {}
}

/// A table of settings, made by `settings!`.
pub trait Table: Sized {
    /// Reads a section; each problem is reported, and a setting that has one is taken as unwritten.
    fn from_section(section: Section<'_>, report: &mut Report) -> Self;

    /// Adds a row for each setting inside, for the reference.
    fn describe(path: &str, rows: &mut Vec<Row>);
}

/// One line of the reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The setting's path, `pool[].health.interval_ms`.
    pub path: String,
    /// What it accepts.
    pub kind: String,
    /// Its default as written, `required`, or `none`.
    pub default: String,
    /// What it does.
    pub meaning: String,
}

impl Row {
    /// Builds a row; doc lines are joined by spaces.
    #[must_use]
    pub fn new(path: String, kind: String, default: String, meaning: &[&str]) -> Self {
        let meaning = meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        Self { path, kind, default, meaning }
    }
}

/// Finds the known word that a person most probably meant.
#[must_use]
pub fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Words from other proxies, which no edit distance would find.
    const HABITS: &[(&str, &str)] = &[
        ("backend", "pool"),
        ("cert", "certificate"),
        ("certificate_key", "private_key"),
        ("domains", "hostnames"),
        ("hosts", "hostnames"),
        ("key", "private_key"),
        ("listen", "listener"),
        ("location", "route"),
        ("bind", "address"),
        ("server_name", "hostnames"),
        ("servers", "origins"),
        ("target", "pool"),
        ("upstream", "pool"),
        ("prefix", "path_prefix"),
        ("when", "expression"),
        ("threshold", "requests"),
        ("requests_per_period", "requests"),
        ("mitigation_timeout", "mitigation_s"),
        ("workers", "threads"),
        ("ssl_certificate", "certificate"),
        ("ssl_certificate_key", "private_key"),
        ("proxy_pass", "pool"),
        ("return", "redirect"),
        ("br", "brotli"),
        ("ip_hash", "hash"),
        ("leastconn", "least_connections"),
        ("h2", "http2"),
        ("tlsv1.2", "1.2"),
        ("tlsv1.3", "1.3"),
        ("detectiononly", "log"),
        ("deny", "block"),
        ("drop", "block"),
        ("ip", "address"),
        ("block", "limit"),
    ];
    if word.len() > 64 {
        return None;
    }
    let word = word.to_ascii_lowercase().replace('-', "_");
    if let Some(exact) = known.iter().find(|key| **key == word) {
        return Some(exact);
    }
    let habit = HABITS.iter().find(|(theirs, _)| *theirs == word).map(|(_, ours)| *ours);
    if let Some(found) = habit.and_then(|ours| known.iter().find(|key| **key == ours)) {
        return Some(found);
    }
    let distance = |key: &str| strsim::damerau_levenshtein(&word, key);
    let best = known.iter().min_by_key(|key| (distance(key), **key))?;
    let near = distance(best) <= (best.len().max(word.len()) / 3).max(1);
    let alike = || {
        let likeness = |key: &str| strsim::jaro_winkler(&word, key);
        let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
        (likeness(best) > 0.88).then_some(*best)
    };
    if near { Some(best) } else { alike() }
}

/// Declares a table of settings: the struct as written, its reader and its part of the reference, from one
/// text, so that the three cannot differ.
///
/// Each field is `required`, `optional`, a `section` (a table whose settings all have defaults), or plain
/// with `= default`. Required and optional fields become `Option<Placed<T>>` (`None` if unwritten, or if a
/// problem has been reported), the others `Placed<T>`. `beside` names the settings that a person may look for
/// in this file and that stand in another.
macro_rules! settings {
    (
        $(#[$about:meta])*
        pub struct $Name:ident in $label:literal $(beside $Other:ident in $file:literal)? {
            $( $(#[doc = $doc:literal])+ $presence:ident $key:ident : $Type:ty $(= $default:expr)? , )*
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $key: $crate::read::settings!(@type $presence $Type), )*
            /// Where the table begins.
            pub place: $crate::problem::Place,
        }

        impl $Name {
            /// The names of all its settings.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($key)),*];
        }

        impl $crate::read::Table for $Name {
            fn from_section(
                section: $crate::read::Section<'_>,
                report: &mut $crate::problem::Report,
            ) -> Self {
                let elsewhere: Option<(&[&str], &str)> = None $(.or(Some(($Other::KEYS, $file))))?;
                section.report_unknown(Self::KEYS, $label, elsewhere, report);
                $( let $key = $crate::read::settings!(
                    @read $presence $key $label section report $Type $(, $default)?
                ); )*
                Self { $($key,)* place: section.place }
            }

            fn describe(path: &str, rows: &mut Vec<$crate::read::Row>) {
                $( {
                    let dot = if path.is_empty() { "" } else { "." };
                    let path = format!("{path}{dot}{}", stringify!($key));
                    let default = $crate::read::settings!(@shown $presence $Type $(, $default)?);
                    let kind = <$Type as $crate::read::Setting>::kind();
                    rows.push($crate::read::Row::new(path.clone(), kind, default, &[$($doc),+]));
                    <$Type as $crate::read::Setting>::inside(&path, rows);
                } )*
            }
        }

        impl $crate::read::Setting for $Name {
            fn kind() -> String {
                "a table".to_owned()
            }

            fn read(
                entry: $crate::read::Entry<'_>,
                report: &mut $crate::problem::Report,
            ) -> Option<Self> {
                match entry.section() {
                    Some(section) => Some(<Self as $crate::read::Table>::from_section(section, report)),
                    None => {
                        let meant = Self::KEYS.first().map(|key| $crate::read::values::as_table(&entry, key));
                        entry.report_type_with("a table", meant, report);
                        None
                    }
                }
            }

            fn shown(&self) -> String {
                "{}".to_owned()
            }

            fn inside(path: &str, rows: &mut Vec<$crate::read::Row>) {
                <Self as $crate::read::Table>::describe(path, rows);
            }
        }
    };

    (@type required $Type:ty) => { Option<$crate::read::Placed<$Type>> };
    (@type optional $Type:ty) => { Option<$crate::read::Placed<$Type>> };
    (@type section $Type:ty) => { $crate::read::Placed<$Type> };
    (@type plain $Type:ty) => { $crate::read::Placed<$Type> };

    (@read required $key:ident $label:literal $section:ident $report:ident $Type:ty) => {{
        let entry = $section.entry(stringify!($key));
        if entry.is_none() {
            let message = concat!($label, " needs `", stringify!($key), "`");
            let suggestion = format!("write {}", <$Type as $crate::read::Setting>::kind());
            $report.missing($section.place, message, suggestion);
        }
        $crate::read::placed::<$Type>(entry, $report)
    }};
    (@read optional $key:ident $label:literal $section:ident $report:ident $Type:ty) => {
        $crate::read::placed::<$Type>($section.entry(stringify!($key)), $report)
    };
    (@read section $key:ident $label:literal $section:ident $report:ident $Type:ty) => {
        match $crate::read::placed::<$Type>($section.entry(stringify!($key)), $report) {
            Some(placed) => placed,
            None => {
                let unwritten = $crate::read::Section::unwritten($section.place);
                let value = <$Type as $crate::read::Table>::from_section(unwritten, $report);
                $crate::read::Placed { value, place: $section.place }
            }
        }
    };
    (@read plain $key:ident $label:literal $section:ident $report:ident $Type:ty, $default:expr) => {
        $crate::read::placed::<$Type>($section.entry(stringify!($key)), $report)
            .unwrap_or_else(|| $crate::read::Placed { value: $default, place: $section.place })
    };

    (@shown required $Type:ty) => { "required".to_owned() };
    (@shown optional $Type:ty) => { "none".to_owned() };
    (@shown section $Type:ty) => { "see below".to_owned() };
    (@shown plain $Type:ty, $default:expr) => {
        <$Type as $crate::read::Setting>::shown(&$default)
    };
}
pub(crate) use settings;

/// A value that nobody wrote, for defaults of lists.
pub(crate) fn unplaced<T>(value: T) -> Placed<T> {
    Placed { value, place: Place::default() }
}

/// Reads an entry, if there is one, and remembers its place.
pub(crate) fn placed<T: Setting>(entry: Option<Entry<'_>>, report: &mut Report) -> Option<Placed<T>> {
    let entry = entry?;
    Some(Placed { place: entry.place(), value: T::read(entry, report)? })
}
