//! What is known of a visitor's connection, the same for every exchange on it.

use std::net::SocketAddr;

use crate::{Tally, Waiting};

/// The protocol version a visitor speaks; the label of metrics and the `protocol` field of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
}

/// The TLS version of a handshake. Ordered: later is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    /// As written in logs: `TLSv1.2`, `TLSv1.3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

/// What the TLS handshake of a connection gave.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// Negotiated version.
    pub version: TlsVersion,
    /// The server name the visitor asked for, lower case; none if it sent none.
    pub sni: Option<Box<str>>,
    /// JA4 fingerprint of the client hello, where it was computed.
    pub ja4: Option<Box<str>>,
    /// Whether the visitor proved a client certificate, verified for [`TlsFacts::verified_for`].
    pub has_client_certificate: bool,
    /// The id of the zone whose TLS settings the handshake was made under.
    pub verified_for: Option<[u8; 16]>,
}

/// Facts of one connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Unique in the life of the process; the access log's `connection_id`.
    pub id: u64,
    /// The address bytes come from, after a trusted PROXY protocol header.
    pub visitor: SocketAddr,
    /// The address the visitor connected to, after a trusted PROXY protocol header.
    pub local: SocketAddr,
    /// The TLS handshake, if there was one.
    pub tls: Option<Box<TlsFacts>>,
    /// The UDP port that answers HTTP/3 for this listener, for `Alt-Svc`; none if it has none.
    pub http3_port: Option<u16>,
    /// What its exchanges hold.
    pub held: Tally,
    /// Tasks that wait until it holds less.
    pub waiting: Waiting,
}
