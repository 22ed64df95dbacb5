//! Verdicts remembered: values of headers, cookies, names and addresses of pages that a rule set found
//! harmless before.
//!
//! The same `User-Agent` comes with every request of a visit; what no rule matched once, none will match
//! again. Exact: a value is compared as a whole, with the set of slots that looked at it. Bounded: a table of
//! fixed size where a new value takes the place of an old one. It belongs to one thread and one rule set at a
//! time. Used by [`super::scan`].

use std::hash::{BuildHasher, Hasher};

use super::bits::Bits;
use crate::variable::Variable;

/// Places in the table: a page of a site brings some dozens of new values, a thread sees some hundred
/// visitors.
const PLACES: usize = 2_048;

/// Bytes of a value that is remembered: longer ones come back seldom.
const VALUE_BYTES_MAX: usize = 512;

/// Harmless values.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    places: Vec<Option<Place>>,
    state: foldhash::fast::FixedState,
}

#[derive(Debug)]
struct Place {
    source: Variable,
    slots: Bits,
    value: Vec<u8>,
}

impl Memo {
    /// Says whether values of a variable and length are remembered at all: those that come again, and nothing
    /// that a visitor sends in a body, where passwords are.
    pub(super) fn is_for(source: Variable, value: &[u8]) -> bool {
        value.len() <= VALUE_BYTES_MAX
            && matches!(
                source,
                Variable::RequestHeaders
                    | Variable::RequestHeadersNames
                    | Variable::RequestCookies
                    | Variable::RequestCookiesNames
                    | Variable::RequestMethod
                    | Variable::RequestProtocol
                    | Variable::ArgsGetNames
                    | Variable::ArgsPostNames
                    | Variable::ArgsNames
                    | Variable::RequestUri
                    | Variable::RequestUriRaw
                    | Variable::RequestLine
                    | Variable::RequestFilename
                    | Variable::RequestBasename
                    | Variable::PathInfo
                    | Variable::QueryString
                    | Variable::ArgsGet
                    | Variable::ServerName
                    | Variable::ResponseHeaders
                    | Variable::RemoteAddr
            )
    }

    fn place(&self, source: Variable, slots: &Bits, value: &[u8]) -> usize {
        let mut hasher = self.state.build_hasher();
        hasher.write_u8(source as u8);
        for word in slots.words() {
            hasher.write_u64(*word);
        }
        hasher.write(value);
        hasher.finish() as usize % PLACES
    }

    /// Says whether these slots found the value harmless before.
    pub(super) fn knows(&self, source: Variable, slots: &Bits, value: &[u8]) -> bool {
        let place = self.place(source, slots, value);
        self.places
            .get(place)
            .and_then(Option::as_ref)
            .is_some_and(|known| known.source == source && known.value == value && known.slots == *slots)
    }

    /// Remembers a value as harmless.
    pub(super) fn learn(&mut self, source: Variable, slots: &Bits, value: &[u8]) {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let place = self.place(source, slots, value);
        match self.places.get_mut(place) {
            Some(Some(known)) => {
                known.source = source;
                known.slots.copy(slots);
                known.value.clear();
                known.value.extend_from_slice(value);
            }
            Some(empty) => *empty = Some(Place { source, slots: slots.clone(), value: value.to_vec() }),
            None => {}
        }
    }

    /// Forgets everything: another rule set came.
    pub(super) fn clear(&mut self) {
        self.places.clear();
    }
}
