//! One TCP connection of a visitor, plain or TLS, as poll functions.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Tls;

/// A socket, and the TLS session on it if there is one.
pub(crate) struct Conn {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
}

impl Conn {
    pub(crate) fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    pub(crate) fn secured(tcp: TcpStream, tls: Box<Tls>) -> Self {
        Self { tcp, tls: Some(tls) }
    }

    /// Reads some bytes; 0 at the end.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            Some(tls) => tls.poll_read(&mut self.tcp, cx, into),
            None => poll_read_tcp(&mut self.tcp, cx, into),
        }
    }

    /// Writes some of `parts`; at least one byte if there is any. Over TLS, what is accepted may still have
    /// to be flushed.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.tls {
            Some(tls) => ready!(tls.poll_write(&mut self.tcp, cx, parts))?,
            None => ready!(match parts {
                [one] => Pin::new(&mut self.tcp).poll_write(cx, one),
                _ => Pin::new(&mut self.tcp).poll_write_vectored(cx, parts),
            })?,
        };
        match written {
            0 if parts.iter().any(|part| !part.is_empty()) => {
                Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
            }
            _ => Poll::Ready(Ok(written)),
        }
    }

    /// Ready when no accepted byte is held back.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            Some(tls) => tls.poll_flush(&mut self.tcp, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// From now on closing is a reset, which nobody takes for the end of a message. What the visitor has not
    /// taken yet is lost with it.
    pub(crate) fn reset_at_close(&self) {
        let _only_a_plain_end_then = self.tcp.set_zero_linger();
    }

    /// Ends the sending side: close_notify over TLS, then FIN.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(tls) = &mut self.tls {
            tls.queue_close_notify();
            ready!(tls.poll_flush(&mut self.tcp, cx))?;
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// `AsyncRead::poll_read` rather than `readable` and `try_read`: a short read clears the readiness, so that
/// no second call is needed to see that nothing is left.
pub(crate) fn poll_read_tcp(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(into);
    ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
