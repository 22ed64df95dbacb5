//! Tests of the crate against raw origins on loopback, written here byte by byte.
//!
//! Each test runs on a task set of its own; time is told by the tests, and the thread's deadlines are swept
//! as fast as the test runs, so that no test waits for a clock. Read next: `rig.rs`.

mod http1;
mod http2;
mod idle;
mod rig;
mod tls;
