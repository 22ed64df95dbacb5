//! A connection in memory, for driving hyper without sockets, timers and a runtime.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::rt::{Read, ReadBufCursor, Write};

/// Gives its input in one go, then the end of the stream. What is written is lost.
pub(crate) struct Memory {
    input: Vec<u8>,
    /// Whether nothing can be read before something was written, as an origin answers a request.
    is_waiting: bool,
}

impl Memory {
    /// What a visitor sends.
    pub(crate) fn of_visitor(input: &[u8]) -> Memory {
        Memory { input: input.to_vec(), is_waiting: false }
    }

    /// What an origin answers.
    pub(crate) fn of_origin(input: &[u8]) -> Memory {
        Memory { input: input.to_vec(), is_waiting: true }
    }
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.is_waiting {
            // Whoever drives this polls again without being woken.
            return Poll::Pending;
        }
        let count = buffer.remaining().min(self.input.len());
        buffer.put_slice(&self.input[..count]);
        self.input.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl Write for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.is_waiting = false;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until the future is ready. Nothing here waits for the world, so a bounded number of turns is
/// enough; `None` when it was not.
pub(crate) fn run<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..10_000).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

/// All payload of a body, or `None` when it ends in an error.
pub(crate) async fn whole(mut body: hyper::body::Incoming) -> Option<Vec<u8>> {
    use hyper::body::Body;
    let mut payload = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(bytes) = frame.ok()?.into_data() {
            payload.extend_from_slice(&bytes);
        }
    }
    Some(payload)
}
