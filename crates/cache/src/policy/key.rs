//! The key of a stored answer: everything about a request that may change the answer, and what is taken out
//! of the requests that are keyed.
//!
//! Path and query are keyed as sent and forwarded as sent: any normalisation that the origin does not make
//! too would let one spelling answer for another. What is normalised is safe by the specification of the
//! part: the host's case (RFC 9110 §4.2.3), a port that is the scheme's own, an empty path. Called by
//! `request.rs`.

use exchange::{Known, Request, Scheme};

use super::words::lines;
use crate::limits::{KEY_BYTES_MAX, KEY_PARTS_MAX};

/// What goes into the key beside zone, scheme, host and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// What of the query. Default as sent: neither left out in part nor sorted, so that `a&b` and `b&a` are
    /// two.
    pub spelling: Spelling,
    /// Fields whose values are keyed; names in any case. Default none.
    pub headers: Vec<Box<[u8]>>,
    /// Cookies whose values are keyed. Default none.
    pub cookies: Vec<Box<[u8]>>,
    /// Whether the class of device is keyed. Default off.
    pub device: bool,
    /// Whether the country is keyed. Default off.
    pub country: bool,
}

/// How the key spells a URL: what of [`KeySettings`] decides about its query.
///
/// One URL is stored under as many keys as a zone and its rules have spellings, so a purge of it goes through
/// all of them; what else is keyed stands in [`Key::rest`], which a purge by URL takes whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling {
    /// Which parameters of the query.
    pub query: QueryKey,
    /// Whether they are sorted.
    pub sorts_query: bool,
}

impl Spelling {
    /// The URL's query as sent.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Path and query as this spelling keys them.
    pub fn target(&self, target: &[u8]) -> Vec<u8> {
        let question = memchr::memchr(b'?', target).unwrap_or(target.len());
        let mut text = Vec::with_capacity(target.len().max(1));
        let path = target.get(..question).filter(|path| !path.is_empty());
        text.extend_from_slice(path.unwrap_or(b"/"));
        push_query(&mut text, target.get(question + 1..), self);
        text
    }

    /// The tag of everything that is stored under this spelling, beside those the origin gives: what is to
    /// be purged where nobody knows which URLs were purged before a zone had it. None for the plain one.
    ///
    /// Begins with a byte that no field has, so that no origin's tag is one of these.
    pub fn tag(&self) -> Option<Vec<u8>> {
        if self.is_plain() {
            return None;
        }
        let (kind, names) = match &self.query {
            QueryKey::All => (b'a', &[][..]),
            QueryKey::Nothing => (b'n', &[][..]),
            QueryKey::Only(names) => (b'o', &names[..]),
            QueryKey::AllBut(names) => (b'b', &names[..]),
        };
        let mut tag = vec![b'\n', kind, if self.sorts_query { b's' } else { b'-' }];
        for name in names {
            push_part(&mut tag, |out| out.extend_from_slice(name));
        }
        Some(tag)
    }
}

/// Which parameters of a query are keyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryKey {
    /// The query as sent.
    #[default]
    All,
    /// No query at all: `?` and without are one.
    Nothing,
    /// These only; a name that ends in `*` stands for a beginning.
    Only(Vec<Box<[u8]>>),
    /// All but these.
    AllBut(Vec<Box<[u8]>>),
}

/// A class of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what it says")]
pub enum Device {
    Desktop,
    Mobile,
    Tablet,
}

/// What is known of a visitor beyond the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VisitorFacts {
    /// The class of device, if it was told.
    pub device: Option<Device>,
    /// ISO 3166 code in upper case, if it is known.
    pub country: Option<[u8; 2]>,
}

/// The key of an answer, in the parts that storage and purges go by.
///
/// Storage hashes it and compares it whole: a hash finds, the text decides.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    zone: u128,
    text: Vec<u8>,
    host_end: usize,
    target_end: usize,
    /// Where the part ends that all variants have in common.
    common_end: usize,
}

/// Marks what follows the part that all variants share.
const VARIANT: u8 = b'v';
const SLICE: u8 = b's';
const CODED: u8 = b'z';

impl Key {
    /// The key of a request in the zone `zone`. None if it were longer than [`KEY_BYTES_MAX`]: the request
    /// bypasses.
    pub fn of(request: &Request, zone: u128, settings: &KeySettings, facts: &VisitorFacts) -> Option<Self> {
        let (host, target) = (request.host(), request.target());
        let mut text = Vec::with_capacity(host.len() + target.len() + 32);
        text.extend_from_slice(host);
        text.make_ascii_lowercase();
        let host_end = text.len();
        text.extend_from_slice(if request.path().is_empty() { b"/" } else { request.path() });
        push_query(&mut text, request.query(), &settings.spelling);
        let target_end = text.len();
        text.push(if request.scheme == Scheme::Https { b's' } else { b'c' });
        push_part(&mut text, |out| out.extend_from_slice(port(request, host)));
        for name in &settings.headers {
            push_part(&mut text, |out| {
                for line in lines(&request.fields, name) {
                    out.push(b'=');
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
            });
        }
        for name in &settings.cookies {
            push_part(&mut text, |out| {
                for value in cookies(request).filter(|cookie| cookie.0 == &**name) {
                    out.push(b'=');
                    out.extend_from_slice(value.1);
                    out.push(b'\n');
                }
            });
        }
        if settings.device {
            text.push(match facts.device {
                None => b'-',
                Some(Device::Desktop) => b'd',
                Some(Device::Mobile) => b'm',
                Some(Device::Tablet) => b't',
            });
        }
        if settings.country {
            text.extend_from_slice(&facts.country.unwrap_or(*b"--"));
        }
        let common_end = text.len();
        (common_end <= KEY_BYTES_MAX).then_some(Self { zone, text, host_end, target_end, common_end })
    }

    /// This key for what has one more thing in common beside the request: which server is asked, say. None if
    /// it were longer than [`KEY_BYTES_MAX`]. To be called before the key has a variant.
    #[must_use]
    pub fn scoped(mut self, scope: &[u8]) -> Option<Self> {
        push_part(&mut self.text, |out| out.extend_from_slice(scope));
        self.common_end = self.text.len();
        (self.common_end <= KEY_BYTES_MAX).then_some(self)
    }

    /// The zone's id.
    pub fn zone(&self) -> u128 {
        self.zone
    }

    /// The host in lower case, without its port.
    pub fn host(&self) -> &[u8] {
        self.text.get(..self.host_end).unwrap_or_default()
    }

    /// Path as sent, and the keyed part of the query behind its `?`.
    pub fn target(&self) -> &[u8] {
        self.text.get(self.host_end..self.target_end).unwrap_or_default()
    }

    /// Scheme, port, keyed fields, and, for a variant or a slice, which one. Opaque.
    pub fn rest(&self) -> &[u8] {
        self.text.get(self.target_end..).unwrap_or_default()
    }

    /// This key with another [`Key::rest`]: that of a variant or slice that was found in storage.
    #[must_use]
    pub fn with_rest(&self, rest: &[u8]) -> Self {
        let mut key = self.clone();
        key.text.truncate(self.target_end);
        key.text.extend_from_slice(rest);
        key
    }

    /// The key of one variant: this key with [`super::vary::VaryRule::variant`] behind it, in place of any
    /// there was.
    #[must_use]
    pub fn with_variant(&self, variant: &[u8]) -> Self {
        let mut key = self.clone();
        key.text.truncate(self.common_end);
        key.text.push(VARIANT);
        push_part(&mut key.text, |out| out.extend_from_slice(variant));
        key
    }

    /// The key of one slice of this key's object: its number, and the version it belongs to, so that slices
    /// of two versions never meet.
    #[must_use]
    pub fn with_slice(&self, version: &[u8], slice: u64) -> Self {
        let mut key = self.clone();
        key.text.push(SLICE);
        push_part(&mut key.text, |out| out.extend_from_slice(version));
        key.text.extend_from_slice(&slice.to_be_bytes());
        key
    }

    /// The key of a coded form of one body ([`super::Metadata::body_id`]).
    #[must_use]
    pub fn with_coding(&self, coding: crate::compress::Coding, body_id: u64) -> Self {
        self.with_rest(&coded_rest(self.rest(), coding, body_id))
    }
}

/// The [`Key::rest`] of a coded form of the body that lies under a key with this one.
pub(crate) fn coded_rest(rest: &[u8], coding: crate::compress::Coding, body_id: u64) -> Vec<u8> {
    let mut coded = Vec::with_capacity(rest.len() + 20);
    coded.extend_from_slice(rest);
    coded.push(CODED);
    push_part(&mut coded, |out| out.extend_from_slice(coding.as_str().as_bytes()));
    coded.extend_from_slice(&body_id.to_be_bytes());
    coded
}

/// The port of the authority, unless it is the scheme's own.
fn port<'a>(request: &'a Request, host: &[u8]) -> &'a [u8] {
    let own: &[u8] = match request.scheme {
        Scheme::Http => b":80",
        Scheme::Https => b":443",
    };
    let port = request.authority().get(host.len()..).unwrap_or_default();
    if port == own || port == b":" { b"" } else { port }
}

/// A part stands behind its length, so that no text of one part passes for another's.
fn push_part(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = (out.len() - at - 4) as u32;
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
}

fn push_query(out: &mut Vec<u8>, query: Option<&[u8]>, spelling: &Spelling) {
    let Some(query) = query else { return };
    let keeps = |parameter: &[u8]| {
        let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        match &spelling.query {
            QueryKey::All => true,
            QueryKey::Nothing => false,
            QueryKey::Only(names) => is_listed(names, name),
            QueryKey::AllBut(names) => !is_listed(names, name),
        }
    };
    if spelling.is_plain() {
        out.push(b'?');
        out.extend_from_slice(query);
        return;
    }
    let all = query.split(|byte| *byte == b'&');
    let mut kept: Vec<&[u8]> = all.take(KEY_PARTS_MAX + 1).filter(|parameter| keeps(parameter)).collect();
    if kept.len() > KEY_PARTS_MAX {
        // Nobody sorts that many: the query counts as it is.
        kept = vec![query];
    }
    if spelling.sorts_query {
        // By name only, and stable: the order among equal names may mean something (`a=1&a=2`).
        kept.sort_by_key(|parameter| parameter.split(|byte| *byte == b'=').next().unwrap_or_default());
    }
    for (place, parameter) in kept.iter().enumerate() {
        out.push(if place == 0 { b'?' } else { b'&' });
        out.extend_from_slice(parameter);
    }
}

/// Whether `name` is in a list whose members may end in `*`.
pub(crate) fn is_listed(names: &[Box<[u8]>], name: &[u8]) -> bool {
    names.iter().any(|listed| match listed.strip_suffix(b"*") {
        Some(start) => name.starts_with(start),
        None => **listed == *name,
    })
}

/// Names and values of a request's cookies (RFC 6265 §4.2.1), at most [`KEY_PARTS_MAX`] of a line.
pub(crate) fn cookies(request: &Request) -> impl Iterator<Item = (&[u8], &[u8])> {
    request.fields.all_known(Known::Cookie).flat_map(|line| {
        line.split(|byte| *byte == b';').take(KEY_PARTS_MAX).map(|pair| {
            let pair = super::words::trim(pair);
            let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            (pair.get(..equals).unwrap_or_default(), pair.get(equals + 1..).unwrap_or_default())
        })
    })
}

/// Fields by which a stranger makes an origin answer for another host, path or method than the key says,
/// beside those that every request is rid of. Found by Kettle, "Practical Web Cache Poisoning" (2018), and
/// its sequels.
const UNKEYED: [&[u8]; 34] = [
    b"forwarded",
    b"x-original-url",
    b"x-original-uri",
    b"x-original-host",
    b"x-original-path",
    b"x-rewrite-url",
    b"x-rewrite-uri",
    b"x-request-uri",
    b"x-host",
    b"x-http-host-override",
    b"x-host-override",
    b"x-backend-host",
    b"x-http-destinationurl",
    b"x-proxy-url",
    b"x-proxy-host",
    b"x-override-url",
    b"x-accel-redirect",
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
    b"x-url-scheme",
    b"x-scheme",
    b"x-proto",
    b"x-url",
    b"x-wap-profile",
    b"base-url",
    b"request-uri",
    b"http-url",
    b"proxy-url",
    b"front-end-https",
    b"x-ssl",
    b"x-https",
    b"x-script-name",
    b"x-middleware-prefetch",
];

/// Whether a field of a stranger's request must not reach the origin when the answer may be stored: it
/// names host, scheme, path or method beside the request line, and is no part of the key.
///
/// Names count whatever their case, and with `_` for `-`, as gateways read them. Fields the zone keys are
/// kept.
pub fn is_unkeyed_forwarding(name: &[u8], settings: &KeySettings) -> bool {
    // All of them begin so; most fields of browsers do not.
    let may_be = matches!(
        name.first(),
        Some(b'x' | b'X' | b'f' | b'F' | b'b' | b'B' | b'h' | b'H' | b'p' | b'P' | b'r' | b'R')
    );
    if !may_be {
        return false;
    }
    let is_like = |other: &[u8]| {
        name.len() == other.len()
            && name.iter().zip(other).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
    };
    let is_forwarding = UNKEYED.iter().any(|other| is_like(other))
        || name.split_at_checked(12).is_some_and(|(start, _)| {
            let expected = b"x-forwarded-";
            start.iter().zip(expected).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
        });
    is_forwarding && !settings.headers.iter().any(|keyed| keyed.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
