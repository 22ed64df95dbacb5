//! Visitors at a rate that no answer slows down: a spike. Each request is sent when it is due, however many
//! wait, on a connection that is free or a new one; its time is counted from when it was due.
//!
//! One thread, so that the node has the rest of the machine. It judges nothing. Read next: [`super::spike`].

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::load::{ANSWER_BYTES_MAX, Target, whole};
use super::node::PATIENCE;
use super::numbers::Numbers;
use crate::clock;

/// How often it looks what is due.
const STEP: Duration = Duration::from_millis(2);

/// How late it may look. What was due before, while the machine did not run this thread, is never sent: all
/// at once it would be another spike than the one asked for, on top of a pause that the node had as well.
const LATE_MAX: Duration = Duration::from_millis(250);

/// Requests that may wait at once; with more each further one counts as broken.
const WAITING_MAX: usize = 12_000;

/// What the choice of connections begins with.
const SEED: u64 = 29;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// One of so many visitors, in turn.
    Known(u64),
    /// Somebody new each time.
    Stranger,
}

/// Requests of a kind at a rate.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) who: Who,
    /// How many in a second, each from so long after the beginning on.
    pub(super) rates: Vec<(Duration, f64)>,
    /// The path.
    pub(super) path: &'static str,
    /// Further field lines, each ending in CRLF.
    pub(super) fields: String,
}

impl Stream {
    fn rate(&self, at: Duration) -> f64 {
        self.rates.iter().rev().find(|(from, _)| *from <= at).map_or(0.0, |(_, rate)| *rate)
    }
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The place of its stream.
    pub(super) stream: usize,
    /// When it was due, after the beginning.
    pub(super) at: Duration,
    /// How long it took from then.
    pub(super) took: Duration,
    /// Its status; if no whole answer came, why.
    pub(super) status: Result<u16, &'static str>,
    /// Whether it was told when to come back.
    pub(super) has_retry_after: bool,
}

/// What all requests of a surge share.
struct Shared {
    address: SocketAddr,
    /// Connections on which nothing is asked. Any of them is taken: with the last one first the thread that
    /// answers soonest, which is the one that sends away, would be asked again and again and the others not
    /// at all; with the first one first each thread would be asked for a quarter of a second and then not,
    /// since what a thread answers in a row is in a row here.
    free: RefCell<Vec<TcpStream>>,
    numbers: RefCell<Numbers>,
    waiting: Cell<usize>,
    asked: RefCell<Vec<Asked>>,
}

impl Shared {
    /// Any of the connections that are free.
    fn any(&self) -> Option<TcpStream> {
        let mut free = self.free.borrow_mut();
        let place = self.numbers.borrow_mut().below(free.len() as u64) as usize;
        (place < free.len()).then(|| free.swap_remove(place))
    }
}

/// Sends the streams' requests for so long, and waits for the answers. Beside them it says for how long the
/// thread was not run and sent nothing: a figure for whoever reads the verdict.
///
/// # Errors
/// When the system gives no runtime.
pub(super) fn surge(
    target: &Target,
    streams: &[Stream],
    lasting: Duration,
) -> Result<(Vec<Asked>, Duration)> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
    let shared = Rc::new(Shared {
        address: target.address,
        free: RefCell::default(),
        numbers: RefCell::new(Numbers::new(SEED)),
        waiting: Cell::new(0),
        asked: RefCell::default(),
    });
    let paused = runtime.block_on(async {
        let begun = clock::now();
        let mut paused = Duration::ZERO;
        let mut due = vec![0.0; streams.len()];
        let mut sent: Vec<u64> = vec![0; streams.len()];
        let mut looked = Duration::ZERO;
        while looked < lasting {
            tokio::time::sleep(STEP).await;
            let now = clock::now().saturating_duration_since(begun);
            let late = (now - looked).saturating_sub(LATE_MAX);
            paused += late;
            looked += late;
            for (number, stream) in streams.iter().enumerate() {
                let (Some(due), Some(sent)) = (due.get_mut(number), sent.get_mut(number)) else { continue };
                *due += stream.rate(now) * (now - looked).as_secs_f64();
                while *due >= 1.0 {
                    *due -= 1.0;
                    *sent += 1;
                    let head = head(&target.host, stream, *sent);
                    tokio::task::spawn_local(ask(Rc::clone(&shared), number, head, begun + now, now));
                }
            }
            looked = now;
        }
        let until = clock::now() + PATIENCE;
        while shared.waiting.get() > 0 && clock::now() < until {
            tokio::time::sleep(STEP).await;
        }
        paused
    });
    Ok((shared.asked.take(), paused))
}

fn head(host: &str, stream: &Stream, number: u64) -> String {
    let from = match stream.who {
        Who::Known(of) => format!("192.0.2.{}", number % of.clamp(1, 250) + 1),
        Who::Stranger => format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255),
    };
    let (path, fields) = (stream.path, &stream.fields);
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: {from}\r\n{fields}\r\n")
}

async fn ask(shared: Rc<Shared>, stream: usize, head: String, due: std::time::Instant, at: Duration) {
    let waiting = shared.waiting.get();
    let mut answer = Err("too many wait");
    if waiting < WAITING_MAX {
        shared.waiting.set(waiting + 1);
        let whole = tokio::time::timeout(PATIENCE, exchange(&shared, head.as_bytes())).await;
        answer = whole.unwrap_or(Err("no answer in time"));
        shared.waiting.set(shared.waiting.get() - 1);
    }
    let took = clock::now().saturating_duration_since(due);
    let (status, has_retry_after) = (answer.map(|(status, _)| status), answer.is_ok_and(|(_, told)| told));
    shared.asked.borrow_mut().push(Asked { stream, at, took, status, has_retry_after });
}

/// Status, and whether there is `Retry-After`.
async fn exchange(shared: &Shared, head: &[u8]) -> Result<(u16, bool), &'static str> {
    let (mut connection, is_new) = match shared.any() {
        Some(connection) => (connection, false),
        None => (TcpStream::connect(shared.address).await.map_err(|_| "no connection")?, true),
    };
    let broken = || if is_new { "a new connection broke" } else { "a kept connection broke" };
    connection.write_all(head).await.map_err(|_| broken())?;
    let (mut bytes, mut room) = (Vec::new(), [0; 2048]);
    loop {
        let count = connection.read(&mut room).await.map_err(|_| broken())?;
        bytes.extend_from_slice(room.get(..count).unwrap_or_default());
        if let Some(answer) = whole(&bytes).map_err(|_| "no HTTP came")? {
            shared.free.borrow_mut().push(connection);
            return Ok((answer.status, answer.field("retry-after").is_some()));
        }
        if count == 0 || bytes.len() > ANSWER_BYTES_MAX {
            return Err(broken());
        }
    }
}
