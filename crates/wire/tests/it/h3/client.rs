//! A visitor that speaks HTTP/3, and can also say what it should not.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http3::{Event, FieldEncoder, Limits, RequestStream};
use quinn::{RecvStream, SendStream};

use super::site::Node;

/// A connected visitor.
pub(super) struct Visitor {
    pub(super) endpoint: quinn::Endpoint,
    pub(super) quic: quinn::Connection,
    /// Kept open: closing it is an error of the connection.
    _control: SendStream,
}

/// What came back on one stream.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) interim: Vec<u16>,
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, String)>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub(super) fn client_config(node: &Node) -> quinn::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(node.root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    quinn::ClientConfig::new(Arc::new(crypto))
}

/// Connects, without a word of HTTP/3.
pub(super) async fn connect_silently(node: &Node) -> (quinn::Endpoint, quinn::Connection) {
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    endpoint.set_default_client_config(client_config(node));
    let quic = endpoint.connect(node.address, "example.org").unwrap().await.unwrap();
    (endpoint, quic)
}

impl Visitor {
    pub(super) async fn connect(node: &Node) -> Self {
        let (endpoint, quic) = connect_silently(node).await;
        Self::greet(endpoint, quic).await
    }

    async fn greet(endpoint: quinn::Endpoint, quic: quinn::Connection) -> Self {
        let mut control = quic.open_uni().await.unwrap();
        control.write_all(&http3::client_preface(&Limits::default())).await.unwrap();
        Self { endpoint, quic, _control: control }
    }

    /// One that takes 64 KiB of a stream before it has read them.
    pub(super) async fn connect_narrowly(node: &Node) -> Self {
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window(quinn::VarInt::from_u32(64 * 1024));
        let mut config = client_config(node);
        config.transport_config(Arc::new(transport));
        let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let quic = endpoint.connect_with(config, node.address, "example.org").unwrap().await.unwrap();
        Self::greet(endpoint, quic).await
    }

    /// Sends these bytes on a stream of their own and ends it.
    pub(super) async fn send(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut sending, receiving) = self.quic.open_bi().await.unwrap();
        sending.write_all(bytes).await.unwrap();
        sending.finish().unwrap();
        (sending, receiving)
    }

    /// Sends them and reads the answer.
    pub(super) async fn ask(&self, bytes: &[u8]) -> Answer {
        let (_sending, receiving) = self.send(bytes).await;
        answer(receiving).await.unwrap()
    }

    /// GETs a path.
    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(&request("GET", path, &[])).await
    }

    /// The code the connection is closed with by the node.
    pub(super) async fn closed(&self) -> u64 {
        match self.quic.closed().await {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("closed otherwise: {other}"),
        }
    }
}

/// A request's head as one HEADERS frame.
pub(super) fn request(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut head =
        FieldEncoder::request(&mut out, method.as_bytes(), b"https", b"example.org", path.as_bytes(), None);
    for (name, value) in fields {
        head.field(name.as_bytes(), value.as_bytes());
    }
    head.finish();
    out
}

/// A frame of this type around this payload.
pub(super) fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    http3::varint::write(&mut out, kind);
    http3::varint::write(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

/// Bytes in a DATA frame.
pub(super) fn data(payload: &[u8]) -> Vec<u8> {
    frame(0, payload)
}

/// A HEADERS frame with a well-formed GET and these lines behind, whatever they hold.
pub(super) fn raw_request(lines: &[(&[u8], &[u8])]) -> Vec<u8> {
    let whole = request("GET", "/request", &[]);
    // The frame of a head this short has a length of one byte.
    let mut section = whole[2..].to_vec();
    assert_eq!(usize::from(whole[1]), section.len());
    for (name, value) in lines {
        literal(&mut section, name, value);
    }
    frame(1, &section)
}

/// A HEADERS frame with these lines and no others, whatever they hold.
pub(super) fn raw_trailers(lines: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in lines {
        literal(&mut section, name, value);
    }
    frame(1, &section)
}

/// A literal field line with literal name (RFC 9204 §4.5.6), unchecked.
fn literal(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    integer(out, 0x20, 3, name.len());
    out.extend_from_slice(name);
    integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

fn integer(out: &mut Vec<u8>, first: u8, bits: u8, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        return out.push(first | value as u8);
    }
    out.push(first | most as u8);
    let mut rest = value - most;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Reads an answer piece by piece.
pub(super) struct Reading {
    receiving: RecvStream,
    parser: RequestStream,
    pub(super) answer: Answer,
}

impl Reading {
    pub(super) fn new(receiving: RecvStream) -> Self {
        let parser = RequestStream::for_response(&Limits::default());
        Self { receiving, parser, answer: Answer::default() }
    }

    /// Reads on; false at the end, and the code of a reset as an error.
    pub(super) async fn step(&mut self) -> Result<bool, u64> {
        loop {
            if let Some(event) = self.parser.next().expect("the node speaks HTTP/3") {
                match event {
                    Event::Head(section) => self.head(&section),
                    Event::Data(piece) => self.answer.body.extend_from_slice(&piece),
                    Event::Trailers(section) => {
                        let keep = &mut |name: &[u8], value: &[u8]| {
                            self.answer.trailers.push((text(name), text(value)));
                        };
                        http3::decode_trailers(&section, &Limits::default(), keep).unwrap();
                    }
                    Event::End => return Ok(false),
                }
                return Ok(true);
            }
            match self.receiving.read_chunk(1 << 16, true).await {
                Ok(Some(chunk)) => self.parser.push(chunk.bytes),
                Ok(None) => self.parser.push_end(),
                Err(quinn::ReadError::Reset(code)) => return Err(code.into_inner()),
                Err(other) => panic!("reading failed: {other:?}"),
            }
        }
    }

    fn head(&mut self, section: &Bytes) {
        let mut fields = Vec::new();
        let keep = &mut |name: &[u8], value: &[u8]| fields.push((text(name), text(value)));
        let status = http3::decode_response(section, &Limits::default(), keep).unwrap();
        if status < 200 {
            self.answer.interim.push(status);
            self.parser.expect_another_head();
        } else {
            self.answer.status = status;
            self.answer.fields = fields;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a whole answer; the code of a reset as an error.
pub(super) async fn answer(receiving: RecvStream) -> Result<Answer, u64> {
    let mut reading = Reading::new(receiving);
    while reading.step().await? {}
    Ok(reading.answer)
}
