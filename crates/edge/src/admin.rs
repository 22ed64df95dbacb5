//! The admin listener: health and metrics, read only.
//!
//! Commands go over the local socket, never here. `Host` is checked, so that a page in an operator's browser
//! cannot read it by pointing a name of its own at this address (DNS rebinding).

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use exchange::{BodySize, Chunk, Method, Response};
use wire::{Exchange, Hello, Service, TlsChoice, WireEvent};

use crate::node::Node;

pub(crate) struct Admin {
    node: Arc<Node>,
    local: SocketAddr,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Admin {
    pub(crate) fn new(node: Arc<Node>, local: SocketAddr) -> Self {
        Self { node, local }
    }

    /// `localhost`, the address listened on, or, where that is unspecified, any address.
    fn is_own_host(&self, host: &[u8]) -> bool {
        let Ok(host) = std::str::from_utf8(host) else { return false };
        if host.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        bare.parse::<IpAddr>()
            .is_ok_and(|ip| ip == self.local.ip() || self.local.ip().is_unspecified() || ip.is_loopback())
    }

    fn answer(&self, exchange: &Exchange) -> (u16, &'static str, String) {
        if exchange.refusal.is_some() {
            return (400, TEXT, "the request could not be understood\n".to_owned());
        }
        if !self.is_own_host(exchange.request.host()) {
            return (421, TEXT, "ask by address or as localhost\n".to_owned());
        }
        if !matches!(exchange.request.method, Method::Get | Method::Head) {
            return (405, TEXT, "this listener is read only; commands go over the local socket\n".to_owned());
        }
        let metrics = telemetry::metrics::CONTENT_TYPE;
        match exchange.request.path() {
            b"/healthz" => (200, TEXT, "ok\n".to_owned()),
            b"/readyz" if self.node.is_ready() => (200, TEXT, "ready\n".to_owned()),
            b"/readyz" => (503, TEXT, "not ready: no zone answers, or the node drains\n".to_owned()),
            b"/metrics" => (200, metrics, self.node.metrics()),
            b"/metrics/zones" => (200, metrics, self.node.zone_metrics()),
            b"/" => (200, TEXT, "/healthz\n/readyz\n/metrics\n/metrics/zones\n".to_owned()),
            _ => (404, TEXT, "there is /healthz, /readyz, /metrics and /metrics/zones\n".to_owned()),
        }
    }
}

impl Service for Admin {
    async fn serve(&self, exchange: &mut Exchange) {
        let (status, kind, body) = self.answer(exchange);
        let mut response = Response { status, ..Response::default() };
        response.fields.push(b"Content-Type", kind.as_bytes());
        response.fields.push(b"Cache-Control", b"no-store");
        if exchange.request.method == Method::Head {
            response.declared_length = Some(body.len() as u64);
        } else {
            response.body = BodySize::of_length(body.len() as u64);
        }
        if exchange.refusal.is_some() {
            exchange.close_after();
        }
        poll_fn(|cx| {
            exchange.respond(cx, &response);
            exchange.send(cx, Chunk::Borrowed(body.as_bytes()), true);
            Poll::Ready(())
        })
        .await;
    }

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}
