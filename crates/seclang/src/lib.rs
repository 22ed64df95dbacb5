//! The ModSecurity rule language and its engine: loads OWASP CRS, inspects a transaction, returns matches and
//! scores.
//!
//! It knows neither zones nor sockets nor a runtime.

pub mod body;
pub mod check;
pub mod injection;
pub mod transform;
