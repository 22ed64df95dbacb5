//! Visitors at a fixed rate, and a record of each request: when it was due, how long it took, how it ended.
//!
//! Each request has a connection of its own from one of many loopback addresses, so that a share of visitors
//! by prefix is a share of these. Its time is counted from when it was due, not from when it was sent, so
//! that a node that stands still is seen for as long as it does. Served is who gets 200 and the page that is
//! expected, and nobody else. Beside them there are visitors that stay connected and say nothing ([`Idle`]).
//! Read next: [`super::report`]; [`super::dying`] for loads under which something dies.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::multiplexed::{self, Question, Speaks};
use crate::clock;

/// How long a visitor waits for the next byte: about what a person does.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of an answer, head included; those of a drill have some hundred.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024;

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
    /// With a whole answer of another status than 200, which the drill means this visitor to get.
    Meant(u16),
    /// With a whole answer that is not what it has to be.
    Wrong(String),
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
    /// When the visitor came, after the load began: later than it was due where all were still waiting.
    pub(super) came: Duration,
    /// How long it took from when it was due.
    pub(super) took: Duration,
    /// How it ended.
    pub(super) end: End,
}

impl Visit {
    /// Whether the visitor did not get what it came for. Who is refused, told to come back or asked to prove
    /// something did not, however friendly the answer is.
    pub(super) fn has_failed(&self) -> bool {
        !matches!(self.end, End::Answered(200) | End::Meant(_))
    }

    /// When it was over, after the load began.
    pub(super) fn over(&self) -> Duration {
        self.at + self.took
    }
}

/// What visitors may get for the first page: status and body. All else is no answer.
#[derive(Debug, Clone)]
pub(super) struct Expected(Arc<[(u16, String)]>);

impl Expected {
    /// These, and no other.
    pub(super) fn of(pages: &[(u16, &str)]) -> Self {
        Self(pages.iter().map(|(status, body)| (*status, (*body).to_owned())).collect())
    }

    /// How a visit ended that got this.
    fn judge(&self, fetched: &Fetched) -> End {
        let Fetched { status, body, .. } = fetched;
        if !self.0.iter().any(|(meant, page)| meant == status && page == body) {
            return End::Wrong(format!("{status} {}", first_words(body)));
        }
        if *status == 200 { End::Answered(200) } else { End::Meant(*status) }
    }
}

/// What of a body is told of it.
fn first_words(body: &str) -> String {
    body.lines().next().unwrap_or_default().chars().take(60).collect()
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Its status.
    pub(super) status: u16,
    /// Status line and fields.
    head: String,
    /// Its body.
    pub(super) body: String,
}

impl Fetched {
    /// An answer of this status, its status line and fields, and its body.
    pub(super) fn new(status: u16, head: String, body: String) -> Self {
        Self { status, head, body }
    }

    /// The first field of a name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }

    /// All fields of a name.
    pub(super) fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }

    /// Whether it came out of the cache, as `Cache-Status` says (RFC 9211).
    pub(super) fn is_hit(&self) -> bool {
        self.field("cache-status").is_some_and(|said| said.starts_with("rempart; hit"))
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
    /// What its visitors speak.
    pub(super) speaks: Speaks,
}

impl Target {
    /// A target without TLS.
    pub(super) fn plain(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), tls: None, speaks: Speaks::Http1 }
    }

    /// A target over TLS, whose visitors trust whom `tls` trusts and speak HTTP/1.
    pub(super) fn secured(address: SocketAddr, host: &str, tls: &Arc<ClientConfig>) -> Self {
        Self { tls: Some(Arc::clone(tls)), ..Self::plain(address, host) }
    }

    /// The same target, for visitors who speak something else.
    pub(super) fn speaking(&self, speaks: Speaks) -> Self {
        let offering = |tls: &Arc<ClientConfig>| {
            let mut offering = ClientConfig::clone(tls);
            offering.alpn_protocols = speaks.alpn();
            Arc::new(offering)
        };
        Self { speaks, tls: self.tls.as_ref().map(offering), ..self.clone() }
    }

    /// Asks once for `path`, with further field lines (each ending in CRLF), and gives status and body.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub(super) fn ask(&self, path: &str, fields: &str) -> Result<(u16, String)> {
        self.ask_from(0, path, fields)
    }

    /// Asks from one of the networks, and gives the answer with its fields.
    ///
    /// # Errors
    /// As [`Target::ask`].
    pub(super) fn fetch(&self, network: u64, path: &str) -> Result<Fetched> {
        self.fetch_with(network % NETWORKS, path, "")
    }

    /// Asks from one of the networks, with further field lines.
    ///
    /// # Errors
    /// As [`Target::ask`].
    pub(super) fn ask_from(&self, network: u64, path: &str, fields: &str) -> Result<(u16, String)> {
        self.fetch_with(network, path, fields).map(|fetched| (fetched.status, fetched.body))
    }

    fn fetch_with(&self, network: u64, path: &str, fields: &str) -> Result<Fetched> {
        if self.speaks != Speaks::Http1 {
            let fields: Vec<_> = fields.lines().filter_map(|line| line.split_once(": ")).collect();
            return multiplexed::fetch(&Question { target: self, network, path, fields: &fields });
        }
        let connection = connect(self.address, network).context("no connection")?;
        self.talk(connection, path, fields)
    }

    fn talk(&self, connection: TcpStream, path: &str, fields: &str) -> Result<Fetched> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{fields}\r\n", self.host);
        match &self.tls {
            None => fetch(connection, head.as_bytes()),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).context("no name for TLS")?;
                let tls = ClientConnection::new(Arc::clone(config), name)?;
                fetch(StreamOwned::new(tls, connection), head.as_bytes())
            }
        }
    }

    /// Asks for the first page, from the network that this number is of; it must be one of those expected.
    pub(super) fn visit(&self, number: u64, expected: &Expected) -> End {
        let network = number % NETWORKS;
        let answered = if self.speaks == Speaks::Http1 {
            match connect(self.address, network) {
                Err(error) => return End::Refused(error.to_string()),
                Ok(connection) => self.talk(connection, "/", ""),
            }
        } else {
            self.fetch_with(network, "/", "")
        };
        match answered {
            Ok(fetched) => expected.judge(&fetched),
            Err(error) => End::Broken(format!("{error:#}")),
        }
    }
}

/// Where a visitor of one of the networks comes from; none where the target is not on this machine's own
/// address, or the number is no network's.
pub(super) fn at_network(address: SocketAddr, network: u64) -> Option<SocketAddr> {
    let network = u8::try_from(network).ok().filter(|_| address.ip() == Ipv4Addr::LOCALHOST)?;
    Some(SocketAddr::from((Ipv4Addr::new(127, 1, network, 1), 0)))
}

/// Connects from one of the networks.
pub(super) fn connect(address: SocketAddr, network: u64) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if let Some(from) = at_network(address, network) {
        socket.bind(&from.into())?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let connection = TcpStream::from(socket);
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

/// Sends a request and reads one answer to its announced end; gives status and body.
fn exchange(connection: impl Read + Write, request: &[u8]) -> Result<(u16, String)> {
    fetch(connection, request).map(|fetched| (fetched.status, fetched.body))
}

/// The same with all there is.
fn fetch(mut connection: impl Read + Write, request: &[u8]) -> Result<Fetched> {
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
pub(super) fn whole(bytes: &[u8]) -> Result<Option<Fetched>> {
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
    let body = body.get(..length).map(|body| String::from_utf8_lossy(body).into_owned());
    Ok(body.map(|body| Fetched { status, head, body }))
}

/// A visitor that stays connected and says nothing between its requests.
pub(super) struct Kept {
    connection: TcpStream,
    host: String,
}

impl Kept {
    /// Connects from one of the networks, without a word.
    ///
    /// # Errors
    /// When no connection comes about.
    pub(super) fn connect(target: &Target, network: u64) -> Result<Self> {
        let connection = connect(target.address, network).context("no connection")?;
        Ok(Self { connection, host: target.host.clone() })
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) fn send(&self, path: &str) -> Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host);
        (&self.connection).write_all(head.as_bytes()).context("the request could not be sent")
    }

    /// Waits for the answer to what was sent.
    ///
    /// # Errors
    /// When no whole answer comes.
    pub(super) fn answer(&self) -> Result<(u16, String)> {
        exchange(&self.connection, &[])
    }

    /// Asks, stays connected, and gives the answer with its fields.
    ///
    /// # Errors
    /// As [`Kept::send`] and [`Kept::answer`].
    pub(super) fn fetch(&self, path: &str) -> Result<Fetched> {
        self.send(path)?;
        fetch(&self.connection, &[])
    }

    /// Asks, and stays connected.
    ///
    /// # Errors
    /// As [`Kept::send`] and [`Kept::answer`].
    pub(super) fn ask(&self, path: &str) -> Result<(u16, String)> {
        self.send(path)?;
        self.answer()
    }

    /// Where it comes from.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) fn from(&self) -> Result<SocketAddr> {
        Ok(self.connection.local_addr()?)
    }

    /// Whether the other side has ended the connection, or does so soon.
    fn has_ended(&self) -> bool {
        match (&self.connection).read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Connected visitors, one from each network, each of which was answered once and is silent since.
pub(super) struct Idle(Vec<Kept>);

impl Idle {
    /// Connects them.
    ///
    /// # Errors
    /// When one is not answered with 200.
    pub(super) fn connect(target: &Target) -> Result<Self> {
        let mut all = Vec::new();
        for network in 0..NETWORKS {
            let kept = Kept::connect(target, network)?;
            let answer = kept.ask("/");
            ensure!(matches!(answer, Ok((200, _))), "a visitor that is to stay gets {}", in_words(&answer));
            all.push(kept);
        }
        Ok(Self(all))
    }

    /// Connects as many, without a word: whoever answers them later has to take them first.
    ///
    /// # Errors
    /// When one is refused.
    pub(super) fn waiting(target: &Target) -> Result<Self> {
        (0..NETWORKS).map(|network| Kept::connect(target, network)).collect::<Result<_>>().map(Self)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Each one.
    pub(super) fn each(&self) -> impl Iterator<Item = &Kept> {
        self.0.iter()
    }

    /// Those for which something is so, and the others.
    pub(super) fn part(self, is_so: impl Fn(&Kept) -> bool) -> (Self, Self) {
        let (these, others) = self.0.into_iter().partition(is_so);
        (Self(these), Self(others))
    }

    /// Asks on each connection again; how many are answered with 200.
    pub(super) fn answered(&self) -> usize {
        self.0.iter().filter(|kept| kept.ask("/").is_ok_and(|(status, _)| status == 200)).count()
    }

    /// How many connections the other side has ended.
    pub(super) fn ended(&self) -> usize {
        self.0.iter().filter(|kept| kept.has_ended()).count()
    }
}

/// The alert with which the other side ended TLS, if it sent one (RFC 8446 §6).
pub(super) fn alert(error: &anyhow::Error) -> Option<AlertDescription> {
    error.chain().find_map(|cause| {
        let inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
        match inner.downcast_ref()? {
            rustls::Error::AlertReceived(alert) => Some(*alert),
            _ => None,
        }
    })
}

/// Visitors that keep coming.
pub(super) struct Load {
    begun: Instant,
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    visitors: Vec<JoinHandle<Vec<Visit>>>,
}

impl Load {
    /// Begins; `per_second` requests are due each second. Each must be answered with 200 and the page that is
    /// there now.
    ///
    /// # Errors
    /// When there is no page now, or the system gives no thread.
    pub(super) fn begin(target: &Target, per_second: u64) -> Result<Self> {
        Self::begin_with(VISITORS, target, per_second)
    }

    /// The same with so many visitors at a time. Where they wait for long, few are late for what is due
    /// meanwhile, and still are when the node has recovered.
    ///
    /// # Errors
    /// As [`Load::begin`].
    pub(super) fn begin_with(visitors: usize, target: &Target, per_second: u64) -> Result<Self> {
        let now = target.ask("/", "");
        let Ok((200, page)) = &now else {
            bail!("visitors are to come to a site that answers {}", in_words(&now));
        };
        let (target, expected) = (target.clone(), Expected::of(&[(200, page)]));
        Self::of(visitors, per_second, move |number| target.visit(number, &expected))
    }

    /// The same where it is known what each must get: one of these statuses with its body.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn expecting(target: &Target, per_second: u64, pages: &[(u16, &str)]) -> Result<Self> {
        let (target, expected) = (target.clone(), Expected::of(pages));
        Self::asking(per_second, move |number| target.visit(number, &expected))
    }

    /// The same with what each visitor asks, by its number, and thinks of the answer.
    ///
    /// # Errors
    /// As [`Load::begin`].
    pub(super) fn asking(per_second: u64, ask: impl Fn(u64) -> End + Send + Sync + 'static) -> Result<Self> {
        Self::of(VISITORS, per_second, ask)
    }

    fn of(
        visitors: usize,
        per_second: u64,
        ask: impl Fn(u64) -> End + Send + Sync + 'static,
    ) -> Result<Self> {
        let (count, mut visitors) = (visitors, Vec::new());
        let ask = Arc::new(ask);
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let next = Arc::new(AtomicU64::new(0));
        let begun = clock::now();
        for _ in 0..count {
            let (ends, asked, next) = (Arc::clone(&ends), Arc::clone(&asked), Arc::clone(&next));
            let ask = Arc::clone(&ask);
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
                    let came = clock::now().saturating_duration_since(begun);
                    let end = ask(number);
                    let took = clock::now().saturating_duration_since(begun + at);
                    visits.push(Visit { at, came, took, end });
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })?;
            visitors.push(visitor);
        }
        Ok(Self { begun, ends, asked, visitors })
    }

    /// A moment, after it began: as the times of its visits are counted.
    pub(super) fn after(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.begun)
    }

    /// How many have an answer by now, or have failed.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
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
        let whole =
            |text: &str| whole(text.as_bytes()).unwrap().map(|fetched| (fetched.status, fetched.body));
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"), None);
        assert_eq!(whole("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\non"), None);
        assert_eq!(whole("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none"), Some((200, "one".into())));
        assert!(super::whole(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn an_answer_out_of_the_cache_is_told_by_its_field() {
        let hit = |line: &str| {
            let text = format!("HTTP/1.1 200 OK\r\n{line}\r\nContent-Length: 0\r\n\r\n");
            whole(text.as_bytes()).unwrap().unwrap().is_hit()
        };
        assert!(hit("cache-status: rempart; hit; ttl=5"));
        assert!(!hit("Cache-Status: rempart; fwd=uri-miss; stored") && !hit("X: rempart; hit"));
    }

    #[test]
    fn an_alert_is_told_from_a_connection_that_ends() {
        let wrapped = |error: rustls::Error| {
            let error = std::io::Error::new(ErrorKind::InvalidData, error);
            anyhow::Error::from(error).context("the request could not be sent")
        };
        let name = AlertDescription::UnrecognisedName;
        assert_eq!(alert(&wrapped(rustls::Error::AlertReceived(name))), Some(name));
        assert_eq!(alert(&wrapped(rustls::Error::HandshakeNotComplete)), None);
        assert_eq!(alert(&std::io::Error::from(ErrorKind::ConnectionReset).into()), None);
        assert_eq!(alert(&anyhow::anyhow!("the connection ended after 0 bytes")), None);
    }

    #[test]
    fn a_visitor_that_stays_is_told_from_one_that_was_left() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target::plain(listener.local_addr().unwrap(), "a.example");
        let (kept, other) = (Kept::connect(&target, 1).unwrap(), Kept::connect(&target, 2).unwrap());
        let (mut first, second) = (listener.accept().unwrap().0, listener.accept().unwrap().0);
        first.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").unwrap();
        assert_eq!(kept.ask("/").unwrap(), (200, "one".into()));
        drop(second);
        kept.connection.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let idle = Idle(vec![kept, other]);
        let (ended, stays) = idle.part(Kept::has_ended);
        assert_eq!((ended.count(), stays.count()), (1, 1));
        let mut asked = [0; 64];
        let read = first.read(&mut asked).unwrap();
        assert_eq!(&asked[..read], b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    }

    #[test]
    fn a_visitor_is_served_by_the_page_it_is_to_get_and_by_nothing_else() {
        let visit = |end| {
            let [at, came, took] = [Duration::ZERO; 3];
            Visit { at, came, took, end }
        };
        let expected = Expected::of(&[(200, "one"), (403, "nobody")]);
        let ended =
            |status, body: &str| expected.judge(&Fetched::new(status, String::new(), body.to_owned()));
        assert_eq!((ended(200, "one"), ended(403, "nobody")), (End::Answered(200), End::Meant(403)));
        for (status, body) in [(200, "on"), (200, "nobody"), (403, "one"), (404, ""), (421, ""), (429, "one")]
        {
            assert!(visit(ended(status, body)).has_failed(), "{status} {body}");
        }
        assert!(!visit(End::Answered(200)).has_failed() && !visit(End::Meant(403)).has_failed());
        for status in [204, 403, 404, 421, 429, 502] {
            assert!(visit(End::Answered(status)).has_failed(), "{status}");
        }
        assert!(visit(End::Broken(String::new())).has_failed());
        assert!(visit(End::Refused(String::new())).has_failed());
    }

    #[test]
    fn visitors_do_not_come_to_a_site_that_is_not_there() {
        let nobody = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        assert!(Load::begin(&Target::plain(nobody, "a.example"), 10).is_err());
    }
}
