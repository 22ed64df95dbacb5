//! Lists of addresses in the DNS that rules ask (`@rbl`): the engine waits, and the thread's resolver asks.
//!
//! Nothing blocks: the exchange waits as for an origin, and what was asked is kept for the next. Off the
//! serving threads the inspection comes back here to ask, and goes there again. What has no answer matches
//! nothing and is counted. Called by [`super`] and [`super::tail`].

use std::future::Future;
use std::pin::Pin;

use origin::resolve::lists::{Lists, Said};
use seclang::Transaction;
use std::rc::Rc;

use super::inspection::{Asking, Inspection};
use crate::clock::Clock;
use crate::pipeline::Edge;

/// How long one inspection waits for lists in all, in milliseconds: a person bears it once, and a resolver
/// that is near answers within a tenth.
const WAIT_MS: u64 = 1_000;

/// Whom to ask, and the time.
#[derive(Clone)]
pub(crate) struct Lookups {
    pub(crate) lists: Rc<Lists>,
    pub(crate) clock: Clock,
}

/// Answers under way, and when they were begun.
pub(super) struct Awaited {
    said: Pin<Box<dyn Future<Output = Vec<Said>>>>,
    began_ms: u64,
}

impl Lookups {
    /// Asks all that a transaction has questions about.
    pub(super) fn begin(&self, asking: &Asking) -> Awaited {
        let questions = asking.transaction.questions();
        let questions = questions.map(|one| (one.service.into(), one.name.into())).collect();
        let began_ms = self.clock.now_ms();
        let wait_ms = WAIT_MS.saturating_sub(asking.waited_ms);
        Awaited { said: Box::pin(self.lists.ask(questions, wait_ms, began_ms)), began_ms }
    }

    /// Tells a transaction what was said; what was not has no answer.
    fn tell(&self, asking: &mut Asking, said: &[Said], began_ms: u64) {
        asking.waited_ms += self.clock.now_ms().saturating_sub(began_ms);
        let transaction: &mut Transaction = &mut asking.transaction;
        for (name, said) in said {
            transaction.answer(name, said.as_deref());
        }
        transaction.give_up_questions();
        asking.fuel.start_slice();
    }

    /// Goes on waiting.
    pub(super) fn poll(
        &self,
        awaited: &mut Awaited,
        asking: &mut Asking,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        awaited.said.as_mut().poll(cx).map(|said| self.tell(asking, &said, awaited.began_ms))
    }
}

impl Edge {
    pub(super) fn lookups(&self) -> Lookups {
        Lookups { lists: Rc::clone(&self.lists), clock: self.clock }
    }

    /// Asks what a transaction waits for.
    pub(super) async fn ask_lists(&self, asking: &mut Asking) {
        let lookups = self.lookups();
        let awaited = lookups.begin(asking);
        let said = awaited.said.await;
        lookups.tell(asking, &said, awaited.began_ms);
    }

    /// The same for whoever of an inspection waits.
    pub(super) async fn ask_lists_for(&self, inspection: &mut Inspection) {
        for asking in std::iter::once(&mut inspection.main).chain(&mut inspection.shadow) {
            if asking.transaction.questions().next().is_some() {
                self.ask_lists(asking).await;
            }
        }
    }
}
