//! The node under test: `accept_quic` and a service that answers by path.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use exchange::{
    BodySize, Chunk, Deadlines, Fields, Holder, Incoming, Known, Method, Response, TICK_MS, Upgrade,
};
use wire::{Abuse, Exchange, Gone, Hello, QuicListenerSettings, Service, Thread, TlsChoice, WireEvent};

/// How long a connection may be idle after `/brief`.
pub(super) const BRIEF_MS: u32 = 1_000;

/// What the service saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) events: Vec<WireEvent>,
    /// How requests ended, in words.
    pub(super) notes: Vec<String>,
}

pub(super) struct Site {
    pub(super) seen: RefCell<Seen>,
    pub(super) noted: tokio::sync::Notify,
    /// There is no time for handshakes.
    pub(super) is_late: Cell<bool>,
}

/// For whom the places are held of visitors whose handshake named the site.
pub(super) const NAMED: u64 = 1;

/// For whom those are held who asked for `/other` last.
pub(super) const OTHER: u64 = 2;

/// A piece of a body, owned.
pub(super) enum Piece {
    Data(Bytes),
    Last(Bytes),
    Trailers(Fields),
    End,
}

pub(super) async fn read(exchange: &mut Exchange) -> Result<Piece, Gone> {
    poll_fn(|cx| {
        wire::with_scratch(|scratch| {
            exchange.poll_body(cx, scratch).map(|polled| {
                polled.map(|incoming| match incoming {
                    Incoming::Data(chunk) => Piece::Data(chunk.into_shared()),
                    Incoming::Last(chunk) => Piece::Last(chunk.into_shared()),
                    Incoming::Trailers(fields) => Piece::Trailers(*fields),
                    Incoming::End => Piece::End,
                })
            })
        })
    })
    .await
}

async fn give(exchange: &mut Exchange, bytes: Bytes, is_last: bool) -> Result<(), Gone> {
    poll_fn(|cx| exchange.poll_ready(cx)).await?;
    poll_fn(|cx| {
        exchange.send(cx, Chunk::Shared(bytes.clone()), is_last);
        std::task::Poll::Ready(())
    })
    .await;
    Ok(())
}

async fn head(exchange: &mut Exchange, response: &Response) {
    poll_fn(|cx| {
        exchange.respond(cx, response);
        std::task::Poll::Ready(())
    })
    .await;
}

pub(super) fn response(status: u16, body: BodySize) -> Response {
    Response { status, body, ..Response::default() }
}

async fn text(exchange: &mut Exchange, status: u16, text: String) -> Result<(), Gone> {
    let mut response = response(status, BodySize::of_length(text.len() as u64));
    response.fields.push(b"Content-Type", b"text/plain");
    head(exchange, &response).await;
    if text.is_empty() { Ok(()) } else { give(exchange, Bytes::from(text), true).await }
}

/// A mebibyte that repeats with a period no packet or window shares.
pub(super) fn mebibyte() -> Bytes {
    (0..1 << 20).map(|at: u32| (at % 251) as u8).collect()
}

impl Site {
    pub(super) fn note(&self, note: String) {
        self.seen.borrow_mut().notes.push(note);
        self.noted.notify_one();
    }

    async fn answer(&self, exchange: &mut Exchange) -> Result<(), Gone> {
        if let Some(refusal) = exchange.refusal {
            self.note(format!("{}: {}", refusal.as_str(), exchange.refusal_reason));
            return text(exchange, refusal.status(), refusal.as_str().to_owned()).await;
        }
        if exchange.request.upgrade == Upgrade::Extended {
            return tunnel(exchange).await;
        }
        let path = String::from_utf8_lossy(exchange.request.path()).into_owned();
        let is_head = exchange.request.method == Method::Head;
        match path.as_str() {
            "/hello" if is_head => {
                let mut response = response(200, BodySize::None);
                response.declared_length = Some(5);
                head(exchange, &response).await;
                Ok(())
            }
            "/other" => {
                exchange.hold_for(Holder { key: OTHER, weight: 1 });
                text(exchange, 200, "hello".to_owned()).await
            }
            "/brief" => {
                exchange.times.keepalive_ms = BRIEF_MS;
                text(exchange, 200, "hello".to_owned()).await
            }
            "/hello" => text(exchange, 200, "hello".to_owned()).await,
            "/request" => {
                let request = &exchange.request;
                let fields: Vec<_> = request.fields.iter().map(|f| (lossy(f.name), lossy(f.value))).collect();
                let said = format!(
                    "{:?} {} {} {} {} {:?} {fields:?}",
                    request.version,
                    request.scheme.as_str(),
                    lossy(request.method_token()),
                    lossy(request.authority()),
                    lossy(request.target()),
                    request.body,
                );
                text(exchange, 200, said).await
            }
            "/facts" => {
                let said = format!("{:?}", exchange.connection);
                text(exchange, 200, said).await
            }
            "/visitor" => {
                let said = exchange.connection.visitor.to_string();
                text(exchange, 200, said).await
            }
            "/echo" => echo(exchange).await,
            "/count" => {
                let mut bytes = 0;
                loop {
                    match read(exchange).await? {
                        Piece::Data(piece) => bytes += piece.len(),
                        Piece::Last(piece) => {
                            bytes += piece.len();
                            break;
                        }
                        Piece::Trailers(_) | Piece::End => break,
                    }
                }
                text(exchange, 200, bytes.to_string()).await
            }
            // Answers once it has read the body, and in words too where that is malformed, as `edge` does.
            "/told" => loop {
                match read(exchange).await {
                    Ok(Piece::Data(_)) => {}
                    Ok(Piece::Last(_) | Piece::Trailers(_) | Piece::End) => {
                        return text(exchange, 200, "whole".to_owned()).await;
                    }
                    Err(Gone::Malformed(refusal)) => {
                        self.note(refusal.as_str().to_owned());
                        return text(exchange, refusal.status(), refusal.as_str().to_owned()).await;
                    }
                    Err(gone) => return Err(gone),
                }
            },
            "/mebibyte" => {
                let body = mebibyte();
                head(exchange, &response(200, BodySize::Length(body.len() as u64))).await;
                give(exchange, body, true).await
            }
            "/parts" => {
                // More than any window holds, in pieces.
                let body = mebibyte();
                head(exchange, &response(200, BodySize::Unknown)).await;
                for part in 0..8 {
                    give(exchange, body.clone(), part == 7).await?;
                    self.note(format!("gave part {part}"));
                }
                Ok(())
            }
            "/hints" => {
                let mut hints = response(103, BodySize::None);
                hints.fields.push(b"Link", b"</s.css>; rel=preload");
                poll_fn(|cx| {
                    exchange.inform(cx, &hints);
                    std::task::Poll::Ready(())
                })
                .await;
                text(exchange, 200, "hinted".to_owned()).await
            }
            "/trailers" => {
                head(exchange, &response(200, BodySize::Unknown)).await;
                give(exchange, Bytes::from_static(b"body"), false).await?;
                let mut trailers = Fields::new();
                trailers.push(b"X-Checksum", b"42");
                poll_fn(|cx| exchange.poll_ready(cx)).await?;
                poll_fn(|cx| {
                    exchange.send_trailers(cx, &trailers);
                    std::task::Poll::Ready(())
                })
                .await;
                Ok(())
            }
            "/abort" => {
                head(exchange, &response(200, BodySize::Unknown)).await;
                give(exchange, Bytes::from_static(b"part"), false).await?;
                exchange.abort();
                Ok(())
            }
            "/short" => {
                head(exchange, &response(200, BodySize::Length(10))).await;
                give(exchange, Bytes::from_static(b"five!"), true).await
            }
            "/silent" => Ok(()),
            "/panic" => panic!("a service that panics"),
            "/hop" => {
                let mut response = response(200, BodySize::None);
                response.fields.push(b"Connection", b"close");
                response.fields.push(b"Transfer-Encoding", b"chunked");
                response.fields.push(b"X-UPPER", b"kept");
                response.fields.push(b"Date", b"Thu, 01 Jan 2026 00:00:00 GMT");
                head(exchange, &response).await;
                Ok(())
            }
            "/gone" => {
                self.note("waits".to_owned());
                let gone = poll_fn(|cx| exchange.poll_gone(cx)).await;
                Err(gone)
            }
            "/slow-head" => {
                head(exchange, &response(200, BodySize::Unknown)).await;
                poll_fn(|cx| exchange.poll_ready(cx)).await?;
                self.note("waits".to_owned());
                let gone = poll_fn(|cx| exchange.poll_gone(cx)).await;
                Err(gone)
            }
            _ => text(exchange, 404, String::new()).await,
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn echo(exchange: &mut Exchange) -> Result<(), Gone> {
    let mut answer = response(200, BodySize::Unknown);
    if let Some(kind) = exchange.request.fields.known(Known::ContentType) {
        answer.fields.push(b"Content-Type", kind);
    }
    head(exchange, &answer).await;
    loop {
        match read(exchange).await? {
            Piece::Data(piece) => give(exchange, piece, false).await?,
            Piece::Last(piece) => return give(exchange, piece, true).await,
            Piece::End => return give(exchange, Bytes::new(), true).await,
            Piece::Trailers(trailers) => {
                poll_fn(|cx| exchange.poll_ready(cx)).await?;
                poll_fn(|cx| {
                    exchange.send_trailers(cx, &trailers);
                    std::task::Poll::Ready(())
                })
                .await;
                return Ok(());
            }
        }
    }
}

async fn tunnel(exchange: &mut Exchange) -> Result<(), Gone> {
    let mut answer = response(200, BodySize::None);
    let protocol = exchange.request.protocol().to_vec();
    answer.fields.push(b"X-Protocol", &protocol);
    head(exchange, &answer).await;
    loop {
        match read(exchange).await? {
            Piece::Data(piece) => give(exchange, piece, false).await?,
            Piece::Last(piece) => return give(exchange, piece, true).await,
            Piece::End | Piece::Trailers(_) => return give(exchange, Bytes::new(), true).await,
        }
    }
}

impl Service for Site {
    async fn serve(&self, exchange: &mut Exchange) {
        if let Err(gone) = self.answer(exchange).await {
            self.note(format!("{gone:?}"));
            exchange.abort();
        }
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn holder(&self, server_name: Option<&str>) -> Holder {
        let is_named = server_name == Some("example.org");
        if is_named { Holder { key: NAMED, weight: 1 } } else { Holder::NOBODY }
    }

    fn may_shake(&self, _visitor: IpAddr) -> bool {
        !self.is_late.get()
    }

    fn count(&self, event: WireEvent) {
        self.seen.borrow_mut().events.push(event);
        self.noted.notify_one();
    }
}

/// A node that listens.
pub(super) struct Node {
    pub(super) thread: Rc<Thread<Site>>,
    pub(super) address: SocketAddr,
    pub(super) root: rustls::pki_types::CertificateDer<'static>,
    pub(super) accepting: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Starts one on a port of the system's choice.
    pub(super) fn start() -> Self {
        Self::start_with(1000)
    }

    /// The same, for this many connections.
    pub(super) fn start_with(connections_max: usize) -> Self {
        Self::start_on(std::net::UdpSocket::bind("127.0.0.1:0").unwrap(), connections_max)
    }

    /// The same, on this socket.
    pub(super) fn start_on(socket: std::net::UdpSocket, connections_max: usize) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["example.org".to_owned()]).unwrap();
        let root = certified.cert.der().clone();
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![root.clone()], key)
            .unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let site = Rc::new(Site {
            seen: RefCell::default(),
            noted: tokio::sync::Notify::new(),
            is_late: Cell::default(),
        });
        let thread = Thread::new(site, Deadlines::new(), 0, connections_max);
        let address = socket.local_addr().unwrap();
        let settings = QuicListenerSettings {
            tls: Arc::new(tls),
            slot: 0,
            slots: 1,
            reset_key: [7; 64],
            token_key: [8; 32],
            token_time: Arc::new(|| 1_764_000_000_000_000),
        };
        let accepting = tokio::task::spawn_local(wire::accept_quic(Rc::clone(&thread), socket, settings));
        Self { thread, address, root, accepting }
    }

    /// Lets this much time pass for deadlines.
    pub(super) fn pass_ms(&self, ms: u32) {
        for _ in 0..ms.div_ceil(TICK_MS) + 2 {
            self.thread.deadlines.sweep();
        }
    }

    /// Lets one tick pass.
    pub(super) fn pass_tick(&self) {
        self.thread.deadlines.sweep();
    }

    /// Lets every task do what it can, packets on their way included.
    pub(super) async fn settle(&self) {
        for _ in 0..500 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until what was seen fulfils a condition.
    pub(super) async fn until(&self, is_so: impl Fn(&Seen) -> bool) {
        while !is_so(&self.thread.service.seen.borrow()) {
            self.thread.service.noted.notified().await;
        }
    }

    /// Waits until the service has noted this.
    pub(super) async fn until_noted(&self, note: &str) {
        self.until(|seen| seen.notes.iter().any(|noted| noted.starts_with(note))).await;
    }

    /// How often a visitor was ended, refused or asked for more because of this.
    pub(super) fn blamed(&self, abuse: Abuse) -> usize {
        self.count(WireEvent::Abuse(abuse, self.address.ip()))
    }

    /// How often the event was counted.
    pub(super) fn count(&self, event: WireEvent) -> usize {
        self.thread.service.seen.borrow().events.iter().filter(|seen| **seen == event).count()
    }
}
