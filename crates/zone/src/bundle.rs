//! The bundle: all that a snapshot is compiled from, in one piece of bytes with its hash.
//!
//! It holds the zone files, the node's `[zone_defaults]`, and the bytes of every file that these name, so
//! that a generation kept on disk or sent to another node needs nothing else. Private keys are not in it:
//! they are named by path and handed over when compiling. It reads and writes no files itself. Made by the
//! wiring from what [`crate::compile::files_named`] asks for; read by [`crate::compile::compile`].
//!
//! Layout, all numbers big-endian: magic (8 bytes), schema (u32), length of the body (u64), SHA-256 over
//! magic, schema, length and body (32 bytes), body. The body is: count of sources (u32), sources; 0 or 1
//! (u8), the source of the defaults; count of files (u32), files. A source and a file are each name and
//! bytes, both with their length (u32) before them. Schema 2 has behind it when some of the files were
//! changed: a count of at least 1 (u32), and for each the path with its length (u32) before it, and seconds
//! after 1970 (u64). A bundle without such times is of schema 1, as an earlier program reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::limits::{BUNDLE_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX, PATH_BYTES_MAX, SPEC_BYTES_MAX, ZONES_MAX};

const MAGIC: &[u8; 8] = b"REMPARTB";
const HEADER_BYTES: usize = 8 + 4 + 8 + 32;

/// The schema of bundles in which no file has a time.
pub const SCHEMA: u32 = 1;

/// The schema of bundles in which a file has one.
pub const SCHEMA_DATED: u32 = 2;

/// A file as a person wrote it, with its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Its path, as problems shall name it; paths inside are relative to its folder.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// All that a snapshot is compiled from.
#[derive(Debug, Clone)]
pub struct Bundle {
    specs: Vec<Source>,
    defaults: Option<Source>,
    files: BTreeMap<String, Vec<u8>>,
    /// When files were changed for which that counts, in seconds after 1970, by path.
    changed: BTreeMap<String, u64>,
    /// The hash, once somebody asked: it is asked for again and again on a change's way.
    hash: OnceLock<[u8; 32]>,
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        let Self { specs, defaults, files, changed, hash: _ } = self;
        (specs, defaults, files, changed) == (&other.specs, &other.defaults, &other.files, &other.changed)
    }
}

impl Eq for Bundle {}

/// Why bytes are no bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleFault {
    /// They do not begin with a bundle's magic.
    Magic,
    /// Another program version wrote them, in a schema that this one does not know.
    Schema(u32),
    /// They are cut off, or something follows.
    Length,
    /// Header or body were changed since they were written.
    Hash,
    /// They are larger than [`BUNDLE_BYTES_MAX`], or a part is larger than its own limit.
    TooLarge,
    /// The hash is right but the layout is not.
    Layout,
}

impl fmt::Display for BundleFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => out.write_str("this is no bundle"),
            Self::Schema(schema) => {
                write!(out, "the bundle has schema {schema}, and {SCHEMA} and {SCHEMA_DATED} are known here")
            }
            Self::Length => out.write_str("the bundle is cut off, or something follows it"),
            Self::Hash => out.write_str("the bundle was damaged: its hash does not match"),
            Self::TooLarge => out.write_str("the bundle is larger than its limit"),
            Self::Layout => out.write_str("the bundle's layout is broken"),
        }
    }
}

impl std::error::Error for BundleFault {}

impl Bundle {
    /// Puts a bundle together. The order of `specs` does not matter: they are sorted by name.
    ///
    /// `files` holds, by the path of [`crate::compile::NamedFile::path`], the bytes of the files that could
    /// be read; one that is missing is a problem when compiling. Private keys in them are left out, as when
    /// one file holds chain and key.
    #[must_use]
    pub fn new(mut specs: Vec<Source>, defaults: Option<Source>, files: BTreeMap<String, Vec<u8>>) -> Self {
        specs.sort();
        let files = files.into_iter().map(|(path, bytes)| (path, without_keys(bytes))).collect();
        Self { specs, defaults, files, changed: BTreeMap::new(), hash: OnceLock::new() }
    }

    /// Notes when files were changed, in seconds after 1970, by path; those that are not in the bundle are
    /// left out. It is wanted of files of kind [`crate::FileKind::Feed`] that do not say it themselves.
    #[must_use]
    pub fn with_changed(mut self, mut changed: BTreeMap<String, u64>) -> Self {
        changed.retain(|path, _| self.files.contains_key(path));
        self.changed = changed;
        self.hash = OnceLock::new();
        self
    }

    /// The zone files, by name.
    #[must_use]
    pub fn specs(&self) -> &[Source] {
        &self.specs
    }

    /// The file that holds `[zone_defaults]`, if there is one.
    #[must_use]
    pub fn defaults(&self) -> Option<&Source> {
        self.defaults.as_ref()
    }

    /// The files that the specs name, by path.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// When files were changed for which that counts, in seconds after 1970, by path.
    #[must_use]
    pub fn changed(&self) -> &BTreeMap<String, u64> {
        &self.changed
    }

    /// Replaces the bytes of one file, as when a certificate was renewed. Private keys in it are left out.
    pub fn replace_file(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.insert(path.to_owned(), without_keys(bytes));
        self.hash = OnceLock::new();
    }

    /// SHA-256 over all of it. Two bundles with the same hash compile to the same zones (given the same
    /// keys). Takes time in proportion to the size, once.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        *self.hash.get_or_init(|| {
            let mut hash = hash_of_header(self.schema(), self.body_bytes());
            self.write_body(&mut |piece| hash.update(piece));
            hash.finalize().into()
        })
    }

    /// Writes it as bytes, for disk or transport.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = self.body_bytes();
        let mut out = Vec::with_capacity(HEADER_BYTES + length);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.schema().to_be_bytes());
        out.extend_from_slice(&(length as u64).to_be_bytes());
        out.extend_from_slice(&self.hash());
        self.write_body(&mut |piece| out.extend_from_slice(piece));
        out
    }

    fn schema(&self) -> u32 {
        if self.changed.is_empty() { SCHEMA } else { SCHEMA_DATED }
    }

    fn body_bytes(&self) -> usize {
        let mut length = 0;
        self.write_body(&mut |piece| length += piece.len());
        length
    }

    /// Gives the body piece by piece, so that a large one need not be there twice.
    fn write_body(&self, out: &mut dyn FnMut(&[u8])) {
        write_count(out, self.specs.len());
        for source in &self.specs {
            write_part(out, &source.name, &source.bytes);
        }
        out(&[u8::from(self.defaults.is_some())]);
        if let Some(source) = &self.defaults {
            write_part(out, &source.name, &source.bytes);
        }
        write_count(out, self.files.len());
        for (path, bytes) in &self.files {
            write_part(out, path, bytes);
        }
        if self.changed.is_empty() {
            return;
        }
        write_count(out, self.changed.len());
        for (path, unix_s) in &self.changed {
            write_count(out, path.len());
            out(path.as_bytes());
            out(&unix_s.to_be_bytes());
        }
    }

    /// Reads a bundle from bytes; checks length, schema and hash first.
    ///
    /// Memory is taken only for bytes that are there, never for a length that is merely claimed.
    ///
    /// # Errors
    /// If a single bit differs from what was written, or a limit is passed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BundleFault> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(BundleFault::TooLarge);
        }
        let rest = bytes.strip_prefix(MAGIC).ok_or(BundleFault::Magic)?;
        let mut header = Cut(rest);
        let schema = header.number().ok_or(BundleFault::Length)?;
        if !matches!(schema, SCHEMA | SCHEMA_DATED) {
            return Err(BundleFault::Schema(schema));
        }
        let length = header.array::<8>().map(u64::from_be_bytes).ok_or(BundleFault::Length)?;
        let hash = header.array::<32>().ok_or(BundleFault::Length)?;
        let body = header.0;
        if body.len() as u64 != length {
            return Err(BundleFault::Length);
        }
        if hash_of(schema, body) != hash {
            return Err(BundleFault::Hash);
        }
        let mut cut = Cut(body);
        let specs = cut.parts(ZONES_MAX, SPEC_BYTES_MAX)?;
        let specs = specs.into_iter().map(|(name, bytes)| Source { name, bytes }).collect();
        let defaults = match cut.array::<1>() {
            Some([0]) => None,
            Some([1]) => {
                let (name, bytes) = cut.part(SPEC_BYTES_MAX)?;
                Some(Source { name, bytes })
            }
            _ => return Err(BundleFault::Layout),
        };
        let parts = cut.parts(FILES_MAX, FILE_BYTES_MAX)?;
        let changed = if schema == SCHEMA_DATED { cut.times(FILES_MAX)? } else { BTreeMap::new() };
        if !cut.0.is_empty() {
            return Err(BundleFault::Layout);
        }
        let bundle = Self::new(specs, defaults, parts.into_iter().collect()).with_changed(changed);
        // One bundle has one form: anything else would give two hashes to the same content.
        if bundle.hash() == hash { Ok(bundle) } else { Err(BundleFault::Layout) }
    }
}

/// Cuts PEM private keys (RFC 7468 §10, and the older forms with a kind before the words) out of a file: a
/// bundle is kept on disk and travels, and keys must do neither.
fn without_keys(bytes: Vec<u8>) -> Vec<u8> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let line_end = |from: usize| memchr::memchr(b'\n', bytes.get(from..)?).map(|length| from + length + 1);
    let mut out = Vec::new();
    let mut kept = 0;
    for begin in memchr::memmem::find_iter(&bytes, BEGIN) {
        let head = bytes.get(begin..line_end(begin).unwrap_or(bytes.len())).unwrap_or(b"");
        if begin < kept || !head.trim_ascii_end().ends_with(b"PRIVATE KEY-----") {
            continue;
        }
        out.extend_from_slice(bytes.get(kept..begin).unwrap_or(b""));
        let rest = bytes.get(begin..).unwrap_or(b"");
        kept = memchr::memmem::find(rest, END).and_then(|end| line_end(begin + end)).unwrap_or(bytes.len());
    }
    if kept == 0 {
        return bytes;
    }
    out.extend_from_slice(bytes.get(kept..).unwrap_or(b""));
    out
}

/// A hash that has read the header of a body of so many bytes.
fn hash_of_header(schema: u32, body_bytes: usize) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(MAGIC);
    hash.update(schema.to_be_bytes());
    hash.update((body_bytes as u64).to_be_bytes());
    hash
}

fn hash_of(schema: u32, body: &[u8]) -> [u8; 32] {
    hash_of_header(schema, body.len()).chain_update(body).finalize().into()
}

/// Counts and lengths beyond 4 GiB cannot be: [`BUNDLE_BYTES_MAX`] stands before them. Were one there, the
/// bundle would be refused when read.
fn write_count(out: &mut dyn FnMut(&[u8]), count: usize) {
    out(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
}

fn write_part(out: &mut dyn FnMut(&[u8]), name: &str, bytes: &[u8]) {
    write_count(out, name.len());
    out(name.as_bytes());
    write_count(out, bytes.len());
    out(bytes);
}

/// Bytes being cut into parts, front to back.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn piece(&mut self, bytes_max: usize) -> Result<&'a [u8], BundleFault> {
        let length = self.number().ok_or(BundleFault::Layout)? as usize;
        if length > bytes_max {
            return Err(BundleFault::TooLarge);
        }
        self.take(length).ok_or(BundleFault::Layout)
    }

    fn name(&mut self) -> Result<String, BundleFault> {
        let name = std::str::from_utf8(self.piece(PATH_BYTES_MAX)?).map_err(|_| BundleFault::Layout)?;
        Ok(name.to_owned())
    }

    fn part(&mut self, bytes_max: usize) -> Result<(String, Vec<u8>), BundleFault> {
        Ok((self.name()?, self.piece(bytes_max)?.to_vec()))
    }

    fn times(&mut self, count_max: usize) -> Result<BTreeMap<String, u64>, BundleFault> {
        let count = self.number().ok_or(BundleFault::Layout)? as usize;
        if count > count_max {
            return Err(BundleFault::TooLarge);
        }
        let mut times = BTreeMap::new();
        for _ in 0..count {
            let path = self.name()?;
            let unix_s = self.array::<8>().map(u64::from_be_bytes).ok_or(BundleFault::Layout)?;
            times.insert(path, unix_s);
        }
        Ok(times)
    }

    fn parts(&mut self, count_max: usize, bytes_max: usize) -> Result<Vec<(String, Vec<u8>)>, BundleFault> {
        let count = self.number().ok_or(BundleFault::Layout)? as usize;
        if count > count_max {
            return Err(BundleFault::TooLarge);
        }
        let mut parts = Vec::new();
        for _ in 0..count {
            parts.push(self.part(bytes_max)?);
        }
        Ok(parts)
    }
}
