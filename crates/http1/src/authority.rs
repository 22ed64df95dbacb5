//! Authorities: the host with an optional port that Host and some targets carry (RFC 3986 §3.2).
//!
//! Validates and compares; it does not resolve names, and knows no zones. Called by `request.rs`, and by
//! whoever needs the host without its port.

/// Splits an authority at the colon before its port: `[::1]:80` into `[::1]` and `Some("80")`.
///
/// Nothing is validated; without a colon after the host the port is `None`.
pub fn split_authority(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let host_end = match authority.first() {
        Some(b'[') => authority.iter().position(|byte| *byte == b']').map_or(authority.len(), |at| at + 1),
        _ => 0,
    };
    let Some(after) = authority.get(host_end..) else { return (authority, None) };
    match after.iter().position(|byte| *byte == b':').map(|at| at + host_end) {
        Some(colon) => (authority.get(..colon).unwrap_or_default(), authority.get(colon + 1..)),
        None => (authority, None),
    }
}

/// Whether `authority` is a host of at least one byte with an optional port up to 65535 (RFC 9110 §4.2).
///
/// Narrower than the grammar, where parsers differ: no user information, no percent-encoding, no comma, of
/// the bracketed forms IPv6 addresses alone. The port after a colon may be empty, as the grammar has it.
pub fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = split_authority(authority);
    is_host(host) && port.is_none_or(is_port)
}

/// Whether two authorities name the same place: hosts equal but for case, ports equal as numbers, where a
/// missing or empty one is `default_port`.
pub fn is_same_authority(one: &[u8], other: &[u8], default_port: u16) -> bool {
    let number = |port: Option<&[u8]>| match port {
        None | Some([]) => Some(default_port),
        Some(digits) => port_number(digits),
    };
    let ((host, port), (other_host, other_port)) = (split_authority(one), split_authority(other));
    host.eq_ignore_ascii_case(other_host) && number(port) == number(other_port)
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [] => false,
        [b'[', inner @ .., b']'] => {
            std::str::from_utf8(inner).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        }
        name => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte)),
    }
}

fn is_port(port: &[u8]) -> bool {
    port.is_empty() || port_number(port).is_some()
}

/// A port of one to five digits as a number, or `None`.
pub(crate) fn port_number(port: &[u8]) -> Option<u16> {
    if port.is_empty() || port.len() > 5 || !port.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = port.iter().fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok()
}
