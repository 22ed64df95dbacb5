//! Spec tests and properties.
