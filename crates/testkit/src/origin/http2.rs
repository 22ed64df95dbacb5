//! One HTTP/2 connection of a scripted origin, and the exchange a streaming script plays on.
//!
//! Built on the h2 crate, as the product is: framing errors of HTTP/2 itself are beyond it. Called by
//! the origin's acceptor and by tests. Read next: [`super::grpc`].

use std::future::poll_fn;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::answer::{Answer, Delimiter, Part, STEP};
use super::record::{ConnectionFacts, Protocol, Record, Request, take_body};
use super::{Play, Rules};
use crate::digest::{Running, pattern, sha256_hex};
use crate::fields::{Fields, latin1};
use crate::gate::Gate;
use crate::websocket::{FrameReader, echo_of};

/// One stream being answered by a script. Methods return an error once the visitor reset it.
pub struct Http2Exchange {
    request: Request,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    record: Arc<Record>,
    booked: Option<usize>,
    running: Running,
}

pub(super) async fn serve<IO>(
    record: &Arc<Record>,
    rules: &Rules,
    play: &Play,
    number: u64,
    io: IO,
    facts: ConnectionFacts,
) -> Result<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol().initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
    let mut connection = builder.handshake::<_, Bytes>(io).await.context("HTTP/2 handshake")?;
    let mut tasks = JoinSet::new();
    let mut place = 0;
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                None => break,
                Some(Err(error)) if error.is_io() || error.is_go_away() => break,
                Some(Err(error)) => return Err(error.into()),
                Some(Ok((head, respond))) => {
                    let exchange = Http2Exchange::new(record, number, place, head, respond, &facts);
                    place += 1;
                    if rules.closes_after.is_some_and(|count| place >= count) {
                        connection.graceful_shutdown();
                    }
                    tasks.spawn(perform(play.clone(), exchange, Arc::clone(record)));
                }
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    tasks.shutdown().await;
    Ok(())
}

async fn perform(play: Play, exchange: Http2Exchange, record: Arc<Record>) {
    let name = format!("{} {}", exchange.request.method, exchange.request.target);
    let result = match play {
        Play::Answer(answer) => exchange.converse(&*answer).await,
        Play::Streaming(script) => script(exchange).await,
        Play::Script(_) => Err(anyhow::anyhow!("this origin speaks HTTP/1 only")),
    };
    match result {
        Ok(()) => record.count(|counters| counters.answered += 1),
        Err(error) if error.downcast_ref::<h2::Error>().is_some() || error.is::<Gone>() => {
            record.count(|counters| counters.aborted += 1);
        }
        Err(error) => record.fault(format!("{name}: {error:#}")),
    }
}

/// The visitor reset the stream or left.
#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("the visitor left")
    }
}

impl std::error::Error for Gone {}

impl Http2Exchange {
    fn new(
        record: &Arc<Record>,
        connection: u64,
        place: u64,
        head: http::Request<RecvStream>,
        respond: SendResponse<Bytes>,
        facts: &ConnectionFacts,
    ) -> Http2Exchange {
        let (head, body) = head.into_parts();
        let request = Request {
            connection,
            place,
            protocol: Protocol::Http2,
            method: head.method.to_string(),
            target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            authority: match head.uri.authority() {
                Some(authority) => authority.to_string(),
                None => head.headers.get("host").map(|host| latin1(host.as_bytes())).unwrap_or_default(),
            },
            version: "HTTP/2".to_owned(),
            connect_protocol: head.extensions.get::<h2::ext::Protocol>().map(|name| name.as_str().to_owned()),
            fields: Fields::from_header_map(&head.headers),
            raw: Vec::new(),
            body: Vec::new(),
            body_length: 0,
            body_sha256: sha256_hex(b""),
            chunks: Vec::new(),
            trailers: Fields::new(),
            is_complete: body.is_end_stream(),
            tls: facts.tls.clone(),
            proxy: facts.proxy.clone(),
        };
        let booked = record.request(&request);
        Http2Exchange {
            request,
            body,
            respond,
            sending: None,
            record: Arc::clone(record),
            booked,
            running: Running::default(),
        }
    }

    /// The request as known so far.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The next DATA, or none at the end, when trailers are read too.
    ///
    /// # Errors
    /// When the visitor resets the stream.
    pub async fn body_part(&mut self) -> Result<Option<Bytes>> {
        let part = match self.body.data().await {
            Some(part) => {
                let part = part?;
                self.body.flow_control().release_capacity(part.len())?;
                take_body(&mut self.request, &mut self.running, &part);
                self.request.chunks.push(part.len() as u64);
                self.record.count(|counters| counters.bytes_in += part.len() as u64);
                Some(part)
            }
            None => {
                if let Some(trailers) = self.body.trailers().await? {
                    self.request.trailers = Fields::from_header_map(&trailers);
                }
                self.request.is_complete = true;
                self.request.body_sha256 = self.running.sha256_hex();
                None
            }
        };
        self.record.update(self.booked, &self.request);
        Ok(part)
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    /// As [`Http2Exchange::body_part`].
    pub async fn read_body(&mut self) -> Result<()> {
        while self.body_part().await?.is_some() {}
        Ok(())
    }

    /// Sends an informational answer.
    ///
    /// # Errors
    /// When the status is not 1xx or the visitor left.
    pub fn send_informational(&mut self, status: u16, fields: &Fields) -> Result<()> {
        Ok(self.respond.send_informational(head_of(status, fields)?)?)
    }

    /// Sends the final head; with `is_end` the answer has no body.
    ///
    /// # Errors
    /// When the visitor left.
    pub fn send_head(&mut self, status: u16, fields: &Fields, is_end: bool) -> Result<()> {
        self.sending = Some(self.respond.send_response(head_of(status, fields)?, is_end)?);
        Ok(())
    }

    /// Sends body bytes, as fast as the visitor's window allows.
    ///
    /// # Errors
    /// When the visitor resets the stream or leaves.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let mut bytes = bytes.into();
        let sending = self.sending.as_mut().context("a head goes before a body")?;
        while !bytes.is_empty() {
            sending.reserve_capacity(bytes.len());
            let Some(room) = poll_fn(|context| sending.poll_capacity(context)).await else { bail!(Gone) };
            let part = bytes.split_to(room?.min(bytes.len()));
            self.record.count(|counters| counters.bytes_out += part.len() as u64);
            sending.send_data(part, false)?;
        }
        Ok(())
    }

    /// Ends the body, with trailers if there are any.
    ///
    /// # Errors
    /// When the visitor left.
    pub fn finish(&mut self, trailers: &Fields) -> Result<()> {
        let sending = self.sending.as_mut().context("a head goes before an end")?;
        if trailers.is_empty() {
            sending.send_data(Bytes::new(), true)?;
        } else {
            sending.send_trailers(trailers.to_header_map()?)?;
        }
        Ok(())
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: Reason) {
        match &mut self.sending {
            Some(sending) => sending.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// Waits for the test, or until the visitor resets the stream.
    ///
    /// # Errors
    /// When the visitor left first, or nobody opened the gate.
    pub async fn wait(&mut self, gate: &Gate) -> Result<()> {
        tokio::select! {
            passed = gate.passed() => passed,
            _ = self.wait_until_gone() => bail!(Gone),
        }
    }

    /// Waits until the visitor resets the stream, and returns the reason; none when the connection ended.
    pub async fn wait_until_gone(&mut self) -> Option<Reason> {
        let reset = match &mut self.sending {
            Some(sending) => poll_fn(|context| sending.poll_reset(context)).await,
            None => poll_fn(|context| self.respond.poll_reset(context)).await,
        };
        reset.ok()
    }

    /// Reads the request whole and sends what `answer` makes of it.
    ///
    /// # Errors
    /// When the visitor leaves.
    pub async fn converse(mut self, answer: &(dyn Fn(&Request) -> Answer + Send + Sync)) -> Result<()> {
        if self.request.connect_protocol.is_none() {
            self.read_body().await?;
        }
        let answer = answer(&self.request);
        for (status, fields) in &answer.informational {
            self.send_informational(*status, fields)?;
        }
        for gate in &answer.before {
            self.wait(gate).await?;
        }
        if answer.websocket {
            return self.websocket(&answer).await;
        }
        let has_body = answer.has_body(&self.request.method);
        let mut fields = answer.fields.clone();
        let tells_length = answer.delimiter == Delimiter::Length && !matches!(answer.status, 204 | 304);
        if tells_length && !fields.has("content-length") {
            fields.push("content-length", answer.length().to_string());
        }
        let is_empty = answer.parts.is_empty() && answer.trailers.is_empty();
        self.send_head(answer.status, &fields, !has_body || is_empty)?;
        if !has_body || is_empty {
            return Ok(());
        }
        if self.play(&answer.parts).await? {
            self.finish(&answer.trailers)?;
        }
        Ok(())
    }

    /// Sends parts; false when one of them broke the stream.
    async fn play(&mut self, parts: &[Part]) -> Result<bool> {
        for part in parts {
            match part {
                Part::Bytes(bytes) => self.send(bytes.clone()).await?,
                Part::Pattern { seed, offset, length } => {
                    let mut done = 0;
                    while done < *length {
                        let mut step = vec![0; usize::try_from(length - done).unwrap_or(STEP).min(STEP)];
                        pattern(*seed, offset + done, &mut step);
                        done += step.len() as u64;
                        self.send(step).await?;
                    }
                }
                Part::Wait(gate) => self.wait(gate).await?,
                Part::Close | Part::Reset => {
                    self.reset(Reason::INTERNAL_ERROR);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    async fn websocket(&mut self, answer: &Answer) -> Result<()> {
        if self.request.connect_protocol.as_deref() != Some("websocket") {
            bail!("a WebSocket without :protocol websocket");
        }
        self.send_head(200, &answer.fields, false)?;
        self.play(&answer.parts).await?;
        let mut frames = FrameReader::default();
        while let Some(bytes) = self.body_part().await? {
            frames.add(&bytes);
            while let Some(frame) = frames.next_frame() {
                if !frame.masked {
                    bail!("a visitor's frame came unmasked");
                }
                let (back, is_last) = echo_of(&frame);
                if let Some(back) = back {
                    self.send(back.to_bytes(None)).await?;
                }
                if is_last {
                    return self.finish(&Fields::new());
                }
            }
        }
        bail!(Gone)
    }
}

fn head_of(status: u16, fields: &Fields) -> Result<http::Response<()>> {
    let mut head = http::Response::new(());
    *head.status_mut() = http::StatusCode::from_u16(status)?;
    *head.headers_mut() = fields.to_header_map()?;
    Ok(head)
}
