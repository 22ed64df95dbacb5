//! Phase 3: redirects, fixed answers, or the pool that a request goes to. Pure over zone and request.
//!
//! Called by `pipeline.rs` through `contain.rs`, which may run it on the zone before.

use std::sync::Arc;

use exchange::{Request, Scheme};
use telemetry::metrics::Trouble;
use zone::{Action, Pool, Zone};

/// Where a request goes.
pub(crate) enum Routed<'a> {
    /// Elsewhere.
    Redirect { word: &'static str, status: u16, location: Vec<u8> },
    /// Nowhere: the zone has the answer.
    Answer { status: u16, content_type: &'a str, body: &'a [u8] },
    /// To a pool, with this much of the path's front taken away.
    Pool { pool: &'a Arc<Pool>, strip: Option<usize> },
    /// Nowhere.
    Nothing,
}

/// Decides where a request goes, and by which route, from 1; 0 without one. `redirects` is what a rule says
/// of `redirect_https`.
///
/// # Errors
/// The zone names a pool that it does not have.
pub(crate) fn route<'a>(
    zone: &'a Zone,
    request: &Request,
    scheme: Scheme,
    redirects: Option<bool>,
) -> Result<(u32, Routed<'a>), Trouble> {
    if redirects.unwrap_or(zone.tls.redirect_to_https) && scheme == Scheme::Http {
        let mut location = b"https://".to_vec();
        location.extend_from_slice(request.host());
        if zone.tls.redirect_port != 443 {
            location.push(b':');
            location.extend_from_slice(itoa::Buffer::new().format(zone.tls.redirect_port).as_bytes());
        }
        // Not what rules made of it: that is for the origin's eyes, and would be rewritten again. `OPTIONS *`
        // asks about the server as a whole, whose URL has no path (RFC 9112 §3.2.4, §3.3).
        location.extend_from_slice(in_url(request.sent_target()));
        let status = zone.tls.redirect_status;
        return Ok((0, Routed::Redirect { word: "redirect_to_https", status, location }));
    }
    let destination = zone.route(request.method_token(), request.path(), &|name| request.fields.value(name));
    let routed = match destination.action {
        Action::Pool { pool, strip_prefix } => {
            let pool = zone.pools.get(*pool).ok_or(Trouble::Data)?;
            Routed::Pool { pool, strip: *strip_prefix }
        }
        Action::Redirect { status, location } => {
            let (authority, path) = (request.authority(), in_url(request.path()));
            let location = location.filled(scheme.as_str(), authority, path, request.query());
            Routed::Redirect { word: "redirect", status: *status, location }
        }
        Action::Answer { status, content_type, body } => {
            Routed::Answer { status: *status, content_type, body }
        }
        Action::Nothing => Routed::Nothing,
    };
    Ok((destination.place as u32, routed))
}

/// A request's target, or its path, as a part of a URL.
fn in_url(target: &[u8]) -> &[u8] {
    if target == b"*" { b"" } else { target }
}

/// Where a request goes without the phase: to the first pool, with the path as it came.
pub(crate) fn unrouted(zone: &Zone) -> Routed<'_> {
    zone.pools.first().map_or(Routed::Nothing, |pool| Routed::Pool { pool, strip: None })
}
