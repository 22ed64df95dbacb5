//! HTTP caching (RFC 9111, 5861, 9211, 9213): policy as pure functions, storage in memory and on disk.
//!
//! [`policy`] decides, [`compress`] codes. Neither knows where an object lies. The crate knows neither the
//! shield nor origins, has no runtime and reads no clock: `now` is an argument. Read next: `policy.rs`.

pub mod compress;
pub mod engine;
pub mod hints;
pub mod limits;
pub mod policy;
pub mod store;
