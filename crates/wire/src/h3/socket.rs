//! A UDP socket that can be left to another process while connections on it are still being forgotten.
//!
//! After its close a QUIC connection is kept for three probe time-outs (RFC 9000 §10.2), and its endpoint
//! reads the socket as long. Whoever takes the socket over in that time would miss half of its packets, and
//! its visitors would be answered with resets. Made by `h3/endpoint.rs`.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// A socket that is read until it is left; sending goes on.
#[derive(Debug)]
pub(super) struct Leavable {
    socket: Arc<dyn AsyncUdpSocket>,
    is_left: AtomicBool,
}

impl Leavable {
    pub(super) fn new(socket: Arc<dyn AsyncUdpSocket>) -> Self {
        Self { socket, is_left: AtomicBool::new(false) }
    }

    /// Reads nothing from now on.
    pub(super) fn leave(&self) {
        self.is_left.store(true, Ordering::Release);
    }
}

impl AsyncUdpSocket for Leavable {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Nobody is woken: there is nothing more to be read here.
        match self.is_left.load(Ordering::Acquire) {
            true => Poll::Pending,
            false => self.socket.poll_recv(cx, bufs, meta),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
