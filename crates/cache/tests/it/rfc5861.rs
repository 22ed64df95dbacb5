//! RFC 5861, HTTP Cache-Control Extensions for Stale Content.

mod section_3;
mod section_4;
