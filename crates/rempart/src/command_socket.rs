//! The edge's side of the command socket: reads a request a line, answers a line.
//!
//! Plain threads, off the serving ones: a publish compiles for as long as it takes, and a command that
//! nobody reads the answer of holds up only itself. When a thousand come at once, who says nothing or reads
//! nothing loses its place, and the others are told to come back, which commands do by themselves
//! ([`crate::commands`]). It does not know what commands do: that is `Carry`'s.
//! Called by [`crate::edge_role`]; read next: [`crate::messages`].

use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{DupFlags, Errno, dup3};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg};

use crate::clock;
use crate::messages::{Answer, REQUEST_BYTES_MAX, Request};

/// Connections served at a time; each costs a thread. A person, a deploy script and a monitor or two.
const CONNECTIONS_MAX: usize = 16;

/// Threads there may be: those of connections that were let go end at once, but a machine that is busy may be
/// late with that.
const THREADS_MAX: usize = 2 * CONNECTIONS_MAX;

/// Commands carried out at a time that may take long: a quarter of the places is left for those that answer
/// at once, as `status`, `withdraw` and `block`, whatever a publish or a disk is up to.
const LONG_MAX: usize = CONNECTIONS_MAX - CONNECTIONS_MAX / 4;

/// How long a connection may be silent, and how long it may take to read an answer.
const IDLE: Duration = Duration::from_secs(30);

/// How long a connection keeps its place without a word while others want one that have not said a word
/// either. A command says what it wants as soon as it is connected, and whoever has said it comes first.
const SILENT: Duration = Duration::from_millis(100);

/// How long it keeps it with an answer that it does not read.
const UNREAD: Duration = Duration::from_secs(1);

/// How often it is told that there were too many.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What a connection is told that gets no place, or loses it.
const BUSY: &str = "too many commands at once: try again in a moment";

/// Carries a command out. It may say how far it has come before it answers; whoever asked may be gone by
/// then.
pub(crate) type Carry = dyn Fn(Request, &dyn Fn(&Answer)) -> Answer + Send + Sync;

/// Descriptors in one packet: as between processes.
const DESCRIPTORS_PER_PACKET: usize = crate::control::DESCRIPTORS_PER_PACKET;

/// Ends the accepting of commands when it is dropped: an edge that drains leaves them to the next one, which
/// holds the same socket. Connections that are open go on.
#[derive(Debug)]
pub(crate) struct Accepting(#[expect(dead_code, reason = "it tells by being closed")] UnixStream);

/// Connections that got no place, or lost it to others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shed {
    /// Told to come back: every place was in use.
    pub(crate) sent_away: u64,
    /// Let go: they said nothing, or did not read their answer, while others wanted a place.
    pub(crate) let_go: u64,
}

/// Accepts connections until the result is dropped. `tell` is told now and then of those that got no place.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn serve(
    listener: UnixListener,
    carry: Arc<Carry>,
    tell: impl Fn(Shed) + Send + 'static,
) -> io::Result<Accepting> {
    let (ours, theirs) = UnixStream::pair()?;
    // Another process may take the connection between the two calls.
    listener.set_nonblocking(true)?;
    let listener = Arc::new(listener);
    let reserve = Arc::new(Reserve::new(&listener));
    let places = Arc::new(Places::default());
    let accept = move || {
        let mut telling = Telling { tell, untold: Shed::default(), told: None };
        loop {
            let mut watched = [PollFd::new(&*listener, PollFlags::IN), PollFd::new(&theirs, PollFlags::IN)];
            let polled = poll(&mut watched, None);
            if !watched[1].revents().is_empty() {
                return;
            }
            let accepted = polled.map_err(io::Error::from).and_then(|_| reserve.accept());
            let connection = match accepted {
                Ok((connection, _)) => Arc::new(connection),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    // Out of descriptors: the pause lets connections end.
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let now = clock::now();
            let place = places.take(&connection, now);
            telling.note(place.as_ref().map(|(_, let_go)| *let_go), now);
            let Some((place, _)) = place else {
                tell_busy(&connection);
                continue;
            };
            let (carry, reserve) = (Arc::clone(&carry), Arc::clone(&reserve));
            let started = thread::Builder::new().name("command".into()).spawn(move || {
                // Whoever asked is gone when this fails; there is nobody to tell.
                let _ = serve_connection(&connection, &place, &*carry);
                // First, since the place has the connection too.
                drop(place);
                if let Some(connection) = Arc::into_inner(connection) {
                    reserve.end(connection);
                }
            });
            // Without a thread the connection is closed; the command says that the node gave no answer.
            drop(started);
        }
    };
    thread::Builder::new().name("commands".into()).spawn(accept)?;
    Ok(Accepting(ours))
}

/// Adds up who got no place, and tells it at most every second.
struct Telling<T> {
    tell: T,
    untold: Shed,
    told: Option<Instant>,
}

impl<T: Fn(Shed)> Telling<T> {
    /// Notes a connection: whether it has a place, and whether another lost it.
    fn note(&mut self, place: Option<bool>, now: Instant) {
        self.untold.sent_away += u64::from(place.is_none());
        self.untold.let_go += u64::from(place == Some(true));
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if is_due && self.untold != Shed::default() {
            (self.tell)(std::mem::take(&mut self.untold));
            self.told = Some(now);
        }
    }
}

/// Tells a connection to come back, if there is room for a word; never waits.
fn tell_busy(connection: &UnixStream) {
    let answer = Answer { is_busy: true, ..Answer::refused(BUSY) };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        let _ = send(connection, &line, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

/// A descriptor held back for the moment when visitors have taken all others: whoever looks after the node is
/// to be answered then most of all.
struct Reserve {
    listener: Arc<UnixListener>,
    held: Mutex<Option<OwnedFd>>,
}

impl Reserve {
    fn new(listener: &Arc<UnixListener>) -> Self {
        let held = Mutex::new(listener.as_fd().try_clone_to_owned().ok());
        Self { listener: Arc::clone(listener), held }
    }

    /// Accepts a connection, if need be in the place of what is held back.
    fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        match self.listener.accept() {
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
                let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
                drop(held.ok_or(error)?);
                self.listener.accept()
            }
            accepted => accepted,
        }
    }

    /// Ends a connection. If nothing is held back its descriptor is from now on: it is given another meaning
    /// in one step, so that no visitor who waits for one gets it.
    fn end(&self, connection: UnixStream) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            let mut descriptor = OwnedFd::from(connection);
            let turned = dup3(&*self.listener, &mut descriptor, DupFlags::CLOEXEC);
            *held = turned.is_ok().then_some(descriptor);
        }
    }
}

/// Who has which of [`CONNECTIONS_MAX`] places.
#[derive(Debug, Default)]
struct Places {
    taken: Mutex<Vec<Taken>>,
    numbers: AtomicU64,
    threads: AtomicUsize,
    long: AtomicUsize,
}

/// One place.
#[derive(Debug)]
struct Taken {
    number: u64,
    connection: Arc<UnixStream>,
    state: State,
}

/// What a place is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its command, since then.
    Command(Instant),
    /// The command to be carried out.
    Carrying,
    /// That its answer is read, since then.
    Read(Instant),
}

impl Taken {
    /// Since when it has been of no use; none while it is of some. It may be silent for so long.
    fn idle_since(&self, silent: Duration, now: Instant) -> Option<Instant> {
        let is_longer = |since: Instant, than| now.saturating_duration_since(since) >= than;
        match self.state {
            State::Command(since) if is_longer(since, silent) && !has_said(&self.connection) => Some(since),
            State::Read(since) if is_longer(since, UNREAD) => Some(since),
            _ => None,
        }
    }
}

/// Whether there is something to be read of a connection that its thread has not come to yet.
fn has_said(connection: &UnixStream) -> bool {
    let mut byte = [0];
    let peeked = recv(connection, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT);
    // Of one that has left there is nothing.
    peeked.is_ok_and(|(_, count)| count > 0)
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, if need be of the connection that has been of no use for longest; says whether that was
    /// so.
    fn take(self: &Arc<Self>, connection: &Arc<UnixStream>, now: Instant) -> Option<(Place, bool)> {
        if self.threads.load(Ordering::Relaxed) >= THREADS_MAX {
            return None;
        }
        let mut taken = self.lock();
        let is_full = taken.len() >= CONNECTIONS_MAX;
        if is_full {
            let silent = if has_said(connection) { Duration::ZERO } else { SILENT };
            let idle =
                taken.iter().enumerate().filter_map(|(at, it)| Some((it.idle_since(silent, now)?, at)));
            let (_, at) = idle.min()?;
            let idle = taken.swap_remove(at);
            if matches!(idle.state, State::Command(_)) {
                tell_busy(&idle.connection);
            }
            // Its thread is woken by that, and ends.
            let _ = idle.connection.shutdown(Shutdown::Both);
        }
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        taken.push(Taken { number, connection: Arc::clone(connection), state: State::Command(now) });
        self.threads.fetch_add(1, Ordering::Relaxed);
        Some((Place { places: Arc::clone(self), number }, is_full))
    }
}

/// A place, given back on drop.
struct Place {
    places: Arc<Places>,
    number: u64,
}

impl Place {
    /// Notes what it waits for; false if the place was given to another meanwhile.
    fn set(&self, state: State) -> bool {
        let mut taken = self.places.lock();
        let own = taken.iter_mut().find(|taken| taken.number == self.number);
        own.map(|own| own.state = state).is_some()
    }

    /// Takes one of the places for commands that may take long.
    fn long(&self) -> Option<Long<'_>> {
        let long = Long(&self.places.long);
        (self.places.long.fetch_add(1, Ordering::Relaxed) < LONG_MAX).then_some(long)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().retain(|taken| taken.number != self.number);
        self.places.threads.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of [`LONG_MAX`], given back on drop.
struct Long<'a>(&'a AtomicUsize);

impl Drop for Long<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve_connection(connection: &UnixStream, place: &Place, carry: &Carry) -> io::Result<()> {
    connection.set_read_timeout(Some(IDLE))?;
    connection.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = Vec::new();
        // The bound holds for each line alone.
        (&mut reader).take(REQUEST_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        // A command that came in the moment in which its place was given away is not carried out.
        if line.is_empty() || !place.set(State::Carrying) {
            return Ok(());
        }
        let is_whole = line.last() == Some(&b'\n');
        let given = match serde_json::from_slice::<Request>(&line) {
            _ if !is_whole => {
                Answer::refused(format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes"))
            }
            Ok(request) => {
                let long = request.may_take_long().then(|| place.long());
                match long {
                    Some(None) => Answer { is_busy: true, ..Answer::refused(BUSY) },
                    None | Some(Some(_)) => carry(request, &|progress| {
                        let _ = answer(connection, progress);
                    }),
                }
            }
            Err(error) => Answer::refused(format!(
                "the request is not understood: {error}; known are {{\"command\":\"publish\"}}, \
                 {{\"command\":\"status\"}} and {{\"command\":\"trace\",\"request_id\":\"…\"}}"
            )),
        };
        place.set(State::Read(clock::now()));
        answer(connection, &given)?;
        place.set(State::Command(clock::now()));
        if !is_whole {
            return Ok(());
        }
    }
}

fn answer(mut connection: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    connection.write_all(&line)?;
    answer.descriptors.chunks(DESCRIPTORS_PER_PACKET).try_for_each(|packet| pass(connection, packet))
}

/// Sends descriptors beside one byte (unix(7): there is none without data).
fn pass(connection: &UnixStream, descriptors: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(OwnedFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_PER_PACKET))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    beside.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(connection, &[IoSlice::new(b"\0")], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends bytes to a connection served with a trail that repeats the request's id; gives the answers.
    fn exchange(sent: &[u8]) -> Vec<Answer> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = thread::spawn(move || {
            let carry: Box<Carry> = Box::new(|request, _| match request {
                Request::Trace { request_id } => {
                    Answer { ok: true, trail: Some(request_id), ..Answer::default() }
                }
                _ => Answer { ok: true, ..Answer::default() },
            });
            let theirs = Arc::new(theirs);
            let (place, _) = Arc::new(Places::default()).take(&theirs, clock::now()).unwrap();
            serve_connection(&theirs, &place, &*carry)
        });
        (&ours).write_all(sent).unwrap();
        ours.shutdown(Shutdown::Write).unwrap();
        let answers = BufReader::new(&ours).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let answers = answers.collect();
        served.join().unwrap().unwrap();
        answers
    }

    #[test]
    fn several_requests_on_a_connection_are_answered_in_order() {
        let answers = exchange(b"{\"command\":\"trace\",\"request_id\":\"7\"}\n{\"command\":\"status\"}\n");
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[0].trail.as_deref(), Some("7"));
        assert!(answers[1].ok);
    }

    #[test]
    fn nonsense_is_refused_with_what_is_known_and_the_connection_goes_on() {
        let answers = exchange(b"\xff\xfe\n{\"command\":\"reboot\"}\n{\"command\":\"status\"}\n");
        assert!(answers[0].error.as_deref().unwrap().contains("publish"));
        assert!(!answers[1].ok);
        assert!(answers[2].ok);
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_bound() {
        let answers = exchange(&vec![b'x'; REQUEST_BYTES_MAX]);
        assert_eq!(answers.len(), 1);
        assert!(answers[0].error.as_deref().unwrap().contains("one line"));
    }

    #[test]
    fn an_ended_connection_is_held_back_when_nothing_else_is() {
        let folder = testkit::folder::Folder::new().unwrap();
        let path = folder.path().join("socket");
        let listener = Arc::new(UnixListener::bind(&path).unwrap());
        let reserve = Reserve::new(&listener);
        let is_held = || reserve.held.lock().unwrap().is_some();
        assert!(is_held());
        drop(reserve.held.lock().unwrap().take());
        let mut visitor = UnixStream::connect(&path).unwrap();
        reserve.end(reserve.accept().unwrap().0);
        assert!(is_held());
        assert_eq!(visitor.read(&mut [0]).unwrap(), 0, "the connection has ended all the same");
        UnixStream::connect(&path).unwrap();
        reserve.end(reserve.accept().unwrap().0);
        assert!(is_held());
    }

    /// Places, all of them taken by connections whose other ends are given.
    fn full(now: Instant) -> (Arc<Places>, Vec<(Place, UnixStream)>) {
        let places = Arc::new(Places::default());
        let take = |_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (place, has_let_go) = places.take(&Arc::new(ours), now).unwrap();
            assert!(!has_let_go);
            (place, theirs)
        };
        let taken = (0..CONNECTIONS_MAX).map(take).collect();
        (places, taken)
    }

    /// One that has left already: it has said nothing.
    fn stranger() -> Arc<UnixStream> {
        Arc::new(UnixStream::pair().unwrap().0)
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let now = clock::now();
        let (places, mut taken) = full(now);
        assert!(places.take(&stranger(), now).is_none(), "nobody had time to say a word yet");
        taken.pop();
        assert!(places.take(&stranger(), now).is_some_and(|(_, has_let_go)| !has_let_go));
    }

    #[test]
    fn who_is_silent_for_longest_loses_its_place_and_is_told() {
        let now = clock::now();
        let (places, taken) = full(now);
        for (place, _) in &taken {
            assert!(place.set(State::Carrying));
        }
        assert!(places.take(&stranger(), now + IDLE).is_none(), "what is carried out goes on");
        assert!(taken[3].0.set(State::Command(now + SILENT)) && taken[5].0.set(State::Command(now)));
        (&taken[3].1).write_all(b"{\"comm").unwrap();
        assert!(places.take(&stranger(), now + SILENT / 2).is_none());
        let (_new, has_let_go) = places.take(&stranger(), now + SILENT).unwrap();
        assert!(has_let_go);
        let mut told = String::new();
        (&taken[5].1).read_to_string(&mut told).unwrap();
        let told: Answer = serde_json::from_str(&told).unwrap();
        assert!(told.is_busy && !told.ok);
        assert!(!taken[5].0.set(State::Carrying), "a command that comes now is not carried out");
        assert!(taken[3].0.set(State::Carrying), "it had begun to speak");
    }

    #[test]
    fn who_has_said_its_command_need_not_wait_for_the_silent() {
        let now = clock::now();
        let (places, _taken) = full(now);
        let (ours, theirs) = UnixStream::pair().unwrap();
        (&theirs).write_all(b"{}\n").unwrap();
        assert!(places.take(&stranger(), now).is_none());
        assert!(places.take(&Arc::new(ours), now).is_some());
    }

    #[test]
    fn who_does_not_read_its_answer_loses_its_place() {
        let now = clock::now();
        let (places, taken) = full(now);
        for (place, _) in &taken {
            assert!(place.set(State::Carrying));
        }
        assert!(taken[0].0.set(State::Read(now)));
        assert!(places.take(&stranger(), now + UNREAD / 2).is_none());
        assert!(places.take(&stranger(), now + UNREAD).is_some());
        assert!(!taken[0].0.set(State::Command(now)));
    }

    #[test]
    fn threads_are_bounded_though_places_are_given_away() {
        let now = clock::now();
        let (places, mut taken) = full(now);
        let mut later = now;
        while taken.len() < THREADS_MAX {
            later += SILENT;
            taken.push((places.take(&stranger(), later).unwrap().0, UnixStream::pair().unwrap().0));
        }
        assert!(places.take(&stranger(), later + IDLE).is_none());
        taken.remove(0);
        assert!(places.take(&stranger(), later + IDLE).is_some());
    }

    #[test]
    fn a_part_of_the_places_is_left_for_what_answers_at_once() {
        let (_, taken) = full(clock::now());
        let mut long: Vec<_> = taken.iter().take(LONG_MAX).map(|(place, _)| place.long().unwrap()).collect();
        assert!(taken[0].0.long().is_none());
        long.pop();
        assert!(taken[0].0.long().is_some());
    }

    #[test]
    fn who_got_no_place_is_told_of_once_a_second() {
        let told = Mutex::new(Vec::new());
        let tell = |shed| told.lock().unwrap().push(shed);
        let mut telling = Telling { tell, untold: Shed::default(), told: None };
        let now = clock::now();
        telling.note(Some(false), now);
        telling.note(None, now);
        telling.note(None, now);
        telling.note(Some(true), now);
        telling.note(Some(false), now + TOLD_EVERY);
        telling.note(Some(false), now + 2 * TOLD_EVERY);
        let all = [Shed { sent_away: 1, let_go: 0 }, Shed { sent_away: 1, let_go: 1 }];
        assert_eq!(*told.lock().unwrap(), all);
    }
}
