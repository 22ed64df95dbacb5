//! Tests of the crate over OWASP CRS and its own regression cases, and over rules written here.
//!
//! The data of CRS is not part of this repository: tests that need it find it through `REMPART_CRS` and say
//! so when it is unset. Read next: `rig.rs`.

mod cases;
mod code_pages;
mod documents;
mod exactness;
mod hostile;
mod language;
mod outside;
mod problems;
mod reference;
mod regression;
mod rig;
mod streaming;
