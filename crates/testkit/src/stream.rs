//! One blocking byte stream, whatever carries it: TCP, a Unix socket, TLS on either side.
//!
//! It knows nothing of HTTP. Reads and writes give up after [`PATIENCE`]. Called by [`crate::visitor`] and
//! [`crate::origin`]. Read next: [`crate::message`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConnection, StreamOwned};

use crate::gate::PATIENCE;

/// How the other end stopped sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It did not.
    Open,
    /// In order: FIN, and over TLS a close_notify before it.
    Closed,
    /// Over TLS: FIN without close_notify (RFC 8446 section 6.1 calls it a truncation).
    Truncated,
    /// By a reset.
    Reset,
}

/// A connected stream.
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS, this end being the client.
    TlsClient(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// TLS, this end being the server.
    TlsServer(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// A second hand on a stream's socket, to end it from another thread.
pub enum Grip {
    /// Of a TCP stream, with or without TLS.
    Tcp(TcpStream),
    /// Of a Unix socket.
    Unix(UnixStream),
}

impl Stream {
    /// Connects by TCP, without Nagle's delay.
    ///
    /// # Errors
    /// As [`TcpStream::connect`].
    pub fn tcp(address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        Stream::from_tcp(stream)
    }

    /// Takes over a connected TCP stream.
    ///
    /// # Errors
    /// When its options cannot be set.
    pub fn from_tcp(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Stream::Tcp(stream))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// As [`UnixStream::connect`].
    pub fn unix(path: &Path) -> io::Result<Stream> {
        Stream::from_unix(UnixStream::connect(path)?)
    }

    /// Takes over a connected Unix stream.
    ///
    /// # Errors
    /// When its options cannot be set.
    pub fn from_unix(stream: UnixStream) -> io::Result<Stream> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Stream::Unix(stream))
    }

    /// Puts TLS on a TCP stream and finishes the handshake. Bytes already read are lost to it.
    ///
    /// With TLS 1.3 a server refuses a client certificate only after this returned.
    ///
    /// # Errors
    /// When the handshake fails, or this is not plain TCP.
    pub fn into_tls(self, server_name: &str, config: &Arc<ClientConfig>) -> Result<Stream> {
        let Stream::Tcp(socket) = self else { anyhow::bail!("TLS goes on plain TCP only") };
        let name = ServerName::try_from(server_name.to_owned()).context("the server's name")?;
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        let mut socket = socket;
        while session.is_handshaking() {
            session.complete_io(&mut socket).context("TLS handshake")?;
        }
        Ok(Stream::TlsClient(Box::new(StreamOwned::new(session, socket))))
    }

    /// The ALPN name agreed on, if any.
    pub fn alpn(&self) -> Option<String> {
        let agreed = match self {
            Stream::TlsClient(tls) => tls.conn.alpn_protocol(),
            Stream::TlsServer(tls) => tls.conn.alpn_protocol(),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        };
        agreed.map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// The TLS version agreed on, as `TLSv1_3`.
    pub fn tls_version(&self) -> Option<String> {
        let version = match self {
            Stream::TlsClient(tls) => tls.conn.protocol_version(),
            Stream::TlsServer(tls) => tls.conn.protocol_version(),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        };
        version.and_then(|version| version.as_str().map(str::to_owned))
    }

    /// The peer's certificates in DER, its own first.
    pub fn peer_certificates(&self) -> Vec<Vec<u8>> {
        let chain = match self {
            Stream::TlsClient(tls) => tls.conn.peer_certificates(),
            Stream::TlsServer(tls) => tls.conn.peer_certificates(),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        };
        chain.unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect()
    }

    fn socket(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(socket) => socket.as_fd(),
            Stream::Unix(socket) => socket.as_fd(),
            Stream::TlsClient(tls) => tls.sock.as_fd(),
            Stream::TlsServer(tls) => tls.sock.as_fd(),
        }
    }

    /// Another hand on the same socket.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn grip(&self) -> io::Result<Grip> {
        Ok(match self {
            Stream::Tcp(socket) => Grip::Tcp(socket.try_clone()?),
            Stream::Unix(socket) => Grip::Unix(socket.try_clone()?),
            Stream::TlsClient(tls) => Grip::Tcp(tls.sock.try_clone()?),
            Stream::TlsServer(tls) => Grip::Tcp(tls.sock.try_clone()?),
        })
    }

    /// Stops sending, in order (close_notify, then FIN); reading goes on.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
            Stream::TlsClient(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.shutdown(Shutdown::Write)
            }
            Stream::TlsServer(tls) => {
                tls.conn.send_close_notify();
                tls.flush()?;
                tls.sock.shutdown(Shutdown::Write)
            }
        }
    }

    /// Sends FIN without a close_notify: over TLS a truncation, elsewhere the same as [`Stream::finish`].
    ///
    /// # Errors
    /// When the connection is gone already.
    pub fn truncate(&mut self) -> io::Result<()> {
        match self {
            Stream::Unix(socket) => socket.shutdown(Shutdown::Write),
            Stream::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Stream::TlsClient(tls) => tls.sock.shutdown(Shutdown::Write),
            Stream::TlsServer(tls) => tls.sock.shutdown(Shutdown::Write),
        }
    }

    /// Ends both directions at once, by a TCP reset; a Unix socket is shut down.
    pub fn reset(&mut self) {
        match self {
            Stream::Unix(socket) => {
                let _ = socket.shutdown(Shutdown::Both);
            }
            // Dissolving the association sends RST at once, even while a `Grip` holds the socket too.
            _ => {
                let _ = rustix::net::connect_unspec(self.socket());
            }
        }
    }

    /// Bounds each later read; `None` restores [`PATIENCE`].
    ///
    /// # Errors
    /// When the option cannot be set.
    pub fn set_read_patience(&self, patience: Option<std::time::Duration>) -> io::Result<()> {
        let patience = Some(patience.unwrap_or(PATIENCE));
        match self {
            Stream::Tcp(socket) => socket.set_read_timeout(patience),
            Stream::Unix(socket) => socket.set_read_timeout(patience),
            Stream::TlsClient(tls) => tls.sock.set_read_timeout(patience),
            Stream::TlsServer(tls) => tls.sock.set_read_timeout(patience),
        }
    }

    /// Lets reads wait without end: for a server whose connections may stay idle.
    ///
    /// # Errors
    /// When the option cannot be set.
    pub fn wait_for_ever(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.set_read_timeout(None),
            Stream::Unix(socket) => socket.set_read_timeout(None),
            Stream::TlsClient(tls) => tls.sock.set_read_timeout(None),
            Stream::TlsServer(tls) => tls.sock.set_read_timeout(None),
        }
    }

    /// The address of this end, or none on a Unix socket.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(socket) => socket.local_addr().ok(),
            Stream::Unix(_) => None,
            Stream::TlsClient(tls) => tls.sock.local_addr().ok(),
            Stream::TlsServer(tls) => tls.sock.local_addr().ok(),
        }
    }
}

impl Grip {
    /// Sends FIN and refuses further bytes, from any thread. Over TLS the peer sees a truncation.
    pub fn close(&self) {
        // A connection that is gone already is closed enough.
        let _ = match self {
            Grip::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Grip::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }

    /// Resets a TCP connection from any thread; shuts a Unix socket down.
    pub fn reset(&self) {
        match self {
            Grip::Tcp(socket) => {
                let _ = rustix::net::connect_unspec(socket);
            }
            Grip::Unix(_) => self.close(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.read(into),
            Stream::Unix(socket) => socket.read(into),
            Stream::TlsClient(tls) => tls.read(into),
            Stream::TlsServer(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.write(bytes),
            Stream::Unix(socket) => socket.write(bytes),
            Stream::TlsClient(tls) => tls.write(bytes),
            Stream::TlsServer(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(socket) => socket.flush(),
            Stream::Unix(socket) => socket.flush(),
            Stream::TlsClient(tls) => tls.flush(),
            Stream::TlsServer(tls) => tls.flush(),
        }
    }
}

/// Names the ending behind a failed read, if it was one.
pub fn ending_of(error: &io::Error) -> Option<Ending> {
    match error.kind() {
        ErrorKind::UnexpectedEof => Some(Ending::Truncated),
        ErrorKind::ConnectionReset
        | ErrorKind::BrokenPipe
        | ErrorKind::ConnectionAborted
        | ErrorKind::NotConnected => Some(Ending::Reset),
        _ => None,
    }
}
