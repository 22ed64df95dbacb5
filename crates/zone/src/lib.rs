//! What a zone is: the spec as written, the compiled zone as run, the bundle, the snapshot, and every limit.
