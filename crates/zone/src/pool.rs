//! Compiled pools and origins: where requests of a zone may go, and how.
//!
//! Plain values, checked by [`mod@crate::compile`]; choosing, connecting and checking health is the `origin`
//! crate's, with state of its own keyed by the ids here.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use crate::id::Id;
use crate::read::values::{Statuses, words};

words! {
    /// A version of the PROXY protocol.
    pub enum ProxyVersion {
        /// Version 1, text.
        V1 = "v1",
        /// Version 2, binary.
        V2 = "v2",
    }
}

/// A group of origins that serve the same thing.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The pool's id.
    pub id: Id,
    /// Its name, unique in the zone.
    pub name: String,
    /// 1 to [`crate::limits::ORIGINS_MAX`] origins, with distinct ids; at least one has a weight above 0.
    pub origins: Vec<Origin>,
    /// How to choose among them.
    pub balance: Balance,
    /// Active health checks, if any.
    pub health: Option<Health>,
    /// Passive ejection.
    pub ejection: Ejection,
    /// Over how long a recovered or new origin's share grows, in milliseconds; 0 for at once.
    pub slow_start_ms: u64,
    /// The cookie that keeps a visitor at one origin, if any.
    pub sticky: Option<Sticky>,
    /// Index in [`crate::zone::Zone::pools`] of the pool that takes over. Following it never comes back here.
    pub backup: Option<usize>,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// When to try again.
    pub retries: Retries,
    /// The most connections to one origin from this node.
    pub max_connections: Option<usize>,
    /// The most requests under way at one origin from this node.
    pub max_requests: Option<u32>,
    /// Whether as many requests wait for one origin as it answers in time, and no more.
    pub is_adaptive: bool,
    /// The line of those who find every origin full.
    pub queue: Queue,
    /// How long an idle connection is kept, in milliseconds; 0 for not at all.
    pub keepalive_ms: u64,
    /// Which HTTP version to speak; an origin's own [`Origin::protocol`] is the one to use.
    pub protocol: OriginProtocol,
    /// The version of the PROXY protocol to send, if any.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The `Host` that origins see.
    pub host: HostHeader,
    /// TLS towards origins.
    pub tls: OriginTls,
}

/// One server of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The origin's id.
    pub id: Id,
    /// Its url as written, for logs.
    pub url: String,
    /// How it is reached.
    pub scheme: OriginScheme,
    /// Host name or IP address (IPv6 without brackets), in lower case; the socket's path for
    /// [`OriginScheme::Unix`].
    pub host: String,
    /// The port; 0 for [`OriginScheme::Unix`].
    pub port: u16,
    /// The `Host` of [`HostHeader::Origin`]: host, brackets if it is IPv6, and the port unless it is the
    /// scheme's own. `localhost` for Unix sockets.
    pub authority: String,
    /// Its share, 0 to [`crate::limits::WEIGHT_MAX`].
    pub weight: u32,
    /// Takes no new visitors.
    pub is_draining: bool,
    /// Used only while no other origin of the pool is healthy.
    pub is_backup: bool,
    /// The HTTP version to speak: the pool's, or HTTP/2 for `h2c://`.
    pub protocol: OriginProtocol,
}

/// How an origin is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginScheme {
    /// Cleartext over TCP; `h2c://` too.
    Http,
    /// TLS over TCP.
    Https,
    /// Cleartext over a Unix socket.
    Unix,
}

impl fmt::Display for OriginScheme {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unix => "unix",
        })
    }
}

/// Which HTTP version to speak to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OriginProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by prior knowledge on cleartext (RFC 9113 §3.3), by ALPN on TLS.
    Http2,
    /// HTTP/1.1 on cleartext; both offered by ALPN on TLS.
    Auto,
}

/// How to choose among origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewer open exchanges, of two drawn by weight.
    LeastConnections,
    /// Consistently by a key, with bounded load.
    Hash {
        /// What is hashed.
        key: HashKey,
    },
    /// Drawn by weight.
    Random,
}

/// What consistent hashing hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The visitor's IP address.
    Address,
    /// The path without the query.
    Path,
    /// Path and query.
    Uri,
    /// The value of a header field; the name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// Time between two questions, in milliseconds.
    pub interval_ms: u64,
    /// How long to wait for the answer, in milliseconds.
    pub timeout_ms: u64,
    /// Good answers in a row until an origin counts as healthy.
    pub healthy_after: u32,
    /// Bad answers in a row until it counts as unhealthy.
    pub unhealthy_after: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Opens a connection (with TLS for `https://`) and closes it.
    Tcp,
    /// Sends a request.
    Http {
        /// Path, and query if any; begins with a slash.
        path: String,
        /// The method.
        method: String,
        /// The `Host`; without it [`Origin::authority`].
        host: Option<String>,
        /// Statuses that count as healthy.
        expected: Vec<Statuses>,
    },
}

impl Probe {
    /// Says whether an answer with this status counts as healthy. Of a TCP probe there is no status.
    #[must_use]
    pub fn expects(&self, status: u16) -> bool {
        match self {
            Self::Tcp => false,
            Self::Http { expected, .. } => {
                expected.iter().any(|range| (range.first..=range.last).contains(&status))
            }
        }
    }
}

/// Passive ejection: leaves out origins that fail in traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row until an origin is left out; 0 for never.
    pub consecutive_failures: u32,
    /// For how long the first time, in milliseconds.
    pub base_ms: u64,
    /// The greatest part of the pool left out at once, in percent.
    pub max_percent: u8,
    /// The part of exchanges, in percent, that must fail for nobody to be sent there; 0 for never.
    pub circuit_percent: u8,
}

/// The line before a pool whose origins are full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// The most requests in it; 0 for no line.
    pub places: u32,
    /// How long one waits, in milliseconds.
    pub wait_ms: u64,
}

/// A cookie that keeps a visitor at one origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// Its lifetime in seconds; without it as long as the browser is open.
    pub ttl_s: Option<u64>,
}

/// How long to wait for an origin. None of them limits a transfer that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To open a connection, in milliseconds; over HTTP/2 also for a sign of life on a silent one.
    pub connect_ms: u64,
    /// For the TLS handshake, in milliseconds.
    pub tls_ms: u64,
    /// From the end of the request to the first byte of the answer, in milliseconds.
    pub first_byte_ms: u64,
    /// How long a body may stand still, in milliseconds.
    pub idle_ms: u64,
    /// The slowest rate at which an origin may send; 0 for any.
    pub min_rate_bytes_per_s: u64,
}

/// When to try another origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// The most further tries for one request.
    pub max: u32,
    /// The most retries as a part of the pool's requests, in percent.
    pub budget_percent: u32,
}

/// The `Host` that origins see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The visitor's.
    Keep,
    /// A fixed one.
    Set(String),
    /// [`Origin::authority`].
    Origin,
}

/// TLS towards origins.
#[derive(Clone)]
pub struct OriginTls {
    /// Whether the origin's certificate is checked.
    pub verify: bool,
    /// Authorities to trust instead of the system's.
    pub ca: Option<Arc<RootCertStore>>,
    /// Certificate and key to show, if any.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// The name to ask for and to check, instead of the origin's host.
    pub sni: Option<String>,
}

impl fmt::Debug for OriginTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("OriginTls")
            .field("verify", &self.verify)
            .field("ca", &self.ca.as_ref().map(|roots| roots.len()))
            .field("certificate", &self.certificate.is_some())
            .field("sni", &self.sni)
            .finish()
    }
}
