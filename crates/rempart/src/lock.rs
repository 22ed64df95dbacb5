//! The data folder's lock: one node at a time.
//!
//! `<data_dir>/lock` is locked by the supervisor for as long as it lives (flock(2)); the kernel frees it
//! with the process, however that ends. No child inherits it; a supervisor
//! that becomes a newer binary keeps it. Called by [`crate::supervisor`] and
//! [`crate::demo`].

use std::fs::{File, TryLockError};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::privileges::Target;

/// A data folder that is this process's alone, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the data folder, and gives the lock's file to the user the node becomes.
    ///
    /// It may run as root in a folder that belongs to somebody else, so it follows no link and writes
    /// nothing.
    ///
    /// # Errors
    /// When another process has it, or the folder is not writable.
    pub(crate) fn take(data_dir: &Path, owner: Option<&Target>) -> Result<Self> {
        let path = data_dir.join("lock");
        let what = || format!("{} cannot be used as the data folder's lock", path.display());
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
            .open(&path)
            .with_context(|| {
                format!("{}: the folder must be writable for the user that starts the node", what())
            })?;
        let found = file.metadata().with_context(what)?;
        ensure!(found.is_file() && found.nlink() == 1, "{}: it is a link or no file", what());
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another node runs with the data folder {}: stop it, or give this one a folder of its own",
                data_dir.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(what),
        }
        if let Some(owner) = owner {
            owner.give(&file).with_context(what)?;
        }
        Ok(Self { file })
    }
}

impl Lock {
    /// Takes a lock that this process held before it became another binary: the descriptor keeps it.
    pub(crate) fn held(descriptor: OwnedFd) -> Self {
        Self { file: File::from(descriptor) }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use testkit::folder::Folder;

    use super::*;

    #[test]
    fn a_data_folder_serves_one_node_at_a_time() {
        let folder = Folder::new().unwrap();
        let first = Lock::take(folder.path(), None).unwrap();
        let error = Lock::take(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("another node runs"), "{error}");
        drop(first);
        Lock::take(folder.path(), None).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_the_lock_is_not_followed() {
        let folder = Folder::new().unwrap();
        let target = folder.write("target", "precious").unwrap();
        std::os::unix::fs::symlink(&target, folder.path().join("lock")).unwrap();
        assert!(Lock::take(folder.path(), None).is_err());
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        std::fs::hard_link(&target, folder.path().join("lock")).unwrap();
        assert!(Lock::take(folder.path(), None).is_err());
        assert_eq!(std::fs::read(target).unwrap(), b"precious");
    }
}
