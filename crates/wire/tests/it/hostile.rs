//! Visitors that make a node hold or do more than they pay for, frame by frame. Time is moved by hand, never
//! waited for; floods that need none are `tests/clients/http2_floods.py`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{Account, BodySize, Charge, Chunk, Deadlines, Incoming, Response, TICK_MS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::limits::{EMPTY_BURST, FIELDS, FLUSH_MS, READ_AHEAD_BYTES, STREAMS};
use wire::{Abuse, Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

const PIECE: &[u8] = &[7; 64 * 1024];

/// Pieces of the large answer: more than the sockets and the node hold of it.
const PIECES: usize = 16;

/// Of a server-sent event, such as the time.
const EVENT: &[u8] = b"data: 12:34:56.789\n\n";

const EVENTS: usize = 3_000;

/// How long a connection may be idle, as its zone says.
const BRIEF_MS: u32 = 1_000;

/// Bytes of the kernel's buffers, at both ends: as few as it gives.
const SOCKET_BYTES: u32 = 4_096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Answers `/small` with one piece, `/large` with many and `/events` with as many events; `/held` it never
/// answers, and `/gone` once it was told to, and keeps asking whether its visitor has left. Anything else has
/// the status of its refusal, or 200.
struct Site {
    account: Arc<Account>,
    served: Cell<usize>,
    gone: Cell<usize>,
    abuse: RefCell<Vec<Abuse>>,
    /// Told when the next event may be given.
    next: Notify,
}

impl Site {
    fn of(account_bytes: u64) -> Rc<Self> {
        Rc::new(Self {
            account: Account::new(account_bytes),
            served: Cell::default(),
            gone: Cell::default(),
            abuse: RefCell::default(),
            next: Notify::new(),
        })
    }

    fn count_of(&self, abuse: Abuse) -> usize {
        self.abuse.borrow().iter().filter(|one| **one == abuse).count()
    }
}

async fn give_head(exchange: &mut Exchange, response: &Response) {
    poll_fn(|cx| {
        exchange.respond(cx, response);
        Poll::Ready(())
    })
    .await;
}

/// Begins an answer of so many bytes.
async fn respond(exchange: &mut Exchange, bytes: usize) {
    let response = Response { status: 200, body: BodySize::of_length(bytes as u64), ..Response::default() };
    give_head(exchange, &response).await;
}

/// Gives a piece of it, unless the visitor has left.
async fn give(exchange: &mut Exchange, piece: &'static [u8], is_last: bool) {
    if poll_fn(|cx| exchange.poll_ready(cx)).await.is_ok() {
        let chunk = Bytes::from_static(piece);
        poll_fn(|cx| {
            exchange.send(cx, Chunk::Shared(chunk.clone()), is_last);
            Poll::Ready(())
        })
        .await;
    }
}

impl Service for Site {
    async fn serve(&self, exchange: &mut Exchange) {
        exchange.times.keepalive_ms = BRIEF_MS;
        exchange.charge = Charge::begin(&self.account, &exchange.connection, 1).unwrap();
        match exchange.request.target().to_vec().as_slice() {
            b"/small" => {
                respond(exchange, PIECE.len()).await;
                give(exchange, PIECE, true).await;
            }
            b"/large" => {
                respond(exchange, PIECES * PIECE.len()).await;
                for number in 1..=PIECES {
                    give(exchange, PIECE, number == PIECES).await;
                }
            }
            b"/events" => {
                respond(exchange, EVENTS * EVENT.len()).await;
                for number in 1..=EVENTS {
                    give(exchange, EVENT, number == EVENTS).await;
                    self.next.notified().await;
                }
            }
            b"/held" => std::future::pending().await,
            b"/gone" => {
                let end = poll_fn(|cx| {
                    wire::with_scratch(|scratch| exchange.poll_body(cx, scratch).map(|read| is_end(&read)))
                });
                assert!(end.await, "it has no body");
                poll_fn(|cx| exchange.poll_gone(cx)).await;
                self.gone.set(self.gone.get() + 1);
            }
            _ => {
                let status = exchange.refusal.map_or(200, exchange::Refusal::status);
                let response = Response { status, body: BodySize::None, ..Response::default() };
                give_head(exchange, &response).await;
            }
        }
        self.served.set(self.served.get() + 1);
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, event: WireEvent) {
        if let WireEvent::Abuse(abuse, _) = event {
            self.abuse.borrow_mut().push(abuse);
        }
    }
}

fn is_end<E>(read: &Result<Incoming<'_>, E>) -> bool {
    matches!(read, Ok(Incoming::End))
}

struct Node {
    site: Rc<Site>,
    deadlines: Rc<Deadlines>,
    address: SocketAddr,
}

impl Node {
    fn start() -> Self {
        Self::with_account(u64::MAX)
    }

    fn with_account(account_bytes: u64) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(SOCKET_BYTES).unwrap();
        Self::on(socket, account_bytes)
    }

    fn on(socket: TcpSocket, account_bytes: u64) -> Self {
        let (site, deadlines) = (Site::of(account_bytes), Deadlines::new());
        let thread = Thread::new(Rc::clone(&site), Rc::clone(&deadlines), 0, 10);
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let settings =
            TcpListenerSettings { is_tls: false, allows_h2c: true, trusts_proxy: None, http3_port: None };
        tokio::task::spawn_local(accept_tcp(thread, listener, settings));
        Self { site, deadlines, address }
    }

    async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SOCKET_BYTES).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// A visitor by HTTP/2 that gives each stream such a window, and the connection one without bounds.
    async fn visit(&self, window_bytes: u32) -> Visitor {
        let (reading, writing) = self.connect().await.into_split();
        let mut visitor = Visitor { reading: Some(reading), writing, next_stream: 1 };
        visitor.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        visitor.set_window(window_bytes).await;
        visitor.open(0, 1 << 30).await;
        visitor
    }

    /// Moves time on until it is so, for at most so long, and lets every task do what it can meanwhile; how
    /// many milliseconds passed.
    async fn pass_until(&self, ms_max: u32, is_so: impl Fn() -> bool) -> u32 {
        let begin = self.deadlines.now();
        while !is_so() && self.deadlines.now() - begin < ms_max / TICK_MS {
            self.deadlines.sweep();
            settle(20).await;
        }
        (self.deadlines.now() - begin) * TICK_MS
    }

    async fn serves(&self, count: usize) {
        while self.site.served.get() < count {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets every task do what it can.
async fn settle(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

struct Visitor {
    reading: Option<OwnedReadHalf>,
    writing: OwnedWriteHalf,
    next_stream: u32,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

impl Visitor {
    async fn write(&mut self, bytes: &[u8]) {
        self.writing.write_all(bytes).await.unwrap();
    }

    async fn set_window(&mut self, bytes: u32) {
        let payload = [&[0, 4][..], &bytes.to_be_bytes()].concat();
        self.write(&frame(SETTINGS, 0, 0, &payload)).await;
    }

    async fn open(&mut self, stream: u32, bytes: u32) {
        self.write(&frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())).await;
    }

    /// Asks for a path of less than 100 bytes; on which stream.
    async fn ask(&mut self, path: &str) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut block = vec![0x82, 0x86, 0x01, 9];
        block.extend_from_slice(b"a.example");
        block.extend_from_slice(&[0x04, path.len() as u8]);
        block.extend_from_slice(path.as_bytes());
        self.write(&frame(HEADERS, 5, stream, &block)).await;
        stream
    }

    /// From now on it reads all there is; what it read, once the node has ended the connection.
    fn reads(&mut self) -> JoinHandle<Vec<u8>> {
        let mut reading = self.reading.take().expect("it does not read yet");
        tokio::task::spawn_local(async move {
            let mut all = Vec::new();
            let _reset_is_an_end_too = reading.read_to_end(&mut all).await;
            all
        })
    }
}

/// How many frames of this kind there are.
fn frames_of(kind: u8, mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        count += usize::from(head[3] == kind);
        bytes = rest.get(length..).unwrap_or_default();
    }
    count
}

fn run<T>(scenario: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
    runtime.block_on(async {
        let limit = std::time::Duration::from_secs(60);
        tokio::time::timeout(limit, scenario).await.expect("the scenario hangs")
    })
}

const WIDE: u32 = 1 << 30;

/// Answers that are asked for to be stuck. Some leave before h2 looks at the window that was taken back.
const ASKED: usize = STREAMS as usize - 2;

/// A visitor for whom h2 holds many answers, and may put out none: while the socket was full of another
/// answer it asked for them, then it took its windows back, and reads on. With it what the node holds for it.
async fn with_answers_stuck(node: &Node) -> (Visitor, JoinHandle<Vec<u8>>, u64) {
    let mut visitor = node.visit(WIDE).await;
    let large = visitor.ask("/large").await;
    settle(500).await;
    for _ in 0..ASKED {
        visitor.ask("/small").await;
    }
    node.serves(ASKED).await;
    visitor.write(&frame(RST_STREAM, 0, large, &8_u32.to_be_bytes())).await;
    visitor.set_window(0).await;
    settle(500).await;
    let reading = visitor.reads();
    let mut held = 0;
    while std::mem::replace(&mut held, node.site.account.held()) != node.site.account.held() {
        settle(500).await;
    }
    (visitor, reading, held)
}

#[test]
fn answers_that_h2_has_taken_are_charged_and_given_up_once_no_window_lets_them_through() {
    run(async {
        let node = Node::start();
        let (_visitor, reading, held) = with_answers_stuck(&node).await;
        assert!(held >= (ASKED / 2 * PIECE.len()) as u64, "what is stuck is charged, and not {held} bytes");
        let passed = node.pass_until(2 * FLUSH_MS, || reading.is_finished()).await;
        assert!((FLUSH_MS..FLUSH_MS + 10 * BRIEF_MS).contains(&passed), "it has ended, after {passed} ms");
        let given_up = node.site.count_of(Abuse::SlowRead);
        assert!(given_up >= ASKED / 2);
        assert_eq!(frames_of(RST_STREAM, &reading.await.unwrap()), given_up);
        assert_eq!(node.site.account.held(), 0);
    });
}

#[test]
fn an_answer_that_the_line_takes_at_once_needs_no_room() {
    run(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 * PIECE.len() as u32).unwrap();
        let node = Node::on(socket, PIECE.len() as u64 / 2);
        let mut visitor = node.visit(WIDE).await;
        for _ in 0..3 {
            visitor.ask("/small").await;
        }
        let mut reading = visitor.reading.take().unwrap();
        let mut read = vec![0; 3 * PIECE.len()];
        reading.read_exact(&mut read).await.unwrap();
        assert_eq!(frames_of(RST_STREAM, &read), 0);
        assert_eq!((node.site.served.get(), node.site.account.held()), (3, 0));
    });
}

#[test]
fn one_stream_that_moves_does_not_hide_those_that_are_stuck() {
    run(async {
        let node = Node::start();
        let (mut visitor, reading, held) = with_answers_stuck(&node).await;
        assert!(held >= (ASKED / 2 * PIECE.len()) as u64);
        let moving = visitor.ask("/small").await;
        for _ in 0..5 {
            visitor.open(moving, 1).await;
            node.pass_until(FLUSH_MS / 2, || false).await;
        }
        assert!(node.site.count_of(Abuse::SlowRead) as u64 >= held / PIECE.len() as u64);
        assert!(node.site.account.held() < 2 * PIECE.len() as u64, "of the one that moves");
        assert!(!reading.is_finished(), "which goes on");
        visitor.open(moving, WIDE).await;
        node.pass_until(FLUSH_MS, || reading.is_finished()).await;
        let read = reading.await.unwrap();
        assert_eq!(frames_of(RST_STREAM, &read), node.site.count_of(Abuse::SlowRead));
        assert_eq!(node.site.account.held(), 0);
    });
}

/// A line that takes a little every half a minute: of many answers each waits for its turn longer than any
/// may stand still.
#[test]
fn answers_that_wait_for_each_other_on_a_slow_line_are_not_given_up() {
    run(async {
        let node = Node::start();
        let mut visitor = node.visit(WIDE).await;
        for _ in 0..ASKED {
            visitor.ask("/small").await;
        }
        node.serves(ASKED).await;
        let mut reading = visitor.reading.take().unwrap();
        for _ in 0..8 {
            let mut some = [0; 16 * 1024];
            reading.read_exact(&mut some).await.unwrap();
            node.pass_until(FLUSH_MS / 2, || false).await;
        }
        visitor.reading = Some(reading);
        let reading = visitor.reads();
        node.pass_until(FLUSH_MS, || reading.is_finished()).await;
        assert_eq!(frames_of(RST_STREAM, &reading.await.unwrap()), 0);
        assert_eq!(node.site.count_of(Abuse::SlowRead), 0);
    });
}

#[test]
fn a_visitor_that_reads_nothing_is_ended_although_it_makes_the_node_say_more() {
    run(async {
        let node = Node::start();
        let mut visitor = node.visit(WIDE).await;
        visitor.ask("/held").await;
        visitor.ask("/small").await;
        node.serves(1).await;
        // The first make the kernel take a little more, as they say what has arrived.
        for _ in 0..20 {
            let _ended_meanwhile = visitor.writing.write_all(&frame(PING, 0, 0, &[0; 8])).await;
            node.pass_until(FLUSH_MS / 3 * 2, || node.site.count_of(Abuse::SlowRead) > 0).await;
        }
        assert_eq!(node.site.count_of(Abuse::SlowRead), 1);
    });
}

/// CVE-2019-9511, data dribble.
#[test]
fn a_window_that_is_opened_byte_by_byte_does_not_pay_for_itself() {
    run(async {
        let node = Node::start();
        let mut visitor = node.visit(0).await;
        for _ in 0..4 {
            visitor.ask("/small").await;
        }
        let reading = visitor.reads();
        let settings = |bytes: u32| frame(SETTINGS, 0, 0, &[&[0, 4][..], &bytes.to_be_bytes()].concat());
        let mut opened = 0;
        while !reading.is_finished() && opened < 2 * EMPTY_BURST {
            opened += 1;
            let _ended_meanwhile = visitor.writing.write_all(&settings(opened)).await;
            settle(10).await;
        }
        assert_eq!(node.site.count_of(Abuse::Settings), 1, "after {opened} windows");
        assert!(frames_of(GOAWAY, &reading.await.unwrap()) > 0);
    });
}

#[test]
fn events_of_a_few_bytes_pay_for_two_windows_each() {
    run(async {
        let node = Node::start();
        let mut visitor = node.visit(64 * 1024).await;
        let stream = visitor.ask("/events").await;
        let mut reading = visitor.reading.take().unwrap();
        let mut events = 0;
        while events < EVENTS {
            let mut head = [0; 9];
            reading.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            reading.read_exact(&mut payload).await.unwrap();
            if head[3] == DATA {
                assert_eq!(payload, EVENT);
                events += 1;
                visitor.open(0, length).await;
                visitor.open(stream, length).await;
                node.site.next.notify_one();
            }
        }
        settle(100).await;
        assert_eq!(*node.site.abuse.borrow(), [], "though {EVENTS} are more than a burst");
    });
}

/// The status of a head with so many fields.
async fn status(sender: &mut h2::client::SendRequest<Bytes>, fields: usize) -> u16 {
    let mut request = http::Request::get("http://a.example/");
    for _ in 0..fields {
        request = request.header("x", "");
    }
    let (answer, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
    answer.await.unwrap().status().as_u16()
}

#[test]
fn a_head_of_http_2_has_as_many_fields_as_one_of_http_1() {
    run(async {
        let node = Node::start();
        let (sender, connection) = h2::client::handshake(node.connect().await).await.unwrap();
        tokio::task::spawn_local(connection);
        let mut sender = sender.ready().await.unwrap();
        assert_eq!(status(&mut sender, FIELDS).await, 200);
        assert_eq!(status(&mut sender, FIELDS + 1).await, 431);
        assert_eq!(status(&mut sender, 1).await, 200, "the connection lives on");
    });
}

/// A visitor of HTTP/1 that sends more requests than one while the first waits for its answer.
async fn with_requests_ahead(node: &Node) -> TcpStream {
    let mut visitor = node.connect().await;
    let first = b"GET /gone HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let more = [b'x'; READ_AHEAD_BYTES];
    visitor.write_all(first).await.unwrap();
    settle(100).await;
    visitor.write_all(&more).await.unwrap();
    settle(500).await;
    visitor
}

#[test]
fn what_is_read_ahead_while_an_origin_thinks_is_charged() {
    run(async {
        let node = Node::start();
        let visitor = with_requests_ahead(&node).await;
        assert!(node.site.account.held() >= READ_AHEAD_BYTES as u64);
        assert_eq!(node.site.gone.get(), 0, "there is room for it");
        drop(visitor);
        let node = Node::with_account(READ_AHEAD_BYTES as u64 / 2);
        let _visitor = with_requests_ahead(&node).await;
        assert_eq!(node.site.gone.get(), 1, "for which there is no room");
        settle(100).await;
        assert_eq!(node.site.account.held(), 0);
    });
}
