//! RFC 9213, Targeted HTTP Cache Control.

mod section_2;
mod section_3;
