//! Accepts connections of a scripted origin and finds out what they speak.
//!
//! A thread each for the listener and for every connection; HTTP/2 runs on a small runtime of its
//! connection's thread. Called by [`super`]. Read next: [`super::http1`], [`super::http2`].

use std::io::{Cursor, Read as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use rustls::StreamOwned;
use tokio::io::AsyncReadExt;

use super::proxy_header::read_proxy_header;
use super::record::{ConnectionFacts, Record, TlsFacts};
use super::{Listener, Play, Reception, Rules, http1, http2};
use crate::message::Reader;
use crate::stream::Stream;

/// The bytes a connection begins with when it speaks HTTP/2 (RFC 9113 section 3.4), as far as needed.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

pub(super) struct Server {
    pub(super) record: Arc<Record>,
    pub(super) reception: Arc<Mutex<Reception>>,
    pub(super) rules: Rules,
    pub(super) play: Play,
}

impl Server {
    /// Accepts until the listener is shut down.
    pub(super) fn run(self, listener: &Listener) {
        let server = Arc::new(self);
        let mut hung = Vec::new();
        loop {
            let accepted = match listener {
                Listener::Tcp(listener) => listener.accept().and_then(|(stream, _)| Stream::from_tcp(stream)),
                Listener::Unix(listener) => {
                    listener.accept().and_then(|(stream, _)| Stream::from_unix(stream))
                }
            };
            let Ok(mut stream) = accepted else { return };
            let Ok(grip) = stream.grip() else { continue };
            let number = server.record.connection_opened(grip);
            match *server.reception.lock().unwrap_or_else(PoisonError::into_inner) {
                Reception::Serve => {
                    let server = Arc::clone(&server);
                    let serve = move || {
                        if let Err(error) = server.serve(number, stream) {
                            server.record.fault(format!("connection {number}: {error:#}"));
                        }
                        server.record.connection_ended(number);
                    };
                    if let Err(error) = thread::Builder::new().name(format!("origin-{number}")).spawn(serve) {
                        refuse(&error);
                    }
                }
                Reception::Hang | Reception::Never => hung.push(stream),
                Reception::Close => {
                    let _ = stream.finish();
                    server.record.connection_ended(number);
                }
                Reception::Reset => {
                    stream.reset();
                    server.record.connection_ended(number);
                }
            }
        }
    }

    fn serve(&self, number: u64, mut stream: Stream) -> Result<()> {
        let mut facts = ConnectionFacts::default();
        if self.rules.reads_proxy_header {
            facts.proxy = Some(read_proxy_header(&mut stream)?);
        }
        stream.wait_for_ever()?;
        if self.rules.tls.is_some() {
            return self.serve_tls(number, stream, facts);
        }
        let (speaks_http2, begun) = match &self.play {
            Play::Streaming(_) => (true, Vec::new()),
            Play::Answer(_) if !self.rules.http1_only => sniff(&mut stream)?,
            Play::Answer(_) | Play::Script(_) => (false, Vec::new()),
        };
        if !speaks_http2 {
            let reader = Reader::with_begun(stream, begun);
            http1::serve(&self.record, &self.rules, &self.play, number, reader, &facts);
            return Ok(());
        }
        runtime()?.block_on(async {
            match stream {
                Stream::Tcp(stream) => {
                    stream.set_nonblocking(true)?;
                    let (read, write) = tokio::net::TcpStream::from_std(stream)?.into_split();
                    self.serve_http2(
                        number,
                        tokio::io::join(AsyncReadExt::chain(Cursor::new(begun), read), write),
                        facts,
                    )
                    .await
                }
                Stream::Unix(stream) => {
                    stream.set_nonblocking(true)?;
                    let (read, write) = tokio::net::UnixStream::from_std(stream)?.into_split();
                    self.serve_http2(
                        number,
                        tokio::io::join(AsyncReadExt::chain(Cursor::new(begun), read), write),
                        facts,
                    )
                    .await
                }
                Stream::TlsClient(_) | Stream::TlsServer(_) => bail!("accepted streams are plain"),
            }
        })
    }

    fn serve_tls(&self, number: u64, stream: Stream, mut facts: ConnectionFacts) -> Result<()> {
        let (Stream::Tcp(socket), Some(config)) = (stream, &self.rules.tls) else {
            bail!("TLS goes on TCP only")
        };
        socket.set_nonblocking(true)?;
        let left_over = runtime()?.block_on(async {
            let socket = tokio::net::TcpStream::from_std(socket)?;
            let accepted = tokio_rustls::TlsAcceptor::from(Arc::clone(config)).accept(socket).await;
            let tls = accepted.context("TLS handshake")?;
            let session = tls.get_ref().1;
            facts.tls = Some(TlsFacts {
                server_name: session.server_name().map(str::to_owned),
                alpn: session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
                client_certificate: session
                    .peer_certificates()
                    .and_then(|chain| chain.first())
                    .map(|leaf| leaf.to_vec()),
                version: session.protocol_version().and_then(|version| version.as_str()).map(str::to_owned),
            });
            let http2 = session.alpn_protocol() == Some(b"h2") || matches!(self.play, Play::Streaming(_));
            if http2 {
                self.serve_http2(number, tls, facts.clone()).await?;
                return Ok::<_, anyhow::Error>(None);
            }
            let (socket, session) = tls.into_inner();
            Ok(Some((socket.into_std()?, session)))
        })?;
        if let Some((socket, session)) = left_over {
            socket.set_nonblocking(false)?;
            let stream = Stream::TlsServer(Box::new(StreamOwned::new(session, socket)));
            http1::serve(&self.record, &self.rules, &self.play, number, Reader::new(stream), &facts);
        }
        Ok(())
    }

    async fn serve_http2<IO>(&self, number: u64, io: IO, facts: ConnectionFacts) -> Result<()>
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        http2::serve(&self.record, &self.rules, &self.play, number, io, facts).await
    }
}

/// Reads until the connection cannot be, or must be, HTTP/2; returns which, and what was read.
fn sniff(stream: &mut Stream) -> Result<(bool, Vec<u8>)> {
    let mut begun = Vec::new();
    while begun.len() < PREFACE.len() && PREFACE.starts_with(&begun) {
        let mut chunk = vec![0; PREFACE.len() - begun.len()];
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => begun.extend(chunk.get(..count).unwrap_or_default()),
            Err(error) if crate::stream::ending_of(&error).is_some() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok((begun == PREFACE, begun))
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// A machine without threads to spare cannot run these tests; say so where a test's output shows it.
fn refuse(error: &std::io::Error) {
    eprintln!("testkit: no thread for a connection: {error}");
}
