//! HTTP/1.1 messages, sans-I/O: parse heads, frame bodies strictly, write.
