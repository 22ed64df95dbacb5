//! Compiles `[compression]` of a zone. Called by `compile.rs`.

use std::sync::Arc;

use super::Compiler;
use crate::compression::{Compression, CompressionLevels, CompressionSpec};
use crate::limits::COMPRESSED_TYPES_MAX;
use crate::read::Placed;
use crate::read::values::{List, Text, is_token, quoted};

/// Beginnings of types that are compressed in themselves, or whose pieces must not be gathered: compressing
/// them costs time and gains nothing.
const NEVER: [&str; 17] = [
    "application/grpc",
    "application/gzip",
    "application/vnd.rar",
    "application/x-7z-compressed",
    "application/x-bzip2",
    "application/x-gzip",
    "application/x-rar-compressed",
    "application/x-xz",
    "application/zip",
    "application/zstd",
    "font/woff",
    "image/avif",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/",
];

fn level(value: u64) -> u8 {
    u8::try_from(value).unwrap_or(u8::MAX)
}

impl Compiler<'_> {
    /// The compression of a zone; none where it is off and no rule may turn it on. What is written is judged
    /// all the same.
    pub(super) fn compression(
        &mut self,
        spec: &Placed<CompressionSpec>,
        is_turned_on: bool,
    ) -> Option<Arc<Compression>> {
        let mut algorithms = Vec::new();
        for algorithm in &spec.algorithms.0 {
            if algorithms.contains(&algorithm.value) {
                self.report.error(algorithm.place, "this algorithm is named twice");
            }
            algorithms.push(algorithm.value);
        }
        if algorithms.is_empty() && !self.report.has_error_from(spec.algorithms.place) {
            let remedy = "write enabled = false to compress nothing";
            self.report.error_with(spec.algorithms.place, "no algorithm is named", remedy);
        }
        let types = spec.types.as_ref().map(|types| self.compressed_types(types));
        let more_types = self.compressed_types(&spec.more_types);
        let (levels, stored) = (&spec.levels, &spec.stored_levels);
        let compression = Compression {
            is_on: spec.enabled.value,
            algorithms,
            types,
            more_types,
            body_bytes_min: spec.min_bytes.0,
            levels: CompressionLevels {
                zstd: level(levels.zstd.0),
                brotli: level(levels.brotli.0),
                gzip: level(levels.gzip.0),
            },
            stored_levels: CompressionLevels {
                zstd: level(stored.zstd.0),
                brotli: level(stored.brotli.0),
                gzip: level(stored.gzip.0),
            },
        };
        (spec.enabled.value || is_turned_on).then(|| Arc::new(compression))
    }

    fn compressed_types(&mut self, types: &Placed<List<Text>>) -> Vec<String> {
        if types.0.len() > COMPRESSED_TYPES_MAX {
            self.report.error(types.place, format!("more than {COMPRESSED_TYPES_MAX} types"));
        }
        let mut known = Vec::new();
        for written in types.0.iter().take(COMPRESSED_TYPES_MAX) {
            let name = written.0.to_ascii_lowercase();
            let is_text = |part: &str| !part.is_empty() && part.bytes().all(is_token);
            let is_type = match (name.split_once('/'), name.strip_prefix('+')) {
                (Some((kind, "")), _) => is_text(kind),
                (Some((kind, of)), _) => is_text(kind) && is_text(of),
                (None, Some(end)) => is_text(end),
                (None, None) => false,
            };
            if !is_type {
                let message = format!("{} is no type", quoted(&written.0));
                let remedy =
                    "write application/json, text/ for all that begin so, or +json for all that end so";
                self.report.error_with(written.place, message, remedy);
            } else if NEVER.iter().any(|never| name.starts_with(never)) {
                let message = format!("{} is never compressed: it gains nothing", quoted(&written.0));
                self.report.error_with(written.place, message, "leave it out");
            }
            known.push(name);
        }
        known
    }
}
