//! Forms and queries: `name=value` pairs, percent-encoded.
//!
//! A pair without `=` is a name with an empty value, an empty pair an argument without name, except at the
//! end; `+` is a space; a `%` without two digits stays and is noted. Difference from libmodsecurity 3: a
//! broken escape in a name is noted too.

use memchr::memchr;

use super::{Collection, Limit, Limits, Outlet, Sink};
use crate::check;
use crate::transform::Transformation;

/// A form under way.
#[derive(Debug)]
pub(super) struct Urlencoded {
    collection: Collection,
    separator: u8,
    value_bytes_max: usize,
    /// The pair that a chunk ended in.
    held: Vec<u8>,
    bytes: u64,
    has_url_error: bool,
    is_over: bool,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Urlencoded {
    pub(super) fn new(collection: Collection, limits: &Limits) -> Self {
        Self {
            collection,
            separator: limits.argument_separator,
            value_bytes_max: limits.value_bytes_max,
            held: Vec::new(),
            bytes: 0,
            has_url_error: false,
            is_over: false,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn feed(&mut self, chunk: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) {
        self.bytes += chunk.len() as u64;
        let mut rest = chunk;
        while !self.is_over && !rest.is_empty() {
            let end = memchr(self.separator, rest);
            let (piece, behind) = rest.split_at(end.unwrap_or(rest.len()));
            let room = self.value_bytes_max.saturating_sub(self.held.len());
            if piece.len() > room {
                self.held.extend_from_slice(piece.get(..room).unwrap_or_default());
                self.hand_over_held(outlet, sink);
                outlet.fail_at(Limit::ValueBytes);
                self.is_over = true;
            } else if end.is_none() {
                self.held.extend_from_slice(piece);
            } else if self.held.is_empty() {
                self.hand_over(piece, outlet, sink);
            } else {
                self.held.extend_from_slice(piece);
                self.hand_over_held(outlet, sink);
            }
            rest = behind.get(1..).unwrap_or_default();
        }
    }

    /// Ends the form and tells whether an escape was broken.
    pub(super) fn finish(mut self, outlet: &mut Outlet, sink: &mut dyn Sink) -> bool {
        if !self.is_over && !self.held.is_empty() {
            self.hand_over_held(outlet, sink);
        }
        self.has_url_error
    }

    fn hand_over_held(&mut self, outlet: &mut Outlet, sink: &mut dyn Sink) {
        let mut held = std::mem::take(&mut self.held);
        self.hand_over(&held, outlet, sink);
        held.clear();
        self.held = held;
    }

    fn hand_over(&mut self, pair: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) {
        let (name, value) = match memchr(b'=', pair) {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
            None => (pair, &[][..]),
        };
        self.has_url_error |= check::violates_url_encoding(name) || check::violates_url_encoding(value);
        Transformation::UrlDecode.apply(name, &mut self.name);
        Transformation::UrlDecode.apply(value, &mut self.value);
        self.is_over |= !outlet.take(sink, self.collection, &self.name, &self.value);
    }
}
