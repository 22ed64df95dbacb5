//! The edge's side of the command socket: reads a request a line, answers a line.
//!
//! Plain threads, off the serving ones: a publish compiles for as long as it takes, and a command that
//! nobody reads the answer of holds up only itself. It does not know what commands do: that is `Carry`'s.
//! Called by [`crate::edge_role`]; read next: [`crate::messages`].

use std::io::{self, BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{DupFlags, Errno, dup3};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::messages::{Answer, REQUEST_BYTES_MAX, Request};

/// Connections served at a time; each costs a thread. A person, a deploy script and a monitor or two.
const CONNECTIONS_MAX: usize = 16;

/// How long a connection may be silent, and how long it may take to read an answer.
const IDLE: Duration = Duration::from_secs(30);

/// Carries a command out. It may say how far it has come before it answers; whoever asked may be gone by
/// then.
pub(crate) type Carry = dyn Fn(Request, &dyn Fn(&Answer)) -> Answer + Send + Sync;

/// Descriptors in one packet: as between processes.
const DESCRIPTORS_PER_PACKET: usize = crate::control::DESCRIPTORS_PER_PACKET;

/// Ends the accepting of commands when it is dropped: an edge that drains leaves them to the next one, which
/// holds the same socket. Connections that are open go on.
#[derive(Debug)]
pub(crate) struct Accepting(#[expect(dead_code, reason = "it tells by being closed")] UnixStream);

/// Accepts connections until the result is dropped.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn serve(listener: UnixListener, carry: Arc<Carry>) -> io::Result<Accepting> {
    let open = Arc::new(AtomicUsize::new(0));
    let (ours, theirs) = UnixStream::pair()?;
    // Another process may take the connection between the two calls.
    listener.set_nonblocking(true)?;
    let listener = Arc::new(listener);
    let reserve = Arc::new(Reserve::new(&listener));
    let accept = move || {
        loop {
            let mut watched = [PollFd::new(&*listener, PollFlags::IN), PollFd::new(&theirs, PollFlags::IN)];
            let polled = poll(&mut watched, None);
            if !watched[1].revents().is_empty() {
                return;
            }
            let accepted = polled.map_err(io::Error::from).and_then(|_| reserve.accept());
            let connection = match accepted {
                Ok((connection, _)) => connection,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    // Out of descriptors: the pause lets connections end.
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let place = Place::take(&open);
            if place.is_none() {
                let _ = answer(&connection, &Answer::refused("too many commands at once: try again"));
                continue;
            }
            let (carry, reserve) = (Arc::clone(&carry), Arc::clone(&reserve));
            let started = thread::Builder::new().name("command".into()).spawn(move || {
                let _place = place;
                // Whoever asked is gone when this fails; there is nobody to tell.
                let _ = serve_connection(&connection, &*carry);
                reserve.end(connection);
            });
            // Without a thread the connection is closed; the command says that the node gave no answer.
            drop(started);
        }
    };
    thread::Builder::new().name("commands".into()).spawn(accept)?;
    Ok(Accepting(ours))
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

/// A place among [`CONNECTIONS_MAX`], given back on drop.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let taken = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < CONNECTIONS_MAX).then_some(taken)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn serve_connection(connection: &UnixStream, carry: &Carry) -> io::Result<()> {
    connection.set_read_timeout(Some(IDLE))?;
    connection.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(connection);
    loop {
        let mut line = Vec::new();
        // The bound holds for each line alone.
        (&mut reader).take(REQUEST_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            let text = format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes");
            return answer(connection, &Answer::refused(text));
        }
        let given = match serde_json::from_slice(&line) {
            Ok(request) => carry(request, &|progress| {
                let _ = answer(connection, progress);
            }),
            Err(error) => Answer::refused(format!(
                "the request is not understood: {error}; known are {{\"command\":\"publish\"}}, \
                 {{\"command\":\"status\"}} and {{\"command\":\"trace\",\"request_id\":\"…\"}}"
            )),
        };
        answer(connection, &given)?;
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
    use std::net::Shutdown;

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
            serve_connection(&theirs, &*carry)
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

    #[test]
    fn places_are_bounded_and_given_back() {
        let open = Arc::new(AtomicUsize::new(0));
        let mut taken: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Place::take(&open).unwrap()).collect();
        assert!(Place::take(&open).is_none());
        taken.pop();
        assert!(Place::take(&open).is_some());
    }
}
