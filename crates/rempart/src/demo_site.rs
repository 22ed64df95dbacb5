//! The demo's origin: a small site in a process of its own, reached by the node over a Unix socket.
//!
//! It is a real server on the `http1` crate, kept small: pages, a picture with validators, a stream of
//! server-sent events, a form, a WebSocket echo. It is no part of a node and trusts nobody: heads, bodies and
//! frames are bounded. Called by `main` for the hidden role that [`crate::demo`] starts; read next:
//! [`answer`], then `demo_site/websocket.rs`.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http1::{BodyDecoder, Known, Limits, RequestHead, write_field, write_status_line};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep, timeout};

use crate::signals::Signals;

mod pages;
mod websocket;

/// Connections at a time: one person's browser and a load generator. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1024;

/// An idle connection is closed after this; longer than the node keeps idle connections to origins (30 s),
/// so that the node closes first.
const IDLE: Duration = Duration::from_secs(75);

/// Bytes of a form or upload: they are held whole to be echoed.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Events of one stream, one a second: ten minutes, after which the browser comes again by itself.
const EVENTS_MAX: u32 = 600;

const READ_BYTES: usize = 16 * 1024;

/// Serves the site on the listening Unix socket that is standard input, until the demo's process ends.
///
/// # Errors
/// When standard input is no listening socket.
pub(crate) fn run_role() -> Result<ExitCode> {
    // When the demo ends, however it ends, its site has no purpose.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("the demo's site cannot be tied to the demo")?;
    // Ctrl-C reaches every process of the terminal, and must not end the site before the node has drained.
    let _unread = Signals::take()?;
    let what = "this role is started by `rempart demo`, with a listening socket as standard input";
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned().context(what)?);
    listener.set_nonblocking(true).context(what)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = tokio::net::UnixListener::from_std(listener).context(what)?;
        let mut connections = JoinSet::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    connections.spawn_local(async move {
                        // A connection that breaks is the node's to report, by name.
                        let _ = Connection::new(stream).serve().await;
                    });
                }
                // Out of descriptors: the pause lets connections end.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
            while connections.try_join_next().is_some() {}
            while connections.len() >= CONNECTIONS_MAX && connections.join_next().await.is_some() {}
        }
    })
}

/// One connection of the node to this site.
struct Connection<Stream> {
    stream: Stream,
    /// Bytes read and not yet consumed, a head at their start.
    buffer: Vec<u8>,
    limits: Limits,
}

/// What a request leads to.
enum Answer {
    /// A whole answer.
    Whole { status: u16, fields: Vec<(&'static str, String)>, body: Vec<u8> },
    /// The stream of events.
    Events,
    /// The echo over WebSocket, with the value of `Sec-WebSocket-Accept`.
    WebSocket(String),
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> Connection<Stream> {
    fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), limits: Limits::default() }
    }

    /// Serves requests until one side has enough.
    async fn serve(mut self) -> io::Result<()> {
        let mut head = RequestHead::default();
        loop {
            loop {
                match head.parse(&self.buffer, &self.limits) {
                    Ok(true) => break,
                    Ok(false) => {
                        if !self.read_more().await? {
                            return Ok(());
                        }
                    }
                    Err(malformed) => {
                        return self.refuse(malformed.status(), malformed.reason()).await;
                    }
                }
            }
            let text = self.buffer.drain(..head.len).collect::<Vec<u8>>();
            if head.expects_continue {
                self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            let body = match self.read_body(&head).await? {
                Ok(body) => body,
                Err((status, reason)) => return self.refuse(status, reason).await,
            };
            let is_head = head.method.of(&text) == b"HEAD";
            match answer(&head, &text, body) {
                Answer::Whole { status, fields, body } => {
                    self.send_whole(status, &fields, &body, is_head, head.is_persistent).await?;
                }
                Answer::Events => return self.send_events(is_head).await,
                Answer::WebSocket(accept) => {
                    let mut out = Vec::new();
                    write_status_line(&mut out, 101, b"Switching Protocols");
                    write_field(&mut out, b"Connection", b"Upgrade");
                    write_field(&mut out, b"Upgrade", b"websocket");
                    write_field(&mut out, b"Sec-WebSocket-Accept", accept.as_bytes());
                    out.extend_from_slice(b"\r\n");
                    self.stream.write_all(&out).await?;
                    return websocket::echo(self.stream, self.buffer).await;
                }
            }
            if !head.is_persistent {
                return self.stream.shutdown().await;
            }
        }
    }

    /// Reads some bytes; false when the other side ended or was silent for too long.
    async fn read_more(&mut self) -> io::Result<bool> {
        self.buffer.reserve(READ_BYTES);
        match timeout(IDLE, self.stream.read_buf(&mut self.buffer)).await {
            Ok(read) => Ok(read? > 0),
            Err(_) => Ok(false),
        }
    }

    /// Reads the body whole; the inner error is what to refuse it with.
    async fn read_body(&mut self, head: &RequestHead) -> io::Result<Result<Vec<u8>, (u16, &'static str)>> {
        let mut decoder = BodyDecoder::new(head.framing, &self.limits);
        let mut body = Vec::new();
        while !decoder.is_done() {
            if self.buffer.is_empty() && !self.read_more().await? {
                return Ok(Err((400, "the body is cut off")));
            }
            let decoded = match decoder.decode(&mut self.buffer) {
                Ok(decoded) => decoded,
                Err(malformed) => return Ok(Err((malformed.status(), malformed.reason()))),
            };
            body.extend_from_slice(self.buffer.get(..decoded.payload).unwrap_or_default());
            self.buffer.drain(..decoded.consumed.min(self.buffer.len()));
            if body.len() > BODY_BYTES_MAX {
                return Ok(Err((413, "the demo's site takes at most 1 MiB")));
            }
        }
        Ok(Ok(body))
    }

    async fn send_whole(
        &mut self,
        status: u16,
        fields: &[(&'static str, String)],
        body: &[u8],
        is_head: bool,
        is_persistent: bool,
    ) -> io::Result<()> {
        let mut out = Vec::with_capacity(512 + body.len());
        write_status_line(&mut out, status, reason_phrase(status).as_bytes());
        for (name, value) in fields {
            write_field(&mut out, name.as_bytes(), value.as_bytes());
        }
        if status != 304 {
            write_field(&mut out, b"Content-Length", body.len().to_string().as_bytes());
        }
        if !is_persistent {
            write_field(&mut out, b"Connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        if !is_head && status != 304 {
            out.extend_from_slice(body);
        }
        self.stream.write_all(&out).await
    }

    async fn refuse(&mut self, status: u16, reason: &str) -> io::Result<()> {
        let fields = [("Content-Type", "text/plain; charset=utf-8".to_owned())];
        self.send_whole(status, &fields, format!("{reason}\n").as_bytes(), false, false).await?;
        self.stream.shutdown().await
    }

    /// Streams one event a second, each in a chunk of its own, until the visitor leaves.
    async fn send_events(&mut self, is_head: bool) -> io::Result<()> {
        let mut out = Vec::new();
        write_status_line(&mut out, 200, b"OK");
        write_field(&mut out, b"Content-Type", b"text/event-stream");
        write_field(&mut out, b"Cache-Control", b"no-store");
        write_field(&mut out, b"Transfer-Encoding", b"chunked");
        write_field(&mut out, b"Connection", b"close");
        out.extend_from_slice(b"\r\n");
        if is_head {
            self.stream.write_all(&out).await?;
            return self.stream.shutdown().await;
        }
        for number in 1..=EVENTS_MAX {
            let event = format!("id: {number}\ndata: event {number} left the origin\n\n");
            out.extend_from_slice(http1::chunk_size_line(event.len(), &mut [0; 18]));
            out.extend_from_slice(event.as_bytes());
            out.extend_from_slice(b"\r\n");
            self.stream.write_all(&out).await?;
            out.clear();
            // Nothing more is expected from the visitor: a byte or an end means that it left.
            if timeout(Duration::from_secs(1), self.stream.read_u8()).await.is_ok() {
                return Ok(());
            }
        }
        self.stream.write_all(b"0\r\n\r\n").await?;
        self.stream.shutdown().await
    }
}

/// Chooses the answer; pure.
fn answer(head: &RequestHead, text: &[u8], body: Vec<u8>) -> Answer {
    let method = head.method.of(text);
    let path_and_query = head.path_and_query(text);
    let path = path_and_query.split(|byte| *byte == b'?').next().unwrap_or_default();
    let reads = matches!(method, b"GET" | b"HEAD");
    match path {
        b"/" if reads => page("text/html; charset=utf-8", "max-age=0, s-maxage=60", pages::INDEX),
        b"/picture.svg" if reads => {
            let tag = "\"picture-1\"";
            let fields = vec![
                ("Content-Type", "image/svg+xml".to_owned()),
                ("Cache-Control", "public, max-age=60".to_owned()),
                ("ETag", tag.to_owned()),
            ];
            let known = field(head, text, b"if-none-match");
            if known.is_some_and(|known| known == tag.as_bytes() || known == b"*") {
                return Answer::Whole { status: 304, fields, body: Vec::new() };
            }
            Answer::Whole { status: 200, fields, body: pages::PICTURE.into() }
        }
        b"/headers" if reads => page("text/plain; charset=utf-8", "no-store", text),
        b"/events" if reads => Answer::Events,
        b"/echo" if method == b"POST" => {
            // Never as HTML: whoever sends the form would choose what runs in the reader's browser.
            page("text/plain; charset=utf-8", "no-store", &body)
        }
        b"/ws" if head.is_upgrade && method == b"GET" => match websocket::accept(head, text) {
            Some(accept) => Answer::WebSocket(accept),
            None => plain(400, "this is no WebSocket handshake (RFC 6455 section 4.2.1)\n"),
        },
        b"/ws" => plain(426, "this place speaks WebSocket: come with `Upgrade: websocket`\n"),
        b"/" | b"/picture.svg" | b"/headers" | b"/events" | b"/echo" => plain(405, "not with this method\n"),
        _ => plain(404, "the demo's site has no such page; it begins at /\n"),
    }
}

fn page(content_type: &str, cache_control: &str, body: impl AsRef<[u8]>) -> Answer {
    let fields = vec![
        ("Content-Type", content_type.to_owned()),
        ("Cache-Control", cache_control.to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
    ];
    Answer::Whole { status: 200, fields, body: body.as_ref().to_vec() }
}

fn plain(status: u16, text: &str) -> Answer {
    let mut fields = vec![("Content-Type", "text/plain; charset=utf-8".to_owned())];
    match status {
        405 => fields.push(("Allow", "GET, HEAD, POST".to_owned())),
        426 => fields.push(("Upgrade", "websocket".to_owned())),
        _ => {}
    }
    Answer::Whole { status, fields, body: text.as_bytes().to_vec() }
}

/// The first value of a field, by its name in lower case.
fn field<'text>(head: &RequestHead, text: &'text [u8], name: &[u8]) -> Option<&'text [u8]> {
    let found = head.fields.iter().find(|field| field.name.of(text).eq_ignore_ascii_case(name))?;
    Some(found.value.of(text))
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        304 => "Not Modified",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        426 => "Upgrade Required",
        _ => "",
    }
}

/// Says whether a request asks for a WebSocket, which `http1` leaves to its caller.
fn asks_for_websocket(head: &RequestHead, text: &[u8]) -> bool {
    head.known(text, Known::Upgrade).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"))
}

#[cfg(test)]
mod tests;
