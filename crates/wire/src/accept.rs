//! Accepts TCP connections and finds out what they speak.
//!
//! In this order: PROXY protocol (where the listener has it, from trusted addresses), TLS with settings
//! chosen by the client hello, then HTTP/1 or HTTP/2 by ALPN, or on cleartext by HTTP/2's preface.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use exchange::{Connection, Deadline, Protocol, Tally, TlsFacts, TlsVersion, Waiting};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};

use crate::conn::{Conn, poll_read_tcp};
use crate::h1::{Idle, Visitor};
use crate::limits::{ACCEPT_BATCH, HANDSHAKE_MS, HELLO_BYTES};
use crate::places::Network;
use crate::thread::{OpenCount, Service, Thread, VisitorTimes, WireEvent};
use crate::tls::Tls;
use crate::{Abuse, Hello, NotHello, Proxied, read_hello, read_proxy_header, with_scratch};

/// How a TCP listener is to be served.
#[derive(Clone)]
pub struct TcpListenerSettings {
    /// Connections begin with TLS.
    pub is_tls: bool,
    /// Cleartext connections may begin with HTTP/2's preface (RFC 9113 §3.3).
    pub allows_h2c: bool,
    /// Connections from addresses for which this is true begin with a PROXY protocol header; from others
    /// none is read. `None`: the listener has no PROXY protocol.
    pub trusts_proxy: Option<Rc<dyn Fn(IpAddr) -> bool>>,
    /// The UDP port that answers HTTP/3 for this listener, for `Alt-Svc`.
    pub http3_port: Option<u16>,
}

/// Connections that are taken from a listener's line when it closes for good: about as many as the kernel
/// keeps there. It bounds a flood.
const LAST_MAX: usize = 4096;

/// Accepts until the thread drains.
pub async fn accept_tcp<S: Service>(
    thread: Rc<Thread<S>>,
    listener: TcpListener,
    settings: TcpListenerSettings,
) {
    let settings = Rc::new(settings);
    let inherited = Inherited::of(&listener);
    let line = Line { service: &*thread.service, number: thread.next_line() };
    let drain = thread.deadlines.slot(); // never armed: registered to be woken when draining begins
    let (mut taken, mut last) = (0, LAST_MAX);
    loop {
        // Not by tokio's own measure, which would look like the end of the line.
        let accepted = tokio::task::unconstrained(poll_fn(|cx| {
            drain.register(cx.waker());
            thread.service.beat();
            if thread.is_draining() {
                // What waits there waits for another process.
                line.took(true);
                if !thread.is_last() || last == 0 {
                    return Poll::Ready(None);
                }
                last -= 1;
                return Poll::Ready(match listener.poll_accept(cx) {
                    Poll::Ready(waiting) => Some(waiting),
                    Poll::Pending => None,
                });
            }
            let accepted = listener.poll_accept(cx).map(Some);
            if accepted.is_pending() {
                taken = 0;
                line.took(true);
            }
            accepted
        }))
        .await;
        match accepted {
            None => return,
            Some(Ok((tcp, visitor))) => {
                let (visitor, network) = who_is(&thread, &settings, visitor);
                let mut has_room = thread.finds_room(network);
                if !has_room && thread.may_wait_for_room(network) {
                    // What is in line behind it waits for a place, and not for the thread's time.
                    taken = 0;
                    line.took(true);
                    has_room = thread.wait_for_room(network).await;
                }
                match has_room {
                    true => serve_tcp(&thread, &settings, tcp, (visitor, network), inherited),
                    false => turn_away(&thread, &settings, &tcp, (visitor, network)),
                }
                taken += 1;
                if taken >= ACCEPT_BATCH {
                    taken = 0;
                    line.took(false);
                    tokio::task::yield_now().await;
                }
            }
            Some(Err(error)) if is_short(&error) && thread.shed_some() > 0 => {
                // Their tasks run now, and close them.
                tokio::task::yield_now().await;
            }
            Some(Err(_)) => {
                // Descriptors or memory are short and nobody is idle: waiting keeps the queue in the kernel,
                // failing would spin. Connections that ended meanwhile report here too, and cost one wait.
                thread.service.count(WireEvent::Dropped);
                line.took(true);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// A listener's line of connections. Nobody waits in it once it is no longer accepted from.
struct Line<'a, S: Service> {
    service: &'a S,
    number: u32,
}

impl<S: Service> Line<'_, S> {
    fn took(&self, has_taken_all: bool) {
        self.service.took(self.number, has_taken_all);
    }
}

impl<S: Service> Drop for Line<'_, S> {
    fn drop(&mut self) {
        self.took(true);
    }
}

/// What a connection has from its listener: each saves a call to the system for every connection.
#[derive(Clone, Copy, Default)]
struct Inherited {
    /// `TCP_NODELAY`. Without it TLS visitors wait 40 ms for an acknowledgement.
    has_no_delay: bool,
    /// The address that was reached; none where the listener has every address there is.
    local: Option<SocketAddr>,
}

impl Inherited {
    fn of(listener: &TcpListener) -> Self {
        let has_no_delay = rustix::net::sockopt::set_tcp_nodelay(listener, true).is_ok();
        let local = listener.local_addr().ok().filter(|local| !local.ip().is_unspecified());
        Self { has_no_delay, local }
    }
}

/// Whether the system has no descriptor or no memory for another connection.
fn is_short(error: &io::Error) -> bool {
    let short = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| short.contains(&errno))
}

/// Serves a connection that was accepted, in a task of its own. For connections accepted elsewhere than by
/// [`accept_tcp`]; to be called inside the thread's runtime. Near the thread's limit idle connections are let
/// go for it, of whoever holds most; over it, it is closed and counted.
pub fn begin_tcp<S: Service>(
    thread: &Rc<Thread<S>>,
    settings: &Rc<TcpListenerSettings>,
    tcp: TcpStream,
    visitor: SocketAddr,
) {
    let (visitor, network) = who_is(thread, settings, visitor);
    match thread.finds_room(network) {
        true => serve_tcp(thread, settings, tcp, (visitor, network), Inherited::default()),
        false => turn_away(thread, settings, &tcp, (visitor, network)),
    }
}

/// Who is at the other end, and whose places it takes.
fn who_is<S: Service>(
    thread: &Thread<S>,
    settings: &TcpListenerSettings,
    visitor: SocketAddr,
) -> (SocketAddr, Network) {
    let visitor = SocketAddr::new(visitor.ip().to_canonical(), visitor.port());
    let is_many = has_proxy_header(settings, visitor) || thread.service.is_proxy(visitor.ip());
    (visitor, if is_many { Network::PROXIED } else { Network::of(visitor.ip()) })
}

/// Whether the connection begins with a header of the PROXY protocol.
fn has_proxy_header(settings: &TcpListenerSettings, peer: SocketAddr) -> bool {
    settings.trusts_proxy.as_ref().is_some_and(|trusts| trusts(peer.ip()))
}

fn turn_away<S: Service>(
    thread: &Thread<S>,
    settings: &TcpListenerSettings,
    tcp: &TcpStream,
    (visitor, network): (SocketAddr, Network),
) {
    thread.found_no_room(network, visitor.ip());
    if !settings.is_tls && !has_proxy_header(settings, visitor) {
        // It fits into a fresh connection's buffer. Whoever's request is here already may see a reset.
        let _best_effort = tcp.try_write(NO_ROOM);
    }
}

fn serve_tcp<S: Service>(
    thread: &Rc<Thread<S>>,
    settings: &Rc<TcpListenerSettings>,
    tcp: TcpStream,
    (visitor, network): (SocketAddr, Network),
    inherited: Inherited,
) {
    let has_proxy = has_proxy_header(settings, visitor);
    if !inherited.has_no_delay {
        let _only_slower = tcp.set_nodelay(true);
    }
    let local = inherited.local.or_else(|| tcp.local_addr().ok()).unwrap_or(visitor);
    let facts = Connection {
        id: thread.next_connection_id(),
        visitor,
        local: SocketAddr::new(local.ip().to_canonical(), local.port()),
        tls: None,
        http3_port: settings.http3_port,
        held: Tally::default(),
        waiting: Waiting::default(),
    };
    let deadline = thread.deadlines.slot();
    let count = OpenCount::new(thread, network);
    if settings.is_tls || settings.allows_h2c || has_proxy {
        let busy =
            Box::pin(find_out(Rc::clone(thread), Rc::clone(settings), tcp, facts, deadline, has_proxy));
        tokio::task::spawn_local(Visitor::begin(count, busy));
    } else {
        let times = thread.times();
        let idle = Idle { conn: Conn::plain(tcp), facts: Rc::new(facts), deadline, times };
        tokio::task::spawn_local(Visitor::idle(count, idle));
    }
}

/// What a visitor without TLS is told that finds no room (RFC 9110 §15.6.4).
const NO_ROOM: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\n\
                         Connection: close\r\n\r\n";

async fn find_out<S: Service>(
    thread: Rc<Thread<S>>,
    settings: Rc<TcpListenerSettings>,
    mut tcp: TcpStream,
    mut facts: Connection,
    deadline: Deadline,
    has_proxy: bool,
) -> Option<Idle> {
    deadline.arm_unproven(HANDSHAKE_MS);
    let mut bytes = Vec::new();
    if has_proxy {
        match read_until(&mut tcp, &deadline, &mut bytes, |bytes| match read_proxy_header(bytes) {
            Ok(None) => None,
            other => Some(other),
        })
        .await
        {
            Some(Ok(Some((proxied, len)))) => {
                bytes.drain(..len.min(bytes.len()));
                if let Proxied::From { visitor, local } = proxied {
                    facts.visitor = SocketAddr::new(visitor.ip().to_canonical(), visitor.port());
                    facts.local = SocketAddr::new(local.ip().to_canonical(), local.port());
                }
            }
            _ => {
                thread.service.count(WireEvent::Dropped);
                too_slow(&thread, &facts, &deadline);
                return None;
            }
        }
    }
    if settings.is_tls {
        return secure(thread, tcp, facts, deadline, bytes).await;
    }
    if settings.allows_h2c {
        deadline.arm_unproven(thread.times().head_ms);
        let Some(is_http2) = read_until(&mut tcp, &deadline, &mut bytes, has_preface).await else {
            if !bytes.is_empty() {
                too_slow(&thread, &facts, &deadline);
            }
            return None;
        };
        if is_http2 {
            let conn = Conn::plain(tcp);
            run_http2(&thread, conn, Rc::new(facts), deadline, bytes, thread.times()).await;
            return None;
        }
    }
    let conn = Conn::plain(tcp);
    let times = thread.times();
    let idle = Idle { conn, facts: Rc::new(facts), deadline, times };
    crate::h1::resume(thread, idle, bytes).await
}

async fn run_http2<S: Service>(
    thread: &Rc<Thread<S>>,
    conn: Conn,
    facts: Rc<Connection>,
    deadline: Deadline,
    bytes: Vec<u8>,
    times: VisitorTimes,
) {
    let _speaks = OpenCount::of_protocol(thread, Protocol::Http2);
    crate::h2::serve(Rc::clone(thread), conn, facts, deadline, bytes, times).await;
}

/// Counts what was begun and not ended in time.
fn too_slow<S: Service>(thread: &Thread<S>, facts: &Connection, deadline: &Deadline) {
    if deadline.is_due() {
        thread.service.count(WireEvent::Abuse(Abuse::SlowHandshake, facts.visitor.ip()));
    }
}

/// Whether the bytes are HTTP/2's preface; none while they could still become it.
fn has_preface(bytes: &[u8]) -> Option<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let compared = bytes.len().min(PREFACE.len());
    if bytes.get(..compared) != PREFACE.get(..compared) {
        Some(false)
    } else if compared == PREFACE.len() {
        Some(true)
    } else {
        None
    }
}

/// Reads until `decide` knows; none when the connection ends, stalls or says too much without a decision.
async fn read_until<T>(
    tcp: &mut TcpStream,
    deadline: &Deadline,
    bytes: &mut Vec<u8>,
    decide: impl Fn(&[u8]) -> Option<T>,
) -> Option<T> {
    poll_fn(|cx| {
        deadline.register(cx.waker());
        loop {
            if let Some(decision) = decide(bytes) {
                return Poll::Ready(Some(decision));
            }
            if deadline.is_due() || bytes.len() > HELLO_BYTES {
                return Poll::Ready(None);
            }
            match ready!(poll_append(tcp, cx, bytes)) {
                Ok(read) if read > 0 => {}
                _ => return Poll::Ready(None),
            }
        }
    })
    .await
}

fn poll_append(tcp: &mut TcpStream, cx: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<usize>> {
    with_scratch(|scratch| {
        let read = ready!(poll_read_tcp(tcp, cx, scratch))?;
        bytes.extend_from_slice(scratch.get(..read).unwrap_or_default());
        Poll::Ready(Ok(read))
    })
}

/// A fatal alert in a record of its own (RFC 8446 §6), for handshakes refused before rustls sees them.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// What whoever began without a hello is told: HTTP in HTTP, all else by an alert (RFC 8446 §6).
fn answer_to_no_hello(why: NotHello, bytes: &[u8]) -> &'static [u8] {
    const UNEXPECTED_MESSAGE: &[u8] = &[21, 3, 3, 0, 2, 2, 10];
    const DECODE_ERROR: &[u8] = &[21, 3, 3, 0, 2, 2, 50];
    const HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                          Connection: close\r\n\r\nThis port speaks HTTPS: begin the address with https://\n";
    let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match why {
        NotHello::NotTls if method > 0 && bytes.get(method) == Some(&b' ') => HTTP,
        NotHello::NotTls => UNEXPECTED_MESSAGE,
        NotHello::TooLarge | NotHello::Malformed => DECODE_ERROR,
    }
}

async fn secure<S: Service>(
    thread: Rc<Thread<S>>,
    mut tcp: TcpStream,
    mut facts: Connection,
    deadline: Deadline,
    mut bytes: Vec<u8>,
) -> Option<Idle> {
    let visitor = facts.visitor.ip();
    // Of the visitors' own addresses, also those that a header of the PROXY protocol named. Whoever asks for
    // many is no flood, and its address is proven here.
    let is_proxy = thread.service.is_proxy(visitor);
    let network = if is_proxy { Network::PROXIED } else { Network::of(visitor) };
    let shaking = thread.begin_handshake(network, visitor)?;
    let hello: Option<Result<Hello, NotHello>> =
        read_until(&mut tcp, &deadline, &mut bytes, |bytes| read_hello(bytes).transpose()).await;
    let hello = match hello {
        Some(Ok(hello)) => hello,
        other => {
            if !bytes.is_empty() {
                thread.service.count(WireEvent::HandshakeFailed);
                too_slow(&thread, &facts, &deadline);
            }
            if let Some(Err(why)) = other {
                let _best_effort = tcp.try_write(answer_to_no_hello(why, &bytes));
            }
            return None;
        }
    };
    let Some(choice) = thread.service.tls(&hello) else {
        thread.service.count(WireEvent::HandshakeFailed);
        let _best_effort = tcp.try_write(UNRECOGNIZED_NAME);
        return None;
    };
    if !is_proxy && !thread.service.may_shake(visitor) {
        thread.service.count(WireEvent::Abuse(Abuse::HandshakeFlood, visitor));
        return None;
    }
    let mut tls = Tls::new(choice.config, bytes).ok()?;
    let shaken = poll_fn(|cx| {
        deadline.register(cx.waker());
        match thread.service.shake(|| tls.poll_handshake(&mut tcp, cx)) {
            Poll::Pending if deadline.is_due() => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            polled => polled,
        }
    })
    .await;
    if shaken.is_err() {
        thread.service.count(WireEvent::HandshakeFailed);
        too_slow(&thread, &facts, &deadline);
        return None;
    }
    // Not at the end of this function: over HTTP/2 that is the end of the connection.
    drop(shaking);
    let session = tls.session();
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => TlsVersion::V1_2,
        _ => TlsVersion::V1_3,
    };
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    thread.service.count(WireEvent::Handshake(version));
    let times = thread.times_for(hello.sni.as_deref());
    deadline.hold_for(thread.service.holder(hello.sni.as_deref()));
    facts.tls = Some(Box::new(TlsFacts {
        version,
        sni: hello.sni,
        ja4: Some(hello.ja4),
        has_client_certificate: session.peer_certificates().is_some_and(|chain| !chain.is_empty()),
        verified_for: choice.zone,
    }));
    let conn = Conn::secured(tcp, tls);
    if is_http2 {
        run_http2(&thread, conn, Rc::new(facts), deadline, Vec::new(), times).await;
        return None;
    }
    Some(Idle { conn, facts: Rc::new(facts), deadline, times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_from_their_listener_what_is_asked_for_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            for (address, is_one) in [("127.0.0.1:0", true), ("0.0.0.0:0", false)] {
                let listener = TcpListener::bind(address).await.unwrap();
                let port = listener.local_addr().unwrap().port();
                let inherited = Inherited::of(&listener);
                let _visitor = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (tcp, _) = listener.accept().await.unwrap();
                assert!(inherited.has_no_delay && tcp.nodelay().unwrap());
                assert_eq!(inherited.local.is_some(), is_one, "{address}");
                assert!(inherited.local.is_none_or(|local| local == tcp.local_addr().unwrap()));
            }
        });
    }
}
