//! Visitors: whoever sends a request, down to the byte.
//!
//! [`Visitor`] speaks HTTP/1 over TCP, TLS or a Unix socket, sends exactly what it is told and reads
//! strictly; [`websocket::WebSocket`] speaks frames over either protocol; [`http2::Http2Visitor`] speaks
//! HTTP/2. They follow no redirects, keep no cookies and retry nothing. Called by tests and by
//! [`crate::compare`]. Read next: [`http2`], [`websocket`].

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::ClientConfig;

use crate::digest::Running;
use crate::fields::{Fields, latin1_bytes};
use crate::message::{BodyReader, Framing, Head, Reader, declared_framing};
use crate::stream::{Ending, Stream};

pub mod http2;
pub mod websocket;

pub use http2::Http2Visitor;
pub use websocket::WebSocket;

/// An informational answer that came before the final one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Informational {
    /// 100 to 199.
    pub status: u16,
    /// Its fields.
    pub fields: Fields,
}

/// The head of a final answer, its body still to come.
#[derive(Debug)]
pub struct ResponseHead {
    /// What came before it.
    pub informational: Vec<Informational>,
    /// 200 to 999, or 101.
    pub status: u16,
    /// The reason phrase, or nothing.
    pub reason: String,
    /// `HTTP/1.1`, `HTTP/1.0` or `HTTP/2`.
    pub version: String,
    /// Fields in order and case.
    pub fields: Fields,
    /// How the body's end is found.
    pub framing: Framing,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// See [`ResponseHead`].
    pub informational: Vec<Informational>,
    /// See [`ResponseHead`].
    pub status: u16,
    /// See [`ResponseHead`].
    pub reason: String,
    /// See [`ResponseHead`].
    pub version: String,
    /// See [`ResponseHead`].
    pub fields: Fields,
    /// See [`ResponseHead`].
    pub framing: Framing,
    /// The body.
    pub body: Vec<u8>,
    /// Sizes of its chunks, as they came.
    pub chunks: Vec<u64>,
    /// Trailers.
    pub trailers: Fields,
}

impl Response {
    /// The body as text, wrong bytes replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An HTTP/1 connection of a visitor.
pub struct Visitor {
    reader: Reader,
}

impl Visitor {
    /// Connects by TCP.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn tcp(address: SocketAddr) -> Result<Visitor> {
        Ok(Visitor::on(Stream::tcp(address).with_context(|| format!("connecting to {address}"))?))
    }

    /// Connects by TLS, asking for this name.
    ///
    /// # Errors
    /// When nobody listens there or the handshake fails.
    pub fn tls(address: SocketAddr, server_name: &str, config: &Arc<ClientConfig>) -> Result<Visitor> {
        Ok(Visitor::on(Stream::tcp(address)?.into_tls(server_name, config)?))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn unix(path: &Path) -> Result<Visitor> {
        Ok(Visitor::on(Stream::unix(path)?))
    }

    /// Speaks over a stream that is connected already.
    pub fn on(stream: Stream) -> Visitor {
        Visitor { reader: Reader::new(stream) }
    }

    /// Sends bytes exactly.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.reader.stream().write_all(bytes.as_ref())?;
        self.reader.stream().flush()
    }

    /// Sends a request head with `Host`, the fields and the empty line; the framing fields are the caller's.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send_head(&mut self, method: &str, target: &str, host: &str, fields: &Fields) -> io::Result<()> {
        let mut bytes = latin1_bytes(&format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n"));
        bytes.extend(fields.to_bytes());
        bytes.extend(b"\r\n");
        self.send(bytes)
    }

    /// Sends one chunk of a chunked body; an empty one ends the body.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend(bytes);
        chunk.extend(b"\r\n");
        self.send(chunk)
    }

    /// Reads the next head, informational or final; none when the connection ended instead.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn next_head(&mut self, method: &str) -> Result<Option<ResponseHead>> {
        let Some(head) = self.reader.head()? else { return Ok(None) };
        status_line(head, method).map(Some)
    }

    /// Reads informational answers and then the final head; none when the connection ended before any byte.
    /// `method` is that of the request: it decides whether a body follows.
    ///
    /// # Errors
    /// When an answer is malformed, or the connection ends between informational and final.
    pub fn read_head(&mut self, method: &str) -> Result<Option<ResponseHead>> {
        let mut informational = Vec::new();
        loop {
            let Some(mut head) = self.next_head(method)? else {
                ensure!(informational.is_empty(), "no final answer after {informational:?}");
                return Ok(None);
            };
            if head.status >= 200 || head.status == 101 {
                head.informational = informational;
                return Ok(Some(head));
            }
            informational.push(Informational { status: head.status, fields: head.fields });
        }
    }

    /// The next body bytes, or none at the end. Make the [`BodyReader`] from the head's framing.
    ///
    /// # Errors
    /// When the body is cut short or its framing broken.
    pub fn body_part(&mut self, body: &mut BodyReader) -> Result<Option<Vec<u8>>> {
        self.reader.body_part(body, 64 << 10)
    }

    /// Reads a whole answer; none when the connection ended before its first byte ([`Visitor::ending`] says
    /// how).
    ///
    /// # Errors
    /// When it is malformed or cut short.
    pub fn read_response(&mut self, method: &str) -> Result<Option<Response>> {
        let Some(head) = self.read_head(method)? else { return Ok(None) };
        let mut reader = BodyReader::new(head.framing);
        let mut body = Vec::new();
        while let Some(part) = self.body_part(&mut reader)? {
            body.extend(part);
        }
        Ok(Some(Response {
            informational: head.informational,
            status: head.status,
            reason: head.reason,
            version: head.version,
            fields: head.fields,
            framing: head.framing,
            body,
            chunks: reader.chunks,
            trailers: reader.trailers,
        }))
    }

    /// Reads an answer that must be there.
    ///
    /// # Errors
    /// As [`Visitor::read_response`], and when the connection ended instead.
    pub fn expect_response(&mut self, method: &str) -> Result<Response> {
        match self.read_response(method)? {
            Some(response) => Ok(response),
            None => bail!("no answer: {:?}", self.ending()),
        }
    }

    /// Reads an answer's body without keeping it: head, length and SHA-256.
    ///
    /// # Errors
    /// As [`Visitor::read_response`], and when the connection ended instead.
    pub fn read_digest(&mut self, method: &str) -> Result<(ResponseHead, Running)> {
        let head = self.read_head(method)?.with_context(|| format!("no answer: {:?}", self.ending()))?;
        let (mut reader, mut running) = (BodyReader::new(head.framing), Running::default());
        while let Some(part) = self.body_part(&mut reader)? {
            running.add(&part);
        }
        Ok((head, running))
    }

    /// Sends a GET and reads its answer.
    ///
    /// # Errors
    /// As [`Visitor::expect_response`].
    pub fn fetch(&mut self, host: &str, target: &str) -> Result<Response> {
        self.ask("GET", target, host, &Fields::new(), b"")
    }

    /// Sends a request, with a Content-Length if it has a body and no framing of its own, and reads its
    /// answer.
    ///
    /// # Errors
    /// As [`Visitor::expect_response`].
    pub fn ask(
        &mut self,
        method: &str,
        target: &str,
        host: &str,
        fields: &Fields,
        body: &[u8],
    ) -> Result<Response> {
        let mut fields = fields.clone();
        if !body.is_empty() && !fields.has("content-length") && !fields.has("transfer-encoding") {
            fields.push("Content-Length", body.len().to_string());
        }
        self.send_head(method, target, host, &fields)?;
        self.send(body)?;
        self.expect_response(method)
    }

    /// Sends all requests at once and reads an answer for each (RFC 9112 section 9.3.2).
    ///
    /// # Errors
    /// As [`Visitor::expect_response`].
    pub fn pipeline(&mut self, host: &str, targets: &[&str]) -> Result<Vec<Response>> {
        let requests: String =
            targets.iter().map(|target| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).collect();
        self.send(requests)?;
        targets.iter().map(|_| self.expect_response("GET")).collect()
    }

    /// Sends FIN (over TLS close_notify first) and goes on reading.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.reader.stream().finish()
    }

    /// Resets the connection.
    pub fn reset(mut self) {
        self.reader.stream().reset();
    }

    /// Reads whatever comes until the other side stops sending.
    ///
    /// # Errors
    /// When nothing comes and it does not stop either.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.reader.rest()
    }

    /// Bytes that came, as they are: for tunnels. Empty at the end.
    ///
    /// # Errors
    /// When nothing comes.
    pub fn some(&mut self, max: usize) -> io::Result<Vec<u8>> {
        self.reader.some(max)
    }

    /// How the other side stopped sending, as far as it was read.
    pub fn ending(&self) -> Ending {
        self.reader.ending()
    }

    /// The stream below, to ask about TLS or addresses.
    pub fn stream(&self) -> &Stream {
        self.reader.stream_ref()
    }
}

fn status_line(head: Head, method: &str) -> Result<ResponseHead> {
    let mut words = head.first_line.splitn(3, ' ');
    let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    ensure!(matches!(version, "HTTP/1.0" | "HTTP/1.1"), "status line {:?}", head.first_line);
    ensure!(
        status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()),
        "line {:?}",
        head.first_line
    );
    // The space before an empty reason is required (RFC 9112 section 4).
    let reason =
        words.next().with_context(|| format!("no space after the status in {:?}", head.first_line))?;
    let status: u16 = status.parse()?;
    let declared = declared_framing(&head.fields)?;
    let framing = match (status, declared) {
        (100..=199 | 204, declared) => {
            ensure!(declared.is_none(), "{status} declares a body: {:?}", head.fields);
            Framing::Empty
        }
        (304, _) => Framing::Empty,
        _ if method == "HEAD" => Framing::Empty,
        (200..=299, _) if method == "CONNECT" => Framing::Empty,
        (_, declared) => declared.unwrap_or(Framing::UntilClose),
    };
    Ok(ResponseHead {
        informational: Vec::new(),
        status,
        reason: reason.to_owned(),
        version: version.to_owned(),
        fields: head.fields,
        framing,
    })
}

#[cfg(test)]
mod tests;
