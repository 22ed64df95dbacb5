//! The data plane: runs the phases in order over one snapshot and records what happened.
//!
//! [`Node`] is what outlives a snapshot; [`run`] starts one thread per core, each with a runtime, listeners,
//! deadlines and connections of its own. [`pipeline`] is a request's way on one screen.
//!
//! Deliberately absent: binding of sockets, reading of files, the store, the API. Caller: the binary.
//! Read next: `pipeline.rs`, then `relay.rs`.

#[cfg(all(feature = "fault-injection", not(debug_assertions)))]
compile_error!("fault points are for tests: build without `fault-injection`, or with the profile `drill`");

mod abuse;
mod admin;
mod admission;
mod background;
mod blocks;
mod cache;
mod clock;
mod coding;
mod contain;
mod course;
mod facts;
mod fault_points;
mod feeds;
mod fingerprint;
mod flood_watch;
mod forward;
mod holding;
mod hops;
mod instead;
mod letting_go;
mod limits;
mod live;
mod load;
mod node;
mod pace;
pub mod pipeline;
mod place;
mod record;
mod refuse;
mod relay;
mod relief;
mod route;
mod serving;
mod shield;
mod strays;
mod teller;
mod tls;
mod trails;
mod turn;
mod usual;
mod view;
mod waf;
mod watch;

pub use blocks::BLOCKS_MAX;
pub use cache::{CacheSetup, CacheStanding, DiskPurges, DiskSetup, DiskStanding, Purge, Purged};
pub use clock::unix_us;
pub use facts::Facts;
pub use feeds::FeedStanding;
pub use fingerprint::{Door, FINGERPRINTS_MAX, Fingerprints};
pub use flood::{Stage as FloodStage, Standing as FloodStanding};
pub use holding::Open;
pub use live::Live;
pub use node::{Figures, Node, NodeSetup, Status, ZoneStatus};
pub use serving::{ListenerSetup, Running, run};
pub use shield::RULE_STEPS;
pub use strays::Ownerless;
pub use usual::{Adopted, USUAL_BYTES_MAX};
pub use waf::slots_for;
pub use watch::{Duty, StuckReport};
