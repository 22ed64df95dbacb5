//! A splice in a thread, origins with and without TLS, visitors, and waiting for what is counted.

use std::io::{self, ErrorKind, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use splice::{Counters, Ended, Entry, Listener, Protocol, Proxy, Refusal, Settings, Table, serve};

/// Bounds a hang; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "tests are wiring: the clock begins somewhere")]
fn now() -> Instant {
    Instant::now()
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = now() + PATIENCE;
    while !holds() {
        assert!(now() < give_up, "waited in vain until {what}");
        thread::yield_now();
    }
}

/// The supervisor's side: it keeps the listeners, gives orders, and moves the clock.
pub(crate) struct Node {
    pub(crate) https: Arc<TcpListener>,
    pub(crate) http: Arc<TcpListener>,
    pub(crate) counters: Arc<Counters>,
    orders: Option<PipeWriter>,
    passed_ms: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<Ended>>>,
}

/// A listener on loopback as the supervisor makes it.
pub(crate) fn listener() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

impl Node {
    pub(crate) fn start(entries: &[Entry]) -> Self {
        Self::with(entries, Settings::default(), false)
    }

    pub(crate) fn set(entries: &[Entry], settings: Settings) -> Self {
        Self::with(entries, settings, false)
    }

    pub(crate) fn with(entries: &[Entry], settings: Settings, is_proxied: bool) -> Self {
        Self::on(listener(), entries, settings, is_proxied)
    }

    /// Serves TLS on a listener that the test has made.
    pub(crate) fn on(https: TcpListener, entries: &[Entry], settings: Settings, is_proxied: bool) -> Self {
        let table = Table::read(Table::to_bytes(entries).unwrap()).unwrap();
        let (told, orders) = io::pipe().unwrap();
        let (https, http) = (Arc::new(https), Arc::new(listener()));
        let counters = Arc::new(Counters::default());
        let passed_ms = Arc::new(AtomicU64::new(0));
        let thread = {
            let (https, http) = (Arc::clone(&https), Arc::clone(&http));
            let (counters, passed_ms) = (Arc::clone(&counters), Arc::clone(&passed_ms));
            let began = now();
            thread::spawn(move || {
                let listeners = [
                    Listener { socket: https.as_fd(), protocol: Protocol::Https, is_proxied },
                    Listener { socket: http.as_fd(), protocol: Protocol::Http, is_proxied },
                ];
                let clock = || began + Duration::from_millis(passed_ms.load(Ordering::SeqCst));
                serve(&listeners, &table, told.as_fd(), &settings, &clock, &counters)
            })
        };
        Self { https, http, counters, orders: Some(orders), passed_ms, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.https.local_addr().unwrap()
    }

    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http.local_addr().unwrap()
    }

    pub(crate) fn count(&self, counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    #[track_caller]
    pub(crate) fn until_refused(&self, why: Refusal, count: u64) {
        until(why.name(), || self.counters.refused(why) >= count);
        assert_eq!(self.counters.refused(why), count, "{}", self.counters);
    }

    #[track_caller]
    pub(crate) fn until_open(&self, count: u64) {
        until(&format!("{count} are open"), || self.count(&self.counters.open) == count);
    }

    /// Moves the clock. What the loop has not taken yet, it will take at the new time.
    pub(crate) fn pass_ms(&self, millis: u64) {
        self.passed_ms.fetch_add(millis, Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.orders.as_ref().unwrap().write_all(b"s").unwrap();
    }

    pub(crate) fn hang_up(&mut self) {
        self.orders = None;
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            // It may have had the order already, and be gone.
            if let Some(mut orders) = self.orders.take() {
                let _ = orders.write_all(b"s");
            }
            until("the loop has taken the order", || {
                self.pass_ms(1_000_000);
                thread.is_finished()
            });
            thread.join().unwrap().unwrap();
        }
    }
}

pub(crate) fn entry(hostname: &str, origins: &[SocketAddr]) -> Entry {
    Entry { hostname: hostname.to_owned(), origins: origins.to_vec(), proxy: Proxy::None }
}

/// An address at which nobody listens, for the life of the value: bound, never listening.
pub(crate) struct Nobody(TcpStream, TcpListener);

impl Nobody {
    pub(crate) fn new() -> Self {
        // The local end of a connection keeps its port from everybody and does not listen.
        let peer = TcpListener::bind("127.0.0.1:0").unwrap();
        Self(TcpStream::connect(peer.local_addr().unwrap()).unwrap(), peer)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        assert!(self.1.local_addr().is_ok());
        self.0.local_addr().unwrap()
    }
}

/// An origin without TLS, so that a test sees every byte.
pub(crate) struct RawOrigin(TcpListener);

impl RawOrigin {
    pub(crate) fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn accept(&self) -> TcpStream {
        patient(self.0.accept().unwrap().0)
    }
}

fn patient(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A visitor without TLS.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    // Otherwise every small piece waits for the acknowledgement of the one before.
    socket.set_nodelay(true).unwrap();
    patient(socket)
}

/// A visitor that has sent these bytes.
pub(crate) fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut visitor = connect(address);
    visitor.write_all(bytes).unwrap();
    visitor
}

/// Reads exactly so many bytes.
#[track_caller]
pub(crate) fn receive(mut socket: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads to the end.
#[track_caller]
pub(crate) fn receive_all(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Whether the other side has closed or reset, having sent nothing.
#[track_caller]
pub(crate) fn is_closed(mut socket: &TcpStream) -> bool {
    match socket.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

pub(crate) fn shut(socket: &TcpStream) {
    socket.shutdown(Shutdown::Write).unwrap();
}

/// Sends bytes both ways, once the hello has arrived there, to see that the two are connected.
#[track_caller]
pub(crate) fn talk(mut visitor: &TcpStream, mut origin: &TcpStream) {
    visitor.write_all(b"ping").unwrap();
    assert_eq!(receive(origin, 4), b"ping");
    origin.write_all(b"pong").unwrap();
    assert_eq!(receive(visitor, 4), b"pong");
}

/// What rustls sends first.
pub(crate) fn hello(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).unwrap();
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// A certificate authority of one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The settings of a visitor that trusts this authority and nobody else.
    pub(crate) fn visitor(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.0.der().to_vec())).unwrap();
        ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
    }

    fn server(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let builder = ServerConfig::builder().with_no_client_auth();
        builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

/// An origin that speaks TLS with a certificate for one name and sends back what it gets; it begins with that
/// name, so that a visitor sees whom it reached. It lives as long as the test's process.
pub(crate) fn tls_origin(authority: &Authority, name: &str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (config, name) = (Arc::new(authority.server(name)), name.to_owned());
    thread::spawn(move || {
        for socket in listener.incoming() {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            let socket = socket.unwrap();
            socket.set_nodelay(true).unwrap();
            let (mut stream, name) = (StreamOwned::new(tls, socket), name.clone());
            // A visitor that breaks off ends its own thread only.
            thread::spawn(move || -> io::Result<()> {
                stream.write_all(name.as_bytes())?;
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let count = stream.read(&mut buffer)?;
                    if count == 0 {
                        break;
                    }
                    stream.write_all(buffer.get(..count).unwrap_or_default())?;
                }
                stream.conn.send_close_notify();
                stream.flush()
            });
        }
    });
    address
}

/// A visitor that speaks TLS; the handshake is done by its first read or write.
pub(crate) fn tls_visitor(
    address: SocketAddr,
    config: ClientConfig,
    name: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(address))
}

/// What a handshake fails with.
#[track_caller]
pub(crate) fn tls_refusal(address: SocketAddr, config: ClientConfig, name: &str) -> rustls::Error {
    let mut stream = tls_visitor(address, config, name);
    let error = stream.read(&mut [0]).expect_err("the handshake is refused");
    *error.into_inner().expect("TLS refuses").downcast().expect("TLS refuses")
}
