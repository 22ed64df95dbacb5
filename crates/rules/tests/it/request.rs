//! A request for tests, given field by field.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rules::{Field, Side, View, ViewItem};

/// A request, and a response when it has one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) bytes: BTreeMap<Field, Vec<u8>>,
    pub(crate) ints: BTreeMap<Field, i64>,
    pub(crate) bools: BTreeMap<Field, bool>,
    pub(crate) ips: BTreeMap<Field, IpAddr>,
    pub(crate) lists: BTreeMap<Field, Vec<i64>>,
    pub(crate) headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) response_headers: Vec<(Vec<u8>, Vec<u8>)>,
}

#[allow(dead_code, reason = "not every user of this file calls every method")]
impl Request {
    /// A GET over TLS from 192.0.2.1.
    pub(crate) fn get(host: &str, uri: &str) -> Self {
        Self::default()
            .bytes(Field::Method, "GET")
            .bytes(Field::Version, "HTTP/2")
            .bytes(Field::HttpHost, host)
            .bytes(Field::Uri, uri)
            .ip("192.0.2.1")
            .bool(Field::Ssl, true)
    }

    pub(crate) fn bytes(mut self, field: Field, value: impl AsRef<[u8]>) -> Self {
        self.bytes.insert(field, value.as_ref().to_vec());
        self
    }

    pub(crate) fn int(mut self, field: Field, value: i64) -> Self {
        self.ints.insert(field, value);
        self
    }

    pub(crate) fn bool(mut self, field: Field, value: bool) -> Self {
        self.bools.insert(field, value);
        self
    }

    pub(crate) fn ip(mut self, address: &str) -> Self {
        self.ips.insert(Field::Ip, address.parse().expect("an address"));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    pub(crate) fn response_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.response_headers.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }
}

impl View for Request {
    fn bytes(&self, field: Field) -> Option<&[u8]> {
        self.bytes.get(&field).map(Vec::as_slice)
    }

    fn int(&self, field: Field) -> Option<i64> {
        self.ints.get(&field).copied()
    }

    fn bool(&self, field: Field) -> Option<bool> {
        self.bools.get(&field).copied()
    }

    fn ip(&self, field: Field) -> Option<IpAddr> {
        self.ips.get(&field).copied()
    }

    fn header(&self, side: Side, place: usize) -> Option<(&[u8], &[u8])> {
        let headers = if side == Side::Request { &self.headers } else { &self.response_headers };
        headers.get(place).map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    fn item(&self, field: Field, place: usize) -> Option<ViewItem<'_>> {
        self.lists.get(&field)?.get(place).copied().map(ViewItem::Int)
    }
}
