//! May this request pass? So far: rate limits and concurrency limits.
//!
//! State that outlives a snapshot, keyed by stable ids, and pure decisions over it: `now` and seeds are
//! arguments. Which limits there are and what they count is compiled in `zone`, what is done about it is
//! `edge`'s; this crate counts. It does not know cache, origins or sockets, and has no runtime. Read next:
//! [`rate`].

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod concurrency;
pub mod limits;
pub mod rate;
