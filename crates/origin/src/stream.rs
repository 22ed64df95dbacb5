//! A connection to an origin as bytes: TCP or a Unix socket, with or without TLS.
//!
//! TLS is driven here over rustls, without a wrapper, so that an idle connection can be taken apart into
//! things that may change threads and be put together again. What it does not do: HTTP, time-outs, limits.
//! Called by `connect.rs`, `http1_link.rs` and, through h2, `http2_link.rs`. Read next: `tls.rs`.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use exchange::Fault;
use rustls::ClientConnection;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The socket below.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, into),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, into),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, parts) {
            (Self::Tcp(tcp), [part]) => Pin::new(tcp).poll_write(cx, part),
            (Self::Tcp(tcp), _) => Pin::new(tcp).poll_write_vectored(cx, parts),
            (Self::Unix(unix), _) => Pin::new(unix).poll_write_vectored(cx, parts),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }

    fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_ready(cx),
            Self::Unix(unix) => unix.poll_read_ready(cx),
        }
    }
}

/// Lets rustls read from and write to the socket as if it did not block.
struct Wire<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
}

fn or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl io::Read for Wire<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        or_would_block(self.socket.poll_read(self.cx, &mut into))?;
        Ok(into.filled().len())
    }
}

impl io::Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.socket.poll_write(self.cx, &[IoSlice::new(bytes)]))
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        or_would_block(self.socket.poll_write(self.cx, parts))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn pending_or<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// What is left of a connection when it is taken off its thread; everything in it may change threads.
#[derive(Debug)]
pub(crate) struct Parked {
    socket: ParkedSocket,
    tls: Option<Box<ClientConnection>>,
}

#[derive(Debug)]
enum ParkedSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Parked {
    /// Puts it onto this thread; none if it was closed in the meantime or bytes came that nobody asked for.
    pub(crate) fn unpark(self) -> Option<Stream> {
        // One look, since a socket new to this thread has no readiness that could be asked without one.
        let socket = match self.socket {
            ParkedSocket::Tcp(tcp) if is_quiet(&SockRef::from(&tcp)) => {
                Socket::Tcp(TcpStream::from_std(tcp).ok()?)
            }
            ParkedSocket::Unix(unix) if is_quiet(&SockRef::from(&unix)) => {
                Socket::Unix(UnixStream::from_std(unix).ok()?)
            }
            _ => return None,
        };
        Some(Stream { socket, tls: self.tls })
    }
}

/// Whether the kernel holds neither bytes nor an end for a socket that does not block.
fn is_quiet(socket: &SockRef<'_>) -> bool {
    let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    tls: Option<Box<ClientConnection>>,
}

impl Stream {
    pub(crate) fn plain(socket: Socket) -> Self {
        Self { socket, tls: None }
    }

    /// Makes the TLS handshake over a plain connection.
    pub(crate) async fn into_tls(self, session: ClientConnection) -> Result<Self, Fault> {
        let mut stream = Self { socket: self.socket, tls: Some(Box::new(session)) };
        std::future::poll_fn(|cx| stream.poll_handshake(cx)).await.map_err(|error| tls_fault(&error))?;
        Ok(stream)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let is_flushed = self.poll_flush_tls(cx)?.is_ready();
            let Some(session) = &mut self.tls else { return Poll::Ready(Ok(())) };
            if !session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if !session.wants_read() {
                ready!(if is_flushed { Poll::Ready(()) } else { Poll::Pending });
                continue;
            }
            let mut wire = Wire { socket: &mut self.socket, cx };
            if ready!(pending_or(session.read_tls(&mut wire)))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            if let Err(error) = session.process_new_packets() {
                // The alert that says why; if it does not leave now, it does not matter.
                let _ = session.write_tls(&mut Wire { socket: &mut self.socket, cx });
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    fn poll_flush_tls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(session) = &mut self.tls else { return Poll::Ready(Ok(())) };
        while session.wants_write() {
            let mut wire = Wire { socket: &mut self.socket, cx };
            if ready!(pending_or(session.write_tls(&mut wire)))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The protocol that ALPN settled on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|session| session.alpn_protocol())
    }

    /// Reads what there is; 0 bytes at the end.
    pub(crate) fn poll_read_slice(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(Pin::new(self).poll_read(cx, &mut into))?;
        Poll::Ready(Ok(into.filled().len()))
    }

    /// Writes from several parts in one system call; never 0 bytes unless all parts are empty.
    pub(crate) fn poll_write_parts(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            let count = ready!(self.socket.poll_write(cx, parts))?;
            if count == 0 && parts.iter().any(|part| !part.is_empty()) {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            return Poll::Ready(Ok(count));
        }
        // Records that are made must leave before more are: that is all the back-pressure TLS has.
        ready!(self.poll_flush_tls(cx))?;
        let Some(session) = &mut self.tls else { return Poll::Ready(Ok(0)) };
        let count = session.writer().write_vectored(parts)?;
        // What does not leave now leaves with the next call of any kind.
        let _ = self.poll_flush_tls(cx)?;
        Poll::Ready(Ok(count))
    }

    /// Whether an idle connection may be used. No system call while nothing happened on it: readiness was
    /// cleared by the last short read, so only a close or stray bytes (or a late session ticket) show.
    pub(crate) fn is_fresh(&mut self) -> bool {
        // TLS may hold plaintext that was decrypted along with the end of the last answer.
        if let Some(session) = &mut self.tls
            && !matches!(session.process_new_packets(), Ok(state) if state.plaintext_bytes_to_read() == 0)
        {
            return false;
        }
        let mut cx = Context::from_waker(Waker::noop());
        if self.socket.poll_read_ready(&mut cx).is_pending() {
            return true;
        }
        let mut byte = [0];
        self.poll_read_slice(&mut cx, &mut byte).is_pending()
    }

    /// Whether the kernel has neither the origin's end nor stray bytes for an idle connection: asks it, where
    /// [`Stream::is_fresh`] goes by what the runtime has heard.
    pub(crate) fn is_quiet(&self) -> bool {
        match &self.socket {
            Socket::Tcp(tcp) => is_quiet(&SockRef::from(tcp)),
            Socket::Unix(unix) => is_quiet(&SockRef::from(unix)),
        }
    }

    /// Takes it off this thread.
    pub(crate) fn park(self) -> Option<Parked> {
        let socket = match self.socket {
            Socket::Tcp(tcp) => ParkedSocket::Tcp(tcp.into_std().ok()?),
            Socket::Unix(unix) => ParkedSocket::Unix(unix.into_std().ok()?),
        };
        Some(Parked { socket, tls: self.tls })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.tls.is_none() {
            return this.socket.poll_read(cx, into);
        }
        // Replies that TLS itself owes (key updates) leave when something else does.
        let _ = this.poll_flush_tls(cx)?;
        let Some(session) = &mut this.tls else { return Poll::Ready(Ok(())) };
        loop {
            match session.reader().read(into.initialize_unfilled()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    into.advance(result?);
                    return Poll::Ready(Ok(()));
                }
            }
            let mut wire = Wire { socket: &mut this.socket, cx };
            // At the end of the stream the reader says whether it was announced (close_notify) or cut.
            ready!(pending_or(session.read_tls(&mut wire)))?;
            session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_parts(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_tls(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
        }
        ready!(self.poll_flush_tls(cx))?;
        self.socket.poll_shutdown(cx)
    }
}

/// What went wrong when a connection was made.
pub(crate) fn connect_fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Fault::ConnectionRefused,
        io::ErrorKind::TimedOut => Fault::ConnectionTimeout,
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Fault::DestinationIpUnroutable,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Fault::ConnectionTerminated,
        io::ErrorKind::PermissionDenied => Fault::DestinationIpUnroutable,
        _ => Fault::ConnectionRefused,
    }
}

/// What went wrong in TLS, or with the connection below it.
pub(crate) fn tls_fault(error: &io::Error) -> Fault {
    use rustls::Error;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => Fault::TlsCertificateError,
        Some(Error::AlertReceived(_)) => Fault::TlsAlertReceived,
        Some(_) => Fault::TlsProtocolError,
        None if error.kind() == io::ErrorKind::UnexpectedEof => Fault::TlsProtocolError,
        None => Fault::ConnectionTerminated,
    }
}
