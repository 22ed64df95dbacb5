//! Content codings: which one a visitor takes, whether an answer is worth coding, and the encoders.
//!
//! The encoders are values fed with chunks; nothing here reads or writes. Used by the policy for variants,
//! by the edge for what it codes. Read next: `accept.rs` (what is taken), `choose.rs` (what is sent),
//! `encoder.rs`.

mod accept;
mod choose;
mod encoder;

pub use accept::{Accepted, Coding};
pub use choose::{
    Chosen, CodingRequest, CodingSettings, NotCoded, add_vary, choose, choose_among, code_head,
    code_not_modified, code_passed_not_modified, weakened,
};
pub use encoder::{Effort, Encoder, EncoderFailed, Levels, STEP_BYTES};
