//! Connections: how they are counted, move, drain and end.

use std::rc::Rc;

use exchange::{Protocol, TICK_MS, TlsVersion};
use http3::{Code, ControlEvent, ControlStream, Limits, UniKind, UniStream};
use quinn::ConnectionError;
use tokio::task::JoinHandle;
use wire::limits::{HANDSHAKE_MS, HANDSHAKES_UNVALIDATED, HEAD_MS, KEEP_ALIVE_MS, LINGER_MS, QUIC_PROBE_MS};
use wire::{Abuse, WireEvent};

use super::client::{Reading, Visitor, answer, client_config, request};
use super::run;
use super::site::{self, Node};

/// Reads the node's control stream.
struct Control {
    receiving: quinn::RecvStream,
    parser: ControlStream,
    held: bytes::Bytes,
}

impl Control {
    async fn of(visitor: &Visitor) -> Self {
        let mut receiving = visitor.quic.accept_uni().await.unwrap();
        let first = receiving.read_chunk(1000, true).await.unwrap().unwrap().bytes;
        let mut input = &first[..];
        assert_eq!(UniStream::new().push(&mut input), Ok(Some(UniKind::Control)));
        let held = first.slice_ref(input);
        Self { receiving, parser: ControlStream::for_client(&Limits::default()), held }
    }

    async fn next(&mut self) -> ControlEvent {
        loop {
            let mut input = &self.held[..];
            let event = self.parser.push(&mut input).unwrap();
            self.held = self.held.slice_ref(input);
            if let Some(event) = event {
                return event;
            }
            self.held = self.receiving.read_chunk(1000, true).await.unwrap().unwrap().bytes;
        }
    }
}

#[test]
fn announces_its_settings() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut control = Control::of(&visitor).await;
        let ControlEvent::Settings(settings) = control.next().await else { panic!("settings come first") };
        assert!(settings.enable_connect_protocol);
        assert_eq!(settings.max_field_section_size, Some(u64::from(wire::limits::FIELD_SECTION_BYTES)));
        assert_eq!((settings.qpack_max_table_capacity, settings.qpack_blocked_streams), (0, 0));
    });
}

#[test]
fn counts_connections_and_handshakes() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        visitor.get("/hello").await;
        assert_eq!(node.thread.open(), 1);
        assert_eq!(node.count(WireEvent::Handshake(TlsVersion::V1_3)), 1);
        assert_eq!(node.count(WireEvent::Opened(Protocol::Http3)), 1);
        visitor.quic.close(quinn::VarInt::from_u32(0x100), b"");
        node.until(|seen| seen.events.contains(&WireEvent::Closed(Protocol::Http3))).await;
        assert_eq!(node.thread.open(), 0);
    });
}

#[test]
fn counts_a_handshake_that_fails() {
    run(async {
        let node = Node::start();
        let other = Node::start();
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(client_config(&other));
        let failed = endpoint.connect(node.address, "example.org").unwrap().await;
        assert!(failed.is_err(), "its certificate is not trusted");
        node.until(|seen| seen.events.contains(&WireEvent::HandshakeFailed)).await;
        assert_eq!(node.thread.open(), 0);
    });
}

/// Somebody who connects to a node that may have no room, and the end of that.
fn newcomer(node: &Node) -> (quinn::Endpoint, JoinHandle<Result<quinn::Connection, ConnectionError>>) {
    let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(client_config(node));
    let connecting = endpoint.connect(node.address, "example.org").unwrap();
    (endpoint, tokio::task::spawn_local(connecting.into_future()))
}

#[test]
fn refuses_connections_over_its_number() {
    run(async {
        let node = Node::start_with(1);
        let visitor = Visitor::connect(&node).await;
        let (_sending, _receiving) = visitor.send(&request("GET", "/gone", &[])).await;
        node.until_noted("waits").await;
        let (_endpoint, connecting) = newcomer(&node);
        node.settle().await;
        assert!(!connecting.is_finished(), "it waits for room");
        while !connecting.is_finished() {
            node.pass_ms(TICK_MS);
            node.settle().await;
        }
        assert!(connecting.await.unwrap().is_err());
        assert_eq!(node.count(WireEvent::Dropped), 1);
        assert_eq!(visitor.get("/hello").await.status, 200);
    });
}

#[test]
fn a_newcomer_that_waits_for_room_is_refused_at_once_when_the_thread_drains() {
    run(async {
        let node = Node::start_with(1);
        let visitor = Visitor::connect(&node).await;
        let (_sending, _receiving) = visitor.send(&request("GET", "/gone", &[])).await;
        node.until_noted("waits").await;
        let (_endpoint, connecting) = newcomer(&node);
        node.settle().await;
        // The node has looked at its socket since, and no time passes for deadlines.
        assert_eq!(visitor.get("/hello").await.status, 200);
        assert!(!connecting.is_finished(), "it waits for room");
        node.thread.drain();
        let told = connecting.await.unwrap().err().map(|error| error.to_string());
        assert!(told.as_ref().is_some_and(|told| told.contains("refused")), "{told:?}");
        assert_eq!(node.count(WireEvent::Dropped), 1);
    });
}

#[test]
fn newcomers_that_come_all_at_once_get_the_places_of_whoever_holds_more_than_its_share() {
    run(async {
        let node = Rc::new(Node::start_with(8));
        let mut crowd = Vec::new();
        for _ in 0..7 {
            crowd.push(Visitor::connect(&node).await);
        }
        let quiet = Visitor::connect(&node).await;
        assert_eq!(quiet.get("/other").await.status, 200);
        // They know nothing of GOAWAY, so that each place is free only once its visitor was closed.
        let come = |path: &'static str| {
            let node = Rc::clone(&node);
            tokio::task::spawn_local(async move {
                let visitor = Visitor::connect(&node).await;
                (visitor.get(path).await.status, visitor)
            })
        };
        let visits: Vec<_> = (0..6).map(|number| come(["/hello", "/hello", "/other"][number % 3])).collect();
        while !visits.iter().all(JoinHandle::is_finished) {
            node.settle().await;
            node.pass_tick();
        }
        for visit in visits {
            assert_eq!(visit.await.unwrap().0, 200);
        }
        assert_eq!(node.count(WireEvent::Dropped), 0);
        assert_eq!(node.count(WireEvent::Shed { holder: site::OTHER, count: 1 }), 0);
        assert!(node.count(WireEvent::Shed { holder: site::NAMED, count: 1 }) >= 4);
        assert_eq!(quiet.get("/hello").await.status, 200, "it has no more than its share");
    });
}

#[test]
fn visitors_of_whoever_holds_more_than_its_share_go_first_with_a_goaway() {
    run(async {
        let node = Node::start_with(8);
        let few = [Visitor::connect(&node).await, Visitor::connect(&node).await];
        for visitor in &few {
            assert_eq!(visitor.get("/other").await.status, 200);
        }
        node.pass_ms(1_500);
        let mut many = Vec::new();
        for _ in 0..5 {
            many.push(Visitor::connect(&node).await);
        }
        node.pass_ms(1_500);
        assert_eq!(node.count(WireEvent::Shed { holder: site::NAMED, count: 1 }), 0);
        let newcomer = Visitor::connect(&node).await;
        assert_eq!(newcomer.get("/other").await.status, 200);
        assert_eq!(node.count(WireEvent::Shed { holder: site::NAMED, count: 1 }), 1);
        let mut control = Control::of(&many[0]).await;
        assert!(matches!(control.next().await, ControlEvent::Settings(_)));
        assert!(matches!(control.next().await, ControlEvent::GoAway(_)), "though it came later");
        for visitor in &few {
            assert_eq!(visitor.get("/hello").await.status, 200, "it has no more than its share");
        }
    });
}

/// Visitors whose packets reach the node, and that never hear its answers.
struct Deaf {
    endpoint: quinn::Endpoint,
    relay: tokio::net::UdpSocket,
    connecting: Vec<JoinHandle<Result<quinn::Connection, ConnectionError>>>,
    /// Retry packets the node sent.
    retries: usize,
    /// Packets that reached the node, bytes of these, and bytes that it sent.
    knocked: (usize, usize, usize),
}

impl Deaf {
    fn new(node: &Node) -> Self {
        let relay = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        relay.set_nonblocking(true).unwrap();
        let relay = tokio::net::UdpSocket::from_std(relay).unwrap();
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(client_config(node));
        Self { endpoint, relay, connecting: Vec::new(), retries: 0, knocked: (0, 0, 0) }
    }

    /// Begins one more handshake, and waits until the node takes part in it or wants a proof first.
    async fn knock(&mut self, node: &Node) {
        let connecting = self.endpoint.connect(self.relay.local_addr().unwrap(), "example.org").unwrap();
        self.connecting.push(tokio::task::spawn_local(connecting.into_future()));
        let (open, retries) = (node.thread.open(), self.retries);
        while node.thread.open() == open && self.retries == retries {
            tokio::select! {
                () = self.hear(node) => {}
                () = tokio::task::yield_now() => {}
            }
        }
    }

    /// Passes on one packet to the node, or takes note of one that came back.
    async fn hear(&mut self, node: &Node) {
        let mut packet = vec![0; 2000];
        let (length, from) = self.relay.recv_from(&mut packet).await.unwrap();
        let (packets, came, left) = &mut self.knocked;
        if from != node.address {
            (*packets, *came) = (*packets + 1, *came + length);
            self.relay.send_to(&packet[..length], node.address).await.unwrap();
            return;
        }
        *left += length;
        // A long header of the type Retry (RFC 9000 §17.2.5).
        self.retries += usize::from(packet[0] & 0xb0 == 0xb0);
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        self.connecting.iter().for_each(|connecting| connecting.abort());
    }
}

#[test]
fn a_handshake_that_stands_still_is_given_up() {
    run(async {
        let node = Node::start();
        let mut deaf = Deaf::new(&node);
        deaf.knock(&node).await;
        node.pass_ms(HANDSHAKE_MS);
        node.until(|seen| seen.events.contains(&WireEvent::HandshakeFailed)).await;
        assert_eq!(node.thread.open(), 0);
        assert_eq!(node.blamed(Abuse::SlowHandshake), 1);
    });
}

#[test]
fn who_has_not_proven_its_address_is_sent_at_most_three_times_what_came() {
    run(async {
        let node = Node::start();
        let mut deaf = Deaf::new(&node);
        deaf.knock(&node).await;
        // Its first packet, and those that it sends again because it hears nothing; so does the node.
        while deaf.knocked.0 < 3 {
            deaf.hear(&node).await;
            let (_, came, left) = deaf.knocked;
            assert!(left <= 3 * came, "{left} bytes for {came} (RFC 9000 §8.1)");
        }
        assert!(deaf.knocked.2 > 0, "it answers");
        assert_eq!(node.count(WireEvent::Handshake(TlsVersion::V1_3)), 0);
    });
}

#[test]
fn who_has_no_time_wants_a_proof_and_then_refuses() {
    run(async {
        let node = Node::start();
        node.thread.service.is_late.set(true);
        let mut endpoint = quinn::Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        endpoint.set_default_client_config(client_config(&node));
        assert!(endpoint.connect(node.address, "example.org").unwrap().await.is_err());
        assert_eq!((node.blamed(Abuse::UnprovenAddress), node.blamed(Abuse::HandshakeFlood)), (1, 1));
        assert_eq!((node.count(WireEvent::HandshakeFailed), node.thread.open()), (0, 0));
        node.thread.service.is_late.set(false);
        assert_eq!(Visitor::connect(&node).await.get("/hello").await.status, 200);
    });
}

#[test]
fn visitors_must_prove_their_address_once_many_have_not() {
    run(async {
        let node = Node::start();
        let mut deaf = Deaf::new(&node);
        for _ in 0..HANDSHAKES_UNVALIDATED {
            deaf.knock(&node).await;
        }
        assert_eq!((node.thread.open(), deaf.retries), (HANDSHAKES_UNVALIDATED, 0));
        deaf.knock(&node).await;
        assert_eq!((node.thread.open(), deaf.retries), (HANDSHAKES_UNVALIDATED, 1));
        assert_eq!(node.blamed(Abuse::UnprovenAddress), 1);
        let visitor = Visitor::connect(&node).await;
        assert_eq!(visitor.get("/hello").await.status, 200, "whoever proves it is served");
    });
}

#[test]
fn an_answer_survives_a_change_of_the_visitors_address_and_the_one_it_proved_counts() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let before = visitor.get("/visitor").await.text();
        let (_sending, receiving) = visitor.send(&request("GET", "/parts", &[])).await;
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        visitor.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.2:0").unwrap()).unwrap();
        while reading.step().await.unwrap() {}
        assert_eq!(reading.answer.body.len(), 8 << 20);
        let after = visitor.get("/visitor").await.text();
        assert!(before.starts_with("127.0.0.1:"), "{before}");
        assert_eq!(
            after, before,
            "a request out of a packet from elsewhere is of whoever made the handshake"
        );
    });
}

#[test]
fn a_drain_finishes_the_download_and_then_closes() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut control = Control::of(&visitor).await;
        assert!(matches!(control.next().await, ControlEvent::Settings(_)));
        assert_eq!(visitor.get("/hello").await.status, 200);
        let (sending, receiving) = visitor.send(&request("GET", "/parts", &[])).await;
        let mut reading = Reading::new(receiving);
        assert_eq!(reading.step().await, Ok(true));
        node.thread.drain();
        let next_id = u64::from(sending.id()) + 4;
        assert_eq!(control.next().await, ControlEvent::GoAway(next_id), "the next id, not the last served");
        // What comes after GOAWAY is rejected, safe to retry.
        let (_sending, late) = visitor.send(&request("GET", "/hello", &[])).await;
        assert_eq!(answer(late).await.unwrap_err(), Code::RequestRejected.value());
        while reading.step().await.unwrap() {}
        assert_eq!(reading.answer.body.len(), 8 << 20);
        let closing = tokio::task::spawn_local({
            let quic = visitor.quic.clone();
            async move { quic.closed().await }
        });
        while !closing.is_finished() {
            node.pass_ms(LINGER_MS);
            tokio::task::yield_now().await;
        }
        assert_eq!(visitor.closed().await, Code::NoError.value());
        node.accepting.await.expect("accept_quic ends with its last connection");
        assert_eq!(node.thread.open(), 0);
    });
}

#[test]
fn a_drained_node_takes_no_new_connection() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        assert_eq!(visitor.get("/hello").await.status, 200);
        node.thread.drain();
        let mut control = Control::of(&visitor).await;
        assert!(matches!(control.next().await, ControlEvent::Settings(_)));
        assert_eq!(control.next().await, ControlEvent::GoAway(4));
        let (_endpoint, connecting) = newcomer(&node);
        // The open connection is served meanwhile: its rejection shows that the node looked at its socket.
        let (_sending, late) = visitor.send(&request("GET", "/hello", &[])).await;
        assert_eq!(answer(late).await.unwrap_err(), Code::RequestRejected.value());
        assert_eq!(node.count(WireEvent::Handshake(TlsVersion::V1_3)), 1);
        connecting.abort();
    });
}

#[test]
fn an_idle_connection_is_told_to_go_and_closed() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut control = Control::of(&visitor).await;
        assert!(matches!(control.next().await, ControlEvent::Settings(_)));
        assert_eq!(visitor.get("/hello").await.status, 200);
        let closing = tokio::task::spawn_local({
            let quic = visitor.quic.clone();
            async move { quic.closed().await }
        });
        node.pass_ms(KEEP_ALIVE_MS);
        assert_eq!(control.next().await, ControlEvent::GoAway(4));
        while !closing.is_finished() {
            node.pass_ms(LINGER_MS);
            tokio::task::yield_now().await;
        }
        assert_eq!(visitor.closed().await, Code::NoError.value());
    });
}

#[test]
fn the_zone_that_answered_last_says_how_long_a_connection_may_be_idle() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let mut control = Control::of(&visitor).await;
        assert!(matches!(control.next().await, ControlEvent::Settings(_)));
        assert_eq!(visitor.get("/brief").await.status, 200);
        assert_eq!(visitor.get("/brief").await.status, 200);
        node.settle().await;
        node.pass_ms(2 * site::BRIEF_MS);
        assert_eq!(control.next().await, ControlEvent::GoAway(8));
    });
}

#[test]
fn a_busy_connection_is_probed_and_kept() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (_sending, _receiving) = visitor.send(&request("GET", "/gone", &[])).await;
        node.until_noted("waits").await;
        let before = visitor.quic.stats().frame_rx.stream;
        for _ in 0..10 {
            node.pass_ms(QUIC_PROBE_MS);
            tokio::task::yield_now().await;
        }
        assert_eq!(visitor.get("/hello").await.status, 200, "not told to go");
        assert!(visitor.quic.stats().frame_rx.stream > before + 1, "something kept the connection alive");
    });
}

#[test]
fn a_request_that_does_not_finish_its_head_gets_408() {
    run(async {
        let node = Node::start();
        let visitor = Visitor::connect(&node).await;
        let (mut sending, receiving) = visitor.quic.open_bi().await.unwrap();
        sending.write_all(&request("GET", "/hello", &[])[..5]).await.unwrap();
        assert_eq!(visitor.get("/hello").await.status, 200);
        node.pass_ms(HEAD_MS);
        let answer = answer(receiving).await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (408, "head_timeout"));
        assert_eq!(visitor.get("/hello").await.status, 200, "the connection lives on");
    });
}

#[test]
fn visitors_of_a_node_that_died_are_told_by_the_next_one() {
    told_after_a_death(|kept| Node::start_on(kept, 10));
}

#[test]
fn visitors_of_a_socket_that_is_nobodys_are_told() {
    told_after_a_death(|kept| wire::answer_strays(kept, (0, 1), [7; 64]).unwrap());
}

/// A node dies with a visitor; another reads its socket from then on.
fn told_after_a_death<Next>(next: impl FnOnce(std::net::UdpSocket) -> Next) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let kept = socket.try_clone().unwrap();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (die, died) = tokio::sync::oneshot::channel::<()>();
    let node = std::thread::spawn(move || {
        run(async {
            let node = Node::start_on(socket, 10);
            tell.send(node.root.clone()).unwrap();
            died.await.unwrap();
        });
    });
    let root = told.recv().unwrap();
    run(async {
        let mut dead = Node::start();
        (dead.address, dead.root) = (kept.local_addr().unwrap(), root);
        let visitor = Visitor::connect(&dead).await;
        assert_eq!(visitor.get("/hello").await.status, 200);
        die.send(()).unwrap();
        node.join().unwrap();
        let _next = next(kept);
        let _unanswered = visitor.send(&request("GET", "/hello", &[])).await;
        // Its keys are the same, so that it can make the token the visitor knows (RFC 9000 §10.3).
        assert_eq!(visitor.quic.closed().await, ConnectionError::Reset);
    });
}
