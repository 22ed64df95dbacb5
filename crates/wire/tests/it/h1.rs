//! HTTP/1 towards visitors: shared pieces of a body are kept as they are while the socket takes no more, and
//! leave in order.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Chunk, Deadlines, Fields, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use wire::{Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

/// More than the buffers of both sockets hold.
const PIECE_BYTES: usize = 8 << 20;

/// Answers with two shared pieces, a small borrowed one between them, and trailers where they may be.
struct Pieces {
    size: BodySize,
    pieces: RefCell<Vec<Bytes>>,
    /// Whether the first piece is held by somebody beside this service once it was given.
    is_shared: RefCell<Option<bool>>,
}

const BETWEEN: &[u8] = b"between";

impl Service for Pieces {
    async fn serve(&self, exchange: &mut Exchange) {
        let response = Response { status: 200, body: self.size, ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            Poll::Ready(())
        })
        .await;
        for place in 0..3 {
            let ready = poll_fn(|cx| exchange.poll_ready(cx)).await;
            assert_eq!(ready, Ok(()));
            let is_last = place == 2 && self.size != BodySize::Unknown;
            poll_fn(|cx| {
                match place {
                    1 => exchange.send(cx, Chunk::Borrowed(BETWEEN), is_last),
                    place => {
                        let piece = self.pieces.borrow()[place / 2].clone();
                        exchange.send(cx, Chunk::Shared(piece), is_last);
                    }
                }
                Poll::Ready(())
            })
            .await;
            if place == 0 {
                self.is_shared.replace(Some(!self.pieces.borrow()[0].is_unique()));
            }
        }
        if self.size == BodySize::Unknown {
            let ready = poll_fn(|cx| exchange.poll_ready(cx)).await;
            assert_eq!(ready, Ok(()));
            let mut trailers = Fields::new();
            trailers.push(b"X-End", b"yes");
            poll_fn(|cx| {
                exchange.send_trailers(cx, &trailers);
                Poll::Ready(())
            })
            .await;
        }
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

/// Everything a visitor reads who does not read at first, asking twice on one connection.
async fn read_all(size: BodySize) -> (Vec<u8>, Rc<Pieces>) {
    let pieces =
        RefCell::new(vec![Bytes::from(vec![b'a'; PIECE_BYTES]), Bytes::from(vec![b'b'; PIECE_BYTES])]);
    let service = Rc::new(Pieces { size, pieces, is_shared: RefCell::default() });
    let thread = Thread::new(Rc::clone(&service), Deadlines::new(), 0, 10);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings =
        TcpListenerSettings { is_tls: false, allows_h2c: false, trusts_proxy: None, http3_port: None };
    tokio::task::spawn_local(accept_tcp(thread, listener, settings));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut visitor = socket.connect(address).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    visitor.write_all(request.as_bytes()).await.unwrap();
    // Not a byte is read before the first piece was given.
    while service.is_shared.borrow().is_none() {
        tokio::task::yield_now().await;
    }
    let mut read = Vec::new();
    visitor.read_to_end(&mut read).await.unwrap();
    (read, service)
}

/// Answers with authority and target, or with the word for what it was told to refuse.
struct Told;

impl Service for Told {
    async fn serve(&self, exchange: &mut Exchange) {
        let request = &exchange.request;
        let text = match exchange.refusal {
            Some(refusal) => refusal.as_str().as_bytes().to_vec(),
            None => [request.authority(), b" ", request.target()].concat(),
        };
        let body = BodySize::of_length(text.len() as u64);
        let response = Response { status: 200, body, ..Response::default() };
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            exchange.send(cx, Chunk::Borrowed(&text), true);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

/// What it tells of a request with this line.
async fn told(line: &str) -> String {
    let thread = Thread::new(Rc::new(Told), Deadlines::new(), 0, 10);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings =
        TcpListenerSettings { is_tls: false, allows_h2c: false, trusts_proxy: None, http3_port: None };
    tokio::task::spawn_local(accept_tcp(thread, listener, settings));
    let mut visitor = TcpSocket::new_v4().unwrap().connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: p.test\r\nConnection: close\r\n\r\n");
    visitor.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    visitor.read_to_end(&mut read).await.unwrap();
    String::from_utf8(head(&read).1.to_vec()).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.unwrap().block_on(future)
}

/// Splits an answer off; gives its head and the rest.
fn head(bytes: &[u8]) -> (&str, &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    (std::str::from_utf8(&bytes[..end]).expect("it is ASCII"), &bytes[end..])
}

#[test]
fn shared_pieces_of_a_declared_length_are_kept_and_not_copied() {
    let whole = 2 * PIECE_BYTES + BETWEEN.len();
    let (read, service) = run(read_all(BodySize::Length(whole as u64)));
    assert_eq!(*service.is_shared.borrow(), Some(true), "what the socket did not take was copied");
    let (first, rest) = head(&read);
    assert!(first.contains(&format!("Content-Length: {whole}\r\n")), "{first}");
    let expected = [&service.pieces.borrow()[0][..], BETWEEN, &service.pieces.borrow()[1]].concat();
    assert!(rest[..whole] == expected);
    let (_, second) = head(&rest[whole..]);
    assert!(second == expected, "the second answer begins where the first one ends");
}

#[test]
fn shared_pieces_in_chunks_have_their_frames_around_them() {
    let (read, service) = run(read_all(BodySize::Unknown));
    assert_eq!(*service.is_shared.borrow(), Some(true));
    let (first, rest) = head(&read);
    assert!(first.contains("Transfer-Encoding: chunked\r\n"), "{first}");
    let size = format!("{PIECE_BYTES:x}\r\n").into_bytes();
    let expected = [
        &size[..],
        &service.pieces.borrow()[0],
        b"\r\n7\r\nbetween\r\n",
        &size,
        &service.pieces.borrow()[1],
        b"\r\n0\r\nX-End: yes\r\n\r\n",
    ]
    .concat();
    assert!(rest[..expected.len()] == expected);
    assert!(head(&rest[expected.len()..]).1 == expected);
}

/// RFC 9112 §3.2.1: an origin-form has a path, also where the absolute form that it comes of has none.
#[test]
fn an_absolute_target_without_a_path_has_the_root() {
    for (line, expected) in [
        ("GET http://p.test/a?q=1", "p.test /a?q=1"),
        ("GET http://p.test?q=1", "p.test /?q=1"),
        ("GET http://p.test:80?", "p.test:80 /?"),
        ("GET http://p.test", "p.test /"),
        ("OPTIONS http://p.test?q=1", "p.test /?q=1"),
        ("OPTIONS http://p.test", "p.test *"),
        ("GET http://q.test?q=1", "malformed_request"),
    ] {
        assert_eq!(run(told(line)), expected, "{line}");
    }
}
