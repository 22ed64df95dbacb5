//! The first message of a TLS visitor, read without answering it: which host it wants, which protocols it
//! offers, and the fingerprint of its TLS library ([`crate::ja4`]).
//!
//! The TLS library reads the same bytes again afterwards and has the last word. So this parser agrees with it
//! on what a server name is, refuses what no honest visitor sends, and leaves keys, tickets and every other
//! extension unread. It never writes and does not decrypt. Over QUIC, where the hello has no records and
//! quinn decrypts it, only the fingerprint is of use ([`Gathering`]).
//!
//! Called by the TLS listener while it waits for a whole hello, and by `h3/overheard.rs`. Read [`read_hello`]
//! next.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::net::IpAddr;

use rustls::pki_types::DnsName;

use crate::ja4::{self, Carrier};

/// Bytes of one handshake message, its header of four included. RFC 8446 §4 allows 16 MiB, but a hello with
/// post-quantum keys has 2 KiB and one with a ticket stays below 20 KiB; the TLS library stops at the same
/// place.
const HELLO_BYTES_MAX: usize = 64 * 1024;

/// Records that one hello may be cut into. Five hold 64 KiB; some visitors cut a hello in small pieces to
/// pass middleboxes, and twenty leaves them room, while the headers cost us at most 100 bytes.
const RECORDS_MAX: usize = 20;

/// Bytes after which [`read_hello`] has always answered: a caller's buffer never needs more.
pub(crate) const HELLO_BUFFER_BYTES_MAX: usize = HELLO_BYTES_MAX + RECORDS_MAX * RECORD_HEADER_BYTES;

/// Content type, version, length (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// Message type, length of 24 bits (RFC 8446 §4).
const MESSAGE_HEADER_BYTES: usize = 4;
/// Bytes of plaintext in one record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

const CONTENT_HANDSHAKE: u8 = 22;
const MESSAGE_CLIENT_HELLO: u8 = 1;
const NAME_HOST: u8 = 0;
const VERSION_MAJOR: u8 = 3;
const TLS13: u16 = 0x0304;
/// With TLS 1.3 (RFC 8446 §B.4), then with ECDHE and RSA, with ECDHE and ECDSA before it (RFC 7905 §2).
const CHACHA20_SUITES: [u16; 3] = [0x1303, 0xcca8, 0xcca9];

const SIGNATURE_ALGORITHMS: u16 = 0x000d;
const SUPPORTED_VERSIONS: u16 = 0x002b;

/// What a ClientHello says of its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The host asked for (RFC 6066 §3), in lower case, without a trailing dot, at most 253 bytes of
    /// letters, digits, `-`, `_` and `.`. `None` without the extension, or when it carries an IP address.
    pub sni: Option<Box<str>>,
    /// ALPN names `h2`.
    pub offers_http2: bool,
    /// ALPN names `http/1.1`. Without ALPN this is false, although such a visitor speaks HTTP/1.1: ask
    /// `has_alpn` first.
    pub offers_http1: bool,
    /// The ALPN extension (RFC 7301) is there, with at least one protocol.
    pub has_alpn: bool,
    /// `supported_versions` (RFC 8446 §4.2.1) names TLS 1.3.
    pub offers_tls13: bool,
    /// The cipher suite it wants most is one of ChaCha20-Poly1305: a machine without instructions for AES.
    pub prefers_chacha20: bool,
    /// JA4 of this hello: 36 characters, beginning with `t` over TCP and with `q` over QUIC.
    pub ja4: Box<str>,
}

/// Why bytes are not a ClientHello. Each is final: more bytes do not mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHello {
    /// The first bytes are no TLS handshake record: plain HTTP on a TLS port, a scanner, or SSL 2.0.
    NotTls,
    /// The message is larger than 64 KiB or cut into more than 20 records.
    TooLarge,
    /// It began as TLS and then broke RFC 8446, 6066 or 7301: the sender is faulty or hostile.
    Malformed,
}

impl fmt::Display for NotHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotTls => "the connection did not begin with TLS",
            Self::TooLarge => "the TLS client hello is too large",
            Self::Malformed => "the TLS client hello is malformed",
        })
    }
}

impl Error for NotHello {}

/// Reads the ClientHello at the front of `buffer`, which holds all bytes of the connection so far, beginning
/// with its first TLS record. `Ok(None)` asks for more bytes and never comes once `buffer` holds 65,636 (64
/// KiB of hello and 20 record headers); what follows the hello is not looked at.
///
/// An answer other than `Ok(None)` does not change when bytes are added. A call that ends in `Ok(None)` looks
/// at no more than 20 record headers, so a visitor that sends byte by byte costs little; the whole
/// is taken apart once, in n log n.
///
/// Decisions where the specifications leave room, or visitors differ from them:
/// - The server name is valid or not exactly as the TLS library has it (NUL, port, brackets, an empty or
///   over-long label, a last label that is a number: [`NotHello::Malformed`]). An IP address, which RFC 6066
///   §3 forbids, counts as no name. One trailing dot, forbidden too, is dropped, since it names the same
///   host.
/// - Names of a type other than `host_name` end the list, for their layout is unknown; two host names are
///   malformed.
/// - The record version is ignored but for its first byte (RFC 8446 §5.1), the legacy version altogether.
/// - A record that goes on after the hello is malformed: nothing may follow before the server speaks.
///
/// # Errors
///
/// [`NotHello`], as soon as the bytes leave no other reading: one byte is enough for `NotTls`.
pub fn read_hello(buffer: &[u8]) -> Result<Option<Hello>, NotHello> {
    match gather_message(buffer)? {
        Some(message) => {
            let body = message.get(MESSAGE_HEADER_BYTES..).ok_or(NotHello::Malformed)?;
            read_message(body, Carrier::Tcp).map(Some).ok_or(NotHello::Malformed)
        }
        None => {
            debug_assert!(buffer.len() < HELLO_BUFFER_BYTES_MAX, "a full buffer always has an answer");
            Ok(None)
        }
    }
}

/// The first message of a handshake whose bytes come in order and without records, as over QUIC (RFC 9001
/// §4.1.3).
#[derive(Debug, Default)]
pub(crate) struct Gathering(Vec<u8>);

impl Gathering {
    /// Adds the next bytes; the message's body once it is whole. At most [`HELLO_BYTES_MAX`] are kept.
    ///
    /// # Errors
    /// Another message, or a larger one.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, NotHello> {
        let room = HELLO_BYTES_MAX.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(room));
        let Some((&[kind, high, middle, low], body)) = self.0.split_first_chunk::<MESSAGE_HEADER_BYTES>()
        else {
            return Ok(None);
        };
        if kind != MESSAGE_CLIENT_HELLO {
            return Err(NotHello::Malformed);
        }
        let size = u32::from_be_bytes([0, high, middle, low]) as usize;
        if size + MESSAGE_HEADER_BYTES > HELLO_BYTES_MAX {
            return Err(NotHello::TooLarge);
        }
        Ok(body.get(..size).map(<[u8]>::to_vec))
    }
}

/// The fingerprint of a hello that came over QUIC, from the message's body; none if it is malformed.
pub(crate) fn quic_fingerprint(body: &[u8]) -> Option<Box<str>> {
    read_message(body, Carrier::Quic).map(|hello| hello.ja4)
}

/// Finds the first handshake message in its records and joins its pieces; borrows when there is one piece.
fn gather_message(buffer: &[u8]) -> Result<Option<Cow<'_, [u8]>>, NotHello> {
    let mut rest = buffer;
    let mut pieces: Vec<&[u8]> = Vec::new();
    let mut announced = 0; // bytes of the message in all records so far, arrived or not
    let mut header = Vec::with_capacity(MESSAGE_HEADER_BYTES); // may itself be spread over records
    loop {
        let not_a_record = if pieces.is_empty() { NotHello::NotTls } else { NotHello::Malformed };
        if pieces.len() == RECORDS_MAX {
            return Err(NotHello::TooLarge);
        }
        if rest.first().is_some_and(|&byte| byte != CONTENT_HANDSHAKE)
            || rest.get(1).is_some_and(|&byte| byte != VERSION_MAJOR)
        {
            return Err(not_a_record);
        }
        let Some((&[_, _, _, high, low], body)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(NotHello::Malformed);
        }
        announced += length;

        let whole = body.split_at_checked(length);
        let piece = whole.map_or(body, |(piece, _)| piece);
        header.extend(piece.iter().take(MESSAGE_HEADER_BYTES - header.len()));
        if header.first().is_some_and(|&kind| kind != MESSAGE_CLIENT_HELLO) {
            return Err(NotHello::Malformed);
        }
        let mut is_complete = false;
        if let &[_, high, middle, low] = &*header {
            // At most 2^24 + 4: fits a usize of 32 bits.
            let size = u32::from_be_bytes([0, high, middle, low]) as usize + MESSAGE_HEADER_BYTES;
            if size > HELLO_BYTES_MAX {
                return Err(NotHello::TooLarge);
            }
            if announced > size {
                return Err(NotHello::Malformed);
            }
            is_complete = announced == size;
        }
        let Some((piece, after)) = whole else {
            return Ok(None);
        };
        if is_complete && pieces.is_empty() {
            return Ok(Some(Cow::Borrowed(piece)));
        }
        pieces.push(piece);
        if is_complete {
            return Ok(Some(Cow::Owned(pieces.concat())));
        }
        rest = after;
    }
}

/// Takes apart the body of a ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2). `None` if it is malformed.
fn read_message(body: &[u8], carrier: Carrier) -> Option<Hello> {
    let mut input = Input(body);
    let legacy_version = input.u16()?;
    input.take(32)?; // random
    let session_id = input.list8()?;
    if session_id.0.len() > 32 {
        return None;
    }
    let ciphers = input.list16()?.u16s()?;
    let prefers_chacha20 = ciphers
        .iter()
        .find(|&&value| !ja4::is_grease(value))
        .is_some_and(|first| CHACHA20_SUITES.contains(first));
    input.list8()?.nonempty()?; // compression methods

    let mut extensions = Extensions::default();
    // Before TLS 1.3, a hello may end here, with no list of extensions at all (RFC 5246 §7.4.1.2).
    if !input.is_empty() {
        let mut list = input.list16()?;
        if !input.is_empty() {
            return None;
        }
        while !list.is_empty() {
            let kind = list.u16()?;
            extensions.read(kind, list.list16()?)?;
        }
    }
    let Extensions { mut kinds, sni, protocols, versions, signature_algorithms } = extensions;
    // RFC 8446 §4.2: no two of the same type. Sorted first: comparing each with each would cost 16384².
    kinds.sort_unstable();
    if kinds.array_windows().any(|[one, next]| one == next) {
        return None;
    }

    let traits = ja4::Traits {
        carrier,
        version: versions
            .as_ref()
            .map_or(Some(legacy_version), |list| {
                list.iter().copied().filter(|&version| !ja4::is_grease(version)).max()
            })
            .unwrap_or(0),
        ciphers,
        extensions: kinds,
        signature_algorithms,
        first_protocol: protocols.first,
    };
    Some(Hello {
        sni,
        offers_http2: protocols.has_http2,
        offers_http1: protocols.has_http1,
        has_alpn: protocols.first.is_some(),
        offers_tls13: versions.is_some_and(|list| list.contains(&TLS13)),
        prefers_chacha20,
        ja4: ja4::fingerprint(traits),
    })
}

/// What the extensions of one hello said.
#[derive(Default)]
struct Extensions<'a> {
    kinds: Vec<u16>,
    sni: Option<Box<str>>,
    protocols: Protocols<'a>,
    versions: Option<Vec<u16>>,
    signature_algorithms: Vec<u16>,
}

impl<'a> Extensions<'a> {
    /// Notes one extension; `None` if it is one we read and is malformed. A second one of the same type
    /// overwrites the first, and the hello is refused afterwards.
    fn read(&mut self, kind: u16, mut content: Input<'a>) -> Option<()> {
        self.kinds.push(kind);
        match kind {
            ja4::SERVER_NAME => self.sni = read_server_name(content.list16()?)?,
            ja4::APPLICATION_PROTOCOLS => self.protocols = read_protocols(content.list16()?)?,
            SUPPORTED_VERSIONS => self.versions = Some(content.list8()?.u16s()?),
            SIGNATURE_ALGORITHMS => self.signature_algorithms = content.list16()?.u16s()?,
            _ => return Some(()),
        }
        content.is_empty().then_some(())
    }
}

/// Application protocols (RFC 7301 §3.1).
#[derive(Default)]
struct Protocols<'a> {
    first: Option<&'a [u8]>,
    has_http2: bool,
    has_http1: bool,
}

/// Reads a `ProtocolNameList`: at least one name, none empty.
fn read_protocols(list: Input<'_>) -> Option<Protocols<'_>> {
    let mut list = list.nonempty()?;
    let mut protocols = Protocols::default();
    while !list.is_empty() {
        let name = list.list8()?.nonempty()?.0;
        protocols.first = protocols.first.or(Some(name));
        protocols.has_http2 |= name == b"h2";
        protocols.has_http1 |= name == b"http/1.1";
    }
    Some(protocols)
}

/// Reads a `ServerNameList` (RFC 6066 §3): outer `None` if it is malformed, inner if it names no host.
fn read_server_name(list: Input<'_>) -> Option<Option<Box<str>>> {
    let mut list = list.nonempty()?;
    let mut host = None;
    while !list.is_empty() {
        if list.u8()? != NAME_HOST {
            break;
        }
        let name = list.list16()?;
        if host.is_some() {
            return None;
        }
        host = Some(read_host(name.0)?);
    }
    Some(host.flatten())
}

/// Reads one host name: outer `None` if it is no valid name, inner if it is an IP address.
fn read_host(name: &[u8]) -> Option<Option<Box<str>>> {
    let name = str::from_utf8(name).ok()?;
    if name.parse::<IpAddr>().is_ok() {
        return Some(None);
    }
    DnsName::try_from(name).ok()?;
    Some(Some(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_boxed_str()))
}

/// What is left to read. Every step answers `None` when there is not enough, and then the hello is malformed.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let (&bytes, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(bytes))
    }

    /// A vector after its length of one byte.
    fn list8(&mut self) -> Option<Self> {
        let length = self.u8()?;
        self.take(length.into()).map(Self)
    }

    /// A vector after its length of two bytes.
    fn list16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(length.into()).map(Self)
    }

    fn nonempty(self) -> Option<Self> {
        (!self.is_empty()).then_some(self)
    }

    /// All of it as numbers of two bytes: at least one, and no odd byte.
    fn u16s(self) -> Option<Vec<u16>> {
        let (pairs, odd) = self.nonempty()?.0.as_chunks::<2>();
        odd.is_empty().then(|| pairs.iter().map(|&pair| u16::from_be_bytes(pair)).collect())
    }
}
