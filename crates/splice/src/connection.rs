//! One visitor's connection, and the place where all of them are kept.
//!
//! State only; what is done with it stands in [`crate::serve`]. A place is used again under another number,
//! so that an event which the kernel reported for the connection before is not taken for the new one's.

use std::net::{SocketAddr, TcpStream};
use std::time::Instant;
use std::vec::IntoIter;

use crate::flow::Flow;
use crate::serve::Protocol;
use crate::watch::EventFlags;

/// How far a connection is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Its hello or head is not whole yet; what came waits in `up`.
    Greeting,
    /// An address was asked for a connection; others are left.
    Connecting { asked: SocketAddr, left: IntoIter<SocketAddr> },
    /// Bytes go both ways.
    Spliced,
    /// It was refused: the answer leaves by `down`, and what still comes is thrown away.
    Closing { thrown_bytes: usize },
}

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Visitor,
    Origin,
}

/// A connection. Some 250 bytes, and at most 32 KiB in its two flows.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) visitor: TcpStream,
    pub(crate) origin: Option<TcpStream>,
    pub(crate) peer: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) is_proxied: bool,
    pub(crate) stage: Stage,
    pub(crate) up: Flow,
    pub(crate) down: Flow,
    pub(crate) deadline: Instant,
    pub(crate) visitor_watched: EventFlags,
    pub(crate) origin_watched: EventFlags,
}

impl Connection {
    /// What a socket is watched for at present.
    pub(crate) fn watched(&self, side: Side) -> EventFlags {
        match side {
            Side::Visitor => self.visitor_watched,
            Side::Origin => self.origin_watched,
        }
    }

    /// What the visitor's socket is to be watched for.
    pub(crate) fn visitor_wish(&self) -> EventFlags {
        match self.stage {
            Stage::Greeting => EventFlags::IN,
            Stage::Connecting { .. } => EventFlags::empty(),
            Stage::Spliced => wish_of(&self.up, &self.down),
            Stage::Closing { .. } => wish(!self.up.has_ended, self.down.wants_write()),
        }
    }

    /// What the origin's socket is to be watched for.
    pub(crate) fn origin_wish(&self) -> EventFlags {
        match self.stage {
            Stage::Connecting { .. } => EventFlags::OUT,
            Stage::Spliced => wish_of(&self.down, &self.up),
            Stage::Greeting | Stage::Closing { .. } => EventFlags::empty(),
        }
    }
}

/// What an end of a forwarded connection is watched for: one that has sent its last byte, all of it
/// delivered, for its reset at least, so that the other end does not wait for nothing. Before that a reset is
/// found when reading comes to it, behind what was sent before.
fn wish_of(from: &Flow, to: &Flow) -> EventFlags {
    match wish(from.wants_read(), to.wants_write()) {
        nothing if nothing.is_empty() && from.is_shut && !to.is_shut => EventFlags::ERR,
        wish => wish,
    }
}

fn wish(read: bool, write: bool) -> EventFlags {
    let one = |is_wanted, flag| if is_wanted { flag } else { EventFlags::empty() };
    one(read, EventFlags::IN) | one(write, EventFlags::OUT)
}

/// Names one socket of one connection to the kernel: number, place and side in 64 bits. Numbers begin at 1,
/// so tokens below 2^32 are free for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) number: u32,
    pub(crate) place: u32,
    pub(crate) side: Side,
}

impl Token {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.number) << 32 | u64::from(self.place) << 1 | u64::from(self.side == Side::Origin)
    }

    pub(crate) fn from_u64(token: u64) -> Self {
        let side = if token & 1 == 0 { Side::Visitor } else { Side::Origin };
        Self { number: (token >> 32) as u32, place: (token as u32) >> 1, side }
    }
}

/// All connections, each in a place of its own.
#[derive(Debug, Default)]
pub(crate) struct Places {
    places: Vec<Place>,
    free: Vec<u32>,
    open: usize,
}

#[derive(Debug)]
struct Place {
    number: u32,
    connection: Option<Box<Connection>>,
}

impl Places {
    /// How many are kept, those taken out included.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Makes a place for a connection that is put there later.
    pub(crate) fn add(&mut self) -> Token {
        self.open += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { number: 1, connection: None });
            // Bounded by the limit on connections, which has fewer bits.
            (self.places.len() - 1) as u32
        });
        let number = self.places.get(place as usize).map_or(1, |place| place.number);
        Token { number, place, side: Side::Visitor }
    }

    /// Takes a connection out to work on it; `None` if it is gone.
    pub(crate) fn take(&mut self, token: Token) -> Option<Box<Connection>> {
        let place = self.places.get_mut(token.place as usize)?;
        place.connection.take_if(|_| place.number == token.number)
    }

    /// Puts it back.
    pub(crate) fn put(&mut self, token: Token, connection: Box<Connection>) {
        if let Some(place) = self.places.get_mut(token.place as usize) {
            place.connection = Some(connection);
        }
    }

    /// Gives the place of one that was taken out to others.
    pub(crate) fn release(&mut self, token: Token) {
        if let Some(place) = self.places.get_mut(token.place as usize) {
            place.number = place.number.checked_add(1).unwrap_or(1);
            self.free.push(token.place);
            self.open = self.open.saturating_sub(1);
        }
    }

    /// Those whose deadline has come.
    pub(crate) fn due(&self, now: Instant) -> Vec<Token> {
        let due = |(place, kept): (usize, &Place)| {
            let is_due = kept.connection.as_ref().is_some_and(|connection| connection.deadline <= now);
            is_due.then_some(Token { number: kept.number, place: place as u32, side: Side::Visitor })
        };
        self.places.iter().enumerate().filter_map(due).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token { number: 1, place: 0, side: Side::Visitor },
            Token { number: u32::MAX, place: u32::MAX >> 1, side: Side::Origin },
        ] {
            assert_eq!(Token::from_u64(token.to_u64()), token);
            assert!(token.to_u64() > u64::from(u32::MAX));
        }
    }

    #[test]
    fn a_place_used_again_has_another_number() {
        let mut places = Places::default();
        let first = places.add();
        places.release(first);
        let second = places.add();
        assert_eq!((first.place, places.open()), (second.place, 1));
        assert_ne!(first.number, second.number);
        assert!(places.take(first).is_none());
    }
}
