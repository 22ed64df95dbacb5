//! `[compression]` of a zone: as written, and as run.
//!
//! Words and numbers only: what may be compressed, and how a choice is made, is the crate `cache`'s, whose
//! settings the edge makes out of [`Compression`]. Compiled by `compile/compression.rs`. Read next:
//! [`CompressionSpec`].

use crate::read::settings;
use crate::read::values::{Count, List, Size, Text, words};

words! {
    /// A way to compress an answer.
    pub enum Algorithm {
        /// Zstandard (RFC 8878).
        Zstd = "zstd",
        /// Brotli (RFC 7932).
        Brotli = "brotli",
        /// gzip (RFC 1952).
        Gzip = "gzip",
    }
}

settings! {
    /// `[compression]` of a zone.
    pub struct CompressionSpec in "[compression]" {
        /// Whether answers that the origin sent uncompressed are compressed for visitors who take that.
        plain enabled: bool = false,
        /// With what, the preferred first: it decides between those that a visitor takes equally gladly.
        plain algorithms: List<Algorithm> = List(vec![
            crate::read::unplaced(Algorithm::Zstd),
            crate::read::unplaced(Algorithm::Brotli),
            crate::read::unplaced(Algorithm::Gzip),
        ]),
        /// Types that are compressed in place of the usual ones: whole (`application/json`), by their
        /// beginning (`text/`), or by their end (`+json`). `text/event-stream` must be named in full: such a
        /// stream holds an encoder for as long as it lasts.
        optional types: List<Text>,
        /// Types that are compressed beside those.
        plain more_types: List<Text> = List(Vec::new()),
        /// The smallest body that is compressed, where its length is known.
        plain min_bytes: Size = Size(256),
        /// How hard the algorithms work while a visitor waits; higher takes more time for fewer bytes.
        section levels: StreamedLevelsSpec,
        /// How hard they work on what the cache keeps, which is compressed once for all visitors, off the
        /// serving threads.
        section stored_levels: StoredLevelsSpec,
    }
}

settings! {
    /// `levels` of `[compression]`: up to those that hold a serving thread for some milliseconds at most.
    pub struct StreamedLevelsSpec in "levels" {
        /// Zstandard's.
        plain zstd: Count<1, 5> = Count(3),
        /// Brotli's.
        plain brotli: Count<0, 4> = Count(2),
        /// gzip's.
        plain gzip: Count<1, 6> = Count(3),
    }
}

settings! {
    /// `stored_levels` of `[compression]`.
    pub struct StoredLevelsSpec in "stored_levels" {
        /// Zstandard's.
        plain zstd: Count<1, 15> = Count(9),
        /// Brotli's.
        plain brotli: Count<0, 11> = Count(5),
        /// gzip's.
        plain gzip: Count<1, 9> = Count(6),
    }
}

words! {
    /// A way to compress that a rule names.
    pub enum RuleAlgorithm {
        /// Zstandard.
        Zstd = "zstd",
        /// Brotli.
        Brotli = "brotli",
        /// gzip.
        Gzip = "gzip",
        /// Those of the zone, in its order.
        Auto = "auto",
        /// As if there were no rule.
        Default = "default",
        /// None.
        Nothing = "none",
    }
}

settings! {
    /// `compress` of a rule.
    pub struct RuleCompressSpec in "compress" {
        /// With what, the preferred first. Types, sizes and levels are the zone's.
        required algorithms: List<RuleAlgorithm>,
    }
}

/// How hard each algorithm works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionLevels {
    /// Zstandard's.
    pub zstd: u8,
    /// Brotli's.
    pub brotli: u8,
    /// gzip's.
    pub gzip: u8,
}

/// The compression of a zone, as run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compression {
    /// Whether answers are compressed where no rule says otherwise.
    pub is_on: bool,
    /// Algorithms, the preferred first.
    pub algorithms: Vec<Algorithm>,
    /// Types in lower case, in place of the usual ones; none for those.
    pub types: Option<Vec<String>>,
    /// Types in lower case beside those.
    pub more_types: Vec<String>,
    /// Bytes of the smallest body that is compressed.
    pub body_bytes_min: u64,
    /// Levels while a visitor waits.
    pub levels: CompressionLevels,
    /// Levels for what the cache keeps.
    pub stored_levels: CompressionLevels,
}
