//! Sends the calls of a site directly and through a node, and lists every difference.
//!
//! Compared are, of the answer: status, informational answers, every field but [`ALLOWED_DIFFERENCES`],
//! length and hash of the body, trailers, WebSocket frames; of the request as the site got it: method,
//! target, host, every field but [`ALLOWED_IN_REQUESTS`], body, trailers. Over HTTP/1.1 order and case of
//! fields too. Directly is always HTTP/1.1 on cleartext. HTTP/3 is spoken by a foreign visitor ([`foreign`]).
//!
//! A call is performed alone, so the site's latest request with its target is its own: health checks must be
//! off or use another path. Called by end-to-end tests. Read next: [`perform`].

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;

use crate::fields::Fields;
use crate::origin::{Protocol, Request};
use crate::site::{Call, Site};

pub mod foreign;
mod perform;

pub use perform::{Outcome, perform};

/// In what way a field may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freedom {
    /// The node may add fields of this name; those of the other end must arrive.
    Added,
    /// Not compared.
    Any,
}

/// A field that may differ, how, and why.
pub type Allowed = (&'static str, Freedom, &'static str);

/// Response fields that may differ between directly and through a node. All others are equal.
pub const ALLOWED_DIFFERENCES: &[Allowed] = &[
    ("connection", Freedom::Any, "of one connection only (RFC 9110 section 7.6.1)"),
    ("keep-alive", Freedom::Any, "of one connection only (RFC 9110 section 7.6.1)"),
    ("transfer-encoding", Freedom::Any, "of one connection only (RFC 9112 section 6.1)"),
    ("upgrade", Freedom::Any, "of one connection only; HTTP/2 has none (RFC 8441 section 5)"),
    ("sec-websocket-accept", Freedom::Any, "checked by the visitor; HTTP/2 has none (RFC 8441 section 5)"),
    ("via", Freedom::Any, "each proxy adds itself (RFC 9110 section 7.6.3)"),
    ("date", Freedom::Added, "added where the origin sent none (RFC 9110 section 6.6.1)"),
    ("x-request-id", Freedom::Added, "names the exchange in the node's log"),
    ("alt-svc", Freedom::Added, "offers HTTP/3 (RFC 7838)"),
    ("server-timing", Freedom::Added, "what each phase took, where the zone asks for it"),
    ("cache-status", Freedom::Added, "what the cache did (RFC 9211)"),
    ("proxy-status", Freedom::Added, "what went wrong, if something did (RFC 9209)"),
    ("age", Freedom::Added, "of stored answers (RFC 9111 section 5.1)"),
    ("strict-transport-security", Freedom::Added, "where the zone asks for it (RFC 6797)"),
];

/// Request fields that may differ between what a visitor sent and what the site got through a node.
pub const ALLOWED_IN_REQUESTS: &[Allowed] = &[
    ("connection", Freedom::Any, "of one connection only (RFC 9110 section 7.6.1)"),
    ("keep-alive", Freedom::Any, "of one connection only (RFC 9110 section 7.6.1)"),
    ("transfer-encoding", Freedom::Any, "of one connection only (RFC 9112 section 6.1)"),
    ("upgrade", Freedom::Any, "of one connection only; HTTP/2 has none (RFC 8441 section 5)"),
    ("te", Freedom::Any, "of one connection only (RFC 9110 section 10.1.4)"),
    ("sec-websocket-key", Freedom::Any, "HTTP/2 has none (RFC 8441 section 5)"),
    ("host", Freedom::Any, "compared as the authority"),
    ("expect", Freedom::Any, "a proxy may answer 100 itself (RFC 9110 section 10.1.1)"),
    ("via", Freedom::Any, "each proxy adds itself (RFC 9110 section 7.6.3)"),
    ("cdn-loop", Freedom::Added, "finds loops (RFC 8586)"),
    ("forwarded", Freedom::Added, "tells the visitor's address (RFC 7239)"),
    ("x-forwarded-for", Freedom::Added, "tells the visitor's address"),
    ("x-forwarded-proto", Freedom::Added, "tells the visitor's scheme"),
    ("x-forwarded-host", Freedom::Added, "tells the visitor's host"),
    ("x-request-id", Freedom::Added, "names the exchange in the node's log"),
    ("cf-connecting-ip", Freedom::Added, "`compat = \"cloudflare\"`"),
    ("cf-ray", Freedom::Added, "`compat = \"cloudflare\"`"),
    ("cf-ipcountry", Freedom::Added, "`compat = \"cloudflare\"`"),
    ("cf-visitor", Freedom::Added, "`compat = \"cloudflare\"`"),
];

/// A way to reach a site. The host asked for is always the site's own name.
#[derive(Clone)]
pub enum Way {
    /// HTTP/1.1 on cleartext.
    Http1(SocketAddr),
    /// HTTP/1.1 over TLS.
    Http1Tls(SocketAddr, Arc<ClientConfig>),
    /// HTTP/2 on cleartext, by prior knowledge.
    Http2(SocketAddr),
    /// HTTP/2 over TLS; the configuration must offer `h2`.
    Http2Tls(SocketAddr, Arc<ClientConfig>),
    /// HTTP/3, as somebody else speaks it.
    Http3(Arc<foreign::ForeignVisitor>),
}

impl Way {
    /// For reports.
    pub fn name(&self) -> &'static str {
        match self {
            Way::Http1(_) => "HTTP/1.1",
            Way::Http1Tls(..) => "HTTP/1.1 over TLS",
            Way::Http2(_) => "HTTP/2",
            Way::Http2Tls(..) => "HTTP/2 over TLS",
            Way::Http3(_) => "HTTP/3",
        }
    }

    fn keeps_order_and_case(&self) -> bool {
        matches!(self, Way::Http1(_) | Way::Http1Tls(..))
    }
}

/// One thing that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The call's name, with the site's.
    pub call: String,
    /// The way's name.
    pub way: &'static str,
    /// What differs, as `status` or `response field etag`.
    pub what: String,
    /// Directly.
    pub direct: String,
    /// Through the node.
    pub through: String,
}

/// Performs all calls of a site directly and by each way, and returns what differs.
///
/// # Errors
/// When a call fails directly or has another status than it must: then the site is at fault. A call that
/// fails through a node is a difference.
pub fn differences(site: &Site, ways: &[Way]) -> Result<Vec<Difference>> {
    let mut all = Vec::new();
    for call in &site.calls {
        all.extend(differences_of(site, call, ways)?);
    }
    Ok(all)
}

/// As [`differences`], for one call, which need not be among the site's own.
///
/// # Errors
/// As [`differences`].
pub fn differences_of(site: &Site, call: &Call, ways: &[Way]) -> Result<Vec<Difference>> {
    let name = format!("{}: {}", site.hostname, call.name);
    let direct = perform(site, call, &Way::Http1(site.address())).with_context(|| name.clone())?;
    ensure!(direct.status == call.status, "{name}: directly {} instead of {}", direct.status, call.status);
    let mut all = Vec::new();
    for way in ways {
        let found = match perform(site, call, way) {
            Ok(through) => compared(&direct, &through, way.keeps_order_and_case()),
            Err(error) => vec![("the exchange".to_owned(), "whole".to_owned(), format!("{error:#}"))],
        };
        let difference = |(what, direct, through)| Difference {
            call: name.clone(),
            way: way.name(),
            what,
            direct,
            through,
        };
        all.extend(found.into_iter().map(difference));
    }
    Ok(all)
}

/// Checks that nothing differs.
///
/// # Errors
/// When something does; the error lists all of it.
pub fn ensure_same(site: &Site, ways: &[Way]) -> Result<()> {
    let differences = differences(site, ways)?;
    let lines: Vec<String> = differences
        .iter()
        .map(|one| {
            format!(
                "{} ({}): {}\n  direct  {}\n  through {}",
                one.call, one.way, one.what, one.direct, one.through
            )
        })
        .collect();
    ensure!(lines.is_empty(), "{} differences:\n{}", lines.len(), lines.join("\n"));
    Ok(())
}

type Found = Vec<(String, String, String)>;

fn compared(direct: &Outcome, through: &Outcome, exactly: bool) -> Found {
    let mut found = Found::new();
    let mut compare = |what: &str, direct: String, through: String| {
        if direct != through {
            found.push((what.to_owned(), direct, through));
        }
    };
    // HTTP/2 accepts a WebSocket by 200 (RFC 8441 section 5).
    let status = |outcome: &Outcome| if outcome.is_websocket { 101 } else { outcome.status };
    compare("status", status(direct).to_string(), status(through).to_string());
    compare("body length", direct.length.to_string(), through.length.to_string());
    compare("body", direct.sha256.clone(), through.sha256.clone());
    compare("WebSocket frames", format!("{:?}", direct.frames), format!("{:?}", through.frames));
    let early = |outcome: &Outcome| {
        let shown: Vec<String> = outcome
            .informational
            .iter()
            // 100 belongs to one connection: a proxy may make or take it (RFC 9110 section 15.2.1).
            .filter(|early| early.status != 100)
            .map(|early| format!("{} {:?}", early.status, grouped(&early.fields)))
            .collect();
        shown.join(", ")
    };
    compare("informational answers", early(direct), early(through));
    found.extend(compared_fields("response", ALLOWED_DIFFERENCES, &direct.fields, &through.fields, exactly));
    found.extend(compared_fields("trailer", &[], &direct.trailers, &through.trailers, exactly));
    match (&direct.request, &through.request) {
        (Some(direct), Some(through)) => found.extend(compared_requests(direct, through, exactly)),
        (None, None) => {}
        (direct, through) => {
            let shown = |request: &Option<Request>| request.as_ref().map(|request| request.target.clone());
            found.push((
                "the request".to_owned(),
                format!("{:?}", shown(direct)),
                format!("{:?}", shown(through)),
            ));
        }
    }
    found
}

fn compared_requests(direct: &Request, through: &Request, exactly: bool) -> Found {
    let mut found = Found::new();
    let is_websocket = direct.fields.has("sec-websocket-key");
    let mut compare = |what: &str, direct: &str, through: &str| {
        if direct != through {
            found.push((format!("request {what}"), direct.to_owned(), through.to_owned()));
        }
    };
    compare("target", &direct.target, &through.target);
    compare("host", &direct.authority, &through.authority);
    // A node may speak HTTP/2 to the site, which opens a WebSocket by CONNECT.
    if !is_websocket {
        compare("method", &direct.method, &through.method);
        compare("body", &direct.body_sha256, &through.body_sha256);
    }
    let arrived = with_whole_cookie(through);
    found.extend(compared_fields("request", ALLOWED_IN_REQUESTS, &direct.fields, &arrived, exactly));
    found.extend(compared_fields("request trailer", &[], &direct.trailers, &through.trailers, exactly));
    found
}

/// The fields of a request; one that came by HTTP/2, where cookies may come in crumbs, has one Cookie field
/// again (RFC 9113 section 8.2.3). By HTTP/1 they must have come whole.
fn with_whole_cookie(request: &Request) -> Fields {
    let crumbs = request.fields.all("cookie");
    if request.protocol != Protocol::Http2 || crumbs.len() < 2 {
        return request.fields.clone();
    }
    let others = request.fields.iter().filter(|(name, _)| *name != "cookie");
    let mut fields: Fields = others.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    fields.push("cookie", crumbs.join("; "));
    fields
}

fn compared_fields(
    what: &str,
    allowed: &[Allowed],
    direct: &Fields,
    through: &Fields,
    exactly: bool,
) -> Found {
    let mut found = Found::new();
    let freedom = |name: &str| {
        allowed.iter().find(|(may, ..)| may.eq_ignore_ascii_case(name)).map(|(_, freedom, _)| *freedom)
    };
    for (name, direct_values) in grouped(direct) {
        let through_values: Vec<&str> = through.all(&name);
        let is_same = match freedom(&name) {
            Some(Freedom::Any) => true,
            Some(Freedom::Added) => {
                let arrived = through_values.join(", ");
                direct_values.iter().all(|value| arrived.contains(value.as_str()))
            }
            None => direct_values == through_values,
        };
        if !is_same {
            found.push((
                format!("{what} field {name}"),
                direct_values.join(" | "),
                through_values.join(" | "),
            ));
        }
    }
    for (name, values) in grouped(through) {
        if !direct.has(&name) && freedom(&name).is_none() {
            found.push((format!("{what} field {name}"), String::new(), values.join(" | ")));
        }
    }
    if exactly && found.is_empty() {
        let names = |fields: &Fields| -> Vec<String> {
            fields
                .iter()
                .filter(|(name, _)| freedom(name).is_none())
                .map(|(name, _)| name.to_owned())
                .collect()
        };
        let (direct, through) = (names(direct), names(through));
        if direct != through {
            found.push((format!("{what} fields' order or case"), direct.join(", "), through.join(", ")));
        }
    }
    found
}

/// Values by lower-case name, in the order of the names; the order within a name is kept.
fn grouped(fields: &Fields) -> Vec<(String, Vec<String>)> {
    let mut groups: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for (name, value) in fields.iter() {
        groups.entry(name.to_ascii_lowercase()).or_default().push(value.to_owned());
    }
    groups.into_iter().collect()
}

#[cfg(test)]
mod tests;
