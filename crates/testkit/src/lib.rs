//! Everything tests need to stand on both sides of a node: visitors, origins, certificates, sites.
//!
//! A test starts a [`origin::ScriptedOrigin`] (or one of the four [`site`] kinds), puts a [`node::Node`] or a
//! crate under test before it, talks to it as a [`visitor`], and asks both ends what they saw. The
//! [`compare`] driver sends the same calls to a site directly and through a node and lists every difference.
//!
//! What it does not do: it shares no code with the product (its readers and writers of HTTP/1 are its own, so
//! that a mistake in the product is not repeated here), and it has no HTTP/3.
//!
//! Everything here blocks, on threads of its own. Inside an async test call it from `spawn_blocking`;
//! starting and asking an origin is fine anywhere. Every wait ends after [`gate::PATIENCE`], so a lost
//! wake-up fails a test with a message and does not hang it; no wait is a sleep.
//!
//! Called by the tests of other crates only. Read next: [`origin`], then [`compare`].

pub mod authority;
pub mod chance;
pub mod clients;
pub mod coding;
pub mod compare;
pub mod crs;
pub mod digest;
pub mod fields;
pub mod folder;
pub mod gate;
pub mod message;
pub mod mmdb;
pub mod names;
pub mod node;
pub mod origin;
pub mod site;
pub mod stream;
pub mod visitor;
pub mod websocket;
