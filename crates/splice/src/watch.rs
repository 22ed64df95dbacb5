//! epoll, level-triggered: which sockets are ready.
//!
//! A socket that nothing is wanted of is taken out altogether, since the kernel reports a hang-up even of
//! those without a wish, again and again. Level-triggered, because then a forgotten event comes again. Used
//! by the loop alone.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

pub(crate) use rustix::event::epoll::EventFlags;
use rustix::event::epoll::{self, Event, EventData};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::limits::EVENTS_PER_TURN;

/// What is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: OwnedFd,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Changes what is wanted of a socket from `have` to `want`.
    pub(crate) fn change(
        &self,
        socket: impl AsFd,
        token: u64,
        have: &mut EventFlags,
        want: EventFlags,
    ) -> io::Result<()> {
        if *have == want {
            return Ok(());
        }
        let data = EventData::new_u64(token);
        if have.is_empty() {
            epoll::add(&self.epoll, socket, data, want)?;
        } else if want.is_empty() {
            epoll::delete(&self.epoll, socket)?;
        } else {
            epoll::modify(&self.epoll, socket, data, want)?;
        }
        *have = want;
        Ok(())
    }

    /// Waits for events and puts them in the place of those in `events`; none when the time is over or a
    /// signal came.
    pub(crate) fn wait(&self, events: &mut Vec<(u64, EventFlags)>, time: Duration) -> io::Result<()> {
        events.clear();
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(0) };
        let mut buffer = [nothing; EVENTS_PER_TURN];
        match epoll::wait(&self.epoll, &mut buffer[..], Some(&timespec(time))) {
            Ok(count) => {
                // Copied out of the packed struct.
                events.extend(buffer.iter().take(count).map(|event| ({ event.data }.u64(), { event.flags })));
                Ok(())
            }
            Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a descriptor has something to read, or its other end is closed, now.
pub(crate) fn is_ready(descriptor: impl AsFd) -> bool {
    let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut watched, Some(&timespec(Duration::ZERO))).is_ok_and(|count| count > 0)
}

fn timespec(time: Duration) -> Timespec {
    // Rounded up to whole milliseconds: the kernel's older call counts in them, and a wait that ends just
    // before something is due would only be repeated.
    let millis = i64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i64::MAX);
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
