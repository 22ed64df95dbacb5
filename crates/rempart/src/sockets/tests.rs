//! Tests of the sockets: groups, ports, refusals.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use testkit::folder::Folder;

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn udp(descriptors: Vec<OwnedFd>) -> Vec<UdpSocket> {
    descriptors.into_iter().map(UdpSocket::from).collect()
}

#[test]
fn port_zero_gives_every_thread_the_same_port_over_tcp_and_udp() {
    let sockets = bind_listener(LOOPBACK, 3, true, &mut Given::default()).unwrap();
    assert_ne!(sockets.address.port(), 0);
    assert_eq!((sockets.tcp.len(), sockets.udp.len()), (tcp_slots(3), udp_slots(3)));
    for listener in sockets.tcp {
        assert_eq!(TcpListener::from(listener).local_addr().unwrap(), sockets.address);
    }
    for socket in udp(sockets.udp) {
        assert_eq!(socket.local_addr().unwrap(), sockets.address);
    }
}

#[test]
fn an_address_that_a_second_rempart_of_the_same_user_holds_is_refused() {
    let first = bind_listener(LOOPBACK, 2, true, &mut Given::default()).unwrap();
    let error = bind_listener(first.address, 2, true, &mut Given::default()).unwrap_err().to_string();
    assert!(error.contains(&first.address.to_string()) && error.contains("choose another port"), "{error}");
}

#[test]
fn a_udp_port_that_somebody_holds_is_refused_even_when_tcp_is_free() {
    let holder = UdpSocket::bind(LOOPBACK).unwrap();
    let error =
        bind_listener(holder.local_addr().unwrap(), 2, true, &mut Given::default()).unwrap_err().to_string();
    assert!(error.contains("over UDP") || error.contains("over TCP"), "{error}");
}

#[test]
fn ipv6_leaves_the_ipv4_port_to_others() {
    let Ok(sockets) = bind_listener((Ipv6Addr::LOCALHOST, 0).into(), 2, true, &mut Given::default()) else {
        // A machine without IPv6 cannot show it.
        return;
    };
    assert!(sockets.address.is_ipv6());
    // Another program may hold one of the ports for itself, not all.
    let is_left = |_| {
        let any = bind_listener((Ipv6Addr::UNSPECIFIED, 0).into(), 1, false, &mut Given::default()).unwrap();
        let same = (Ipv4Addr::UNSPECIFIED, any.address.port()).into();
        bind_listener(same, 1, false, &mut Given::default()).is_ok()
    };
    assert!((0..20).any(is_left));
}

#[test]
fn an_address_of_another_machine_is_explained() {
    let error =
        bind_listener(([192, 0, 2, 1], 0).into(), 1, false, &mut Given::default()).unwrap_err().to_string();
    assert!(error.contains("no interface"), "{error}");
}

#[test]
fn the_command_socket_is_for_its_owner_alone_and_takes_an_earlier_ones_place() {
    let folder = Folder::new().unwrap();
    let path = folder.path().join("rempart.sock");
    let earlier = bind_command(&path).unwrap();
    let later = UnixListener::from(bind_command(&path).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let _visitor = std::os::unix::net::UnixStream::connect(&path).unwrap();
    later.accept().unwrap();
    drop(earlier);
}

#[test]
fn a_file_in_the_place_of_the_command_socket_is_never_removed() {
    let folder = Folder::new().unwrap();
    let path = folder.write("rempart.sock", "precious").unwrap();
    assert!(bind_command(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn the_limit_on_open_files_is_raised_to_what_the_system_allows() {
    use rustix::process::{Resource, getrlimit};
    let limit = raise_descriptor_limit();
    assert_eq!(limit, getrlimit(Resource::Nofile).maximum);
}

#[test]
fn there_is_room_for_descriptors_before_they_are_needed() {
    let limit = raise_descriptor_limit();
    make_room_for_descriptors(limit);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let room = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap().trim();
    let wanted = limit.unwrap().min(ROOM_MAX);
    assert!(room.parse::<u64>().unwrap() >= wanted, "{room} of {wanted}");
    make_room_for_descriptors(Some(0));
}

#[test]
fn udp_buffers_are_wider_than_the_systems_default() {
    let sockets = bind_listener(LOOPBACK, 1, true, &mut Given::default()).unwrap();
    let plain = Socket::from(UdpSocket::bind(LOOPBACK).unwrap());
    let wide = Socket::from(sockets.udp.into_iter().next().unwrap());
    assert!(wide.recv_buffer_size().unwrap() >= plain.recv_buffer_size().unwrap());
    assert!(wide.recv_buffer_size().unwrap() >= 256 * 1024);
}
