//! Active health checks: asks an origin and reports what it said.
//!
//! Each check uses a new connection of its own, since what is asked is whether the origin takes visitors.
//! Which origin is due, and what a result means, is decided in `fleet.rs` and `health.rs`. Called by
//! [`Origins::tick`]; runs on the thread's own task set and ends with the check's time-out at the latest.

use std::future::poll_fn;
use std::rc::Rc;

use exchange::{Fault, Request, Response};
use zone::{Health, Probe};

use crate::connect::within;
use crate::fleet::Check;
use crate::origins::Origins;

/// Makes one check and reports it.
pub(crate) async fn run(origins: Rc<Origins>, mut check: Check) {
    let Some(health) = check.pool.health.clone() else { return };
    let deadline = origins.deadlines.slot();
    let question = ask(&origins, &check, &health);
    let answer = within(&deadline, health.timeout_ms, Fault::HttpResponseTimeout, question).await;
    let (is_well, cause) = match answer {
        Ok(status) if health.probe == Probe::Tcp || health.probe.expects(status) => (true, None),
        Ok(status) => (false, Some(format!("status {status}"))),
        // This node's own troubles (no descriptors left, settings) say nothing about the origin.
        Err(fault) if fault.cause() != exchange::Cause::Origin => return,
        Err(fault) => (false, Some(fault.as_str().to_owned())),
    };
    check.report(is_well, cause, origins.now_ms());
}

/// The status of the answer; 0 for a check by connection alone.
async fn ask(origins: &Rc<Origins>, check: &Check, health: &Health) -> Result<u16, Fault> {
    let origin = check.pool.origins.get(check.index).ok_or(Fault::ProxyInternalError)?;
    let mut link = origins.open_apart(&check.pool, origin, &check.origin).await?;
    let Probe::Http { path, method, host, .. } = &health.probe else { return Ok(0) };
    let host = host.as_deref().unwrap_or(&origin.authority);
    let mut request = Request::default();
    request.set_method(method.as_bytes());
    request.set_authority(host.as_bytes());
    request.set_target(path.as_bytes());
    request.fields.push(b"Host", host.as_bytes());
    request.fields.push(b"User-Agent", b"rempart-health-check");
    request.fields.push(b"Accept", b"*/*");
    link.begin(&request, host.as_bytes())?;
    let mut response = Response::default();
    loop {
        poll_fn(|cx| link.poll_head(cx, &mut response)).await?;
        if !response.is_informational() {
            return Ok(response.status);
        }
    }
}
