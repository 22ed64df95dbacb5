//! When a thread holds as many connections as it may: of whoever holds more than its share those go that have
//! been idle for longest, and nobody else. Time is moved by hand, never waited for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use exchange::{BodySize, Deadlines, Holder, Response, TICK_MS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use wire::limits::ROOM_TICKS;
use wire::{Exchange, Hello, Service, TcpListenerSettings, Thread, TlsChoice, WireEvent, accept_tcp};

const CONNECTIONS_MAX: usize = 8;

/// Who has a weight of 1.
const LIGHT: u64 = 1;

/// Who has a weight of 3.
const HEAVY: u64 = 3;

/// Answers at once, but for `/held`, which it never answers. Places are held for the host that is asked.
#[derive(Default)]
struct Empty {
    shed: RefCell<usize>,
    /// Of whom, one after the other.
    shed_of: RefCell<Vec<u64>>,
    dropped: RefCell<usize>,
}

impl Service for Empty {
    async fn serve(&self, exchange: &mut Exchange) {
        match exchange.request.host() {
            b"light.example" => exchange.hold_for(Holder { key: LIGHT, weight: 1 }),
            b"heavy.example" => exchange.hold_for(Holder { key: HEAVY, weight: 3 }),
            _ => {}
        }
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
            WireEvent::Shed { holder, count } => {
                *self.shed.borrow_mut() += count;
                self.shed_of.borrow_mut().extend(vec![holder; count]);
            }
            WireEvent::Dropped => *self.dropped.borrow_mut() += 1,
            _ => {}
        }
    }
}

const HELD: &[u8] = b"GET /held HTTP/1.1\r\nHost: a.example\r\n\r\n";

struct Node {
    thread: Rc<Thread<Empty>>,
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
        tokio::task::spawn_local(accept_tcp(Rc::clone(&thread), listener, settings));
        Self { thread, service, deadlines, address }
    }

    fn pass_ms(&self, ms: u32) {
        (0..ms / TICK_MS).for_each(|_| self.deadlines.sweep());
    }

    /// Lets every task do what it can.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// A visitor whose request is never answered, once the node has it.
    async fn hold(&self) -> TcpStream {
        let mut visitor = TcpStream::connect(self.address).await.unwrap();
        visitor.write_all(HELD).await.unwrap();
        self.settle().await;
        visitor
    }

    /// One that comes while others do, and is answered or not.
    fn visits(&self, host: &'static str) -> tokio::task::JoinHandle<Option<TcpStream>> {
        let address = self.address;
        tokio::task::spawn_local(async move {
            let mut visitor = TcpStream::connect(address).await.unwrap();
            is_answered_by(&mut visitor, host).await.then_some(visitor)
        })
    }

    /// A visitor that was answered, and keeps its connection; none if it was closed unserved.
    async fn visit(&self) -> Option<TcpStream> {
        self.visit_host("a.example").await
    }

    async fn visit_host(&self, host: &str) -> Option<TcpStream> {
        let mut visitor = TcpStream::connect(self.address).await.unwrap();
        is_answered_by(&mut visitor, host).await.then_some(visitor)
    }
}

async fn is_answered(visitor: &mut TcpStream) -> bool {
    is_answered_by(visitor, "a.example").await
}

async fn is_answered_by(visitor: &mut TcpStream, host: &str) -> bool {
    let _closed = visitor.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await;
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
fn nobody_who_is_being_served_or_has_just_been_goes_for_a_newcomer_which_waits() {
    run(async {
        let node = Node::start().await;
        let mut busy = Vec::new();
        for _ in 0..CONNECTIONS_MAX - 1 {
            busy.push(node.hold().await);
        }
        node.pass_ms(2_000);
        let mut just_served = node.visit().await.expect("there is room for one");
        let newcomer = node.visits("a.example");
        node.settle().await;
        assert!(is_answered(&mut just_served).await, "it is not let go within a second");
        assert_eq!((*node.service.shed.borrow(), *node.service.dropped.borrow()), (0, 0));
        assert!(!newcomer.is_finished(), "there is room for no more");
        node.pass_ms(1_000);
        let mut newcomer = newcomer.await.unwrap().expect("it may go now");
        assert_eq!((*node.service.shed.borrow(), *node.service.dropped.borrow()), (1, 0));
        assert!(!is_answered(&mut just_served).await);

        // All are served for as long as a newcomer waits: it is turned away, and the next ones at once.
        newcomer.write_all(HELD).await.unwrap();
        let in_vain = node.visits("a.example");
        node.settle().await;
        assert!(!in_vain.is_finished());
        node.pass_ms(ROOM_TICKS * TICK_MS);
        assert!(in_vain.await.unwrap().is_none());
        assert_eq!(*node.service.dropped.borrow(), 1);
        assert!(node.visit().await.is_none());
        assert_eq!((*node.service.shed.borrow(), *node.service.dropped.borrow()), (1, 2));
    });
}

#[test]
fn a_newcomer_that_waits_for_room_is_told_at_once_when_the_thread_drains() {
    for is_last in [false, true] {
        run(async {
            let node = Node::start().await;
            let mut busy = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                busy.push(node.hold().await);
            }
            node.pass_ms(2_000);
            let mut waiting = TcpStream::connect(node.address).await.unwrap();
            node.settle().await;
            // In line behind it, in the kernel.
            let mut behind = TcpStream::connect(node.address).await.unwrap();
            node.settle().await;
            assert_eq!(*node.service.dropped.borrow(), 0, "it waits, and no time passes");
            match is_last {
                true => node.thread.drain_as_last(),
                false => node.thread.drain(),
            }
            let mut answer = String::new();
            waiting.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After: 5\r\n"), "{answer}");
            if is_last {
                // Nobody would accept it after this thread.
                answer.clear();
                behind.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            }
            assert_eq!(*node.service.dropped.borrow(), 1 + usize::from(is_last));
            assert_eq!(*node.service.shed.borrow(), 0, "nobody who is served goes for it");
        });
    }
}

#[test]
fn newcomers_that_come_all_at_once_get_the_places_of_whoever_holds_more_than_its_share() {
    run(async {
        let node = Node::start().await;
        let mut quiet = node.visit_host("heavy.example").await.expect("there is room");
        // Three times as many as there are places, before any of them is looked at.
        let crowd: Vec<_> = (0..CONNECTIONS_MAX * 3).map(|_| node.visits("light.example")).collect();
        let others: Vec<_> = (0..3).map(|_| node.visits("heavy.example")).collect();
        for visit in others.into_iter().chain(crowd) {
            assert!(visit.await.unwrap().is_some(), "each is answered");
        }
        assert_eq!(*node.service.dropped.borrow(), 0, "no time has passed, and each got a place");
        assert!(node.service.shed_of.borrow().iter().all(|holder| *holder == LIGHT));
        assert!(is_answered_by(&mut quiet, "heavy.example").await, "it has no more than its share");
    });
}

#[test]
fn who_holds_more_than_its_share_loses_idle_visitors_and_others_none_though_idle_for_longer() {
    run(async {
        let node = Node::start().await;
        let mut few = Vec::new();
        for _ in 0..2 {
            few.push(node.visit_host("light.example").await.expect("there is room"));
        }
        node.pass_ms(5_000);
        let mut many = Vec::new();
        for _ in 0..5 {
            many.push(node.visit_host("heavy.example").await.expect("there is room"));
        }
        node.pass_ms(2_000);
        assert_eq!(*node.service.shed_of.borrow(), [], "nothing is limited while there is room");
        let mut newcomer = node.visit_host("light.example").await.expect("there is room for it");
        assert_eq!(*node.service.shed_of.borrow(), [LIGHT], "two of seven are more than a quarter");
        for _ in 0..20 {
            many.push(node.visit_host("heavy.example").await.expect("another makes room"));
        }
        assert_eq!(node.service.shed_of.borrow()[1], LIGHT, "and so are the two that it has again");
        assert!(node.service.shed_of.borrow()[2..].iter().all(|holder| *holder == HEAVY));
        assert_eq!(*node.service.dropped.borrow(), 0);
        assert!(is_answered_by(&mut newcomer, "light.example").await, "it keeps its share to the end");
        for visitor in &mut few {
            assert!(!is_answered_by(visitor, "light.example").await, "these were idle for longest");
        }
    });
}

#[test]
fn who_takes_places_too_fast_to_be_idle_for_long_pays_with_those_and_not_with_newcomers() {
    run(async {
        let node = Node::start().await;
        let mut quiet = node.visit_host("light.example").await.expect("there is room");
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX * 4 {
            held.extend(node.visit_host("heavy.example").await);
        }
        assert_eq!(*node.service.dropped.borrow(), 0, "no time has passed, and each got a place");
        assert!(node.service.shed_of.borrow().iter().all(|holder| *holder == HEAVY));
        assert!(is_answered_by(&mut quiet, "light.example").await);
    });
}

/// An HTTP/2 visitor of a host that was answered, and how its connection ends.
async fn visit_by_http_2(
    address: SocketAddr,
    host: &str,
) -> (h2::client::SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::Builder::new().handshake::<_, Bytes>(tcp).await.unwrap();
    let ended = tokio::task::spawn_local(connection);
    let mut sender = sender.ready().await.unwrap();
    let request = http::Request::get(format!("http://{host}/")).body(()).unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 204);
    (sender, ended)
}

#[test]
fn http_2_visitors_of_whoever_holds_more_than_its_share_go_first() {
    run(async {
        let node = Node::start().await;
        let (_few, few_ended) = visit_by_http_2(node.address, "light.example").await;
        node.pass_ms(5_000);
        let mut many = Vec::new();
        for _ in 0..6 {
            many.push(visit_by_http_2(node.address, "heavy.example").await);
        }
        node.pass_ms(2_000);
        assert!(node.visit_host("light.example").await.is_some());
        assert_eq!(*node.service.shed_of.borrow(), [HEAVY]);
        let (_, ended) = many.remove(0);
        assert!(ended.await.unwrap().is_ok(), "it was told by GOAWAY and closed in peace");
        assert!(!few_ended.is_finished());
    });
}

#[test]
fn idle_http_2_visitors_go_with_a_goaway() {
    run(async {
        let node = Node::start().await;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            connections.push(visit_by_http_2(node.address, "a.example").await);
            node.pass_ms(TICK_MS);
        }
        node.pass_ms(2_000);
        assert!(node.visit().await.is_some(), "there is room for a newcomer");
        let (_, ended) = connections.remove(0);
        assert!(ended.await.unwrap().is_ok(), "it was told by GOAWAY and closed in peace");
        assert_eq!(*node.service.shed.borrow(), 1);
    });
}
