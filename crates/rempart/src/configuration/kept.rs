//! Compiles a bundle that is kept, whose certificates and keys may have become others since.
//!
//! Keys are no part of a bundle and are read from where they are, so a renewed pair meets the chain before it
//! there, and a pair that was broken since meets nothing that fits. Neither may keep a node from what it
//! served: the pair is taken as it is on disk by now, else as this process had it last, else its zone goes
//! without, until the watch over certificates finds it mended. Called by [`crate::publishing`]; read next:
//! [`compile_kept`].

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use zone::limits::FILE_BYTES_MAX;
use zone::{Bundle, FileKind, NamedFile, Snapshot};

use super::Problems;
use crate::files::read_bounded;

/// The pairs that this process has compiled zones with, by path: keys, and chains that are not those of the
/// bundle. In memory alone. It has as many as zones have named since the process began. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Keyring {
    /// Notes keys that fitted, and chains that did which are not those of the bundle.
    pub(crate) fn remember(&self, named: &[NamedFile], fitted: BTreeMap<String, Vec<u8>>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A chain of before is none of what fits now.
        for chain in named.iter().filter(|it| it.kind == FileKind::Certificate) {
            files.remove(&chain.path);
        }
        files.extend(fitted);
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// What becomes of a certificate whose pair is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It is a problem.
    Told,
    /// Its zone has none.
    LeftOut,
}

/// Compiles a kept bundle. Unchanged zones are shared with `previous`.
///
/// # Errors
/// Every problem there is: a setting that this version no longer takes, or a pair that is lost, if that is
/// one.
pub(crate) fn compile_kept(
    bundle: &Bundle,
    number: u64,
    previous: Option<&Snapshot>,
    keyring: &Keyring,
    lost: Lost,
) -> Result<Snapshot, Problems> {
    let mut pairs = Pairs { bundle, keyring, on_disk: BTreeSet::new(), in_memory: BTreeSet::new() };
    let mut compiled = pairs.compile(number, previous, Lost::Told);
    if let Err(problems) = &compiled {
        pairs.on_disk = files_of(problems);
        compiled = pairs.compile(number, previous, Lost::Told);
    }
    if let Err(problems) = &compiled {
        pairs.in_memory = files_of(problems);
        compiled = pairs.compile(number, previous, Lost::Told);
    }
    if compiled.is_err() && lost == Lost::LeftOut {
        compiled = pairs.compile(number, previous, Lost::LeftOut);
    }
    compiled
}

fn files_of(problems: &Problems) -> BTreeSet<String> {
    problems.0.iter().filter(|problem| problem.is_error()).map(|problem| problem.file.clone()).collect()
}

/// Which pairs of a bundle come from where, by the file that names them; all others as the bundle has them.
struct Pairs<'a> {
    bundle: &'a Bundle,
    keyring: &'a Keyring,
    /// Chain and key as they are now.
    on_disk: BTreeSet<String>,
    /// Chain and key as they were here last. Goes before `on_disk`.
    in_memory: BTreeSet<String>,
}

impl Pairs<'_> {
    fn compile(&self, number: u64, previous: Option<&Snapshot>, lost: Lost) -> Result<Snapshot, Problems> {
        let named = zone::files_named(self.bundle.specs(), self.bundle.defaults());
        let chains = self.chains(&named);
        let bundle = if chains.is_empty() {
            Cow::Borrowed(self.bundle)
        } else {
            Cow::Owned(with_files(self.bundle, &chains))
        };
        let from_memory: BTreeSet<&str> =
            named.iter().filter(|it| self.in_memory.contains(&it.file)).map(|it| it.path.as_str()).collect();
        let used = RefCell::new(chains);
        let secrets = |path: &str| {
            let remembered = from_memory.contains(path).then(|| self.keyring.file(path)).flatten();
            let key = remembered.or_else(|| bytes_of(path))?;
            used.borrow_mut().insert(path.to_owned(), key.clone());
            Some(key)
        };
        let compile = match lost {
            Lost::Told => zone::compile_after,
            Lost::LeftOut => zone::compile_again,
        };
        let mut snapshot = compile(&bundle, number, &secrets, previous).map_err(Problems)?;
        // Whatever its certificates are by now, it is what the kept bundle says.
        snapshot.hash = self.bundle.hash();
        let mut used = used.into_inner();
        if lost == Lost::LeftOut {
            // Of these it is not known which fit.
            used.retain(|path, _| !from_memory.contains(path.as_str()));
        }
        self.keyring.remember(&named, used);
        Ok(snapshot)
    }

    /// Chains that are not the bundle's.
    fn chains(&self, named: &[NamedFile]) -> BTreeMap<String, Vec<u8>> {
        let chain = |it: &NamedFile| {
            let bytes = if self.in_memory.contains(&it.file) {
                self.keyring.file(&it.path)
            } else {
                self.on_disk.contains(&it.file).then(|| bytes_of(&it.path)).flatten()
            };
            bytes.map(|bytes| (it.path.clone(), bytes))
        };
        named.iter().filter(|it| it.kind == FileKind::Certificate).filter_map(chain).collect()
    }
}

fn with_files(bundle: &Bundle, chains: &BTreeMap<String, Vec<u8>>) -> Bundle {
    let mut files = bundle.files().clone();
    files.extend(chains.iter().map(|(path, bytes)| (path.clone(), bytes.clone())));
    Bundle::new(bundle.specs().to_vec(), bundle.defaults().cloned(), files)
        .with_changed(bundle.changed().clone())
}

/// The bytes of a file that zones name, as they are now.
pub(super) fn bytes_of(path: &str) -> Option<Vec<u8>> {
    read_bounded(Path::new(path), FILE_BYTES_MAX).ok()
}

#[cfg(test)]
mod tests;
