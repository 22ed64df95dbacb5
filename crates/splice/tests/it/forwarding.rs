//! What is carried: real TLS, verified end to end, and every byte in both directions.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use splice::{Entry, Proxy, Refusal, Settings};

use crate::rig::{
    Authority, Nobody, Node, RawOrigin, connect, entry, hello, is_closed, receive, receive_all, send, shut,
    talk, tls_origin, tls_refusal, tls_visitor, until,
};

#[test]
fn a_visitor_speaks_tls_with_the_origin_of_the_name_it_asked_for() {
    let authority = Authority::new();
    let names = ["example.org", "www.example.net", "shop.example.org"];
    let origins = names.map(|name| tls_origin(&authority, name));
    let entries = [
        entry("example.org", &origins[..1]),
        entry("*.example.net", &origins[1..2]),
        entry("*.example.org", &origins[2..]),
    ];
    let node = Node::start(&entries);
    for name in names {
        let mut stream = tls_visitor(node.address(), authority.visitor(), name);
        let mut greeting = vec![0; name.len()];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(greeting, name.as_bytes(), "another origin answered");
        let sent: Vec<u8> = (0..300_000_u32).map(|place| (place % 253) as u8).collect();
        for piece in sent.chunks(50_000) {
            stream.write_all(piece).unwrap();
            let mut back = vec![0; piece.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == piece, "bytes came back changed");
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the origin's own close arrives");
    }
    node.until_open(0);
    assert_eq!(node.count(&node.counters.spliced), 3);
}

#[test]
fn the_certificate_is_judged_by_the_visitor() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let origin = tls_origin(&authority, "example.org");
    let node = Node::start(&[entry("*", &[origin])]);
    for (config, name) in [(stranger.visitor(), "example.org"), (authority.visitor(), "example.com")] {
        let error = tls_refusal(node.address(), config, name);
        assert!(matches!(error, rustls::Error::InvalidCertificate(_)), "{error}");
    }
}

#[test]
fn a_hello_that_comes_byte_by_byte_and_in_small_records_arrives_as_it_was_sent() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let whole = hello("example.org");
    // The same message in records of 100 bytes.
    let cut: Vec<u8> = whole[5..]
        .chunks(100)
        .flat_map(|piece| [&whole[..3], &(piece.len() as u16).to_be_bytes(), piece].concat())
        .collect();
    for bytes in [whole, cut] {
        let mut visitor = connect(node.address());
        visitor.set_nodelay(true).unwrap();
        for byte in &bytes {
            visitor.write_all(&[*byte]).unwrap();
        }
        let origin = origin.accept();
        assert!(receive(&origin, bytes.len()) == bytes);
        talk(&visitor, &origin);
    }
}

#[test]
fn bytes_that_follow_the_hello_at_once_are_not_lost() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let sent = [hello("example.org"), (0..200_000_u32).map(|place| (place % 251) as u8).collect()].concat();
    let visitor = connect(node.address());
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            (&visitor).write_all(&sent).unwrap();
            shut(&visitor);
        });
        receive_all(&origin.accept())
    });
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

#[test]
fn a_visitor_that_ends_first_still_gets_the_answer() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let visitor = send(node.address(), &hello);
    shut(&visitor);
    let mut origin = origin.accept();
    assert_eq!(receive_all(&origin).len(), hello.len(), "the end arrives at the origin");
    assert_eq!(node.count(&node.counters.open), 1);
    origin.write_all(b"late answer").unwrap();
    assert_eq!(receive(&visitor, 11), b"late answer");
    origin.write_all(b", and more").unwrap();
    drop(origin);
    assert_eq!(receive_all(&visitor), b", and more");
    node.until_open(0);
}

#[test]
fn an_origin_that_ends_first_still_gets_what_the_visitor_sends() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let mut visitor = send(node.address(), &hello);
    let mut origin = origin.accept();
    receive(&origin, hello.len());
    origin.write_all(b"bye").unwrap();
    shut(&origin);
    assert_eq!(receive_all(&visitor), b"bye");
    assert_eq!(node.count(&node.counters.open), 1);
    visitor.write_all(b"one thing more").unwrap();
    assert_eq!(receive(&origin, 14), b"one thing more");
    shut(&visitor);
    assert_eq!(receive_all(&origin), b"");
    node.until_open(0);
}

#[test]
fn a_slow_origin_slows_its_visitor_and_nobody_else() {
    let (slow, quick) = (RawOrigin::new(), RawOrigin::new());
    let node =
        Node::start(&[entry("slow.example", &[slow.address()]), entry("quick.example", &[quick.address()])]);
    let head = hello("slow.example");
    let mut visitor = send(node.address(), &head);
    let origin = slow.accept();
    receive(&origin, head.len());
    visitor.set_nonblocking(true).unwrap();
    let chunk = vec![7; 1 << 20];
    let mut taken = 0;
    let mut refused = 0;
    // Loopback's buffers hold some megabytes; far below 256 of them nothing more is taken.
    while refused < 200 {
        match visitor.write(&chunk) {
            Ok(count) => (taken, refused) = (taken + count, 0),
            Err(_) => {
                refused += 1;
                // Somebody else's exchange in between gives the loop its turns.
                let hello = hello("quick.example");
                let visitor = send(node.address(), &hello);
                let origin = quick.accept();
                receive(&origin, hello.len());
                talk(&visitor, &origin);
            }
        }
        assert!(taken < 256 << 20, "the visitor was not slowed");
    }
    visitor.set_nonblocking(false).unwrap();
    shut(&visitor);
    assert_eq!(receive_all(&origin).len(), taken, "bytes were lost");
}

#[test]
fn a_dead_address_is_passed_over_and_then_tried_last() {
    let (nobody, origin) = (Nobody::new(), RawOrigin::new());
    let node = Node::start(&[entry("example.org", &[nobody.address(), origin.address()])]);
    for _ in 0..3 {
        let hello = hello("example.org");
        let visitor = send(node.address(), &hello);
        let origin = origin.accept();
        assert!(receive(&origin, hello.len()) == hello);
        talk(&visitor, &origin);
    }
    assert_eq!(node.count(&node.counters.connect_failures), 1, "only the first paid for it");
}

/// A listener whose queue is full, so that the kernel drops what else asks for a connection.
fn silent_origin() -> (impl Sized, SocketAddr) {
    let silent = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&silent, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&silent, 0).unwrap();
    let address = SocketAddr::try_from(rustix::net::getsockname(&silent).unwrap()).unwrap();
    // A queue of 0 holds one.
    let waiting = TcpStream::connect(address).unwrap();
    ((silent, waiting), address)
}

#[test]
fn an_address_that_does_not_answer_in_time_is_passed_over() {
    let (_silent, silent) = silent_origin();
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[silent, origin.address()])]);
    let hello = hello("example.org");
    let visitor = send(node.address(), &hello);
    node.until_open(1);
    until("the time-out passes the silent one over", || {
        node.pass_ms(100);
        node.count(&node.counters.connect_failures) == 1
    });
    let origin = origin.accept();
    assert!(receive(&origin, hello.len()) == hello);
    talk(&visitor, &origin);
}

#[test]
fn an_origin_is_told_the_visitor_by_proxy_header_if_its_entry_says_so() {
    let origin = RawOrigin::new();
    let with = |hostname: &str, proxy| Entry { proxy, ..entry(hostname, &[origin.address()]) };
    let node = Node::start(&[with("v1.example", Proxy::V1), with("v2.example", Proxy::V2)]);
    let hello1 = hello("v1.example");
    let visitor = send(node.address(), &hello1);
    let (from, to) = (visitor.local_addr().unwrap(), node.address());
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    let expected = [line.as_bytes(), &hello1].concat();
    let accepted = origin.accept();
    assert!(receive(&accepted, expected.len()) == expected);
    talk(&visitor, &accepted);

    let hello2 = hello("v2.example");
    let visitor = send(node.address(), &hello2);
    let from = visitor.local_addr().unwrap();
    let accepted = origin.accept();
    let header = receive(&accepted, 28);
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    assert_eq!(header[16..], [&[127, 0, 0, 1, 127, 0, 0, 1], &ports[..]].concat());
    assert!(receive(&accepted, hello2.len()) == hello2);
}

#[test]
fn a_received_proxy_header_is_passed_on_or_dropped_as_the_entry_says() {
    let origin = RawOrigin::new();
    let with = |hostname: &str, proxy| Entry { proxy, ..entry(hostname, &[origin.address()]) };
    let entries = [with("wants.example", Proxy::V2), with("not.example", Proxy::None)];
    let settings = Settings { connections_per_address_max: 0, ..Settings::default() };
    let node = Node::with(&entries, settings, true);
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
    for (name, kept) in [("wants.example", &header[..]), ("not.example", b"")] {
        let hello = hello(name);
        let visitor = send(node.address(), &[header, &hello[..]].concat());
        let origin = origin.accept();
        let expected = [kept, &hello].concat();
        assert!(receive(&origin, expected.len()) == expected);
        talk(&visitor, &origin);
    }
    let visitor = send(node.address(), &hello("wants.example"));
    assert_eq!(receive_all(&visitor), [21, 3, 3, 0, 2, 2, 50]);
    node.until_refused(Refusal::NotTls, 1);
    let visitor = send(node.http_address(), &[header, &b"GET / HTTP/1.1\r\n\r\n"[..]].concat());
    assert!(receive_all(&visitor).starts_with(b"HTTP/1.1 503 "));
}

#[test]
fn a_connection_that_moves_nothing_is_closed_and_one_that_does_is_not() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let open = || {
        let visitor = send(node.address(), &hello);
        let origin = origin.accept();
        receive(&origin, hello.len());
        (visitor, origin)
    };
    let (idle, busy) = (open(), open());
    let settings = Settings::default();
    talk(&idle.0, &idle.1);
    for round in 2..5 {
        talk(&busy.0, &busy.1);
        let moved = || node.count(&node.counters.bytes_up) + node.count(&node.counters.bytes_down);
        until("the bytes are counted", || moved() == 2 * hello.len() as u64 + 8 * round);
        node.pass_ms(settings.idle_ms / 2);
    }
    assert!(is_closed(&idle.0) && is_closed(&idle.1));
    talk(&busy.0, &busy.1);
    assert_eq!(node.count(&node.counters.idle), 1);
}

/// Closes with a reset.
fn reset(socket: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_reset_of_one_end_ends_the_other() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let open = || {
        let visitor = send(node.address(), &hello);
        let origin = origin.accept();
        receive(&origin, hello.len());
        (visitor, origin)
    };
    let (visitor, origin) = open();
    reset(origin);
    assert!(is_closed(&visitor));
    node.until_open(0);
    let (visitor, origin) = open();
    reset(visitor);
    assert!(is_closed(&origin));
    node.until_open(0);
    assert_eq!(node.count(&node.counters.broken), 2);
}

#[test]
fn a_reset_of_an_end_that_had_sent_its_last_byte_ends_the_other() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let visitor = send(node.address(), &hello);
    shut(&visitor);
    let accepted = origin.accept();
    assert_eq!(receive_all(&accepted).len(), hello.len());
    reset(visitor);
    assert!(is_closed(&accepted));
    node.until_open(0);

    let visitor = send(node.address(), &hello);
    let accepted = origin.accept();
    receive(&accepted, hello.len());
    shut(&accepted);
    assert_eq!(receive_all(&visitor), b"");
    reset(accepted);
    node.until_open(0);
    assert_eq!(node.count(&node.counters.broken), 2);
}
