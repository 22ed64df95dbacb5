//! Header and trailer fields: in order, names as sent, all in one buffer.
//!
//! One form for every protocol, so that rules, cache and log see the same thing whatever the visitor
//! speaks. HTTP/1 loads its offsets with one copy; HTTP/2 and /3 push field by field.
//! Limits are the parsers'; this type only refuses to grow past 4 GiB by construction of its callers.

use bytes::Bytes;
use http1::Known;

#[derive(Clone, Copy, Debug)]
struct Slot {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    is_hop_by_hop: bool,
}

/// An ordered list of fields. Cleared and used again, it keeps its capacity.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    list: Vec<Slot>,
}

/// One field of a [`Fields`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    /// As sent, case included.
    pub name: &'a [u8],
    /// Without surrounding white space.
    pub value: &'a [u8],
    /// Which of the names this program treats specially.
    pub known: Known,
    /// Meant for this connection alone (RFC 9110 §7.6.1): writers skip it.
    pub is_hop_by_hop: bool,
}

impl Fields {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets all fields, keeps the memory (up to 16 KiB of it).
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.bytes.shrink_to(16 * 1024);
        self.list.shrink_to(256);
    }

    /// Replaces the content by the fields of an HTTP/1 head that lies in `buffer`.
    pub fn load(&mut self, buffer: &[u8], fields: &[http1::Field]) {
        self.list.clear();
        self.bytes.clear();
        self.bytes.extend_from_slice(buffer);
        self.list.extend(fields.iter().map(|f| Slot {
            name: u32::from(f.name.start),
            name_len: f.name.len,
            value: u32::from(f.value.start),
            value_len: u32::from(f.value.len),
            known: f.known,
            is_hop_by_hop: f.is_hop_by_hop,
        }));
    }

    /// Adds a field at the end. Hop-by-hop names are marked as such.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let known = Known::of(name);
        self.push_known(name, value, known, known.is_hop_by_hop());
    }

    /// Adds a field whose kind is already known.
    pub fn push_known(&mut self, name: &[u8], value: &[u8], known: Known, is_hop_by_hop: bool) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.list.push(Slot {
            name: start,
            name_len: name.len() as u16,
            value: start + name.len() as u32,
            value_len: value.len() as u32,
            known,
            is_hop_by_hop,
        });
    }

    fn view(&self, slot: &Slot) -> FieldRef<'_> {
        let cut = |start: u32, len: u32| {
            self.bytes.get(start as usize..(start as usize).saturating_add(len as usize)).unwrap_or_default()
        };
        FieldRef {
            name: cut(slot.name, u32::from(slot.name_len)),
            value: cut(slot.value, slot.value_len),
            known: slot.known,
            is_hop_by_hop: slot.is_hop_by_hop,
        }
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.list.iter().map(|slot| self.view(slot))
    }

    /// The field at a place, from 0.
    pub fn at(&self, place: usize) -> Option<FieldRef<'_>> {
        self.list.get(place).map(|slot| self.view(slot))
    }

    /// The fields that travel on: all but the hop-by-hop ones.
    pub fn end_to_end(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.list.iter().filter(|slot| !slot.is_hop_by_hop).map(|slot| self.view(slot))
    }

    /// The first value of a known name.
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        self.list.iter().find(|slot| slot.known == known).map(|slot| self.view(slot).value)
    }

    /// All values of a known name, in order.
    pub fn all_known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        self.list.iter().filter(move |slot| slot.known == known).map(|slot| self.view(slot).value)
    }

    /// The first value of a name, whatever its case.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// Takes out every field of a known name.
    pub fn remove_known(&mut self, known: Known) {
        self.list.retain(|slot| slot.known != known);
    }

    /// Keeps only the fields for which `keeps` is true.
    pub fn retain(&mut self, mut keeps: impl FnMut(&FieldRef<'_>) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        list.retain(|slot| keeps(&self.view(slot)));
        self.list = list;
    }

    /// Keeps only what may come after the content (RFC 9110 §6.5.1), as `http1` reads trailers, and nothing
    /// that names the visitor or the way a message came.
    pub fn keep_trailers(&mut self) {
        self.retain(|field| {
            let is_about_the_way = matches!(
                field.known,
                Known::XForwardedFor
                    | Known::XForwardedProto
                    | Known::XForwardedHost
                    | Known::Forwarded
                    | Known::Via
                    | Known::CdnLoop
                    | Known::XRequestId
            );
            let is_allowed = http1::may_be_trailer(field.name) && !http1::is_lookalike(field.name);
            !field.is_hop_by_hop && !is_about_the_way && is_allowed
        });
    }

    /// Takes out every field of a name, whatever its case.
    pub fn remove(&mut self, name: &[u8]) {
        let bytes = &self.bytes;
        self.list.retain(|slot| {
            let start = slot.name as usize;
            !bytes
                .get(start..start + usize::from(slot.name_len))
                .is_some_and(|known| known.eq_ignore_ascii_case(name))
        });
    }

    /// One field of this name with this value, at the place of the first of that name or at the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        let first = self.iter().position(|field| field.name.eq_ignore_ascii_case(name));
        self.remove(name);
        self.push(name, value);
        if let Some(at) = first {
            let slot = self.list.pop();
            if let Some(slot) = slot {
                self.list.insert(at.min(self.list.len()), slot);
            }
        }
    }

    /// Makes room for this many fields and bytes of names and values.
    pub fn reserve(&mut self, fields: usize, bytes: usize) {
        self.list.reserve(fields);
        self.bytes.reserve(bytes);
    }

    /// All fields that travel on, their values as slices of one shared copy: for messages that keep values.
    pub fn end_to_end_shared(&self) -> impl Iterator<Item = (FieldRef<'_>, Bytes)> {
        let shared = Bytes::copy_from_slice(&self.bytes);
        self.list.iter().filter(|slot| !slot.is_hop_by_hop).map(move |slot| {
            let start = (slot.value as usize).min(shared.len());
            let end = start.saturating_add(slot.value_len as usize).min(shared.len());
            (self.view(slot), shared.slice(start..end))
        })
    }

    /// Bytes of all names and values.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that they take: names, values, and what says where each is.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.len() + self.list.len() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(fields: &Fields) -> Vec<String> {
        fields.iter().map(|f| String::from_utf8_lossy(f.name).into_owned()).collect()
    }

    #[test]
    fn keeps_order_and_case() {
        let mut fields = Fields::new();
        fields.push(b"X-b", b"1");
        fields.push(b"HOST", b"a");
        fields.push(b"x-B", b"2");
        assert_eq!(names(&fields), ["X-b", "HOST", "x-B"]);
        assert_eq!(fields.known(Known::Host), Some(&b"a"[..]));
        assert_eq!(fields.value(b"X-B"), Some(&b"1"[..]));
    }

    #[test]
    fn hop_by_hop_fields_do_not_travel_on() {
        let mut fields = Fields::new();
        fields.push(b"Keep-Alive", b"5");
        fields.push(b"Accept", b"*/*");
        let kept: Vec<_> = fields.end_to_end().map(|f| f.name.to_vec()).collect();
        assert_eq!(kept, [b"Accept".to_vec()]);
    }

    #[test]
    fn fields_of_next_to_nothing_take_memory_too() {
        let mut fields = Fields::new();
        (0..100).for_each(|_| fields.push(b"x", b""));
        assert_eq!((fields.bytes_len(), fields.memory_bytes()), (100, 100 + 100 * size_of::<Slot>()));
    }

    #[test]
    fn set_replaces_all_of_a_name_in_the_place_of_the_first() {
        let mut fields = Fields::new();
        fields.push(b"A", b"1");
        fields.push(b"Host", b"x");
        fields.push(b"a", b"2");
        fields.set(b"a", b"3");
        assert_eq!(names(&fields), ["a", "Host"]);
        assert_eq!(fields.value(b"A"), Some(&b"3"[..]));
    }
}
