//! The right side of a comparison, ready to be asked about one value.
//!
//! A predicate has a key that says what it asks: two of the same key are the same question, whichever rule
//! asks it, and are answered once. Made by `check.rs`; grouped by `program/group.rs`; asked by evaluation.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::sync::Arc;

use crate::address::AddressSet;
use crate::list::{IntSet, List};
use crate::pattern::Pattern;
use crate::syntax::Comparison;
use crate::wildcard::Wildcard;

/// A question about one value.
#[derive(Clone, Debug)]
pub(crate) struct Predicate {
    pub(crate) test: Test,
    /// What tells this question from others about the same value.
    pub(crate) key: Arc<[u8]>,
}

#[derive(Clone, Debug)]
pub(crate) enum Test {
    /// The value is there and true.
    IsTrue,
    /// The value is there.
    Present,
    /// Compares strings of bytes; `Eq`, `Ne` and the orders.
    Bytes(Comparison, Arc<[u8]>),
    /// Is one of these, sorted.
    OneOf(Arc<[Box<[u8]>]>),
    Starts(Arc<[u8]>),
    Ends(Arc<[u8]>),
    Contains(Arc<[u8]>),
    Wildcard(Arc<Wildcard>),
    Matches(Arc<Pattern>),
    Int(Comparison, i64),
    IntIn(Arc<IntSet>),
    Ip(Comparison, IpAddr),
    IpIn(Arc<AddressSet>),
    List(Arc<List>),
}

impl Predicate {
    pub(crate) fn new(test: Test, tag: &str, detail: &[u8]) -> Self {
        let mut key = tag.as_bytes().to_vec();
        key.push(0);
        key.extend_from_slice(detail);
        Self { test, key: key.into() }
    }

    pub(crate) fn present() -> Self {
        Self::new(Test::Present, "present", b"")
    }

    pub(crate) fn is_true() -> Self {
        Self::new(Test::IsTrue, "true", b"")
    }

    pub(crate) fn bytes(comparison: Comparison, literal: &[u8]) -> Self {
        Self::new(Test::Bytes(comparison, literal.into()), tag(comparison), literal)
    }

    /// The same question without its negation, for `ne`.
    pub(crate) fn without_ne(&self) -> Option<Self> {
        match &self.test {
            Test::Bytes(Comparison::Ne, literal) => Some(Self::bytes(Comparison::Eq, literal)),
            Test::Int(Comparison::Ne, value) => Some(Self::int(Comparison::Eq, *value)),
            Test::Ip(Comparison::Ne, address) => Some(Self::ip(Comparison::Eq, *address)),
            _ => None,
        }
    }

    pub(crate) fn int(comparison: Comparison, value: i64) -> Self {
        Self::new(Test::Int(comparison, value), tag(comparison), &value.to_le_bytes())
    }

    pub(crate) fn ip(comparison: Comparison, address: IpAddr) -> Self {
        Self::new(Test::Ip(comparison, address), tag(comparison), address.to_string().as_bytes())
    }
}

fn tag(comparison: Comparison) -> &'static str {
    let found = Comparison::ALL.iter().find(|(which, ..)| *which == comparison);
    found.and_then(|(_, spellings, _)| spellings.first()).copied().unwrap_or_default()
}

/// Whether an order satisfies a comparison; values that cannot be compared satisfy `ne` alone.
fn is(comparison: Comparison, order: Option<Ordering>) -> bool {
    match comparison {
        Comparison::Eq => order == Some(Ordering::Equal),
        Comparison::Ne => order != Some(Ordering::Equal),
        Comparison::Lt => order == Some(Ordering::Less),
        Comparison::Le => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Gt => order == Some(Ordering::Greater),
        Comparison::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        _ => false,
    }
}

impl Test {
    /// Asks about a string; `folded` is a buffer for a lower-case copy.
    pub(crate) fn of_bytes(&self, value: &[u8], folded: &mut Vec<u8>) -> bool {
        match self {
            Test::Present => true,
            Test::Bytes(Comparison::Eq, literal) => value == &**literal,
            Test::Bytes(comparison, literal) => is(*comparison, Some(value.cmp(literal))),
            Test::OneOf(set) => set.binary_search_by(|item| (**item).cmp(value)).is_ok(),
            Test::Starts(literal) => value.starts_with(literal),
            Test::Ends(literal) => value.ends_with(literal),
            Test::Contains(literal) => memchr::memmem::find(value, literal).is_some(),
            Test::Wildcard(wildcard) if wildcard.is_strict() => wildcard.is_match(value),
            Test::Wildcard(wildcard) => {
                folded.clear();
                folded.extend_from_slice(value);
                folded.make_ascii_lowercase();
                wildcard.is_match(folded)
            }
            Test::Matches(pattern) => pattern.is_match(value),
            Test::List(list) => list.holds_bytes(value),
            _ => false,
        }
    }

    /// Asks about an integer.
    pub(crate) fn of_int(&self, value: i64) -> bool {
        match self {
            Test::Present => true,
            Test::Int(comparison, other) => is(*comparison, Some(value.cmp(other))),
            Test::IntIn(set) => set.holds(value),
            Test::List(list) => list.holds_int(value),
            _ => false,
        }
    }

    /// Asks about an address. Addresses of two families have no order.
    pub(crate) fn of_ip(&self, value: IpAddr) -> bool {
        match self {
            Test::Present => true,
            Test::Ip(comparison, other) => {
                let order = (value.is_ipv4() == other.is_ipv4()).then(|| value.cmp(other));
                is(*comparison, order)
            }
            Test::IpIn(set) => set.holds(value),
            Test::List(list) => list.holds_address(value),
            _ => false,
        }
    }

    /// Steps of asking about a value of so many bytes.
    pub(crate) fn price(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        match self {
            Test::IsTrue | Test::Present | Test::Int(..) | Test::Ip(..) => 2,
            Test::Bytes(_, literal) | Test::Starts(literal) | Test::Ends(literal) => {
                4 + literal.len() as u64 / 16
            }
            Test::OneOf(set) => 4 + 4 * u64::from(usize::BITS - set.len().leading_zeros()),
            Test::Contains(literal) => 16 + literal.len() as u64 / 4 + bytes / 4,
            Test::Wildcard(wildcard) => 16 + bytes + 8 * wildcard.stars() as u64,
            Test::Matches(pattern) => pattern.price(bytes as usize),
            Test::IntIn(set) => 4 + 2 * u64::from(usize::BITS - set.ranges.len().leading_zeros()),
            Test::IpIn(set) => 8 + 4 * set.depth(),
            Test::List(list) => list.price(bytes as usize),
        }
    }
}
