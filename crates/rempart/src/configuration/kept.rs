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

use rustls::sign::CertifiedKey;
use zone::limits::FILE_BYTES_MAX;
use zone::{Bundle, FileKind, NamedFile, Snapshot};

use super::Problems;
use crate::files::read_bounded;

/// The pairs that this process has compiled zones with or has seen renewed: chains and keys, by path. In
/// memory alone. It has as many as zones have named since the process began. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Keyring(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Keyring {
    /// Notes chains and keys that fitted.
    pub(crate) fn remember(&self, chains: &[(String, Vec<u8>)], keys: BTreeMap<String, Vec<u8>>) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.extend(chains.iter().cloned());
        files.extend(keys);
    }

    /// Notes the chains of a bundle, once it compiles with them.
    pub(crate) fn remember_chains(&self, bundle: &Bundle) {
        let named = zone::files_named(bundle.specs(), bundle.defaults());
        self.remember(&chains_of(&named, bundle), BTreeMap::new());
    }

    /// Notes a pair that was renewed while it served; not if its files are others again by now.
    pub(crate) fn remember_renewed(&self, chain: &str, key: &str, served: &CertifiedKey) {
        let (Some(chain_pem), Some(key_pem)) = (bytes_of(chain), bytes_of(key)) else { return };
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let read = zone::tls::certified_key(&chain_pem, &key_pem, &provider);
        if read.is_ok_and(|read| read.cert == served.cert) {
            self.remember(&[(chain.to_owned(), chain_pem)], BTreeMap::from([(key.to_owned(), key_pem)]));
        }
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

impl Lost {
    /// Compiles a bundle with this said of pairs that are lost.
    pub(super) fn compile(
        self,
        bundle: &Bundle,
        number: u64,
        secrets: &dyn Fn(&str) -> Option<Vec<u8>>,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, Problems> {
        let compile = match self {
            Self::Told => zone::compile_after,
            Self::LeftOut => zone::compile_again,
        };
        compile(bundle, number, secrets, previous).map_err(Problems)
    }
}

/// A kept bundle, compiled.
#[derive(Debug)]
pub(crate) struct Kept {
    /// What it says.
    pub(crate) snapshot: Snapshot,
    /// Whether a certificate was left out, for visitors or for origins. The snapshot's warnings say which.
    pub(crate) lacks_pairs: bool,
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
) -> Result<Kept, Problems> {
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
    let lacks_pairs = compiled.is_err() && lost == Lost::LeftOut;
    if lacks_pairs {
        compiled = pairs.compile(number, previous, Lost::LeftOut);
    }
    compiled.map(|snapshot| Kept { snapshot, lacks_pairs })
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
    /// Chain and key as they were here last, where they were. Goes before `on_disk`.
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
        let keys = RefCell::new(BTreeMap::new());
        let secrets = |path: &str| {
            let remembered = from_memory.contains(path).then(|| self.keyring.file(path)).flatten();
            let key = remembered.or_else(|| bytes_of(path))?;
            keys.borrow_mut().insert(path.to_owned(), key.clone());
            Some(key)
        };
        let mut snapshot = lost.compile(&bundle, number, &secrets, previous)?;
        // Whatever its certificates are by now, it is what the kept bundle says.
        snapshot.hash = self.bundle.hash();
        let (mut chains, mut keys) = (chains_of(&named, &bundle), keys.into_inner());
        if lost == Lost::LeftOut {
            // Of these it is not known which fit.
            chains.retain(|(path, _)| !from_memory.contains(path.as_str()));
            keys.retain(|path, _| !from_memory.contains(path.as_str()));
        }
        // The bundle's own chains too: those of before are none of what fits now.
        self.keyring.remember(&chains, keys);
        Ok(snapshot)
    }

    /// Chains that are not the bundle's.
    fn chains(&self, named: &[NamedFile]) -> BTreeMap<String, Vec<u8>> {
        let chain = |it: &NamedFile| {
            let remembered = self.in_memory.contains(&it.file).then(|| self.keyring.file(&it.path)).flatten();
            let on_disk = || self.on_disk.contains(&it.file).then(|| bytes_of(&it.path)).flatten();
            Some((it.path.clone(), remembered.or_else(on_disk)?))
        };
        named.iter().filter(|it| it.kind == FileKind::Certificate).filter_map(chain).collect()
    }
}

/// The chains of a bundle that these zones name.
fn chains_of(named: &[NamedFile], bundle: &Bundle) -> Vec<(String, Vec<u8>)> {
    let chain = |it: &NamedFile| Some((it.path.clone(), bundle.files().get(&it.path)?.clone()));
    named.iter().filter(|it| it.kind == FileKind::Certificate).filter_map(chain).collect()
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
