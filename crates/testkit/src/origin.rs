//! A scripted origin: a real server on a free port that does what a test says and records what it saw.
//!
//! Three ways to say it, from easy to exact: [`OriginSpec::answering`] takes a function from request to
//! [`Answer`] and speaks HTTP/1 and HTTP/2; [`OriginSpec::scripted`] takes a closure over an HTTP/1
//! [`http1::Exchange`] that may send any bytes; [`OriginSpec::streaming`] takes an async closure over an
//! [`http2::Http2Exchange`]. How connections are received is [`Reception`].
//!
//! It is no product code and shares none. Called by the tests of other crates and by [`crate::site`]. Read
//! next: [`answer`], then [`record`].

use std::future::Future;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};

pub mod answer;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod proxy_header;
pub mod record;
pub mod workers;

mod accept;

pub use answer::Answer;
pub use http1::Exchange;
pub use http2::Http2Exchange;
pub use record::{Counters, Protocol, Request};
pub use workers::Workers;

use record::Record;

/// What happens to a connection when it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reception {
    /// It is served.
    #[default]
    Serve,
    /// It is accepted; nothing is read or sent, and it stays open.
    Hang,
    /// It is accepted and closed.
    Close,
    /// It is accepted and reset.
    Reset,
    /// It is never accepted and the queue is full: connecting gets no answer at all.
    Never,
}

/// The future a streaming script returns.
pub type Streamed = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

type AnswerScript = dyn Fn(&Request) -> Answer + Send + Sync;
type ExchangeScript = dyn Fn(&mut Exchange<'_>) -> Result<()> + Send + Sync;
type StreamingScript = dyn Fn(Http2Exchange) -> Streamed + Send + Sync;

#[derive(Clone)]
enum Play {
    Answer(Arc<AnswerScript>),
    Script(Arc<ExchangeScript>),
    Streaming(Arc<StreamingScript>),
}

#[derive(Clone, Default)]
struct Rules {
    tls: Option<Arc<ServerConfig>>,
    reads_proxy_header: bool,
    closes_after: Option<u64>,
    http1_only: bool,
}

#[derive(Clone, Default)]
enum Place {
    #[default]
    V4,
    V6,
    Unix(PathBuf),
}

/// How an origin listens, before it starts. By default: plain TCP on 127.0.0.1.
#[derive(Clone, Default)]
pub struct OriginSpec {
    place: Place,
    rules: Rules,
    reception: Reception,
    keeps_no_requests: bool,
}

impl OriginSpec {
    /// The default.
    pub fn new() -> OriginSpec {
        OriginSpec::default()
    }

    /// Listens on `[::1]`.
    #[must_use]
    pub fn ipv6(mut self) -> OriginSpec {
        self.place = Place::V6;
        self
    }

    /// Listens on a Unix socket at this path.
    #[must_use]
    pub fn unix(mut self, path: impl Into<PathBuf>) -> OriginSpec {
        self.place = Place::Unix(path.into());
        self
    }

    /// Speaks TLS. HTTP/2 is spoken where the ALPN result is `h2`. Not on Unix sockets.
    #[must_use]
    pub fn tls(mut self, config: Arc<ServerConfig>) -> OriginSpec {
        self.rules.tls = Some(config);
        self
    }

    /// Expects a PROXY header, before TLS, on each connection; without one the connection is closed and a
    /// fault recorded.
    #[must_use]
    pub fn proxy_header(mut self) -> OriginSpec {
        self.rules.reads_proxy_header = true;
        self
    }

    /// Takes an HTTP/2 preface for a malformed request.
    #[must_use]
    pub fn http1_only(mut self) -> OriginSpec {
        self.rules.http1_only = true;
        self
    }

    /// Closes each connection after `count` requests, without a word before (HTTP/2: GOAWAY).
    #[must_use]
    pub fn closes_after(mut self, count: u64) -> OriginSpec {
        self.rules.closes_after = Some(count);
        self
    }

    /// Receives connections so from the start; see [`ScriptedOrigin::receive`]. `Never` can only be set here.
    #[must_use]
    pub fn reception(mut self, reception: Reception) -> OriginSpec {
        self.reception = reception;
        self
    }

    /// Counts requests but keeps none, for long runs.
    #[must_use]
    pub fn unrecorded(mut self) -> OriginSpec {
        self.keeps_no_requests = true;
        self
    }

    /// Starts an origin that reads each request whole and sends what `answer` makes of it.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn answering(
        self,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Result<ScriptedOrigin> {
        self.start(Play::Answer(Arc::new(answer)))
    }

    /// Starts an HTTP/1 origin that plays `script` for each request.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn scripted(
        self,
        script: impl Fn(&mut Exchange<'_>) -> Result<()> + Send + Sync + 'static,
    ) -> Result<ScriptedOrigin> {
        self.start(Play::Script(Arc::new(script)))
    }

    /// Starts an HTTP/2 origin (prior knowledge, or ALPN over TLS) that plays `script` for each stream, as
    /// soon as its head is there.
    ///
    /// # Errors
    /// When no socket can be had.
    pub fn streaming(
        self,
        script: impl Fn(Http2Exchange) -> Streamed + Send + Sync + 'static,
    ) -> Result<ScriptedOrigin> {
        self.start(Play::Streaming(Arc::new(script)))
    }

    fn start(self, play: Play) -> Result<ScriptedOrigin> {
        let on_unix = matches!(self.place, Place::Unix(_));
        ensure!(!(on_unix && self.rules.tls.is_some()), "TLS on a Unix socket is not offered");
        let (holder, address, path) = match &self.place {
            Place::V4 => held(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?,
            Place::V6 => held(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)))?,
            Place::Unix(path) => (None, None, Some(path.clone())),
        };
        let origin = ScriptedOrigin {
            address,
            path,
            _holder: holder,
            is_tls: self.rules.tls.is_some(),
            record: Arc::new(Record::new(self.keeps_no_requests)),
            reception: Arc::new(Mutex::new(self.reception)),
            rules: self.rules,
            play,
            listener: Mutex::new(None),
            queued: Mutex::new(Vec::new()),
        };
        origin.come_back()?;
        Ok(origin)
    }
}

/// Binds a free port without listening: it keeps the port for this origin while the origin is down.
fn held(address: SocketAddr) -> Result<(Option<Socket>, Option<SocketAddr>, Option<PathBuf>)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    let address = socket.local_addr()?.as_socket().context("the address just bound")?;
    Ok((Some(socket), Some(address), None))
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// A running origin. Dropping it closes its listener and all its connections.
pub struct ScriptedOrigin {
    address: Option<SocketAddr>,
    path: Option<PathBuf>,
    _holder: Option<Socket>,
    is_tls: bool,
    record: Arc<Record>,
    reception: Arc<Mutex<Reception>>,
    rules: Rules,
    play: Play,
    listener: Mutex<Option<Arc<Listener>>>,
    queued: Mutex<Vec<TcpStream>>,
}

impl ScriptedOrigin {
    /// Where it listens.
    ///
    /// # Panics
    /// On a Unix socket, which has [`ScriptedOrigin::path`].
    pub fn address(&self) -> SocketAddr {
        self.address.expect("only origins on Unix sockets have no address, and their tests know it")
    }

    /// The path of its Unix socket.
    pub fn path(&self) -> Option<&std::path::Path> {
        self.path.as_deref()
    }

    /// As a zone names it: `http://127.0.0.1:PORT`, `https://…` or `unix:PATH`.
    pub fn url(&self) -> String {
        match (&self.path, self.is_tls) {
            (Some(path), _) => format!("unix:{}", path.display()),
            (None, true) => format!("https://{}", self.address()),
            (None, false) => format!("http://{}", self.address()),
        }
    }

    /// The requests so far, in the order their heads came.
    pub fn requests(&self) -> Vec<Request> {
        self.record.requests()
    }

    /// The latest request.
    pub fn last_request(&self) -> Option<Request> {
        self.record.last_request()
    }

    /// What went against the rules so far: malformed requests, scripts that failed for reasons of their own.
    pub fn faults(&self) -> Vec<String> {
        self.record.faults()
    }

    /// The counters now.
    pub fn counters(&self) -> Counters {
        self.record.counters()
    }

    /// Waits until the counters are so, and returns them.
    ///
    /// # Errors
    /// When that does not happen within [`crate::gate::PATIENCE`].
    pub fn wait_until(&self, is_so: impl Fn(&Counters) -> bool) -> Result<Counters> {
        self.record.wait_until(is_so)
    }

    /// Receives connections that come from now on so.
    pub fn receive(&self, reception: Reception) {
        *self.reception.lock().unwrap_or_else(PoisonError::into_inner) = reception;
    }

    /// Closes the connections that are between two requests; returns how many.
    pub fn close_idle_connections(&self) -> usize {
        self.record.end_connections(true, false)
    }

    /// Closes all connections, by FIN or by reset; returns how many.
    pub fn end_connections(&self, by_reset: bool) -> usize {
        self.record.end_connections(false, by_reset)
    }

    /// Stops listening (connecting is refused from now on) and resets all connections. The port stays this
    /// origin's.
    pub fn go_down(&self) {
        if let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A listener that is shut down refuses connections and wakes the thread that accepts.
            let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        }
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
        self.end_connections(true);
    }

    /// Listens again at the same place.
    ///
    /// # Errors
    /// When the place is taken.
    pub fn come_back(&self) -> Result<()> {
        let mut slot = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Ok(());
        }
        let never = *self.reception.lock().unwrap_or_else(PoisonError::into_inner) == Reception::Never;
        let listener = Arc::new(match (&self.path, self.address) {
            (Some(path), _) => Listener::Unix(UnixListener::bind(path)?),
            (None, address) => {
                Listener::Tcp(listen(address.context("an address")?, if never { 0 } else { 1024 })?)
            }
        });
        if never {
            if let Some(address) = self.address {
                // A queue of length 0 holds one connection; with it the queue is full.
                self.queued.lock().unwrap_or_else(PoisonError::into_inner).push(TcpStream::connect(address)?);
            }
        } else {
            let server = accept::Server {
                record: Arc::clone(&self.record),
                reception: Arc::clone(&self.reception),
                rules: self.rules.clone(),
                play: self.play.clone(),
            };
            let listener = Arc::clone(&listener);
            thread::Builder::new().name("origin".to_owned()).spawn(move || server.run(&listener))?;
        }
        *slot = Some(listener);
        Ok(())
    }
}

fn listen(address: SocketAddr, backlog: i32) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

impl Drop for ScriptedOrigin {
    fn drop(&mut self) {
        self.go_down();
    }
}

/// A port that refuses connections for as long as the value lives.
pub struct RefusingPort {
    address: SocketAddr,
    _holder: Option<Socket>,
}

impl RefusingPort {
    /// Takes a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> Result<RefusingPort> {
        let (holder, address, _) = held(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(RefusingPort { address: address.context("an address")?, _holder: holder })
    }

    /// The address that refuses.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Writes all bytes to a raw connection and keeps it open: for tests that need half a request.
///
/// # Errors
/// As [`TcpStream::connect`].
pub fn dangling(address: SocketAddr, bytes: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(bytes)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
