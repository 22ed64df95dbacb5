//! What the splice itself says: TLS alerts and a plain 503 to visitors, PROXY headers to origins; and how far
//! a request's head and an incoming PROXY header go.
//!
//! It looks for the end of a head and judges nothing else: every request gets the same answer. Called by the
//! loop; the PROXY layout is that of HAProxy's `proxy-protocol.txt`, 2.1 and 2.2.

use std::net::SocketAddr;

use crate::hello::NotHello;
use crate::limits::PROXY_BYTES_MAX;
use crate::table::Proxy;

/// TLS alerts (RFC 8446 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alert {
    /// The hello cannot be read.
    DecodeError = 50,
    /// No origin answered.
    InternalError = 80,
    /// No agreed zone has that name, or none was given (RFC 6066 §3).
    UnrecognizedName = 112,
}

impl Alert {
    /// The alert as a record, fatal.
    pub(crate) fn record(self) -> Vec<u8> {
        vec![21, 3, 3, 0, 2, 2, self as u8]
    }
}

/// The plain 503 for a request's head. An answer to HEAD has the same fields and no body (RFC 9110 §9.3.2).
pub(crate) fn unavailable(head: &[u8], retry_after_s: u32) -> Vec<u8> {
    const BODY: &str = "This site is unavailable for the moment. Please try again later.\n";
    let body = if head.starts_with(b"HEAD ") { "" } else { BODY };
    let length = BODY.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\nRetry-After: {retry_after_s}\r\nCache-Control: no-store\r\n\
         Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Whether the empty line that ends a request's head has arrived. A bare LF counts: the answer is the same.
pub(crate) fn has_head_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| pair == b"\n\n") || bytes.windows(4).any(|four| four == b"\r\n\r\n")
}

const SIGNATURE_V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const SIGNATURE_V1: &[u8] = b"PROXY ";

/// Bytes behind the fixed part of a received version 2 header: addresses, and a few extensions.
const V2_REST_BYTES_MAX: usize = 1024;

/// The header that tells an origin who the visitor is and where it came in.
pub(crate) fn proxy_header(version: Proxy, visitor: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let (from, to) = (visitor.ip().to_canonical(), local.ip().to_canonical());
    let ports = (visitor.port(), local.port());
    match version {
        Proxy::None => Vec::new(),
        Proxy::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            format!("PROXY {family} {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
        }
        Proxy::V2 => {
            let mut addresses = Vec::with_capacity(36);
            for address in [from, to] {
                match address {
                    std::net::IpAddr::V4(address) => addresses.extend(address.octets()),
                    std::net::IpAddr::V6(address) => addresses.extend(address.octets()),
                }
            }
            addresses.extend(ports.0.to_be_bytes());
            addresses.extend(ports.1.to_be_bytes());
            // Version 2, command PROXY; then family and TCP.
            let mut header = SIGNATURE_V2.to_vec();
            header.extend([0x21, if from.is_ipv4() { 0x11 } else { 0x21 }, 0, addresses.len() as u8]);
            header.extend(addresses);
            header
        }
    }
}

/// Where a received PROXY header ends. It is not read: the origin gets it as it came. `Ok(None)` asks for
/// more.
///
/// # Errors
/// [`NotHello::NotTls`] when there is none.
pub(crate) fn proxy_header_end(bytes: &[u8]) -> Result<Option<usize>, NotHello> {
    let begins = |signature: &[u8]| {
        let common = signature.len().min(bytes.len());
        bytes.get(..common) == signature.get(..common)
    };
    if begins(SIGNATURE_V1) {
        let line = bytes.get(..PROXY_BYTES_MAX).unwrap_or(bytes);
        return match line.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => Ok(Some(end + 2)),
            None if line.len() == PROXY_BYTES_MAX => Err(NotHello::NotTls),
            None => Ok(None),
        };
    }
    if !begins(&SIGNATURE_V2) {
        return Err(NotHello::NotTls);
    }
    let Some(&[.., high, low]) = bytes.first_chunk::<16>() else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > V2_REST_BYTES_MAX {
        return Err(NotHello::TooLarge);
    }
    Ok((bytes.len() >= 16 + rest).then_some(16 + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn alerts_are_fatal_records() {
        assert_eq!(Alert::UnrecognizedName.record(), [21, 3, 3, 0, 2, 2, 112]);
        assert_eq!(Alert::InternalError.record(), [21, 3, 3, 0, 2, 2, 80]);
        assert_eq!(Alert::DecodeError.record(), [21, 3, 3, 0, 2, 2, 50]);
    }

    #[test]
    fn the_503_says_its_length_and_head_gets_no_body() {
        let answer = String::from_utf8(unavailable(b"GET / HTTP/1.1\r\n\r\n", 30)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.contains("\r\nRetry-After: 30\r\n") && head.ends_with("\r\nConnection: close"));
        let to_head = String::from_utf8(unavailable(b"HEAD / HTTP/1.1\r\n\r\n", 30)).unwrap();
        assert_eq!(to_head, format!("{head}\r\n\r\n"));
    }

    #[test]
    fn proxy_headers_have_the_bytes_of_the_specification() {
        let (visitor, local) = (address("192.0.2.7:4711"), address("198.51.100.1:443"));
        assert_eq!(
            proxy_header(Proxy::V1, visitor, local),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n"
        );
        let v2 = proxy_header(Proxy::V2, visitor, local);
        let rest = [0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 1, 0xbb];
        assert_eq!(v2, [&SIGNATURE_V2[..], &rest].concat());
        let v2 = proxy_header(Proxy::V2, address("[2001:db8::1]:1"), address("[::1]:443"));
        assert_eq!((v2.len(), &v2[12..16]), (52, &[0x21, 0x21, 0, 36][..]));
        let mapped = proxy_header(Proxy::V1, address("[::ffff:192.0.2.7]:1"), address("[::ffff:10.0.0.1]:2"));
        assert_eq!(mapped, b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n");
        assert!(proxy_header(Proxy::None, visitor, local).is_empty());
    }

    #[test]
    fn a_received_proxy_header_ends_where_it_says_at_every_split() {
        let v6 = address("[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
        for version in [Proxy::V1, Proxy::V2] {
            let header = proxy_header(version, v6, v6);
            for end in 0..header.len() {
                assert_eq!(proxy_header_end(&header[..end]), Ok(None), "{version:?} up to {end}");
            }
            let followed = [&header[..], b"\x16\x03\x01"].concat();
            assert_eq!(proxy_header_end(&followed), Ok(Some(header.len())));
            assert!(header.len() <= PROXY_BYTES_MAX);
        }
    }

    #[test]
    fn what_is_no_proxy_header_is_refused() {
        assert_eq!(proxy_header_end(b"\x16\x03\x01"), Err(NotHello::NotTls));
        assert_eq!(proxy_header_end(b"PROXY\t"), Err(NotHello::NotTls));
        assert_eq!(proxy_header_end(&[&b"PROXY "[..], &[b'1'; 101]].concat()), Err(NotHello::NotTls));
        let huge = [&SIGNATURE_V2[..], &[0x21, 0x11, 4, 1]].concat();
        assert_eq!(proxy_header_end(&huge), Err(NotHello::TooLarge));
    }
}
