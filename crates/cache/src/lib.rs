//! HTTP caching (RFC 9111, 5861, 9211, 9213): policy as pure functions, storage in memory and on disk.
//!
//! It knows neither the shield nor origins.
