//! The control streams: the peer's, read frame by frame, and ours, written (RFC 9114 §6.2.1, §7.2).
//!
//! Nothing of the input is kept but a frame head and the SETTINGS payload, both bounded. It does not act on
//! what it reads: the connection does. Read next: [`crate::uni_stream`], which tells the streams apart.

use crate::frame::{self, HeadReader};
use crate::{Broken, Code, Limits, varint};

/// Which side reads the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// What the peer's SETTINGS said; absent ones have the defaults of their RFC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Largest field section the peer takes, in bytes as [`Limits::field_section_bytes_max`] counts them;
    /// `None`: no limit announced (RFC 9114 §7.2.4.1).
    pub max_field_section_size: Option<u64>,
    /// Bytes of dynamic table the peer would keep; we never use them (RFC 9204 §5).
    pub qpack_max_table_capacity: u64,
    /// Streams the peer would let wait for inserts; we never make one wait (RFC 9204 §5).
    pub qpack_blocked_streams: u64,
    /// The peer takes extended CONNECT (RFC 9220 §3).
    pub enable_connect_protocol: bool,
    /// The peer takes HTTP datagrams (RFC 9297 §2.1.1).
    pub h3_datagram: bool,
}

mod setting {
    //! Identifiers of SETTINGS parameters.
    pub(super) const QPACK_MAX_TABLE_CAPACITY: u64 = 0x1;
    pub(super) const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
    pub(super) const QPACK_BLOCKED_STREAMS: u64 = 0x7;
    pub(super) const ENABLE_CONNECT_PROTOCOL: u64 = 0x8;
    pub(super) const H3_DATAGRAM: u64 = 0x33;
    /// One of the reserved identifiers, 0x1f * N + 0x21, that mean nothing and keep peers honest.
    pub(super) const GREASE: u64 = 0x1f * 1_729 + 0x21;
}

impl Settings {
    /// Reads a SETTINGS payload (RFC 9114 §7.2.4).
    ///
    /// # Errors
    /// [`Code::Frame`] when it ends within a parameter, [`Code::Settings`] for identifiers of HTTP/2, an
    /// identifier twice, or a value out of range. All are errors of the connection.
    pub fn parse(mut payload: &[u8]) -> Result<Settings, Broken> {
        const WRONG: Code = Code::Settings;
        let mut settings = Settings::default();
        // A parameter takes two bytes at least, so a payload of 1 KiB makes 512 of them at most.
        let mut seen: Vec<u64> = Vec::new();
        while !payload.is_empty() {
            let (Some(id), Some(value)) = (varint::read(&mut payload), varint::read(&mut payload)) else {
                return Err(Broken::Connection(Code::Frame, "SETTINGS ends within a parameter"));
            };
            if seen.contains(&id) {
                return Err(Broken::Connection(WRONG, "a setting twice"));
            }
            seen.push(id);
            let switch = || match value {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(Broken::Connection(WRONG, "a switch in SETTINGS is neither 0 nor 1")),
            };
            match id {
                setting::MAX_FIELD_SECTION_SIZE => settings.max_field_section_size = Some(value),
                setting::QPACK_MAX_TABLE_CAPACITY => settings.qpack_max_table_capacity = value,
                setting::QPACK_BLOCKED_STREAMS => settings.qpack_blocked_streams = value,
                setting::ENABLE_CONNECT_PROTOCOL => settings.enable_connect_protocol = switch()?,
                setting::H3_DATAGRAM => settings.h3_datagram = switch()?,
                // RFC 9114 §11.2.2.
                0x0 | 0x2..=0x5 => return Err(Broken::Connection(WRONG, "a setting of HTTP/2")),
                _ => {}
            }
        }
        Ok(settings)
    }
}

/// What the peer said on its control stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlEvent {
    /// Its settings: once, and before anything else.
    Settings(Settings),
    /// It is going away. From a server: the first request id it will not serve; from a client: a push id.
    /// Never larger than before.
    GoAway(u64),
    /// It takes pushes up to this id; of no use to a server that never pushes. Never smaller than before.
    MaxPushId(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    FrameHead,
    Settings {
        length: usize,
    },
    /// In a frame of one integer, of this type.
    Number {
        frame_type: u64,
        length: usize,
    },
    Skip {
        left: u64,
    },
}

/// Reader of the peer's control stream, its stream type already taken off. Holds the SETTINGS payload
/// while it is incomplete (at most [`Limits::settings_bytes_max`]) and 16 bytes beside.
#[derive(Debug)]
pub struct ControlStream {
    side: Side,
    settings_bytes_max: usize,
    at: At,
    frame_head: HeadReader,
    part: Vec<u8>,
    has_settings: bool,
    goaway: Option<u64>,
    max_push_id: Option<u64>,
    broken: Option<Broken>,
}

const UNEXPECTED: Code = Code::FrameUnexpected;

impl ControlStream {
    /// For a server, reading what a client says.
    pub fn new(limits: &Limits) -> Self {
        ControlStream {
            side: Side::Server,
            settings_bytes_max: limits.settings_bytes_max,
            at: At::FrameHead,
            frame_head: HeadReader::default(),
            part: Vec::new(),
            has_settings: false,
            goaway: None,
            max_push_id: None,
            broken: None,
        }
    }

    /// For a client, reading what a server says.
    pub fn for_client(limits: &Limits) -> Self {
        ControlStream { side: Side::Client, ..ControlStream::new(limits) }
    }

    /// Reads on from `input`, moving past what it used, to the next event; `None` once `input` is used
    /// up. Call it until then.
    ///
    /// # Errors
    /// Always of the connection (RFC 9114 §6.2.1, §7.2); the same again at each further call.
    pub fn push(&mut self, input: &mut &[u8]) -> Result<Option<ControlEvent>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let step = self.step(input);
        if let Err(broken) = step {
            self.broken = Some(broken);
            self.part = Vec::new();
        }
        step
    }

    /// The stream ended or was reset, which it never may (RFC 9114 §6.2.1): what to close the connection
    /// with.
    pub fn push_end(&mut self) -> Broken {
        closed_critical_stream()
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.part.len() + self.frame_head.buffered()
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<Option<ControlEvent>, Broken> {
        loop {
            match self.at {
                At::FrameHead => {
                    let Some((frame_type, length)) = self.frame_head.read(input) else { return Ok(None) };
                    self.enter(frame_type, length)?;
                }
                At::Settings { length } => {
                    if !self.gather(length, input) {
                        return Ok(None);
                    }
                    let settings = Settings::parse(&self.part)?;
                    self.part = Vec::new();
                    self.at = At::FrameHead;
                    self.has_settings = true;
                    return Ok(Some(ControlEvent::Settings(settings)));
                }
                At::Number { frame_type, length } => {
                    if !self.gather(length, input) {
                        return Ok(None);
                    }
                    let mut payload = &self.part[..];
                    let number = varint::read(&mut payload).filter(|_| payload.is_empty());
                    let Some(number) = number else {
                        return Err(Broken::Connection(Code::Frame, "a control frame is not one integer"));
                    };
                    self.part.clear();
                    self.at = At::FrameHead;
                    return self.number(frame_type, number).map(Some);
                }
                At::Skip { left } => {
                    let take = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                    *input = input.get(take..).unwrap_or_default();
                    let left = left - take as u64;
                    if left > 0 {
                        self.at = At::Skip { left };
                        return Ok(None);
                    }
                    self.at = At::FrameHead;
                }
            }
        }
    }

    /// Judges the head of a frame and moves into its payload.
    fn enter(&mut self, frame_type: u64, length: u64) -> Result<(), Broken> {
        if !self.has_settings && frame_type != frame::SETTINGS {
            return Err(Broken::Connection(Code::MissingSettings, "the first frame is not SETTINGS"));
        }
        match frame_type {
            frame::SETTINGS if self.has_settings => {
                return Err(Broken::Connection(UNEXPECTED, "a second SETTINGS"));
            }
            frame::SETTINGS => match usize::try_from(length) {
                Ok(length) if length <= self.settings_bytes_max => self.at = At::Settings { length },
                _ => return Err(Broken::Connection(Code::ExcessiveLoad, "SETTINGS over the limit")),
            },
            frame::MAX_PUSH_ID if self.side == Side::Client => {
                return Err(Broken::Connection(UNEXPECTED, "MAX_PUSH_ID from a server"));
            }
            frame::GOAWAY | frame::MAX_PUSH_ID | frame::CANCEL_PUSH => match usize::try_from(length) {
                Ok(length @ 1..=8) => self.at = At::Number { frame_type, length },
                _ => return Err(Broken::Connection(Code::Frame, "a control frame of wrong length")),
            },
            frame::DATA | frame::HEADERS | frame::PUSH_PROMISE => {
                return Err(Broken::Connection(UNEXPECTED, "a message frame on the control stream"));
            }
            http2 if frame::is_http2_only(http2) => {
                return Err(Broken::Connection(UNEXPECTED, "frame type of HTTP/2"));
            }
            _ => self.at = At::Skip { left: length },
        }
        Ok(())
    }

    /// Gathers a payload; true once all `length` bytes are in `part`.
    fn gather(&mut self, length: usize, input: &mut &[u8]) -> bool {
        let take = input.len().min(length - self.part.len());
        if let Some((taken, rest)) = input.split_at_checked(take) {
            self.part.extend_from_slice(taken);
            *input = rest;
        }
        self.part.len() == length
    }

    fn number(&mut self, frame_type: u64, number: u64) -> Result<ControlEvent, Broken> {
        match frame_type {
            frame::GOAWAY => {
                // RFC 9114 §7.2.6: a server names a request stream, one that a client opens both ways.
                if self.side == Side::Client && !number.is_multiple_of(4) {
                    return Err(Broken::Connection(Code::Id, "GOAWAY names no request stream"));
                }
                if self.goaway.replace(number).is_some_and(|before| number > before) {
                    return Err(Broken::Connection(Code::Id, "GOAWAY with a larger id than before"));
                }
                Ok(ControlEvent::GoAway(number))
            }
            frame::MAX_PUSH_ID => {
                if self.max_push_id.replace(number).is_some_and(|before| number < before) {
                    return Err(Broken::Connection(Code::Id, "MAX_PUSH_ID with a smaller id than before"));
                }
                Ok(ControlEvent::MaxPushId(number))
            }
            // CANCEL_PUSH: neither side of ours ever promised or allowed a push (RFC 9114 §7.2.3).
            _ => Err(Broken::Connection(Code::Id, "CANCEL_PUSH of a push that was never promised")),
        }
    }
}

/// The error for the end, or the reset, of a control or QPACK stream (RFC 9114 §6.2.1, RFC 9204 §4.2).
pub(crate) const fn closed_critical_stream() -> Broken {
    Broken::Connection(Code::ClosedCriticalStream, "a critical stream was closed")
}

/// The first bytes of our control stream: its type and SETTINGS with our field section limit, extended
/// CONNECT where `enable_connect`, and one reserved setting. QPACK's settings are left at their default,
/// 0.
pub fn server_preface(limits: &Limits, enable_connect: bool) -> Vec<u8> {
    let mut payload = Vec::with_capacity(24);
    let size = limits.field_section_bytes_max.min(varint::MAX);
    put_setting(&mut payload, setting::MAX_FIELD_SECTION_SIZE, size);
    if enable_connect {
        put_setting(&mut payload, setting::ENABLE_CONNECT_PROTOCOL, 1);
    }
    put_setting(&mut payload, setting::GREASE, 0);
    preface(&payload)
}

/// The same for a client: type and SETTINGS with the field section limit.
pub fn client_preface(limits: &Limits) -> Vec<u8> {
    let mut payload = Vec::with_capacity(16);
    let size = limits.field_section_bytes_max.min(varint::MAX);
    put_setting(&mut payload, setting::MAX_FIELD_SECTION_SIZE, size);
    preface(&payload)
}

fn preface(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 4);
    varint::write(&mut out, crate::uni_stream::CONTROL);
    varint::write(&mut out, frame::SETTINGS);
    varint::write(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

fn put_setting(out: &mut Vec<u8>, id: u64, value: u64) {
    varint::write(out, id);
    varint::write(out, value);
}

/// A GOAWAY frame. For a server `id` is the first request stream it will not serve: the next id, not the
/// last one served (RFC 9114 §5.2); a multiple of four, never larger than in an earlier frame.
pub fn goaway_frame(id: u64) -> Vec<u8> {
    let mut number = Vec::with_capacity(8);
    varint::write(&mut number, id);
    let mut out = Vec::with_capacity(10);
    varint::write(&mut out, frame::GOAWAY);
    varint::write(&mut out, number.len() as u64);
    out.extend_from_slice(&number);
    out
}
