//! The PROXY protocol header, versions 1 and 2, as an origin reads it (HAProxy's proxy-protocol.txt).
//!
//! It reads exactly the header's bytes, so that TLS may follow. It does not write headers: tests write the
//! bytes they mean. Called by [`super`]. Read next: [`super::record`].

use std::io::Read;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};

/// A header as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// 1 or 2.
    pub version: u8,
    /// The visitor; none for LOCAL or UNKNOWN.
    pub source: Option<SocketAddr>,
    /// Where the visitor connected to.
    pub destination: Option<SocketAddr>,
    /// All its bytes.
    pub raw: Vec<u8>,
}

const SIGNATURE_2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// A version 1 header with its CRLF is at most this long.
const LINE_BYTES_MAX: usize = 107;

/// Reads one header and not a byte more.
///
/// # Errors
/// When what comes is not a header, or the stream ends.
pub fn read_proxy_header(from: &mut impl Read) -> Result<ProxyHeader> {
    let mut raw = read_exactly(from, 1)?;
    if raw == b"P" {
        while !raw.ends_with(b"\r\n") {
            ensure!(raw.len() < LINE_BYTES_MAX, "PROXY line without end");
            raw.extend(read_exactly(from, 1)?);
        }
        return version_1(raw);
    }
    raw.extend(read_exactly(from, 15)?);
    ensure!(raw.starts_with(SIGNATURE_2), "no PROXY header but {raw:?}");
    let (command, family) = (raw[12], raw[13]);
    let length = u16::from_be_bytes([raw[14], raw[15]]);
    let block = read_exactly(from, usize::from(length))?;
    raw.extend(&block);
    let (source, destination) = match (command, family >> 4) {
        (0x20, _) | (0x21, 0) => (None, None),
        (0x21, 1) => addresses(&block, 4)?,
        (0x21, 2) => addresses(&block, 16)?,
        _ => bail!("PROXY version 2 with command {command:#x} and family {family:#x}"),
    };
    Ok(ProxyHeader { version: 2, source, destination, raw })
}

fn version_1(raw: Vec<u8>) -> Result<ProxyHeader> {
    let line = std::str::from_utf8(&raw)?.trim_end().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let (source, destination) = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => (None, None),
        ["PROXY", "TCP4" | "TCP6", source, destination, source_port, destination_port] => (
            Some(SocketAddr::new(source.parse()?, source_port.parse()?)),
            Some(SocketAddr::new(destination.parse()?, destination_port.parse()?)),
        ),
        _ => bail!("PROXY line {line:?}"),
    };
    Ok(ProxyHeader { version: 1, source, destination, raw })
}

fn addresses(block: &[u8], width: usize) -> Result<(Option<SocketAddr>, Option<SocketAddr>)> {
    let ip = |at: usize| -> Result<IpAddr> {
        let bytes = block.get(at..at + width).context("short PROXY block")?;
        Ok(match <[u8; 4]>::try_from(bytes) {
            Ok(four) => IpAddr::from(four),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes)?),
        })
    };
    let port = |at: usize| -> Result<u16> {
        Ok(u16::from_be_bytes(block.get(at..at + 2).context("short PROXY block")?.try_into()?))
    };
    Ok((
        Some(SocketAddr::new(ip(0)?, port(2 * width)?)),
        Some(SocketAddr::new(ip(width)?, port(2 * width + 2)?)),
    ))
}

fn read_exactly(from: &mut impl Read, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).context("inside the PROXY header")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_and_leaves_what_follows() {
        let mut from: &[u8] = b"PROXY TCP6 2001:db8::1 ::1 4000 443\r\nGET";
        let header = read_proxy_header(&mut from).unwrap();
        assert_eq!(header.source, Some("[2001:db8::1]:4000".parse().unwrap()));
        assert_eq!(header.destination, Some("[::1]:443".parse().unwrap()));
        assert_eq!(from, b"GET");
    }

    #[test]
    fn reads_a_version_2_block_with_extra_fields() {
        let mut bytes = SIGNATURE_2.to_vec();
        bytes.extend([0x21, 0x11, 0, 15, 192, 0, 2, 1, 127, 0, 0, 1, 0x0f, 0xa0, 1, 0xbb, 4, 0, 0, b'X']);
        let mut from = bytes.as_slice();
        let header = read_proxy_header(&mut from).unwrap();
        assert_eq!(header.source, Some("192.0.2.1:4000".parse().unwrap()));
        assert_eq!(header.destination, Some("127.0.0.1:443".parse().unwrap()));
        assert_eq!(from, b"X");
    }

    #[test]
    fn refuses_what_is_no_header() {
        assert!(read_proxy_header(&mut b"GET / HTTP/1.1\r\n\r\n".as_slice()).is_err());
        assert!(read_proxy_header(&mut b"PROXY TCP4 1.2.3.4\r\n".as_slice()).is_err());
    }
}
