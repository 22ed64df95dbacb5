//! What is refused, how the visitor is told, and what is counted.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::AsFd as _;

use rustls::{AlertDescription, Error};
use splice::limits::TICK_MS;
use splice::{Counters, Listener, Protocol, Refusal, Settings, Table, serve};

use crate::rig::{
    Authority, Nobody, Node, RawOrigin, connect, entry, hello, is_closed, listener, receive, receive_all,
    send, shut, talk, tls_origin, tls_refusal, until,
};

const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

#[test]
fn a_name_without_an_entry_gets_an_alert() {
    let authority = Authority::new();
    let origin = tls_origin(&authority, "example.org");
    let node = Node::start(&[entry("example.org", &[origin])]);
    let error = tls_refusal(node.address(), authority.visitor(), "example.com");
    assert_eq!(error, Error::AlertReceived(AlertDescription::UnrecognisedName));
    node.until_refused(Refusal::UnknownName, 1);
    let error = tls_refusal(node.address(), authority.visitor(), "127.0.0.1");
    assert_eq!(error, Error::AlertReceived(AlertDescription::UnrecognisedName));
    node.until_refused(Refusal::NoName, 1);
    node.until_open(0);
    assert_eq!(node.count(&node.counters.spliced), 0);
}

#[test]
fn a_name_whose_origins_are_all_down_gets_an_alert() {
    let authority = Authority::new();
    let (one, two) = (Nobody::new(), Nobody::new());
    let node = Node::start(&[entry("example.org", &[one.address(), two.address()])]);
    let error = tls_refusal(node.address(), authority.visitor(), "example.org");
    assert_eq!(error, Error::AlertReceived(AlertDescription::InternalError));
    node.until_refused(Refusal::NoOrigin, 1);
    assert_eq!(node.count(&node.counters.connect_failures), 2);
}

#[test]
fn an_entry_that_points_at_the_node_itself_does_not_feed_it_its_own_bytes() {
    let authority = Authority::new();
    let here = listener();
    let address = here.local_addr().unwrap();
    let node = Node::on(here, &[entry("example.org", &[address])], Settings::default(), false);
    let error = tls_refusal(node.address(), authority.visitor(), "example.org");
    assert_eq!(error, Error::AlertReceived(AlertDescription::InternalError));
    assert_eq!(node.count(&node.counters.accepted), 1);
}

#[test]
fn what_is_no_hello_gets_an_alert_that_arrives() {
    let node = Node::start(&[]);
    let mut broken = hello("example.org");
    broken[5] = 2;
    let huge = [22, 3, 1, 0x40, 0, 1, 0, 0x80, 0];
    // A hello of 8 KiB in records of one byte.
    let many: Vec<u8> = (0..129_u32)
        .flat_map(|place| {
            let byte = [1, 0, 0x20].get(place as usize).copied().unwrap_or_default();
            [22, 3, 1, 0, 1, byte]
        })
        .collect();
    for (bytes, why) in [
        (&b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"[..], Refusal::NotTls),
        (&broken, Refusal::Malformed),
        (&huge, Refusal::TooLarge),
        (&many, Refusal::TooLarge),
    ] {
        let before = node.counters.refused(why);
        // More behind it: were it left unread, a reset would destroy the alert on its way.
        let visitor = send(node.address(), &[bytes, &[0; 4000]].concat());
        assert_eq!(receive_all(&visitor), DECODE_ERROR, "{why:?}");
        node.until_refused(why, before + 1);
    }
    node.until_open(0);
}

#[test]
fn a_visitor_that_does_not_finish_its_hello_is_closed_in_time() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let (silent, slow) = (connect(node.address()), send(node.address(), &hello[..hello.len() - 1]));
    let http = send(node.http_address(), b"GET / HTTP/1.1\r\nHost: example.org\r\n");
    node.until_open(3);
    node.pass_ms(Settings::default().greeting_ms - 1);
    let mut other = send(node.address(), &hello);
    let accepted = origin.accept();
    receive(&accepted, hello.len());
    talk(&other, &accepted);
    assert_eq!(node.counters.refused(Refusal::Slow), 0);
    // As precise as the sweep is.
    node.pass_ms(TICK_MS);
    for visitor in [&silent, &slow, &http] {
        assert!(is_closed(visitor));
    }
    node.until_refused(Refusal::Slow, 3);
    other.write_all(b"still here").unwrap();
    assert_eq!(receive(&accepted, 10), b"still here");
}

#[test]
fn a_visitor_that_leaves_before_its_hello_is_counted() {
    let node = Node::start(&[]);
    drop(connect(node.address()));
    drop(send(node.http_address(), b"GET / HT"));
    node.until_refused(Refusal::Left, 2);
    node.until_open(0);
}

#[test]
fn cleartext_http_gets_a_whole_503() {
    let node = Node::start(&[]);
    for request in [
        "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        "GET /\n\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = String::from_utf8(receive_all(&send(node.http_address(), request.as_bytes()))).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        assert_eq!(lines.next(), Some("HTTP/1.1 503 Service Unavailable"));
        let fields: Vec<(&str, &str)> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        for (name, value) in
            [("Connection", "close"), ("Retry-After", "30"), ("Content-Length", &*body.len().to_string())]
        {
            assert!(fields.contains(&(name, value)), "{name}: {value} in {head}");
        }
    }
    let answer = receive_all(&send(node.http_address(), b"HEAD / HTTP/1.1\r\nHost: example.org\r\n\r\n"));
    assert!(answer.ends_with(b"\r\n\r\n"), "an answer to HEAD has no body");
    node.until_refused(Refusal::Cleartext, 5);
    node.until_open(0);
}

#[test]
fn the_503_waits_for_the_head_and_survives_what_follows_it() {
    let node = Node::start(&[]);
    let mut visitor = connect(node.http_address());
    for piece in ["POST / HTTP/1.1\r\nHost: example.org\r\n", "Content-Length: 50000\r\n", "\r"] {
        visitor.write_all(piece.as_bytes()).unwrap();
    }
    node.until_open(1);
    assert_eq!(node.counters.refused(Refusal::Cleartext), 0);
    visitor.write_all(b"\n").unwrap();
    visitor.write_all(&[b'x'; 50_000]).unwrap();
    assert!(receive_all(&visitor).starts_with(b"HTTP/1.1 503 "));
    // A head without an end is answered at the limit.
    let visitor = send(node.http_address(), &[b'a'; 9000]);
    assert!(receive_all(&visitor).starts_with(b"HTTP/1.1 503 "));
}

#[test]
fn a_refused_visitor_that_does_not_close_is_closed() {
    let node = Node::start(&[]);
    let visitor = send(node.address(), &hello("example.org"));
    assert_eq!(receive_all(&visitor), UNRECOGNIZED_NAME);
    assert_eq!(node.count(&node.counters.open), 1, "it is given time");
    node.pass_ms(Settings::default().linger_ms);
    node.until_open(0);

    // Or that sends and sends.
    let mut visitor = send(node.address(), &hello("example.org"));
    let chunk = [0; 10_000];
    until("sending fails", || visitor.write_all(&chunk).is_err());
    node.until_open(0);
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let origin = RawOrigin::new();
    let settings = Settings { connections_per_address_max: 2, ..Settings::default() };
    let node = Node::set(&[entry("example.org", &[origin.address()])], settings);
    let hello = hello("example.org");
    let open = || {
        let visitor = send(node.address(), &hello);
        let origin = origin.accept();
        receive(&origin, hello.len());
        (visitor, origin)
    };
    let one = open();
    let _two = open();
    assert!(is_closed(&connect(node.address())));
    node.until_refused(Refusal::AddressLimit, 1);
    drop(one);
    node.until_open(1);
    let three = open();
    talk(&three.0, &three.1);
}

#[test]
fn at_the_limit_visitors_wait_in_the_queue() {
    let origin = RawOrigin::new();
    let settings = Settings { connections_max: 2, ..Settings::default() };
    let node = Node::set(&[entry("example.org", &[origin.address()])], settings);
    let hello = hello("example.org");
    let open = || {
        let visitor = send(node.address(), &hello);
        let accepted = origin.accept();
        receive(&accepted, hello.len());
        (visitor, accepted)
    };
    let (one, two) = (open(), open());
    let three = send(node.address(), &hello);
    // The two go on while it waits.
    for _ in 0..20 {
        talk(&one.0, &one.1);
        talk(&two.0, &two.1);
    }
    assert_eq!(node.count(&node.counters.accepted), 2);
    drop(one);
    let accepted = origin.accept();
    receive(&accepted, hello.len());
    talk(&three, &accepted);
    assert_eq!(node.count(&node.counters.accepted), 3);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "tests are wiring")]
fn a_socket_that_could_hang_the_loop_is_refused_at_the_start() {
    let (orders, _writer) = std::io::pipe().unwrap();
    let blocking = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = std::net::TcpStream::connect(blocking.local_addr().unwrap()).unwrap();
    for (socket, word) in [(blocking.as_fd(), "blocks"), (connected.as_fd(), "listen")] {
        let listeners = [Listener { socket, protocol: Protocol::Https, is_proxied: false }];
        let clock = std::time::Instant::now;
        let (settings, counters) = (Settings::default(), Counters::default());
        let error =
            serve(&listeners, &Table::default(), orders.as_fd(), &settings, &clock, &counters).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_visitor_that_shuts_down_after_its_hello_is_told_all_the_same() {
    let node = Node::start(&[]);
    let mut visitor = send(node.address(), &hello("example.org"));
    shut(&visitor);
    let mut answer = Vec::new();
    visitor.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, UNRECOGNIZED_NAME);
    node.until_open(0);
}
