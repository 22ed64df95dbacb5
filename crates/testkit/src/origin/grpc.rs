//! A gRPC-like service over HTTP/2 in all four forms of streaming, and its message framing.
//!
//! It speaks the gRPC protocol over HTTP/2 as far as tests of a proxy need: length-prefixed messages, status
//! in trailers, status in the head alone ("trailers only"). Messages are plain bytes, not protobuf; real gRPC
//! clients come with the end-to-end tests. Called by tests. Read next: [`super::http2`].
//!
//! | path | form | answer |
//! | --- | --- | --- |
//! | `/testkit.Echo/Unary` | one → one | the message |
//! | `/testkit.Echo/Collect` | many → one | all messages joined |
//! | `/testkit.Echo/Count` | one → many | for the message `"3"`: `"0"`, `"1"`, `"2"` |
//! | `/testkit.Echo/Talk` | many → many | each message as it comes |
//! | `/testkit.Echo/Fail` | | head alone with `grpc-status: 13` |
//! | other | | head alone with `grpc-status: 12` |

use anyhow::{Context as _, Result};

use super::{Http2Exchange, OriginSpec, ScriptedOrigin};
use crate::fields::Fields;

/// Starts the service.
///
/// # Errors
/// When no socket can be had.
pub fn start(spec: OriginSpec) -> Result<ScriptedOrigin> {
    spec.streaming(|exchange| Box::pin(serve(exchange)))
}

/// A message with its prefix: a byte for compression (0) and four for the length.
pub fn message(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Cuts a body into messages.
#[derive(Default)]
pub struct MessageReader {
    buffer: Vec<u8>,
}

impl MessageReader {
    /// Takes the next bytes of the body.
    pub fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend(bytes);
    }

    /// The next whole message without its prefix.
    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(self.buffer.get(1..5)?.try_into().ok()?) as usize;
        let payload = self.buffer.get(5..5 + length)?.to_vec();
        self.buffer.drain(..5 + length);
        Some(payload)
    }
}

async fn serve(mut exchange: Http2Exchange) -> Result<()> {
    let form = exchange.request().path().to_owned();
    let head = [("content-type", "application/grpc")];
    let mut messages = MessageReader::default();
    match form.as_str() {
        "/testkit.Echo/Talk" => {
            exchange.send_head(200, &Fields::of(&head), false)?;
            while let Some(part) = exchange.body_part().await? {
                messages.add(&part);
                while let Some(payload) = messages.next_message() {
                    exchange.send(message(&payload)).await?;
                }
            }
        }
        "/testkit.Echo/Unary" | "/testkit.Echo/Collect" | "/testkit.Echo/Count" => {
            exchange.read_body().await?;
            messages.add(&exchange.request().body.clone());
            let mut joined = Vec::new();
            while let Some(payload) = messages.next_message() {
                joined.extend(payload);
            }
            exchange.send_head(200, &Fields::of(&head), false)?;
            if form.ends_with("Count") {
                let count: u32 = std::str::from_utf8(&joined)?.parse().context("a number to count to")?;
                for number in 0..count {
                    exchange.send(message(number.to_string().as_bytes())).await?;
                }
            } else {
                exchange.send(message(&joined)).await?;
            }
        }
        other => {
            let status = if other.ends_with("/Fail") { "13" } else { "12" };
            let mut fields = Fields::of(&head);
            fields.push("grpc-status", status);
            return exchange.send_head(200, &fields, true);
        }
    }
    exchange.finish(&Fields::of(&[("grpc-status", "0"), ("grpc-message", "")]))
}
