//! Rempart as its users meet it: the real binary, real origins behind it, real visitors before it.
//!
//! One module for each part of what the product promises; each test starts a node of its own on free ports
//! and says in its name what must be so. A healthy run ends with `finish_healthy`: exit code 0 and no event
//! of level WARN or ERROR. What a crate promises by itself is tested in that crate; HTTP/3, browsers and
//! other foreign clients are tested elsewhere. Read next: [`rig`], then any module.

mod abuse;
mod budgets;
mod cache;
mod compression;
#[cfg(feature = "fault-injection")]
mod contain;
mod drain;
mod flood;
mod forwarding;
mod geo;
mod handshakes;
mod hostile;
mod http1;
mod http2;
mod limits;
mod odd_peers;
mod origins;
#[cfg(feature = "fault-injection")]
mod overload;
mod places;
mod process;
mod protected;
mod rig;
mod rules;
mod seeing;
mod sites;
mod tls;
mod waf;
mod zones;
