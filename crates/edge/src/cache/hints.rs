//! Early hints (103, RFC 8297): told while the origin is asked, out of what is stale or of what the page told
//! others; and learned from the answers that pass.

use ::cache::policy::{StoredHead, hints_of};
use exchange::{Fields, Request, Response};
use wire::Exchange;

use crate::course::Course;
use crate::live::Site;
use crate::pipeline::Edge;

/// Whether hints are told for the request: as its zone has it, or as rules have chosen.
pub(crate) fn are_told(course: &Course) -> bool {
    let chosen = course.rules.config().early_hints;
    let is_on =
        |site: &Site| site.cache.as_ref().is_some_and(|cache| chosen.unwrap_or(cache.settings.early_hints));
    course.site.as_deref().is_some_and(is_on)
}

impl Edge {
    /// Tells a visitor what to fetch while the origin is asked; nothing where nothing is known.
    pub(crate) async fn hint(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        stale: Option<&StoredHead>,
    ) {
        let fields = match stale {
            Some(head) => hints_of(head),
            None => self.known_hints(&exchange.request, course).unwrap_or_default(),
        };
        if fields.is_empty() {
            return;
        }
        let hints = Response { status: 103, fields, ..Response::default() };
        std::future::poll_fn(|cx| {
            exchange.inform(cx, &hints);
            std::task::Poll::Ready(())
        })
        .await;
    }

    /// What the page told others; notes the page, since the request's target changes on its way.
    fn known_hints(&self, request: &Request, course: &mut Course) -> Option<Fields> {
        let hints = self.node.cache()?.hints();
        let page = hints.page(u128::from_be_bytes(course.site.as_ref()?.zone.id.0), request)?;
        course.cache.hints_for(page);
        hints.of(page, course.visitor.ip())
    }

    /// Learns what an answer that is not stored tells its visitor.
    pub(crate) fn learn_hints(&self, course: &Course, response: &Response) {
        if let (Some(page), Some(tier)) = (course.cache.hinted(), self.node.cache())
            && response.status == 200
        {
            tier.hints().learn(page, course.visitor.ip(), response);
        }
    }
}
