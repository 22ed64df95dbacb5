//! The beginning of phase 6: an origin with a place for one more exchange, or a wait in the pool's line.
//!
//! Who comes first there, and when one is sent away, is the crate `origin`'s to decide; here is who is known,
//! and who need not wait: an exchange that has something stale to give instead. Called by `relay.rs`.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use exchange::{BodySize, Fault};
use origin::{Chosen, Wanted};
use telemetry::metrics::OriginWait;
use wire::Exchange;

use crate::course::Course;
use crate::pipeline::Edge;
use crate::relay::Failed;

impl Edge {
    /// Chooses an origin, at once or after a wait.
    pub(crate) async fn choose(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        wanted: &Wanted<'_>,
    ) -> Result<Chosen, Failed> {
        let may_come_first = !self.origins.must_wait(wanted.pool, false)
            || !self.origins.must_wait(wanted.pool, self.is_known(course));
        if may_come_first {
            match self.origins.choose(wanted, self.clock.now_ms()) {
                Err(Fault::ConnectionLimitReached) => {}
                chosen => return chosen.map_err(Failed::Fault),
            }
        }
        if wanted.pool.queue.places == 0 || course.is_bridged {
            return Err(Failed::Fault(Fault::ConnectionLimitReached));
        }
        // Boxed: it is seldom.
        let chosen = Box::pin(self.wait_for_place(exchange, course, wanted)).await;
        self.metrics.origin_wait(if chosen.is_ok() { OriginWait::Placed } else { OriginWait::SentAway });
        chosen
    }

    async fn wait_for_place(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        wanted: &Wanted<'_>,
    ) -> Result<Chosen, Failed> {
        let is_known = self.is_known(course);
        let mut waiting = pin!(self.origins.choose_in_line(wanted, is_known, || self.clock.now_ms()));
        // While a body is to come, that its visitor has left is seen when it is read.
        let may_leave = exchange.request.body == BodySize::None;
        poll_fn(|cx| {
            if let Poll::Ready(chosen) = waiting.as_mut().poll(cx) {
                return Poll::Ready(chosen.map_err(Failed::Fault));
            }
            if may_leave && let Poll::Ready(gone) = exchange.poll_gone(cx) {
                return Poll::Ready(Err(gone.into()));
            }
            Poll::Pending
        })
        .await
    }
}
