//! Waiting for another's fetch of the same, or for the disk.
//!
//! A visitor waits for as long as the zone says; then one a second for each key goes to the origin by itself,
//! so that a slow origin does not get all of them at once. Called by `cache.rs`.

use std::future::poll_fn;
use std::task::Poll;

use cache::engine::{Step, Visit};
use cache::limits::ALONE_INTERVAL_MS;
use cache::store::{Ticket, Waited};
use wire::Exchange;

use crate::course::Course;
use crate::pipeline::Edge;

/// Where nobody said how long to wait.
const WAIT_MS: u32 = 5_000;

impl Edge {
    /// Waits; none when the visitor left.
    pub(super) async fn wait(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        visit: &mut Visit,
        ticket: Ticket,
    ) -> Option<Step> {
        let cache = course.site.as_ref().and_then(|site| site.cache.as_ref());
        let patience_ms = cache.map_or(WAIT_MS, |cache| cache.wait_ms);
        let mut ticket = ticket;
        let mut left_ms = u64::from(patience_ms);
        loop {
            let began_ms = self.clock.now_ms();
            // The disk has a shorter time than other visitors' fetches.
            let disk_ms = ticket.deadline_ms().map(|at_ms| at_ms.saturating_sub(began_ms));
            let wait_ms = disk_ms.map_or(left_ms, |disk_ms| disk_ms.min(left_ms)).max(1);
            exchange.deadline.arm(u32::try_from(wait_ms).unwrap_or(u32::MAX));
            let waited = poll_fn(|cx| {
                exchange.deadline.register(cx.waker());
                if let Poll::Ready(waited) = ticket.poll(cx.waker(), self.clock.now_ms()) {
                    return Poll::Ready(Some(Some(waited)));
                }
                if exchange.poll_gone(cx).is_ready() {
                    return Poll::Ready(None);
                }
                if exchange.deadline.is_due() { Poll::Ready(Some(None)) } else { Poll::Pending }
            })
            .await?;
            exchange.deadline.disarm();
            if let Some(waited) = waited {
                return Some(self.waited(exchange, visit, waited));
            }
            left_ms = left_ms.saturating_sub(self.clock.now_ms().saturating_sub(began_ms));
            if left_ms > 0 {
                continue;
            }
            if let Some(step) = visit.impatient(&exchange.request, &ticket, self.cache_now()) {
                return Some(step);
            }
            left_ms = ALONE_INTERVAL_MS;
        }
    }

    fn waited(&self, exchange: &Exchange, visit: &mut Visit, waited: Waited) -> Step {
        visit.waited(&exchange.request, waited, self.cache_now())
    }
}
