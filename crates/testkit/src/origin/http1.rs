//! One HTTP/1 connection of a scripted origin, and the exchange a script plays on.
//!
//! Everything blocks; a connection has a thread. What a script sends goes out as given, right or wrong.
//! Called by [`super`]. Read next: [`super::answer`].

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};

use super::answer::{Answer, Delimiter, Part, STEP};
use super::record::{ConnectionFacts, Protocol, Record, Request, take_body};
use super::{Play, Rules};
use crate::digest::{Running, pattern, sha256_hex};
use crate::fields::Fields;
use crate::gate::Gate;
use crate::message::{BodyReader, Framing, Head, Reader, declared_framing};
use crate::stream::{Ending, Stream};
use crate::websocket::{FrameReader, accept_key, echo_of};

/// One request being answered by a script.
///
/// Whatever the script leaves unread of the body is read and dropped before the next request.
pub struct Exchange<'c> {
    reader: &'c mut Reader,
    record: &'c Record,
    booked: Option<usize>,
    request: Request,
    body: BodyReader,
    running: Running,
    is_closing: bool,
    is_detached: bool,
}

pub(super) fn serve(
    record: &Arc<Record>,
    rules: &Rules,
    play: &Play,
    number: u64,
    mut reader: Reader,
    facts: &ConnectionFacts,
) {
    for place in 0.. {
        record.set_idle(number, true);
        let head = reader.head();
        record.set_idle(number, false);
        let request = match head {
            Ok(Some(head)) => parse(head, number, place, facts),
            Ok(None) => break,
            Err(error) => Err(error),
        };
        let (request, framing) = match request {
            Ok(request) => request,
            Err(error) => {
                record.fault(format!("malformed request: {error:#}"));
                let _ = reader.stream().write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                break;
            }
        };
        let booked = record.request(&request);
        let mut exchange = Exchange {
            reader: &mut reader,
            record,
            booked,
            is_closing: request.fields.has_token("connection", "close"),
            request,
            body: BodyReader::new(framing),
            running: Running::default(),
            is_detached: false,
        };
        let result = match play {
            Play::Answer(answer) => exchange.converse(&**answer),
            Play::Script(script) => script(&mut exchange),
            Play::Streaming(_) => Err(anyhow::anyhow!("this origin speaks HTTP/2 only")),
        };
        let is_last = match result.and_then(|()| exchange.end()) {
            Ok(is_last) => is_last,
            Err(error) => {
                exchange.broken(&error);
                true
            }
        };
        if is_last || rules.closes_after.is_some_and(|count| place + 1 >= count) {
            break;
        }
    }
    let _ = reader.stream().finish();
}

fn parse(head: Head, connection: u64, place: u64, facts: &ConnectionFacts) -> Result<(Request, Framing)> {
    let words: Vec<&str> = head.first_line.split(' ').collect();
    let [method, target, version] = words.as_slice() else { bail!("request line {:?}", head.first_line) };
    ensure!(!target.is_empty() && matches!(*version, "HTTP/1.0" | "HTTP/1.1"), "line {:?}", head.first_line);
    ensure!(method.bytes().all(crate::message::is_token) && !method.is_empty(), "method {method:?}");
    let hosts = head.fields.all("host");
    ensure!(hosts.len() == 1 || (hosts.is_empty() && *version == "HTTP/1.0"), "Host {hosts:?}");
    let framing = declared_framing(&head.fields)?.unwrap_or(Framing::Empty);
    let request = Request {
        connection,
        place,
        protocol: Protocol::Http1,
        method: (*method).to_owned(),
        target: (*target).to_owned(),
        authority: head.fields.first("host").unwrap_or_default().to_owned(),
        version: (*version).to_owned(),
        connect_protocol: None,
        fields: head.fields,
        raw: head.raw,
        body: Vec::new(),
        body_length: 0,
        body_sha256: sha256_hex(b""),
        chunks: Vec::new(),
        trailers: Fields::new(),
        is_complete: BodyReader::new(framing).is_ended(),
        tls: facts.tls.clone(),
        proxy: facts.proxy.clone(),
    };
    Ok((request, framing))
}

impl Exchange<'_> {
    /// The request as known so far.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The next part of the body, or none at its end. Does not send 100 by itself.
    ///
    /// # Errors
    /// When the framing is broken or the visitor leaves.
    pub fn body_part(&mut self, max: usize) -> Result<Option<Vec<u8>>> {
        let part = self.reader.body_part(&mut self.body, max)?;
        match &part {
            Some(part) => {
                take_body(&mut self.request, &mut self.running, part);
                self.record.count(|counters| counters.bytes_in += part.len() as u64);
            }
            None => {
                self.request.is_complete = true;
                self.request.body_sha256 = self.running.sha256_hex();
                self.request.trailers = self.body.trailers.clone();
                self.request.chunks.clone_from(&self.body.chunks);
            }
        }
        self.record.update(self.booked, &self.request);
        Ok(part)
    }

    /// Reads the body to its end; [`Exchange::request`] holds it then.
    ///
    /// # Errors
    /// As [`Exchange::body_part`].
    pub fn read_body(&mut self) -> Result<()> {
        while self.body_part(STEP)?.is_some() {}
        Ok(())
    }

    /// Sends bytes exactly.
    ///
    /// # Errors
    /// When the visitor left.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let bytes = bytes.as_ref();
        self.reader.stream().write_all(bytes)?;
        self.reader.stream().flush()?;
        self.record.count(|counters| counters.bytes_out += bytes.len() as u64);
        Ok(())
    }

    /// Sends a status line and fields, and the empty line.
    ///
    /// # Errors
    /// When the visitor left.
    pub fn send_head(&mut self, status: u16, fields: &Fields) -> Result<()> {
        let reason = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
        let mut bytes = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Some")).into_bytes();
        bytes.extend(fields.to_bytes());
        bytes.extend(b"\r\n");
        self.send(bytes)
    }

    /// Sends one chunk; an empty one is left out, since it would end the body.
    ///
    /// # Errors
    /// When the visitor left.
    pub fn send_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend(bytes);
        chunk.extend(b"\r\n");
        self.send(chunk)
    }

    /// Ends a chunked body.
    ///
    /// # Errors
    /// When the visitor left.
    pub fn send_last_chunk(&mut self, trailers: &Fields) -> Result<()> {
        let mut bytes = b"0\r\n".to_vec();
        bytes.extend(trailers.to_bytes());
        bytes.extend(b"\r\n");
        self.send(bytes)
    }

    /// Closes (FIN) after this exchange.
    pub fn close_after(&mut self) {
        self.is_closing = true;
    }

    /// Resets the connection now.
    pub fn reset(&mut self) {
        self.reader.stream().reset();
        self.is_closing = true;
        self.is_detached = true;
    }

    /// Sends FIN now, over TLS without a close_notify.
    pub fn truncate(&mut self) {
        // A visitor who left already sees no end either way.
        let _ = self.reader.stream().truncate();
        self.is_closing = true;
        self.is_detached = true;
    }

    /// Waits for the test.
    ///
    /// # Errors
    /// When nobody opens the gate.
    pub fn wait(&mut self, gate: &Gate) -> Result<()> {
        gate.pass()
    }

    /// Answers nothing and waits until the other side ends the connection; how it did so is returned. Counts
    /// an aborted exchange.
    ///
    /// # Errors
    /// When TLS breaks.
    pub fn wait_until_gone(&mut self) -> Result<Ending> {
        while self.reader.fill()? {}
        self.is_closing = true;
        self.is_detached = true;
        self.record.count(|counters| counters.aborted += 1);
        Ok(self.reader.ending())
    }

    /// Bytes the other side sent past this request so far, unread: a pipelined request, or tunnel bytes.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn tunnel_bytes(&mut self, max: usize) -> Result<Vec<u8>> {
        self.is_detached = true;
        self.is_closing = true;
        Ok(self.reader.some(max)?)
    }

    /// Answers as a server in [`Answer`] mode does: 100 if asked for, the body read, then the answer.
    ///
    /// # Errors
    /// When the visitor leaves, or sends what is no request.
    pub fn converse(&mut self, answer: &dyn Fn(&Request) -> Answer) -> Result<()> {
        if self.request.fields.has_token("expect", "100-continue") && !self.body.is_ended() {
            self.send_head(100, &Fields::new())?;
        }
        self.read_body()?;
        self.answer(&answer(&self.request))
    }

    /// Sends an answer.
    ///
    /// # Errors
    /// When the visitor left, or a gate stayed closed.
    pub fn answer(&mut self, answer: &Answer) -> Result<()> {
        for (status, fields) in &answer.informational {
            self.send_head(*status, fields)?;
        }
        for gate in &answer.before {
            gate.pass()?;
        }
        if answer.websocket {
            return self.websocket(answer);
        }
        let has_body = answer.has_body(&self.request.method);
        let delimiter = match answer.delimiter {
            Delimiter::Chunked if self.request.version == "HTTP/1.0" => Delimiter::Close,
            other => other,
        };
        let mut fields = answer.fields.clone();
        match delimiter {
            Delimiter::Length if matches!(answer.status, 204 | 304) => {}
            Delimiter::Length if fields.has("content-length") => {}
            Delimiter::Length => fields.push("Content-Length", answer.length().to_string()),
            Delimiter::Chunked => fields.push("Transfer-Encoding", "chunked"),
            Delimiter::Close => {}
        }
        self.is_closing |= answer.closing || (delimiter == Delimiter::Close && has_body);
        if self.is_closing || self.request.version == "HTTP/1.0" {
            self.is_closing = true;
            fields.push("Connection", "close");
        }
        self.send_head(answer.status, &fields)?;
        if has_body {
            for part in &answer.parts {
                self.play(part, delimiter)?;
                if self.is_detached {
                    return Ok(());
                }
            }
            if delimiter == Delimiter::Chunked {
                self.send_last_chunk(&answer.trailers)?;
            }
        }
        self.record.count(|counters| counters.answered += 1);
        Ok(())
    }

    fn play(&mut self, part: &Part, delimiter: Delimiter) -> Result<()> {
        match part {
            Part::Bytes(bytes) => self.send_part(bytes, delimiter),
            Part::Pattern { seed, offset, length } => {
                let mut buffer = vec![0; STEP];
                let mut done = 0;
                while done < *length {
                    let count = usize::try_from(length - done).unwrap_or(STEP).min(STEP);
                    let step = buffer.get_mut(..count).context("a step fits its buffer")?;
                    pattern(*seed, offset + done, step);
                    self.send_part(step, delimiter)?;
                    done += count as u64;
                }
                Ok(())
            }
            Part::Wait(gate) => gate.pass(),
            Part::Close => {
                let _ = self.reader.stream().finish();
                self.is_closing = true;
                self.is_detached = true;
                Ok(())
            }
            Part::Reset => {
                self.reset();
                Ok(())
            }
        }
    }

    fn send_part(&mut self, bytes: &[u8], delimiter: Delimiter) -> Result<()> {
        match delimiter {
            Delimiter::Chunked => self.send_chunk(bytes),
            Delimiter::Length | Delimiter::Close => self.send(bytes),
        }
    }

    fn websocket(&mut self, answer: &Answer) -> Result<()> {
        let key = self.request.fields.first("sec-websocket-key").context("no Sec-WebSocket-Key")?.to_owned();
        ensure!(self.request.fields.has_token("upgrade", "websocket"), "no Upgrade: websocket");
        ensure!(self.request.fields.has_token("connection", "upgrade"), "no Connection: upgrade");
        let mut fields = Fields::of(&[("Upgrade", "websocket"), ("Connection", "Upgrade")]);
        fields.push("Sec-WebSocket-Accept", accept_key(&key));
        for (name, value) in answer.fields.iter() {
            fields.push(name, value);
        }
        self.is_detached = true;
        self.is_closing = true;
        self.send_head(101, &fields)?;
        for part in &answer.parts {
            self.play(part, Delimiter::Close)?;
        }
        let mut frames = FrameReader::default();
        loop {
            let bytes = self.reader.some(STEP)?;
            ensure!(!bytes.is_empty(), "{:?} without a close frame", self.reader.ending());
            self.record.count(|counters| counters.bytes_in += bytes.len() as u64);
            frames.add(&bytes);
            while let Some(frame) = frames.next_frame() {
                ensure!(frame.masked, "a visitor's frame came unmasked");
                let (back, is_last) = echo_of(&frame);
                if let Some(back) = back {
                    self.send(back.to_bytes(None))?;
                }
                if is_last {
                    self.record.count(|counters| counters.answered += 1);
                    return Ok(());
                }
            }
        }
    }

    /// Makes the connection ready for the next request; true when there is none.
    fn end(&mut self) -> Result<bool> {
        if self.is_detached || self.is_closing {
            return Ok(true);
        }
        self.read_body()?;
        Ok(false)
    }

    fn broken(&mut self, error: &anyhow::Error) {
        let by_peer = self.reader.ending() != Ending::Open
            || error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| crate::stream::ending_of(error).is_some());
        if by_peer {
            self.record.count(|counters| counters.aborted += 1);
        } else {
            self.record.fault(format!("{} {}: {error:#}", self.request.method, self.request.target));
        }
    }

    /// The connection, for what this type cannot say.
    pub fn stream(&mut self) -> &mut Stream {
        self.reader.stream()
    }
}
