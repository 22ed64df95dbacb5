//! The fields a proxy adds and takes away, on both sides.
//!
//! Towards the origin: `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via` (RFC 9110 §7.6.3), `CDN-Loop`
//! (RFC 8586), `X-Request-Id`, and Cloudflare's names where the zone asks for them. What a stranger wrote in
//! such fields never reaches the origin. Towards the visitor: `X-Request-Id`, HSTS, `Alt-Svc`,
//! `Server-Timing`. Hop-by-hop fields are skipped by the writers.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use exchange::{Connection, Fields, Known, Request, RequestId, Response, Scheme, Version};

use crate::admission::VISITOR_FIELDS;
use crate::course::Course;

/// What of the node goes into forwarded fields.
pub(crate) struct Names<'a> {
    /// The node's name, as in `Via`.
    pub(crate) node: &'a str,
    /// The node's token in `CDN-Loop`.
    pub(crate) loop_token: &'a str,
}

fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(v4) => {
            for (place, octet) in v4.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(v6) => {
            let _infallible = write!(out, "{v6}");
        }
    }
}

/// A node name in `Forwarded`: IPv6 in brackets and quoted (RFC 7239 §6).
fn push_forwarded_node(out: &mut Vec<u8>, address: SocketAddr) {
    let is_v6 = address.is_ipv6();
    out.extend_from_slice(if is_v6 { b"\"[" } else { b"" });
    push_ip(out, address.ip());
    out.extend_from_slice(if is_v6 { b"]\"" } else { b"" });
}

fn via_version(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"1.0 ",
        Version::Http11 => b"1.1 ",
        Version::Http2 => b"2 ",
        Version::Http3 => b"3 ",
    }
}

/// Whether a field names the visitor or the way it came, so that a stranger's must not be passed on.
fn is_about_the_visitor(known: Known, name: &[u8]) -> bool {
    match known {
        Known::XForwardedFor | Known::XForwardedProto | Known::XForwardedHost | Known::Forwarded => true,
        Known::Other => {
            // CGI cannot tell `_` from `-`, and makes `Proxy` the program's own setting (httpoxy).
            let is_like = |a: &[u8], b: &[u8]| {
                a.iter().zip(b).all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
            };
            name.eq_ignore_ascii_case(b"proxy")
                || name.eq_ignore_ascii_case(b"forwarded")
                || VISITOR_FIELDS.iter().any(|field| name.len() == field.len() && is_like(name, field))
                || name.get(..11).is_some_and(|start| is_like(start, b"x-forwarded"))
        }
        _ => false,
    }
}

/// Writes something at the buffer's end and says where it stands.
fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
    let start = out.len();
    write(out);
    start..out.len()
}

/// Writes the values of a list field, each with a comma behind it, if `fields` are to be believed.
fn join(out: &mut Vec<u8>, fields: Option<&Fields>, known: Known) {
    for value in fields.into_iter().flat_map(|fields| fields.all_known(known)) {
        out.extend_from_slice(value);
        out.extend_from_slice(b", ");
    }
}

/// Prepares the request's fields for the origin. `scratch` is any buffer; its content is lost.
pub(crate) fn towards_origin(
    request: &mut Request,
    course: &Course,
    connection: &Connection,
    names: &Names<'_>,
    is_cloudflare: bool,
    scratch: &mut Vec<u8>,
) {
    let is_trusted = course.is_peer_trusted;
    let (peer, version) = (connection.visitor, request.version);
    let scheme = course.scheme.as_str().as_bytes();
    // Each value is written behind the one before into one buffer, so that no list costs an allocation.
    scratch.clear();
    let fields = &request.fields;
    let authority = append(scratch, |out| out.extend_from_slice(request.authority()));
    let forwarded_for = append(scratch, |out| {
        join(out, is_trusted.then_some(fields), Known::XForwardedFor);
        push_ip(out, peer.ip());
    });
    let forwarded = append(scratch, |out| {
        join(out, is_trusted.then_some(fields), Known::Forwarded);
        out.extend_from_slice(b"for=");
        push_forwarded_node(out, peer);
        if !request.authority().is_empty() {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(request.authority());
            out.push(b'"');
        }
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(scheme);
    });
    let via = append(scratch, |out| {
        join(out, Some(fields), Known::Via);
        out.extend_from_slice(via_version(version));
        out.extend_from_slice(names.node.as_bytes());
    });
    let cdn_loop = append(scratch, |out| {
        join(out, Some(fields), Known::CdnLoop);
        out.extend_from_slice(names.loop_token.as_bytes());
    });
    let has_host = is_trusted && fields.known(Known::XForwardedHost).is_some();
    let has_proto = is_trusted && fields.known(Known::XForwardedProto).is_some();
    request.fields.retain(|field| match field.known {
        Known::Via | Known::CdnLoop | Known::XForwardedFor | Known::Forwarded | Known::XRequestId => false,
        Known::Other
            if is_cloudflare && field.name.get(..3).is_some_and(|s| s.eq_ignore_ascii_case(b"cf-")) =>
        {
            false
        }
        known => is_trusted || !is_about_the_visitor(known, field.name),
    });
    let fields = &mut request.fields;
    let text = |range: Range<usize>| scratch.get(range).unwrap_or_default();
    fields.push_known(b"X-Forwarded-For", text(forwarded_for), Known::XForwardedFor, false);
    if !has_proto {
        fields.push_known(b"X-Forwarded-Proto", scheme, Known::XForwardedProto, false);
    }
    if !has_host && !authority.is_empty() {
        fields.push_known(b"X-Forwarded-Host", text(authority), Known::XForwardedHost, false);
    }
    fields.push_known(b"Forwarded", text(forwarded), Known::Forwarded, false);
    fields.push_known(b"Via", text(via), Known::Via, false);
    fields.push_known(b"CDN-Loop", text(cdn_loop), Known::CdnLoop, false);
    fields.push_known(b"X-Request-Id", &course.id.hex(), Known::XRequestId, false);

    if is_cloudflare {
        scratch.clear();
        push_ip(scratch, course.visitor.ip());
        fields.push_known(b"CF-Connecting-IP", scratch, Known::Other, false);
        scratch.clear();
        scratch.extend_from_slice(course.id.hex().get(..16).unwrap_or_default());
        scratch.push(b'-');
        scratch.extend_from_slice(names.node.as_bytes());
        fields.push_known(b"CF-Ray", scratch, Known::Other, false);
        // `XX` is Cloudflare's word for a country that is not known.
        let country = course.whereabouts.country.unwrap_or(*b"XX");
        fields.push_known(b"CF-IPCountry", &country, Known::Other, false);
        let visitor: &[u8] = match course.scheme {
            Scheme::Http => b"{\"scheme\":\"http\"}",
            Scheme::Https => b"{\"scheme\":\"https\"}",
        };
        fields.push_known(b"CF-Visitor", visitor, Known::Other, false);
    }
}

/// Adds what the node says on every answer.
pub(crate) fn towards_visitor(
    response: &mut Response,
    course: &Course,
    connection: &Connection,
    version: Version,
) {
    let fields = &mut response.fields;
    set_request_id(fields, course.id);
    if connection.tls.is_some() {
        if let Some(hsts) = course.site.as_ref().and_then(|site| site.zone.tls.hsts.as_ref())
            && course.rules.config().hsts != Some(false)
        {
            fields.set(b"Strict-Transport-Security", hsts.value.as_bytes());
        }
        // HTTP/3 answers zones that ask for client certificates with 421: no visitor is sent there.
        let is_on_http3 = course.site.as_ref().is_none_or(|site| site.zone.tls.client.is_none());
        if let Some(port) = connection.http3_port.filter(|_| version != Version::Http3 && is_on_http3) {
            // RFC 7838 §3; a day, so that a visitor comes back over HTTP/3 tomorrow.
            let mut value = Vec::with_capacity(24);
            value.extend_from_slice(b"h3=\":");
            value.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
            value.extend_from_slice(b"\"; ma=86400");
            fields.set(b"Alt-Svc", &value);
        }
    }
}

/// The `Set-Cookie` value that keeps a visitor at an origin.
pub(crate) fn sticky_cookie(sticky: &zone::Sticky, value: &[u8], scheme: Scheme) -> Vec<u8> {
    let mut cookie = Vec::with_capacity(96);
    cookie.extend_from_slice(sticky.cookie.as_bytes());
    cookie.push(b'=');
    cookie.extend_from_slice(value);
    cookie.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
    if let Some(ttl_s) = sticky.ttl_s {
        cookie.extend_from_slice(b"; Max-Age=");
        cookie.extend_from_slice(itoa::Buffer::new().format(ttl_s).as_bytes());
    }
    if scheme == Scheme::Https {
        cookie.extend_from_slice(b"; Secure");
    }
    cookie
}

fn set_request_id(fields: &mut Fields, id: RequestId) {
    fields.remove_known(Known::XRequestId);
    fields.push_known(b"X-Request-Id", &id.hex(), Known::XRequestId, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_in_forwarded_are_written_as_the_rfc_wants() {
        let mut out = Vec::new();
        push_forwarded_node(&mut out, "192.0.2.7:1".parse().expect("an address"));
        assert_eq!(out, b"192.0.2.7");
        out.clear();
        push_forwarded_node(&mut out, "[2001:db8::7]:1".parse().expect("an address"));
        assert_eq!(out, b"\"[2001:db8::7]\"");
    }

    #[test]
    fn strangers_cannot_name_the_visitor() {
        for name in [
            "X-Real-IP",
            "True-Client-IP",
            "X-Forwarded-Port",
            "x-forwarded-for",
            "Forwarded",
            "X_Forwarded_For",
            "Proxy",
        ] {
            assert!(is_about_the_visitor(Known::of(name.as_bytes()), name.as_bytes()), "{name}");
        }
        assert!(!is_about_the_visitor(Known::Other, b"X-Custom"));
    }
}
