//! A look at the frames that go to the h2 crate, for what it lets pass and RFC 9113 does not.
//!
//! Two things: another frame than SETTINGS as a connection's first (§3.4), and pseudo-fields in trailers
//! (§8.1), which h2 drops without a word. A frame that is at fault is changed by one byte into one that h2
//! itself answers with the right error, so that state and wording stay h2's: the first frame becomes a
//! CONTINUATION that continues nothing, such trailers lose their END_STREAM.
//!
//! Only frame heads are read, and the first bytes of trailers; payloads are stepped over. What it does not
//! see: a pseudo-field by an index of the dynamic table, or behind an empty first fragment. It costs its
//! sender the error and nobody anything, for h2 drops those as well.
//!
//! It also knows whether a field block has begun and not ended, and how many streams have begun, which h2
//! does not tell. And it keeps the account of frames that carry nothing: h2 answers or drops each for ever.
//! Caller: `h2.rs`.

use crate::Abuse;
use crate::abuse::Allowance;
use crate::limits::{EMPTY_PER_FRAME, STREAMS};

/// Bytes of the client's preface.
const PREFACE_BYTES: u8 = 24;

const FRAME_HEAD_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY_FRAME: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// RFC 9218 §7.1.
const PRIORITY_UPDATE: u8 = 0x10;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Bytes of a payload that tell whether its first field is a pseudo-field: a pad length, a priority, two
/// table size updates, a literal's first byte, its name's length and the name's first byte, each integer at
/// its longest of six bytes.
const TOLD_BY_BYTES: usize = 1 + 5 + 2 * 6 + 1 + 6 + 1;

/// The most that [`FrameCheck::judge`] keeps back.
pub(super) const KEPT_BYTES_MAX: usize = FRAME_HEAD_BYTES + TOLD_BY_BYTES;

/// The last index of the static table whose name is a pseudo-field's (RFC 7541, appendix A).
const PSEUDO_INDEX_MAX: u64 = 14;

/// How far a connection's frames have come.
#[derive(Debug)]
pub(super) struct FrameCheck {
    preface_left: u8,
    has_settings: bool,
    stream_max: u32,
    /// Streams whose request has begun and not ended: only what comes on them can be trailers.
    uploading: Vec<u32>,
    payload_left: usize,
    /// The payload that is left belongs to a field block.
    is_field_block: bool,
    /// A field block's last frame was not the block's last.
    continues: bool,
    allowance: Allowance,
    begun: u64,
    flood: Option<Abuse>,
}

impl FrameCheck {
    pub(super) fn new() -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            has_settings: false,
            stream_max: 0,
            uploading: Vec::new(),
            payload_left: 0,
            is_field_block: false,
            continues: false,
            allowance: Allowance::new(),
            begun: 0,
            flood: None,
        }
    }

    /// Streams that the visitor began.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Of what more came than may come. Nothing that was judged since is to be looked at.
    pub(super) fn flood(&self) -> Option<Abuse> {
        self.flood
    }

    /// So many frames of answers were given.
    pub(super) fn gave(&mut self, frames: u32) {
        self.allowance.earn(frames.saturating_mul(EMPTY_PER_FRAME));
    }

    /// Keeps the account: what carries something earns, anything else costs. A piece of a body that is padded
    /// counts as empty where the padding may be all of it.
    fn weigh(&mut self, (kind, flags): (u8, u8), is_stray: bool, length: usize, now_tick: u32) {
        let of = match kind {
            HEADERS if is_stray => Abuse::OtherFrames,
            HEADERS => return self.allowance.earn(EMPTY_PER_FRAME),
            CONTINUATION => return, // h2 bounds these, for each block
            DATA if length == 0 && flags & END_STREAM != 0 => return, // one a stream
            DATA if length > 256 || (flags & PADDED == 0 && length > 0) => return self.allowance.earn(1),
            DATA => Abuse::EmptyData,
            SETTINGS => Abuse::Settings,
            PING => Abuse::Ping,
            WINDOW_UPDATE => Abuse::Window,
            PRIORITY_FRAME | PRIORITY_UPDATE => Abuse::Priority,
            RST_STREAM => Abuse::Resets,
            _ => Abuse::OtherFrames,
        };
        if !self.allowance.spend(now_tick) {
            self.flood.get_or_insert(of);
        }
    }

    /// Whether a field block has begun to come and not yet ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.continues || (self.is_field_block && self.payload_left > 0)
    }

    fn begin_upload(&mut self, stream: u32) {
        if self.uploading.len() >= STREAMS as usize {
            self.uploading.remove(0); // one that we reset, as the visitor did not heed
        }
        self.uploading.push(stream);
    }

    fn end_upload(&mut self, stream: u32) {
        self.uploading.retain(|one| *one != stream);
        if self.uploading.is_empty() {
            self.uploading = Vec::new(); // an idle connection holds no buffer
        }
    }

    /// Looks at the bytes that come next and changes frames that are at fault. Returns how many at their end
    /// cannot be judged yet, at most [`KEPT_BYTES_MAX`]: they are to be given again, at the front of the
    /// next. `now_tick` is that of the thread's deadlines.
    pub(super) fn judge(&mut self, bytes: &mut [u8], now_tick: u32) -> usize {
        let of_preface = bytes.len().min(usize::from(self.preface_left));
        self.preface_left -= of_preface as u8;
        let mut at = of_preface;
        loop {
            let stepped = self.payload_left.min(bytes.len() - at);
            self.payload_left -= stepped;
            at += stepped;
            let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) else { return 0 };
            let Some((head, payload)) = rest.split_first_chunk_mut::<FRAME_HEAD_BYTES>() else {
                return rest.len();
            };
            let [high, middle, low, kind, flags, stream @ ..] = head;
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            let stream = u32::from_be_bytes(*stream) & (u32::MAX >> 1);
            if !std::mem::replace(&mut self.has_settings, true) && (*kind != SETTINGS || *flags & ACK != 0) {
                *kind = CONTINUATION;
            }
            let ends = *flags & END_STREAM != 0;
            // For a stream that is over, or that we reset: h2 decodes it for the table's sake and drops it.
            // Of one that is neither only trailers may come, once, and they end it (RFC 9113 §8.1).
            let is_stray =
                *kind == HEADERS && stream <= self.stream_max && !(ends && self.uploading.contains(&stream));
            match *kind {
                HEADERS if stream > self.stream_max => {
                    self.stream_max = stream;
                    self.begun += 1;
                    if !ends {
                        self.begin_upload(stream);
                    }
                }
                HEADERS if ends && self.uploading.contains(&stream) => {
                    let told_by = length.min(TOLD_BY_BYTES);
                    let Some(front) = payload.get(..told_by) else { return FRAME_HEAD_BYTES + payload.len() };
                    if begins_with_pseudo_field(front, *flags) == Some(true) {
                        *flags &= !END_STREAM;
                    }
                    self.end_upload(stream);
                }
                DATA if ends => self.end_upload(stream),
                RST_STREAM => self.end_upload(stream),
                _ => {}
            }
            let (kind, flags) = (*kind, *flags);
            self.weigh((kind, flags), is_stray, length, now_tick);
            self.is_field_block = matches!(kind, HEADERS | CONTINUATION);
            if self.is_field_block {
                self.continues = flags & END_HEADERS == 0;
            }
            self.payload_left = length;
            at += FRAME_HEAD_BYTES;
        }
    }
}

/// Whether a field block's first field is a pseudo-field; none if its front does not tell. `payload` begins
/// with what the flags of its HEADERS say.
fn begins_with_pseudo_field(payload: &[u8], flags: u8) -> Option<bool> {
    let before = usize::from(flags & PADDED != 0) + if flags & PRIORITY != 0 { 5 } else { 0 };
    let mut block = payload.get(before..)?;
    loop {
        let first = *block.first()?;
        let (prefix_bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => {
                (_, block) = integer(block, 5)?; // a change of the table's size
                continue;
            }
            _ => (4, true),
        };
        let (index, rest) = integer(block, prefix_bits)?;
        if index > 0 || !is_literal {
            return Some((1..=PSEUDO_INDEX_MAX).contains(&index));
        }
        let is_huffman = rest.first()? & 0x80 != 0;
        let (_, name) = integer(rest, 7)?;
        // A colon, which Huffman's code has as 1011100 (RFC 7541, appendix B).
        let first = *name.first()?;
        return Some(if is_huffman { first >> 1 == 0b101_1100 } else { first == b':' });
    }
}

/// An integer with a prefix of so many bits (RFC 7541 §5.1), and what follows; none if it is longer than any
/// that h2 takes.
fn integer(bytes: &[u8], prefix_bits: u32) -> Option<(u64, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let prefix_max = (1_u64 << prefix_bits) - 1;
    let mut value = u64::from(*first) & prefix_max;
    if value < prefix_max {
        return Some((value, rest));
    }
    for shift in (0..35).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        value += u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn preface() -> Vec<u8> {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()
    }

    /// What goes to h2 when bytes come in pieces of these sizes, again and again.
    fn judged(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, FrameCheck) {
        let mut check = FrameCheck::new();
        let (mut out, mut held, mut at) = (Vec::new(), Vec::new(), 0);
        for size in sizes.iter().cycle() {
            let piece = &bytes[at..bytes.len().min(at + size)];
            if piece.is_empty() {
                break;
            }
            at += piece.len();
            held.extend_from_slice(piece);
            let kept = check.judge(&mut held, 0);
            assert!(kept <= KEPT_BYTES_MAX);
            let rest = held.split_off(held.len() - kept);
            out.extend(std::mem::replace(&mut held, rest));
        }
        out.extend(held);
        (out, check)
    }

    /// A request on stream 1 with a body and then these trailers.
    fn with_trailers(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = preface();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        bytes.extend(frame(HEADERS, END_HEADERS, 1, &[0x83, 0x84, 0x86]));
        bytes.extend(frame(0, 0, 1, b"body"));
        bytes.extend(frame(HEADERS, flags, 1, payload));
        bytes
    }

    #[test]
    fn trailers_that_begin_with_a_pseudo_field_lose_their_end() {
        let both = END_STREAM | END_HEADERS;
        for (flags, payload) in [
            (both, &[0x84][..]),      // :path: /
            (both, &[0x44, 1, b'/']), // the name by index
            (both, &[0x04, 1, b'/']),
            (both, &[0x14, 1, b'/']),
            (both, &[0x20, 0x3f, 0xe1, 0x1f, 0x84]), // after two table sizes
            (both, &[0x40, 5, b':', b'p', b'a', b't', b'h', 1, b'/']), // the name in full
            (both, &[0x00, 0x84, 0xb9, 0x58, 0xd3, 0x3f, 1, b'/']), // the same by Huffman
            (both | PADDED, &[1, 0x84, 0]),
            (both | PRIORITY, &[0, 0, 0, 0, 1, 0x84]),
            (both | PADDED | PRIORITY, &[1, 0, 0, 0, 0, 1, 0x84, 0]),
        ] {
            let bytes = with_trailers(flags, payload);
            let mut expected = bytes.clone();
            let at = bytes.len() - payload.len() - 5;
            expected[at] &= !END_STREAM;
            for size in [1, 2, 9, 10, 1000] {
                assert_eq!(judged(&bytes, &[size]).0, expected, "{payload:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn other_trailers_and_requests_pass_as_they_are() {
        let both = END_STREAM | END_HEADERS;
        for (flags, payload) in [
            (both, &[0x40, 3, b'x', b'-', b't', 1, b'1'][..]),
            (both, &[0x00, 0x82, 0xf2, 0xb4, 1, b'1']),
            (both, &[0x0f, 0x2f, 1, b'1']), // name 62, of the dynamic table
            (both, &[0xbe]),                // the whole field from there
            (both, &[]),
            (both, &[0x00]),
            (both | PADDED, &[]),
            (END_HEADERS, &[0x84]), // without an end h2 sees it by itself
        ] {
            let bytes = with_trailers(flags, payload);
            for size in [1, 7, 1000] {
                assert_eq!(judged(&bytes, &[size]).0, bytes, "{payload:?} in pieces of {size}");
            }
        }
        let mut bytes = preface();
        bytes.extend(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]));
        for stream in [1, 3, 9] {
            bytes.extend(frame(HEADERS, both, stream, &[0x82, 0x84, 0x86]));
        }
        assert_eq!(judged(&bytes, &[5]).0, bytes);
    }

    /// How many such frames pass in one tick until there are too many, and what that is called.
    fn flooded(frame: &[u8], most: usize) -> (usize, Option<Abuse>) {
        let mut check = FrameCheck::new();
        let mut begin = preface();
        begin.extend(self::frame(SETTINGS, 0, 0, &[]));
        check.judge(&mut begin, 5);
        let passed = (0..most).find(|_| {
            check.judge(&mut frame.to_vec(), 5);
            check.flood().is_some()
        });
        (passed.unwrap_or(most), check.flood())
    }

    #[test]
    fn hundreds_of_any_frame_pass_and_thousands_of_one_that_carries_nothing_do_not() {
        let most = 5_000;
        for (kind, flags, payload, flood) in [
            (SETTINGS, 0, &[][..], Some(Abuse::Settings)),
            (SETTINGS, ACK, &[], Some(Abuse::Settings)),
            (PING, 0, &[0; 8], Some(Abuse::Ping)),
            (WINDOW_UPDATE, 0, &[0, 0, 0, 1], Some(Abuse::Window)),
            (PRIORITY_FRAME, 0, &[0, 0, 0, 0, 16], Some(Abuse::Priority)),
            (PRIORITY_UPDATE, 0, &[0, 0, 0, 1, b'u'], Some(Abuse::Priority)),
            (RST_STREAM, 0, &[0, 0, 0, 8], Some(Abuse::Resets)),
            (DATA, 0, &[], Some(Abuse::EmptyData)),
            (DATA, PADDED, &[3, 0, 0, 0], Some(Abuse::EmptyData)),
            (0x42, 0, &[1, 2, 3], Some(Abuse::OtherFrames)),
            (DATA, 0, &[1], None),
            (DATA, END_STREAM, &[], None),
            (CONTINUATION, 0, &[], None),
        ] {
            let (passed, found) = flooded(&frame(kind, flags, 1, payload), most);
            assert_eq!(found, flood, "{kind} {flags}");
            // One was paid for by the SETTINGS that must be there.
            let expected = flood.map_or(most, |_| crate::limits::EMPTY_BURST as usize - 1);
            assert_eq!(passed, expected, "{kind} {flags}");
        }
    }

    #[test]
    fn heads_on_a_stream_that_has_not_ended_earn_nothing_however_many() {
        let mut check = FrameCheck::new();
        let mut begin =
            [preface(), frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_HEADERS, 1, &[0x83])].concat();
        check.judge(&mut begin, 5);
        // The first has it reset; the visitor goes on, and never ends it.
        let head = frame(HEADERS, END_HEADERS, 1, &[0x82]);
        let passed = (0..5_000).take_while(|_| {
            check.judge(&mut head.clone(), 5);
            check.flood().is_none()
        });
        assert_eq!(passed.count(), crate::limits::EMPTY_BURST as usize);
        assert_eq!(check.flood(), Some(Abuse::OtherFrames));
    }

    #[test]
    fn windows_may_be_opened_for_each_frame_of_an_answer_without_end() {
        let mut check = FrameCheck::new();
        let mut opened = preface();
        opened.extend(frame(SETTINGS, 0, 0, &[]));
        for _ in 0..100_000 {
            check.gave(1);
            opened.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9]));
            opened.extend(frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9]));
            opened.extend(frame(PING, 0, 0, &[0; 8]));
            check.judge(&mut std::mem::take(&mut opened), 0);
        }
        assert_eq!(check.flood(), None);
    }

    #[test]
    fn streams_are_counted_when_their_head_begins() {
        let mut bytes = preface();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        for stream in [1, 3, 3, 9] {
            bytes.extend(frame(HEADERS, END_HEADERS, stream, &[0x82]));
        }
        assert_eq!(judged(&bytes, &[7]).1.begun(), 3, "a second head of one is none");
    }

    #[test]
    fn a_second_head_on_a_stream_that_has_ended_is_left_to_h2() {
        let both = END_STREAM | END_HEADERS;
        for end in [frame(DATA, END_STREAM, 1, b"body"), frame(RST_STREAM, 0, 1, &[0; 4])] {
            let mut bytes = [preface(), frame(SETTINGS, 0, 0, &[])].concat();
            bytes.extend(frame(HEADERS, END_HEADERS, 1, &[0x83, 0x84, 0x86]));
            bytes.extend(end);
            bytes.extend(frame(HEADERS, both, 1, &[0x82, 0x84, 0x86]));
            let (out, check) = judged(&bytes, &[1000]);
            assert_eq!((out, check.uploading.capacity()), (bytes, 0));
        }
    }

    #[test]
    fn uploads_without_an_end_take_bounded_room() {
        let mut bytes = [preface(), frame(SETTINGS, 0, 0, &[])].concat();
        for stream in (1..10_000).step_by(2) {
            bytes.extend(frame(HEADERS, END_HEADERS, stream, &[0x83]));
        }
        assert_eq!(judged(&bytes, &[1000]).1.uploading.len(), STREAMS as usize);
    }

    #[test]
    fn a_first_frame_other_than_settings_continues_nothing() {
        for (kind, flags) in [(HEADERS, END_HEADERS), (6, 0), (8, 0), (0x16, 0), (SETTINGS, ACK)] {
            let first = [preface(), frame(kind, flags, 1, &[0; 8])].concat();
            let after = frame(SETTINGS, 0, 0, &[]);
            let (out, _) = judged(&[first.clone(), after.clone()].concat(), &[4]);
            let mut expected = first;
            expected[24 + 3] = CONTINUATION;
            assert_eq!(out, [expected, after].concat());
        }
    }

    #[test]
    fn knows_whether_a_head_is_unfinished() {
        let begun = [preface(), frame(SETTINGS, 0, 0, &[]), frame(HEADERS, END_STREAM, 1, &[0x82])].concat();
        assert!(judged(&begun, &[100]).1.is_in_head());
        let ended = [begun.clone(), frame(CONTINUATION, END_HEADERS, 1, &[0x84, 0x86])].concat();
        assert!(!judged(&ended, &[100]).1.is_in_head());
        assert!(judged(&ended[..ended.len() - 1], &[100]).1.is_in_head(), "its payload has not all come");
        let data = [ended, frame(0, 0, 1, &[0; 100])].concat();
        assert!(!judged(&data[..data.len() - 50], &[100]).1.is_in_head());
    }

    proptest! {
        /// Hostile bytes in any pieces: no panic, nothing lost, and the pieces change nothing.
        #[test]
        fn pieces_do_not_matter(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            sizes in proptest::collection::vec(1_usize..40, 1..5),
        ) {
            let bytes = [preface(), bytes].concat();
            let (whole, _) = judged(&bytes, &[bytes.len()]);
            prop_assert_eq!(whole.len(), bytes.len());
            prop_assert_eq!(judged(&bytes, &sizes).0, whole);
        }
    }
}
