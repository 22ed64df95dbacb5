//! One direction over real sockets: order, back-pressure, the end, and what it holds.

use std::net::{TcpListener, TcpStream};

use super::*;
use crate::limits::CHUNK_BYTES;

/// Two ends of one connection, both non-blocking.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    one.set_nonblocking(true).unwrap();
    other.set_nonblocking(true).unwrap();
    (one, other)
}

/// Writes until the kernel takes no more; gives what it took.
fn fill(mut socket: &TcpStream, bytes: &[u8]) -> usize {
    let mut taken = 0;
    while let Ok(count) = socket.write(&bytes[taken..]) {
        taken += count;
    }
    taken
}

#[test]
fn a_slow_reader_slows_the_writer_and_one_chunk_is_held() {
    let (writer, from) = pair();
    let (to, mut reader) = pair();
    let sent: Vec<u8> = (0..32 << 20).map(|place: u32| (place % 251) as u8).collect();
    let mut scratch = vec![0; CHUNK_BYTES];
    let mut flow = Flow::default();
    let mut taken = 0;
    let mut rounds_without = 0;
    // Until the writer, the flow and the kernel are all full. Loopback delivers within the call, mostly.
    while rounds_without < 100 {
        let count = fill(&writer, &sent[taken..]);
        taken += count;
        let moved = flow.pump(&from, &to, &mut scratch).unwrap();
        rounds_without = if count == 0 && moved == 0 { rounds_without + 1 } else { 0 };
        assert!(flow.pending.capacity() <= CHUNK_BYTES);
    }
    assert!(taken < sent.len(), "the writer was not slowed");
    assert!(flow.wants_write() && !flow.wants_read());

    writer.shutdown(Shutdown::Write).unwrap();
    reader.set_nonblocking(false).unwrap();
    let received = std::thread::spawn(move || {
        let mut received = Vec::new();
        reader.read_to_end(&mut received).unwrap();
        received
    });
    while !flow.is_shut {
        flow.pump(&from, &to, &mut scratch).unwrap();
        std::thread::yield_now();
    }
    assert!(received.join().unwrap() == sent[..taken], "bytes were lost or changed");
    assert_eq!(flow.pending.capacity(), 0, "an idle direction holds memory");
}

#[test]
fn bytes_put_before_others_come_first() {
    let mut flow = Flow::default();
    flow.push(b"hello");
    flow.push(b" you");
    flow.push_front(b"PROXY ");
    assert_eq!(flow.waiting(), b"PROXY hello you");
    flow.skip(6);
    assert_eq!(flow.waiting(), b"hello you");
    flow.skip(100);
    assert!(flow.waiting().is_empty());
}

#[test]
fn the_last_words_are_followed_by_the_end() {
    let (to, mut reader) = pair();
    let mut flow = Flow::last(b"sorry".to_vec());
    flow.pump(&to, &to, &mut [0; 16]).unwrap();
    assert!(flow.is_shut && !flow.wants_read() && !flow.wants_write());
    reader.set_nonblocking(false).unwrap();
    let mut received = String::new();
    reader.read_to_string(&mut received).unwrap();
    assert_eq!(received, "sorry");
}

#[test]
fn a_turn_is_bounded_so_that_others_have_theirs() {
    let (writer, from) = pair();
    let (to, reader) = pair();
    let sent = vec![7; 4 << 20];
    fill(&writer, &sent);
    let drain = std::thread::spawn(move || {
        reader.set_nonblocking(false).unwrap();
        io::copy(&mut &reader, &mut io::sink()).unwrap()
    });
    let mut flow = Flow::default();
    let mut total = 0;
    let mut scratch = vec![0; CHUNK_BYTES];
    drop(writer);
    while !flow.is_shut {
        let moved = flow.pump(&from, &to, &mut scratch).unwrap();
        assert!(moved <= (TURN_BYTES + 2 * CHUNK_BYTES) as u64);
        total += moved;
        std::thread::yield_now();
    }
    drop(to);
    assert_eq!(drain.join().unwrap(), total);
}
