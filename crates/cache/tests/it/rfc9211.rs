//! RFC 9211, The Cache-Status HTTP Response Header Field.

mod section_2;
