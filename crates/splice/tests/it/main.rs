//! The crate from outside: real sockets, real TLS, and a clock that stands still until a test moves it.
//!
//! `rig` starts a splice on listeners that the test keeps, as the supervisor does. Read next: `forwarding`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod forwarding;
mod handing_back;
mod many;
mod refusing;
mod rig;
