//! Phase 1: who is it, which zone, and may it come in at all. Pure over snapshot and facts.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use exchange::{Connection, Known, Method, Refusal, Request, Scheme, Upgrade};
use zone::{Cidr, ClientCertificate, TlsVersion};

use crate::course::Course;
use crate::live::{Live, Site};

/// Fields in which a proxy names the visitor, that http1's list of known names does not hold.
pub(crate) const VISITOR_FIELDS: [&[u8]; 4] =
    [b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"x-client-ip"];

/// Finds the visitor behind trusted proxies.
///
/// `X-Forwarded-For` is read from the right: the first address that is not a trusted proxy's is the
/// visitor's; what stands left of it anybody may have written. Without it `Forwarded` (RFC 7239) is read in
/// the same way, without both the peer is the visitor.
pub(crate) fn identify(course: &mut Course, request: &Request, connection: &Connection, trusted: &[Cidr]) {
    if trusted.is_empty() || !zone::cidr::any_contains(trusted, connection.visitor.ip()) {
        return;
    }
    course.is_peer_trusted = true;
    let lists: Vec<&[u8]> = request.fields.all_known(Known::XForwardedFor).collect();
    if lists.is_empty() {
        read_forwarded(course, request, trusted);
    }
    'found: for list in lists.iter().rev() {
        for entry in list.rsplit(|byte| *byte == b',') {
            let Some(address) = forwarded_address(entry.trim_ascii()) else { break 'found };
            course.visitor = address;
            if !zone::cidr::any_contains(trusted, address.ip()) {
                break 'found;
            }
        }
    }
    match request.fields.all_known(Known::XForwardedProto).last().map(<[u8]>::trim_ascii) {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") => course.scheme = Scheme::Https,
        Some(proto) if proto.eq_ignore_ascii_case(b"http") => course.scheme = Scheme::Http,
        _ => {}
    }
}

/// Reads `Forwarded` from the right. The protocol is what the proxy says that the visitor reached, and not
/// those on the way from there.
fn read_forwarded(course: &mut Course, request: &Request, trusted: &[Cidr]) {
    let lists: Vec<&[u8]> = request.fields.all_known(Known::Forwarded).collect();
    for list in lists.iter().rev() {
        let mut left = Some(*list);
        while let Some(list) = left {
            let (before, element) = split_last(list, b',');
            left = before;
            let Some(address) = parameter(element, b"for").and_then(|value| forwarded_address(&value)) else {
                return; // `unknown`, a made-up name, or what nobody can read
            };
            course.visitor = address;
            match parameter(element, b"proto") {
                Some(proto) if proto.eq_ignore_ascii_case(b"https") => course.scheme = Scheme::Https,
                Some(proto) if proto.eq_ignore_ascii_case(b"http") => course.scheme = Scheme::Http,
                _ => {}
            }
            if !zone::cidr::any_contains(trusted, address.ip()) {
                return;
            }
        }
    }
}

/// Splits at the last `separator` outside of quotes: what stands before it, if there is one, and after it.
/// Quotes are counted from the right, so that a quote a visitor left open swallows nothing that a proxy
/// added behind it.
fn split_last(list: &[u8], separator: u8) -> (Option<&[u8]>, &[u8]) {
    let mut is_quoted = false;
    for (at, byte) in list.iter().enumerate().rev() {
        is_quoted ^= *byte == b'"';
        if *byte == separator && !is_quoted {
            return (list.get(..at), list.get(at + 1..).unwrap_or_default());
        }
    }
    (None, list)
}

/// The value of a parameter of one element (RFC 7239 §4), without its quotes; none if it is there twice.
fn parameter(element: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut found = None;
    let mut left = Some(element);
    while let Some(rest) = left {
        let (before, pair) = split_last(rest, b';');
        left = before;
        let Some(equals) = memchr::memchr(b'=', pair) else { continue };
        let (key, value) = (pair.get(..equals)?.trim_ascii(), pair.get(equals + 1..)?.trim_ascii());
        if !key.eq_ignore_ascii_case(name) {
            continue;
        }
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        let value = quoted.map_or_else(|| value.to_vec(), unescaped);
        if found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// What a quoted string says (RFC 9110 §5.6.4).
fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut is_escaped = false;
    let keep = |byte: &u8| {
        is_escaped = *byte == b'\\' && !is_escaped;
        !is_escaped
    };
    quoted.iter().copied().filter(keep).collect()
}

/// An address in `X-Forwarded-For`: `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]`, `[::1]:5`.
fn forwarded_address(entry: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 0),
        Err(_) => text.parse().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Whether `CDN-Loop` names this node already (RFC 8586 §2).
fn has_passed_here(request: &Request, token: &[u8]) -> bool {
    request.fields.all_known(Known::CdnLoop).any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|entry| entry.split(|byte| *byte == b';').next().is_some_and(|id| id.trim_ascii() == token))
    })
}

/// A request that does not come in.
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// Why, in words for the trail.
    pub(crate) reason: &'static str,
    /// The zone asked for, if there is one: its pages and its log.
    pub(crate) site: Option<Arc<Site>>,
}

/// Decides whether the request comes in, and for which zone.
///
/// # Errors
/// The refusal and, in words, why.
pub(crate) fn admit(
    live: &Live,
    request: &mut Request,
    connection: &Connection,
    loop_token: &[u8],
) -> Result<Arc<Site>, Refused> {
    let Some(site) = live.site_for(request.host()) else {
        return Err(Refused { refusal: Refusal::NoZone, reason: "no zone has this host name", site: None });
    };
    let refuse = |refusal, reason| Err(Refused { refusal, reason, site: Some(Arc::clone(site)) });
    match request.method {
        Method::Trace => return refuse(Refusal::Method, "TRACE would show fields that we added"),
        Method::Connect if request.upgrade == Upgrade::No => {
            return refuse(Refusal::Method, "CONNECT is for forward proxies");
        }
        _ => {}
    }
    if let Some(tls) = &connection.tls {
        let floor = match site.zone.tls.minimum {
            TlsVersion::V1_2 => exchange::TlsVersion::V1_2,
            TlsVersion::V1_3 => exchange::TlsVersion::V1_3,
        };
        if tls.version < floor {
            return refuse(Refusal::StricterTls, "the zone asks for a newer TLS version");
        }
        if let Some(client) = &site.zone.tls.client {
            // A handshake made for another zone proves nothing here (connection coalescing).
            let is_own = tls.verified_for == Some(site.zone.id.0);
            let is_required = client.mode == ClientCertificate::Require;
            if !is_own || (is_required && !tls.has_client_certificate) {
                return refuse(Refusal::StricterTls, "the zone asks for a client certificate");
            }
        }
    } else if site.zone.tls.client.as_ref().is_some_and(|c| c.mode == ClientCertificate::Require)
        && !site.zone.tls.redirect_to_https
    {
        return refuse(Refusal::StricterTls, "the zone asks for a client certificate");
    }
    let http = &site.zone.http;
    if request.fields.bytes_len() > http.max_header_bytes || request.fields.len() > http.max_headers {
        return refuse(Refusal::HeadTooLarge, "the head passes max_header_bytes or max_headers");
    }
    if has_passed_here(request, loop_token) {
        return refuse(Refusal::Loop, "CDN-Loop names this node");
    }
    if let exchange::BodySize::Length(length) = request.body
        && site.zone.http.max_body_bytes.is_some_and(|most| length > most)
    {
        return refuse(Refusal::BodyTooLarge, "content-length passes max_body_bytes");
    }
    if request.is_websocket() {
        if !site.zone.http.websocket {
            return refuse(Refusal::Upgrade, "the zone has websocket = false");
        }
    } else if request.upgrade == Upgrade::Extended {
        return refuse(Refusal::NotImplemented, "extended CONNECT for something other than a WebSocket");
    } else if request.upgrade == Upgrade::Http1 {
        // An offer to change protocols may be ignored (RFC 9110 §7.8); passing on `h2c` would open a tunnel
        // past every rule.
        request.upgrade = Upgrade::No;
    }
    if request.upgrade == Upgrade::Http1 && request.body != exchange::BodySize::None {
        request.upgrade = Upgrade::No;
    }
    Ok(Arc::clone(site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_in_every_usual_form() {
        for (text, address) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1:99", Some("192.0.2.1:99")),
            ("2001:db8::1", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            ("[2001:db8::1]:7", Some("[2001:db8::1]:7")),
            ("::ffff:192.0.2.1", Some("192.0.2.1:0")),
            ("unknown", None),
            ("", None),
        ] {
            let expected = address.map(|text| text.parse::<SocketAddr>().expect("the table is right"));
            assert_eq!(forwarded_address(text.as_bytes()), expected, "{text}");
        }
    }

    /// Visitor and scheme, where 10.0.0.0/8 is trusted and the peer is 10.0.0.9 over cleartext.
    fn identified(fields: &[(&[u8], &[u8])]) -> (String, Scheme) {
        let mut request = Request::default();
        for (name, value) in fields {
            request.fields.push(name, value);
        }
        let peer: SocketAddr = "10.0.0.9:5000".parse().expect("an address");
        let connection = Connection { id: 1, visitor: peer, local: peer, tls: None, http3_port: None };
        let id = exchange::IdSource::new([1, 2]).next_id();
        let mut course = Course::begin(id, 0, peer, Scheme::Http);
        let trusted = ["10.0.0.0/8".parse().expect("a range")];
        identify(&mut course, &request, &connection, &trusted);
        (course.visitor.to_string(), course.scheme)
    }

    #[test]
    fn forwarded_is_read_from_the_right_up_to_the_first_stranger() {
        for (value, visitor, scheme) in [
            ("for=192.0.2.1;proto=https;by=10.0.0.9", "192.0.2.1:0", Scheme::Https),
            ("For=\"192.0.2.1:99\" ; Proto=\"https\"", "192.0.2.1:99", Scheme::Https),
            ("for=\"[2001:db8::1]:47\"", "[2001:db8::1]:47", Scheme::Http),
            ("for=203.0.113.7, for=192.0.2.1;proto=https", "192.0.2.1:0", Scheme::Https),
            ("for=192.0.2.1;proto=https, for=10.0.0.8;proto=http", "192.0.2.1:0", Scheme::Https),
            ("for=192.0.2.1;host=\"a,b;for=203.0.113.7\"", "192.0.2.1:0", Scheme::Http),
            // What a visitor wrote cannot swallow what the proxy wrote.
            ("for=\"203.0.113.7, for=192.0.2.1", "192.0.2.1:0", Scheme::Http),
            ("for=\"203.0.113.7;x=\", for=192.0.2.1", "192.0.2.1:0", Scheme::Http),
            // Whom the proxy cannot or will not name is taken for the proxy.
            ("for=unknown;proto=https", "10.0.0.9:5000", Scheme::Http),
            ("for=192.0.2.1, for=_hidden", "10.0.0.9:5000", Scheme::Http),
            ("for=192.0.2.1;for=192.0.2.2", "10.0.0.9:5000", Scheme::Http),
            ("proto=https", "10.0.0.9:5000", Scheme::Http),
            ("", "10.0.0.9:5000", Scheme::Http),
        ] {
            let found = identified(&[(b"Forwarded", value.as_bytes())]);
            assert_eq!(found, (visitor.to_owned(), scheme), "{value}");
        }
        let two = [(&b"Forwarded"[..], &b"for=192.0.2.1"[..]), (b"Forwarded", b"for=10.0.0.8")];
        assert_eq!(identified(&two).0, "192.0.2.1:0", "fields are one list");
        let both = [(&b"X-Forwarded-For"[..], &b"192.0.2.1"[..]), (b"Forwarded", b"for=203.0.113.7")];
        assert_eq!(identified(&both).0, "192.0.2.1:0", "X-Forwarded-For counts where both are");
    }

    #[test]
    fn a_loop_is_seen_whatever_stands_around_the_token() {
        let mut request = Request::default();
        request.fields.push(b"CDN-Loop", b"other; v=1, node-1;a=b");
        assert!(has_passed_here(&request, b"node-1"));
        assert!(!has_passed_here(&request, b"node"));
    }
}
