//! An HTTP/2 visitor on the h2 crate, with a blocking face.
//!
//! A thread of its own drives the connection, so pings and windows are answered while a test thinks. Streams
//! may be used from several threads. What h2 refuses to send (bad frames) it cannot send either. Called by
//! tests and [`crate::compare`]. Read next: [`super::websocket`].

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::{Informational, Response, ResponseHead};
use crate::fields::{Fields, latin1_bytes};
use crate::gate::PATIENCE;
use crate::message::Framing;

type Ended = Arc<Mutex<Option<Result<(), h2::Error>>>>;

/// One HTTP/2 connection. Dropping it ends the connection.
pub struct Http2Visitor {
    driver: Driver,
    requests: SendRequest<Bytes>,
    scheme: &'static str,
    ended: Ended,
    _stop: oneshot::Sender<()>,
}

/// One stream: a request being sent and its answer being read.
pub struct Http2Stream {
    driver: Driver,
    response: Option<ResponseFuture>,
    sending: SendStream<Bytes>,
    body: Option<RecvStream>,
    trailers: Fields,
}

/// The connection's runtime, which lives on while anybody holds this: a timer that is waited for when its
/// runtime ends panics, and a connection may end at any moment.
#[derive(Clone)]
struct Driver {
    handle: Handle,
    _held: mpsc::Sender<Infallible>,
}

/// Window of a stream where a test does not say another: nothing waits for a reader.
const WINDOW_BYTES: u32 = 4 << 20;

impl Http2Visitor {
    /// Connects with prior knowledge on cleartext (RFC 9113 section 3.3).
    ///
    /// # Errors
    /// When nobody listens there, or what listens does not speak HTTP/2.
    pub fn cleartext(address: SocketAddr) -> Result<Http2Visitor> {
        Http2Visitor::cleartext_within(address, WINDOW_BYTES)
    }

    /// As [`Http2Visitor::cleartext`], with this window for each stream: the most that comes before it is
    /// read.
    ///
    /// # Errors
    /// As those of [`Http2Visitor::cleartext`].
    pub fn cleartext_within(address: SocketAddr, window_bytes: u32) -> Result<Http2Visitor> {
        Http2Visitor::start("http", window_bytes, async move {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            Ok(socket)
        })
    }

    /// Connects over TLS; `config` must offer `h2` by ALPN.
    ///
    /// # Errors
    /// When the handshake fails or does not agree on `h2`.
    pub fn tls(address: SocketAddr, server_name: &str, config: &Arc<ClientConfig>) -> Result<Http2Visitor> {
        Http2Visitor::tls_behind(address, b"", server_name, config)
    }

    /// As [`Http2Visitor::tls`], with these bytes before the handshake: what a proxy in between says.
    ///
    /// # Errors
    /// As those of [`Http2Visitor::tls`].
    pub fn tls_behind(
        address: SocketAddr,
        header: &'static [u8],
        server_name: &str,
        config: &Arc<ClientConfig>,
    ) -> Result<Http2Visitor> {
        let name = ServerName::try_from(server_name.to_owned())?;
        let config = Arc::clone(config);
        Http2Visitor::start("https", WINDOW_BYTES, async move {
            let mut socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            socket.write_all(header).await?;
            let tls = tokio_rustls::TlsConnector::from(config).connect(name, socket).await?;
            let alpn = tls.get_ref().1.alpn_protocol();
            ensure!(alpn == Some(b"h2"), "ALPN {alpn:?} instead of h2");
            Ok(tls)
        })
    }

    fn start<IO>(
        scheme: &'static str,
        window_bytes: u32,
        connect: impl Future<Output = Result<IO>> + Send + 'static,
    ) -> Result<Http2Visitor>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let ended: Ended = Arc::default();
        let ending = Arc::clone(&ended);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (held, mut let_go) = mpsc::channel(1);
        let driver = Driver { handle: runtime.handle().clone(), _held: held };
        let drive = async move {
            let begun = async {
                let io = connect.await?;
                let mut builder = h2::client::Builder::new();
                builder
                    .initial_window_size(window_bytes)
                    .initial_connection_window_size(16 << 20)
                    .enable_push(false);
                Ok(builder.handshake::<_, Bytes>(io).await?)
            };
            let (requests, mut connection) = match begun.await {
                Ok(begun) => begun,
                Err(error) => return drop(tell.send(Err::<_, anyhow::Error>(error))),
            };
            // The server's settings come with its first bytes; extended CONNECT and stream limits need them.
            let mut pings = connection.ping_pong();
            let ready = async {
                if let Some(pings) = &mut pings {
                    pings.ping(h2::Ping::opaque()).await?;
                }
                Ok::<_, h2::Error>(requests)
            };
            tokio::pin!(ready);
            let mut is_told = false;
            let driven = async {
                tokio::select! {
                    end = &mut connection => end,
                    _ = stopped => Ok(()),
                }
            };
            tokio::pin!(driven);
            loop {
                tokio::select! {
                    result = &mut ready, if !is_told => {
                        is_told = true;
                        let _ = tell.send(result.map_err(anyhow::Error::from));
                    }
                    end = &mut driven => {
                        *ending.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
                        return;
                    }
                }
            }
        };
        thread::Builder::new().name("visitor-http2".to_owned()).spawn(move || {
            runtime.block_on(async {
                drive.await;
                let_go.recv().await
            })
        })?;
        let requests = told.recv_timeout(PATIENCE).context("no HTTP/2 connection")??;
        Ok(Http2Visitor { driver, requests, scheme, ended, _stop: stop })
    }

    /// Whether the server offers extended CONNECT (RFC 8441 section 3).
    pub fn may_extended_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// How many streams the server lets be open at once.
    pub fn streams_max(&self) -> usize {
        self.requests.current_max_send_streams()
    }

    /// How the connection ended, once it did: in order, or by an error in words.
    pub fn ended(&self) -> Option<Result<(), String>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.as_ref().map(|result| result.as_ref().copied().map_err(ToString::to_string))
    }

    /// Sends a request head. With `is_end` there is no body; otherwise the stream sends it.
    ///
    /// # Errors
    /// When the connection no longer takes requests (GOAWAY), or a part is not allowed in HTTP.
    pub fn open(
        &self,
        method: &str,
        target: &str,
        host: &str,
        fields: &Fields,
        is_end: bool,
    ) -> Result<Http2Stream> {
        let mut head = http::Request::new(());
        *head.method_mut() = http::Method::from_bytes(&latin1_bytes(method))?;
        *head.uri_mut() =
            http::Uri::builder().scheme(self.scheme).authority(host).path_and_query(target).build()?;
        *head.headers_mut() = fields.to_header_map()?;
        self.send(head, is_end)
    }

    /// Opens a tunnel by extended CONNECT (RFC 8441 section 4).
    ///
    /// # Errors
    /// When the server did not enable it.
    pub fn extended_connect(
        &self,
        protocol: &str,
        host: &str,
        target: &str,
        fields: &Fields,
    ) -> Result<Http2Stream> {
        ensure!(self.may_extended_connect(), "the server does not offer extended CONNECT");
        let mut head = http::Request::new(());
        *head.method_mut() = http::Method::CONNECT;
        *head.uri_mut() =
            http::Uri::builder().scheme(self.scheme).authority(host).path_and_query(target).build()?;
        *head.headers_mut() = fields.to_header_map()?;
        head.extensions_mut().insert(h2::ext::Protocol::from(protocol));
        self.send(head, false)
    }

    /// Sends a head built by hand.
    ///
    /// # Errors
    /// When the connection no longer takes requests.
    pub fn send(&self, head: http::Request<()>, is_end: bool) -> Result<Http2Stream> {
        let requests = self.requests.clone();
        let (response, sending) = wait(&self.driver, async {
            let mut ready = requests.ready().await?;
            Ok(ready.send_request(head, is_end)?)
        })?;
        Ok(Http2Stream {
            driver: self.driver.clone(),
            response: Some(response),
            sending,
            body: None,
            trailers: Fields::new(),
        })
    }

    /// Sends a request whole and reads its answer whole.
    ///
    /// # Errors
    /// When the stream is reset or the connection ends.
    pub fn ask(
        &self,
        method: &str,
        target: &str,
        host: &str,
        fields: &Fields,
        body: &[u8],
    ) -> Result<Response> {
        let mut stream = self.open(method, target, host, fields, body.is_empty())?;
        if !body.is_empty() {
            // An answer may be whole before the request is (RFC 9113 §8.1): then the rest is not wanted.
            let _unwanted = stream.send(body.to_vec()).and_then(|()| stream.finish());
        }
        stream.read_response()
    }

    /// Sends a GET and reads its answer.
    ///
    /// # Errors
    /// As [`Http2Visitor::ask`].
    pub fn fetch(&self, host: &str, target: &str) -> Result<Response> {
        self.ask("GET", target, host, &Fields::new(), b"")
    }
}

impl Http2Stream {
    /// Sends body bytes as the window allows.
    ///
    /// # Errors
    /// When the stream was reset or the connection ended.
    pub fn send(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let (mut bytes, sending) = (bytes.into(), &mut self.sending);
        wait(&self.driver, async {
            while !bytes.is_empty() {
                sending.reserve_capacity(bytes.len());
                let Some(room) = poll_fn(|context| sending.poll_capacity(context)).await else {
                    bail!("the stream takes no more bytes")
                };
                let part = bytes.split_to(room?.min(bytes.len()));
                sending.send_data(part, false)?;
            }
            Ok(())
        })
    }

    /// Ends the request.
    ///
    /// # Errors
    /// When the stream was reset.
    pub fn finish(&mut self) -> Result<()> {
        Ok(self.sending.send_data(Bytes::new(), true)?)
    }

    /// Ends the request with trailers.
    ///
    /// # Errors
    /// When the stream was reset.
    pub fn finish_with(&mut self, trailers: &Fields) -> Result<()> {
        Ok(self.sending.send_trailers(trailers.to_header_map()?)?)
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        self.sending.send_reset(reason);
    }

    /// The stream's number.
    pub fn number(&self) -> u32 {
        self.sending.stream_id().as_u32()
    }

    /// The next informational answer; none when the final one is there.
    ///
    /// # Errors
    /// When the stream was reset or nothing comes.
    pub fn next_informational(&mut self) -> Result<Option<Informational>> {
        let response = self.response.as_mut().context("the final head was read")?;
        let next = wait(&self.driver, async {
            Ok(poll_fn(|context| response.poll_informational(context)).await.transpose()?)
        })?;
        Ok(next.map(|head| Informational {
            status: head.status().as_u16(),
            fields: Fields::from_header_map(head.headers()),
        }))
    }

    /// Reads informational answers and the final head.
    ///
    /// # Errors
    /// When the stream is reset.
    pub fn read_head(&mut self) -> Result<ResponseHead> {
        let mut response = self.response.take().context("the final head was read")?;
        let (informational, head) = wait(&self.driver, async {
            let mut informational = Vec::new();
            let head = poll_fn(|context| {
                while let Poll::Ready(Some(next)) = response.poll_informational(context) {
                    informational.push(next?);
                }
                std::pin::Pin::new(&mut response).poll(context)
            })
            .await?;
            Ok((informational, head))
        })?;
        let (head, body) = head.into_parts();
        let framing = match head.headers.get("content-length") {
            Some(length) => Framing::Length(length.to_str()?.parse()?),
            None if body.is_end_stream() => Framing::Empty,
            None => Framing::UntilClose,
        };
        self.body = Some(body);
        Ok(ResponseHead {
            informational: informational
                .iter()
                .map(|head| Informational {
                    status: head.status().as_u16(),
                    fields: Fields::from_header_map(head.headers()),
                })
                .collect(),
            status: head.status.as_u16(),
            reason: String::new(),
            version: "HTTP/2".to_owned(),
            fields: Fields::from_header_map(&head.headers),
            framing,
        })
    }

    /// The next DATA, or none at the end, when [`Http2Stream::trailers`] are known.
    ///
    /// # Errors
    /// When the stream is reset or nothing comes.
    pub fn body_part(&mut self) -> Result<Option<Vec<u8>>> {
        let body = self.body.as_mut().context("the head comes before the body")?;
        let trailers = &mut self.trailers;
        wait(&self.driver, async {
            while let Some(part) = body.data().await {
                let part = part?;
                body.flow_control().release_capacity(part.len())?;
                if !part.is_empty() {
                    return Ok(Some(part.to_vec()));
                }
            }
            if let Some(map) = body.trailers().await? {
                *trailers = Fields::from_header_map(&map);
            }
            Ok(None)
        })
    }

    /// Trailers, once the body ended.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Reads the whole answer.
    ///
    /// # Errors
    /// When the stream is reset or the connection ends.
    pub fn read_response(&mut self) -> Result<Response> {
        let head = self.read_head()?;
        let (mut body, mut chunks) = (Vec::new(), Vec::new());
        while let Some(part) = self.body_part()? {
            chunks.push(part.len() as u64);
            body.extend(part);
        }
        Ok(Response {
            informational: head.informational,
            status: head.status,
            reason: head.reason,
            version: head.version,
            fields: head.fields,
            framing: head.framing,
            body,
            chunks,
            trailers: self.trailers.clone(),
        })
    }
}

/// Runs a future on the calling thread, while the connection's thread drives sockets and timers.
fn wait<T>(driver: &Driver, future: impl Future<Output = Result<T>>) -> Result<T> {
    driver
        .handle
        .block_on(async { tokio::time::timeout(PATIENCE, future).await.context("nothing came over HTTP/2")? })
}
