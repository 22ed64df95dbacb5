//! A document as a list: elements and texts in the order of the document, attributes beside.
//!
//! A node knows its parent and where its subtree ends, so its children and descendants are found by counting,
//! and the text of any element is one piece of the whole text. Comments and processing instructions are not
//! kept; they only divide texts, as in XPath's model. Namespaces are resolved as tags are read. Built by
//! [`crate::body::xml`] tag by tag. Read next: [`Tree::children`].

use super::limits::{NAMESPACES_MAX, NODES_MAX};
use crate::transaction::values::Span;

/// The number of no namespace.
pub(crate) const NO_NAMESPACE: u32 = 0;
/// The number of the namespace of `xml:`.
const XML_NAMESPACE: u32 = 1;
/// The number of what a prefix without a binding means: equal to no namespace that can be named.
pub(crate) const UNBOUND: u32 = u32::MAX;

/// The name of the namespace of `xml:` (Namespaces in XML 1.0 §3).
pub(crate) const XML_URI: &[u8] = b"http://www.w3.org/XML/1998/namespace";

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeKind {
    /// The document itself, the first node.
    Root,
    Element,
    Text,
}

/// The name of an element or attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Name {
    whole: Span,
    local: Span,
    pub(crate) namespace: u32,
}

/// A node of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Its end is missing: the document was cut.
    pub(crate) is_open: bool,
    /// A comment or processing instruction is among its children.
    pub(crate) has_remark: bool,
    /// A CDATA section is among its children.
    pub(crate) has_cdata: bool,
    pub(crate) parent: u32,
    /// The number behind the last node below it.
    pub(crate) end: u32,
    pub(crate) name: Name,
    /// Its attributes, by number.
    pub(crate) attributes: (u32, u32),
    /// Its text, within the whole.
    text: (u32, u32),
    /// Where it began, in bytes of the document.
    pub(crate) at: u32,
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    value: Span,
    /// Its element.
    pub(crate) owner: u32,
    /// It is a declaration of a namespace.
    pub(crate) is_namespace: bool,
}

/// More than a tree holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    /// Names and values.
    bytes: Vec<u8>,
    /// All text.
    text: Vec<u8>,
    nodes: Vec<Node>,
    attributes: Vec<Attribute>,
    /// The names of namespaces, by number.
    namespaces: Vec<Box<[u8]>>,
    /// Bindings in force: the element, the prefix, the namespace's number.
    scope: Vec<(u32, Box<[u8]>, u32)>,
    /// Elements not ended yet; the document is the first.
    open: Vec<u32>,
    /// Bytes of text that are in nodes.
    text_done: usize,
}

/// The most memory that the tree of a document takes: each element, the text beside it and each attribute has
/// a place, in lists that grow to twice what is in them; names, values and text lie beside.
pub(crate) fn bytes_max(document: &[u8]) -> usize {
    let elements = memchr::memchr_iter(b'<', document).count();
    let attributes = memchr::memchr_iter(b'=', document).count();
    let nodes = elements.saturating_mul(2).saturating_add(1).min(NODES_MAX);
    let places = nodes * size_of::<Node>() + attributes.min(NODES_MAX) * size_of::<Attribute>();
    // A list begins with room for four.
    places.saturating_add(document.len()).saturating_mul(2).saturating_add(1_024)
}

fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

impl Tree {
    /// An empty document.
    pub(crate) fn new() -> Self {
        let root = Node {
            kind: NodeKind::Root,
            is_open: true,
            has_remark: false,
            has_cdata: false,
            parent: 0,
            end: 1,
            name: Name::default(),
            attributes: (0, 0),
            text: (0, 0),
            at: 0,
        };
        Self {
            bytes: Vec::new(),
            text: Vec::new(),
            nodes: vec![root],
            attributes: Vec::new(),
            namespaces: vec![Box::default(), XML_URI.into()],
            scope: vec![(0, b"xml"[..].into(), XML_NAMESPACE)],
            open: vec![0],
            text_done: 0,
        }
    }

    /// Begins an element; `text_bytes` is how much text was read so far, `at` where its tag begins.
    pub(crate) fn begin(&mut self, name: &[u8], text_bytes: usize, at: u64) -> Result<(), TooLarge> {
        self.divide(text_bytes)?;
        let name = self.name(name);
        let parent = self.open.last().copied().unwrap_or(0);
        let first = number(self.attributes.len());
        self.add(Node {
            kind: NodeKind::Element,
            is_open: true,
            has_remark: false,
            has_cdata: false,
            parent,
            end: 0,
            name,
            attributes: (first, first),
            text: (number(text_bytes), 0),
            at: u32::try_from(at).unwrap_or(u32::MAX),
        })?;
        self.open.push(number(self.nodes.len() - 1));
        Ok(())
    }

    /// Adds an attribute to the element just begun.
    pub(crate) fn attribute(&mut self, name: &[u8], value: &[u8]) -> Result<(), TooLarge> {
        if self.nodes.len() + self.attributes.len() >= NODES_MAX {
            return Err(TooLarge);
        }
        let owner = self.open.last().copied().unwrap_or(0);
        let prefix = match name {
            b"xmlns" => Some(&b""[..]),
            _ => name.strip_prefix(b"xmlns:"),
        };
        if let Some(prefix) = prefix {
            let namespace = self.namespace(value)?;
            if self.scope.len() >= NAMESPACES_MAX {
                return Err(TooLarge);
            }
            self.scope.push((owner, prefix.into(), namespace));
        }
        let name = self.name(name);
        let value = Span::push(&mut self.bytes, value);
        self.attributes.push(Attribute { name, value, owner, is_namespace: prefix.is_some() });
        Ok(())
    }

    /// Resolves the names of the element just begun: all its attributes are there.
    pub(crate) fn named(&mut self) {
        let Some(place) = self.open.last().map(|place| *place as usize) else { return };
        let end = number(self.attributes.len());
        let Some(node) = self.nodes.get_mut(place) else { return };
        node.attributes.1 = end;
        let (first, own) = (node.attributes.0 as usize, node.name);
        let namespace = self.bound(own, true);
        if let Some(node) = self.nodes.get_mut(place) {
            node.name.namespace = namespace;
        }
        for at in first..end as usize {
            let Some(attribute) = self.attributes.get(at).filter(|one| !one.is_namespace) else { continue };
            let namespace = self.bound(attribute.name, false);
            if let Some(attribute) = self.attributes.get_mut(at) {
                attribute.name.namespace = namespace;
            }
        }
    }

    /// Ends the element that is open.
    pub(crate) fn end(&mut self, text_bytes: usize) -> Result<(), TooLarge> {
        self.divide(text_bytes)?;
        let Some(place) = self.open.pop() else { return Ok(()) };
        self.close(place, text_bytes, false);
        while self.scope.last().is_some_and(|(owner, ..)| *owner == place && place > 0) {
            self.scope.pop();
        }
        Ok(())
    }

    /// Notes a comment or processing instruction, which divides texts.
    pub(crate) fn remark(&mut self, text_bytes: usize) -> Result<(), TooLarge> {
        self.divide(text_bytes)?;
        if let Some(node) = self.open.last().and_then(|place| self.nodes.get_mut(*place as usize)) {
            node.has_remark = true;
        }
        Ok(())
    }

    /// Notes a CDATA section.
    pub(crate) fn cdata(&mut self) {
        if let Some(node) = self.open.last().and_then(|place| self.nodes.get_mut(*place as usize)) {
            node.has_cdata = true;
        }
    }

    /// The memory it has.
    #[cfg(test)]
    pub(crate) fn bytes_held(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
            + self.attributes.capacity() * size_of::<Attribute>()
            + self.bytes.capacity()
            + self.text.capacity()
    }

    /// Takes all text; what is still open stays marked.
    pub(crate) fn finish(&mut self, text: Vec<u8>) {
        // At the ceiling of nodes the body has an error in any case.
        let _ = self.divide(text.len());
        let is_whole = self.open.len() == 1;
        while let Some(place) = self.open.pop() {
            self.close(place, text.len(), !is_whole);
        }
        self.text = text;
    }

    fn close(&mut self, place: u32, text_bytes: usize, is_open: bool) {
        let end = number(self.nodes.len());
        if let Some(node) = self.nodes.get_mut(place as usize) {
            node.end = end;
            node.is_open = is_open;
            node.text.1 = number(text_bytes);
        }
    }

    /// Makes a node of the text since the last one.
    fn divide(&mut self, text_bytes: usize) -> Result<(), TooLarge> {
        let start = std::mem::replace(&mut self.text_done, text_bytes);
        if text_bytes <= start {
            return Ok(());
        }
        let end = number(self.nodes.len() + 1);
        self.add(Node {
            kind: NodeKind::Text,
            is_open: false,
            has_remark: false,
            has_cdata: false,
            parent: self.open.last().copied().unwrap_or(0),
            end,
            name: Name::default(),
            attributes: (0, 0),
            text: (number(start), number(text_bytes)),
            at: 0,
        })
    }

    fn add(&mut self, node: Node) -> Result<(), TooLarge> {
        if self.nodes.len() + self.attributes.len() >= NODES_MAX {
            return Err(TooLarge);
        }
        self.nodes.push(node);
        Ok(())
    }

    fn name(&mut self, name: &[u8]) -> Name {
        let whole = Span::push(&mut self.bytes, name);
        let local = match memchr::memchr(b':', name) {
            Some(colon) => Span::since(&self.bytes, self.bytes.len() - name.len() + colon + 1),
            None => whole,
        };
        Name { whole, local, namespace: NO_NAMESPACE }
    }

    /// The number of a namespace, new or known.
    fn namespace(&mut self, uri: &[u8]) -> Result<u32, TooLarge> {
        if let Some(known) = self.namespaces.iter().position(|one| **one == *uri) {
            return Ok(number(known));
        }
        if self.namespaces.len() >= NAMESPACES_MAX {
            return Err(TooLarge);
        }
        self.namespaces.push(uri.into());
        Ok(number(self.namespaces.len() - 1))
    }

    /// The namespace that a name's prefix is bound to; an attribute without one is in none.
    fn bound(&self, name: Name, is_element: bool) -> u32 {
        let (whole, local) = (name.whole.of(&self.bytes), name.local.of(&self.bytes));
        let prefix = whole.get(..whole.len().saturating_sub(local.len() + 1)).unwrap_or_default();
        if prefix.is_empty() && !is_element {
            return NO_NAMESPACE;
        }
        let found = self.scope.iter().rev().find(|(_, known, _)| **known == *prefix);
        match found {
            Some((.., namespace)) => *namespace,
            None if prefix.is_empty() => NO_NAMESPACE,
            None => UNBOUND,
        }
    }

    /// How many nodes there are; their numbers are in the order of the document.
    pub(crate) fn len(&self) -> u32 {
        number(self.nodes.len())
    }

    /// How many attributes there are in all; their numbers are those of [`Node::attributes`].
    pub(crate) fn attributes_len(&self) -> usize {
        self.attributes.len()
    }

    pub(crate) fn node(&self, place: u32) -> Option<&Node> {
        self.nodes.get(place as usize)
    }

    /// The elements, in the order of the document.
    pub(crate) fn elements(&self) -> impl Iterator<Item = (u32, &Node)> {
        (0_u32..).zip(&self.nodes).filter(|(_, node)| node.kind == NodeKind::Element)
    }

    /// The children of a node, in order.
    pub(crate) fn children(&self, place: u32) -> impl Iterator<Item = (u32, &Node)> {
        let end = self.node(place).map_or(0, |node| node.end);
        let mut next = place.saturating_add(1);
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let at = next;
            let node = self.node(at)?;
            next = node.end.max(at + 1);
            Some((at, node))
        })
    }

    /// The text of a node with all below it.
    pub(crate) fn text(&self, node: &Node) -> &[u8] {
        self.text.get(node.text.0 as usize..node.text.1 as usize).unwrap_or_default()
    }

    /// The attributes of a node, declarations of namespaces among them.
    pub(crate) fn attributes(&self, node: &Node) -> &[Attribute] {
        self.attributes.get(node.attributes.0 as usize..node.attributes.1 as usize).unwrap_or_default()
    }

    pub(crate) fn value(&self, attribute: &Attribute) -> &[u8] {
        attribute.value.of(&self.bytes)
    }

    /// A name as written.
    pub(crate) fn whole(&self, name: Name) -> &[u8] {
        name.whole.of(&self.bytes)
    }

    /// A name without its prefix.
    pub(crate) fn local(&self, name: Name) -> &[u8] {
        name.local.of(&self.bytes)
    }

    /// The namespace of a name: empty for none, nothing for a prefix without a binding.
    pub(crate) fn namespace_of(&self, name: Name) -> Option<&[u8]> {
        self.namespaces.get(name.namespace as usize).map(|namespace| &**namespace)
    }
}
