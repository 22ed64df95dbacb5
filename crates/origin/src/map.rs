//! The hash map of this crate: the standard one with a fast hash. Keys are ids and settings, never a
//! stranger's bytes.

/// A map with a fast hash.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A set with a fast hash.
pub(crate) type Set<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;
