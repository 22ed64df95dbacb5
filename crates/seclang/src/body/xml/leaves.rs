//! Elements of XML as arguments: what holds no element becomes one under the names of all around it.
//!
//! `<a><b>1</b></a>` is `xml.a.b=1`, as `SecParseXmlIntoArgs` of ModSecurity 3 has it: names without their
//! prefixes, no attributes, and no text that stands beside elements. The reader of XML tells of each tag.
//! Called by [`super::Xml`] alone.

use crate::body::{Collection, Outlet, Sink};

/// What every name begins with.
const ROOT: &[u8] = b"xml";

/// The elements that are open.
#[derive(Debug)]
pub(super) struct Leaves {
    /// Their names, and what every name begins with, divided by dots.
    path: Vec<u8>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    /// Bytes of the path around it.
    around: usize,
    /// Bytes of the document's text before it.
    text_from: usize,
    is_leaf: bool,
}

impl Leaves {
    pub(super) fn new() -> Self {
        Self { path: ROOT.to_vec(), open: Vec::new() }
    }

    /// An element begins; so much text was read before it.
    pub(super) fn begin(&mut self, name: &[u8], text_bytes: usize) {
        if let Some(parent) = self.open.last_mut() {
            parent.is_leaf = false;
        }
        self.open.push(Open { around: self.path.len(), text_from: text_bytes, is_leaf: true });
        let local = memchr::memchr(b':', name).and_then(|colon| name.get(colon + 1..)).unwrap_or(name);
        self.path.push(b'.');
        self.path.extend_from_slice(local);
    }

    /// The element begun last ends; whether there was room for what it is.
    pub(super) fn end(&mut self, text: &[u8], outlet: &mut Outlet, sink: &mut dyn Sink) -> bool {
        let Some(Open { around, text_from, is_leaf }) = self.open.pop() else { return true };
        let value = text.get(text_from..).unwrap_or_default();
        let has_room = !is_leaf || outlet.take(sink, Collection::Args, &self.path, value);
        self.path.truncate(around);
        has_room
    }
}
