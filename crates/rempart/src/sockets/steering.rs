//! Steering: which slot of a group a visitor goes to, as a classic BPF program in the kernel
//! (`SO_ATTACH_REUSEPORT_CBPF`, socket(7)).
//!
//! TCP: a share of the visitors, chosen by the prefix of their address, goes to the candidate's slot; the
//! others are spread over the threads by address and port. UDP: a QUIC packet whose connection id is ours
//! goes to the slot that its first two bytes name; one whose id the visitor chose goes to the serving
//! generation, or for a share of these ids to the candidate. A program is swapped whole, for the next packet
//! on. It is deterministic, as SYN cookies ask: the same visitor gets the same slot as long as nothing is
//! swapped. Called by [`crate::supervisor`]; the connection ids are made by `wire`.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use super::ListenerSockets;

/// Bytes of the connection ids that `wire` makes. Uncommon among visitors, so that a packet with a long
/// header tells by its length whose id it carries.
const CONNECTION_ID_BYTES: u32 = wire::CONNECTION_ID_BYTES as u32;

/// Where the network header begins for a load (`SKF_NET_OFF` of linux/filter.h).
const NETWORK: u32 = -0x10_0000_i32 as u32;

/// Odd, with bits set all over (2³² divided by the golden ratio): multiplies what was folded into itself.
const MIX: u32 = 0x9e37_79b1;

/// Who gets which visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Steering {
    /// Serving threads, at least 1.
    pub(crate) threads: usize,
    /// The generation of UDP sockets that serves new QUIC connections, 0 or 1.
    pub(crate) udp_generation: usize,
    /// The candidate's share in percent, 0 to 100.
    pub(crate) candidate_percent: u8,
    /// Whether the candidate gets its share of QUIC too: its socket may be another's yet.
    pub(crate) candidate_has_udp: bool,
    /// Odd, drawn at the node's start: nobody outside can choose whom to share a thread with.
    pub(crate) secret: u32,
}

impl Steering {
    /// Puts the programs in place, for all sockets of a listener at once.
    ///
    /// # Errors
    /// When the kernel refuses them; the ones before stay.
    pub(crate) fn apply(&self, listener: &ListenerSockets) -> io::Result<()> {
        if let Some(first) = listener.tcp.first() {
            attach(first, &mut self.tcp_program(listener.address))?;
        }
        if let Some(first) = listener.udp.first() {
            attach(first, &mut self.udp_program())?;
        }
        Ok(())
    }

    /// The slot of a new TCP connection: addresses as the network header has them (RFC 791 §3.1, RFC 8200
    /// §3). With IP options the port is read from these, which spreads worse and harms nothing.
    fn tcp_program(&self, local: SocketAddr) -> Vec<libc::sock_filter> {
        let threads = number(self.threads);
        let share = u32::from(self.candidate_percent.min(100));
        // The prefix: /24 of IPv4, /48 of IPv6.
        let prefix = match local {
            SocketAddr::V4(_) => vec![load_word(NETWORK + 12), and(0xffff_ff00), multiply(self.secret)],
            SocketAddr::V6(_) => vec![
                load_word(NETWORK + 8),
                multiply(self.secret),
                to_x(),
                load_half(NETWORK + 12),
                add_x(),
                multiply(self.secret),
            ],
        };
        let mut program = Vec::new();
        if share > 0 {
            program.extend(prefix.iter().copied());
            program.extend(mixed());
            program.extend([modulo(100), skip_unless_below(share, 1), answer(threads)]);
        }
        let (last, port) = match local {
            SocketAddr::V4(_) => (NETWORK + 12, NETWORK + 20),
            SocketAddr::V6(_) => (NETWORK + 20, NETWORK + 40),
        };
        program.extend([
            load_word(last),
            multiply(self.secret),
            to_x(),
            load_half(port),
            add_x(),
            multiply(self.secret),
        ]);
        program.extend(mixed());
        program.extend([modulo(threads), answer_a()]);
        program
    }

    /// The slot of a QUIC packet (RFC 9000 §17.2 and §17.3): the id stands behind the first byte of a short
    /// header, and behind version and length in a long one. A packet too short for the loads goes to the
    /// first slot, which drops it.
    fn udp_program(&self) -> Vec<libc::sock_filter> {
        let threads = number(self.threads);
        let slots = number(super::udp_slots(self.threads));
        let base = number(self.threads * (self.udp_generation % 2));
        // In 256ths, since it is compared with a byte that is random.
        let percent = if self.candidate_has_udp { self.candidate_percent.min(100) } else { 0 };
        let share = u32::from(percent) * 256 / 100;
        vec![
            load_byte(0),
            skip_unless_set(0x80, 5),
            load_byte(5),
            skip_unless_equal(CONNECTION_ID_BYTES, 6),
            load_half(6),
            modulo(slots),
            answer_a(),
            // A short header.
            load_half(1),
            modulo(slots),
            answer_a(),
            // A long header with an id that the visitor chose.
            load_byte(7),
            skip_unless_below(share, 1),
            answer(slots - 1),
            load_byte(6),
            modulo(threads),
            add(base),
            answer_a(),
        ]
    }
}

/// Makes of a product, in `a`, sixteen bits that depend on all of it. Multiples of one number alone stand in
/// a row: with one secret in a hundred, the prefixes of neighbouring networks, or the ports of one visitor,
/// would all come to the same remainder.
fn mixed() -> [libc::sock_filter; 5] {
    [to_x(), shift_right(15), xor_x(), multiply(MIX), shift_right(16)]
}

/// A count of slots in a program: at most 2 × 256 threads and one.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn attach(socket: &impl AsFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).unwrap_or(u16::MAX);
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    setsockopt(socket, sockopt::AttachReusePortCbpf, &program).map_err(io::Error::from)
}

// One instruction each, in the words of linux/bpf_common.h; `a` and `x` are its two registers.

fn step(code: u32, jump_true: u8, jump_false: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k }
}

fn load_byte(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, at)
}

fn load_half(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, at)
}

fn load_word(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at)
}

fn and(k: u32) -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, k)
}

fn add(k: u32) -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K, 0, 0, k)
}

fn add_x() -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_ADD | libc::BPF_X, 0, 0, 0)
}

fn xor_x() -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0, 0, 0)
}

fn to_x() -> libc::sock_filter {
    step(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0)
}

fn multiply(k: u32) -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K, 0, 0, k)
}

fn shift_right(k: u32) -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, k)
}

fn modulo(k: u32) -> libc::sock_filter {
    step(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, k.max(1))
}

/// Goes on when `a` has the bits, else skips so many instructions.
fn skip_unless_set(bits: u32, skipped: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, skipped, bits)
}

fn skip_unless_equal(value: u32, skipped: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skipped, value)
}

/// Goes on when `a` is below the bound, else skips so many instructions.
fn skip_unless_below(bound: u32, skipped: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, skipped, 0, bound)
}

fn answer(slot: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, 0, 0, slot)
}

fn answer_a() -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_A, 0, 0, 0)
}

#[cfg(test)]
mod tests;
