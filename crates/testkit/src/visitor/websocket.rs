//! A WebSocket visitor, over HTTP/1.1 upgrade (RFC 6455) or HTTP/2 extended CONNECT (RFC 8441).
//!
//! It checks the handshake and that the server's frames are unmasked; messages stay frames. It offers no
//! extension by itself. Called by tests and [`crate::compare`]. Read next: [`crate::websocket`].

use anyhow::{Context as _, Result, ensure};

use super::{Http2Visitor, ResponseHead, Visitor};
use crate::fields::Fields;
use crate::visitor::http2::Http2Stream;
use crate::websocket::{Frame, FrameReader, Opcode, accept_key};

/// The key every handshake here sends: that of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The mask of every frame sent. Tests need it visible in a dump, not secret.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

enum Carrier {
    Http1(Box<Visitor>),
    Http2(Http2Stream),
}

/// An open WebSocket.
pub struct WebSocket {
    carrier: Carrier,
    frames: FrameReader,
    head: ResponseHead,
}

impl WebSocket {
    /// Opens one on an HTTP/1.1 connection.
    ///
    /// # Errors
    /// When the answer is not a correct 101.
    pub fn open(mut visitor: Visitor, host: &str, target: &str, fields: &Fields) -> Result<WebSocket> {
        let mut all = Fields::of(&[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", KEY),
            ("Sec-WebSocket-Version", "13"),
        ]);
        for (name, value) in fields.iter() {
            all.push(name, value);
        }
        visitor.send_head("GET", target, host, &all)?;
        let head = visitor.read_head("GET")?.with_context(|| format!("no answer: {:?}", visitor.ending()))?;
        ensure!(head.status == 101, "{} instead of 101", head.status);
        ensure!(head.fields.has_token("upgrade", "websocket"), "no Upgrade in {:?}", head.fields);
        ensure!(
            head.fields.has_token("connection", "upgrade"),
            "no Connection: upgrade in {:?}",
            head.fields
        );
        let accept = head.fields.first("sec-websocket-accept");
        ensure!(accept == Some(accept_key(KEY).as_str()), "Sec-WebSocket-Accept {accept:?}");
        Ok(WebSocket { carrier: Carrier::Http1(Box::new(visitor)), frames: FrameReader::default(), head })
    }

    /// Opens one on a stream of an HTTP/2 connection.
    ///
    /// # Errors
    /// When the server did not enable extended CONNECT or answers anything but 200.
    pub fn open_http2(
        visitor: &Http2Visitor,
        host: &str,
        target: &str,
        fields: &Fields,
    ) -> Result<WebSocket> {
        let mut all = Fields::of(&[("sec-websocket-version", "13")]);
        for (name, value) in fields.iter() {
            all.push(name, value);
        }
        let mut stream = visitor.extended_connect("websocket", host, target, &all)?;
        let head = stream.read_head()?;
        ensure!(head.status == 200, "{} instead of 200", head.status);
        Ok(WebSocket { carrier: Carrier::Http2(stream), frames: FrameReader::default(), head })
    }

    /// The head that accepted it.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Sends a masked frame.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send(&mut self, frame: &Frame) -> Result<()> {
        self.send_bytes(&frame.to_bytes(Some(MASK)))
    }

    /// Sends bytes as they are: half frames, unmasked frames, garbage.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.carrier {
            Carrier::Http1(visitor) => Ok(visitor.send(bytes)?),
            Carrier::Http2(stream) => stream.send(bytes.to_vec()),
        }
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send_text(&mut self, text: &str) -> Result<()> {
        self.send(&Frame::new(Opcode::Text, text))
    }

    /// Reads the next frame; none when the stream ended.
    ///
    /// # Errors
    /// When a frame came masked, or nothing came.
    pub fn read(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                ensure!(!frame.masked, "the server masked a frame");
                return Ok(Some(frame));
            }
            let bytes = match &mut self.carrier {
                Carrier::Http1(visitor) => visitor.some(64 << 10)?,
                Carrier::Http2(stream) => stream.body_part()?.unwrap_or_default(),
            };
            if bytes.is_empty() {
                ensure!(self.frames.rest().is_empty(), "the stream ended inside a frame");
                return Ok(None);
            }
            self.frames.add(&bytes);
        }
    }

    /// Sends a text message and reads one frame.
    ///
    /// # Errors
    /// When the stream ended instead.
    pub fn exchange(&mut self, text: &str) -> Result<Frame> {
        self.send_text(text)?;
        self.read()?.context("the WebSocket ended")
    }

    /// Sends a close frame and reads until the server's; returns the frames that came, that one last.
    ///
    /// # Errors
    /// When the stream ends without it.
    pub fn close(mut self, status: u16, reason: &str) -> Result<Vec<Frame>> {
        self.send(&Frame::close(status, reason))?;
        let mut frames = Vec::new();
        loop {
            let frame = self.read()?.context("the WebSocket ended without a close frame")?;
            let is_last = frame.opcode == Opcode::Close;
            frames.push(frame);
            if is_last {
                return Ok(frames);
            }
        }
    }
}
