//! The UDP socket of a thread: QUIC's settings, connection ids, and who may shake hands.
//!
//! One quinn endpoint per socket. Connection ids carry the socket, so that the kernel's steering gives a
//! packet to the socket that knows it, wherever the visitor has moved; keys for resets and tokens come from
//! the wiring and outlive the process. Caller: `edge`. Read next: `h3/connection.rs`.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hkdf, hmac, rand};
use http3::Code;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, Runtime as _, TransportConfig, VarInt,
};

use super::overheard::Overhearing;
use super::sender::number;
use super::socket::Leavable;
use crate::Abuse;
use crate::limits::{
    CONNECTION_WINDOW_BYTES, HANDSHAKES_UNVALIDATED, QUIC_IDLE_MS, QUIC_RESET_MS, QUIC_SEND_WINDOW_BYTES,
    QUIC_STREAMS, QUIC_STREAMS_UNI, QUIC_WAITING_BYTES, QUIC_WAITING_HANDSHAKES, STREAM_WINDOW_BYTES,
};
use crate::places::Network;
use crate::thread::{OpenCount, QuicStay, Service, Thread, WireEvent};

/// Bytes of our connection ids (RFC 9000 §5.1): two name the socket, the others are random. A length that no
/// visitor is known to choose for its first packet, so that the kernel's steering tells our ids from theirs
/// by it.
pub const CONNECTION_ID_BYTES: usize = 13;

/// Polls of all tasks within which closed connections have said so and ended: two would do, but for a socket
/// that takes nothing at the moment.
const CLOSING_POLLS: u32 = 1_000;

/// How a UDP socket is to be served.
#[derive(Clone)]
pub struct QuicListenerSettings {
    /// TLS 1.3, ALPN `h3`, a resolver that follows the snapshots, no early data.
    pub tls: Arc<rustls::ServerConfig>,
    /// Which of the sockets that share this address this is; below `slots`.
    pub slot: u16,
    /// How many sockets share this address, at least one. The first two bytes of a connection id are
    /// congruent to `slot` modulo this.
    pub slots: u16,
    /// Key of stateless reset tokens (RFC 9000 §10.3); the same for all threads and after a restart.
    pub reset_key: [u8; 64],
    /// Key of address validation tokens (RFC 9000 §8.1); the same for all threads and after a restart.
    pub token_key: [u8; 32],
    /// By what address validation tokens are dated: microseconds since 1970. Should not step, or visitors in
    /// the middle of a retry are turned away.
    pub token_time: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Dates tokens.
struct TokenTime(Arc<dyn Fn() -> u64 + Send + Sync>);

impl quinn::TimeSource for TokenTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros((self.0)())
    }
}

/// Makes connection ids that name a socket.
struct SlotIds {
    slot: u16,
    slots: u16,
}

impl ConnectionIdGenerator for SlotIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; CONNECTION_ID_BYTES];
        rand::fill(&mut bytes).expect("aws-lc aborts rather than go without randomness");
        let [first, second, ..] = bytes;
        let named = name_slot(u16::from_be_bytes([first, second]), self.slot, self.slots);
        [bytes[0], bytes[1]] = named.to_be_bytes();
        ConnectionId::new(&bytes)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A number that is `slot` modulo `slots` and else as random as `random`.
fn name_slot(random: u16, slot: u16, slots: u16) -> u16 {
    let slots = slots.max(1);
    let slot = slot % slots;
    let multiple = random - random % slots;
    multiple.checked_add(slot).unwrap_or_else(|| multiple - slots + slot)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(QUIC_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(QUIC_STREAMS_UNI))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(QUIC_IDLE_MS))))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(QUIC_SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0);
    transport
}

fn endpoint((slot, slots): (u16, u16), reset_key: &[u8; 64]) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, reset_key);
    let mut endpoint = EndpointConfig::new(Arc::new(reset_key));
    endpoint
        .cid_generator(move || Box::new(SlotIds { slot, slots }))
        .min_reset_interval(Duration::from_millis(QUIC_RESET_MS));
    endpoint
}

/// Answers packets of connections that nobody has any more, until it is dropped.
#[derive(Debug)]
pub struct Strays(#[expect(dead_code, reason = "it ends with this")] quinn::Endpoint);

/// Answers every packet at a socket of a process that is gone with a stateless reset (RFC 9000 §10.3), so
/// that the visitor begins anew at once. `slot` is the socket's and how many share its address; the key is
/// the one that the process had. Nobody else may read the socket meanwhile. Runs in a runtime of tokio with
/// I/O and time enabled.
///
/// # Errors
/// When the socket cannot be used.
pub fn answer_strays(socket: UdpSocket, slot: (u16, u16), reset_key: [u8; 64]) -> io::Result<Strays> {
    socket.set_nonblocking(true)?;
    let endpoint = endpoint(slot, &reset_key);
    quinn::Endpoint::new(endpoint, None, socket, Arc::new(quinn::TokioRuntime)).map(Strays)
}

fn bind(socket: UdpSocket, settings: &QuicListenerSettings) -> Option<(quinn::Endpoint, Arc<Leavable>)> {
    let endpoint = endpoint((settings.slot, settings.slots), &settings.reset_key);
    // Fails only when the TLS settings lack TLS 1.3 or AES-128-GCM, which QUIC begins with.
    let crypto = QuicServerConfig::try_from(Arc::clone(&settings.tls)).ok()?;
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&settings.token_key);
    let crypto = Overhearing(Arc::new(crypto));
    let mut server = quinn::ServerConfig::new(Arc::new(crypto), Arc::new(token_key));
    server
        .transport_config(Arc::new(transport()))
        .time_source(Arc::new(TokenTime(Arc::clone(&settings.token_time))))
        .max_incoming(QUIC_WAITING_HANDSHAKES)
        .incoming_buffer_size(QUIC_WAITING_BYTES)
        .incoming_buffer_size_total(QUIC_WAITING_BYTES * QUIC_WAITING_HANDSHAKES as u64);
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = Arc::new(Leavable::new(runtime.wrap_udp_socket(socket).ok()?));
    let shared: Arc<dyn quinn::AsyncUdpSocket> = Arc::clone(&socket) as _;
    let endpoint = quinn::Endpoint::new_with_abstract_socket(endpoint, Some(server), shared, runtime);
    endpoint.ok().map(|endpoint| (endpoint, socket))
}

/// Counts for as long as it lives: a connection, or a handshake with a visitor that has not proven its
/// address.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(counter: &Rc<Cell<usize>>) -> Self {
        counter.set(counter.get() + 1);
        Self(Rc::clone(counter))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Serves HTTP/3 on a UDP socket until the thread drains, and then until the last connection has ended.
///
/// Runs in a `LocalRuntime` of one thread, with I/O and time enabled. A socket or TLS settings that QUIC
/// cannot use are counted as [`WireEvent::Dropped`], and nothing is served: the settings lack TLS 1.3 or
/// AES-128-GCM. Dropping the future closes the socket to new connections; open ones go on.
pub async fn accept_quic<S: Service>(
    thread: Rc<Thread<S>>,
    socket: UdpSocket,
    settings: QuicListenerSettings,
) {
    let local = socket.local_addr();
    let (Ok(local), Some((endpoint, socket))) = (local, bind(socket, &settings)) else {
        thread.service.count(WireEvent::Dropped);
        return;
    };
    thread.count_quic_socket(true);
    let (open, shaking) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let drain = thread.deadlines.slot(); // never armed: registered to be woken when draining begins
    loop {
        let mut accept = pin!(endpoint.accept());
        let incoming = poll_fn(|cx| {
            drain.register(cx.waker());
            match thread.is_draining() {
                true => Poll::Ready(None),
                false => accept.as_mut().poll(cx),
            }
        })
        .await;
        match incoming {
            Some(incoming) => admit(&thread, incoming, local, (&open, &shaking)).await,
            None => break,
        }
    }
    // What arrives now belongs to whoever serves next; it is left alone here.
    endpoint.set_server_config(None);
    let mut idle = pin!(endpoint.wait_idle());
    poll_fn(|cx| {
        drain.register(cx.waker());
        match thread.quic_stay() {
            QuicStay::ToTheEnd => idle.as_mut().poll(cx),
            QuicStay::WhileOpen if open.get() > 0 => Poll::Pending,
            QuicStay::WhileOpen | QuicStay::Over => Poll::Ready(()),
        }
    })
    .await;
    if open.get() > 0 {
        endpoint.close(number(Code::NoError), b"this process ends: connect again");
        // Each connection says so before its task ends.
        for _ in 0..CLOSING_POLLS {
            if open.get() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    socket.leave();
    thread.count_quic_socket(false);
}

async fn admit<S: Service>(
    thread: &Rc<Thread<S>>,
    incoming: quinn::Incoming,
    local: SocketAddr,
    (open, shaking): (&Rc<Cell<usize>>, &Rc<Cell<usize>>),
) {
    let is_validated = incoming.remote_address_validated();
    let visitor = incoming.remote_address().ip().to_canonical();
    let network = Network::of(visitor);
    let has_time = thread.service.may_shake(visitor);
    if !is_validated && (!has_time || shaking.get() >= HANDSHAKES_UNVALIDATED) {
        // Costs a round trip and no memory; only who receives at its address comes back (RFC 9000 §8.1.2).
        // Before anything else: who forges addresses is not to use up their networks' room.
        thread.service.count(WireEvent::Abuse(Abuse::UnprovenAddress, visitor));
        let _always_allowed_when_unvalidated = incoming.retry();
        return;
    }
    let has_room = thread.finds_room(network)
        || thread.may_wait_for_room(network) && thread.wait_for_room(network).await;
    if !has_room {
        thread.found_no_room(network, visitor);
        return incoming.refuse();
    }
    if !has_time {
        thread.service.count(WireEvent::Abuse(Abuse::HandshakeFlood, visitor));
        return incoming.refuse();
    }
    let Some(under_way) = thread.begin_handshake(network, visitor) else { return incoming.refuse() };
    let Ok(connecting) = thread.service.shake(|| incoming.accept()) else {
        thread.service.count(WireEvent::HandshakeFailed);
        return;
    };
    let shaking = (under_way, (!is_validated).then(|| Counted::new(shaking)));
    let serving = super::connection::serve(OpenCount::new(thread, network), connecting, local, shaking);
    let open = Counted::new(open);
    tokio::task::spawn_local(async move {
        let _counted = open;
        serving.await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_bytes_of_an_id_name_the_socket() {
        for slots in [1, 2, 3, 5, 17, 255, 256, 513] {
            for slot in [0, slots / 2, slots - 1] {
                for random in (0..=u16::MAX).step_by(7) {
                    assert_eq!(name_slot(random, slot, slots) % slots, slot);
                }
            }
        }
    }

    #[test]
    fn ids_of_one_socket_differ() {
        let mut ids = SlotIds { slot: 1, slots: 5 };
        let (first, second) = (ids.generate_cid(), ids.generate_cid());
        assert_ne!(first, second);
        let named = |id: ConnectionId| u16::from_be_bytes([id[0], id[1]]) % 5;
        assert_eq!((named(first), named(second)), (1, 1));
    }
}
