//! Tests of the demo's site: what it answers, over a pair of streams in memory.

use tokio::io::{DuplexStream, duplex};

use super::*;

/// Sends bytes, ends, and gives all that came back as text.
async fn exchange(sent: &str) -> String {
    let (mut visitor, site) = duplex(4 * BODY_BYTES_MAX);
    visitor.write_all(sent.as_bytes()).await.unwrap();
    visitor.shutdown().await.unwrap();
    serve(site).await;
    let mut back = Vec::new();
    visitor.read_to_end(&mut back).await.unwrap();
    String::from_utf8(back).unwrap()
}

async fn serve(site: DuplexStream) {
    Connection::new(site).serve().await.unwrap();
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

#[tokio::test(flavor = "current_thread")]
async fn every_page_that_the_front_page_names_is_there() {
    for (path, kind) in [("/", "text/html"), ("/picture.svg", "image/svg+xml"), ("/headers", "text/plain")] {
        let back = exchange(&get(path, "")).await;
        assert!(back.starts_with("HTTP/1.1 200 OK\r\n") && back.contains(kind), "{path}: {back}");
        assert!(path == "/" || pages::INDEX.contains(path), "the front page does not name {path}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn several_requests_share_a_connection_and_head_has_no_body() {
    let head = get("/picture.svg", "").replacen("GET", "HEAD", 1);
    let back = exchange(&format!("{head}{}", get("/nothing", "Connection: close\r\n"))).await;
    assert!(back.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(!back.contains("<svg"));
    assert!(back.contains("HTTP/1.1 404 Not Found\r\n") && back.contains("Connection: close\r\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_picture_the_visitor_has_is_not_sent_again() {
    let back = exchange(&get("/picture.svg", "If-None-Match: \"picture-1\"\r\n")).await;
    assert!(back.starts_with("HTTP/1.1 304 "), "{back}");
    assert!(back.ends_with("\r\n\r\n") && !back.contains("Content-Length"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_form_comes_back_as_plain_text_with_either_framing() {
    let length = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n<script>";
    let chunked =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n<script>\r\n0\r\n\r\n";
    for sent in [length, chunked] {
        let back = exchange(sent).await;
        assert!(back.contains("Content-Type: text/plain") && back.contains("nosniff"), "{back}");
        assert!(back.ends_with("\r\n\r\n<script>"));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_upload_over_the_bound_is_refused() {
    let body = "x".repeat(BODY_BYTES_MAX + 1);
    let sent = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert!(exchange(&sent).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test(flavor = "current_thread")]
async fn broken_requests_are_refused_and_the_connection_ends() {
    let back = exchange("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\n").await;
    assert!(back.starts_with("HTTP/1.1 400 "), "{back}");
    assert_eq!(back.matches("HTTP/1.1 ").count(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn an_expectation_is_answered_before_the_body() {
    let sent = "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok";
    assert!(exchange(sent).await.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn events_are_chunks_of_their_own_and_stop_when_the_visitor_leaves() {
    let back = exchange(&get("/events", "")).await;
    assert!(back.contains("Content-Type: text/event-stream\r\n"), "{back}");
    assert!(back.ends_with("data: event 1 left the origin\n\n\r\n"), "{back}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_websocket_handshake_is_answered_and_a_bare_request_is_told_how() {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let back = exchange(&get("/ws", fields)).await;
    assert!(back.starts_with("HTTP/1.1 101 "), "{back}");
    assert!(back.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert!(exchange(&get("/ws", "")).await.starts_with("HTTP/1.1 426 "));
    let wrong = fields.replace("13", "8");
    assert!(exchange(&get("/ws", &wrong)).await.starts_with("HTTP/1.1 400 "));
}
