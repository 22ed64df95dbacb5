//! Writes the PROXY protocol header (HAProxy's proxy-protocol.txt, versions 1 and 2), sans-I/O.
//!
//! It is the first thing on a connection and speaks for all of it, so a connection that carries one serves
//! one visitor only. Called by `connect.rs`.

use std::net::{IpAddr, SocketAddr};

/// Both addresses in one family: IPv4 if both are (also as mapped IPv6), else IPv6.
fn in_one_family(visitor: SocketAddr, local: SocketAddr) -> (IpAddr, IpAddr) {
    match (visitor.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (from.into(), to.into()),
        (from, to) => {
            let wide = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
                IpAddr::V6(_) => ip,
            };
            (wide(from), wide(to))
        }
    }
}

/// Appends a version 1 header, at most 107 bytes of text.
pub fn write_v1(out: &mut Vec<u8>, visitor: SocketAddr, local: SocketAddr) {
    let (from, to) = in_one_family(visitor, local);
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let line = format!("PROXY {family} {from} {to} {} {}\r\n", visitor.port(), local.port());
    out.extend_from_slice(line.as_bytes());
}

/// Appends a version 2 header, 28 or 52 bytes, command PROXY over TCP.
pub fn write_v2(out: &mut Vec<u8>, visitor: SocketAddr, local: SocketAddr) {
    out.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x21");
    match in_one_family(visitor, local) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(&[0x11, 0, 12]);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (from, to) => {
            out.extend_from_slice(&[0x21, 0, 36]);
            for ip in [from, to] {
                if let IpAddr::V6(ip) = ip {
                    out.extend_from_slice(&ip.octets());
                }
            }
        }
    }
    out.extend_from_slice(&visitor.port().to_be_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn version_1_is_one_line() {
        let mut out = Vec::new();
        write_v1(&mut out, at("192.0.2.1:4000"), at("[::ffff:198.51.100.2]:443"));
        assert_eq!(out, b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443\r\n");
        out.clear();
        write_v1(&mut out, at("[2001:db8::1]:4000"), at("[2001:db8::2]:443"));
        assert_eq!(out, b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 443\r\n");
    }

    #[test]
    fn version_2_has_its_lengths() {
        let mut out = Vec::new();
        write_v2(&mut out, at("192.0.2.1:4000"), at("198.51.100.2:443"));
        assert_eq!(out[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(out[16..28], [192, 0, 2, 1, 198, 51, 100, 2, 0x0f, 0xa0, 1, 0xbb]);
        assert_eq!(out.len(), 28);
        out.clear();
        write_v2(&mut out, at("192.0.2.1:4000"), at("[2001:db8::2]:443"));
        assert_eq!(out[12..16], [0x21, 0x21, 0, 36]);
        assert_eq!(out.len(), 52);
    }
}
