//! One HTTP/3 connection: its handshake, its requests as they arrive, its end.
//!
//! The idle time-out of QUIC is short, because an address may be left without a word. While requests are open
//! a reserved frame (RFC 9114 §7.2.8) now and then keeps it from cutting an answer that an origin takes long
//! for. Draining sends GOAWAY with the next stream's id, answers what came before it, rejects what comes
//! after, and closes a moment after the last answer.
//!
//! Resets cost credit: a visitor may give up requests as browsers do when a page is left, but one that opens
//! and resets streams without end (CVE-2023-44487) is closed. The credit is [`RESET_CREDIT`] at most; each
//! stream given up takes one, each complete answer returns one, and so do each hundred milliseconds. What it
//! approximates is work asked for and thrown away; it is wrong for a visitor that gives up more than ten
//! requests a second for half a minute and takes no answer in between.
//!
//! Caller: `h3/endpoint.rs`. Read next: `h3/request.rs`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Poll, Waker};

use exchange::{Connection, Deadline, Holder, Protocol, Tally, TlsFacts, TlsVersion, Waiting};
use http3::{Code, goaway_frame, server_preface};

use super::overheard::Shaken;
use super::sender::number;
use crate::Abuse;
use crate::limits::{HANDSHAKE_MS, HTTP3, LINGER_MS, LINGER_SHORT_MS, QUIC_PROBE_MS, RESET_CREDIT};
use crate::thread::{OpenCount, Service, Thread, VisitorTimes, WireEvent};

/// A frame of a reserved type without payload, which means nothing (RFC 9114 §7.2.8).
const PROBE: [u8; 2] = [0x21, 0];

/// What the tasks of one connection share.
pub(super) struct Shared {
    quic: quinn::Connection,
    facts: Rc<Connection>,
    /// Requests whose tasks run.
    open: Cell<usize>,
    /// Wakes the connection's task; set once it waits for the last request.
    waker: RefCell<Option<Waker>>,
    /// Due when the connection has been idle for long, or busy for so long that a probe is needed.
    deadline: Deadline,
    /// Those of the zone that answered last, or that the handshake named.
    pub(super) times: Cell<VisitorTimes>,
    credit: Cell<u32>,
    credit_at: Cell<u32>,
    /// Requests begun.
    begun: Cell<u64>,
    /// What the visitor is ended for, if that is abuse.
    abuse: Cell<Option<Abuse>>,
}

impl Shared {
    /// The facts, with the address from which the visitor made its handshake: that one is its own. Where its
    /// packets come from later is what they say (RFC 9000 §9.3): quinn takes a request out of one with a
    /// forged sender before it has asked there, and what is decided by address would be decided by that.
    pub(super) fn facts(&self) -> Rc<Connection> {
        Rc::clone(&self.facts)
    }

    /// For whom the connection's place is held.
    pub(super) fn hold_for(&self, holder: Holder) {
        self.deadline.hold_for(holder);
    }

    /// The connection, for streams that the visitor opens.
    pub(super) fn quic(&self) -> &quinn::Connection {
        &self.quic
    }

    /// STREAM frames sent so far, those sent again included: none follow once the visitor's windows are shut.
    pub(super) fn stream_frames_sent(&self) -> u64 {
        self.quic.stats().frame_tx.stream
    }

    /// Requests begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Frames received so far that carry nothing of a request or an answer, and those that do, both ways.
    pub(super) fn frames(&self) -> (u64, u64) {
        let stats = self.quic.stats();
        let (came, left) = (&stats.frame_rx, &stats.frame_tx);
        let empty = [
            came.crypto,
            came.data_blocked,
            came.max_data,
            came.max_stream_data,
            came.max_streams_bidi,
            came.max_streams_uni,
            came.new_connection_id,
            came.new_token,
            came.path_challenge,
            came.path_response,
            came.ping,
            came.reset_stream,
            came.retire_connection_id,
            came.stream_data_blocked,
            came.streams_blocked_bidi,
            came.streams_blocked_uni,
            came.stop_sending,
        ];
        (empty.iter().sum(), came.stream + left.stream)
    }

    /// Closes the connection for what the visitor did without breaking a rule.
    pub(super) fn close_for(&self, abuse: Abuse, why: &'static str) {
        self.blame(abuse);
        self.close(Code::ExcessiveLoad, why);
    }

    fn blame(&self, abuse: Abuse) {
        self.abuse.set(self.abuse.get().or(Some(abuse)));
    }

    /// Closes the connection for what the visitor broke.
    pub(super) fn close(&self, code: Code, why: &'static str) {
        if code == Code::ExcessiveLoad {
            self.blame(Abuse::EmptyData); // of the codes that the parser gives, for frames that carry nothing
        }
        self.quic.close(number(code), why.as_bytes());
    }

    /// A stream was given up by the visitor, or by us for its errors; too many are this kind of abuse.
    pub(super) fn spend(&self, abuse: Abuse) {
        let now = self.deadline.owner().now();
        let earned = now.wrapping_sub(self.credit_at.replace(now));
        let credit = self.credit.get().saturating_add(earned).min(RESET_CREDIT);
        match credit.checked_sub(1) {
            Some(left) => self.credit.set(left),
            None => self.close_for(abuse, "too many streams were given up"),
        }
    }

    /// An answer was completed, to a request that was one.
    pub(super) fn earn(&self) {
        self.credit.set(self.credit.get().saturating_add(1).min(RESET_CREDIT));
    }
}

/// Counts one open request.
pub(super) struct OpenRequest(Rc<Shared>);

impl OpenRequest {
    fn new(shared: &Rc<Shared>) -> Self {
        let open = shared.open.get();
        shared.open.set(open + 1);
        if open == 0 {
            shared.deadline.arm(QUIC_PROBE_MS);
        }
        Self(Rc::clone(shared))
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let open = self.0.open.get() - 1;
        self.0.open.set(open);
        if open == 0 {
            self.0.deadline.arm_idle(self.0.times.get().keepalive_ms);
            if let Some(waker) = self.0.waker.take() {
                waker.wake();
            }
        }
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Polls a future until the deadline; none when it was first.
async fn within<T>(deadline: &Deadline, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        deadline.register(cx.waker());
        match future.as_mut().poll(cx) {
            Poll::Pending if deadline.is_due() => Poll::Ready(None),
            polled => polled.map(Some),
        }
    })
    .await
}

/// Serves one connection to its end. `shaking` lives as long as the handshake.
pub(super) async fn serve<S: Service>(
    mut count: OpenCount<S>,
    connecting: quinn::Connecting,
    local: SocketAddr,
    shaking: impl Sized,
) {
    let thread = Rc::clone(&count.thread);
    let deadline = thread.deadlines.slot();
    deadline.arm_unproven(HANDSHAKE_MS);
    let visitor = canonical(connecting.remote_address());
    let Some(Ok(quic)) = within(&deadline, connecting).await else {
        thread.service.count(WireEvent::HandshakeFailed);
        if deadline.is_due() {
            thread.service.count(WireEvent::Abuse(Abuse::SlowHandshake, visitor.ip()));
        }
        return;
    };
    drop(shaking);
    thread.service.count(WireEvent::Handshake(TlsVersion::V1_3));
    count.speaks(Protocol::Http3);
    let preface = async {
        let mut control = quic.open_uni().await.ok()?;
        control.write_all(&server_preface(&HTTP3, true)).await.ok()?;
        Some(control)
    };
    let Some(Some(control)) = within(&deadline, preface).await else {
        return quic.close(number(Code::GeneralProtocol), b"no control stream could be opened");
    };
    let facts = facts(&quic, thread.next_connection_id(), (visitor, local));
    let server_name = facts.tls.as_ref().and_then(|tls| tls.sni.as_deref());
    let times = thread.times_for(server_name);
    deadline.hold_for(thread.service.holder(server_name));
    deadline.arm_idle(times.keepalive_ms);
    let shared = Rc::new(Shared {
        quic,
        facts: Rc::new(facts),
        open: Cell::new(0),
        waker: RefCell::new(None),
        times: Cell::new(times),
        credit: Cell::new(RESET_CREDIT),
        credit_at: Cell::new(thread.deadlines.now()),
        begun: Cell::new(0),
        abuse: Cell::new(None),
        deadline,
    });
    tokio::task::spawn_local(super::unidirectional::watch(Rc::clone(&shared), thread.deadlines.slot()));
    take_requests(&thread, &shared, control).await;
    if let Some(abuse) = shared.abuse.get() {
        thread.service.count(WireEvent::Abuse(abuse, visitor.ip()));
    }
    shared.quic.close(number(Code::NoError), b"");
    // The close leaves before this connection counts as gone: a draining thread may end with its last one.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    drop(count);
}

fn facts(quic: &quinn::Connection, id: u64, (visitor, local): (SocketAddr, SocketAddr)) -> Connection {
    let handshake = quic.handshake_data();
    let shaken = handshake.and_then(|any| any.downcast::<Shaken>().ok());
    let (sni, ja4) = shaken.map_or((None, None), |shaken| (shaken.server_name, shaken.ja4));
    let ip: IpAddr = quic.local_ip().unwrap_or(local.ip());
    Connection {
        id,
        visitor,
        local: canonical(SocketAddr::new(ip, local.port())),
        tls: Some(Box::new(TlsFacts {
            version: TlsVersion::V1_3,
            sni: sni.map(|name| name.to_ascii_lowercase().into_boxed_str()),
            ja4,
            has_client_certificate: quic.peer_identity().is_some(),
            verified_for: None,
        })),
        http3_port: None,
        held: Tally::default(),
        waiting: Waiting::default(),
    }
}

/// Takes requests until the connection ends or has been drained.
async fn take_requests<S: Service>(
    thread: &Rc<Thread<S>>,
    shared: &Rc<Shared>,
    mut control: quinn::SendStream,
) {
    let mut accept = pin!(shared.quic.accept_bi());
    let mut next_id = 0;
    // The first id that is rejected, once GOAWAY has named it.
    let mut end_id: Option<u64> = None;
    let mut unsent: Vec<u8> = Vec::new();
    let mut is_lingering = false;
    poll_fn(|cx| {
        shared.deadline.register(cx.waker());
        thread.service.beat();
        loop {
            match accept.as_mut().poll(cx) {
                Poll::Ready(Ok((sending, receiving))) => {
                    accept.set(shared.quic.accept_bi());
                    let id = u64::from(sending.id());
                    if end_id.is_some_and(|end_id| id >= end_id) {
                        reject(sending, receiving);
                        continue;
                    }
                    next_id = id + 4; // ids of one kind of stream are four apart (RFC 9000 §2.1)
                    shared.begun.set(shared.begun.get() + 1);
                    let open = OpenRequest::new(shared);
                    let task =
                        super::request::serve(Rc::clone(thread), Rc::clone(shared), open, sending, receiving);
                    tokio::task::spawn_local(task);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        let is_busy = shared.open.get() > 0;
        let is_due = shared.deadline.is_due();
        if end_id.is_none() && (thread.is_draining() || is_due && !is_busy) {
            end_id = Some(next_id);
            unsent.extend_from_slice(&goaway_frame(next_id));
        }
        if is_busy {
            is_lingering = false;
            if is_due {
                unsent.extend_from_slice(&PROBE);
                shared.deadline.arm(QUIC_PROBE_MS);
            }
            if end_id.is_some() {
                *shared.waker.borrow_mut() = Some(cx.waker().clone());
            }
        } else if end_id.is_some() {
            if is_lingering && is_due {
                return Poll::Ready(());
            }
            // Answers and GOAWAY arrive before the close; what the visitor sent meanwhile is told to retry.
            if !std::mem::replace(&mut is_lingering, true) {
                // Shorter where others wait for its place: a round trip or two.
                let is_short = thread.is_nearly_full();
                shared.deadline.arm(if is_short { LINGER_SHORT_MS } else { LINGER_MS });
            }
        }
        while !unsent.is_empty() {
            match Pin::new(&mut control).poll_write(cx, &unsent) {
                Poll::Ready(Ok(written)) => drop(unsent.drain(..written.min(unsent.len()))),
                Poll::Ready(Err(_)) => {
                    shared.close(Code::ClosedCriticalStream, "the control stream was stopped");
                    return Poll::Ready(());
                }
                Poll::Pending => break,
            }
        }
        Poll::Pending
    })
    .await;
}

/// Safe to retry elsewhere: nothing of it was looked at (RFC 9114 §5.2).
fn reject(mut sending: quinn::SendStream, mut receiving: quinn::RecvStream) {
    let code = number(Code::RequestRejected);
    let _ignored_when_the_visitor_left = (sending.reset(code), receiving.stop(code));
}
