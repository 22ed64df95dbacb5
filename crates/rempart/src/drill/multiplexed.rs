//! One visit over HTTP/2 or HTTP/3, on a connection of its own from one of the loopback networks, as those
//! over HTTP/1 have it.
//!
//! It speaks by the packages that the product has anyway (h2, quinn, the crate `http3`), so it proves nothing
//! about a protocol: foreign clients do, in `tests/clients`. Called by [`super::load`]; read next: [`fetch`].

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http3::{Decoder, Event, Limits, RequestStream};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, VarInt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::load::{ANSWER_BYTES_MAX, Fetched, PATIENCE, Target, at_network, connect};

/// What visitors of a target speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    /// Over TLS, or in the clear by prior knowledge where the target has no authorities.
    Http2,
    Http3,
}

impl Speaks {
    /// Every one of them.
    pub(super) const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Http3];

    /// Its name, as people write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Http3 => "HTTP/3",
        }
    }

    /// What is offered by ALPN: nothing over HTTP/1, as many programs do.
    pub(super) fn alpn(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http1 => Vec::new(),
            Self::Http2 => vec![b"h2".to_vec()],
            Self::Http3 => vec![b"h3".to_vec()],
        }
    }
}

/// How long a visit may take in all: as long as one over HTTP/1 may, which waits so long for a connection,
/// for TLS and for its answer each.
const VISIT: Duration = PATIENCE.saturating_mul(3);

/// How often the rest of a connection is polled when it is closed: its last packet leaves at the first.
const CLOSING_POLLS: usize = 8;

/// `H3_NO_ERROR` (RFC 9114 §8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// A question: a target's visitor from a network asks for a path, with further fields.
pub(super) struct Question<'a> {
    pub(super) target: &'a Target,
    pub(super) network: u64,
    pub(super) path: &'a str,
    pub(super) fields: &'a [(&'a str, &'a str)],
}

/// Asks once, over HTTP/2 or HTTP/3 as the target says.
///
/// # Errors
/// When no whole answer comes in time.
pub(super) fn fetch(question: &Question<'_>) -> Result<Fetched> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asked = async {
            match question.target.speaks {
                Speaks::Http3 => over_http3(question).await,
                _ => over_http2(question).await,
            }
        };
        let name = question.target.speaks.name();
        tokio::time::timeout(VISIT, asked).await.context("it takes too long")?.context(name)
    })
}

async fn over_http2(question: &Question<'_>) -> Result<Fetched> {
    let target = question.target;
    let tcp: TcpStream = connect(target.address, question.network).context("no connection")?;
    tcp.set_nonblocking(true)?;
    let tcp = tokio::net::TcpStream::from_std(tcp)?;
    let Some(config) = &target.tls else { return on_http2(question, "http", tcp).await };
    let name = ServerName::try_from(target.host.clone()).context("no name for TLS")?;
    let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await.context("no TLS")?;
    ensure!(tls.get_ref().1.alpn_protocol() == Some(b"h2"), "h2 is not agreed on");
    on_http2(question, "https", tls).await
}

async fn on_http2<IO>(question: &Question<'_>, scheme: &str, io: IO) -> Result<Fetched>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (requests, connection) = h2::client::handshake::<IO>(io).await.context("no HTTP/2")?;
    let mut request =
        http::Request::get(format!("{scheme}://{}{}", question.target.host, question.path)).body(())?;
    for (name, value) in question.fields {
        request.headers_mut().append(http::HeaderName::try_from(*name)?, value.parse()?);
    }
    let asking = async {
        let mut requests = requests.ready().await?;
        let (answer, _sent) = requests.send_request(request, true)?;
        let (head, mut body) = answer.await.context("no answer")?.into_parts();
        let mut fetched = Gathered::new("HTTP/2", head.status.as_u16());
        for (name, value) in &head.headers {
            fetched.note(name.as_str().as_bytes(), value.as_bytes());
        }
        while let Some(piece) = body.data().await {
            let piece = piece.context("the answer could not be read")?;
            body.flow_control().release_capacity(piece.len())?;
            fetched.push(&piece)?;
        }
        Ok(fetched.whole())
    };
    tokio::pin!(asking);
    tokio::select! {
        biased;
        asked = &mut asking => asked,
        ended = connection => {
            ended.context("the connection ended")?;
            asking.await
        }
    }
}

async fn over_http3(question: &Question<'_>) -> Result<Fetched> {
    let target = question.target;
    let config = target.tls.as_ref().context("HTTP/3 goes over TLS")?;
    let crypto = QuicClientConfig::try_from(Arc::clone(config)).context("TLS 1.3 is not there")?;
    let from = at_network(target.address, question.network)
        .unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let mut endpoint = Endpoint::client(from)?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    let quic = endpoint.connect(target.address, &target.host)?.await.context("no connection")?;
    let asked = on_http3(question, &quic).await;
    endpoint.close(NO_ERROR, b"");
    for _ in 0..CLOSING_POLLS {
        tokio::task::yield_now().await;
    }
    asked
}

async fn on_http3(question: &Question<'_>, quic: &Connection) -> Result<Fetched> {
    let limits = Limits::default();
    // It must stay open for as long as the connection.
    let mut control = quic.open_uni().await?;
    control.write_all(&http3::client_preface(&limits)).await?;
    let (mut sending, mut receiving) = quic.open_bi().await?;
    let mut request = Vec::new();
    let fields = question.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let (host, path) = (question.target.host.as_bytes(), question.path.as_bytes());
    http3::encode_request_head(&mut request, b"GET", b"https", host, path, fields);
    sending.write_all(&request).await?;
    sending.finish()?;
    let (mut parser, mut decoder) = (RequestStream::for_response(&limits), Decoder::new());
    let mut fetched = None;
    loop {
        match parser.next().map_err(|broken| anyhow::anyhow!("the answer is broken: {broken:?}"))? {
            Some(Event::Head(section)) => {
                let mut gathered = Gathered::new("HTTP/3", 0);
                let mut note = |name: &[u8], value: &[u8]| gathered.note(name, value);
                let status = decoder.response(&section, &limits, &mut note);
                gathered.status =
                    status.map_err(|broken| anyhow::anyhow!("the head is broken: {broken:?}"))?;
                if gathered.status < 200 {
                    parser.expect_another_head();
                } else if let Some(bytes) = gathered.length {
                    parser.expect_body(bytes);
                }
                fetched = Some(gathered);
            }
            Some(Event::Data(piece)) => fetched.as_mut().context("a body without a head")?.push(&piece)?,
            Some(Event::Trailers(_)) => {}
            Some(Event::End) => return Ok(fetched.context("an answer without a head")?.whole()),
            None => match receiving.read_chunk(1 << 16, true).await.context("no answer")? {
                Some(chunk) => parser.push(Bytes::clone(&chunk.bytes)),
                None => parser.push_end(),
            },
        }
    }
}

/// An answer as it comes.
struct Gathered {
    version: &'static str,
    status: u16,
    lines: String,
    length: Option<u64>,
    body: Vec<u8>,
}

impl Gathered {
    fn new(version: &'static str, status: u16) -> Self {
        Self { version, status, lines: String::new(), length: None, body: Vec::new() }
    }

    fn note(&mut self, name: &[u8], value: &[u8]) {
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        if name == "content-length" {
            self.length = value.parse().ok();
        }
        self.lines.push_str(&format!("\r\n{name}: {value}"));
    }

    fn push(&mut self, piece: &[u8]) -> Result<()> {
        if self.body.len() + piece.len() > ANSWER_BYTES_MAX {
            bail!("the answer has no end");
        }
        self.body.extend_from_slice(piece);
        Ok(())
    }

    fn whole(self) -> Fetched {
        let head = format!("{} {}{}", self.version, self.status, self.lines);
        Fetched::new(self.status, head, String::from_utf8_lossy(&self.body).into_owned())
    }
}
