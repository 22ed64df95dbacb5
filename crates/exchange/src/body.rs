//! The pieces a body travels in.
//!
//! A body is never held whole: it moves as chunks of at most one read. Nothing here reads or writes.

use bytes::Bytes;

use crate::Fields;

/// What is known of a body's length before it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodySize {
    /// There is no body.
    #[default]
    None,
    /// Exactly this many bytes, at least one.
    Length(u64),
    /// Unknown until it ends (chunked, until close, or an HTTP/2 or /3 stream without a length).
    Unknown,
}

impl BodySize {
    /// `Length`, or `None` for zero bytes.
    pub fn of_length(length: u64) -> Self {
        if length == 0 { Self::None } else { Self::Length(length) }
    }
}

/// Some bytes of a body, borrowed from a thread's scratch or shared.
///
/// The borrowed form lets HTTP/1 pass bytes from socket to socket without an allocation; the shared form
/// lets HTTP/2, HTTP/3 and later the cache pass them without a copy.
#[derive(Debug)]
pub enum Chunk<'a> {
    /// Bytes in somebody's scratch: whoever cannot send them now copies what is left.
    Borrowed(&'a [u8]),
    /// Reference-counted bytes: whoever cannot send them now keeps them.
    Shared(Bytes),
}

impl Chunk<'_> {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(slice) => slice,
            Self::Shared(bytes) => bytes,
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The bytes, copied only if they were borrowed.
    pub fn into_shared(self) -> Bytes {
        match self {
            Self::Borrowed(slice) => Bytes::copy_from_slice(slice),
            Self::Shared(bytes) => bytes,
        }
    }
}

/// What reading a body gave.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// Some bytes; more may follow.
    Data(Chunk<'a>),
    /// Some bytes, and the body ends with them, without trailers.
    Last(Chunk<'a>),
    /// The trailer section, after which the body has ended.
    Trailers(Box<Fields>),
    /// The body has ended without trailers.
    End,
}
