//! When a thread holds as many connections as it may: who has been idle for longest goes, and nobody else.
//! Time is moved by hand, never waited for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Deadlines, Response, TICK_MS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::{Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

const CONNECTIONS_MAX: usize = 8;

/// Answers at once, but for `/held`, which it never answers.
#[derive(Default)]
struct Empty {
    shed: RefCell<usize>,
    dropped: RefCell<usize>,
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
        None
    }

    fn count(&self, event: WireEvent) {
        match event {
            WireEvent::Shed(count) => *self.shed.borrow_mut() += count,
            WireEvent::Dropped => *self.dropped.borrow_mut() += 1,
            _ => {}
        }
    }
}

struct Node {
    service: Rc<Empty>,
    deadlines: Rc<Deadlines>,
    address: SocketAddr,
}

impl Node {
    async fn start() -> Self {
        let (service, deadlines) = (Rc::new(Empty::default()), Deadlines::new());
        let thread = Thread::new(Rc::clone(&service), Rc::clone(&deadlines), 0, CONNECTIONS_MAX);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings =
            TcpListenerSettings { is_tls: false, allows_h2c: true, trusts_proxy: None, http3_port: None };
        tokio::task::spawn_local(accept_tcp(thread, listener, settings));
        Self { service, deadlines, address }
    }

    fn pass_ms(&self, ms: u32) {
        (0..ms / TICK_MS).for_each(|_| self.deadlines.sweep());
    }

    /// A visitor that was answered, and keeps its connection; none if it was closed unserved.
    async fn visit(&self) -> Option<TcpStream> {
        let mut visitor = TcpStream::connect(self.address).await.unwrap();
        is_answered(&mut visitor).await.then_some(visitor)
    }
}

async fn is_answered(visitor: &mut TcpStream) -> bool {
    let _closed = visitor.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    let mut answer = [0; 512];
    visitor.read(&mut answer).await.is_ok_and(|read| answer[..read].starts_with(b"HTTP/1.1 204"))
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
fn a_newcomer_takes_the_place_of_who_has_been_idle_for_longest() {
    run(async {
        let node = Node::start().await;
        let mut visitors = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            visitors.push(node.visit().await.expect("there is room"));
            node.pass_ms(TICK_MS);
        }
        node.pass_ms(2_000);
        assert_eq!(*node.service.shed.borrow(), 0);
        let newcomer = node.visit().await;
        assert!(newcomer.is_some(), "there is room for it");
        assert_eq!((*node.service.shed.borrow(), *node.service.dropped.borrow()), (1, 0));
        let mut still = Vec::new();
        for visitor in &mut visitors {
            still.push(is_answered(visitor).await);
        }
        assert_eq!(still, [false, true, true, true, true, true, true, true], "the first one alone is closed");
    });
}

#[test]
fn nobody_who_is_being_served_or_has_just_been_goes_for_a_newcomer() {
    run(async {
        let node = Node::start().await;
        let mut busy = Vec::new();
        for _ in 0..CONNECTIONS_MAX - 1 {
            let mut visitor = TcpStream::connect(node.address).await.unwrap();
            visitor.write_all(b"GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
            busy.push(visitor);
        }
        node.pass_ms(2_000);
        let mut just_served = node.visit().await.expect("there is room for one");
        assert!(node.visit().await.is_none(), "there is room for no more");
        assert_eq!((*node.service.shed.borrow(), *node.service.dropped.borrow()), (0, 1));
        assert!(is_answered(&mut just_served).await, "it is not let go within a second");
    });
}

#[test]
fn idle_http_2_visitors_go_with_a_goaway() {
    run(async {
        let node = Node::start().await;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            let tcp = TcpStream::connect(node.address).await.unwrap();
            let (sender, connection) = h2::client::Builder::new().handshake::<_, Bytes>(tcp).await.unwrap();
            let ended = tokio::task::spawn_local(connection);
            let mut sender = sender.ready().await.unwrap();
            let request = http::Request::get("http://a.example/").body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            assert_eq!(answer.await.unwrap().status(), 204);
            connections.push((sender, ended));
            node.pass_ms(TICK_MS);
        }
        node.pass_ms(2_000);
        assert!(node.visit().await.is_some(), "there is room for a newcomer");
        let (_, ended) = connections.remove(0);
        assert!(ended.await.unwrap().is_ok(), "it was told by GOAWAY and closed in peace");
        assert_eq!(*node.service.shed.borrow(), 1);
    });
}
