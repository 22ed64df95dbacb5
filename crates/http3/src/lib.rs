//! HTTP/3 frames and QPACK, sans-I/O.
