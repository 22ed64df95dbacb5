//! What to let in when there is more to do than can be done: pure decisions over measurements.
//!
//! What is scarce on a node is the time of its serving threads. A request waits for its thread before anybody
//! has read it, so there is no queue to sort; what can be chosen is what the thread does with each request
//! once it has read its head: work on it, or say at once that it should come back. Done for enough requests,
//! the rest is served nearly as fast as ever.
//!
//! Each thread has a [`Controller`]. It is told how late the thread is ([`Probe`]), asked about each request
//! ([`Controller::ask`]) and told what requests cost ([`Controller::spent`]). A thread that keeps up measures
//! nothing and sheds nothing. One that does not keep up divides its time between zones by weight, what one
//! does not want going to the others ([`shares`]), and within each zone lets in those first who are worth
//! most: visitors who were served before ([`Known`]), then strangers, then strangers' costly requests, then
//! those who ask most. Which of two strangers comes in is decided by address and not by request, so that who
//! comes in gets whole pages.
//!
//! What is let in and costly is done in an order of its own, so that other zones' visitors do not wait for
//! all of it ([`Turns`]).
//!
//! Nothing here reads a clock, waits, or knows what a request is. Why it is built so, and how it compares:
//! decision 21. Used by `edge`. Read next: [`controller`], [`delay`], [`shares`],
//! [`turns`].

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod controller;
pub mod delay;
pub mod known;
pub mod limits;
mod rates;
pub mod shares;
pub mod turns;
pub mod worth;

pub use controller::{Asked, Change, Controller, Kind, Probe, Settings, State, Told};
pub use known::{Known, Visitor};
pub use turns::{Turn, Turns, Waits};
pub use worth::Worth;
