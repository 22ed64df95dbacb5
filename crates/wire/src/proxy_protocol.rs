//! The PROXY protocol, receiving side: a load balancer in front of us says, in the first bytes of a TCP
//! connection, for whom it opened it. Versions 1 (a line of text) and 2 (binary), as in HAProxy's
//! `proxy-protocol.txt`, whose sections the comments name.
//!
//! Whoever may send such a header may claim to be any visitor. This parser trusts no one and knows no
//! configuration: the listener decides from whom a header is expected, and then it is mandatory (§5 forbids
//! guessing). It passes nothing on but addresses: what the sender says about TLS, names or ids is skipped. It
//! does not write headers.
//!
//! Called by the listeners before TLS or HTTP. Read [`read_header`] next.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a version 1 line, CRLF included: the worst case of §2.1.
const LINE_BYTES_MAX: usize = 107;

/// Bytes that may follow the fixed part of a version 2 header. The length field allows 64 KiB; addresses need
/// 36 (216 for Unix sockets), and cloud balancers add some 100 bytes of TLVs, so that a page leaves room for
/// a client certificate's name.
const BLOCK_BYTES_MAX: usize = 4096;

/// First bytes of version 1 (§2.1).
const LINE_START: &[u8] = b"PROXY ";
/// First bytes of version 2 (§2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

const COMMAND_LOCAL: u8 = 0x20;
const COMMAND_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const FAMILY_MAX: u8 = 3;
const TRANSPORT_MAX: u8 = 2;
/// Type of the TLV with the header's checksum (§2.2.3).
const TLV_CRC32C: u8 = 0x03;

/// Whose connection it is, as the sender of the header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxied {
    /// The sender's own, such as a health check, or one whose ends it cannot tell: the addresses of the
    /// socket hold.
    Local,
    /// Relayed for a visitor. IPv4 addresses written as IPv6 (`::ffff:192.0.2.1`) come as IPv4, so that no
    /// visitor has two names.
    From {
        /// The visitor's end.
        visitor: SocketAddr,
        /// The end that the visitor connected to.
        local: SocketAddr,
    },
}

/// What is wrong with a header. Each is final and leaves no way to go on: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The first bytes belong to neither version: a sender that was not told to use the protocol, or somebody
    /// who went around the load balancer.
    NoHeader,
    /// Version 1: no CRLF within 107 bytes.
    LineTooLong,
    /// Version 1: a CR or LF on its own.
    LineEnding,
    /// Version 1: words missing, in excess, not separated by one space, or an unknown protocol.
    Line,
    /// Version 1: an address or port not in its canonical form; version 2: no room for the addresses
    /// announced.
    Address,
    /// Version 2: another version, or a command other than LOCAL and PROXY.
    Command,
    /// Version 2: an address family or transport that is not assigned.
    Family,
    /// Version 2: more than 4096 bytes announced.
    TooLong,
    /// Version 2: a TLV that ends after the header, or a checksum of a wrong size or given twice.
    Tlv,
    /// Version 2: the checksum does not fit the header.
    Checksum,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "the connection did not begin with a PROXY protocol header",
            Self::LineTooLong => "the PROXY line does not end within 107 bytes",
            Self::LineEnding => "the PROXY line holds a CR or LF on its own",
            Self::Line => "the PROXY line does not have the expected words",
            Self::Address => "the PROXY header holds a malformed address",
            Self::Command => "the PROXY header has an unknown version or command",
            Self::Family => "the PROXY header has an unknown address family or transport",
            Self::TooLong => "the PROXY header is longer than 4 KiB",
            Self::Tlv => "the PROXY header holds a malformed TLV",
            Self::Checksum => "the PROXY header does not fit its checksum",
        })
    }
}

impl Error for Malformed {}

/// Reads the header at the front of `buffer`, which holds all bytes of the connection so far. Answers whose
/// connection it is and how many bytes to drop before the visitor's own begin; `Ok(None)` asks for more bytes
/// and never comes once `buffer` holds 4112 (107 in version 1). An answer other than `Ok(None)` does not
/// change when bytes are added.
///
/// - Version 1: `TCP4`, `TCP6`, and `UNKNOWN`, whose rest of line is ignored. IPv6 may be written with an
///   IPv4 tail, since the system's own formatting does so.
/// - Version 2: LOCAL, TCP over IPv4 and IPv6. Other assigned families and transports (UDP, Unix sockets,
///   UNSPEC) count as [`Proxied::Local`], as §2.2 asks; their block is skipped unread. TLVs are skipped, but
///   must add up; the checksum is verified when there is one.
///
/// # Errors
///
/// `Malformed`, as soon as the bytes leave no other reading.
pub fn read_header(buffer: &[u8]) -> Result<Option<(Proxied, usize)>, Malformed> {
    if buffer.starts_with(LINE_START) {
        read_line(buffer)
    } else if buffer.starts_with(SIGNATURE) {
        read_binary(buffer)
    } else if LINE_START.starts_with(buffer) || SIGNATURE.starts_with(buffer) {
        Ok(None)
    } else {
        Err(Malformed::NoHeader)
    }
}

/// Version 1 (§2.1). The line is not looked into before its end is there, as the text demands.
fn read_line(buffer: &[u8]) -> Result<Option<(Proxied, usize)>, Malformed> {
    let window = buffer.get(..LINE_BYTES_MAX).unwrap_or(buffer);
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() == LINE_BYTES_MAX { Err(Malformed::LineTooLong) } else { Ok(None) };
    };
    match window.get(end..) {
        Some([b'\r', b'\n', ..]) => {}
        Some([b'\r']) if window.len() == LINE_BYTES_MAX => return Err(Malformed::LineTooLong),
        Some([b'\r']) => return Ok(None),
        _ => return Err(Malformed::LineEnding),
    }
    // `UNKNOWN` may be followed by anything, even by what is not text.
    let line = window.get(LINE_START.len()..end).ok_or(Malformed::Line)?;
    let length = end + 2;
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(Some((Proxied::Local, length)));
    }
    let line = str::from_utf8(line).map_err(|_| Malformed::Line)?;
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(Malformed::Line);
    let (protocol, source, destination) = (word()?, word()?, word()?);
    let (source_port, destination_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(Malformed::Line);
    }
    let read_address: fn(&str) -> Option<IpAddr> = match protocol {
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(Malformed::Line),
    };
    let end = |address: &str, port: &str| {
        let (address, port) = read_address(address).zip(read_port(port)).ok_or(Malformed::Address)?;
        Ok(SocketAddr::new(address.to_canonical(), port))
    };
    let visitor = end(source, source_port)?;
    let local = end(destination, destination_port)?;
    Ok(Some((Proxied::From { visitor, local }, length)))
}

/// A decimal number up to 65535 without sign or leading zeros.
fn read_port(word: &str) -> Option<u16> {
    let is_canonical = word == "0" || word.starts_with(|first: char| matches!(first, '1'..='9'));
    if is_canonical { word.parse().ok() } else { None }
}

/// Version 2 (§2.2).
fn read_binary(buffer: &[u8]) -> Result<Option<(Proxied, usize)>, Malformed> {
    let rest = buffer.get(SIGNATURE.len()..).unwrap_or_default();
    if rest.first().is_some_and(|&byte| byte != COMMAND_LOCAL && byte != COMMAND_PROXY) {
        return Err(Malformed::Command);
    }
    if rest.get(1).is_some_and(|&byte| byte >> 4 > FAMILY_MAX || byte & 0x0f > TRANSPORT_MAX)
        && rest.first() == Some(&COMMAND_PROXY)
    {
        return Err(Malformed::Family);
    }
    let Some((&[command, family, high, low], rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BLOCK_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(None);
    };
    let header_bytes = FIXED_BYTES + length;
    let (proxied, tlvs) = match (command, family) {
        (COMMAND_PROXY, TCP_OVER_IPV4) => read_ends::<4>(block)?,
        (COMMAND_PROXY, TCP_OVER_IPV6) => read_ends::<16>(block)?,
        // Where the TLVs begin is not certain here; the whole block is to be discarded.
        _ => return Ok(Some((Proxied::Local, header_bytes))),
    };
    let header = buffer.get(..header_bytes).unwrap_or(buffer);
    check_tlvs(header, tlvs)?;
    Ok(Some((proxied, header_bytes)))
}

/// Reads two addresses of `N` bytes and two ports; answers what follows them too.
fn read_ends<const N: usize>(block: &[u8]) -> Result<(Proxied, &[u8]), Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let parts = || {
        let (&visitor, rest) = block.split_first_chunk::<N>()?;
        let (&local, rest) = rest.split_first_chunk::<N>()?;
        let (&visitor_port, rest) = rest.split_first_chunk::<2>()?;
        let (&local_port, rest) = rest.split_first_chunk::<2>()?;
        let end = |address: [u8; N], port| {
            SocketAddr::new(IpAddr::from(address).to_canonical(), u16::from_be_bytes(port))
        };
        Some((Proxied::From { visitor: end(visitor, visitor_port), local: end(local, local_port) }, rest))
    };
    parts().ok_or(Malformed::Address)
}

/// Walks the TLVs at the end of `header` and verifies the checksum among them, if any.
fn check_tlvs(header: &[u8], mut tlvs: &[u8]) -> Result<(), Malformed> {
    let mut checksum = None;
    while !tlvs.is_empty() {
        let (&[kind, high, low], rest) = tlvs.split_first_chunk::<3>().ok_or(Malformed::Tlv)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = rest.split_at_checked(length).ok_or(Malformed::Tlv)?;
        if kind == TLV_CRC32C {
            let value: [u8; 4] = value.try_into().map_err(|_| Malformed::Tlv)?;
            let at = header.len() - rest.len(); // `rest` is the tail of `header`
            if checksum.replace((at, u32::from_be_bytes(value))).is_some() {
                return Err(Malformed::Tlv);
            }
        }
        tlvs = after;
    }
    let Some((at, announced)) = checksum else {
        return Ok(());
    };
    // The sum is taken with zeros in its own place.
    let is_own = |index| (at..at + 4).contains(&index);
    let bytes = header.iter().enumerate().map(|(index, &byte)| if is_own(index) { 0 } else { byte });
    if crc32c(bytes) == announced { Ok(()) } else { Err(Malformed::Checksum) }
}

/// CRC-32C, Castagnoli's polynomial in its reflected form (RFC 9260, Appendix A).
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut entry = index as u32;
            let mut bit = 0;
            while bit < 8 {
                entry = if entry & 1 == 1 { entry >> 1 ^ 0x82f6_3b78 } else { entry >> 1 };
                bit += 1;
            }
            table[index] = entry;
            index += 1;
        }
        table
    };
    // The index has eight bits and the table 256 places.
    !bytes.fold(u32::MAX, |sum, byte| sum >> 8 ^ TABLE[usize::from(sum as u8 ^ byte)])
}
