//! Exchanges over HTTP/2, with servers made of the h2 crate.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Chunk, Fault, Incoming, Upgrade};
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request as Head, Response as Answer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use zone::{OriginProtocol, OriginScheme, Pool};

use crate::rig::{Node, at, exchange, listen, pool, request, run, settle, upload};
use crate::tls::{Authority, serving_with};

type Asked = (Head<RecvStream>, SendResponse<Bytes>);

/// Serves every connection with `serve` per stream; counts connections.
async fn serving<F>(
    settings: impl Fn(&mut h2::server::Builder) + 'static,
    serve: impl Fn(Asked) -> F + 'static,
) -> (u16, Rc<Cell<usize>>)
where
    F: Future<Output = ()> + 'static,
{
    let (listener, address) = listen().await;
    let (count, serve) = (Rc::new(Cell::new(0)), Rc::new(serve));
    let counted = Rc::clone(&count);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.set(counted.get() + 1);
            stream.set_nodelay(true).expect("a TCP socket"); // or each window waits 40 ms for an ACK
            let mut builder = h2::server::Builder::new();
            settings(&mut builder);
            tokio::task::spawn_local(serve_on(stream, builder, Rc::clone(&serve)));
        }
    });
    (address.port(), count)
}

async fn serve_on<S, F>(stream: S, builder: h2::server::Builder, serve: Rc<impl Fn(Asked) -> F + 'static>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Future<Output = ()> + 'static,
{
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok(asked)) = connection.accept().await {
        tokio::task::spawn_local(serve(asked));
    }
}

fn clear(port: u16) -> Pool {
    pool(vec![at(OriginScheme::Http, "127.0.0.1", port, OriginProtocol::Http2)])
}

fn ok() -> Answer<()> {
    Answer::new(())
}

async fn hello((_, mut respond): Asked) {
    let mut stream = respond.send_response(ok(), false).expect("it is open");
    stream.send_data(Bytes::from_static(b"hello"), true).expect("it is open");
}

/// The bodies of so many exchanges, all begun before any is done.
async fn burst(node: &Node, count: usize) -> Vec<Vec<u8>> {
    let asked = request("GET", "/");
    let mut set: Vec<_> = (0..count).map(|_| Box::pin(node.fetch(&asked, b""))).collect();
    let mut bodies = Vec::new();
    poll_fn(|cx| {
        set.retain_mut(|one| match one.as_mut().poll(cx) {
            Poll::Ready(answer) => {
                bodies.push(answer.expect("an answer").body);
                false
            }
            Poll::Pending => true,
        });
        if set.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    bodies
}

#[test]
fn exchanges_share_a_connection() {
    run(async {
        let (port, connections) = serving(|_| {}, hello).await;
        let node = Node::new(clear(port));
        let answers = burst(&node, 20).await;
        assert!(answers.iter().all(|body| body == b"hello"));
        assert_eq!((answers.len(), connections.get(), node.report().in_flight), (20, 1, 0));
    });
}

#[test]
fn more_connections_are_opened_when_one_is_full() {
    run(async {
        let (port, connections) = serving(|builder| _ = builder.max_concurrent_streams(2), hello).await;
        let node = Node::new(clear(port));
        let first = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!(first.body, b"hello");
        settle().await; // its settings have come
        let chosen = node.choose();
        let mut links = Vec::new();
        for _ in 0..5 {
            links.push(node.open(&chosen).await.expect("a stream"));
            settle().await;
        }
        assert_eq!(connections.get(), 3);
        for link in &mut links {
            let answer = exchange(link, &request("GET", "/"), b"", 1024).await.expect("an answer");
            assert_eq!(answer.body, b"hello");
        }
    });
}

#[test]
fn a_call_streams_both_ways_with_trailers() {
    run(async {
        // As gRPC does: every message is answered before the next is sent.
        let (port, _) = serving(
            |_| {},
            |(head, mut respond)| async move {
                assert_eq!(head.headers().get("te").map(HeaderValue::as_bytes), Some(&b"trailers"[..]));
                assert_eq!(head.uri().path(), "/upload");
                let mut body = head.into_body();
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                while let Some(piece) = body.data().await {
                    let piece = piece.expect("a piece");
                    body.flow_control().release_capacity(piece.len()).expect("it was taken");
                    stream.send_data(piece, false).expect("it is open");
                }
                let asked = body.trailers().await.expect("trailers").expect("they were sent");
                assert_eq!(asked.get("x-sum").map(HeaderValue::as_bytes), Some(&b"9"[..]));
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                stream.send_trailers(trailers).expect("it is open");
            },
        )
        .await;
        let node = Node::new(clear(port));
        let mut asked = upload(BodySize::Unknown);
        asked.fields.push(b"TE", b"trailers");
        asked.accepts_trailers = true;
        let mut link = node.open(&node.choose()).await.expect("a stream");
        let mut head = exchange::Response::default();
        link.begin(&asked, b"example.org").expect("it can be sent");
        poll_fn(|cx| link.poll_head(cx, &mut head)).await.expect("a head before any body");
        assert_eq!((head.status, head.body), (200, BodySize::Unknown));
        for number in 0..20_u8 {
            poll_fn(|cx| link.poll_ready(cx)).await.expect("it is open");
            poll_fn(|cx| Poll::Ready(link.send(cx, Chunk::Borrowed(&[number; 100]), false)))
                .await
                .expect("sent");
            poll_fn(|cx| {
                link.poll_body(cx, &mut []).map(|incoming| match incoming.expect("an echo") {
                    Incoming::Data(chunk) => assert_eq!(chunk.as_slice(), [number; 100]),
                    other => panic!("{other:?} in the middle"),
                })
            })
            .await;
        }
        let mut trailers = exchange::Fields::new();
        trailers.push(b"X-Sum", b"9");
        poll_fn(|cx| Poll::Ready(link.send_trailers(cx, &trailers))).await.expect("sent");
        let end = poll_fn(|cx| link.poll_body(cx, &mut []).map(|end| format!("{end:?}"))).await;
        assert!(end.contains("Trailers"), "{end}");
    });
}

/// RFC 9110 §6.5.1: what frames, routes or authorizes is not said after the content.
#[test]
fn trailers_carry_nothing_that_must_be_known_before() {
    run(async {
        let (port, _) = serving(
            |_| {},
            |(_, mut respond)| async move {
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                stream.send_data(Bytes::from_static(b"hello"), false).expect("it is open");
                let mut trailers = HeaderMap::new();
                for name in [
                    "content-length",
                    "content_length",
                    "host",
                    "set-cookie",
                    "x-forwarded-for",
                    "authorization",
                    "cache-control",
                    "via",
                    "proxy-authenticate",
                    "grpc-status",
                ] {
                    trailers.insert(http::HeaderName::from_static(name), HeaderValue::from_static("5"));
                }
                stream.send_trailers(trailers).expect("it is open");
            },
        )
        .await;
        let node = Node::new(clear(port));
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!(answer.body, b"hello");
        assert_eq!(answer.trailers, [("grpc-status".to_owned(), "5".to_owned())]);
    });
}

/// RFC 9113 §8.6: HTTP/2 has no 101.
#[test]
fn an_answer_of_101_is_a_fault_whatever_was_asked() {
    run(async {
        let (port, _) = serving(
            |builder| _ = builder.enable_connect_protocol(),
            |(_, mut respond)| async move {
                let head = Answer::builder().status(101).body(()).expect("a head");
                respond.send_informational(head).expect("it is open");
                settle().await;
                // The visitor has given the stream up already, or is told that it should have.
                let _ = respond.send_response(ok(), true);
            },
        )
        .await;
        let node = Node::new(clear(port));
        let wanted = origin::Wanted { needs_http1: true, ..crate::rig::wanted(&node.pool) };
        let chosen = node.origins.choose(&wanted, 1000).expect("the pool has origins");
        let mut upgrading = request("GET", "/ws");
        upgrading.upgrade = Upgrade::Http1;
        upgrading.set_protocol(b"websocket");
        upgrading.fields.push(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");
        for asked in [request("GET", "/"), upgrading] {
            let mut link = node.open(&chosen).await.expect("a stream");
            let fault = exchange(&mut link, &asked, b"", 1024).await.err();
            assert_eq!(fault, Some(Fault::HttpProtocolError));
        }
    });
}

#[test]
fn interim_answers_come_first() {
    run(async {
        let (port, _) = serving(
            |_| {},
            |(_, mut respond)| async move {
                for status in [100, 103] {
                    let head = Answer::builder().status(status).body(()).expect("a head");
                    respond.send_informational(head).expect("it is open");
                    settle().await;
                }
                respond.send_response(ok(), true).expect("it is open");
            },
        )
        .await;
        let node = Node::new(clear(port));
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!((answer.interim.as_slice(), answer.head.status), (&[100, 103][..], 200));
        assert_eq!(answer.head.body, BodySize::None);
    });
}

#[test]
fn ten_megabytes_pass_both_ways_in_windows() {
    const SIZE: usize = 10 * 1024 * 1024;
    run(async {
        let (port, _) = serving(
            |builder| _ = builder.initial_window_size(20_000).initial_connection_window_size(70_000),
            |(head, mut respond)| async move {
                let mut body = head.into_body();
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                while let Some(piece) = body.data().await {
                    let mut piece = piece.expect("a piece");
                    body.flow_control().release_capacity(piece.len()).expect("it was taken");
                    while !piece.is_empty() {
                        stream.reserve_capacity(piece.len());
                        let room = poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("open");
                        stream.send_data(piece.split_to(room.min(piece.len())), false).expect("open");
                    }
                }
                stream.send_data(Bytes::new(), true).expect("it is open");
            },
        )
        .await;
        let node = Node::new(clear(port));
        let body: Vec<u8> = (0..SIZE).map(|at| ((at * 31) >> 7) as u8).collect();
        let answer = node.fetch(&upload(BodySize::Length(SIZE as u64)), &body).await.expect("an echo");
        assert!(answer.body == body);
    });
}

#[test]
fn what_was_not_worked_on_may_be_sent_again() {
    run(async {
        let refusals = Rc::new(Cell::new(2));
        let left = Rc::clone(&refusals);
        let (port, _) = serving(
            |_| {},
            move |(_, mut respond)| {
                let left = Rc::clone(&left);
                async move {
                    if left.get() > 0 {
                        left.set(left.get() - 1);
                        return respond.send_reset(Reason::REFUSED_STREAM);
                    }
                    respond.send_response(ok(), true).expect("it is open");
                }
            },
        )
        .await;
        let node = Node::new(clear(port));
        let answer = node.fetch(&request("POST", "/"), b"").await.expect("an answer after retries");
        assert_eq!((answer.head.status, answer.retried), (200, 2));
        refusals.set(1);
        let mut link = node.open(&node.choose()).await.expect("a stream");
        let fault = exchange(&mut link, &request("POST", "/"), b"", 1024).await.err();
        assert_eq!(fault, Some(Fault::ConnectionTerminated));
        assert!(link.was_not_worked_on());
        assert!(
            link.is_reused() && !link.was_stale(),
            "the connection goes on: the origin sends requests away"
        );
    });
}

#[test]
fn after_goaway_the_next_exchange_has_a_new_connection() {
    run(async {
        let (listener, address) = listen().await;
        let node = Node::new(clear(address.port()));
        let served = async {
            for _ in 0..3 {
                let (stream, _) = listener.accept().await.expect("a connection");
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                let asked = connection.accept().await.expect("a stream").expect("a request");
                hello(asked).await;
                connection.graceful_shutdown();
                while connection.accept().await.is_some() {}
            }
        };
        let asked = async {
            for _ in 0..3 {
                let answer = node.fetch(&request("GET", "/"), b"").await.expect("no request is lost");
                assert_eq!(answer.body, b"hello");
                settle().await;
            }
        };
        tokio::join!(served, asked);
        assert_eq!(node.report().opened, 3);
    });
}

#[test]
fn a_reset_in_the_middle_is_an_incomplete_answer() {
    run(async {
        let (port, _) = serving(
            |_| {},
            |(_, mut respond)| async move {
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                stream.send_data(Bytes::from_static(b"half"), false).expect("it is open");
                settle().await;
                stream.send_reset(Reason::INTERNAL_ERROR);
            },
        )
        .await;
        let node = Node::new(clear(port));
        let mut link = node.open(&node.choose()).await.expect("a stream");
        let fault = exchange(&mut link, &request("GET", "/"), b"", 1024).await.err();
        assert_eq!(fault, Some(Fault::HttpResponseIncomplete));
        assert!(!link.may_retry());
    });
}

#[test]
fn a_websocket_goes_over_extended_connect_and_back() {
    run(async {
        let (port, _) = serving(
            |builder| _ = builder.enable_connect_protocol(),
            |(head, mut respond)| async move {
                assert_eq!(head.method(), "CONNECT");
                let protocol = head.extensions().get::<h2::ext::Protocol>().map(|p| p.as_str().to_owned());
                assert_eq!(protocol.as_deref(), Some("websocket"));
                assert!(!head.headers().contains_key("sec-websocket-key"));
                let mut stream = respond.send_response(ok(), false).expect("it is open");
                let mut body = head.into_body();
                while let Some(piece) = body.data().await {
                    stream.send_data(piece.expect("a piece"), false).expect("it is open");
                }
                stream.send_data(Bytes::from_static(b"bye"), true).expect("it is open");
            },
        )
        .await;
        let node = Node::new(clear(port));
        let mut asked = request("GET", "/ws");
        asked.upgrade = Upgrade::Http1;
        asked.set_protocol(b"websocket");
        asked.fields.push(b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==");
        let wanted = origin::Wanted { needs_http1: true, ..crate::rig::wanted(&node.pool) };
        let chosen = node.origins.choose(&wanted, 1000).expect("the pool has origins");
        let mut link = node.open(&chosen).await.expect("a stream");
        let mut head = exchange::Response::default();
        link.begin(&asked, b"example.org").expect("extended CONNECT is known to be there");
        poll_fn(|cx| link.poll_head(cx, &mut head)).await.expect("a head");
        assert_eq!(head.status, 101);
        assert_eq!(head.fields.value(b"sec-websocket-accept"), Some(&b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="[..]));
        link.into_tunnel();
        poll_fn(|cx| Poll::Ready(link.send(cx, Chunk::Borrowed(b"ping"), true))).await.expect("sent");
        let mut came = Vec::new();
        let is_more = |incoming: Incoming<'_>, came: &mut Vec<u8>| match incoming {
            Incoming::Data(chunk) => {
                came.extend_from_slice(chunk.as_slice());
                true
            }
            Incoming::Last(chunk) => {
                came.extend_from_slice(chunk.as_slice());
                false
            }
            Incoming::Trailers(_) | Incoming::End => false,
        };
        while poll_fn(|cx| link.poll_body(cx, &mut []).map(|i| is_more(i.expect("a tunnel"), &mut came)))
            .await
        {}
        assert_eq!(came, b"pingbye");
        // An origin without it cannot serve a WebSocket, and says so before anything is sent.
        let (port, _) = serving(|_| {}, hello).await;
        let node = Node::new(clear(port));
        let mut link = node.open(&node.choose()).await.expect("a stream");
        assert_eq!(link.begin(&asked, b"example.org"), Err(Fault::HttpUpgradeFailed));
    });
}

#[test]
fn alpn_decides_where_both_are_offered() {
    run(async {
        let authority = Authority::new();
        let both = |port| {
            let mut pool = pool(vec![at(OriginScheme::Https, "localhost", port, OriginProtocol::Auto)]);
            pool.tls.ca = Some(authority.roots());
            pool
        };
        let config = authority.server("localhost", &[b"h2", b"http/1.1"]);
        let port = serving_with(config, |stream| async move {
            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                return serve_on(stream, h2::server::Builder::new(), Rc::new(hello)).await;
            }
            let mut peer = crate::rig::Peer::new(stream);
            while !peer.head().await.is_empty() {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").await;
            }
        })
        .await;
        let node = Node::new(both(port));
        assert_eq!(burst(&node, 20).await.len(), 20);
        for _ in 0..3 {
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(
                (answer.head.version, answer.body.as_slice()),
                (exchange::Version::Http2, &b"hello"[..])
            );
        }
        assert_eq!(node.report().opened, 1);
        let wanted = origin::Wanted { needs_http1: true, ..crate::rig::wanted(&node.pool) };
        let chosen = node.origins.choose(&wanted, 1000).expect("the pool has origins");
        let mut link = node.open(&chosen).await.expect("a connection");
        assert!(!link.is_http2());
        assert_eq!(
            exchange(&mut link, &request("GET", "/"), b"", 1024).await.expect("an answer").body,
            b"one"
        );
        let old = serving_with(authority.server("localhost", &[]), |stream| async move {
            let mut peer = crate::rig::Peer::new(stream);
            while !peer.head().await.is_empty() {
                peer.write("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none").await;
            }
        })
        .await;
        let node = Node::new(both(old));
        for _ in 0..2 {
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(answer.body, b"one");
        }
        assert_eq!((node.report().opened, node.report().reused), (1, 1));
        assert_eq!(burst(&node, 20).await, vec![b"one".to_vec(); 20]);
        let cold = Node::new(both(old));
        assert_eq!(burst(&cold, 20).await, vec![b"one".to_vec(); 20]);
    });
}

#[test]
fn an_idle_connection_closes_after_its_time() {
    run(async {
        let (port, connections) = serving(|_| {}, hello).await;
        let node = Node::new(clear(port));
        for round in 0..2 {
            node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!((connections.get(), node.report().connections), (round + 1, 1));
            node.tick(100);
            node.tick(59_000);
            settle().await;
            assert_eq!(node.report().connections, 1);
            node.tick(2000);
            while node.report().connections > 0 {
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn an_early_answer_ends_the_upload() {
    run(async {
        let (port, _) = serving(
            |_| {},
            |(head, mut respond)| async move {
                let mut answer = ok();
                *answer.status_mut() = http::StatusCode::PAYLOAD_TOO_LARGE;
                respond.send_response(answer, true).expect("it is open");
                drop(head); // the rest of the body is not wanted: RST_STREAM(NO_ERROR)
            },
        )
        .await;
        let node = Node::new(clear(port));
        let body = vec![b'x'; 4 * 1024 * 1024];
        let answer =
            node.fetch(&upload(BodySize::Length(body.len() as u64)), &body).await.expect("an answer");
        assert_eq!(answer.head.status, 413);
        let again = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!((again.head.status, again.was_reused), (413, true), "the connection goes on");
    });
}

#[test]
fn exchanges_wait_for_a_stream_where_no_connection_may_be_added() {
    run(async {
        let (port, connections) = serving(|builder| _ = builder.max_concurrent_streams(1), hello).await;
        let mut limited = clear(port);
        limited.max_connections = Some(1);
        let node = Node::new(limited);
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        settle().await; // its settings have come
        assert_eq!(burst(&node, 6).await.len(), 6);
        assert_eq!(connections.get(), 1);
        let chosen = node.choose();
        let _held = node.open(&chosen).await.expect("the one stream");
        let late = crate::rig::while_time_flies(&node.deadlines, node.open(&chosen)).await;
        assert_eq!(late.err(), Some(Fault::ConnectionLimitReached));
        // Nor is it the origin's failure where those behind do not get their turn in time.
        let four = async {
            let open = || node.open(&chosen);
            tokio::join!(open(), open(), open(), open())
        };
        let (first, second, third, fourth) = crate::rig::while_time_flies(&node.deadlines, four).await;
        for late in [first, second, third, fourth] {
            assert_eq!(late.err(), Some(Fault::ConnectionLimitReached));
        }
    });
}

/// A relay before an origin that can stop forwarding without a word, as a balancer does whose server is gone.
struct Relay {
    port: u16,
    connections: Rc<Cell<usize>>,
    /// Connections up to this number forward nothing more, either way.
    frozen: Rc<Cell<usize>>,
    /// What visitors sent, of all connections.
    sent: Rc<RefCell<Vec<u8>>>,
}

impl Relay {
    async fn before(port: u16) -> Relay {
        let (listener, address) = listen().await;
        let relay = Relay {
            port: address.port(),
            connections: Rc::default(),
            frozen: Rc::default(),
            sent: Rc::default(),
        };
        let (connections, frozen, sent) =
            (Rc::clone(&relay.connections), Rc::clone(&relay.frozen), Rc::clone(&relay.sent));
        tokio::task::spawn_local(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = connections.get() + 1;
                connections.set(number);
                let far = TcpStream::connect(("127.0.0.1", port)).await.expect("the origin listens");
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                let log = Some(Rc::clone(&sent));
                tokio::task::spawn_local(forward(near_in, far_out, number, Rc::clone(&frozen), log));
                tokio::task::spawn_local(forward(far_in, near_out, number, Rc::clone(&frozen), None));
            }
        });
        relay
    }

    fn freeze(&self) {
        self.frozen.set(self.connections.get());
    }

    /// PING frames that came from the node, by their first bytes: 8 bytes, the type, no flag.
    fn pings(&self) -> usize {
        self.sent.borrow().windows(9).filter(|w| **w == [0, 0, 8, 6, 0, 0, 0, 0, 0]).count()
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    frozen: Rc<Cell<usize>>,
    log: Option<Rc<RefCell<Vec<u8>>>>,
) {
    let mut bytes = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if number <= frozen.get() {
            std::future::pending::<()>().await; // both halves stay open
        }
        if let Some(log) = &log {
            log.borrow_mut().extend_from_slice(&bytes[..count]);
        }
        to.write_all(&bytes[..count]).await.expect("the other side is there");
    }
}

/// Lets time pass without anything happening in it.
fn pass(node: &Node, ms: u32) {
    for _ in 0..ms / exchange::TICK_MS {
        node.deadlines.sweep();
    }
}

#[test]
fn a_connection_whose_far_end_has_vanished_is_found_out_and_the_request_sent_again() {
    run(async {
        let (port, _) = serving(|_| {}, hello).await;
        let relay = Relay::before(port).await;
        let node = Node::new(clear(relay.port));
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        settle().await;
        relay.freeze();
        pass(&node, 2_000);
        let get = request("GET", "/");
        let answer = within_a_minute(&node, node.fetch(&get, b"")).await.expect("an answer");
        assert_eq!((answer.head.status, answer.retried), (200, 1));
        assert_eq!(relay.connections.get(), 2, "the second try has a connection of its own");
        // A stream that was open when it happened fails with its connection.
        relay.freeze();
        let chosen = node.choose();
        let mut first = node.open(&chosen).await.expect("a stream");
        first.begin(&get, b"example.org").expect("it is sent");
        pass(&node, 2_000);
        let second = within_a_minute(&node, node.fetch(&get, b"")).await.expect("an answer");
        assert_eq!((second.retried, relay.connections.get()), (1, 3));
        let mut head = exchange::Response::default();
        let fault = poll_fn(|cx| first.poll_head(cx, &mut head)).await.err();
        assert_eq!((fault, first.may_retry()), (Some(Fault::ConnectionTerminated), true));
    });
}

/// Lets time fly until `work` is done, but not for longer than a minute.
async fn within_a_minute<T>(node: &Node, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut ticks = 0;
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        assert!(ticks < 600, "a minute has passed");
        ticks += 1;
        node.deadlines.sweep();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

#[test]
fn a_silent_connection_is_asked_once_before_it_is_trusted() {
    run(async {
        let (port, connections) = serving(|_| {}, hello).await;
        let relay = Relay::before(port).await;
        let node = Node::new(clear(relay.port));
        let get = request("GET", "/");
        for (silent_ms, pings) in [(0, 0), (500, 0), (1_000, 1), (0, 1), (60_000, 2)] {
            pass(&node, silent_ms);
            let answer = node.fetch(&get, b"").await.expect("an answer");
            assert_eq!((answer.retried, relay.pings()), (0, pings), "after {silent_ms} ms");
            settle().await;
        }
        assert_eq!(connections.get(), 1);
    });
}

#[test]
fn a_server_that_answers_nothing_but_pings_is_not_asked_again() {
    run(async {
        // Requests are taken and held: gRPC servers take a third PING in such a silence for abuse.
        let held = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&held);
        let (port, _) = serving(
            |_| {},
            move |asked| {
                keep.borrow_mut().push(asked);
                std::future::ready(())
            },
        )
        .await;
        let relay = Relay::before(port).await;
        let node = Node::new(clear(relay.port));
        let chosen = node.choose();
        let mut links = Vec::new();
        for _ in 0..5 {
            let mut link = node.open(&chosen).await.expect("a stream");
            link.begin(&request("GET", "/"), b"example.org").expect("it is sent");
            links.push(link);
            while held.borrow().len() < links.len() {
                tokio::task::yield_now().await;
            }
            settle().await;
            pass(&node, 2_000);
        }
        assert_eq!((relay.pings(), relay.connections.get()), (1, 1));
    });
}

#[test]
fn after_an_answer_that_did_not_come_the_next_request_has_a_fresh_connection() {
    run(async {
        let (port, _) = serving(|_| {}, hello).await;
        let relay = Relay::before(port).await;
        let node = Node::new(clear(relay.port));
        let get = request("GET", "/");
        node.fetch(&get, b"").await.expect("an answer");
        settle().await;
        let chosen = node.choose();
        let mut answered = node.open(&chosen).await.expect("a stream");
        exchange(&mut answered, &get, b"", 4096).await.expect("an answer");
        answered.suspect();
        assert!(node.fetch(&get, b"").await.expect("an answer").was_reused, "it was not silent");
        relay.freeze();
        let mut silent = node.open(&chosen).await.expect("a stream");
        silent.begin(&get, b"example.org").expect("it is sent");
        settle().await;
        silent.suspect();
        let answer = within_a_minute(&node, node.fetch(&get, b"")).await.expect("an answer");
        assert_eq!((answer.was_reused, answer.retried, relay.connections.get()), (false, 0, 2));
    });
}
