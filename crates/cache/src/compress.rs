//! Content codings: which one a visitor takes, whether an answer is worth coding, and the encoders.
//!
//! The encoders are values fed with chunks; nothing here reads or writes. Used by the policy for variants,
//! by the edge for what it codes. Read next: `accept.rs`.

mod accept;

pub use accept::{Accepted, Coding};
