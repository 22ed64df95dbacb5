//! Something that listens and does with each connection what a drill says, byte by byte: for what is no
//! origin in good order.
//!
//! Called by the drills of dependencies; read next: [`super::dependencies`].

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How long a connection may be silent: longer than a drill lasts.
const IDLE: Duration = Duration::from_secs(600);

/// A listener with a thread for each connection.
pub(super) struct Raw {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Raw {
    /// Starts one on a free loopback port. The connection ends when `with` returns.
    ///
    /// # Errors
    /// When there is no port or thread.
    pub(super) fn start(with: impl Fn(TcpStream) + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        let address = listener.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let (ended, with) = (Arc::clone(&ends), Arc::new(with));
        let accepting = thread::Builder::new().name("raw".to_owned()).spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let with = Arc::clone(&with);
                let _ = connection.set_read_timeout(Some(IDLE));
                // Whose connection gets no thread sees it end: the drill counts that.
                let _ = thread::Builder::new().name("raw".to_owned()).spawn(move || with(connection));
            }
        })?;
        Ok(Self { address, ends, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Reads, and says nothing, until the other side ends the connection.
pub(super) fn hold(mut connection: TcpStream) {
    let mut room = [0; 4096];
    while connection.read(&mut room).is_ok_and(|count| count > 0) {}
}
