//! A load generator for HTTP/3: so many connections, so many streams on each, for so long; or idle ones.
//!
//! `h3-load URL [--connections N] [--streams M] [--seconds S] [--rate R] [--connect ADDRESS] [--ca FILE |
//! --insecure]` asks for the URL again and again on every stream and prints one line: requests, those
//! answered with 2xx and a whole body, those that failed, bytes of bodies, requests per second. Requests
//! begun before the end are waited for. It exits with 1 when one failed.
//!
//! `h3-load URL --idle N [--again S]` opens N connections, asks once on each, prints `ready`, and keeps them
//! alive until its standard input closes; with `--again` it asks on each every S seconds, for nodes close
//! connections that have had no request for long, however lively their QUIC is. At last it prints how many
//! it kept and how many it lost, and why.
//!
//! It speaks through the product's own codec, so it proves nothing about the protocol: for measuring, and for
//! load beside other clients. Called by `bench/compare.py` and `bench/soak.py`.

use std::cell::{Cell, RefCell};
use std::io::Read as _;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use http3::{Decoder, Event, Limits, RequestStream};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::task::JoinSet;

const USAGE: &str = "usage: h3-load https://HOST[:PORT]/PATH [--connections N] [--streams M] [--seconds S] \
                     [--rate R] [--idle N [--again S]] [--connect ADDRESS] [--ca FILE | --insecure]";

/// UDP sockets at most; connections share them in turn. Enough that every thread of a node gets its part.
const SOCKETS_MAX: usize = 32;

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections that shake hands at once: all of them would queue past each other's time-outs on one core.
const HANDSHAKES: usize = 16;

#[expect(clippy::disallowed_methods, reason = "a load generator measures time")]
fn now() -> Instant {
    Instant::now()
}

/// What the command line says.
struct Wanted {
    host: String,
    authority: String,
    path: String,
    address: SocketAddr,
    connections: usize,
    streams: usize,
    seconds: u64,
    /// Requests per second over all streams; `None` for as many as possible.
    rate: Option<f64>,
    idle: Option<usize>,
    /// Seconds between two requests on an idle connection; `None` for one request alone.
    again: Option<u64>,
    tls: rustls::ClientConfig,
}

impl Wanted {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wanted> {
        let url = arguments.next().context(USAGE)?;
        let rest = url.strip_prefix("https://").context("the URL begins with https://")?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().context("the URL's port")?),
            _ => (authority, 443_u16),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let (mut connections, mut streams, mut seconds, mut rate, mut idle) = (1, 1, 5, None, None);
        let (mut again, mut connect, mut ca, mut insecure) = (None, None, None, false);
        while let Some(flag) = arguments.next() {
            if flag == "--insecure" {
                insecure = true;
                continue;
            }
            let value = arguments.next().with_context(|| format!("{flag} takes a value\n{USAGE}"))?;
            let bad = || format!("{flag} {value}");
            match flag.as_str() {
                "--connections" => connections = value.parse().with_context(bad)?,
                "--streams" => streams = value.parse().with_context(bad)?,
                "--seconds" => seconds = value.parse().with_context(bad)?,
                "--rate" => rate = Some(value.parse().with_context(bad)?),
                "--idle" => idle = Some(value.parse().with_context(bad)?),
                "--again" => again = Some(value.parse().with_context(bad)?),
                "--connect" => connect = Some(value),
                "--ca" => ca = Some(value),
                _ => bail!("{flag} is unknown\n{USAGE}"),
            }
        }
        ensure!(connections > 0 && streams > 0, "there must be a connection and a stream");
        let target = connect.unwrap_or_else(|| format!("{host}:{port}"));
        let address = target.to_socket_addrs().with_context(|| target.clone())?.next().context(target)?;
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        let tls = client_tls(ca.as_deref(), insecure)?;
        let authority = authority.to_owned();
        Ok(Wanted { host, authority, path, address, connections, streams, seconds, rate, idle, again, tls })
    }
}

fn client_tls(ca: Option<&str>, insecure: bool) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut tls = match ca {
        Some(file) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_file_iter(file).with_context(|| file.to_owned())? {
                roots.add(certificate?)?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        None if insecure => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth(),
        None => bail!("whom to trust: --ca FILE or --insecure\n{USAGE}"),
    };
    tls.alpn_protocols = vec![b"h3".to_vec()];
    // Every connection shakes hands in full, so that runs compare.
    tls.resumption = rustls::client::Resumption::disabled();
    Ok(tls)
}

/// Takes any certificate, for `--insecure`.
#[derive(Debug)]
struct Anybody(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The sockets, and how to connect through them.
struct Sockets {
    endpoints: Vec<quinn::Endpoint>,
    config: quinn::ClientConfig,
    next: Cell<usize>,
    shaking: tokio::sync::Semaphore,
}

impl Sockets {
    fn open(wanted: &Wanted) -> Result<Sockets> {
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(wanted.tls.clone())?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(10)));
        config.transport_config(Arc::new(transport));
        let any = match wanted.address {
            SocketAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
        };
        let count = wanted.idle.unwrap_or(wanted.connections).clamp(1, SOCKETS_MAX);
        let endpoints = (0..count)
            .map(|_| quinn::Endpoint::client(any))
            .collect::<Result<_, _>>()
            .context("a UDP socket")?;
        let shaking = tokio::sync::Semaphore::new(HANDSHAKES);
        Ok(Sockets { endpoints, config, next: Cell::new(0), shaking })
    }

    /// Shakes hands and opens the control stream.
    async fn connect(&self, wanted: &Wanted) -> Result<Visit> {
        let _turn = self.shaking.acquire().await?;
        let place = self.next.replace(self.next.get() + 1) % self.endpoints.len();
        let endpoint = self.endpoints.get(place).context("there is a socket at least")?;
        let quic = endpoint.connect_with(self.config.clone(), wanted.address, &wanted.host)?.await?;
        let mut control = quic.open_uni().await?;
        control.write_all(&http3::client_preface(&Limits::default())).await?;
        Ok(Visit { quic, _control: control })
    }

    /// Lets the last packets leave.
    async fn close(&self) {
        for endpoint in &self.endpoints {
            endpoint.close(quinn::VarInt::from_u32(0x100), b"done"); // H3_NO_ERROR
            endpoint.wait_idle().await;
        }
    }
}

/// A connection with its control stream, whose end would be an error.
struct Visit {
    quic: quinn::Connection,
    _control: quinn::SendStream,
}

/// What came of all requests.
#[derive(Default)]
struct Tally {
    requests: Cell<u64>,
    successes: Cell<u64>,
    body_bytes: Cell<u64>,
    failures: Cell<u64>,
    /// The first few reasons.
    reasons: RefCell<Vec<String>>,
}

impl Tally {
    fn fail(&self, why: &anyhow::Error) {
        self.failures.set(self.failures.get() + 1);
        let mut reasons = self.reasons.borrow_mut();
        if reasons.len() < 10 {
            reasons.push(format!("{why:#}"));
        }
    }
}

/// Asks once and reads the answer whole; its status and the length of its body.
async fn ask(quic: &quinn::Connection, request: &[u8], decoder: &mut Decoder) -> Result<(u16, u64)> {
    let (mut sending, mut receiving) = quic.open_bi().await.context("opening a stream")?;
    sending.write_all(request).await.context("sending")?;
    sending.finish()?;
    let limits = Limits::default();
    let mut parser = RequestStream::for_response(&limits);
    let (mut status, mut bytes) = (0, 0);
    loop {
        match parser.next().map_err(|broken| anyhow::anyhow!("{broken:?}"))? {
            Some(Event::Head(section)) => {
                let mut length = None;
                let mut note = |name: &[u8], value: &[u8]| {
                    if name == b"content-length" {
                        length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    }
                };
                let head = decoder.response(&section, &limits, &mut note);
                status = head.map_err(|broken| anyhow::anyhow!("{broken:?}"))?;
                match length {
                    _ if status < 200 => parser.expect_another_head(),
                    Some(length) => parser.expect_body(length),
                    None => {}
                }
            }
            Some(Event::Data(piece)) => bytes += piece.len() as u64,
            Some(Event::Trailers(_)) => {}
            Some(Event::End) => return Ok((status, bytes)),
            None => match receiving.read_chunk(1 << 16, true).await.context("receiving")? {
                Some(chunk) => parser.push(chunk.bytes),
                None => parser.push_end(),
            },
        }
    }
}

/// One stream's place: asks until the end, at its part of the rate.
async fn keep_asking(
    quic: quinn::Connection,
    request: Rc<[u8]>,
    tally: Rc<Tally>,
    end: Instant,
    pause: Option<Duration>,
) {
    let mut decoder = Decoder::new();
    let mut due = now();
    while now() < end {
        if let Some(pause) = pause {
            tokio::time::sleep_until(due.into()).await;
            due = (due + pause).max(now());
        }
        tally.requests.set(tally.requests.get() + 1);
        match tokio::time::timeout(PATIENCE, ask(&quic, &request, &mut decoder)).await {
            Ok(Ok((200..300, bytes))) => {
                tally.successes.set(tally.successes.get() + 1);
                tally.body_bytes.set(tally.body_bytes.get() + bytes);
            }
            Ok(Ok((status, _))) => tally.fail(&anyhow::anyhow!("status {status}")),
            Ok(Err(why)) => tally.fail(&why),
            Err(_) => tally.fail(&anyhow::anyhow!("no answer in {PATIENCE:?}")),
        }
        if quic.close_reason().is_some() {
            return;
        }
    }
}

async fn load(wanted: Rc<Wanted>, request: Rc<[u8]>) -> Result<bool> {
    let sockets = Rc::new(Sockets::open(&wanted)?);
    let tally = Rc::new(Tally::default());
    let mut connecting = JoinSet::new();
    for _ in 0..wanted.connections {
        let (sockets, wanted) = (Rc::clone(&sockets), Rc::clone(&wanted));
        connecting.spawn_local(async move { sockets.connect(&wanted).await });
    }
    let mut visits = Vec::new();
    while let Some(connected) = connecting.join_next().await {
        match connected? {
            Ok(visit) => visits.push(visit),
            Err(why) => tally.fail(&why.context("connecting")),
        }
    }
    let begin = now();
    let end = begin + Duration::from_secs(wanted.seconds);
    let places = (wanted.connections * wanted.streams) as f64;
    let pause = wanted.rate.map(|rate| Duration::from_secs_f64(places / rate.max(0.001)));
    let mut asking = JoinSet::new();
    for visit in &visits {
        for _ in 0..wanted.streams {
            let (quic, request) = (visit.quic.clone(), Rc::clone(&request));
            asking.spawn_local(keep_asking(quic, request, Rc::clone(&tally), end, pause));
        }
    }
    while let Some(ended) = asking.join_next().await {
        ended?;
    }
    let elapsed = begin.elapsed().as_secs_f64();
    println!(
        "requests {} 2xx {} failed {} bytes {} rate {:.1}/s",
        tally.requests.get(),
        tally.successes.get(),
        tally.failures.get(),
        tally.body_bytes.get(),
        tally.requests.get() as f64 / elapsed
    );
    for reason in tally.reasons.borrow().iter() {
        println!("failure: {reason}");
    }
    drop(visits);
    sockets.close().await;
    Ok(tally.failures.get() == 0 && tally.requests.get() == tally.successes.get())
}

async fn stay(wanted: Rc<Wanted>, request: Rc<[u8]>, count: usize) -> Result<bool> {
    let (closed, closing) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ended = std::io::stdin().read_to_end(&mut Vec::new());
        let _nobody_waits = closed.send(());
    });
    let sockets = Rc::new(Sockets::open(&wanted)?);
    let mut connecting = JoinSet::new();
    for _ in 0..count {
        let (sockets, wanted, request) = (Rc::clone(&sockets), Rc::clone(&wanted), Rc::clone(&request));
        connecting.spawn_local(async move {
            let visit = sockets.connect(&wanted).await.context("connecting")?;
            let (status, _) = ask(&visit.quic, &request, &mut Decoder::new()).await?;
            ensure!((200..300).contains(&status), "status {status}");
            anyhow::Ok(visit)
        });
    }
    let mut visits = Vec::new();
    while let Some(connected) = connecting.join_next().await {
        visits.push(connected??);
    }
    println!("ready");
    let mut closing = std::pin::pin!(closing);
    // Without `--again` the first turn is out of reach.
    let pause = Duration::from_secs(wanted.again.unwrap_or(u64::from(u32::MAX)));
    let mut reasons = Vec::new();
    while tokio::time::timeout(pause, &mut closing).await.is_err() {
        for visit in &visits {
            match ask(&visit.quic, &request, &mut Decoder::new()).await {
                Ok((200..300, _)) => {}
                Ok((status, _)) => reasons.push(format!("status {status}")),
                Err(why) => reasons.push(format!("{why:#}")),
            }
        }
    }
    let closed: Vec<_> = visits.iter().filter_map(|visit| visit.quic.close_reason()).collect();
    let lost = closed.len();
    println!("kept {} lost {lost} failed {}", visits.len() - lost, reasons.len());
    reasons.extend(closed.iter().map(ToString::to_string));
    for reason in reasons.iter().take(5) {
        println!("failure: {reason}");
    }
    drop(visits);
    sockets.close().await;
    Ok(reasons.is_empty())
}

fn main() -> Result<std::process::ExitCode> {
    let wanted = Rc::new(Wanted::read(std::env::args().skip(1))?);
    let mut head = Vec::new();
    let fields = [(&b"user-agent"[..], &b"h3-load"[..])];
    http3::encode_request_head(
        &mut head,
        b"GET",
        b"https",
        wanted.authority.as_bytes(),
        wanted.path.as_bytes(),
        fields.into_iter(),
    );
    let request: Rc<[u8]> = head.into();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let all_well = runtime.block_on(async {
        match wanted.idle {
            Some(count) => stay(Rc::clone(&wanted), request, count).await,
            None => load(Rc::clone(&wanted), request).await,
        }
    })?;
    Ok(if all_well { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE })
}
