//! Waiting for another's fetch of the same, or for the disk.
//!
//! A visitor waits for as long as the zone says; then one after the other, in turns for each key, goes to the
//! origin by itself, so that a slow origin does not get all of them at once. Called by `cache.rs`,
//! `slices.rs` and `coded.rs`.

use std::future::poll_fn;
use std::task::Poll;

use cache::engine::{Step, Visit};
use cache::store::{Ticket, Waited};
use wire::Exchange;

use crate::course::Course;
use crate::live::Site;
use crate::pipeline::Edge;
use crate::relay::Failed;

/// Where nobody said how long to wait, and in which turns to go on.
const WAITS: (u64, u64) = (5_000, 1_000);

/// How long a visitor of a site waits for another's fetch, and in which turns those who lose patience then go
/// to the origin by themselves, in milliseconds.
fn patience(site: Option<&Site>) -> (u64, u64) {
    let cache = site.and_then(|site| site.cache.as_ref());
    cache.map_or(WAITS, |cache| (u64::from(cache.wait_ms), u64::from(cache.settings.alone_interval_ms)))
}

/// What standing in line came to.
pub(super) enum InLine<T> {
    /// What was waited for is there, or will not come.
    Waited(Waited),
    /// It takes too long, and it is this one's turn to go by itself.
    Alone(T),
}

impl Edge {
    /// Waits for what a request is to be answered with; none when the visitor left.
    pub(super) async fn wait(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        visit: &mut Visit,
        ticket: Ticket,
    ) -> Option<Step> {
        let site = course.site.as_deref();
        let alone = |exchange: &Exchange, ticket: &Ticket| {
            visit.impatient(&exchange.request, ticket, self.cache_now())
        };
        Some(match self.wait_in_line(exchange, site, ticket, alone).await.ok()? {
            InLine::Waited(waited) => visit.waited(&exchange.request, waited, self.cache_now()),
            InLine::Alone(step) => step,
        })
    }

    /// Waits for another's fetch or for the disk. Past the zone's patience `alone` is asked, in turns,
    /// whether it is this one's to go by itself.
    ///
    /// # Errors
    /// The visitor left.
    pub(super) async fn wait_in_line<T>(
        &self,
        exchange: &mut Exchange,
        site: Option<&Site>,
        ticket: Ticket,
        mut alone: impl FnMut(&Exchange, &Ticket) -> Option<T>,
    ) -> Result<InLine<T>, Failed> {
        let (mut left_ms, interval_ms) = patience(site);
        let mut ticket = ticket;
        loop {
            let began_ms = self.clock.now_ms();
            // The disk has a shorter time than other visitors' fetches.
            let disk_ms = ticket.deadline_ms().map(|at_ms| at_ms.saturating_sub(began_ms));
            let wait_ms = disk_ms.map_or(left_ms, |disk_ms| disk_ms.min(left_ms)).max(1);
            exchange.deadline.arm(u32::try_from(wait_ms).unwrap_or(u32::MAX));
            let waited = poll_fn(|cx| {
                exchange.deadline.register(cx.waker());
                if let Poll::Ready(waited) = ticket.poll(cx.waker(), self.clock.now_ms()) {
                    return Poll::Ready(Ok(Some(waited)));
                }
                if let Poll::Ready(gone) = exchange.poll_gone(cx) {
                    return Poll::Ready(Err(Failed::from(gone)));
                }
                if exchange.deadline.is_due() { Poll::Ready(Ok(None)) } else { Poll::Pending }
            })
            .await?;
            exchange.deadline.disarm();
            if let Some(waited) = waited {
                return Ok(InLine::Waited(waited));
            }
            left_ms = left_ms.saturating_sub(self.clock.now_ms().saturating_sub(began_ms));
            if left_ms > 0 {
                continue;
            }
            if let Some(alone) = alone(exchange, &ticket) {
                return Ok(InLine::Alone(alone));
            }
            left_ms = interval_ms;
        }
    }
}
