//! The data plane: runs the phases in order over one snapshot and records what happened.
