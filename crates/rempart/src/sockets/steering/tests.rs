//! Tests of the steering: over real sockets, since the kernel runs the programs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

use socket2::{Domain, Socket, Type};

use super::*;
use crate::sockets::{Given, bind_listener};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn steering(threads: usize) -> Steering {
    Steering {
        threads,
        udp_generation: 0,
        candidate_percent: 0,
        candidate_has_udp: true,
        secret: 0x9e37_79b1,
    }
}

/// One group over TCP, steered.
fn tcp_group(at: SocketAddr, steering: Steering) -> (Vec<TcpListener>, SocketAddr) {
    let sockets = bind_listener(at, steering.threads, false, &mut Given::default()).unwrap();
    steering.apply(&sockets).unwrap();
    (sockets.tcp.into_iter().map(TcpListener::from).collect(), sockets.address)
}

/// Connects from an address; the connection stays open until it is dropped.
fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Connections that each slot has in its queue.
fn queued(listeners: &[TcpListener]) -> Vec<usize> {
    listeners.iter().map(|listener| std::iter::from_fn(|| listener.accept().ok()).count()).collect()
}

fn udp(sockets: ListenerSockets) -> (Vec<UdpSocket>, SocketAddr) {
    (sockets.udp.into_iter().map(UdpSocket::from).collect(), sockets.address)
}

/// Sends one packet and says which slot got it.
fn slot_of(group: &[UdpSocket], to: SocketAddr, packet: &[u8]) -> usize {
    let visitor = UdpSocket::bind(LOOPBACK).unwrap();
    visitor.send_to(packet, to).unwrap();
    let mut bytes = [0; 64];
    // Loopback delivers within `send_to`, so the packet is there already.
    group.iter().position(|socket| socket.recv(&mut bytes).is_ok()).expect("a socket has the packet")
}

/// A packet with a long header and a visitor's own id of eight bytes.
fn first_packet(id: [u8; 2]) -> Vec<u8> {
    [&[0xc0, 0, 0, 0, 1, 8][..], &id, &[9; 16]].concat()
}

#[test]
fn without_a_share_every_thread_gets_visitors_and_the_candidate_none() {
    let (listeners, address) = tcp_group(LOOPBACK, steering(2));
    let _visitors: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let queued = queued(&listeners);
    assert_eq!(queued.iter().sum::<usize>(), 64);
    assert!(queued[0] > 0 && queued[1] > 0 && queued[2] == 0, "{queued:?}");
}

#[test]
fn a_share_of_prefixes_goes_to_the_candidate_and_a_prefix_is_never_split() {
    let (listeners, address) = tcp_group(LOOPBACK, Steering { candidate_percent: 20, ..steering(2) });
    let mut candidates = 0;
    for net in 0..100 {
        let from = |host| IpAddr::V4(Ipv4Addr::new(127, 7, net, host));
        let _visitors: Vec<_> = (1..=4).map(|host| connect_from(from(host), address)).collect();
        match queued(&listeners).as_slice() {
            [.., 4] => candidates += 1,
            [first, second, 0] => assert_eq!(first + second, 4),
            split => panic!("127.7.{net}.0/24 was split: {split:?}"),
        }
    }
    assert!((5..=45).contains(&candidates), "{candidates} of 100 prefixes are the candidate's");
}

#[test]
fn neighbouring_networks_and_ports_are_spread_whatever_the_secret() {
    // Multiples of the prefixes 127.7.0.0/24 and following, and of ports, fall together with these: a step of
    // 100 × 2¹⁶ leaves the remainder by 100 as it is, one of 2¹⁷ that by 2.
    let inverse = |step: u32| (step >> 8) | 1;
    for secret in [inverse(100 << 16), inverse(200 << 16), inverse(50 << 16), 1, 1 | 1 << 17, 1 | 1 << 31] {
        let steering = Steering { candidate_percent: 50, secret, ..steering(2) };
        let (listeners, address) = tcp_group(LOOPBACK, steering);
        let from = |net| IpAddr::V4(Ipv4Addr::new(127, 7, net, 1));
        let _networks: Vec<_> = (0..100).map(|net| connect_from(from(net), address)).collect();
        let slots = queued(&listeners);
        assert!((25..=75).contains(&slots[2]), "{secret:#x}: {} of 100 are the candidate's", slots[2]);
        let (listeners, address) = tcp_group(LOOPBACK, Steering { candidate_percent: 0, ..steering });
        let _ports: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
        let slots = queued(&listeners);
        assert!((25..=75).contains(&slots[0]), "{secret:#x}: {} of 100 are the first thread's", slots[0]);
    }
}

#[test]
fn ipv6_visitors_are_spread_and_steered_too() {
    let at = (Ipv6Addr::LOCALHOST, 0).into();
    if bind_listener(at, 1, false, &mut Given::default()).is_err() {
        // A machine without IPv6 cannot show it.
        return;
    }
    let (listeners, address) = tcp_group(at, steering(2));
    let _visitors: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    let spread = queued(&listeners);
    assert!(spread[0] > 0 && spread[1] > 0 && spread[2] == 0, "{spread:?}");
    let (listeners, address) = tcp_group(at, Steering { candidate_percent: 100, ..steering(2) });
    let _visitor = TcpStream::connect(address).unwrap();
    assert_eq!(queued(&listeners), [0, 0, 1]);
}

#[test]
fn a_swap_holds_for_the_next_visitor() {
    let sockets = bind_listener(LOOPBACK, 1, false, &mut Given::default()).unwrap();
    let address = sockets.address;
    let mut taken = Vec::new();
    for candidate_percent in [0, 100, 0] {
        Steering { candidate_percent, ..steering(1) }.apply(&sockets).unwrap();
        taken.push(TcpStream::connect(address).unwrap());
    }
    let listeners: Vec<_> = sockets.tcp.into_iter().map(TcpListener::from).collect();
    assert_eq!(queued(&listeners), [2, 1]);
}

#[test]
fn packets_with_our_ids_go_to_the_slot_they_name_whoever_serves() {
    for udp_generation in [0, 1] {
        let sockets = bind_listener(LOOPBACK, 3, true, &mut Given::default()).unwrap();
        Steering { udp_generation, ..steering(3) }.apply(&sockets).unwrap();
        let (group, address) = udp(sockets);
        assert_eq!(group.len(), 7);
        for id in (0..=u16::MAX).step_by(997) {
            let [high, low] = id.to_be_bytes();
            let short = [&[0x40, high, low][..], &[9; 11]].concat();
            assert_eq!(slot_of(&group, address, &short), usize::from(id) % 7, "short header, id {id}");
            let long = [&[0xc0, 0, 0, 0, 1, 13, high, low][..], &[9; 11]].concat();
            assert_eq!(slot_of(&group, address, &long), usize::from(id) % 7, "long header, id {id}");
        }
    }
}

#[test]
fn first_packets_go_to_the_serving_generation_and_a_share_to_the_candidate() {
    let sockets = bind_listener(LOOPBACK, 2, true, &mut Given::default()).unwrap();
    let steering = Steering { udp_generation: 1, candidate_percent: 25, ..steering(2) };
    steering.apply(&sockets).unwrap();
    let (group, address) = udp(sockets);
    for (id, expected) in [([0, 200], 2), ([1, 200], 3), ([4, 64], 2), ([0, 63], 4), ([1, 0], 4)] {
        assert_eq!(slot_of(&group, address, &first_packet(id)), expected, "id {id:?}");
    }
}

#[test]
fn a_packet_too_short_for_a_connection_id_is_delivered_somewhere_and_harms_nobody() {
    let sockets = bind_listener(LOOPBACK, 2, true, &mut Given::default()).unwrap();
    steering(2).apply(&sockets).unwrap();
    let (group, address) = udp(sockets);
    for packet in [&[0xc0u8][..], &[0x40], &[0xc0, 0, 0, 0, 1], &[0xc0, 0, 0, 0, 1, 13, 7]] {
        slot_of(&group, address, packet);
    }
}
