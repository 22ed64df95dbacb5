//! Location paths (XPath 1.0): the values of `XML:/a/b[@c='d']//text()`.
//!
//! The part of XPath that rules use: absolute paths, `//`, wildcards, attributes, `text()`, unions, axes
//! without siblings, and predicates over position, text, attributes and what is below a node. What is beyond
//! is a load error that says what ([`parse`]). Names without a prefix are in no namespace (§2.3); prefixes
//! are those of the rule's `xmlns` actions. A path is walked step by step over the list that a document is;
//! what lies below what was walked already is not walked again. Read next: [`Path::select`].

mod parse;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use fuel::{Fuel, Spent};

use super::tree::{Name, NodeKind, Tree};
use crate::transform::is_space;

/// Found places sorted and freed of doubles once there are so many: more than a document has.
const FOUND_MAX: usize = 1 << 20;

/// A compiled path: places found by any of its parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Path {
    parts: Vec<Location>,
}

/// One location path (§2).
#[derive(Debug, Clone, PartialEq, Default)]
struct Location {
    steps: Vec<Step>,
}

/// One step (§2.1).
#[derive(Debug, Clone, PartialEq)]
struct Step {
    axis: Axis,
    test: Test,
    predicates: Vec<Predicate>,
}

/// Where a step leads (§2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Child,
    Descendant,
    DescendantOrSelf,
    Itself,
    Parent,
    Ancestor,
    AncestorOrSelf,
    Attribute,
}

/// What a step takes of its axis (§2.3).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// `node()`.
    Any,
    /// `text()`.
    Text,
    /// A name; without a namespace of any, without a local name any.
    Name { namespace: Option<Box<[u8]>>, local: Option<Box<[u8]>> },
}

/// What a place must be for a step to take it (§2.4).
#[derive(Debug, Clone, PartialEq)]
struct Predicate {
    /// In the order of evaluation: operands before their operator.
    program: Vec<Op>,
    /// It depends on the place among those of the step.
    is_positional: bool,
}

/// A piece of a predicate (§3).
#[derive(Debug, Clone, PartialEq)]
enum Op {
    Text(Box<[u8]>),
    Number(f64),
    Path(Location),
    /// A function with so many arguments.
    Call(Function, usize),
    Compare(Comparison),
    And,
    Or,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The functions of XPath that are read (§4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Boolean,
    Contains,
    Count,
    False,
    Last,
    LocalName,
    Name,
    NamespaceUri,
    NormalizeSpace,
    Not,
    Number,
    Position,
    StartsWith,
    String,
    StringLength,
    True,
}

/// A node, or an attribute of one; in the order of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    node: u32,
    /// The attribute's place among the node's, plus one; 0 for the node itself.
    attribute: u32,
}

/// A value under way.
#[derive(Debug)]
enum Value<'a> {
    Bool(bool),
    Number(f64),
    Text(Cow<'a, [u8]>),
    Places(Vec<Found>),
}

impl Path {
    /// Compiles a path; `namespaces` are pairs of prefix and name.
    ///
    /// # Errors
    ///
    /// What of XPath is not read, or what is no XPath at all.
    pub(crate) fn parse(text: &str, namespaces: &[(String, String)]) -> Result<Self, crate::problem::Wrong> {
        parse::path(text, namespaces)
    }

    /// The places of a document that are meant, in its order.
    pub(crate) fn select(&self, tree: &Tree, fuel: &mut Fuel) -> Result<Vec<Found>, Spent> {
        let mut found = Vec::new();
        for part in &self.parts {
            found.extend(part.select(tree, Found { node: 0, attribute: 0 }, fuel)?);
        }
        if self.parts.len() > 1 {
            tidy(&mut found, fuel)?;
        }
        Ok(found)
    }
}

/// The text of a place (§5): of an element all text below it.
pub(crate) fn text_of(tree: &Tree, place: Found) -> &[u8] {
    let Some(node) = tree.node(place.node) else { return b"" };
    match place.attribute.checked_sub(1) {
        None => tree.text(node),
        Some(at) => tree.attributes(node).get(at as usize).map_or(b"", |attribute| tree.value(attribute)),
    }
}

fn tidy(found: &mut Vec<Found>, fuel: &mut Fuel) -> Result<(), Spent> {
    if !found.is_sorted_by(|one, other| one < other) {
        fuel.spend(found.len() as u64 * 8)?;
        found.sort_unstable();
        found.dedup();
    }
    Ok(())
}

impl Location {
    fn select(&self, tree: &Tree, from: Found, fuel: &mut Fuel) -> Result<Vec<Found>, Spent> {
        let mut places = vec![from];
        for step in &self.steps {
            let is_positional = step.predicates.iter().any(|one| one.is_positional);
            let mut found = Vec::new();
            // Behind the last place walked, for axes that lead down.
            let mut walked = 0;
            for place in places {
                let leads_down = matches!(step.axis, Axis::Descendant | Axis::DescendantOrSelf);
                if leads_down && !is_positional && place.attribute == 0 {
                    if place.node < walked {
                        continue;
                    }
                    walked = tree.node(place.node).map_or(walked, |node| node.end);
                }
                let begin = found.len();
                step.walk(tree, place, &mut found, fuel)?;
                for predicate in &step.predicates {
                    predicate.filter(tree, &mut found, begin, fuel)?;
                }
                if found.len() > FOUND_MAX {
                    tidy(&mut found, fuel)?;
                }
            }
            tidy(&mut found, fuel)?;
            places = found;
        }
        Ok(places)
    }
}

impl Step {
    /// Adds what the axis leads to and the test takes, in the order of the axis.
    fn walk(&self, tree: &Tree, from: Found, found: &mut Vec<Found>, fuel: &mut Fuel) -> Result<(), Spent> {
        fuel.spend(4)?;
        let Some(node) = tree.node(from.node) else { return Ok(()) };
        let is_attribute = from.attribute > 0;
        let place = |node: u32| Found { node, attribute: 0 };
        let mut steps = 0_u64;
        match self.axis {
            Axis::Itself => {
                if self.takes(tree, from) {
                    found.push(from);
                }
            }
            Axis::Attribute => {
                let list = if is_attribute { &[] } else { tree.attributes(node) };
                for (at, attribute) in (1_u32..).zip(list) {
                    steps += 2;
                    if !attribute.is_namespace && self.test.names(tree, attribute.name) {
                        found.push(Found { node: from.node, attribute: at });
                    }
                }
            }
            Axis::Child if is_attribute => {}
            Axis::Child => {
                for (at, _) in tree.children(from.node) {
                    steps += 2;
                    if self.takes(tree, place(at)) {
                        found.push(place(at));
                    }
                }
            }
            Axis::Descendant | Axis::DescendantOrSelf => {
                let is_self = self.axis == Axis::DescendantOrSelf;
                if is_self && self.takes(tree, from) {
                    found.push(from);
                }
                if !is_attribute {
                    fuel.spend(u64::from(node.end.saturating_sub(from.node)) * 2)?;
                    let below = (from.node + 1..node.end).map(place);
                    found.extend(below.filter(|at| self.takes(tree, *at)));
                    crate::tally::count(node.end.saturating_sub(from.node) as usize);
                }
            }
            Axis::Parent | Axis::Ancestor | Axis::AncestorOrSelf => {
                if self.axis == Axis::AncestorOrSelf && self.takes(tree, from) {
                    found.push(from);
                }
                let mut at = from;
                loop {
                    steps += 2;
                    if at.attribute == 0 && at.node == 0 {
                        break;
                    }
                    let parent = tree.node(at.node).map_or(0, |node| node.parent);
                    at = if at.attribute > 0 { place(at.node) } else { place(parent) };
                    if self.takes(tree, at) {
                        found.push(at);
                    }
                    if self.axis == Axis::Parent {
                        break;
                    }
                }
            }
        }
        crate::tally::count(steps as usize / 2 + 1);
        fuel.spend(steps)
    }

    /// Says whether a place is of the step's kind; names on these axes are those of elements (§2.3).
    fn takes(&self, tree: &Tree, place: Found) -> bool {
        let Some(node) = tree.node(place.node) else { return false };
        match (&self.test, node.kind) {
            (Test::Any, _) => true,
            (_, _) if place.attribute > 0 => false,
            (Test::Text, kind) => kind == NodeKind::Text,
            (Test::Name { .. }, NodeKind::Element) => self.test.names(tree, node.name),
            (Test::Name { .. }, _) => false,
        }
    }
}

impl Test {
    fn names(&self, tree: &Tree, name: Name) -> bool {
        match self {
            Test::Any => true,
            Test::Text => false,
            Test::Name { namespace, local } => {
                local.as_deref().is_none_or(|local| tree.local(name) == local)
                    && namespace.as_deref().is_none_or(|wanted| tree.namespace_of(name) == Some(wanted))
            }
        }
    }
}

impl Predicate {
    /// Keeps of `found` from `begin` on what the predicate holds of.
    fn filter(
        &self,
        tree: &Tree,
        found: &mut Vec<Found>,
        begin: usize,
        fuel: &mut Fuel,
    ) -> Result<(), Spent> {
        let last = found.len() - begin;
        let mut kept = begin;
        for at in begin..found.len() {
            let Some(place) = found.get(at).copied() else { break };
            let position = at - begin + 1;
            if self.holds(tree, place, position, last, fuel)? {
                if let Some(slot) = found.get_mut(kept) {
                    *slot = place;
                }
                kept += 1;
            }
        }
        found.truncate(kept);
        Ok(())
    }

    fn holds(
        &self,
        tree: &Tree,
        place: Found,
        position: usize,
        last: usize,
        fuel: &mut Fuel,
    ) -> Result<bool, Spent> {
        let mut stack: Vec<Value<'_>> = Vec::with_capacity(4);
        for op in &self.program {
            fuel.spend(4)?;
            crate::tally::count(1);
            let value = match op {
                Op::Text(text) => Value::Text(Cow::Borrowed(text)),
                Op::Number(number) => Value::Number(*number),
                Op::Path(path) => Value::Places(path.select(tree, place, fuel)?),
                Op::Call(Function::Position, _) => Value::Number(position as f64),
                Op::Call(Function::Last, _) => Value::Number(last as f64),
                Op::Call(function, count) => {
                    let arguments = stack.split_off(stack.len().saturating_sub(*count));
                    let whole = arguments.iter().map(|one| bytes_of(one, tree)).sum::<usize>();
                    let own = if arguments.is_empty() { text_of(tree, place).len() } else { 0 };
                    fuel.spend(2 * (whole + own) as u64)?;
                    call(*function, arguments, tree, place)
                }
                Op::Compare(comparison) => {
                    let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else { return Ok(false) };
                    fuel.spend((bytes_of(&left, tree).min(bytes_of(&right, tree))) as u64)?;
                    if let Value::Places(places) = &left {
                        fuel.spend(2 * places.len() as u64)?;
                    }
                    Value::Bool(compare(*comparison, &left, &right, tree))
                }
                Op::And | Op::Or => {
                    let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else { return Ok(false) };
                    let (left, right) = (is_true(&left), is_true(&right));
                    Value::Bool(if *op == Op::And { left && right } else { left || right })
                }
            };
            stack.push(value);
        }
        Ok(match stack.pop() {
            Some(Value::Number(number)) => number == position as f64,
            Some(value) => is_true(&value),
            None => false,
        })
    }
}

/// Bytes of the texts that a value's use looks at.
fn bytes_of(value: &Value<'_>, tree: &Tree) -> usize {
    match value {
        Value::Bool(_) | Value::Number(_) => 8,
        Value::Text(text) => text.len(),
        Value::Places(places) => places.iter().map(|place| text_of(tree, *place).len()).sum(),
    }
}

fn is_true(value: &Value<'_>) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => *number != 0.0 && !number.is_nan(),
        Value::Text(text) => !text.is_empty(),
        Value::Places(places) => !places.is_empty(),
    }
}

/// The text of a value (§4.2).
fn text<'a>(value: Value<'a>, tree: &'a Tree) -> Cow<'a, [u8]> {
    match value {
        Value::Bool(value) => Cow::Borrowed(if value { b"true" } else { b"false" }),
        Value::Number(number) if number.is_infinite() => {
            Cow::Borrowed(if number > 0.0 { b"Infinity" } else { b"-Infinity" })
        }
        // Negative zero is written as zero.
        Value::Number(number) => Cow::Owned((number + 0.0).to_string().into_bytes()),
        Value::Text(text) => text,
        Value::Places(places) => Cow::Borrowed(places.first().map_or(b"", |place| text_of(tree, *place))),
    }
}

/// The number of a text (§4.4): digits with a point and a minus, or no number.
fn number(text: &[u8]) -> f64 {
    let text = text.trim_ascii();
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_number = digits.iter().any(u8::is_ascii_digit)
        && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        && digits.iter().filter(|byte| **byte == b'.').count() <= 1;
    let parsed = std::str::from_utf8(text).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
    parsed.unwrap_or(f64::NAN)
}

fn number_of(value: &Value<'_>, tree: &Tree) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Number(number) => *number,
        Value::Text(text) => number(text),
        Value::Places(places) => places.first().map_or(f64::NAN, |place| number(text_of(tree, *place))),
    }
}

impl Comparison {
    fn of_numbers(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }

    fn of_texts(self, left: &[u8], right: &[u8]) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            _ => self.of_numbers(number(left), number(right)),
        }
    }

    /// The same with its sides exchanged.
    fn turned(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            same => same,
        }
    }
}

/// Compares two values (§3.4); of places any will do. Two lists of places are never compared.
fn compare(comparison: Comparison, left: &Value<'_>, right: &Value<'_>, tree: &Tree) -> bool {
    let is_order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    match (left, right) {
        (Value::Places(places), Value::Text(with)) => {
            places.iter().any(|place| comparison.of_texts(text_of(tree, *place), with))
        }
        (Value::Places(places), Value::Number(with)) => {
            places.iter().any(|place| comparison.of_numbers(number(text_of(tree, *place)), *with))
        }
        (Value::Text(_) | Value::Number(_), Value::Places(_)) => {
            compare_turned(comparison, left, right, tree)
        }
        (Value::Bool(_), _) | (_, Value::Bool(_)) => {
            let of = |value: &Value<'_>| f64::from(u8::from(is_true(value)));
            comparison.of_numbers(of(left), of(right))
        }
        (Value::Text(left), Value::Text(right)) if !is_order => comparison.of_texts(left, right),
        _ => comparison.of_numbers(number_of(left, tree), number_of(right, tree)),
    }
}

fn compare_turned(comparison: Comparison, left: &Value<'_>, right: &Value<'_>, tree: &Tree) -> bool {
    let Value::Places(places) = right else { return false };
    let turned = comparison.turned();
    places.iter().any(|place| match left {
        Value::Text(with) => turned.of_texts(text_of(tree, *place), with),
        _ => turned.of_numbers(number(text_of(tree, *place)), number_of(left, tree)),
    })
}

/// A function of its arguments, or of the place where it takes none.
fn call<'a>(function: Function, arguments: Vec<Value<'a>>, tree: &'a Tree, place: Found) -> Value<'a> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next();
    let whole = |value: Option<Value<'a>>| match value {
        Some(value) => text(value, tree),
        None => Cow::Borrowed(text_of(tree, place)),
    };
    let named = |value: &Option<Value<'a>>| {
        let place = match value {
            Some(Value::Places(places)) => places.first().copied(),
            _ => Some(place),
        };
        let node = place.and_then(|place| tree.node(place.node));
        match (place.and_then(|place| place.attribute.checked_sub(1)), node) {
            (Some(at), Some(node)) => tree.attributes(node).get(at as usize).map(|attribute| attribute.name),
            (None, Some(node)) => Some(node.name).filter(|_| node.kind == NodeKind::Element),
            _ => None,
        }
    };
    match function {
        Function::True => Value::Bool(true),
        Function::False => Value::Bool(false),
        Function::Not => Value::Bool(!first.is_some_and(|value| is_true(&value))),
        Function::Boolean => Value::Bool(first.is_some_and(|value| is_true(&value))),
        Function::Count => match first {
            Some(Value::Places(places)) => Value::Number(places.len() as f64),
            _ => Value::Number(0.0),
        },
        Function::LocalName => Value::Text(named(&first).map_or(&b""[..], |name| tree.local(name)).into()),
        Function::Name => Value::Text(named(&first).map_or(&b""[..], |name| tree.whole(name)).into()),
        Function::NamespaceUri => {
            Value::Text(named(&first).and_then(|name| tree.namespace_of(name)).unwrap_or_default().into())
        }
        Function::String => Value::Text(whole(first)),
        Function::Number => Value::Number(match first {
            Some(value) => number_of(&value, tree),
            None => number(text_of(tree, place)),
        }),
        Function::StringLength => {
            // Characters: bytes that begin one.
            let count = whole(first).iter().filter(|byte| **byte & 0xc0 != 0x80).count();
            Value::Number(count as f64)
        }
        Function::NormalizeSpace => {
            let text = whole(first);
            let words = text.split(|byte| is_space(*byte)).filter(|word| !word.is_empty());
            let words: Vec<&[u8]> = words.collect();
            Value::Text(Cow::Owned(words.join(&b' ')))
        }
        Function::Contains | Function::StartsWith => {
            let (one, other) = (whole(first), whole(arguments.next()));
            Value::Bool(match function {
                Function::Contains => memchr::memmem::find(&one, &other).is_some(),
                _ => one.starts_with(&other),
            })
        }
        // Answered where they are met.
        Function::Position | Function::Last => Value::Number(0.0),
    }
}
