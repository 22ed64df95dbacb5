//! RFC 9111, HTTP Caching.

mod section_3;
mod section_3_1;
mod section_3_2;
mod section_3_3;
mod section_3_4;
mod section_3_5;
mod section_4;
mod section_4_1;
mod section_4_2;
mod section_4_2_1;
mod section_4_2_2;
mod section_4_2_3;
mod section_4_2_4;
mod section_4_3_1;
mod section_4_3_2;
mod section_4_3_3;
mod section_4_3_4;
mod section_4_3_5;
mod section_4_4;
mod section_5_1;
mod section_5_2_1;
mod section_5_2_2;
mod section_5_3;
mod section_5_4;
mod section_7;
