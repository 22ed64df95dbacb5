//! The language within a directive: targets, operators, actions.
//!
//! Each part turns words into values of [`crate::model`] or says what is wrong with them; [`crate::load`]
//! adds the place and puts rules together. Nothing here reads files. Read next: [`targets`], [`operator`],
//! [`actions`].

pub(crate) mod actions;
pub(crate) mod operator;
pub(crate) mod targets;
