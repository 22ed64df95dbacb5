//! A small fast origin for comparisons: keep-alive HTTP/1.1, fixed answers, nothing else.
//!
//! `bench-origin ADDRESS` answers `GET /1k` and `GET /100k` with bodies of those sizes, whatever query
//! follows; `GET /1k?tagged` with the tag `bench` too; everything else with an empty 200. It reads heads by
//! their empty line and ignores bodies: good for load, not for tests. Called by `bench/compare.py`.

use std::io;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

fn answer(len: usize, more: &str) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\n\
         Cache-Control: max-age=3600\r\nETag: \"bench-{len}\"\r\nContent-Length: {len}\r\n{more}\r\n"
    )
    .into_bytes();
    bytes.resize(bytes.len() + len, b'x');
    bytes
}

async fn serve(mut stream: TcpStream, answers: std::rc::Rc<[Vec<u8>; 4]>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held: Vec<u8> = Vec::with_capacity(16 * 1024);
    let mut out: Vec<u8> = Vec::new();
    loop {
        if stream.read_buf(&mut held).await? == 0 {
            return Ok(());
        }
        out.clear();
        let mut from = 0;
        while let Some(end) = held.get(from..).and_then(|rest| rest.windows(4).position(|w| w == b"\r\n\r\n"))
        {
            let head = held.get(from..from + end).unwrap_or_default();
            let which = if head.starts_with(b"GET /1k?tagged") {
                3
            } else if head.starts_with(b"GET /1k") {
                0
            } else if head.starts_with(b"GET /100k") {
                1
            } else {
                2
            };
            out.extend_from_slice(&answers[which]);
            from += end + 4;
        }
        held.drain(..from);
        stream.write_all(&out).await?;
    }
}

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: bench-origin ADDRESS")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build_local(Default::default())?;
    runtime.block_on(async {
        let listener = TcpListener::bind(&address).await.with_context(|| format!("binding {address}"))?;
        println!("{}", listener.local_addr()?);
        let answers =
            [answer(1024, ""), answer(100 * 1024, ""), answer(0, ""), answer(1024, "Cache-Tag: bench\r\n")];
        let answers = std::rc::Rc::new(answers);
        loop {
            let (stream, _) = listener.accept().await?;
            let answers = std::rc::Rc::clone(&answers);
            tokio::task::spawn_local(async move {
                let _ended = serve(stream, answers).await;
            });
        }
    })
}
