//! The fields of the language: names, types, where their values come from, and what they are without one.
//!
//! One table makes the enum, the lookup by name and the reference. A field whose value nobody gives has the
//! empty value written here, so that no expression can fail at run time. Which fields a caller gives is
//! [`crate::View`]'s; which the crate derives from others is in `derive.rs`. Read next: `field/table.rs`.

use std::fmt;

use crate::kind::{Scalar, Type};
use crate::lexer::{Token, tokens};
use crate::problem::Problems;

mod table;

pub use table::Field;

/// Who makes a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The caller gives it through [`crate::View`].
    Given,
    /// This crate derives it from what the caller gives.
    Derived,
    /// Nothing in Rempart makes it yet: it has its empty value unless the caller gives one.
    Absent,
}

/// When a field may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In every phase.
    Request,
    /// In phases of the response only.
    Response,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// As written in expressions.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// Who makes it.
    pub source: Source,
    /// When it may be used.
    pub when: When,
    /// What an integer is without a value; 0 for nearly all.
    pub empty_int: i64,
    /// What it holds, in one sentence.
    pub meaning: &'static str,
}

/// Names that older rules use, with today's.
pub(crate) const ALIASES: &[(&str, &str)] = &[
    ("ip.geoip.asnum", "ip.src.asnum"),
    ("ip.geoip.continent", "ip.src.continent"),
    ("ip.geoip.country", "ip.src.country"),
    ("ip.geoip.is_in_european_union", "ip.src.is_in_european_union"),
    ("ip.geoip.subdivision_1_iso_code", "ip.src.subdivision_1_iso_code"),
    ("ip.geoip.subdivision_2_iso_code", "ip.src.subdivision_2_iso_code"),
];

impl Field {
    /// Finds a field by its name or an older name of it.
    #[must_use]
    pub fn named(name: &str) -> Option<Field> {
        let name = ALIASES.iter().find(|(older, _)| *older == name).map_or(name, |(_, today)| today);
        Field::ALL.iter().copied().find(|field| field.row().name == name)
    }

    /// The fields that a text names, each with the first byte of every place, whether or not the text is
    /// right otherwise.
    #[must_use]
    pub fn named_in(text: &str) -> Vec<(Field, usize)> {
        let words = tokens(text, &mut Problems::new(text, 1)).into_iter();
        let words = words.filter(|(token, _)| *token == Token::Word);
        words.filter_map(|(_, at)| Some((Field::named(text.get(at.start..at.end)?)?, at.start))).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// Its type.
    #[must_use]
    pub fn ty(self) -> Type {
        self.row().ty
    }

    /// How many requests its usual conditions hold for, from 1 (few) up: what the compiler goes by when it
    /// chooses the part of a conjunction that wakes a rule. A bad guess costs time, never a wrong answer.
    pub(crate) fn commonness(self) -> u32 {
        match self {
            Field::HttpHost | Field::Method | Field::Version => 50,
            Field::Country | Field::Continent => 10,
            other if other.ty().scalar == Scalar::Bool => 100,
            _ => 1,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        let names: BTreeSet<_> = Field::ALL.iter().map(|field| field.name()).collect();
        assert_eq!(names.len(), Field::ALL.len());
        for field in Field::ALL {
            assert_eq!(Field::named(field.name()), Some(*field));
            assert!(field.row().meaning.ends_with('.'), "{field}");
        }
        for (older, today) in ALIASES {
            assert_eq!(Field::named(older).map(Field::name), Some(*today));
            assert!(!names.contains(older));
        }
    }

    #[test]
    fn fields_are_found_in_a_text_and_not_in_its_strings() {
        let text = "not cf.client.bot and http.host == \"ip.src.city\" and ip.geoip.country in {1 ssl";
        let found: Vec<_> = Field::named_in(text).into_iter().map(|(field, at)| (field.name(), at)).collect();
        let wanted = [("cf.client.bot", 4), ("http.host", 22), ("ip.src.country", 53), ("ssl", 76)];
        assert_eq!(found, wanted);
    }
}
