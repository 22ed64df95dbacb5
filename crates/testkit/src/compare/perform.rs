//! Performs one call over one way and writes down what came of it.
//!
//! Each performance has a connection of its own. It judges nothing: [`super`] does. Called by [`super`] and
//! by tests that want one outcome. Read next: [`super`].

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};

use super::Way;
use crate::digest::Running;
use crate::fields::Fields;
use crate::gate::Gate;
use crate::message::BodyReader;
use crate::origin::Request;
use crate::site::{Call, Kind, NONCE, Site};
use crate::visitor::{Http2Visitor, Informational, ResponseHead, Visitor, WebSocket};
use crate::websocket::Frame;

/// What came of a call.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The answer's status.
    pub status: u16,
    /// What came before it.
    pub informational: Vec<Informational>,
    /// The answer's fields.
    pub fields: Fields,
    /// The body's length.
    pub length: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
    /// The answer's trailers.
    pub trailers: Fields,
    /// The frames that came, if it was a WebSocket.
    pub frames: Vec<Frame>,
    /// Whether a WebSocket was opened.
    pub is_websocket: bool,
    /// The request as the site got it.
    pub request: Option<Request>,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Counts events (blocks that end with an empty line) in a body, and opens the gate after each.
struct Pace {
    gate: Gate,
    last: u8,
}

impl Pace {
    fn see(&mut self, part: &[u8]) {
        for byte in part {
            if *byte == b'\n' && self.last == b'\n' {
                self.gate.open();
            }
            self.last = *byte;
        }
    }
}

/// Performs a call.
///
/// # Errors
/// When the exchange breaks: no connection, a malformed or cut answer, a wait without end.
pub fn perform(site: &Site, call: &Call, way: &Way) -> Result<Outcome> {
    let nonce = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let mut call = call.clone();
    // The nonce must not show in a comparison of requests; there the call's own target is put back.
    let target = call.target.replace(NONCE, &nonce);
    let asked = std::mem::replace(&mut call.target, target);
    let gate = call.paced_by.as_ref().map(|name| site.gates.gate(&name.replace(NONCE, &nonce)));
    let mut outcome = match &call.kind {
        Kind::Http => match way {
            Way::Http1(_) | Way::Http1Tls(..) => over_http1(site, &call, http1(site, way)?, gate)?,
            Way::Http2(_) | Way::Http2Tls(..) => over_http2(site, &call, &http2(site, way)?, gate)?,
            Way::Http3(visitor) => visitor.perform(site, &call, gate)?,
        },
        Kind::WebSocket { .. } if let Way::Http3(visitor) = way => visitor.perform(site, &call, gate)?,
        Kind::WebSocket { pushed, frames } => {
            let connection;
            let socket = match way {
                Way::Http1(_) | Way::Http1Tls(..) => {
                    WebSocket::open(http1(site, way)?, site.hostname, &call.target, &call.fields)?
                }
                Way::Http2(_) | Way::Http2Tls(..) => {
                    connection = http2(site, way)?;
                    WebSocket::open_http2(&connection, site.hostname, &call.target, &call.fields)?
                }
                Way::Http3(_) => bail!("a foreign visitor does it by itself"),
            };
            over_websocket(socket, *pushed, frames, gate)?
        }
    };
    let mut requests = site.origin.requests();
    let arrived = requests.iter().rposition(|request| request.target == call.target);
    outcome.request = arrived.map(|place| Request { target: asked, ..requests.swap_remove(place) });
    Ok(outcome)
}

fn http1(site: &Site, way: &Way) -> Result<Visitor> {
    match way {
        Way::Http1(address) => Visitor::tcp(*address),
        Way::Http1Tls(address, config) => Visitor::tls(*address, site.hostname, config),
        Way::Http2(_) | Way::Http2Tls(..) | Way::Http3(_) => bail!("not an HTTP/1 way"),
    }
}

fn http2(site: &Site, way: &Way) -> Result<Http2Visitor> {
    match way {
        Way::Http2(address) => Http2Visitor::cleartext(*address),
        Way::Http2Tls(address, config) => Http2Visitor::tls(*address, site.hostname, config),
        Way::Http1(_) | Way::Http1Tls(..) | Way::Http3(_) => bail!("not an HTTP/2 way"),
    }
}

fn over_http1(site: &Site, call: &Call, mut visitor: Visitor, gate: Option<Gate>) -> Result<Outcome> {
    let mut fields = call.fields.clone();
    let has_body =
        call.body.length() > 0 || call.is_chunked || matches!(call.method.as_str(), "POST" | "PUT");
    if call.is_chunked {
        fields.push("Transfer-Encoding", "chunked");
    } else if has_body {
        fields.push("Content-Length", call.body.length().to_string());
    }
    visitor.send_head(&call.method, &call.target, site.hostname, &fields)?;
    let mut informational = Vec::new();
    let mut early = None;
    if call.fields.has_token("expect", "100-continue") {
        let head = visitor.next_head(&call.method)?.context("no answer to Expect")?;
        match head.status {
            100 => informational.push(Informational { status: 100, fields: head.fields }),
            _ => early = Some(head),
        }
    }
    if early.is_none() {
        if call.is_chunked {
            call.body.in_parts(|part| visitor.send_chunk(part))?;
            visitor.send([b"0\r\n", call.trailers.to_bytes().as_slice(), b"\r\n"].concat())?;
        } else {
            call.body.in_parts(|part| visitor.send(part))?;
        }
    }
    let head = match early {
        Some(head) => head,
        None => {
            visitor.read_head(&call.method)?.with_context(|| format!("no answer: {:?}", visitor.ending()))?
        }
    };
    let mut reader = BodyReader::new(head.framing);
    let mut outcome = begun(informational, head);
    outcome.take_body(gate, || visitor.body_part(&mut reader))?;
    outcome.trailers = reader.trailers;
    Ok(outcome)
}

/// The fields of a call as HTTP/2 and HTTP/3 send them, and whether it has a body.
pub(super) fn multiplexed_fields(call: &Call) -> (Fields, bool) {
    let mut fields = Fields::new();
    for (name, value) in call.fields.iter() {
        // Browsers send each cookie by itself; towards HTTP/1 they are one again (RFC 9113 section 8.2.3).
        if name.eq_ignore_ascii_case("cookie") {
            value.split("; ").for_each(|crumb| fields.push("cookie", crumb));
        } else {
            fields.push(name.to_ascii_lowercase(), value);
        }
    }
    let has_body = call.body.length() > 0 || call.is_chunked;
    if !call.is_chunked && (has_body || matches!(call.method.as_str(), "POST" | "PUT")) {
        fields.push("content-length", call.body.length().to_string());
    }
    (fields, has_body)
}

fn over_http2(site: &Site, call: &Call, visitor: &Http2Visitor, gate: Option<Gate>) -> Result<Outcome> {
    let (fields, has_body) = multiplexed_fields(call);
    let mut stream = visitor.open(&call.method, &call.target, site.hostname, &fields, !has_body)?;
    let mut early = None;
    if has_body {
        let sent = call.body.in_parts(|part| stream.send(part.to_vec())).and_then(|()| {
            if call.trailers.is_empty() { stream.finish() } else { stream.finish_with(&call.trailers) }
        });
        // Whoever has all they need may answer and stop the rest, were it only the stream's end (RFC 9113
        // section 8.1); whether the site got the whole body shows in the request it recorded.
        if let Err(error) = sent {
            early = Some(stream.read_head().map_err(|_| error)?);
        }
    }
    let head = match early {
        Some(head) => head,
        None => stream.read_head()?,
    };
    let mut outcome = begun(Vec::new(), head);
    outcome.take_body(gate, || stream.body_part())?;
    outcome.trailers = stream.trailers().clone();
    Ok(outcome)
}

fn over_websocket(
    mut socket: WebSocket,
    pushed: usize,
    frames: &[Frame],
    gate: Option<Gate>,
) -> Result<Outcome> {
    let head = socket.head();
    let mut outcome = Outcome {
        status: head.status,
        informational: head.informational.clone(),
        fields: head.fields.clone(),
        is_websocket: true,
        ..Outcome::default()
    };
    for _ in 0..pushed {
        outcome.frames.push(socket.read()?.context("the WebSocket ended")?);
        if let Some(gate) = &gate {
            gate.open();
        }
    }
    for frame in frames {
        socket.send(frame)?;
        outcome.frames.push(socket.read()?.context("the WebSocket ended")?);
    }
    outcome.frames.extend(socket.close(1000, "")?);
    Ok(outcome)
}

fn begun(mut informational: Vec<Informational>, head: ResponseHead) -> Outcome {
    informational.extend(head.informational);
    Outcome { status: head.status, informational, fields: head.fields, ..Outcome::default() }
}

impl Outcome {
    fn take_body(
        &mut self,
        gate: Option<Gate>,
        mut next: impl FnMut() -> Result<Option<Vec<u8>>>,
    ) -> Result<()> {
        let mut running = Running::default();
        let mut pace = gate.map(|gate| Pace { gate, last: 0 });
        while let Some(part) = next()? {
            running.add(&part);
            if let Some(pace) = &mut pace {
                pace.see(&part);
            }
        }
        self.length = running.length();
        self.sha256 = running.sha256_hex();
        Ok(())
    }
}
