//! The values of one transaction: what variables such as `ARGS` and `REQUEST_HEADERS` hold.
//!
//! Names and values stand one after another in one buffer; values of a variable are linked in the order they
//! came. Nothing is removed but all at once. What does not fit the limits is left out, and the store says so.
//! Filled by [`crate::transaction`], read by [`crate::engine`] and [`crate::prefilter`].

use crate::limits::ITEMS_MAX;
use crate::variable::{COUNT, Variable};

/// A piece of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Appends bytes to a buffer and yields where they stand.
    pub(crate) fn push(buffer: &mut Vec<u8>, bytes: &[u8]) -> Self {
        let start = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        buffer.extend_from_slice(bytes);
        Self { start, end: u32::try_from(buffer.len()).unwrap_or(u32::MAX) }
    }

    /// The piece from `start` to the buffer's end.
    pub(crate) fn since(buffer: &[u8], start: usize) -> Self {
        let at = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        Self { start: at(start), end: at(buffer.len()) }
    }

    pub(crate) fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// One value with its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) source: Variable,
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// The next one of the same variable, plus one; 0 for none.
    next: u32,
}

/// The values of one transaction.
#[derive(Debug)]
pub(crate) struct Values {
    buffer: Vec<u8>,
    bytes_max: usize,
    items: Vec<Item>,
    /// First and last value of each variable, plus one; 0 for none.
    ends: [(u32, u32); COUNT],
    overflowed: bool,
    /// Values that were set anew, by number, in order.
    changed: Vec<u32>,
}

impl Values {
    /// An empty store for so many bytes of names and values.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            buffer: Vec::with_capacity(4096),
            bytes_max,
            items: Vec::with_capacity(96),
            ends: [(0, 0); COUNT],
            overflowed: false,
            changed: Vec::new(),
        }
    }

    /// Adds a value.
    ///
    /// The few bytes that stand for a document have room always: rules that judge it must not be turned off
    /// by filling the store.
    pub(crate) fn add(&mut self, source: Variable, name: &[u8], value: &[u8]) {
        let is_full = self.buffer.len() + name.len() + value.len() > self.bytes_max;
        if is_full && source != Variable::XmlDocument {
            self.overflowed = true;
            return;
        }
        let name = if name.is_empty() { Span::default() } else { Span::push(&mut self.buffer, name) };
        let value = Span::push(&mut self.buffer, value);
        self.link(source, name, value);
    }

    /// Adds a value whose name stands in a second variable too, as a value (`ARGS_NAMES`).
    pub(crate) fn add_named(&mut self, source: Variable, names: Variable, name: &[u8], value: &[u8]) {
        if self.buffer.len() + name.len() + value.len() > self.bytes_max {
            self.overflowed = true;
            return;
        }
        let name = Span::push(&mut self.buffer, name);
        let value = Span::push(&mut self.buffer, value);
        self.link(source, name, value);
        self.link(names, name, name);
    }

    /// Sets the only value of a variable.
    pub(crate) fn set(&mut self, source: Variable, value: &[u8]) {
        let first = self.ends.get(source as usize).map_or(0, |(first, _)| *first);
        if first == 0 {
            self.add(source, b"", value);
        } else if self.buffer.len() + value.len() <= self.bytes_max {
            let at = first as usize - 1;
            if self.items.get(at).is_some_and(|item| item.value.of(&self.buffer) == value) {
                return;
            }
            let span = Span::push(&mut self.buffer, value);
            if let Some(item) = self.items.get_mut(at) {
                item.value = span;
                self.changed.push(first - 1);
            }
        } else {
            self.overflowed = true;
        }
    }

    /// Sets the only value of a variable to a number.
    pub(crate) fn set_number(&mut self, source: Variable, number: u64) {
        self.set(source, number.to_string().as_bytes());
    }

    fn link(&mut self, source: Variable, name: Span, value: Span) {
        if self.items.len() >= ITEMS_MAX && source != Variable::XmlDocument {
            self.overflowed = true;
            return;
        }
        self.items.push(Item { source, name, value, next: 0 });
        let place = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        let Some((first, last)) = self.ends.get_mut(source as usize) else { return };
        if *first == 0 {
            *first = place;
        } else if let Some(item) = self.items.get_mut(*last as usize - 1) {
            item.next = place;
        }
        *last = place;
    }

    /// The values of a stored variable, in the order they came, each with its number.
    pub(crate) fn of(&self, source: Variable) -> impl Iterator<Item = (u32, &Item)> {
        let mut next = self.ends.get(source as usize).map_or(0, |(first, _)| *first);
        std::iter::from_fn(move || {
            let at = next.checked_sub(1)?;
            let item = self.items.get(at as usize)?;
            next = item.next;
            Some((at, item))
        })
    }

    /// The only value, or the first, of a variable.
    pub(crate) fn first(&self, source: Variable) -> Option<&[u8]> {
        self.of(source).next().map(|(_, item)| item.value.of(&self.buffer))
    }

    /// The first value of this name, in any case.
    pub(crate) fn named(&self, source: Variable, name: &[u8]) -> Option<&[u8]> {
        self.of(source)
            .find(|(_, item)| item.name.of(&self.buffer).eq_ignore_ascii_case(name))
            .map(|(_, item)| item.value.of(&self.buffer))
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Values that were set anew since they were added, in order.
    pub(crate) fn changed(&self) -> &[u32] {
        &self.changed
    }

    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Says whether something was left out because of a limit.
    pub(crate) const fn is_overflowed(&self) -> bool {
        self.overflowed
    }
}
