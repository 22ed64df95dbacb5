//! Who gets a place where room or time is short: who has proven nothing goes first, and no network has them
//! all. Time is moved by hand, never waited for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use exchange::{BodySize, Deadlines, Response, TICK_MS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use wire::limits::{HANDSHAKE_MS, HEAVY_LEAST, RESERVED_SHARE};
use wire::{Abuse, Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

const CONNECTIONS_MAX: usize = 64;

/// Answers at once, but for `/held`, which it never answers.
#[derive(Default)]
struct Empty {
    seen: RefCell<Vec<WireEvent>>,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// Otherwise there is none for handshakes.
    has_time: bool,
    /// Connections from here carry the requests of many.
    proxy: Option<IpAddr>,
}

impl Service for Empty {
    async fn serve(&self, exchange: &mut Exchange) {
        if exchange.request.target() == b"/held" {
            std::future::pending::<()>().await;
        }
        let response = Response { status: 204, body: BodySize::None, ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        self.tls.clone().map(|config| TlsChoice { config, zone: None })
    }

    fn may_shake(&self, _visitor: IpAddr) -> bool {
        self.has_time
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxy == Some(peer)
    }

    fn count(&self, event: WireEvent) {
        self.seen.borrow_mut().push(event);
    }
}

struct Node {
    service: Rc<Empty>,
    thread: Rc<Thread<Empty>>,
    address: SocketAddr,
}

impl Node {
    async fn start(is_tls: bool) -> Self {
        Self::start_with(is_tls, Empty::default()).await
    }

    async fn start_with(is_tls: bool, service: Empty) -> Self {
        let (service, deadlines) = (Rc::new(service), Deadlines::new());
        let thread = Thread::new(Rc::clone(&service), deadlines, 0, CONNECTIONS_MAX);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = TcpListenerSettings { is_tls, allows_h2c: true, trusts_proxy: None, http3_port: None };
        tokio::task::spawn_local(accept_tcp(Rc::clone(&thread), listener, settings));
        Self { service, thread, address }
    }

    fn pass_ms(&self, ms: u32) {
        (0..ms.div_ceil(TICK_MS) + 2).for_each(|_| self.thread.deadlines.sweep());
    }

    /// A visitor of the network 127.0.N.0/24 that has sent this, once the node has taken it in.
    async fn visit(&self, network: u8, bytes: &[u8]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::new(127, 0, network, 1), 0).into()).unwrap();
        let mut tcp = socket.connect(self.address).await.unwrap();
        let _closed = tcp.write_all(bytes).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        tcp
    }

    fn blamed(&self, abuse: Abuse, network: u8) -> usize {
        let event = WireEvent::Abuse(abuse, IpAddr::V4(Ipv4Addr::new(127, 0, network, 1)));
        self.service.seen.borrow().iter().filter(|seen| **seen == event).count()
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const HELD: &[u8] = b"GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n";

async fn heard(tcp: &mut TcpStream) -> String {
    let mut answer = [0; 1024];
    let read = tcp.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

async fn is_answered(tcp: &mut TcpStream) -> bool {
    let _closed = tcp.write_all(GET).await;
    heard(tcp).await.starts_with("HTTP/1.1 204")
}

fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, scenario).await.expect("the scenario hangs")
    })
}

#[test]
fn heads_and_handshakes_that_were_begun_go_before_who_is_idle() {
    run(async {
        let node = Node::start(false).await;
        let mut idle = Vec::new();
        for network in 0..8 {
            let mut tcp = node.visit(network, GET).await;
            assert!(heard(&mut tcp).await.starts_with("HTTP/1.1 204"));
            idle.push(tcp);
        }
        node.pass_ms(2_000);
        let mut begun = Vec::new();
        while node.thread.open() < CONNECTIONS_MAX - 3 {
            let network = 10 + node.thread.open() as u8 % 8;
            begun.push(node.visit(network, b"GET / HTTP/1.1\r\nHost: a.exa").await);
        }
        node.pass_ms(1_000);
        for network in 100..108 {
            let mut newcomer = node.visit(network, b"").await;
            assert!(is_answered(&mut newcomer).await, "there is room for a newcomer from {network}");
            begun.push(newcomer);
        }
        for tcp in &mut idle {
            assert!(is_answered(tcp).await, "who was served before stays");
        }
        let is_shed = |event: &&WireEvent| matches!(event, WireEvent::Shed { .. });
        let shed = node.service.seen.borrow().iter().filter(is_shed).count();
        assert!(shed > 0);
    });
}

#[test]
fn a_network_that_holds_much_leaves_the_last_places_to_others() {
    run(async {
        let node = Node::start(false).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX - CONNECTIONS_MAX / RESERVED_SHARE {
            held.push(node.visit(1, HELD).await);
        }
        assert!(held.len() > HEAVY_LEAST && node.thread.open() == held.len());
        node.pass_ms(2_000);
        let mut refused = node.visit(1, b"").await;
        let told = heard(&mut refused).await;
        assert!(told.starts_with("HTTP/1.1 503") && told.contains("\r\nRetry-After: "), "{told:?}");
        assert_eq!(node.blamed(Abuse::ConnectionFlood, 1), 1);
        for network in 2..5 {
            let mut other = node.visit(network, b"").await;
            assert!(is_answered(&mut other).await, "another network comes in");
            held.push(other);
        }
        assert_eq!(node.blamed(Abuse::ConnectionFlood, 2), 0);
    });
}

#[test]
fn a_hello_that_does_not_end_is_given_up_and_counted() {
    run(async {
        let node = Node::start(true).await;
        let mut slow = node.visit(3, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await;
        assert_eq!(node.blamed(Abuse::SlowHandshake, 3), 0);
        node.pass_ms(HANDSHAKE_MS);
        assert_eq!(heard(&mut slow).await, "");
        assert_eq!((node.blamed(Abuse::SlowHandshake, 3), node.thread.open()), (1, 0));
    });
}

/// Settings of both ends of TLS; both speak HTTP/2 alone.
fn both_ends() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let certified = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let chain = vec![certified.cert.der().clone()];
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut server = server.with_single_cert(chain.clone(), key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider);
    let client = client.with_safe_default_protocol_versions().unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    (Arc::new(server), Arc::new(client))
}

fn session(client: &Arc<rustls::ClientConfig>) -> rustls::ClientConnection {
    rustls::ClientConnection::new(Arc::clone(client), "a.example".try_into().unwrap()).unwrap()
}

/// Completes the handshake and sends this; gives the first that is answered, or nothing if it is closed.
async fn speak(tcp: &mut TcpStream, session: &mut rustls::ClientConnection, bytes: &[u8]) -> Vec<u8> {
    session.writer().write_all(bytes).unwrap();
    loop {
        let mut sent = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut sent).unwrap();
        }
        tcp.write_all(&sent).await.unwrap();
        let mut read = [0; 16 * 1024];
        let count = tcp.read(&mut read).await.unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        session.read_tls(&mut &read[..count]).unwrap();
        let state = session.process_new_packets().unwrap();
        if state.plaintext_bytes_to_read() > 0 {
            let mut heard = vec![0; state.plaintext_bytes_to_read()];
            session.reader().read_exact(&mut heard).unwrap();
            return heard;
        }
    }
}

/// HTTP/2's preface and empty settings (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[test]
fn a_handshake_is_over_before_its_connection() {
    run(async {
        let (server, client) = both_ends();
        let node =
            Node::start_with(true, Empty { tls: Some(server), has_time: true, ..Empty::default() }).await;
        let mut tcp = node.visit(1, b"").await;
        assert_eq!((node.thread.open(), node.thread.handshakes()), (1, 1));
        let mut session = session(&client);
        let settings = speak(&mut tcp, &mut session, PREFACE).await;
        assert_eq!(settings.get(3), Some(&4), "a connection begins with settings: {settings:?}");
        assert_eq!((node.thread.open(), node.thread.handshakes()), (1, 0));
    });
}

#[test]
fn proxies_that_are_trusted_are_many_visitors_and_no_flood() {
    run(async {
        let (server, client) = both_ends();
        let proxy = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1)));
        let late = Node::start_with(true, Empty { tls: Some(server), proxy, ..Empty::default() }).await;
        let mut hello = Vec::new();
        session(&client).write_tls(&mut hello).unwrap();
        let mut stranger = late.visit(2, &hello).await;
        assert_eq!((heard(&mut stranger).await, late.blamed(Abuse::HandshakeFlood, 2)), (String::new(), 1));
        let mut tcp = late.visit(1, b"").await;
        let settings = speak(&mut tcp, &mut session(&client), PREFACE).await;
        assert_eq!(settings.get(3), Some(&4), "there is time for a proxy's handshakes: {settings:?}");

        let node = Node::start_with(false, Empty { proxy, ..Empty::default() }).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX - 2 {
            held.push(node.visit(1, HELD).await);
        }
        node.pass_ms(2_000);
        assert!(is_answered(&mut node.visit(1, b"").await).await, "the last places are a proxy's as well");
    });
}

#[test]
fn hellos_for_which_there_is_no_time_are_refused_before_anything_is_computed_for_them() {
    run(async {
        let (server, client) = both_ends();
        let node = Node::start_with(true, Empty { tls: Some(server), ..Empty::default() }).await;
        for number in 1..=20 {
            let mut hello = Vec::new();
            session(&client).write_tls(&mut hello).unwrap();
            let mut attacker = node.visit(7, &hello).await;
            assert_eq!(heard(&mut attacker).await, "", "it hears nothing of a handshake");
            assert_eq!(node.blamed(Abuse::HandshakeFlood, 7), number);
        }
        let is_of_a_handshake =
            |event: &WireEvent| matches!(event, WireEvent::Handshake(_) | WireEvent::HandshakeFailed);
        assert!(!node.service.seen.borrow().iter().any(is_of_a_handshake));
    });
}
