//! A chat service in the manner of language-model front ends: tokens by server-sent events, WebSockets, gaps.
//!
//! | path | answer |
//! | --- | --- |
//! | `POST /v1/stream?tokens=N` | N events at once, chunked, then `[DONE]` |
//! | `POST /v1/stream?tokens=N&gate=NAME` | the same; every event but the first waits for the gate |
//! | `GET /ws` | WebSocket echo, with the subprotocol asked for |
//! | `GET /ws?push=N&gate=NAME` | N frames first, each after the gate (the first at once), then echo |
//! | `POST /v1/complete` | JSON with the hash of the prompt, and trailers with token counts |
//!
//! A gap is as long as the test keeps the gate closed. Called by end-to-end tests. Read next: [`super`].

use anyhow::Result;

use super::{Call, DATE, Gates, NONCE, Site};
use crate::origin::{Answer, OriginSpec, Request};
use crate::websocket::{Frame, Opcode};

/// Starts the site `chat.example`.
///
/// # Errors
/// When no socket can be had.
pub fn start() -> Result<Site> {
    let gates = Gates::default();
    let known = gates.clone();
    let origin = OriginSpec::new().answering(move |request| answer(request, &known))?;
    Ok(Site { hostname: "chat.example", origin, calls: calls(), gates })
}

fn answer(request: &Request, gates: &Gates) -> Answer {
    let gate = request.parameter("gate").map(|name| gates.gate(name));
    let number = |name| request.parameter(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let answer = match request.path() {
        "/v1/stream" => {
            let mut answer = Answer::new(200)
                .field("Content-Type", "text/event-stream; charset=utf-8")
                .field("Cache-Control", "no-store")
                .field("X-Accel-Buffering", "no")
                .chunked();
            for token in 0..number("tokens") {
                answer = match &gate {
                    Some(gate) if token > 0 => answer.wait(gate),
                    _ => answer,
                };
                answer = answer.part(format!("id: {token}\ndata: {{\"token\":\"wörd{token} \"}}\n\n"));
            }
            answer.part("data: [DONE]\n\n")
        }
        "/ws" => {
            let mut answer = Answer::websocket();
            if let Some(wanted) = request.fields.first("sec-websocket-protocol") {
                let first = wanted.split(',').next().unwrap_or_default().trim();
                answer = answer.field("Sec-WebSocket-Protocol", first);
            }
            for push in 0..number("push") {
                answer = match &gate {
                    Some(gate) if push > 0 => answer.wait(gate),
                    _ => answer,
                };
                answer = answer.part(Frame::new(Opcode::Text, format!("push {push}")).to_bytes(None));
            }
            return answer.field("Date", DATE);
        }
        "/v1/complete" => Answer::ok(format!(r#"{{"prompt_sha256":"{}"}}"#, request.body_sha256))
            .field("Content-Type", "application/json")
            .trailer("X-Tokens-In", &request.body_length.to_string())
            .trailer("X-Tokens-Out", "1"),
        _ => Answer::new(404).part("no such path").field("Content-Type", "text/plain"),
    };
    answer.field("Date", DATE)
}

fn calls() -> Vec<Call> {
    let prompt = r#"{"messages":[{"role":"user","content":"Grüß Gott"}],"stream":true}"#;
    let stream = |name: &str, target: String| {
        Call::new(name, "POST", target)
            .field("Content-Type", "application/json")
            .field("Accept", "text/event-stream")
            .field("Authorization", "Bearer sk-test")
            .body(prompt)
    };
    let words = |texts: &[&str]| texts.iter().map(|text| Frame::new(Opcode::Text, *text)).collect();
    vec![
        stream("a token stream at once", "/v1/stream?tokens=200".to_owned()),
        stream("a token stream with gaps", format!("/v1/stream?tokens=12&gate=t{NONCE}"))
            .paced_by(&format!("t{NONCE}")),
        Call::new("a completion with trailers", "POST", "/v1/complete").body(prompt),
        Call::new("an empty prompt", "POST", "/v1/complete"),
        Call::new("a chunked prompt with a trailer", "POST", "/v1/complete")
            .body(prompt)
            .trailer("X-Sum", "1"),
        Call::websocket("a WebSocket conversation", "/ws", 0, words(&["hello", "", "wörld"]))
            .field("Sec-WebSocket-Protocol", "chat.v2, chat.v1")
            .field("Origin", "https://chat.example"),
        Call::websocket(
            "a WebSocket with pushes after gaps",
            format!("/ws?push=5&gate=w{NONCE}"),
            5,
            words(&["x"]),
        )
        .paced_by(&format!("w{NONCE}")),
        Call::websocket(
            "binary, fragments and pings on a WebSocket",
            "/ws",
            0,
            vec![
                Frame::new(Opcode::Binary, vec![0xa5; 70_000]),
                Frame::new(Opcode::Text, "half ").unfinished(),
                Frame::new(Opcode::Ping, "still there?"),
                Frame::new(Opcode::Continuation, "whole"),
            ],
        ),
        Call::get("a path that is not there", "/nothing").expecting(404),
    ]
}
