//! The black box over real memory and real deaths.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod deaths;
mod slots;
