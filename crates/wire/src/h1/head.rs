//! The head of a request over HTTP/1: read from the work area, and put into the one form of request.
//!
//! What is a head is `http1`'s to say. Caller: `h1.rs`.

use exchange::{BodySize, Request, Scheme, Upgrade, Version};
use http1::{Framing, Known};

use super::Work;
use crate::limits::HTTP1;

/// What reading a head gave.
pub(super) enum Head {
    Whole,
    Partial,
    Malformed(http1::Malformed),
}

pub(super) fn read_head(work: &mut Work) -> Head {
    let Work { inbound, at, head, seen, .. } = work;
    let unread = inbound.get(*at..).unwrap_or_default();
    match head.parse_more(unread, *seen, &HTTP1) {
        Ok(true) => {
            *seen = 0;
            Head::Whole
        }
        Ok(false) => {
            *seen = unread.len();
            Head::Partial
        }
        Err(malformed) => Head::Malformed(malformed),
    }
}

/// Fills the exchange's request from the head that lies at the front of the work area.
pub(super) fn load(work: &mut Work, request: &mut Request, scheme: Scheme) {
    let Work { inbound, at, head, .. } = work;
    let buffer = inbound.get(*at..*at + head.len).unwrap_or_default();
    request.set_method(head.method.of(buffer));
    request.version = if head.minor == 0 { Version::Http10 } else { Version::Http11 };
    request.scheme = scheme;
    request.fields.load(buffer, &head.fields);
    request.expects_continue = head.expects_continue && head.minor == 1;
    request.accepts_trailers = head.accepts_trailers;
    request.body = match head.framing {
        Framing::None | Framing::UntilClose => BodySize::None,
        Framing::Length(length) => BodySize::of_length(length),
        Framing::Chunked => BodySize::Unknown,
    };
    if head.is_upgrade && head.minor == 1 {
        request.upgrade = Upgrade::Http1;
        request.set_protocol(head.known(buffer, Known::Upgrade).unwrap_or_default());
    }
    // Whatever the form of the target; http1 has checked that an absolute one agrees with Host.
    request.set_authority(head.authority(buffer).unwrap_or_default());
    match head.path_and_query(buffer) {
        query if query.first() == Some(&b'?') => request.set_target(&[b"/", query].concat()),
        target => request.set_target(target),
    }
}
