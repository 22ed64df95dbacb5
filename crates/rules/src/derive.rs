//! Fields that follow from others: path and query, arguments, cookies, forms, languages.
//!
//! What is a piece of something the view gives stays a place in it; only what must be changed (lower case,
//! decoded names, several headers joined) is made, once for each request. All of it is linear in its source.
//! Called by `eval.rs`; read next: [`Run::field`].

use std::hash::BuildHasher;

use fuel::Spent;

use crate::encoding::{hex_digit, url_decode_name};
use crate::eval::Run;
use crate::field::Field;
use crate::kind::{Scalar, Shape};
use crate::limits::{ITEMS_MAX, PAIRS_MAX};
use crate::list::HASHER;
use crate::scratch::{Map, Pair, Place, Text, Val};
use crate::view::{Side, ViewItem};

/// Entries up to which a map is searched one by one.
const SEARCHED_MAX: usize = 32;

impl Run<'_> {
    /// The value of a field, from the view or derived.
    pub(crate) fn field(&mut self, field: Field) -> Result<Val, Spent> {
        let ty = field.ty();
        match (ty.shape, ty.scalar) {
            (Shape::Map | Shape::MapOfArrays, _) => Ok(Val::Map(map_of(field))),
            (Shape::Array | Shape::ArrayOfArrays, _) => self.array(field),
            (Shape::One, Scalar::Bool) => Ok(Val::Bool(self.view.bool(field).unwrap_or(false))),
            (Shape::One, Scalar::Int) => {
                Ok(Val::Int(self.view.int(field).unwrap_or_else(|| field.row().empty_int)))
            }
            (Shape::One, Scalar::Ip) => Ok(self.view.ip(field).map_or(Val::Missing, Val::Ip)),
            (Shape::One, Scalar::Bytes) => self.bytes(field).map(Val::Text),
        }
    }

    fn whole(&self, field: Field) -> Option<Text> {
        let bytes = self.view.bytes(field)?;
        Some(Text { place: Place::Field(field), start: 0, len: bytes.len().try_into().unwrap_or(u32::MAX) })
    }

    const fn empty() -> Text {
        Text { place: Place::Made, start: 0, len: 0 }
    }

    fn bytes(&mut self, field: Field) -> Result<Text, Spent> {
        if let Some(text) = self.whole(field) {
            return Ok(text);
        }
        match field {
            Field::HttpHost => Ok(self.header(Side::Request, b"host")),
            Field::Referer => Ok(self.header(Side::Request, b"referer")),
            Field::UserAgent => Ok(self.header(Side::Request, b"user-agent")),
            Field::Cookie => self.joined(field, b"cookie", b"; "),
            Field::XForwardedFor => self.joined(field, b"x-forwarded-for", b", "),
            Field::RawUri => Ok(self.whole(Field::Uri).unwrap_or(Self::empty())),
            Field::Path => self.parts(Field::Uri).map(|(path, _)| path),
            Field::Query => self.parts(Field::Uri).map(|(_, query)| query),
            Field::RawPath => self.parts(Field::RawUri).map(|(path, _)| path),
            Field::RawQuery => self.parts(Field::RawUri).map(|(_, query)| query),
            Field::RawExtension => self.extension(Field::RawPath),
            Field::Extension => {
                let extension = self.extension(Field::Path)?;
                self.made_once(field, |run| run.lowered(extension))
            }
            Field::FullUri => self.made_once(field, |run| run.full_uri(Field::Uri)),
            Field::RawFullUri => self.made_once(field, |run| run.full_uri(Field::RawUri)),
            Field::ResponseMediaType => {
                let mut text = self.header(Side::Response, b"content-type");
                let bytes = self.resolve(text);
                let end = memchr::memchr(b';', bytes).unwrap_or(bytes.len());
                text.len = bytes.get(..end).unwrap_or_default().trim_ascii_end().len() as u32;
                self.made_once(field, |run| run.lowered(text))
            }
            _ => Ok(Self::empty()),
        }
    }

    /// The first header field of a name in lower case.
    fn header(&self, side: Side, name: &[u8]) -> Text {
        let mut place = 0;
        while let Some((found, value)) = self.view.header(side, place) {
            if found.eq_ignore_ascii_case(name) {
                return Text { place: Place::Value(side, place as u32), start: 0, len: value.len() as u32 };
            }
            place += 1;
        }
        Self::empty()
    }

    /// All request header fields of a name as one value.
    fn joined(&mut self, field: Field, name: &[u8], separator: &[u8]) -> Result<Text, Spent> {
        let mut places = (0..).map_while(|place| self.view.header(Side::Request, place).zip(Some(place)));
        let mut of_name = places.by_ref().filter(|((found, _), _)| found.eq_ignore_ascii_case(name));
        let Some(((_, first), place)) = of_name.next() else { return Ok(Self::empty()) };
        if of_name.next().is_none() {
            return Ok(Text {
                place: Place::Value(Side::Request, place as u32),
                start: 0,
                len: first.len() as u32,
            });
        }
        self.made_once(field, |run| {
            let view = run.view;
            run.make(0, |_, out| {
                let mut place = 0;
                while let Some((found, value)) = view.header(Side::Request, place) {
                    if found.eq_ignore_ascii_case(name) {
                        if !out.is_empty() {
                            out.extend_from_slice(separator);
                        }
                        out.extend_from_slice(value);
                    }
                    place += 1;
                }
                true
            })
            .map(|text| text.unwrap_or(Self::empty()))
        })
    }

    /// What was made for a field, or makes it and keeps it for this request.
    fn made_once(
        &mut self,
        field: Field,
        make: impl FnOnce(&mut Self) -> Result<Text, Spent>,
    ) -> Result<Text, Spent> {
        let found = self.scratch.derived.iter().find(|(known, _)| *known == field);
        if let Some((_, Val::Text(text))) = found {
            return Ok(*text);
        }
        let text = make(self)?;
        self.scratch.derived.push((field, Val::Text(text)));
        Ok(text)
    }

    fn lowered(&mut self, text: Text) -> Result<Text, Spent> {
        if !self.resolve(text).iter().any(u8::is_ascii_uppercase) {
            return Ok(text);
        }
        let made = self.make_from(text, 1, |bytes, out| {
            out.extend(bytes.iter().map(u8::to_ascii_lowercase));
            true
        })?;
        Ok(made.unwrap_or(Self::empty()))
    }

    /// Path and query of a field that holds both.
    fn parts(&mut self, field: Field) -> Result<(Text, Text), Spent> {
        let whole = self.bytes_or_empty(field);
        let bytes = self.resolve(whole);
        let length = bytes.len();
        let mark = memchr::memchr(b'?', bytes).unwrap_or(length);
        self.fuel.spend(2 + length as u64 / 16)?;
        let path = Text { len: mark as u32, ..whole };
        let after = length.min(mark + 1);
        let query = Text { start: whole.start + after as u32, len: (length - after) as u32, ..whole };
        Ok((path, query))
    }

    /// A field that the view gives, or for a raw one that without `raw.`.
    fn bytes_or_empty(&self, field: Field) -> Text {
        let fallback = if field == Field::RawUri { Field::Uri } else { field };
        self.whole(field).or_else(|| self.whole(fallback)).unwrap_or(Self::empty())
    }

    fn extension(&mut self, of: Field) -> Result<Text, Spent> {
        let path = self.path_of(of)?;
        let bytes = self.resolve(path);
        let segment = memchr::memrchr(b'/', bytes).map_or(0, |slash| slash + 1);
        let last = bytes.get(segment..).unwrap_or_default();
        let extension = match memchr::memrchr(b'.', last) {
            // A dot that begins the segment hides a file and ends no name.
            None | Some(0) => last.len(),
            Some(dot) => dot + 1,
        };
        let start = (segment + extension) as u32;
        let length = (last.len() - extension) as u32;
        self.fuel.spend(2)?;
        Ok(Text { start: path.start + start, len: length, ..path })
    }

    fn path_of(&mut self, of: Field) -> Result<Text, Spent> {
        match self.whole(of) {
            Some(path) => Ok(path),
            None => self
                .parts(if of == Field::RawPath { Field::RawUri } else { Field::Uri })
                .map(|(path, _)| path),
        }
    }

    fn full_uri(&mut self, uri: Field) -> Result<Text, Spent> {
        let scheme: &[u8] = if self.view.bool(Field::Ssl) == Some(true) { b"https://" } else { b"http://" };
        let host = match self.whole(Field::HttpHost) {
            Some(host) => host,
            None => self.header(Side::Request, b"host"),
        };
        let uri = self.bytes_or_empty(uri);
        let made = self.make(u64::from(host.len + uri.len) / 4, |run, out| {
            out.extend_from_slice(scheme);
            out.extend_from_slice(run.resolve(host));
            out.extend_from_slice(run.resolve(uri));
            true
        })?;
        Ok(made.unwrap_or(Self::empty()))
    }

    fn array(&mut self, field: Field) -> Result<Val, Spent> {
        let (map, names) = match field {
            Field::ArgNames => (Map::Args, true),
            Field::ArgValues => (Map::Args, false),
            Field::RawArgNames => (Map::RawArgs, true),
            Field::RawArgValues => (Map::RawArgs, false),
            Field::HeaderNames => (Map::Headers(Side::Request), true),
            Field::HeaderValues => (Map::Headers(Side::Request), false),
            Field::ResponseHeaderNames => (Map::Headers(Side::Response), true),
            Field::ResponseHeaderValues => (Map::Headers(Side::Response), false),
            Field::RawResponseHeaderNames => (Map::Headers(Side::RawResponse), true),
            Field::RawResponseHeaderValues => (Map::Headers(Side::RawResponse), false),
            Field::FormNames => (Map::Form, true),
            Field::FormValues => (Map::Form, false),
            Field::AcceptedLanguages => return self.languages(),
            _ => return self.given(field),
        };
        self.fill(map)?;
        let start = self.scratch.items.len();
        let Some(table) = self.scratch.tables.get(map.table()) else { return Ok(Val::Missing) };
        if start + table.pairs.len() > ITEMS_MAX {
            return Err(self.exhaust());
        }
        self.fuel.spend(table.pairs.len() as u64)?;
        let items = table.pairs.iter().map(|pair| Val::Text(if names { pair.name } else { pair.value }));
        self.scratch.items.extend(items);
        Ok(self.array_from(start))
    }

    pub(crate) fn array_from(&self, start: usize) -> Val {
        Val::Array { start: start as u32, len: (self.scratch.items.len() - start) as u32 }
    }

    /// An array that the view gives; arrays of arrays are given by nobody yet.
    fn given(&mut self, field: Field) -> Result<Val, Spent> {
        let start = self.scratch.items.len();
        let mut place = 0;
        while let Some(item) = self.view.item(field, place) {
            self.fuel.spend(2)?;
            let item = match item {
                ViewItem::Int(value) => Val::Int(value),
                ViewItem::Bytes(bytes) => Val::Text(Text {
                    place: Place::Item(field, place as u32),
                    start: 0,
                    len: bytes.len() as u32,
                }),
            };
            self.push_item(item)?;
            place += 1;
        }
        Ok(self.array_from(start))
    }

    /// Language tags by falling weight (RFC 9110 §12.5.4); equal weights stay in order.
    fn languages(&mut self) -> Result<Val, Spent> {
        let text = self.header(Side::Request, b"accept-language");
        let bytes = self.resolve(text);
        self.fuel.spend(8 + 4 * bytes.len() as u64)?;
        let bytes = self.resolve(text);
        let mut tags: Vec<(u32, Text)> = Vec::new();
        let mut at = 0;
        for part in bytes.split(|byte| *byte == b',') {
            let (tag, weight) = match memchr::memchr(b';', part) {
                Some(mark) => {
                    (part.get(..mark).unwrap_or_default(), weight(part.get(mark + 1..).unwrap_or_default()))
                }
                None => (part, 1000),
            };
            let start = at + (tag.len() - tag.trim_ascii_start().len()) as u32;
            let tag = tag.trim_ascii();
            if !tag.is_empty() && tag != b"*" && tags.len() < ITEMS_MAX {
                tags.push((weight, Text { start: text.start + start, len: tag.len() as u32, ..text }));
            }
            at += part.len() as u32 + 1;
        }
        tags.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let start = self.scratch.items.len();
        for (_, tag) in tags {
            self.push_item(Val::Text(tag))?;
        }
        Ok(self.array_from(start))
    }

    /// Fills the table of a map, once for each request.
    pub(crate) fn fill(&mut self, map: Map) -> Result<(), Spent> {
        if map == Map::Nothing || self.scratch.tables.get(map.table()).is_none_or(|table| table.is_filled) {
            return Ok(());
        }
        match map {
            Map::Headers(side) => self.fill_headers(side)?,
            Map::Args => {
                let query = self.bytes(Field::Query)?;
                self.fill_urlencoded(map, query)?;
            }
            Map::RawArgs => {
                let query = self.bytes(Field::RawQuery)?;
                self.fill_urlencoded(map, query)?;
            }
            Map::Form => {
                let kind = self.header(Side::Request, b"content-type");
                let kind = self.resolve(kind);
                let end = memchr::memchr(b';', kind).unwrap_or(kind.len());
                let media = kind.get(..end).unwrap_or_default().trim_ascii();
                if media.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
                    let body = self.whole(Field::BodyRaw).unwrap_or(Self::empty());
                    self.fill_urlencoded(map, body)?;
                }
            }
            Map::Cookies => self.fill_cookies()?,
            Map::Nothing => {}
        }
        if let Some(table) = self.scratch.tables.get_mut(map.table()) {
            table.is_filled = true;
        }
        Ok(())
    }

    fn add_pair(&mut self, map: Map, name: Text, value: Text) -> Result<(), Spent> {
        self.fuel.spend(8)?;
        let Some(table) = self.scratch.tables.get_mut(map.table()) else { return Ok(()) };
        if table.pairs.len() >= PAIRS_MAX {
            return Err(self.exhaust());
        }
        table.lengths |= 1 << name.len.min(63);
        table.pairs.push(Pair { name, value });
        Ok(())
    }

    fn fill_headers(&mut self, side: Side) -> Result<(), Spent> {
        let mut place = 0;
        while let Some((name, value)) = self.view.header(side, place) {
            let name = Text { place: Place::Name(side, place as u32), start: 0, len: name.len() as u32 };
            let value = Text { place: Place::Value(side, place as u32), start: 0, len: value.len() as u32 };
            self.add_pair(Map::Headers(side), name, value)?;
            place += 1;
        }
        Ok(())
    }

    /// `name=value&…`, nothing decoded; empty pieces are no pairs.
    fn fill_urlencoded(&mut self, map: Map, source: Text) -> Result<(), Spent> {
        let mut at = 0_usize;
        let length = self.resolve(source).len();
        self.fuel.spend(length as u64 / 4)?;
        while at < length {
            let rest = self.resolve(source).get(at..).unwrap_or_default();
            let piece_len = memchr::memchr(b'&', rest).unwrap_or(rest.len());
            let piece = rest.get(..piece_len).unwrap_or_default();
            if !piece.is_empty() {
                let mark = memchr::memchr(b'=', piece).unwrap_or(piece_len);
                let after = piece_len.min(mark + 1);
                let start = source.start + at as u32;
                let name = Text { start, len: mark as u32, ..source };
                let value = Text { start: start + after as u32, len: (piece_len - after) as u32, ..source };
                self.add_pair(map, name, value)?;
            }
            at += piece_len + 1;
        }
        Ok(())
    }

    /// `name=value; …` of every Cookie field (RFC 6265 §4.2.1); names are URL-decoded.
    fn fill_cookies(&mut self) -> Result<(), Spent> {
        let mut place = 0;
        while let Some((name, value)) = self.view.header(Side::Request, place) {
            if !name.eq_ignore_ascii_case(b"cookie") {
                place += 1;
                continue;
            }
            self.fuel.spend(value.len() as u64 / 4)?;
            let whole =
                Text { place: Place::Value(Side::Request, place as u32), start: 0, len: value.len() as u32 };
            let mut at = 0;
            while at < value.len() {
                let rest = value.get(at..).unwrap_or_default();
                let length = memchr::memchr(b';', rest).unwrap_or(rest.len());
                let piece = rest.get(..length).unwrap_or_default();
                let lead = piece.len() - piece.trim_ascii_start().len();
                let piece = piece.trim_ascii();
                if !piece.is_empty() {
                    let mark = memchr::memchr(b'=', piece).unwrap_or(piece.len());
                    let after = piece.len().min(mark + 1);
                    let start = (at + lead) as u32;
                    let name = Text { start, len: mark as u32, ..whole };
                    let value =
                        Text { start: start + after as u32, len: (piece.len() - after) as u32, ..whole };
                    let encoded = piece.get(..mark).unwrap_or_default();
                    let has_escape = encoded.windows(3).any(|three| match three {
                        [b'%', high, low] => hex_digit(*high).is_some() && hex_digit(*low).is_some(),
                        _ => false,
                    });
                    let name = if has_escape {
                        self.make_from(name, 2, url_decode_name)?.unwrap_or(name)
                    } else {
                        name
                    };
                    self.add_pair(Map::Cookies, name, value)?;
                }
                at += length + 1;
            }
            place += 1;
        }
        Ok(())
    }

    /// The places of a map's entries of one name, in order, given to `found`.
    pub(crate) fn find_key(
        &mut self,
        map: Map,
        key: &[u8],
        mut found: impl FnMut(&mut Self, Pair) -> Result<(), Spent>,
    ) -> Result<(), Spent> {
        if map == Map::Nothing {
            return Ok(());
        }
        self.fill(map)?;
        let table = map.table();
        let known = self.scratch.tables.get(table);
        if known.is_none_or(|table| table.lengths & 1 << key.len().min(63) == 0) {
            return self.fuel.spend(2);
        }
        let count = known.map_or(0, |table| table.pairs.len());
        if count <= SEARCHED_MAX {
            self.fuel.spend(2 * count as u64)?;
            for place in 0..count {
                if let Some(pair) = self.pair(table, place).filter(|pair| self.is_named(map, *pair, key)) {
                    found(self, pair)?;
                }
            }
            return Ok(());
        }
        self.index(map)?;
        let hash = HASHER.hash_one(key) as u32;
        let by_hash = |run: &Self, at: usize| run.scratch.tables.get(table)?.by_hash.get(at).copied();
        let mut at = self
            .scratch
            .tables
            .get(table)
            .map_or(0, |table| table.by_hash.partition_point(|(known, _)| *known < hash));
        self.fuel.spend(24)?;
        while let Some((_, place)) = by_hash(self, at).filter(|(known, _)| *known == hash) {
            self.fuel.spend(2 + key.len() as u64 / 16)?;
            if let Some(pair) = self.pair(table, place as usize).filter(|pair| self.is_named(map, *pair, key))
            {
                found(self, pair)?;
            }
            at += 1;
        }
        Ok(())
    }

    pub(crate) fn pair(&self, table: usize, place: usize) -> Option<Pair> {
        self.scratch.tables.get(table)?.pairs.get(place).copied()
    }

    /// Whether an entry has a name. Names of headers are in lower case in the map, so a key with capitals
    /// names nothing.
    fn is_named(&self, map: Map, pair: Pair, key: &[u8]) -> bool {
        // The length is known without a look at the name.
        if pair.name.len as usize != key.len() {
            return false;
        }
        let name = self.resolve(pair.name);
        if !map.folds() {
            return name == key;
        }
        name.len() == key.len()
            && name.iter().zip(key).all(|(byte, wanted)| byte.to_ascii_lowercase() == *wanted)
    }

    /// Sorts a large map's entries by the hash of their names.
    fn index(&mut self, map: Map) -> Result<(), Spent> {
        let slot = map.table();
        if self.scratch.tables.get(slot).is_none_or(|table| !table.by_hash.is_empty()) {
            return Ok(());
        }
        let count = self.scratch.tables.get(slot).map_or(0, |table| table.pairs.len());
        self.fuel.spend(32 * count as u64)?;
        let mut by_hash = Vec::with_capacity(count);
        let mut folded = std::mem::take(&mut self.scratch.folded);
        for place in 0..count {
            let Some(pair) = self.pair(slot, place) else { continue };
            let name = self.resolve(pair.name);
            let hash = if map.folds() {
                folded.clear();
                folded.extend(name.iter().map(u8::to_ascii_lowercase));
                HASHER.hash_one(folded.as_slice())
            } else {
                HASHER.hash_one(name)
            };
            by_hash.push((hash as u32, place as u32));
        }
        by_hash.sort_unstable();
        self.scratch.folded = folded;
        if let Some(table) = self.scratch.tables.get_mut(slot) {
            table.by_hash = by_hash;
        }
        Ok(())
    }

    /// The values of a map as arrays, one for each name, in the order of first appearance.
    pub(crate) fn grouped(&mut self, map: Map) -> Result<Val, Spent> {
        let empty = self.scratch.items.len();
        if map == Map::Nothing {
            return Ok(self.array_from(empty));
        }
        self.fill(map)?;
        self.index(map)?;
        let slot = map.table();
        let count = self.scratch.tables.get(slot).map_or(0, |table| table.pairs.len());
        self.fuel.spend(16 * count as u64)?;
        // Entries of one name have one hash, and lie together in the index, places rising.
        let by_hash = self.scratch.tables.get(slot).map(|table| table.by_hash.clone()).unwrap_or_default();
        let mut arrays: Vec<(u32, Val)> = Vec::new();
        for run in by_hash.chunk_by(|one, other| one.0 == other.0) {
            let mut left: Vec<u32> = run.iter().map(|(_, place)| *place).collect();
            while let Some(first) = left.first().copied() {
                let Some(named) = self.pair(slot, first as usize) else { break };
                let name = self.resolve(named.name).to_vec();
                let start = self.scratch.items.len();
                let mut others = Vec::new();
                for place in left {
                    self.fuel.spend(2 + name.len() as u64 / 16)?;
                    let Some(pair) = self.pair(slot, place as usize) else { continue };
                    let found = self.resolve(pair.name);
                    let is_same = if map.folds() { found.eq_ignore_ascii_case(&name) } else { found == name };
                    if is_same {
                        self.push_item(Val::Text(pair.value))?;
                    } else {
                        others.push(place);
                    }
                }
                arrays.push((first, self.array_from(start)));
                left = others;
            }
        }
        arrays.sort_unstable_by_key(|(first, _)| *first);
        let start = self.scratch.items.len();
        for (_, array) in arrays {
            self.push_item(array)?;
        }
        Ok(self.array_from(start))
    }
}

pub(crate) fn map_of(field: Field) -> Map {
    match field {
        Field::Headers => Map::Headers(Side::Request),
        Field::ResponseHeaders => Map::Headers(Side::Response),
        Field::RawResponseHeaders => Map::Headers(Side::RawResponse),
        Field::Args => Map::Args,
        Field::RawArgs => Map::RawArgs,
        Field::Cookies => Map::Cookies,
        Field::Form => Map::Form,
        _ => Map::Nothing,
    }
}

/// A weight in thousandths: `q=0.8` (RFC 9110 §12.4.2). What is no weight counts as 1.
fn weight(parameters: &[u8]) -> u32 {
    let text = std::str::from_utf8(parameters).unwrap_or_default();
    let value =
        text.split(';').map(str::trim).find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let weight = value
        .and_then(|value| value.trim().parse::<f32>().ok())
        .filter(|weight| (0.0..=1.0).contains(weight));
    weight.map_or(1000, |weight| (weight * 1000.0) as u32)
}
