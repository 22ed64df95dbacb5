//! What a caller shows of a request: plain fields, and header fields in order.
//!
//! A proxy whose head lies in one buffer implements this with slices into it; everything else (path,
//! arguments, cookies, names in lower case) is derived by this crate and kept in a [`crate::Scratch`]. Values
//! are asked for when a rule needs them and must not change during one evaluation. Read next: [`View`].

use std::net::IpAddr;

use crate::field::Field;

/// Whose header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The request's.
    Request,
    /// The response's, as it is now.
    Response,
    /// The response's, as the origin sent it.
    RawResponse,
}

/// An item of an array that the caller gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewItem<'v> {
    /// An integer.
    Int(i64),
    /// Bytes.
    Bytes(&'v [u8]),
}

/// A request, and its response once there is one.
///
/// Every method may say that there is nothing: the field then has its empty value ("" or 0 or false or an
/// empty collection; see the reference for exceptions). A value given for a derived field takes its place.
pub trait View {
    /// The value of a field of type Bytes. Without a value a `raw.` field takes that of the field without it.
    fn bytes(&self, _field: Field) -> Option<&[u8]> {
        None
    }

    /// The value of a field of type Int.
    fn int(&self, _field: Field) -> Option<i64> {
        None
    }

    /// The value of a field of type Bool.
    fn bool(&self, _field: Field) -> Option<bool> {
        None
    }

    /// The value of a field of type Ip. Without one every comparison is false.
    fn ip(&self, _field: Field) -> Option<IpAddr> {
        None
    }

    /// Name, as sent, and value of the header field at a place from 0, in order; nothing past the last.
    fn header(&self, _side: Side, _place: usize) -> Option<(&[u8], &[u8])> {
        None
    }

    /// The item at a place of a field of type Array(Bytes) or Array(Int) that this crate does not derive.
    fn item(&self, _field: Field, _place: usize) -> Option<ViewItem<'_>> {
        None
    }
}
