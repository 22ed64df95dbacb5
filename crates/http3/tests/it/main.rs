//! The crate from outside: the RFCs section by section, and properties over all inputs.
//!
//! Modules are named by the section they hold us to; `wire` builds and records what they need.

mod bounds;
mod properties;
mod rfc9114;
mod rfc9204;
mod rfc9220;
mod wire;
