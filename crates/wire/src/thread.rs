//! What all connections of one serving thread share.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use exchange::{Deadlines, Holder, Protocol, Request, TlsVersion};

use crate::h1::Work;
use crate::limits::{HANDSHAKES, LOOKED_AT_IN_MS, ROOM_TICKS, SHED_SHARE, WORK_AREAS};
use crate::places::{Network, Places};
use crate::{Abuse, Exchange, Hello};

/// Under which TLS settings a handshake is made.
#[derive(Clone)]
pub struct TlsChoice {
    /// Certificate, versions, client certificates, ALPN, tickets.
    pub config: Arc<rustls::ServerConfig>,
    /// The zone they belong to.
    pub zone: Option<[u8; 16]>,
}

/// What `wire` counts, for the metrics of whoever serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireEvent {
    /// A connection was accepted and speaks this protocol.
    Opened(Protocol),
    /// It is gone.
    Closed(Protocol),
    /// A TLS handshake was completed.
    Handshake(TlsVersion),
    /// A TLS handshake failed, or the server name is not served.
    HandshakeFailed,
    /// A connection was closed unserved: no descriptor, no room, or a bad PROXY header.
    Dropped,
    /// A visitor at this address was ended, refused or asked for a proof because of what it did.
    Abuse(Abuse, IpAddr),
    /// So many idle connections were let go, to make room for others.
    Shed {
        /// For whom they were held, by [`Holder::key`].
        holder: u64,
        /// How many.
        count: usize,
    },
    /// Something in `wire` or in the service panicked; the connection is gone, nothing else is.
    Panicked,
}

/// Who answers.
pub trait Service: 'static {
    /// Answers one exchange. When it returns, the answer is complete or has been aborted.
    ///
    /// Cancel-safe: it is dropped when the visitor's connection dies.
    fn serve(&self, exchange: &mut Exchange) -> impl Future<Output = ()>;

    /// How long visitors may take whose handshake named this server; none if that says nothing, and then
    /// [`Thread::set_times`] holds.
    fn times(&self, server_name: Option<&str>) -> Option<VisitorTimes> {
        let _none_of_its_own = server_name;
        None
    }

    /// For whom the places of visitors are held whose handshake named this server; nobody if that says
    /// nothing. A request says it anew ([`Exchange::hold_for`]).
    fn holder(&self, server_name: Option<&str>) -> Holder {
        let _nobodys = server_name;
        Holder::NOBODY
    }

    /// Chooses the TLS settings for a client hello; none refuses the handshake (`unrecognized_name`).
    fn tls(&self, hello: &Hello) -> Option<TlsChoice>;

    /// Counts something.
    fn count(&self, event: WireEvent);

    /// An outermost poll of a connection begins: a thread whose beats stand still while it burns CPU is
    /// stuck.
    fn beat(&self) {}

    /// Whether connections from this address carry the requests of many, who are named in each: its places
    /// and handshakes are not those of one party. It is asked of addresses that are proven.
    fn is_proxy(&self, peer: IpAddr) -> bool {
        let _each_is_one_party = peer;
        false
    }

    /// Whether there is time for a handshake with this visitor. It is asked once a hello is there, and before
    /// anything is computed for it.
    fn may_shake(&self, visitor: IpAddr) -> bool {
        let _there_always_is = visitor;
        true
    }

    /// Does a part of a handshake, which may be measured.
    fn shake<T>(&self, part: impl FnOnce() -> T) -> T {
        part()
    }

    /// A listener's line of connections was seen to its end, or a batch was taken of it and more wait. Lines
    /// are numbered by thread, from 0 in the order in which it began to accept from them.
    fn took(&self, line: u32, has_taken_all: bool) {
        let _nobody_asks = (line, has_taken_all);
    }
}

/// How long visitors may take before their zone is known, and between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisitorTimes {
    /// Milliseconds from a request's first byte to the end of its head (slow-header attacks).
    pub head_ms: u32,
    /// Milliseconds a connection may be idle between requests.
    pub keepalive_ms: u32,
}

impl Default for VisitorTimes {
    fn default() -> Self {
        Self { head_ms: crate::limits::HEAD_MS, keepalive_ms: crate::limits::KEEP_ALIVE_MS }
    }
}

/// The state of one serving thread, shared by its connections.
pub struct Thread<S> {
    /// Who answers.
    pub service: Rc<S>,
    /// The thread's deadlines; the wiring sweeps them.
    pub deadlines: Rc<Deadlines>,
    /// Most connections this thread holds at once; further ones are closed on arrival.
    pub connections_max: usize,
    number: u64,
    #[expect(
        clippy::vec_box,
        reason = "a work area changes hands at each request: a pointer, not 400 bytes"
    )]
    works: RefCell<Vec<Box<Work>>>,
    requests: RefCell<Vec<Request>>,
    date: RefCell<[u8; 29]>,
    places: Places,
    /// Connections that may still come before idle ones are looked for again.
    room: Cell<usize>,
    /// The tick at which none was idle.
    none_idle_at: Cell<Option<u32>>,
    /// A newcomer waited as long as any may, and found no room: those after it are turned away at once,
    /// until somebody finds some.
    is_without_room: Cell<bool>,
    next_id: Cell<u64>,
    next_line: Cell<u32>,
    is_draining: Rc<Cell<bool>>,
    is_last: Cell<bool>,
    /// UDP sockets that are read.
    quic_sockets: Cell<usize>,
    quic: Cell<QuicStay>,
    times: Cell<VisitorTimes>,
}

/// How long a thread that drains goes on reading its UDP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum QuicStay {
    /// Until its last connection has ended, and what may still come for that has come.
    ToTheEnd,
    /// Until its last connection has ended.
    WhileOpen,
    /// No longer: what is open is closed.
    Over,
}

impl<S: Service> Thread<S> {
    /// The state of thread `number` (0 to 255), which becomes the top byte of its connections' ids.
    pub fn new(service: Rc<S>, deadlines: Rc<Deadlines>, number: u8, connections_max: usize) -> Rc<Self> {
        Rc::new(Self {
            service,
            deadlines,
            connections_max,
            number: u64::from(number) << 56,
            works: RefCell::default(),
            requests: RefCell::default(),
            date: RefCell::new(*b"Thu, 01 Jan 1970 00:00:00 GMT"),
            places: Places::default(),
            room: Cell::new(0),
            none_idle_at: Cell::new(None),
            is_without_room: Cell::new(false),
            next_id: Cell::new(1),
            next_line: Cell::new(0),
            is_draining: Rc::default(),
            is_last: Cell::new(false),
            quic_sockets: Cell::new(0),
            quic: Cell::new(QuicStay::ToTheEnd),
            times: Cell::default(),
        })
    }

    /// Sets the text of `Date` (RFC 9110 §5.6.7), once a second.
    pub fn set_date(&self, date: [u8; 29]) {
        *self.date.borrow_mut() = date;
    }

    /// The text of `Date`.
    pub fn date(&self) -> [u8; 29] {
        *self.date.borrow()
    }

    /// The same, to be asked later.
    pub(crate) fn draining(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.is_draining)
    }

    /// Sets how long visitors may take, for what begins from now on.
    pub fn set_times(&self, times: VisitorTimes) {
        self.times.set(times);
    }

    /// Those of visitors whose zone is not known.
    pub(crate) fn times(&self) -> VisitorTimes {
        self.times.get()
    }

    /// Those of visitors whose handshake named a server, or none.
    pub(crate) fn times_for(&self, server_name: Option<&str>) -> VisitorTimes {
        self.service.times(server_name).unwrap_or_else(|| self.times())
    }

    /// Connections open on this thread.
    pub fn open(&self) -> usize {
        self.places.open()
    }

    /// TLS handshakes under way on this thread, over TCP and QUIC.
    pub fn handshakes(&self) -> usize {
        self.places.shaking()
    }

    /// Makes room for a newcomer once the thread holds nearly as many connections as it may; whether there is
    /// some. For a network that holds much there is less. Those that are let go are still counted for a
    /// moment, so that it may be a few more. Who is turned away is counted by [`Thread::found_no_room`].
    pub(crate) fn finds_room(&self, network: Network) -> bool {
        let has_room = self.has_room(self.connections_max - self.reserved_from(network));
        if has_room {
            self.is_without_room.set(false);
        }
        has_room
    }

    fn reserved_from(&self, network: Network) -> usize {
        self.places.reserved_from(network, self.connections_max)
    }

    /// Whether a newcomer that finds no room is to wait for some, and others behind it. One of a network that
    /// holds much is not; and nobody is where one has waited in vain and none has found room since, nor while
    /// the thread drains: whoever is told so at once comes again, to who serves next.
    pub(crate) fn may_wait_for_room(&self, network: Network) -> bool {
        !self.is_without_room.get() && !self.is_draining() && self.reserved_from(network) == 0
    }

    /// As [`Thread::finds_room`], for whoever may wait for a moment. Those that came right before it have
    /// said nothing yet. Within a moment they have, and then it is known which of them are of a zone that
    /// holds more than its share; those that say nothing at all may go a second after they came. It ends at
    /// once when the thread begins to drain.
    pub(crate) async fn wait_for_room(&self, network: Network) -> bool {
        let since = self.deadlines.now();
        // Who was let go leaves now, and who has come is read.
        tokio::task::yield_now().await;
        loop {
            self.none_idle_at.set(None);
            if self.finds_room(network) {
                return true;
            }
            let has_waited = self.deadlines.now().wrapping_sub(since) >= ROOM_TICKS;
            if has_waited || !self.may_wait_for_room(network) {
                self.is_without_room.set(self.is_without_room.get() || has_waited);
                return false;
            }
            // So that looking at all places takes no more than a tenth of the time.
            let ms = 1 + self.deadlines.slots() / LOOKED_AT_IN_MS;
            tokio::time::sleep(Duration::from_millis(ms as u64)).await;
        }
    }

    /// Counts a newcomer that is turned away.
    pub(crate) fn found_no_room(&self, network: Network, visitor: IpAddr) {
        self.service.count(WireEvent::Dropped);
        if self.reserved_from(network) > 0 {
            self.service.count(WireEvent::Abuse(Abuse::ConnectionFlood, visitor));
        }
    }

    /// Whether places are so short that others are let go for newcomers.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.open() + self.batch() >= self.connections_max
    }

    fn batch(&self) -> usize {
        (self.connections_max / SHED_SHARE).max(1)
    }

    fn has_room(&self, most: usize) -> bool {
        let (open, batch) = (self.open(), self.batch());
        if open + batch < most {
            return true;
        }
        // So many were let go and are still to leave.
        if open >= most + batch {
            return false;
        }
        let room = match self.room.get() {
            0 => self.shed(batch),
            left => left,
        };
        self.room.set(room.saturating_sub(1));
        open < most || room > 0
    }

    /// Takes a place among the handshakes under way; none, which is counted, where there is no room or no
    /// time for the visitor's.
    pub(crate) fn begin_handshake(self: &Rc<Self>, network: Network, visitor: IpAddr) -> Option<Shaking<S>> {
        let has_room = self.places.shaking() < HANDSHAKES
            || self.deadlines.shed_unproven((HANDSHAKES / SHED_SHARE).max(1)) > 0;
        if !has_room || !self.places.may_shake(network) {
            self.service.count(WireEvent::Abuse(Abuse::HandshakeFlood, visitor));
            return None;
        }
        self.places.began(network);
        Some(Shaking { thread: Rc::clone(self), network })
    }

    /// Lets a share of the connections go that are idle ([`Deadlines::shed`]); gives how many.
    pub(crate) fn shed_some(&self) -> usize {
        self.shed(self.batch())
    }

    fn shed(&self, count: usize) -> usize {
        // Each look costs time for every connection there is.
        if self.none_idle_at.get() == Some(self.deadlines.now()) {
            return 0;
        }
        let gone = self.deadlines.shed(count);
        self.none_idle_at.set(gone.is_empty().then(|| self.deadlines.now()));
        let of_each = gone.into_iter().map(|(holder, count)| {
            self.service.count(WireEvent::Shed { holder, count });
            count
        });
        of_each.sum()
    }

    /// Begins to drain: listeners stop accepting, HTTP/1 answers carry `Connection: close`, HTTP/2 and /3
    /// connections send GOAWAY and end with their last stream.
    pub fn drain(&self) {
        self.is_draining.set(true);
        // Listeners and multiplexed connections have registered their deadlines, and look.
        self.deadlines.wake_all();
    }

    /// As [`Thread::drain`], when nobody accepts after this thread: what waits at a listener by then is taken
    /// yet, since it would be reset with the listener.
    pub fn drain_as_last(&self) {
        self.is_last.set(true);
        self.drain();
    }

    pub(crate) fn is_last(&self) -> bool {
        self.is_last.get()
    }

    /// Whether [`Thread::drain`] was called.
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Lets go of the UDP sockets of a thread that drains, since another process is to read them: as soon as
    /// no QUIC connection is open, or with `at_once` by closing those that are (`H3_NO_ERROR`, RFC 9114
    /// §5.3). It takes a few polls: see [`Thread::reads_quic`].
    pub fn let_go_of_quic(&self, at_once: bool) {
        self.quic.set(if at_once { QuicStay::Over } else { self.quic.get().max(QuicStay::WhileOpen) });
        self.deadlines.wake_all();
    }

    /// Whether a UDP socket is still read.
    pub fn reads_quic(&self) -> bool {
        self.quic_sockets.get() > 0
    }

    pub(crate) fn quic_stay(&self) -> QuicStay {
        self.quic.get()
    }

    pub(crate) fn count_quic_socket(&self, is_read: bool) {
        let sockets = self.quic_sockets.get();
        self.quic_sockets.set(if is_read { sockets + 1 } else { sockets.saturating_sub(1) });
    }

    /// The number of a listener's line of connections.
    pub(crate) fn next_line(&self) -> u32 {
        let line = self.next_line.get();
        self.next_line.set(line.wrapping_add(1));
        line
    }

    pub(crate) fn next_connection_id(&self) -> u64 {
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        self.number | (id & ((1 << 56) - 1))
    }

    pub(crate) fn take_work(&self) -> Box<Work> {
        self.works.borrow_mut().pop().unwrap_or_default()
    }

    /// A request with memory, for a protocol that has no work area.
    pub(crate) fn take_request(&self) -> Request {
        self.requests.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn put_request(&self, mut request: Request) {
        let mut requests = self.requests.borrow_mut();
        if requests.len() < WORK_AREAS {
            request.clear();
            requests.push(request);
        }
    }

    pub(crate) fn put_work(&self, mut work: Box<Work>) {
        let mut works = self.works.borrow_mut();
        if works.len() < WORK_AREAS {
            work.clear();
            works.push(work);
        }
    }
}

/// Lets the service answer. A panic ends this exchange alone: it is counted, and the answer is given up.
pub(crate) async fn serve_contained<S: Service>(thread: &Thread<S>, exchange: &mut Exchange) {
    let is_served = {
        let mut serving = pin!(thread.service.serve(exchange));
        poll_fn(|cx| {
            // What the exchange left half done is dropped with it; the service's own state is cells that are
            // whole between borrows.
            match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(cx))) {
                Ok(polled) => polled.map(|()| true),
                Err(_) => Poll::Ready(false),
            }
        })
        .await
    };
    if !is_served {
        thread.service.count(WireEvent::Panicked);
        exchange.abort();
    }
}

/// Counts one open connection for as long as it lives; its protocol once that is known.
pub(crate) struct OpenCount<S: Service> {
    pub(crate) thread: Rc<Thread<S>>,
    network: Network,
    protocol: Option<Protocol>,
    is_open: bool,
}

impl<S: Service> OpenCount<S> {
    pub(crate) fn new(thread: &Rc<Thread<S>>, network: Network) -> Self {
        thread.places.opened(network);
        Self { thread: Rc::clone(thread), network, protocol: None, is_open: true }
    }

    /// Counts the protocol alone, of a connection that is counted as open already.
    pub(crate) fn of_protocol(thread: &Rc<Thread<S>>, protocol: Protocol) -> Self {
        let network = Network::PROXIED;
        let mut count = Self { thread: Rc::clone(thread), network, protocol: None, is_open: false };
        count.speaks(protocol);
        count
    }

    /// The connection speaks HTTP/1, seen at its first request or before.
    pub(crate) fn speaks(&mut self, protocol: Protocol) {
        if self.protocol.is_none() {
            self.protocol = Some(protocol);
            self.thread.service.count(WireEvent::Opened(protocol));
        }
    }
}

impl<S: Service> Drop for OpenCount<S> {
    fn drop(&mut self) {
        if self.is_open {
            self.thread.places.closed(self.network);
        }
        if let Some(protocol) = self.protocol {
            self.thread.service.count(WireEvent::Closed(protocol));
        }
    }
}

/// A handshake under way, counted for as long as this lives.
pub(crate) struct Shaking<S: Service> {
    thread: Rc<Thread<S>>,
    network: Network,
}

impl<S: Service> Drop for Shaking<S> {
    fn drop(&mut self) {
        self.thread.places.ended(self.network);
    }
}

/// A service for tests that ask what `wire` itself weighs.
#[cfg(test)]
pub(crate) mod silent {
    use super::{Exchange, Service};
    use crate::{Hello, TlsChoice, WireEvent};

    pub(crate) struct Silent;

    impl Service for Silent {
        async fn serve(&self, _exchange: &mut Exchange) {}

        fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
            None
        }

        fn count(&self, _event: WireEvent) {}
    }
}
