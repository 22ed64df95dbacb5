//! What stands between the h2 crate and a connection: reads are looked at, writes are gathered.
//!
//! h2 flushes after every large frame. What it writes within one poll of the connection waits here, and
//! leaves when the driver says so, at the poll's end. Caller: `h2.rs`. Read next: `h2/frame_check.rs`.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_check::{FrameCheck, KEPT_BYTES_MAX};
use crate::conn::Conn;
use crate::limits::GATHER_BYTES;

/// The connection below h2: reads are looked at, writes are gathered.
pub(super) struct Gather {
    pub(super) conn: Conn,
    pub(super) check: FrameCheck,
    /// Bytes that were looked at, for h2 to take.
    judged: Vec<u8>,
    /// Bytes that cannot be judged before more have come.
    kept: Vec<u8>,
    out: Vec<u8>,
    out_at: usize,
    /// Bytes that the connection has taken.
    pub(super) taken: u64,
    /// The tick of the thread's deadlines, of the poll that is under way.
    pub(super) now_tick: u32,
    /// The end of what h2 wrote before it shut down: the data of its GOAWAY, if that has any.
    pub(super) last_words: Vec<u8>,
}

/// Bytes kept of that: more than any reason that h2 gives.
const LAST_WORDS_BYTES: usize = 64;

impl Gather {
    /// `preread` are bytes that were read before it was known that this is HTTP/2.
    pub(super) fn new(conn: Conn, mut preread: Vec<u8>) -> Self {
        let mut check = FrameCheck::new();
        let kept = check.judge(&mut preread, 0);
        let kept = preread.split_off(preread.len() - kept);
        Self {
            conn,
            check,
            judged: preread,
            kept,
            out: Vec::new(),
            out_at: 0,
            taken: 0,
            now_tick: 0,
            last_words: Vec::new(),
        }
    }

    /// Reads once; the bytes go to `into` or, where that is too short, to `judged`. Ready with false at the
    /// end of the stream, and with true although all that came was kept.
    fn poll_more(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        if self.kept.is_empty() && into.remaining() >= SMALL_READ_BYTES {
            let room = into.initialize_unfilled();
            let read = ready!(self.conn.poll_read(cx, room))?;
            let bytes = room.get_mut(..read).unwrap_or_default();
            let kept = self.check.judge(bytes, self.now_tick);
            self.kept.extend_from_slice(bytes.get(read - kept..).unwrap_or_default());
            into.advance(read - kept);
            return Poll::Ready(Ok(read > 0));
        }
        let mut small = [0; SMALL_READ_BYTES];
        let (front, back) = small.split_at_mut(self.kept.len().min(KEPT_BYTES_MAX));
        let read = ready!(self.conn.poll_read(cx, back))?;
        if read == 0 {
            self.judged = std::mem::take(&mut self.kept);
            return Poll::Ready(Ok(!self.judged.is_empty()));
        }
        front.copy_from_slice(&self.kept);
        let total = front.len() + read;
        let bytes = small.get_mut(..total).unwrap_or_default();
        let kept = self.check.judge(bytes, self.now_tick);
        let (judged, kept) = bytes.split_at(total - kept);
        self.judged.extend_from_slice(judged);
        self.kept.clear();
        self.kept.extend_from_slice(kept);
        Poll::Ready(Ok(true))
    }

    fn unsent(&self) -> usize {
        self.out.len() - self.out_at
    }

    /// Writes what was gathered; ready when nothing is left.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.out_at..).filter(|rest| !rest.is_empty()) {
            let taken = ready!(self.conn.poll_write(cx, &[IoSlice::new(rest)]))?;
            self.out_at += taken;
            self.taken += taken as u64;
        }
        self.out.clear();
        self.out_at = 0;
        if self.out.capacity() > GATHER_BYTES / 4 {
            self.out = Vec::new(); // an idle connection holds no buffer
        }
        self.conn.poll_flush(cx)
    }
}

/// Bytes read at once where h2 has less room than this, or a frame's front is waiting.
const SMALL_READ_BYTES: usize = 512;

/// What h2 reads from and writes to.
pub(super) struct Shared(Rc<RefCell<Gather>>);

impl Shared {
    pub(super) fn of(gather: &Rc<RefCell<Gather>>) -> Self {
        Self(Rc::clone(gather))
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gather = &mut *self.0.borrow_mut();
        let before = into.filled().len();
        if gather.check.flood().is_some() {
            return Poll::Pending; // the driver looks at the end of its poll
        }
        loop {
            if !gather.judged.is_empty() {
                let fits = gather.judged.len().min(into.remaining());
                into.put_slice(gather.judged.get(..fits).unwrap_or_default());
                gather.judged.drain(..fits);
                return Poll::Ready(Ok(()));
            }
            let is_open = ready!(gather.poll_more(cx, into))?;
            if !is_open || into.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gather = &mut *self.0.borrow_mut();
        if gather.unsent() >= GATHER_BYTES {
            let _taken_in_part = gather.poll_out(cx)?;
            // Whoever asks first has the room that there is: h2 asks for its answers to SETTINGS and PING
            // before it does for bodies, and reads nothing more until they have some.
            if gather.unsent() >= GATHER_BYTES {
                return Poll::Pending;
            }
        }
        // A line that is slow never takes all at once.
        if gather.out_at >= GATHER_BYTES {
            gather.out.drain(..gather.out_at);
            gather.out_at = 0;
        }
        for part in parts {
            gather.out.extend_from_slice(part);
        }
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the driver flushes at the end of its poll
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gather = &mut *self.0.borrow_mut();
        if gather.last_words.is_empty() {
            let from = gather.out.len().saturating_sub(LAST_WORDS_BYTES);
            gather.last_words = gather.out.get(from..).unwrap_or_default().to_vec();
        }
        ready!(gather.poll_out(cx))?;
        gather.conn.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::TcpSocket;

    use super::*;

    const FRAME: &[u8] = &[7; 16 * 1024];

    /// Both ends of a connection whose kernel holds little.
    async fn connected() -> (Conn, tokio::net::TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4_096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let visitor = TcpSocket::new_v4().unwrap();
        visitor.set_recv_buffer_size(4_096).unwrap();
        let visitor = visitor.connect(listener.local_addr().unwrap()).await.unwrap();
        (Conn::plain(listener.accept().await.unwrap().0), visitor)
    }

    #[test]
    fn a_line_that_never_takes_all_at_once_makes_it_hold_no_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (conn, visitor) = connected().await;
            let gather = Rc::new(RefCell::new(Gather::new(conn, Vec::new())));
            let mut shared = Shared::of(&gather);
            let (mut written, mut read) = (0, [0; 4_096]);
            while written < 50 * FRAME.len() {
                let polled = poll_fn(|cx| {
                    let polled = Pin::new(&mut shared).poll_write(cx, FRAME);
                    Poll::Ready((polled, gather.borrow_mut().poll_out(cx).is_ready()))
                });
                match polled.await {
                    (Poll::Ready(bytes), is_out) => {
                        written += bytes.unwrap();
                        assert!(!is_out || written < GATHER_BYTES, "something waits all the time");
                    }
                    (Poll::Pending, _) => {
                        let _nothing_yet = visitor.try_read(&mut read);
                        tokio::task::yield_now().await;
                    }
                }
                let held = gather.borrow().out.len();
                assert!(held <= 2 * GATHER_BYTES + FRAME.len(), "{held} bytes after {written}");
            }
        });
    }
}
