//! TLS towards visitors, on rustls' unbuffered interface.
//!
//! While a connection is idle it owns the rustls state and no buffer: reading and writing go through scratch
//! of the thread, and only what the socket refused or what is part of an unfinished record is kept. That is
//! the difference between 11 and 4 KiB per idle connection.
//! Certificates and versions are chosen before this begins, from the client hello (`accept.rs`).

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::conn::poll_read_tcp;
use crate::limits::{TLS_READ_BYTES, TLS_WRITE_BYTES};

// Two full records: 5 bytes of header and up to 17 + 24 bytes of expansion each (TLS 1.2 with explicit
// nonces).
const CIPHERTEXT_BYTES: usize = TLS_WRITE_BYTES + 256;

/// Records that wait when a handshake fails: a hello, what goes with it, an alert.
const PENDING_MAX: usize = 8;

struct Areas {
    raw: Box<[u8]>,
    plain: Box<[u8]>,
    cipher: Box<[u8]>,
}

thread_local! {
    static AREAS: RefCell<Areas> = RefCell::new(Areas {
        raw: vec![0; TLS_READ_BYTES].into_boxed_slice(),
        plain: vec![0; TLS_WRITE_BYTES].into_boxed_slice(),
        cipher: vec![0; CIPHERTEXT_BYTES].into_boxed_slice(),
    });
}

/// One TLS session.
pub(crate) struct Tls {
    session: UnbufferedServerConnection,
    /// Ciphertext of an unfinished record.
    unread: Vec<u8>,
    /// Plaintext that found no room in the caller's buffer.
    plain: Vec<u8>,
    /// Ciphertext the socket has not taken.
    unsent: Vec<u8>,
    unsent_from: usize,
    is_at_end: bool,
    is_closing: bool,
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

impl Tls {
    /// A session that begins with `hello`, bytes already read.
    pub(crate) fn new(config: Arc<rustls::ServerConfig>, hello: Vec<u8>) -> Result<Box<Self>, rustls::Error> {
        Ok(Box::new(Self {
            session: UnbufferedServerConnection::new(config)?,
            unread: hello,
            plain: Vec::new(),
            unsent: Vec::new(),
            unsent_from: 0,
            is_at_end: false,
            is_closing: false,
        }))
    }

    pub(crate) fn session(&self) -> &UnbufferedServerConnection {
        &self.session
    }

    /// Runs the handshake to its end.
    pub(crate) fn poll_handshake(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.unread.is_empty() {
                let mut bytes = std::mem::take(&mut self.unread);
                let outcome = self.process(&mut bytes, &mut &mut [][..]);
                // What was encoded before an error is an alert for the visitor: one try to send it.
                let flushed = self.poll_flush(tcp, cx);
                let used = outcome?;
                bytes.drain(..used);
                self.unread = bytes;
                if let Poll::Ready(result) = flushed {
                    result?;
                }
            }
            ready!(self.poll_flush(tcp, cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let read = AREAS.with(|areas| -> Poll<io::Result<usize>> {
                let mut areas = areas.borrow_mut();
                let read = ready!(poll_read_tcp(tcp, cx, &mut areas.raw))?;
                self.unread.extend_from_slice(areas.raw.get(..read).unwrap_or_default());
                Poll::Ready(Ok(read))
            });
            if ready!(read)? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if self.unread.len() > 4 * TLS_READ_BYTES {
                return Poll::Ready(Err(broken("handshake larger than its limit")));
            }
        }
    }

    /// Runs the session over `bytes`; plaintext goes to `into` (as much as fits) and `self.plain`.
    /// Returns how many bytes were used up; the front of `into` holds `self.filled` bytes afterwards.
    fn process(&mut self, bytes: &mut [u8], into: &mut &mut [u8]) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state, .. } = self.session.process_tls_records(rest);
            let mut is_done = false;
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.encode_pending(bytes.get_mut(used + discard..).unwrap_or_default());
                    return Err(broken(error));
                }
            };
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(broken)?;
                        discard += record.discard;
                        let fits = record.payload.len().min(into.len());
                        let (now, later) = record.payload.split_at(fits);
                        let (filled, left) = std::mem::take(into).split_at_mut(fits);
                        filled.copy_from_slice(now);
                        *into = left;
                        self.plain.extend_from_slice(later);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, &mut self.unsent)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    self.is_at_end = true;
                    is_done = true;
                }
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => is_done = true,
                // Early data is never enabled; anything new is left alone.
                _ => is_done = true,
            }
            used += discard;
            if is_done {
                return Ok(used);
            }
        }
    }

    /// After an error: encodes what rustls has queued, up to the alert. `rest` is what the erroneous call
    /// left of its bytes: rustls may still point into them. With the alert it has said all, and asked again
    /// it would fail again.
    fn encode_pending(&mut self, rest: &mut [u8]) {
        const CHANGE_CIPHER_SPEC: u8 = 20;
        const HANDSHAKE: u8 = 22;
        for _ in 0..PENDING_MAX {
            let queued = self.unsent.len();
            match self.session.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let is_encoded = encode(&mut data, &mut self.unsent).is_ok();
                    // An alert stands in a record of its own kind, or sealed in one of data.
                    let is_more = matches!(self.unsent.get(queued), Some(&(CHANGE_CIPHER_SPEC | HANDSHAKE)));
                    if !is_encoded || !is_more {
                        return;
                    }
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                _ => return,
            }
        }
    }

    /// Reads plaintext; 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.plain.is_empty() {
                let fits = self.plain.len().min(into.len());
                let (now, left) = self.plain.split_at(fits);
                into.get_mut(..fits).unwrap_or_default().copy_from_slice(now);
                self.plain = left.to_vec();
                return Poll::Ready(Ok(fits));
            }
            if self.is_at_end {
                return Poll::Ready(Ok(0));
            }
            let room = into.len();
            let left = AREAS.with(|areas| -> Poll<io::Result<usize>> {
                let areas = &mut *areas.borrow_mut();
                let kept = self.unread.len();
                if kept >= areas.raw.len() {
                    return Poll::Ready(Err(broken("a TLS record larger than its limit")));
                }
                let (front, back) = areas.raw.split_at_mut(kept);
                let read = ready!(poll_read_tcp(tcp, cx, back))?;
                if read == 0 {
                    // No close_notify: over HTTP the framing tells whether a message was cut short.
                    self.is_at_end = true;
                    return Poll::Ready(Ok(room));
                }
                front.copy_from_slice(&self.unread);
                self.unread = Vec::new();
                let mut target: &mut [u8] = &mut *into;
                let bytes = areas.raw.get_mut(..kept + read).unwrap_or_default();
                let used = self.process(bytes, &mut target)?;
                self.unread.extend_from_slice(bytes.get(used..).unwrap_or_default());
                Poll::Ready(Ok(target.len()))
            });
            let filled = room - ready!(left)?;
            // Tickets, key updates and alerts leave as soon as the socket takes them; reading goes on
            // meanwhile.
            let _unfinished = self.poll_flush(tcp, cx)?;
            if filled > 0 {
                return Poll::Ready(Ok(filled));
            }
        }
    }

    /// Encrypts and writes some of `parts`, up to 32 KiB behind one call.
    pub(crate) fn poll_write(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(tcp, cx))?;
        AREAS.with(|areas| {
            let areas = &mut *areas.borrow_mut();
            let mut gathered = 0;
            for part in parts {
                let room = areas.plain.get_mut(gathered..).unwrap_or_default();
                let fits = part.len().min(room.len());
                let (Some(room), Some(part)) = (room.get_mut(..fits), part.get(..fits)) else { break };
                room.copy_from_slice(part);
                gathered += fits;
            }
            // One part alone needs no gathering, but its copy is cheaper than a second code path.
            let plain = areas.plain.get(..gathered).unwrap_or_default();
            let sealed = match self.session.process_tls_records(&mut []).state.map_err(broken)? {
                ConnectionState::WriteTraffic(mut traffic) => match traffic.encrypt(plain, &mut areas.cipher)
                {
                    Ok(sealed) => sealed,
                    Err(EncryptError::InsufficientSize(_)) => {
                        return Poll::Ready(Err(broken("TLS expansion larger than its limit")));
                    }
                    Err(error) => return Poll::Ready(Err(broken(error))),
                },
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            };
            let sealed = areas.cipher.get(..sealed).unwrap_or_default();
            let mut sent = 0;
            while let Some(rest) = sealed.get(sent..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut *tcp).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(n)) => sent += n,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {
                        self.unsent.extend_from_slice(rest);
                        break;
                    }
                }
            }
            Poll::Ready(Ok(gathered))
        })
    }

    /// Ready when the socket has taken all ciphertext.
    pub(crate) fn poll_flush(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.unsent.get(self.unsent_from..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *tcp).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.unsent_from += n,
            }
        }
        if self.unsent_from > 0 {
            self.unsent = Vec::new();
            self.unsent_from = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Queues a close_notify, once.
    pub(crate) fn queue_close_notify(&mut self) {
        if std::mem::replace(&mut self.is_closing, true) {
            return;
        }
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.session.process_tls_records(&mut []).state
        {
            let at = self.unsent.len();
            self.unsent.resize(at + 64, 0); // an alert record: 2 bytes and the expansion
            let room = self.unsent.get_mut(at..).unwrap_or_default();
            let written = traffic.queue_close_notify(room).unwrap_or(0);
            self.unsent.truncate(at + written);
        }
    }
}

fn encode(
    data: &mut rustls::unbuffered::EncodeTlsData<'_, rustls::server::ServerConnectionData>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let needed = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => required_size,
        Err(error) => return Err(broken(error)),
    };
    let at = out.len();
    out.resize(at + needed, 0);
    let written = data.encode(out.get_mut(at..).unwrap_or_default()).map_err(broken)?;
    out.truncate(at + written);
    Ok(())
}
