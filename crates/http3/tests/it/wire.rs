//! Bytes to feed the crate with, and sinks that write down what comes out.

use bytes::Bytes;
use http3::{Broken, Code, Event, Limits, RequestShape, RequestSink, RequestStream, varint};

/// A frame of any type.
pub(crate) fn frame(frame_type: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(&mut out, frame_type);
    varint::write(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

/// A field section with every field a literal with literal name, names as given.
pub(crate) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = vec![0, 0];
    for (name, value) in fields {
        integer(&mut out, 0x20, 3, name.len());
        out.extend_from_slice(name.as_bytes());
        integer(&mut out, 0, 7, value.len());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

/// A prefixed integer (RFC 7541 §5.1).
pub(crate) fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    let mut left = value - mask;
    while left >= 128 {
        out.push((left % 128) as u8 | 128);
        left /= 128;
    }
    out.push(left as u8);
}

/// The head of `GET https://example.org/` with more fields.
pub(crate) fn get_with(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut all =
        vec![(":method", "GET"), (":scheme", "https"), (":authority", "example.org"), (":path", "/")];
    all.extend_from_slice(fields);
    section(&all)
}

/// A request as its sink saw it, each call in one line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorder(pub(crate) Vec<String>);

impl Recorder {
    fn note(&mut self, name: &str, value: &[u8]) {
        self.0.push(format!("{name}={}", value.escape_ascii()));
    }
}

impl RequestSink for Recorder {
    fn method(&mut self, value: &[u8]) {
        self.note("method", value);
    }
    fn scheme(&mut self, value: &[u8]) {
        self.note("scheme", value);
    }
    fn authority(&mut self, value: &[u8]) {
        self.note("authority", value);
    }
    fn path(&mut self, value: &[u8]) {
        self.note("path", value);
    }
    fn protocol(&mut self, value: &[u8]) {
        self.note("protocol", value);
    }
    fn field(&mut self, name: &[u8], value: &[u8]) {
        let name = format!("field {}", name.escape_ascii());
        self.note(&name, value);
    }
}

/// Decodes a request's head under the default limits.
pub(crate) fn request(section: &[u8]) -> Result<(Vec<String>, RequestShape), Broken> {
    let mut recorder = Recorder::default();
    let shape = http3::decode_request(section, &Limits::default(), &mut recorder)?;
    Ok((recorder.0, shape))
}

/// The same from plain fields.
pub(crate) fn request_of(fields: &[(&str, &str)]) -> Result<(Vec<String>, RequestShape), Broken> {
    request(&section(fields))
}

/// Name and value as bytes.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// All fields of a section, unjudged.
pub(crate) fn fields(section: &[u8]) -> Result<Vec<Pair>, Broken> {
    let mut all = Vec::new();
    http3::decode_fields(section, &Limits::default(), &mut |name, value| {
        all.push((name.to_vec(), value.to_vec()));
    })?;
    Ok(all)
}

/// A pair from text.
pub(crate) fn pair(name: &str, value: &str) -> Pair {
    (name.as_bytes().to_vec(), value.as_bytes().to_vec())
}

/// Takes events until more bytes are needed or something broke.
pub(crate) fn drain(stream: &mut RequestStream) -> (Vec<Event>, Option<Broken>) {
    let mut events = Vec::new();
    loop {
        match stream.next() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(broken) => return (events, Some(broken)),
        }
    }
}

/// Feeds a whole stream, end included, and takes its events.
pub(crate) fn events(bytes: &[u8]) -> (Vec<Event>, Option<Broken>) {
    let mut stream = RequestStream::new(&Limits::default());
    stream.push(Bytes::copy_from_slice(bytes));
    stream.push_end();
    drain(&mut stream)
}

/// What a whole stream broke.
pub(crate) fn broken(bytes: &[u8]) -> Option<Broken> {
    events(bytes).1
}

/// The code of an error of the connection.
pub(crate) fn connection_code(broken: Option<Broken>) -> Option<Code> {
    match broken {
        Some(Broken::Connection(code, _)) => Some(code),
        _ => None,
    }
}

/// The code of an error of the stream.
pub(crate) fn stream_code(broken: Option<Broken>) -> Option<Code> {
    match broken {
        Some(Broken::Stream(code, _)) => Some(code),
        _ => None,
    }
}

/// True when the request is malformed: an error of its stream with H3_MESSAGE_ERROR.
pub(crate) fn is_malformed<T>(judged: Result<T, Broken>) -> bool {
    stream_code(judged.err()) == Some(Code::Message)
}
