//! Keys that outlive the edge: of sticky cookies, and of QUIC's resets and tokens.
//!
//! `<data_dir>/keys`, mode 0600, made once from random bytes. With them a visitor keeps its origin over a
//! restart, and a QUIC connection to an edge that died is ended at once rather than by time-out (RFC 9000
//! §10.3). No certificate's key is here. Called by [`crate::edge_role`].

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::digest;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::files::{read_bounded, write_whole};

const STICKY_BYTES: usize = 16;
const RESET_BYTES: usize = 64;
const TOKEN_BYTES: usize = 32;
const ALL_BYTES: usize = STICKY_BYTES + RESET_BYTES + TOKEN_BYTES;

/// The keys of one data folder.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys([u8; ALL_BYTES]);

impl Keys {
    /// Reads the keys, or makes them where there are none.
    ///
    /// # Errors
    /// When the file is there and cannot be used, or new ones cannot be written.
    pub(crate) fn load(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("keys");
        match read_bounded(&path, ALL_BYTES) {
            Ok(bytes) => {
                let keys = bytes.try_into().ok().with_context(|| {
                    format!(
                        "{} does not hold {ALL_BYTES} bytes: remove it, and new keys are made",
                        path.display()
                    )
                })?;
                Ok(Self(keys))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let made = Self::random()?;
                write_whole(&path, &made.0, 0o600)
                    .with_context(|| format!("{} cannot be written", path.display()))?;
                Ok(made)
            }
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Makes keys that nobody else has.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }

    /// The key of sticky cookies.
    pub(crate) fn sticky(&self) -> [u8; STICKY_BYTES] {
        self.part(0)
    }

    /// The keys of QUIC's stateless resets and of its address tokens.
    pub(crate) fn quic(&self) -> ([u8; RESET_BYTES], [u8; TOKEN_BYTES]) {
        (self.part(STICKY_BYTES), self.part(STICKY_BYTES + RESET_BYTES))
    }

    /// The key of requests' fingerprints: derived from the others, so that a request that killed is known
    /// again after a restart, also with keys of an earlier version.
    pub(crate) fn fingerprint(&self) -> [u64; 2] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"rempart fingerprint");
        context.update(&self.0);
        let digest = context.finish();
        let mut words = digest.as_ref().as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        [words.next().unwrap_or(0), words.next().unwrap_or(0)]
    }

    /// The seed of the hashes by which floods are told apart: derived as well, so that what is usual for a
    /// zone is known again after a restart.
    pub(crate) fn flood(&self) -> u64 {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"rempart flood");
        context.update(&self.0);
        context.finish().as_ref().first_chunk().copied().map_or(0, u64::from_ne_bytes)
    }

    /// The key of the cache's tables and of its files: derived as well, so that answers on disk are found
    /// again after a restart.
    pub(crate) fn cache(&self) -> [u8; 16] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"rempart cache");
        context.update(&self.0);
        let digest = context.finish();
        digest.as_ref().first_chunk().copied().unwrap_or_default()
    }

    fn part<const N: usize>(&self, start: usize) -> [u8; N] {
        let mut part = [0; N];
        part.iter_mut().zip(self.0.iter().skip(start)).for_each(|(to, from)| *to = *from);
        part
    }
}

/// Draws random bytes from the system.
///
/// # Errors
/// When it gives none.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // Up to 256 bytes come whole or not at all (getrandom(2)).
    let drawn = getrandom(&mut bytes, GetRandomFlags::empty());
    ensure!(drawn == Ok(N), "the system gives no random bytes");
    Ok(bytes)
}

/// Has the TLS library gather its first randomness, which takes 30 ms of the processor (it times memory
/// against the clock): before it is needed, since visitors would wait for it.
pub(crate) fn begin_randomness() {
    // One that has none fails again where it matters, and says so there.
    let _drawn = aws_lc_rs::rand::fill(&mut [0]);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use testkit::folder::Folder;

    use super::*;

    #[test]
    fn keys_are_made_once_for_their_owner_alone_and_differ_between_folders() {
        let (folder, other) = (Folder::new().unwrap(), Folder::new().unwrap());
        let made = Keys::load(folder.path()).unwrap();
        assert!(made == Keys::load(folder.path()).unwrap());
        assert!(made != Keys::load(other.path()).unwrap());
        let mode = fs::metadata(folder.path().join("keys")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_parts_do_not_overlap() {
        let mut bytes = [0; ALL_BYTES];
        (0u8..).zip(&mut bytes).for_each(|(number, byte)| *byte = number);
        let keys = Keys(bytes);
        assert_eq!((keys.sticky()[0], keys.sticky()[15]), (0, 15));
        let (reset, token) = keys.quic();
        assert_eq!((reset[0], reset[63], token[0], token[31]), (16, 79, 80, 111));
        let other = Keys([0; ALL_BYTES]);
        assert!(keys.cache() == keys.cache() && keys.cache() != other.cache());
    }

    #[test]
    fn a_file_of_another_length_is_told_and_not_overwritten() {
        let folder = Folder::new().unwrap();
        let path = folder.write("keys", "short").unwrap();
        assert!(Keys::load(folder.path()).err().unwrap().to_string().contains("remove it"));
        assert_eq!(fs::read(path).unwrap(), b"short");
    }
}
