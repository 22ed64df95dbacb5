//! Integration tests of `wire`: real sockets on this machine, one exchange after the other.

mod h3;
