//! What the tests share: pools, raw origins, and a caller that drives a link as `edge` does.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use exchange::{BodySize, Chunk, Deadlines, Fault, Incoming, Request, Response};
use origin::{Chosen, Fleet, FleetSettings, Link, Origins, Wanted};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zone::{OriginProtocol, OriginScheme, Pool};

/// Runs a test on a task set of its own.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

/// An origin's settings for an address.
pub(crate) fn at(scheme: OriginScheme, host: &str, port: u16, protocol: OriginProtocol) -> zone::Origin {
    zone::Origin {
        id: zone::Id::derived("origin", host, &port.to_string()),
        url: format!("{scheme}://{host}:{port}"),
        scheme,
        host: host.to_owned(),
        port,
        authority: format!("{host}:{port}"),
        weight: 1,
        is_draining: false,
        is_backup: false,
        protocol,
    }
}

/// A pool of these origins; tests change what they need.
pub(crate) fn pool(origins: Vec<zone::Origin>) -> Pool {
    Pool {
        id: zone::Id::derived("pool", "test", "app"),
        name: "app".to_owned(),
        origins,
        balance: zone::Balance::RoundRobin,
        health: None,
        ejection: zone::Ejection {
            consecutive_failures: 0,
            base_ms: 10_000,
            max_percent: 50,
            circuit_percent: 50,
        },
        slow_start_ms: 0,
        sticky: None,
        backup: None,
        timeouts: zone::Timeouts {
            connect_ms: 10_000,
            tls_ms: 10_000,
            first_byte_ms: 60_000,
            idle_ms: 60_000,
            min_rate_bytes_per_s: 0,
        },
        retries: zone::Retries { max: 2, budget_percent: 20 },
        max_connections: None,
        max_requests: None,
        is_adaptive: true,
        queue: zone::Queue { places: 4, wait_ms: 1_000 },
        keepalive_ms: 60_000,
        protocol: OriginProtocol::Http1,
        proxy_protocol: None,
        host: zone::HostHeader::Keep,
        tls: zone::OriginTls { verify: true, ca: None, certificate: None, sni: None },
    }
}

/// A pool of one cleartext HTTP/1.1 origin.
pub(crate) fn plain(address: SocketAddr) -> Pool {
    let host = address.ip().to_string();
    pool(vec![at(OriginScheme::Http, &host, address.port(), OriginProtocol::Http1)])
}

/// A node with one thread.
pub(crate) struct Node {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) origins: Rc<Origins>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) now_ms: Cell<u64>,
}

impl Node {
    pub(crate) fn new(pool: Pool) -> Self {
        Self::with_fleet(Fleet::new(FleetSettings::default()), pool)
    }

    pub(crate) fn with_fleet(fleet: Arc<Fleet>, pool: Pool) -> Self {
        let pool = Arc::new(pool);
        fleet.apply_pools([&pool].into_iter(), 1000);
        Self::thread(fleet, pool, 1)
    }

    /// Another thread of the same node (on the test's own thread).
    pub(crate) fn thread(fleet: Arc<Fleet>, pool: Arc<Pool>, seed: u64) -> Self {
        let deadlines = Deadlines::new();
        let origins = Origins::new(Arc::clone(&fleet), Rc::clone(&deadlines), seed);
        Self { fleet, origins, pool, deadlines, now_ms: Cell::new(1000) }
    }

    pub(crate) fn choose(&self) -> Chosen {
        self.origins.choose(&wanted(&self.pool), self.now_ms.get()).expect("the pool has origins")
    }

    pub(crate) fn try_choose(&self) -> Result<Chosen, Fault> {
        self.origins.choose(&wanted(&self.pool), self.now_ms.get())
    }

    pub(crate) fn tick(&self, ms: u64) {
        self.now_ms.set(self.now_ms.get() + ms);
        self.origins.tick(self.now_ms.get());
    }

    pub(crate) async fn open(&self, chosen: &Chosen) -> Result<Link, Fault> {
        let visitor = "192.0.2.1:4000".parse().expect("an address");
        let local = "198.51.100.2:443".parse().expect("an address");
        self.origins.open(chosen, true, visitor, local).await
    }

    /// For a request that must not be sent twice: on a connection of its own.
    pub(crate) async fn open_new(&self, chosen: &Chosen) -> Result<Link, Fault> {
        let nobody = "192.0.2.1:4000".parse().expect("an address");
        self.origins.open(chosen, false, nobody, nobody).await
    }

    /// One whole exchange, retried once where the link says it may be.
    pub(crate) async fn fetch(&self, request: &Request, body: &[u8]) -> Result<Answer, Fault> {
        let chosen = self.choose();
        let mut retried = 0;
        loop {
            let mut link = self.open(&chosen).await?;
            match exchange(&mut link, request, body, 64 * 1024).await {
                Ok(mut answer) => {
                    (answer.was_reused, answer.retried) = (link.is_reused(), retried);
                    link.finish();
                    return Ok(answer);
                }
                Err(_) if link.may_retry() && retried < 3 => retried += 1,
                Err(fault) => return Err(fault),
            }
        }
    }

    pub(crate) fn report(&self) -> origin::OriginReport {
        self.fleet.pool_states(self.now_ms.get()).remove(0).origins.remove(0)
    }
}

pub(crate) fn wanted(pool: &Arc<Pool>) -> Wanted<'_> {
    Wanted { pool, hash_key: 0, sticky: None, tried: &[], needs_http1: false }
}

pub(crate) fn request(method: &str, target: &str) -> Request {
    let mut request = Request::default();
    request.set_method(method.as_bytes());
    request.set_authority(b"example.org");
    request.set_target(target.as_bytes());
    request.fields.push(b"Host", b"example.org");
    request
}

pub(crate) fn upload(size: BodySize) -> Request {
    let mut request = request("POST", "/upload");
    request.body = size;
    request
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) interim: Vec<u16>,
    pub(crate) head: Response,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) was_reused: bool,
    pub(crate) retried: u32,
    /// Pieces that the body came in.
    pub(crate) pieces: usize,
}

/// Drives a link as `edge` does: sends while it asks for the head, then reads.
pub(crate) async fn exchange(
    link: &mut Link,
    request: &Request,
    body: &[u8],
    scratch_bytes: usize,
) -> Result<Answer, Fault> {
    link.begin(request, b"example.org")?;
    let mut left = (request.body != BodySize::None).then_some(body);
    let mut answer = Answer::default();
    let mut scratch = vec![0; scratch_bytes];
    loop {
        poll_fn(|cx| {
            push(link, cx, &mut left)?;
            link.poll_head(cx, &mut answer.head)
        })
        .await?;
        if !answer.head.is_informational() {
            break;
        }
        answer.interim.push(answer.head.status);
    }
    loop {
        let is_end = poll_fn(|cx| {
            push(link, cx, &mut left)?;
            let Poll::Ready(incoming) = link.poll_body(cx, &mut scratch)? else { return Poll::Pending };
            answer.pieces += 1;
            Poll::Ready(Ok(match incoming {
                Incoming::Data(chunk) => {
                    answer.body.extend_from_slice(chunk.as_slice());
                    false
                }
                Incoming::Last(chunk) => {
                    answer.body.extend_from_slice(chunk.as_slice());
                    true
                }
                Incoming::Trailers(fields) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    answer.trailers = fields.iter().map(|f| (text(f.name), text(f.value))).collect();
                    true
                }
                Incoming::End => true,
            }))
        })
        .await?;
        if is_end {
            return Ok(answer);
        }
    }
}

fn push(link: &mut Link, cx: &mut std::task::Context<'_>, left: &mut Option<&[u8]>) -> Result<(), Fault> {
    while let Some(bytes) = left {
        if link.request_is_refused() {
            *left = None;
            break;
        }
        if link.poll_ready(cx)?.is_pending() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(16 * 1024));
        link.send(cx, Chunk::Borrowed(piece), rest.is_empty())?;
        *left = (!rest.is_empty()).then_some(rest);
    }
    Ok(())
}

/// The origin's end of a connection.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    pub(crate) held: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, held: Vec::new() }
    }

    /// Reads up to and with `end`; less if the connection ends before.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = memchr_find(&self.held, end) {
                let rest = self.held.split_off(at + end.len());
                return std::mem::replace(&mut self.held, rest);
            }
            if self.stream.read_buf(&mut self.held).await.unwrap_or(0) == 0 {
                return std::mem::take(&mut self.held);
            }
        }
    }

    /// Reads a head; empty at the end of the connection.
    pub(crate) async fn head(&mut self) -> String {
        String::from_utf8(self.until(b"\r\n\r\n").await).expect("a head is text")
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.held.len() < count {
            if self.stream.read_buf(&mut self.held).await.unwrap_or(0) == 0 {
                break;
            }
        }
        let rest = self.held.split_off(count.min(self.held.len()));
        std::mem::replace(&mut self.held, rest)
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the peer still reads");
        self.stream.flush().await.expect("the peer still reads");
    }
}

fn memchr_find(held: &[u8], end: &[u8]) -> Option<usize> {
    held.windows(end.len()).position(|window| window == end)
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// Serves every connection of a new listener with `serve`, told its number from 0.
pub(crate) async fn origin<F>(serve: impl Fn(Peer, usize) -> F + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let (listener, address) = listen().await;
    tokio::task::spawn_local(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::task::spawn_local(serve(Peer::new(stream), number));
        }
    });
    address
}

/// Answers each request on a connection with `answer(number of the request, its head)`.
pub(crate) async fn answering(answer: fn(usize, &str) -> Vec<u8>) -> SocketAddr {
    origin(move |mut peer, _| async move {
        for number in 0.. {
            let head = peer.head().await;
            if head.is_empty() {
                return;
            }
            peer.write(answer(number, &head)).await;
        }
    })
    .await
}

/// Lets every task that can run do so, some times over.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Sweeps the node's deadlines until `work` is done.
pub(crate) async fn while_time_flies<T>(deadlines: &Deadlines, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        deadlines.sweep();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
