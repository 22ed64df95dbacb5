//! The loop: accepts, reads the server name, connects, forwards, refuses, and hands back.
//!
//! One thread, nothing that blocks. Time comes from the caller's clock. Deadlines are swept every tick, which
//! costs less than a timer for each and forgets none. Read next: [`serve`], then [`Server::advance`], which
//! says what becomes of a connection at each event.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, getsockname, sockopt};

use crate::answer::{Alert, has_head_end, proxy_header, proxy_header_end, unavailable};
use crate::connection::{Connection, Places, Side, Stage, Token};
use crate::counters::{Counters, Refusal, add};
use crate::flow::{Flow, may_block};
use crate::hello::{NotHello, read_hello};
use crate::limits::{
    ACCEPTS_PER_TURN, CHUNK_BYTES, EVENTS_PER_TURN, HEAD_BYTES_MAX, HELLO_BYTES_MAX, LINGER_BYTES, Settings,
    TICK_MS,
};
use crate::origins::{Down, begin_connect, counted_as, is_own};
use crate::table::{Proxy, Table};
use crate::watch::{EventFlags, Watch, is_ready};

/// What visitors of a listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS.
    Https,
    /// Cleartext HTTP.
    Http,
}

/// A TCP socket that listens already, and non-blocking. It is borrowed: [`serve`] neither binds nor closes it
/// nor changes it, so that what waits in its queue stays there for others who hold it.
#[derive(Clone, Copy, Debug)]
pub struct Listener<'a> {
    /// The socket.
    pub socket: BorrowedFd<'a>,
    /// What its visitors speak.
    pub protocol: Protocol,
    /// Whether a balancer in front sends a PROXY header first. It is passed on as it came to origins that
    /// want one, of whatever version, and dropped for the others. Whoever reaches the listener is believed.
    /// The limit per address does not hold here, since the address is the balancer's.
    pub is_proxied: bool,
}

/// How [`serve`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Connections cut off at the end of the drain.
    pub cut: usize,
}

/// Serves until told to stop, then until the last connection has ended or the drain is over.
///
/// `orders` is the reading end of a pipe or a stream socket: any byte on it stops, and so does its hang-up,
/// for then nobody is left who could. From the moment a stop can be read, no connection is accepted but one
/// that is being accepted right then; what is open may end. The table does not change: who writes one is an
/// edge that serves, and then this ends. `clock` is the monotonic clock.
///
/// # Errors
/// When epoll cannot be used, or a listener is not a listening, non-blocking TCP socket. Connections never
/// end it.
pub fn serve(
    listeners: &[Listener<'_>],
    table: &Table,
    orders: BorrowedFd<'_>,
    settings: &Settings,
    clock: &dyn Fn() -> Instant,
    counters: &Counters,
) -> io::Result<Ended> {
    let mut now = clock();
    let mut server = Server {
        watch: Watch::new()?,
        own: listeners.iter().map(address_of).collect::<io::Result<_>>()?,
        listeners,
        listening: EventFlags::empty(),
        accept_from: now,
        orders,
        orders_watched: EventFlags::empty(),
        drained_at: None,
        table,
        places: Places::default(),
        per_address: HashMap::new(),
        down: Down::default(),
        scratch: vec![0; CHUNK_BYTES].into(),
        settings,
        counters,
    };
    server.watch.change(orders, ORDERS, &mut server.orders_watched, EventFlags::IN)?;
    counters.entries.store(table.len() as u64, Ordering::Relaxed);
    let tick = Duration::from_millis(TICK_MS);
    let mut sweep_at = now;
    let mut events = Vec::with_capacity(EVENTS_PER_TURN);
    loop {
        server.listen(now)?;
        if let Some(drained_at) = server.drained_at
            && (server.places.open() == 0 || drained_at <= now)
        {
            let cut = server.places.open();
            counters.open.store(0, Ordering::Relaxed);
            return Ok(Ended { cut });
        }
        server.watch.wait(&mut events, tick)?;
        now = clock();
        for (token, ready) in events.drain(..) {
            match token {
                ORDERS => server.take_orders(now)?,
                listener if listener <= u64::from(u32::MAX) => server.accept(listener as usize, now),
                _ => server.turn(Token::from_u64(token), Some(ready), now),
            }
        }
        if sweep_at <= now {
            sweep_at = now + tick;
            for token in server.places.due(now) {
                server.turn(token, None, now);
            }
        }
    }
}

/// The token of the descriptor of orders; listeners have their index.
const ORDERS: u64 = u32::MAX as u64;

struct Server<'a> {
    watch: Watch,
    listeners: &'a [Listener<'a>],
    /// Their addresses.
    own: Vec<SocketAddr>,
    /// What they are all watched for.
    listening: EventFlags,
    /// Before then nothing is accepted.
    accept_from: Instant,
    orders: BorrowedFd<'a>,
    orders_watched: EventFlags,
    /// Set by the order to stop.
    drained_at: Option<Instant>,
    table: &'a Table,
    places: Places,
    per_address: HashMap<IpAddr, usize>,
    down: Down,
    scratch: Box<[u8]>,
    settings: &'a Settings,
    counters: &'a Counters,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Stay,
    Close,
}
use Next::{Close, Stay};

impl Server<'_> {
    /// Watches the listeners while something may be accepted, and else leaves their queues to others.
    fn listen(&mut self, now: Instant) -> io::Result<()> {
        let has_room = self.places.open() < self.settings.connections_max;
        let may = self.drained_at.is_none() && has_room && self.accept_from <= now;
        let want = if may { EventFlags::IN } else { EventFlags::empty() };
        let have = self.listening;
        for (index, listener) in self.listeners.iter().enumerate() {
            self.watch.change(listener.socket, index as u64, &mut have.clone(), want)?;
        }
        self.listening = want;
        Ok(())
    }

    fn take_orders(&mut self, now: Instant) -> io::Result<()> {
        if matches!(rustix::io::read(self.orders, &mut [0; 1]), Err(Errno::AGAIN | Errno::INTR)) {
            return Ok(());
        }
        self.drained_at = Some(now + Duration::from_millis(self.settings.drain_ms));
        self.counters.draining.store(1, Ordering::Relaxed);
        self.watch.change(self.orders, ORDERS, &mut self.orders_watched, EventFlags::empty())
    }

    /// Accepts what waits at a listener, a few at a time. Orders are looked for before each one: whoever told
    /// us to stop serves the rest of the queue himself.
    fn accept(&mut self, index: usize, now: Instant) {
        let Some(listener) = self.listeners.get(index).copied() else { return };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        for _ in 0..ACCEPTS_PER_TURN {
            if self.drained_at.is_some() || is_ready(self.orders) {
                return;
            }
            if self.places.open() >= self.settings.connections_max {
                return add(&self.counters.full, 1);
            }
            let (visitor, peer) = match acceptfrom_with(listener.socket, flags) {
                Ok((visitor, peer)) => (TcpStream::from(visitor), peer),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                // No descriptors or memory: the queue would only report itself again and again.
                Err(_) => {
                    self.accept_from = now + Duration::from_millis(TICK_MS);
                    return add(&self.counters.accept_failures, 1);
                }
            };
            add(&self.counters.accepted, 1);
            match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                Some(peer) => self.welcome(listener, visitor, peer, now),
                // Gone before it came.
                None => self.counters.refuse(Refusal::Left),
            }
        }
    }

    fn welcome(&mut self, listener: Listener<'_>, visitor: TcpStream, peer: SocketAddr, now: Instant) {
        if !listener.is_proxied {
            let count = self.per_address.entry(counted_as(peer.ip())).or_default();
            if *count >= self.settings.connections_per_address_max {
                return self.counters.refuse(Refusal::AddressLimit);
            }
            *count += 1;
        }
        // Cannot fail for a TCP socket; without it bytes arrive all the same.
        let _ = visitor.set_nodelay(true);
        let token = self.places.add();
        let connection = Connection {
            visitor,
            origin: None,
            peer,
            protocol: listener.protocol,
            is_proxied: listener.is_proxied,
            stage: Stage::Greeting,
            up: Flow::default(),
            down: Flow::default(),
            deadline: now + Duration::from_millis(self.settings.greeting_ms),
            visitor_watched: EventFlags::empty(),
            origin_watched: EventFlags::empty(),
        };
        self.keep(token, Box::new(connection), Stay);
    }

    /// Works on one connection: for an event, or because its deadline has come.
    fn turn(&mut self, token: Token, ready: Option<EventFlags>, now: Instant) {
        let Some(mut connection) = self.places.take(token) else { return };
        let next = match ready {
            Some(ready) => self.advance(&mut connection, token.side, ready, now),
            None => self.expire(&mut connection, now),
        };
        self.keep(token, connection, next);
    }

    /// Puts a connection back with its wishes, or closes it.
    fn keep(&mut self, token: Token, mut connection: Box<Connection>, next: Next) {
        if next == Stay && self.rewatch(token, &mut connection).is_ok() {
            self.places.put(token, connection);
        } else {
            if !connection.is_proxied {
                let address = counted_as(connection.peer.ip());
                if let Some(count) = self.per_address.get_mut(&address) {
                    *count -= 1;
                    if *count == 0 {
                        self.per_address.remove(&address);
                    }
                }
            }
            self.places.release(token);
        }
        self.counters.open.store(self.places.open() as u64, Ordering::Relaxed);
    }

    fn rewatch(&self, token: Token, connection: &mut Connection) -> io::Result<()> {
        let (visitor, origin) = (connection.visitor_wish(), connection.origin_wish());
        let named = |side| Token { side, ..token }.to_u64();
        let watched = &mut connection.visitor_watched;
        self.watch.change(&connection.visitor, named(Side::Visitor), watched, visitor)?;
        match &connection.origin {
            Some(socket) => {
                self.watch.change(socket, named(Side::Origin), &mut connection.origin_watched, origin)
            }
            None => Ok(()),
        }
    }

    /// Does what an event allows.
    fn advance(&mut self, connection: &mut Connection, side: Side, ready: EventFlags, now: Instant) -> Next {
        let is_over = ready.intersects(EventFlags::ERR | EventFlags::HUP);
        let can_read = is_over || ready.contains(EventFlags::IN);
        let can_write = is_over || ready.contains(EventFlags::OUT);
        match (&connection.stage, side) {
            (Stage::Greeting, Side::Visitor) => self.greet(connection, now),
            (Stage::Connecting { .. }, Side::Origin) => self.connected(connection, now),
            (Stage::Spliced, side) if is_over && connection.watched(side) == EventFlags::ERR => {
                self.count_broken()
            }
            (Stage::Spliced, Side::Visitor) => self.forward(connection, can_read, can_write, now),
            (Stage::Spliced, Side::Origin) => self.forward(connection, can_write, can_read, now),
            (Stage::Closing { .. }, Side::Visitor) => self.linger(connection),
            // An event from before the last step of the same connection.
            (Stage::Greeting | Stage::Closing { .. }, Side::Origin)
            | (Stage::Connecting { .. }, Side::Visitor) => Stay,
        }
    }

    fn expire(&mut self, connection: &mut Connection, now: Instant) -> Next {
        match connection.stage {
            Stage::Greeting => self.turn_away(Refusal::Slow),
            Stage::Connecting { asked, .. } => {
                self.note_down(asked, now);
                self.connect_next(connection, now)
            }
            Stage::Spliced => {
                add(&self.counters.idle, 1);
                Close
            }
            Stage::Closing { .. } => Close,
        }
    }

    /// Reads more of a hello or head and decides once it is whole.
    fn greet(&mut self, connection: &mut Connection, now: Instant) -> Next {
        let bytes_max = match connection.protocol {
            Protocol::Https => HELLO_BYTES_MAX,
            Protocol::Http => HEAD_BYTES_MAX,
        };
        let room = bytes_max.saturating_sub(connection.up.waiting().len()).min(self.scratch.len());
        let scratch = self.scratch.get_mut(..room).unwrap_or_default();
        match may_block((&connection.visitor).read(scratch)) {
            Ok(None) => return Stay,
            Ok(Some(0)) | Err(_) => return self.turn_away(Refusal::Left),
            Ok(Some(count)) => connection.up.push(scratch.get(..count).unwrap_or_default()),
        }
        let is_full = connection.up.waiting().len() >= bytes_max;
        let proxied = match connection.is_proxied {
            true => proxy_header_end(connection.up.waiting()),
            false => Ok(Some(0)),
        };
        let greeting = |header: usize| connection.up.waiting().get(header..).unwrap_or_default();
        let decided = match (proxied, connection.protocol) {
            (Ok(Some(header)), Protocol::Http) => {
                let is_whole = is_full || has_head_end(greeting(header));
                return if is_whole { self.answer_http(connection, header, now) } else { Stay };
            }
            (Ok(Some(header)), Protocol::Https) => {
                read_hello(greeting(header)).map(|hello| hello.map(|hello| (header, hello)))
            }
            (Ok(None), _) => Ok(None),
            (Err(why), _) => Err(why),
        };
        match decided {
            Ok(Some((header, hello))) => self.route(connection, header, hello.name.as_deref(), now),
            Ok(None) if !is_full => Stay,
            Ok(None) | Err(NotHello::TooLarge) => {
                self.alert(connection, Alert::DecodeError, Refusal::TooLarge, now)
            }
            Err(NotHello::NotTls) if connection.protocol == Protocol::Http => self.turn_away(Refusal::NotTls),
            Err(NotHello::NotTls) => self.alert(connection, Alert::DecodeError, Refusal::NotTls, now),
            Err(NotHello::Malformed) => self.alert(connection, Alert::DecodeError, Refusal::Malformed, now),
        }
    }

    /// Chooses the origins of a name; `header` bytes of a received PROXY header stand before the hello.
    fn route(
        &mut self,
        connection: &mut Connection,
        header: usize,
        name: Option<&str>,
        now: Instant,
    ) -> Next {
        let Some(name) = name else {
            return self.alert(connection, Alert::UnrecognizedName, Refusal::NoName, now);
        };
        let Some(mut entry) = self.table.find(name) else {
            return self.alert(connection, Alert::UnrecognizedName, Refusal::UnknownName, now);
        };
        let local = connection.visitor.local_addr();
        if !connection.is_proxied
            && let Ok(local) = local
        {
            connection.up.push_front(&proxy_header(entry.proxy, connection.peer, local));
        } else if entry.proxy == Proxy::None {
            connection.up.skip(header);
        }
        let local = local.ok().map(|local| local.ip().to_canonical());
        entry.origins.retain(|origin| !is_own(*origin, &self.own, local));
        self.down.sort(&mut entry.origins, now);
        // The first step takes the first address; until then none was asked.
        let left = entry.origins.into_iter();
        connection.stage = Stage::Connecting { asked: connection.peer, left };
        self.connect_next(connection, now)
    }

    fn connect_next(&mut self, connection: &mut Connection, now: Instant) -> Next {
        connection.origin = None;
        connection.origin_watched = EventFlags::empty();
        while let Stage::Connecting { asked, left } = &mut connection.stage
            && let Some(address) = left.next()
        {
            match begin_connect(address) {
                Ok(socket) => {
                    *asked = address;
                    connection.origin = Some(socket);
                    connection.deadline = now + Duration::from_millis(self.settings.connect_ms);
                    return Stay;
                }
                Err(_) => self.note_down(address, now),
            }
        }
        self.alert(connection, Alert::InternalError, Refusal::NoOrigin, now)
    }

    fn note_down(&mut self, address: SocketAddr, now: Instant) {
        add(&self.counters.connect_failures, 1);
        self.down.note(address, now);
    }

    /// Goes on with an address that has answered, yes or no.
    fn connected(&mut self, connection: &mut Connection, now: Instant) -> Next {
        let Stage::Connecting { asked, .. } = connection.stage else { return Stay };
        let answer = connection.origin.as_ref().map(TcpStream::take_error);
        if !matches!(answer, Some(Ok(None))) {
            self.note_down(asked, now);
            return self.connect_next(connection, now);
        }
        self.down.forget(asked);
        add(&self.counters.spliced, 1);
        connection.stage = Stage::Spliced;
        connection.deadline = now + Duration::from_millis(self.settings.idle_ms);
        self.forward(connection, true, true, now)
    }

    /// Moves bytes in the directions that may move.
    fn forward(&mut self, connection: &mut Connection, up: bool, down: bool, now: Instant) -> Next {
        let Connection { visitor, origin: Some(origin), up: upwards, down: downwards, .. } = connection
        else {
            return Close;
        };
        let moved_up = if up { upwards.pump(visitor, origin, &mut self.scratch) } else { Ok(0) };
        // An origin that answers early and resets has its answer delivered before the end.
        let down = down || moved_up.is_err();
        let moved_down = if down { downwards.pump(origin, visitor, &mut self.scratch) } else { Ok(0) };
        let is_over = upwards.is_shut && downwards.is_shut;
        let count = |moved: &io::Result<u64>| *moved.as_ref().unwrap_or(&0);
        add(&self.counters.bytes_up, count(&moved_up));
        add(&self.counters.bytes_down, count(&moved_down));
        if moved_up.is_err() || moved_down.is_err() {
            return self.count_broken();
        }
        if count(&moved_up) + count(&moved_down) > 0 {
            connection.deadline = now + Duration::from_millis(self.settings.idle_ms);
        }
        if is_over { Close } else { Stay }
    }

    fn count_broken(&self) -> Next {
        add(&self.counters.broken, 1);
        Close
    }

    fn alert(&mut self, connection: &mut Connection, alert: Alert, why: Refusal, now: Instant) -> Next {
        self.refuse(connection, alert.record(), why, now)
    }

    fn answer_http(&mut self, connection: &mut Connection, header: usize, now: Instant) -> Next {
        let head = connection.up.waiting().get(header..).unwrap_or_default();
        let answer = unavailable(head, self.settings.retry_after_s);
        self.refuse(connection, answer, Refusal::Cleartext, now)
    }

    /// Closes without an answer.
    fn turn_away(&self, why: Refusal) -> Next {
        self.counters.refuse(why);
        Close
    }

    /// Answers, and then waits a little so that the answer arrives.
    fn refuse(&mut self, connection: &mut Connection, answer: Vec<u8>, why: Refusal, now: Instant) -> Next {
        self.counters.refuse(why);
        connection.origin = None;
        connection.up = Flow::default();
        connection.down = Flow::last(answer);
        connection.stage = Stage::Closing { thrown_bytes: 0 };
        connection.deadline = now + Duration::from_millis(self.settings.linger_ms);
        self.linger(connection)
    }

    /// Writes what is left of an answer and throws away what still comes, until the visitor closes.
    fn linger(&mut self, connection: &mut Connection) -> Next {
        let visitor = &connection.visitor;
        if connection.down.pump(visitor, visitor, &mut self.scratch).is_err() {
            return Close;
        }
        let Stage::Closing { thrown_bytes } = &mut connection.stage else { return Close };
        while *thrown_bytes < LINGER_BYTES {
            let mut reader = visitor;
            match may_block(reader.read(&mut self.scratch)) {
                Ok(None) => return Stay,
                Ok(Some(0)) => {
                    connection.up.has_ended = true;
                    return if connection.down.is_shut { Close } else { Stay };
                }
                Ok(Some(count)) => *thrown_bytes += count,
                Err(_) => return Close,
            }
        }
        Close
    }
}

/// The address of a listener, once it is seen to be one.
fn address_of(listener: &Listener<'_>) -> io::Result<SocketAddr> {
    let unfit = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("a listener {what}"));
    if !sockopt::socket_acceptconn(listener.socket)? {
        return Err(unfit("does not listen: the supervisor calls listen(2) first"));
    }
    // The flag is shared with everybody who holds the socket, so it is theirs to set. Without it the loop
    // would hang whenever an edge was quicker to accept.
    if !fcntl_getfl(listener.socket)?.contains(OFlags::NONBLOCK) {
        return Err(unfit("blocks: the supervisor sets O_NONBLOCK first"));
    }
    let address = getsockname(listener.socket)?;
    SocketAddr::try_from(address).map_err(|_| unfit("has no internet address: it is not TCP"))
}
