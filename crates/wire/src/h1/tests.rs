//! What an idle HTTP/1 connection may weigh.

use super::*;
use crate::{Hello, TlsChoice, WireEvent};

struct Nobody;

impl Service for Nobody {
    async fn serve(&self, _exchange: &mut Exchange) {}

    fn tls(&self, _hello: &Hello) -> Option<TlsChoice> {
        None
    }

    fn count(&self, _event: WireEvent) {}
}

#[test]
fn an_idle_connection_is_a_small_future_and_little_else() {
    assert!(size_of::<Visitor<Nobody>>() <= 128, "{}", size_of::<Visitor<Nobody>>());
    assert!(size_of::<Connection>() <= 96, "{}", size_of::<Connection>());
}
