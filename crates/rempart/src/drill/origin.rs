//! The origin of a drill: answers every request with one text, or as the drill says by its path, in the clear
//! or over TLS, from threads of its own.
//!
//! It reads GET requests without bodies alone. Stopping it closes its port and ends every connection, kept
//! ones too: an origin that is gone answers nobody. Called by the drills; read next: [`super::pages`].

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Bytes of a request's head; a node's have some hundred.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long a connection may be silent: longer than a drill lasts.
const IDLE: Duration = Duration::from_secs(600);

/// Writes the answer to a request for a path; the connection ends when it cannot.
type Reply = dyn Fn(&str, &mut dyn Write) -> io::Result<()> + Send + Sync;

/// One end of a connection, which the origin can end while the thread that answers it waits.
#[derive(Clone)]
struct Shared(Arc<TcpStream>);

impl Read for Shared {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(room)
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

/// The connections of an origin that are there.
type Open = Arc<Mutex<BTreeMap<u64, Shared>>>;

/// A running origin.
pub(super) struct Origin {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    open: Open,
    asked: Arc<AtomicU64>,
    accepting: Option<JoinHandle<()>>,
}

impl Origin {
    /// Starts one on a free loopback port that answers with a text.
    ///
    /// # Errors
    /// When there is no port or thread.
    pub(super) fn start(text: &str, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        Self::serve(Arc::new(move |_path, to| to.write_all(answer.as_bytes())), tls)
    }

    /// Starts one where another was that has ended.
    ///
    /// # Errors
    /// When somebody else took its port.
    pub(super) fn start_at(address: SocketAddr, text: &str) -> Result<Self> {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        Self::replying_at(address, move |_path, to| to.write_all(answer.as_bytes()))
    }

    /// Starts one where another was that has ended, which answers as [`Origin::replying`].
    ///
    /// # Errors
    /// As [`Origin::start_at`].
    pub(super) fn replying_at(
        address: SocketAddr,
        reply: impl Fn(&str, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind(address).context("the origin's port is taken")?;
        Self::accept(listener, Arc::new(reply), None)
    }

    /// Starts one without TLS that writes a whole answer, head included, to each request for a path.
    ///
    /// # Errors
    /// As [`Origin::start`].
    pub(super) fn replying(
        reply: impl Fn(&str, &mut dyn Write) -> io::Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        Self::serve(Arc::new(reply), None)
    }

    fn serve(reply: Arc<Reply>, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for an origin")?;
        Self::accept(listener, reply, tls)
    }

    fn accept(listener: TcpListener, reply: Arc<Reply>, tls: Option<Arc<ServerConfig>>) -> Result<Self> {
        let address = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU64::new(0));
        let (ended, counted) = (Arc::clone(&ends), Arc::clone(&asked));
        let reply: Arc<Reply> = Arc::new(move |path, to| {
            counted.fetch_add(1, Ordering::Relaxed);
            reply(path, to)
        });
        let open = Open::default();
        let all = Arc::clone(&open);
        let accepting = thread::Builder::new().name("origin".to_owned()).spawn(move || {
            for (number, connection) in (0..).zip(listener.incoming().map_while(Result::ok)) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let connection = Shared(Arc::new(connection));
                locked(&all).insert(number, connection.clone());
                let (reply, tls, those) = (Arc::clone(&reply), tls.clone(), Arc::clone(&all));
                let spawned = thread::Builder::new().name("origin".to_owned()).spawn(move || {
                    answer(connection, tls, &*reply);
                    locked(&those).remove(&number);
                });
                // A visitor whose connection gets no thread sees it end: the drill counts that.
                if spawned.is_err() {
                    locked(&all).remove(&number);
                }
            }
        })?;
        Ok(Self { address, ends, open, asked, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        for connection in locked(&self.open).values() {
            let _ = connection.0.shutdown(Shutdown::Both);
        }
    }
}

fn locked(open: &Open) -> std::sync::MutexGuard<'_, BTreeMap<u64, Shared>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(connection: Shared, tls: Option<Arc<ServerConfig>>, reply: &Reply) {
    let _ = connection.0.set_read_timeout(Some(IDLE));
    let _ = connection.0.set_nodelay(true);
    match tls.map(ServerConnection::new) {
        None => answer_all(connection, reply),
        Some(Ok(tls)) => answer_all(StreamOwned::new(tls, connection), reply),
        Some(Err(_)) => {}
    }
}

/// The path of a request.
fn path_of(head: &[u8]) -> &str {
    let mut words = head.split(|byte| *byte == b' ');
    words.nth(1).and_then(|path| std::str::from_utf8(path).ok()).unwrap_or("/")
}

/// Answers one request after the other until the connection ends.
fn answer_all(mut connection: impl Read + Write, reply: &Reply) {
    let mut bytes = Vec::new();
    let mut room = [0; 4096];
    while bytes.len() < HEAD_BYTES_MAX {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            if reply(path_of(&head), &mut connection).and_then(|()| connection.flush()).is_err() {
                return;
            }
            continue;
        }
        match connection.read(&mut room) {
            Ok(count) if count > 0 => bytes.extend_from_slice(room.get(..count).unwrap_or_default()),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::load::{Kept, Target};

    #[test]
    fn an_origin_that_is_gone_answers_nobody_on_a_connection_that_was_kept() {
        let origin = Origin::start("here", None).unwrap();
        let target = Target::plain(origin.address(), "a.example");
        let kept = Kept::connect(&target, 0).unwrap();
        for asked in 1..=2 {
            assert_eq!((kept.ask("/").unwrap(), origin.asked()), ((200, "here".to_owned()), asked));
        }
        let address = origin.address();
        drop(origin);
        assert!(kept.ask("/").is_err() && target.ask("/", "").is_err());
        let again = Origin::start_at(address, "again").unwrap();
        assert_eq!((target.ask("/", "").unwrap().1.as_str(), again.asked()), ("again", 1));
    }
}
