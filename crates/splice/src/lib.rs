//! The last resort: forwards TCP by server name when no edge can start, of any generation.
//!
//! When nothing else serves, [`serve`] takes the listeners that the supervisor holds, reads the server name
//! in a visitor's TLS hello and forwards the bytes, both ways and undeciphered, to an origin of that zone
//! that speaks TLS itself, if the zone's owner agreed. Everybody else gets a TLS alert or a plain 503. It
//! works from one flat file, the [`Table`], which an edge writes at each publish.
//!
//! Whatever broke the edge must not break this: so the crate uses no other crate of the workspace, has
//! parsers of its own ([`hello`], [`table`]), decrypts nothing, keeps no cache, resolves no name, reads one
//! file, and has **one thread with one epoll loop** over `rustix`. No async runtime: the edge has one, and a
//! fault in it would be a fault here; threads per connection would cost a stack each and take many system
//! calls to stop. A loop of non-blocking reads and writes is small enough to be read whole.
//!
//! What it does not do: bind or close a listener (they belong to the supervisor), QUIC (visitors fall back to
//! TCP), health checks beyond trying one address after another, any rule of a zone. A zone whose origin must
//! only be reached through the shield therefore does not agree to it.
//!
//! Called by the program's splice role. Read next: [`serve()`], then [`table`] and [`hello`]; limits with
//! their reasons stand in [`limits`].

mod answer;
mod checksum;
mod connection;
mod counters;
mod flow;
pub mod hello;
mod input;
pub mod limits;
mod origins;
mod serve;
pub mod table;
mod watch;

pub use counters::{Counters, Refusal};
pub use limits::Settings;
pub use serve::{Ended, Listener, Protocol, serve};
pub use table::{BadEntry, BadTable, Entry, NotWritten, Proxy, Table};
