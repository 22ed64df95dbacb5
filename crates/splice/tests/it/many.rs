//! Many at once on the one thread.

use std::io::{Read as _, Write as _};
use std::thread;

use rustix::process::{Resource, getrlimit, setrlimit};
use splice::Settings;

use crate::rig::{Authority, Node, RawOrigin, entry, hello, receive, send, talk, tls_origin, tls_visitor};

#[test]
fn two_hundred_visitors_speak_tls_at_the_same_time() {
    let authority = Authority::new();
    let origin = tls_origin(&authority, "example.org");
    let node = Node::start(&[entry("example.org", &[origin])]);
    let open = |number: usize| {
        let mut stream = tls_visitor(node.address(), authority.visitor(), "example.org");
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).unwrap();
        (stream, number)
    };
    let mut streams: Vec<_> = (0..200).map(open).collect();
    assert_eq!(node.count(&node.counters.open), 200);
    thread::scope(|scope| {
        for some in streams.chunks_mut(25) {
            scope.spawn(move || {
                for (stream, number) in some {
                    let sent: Vec<u8> =
                        (0..40_000).map(|place: usize| (place % (200 + *number)) as u8).collect();
                    stream.write_all(&sent).unwrap();
                    let mut back = vec![0; sent.len()];
                    stream.read_exact(&mut back).unwrap();
                    assert!(back == sent, "visitor {number} got other bytes");
                }
            });
        }
    });
    drop(streams);
    node.until_open(0);
}

#[test]
fn a_thousand_connections_are_carried_by_one_thread() {
    // Four descriptors each, both ends being in this process.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    if limit.current.is_some_and(|limit| limit < 5_000) {
        eprintln!("a_thousand_connections_are_carried_by_one_thread did not run: raise `ulimit -Hn` to 5000");
        return;
    }
    let origin = RawOrigin::new();
    let settings = Settings { connections_per_address_max: 1_000, ..Settings::default() };
    let node = Node::set(&[entry("example.org", &[origin.address()])], settings);
    let hello = hello("example.org");
    let pairs: Vec<_> = (0..1_000)
        .map(|_| {
            let visitor = send(node.address(), &hello);
            let origin = origin.accept();
            receive(&origin, hello.len());
            (visitor, origin)
        })
        .collect();
    assert_eq!(node.count(&node.counters.open), 1_000);
    // All have bytes under way before any is read.
    for (mut visitor, mut origin) in pairs.iter().map(|(visitor, origin)| (visitor, origin)) {
        visitor.write_all(&[1; 5_000]).unwrap();
        origin.write_all(&[2; 5_000]).unwrap();
    }
    for (visitor, origin) in &pairs {
        assert!(receive(origin, 5_000).iter().all(|byte| *byte == 1));
        assert!(receive(visitor, 5_000).iter().all(|byte| *byte == 2));
        talk(visitor, origin);
    }
    drop(pairs);
    node.until_open(0);
    assert_eq!(node.count(&node.counters.spliced), 1_000);
}
