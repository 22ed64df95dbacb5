//! Reads the server name out of a TLS ClientHello, and nothing else.
//!
//! The origin reads the same bytes afterwards and has the last word, so what is not needed to find the name
//! is checked for its lengths only. The parser shares no line with the edge's: a hello that broke that one
//! meets another here. It keeps no state; the loop calls it again when more has arrived. Encrypted hellos
//! (ECH) show the public name, under which the owner of a zone decides where they go.
//!
//! Called by the loop for listeners of TLS. Read [`read_hello`] next.

use std::net::IpAddr;

use crate::input::Input;
use crate::limits::{HELLO_BYTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, RECORDS_MAX};

const CONTENT_HANDSHAKE: u8 = 22;
const VERSION_MAJOR: u8 = 3;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const EXTENSION_SERVER_NAME: u16 = 0;
const NAME_HOST: u8 = 0;
/// Bytes of plaintext in one record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: u16 = 1 << 14;
/// Message type and length of 24 bits (RFC 8446 §4).
const MESSAGE_HEADER_BYTES: usize = 4;

/// What a whole ClientHello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The host asked for (RFC 6066 §3), in lower case, without a trailing dot, 1 to 253 bytes of letters,
    /// digits, `-`, `_` and `.`. `None` without the extension or when it carries an IP address.
    pub name: Option<Box<str>>,
}

/// Why bytes are no ClientHello. Each is final: more bytes do not mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHello {
    /// The first bytes are no TLS handshake record.
    NotTls,
    /// It needs more than 16 KiB or 128 records.
    TooLarge,
    /// It began as TLS and then broke RFC 8446, 5246 or 6066.
    Malformed,
}

/// Reads the ClientHello at the front of all bytes that a connection has sent so far.
///
/// `Ok(None)` asks for more, and never comes once there are 16,384 bytes. What follows the hello is not
/// looked at. An answer other than `Ok(None)` does not change when bytes are added.
///
/// # Errors
/// [`NotHello`] as soon as the bytes leave no other reading.
pub fn read_hello(bytes: &[u8]) -> Result<Option<Hello>, NotHello> {
    let bytes = bytes.get(..HELLO_BYTES_MAX).unwrap_or(bytes);
    match gather_message(bytes)? {
        Some(message) => {
            let body = message.get(MESSAGE_HEADER_BYTES..).ok_or(NotHello::Malformed)?;
            read_message(body).map(Some).ok_or(NotHello::Malformed)
        }
        None if bytes.len() == HELLO_BYTES_MAX => Err(NotHello::TooLarge),
        None => Ok(None),
    }
}

/// Joins the first handshake message from its records (RFC 8446 §5.1); `None` while a part is missing.
fn gather_message(bytes: &[u8]) -> Result<Option<Vec<u8>>, NotHello> {
    let mut input = Input(bytes);
    let mut message = Vec::with_capacity(bytes.len());
    for record in 0..RECORDS_MAX {
        let not_record = if record == 0 { NotHello::NotTls } else { NotHello::Malformed };
        let is_wrong = |place, right| input.0.get(place).is_some_and(|byte| *byte != right);
        if is_wrong(0, CONTENT_HANDSHAKE) || is_wrong(1, VERSION_MAJOR) {
            return Err(not_record);
        }
        // The minor version is frozen and says nothing (RFC 8446 §5.1).
        let Some([_, _, _, high, low]) = input.array() else { return Ok(None) };
        let length = u16::from_be_bytes([high, low]);
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(NotHello::Malformed);
        }
        let whole = input.take(length.into());
        message.extend(whole.unwrap_or(input.0));

        if message.first().is_some_and(|kind| *kind != MESSAGE_CLIENT_HELLO) {
            return Err(NotHello::Malformed);
        }
        if let Some(&[_, high, middle, low]) = message.first_chunk() {
            // At most 2^24 + 4: fits a usize of 32 bits.
            let size = u32::from_be_bytes([0, high, middle, low]) as usize + MESSAGE_HEADER_BYTES;
            if size > HELLO_BYTES_MAX {
                return Err(NotHello::TooLarge);
            }
            if message.len() >= size {
                message.truncate(size);
                return Ok(Some(message));
            }
        }
        if whole.is_none() {
            return Ok(None);
        }
    }
    Err(NotHello::TooLarge)
}

/// Finds the server name in the body of a ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2). `None` if it is
/// malformed.
fn read_message(body: &[u8]) -> Option<Hello> {
    let mut input = Input(body);
    input.take(2 + 32)?; // legacy version, random
    if input.list8()?.0.len() > 32 {
        return None; // session id
    }
    input.list16()?.nonempty()?; // cipher suites
    input.list8()?.nonempty()?; // compression methods
    // Before TLS 1.3 a hello may end here, without extensions.
    if input.is_empty() {
        return Some(Hello { name: None });
    }
    let mut extensions = input.list16()?;
    if !input.is_empty() {
        return None;
    }
    let mut server_name = None;
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.list16()?;
        // No two of one type (RFC 8446 §4.2): with two names, origin and we might choose differently.
        if kind == EXTENSION_SERVER_NAME && server_name.replace(content).is_some() {
            return None;
        }
    }
    let name = server_name.map_or(Some(None), read_server_name)?;
    Some(Hello { name })
}

/// Reads the extension `server_name` (RFC 6066 §3): outer `None` if malformed, inner if it names no host.
fn read_server_name(mut content: Input<'_>) -> Option<Option<Box<str>>> {
    let mut list = content.list16()?.nonempty()?;
    if !content.is_empty() {
        return None;
    }
    let mut host = None;
    while !list.is_empty() {
        // The layout of other types is unknown, and none was ever defined.
        if list.u8()? != NAME_HOST {
            break;
        }
        if host.replace(list.list16()?.0).is_some() {
            return None;
        }
    }
    host.map_or(Some(None), read_host)
}

/// Reads one host name: outer `None` if it is none, inner if it is an IP address, which has no entry.
fn read_host(name: &[u8]) -> Option<Option<Box<str>>> {
    let text = str::from_utf8(name).ok()?;
    if text.parse::<IpAddr>().is_ok() {
        return Some(None);
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    is_name(text.as_bytes()).then(|| Some(text.to_ascii_lowercase().into()))
}

/// Whether bytes are labels of letters, digits, `-` and `_`, joined by dots, none empty or longer than 63
/// bytes, all together at most 253.
pub(crate) fn is_name(name: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &[u8]| (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.iter().all(is_letter);
    name.len() <= NAME_BYTES_MAX && name.split(|byte| *byte == b'.').all(is_label)
}

#[cfg(test)]
mod tests;
