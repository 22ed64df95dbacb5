//! Attacks over QUIC: HTTP/3 that no honest visitor speaks, and first packets whose senders never hear an
//! answer.
//!
//! What is said is written by hand, packets are quinn's. Called by [`super`]; read next: [`FLOODS`].

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http3::{Code, Decoder, Event, Limits, RequestStream};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt,
};

use super::tcp::DROP;

/// How long an attacker goes on.
const PATIENCE: Duration = Duration::from_secs(25);

/// Streams and frames of a flood: several times what a limit lets pass.
const PIECES: u32 = 3_000;

/// Requests that must be given up while they are answered: each has an answer of its own under way.
const PROVOKED: u32 = 1_000;

/// What an attacker takes of each answer that it does not read: little, so that what comes leaves room in its
/// socket for the packet that ends it.
const WINDOW_BYTES: VarInt = VarInt::from_u32(16 * 1024);

/// HTTP/3's code for a request given up (RFC 9114 §8.1).
const CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// Whom attacks go to.
#[derive(Clone)]
pub(super) struct Victim {
    pub(super) address: SocketAddr,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

/// One attack on a connection of its own.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// The series that it is counted in, if it is.
    pub(super) counted: Option<&'static str>,
    /// How it has to end, and in no other way: a mistake in what is said here would end it too.
    pub(super) ends: End,
    kind: Kind,
}

/// How an attack ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The other side closed the connection, with this code.
    Closed(u64),
    /// QUIC itself did, or one of its errors.
    Broken,
    /// The request was answered with this status, whatever of it was still to come.
    Answered(u16),
    /// The answer was given up, with this code.
    Reset(u64),
    /// Not at all.
    WentOn,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Requests begun and given up.
    Resets,
    /// Requests whose bodies are longer than they said, which the other side has to give up.
    ProvokedResets,
    /// Streams of types that nobody knows.
    UnknownStreams,
    /// Frames of types that nobody knows, on the control stream.
    UnknownFrames,
    /// Pieces of a body with nothing in them.
    EmptyData,
    /// Fields for a table that was never granted.
    Inserts,
    /// Heads of some KiB that are some MiB once they are decoded.
    Bomb,
    SlowHead,
    SlowBody,
    SlowRead,
}

/// Too much was asked for.
const CALM: End = End::Closed(Code::ExcessiveLoad as u64);

macro_rules! attacks {
    ($($name:literal, $counted:expr, $ends:expr, $kind:ident;)*) => {
        &[$(Attack { name: $name, counted: $counted, ends: $ends, kind: Kind::$kind },)*]
    };
}

/// Those that go as fast as they can, some under the same word.
pub(super) const FLOODS: &[Attack] = attacks! {
    "resets over HTTP/3", Some(RESETS), CALM, Resets;
    "provoked resets over HTTP/3", Some(RESETS), CALM, ProvokedResets;
    "unknown streams over HTTP/3", Some(RESETS), CALM, UnknownStreams;
    "unknown frames over HTTP/3", Some("rempart_abuse_total{kind=\"frame_flood\"}"), CALM, UnknownFrames;
    "empty DATA over HTTP/3", Some("rempart_abuse_total{kind=\"empty_data_flood\"}"), CALM, EmptyData;
    // There is no dynamic table to fill: what tries to is an error (RFC 9204 §4.1.3).
    "QPACK inserts", None, End::Closed(Code::QpackEncoderStream as u64), Inserts;
    // Each is refused when it is over a limit, and no more of it is decoded; so many end the connection.
    "QPACK bombs", Some("rempart_abuse_total{kind=\"head_flood\"}"), CALM, Bomb;
};

/// Slow ones, each under a word of its own.
pub(super) const SLOW: &[Attack] = attacks! {
    "slow head over HTTP/3", Some("rempart_abuse_total{kind=\"slow_head\"}"), End::Answered(408), SlowHead;
    "slow body over HTTP/3", Some("rempart_abuse_total{kind=\"slow_body\"}"), End::Answered(408), SlowBody;
    "slow read over HTTP/3", Some("rempart_abuse_total{kind=\"slow_read\"}"), GIVEN_UP, SlowRead;
};

const RESETS: &str = "rempart_abuse_total{kind=\"resets\"}";

/// An answer that nobody takes.
const GIVEN_UP: End = End::Reset(Code::Internal as u64);

/// Bombs of one attacker at most: three times what a connection may lose.
const BOMBS: u32 = 1_000;

/// References to a long field of QPACK's static table in each: two bytes for 112 (RFC 9204, appendix A;
/// RFC 9114 §4.2.2).
const REFERENCES: usize = 8_000;

/// A GET of `a.example` by the static table of QPACK (RFC 9204, appendix A), as one HEADERS frame.
const REQUEST: &[u8] = b"\x01\x10\x00\x00\xd1\xd7\x50\x09a.example\xc1";

/// The same for a path.
const LARGE: &[u8] = b"\x01\x17\x00\x00\xd1\xd7\x50\x09a.example\x51\x06/large";

/// A POST that says its body has one byte, and one that does not say how long it is.
const OVERFULL: &[u8] = b"\x01\x1a\x00\x00\xd4\xd7\x50\x09a.example\x51\x06/begun\x54\x011";
const UPLOAD: &[u8] = b"\x01\x18\x00\x00\xd4\xd7\x50\x09a.example\x51\x07/upload";

fn client(victim: &Victim) -> Result<ClientConfig> {
    let mut tls = rustls::ClientConfig::clone(&victim.tls);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicClientConfig::try_from(tls).context("TLS 1.3 is not there")?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(WINDOW_BYTES);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await.context("it takes too long")? })
}

fn endpoint(victim: &Victim) -> Result<Endpoint> {
    let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
    endpoint.set_default_client_config(client(victim)?);
    Ok(endpoint)
}

/// A connection with its control stream, which must stay open.
async fn greet(endpoint: &Endpoint, victim: &Victim) -> Result<(Connection, SendStream)> {
    let quic = endpoint.connect(victim.address, "a.example")?.await.context("no connection")?;
    let mut control = quic.open_uni().await?;
    control.write_all(&[0, 4, 0]).await?; // its type, and SETTINGS without any
    Ok((quic, control))
}

/// Whether a visitor who means it is answered.
pub(super) fn is_served(victim: &Victim) -> bool {
    let asked = block_on(async {
        let endpoint = endpoint(victim)?;
        let (quic, _control) = greet(&endpoint, victim).await?;
        let (mut sending, mut receiving) = quic.open_bi().await?;
        sending.write_all(REQUEST).await?;
        sending.finish()?;
        Ok(receiving.read_to_end(64 * 1024).await?)
    });
    // A HEADERS frame comes first.
    asked.is_ok_and(|answer| answer.first() == Some(&1))
}

/// Attacks until the other side ends it.
///
/// # Errors
/// When no connection comes about.
pub(super) fn attack(victim: &Victim, attack: &Attack) -> Result<End> {
    block_on(async {
        let endpoint = endpoint(victim)?;
        let (quic, mut control) = greet(&endpoint, victim).await?;
        // An error is the end that is waited for.
        if let Ok(Some(end)) = go_on(&quic, &mut control, attack.kind).await {
            return Ok(end);
        }
        Ok(match tokio::time::timeout(PATIENCE / 2, quic.closed()).await {
            Ok(ConnectionError::ApplicationClosed(close)) => End::Closed(close.error_code.into_inner()),
            Ok(_) => End::Broken,
            Err(_) => End::WentOn,
        })
    })
}

/// Gives how a stream told the end, if it is a stream that does.
async fn go_on(quic: &Connection, control: &mut SendStream, kind: Kind) -> Result<Option<End>> {
    match kind {
        Kind::Resets => {
            for _ in 0..PIECES {
                let (mut sending, _unread) = quic.open_bi().await?;
                sending.write_all(REQUEST).await?;
                sending.reset(CANCELLED)?;
                tokio::task::yield_now().await;
            }
        }
        Kind::ProvokedResets => {
            // Kept: letting go of an answer tells the other side to stop, which is no error of the request.
            let mut kept = Vec::new();
            for _ in 0..PROVOKED {
                let (mut sending, mut answer) = quic.open_bi().await?;
                sending.write_all(OVERFULL).await?;
                // Before it has begun the request would be refused, which takes no reset.
                answer.read_chunk(1, true).await?;
                sending.write_all(b"\x00\x02xx").await?;
                kept.push(answer);
            }
        }
        Kind::UnknownStreams => {
            for _ in 0..PIECES {
                let mut sending = quic.open_uni().await?;
                sending.write_all(&[0x21]).await?;
                sending.finish()?;
            }
        }
        Kind::UnknownFrames => {
            for _ in 0..PIECES {
                control.write_all(&[0x21, 0].repeat(512)).await?;
            }
        }
        Kind::EmptyData => {
            let (mut sending, _unread) = quic.open_bi().await?;
            sending.write_all(REQUEST).await?;
            for _ in 0..PIECES {
                sending.write_all(&[0, 0]).await?;
            }
        }
        Kind::Inserts => {
            let mut encoder = quic.open_uni().await?;
            // Its type, then a literal name and value (RFC 9204 §4.3.3).
            encoder.write_all(&[2]).await?;
            for _ in 0..PIECES {
                encoder.write_all(b"\x43x-a\x01b").await?;
            }
        }
        Kind::Bomb => return bombs(quic).await.map(Some),
        // A HEADERS frame that announces more than comes.
        Kind::SlowHead => return drip(quic, b"\x01\x50\x00\x00\x00", b"x").await.map(Some),
        Kind::SlowBody => return drip(quic, UPLOAD, b"\x00\x01x").await.map(Some),
        Kind::SlowRead => {
            let (mut sending, mut receiving) = quic.open_bi().await?;
            sending.write_all(LARGE).await?;
            sending.finish()?;
            // Nothing is read, so that no window opens.
            let reset = tokio::time::timeout(PATIENCE / 2, receiving.received_reset()).await;
            return Ok(Some(match reset {
                Ok(Ok(Some(code))) => End::Reset(code.into_inner()),
                Ok(_) => End::Broken,
                Err(_) => End::WentOn,
            }));
        }
    }
    Ok(None)
}

/// Sends bomb after bomb; how the first ended that was not refused, or the last.
async fn bombs(quic: &Connection) -> Result<End> {
    let refused = End::Answered(431);
    // The request's own section, and a varint of two bytes for the length of both (RFC 9000 §16).
    let own = REQUEST.get(2..).unwrap_or_default();
    let length = u16::try_from(own.len() + 2 * REFERENCES)? | 0x4000;
    let bomb = [&[1][..], &length.to_be_bytes(), own, &[0xff, 22].repeat(REFERENCES)].concat();
    for _ in 0..BOMBS {
        let (mut sending, mut receiving) = quic.open_bi().await?;
        // Whoever refuses it need not read to its end.
        let _stopped = sending.write_all(&bomb).await.is_ok() && sending.finish().is_ok();
        let end = answered(&mut receiving, &mut Vec::new()).await;
        if end != refused {
            return Ok(end);
        }
    }
    Ok(refused)
}

/// Sends a drop of a request now and then, until it is answered.
async fn drip(quic: &Connection, begun: &[u8], drop: &[u8]) -> Result<End> {
    let (mut sending, mut receiving) = quic.open_bi().await?;
    sending.write_all(begun).await?;
    let mut bytes = Vec::new();
    loop {
        // What was read of an answer stays in `bytes` where time is up.
        if let Ok(end) = tokio::time::timeout(DROP, answered(&mut receiving, &mut bytes)).await {
            return Ok(end);
        }
        // Nobody need hear it any more once there is an answer.
        let _stopped = sending.write_all(drop).await;
    }
}

/// Reads an answer's head, behind what was read of it before.
async fn answered(receiving: &mut RecvStream, bytes: &mut Vec<u8>) -> End {
    loop {
        if let Some(status) = status_of(bytes) {
            return End::Answered(status);
        }
        match receiving.read_chunk(64 * 1024, true).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Err(quinn::ReadError::Reset(code)) => return End::Reset(code.into_inner()),
            Err(quinn::ReadError::ConnectionLost(ConnectionError::ApplicationClosed(close))) => {
                return End::Closed(close.error_code.into_inner());
            }
            Ok(None) | Err(_) => return End::Broken,
        }
    }
}

/// The status of an answer, once its head is there.
fn status_of(bytes: &[u8]) -> Option<u16> {
    let limits = Limits::default();
    let mut parser = RequestStream::for_response(&limits);
    parser.push(Bytes::copy_from_slice(bytes));
    match parser.next().ok()?? {
        Event::Head(section) => Decoder::new().response(&section, &limits, &mut |_, _| {}).ok(),
        _ => None,
    }
}

/// What first packets without an answer brought about.
pub(super) struct Initials {
    /// Packets sent, and their bytes.
    pub(super) sent: u64,
    pub(super) bytes: u64,
    /// Bytes that came back to where they seemed to come from.
    pub(super) back_bytes: u64,
}

/// Sends the first packets of so many handshakes from a socket that passes no answer on, as one does whose
/// address is forged.
///
/// # Errors
/// When there is no socket.
pub(super) fn initials(victim: &Victim, count: u32) -> Result<Initials> {
    let relay = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    relay.set_nonblocking(true)?;
    let at = relay.local_addr()?;
    block_on(async {
        let relay = tokio::net::UdpSocket::from_std(relay)?;
        let endpoint = endpoint(victim)?;
        let mut told = Initials { sent: 0, bytes: 0, back_bytes: 0 };
        let mut connecting = Vec::new();
        let mut packet = vec![0; 2048];
        for _ in 0..count {
            connecting.push(endpoint.connect(at, "a.example")?);
        }
        let pass = async {
            loop {
                let (length, from) = relay.recv_from(&mut packet).await?;
                if from == victim.address {
                    told.back_bytes += length as u64;
                } else if told.sent < u64::from(count) {
                    told.sent += 1;
                    told.bytes += length as u64;
                    relay.send_to(packet.get(..length).unwrap_or_default(), victim.address).await?;
                }
            }
        };
        // Packets that were lost between the sockets are sent again by quinn; a while after the last, what
        // was to come back is back.
        let ended: Result<Result<()>, _> = tokio::time::timeout(Duration::from_secs(3), pass).await;
        if let Ok(Err(error)) = ended {
            return Err(error);
        }
        drop(connecting);
        Ok(told)
    })
}
