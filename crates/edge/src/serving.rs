//! The serving threads: one runtime each, with listeners, deadlines and connections of its own.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use exchange::{Deadlines, TICK_MS};
use tokio::time::MissedTickBehavior;
use wire::{QuicListenerSettings, Service as _, TcpListenerSettings, Thread, accept_quic, accept_tcp};
use zone::ListenerProtocol;

use crate::admin::Admin;
use crate::clock::{http_date, unix_us};
use crate::flood_watch::FloodWatch;
use crate::holding::Open;
use crate::node::Node;
use crate::pipeline::Edge;
use crate::relief::{Relief, Spare};
use crate::strays::{self, Foreign, Ownerless};
use crate::watch::Watch;

/// Inherited sockets of one listener.
pub struct ListenerSetup {
    /// What the node file says of it.
    pub settings: zone::Listener,
    /// The address it is bound to.
    pub local: SocketAddr,
    /// One TCP socket a thread.
    pub tcp: Vec<TcpListener>,
    /// One UDP socket a thread for HTTP/3, or none.
    pub udp: Vec<UdpSocket>,
    /// The slot of the first of these UDP sockets, and how many slots the address has: connection ids name
    /// them.
    pub udp_slots: (u16, u16),
    /// The socket of a candidate, if this is not one: what waits there while no candidate serves is taken by
    /// the first thread, so that a candidate's death loses nobody in its queue.
    pub candidate: Option<TcpListener>,
    /// UDP sockets of other processes with their slots: answered while the binary says that they are nobody's
    /// ([`Node::answer_strays`]).
    pub foreign: Vec<(Ownerless, u16, UdpSocket)>,
}

/// The serving threads.
pub struct Running {
    threads: Vec<JoinHandle<bool>>,
    watch: (Watch, FloodWatch),
}

impl Running {
    /// Blocks until every thread has ended; whether all of them ended by draining.
    ///
    /// A thread that ends otherwise makes the node drain, so that the process can be replaced as a whole: its
    /// listeners would wait for it in vain.
    #[must_use]
    pub fn join(self) -> bool {
        let _watched_to_the_end = self.watch;
        let ends: Vec<bool> = self.threads.into_iter().map(|thread| thread.join().unwrap_or(false)).collect();
        ends.into_iter().all(|is_well| is_well)
    }
}

/// One listener's sockets for one thread.
struct Share {
    settings: zone::Listener,
    local: SocketAddr,
    tcp: Option<TcpListener>,
    udp: Option<UdpSocket>,
    /// The slot of `udp`, and how many there are.
    udp_slots: (u16, u16),
    candidate: Option<TcpListener>,
}

/// Starts the serving threads. The admin socket is served by the first.
///
/// # Errors
/// No thread or no runtime could be started.
pub fn run(
    node: &Arc<Node>,
    listeners: Vec<ListenerSetup>,
    admin: Option<TcpListener>,
) -> io::Result<Running> {
    let count = node.setup().threads.max(1);
    let mut shares: Vec<Vec<Share>> = (0..count).map(|_| Vec::new()).collect();
    let mut spares: Vec<Vec<Spare>> = (0..count).map(|_| Vec::new()).collect();
    let mut foreign = Vec::new();
    for listener in listeners {
        let (mut tcp, mut udp) = (listener.tcp.into_iter(), listener.udp.into_iter());
        let mut candidate = listener.candidate;
        let (first_slot, slots) = listener.udp_slots;
        let strays = listener.foreign.into_iter();
        foreign.extend(strays.map(|(of, slot, socket)| Foreign { of, slot, slots, socket }));
        for ((slot, share), spare) in (first_slot..).zip(&mut shares).zip(&mut spares) {
            let (tcp, udp) = (tcp.next(), udp.next());
            let (settings, local, has_quic) = (listener.settings.clone(), listener.local, udp.is_some());
            // A lone thread has nobody to stand in for it.
            if let Some(socket) = tcp.as_ref().filter(|_| count > 1) {
                let socket = socket.try_clone()?;
                spare.push(Spare { settings: settings.clone(), local, has_quic, socket });
            }
            let (udp_slots, candidate) = ((slot, slots), candidate.take());
            share.push(Share { settings, local, tcp, udp, udp_slots, candidate });
        }
    }
    let spare_admin = admin.as_ref().filter(|_| count > 1).map(TcpListener::try_clone).transpose()?;
    let relief = Arc::new(Relief::new(spares, spare_admin));
    let watch = (Watch::start(node, &relief)?, FloodWatch::start(node)?);
    node.start_pools()?;
    let (mut admin, mut foreign) = (admin, foreign);
    let mut threads = Vec::new();
    for (number, share) in shares.into_iter().enumerate() {
        let (node, admin, relief) = (Arc::clone(node), admin.take(), Arc::clone(&relief));
        let foreign = std::mem::take(&mut foreign);
        let thread = std::thread::Builder::new().name(format!("edge-{number}")).spawn(move || {
            // Nothing is used after a panic but counters and the log.
            let served =
                std::panic::AssertUnwindSafe(|| serve(&node, number, (share, foreign), admin, relief));
            let error = match std::panic::catch_unwind(served) {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked; the event before says where".to_owned(),
            };
            let fields = [("thread", (number as u64).into()), ("error", error.as_str().into())];
            node.setup().events.error("serving_thread_ended", &fields);
            node.drain();
            false
        })?;
        threads.push(thread);
    }
    Ok(Running { threads, watch })
}

fn serve(
    node: &Arc<Node>,
    number: usize,
    (shares, foreign): (Vec<Share>, Vec<Foreign>),
    admin: Option<TcpListener>,
    relief: Arc<Relief>,
) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    runtime.block_on(async {
        let deadlines = Deadlines::new();
        let slot = node.black_box().claim(number)?;
        let edge = Edge::new(node, number, &deadlines, slot);
        let threads = node.setup().threads.max(1);
        let connections_max = (node.setup().connections_max / threads).max(16);
        let index = u8::try_from(number).unwrap_or(u8::MAX);
        let thread = Thread::new(Rc::clone(&edge), Rc::clone(&deadlines), index, connections_max);
        thread.set_date(http_date(unix_us() / 1_000_000));
        let mut candidates = Vec::new();
        for share in shares {
            let settings = tcp_settings(&share.settings, share.local, share.udp.is_some());
            if let Some(socket) = share.candidate {
                socket.set_nonblocking(true)?;
                candidates.push((socket, Rc::new(settings.clone())));
            }
            if let Some(socket) = share.tcp {
                socket.set_nonblocking(true)?;
                let socket = tokio::net::TcpListener::from_std(socket)?;
                tokio::task::spawn_local(accept_tcp(Rc::clone(&thread), socket, settings));
            }
            if let Some(socket) = share.udp {
                socket.set_nonblocking(true)?;
                let (reset_key, token_key) = node.setup().quic_keys;
                let tls = node.tls().quic_config(node).map_err(io::Error::other)?;
                let steady = Arc::clone(node.steady());
                let settings = QuicListenerSettings {
                    tls,
                    slot: share.udp_slots.0,
                    slots: share.udp_slots.1,
                    reset_key,
                    token_key,
                    // A visitor that was told to retry is not turned away because the clock was set
                    // meanwhile.
                    token_time: Arc::new(move || steady.unix_us()),
                };
                let (node, thread) = (Arc::clone(node), Rc::clone(&thread));
                tokio::task::spawn_local(async move {
                    node.quic_hold().end().await;
                    // Another process is to read it by now.
                    if !thread.is_draining() && !node.letting_go().is_ordered() {
                        accept_quic(thread, socket, settings).await;
                    }
                });
            }
        }
        let admin = match admin {
            Some(socket) => Some(serve_admin(node, &deadlines, socket)?.0),
            None => None,
        };
        if !foreign.is_empty() {
            tokio::task::spawn_local(strays::answer(Arc::clone(node), foreign));
        }
        tokio::task::spawn_local(Rc::clone(&edge).watch_load());
        tokio::task::spawn_local(Rc::clone(&edge).give_turns());
        tokio::task::spawn_local(Arc::clone(&relief).stand_by(number, Arc::clone(node), Rc::clone(&thread)));
        node.count_serving(true);
        tick(node, &edge, &thread, admin.as_deref(), (candidates, &relief)).await;
        node.count_serving(false);
        edge.tick(); // the last lines of the log
        Ok(())
    })
}

/// Serves the admin listener on this thread.
pub(crate) fn serve_admin(
    node: &Arc<Node>,
    deadlines: &Rc<Deadlines>,
    socket: TcpListener,
) -> io::Result<(Rc<Thread<Admin>>, tokio::task::JoinHandle<()>)> {
    let service = Rc::new(Admin::new(Arc::clone(node), socket.local_addr()?));
    socket.set_nonblocking(true)?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    // Some operators and scrapers, never the public: a small share of the descriptors.
    let thread = Thread::new(service, Rc::clone(deadlines), u8::MAX, 64);
    thread.set_date(http_date(unix_us() / 1_000_000));
    let settings =
        TcpListenerSettings { is_tls: false, allows_h2c: false, trusts_proxy: None, http3_port: None };
    let accepting = tokio::task::spawn_local(accept_tcp(Rc::clone(&thread), socket, settings));
    Ok((thread, accepting))
}

pub(crate) fn tcp_settings(
    listener: &zone::Listener,
    local: SocketAddr,
    has_quic: bool,
) -> TcpListenerSettings {
    let trusted = listener.trusted.clone();
    TcpListenerSettings {
        is_tls: listener.protocol == ListenerProtocol::Https,
        allows_h2c: listener.h2c,
        trusts_proxy: listener.proxy_protocol.then(|| -> Rc<dyn Fn(std::net::IpAddr) -> bool> {
            Rc::new(move |ip| zone::cidr::any_contains(&trusted, ip))
        }),
        http3_port: has_quic.then_some(local.port()),
    }
}

/// A candidate's socket that is watched while no candidate serves it.
type Left = (TcpListener, Rc<TcpListenerSettings>);

/// Takes the connections that wait at sockets of a candidate that is gone.
fn take_left(thread: &Rc<Thread<Edge>>, candidates: &[Left]) {
    for (socket, settings) in candidates {
        while let Ok((tcp, visitor)) = socket.accept() {
            let tcp = tcp.set_nonblocking(true).and_then(|()| tokio::net::TcpStream::from_std(tcp));
            match tcp {
                Ok(tcp) => wire::begin_tcp(thread, settings, tcp, visitor),
                Err(_) => thread.service.count(wire::WireEvent::Dropped),
            }
        }
    }
}

/// Polls of all tasks within which QUIC connections have been closed.
const CLOSING_POLLS: u32 = 10_000;

/// Closes the QUIC connections of a thread that ends: a kernel tells a visitor that a TCP connection is gone,
/// and nobody would tell of these.
async fn close_quic(thread: &Rc<Thread<Edge>>) {
    thread.let_go_of_quic(true);
    for _ in 0..CLOSING_POLLS {
        if !thread.reads_quic() {
            break;
        }
        tokio::task::yield_now().await;
    }
}

/// Sweeps deadlines, turns the clock, and watches for the drain, until the thread has drained.
async fn tick(
    node: &Arc<Node>,
    edge: &Edge,
    thread: &Rc<Thread<Edge>>,
    admin: Option<&Thread<Admin>>,
    (mut candidates, relief): (Vec<Left>, &Relief),
) {
    let mut interval = tokio::time::interval(Duration::from_millis(u64::from(TICK_MS)));
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut second = 0;
    let mut drain_began_ms = None;
    let mut reads_quic = false;
    loop {
        interval.tick().await;
        thread.deadlines.sweep();
        edge.tick();
        let open = Open { connections: thread.open(), exchanges: edge.in_flight() };
        node.holding().note(edge.number, open);
        thread.set_times(edge.visitor_times());
        if edge.number == 0 {
            node.tell_origin_events();
            node.door().sweep(node.clock().now_s());
        }
        if !node.has_candidate() && !thread.is_draining() {
            take_left(thread, &candidates);
        }
        let now_s = unix_us() / 1_000_000;
        if now_s != second {
            second = now_s;
            let date = http_date(now_s);
            thread.set_date(date);
            if let Some(admin) = admin {
                admin.set_date(date);
            }
        }
        let now_ms = node.clock().now_ms();
        let did_read = std::mem::replace(&mut reads_quic, thread.reads_quic());
        if did_read != reads_quic {
            node.letting_go().count_reading(reads_quic);
        }
        if let Some(at_once) = node.letting_go().ordered(now_ms).filter(|_| reads_quic) {
            thread.let_go_of_quic(at_once);
        }
        match drain_began_ms {
            None if node.is_draining() => {
                if node.is_last() {
                    take_left(thread, &candidates);
                    thread.drain_as_last();
                } else {
                    thread.drain();
                }
                // Every copy of a listener: with one left its visitors would wait for nobody.
                candidates.clear();
                relief.close();
                if let Some(admin) = admin {
                    admin.drain();
                }
                drain_began_ms = Some(now_ms);
            }
            Some(began) if thread.open() == 0 || now_ms >= began + node.drain_ms() => {
                node.count_cut(edge.in_flight());
                if thread.open() > 0 && reads_quic {
                    close_quic(thread).await;
                }
                if reads_quic {
                    node.letting_go().count_reading(false);
                }
                node.holding().note(edge.number, Open::default());
                return;
            }
            _ => {}
        }
    }
}
