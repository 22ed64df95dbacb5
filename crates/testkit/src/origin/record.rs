//! What an origin saw: requests as they came, connections, counters.
//!
//! Bodies are kept up to a limit and hashed whole, so that a 10 GB upload can be recorded. It serves nothing.
//! Called by [`super::http1`] and [`super::http2`]. Read next: [`super`].

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use super::proxy_header::ProxyHeader;
use crate::digest::Running;
use crate::fields::Fields;
use crate::gate::PATIENCE;
use crate::stream::Grip;

/// Bytes of a request body that are kept; the rest is counted and hashed.
pub const BODY_KEPT_MAX: usize = 4 << 20;

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What the TLS handshake said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The name the visitor asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol agreed on.
    pub alpn: Option<String>,
    /// The visitor's own certificate in DER.
    pub client_certificate: Option<Vec<u8>>,
    /// As `TLSv1_3`.
    pub version: Option<String>,
}

/// Facts of one connection, the same for all its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// What TLS said, if there was TLS.
    pub tls: Option<TlsFacts>,
    /// The PROXY header, where the origin reads one.
    pub proxy: Option<ProxyHeader>,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of its connection, from 0.
    pub connection: u64,
    /// Its place on that connection, from 0.
    pub place: u64,
    /// How it came.
    pub protocol: Protocol,
    /// As sent.
    pub method: String,
    /// The request target as sent; on HTTP/2 `:path`.
    pub target: String,
    /// `Host`, or `:authority`.
    pub authority: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2`.
    pub version: String,
    /// `:protocol` of an extended CONNECT (RFC 8441).
    pub connect_protocol: Option<String>,
    /// Fields in order and case (HTTP/2: lower case, order within one name).
    pub fields: Fields,
    /// The bytes of the head (HTTP/1 only).
    pub raw: Vec<u8>,
    /// The body's first [`BODY_KEPT_MAX`] bytes.
    pub body: Vec<u8>,
    /// The body's whole length so far.
    pub body_length: u64,
    /// SHA-256 of the whole body so far, in hexadecimal.
    pub body_sha256: String,
    /// Sizes of its chunks or DATA frames.
    pub chunks: Vec<u64>,
    /// Trailers.
    pub trailers: Fields,
    /// Whether the body came to its end.
    pub is_complete: bool,
    /// See [`ConnectionFacts`].
    pub tls: Option<TlsFacts>,
    /// See [`ConnectionFacts`].
    pub proxy: Option<ProxyHeader>,
}

impl Request {
    /// The target before `?`.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The target after `?`, or nothing.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map(|(_, query)| query).unwrap_or_default()
    }

    /// The value of one `name=value` of the query, as written.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        parameter(self.query(), name)
    }

    /// Whether the query has this name, with or without a value.
    pub fn has_parameter(&self, name: &str) -> bool {
        self.query().split('&').any(|pair| pair.split('=').next() == Some(name))
    }
}

/// The value of one `name=value` in a query or form, as written.
pub fn parameter<'q>(pairs: &'q str, name: &str) -> Option<&'q str> {
    pairs
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// Numbers of what happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections open and between requests now (HTTP/1).
    pub idle: u64,
    /// Request heads read.
    pub requests: u64,
    /// Answers sent to their end.
    pub answered: u64,
    /// Exchanges that the other side broke off before their answer's end.
    pub aborted: u64,
    /// Body bytes received.
    pub bytes_in: u64,
    /// Bytes sent (HTTP/1: all; HTTP/2: DATA).
    pub bytes_out: u64,
}

#[derive(Default)]
struct State {
    counters: Counters,
    requests: Vec<Request>,
    faults: Vec<String>,
    open: HashMap<u64, OpenConnection>,
}

struct OpenConnection {
    grip: Grip,
    is_idle: bool,
}

/// The book of one origin, shared by its threads.
#[derive(Default)]
pub(super) struct Record {
    state: Mutex<State>,
    changed: Condvar,
    keeps_no_requests: bool,
}

impl Record {
    pub(super) fn new(keeps_no_requests: bool) -> Record {
        Record { keeps_no_requests, ..Record::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    pub(super) fn connection_opened(&self, grip: Grip) -> u64 {
        self.change(|state| {
            let number = state.counters.connections;
            state.counters.connections += 1;
            state.counters.open += 1;
            state.open.insert(number, OpenConnection { grip, is_idle: false });
            number
        })
    }

    pub(super) fn connection_ended(&self, number: u64) {
        self.change(|state| {
            if let Some(ended) = state.open.remove(&number) {
                state.counters.open -= 1;
                state.counters.idle -= u64::from(ended.is_idle);
            }
        });
    }

    pub(super) fn set_idle(&self, number: u64, is_idle: bool) {
        self.change(|state| {
            if let Some(open) = state.open.get_mut(&number)
                && open.is_idle != is_idle
            {
                open.is_idle = is_idle;
                if is_idle {
                    state.counters.idle += 1;
                } else {
                    state.counters.idle -= 1;
                }
            }
        });
    }

    /// Ends all connections, or the idle ones; returns how many.
    pub(super) fn end_connections(&self, only_idle: bool, by_reset: bool) -> usize {
        let state = self.lock();
        let chosen = state.open.values().filter(|open| open.is_idle || !only_idle);
        chosen.map(|open| if by_reset { open.grip.reset() } else { open.grip.close() }).count()
    }

    /// Books a request head; the number is for [`Record::update`].
    pub(super) fn request(&self, request: &Request) -> Option<usize> {
        self.change(|state| {
            state.counters.requests += 1;
            if self.keeps_no_requests {
                return None;
            }
            state.requests.push(request.clone());
            Some(state.requests.len() - 1)
        })
    }

    /// Books what is known of the request now.
    pub(super) fn update(&self, place: Option<usize>, request: &Request) {
        self.change(|state| {
            if let Some(kept) = place.and_then(|place| state.requests.get_mut(place)) {
                *kept = request.clone();
            }
        });
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        self.change(|state| count(&mut state.counters));
    }

    pub(super) fn fault(&self, fault: String) {
        self.change(|state| state.faults.push(fault));
    }

    pub(super) fn faults(&self) -> Vec<String> {
        self.lock().faults.clone()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.lock().requests.clone()
    }

    pub(super) fn last_request(&self) -> Option<Request> {
        self.lock().requests.last().cloned()
    }

    pub(super) fn counters(&self) -> Counters {
        self.lock().counters
    }

    pub(super) fn wait_until(&self, is_so: impl Fn(&Counters) -> bool) -> Result<Counters> {
        let (state, late) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |state| !is_so(&state.counters))
            .unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            bail!("the origin never came to that; it is at {:?}, faults {:?}", state.counters, state.faults);
        }
        Ok(state.counters)
    }
}

/// Takes body bytes into a request: the first ones kept, all counted and hashed.
pub(super) fn take_body(request: &mut Request, running: &mut Running, part: &[u8]) {
    running.add(part);
    let room = BODY_KEPT_MAX.saturating_sub(request.body.len()).min(part.len());
    request.body.extend(part.get(..room).unwrap_or_default());
    request.body_length = running.length();
}
