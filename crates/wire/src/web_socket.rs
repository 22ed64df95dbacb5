//! A look at the frames that a WebSocket visitor sends, for those that carry nothing.
//!
//! A PING makes the origin answer, a PONG and an empty piece cost it a look; a flood of them is tiny here and
//! dear there. Only frame heads are read (RFC 6455 §5.2); payloads are stepped over, nothing is kept back or
//! changed, and what a frame says is the origin's to judge. Each message's piece with content earns, anything
//! else costs, see [`Allowance`]. A stream that is no WebSocket in truth is read as if it were one, so that
//! its owner may see it end: it asked for a WebSocket. Caller: `exchange.rs`.

use crate::abuse::Allowance;
use crate::limits::EMPTY_PER_FRAME;

/// Bytes of the longest frame head: two, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

/// The first opcode of a control frame.
const CONTROL: u8 = 8;

/// How far a visitor's frames have come.
#[derive(Debug)]
pub(crate) struct WebSocketCheck {
    head: [u8; HEAD_BYTES_MAX],
    /// Bytes of `head` that have come.
    has: usize,
    payload_left: u64,
    allowance: Allowance,
}

impl WebSocketCheck {
    pub(crate) fn new() -> Self {
        Self { head: [0; HEAD_BYTES_MAX], has: 0, payload_left: 0, allowance: Allowance::new() }
    }

    /// Looks at the bytes that come next; false if more came that carries nothing than may come. `now_tick`
    /// is that of the thread's deadlines.
    pub(crate) fn judge(&mut self, mut bytes: &[u8], now_tick: u32) -> bool {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let stepped = bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= stepped as u64;
                bytes = bytes.get(stepped..).unwrap_or_default();
                continue;
            }
            let wanted = head_bytes(self.head.get(..self.has).unwrap_or_default());
            let fits = bytes.len().min(wanted - self.has);
            let (now, rest) = bytes.split_at(fits);
            if let Some(place) = self.head.get_mut(self.has..self.has + fits) {
                place.copy_from_slice(now);
            }
            self.has += fits;
            bytes = rest;
            let head = self.head.get(..self.has).unwrap_or_default();
            if self.has < wanted || head_bytes(head) > self.has {
                continue;
            }
            self.payload_left = payload_bytes(head);
            let is_control = head.first().is_some_and(|first| first & 0xf >= CONTROL);
            self.has = 0;
            if !is_control && self.payload_left > 0 {
                self.allowance.earn(EMPTY_PER_FRAME);
            } else if !self.allowance.spend(now_tick) {
                return false;
            }
        }
        true
    }
}

/// Bytes of a frame's head as far as its front tells: two at the least.
fn head_bytes(front: &[u8]) -> usize {
    let Some(second) = front.get(1) else { return 2 };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + length + if second & 0x80 != 0 { 4 } else { 0 }
}

/// Bytes of the payload that a whole head announces.
fn payload_bytes(head: &[u8]) -> u64 {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    match head.get(1).map_or(0, |second| second & 0x7f) {
        126 => number(head.get(2..4).unwrap_or_default()),
        127 => number(head.get(2..10).unwrap_or_default()),
        short => u64::from(short),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::EMPTY_BURST;

    /// A masked frame.
    fn frame(opcode: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        match payload {
            0..126 => frame.push(0x80 | payload as u8),
            126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(0x80 | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(vec![0x89; payload]); // which looks like PINGs to who loses count
        frame
    }

    #[test]
    fn messages_pass_without_end_and_control_frames_beside_them() {
        let mut check = WebSocketCheck::new();
        for payload in [1, 125, 126, 65_535, 65_536] {
            let mut bytes = frame(2, payload);
            (0..EMPTY_PER_FRAME).for_each(|_| bytes.extend(frame(9, 4)));
            assert!((0..2 * EMPTY_BURST).all(|_| check.judge(&bytes, 0)), "{payload}");
        }
    }

    #[test]
    fn control_frames_and_empty_messages_alone_end_after_a_burst() {
        for (opcode, payload) in [(9, 0), (9, 125), (10, 4), (8, 2), (1, 0), (0, 0)] {
            let mut check = WebSocketCheck::new();
            let bytes = frame(opcode, payload);
            let passed = (0..10_000).take_while(|_| check.judge(&bytes, 0)).count();
            assert_eq!(passed, EMPTY_BURST as usize, "{opcode} {payload}");
        }
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(
            frames in proptest::collection::vec((0..16_u8, 0..70_000_usize), 1..20),
            cuts in proptest::collection::vec(1..5_000_usize, 1..10),
        ) {
            let bytes = frames.iter().flat_map(|(opcode, payload)| frame(*opcode, *payload));
            let bytes: Vec<u8> = bytes.collect();
            let (mut whole, mut pieces) = (WebSocketCheck::new(), WebSocketCheck::new());
            let judged = whole.judge(&bytes, 0);
            let (mut at, mut all) = (0, true);
            for cut in cuts.iter().cycle() {
                if at >= bytes.len() {
                    break;
                }
                let end = bytes.len().min(at + cut);
                all &= pieces.judge(&bytes[at..end], 0);
                at = end;
            }
            prop_assert_eq!(judged, all);
            prop_assert_eq!((whole.has, whole.payload_left), (0, 0));
            prop_assert_eq!((pieces.has, pieces.payload_left), (0, 0));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let mut check = WebSocketCheck::new();
            let _either = check.judge(&bytes, 0);
            prop_assert!(check.has < HEAD_BYTES_MAX);
        }
    }
}
