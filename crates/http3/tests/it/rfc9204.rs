//! RFC 9204, QPACK, with a dynamic table of capacity 0.

mod appendix_b;
mod section_4_2;
mod section_4_5;
