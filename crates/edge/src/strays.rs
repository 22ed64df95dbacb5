//! Strays: QUIC packets for connections of a process that is gone.
//!
//! A connection's packets come to the socket that its ids name, whoever serves by now. After an upgrade
//! nobody reads the sockets of the generation before, and after a publish nobody those of the candidate: a
//! visitor whose connection was there would wait for half a minute until it tries another. While the
//! supervisor says that such sockets are nobody's, the first thread reads them, and answers with a stateless
//! reset (RFC 9000 §10.3), which the visitor knows as the end. Never while somebody has them: two readers
//! would each take half of the packets, and reset what is the other's.
//!
//! Caller: `serving.rs`; the binary says whose the sockets are. Read next: `wire`'s `answer_strays`.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use crate::node::Node;

/// Sockets that may be nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownerless {
    /// Those of the other generation of edges.
    Generation = 1,
    /// Those of candidates.
    Candidate = 2,
}

/// A socket of another process, or of nobody.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) of: Ownerless,
    pub(crate) slot: u16,
    pub(crate) slots: u16,
    pub(crate) socket: UdpSocket,
}

/// Which sockets are nobody's.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    ownerless: AtomicU8,
    changed: Notify,
}

impl Strays {
    /// Says exactly which are.
    pub(crate) fn set(&self, ownerless: &[Ownerless]) {
        let bits = ownerless.iter().fold(0, |bits, of| bits | *of as u8);
        self.ownerless.store(bits, Ordering::Release);
        self.changed.notify_one();
    }

    fn are(&self, of: Ownerless) -> bool {
        self.ownerless.load(Ordering::Acquire) & of as u8 != 0
    }
}

/// Answers at these sockets whenever they are nobody's, for as long as the thread's runtime lives.
pub(crate) async fn answer(node: Arc<Node>, sockets: Vec<Foreign>) {
    let mut answering: Vec<Option<wire::Strays>> = sockets.iter().map(|_| None).collect();
    loop {
        for (foreign, open) in sockets.iter().zip(&mut answering) {
            if !node.strays().are(foreign.of) {
                *open = None;
            } else if open.is_none() {
                let (reset_key, _) = node.setup().quic_keys;
                // Without a descriptor left, strays go unanswered, as they would have without this.
                let socket = foreign.socket.try_clone();
                *open = socket
                    .and_then(|socket| wire::answer_strays(socket, (foreign.slot, foreign.slots), reset_key))
                    .ok();
            }
        }
        node.strays().changed.notified().await;
    }
}
