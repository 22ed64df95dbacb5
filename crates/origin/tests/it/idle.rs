//! Connections between exchanges: which thread has them, how many there may be, and how they are made.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use exchange::Fault;
use origin::{Fleet, FleetSettings};
use zone::{OriginProtocol, OriginScheme, ProxyVersion};

use crate::rig::{
    Node, Peer, answering, at, exchange, listen, origin, plain, pool, request, run, settle, while_time_flies,
};

fn ok(_: usize, _: &str) -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec()
}

/// Sends `count` requests, one a second, each from a thread drawn by a fixed sequence, and gives the number
/// of exchanges that found an open connection.
async fn reused_over(threads: usize, count: usize) -> u64 {
    let address = answering(ok).await;
    let fleet = Fleet::new(FleetSettings::default());
    let first = Node::with_fleet(Arc::clone(&fleet), plain(address));
    let more =
        (1..threads).map(|seed| Node::thread(Arc::clone(&fleet), Arc::clone(&first.pool), seed as u64));
    let more: Vec<_> = more.collect();
    let nodes: Vec<_> = std::iter::once(&first).chain(&more).collect();
    for number in 0..count {
        let node = nodes[origin::balance::mix(number as u64) as usize % threads];
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        for _ in 0..10 {
            for node in &nodes {
                node.tick(100);
            }
        }
        settle().await;
    }
    first.report().reused
}

#[test]
fn eight_threads_reuse_as_much_as_one() {
    run(async {
        let one = reused_over(1, 200).await;
        let eight = reused_over(8, 200).await;
        assert_eq!(one, 199);
        assert!(eight * 100 >= one * 95, "{eight} with eight threads, {one} with one");
    });
}

#[test]
fn a_thread_that_is_busy_keeps_its_connection() {
    run(async {
        let node = Node::new(plain(answering(ok).await));
        let other = Node::thread(Arc::clone(&node.fleet), Arc::clone(&node.pool), 2);
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        node.tick(100);
        other.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!(node.report().opened, 2, "within a tick it is not handed over");
        node.tick(100);
        settle().await;
        other.tick(200);
        let link = other.open(&other.choose()).await.expect("a connection");
        assert!(link.is_reused());
    });
}

#[test]
fn idle_connections_close_after_their_time_and_with_their_pool() {
    run(async {
        let node = Node::new(plain(answering(ok).await));
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        node.tick(1000); // parked
        node.tick(58_000);
        assert_eq!(node.report().connections, 1);
        node.tick(2000);
        assert_eq!(node.report().connections, 0);
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        let weak = Arc::downgrade(&node.pool);
        let Node { fleet, origins, pool, now_ms, .. } = node;
        drop(pool);
        fleet.apply_pools([].into_iter(), now_ms.get());
        origins.tick(now_ms.get() + 100);
        assert!(weak.upgrade().is_none(), "nothing holds a pool that went");
    });
}

#[test]
fn the_origins_own_keep_alive_is_heeded() {
    run(async {
        let hint = |_: usize, _: &str| {
            b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n".to_vec()
        };
        let node = Node::new(plain(answering(hint).await));
        for (waits_ms, opened) in [(0, 1), (3800, 1), (4100, 2)] {
            node.tick(waits_ms);
            node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(node.report().opened, opened, "after {waits_ms} ms");
        }
    });
}

#[test]
fn other_settings_are_not_served_by_connections_made_before() {
    run(async {
        let first = answering(ok).await;
        let second = answering(|_, _| b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
        let mut node = Node::new(plain(first));
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        let mut moved = (*node.pool).clone();
        moved.origins[0].port = second.port();
        node.pool = Arc::new(moved);
        node.fleet.apply_pools([&node.pool].into_iter(), 1000);
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!((answer.head.status, answer.was_reused), (201, false));
    });
}

#[test]
fn connections_are_limited_over_all_threads() {
    run(async {
        let mut limited = plain(answering(ok).await);
        limited.max_connections = Some(2);
        let node = Node::new(limited);
        let other = Node::thread(Arc::clone(&node.fleet), Arc::clone(&node.pool), 2);
        let (one, two) = (node.choose(), other.choose());
        let mut first = node.open(&one).await.expect("a connection");
        let _second = other.open(&two).await.expect("a connection");
        let third = node.choose();
        let late = while_time_flies(&node.deadlines, node.open(&third)).await;
        assert_eq!(late.err(), Some(Fault::ConnectionLimitReached), "it waits, and not for ever");
        // Who waits gets the connection that another exchange gives back, on whatever thread.
        let waits = other.open(&two);
        let gives = async {
            settle().await;
            exchange(&mut first, &request("GET", "/"), b"", 1024).await.expect("an answer");
            first.finish();
        };
        let (link, ()) = tokio::join!(waits, gives);
        assert!(link.expect("the connection given back").is_reused());
        assert_eq!(node.report().opened, 2);
    });
}

#[test]
fn who_needs_a_new_connection_has_the_place_of_an_idle_one() {
    run(async {
        let mut limited = plain(answering(ok).await);
        limited.max_connections = Some(2);
        let node = Node::new(limited);
        let other = Node::thread(Arc::clone(&node.fleet), Arc::clone(&node.pool), 2);
        let (one, two) = (node.choose(), node.choose());
        let (mut first, mut second) =
            (node.open(&one).await.expect("one"), node.open(&two).await.expect("two"));
        for link in [&mut first, &mut second] {
            exchange(link, &request("GET", "/"), b"", 1024).await.expect("an answer");
        }
        first.finish();
        second.finish();
        // Its own thread's at once, in the place of the one used longest ago.
        let third = node.open_new(&node.choose()).await.expect("a place");
        assert!(!third.is_reused());
        assert_eq!((node.report().opened, node.report().connections), (3, 2));
        // Another thread's when that one parks it.
        let elsewhere = other.choose();
        let waits = while_time_flies(&other.deadlines, other.open_new(&elsewhere));
        let parks = async {
            settle().await;
            (0..6).for_each(|_| node.tick(100));
        };
        let (fourth, ()) = tokio::join!(waits, parks);
        assert!(!fourth.expect("a place").is_reused());
        assert_eq!(node.report().opened, 4);
        assert!(node.report().connections <= 2);
    });
}

#[test]
fn a_place_is_not_lost_on_somebody_who_cannot_use_what_is_idle() {
    run(async {
        let mut limited = plain(answering(ok).await);
        limited.max_connections = Some(1);
        let node = Node::new(limited);
        let mut busy = node.open(&node.choose()).await.expect("a connection");
        let (one, two) = (node.choose(), node.choose());
        let needs_new = async {
            let mut link = node.open_new(&one).await.expect("a place");
            assert!(!link.is_reused());
            exchange(&mut link, &request("POST", "/"), b"", 1024).await.expect("an answer");
            link.finish();
        };
        let takes_any = async { node.open(&two).await.expect("what is given back").is_reused() };
        let gives = async {
            settle().await;
            exchange(&mut busy, &request("GET", "/"), b"", 1024).await.expect("an answer");
            busy.finish();
        };
        let ((), was_reused, ()) = tokio::join!(needs_new, takes_any, gives);
        assert!(was_reused);
        assert_eq!(node.report().opened, 2);
    });
}

#[test]
fn requests_under_way_are_limited_over_all_threads() {
    run(async {
        let mut limited = plain(answering(ok).await);
        limited.max_requests = Some(2);
        let node = Node::new(limited);
        let other = Node::thread(Arc::clone(&node.fleet), Arc::clone(&node.pool), 2);
        let held = (node.choose(), other.choose());
        assert_eq!(node.try_choose().err(), Some(Fault::ConnectionLimitReached));
        assert_eq!(other.try_choose().err(), Some(Fault::ConnectionLimitReached));
        drop(held.0);
        let third = other.choose();
        assert!(node.try_choose().is_err());
        drop((held.1, third));
        drop((node.choose(), node.choose()));
    });
}

#[test]
fn a_full_origin_gives_way_to_another() {
    run(async {
        let mut limited = plain(answering(ok).await);
        limited.max_requests = Some(1);
        let mut second = limited.origins[0].clone();
        second.id = zone::Id([9; 16]);
        limited.origins.push(second);
        let node = Node::new(limited);
        let (one, two) = (node.choose(), node.choose());
        assert_ne!(one.index, two.index);
        assert_eq!(node.try_choose().err(), Some(Fault::ConnectionLimitReached));
        let freed = one.index;
        drop(one);
        assert_eq!(node.choose().index, freed);
    });
}

#[test]
fn a_connection_that_is_not_made_in_time_is_given_up() {
    run(async {
        // A listener with no room: the first connections fill its queue, the next are not answered.
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("a free port");
        socket.listen(0).expect("it listens");
        let address = socket.local_addr().expect("bound").as_socket().expect("an address");
        let _full = std::net::TcpStream::connect(address).expect("the one place");
        let node = Node::new(plain(address));
        let chosen = node.choose();
        let result = while_time_flies(&node.deadlines, node.open(&chosen)).await;
        assert_eq!(result.err(), Some(Fault::ConnectionTimeout));
        assert_eq!(node.report().connections, 0);
        drop(socket);
        let refused = while_time_flies(&node.deadlines, node.open(&chosen)).await;
        assert_eq!(refused.err(), Some(Fault::ConnectionRefused));
    });
}

#[test]
fn a_unix_socket_serves_like_any_other() {
    run(async {
        let path = std::env::temp_dir().join(format!("rempart-origin-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).expect("a free path");
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::task::spawn_local(async move {
                    let mut peer = Peer::new(stream);
                    while !peer.head().await.is_empty() {
                        peer.write(ok(0, "")).await;
                    }
                });
            }
        });
        let text = path.to_str().expect("text");
        let node = Node::new(pool(vec![at(OriginScheme::Unix, text, 0, OriginProtocol::Http1)]));
        for _ in 0..3 {
            let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
            assert_eq!(answer.body, b"ok");
            node.tick(1000); // through the parking too
        }
        assert_eq!(node.report().opened, 1);
        let link = node.open(&node.choose()).await.expect("a connection");
        assert_eq!(link.address_label(), format!("unix:{text}"));
        std::fs::remove_file(&path).expect("it is there");
    });
}

#[test]
fn a_parked_unix_socket_that_its_origin_closed_is_not_used() {
    run(async {
        let path = std::env::temp_dir().join(format!("rempart-parked-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).expect("a free path");
        let closing = Rc::new(tokio::sync::Notify::new());
        let closes = Rc::clone(&closing);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut peer = Peer::new(stream);
                peer.head().await;
                peer.write(ok(0, "")).await;
                closes.notified().await;
            }
        });
        let text = path.to_str().expect("text");
        let node = Node::new(pool(vec![at(OriginScheme::Unix, text, 0, OriginProtocol::Http1)]));
        node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        node.tick(1000); // parked
        closing.notify_one();
        settle().await; // the origin has closed it
        let link = node.open(&node.choose()).await.expect("a connection");
        assert!(!link.is_reused(), "one that the origin has closed");
        std::fs::remove_file(&path).expect("it is there");
    });
}

#[test]
fn the_proxy_header_comes_first_and_its_connection_serves_one_visitor() {
    run(async {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let (listener, address) = listen().await;
            let mut proxied = plain(address);
            proxied.proxy_protocol = Some(version);
            let node = Node::new(proxied);
            for _ in 0..2 {
                let served = async {
                    let (stream, _) = listener.accept().await.expect("a connection of its own");
                    let mut peer = Peer::new(stream);
                    match version {
                        ProxyVersion::V1 => {
                            let line = peer.until(b"\r\n").await;
                            assert_eq!(line, b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443\r\n");
                        }
                        ProxyVersion::V2 => {
                            let header = peer.exactly(28).await;
                            assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
                            assert_eq!(header[16..24], [192, 0, 2, 1, 198, 51, 100, 2]);
                        }
                    }
                    assert!(peer.head().await.starts_with("GET / HTTP/1.1\r\n"));
                    peer.write(ok(0, "")).await;
                };
                let asked = request("GET", "/");
                let (answer, ()) = tokio::join!(node.fetch(&asked, b""), served);
                assert_eq!(answer.expect("an answer").body, b"ok");
            }
            assert_eq!(node.report().opened, 2);
        }
    });
}

#[test]
fn a_name_is_resolved_and_its_addresses_tried_in_turn() {
    run(async {
        let address = answering(ok).await;
        let node =
            Node::new(pool(vec![at(OriginScheme::Http, "localhost", address.port(), OriginProtocol::Http1)]));
        // `localhost` may have ::1 first, where nobody listens.
        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
        assert_eq!(answer.body, b"ok");
        let name = "does-not-exist.invalid";
        let node = Node::new(pool(vec![at(OriginScheme::Http, name, 80, OriginProtocol::Http1)]));
        assert_eq!(node.fetch(&request("GET", "/"), b"").await.err(), Some(Fault::DnsError));
    });
}

#[test]
fn checks_find_an_origin_unwell_and_well_again() {
    run(async {
        let works = Rc::new(Cell::new(true));
        let state = Rc::clone(&works);
        let address = origin(move |mut peer, _| {
            let state = Rc::clone(&state);
            async move {
                let head = peer.head().await;
                assert!(head.starts_with("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
                let status = if state.get() { 204 } else { 503 };
                peer.write(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")).await;
            }
        })
        .await;
        let mut checked = plain(address);
        checked.health = Some(zone::Health {
            probe: zone::Probe::Http {
                path: "/healthz".to_owned(),
                method: "GET".to_owned(),
                host: None,
                expected: vec![zone::Statuses { first: 200, last: 299 }],
            },
            interval_ms: 1000,
            timeout_ms: 500,
            healthy_after: 2,
            unhealthy_after: 3,
        });
        let node = Node::new(checked);
        let ticks_until = async |is_up: bool| {
            for ticks in 0..200 {
                if node.report().is_up == is_up {
                    return ticks;
                }
                node.tick(100);
                settle().await;
                while node.report().connections > 0 {
                    tokio::task::yield_now().await;
                }
            }
            panic!("no check came to a result");
        };
        works.set(false);
        assert!(ticks_until(false).await >= 20, "three failures are asked for");
        works.set(true);
        assert!(ticks_until(true).await >= 10, "two successes are asked for");
        assert_eq!(node.report().requests, 0, "checks are no requests");
    });
}

#[test]
fn threads_that_wait_at_the_limit_are_never_forgotten() {
    const THREADS: usize = 6;
    const LIMIT: usize = 3;
    run(async {
        let (open, most) = (Rc::new(Cell::new(0_usize)), Rc::new(Cell::new(0)));
        let (open_now, most_seen) = (Rc::clone(&open), Rc::clone(&most));
        let address = origin(move |mut peer, _| {
            let (open, most) = (Rc::clone(&open_now), Rc::clone(&most_seen));
            async move {
                open.set(open.get() + 1);
                most.set(most.get().max(open.get()));
                while !peer.head().await.is_empty() {
                    peer.write(ok(0, "")).await;
                }
                open.set(open.get() - 1);
            }
        })
        .await;
        let mut limited = plain(address);
        limited.max_connections = Some(LIMIT);
        let limited = Arc::new(limited);
        let fleet = Fleet::new(FleetSettings::default());
        fleet.apply_pools([&limited].into_iter(), 0);
        let work = |seed: usize| {
            let (fleet, pool) = (Arc::clone(&fleet), Arc::clone(&limited));
            move || {
                // Deadlines are never swept here: a waiter that is not woken would wait for ever.
                run(async move {
                    let node = Node::thread(fleet, pool, seed as u64);
                    for number in 0..200 {
                        let answer = node.fetch(&request("GET", "/"), b"").await.expect("an answer");
                        assert_eq!(answer.body, b"ok");
                        if number % 7 == seed {
                            node.tick(200);
                        }
                    }
                });
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|seed| tokio::task::spawn_blocking(work(seed))).collect();
        for thread in threads {
            thread.await.expect("every exchange had its answer");
        }
        let report = &fleet.pool_states(0)[0].origins[0];
        assert_eq!((report.requests, report.in_flight), (200 * THREADS as u64, 0));
        // The origin may see a close a moment after the node has counted it.
        assert!(report.connections as usize <= LIMIT && most.get() <= LIMIT + THREADS, "{}", most.get());
    });
}
