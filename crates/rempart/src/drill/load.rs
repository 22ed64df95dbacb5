//! Visitors at a fixed rate, and a record of each request: when it was due, how long it took, how it ended.
//!
//! Each request has a connection of its own from one of many loopback addresses, so that a share of visitors
//! by prefix is a share of these. Its time is counted from when it was due, not from when it was sent, so
//! that
//! a node that stands still is seen for as long as it does. It judges nothing. Read next: [`super::report`].

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::clock;

/// How long a visitor waits for the next byte: about what a person does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer, head included; those of a drill have some hundred.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Networks (/24) that visitors come from.
const NETWORKS: u64 = 64;

/// Visitors at a time: those that wait for an answer while the next are due.
pub(super) const VISITORS: usize = 8;

/// Requests kept in a record; at 200 a second this is an hour and a half.
const VISITS_MAX: u64 = 1_000_000;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole answer of this status.
    Answered(u16),
    /// No connection came about.
    Refused(String),
    /// The connection broke, or no answer came in time.
    Broken(String),
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// When it was due, after the load began.
    pub(super) at: Duration,
    /// How long it took from then.
    pub(super) took: Duration,
    /// How it ended.
    pub(super) end: End,
}

impl Visit {
    /// Whether a visitor would say that the site is broken.
    pub(super) fn has_failed(&self) -> bool {
        !matches!(self.end, End::Answered(status) if status < 500)
    }
}

/// Where visitors go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The listener.
    pub(super) address: SocketAddr,
    /// The host name asked for.
    pub(super) host: String,
    /// Trusted authorities, for TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// A target without TLS.
    pub(super) fn plain(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), tls: None }
    }

    /// Asks once for `path`, with further field lines (each ending in CRLF), and gives status and body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub(super) fn ask(&self, path: &str, fields: &str) -> Result<(u16, String)> {
        let connection = connect(self.address, 0).context("no connection")?;
        self.talk(connection, path, fields)
    }

    /// Asks from one of the networks.
    pub(super) fn ask_from(&self, network: u64, path: &str, fields: &str) -> Result<(u16, String)> {
        let connection = connect(self.address, network).context("no connection")?;
        self.talk(connection, path, fields)
    }

    fn talk(&self, connection: TcpStream, path: &str, fields: &str) -> Result<(u16, String)> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n", self.host);
        match &self.tls {
            None => exchange(connection, head.as_bytes()),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).context("no name for TLS")?;
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                exchange(StreamOwned::new(tls, connection), head.as_bytes())
            }
        }
    }

    fn visit(&self, number: u64) -> End {
        match connect(self.address, number % NETWORKS) {
            Err(error) => End::Refused(error.to_string()),
            Ok(connection) => match self.talk(connection, "/", "") {
                Ok((status, _)) => End::Answered(status),
                Err(error) => End::Broken(format!("{error:#}")),
            },
        }
    }
}

fn connect(address: SocketAddr, network: u64) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let (true, Ok(network)) = (address.ip() == Ipv4Addr::LOCALHOST, u8::try_from(network)) {
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 1, network, 1), 0)).into())?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let connection = TcpStream::from(socket);
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// Sends a request and reads one answer to its announced end.
fn exchange(mut connection: impl Read + Write, request: &[u8]) -> Result<(u16, String)> {
    connection.write_all(request).context("the request could not be sent")?;
    connection.flush().context("the request could not be sent")?;
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    loop {
        if let Some(answer) = whole(&bytes)? {
            return Ok(answer);
        }
        ensure!(bytes.len() < ANSWER_BYTES_MAX, "the answer has no end");
        match connection.read(&mut room) {
            Ok(0) => bail!("the connection ended after {} bytes", bytes.len()),
            Ok(count) => bytes.extend_from_slice(room.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("the answer could not be read"),
        }
    }
}

/// Reads an answer with a length, if all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<(u16, String)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let body = bytes.get(end + 4..).unwrap_or_default();
    // A drill's own answers all have one.
    let length = length.unwrap_or(0).min(ANSWER_BYTES_MAX);
    Ok(body.get(..length).map(|body| (status, String::from_utf8_lossy(body).into_owned())))
}

/// Visitors that keep coming.
pub(super) struct Load {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    visitors: Vec<JoinHandle<Vec<Visit>>>,
}

impl Load {
    /// Begins; `per_second` requests are due each second.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn begin(target: &Target, per_second: u64) -> Result<Self> {
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let next = Arc::new(AtomicU64::new(0));
        let begun = clock::now();
        let mut visitors = Vec::new();
        for _ in 0..VISITORS {
            let (ends, asked, next) = (Arc::clone(&ends), Arc::clone(&asked), Arc::clone(&next));
            let target = target.clone();
            let visitor = thread::Builder::new().name("visitor".to_owned()).spawn(move || {
                let mut visits = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let at = Duration::from_micros(number.saturating_mul(1_000_000 / per_second.max(1)));
                    let wait = (begun + at).saturating_duration_since(clock::now());
                    thread::sleep(wait);
                    if ends.load(Ordering::Relaxed) || number >= VISITS_MAX {
                        return visits;
                    }
                    let end = target.visit(number);
                    let took = clock::now().saturating_duration_since(begun + at);
                    visits.push(Visit { at, took, end });
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })?;
            visitors.push(visitor);
        }
        Ok(Self { ends, asked, visitors })
    }

    /// Waits until so many more have an answer, or have failed.
    pub(super) fn wait_for(&self, more: u64) {
        let until = self.asked.load(Ordering::Relaxed) + more;
        while self.asked.load(Ordering::Relaxed) < until {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends, and gives what happened in the order in which requests were due.
    pub(super) fn end(self) -> Vec<Visit> {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.visitors.into_iter().filter_map(|visitor| visitor.join().ok());
        let mut visits: Vec<Visit> = ended.flatten().collect();
        visits.sort_by_key(|visit| visit.at);
        visits
    }
}

/// Writes an answer, or why none came, in one line.
pub(super) fn in_words(answer: &Result<(u16, String)>) -> String {
    match answer {
        Ok((status, body)) => format!("{status} {}", body.lines().next().unwrap_or_default()),
        Err(error) => format!("{error:#}"),
    }
}

/// Waits until something is so, looking every few milliseconds; whether it came to be.
pub(super) fn wait_until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let until: Instant = clock::now() + patience;
    while !is_so() {
        if clock::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let whole = |text: &str| whole(text.as_bytes()).unwrap();
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"), None);
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\non"), None);
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"), Some((200, "one".into())));
        assert!(super::whole(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn what_a_visitor_calls_broken_is_no_answer_or_one_of_the_500s() {
        let failed = |end| Visit { at: Duration::ZERO, took: Duration::ZERO, end }.has_failed();
        assert!(!failed(End::Answered(200)) && !failed(End::Answered(404)));
        assert!(failed(End::Answered(502)) && failed(End::Refused(String::new())));
    }
}
