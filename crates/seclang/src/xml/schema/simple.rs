//! Simple types (XML Schema part 2): what a text must be, by type and facets.
//!
//! A type is flat: what it inherits is copied into it when it is made, so judging a text looks at one type,
//! at the one of its items, and at the members of a union, which are never unions themselves. Made by
//! [`super::build`], asked by [`super::check`]. Read next: [`Types::value`].

use std::cmp::Ordering;
use std::sync::Arc;

use regex::Regex;

use super::lexical::Lexical;
use super::value::{Decimal, Primitive, Value, read};
use crate::transform::is_space;

/// What is done with a text's whitespace before it is judged (§4.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum White {
    Preserve,
    Replace,
    Collapse,
}

/// What a type is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variety {
    Atomic(Primitive, Lexical),
    /// Items of this type.
    List(u32),
    /// Any of these types, none of them a union.
    Union(Arc<[u32]>),
}

/// What else a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Duty {
    #[default]
    None,
    /// `ID`: no other may be the same.
    Id,
    /// `IDREF`: one must be the same.
    Reference,
}

/// A simple type with all its facets (§4.3).
#[derive(Debug, Clone)]
pub(super) struct Simple {
    pub(super) variety: Variety,
    pub(super) duty: Duty,
    pub(super) white: White,
    /// All of these sets must hold one that fits.
    pub(super) patterns: Vec<Arc<[Regex]>>,
    pub(super) enumeration: Option<Arc<[Value]>>,
    pub(super) length_min: usize,
    pub(super) length_max: usize,
    /// The least value and whether it may be it; the most.
    pub(super) least: Option<(Value, bool)>,
    pub(super) most: Option<(Value, bool)>,
    pub(super) digits_max: usize,
    pub(super) fraction_max: usize,
}

impl Simple {
    pub(super) fn atomic(kind: Primitive, lexical: Lexical, white: White) -> Self {
        Self::of(Variety::Atomic(kind, lexical), white)
    }

    pub(super) fn of(variety: Variety, white: White) -> Self {
        Self {
            variety,
            duty: Duty::None,
            white,
            patterns: Vec::new(),
            enumeration: None,
            length_min: 0,
            length_max: usize::MAX,
            least: None,
            most: None,
            digits_max: usize::MAX,
            fraction_max: usize::MAX,
        }
    }

    /// Says whether there are facets of its own, beside whitespace.
    pub(super) fn has_facets(&self) -> bool {
        !self.patterns.is_empty() || self.enumeration.is_some()
    }

    /// A text with its whitespace as the type has it.
    pub(super) fn normalized(&self, text: &[u8]) -> Vec<u8> {
        match self.white {
            White::Preserve => text.to_vec(),
            White::Replace => text.iter().map(|byte| if is_space(*byte) { b' ' } else { *byte }).collect(),
            White::Collapse => {
                let words = text.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
                words.collect::<Vec<&[u8]>>().join(&b' ')
            }
        }
    }

    /// Says whether a value that was read is within the facets; `text` is its text.
    fn allows(&self, value: &Value, text: &[u8]) -> bool {
        let fits = |set: &Arc<[Regex]>| {
            std::str::from_utf8(text).is_ok_and(|text| set.iter().any(|pattern| pattern.is_match(text)))
        };
        if !self.patterns.iter().all(fits) {
            return false;
        }
        if self.enumeration.as_ref().is_some_and(|known| !known.contains(value)) {
            return false;
        }
        let is_long =
            value.length().is_none_or(|length| (self.length_min..=self.length_max).contains(&length));
        let within = |bound: &Option<(Value, bool)>, wanted: Ordering| {
            bound.as_ref().is_none_or(|(bound, may_be)| match value.order(bound) {
                Some(Ordering::Equal) => *may_be,
                Some(order) => order == wanted,
                None => false,
            })
        };
        let has_digits = match value {
            Value::Decimal(number) => self.has_digits(number),
            _ => true,
        };
        is_long && has_digits && within(&self.least, Ordering::Greater) && within(&self.most, Ordering::Less)
    }

    fn has_digits(&self, number: &Decimal) -> bool {
        number.total_digits() <= self.digits_max && number.fraction_digits() <= self.fraction_max
    }

    /// Reads a text of an atomic type.
    fn one(&self, text: &[u8]) -> Option<Value> {
        let Variety::Atomic(kind, lexical) = &self.variety else { return None };
        let text = self.normalized(text);
        let value = read(*kind, &text).filter(|_| lexical.fits(&text))?;
        self.allows(&value, &text).then_some(value)
    }
}

/// What a text was found to be, beside valid.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) ids: Vec<Box<[u8]>>,
    pub(super) references: Vec<Box<[u8]>>,
}

impl Found {
    fn note(&mut self, duty: Duty, value: &Value) {
        let Value::Text(text) = value else { return };
        match duty {
            Duty::None => {}
            Duty::Id => self.ids.push(text.clone()),
            Duty::Reference => self.references.push(text.clone()),
        }
    }
}

/// Simple types by their number; others are nothing here.
pub(super) trait Types {
    fn simple(&self, number: u32) -> Option<&Simple>;

    /// Reads a text as a value of a type; nothing where it is none.
    fn value(&self, number: u32, text: &[u8], found: &mut Found) -> Option<Value> {
        let simple = self.simple(number)?;
        let Variety::Union(members) = &simple.variety else { return self.item_or_list(simple, text, found) };
        let value =
            members.iter().find_map(|member| self.item_or_list(self.simple(*member)?, text, found))?;
        simple.allows(&value, &simple.normalized(text)).then_some(value)
    }

    /// The same for a type that is no union.
    fn item_or_list(&self, simple: &Simple, text: &[u8], found: &mut Found) -> Option<Value> {
        let Variety::List(item) = simple.variety else {
            let value = simple.one(text)?;
            found.note(simple.duty, &value);
            return Some(value);
        };
        let item = self.simple(item)?;
        let text = simple.normalized(text);
        let mut items = Vec::new();
        for word in text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
            items.push(self.item(item, word, found)?);
        }
        let value = Value::List(items);
        simple.allows(&value, &text).then_some(value)
    }

    /// The same for an item of a list: atomic, or a union of what is.
    fn item(&self, item: &Simple, word: &[u8], found: &mut Found) -> Option<Value> {
        let (value, duty) = match &item.variety {
            Variety::Union(members) => members.iter().find_map(|member| {
                let member = self.simple(*member)?;
                Some((member.one(word)?, member.duty))
            })?,
            _ => (item.one(word)?, item.duty),
        };
        let is_union = matches!(item.variety, Variety::Union(_));
        if is_union && !item.allows(&value, word) {
            return None;
        }
        found.note(duty, &value);
        Some(value)
    }
}

/// The built-in types (§3): name, the type they are derived from, and themselves. The first two are
/// `anyType` and `anySimpleType`.
pub(super) fn built_in() -> Vec<(&'static str, &'static str, Option<Simple>)> {
    use Lexical as L;
    use Primitive as P;
    use White::{Collapse, Preserve, Replace};
    let atomic = |kind, lexical, white| Some(Simple::atomic(kind, lexical, white));
    let plain = |kind| atomic(kind, L::Any, Collapse);
    let bounded = |least: &str, most: &str| {
        let bound = |text: &str| Decimal::parse(text.as_bytes()).map(|number| (Value::Decimal(number), true));
        let mut simple = Simple::atomic(P::Decimal, L::Integer, Collapse);
        (simple.least, simple.most) = (bound(least), bound(most));
        Some(simple)
    };
    let duty = |duty| {
        let mut simple = Simple::atomic(P::Text, L::Ncname, Collapse);
        simple.duty = duty;
        Some(simple)
    };
    vec![
        ("anyType", "anyType", None),
        ("anySimpleType", "anyType", atomic(P::Text, L::Any, Preserve)),
        ("string", "anySimpleType", atomic(P::Text, L::Any, Preserve)),
        ("boolean", "anySimpleType", plain(P::Boolean)),
        ("decimal", "anySimpleType", plain(P::Decimal)),
        ("float", "anySimpleType", plain(P::Float)),
        ("double", "anySimpleType", plain(P::Float)),
        ("duration", "anySimpleType", plain(P::Duration)),
        ("dateTime", "anySimpleType", plain(P::DateTime)),
        ("time", "anySimpleType", plain(P::Time)),
        ("date", "anySimpleType", plain(P::Date)),
        ("gYearMonth", "anySimpleType", plain(P::YearMonth)),
        ("gYear", "anySimpleType", plain(P::Year)),
        ("gMonthDay", "anySimpleType", plain(P::MonthDay)),
        ("gDay", "anySimpleType", plain(P::Day)),
        ("gMonth", "anySimpleType", plain(P::Month)),
        ("hexBinary", "anySimpleType", plain(P::Hex)),
        ("base64Binary", "anySimpleType", plain(P::Base64)),
        ("anyURI", "anySimpleType", plain(P::Text)),
        ("QName", "anySimpleType", plain(P::Name)),
        ("normalizedString", "string", atomic(P::Text, L::Any, Replace)),
        ("token", "normalizedString", plain(P::Text)),
        ("language", "token", atomic(P::Text, L::Language, Collapse)),
        ("NMTOKEN", "token", atomic(P::Text, L::Token, Collapse)),
        ("Name", "token", atomic(P::Text, L::Name, Collapse)),
        ("NCName", "Name", atomic(P::Text, L::Ncname, Collapse)),
        ("ID", "NCName", duty(Duty::Id)),
        ("IDREF", "NCName", duty(Duty::Reference)),
        ("ENTITY", "NCName", atomic(P::Text, L::Never, Collapse)),
        ("integer", "decimal", bounded("", "")),
        ("nonPositiveInteger", "integer", bounded("", "0")),
        ("negativeInteger", "nonPositiveInteger", bounded("", "-1")),
        ("long", "integer", bounded("-9223372036854775808", "9223372036854775807")),
        ("int", "long", bounded("-2147483648", "2147483647")),
        ("short", "int", bounded("-32768", "32767")),
        ("byte", "short", bounded("-128", "127")),
        ("nonNegativeInteger", "integer", bounded("0", "")),
        ("unsignedLong", "nonNegativeInteger", bounded("0", "18446744073709551615")),
        ("unsignedInt", "unsignedLong", bounded("0", "4294967295")),
        ("unsignedShort", "unsignedInt", bounded("0", "65535")),
        ("unsignedByte", "unsignedShort", bounded("0", "255")),
        ("positiveInteger", "nonNegativeInteger", bounded("1", "")),
    ]
}
