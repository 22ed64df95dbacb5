//! Coded forms of stored bodies: found, begun, or known as not to be had.
//!
//! A form is an object of its own, under the key of the body it is of: its id is part of the key, so that no
//! form is ever given for another body. Head and freshness are those of the object the body belongs to,
//! which is looked up first, each time; so a form needs no purge of its own, and goes with those against the
//! object. The edge codes; nothing here knows how. Read next: [`Engine::coded`].

use std::sync::Arc;

use super::{Engine, Now, meta_of};
use crate::compress::Coding;
use crate::limits::PASS_MS;
use crate::policy::{Metadata, Traits, coded_rest};
use crate::store::{self, Fill, KeyRef, Lease, Object, Ticket, Waited};

/// What to do for a coded form.
#[derive(Debug)]
pub enum CodedStep {
    /// It is stored, or fills: read from it.
    Read(Arc<Object>),
    /// The disk reads it: wait, then [`Engine::coded_waited`].
    Wait(Ticket),
    /// Code the body into this, and read from its object.
    Code(Box<Fill>),
    /// There is none, and none is to be made now: the answer goes out as it is.
    Nothing,
}

impl Engine {
    /// Looks for the coded form of an object's body.
    pub fn coded(&self, of: &Arc<Object>, coding: Coding, now: Now) -> CodedStep {
        let rest = coded_rest(of.key().rest, coding, meta_of(of).body_id);
        let found = self.store.lookup(&KeyRef { rest: &rest, ..of.key() }, now.mono_ms);
        match found {
            store::Lookup::Hit(object) => read(object),
            store::Lookup::Wait(ticket) => CodedStep::Wait(ticket),
            store::Lookup::Lease(lease) => begin(of, lease),
            store::Lookup::Pass | store::Lookup::Bypass(_) => CodedStep::Nothing,
        }
    }

    /// What came of waiting.
    pub fn coded_waited(&self, of: &Arc<Object>, waited: Waited) -> CodedStep {
        match waited {
            Waited::Hit(object) => read(object),
            Waited::Lease(lease) => begin(of, lease),
            Waited::Pass | Waited::Again => CodedStep::Nothing,
        }
    }

    /// Bytes of a coded form that is whole, if memory has it; begins nothing.
    pub fn coded_bytes(&self, of: &Arc<Object>, coding: Coding) -> Option<u64> {
        let rest = coded_rest(of.key().rest, coding, meta_of(of).body_id);
        let object = self.store.peek(&KeyRef { rest: &rest, ..of.key() })?;
        object.body_bytes().filter(|_| object.is_whole() && is_form(&object))
    }

    /// The body could not be coded: it is not tried again for a while ([`PASS_MS`]).
    pub fn coding_failed(&self, of: &Arc<Object>, coding: Coding, now: Now) {
        let rest = coded_rest(of.key().rest, coding, meta_of(of).body_id);
        if let Some(lease) = self.store.take_lease(&KeyRef { rest: &rest, ..of.key() }) {
            lease.pass(now.mono_ms.saturating_add(PASS_MS));
        }
    }

    /// Takes out a form whose body was not kept: nobody will ask for it again.
    pub fn forget_coded(&self, form: &Arc<Object>) {
        self.store.remove(form);
    }
}

fn is_form(object: &Object) -> bool {
    meta_of(object).traits.has(Traits::CODED_HERE)
}

fn read(object: Arc<Object>) -> CodedStep {
    if is_form(&object) { CodedStep::Read(object) } else { CodedStep::Nothing }
}

fn begin(of: &Object, lease: Lease) -> CodedStep {
    let meta = Metadata {
        traits: Traits::CODED_HERE,
        body_bytes: None,
        ..Metadata::from_numbers(&of.head().numbers)
    };
    // Not kept, it is made by nobody: coding for one visitor what is stored would be done again for each.
    lease.begin_form(of, meta.to_numbers()).map_or(CodedStep::Nothing, |fill| CodedStep::Code(Box::new(fill)))
}
