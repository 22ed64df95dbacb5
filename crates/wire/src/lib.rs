//! Listeners and protocols towards visitors: bytes in, one exchange out.
