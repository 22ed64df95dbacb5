//! RFC 9114, HTTP/3.

mod section_4_1;
mod section_4_2;
mod section_4_3;
mod section_4_4;
mod section_6_2;
mod section_7_1;
mod section_7_2;
