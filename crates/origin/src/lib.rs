//! Origins: pools, balancing, health, connections, retries. Fetches a response from a customer's server.
//!
//! [`Fleet`] is the node's and outlives snapshots; [`Origins`] is a serving thread's; [`Chosen`] is one
//! choice, and [`Link`] one exchange over a connection. A caller chooses, opens, drives the link from its own
//! task, tells how it went, and finishes.
//!
//! What it does not do: it knows nothing of visitors, the cache or the shield; it keeps no time of an answer
//! (the caller's deadline does), retries nothing by itself, and changes no message beyond what a hop must.
//! Read next: `choose.rs` for who is asked, `connect.rs` for how, `link.rs` for the exchange.

pub mod balance;
mod choose;
mod connect;
mod fleet;
pub mod health;
mod http1_link;
mod http2_head;
mod http2_link;
mod http2_probe;
mod line;
mod link;
mod map;
mod origins;
mod parking;
pub mod pressure;
mod probe;
pub mod proxy_protocol;
pub mod request_head;
pub mod resolve;
pub mod retry;
#[cfg(test)]
mod simulation;
mod sticky;
mod stream;
mod tally;
mod tls;

pub use choose::{Chosen, Wanted};
pub use fleet::{Fleet, FleetSettings, OriginEvent, OriginReport, PARKED_MAX, PoolReport};
pub use link::Link;
pub use origins::{IDLE_MAX, Origins};
pub use sticky::StickyKey;
