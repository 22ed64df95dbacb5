//! The files of a schema, as documents: includes and imports followed, attributes looked up, names resolved.
//!
//! Every element of a schema is checked for attributes that it does not have, so that nothing is passed over.
//! Called by [`super::build`].

use crate::body::{Body, Kind, Limits};
use crate::files::resolve;
use crate::problem::Wrong;
use crate::xml::limits::{GRAMMAR_BYTES_MAX, SCHEMA_FILES_MAX};
use crate::xml::tree::{Node, NodeKind, Tree, XML_URI};

use super::XSD_URI;

/// A name with its namespace, that before it.
pub(super) type Name = (Box<[u8]>, Box<[u8]>);

/// One file of a schema.
#[derive(Debug)]
pub(super) struct Source {
    file: Box<str>,
    bytes: Vec<u8>,
    pub(super) tree: Box<Tree>,
    /// The namespace of what it declares; empty for none.
    pub(super) target: Box<[u8]>,
    /// It has no namespace of its own and takes that of the file that includes it.
    takes_target: bool,
    pub(super) are_elements_qualified: bool,
    pub(super) are_attributes_qualified: bool,
    pub(super) block_default: Box<[u8]>,
}

/// Reads a schema's file and those it names.
pub(super) fn load(
    path: &str,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, Wrong>,
) -> Result<Vec<Source>, Wrong> {
    let mut sources: Vec<Source> = Vec::new();
    let mut open: Vec<(String, Option<Box<[u8]>>)> = vec![(path.to_owned(), None)];
    while let Some((path, includer)) = open.pop() {
        let is_known = |source: &Source| {
            *source.file == *path && includer.as_ref().is_none_or(|wanted| *wanted == source.target)
        };
        if sources.iter().any(is_known) {
            continue;
        }
        if sources.len() >= SCHEMA_FILES_MAX {
            return Err(Wrong::new(format!("`{path}`: a schema of more than {SCHEMA_FILES_MAX} files")));
        }
        let source = Source::read(&path, read(&path)?, includer)?;
        for (place, node) in source.elements(1) {
            let (name, location) = (source.local(node), source.text(node, "schemaLocation"));
            let is_include = match name {
                b"include" => true,
                b"import" => false,
                _ => continue,
            };
            let is_elsewhere = location.as_deref().is_none_or(|location| location.contains("://"));
            match location {
                Some(location) if !is_elsewhere => {
                    let includer = is_include.then(|| source.target.clone());
                    open.push((resolve(&path, &location), includer));
                }
                _ if is_include => {
                    return Err(
                        source.wrong(place, "`include` names no file beside the schema; nothing is fetched")
                    );
                }
                // What is imported from elsewhere is missed where it is used.
                _ => {}
            }
        }
        sources.push(source);
    }
    Ok(sources)
}

impl Source {
    fn read(file: &str, bytes: Vec<u8>, includer: Option<Box<[u8]>>) -> Result<Self, Wrong> {
        let limits = Limits {
            keeps_xml: true,
            arguments_max: usize::MAX,
            value_bytes_max: GRAMMAR_BYTES_MAX,
            total_bytes_max: usize::MAX,
            ..Limits::default()
        };
        if bytes.len() > GRAMMAR_BYTES_MAX {
            return Err(Wrong::new(format!("`{file}` is longer than {GRAMMAR_BYTES_MAX} bytes")));
        }
        let mut body = Body::new(Kind::Xml, b"", &limits);
        body.feed(&bytes, &mut |_, _: &[u8], _: &[u8]| {});
        let mut outcome = body.finish(&mut |_, _: &[u8], _: &[u8]| {});
        let tree = match (outcome.error, outcome.tree.take()) {
            (None, Some(tree)) => tree,
            (Some(error), _) => return Err(Wrong::new(format!("`{file}`: {error}"))),
            (None, None) => return Err(Wrong::new(format!("`{file}` is empty"))),
        };
        let mut source = Self {
            file: file.into(),
            bytes,
            tree,
            target: Box::default(),
            takes_target: false,
            are_elements_qualified: false,
            are_attributes_qualified: false,
            block_default: Box::default(),
        };
        let root = source.root().filter(|root| source.is_schema(root)).cloned();
        let root = root.filter(|root| source.local(root) == b"schema");
        let root = root.ok_or_else(|| Wrong::new(format!("`{file}` is no XML Schema")))?;
        let target = source.text(&root, "targetNamespace");
        source.takes_target = target.is_none() && includer.is_some();
        if let (Some(target), Some(includer)) = (&target, &includer)
            && target.as_bytes() != &**includer
        {
            return Err(source.wrong(1, "it is included, and is of another namespace"));
        }
        source.target = match target {
            Some(target) => target.into_bytes().into(),
            None => includer.unwrap_or_default(),
        };
        source.are_elements_qualified =
            source.text(&root, "elementFormDefault").as_deref() == Some("qualified");
        source.are_attributes_qualified =
            source.text(&root, "attributeFormDefault").as_deref() == Some("qualified");
        source.block_default = source.text(&root, "blockDefault").unwrap_or_default().into_bytes().into();
        source.check()?;
        Ok(source)
    }

    fn root(&self) -> Option<&Node> {
        self.tree.children(0).map(|(_, node)| node).find(|node| node.kind == NodeKind::Element)
    }

    /// Says whether an element is of the namespace of schemas.
    pub(super) fn is_schema(&self, node: &Node) -> bool {
        self.tree.namespace_of(node.name) == Some(XSD_URI)
    }

    /// Checks that every element of a schema, but in annotations, is known and has known attributes.
    fn check(&self) -> Result<(), Wrong> {
        let mut skipped = 0;
        for (place, node) in self.tree.elements() {
            if place < skipped {
                continue;
            }
            let name = String::from_utf8_lossy(self.tree.whole(node.name));
            if !self.is_schema(node) {
                return Err(self.wrong(place, format!("`{name}` is no part of a schema")));
            }
            if self.local(node) == b"annotation" {
                skipped = node.end;
                continue;
            }
            let known = attributes_of(self.local(node))
                .ok_or_else(|| self.wrong(place, format!("`{name}` is not read of XML Schema")))?;
            for attribute in self.tree.attributes(node) {
                let namespace = self.tree.namespace_of(attribute.name);
                let own = self.tree.whole(attribute.name);
                // Those of other namespaces are remarks (§3.1).
                if !attribute.is_namespace
                    && namespace == Some(b"")
                    && !known.split(' ').any(|one| one.as_bytes() == own)
                {
                    let own = String::from_utf8_lossy(own);
                    return Err(self.wrong(place, format!("`{name}` has no attribute `{own}`")));
                }
            }
            for (_, child) in self.tree.children(place) {
                let is_text = child.kind == NodeKind::Text;
                if is_text && !self.tree.text(child).iter().all(|byte| crate::transform::is_space(*byte)) {
                    return Err(self.wrong(place, format!("text within `{name}`")));
                }
            }
        }
        Ok(())
    }

    /// Says what is wrong at a node.
    pub(super) fn wrong(&self, place: u32, what: impl std::fmt::Display) -> Wrong {
        let at = self.tree.node(place).map_or(0, |node| node.at as usize);
        let before = self.bytes.get(..at).unwrap_or(&self.bytes);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Wrong::new(format!("`{}` line {line}: {what}", self.file))
    }

    pub(super) fn local(&self, node: &Node) -> &[u8] {
        self.tree.local(node.name)
    }

    /// The elements below a node, without annotations.
    pub(super) fn elements(&self, place: u32) -> impl Iterator<Item = (u32, &Node)> {
        self.tree
            .children(place)
            .filter(|(_, node)| node.kind == NodeKind::Element && self.local(node) != b"annotation")
    }

    /// An attribute of an element of a schema.
    pub(super) fn bytes(&self, node: &Node, name: &str) -> Option<&[u8]> {
        let all = self.tree.attributes(node).iter();
        let mut own = all.filter(|one| !one.is_namespace && self.tree.whole(one.name) == name.as_bytes());
        own.next().map(|attribute| self.tree.value(attribute))
    }

    /// The same as text without whitespace around it.
    pub(super) fn text(&self, node: &Node, name: &str) -> Option<String> {
        self.bytes(node, name).map(|value| String::from_utf8_lossy(value.trim_ascii()).into_owned())
    }

    /// A truth value; false where it is not there.
    pub(super) fn flag(&self, place: u32, node: &Node, name: &str) -> Result<bool, Wrong> {
        match self.text(node, name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(self.wrong(place, format!("`{name}` is true or false, not `{other}`"))),
        }
    }

    /// The namespace and local name that a qualified name means where it stands.
    pub(super) fn qualified(&self, place: u32, text: &str) -> Result<Name, Wrong> {
        let (prefix, local) = text.split_once(':').unwrap_or(("", text));
        if !super::lexical::is_ncname(local.as_bytes()) {
            return Err(self.wrong(place, format!("`{text}` is no name")));
        }
        let local: Box<[u8]> = local.as_bytes().into();
        if prefix == "xml" {
            return Ok((XML_URI.into(), local));
        }
        let declaration = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
        let mut at = place;
        while let Some(node) = self.tree.node(at) {
            let mut all = self.tree.attributes(node).iter();
            if let Some(found) = all.find(|one| self.tree.whole(one.name) == declaration.as_bytes()) {
                return Ok((self.tree.value(found).into(), local));
            }
            if at == 0 {
                break;
            }
            at = node.parent;
        }
        match prefix {
            "" if self.takes_target => Ok((self.target.clone(), local)),
            "" => Ok((Box::default(), local)),
            _ => Err(self.wrong(place, format!("the prefix of `{text}` means no namespace"))),
        }
    }
}

/// The attributes of an element of a schema; nothing where it is not read.
fn attributes_of(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"schema" => {
            "id targetNamespace version finalDefault blockDefault elementFormDefault attributeFormDefault"
        }
        b"include" | b"import" => "id schemaLocation namespace",
        b"element" => {
            "id name ref type minOccurs maxOccurs nillable default fixed form block final abstract \
                substitutionGroup"
        }
        b"attribute" => "id name ref type use default fixed form",
        b"complexType" => "id name mixed abstract block final",
        b"simpleType" => "id name final",
        b"group" => "id name ref minOccurs maxOccurs",
        b"attributeGroup" => "id name ref",
        b"all" | b"choice" | b"sequence" => "id minOccurs maxOccurs",
        b"any" => "id namespace processContents minOccurs maxOccurs",
        b"anyAttribute" => "id namespace processContents",
        b"restriction" | b"extension" => "id base",
        b"simpleContent" => "id",
        b"complexContent" => "id mixed",
        b"list" => "id itemType",
        b"union" => "id memberTypes",
        b"unique" | b"key" => "id name",
        b"keyref" => "id name refer",
        b"selector" | b"field" => "id xpath",
        b"notation" => "id name public system",
        b"length" | b"minLength" | b"maxLength" | b"pattern" | b"enumeration" | b"whiteSpace"
        | b"minInclusive" | b"maxInclusive" | b"minExclusive" | b"maxExclusive" | b"totalDigits"
        | b"fractionDigits" => "id value fixed",
        _ => return None,
    })
}
