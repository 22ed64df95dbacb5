//! Opens a connection to the chosen origin, or finds an open one.
//!
//! In this order: an HTTP/2 connection of this thread with room for a stream, an idle HTTP/1 connection of
//! this thread, one parked for all threads, a new one. At the limit of connections an exchange waits for one
//! to be closed or parked, at most as long as a connection may take to be made, with at most 1,024 others.
//! What it does not do: it sends nothing but the PROXY header. Called by `edge` through
//! [`Origins::open`]. Read next: `stream.rs`, `link.rs`.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;

use exchange::{Deadline, Fault};
use rustls::ClientConnection;
use tokio::net::{TcpStream, UnixStream};
use zone::{OriginProtocol, OriginScheme, Pool, ProxyVersion};

use crate::choose::Chosen;
use crate::fleet::{OriginState, Permit};
use crate::http1_link::Http1;
use crate::http2_link::{Http2Connection, Http2Stream, Made};
use crate::link::Link;
use crate::origins::{Local, Origins};
use crate::parking;
use crate::proxy_protocol;
use crate::stream::{Socket, Stream, connect_fault};
use crate::tls::{Contexts, Offer};

/// HTTP/2 connections of one thread to one origin. With the usual limit of 100 streams each that is 1,600
/// exchanges; more wait for room.
const HTTP2_CONNECTIONS_MAX: usize = 16;

/// Exchanges that wait for a connection to one origin, over the whole node. They wait a connect time-out at
/// most; more than this would mean more waiting than working.
const WAITING_MAX: usize = 1024;

/// A connection just made.
enum Opened {
    Http1(Box<Http1>),
    Http2(Rc<Http2Connection>),
}

/// Runs `work` until it is done or `ms` milliseconds have passed (0: for ever).
pub(crate) async fn within<T>(
    deadline: &Deadline,
    ms: u64,
    late: Fault,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    deadline.arm(u32::try_from(ms).unwrap_or(u32::MAX));
    let mut work = pin!(work);
    let result = poll_fn(|cx| {
        deadline.register(cx.waker());
        match work.as_mut().poll(cx) {
            Poll::Pending if deadline.is_due() => Poll::Ready(Err(late)),
            poll => poll,
        }
    })
    .await;
    deadline.disarm();
    result
}

/// Counts a waiter as long as it lives.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Which protocols to offer, or to speak by prior knowledge on cleartext.
fn offer_to(origin: &zone::Origin, needs_http1: bool) -> Offer {
    match origin.scheme {
        OriginScheme::Https => Offer::of(origin.protocol, needs_http1),
        _ if origin.protocol == OriginProtocol::Http2 => Offer::Http2,
        _ => Offer::Http1,
    }
}

/// Whom a connection is made to, as what, and for whom.
struct Target<'a> {
    pool: &'a Pool,
    origin: &'a zone::Origin,
    offer: Offer,
    fingerprint: u64,
    /// The origin's HTTP/2 settings must be known before the request: it is for a WebSocket.
    awaits_settings: bool,
    visitor: SocketAddr,
    local: SocketAddr,
}

impl Origins {
    /// Whom a connection for this choice is made to.
    fn target<'a>(
        &self,
        chosen: &'a Chosen,
        visitor: SocketAddr,
        local: SocketAddr,
    ) -> Result<(Target<'a>, &'a Rc<Local>), Fault> {
        let view = &chosen.view;
        let origin = chosen.origin().ok_or(Fault::ProxyInternalError)?;
        let home = view.locals.get(chosen.index).ok_or(Fault::ProxyInternalError)?;
        let fingerprint = view.targets.get(chosen.index).copied().ok_or(Fault::ProxyInternalError)?;
        let (pool, awaits_settings) = (&*view.pool, chosen.needs_http1);
        let offer = offer_to(origin, chosen.needs_http1);
        Ok((Target { pool, origin, offer, fingerprint, awaits_settings, visitor, local }, home))
    }

    /// An open connection for this choice, if there is one: the part of [`Origins::open`] that never waits.
    ///
    /// A stream on one of this thread's HTTP/2 connections, or an idle HTTP/1 connection of this thread or
    /// parked by any. None where each connection must be the visitor's own (PROXY protocol).
    ///
    /// A request that `may_repeat` takes any; one that must not be sent twice takes an HTTP/1 connection
    /// only if the origin cannot be about to close it, as far as that can be told: in use within the last
    /// second, but not within the last 50 ms, and nothing heard of it since.
    pub fn reuse(&self, chosen: &Chosen, may_repeat: bool) -> Option<Link> {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let (target, home) = self.target(chosen, nobody, nobody).ok()?;
        if target.pool.proxy_protocol.is_some() {
            return None;
        }
        if target.offer != Offer::Http1
            && let Some(stream) = self.http2_stream(home, target.fingerprint)
        {
            return Some(self.link_http2(home, stream, true));
        }
        if target.offer == Offer::Http2 || target.pool.keepalive_ms == 0 {
            return None;
        }
        let connection = match may_repeat {
            true => self.idle(&target, home)?,
            false => home.take_settled(target.fingerprint, self.now_ms())?,
        };
        home.state.reused.fetch_add(1, Relaxed);
        Some(self.link_http1(home, connection, true))
    }

    /// Opens a connection to the chosen origin, or takes an open one if `may_reuse`.
    ///
    /// `visitor` and `local` are the ends of the visitor's connection, for the PROXY protocol; a connection
    /// that begins with its header serves this visitor only. Waits at most the pool's `connect_ms` for the
    /// name, as long again for the connection (all addresses together), and `tls_ms` for TLS. Dropping the
    /// future closes what was begun.
    ///
    /// # Errors
    ///
    /// The fault of the step that failed; [`Fault::ConnectionLimitReached`] if the limit is reached and
    /// either too many wait already or none became free in time.
    pub async fn open(
        &self,
        chosen: &Chosen,
        may_reuse: bool,
        visitor: SocketAddr,
        local: SocketAddr,
    ) -> Result<Link, Fault> {
        if may_reuse && let Some(link) = self.reuse(chosen, true) {
            return Ok(link);
        }
        let (target, home) = self.target(chosen, visitor, local)?;
        let Target { pool, offer, .. } = target;
        let is_shared = pool.proxy_protocol.is_none() && pool.keepalive_ms > 0;
        let may_share_http2 = pool.proxy_protocol.is_none() && offer != Offer::Http1;
        if may_share_http2
            && (offer == Offer::Http2 || home.is_http2.get())
            && let Some(link) = self.open_http2(&target, home).await?
        {
            return Ok(link);
        }
        let deadline = self.deadlines.slot();
        let permit = match self.permit_or_idle(&target, home, may_reuse && is_shared, &deadline).await? {
            Ok(permit) => permit,
            Err(connection) => return Ok(self.link_http1(home, connection, true)),
        };
        match self.connect(&target, permit, &deadline).await? {
            Opened::Http1(connection) => {
                if offer == Offer::Both {
                    home.is_http2.set(false);
                }
                Ok(self.link_http1(home, connection, is_shared))
            }
            Opened::Http2(connection) => {
                home.is_http2.set(offer == Offer::Both);
                let stream = Http2Stream::reserve(&connection).ok_or(Fault::ConnectionTerminated)?;
                if may_share_http2 {
                    home.http2.borrow_mut().push(connection);
                }
                Ok(self.link_http2(home, stream, false))
            }
        }
    }

    fn link_http1(&self, home: &Rc<Local>, connection: Box<Http1>, is_kept: bool) -> Link {
        Link::http1(self.me.clone(), is_kept.then(|| Rc::clone(home)), connection)
    }

    fn link_http2(&self, home: &Rc<Local>, stream: Http2Stream, is_reused: bool) -> Link {
        if is_reused {
            home.state.reused.fetch_add(1, Relaxed);
        }
        Link::http2(self.me.clone(), stream, is_reused)
    }

    /// An idle HTTP/1 connection: this thread's own, or one that any thread parked.
    fn idle(&self, target: &Target<'_>, home: &Local) -> Option<Box<Http1>> {
        if let Some(own) = home.take(target.fingerprint, self.now_ms()) {
            return Some(own);
        }
        let (stream, permit, label) =
            parking::take(&home.state, target.fingerprint, target.pool.keepalive_ms, self.now_ms())?;
        let mut connection = Http1::new(stream, permit, target.fingerprint, label, Vec::new());
        connection.is_reused = true;
        connection.is_fresh().then(|| Box::new(connection))
    }

    /// A stream on an HTTP/2 connection of this thread.
    fn http2_stream(&self, home: &Local, fingerprint: u64) -> Option<Http2Stream> {
        let mut list = home.http2.borrow_mut();
        list.retain(|connection| connection.target == fingerprint && !connection.is_closed());
        list.iter().find_map(Http2Stream::reserve)
    }

    /// A stream on a new HTTP/2 connection, or on one that another exchange opened meanwhile. None if the
    /// exchange before found out that the origin speaks HTTP/1 after all.
    async fn open_http2(&self, target: &Target<'_>, home: &Rc<Local>) -> Result<Option<Link>, Fault> {
        let deadline = self.deadlines.slot();
        let Target { pool, fingerprint, .. } = *target;
        let wait_ms = pool.timeouts.connect_ms + pool.timeouts.tls_ms;
        let turn = async { Ok(home.opening.lock().await) };
        let turn = within(&deadline, wait_ms, Fault::ConnectionTimeout, turn).await;
        // Where it has connections, those in front waited for a stream on one of them: it is this node's own
        // limit, and no failure of the origin's.
        let is_connected = !home.http2.borrow().is_empty();
        let _turn = turn.map_err(|late| if is_connected { Fault::ConnectionLimitReached } else { late })?;
        if let Some(stream) = self.http2_stream(home, fingerprint) {
            return Ok(Some(self.link_http2(home, stream, true)));
        }
        if target.offer == Offer::Both && !home.is_http2.get() {
            return Ok(None);
        }
        let (is_first, is_full) = {
            let list = home.http2.borrow();
            (list.is_empty(), list.len() >= HTTP2_CONNECTIONS_MAX)
        };
        // HTTP/2 connections stay with their thread, so a limit below the number of threads would leave some
        // without any: a thread's first is always allowed.
        let max = if is_first { None } else { pool.max_connections };
        if is_full || !home.state.may_connect(max) {
            // Streams end without a word to us: look again each time somebody else's turn would come.
            let room = poll_fn(|cx| match self.http2_stream(home, fingerprint) {
                Some(stream) => Poll::Ready(Ok(stream)),
                None => {
                    home.http2.borrow().iter().for_each(|connection| connection.wake_when_free(cx));
                    Poll::Pending
                }
            });
            let late = Fault::ConnectionLimitReached;
            let stream = within(&deadline, pool.timeouts.connect_ms, late, room).await?;
            return Ok(Some(self.link_http2(home, stream, true)));
        }
        let permit = Permit::taken(&home.state);
        match self.connect(target, permit, &deadline).await? {
            Opened::Http2(connection) => {
                let stream = Http2Stream::reserve(&connection).ok_or(Fault::ConnectionTerminated)?;
                home.http2.borrow_mut().push(connection);
                Ok(Some(self.link_http2(home, stream, false)))
            }
            Opened::Http1(connection) => {
                home.is_http2.set(false);
                Ok(Some(self.link_http1(home, connection, pool.keepalive_ms > 0)))
            }
        }
    }

    /// A place among the open connections, or a connection that became idle while waiting for one. Who cannot
    /// use an idle one has the place of the oldest, which is closed.
    async fn permit_or_idle(
        &self,
        target: &Target<'_>,
        home: &Local,
        may_reuse: bool,
        deadline: &Deadline,
    ) -> Result<Result<Permit, Box<Http1>>, Fault> {
        let state: &Arc<OriginState> = &home.state;
        let max = target.pool.max_connections;
        let may_reuse = may_reuse && target.offer != Offer::Http2;
        let look = || {
            loop {
                if state.may_connect(max) {
                    return Some(Ok(Permit::taken(state)));
                }
                if may_reuse {
                    let connection = self.idle(target, home)?;
                    state.reused.fetch_add(1, Relaxed);
                    return Some(Err(connection));
                }
                if !home.close_oldest() {
                    return None;
                }
            }
        };
        if let Some(found) = look() {
            return Ok(found);
        }
        let waiting = state.waiting.fetch_add(1, Relaxed) as usize;
        let _waiting = Waiting(&state.waiting);
        if waiting >= WAITING_MAX {
            return Err(Fault::ConnectionLimitReached);
        }
        let freed = async {
            loop {
                // Registered before looking, so that what happens in between is not missed.
                let released = state.released.notified();
                let mut released = pin!(released);
                released.as_mut().enable();
                if let Some(found) = look() {
                    return Ok(found);
                }
                released.await;
            }
        };
        within(deadline, target.pool.timeouts.connect_ms, Fault::ConnectionLimitReached, freed).await
    }

    /// Makes a connection: name, socket, PROXY header, TLS, and the start of HTTP/2 where it is spoken.
    async fn connect(
        &self,
        target: &Target<'_>,
        permit: Permit,
        deadline: &Deadline,
    ) -> Result<Opened, Fault> {
        let Target { pool, origin, .. } = *target;
        let (socket, label) = self.socket(pool, origin, deadline).await?;
        let mut preamble = Vec::new();
        match pool.proxy_protocol {
            Some(ProxyVersion::V1) => proxy_protocol::write_v1(&mut preamble, target.visitor, target.local),
            Some(ProxyVersion::V2) => proxy_protocol::write_v2(&mut preamble, target.visitor, target.local),
            None => {}
        }
        let late = Fault::ConnectionTimeout;
        let mut stream = Stream::plain(socket);
        let is_tls = origin.scheme == OriginScheme::Https;
        if !preamble.is_empty() && (is_tls || target.offer == Offer::Http2) {
            // Before TLS, and before the preface of HTTP/2; over plain HTTP/1 it leaves with the head.
            let whole = async { write_whole(&mut stream, &preamble).await };
            within(deadline, pool.timeouts.connect_ms, late, whole).await?;
            preamble.clear();
        }
        if is_tls {
            let config = self.fleet.tls.config(pool, target.offer)?;
            let name = Contexts::server_name(pool, origin)?;
            let session = ClientConnection::new(config, name).map_err(|_| Fault::ProxyConfigurationError)?;
            let handshake = stream.into_tls(session);
            stream = within(deadline, pool.timeouts.tls_ms, late, handshake).await?;
        }
        let is_http2 = match target.offer {
            Offer::Http1 => false,
            Offer::Http2 if is_tls && stream.alpn() != Some(b"h2") => return Err(Fault::TlsProtocolError),
            Offer::Http2 => true,
            Offer::Both => stream.alpn() == Some(b"h2"),
        };
        if !is_http2 {
            let connection = Http1::new(stream, permit, target.fingerprint, label, preamble);
            return Ok(Opened::Http1(Box::new(connection)));
        }
        let made = Made { permit, target: target.fingerprint, label, is_tls };
        let (probe_slot, probe_ms) = (self.deadlines.slot(), pool.timeouts.connect_ms);
        let start = Http2Connection::start(stream, made, target.awaits_settings, probe_slot, probe_ms);
        Ok(Opened::Http2(within(deadline, pool.timeouts.connect_ms, late, start).await?))
    }

    async fn socket(
        &self,
        pool: &Pool,
        origin: &zone::Origin,
        deadline: &Deadline,
    ) -> Result<(Socket, Arc<str>), Fault> {
        let connect_ms = pool.timeouts.connect_ms;
        if origin.scheme == OriginScheme::Unix {
            let connect = async { UnixStream::connect(&origin.host).await.map_err(|e| connect_fault(&e)) };
            let unix = within(deadline, connect_ms, Fault::ConnectionTimeout, connect).await?;
            return Ok((Socket::Unix(unix), format!("unix:{}", origin.host).into()));
        }
        let resolve = self.resolver.resolve(&origin.host, origin.port, self.now_ms());
        let addresses = within(deadline, connect_ms, Fault::DnsTimeout, resolve).await?;
        // Each address but the last leaves half of the time to those after it.
        let mut left_ms = connect_ms;
        let mut fault = Fault::DnsError;
        for (at, address) in addresses.iter().enumerate() {
            let share_ms = if at + 1 == addresses.len() { left_ms } else { (left_ms / 2).max(1) };
            left_ms = left_ms.saturating_sub(share_ms).max(1);
            let connect = async { TcpStream::connect(address).await.map_err(|e| connect_fault(&e)) };
            match within(deadline, share_ms, Fault::ConnectionTimeout, connect).await {
                Ok(tcp) => {
                    let _ = tcp.set_nodelay(true); // without it TLS peers stall for 40 ms; no harm if refused
                    return Ok((Socket::Tcp(tcp), address.to_string().into()));
                }
                Err(other) => fault = other,
            }
        }
        Err(fault)
    }

    /// A new connection outside of all pools and limits, for a health check. `offer` follows the origin.
    pub(crate) async fn open_apart(
        &self,
        pool: &Arc<Pool>,
        origin: &zone::Origin,
        state: &Arc<OriginState>,
    ) -> Result<Link, Fault> {
        let offer = offer_to(origin, false);
        let own = SocketAddr::from(([127, 0, 0, 1], 0));
        let target =
            Target { pool, origin, offer, fingerprint: 0, awaits_settings: false, visitor: own, local: own };
        // A check counts as a connection, but no limit may keep it from being made.
        let _ = state.may_connect(None);
        let deadline = self.deadlines.slot();
        match self.connect(&target, Permit::taken(state), &deadline).await? {
            Opened::Http1(connection) => Ok(Link::http1(self.me.clone(), None, connection)),
            Opened::Http2(connection) => {
                let stream = Http2Stream::reserve(&connection).ok_or(Fault::ConnectionTerminated)?;
                Ok(Link::http2(self.me.clone(), stream, false))
            }
        }
    }
}

async fn write_whole(stream: &mut Stream, bytes: &[u8]) -> Result<(), Fault> {
    let mut left = bytes;
    poll_fn(|cx| {
        while !left.is_empty() {
            match stream.poll_write_parts(cx, &[io::IoSlice::new(left)]) {
                Poll::Ready(Ok(count)) => left = left.get(count..).unwrap_or_default(),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::ConnectionTerminated)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}
