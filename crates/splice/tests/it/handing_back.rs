//! Handing the sockets back: what an order to stop does to newcomers, to what is open, and to the queue.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use splice::{Ended, Settings};

use crate::rig::{Node, RawOrigin, entry, hello, is_closed, receive, receive_all, send, shut, talk, until};

/// Takes what waits, as the edge does.
fn accept(listener: &TcpListener) -> TcpStream {
    let mut accepted = None;
    until("somebody waits in the queue", || {
        accepted = listener.accept().ok().map(|(socket, _)| socket);
        accepted.is_some()
    });
    let accepted = accepted.unwrap();
    accepted.set_nonblocking(false).unwrap();
    accepted
}

#[test]
fn after_the_order_whoever_comes_is_left_to_the_edge() {
    let origin = RawOrigin::new();
    let node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let open = send(node.address(), &hello);
    let accepted = origin.accept();
    receive(&accepted, hello.len());
    node.stop();
    // None of these is accepted, although the loop may not have woken yet: the order is there first.
    let newcomers: Vec<TcpStream> = (0..50).map(|_| send(node.address(), b"for the edge")).collect();
    talk(&open, &accepted);
    for _ in &newcomers {
        assert_eq!(receive(&accept(&node.https), 12), b"for the edge");
    }
    assert_eq!(node.count(&node.counters.accepted), 1);
}

#[test]
fn open_connections_go_on_after_the_order_and_the_last_one_ends_it() {
    let origin = RawOrigin::new();
    let mut node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    // One forwarded, one in the middle of its hello.
    let one = send(node.address(), &hello);
    let origin_of_one = origin.accept();
    receive(&origin_of_one, hello.len());
    let two = send(node.address(), &hello[..20]);
    node.until_open(2);
    node.stop();
    talk(&one, &origin_of_one);
    std::io::Write::write_all(&mut &two, &hello[20..]).unwrap();
    let origin_of_two = origin.accept();
    assert!(receive(&origin_of_two, hello.len()) == hello);
    for (visitor, origin) in [(one, origin_of_one), (two, origin_of_two)] {
        talk(&visitor, &origin);
        shut(&visitor);
        assert_eq!(receive_all(&origin), b"");
    }
    assert_eq!(node.ended(), Ended { cut: 0 });
    assert_eq!(node.count(&node.counters.open), 0);
}

#[test]
fn what_is_open_at_the_end_of_the_drain_is_cut() {
    let origin = RawOrigin::new();
    let settings = Settings { drain_ms: 1_000, ..Settings::default() };
    let mut node = Node::set(&[entry("example.org", &[origin.address()])], settings);
    let hello = hello("example.org");
    let visitor = send(node.address(), &hello);
    let accepted = origin.accept();
    receive(&accepted, hello.len());
    node.stop();
    until("the order is taken", || node.count(&node.counters.draining) == 1);
    talk(&visitor, &accepted);
    node.pass_ms(999);
    talk(&visitor, &accepted);
    assert_eq!(node.count(&node.counters.open), 1);
    node.pass_ms(1);
    assert_eq!(node.ended(), Ended { cut: 1 });
    assert!(is_closed(&visitor));
}

#[test]
fn a_supervisor_that_is_gone_counts_as_an_order() {
    let mut node = Node::start(&[]);
    node.hang_up();
    assert_eq!(node.ended(), Ended { cut: 0 });
}

#[test]
fn the_queue_outlives_the_splice() {
    let mut node = Node::start(&[]);
    node.stop();
    let waiting = send(node.address(), b"hello, edge");
    assert_eq!(node.ended(), Ended { cut: 0 });
    let late = send(node.address(), b"hello, edge");
    for _ in [waiting, late] {
        assert_eq!(receive(&accept(&node.https), 11), b"hello, edge");
    }
}

/// Visitors come all the time while the sockets go from the splice to an edge that takes them too.
#[test]
fn no_visitor_is_lost_when_an_edge_takes_over_under_load() {
    let origin = RawOrigin::new();
    let mut node = Node::start(&[entry("example.org", &[origin.address()])]);
    let hello = hello("example.org");
    let (over, served) = (AtomicBool::new(false), AtomicBool::new(false));
    let sent = AtomicU64::new(0);
    let (by_splice, by_edge) = thread::scope(|scope| {
        let visitors: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut by_splice, mut by_edge) = (0, 0);
                    while !over.load(Ordering::SeqCst) {
                        let visitor = send(node.address(), &hello);
                        sent.fetch_add(1, Ordering::SeqCst);
                        match &receive(&visitor, 6)[..] {
                            b"origin" => by_splice += 1,
                            b"edge  " => by_edge += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                    (by_splice, by_edge)
                })
            })
            .collect();
        let answer = |socket: TcpStream, who: &[u8]| {
            receive(&socket, hello.len());
            std::io::Write::write_all(&mut &socket, who).unwrap();
        };
        let (node, origin, served) = (&node, &origin, &served);
        scope.spawn(move || {
            while !served.load(Ordering::SeqCst) {
                answer(origin.accept(), b"origin");
            }
        });
        until("the splice serves", || node.count(&node.counters.spliced) >= 100);
        let edge = scope.spawn(move || {
            while !served.load(Ordering::SeqCst) {
                match node.https.accept() {
                    Ok((socket, _)) => {
                        socket.set_nonblocking(false).unwrap();
                        answer(socket, b"edge  ");
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
                thread::yield_now();
            }
        });
        node.stop();
        // At most one accept was under way when the order could be read.
        let accepted = node.count(&node.counters.accepted);
        let before = sent.load(Ordering::SeqCst);
        until("the edge serves", || sent.load(Ordering::SeqCst) >= before + 200);
        assert!(node.count(&node.counters.accepted) <= accepted + 1, "accepted after the order to stop");
        over.store(true, Ordering::SeqCst);
        let counts = visitors.into_iter().map(|visitor| visitor.join().unwrap());
        let counts = counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
        served.store(true, Ordering::SeqCst);
        edge.join().unwrap();
        // The origin's thread waits for one more.
        send(origin.address(), &hello);
        counts
    });
    assert_eq!(by_splice + by_edge, sent.into_inner(), "a visitor was lost");
    assert!(by_splice >= 100 && by_edge > 0);
    assert_eq!(node.ended(), Ended { cut: 0 });
}
