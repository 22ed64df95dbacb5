//! Wildcards (XML Schema part 1 §3.10): which namespaces `any` and `anyAttribute` let in.
//!
//! Made by [`super::complex`], asked by [`super::check`].

/// Which namespaces are let in; the empty name stands for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Space {
    Any,
    /// All but this one and none.
    Not(Box<[u8]>),
    OneOf(Vec<Box<[u8]>>),
}

/// What is done with what is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Strict,
    Lax,
    Skip,
}

/// A wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wildcard {
    pub(super) space: Space,
    pub(super) process: Process,
}

impl Wildcard {
    pub(super) fn takes(&self, namespace: &[u8]) -> bool {
        match &self.space {
            Space::Any => true,
            Space::Not(other) => !namespace.is_empty() && namespace != &**other,
            Space::OneOf(known) => known.iter().any(|one| **one == *namespace),
        }
    }

    /// Says whether something fits both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (&self.space, &other.space) {
            (Space::OneOf(known), _) => known.iter().any(|one| other.takes(one)),
            (_, Space::OneOf(known)) => known.iter().any(|one| self.takes(one)),
            _ => true,
        }
    }

    /// What both let in (§3.10.6, intersection); nothing where that cannot be said.
    pub(super) fn both(&self, other: &Self) -> Option<Self> {
        let space = match (&self.space, &other.space) {
            (Space::Any, space) | (space, Space::Any) => space.clone(),
            (Space::OneOf(known), _) => {
                Space::OneOf(known.iter().filter(|one| other.takes(one)).cloned().collect())
            }
            (_, Space::OneOf(known)) => {
                Space::OneOf(known.iter().filter(|one| self.takes(one)).cloned().collect())
            }
            (Space::Not(one), Space::Not(another)) => match (one.is_empty(), another.is_empty()) {
                _ if one == another => Space::Not(one.clone()),
                (true, _) => Space::Not(another.clone()),
                (_, true) => Space::Not(one.clone()),
                _ => return None,
            },
        };
        Some(Self { space, process: self.process })
    }

    /// What either lets in (§3.10.6, union); nothing where that cannot be said.
    pub(super) fn either(&self, other: &Self) -> Option<Self> {
        let space = match (&self.space, &other.space) {
            (Space::Any, _) | (_, Space::Any) => Space::Any,
            (Space::OneOf(one), Space::OneOf(another)) => {
                let mut all = one.clone();
                all.extend(another.iter().filter(|name| !one.contains(name)).cloned());
                Space::OneOf(all)
            }
            (Space::Not(one), Space::Not(another)) => {
                if one == another {
                    Space::Not(one.clone())
                } else {
                    Space::Not(Box::default())
                }
            }
            (Space::Not(not), Space::OneOf(known)) | (Space::OneOf(known), Space::Not(not)) => {
                let has_not = known.contains(not);
                let has_none = known.iter().any(|name| name.is_empty());
                match (has_not, has_none) {
                    (true, true) => Space::Any,
                    (true, false) => Space::Not(Box::default()),
                    (false, false) => Space::Not(not.clone()),
                    (false, true) => return None,
                }
            }
        };
        Some(Self { space, process: self.process })
    }
}
