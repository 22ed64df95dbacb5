//! What everybody on a request's way shares.
//!
//! The heads of request and response ([`Request`], [`Response`], [`Fields`]), the pieces of a body
//! ([`Chunk`], [`Incoming`]), what is known of the connection ([`Connection`]), the named outcomes
//! ([`Refusal`], [`Fault`]), the trail of decisions, what is held for strangers ([`Charge`]),
//! and the coarse deadlines of a thread.
//!
//! Deliberately absent: sockets, tokio, zones, the clock. `now` is always an argument.
//! Callers: `wire` fills requests, `origin` fills responses, `edge` decides between them.
//! Read next: `fields.rs`, then `outcome.rs`.

mod account;
mod body;
mod connection;
mod deadline;
mod fields;
mod head;
mod id;
mod outcome;
mod page;
mod trail;

pub use account::{Account, CONNECTION_BYTES_MAX, Charge, Over, Tally, Waiting};
pub use body::{BodySize, Chunk, Incoming};
pub use connection::{Connection, Protocol, TlsFacts, TlsVersion};
pub use deadline::{Deadline, Deadlines, Holder, TICK_MS};
pub use fields::{FieldRef, Fields};
pub use head::{Method, Request, Response, Scheme, Upgrade, Version};
pub use http1::Known;
pub use id::{IdSource, RequestId};
pub use outcome::{Cause, Fault, Refusal};
pub use page::{Page, write_page};
pub use trail::{Phase, Trail, TrailLine};
