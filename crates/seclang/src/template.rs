//! Texts with macros: `%{TX.score}`, `%{MATCHED_VAR_NAME}`, `%{REQUEST_HEADERS.Host}`.
//!
//! A template is parsed once, when rules are loaded, so that an unknown variable is a load error; the engine
//! expands it ([`crate::engine`]). Names of `TX` variables are numbered here ([`TxNames`]), so that a
//! transaction keeps the known ones in a plain array. Read next: [`Template`].

use hashbrown::HashMap;

use crate::problem::Wrong;
use crate::variable::{Kind, VARIABLES, Variable};

/// The number of a `TX` variable that rules name.
pub(crate) type TxId = u16;

/// The `TX` variables that rules name, by number. The first ten are the captures `0` to `9`.
#[derive(Debug, Clone)]
pub(crate) struct TxNames {
    names: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, TxId, foldhash::fast::FixedState>,
}

impl Default for TxNames {
    fn default() -> Self {
        let mut names = Self { names: Vec::new(), ids: HashMap::default() };
        for digit in b'0'..=b'9' {
            names.intern(&[digit]);
        }
        names
    }
}

impl TxNames {
    /// Numbers a name, in any case. With more than 65,535 names the last number stands for all the rest,
    /// which the loader refuses.
    pub(crate) fn intern(&mut self, name: &[u8]) -> TxId {
        let folded: Box<[u8]> = name.to_ascii_lowercase().into();
        if let Some(id) = self.ids.get(&folded) {
            return *id;
        }
        let id = TxId::try_from(self.names.len()).unwrap_or(TxId::MAX);
        if id < TxId::MAX {
            self.names.push(folded.clone());
            self.ids.insert(folded, id);
        }
        id
    }

    /// Finds the number of a name that is already in lower case.
    pub(crate) fn find(&self, folded: &[u8]) -> Option<TxId> {
        self.ids.get(folded).copied()
    }

    pub(crate) fn name(&self, id: TxId) -> &[u8] {
        self.names.get(usize::from(id)).map_or(b"", |name| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// A text with macros.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Literal text.
    Text(Box<[u8]>),
    /// A `TX` variable.
    Tx(TxId),
    /// Another variable, with its name in lower case where it is a collection.
    Variable(Variable, Option<Box<[u8]>>),
}

impl Template {
    /// A template without macros.
    pub(crate) fn text(text: &[u8]) -> Self {
        Self { parts: if text.is_empty() { vec![] } else { vec![Part::Text(text.into())] } }
    }

    /// Parses a text.
    pub(crate) fn parse(text: &str, names: &mut TxNames) -> Result<Self, Wrong> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("%{") {
            let (before, from) = rest.split_at(at);
            let Some(end) = from.find('}') else { break };
            if !before.is_empty() {
                parts.push(Part::Text(before.as_bytes().into()));
            }
            parts.push(part(from.get(2..end).unwrap_or_default(), names)?);
            rest = from.get(end + 1..).unwrap_or_default();
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.as_bytes().into()));
        }
        Ok(Self { parts })
    }

    /// The text, when there is no macro in it.
    pub(crate) fn as_text(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }
}

fn part(inside: &str, names: &mut TxNames) -> Result<Part, Wrong> {
    let inside = inside.trim();
    let (name, key) = match inside.find(['.', ':']) {
        Some(at) => (inside.get(..at).unwrap_or_default(), inside.get(at + 1..)),
        None => (inside, None),
    };
    let Some(variable) = Variable::from_name(name) else {
        return Err(Wrong::unknown("variable in a macro", name, VARIABLES.iter().map(|(_, name, _)| *name)));
    };
    if variable.kind() == Kind::Persistent {
        return Err(persistent(variable.name()));
    }
    match key {
        Some(key) if variable == Variable::Tx => Ok(Part::Tx(names.intern(key.as_bytes()))),
        Some(key) if variable.is_collection() => {
            Ok(Part::Variable(variable, Some(key.to_ascii_lowercase().into_bytes().into())))
        }
        Some(_) => Err(Wrong::with(
            format!("`%{{{inside}}}` names a part of a variable that has one value"),
            format!("write `%{{{}}}`", variable.name()),
        )),
        None if variable.is_collection() => Err(Wrong::with(
            format!("`%{{{inside}}}` names a whole collection"),
            format!("write `%{{{}.name}}`", variable.name()),
        )),
        None => Ok(Part::Variable(variable, None)),
    }
}

/// The error of whatever needs a store that outlives a transaction.
pub(crate) fn persistent(what: &str) -> Wrong {
    Wrong::with(
        format!("`{what}` needs a persistent collection, which there is not"),
        "count and limit with the rate limits of the zone",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_macros_between_text() {
        let mut names = TxNames::default();
        let template = Template::parse("a %{TX.Score}-%{request_headers.Host}%{x", &mut names);
        let id = names.find(b"score").expect("interned");
        assert_eq!(
            template.map(|template| template.parts),
            Ok(vec![
                Part::Text(b"a "[..].into()),
                Part::Tx(id),
                Part::Text(b"-"[..].into()),
                Part::Variable(Variable::RequestHeaders, Some(b"host"[..].into())),
                Part::Text(b"%{x"[..].into()),
            ])
        );
    }

    #[test]
    fn names_what_is_unknown_and_what_was_meant() {
        let wrong = Template::parse("%{MATCHED_VR}", &mut TxNames::default()).expect_err("unknown");
        assert_eq!(wrong.remedy.as_deref(), Some("did you mean `MATCHED_VAR`?"));
    }
}
