//! Integration tests of `wire`: real sockets on this machine, one exchange after the other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod h1;
mod h2;
mod h3;
mod hostile;
mod places;
mod shed;
