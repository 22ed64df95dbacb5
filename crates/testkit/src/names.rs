//! A name server in the test: answers questions for IPv4 addresses over UDP, on loopback, as it is told.
//!
//! It writes down what it was asked. Its thread ends when it is dropped. Read next: [`NameServer::start`].

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes of a message's head.
const HEAD: usize = 12;

/// A name server.
#[derive(Debug)]
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The name that a question asks for.
fn name_of(question: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut at = HEAD;
    while let Some(length) = question.get(at).map(|length| usize::from(*length)).filter(|length| *length > 0)
    {
        let label = question.get(at + 1..at + 1 + length).unwrap_or_default();
        labels.push(String::from_utf8_lossy(label).into_owned());
        at += 1 + length;
    }
    labels.join(".")
}

fn answer(question: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    let mut out = question.to_vec();
    // An answer, recursion done; no such name where there is no address.
    out[2] = 0x81;
    out[3] = if addresses.is_empty() { 0x83 } else { 0x80 };
    out[7] = u8::try_from(addresses.len()).expect("few addresses");
    for address in addresses {
        out.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04");
        out.extend_from_slice(&address.octets());
    }
    out
}

impl NameServer {
    /// Starts one. It says of each name its addresses, none for a name that is not there, or nothing at all.
    ///
    /// # Errors
    /// There is no socket to be had.
    pub fn start(says: impl Fn(&str) -> Option<Vec<Ipv4Addr>> + Send + 'static) -> io::Result<NameServer> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        let address = socket.local_addr()?;
        let (asked, is_over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (seen, over) = (Arc::clone(&asked), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                if over.load(Ordering::Acquire) {
                    break;
                }
                let question = &buffer[..length];
                if length <= HEAD {
                    continue;
                }
                let name = name_of(question);
                let said = says(&name);
                seen.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                if let Some(addresses) = said {
                    let _gone = socket.send_to(&answer(question, &addresses), from);
                }
            }
        });
        Ok(NameServer { address, asked, is_over, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The names it was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // Something to wake up for.
        if let Ok(socket) = UdpSocket::bind("127.0.0.1:0") {
            let _gone = socket.send_to(&[0], self.address);
        }
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}
