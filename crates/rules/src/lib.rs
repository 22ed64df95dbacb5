//! The rule language: parse, type-check, compile and evaluate an expression against a view of a request.
//!
//! It knows neither zones nor sockets nor a clock.
