//! HTTP/2 towards visitors, where time matters: the h2 crate's client against `accept_tcp`. Time is moved by
//! hand, never waited for; what the protocol demands is shown by `tests/clients/http2_violations.py`.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Chunk, Deadlines, Incoming, Response, TICK_MS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::limits::HEAD_MS;
use wire::{Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

/// Bytes of the one answer, given in one piece.
const BODY_BYTES: usize = 64 * 1024;

/// How long a connection may be idle after an answer, as its zone says.
const BRIEF_MS: u32 = 1_000;

struct OnePiece;

impl Service for OnePiece {
    async fn serve(&self, exchange: &mut Exchange) {
        exchange.times.keepalive_ms = BRIEF_MS;
        let response =
            Response { status: 200, body: BodySize::of_length(BODY_BYTES as u64), ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            exchange.send(cx, Chunk::Shared(Bytes::from(vec![7; BODY_BYTES])), true);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

/// Reads a request's body once it may, as an origin does that takes its time, and says how much it was.
#[derive(Default)]
struct Slow {
    may_read: Cell<bool>,
    told: tokio::sync::Notify,
}

impl Service for Slow {
    async fn serve(&self, exchange: &mut Exchange) {
        while !self.may_read.get() {
            self.told.notified().await;
        }
        let (mut read, mut is_over) = (0, false);
        while !is_over {
            let piece = poll_fn(|cx| {
                wire::with_scratch(|scratch| {
                    let length = |incoming: Incoming<'_>| match incoming {
                        Incoming::Data(chunk) => (chunk.len(), false),
                        Incoming::Last(chunk) => (chunk.len(), true),
                        Incoming::Trailers(_) | Incoming::End => (0, true),
                    };
                    exchange.poll_body(cx, scratch).map(|polled| polled.map(length))
                })
            });
            let Ok((bytes, is_last)) = piece.await else { return };
            (read, is_over) = (read + bytes, is_last);
        }
        let text = Bytes::from(read.to_string());
        let body = BodySize::of_length(text.len() as u64);
        let response = Response { status: 200, body, ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            exchange.send(cx, Chunk::Shared(text.clone()), true);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

/// Answers with the status of what it was told to refuse, else with 200.
struct Status;

impl Service for Status {
    async fn serve(&self, exchange: &mut Exchange) {
        let status = exchange.refusal.map_or(200, exchange::Refusal::status);
        let response = Response { status, body: BodySize::None, ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

/// The status of a GET with one field.
async fn status(uri: &str, name: &str, value: &str) -> u16 {
    let (_deadlines, address) = node_of(Rc::new(Status)).await;
    let tcp = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::task::spawn_local(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::get(uri).header(name, value).body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    answer.await.unwrap().status().as_u16()
}

/// Starts a node; its deadlines and where it listens.
async fn node() -> (Rc<Deadlines>, SocketAddr) {
    node_of(Rc::new(OnePiece)).await
}

async fn node_of<S: Service + 'static>(service: Rc<S>) -> (Rc<Deadlines>, SocketAddr) {
    let deadlines = Deadlines::new();
    let thread = Thread::new(service, Rc::clone(&deadlines), 0, 10);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings =
        TcpListenerSettings { is_tls: false, allows_h2c: true, trusts_proxy: None, http3_port: None };
    tokio::task::spawn_local(accept_tcp(thread, listener, settings));
    (deadlines, address)
}

fn pass_ms(deadlines: &Deadlines, ms: u32) {
    for _ in 0..ms / TICK_MS {
        deadlines.sweep();
    }
}

/// A GET with windows of 16 KiB: what came by now, then whether more comes after `pauses` of 40 seconds with
/// one window read after each, if the visitor reads.
async fn read_with_pauses(pauses: usize, reads: bool) -> Result<usize, h2::Error> {
    let (deadlines, address) = node().await;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 * 1024);
    let tcp = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = builder.handshake::<_, Bytes>(tcp).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ended = connection.await;
    });
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::get("http://a.example/").body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let mut read = 0;
    let mut unreleased = 0;
    for pause in 0.. {
        while unreleased < 16 * 1024 && read < BODY_BYTES {
            let bytes = body.data().await.expect("more of the body")?;
            (read, unreleased) = (read + bytes.len(), unreleased + bytes.len());
        }
        if read == BODY_BYTES {
            return body.data().await.map_or(Ok(read), |more| more.map(|bytes| read + bytes.len()));
        }
        if pause < pauses {
            pass_ms(&deadlines, 40_000);
        }
        if reads || pause >= pauses {
            body.flow_control().release_capacity(unreleased).unwrap();
            unreleased = 0;
        }
    }
    unreachable!("the body ends");
}

fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, scenario).await.expect("the scenario hangs")
    })
}

/// RFC 9113 §8.3.1: compared after normalization by the scheme.
#[test]
fn a_host_field_names_the_authority_with_or_without_its_schemes_own_port() {
    run(async {
        for (uri, host, expected) in [
            ("http://p.test/", "p.test", 200),
            ("http://p.test/", "P.test:80", 200),
            ("http://p.test:80/", "p.test", 200),
            ("https://p.test/", "p.test:443", 200),
            ("http://p.test:8080/", "p.test:8080", 200),
            ("http://p.test/", "p.test:443", 400),
            ("https://p.test/", "p.test:80", 400),
            ("http://p.test:8080/", "p.test", 400),
            ("http://p.test/", "q.test", 400),
        ] {
            assert_eq!(status(uri, "host", host).await, expected, "{uri} {host}");
        }
    });
}

/// RFC 9110 §10.1.1; one that is not known is another matter.
#[test]
fn an_expectation_without_content_is_no_reason_to_refuse() {
    run(async {
        assert_eq!(status("http://p.test/", "expect", "100-continue").await, 200);
        assert_eq!(status("http://p.test/", "expect", "200-ok").await, 417);
    });
}

/// What speaks about one connection only, and is none of those that RFC 9113 §8.2.2 forbids.
#[test]
fn takes_fields_that_are_for_the_next_proxy_alone() {
    run(async {
        for name in ["proxy-authorization", "proxy-authenticate", "http2-settings"] {
            assert_eq!(status("http://p.test/", name, "Basic YTpi").await, 200, "{name}");
        }
    });
}

#[test]
fn the_rest_of_an_answer_may_take_long_if_it_moves() {
    assert_eq!(run(read_with_pauses(3, true)).unwrap(), BODY_BYTES);
}

#[test]
fn a_visitor_that_never_opens_its_window_is_given_up() {
    let reset = run(read_with_pauses(3, false)).unwrap_err();
    assert_eq!((reset.is_reset(), reset.reason()), (true, Some(h2::Reason::INTERNAL_ERROR)));
}

#[test]
fn the_zone_that_answered_last_says_how_long_a_connection_may_be_idle() {
    run(async {
        let (deadlines, address) = node().await;
        let tcp = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let ended = tokio::task::spawn_local(connection);
        let mut sender = sender.ready().await.unwrap();
        for _ in 0..2 {
            let request = http::Request::get("http://a.example/").body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            let mut body = answer.await.unwrap().into_body();
            let mut read = 0;
            while let Some(bytes) = body.data().await {
                read += bytes.unwrap().len();
                body.flow_control().release_capacity(read).unwrap_or_default();
            }
            assert_eq!(read, BODY_BYTES);
        }
        while !ended.is_finished() {
            tokio::task::yield_now().await;
            if deadlines.now() < 2 * BRIEF_MS.div_ceil(TICK_MS) + 5 {
                deadlines.sweep();
            }
        }
        assert!(ended.await.unwrap().is_ok(), "by GOAWAY, with nothing lost");
    });
}

#[test]
fn a_head_that_is_begun_must_end_in_time() {
    run(async {
        let (deadlines, address) = node().await;
        let mut visitor = TcpStream::connect(address).await.unwrap();
        // Preface, SETTINGS, and HEADERS of a stream without END_HEADERS.
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        visitor.write_all(preface).await.unwrap();
        let mut heard = vec![0; 9];
        visitor.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard[3], 4, "its SETTINGS");
        visitor.write_all(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82]).await.unwrap();
        let reading = tokio::task::spawn_local(async move {
            let mut all = Vec::new();
            visitor.read_to_end(&mut all).await.unwrap();
            all
        });
        while !reading.is_finished() {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            if deadlines.now() < 2 * HEAD_MS / TICK_MS {
                deadlines.sweep();
            }
        }
        let all = reading.await.unwrap();
        let goaway = all.windows(5).position(|bytes| bytes == [0, 0, 8, 7, 0]).expect("GOAWAY");
        assert_eq!(all[goaway + 13..goaway + 17], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");
        assert!(deadlines.now() <= HEAD_MS / TICK_MS + 40, "before the connection's idle time");
    });
}

/// As those of a call of gRPC are: who sends them faster than they are read is slowed down by the window, and
/// not ended as one who floods.
#[test]
fn small_messages_that_nobody_reads_yet_wait_in_the_window() {
    const MESSAGES: usize = 6_000;
    run(async {
        let service = Rc::new(Slow::default());
        let (_deadlines, address) = node_of(Rc::clone(&service)).await;
        let tcp = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let connection = tokio::task::spawn_local(connection);
        let mut sender = sender.ready().await.unwrap();
        let request = http::Request::post("http://a.example/").body(()).unwrap();
        let (answer, mut stream) = sender.send_request(request, false).unwrap();
        for number in 1..=MESSAGES {
            stream.send_data(Bytes::from_static(&[7; 40]), number == MESSAGES).unwrap();
        }
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
        assert!(!connection.is_finished(), "the connection goes on");
        service.may_read.set(true);
        service.told.notify_one();
        let mut body = answer.await.expect("an answer").into_body();
        let text = body.data().await.expect("its body").unwrap();
        assert_eq!(text, Bytes::from((40 * MESSAGES).to_string()));
    });
}
