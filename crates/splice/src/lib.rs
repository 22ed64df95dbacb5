//! The last resort: forwards TCP by server name when no edge can start.
//!
//! It shares no parser with the edge and knows no other crate.
