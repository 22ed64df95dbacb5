//! A server of names for a drill: answers questions for addresses over UDP, or does not, by the list that is
//! asked for.
//!
//! Called by [`super::dependencies`]; read next: [`Manner`].

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};

/// Bytes of a message's head (RFC 1035 §4.1.1).
const HEAD: usize = 12;

/// How a list answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// With an address, at once.
    Right,
    /// Never.
    Hangs,
    /// That it refuses to say (RFC 1035 §4.1.1, code 5).
    Refuses,
    /// That it failed (code 2).
    Fails,
    /// With bytes that are no message.
    Garbage,
    /// With an answer that announces more records than it has.
    Cut,
    /// With a name that points to itself (RFC 1035 §4.1.4).
    Circle,
    /// With the right answer to another question.
    Another,
}

impl Manner {
    /// Each, with the list that answers so.
    pub(super) const ALL: [(Self, &'static str); 8] = [
        (Self::Right, "right"),
        (Self::Hangs, "hangs"),
        (Self::Refuses, "refuses"),
        (Self::Fails, "fails"),
        (Self::Garbage, "garbage"),
        (Self::Cut, "cut"),
        (Self::Circle, "circle"),
        (Self::Another, "another"),
    ];

    /// What is said to a question; nothing where nothing is said.
    fn answer(self, question: &[u8]) -> Option<Vec<u8>> {
        const ADDRESS: &[u8] = b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x7f\0\0\x02";
        // An answer, recursion done, one record.
        let with = |code: u8, records: u8| {
            let mut said = question.to_vec();
            for (at, byte) in [(2, 0x81), (3, 0x80 | code), (7, records)] {
                *said.get_mut(at)? = byte;
            }
            Some(said)
        };
        match self {
            Self::Right => with(0, 1).map(|said| [&said, ADDRESS].concat()),
            Self::Hangs => None,
            Self::Refuses => with(5, 0),
            Self::Fails => with(2, 0),
            Self::Garbage => Some((0..200_u32).map(|at| (at * 73 % 251) as u8).collect()),
            Self::Cut => with(0, 200).map(|said| [said.as_slice(), &ADDRESS[..9]].concat()),
            Self::Circle => with(0, 1).map(|mut said| {
                let at = u8::try_from(said.len()).unwrap_or(u8::MAX);
                said.extend([0xc0, at, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2]);
                said
            }),
            Self::Another => with(0, 1).map(|said| {
                let mut said = [&said, ADDRESS].concat();
                if let Some(id) = said.first_mut() {
                    *id ^= 0xff;
                }
                said
            }),
        }
    }
}

/// The list that a question is about: the label before `example`.
fn list_of(question: &[u8]) -> Option<String> {
    let (mut labels, mut at): (Vec<&[u8]>, usize) = (Vec::new(), HEAD);
    loop {
        let length = usize::from(*question.get(at)?);
        if length == 0 {
            let list = labels.len().checked_sub(2)?;
            return labels.get(list).map(|label| String::from_utf8_lossy(label).into_owned());
        }
        labels.push(question.get(at + 1..at + 1 + length)?);
        at += 1 + length;
    }
}

/// A server of names. It ends when it is dropped.
pub(super) struct Names {
    address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Names {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// When there is no port or thread.
    pub(super) fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no port")?;
        let address = socket.local_addr()?;
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::Builder::new().name("names".to_owned()).spawn(move || {
            let mut room = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut room) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let question = room.get(..length).unwrap_or_default();
                let list = list_of(question);
                let manner = Manner::ALL.iter().find(|(_, name)| list.as_deref() == Some(*name));
                if let Some(said) = manner.and_then(|(manner, _)| manner.answer(question)) {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&said, from);
                }
            }
        })?;
        Ok(Self { address, ends, thread: Some(thread) })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Something to wake up for.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[0], self.address);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x05right\x07example\0\0\x01\0\x01";

    #[test]
    fn the_list_is_read_off_a_question() {
        assert_eq!(list_of(QUESTION).as_deref(), Some("right"));
        assert_eq!(list_of(&QUESTION[..20]), None);
        assert_eq!(list_of(&[0]), None);
    }

    #[test]
    fn one_manner_alone_is_an_answer_to_the_question_asked() {
        for (manner, name) in Manner::ALL {
            let said = manner.answer(QUESTION);
            let is_right = said.as_ref().is_some_and(|said| {
                said[..2] == QUESTION[..2] && said[3] & 0xf == 0 && said.ends_with(&[127, 0, 0, 2])
            });
            // The circle is one too, but for where its name points.
            assert_eq!(is_right, matches!(manner, Manner::Right | Manner::Circle), "{name}: {said:?}");
            assert_eq!(said.is_none(), manner == Manner::Hangs, "{name}");
        }
    }
}
