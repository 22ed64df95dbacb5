//! Access log, metrics and security events: names, units, writers.
