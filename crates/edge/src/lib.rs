//! The data plane: runs the phases in order over one snapshot and records what happened.
//!
//! [`Node`] is what outlives a snapshot; [`run`] starts one thread per core, each with a runtime, listeners,
//! deadlines and connections of its own. [`pipeline`] is a request's way on one screen.
//!
//! Deliberately absent: binding of sockets, reading of files, the store, the API. Caller: the binary.
//! Read next: `pipeline.rs`, then `relay.rs`.

mod admin;
mod admission;
mod clock;
mod course;
mod facts;
mod forward;
mod live;
mod node;
mod pace;
mod panic_watch;
pub mod pipeline;
mod refuse;
mod relay;
mod serving;
mod tls;
mod trails;

pub use facts::Facts;
pub use live::Live;
pub use node::{Figures, Node, NodeSetup, Status, ZoneStatus};
pub use serving::{ListenerSetup, Running, run};
